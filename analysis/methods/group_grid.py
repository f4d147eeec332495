"""The symbols of a group side by side on one grid of times, whoever of them asks."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.remembered import OfObject
from data.frames import Candles
from data.market import Interval


def on_grid(candles: Candles, values: np.ndarray, end_ms: int, rows: int) -> np.ndarray:
    """`values` of the candles at the `rows` grid times before `end_ms`; NaN where there is no candle.

    The grid is `end_ms - rows * step .. end_ms - step` of open times: it depends on the moment alone, never on who has which candles.
    """
    out = np.full(rows, np.nan)
    step = candles.interval.ms
    first = end_ms - rows * step
    inside = slice(*np.searchsorted(candles.open_time, (first, end_ms)))
    at = (candles.open_time[inside] - first) // step
    out[at] = values[inside]
    return out


def grid_end(anchor_ms: int, interval: Interval) -> int:
    """The last grid time at or before a moment: bars opened before it had closed by then."""
    return interval.floor(anchor_ms)


@dataclass(frozen=True)
class DayGrid:
    """One symbol on the grids of a day: what every view of the group reads of it until the next midnight.

    `plain`, `traded` (see `traded_returns`) and `turnover` (quote volume) have `rows` values, `prices` (logarithms) `price_rows`.
    """

    plain: np.ndarray
    traded: np.ndarray
    turnover: float
    prices: np.ndarray


_days: OfObject[tuple[tuple[int, int, int], DayGrid]] = OfObject()


def day_grid(candles: Candles, end_ms: int, rows: int, price_rows: int) -> DayGrid:
    """The grids that end at `end_ms`, made once for candles that several views share."""
    asked, held = (end_ms, rows, price_rows), _days.get(candles)
    if held is None or held[0] != asked:
        held = (asked, DayGrid(
            on_grid(candles, candles.log_return, end_ms, rows), on_grid(candles, traded_returns(candles), end_ms, rows),
            float(np.nansum(on_grid(candles, candles.quote_volume, end_ms, rows))),
            on_grid(candles, np.log(candles.close), end_ms, price_rows)))
        _days.put(candles, held)
    return held[1]


def returns_table(group: Mapping[str, Candles], returns: Mapping[str, np.ndarray], end_ms: int, rows: int) -> np.ndarray:
    """Returns of the group, shape (rows, symbols), columns in the order of the mapping."""
    if not group:
        return np.empty((rows, 0))
    return np.stack([on_grid(candles, returns[name], end_ms, rows) for name, candles in group.items()], axis=1)


def traded_returns(candles: Candles) -> np.ndarray:
    """Log returns, NaN also where nothing was traded: a stale print would look like a follower."""
    return np.where(candles.volume > 0, candles.log_return, np.nan)


def day_slices(anchors: np.ndarray) -> list[slice]:
    """Rows of each fit: the stretches over which the anchor is the same."""
    edges = [0, *(np.flatnonzero(np.diff(anchors)) + 1).tolist(), len(anchors)]
    return [slice(a, b) for a, b in itertools.pairwise(edges) if b > a]


def moved(candles: Candles, end_ms: int, rows: int) -> bool:
    """Whether the close changed at all on the grid."""
    closes = on_grid(candles, candles.close, end_ms, rows)
    known = closes[np.isfinite(closes)]
    return len(known) > 1 and float(np.ptp(known)) > 0.0


