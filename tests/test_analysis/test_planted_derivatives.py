"""The derivatives rows of methods.md 8.1: the quadrant script, funding's memory and crowd, liquidations that follow the levels."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.methods.liquidations import NEVER_MS, estimate_levels
from analysis.methods.positioning import crowded
from analysis.modules.deriv_sentim import DerivativesSentiment
from analysis.scaling import pr, z0
from data.frames import Candles
from data.market import HOUR_MS, Interval
from data.observations import Kind
from data.simulator import derivatives as derived
from data.simulator.market import EPOCH_MS
from tests.derivatives_reader import hourly, view_with
from tests.planted import Row, check_mean, check_single

MODULE = DerivativesSentiment()
HOURS = 2_400
CRASH, TIMES_WHEN_CROWDED = 0.02, 3.0


def walk(seed, n):
    """Hourly candles of t5 returns from the exchange's epoch on."""
    stream = np.random.default_rng([seed, 71])
    close = 100 * np.exp(np.cumsum(0.004 * stream.standard_t(5, n)))
    opened = np.concatenate((close[:1], close[:-1]))
    reach = 0.001 * np.abs(stream.standard_normal((2, n)))
    return Candles.from_columns(Interval.H1, {
        "open_time": EPOCH_MS + np.arange(n) * HOUR_MS, "open": opened, "close": close, "high": np.maximum(opened, close) * (1 + reach[0]),
        "low": np.minimum(opened, close) * (1 - reach[1]), "volume": stream.lognormal(5, 0.3, n), "taker_buy_volume": np.full(n, 70.0)})


def quadrants(seed):
    """The simulator's own script on a random walk: does the module read growth and closing, with the price's sign?

    Judged are bars whose 13 hours of open interest lie inside one quadrant and whose price moved (|tanh(z/2)| > .2).
    """
    candles = walk(seed, HOURS)
    held = derived.open_interest(seed, 0, candles.open_time, candles.close, 10_000.0)
    end = int(candles.close_time[-1]) + 1
    view = view_with(MODULE, candles, {Kind.OPEN_INTEREST: hourly(Kind.OPEN_INTEREST, held, end, "contracts")})
    bars = 560
    line = MODULE.timeline(view, bars)
    script = derived.quadrant(seed, 0, candles.open_time)
    known = np.arange(HOURS) - 1  # the newest published hour at each close
    one = np.array([len(set(script[max(0, t - 12) : t + 1])) == 1 for t in known])[-bars:]
    move = np.log(candles.close)
    of_price = z0(np.concatenate((np.full(12, np.nan), move[12:] - move[:-12])), window=200)[known][-bars:]
    judged = one & (np.abs(of_price) > 0.2)
    growth, closing = judged & (script[known][-bars:] > 0), judged & (script[known][-bars:] < 0)
    confirm, against = line.tracks["oi_confirm"].k, line.tracks["oi_divergence"].k
    sign = np.sign(of_price)
    return {"growth: confirms with the price": float(np.mean(sign[growth] * confirm[growth] > 0)),
            "closing: speaks against it": float(np.mean(sign[closing] * against[closing] < 0)),
            "both at once": float(np.mean((confirm != 0) & (against != 0)))}


def funding_of(seed, n):
    at = derived.funding_times(0, EPOCH_MS, EPOCH_MS + n * 8 * HOUR_MS)[:n]
    return derived.funding_rates(seed, 0, at)


def funding_rank(seed):
    """Percentile among 270 settlements against the percentile of the stationary law; the memory is 60 settlements."""
    from scipy.stats import norm

    rate = funding_of(seed, 12_000)
    rank = pr(rate, window=270, minimum=90)[270:]
    truth = norm.cdf((rate[270:] - derived.FUNDING_MEAN) / derived.FUNDING_SD)
    away = rate - rate.mean()
    return {"memory": float((away[1:] * away[:-1]).sum() / (away * away).sum()), "mean percentile": float(rank.mean()),
            "correlation": float(np.corrcoef(rank, truth)[0, 1]), "share crowded": float((crowded(rank) > 0).mean())}


