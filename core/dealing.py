"""The facade's verbs over the paper account: open, ask, look, prove, and the runner that trades it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cached_property, partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from core.badge import code_version
from core.hindrance import hindrance
from core.learning import Learning
from core.logbook import unexpected, warn_once
from core.trading.contracts import MAINTENANCE
from data.clock import iso
from data.errors import InputError, NoData, SextantError
from data.market import DAY_MS, SeriesKey

if TYPE_CHECKING:
    from analysis.report import ModuleReport
    from core.alerts import Alert
    from core.courier import Courier
    from core.paper.broker import Account, Broker, Hook, Step
    from core.paper.ledger import Transaction
    from core.paper.record import Curve
    from core.paper.runner import Runner
    from core.paper.statement import Statement
    from core.paper.twin import Twin
    from core.paper.window import Terms
    from core.settings import Settings
    from data.view import AccountSnapshot

RULES = ("core", "data", "analysis", "models")
LOOK_ROUND_MS = 30_000
ROOT = Path(__file__).resolve().parent.parent


class Dealing(Learning):
    """Verbs over the paper account. Everything that changes it goes through the runner; pages only ask."""

    _looked_ms = 0
    _looking: Thread | None = None
    _wishes: tuple[int, Settings] | None = None  # when settings were saved, and they
    _drift_day = 0

    @cached_property
    def _code(self) -> str:
        return code_version(RULES)

    @property
    def broker(self) -> Broker:
        from core.paper.broker import Broker

        return Broker(self.paper_ledger, self, self._code)

    def runner(self, **more: Any) -> Runner:
        """The runner of this home and world; `python -m core run` is what calls its `run`. `more` as the runner takes it."""
        from core.paper.runner import Runner

        return Runner(self, self.paper_ledger, self.broker, hooks=(self._tell,), ahead=self._forecasts_ahead,
                      restarted=self._tell_restart, idle=(self._beside,), **more)

    # -- what the runner does beside trading ----------------------------------------------------------------------

    def _forecasts_ahead(self, closed_ms: int, late: bool) -> Hook:
        """What the models of the account's rules say of this bar, before anybody knows what came of it (X5): worked out here, without
        the write lock, and written with the bar."""
        from core.strategies import strategy

        account, rows = self.broker.account(), []
        if account is not None and not late:
            keys = [self.key(s, account.terms.interval, account.terms.market) for s in account.terms.symbols]
            for name in dict.fromkeys(part.partition("@")[0].strip() for part in account.terms.rule.split(",")):
                if label := strategy(name).forecasts:
                    try:
                        rows += self.frozen_calls(keys, label, at_ms=closed_ms)
                    except Exception as error:  # noqa: BLE001 - a model that fails takes no stop and no exit with it
                        unexpected(error)

        def write(change: Transaction, _: Step) -> None:
            for row in rows:
                change.add("predictions", row)

        return write

    def _tell(self, change: Transaction, step: Step) -> None:
        from core.alerts import keep, of_step

        account, wishes = self.broker.account(), self._saved_wishes()
        if account is not None:
            keep(change, of_step(account, step, drawdown=wishes.alert_drawdown), wishes.alert_kinds, notifies=len(wishes.notify))

    def _tell_restart(self, change: Transaction, before: Mapping[str, Any]) -> None:
        from core.alerts import Alert, keep

        now, wishes = self.clock.now_ms(), self._saved_wishes()
        words = f"the runner was cut off after {iso(before['beat_ms'])} and works again; what was missed is caught up"
        keep(change, [Alert(f"runner/{now}", now, "runner", "", words)], wishes.alert_kinds, notifies=len(wishes.notify))

    def _saved_wishes(self) -> Settings:
        """The settings in force: what people save while the runner works counts for its alerts. A broken file changes nothing and is
        logged once."""
        from core.settings import SAVED, load_settings

        file, saved = self.settings.home / SAVED, 0
        try:
            saved = file.stat().st_mtime_ns
            if self._wishes is None or self._wishes[0] != saved:
                self._wishes = saved, load_settings(self.settings.home)
        except FileNotFoundError:
            pass  # nobody has saved any
        except (OSError, SextantError) as error:
            warn_once(f"settings/{file}/{saved}", f"the saved settings cannot be used, the ones before hold: {error}")
        return self.settings if self._wishes is None else self._wishes[1]

    def _beside(self) -> None:
        """Looks round twice a minute in a thread of its own: scores take seconds, a dead address half a minute, and trading waits for
        neither. A process that ends waits for its last look."""
        now = self.clock.now_ms()
        if now - self._looked_ms < LOOK_ROUND_MS or (self._looking is not None and self._looking.is_alive()):
            return
        score, self._looked_ms = self._looked_ms > 0, now  # a scheduler's single look stays short
        self._looking = Thread(target=self._look_safely, args=(score,), name="sextant-look-round")
        self._looking.start()

    def _look_safely(self, score: bool) -> None:
        for act in (partial(self.look_round, score=score), self.settle, self.courier().deliver):
            try:
                act()
            except Exception as error:  # noqa: BLE001 - logged under a code, and tried again
                if not hindrance(error):  # of a full disk the runner speaks
                    unexpected(error)
        self.paper_ledger.close()

    def look_round(self, *, score: bool = True) -> None:
        """Levels, anomalies, late candles, drift and reports become alerts."""
        from core import alerts, reports

        now, wishes = self.clock.now_ms(), self._saved_wishes()
        levels = [alerts.Level.parse(text) for text in wishes.alert_levels]
        known = alerts.stored_sides(self.paper_ledger)
        crossed, sides = alerts.levels_crossed(self, levels, known)
        kinds = {"both": ("daily", "weekly"), "none": ()}.get(wishes.reports, (wishes.reports,))
        found = [*crossed, *alerts.watched(self, wishes, score=score), *self._drifted(now, wishes),
                 *(r.alert() for r in reports.due(self, kinds, now))]
        if found or sides != known:
            with self.paper_ledger.transaction(now, "alerts") as change:
                alerts.store_sides(change, sides, now)
                alerts.keep(change, found, wishes.alert_kinds, notifies=len(wishes.notify))

    def _drifted(self, now: int, wishes: Settings) -> list[Alert]:
        """Serving models that drifted today and the day before; looked at once a UTC day."""
        from core.alerts import Alert
        from models.drift import retrain_proposed

        today, out = now // DAY_MS, []
        if today == self._drift_day or "drift" not in wishes.alert_kinds:
            return []
        self._drift_day = today
        for entry in (e for e in self.models() if e.id == self.shelf.champion(e.slot) and not e.fault):
            try:
                key = self.key(entry.config["symbols"][0], entry.config["interval"], entry.slot.split("-", 1)[0])
                if retrain_proposed(self._alerts(f"{entry.slot} serving", entry, key)):
                    out.append(Alert(f"drift/{entry.id}/{today}", now, "drift", key.symbol, f"{entry.id} drifted two days in a row; train "
                                     "it again: python -m core train --retrain"))
            except SextantError:
                continue  # too few candles to say
        return out

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
        return self.broker.statement(account)

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
        marks = {}
        for s in book.holdings:
            try:
                marks[s] = self._price(s, account)
            except NoData:  # its candles are gone: worth what it was at the newest recorded close
                marks[s] = float(state["marks"][s]), int(newest["at_ms"]) if newest is not None else account.opened_ms
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
        return [(int(r["at_ms"]), float(r["equity"])) for r in
                self.paper_ledger.rows("equity", "account = ?", (account.number,), select="at_ms, equity")]

    def account_snapshot(self) -> AccountSnapshot | None:
        """The paper account as modules G and I see it, at its newest recorded bar; None while there is none (decisions.md 10)."""
        import numpy as np

        from core.trading.fills import liquidation_price
        from data.market import Market
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
        """Refused while a runner lives: by its lock, which a killed runner does not hold and a damaged ledger cannot hide."""
        from filelock import Timeout

        from core.paper.runner import LOCK_WAIT_S, runner_lock
        from core.paper.vault import restore

        self.paper_ledger.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with runner_lock(self.paper_ledger).acquire(timeout=LOCK_WAIT_S):
                return restore(self.paper_ledger, source, self.clock.now_ms())
        except Timeout:
            raise InputError("the runner is at work; stop it first (python -m core paper stop), then restore") from None

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
