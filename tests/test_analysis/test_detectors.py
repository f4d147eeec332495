"""Tail probabilities, window statistics, Cauchy combination, alert rule, change points: each against a slow truth."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import scaling
from analysis.methods.alerts import alert_states, budget_level
from analysis.methods.cauchy import cauchy_p, cauchy_terms
from analysis.methods.chandelier import chandelier_stop
from analysis.methods.changepoints import changepoints
from analysis.methods.detectors import Inputs, detect
from analysis.methods.shifts import cumulative_deviation, mean_and_spread_shift, shape_change
from analysis.methods.stated_risk import stated_risk
from analysis.methods.tail_rank import tail_probability
from analysis.statistics import filtered_var_es, gaussian_var, historical_var, student_t_es
from tests import naive_stats as naive


@pytest.fixture
def returns(seed):
    return np.random.default_rng(seed).standard_t(4, 1500) * 0.01


# -- TP -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("last", [None, 1, 25, 400])
def test_tail_probability_is_scalings_tp(seed, last):
    rng = np.random.default_rng(seed)
    x = np.abs(rng.standard_t(3, 1600))
    x[:37] = x[700:850] = np.nan
    x[rng.random(1600) < 0.05] = 1.25  # ties
    x[1400] = np.inf
    mine = tail_probability(x, window=480, minimum=250, last=last)
    theirs = scaling.tp(x, window=480, minimum=250, last=last)
    assert np.allclose(mine, theirs, rtol=1e-13, atol=1e-15, equal_nan=True)
    assert np.isfinite(mine).sum() == np.isfinite(theirs).sum()


def test_tail_probability_of_nothing_and_of_constants():
    assert np.isnan(tail_probability(np.full(50, np.nan), window=20, minimum=5)).all()
    assert tail_probability(np.ones(50), window=20, minimum=5)[-1] == 0.5


# -- window statistics ----------------------------------------------------------------------------------------------


def test_shifts_equal_pandas(returns):
    s = pd.Series(returns)
    mean, spread = mean_and_spread_shift(returns)
    expected = (s.rolling(20).mean() - s.rolling(200).mean()).abs() / (s.rolling(200).std() / math.sqrt(20))
    log_ratio = np.log(s.rolling(20).std() / s.rolling(200).std())
    for found, truth in ((mean, expected), (spread, log_ratio.abs())):
        truth = truth.to_numpy(copy=True)
        truth[:199] = np.nan
        assert np.allclose(found, truth, rtol=1e-8, atol=1e-9, equal_nan=True)


def test_shape_change_equals_pandas(returns):
    s = pd.Series(returns)
    skew, kurt = shape_change(returns)
    assert np.allclose(skew[199:], s.rolling(100).skew().diff(100).abs()[199:], rtol=1e-6, atol=1e-8)
    assert np.allclose(kurt[199:], s.rolling(100).kurt().diff(100).abs()[199:], rtol=1e-6, atol=1e-7)
    assert np.isnan(skew[:199]).all()


def test_cumulative_deviation_uses_the_bars_before_the_day(returns):
    found = cumulative_deviation(returns)
    base, day = returns[1000 - 323 : 1000 - 23], returns[977:1001]
    expected = abs(day.sum() - 24 * base.mean()) / (base.std(ddof=1) * math.sqrt(24))
    assert found[1000] == pytest.approx(expected, rel=1e-12)
    assert np.isnan(found[:323]).all() and np.isfinite(found[323])


def test_a_frozen_price_has_no_shape_and_a_freezing_one_is_unusual():
    flat = np.zeros(600)
    for out in (*mean_and_spread_shift(flat), *shape_change(flat), cumulative_deviation(flat)):
        assert np.isnan(out).all()
    r = np.random.default_rng(1).standard_normal(600) * 0.01
    r[-20:] = 0.0
    assert mean_and_spread_shift(r)[1][-1] == pytest.approx(-math.log(1e-12))


def test_newest_rows_do_not_depend_on_how_many_are_asked(returns):
    inputs = Inputs(returns, np.log(np.abs(returns) + 1), np.arange(1500) == 0)
    whole = detect(inputs)
    for last in (1, 2, 25):
        part = detect(inputs, last=last)
        for key in whole.p:
            assert np.array_equal(part.p[key][-last:], whole.p[key][-last:], equal_nan=True), key
        assert np.array_equal(part.features[-last:], whole.features[-last:], equal_nan=True)


def test_a_bar_without_volume_is_judged_by_its_return_alone(returns):
    volume = np.random.default_rng(3).standard_normal(1500)
    volume[-1] = np.nan
    found = detect(Inputs(returns, volume, np.arange(1500) == 0), last=2)
    assert found.p["zscore"][-1] == found.single["z_return"][-1]
    both = min(found.single["z_return"][-2], found.single["z_volume"][-2])
    assert found.p["zscore"][-2] == min(1.0, 2 * both)


# -- Cauchy ---------------------------------------------------------------------------------------------------------


@given(st.floats(1e-14, 0.989))
@settings(max_examples=100, deadline=None)
def test_one_probability_combines_to_itself(p):
    assert cauchy_p(cauchy_terms(np.array([p])))[0] == pytest.approx(p, rel=1e-9)


def test_combination_of_independent_probabilities_is_uniform_in_the_tail(seed):
    p = np.random.default_rng(seed).random((200_000, 5))
    combined = cauchy_p(cauchy_terms(p).mean(axis=1))
    assert (combined < 0.01).mean() == pytest.approx(0.01, rel=0.1)


def test_terms_are_the_tangent_and_a_quiet_detector_cannot_veto():
    assert cauchy_terms(np.array([0.2]))[0] == pytest.approx(math.tan(0.3 * math.pi), rel=1e-12)
    assert cauchy_terms(np.array([1.0]))[0] == cauchy_terms(np.array([0.99]))[0] > -32
    assert np.isnan(cauchy_terms(np.array([np.nan]))[0])


# -- alerts ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from([0.0, 0.1, 0.29, 0.3, 0.4, 0.6, 0.9, float("nan")]), min_size=1, max_size=90))
@settings(max_examples=120, deadline=None)
def test_alert_states_equal_looking_back_from_every_bar(score):
    found = alert_states(np.array(score))
    assert np.array_equal(found, naive.alert_states(score))
    assert np.array_equal(alert_states(np.array(score[-25:]))[-1:], found[-1:])  # 24 bars of past decide


def test_an_alert_ends_after_six_quiet_bars_or_when_it_is_not_renewed():
    score = np.array([0.7] + [0.1] * 5 + [0.5] + [0.1] * 8)
    assert np.flatnonzero(alert_states(score)).tolist() == list(range(12))
    assert alert_states(np.array([0.7] + [0.4] * 40)).sum() == 25


@given(st.lists(st.sampled_from([0.0, 0.2, 0.35, 0.61, 0.7, 0.8, 0.95]), min_size=5, max_size=120), st.integers(1, 3))
@settings(max_examples=120, deadline=None)
def test_budget_level_is_the_lowest_that_keeps_the_budget(score, allowed):
    level = budget_level(np.array(score), allowed=allowed)
    assert 0.6 <= level <= 1.0
    assert naive.budget_alerts(score, level) <= allowed
    if level > 0.6:
        assert naive.budget_alerts(score, level - 0.0011) > allowed


# -- the rest -------------------------------------------------------------------------------------------------------


def test_changepoints_finds_a_planted_change_in_hindsight(seed):
    rng = np.random.default_rng(seed)
    x = np.concatenate((rng.standard_normal(300), 3 * rng.standard_normal(200)))
    x[10] = np.nan
    found = changepoints(x)
    assert len(found) == 1 and abs(found[0] - 300) <= 8
    assert changepoints(np.zeros(200)) == [] and changepoints(x[:30]) == []


def test_chandelier_never_falls_within_its_window():
    high, atr = np.array([10.0, 12, 11, 9, 8]), np.ones(5)
    assert chandelier_stop(high, atr, np.full(5, 2.0), bars=5) == 10.0
    assert chandelier_stop(high, atr, np.full(5, 2.0), bars=2) == 9.0  # of the last two bars, each over its own two
    assert math.isnan(chandelier_stop(high, np.full(5, np.nan), np.ones(5), bars=3))


def test_stated_risk_is_the_larger_of_two_and_falls_back_when_young(returns):
    r = returns[:800]
    stated = stated_risk(r)
    for t in (600, 799):
        sample = r[t - 499 : t + 1]
        filtered = filtered_var_es(r[: t + 1])  # all volatility, but the newest 500 shapes
        assert stated.historical_var[t] == historical_var(sample)
        assert stated.var[t] == max(stated.historical_var[t], stated.filtered_var[t])
        assert stated.filtered_var[t] == pytest.approx(filtered[0], rel=0.35)
    assert stated.fallback[[59, 248]].all() and not stated.fallback[249] and np.isnan(stated.var[58])
    assert stated.var[100] == gaussian_var(r[:101]) and stated.es[100] == student_t_es(r[:101])
    tail = stated_risk(r, first=790)
    assert np.array_equal(tail.var[790:], stated.var[790:]) and np.array_equal(tail.es[790:], stated.es[790:])