def crashes(seed):
    """Crash odds are three times as high while funding lies above the 90th percentile of its last 270 settlements."""
    rate = funding_of(seed, 30_000)
    level = np.quantile(np.lib.stride_tricks.sliding_window_view(rate, 270), 0.9, axis=1)
    high = np.concatenate((np.zeros(269, bool), rate[269:] > level))
    crash = np.random.default_rng([seed, 72]).random(len(rate)) < np.where(high, TIMES_WHEN_CROWDED * CRASH, CRASH)
    rank = pr(rate, window=270, minimum=90)
    flagged = (crowded(rank) > 0) & (rank > 0.5)
    other = np.isfinite(rank) & ~flagged
    return {"crash rate when flagged / else": float(crash[flagged].mean() / crash[other].mean()),
            "flagged among crowded": float(flagged[high].mean())}


def cascade(seed):
    """Positions with their own entries, leverages, sides and lives: the value forced each hour against the mass that crossed.

    The estimator sees candles and the net of openings and closings only.
    """
    n = 1_500
    candles = walk(seed, n)
    stream = np.random.default_rng([seed, 73])
    per_hour = 6
    born = np.repeat(np.arange(n), per_hour)
    size = stream.lognormal(0.0, 1.0, len(born)) * np.repeat(stream.lognormal(0.0, 1.2, n), per_hour)  # hours differ in how much opens
    entry = candles.low[born] + stream.random(len(born)) * (candles.high[born] - candles.low[born])
    leverage = stream.choice([10.0, 25.0, 50.0, 100.0], len(born), p=[0.30, 0.30, 0.25, 0.15])
    side = stream.choice([1.0, -1.0], len(born))
    level = entry * (1 - side / leverage + side * 0.005)
    closes = born + 1 + stream.exponential(72 / np.log(2), len(born)).astype(int)
    forced, held = np.zeros(n), np.zeros(n + 1)
    for i in range(len(born)):
        until = min(n, closes[i])
        span = slice(born[i] + 1, until)
        hit = np.flatnonzero(candles.low[span] <= level[i] if side[i] > 0 else candles.high[span] >= level[i])
        end = born[i] + 1 + int(hit[0]) if len(hit) else until
        if len(hit):
            forced[end] += size[i] * entry[i]
        held[born[i]] += size[i] / 2  # a long and a short share a contract
        held[min(n, end)] -= size[i] / 2
    interest = hourly(Kind.OPEN_INTEREST, np.cumsum(held)[:n] + 1_000.0, int(candles.close_time[-1]) + 1, "contracts")
    levels = estimate_levels(candles, interest)
    hour, leg = np.nonzero(levels.crossed_ms != NEVER_MS)
    crossed_at = levels.crossed_ms[hour, leg]
    weight = levels.mass[hour] * levels.share[leg] * 0.5 ** ((crossed_at - levels.born_ms[hour]) / (72 * HOUR_MS))
    crossed = np.bincount(np.searchsorted(candles.close_time, crossed_at), weights=weight, minlength=n)[:n]
    late = slice(504, None)
    slope = float(np.sum(crossed[late] * forced[late]) / np.sum(crossed[late] ** 2))
    return {"correlation": float(np.corrcoef(crossed[late], forced[late])[0, 1]), "forced per estimated": slope}


ROWS = (
    Row("open interest quadrants", "growth and closing, 72 h each", quadrants,
        {"growth: confirms with the price": (0.97, 1), "closing: speaks against it": (0.97, 1), "both at once": (0, 0)},
        {"growth: confirms with the price": (0.99, 1), "closing: speaks against it": (0.99, 1), "both at once": (0, 0)}),
    Row("funding percentile", "OU, memory exp(-1/60) = .9835", funding_rank,
        {"memory": (0.976, 0.990), "mean percentile": (0.47, 0.53), "correlation": (0.68, 0.86), "share crowded": (0.22, 0.37)},
        {"memory": (0.9815, 0.9855), "mean percentile": (0.49, 0.51), "correlation": (0.74, 0.80), "share crowded": (0.26, 0.32)}),
    Row("crash odds under crowded funding", "x 3 above the 90th percentile", crashes,
        {"crash rate when flagged / else": (2.3, 3.8), "flagged among crowded": (0.99, 1)},
        {"crash rate when flagged / else": (2.8, 3.2), "flagged among crowded": (0.99, 1)}),
    Row("liquidation cascade", "forced value follows the mass crossed", cascade,
        {"correlation": (0.5, 0.9), "forced per estimated": (0.9, 1.9)},
        {"correlation": (0.65, 0.80), "forced per estimated": (1.2, 1.5)}),
)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_one_seed_lies_in_its_band(row):
    check_single(row)


@pytest.mark.long
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_mean_of_all_seeds_lies_in_its_band(row):
    check_mean(row)
