"""The daily VaR and ES that Sextant states, every evening of a history, so that they can be ranked and tested."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.remembered import Remembered, seals_of
from analysis.statistics import filtered_returns, gaussian_var, rolling_var_es, student_t_es
from analysis.statistics.tails import ALPHA
from data.indicators.volatility import SEED_RETURNS

WINDOW_DAYS = 500
ENOUGH_DAYS = 250  # below: Gaussian VaR and Student t ES, status fallback
MINIMUM_DAYS = 60


@dataclass(frozen=True)
class StatedRisk:
    """Loss fractions for the day after each row, shape (n_days,); NaN below 60 days and before row `first`.

    `var` and `es` are the ones stated: the larger of historical and filtered historical, or the fallback (`fallback` True)
    below 250 days. They may be negative.
    """

    var: np.ndarray
    es: np.ndarray
    fallback: np.ndarray
    historical_var: np.ndarray
    historical_es: np.ndarray
    filtered_var: np.ndarray
    filtered_es: np.ndarray


_stated: Remembered[StatedRisk] = Remembered(128)  # a day's numbers are asked for at every bar of the next


def stated_risk(returns: np.ndarray, *, first: int = 0, alpha: float = ALPHA) -> StatedRisk:
    """VaR and ES at 1 % of the newest 500 known daily returns, stated at the close of each day for the next.

    Parameters
    ----------
    returns : ndarray of shape (n_days,)
        Simple daily returns that were observed (no NaN), oldest first.
    first : int
        The first row that is needed.

    Notes
    -----
    Historical: `-sorted[ceil(alpha T) - 1]`. Filtered: the same quantile of R / EWMA(.94) volatility times the volatility of
    the next day. The larger of the two, since each fails alone: the historical one in a storm, the filtered one before it.
    """
    x = np.ascontiguousarray(returns, float)
    return _stated.get(seals_of([x], [slice(None)], first, alpha)[0], lambda: _computed(x, first, alpha))


def _computed(x: np.ndarray, first: int, alpha: float) -> StatedRisk:
    n = len(x)
    h_var, h_es = rolling_var_es(x, window=WINDOW_DAYS, minimum=ENOUGH_DAYS, first=first, alpha=alpha)
    z, sigma = filtered_returns(x)
    f_var, f_es = np.full(n, np.nan), np.full(n, np.nan)
    if n > SEED_RETURNS:
        filled = np.where(np.isfinite(z[SEED_RETURNS:]), z[SEED_RETURNS:], 0.0)  # no volatility: no move was a surprise
        wide, deep = rolling_var_es(filled, window=WINDOW_DAYS, minimum=ENOUGH_DAYS - SEED_RETURNS,
                                    first=max(0, first - SEED_RETURNS), alpha=alpha)
        f_var[SEED_RETURNS:], f_es[SEED_RETURNS:] = wide * sigma[SEED_RETURNS:], deep * sigma[SEED_RETURNS:]
    var, es = np.fmax(h_var, f_var), np.fmax(h_es, f_es)
    fallback = np.zeros(n, bool)
    for t in range(max(first, MINIMUM_DAYS - 1), min(ENOUGH_DAYS - 1, n)):
        var[t], es[t] = gaussian_var(x[: t + 1], alpha=alpha), student_t_es(x[: t + 1], alpha=alpha)
        fallback[t] = True
    return StatedRisk(var, es, fallback, h_var, h_es, f_var, f_es)
