"""The figures of a result that come from its daily returns, together: those of analysis/statistics/performance.py, to 1e-9."""

from __future__ import annotations

import math

import numpy as np

from analysis.statistics import performance

DAYS_PER_YEAR = performance.DAYS_PER_YEAR
TAIL = 0.05


def of_days(returns: np.ndarray, market: np.ndarray) -> dict[str, float]:
    """Volatility, Sharpe ratio and its error, Sortino ratio, beta, alpha, tail ratio of simple returns a day beside the market's.

    The definitions, and what is NaN, are those of the functions of performance.py, which are asked where a return is unknown.
    """
    n = len(returns)
    if n < 3 or not math.isfinite(float(returns.sum() + market.sum())):
        beta, alpha = performance.beta_alpha(returns, market)
        return {"volatility": performance.volatility(returns), "sharpe": performance.sharpe(returns),
                "sharpe_error": performance.sharpe_error(returns), "sortino": performance.sortino(returns), "beta": beta, "alpha": alpha,
                "tail_ratio": performance.tail_ratio(returns)}
    year = math.sqrt(DAYS_PER_YEAR)
    mean, level = float(returns.mean()), float(market.mean())
    away, apart = returns - mean, market - level
    square = away * away
    total = float(square.sum())
    spread, usual = math.sqrt(total / (n - 1)), math.sqrt(total / n)
    fall = np.minimum(returns, 0.0)
    down = math.sqrt(float(fall @ fall) / n)
    sharpe = error = beta = alpha = math.nan
    low, high = float(returns.min()), float(returns.max())
    if spread > performance.FLAT * max(abs(low), abs(high)):
        sharpe = mean / spread
        g3, g4 = float(square @ away) / n / usual**3, float(square @ square) / n / usual**4
        error = math.sqrt(max(0.0, 1.0 - g3 * sharpe + (g4 - 1.0) / 4.0 * sharpe**2) / (n - 1)) * year
    if float(market.max()) > float(market.min()):
        beta = float(apart @ away) / float(apart @ apart)
        alpha = (mean - beta * level) * DAYS_PER_YEAR
    bottom, top = _tails(returns)
    return {"volatility": spread * year, "sharpe": sharpe * year, "sharpe_error": error,
            "sortino": mean / down * year if down > 0 else math.nan, "beta": beta, "alpha": alpha,
            "tail_ratio": top / abs(bottom) if bottom != 0 else math.nan}


def _tails(values: np.ndarray) -> tuple[float, float]:
    """The 5 % and 95 % quantile, linear between neighbours."""
    places = [TAIL * (len(values) - 1), (1.0 - TAIL) * (len(values) - 1)]
    rows = [min(int(place) + k, len(values) - 1) for place in places for k in (0, 1)]
    part = np.partition(values, sorted(set(rows)))
    lower, above, under, upper = (float(part[row]) for row in rows)
    return lower + (above - lower) * (places[0] % 1.0), under + (upper - under) * (places[1] % 1.0)
