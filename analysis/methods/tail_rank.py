"""TP for many statistics at once: the tail probability of analysis/scaling.py from one sorted window that slides."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort

import numpy as np

from analysis.scaling import SHARE_NEEDED, TAIL_START


def tail_probability(x: np.ndarray, *, window: int, minimum: int, last: int | None = None) -> np.ndarray:
    """The numbers of `analysis.scaling.tp`, in a fifth of its time for a few rows.

    A module with ten statistics and one new bar cannot pay for four rolling passes over each. Python's sorted insertion into
    a list of 960 numbers is a memory move; rank, quantile and the median of the excesses are then look-ups.

    Parameters
    ----------
    x : ndarray of shape (n_bars,)
        Statistic, large = unusual; NaN = unknown.
    last : int or None
        Only the newest rows.

    Returns
    -------
    ndarray of shape (n_bars,)
        p in (0, 1]; NaN where x is NaN, fewer than `minimum` rows of the window are known, or fewer than 80 % of its rows
        since x first had a value (methods.md 0.1 TP, N3).
    """
    x = np.where(np.isfinite(x), np.asarray(x, float), np.nan)
    n = len(x)
    out = np.full(n, np.nan)
    finite = np.flatnonzero(~np.isnan(x))
    if not len(finite):
        return out
    first = max(0 if last is None else n - last, int(finite[0]))
    values = x.tolist()
    start = max(0, first - window + 1)
    earlier = np.sort(x[start:first])
    known = earlier[: len(earlier) - int(np.isnan(earlier).sum())].tolist()
    for t in range(first, n):
        gone = t - window
        if gone >= start and values[gone] == values[gone]:
            del known[bisect_left(known, values[gone])]
        value = values[t]
        if value != value:
            continue
        insort(known, value)
        count = len(known)
        if count < minimum or count < SHARE_NEEDED * min(t - int(finite[0]) + 1, window):
            continue
        place = (1.0 - TAIL_START) * (count - 1)
        low = int(place)
        threshold = known[low] + (known[min(low + 1, count - 1)] - known[low]) * (place - low)
        if value <= threshold:
            share = 0.5 * (bisect_left(known, value) + bisect_right(known, value)) / count
            out[t] = max(TAIL_START, 1.0 - share)
            continue
        beyond = bisect_right(known, threshold)
        middle = beyond + (count - beyond - 1) // 2
        median = known[middle] if (count - beyond) % 2 else 0.5 * (known[middle] + known[middle + 1])
        out[t] = TAIL_START * math.exp(-(value - threshold) / ((median - threshold) / math.log(2.0)))
    return out
