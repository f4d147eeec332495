"""Variance ratio: do moves over q bars have q times the variance of one bar, as a random walk's would?"""

from __future__ import annotations

import numpy as np

from data.frames import Candles
from data.indicators.restart import warmed

WINDOW_RETURNS = 200
_ROWS = 512  # windows laid side by side at a time


def variance_ratio(candles: Candles, *, lag: int = 8, window: int = WINDOW_RETURNS) -> tuple[np.ndarray, np.ndarray]:
    """Lo & MacKinlay's ratio at `lag` bars over the last `window` log returns, and its heteroscedasticity-robust z.

    Overlapping and unbiased, as `arch.unitroot.VarianceRatio(lnC, lags=lag, robust=True, overlap=True)`:
    `VR = sum(X_t - X_{t-q} - q mu)^2 / m / s1`, `m = q (T-q+1)(1-q/T)`, `s1 = sum(r-mu)^2 / (T-1)`. Above 1: moves continue;
    below 1: they revert. At 200 returns z is noisy.

    Returns
    -------
    tuple of two ndarrays of shape (n_bars,)
        Ratio (> 0, 1 = random walk) and z*. NaN in the first `window` bars of each segment and where no return differs.

    References
    ----------
    Lo & MacKinlay (1988), "Stock Market Prices Do Not Follow Random Walks".
    """
    ratio, z = ratio_and_z(np.log(candles.close), lag, window)
    return warmed(ratio, candles, window + 1), warmed(z, candles, window + 1)


def ratio_and_z(x: np.ndarray, lag: int, window: int) -> tuple[np.ndarray, np.ndarray]:
    """`variance_ratio` of any series of levels without holes (log prices); shape of x."""
    n = len(x)
    ratio, z = np.full(n, np.nan), np.full(n, np.nan)
    for first in range(window, n, _ROWS):
        last = min(n, first + _ROWS)
        levels = np.lib.stride_tricks.sliding_window_view(x[first - window : last], window + 1)
        mu = (levels[:, -1:] - levels[:, :1]) / window
        u = np.diff(levels, axis=1) - mu
        u *= u
        total = u.sum(axis=1)
        far = levels[:, lag:] - levels[:, :-lag] - lag * mu
        m = lag * (window - lag + 1) * (1.0 - lag / window)
        spread = np.zeros(last - first)
        with np.errstate(invalid="ignore", divide="ignore"):
            vr = (far * far).sum(axis=1) / m / (total / (window - 1))
            for k in range(1, lag):
                delta = (u[:, k:] * u[:, :-k]).sum(axis=1) / (total * total)
                spread += (2.0 * (lag - k) / lag) ** 2 * delta
            star = (vr - 1.0) / np.sqrt(spread)
        # Deviations that are only rounding of the levels are no variance: a straight line in ln C has none.
        noise = window * (4.0 * np.finfo(float).eps * np.abs(levels).max(axis=1)) ** 2
        moved = total > noise
        ratio[first:last] = np.where(moved, vr, np.nan)
        z[first:last] = np.where(moved & np.isfinite(star), star, np.nan)
    return ratio, z
