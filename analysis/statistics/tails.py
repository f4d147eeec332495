"""Value at risk and expected shortfall of one period: historical, Gaussian, Cornish-Fisher, Student t.

A loss is positive: VaR 0.08 means "in one of a hundred days (alpha 0.01) more than 8 % is lost". Values may be negative when
even the tail gains; who shows them says so and shows 0. NaN returns are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

ALPHA = 0.01


def _known(returns: np.ndarray) -> np.ndarray:
    returns = np.asarray(returns, float)
    return returns[np.isfinite(returns)]


def _tail_rank(n: int, alpha: float) -> int:
    """Position of the loss quantile among n sorted returns: riskfolio's `ceil(alpha n) - 1`."""
    return math.ceil(alpha * n) - 1


def historical_var(returns: np.ndarray, *, alpha: float = ALPHA) -> float:
    """Empirical loss quantile: `-sorted(R)[ceil(alpha T) - 1]`, the convention of riskfolio's `VaR_Hist`.

    Fraction of value. With T=500 and alpha 1 % it is the fifth worst return. NaN without a known return.
    """
    known = _known(returns)
    if not len(known):
        return math.nan
    rank = _tail_rank(len(known), alpha)
    return float(-np.partition(known, rank)[rank])


def historical_es(returns: np.ndarray, *, alpha: float = ALPHA) -> float:
    """Mean loss of the worst alpha of all periods: `VaR + sum(max(-R - VaR, 0)) / (alpha T)`; riskfolio's `CVaR_Hist`.

    References
    ----------
    Rockafellar & Uryasev (2002), "Conditional value-at-risk for general loss distributions".
    """
    known = _known(returns)
    if not len(known):
        return math.nan
    var = historical_var(known, alpha=alpha)
    return float(var + np.maximum(-known - var, 0.0).sum() / (alpha * len(known)))


def rolling_var_es(returns: np.ndarray, *, window: int, minimum: int, first: int = 0,
                   alpha: float = ALPHA) -> tuple[np.ndarray, np.ndarray]:
    """`historical_var` and `historical_es` of the newest `window` rows up to each row, from row `first` on.

    Parameters
    ----------
    returns : ndarray of shape (n,)
        Without NaN (observed periods only), oldest first.
    minimum : int
        Rows with fewer observations up to them stay NaN.

    Returns
    -------
    (var, es) : ndarrays of shape (n,)
        Value t uses rows max(0, t-window+1) .. t. The same numbers as one call per row, in one partition of all windows.
    """
    returns = np.ascontiguousarray(returns, float)
    n = len(returns)
    var, es = np.full(n, np.nan), np.full(n, np.nan)
    whole = max(first, window - 1)
    if n > whole:
        rank = _tail_rank(window, alpha)
        worst = np.partition(sliding_window_view(returns[whole - window + 1 :], window), rank, axis=1)[:, : rank + 1]
        var[whole:] = -worst[:, rank]
        es[whole:] = var[whole:] + (worst[:, rank : rank + 1] - worst).sum(axis=1) / (alpha * window)
    for t in range(max(first, minimum - 1), min(whole, n)):
        rank = _tail_rank(t + 1, alpha)
        worst = np.partition(returns[: t + 1], rank)[: rank + 1]
        var[t] = -worst[rank]
        es[t] = var[t] + (worst[rank] - worst).sum() / (alpha * (t + 1))
    return var, es


def gaussian_var(returns: np.ndarray, *, alpha: float = ALPHA) -> float:
    """`-(mu + z sd)` with z the normal alpha-quantile. Understates fat tails: by 11 % for t5 losses at 99 %."""
    known = _known(returns)
    if len(known) < 2:
        return math.nan
    return float(-(known.mean() + NormalDist().inv_cdf(alpha) * known.std(ddof=1)))


