"""Each fill rule alone, and what rounding must never do."""

from __future__ import annotations

import math
from decimal import ROUND_DOWN, Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.trading import fills

PRICES = st.floats(0.0001, 1e6, allow_nan=False)


@given(PRICES, st.sampled_from([1.0, 2.0, 10.0, 100.0, 1e4, 1e5]))
def test_prices_are_rounded_against_us_onto_the_tick(price, per_unit):
    buy, sell = fills.round_price(price, per_unit, True), fills.round_price(price, per_unit, False)
    slack = 1.01e-6 / per_unit + 1e-9 * price
    assert price - slack <= buy < price + 1 / per_unit + slack
    assert price - 1 / per_unit - slack < sell <= price + slack
    for rounded in (buy, sell):
        assert rounded == round(rounded * per_unit) / per_unit


@given(st.integers(1, 10**7), st.sampled_from([1, 10, 1000, 10**5]))
def test_an_exact_multiple_of_the_step_loses_nothing(steps, per_unit):
    """floor(0.3 / 0.1) in floats is 2: on exact multiples a step would be lost one time in six."""
    exact = Decimal(steps) / Decimal(per_unit)
    assert fills.floor_quantity(float(exact), float(per_unit)) == float(exact)
    summed = float(exact) + 0.1 - 0.1
    assert fills.regrid(summed, float(per_unit)) == float(exact)


@given(st.floats(0, 1e6), st.sampled_from([1, 10, 1000]))
def test_quantities_are_floored(quantity, per_unit):
    floored = fills.floor_quantity(quantity, float(per_unit))
    decimal = float((Decimal(quantity) * per_unit).quantize(Decimal(1), ROUND_DOWN) / per_unit)
    assert floored == pytest.approx(decimal, abs=1.01 / per_unit) and floored <= quantity + 1.1e-9 / per_unit


def test_rounding_off_changes_nothing():
    assert fills.round_price(1.23456789, 0.0, True) == 1.23456789 and fills.floor_quantity(0.123456, 0.0) == 0.123456
    assert fills.floor_quantity(-1.0, 0.0) == 0.0 and fills.floor_quantity(-1.0, 10.0) == 0.0
    assert math.isinf(fills.floor_quantity(math.inf, 10.0))


def test_market_orders_slip_against_us():
    assert fills.market_price(100.0, True, 0.0002, 100.0) == 100.02
    assert fills.market_price(100.0, False, 0.0002, 100.0) == 99.98
    assert fills.market_price(100.0, False, 9.0, 0.0) == 50.0  # no model is trusted beyond half of the price


def test_stop_and_target_levels_lie_on_their_sides():
    assert fills.exit_level(100.02, -2.0, 100.0, 1) == 98.02 and fills.exit_level(100.02, 2.0, 100.0, 1) == 102.02
    assert fills.exit_level(100.02, -2.0, 100.0, -1) == 102.02 and fills.exit_level(100.02, 2.0, 100.0, -1) == 98.02


@pytest.mark.parametrize(("opened", "stop", "side", "price"), [(99, 98, 1, 98), (95, 98, 1, 95), (101, 102, -1, 102), (105, 102, -1, 105)])
def test_a_stop_pays_the_gap(opened, stop, side, price):
    assert fills.stop_reference(opened, stop, side) == price


def test_touches():
    assert fills.stop_touched(98.0, 101.0, 98.0, 1) and not fills.stop_touched(98.01, 101.0, 98.0, 1)
    assert fills.stop_touched(98.0, 102.0, 102.0, -1) and fills.target_touched(98.0, 101.0, 101.0, 1)
    assert fills.target_touched(98.0, 101.0, 98.0, -1) and not fills.target_touched(98.0, 100.99, 101.0, 1)
    assert not fills.limit_traded_through(98.0, 101.0, 98.0, 1) and fills.limit_traded_through(97.99, 101.0, 98.0, 1)
    assert fills.limit_gapped(97.0, 98.0, 1) and not fills.limit_gapped(98.0, 98.0, 1) and fills.limit_gapped(99.0, 98.0, -1)
    assert fills.target_gapped(103.0, 103.0, 1) and not fills.target_gapped(102.9, 103.0, 1)


def test_room_in_a_bar():
    assert fills.room_quote(4000.0, 0.05) == 200.0 and math.isinf(fills.room_quote(1.0, None))
    assert fills.room_quote(0.0, None) == 0.0 and fills.room_quote(math.nan, 0.05) == 0.0


@given(st.floats(1.01, 125), st.floats(0, 0.02), st.sampled_from([1, -1]))
def test_at_the_liquidation_price_the_margin_left_is_the_maintenance_margin(leverage, maintenance, side):
    level = fills.liquidation_price(100.0, leverage, maintenance, side)
    left = 100.0 / leverage + side * (level - 100.0)
    assert left == pytest.approx(maintenance * level, abs=1e-9)
    assert 100.0 / leverage + side * (fills.bankruptcy_price(100.0, leverage, side) - 100.0) == pytest.approx(0.0, abs=1e-9)


def test_equity_is_rounded_to_the_hundred_millionth():
    assert fills.round_equity(10_000.000000004) == 10_000.0 and fills.round_equity(1.000000006) == 1.00000001


def test_rules_are_the_same_compiled():
    """What the paper broker calls and what the kernel has compiled in is one function; numbers agree to the bit."""
    rng = np.random.Generator(np.random.PCG64(1))
    for price in rng.lognormal(3, 3, 300):
        for per_unit in (0.0, 1.0, 100.0, 1e5):
            for buying in (True, False):
                assert fills.round_price.compiled(price, per_unit, buying) == fills.round_price(price, per_unit, buying)
            assert fills.floor_quantity.compiled(price, per_unit) == fills.floor_quantity(price, per_unit)
