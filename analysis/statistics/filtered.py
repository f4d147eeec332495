"""Filtered historical simulation: yesterday's shapes at today's volatility."""

from __future__ import annotations

import numpy as np

from analysis.statistics.tails import ALPHA, historical_es, historical_var
from data.indicators.volatility import SEED_RETURNS as SEED_ROWS
from data.indicators.volatility import ewma_variance as _ewma

FHS_DECAY = 0.94  # RiskMetrics (1996) for daily data


def ewma_variance(returns: np.ndarray, *, decay: float = FHS_DECAY) -> np.ndarray:
    """Variance for the NEXT period: `v_t = decay v_{t-1} + (1-decay) R_t^2`, started with the mean of the first 30 squares.

    Parameters
    ----------
    returns : ndarray of shape (n,)
        Without NaN, oldest first.

    Returns
    -------
    ndarray of shape (n,)
        Value t knows row t. The first 29 are NaN. Depends on where the series starts by less than 1e-6 after 250 rows.

    References
    ----------
    J.P. Morgan/Reuters (1996), "RiskMetrics Technical Document".
    """
    return _ewma(np.square(np.ascontiguousarray(returns, float)), decay, SEED_ROWS)


def filtered_returns(returns: np.ndarray, *, decay: float = FHS_DECAY) -> tuple[np.ndarray, np.ndarray]:
    """Returns divided by the volatility expected the day before, and the volatility expected for the next day.

    Returns
    -------
    (z, sigma_next) : ndarrays of shape (n,)
        `z_t = R_t / sqrt(v_{t-1})`, `sigma_next_t = sqrt(v_t)`. NaN for the first 30 and 29 rows and where the variance is 0.
    """
    variance = ewma_variance(returns, decay=decay)
    sigma = np.sqrt(variance)
    z = np.full(len(sigma), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        z[1:] = np.where(sigma[:-1] > 0, np.asarray(returns, float)[1:] / sigma[:-1], np.nan)
    return z, sigma


def filtered_var_es(returns: np.ndarray, *, alpha: float = ALPHA, decay: float = FHS_DECAY) -> tuple[float, float]:
    """One-period VaR and ES: the historical quantile of R / EWMA volatility, times the volatility expected next.

    Fractions of value, losses positive. NaN below 31 known returns.

    References
    ----------
    Barone-Adesi, Giannopoulos & Vosper (1999), "VaR without correlations for portfolios of derivative securities".
    """
    known = np.asarray(returns, float)
    known = known[np.isfinite(known)]
    if len(known) <= SEED_ROWS:
        return float("nan"), float("nan")
    z, sigma = filtered_returns(known, decay=decay)
    return float(sigma[-1]) * historical_var(z, alpha=alpha), float(sigma[-1]) * historical_es(z, alpha=alpha)


def simulate_horizon(returns: np.ndarray, *, horizon_days: int, paths: int = 5000, seed: int = 0, alpha: float = ALPHA,
                     decay: float = FHS_DECAY) -> tuple[float, float]:
    """VaR and ES over several periods by simulation: filtered returns are redrawn and the volatility follows each path.

    Every path compounds `R = z sqrt(v)`, z drawn with replacement from the sample, `v' = decay v + (1-decay) R^2`, a period's
    loss is at most everything. Seeded: the same returns give the same answer. Multiplying one day's VaR by sqrt(h) instead
    assumes independent normal days; where it is shown it is called an approximation.
    """
    known = np.asarray(returns, float)
    known = known[np.isfinite(known)]
    if len(known) <= SEED_ROWS:
        return float("nan"), float("nan")
    z, sigma = filtered_returns(known, decay=decay)
    pool = z[np.isfinite(z)]
    if not len(pool):
        return float("nan"), float("nan")
    draws = np.random.default_rng(seed).choice(pool, size=(horizon_days, paths))
    variance = np.full(paths, float(sigma[-1]) ** 2)
    value = np.ones(paths)
    for step in draws:
        moved = np.maximum(step * np.sqrt(variance), -1.0)
        value *= 1.0 + moved
        variance = decay * variance + (1.0 - decay) * moved**2
    return historical_var(value - 1.0, alpha=alpha), historical_es(value - 1.0, alpha=alpha)
