"""The facade's comparison of sources: conflicts of candles, another venue's funding."""

from __future__ import annotations

import numpy as np
import pytest

from core.settings import Settings
from core.wiring import build
from data.clock import FixedClock, parse_time
from data.market import HOUR_MS, Interval, Provenance, SeriesKey
from data.observations import Kind, Observations
from data.storage.observations import ObservationKey
from tests.made_candles import JAN_2024, made, with_changes

NOW = parse_time("2026-11-20T08:30:00Z")
KEY = SeriesKey("BTCUSDT", Interval.H1)


@pytest.fixture
def sextant(tmp_path):
    return build(Settings(home=tmp_path, world="real", network="off"), FixedClock(NOW))


def funding(rate):
    event = JAN_2024 + 8 * HOUR_MS * np.arange(10)
    return Observations(Kind.FUNDING, event, event + 1000, {"rate": np.full(10, rate), "interval_h": np.full(10, 8.0),
                                                            "mark_price": np.full(10, 40_000.0)})


def test_contradicted_candles_and_another_venue_are_told(sextant):
    candles = made(50)
    sextant._store.append(KEY, candles, provenance=Provenance.LIVE, source="api")
    changed = candles.close.copy()
    changed[7] *= 1.01
    other = with_changes(candles, close=changed, high=np.maximum(candles.high, changed))
    sextant._store.append(KEY, other, provenance=Provenance.ARCHIVE, source="archive")
    store = sextant.outside.observations()
    store.append(ObservationKey("BTCUSDT", Kind.FUNDING), funding(1e-4))
    store.append(ObservationKey("BTCUSDT", Kind.FUNDING, "perp", "okx"), funding(3e-4))
    found = {d.series: d for d in sextant.disagreements(KEY)}
    assert len(found) == 2
    candle, rates = found[str(KEY)], found["BTCUSDT funding"]
    assert candle.differing == 1 and candle.source_b == "archive" and candle.largest == pytest.approx(0.01 / 1.01, rel=1e-3)
    assert rates.compared == rates.differing == 10 and rates.largest == pytest.approx(2 / 3)


def test_one_source_has_nothing_to_disagree_with(sextant):
    assert sextant.disagreements(KEY) == ()
    simulated = build(Settings(home=sextant.settings.home, world="simulated", network="off"), FixedClock(NOW))
    assert simulated.disagreements(KEY) == ()
