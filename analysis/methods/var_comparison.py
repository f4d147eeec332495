"""Five ways to state the same loss, side by side, and whether the one we state was kept."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from analysis.fits import FitCache
from analysis.methods.stated_risk import ENOUGH_DAYS, MINIMUM_DAYS, WINDOW_DAYS, StatedRisk
from analysis.statistics import cornish_fisher, fit_tail, gaussian_es, gaussian_var, independence, kupiec, simulate_horizon

TEN_DAYS = 10


def compare_var(observed: np.ndarray, risk: StatedRisk | None, fits: FitCache, *, alpha: float) -> dict[str, Any]:
    """All five VaR and ES of the newest day, how the stated one was kept, and under which conditions they hold.

    Shown beside the risk score, never in it.

    Parameters
    ----------
    observed : ndarray of shape (n_days,)
        Simple daily returns without NaN.
    risk : StatedRisk or None
        What was stated each evening; the test compares each day with the evening before.

    Returns
    -------
    dict
        JSON values, loss fractions. None: an estimate that does not exist, or Cornish-Fisher outside its domain.
    """
    if risk is None or len(observed) < MINIMUM_DAYS:
        return {"var_methods": None, "var_methods_note": f"{len(observed)} daily returns, at least {MINIMUM_DAYS} needed"}
    window, row = observed[-WINDOW_DAYS:], len(observed) - 1
    cf = cornish_fisher(window, alpha=alpha)
    tails = fits.get("evt-and-ten-days/1", window, lambda x: _fitted_tails(x, alpha), alpha=alpha)
    methods = {
        "historical": (risk.historical_var[row], risk.historical_es[row]),
        "gaussian": (gaussian_var(window, alpha=alpha), gaussian_es(window, alpha=alpha)),
        "cornish_fisher": (cf.var, cf.es) if cf.valid else (math.nan, math.nan),
        "filtered_historical": (risk.filtered_var[row], risk.filtered_es[row]),
    }
    stated = risk.var[: row + 1]
    tested = np.isfinite(stated[:-1])
    missed = (observed[1:] < -stated[:-1])[tested]
    often, apart = kupiec(int(missed.sum()), len(missed), alpha=alpha), independence(missed)
    notes = []
    if not cf.valid:
        notes.append("Cornish-Fisher is outside its domain of validity here and is not shown")
    if stated[-1] < 0:
        notes.append("the loss quantile is a gain; VaR is reported as 0")
    if risk.fallback[row]:
        notes.append(f"fewer than {ENOUGH_DAYS} daily returns: Gaussian VaR with Student t shortfall")
    return {
        "var_methods": {name: {"var": _number(v), "es": _number(e)} for name, (v, e) in methods.items()}
        | {"extreme_value": {"var": tails["var"], "es": tails["es"]}},
        "var_used": _number(max(0.0, stated[-1])), "var_alpha": alpha, "var_days": len(window), "var_notes": notes,
        "cornish_fisher_valid": cf.valid, "var_10d_simulated": tails["var_10d"],
        "var_10d_sqrt_approximation": _number(stated[-1] * math.sqrt(TEN_DAYS)),
        "kupiec": {"misses": often.misses, "days": often.periods, "p_value": _number(often.p_value), "rejected": often.rejected},
        "christoffersen": {"p_value": _number(apart.p_value), "rejected": apart.rejected},
        "conditional_note": f"VaR of 1 day at {1 - alpha:.0%} given the past {len(window)} days; what they never saw is absent",
    }


def _fitted_tails(returns: np.ndarray, alpha: float) -> dict[str, float | None]:
    tail = fit_tail(returns)
    var, es = (math.nan, math.nan) if tail is None else (tail.var(alpha=alpha), tail.es(alpha=alpha))
    ten = simulate_horizon(returns, horizon_days=TEN_DAYS, alpha=alpha)[0]
    return {"var": _number(var), "es": _number(es), "var_10d": _number(ten)}


def _number(value: float | np.floating) -> float | None:
    return float(value) + 0.0 if np.isfinite(value) else None  # no minus zero
