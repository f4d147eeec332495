"""The trading rules bar by bar, written to be checked by eye: the slow truth beside the compiled engine (methods.md 7.1).

The order of events in bar b:

1. funding stamps in (open of b-1, open of b]
2. at the open: pending exits, then pending entries
3. inside the bar (or each finer bar in it): liquidation, stop, target, then resting limit entries
4. at the close: trailing stops ratchet, stops tighten after a volatility break, mark to market, kill switch, then
   decisions, which become pending

Symbols go in the order of their names, entries decided together in the order of their strength.
"""

from __future__ import annotations

import math

import numpy as np

from core.backtest.desk import Desk, Pending, Records
from core.backtest.result import Reason, Trade
from core.backtest.signals import Action, Signals
from core.risk import limits as rules
from core.risk.limits import LIMITS, Book, Proposal, Refusal
from core.risk.sizing import Sizing
from core.trading import fills
from core.trading.account import Position
from data.market import DAY_MS


class Reference(Desk):
    """One run over a plan. Every method is one rule; `run` is their order."""

    def run(self) -> Records:
        for b in range(self.plan.bars):
            self.bar(b)
        self._mark_open_trades()
        return Records(self.trades, self.refused, self.equity, self.cash, self.gross, self.traded)

    def bar(self, b: int) -> None:
        """Everything that happens in one bar, its close included."""
        everything = range(len(self.plan.symbols))
        opened = int(self.plan.open_time[b])
        for s in everything:
            self.room[s] = fills.room_quote(self.plan.quote_volume[s, b], self.limits.participation)
            self._charge_funding(s, opened)
        for s in everything:
            self._leave_at_open(b, s)
        for s in everything:
            self._enter_at_open(b, s)
        for s in everything:
            self._inside(b, s)
        self._close(b)

    # -- the open -----------------------------------------------------------------------------------------------------

    def _leave_at_open(self, b: int, s: int) -> None:
        position = self.account.positions.get(self.plan.symbols[s])
        if position is not None and position.leaving >= 0:
            self._leave(b, s, position, float(self.plan.open[s, b]), Reason(position.leaving), int(self.plan.open_time[b]))

    def _enter_at_open(self, b: int, s: int) -> None:
        order = self.pending.get(s)
        if order is None:
            return
        opened = float(self.plan.open[s, b])
        if math.isnan(order.limit):
            self._enter(b, s, order, opened, maker=False, inside=False, moment=int(self.plan.open_time[b]))
        elif fills.limit_gapped(opened, order.limit, order.side):
            self._enter(b, s, order, opened, maker=True, inside=False, moment=int(self.plan.open_time[b]))

    # -- inside the bar -----------------------------------------------------------------------------------------------

    def _sub_bars(self, b: int, s: int) -> list[tuple[float, float, float, int]]:
        """(open, high, low, close time) of the finer bars, or of the bar itself."""
        plan = self.plan
        if plan.fine_from.shape[1] > 1:
            first, last = int(plan.fine_from[s, b]), int(plan.fine_to[s, b])
            if last > first:
                return [(float(plan.fine[0, j]), float(plan.fine[1, j]), float(plan.fine[2, j]), int(plan.fine_close[j]))
                        for j in range(first, last)]
        return [(float(plan.open[s, b]), float(plan.high[s, b]), float(plan.low[s, b]), int(plan.close_time[b]))]

    def _inside(self, b: int, s: int) -> None:
        symbol = self.plan.symbols[s]
        for opened, high, low, closed in self._sub_bars(b, s):
            if symbol in self.account.positions:
                self._exits(b, s, opened, high, low, closed, entered_here=False)
            order = self.pending.get(s)
            if order is None or math.isnan(order.limit) or order.tried_bar == b:
                continue
            if fills.limit_traded_through(low, high, order.limit, order.side):
                self._enter(b, s, order, order.limit, maker=True, inside=True, moment=closed)
                if symbol in self.account.positions:
                    self._exits(b, s, opened, high, low, closed, entered_here=True)

    def _exits(self, b: int, s: int, opened: float, high: float, low: float, closed: int, *, entered_here: bool) -> None:
        """Liquidation if its price is nearer, then the stop, then the target; the stop where both lie in the bar."""
        position = self.account.positions[self.plan.symbols[s]]
        side = position.side
        has_stop = not math.isnan(position.stop)
        if not self.spot:
            level = self.account.liquidation_price(position, self.plan.contracts[s].maintenance)
            mark_low, mark_high = float(self.plan.mark_low[s, b]), float(self.plan.mark_high[s, b])
            worst = (low if math.isnan(mark_low) else mark_low) if side > 0 else (high if math.isnan(mark_high) else mark_high)
            nearer = not has_stop or side * (level - position.stop) >= 0.0 or side * (opened - level) <= 0.0
            if side * (worst - level) <= 0.0 and nearer:
                self._leave(b, s, position, self.account.bankruptcy_price(position), Reason.LIQUIDATION, closed)
                return
        stop_hit = has_stop and fills.stop_touched(low, high, position.stop, side)
        target_hit = not entered_here and not math.isnan(position.target) and fills.target_touched(low, high, position.target, side)
        target_first = target_hit and fills.target_gapped(opened, position.target, side)
        ambiguous = stop_hit and target_hit and not target_first and side * (opened - position.stop) > 0.0
        if stop_hit and not target_first and not (ambiguous and self.config.optimistic):
            reason = Reason.TRAILING if position.trailed else Reason.STOP
            self._leave(b, s, position, fills.stop_reference(opened, position.stop, side), reason, closed, ambiguous=ambiguous)
        elif target_hit:
            price = opened if target_first else position.target
            self._leave(b, s, position, price, Reason.TARGET, closed)

    # -- the close ----------------------------------------------------------------------------------------------------

    def _close(self, b: int) -> None:
        plan = self.plan
        for s, symbol in enumerate(plan.symbols):
            self.marks[symbol] = float(plan.close[s, b])
            position = self.account.positions.get(symbol)
            if position is not None:
                best = self.marks[symbol] if position.inside_bar == b else float(plan.high[s, b] if position.side > 0 else plan.low[s, b])
                if position.side * (best - position.extreme) > 0.0:
                    position.extreme = best
                self._move_stop(b, s, position)
        equity, moment = self.account.equity(self.marks), int(plan.moments[b])
        self.equity[b], self.cash[b], self.gross[b] = equity, self.account.cash, self.account.gross(self.marks)
        if moment // DAY_MS != self.day:
            self.day, self.day_start = moment // DAY_MS, equity if moment % DAY_MS == 0 else self.previous
        self.previous = equity
        self._kill_switch(equity, moment)
        if b == plan.bars - 1:
            return
        self._age_orders(b, moment)
        self._decide(b, fills.round_equity(equity), moment)

    def _move_stop(self, b: int, s: int, position: Position) -> None:
        """The trailing distance of this close, where there is one; the stop follows, and tightens if this bar broke out."""
        ticks = self.plan.contracts[s].ticks_per_unit
        trail = self._at(s, position.strategy, "trail", b) * self.config.trail_multiple
        if not math.isnan(trail):
            position.trail = trail * position.unit
        if not math.isnan(position.trail):
            self._ratchet(position, ticks)
        distance = float(self.plan.tighten[s, b if self.plan.tighten.shape[1] > 1 else 0])
        if not math.isnan(distance):
            self._tighten(position, float(self.plan.close[s, b]), distance, ticks)

    def _kill_switch(self, equity: float, moment: int) -> None:
        if self.killed and moment >= self.killed_until:
            self.killed, self.peak = False, equity
        self.peak = max(self.peak, equity)
        stop = self.limits.drawdown_stop
        if stop is not None and not self.killed and equity <= self.peak * (1.0 - stop):
            self.killed, self.killed_until = True, moment + round(self.limits.rearm_days * DAY_MS)
            self.pending.clear()
            for position in self.account.positions.values():
                position.leaving = int(Reason.KILL_SWITCH)

    def _age_orders(self, b: int, moment: int) -> None:
        for s in sorted(self.pending):
            order = self.pending[s]
            order.attempts += 1
            if order.attempts > self.limits.carry_bars:
                if order.filled == 0.0:
                    self._refuse(b, s, order.table, order.side, Refusal.NOT_FILLED, moment,
                                 f"not filled within {order.attempts} bars (too little traded, or the limit was not reached)")
                del self.pending[s]

    def _decide(self, b: int, equity: float, moment: int) -> None:
        plan, wanted = self.plan, []
        for s, tables in enumerate(plan.tables):
            position = self.account.positions.get(plan.symbols[s])
            if (position is not None and position.leaving < 0 and self.config.max_bars is not None
                    and b + 1 - position.entry_bar >= self.config.max_bars):
                position.leaving = int(Reason.TIME)
            for t, table in enumerate(tables):
                action = int(table.action[b])
                if action != Action.HOLD and self._handle(b, s, table, action, position, moment):
                    strength = self._at(s, table.strategy, "strength", b)
                    wanted.append((0.0 if math.isnan(strength) else -strength, s, t, action))
        for _, s, t, side in sorted(wanted):
            self._propose(b, s, plan.tables[s][t], side, equity, moment)

    def _handle(self, b: int, s: int, table: Signals, action: int, position: Position | None, moment: int) -> bool:
        """Do what an action means for what there is; True when it asks for a new entry."""
        order = self.pending.get(s)
        entering = abs(action) == 1
        holder = position.strategy if position is not None else order.table.strategy if order is not None else table.strategy
        if holder != table.strategy:
            self._refuse(b, s, table, int(np.sign(action)), Refusal.HELD, moment, f"held by {holder}")
            return False
        leaves = (lambda side: action == -side) if entering else (lambda side: action in (Action.EXIT, 2 * side))
        if order is not None:
            if leaves(order.side):
                del self.pending[s]
            elif entering:
                return False
        if position is None:
            return entering
        if leaves(position.side) and position.leaving < 0:
            position.leaving = int(Reason.REVERSED if entering else Reason.SIGNAL)
        return entering and action == -position.side

    def _propose(self, b: int, s: int, table: Signals, side: int, equity: float, moment: int) -> None:
        plan, config = self.plan, self.config
        symbol = plan.symbols[s]
        stop, target, trail = (self._at(s, table.strategy, n, b) * m for n, m in (
            ("stop", 1.0 if self.prices else config.stop_multiple), ("target", 1.0 if self.prices else config.target_multiple),
            ("trail", config.trail_multiple)))
        vetoed = self._at(s, table.strategy, "veto", b)
        scale = float(plan.scale[s, b if plan.scale.shape[1] > 1 else 0])
        held = {n: p.side * p.quantity * self.marks[n] for n, p in self.account.positions.items()}
        held |= {plan.symbols[k]: o.side * self.limits.position_cap * equity for k, o in self.pending.items()}
        if s in self.pending:
            self._refuse(b, s, table, side, Refusal.HELD, moment, f"held by {self.pending[s].table.strategy}")
            return
        entry = Proposal(symbol, side, self.marks[symbol], trail if math.isnan(stop) else stop, config.sizing is Sizing.RISK,
                         int(plan.veto[s, b]) or (int(Refusal.VETO) if vetoed > 0 else 0), math.isfinite(plan.half[s, b + 1]), scale)
        book = Book(config.market, equity, self.peak, self.day_start, moment, b, self.killed, self.paused_until, held, self.stopped,
                    plan.returns)
        verdicts = rules.judge(entry, book, self.limits, LIMITS)
        if not verdicts[-1].ok:
            self._refuse(b, s, table, side, Refusal(verdicts[-1].code), moment, f"{verdicts[-1].limit}: {verdicts[-1].words}")
            return
        if plan.hole_after[b]:
            self._refuse(b, s, table, side, Refusal.HOLE, moment, "the next bar is missing; nothing is entered across a hole")
            return
        limit = self._at(s, table.strategy, "limit", b)
        if not math.isnan(limit):
            limit = fills.round_price(limit, plan.contracts[s].ticks_per_unit, side > 0)
        cap = min((v.most_notional for v in verdicts if v.limit in rules.PORTFOLIO_LIMITS), default=math.inf)
        self.pending[s] = Pending(table, side, equity, stop, target, trail, limit, scale, cap)

    def _mark_open_trades(self) -> None:
        """Positions still open at the end, marked at the last close without costs, so that profits add up to the change of equity."""
        last = self.plan.bars - 1
        for symbol in sorted(self.account.positions):
            p = self.account.positions[symbol]
            mark = self.marks[symbol]
            pnl = p.side * (p.exit_sum + p.quantity * mark - p.entry_sum) - p.fees + p.funding
            self.trades.append(Trade(symbol, p.strategy, p.side, p.opened_at, int(self.plan.close_time[last]), p.entry, mark, p.entered,
                                     Reason.END, pnl, p.fees, p.slippage, p.funding, p.entry_bar, last, p.fills, p.risk * p.entered, False,
                                     pnl))
