"""Messages to rows: closed candles to `Candles`, ticks to columns and from there to `Observations`.

`event_time` is when it happened at the exchange (trade time, else event time). `available_time` is when it reached this computer,
but never before the exchange published it: a local clock that runs behind must not make a row known too early. Spot's
bookTicker carries no time at all; the time of receipt stands for both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

import numpy as np

from data.frames import COLUMNS, TIME_COLUMNS, Candles
from data.market import Interval
from data.observations import COLUMNS_OF, Kind, Observations
from data.streams.book import BookTop
from data.streams.messages import AggTrade, BookTicker, DepthDiff, ForceOrder, KlineBody, MarkPrice, Message, Snapshot, Trade, ms


class TickKind(StrEnum):
    """What a recorded row is. `BOOK` rows are whole samples of the top levels, `DEPTH` rows single changed levels."""

    AGG_TRADE = "aggTrade"
    TRADE = "trade"
    BOOK_TICKER = "bookTicker"
    BOOK = "book"
    DEPTH = "depth"
    MARK_PRICE = "markPrice"
    FORCE_ORDER = "forceOrder"


TICK_COLUMNS: Mapping[TickKind, tuple[str, ...]] = {
    TickKind.AGG_TRADE: COLUMNS_OF[Kind.AGG_TRADES],
    TickKind.TRADE: COLUMNS_OF[Kind.TRADES],
    TickKind.BOOK_TICKER: COLUMNS_OF[Kind.BOOK_TICKER],
    TickKind.BOOK: COLUMNS_OF[Kind.BOOK],
    TickKind.DEPTH: (*COLUMNS_OF[Kind.BOOK], "first_id", "previous_id"),
    TickKind.MARK_PRICE: ("mark", "index", "settle_estimate", "rate", "next_time_ms"),
    TickKind.FORCE_ORDER: COLUMNS_OF[Kind.LIQUIDATIONS],
}
Row = tuple[float, ...]  # event_time, available_time, then the kind's columns


def rows_of(message: Message, received_ms: int) -> tuple[TickKind, str, list[Row]] | None:
    """The kind, the symbol and the rows of one message; None when it holds nothing to keep."""
    if isinstance(message, AggTrade):
        at, known = ms(message.trade_ms), max(received_ms, ms(message.event_ms))
        return TickKind.AGG_TRADE, message.symbol, [(at, known, message.agg_id, message.price, message.quantity, message.side,
                                                     message.first_id, message.last_id)]
    if isinstance(message, BookTicker):
        known = max(received_ms, ms(message.event_ms))
        at = ms(message.transaction_ms or message.event_ms) or received_ms
        return TickKind.BOOK_TICKER, message.symbol, [(at, known, message.bid, message.bid_quantity, message.ask, message.ask_quantity)]
    if isinstance(message, Trade):
        if not message.price or not message.quantity:
            return None  # futures tell of insurance fund moves with price 0: nobody traded
        at, known = ms(message.trade_ms), max(received_ms, ms(message.event_ms))
        return TickKind.TRADE, message.symbol, [(at, known, message.trade_id, message.price, message.quantity, message.side)]
    if isinstance(message, DepthDiff):
        at, known = ms(message.event_ms) or received_ms, max(received_ms, ms(message.event_ms))
        ids = (message.last_id, message.first_id, message.previous_id)
        return TickKind.DEPTH, message.symbol, [(at, known, side, price, quantity, *ids)
                                                for side, levels in ((1, message.bids), (-1, message.asks))
                                                for price, quantity in levels]
    if isinstance(message, MarkPrice):
        at = ms(message.event_ms)
        return TickKind.MARK_PRICE, message.symbol, [(at, max(received_ms, at), message.mark, message.index or np.nan,
                                                      message.settle_estimate or np.nan, message.funding_rate,
                                                      ms(message.next_funding_ms) or np.nan)]
    if isinstance(message, ForceOrder):
        order = message.order
        known = max(received_ms, ms(message.event_ms or 0))
        at = ms(order.trade_ms or message.event_ms or 0) or received_ms
        return TickKind.FORCE_ORDER, order.symbol, [(at, known, message.side, order.price, order.average_price, order.quantity,
                                                     order.filled_quantity)]
    return None


def rows_of_book(book: BookTop | Snapshot, received_ms: int) -> list[Row]:
    """A whole sample: bids best first, then asks, all under one update id and one pair of times."""
    if isinstance(book, BookTop):
        levels = [(1, zip(book.bid_price.tolist(), book.bid_quantity.tolist(), strict=True)),
                  (-1, zip(book.ask_price.tolist(), book.ask_quantity.tolist(), strict=True))]
        update_id, event_ms = book.update_id, book.event_ms
    else:
        levels = [(1, iter(book.bids)), (-1, iter(book.asks))]  # type: ignore[list-item]
        update_id, event_ms = book.last_id, book.event_ms
    at = ms(event_ms) or received_ms
    return [(at, max(received_ms, at), side, price, quantity, update_id) for side, pairs in levels for price, quantity in pairs]


def columns_of(kind: TickKind, rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """event_time and available_time as int64, the kind's columns as float64, in order of arrival."""
    table = np.array(rows, np.float64).reshape(len(rows), 2 + len(TICK_COLUMNS[kind]))
    columns: dict[str, np.ndarray] = {"event_time": table[:, 0].astype(np.int64), "available_time": table[:, 1].astype(np.int64)}
    return columns | {name: np.ascontiguousarray(table[:, 2 + i]) for i, name in enumerate(TICK_COLUMNS[kind])}


