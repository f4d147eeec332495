"""The collector against a loopback exchange: history, streams, a blocked country, one process at a time."""

from __future__ import annotations

import time

import pytest

from core.outside import endpoints, stream_bases
from core.settings import Settings
from core.sextant import World
from core.wiring import build
from data.clock import SystemClock
from data.errors import LockHeld, NoData
from data.market import Interval, SeriesKey
from data.simulator.market import SimulatedExchange
from data.simulator.venue import VenueOptions
from data.simulator.venue_hosts import GEO_BLOCKED
from data.simulator.venue_thread import running_venue
from tests.serving import free_ports

PATIENCE_S = 60


def sextant_on(venue, home, monkeypatch, **more):
    monkeypatch.setenv("SEXTANT_HOME", str(home))
    monkeypatch.setenv("SEXTANT_NETWORK", "auto")
    monkeypatch.setenv("SEXTANT_ENDPOINT", venue.urls.api)
    for name, value in more.items():
        monkeypatch.setenv(f"SEXTANT_{name.upper()}", value)
    return build()


def until(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.1)


@pytest.mark.parametrize("blocked", [frozenset(), GEO_BLOCKED], ids=["open", "blocked country"])
def test_history_then_streams_and_the_candles_are_the_exchanges_own(tmp_path, monkeypatch, blocked):
    with running_venue(SystemClock(), VenueOptions(port=free_ports(8), blocked=blocked)) as venue:
        sextant = sextant_on(venue, tmp_path / "home", monkeypatch, watchlist="BTCUSDT,ETHUSDT")
        assert sextant.world is World.LOOPBACK
        collector = sextant.collector()
        collector.start()
        try:
            until(lambda: collector.state().state == "live", "live")
            with pytest.raises(LockHeld, match="another process collects"):
                sextant.collector().start()
        finally:
            collector.stop()
        key = SeriesKey("ETHUSDT", Interval.H1)
        stored = sextant.candles(key)
        truth = SimulatedExchange(7, SystemClock()).read(key).between(int(stored.open_time[0]), int(stored.open_time[-1]) + 1)
        assert len(stored) >= 3_990 and stored.close.tobytes() == truth.close.tobytes()
        assert stored.volume.tobytes() == truth.volume.tobytes()
        assert stored.provenance == "SIMULATED" and sextant.scores(key).report("A").score is not None
        told = " ".join(sextant.outside.degraded())
        assert ("not available from this server's country" in told and "market-data mirror" in told) == bool(blocked)
        assert not collector.running and collector.state().state == "stopped"


def test_with_the_network_off_nothing_is_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("SEXTANT_HOME", str(tmp_path))
    sextant = build()
    assert sextant.world is World.SIMULATED and sextant.outside.known is None and sextant.outside.health() == ()
    with pytest.raises(NoData, match="the network is switched off"):
        sextant.outside.backfill([SeriesKey("BTCUSDT", Interval.H1)], 0, 1)


def test_nothing_answering_means_the_simulated_exchange_within_the_wait(tmp_path, monkeypatch):
    monkeypatch.setenv("SEXTANT_HOME", str(tmp_path))
    sextant = build()
    monkeypatch.setattr(type(sextant.outside), "allowed", property(lambda self: True))
    monkeypatch.setattr("core.outside.endpoints", lambda endpoint: endpoints(f"http://127.0.0.1:{free_ports(8)}"))
    began = time.monotonic()
    assert sextant.world is World.SIMULATED and time.monotonic() - began < 10
    assert len(sextant.symbols()) == 12


def test_an_endpoint_beside_loopback_is_refused(tmp_path, monkeypatch):
    from data.errors import SettingsError

    for bad in ("https://evil.example", "http://127.0.0.1", "http://127.0.0.1:80@evil.example", "http://localhost:9000",
                "http://127.0.0.1:9000/x"):
        monkeypatch.setenv("SEXTANT_ENDPOINT", bad)
        with pytest.raises(SettingsError, match=r"expected http://127\.0\.0\.1:PORT"):
            from core.settings import load_settings

            load_settings()


def test_real_endpoints_are_the_frozen_hosts():
    assert endpoints("").api == "https://api.binance.com" and not endpoints("").simulated
    assert stream_bases("")[0] == "wss://data-stream.binance.vision"
    assert Settings().endpoint == ""
