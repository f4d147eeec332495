"""From a raw metric to a unit score: the only normalisers (methods.md 0.1). All windows trail and include the bar itself.

Each function maps an array to an array of the same length, value t from rows t-window+1 .. t, NaN where fewer than `minimum`
rows are known or fewer than 80 % of the window's rows since the metric first had a value (methods.md N3). `last` limits the
work to the newest bars; the values there are the same as without it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

WINDOW_BARS = 500
BLOCK_ROWS = 256
MINIMUM_BARS = 100
SHARE_NEEDED = 0.8  # of a normaliser window's rows (methods.md N3)
MAD_TO_SD = 1.4826  # median absolute deviation of a normal variable times this is its sd
TAIL_START = 0.10  # TP switches from the empirical percentile to its exponential tail here


def _recent(x: np.ndarray, window: int, last: int | None) -> tuple[pd.Series, int]:
    """The rows that the newest `last` windows touch, and how many rows were left off."""
    x = np.asarray(x, float)
    cut = 0 if last is None else max(0, len(x) - last - window + 1)
    return pd.Series(np.where(np.isfinite(x), x, np.nan)[cut:]), cut


def _enough(x: np.ndarray, recent: pd.Series, cut: int, window: int, minimum: int) -> np.ndarray:
    """Per row of `recent`: whether its window holds enough known rows."""
    known = np.isfinite(recent.to_numpy())
    count = np.cumsum(known)
    count[window:] = count[window:] - count[:-window]
    finite = np.flatnonzero(np.isfinite(x))
    if len(finite) == 0:
        return np.zeros(len(recent), bool)
    rows = np.minimum(np.arange(cut, cut + len(recent)) - finite[0] + 1, window)
    return (count >= minimum) & (count >= SHARE_NEEDED * rows)


def _grown(values: np.ndarray, cut: int, n: int, last: int | None) -> np.ndarray:
    out = np.full(n, np.nan)
    out[cut:] = values
    if last is not None:
        out[: max(0, n - last)] = np.nan
    return out


def z0(x: np.ndarray, *, window: int = WINDOW_BARS, minimum: int = MINIMUM_BARS, last: int | None = None) -> np.ndarray:
    """Z0: `tanh(x_t / (2 s0))`, s0 = 1.4826 median|x| over the window. For signed metrics with a natural zero.

    Keeps the sign: a percentile would call a long bull market "neutral". Where the median is 0 the window's standard
    deviation stands in; where that is 0 too the result is NaN (degenerate). Range (-1, 1).
    """
    recent, cut = _recent(x, window, last)
    scale = MAD_TO_SD * recent.abs().rolling(window, min_periods=1).median()
    if not bool((scale > 0).all()):
        scale = scale.where(scale > 0, recent.rolling(window, min_periods=2).std())
    with np.errstate(invalid="ignore", divide="ignore"):
        k = np.tanh((recent / (2 * scale)).to_numpy(copy=True))
    k[~_enough(np.asarray(x, float), recent, cut, window, minimum) | ~(scale.to_numpy() > 0)] = np.nan
    return _grown(k, cut, len(x), last)


def zm(x: np.ndarray, *, window: int = WINDOW_BARS, minimum: int = MINIMUM_BARS, last: int | None = None) -> np.ndarray:
    """ZM: `tanh((x_t - median) / (2 * 1.4826 MAD))`. For levels without a natural zero whose both sides mean something.

    NaN where the median absolute deviation is 0. Range (-1, 1).
    """
    recent, cut = _recent(x, window, last)
    middle = recent.rolling(window, min_periods=1).median().to_numpy()
    values = recent.to_numpy()
    k = np.full(len(values), np.nan)
    first = 0 if last is None else max(0, len(values) - last)
    spread = np.zeros(len(values))
    padded = np.concatenate((np.full(window - 1, np.nan), values))
    for start, held in full_windows(padded, window, first + window - 1):
        rows = slice(start - window + 1, start - window + 1 + len(held))
        spread[rows] = middle_of(np.abs(held - middle[rows, None]))
    with np.errstate(invalid="ignore", divide="ignore"):
        k[first:] = np.where(spread > 0, np.tanh((values - middle) / (2 * MAD_TO_SD * spread)), np.nan)[first:]
    k[~_enough(np.asarray(x, float), recent, cut, window, minimum)] = np.nan
    return _grown(k, cut, len(x), last)


def pr(x: np.ndarray, *, window: int = WINDOW_BARS, minimum: int = MINIMUM_BARS, last: int | None = None) -> np.ndarray:
    """PR: mid-rank percentile including the bar itself, `(#less + 0.5 #equal) / n`. For positive heavy-tailed levels.

    Equal to `scipy.stats.percentileofscore(kind="mean") / 100`. Range (0, 1); its signed form is 2 PR - 1.
    """
    recent, cut = _recent(x, window, last)
    rolling = recent.rolling(window, min_periods=1)
    n = rolling.count()
    share = ((rolling.rank(method="average") - 0.5) / n).to_numpy(copy=True)
    share[~_enough(np.asarray(x, float), recent, cut, window, minimum)] = np.nan
    return _grown(share, cut, len(x), last)


def whole_windows(x: np.ndarray, window: int) -> np.ndarray:
    """Where a full window of known values ends."""
    known = np.cumsum(np.isfinite(x))
    known[window:] = known[window:] - known[:-window]
    return known == window


def full_windows(x: np.ndarray, window: int, first: int) -> Iterator[tuple[int, np.ndarray]]:
    """(row of the first window's end, windows) in blocks of rows from `first` on, so that memory stays small."""
    for start in range(max(first, window - 1), len(x), BLOCK_ROWS):
        stop = min(len(x), start + BLOCK_ROWS)
        yield start, np.lib.stride_tricks.sliding_window_view(x[start - window + 1 : stop], window)


def middle_of(rows: np.ndarray) -> np.ndarray:
    """Median of the known values of each row: what `np.median` of them gives, in a third of its time; NaN where a row has none."""
    n = rows.shape[1]
    half = n // 2
    kth = (half - 1, half) if n % 2 == 0 else (half,)
    parted = np.partition(rows, (*kth, n - 1), axis=1)  # NaN sorts last
    middle = parted[:, half] if n % 2 else 0.5 * (parted[:, half - 1] + parted[:, half])
    holed = np.flatnonzero(np.isnan(parted[:, -1]))
    if len(holed):
        ordered = np.sort(rows[holed], axis=1)
        known = n - np.isnan(ordered).sum(axis=1)
        each = np.arange(len(holed))
        low, high = np.maximum((known - 1) // 2, 0), np.minimum(known // 2, n - 1)
        middle[holed] = np.where(known > 0, 0.5 * (ordered[each, low] + ordered[each, high]), np.nan)
    return middle


def af(x: np.ndarray, center: float, half: float) -> np.ndarray:
    """AF: `clip((x - center) / half, -1, 1)`. For bounded oscillators with a known center."""
    return np.clip((np.asarray(x, float) - center) / half, -1.0, 1.0)


def tp(x: np.ndarray, *, window: int = WINDOW_BARS, minimum: int = MINIMUM_BARS, last: int | None = None) -> np.ndarray:
    """TP: past-only tail probability of an anomaly statistic (large = unusual), in (0, 1].

    With u the window's 90 % quantile: `p = max(0.10, 1 - PR)` up to u, beyond it `0.10 exp(-(x - u) / b)` with
    `b = median(x_i - u; x_i > u) / ln 2`. The median of the excesses keeps a burst of anomalies from masking itself: a
    mean-excess tail found 65 % of planted 8-sigma jumps, this one 98 %.
    """
    recent, cut = _recent(x, window, last)
    values = recent.to_numpy()
    share = pr(x, window=window, minimum=minimum, last=last)[cut:]
    threshold = recent.rolling(window, min_periods=1).quantile(1 - TAIL_START).to_numpy()
    p = np.maximum(TAIL_START, 1.0 - share)
    first = 0 if last is None else max(0, len(values) - last)
    for t in np.flatnonzero(np.isfinite(p) & (values > threshold)):
        if t < first:
            continue
        excess = values[max(0, t - window + 1) : t + 1] - threshold[t]
        spread = np.median(excess[excess > 0]) / np.log(2.0)
        p[t] = TAIL_START * np.exp(-(values[t] - threshold[t]) / spread)
    p[~_enough(np.asarray(x, float), recent, cut, window, minimum)] = np.nan
    return _grown(p, cut, len(x), last)




def surprisal(p: np.ndarray) -> np.ndarray:
    """`clip((-log10 p - 1) / 3, 0, 1)`: p = 0.1 -> 0, 0.01 -> 1/3, 0.001 -> 2/3, 0.0001 and less -> 1."""
    with np.errstate(divide="ignore"):
        return np.clip((-np.log10(np.maximum(np.asarray(p, float), 1e-300)) - 1.0) / 3.0, 0.0, 1.0)


NORMALISERS = (z0, zm, pr, tp)
