"""A candle reader that holds its series in memory: views without a store."""

from __future__ import annotations

import hashlib

from analysis.fits import FitCache
from analysis.module import ScoreModule
from data.frames import Candles
from data.market import Interval, Market, SeriesKey
from data.view import AccountSnapshot, MarketView, build_view


class MemoryReader:
    def __init__(self, series: dict[SeriesKey, Candles]) -> None:
        self._series = series

    def keys(self) -> tuple[SeriesKey, ...]:
        return tuple(sorted(self._series))

    def holds(self, key: SeriesKey) -> bool:
        return key in self._series

    def read(self, key: SeriesKey, start_ms: int | None = None, end_ms: int | None = None) -> Candles:
        return self._series[key].between(start_ms, end_ms) if key in self._series else Candles.empty(key.interval)

    def last_close_ms(self, key: SeriesKey) -> int | None:
        return int(self._series[key].close_time[-1]) if key in self._series and len(self._series[key]) else None

    def version(self, key: SeriesKey) -> str:
        return hashlib.blake2b(self._series[key].close.tobytes()).hexdigest()


def view_of(module: ScoreModule, candles: Candles, *, daily: Candles | None = None, at_ms: int | None = None,
            account: AccountSnapshot | None = None, fits: FitCache | None = None, symbol: str = "XYZUSDT") -> MarketView:
    """The view `module` declares, over one stored series (and a stored daily one)."""
    key = SeriesKey(symbol, candles.interval, Market.SPOT)
    series = {key: candles}
    if daily is not None:
        series[key.at(Interval.D1)] = daily
    return build_view(MemoryReader(series), symbol, Market.SPOT, candles.interval, module.needs, at_ms=at_ms, account=account,
                      fits=fits)
