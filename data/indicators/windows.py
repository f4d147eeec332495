"""Sums, means, standard deviations and extremes over a trailing window.

A window of w values is put together from blocks of 1, 2, 4, 8 ... values, so the work grows with log2(w) and the order of
additions depends on nothing but w. Three things follow that a running sum cannot give: value t is decided by its window
alone, to the last bit; a NaN spoils only the windows that hold it; and rounding does not pile up over a long series.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

BLOCK_ROWS = 8192  # rows worked on at a time, so that a block's few arrays stay in the processor's cache


def _in_blocks(x: np.ndarray, window: int, work: Callable[[np.ndarray], tuple[np.ndarray, ...]],
               outputs: int) -> list[np.ndarray]:
    """`work` maps m values to m - window + 1 results per output; put side by side over all of x, NaN in the first rows."""
    x = np.asarray(x, np.float64)
    n = len(x)
    full = [np.full(n, np.nan) for _ in range(outputs)]
    for first in range(window - 1, n, BLOCK_ROWS):
        last = min(n, first + BLOCK_ROWS)
        for whole, values in zip(full, work(x[first - window + 1 : last]), strict=True):
            whole[first:last] = values
    return full


def trailing_sum(x: np.ndarray, window: int) -> np.ndarray:
    """Sum of the last `window` values, itself included. Shape of x; the first window-1 are NaN; NaN in the window gives NaN."""

    def work(block: np.ndarray) -> tuple[np.ndarray]:
        rows = len(block) - window + 1
        size, offset, left, total = 1, 0, window, None
        sums = block  # sums[i] = block[i] + ... + block[i + size - 1]
        while left:
            if left & 1:
                part = sums[offset : offset + rows]
                total = part if total is None else total + part
                offset += size
            left >>= 1
            if left:
                sums = sums[:-size] + sums[size:]
                size *= 2
        assert total is not None
        return (total,)

    return _in_blocks(x, window, work, 1)[0]


def trailing_mean(x: np.ndarray, window: int) -> np.ndarray:
    """Mean of the last `window` values (SMA). NaN rule of `trailing_sum`."""
    return trailing_sum(x, window) / window


def trailing_moments(x: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean, and sum of squared deviations from it, of the last `window` values.

    Blocks are merged by the pairwise rule of Chan, Golub & LeVeque, which does not cancel: a flat window has a sum of exactly
    0, also when the price is large. NaN rule of `trailing_sum`.

    References
    ----------
    Chan, Golub & LeVeque (1983), "Algorithms for Computing the Sample Variance".
    """

    def work(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = len(block) - window + 1
        size, left = 1, window
        mean, square = block, np.zeros(len(block))
        count, total_mean, total_square = 0, np.zeros(rows), np.zeros(rows)
        while left:
            if left & 1:
                part_mean, part_square = mean[count : count + rows], square[count : count + rows]
                if count == 0:
                    total_mean, total_square = part_mean, part_square
                else:
                    apart = part_mean - total_mean
                    both = count + size
                    total_mean = total_mean + apart * (size / both)
                    total_square = total_square + part_square + apart * apart * (count * size / both)
                count += size
            left >>= 1
            if left:
                apart = mean[size:] - mean[:-size]
                square = square[:-size] + square[size:] + apart * apart * (size / 2)
                mean = mean[:-size] + apart * 0.5
                size *= 2
        return total_mean, total_square

    mean, square = _in_blocks(x, window, work, 2)
    return mean, square


def trailing_sd(x: np.ndarray, window: int, *, ddof: int = 1) -> np.ndarray:
    """Standard deviation of the last `window` values, exactly 0 in a flat window. NaN rule of `trailing_sum`."""
    return np.sqrt(trailing_moments(x, window)[1] / (window - ddof))


def _extreme(x: np.ndarray, window: int, pick: np.ufunc) -> np.ndarray:
    def work(block: np.ndarray) -> tuple[np.ndarray]:
        rows = len(block) - window + 1
        size, best = 1, block
        while size * 2 <= window:
            best = pick(best[:-size], best[size:])
            size *= 2
        return (pick(best[:rows], best[window - size : window - size + rows]),)

    return _in_blocks(x, window, work, 1)[0]


def trailing_max(x: np.ndarray, window: int) -> np.ndarray:
    """Largest of the last `window` values. NaN rule of `trailing_sum`."""
    return _extreme(x, window, np.maximum)


def trailing_min(x: np.ndarray, window: int) -> np.ndarray:
    """Smallest of the last `window` values. NaN rule of `trailing_sum`."""
    return _extreme(x, window, np.minimum)
