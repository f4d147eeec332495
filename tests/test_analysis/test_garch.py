"""GARCH: arch's own numbers, the filter against a loop, rejections, the daily schedule, and what it does with bad data."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.fits import FitCache
from analysis.methods.garch import filter_variance, fit_garch, garch_volatility, horizon_sigma, sigma_path
from analysis.methods.schedule import FIT_MINIMUM, FIT_RETURNS, fit_days
from analysis.report import Status
from data.frames import Candles
from data.market import DAY_MS
from data.simulator import worlds
from tests import naive


def garch_candles(seed: int, n: int) -> Candles:
    return worlds.candles_of(np.cumsum(worlds.garch_t(seed, n).series), bar_sd=0.01)


@pytest.fixture(scope="module")
def candles():
    return garch_candles(3, 2200)


class CountingCache(FitCache):
    def __init__(self):
        super().__init__()
        self.fitted = 0

    def get(self, method, data, fit, **options):
        def counted(x):
            self.fitted += 1
            return fit(x)
        return super().get(method, data, counted, **options)


def test_parameters_and_path_are_archs_and_do_not_depend_on_the_unit():
    from arch import arch_model

    r = worlds.garch_t(5, 1500).series
    theirs = arch_model(r, mean="Zero", vol="GARCH", p=1, q=1, dist="t", rescale=False).fit(disp="off")
    ours = fit_garch(r)
    assert ours["reason"] == ""
    assert abs(ours["alpha"] - theirs.params["alpha[1]"]) < 5e-3 and abs(ours["beta"] - theirs.params["beta[1]"]) < 5e-3
    small = fit_garch(r * 1e-3)
    assert abs(small["alpha"] - ours["alpha"]) < 1e-4 and abs(small["omega"] * 1e6 - ours["omega"]) < 1e-3
    omega, alpha, beta = (theirs.params[k] for k in ("omega", "alpha[1]", "beta[1]"))
    np.testing.assert_allclose(sigma_path(r, omega, alpha, beta)[:-1], theirs.conditional_volatility[1:], rtol=1e-9)
    ahead = theirs.forecast(horizon=5).variance.to_numpy()[-1]
    known = {"omega": omega, "alpha": alpha, "beta": beta}
    sigma = sigma_path(r, omega, alpha, beta)[-1]
    assert abs(sigma**2 - ahead[0]) < 1e-9 * ahead[0]
    assert abs(horizon_sigma(sigma, known, 5) ** 2 - ahead.sum()) < 1e-9 * ahead.sum()


def test_filter_against_the_loop_and_compiled_bits():
    r = worlds.garch_t(1, 300).series
    truth = naive.garch_path(r, 0.02, 0.08, 0.9, 1.3)
    np.testing.assert_allclose(filter_variance.plain(r * r, 0.02, 0.08, 0.9, 1.3), truth, rtol=1e-12)
    filter_variance.compile()
    assert filter_variance.compiled(r * r, 0.02, 0.08, 0.9, 1.3).tobytes() == filter_variance.plain(r * r, 0.02, 0.08, 0.9,
                                                                                                   1.3).tobytes()


@pytest.mark.parametrize(("returns", "words"), [
    (np.zeros(600), "all returns are equal"),
    (worlds.autoregression(2, 800, 0.0), "bound"),
])
def test_a_fit_that_means_nothing_is_rejected_with_its_reason(returns, words):
    assert words in fit_garch(returns)["reason"]


def test_rejected_fit_falls_back_to_ewma_and_says_so():
    candles = worlds.candles_of(worlds.random_walk(2, 1700))
    found = garch_volatility(candles, bars=3)
    assert (found.status == Status.FALLBACK).all() and "EWMA 0.94 stands in" in found.note and found.parameters == {}
    r = 100 * np.diff(np.log(candles.close))
    assert abs(found.sigma[-1] ** 2 - naive.ewma_variance(r, 0.94)) < 1e-9


def test_one_fit_a_day_and_the_value_at_a_bar_does_not_depend_on_how_many_are_asked(candles):
    cache = CountingCache()
    one = garch_volatility(candles, bars=1, fits=cache)
    assert cache.fitted == 1 and one.status[-1] == Status.OK
    many = garch_volatility(candles, bars=100, fits=cache)
    assert cache.fitted == len(list(fit_days(candles, 100))) and 5 <= cache.fitted <= 6
    assert many.sigma[-1] == one.sigma[-1] and many.rank[-1] == one.rank[-1]
    for back in (1, 24, 77):
        cut = candles.take(slice(0, len(candles) - back))
        then = garch_volatility(cut, bars=1, fits=cache)
        assert then.sigma[-1] == many.sigma[-1 - back] and then.rank[-1] == many.rank[-1 - back]
    assert cache.fitted <= 6  # the cut histories asked for the same windows


def test_a_fit_day_sees_only_bars_closed_before_midnight(candles):
    for day in fit_days(candles, 60):
        midnight = (int(candles.close_time[day.rows.start]) + 1) // DAY_MS * DAY_MS
        assert candles.close_time[day.window.stop - 1] < midnight and day.window.stop - day.window.start == FIT_RETURNS
        assert candles.close_time[day.window.stop] >= midnight or day.window.stop == day.rows.stop
        assert day.path.stop == day.rows.stop and day.missing == 0
    covered = [row for day in fit_days(candles, 60) for row in range(day.rows.start, day.rows.stop)]
    assert covered == list(range(len(candles) - 60, len(candles)))


def test_too_short_says_how_many_bars_are_missing():
    found = garch_volatility(garch_candles(1, 300), bars=1)
    assert found.status[-1] == Status.WARMUP and np.isnan(found.sigma[-1])
    held = next(iter(fit_days(garch_candles(1, 300), 1)))
    assert f"needs {FIT_MINIMUM - (held.window.stop - held.window.start)} more bars" in found.note


def test_a_hole_starts_the_history_again(candles):
    holed = worlds.with_gap(candles, 2000, 5)
    assert garch_volatility(holed, bars=1).status[-1] == Status.WARMUP


def test_flat_prices_are_degenerate(candles):
    flat = garch_volatility(worlds.flattened(candles, slice(0, len(candles))), bars=2)
    assert (flat.status == Status.DEGENERATE).all() and np.isnan(flat.rank).all()


def test_no_candles_is_an_empty_answer(candles):
    assert len(garch_volatility(candles.take(slice(0, 0)), bars=5).sigma) == 0
