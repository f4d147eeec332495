"""The archive's tables that are no candles: funding settlements, five-minute metrics, prices by the hour, trades, depth by bands."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

import numpy as np

from data.errors import BadPayload
from data.frames import EARLIEST_MS, LATEST_MS
from data.market import MINUTE_MS
from data.observations import Kind, Observations
from data.sources.fields import number, observations, shaped
from data.sources.parse_futures import PUBLISHED_AFTER_MS, funding_rows, hours_before
from data.sources.parse_klines import price_bars_of

_FUNDING = ("calc_time", "funding_interval_hours", "last_funding_rate")
_METRICS = ("create_time", "symbol", "sum_open_interest", "sum_open_interest_value", "count_toptrader_long_short_ratio",
            "sum_toptrader_long_short_ratio", "count_long_short_ratio", "sum_taker_long_short_vol_ratio")
# Which column of a metrics file is which ratio (binance.md 12): "count" counts accounts, "sum" adds positions up.
_RATIOS = {Kind.TOP_ACCOUNT_RATIO: "count_toptrader_long_short_ratio", Kind.TOP_POSITION_RATIO: "sum_toptrader_long_short_ratio",
           Kind.GLOBAL_RATIO: "count_long_short_ratio", Kind.TAKER_RATIO: "sum_taker_long_short_vol_ratio"}
_DEPTH = ("timestamp", "percentage", "depth", "notional")
# Where a trade's values stand in a line; the quote quantity and spot's "best match" are not kept.
_TRADE_PLACES = {Kind.TRADES: {"trade_id": 0, "price": 1, "quantity": 2, "time": 4, "maker": 5},
                 Kind.AGG_TRADES: {"agg_id": 0, "price": 1, "quantity": 2, "first_id": 3, "last_id": 4, "time": 5, "maker": 6}}
_WHOLE = ("trade_id", "agg_id", "first_id", "last_id", "time")
METRIC_KINDS = (Kind.OPEN_INTEREST, *_RATIOS)
_PERIOD_MS = 5 * MINUTE_MS
_TENTH_US = 100_000_000_000_000  # above this a stamp is in microseconds (spot files from 2025 on)


@shaped
def archive_funding_of(data: bytes, *, provenance: str) -> Observations:
    """A monthly fundingRate file: settlements with their own interval; it has no mark price (NaN)."""
    rows = sorted(((_stamp(row["calc_time"]), row) for row in _rows(data, _FUNDING)), key=lambda pair: pair[0])
    stamp = np.array([at for at, _ in rows], np.int64)
    hours = np.array([number(row["funding_interval_hours"], "funding_interval_hours") for _, row in rows])
    hours = np.where(np.isfinite(hours) & (hours > 0), hours, hours_before(stamp))
    rate = np.array([number(row["last_funding_rate"], "last_funding_rate") for _, row in rows])
    return funding_rows(stamp, rate, hours, np.full(len(rows), np.nan), provenance)


@shaped
def metrics_of(data: bytes, kind: Kind, symbol: str, *, provenance: str) -> Observations:
    """One kind out of a daily metrics file. Rows are unsorted and, before May 2021, doubled; blanks are left out.

    Ratios have no shares of their own there: with ratio r, long_share = r / (1 + r). The taker's volumes are not in the file.
    """
    wanted = "sum_open_interest" if kind is Kind.OPEN_INTEREST else _RATIOS[kind]
    found: dict[int, tuple[float, float]] = {}
    for row in _rows(data, _METRICS):
        if row["symbol"] != symbol:
            raise BadPayload(f"expected metrics of {symbol}, the file has {row['symbol'][:24]!r}")
        one = number(row[wanted], wanted)
        at = _moment(row["create_time"])
        if np.isfinite(one) and at not in found:
            found[at] = (one, number(row["sum_open_interest_value"], "sum_open_interest_value"))
    event = np.array(sorted(found), np.int64)
    value = np.array([found[int(at)][0] for at in event])
    if kind is Kind.OPEN_INTEREST:
        return observations(kind, event, event + PUBLISHED_AFTER_MS, {
            "contracts": value, "value_quote": np.array([found[int(at)][1] for at in event])}, provenance=provenance)
    if kind is Kind.TAKER_RATIO:
        return observations(kind, event, event + _PERIOD_MS + PUBLISHED_AFTER_MS, {"ratio": value}, provenance=provenance)
    return observations(kind, event, event + PUBLISHED_AFTER_MS, {
        "ratio": value, "long_share": value / (1 + value), "short_share": 1 / (1 + value)}, provenance=provenance)


@shaped
def price_table_of(data: bytes, kind: Kind, *, provenance: str) -> Observations:
    """A file of mark, index or premium index candles, with or without header: rows as the kline endpoints give them."""
    names = ("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count", "taker_buy_volume",
             "taker_buy_quote_volume")
    rows: list[list[str | int]] = [[_stamp(row[name]) if name in ("open_time", "close_time") else row[name] for name in names]
                                   for row in _rows(data, names)]
    return price_bars_of(rows, kind, closed_before_ms=LATEST_MS, provenance=provenance)


@shaped
def trade_table_of(data: bytes, kind: Kind, *, provenance: str) -> Observations:
    """A file of trades or aggregated trades, with or without header; times in milliseconds or, on spot from 2025 on, microseconds.

    Every row is one: a price or quantity that is none refuses the file. Some files are unsorted: rows come out by time and number.
    """
    import pyarrow as pa
    import pyarrow.csv

    places = _TRADE_PLACES[kind]
    first = data[: data.find(b"\n") if b"\n" in data else len(data)].decode()
    count = first.count(",") + 1
    if count <= max(places.values()):
        raise BadPayload(f"expected {max(places.values()) + 1} or more columns of {kind}, the first line has {count}: {first[:60]!r}")
    names = [f"f{i}" for i in range(count)]
    types = {names[at]: pa.int64() if name in _WHOLE else pa.bool_() if name == "maker" else pa.float64() for name, at in places.items()}
    table = pa.csv.read_csv(
        pa.BufferReader(data),
        read_options=pa.csv.ReadOptions(column_names=names, skip_rows=int(not first[:1].isdigit()), use_threads=False),
        parse_options=pa.csv.ParseOptions(quote_char=False),
        convert_options=pa.csv.ConvertOptions(column_types=types, include_columns=list(types), true_values=["true", "True"],
                                              false_values=["false", "False"], null_values=[]))
    found = {name: table.column(names[at]).to_numpy() for name, at in places.items()}
    stamp = np.where(found["time"] > _TENTH_US, found["time"] // 1000, found["time"])
    for name, good in (("time", (stamp >= EARLIEST_MS) & (stamp < LATEST_MS)),
                       ("price", np.isfinite(found["price"]) & (found["price"] > 0)),
                       ("quantity", np.isfinite(found["quantity"]) & (found["quantity"] >= 0))):
        if not np.all(good):
            row = int(np.flatnonzero(~good)[0])
            raise BadPayload(f"row {row + 1} of the file of {kind} has no {name}: {found[name][row]!s:.24}")
    number_of = "agg_id" if kind is Kind.AGG_TRADES else "trade_id"
    order = np.lexsort((found[number_of], stamp))
    columns = {name: found[name][order].astype(np.float64) for name in places if name not in ("time", "maker")}
    columns["side"] = np.where(found["maker"][order].astype(bool), -1.0, 1.0)
    return observations(kind, stamp[order], stamp[order], columns, provenance=provenance)


@shaped
def book_depth_of(data: bytes, *, provenance: str) -> Observations:
    """A daily bookDepth file: base (`depth`) and quote (`notional`) quantity between the mid and so many percent away, cumulative.

    `percentage` is negative for bids; ten bands until 2026-01-14, then twelve. It is no order book.
    """
    rows = _rows(data, _DEPTH)
    moments = {text: _stamp(text) if text.isdigit() else _moment(text) for text in {row["timestamp"] for row in rows}}
    event = np.array([moments[row["timestamp"]] for row in rows], np.int64)
    columns = {name: np.array([number(row[name], name) for row in rows], np.float64) for name in _DEPTH[1:]}
    order = np.lexsort((columns["percentage"], event))
    return observations(Kind.BOOK_DEPTH, event[order], event[order], {name: values[order] for name, values in columns.items()},
                        provenance=provenance)


def _rows(data: bytes, names: tuple[str, ...]) -> list[dict[str, str]]:
    """The lines of a table with or without its header, as dictionaries."""
    out = []
    try:
        table = list(csv.reader(io.StringIO(data.decode("utf-8-sig"))))
    except csv.Error as error:
        raise BadPayload(f"expected a csv table, got text that is none ({error})") from None
    for line, cells in enumerate(table):
        if not cells or (line == 0 and cells[0].strip() == names[0]):
            continue
        if len(cells) < len(names):
            raise BadPayload(f"expected {len(names)} columns ({', '.join(names)}), line {line + 1} has {len(cells)}")
        out.append({name: cell.strip() for name, cell in zip(names, cells, strict=False)})
    return out


def _stamp(text: str) -> int:
    value = int(text)
    value = value // 1000 if value > _TENTH_US else value
    if not EARLIEST_MS <= value < LATEST_MS:
        raise BadPayload(f"expected milliseconds or microseconds of this century, got {text[:24]!r}")
    return value


def _moment(text: str) -> int:
    """"2023-12-12 00:05:00" is UTC."""
    return int(datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()) * 1000
