"""Views of one symbol with a spot and a perpetual series held in memory, for tests of modules that read both."""

from __future__ import annotations

from analysis.fits import FitCache
from analysis.module import ScoreModule
from data.frames import Candles
from data.market import Interval, Market, SeriesKey
from data.view import MarketView, build_view
from tests.memory_reader import MemoryReader


def view_of_both(module: ScoreModule, spot: Candles | None, perp: Candles | None = None, *, market: Market = Market.SPOT,
                 at_ms: int | None = None, fits: FitCache | None = None) -> MarketView:
    """The view `module` declares over the given series; at the newest bar, or at `at_ms`."""
    interval = (spot if spot is not None else perp).interval
    series = {SeriesKey("XYZUSDT", interval, of): candles
              for of, candles in ((Market.SPOT, spot), (Market.PERP, perp)) if candles is not None}
    return build_view(MemoryReader(series), "XYZUSDT", market, Interval(interval), module.needs, at_ms=at_ms, fits=fits)
