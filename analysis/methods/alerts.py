"""When an anomaly score becomes an alert, and when the alert is over."""

from __future__ import annotations

import math

import numpy as np

ON_LEVEL = 0.6
OFF_LEVEL = 0.3
QUIET_BARS = 6  # an alert ends after this many bars in a row below OFF_LEVEL
MEMORY_BARS = 24  # an alert that was not renewed for so long is over, so that a state depends on a known stretch of the past


def alert_states(score: np.ndarray, level: np.ndarray | float = ON_LEVEL) -> np.ndarray:
    """True from a score at or above `level` until six bars in a row lie below .3, at most 24 bars after the last such score.

    Parameters
    ----------
    score : ndarray of shape (n_bars,)
        NaN is neither quiet nor loud: it keeps the state and breaks no run.
    level : float or ndarray of shape (n_bars,)
        On-threshold per bar.

    Returns
    -------
    ndarray of bool, shape (n_bars,)
        Value t depends on bars t-24 .. t only. The series is taken to begin without an alert.
    """
    levels = np.broadcast_to(np.asarray(level, float), np.shape(score))
    out = np.zeros(len(score), bool)
    raised, quiet = -MEMORY_BARS - 1, 0
    for t, (a, limit) in enumerate(zip(np.asarray(score, float).tolist(), levels.tolist(), strict=True)):
        if a < OFF_LEVEL:
            quiet += 1
        elif a >= OFF_LEVEL:
            quiet = 0
        if a >= limit:
            raised = t
        elif quiet >= QUIET_BARS:
            raised = -MEMORY_BARS - 1
        out[t] = t - raised <= MEMORY_BARS
    return out


def budget_level(score: np.ndarray, *, allowed: int) -> float:
    """The lowest on-threshold, at least .6, at which the past `score` would have raised at most `allowed` alerts.

    Two alerts are separate when six quiet bars lie between them, so the number of alerts at a threshold is the number of
    stretches between quiet runs whose peak reaches it. At most 1: a score of 1 always alerts.
    """
    peaks, peak, quiet = [], -math.inf, 0
    for a in np.asarray(score, float).tolist():
        if a < OFF_LEVEL:
            quiet += 1
            if quiet == QUIET_BARS:
                peaks.append(peak)
                peak = -math.inf
        elif a >= OFF_LEVEL:
            quiet = 0
            peak = max(peak, a)
    peaks.append(peak)
    loud = sorted((p for p in peaks if p >= ON_LEVEL), reverse=True)
    if len(loud) <= allowed:
        return ON_LEVEL
    # just above the first peak too many, to three decimals: a threshold that nobody reads to the sixteenth
    return min(1.0, math.ceil(loud[max(0, allowed)] * 1000.0 + 1e-6) / 1000.0)
