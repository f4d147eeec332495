"""The paper broker: brings an account from the newest recorded bar to the newest closed one, a transaction a bar.

What a bar does to the account is decided by core/paper/desk.py, from stored candles alone. Intent, effect and the state from which the
next bar goes on are written together or not at all (L3), so a killed process loses nothing: the next one begins at the last bar that is
in the ledger.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from core.backtest.question import FINER
from core.paper.by_hand import checked
from core.paper.desk import PaperDesk
from core.paper.feed import AFTER_CLOSE_MS
from core.paper.ledger import Ledger, Transaction
from core.paper.statement import Statement, cash_tolerance, exact, statement
from core.paper.told import Decided, Movement, OrderEvent
from core.paper.window import Terms, Window, window
from core.risk.sizing import Sizing
from data.clock import iso
from data.errors import DamagedState, InputError
from data.market import SeriesKey

if TYPE_CHECKING:
    from core.forecasting import Forecasting

STALE_SHARE = 0.25  # of the interval after the close: recorded later than that, nothing is entered
DONE = "exists (select 1 from orders o where o.account = controls.account and o.key = 'control/' || controls.key and o.event = 'done')"
FILL_COLUMNS = "key, order_key, symbol, strategy, side, effect, reason, price, quantity, fee, filled_ms"
KINDS = ("pause", "resume", "kill", "rearm", "place", "reduce", "close", "modify", "cancel")


@dataclass(frozen=True)
class Account:
    """One epoch of the paper account."""

    number: int
    opened_ms: int
    capital: Decimal
    terms: Terms
    reason: str


@dataclass(frozen=True)
class Step:
    """What one bar brought."""

    bar_ms: int
    closed_ms: int
    decided: tuple[Decided, ...]
    orders: tuple[OrderEvent, ...]
    movements: tuple[Movement, ...]
    equity: Decimal
    late: bool
    killed: bool = False
    killed_before: bool = False
    drawdown: float = 0.0  # below the peak, a fraction


Hook = Callable[[Transaction, Step], None]
Ahead = Callable[[int, bool], Hook]  # (close of the bar, late): works without the lock, answers with what writes inside it


class Broker:
    """The paper account of one ledger."""

    def __init__(self, ledger: Ledger, sextant: Forecasting, code: str) -> None:
        self._ledger, self._sextant, self._code = ledger, sextant, code

    # -- accounts -------------------------------------------------------------------------------------------------

    def account(self) -> Account | None:
        """The epoch in force; None before the first."""
        found = self._ledger.rows("accounts", order="id desc", limit=1)
        return _account(found[0]) if found else None

    def open(self, terms: Terms, *, reason: str = "opened") -> Account:
        """A new epoch with new terms; positions of the one before are not carried on."""
        question = terms.question()
        terms = replace(terms, symbols=question.symbols)  # as everything else spells them, each once
        now = self._sextant.clock.now_ms()
        capital = Decimal(repr(question.config.capital))
        with self._ledger.transaction(now, "account") as change:
            number = change.execute("select coalesce(max(account), 0) + 1 from accounts").fetchone()[0]  # two may open at once
            change.add("accounts", {"account": number, "opened_ms": now, "reason": reason, "capital": str(capital),
                                    "content": json.dumps(terms.document(), sort_keys=True)})
            change.add("cash", {"account": number, "key": "deposit", "at_ms": now, "kind": "deposit", "amount": str(capital),
                                "balance": str(capital)})
        return Account(number, now, capital, terms, reason)

    def control(self, kind: str, *, symbol: str = "", content: Mapping[str, Any] | None = None, key: str = "") -> str:
        """What a person asks: kept now, done by the runner before the next bar. Returns its key; the same key twice is one.

        Raises
        ------
        InputError
            For what no runner could do: it would stumble over the row for ever.
        """
        account = self._in_force()
        if kind not in KINDS:
            raise InputError(f"expected {', '.join(KINDS)}, got {kind[:20]!r}")
        asked = checked(account.terms.symbols, account.terms.market, kind, symbol, content or {},
                        sized_by_stop=kind == "place" and account.terms.question().config.sizing is Sizing.RISK)
        now = self._sextant.clock.now_ms()
        with self._ledger.transaction(now, "control") as change:
            number = change.execute("select count(*) + 1 from controls where account = ?", (account.number,)).fetchone()[0]
            row = {"account": account.number, "at_ms": now, "kind": kind, "symbol": symbol, "content": json.dumps(asked, sort_keys=True)}
            while not change.add("controls", row | {"key": key or f"{kind}-{number}"}) and not key:
                number += 1  # somebody gave an order that name
        return key or f"{kind}-{number}"

    def _in_force(self) -> Account:
        found = self.account()
        if found is None:
            raise InputError("there is no paper account yet; open one, run: python -m core paper start BTCUSDT --strategy trend")
        return found

    # -- bars -----------------------------------------------------------------------------------------------------

    def newest_bar(self, account: Account) -> Mapping[str, Any] | None:
        """The newest recorded bar, with the state after it."""
        found = self._ledger.rows("equity", "account = ?", (account.number,), order="id desc", limit=1)
        return found[0] if found else None

    def due(self, account: Account) -> int | None:
        """Close of the newest bar that every symbol has, if it is not recorded yet; in UTC milliseconds."""
        closes = [self._sextant.reader.last_close_ms(self._sextant.key(s, account.terms.interval, account.terms.market))
                  for s in account.terms.symbols]
        known = [c for c in closes if c is not None]
        if len(known) < len(closes):
            return None
        newest = min(known)
        before = self.newest_bar(account)
        if newest < account.opened_ms or (before is not None and newest < int(before["bar_ms"]) + 2 * account.terms.interval.ms - 1):
            return None
        return None if self._companions_late(account, newest) else newest

    def behind(self) -> str:
        """Which symbols the account waits for, more than a whole bar late; empty when none."""
        account = self._in_force()
        interval, now = account.terms.interval, self._sextant.clock.now_ms()
        last = {s: self._sextant.reader.last_close_ms(self._sextant.key(s, interval, account.terms.market)) for s in account.terms.symbols}
        late = [s if at is None else f"{s} (since {iso(at + 1)})" for s, at in last.items()
                if at is None or at < interval.floor(now) - interval.ms - 1]
        named = ", ".join(late[:5]) + (" ..." if len(late) > 5 else "")
        return f"no {interval} candle of {named}: the account waits, its stops and targets too; where a symbol is traded no more, open a " \
               "new account without it" if late else ""

    def _companions_late(self, account: Account, newest: int) -> bool:
        """Longer bars of further rules and the 1m bars inside this one come as candles of their own: for the few seconds until all are
        final the bar waits for those that came so far."""
        terms, reader = account.terms, self._sextant.reader
        if self._sextant.clock.now_ms() >= newest + 1 + AFTER_CLOSE_MS:
            return False
        asked = terms.question()
        others = {i for _, i in asked.also} | ({FINER} if asked.finer else set()) - {terms.interval}
        for key in (SeriesKey(s, i, terms.market) for i in others for s in terms.symbols):
            wanted = key.interval.floor(newest + 1) - 1
            last = reader.last_close_ms(key) if reader.holds(key) else None
            if last is not None and wanted - terms.interval.ms - key.interval.ms <= last < wanted:
                return True
        return False

    def step(self, *, most_bars: int | None = None, hook: Hook | None = None, ahead: Ahead | None = None) -> list[Step]:
        """Record every closed bar that is not recorded yet, oldest first, each in a transaction of its own.

        `ahead` is called before a bar's transaction, so that what takes long (a model) keeps no page waiting for the write lock.

        Raises
        ------
        DamagedState
            When the state in the ledger does not agree with its own cash.
        """
        account = self._in_force()
        due = self.due(account)
        if due is None:
            return []
        newest = self.newest_bar(account)
        done_ms = 0 if newest is None else int(newest["bar_ms"]) + account.terms.interval.ms
        seen = window(self._sextant, account.terms, account.opened_ms, due + 1, done_ms=done_ms)
        desk = PaperDesk(seen.plan)
        book = self.statement(account)
        first = seen.first
        if newest is not None:
            desk.restore(json.loads(newest["state"]))
            first = int(seen.plan.open_time.searchsorted(int(newest["bar_ms"]), side="right"))
            if abs(Decimal(repr(desk.account.cash)) - book.cash) > cash_tolerance(account.capital):
                raise DamagedState(f"the paper account's cash is {book.cash} by its fills and {desk.account.cash} by its state; run: "
                                   "python -m core verify")
        bars = range(first, seen.last + 1)
        return [self._bar(account, desk, seen, b, book, hook, ahead) for b in bars[:most_bars]]

    def statement(self, account: Account) -> Statement:
        """Holdings and closed trades by the fills."""
        number = (account.number,)
        fills = self._ledger.rows("fills", "account = ?", number, select=FILL_COLUMNS)
        return statement(account.terms.market, fills, self._ledger.rows("cash", "account = ?", number, select="key, kind, amount"))

    def _bar(self, account: Account, desk: PaperDesk, seen: Window, b: int, book: Statement, hook: Hook | None,
             ahead: Ahead | None) -> Step:
        plan, now = seen.plan, self._sextant.clock.now_ms()
        opened, closed = int(plan.open_time[b]), int(plan.moments[b])
        desk.late = now - closed > STALE_SHARE * account.terms.interval.ms
        if desk.late:
            desk.not_before = max(desk.not_before, now)
        killed = desk.killed
        controls = self._controls(account, opened, desk, b)
        early = list(desk.orders)
        desk.bar(b)
        orders = [*early, *desk.orders]
        hooks = [h for h in (None if ahead is None else ahead(closed, desk.late), hook) if h is not None]
        with self._ledger.transaction(now, "bar") as change:
            for d in desk.decided:
                change.add("decisions", self._decision(account, seen, b, d))
            for o in orders:
                change.add("orders", {"account": account.number, "key": o.key, "event": o.event, "at_ms": o.moment, "symbol": o.symbol,
                                      "strategy": o.strategy, "side": o.side, "content": json.dumps(dict(o.content), sort_keys=True)})
            for key, words in controls:
                change.add("orders", {"account": account.number, "key": f"control/{key}", "event": "done", "at_ms": opened, "symbol": "",
                                      "strategy": "", "side": 0, "content": json.dumps({"words": words})})
            numbers: dict[str, int] = {}
            for m in desk.movements:
                self._move(change, account, seen, b, m, book, numbers)
            marks = {s: Decimal(repr(float(plan.close[k, b]))) for k, s in enumerate(plan.symbols)}
            equity, gross = book.equity(marks), book.gross(marks)
            change.add("equity", {"account": account.number, "bar_ms": opened, "at_ms": closed, "equity": str(equity),
                                  "cash": str(book.cash), "gross": str(gross), "state": json.dumps(desk.state(), sort_keys=True)})
            step = Step(opened, closed, tuple(desk.decided), tuple(orders), tuple(desk.movements), equity, desk.late,
                        desk.killed, killed, max(0.0, 1.0 - float(equity) / desk.peak))
            for each in hooks:
                each(change, step)
        return step

    def _controls(self, account: Account, opened: int, desk: PaperDesk, b: int) -> list[tuple[str, str]]:
        """What people asked before this bar began and is not done yet, in their order: (key, what it came to)."""
        desk.orders = []
        return [(row["key"], desk.control(b, row["kind"], row["key"], row["symbol"], json.loads(row["content"]), int(row["at_ms"])))
                for row in self._ledger.rows("controls", f"account = ? and at_ms <= ? and not {DONE}", (account.number, opened))]

    def _decision(self, account: Account, seen: Window, b: int, d: Decided) -> dict[str, Any]:
        content = {**d.content, "close": float(seen.plan.close[seen.plan.symbols.index(d.symbol), b]),
                   "series_from_ms": int(seen.plan.open_time[0])}
        return {"account": account.number, "strategy": d.strategy, "version": self._code, "symbol": d.symbol,
                "market": str(account.terms.market), "interval": str(account.terms.interval), "bar_ms": int(seen.plan.open_time[b]),
                "decided_ms": int(seen.plan.moments[b]), "action": d.action.name.lower(), "state": d.state, "words": d.words[:300],
                "content": json.dumps(content, sort_keys=True)}

    def _move(self, change: Transaction, account: Account, seen: Window, b: int, m: Movement, book: Statement,
              numbers: dict[str, int]) -> None:
        price, quantity = Decimal(repr(m.price)), Decimal(repr(m.quantity))
        row = {"account": account.number, "at_ms": m.moment}
        if m.effect == "funding":
            amount = exact(-m.side * quantity * price * Decimal(repr(m.rate)))
            book.fund(m.symbol, amount)
            change.add("cash", row | {"key": f"funding/{m.symbol}/{m.moment}", "kind": "funding", "amount": str(amount),
                                      "balance": str(book.cash)})
            return
        k, opened = seen.plan.symbols.index(m.symbol), int(seen.plan.open_time[b])
        stem = f"{m.order_key}/{m.effect}/{opened}"
        numbers[stem] = numbers.get(stem, 0) + 1
        content = {"low": float(seen.plan.low[k, b]), "high": float(seen.plan.high[k, b]), "fee_rate": m.fee_rate,
                   "tick": seen.plan.contracts[k].tick, "step": seen.plan.contracts[k].step,
                   "minimum": seen.plan.contracts[k].minimum_notional}
        fill = {"account": account.number, "key": f"{stem}/{numbers[stem]}", "order_key": m.order_key, "symbol": m.symbol,
                "strategy": m.strategy, "side": m.side, "effect": m.effect, "reason": m.reason, "price": str(price),
                "quantity": str(quantity), "reference": str(Decimal(repr(m.reference))),
                "fee": str(exact(price * quantity * Decimal(repr(m.fee_rate)))), "bar_ms": opened, "filled_ms": m.moment, "seen": "",
                "content": json.dumps(content, sort_keys=True)}
        change.add("fills", fill)
        amount = book.fill(fill)
        change.add("cash", row | {"key": fill["key"], "kind": "fill", "amount": str(amount), "balance": str(book.cash)})


def _account(row: Mapping[str, Any]) -> Account:
    terms = Terms.read(json.loads(row["content"]))
    return Account(int(row["account"]), int(row["opened_ms"]), Decimal(row["capital"]), terms, row["reason"])
