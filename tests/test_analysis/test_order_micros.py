"""Module D on minutes whose right answers are known by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from analysis.modules.order_micros import FROM_CANDLES, METRICS, OrderFlow, pressure_label
from analysis.scaling import pr, z0
from core.lookahead_views import check_module
from data.clock import FixedClock, parse_time
from data.market import HOUR_MS, MINUTE_MS, Interval, Market
from data.observations import COLUMNS_OF, Kind, Observations
from data.simulator.market import EPOCH_MS, SimulatedExchange
from data.simulator.observed import SimulatedObservations
from data.view import build_view

NOW = parse_time("2026-11-20T08:30:00Z")
MODULE = OrderFlow()
BARS, FLOW, CANDLES = MODULE.needs
EXCHANGE = SimulatedExchange(7, FixedClock(NOW))
READER = SimulatedObservations(7, EXCHANGE, FixedClock(NOW))
VIEW = build_view(EXCHANGE, "LINKUSDT", Market.SPOT, Interval.M1, MODULE.needs, at_ms=NOW, observations=READER)


def minutes(n=200, drop=(), **columns):
    """`n` minutes that end with the view, plain unless said otherwise; the mid walks so that the market is alive."""
    event = NOW - MINUTE_MS * np.arange(n, 0, -1)
    plain = dict.fromkeys(COLUMNS_OF[Kind.MINUTE_FLOW], 0.0) | {
        "spread_bps": 1.0, "bid_depth_10": 10.0, "ask_depth_10": 10.0, "bid_mass_50": 50.0, "ask_mass_50": 50.0, "buy_slippage_10k": 2.0,
        "sell_slippage_10k": 2.0, "buy_slippage_100k": 5.0, "sell_slippage_100k": 5.0, "bid_log_depth": 10.0, "ask_log_depth": 10.0,
        "buy_volume": 1.0, "sell_volume": 1.0, "best_depth": 4.0}
    filled = {name: np.broadcast_to(np.asarray(columns.get(name, value), float), n).copy() for name, value in plain.items()}
    if "mid" not in columns:
        filled["mid"] = 100.0 + 0.01 * (np.arange(n) % 7)
    rows = Observations(Kind.MINUTE_FLOW, event, event + MINUTE_MS - 1, filled)
    return rows.take(np.setdiff1d(np.arange(n), np.arange(n)[list(drop)])) if len(drop) else rows


def seen(rows, view=VIEW):
    return replace(view, observed={FLOW: rows})


def part(rows, key):
    return MODULE.score(seen(rows)).part(key)


def newest(value, n=200, plain=0.0):
    return np.r_[np.full(n - 1, plain), value]


# -- every metric by hand ---------------------------------------------------------------------------------------------


def test_book_imbalance_is_itself():
    found = part(minutes(obi=newest(-0.4)), "obi")
    assert (found.value, found.k, found.status) == (-0.4, -0.4, "ok")


def test_market_buy_pressure_over_five_minutes():
    found = part(minutes(buy_volume=np.r_[np.full(195, 9.0), 3, 0, 2, 1, 0]), "mbp")  # 6 bought against 5 sold
    assert found.k == pytest.approx(2 * 6 / 11 - 1) and found.value == found.k


def test_aggression_meets_the_depth_of_its_side():
    found = part(minutes(buy_volume=newest(6.0, plain=1.0), sell_volume=newest(2.0, plain=1.0)), "aggression")
    assert found.k == pytest.approx(0.5)
    assert part(minutes(ask_depth_10=5.0), "aggression").k == pytest.approx(1 / 3)
    assert part(minutes(ask_depth_10=np.nan), "aggression").status == "missing"


def test_slippage_asymmetry_and_a_thin_book_is_a_lower_bound():
    found = part(minutes(buy_slippage_10k=3.0, sell_slippage_10k=1.0), "slippage")
    assert (found.value, found.k, found.status) == (2.0, 0.5, "ok")
    thin = part(minutes(unfilled_10k=0.2), "slippage")
    assert thin.status == "fallback" and "lower bound" in thin.note


def test_depth_asymmetry_is_clipped():
    assert part(minutes(bid_log_depth=10.5, ask_log_depth=9.5), "depth_elasticity").k == pytest.approx(0.05 / 0.2)
    assert part(minutes(bid_log_depth=20.0, ask_log_depth=5.0), "depth_elasticity").k == 1.0
    assert part(minutes(bid_log_depth=np.nan), "depth_elasticity").status == "missing"


def test_volume_delta_and_dominance_over_an_hour():
    stream = np.random.default_rng(3)
    buy, sell = stream.exponential(size=(2, 200))
    share = np.array([np.nan if t < 59 else (buy[t - 59 : t + 1].sum() - sell[t - 59 : t + 1].sum()) / (buy + sell)[t - 59 : t + 1].sum()
                      for t in range(200)])
    for key in ("cvd", "taker_dom"):
        found = part(minutes(buy_volume=buy, sell_volume=sell), key)
        assert found.value == pytest.approx(share[-1]) and found.k == pytest.approx(z0(share)[-1])


def test_order_flow_imbalance_in_best_depths():
    flow = np.random.default_rng(4).standard_normal(200)
    found = part(minutes(ofi=flow), "ofi")
    assert found.value == pytest.approx(flow[-1] / 4.0) and found.k == pytest.approx(z0(flow / 4.0)[-1])


def test_resting_liquidity_is_a_ten_minute_mean():
    found = part(minutes(bid_mass_50=np.r_[np.full(190, 1.0), np.full(5, 150.0), np.full(5, 50.0)]), "liq_density")
    assert found.k == pytest.approx(0.25)  # five minutes of .5, five of 0


def test_the_spread_is_a_quality_not_an_opinion():
    calm, wide = minutes(spread_bps=newest(0.5, plain=1.0)), minutes(spread_bps=newest(9.0, plain=1.0))
    assert part(wide, "spread").contribution is None and part(wide, "spread").value == 9.0
    lines = [MODULE.timeline(seen(rows)).extra["quality"][-1] for rows in (calm, wide)]
    assert lines == pytest.approx([1.0, 1.0 - (2 * (199.5 / 200) - 1)])
    noisy = {"ofi": np.random.default_rng(1).standard_normal(200), "obi": 0.3}
    tight, loose = (MODULE.score(seen(minutes(spread_bps=newest(x, plain=1.0), **noisy))) for x in (0.5, 9.0))
    assert tight.score == loose.score and loose.confidence < 0.1 * tight.confidence


def test_fragility_is_the_mean_of_its_four_percentiles():
    stream = np.random.default_rng(8)
    spread, depth, cost = np.exp(stream.standard_normal((3, 300)))
    push = stream.standard_normal(300)
    mid = 100.0 * np.exp(np.cumsum(1e-4 * push))  # every unit of net volume moves the mid by one bps
    rows = minutes(300, spread_bps=spread, bid_depth_10=depth, ask_depth_10=depth, buy_slippage_10k=cost, sell_slippage_10k=cost,
                   buy_volume=5.0 + push / 2, sell_volume=5.0 - push / 2, mid=mid)
    extra = MODULE.timeline(seen(rows)).extra
    assert extra["lambda"][-1] == pytest.approx(1.0, rel=1e-9)
    slope = pr(np.where(np.arange(300) >= 30, 1.0, np.nan))[-1]  # all alike: .5, were it not for rounding
    expected = np.array([pr(spread)[-1], 1 - pr(2 * depth)[-1], pr(cost)[-1]])
    assert abs(4 * extra["fragility"][-1] - expected.sum() - slope) <= 0.5 + 1e-9
    assert (extra["slippage_10k_bps"][-1], extra["slippage_100k_bps"][-1]) == pytest.approx((cost[-1], 5.0))
    falling = minutes(300, spread_bps=spread, bid_depth_10=depth, ask_depth_10=depth, buy_slippage_10k=cost, sell_slippage_10k=cost,
                      buy_volume=5.0 - push / 2, sell_volume=5.0 + push / 2, mid=mid)
    line = MODULE.timeline(seen(falling))
    assert math.isnan(line.extra["lambda"][-1])  # a negative lambda is no impact
    assert line.extra["fragility"][-1] == pytest.approx(expected.mean())


# -- absence ----------------------------------------------------------------------------------------------------------


def test_polled_books_lack_the_order_flow_imbalance_and_reach_four_fifths():
    stream = np.random.default_rng(2)
    report = MODULE.score(seen(minutes(ofi=np.nan, buy_volume=stream.exponential(size=200))))
    assert report.coverage == pytest.approx(0.80) and report.score is not None
    assert report.part("ofi").status == "missing" and "polled" in report.part("ofi").note


def test_without_recorded_trades_candles_stand_in_for_the_hour():
    stream = np.random.default_rng(2)
    report = MODULE.score(seen(minutes(600, buy_volume=np.nan, sell_volume=np.nan, ofi=stream.standard_normal(600))))
    assert report.part("mbp").status == report.part("aggression").status == "missing"
    for key in ("cvd", "taker_dom"):
        assert report.part(key).status == "fallback" and report.part(key).note == FROM_CANDLES
    candles = VIEW.candles(CANDLES).tail(60)
    assert report.part("cvd").value == pytest.approx(
        (2 * candles.taker_buy_volume - candles.volume).sum() / candles.volume.sum())
    assert report.coverage == pytest.approx(1 - .15 - .08) and report.score is not None


def test_history_without_any_book_has_the_fallback_and_no_score():
    report = MODULE.score(VIEW.without(FLOW, "no recorder ran then"))
    assert report.score is None and report.coverage == pytest.approx(.26) and report.part("cvd").status == "fallback"
    assert "no recorder ran then" in " ".join(report.missing) and report.part("obi").status == "missing"
    both = VIEW.without(FLOW, "none").without(CANDLES, "no 1m candles")
    assert MODULE.score(both).coverage == 0.0 and MODULE.score(both).part("cvd").status == "missing"


def test_a_missing_minute_makes_its_windows_unknown_not_shorter():
    flow = np.random.default_rng(5).standard_normal(200)
    rows = minutes(ofi=flow, drop=[-3])
    report = MODULE.score(seen(rows, VIEW.without(CANDLES, "none")))
    assert report.part("mbp").status == "missing" and report.part("cvd").status == "missing" and report.part("obi").status == "ok"


def test_nothing_traded_is_degenerate_not_balanced():
    report = MODULE.score(seen(minutes(buy_volume=0.0, sell_volume=0.0), VIEW.without(CANDLES, "none")))
    assert report.part("mbp").status == "degenerate" and report.part("mbp").k is None
    assert report.part("aggression").status == "degenerate"


def test_a_quote_that_stood_still_for_an_hour_is_degenerate():
    report = MODULE.score(seen(minutes(mid=100.0)))
    assert report.score is None and report.part("obi").status == "degenerate" and "did not move" in report.part("obi").note


def test_samples_fade_after_ninety_seconds_and_are_stale_after_four_and_a_half_minutes():
    rows = minutes(ofi=np.random.default_rng(5).standard_normal(200), obi=0.5)
    ages = {}
    for seconds in (60, 180, 271):
        line = MODULE.timeline(replace(seen(rows), at_ms=NOW + seconds * 1000))
        ages[seconds] = line.tracks["obi"].freshness(1.5)[-1], line.extra["spread_bps"][-1]
    assert ages[60][0] == 1.0 and ages[180][0] == pytest.approx(0.5) and ages[271][0] == 0.0
    assert ages[180][1] == 1.0 and math.isnan(ages[271][1])
    old = MODULE.score(replace(seen(rows), at_ms=NOW + 3_600_000))
    assert old.score is None and old.part("obi").status == "stale"


# -- on the simulated world -------------------------------------------------------------------------------------------


def test_the_simulated_world_is_scored_whole_and_adds_up():
    report = MODULE.score(VIEW)
    assert report.coverage == pytest.approx(1.0) and report.label in ("buyers", "balanced", "sellers")
    assert math.fsum(p.contribution for p in report.parts if p.contribution is not None) == pytest.approx(report.raw, abs=1e-12)
    assert report.score == pytest.approx(0.5 + 0.5 * report.raw) and 0 <= report.confidence <= report.coverage
    assert {"obi_1", "wall_bps", "cvd_divergence", "bid_elasticity"} <= set(report.shown)


def test_deleting_or_poisoning_the_future_changes_nothing():
    end = EPOCH_MS + 24_000 * HOUR_MS
    found = check_module(MODULE, SimulatedExchange(7, FixedClock(end)), end, cuts=6, poisons=2, seed=3)
    assert not [f"{f.name}: {f.words}" for f in found if not f.ok] and all(f.known for f in found)


def test_a_row_of_the_past_is_what_was_said_then():
    line = MODULE.timeline(build_view(EXCHANGE, "LINKUSDT", Market.SPOT, Interval.M1, MODULE.needs, at_ms=NOW, observations=READER,
                                      more_bars=60), 60)
    for back in (1, 17, 59):
        then = build_view(EXCHANGE, "LINKUSDT", Market.SPOT, Interval.M1, MODULE.needs, at_ms=NOW - back * MINUTE_MS, observations=READER)
        alone = MODULE.timeline(then)
        assert alone.score[-1] == pytest.approx(line.score[-1 - back], abs=1e-12)
        assert alone.extra["fragility"][-1] == pytest.approx(line.extra["fragility"][-1 - back], abs=1e-12)


def test_labels():
    assert [pressure_label(s) for s in (0.2, 0.5, 0.7)] == ["sellers", "balanced", "buyers"]
    assert sum(m.weight for m in METRICS) == pytest.approx(1.0)
