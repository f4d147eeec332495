"""Trades and best quotes condensed as they stream by: one row a second, one row a minute (`Kind.SECOND_FLOW`, `Kind.MINUTE_FLOW`).

    second: mid, bid, ask, bid_quantity, ask_quantity   the quote at the second's end
            spread_bps, imbalance, depth                means over time; imbalance (qb - qa)/(qb + qa), depth (qb + qa)/2
            buy_volume ... sell_count                   of takers, base units and trades
            ofi                                         order-flow imbalance, base units (Cont, Kukanov & Stoikov 2014)
            latency_flow, latency_ms                    sum of exp(-(lat - least)/250 ms) * signed quantity, and the least latency
            price_changes, updates, life_ms             of the best quote; median completed life of a pair of best prices
    minute: mid at the end; spread_bps and best_depth over time; the book's shape (book_shape.py), means of samples taken every 5 s, costs
            and walls from the last of them; volumes; ofi; large_share, the share of taker notional in trades of 100,000 and more

`event_time` is the beginning of the second or minute; the row is available at its last millisecond, or when the message that closed it was
received. Rows are whole: what the sampler saw half of is not told. A gap in the book's sequence, a crossed or locked quote, and polled
books make the order-flow imbalance unknown (NaN), which needs every change in its order; ten silent seconds make the quote unknown.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping

import numpy as np

from data.market import Provenance
from data.observations import COLUMNS_OF, Kind, Observations
from data.streams.book_shape import Shape, shape_of

SECOND_MS, MINUTE_MS = 1_000, 60_000
GRACE_MS = 500  # trades and quotes come by different connections: a second is closed this long after its end
SILENT_MS = 10_000
POLLED_SILENT_MS = 90_000
SHAPE_EVERY_MS = 5_000
LOST_MS = 120_000  # a longer silence of everything begins afresh, without rows in between
LATENCY_MS = 250.0
LARGE_NOTIONAL = 100_000.0
WAITING_MOST = 4 * 3600  # rows kept while nobody takes them; then the oldest go
LAST_SAMPLE = ("buy_slippage_10k", "sell_slippage_10k", "unfilled_10k", "buy_slippage_100k", "sell_slippage_100k", "unfilled_100k",
               "wall_bps", "wall_mass")
NAN = math.nan
Row = tuple[float, ...]


class FlowSampler:
    """Feed it quotes, books and trades of one symbol in their order of arrival; `take` hands out the closed rows.

    Parameters
    ----------
    polled : bool
        The quotes are asked for now and then, not streamed: no order-flow imbalance, no counts of updates, and a quote counts for 90 s.
    trades : bool
        Whether trades are fed; without them volumes are unknown, not 0.
    provenance : str
        Of the rows.
    """

    def __init__(self, *, polled: bool = False, trades: bool = True, provenance: str = Provenance.LIVE) -> None:
        self._polled, self._with_trades, self._provenance = polled, trades, str(provenance)
        self._silent = POLLED_SILENT_MS if polled else SILENT_MS
        self.late = 0  # trades that came after their second was closed
        self._seconds: list[Row] = []
        self._minutes: list[Row] = []
        self._forget()

    def _forget(self) -> None:
        self._next = self._first = -1  # second to close next, and the first that was seen whole
        self._due = -1  # event time from which it is closed
        self._time = self._end = self._heard = self._shape_ms = 0
        self._valid = False
        self._bid = self._bid_q = self._ask = self._ask_q = self._spread = self._imbalance = self._depth = NAN
        self._life_from = -1
        self._traded: dict[int, list[float]] = {}
        self._quoted: dict[int, Row] = {}
        self._shapes: dict[int, list[Shape]] = {}
        self._trades_broken: set[int] = set()
        self._minute: _Minute | None = None
        self._clean()

    def _clean(self) -> None:
        """Begin a second of quotes."""
        self._held = self._sum_spread = self._sum_imbalance = self._sum_depth = self._ofi = 0.0
        self._broken = False
        self._changes = self._updates = 0
        self._lives: list[int] = []

    # -- what comes in ----------------------------------------------------------------------------------------------------

    def quote(self, event_ms: int, received_ms: int, bid: float, bid_quantity: float, ask: float, ask_quantity: float) -> None:
        """The best bid and ask after a change."""
        if event_ms >= self._due:
            self._advance(event_ms, received_ms)
        at = event_ms if event_ms > self._time else self._time
        if at >= self._end:
            self._roll(at)
        was_valid = self._valid
        if was_valid:
            elapsed = at - self._time
            if elapsed:
                self._held += elapsed
                self._sum_spread += elapsed * self._spread
                self._sum_imbalance += elapsed * self._imbalance
                self._sum_depth += elapsed * self._depth
        self._time = self._heard = at
        self._updates += 1
        both = bid_quantity + ask_quantity
        if not (0.0 < bid < ask and both > 0.0):
            self._valid, self._broken, self._life_from = False, True, -1
            return
        if was_valid:
            bid_before, ask_before = self._bid, self._ask
            flow = 0.0
            if bid >= bid_before:
                flow += bid_quantity
            if bid <= bid_before:
                flow -= self._bid_q
            if ask <= ask_before:
                flow -= ask_quantity
            if ask >= ask_before:
                flow += self._ask_q
            self._ofi += flow
            if bid != bid_before or ask != ask_before:
                self._changes += 1
                if self._life_from >= 0:
                    self._lives.append(at - self._life_from)
                self._life_from = at
                self._spread = 2e4 * (ask - bid) / (ask + bid)
        else:
            self._valid = self._broken = True
            self._life_from = -1
            self._spread = 2e4 * (ask - bid) / (ask + bid)
        self._bid, self._bid_q, self._ask, self._ask_q = bid, bid_quantity, ask, ask_quantity
        self._imbalance = (bid_quantity - ask_quantity) / both
        self._depth = 0.5 * both

    def trade(self, event_ms: int, received_ms: int, price: float, quantity: float, side: int) -> None:
        """A fill; `side` +1 where the taker bought, -1 where it sold."""
        if event_ms >= self._due:
            self._advance(event_ms, received_ms)
        second = event_ms // SECOND_MS
        if second < self._next:
            self.late += second >= self._first
            return
        held = self._traded.get(second)
        if held is None:
            held = self._traded[second] = [0.0, 0.0, 0.0, 0.0, 0.0, math.inf, 0.0, 0.0]
        if side > 0:
            held[0] += quantity
            held[2] += 1.0
        else:
            held[1] += quantity
            held[3] += 1.0
        latency = float(received_ms - event_ms)
        if latency < held[5]:  # weights are relative to the least latency: those before fall
            held[4] *= math.exp((latency - held[5]) / LATENCY_MS)
            held[5] = latency
        held[4] += side * quantity * math.exp((held[5] - latency) / LATENCY_MS)
        notional = price * quantity
        held[6] += notional
        if notional >= LARGE_NOTIONAL:
            held[7] += notional

    def wants_book(self, event_ms: int) -> bool:
        """Whether a sample of the whole book is due."""
        return event_ms - self._shape_ms >= SHAPE_EVERY_MS

    def book(self, event_ms: int, received_ms: int, bid_price: np.ndarray, bid_quantity: np.ndarray, ask_price: np.ndarray,
             ask_quantity: np.ndarray) -> None:
        """A sample of the whole book, as deep as it is known, best first. More often than every 5 s they are ignored."""
        if event_ms >= self._due:
            self._advance(event_ms, received_ms)
        if not self.wants_book(event_ms):
            return
        self._shape_ms = event_ms
        shape = shape_of(bid_price, bid_quantity, ask_price, ask_quantity)
        if shape is not None:
            self._heard = max(self._heard, event_ms)
            self._shapes.setdefault(event_ms // MINUTE_MS, []).append(shape)

    def gap(self, event_ms: int | None = None) -> None:
        """Quotes were missed: the order-flow imbalance of the second is unknown, the next quote begins afresh.

        Without a time they may be missing since the last quote, and nothing after that counts.
        """
        if event_ms is not None:
            if event_ms >= self._due:
                self._advance(event_ms, event_ms)
            at = max(event_ms, self._time)
            if at >= self._end:
                self._roll(at)
            self._hold(at)
            self._time = at
        self._valid, self._broken, self._life_from = False, True, -1

    def trade_gap(self, event_ms: int) -> None:
        """Trades of the second `event_ms` lies in were missed: its volumes are unknown."""
        self._trades_broken.add(event_ms // SECOND_MS)

    def close(self, now_ms: int) -> None:
        """Close what is over by the clock, when no message comes."""
        if self._next >= 0 and now_ms >= self._due:
            self._advance(now_ms, now_ms)

    def take(self) -> tuple[Observations, Observations]:
        """(seconds, minutes) closed since the last call."""
        seconds, self._seconds = self._seconds, []
        minutes, self._minutes = self._minutes, []
        return self._rows(Kind.SECOND_FLOW, seconds), self._rows(Kind.MINUTE_FLOW, minutes)

    def _rows(self, kind: Kind, rows: list[Row]) -> Observations:
        names = COLUMNS_OF[kind]
        table = np.array(rows, np.float64).reshape(len(rows), 2 + len(names))
        columns = {name: np.ascontiguousarray(table[:, 2 + i]) for i, name in enumerate(names)}
        return Observations(kind, table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), columns, self._provenance)

    # -- closing ----------------------------------------------------------------------------------------------------------

    def _advance(self, event_ms: int, received_ms: int) -> None:
        """Close every second that ended a grace before."""
        second = event_ms // SECOND_MS
        if self._next >= 0 and event_ms - self._due > LOST_MS:
            self._forget()
        if self._next < 0:  # the first, or the first after a long silence: the second under way was not seen whole
            self._next = self._first = second + 1
            self._time, self._end = event_ms, (second + 1) * SECOND_MS
        while event_ms >= (self._next + 1) * SECOND_MS + GRACE_MS:
            self._roll((self._next + 1) * SECOND_MS)
            self._finish(self._next, received_ms)
            self._next += 1
        self._due = (self._next + 1) * SECOND_MS + GRACE_MS

    def _roll(self, at: int) -> None:
        """End the seconds of quotes up to `at`; what stands is carried on."""
        while self._end <= at:
            if self._valid and self._end - self._heard > self._silent:
                self._valid, self._broken, self._life_from = False, True, -1
            self._hold(self._end)
            if self._end > self._next * SECOND_MS:
                self._quoted[self._end // SECOND_MS - 1] = self._second_of_quotes()
            self._time = max(self._time, self._end)
            self._end += SECOND_MS
            self._clean()
            self._broken = not self._valid

    def _hold(self, at: int) -> None:
        """The quote stood until `at`."""
        if self._valid:
            elapsed = at - self._time
            self._held += elapsed
            self._sum_spread += elapsed * self._spread
            self._sum_imbalance += elapsed * self._imbalance
            self._sum_depth += elapsed * self._depth

    def _second_of_quotes(self) -> Row:
        quote = ((self._bid + self._ask) / 2, self._bid, self._ask, self._bid_q, self._ask_q) if self._valid else (NAN,) * 5
        ofi = NAN if self._broken or self._polled or not self._valid else self._ofi
        life = float(statistics.median(self._lives)) if self._lives else NAN
        counts = (NAN, NAN, NAN) if self._polled else (float(self._changes), float(self._updates), life)
        return (*quote, self._held, self._sum_spread, self._sum_imbalance, self._sum_depth, ofi, *counts)

    def _finish(self, second: int, received_ms: int) -> None:
        mid, bid, ask, bid_q, ask_q, held, spread, imbalance, depth, ofi, changes, updates, life = self._quoted.pop(second)
        traded = self._traded.pop(second, None) or [0.0, 0.0, 0.0, 0.0, 0.0, math.inf, 0.0, 0.0]
        lost = not self._with_trades or second in self._trades_broken
        self._trades_broken.discard(second)
        buy, sell, buys, sells, flow, least, notional, large = (NAN,) * 8 if lost else traded
        start = second * SECOND_MS
        known = float(max(received_ms, start + SECOND_MS - 1))
        means = (spread / held, imbalance / held, depth / held) if held > 0 else (NAN, NAN, NAN)
        self._seconds.append((float(start), known, mid, bid, ask, bid_q, ask_q, *means, buy, sell, buys, sells, ofi, flow,
                              least if least < math.inf else NAN, changes, updates, life))
        minute = start // MINUTE_MS
        if self._minute is None and start % MINUTE_MS == 0:
            self._minute = _Minute()
        if self._minute is not None:
            self._minute.add(held, spread, depth, ofi, buy, sell, notional, large)
            if (start + SECOND_MS) % MINUTE_MS == 0:
                self._minutes.append((float(minute * MINUTE_MS), known, *self._minute.row(mid, self._shapes.get(minute, []))))
                self._minute = None
        for old in [m for m in self._shapes if m < minute or (m == minute and (start + SECOND_MS) % MINUTE_MS == 0)]:
            del self._shapes[old]
        if len(self._seconds) > WAITING_MOST:
            del self._seconds[: SECOND_MS]


class _Minute:
    """Sums over the seconds of a minute under way."""

    def __init__(self) -> None:
        self.held = self.spread = self.depth = self.ofi = self.buy = self.sell = self.notional = self.large = 0.0

    def add(self, held: float, spread: float, depth: float, ofi: float, buy: float, sell: float, notional: float, large: float) -> None:
        self.held += held
        self.spread += spread
        self.depth += depth
        self.ofi += ofi
        self.buy += buy
        self.sell += sell
        self.notional += notional
        self.large += large

    def row(self, mid: float, shapes: list[Shape]) -> Row:
        """In the order of `COLUMNS_OF[Kind.MINUTE_FLOW]`."""
        shown = dict.fromkeys(Shape._fields, NAN) if not shapes else _mean_shape(shapes)
        values: Mapping[str, float] = {
            "mid": mid, "spread_bps": self.spread / self.held if self.held else NAN, **shown, "buy_volume": self.buy,
            "sell_volume": self.sell, "ofi": self.ofi, "best_depth": self.depth / self.held if self.held else NAN,
            "large_share": self.large / self.notional if self.notional > 0 else NAN}
        return tuple(values[name] for name in COLUMNS_OF[Kind.MINUTE_FLOW])


def _mean_shape(shapes: list[Shape]) -> dict[str, float]:
    """Means over the samples that knew the value; costs and walls are those of the last sample."""
    out = {}
    for name in Shape._fields:
        known = [value for value in (getattr(shape, name) for shape in shapes) if not math.isnan(value)]
        out[name] = getattr(shapes[-1], name) if name in LAST_SAMPLE else math.fsum(known) / len(known) if known else NAN
    return out
