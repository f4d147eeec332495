"""Performance and risk formulas against loops, riskfolio-lib, scipy and published tables."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis import statistics as stats
from data.simulator.shocks import tail_world
from tests import naive_stats as naive

SMALL_RETURNS = arrays(np.float64, st.integers(2, 60), elements=st.floats(-0.5, 0.5, width=32))
ALPHAS = (0.01, 0.025, 0.05, 0.1)


@pytest.fixture
def returns(seed):
    return np.random.default_rng(seed).standard_t(4, 700) * 0.03


# -- performance ----------------------------------------------------------------------------------------------------


def test_drawdown_equals_the_loop_and_its_minimum_is_the_maximum_drawdown(returns):
    equity = 100 * np.cumprod(1 + returns)
    equity[50] = np.nan
    assert np.allclose(stats.drawdown(equity), naive.drawdown(equity), rtol=0, atol=1e-15, equal_nan=True)
    assert stats.max_drawdown(equity) == np.nanmin(naive.drawdown(equity))
    assert math.isnan(stats.max_drawdown(np.array([np.nan])))


def test_windowed_drawdown_forgets_an_old_high():
    prices = np.array([100.0, 50, 60, 55])
    assert stats.drawdown(prices, window=3).tolist() == [0.0, -0.5, -0.4, 55 / 60 - 1]


@given(arrays(np.float64, st.integers(1, 40), elements=st.floats(0.01, 1e6)))
@settings(max_examples=60, deadline=None)
def test_drawdown_lies_between_total_loss_and_zero_and_ignores_scale(values):
    depth = stats.drawdown(values)
    assert np.all((depth <= 0) & (depth >= -1))
    assert np.allclose(depth, stats.drawdown(values * 7), atol=1e-12)


def test_sharpe_and_sortino_by_hand():
    r = np.array([0.01, -0.02, 0.03, 0.0])
    assert stats.sharpe(r) == pytest.approx(0.005 / np.std(r, ddof=1) * math.sqrt(365), rel=1e-14)
    assert stats.sortino(r) == pytest.approx(0.005 / math.sqrt(0.0004 / 4) * math.sqrt(365), rel=1e-14)
    assert stats.sharpe(r, risk_free=0.005) == pytest.approx(0.0, abs=1e-12)


def test_ratios_are_unknown_not_infinite_without_risk():
    assert math.isnan(stats.sharpe(np.full(50, 0.001)))
    assert math.isnan(stats.sortino(np.full(50, 0.001)))
    assert math.isnan(stats.sharpe(np.array([0.01])))


def test_mertens_error_is_the_iid_formula_for_normal_returns(seed):
    r = np.random.default_rng(seed).standard_normal(100_000) * 0.02 + 0.002
    ratio = stats.sharpe(r, periods_per_year=1)
    assert stats.sharpe_error(r, periods_per_year=1) == pytest.approx(math.sqrt((1 + ratio**2 / 2) / len(r)), rel=0.01)


def test_rolling_ratios_equal_single_calls_and_do_not_depend_on_how_many_are_asked(returns):
    returns[300] = np.nan
    ratio, down = stats.rolling_ratios(returns, window=60)
    for t in (59, 200, 299, 361, 699):
        assert ratio[t] == pytest.approx(stats.sharpe(returns[t - 59 : t + 1]), rel=1e-12)
        assert down[t] == pytest.approx(stats.sortino(returns[t - 59 : t + 1]), rel=1e-12)
    assert np.isnan(ratio[:59]).all() and np.isnan(ratio[300:360]).all()
    for last in (1, 2, 100):
        assert np.array_equal(stats.rolling_ratios(returns, window=60, last=last)[0][-last:], ratio[-last:], equal_nan=True)


# -- quantiles of loss ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("n", [60, 250, 255, 500, 700])
def test_historical_var_and_es_are_riskfolios(returns, alpha, n):
    from riskfolio.src.RiskFunctions import CVaR_Hist, VaR_Hist

    sample = returns[:n]
    assert stats.historical_var(sample, alpha=alpha) == pytest.approx(float(VaR_Hist(sample, alpha=alpha)), rel=1e-12)
    assert stats.historical_es(sample, alpha=alpha) == pytest.approx(float(CVaR_Hist(sample, alpha=alpha)), rel=1e-12)


@given(SMALL_RETURNS, st.sampled_from(ALPHAS))
@settings(max_examples=80, deadline=None)
def test_historical_var_and_es_equal_the_loop_and_es_is_the_larger(sample, alpha):
    var, es = naive.historical_var_es(sample.tolist(), alpha)
    assert stats.historical_var(sample, alpha=alpha) == pytest.approx(var, abs=1e-15)
    assert stats.historical_es(sample, alpha=alpha) == pytest.approx(es, rel=1e-12, abs=1e-12)
    assert stats.historical_es(sample, alpha=alpha) >= stats.historical_var(sample, alpha=alpha) - 1e-12


@given(SMALL_RETURNS, st.floats(0.001, 0.2))
@settings(max_examples=40, deadline=None)
def test_a_sure_loss_moves_every_loss_measure_by_itself(sample, loss):
    for measure in (stats.historical_var, stats.historical_es, stats.gaussian_var, stats.gaussian_es):
        assert measure(sample - loss) == pytest.approx(measure(sample) + loss, rel=1e-9, abs=1e-9)


def test_unknown_days_do_not_count(returns):
    holed = returns.copy()
    holed[::7] = np.nan
    assert stats.historical_var(holed) == stats.historical_var(holed[np.isfinite(holed)])
    assert math.isnan(stats.historical_var(np.full(5, np.nan)))


def test_rolling_var_equals_one_call_per_row(returns):
    var, es = stats.rolling_var_es(returns, window=500, minimum=250)
    assert np.isnan(var[:249]).all()
    for t in (249, 300, 498, 499, 500, 699):
        sample = returns[max(0, t - 499) : t + 1]
        assert var[t] == stats.historical_var(sample)
        assert es[t] == pytest.approx(stats.historical_es(sample), rel=1e-13)
    part = stats.rolling_var_es(returns, window=500, minimum=250, first=699)
    assert part[0][699] == var[699] and part[1][699] == es[699]


def test_gaussian_values_are_those_of_the_normal_law(seed):
    from scipy.stats import norm

    r = np.random.default_rng(seed).standard_normal(500) * 0.02 + 0.001
    m, s = r.mean(), r.std(ddof=1)
    assert stats.gaussian_var(r) == pytest.approx(-(m + s * norm.ppf(0.01)), rel=1e-12)
    assert stats.gaussian_es(r) == pytest.approx(-m + s * norm.pdf(norm.ppf(0.01)) / 0.01, rel=1e-12)


def test_cornish_fisher_without_skew_and_kurtosis_is_gaussian():
    # symmetric three-point law with kurtosis 3: +-sqrt(3) with probability 1/6 each, else 0
    r = np.array([math.sqrt(3), -math.sqrt(3), 0, 0, 0, 0] * 50) * 0.01
    found = stats.cornish_fisher(r)
    assert abs(found.skew) < 1e-12 and abs(found.excess_kurtosis) < 1e-12
    assert found.var == pytest.approx(stats.gaussian_var(r), rel=1e-12)
    assert found.es == pytest.approx(stats.gaussian_es(r), rel=1e-12)


def test_cornish_fisher_es_is_the_mean_beyond_its_own_var(seed):
    """Maillard's closed form against integrating the expansion over the tail."""
    from scipy.stats import norm

    r = np.random.default_rng(seed).standard_t(8, 4000) * 0.02
    r[r < 0] *= 1.1
    found = stats.cornish_fisher(r)
    assert found.valid
    z = norm.ppf((np.arange(400_000) + 0.5) / 400_000 * 0.01)
    s, k = found.skew, found.excess_kurtosis
    w = z + (z**2 - 1) * s / 6 + (z**3 - 3 * z) * k / 24 - (2 * z**3 - 5 * z) * s**2 / 36
    assert found.es == pytest.approx(-(r.mean() + r.std(ddof=1) * w.mean()), rel=1e-4)


