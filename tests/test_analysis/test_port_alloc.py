"""Module I and the composite optimal allocation: weights that add up, caps from risk, one asset, short histories, accounts and views."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from analysis.allocation import Limits, View, hrp, ledoit_wolf, risk_parity
from analysis.composites import Inputs
from analysis.composites.allocation import PEERS, PEERS_DAILY, OptimalAllocation, caps_from, peer_risks
from analysis.fits import FitCache
from analysis.modules import MODULES
from analysis.modules.port_alloc import NO_VIEW, PortfolioAllocation, PortfolioAllocConfig
from analysis.modules.risk_expos import RiskExposure
from analysis.report import Weights
from analysis.scorecard import needs_of
from data.clock import FixedClock, parse_time
from data.frames import Candles, aggregate
from data.market import DAY_MS, Interval, Market
from data.simulator.market import SYMBOLS, SimulatedExchange
from data.view import AccountSnapshot, build_view
from tests.group_world import group_of, group_view

NOW = parse_time("2026-11-20T08:30:00Z")
MODULE, COMPOSITE = PortfolioAllocation(), OptimalAllocation()
FITS = FitCache()
SEED = 81
NAMES = ["BTCUSDT", "CALMUSDT", "LOUDUSDT", "TWINUSDT"]


def world(hours=24 * 200 + 5, seed=SEED, scale=1.0):
    """Bitcoin, a calm symbol, a loud one, and one that is mostly Bitcoin."""
    stream = np.random.default_rng(seed)
    r = stream.standard_normal((hours, 4)) * 0.004 * np.array([1.0, 0.5, 2.0, 0.4]) * scale
    r[:, 3] += 1.0 * r[:, 0]
    return group_of(r, NAMES)


@pytest.fixture(scope="module")
def market():
    exchange = SimulatedExchange(7, FixedClock(NOW))
    modules = [m for m in MODULES if m.letter in "BGIJ"]
    return {name: build_view(exchange, name, Market.SPOT, Interval.H1, needs_of(modules), fits=FITS, peers=SYMBOLS) for name in SYMBOLS}


def inputs_of(view, bars=1):
    return Inputs(view, [m for m in MODULES if m.letter in "BGIJ"], bars)


def account(**changes):
    values = {"as_of_ms": 0, "equity": 10_000.0, "equity_curve": np.array([10_000.0]), "positions": {"BTCUSDT": 0.01, "OLDUSDT": 5.0},
              "marks": {"BTCUSDT": 40_000.0, "OLDUSDT": 100.0}, "stops": {}, "leverage": 0.1}
    return AccountSnapshot(**(values | changes))


# -- module I ---------------------------------------------------------------------------------------------------------


def test_weights_and_cash_of_all_symbols_are_one_whoever_asks(market):
    reports = {name: MODULE.score(view) for name, view in market.items()}
    weights = reports["BTCUSDT"].shown["weights"]
    assert math.fsum(weights.values()) + reports["BTCUSDT"].shown["cash"] == pytest.approx(1)
    for name, report in reports.items():
        assert report.shown["weights"] == weights and report.score == pytest.approx(weights[name], abs=1e-12)
        assert isinstance(report.value, Weights) and report.value.weights == weights
        assert report.value.value == pytest.approx(math.fsum(weights.values()))
    assert max(weights.values()) <= 0.4 and all(w == 0 or w >= 0.02 - 1e-9 for w in weights.values())


def test_the_halves_by_hand():
    group = world()
    view = group_view(group, "CALMUSDT", MODULE.needs, fits=FitCache())
    midnight = view.at_ms // DAY_MS * DAY_MS
    daily = [aggregate(group[name], Interval.D1).closed_before(midnight) for name in NAMES]
    r = np.stack([np.expm1(d.log_return)[-180:] for d in daily], axis=1)
    S = ledoit_wolf(r)[0]
    tree, equal = hrp(S), risk_parity(S)
    report = MODULE.score(view)
    assert report.part("hrp").value == pytest.approx(tree[1]) and report.part("risk_parity").value == pytest.approx(equal[1])
    base = 0.5 * tree + 0.5 * equal
    assert report.shown["clusters"] == [["BTCUSDT", "TWINUSDT"]] and base[1] > 0.4
    assert report.score == pytest.approx(0.4 * report.shown["vol_scale"])  # the cap
    shares = [p.contribution for p in report.parts if p.contribution is not None]
    assert math.fsum(shares) == pytest.approx(report.score) and shares[0] / shares[1] == pytest.approx(tree[1] / equal[1])


def test_volatility_is_held_at_the_target():
    for scale, expected in ((1.0, None), (4.0, 0.25)):
        report = MODULE.score(group_view(world(scale=scale), "BTCUSDT", MODULE.needs, fits=FitCache()))
        assert report.shown["sigma_per_year"] <= 0.25 + 1e-9
        if expected:
            assert report.shown["sigma_per_year"] == pytest.approx(expected) and report.shown["cash"] > 0.3


def test_one_asset_is_held_at_the_volatility_target():
    lone = {"BTCUSDT": world()["BTCUSDT"]}
    report = MODULE.score(group_view(lone, "BTCUSDT", MODULE.needs, fits=FitCache()))
    sigma = report.part("cov").value
    assert report.score == pytest.approx(min(1.0, 0.25 / sigma)) and report.shown["weights"] == {"BTCUSDT": report.score}
    assert report.part("corr").value is None and "no other asset" in report.part("corr").note


def test_a_young_symbol_is_left_out_and_named():
    group = world()
    group["LOUDUSDT"] = group["LOUDUSDT"].tail(24 * 40)
    report = MODULE.score(group_view(group, "BTCUSDT", MODULE.needs, fits=FitCache()))
    assert "LOUDUSDT" not in report.shown["weights"] and "60 needed" in report.shown["dropped"]["LOUDUSDT"]
    own = MODULE.score(group_view(group, "LOUDUSDT", MODULE.needs, fits=FitCache()))
    assert own.score is None and "60 needed" in own.reason and own.part("hrp").status == "warmup"


def test_coverage_grows_with_history():
    found = [MODULE.score(group_view(world(24 * days + 30), "BTCUSDT", MODULE.needs, fits=FitCache())) for days in (55, 61, 120, 190)]
    assert found[0].score is None and [round(f.coverage, 2) for f in found[1:]] == [0.65, 0.82, 1.0]


def test_a_dead_price_is_degenerate_for_itself_and_dropped_for_others():
    group = world()
    dead = group["LOUDUSDT"]
    flat = np.full(len(dead), 5.0)
    group["LOUDUSDT"] = Candles.from_columns(Interval.H1, dead.columns() | {"open": flat, "high": flat, "low": flat, "close": flat})
    own = MODULE.score(group_view(group, "LOUDUSDT", MODULE.needs, fits=FitCache()))
    assert own.score is None and own.part("hrp").status == "degenerate"
    assert "does not move" in MODULE.score(group_view(group, "BTCUSDT", MODULE.needs, fits=FitCache())).shown["dropped"]["LOUDUSDT"]


def test_losing_markets_still_get_an_allocation():
    stream = np.random.default_rng(SEED)
    falling = group_of(stream.standard_normal((24 * 200, 3)) * 0.004 - 0.0008, NAMES[:3])
    report = MODULE.score(group_view(falling, "BTCUSDT", MODULE.needs, fits=FitCache()))
    assert report.score > 0 and report.part("sharpe").value < 0 and "minimum variance" in report.shown["max_sharpe_note"]
    assert report.part("sortino").value < 0 and report.part("var").value > 0


def test_an_account_changes_only_the_rebalancing():
    group = world()
    without = MODULE.score(group_view(group, "BTCUSDT", MODULE.needs, fits=FITS))
    report = MODULE.score(group_view(group, "BTCUSDT", MODULE.needs, fits=FITS, account=account()))
    assert report.score == without.score and "rebalancing" not in without.shown
    moves = report.shown["rebalancing"]
    assert moves["held"] == {"BTCUSDT": 0.04, "OLDUSDT": 0.05} and moves["changes"]["OLDUSDT"] == -0.05
    for name, weight in report.shown["weights"].items():
        gap = weight - moves["held"].get(name, 0.0)
        assert (name in moves["changes"]) == (abs(gap) > 0.02 or (weight == 0 and gap != 0))
    assert MODULE.score(group_view(group, "BTCUSDT", MODULE.needs, fits=FITS, account=account(equity=0.0))).shown["rebalancing"]["note"]


def test_betas_on_falling_and_rising_days_need_forty():
    report = MODULE.score(group_view(world(), "TWINUSDT", MODULE.needs, fits=FITS))
    assert report.part("beta_down").value == pytest.approx(1, abs=0.15) and report.part("beta_up").value == pytest.approx(1, abs=0.15)
    short = MODULE.score(group_view(world(24 * 65), "TWINUSDT", MODULE.needs, fits=FITS))
    assert short.part("beta_down").value is None and "40 falling days" in short.part("beta_down").note
    assert report.part("black_litterman").note == NO_VIEW


def test_weights_move_at_midnight_only():
    line = MODULE.timeline(group_view(world(), "BTCUSDT", MODULE.needs, fits=FITS, more_bars=120), 100)
    day = (line.close_time + 1) // DAY_MS
    assert all(len(np.unique(line.score[day == d])) == 1 for d in np.unique(day)) and len(np.unique(line.score)) == len(np.unique(day))


def test_other_constants_give_another_allocation():
    loose = PortfolioAllocation(PortfolioAllocConfig(limits=Limits(caps=1.0, cluster_cap=1.0, target_vol=10.0)))
    view = group_view(world(), "CALMUSDT", MODULE.needs, fits=FITS)
    report = loose.score(view)
    assert report.score == pytest.approx(0.5 * report.part("hrp").value + 0.5 * report.part("risk_parity").value)


# -- composite 6 ------------------------------------------------------------------------------------------------------


def test_caps_follow_risk():
    assert caps_from(np.array([0.0, 0.25, 0.75, 1.0, np.nan])) == pytest.approx([0.4, 0.4, 0.2, 0.1, 0.1])


def test_a_peer_is_judged_as_module_g_judges_it_alone(market):
    view = market["BTCUSDT"]
    found = peer_risks(view, view.peers(PEERS)["BTCUSDT"].close_time[-1:])
    assert set(found) == set(SYMBOLS)
    risk = RiskExposure()
    for name in ("ETHUSDT", "LTCUSDT"):
        own = market[name]
        expected = risk.timeline(replace(own, observed={n: o.take(slice(0, 0)) for n, o in own.observed.items()}), 1).score[-1]
        assert found[name][-1] == pytest.approx(expected, abs=1e-6)


def test_caps_gates_and_sum(market):
    for name in ("BTCUSDT", "LTCUSDT"):
        inputs = inputs_of(market[name])
        line = inputs.composite(COMPOSITE)
        report = COMPOSITE.report(inputs, line)
        shown = report.shown
        gross = line.gate[-1]
        assert math.fsum(shown["weights"].values()) + shown["cash"] == pytest.approx(1)
        assert report.score == pytest.approx(shown["weights"][name])
        assert all(w <= gross * shown["caps"][n] + 1e-9 for n, w in shown["weights"].items())
        assert line.gates["risk"][-1] == pytest.approx(1 - max(0, shown["R"] - 0.5)) and shown["views"] == NO_VIEW
        assert isinstance(report.value, Weights) and report.value.weights == shown["weights"]
        assert set(shown["equal_weight"]) == set(shown["inverse_volatility"]) == set(SYMBOLS)


def test_a_scan_judges_every_peer_once(market):
    fits = FitCache()
    calls = []
    held = fits.get
    fits.get = lambda method, data, fit, **o: held(method, data, lambda x: (calls.append(method), fit(x))[1], **o)  # type: ignore[method-assign]
    for name in ("BTCUSDT", "ETHUSDT", "SOLUSDT"):
        inputs_of(replace(market[name], fits=fits)).composite(COMPOSITE)
    assert calls.count("peer-risk/1") == len(SYMBOLS) and calls.count("plan/1") == 1


def test_a_peer_without_daily_candles_gets_the_tightest_cap(market):
    view = market["BTCUSDT"]
    days = {n: (c if n != "LTCUSDT" else Candles.empty(Interval.D1)) for n, c in view.peers(PEERS_DAILY).items()}
    lacking = replace(view, group={**view.group, PEERS_DAILY: days})
    report = COMPOSITE.report(inputs_of(lacking))
    assert report.shown["risks"]["LTCUSDT"] is None and report.shown["caps"]["LTCUSDT"] == pytest.approx(0.1)
    assert report.coverage < 1.0


def test_only_a_supported_view_moves_weights(market):
    view = market["SOLUSDT"]
    plain = inputs_of(view).composite(COMPOSITE)
    weak = inputs_of(view).composite(OptimalAllocation({"SOLUSDT": View("weak", 0.3, 3.0)}))
    assert weak.score[-1] == plain.score[-1] and plain.inner["I.black_litterman"][-1] == 0.0
    strong = OptimalAllocation({"SOLUSDT": View("supported", 0.1, 2.0)})
    line = inputs_of(view).composite(strong)
    assert line.score[-1] > plain.score[-1] and line.inner["I.black_litterman"][-1] > 0 and line.shown["views"] == "SOLUSDT"
    assert math.fsum(x[-1] for x in line.contributions.values()) == pytest.approx(line.raw[-1])


def test_without_module_i_or_daily_candles_there_is_no_allocation(market):
    view = market["SOLUSDT"]
    nothing = COMPOSITE.report(Inputs(view, [m for m in MODULES if m.letter in "BG"]))
    assert nothing.score is None and "module I is not built" in nothing.reason
    blind = COMPOSITE.report(inputs_of(view.without(MODULE.needs[1], "taken away")))
    assert blind.score is None and blind.value.value is None and blind.reason
