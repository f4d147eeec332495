"""Module G on worlds whose daily returns are known: what it states, what it names as missing, what it says when it cannot."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from analysis.fits import FitCache
from analysis.modules.risk_expos import RiskExposure
from analysis.report import Risk
from analysis.statistics import cornish_fisher, fit_tail, gaussian_var, historical_es, historical_var, sharpe
from data.clock import FixedClock, parse_time
from data.frames import Candles, aggregate
from data.market import DAY_MS, Interval, Market
from data.simulator.market import SimulatedExchange
from data.simulator.observed import SimulatedObservations
from data.simulator.shocks import START_MS, garch_world
from data.view import AccountSnapshot, build_view
from tests.memory_reader import view_of

MODULE = RiskExposure()
FITS = FitCache()


@pytest.fixture(scope="module")
def hourly():
    return garch_world(3, 24 * 910).candles()


@pytest.fixture(scope="module")
def view(hourly):
    return view_of(MODULE, hourly, fits=FITS)


@pytest.fixture(scope="module")
def report(view):
    return MODULE.score(view)


def daily_of(view):
    return next(c for n, c in view.series.items() if n.interval == Interval.D1)


def account(days, *, seed=5, equity=10_000.0, drift=0.0, **changes):
    r = np.random.default_rng(seed).standard_normal(days) * 0.01 + drift
    curve = equity * np.cumprod(np.concatenate(([1.0], 1 + r)))
    known = {"as_of_ms": START_MS + 910 * DAY_MS - 1, "equity": float(curve[-1]), "equity_curve": curve,
             "positions": {"XYZUSDT": 10.0}, "marks": {"XYZUSDT": 100.0}, "stops": {"XYZUSDT": 90.0}, "leverage": 0.6}
    return AccountSnapshot(**(known | changes))


def test_market_mode_covers_073_and_names_what_needs_an_account(report):
    assert report.coverage == pytest.approx(0.73) and report.status == "ok" and report.link == "identity"
    assert {p.name for p in report.parts if p.status == "missing"} == {"leverage", "liq_distance", "liq_zone"}
    assert all("market mode" in p.note or "liquidation map" in p.note for p in report.parts if p.status == "missing")
    assert isinstance(report.value, Risk) and report.value.value == report.score == report.raw
    assert report.shown["mode"] == "market" and report.label in ("low", "normal", "elevated", "high")


def test_risk_is_seven_tenths_mean_and_three_tenths_worst(report):
    counted = {p.name: p for p in report.parts if p.status == "ok"}
    mean = sum(p.weight * p.k for p in counted.values()) / 0.73
    worst = max((p for p in counted.values() if p.weight >= 0.10), key=lambda p: p.k)
    assert report.raw == pytest.approx(0.7 * mean + 0.3 * worst.k, abs=1e-12)
    assert math.fsum(p.contribution for p in report.parts) == pytest.approx(report.raw, abs=1e-9)
    assert worst.contribution == pytest.approx(0.7 * worst.weight * worst.k / 0.73 + 0.3 * worst.k, abs=1e-12)


def test_var_and_es_are_the_larger_of_two_methods_on_the_last_500_days(view, report):
    r = np.expm1(daily_of(view).log_return)[-500:]
    shown = report.shown["var_methods"]
    assert shown["historical"] == pytest.approx({"var": historical_var(r), "es": historical_es(r)})
    assert shown["gaussian"]["var"] == pytest.approx(gaussian_var(r))
    assert shown["extreme_value"]["var"] == pytest.approx(fit_tail(r).var())
    cf = cornish_fisher(r)
    assert shown["cornish_fisher"]["var"] == (pytest.approx(cf.var) if cf.valid else None)
    assert report.part("var").value == max(shown["historical"]["var"], shown["filtered_historical"]["var"])
    assert report.part("cvar").value == max(shown["historical"]["es"], shown["filtered_historical"]["es"])
    assert report.shown["var_10d_simulated"] > report.part("var").value


def test_live_test_of_the_var_counts_its_own_misses(view, report):
    kupiec = report.shown["kupiec"]
    assert kupiec["days"] == 364 and 0 <= kupiec["misses"] <= 15 and not kupiec["rejected"]
    assert 0.0 <= report.shown["christoffersen"]["p_value"] <= 1.0


def test_drawdown_sharpe_and_stops_by_hand(view, report, hourly):
    daily = daily_of(view)
    assert report.part("mdd").value == pytest.approx(1 - daily.close[-1] / daily.close[-90:].max())
    assert report.part("dyn_sharpe").value == pytest.approx(sharpe(np.expm1(daily.log_return)[-60:]), rel=1e-12)
    k, natr = report.part("adaptive_stop").value, report.part("atr_stop").value
    assert k == pytest.approx(np.clip(2 + 2 * (report.part("atr_stop").k - 0.5), 1.5, 3.5))
    close = hourly.close[-1]
    assert report.shown["stop_price"] == pytest.approx(close * (1 - 2.5 * natr / 100))
    assert report.shown["adaptive_stop_price"] == pytest.approx(close * (1 - k * natr / 100))
    assert report.shown["chandelier_stop_price"] >= hourly.high[-22:].max() - 1e-9 - k * close * natr / 100
    exposure = report.part("vol_target").value
    assert exposure == pytest.approx(min(2.0, 0.25 / report.shown["sigma_per_year"]))


def test_a_storm_raises_the_risk(hourly):
    calm = MODULE.score(view_of(MODULE, hourly)).score
    storm = garch_world(3, 24 * 910, step_row=24 * 905, step_factor=4.0).candles()
    assert MODULE.score(view_of(MODULE, storm)).score > calm + 0.2


def test_a_day_enters_when_it_has_closed(hourly):
    """Between two midnights the daily metrics stand still; at the close of the day they move."""
    line = MODULE.timeline(view_of(MODULE, hourly), 49)
    var, day = line.tracks["var"].value, (line.close_time + 1) // DAY_MS
    assert all(len(np.unique(var[day == d])) == 1 for d in np.unique(day))
    assert len(np.unique(line.tracks["mdd"].value)) == len(np.unique(day)) == 3


def test_timeline_rows_are_the_scores_of_their_moment(hourly):
    line = MODULE.timeline(view_of(MODULE, hourly), 30)
    for back in (1, 7, 29):
        earlier = view_of(MODULE, hourly, at_ms=int(line.close_time[-1 - back]) + 1)
        assert MODULE.score(earlier).raw == pytest.approx(line.raw[-1 - back], abs=2e-6)


def test_same_view_same_bits(view, report):
    again = MODULE.score(replace(view, fits=FitCache()))
    assert json.dumps(again.document(), allow_nan=False) == json.dumps(report.document(), allow_nan=False)


# -- what is missing ------------------------------------------------------------------------------------------------


def young(days):
    return MODULE.score(view_of(MODULE, garch_world(4, 24 * days).candles()))


@pytest.mark.parametrize(("days", "status"), [(40, "missing"), (100, "warmup"), (200, "fallback"), (400, "ok")])
def test_a_young_series_says_how_many_days_are_lacking(days, status):
    part = young(days).part("var")
    assert part.status == status
    if status == "missing":
        assert part.note == "39 daily returns, at least 60 needed"
    if status == "warmup":
        assert part.note == "needs 50 more daily bars"
    if status == "fallback":
        assert "Gaussian" in part.note and part.contribution > 0


def test_too_little_history_is_insufficient_with_words():
    report = young(20)
    assert report.score is None and report.status == "insufficient" and "65%" in report.reason
    assert report.value.value is None and report.shown["var_methods"] is None
    json.dumps(report.document(), allow_nan=False)


def test_no_daily_candles_at_all_is_named(hourly):
    report = MODULE.score(view_of(MODULE, hourly.tail(20)))
    assert report.score is None
    assert all("1d candles" in report.part(key).note for key in ("var", "cvar", "mdd", "dyn_sharpe"))


def frozen(n, interval=Interval.H1):
    flat = np.full(n, 5.0)
    columns = {"open_time": START_MS + np.arange(n) * interval.ms, "open": flat, "high": flat, "low": flat, "close": flat}
    return Candles.from_columns(interval, columns | {"volume": np.zeros(n)})


def test_a_frozen_price_is_degenerate_not_safe():
    report = MODULE.score(view_of(MODULE, frozen(24 * 700)))
    assert report.score is None
    assert {p.name for p in report.parts if p.status == "degenerate"} == {
        "var", "cvar", "mdd", "vol_target", "atr_stop", "dyn_sharpe", "adaptive_stop"}


def test_one_missing_day_is_a_day_nobody_observed(hourly):
    day = 24 * 800
    rows = np.r_[0:day, day + 24 : len(hourly)]
    report = MODULE.score(view_of(MODULE, hourly.take(rows)))
    assert report.part("var").status == "ok" and report.score is not None
    assert np.isfinite(report.part("vol_target").value)


def test_a_fresh_gap_warms_the_stops_up_again_and_counts_bars(hourly):
    n = len(hourly)
    report = MODULE.score(view_of(MODULE, hourly.take(np.r_[0 : n - 80, n - 79 : n])))
    assert report.part("atr_stop").status == "warmup" and report.part("atr_stop").note == "needs 221 more bars"
    assert report.part("var").status == "ok"


def test_old_daily_candles_do_not_speak_for_today(view):
    need = next(n for n in view.series if n.interval == Interval.D1)
    daily = view.series[need]
    report = MODULE.score(replace(view, series=view.series | {need: daily.take(slice(0, len(daily) - 10))}))
    assert report.part("var").status == "stale" and report.part("var").contribution in (None, 0.0)
    fading = MODULE.score(replace(view, series=view.series | {need: daily.take(slice(0, len(daily) - 2))}))
    assert fading.part("var").status == "ok" and fading.coverage < 0.73


def test_a_tail_of_gains_is_reported_as_zero_risk_of_loss():
    rising = 100 * np.cumprod(1 + np.random.default_rng(1).uniform(0.0001, 0.001, 24 * 700))
    columns = {"open_time": START_MS + np.arange(len(rising)) * Interval.H1.ms, "open": rising, "close": rising,
               "high": rising * 1.001, "low": rising * 0.999, "volume": np.ones(len(rising))}
    report = MODULE.score(view_of(MODULE, Candles.from_columns(Interval.H1, columns)))
    assert report.part("var").value == 0.0 and any("reported as 0" in note for note in report.shown["var_notes"])


def test_daily_view_and_weekly_view_work():
    daily = aggregate(garch_world(5, 24 * 1300).candles(), Interval.D1)
    assert MODULE.score(view_of(MODULE, daily)).score is not None
    weekly = MODULE.score(view_of(MODULE, aggregate(daily, Interval.W1), daily=daily))
    assert weekly.part("var").status == "ok" and weekly.part("vol_target").status == "warmup"


# -- account mode ---------------------------------------------------------------------------------------------------


def test_an_account_is_measured_against_its_limits(hourly):
    snapshot = account(400)
    report = MODULE.score(view_of(MODULE, hourly, account=snapshot, fits=FITS))
    r = snapshot.equity_curve[1:] / snapshot.equity_curve[:-1] - 1
    assert report.shown["mode"] == "account" and report.coverage == pytest.approx(0.95)
    assert report.part("leverage").k == pytest.approx(0.2) and report.part("leverage").value == 0.6
    assert report.part("var").value >= historical_var(r) and report.part("var").k == min(1, report.part("var").value / 0.05)
    depth = 1 - snapshot.equity / snapshot.equity_curve.max()
    assert report.part("mdd").k == pytest.approx(min(1, depth / 0.10))
    open_risk = 10 * (100 - 90) / snapshot.equity
    assert report.part("atr_stop").value == pytest.approx(100 * open_risk) and report.part("atr_stop").k == pytest.approx(open_risk / 0.03)
    assert math.fsum(p.contribution for p in report.parts) == pytest.approx(report.raw, abs=1e-9)
    assert {p.name for p in report.parts if p.status == "missing"} == {"liq_zone"}
    assert report.part("liq_distance").value is None and report.part("liq_distance").k == 0.0


def test_the_distance_to_a_forced_close_counts_in_daily_volatilities(hourly):
    own = float(hourly.close[-1])
    near = account(400, positions={"XYZUSDT": 10.0}, marks={"XYZUSDT": own}, liquidation={"XYZUSDT": 0.97 * own})
    far = account(400, positions={"XYZUSDT": 10.0}, marks={"XYZUSDT": own}, liquidation={"XYZUSDT": 0.2 * own})
    parts = [MODULE.score(view_of(MODULE, hourly, account=a, fits=FITS)).part("liq_distance") for a in (near, far)]
    assert parts[0].value == pytest.approx(parts[1].value * 0.03 / 0.8) and parts[0].k > 0.5
    assert parts[0].k == pytest.approx(1 - parts[0].value / 5) and parts[1].k == 0.0


def test_the_liquidation_zone_is_ranked_where_open_interest_is_known():
    clock = FixedClock(parse_time("2026-11-20T08:30:00Z"))
    exchange = SimulatedExchange(7, clock)
    view = build_view(exchange, "ETHUSDT", Market.SPOT, Interval.H1, MODULE.needs, observations=SimulatedObservations(7, exchange, clock))
    report = MODULE.score(view)
    part = report.part("liq_zone")
    assert part.status == "ok" and 0 < part.value < 1 and 0 < part.k < 1 and report.coverage == pytest.approx(0.78)
    lacking = MODULE.score(view.without(MODULE.needs[3], "taken away"))
    assert lacking.part("liq_zone").status == "missing" and lacking.coverage == pytest.approx(0.73)
    line = MODULE.timeline(build_view(exchange, "ETHUSDT", Market.SPOT, Interval.H1, MODULE.needs, more_bars=99,
                                      observations=SimulatedObservations(7, exchange, clock)), 100)
    for back in (5, 60):
        then = build_view(exchange, "ETHUSDT", Market.SPOT, Interval.H1, MODULE.needs, at_ms=view.at_ms - back * 3_600_000,
                          observations=SimulatedObservations(7, exchange, clock))
        assert line.tracks["liq_zone"].k[-1 - back] == pytest.approx(MODULE.score(then).part("liq_zone").k, abs=1e-9)


def test_a_young_account_is_judged_in_market_mode_and_told_so(hourly, report):
    found = MODULE.score(view_of(MODULE, hourly, account=account(20), fits=FITS))
    assert found.score == report.score and found.shown["mode"] == "market" and "20 daily returns, 60 needed" in found.shown["mode_note"]
    broke = MODULE.score(view_of(MODULE, hourly, account=account(400, equity=0.0), fits=FITS))
    assert broke.shown["mode"] == "market" and "no equity" in broke.shown["mode_note"]


def test_account_fallback_and_short_positions(hourly):
    short = account(100, positions={"XYZUSDT": -10.0}, stops={"XYZUSDT": 108.0, "GONEUSDT": 1.0})
    report = MODULE.score(view_of(MODULE, hourly, account=short))
    assert report.part("var").status == "fallback" and "Gaussian" in report.part("var").note
    assert report.part("atr_stop").value == pytest.approx(100 * 80 / short.equity)
