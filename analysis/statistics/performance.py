"""What an equity curve or a price did: drawdown, Sharpe, Sortino (methods.md 7.3)."""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

DAYS_PER_YEAR = 365.0  # crypto trades every day
FLAT = 1e-14  # a spread below this share of the largest value is rounding, not variance


def drawdown(values: np.ndarray, *, window: int | None = None) -> np.ndarray:
    """Distance below the highest value so far, as a negative fraction: `V_t / max V - 1`.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Equity or price, above zero, oldest first. NaN rows are unknown.
    window : int or None
        The high of the last `window` rows instead of all rows.

    Returns
    -------
    ndarray of shape (n,)
        In [-1, 0]; 0 at a high. NaN where the value is NaN; NaN rows do not enter a high. No warm-up: the first rows use
        the rows there are.
    """
    values = np.asarray(values, float)
    known = np.where(np.isfinite(values), values, -np.inf)
    if window is None:
        high = np.maximum.accumulate(known) if len(known) else known
    else:
        padded = np.concatenate((np.full(window - 1, -np.inf), known))
        high = sliding_window_view(padded, window).max(axis=1) if len(known) else known
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(values), values / high - 1.0, np.nan)


def max_drawdown(values: np.ndarray) -> float:
    """The deepest drawdown, a fraction in [-1, 0]; NaN without a known value."""
    depths = drawdown(values)
    depths = depths[np.isfinite(depths)]
    return float(depths.min()) if len(depths) else math.nan


def _known(returns: np.ndarray) -> np.ndarray:
    returns = np.asarray(returns, float)
    return returns[np.isfinite(returns)]


def sharpe(returns: np.ndarray, *, risk_free: float = 0.0, periods_per_year: float = DAYS_PER_YEAR) -> float:
    """Annualised Sharpe ratio: `mean(R - rf) / sd(R) * sqrt(periods)`, sd with ddof=1.

    `risk_free` is per period. NaN below two known returns and where they do not vary (a ratio without risk is no number).

    References
    ----------
    Sharpe (1994), "The Sharpe Ratio". Lo (2002): with autocorrelated returns sqrt(periods) overstates.
    """
    known = _known(returns)
    if len(known) < 2:
        return math.nan
    spread = known.std(ddof=1)
    if not spread > FLAT * np.abs(known).max():
        return math.nan
    return float((known.mean() - risk_free) / spread * math.sqrt(periods_per_year))


def sharpe_error(returns: np.ndarray, *, periods_per_year: float = DAYS_PER_YEAR) -> float:
    """Standard error of the annualised Sharpe ratio with skewness g3 and non-excess kurtosis g4.

    `sqrt((1 - g3 SR + (g4 - 1)/4 SR^2) / (n - 1)) * sqrt(periods)`, SR per period. NaN where the ratio is NaN.

    References
    ----------
    Mertens (2002), "Comments on variance of the IID estimator in Lo (2002)".
    """
    known = _known(returns)
    ratio = sharpe(known, periods_per_year=1.0)
    if not math.isfinite(ratio):
        return math.nan
    z = (known - known.mean()) / known.std()
    g3, g4 = float(np.mean(z**3)), float(np.mean(z**4))
    return math.sqrt(max(0.0, 1.0 - g3 * ratio + (g4 - 1.0) / 4.0 * ratio**2) / (len(known) - 1) * periods_per_year)


def sortino(returns: np.ndarray, *, periods_per_year: float = DAYS_PER_YEAR) -> float:
    """Annualised Sortino ratio against zero: `mean(R) / sqrt(mean(min(R, 0)^2)) * sqrt(periods)`.

    All periods are in the denominator, not only the losing ones. NaN without a loss (not infinite) and below two returns.

    References
    ----------
    Sortino & van der Meer (1991), "Downside Risk".
    """
    known = _known(returns)
    if len(known) < 2:
        return math.nan
    downside = math.sqrt(float(np.mean(np.minimum(known, 0.0) ** 2)))
    return float(known.mean() / downside * math.sqrt(periods_per_year)) if downside > 0 else math.nan


def rolling_ratios(returns: np.ndarray, *, window: int, last: int | None = None,
                   periods_per_year: float = DAYS_PER_YEAR) -> tuple[np.ndarray, np.ndarray]:
    """Sharpe and Sortino ratio of every trailing window: what one call each would give, window by window.

    Parameters
    ----------
    returns : ndarray of shape (n,)
        Simple returns per period, oldest first.
    last : int or None
        Fill only the newest rows.

    Returns
    -------
    (sharpe, sortino) : ndarrays of shape (n,)
        Value t uses rows t-window+1 .. t; the first window-1 and windows that hold a NaN are NaN.
    """
    returns = np.asarray(returns, float)
    n = len(returns)
    ratio, down = np.full(n, np.nan), np.full(n, np.nan)
    first = max(window - 1, 0 if last is None else n - last)
    if n <= first:
        return ratio, down
    frames = sliding_window_view(returns[first - window + 1 :], window)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, spread = frames.mean(axis=1), frames.std(axis=1, ddof=1)
        varies = spread > FLAT * np.abs(frames).max(axis=1)
        ratio[first:] = np.where(varies, mean / np.where(varies, spread, 1.0), np.nan) * math.sqrt(periods_per_year)
        loss = np.sqrt((np.minimum(frames, 0.0) ** 2).mean(axis=1))
        down[first:] = np.where(loss > 0, mean / np.where(loss > 0, loss, 1.0), np.nan) * math.sqrt(periods_per_year)
    return ratio, down
