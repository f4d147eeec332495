"""Published examples of PSR, DSR and the minimum track record; PBO beside its slow definition; planted noise and planted skill."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from analysis.statistics import honesty
from analysis.statistics.honesty import Moments, deflated_sharpe, minimum_track_record, overfitting, probabilistic_sharpe
from analysis.statistics.performance import sharpe, sharpe_error
from data.simulator.worlds import generator
from tests.planted import FIRST_SEED, Row, check_mean, check_single


def test_deflated_sharpe_of_the_published_example():
    """Bailey & Lopez de Prado (2014): 1250 days, SR 2.5, skewness -3, kurtosis 10, V = 1/2 a year, N = 100: SR* .1132, DSR .9004."""
    moments = Moments(1250, 2.5 / math.sqrt(250), -3.0, 10.0)
    assert honesty.expected_best(0.5 / 250, 100) == pytest.approx(0.1132, abs=5e-5)
    assert deflated_sharpe(moments, variance=0.5 / 250, trials=100) == pytest.approx(0.9004, abs=5e-5)


def test_deflated_sharpe_of_the_published_second_example():
    """The same paper: with N = 46 independent trials the strategy would have passed: DSR .9505."""
    moments = Moments(1250, 2.5 / math.sqrt(250), -3.0, 10.0)
    assert deflated_sharpe(moments, variance=0.5 / 250, trials=46) == pytest.approx(0.9505, abs=5e-4)


def test_probabilistic_sharpe_of_the_published_example():
    """Bailey & Lopez de Prado (2012): 24 months, SR .458, skewness -2.448, kurtosis 10.164: PSR(0) .913; as if normal .982."""
    assert probabilistic_sharpe(Moments(24, 0.458, -2.448, 10.164)) == pytest.approx(0.913, abs=5e-4)
    assert probabilistic_sharpe(Moments(24, 0.458, 0.0, 3.0)) == pytest.approx(0.982, abs=1e-3)


def test_minimum_track_record_is_where_psr_reaches_the_confidence():
    """By definition PSR at that length is .95: an independent path through the normal distribution."""
    moments = Moments(100, 0.12, -0.7, 6.0)
    length = minimum_track_record(moments)
    whole = math.ceil(length)
    assert probabilistic_sharpe(Moments(whole, 0.12, -0.7, 6.0)) >= 0.95 > probabilistic_sharpe(Moments(whole - 1, 0.12, -0.7, 6.0))
    assert math.isnan(minimum_track_record(Moments(100, -0.1, 0.0, 3.0)))


def test_psr_is_the_sharpe_over_its_error():
    """The Mertens error of performance.py and PSR are one formula seen from two sides."""
    returns = generator(4).standard_t(5, 400) * 0.01 + 0.001
    z = sharpe(returns) / sharpe_error(returns)
    assert probabilistic_sharpe(Moments.of(returns)) == pytest.approx(0.5 * math.erfc(-z / math.sqrt(2)), rel=1e-12)


@pytest.mark.parametrize("returns", [np.zeros(50), np.full(50, np.nan), np.array([0.1]), np.empty(0)])
def test_nothing_is_claimed_where_nothing_varies(returns):
    moments = Moments.of(returns)
    assert math.isnan(probabilistic_sharpe(moments))
    assert math.isnan(deflated_sharpe(moments, variance=0.01, trials=10))
    assert math.isnan(minimum_track_record(moments))
    assert math.isnan(honesty.intervals(returns).sharpe[0])


def naive_pbo(returns, s):
    """The definition, split by split, with numpy's own mean and deviation."""
    size = len(returns) // s
    parts = np.split(returns[len(returns) - size * s:], s)
    below = 0
    splits = list(itertools.combinations(range(s), s // 2))
    for split in splits:
        inside = np.concatenate([parts[k] for k in split])
        outside = np.concatenate([parts[k] for k in range(s) if k not in split])
        best = np.argmax(inside.mean(axis=0) / inside.std(axis=0, ddof=1))
        scores = outside.mean(axis=0) / outside.std(axis=0, ddof=1)
        rank = sorted(scores).index(scores[best]) + 1
        below += rank / (returns.shape[1] + 1) <= 0.5
    return below / len(splits)


@pytest.mark.parametrize("blocks", [4, 8])
def test_overfitting_equals_its_definition(blocks):
    for seed in range(5):
        returns = generator(seed).normal(0, 1, (203, 9))
        assert overfitting(returns, blocks=blocks).probability == naive_pbo(returns, blocks)


def test_overfitting_says_how_much_it_rests_on():
    few, many = overfitting(generator(1).normal(0, 1, (300, 5))), overfitting(generator(1).normal(0, 1, (1200, 5)))
    assert (few.blocks, few.splits, many.blocks, many.splits) == (10, 252, 16, 12_870)
    assert math.isnan(overfitting(np.zeros((300, 1))).probability)
    with pytest.raises(ValueError, match="even number"):
        overfitting(np.zeros((300, 3)), blocks=5)


def test_lo_factor_of_independent_and_trending_returns():
    """Lo (2002), AR(1) with rho: sqrt(q) shrinks for rho > 0; for independent returns it stays."""
    white = generator(2).normal(0, 1, 20_000)
    assert honesty.lo_factor(white) == pytest.approx(math.sqrt(365), rel=0.05)
    smooth = white[1:] + 0.8 * white[:-1]
    assert honesty.lo_factor(smooth) < 0.8 * math.sqrt(365)


def test_bootstrap_interval_of_the_sharpe_is_as_wide_as_its_error():
    returns = generator(3).normal(0.001, 0.02, 730)
    found = honesty.intervals(returns, draws=1000)
    assert found.sharpe[0] < sharpe(returns) < found.sharpe[1]
    assert found.sharpe[1] - found.sharpe[0] == pytest.approx(2 * 1.96 * sharpe_error(returns), rel=0.2)
    assert found.max_drawdown[0] < found.max_drawdown[1] <= 0.0
    assert found == honesty.intervals(returns, draws=1000)


def test_shuffled_trades_keep_their_sum_and_change_their_drawdown():
    low, high = honesty.shuffled_drawdowns([0.05, -0.03, 0.02, -0.04, 0.01, -0.02, 0.03], draws=400)
    assert -0.1 < low < high < 0.0


def noise(seed):
    return {"pbo": overfitting(generator(seed).normal(0, 1, (800, 40))).probability}


def one_good(seed):
    returns = generator(seed).normal(0, 1, (800, 40))
    returns[:, 17] += 0.15
    return {"pbo": overfitting(returns).probability}


def best_of_50(seed):
    returns = generator(seed).normal(0, 0.01, (1000, 50))
    ratios = np.array([sharpe(column, periods_per_year=1.0) for column in returns.T])
    best = Moments.of(returns[:, ratios.argmax()])
    return {"dsr above .95": float(deflated_sharpe(best, variance=float(ratios.var(ddof=1)), trials=50) > 0.95),
            "psr above .95": float(probabilistic_sharpe(best) > 0.95)}


ROWS = [
    Row("PBO of noise", ".5", noise, single={"pbo": (0.10, 0.90)}, mean={"pbo": (0.40, 0.64)}),
    Row("PBO with one good", "0", one_good, single={"pbo": (0.0, 0.55)}, mean={"pbo": (0.0, 0.16)}),
]
DEFLATED = Row("DSR of the best of 50", "0", best_of_50, mean={"dsr above .95": (0.0, 0.02), "psr above .95": (0.86, 0.97)}, seeds=200)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_planted_single_seed(row):
    check_single(row, FIRST_SEED)


@pytest.mark.long
@pytest.mark.parametrize("row", [*ROWS, DEFLATED], ids=str)
def test_planted_mean(row):
    check_mean(row)


def test_tries_without_a_ratio_scatter_as_chance_does():
    rng = np.random.default_rng(91)
    ratios = rng.normal(0.0, 1 / np.sqrt(399), 400)
    assert honesty.variance_of_tries(ratios, tries=400, periods=400) == pytest.approx(np.var(ratios, ddof=1))
    assert honesty.variance_of_tries(ratios[:1], tries=51, periods=400) == pytest.approx(1 / 399)
    assert honesty.variance_of_tries(ratios[:20], tries=40, periods=400) == pytest.approx(np.var(ratios[:20], ddof=1) / 2 + 1 / 399 / 2)
    assert honesty.variance_of_tries(np.array([np.nan]), tries=1, periods=400) == 0.0
    assert honesty.variance_of_tries(np.array([0.1, np.nan]), tries=2, periods=1) == 0.0


def test_a_curve_without_variance_has_no_interval_of_its_ratio():
    """The same return every day: rounding is no risk, and a ratio of 1e17 no figure."""
    found = honesty.intervals(np.full(100, 0.01), draws=50)
    assert all(math.isnan(v) for v in found.sharpe) and found.max_drawdown == (0.0, 0.0)
