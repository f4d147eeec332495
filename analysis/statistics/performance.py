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
    if window is None and len(values) and math.isfinite(values.sum()):  # nothing is missing: the common case of an equity curve
        depths = np.maximum.accumulate(values)
        np.divide(values, depths, out=depths)
        depths -= 1.0
        return depths
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


def cagr(start: float, end: float, *, days: float) -> float:
    """Compound growth per year: `(E_T/E_0)^(365/days) - 1`. NaN below 30 days, where a year is a wild guess, and without equity."""
    if days < 30.0 or not (start > 0.0 and end > 0.0):
        return math.nan
    return float((end / start) ** (DAYS_PER_YEAR / days) - 1.0)


def volatility(returns: np.ndarray, *, periods_per_year: float = DAYS_PER_YEAR) -> float:
    """Annualised standard deviation (ddof=1); NaN below two known returns."""
    known = _known(returns)
    return float(known.std(ddof=1) * math.sqrt(periods_per_year)) if len(known) > 1 else math.nan


def calmar(growth: float, depth: float) -> float:
    """CAGR over the absolute maximum drawdown; NaN where either is unknown or nothing was ever lost.

    References
    ----------
    Young (1991), "Calmar Ratio: A Smoother Tool".
    """
    return growth / -depth if depth < 0.0 and math.isfinite(growth) else math.nan


def ulcer(depths: np.ndarray) -> float:
    """`sqrt(mean(drawdown^2))` of the rows of `drawdown`, a fraction; NaN without a known one.

    References
    ----------
    Martin & McCann (1989), "The Investor's Guide to Fidelity Funds".
    """
    depths = np.asarray(depths, float)
    total = float(np.einsum("i,i->", depths, depths))
    if not math.isfinite(total):
        return ulcer(depths[np.isfinite(depths)])
    return math.sqrt(total / len(depths)) if len(depths) else math.nan


def drawdown_length(depths: np.ndarray) -> tuple[float, float]:
    """Of the rows of `drawdown`: the longest stay below a high, and rows from the deepest point back to it (NaN: not recovered yet)."""
    depths = np.asarray(depths, float)
    high = np.flatnonzero(depths == 0.0)
    if not len(high) or len(high) == len(depths):
        return 0.0, 0.0
    edges = np.concatenate((high, [len(depths)]))
    longest = float(np.diff(edges).max() - 1)
    deepest = int(np.argmin(depths))
    if not math.isfinite(depths[deepest]):
        deepest = int(np.nanargmin(depths))
    after = high[np.searchsorted(high, deepest) :]
    return longest, float(after[0] - deepest) if len(after) else math.nan


def beta_alpha(returns: np.ndarray, market: np.ndarray, *, periods_per_year: float = DAYS_PER_YEAR) -> tuple[float, float]:
    """Slope of the returns on the market's, and what is left per year (arithmetic). NaN below three common rows or in a still market."""
    returns, market = np.asarray(returns, float), np.asarray(market, float)
    both = np.isfinite(returns) & np.isfinite(market)
    if both.sum() < 3 or not np.ptp(market[both]) > 0:
        return math.nan, math.nan
    x, y = market[both], returns[both]
    slope = float(np.cov(x, y, ddof=1)[0, 1] / x.var(ddof=1))
    return slope, float((y.mean() - slope * x.mean()) * periods_per_year)


def turnover_per_year(traded: float, mean_equity: float, *, days: float) -> float:
    """`sum |notional| / (2 mean equity) 365 / days`: how often a year the whole account changes hands."""
    return traded / (2.0 * mean_equity) * DAYS_PER_YEAR / days if mean_equity > 0 and days > 0 else math.nan


def tail_ratio(returns: np.ndarray) -> float:
    """95 % quantile over the absolute 5 % quantile; NaN without returns or where the lower one is zero."""
    known = _known(returns)
    if not len(known):
        return math.nan
    low, high = np.quantile(known, [0.05, 0.95])
    return float(high / abs(low)) if low != 0 else math.nan
