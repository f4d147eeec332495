"""What derivatives rows say at a bar's close: slow rows held as of it, their normal spacing, and tails of their deviations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.module import Track
from analysis.report import Status, counting
from analysis.scaling import MAD_TO_SD, MINIMUM_BARS, SHARE_NEEDED, TAIL_START, WINDOW_BARS, full_windows, middle_of, whole_windows
from analysis.sorted_windows import AS_FAR, MAD, MEDIAN, NEARER, orders_of
from analysis.tracks import rows_known
from data.clock import age_text
from data.observations import Observations

SPACING_ROWS = 12  # gaps whose median is the normal spacing


def spacing_s(observations: Observations, *, least_s: float, first: int = 0) -> np.ndarray:
    """Normal seconds between two rows as each row found it: median of the 12 gaps before, at least `least_s`; shape (rows,).

    Rows that became known together count once. A stored grid may be coarser than what the venue would give: a metric is late
    against what it is normally given. Rows before `first` need not be known and may be NaN.
    """
    known = observations.available_time
    if len(known) == 0:
        return np.empty(0)
    starts = np.concatenate(([0], np.flatnonzero(np.diff(known)) + 1))
    which = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(known))))
    begin = max(0, int(which[min(first, len(known) - 1)]) - SPACING_ROWS - 1)
    gap = np.diff(known[starts[begin:]]) / 1000.0
    if orders_of.compiled is None:
        gap = pd.Series(gap).rolling(SPACING_ROWS, min_periods=1).median().to_numpy()
    else:
        gap = orders_of(gap, SPACING_ROWS, 0, 0.5, 0.0)[MEDIAN]
    return np.maximum(np.concatenate(([least_s] if begin == 0 else np.full(begin + 1, np.nan), gap)), least_s)[which]


@dataclass(frozen=True)
class Held:
    """The newest known row at each bar's close, shape (bars,).

    `row` is -1 before the first; `late_s` counts in seconds of the newest row's normal spacing `step_s`, so that a bar is judged
    by the spacing of its own day (a funding interval changes from 8 to 4 hours; what is late then is not late before).
    """

    row: np.ndarray
    late_s: np.ndarray
    step_s: float
    age_s: float
    tau: float
    note: str

    @property
    def usable(self) -> np.ndarray:
        """Where a row is known and not yet faded to nothing (three times tau)."""
        return (self.row >= 0) & (self.late_s < 3.0 * self.tau * self.step_s)

    def column(self, values: np.ndarray) -> np.ndarray:
        """Values per row, as of each bar; NaN where not usable."""
        if len(values) == 0:
            return np.full(len(self.row), np.nan)
        return np.where(self.usable, values[np.maximum(self.row, 0)], np.nan)

    def last(self, bars: int) -> Held:
        n = len(self.row)
        return Held(self.row[n - bars :], self.late_s[n - bars :], self.step_s, self.age_s, self.tau, self.note)

    def track(self, value: np.ndarray, k: np.ndarray, *, warming: np.ndarray, note: str) -> Track:
        """A metric computed on the bars: OK where k is known, WARMUP where `warming`, else DEGENERATE; MISSING without a row."""
        status = np.where(np.isfinite(k), Status.OK, np.where(warming, Status.WARMUP, Status.DEGENERATE))
        status = np.where(self.row < 0, Status.MISSING, status).astype(np.int8)
        counts = counting(status)
        gone = ~self.usable & (self.row >= 0)
        status = np.where(gone & ~counts, Status.STALE, status).astype(np.int8)
        words = "" if counts[-1] else self.note if status[-1] in (Status.MISSING, Status.STALE) else note
        return Track(value, np.where(counts, k, np.nan), status, self.age_s, self.step_s, words, self.late_s)


def held_at(observations: Observations, close_time: np.ndarray, *, age_s: float, tau: float, least_s: float,
            steps_s: np.ndarray | None = None) -> Held:
    """The rows as of each close. `tau` is the metric's, in normal spacings (`steps_s` where each row tells its own); `age_s` is the
    newest row's age at the question, which the newest bar feels."""
    row = rows_known(observations, close_time)
    if len(observations) == 0:
        note = observations.note or f"no {observations.kind} is known"
        return Held(row, np.full(len(row), np.inf), least_s, np.inf, tau, note)
    at = np.maximum(row, 0)
    spacing = spacing_s(observations, least_s=least_s, first=int(at.min())) if steps_s is None else np.maximum(steps_s, least_s)
    late = np.maximum(0.0, (np.asarray(close_time, np.int64) - observations.available_time[at]) / 1000.0)
    late = np.where(row < 0, np.inf, late * spacing[-1] / spacing[at])
    late[-1] = max(late[-1], age_s)
    stale = f"no {observations.kind} is known yet"
    if row[-1] >= 0 and np.isfinite(age_s):
        stale = f"the newest {observations.kind} is {age_text(int(age_s * 1000))} old"
    return Held(row, late, float(spacing[-1]), age_s, tau, stale)


