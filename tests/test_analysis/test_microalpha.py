"""Module H on seconds whose right answers are known by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from analysis.fits import FitCache
from analysis.methods.impact import impact_of
from analysis.methods.microprice import fit_day, states_of
from analysis.modules.microalpha import METRICS, MicroAlpha
from analysis.scaling import z0
from core.lookahead_views import check_module
from data.clock import FixedClock, parse_time
from data.market import DAY_MS, HOUR_MS, MINUTE_MS, Interval, Market
from data.observations import COLUMNS_OF, Kind, Observations
from data.simulator.market import EPOCH_MS, SimulatedExchange
from data.simulator.observed import SimulatedObservations
from data.view import build_view

NOW = parse_time("2026-11-20T08:30:00Z")
MODULE = MicroAlpha()
BARS, FLOW = MODULE.needs
EXCHANGE = SimulatedExchange(7, FixedClock(NOW))
READER = SimulatedObservations(7, EXCHANGE, FixedClock(NOW), ticks=("LINKUSDT",))
FITS = FitCache()
VIEW = build_view(EXCHANGE, "LINKUSDT", Market.SPOT, Interval.M1, MODULE.needs, at_ms=NOW, observations=READER, fits=FITS)
N = 2400
TRADED = np.random.default_rng(12).exponential(size=N)


def seconds(n=N, drop=(), seed=1, **columns):
    """`n` seconds that end with the view: a live, even market unless said otherwise."""
    stream = np.random.default_rng(seed)
    event = NOW - 1000 * np.arange(n, 0, -1)
    mid = columns.pop("mid", 100.0 + 0.01 * np.cumsum(stream.choice([-1.0, 0.0, 1.0], n)))
    plain = {"mid": mid, "bid": mid - 0.005, "ask": mid + 0.005, "bid_quantity": 4.0, "ask_quantity": 4.0, "spread_bps": 1.0,
             "imbalance": 0.0, "depth": 4.0, "buy_volume": 1.0, "sell_volume": 1.0, "buy_count": 2.0, "sell_count": 2.0,
             "ofi": stream.standard_normal(n), "latency_flow": 0.0, "latency_ms": 30.0, "price_changes": 1.0, "updates": 4.0,
             "life_ms": 800.0}
    filled = {name: np.broadcast_to(np.asarray(columns.get(name, plain[name]), float), n).copy() for name in COLUMNS_OF[Kind.SECOND_FLOW]}
    rows = Observations(Kind.SECOND_FLOW, event, event + 999, filled)
    return rows.take(np.setdiff1d(np.arange(n), np.arange(n)[list(drop)])) if len(drop) else rows


def seen(rows, view=VIEW):
    return replace(view, observed={FLOW: rows}, fits=FITS)


def part(rows, key):
    return MODULE.score(seen(rows)).part(key)


def tail(values, plain, n=N):
    return np.r_[np.full(n - len(values), plain), values]


# -- every metric by hand ---------------------------------------------------------------------------------------------


def test_without_a_day_to_fit_the_weighted_mid_stands_in():
    found = part(seconds(bid_quantity=tail([6.0], 4.0), ask_quantity=tail([2.0], 4.0)), "micro_dev")
    assert found.status == "fallback" and "weighted" in found.note
    assert found.value == pytest.approx(2 * 6 / 8 - 1) and found.k == pytest.approx(0.5)


def test_a_day_before_midnight_is_fitted_and_used():
    rows = VIEW.observations(FLOW)
    midnight = NOW // DAY_MS * DAY_MS
    day = rows.take((rows.event_time >= midnight - DAY_MS) & (rows.event_time < midnight))
    assert len(day) == 86_400
    share = day["bid_quantity"] / (day["bid_quantity"] + day["ask_quantity"])
    fit = fit_day(np.column_stack((share, day["ask"] - day["bid"], 0.5 * (day["bid"] + day["ask"]))))
    last = {name: rows[name][-1] for name in ("bid", "ask", "bid_quantity", "ask_quantity")}
    half = 0.5 * (last["ask"] - last["bid"])
    state = states_of(np.array([last["bid_quantity"] / (last["bid_quantity"] + last["ask_quantity"])]), np.array([2 * half / fit["tick"]]))
    found = MODULE.score(VIEW).part("micro_dev")
    assert found.status == "ok" and found.value == pytest.approx(fit["g"][state[0]] * fit["tick"] / half)
    assert found.k == pytest.approx(np.clip(found.value, -1, 1)) and MODULE.score(VIEW).shown["micro_price_from"].startswith("Stoikov")


def test_order_flow_over_ten_seconds_in_best_depths():
    rows = seconds()
    summed = np.convolve(rows["ofi"], np.ones(10))[: N] / 4.0
    summed[:9] = np.nan
    found = part(rows, "ofi")
    assert found.value == pytest.approx(summed[-1]) and found.k == pytest.approx(z0(summed, window=900)[-1])


def test_volume_delta_over_a_minute():
    buy = np.random.default_rng(3).exponential(size=N)
    share = (np.convolve(buy, np.ones(60))[:N] - 60) / (np.convolve(buy, np.ones(60))[:N] + 60)
    share[:59] = np.nan
    found = part(seconds(buy_volume=buy), "cvd")
    assert found.value == pytest.approx(share[-1]) and found.k == pytest.approx(z0(share, window=900)[-1])


def test_imbalance_direction_and_latency_adjusted_flow():
    assert part(seconds(imbalance=tail([0.3], -0.9)), "imb").k == 0.3
    assert part(seconds(buy_count=tail([9.0, *[0.0] * 9], 5.0), sell_count=tail([1.0] + [0.0] * 9, 5.0)), "tdr").k == pytest.approx(0.8)
    flow = part(seconds(latency_flow=tail([3.0], 0.0), latency_ms=tail([280.0, 30.0], 30.0)), "lafr")
    assert flow.k == pytest.approx(3.0 / 20.0)
    late = part(seconds(latency_flow=tail([3.0], 0.0), latency_ms=tail([280.0], 30.0)), "lafr")
    assert late.k == pytest.approx(3.0 * math.exp(-1.0) / 20.0)


def test_kyles_lambda_counts_only_where_it_is_clear():
    stream = np.random.default_rng(5)
    net = stream.standard_normal(N)
    mid = 100.0 + np.cumsum(0.01 * net + 0.02 * stream.standard_normal(N))
    rows = seconds(mid=mid, buy_volume=5 + net / 2, sell_volume=5 - net / 2)
    found, move = part(rows, "kyle"), np.diff(mid, prepend=np.nan)
    fit = impact_of(net[-1800:], move[-1800:])
    bursts = (mid[10:] - mid[:-10])[-1800:]
    assert found.status == "ok" and found.value == pytest.approx(float(fit.slope), rel=1e-6) and fit.t > 2
    assert found.k == pytest.approx(math.tanh(float(fit.slope) * net[-10:].sum() / np.std(bursts, ddof=1)), rel=1e-6)
    wrong = part(seconds(mid=mid, buy_volume=5 - net / 2, sell_volume=5 + net / 2), "kyle")
    assert wrong.status == "missing" and wrong.value < 0 and wrong.k is None and "clearly" in wrong.note


def test_the_last_second_reverses():
    mid = 100.0 + 0.01 * (np.arange(N) % 2)
    mid[-1] = mid[-2] + 0.05
    found = part(seconds(mid=mid), "hf_z")
    assert found.value > 3 and found.k == pytest.approx(-math.tanh(found.value / 3))


def test_quality_is_stability_and_life_of_the_quote():
    line = MODULE.timeline(seen(seconds(price_changes=1.0, updates=4.0, life_ms=50.0)))
    assert line.extra["quality"][-1] == pytest.approx(math.sqrt(0.75 * 0.25))
    report = MODULE.score(seen(seconds(price_changes=1.0, updates=4.0, life_ms=50.0)))
    assert (report.part("quote_stability").value, report.part("order_duration").value) == (0.75, 50.0)
    assert report.confidence <= 0.44 * report.coverage and report.part("tick_vol").value == 4.0 and report.part("spread").value == 1.0
    calm = MODULE.timeline(seen(seconds(price_changes=0.0, life_ms=np.nan)))
    assert calm.extra["quality"][-1] == 1.0 and calm.tracks["order_duration"].value[-1] == 60_000.0


# -- absence ----------------------------------------------------------------------------------------------------------


def test_nothing_is_said_before_fifteen_minutes_of_stream():
    report = MODULE.score(seen(seconds(n=800)))
    assert report.score is None and all(p.status == "warmup" for p in report.parts) and "15 minutes" in report.reason
    enough = MODULE.score(seen(seconds(n=1100)))
    assert enough.score is not None and enough.part("kyle").status == "warmup"


def test_a_gap_takes_the_order_flow_and_leaves_the_rest():
    report = MODULE.score(seen(seconds(ofi=tail([np.nan, 1.0, 1.0], 0.5), buy_volume=TRADED)))
    assert report.part("ofi").status == "missing" and "gap" in report.part("ofi").note
    assert report.part("imb").status == "ok" and report.score is not None and report.coverage < 0.81


def test_a_crossed_quote_is_missing():
    nothing = {name: tail([np.nan], 100.0) for name in ("mid", "bid", "ask", "imbalance", "ofi")}
    report = MODULE.score(seen(seconds(**nothing)))
    assert report.part("imb").status == "missing" and report.part("micro_dev").status == "missing" and report.score is None


def test_nothing_traded_is_degenerate():
    quiet = dict.fromkeys(("buy_volume", "sell_volume", "buy_count", "sell_count"), 0.0)
    report = MODULE.score(seen(seconds(latency_ms=np.nan, **quiet)))
    assert {report.part(key).status for key in ("cvd", "tdr", "lafr")} == {"degenerate"} and report.part("tdr").k is None


def test_a_quote_that_stands_still_is_degenerate_and_polled_books_have_no_confidence():
    assert all(p.status == "degenerate" for p in MODULE.score(seen(seconds(mid=np.full(N, 100.0)))).parts)
    polled = MODULE.score(seen(seconds(buy_volume=TRADED, ofi=np.nan, updates=np.nan, price_changes=np.nan, life_ms=np.nan)))
    assert polled.score is not None and polled.confidence is None and polled.part("ofi").status == "missing"


def test_books_count_for_five_seconds_and_trades_for_ten():
    rows = seconds()
    for age, imb, tdr in ((5, 1.0, 1.0), (10, 0.5, 1.0), (20, 0.0, 0.5)):
        tracks = MODULE.timeline(replace(seen(rows), at_ms=NOW + 1000 * age)).tracks
        assert (tracks["imb"].freshness(5.0)[-1], tracks["tdr"].freshness(10.0)[-1]) == pytest.approx((imb, tdr))
    old = MODULE.score(replace(seen(rows), at_ms=NOW + 120_000))
    assert old.score is None and old.part("imb").status == "stale" and math.isnan(MODULE.timeline(
        replace(seen(rows), at_ms=NOW + 120_000)).extra["quality"][-1])


# -- on the simulated world -------------------------------------------------------------------------------------------


def test_the_simulated_world_is_scored_and_adds_up():
    report = MODULE.score(VIEW)
    assert report.score is not None and report.coverage >= 0.9 and 0 <= report.confidence <= report.coverage
    assert math.fsum(p.contribution for p in report.parts if p.contribution is not None) == pytest.approx(report.raw, abs=1e-12)
    assert sum(m.weight for m in METRICS) == pytest.approx(1.0)


def test_deleting_or_poisoning_the_future_changes_nothing():
    end = EPOCH_MS + 24_000 * HOUR_MS
    found = check_module(MODULE, SimulatedExchange(7, FixedClock(end)), end, cuts=6, poisons=2, seed=3)
    assert not [f"{f.name}: {f.words}" for f in found if not f.ok] and all(f.known for f in found)


def test_a_row_of_the_past_is_what_was_said_then():
    more = build_view(EXCHANGE, "LINKUSDT", Market.SPOT, Interval.M1, MODULE.needs, at_ms=NOW, observations=READER, more_bars=30, fits=FITS)
    line = MODULE.timeline(more, 30)
    for back in (1, 29):
        then = build_view(EXCHANGE, "LINKUSDT", Market.SPOT, Interval.M1, MODULE.needs, at_ms=NOW - back * MINUTE_MS, observations=READER,
                          fits=FITS)
        assert MODULE.timeline(then).score[-1] == line.score[-1 - back]


def test_planted_the_score_knows_the_next_second():
    """The simulated quote leans to the coming move: at bars' closes that is cut off (a minute's last second), inside a minute it is not."""
    rows = VIEW.observations(FLOW)
    state = np.sign(rows["bid_quantity"] - rows["ask_quantity"])[:-1]
    move = np.sign(np.diff(rows["mid"]))
    inside = (rows.event_time[:-1] % MINUTE_MS != 59_000) & (move != 0)
    assert (state[inside] == move[inside]).mean() > 0.6
