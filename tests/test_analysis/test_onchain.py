"""Module F on days whose right answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.modules.onchain import METRICS, OnChain, before, change, mvrv_z, summed, unrealised_profit
from data.clock import FixedClock, parse_time
from data.market import DAY_MS, HOUR_MS, Interval, Market
from data.observations import COLUMNS_OF, Kind, Observations
from data.simulator.market import SimulatedExchange
from data.simulator.observed import SimulatedObservations
from data.view import build_view

NOW = parse_time("2026-11-20T08:00:00Z")
MODULE = OnChain()


@pytest.fixture(scope="module")
def world():
    clock = FixedClock(NOW)
    exchange = SimulatedExchange(7, clock)
    return exchange, SimulatedObservations(7, exchange, clock)


def view_of(world, symbol="BTCUSDT", at=NOW, more=0):
    exchange, observations = world
    return build_view(exchange, symbol, Market.SPOT, Interval.H1, MODULE.needs, at_ms=at, observations=observations, more_bars=more)


def rows(days, available=None, **columns):
    event = np.asarray(days, np.int64) * DAY_MS
    filled = {name: np.asarray(columns.get(name, np.full(len(event), np.nan)), float) for name in COLUMNS_OF[Kind.ON_CHAIN]}
    return Observations(Kind.ON_CHAIN, event, event + DAY_MS if available is None else np.asarray(available, np.int64), filled)


def test_a_missing_day_makes_its_neighbours_unknown_not_wrong():
    held = rows([0, 1, 2, 4, 5], price=[1.0, 2.0, 4.0, 8.0, 16.0])
    assert before(held, 2).tolist() == [-1, -1, 0, 2, -1]
    assert np.array_equal(change(held, held["price"], 1), [np.nan, 2.0, 2.0, np.nan, 2.0], equal_nan=True)
    assert np.array_equal(summed(held, held["price"], 2), [np.nan, 3.0, 6.0, np.nan, 24.0], equal_nan=True)


def test_a_day_that_came_late_is_not_used_by_days_that_were_known_before_it():
    late = rows([0, 1, 2], available=[9 * DAY_MS, 2 * DAY_MS, 3 * DAY_MS], price=[1.0, 2.0, 4.0])
    assert late.event_time.tolist() == [DAY_MS, 2 * DAY_MS, 0]
    assert before(late, 1).tolist() == [-1, 0, -1]  # day 1 may not look at day 0: nobody knew it yet


def test_the_hump_of_unrealised_profit():
    nupl, k = unrealised_profit(1.0 / (1.0 - np.array([-0.1, 0.0, 0.25, 0.5, 0.625, 0.75, 0.9])))
    assert nupl == pytest.approx([-0.1, 0.0, 0.25, 0.5, 0.625, 0.75, 0.9])
    assert k == pytest.approx([-1.0, -1.0, 0.0, 1.0, 0.0, -1.0, -1.0])


def test_mvrv_z_is_the_textbook_formula_on_what_was_known():
    stream = np.random.default_rng(5)
    cap, mvrv = 1e12 * np.exp(np.cumsum(stream.normal(0, 0.03, 500))), np.exp(stream.normal(0.3, 0.1, 500))
    z = mvrv_z(cap, mvrv)
    assert np.isnan(z[:364]).all()
    for t in (364, 400, 499):
        assert z[t] == pytest.approx((cap[t] - cap[t] / mvrv[t]) / np.std(cap[: t + 1], ddof=1), rel=1e-9)


def test_the_keyless_set_reaches_its_coverage_and_adds_up(world):
    report = MODULE.score(view_of(world))
    assert report.coverage == pytest.approx(0.68) and report.score is not None and 0 <= report.score <= 1
    assert sum(p.contribution for p in report.parts if p.contribution is not None) == pytest.approx(report.raw, abs=1e-12)
    assert {p.name for p in report.parts if p.status == "missing"} == {"etf_flow", "nrpl", "whale_ratio", "sopr"}
    assert all("keyless" in p.note for p in report.parts if p.status == "missing")


def test_identities_of_the_simulated_chain_come_out_of_the_metrics(world):
    seen = view_of(world).observations(MODULE.needs[1])
    assert np.allclose(np.diff(seen["exchange_balance"]), (seen["flow_in"] - seen["flow_out"])[1:], rtol=1e-9)
    assert np.allclose(seen["market_cap"], seen["price"] * seen["supply"], rtol=1e-12)
    part = MODULE.score(view_of(world)).part("nupl")
    realised = seen["market_cap"][-1] / seen["mvrv"][-1]
    assert part.value == pytest.approx((seen["market_cap"][-1] - realised) / seen["market_cap"][-1], abs=1e-12)


def test_another_coin_is_judged_by_bitcoins_chain_and_says_so(world):
    report = MODULE.score(view_of(world, "SOLUSDT"))
    assert report.shown["on_chain_of"] == "BTCUSDT" and report.part("mvrv_z").status == "fallback"
    assert "standing in" in report.part("nupl").note
    assert MODULE.score(view_of(world, "ETHUSDT")).shown["on_chain_of"] == "ETHUSDT"


def test_no_day_is_visible_before_its_vendor_had_closed_it(world):
    at = parse_time("2026-11-19T03:00:00Z")
    for moment, day in ((at, 17), (at + 1, 18), (at + DAY_MS, 18), (at + DAY_MS + 1, 19)):
        seen = view_of(world, at=moment).observations(MODULE.needs[1])
        assert seen.event_time[-1] == parse_time(f"2026-11-{day}")


def test_a_timeline_is_what_each_moment_saw(world):
    line = MODULE.timeline(view_of(world, more=99), 100)
    for back in (1, 5, 30, 77):
        then = MODULE.score(view_of(world, at=NOW - back * HOUR_MS))
        assert line.score[-1 - back] == pytest.approx(then.score, abs=1e-9)


def test_old_days_fade_and_supply_alone_is_not_enough(world):
    view = view_of(world)
    later = MODULE.score(view_of(world, at=NOW).without(MODULE.needs[3], "taken away"))
    assert later.score is None and "Stablecoin" in later.reason
    assert MODULE.score(view.without(MODULE.needs[1], "gone").without(MODULE.needs[2], "gone")).score is None


def test_weights_of_the_table():
    assert sum(m.weight for m in METRICS) == pytest.approx(1.0) and len(METRICS) == 11
