"""Sets and intervals with a promised coverage, from out-of-fold errors alone.

Class sets: every class that is not too surprising (LAC). Intervals: the forecast plus and minus a quantile of past errors over the
volatility known at the time. The adaptive form moves its level whenever it missed.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

WINDOW = 500  # newest out-of-fold rows
SET_ALPHA = 0.2
INTERVAL_ALPHA = 0.1
STEP = 0.01
ALPHA_BOUNDS = (0.001, 0.5)
LEAST_ROWS = 50


def threshold(scores: np.ndarray, alpha: float) -> float:
    """The ceil((n+1)(1-alpha))-th smallest score; infinite where n is too small to promise that much."""
    known = np.sort(scores[np.isfinite(scores)])
    k = math.ceil((len(known) + 1) * (1.0 - alpha))
    return float(known[k - 1]) if 1 <= k <= len(known) else math.inf


@dataclass(frozen=True)
class ClassSets:
    """Which classes stay possible: those with probability of at least 1 - q.

    References
    ----------
    Sadinle, Lei & Wasserman (2019), "Least Ambiguous Set-Valued Classifiers With Bounded Error Levels".
    """

    q: float
    alpha: float
    rows: int

    def of(self, probability: np.ndarray) -> np.ndarray:
        """bool, shape (rows, classes)."""
        return 1.0 - probability <= self.q

    def document(self) -> dict[str, Any]:
        return {"q": self.q if math.isfinite(self.q) else None, "alpha": self.alpha, "rows": self.rows}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> ClassSets:
        return cls(math.inf if document["q"] is None else document["q"], document["alpha"], document["rows"])


def class_sets(probability: np.ndarray, codes: np.ndarray, *, alpha: float = SET_ALPHA) -> ClassSets:
    """From out-of-fold rows in time order; the last 500 count. q is infinite (every class stays) below 50 rows."""
    p, codes = probability[-WINDOW:], codes[-WINDOW:]
    scores = 1.0 - p[np.arange(len(codes)), codes]
    return ClassSets(threshold(scores, alpha) if len(codes) >= LEAST_ROWS else math.inf, alpha, len(codes))


@dataclass(frozen=True)
class ScaledInterval:
    """`mean +- q sigma` covers 1 - alpha of outcomes like the last 500."""

    q: float
    alpha: float
    rows: int

    def of(self, mean: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return mean - self.q * sigma, mean + self.q * sigma

    def document(self) -> dict[str, Any]:
        return {"q": self.q if math.isfinite(self.q) else None, "alpha": self.alpha, "rows": self.rows}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> ScaledInterval:
        return cls(math.inf if document["q"] is None else document["q"], document["alpha"], document["rows"])


def scaled_interval(y: np.ndarray, mean: np.ndarray, sigma: np.ndarray, *, alpha: float = INTERVAL_ALPHA) -> ScaledInterval:
    """Split conformal on `|y - mean| / sigma` of the last 500 rows where all three are known (Vovk, Gammerman & Shafer 2005)."""
    scores = _scores(y, mean, sigma)
    scores = scores[np.isfinite(scores)][-WINDOW:]
    return ScaledInterval(threshold(scores, alpha) if len(scores) >= LEAST_ROWS else math.inf, alpha, len(scores))


def _scores(y: np.ndarray, mean: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(sigma > 0, np.abs(y - mean) / sigma, np.nan)


@dataclass(frozen=True)
class Rolling:
    """Half-widths over time: row t uses outcomes known before it. NaN in the first `WINDOW` rows."""

    half: np.ndarray
    alpha: np.ndarray

    def covered(self, y: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """1.0 where the outcome lay inside, 0.0 where not, NaN where there was no interval."""
        return np.where(np.isfinite(self.half), (np.abs(y - mean) <= self.half).astype(float), np.nan)


def rolling_interval(y: np.ndarray, mean: np.ndarray, sigma: np.ndarray, *, alpha: float = INTERVAL_ALPHA, adaptive: bool = False,
                     horizon: int = 1, step: float = STEP) -> Rolling:
    """Intervals as they would have been stated, row by row, from the last 500 errors known then.

    An outcome is known `horizon` rows later. `adaptive`: `a_{t+1} = a_t + step (alpha - missed_t)`, clipped to [.001, .5], so that the
    share of misses tends to alpha even where the errors change their law.

    References
    ----------
    Gibbs & Candes (2021), "Adaptive Conformal Inference Under Distribution Shift".
    """
    scores = _scores(y, mean, sigma)
    n = len(scores)
    half, level = np.full(n, np.nan), np.full(n, np.nan)
    window: list[float] = []
    arrived: list[float] = []
    bound, current = np.full(n, np.nan), alpha
    for t in range(n):
        known = t - horizon
        if known >= 0 and math.isfinite(scores[known]):
            insort(window, scores[known])
            arrived.append(scores[known])
            if len(arrived) > WINDOW:
                del window[bisect_left(window, arrived[len(arrived) - WINDOW - 1])]
            if adaptive and math.isfinite(bound[known]):
                missed = float(scores[known] > bound[known])
                current = min(max(current + step * (alpha - missed), ALPHA_BOUNDS[0]), ALPHA_BOUNDS[1])
        if len(window) < WINDOW:
            continue
        k = math.ceil((len(window) + 1) * (1.0 - current))
        bound[t] = window[k - 1] if k <= len(window) else window[-1] * 2.0  # more than all errors: nothing finite is promised by them
        half[t], level[t] = bound[t] * sigma[t], current
    return Rolling(half, level)
