"""How far away stop, target and trailing stop are put: one distance per bar, in quote currency, known at the bar's close.

The engine measures them from the fill price. NaN where it cannot be known yet; a size that needs the stop is then refused.
"""

from __future__ import annotations

import numpy as np

from analysis.scaling import pr
from data.errors import InputError
from data.frames import Candles
from data.indicators.ranges import atr, natr

ATR_MULTIPLE = 2.5
REWARD = 1.5  # target distance as a multiple of the stop's
LOOSEST, TIGHTEST = 3.5, 1.5  # of the adaptive multiple


def percent(candles: Candles, fraction: float) -> np.ndarray:
    """A fixed share of the close: 0.02 is 2 %."""
    if not 0.0 < fraction < 1.0:
        raise InputError(f"stop: expected a fraction between 0 and 1, got {fraction!r}; 0.02 means 2 %")
    return candles.close * fraction


def atr_multiple(candles: Candles, multiple: float = ATR_MULTIPLE, *, window: int = 14) -> np.ndarray:
    """`multiple` average true ranges."""
    if not multiple > 0.0:
        raise InputError(f"stop: expected a multiple of the average true range above zero, got {multiple!r}")
    return multiple * _above_zero(atr(candles, window=window))


def adaptive(candles: Candles, *, window: int = 14) -> np.ndarray:
    """`clip(2 + 2 (PR(NATR) - 0.5), 1.5, 3.5)` average true ranges: wider where ranges are wide by their own history (module G's stop)."""
    rank = pr(natr(candles, window=window))
    return np.clip(2.0 + 2.0 * (rank - 0.5), TIGHTEST, LOOSEST) * _above_zero(atr(candles, window=window))


def chandelier(candles: Candles, multiple: float = 3.0, *, window: int = 22) -> np.ndarray:
    """Distance of a trailing stop from the best price since the entry: `multiple` ATR of `window` bars, frozen at the entry.

    References
    ----------
    LeBeau's chandelier exit, in Elder (2002), "Come Into My Trading Room".
    """
    return atr_multiple(candles, multiple, window=window)


def target_of(stop_distance: np.ndarray, reward: float = REWARD) -> np.ndarray:
    """Take-profit distance: `reward` times the stop's."""
    if not reward > 0.0:
        raise InputError(f"target: expected a multiple of the stop distance above zero, got {reward!r}")
    return reward * stop_distance


def _above_zero(distance: np.ndarray) -> np.ndarray:
    """A market that does not move has no range to measure a stop with."""
    return np.where(distance > 0.0, distance, np.nan)
