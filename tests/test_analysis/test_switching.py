"""The two-state volatility model: statsmodels' own numbers, the filter against a loop, rejections and the daily schedule."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.fits import FitCache
from analysis.methods import switching
from analysis.methods.switching import filter_probability, fit_switching, high_probability, regime_probability
from analysis.report import Status
from data.simulator import worlds
from tests import naive

TRUE = {"mu": 0.0, "sd_low": 0.5, "sd_high": 1.5, "stay_low": 0.99, "stay_high": 0.97}


@pytest.fixture(scope="module")
def candles():
    return worlds.candles_of(np.cumsum(worlds.markov_volatility(4, 1700).series))


def test_filter_equals_statsmodels_and_the_loop():
    from statsmodels.tsa.api import MarkovRegression

    r = worlds.markov_volatility(1, 1200).series
    model = MarkovRegression(r, 2, trend="c", switching_trend=False, switching_variance=True)
    params = np.array([0.99, 0.03, 0.01, 0.25, 2.25])  # p[0->0], p[1->0], const, sigma2[0], sigma2[1]
    theirs = np.asarray(model.filter(params).filtered_marginal_probabilities)[:, 1]
    ours = high_probability(r, TRUE | {"mu": 0.01})
    np.testing.assert_allclose(ours, theirs, atol=1e-9)
    np.testing.assert_allclose(ours, naive.hamilton(r, 0.01, (0.5, 1.5), (0.99, 0.97)), atol=1e-9)


@pytest.mark.parametrize("transformed", [True, False])
def test_likelihood_and_slope_are_statsmodels_own(transformed):
    from statsmodels.tsa.api import MarkovRegression

    stream = worlds.generator(11)
    for seed in range(6):
        r = worlds.markov_volatility(seed, 700).series
        theirs, ours = MarkovRegression(r, 2, trend="c", switching_trend=False, switching_variance=True), switching._model(r)
        held = np.array([stream.uniform(0.5, 0.999), stream.uniform(0.001, 0.5), stream.normal(0, 0.2), *stream.uniform(0.1, 4.0, 2)])
        params = held if transformed else theirs.untransform_params(held)
        np.testing.assert_allclose(ours.transform_params(theirs.untransform_params(held)), held, rtol=1e-12)
        assert abs(ours.loglike(params, transformed) - theirs.loglike(params, transformed)) < 1e-8
        np.testing.assert_allclose(ours.score(params, transformed), theirs.score(params, transformed), rtol=1e-7, atol=1e-7)


def test_a_fit_ends_where_statsmodels_ends():
    from statsmodels.tsa.api import MarkovRegression

    for seed in range(4):
        r = worlds.markov_volatility(seed, 1500).series
        scale = r.std()
        theirs = MarkovRegression(r / scale, 2, trend="c", switching_trend=False, switching_variance=True).fit(disp=False, maxiter=200)
        found, named = fit_switching(r), dict(zip(theirs.model.param_names, theirs.params, strict=True))
        sds = sorted(np.sqrt([named["sigma2[0]"], named["sigma2[1]"]]) * scale)
        np.testing.assert_allclose([found["sd_low"], found["sd_high"]], sds, rtol=1e-4)


def test_states_are_sorted_by_variance_and_the_unit_does_not_matter():
    r = worlds.markov_volatility(2, 1500).series
    fit, small = fit_switching(r), fit_switching(r * 1e-3)
    assert fit["reason"] == "" and fit["sd_low"] < fit["sd_high"]
    assert abs(small["sd_low"] * 1e3 - fit["sd_low"]) < 1e-3 and abs(small["stay_high"] - fit["stay_high"]) < 1e-3


def test_a_wild_bar_does_not_break_the_filter():
    r = np.concatenate([worlds.markov_volatility(2, 50).series, [400.0, 0.1]])
    path = high_probability(r, TRUE)
    assert np.isfinite(path).all() and path[50] > 0.999 and ((path >= 0) & (path <= 1)).all()


def test_compiled_filter_gives_the_bits_of_the_plain_loop():
    rng = worlds.generator(1)
    arguments = rng.random(400), rng.random(400), 0.99, 0.97, 0.25
    filter_probability.compile()
    assert filter_probability.plain(*arguments).tobytes() == filter_probability.compiled(*arguments).tobytes()
    passed = (*rng.random((2, 400)), 0.97, 0.05, *rng.standard_normal((4, 400)))
    switching.densities_and_slopes.compile()
    plain, compiled = switching.densities_and_slopes.plain(*passed), switching.densities_and_slopes.compiled(*passed)
    assert [a.tobytes() for a in plain] == [a.tobytes() for a in compiled]


@pytest.mark.parametrize(("returns", "words"), [
    (np.zeros(600), "all returns are equal"),
    (worlds.autoregression(2, 1500, 0.0), "one regime"),
])
def test_a_fit_without_two_regimes_says_so(returns, words):
    assert words in fit_switching(returns)["reason"]


def test_one_regime_is_missing_not_a_probability():
    found = regime_probability(worlds.candles_of(worlds.random_walk(3, 1600)), bars=2)
    assert np.isnan(found.probability).all() and set(found.status) <= {Status.MISSING} and found.note


def test_value_at_a_bar_does_not_depend_on_how_many_are_asked_nor_on_later_bars(candles):
    cache = FitCache()
    many = regime_probability(candles, bars=60, fits=cache)
    assert (many.status == Status.OK).all()
    for back in (0, 1, 30, 59):
        then = regime_probability(candles.take(slice(0, len(candles) - back)), bars=1, fits=cache)
        assert then.probability[-1] == many.probability[-1 - back]
    assert regime_probability(candles, bars=1, fits=FitCache()).probability[-1] == many.probability[-1]


def test_too_short_and_flat_have_their_status(candles):
    short = regime_probability(candles.take(slice(0, 200)), bars=1)
    assert short.status[-1] == Status.WARMUP and "more bars" in short.note
    flat = regime_probability(worlds.flattened(candles, slice(0, len(candles))), bars=1)
    assert flat.status[-1] == Status.DEGENERATE
