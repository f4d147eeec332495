"""The order book of any symbol at any tenth of a second: a pure function of (seed, symbol, time).

Modelled: a one-tick spread that follows the last trade (a taker buy lifts the ask, a taker sale hits the bid); other levels stand on
a sparse lattice about 0.2 basis points apart, each with its own size and life, so that some dozens change per second; the sizes of
the best quotes lean, six times in ten, towards where the price goes within the next second. Not modelled: queues depleted by single trades.

A step is a tenth of a second. Step s owns the update ids s * ID_STRIDE + 1 ... (s + 1) * ID_STRIDE, so the book at any update id is
known: it is that of the last whole step. Ids of a step that is under way belong to changes of no level.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from data.market import MINUTE_MS, Market
from data.simulator.flow import MinuteFlow, minute_flow
from data.simulator.market import EPOCH_MS
from data.simulator.tape import Tape

STEP_MS = 100
ID_STRIDE = 40
LEVELS = 300  # lattice levels per side
LATTICE_SHARE = 2e-5  # of the price, between two lattice levels
BASE_VALUE = 4e-5  # of hourly turnover, at one level
LOOK_AHEAD_STEPS = 10
LEAN = 0.6
STEPS_PER_MINUTE = MINUTE_MS // STEP_MS
REMEMBERED_MINUTES = 256


@dataclass(frozen=True)
class Book:
    """All levels at one step: price in ticks to quantity in steps of the lot size, best first."""

    step: int
    bids: dict[int, int]
    asks: dict[int, int]

    @property
    def update_id(self) -> int:
        """The last id whose changes are in it."""
        return (self.step + 1) * ID_STRIDE


def step_at(ms: int) -> int:
    """The last step that has been completed at a moment."""
    return (ms - EPOCH_MS) // STEP_MS


def time_of(step: int) -> int:
    """The moment a step is completed and published."""
    return EPOCH_MS + step * STEP_MS


def _hash(*parts: np.ndarray | int) -> np.ndarray:
    """Splitmix64 over parts: uniform doubles in [0, 1), the same everywhere."""
    state = np.full(1, 0x9E3779B97F4A7C15, np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:
            state = state ^ np.asarray(part, np.int64).astype(np.uint64)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return (state >> np.uint64(11)).astype(np.float64) / 9007199254740992.0


def _one(*parts: int) -> float:
    """`_hash` of plain numbers: the same value, without arrays of one element."""
    mask, state = (1 << 64) - 1, 0x9E3779B97F4A7C15
    for part in parts:
        state ^= part & mask
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
        state ^= state >> 31
    return (state >> 11) / 9007199254740992.0


class Floor:
    """The trading floor: trades and books of every symbol and market, remembered for a few minutes."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self._flows: OrderedDict[tuple[str, Market, int], MinuteFlow | None] = OrderedDict()
        self._quotes: OrderedDict[tuple[str, Market, int], np.ndarray] = OrderedDict()
        self._books: OrderedDict[tuple[str, Market, int], Book] = OrderedDict()
        self._lattices: OrderedDict[tuple[int, int], tuple[np.ndarray, ...]] = OrderedDict()

    # -- trades -----------------------------------------------------------------------------------------------------

    def flow(self, symbol: str, market: Market, open_ms: int) -> MinuteFlow | None:
        """Trades of the minute that opens at `open_ms`; None in a hole."""
        key = (symbol, market, open_ms)
        if key not in self._flows:
            found = self.tape.minute(symbol, market, open_ms)
            item = self.tape.listing(symbol)
            self._flows[key] = None if found is None else minute_flow(
                (self.tape.seed, 7_100, self.tape.number(symbol), int(market is Market.PERP)), *found, item.tick, item.step,
                self.tape.trades_before(symbol, market, open_ms))
            _forget(self._flows)
        return self._flows[key]

    def trades(self, symbol: str, market: Market, start_ms: int, end_ms: int) -> list[tuple[int, int, float, float, bool]]:
        """(id, time, price, quantity, buyer is maker) of every trade with start <= time < end, oldest first."""
        out: list[tuple[int, int, float, float, bool]] = []
        for minute in range(start_ms // MINUTE_MS * MINUTE_MS, end_ms, MINUTE_MS):
            flow = self.flow(symbol, market, minute)
            if flow is not None:
                a, b = (int(i) for i in np.searchsorted(flow.time, (start_ms, end_ms)))
                out += zip(range(flow.first_id + a, flow.first_id + b), flow.time[a:b].tolist(), flow.price[a:b].tolist(),
                           flow.quantity[a:b].tolist(), flow.buyer_is_maker[a:b].tolist(), strict=True)
        return out

    # -- books ------------------------------------------------------------------------------------------------------

    def best_bid_ticks(self, symbol: str, market: Market, step: int) -> int:
        """The best bid after a step, in ticks; the best ask is one tick above."""
        at = time_of(step)
        minute = at // MINUTE_MS * MINUTE_MS
        return int(self._minute_quotes(symbol, market, minute)[(at - minute) // STEP_MS])

    def _minute_quotes(self, symbol: str, market: Market, minute: int) -> np.ndarray:
        """Best bids in ticks at the tenths of a minute, the first at its opening."""
        key = (symbol, market, minute)
        found = self._quotes.get(key)
        if found is None:
            tick = self.tape.listing(symbol).tick
            flow = self.flow(symbol, market, minute)
            before = self._last_bid(symbol, market, minute)
            if flow is None or not len(flow):
                found = np.full(STEPS_PER_MINUTE, before, np.int64)
            else:
                bids = np.rint(flow.price / tick).astype(np.int64) - (~flow.buyer_is_maker)
                last = np.searchsorted(flow.time, minute + np.arange(STEPS_PER_MINUTE) * STEP_MS, side="right") - 1
                found = np.where(last < 0, before, bids[np.maximum(last, 0)])
            self._quotes[key] = found = np.maximum(found, 1)
            _forget(self._quotes)
        return found

    def _last_bid(self, symbol: str, market: Market, minute: int) -> int:
        """Where the bid stood when a minute opened: after the last trade of the nearest minute before it that has one."""
        tick = self.tape.listing(symbol).tick
        for back in range(1, 60):
            flow = self.flow(symbol, market, minute - back * MINUTE_MS)
            if flow is not None and len(flow):
                return round(float(flow.price[-1]) / tick) - int(not flow.buyer_is_maker[-1])
        hours = self.tape.hours(symbol, market, None, minute)
        return round(float(hours.close[-1]) / tick)

    def book(self, symbol: str, market: Market, step: int) -> Book:
        """The whole book after a step. Slow truth and fast path are one: it is computed from nothing but its arguments."""
        key = (symbol, market, step)
        found = self._books.get(key)
        if found is None:
            self._books[key] = found = self._compute(symbol, market, step)
            _forget(self._books)
        return found

    def _compute(self, symbol: str, market: Market, step: int) -> Book:
        tape, item = self.tape, self.tape.listing(symbol)
        name = tape.number(symbol) * 2 + int(market is Market.PERP)
        best = self.best_bid_ticks(symbol, market, step)
        coming = self.best_bid_ticks(symbol, market, step + LOOK_AHEAD_STEPS) - best
        # The lattice hangs on the listing's first price, not on today's: it never moves under the book.
        stride = max(1, round(item.price * LATTICE_SHARE / item.tick))
        j, ticks, life, phase = self._lattice(name, best // stride, stride)
        is_bid = ticks < best
        keep = is_bid | (ticks > best + 1)
        j, ticks, life, phase, is_bid = j[keep], ticks[keep], life[keep], phase[keep], is_bid[keep]
        age = (step + phase) // life
        draw = _hash(tape.seed, name, 4, j, age, is_bid)
        unit = max(1.0, item.turnover_usdt * BASE_VALUE / (best * item.tick) / item.step)
        units = np.where(draw < 0.1, 0, np.maximum(1, np.rint(-np.log1p(-draw) * unit))).astype(np.int64)  # a tenth stands empty
        lean = np.sign(coming) if _one(tape.seed, name, 5, step // 5) < 0.5 + LEAN / 2 else -np.sign(coming)
        at_best = []
        for side, sign in ((6, 1), (7, -1)):
            noise = float(np.exp(_one(tape.seed, name, side, step // 3) - 0.5))
            at_best.append(max(1, round(noise * (1 + sign * 0.6 * float(lean)) * 3 * unit)))
        bids = {best: at_best[0]} | {t: u for t, u in zip(ticks[is_bid][::-1].tolist(), units[is_bid][::-1].tolist(), strict=True) if u}
        asks = {best + 1: at_best[1]} | {t: u for t, u in zip(ticks[~is_bid].tolist(), units[~is_bid].tolist(), strict=True) if u}
        return Book(step, bids, asks)

    def _lattice(self, name: int, centre: int, stride: int) -> tuple[np.ndarray, ...]:
        """What never changes of the levels around a place: their numbers, ticks, lives in steps, and phases of life."""
        found = self._lattices.get((name, centre))
        if found is None:
            seed = self.tape.seed
            j = np.arange(max(1, centre - LEVELS), centre + LEVELS + 1, dtype=np.int64)
            ticks = j * stride + (np.floor(_hash(seed, name, 1, j) * stride)).astype(np.int64)
            life = 10 + np.floor(290 * _hash(seed, name, 2, j)).astype(np.int64)
            found = (j, ticks, life, np.floor(life * _hash(seed, name, 3, j)).astype(np.int64))
            self._lattices[name, centre] = found
            _forget(self._lattices)
        return found


def changes(before: dict[int, int], after: dict[int, int]) -> list[tuple[int, int]]:
    """Levels to set so that `before` becomes `after`; quantity 0 removes a level."""
    return [(t, q) for t, q in after.items() if before.get(t) != q] + [(t, 0) for t in before if t not in after]


def touched(books: list[dict[int, int]]) -> list[tuple[int, int]]:
    """Levels that changed at any step of a run, with their last quantities.

    A level that came and went within the run is told as removed: a snapshot taken in between holds it.
    """
    if len(books) == 2:
        return changes(*books)
    moved = {level: None for before, after in pairwise(books) for level, _ in changes(before, after)}
    return [(level, books[-1].get(level, 0)) for level in moved]


def _forget(memory: OrderedDict) -> None:
    while len(memory) > REMEMBERED_MINUTES:
        memory.popitem(last=False)
