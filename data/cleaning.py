"""Filling missing bars on a copy, for an export or a training table; never in the store, scores, fills or signals.

The store keeps what the exchange said. Whoever needs a table without holes asks for one here, says how, and gets every
invented row marked as such (decisions.md 6).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from data.errors import InputError
from data.frames import COLUMNS, OPTIONAL_COLUMNS, PRICE_COLUMNS, Candles
from data.market import Interval
from data.quality import outlier_flags

LARGEST_FILL_BARS = 1_000_000


class Fill(StrEnum):
    LEAVE = "leave"
    DROP = "drop"
    PREVIOUS = "previous"
    LINEAR = "linear"
    REGRESSION = "regression"

    @classmethod
    def parse(cls, text: str) -> Fill:
        try:
            return cls(text.strip().lower())
        except ValueError:
            known = ", ".join(f.value for f in cls)
            raise InputError(f"expected a way of filling ({known}), got {text[:20]!r}") from None


@dataclass(frozen=True)
class CleanTable:
    """A copy of candles with two more columns.

    Attributes
    ----------
    columns : dict of name to ndarray
        All columns of `Candles`, plus `filled` (bool: the row was invented) and `outlier` (bool, data/quality.py; never True for
        an invented row).
    uses_future : bool
        True when invented values depend on prices after the hole; such a table must not feed a backtest.
    """

    interval: Interval
    fill: Fill
    columns: dict[str, np.ndarray]
    filled_rows: int
    dropped_rows: int
    uses_future: bool

    def __len__(self) -> int:
        return len(self.columns["open_time"])


def clean(candles: Candles, fill: Fill = Fill.LEAVE) -> CleanTable:
    """A copy of the candles, with holes treated as asked.

    leave       as stored: missing bars are absent rows
    drop        also without rows that are incomplete: candles an outage cut short, and rows lacking a column others have
    previous    a missing bar has the close before the hole as its four prices, and no volume; known at once
    linear      closes run in a straight line to the first close after the hole; no volume; knows the future
    regression  comes with the models, whose out-of-sample predictions it needs

    A confirmed exchange halt is filled like any other hole: the flag tells.

    Raises
    ------
    InputError
        For regression, and when more than a million rows would be invented.
    """
    if fill is Fill.REGRESSION:
        raise InputError("regression fill needs a trained model and comes with the models; choose leave, drop, previous, linear")
    columns = {name: np.array(array) for name, array in candles.columns().items()}
    columns["outlier"] = outlier_flags(candles)
    columns["filled"] = np.zeros(len(candles), bool)
    dropped = filled = 0
    if fill is Fill.DROP:
        keep = _whole(candles)
        columns = {name: array[keep] for name, array in columns.items()}
        dropped = int(np.count_nonzero(~keep))
    elif fill in (Fill.PREVIOUS, Fill.LINEAR):
        columns = _filled(columns, candles.interval, linear=fill is Fill.LINEAR)
        filled = int(columns["filled"].sum())
    return CleanTable(candles.interval, fill, columns, filled, dropped, fill is Fill.LINEAR and filled > 0)


def _whole(candles: Candles) -> np.ndarray:
    keep = ~candles.short
    for name in OPTIONAL_COLUMNS:
        lacking = np.isnan(getattr(candles, name))
        if not lacking.all():
            keep = keep & ~lacking
    return keep


def _filled(columns: dict[str, np.ndarray], interval: Interval, *, linear: bool) -> dict[str, np.ndarray]:
    times = columns["open_time"]
    if len(times) < 2:
        return columns
    bars = (int(times[-1]) - int(times[0])) // interval.ms + 1
    if bars - len(times) > LARGEST_FILL_BARS:
        raise InputError(f"expected at most {LARGEST_FILL_BARS:,} missing bars to fill, found {bars - len(times):,}; ask for a "
                         "shorter range")
    grid = int(times[0]) + np.arange(bars, dtype=np.int64) * interval.ms
    place = np.searchsorted(times, grid, side="right") - 1  # the stored row at or before each bar
    missing = times[place] != grid
    out = {name: columns[name][place] for name in COLUMNS}
    out["open_time"] = grid
    out["close_time"] = np.where(missing, grid + interval.ms - 1, out["close_time"])
    before = columns["close"][place]
    if linear:
        after = columns["close"][np.minimum(place + 1, len(times) - 1)]
        hole = times[np.minimum(place + 1, len(times) - 1)] - times[place]
        share = np.where(missing, (grid - times[place]) / np.maximum(hole, 1), 0.0)
        close = before + share * (after - before)
        opened = before + np.maximum(share - interval.ms / np.maximum(hole, 1), 0.0) * (after - before)
    else:
        close = opened = before
    invented = {"open": opened, "high": np.maximum(opened, close), "low": np.minimum(opened, close), "close": close}
    for name in (*PRICE_COLUMNS, "volume", *OPTIONAL_COLUMNS):
        if name in invented:
            out[name] = np.where(missing, invented[name], out[name])
        else:  # nothing was traded as far as anybody knows; a column the source lacks stays absent
            out[name] = np.where(missing & ~np.isnan(out[name]), 0.0, out[name])
    out["outlier"] = columns["outlier"][place] & ~missing
    out["filled"] = missing
    return out
