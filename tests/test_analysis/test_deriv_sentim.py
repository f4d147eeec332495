"""Module C: every metric against plain arithmetic, units, what is missing or old, and that no row knows a later one."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.methods.liquidations import estimate_levels, masses
from analysis.methods.options_surface import gamma_exposure, surfaces
from analysis.methods.positioning import (
    annual_rate,
    crowded,
    deviation_tail,
    held_at,
    kelley_skew,
    settled_within,
    skewness,
    spacing_s,
    varies,
)
from analysis.modules.deriv_sentim import EXTRA, DerivativesSentiment
from analysis.report import Direction, Intensity
from analysis.scaling import tp
from data.clock import FixedClock, parse_time
from data.frames import Candles
from data.indicators.ranges import natr
from data.market import DAY_MS, HOUR_MS, Interval, Market
from data.observations import Kind, Observations
from data.simulator.market import SimulatedExchange
from data.simulator.observed import SimulatedObservations
from data.view import build_view
from tests.derivatives_reader import funding, hourly, rows, view_with

NOW = parse_time("2026-11-20T08:30:00Z")
MODULE = DerivativesSentiment()
START = 1_700_006_400_000
BARS = 900


@pytest.fixture(scope="module")
def world():
    clock = FixedClock(NOW)
    exchange = SimulatedExchange(7, clock)
    return exchange, SimulatedObservations(7, exchange, clock)


def at(world, symbol="ETHUSDT", at_ms=None, interval=Interval.H1, more_bars=0, market=Market.SPOT):
    return build_view(world[0], symbol, market, interval, MODULE.needs, at_ms=at_ms, observations=world[1], more_bars=more_bars)


@pytest.fixture(scope="module")
def view(world):
    return at(world)


@pytest.fixture(scope="module")
def report(view):
    return MODULE.score(view)


def kept(view, kind):
    return next(o for need, o in view.observed.items() if need.kind is kind)


def candles_of(view, market=Market.PERP, interval=None):
    return next(c for n, c in view.series.items() if n.market is market and n.interval is interval)


def zm_last(x):
    x = np.asarray(x, float)
    middle = np.median(x)
    return math.tanh((x[-1] - middle) / (2 * 1.4826 * np.median(np.abs(x - middle))))


def z_last(x):
    return x[-1] / (1.4826 * np.median(np.abs(x)))


def as_of(observations, closes, column):
    row = np.searchsorted(observations.available_time, closes, side="right") - 1
    return observations[column][row], observations.event_time[row]


# -- each metric by plain arithmetic --------------------------------------------------------------------------------


def test_funding_and_crowding(view, report):
    seen = kept(view, Kind.FUNDING).known_at(view.as_of_ms + 1)
    rank = stats.percentileofscore(seen["rate"][-270:], seen["rate"][-1], kind="mean") / 100
    crowd = max(0.0, (abs(2 * rank - 1) - 0.8) / 0.2)
    assert report.part("funding").k == pytest.approx((2 * rank - 1) * (1 - crowd))
    assert report.part("crowding").k == pytest.approx(-np.sign(2 * rank - 1) * crowd)
    assert report.part("funding").value == pytest.approx(seen["rate"][-1] * 3 * 365)
    low, middle, high = np.quantile(seen["rate"][-90:], (0.1, 0.5, 0.9))
    assert report.part("fund_skew").k == pytest.approx((high + low - 2 * middle) / (high - low))
    assert report.shown["funding_skewness"] == pytest.approx(stats.skew(seen["rate"][-90:], bias=False))
    assert report.shown["funding_24h"] == pytest.approx(seen["rate"][-3:].sum())


def test_open_interest(view, report):
    perp = candles_of(view)
    oi, event = as_of(kept(view, Kind.OPEN_INTEREST), perp.close_time, "contracts")
    assert event[-1] == perp.close_time[-1] + 1 - HOUR_MS, "published five minutes after the hour: the newest known is an hour old"
    z_price = z_last(np.log(perp.close[12:] / perp.close[:-12])[-201:-1])  # up to that hour
    z_interest = z_last(np.log(oi[12:] / oi[:-12])[-200:])
    confirm = math.tanh(z_price / 2) * max(0.0, math.tanh(z_interest / 2))
    closing = -math.tanh(z_price / 2) * min(1.0, abs(z_interest)) if z_interest < 0 else 0.0
    assert report.part("oi_confirm").k == pytest.approx(confirm, abs=1e-12)
    assert report.part("oi_divergence").k == pytest.approx(closing, abs=1e-12)


def test_ratios_and_volume_imbalance(view, report):
    perp = candles_of(view)
    for key, kind, sign in (("ls_ratio", Kind.GLOBAL_RATIO, -1), ("top_ratio", Kind.TOP_POSITION_RATIO, 1)):
        ratio, _ = as_of(kept(view, kind), perp.close_time[-500:], "ratio")
        assert report.part(key).k == pytest.approx(sign * zm_last(np.log(ratio)))
        assert report.part(key).value == pytest.approx(math.log(ratio[-1]))
    volume = np.convolve(perp.volume, np.ones(12), "valid")
    x = np.convolve(2 * perp.taker_buy_volume - perp.volume, np.ones(12), "valid") / volume
    assert report.part("vii").value == pytest.approx(x[-1]) and report.part("vii").k == pytest.approx(math.tanh(z_last(x[-500:]) / 2))


def test_liquidations(view, report):
    closed, hours, daily = view.as_of_ms, candles_of(view, interval=Interval.H1), candles_of(view, None, Interval.D1)
    orders = kept(view, Kind.LIQUIDATIONS)
    known = orders.take((orders.available_time <= closed) & (orders.available_time > closed - HOUR_MS))
    value = known["filled_quantity"] * known["average_price"]
    shorts, longs = value[known["side"] > 0].sum(), value[known["side"] < 0].sum()
    price = candles_of(view).close[-1]
    reach = 2 * natr(daily)[-1] / 100 * price
    levels = estimate_levels(hours, kept(view, Kind.OPEN_INTEREST))
    up, down, total = (float(x[0]) for x in masses(levels, np.array([closed]), np.array([price]), np.array([reach])))
    expected = 0.5 * (shorts - longs) / (shorts + longs) + 0.5 * (up - down) / (up + down)
    assert report.part("liquidations").k == pytest.approx(expected)
    assert report.shown["liquidation_assumptions"].startswith("ESTIMATE") and 0 < up + down < total
    assert report.shown["liquidation_hit_days"] > 30


def test_options(view, report):
    marks, held = kept(view, Kind.OPTION_MARK), kept(view, Kind.OPTION_OPEN_INTEREST)
    known = marks.known_at(view.as_of_ms + 1)
    skew = np.array([s.skew for s in surfaces(known)])[-150:]
    gamma = gamma_exposure(known, held)[-150:]
    hours = candles_of(view, interval=Interval.H1)
    assert report.part("vol_skew").k == pytest.approx(zm_last(skew))
    assert report.part("gex").k == pytest.approx(-zm_last(gamma) * np.sign(math.log(hours.close[-1] / hours.close[-25])))
    assert 0.3 < report.shown["atm_iv_30d"] < 1.2 and report.shown["iv30"] > report.shown["atm_iv_30d"] * 0.9


def test_flow_and_crowding_beside_the_score(view, report):
    line = MODULE.timeline(view, 3)
    parts = {key: report.part(key) for key in ("oi_confirm", "oi_divergence", "vii", "top_ratio", "liquidations")}
    flow = sum(p.weight * p.k for p in parts.values()) / sum(p.weight for p in parts.values())
    assert line.extra["c_flow"][-1] == pytest.approx(flow) == report.shown["c_flow"]
    direction, crowding = MODULE.flow(view, line), MODULE.crowding(view, line)
    assert isinstance(direction, Direction) and direction.value == pytest.approx(flow) and direction.coverage == pytest.approx(1.0)
    perp = candles_of(view)
    rate = kept(view, Kind.FUNDING)["rate"][-270:]
    rank = stats.percentileofscore(rate, rate[-1], kind="mean") / 100
    closes = perp.close_time[-500:]
    ratio = np.log(as_of(kept(view, Kind.GLOBAL_RATIO), closes, "ratio")[0])
    oi = as_of(kept(view, Kind.OPEN_INTEREST), closes, "contracts")[0]
    turnover = oi / np.convolve(perp.volume, np.ones(24), "valid")[-500:]
    premium = np.abs(kept(view, Kind.PREMIUM_INDEX)["close"][-500:])
    surprise = [min(1.0, max(0.0, (-math.log10(p) - 1) / 3)) for p in (deviation_tail(ratio)[-1], tp(premium)[-1])]
    turned = stats.percentileofscore(turnover, turnover[-1], kind="mean") / 100
    four = sorted([max(0.0, (abs(2 * rank - 1) - 0.8) / 0.2), max(0.0, (turned - 0.8) / 0.2), *surprise])
    assert isinstance(crowding, Intensity) and crowding.value == pytest.approx((four[-1] + four[-2]) / 2, abs=1e-9)
    assert line.extra["crowding_side"][-1] == np.sign(rate[-1] - np.median(rate))
    assert all(0 < line.extra[p][-1] <= 1 for p in ("p_funding", "p_open_interest", "p_ls_ratio", "p_liquidations"))


def test_recipe(report):
    assert report.coverage == pytest.approx(1.0) and report.score == report.raw and -1 <= report.score <= 1
    assert report.raw == pytest.approx(sum(p.weight * p.k for p in report.parts))
    contributions = [p.contribution for p in report.parts]
    assert report.agreement == pytest.approx(abs(sum(contributions)) / sum(abs(c) for c in contributions))
    assert report.confidence == pytest.approx(0.5 + 0.5 * report.agreement)
    assert isinstance(report.value, Direction) and report.value.value == pytest.approx(report.score)
    json.dumps(report.document(), allow_nan=False)


# -- small laws -----------------------------------------------------------------------------------------------------


def test_funding_per_year_counts_its_interval():
    assert annual_rate(np.array([1e-4, 1e-4, 1e-4]), np.array([8.0, 4.0, 1.0])).tolist() == pytest.approx([0.1095, 0.219, 0.876])
    times = np.array([0, 8, 16, 24, 48]) * HOUR_MS
    assert settled_within(times, np.array([1.0, 2, 4, 8, 16])).tolist() == [1, 3, 7, 14, 16]


def test_the_same_rate_every_four_hours_is_twice_as_much_carry():
    """After a change from 8 to 4 hours the same number is the highest rate per year there ever was."""
    rate = np.full(200, 1e-4) + 1e-6 * np.random.default_rng(1).standard_normal(200)
    hours = np.concatenate((np.full(195, 8.0), np.full(5, 4.0)))
    candles = walk_candles()
    end = int(candles.close_time[-1]) + 1 - HOUR_MS
    found = MODULE.score(view_with(MODULE, candles, {Kind.FUNDING: funding(rate, end, hours)}))
    assert found.part("funding").value == pytest.approx(rate[-1] * 6 * 365)
    assert abs(found.part("crowding").k) > 0.5 and found.part("crowding").k < 0


def test_crowd_begins_at_the_ninetieth_percentile():
    assert crowded(np.array([0.5, 0.9, 0.95, 1.0, 0.05, 0.1])).tolist() == pytest.approx([0, 0, 0.5, 1, 0.5, 0])


def test_kelley_skew_by_hand():
    assert kelley_skew(np.arange(90.0), window=90)[-1] == pytest.approx(0.0)
    lopsided = np.concatenate((np.zeros(60), np.ones(30)))  # q10 = q50 = 0, q90 = 1
    assert kelley_skew(lopsided, window=90)[-1] == 1.0 and np.isnan(kelley_skew(np.ones(90), window=90)[-1])
    assert skewness(np.array([1.0, 2, 3, 10])) == pytest.approx(stats.skew([1, 2, 3, 10], bias=False))


def test_deviation_tail_is_tp_where_the_median_is_fixed():
    """Between +-symmetric noise the median is 0 in every window: then it is TP of the distances, to the last digits."""
    x = np.random.default_rng(2).standard_normal(400)
    x = np.stack((x, -x), axis=1).ravel()  # every even window is symmetric
    even = np.arange(201, 800, 20)
    mine, plain = deviation_tail(x, window=200), tp(np.abs(x), window=200)
    assert np.allclose(mine[even], plain[even], rtol=1e-9)
    assert mine[even].min() < 0.05 < 0.3 < mine[even].max()


def test_spacing_is_what_the_rows_are_normally_given():
    event = np.concatenate((np.arange(20) * HOUR_MS, [40 * HOUR_MS]))
    seen = rows(Kind.OPEN_INTEREST, event, contracts=np.ones(21))
    assert spacing_s(seen, least_s=600.0).tolist()[1:] == [3600.0] * 20 and spacing_s(seen, least_s=7200.0)[-1] == 7200.0
    held = held_at(seen, np.array([19, 20, 22, 24, 45]) * HOUR_MS + 600_000, age_s=0.0, tau=1.2, least_s=600.0)
    assert held.usable.tolist() == [True, True, True, False, False]


# -- absence --------------------------------------------------------------------------------------------------------


def walk_candles(n=BARS, seed=11):
    stream = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(0.004 * stream.standard_normal(n)))
    opened = np.concatenate((close[:1], close[:-1]))
    volume = stream.lognormal(5, 0.5, n)
    return Candles.from_columns(Interval.H1, {
        "open_time": START + np.arange(n) * HOUR_MS, "open": opened, "high": np.maximum(opened, close) * 1.001, "close": close,
        "low": np.minimum(opened, close) * 0.999, "volume": volume, "taker_buy_volume": volume * stream.uniform(0.3, 0.7, n)})


def full_world(candles, seed=12, n=BARS):
    stream = np.random.default_rng(seed)
    end = int(candles.close_time[-1]) + 1 - HOUR_MS

    def wander(scale):
        return np.exp(np.cumsum(scale * stream.standard_normal(n)) * 0.2)

    return {
        Kind.FUNDING: funding(1e-4 * stream.standard_normal(300), end),
        Kind.OPEN_INTEREST: hourly(Kind.OPEN_INTEREST, 1e4 * wander(0.02), end, "contracts"),
        Kind.GLOBAL_RATIO: hourly(Kind.GLOBAL_RATIO, wander(0.05), end, "ratio"),
        Kind.TOP_POSITION_RATIO: hourly(Kind.TOP_POSITION_RATIO, wander(0.05), end, "ratio"),
        Kind.PREMIUM_INDEX: hourly(Kind.PREMIUM_INDEX, 1e-4 * stream.standard_normal(n), end, "close"),
    }


def test_a_coin_without_options_has_a_score(world):
    found = MODULE.score(at(world, "SOLUSDT"))
    assert found.score is not None and found.coverage == pytest.approx(0.93)
    assert "no options on SOLUSDT" in found.part("vol_skew").note and found.part("gex").status == "missing"
    assert any("option marks" in words for words in found.missing)


def test_dropping_any_input_is_named_and_changes_nothing_else(view, report):
    named = {need: need.describe() for need in MODULE.needs}
    for need, words in named.items():
        lacking = MODULE.score(view.without(need, "taken away"))
        if need.bars and need.market is None and need.interval is None:
            assert lacking.score is None
            continue
        assert any(words in m and "taken away" in m for m in lacking.missing), words
        assert lacking.coverage <= report.coverage + 1e-12
        for part in lacking.parts:
            if part.status == "ok" and not (need.kind is Kind.CANDLES and part.name == "liquidations"):  # they follow the price
                assert part.k == pytest.approx(report.part(part.name).k, abs=1e-12)
    without = MODULE.score(view.without(next(n for n in MODULE.needs if n.market is Market.PERP and n.interval is None), "none"))
    assert without.part("vii").status == "fallback" and "spot candles stand in" in without.part("oi_confirm").note
    assert any("stand in" in m for m in without.missing) and without.score is not None


def test_without_derivatives_there_is_no_score(view):
    bare = replace(view, observed={need: Observations.empty(need.kind, note="nothing stored") for need in view.observed})
    found = MODULE.score(bare)
    assert found.score is None and found.coverage == pytest.approx(0.14) and "nothing stored" in found.reason


@pytest.mark.parametrize(("hours", "status", "coverage"),
                         [(0, "ok", 0.93), (2, "ok", 0.71 + 0.22 * (3 - 10_500 / 4_320) / 2), (8, "stale", 0.63)])
def test_open_interest_fades_with_its_age(hours, status, coverage):
    candles = walk_candles()
    observed = full_world(candles)
    seen = observed[Kind.OPEN_INTEREST]
    observed[Kind.OPEN_INTEREST] = seen.take(slice(0, len(seen) - hours))
    found = MODULE.score(view_with(MODULE, candles, observed))
    assert found.part("oi_confirm").status == status and found.coverage == pytest.approx(coverage, abs=1e-4)
    assert found.part("oi_confirm").age_s == pytest.approx(hours * 3600 + 3300, abs=2)
    assert status != "stale" or (found.score is None and "open interest is 8 h old" in found.reason)


def test_a_feed_that_repeats_one_value_is_degenerate_not_neutral():
    candles = walk_candles()
    observed = full_world(candles)
    end = int(candles.close_time[-1]) + 1 - HOUR_MS
    observed |= {Kind.OPEN_INTEREST: hourly(Kind.OPEN_INTEREST, np.full(BARS, 9e3), end, "contracts"),
                 Kind.GLOBAL_RATIO: hourly(Kind.GLOBAL_RATIO, np.full(BARS, 1.2), end, "ratio"),
                 Kind.FUNDING: funding(np.full(300, 1e-4), end)}
    found = MODULE.score(view_with(MODULE, candles, observed))
    for key in ("oi_confirm", "ls_ratio", "funding", "fund_skew"):
        assert found.part(key).status == "degenerate" and found.part(key).k is None, key
    assert found.score is None


def test_thirty_days_of_ratios_suffice_at_one_hour_and_not_at_one_day():
    candles = walk_candles(24 * 70)
    observed = full_world(candles, n=24 * 70)
    for kind in (Kind.GLOBAL_RATIO, Kind.TOP_POSITION_RATIO):
        observed[kind] = observed[kind].take(observed[kind].event_time > observed[kind].event_time[-1] - 30 * DAY_MS)
    found = MODULE.score(view_with(MODULE, candles, observed))
    assert found.part("ls_ratio").status == found.part("top_ratio").status == "ok" and found.score is not None
    few = {**observed, Kind.GLOBAL_RATIO: observed[Kind.GLOBAL_RATIO].take(slice(-80, None))}
    part = MODULE.score(view_with(MODULE, candles, few)).part("ls_ratio")
    assert part.status == "warmup" and "needs 2" in part.note


def test_rows_every_five_minutes_are_judged_by_five_minutes():
    """As the venue gives them live: a row is ten minutes behind the close at most, so the price's change ends at the close itself."""
    candles = walk_candles()
    end = int(candles.close_time[-1]) + 1
    event = end - np.arange(12 * BARS)[::-1] * 300_000
    held = 1e4 * np.exp(np.cumsum(0.001 * np.random.default_rng(5).standard_normal(len(event))))
    seen = rows(Kind.OPEN_INTEREST, event, contracts=held)
    part = MODULE.score(view_with(MODULE, candles, {Kind.OPEN_INTEREST: seen})).part("oi_confirm")
    oi, at = as_of(seen, candles.close_time, "contracts")
    assert end - at[-1] == 600_000 and part.status == "ok" and part.age_s == pytest.approx(300, abs=1)
    z_price, z_interest = (z_last(np.log(x[12:] / x[:-12])[-200:]) for x in (candles.close, oi))
    assert part.k == pytest.approx(math.tanh(z_price / 2) * max(0.0, math.tanh(z_interest / 2)), abs=1e-12)
    late = rows(Kind.OPEN_INTEREST, event[:-8], contracts=held[:-8])
    assert MODULE.score(view_with(MODULE, candles, {Kind.OPEN_INTEREST: late})).part("oi_confirm").status == "stale"


