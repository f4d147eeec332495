"""The reference engine's fills: entering, leaving, funding, on one account. What an order does once its price is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from core.backtest.plan import Plan, column
from core.backtest.result import Reason, Refused, Trade
from core.backtest.signals import Signals
from core.risk import limits as rules
from core.risk.limits import Refusal
from core.risk.sizing import Sizing, allowed_quantity, fraction_quantity, risk_quantity
from core.trading import fills
from core.trading.account import Account, Position
from data.market import DAY_MS, Market, Slippage

FORCED = (Reason.STOP, Reason.TRAILING, Reason.LIQUIDATION, Reason.KILL_SWITCH)


@dataclass
class Pending:
    """An entry decided at a close. Sized at its first fill, from the equity of its decision."""

    table: Signals
    side: int
    equity: float
    stop: float
    target: float
    trail: float
    limit: float
    scale: float
    notional_cap: float
    attempts: int = 0
    total: float = math.nan
    filled: float = 0.0
    tried_bar: int = -1


@dataclass(frozen=True)
class Records:
    """What an engine hands back; the result is made of it."""

    trades: list[Trade]
    refused: list[Refused]
    equity: np.ndarray
    cash: np.ndarray
    gross: np.ndarray
    traded: float


class Desk:
    """An account, what is wanted of it, and what happened. `Reference` says when each of these is called."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.config, self.limits = plan, plan.config, plan.config.limits
        self.account = Account(self.config.market, self.config.capital, self.config.leverage)
        self.spot = self.config.market is Market.SPOT
        self.prices = self.config.distances == "price"
        self.pending: dict[int, Pending] = {}
        self.marks = dict.fromkeys(plan.symbols, 0.0)
        self.room = [0.0] * len(plan.symbols)
        self.columns = {(k, t.strategy): {n: column(getattr(t, n)) for n in ("stop", "target", "trail", "limit", "strength", "veto")}
                        for k, tables in enumerate(plan.tables) for t in tables}
        self.peak = self.day_start = self.previous = self.config.capital
        self.day = int(plan.open_time[0]) // DAY_MS
        self.killed, self.killed_until, self.paused_until, self.losses = False, 0, 0, 0
        self.stopped: dict[str, int] = {}
        self.trades: list[Trade] = []
        self.refused: list[Refused] = []
        self.traded = 0.0
        self.equity, self.cash, self.gross = (np.empty(plan.bars) for _ in range(3))

    # -- funding ------------------------------------------------------------------------------------------------------

    def _charge_funding(self, s: int, until_ms: int) -> None:
        position = self.account.positions.get(self.plan.symbols[s])
        if position is None:
            return
        end = int(self.plan.stamp_from[s, -1])
        while position.next_stamp < end and self.plan.stamp_time[position.next_stamp] <= until_ms:
            self.account.fund(position, float(self.plan.stamp_rate[position.next_stamp]), float(self.plan.stamp_mark[position.next_stamp]))
            position.next_stamp += 1

    # -- fills --------------------------------------------------------------------------------------------------------

    def _impact(self, s: int, b: int, notional: float, forced_beyond_cap: bool = False) -> float:
        if self.config.fees.slippage is Slippage.SQRT or forced_beyond_cap:
            return float(self.plan.impact[s, b]) * math.sqrt(notional)
        return 0.0

    def _enter(self, b: int, s: int, order: Pending, reference: float, *, maker: bool, inside: bool, moment: int) -> None:
        symbol, contract, config = self.plan.symbols[s], self.plan.contracts[s], self.config
        position = self.account.positions.get(symbol)
        if position is not None and position.side != order.side:
            return  # the other side is not closed yet; the order waits
        order.tried_bar = b
        buying, side = order.side > 0, order.side
        ticks, steps = contract.ticks_per_unit, contract.steps_per_unit
        half = float(self.plan.half[s, b])
        fee = (config.fees.maker_bps if maker else config.fees.taker_bps) / 1e4
        taker = config.fees.taker_bps / 1e4
        price = reference if maker else fills.market_price(reference, buying, half, ticks)
        held = position.quantity if position is not None else 0.0
        if self.prices and order.filled == 0.0 and self._beyond(order, price, ticks):
            self._refuse(b, s, order.table, side, Refusal.BEYOND_LEVEL, int(self.plan.open_time[b]),
                         f"{symbol} at {price:g} is already beyond the stop or the target")
            del self.pending[s]
            return
        allowed = self._allowed(symbol, order, price, held, fee)
        if math.isnan(order.total):
            order.total = fills.floor_quantity(min(self._sized(order, price, fee, taker, half, ticks), allowed), steps)
        left = fills.floor_quantity(min(order.total - order.filled, allowed), steps)
        if not left > 0.0 or left * price < contract.minimum_notional:
            if order.filled == 0.0:
                self._refuse(b, s, order.table, side, Refusal.NO_ROOM, int(self.plan.open_time[b]),
                             f"{left:g} {symbol} at {price:g} is below the smallest order ({contract.minimum_notional:g}): equity, cash, "
                             "margin or caps leave no room")
            del self.pending[s]
            return
        quantity = min(left, fills.floor_quantity(self.room[s] / price, steps))
        if not maker and config.fees.slippage is Slippage.SQRT:
            price = fills.market_price(reference, buying, half + self._impact(s, b, quantity * reference), ticks)
            quantity = min(quantity, fills.floor_quantity(self._allowed(symbol, order, price, held, fee), steps))
        if not quantity > 0.0 or quantity * price < contract.minimum_notional:
            return  # too little is traded in this bar: carried
        if position is None:
            position = Position(symbol, order.table.strategy, side, moment, b)
        self.account.enter(position, price, quantity, fee, reference, steps)
        self.room[s] -= quantity * price
        self.traded += quantity * price
        if position.fills == 1:
            self._set_levels(b, s, position, order, price, ticks, inside, moment)
        if quantity == left:
            del self.pending[s]
        else:
            order.filled += quantity

    def _sized(self, order: Pending, price: float, fee: float, taker: float, half: float, ticks: float) -> float:
        config = self.config
        if config.sizing is Sizing.RISK:
            if self.prices and not math.isnan(order.stop):
                level = fills.price_level(price, order.stop, config.stop_multiple, ticks, order.side)
            else:
                distance = order.trail if math.isnan(order.stop) else order.stop
                level = price - order.side * (distance * price if config.distances == "fraction" else distance)
            return risk_quantity(order.equity, config.size, price, level, taker, half) * order.scale
        if config.sizing is Sizing.FRACTION:
            return fraction_quantity(order.equity, config.size, price, fee) * order.scale
        return config.size * order.scale

    def _beyond(self, order: Pending, price: float, ticks: float) -> bool:
        """Has the market passed a stop or target given as a price before the entry could be filled?"""
        side, stop, target = order.side, order.stop, order.target
        if not math.isnan(stop) and side * (price - fills.price_level(price, stop, self.config.stop_multiple, ticks, side)) <= 0.0:
            return True
        return not math.isnan(target) and side * (
            fills.price_level(price, target, self.config.target_multiple, ticks, side) - price) <= 0.0

    def _allowed(self, symbol: str, order: Pending, price: float, held: float, fee: float) -> float:
        others = 0.0
        for name in self.plan.symbols:
            other = self.account.positions.get(name)
            if other is not None and name != symbol:
                others += other.quantity * self.marks[name]
        return allowed_quantity(
            price=price, held=held, equity=order.equity, position_cap=self.limits.position_cap,
            gross_room=self.limits.gross(self.config.market) * order.equity - others - held * price, notional_cap=order.notional_cap,
            cash=self.account.cash, fee=fee, leverage=self.config.leverage, free_margin=order.equity - self.account.used_margin(),
            spot=self.spot)

    def _set_levels(self, b: int, s: int, position: Position, order: Pending, price: float, ticks: float, inside: bool,
                    moment: int) -> None:
        """Stop, target and trailing stop from the first fill; a later part of the same order leaves them where they are."""
        unit = position.unit = price if self.config.distances == "fraction" else 1.0
        if not math.isnan(order.stop):
            position.stop = (fills.price_level(price, order.stop, self.config.stop_multiple, ticks, position.side) if self.prices else
                             fills.exit_level(price, -(order.stop * unit), ticks, position.side))
        if not math.isnan(order.target):
            position.target = (fills.price_level(price, order.target, self.config.target_multiple, ticks, position.side) if self.prices
                               else fills.exit_level(price, order.target * unit, ticks, position.side))
        position.extreme = price
        if not math.isnan(order.trail):
            position.trail = order.trail * unit
            self._ratchet(position, ticks)
        position.risk = abs(price - position.stop) if not math.isnan(position.stop) else math.nan
        position.inside_bar = b if inside else -1
        position.next_stamp = int(self.plan.stamp_from[s, b])
        end = int(self.plan.stamp_from[s, -1])
        while position.next_stamp < end and self.plan.stamp_time[position.next_stamp] <= moment:
            position.next_stamp += 1

    def _ratchet(self, position: Position, ticks: float) -> None:
        level = fills.trailing_level(position.extreme, position.trail, ticks, position.side)
        if math.isnan(position.stop) or position.side * (level - position.stop) > 0.0:
            position.stop, position.trailed = level, True

    def _tighten(self, position: Position, close: float, distance: float, ticks: float) -> None:
        """After a volatility break the stop is drawn to the close; a stop that is nearer, or none, is left alone."""
        level = fills.trailing_level(close, distance, ticks, position.side)
        if position.side * (level - position.stop) > 0.0:  # never true of NaN
            position.stop, position.trailed = level, False

    def _leave(self, b: int, s: int, position: Position, reference: float, reason: Reason, moment: int, *, ambiguous: bool = False) -> None:
        self._charge_funding(s, moment)
        contract, costs, side = self.plan.contracts[s], self.config.fees, position.side
        reference, reason = self._bounded(position, reference, reason)
        ambiguous = ambiguous and reason is not Reason.LIQUIDATION
        quantity = position.quantity
        if reason not in FORCED:
            quantity = min(quantity, fills.floor_quantity(self.room[s] / reference, contract.steps_per_unit))
            if not quantity > 0.0:
                return  # nothing is traded in this bar: the exit waits
        if reason is Reason.TARGET:
            price, fee = reference, costs.maker_bps / 1e4
        elif reason is Reason.LIQUIDATION:
            price, fee = reference, 0.0
        else:
            beyond = reason in FORCED and quantity * reference > self.room[s]
            slippage = float(self.plan.half[s, b]) + self._impact(s, b, quantity * reference, beyond)
            price, fee = fills.market_price(reference, side < 0, slippage, contract.ticks_per_unit), costs.taker_bps / 1e4
        better = position.target
        paid, sold = position.fees, position.exit_sum
        flat = self.account.leave(position, price, quantity, fee, reference, contract.steps_per_unit)
        self.room[s] = max(self.room[s] - quantity * price, 0.0)
        self.traded += quantity * price
        if not flat:
            return
        optimistic = position.pnl
        if ambiguous:
            at_target = sold + quantity * better
            optimistic = side * (at_target - position.entry_sum) - (paid + quantity * better * (costs.maker_bps / 1e4)) + position.funding
        self._record(b, position, reason, moment, ambiguous, optimistic)
        order = self.pending.get(s)
        if order is not None and order.side == side:
            del self.pending[s]  # what was still to be bought belonged to a position that is over

    def _bounded(self, position: Position, reference: float, reason: Reason) -> tuple[float, Reason]:
        """An isolated position has no more to lose than its margin: an exit beyond the bankruptcy price is a liquidation."""
        if self.spot:
            return reference, reason
        bankrupt = self.account.bankruptcy_price(position)
        return (bankrupt, Reason.LIQUIDATION) if position.side * (reference - bankrupt) < 0.0 else (reference, reason)

    def _record(self, b: int, position: Position, reason: Reason, moment: int, ambiguous: bool, optimistic: float) -> None:
        pnl = position.pnl
        self.trades.append(Trade(
            position.symbol, position.strategy, position.side, position.opened_at, moment, position.entry, position.exit, position.entered,
            reason, pnl, position.fees, position.slippage, position.funding, position.entry_bar, b, position.fills,
            position.risk * position.entered, ambiguous, optimistic))
        if reason in (Reason.STOP, Reason.TRAILING, Reason.LIQUIDATION) and pnl < 0.0:
            self.stopped[position.symbol] = b
        if pnl < 0.0:
            self.losses += 1
            if self.limits.losing_streak is not None and self.losses >= self.limits.losing_streak:
                self.paused_until, self.losses = rules.pause_until(moment, self.limits), 0
        elif pnl > 0.0:
            self.losses = 0

    def _at(self, s: int, strategy: str, name: str, b: int) -> float:
        values = self.columns[s, strategy][name]
        return float(values[b if len(values) > 1 else 0])

    def _refuse(self, b: int, s: int, table: Signals, side: int, code: Refusal, moment: int, words: str) -> None:
        self.refused.append(Refused(b, moment, self.plan.symbols[s], table.strategy, side, int(code), words))
