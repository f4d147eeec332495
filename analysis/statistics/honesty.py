"""Is a result more than luck? Probabilistic and deflated Sharpe ratio, minimum track record, overfitting, intervals.

Sharpe ratios here are per period, not annualised; kurtosis is non-excess (3 for a normal). A selected strategy is judged by its
deflated ratio, never by the probabilistic one alone: of 50 strategies without any edge the best has PSR > .95 in nine cases of ten.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from analysis.statistics.blocks import DRAWS, block_length, percentile_interval
from analysis.statistics.performance import DAYS_PER_YEAR, FLAT, sharpe

EULER_GAMMA = 0.5772156649015329
SHORTEST_BLOCK = 5.0  # days
MANY_ROWS = 1_000  # from here on 16 blocks, below 10


@dataclass(frozen=True)
class Moments:
    """Of returns per period: how many are known, their Sharpe ratio, skewness and non-excess kurtosis. NaN where they do not vary."""

    n: int
    sharpe: float
    skewness: float
    kurtosis: float

    @classmethod
    def of(cls, returns: np.ndarray) -> Moments:
        returns = np.asarray(returns, float)
        known = returns[np.isfinite(returns)]
        ratio = sharpe(known, periods_per_year=1.0)
        if not math.isfinite(ratio):
            return cls(len(known), math.nan, math.nan, math.nan)
        z = (known - known.mean()) / known.std()
        return cls(len(known), ratio, float(np.mean(z**3)), float(np.mean(z**4)))

    @property
    def spread(self) -> float:
        """`1 - g3 SR + (g4 - 1)/4 SR^2`: what skewness and tails do to the ratio's variance, times n - 1."""
        return 1.0 - self.skewness * self.sharpe + (self.kurtosis - 1.0) / 4.0 * self.sharpe**2


def probabilistic_sharpe(moments: Moments, *, benchmark: float = 0.0) -> float:
    """Probability that the true ratio is above `benchmark`: `Phi((SR - SR*) sqrt(n - 1) / sqrt(1 - g3 SR + (g4 - 1)/4 SR^2))`.

    NaN below two returns or without variance.

    References
    ----------
    Bailey & Lopez de Prado (2012), "The Sharpe Ratio Efficient Frontier".
    """
    if moments.n < 2 or not moments.spread > 0.0 or not math.isfinite(benchmark):
        return math.nan
    return NormalDist().cdf((moments.sharpe - benchmark) * math.sqrt(moments.n - 1) / math.sqrt(moments.spread))


def expected_best(variance: float, trials: float) -> float:
    """Ratio the best of `trials` strategies without edge is expected to show: `sqrt(V) ((1 - ge) Z(1 - 1/N) + ge Z(1 - 1/(N e)))`.

    `variance` is that of the trials' ratios (per period); `trials` the number of independent ones, 1 gives 0.
    """
    if not (variance >= 0.0 and trials >= 1.0):
        return math.nan
    if trials == 1.0:
        return 0.0
    z = NormalDist().inv_cdf
    return math.sqrt(variance) * ((1.0 - EULER_GAMMA) * z(1.0 - 1.0 / trials) + EULER_GAMMA * z(1.0 - 1.0 / (trials * math.e)))


def variance_of_tries(ratios: np.ndarray, *, tries: int, periods: int) -> float:
    """Variance of the Sharpe ratios of `tries` tries, of which only some have one; all per period.

    A search that judges by losses leaves tries without a ratio. Left out they would make the best of fifty look like a first try, so they
    are taken to scatter as ratios without edge do over so many periods: 1 / (periods - 1). 0 for a single try.
    """
    known = np.asarray(ratios, float)
    known = known[np.isfinite(known)]
    missing = max(tries - len(known), 0)
    own = float(np.var(known, ddof=1)) if len(known) > 1 else 0.0
    if tries <= 1 or not missing or periods < 2:
        return own
    chance = 1.0 / (periods - 1)
    return chance if len(known) < 2 else (len(known) * own + missing * chance) / (len(known) + missing)


