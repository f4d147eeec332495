"""Bollinger bands: middle, upper, lower, and what is read from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.frames import Candles
from data.indicators.restart import quotient, warmed
from data.indicators.windows import blockwise, trailing_moments

WINDOW_BARS = 20
WIDTH_SD = 2.0


@dataclass(frozen=True)
class Bands:
    """Bollinger bands over a series; each array of shape (n_bars,).

    middle, upper, lower in quote currency; `position` = (C - middle) / (2 sd), about -3..3; `percent_b` = (C - lower) /
    (upper - lower), 0..1 inside the bands; `width` = (upper - lower) / middle, a fraction. A flat window has bands of no
    width: there position and percent_b are NaN.
    """

    middle: np.ndarray
    upper: np.ndarray
    lower: np.ndarray
    position: np.ndarray
    percent_b: np.ndarray
    width: np.ndarray


def bollinger(candles: Candles, *, window: int = WINDOW_BARS, width_sd: float = WIDTH_SD) -> Bands:
    """Bands of `width_sd` population standard deviations (ddof 0, as in TA-Lib's BBANDS) around SMA(window).

    Computed from stable moments rather than by TA-Lib, whose sum of squares calls a variance below 1e-14 zero: that is every
    bar of a coin quoted at 0.00001. Where TA-Lib is right the two agree. NaN in the first window-1 bars of each segment.

    References
    ----------
    Bollinger (2001), "Bollinger on Bollinger Bands".
    """
    def value(close: np.ndarray) -> np.ndarray:
        middle, square = trailing_moments(close, window)
        half = width_sd * np.sqrt(square / window)
        upper, lower = middle + half, middle - half
        position = quotient(close - middle, half)
        return np.stack((middle, upper, lower, position, quotient(close - lower, upper - lower), (upper - lower) / middle))

    rows = blockwise((candles.close,), window - 1, value)
    return Bands(*(warmed(row, candles, window) for row in rows))
