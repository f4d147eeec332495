"""Forecasts that a training made of rows its model had not seen: what a backtest of it may trade on, and how often they were right.

A served model has learned from the whole history, so on that history only the forecasts of its walk-forward blocks are honest.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from analysis.statistics.multiplicity import wilson
from models.folds import OutOfFold

NEAR = 0.025  # how far a probability may lie from the one asked about to count as about the same
FEWEST = 30


@dataclass(frozen=True)
class PastForecasts:
    """Out-of-fold forecasts in time order, calibrated on earlier blocks alone.

    Attributes
    ----------
    symbol : ndarray of int64, shape (rows,)
        Position in the model's symbols.
    close_time : ndarray of int64
        When the row was known, UTC milliseconds.
    outcome : ndarray of int64
        Position in the classes of what happened.
    probability : ndarray, shape (rows, classes)
    """

    symbol: np.ndarray
    close_time: np.ndarray
    outcome: np.ndarray
    probability: np.ndarray

    @classmethod
    def of(cls, held: OutOfFold, name: str) -> PastForecasts | None:
        """The judged rows of a training; None for numbers."""
        if not held.data.classes:
            return None
        rows = np.flatnonzero(held.judged)
        data = held.data.take(rows)
        return cls(data.rows.symbol.astype(np.int64), data.t0.astype(np.int64), data.codes().astype(np.int64),
                   held.calibrated.get(name, held.forecasts[name])[rows])

    def at(self, symbol: int, close_time: np.ndarray) -> np.ndarray:
        """Probabilities at these closes, shape (n, classes); NaN where no block forecast them."""
        mine = np.flatnonzero(self.symbol == symbol)
        out = np.full((len(close_time), self.probability.shape[1]), np.nan)
        if len(mine):
            at = np.minimum(np.searchsorted(self.close_time[mine], close_time), len(mine) - 1)
            there = self.close_time[mine][at] == close_time
            out[there] = self.probability[mine[at[there]]]
        return out

    def happened(self, column: int, probability: float, *, horizon: int = 1,
                 before_ms: int | None = None) -> tuple[int, float, float, float] | None:
        """Of the rows that were given about this probability: how many, the share in which the class came true, and its 95 % interval.

        `before_ms`: only rows known before it, by default all. None below 30 rows. Outcomes overlap over `horizon` bars, and several
        symbols mostly go the same way at once, so the interval is that of n / (horizon symbols) trials.
        """
        rows = np.abs(self.probability[:, column] - probability) <= NEAR
        if before_ms is not None:
            rows &= self.close_time < before_ms
        n = int(rows.sum())
        if n < FEWEST:
            return None
        hits = int((self.outcome[rows] == column).sum())
        low, high = wilson(hits / n, n / (horizon * len(np.unique(self.symbol[rows]))))
        return n, hits / n, low, high

    def file(self) -> bytes:
        """One plain numpy array: symbol, close time, outcome, probabilities."""
        out = io.BytesIO()
        np.save(out, np.column_stack((self.symbol, self.close_time, self.outcome, self.probability)).astype(np.float64), allow_pickle=False)
        return out.getvalue()

    @classmethod
    def read(cls, data: bytes) -> PastForecasts:
        table = np.load(io.BytesIO(data), allow_pickle=False)
        symbol, close_time, outcome = (table[:, k].astype(np.int64) for k in range(3))
        return cls(symbol, close_time, outcome, np.ascontiguousarray(table[:, 3:]))
