"""The liquidation map of a symbol: an estimate with its assumptions, what was recorded, and how often the estimate was right (X13)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.methods.liquidations import (
    HitRate,
    LiquidationAssumptions,
    LiquidationMap,
    ObservedMap,
    estimate_levels,
    hit_rate,
    level_map,
    observed_map,
)
from data.errors import NoData
from data.market import Interval, Market, SeriesKey
from data.observations import Kind
from data.view import Need, build_view

if TYPE_CHECKING:
    from core.holdings import Holdings

HOURS = Need(Kind.CANDLES, 24 * 100, market=Market.PERP, interval=Interval.H1)
INTEREST = Need(Kind.OPEN_INTEREST, days=100)
FORCED = Need(Kind.LIQUIDATIONS, days=14, optional=True)


@dataclass(frozen=True)
class LiquidationPicture:
    """`levels` is labelled ESTIMATE; `recorded` is a lower bound (the stream tells one order a second); `right` judges the estimate."""

    price: float
    levels: LiquidationMap
    recorded: ObservedMap | None
    right: HitRate


def liquidation_picture(sextant: Holdings, key: SeriesKey, assumptions: LiquidationAssumptions) -> LiquidationPicture:
    """The map right after the newest hour.

    Raises
    ------
    NoData
        When the perpetual's hours or its open interest are not stored.
    """
    hourly = SeriesKey(key.symbol, Interval.H1, Market.PERP)
    if sextant.reader.last_close_ms(hourly) is None:
        raise NoData(f"the map needs 1h candles of {key.symbol}'s perpetual; back-fill them with --market perp")
    view = build_view(sextant.reader, key.symbol, Market.PERP, Interval.H1, (HOURS, INTEREST, FORCED), observations=sextant.observations)
    hours, interest = view.candles(HOURS), view.observations(INTEREST)
    if not len(interest):
        raise NoData(f"the map needs open interest of {key.symbol}: {view.why_absent(INTEREST)}")
    levels = estimate_levels(hours, interest, assumptions)
    price, forced = float(hours.close[-1]), view.observations(FORCED)
    return LiquidationPicture(price, level_map(levels, view.as_of_ms, price),
                              observed_map(forced, price, bin_bps=assumptions.bin_bps) if len(forced) else None,
                              hit_rate(levels, hours, view.at_ms))
