"""Local trend by a Kalman filter: how surely does the price drift? Filtered only; a smoother would know the future."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.frames import Candles
from data.indicators.restart import on_segments
from data.indicators.volatility import SEED_RETURNS, ewma_variance
from data.kernel import kernel

# A drift of 0.1 bar-sd that lasts 50 bars, believed in advance. Fixed on purpose: fitted per window by maximum likelihood
# the slope's variance falls to about 0 on simulated prices, and the filter goes blind (methods.md A).
SLOPE_DECAY = 0.98
SLOPE_VARIANCE = 3.96e-4  # times the bar variance; 0.01 (1 - 0.98^2), so the slope's sd is 0.1 bar-sd in the long run
NOISE_VARIANCE = 0.01
SLOPE_PRIOR = 0.01
VARIANCE_DECAY = 0.97
WARMUP_BARS = 500  # the 0.97 variance needs 490


@kernel
def filter_slope(y, variance, first):
    """Level and slope filter over one segment: filtered slope and its variance, NaN before row `first`.

    y : ln C. variance[t] : bar variance known at t (used from t+1 on). The state starts at `first` with level y, slope 0.
    """
    n = len(y)
    slope = np.full(n, np.nan)
    spread = np.full(n, np.nan)
    if n <= first:
        return slope, spread
    level, s = y[first], 0.0
    p_ll, p_ls, p_ss = variance[first], 0.0, SLOPE_PRIOR * variance[first]
    for t in range(first + 1, n):
        v = variance[t - 1]
        level = level + s
        s = SLOPE_DECAY * s
        a = p_ll + 2.0 * p_ls + p_ss + v
        b = SLOPE_DECAY * (p_ls + p_ss)
        c = SLOPE_DECAY * SLOPE_DECAY * p_ss + SLOPE_VARIANCE * v
        innovation_variance = a + NOISE_VARIANCE * v
        if innovation_variance > 0.0:
            gain_level, gain_slope = a / innovation_variance, b / innovation_variance
            surprise = y[t] - level
            level = level + gain_level * surprise
            s = s + gain_slope * surprise
            p_ll = a - gain_level * a
            p_ls = b - gain_level * b
            p_ss = c - gain_slope * b
        else:
            p_ll, p_ls, p_ss = a, b, c
        slope[t] = s
        spread[t] = p_ss
    return slope, spread


@filter_slope.warm_with
def _example():
    return np.zeros(40), np.ones(40), SEED_RETURNS


@dataclass(frozen=True)
class Trend:
    """Filtered drift; arrays of shape (n_bars,). `slope` in ln price per bar, `sd` its standard error, `t` = slope / sd."""

    slope: np.ndarray
    sd: np.ndarray
    t: np.ndarray


def kalman_trend(candles: Candles) -> Trend:
    """Filtered slope of ln C and how many standard errors it stands from zero (about -2..2).

    State: level `l = l1 + s1 + eta`, slope `s = 0.98 s1 + zeta`, observation `ln C = l + eps`, with Var eta = v,
    Var zeta = 3.96e-4 v, Var eps = 0.01 v and v the exponentially weighted (0.97) variance of returns known one bar before.
    Starts 30 returns into each segment with P = diag(v, 0.01 v). Recursive; NaN for the first 500 bars of each segment and
    where the variance is 0 (a price that never moved).

    References
    ----------
    Harvey (1989), "Forecasting, Structural Time Series Models and the Kalman Filter".
    """

    def run(close: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y = np.log(close)
        r = np.diff(y)
        variance = np.concatenate(([np.nan], ewma_variance(r * r, VARIANCE_DECAY, SEED_RETURNS)))
        return filter_slope(y, variance, SEED_RETURNS)

    slope, spread = on_segments(candles, ("close",), run, outputs=2, warmup=WARMUP_BARS)
    with np.errstate(invalid="ignore"):
        sd = np.where(spread > 0, np.sqrt(spread), np.nan)
    return Trend(slope, sd, slope / sd)