def deflated_sharpe(moments: Moments, *, variance: float, trials: float) -> float:
    """The probabilistic ratio against what the best of all trials would show by luck. Every trial counts, also the forgotten ones.

    The published example: n = 1250, SR 2.5 a year of 250, g3 -3, g4 10, variance 1/2 a year, 100 trials gives .9004.

    References
    ----------
    Bailey & Lopez de Prado (2014), "The Deflated Sharpe Ratio".
    """
    return probabilistic_sharpe(moments, benchmark=expected_best(variance, trials))


def minimum_track_record(moments: Moments, *, benchmark: float = 0.0, confidence: float = 0.95) -> float:
    """Returns needed before the ratio is above `benchmark` with `confidence`: `1 + (1 - g3 SR + (g4 - 1)/4 SR^2) (z / (SR - SR*))^2`.

    In periods. NaN where the ratio is not above the benchmark: no length would do.

    References
    ----------
    Bailey & Lopez de Prado (2012), "The Sharpe Ratio Efficient Frontier".
    """
    if not moments.sharpe > benchmark:
        return math.nan
    return 1.0 + moments.spread * (NormalDist().inv_cdf(confidence) / (moments.sharpe - benchmark)) ** 2


@dataclass(frozen=True)
class Overfitting:
    """`probability`: share of splits in which the best in sample ranks at or below the median out of sample. Report it with its counts.

    `logits` are those of the out-of-sample ranks, one a split; `warning` above .3.
    """

    probability: float
    trials: int
    blocks: int
    splits: int
    logits: np.ndarray

    @property
    def warning(self) -> bool:
        return self.probability > 0.3


