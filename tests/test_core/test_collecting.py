"""The collector against a loopback exchange: history, streams, a blocked country, one process at a time."""

from __future__ import annotations

import threading
import time

import pytest

from core.collecting import AGAIN_MS, Collecting
from core.doctor import examine
from core.outside import Outside, endpoints, stream_bases
from core.settings import Settings
from core.sextant import World
from core.wiring import build
from data.clock import SystemClock
from data.collector import BackfillReport, SeriesBackfill
from data.errors import LockHeld, NoData
from data.frames import COLUMNS
from data.market import DAY_MS, HOUR_MS, MINUTE_MS, Interval, SeriesKey
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


class Scripted(Outside):
    """An outside whose answers are given: each call takes the next one, an error is raised."""

    def __init__(self, *args, answers=(), **more):
        super().__init__(*args, **more)
        self.answers, self.asked = list(answers), []

    def aggregator(self):
        self.asked.append("aggregator")
        return self._next()

    def catch_up(self, keys, **options):
        self.asked.append(keys[0])
        return self._next()

    def backfill(self, keys, start_ms, end_ms, **options):
        self.asked.append((keys[0], start_ms))
        return self._next()

    def _next(self):
        answer = self.answers.pop(0) if self.answers else BackfillReport([], 0.0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def scripted(tmp_path, *answers):
    settings = Settings().model_copy(update={"home": tmp_path, "network": "auto", "watchlist": ("BTCUSDT",)})
    store, clock = CandleStore(tmp_path / "real"), QuickClock()
    return Collecting(settings, clock, store, Scripted(settings, clock, store, tmp_path / "real", answers=answers), look_s=0.01)


def test_a_collector_that_ended_gives_the_folder_back_to_whoever_starts_next(tmp_path):
    """The lock is taken by the thread that starts and given back by the one that works: both must mean the same lock."""
    first, second = (scripted(tmp_path, NoData("the network is switched off")) for _ in range(2))
    for collector in (first, second, first):
        collector.start()
        until(lambda collector=collector: not collector.running, "ended")
        assert collector.state().state == "interrupted"
    assert "switched off" in second.state().words


def test_an_error_that_nobody_planned_for_is_told_and_frees_the_folder(tmp_path):
    collector = scripted(tmp_path, ZeroDivisionError("a bug"), NoData("off"))
    collector.start()
    until(lambda: not collector.running, "ended")
    assert collector.state().state == "interrupted" and "E-" in collector.state().words
    collector.start()
    until(lambda: not collector.running, "ended")
    assert collector.state().words == "off"


def test_a_collector_told_to_stop_is_not_started_twice_while_it_ends(tmp_path):
    held, go = threading.Event(), threading.Event()
    collector = scripted(tmp_path)

    def slow():
        held.set()
        go.wait(10)
        raise NoData("off")

    collector._outside.aggregator = slow
    collector.start()
    assert held.wait(10)
    collector._stop.set()
    with pytest.raises(LockHeld, match="still ending"):
        collector.start()
    go.set()
    until(lambda: not collector.running, "ended")
    collector.start()
    collector.stop()


def test_who_waits_for_another_process_is_told_when_that_one_has_ended(tmp_path):
    first, second = (scripted(tmp_path, NoData("off")) for _ in range(2))
    with first._lock:
        with pytest.raises(LockHeld, match="another process collects"):
            second.start()
        assert second.state().state == "elsewhere"
    assert second.state().state == "stopped" and "has ended" in second.state().words
    second.start()
    until(lambda: not second.running, "ended")
    assert second.state().words == "off"


def test_a_history_that_could_not_be_had_is_asked_for_whole_however_much_the_streams_stored_since(tmp_path):
    """The streams begin with 500 candles; the rest of what the modules need must not stay away for that."""
    key = SeriesKey("BTCUSDT", Interval.H1)
    failed = SeriesBackfill(key, 0, 1, failed="Binance asks us to wait until 12:07")
    collector = scripted(tmp_path, BackfillReport([failed], 0.0))
    collector.keys, now = (key,), collector._clock.now_ms() // HOUR_MS * HOUR_MS
    collector._history(collector.keys)
    assert collector._behind == {key} and "asks us to wait" in collector._words
    candles = SimulatedExchange(7, SystemClock()).read(key, now - 500 * HOUR_MS, now - HOUR_MS)
    collector._store.append(key, candles, provenance="LIVE", source="stream")
    collector._history(tuple(collector._behind))
    assert collector._behind == set() and all(now - start >= 3_999 * HOUR_MS for _, start in collector._outside.asked)


def test_a_candle_that_rest_did_not_give_is_asked_for_again_before_the_next_one_closes(tmp_path):
    """A daily candle missed at midnight must not wait for the next midnight."""
    failed = SeriesBackfill(SeriesKey("BTCUSDT", Interval.D1), 0, 1, failed="Binance is in trouble (502)")
    collector = scripted(tmp_path, BackfillReport([failed], 0.0), ZeroDivisionError("a bug"), LockHeld("busy"))
    outside, clock = collector._outside, START_MS // DAY_MS * DAY_MS - 60_000
    collector.keys = (failed.key,)
    collector._observe = lambda: None
    collector._clock = type("Clock", (), {"now_ms": lambda self: clock})()

    class Away:
        running, started = False, 0

        def start(self):
            self.started += 1

    attending = threading.Thread(target=collector._attend, args=(away := Away(),), daemon=True)
    attending.start()
    try:
        clock += 61_000  # a second past midnight: not final yet
        time.sleep(0.05)
        assert outside.asked == []
        for asked in range(1, 5):  # fails, raises, is busy, is there
            clock += AGAIN_MS
            until(lambda asked=asked: len(outside.asked) == asked, lambda: outside.asked, every_s=0.01)
        assert "in trouble" in collector._words or "E-" in collector._words or "busy" in collector._words
        clock += 10 * AGAIN_MS
        time.sleep(0.05)
        assert len(outside.asked) == 4  # settled until the next midnight
        assert 2 <= away.started <= 4  # streams whose thread broke come back, a minute apart
        clock -= DAY_MS  # a clock set back
        until(lambda: len(outside.asked) == 5, lambda: outside.asked, every_s=0.01)
    finally:
        collector._stop.set()
        attending.join(5)


def test_a_home_that_cannot_be_written_is_said_and_starts_nothing(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    collector = scripted(tmp_path / "file" / "home")
    collector.start()
    assert not collector.running and collector.state().state == "interrupted" and "cannot be written" in collector.state().words


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


@pytest.mark.parametrize(("offset_ms", "good", "words"), [(None, True, "no exchange is asked yet"), (1_900, True, "1.9 s ahead"),
                                                          (-3_660_000, False, "3660.0 s behind: set this computer's clock")])
def test_the_doctor_says_how_far_the_clock_is_off_once_it_is_known(tmp_path, monkeypatch, offset_ms, good, words):
    monkeypatch.setenv("SEXTANT_HOME", str(tmp_path))
    sextant = build()
    monkeypatch.setattr(sextant.outside, "clock_offset_ms", lambda: offset_ms)
    clock = next(check for check in examine(sextant) if check.name == "clock")
    assert (clock.ok, clock.exit_code) == (good, 0 if good else 1) and clock.words.endswith(words)


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