def test_cornish_fisher_knows_where_it_fails(seed):
    wild = np.random.default_rng(seed).standard_normal(500) * 0.01
    wild[0] = -0.5
    assert not stats.cornish_fisher(wild).valid
    assert not stats.cornish_fisher(np.zeros(100)).valid


def test_student_shortfall_of_its_own_law(seed):
    """A t with nu = 4 + 6/K: with the kurtosis of nu=10 (K=1) the closed form is the law's own."""
    from scipy.stats import t as student

    r = student.ppf((np.arange(2_000_000) + 0.5) / 2_000_000, 10) * 0.02
    q = student.ppf(0.01, 10)
    exact = 0.02 * student.pdf(q, 10) / 0.01 * (10 + q * q) / 9
    assert stats.student_t_es(r) == pytest.approx(exact, rel=2e-3)
    assert stats.student_t_es(r) > stats.gaussian_es(r)
    assert stats.student_t_es(np.array([1.0, -1.0] * 30)) == stats.gaussian_es(np.array([1.0, -1.0] * 30))  # thin tails


# -- filtered and extreme -------------------------------------------------------------------------------------------


def test_ewma_variance_equals_the_loop(returns):
    assert np.allclose(stats.ewma_variance(returns), naive.ewma_variance(returns.tolist()), rtol=1e-13, equal_nan=True)