def gaussian_es(returns: np.ndarray, *, alpha: float = ALPHA) -> float:
    """`-mu + sd phi(z) / alpha`."""
    known = _known(returns)
    if len(known) < 2:
        return math.nan
    z = NormalDist().inv_cdf(alpha)
    return float(-known.mean() + known.std(ddof=1) * NormalDist().pdf(z) / alpha)


@dataclass(frozen=True)
class CornishFisher:
    """VaR and ES from four moments. `valid` says whether the expansion is monotone there; outside the values mean nothing."""

    var: float
    es: float
    skew: float
    excess_kurtosis: float
    valid: bool


def cornish_fisher(returns: np.ndarray, *, alpha: float = ALPHA) -> CornishFisher:
    """Modified VaR and its closed-form ES.

    `w = z + (z^2-1)S/6 + (z^3-3z)K/24 - (2z^3-5z)S^2/36`, `VaR = -(mu + sd w)`,
    `ES = -mu + sd phi(z)/alpha (1 + S z/6 + K(z^2-1)/24 - S^2(2z^2-1)/36)`, S and K the sample skewness and excess kurtosis
    (population moments). Valid where `K/8 - S^2/6 >= 0` and `S^2/9 <= 4(K/8 - S^2/6)(1 - K/8 + 5S^2/36)`.
    NaN moments (no variance) give NaN and not valid.

    References
    ----------
    Zangari (1996), "A VaR Methodology for Portfolios that Include Options"; Maillard (2012), "A User's Guide to the
    Cornish Fisher Expansion".
    """
    known = _known(returns)
    if len(known) < 4 or not np.ptp(known) > 0:
        return CornishFisher(math.nan, math.nan, math.nan, math.nan, False)
    mu, sd = float(known.mean()), float(known.std(ddof=1))
    centred = (known - mu) / known.std()
    s, k = float(np.mean(centred**3)), float(np.mean(centred**4) - 3.0)
    z = NormalDist().inv_cdf(alpha)
    w = z + (z**2 - 1) * s / 6 + (z**3 - 3 * z) * k / 24 - (2 * z**3 - 5 * z) * s**2 / 36
    shape = 1 + s * z / 6 + k * (z**2 - 1) / 24 - s**2 * (2 * z**2 - 1) / 36
    a = k / 8 - s**2 / 6
    valid = a >= 0 and s**2 / 9 <= 4 * a * (1 - k / 8 + 5 * s**2 / 36)
    return CornishFisher(-(mu + sd * w), -mu + sd * NormalDist().pdf(z) / alpha * shape, s, k, valid)


def student_t_es(returns: np.ndarray, *, alpha: float = ALPHA) -> float:
    """ES of a Student t with the sample's mean, variance and kurtosis: the stand-in where the sample is too short to look at.

    `nu = 4 + 6/K` for excess kurtosis K > 0 (at most 100, else Gaussian), scale `sd sqrt((nu-2)/nu)`,
    `ES = -mu + scale f(q)/alpha (nu + q^2)/(nu - 1)`, q and f the quantile and density of the standard t.

    References
    ----------
    McNeil, Frey & Embrechts (2015), "Quantitative Risk Management", 2.3.4.
    """
    known = _known(returns)
    if len(known) < 4 or not np.ptp(known) > 0:
        return math.nan
    mu, sd = float(known.mean()), float(known.std(ddof=1))
    k = float(np.mean(((known - mu) / known.std()) ** 4) - 3.0)
    if k <= 6.0 / 96.0:
        return gaussian_es(known, alpha=alpha)
    from scipy.special import stdtrit

    nu = 4.0 + 6.0 / k
    q = float(stdtrit(nu, alpha))
    constant = math.exp(math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2)) / math.sqrt(nu * math.pi)
    density = constant * (1 + q * q / nu) ** (-(nu + 1) / 2)
    return -mu + sd * math.sqrt((nu - 2) / nu) * density / alpha * (nu + q * q) / (nu - 1)
