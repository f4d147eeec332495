"""Volatility from closes, from ranges, and exponentially weighted. Annualised ones count 365 days a year (methods.md N6)."""

from __future__ import annotations

import math

import numpy as np

from data.frames import Candles
from data.indicators.restart import on_segments, shifted, warmed
from data.indicators.windows import trailing_mean, trailing_moments, trailing_sd
from data.kernel import kernel

SEED_RETURNS = 30  # the first r^2 an exponentially weighted variance starts from (methods.md A, mom)
EWMA_WARMUP_BARS = {0.94: 260, 0.97: 490}  # seed, then until the start's weight is below 1e-6


def historical_volatility(candles: Candles, *, window: int = 20) -> np.ndarray:
    """Annualised sd of log returns, ddof 1.

    Returns
    -------
    ndarray of shape (n_bars,)
        Fraction per year (0.6 = 60 %). Value t uses the last `window` returns, so window + 1 closes of one segment; NaN
        before. Exactly 0 in a flat window.
    """
    if len(candles) == 0:
        return np.empty(0)
    return trailing_sd(candles.log_return, window) * math.sqrt(candles.interval.bars_per_year)


def parkinson(candles: Candles, *, window: int = 20) -> np.ndarray:
    """Annualised volatility from high and low: root of `mean(ln(H/L)^2) / (4 ln 2)`.

    Fraction per year; value t uses bars t-window+1 .. t of one segment, NaN before. Thin bars bias it down.

    References
    ----------
    Parkinson (1980), "The Extreme Value Method for Estimating the Variance of the Rate of Return".
    """
    reach = np.log(candles.high / candles.low)
    return _annual_root(trailing_mean(reach * reach, window) / (4.0 * math.log(2.0)), candles, window)


def garman_klass(candles: Candles, *, window: int = 20) -> np.ndarray:
    """Annualised volatility from open, high, low, close: root of `mean(ln(H/L)^2 / 2 - (2 ln 2 - 1) ln(C/O)^2)`.

    Fraction per year; value t uses bars t-window+1 .. t of one segment, NaN before.

    References
    ----------
    Garman & Klass (1980), "On the Estimation of Security Price Volatilities from Historical Data".
    """
    reach, body = np.log(candles.high / candles.low), np.log(candles.close / candles.open)
    term = 0.5 * reach * reach - (2.0 * math.log(2.0) - 1.0) * body * body
    return _annual_root(trailing_mean(term, window), candles, window)


def _rogers_satchell_terms(candles: Candles) -> np.ndarray:
    up, down = np.log(candles.high / candles.open), np.log(candles.low / candles.open)
    body = np.log(candles.close / candles.open)
    return up * (up - body) + down * (down - body)


def rogers_satchell(candles: Candles, *, window: int = 20) -> np.ndarray:
    """Annualised volatility, free of drift: root of `mean(ln(H/O) ln(H/C) + ln(L/O) ln(L/C))`.

    Fraction per year; value t uses bars t-window+1 .. t of one segment, NaN before.

    References
    ----------
    Rogers & Satchell (1991), "Estimating Variance from High, Low and Closing Prices".
    """
    return _annual_root(trailing_mean(_rogers_satchell_terms(candles), window), candles, window)


def yang_zhang(candles: Candles, *, window: int = 20) -> np.ndarray:
    """Annualised volatility with opening jumps: root of `var(ln O/C1) + k var(ln C/O) + (1 - k) RS`.

    `k = 0.34 / (1.34 + (n+1)/(n-1))`, variances with ddof 1, RS = Rogers-Satchell variance, C1 the previous close.

    Returns
    -------
    ndarray of shape (n_bars,)
        Fraction per year; value t uses the last `window` bars and the close before them, all of one segment; NaN before.

    References
    ----------
    Yang & Zhang (2000), "Drift-Independent Volatility Estimation Based on High, Low, Open, and Close Prices".
    """
    k = 0.34 / (1.34 + (window + 1) / (window - 1))
    jump = np.log(candles.open / shifted(candles.close, 1))
    body = np.log(candles.close / candles.open)
    variance = (trailing_moments(jump, window)[1] + k * trailing_moments(body, window)[1]) / (window - 1)
    variance = variance + (1.0 - k) * trailing_mean(_rogers_satchell_terms(candles), window)
    return _annual_root(variance, candles, window + 1)


def _annual_root(variance: np.ndarray, candles: Candles, warmup: int) -> np.ndarray:
    # Rounding can leave -1e-20 where every bar is flat; that is a volatility of 0, not an unknown one.
    return warmed(np.sqrt(np.maximum(variance, 0.0) * candles.interval.bars_per_year), candles, warmup)


@kernel
def ewma_variance(squares, decay, seed_count):
    """`v_t = decay v_{t-1} + (1 - decay) r_t^2`, begun as the mean of the first `seed_count` squares.

    `squares` holds r^2 of one segment from its second bar on. Same length; NaN before the seed is complete.
    """
    n = len(squares)
    out = np.full(n, np.nan)
    if n < seed_count:
        return out
    total = 0.0
    for i in range(seed_count):
        total += squares[i]
    v = total / seed_count
    out[seed_count - 1] = v
    for i in range(seed_count, n):
        v = decay * v + (1.0 - decay) * squares[i]
        out[i] = v
    return out


@ewma_variance.warm_with
def _example():
    return np.ones(40), 0.94, SEED_RETURNS


def ewma_volatility(candles: Candles, *, decay: float = 0.94, warmup: int | None = None) -> np.ndarray:
    """Exponentially weighted sd of log returns, per bar: `v_t = decay v_{t-1} + (1 - decay) r_t^2`, zero mean.

    Seeded with the mean of the first 30 squared returns of each segment. Recursive (class R).

    Returns
    -------
    ndarray of shape (n_bars,)
        Per bar, not annualised. Value t knows r_t. NaN for the first 260 (decay 0.94) or 490 bars (0.97) of each segment
        unless `warmup` says otherwise (at least 31).

    References
    ----------
    J.P. Morgan (1996), "RiskMetrics Technical Document".
    """
    bars = EWMA_WARMUP_BARS.get(decay, SEED_RETURNS + math.ceil(math.log(1e-6) / math.log(decay))) if warmup is None else warmup

    def root(close: np.ndarray) -> np.ndarray:
        r = np.diff(np.log(close))
        return np.concatenate(([np.nan], np.sqrt(ewma_variance(r * r, decay, SEED_RETURNS))))

    return on_segments(candles, ("close",), root, warmup=bars, shortest=SEED_RETURNS + 1)[0]
