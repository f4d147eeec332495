"""Fifteen ways to know the future by mistake, each seen in published strategies. The look-ahead check must catch them all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from data.frames import Candles

Leak = Callable[[Candles], dict[str, np.ndarray]]
LEAKS: dict[str, Leak] = {}


def _leak(function: Callable[[Candles], np.ndarray]) -> Callable[[Candles], np.ndarray]:
    LEAKS[function.__name__] = lambda candles: {"value": np.asarray(function(candles), float)}
    return function


def _log_close(candles: Candles) -> np.ndarray:
    return np.log(np.where(candles.close > 0, candles.close, np.nan))


def _whole(x: np.ndarray) -> np.ndarray:
    """Without NaN, so that a poisoned future reaches methods that cannot take one."""
    return np.where(np.isfinite(x), x, 0.0)


@_leak
def next_return(candles: Candles) -> np.ndarray:
    """The target among the features."""
    return np.append(np.diff(_log_close(candles)), np.nan)


@_leak
def centred_mean(candles: Candles) -> np.ndarray:
    """rolling(center=True)."""
    return pd.Series(candles.close).rolling(11, center=True).mean().to_numpy()


@_leak
def zscore_of_everything(candles: Candles) -> np.ndarray:
    """Mean and sd of the whole sample: StandardScaler before the split."""
    return (candles.close - np.nanmean(candles.close)) / np.nanstd(candles.close)


@_leak
def min_max_of_everything(candles: Candles) -> np.ndarray:
    """MinMaxScaler before the split."""
    low, high = np.nanmin(candles.close), np.nanmax(candles.close)
    return (candles.close - low) / (high - low)


@_leak
def rank_of_everything(candles: Candles) -> np.ndarray:
    """A percentile among days that had not happened."""
    return pd.Series(candles.volume).rank(pct=True).to_numpy()


@_leak
def backward_filled(candles: Candles) -> np.ndarray:
    """bfill() over missing values."""
    volume = pd.Series(np.where(np.arange(len(candles)) % 3 == 0, candles.volume, np.nan))
    return volume.bfill().to_numpy()


@_leak
def interpolated(candles: Candles) -> np.ndarray:
    """Linear interpolation draws a line to the next known value."""
    close = pd.Series(np.where(np.arange(len(candles)) % 4 == 0, candles.close, np.nan))
    return close.interpolate(limit_area="inside").to_numpy()


@_leak
def zero_phase_filter(candles: Candles) -> np.ndarray:
    """filtfilt runs forward and back."""
    from scipy.signal import butter, filtfilt

    b, a = butter(2, 0.1)
    return filtfilt(b, a, _whole(_log_close(candles)))


@_leak
def fourier_hilbert(candles: Candles) -> np.ndarray:
    """scipy's analytic signal transforms the whole series: its last phase repaints by 50 degrees."""
    from scipy.signal import hilbert

    x = _whole(_log_close(candles))
    return np.angle(hilbert(x - x.mean()))


@_leak
def wavelet_of_everything(candles: Candles) -> np.ndarray:
    """wavedec, threshold, waverec over the full series."""
    import pywt

    x = np.array(_whole(_log_close(candles)))
    parts = pywt.wavedec(x, "db4", level=4)
    return pywt.waverec([parts[0], *(np.zeros_like(p) for p in parts[1:])], "db4")[: len(x)]


@_leak
def smoothed_level(candles: Candles) -> np.ndarray:
    """A smoother instead of a filter: an exponential mean run backwards over its own result, as Rauch-Tung-Striebel does."""
    forward = pd.Series(_log_close(candles)).ewm(alpha=0.1).mean()
    return forward[::-1].ewm(alpha=0.1).mean()[::-1].to_numpy()


@_leak
def long_bar_by_open_time(candles: Candles) -> np.ndarray:
    """A 4h close joined by the bar's open time: known three hours early."""
    bucket = candles.open_time // (4 * candles.interval.ms)
    return pd.Series(candles.close).groupby(bucket).transform("last").to_numpy()


@_leak
def extreme_of_the_day(candles: Candles) -> np.ndarray:
    """The day's high, at noon."""
    return pd.Series(candles.high).groupby(candles.open_time // 86_400_000).transform("max").to_numpy()


@_leak
def detrended_by_regression(candles: Candles) -> np.ndarray:
    """A line through the whole history, subtracted."""
    t, x = np.arange(len(candles), dtype=float), _log_close(candles)
    known = np.isfinite(x)
    slope, level = np.polyfit(t[known], x[known], 1)
    return x - (level + slope * t)


@_leak
def turning_points(candles: Candles) -> np.ndarray:
    """Swing highs marked on the bar itself: confirmed only five bars later."""
    high = pd.Series(candles.high)
    return (high == high.rolling(11, center=True, min_periods=6).max()).to_numpy().astype(float)
