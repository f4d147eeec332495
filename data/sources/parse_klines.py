"""Candle arrays of Binance's kline endpoints: 12 elements, strings for prices, integers for times (binance.md 9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from data.clock import iso
from data.errors import BadPayload
from data.frames import COLUMNS, TIME_COLUMNS, Candles, row_faults
from data.market import Interval
from data.observations import Kind, Observations
from data.sources.fields import number, observations, shaped

# Order of the array's elements; the twelfth is unused by Binance.
_PLACES = ("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count", "taker_buy_volume",
           "taker_buy_quote_volume")


@dataclass(frozen=True)
class Bars:
    """Candles of one answer. `rejected` names rows that are no candles; `open_rows` counts the unfinished ones left out."""

    candles: Candles
    rejected: tuple[str, ...] = ()
    open_rows: int = 0


@shaped
def bars_of(payload: Any, interval: Interval, *, closed_before_ms: int, provenance: str, alone_before_ms: int | None = None,
            end_ms: int | None = None) -> Bars:
    """The closed candles in a kline answer, oldest first and unique.

    A row is closed when close_time < `closed_before_ms`, the exchange's time before the request (C1). An answer out of a cache was
    true before that, so the newest row must also have a later one beside it, or have closed before `alone_before_ms`. Rows from
    `end_ms` on are only such witnesses. A few candles of December 2017 and February 2018 open some seconds off the grid: they are
    floored to it, and of two that meet the first stays.

    Raises
    ------
    BadPayload
        When the answer is not a list of kline arrays.
    """
    columns = _columns(payload)
    opened = columns["open_time"]
    offset = interval.floor(0) % interval.ms
    floored = (opened - offset) // interval.ms * interval.ms + offset
    columns["open_time"] = floored
    columns["close_time"] = np.minimum(columns["close_time"], floored + interval.ms - 1)
    closed = columns["close_time"] < closed_before_ms
    wanted = floored < end_ms if end_ms is not None else np.ones(len(floored), bool)
    if alone_before_ms is not None and len(floored):
        closed &= (floored < floored.max()) | (columns["close_time"] < alone_before_ms)
    _, first = np.unique(floored, return_index=True)
    keep = np.zeros(len(opened), bool)
    keep[first] = True
    rows = np.flatnonzero(keep & closed & wanted)
    rows = rows[np.argsort(floored[rows], kind="stable")]
    columns = {name: array[rows] for name, array in columns.items()}
    faults = row_faults(columns, interval)
    rejected = tuple(f"{iso(int(columns['open_time'][row])) if 0 < columns['open_time'][row] < 4e12 else row}: {reason}"
                     for row, reason in sorted(faults.items()))
    if faults:
        good = np.ones(len(rows), bool)
        good[list(faults)] = False
        columns = {name: array[good] for name, array in columns.items()}
    return Bars(Candles.from_columns(interval, columns, provenance=provenance), rejected, int(np.count_nonzero(~closed & wanted)))


@shaped
def first_open_of(payload: Any) -> int | None:
    """open_time of the first candle of an answer; None when it is empty."""
    columns = _columns(payload)
    return int(columns["open_time"][0]) if len(columns["open_time"]) else None


@shaped
def price_bars_of(payload: Any, kind: Kind, *, closed_before_ms: int, provenance: str) -> Observations:
    """Mark, index or premium index candles. event_time is the bar's open_time, available_time its close_time.

    Prices are in quote currency; the premium index is a fraction and may be negative. Volume fields of these endpoints mean
    nothing and are dropped, as are unfinished bars.
    """
    columns = _columns(payload)
    done = columns["close_time"] < closed_before_ms
    return observations(kind, columns["open_time"][done], columns["close_time"][done],
                        {name: columns[name][done] for name in ("open", "high", "low", "close")}, provenance=provenance)


def _columns(payload: Any) -> dict[str, np.ndarray]:
    if not isinstance(payload, list) or not all(isinstance(row, list) and len(row) >= len(_PLACES) for row in payload):
        raise BadPayload(f"expected a list of candles with {len(_PLACES)} or more elements, got {str(payload)[:60]!r}")
    if not payload:
        return {name: np.empty(0, np.int64 if name in TIME_COLUMNS else np.float64) for name in COLUMNS}
    out: dict[str, np.ndarray] = {}
    for name, values in zip(_PLACES, zip(*(row[: len(_PLACES)] for row in payload), strict=True), strict=True):
        if name in TIME_COLUMNS:
            if not all(type(value) is int and abs(value) < 2**62 for value in values):
                raise BadPayload(f"expected whole milliseconds as {name}, got {str(values[0])[:30]!r}")
            out[name] = np.array(values, np.int64)
        else:
            out[name] = _floats(values, name)
    return out


def _floats(values: tuple, name: str) -> np.ndarray:
    if all(type(value) is str for value in values):
        try:
            return np.array(values, np.float64)  # the quick way: numpy reads a column of plain decimals at once
        except ValueError:
            return np.array([number(value, name) for value in values], np.float64)  # names the one that is not a number
    return np.array([number(value, name) for value in values], np.float64)
