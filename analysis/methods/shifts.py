"""Changes of mean, spread and shape between a short and a long trailing window. Large = unusual; the sign is dropped."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

SHORT_BARS = 20
LONG_BARS = 200
SHAPE_BARS = 100
SUM_BARS = 24
BASE_BARS = 300
LOG_FLOOR = 1e-12  # methods.md N10: a frozen price has ratio 0, and is unusual


def _frames(x: np.ndarray, window: int, last: int | None) -> tuple[np.ndarray, int]:
    """All trailing windows of the newest rows, and the row of the first."""
    first = max(window - 1, 0 if last is None else len(x) - last)
    if first >= len(x):
        return np.empty((0, window)), len(x)
    return sliding_window_view(x[first - window + 1 :], window), first


def _moments(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = frames.mean(axis=1)
    spread = frames.std(axis=1, ddof=1)
    # all equal: rounding of the mean must not look like a spread
    return mean, np.where(spread > 1e-12 * np.abs(mean), spread, 0.0)


def mean_and_spread_shift(x: np.ndarray, *, last: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """How far the newest 20 bars left the newest 200, in mean and in spread.

    Returns
    -------
    (mean_shift, spread_shift) : ndarrays of shape (n_bars,)
        `|mean20 - mean200| / (sd200 / sqrt 20)` and `|ln(sd20/sd200)|`; sd with ddof=1. NaN for the first 199 bars, windows
        with a NaN and where sd200 is 0.
    """
    x = np.asarray(x, float)
    out = np.full((2, len(x)), np.nan)
    frames, first = _frames(x, LONG_BARS, last)
    if len(frames):
        mean, spread = _moments(frames)
        near_mean, near_spread = _moments(frames[:, -SHORT_BARS:])
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = np.where(spread > 0, spread, np.nan)
            out[0, first:] = np.abs(near_mean - mean) / (spread / np.sqrt(SHORT_BARS))
            out[1, first:] = np.abs(np.log(np.maximum(near_spread / spread, LOG_FLOOR)))
    return out[0], out[1]


def shape_change(x: np.ndarray, *, last: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Absolute change of skewness and excess kurtosis of the newest 100 bars against those of 100 bars ago.

    Both bias-corrected (`G1`, `G2` of Joanes & Gill 1998, the same as pandas). NaN for the first 199 bars, windows with a NaN
    and without variation.
    """
    x = np.asarray(x, float)
    n, w = len(x), SHAPE_BARS
    frames, first = _frames(x, w, None if last is None else last + w)
    skew, kurt = np.full(n, np.nan), np.full(n, np.nan)
    if len(frames):
        centred = frames - frames.mean(axis=1, keepdims=True)
        square = centred * centred
        with np.errstate(invalid="ignore", divide="ignore"):
            m2 = square.mean(axis=1)
            m2 = np.where(m2 > 1e-24 * np.square(frames[:, -1]), m2, np.nan)
            g1 = (square * centred).mean(axis=1) / m2**1.5
            g2 = (square * square).mean(axis=1) / m2**2 - 3.0
        skew[first:] = np.sqrt(w * (w - 1)) / (w - 2) * g1
        kurt[first:] = (w - 1) / ((w - 2) * (w - 3)) * ((w + 1) * g2 + 6.0)
    moved = np.full((2, n), np.nan)
    moved[0, w:] = np.abs(skew[w:] - skew[:-w])
    moved[1, w:] = np.abs(kurt[w:] - kurt[:-w])
    return moved[0], moved[1]


def cumulative_deviation(x: np.ndarray, *, last: int | None = None) -> np.ndarray:
    """`|sum of 24 returns - 24 mu| / (sd sqrt 24)`, mu and sd (ddof=1) from the 300 bars before those 24.

    NaN for the first 323 bars, windows with a NaN and where the 300 bars do not vary.
    """
    x = np.asarray(x, float)
    out = np.full(len(x), np.nan)
    frames, first = _frames(x, BASE_BARS + SUM_BARS, last)
    if len(frames):
        mean, spread = _moments(frames[:, :BASE_BARS])
        with np.errstate(invalid="ignore", divide="ignore"):
            moved = np.abs(frames[:, BASE_BARS:].sum(axis=1) - SUM_BARS * mean)
            out[first:] = np.where(spread > 0, moved / (spread * np.sqrt(SUM_BARS)), np.nan)
    return out
