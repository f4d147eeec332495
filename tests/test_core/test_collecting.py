"""The collector against a loopback exchange: history, streams, a blocked country, one process at a time."""

from __future__ import annotations

import time

import pytest

from core.collecting import Collecting
from core.outside import Outside, endpoints, stream_bases
from core.settings import Settings
from core.sextant import World
from core.wiring import build
from data.clock import SystemClock
from data.errors import LockHeld, NoData
from data.frames import COLUMNS
from data.market import HOUR_MS, MINUTE_MS, Interval, SeriesKey
from data.simulator.faults import Fault, FaultKind
from data.simulator.market import SimulatedExchange
from data.simulator.venue import VenueOptions
from data.simulator.venue_hosts import GEO_BLOCKED, Host
from data.simulator.venue_thread import running_venue
from data.storage.candles import CandleStore
from tests.fault_run import truth_of
from tests.serving import venue_ports
from tests.streaming import START_MS, QuickClock

PATIENCE_S = 60
SPEED_OF_BOOKS, RECORDED_MINUTES = 15.0, 165  # module D wants 160 minutes in a row


def sextant_on(venue, home, monkeypatch, **more):
    monkeypatch.setenv("SEXTANT_HOME", str(home))
    monkeypatch.setenv("SEXTANT_NETWORK", "auto")
    monkeypatch.setenv("SEXTANT_ENDPOINT", venue.urls.api)
    for name, value in more.items():
        monkeypatch.setenv(f"SEXTANT_{name.upper()}", value)
    return build()


def until(condition, what, every_s=0.1, patience_s=PATIENCE_S):
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"never: {what() if callable(what) else what}"
        time.sleep(every_s)


@pytest.mark.parametrize("blocked", [frozenset(), GEO_BLOCKED], ids=["open", "blocked country"])
def test_history_then_streams_and_the_candles_are_the_exchanges_own(tmp_path, monkeypatch, blocked):
    with running_venue(SystemClock(), VenueOptions(port=venue_ports(), blocked=blocked)) as venue:
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


def test_under_fire_every_candle_is_stored_once_and_the_states_are_told_in_words(tmp_path):
    """A limit and broken answers during the history, then lost frames, a cut with a closed door, and a halt of the exchange."""
    at = START_MS + MINUTE_MS
    faults = (Fault(FaultKind.HTTP_429, START_MS, count=1, host=Host.API, path="/api/v3/klines", value=25),
              Fault(FaultKind.HTTP_503, START_MS + 25_000, count=2, host=Host.API, path="/api/v3/klines"),
              Fault(FaultKind.DROP, at + 60_000, count=6, host=Host.MIRROR_STREAM, stream="*@kline_1m"),
              Fault(FaultKind.CUT, at + 120_000, host=Host.MIRROR_STREAM),
              Fault(FaultKind.REFUSE, at + 120_000, duration_ms=60_000, host=Host.MIRROR_STREAM),
              Fault(FaultKind.HTTP_502, at + 120_000, count=3, host=Host.API),
              Fault(FaultKind.GAP, at + 180_000, duration_ms=MINUTE_MS, symbol="ETHUSDT"))
    clock = QuickClock()
    with running_venue(clock, VenueOptions(port=venue_ports()), faults) as venue:
        settings = Settings().model_copy(update={"home": tmp_path, "network": "auto", "endpoint": venue.urls.api,
                                                 "interval": Interval.M1, "watchlist": ("BTCUSDT", "ETHUSDT")})
        store = CandleStore(tmp_path / "loopback")
        outside = Outside(settings, clock, store, tmp_path / "loopback", sleep=clock.wait)
        collector = Collecting(settings, clock, store, outside, sleep=clock.sleep, look_s=0.05)
        keys, told = [key for key in collector.keys if key.interval is Interval.M1], []
        end = at + 6 * MINUTE_MS

        def done() -> bool:
            now = collector.state()
            told.append((now.state, now.words))
            return all((store.last_close_ms(key) or 0) >= end - 1 for key in keys) and now.state == "live"

        collector.start()
        try:
            until(done, lambda: f"every candle up to {end}: {list(dict.fromkeys(told))[-6:]}", every_s=0.01)
        finally:
            collector.stop()
        for key in keys:
            stored = store.read(key, end - 1000 * MINUTE_MS, end)
            truth = truth_of(venue.venue, key, end - 1000 * MINUTE_MS, end)
            assert len(truth) == (999 if key.symbol == "ETHUSDT" else 1000)
            for name in COLUMNS:
                assert getattr(stored, name).tobytes() == getattr(truth, name).tobytes(), (key, name)
            assert store.conflict_count(key) == 0
        assert [(gap.start, gap.bars) for gap in store.gaps(keys[1])] == [(at + 180_000, 1)] and store.gaps(keys[0]) == []
        struck = {kind for _, kind, _ in venue.venue.faults.struck}
    assert {"429", "503", "drop", "cut", "refuse", "502"} <= struck
    states, words = {state for state, _ in told}, " | ".join(dict.fromkeys(words for _, words in told))
    assert {"fetching history", "live", "interrupted"} <= states, words
    for said in ("Fetching the history of BTCUSDT 1m spot (1 of 4)", "Binance asks us to wait until", "Live since",
                 "Live data interrupted since"):
        assert said in words, words


@pytest.mark.long
def test_all_ten_modules_and_every_composite_are_known_on_the_loopback_exchange(tmp_path):
    """History, positioning, daily vendors and options over REST, then three hours of books and trades over the streams."""
    clock = QuickClock(speed=SPEED_OF_BOOKS)
    with running_venue(clock, VenueOptions(port=venue_ports())) as venue:
        settings = Settings().model_copy(update={"home": tmp_path, "network": "auto", "endpoint": venue.urls.api, "interval": Interval.H1,
                                                 "watchlist": ("BTCUSDT", "ETHUSDT")})
        sextant = build(settings, clock)
        collector = sextant.collector(ticks=True, books=("BTCUSDT", "ETHUSDT"))
        collector.start()
        try:
            until(lambda: collector.state().state == "live", lambda: collector.state().words)
            sextant.outside.observe(("BTCUSDT", "ETHUSDT"))
            key = SeriesKey("BTCUSDT", Interval.H1)
            first = clock.now_ms()
            until(lambda: clock.now_ms() // HOUR_MS > (first + RECORDED_MINUTES * MINUTE_MS) // HOUR_MS, "the hour", patience_s=1_200)
            until(lambda: (sextant.candles(key).close_time[-1] + 1) // HOUR_MS == clock.now_ms() // HOUR_MS, "the candle")
            card = sextant.scores(key)
        finally:
            collector.stop()
    assert {r.letter: r.reason for r in card.reports if r.score is None} == {}
    assert {c.name: c.reason for c in card.composites if c.score is None} == {}
    for report in card.reports:
        assert abs(sum(part.contribution for part in report.parts if part.contribution is not None) - report.raw) < 1e-9, report.letter


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
    monkeypatch.setattr("core.outside.endpoints", lambda endpoint: endpoints(f"http://127.0.0.1:{venue_ports()}"))
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
