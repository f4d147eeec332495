"""Extreme value theory: a generalised Pareto tail above a high threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from analysis.statistics.tails import ALPHA

TAIL_SHARE = 0.10  # the worst tenth of all periods lies beyond the threshold
MINIMUM_EXCESSES = 20
NEARLY_EXPONENTIAL = 1e-6  # below this |xi| the formulas' limits are used


@dataclass(frozen=True)
class PeaksOverThreshold:
    """A fitted loss tail. `threshold` u and `scale` b in fractions of value, `shape` xi without unit."""

    threshold: float
    shape: float
    scale: float
    excesses: int
    periods: int

    def var(self, *, alpha: float = ALPHA) -> float:
        """`u + b/xi ((T alpha / N_u)^-xi - 1)`; NaN when alpha lies below the threshold's own share."""
        share = self.periods * alpha / self.excesses
        if share > 1.0:
            return math.nan
        if abs(self.shape) < NEARLY_EXPONENTIAL:
            return self.threshold - self.scale * math.log(share)
        return self.threshold + self.scale / self.shape * (share**-self.shape - 1.0)

    def es(self, *, alpha: float = ALPHA) -> float:
        """`VaR / (1-xi) + (b - xi u) / (1-xi)`; NaN for xi >= 1, where the mean loss is infinite."""
        if self.shape >= 1.0:
            return math.nan
        return (self.var(alpha=alpha) + self.scale - self.shape * self.threshold) / (1.0 - self.shape)


def fit_tail(returns: np.ndarray, *, tail_share: float = TAIL_SHARE) -> PeaksOverThreshold | None:
    """Fit a generalised Pareto distribution to the losses beyond their 90 % quantile (maximum likelihood, location 0).

    None where fewer than 20 losses lie beyond it or they do not vary.

    References
    ----------
    McNeil & Frey (2000), "Estimation of tail-related risk measures for heteroscedastic financial time series".
    """
    losses = -np.asarray(returns, float)
    losses = losses[np.isfinite(losses)]
    if not len(losses):
        return None
    threshold = float(np.quantile(losses, 1.0 - tail_share))
    excess = losses[losses > threshold] - threshold
    if len(excess) < MINIMUM_EXCESSES or not np.ptp(excess) > 0:
        return None
    from scipy.stats import genpareto

    # scaled by their mean: the optimiser's stopping rule is absolute, returns of a stable coin are 1e-5
    unit = float(excess.mean())
    shape, _, scale = genpareto.fit(excess / unit, floc=0)
    return PeaksOverThreshold(threshold, float(shape), float(scale) * unit, len(excess), len(losses))