def overfitting(returns: np.ndarray, *, blocks: int | None = None) -> Overfitting:
    """Probability of backtest overfitting by combinatorially symmetric cross-validation, judged by the Sharpe ratio.

    Parameters
    ----------
    returns : ndarray of shape (n_periods, n_trials)
        Of every trial of the study on the same periods, without NaN; at least 2 trials.
    blocks : int or None
        S, even: 16 from 1000 rows on, else 10. The rows beyond a multiple of S are left out at the beginning.

    Returns
    -------
    Overfitting
        NaN probability with fewer than two trials or four rows a block. Noise gives .52 with a standard deviation of .18 between data
        sets: one number, far from exact. Trials without variance rank last.

    References
    ----------
    Bailey, Borwein, Lopez de Prado & Zhu (2017), "The Probability of Backtest Overfitting".
    """
    returns = np.asarray(returns, float)
    n, trials = returns.shape
    s = blocks or (16 if n >= MANY_ROWS else 10)
    if s % 2 or s < 2:
        raise ValueError(f"blocks: expected an even number of at least 2, got {s}")
    size = n // s
    if trials < 2 or size < 4:
        return Overfitting(math.nan, trials, s, 0, np.empty(0))
    parts = returns[n - size * s :].reshape(s, size, trials)
    total, square = parts.sum(axis=1), (parts**2).sum(axis=1)
    splits = list(itertools.combinations(range(s), s // 2))
    chosen = np.zeros((len(splits), s))
    for row, split in enumerate(splits):
        chosen[row, list(split)] = 1.0
    inside = _ratios(chosen @ total, chosen @ square, size * s // 2)
    outside = _ratios((1.0 - chosen) @ total, (1.0 - chosen) @ square, size * s // 2)
    best = inside.argmax(axis=1)
    own = outside[np.arange(len(splits)), best][:, None]
    rank = (outside < own).sum(axis=1) + 0.5 * ((outside == own).sum(axis=1) + 1.0)
    share = rank / (trials + 1.0)
    logits = np.log(share / (1.0 - share))
    return Overfitting(float((logits <= 0.0).mean()), trials, s, len(splits), logits)


def _ratios(total: np.ndarray, square: np.ndarray, n: int) -> np.ndarray:
    mean = total / n
    variance = np.maximum(square - n * mean**2, 0.0) / (n - 1)
    flat = np.sqrt(variance) <= FLAT * np.abs(mean)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(flat | (variance == 0.0), -np.inf, mean / np.sqrt(variance))


def lo_factor(returns: np.ndarray, *, periods_per_year: float = DAYS_PER_YEAR, lags: int = 10) -> float:
    """What sqrt(periods) should be with autocorrelated returns: `q / sqrt(q + 2 sum (q - k) rho_k)`; the ratio is overstated below it.

    The first `lags` autocorrelations enter. NaN below 30 returns or where the sum is not positive.

    References
    ----------
    Lo (2002), "The Statistics of Sharpe Ratios".
    """
    known = np.asarray(returns, float)
    known = known[np.isfinite(known)]
    if len(known) < 30 or not known.std() > 0:
        return math.nan
    centred = known - known.mean()
    rho = np.array([centred[k:] @ centred[:-k] for k in range(1, lags + 1)]) / (centred @ centred)
    inner = periods_per_year + 2.0 * float(np.sum((periods_per_year - np.arange(1, lags + 1)) * rho))
    return periods_per_year / math.sqrt(inner) if inner > 0 else math.nan


@dataclass(frozen=True)
class Intervals:
    """95 % intervals by the stationary bootstrap of daily returns; NaN pairs where there are too few. `ruin`: share of draws that lost 30 %
    from a high."""

    cagr: tuple[float, float]
    sharpe: tuple[float, float]
    max_drawdown: tuple[float, float]
    ruin: float
    block: float
    draws: int


def resampled(n: int, block: float, draws: int, seed: int) -> np.ndarray:
    """Row numbers of the stationary bootstrap, shape (draws, n): blocks of geometric length, in order, wrapped around the end."""
    rng = np.random.default_rng(seed)
    fresh = rng.random((draws, n)) < 1.0 / max(block, 1.0)
    fresh[:, 0] = True
    start = rng.integers(0, n, (draws, n))
    column = np.arange(n)
    began = np.maximum.accumulate(np.where(fresh, column, 0), axis=1)
    return (np.take_along_axis(start, began, axis=1) + column - began) % n


def intervals(daily_returns: np.ndarray, *, draws: int = DRAWS, seed: int = 0, ruin: float = -0.30) -> Intervals:
    """CAGR, Sharpe ratio and maximum drawdown of resampled histories, block `max(5, Politis-White)`. Fewer than 30 days: unknown.

    References
    ----------
    Politis & Romano (1994), "The Stationary Bootstrap".
    """
    known = np.asarray(daily_returns, float)
    known = known[np.isfinite(known)]
    n = len(known)
    unknown = (math.nan, math.nan)
    if n < 30:
        return Intervals(unknown, unknown, unknown, math.nan, math.nan, 0)
    block = max(SHORTEST_BLOCK, block_length(known))
    growth, ratio, depth = (np.empty(draws) for _ in range(3))
    for first in range(0, draws, 250):
        rows = known[resampled(n, block, min(250, draws - first), seed + first)]
        part = slice(first, first + len(rows))
        level = np.cumprod(1.0 + rows, axis=1)
        high = np.maximum.accumulate(np.maximum(level, 1.0), axis=1)
        depth[part] = (level / high).min(axis=1) - 1.0
        with np.errstate(invalid="ignore", divide="ignore"):
            growth[part] = np.maximum(level[:, -1], 0.0) ** (DAYS_PER_YEAR / n) - 1.0
            spread = rows.std(axis=1, ddof=1)
            varies = spread > FLAT * np.abs(rows).max(axis=1)
            ratio[part] = np.where(varies, rows.mean(axis=1) / spread, np.nan) * math.sqrt(DAYS_PER_YEAR)
    return Intervals(percentile_interval(growth), percentile_interval(ratio), percentile_interval(depth), float((depth <= ruin).mean()),
                     block, draws)


def shuffled_drawdowns(trade_returns: Sequence[float] | np.ndarray, *, draws: int = DRAWS, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the maximum drawdown over orders in which the same trades might have come. NaN below five trades."""
    known = np.asarray(trade_returns, float)
    known = known[np.isfinite(known)]
    if len(known) < 5:
        return math.nan, math.nan
    rng = np.random.default_rng(seed)
    depths = np.empty(draws)
    for k in range(draws):
        level = np.cumprod(1.0 + rng.permutation(known))
        depths[k] = (level / np.maximum.accumulate(np.maximum(level, 1.0))).min() - 1.0
    return percentile_interval(depths)
