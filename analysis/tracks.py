"""From an indicator over candles to a metric's track: which bars count, and in words why the others do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from analysis.module import Track
from analysis.report import Status, counting
from analysis.scaling import MINIMUM_BARS, SHARE_NEEDED, WINDOW_BARS
from data.frames import Candles
from data.indicators.restart import bars_known
from data.observations import Observations
from data.view import MarketView

FLAT = "the price did not move in its window"


def track(candles: Candles, value: np.ndarray, k: np.ndarray, *, warmup_bars: int, bars: int, scaled: bool = False,
          age_s: float = 0.0, note: str = FLAT) -> Track:
    """The newest `bars` rows of a metric computed over all of `candles`.

    Parameters
    ----------
    value, k : ndarray of shape (n_bars,)
        Raw metric and its unit score; only the newest `bars` rows are read.
    warmup_bars : int
        Gap-free bars before the raw value exists. Fewer: WARMUP, with the number missing.
    scaled : bool
        Whether k is measured against the metric's own past (z0, zm, pr), which needs 100 values and 80 % of its window.
        Then a missing k beside a known value is WARMUP until there are enough, and DEGENERATE after.
    note : str
        What a missing value means after the warm-up.
    """
    n = len(candles)
    bars = min(bars, n)
    newest = slice(n - bars, n)
    known_bars = bars_known(candles)[newest]
    known, scored = np.isfinite(value[newest]), np.isfinite(k[newest])
    status = np.full(bars, Status.OK, np.int8)
    status[known & ~scored] = Status.DEGENERATE
    status[~known] = Status.DEGENERATE
    lacking = 0
    if scaled and not scored.all():
        counted = np.cumsum(np.isfinite(value))
        before = np.zeros(n, np.int64)
        before[WINDOW_BARS:] = counted[:-WINDOW_BARS] if n > WINDOW_BARS else 0
        finite = np.flatnonzero(np.isfinite(value))
        since = np.minimum(np.arange(n) - (finite[0] if len(finite) else n) + 1, WINDOW_BARS)
        needed = np.maximum(MINIMUM_BARS, np.ceil(SHARE_NEEDED * since).astype(np.int64))
        short = ((counted - before) < needed)[newest]
        status[known & ~scored & short] = Status.WARMUP
        if bars:
            lacking = int(needed[-1] - (counted - before)[-1])
    status[~known & (known_bars < warmup_bars)] = Status.WARMUP
    words = ""
    if bars and status[-1] == Status.WARMUP:
        if known_bars[-1] < warmup_bars:
            lacking = warmup_bars - int(known_bars[-1]) + (MINIMUM_BARS - 1 if scaled else 0)
        words = f"needs {lacking} more bars without a gap"
    elif bars and status[-1] == Status.DEGENERATE:
        words = note
    counts = counting(status)
    return Track(value[newest].copy(), np.where(counts, k[newest], np.nan), status, age_s, candles.interval.ms / 1000, words)


def newest_of(tracks: Mapping[str, Track], bars: int) -> dict[str, Track]:
    """The newest `bars` rows of each track."""
    return {key: t if len(t.value) <= bars else replace(
        t, value=t.value[len(t.value) - bars :], k=t.k[len(t.value) - bars :], status=t.status[len(t.value) - bars :],
        late_s=None if t.late_s is None else t.late_s[len(t.value) - bars :]) for key, t in tracks.items()}


def at_rows(source: Track, rows: np.ndarray) -> Track:
    """The track as it stood at given rows of it (-1: before it began, so missing)."""
    held = np.maximum(rows, 0)
    before = rows < 0
    status = np.where(before, np.int8(Status.MISSING), source.status[held]).astype(np.int8)
    return Track(np.where(before, np.nan, source.value[held]), np.where(before, np.nan, source.k[held]), status,
                 source.age_s, source.step_s, source.note)


def rows_known(observations: Observations, close_time: np.ndarray) -> np.ndarray:
    """For each bar the newest row that was known when it closed (available_time <= close_time); -1 before the first."""
    return np.searchsorted(observations.available_time, np.asarray(close_time, np.int64), side="right") - 1


def known_track(view: MarketView, observations: Observations, close_time: np.ndarray, value: np.ndarray, k: np.ndarray, *, step_s: float,
                note: str = "", status: np.ndarray | None = None) -> Track:
    """The track of a metric computed on the rows of `observations`, as it stood at each bar's close.

    Parameters
    ----------
    value, k : ndarray, shape (rows of observations,)
        Raw metric and unit score after each row; NaN where unknown.
    step_s : float
        Normal seconds between two rows: `tau_bars` of the metric counts in them.
    note : str
        What a missing value means where there are rows.
    status : ndarray of int8, shape (rows,), optional
        Where the caller knows better than OK (k known), DEGENERATE (only the value known) and WARMUP (neither).
    """
    if not len(observations):
        return Track.absent(len(close_time), observations.note or f"no {observations.kind} is known")
    rows = rows_known(observations, close_time)
    held = np.maximum(rows, 0)
    if status is None:
        status = np.where(np.isfinite(k), Status.OK, np.where(np.isfinite(value), Status.DEGENERATE, Status.WARMUP))
    states = np.where(rows < 0, Status.MISSING, status[held]).astype(np.int8)
    late_s = np.where(rows < 0, np.inf, (np.asarray(close_time, np.int64) - observations.available_time[held]) / 1000)
    counts = counting(states)
    return Track(np.where(rows < 0, np.nan, value[held]), np.where(counts, k[held], np.nan), states, view.age_of(observations), step_s,
                 "" if counts[-1] else note, np.maximum(late_s, 0.0))
