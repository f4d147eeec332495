"""The allocation of a group of assets on one day: everything that follows from their daily returns alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from analysis.allocation.black_litterman import RISK_AVERSION, TAU, View, black_litterman, view_returns
from analysis.allocation.constraints import Limits, clusters_of, constrained, gross_for
from analysis.allocation.covariance import correlation_of, ewma_covariance, ledoit_wolf, usable
from analysis.allocation.hrp import hrp
from analysis.allocation.mean_variance import equal_weight, inverse_volatility, max_sharpe, min_variance, quadratic
from analysis.allocation.measures import conditional_beta, drawdown_correlation, hedge_ratio, risk_contributions, stresses
from analysis.allocation.risk_parity import risk_parity
from analysis.statistics import historical_es, historical_var, sharpe, sortino
from analysis.statistics.performance import DAYS_PER_YEAR

COVARIANCE_DAYS = 180
RATIO_DAYS = 90
TAIL_DAYS = 60  # fewest days of a historical loss quantile


def fit_plan(returns: np.ndarray, names: Sequence[str], *, reference: str, limits: Limits, decay: float | None = None) -> dict[str, Any]:
    """Base weights, constrained weights and what they mean, as plain JSON values; vectors in the order of `names` of the answer.

    Parameters
    ----------
    returns : ndarray of shape (days, assets)
        Simple daily returns, oldest first, NaN where unknown. The newest 180 days give the covariance, all of them the tail.
    reference : str
        What betas and the hedge are measured against; where it is not there the equal-weight mean of the assets.
    decay : float or None
        Exponentially weighted covariance with this decay instead of the shrunk one.

    Returns
    -------
    dict
        `names` of what can be allocated (empty: nothing can), `dropped` (name to reason), `days`; `hrp`, `risk_parity`, `base` = half each,
        `weights` under the limits before the volatility target, `gross` of that target, `sigma` per year, comparators and measures.
    """
    chosen = usable(returns[-COVARIANCE_DAYS:])
    dropped = {names[i]: why for i, why in chosen.dropped.items()}
    kept = [names[i] for i in chosen.columns]
    if not kept:
        return {"names": [], "dropped": dropped, "days": 0}
    recent = returns[-COVARIANCE_DAYS:][chosen.rows][:, chosen.columns]
    S = ledoit_wolf(recent)[0] if decay is None else ewma_covariance(recent, decay=decay) + 1e-12 * np.eye(len(kept))
    correlation = correlation_of(S)
    tree, equal_risk = hrp(S), risk_parity(S)
    base = 0.5 * tree + 0.5 * equal_risk
    clusters = clusters_of(correlation)
    held = constrained(base, limits, clusters)
    sigma = volatility(held.weights, S)
    mean = recent.mean(axis=0)
    best = max_sharpe(mean, S)
    past = np.where(held.weights != 0, returns[:, chosen.columns], 0.0)  # what is not held has no say in which days are known
    past = past[np.isfinite(past).all(axis=1)]
    own = past @ held.weights
    where = list(names).index(reference) if reference in names else -1
    market = returns[:, where] if where >= 0 else _mean_known(returns)
    columns = [returns[:, i] for i in chosen.columns]
    down = np.array([conditional_beta(r, market) for r in columns])
    together = (correlation.sum(axis=1) - 1.0) / (len(kept) - 1) if len(kept) > 1 else np.full(1, np.nan)
    recent_own = own[-RATIO_DAYS:]
    return {
        "names": kept, "dropped": dropped, "days": len(recent), "hrp": tree.tolist(), "risk_parity": equal_risk.tolist(),
        "base": base.tolist(), "weights": held.weights.tolist(), "feasible": held.feasible, "note": held.note, "sigma": sigma,
        "gross": gross_for(sigma, limits.target_vol), "clusters": [[kept[i] for i in c] for c in clusters], "covariance": S.tolist(),
        "risk_contributions": risk_contributions(held.weights, S).tolist(), "volatility": np.sqrt(np.diag(S) * DAYS_PER_YEAR).tolist(),
        "mean_correlation": together.tolist(), "beta_down": down.tolist(),
        "beta_up": [conditional_beta(r, market, down=False) for r in columns],
        "drawdown_correlation": [drawdown_correlation(r, market) for r in columns],
        "sharpe": sharpe(recent_own), "sortino": sortino(recent_own), "hedge_ratio": _hedge(returns, chosen.columns, held.weights, market),
        "var": historical_var(own) if len(own) >= TAIL_DAYS else math.nan,
        "cvar": historical_es(own) if len(own) >= TAIL_DAYS else math.nan,
        "stress": dict(stresses(held.weights, S, down, past)),
        "beside": {"equal_weight": equal_weight(len(kept)).tolist(), "inverse_volatility": inverse_volatility(S).tolist(),
                   "min_variance": min_variance(S).weights.tolist(), "max_sharpe": best.weights.tolist(), "max_sharpe_note": best.note},
    }


def with_views(covariance: np.ndarray, base: np.ndarray, names: Sequence[str], views: Mapping[str, View]) -> np.ndarray:
    """Base weights moved by supported views: Black-Litterman with the base as equilibrium, then the best long-only portfolio, sum 1.

    The posterior covariance is larger than S by what is not known of the means, by 1 + tau without views; the aversion to risk is lowered
    by as much, so that without views the base itself comes out.
    """
    picks, q, confidence = view_returns(views, names, np.sqrt(np.diag(covariance)))
    posterior = black_litterman(covariance, base, picks, q, confidence)
    assets = len(base)
    return quadratic(RISK_AVERSION / (1.0 + TAU) * posterior.covariance, posterior.mean, np.ones(assets), np.ones(assets))


def volatility(weights: np.ndarray, covariance: np.ndarray) -> float:
    """Of a portfolio, fraction per year, from a daily covariance."""
    return float(np.sqrt(max(0.0, float(weights @ covariance @ weights)) * DAYS_PER_YEAR))


def _mean_known(returns: np.ndarray) -> np.ndarray:
    known = np.isfinite(returns)
    count = known.sum(axis=1)
    return np.where(count > 0, np.where(known, returns, 0.0).sum(axis=1) / np.maximum(count, 1), np.nan)


def _hedge(returns: np.ndarray, columns: Sequence[int], weights: np.ndarray, market: np.ndarray) -> float:
    return hedge_ratio(returns[:, list(columns)] @ weights, market)
