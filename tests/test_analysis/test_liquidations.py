"""Liquidation prices by hand, the estimated map beside a slow naive one, and a back-check that can find something and nothing."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from analysis.methods.crossings import first_crossings
from analysis.methods.liquidations import (
    DEFAULT,
    LABEL,
    NEVER_MS,
    LiquidationAssumptions,
    balance,
    burst_tail,
    estimate_levels,
    forced_sums,
    hit_rate,
    level_map,
    liquidation_distance,
    liquidation_price,
    masses,
    observed_map,
    wilson,
)
from data.frames import Candles
from data.market import DAY_MS, HOUR_MS, Interval
from data.observations import Kind, Observations

START = 1_700_006_400_000  # 2023-11-15T00:00:00Z


def hours_of(close, *, reach=0.002):
    close = np.asarray(close, float)
    opened = np.concatenate((close[:1], close[:-1]))
    return Candles.from_columns(Interval.H1, {
        "open_time": START + np.arange(len(close)) * HOUR_MS, "open": opened, "high": np.maximum(opened, close) * (1 + reach),
        "low": np.minimum(opened, close) * (1 - reach), "close": close, "volume": np.ones(len(close))})


def interest_of(contracts, *, late_ms=300_000):
    event = START + (np.arange(len(contracts)) + 1) * HOUR_MS
    contracts = np.asarray(contracts, float)
    return Observations(Kind.OPEN_INTEREST, event, event + late_ms, {"contracts": contracts, "value_quote": contracts * 100})


def forced_of(rows):
    """(seconds after START, side, price, quantity) as observations known at once."""
    table = np.array(rows, float).reshape(-1, 4)
    at = START + (table[:, 0] * 1000).astype(np.int64)
    return Observations(Kind.LIQUIDATIONS, at, at, {"side": table[:, 1], "price": table[:, 2], "average_price": table[:, 2],
                                                    "quantity": table[:, 3], "filled_quantity": table[:, 3]})


# -- liquidation price ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "entry", "margin", "maintenance", "amount", "expected"), [
    (1, 10_000.0, 1_000.0, 0.005, 0.0, 9_000 / 0.995),  # ten times leverage, long: (1000 - 10000)/(0.005 - 1)
    (-1, 10_000.0, 1_000.0, 0.005, 0.0, 11_000 / 1.005),
    (1, 50_000.0, 2_000.0, 0.01, 50.0, 47_950 / 0.99),
])
def test_isolated_liquidation_price_by_hand(side, entry, margin, maintenance, amount, expected):
    price = liquidation_price(side, 1.0, entry, margin, maintenance=maintenance, maintenance_amount=amount)
    assert price == pytest.approx(expected)
    assert margin + side * (price - entry) == pytest.approx(maintenance * price - amount), "equity is the maintenance margin there"


def test_what_cannot_be_liquidated_has_no_price():
    assert math.isnan(liquidation_price(1, 1.0, 100.0, 150.0)) and math.isnan(liquidation_price(1, 0.0, 100.0, 10.0))
    assert liquidation_distance(100.0, math.nan, 0.02) == math.inf
    assert liquidation_distance(100.0, 90.0, 0.02) == pytest.approx(5.0)


# -- the estimate ---------------------------------------------------------------------------------------------------


def test_one_growth_of_interest_by_hand():
    hours = hours_of([100.0, 100.0, 100.0, 100.0], reach=0.001)
    levels = estimate_levels(hours, interest_of([50.0, 60.0, 60.0, 55.0]))
    assert levels.mass.tolist() == pytest.approx([0.0, 1000.0, 0.0, 0.0])
    # longs at 100 (1 - 1/L + .005), then shorts at 100 (1 + 1/L - .005); typical price (100.1 + 99.9 + 100)/3
    assert levels.price[1] == pytest.approx([90.5, 96.5, 98.5, 99.5, 109.5, 103.5, 101.5, 100.5])
    assert (levels.crossed_ms[1] == NEVER_MS).all()
    at = START + 3 * HOUR_MS  # an hour after: weights 0.5^(1/72)
    up, down, total = masses(levels, np.array([at]), np.array([100.0]), np.array([2.0]))
    faded = 1000.0 * 0.5 ** ((HOUR_MS + 1) / (3 * DAY_MS))
    assert (up[0], down[0], total[0]) == pytest.approx((0.4 * faded, 0.4 * faded, 2 * faded))


def test_interest_is_not_known_before_it_is_published():
    levels = estimate_levels(hours_of([100.0] * 4, reach=0.001), interest_of([50.0, 60.0, 60.0, 60.0]))
    grown_at = START + 2 * HOUR_MS + 300_000
    total = masses(levels, np.array([grown_at - 1, grown_at]), np.full(2, 100.0), np.full(2, 50.0))[2]
    assert total[0] == 0.0 and total[1] > 0.0


def test_mass_goes_when_price_trades_through_it():
    hours = hours_of([100.0, 100.0, 100.0, 98.0, 100.0], reach=0.0)
    levels = estimate_levels(hours, interest_of([50.0, 60.0, 60.0, 60.0, 60.0]))
    assert levels.crossed_ms[1].tolist()[:4] == [NEVER_MS, NEVER_MS, hours.close_time[3], hours.close_time[3]]
    before, after = masses(levels, hours.close_time[2:4], np.full(2, 100.0), np.full(2, 3.0))[1]
    assert before > 0 and after == 0.0


def naive_masses(hours, interest, at, price, reach, assumptions=DEFAULT):
    """The same by loops over positions."""
    up = down = total = 0.0
    oi = dict(zip(interest.event_time.tolist(), interest["contracts"].tolist(), strict=True))
    for i in range(1, len(hours)):
        closed = int(hours.close_time[i])
        now, before = oi.get(closed + 1), oi.get(closed + 1 - HOUR_MS)
        if now is None or before is None or now <= before or closed + 1 + 300_000 > at or at - closed >= assumptions.memory_days * DAY_MS:
            continue
        typical = (hours.high[i] + hours.low[i] + hours.close[i]) / 3
        weight = (now - before) * typical * 0.5 ** ((at - closed) / (assumptions.half_life_days * DAY_MS))
        for leverage, share in zip(assumptions.leverage, assumptions.share, strict=True):
            for side in (1, -1):
                level = typical * (1 - side / leverage + side * assumptions.maintenance)
                later = [j for j in range(i + 1, len(hours)) if hours.close_time[j] <= at]
                if any(hours.low[j] <= level if side > 0 else hours.high[j] >= level for j in later):
                    continue
                total += weight * share
                if abs(level - price) <= reach:
                    up, down = up + weight * share * (level > price), down + weight * share * (level < price)
    return up, down, total


def walk(seed, n=700):
    stream = np.random.default_rng(seed)
    hours = hours_of(100 * np.exp(np.cumsum(0.004 * stream.standard_normal(n))))
    return hours, interest_of(1000 * np.exp(np.cumsum(0.01 * stream.standard_normal(n))))


def test_fast_and_naive_agree_and_each_moment_knows_only_its_past():
    hours, interest = walk(3)
    levels = estimate_levels(hours, interest)
    for row in (30, 250, 520, 650):
        at, price = int(hours.close_time[row]), float(hours.close[row])
        fast = [float(x[0]) for x in masses(levels, np.array([at]), np.array([price]), np.array([4.0]))]
        assert fast == pytest.approx(naive_masses(hours, interest, at, price, 4.0), rel=1e-9)
        known = estimate_levels(hours.take(slice(0, row + 1)), interest.known_at(at + 1))
        assert fast == [float(x[0]) for x in masses(known, np.array([at]), np.array([price]), np.array([4.0]))]


def test_beyond_its_memory_the_map_depends_on_nothing():
    hours, interest = walk(4)
    late = estimate_levels(hours.tail(560), interest)
    at, price, reach = hours.close_time[-3:], hours.close[-3:], np.full(3, 5.0)
    assert np.array_equal(masses(late, at, price, reach), masses(estimate_levels(hours, interest), at, price, reach))


def test_the_map_is_labelled_and_holds_all_the_mass():
    hours, interest = walk(5)
    levels = estimate_levels(hours, interest)
    found = level_map(levels, int(hours.close_time[-1]), float(hours.close[-1]))
    total = masses(levels, hours.close_time[-1:], hours.close[-1:], np.array([1.0]))[2]
    assert found.label == LABEL == "ESTIMATE" and found.mass.sum() == pytest.approx(total[0])
    assert np.all(np.diff(found.price) > 0) and "ESTIMATE" in levels.assumptions.in_words()
    wider = estimate_levels(hours, interest, replace(DEFAULT, bin_bps=100.0))
    assert len(level_map(wider, int(hours.close_time[-1]), float(hours.close[-1])).price) < len(found.price) / 3


def test_assumptions_are_a_mix():
    assert sum(LiquidationAssumptions().share) == pytest.approx(1.0)
    assert len(LiquidationAssumptions().share) == len(LiquidationAssumptions().leverage)


# -- what was recorded ----------------------------------------------------------------------------------------------


def test_forced_orders_by_side_and_hour():
    orders = forced_of([(10, -1, 100, 2), (20, 1, 101, 1), (3700, -1, 99, 1)])
    shorts, longs, alive = forced_sums(orders, START + np.array([3_600_000, 7_200_000, 30 * 3_600_000]) - 1)
    assert shorts.tolist() == [101.0, 0.0, 0.0] and longs.tolist() == [200.0, 99.0, 0.0] and alive.tolist() == [True, True, False]
    assert balance(shorts, longs).tolist() == pytest.approx([-99 / 301, -1.0, 0.0])
    seen = observed_map(orders, 100.0)
    assert seen.hour_ms.tolist() == [START, START + HOUR_MS]
    assert seen.longs.sum() == pytest.approx(299.0) and seen.shorts.sum() == pytest.approx(101.0)


def test_a_burst_is_rare_and_a_dead_recorder_is_unknown():
    stream = np.random.default_rng(1)
    rows = [(3600 * h + 60, -1, 100.0, float(stream.exponential())) for h in range(300)] + [(3600 * 300 + 60, -1, 100.0, 60.0)]
    closes = START + np.array([300, 301, 340]) * HOUR_MS - 1
    calm, burst, dead = burst_tail(forced_of(rows), closes, window=500, minimum=100)
    assert burst < 1e-4 < 0.001 < calm and math.isnan(dead)
    assert np.isnan(burst_tail(forced_of([]), closes, window=500, minimum=100)).all()


# -- the back-check -------------------------------------------------------------------------------------------------


def test_hit_rate_counts_complete_days_and_is_fair_on_a_walk():
    edges = []
    for seed in range(6):
        hours, interest = walk(100 + seed, 24 * 70)
        found = hit_rate(estimate_levels(hours, interest), hours, int(hours.close_time[-1]) + 1)
        assert found.origins == 48 and 0 <= found.hit_low <= found.hit <= found.hit_high <= 1 and found.low <= found.edge <= found.high
        edges.append(found.edge)
    assert abs(np.mean(edges)) < 0.03, "on a walk the side of the heavy bins says nothing"


def test_hit_rate_finds_a_market_that_seeks_the_heavy_side():
    """Each day positions open, a wick takes the longs among them, and the next day's rise takes the shorts: all bins that wait are hit,
    their mirror images below never are."""
    days = 60
    close = 100 * np.exp(np.cumsum(np.tile(np.concatenate((np.full(19, 0.025 / 19), np.zeros(5))), days)))
    plain = hours_of(close, reach=0.0)
    low = plain.low.copy()
    low[22::24] *= 0.97
    hours = Candles.from_columns(Interval.H1, {**plain.columns(), "low": low})
    interest = interest_of(1000 * np.exp(np.cumsum(np.tile(np.eye(24)[20] * 0.05, days))))
    mix = replace(DEFAULT, leverage=(40.0, 45.0, 50.0, 55.0, 60.0), share=(0.2,) * 5)
    found = hit_rate(estimate_levels(hours, interest, mix), hours, int(hours.close_time[-1]) + 1)
    assert (found.hit, found.chance) == (1.0, 0.5) and found.edge == pytest.approx(0.5) == found.low and found.origins > 30


def test_too_few_days_say_so():
    hours, interest = walk(9, 24 * 25)
    found = hit_rate(estimate_levels(hours, interest), hours, int(hours.close_time[-1]) + 1)
    assert math.isnan(found.hit) and "complete days" in found.note


def test_wilson_by_hand():
    assert wilson(0.0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4) and wilson(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)


def test_the_first_crossing_is_that_of_a_loop_over_every_hour():
    stream = np.random.default_rng(3)
    for rows, window in ((5, 3), (47, 48), (48, 24), (300, 100)):
        close = 100 * np.exp(np.cumsum(stream.standard_normal(rows) * 0.01))
        low, high, price = close * 0.99, close * 1.01, close[:, None] * np.array([0.9, 0.985, 1.015, 1.1])
        low[rows // 2], price[rows // 3, 1] = np.nan, np.nan
        price[0, 3] = np.nanmax(high[1 : 1 + window])  # exactly at the level
        ends = np.arange(rows, dtype=np.int64)
        found = first_crossings.plain(low, high, ends, price, 2, window, -1)
        for t in range(rows):
            for leg in range(4):
                hours = range(t + 1, min(rows, t + 1 + window))
                reached = [b for b in hours if (low[b] <= price[t, leg] if leg < 2 else high[b] >= price[t, leg])]
                assert found[t, leg] == (reached[0] if reached else -1)
