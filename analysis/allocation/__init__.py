"""How much of what: covariances, allocation methods and the limits they are put under. Each method is a pure function."""

from __future__ import annotations

from analysis.allocation.black_litterman import Posterior, View, black_litterman, supported, view_returns
from analysis.allocation.constraints import Constrained, Limits, capped, clusters_of, constrained, gross_for, rebalancing
from analysis.allocation.covariance import Usable, correlation_of, ewma_covariance, ledoit_wolf, usable
from analysis.allocation.hrp import hrp
from analysis.allocation.mean_variance import Optimum, equal_weight, inverse_volatility, max_sharpe, min_variance
from analysis.allocation.measures import conditional_beta, drawdown_correlation, hedge_ratio, risk_contributions, stresses
from analysis.allocation.risk_parity import risk_parity

__all__ = [
    "Constrained", "Limits", "Optimum", "Posterior", "Usable", "View", "black_litterman", "capped", "clusters_of", "conditional_beta",
    "constrained", "correlation_of", "drawdown_correlation", "equal_weight", "ewma_covariance", "gross_for", "hedge_ratio", "hrp",
    "inverse_volatility", "ledoit_wolf", "max_sharpe", "min_variance", "rebalancing", "risk_contributions", "risk_parity", "stresses",
    "supported", "usable", "view_returns",
]
