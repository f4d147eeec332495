"""A group of symbols made of arrays of returns, and the view of one of them that modules of the group read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from analysis.fits import FitCache
from data.frames import Candles, aggregate
from data.market import HOUR_MS, Interval, Market, SeriesKey
from data.view import AccountSnapshot, MarketView, Need, build_view
from tests.memory_reader import MemoryReader

START_MS = 1_704_067_200_000  # 2024-01-01T00:00Z


def priced(returns: np.ndarray, *, start: int = START_MS, volume: float = 100.0) -> Candles:
    """Hourly candles whose log returns these are; the first candle has none."""
    close = 100.0 * np.exp(np.cumsum(returns))
    opened = np.concatenate((close[:1], close[:-1]))
    return Candles.from_columns(Interval.H1, {
        "open_time": start + np.arange(len(close), dtype=np.int64) * HOUR_MS, "open": opened, "close": close,
        "high": np.maximum(opened, close) * 1.001, "low": np.minimum(opened, close) * 0.999, "volume": np.full(len(close), volume),
        "quote_volume": volume * close})


def group_of(returns: np.ndarray, names: Iterable[str]) -> dict[str, Candles]:
    """One series a column."""
    return {name: priced(returns[:, i]) for i, name in enumerate(names)}


def group_view(group: Mapping[str, Candles], symbol: str, needs: Iterable[Need], *, at_ms: int | None = None, fits: FitCache | None = None,
               account: AccountSnapshot | None = None, more_bars: int = 0) -> MarketView:
    """The view of one of the group, its daily candles summed from the hours."""
    series = {SeriesKey(name, Interval.H1): candles for name, candles in group.items()}
    series |= {key.at(Interval.D1): aggregate(candles, Interval.D1) for key, candles in list(series.items())}
    return build_view(MemoryReader(series), symbol, Market.SPOT, Interval.H1, needs, at_ms=at_ms, fits=fits, account=account,
                      more_bars=more_bars, peers=tuple(group))
