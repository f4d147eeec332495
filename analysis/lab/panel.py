"""What the lab is given for one symbol: bars, scores over them, and which stretches are gap-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from data.errors import ContractBroken
from data.frames import Candles
from data.market import Interval


@dataclass(frozen=True)
class Panel:
    """One symbol's closed bars, oldest first, and its scores at their closes.

    Attributes
    ----------
    close_time : ndarray of int64, shape (bars,)
        UTC milliseconds, growing. A bar that is missing is simply not there.
    close, high, low : ndarray of float64, shape (bars,)
        Quote currency, above zero.
    scores : mapping of name to ndarray of shape (bars,)
        NaN where the score is unknown.
    regime : ndarray of str, shape (bars,), or None
        The label in force at each close; "" where unknown.
    segment_start : ndarray of int64, shape (bars,), or None
        As `Candles.segment_start`, which knows confirmed halts; None: every hole ends a segment.
    """

    interval: Interval
    close_time: np.ndarray
    close: np.ndarray
    high: np.ndarray
    low: np.ndarray
    scores: Mapping[str, np.ndarray]
    regime: np.ndarray | None = None
    segment_start: np.ndarray | None = None

    def __post_init__(self) -> None:
        n = len(self.close_time)
        columns = {"close": self.close, "high": self.high, "low": self.low, **self.scores}
        columns |= {k: v for k, v in (("regime", self.regime), ("segment_start", self.segment_start)) if v is not None}
        for name, array in columns.items():
            if np.shape(array) != (n,):
                raise ContractBroken(f"{name} has shape {np.shape(array)}, close_time has {n} rows; give one value a bar, NaN if unknown")
        if n and np.any(np.diff(self.close_time) <= 0):
            raise ContractBroken("close_time must grow from row to row; sort the bars and drop duplicates")

    def __len__(self) -> int:
        return len(self.close_time)

    @classmethod
    def of(cls, candles: Candles, scores: Mapping[str, np.ndarray], regime: np.ndarray | None = None) -> Panel:
        return cls(candles.interval, candles.close_time, candles.close, candles.high, candles.low, scores, regime, candles.segment_start)

    @cached_property
    def bar_number(self) -> np.ndarray:
        """Position of each bar on the interval's grid; a bar cut short by an outage keeps its place."""
        return (self.close_time - self.interval.floor(0) % self.interval.ms) // self.interval.ms

    @cached_property
    def segment(self) -> np.ndarray:
        """Equal numbers for bars of one gap-free stretch."""
        if self.segment_start is not None:
            return self.segment_start
        if not len(self):
            return np.empty(0, np.int64)
        return np.concatenate(([0], np.cumsum(np.diff(self.bar_number) != 1)))

    @cached_property
    def quarter(self) -> np.ndarray:
        """Calendar quarter of each close: 4 * year + 0..3."""
        month = self.close_time.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
        return month // 3 + 4 * 1970

    @cached_property
    def log_return(self) -> np.ndarray:
        """ln(C_t / C_{t-1}); NaN at the first bar of a segment."""
        out = np.full(len(self), np.nan)
        if len(self) > 1:
            out[1:] = np.where(self.segment[1:] == self.segment[:-1], np.diff(np.log(self.close)), np.nan)
        return out
