"""Stop distances: known at the close, never from the future, NaN where a market gives nothing to measure."""

from __future__ import annotations

import numpy as np
import pytest

from core.risk import stops
from data.errors import InputError
from data.indicators.ranges import atr
from data.simulator.worlds import flattened
from tests.made_candles import made, scaled


def test_percent_and_atr():
    candles = made(400)
    np.testing.assert_allclose(stops.percent(candles, 0.02), candles.close * 0.02)
    known = np.isfinite(atr(candles))
    np.testing.assert_allclose(stops.atr_multiple(candles)[known], 2.5 * atr(candles)[known])
    np.testing.assert_allclose(stops.target_of(stops.atr_multiple(candles))[known], 3.75 * atr(candles)[known])


def test_adaptive_stays_between_its_multiples():
    candles = made(900)
    ratio = stops.adaptive(candles) / atr(candles)
    ratio = ratio[np.isfinite(ratio)]
    assert len(ratio) > 400 and ratio.min() >= 1.5 - 1e-12 and ratio.max() <= 3.5 and ratio.std() > 0.1


@pytest.mark.parametrize("rule", [stops.atr_multiple, stops.adaptive, stops.chandelier, lambda c: stops.percent(c, 0.02)])
def test_stops_know_no_future(rule):
    candles = made(900)
    spoilt = scaled(candles, slice(700, 900), 5.0, ("open", "high", "low", "close"))
    assert rule(candles)[:700].tobytes() == rule(spoilt)[:700].tobytes()


def test_a_market_that_never_moves_has_no_stop():
    assert np.isnan(stops.atr_multiple(flattened(made(600), slice(0, 600)))).all()


@pytest.mark.parametrize("call", [lambda: stops.percent(made(5), 0.0), lambda: stops.atr_multiple(made(5), -1.0),
                                  lambda: stops.target_of(np.ones(3), 0.0)])
def test_bad_distances_are_refused(call):
    with pytest.raises(InputError, match="expected"):
        call()
