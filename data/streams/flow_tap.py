"""Between the feeds and the samplers: what the feeds record also feeds one `FlowSampler` a symbol, and closed rows go to a shelf.

    tap = FlowTap(market, symbols, book=lambda symbol: feed.book(symbol), provenance="LIVE")
    feed = BookFeed(..., record=both(recorder, tap.record))
    rows = tap.collect(clock.now_ms())      # on the streams' thread, every few seconds
    shelf.store(market, rows)               # on another: it waits for the disk
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence

from data.market import Market, Provenance
from data.storage.flow_shelf import Sampled
from data.streams.batches import Row, TickKind
from data.streams.book import BookTop, LocalBook
from data.streams.book_feed import Record
from data.streams.flow_samples import FlowSampler

DEPTHS = (5_000, 1_000, 200, 20)  # levels of a sample: as many as lie inside what is known of the book
CLOCK_MARGIN_MS = 2_000  # closing by the local clock waits this much longer: it may run ahead of the exchange's
LAG_OVER_MS = 30_000
SMALLEST_LAG_MS = 200  # a shorter one is the line's, and well within the grace of the samplers


class FlowTap:
    """The samplers of one market. `record` has the signature of the feeds' `record` and never raises for a foreign row.

    Parameters
    ----------
    book : callable (symbol) -> LocalBook or None
        The book that is kept; its losses of sequence are gaps of the order-flow imbalance.
    tickers : bool
        Whether bookTicker streams. Without it the quote comes from book samples, as if polled.
    trades : TickKind or None
        Which of AGG_TRADE and TRADE counts; None where none is streamed.
    traded : collection of symbols, optional
        Those whose trades are streamed; the volumes of the others are unknown, not 0. None: all.
    """

    def __init__(self, market: Market, symbols: Sequence[str], *, book: Callable[[str], LocalBook | None], tickers: bool = True,
                 trades: TickKind | None = TickKind.AGG_TRADE, traded: Collection[str] | None = None,
                 provenance: str = Provenance.LIVE) -> None:
        self.market = market
        self._book, self._tickers, self._trades = book, tickers, trades
        self._samplers = {symbol: FlowSampler(polled=not tickers, trades=trades is not None and (traded is None or symbol in traded),
                                              provenance=provenance) for symbol in symbols}
        self._resyncs = dict.fromkeys(symbols, 0)
        self._last_id: dict[str, int] = {}
        self._lag = _Lag()

    def record(self, kind: TickKind, symbol: str, rows: Sequence[Row]) -> None:
        """Rows of the feeds: (event_time, available_time, the kind's columns)."""
        sampler = self._samplers.get(symbol)
        if sampler is None:
            return
        if kind is TickKind.BOOK_TICKER:
            self._watch(symbol, sampler)
            lag = self._lag.least
            for row in rows:  # spot's carry no time but that of receipt; by a clock that runs ahead their seconds ended before the trades'
                sampler.quote(int(row[0]) - (lag if row[0] == row[1] else 0), int(row[1]), *row[2:6])
        elif kind is self._trades:
            for row in rows:
                at, number = int(row[0]), int(row[2])
                last = self._last_id.get(symbol)
                if last is not None and number > last + 1:
                    sampler.trade_gap(at)
                self._last_id[symbol] = max(number, last or 0)
                self._lag.note(at, int(row[1]) - at)
                sampler.trade(at, int(row[1]), row[3], row[4], int(row[5]))
        elif kind is TickKind.BOOK and rows:
            self._watch(symbol, sampler)
            self._sample(symbol, sampler, int(rows[0][0]), int(rows[0][1]))

    def collect(self, now_ms: int) -> list[Sampled]:
        """Close what is over and hand out the rows closed since the last call; symbols without any are left out."""
        out = []
        for symbol, sampler in self._samplers.items():
            sampler.close(now_ms - CLOCK_MARGIN_MS - self._lag.least)
            seconds, minutes = sampler.take()
            if len(seconds):
                out.append((symbol, seconds, minutes))
        return out

    def _watch(self, symbol: str, sampler: FlowSampler) -> None:
        book = self._book(symbol)
        if book is not None and book.resyncs != self._resyncs[symbol]:
            self._resyncs[symbol] = book.resyncs
            sampler.gap()

    def _sample(self, symbol: str, sampler: FlowSampler, event_ms: int, received_ms: int) -> None:
        book = self._book(symbol)
        if book is None or not book.synchronised:
            return
        if not self._tickers:
            (bid, bid_q, ask, ask_q) = (side[0] if side else float("nan") for side in book.nearest(1))
            sampler.quote(event_ms, received_ms, bid, bid_q, ask, ask_q)
        if sampler.wants_book(event_ms):
            top = _known_top(book)
            if top is not None:
                sampler.book(event_ms, received_ms, top.bid_price, top.bid_quantity, top.ask_price, top.ask_quantity)


class _Lag:
    """How long after it happened a trade is received at best, over the last half minute: the line, and how far our clock runs ahead."""

    def __init__(self) -> None:
        self._since_ms = 0
        self._now = self._before = math.inf

    def note(self, event_ms: int, lag_ms: int) -> None:
        if not 0 <= event_ms - self._since_ms < LAG_OVER_MS:
            self._since_ms, self._before, self._now = event_ms, self._now, math.inf
        self._now = min(self._now, lag_ms)

    @property
    def least(self) -> int:
        """Milliseconds; 0 where it is small or nothing was received yet."""
        found = min(self._now, self._before)
        return int(found) if SMALLEST_LAG_MS < found < math.inf else 0


def _known_top(book: LocalBook) -> BookTop | None:
    """The deepest sample that lies wholly inside what is known; None where not even the first twenty levels do."""
    for depth in DEPTHS:
        top = book.top(depth)
        if top.complete:
            return top
    return None


def both(first: Record | None, second: Record) -> Record:
    """Tell two listeners."""
    if first is None:
        return second

    def record(kind: TickKind, symbol: str, rows: Sequence[Row]) -> None:
        first(kind, symbol, rows)
        second(kind, symbol, rows)

    return record