def windows_of(x: np.ndarray, window: int, last: int) -> np.ndarray:
    """The trailing windows of the newest `last` values, NaN before the first value; shape (last, window)."""
    last = min(last, len(x))
    padded = np.concatenate((np.full(window - 1, np.nan), np.asarray(x, float)[max(0, len(x) - last - window + 1) :]))
    rows = np.lib.stride_tricks.sliding_window_view(padded, window)
    return rows[len(rows) - last :]


def enough(x: np.ndarray, *, window: int = WINDOW_BARS, minimum: int = MINIMUM_BARS) -> np.ndarray:
    """Where a trailing window holds `minimum` known values and 80 % of its rows since the first known one (methods.md N3)."""
    known = np.isfinite(x)
    count = np.cumsum(known)
    count[window:] = count[window:] - count[:-window]
    first = int(np.argmax(known)) if known.any() else len(x)
    rows = np.minimum(np.arange(len(x)) - first + 1, window)
    return (count >= minimum) & (count >= SHARE_NEEDED * rows)


def median_of(x: np.ndarray, *, window: int, last: int) -> np.ndarray:
    """Trailing median of the newest `last` values (NaN before); shape of x."""
    out = np.full(len(x), np.nan)
    if len(x):
        cut = max(0, len(x) - last - window + 1)
        recent = np.asarray(x, float)[cut:]
        if orders_of.compiled is None or np.isinf(recent).any():
            median = pd.Series(recent).rolling(window, min_periods=1).median().to_numpy()
        else:
            median = orders_of(recent, window, 0, 0.5, 0.0)[MEDIAN]
        out[len(x) - min(last, len(x)) :] = median[len(median) - min(last, len(x)) :]
    return out


def deviation_tail(x: np.ndarray, *, window: int = WINDOW_BARS, minimum: int = MINIMUM_BARS, last: int | None = None) -> np.ndarray:
    """TP of |z|: how unusual is the distance of x from its median, among the distances of the window from that same median?

    z = (x - median) / (1.4826 MAD), both of the window that ends at t, so that no row needs more than its window. TP as in
    methods.md 0.1, of the window's |z|. Shape of x, in (0, 1]; NaN where too little is known or nothing varies.
    """
    out = np.full(len(x), np.nan)
    last = len(x) if last is None else min(last, len(x))
    if last == 0:
        return out
    x = np.asarray(x, float)
    first = len(x) - last
    ready = enough(x, window=window, minimum=minimum) & np.isfinite(x)
    if orders_of.compiled is not None:
        return _tails_in_order(x, window, first, ready)
    whole = whole_windows(x, window)
    for start, held in full_windows(x, window, first):
        rows = np.arange(start, start + len(held))
        chosen = ready[rows] & whole[rows]
        if not chosen.any():
            continue
        values = held[chosen]
        away = np.abs(values - middle_of(values)[:, None])
        mad = middle_of(away)
        with np.errstate(invalid="ignore", divide="ignore"):
            out[rows[chosen]] = np.where(mad > 0, _tails(away / (MAD_TO_SD * mad)[:, None]), np.nan)
    for t in np.flatnonzero(ready & ~whole):
        if t >= first:
            values = x[max(0, t - window + 1) : t + 1]
            values = values[np.isfinite(values)]
            away = np.abs(values - np.median(values))
            scale = float(np.median(away))
            if scale > 0:
                out[t] = _tail(away / (MAD_TO_SD * scale))
    return out


def _tails_in_order(x: np.ndarray, window: int, first: int, ready: np.ndarray) -> np.ndarray:
    """`deviation_tail` by the compiled loop: only rows that reach their 90 % quantile are looked at alone."""
    out = np.full(len(x), np.nan)
    known = np.where(np.isfinite(x), x, np.nan)
    begin = max(0, first - window + 1)
    found = orders_of(known[begin:], window, first - begin, 1.0 - TAIL_START, MAD_TO_SD)
    median, mad, below, level = found[MEDIAN], found[MAD], found[NEARER], found[AS_FAR]
    counted = np.cumsum(np.isfinite(x))
    counted[window:] = counted[window:] - counted[:-window]
    n = counted[first:]
    rows = np.flatnonzero(ready[first:] & (mad > 0))
    out[first + rows] = np.maximum(TAIL_START, 1.0 - (below[rows] + 0.5 * level[rows]) / n[rows])
    high = rows[below[rows] >= ((1.0 - TAIL_START) * (n[rows] - 1)).astype(np.int64)]
    whole = high[n[high] == window]
    if len(whole):
        values = known[first + whole[:, None] + np.arange(1 - window, 1)]
        out[first + whole] = _tails(np.abs(values - median[whole, None]) / (MAD_TO_SD * mad[whole])[:, None])
    for row in high[n[high] < window]:
        values = known[max(0, first + row - window + 1) : first + row + 1]
        out[first + row] = _tail(np.abs(values[np.isfinite(values)] - median[row]) / (MAD_TO_SD * mad[row]))
    return out


