"""Are two prices tied to each other? Engle and Granger's two steps, the hedge and how fast the gap closes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tie:
    """`p`: of no tie (MacKinnon); `beta`: units of ln x held against one of ln y; `half_life`: bars until half of a gap is closed, biased
    short in samples (21 for a true 24), NaN where it does not close; `gap`: the newest gap in its own standard deviations."""

    p: float
    beta: float
    half_life: float
    gap: float


def hedge_beta(y: np.ndarray, x: np.ndarray) -> tuple[float, np.ndarray]:
    """Slope of y on x with a constant, and the residuals."""
    dx = x - x.mean()
    beta = float(dx @ (y - y.mean()) / (dx @ dx))
    return beta, (y - y.mean()) - beta * dx


def half_life(gap: np.ndarray) -> float:
    """`-ln 2 / ln(1 + phi)` of `d gap_t = c + phi gap_{t-1}`; NaN where phi lies outside (-1, 0)."""
    before, change = gap[:-1] - gap[:-1].mean(), np.diff(gap)
    phi = float(before @ change / (before @ before))
    return -math.log(2.0) / math.log1p(phi) if -1.0 < phi < 0.0 else math.nan


def tie(y: np.ndarray, x: np.ndarray) -> Tie | None:
    """Engle-Granger test of two log prices, all rows known; None where one of them does not move or one is a copy of the other.

    References
    ----------
    Engle & Granger (1987), "Co-integration and Error Correction"; MacKinnon (1994, 2010) for the p-values.
    """
    if len(y) < 100 or np.std(y) <= 0 or np.std(x) <= 0:
        return None
    beta, gap = hedge_beta(y, x)
    spread = float(gap.std(ddof=2))
    if spread <= 1e-9 * float(np.std(y)):
        return None
    from statsmodels.tsa.stattools import coint

    from analysis.methods.schedule import quietly

    with quietly():
        p = float(coint(y, x, trend="c", autolag="aic", maxlag=None)[1])
    return Tie(p, beta, half_life(gap), float(gap[-1]) / spread)
