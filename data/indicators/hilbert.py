"""Ehlers' cycle measures from TA-Lib: instantaneous trendline, dominant period, trend mode. Causal, unlike an FFT Hilbert."""

from __future__ import annotations

import numpy as np
import talib

from data.frames import Candles
from data.indicators.restart import on_segments, unchanged

# Bars until two starting points agree to 1e-6 sd (methods.md 0, measured).
TRENDLINE_WARMUP_BARS = 170
PERIOD_WARMUP_BARS = 300  # methods.md says 250; of 120 starting points on random walks one in eight needed more, the last 300
SHORTEST_BARS = 64  # TA-Lib's own look-back is 63


def trendline(candles: Candles) -> np.ndarray:
    """Instantaneous trendline of the close: its mean over one dominant cycle, then smoothed. Quote currency; recursive.

    NaN for the first 170 bars of each segment.

    References
    ----------
    Ehlers (2001), "Rocket Science for Traders".
    """
    return on_segments(candles, ("close",), talib.HT_TRENDLINE, warmup=TRENDLINE_WARMUP_BARS, shortest=SHORTEST_BARS)[0]


def dominant_period(candles: Candles) -> np.ndarray:
    """Dominant cycle in bars, 6 to 50. Recursive; NaN for the first 300 bars of each segment.

    NaN too while the close has not moved for 50 bars: TA-Lib would report a cycle of 31 bars in a constant.
    """
    value = on_segments(candles, ("close",), talib.HT_DCPERIOD, warmup=PERIOD_WARMUP_BARS, shortest=SHORTEST_BARS)[0]
    value[unchanged(candles.close, 50)] = np.nan
    return value


def trend_mode(candles: Candles) -> np.ndarray:
    """1 where Ehlers' rules see a trend, 0 where they see a cycle. Recursive; NaN and flat rule of `dominant_period`."""
    value = on_segments(candles, ("close",), lambda close: np.asarray(talib.HT_TRENDMODE(close), float),
                        warmup=PERIOD_WARMUP_BARS, shortest=SHORTEST_BARS)[0]
    value[unchanged(candles.close, 50)] = np.nan
    return value
