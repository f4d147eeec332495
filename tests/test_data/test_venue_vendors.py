"""The loopback exchange's vendors of daily series, read by the product's own sources: every planted day arrives, none before its hour."""

from __future__ import annotations

import numpy as np
import pytest

from core.outside import endpoints
from data.clock import parse_time
from data.errors import NotOffered
from data.market import DAY_MS, HOUR_MS, Market
from data.observations import Kind
from data.simulator.market import SimulatedExchange
from data.simulator.observed import SimulatedObservations, World
from data.simulator.observed_chain import KINDS, observed
from data.simulator.venue import VenueOptions
from data.simulator.venue_clock import VirtualClock
from data.simulator.venue_hosts import Host
from data.simulator.venue_thread import running_venue
from data.sources.aggregator import BinanceAggregator
from data.sources.endpoints import Endpoints

NOW = parse_time("2026-11-20T09:30:20Z")


@pytest.fixture(scope="module")
def world():
    clock = VirtualClock(NOW)
    with running_venue(clock) as venue:
        urls = venue.urls
        asked = BinanceAggregator(None, clock, sleep=lambda _s: None, endpoints=Endpoints(
            api=urls.api, coinmetrics=urls.coinmetrics, defillama=urls.defillama, alternativeme=urls.alternativeme))
        yield venue, clock, asked
        asked.close()


def truth(clock, kind: Kind, symbol: str, start: int, end: int):
    return observed(World(VenueOptions().seed, SimulatedExchange(VenueOptions().seed, clock), symbol), kind, start, end)


@pytest.mark.parametrize(("kind", "symbol"), [(Kind.ON_CHAIN, "BTCUSDT"), (Kind.ON_CHAIN, "ETHUSDT"), (Kind.STABLECOIN_SUPPLY, "BTCUSDT"),
                                              (Kind.FEAR_GREED, "BTCUSDT")])
def test_every_planted_day_arrives_as_planted(world, kind, symbol):
    _, clock, asked = world
    found = asked.observations(kind, symbol, NOW - 300 * DAY_MS, NOW, market=Market.SPOT).observations
    planted = truth(clock, kind, symbol, 0, NOW)
    planted = planted.take(planted.event_time >= NOW - 300 * DAY_MS)
    assert len(found) == len(planted) > 298
    assert np.array_equal(found.event_time, planted.event_time) and np.array_equal(found.available_time, planted.available_time)
    for name, column in planted.columns.items():
        assert np.array_equal(found[name], column), name
    assert found.provenance == "SIMULATED"


def test_a_coin_without_flows_has_the_rest_and_a_coin_without_anything_says_so(world):
    _, _, asked = world
    found = asked.observations(Kind.ON_CHAIN, "SOLUSDT", NOW - 30 * DAY_MS, NOW, market=Market.SPOT).observations
    assert np.isfinite(found["market_cap"]).all() and np.isnan(found["mvrv"]).all() and np.isnan(found["flow_in"]).all()
    with pytest.raises(NotOffered):
        asked.source("coinmetrics").observations(Kind.ON_CHAIN, "SIMA01USDT", NOW - DAY_MS, NOW, Market.SPOT)


def test_a_day_is_not_served_before_its_hour():
    clock = VirtualClock(parse_time("2026-11-20T02:59:59Z"))
    with running_venue(clock) as venue:
        asked = BinanceAggregator(None, clock, sleep=lambda _s: None,
                                  endpoints=Endpoints(api=venue.urls.api, coinmetrics=venue.urls.coinmetrics))
        read = lambda: asked.observations(Kind.ON_CHAIN, "BTCUSDT", NOW - 5 * DAY_MS, NOW, market=Market.SPOT).observations.event_time[-1]  # noqa: E731
        assert read() == parse_time("2026-11-18T00:00:00Z")
        venue.advance(HOUR_MS)
        assert read() == parse_time("2026-11-19T00:00:00Z")


def test_the_settings_endpoint_finds_them_on_the_ports_that_follow():
    found = endpoints("http://127.0.0.1:9000")
    for number, host in enumerate(Host):
        if hasattr(found, host):
            assert getattr(found, host) == f"http://127.0.0.1:{9000 + number}", host
    assert {"coinmetrics", "defillama", "alternativeme"} <= set(found.channels())


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_known_at_a_moment_does_not_depend_on_how_the_world_goes_on(kind):
    """A planted series that used the day it is stamped with would give a row more to whoever looks back."""
    at = parse_time("2026-11-20T09:30:20Z")
    then, later = (SimulatedObservations(7, SimulatedExchange(7, clock), clock).known("BTCUSDT", kind, Market.PERP, at - 40 * DAY_MS, at)
                   for clock in (VirtualClock(at), VirtualClock(at + 9 * DAY_MS)))
    assert len(then) and np.array_equal(then.event_time, later.event_time) and np.array_equal(then.available_time, later.available_time)
    for name, column in then.columns.items():
        assert np.array_equal(column, later[name], equal_nan=column.dtype.kind == "f"), name
