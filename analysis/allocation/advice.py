"""When the risk of a portfolio is not normal: what to close, trim or hedge, each with its reason. Nothing here trades."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.statistics import ewma_variance

VAR_LIMIT = 0.05  # of equity in a day, the account's limit (methods.md G)
BROKEN_SDS = 3.0
RISEN = 1.6  # volatility of now against that of the last half year
HALF_YEAR = 180
HEAVY = 0.35  # of the portfolio's variance in one asset
OUT_OF_PROPORTION = 1.5
TOGETHER = 0.9
CRASH_LIMIT = 0.40
LEAST_WEIGHT = 0.01


@dataclass(frozen=True)
class Advice:
    """`act` is close, trim, hedge or hold less; `share` what of the asset (or of everything) it is about, a fraction of equity."""

    act: str
    symbol: str
    share: float
    words: str


def advise(names: Sequence[str], weights: np.ndarray, risk: np.ndarray, returns: np.ndarray, *, var: float, hedge: float, hedged_by: str,
           worst_crash: tuple[str, float] | None = None, drawdowns: np.ndarray | None = None, limit: float = VAR_LIMIT) -> list[Advice]:
    """What stands out, worst first; empty where nothing does.

    Parameters
    ----------
    returns : ndarray of shape (days, assets)
        Simple daily returns, NaN where unknown; the last row is the newest day.
    var : float
        One-day VaR at 99 % of the whole, a fraction of equity.
    hedge : float
        Units of `hedged_by` per unit of the portfolio that take out what they share (negative: sold short).
    """
    found = []
    for i, (name, w) in enumerate(zip(names, weights, strict=True)):
        if w < LEAST_WEIGHT:
            continue
        own = returns[np.isfinite(returns[:, i]), i]
        if len(own) > HALF_YEAR // 2:
            sd = math.sqrt(float(ewma_variance(own)[-1]))
            before = math.sqrt(float(ewma_variance(own[:-1])[-1]))
            usual = float(np.std(own[-HALF_YEAR:]))
            if before > 0 and own[-1] < -BROKEN_SDS * before and math.isfinite(returns[-1, i]):
                found.append(Advice("close", name, float(w), f"it fell {-own[-1]:.1%} in the newest day, {-own[-1] / before:.1f} standard "
                                                             "deviations of the days before: what its weight was worked out from no longer "
                                                             "holds"))
            elif usual > 0 and sd > RISEN * usual:
                found.append(Advice("trim", name, float(w * (1 - usual / sd)), f"its volatility is {sd / usual:.1f} times that of the last "
                                                                               "half year; this much less holds its risk where it was"))
        if math.isfinite(risk[i]) and risk[i] > HEAVY and risk[i] > OUT_OF_PROPORTION * w / max(float(weights.sum()), 1e-12):
            found.append(Advice("trim", name, float(w / 2), f"it carries {risk[i]:.0%} of the risk with {w:.0%} of the weight"))
    if math.isfinite(var) and var > limit:
        keep = limit / var
        found.append(Advice("hold less", "", float(weights.sum() * (1 - keep)),
                            f"one day in 100 loses more than {var:.1%}, the limit is {limit:.0%}: {keep:.0%} of each weight keeps it"))
        if math.isfinite(hedge) and hedge < 0:
            found.append(Advice("hedge", hedged_by, float(-hedge), f"or sell {-hedge:.2f} of equity in {hedged_by} short (a perpetual, not "
                                                                   "spot), which takes out what the portfolio shares with it"))
    if worst_crash is not None and worst_crash[1] < -CRASH_LIMIT:
        found.append(Advice("hold less", "", float(weights.sum() * (1 + CRASH_LIMIT / worst_crash[1])),
                            f"{worst_crash[0]} would cost {-worst_crash[1]:.0%} of equity; more cash is the only hedge against a fall of "
                            "everything"))
    if drawdowns is not None:
        held = [i for i, w in enumerate(weights) if w >= LEAST_WEIGHT]
        pairs = [(drawdowns[i, j], i, j) for k, i in enumerate(held) for j in held[k + 1 :] if drawdowns[i, j] > TOGETHER]
        if pairs:
            rho, i, j = max(pairs)
            found.append(Advice("trim", names[j] if risk[j] >= risk[i] else names[i], float(min(weights[i], weights[j])),
                                f"{names[i]} and {names[j]} fall and recover together (drawdown correlation {rho:.2f}): count them as one"))
    order = ("close", "hold less", "hedge", "trim")
    return sorted(found, key=lambda a: order.index(a.act))
