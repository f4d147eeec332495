"""The local order book: one snapshot, then every change in sequence, by Binance's rules (binance.md 11.4).

Spot: drop changes with `u <= lastUpdateId`; the first kept must satisfy `U <= lastUpdateId + 1 <= u`; each next one must not begin
after the one before it ended (`U <= last + 1`). Futures: drop `u < lastUpdateId`; the first must satisfy `U <= lastUpdateId <= u`
(or continue the snapshot exactly, `pu == lastUpdateId`); each next one must satisfy `pu == last`. A change that was already
applied is ignored. Anything else is a gap: the book is thrown away with a reason and waits for a new snapshot, keeping the
changes that arrive meanwhile. A book that would cross is treated the same way, so a reader never sees one.

Levels beyond the snapshot are unknown, not empty: `BookTop.complete` tells whether all rows lie inside what is known.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from collections import deque

import msgspec
import numpy as np

from data.market import Market
from data.streams.messages import DepthDiff, Level, Snapshot

WAITING_DIFFS = 5_000  # changes kept while a snapshot is fetched: 8 minutes of depth@100ms; then the oldest go and the gap is seen
MAX_LEVELS = 20_000  # per side; far levels pile up for days, the farthest quarter is forgotten then
FRONT_LEVELS = 128  # kept sorted per side; 64 to 256 were equally fast on recorded spot and futures days
SHORT_FRONT = 32
_INFINITE = float("inf")


class BookTop(msgspec.Struct, frozen=True, gc=False):
    """The best levels of both sides at one moment, best first; both sides hold at most n rows and may differ in length.

    Attributes
    ----------
    bid_price, ask_price : ndarray of float64
        Quote currency.
    bid_quantity, ask_quantity : ndarray of float64
        Base currency.
    complete : bool
        False when a row lies beyond the snapshot's reach, where levels may be missing.
    """

    symbol: str
    update_id: int
    event_ms: int
    bid_price: np.ndarray
    bid_quantity: np.ndarray
    ask_price: np.ndarray
    ask_quantity: np.ndarray
    complete: bool

    @property
    def mid(self) -> float:
        """Quote currency; NaN when a side is empty."""
        if not len(self.bid_price) or not len(self.ask_price):
            return float("nan")
        return float(self.bid_price[0] + self.ask_price[0]) / 2


class LocalBook:
    """One symbol's book. `apply` every diff in order of arrival; `start` it with a snapshot whenever `needs_snapshot`.

    Parameters
    ----------
    market : Market
        Which sequence rule holds.
    """

    def __init__(self, symbol: str, market: Market) -> None:
        self.symbol = symbol
        self.market = market
        self.synchronised = False
        self.reason = "no snapshot yet"
        self.last_id = -1
        self.event_ms = 0
        self.applied = 0
        self.ignored = 0
        self.resyncs = 0
        self._waiting: deque[DepthDiff] = deque(maxlen=WAITING_DIFFS)
        self._first = False
        self._forget()

    def _forget(self) -> None:
        self._bids = _Side(1)
        self._asks = _Side(-1)

    @property
    def needs_snapshot(self) -> bool:
        return not self.synchronised

    @property
    def levels(self) -> tuple[int, int]:
        """How many prices are known on the bid and the ask side."""
        return len(self._bids.quantity_at), len(self._asks.quantity_at)

    def lose(self, reason: str) -> None:
        """Throw the book away; the next snapshot starts it afresh."""
        if self.synchronised:
            self.resyncs += 1
        self.synchronised = False
        self.reason = reason
        self._waiting.clear()
        self._forget()

    def start(self, snapshot: Snapshot) -> bool:
        """Begin from a snapshot and what has arrived since. False when it does not reach the kept changes: fetch again."""
        waiting = list(self._waiting)
        self._forget()
        self._fill(snapshot)
        self.last_id, self.event_ms = snapshot.last_id, snapshot.event_ms
        self.synchronised, self.reason, self._first = True, "", True
        if self._crossed():
            self.lose("the snapshot is crossed")
        for diff in waiting:
            if not self.synchronised:
                break
            self.apply(diff)
        if self.synchronised:
            self._waiting.clear()
            return True
        # An old snapshot must not cost the changes that a newer one will need.
        self._waiting.clear()
        self._waiting.extend(waiting)
        return False

    def apply(self, diff: DepthDiff) -> bool:
        """True when the book changed and stays synchronised."""
        if not self.synchronised:
            self._waiting.append(diff)
            return False
        last = self.last_id
        if self.market is Market.SPOT:
            if diff.last_id <= last:
                self.ignored += 1
                return False
            if diff.first_id > last + 1:
                return self._gap(f"updates {last + 1} to {diff.first_id - 1} are missing", diff)
        elif self._first:
            if diff.last_id < last:
                self.ignored += 1
                return False
            if not diff.first_id <= last <= diff.last_id and diff.previous_id != last:
                return self._gap(f"the first update {diff.first_id} begins after the snapshot {last}", diff)
        elif diff.previous_id != last:
            if diff.last_id <= last:
                self.ignored += 1
                return False
            return self._gap(f"expected the update after {last}, got the one after {diff.previous_id}", diff)
        self._first = False
        bids, asks = self._bids, self._asks
        bids.change(diff.bids)
        asks.change(diff.asks)
        self.last_id = diff.last_id
        self.event_ms = diff.event_ms
        self.applied += 1
        if bids.front and asks.front and bids.front[-1] >= -asks.front[-1]:
            self.lose(f"the book crossed: best bid {bids.front[-1]:g}, best ask {-asks.front[-1]:g}")
            return False
        return True

    def nearest(self, n: int = 20) -> tuple[list[float], list[float], list[float], list[float]]:
        """Bid prices, bid quantities, ask prices, ask quantities of the n best levels, best first."""
        return *self._bids.nearest(n), *self._asks.nearest(n)

    def top(self, n: int = 20) -> BookTop:
        """The n best levels of each side as arrays; empty while the book is not synchronised."""
        bid_price, bid_quantity, ask_price, ask_quantity = self.nearest(n)
        complete = bool(bid_price and ask_price) and bid_price[-1] >= self._bids.reach and ask_price[-1] <= -self._asks.reach
        numbers = np.frombuffer(array("d", bid_price + bid_quantity + ask_price + ask_quantity))
        cut = 2 * len(bid_price)
        end = cut + len(ask_price)
        return BookTop(self.symbol, self.last_id, self.event_ms, numbers[: cut // 2], numbers[cut // 2 : cut], numbers[cut:end],
                       numbers[end:], complete)

    def best(self) -> tuple[float, float]:
        """Best bid and best ask, quote currency; NaN for an empty side."""
        nothing = float("nan")
        bids, asks = self._bids.front, self._asks.front
        return (bids[-1] if bids else nothing), (-asks[-1] if asks else nothing)

    def sides(self) -> tuple[dict[float, float], dict[float, float]]:
        """Copies of both sides, price to quantity: for comparing with a truth."""
        return dict(self._bids.quantity_at), dict(self._asks.quantity_at)

    def _gap(self, reason: str, diff: DepthDiff) -> bool:
        self.lose(reason)
        self._waiting.append(diff)
        return False

    def _fill(self, snapshot: Snapshot) -> None:
        self._bids.start(snapshot.bids)
        self._asks.start(snapshot.asks)

    def _crossed(self) -> bool:
        bid, ask = self.best()
        return bid >= ask


class _Side:
    """One side: the quantity at every known price, and the prices nearest to the market in order.

    Only the front is kept sorted: most changes lie behind it and cost one dictionary access. It is sorted afresh when
    it runs short. Its keys are prices times `sign`, so that the best is the largest and last on both sides, where a list grows
    and shrinks cheaply.
    """

    __slots__ = ("edge", "front", "quantity_at", "reach", "sign")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.quantity_at: dict[float, float] = {}
        self.front: list[float] = []
        self.edge = -_INFINITE  # keys from here on are in the front
        self.reach = -_INFINITE  # keys from here on are known for certain

    def start(self, levels: list[Level]) -> None:
        self.quantity_at = {price: quantity for price, quantity in levels if quantity}
        self._sort()
        # A side that came empty is known to be empty; any other is known down to its last price.
        self.reach = min((self.sign * price for price in self.quantity_at), default=-_INFINITE)

    def change(self, levels: list[Level]) -> None:
        quantity_at, front, edge, sign = self.quantity_at, self.front, self.edge, self.sign
        for price, quantity in levels:
            key = sign * price
            if key < edge:
                if quantity:
                    quantity_at[price] = quantity
                elif price in quantity_at:
                    del quantity_at[price]
            elif quantity:
                if price not in quantity_at:
                    insort(front, key)
                quantity_at[price] = quantity
            elif price in quantity_at:
                del quantity_at[price]
                del front[bisect_left(front, key)]
        if len(front) > 2 * FRONT_LEVELS:
            del front[:-FRONT_LEVELS]
            self.edge = front[0]
        elif len(front) < len(quantity_at) and (len(front) < SHORT_FRONT or len(quantity_at) > MAX_LEVELS):
            self._sort()

    def nearest(self, n: int) -> tuple[list[float], list[float]]:
        keys = self.front
        if len(keys) < n and len(keys) < len(self.quantity_at):
            keys = sorted(self.sign * price for price in self.quantity_at)
        prices = keys[: -n - 1 : -1]
        if self.sign < 0:
            prices = [-key for key in prices]
        return prices, list(map(self.quantity_at.__getitem__, prices))

    def _sort(self) -> None:
        if self.sign > 0:
            keys = sorted(self.quantity_at)
        else:
            keys = [-price for price in sorted(self.quantity_at, reverse=True)]
        if len(keys) > MAX_LEVELS:
            for key in keys[: MAX_LEVELS // 4]:
                del self.quantity_at[self.sign * key]
            del keys[: MAX_LEVELS // 4]
            self.reach = max(self.reach, keys[0])
        self.front = keys[-FRONT_LEVELS:]
        self.edge = self.front[0] if len(self.front) < len(keys) else -_INFINITE
