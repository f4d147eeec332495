"""Volatility from closes, from ranges, and exponentially weighted. Annualised ones count 365 days a year (methods.md N6)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from data.frames import Candles
from data.indicators.restart import on_segments, shifted, warmed
from data.indicators.windows import blockwise, trailing_mean, trailing_square
from data.kernel import kernel

OHLC = ("open", "high", "low", "close")
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
    year = candles.interval.bars_per_year
    return blockwise((candles.log_return,), window - 1, lambda r: np.sqrt(trailing_square(r, window) * (year / (window - 1))))


@dataclass(frozen=True)
class RangeVolatility:
    """Four estimates from open, high, low and close; each an ndarray of shape (n_bars,), fraction per year."""

    parkinson: np.ndarray
    garman_klass: np.ndarray
    rogers_satchell: np.ndarray
    yang_zhang: np.ndarray


def range_volatility(candles: Candles, *, window: int = 20) -> RangeVolatility:
    """The range estimators together, since they share their logarithms. All are roots of annualised mean variances per bar.

    - Parkinson: `mean(ln(H/L)^2) / (4 ln 2)`
    - Garman & Klass: `mean(ln(H/L)^2 / 2 - (2 ln 2 - 1) ln(C/O)^2)`
    - Rogers & Satchell, free of drift: `mean(ln(H/O) ln(H/C) + ln(L/O) ln(L/C))`
    - Yang & Zhang, with opening jumps: `var(ln O/C1) + k var(ln C/O) + (1 - k) RS`, `k = 0.34 / (1.34 + (n+1)/(n-1))`,
      variances with ddof 1, C1 the previous close

    Value t uses bars t-window+1 .. t of one segment, Yang & Zhang also the close before them; NaN before. Thin bars bias all of
    them down. 0, not NaN, where nothing moved.

    References
    ----------
    Parkinson (1980), "The Extreme Value Method for Estimating the Variance of the Rate of Return"; Garman & Klass (1980), "On the
    Estimation of Security Price Volatilities from Historical Data"; Rogers & Satchell (1991), "Estimating Variance from High,
    Low and Closing Prices"; Yang & Zhang (2000), "Drift-Independent Volatility Estimation Based on High, Low, Open, and Close
    Prices".
    """
    year = candles.interval.bars_per_year
    k = 0.34 / (1.34 + (window + 1) / (window - 1))
    body_share = 2.0 * math.log(2.0) - 1.0

    def roots(opened: np.ndarray, high: np.ndarray, low: np.ndarray, close: np.ndarray) -> np.ndarray:
        up, down, body = np.log(high / opened), np.log(low / opened), np.log(close / opened)
        jump = np.log(opened / shifted(close, 1))
        reach = up - down
        reach_square, body_square = trailing_mean(reach * reach, window), trailing_mean(body * body, window)
        drift_free = trailing_mean(up * (up - body) + down * (down - body), window)
        body_mean = trailing_mean(body, window)
        body_variance = np.maximum(body_square - body_mean * body_mean, 0.0) * (window / (window - 1))
        variance = np.stack((
            reach_square / (4.0 * math.log(2.0)), 0.5 * reach_square - body_share * body_square, drift_free,
            trailing_square(jump, window) / (window - 1) + k * body_variance + (1.0 - k) * drift_free,
        ))
        # Rounding can leave -1e-20 where every bar is flat; that is a volatility of 0, not an unknown one.
        np.maximum(variance, 0.0, out=variance)
        variance *= year
        return np.sqrt(variance, out=variance)

    rows = blockwise(tuple(getattr(candles, name) for name in OHLC), window, roots)
    return RangeVolatility(*(warmed(row, candles, window + (i == 3)) for i, row in enumerate(rows)))


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
