"""What a portfolio consists of, in risk: contributions, betas on falling days, drawdowns together, hedges, stress."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from analysis.statistics import drawdown

DOWN_DAYS = 40


def risk_contributions(weights: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Share of the variance each asset carries, `w_i (Sw)_i / w'Sw`: they sum to 1. NaN where nothing is held."""
    variance = float(weights @ covariance @ weights)
    return weights * (covariance @ weights) / variance if variance > 0 else np.full(len(weights), math.nan)


def conditional_beta(returns: np.ndarray, market: np.ndarray, *, down: bool = True, minimum: int = DOWN_DAYS) -> float:
    """`cov(r, m | m < 0) / var(m | m < 0)` (or of rising days); NaN below `minimum` such days or where the market did not move.

    References
    ----------
    Ang, Chen & Xing (2006), "Downside Risk".
    """
    both = np.isfinite(returns) & np.isfinite(market)
    chosen = both & ((market < 0) if down else (market > 0))
    if int(chosen.sum()) < minimum:
        return math.nan
    r, m = returns[chosen], market[chosen]
    variance = float(np.var(m))
    return float(np.mean((r - r.mean()) * (m - m.mean())) / variance) if variance > 0 else math.nan


def drawdown_correlation(returns: np.ndarray, other: np.ndarray) -> float:
    """Pearson correlation of the two drawdown series `E / max E - 1`. They are very persistent: it says nothing about significance."""
    both = np.isfinite(returns) & np.isfinite(other)
    if int(both.sum()) < 2:
        return math.nan
    depths = [drawdown(np.cumprod(1.0 + x[both])) for x in (returns, other)]
    if min(float(np.std(d)) for d in depths) <= 0:
        return math.nan
    return float(np.corrcoef(depths[0], depths[1])[0, 1])


def hedge_ratio(portfolio: np.ndarray, hedge: np.ndarray) -> float:
    """`-cov(r_p, r_h) / var(r_h)`: how much of the hedge, per unit of the portfolio, takes out what they share."""
    both = np.isfinite(portfolio) & np.isfinite(hedge)
    p, h = portfolio[both], hedge[both]
    variance = float(np.var(h)) if len(h) > 1 else 0.0
    return float(-np.mean((p - p.mean()) * (h - h.mean())) / variance) if variance > 0 else math.nan


def stresses(weights: np.ndarray, covariance: np.ndarray, down_betas: np.ndarray, history: np.ndarray, *,
             worst: int = 10) -> Mapping[str, float]:
    """Five bad days for today's weights: losses are negative fractions, volatilities per year of 365 days.

    `market -20 %` times each asset's beta of falling days (unknown: 1), `volatility x 2`, `correlations .9`, and the mean and the worst of
    the ten worst days of the past replayed.
    """
    betas = np.where(np.isfinite(down_betas), down_betas, 1.0)
    sd = np.sqrt(np.diag(covariance))
    tight = np.outer(sd, sd) * (0.9 + 0.1 * np.eye(len(sd)))
    past = np.sort((history @ weights)[np.isfinite(history @ weights)])[:worst]
    return {"market_minus_20": float(-0.2 * weights @ betas),
            "volatility_doubled": float(2.0 * np.sqrt(365.0 * weights @ covariance @ weights)),
            "correlations_to_0.9": float(np.sqrt(365.0 * weights @ tight @ weights)),
            "ten_worst_days_mean": float(past.mean()) if len(past) else math.nan, "worst_day": float(past[0]) if len(past) else math.nan}
