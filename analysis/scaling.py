"""From a raw metric to a unit score: the only normalisers (methods.md 0.1). All windows trail and include the bar itself.

Each function maps an array to an array of the same length, value t from rows t-window+1 .. t, NaN where fewer than `minimum`
rows are known or fewer than 80 % of the window's rows since the metric first had a value (methods.md N3). `last` limits the
work to the newest bars; the values there are the same as without it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.sorted_windows import BELOW, KNOWN, LEVEL, MAD, MEDIAN, QUANTILE, orders_of

WINDOW_BARS = 500
BLOCK_ROWS = 256
FEW_ROWS, FEWEST_ROWS = 32, 4  # so few newest windows are looked at one by one, without and with the compiled loop: it, and pandas
# without it, would roll through all the rows before them
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


def _few(x: np.ndarray, window: int, minimum: int, last: int | None) -> tuple[slice, np.ndarray, np.ndarray] | None:
    """(newest rows, their windows with NaN for what is unknown, whether each holds enough) where few rows are asked for, else None."""
    n = len(x)
    if last is None or n == 0 or not 1 <= last <= (FEW_ROWS if orders_of.compiled is None else FEWEST_ROWS):
        return None
    x = np.asarray(x, float)
    rows = slice(max(0, n - last), n)
    finite = np.isfinite(x)
    begin = int(finite.argmax()) if finite.any() else n
    padded = np.full(n - rows.start + window - 1, np.nan)
    held = x[max(0, rows.start - window + 1) :]
    padded[len(padded) - len(held) :] = held
    padded[np.isinf(padded)] = np.nan
    windows = np.lib.stride_tricks.sliding_window_view(padded, window)
    count = window - np.isnan(windows).sum(axis=1)
    spanned = np.minimum(np.arange(rows.start, n) - begin + 1, window)
    return rows, windows, (count >= minimum) & (count >= SHARE_NEEDED * spanned) & finite[rows]


def _rolled(x: np.ndarray, window: int, minimum: int, last: int | None, *, size: bool = False,
            scale: float = 0.0) -> tuple[slice, np.ndarray, np.ndarray, np.ndarray]:
    """(newest rows, their values with NaN for what is unknown, whether each window holds enough, `orders_of`) by the compiled loop.

    `size` asks for the order of the absolute values; a `scale` below 0 for the MAD alone.
    """
    n = len(x)
    x = np.asarray(x, float)
    first = 0 if last is None else max(0, n - last)
    begin = max(0, first - window + 1)
    finite = np.isfinite(x)
    known = np.where(finite[begin:], x[begin:], np.nan)
    table = orders_of(np.abs(known) if size else known, window, first - begin, 1 - TAIL_START, scale)
    start = int(finite.argmax()) if finite.any() else n
    count, spanned = table[KNOWN], np.minimum(np.arange(first, n) - start + 1, window)
    return slice(first, n), known[first - begin :], (count >= minimum) & (count >= SHARE_NEEDED * spanned) & finite[first:], table


def _placed(values: np.ndarray, rows: slice, n: int) -> np.ndarray:
    out = np.full(n, np.nan)
    out[rows] = values
    return out


def _mid_ranks(windows: np.ndarray) -> np.ndarray:
    """Mid-rank percentile of the last value of each window among its known values."""
    now = windows[:, -1:]
    less, equal = (windows < now).sum(axis=1), (windows == now).sum(axis=1)
    known = windows.shape[1] - np.isnan(windows).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (less + 0.5 * equal) / known


def z0(x: np.ndarray, *, window: int = WINDOW_BARS, minimum: int = MINIMUM_BARS, last: int | None = None) -> np.ndarray:
    """Z0: `tanh(x_t / (2 s0))`, s0 = 1.4826 median|x| over the window. For signed metrics with a natural zero.

    Keeps the sign: a percentile would call a long bull market "neutral". Where the median is 0 the window's standard
    deviation stands in; where that is 0 too the result is NaN (degenerate). Range (-1, 1).
    """
    near = _few(x, window, minimum, last)
    if near is not None:
        rows, windows, enough = near
        scales = MAD_TO_SD * middle_of(np.abs(windows))
        if bool((scales[enough] > 0).all()):  # else the standard deviation stands in, below
            with np.errstate(invalid="ignore", divide="ignore"):
                return _placed(np.where(enough, np.tanh(windows[:, -1] / (2 * scales)), np.nan), rows, len(x))
    if orders_of.compiled is not None:
        rows, values, enough, found = _rolled(x, window, minimum, last, size=True)
        scales = MAD_TO_SD * found[MEDIAN]
        if bool((scales[enough] > 0).all()):
            with np.errstate(invalid="ignore", divide="ignore"):
                return _placed(np.where(enough, np.tanh(values / (2 * scales)), np.nan), rows, len(x))
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
    near = _few(x, window, minimum, last)
    if near is not None:
        rows, windows, enough = near
        centres = middle_of(windows)
        spreads = middle_of(np.abs(windows - centres[:, None]))
        with np.errstate(invalid="ignore", divide="ignore"):
            scores = np.tanh((windows[:, -1] - centres) / (2 * MAD_TO_SD * spreads))
        return _placed(np.where(enough & (spreads > 0), scores, np.nan), rows, len(x))
    if orders_of.compiled is not None:
        rows, values, enough, found = _rolled(x, window, minimum, last, scale=-1.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            scores = np.tanh((values - found[MEDIAN]) / (2 * MAD_TO_SD * found[MAD]))
        return _placed(np.where(enough & (found[MAD] > 0), scores, np.nan), rows, len(x))
    recent, cut = _recent(x, window, last)
    middle = recent.rolling(window, min_periods=1).median().to_numpy()
    values = recent.to_numpy()
    k = np.full(len(values), np.nan)
    first = 0 if last is None else max(0, len(values) - last)
    spread = np.zeros(len(values))
    padded = np.concatenate((np.full(window - 1, np.nan), values))
    for start, held in full_windows(padded, window, first + window - 1):
        part = slice(start - window + 1, start - window + 1 + len(held))
        spread[part] = middle_of(np.abs(held - middle[part, None]))
    with np.errstate(invalid="ignore", divide="ignore"):
        k[first:] = np.where(spread > 0, np.tanh((values - middle) / (2 * MAD_TO_SD * spread)), np.nan)[first:]
    k[~_enough(np.asarray(x, float), recent, cut, window, minimum)] = np.nan
    return _grown(k, cut, len(x), last)


def pr(x: np.ndarray, *, window: int = WINDOW_BARS, minimum: int = MINIMUM_BARS, last: int | None = None) -> np.ndarray:
    """PR: mid-rank percentile including the bar itself, `(#less + 0.5 #equal) / n`. For positive heavy-tailed levels.

    Equal to `scipy.stats.percentileofscore(kind="mean") / 100`. Range (0, 1); its signed form is 2 PR - 1.
    """
    near = _few(x, window, minimum, last)
    if near is not None:
        rows, windows, enough = near
        return _placed(np.where(enough, _mid_ranks(windows), np.nan), rows, len(x))
    if orders_of.compiled is not None:
        rows, _, enough, found = _rolled(x, window, minimum, last)
        with np.errstate(invalid="ignore", divide="ignore"):
            return _placed(np.where(enough, (found[BELOW] + 0.5 * found[LEVEL]) / found[KNOWN], np.nan), rows, len(x))
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
    near = _few(x, window, minimum, last)
    if near is not None:
        rows, windows, enough = near
        p = np.full(len(windows), np.nan)
        p[enough] = _tail_probabilities(windows[enough])
        return _placed(p, rows, len(x))
    known = np.where(np.isfinite(x), np.asarray(x, float), np.nan)
    if orders_of.compiled is not None:
        rows, values, enough, table = _rolled(x, window, minimum, last)
        with np.errstate(invalid="ignore", divide="ignore"):
            p = np.maximum(TAIL_START, 1.0 - (table[BELOW] + 0.5 * table[LEVEL]) / table[KNOWN])
        threshold, p = table[QUANTILE], np.where(enough, p, np.nan)
    else:
        recent, cut = _recent(x, window, last)
        rows = slice(cut if last is None else max(0, len(x) - last), len(x))
        values = recent.to_numpy()[rows.start - cut :]
        threshold = recent.rolling(window, min_periods=1).quantile(1 - TAIL_START).to_numpy()[rows.start - cut :]
        p = np.maximum(TAIL_START, 1.0 - pr(x, window=window, minimum=minimum, last=last)[rows])
    for t in np.flatnonzero(np.isfinite(p) & (values > threshold)):
        excess = known[max(0, rows.start + t - window + 1) : rows.start + t + 1] - threshold[t]
        spread = _median(excess[excess > 0]) / np.log(2.0)
        p[t] = TAIL_START * np.exp(-(values[t] - threshold[t]) / spread)
    return _placed(p, rows, len(x))


def _median(values: np.ndarray) -> float:
    """`np.median` of known values without its checks, which cost more than the sorting of fifty numbers."""
    ordered = np.sort(values)
    return float(0.5 * (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]))


def _tail_probabilities(windows: np.ndarray) -> np.ndarray:
    """`tp` of the last value of each window; NaN is unknown, the last values are known."""
    now = windows[:, -1]
    p = np.maximum(TAIL_START, 1.0 - _mid_ranks(windows))
    known = windows.shape[1] - np.isnan(windows).sum(axis=1)
    place = (1 - TAIL_START) * (known - 1)
    low = place.astype(np.int64)
    for t in np.flatnonzero((windows < now[:, None]).sum(axis=1) >= low):  # others lie below their quantile for certain
        ordered = np.sort(windows[t])[: known[t]]
        u = ordered[low[t]]
        if place[t] != low[t]:
            u = u + (ordered[low[t] + 1] - u) * (place[t] - low[t])
        if now[t] > u:
            excess = ordered[ordered > u] - u
            p[t] = TAIL_START * np.exp(-(now[t] - u) / (_median(excess) / np.log(2.0)))
    return p


def surprisal(p: np.ndarray) -> np.ndarray:
    """`clip((-log10 p - 1) / 3, 0, 1)`: p = 0.1 -> 0, 0.01 -> 1/3, 0.001 -> 2/3, 0.0001 and less -> 1."""
    with np.errstate(divide="ignore"):
        return np.clip((-np.log10(np.maximum(np.asarray(p, float), 1e-300)) - 1.0) / 3.0, 0.0, 1.0)


NORMALISERS = (z0, zm, pr, tp)