_KIND_OF = {TickKind.AGG_TRADE: Kind.AGG_TRADES, TickKind.TRADE: Kind.TRADES, TickKind.BOOK_TICKER: Kind.BOOK_TICKER,
            TickKind.BOOK: Kind.BOOK, TickKind.DEPTH: Kind.BOOK, TickKind.FORCE_ORDER: Kind.LIQUIDATIONS}


def observations_of(kind: TickKind, columns: Mapping[str, np.ndarray], *, provenance: str = "LIVE") -> dict[Kind, Observations]:
    """The same rows in the vocabulary of views. A mark price gives three kinds: mark, index and the predicted funding rate."""
    event, known = columns["event_time"], columns["available_time"]

    def made(to: Kind, values: Mapping[str, np.ndarray], note: str = "") -> Observations:
        return Observations(to, event, known, {name: values[name] for name in COLUMNS_OF[to]}, provenance, note)

    if kind is not TickKind.MARK_PRICE:
        to = _KIND_OF[kind]
        return {to: made(to, columns)}
    found = {to: made(to, dict.fromkeys(COLUMNS_OF[to], columns[name]), "one tick, not a candle: open = high = low = close")
             for to, name in ((Kind.MARK_PRICE, "mark"), (Kind.INDEX_PRICE, "index"))}
    nothing = np.full(len(event), np.nan)  # the stream does not tell how long the funding period is
    found[Kind.FUNDING_PREDICTED] = made(Kind.FUNDING_PREDICTED, {
        "rate": columns["rate"], "interval_h": nothing, "next_time_ms": columns["next_time_ms"]})
    return found


def observations(messages: Iterable[tuple[int, Message]], *, provenance: str = "LIVE") -> dict[tuple[str, Kind], Observations]:
    """Observations by (symbol, kind) of (received_ms, message) pairs; candles and service messages are left out."""
    kept: dict[tuple[TickKind, str], list[Row]] = {}
    for received_ms, message in messages:
        for each in message if isinstance(message, list) else (message,):
            found = rows_of(each, received_ms)
            if found is not None and found[2]:
                kept.setdefault(found[:2], []).extend(found[2])
    return {(symbol, to): rows for (kind, symbol), many in kept.items()
            for to, rows in observations_of(kind, columns_of(kind, many), provenance=provenance).items()}


def candles_of(bodies: Sequence[KlineBody], interval: Interval, *, provenance: str = "LIVE") -> Candles:
    """Closed candles of one symbol and interval, oldest first; of several with one open time the last one stays."""
    latest = {ms(body.open_time): body for body in bodies if body.closed}
    ordered = [latest[at] for at in sorted(latest)]
    columns = {name: np.array([ms(getattr(body, name)) for body in ordered], np.int64) if name in TIME_COLUMNS
               else np.array([getattr(body, name) for body in ordered], np.float64) for name in COLUMNS}
    return Candles.from_columns(interval, columns, provenance=provenance)
