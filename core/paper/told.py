"""The backtest's reference desk, telling every movement, order and decision, and knowing of bars that were seen too late to trade on.

Fills, limits and sizes are those of core/backtest/reference.py, untouched.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from core.backtest.desk import Pending
from core.backtest.plan import Plan
from core.backtest.reference import Reference
from core.backtest.result import Reason
from core.backtest.signals import Action, Signals
from core.paper.window import MANUAL
from core.risk.limits import Refusal
from core.trading import fills
from core.trading.account import Account, Position

LATE = "skipped: stale"


@dataclass(frozen=True)
class Movement:
    """One fill or funding payment as the desk made it. `effect`: enter, leave or funding (then `price` is the mark, `rate` the rate)."""

    effect: str
    symbol: str
    strategy: str
    side: int
    price: float
    quantity: float
    fee_rate: float
    reference: float
    moment: int
    reason: str
    order_key: str
    rate: float = math.nan


@dataclass(frozen=True)
class OrderEvent:
    """What became of an order at a moment: placed, filled, cancelled, expired or refused."""

    key: str
    event: str
    moment: int
    symbol: str
    strategy: str
    side: int
    content: Mapping[str, Any]


@dataclass(frozen=True)
class Decided:
    """What a strategy wanted of a symbol at a close and what came of it: hold, ordered, leaving, kept, refused, or skipped."""

    symbol: str
    strategy: str
    action: Action
    state: str
    words: str = ""
    content: Mapping[str, Any] = field(default_factory=dict)


class _Told(Account):
    """An account that tells its desk of every movement."""

    desk: ToldDesk

    def enter(self, position: Position, price: float, quantity: float, fee_rate: float, reference: float, steps: float = 0.0) -> None:
        super().enter(position, price, quantity, fee_rate, reference, steps)
        self.desk.tell("enter", position, price, quantity, fee_rate, reference)

    def leave(self, position: Position, price: float, quantity: float, fee_rate: float, reference: float, steps: float = 0.0) -> bool:
        flat = super().leave(position, price, quantity, fee_rate, reference, steps)
        self.desk.tell("leave", position, price, quantity, fee_rate, reference)
        return flat

    def fund(self, position: Position, rate: float, mark: float) -> float:
        amount = super().fund(position, rate, mark)
        self.desk.tell("funding", position, mark, position.quantity, 0.0, mark, rate=rate)
        return amount


class ToldDesk(Reference):
    """One account, bar by bar. `bar(b)` does a bar; what happened in it stands in `movements`, `orders` and `decided` until the next.

    `late`: the bar was recorded too long after its close, nothing is entered on it. `not_before`: what is decided on a late bar leaves
    at no open before this moment.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        told = _Told(self.config.market, self.config.capital, self.config.leverage)
        told.desk = self
        self.account = told
        self.movements: list[Movement] = []
        self.orders: list[OrderEvent] = []
        self.decided: list[Decided] = []
        self.keys: dict[int, str] = {}  # of pending orders, by symbol
        self.held_keys: dict[str, str] = {}  # of the order that opened a position
        self.asked: dict[str, Mapping[str, Any]] = {}  # a person's orders that wait or are held, by order key
        self.closing: set[str] = set()  # symbols whose position a person asked to close
        self.reducing: dict[str, float] = {}  # and how much of which position a person asked to give up
        self.paused, self.late, self.not_before = False, False, 0
        self._moment, self._reason, self._placed = 0, "", ""

    def bar(self, b: int) -> None:
        self.movements, self.orders, self.decided = [], [], []
        if b > 0 and self.plan.hole_after[b - 1]:
            self._drop_across_hole(b)
        super().bar(b)

    # -- what is told ---------------------------------------------------------------------------------------------

    def tell(self, effect: str, position: Position, price: float, quantity: float, fee_rate: float, reference: float, *,
             rate: float = math.nan) -> None:
        """Called by the account."""
        moment, reason = self._moment, self._reason
        if effect == "funding":
            moment, reason = int(self.plan.stamp_time[position.next_stamp]), ""
        key = self._placed if effect == "enter" else self.held_keys[position.symbol]
        if effect == "enter":
            self.held_keys.setdefault(position.symbol, key)
        self.movements.append(Movement(effect, position.symbol, position.strategy, position.side, price, quantity, fee_rate, reference,
                                       moment, reason, key, rate))
        if effect == "leave" and position.symbol not in self.account.positions:
            self.asked.pop(self.held_keys.pop(position.symbol, ""), None)
            self.closing.discard(position.symbol)
            self.reducing.pop(position.symbol, None)

    def _enter(self, b: int, s: int, order: Pending, reference: float, *, maker: bool, inside: bool, moment: int) -> None:
        self._moment, self._reason, self._placed = moment, "limit" if maker else "market", self.keys.get(s, "")
        told = len(self.refused)
        super()._enter(b, s, order, reference, maker=maker, inside=inside, moment=moment)
        if s not in self.pending:
            refused = self.refused[-1].words if len(self.refused) > told else ""
            self._ended(s, "refused" if refused else "filled", moment, refused)

    def _leave(self, b: int, s: int, position: Position, reference: float, reason: Reason, moment: int, *, ambiguous: bool = False) -> None:
        reference, reason = self._bounded(position, reference, reason)
        asked = position.symbol in self.closing and reason is Reason.SIGNAL  # a stop or a liquidation that comes first is one
        self._moment, self._reason = moment, "manual" if asked else reason.name.lower()
        waiting = s in self.pending
        super()._leave(b, s, position, reference, reason, moment, ambiguous=ambiguous)
        if waiting and s not in self.pending:
            self._ended(s, "cancelled", moment)

    def _ended(self, s: int, event: str, moment: int, words: str = "") -> None:
        key = self.keys.pop(s, "")
        symbol = self.plan.symbols[s]
        if key:
            strategy = key.split("/")[0]
            self.orders.append(OrderEvent(key, event, moment, symbol, strategy, 0, {"words": words} if words else {}))
        if event != "filled":
            self.asked.pop(key, None)

    def _set_levels(self, b: int, s: int, position: Position, order: Pending, price: float, ticks: float, inside: bool,
                    moment: int) -> None:
        super()._set_levels(b, s, position, order, price, ticks, inside, moment)
        asked = self.asked.get(self.keys.get(s, ""))
        if asked:  # a person names prices, not distances
            self._levels(position, asked, ticks)
            position.risk = abs(price - position.stop) if not math.isnan(position.stop) else math.nan

    def _levels(self, position: Position, asked: Mapping[str, Any], ticks: float) -> None:
        for name in ("stop", "target"):
            if name in asked:
                level = asked[name]
                setattr(position, name, math.nan if level is None else fills.round_price(float(level), ticks, (name == "stop") ^ (
                    position.side > 0)))
        if "stop" in asked:
            position.trailed = False

    # -- late bars and holes --------------------------------------------------------------------------------------

    def _leave_at_open(self, b: int, s: int) -> None:
        if int(self.plan.open_time[b]) < self.not_before:
            return
        super()._leave_at_open(b, s)
        symbol = self.plan.symbols[s]
        if symbol in self.reducing and symbol in self.account.positions:
            self._reduce(b, s, self.account.positions[symbol])

    def _reduce(self, b: int, s: int, position: Position) -> None:
        """A part of a position leaves at the open, as a whole one would: at the market, inside what is traded."""
        contract, wanted = self.plan.contracts[s], self.reducing[position.symbol]
        opened, side = float(self.plan.open[s, b]), position.side
        quantity = min(wanted, fills.floor_quantity(self.room[s] / opened, contract.steps_per_unit))
        if quantity >= position.quantity:
            del self.reducing[position.symbol]
            self.closing.add(position.symbol)
            self._leave(b, s, position, opened, Reason.SIGNAL, int(self.plan.open_time[b]))
            return
        if not quantity > 0.0:
            return
        self._moment, self._reason = int(self.plan.open_time[b]), "manual"
        slippage = float(self.plan.half[s, b]) + self._impact(s, b, quantity * opened)
        price = fills.market_price(opened, side < 0, slippage, contract.ticks_per_unit)
        self.account.leave(position, price, quantity, self.config.fees.taker_bps / 1e4, opened, contract.steps_per_unit)
        self.room[s] = max(self.room[s] - quantity * price, 0.0)
        self.traded += quantity * price
        left = fills.floor_quantity(wanted - quantity, contract.steps_per_unit)
        if left > 0.0:
            self.reducing[position.symbol] = left
        else:
            del self.reducing[position.symbol]

    def _drop_across_hole(self, b: int) -> None:
        for s in sorted(self.pending):
            order = self.pending[s]
            self._refuse(b, s, order.table, order.side, Refusal.HOLE, int(self.plan.open_time[b]),
                         "the next bar was missing; nothing is entered across a hole")
            del self.pending[s]
            self._ended(s, "refused", int(self.plan.open_time[b]), self.refused[-1].words)

    # -- decisions ------------------------------------------------------------------------------------------------

    def _kill_switch(self, equity: float, moment: int) -> None:
        waiting = sorted(self.pending)
        super()._kill_switch(equity, moment)
        for s in waiting:
            if s not in self.pending:
                self._ended(s, "cancelled", moment)

    def _age_orders(self, b: int, moment: int) -> None:
        waiting = sorted(self.pending)
        super()._age_orders(b, moment)
        for s in waiting:
            if s not in self.pending:
                self._ended(s, "expired", moment, "not filled in time: too little was traded, or the limit was not reached")

    def _decide(self, b: int, equity: float, moment: int) -> None:
        told, waiting = len(self.refused), dict(self.pending)
        leaving = {n: p.leaving for n, p in self.account.positions.items()}
        super()._decide(b, equity, moment)
        words = {(r.symbol, r.strategy): r.words for r in self.refused[told:]}
        for s, order in waiting.items():
            if self.pending.get(s) is not order:
                self._ended(s, "cancelled", moment)
        for s in sorted(self.pending):
            if self.pending[s] is not waiting.get(s):
                self._place(b, s, self.pending[s], moment)
        for s, tables in enumerate(self.plan.tables):
            symbol = self.plan.symbols[s]
            position = self.account.positions.get(symbol)
            for table in tables:
                if table.strategy == MANUAL:
                    continue
                action, said = Action(int(table.action[b])), words.get((symbol, table.strategy), "")
                new = s in self.pending and self.pending[s] is not waiting.get(s) and self.pending[s].table is table
                if new:
                    state = "ordered"
                elif said:
                    state = LATE if said == LATE else "paused" if said == "paused" else "refused"
                elif position is not None and position.strategy == table.strategy and position.leaving >= 0 > leaving.get(symbol, -1):
                    state, said = "leaving", Reason(position.leaving).name.lower()
                else:
                    state = "hold" if action is Action.HOLD else "kept"
                content = {n: known(self._at(s, table.strategy, n, b)) for n in ("stop", "target", "trail", "strength")}
                self.decided.append(Decided(symbol, table.strategy, action, state, said, content))

    def _propose(self, b: int, s: int, table: Signals, side: int, equity: float, moment: int) -> None:
        if table.strategy != MANUAL and (self.late or self.paused):
            self._refuse(b, s, table, side, Refusal.VETO, moment, LATE if self.late else "paused")
            return
        super()._propose(b, s, table, side, equity, moment)

    def _place(self, b: int, s: int, order: Pending, moment: int) -> None:
        symbol, strategy = self.plan.symbols[s], order.table.strategy
        key = self.keys.get(s) or f"{strategy}/{symbol}/{int(self.plan.open_time[b])}"
        self.keys[s] = key
        content = {"equity": order.equity, "stop": known(order.stop), "target": known(order.target), "trail": known(order.trail),
                   "limit": known(order.limit), "scale": order.scale, "most": known(order.notional_cap), "close": self.marks[symbol],
                   "decided_bar_ms": int(self.plan.open_time[b])}
        self.orders.append(OrderEvent(key, "placed", moment, symbol, strategy, order.side, content))


def known(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else bool(value) if isinstance(value, np.bool_) else value

