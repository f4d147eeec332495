"""Module J: what adds up, what is named, when an alert begins and ends, and that nothing depends on who asks."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from analysis.fits import FitCache
from analysis.methods.cauchy import cauchy_p
from analysis.methods.detectors import Inputs, detect, features_of
from analysis.modules.regime_anomal import RegimeAnomaly, forest_anchor, inputs_of
from analysis.report import Intensity
from data.clock import iso, parse_time
from data.frames import Candles
from data.market import DAY_MS, HOUR_MS, Interval
from data.simulator.shocks import START_MS, garch_world
from tests.memory_reader import view_of

MODULE = RegimeAnomaly()
FITS = FitCache()
BARS = 3700


@pytest.fixture(scope="module")
def world():
    return garch_world(2, BARS, jumps=2, first_jump=BARS - 120)


@pytest.fixture(scope="module")
def candles(world):
    return world.candles()


def at_row(candles, row, fits=FITS):
    return view_of(MODULE, candles, at_ms=int(candles.close_time[row]) + 1, fits=fits)


def test_contributions_are_terms_of_t_and_link_to_the_score(candles, world):
    for row in (BARS - 1, int(world.jump_rows[0])):
        report = MODULE.score(at_row(candles, row))
        assert math.fsum(p.contribution for p in report.parts) == pytest.approx(report.raw, abs=1e-9 * max(1, abs(report.raw)))
        p = float(cauchy_p(np.array(report.raw)))
        assert report.score == pytest.approx(min(1, max(0, (-math.log10(p) - 1) / 3)), abs=1e-12)
        assert report.shown["combined_p"] == pytest.approx(p) and report.link == "cauchy"
        terms = {m.name: m.weight * math.tan((0.5 - min(m.k, 0.99)) * math.pi) for m in report.parts if m.k > 1e-6}
        assert all(report.part(k).contribution == pytest.approx(t / report.coverage, rel=1e-6) for k, t in terms.items())
        assert isinstance(report.value, Intensity) and report.coverage == pytest.approx(1.0)


def test_a_planted_jump_alerts_at_once_and_the_bar_before_does_not(candles, world):
    row = int(world.jump_rows[0])
    before, at = MODULE.score(at_row(candles, row - 1)), MODULE.score(at_row(candles, row))
    assert before.score < 0.6 and before.label != "alert"
    assert at.score >= 0.6 and at.label == "alert"
    assert at.part("zscore").k < 1e-4 and at.shown["z_return_sd"] > 5 and at.shown["z_volume_sd"] > 4


def test_the_label_is_the_same_whoever_asks(candles, world):
    row = int(world.jump_rows[-1])
    line = MODULE.timeline(at_row(candles, row + 10), 200)
    for back in range(14):
        report = MODULE.score(at_row(candles, row + 10 - back))
        assert (report.label == "alert") == bool(line.extra["alert"][-1 - back])
        assert report.score == pytest.approx(line.score[-1 - back], abs=1e-6)


def test_the_on_level_is_the_same_for_every_bar_of_a_day_and_knows_only_the_days_before(candles, world):
    line = MODULE.timeline(at_row(candles, BARS - 1), 150)
    level, day = line.extra["alert_on_level"], line.close_time // DAY_MS
    assert all(len(set(level[day == d])) == 1 for d in np.unique(day)) and level.min() >= 0.6


def test_many_past_alerts_raise_the_on_level():
    noisy = garch_world(2, BARS, jumps=60, first_jump=1600)
    report = MODULE.score(view_of(MODULE, noisy.candles(), fits=FitCache()))
    assert 0.6 < report.shown["alert_on_level"] <= 1.0


def test_same_view_same_bits_and_a_cached_fit_changes_nothing(candles, tmp_path):
    cold = MODULE.score(at_row(candles, BARS - 1, FitCache(tmp_path)))
    from_disk = MODULE.score(at_row(candles, BARS - 1, FitCache(tmp_path)))
    alone = MODULE.score(replace(at_row(candles, BARS - 1), fits=None))
    assert json.dumps(cold.document()) == json.dumps(from_disk.document()) == json.dumps(alone.document())


def test_a_forest_serves_its_week_and_is_fitted_on_the_bars_before(candles):
    close = parse_time("2024-03-04T00:00:00Z") - 1  # Sunday's last bar, known at Monday 00:00
    anchors = forest_anchor(np.array([close, close + HOUR_MS]), Interval.H1)
    assert [iso(int(a)) for a in anchors] == ["2024-02-26T00:00:00Z", "2024-03-04T00:00:00Z"]
    assert iso(int(forest_anchor(np.array([close + HOUR_MS]), Interval.M1)[0])) == "2024-03-04T00:00:00Z"
    fits = CountingFits()
    for row in range(BARS - 40, BARS, 13):
        MODULE.score(at_row(candles, row, fits))
    assert fits.fitted.count("isolation-forest/1") <= 2 and fits.fitted.count("anomaly-budget/1") <= 4


class CountingFits(FitCache):
    def __init__(self):
        super().__init__()
        self.fitted = []

    def get(self, method, data, fit, **options):
        return super().get(method, data, lambda x: self.fitted.append(method) or fit(x), **options)


# -- what is missing ------------------------------------------------------------------------------------------------


def test_open_interest_and_funding_are_named_as_absent(candles):
    report = MODULE.score(at_row(candles, BARS - 1))
    assert any("open interest" in m for m in report.missing) and any("funding" in m for m in report.missing)
    assert report.shown["forest_left_out"] == ["abs_z_open_interest", "abs_z_funding"]


@pytest.mark.parametrize("bars", [1, 30, 500, 700])
def test_short_history_counts_the_bars_that_are_lacking(candles, bars):
    report = MODULE.score(view_of(MODULE, candles.tail(bars), fits=FITS))
    assert report.score is None and report.status == "insufficient" and report.label == ""
    for m in MODULE.metrics:
        part = report.part(m.key)
        if bars < m.warmup_bars:
            assert part.status == "warmup" and part.note == f"needs {m.warmup_bars - bars} more bars"
    json.dumps(report.document(), allow_nan=False)


def test_without_the_forest_the_rest_carries_the_score(candles):
    report = MODULE.score(view_of(MODULE, candles.tail(1200), fits=FITS))
    assert report.part("iforest").status == "warmup" and report.score is not None
    assert report.coverage == pytest.approx(0.8)


def test_a_gap_in_the_middle_is_survived_and_one_just_now_is_said(candles):
    middle = np.r_[0:2000, 2003:BARS]
    report = MODULE.score(view_of(MODULE, candles.take(middle), fits=FITS))
    assert report.score is not None and report.coverage == pytest.approx(1.0)
    fresh = np.r_[0 : BARS - 40, BARS - 39 : BARS]
    report = MODULE.score(view_of(MODULE, candles.take(fresh), fits=FITS))
    assert report.score is None and "a gap 39 bars ago" in report.part("cum_dev").note


def test_a_confirmed_halt_is_no_gap(candles):
    kept = candles.take(np.r_[0 : BARS - 40, BARS - 37 : BARS])
    halt = ((int(candles.open_time[BARS - 40]), int(candles.open_time[BARS - 38])),)
    assert MODULE.score(view_of(MODULE, replace(kept, halts=halt), fits=FITS)).coverage == pytest.approx(1.0)


def test_no_volume_at_all_leaves_the_returns_to_speak(candles):
    silent = replace(candles, volume=np.zeros(BARS))
    report = MODULE.score(view_of(MODULE, silent, fits=FITS))
    assert report.score is not None and report.coverage == pytest.approx(1.0)
    assert report.shown["p_of_inputs"]["z_volume"] is None
    assert report.shown["forest_columns"] == ["abs_z_return", "cum_dev"] and "abs_z_volume" in report.shown["forest_left_out"]
    assert report.part("zscore").k == report.shown["p_of_inputs"]["z_return"]


def test_a_frozen_price_is_degenerate_not_calm():
    n, flat = 3700, np.full(3700, 5.0)
    columns = {"open_time": START_MS + np.arange(n) * HOUR_MS, "open": flat, "high": flat, "low": flat, "close": flat}
    report = MODULE.score(view_of(MODULE, Candles.from_columns(Interval.H1, columns | {"volume": np.ones(n)}), fits=FITS))
    assert report.score is None and {p.status for p in report.parts} == {"degenerate"}
    assert "has not moved" in report.reason


def test_a_price_that_freezes_after_a_living_market_is_an_anomaly(candles):
    rows = np.arange(BARS)
    kept = np.minimum(rows, BARS - 26)
    frozen = {name: getattr(candles, name)[kept] for name in ("open", "high", "low", "close")}
    frozen = Candles.from_columns(Interval.H1, frozen | {"open_time": candles.open_time, "volume": candles.volume})
    assert MODULE.score(view_of(MODULE, frozen, fits=FITS)).score >= 0.6


def test_inputs_know_no_logarithm_of_nothing(candles):
    silent = replace(candles, volume=np.where(np.arange(BARS) % 7, candles.volume, 0.0))
    inputs = inputs_of(silent)
    assert np.isnan(inputs.log_volume[::7]).all() and np.isfinite(inputs.log_volume[1:7]).all()


@pytest.mark.parametrize("interval", [Interval.M5, Interval.M15, Interval.H4, Interval.D1])
def test_other_intervals_have_their_forest_too(interval):
    short = garch_world(4, 3650).candles(interval=interval)
    report = MODULE.score(view_of(MODULE, short, fits=FitCache()))
    assert report.part("iforest").status == "ok" and report.score is not None


def test_open_interest_and_funding_join_the_first_detector():
    """A jump of open interest alone, in an ordinary bar, is seen; taken away, the bar is ordinary again."""
    stream = np.random.default_rng(21)
    bars = 2600
    r, volume = stream.normal(0, 0.01, bars), stream.normal(5, 0.3, bars)
    interest, funding = stream.normal(0, 0.004, bars), np.where(np.arange(bars) % 8 == 0, stream.normal(1e-4, 5e-5, bars), np.nan)
    interest[-1] = 0.08
    restart = np.arange(bars) == 0
    with_both = detect(Inputs(r, volume, restart, interest, funding), last=3)
    without = detect(Inputs(r, volume, restart), last=3)
    assert with_both.single["z_open_interest"][-1] < 1e-4 and with_both.p["zscore"][-1] < 5e-4
    assert without.p["zscore"][-1] > 0.05 and np.isnan(without.single["z_open_interest"]).all()
    row = (bars - 1) // 8 * 8
    assert np.isfinite(detect(Inputs(r, volume, restart, interest, funding), last=20).single["z_funding"][row])
    assert np.isfinite(features_of(Inputs(r, volume, restart, interest, funding))[-1]).all()


def test_a_slice_of_the_inputs_is_the_series_alone():
    stream = np.random.default_rng(22)
    x = stream.normal(0, 1, (4, 300))
    inputs = Inputs(x[0], x[1], np.arange(300) == 0, x[2], x[3])
    again = Inputs.of(inputs.slice(100, 200).stacked())
    assert np.array_equal(again.interest_change, x[2][100:200]) and np.isnan(again.log_return[0])
