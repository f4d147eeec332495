"""When a price is first traded at or through."""

from __future__ import annotations

import numpy as np

from data.kernel import kernel


@kernel
def first_crossings(low, high, close_time, price, longs, window, never):
    """close_time of the first of the next `window` bars that trades at or through each price, else `never`; shape of `price`.

    The first `longs` columns are reached from above (by a low), the others from below; a NaN is never reached.
    """
    n, legs = price.shape
    out = np.full((n, legs), never)
    stretch = 24  # bars that are passed over together where none of them reaches the level
    lowest, highest = np.full(n // stretch + 1, np.inf), np.full(n // stretch + 1, -np.inf)
    for b in range(n):
        if low[b] < lowest[b // stretch]:
            lowest[b // stretch] = low[b]
        if high[b] > highest[b // stretch]:
            highest[b // stretch] = high[b]
    for t in range(n):
        end = min(n, t + 1 + window)
        for leg in range(legs):
            level, b = price[t, leg], t + 1
            while b < end:
                if b % stretch == 0 and not ((lowest[b // stretch] <= level) if leg < longs else (highest[b // stretch] >= level)):
                    b += stretch
                elif (low[b] <= level) if leg < longs else (high[b] >= level):
                    out[t, leg] = close_time[b]
                    break
                else:
                    b += 1
    return out


@first_crossings.warm_with
def _example_crossings():
    x = np.ones(4)
    return x, x, np.arange(4, dtype=np.int64), np.ones((4, 2)), 1, 3, 1 << 62
