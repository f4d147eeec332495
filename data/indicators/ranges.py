"""Wilder's true range family: TR, ATR, NATR, directional indicators and ADX."""

from __future__ import annotations

import math

import numpy as np
import talib

from data.frames import Candles
from data.indicators.restart import on_segments, quotient, shifted, unchanged, warmed
from data.indicators.windows import blockwise, trailing_all, trailing_mean

# Bars until two starting points agree to 1e-6 sd (methods.md 0, measured), at window 14; ADX28 was measured on its own.
ATR_WARMUP_BARS = 200
ADX_WARMUP_BARS = {14: 230, 28: 500}
HLC = ("high", "low", "close")


def true_range(candles: Candles) -> np.ndarray:
    """`max(H - L, |H - C1|, |L - C1|)` in quote currency, C1 the previous close. NaN at the first bar of each segment."""
    def value(high: np.ndarray, low: np.ndarray, close: np.ndarray) -> np.ndarray:
        before = shifted(close, 1)
        return np.maximum(high - low, np.maximum(np.abs(high - before), np.abs(low - before)))

    return warmed(blockwise((candles.high, candles.low, candles.close), 1, value), candles, 2)


def range_expansion(candles: Candles, *, window: int = 20, reach: np.ndarray | None = None) -> np.ndarray:
    """True range over its own mean of `window` bars; 1 = usual. NaN where that mean is 0. `reach`: the true range, if known."""
    spans = true_range(candles) if reach is None else reach
    value = blockwise((spans,), window - 1, lambda span: quotient(span, trailing_mean(span, window)))
    return warmed(value, candles, window + 1)


def atr(candles: Candles, *, window: int = 14) -> np.ndarray:
    """Average true range: Wilder's average (alpha 1/n) of TR, seeded with the mean of n TRs without the first bar. Recursive.

    Returns
    -------
    ndarray of shape (n_bars,)
        Quote currency; NaN for the first 200 bars of each segment (window 14). 0 where no bar ever moved.

    References
    ----------
    Wilder (1978), "New Concepts in Technical Trading Systems".
    """
    warmup = math.ceil(ATR_WARMUP_BARS * window / 14)
    return on_segments(candles, HLC, lambda h, low, c: talib.ATR(h, low, c, window), warmup=warmup, shortest=window + 1)[0]


def natr(candles: Candles, *, window: int = 14) -> np.ndarray:
    """ATR in percent of the close, `100 ATR / C`, so that coins of any price compare. Recursive; NaN as ATR."""
    return 100.0 * atr(candles, window=window) / candles.close


def adx_warmup(window: int) -> int:
    return ADX_WARMUP_BARS.get(window, math.ceil(18.0 * window))


def directional(candles: Candles, *, window: int = 14) -> tuple[np.ndarray, np.ndarray]:
    """+DI and -DI: Wilder-smoothed up and down moves in percent of the smoothed true range. Recursive.

    Returns
    -------
    tuple of two ndarrays of shape (n_bars,)
        0..100; NaN for the first 230 bars of each segment (window 14, as ADX: it needs 190 to 212) and while high, low and
        close have not moved for `window` bars.
    """

    def both(h: np.ndarray, low: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return talib.PLUS_DI(h, low, c, window), talib.MINUS_DI(h, low, c, window)

    plus, minus = on_segments(candles, HLC, both, outputs=2, warmup=adx_warmup(window), shortest=window + 1, scaled=True)
    still = motionless(candles, window)
    plus[still] = minus[still] = np.nan
    return plus, minus


def adx(candles: Candles, *, window: int = 14) -> np.ndarray:
    """Average directional index: Wilder's average of `100 |+DI - -DI| / (+DI + -DI)`; strength of a trend, not its sign.

    Returns
    -------
    ndarray of shape (n_bars,)
        0..100. Recursive; NaN for the first 230 (window 14) or 500 bars (window 28) of each segment and while high, low and
        close have not moved for `window` bars.
    """
    value = on_segments(candles, HLC, lambda h, low, c: talib.ADX(h, low, c, window), warmup=adx_warmup(window),
                        shortest=2 * window + 1, scaled=True)[0]
    value[motionless(candles, window)] = np.nan
    return value


def motionless(candles: Candles, window: int) -> np.ndarray:
    """True where high, low and close were one unchanged number over the last `window` bars and the close before them."""
    return unchanged(candles.close, window + 1) & trailing_all(candles.high == candles.low, window)