def test_hourly_open_interest_says_nothing_about_twelve_minutes(world):
    found = MODULE.score(at(world, "SOLUSDT", interval=Interval.M1))
    assert found.part("oi_confirm").status == "degenerate" and "every 60 min" in found.part("oi_confirm").note
    assert found.coverage == pytest.approx(0.71) and found.score is not None


def test_crowding_needs_two_of_its_four():
    candles = walk_candles()
    known = full_world(candles)
    two = view_with(MODULE, candles, {k: known[k] for k in (Kind.FUNDING, Kind.GLOBAL_RATIO)})
    one = view_with(MODULE, candles, {Kind.FUNDING: known[Kind.FUNDING]})
    assert MODULE.crowding(two, MODULE.timeline(two)).value is not None
    line = MODULE.timeline(one)
    assert MODULE.crowding(one, line).value is None and "fewer than two" in MODULE.crowding(one, line).reason
    assert MODULE.flow(one, line).value is None


def test_no_forced_order_in_an_hour_is_quiet_only_while_the_recorder_lives():
    candles = walk_candles()
    end = int(candles.close_time[-1]) + 1
    world = full_world(candles)

    def scored(seconds_before):
        orders = rows(Kind.LIQUIDATIONS, [end - seconds_before * 1000], late_ms=0, side=-1.0, average_price=100.0, filled_quantity=1.0)
        return MODULE.score(view_with(MODULE, candles, {**world, Kind.LIQUIDATIONS: orders}))

    fresh, quiet, dead = (scored(s) for s in (600, 7_200, 90_000))
    waiting = quiet.part("liquidations").k
    assert fresh.part("liquidations").k == pytest.approx(waiting - 0.5) and quiet.part("liquidations").status == "ok"
    assert dead.part("liquidations").status == "fallback" and "estimate alone" in dead.part("liquidations").note
    assert dead.shown["liquidated_longs_1h"] is None and quiet.shown["liquidated_longs_1h"] == 0.0


