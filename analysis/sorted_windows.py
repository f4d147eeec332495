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
    begin = max(0, first - window + 1)
    for t in range(begin, n):
        leaving = t - window
        leaves, enters = leaving >= begin and x[leaving] == x[leaving], x[t] == x[t]
        gap, place = size, size  # where the value that leaves was, and where the new one goes: the first that is not smaller
        for new in range(2):
            if not (enters if new else leaves):
                continue
            value = x[t] if new else x[leaving]
            low, high = 0, size
            while low < high:
                middle = (low + high) // 2
                if held[middle] < value:
                    low = middle + 1
                else:
                    high = middle
            if new:
                place = low
            else:
                gap = low
        if enters and leaves and gap < place:
            place -= 1  # once the other has left
        if enters and not leaves:
            size += 1
        elif leaves and not enters:
            size -= 1
            place = size
        for i in range(gap, place):  # only what lies between the two moves
            held[i] = held[i + 1]
        for i in range(gap, place, -1):
            held[i] = held[i - 1]
        if enters:
            held[place] = x[t]
        if t < first:
            continue
        at = t - first
        out[4, at] = size
        if size == 0:
            out[0, at], out[1, at], out[5, at] = np.nan, np.nan, np.nan
            continue
        centre = 0.5 * (held[(size - 1) // 2] + held[size // 2])
        out[0, at] = centre
        share = quantile * (size - 1)
        whole = int(share)
        out[1, at] = held[whole]
        if share != whole:
            out[1, at] = held[whole] + (held[whole + 1] - held[whole]) * (share - whole)
        if enters:
            beyond = place
            while beyond < size and held[beyond] == x[t]:
                beyond += 1
            out[2, at] = place
            out[3, at] = beyond - place
        if scale == 0:
            continue
        # Distances from the middle grow on both sides of it. The nearest `rank` of them are some of the left and the rest of the right.
        left, right, rank = (size - 1) // 2, (size - 1) // 2 + 1, (size - 1) // 2 + 1
        low, high = max(0, rank - (size - right)), rank
        while low < high:
            middle = (low + high) // 2
            if centre - held[left - middle] < held[right + rank - middle - 1] - centre:
                low = middle + 1
            else:
                high = middle
        spread = centre - held[left - low + 1] if low > 0 else 0.0
        if rank > low and held[right + rank - low - 1] - centre > spread:
            spread = held[right + rank - low - 1] - centre
        if size % 2 == 0:  # and the next of either side
            following = np.inf
            if low <= left:
                following = centre - held[left - low]
            if right + rank - low < size and held[right + rank - low] - centre < following:
                following = held[right + rank - low] - centre
            spread = 0.5 * (spread + following)
        out[5, at] = spread
        if scale > 0 and spread > 0 and enters:
            now = abs(x[t] - centre) / (scale * spread)
            for side in range(2):
                for level in range(2):
                    low, high = 0, size - right if side else left + 1
                    while low < high:
                        middle = (low + high) // 2
                        z = abs(held[right + middle if side else left - middle] - centre) / (scale * spread)
                        if z < now or (level and z == now):
                            low = middle + 1
                        else:
                            high = middle
                    out[6 + level, at] += low
            out[7, at] -= out[6, at]
    return out


@orders_of.warm_with
def _example():
    return np.linspace(0.0, 1.0, 8), 4, 0, 0.9, 1.4826
