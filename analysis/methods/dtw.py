"""How alike two shapes are when time may stretch: dynamic time warping inside a band. Its path is no estimate of a lag."""

from __future__ import annotations

import math

import numpy as np

from data.kernel import kernel

BAND = 10


@kernel
def _warp(a: np.ndarray, b: np.ndarray, band: int) -> float:
    n, m = len(a), len(b)
    wide = 1e300
    before, row = np.full(m + 1, wide), np.full(m + 1, wide)
    before[0] = 0.0
    for i in range(1, n + 1):
        for j in range(m + 1):
            row[j] = wide
        first, last = max(1, i - band), min(m, i + band)
        for j in range(first, last + 1):
            gap = a[i - 1] - b[j - 1]
            least = before[j]
            if row[j - 1] < least:
                least = row[j - 1]
            if before[j - 1] < least:
                least = before[j - 1]
            row[j] = gap * gap + least
        before, row = row, before
    return before[m]


@_warp.warm_with
def _example() -> tuple[np.ndarray, np.ndarray, int]:
    return np.zeros(12), np.zeros(12), BAND


def dtw_distance(a: np.ndarray, b: np.ndarray, *, band: int = BAND) -> float:
    """Square root of the least sum of squared gaps along a monotone path that stays within `band` bars of the diagonal.

    0 for equal series. NaN where a value is unknown or the lengths differ by more than the band.

    References
    ----------
    Sakoe & Chiba (1978), "Dynamic programming algorithm optimization for spoken word recognition".
    """
    a, b = np.ascontiguousarray(a, float), np.ascontiguousarray(b, float)
    if not len(a) or not len(b) or abs(len(a) - len(b)) > band or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return math.nan
    return math.sqrt(_warp(a, b, band))


def shape_of(returns: np.ndarray) -> np.ndarray:
    """Cumulative returns with mean 0 and sd 1; an unknown return counts as none; NaN where nothing moved."""
    path = np.cumsum(np.where(np.isfinite(returns), returns, 0.0))
    sd = float(path.std())
    return (path - path.mean()) / sd if sd > 0 else np.full(len(path), np.nan)
