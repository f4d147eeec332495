"""Indicators on candles with holes: every gap-free segment is its own series, and what is not warmed up is NaN.

A library indicator that meets one missing bar is wrong from there on: an EMA stays NaN, an RSI freezes at a finite wrong 0.
So recursive functions run on each segment alone and warm up again (methods.md N3). Windows are simply cut off where they
would reach over a hole.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from data.frames import Candles
from data.indicators.windows import trailing_all

# TA-Lib treats sums below 1e-14 as zero, which a coin quoted at 0.00000001 reaches while it moves. Prices of a segment that
# begins below 1 are therefore handed over times a power of two (exact in binary), its first close then in [2^20, 2^21).
TALIB_EXPONENT = 20


def bars_known(candles: Candles) -> np.ndarray:
    """How many bars of its segment each bar has seen, itself included; int64, shape (n_bars,)."""
    return np.arange(1, len(candles) + 1) if _unbroken(candles) else np.arange(len(candles)) - candles.segment_start + 1


def _unbroken(candles: Candles) -> bool:
    """Whether no bar is missing: then the first and the last say it all."""
    return len(candles) > 0 and int(candles.open_time[-1] - candles.open_time[0]) == (len(candles) - 1) * candles.interval.ms


def _segments(candles: Candles) -> tuple[slice, ...]:
    if _unbroken(candles):
        return (slice(0, len(candles)),)
    return candles.segments if len(candles) else ()


def warmed(values: np.ndarray, candles: Candles, bars: int) -> np.ndarray:
    """`values` with NaN wherever fewer than `bars` bars of the segment are known. Changes and returns the array it is given."""
    for part in _segments(candles):
        values[part.start : min(part.stop, part.start + bars - 1)] = np.nan
    return values


def on_segments(candles: Candles, columns: tuple[str, ...], function: Callable[..., np.ndarray | tuple[np.ndarray, ...]], *,
                outputs: int = 1, warmup: int = 1, shortest: int = 2, scaled: bool = False) -> tuple[np.ndarray, ...]:
    """`function` of the named columns, called on each gap-free segment alone.

    Parameters
    ----------
    candles : Candles
        Closed bars.
    columns : tuple of str
        Which columns the function takes, as contiguous float64 arrays of one segment.
    function : callable
        Returns one array or `outputs` arrays of the segment's length.
    warmup : int
        Bars of a segment needed before a value counts; earlier ones are NaN.
    shortest : int
        Segments with fewer bars are not even tried (some library functions refuse them).
    scaled : bool
        Hand low prices over times a power of two and divide nothing afterwards: only for results without a unit.

    Returns
    -------
    tuple of `outputs` ndarrays of shape (n_bars,)
        NaN where not warmed up.
    """
    segments, n = _segments(candles), len(candles)
    whole = len(segments) == 1 and n >= max(shortest, warmup)
    # In the usual case, no hole, the function's own arrays will do: touching fresh memory costs more than many an indicator.
    full = () if whole else tuple(np.full(n, np.nan) for _ in range(outputs))
    for part in segments:
        if part.stop - part.start < max(shortest, warmup):
            continue
        arrays = [getattr(candles, name)[part] for name in columns]
        first = candles.close[part.start]
        if scaled and first < 1.0:
            factor = 2.0 ** (TALIB_EXPONENT - int(np.floor(np.log2(first))))
            arrays = [array * factor for array in arrays]
        answer = function(*arrays)
        answers = answer if isinstance(answer, tuple) else (answer,)
        if whole:
            return tuple(warmed(values, candles, warmup) for values in answers)
        for target, values in zip(full, answers, strict=True):
            target[part.start + warmup - 1 : part.stop] = values[warmup - 1 :]
    return full


def unchanged(x: np.ndarray, bars: int) -> np.ndarray:
    """True where the last `bars` values of x, itself included, are all equal: a flat window. Shape of x, bool.

    Flat prices make libraries answer "extremely bearish" (RSI 0) or "perfect trend" (entropy 0): ask this first.
    """
    equal = np.zeros(len(x), bool)
    equal[1:] = x[1:] == x[:-1]
    return trailing_all(equal, bars - 1)


def quotient(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below with NaN, not infinity, where the denominator is 0 (degenerate) or the result is not finite."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        out = np.asarray(above / below, float)
    out[~np.isfinite(out)] = np.nan
    return out


def shifted(x: np.ndarray, bars: int) -> np.ndarray:
    """x as it was `bars` bars ago (a positive number); NaN in the first rows. Segments are the caller's business."""
    out = np.full(len(x), np.nan)
    if bars < len(x):
        out[bars:] = x[: len(x) - bars]
    return out