# -- the past -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("symbol", "interval"), [("ETHUSDT", Interval.H1), ("DOGEUSDT", Interval.H4), ("SOLUSDT", Interval.D1)])
def test_each_row_of_a_timeline_is_what_its_own_view_gives(world, symbol, interval):
    line = MODULE.timeline(at(world, symbol, interval=interval, more_bars=60), 60)
    assert np.isfinite(line.score).sum() > 50 and set(line.extra) == set(EXTRA)
    for row in (0, 13, 31, 58, 59):
        own = MODULE.timeline(at(world, symbol, at_ms=int(line.close_time[row]) + 1, interval=interval), 1)
        assert own.close_time[-1] == line.close_time[row]
        for key, track in line.tracks.items():
            assert own.tracks[key].status[-1] == track.status[row], (key, row)
            assert np.allclose([own.tracks[key].value[-1], own.tracks[key].k[-1]], [track.value[row], track.k[row]], rtol=1e-9, atol=1e-9,
                               equal_nan=True), (key, row)
        for key, values in line.extra.items():
            assert np.allclose(own.extra[key][-1], values[row], rtol=1e-9, atol=1e-9, equal_nan=True), (key, row)
        assert own.score[-1] == pytest.approx(line.score[row], abs=1e-9, nan_ok=True)


