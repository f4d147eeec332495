"""Spread and price impact estimated from candles, for markets whose book nobody recorded."""

from __future__ import annotations

import numpy as np

from data.frames import Candles
from data.indicators.restart import shifted
from data.indicators.windows import trailing_mean

_K = 3.0 - 2.0 * np.sqrt(2.0)


def corwin_schultz(candles: Candles, *, window: int = 24) -> np.ndarray:
    """Proportional bid-ask spread from highs and lows of bar pairs, mean of `window` pairs; fraction of price, at least 0.

    A bar's range holds the spread once, a pair's range too, but the pair's variance is twice the bar's: that tells them apart. The bar
    before is moved by its gap to this one (the overnight correction). Negative pair estimates count as 0. NaN until the window is full,
    and where the pair spans a hole.

    References
    ----------
    Corwin & Schultz (2012), "A simple way to estimate bid-ask spreads from daily high and low prices".
    """
    high, low, close = candles.high, candles.low, candles.close
    before_high, before_low, before_close = (shifted(x, 1) for x in (high, low, close))
    rise = np.maximum(0.0, low - before_close) + np.minimum(0.0, high - before_close)
    before_high, before_low = before_high + rise, before_low + rise
    with np.errstate(divide="ignore", invalid="ignore"):
        beta = np.log(high / low) ** 2 + np.log(before_high / before_low) ** 2
        gamma = np.log(np.maximum(high, before_high) / np.minimum(low, before_low)) ** 2
        alpha = (np.sqrt(2.0 * beta) - np.sqrt(beta)) / _K - np.sqrt(gamma / _K)
        spread = np.maximum(0.0, 2.0 * (np.exp(alpha) - 1.0) / (1.0 + np.exp(alpha)))
    first = np.arange(len(close)) == candles.segment_start
    return trailing_mean(np.where(first, np.nan, spread), window)


def amihud(candles: Candles, *, window: int = 24) -> np.ndarray:
    """Mean of |log return| per million of quote volume over `window` bars: how far the price moves for the money. NaN without volume.

    References
    ----------
    Amihud (2002), "Illiquidity and stock returns".
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(candles.quote_volume > 0, np.abs(candles.log_return) / (candles.quote_volume / 1e6), np.nan)
    return trailing_mean(ratio, window)
