"""How far everything moves together: the share of the first principal component, and where that common move points."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from analysis.allocation.covariance import usable

DAYS = 300
MINIMUM_DAYS = 90
DIRECTION_DAYS = 30


def fit_common_move(returns: np.ndarray) -> dict[str, Any]:
    """Share of variance of the correlation matrix' first component, and its direction over 30 rows, as plain JSON values.

    `e_mkt = share tanh(z / 2)`, z the sum of the last 30 returns of the component's portfolio (loadings / sd, sign so that the loadings sum
    above zero) over its sd times sqrt 30.

    Parameters
    ----------
    returns : ndarray of shape (days, assets)
        Daily log returns, NaN where unknown; at least 90 days in common.

    Returns
    -------
    dict
        `share` in [1/N, 1], `z`, `e_mkt` in [-1, 1], `days`, `assets`; `share` None where fewer than two assets can be used.

    References
    ----------
    Kritzman, Li, Page & Rigobon (2011), "Principal Components as a Measure of Systemic Risk".
    """
    chosen = usable(returns, minimum=MINIMUM_DAYS)
    days, assets = len(chosen.rows), len(chosen.columns)
    if assets < 2:
        return {"share": None, "z": None, "e_mkt": None, "days": days, "assets": assets}
    r = returns[chosen.rows][:, chosen.columns]
    sd = r.std(axis=0, ddof=1)
    values, vectors = np.linalg.eigh(np.corrcoef(r, rowvar=False))
    loading = vectors[:, -1] * (1.0 if vectors[:, -1].sum() >= 0 else -1.0)
    portfolio = r @ (loading / sd)
    spread = float(portfolio.std(ddof=1))
    share = float(values[-1] / values.sum())
    z = float(portfolio[-DIRECTION_DAYS:].sum()) / (spread * math.sqrt(DIRECTION_DAYS)) if spread > 0 else 0.0
    return {"share": share, "z": z, "e_mkt": share * math.tanh(z / 2.0), "days": days, "assets": assets}
