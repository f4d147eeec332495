"""Module B: trend against range, the volatility axis, labels, fits on schedule, absent sources, nothing from the future."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from analysis.fits import FitCache
from analysis.modules.volat_regime import METRICS, VOL_AXIS, VolatilityRegime, regime_states
from analysis.report import Regime, Status
from data.kernel import compile_all
from data.market import Market
from data.simulator import worlds
from tests.two_markets import view_of_both

MODULE = VolatilityRegime()
BARS = 3300
FITS = FitCache()


def made(path, seed=1, **options):
    return worlds.candles_of(path, seed=seed, **options)


@pytest.fixture(scope="module")
def candles():
    return made(np.cumsum(worlds.markov_volatility(4, BARS).series))


def view_of(spot, perp=None, **options):
    return view_of_both(MODULE, spot, perp, fits=options.pop("fits", FITS), **options)


def report_of(spot, perp=None, **options):
    return MODULE.score(view_of(spot, perp, **options))


def test_the_table_and_its_axes():
    assert len(METRICS) == 13 and math.isclose(sum(m.weight for m in METRICS), 1.0)
    assert math.isclose(sum(VOL_AXIS.values()), 1.0) and set(VOL_AXIS) <= {m.key for m in METRICS}


@pytest.mark.parametrize(("drift", "label"), [(0.5, "TREND_UP"), (-0.5, "TREND_DOWN")])
def test_a_drift_is_a_trend_with_its_side(drift, label):
    report = report_of(made(worlds.random_walk(3, BARS) + drift * np.arange(BARS)))
    assert report.score > 0.7 and report.label == label and report.value.label == label
    assert (report.shown["s_of_module_a"] > 0) == (drift > 0)


def test_a_mean_reverting_price_is_a_range():
    report = report_of(made(3.0 * worlds.autoregression(3, BARS, 0.9)))
    assert report.score < 0.3 and report.label == "RANGE" and report.raw < 0


def test_score_is_the_logistic_of_the_sum_of_contributions(candles):
    report = report_of(candles)
    total = math.fsum(p.contribution for p in report.parts if p.contribution is not None)
    assert abs(total - report.raw) < 1e-9
    assert abs(report.score - 1 / (1 + math.exp(-3.5 * report.raw))) < 1e-12
    assert isinstance(report.value, Regime) and abs(sum(report.value.probabilities.values()) - 1) < 1e-12
    assert "uncalibrated" in report.shown["calibration"]


def test_the_volatility_axis_is_its_recipe(candles):
    report = report_of(candles)
    v = math.fsum(weight * report.part(key).k for key, weight in VOL_AXIS.items())
    assert abs(report.shown["v"] - v) < 1e-12
    assert abs(report.shown["b_risk"] - 0.5 * (v + report.part("switching").value)) < 1e-12
    assert report.shown["vol_label"] in ("calm", "normal", "turbulent")


def test_without_two_regimes_the_risk_is_the_axis_alone():
    report = report_of(made(worlds.random_walk(6, BARS)))
    assert report.part("switching").status == "missing" and report.part("switching").note
    assert report.part("garch").status in ("fallback", "ok") and report.shown["b_risk"] == report.shown["v"]


def test_a_volatility_burst_is_turbulent_and_a_lull_is_calm():
    path = worlds.random_walk(8, BARS)
    for factor, label in ((5.0, "turbulent"), (0.2, "calm")):
        steps = np.diff(path, prepend=0.0)
        steps[-60:] *= factor
        assert report_of(made(np.cumsum(steps), wick_sd=0.0)).shown["vol_label"] == label


def test_absent_sources_are_named_and_cost_nothing(candles):
    report = report_of(candles)
    assert report.coverage == 1.0
    for key in ("vrp", "premium"):
        assert report.part(key).status == "missing" and "of XYZUSDT is stored" in report.part(key).note
        assert any(report.part(key).title in words for words in report.missing)


def test_two_bars_in_a_row_make_a_label_and_age_forgets_it():
    p = np.array([0.5, 0.6, 0.59, 0.7, 0.61, 0.5, 0.4, 0.5, 0.3, 0.2, np.nan, 0.61, 0.3, 0.5])
    states = regime_states(p, enter=0.6, leave=0.4, memory_bars=500)
    assert states.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1]
    assert regime_states(p, enter=0.6, leave=0.4, memory_bars=4).tolist() == [0, 0, 0, 0, 1, 1, 1, 0, 0, -1, -1, -1, 0, 0]
    for t in range(2, len(p)):
        assert regime_states(p[: t + 1], enter=0.6, leave=0.4, memory_bars=500)[-1] == states[t]


def test_one_fit_a_method_and_day(candles):
    class Counting(FitCache):
        fitted: tuple[str, ...] = ()

        def get(self, method, data, fit, **options):
            def counted(x):
                self.fitted = (*self.fitted, method)
                return fit(x)
            return super().get(method, data, counted, **options)

    cache = Counting()
    MODULE.score(view_of(candles, fits=cache))
    assert len(cache.fitted) == 2 and len(set(cache.fitted)) == 2
    MODULE.score(view_of(candles, fits=cache))
    assert len(cache.fitted) == 2


def test_a_row_of_the_timeline_is_the_score_of_that_moment(candles):
    line = MODULE.timeline(view_of(candles), 50)
    assert set(line.tracks) == {m.key for m in METRICS} and all(len(t.value) == 50 for t in line.tracks.values())
    for back in (1, 20, 49):
        report = report_of(candles, at_ms=int(candles.close_time[-1 - back]) + 1)
        assert abs(report.score - line.score[-1 - back]) < 1e-6 and report.label == MODULE.label(line, -1 - back)
        for m in METRICS:
            track, part = line.tracks[m.key], report.part(m.key)
            assert Status(int(track.status[-1 - back])).word == part.status, m.key
            if part.value is not None:
                assert abs(part.value - track.value[-1 - back]) <= 1e-6 * max(1.0, abs(part.value)), m.key
        for key in ("v", "pi", "b_risk"):
            assert abs(line.extra[key][-1 - back] - report.shown[key]) < 3e-3, key  # NATR's rank may swap two equal bars


def test_later_bars_change_nothing(candles):
    at = int(candles.close_time[-200]) + 1
    cut = candles.take(slice(0, BARS - 199))
    assert report_of(cut).document() == report_of(candles, at_ms=at).document()


@pytest.mark.parametrize("bars", [1, 60, 180])
def test_too_short_is_insufficient_and_says_how_many_bars_are_missing(bars):
    report = report_of(made(worlds.random_walk(3, bars)))
    assert report.score is None and report.label == "" and report.value.value is None and report.reason
    assert report.part("adx").note == f"needs {500 - bars} more bars without a gap"
    assert report.part("garch").status == "warmup" and "more bars" in report.part("garch").note


def test_before_the_fits_there_is_already_a_score():
    report = report_of(made(worlds.random_walk(3, 450)))
    assert report.score is not None and report.part("garch").status == "warmup" and report.part("vr").status == "ok"


def test_frozen_prices_are_degenerate_not_a_perfect_trend(candles):
    report = report_of(worlds.flattened(candles, slice(0, BARS)))
    assert report.score is None and {p.status for p in report.parts if p.weight} == {"degenerate"}
    assert report.part("garch").status == "degenerate" and report.shown["v"] is None


def test_a_hole_restarts_what_it_must(candles):
    report = report_of(worlds.with_gap(candles, BARS - 150, 3))
    assert report.part("vr").status == "warmup" and report.part("fdi").status == "ok" and report.part("garch").status == "warmup"


def test_threads_and_the_compiler_change_no_bit(candles):
    """Plain and compiled kernels, one thread or four, with or without kept fits: the same document."""
    first = json.dumps(report_of(candles, fits=FitCache()).document())
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: json.dumps(report_of(candles, fits=FitCache()).document()), range(8)))
    compile_all()
    assert found == {first} and json.dumps(report_of(candles, fits=FitCache()).document()) == first


def test_works_for_the_perpetual_alone(candles):
    report = MODULE.score(view_of_both(MODULE, None, candles, market=Market.PERP, fits=FITS))
    assert report.score is not None and report.market == "perp"


def test_range_estimators_and_ratios_are_shown(candles):
    shown = report_of(candles).shown
    for key in ("parkinson_per_year", "garman_klass_per_year", "rogers_satchell_per_year", "yang_zhang_per_year"):
        assert 0.05 < shown[key] < 5.0
    assert set(shown["variance_ratio"]) == {"2", "4", "8", "16"}
    assert shown["variance_ratio"]["8"]["z"] == report_of(candles).part("vr").value
    assert shown["garch_day_ahead_pct"] > 0 if shown["garch"] else "garch_day_ahead_pct" not in shown
