"""Moving averages and their crossings: SMA, EMA, KAMA, MACD. In quote currency, like the price."""

from __future__ import annotations

import math

import numpy as np
import talib

from data.frames import Candles
from data.indicators.restart import on_segments, warmed
from data.indicators.windows import trailing_mean

# Bars until two starting points agree to 1e-6 of a standard deviation (methods.md 0, measured).
EMA_WARMUP_BARS = {12: 80, 26: 180, 50: 350, 200: 1400}
MACD_WARMUP_BARS = 220
KAMA_WARMUP_BARS = 220  # of KAMA10; methods.md says 130, but 40 random walks needed 156 (median) to 212 bars


def ema_warmup(window: int) -> int:
    """Bars before an EMA of `window` counts: the measured table, elsewhere seven windows (what the table shows)."""
    return EMA_WARMUP_BARS.get(window, math.ceil(7.0 * window))


def sma(candles: Candles, *, window: int) -> np.ndarray:
    """Simple moving average of the close.

    Returns
    -------
    ndarray of shape (n_bars,)
        Quote currency. Value t uses bars t-window+1 .. t; NaN where the segment holds fewer.
    """
    return warmed(trailing_mean(candles.close, window), candles, window)


def ema(candles: Candles, *, window: int) -> np.ndarray:
    """Exponential moving average of the close: `EMA_t = EMA_{t-1} + 2/(n+1) (C_t - EMA_{t-1})`, seeded with SMA(n).

    TA-Lib's form; pandas `ewm` seeds with the first close and differs early. Recursive (class R).

    Returns
    -------
    ndarray of shape (n_bars,)
        Quote currency; NaN during the warm-up of each segment (12: 80, 26: 180, 50: 350, 200: 1400 bars).
    """
    return on_segments(candles, ("close",), lambda close: talib.EMA(close, window), warmup=ema_warmup(window), shortest=window)[0]


def kama(candles: Candles, *, window: int = 10) -> np.ndarray:
    """Kaufman's adaptive moving average of the close, fast constant 2, slow constant 30 (TA-Lib). Recursive.

    Returns
    -------
    ndarray of shape (n_bars,)
        Quote currency; NaN for the first 220 bars (22 windows) of each segment.

    References
    ----------
    Kaufman (1995), "Smarter Trading".
    """
    warmup = KAMA_WARMUP_BARS * window // 10
    return on_segments(candles, ("close",), lambda close: talib.KAMA(close, window), warmup=warmup, shortest=window + 1)[0]


def macd(candles: Candles, *, fast: int = 12, slow: int = 26, signal: int = 9) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """MACD line `EMA12 - EMA26`, its signal line EMA9, and their difference, the histogram. Recursive.

    TA-Lib starts the fast average where the slow one starts.

    Returns
    -------
    tuple of three ndarrays of shape (n_bars,)
        Quote currency: line, signal, histogram; NaN for the first 220 bars of each segment.

    References
    ----------
    Appel (1979), "The Moving Average Convergence-Divergence Method".
    """
    line, smooth, histogram = on_segments(candles, ("close",), lambda close: talib.MACD(close, fast, slow, signal), outputs=3,
                                          warmup=max(MACD_WARMUP_BARS, ema_warmup(slow) + ema_warmup(signal) // 2))
    return line, smooth, histogram
