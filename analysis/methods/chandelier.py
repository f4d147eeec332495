"""A trailing stop that hangs from the highest high and never falls."""

from __future__ import annotations

import math

import numpy as np


def chandelier_stop(high: np.ndarray, atr: np.ndarray, multiple: np.ndarray, *, bars: int) -> float:
    """Chandelier stop of a long position as if opened `bars` bars ago: the highest of its own values since then.

    Each bar's value is (highest high of the `bars` bars up to it) - k ATR; a ratchet, it never falls while the position
    lives. The window makes it depend on 2 x bars bars and on nothing older. NaN without a known value.

    References
    ----------
    LeBeau's chandelier exit, in Elder (2002), "Come Into My Trading Room"; the adaptive multiple is ours.
    """
    best = math.nan
    for t in range(max(0, len(high) - bars), len(high)):
        value = float(high[max(0, t - bars + 1) : t + 1].max() - multiple[t] * atr[t])
        best = value if not best >= value and math.isfinite(value) else best
    return best