def test_filtered_var_is_the_quantile_of_filtered_returns_at_todays_volatility(returns):
    v = naive.ewma_variance(returns.tolist())
    z = returns[30:] / np.sqrt(v[29:-1])
    var, es = stats.filtered_var_es(returns)
    expected = naive.historical_var_es(z.tolist(), 0.01)
    assert (var, es) == pytest.approx(tuple(np.sqrt(v[-1]) * e for e in expected), rel=1e-12)


def test_filtered_var_rises_when_the_market_turns_wild(returns):
    calm, _ = stats.filtered_var_es(returns)
    wild, _ = stats.filtered_var_es(np.concatenate((returns, returns[:20] * 4)))
    assert wild > 1.5 * calm
    assert math.isnan(stats.filtered_var_es(returns[:30])[0])


def test_horizon_simulation_is_seeded_and_grows_with_the_horizon(returns):
    one = stats.simulate_horizon(returns, horizon_days=1, paths=20_000)
    ten = stats.simulate_horizon(returns, horizon_days=10)
    assert ten == stats.simulate_horizon(returns, horizon_days=10)
    assert one[0] == pytest.approx(stats.filtered_var_es(returns)[0], rel=0.15)
    assert 1.5 * one[0] < ten[0] < 1.0 and ten[1] > ten[0]


def test_extreme_value_fit_is_scipys_and_its_formulas_invert_the_tail(returns):
    from scipy.stats import genpareto

    tail = stats.fit_tail(returns)
    losses = -returns
    excess = losses[losses > tail.threshold] - tail.threshold
    shape, _, scale = genpareto.fit(excess, floc=0)
    assert (tail.shape, tail.scale) == pytest.approx((shape, scale), rel=0.02, abs=0.02)
    var = tail.var(alpha=0.01)
    share = tail.excesses / tail.periods * genpareto.sf(var - tail.threshold, tail.shape, 0, tail.scale)
    assert share == pytest.approx(0.01, rel=1e-9)
    u = np.linspace(0.001, 1, 200_001)[1:] * 0.01
    mean_beyond = np.mean([tail.var(alpha=a) for a in u[::200]])
    assert tail.es(alpha=0.01) == pytest.approx(mean_beyond, rel=0.03)


