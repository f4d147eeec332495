"""Equal risk contributions: every asset carries the same share of the portfolio's variance."""

from __future__ import annotations

import numpy as np

TOLERANCE = 1e-13
MOST_STEPS = 200


def risk_parity(covariance: np.ndarray) -> np.ndarray:
    """The one long-only portfolio, summing to 1, in which `w_i (Sw)_i` is the same for all assets.

    Minimises `.5 w'Sw - mean(ln w)` by Newton steps, damped where the step is long (the function is self-concordant, so it cannot fail
    for a positive definite S), and normalises. In units of each asset's volatility, so that scales do not matter.

    References
    ----------
    Maillard, Roncalli & Teiletche (2010), "The Properties of Equally Weighted Risk Contribution Portfolios"; Spinu (2013), "An Algorithm
    for Computing Risk Parity Weights".
    """
    sd = np.sqrt(np.diag(covariance))
    scaled = covariance / np.outer(sd, sd)
    assets = len(sd)
    x = np.full(assets, 1.0 / np.sqrt(max(float(scaled.sum()), 1e-12)))
    for _ in range(MOST_STEPS):
        gradient = assets * (scaled @ x) - 1.0 / x
        hessian = assets * scaled + np.diag(1.0 / x**2)
        step = np.linalg.solve(hessian, gradient)
        decrement = float(np.sqrt(max(0.0, gradient @ step)))
        x = x - step / (1.0 + decrement) if decrement > 0.25 else x - step
        if decrement < TOLERANCE:
            break
    weights = x / sd
    return weights / weights.sum()
