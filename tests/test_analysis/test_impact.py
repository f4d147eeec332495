"""Regressions on flow against statsmodels, by hand, and on bad input; pressure measures by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import linregress

from analysis.methods.impact import impact_of, trailing_slope
from analysis.methods.order_flow import (
    aggression,
    balance,
    latency_adjusted_flow,
    net_share,
    regular,
    stands_still,
    surprise,
    weighted_median,
    windows_at,
    z0_at,
)
from analysis.scaling import z0
from data.observations import COLUMNS_OF, Kind, Observations


@pytest.mark.parametrize("seed", range(4))
def test_slope_t_and_r2_are_those_of_statsmodels_with_newey_west_errors(seed):
    import statsmodels.api as sm

    stream = np.random.default_rng(seed)
    x = stream.standard_t(4, 300)
    noise = np.convolve(stream.standard_normal(304), np.ones(5) / 5, mode="valid")
    y = 0.3 * x + noise * (1 + np.abs(x))
    fit = sm.OLS(y, sm.add_constant(x)).fit(cov_type="HAC", cov_kwds={"maxlags": 5})
    found = impact_of(x, y)
    assert (found.slope, found.t, found.r2) == pytest.approx((fit.params[1], fit.tvalues[1], fit.rsquared), rel=1e-9)


def test_windows_are_regressed_row_by_row():
    stream = np.random.default_rng(9)
    x, y = stream.standard_normal((2, 3, 50))
    together = impact_of(x, y)
    for i in range(3):
        assert impact_of(x[i], y[i]) == tuple(column[i] for column in together)


def test_flow_that_does_not_vary_and_unknown_values_give_nothing():
    still = impact_of(np.zeros(40), np.arange(40.0))
    assert np.isnan(still.slope) and np.isnan(still.t)
    assert np.isnan(impact_of(np.r_[np.nan, np.ones(39)], np.arange(40.0)).slope)


def test_the_trailing_slope_is_that_of_each_window():
    stream = np.random.default_rng(2)
    x, y = stream.standard_normal((2, 80))
    found = trailing_slope(x, y, 30)
    assert np.isnan(found[:29]).all()
    for t in (29, 55, 79):
        assert found[t] == pytest.approx(linregress(x[t - 29 : t + 1], y[t - 29 : t + 1]).slope)


# -- order_flow.py ----------------------------------------------------------------------------------------------------


def test_shares_and_balances_by_hand():
    buy, sell = np.array([1.0, 2.0, 0.0, 0.0, np.nan]), np.array([1.0, 0.0, 0.0, 0.0, 1.0])
    assert net_share(buy, sell, 2)[1:3].tolist() == [0.5, 1.0]
    assert np.isnan(net_share(buy, sell, 2)[[0, 3, 4]]).all()  # too short, nothing traded, unknown
    assert balance(np.array([3.0, 0.0]), np.array([1.0, 0.0]))[0] == 0.5 and np.isnan(balance(np.zeros(1), np.zeros(1)))[0]


def test_aggression_by_hand():
    level, signed = aggression(np.array([6.0]), np.array([2.0]), np.array([10.0]), np.array([10.0]))
    assert (level[0], signed[0]) == pytest.approx((0.4, 0.5))  # .6 against .2
    thin_ask = aggression(np.array([2.0]), np.array([2.0]), np.array([10.0]), np.array([5.0]))[1]
    assert thin_ask[0] == pytest.approx(1 / 3)  # the same buys meet half the depth


@pytest.mark.parametrize("minimum", [20, 100])
def test_z0_at_places_equals_z0_of_the_whole(minimum):
    stream = np.random.default_rng(4)
    x = stream.standard_normal(700)
    x[:30] = np.nan
    x[300:420] = np.nan
    x[600:] = 0.0
    whole, ends = z0(x, window=150, minimum=minimum), np.arange(0, 700, 7)
    assert np.array_equal(z0_at(x, ends, window=150, minimum=minimum), whole[ends], equal_nan=True) or np.allclose(
        z0_at(x, ends, window=150, minimum=minimum), whole[ends], atol=1e-12, equal_nan=True)
    assert np.isfinite(whole[ends]).any() and np.isnan(z0_at(np.full(200, np.nan), np.array([150]), window=100))[0]


def test_latencies_of_a_window_are_measured_against_its_least():
    # two seconds: trades (latency, signed size): (10, +2), (260, -1) and (110, +4); least of the window is 10
    flow = np.array([[2.0 - np.exp(-1.0), 4.0, 0.0]])
    least = np.array([[10.0, 110.0, np.nan]])
    found = latency_adjusted_flow(flow, least, np.array([[2.0, 4.0, 0.0]]), np.array([[1.0, 0.0, 0.0]]))
    assert found[0] == pytest.approx((2.0 - np.exp(-1.0) + 4.0 * np.exp(-0.4)) / 7.0)
    assert np.isnan(latency_adjusted_flow(np.zeros((1, 3)), np.full((1, 3), np.nan), np.zeros((1, 3)), np.zeros((1, 3))))[0]


def test_the_surprise_is_the_textbook_exponential_z():
    x = np.random.default_rng(6).standard_normal(400)
    weight = 0.5 ** (np.arange(398, -1, -1) / 60.0)
    mean = np.average(x[:-1], weights=weight)
    sd = np.sqrt(np.average((x[:-1] - mean) ** 2, weights=weight))
    assert surprise(x, 60.0) == pytest.approx((x[-1] - mean) / sd) and np.isnan(surprise(np.zeros(50), 60.0))


def test_the_weighted_median_is_that_of_repeated_values():
    values, weights = np.array([[5.0, 1.0, np.nan, 3.0]]), np.array([[1.0, 2.0, 9.0, 4.0]])
    assert weighted_median(values, weights)[0] == np.median([1, 1, 3, 3, 3, 3, 5])
    assert np.isnan(weighted_median(np.array([[1.0, 2.0]]), np.zeros((1, 2))))[0]


def test_the_grid_spans_time_and_keeps_the_first_of_a_moment():
    event = np.array([0, 60_000, 240_000, 60_000])
    rows = Observations(Kind.BOOK_TICKER, event, np.array([1, 2, 3, 4]),
                        {name: np.array([1.0, 2.0, 3.0, 9.0]) for name in COLUMNS_OF[Kind.BOOK_TICKER]})
    place, grid = regular(rows, 60_000)
    assert place.tolist() == [0, 1, 4, 1]
    assert np.array_equal(grid["bid"], [1.0, 2.0, np.nan, np.nan, 3.0], equal_nan=True)
    assert np.array_equal(windows_at(grid["bid"], np.array([1, 4]), 3), [[np.nan, 1, 2], [np.nan, np.nan, 3]], equal_nan=True)
    assert stands_still(np.array([1.0, 1.0, 1.0, 2.0]), 2).tolist() == [False, True, True, False]
