"""The facade's verbs over the paper account: open, ask, look, prove, and the runner that trades it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from core.badge import code_version
from core.learning import Learning
from core.trading.contracts import MAINTENANCE
from data.clock import iso
from data.errors import InputError
from data.market import SeriesKey

if TYPE_CHECKING:
    from analysis.report import ModuleReport
    from core.courier import Courier
    from core.paper.broker import Account, Broker, Step
    from core.paper.ledger import Transaction
    from core.paper.record import Curve
    from core.paper.runner import Runner
    from core.paper.statement import Statement
    from core.paper.twin import Twin
    from core.paper.window import Terms
    from data.view import AccountSnapshot

RULES = ("core", "data", "analysis", "models")
LOOK_ROUND_MS = 30_000
ROOT = Path(__file__).resolve().parent.parent


class Dealing(Learning):
    """Verbs over the paper account. Everything that changes it goes through the runner; pages only ask."""

    _looked_ms = 0
    _sides: Mapping[str, bool] = MappingProxyType({})  # where each level stood at the last look

    @cached_property
    def _code(self) -> str:
        return code_version(RULES)

    @property
    def broker(self) -> Broker:
        from core.paper.broker import Broker

        return Broker(self.paper_ledger, self, self._code)

    def runner(self) -> Runner:
        """The runner of this home and world; `python -m core run` is what calls its `run`."""
        from core.paper.runner import Runner

        return Runner(self, self.paper_ledger, self.broker, hooks=(self._freeze_forecasts, self._tell), idle=(self._look_round,))

    # -- what the runner does beside trading ----------------------------------------------------------------------

    def _freeze_forecasts(self, change: Transaction, step: Step) -> None:
        """What the models of the account's rules say of this bar, before anybody knows what came of it (X5)."""
        from core.strategies import strategy

        account = self.broker.account()
        if account is None or step.late:
            return
        for name in dict.fromkeys(part.partition("@")[0].strip() for part in account.terms.rule.split(",")):
            if label := strategy(name).forecasts:
                keys = [self.key(s, account.terms.interval, account.terms.market) for s in account.terms.symbols]
                for row in self.frozen_calls(keys, label, at_ms=step.closed_ms):
                    change.add("predictions", row)

    def _tell(self, change: Transaction, step: Step) -> None:
        from core.alerts import keep, of_step

        account = self.broker.account()
        if account is not None:
            keep(change, of_step(account, step, drawdown=self.settings.alert_drawdown), self.settings.alert_kinds,
                 notifies=bool(self.settings.notify))

    def _look_round(self) -> None:
        """Twice a minute: levels, anomalies, late candles, reports, grades; then what lies in the outbox is sent."""
        from core import alerts, reports

        now = self.clock.now_ms()
        if now - self._looked_ms < LOOK_ROUND_MS:
            return
        self._looked_ms = now
        levels = [alerts.Level.parse(text) for text in self.settings.alert_levels]
        crossed, self._sides = alerts.levels_crossed(self, levels, self._sides)
        kinds = {"both": ("daily", "weekly"), "none": ()}.get(self.settings.reports, (self.settings.reports,))
        found = [*crossed, *alerts.watched(self), *(r.alert() for r in reports.due(self, kinds, now))]
        with self.paper_ledger.transaction(now, "alerts") as change:
            alerts.keep(change, found, self.settings.alert_kinds, notifies=bool(self.settings.notify))
        self.settle()
        self.courier().deliver()

    def courier(self) -> Courier:
        """What sends alerts: to the console and logs/alerts.log, and to the addresses of SEXTANT_NOTIFY."""
        from core.courier import Courier

        return Courier(self.paper_ledger, self.clock, self.settings.notify, self.settings.home / "logs" / "alerts.log")

    def alerts(self, *, newest: int = 50) -> list[dict[str, Any]]:
        """The newest alerts, newest first; a runner that fell silent stands at the top."""
        from core.paper.runner import RunnerState, owner_words

        state = RunnerState(self.paper_ledger, self.clock).read()
        silent = [{"key": "runner", "at_ms": state["beat_ms"], "kind": "runner", "symbol": "", "words": owner_words(state)}] \
            if state and not state["alive"] and state["state"] != "ended" else []
        return silent + self.paper_ledger.rows("alerts", order="id desc", limit=newest)

    # -- what a person asks ---------------------------------------------------------------------------------------

    def paper_open(self, terms: Terms) -> Account:
        """Open the account, or a new epoch of it."""
        for symbol in terms.symbols:
            self.key(symbol, terms.interval, terms.market)
        broker = self.broker
        return broker.open(terms, reason="opened" if broker.account() is None else "reset")

    def paper_ask(self, kind: str, symbol: str = "", content: Mapping[str, Any] | None = None, *, key: str = "") -> str:
        """Place, close, modify, cancel, pause, resume, kill or re-arm: done by the runner before the next bar."""
        return self.broker.control(kind, symbol=symbol, content=content, key=key)

    # -- looking --------------------------------------------------------------------------------------------------

    def paper_statement(self, account: Account) -> Statement:
        """Holdings and closed trades by the fills."""
        from core.paper.statement import statement

        number = (account.number,)
        return statement(account.terms.market, self.paper_ledger.rows("fills", "account = ?", number),
                         self.paper_ledger.rows("cash", "account = ?", number))

    def paper_status(self) -> dict[str, Any]:
        """Account, open positions at the newest price, orders that wait, and the runner."""
        from core.paper.runner import RunnerState, owner_words

        runner = RunnerState(self.paper_ledger, self.clock).read()
        said = {**runner, "words": owner_words(runner), "alive": bool(runner.get("alive"))}
        broker = self.broker
        account = broker.account()
        if account is None:
            return {"account": None, "equity": None, "cash": None, "positions": [], "orders": [], "runner": said,
                    "reason": "no paper account is open; run: python -m core paper start BTCUSDT --strategy trend"}
        newest, book = broker.newest_bar(account), self.paper_statement(account)
        state = {} if newest is None else json.loads(newest["state"])
        marks = {s: self._price(s, account) for s in book.holdings}
        equity = book.equity({s: Decimal(repr(p)) for s, (p, _) in marks.items()})
        positions = []
        for symbol, held in sorted(book.holdings.items()):
            price, at_ms = marks[symbol]
            levels = state.get("positions", {}).get(symbol, {})
            open_pnl = held.side * (Decimal(repr(price)) - held.entry) * held.quantity - held.fees + held.funding
            positions.append(held.document() | {"price": price, "price_at": iso(at_ms), "pnl": float(open_pnl), "stop": levels.get("stop"),
                                                "target": levels.get("target"), "notional": float(held.quantity) * price})
        waiting = [{"symbol": s, "strategy": o["strategy"], "side": o["side"], "limit": o["limit"], "key": state["keys"].get(s)}
                   for s, o in state.get("pending", {}).items()]
        return {"account": account.number, "opened": iso(account.opened_ms), "terms": account.terms.document(),
                "capital": float(account.capital), "equity": float(equity), "cash": float(book.cash), "positions": positions,
                "orders": waiting, "trades": len(book.closed), "killed": bool(state.get("killed")), "paused": bool(state.get("paused")),
                "no_entries_before_ms": max(int(state.get("paused_until") or 0), 0),
                "as_of": None if newest is None else iso(int(newest["at_ms"])), "runner": said}

    def _price(self, symbol: str, account: Account) -> tuple[float, int]:
        """The newest stored close, and when it was."""
        newest = self.newest(symbol, account.terms.market)
        return float(newest.close[-1]), int(newest.close_time[-1])

    def paper_price(self, symbol: str, account: Account) -> float:
        """The newest stored close of a symbol of the account."""
        return self._price(symbol, account)[0]

    def paper_equity(self, account: Account) -> list[tuple[int, float]]:
        """(close, equity) of every recorded bar."""
        return [(int(r["at_ms"]), float(r["equity"])) for r in self.paper_ledger.rows("equity", "account = ?", (account.number,))]

    def account_snapshot(self) -> AccountSnapshot | None:
        """The paper account as modules G and I see it, at its newest recorded bar; None while there is none (decisions.md 10)."""
        import numpy as np

        from core.trading.fills import liquidation_price
        from data.market import DAY_MS, Market
        from data.view import AccountSnapshot

        broker = self.broker
        account = broker.account()
        newest = None if account is None else broker.newest_bar(account)
        if account is None or newest is None:
            return None
        curve = self.paper_equity(account)
        days = np.array([(at - 1) // DAY_MS for at, _ in curve])
        daily = np.array([value for _, value in curve])[np.append(np.diff(days) != 0, True)]
        state, equity = json.loads(newest["state"]), float(newest["equity"])
        held = state["positions"]
        leverage = float(account.terms.options.get("leverage", 3.0))
        margined = account.terms.market is Market.PERP
        return AccountSnapshot(
            int(newest["at_ms"]) - 1, equity, np.concatenate(([float(account.capital)], daily)),
            {s: p["side"] * p["quantity"] for s, p in held.items()}, dict(state["marks"]),
            {s: p["stop"] for s, p in held.items() if p["stop"] is not None}, float(newest["gross"]) / equity if equity > 0 else 0.0,
            {s: liquidation_price(p["entry"], leverage, MAINTENANCE, p["side"]) for s, p in held.items()} if margined else {})

    def account_report(self, word: str, key: SeriesKey) -> ModuleReport:
        """A module judging the paper account instead of the market: G its risk, I what would have to change.

        Raises
        ------
        InputError
            While there is no account with a recorded bar.
        """
        found = self.account_snapshot()
        if found is None:
            raise InputError("there is no paper account with a recorded bar yet: open one and let the runner work")
        module = self.module(word)
        return module.score(self.view(key, modules=(module,), account=found))

    def paper_twin(self) -> Twin:
        """The paper window replayed by the backtest (X10).

        Raises
        ------
        InputError
            While nothing is recorded.
        """
        from core.paper.twin import twin

        broker = self.broker
        account = broker.account()
        found = None if account is None else twin(self, self.paper_ledger, account, self._code)
        if found is None:
            raise InputError("nothing is recorded yet: open an account and let the runner work until a candle has closed")
        return found

    # -- the record -----------------------------------------------------------------------------------------------

    def paper_accounts(self) -> tuple[Account, ...]:
        """Every epoch, oldest first."""
        from core.paper.record import accounts

        return accounts(self.paper_ledger)

    def paper_curve(self, account: Account) -> Curve:
        """Equity beside holding the same symbols equally, and the drawdown."""
        from core.paper.record import curve

        return curve(self.paper_ledger, self.reader, account)

    def paper_rows(self, account: Account, what: str, states: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Orders with their ends, fills, decisions (of some states) or what people asked, newest first."""
        from core.paper import record

        if what == "decisions":
            return record.decisions(self.paper_ledger, account, states)
        return {"orders": record.orders, "fills": record.fills, "asked": record.asked}[what](self.paper_ledger, account)

    def paper_history(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Closed trades of every epoch, oldest first, and every wish to enter with what came of it, newest first."""
        from core.paper import record

        every = [(a, self.paper_statement(a)) for a in self.paper_accounts()]
        return record.trades(every), record.signals(self.paper_ledger, every)

    # -- proving, keeping -----------------------------------------------------------------------------------------

    def verify_ledger(self) -> list[str]:
        """Every broken invariant of the ledger, in words; empty when it is sound."""
        from core.paper.verify import verify

        return verify(self.paper_ledger)

    def dump_ledger(self) -> Iterator[str]:
        """The canonical dump, a line a row."""
        return self.paper_ledger.canonical()

    def backup_ledger(self, target: Path) -> dict[str, Any]:
        from core.paper.vault import backup

        return backup(self.paper_ledger, target)

    def restore_ledger(self, source: Path) -> dict[str, Any]:
        """Refused while a runner lives."""
        from core.paper.runner import LOCK_WAIT_S, RunnerState
        from core.paper.vault import restore

        if RunnerState(self.paper_ledger, self.clock).read().get("alive"):
            raise InputError(f"the runner is at work; stop it first (python -m core paper stop), then restore. Waited {LOCK_WAIT_S:g} s")
        return restore(self.paper_ledger, source, self.clock.now_ms())

    # -- the runner's process -------------------------------------------------------------------------------------

    def start_runner(self) -> int:
        """Start `python -m core run` as a process of its own, which survives this one; returns its number."""
        environment = os.environ | {"SEXTANT_HOME": str(self.settings.home), "SEXTANT_WORLD": "simulated" if
                                    str(self.world) == "simulated" else "real"}
        child = subprocess.Popen([sys.executable, "-m", "core", "run"], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        return child.pid

    def stop_runner(self) -> None:
        """Ask the runner to end after the bar it is at."""
        from core.paper.runner import RunnerState

        state = RunnerState(self.paper_ledger, self.clock)
        if not state.read().get("alive"):
            raise InputError("no runner is at work")
        state.write(stop=True)
