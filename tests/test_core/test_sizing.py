"""Sizes: the stop loses what was planned, caps bind, Kelly stays small."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.risk import sizing
from data.errors import InputError
from tests.made_candles import made


@given(st.floats(1e3, 1e6), st.floats(0.001, 0.05), st.floats(1, 1e5), st.floats(0.002, 0.3), st.floats(0, 0.002), st.floats(0, 0.002))
def test_the_stop_loses_exactly_the_risk_with_costs(equity, risk, entry, distance, fee, slip):
    stop = entry * (1 - distance)
    quantity = sizing.risk_quantity(equity, risk, entry, stop, fee, slip)
    loss = quantity * (entry - stop) + quantity * (fee + slip) * (entry + stop)
    assert loss == pytest.approx(risk * equity, rel=1e-9)


def test_one_percent_risk_with_a_two_percent_stop_wants_half_of_equity():
    """The note of methods.md 7.2: the 20 % cap leaves an effective risk of 0.4 %."""
    quantity = sizing.risk_quantity(10_000, 0.01, 100.0, 98.0, 0.0, 0.0)
    assert quantity * 100 == pytest.approx(5_000)
    assert sizing.effective_risk(20.0, 100.0, 98.0, 10_000) == pytest.approx(0.004)
    assert math.isnan(sizing.risk_quantity(10_000, 0.01, 100.0, math.nan, 0.0, 0.0))


def test_allowed_quantity_takes_the_tightest():
    usual = {"price": 100.0, "held": 0.0, "equity": 10_000.0, "position_cap": 0.2, "gross_room": 5_000.0, "notional_cap": math.inf,
             "cash": 10_000.0, "fee": 0.001, "leverage": 3.0, "free_margin": 9_000.0, "spot": True}
    assert sizing.allowed_quantity(**usual) == 20.0
    assert sizing.allowed_quantity(**usual | {"gross_room": 300.0}) == 3.0
    assert sizing.allowed_quantity(**usual | {"notional_cap": 150.0}) == 1.5
    assert sizing.allowed_quantity(**usual | {"cash": 100.1}) == pytest.approx(1.0)
    assert sizing.allowed_quantity(**usual | {"spot": False, "free_margin": 100.0, "fee": 0.0}) == pytest.approx(3.0)
    assert sizing.allowed_quantity(**usual | {"held": 25.0}) == -5.0


def test_volatility_scale():
    """A bar deviation of 0.4 % an hour is 37 % a year; a target of 20 % gives about 0.53, one of 80 % gives 1. Unknown before 20 days."""
    candles = made(1_000)
    found = sizing.volatility_scale(candles, 0.2)
    annual = candles.log_return[-480:].std(ddof=1) * math.sqrt(8760)
    assert found[-1] == pytest.approx(0.2 / annual, rel=1e-9) and np.isnan(found[:480]).all() and np.isfinite(found[480:]).all()
    assert (sizing.volatility_scale(candles, 0.8)[480:] == 1.0).all()
    with pytest.raises(InputError, match="volatility_target"):
        sizing.volatility_scale(candles, 0.0)


def test_kelly_is_a_quarter_and_capped():
    """p .6, payoff 1: full Kelly .2, a quarter .05. p .5: 0. p .9, payoff 2: .25 x .85 = .2125, capped at .2."""
    assert sizing.kelly_fraction(0.6, 1.0) == pytest.approx(0.05) and sizing.kelly_fraction(0.5, 1.0) == 0.0
    assert sizing.kelly_fraction(0.9, 2.0) == 0.2 and math.isnan(sizing.kelly_fraction(math.nan, 1.0))
    assert sizing.kelly_continuous(0.02, 0.1) == pytest.approx(0.05) and sizing.kelly_continuous(-1.0, 0.1) == 0.0
    assert math.isnan(sizing.kelly_continuous(0.1, 0.0))
