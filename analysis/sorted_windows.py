"""Medians, quantiles, ranks and median deviations of trailing windows, the window kept in order from row to row."""

from __future__ import annotations

import numpy as np

from data.kernel import kernel

MEDIAN, QUANTILE, BELOW, LEVEL, KNOWN, MAD, NEARER, AS_FAR = range(8)


@kernel
def orders_of(x, window, first, quantile, scale):
    """What the values of a trailing window say of its newest one, by rows; shape (8, len(x) - first), for rows `first` and later.

    NaN in x is unknown and left out; in a window without any known value everything is NaN or 0. MEDIAN; QUANTILE, by a line between two
    values; BELOW, LEVEL: how many values are smaller than the newest, and equal to it; KNOWN: how many are known. With `scale` above 0
    also NEARER, AS_FAR: how many distances from the median, over `scale` times the MAD, are smaller than the newest value's, and equal to
    it; counts are 0 where the newest is unknown. MAD, the median distance, is there unless `scale` is 0.
    """
    n = len(x)
    out = np.zeros((8, n - first))
    held = np.empty(window + 1)
    size = 0
    for t in range(max(0, first - window + 1), n):
        leaving = t - window
        if leaving >= max(0, first - window + 1) and x[leaving] == x[leaving]:
            low, high = 0, size
            while low < high:
                middle = (low + high) // 2
                if held[middle] < x[leaving]:
                    low = middle + 1
                else:
                    high = middle
            for i in range(low, size - 1):
                held[i] = held[i + 1]
            size -= 1
        if x[t] == x[t]:
            low, high = 0, size
            while low < high:
                middle = (low + high) // 2
                if held[middle] < x[t]:
                    low = middle + 1
                else:
                    high = middle
            for i in range(size, low, -1):
                held[i] = held[i - 1]
            held[low] = x[t]
            size += 1
        if t < first:
            continue
        at = t - first
        out[4, at] = size
        if size == 0:
            out[0, at], out[1, at], out[5, at] = np.nan, np.nan, np.nan
            continue
        centre = 0.5 * (held[(size - 1) // 2] + held[size // 2])
        out[0, at] = centre
        place = quantile * (size - 1)
        whole = int(place)
        out[1, at] = held[whole]
        if place != whole:
            out[1, at] = held[whole] + (held[whole + 1] - held[whole]) * (place - whole)
        if x[t] == x[t]:
            beyond = low  # where it was put in: the first that is not smaller
            while beyond < size and held[beyond] == x[t]:
                beyond += 1
            out[2, at] = low
            out[3, at] = beyond - low
        if scale == 0:
            continue
        left, right = (size - 1) // 2, (size - 1) // 2 + 1  # distances grow on both sides of the middle
        lower, upper = 0.0, 0.0
        for rank in range(size // 2 + 1):
            if right >= size or (left >= 0 and centre - held[left] <= held[right] - centre):
                away = centre - held[left]
                left -= 1
            else:
                away = held[right] - centre
                right += 1
            if rank == (size - 1) // 2:
                lower = away
            if rank == size // 2:
                upper = away
        spread = 0.5 * (lower + upper)
        out[5, at] = spread
        if scale > 0 and spread > 0 and x[t] == x[t]:
            now = abs(x[t] - centre) / (scale * spread)
            for i in range(size):
                z = abs(held[i] - centre) / (scale * spread)
                if z < now:
                    out[6, at] += 1
                elif z == now:
                    out[7, at] += 1
    return out


@orders_of.warm_with
def _example():
    return np.linspace(0.0, 1.0, 8), 4, 0, 0.9, 1.4826
