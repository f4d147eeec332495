"""Bounded oscillators and plain momentum: RSI, stochastic RSI, MOM, ROC, z-score of the close."""

from __future__ import annotations

import math

import numpy as np
import talib

from data.frames import Candles
from data.indicators.restart import on_segments, quotient, shifted, unchanged, warmed
from data.indicators.windows import blockwise, trailing_max, trailing_min, trailing_moments

RSI_WARMUP_BARS = 220  # of RSI14 and of STOCHRSI(14, 14), measured (methods.md 0)


def rsi(candles: Candles, *, window: int = 14) -> np.ndarray:
    """Relative strength index: `100 - 100 / (1 + RMA(gain) / RMA(loss))`, RMA = Wilder's average (alpha 1/n). Recursive.

    Returns
    -------
    ndarray of shape (n_bars,)
        0..100. NaN for the first 220 bars of each segment (window 14), and where the last `window` changes are all zero:
        TA-Lib would say 0 there, "extremely bearish", for a price that did not move.

    References
    ----------
    Wilder (1978), "New Concepts in Technical Trading Systems".
    """
    warmup = math.ceil(RSI_WARMUP_BARS * window / 14)
    value = on_segments(candles, ("close",), lambda close: talib.RSI(close, window), warmup=warmup, shortest=window + 1,
                        scaled=True)[0]
    value[unchanged(candles.close, window + 1)] = np.nan
    return value


def stochrsi(candles: Candles, *, window: int = 14, range_window: int = 14) -> np.ndarray:
    """Stochastic RSI, fast K: `100 (RSI - min RSI) / (max RSI - min RSI)` over `range_window` bars. Recursive.

    Returns
    -------
    ndarray of shape (n_bars,)
        0..100. NaN for the first 220 bars of each segment, and where the RSI did not move (0/0; TA-Lib says 0).

    References
    ----------
    Chande & Kroll (1994), "The New Technical Trader".
    """
    warmup = math.ceil(RSI_WARMUP_BARS * window / 14)

    def both(close: np.ndarray) -> np.ndarray:
        strength = talib.RSI(close, window)
        low = trailing_min(strength, range_window)
        return 100.0 * quotient(strength - low, trailing_max(strength, range_window) - low)

    value = on_segments(candles, ("close",), both, warmup=warmup, shortest=window + range_window + 1, scaled=True)[0]
    # A flat stretch as long as both windows keeps the RSI where it was; what TA-Lib's RSI does on it is no information.
    value[unchanged(candles.close, window + 1)] = np.nan
    return value


def momentum(candles: Candles, *, window: int) -> np.ndarray:
    """MOM: `C_t - C_{t-window}`, quote currency. NaN in the first `window` bars of each segment."""
    return warmed(candles.close - shifted(candles.close, window), candles, window + 1)


def rate_of_change(candles: Candles, *, window: int) -> np.ndarray:
    """ROC: `100 (C_t / C_{t-window} - 1)`, percent. NaN in the first `window` bars of each segment."""
    return warmed(100.0 * (candles.close / shifted(candles.close, window) - 1.0), candles, window + 1)


def zscore(candles: Candles, *, window: int = 50) -> np.ndarray:
    """Distance of the close from its mean in standard deviations: `(C - mean) / sd`, ddof 1.

    Returns
    -------
    ndarray of shape (n_bars,)
        NaN in the first window-1 bars of each segment and where the window is flat.
    """
    def value(close: np.ndarray) -> np.ndarray:
        mean, square = trailing_moments(close, window)
        return quotient(close - mean, np.sqrt(square / (window - 1)))

    return warmed(blockwise((candles.close,), window - 1, value), candles, window)
