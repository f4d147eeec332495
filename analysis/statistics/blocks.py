"""The stationary block bootstrap: draws, block length, and the variance that infinitely many draws would give.

References
----------
Politis & Romano (1994), "The Stationary Bootstrap".
Politis & White (2004), "Automatic Block-Length Selection for the Dependent Bootstrap", corrected by Patton, Politis & White (2009).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import NormalDist

import numpy as np

DRAWS = 2000


def autocovariance(x: np.ndarray) -> np.ndarray:
    """`sum_t (x_t - mean)(x_{t+k} - mean) / n` for all lags k = 0..n-1, by FFT. `x` without NaN, shape (n,)."""
    from scipy.fft import irfft, next_fast_len, rfft

    n = len(x)
    size = next_fast_len(2 * n - 1, real=True)
    spectrum = rfft(x - x.mean(), size)
    return irfft(spectrum.real**2 + spectrum.imag**2, size)[:n] / n


def _optimal(x: np.ndarray, cover: np.ndarray) -> float:
    n = len(x)
    largest = math.ceil(min(3 * math.sqrt(n), n / 3))
    quiet = max(5, int(math.log10(n)))  # so many insignificant autocorrelations in a row end the search
    farthest = min(math.ceil(math.sqrt(n)) + quiet, n - 2)
    square = np.cumsum((x - x.mean()) ** 2)
    lag = np.arange(farthest + 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        size = np.abs(cover[: farthest + 1]) * n / np.sqrt((square[-1] - square[lag]) * square[n - 2 - lag])
    small = np.concatenate(([0], np.cumsum(size < 2 * math.sqrt(math.log10(n) / n))))
    runs = np.flatnonzero(small[quiet:-1] - small[: -quiet - 1] == quiet)
    m = min(2 * max(int(runs[0]), 1), farthest) if len(runs) else farthest
    k = np.arange(1, m + 1)
    taper = np.where(k / m <= 0.5, 1.0, 2.0 * (1.0 - k / m))
    slope = float(np.sum(2 * taper * k * cover[1 : m + 1]))
    level = float(cover[0] + np.sum(2 * taper * cover[1 : m + 1]))
    if not level * level > 0:
        return 1.0
    return float(min((slope * slope / (level * level)) ** (1 / 3) * n ** (1 / 3), largest))


def block_length(x: np.ndarray) -> float:
    """Mean block length of the stationary bootstrap for the mean of `x`, in rows: the same numbers as arch's `optimal_block_length`.

    `x` without NaN. At least 1; 1 for fewer than 20 rows or a constant, where nothing can be estimated.
    """
    x = np.asarray(x, float)
    if len(x) < 20 or not np.ptp(x) > 0:
        return 1.0
    return max(1.0, _optimal(x, autocovariance(x)))


def mean_error(x: np.ndarray, *, shortest: float = 1.0) -> tuple[float, float]:
    """Standard error of the mean of `x` under the stationary bootstrap, in closed form, and the block length used.

    `(1/n) [c_0 + 2 sum_i (1 - i/n)(1 - 1/b)^i c_i]` with circular autocovariances c (Politis & Romano, Lemma 1): what the
    standard deviation over infinitely many draws would be. Block b = max(shortest, Politis-White), at most n/3.
    """
    x = np.asarray(x, float)
    n = len(x)
    if n < 20 or not np.ptp(x) > 0:
        return math.nan, max(1.0, shortest)
    cover = autocovariance(x)
    block = min(max(shortest, _optimal(x, cover), 1.0), n / 3)
    farthest = min(n - 1, math.ceil(40 * block))  # beyond it the weight is below exp(-40)
    lag = np.arange(1, farthest + 1)
    circular = cover[1 : farthest + 1] + cover[: n - farthest - 1 : -1]
    weight = (1 - lag / n) * (1 - 1 / block) ** lag
    variance = (cover[0] + 2.0 * float(weight @ circular)) / n
    return math.sqrt(max(0.0, variance)), block


def mean_interval(x: np.ndarray, *, shortest: float = 1.0, level: float = 0.95) -> tuple[float, float]:
    """Normal interval of the mean of `x` with `mean_error`; NaN where that is."""
    error, _ = mean_error(x, shortest=shortest)
    half = NormalDist().inv_cdf(0.5 + level / 2) * error
    middle = float(np.mean(x)) if len(x) else math.nan
    return middle - half, middle + half


def counts(n: int, *, block: float, draws: int = DRAWS, seed: int = 0) -> Iterator[np.ndarray]:
    """How often each row appears, one array of shape (n,) a draw: blocks of geometric length, wrapped around the end.

    Each draw has exactly n rows. The same arguments give the same draws, so two statistics of one series are paired.
    """
    rng = np.random.default_rng(seed)
    chance = 1.0 / min(max(block, 1.0), n)
    for _ in range(draws):
        lengths = np.empty(0, np.int64)
        while lengths.sum() < n:
            lengths = np.concatenate((lengths, rng.geometric(chance, int(n * chance * 1.2) + 10)))
        ends = np.cumsum(lengths)
        blocks = int(np.searchsorted(ends, n)) + 1
        lengths = np.minimum(lengths[:blocks], n)
        lengths[-1] = n - (ends[blocks - 2] if blocks > 1 else 0)
        start = rng.integers(0, n, blocks)
        edge = np.bincount(start, minlength=2 * n) - np.bincount(start + lengths, minlength=2 * n)
        often = np.cumsum(edge)
        yield often[:n] + often[n : 2 * n]


def bootstrap_means(columns: np.ndarray, *, block: float, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Means of every draw, shape (draws, k), for columns of shape (n, k): one set of rows a draw, so differences are paired."""
    columns = np.asarray(columns, float)
    n = len(columns)
    return np.array([often @ columns for often in counts(n, block=block, draws=draws, seed=seed)]) / n


def percentile_interval(values: np.ndarray, *, level: float = 0.95) -> tuple[float, float]:
    """The middle `level` of bootstrap draws; NaN draws are left out, NaN when none is left."""
    values = values[np.isfinite(values)]
    if not len(values):
        return math.nan, math.nan
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