def test_extreme_value_fit_needs_a_tail():
    assert stats.fit_tail(np.zeros(500)) is None
    assert stats.fit_tail(np.linspace(-0.1, 0.1, 50)) is None
    assert stats.fit_tail(np.full(10, np.nan)) is None


def test_the_worlds_truth_is_the_t_laws():
    from scipy.stats import t as student

    world, scale = tail_world(1, 10), 0.03 * math.sqrt(3 / 5)
    assert world.var == pytest.approx(-student.ppf(0.01, 5) * scale, rel=1e-10)
    beyond = student.expect(lambda x: -x, args=(5,), ub=student.ppf(0.01, 5)) / 0.01
    assert world.es == pytest.approx(beyond * scale, rel=1e-6)


# -- tests of a VaR -------------------------------------------------------------------------------------------------

# Kupiec (1995), table of non-rejection regions at 95 %: alpha -> for T = 255, 510, 1000 (low < N < high)
KUPIEC_1995 = {
    0.01: [(-1, 7), (1, 11), (4, 17)], 0.025: [(2, 12), (6, 21), (15, 36)], 0.05: [(6, 21), (16, 36), (37, 65)],
    0.075: [(11, 28), (27, 51), (59, 92)], 0.1: [(16, 36), (38, 65), (81, 120)],
}


@pytest.mark.parametrize("alpha", KUPIEC_1995)
def test_kupiecs_published_regions(alpha):
    assert [stats.kupiec_region(t, alpha=alpha) for t in (255, 510, 1000)] == KUPIEC_1995[alpha]


def test_kupiec_is_the_likelihood_ratio():
    from scipy.stats import binom, chi2

    found = stats.kupiec(9, 255, alpha=0.01)
    ratio = 2 * (binom.logpmf(9, 255, 9 / 255) - binom.logpmf(9, 255, 0.01))
    assert found.statistic == pytest.approx(ratio, rel=1e-9)
    assert found.p_value == pytest.approx(chi2.sf(ratio, 1), rel=1e-9)
    assert found.rejected and not stats.kupiec(3, 255, alpha=0.01).rejected
    assert math.isnan(stats.kupiec(0, 0, alpha=0.01).p_value)


def test_christoffersen_rejects_clusters_and_keeps_scattered_misses(seed):
    scattered = np.random.default_rng(seed).random(2000) < 0.05
    clustered = np.zeros(2000, bool)
    clustered[200:250] = clustered[900:950] = True
    assert not stats.independence(scattered).rejected
    assert stats.independence(clustered).rejected
    assert stats.independence(np.zeros(100, bool)).p_value == 1.0


def test_christoffersen_is_the_likelihood_ratio_of_two_chains():
    missed = np.array([0, 0, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 1, 0], bool)
    counts = {(a, b): 0 for a in (0, 1) for b in (0, 1)}
    for a, b in pairwise(missed):
        counts[int(a), int(b)] += 1
    p = (counts[0, 1] + counts[1, 1]) / 15
    p0, p1 = counts[0, 1] / (counts[0, 0] + counts[0, 1]), counts[1, 1] / (counts[1, 0] + counts[1, 1])
    alone = (counts[0, 0] + counts[1, 0]) * math.log(1 - p) + (counts[0, 1] + counts[1, 1]) * math.log(p)
    chain = (counts[0, 0] * math.log(1 - p0) + counts[0, 1] * math.log(p0) + counts[1, 0] * math.log(1 - p1)
             + counts[1, 1] * math.log(p1))
    assert stats.independence(missed).statistic == pytest.approx(2 * (chain - alone), rel=1e-12)


def test_the_shelf_lists_what_it_exports():
    assert sorted(stats.__all__, key=str.lower) == sorted({n for n in stats.__all__ if hasattr(stats, n)}, key=str.lower)
    assert all(getattr(stats, n).__doc__ for n in stats.__all__ if callable(getattr(stats, n)))