def test_rows_after_a_moment_change_nothing_at_it(world):
    """Everything that became known after a close, replaced by nonsense: the row at that close keeps its bits."""
    view = at(world, "ETHUSDT", more_bars=40)
    line = MODULE.timeline(view, 40)
    for row in (5, 20, 33):
        close = int(line.close_time[row])

        def spoiled(seen, close=close):
            later = seen.available_time > close
            nonsense = 1e9 + 7.0 * np.arange(len(seen))
            return replace(seen, columns={name: np.where(later, nonsense, values) for name, values in seen.columns.items()})

        other = MODULE.timeline(replace(view, observed={need: spoiled(seen) for need, seen in view.observed.items()}), 40)
        for key, track in line.tracks.items():
            assert other.tracks[key].k[row].tobytes() == track.k[row].tobytes(), (key, row)
        for key, values in line.extra.items():
            assert other.extra[key][row].tobytes() == values[row].tobytes(), (key, row)


def test_a_perpetual_view_is_its_own_perpetual(world, report):
    found = MODULE.score(at(world, market=Market.PERP))
    assert found.score == pytest.approx(report.score, abs=1e-9) and found.market == "perp"


@pytest.mark.parametrize("nonsense", [np.nan, np.inf, 0.0, -1.0, 1e300], ids=str)
def test_nonsense_in_a_column_is_an_answer_not_an_error(view, nonsense):
    """Every second row of every column at once: whatever is left of the metrics lies in -1..1, and the document is JSON."""
    def damaged(seen):
        hit = np.arange(len(seen)) % 2 == len(seen) % 2
        return replace(seen, columns={name: np.where(hit, nonsense, values) for name, values in seen.columns.items()})

    found = MODULE.score(replace(view, observed={need: damaged(seen) for need, seen in view.observed.items()}))
    json.dumps(found.document(), allow_nan=False)
    assert all(p.k is None or -1 <= p.k <= 1 for p in found.parts) and (found.score is None or -1 <= found.score <= 1)


def test_what_varies_is_what_pandas_calls_a_range():
    stream = np.random.default_rng(3)
    for trial in range(300):
        n, window = int(stream.integers(0, 60)), int(stream.integers(1, 25))
        x = stream.integers(0, 3, n).astype(float)
        x[stream.random(n) < 0.4 * (trial % 2)] = np.nan
        rolling = pd.Series(x).rolling(window, min_periods=1)
        assert np.array_equal(varies(x, window=window), (rolling.max() > rolling.min()).to_numpy()), (trial, window)
