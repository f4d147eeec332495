"""How disordered is the recent path: permutation entropy of the order of closes, Shannon entropy of the size of returns."""

from __future__ import annotations

import itertools
import math

import numpy as np

from data.frames import Candles
from data.indicators.restart import unchanged, warmed

ORDER = 4
WINDOW_BARS = 200
BINS = 10
OUTERMOST_SD = 3.0  # returns beyond fall into the outer bins


def permutation_entropy(candles: Candles, *, window: int = WINDOW_BARS) -> np.ndarray:
    """Normalised permutation entropy of ln C, order 4, delay 1, over the last `window` closes.

    Counts the 24 possible orders of four neighbouring closes; 1 = all equally frequent, 0 = always the same. A random walk
    gives 0.9175 (sd 0.0215 at 200), white noise 0.984. Equal closes count as rising in time (a stable sort).

    Returns
    -------
    ndarray of shape (n_bars,)
        0..1. NaN in the first window-1 bars of each segment and where the window is flat (it would read "perfect trend").

    References
    ----------
    Bandt & Pompe (2002), "Permutation Entropy: A Natural Complexity Measure for Time Series".
    """
    value = warmed(order_entropy(candles.close, window), candles, window)  # ln keeps the order
    value[unchanged(candles.close, window)] = np.nan
    return value


def _codes() -> tuple[int, ...]:
    """The 24 six-bit words that the six comparisons of four values can form."""
    pairs = list(itertools.combinations(range(ORDER), 2))
    orders = itertools.permutations(range(ORDER))
    return tuple(sorted({sum(1 << i for i, (a, b) in enumerate(pairs) if order[a] > order[b]) for order in orders}))


CODES = _codes()


def order_entropy(x: np.ndarray, window: int) -> np.ndarray:
    """`permutation_entropy` of any series without holes; shape of x."""
    n = len(x)
    out = np.full(n, np.nan)
    patterns = window - ORDER + 1
    if n < window:
        return out
    word = np.zeros(n - ORDER + 1, np.int8)
    for i, (a, b) in enumerate(itertools.combinations(range(ORDER), 2)):
        later = n - ORDER + 1 + b
        word += (x[a : n - ORDER + 1 + a] > x[b:later]).astype(np.int8) << i
    counts = np.arange(patterns + 1)
    share = counts / patterns
    surprise = np.zeros(patterns + 1)
    surprise[1:] = -share[1:] * np.log2(share[1:])
    total = np.zeros(n - window + 1)
    for code in CODES:
        seen = np.concatenate(([0], np.cumsum(word == code, dtype=np.int32)))
        total += surprise[seen[patterns:] - seen[:-patterns]]
    out[window - 1 :] = total / math.log2(math.factorial(ORDER))
    return out


def shannon_entropy(candles: Candles, *, window: int = WINDOW_BARS, bins: int = BINS) -> np.ndarray:
    """Normalised Shannon entropy of the last `window` log returns in `bins` equal bins of robust z from -3 to 3.

    Robust z = (r - median) / (1.4826 MAD) of the same window; what lies beyond 3 falls into the outer bins. Low where a few
    large moves dominate.

    Returns
    -------
    ndarray of shape (n_bars,)
        0..1. NaN in the first `window` bars of each segment and where the MAD is 0.
    """
    n = len(candles)
    out = np.full(n, np.nan)
    if n <= window:
        return out
    r = candles.log_return
    for first in range(window, n, 1024):
        last = min(n, first + 1024)
        rows = np.lib.stride_tricks.sliding_window_view(r[first - window + 1 : last], window)
        apart = rows - np.median(rows, axis=1, keepdims=True)
        mad = np.median(np.abs(apart), axis=1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            z = apart / (1.4826 * mad)
            place = np.floor((z + OUTERMOST_SD) * (bins / (2 * OUTERMOST_SD)))
        known = np.isfinite(rows).all(axis=1) & (mad[:, 0] > 0)
        place = np.clip(np.where(known[:, None], place, 0.0), 0, bins - 1).astype(np.int64)
        total = np.zeros(last - first)
        for b in range(bins):
            share = (place == b).sum(axis=1) / window
            total -= share * np.log(np.where(share > 0, share, 1.0))
        out[first:last] = np.where(known, total / math.log(bins), np.nan)
    return warmed(out, candles, window + 1)
