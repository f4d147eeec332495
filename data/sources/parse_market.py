"""Answers about the market at a moment: tickers, best bid and ask, books, trades, averages. Spot and futures share the shapes.

An endpoint that carries no time is stamped with `now_ms`, the moment it was asked; what carries one keeps it as event_time, and
is known no earlier than that.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data.errors import BadPayload
from data.observations import Kind, Observations
from data.sources.fields import column, number, observations, rows_of, shaped, time_ms, times

NOT_A_QUOTE = "price 0 is not a quote: the symbol does not trade"


@shaped
def ticker_of(payload: Any, *, now_ms: int, provenance: str) -> Observations:
    """24-hour statistics of one symbol: prices in quote, volume in base, quote_volume in quote currency."""
    rows = rows_of(payload, "tickers")
    last = column(rows, "lastPrice")
    if np.any(last <= 0):
        return Observations.empty(Kind.TICKER, provenance=provenance, note=NOT_A_QUOTE)
    event = times(rows, "closeTime")
    names = {"open": "openPrice", "high": "highPrice", "low": "lowPrice", "volume": "volume", "quote_volume": "quoteVolume",
             "count": "count"}
    return observations(Kind.TICKER, event, np.maximum(event, now_ms), {"last": last} | {k: column(rows, v) for k, v in names.items()},
                        provenance=provenance)


@shaped
def book_ticker_of(payload: Any, *, now_ms: int, provenance: str) -> Observations:
    """Best bid and ask of one symbol. A stopped symbol answers with zeros (2,282 of 3,639 in a recorded answer): no row then."""
    rows = rows_of(payload, "book tickers")
    found = {"bid": column(rows, "bidPrice"), "bid_quantity": column(rows, "bidQty"), "ask": column(rows, "askPrice"),
             "ask_quantity": column(rows, "askQty")}
    if not np.all((found["bid"] > 0) & (found["ask"] > 0)):
        return Observations.empty(Kind.BOOK_TICKER, provenance=provenance, note=NOT_A_QUOTE)
    event = np.array([time_ms(row["time"]) if "time" in row else now_ms for row in rows], np.int64)
    return observations(Kind.BOOK_TICKER, event, np.maximum(event, now_ms), found, provenance=provenance)


@shaped
def last_prices_of(payload: Any) -> dict[str, float]:
    """Symbol to last price, of the price ticker for one or all symbols; those that do not trade (price 0) are left out."""
    prices = {str(row["symbol"]): number(row["price"], "price") for row in rows_of(payload, "prices")}
    return {symbol: price for symbol, price in prices.items() if price > 0}


@shaped
def average_price_of(payload: Any) -> float:
    """Binance's average over the last `mins` minutes, quote currency."""
    return number(rows_of(payload, "average prices")[0]["price"], "price")


@shaped
def average_prices_of(payload: Any, *, now_ms: int, provenance: str) -> Observations:
    """The same with its time, that of the last trade, and the minutes it is taken over. A symbol without trades gives no row."""
    rows = rows_of(payload, "average prices")
    price = column(rows, "price")
    if np.any(price <= 0):
        return Observations.empty(Kind.AVERAGE_PRICE, provenance=provenance, note=NOT_A_QUOTE)
    event = np.array([time_ms(row["closeTime"], "closeTime") if "closeTime" in row else now_ms for row in rows], np.int64)
    return observations(Kind.AVERAGE_PRICE, event, np.maximum(event, now_ms), {"price": price, "minutes": column(rows, "mins")},
                        provenance=provenance)


@shaped
def book_of(payload: Any, *, now_ms: int, provenance: str) -> Observations:
    """A depth snapshot: one row a level, bids (+1) best first, then asks (-1) best first. Futures carry a time, spot does not."""
    book = rows_of(payload, "order books")[0]
    update, event = number(book["lastUpdateId"], "lastUpdateId"), time_ms(book["T"]) if "T" in book else now_ms
    if not all(isinstance(level, list | tuple) and len(level) >= 2 for side in ("bids", "asks") for level in book[side]):
        raise BadPayload("expected levels of price and quantity in the order book")
    levels = [(1.0, number(level[0], "price"), number(level[1], "quantity"), update) for level in book["bids"]]
    levels += [(-1.0, number(level[0], "price"), number(level[1], "quantity"), update) for level in book["asks"]]
    table = np.array(levels, np.float64).reshape(-1, 4)
    stamp = np.full(len(table), event, np.int64)
    columns = dict(zip(("side", "price", "quantity", "update_id"), table.T, strict=True))
    return observations(Kind.BOOK, stamp, np.maximum(stamp, now_ms), columns, provenance=provenance)


@shaped
def trades_of(payload: Any, *, provenance: str) -> Observations:
    """Trades; side is the taker's: a buyer who was the maker means the taker sold (-1)."""
    rows = rows_of(payload, "trades")
    event = times(rows, "time")
    return observations(Kind.TRADES, event, event, {
        "trade_id": column(rows, "id"), "price": column(rows, "price"), "quantity": column(rows, "qty"),
        "side": np.array([-1.0 if _flag(row["isBuyerMaker"]) else 1.0 for row in rows])}, provenance=provenance)


@shaped
def agg_trades_of(payload: Any, *, provenance: str) -> Observations:
    """Trades of one taker at one price and time, added up."""
    rows = rows_of(payload, "aggregated trades")
    event = times(rows, "T")
    return observations(Kind.AGG_TRADES, event, event, {
        "agg_id": column(rows, "a"), "price": column(rows, "p"), "quantity": column(rows, "q"), "first_id": column(rows, "f"),
        "last_id": column(rows, "l"), "side": np.array([-1.0 if _flag(row["m"]) else 1.0 for row in rows])}, provenance=provenance)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise BadPayload(f"expected true or false for the maker's side, got {str(value)[:20]!r}")
    return value