def _tails(z: np.ndarray) -> np.ndarray:
    """`_tail` of every row at once; only rows that reach their 90 % quantile are sorted."""
    now, n = z[:, -1], z.shape[1]
    less = (z < now[:, None]).sum(axis=1)
    out = np.maximum(TAIL_START, 1.0 - (less + 0.5 * (z == now[:, None]).sum(axis=1)) / n)
    high = np.flatnonzero(less >= int((1.0 - TAIL_START) * (n - 1)))  # the others lie below their quantile for certain
    if not len(high):
        return out
    threshold = np.quantile(z[high], 1.0 - TAIL_START, axis=1)
    high, threshold = high[now[high] > threshold], threshold[now[high] > threshold]
    if not len(high):
        return out
    excess = np.sort(z[high], axis=1) - threshold[:, None]
    count, each = (excess > 0).sum(axis=1), np.arange(len(high))
    low, top = n - count + (count - 1) // 2, n - count + count // 2
    spread = 0.5 * (excess[each, low] + excess[each, top]) / np.log(2.0)
    out[high] = TAIL_START * np.exp(-(now[high] - threshold) / spread)
    return out


def _tail(z: np.ndarray) -> float:
    """TP of the last of the values among all of them."""
    now = z[-1]
    threshold = np.quantile(z, 1.0 - TAIL_START)
    share = (np.count_nonzero(z < now) + 0.5 * np.count_nonzero(z == now)) / len(z)
    if now <= threshold:
        return max(TAIL_START, 1.0 - share)
    spread = np.median(z[z > threshold] - threshold) / np.log(2.0)
    return float(TAIL_START * np.exp(-(now - threshold) / spread))


def crowded(rank: np.ndarray) -> np.ndarray:
    """`max(0, (|2 rank - 1| - .8) / .2)`: 0 up to the 90th (down to the 10th) percentile, 1 at the edge; in [0, 1]."""
    return np.maximum(0.0, (np.abs(2.0 * rank - 1.0) - 0.8) / 0.2)


def kelley_skew(x: np.ndarray, *, window: int, last: int | None = None) -> np.ndarray:
    """Kelley's quantile skewness `(q90 + q10 - 2 q50) / (q90 - q10)` of the trailing window (Hinkley 1975), in [-1, 1].

    NaN before a full window of known values, and where the quantiles are equal. Shape of x.
    """
    out = np.full(len(x), np.nan)
    last = len(x) if last is None else min(last, len(x))
    if len(x) < window or last == 0:
        return out
    low, middle, high = np.quantile(windows_of(x, window, last), (0.1, 0.5, 0.9), axis=1)
    spread = high - low
    ready = np.isfinite(spread) & (spread > 1e-12 * np.maximum(np.abs(high), np.abs(low)))
    out[len(x) - last :] = np.where(ready, (high + low - 2.0 * middle) / np.where(ready, spread, 1.0), np.nan)
    return np.clip(out, -1.0, 1.0)


def varies(x: np.ndarray, *, window: int) -> np.ndarray:
    """Where the known values of a trailing window are not all one and the same; shape of x, bool."""
    x = np.asarray(x, float)
    known = np.flatnonzero(np.isfinite(x))
    changed = x[known[1:]] != x[known[:-1]]
    before = np.full(len(x), -1)  # where the value stood that the newest change left
    before[known[1:][changed]] = known[:-1][changed]
    before = np.maximum.accumulate(before) if len(x) else before
    return before >= np.maximum(0, np.arange(len(x)) - window + 1)


def filled(x: np.ndarray) -> np.ndarray:
    """The last known value at each row; NaN before the first."""
    known = np.maximum.accumulate(np.where(np.isfinite(x), np.arange(len(x)), -1))
    return np.where(known >= 0, np.asarray(x, float)[np.maximum(known, 0)], np.nan)


def skewness(x: np.ndarray) -> float:
    """Bias-corrected third standardised moment of the known values; NaN below three or without variance."""
    x = np.asarray(x, float)[np.isfinite(x)]
    n = len(x)
    away = x - x.mean() if n else x
    variance = float(np.mean(away**2)) if n else 0.0
    if n < 3 or variance <= 0:
        return float("nan")
    return float(np.mean(away**3)) / variance**1.5 * float(np.sqrt(n * (n - 1))) / (n - 2)


def annual_rate(rate: np.ndarray, interval_h: np.ndarray) -> np.ndarray:
    """Funding per year, a fraction: `rate * 24 / interval_h * 365`.

    >>> round(float(annual_rate(np.array([0.0001]), np.array([8.0]))[0]), 6)
    0.1095
    """
    return np.asarray(rate, float) * (24.0 / np.asarray(interval_h, float)) * 365.0


def settled_within(event_time: np.ndarray, rate: np.ndarray, hours: float = 24.0) -> np.ndarray:
    """Sum of the rates settled in the `hours` up to and with each row; shape (rows,)."""
    total = np.concatenate(([0.0], np.cumsum(np.nan_to_num(rate))))
    first = np.searchsorted(event_time, event_time - int(hours * 3_600_000), side="right")
    return total[1:] - total[first]
