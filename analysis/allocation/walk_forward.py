"""Would it have been worth it? The plan rebalanced every 30 days on the 180 days before, after costs, beside 1/N and inverse volatility."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from analysis.allocation.constraints import Limits, clusters_of, constrained, gross_for
from analysis.allocation.covariance import Usable, correlation_of, ledoit_wolf, usable
from analysis.allocation.hrp import hrp
from analysis.allocation.mean_variance import equal_weight, inverse_volatility
from analysis.allocation.risk_parity import risk_parity
from analysis.statistics import block_length, bootstrap_means, max_drawdown, percentile_interval, sharpe
from analysis.statistics.performance import DAYS_PER_YEAR

WINDOW, HOLD = 180, 30
COST = 0.0012  # of what is traded, one side: taker fee and slippage
DRAWS, BLOCK_DAYS, SEED = 1_000, 10.0, 20_261_120
Method = Callable[[np.ndarray], np.ndarray]


def planned(covariance: np.ndarray, limits: Limits) -> np.ndarray:
    """Half HRP, half equal risk, under the limits, at the volatility target: what is held; the rest is cash."""
    base = 0.5 * hrp(covariance) + 0.5 * risk_parity(covariance)
    held = constrained(base, limits, clusters_of(correlation_of(covariance))).weights
    return held * gross_for(math.sqrt(float(held @ covariance @ held) * DAYS_PER_YEAR), limits.target_vol)


def walk_forward(returns: np.ndarray, limits: Limits, *, cost: float = COST) -> dict[str, Any]:
    """Out-of-sample daily returns of three allocations over all rows after the first window, as plain JSON values.

    Each rebalancing sees only the `WINDOW` rows before it; between two the weights drift with the prices. What is traded, measured against
    the drifted weights, pays `cost`. An unknown return of a held asset counts as none: nobody could have traded it.

    Parameters
    ----------
    returns : ndarray of shape (days, assets)
        Simple daily returns, NaN where unknown.

    Returns
    -------
    dict
        `days` (0 where there is no room for one holding period) and per method `sharpe` per sqrt year with its 95 % bootstrap interval,
        `return` and `volatility` per year, `max_drawdown`, `turnover` per rebalancing, and `beats_equal`: the share of paired draws in
        which its Sharpe ratio is above that of 1/N.
    """
    methods: dict[str, Method] = {"plan": lambda S: planned(S, limits), "equal_weight": lambda S: equal_weight(len(S)),
                                  "inverse_volatility": inverse_volatility}
    returns = returns[first_known(returns) :]
    if len(returns) < WINDOW + HOLD:
        return {"days": 0}

    def targets(past: np.ndarray, chosen: Usable) -> dict[str, np.ndarray]:
        S = ledoit_wolf(past[chosen.rows][:, chosen.columns])[0]
        return {name: method(S) for name, method in methods.items()}

    earned, traded = rolled(returns, tuple(methods), targets, cost=cost)
    return {"days": len(earned["plan"])} | _compared(earned, traded)


def first_known(returns: np.ndarray) -> int:
    """The first row in which any return is known; past the end where none is."""
    known = np.isfinite(returns).any(axis=1)
    return int(known.argmax()) if known.any() else len(returns)


def rolled(returns: np.ndarray, names: Sequence[str], targets: Callable[[np.ndarray, Usable], Mapping[str, np.ndarray]], *, cost: float,
           window: int = WINDOW, hold: int = HOLD) -> tuple[dict[str, np.ndarray], dict[str, list[float]]]:
    """Daily returns after costs, and what was traded at each rebalancing, by name.

    `targets` gives each name's weights of the usable columns from the `window` rows before a rebalancing; where no column is usable
    everything is cash. What is traded, measured against weights that have drifted, pays `cost`.
    """
    days, assets = returns.shape
    earned: dict[str, list[np.ndarray]] = {name: [] for name in names}
    traded: dict[str, list[float]] = {name: [] for name in names}
    held = {name: np.zeros(assets) for name in names}
    for start in range(window, days, hold):
        past = returns[start - window : start]
        chosen = usable(past)
        ahead = np.nan_to_num(returns[start : start + hold])
        wanted = targets(past, chosen) if chosen.columns else {}
        for name in names:
            target = np.zeros(assets)
            if name in wanted:
                target[chosen.columns] = wanted[name]
            moved = float(np.abs(target - held[name]).sum())
            traded[name].append(moved)
            value, held[name] = held_through(target, ahead)
            value[0] -= cost * moved
            earned[name].append(value)
    return {name: np.concatenate(parts) for name, parts in earned.items()}, traded


def held_through(weights: np.ndarray, ahead: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(daily returns of the portfolio, weights after them), left alone in between; cash earns nothing."""
    grown = weights * np.cumprod(1.0 + ahead, axis=0)
    worth = grown.sum(axis=1) + 1.0 - weights.sum()
    before = np.concatenate(([1.0], worth[:-1]))
    return worth / before - 1.0, grown[-1] / worth[-1]


def _compared(earned: dict[str, np.ndarray], traded: dict[str, list[float]]) -> dict[str, Any]:
    names = list(earned)
    columns = np.stack([earned[name] for name in names], axis=1)
    block = max(BLOCK_DAYS, block_length(columns[:, 0]))
    means = bootstrap_means(np.concatenate([columns, columns**2], axis=1), block=block, draws=DRAWS, seed=SEED)
    first, second = means[:, : len(names)], means[:, len(names) :]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = first / np.sqrt(second - first**2) * math.sqrt(DAYS_PER_YEAR)
    equal = ratios[:, names.index("equal_weight")]
    found: dict[str, Any] = {}
    for i, name in enumerate(names):
        r = earned[name]
        found[name] = {"sharpe": sharpe(r), "interval": list(percentile_interval(ratios[:, i])),
                       "return": float(np.prod(1.0 + r) ** (DAYS_PER_YEAR / len(r)) - 1.0),
                       "volatility": float(np.std(r, ddof=1) * math.sqrt(DAYS_PER_YEAR)),
                       "max_drawdown": max_drawdown(np.concatenate(([1.0], np.cumprod(1.0 + r)))),
                       "turnover": float(np.mean(traded[name])), "beats_equal": float(np.mean(ratios[:, i] > equal))}
    return found
