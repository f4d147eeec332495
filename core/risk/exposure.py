"""What positions add up to: the tail of the whole account and groups that move together, from returns known at the moment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.statistics import historical_es, historical_var
from data.frames import Candles
from data.market import DAY_MS

HISTORY_DAYS = 365
MINIMUM_DAYS = 100
SAME_MOVE = 0.8  # correlation above which two symbols count as one bet


@dataclass(frozen=True)
class DailyReturns:
    """Simple returns per whole UTC day, aligned: `day` (n_days,) the day's number, `returns` (n_days, n_symbols), NaN where unknown."""

    symbols: tuple[str, ...]
    day: np.ndarray
    returns: np.ndarray

    @classmethod
    def of(cls, candles: Mapping[str, Candles]) -> DailyReturns:
        symbols = tuple(sorted(candles))
        closes = {s: daily_closes(candles[s].close_time, candles[s].close) for s in symbols}
        days = np.unique(np.concatenate([d for d, _ in closes.values()]))
        table = np.full((len(days), len(symbols)), np.nan)
        for column, symbol in enumerate(symbols):
            day, close = closes[symbol]
            change = np.full(len(day), np.nan)
            change[1:] = np.where(np.diff(day) == 1, close[1:] / close[:-1] - 1.0, np.nan)
            table[np.searchsorted(days, day), column] = change
        return cls(symbols, days, table)

    def known_at(self, moment_ms: int, symbols: tuple[str, ...]) -> np.ndarray:
        """Days finished at the moment, at most a year, on which every symbol has a return: shape (days, len(symbols))."""
        if any(s not in self.symbols for s in symbols):
            return np.empty((0, len(symbols)))
        stop = int(np.searchsorted(self.day, moment_ms // DAY_MS, side="left"))
        rows = self.returns[max(0, stop - HISTORY_DAYS) : stop, [self.symbols.index(s) for s in symbols]]
        return rows[np.isfinite(rows).all(axis=1)]


def daily_closes(close_time: np.ndarray, close: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The last value of every UTC day: (day number, value). The last day may be unfinished."""
    day = close_time // DAY_MS
    last = np.flatnonzero(np.append(np.diff(day) != 0, True)) if len(day) else np.empty(0, int)
    return day[last], close[last]


def portfolio_tail(history: np.ndarray, weights: np.ndarray, *, alpha: float = 0.01) -> tuple[float, float]:
    """One-day VaR and ES of signed weights (share of equity each) by historical simulation; positive fractions of equity.

    NaN with fewer than 100 common days: then it cannot be computed.
    """
    if len(history) < MINIMUM_DAYS:
        return math.nan, math.nan
    pnl = history @ np.asarray(weights, float)
    return historical_var(pnl, alpha=alpha), historical_es(pnl, alpha=alpha)


def correlation(history: np.ndarray) -> np.ndarray:
    """Matrix of correlations of the columns; NaN with fewer than 100 days or where a column does not vary."""
    k = history.shape[1]
    if len(history) < MINIMUM_DAYS:
        return np.full((k, k), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.atleast_2d(np.corrcoef(history, rowvar=False))
