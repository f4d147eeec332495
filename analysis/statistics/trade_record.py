"""What a list of closed trades says: win rate, profit factor, payoff, expectancy, quality (methods.md 7.3).

Profits after all costs, in any one currency; NaN is a trade whose figure is unknown and is left out.
"""

from __future__ import annotations

import math

import numpy as np

from analysis.statistics.multiplicity import wilson


def _known(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, float)
    return values[np.isfinite(values)]


def win_rate(pnl: np.ndarray, *, level: float = 0.95) -> tuple[float, float, float]:
    """Share of trades above zero, with its Wilson interval. A trade of exactly zero counts as a trade, not as a win. NaN without one."""
    known = _known(pnl)
    share = float((known > 0).mean()) if len(known) else math.nan
    return (share, *wilson(share, len(known), level=level))


def profit_factor(pnl: np.ndarray) -> float:
    """Sum of gains over the sum of losses. NaN without a loss: a strategy that never lost has no factor, not an infinite one."""
    known = _known(pnl)
    losses = -math.fsum(known[known < 0])
    return math.fsum(known[known > 0]) / losses if losses > 0 else math.nan


def payoff(pnl: np.ndarray) -> float:
    """Average gain over average loss; NaN without both."""
    known = _known(pnl)
    gains, losses = known[known > 0], known[known < 0]
    return float(gains.mean() / -losses.mean()) if len(gains) and len(losses) else math.nan


def expectancy(multiples: np.ndarray) -> float:
    """Mean profit in units of the planned risk (R)."""
    known = _known(multiples)
    return float(known.mean()) if len(known) else math.nan


def system_quality(multiples: np.ndarray) -> float:
    """`sqrt(n) mean(R) / sd(R)`; NaN below two trades or without variance.

    References
    ----------
    Tharp (2008), "Definitive Guide to Position Sizing": the system quality number.
    """
    known = _known(multiples)
    if len(known) < 2 or not known.std(ddof=1) > 0:
        return math.nan
    return float(math.sqrt(len(known)) * known.mean() / known.std(ddof=1))
