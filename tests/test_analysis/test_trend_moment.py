"""Module A: direction, arithmetic, one market or two, young, frozen and late data, and nothing from the future."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.module import Causality
from analysis.modules.trend_moment import FAST, LABELS, METRICS, SLOW, TrendMomentum, labels, tracks_of
from analysis.report import Direction
from data.market import HOUR_MS, Market
from data.simulator import worlds
from tests.two_markets import view_of_both

MODULE = TrendMomentum()
BARS = 2600


def walk(seed: int, n: int = BARS, drift: float = 0.0):
    return worlds.candles_of(worlds.random_walk(seed, n) + drift * np.arange(n), seed=seed)


@pytest.fixture(scope="module")
def spot():
    return walk(1)


@pytest.fixture(scope="module")
def perp():
    return walk(2)


def report_of(spot, perp=None, **options):
    return MODULE.score(view_of_both(MODULE, spot, perp, **options))


def test_the_table_has_thirteen_metrics_in_two_halves():
    assert len(METRICS) == 13 and math.isclose(sum(m.weight for m in METRICS), 1.0)
    assert sorted((*SLOW, *FAST)) == sorted(m.key for m in METRICS if m.weight > 0)


@pytest.mark.parametrize(("drift", "low", "high"), [(0.6, 0.7, 1.0), (-0.6, 0.0, 0.3)])
def test_a_strong_drift_is_seen_in_its_direction(drift, low, high):
    report = report_of(walk(5, drift=drift))
    assert low <= report.score <= high and report.coverage == 1.0
    assert ("bull" in report.label) == (drift > 0)
    assert (report.shown["slow"] > 0) == (report.shown["fast"] > 0) == (drift > 0)


def test_every_metric_turns_its_sign_when_the_price_path_is_mirrored():
    """ln C -> -ln C: what is bullish becomes equally bearish, up to the small asymmetry of ranges and prices."""
    path = worlds.random_walk(9, BARS)
    up, down = (worlds.candles_of(p, wick_sd=0.0) for p in (path, -path))
    ours, mirrored = tracks_of(up, 300), tracks_of(down, 300)
    for m in METRICS:
        if m.weight:
            assert np.corrcoef(ours[m.key].k, mirrored[m.key].k)[0, 1] < -0.97, m.key


def test_score_is_the_link_of_the_sum_of_contributions(spot, perp):
    report = report_of(spot, perp)
    total = math.fsum(p.contribution for p in report.parts if p.contribution is not None)
    assert abs(total - report.raw) < 1e-9 and abs(report.score - (0.5 + 0.5 * report.raw)) < 1e-12
    assert isinstance(report.value, Direction) and report.value.value == report.raw
    pull = math.fsum(abs(p.contribution) for p in report.parts if p.contribution is not None)
    assert abs(report.agreement - abs(report.raw) / pull) < 1e-9
    assert abs(report.confidence - report.coverage * (0.5 + 0.5 * report.agreement) * report.shown["q"]) < 1e-12


def test_two_markets_are_averaged_and_their_distance_lowers_confidence(spot, perp):
    both, one, other = report_of(spot, perp), report_of(spot), report_of(None, perp, market=Market.PERP)
    assert abs(both.raw - (one.raw + other.raw) / 2) < 1e-12
    assert both.shown["s_spot"] == one.raw and both.shown["s_perp"] == other.raw
    assert abs(both.shown["q"] - (1 - abs(one.raw - other.raw) / 2)) < 1e-12 and one.shown["q"] == 1.0
    assert both.missing == ()
    seen_from_perp = report_of(spot, perp, market=Market.PERP)
    assert abs(seen_from_perp.raw - both.raw) < 1e-12 and seen_from_perp.part("rsi").value == other.part("rsi").value


def test_one_market_only_names_the_other(spot):
    report = report_of(spot)
    assert report.score is not None and any("perp candles" in words for words in report.missing)


def test_a_young_perpetual_is_named_and_left_out(spot, perp):
    report = report_of(spot, perp.tail(150))
    assert report.raw == report_of(spot).raw
    assert any(words.startswith("perp candles: only") for words in report.missing)


def test_a_late_perpetual_fades_out(spot, perp):
    on_time, late = report_of(spot, perp), report_of(spot, perp.take(slice(0, BARS - 2)))
    assert on_time.coverage == 1.0 and 0.65 < late.coverage < 1.0
    gone = report_of(spot, perp.take(slice(0, BARS - 10)))
    assert gone.raw == report_of(spot).raw and any("perp" in words for words in gone.missing)


@pytest.mark.parametrize("bars", [1, 40, 150, 199])
def test_too_short_is_insufficient_and_says_how_many_bars_are_missing(bars):
    report = report_of(walk(3, bars))
    assert report.score is None and report.status == "insufficient" and report.value.value is None
    kalman = report.part("kalman")
    assert kalman.status == "warmup" and kalman.note == f"needs {500 - bars} more bars without a gap"
    assert report.part("ema_trend").note == f"needs {299 - bars} more bars without a gap"
    assert all(p.contribution is None for p in report.parts) and "65% needed" in report.reason


def test_each_metric_counts_from_its_declared_warmup_on():
    candles = walk(4, 700)
    for m in METRICS:
        before, at = (tracks_of(candles.take(slice(0, n)), 1)[m.key] for n in (m.warmup_bars - 1, m.warmup_bars))
        assert not np.isfinite(before.k[-1]) and np.isfinite(at.k[-1]), m.key


def test_after_a_hole_metrics_warm_up_again(spot):
    report = report_of(worlds.with_gap(spot, BARS - 120, 4))
    assert report.score is None and report.part("rsi").status == "warmup" and report.part("bb_pos").status == "ok"


def test_a_market_that_never_moved_is_degenerate_not_bearish(spot):
    report = report_of(worlds.flattened(spot, slice(0, BARS)))
    assert report.score is None and {p.status for p in report.parts if p.weight} == {"degenerate"}


def test_a_market_that_stopped_moving_has_no_score(spot):
    report = report_of(worlds.flattened(spot, slice(BARS - 150, BARS)))
    assert report.score is None and report.part("rsi").status == "degenerate" and report.part("kalman").status == "degenerate"


def test_old_data_is_stale_not_neutral(spot):
    at = int(spot.close_time[-1]) + 1
    fresh, later = report_of(spot, at_ms=at + HOUR_MS), report_of(spot, at_ms=at + 12 * HOUR_MS)
    assert fresh.score is not None and fresh.age_s == 3600.0
    assert later.score is None and {p.status for p in later.parts} == {"stale"}


def test_labels_wait_for_the_hysteresis():
    path = np.array([0.5, 0.61, 0.63, 0.59, 0.57, 0.85, 0.79, 0.77, 0.05, np.nan, 0.61])
    assert [LABELS[b] if b >= 0 else "" for b in labels(path, 0.02)] == [
        "neutral", "neutral", "bull", "bull", "neutral", "strong bull", "strong bull", "bull", "strong bear", "", "bull"]


def test_percentile_is_the_scores_own(spot):
    view = view_of_both(MODULE, spot)
    report = MODULE.score(view)
    history = MODULE.timeline(view, 500).score
    rank = ((history < history[-1]).sum() + 0.5 * (history == history[-1]).sum()) / 500
    assert abs(report.percentile - rank) < 1e-12


def test_a_row_of_the_timeline_is_the_score_of_that_moment(spot, perp):
    line = MODULE.timeline(view_of_both(MODULE, spot, perp), 60)
    assert line.score.shape == (60,) and set(line.tracks) == {m.key for m in METRICS}
    for back in (1, 17, 59):
        view = view_of_both(MODULE, spot, perp, at_ms=int(spot.close_time[-1 - back]) + 1)
        report = MODULE.score(view)
        assert abs(report.score - line.score[-1 - back]) < 1e-6
        assert LABELS[int(line.extra["label"][-1 - back])] == report.label


def test_later_bars_change_nothing(spot, perp):
    """The same moment asked with and without the bars after it: identical documents."""
    at = int(spot.close_time[-200]) + 1
    cut = [c.take(slice(0, BARS - 199)) for c in (spot, perp)]
    assert report_of(*cut).document() == report_of(spot, perp, at_ms=at).document()


def test_window_metrics_are_exact_from_any_start(spot):
    whole, recent = tracks_of(spot, 50), tracks_of(spot.tail(1500), 50)
    for m in METRICS:
        exact = m.causality is Causality.PREFIX
        spread = float(np.nanstd(whole[m.key].value)) or 1.0
        apart = np.max(np.abs(whole[m.key].value - recent[m.key].value))
        assert apart <= (1e-9 if exact else 3e-6) * spread, m.key


def test_display_values_are_in_native_units(spot):
    shown = report_of(spot).shown
    assert abs(shown["ema_200"] / spot.close[-1] - 1) < 1.0 and 6 <= shown["dominant_period_bars"] <= 50
    assert shown["trend_mode"] in (0.0, 1.0) and abs(sum(shown["wavelet_energy_shares"]) - 1) < 1e-9
    assert abs(shown["mom_20"] - (spot.close[-1] - spot.close[-21])) < 1e-9 and shown["natr_14_pct"] > 0
