"""Back-fill against the simulated exchange over real sockets: exactly the truth, resumed after a kill, holes confirmed by asking twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from filelock import FileLock

from data.clock import parse_time
from data.collector import backfill, catch_up, missing_ranges
from data.errors import BadTime, UnknownSymbol
from data.frames import COLUMNS, Candles
from data.market import DAY_MS, HOUR_MS, MINUTE_MS, Interval, Market, SeriesKey
from data.observation_collector import MACRO, POSITIONING, collect_observations, home_of
from data.observations import Kind
from data.simulator.faults import Fault, FaultKind
from data.simulator.market import EPOCH_MS, HALT_HOURS, SimulatedExchange
from data.simulator.venue import VenueOptions
from data.simulator.venue_clock import VirtualClock
from data.simulator.venue_hosts import GEO_BLOCKED, Host
from data.simulator.venue_thread import running_venue
from data.sources.aggregator import BinanceAggregator
from data.sources.endpoints import Endpoints
from data.storage.candles import CandleStore
from data.storage.observations import ObservationKey, ObservationStore
from data.view import CONFIRMED, NOT_KNOWN
from tests.stub_http import Reply, stub_server

NOW = parse_time("2026-11-20T09:30:20Z")
BTC, ETH = (SeriesKey(symbol, Interval.H1) for symbol in ("BTCUSDT", "ETHUSDT"))
BTC_M1 = BTC.at(Interval.M1)


def aggregator(venue, clock, folder=None) -> BinanceAggregator:
    urls = venue.urls
    return BinanceAggregator(folder, clock, endpoints=Endpoints(api=urls.api, mirror=urls.mirror, fapi=urls.fapi, archive=urls.archive),
                             sleep=lambda _s: None)


def truth(venue, key: SeriesKey, start: int, end: int) -> Candles:
    return SimulatedExchange(venue.venue.options.seed, venue.venue.clock).read(key, start, end)


def assert_equal(found: Candles, expected: Candles) -> None:
    for name in COLUMNS:
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name


@pytest.fixture(scope="module")
def world():
    clock = VirtualClock(NOW)
    with running_venue(clock) as venue:
        yield venue, clock


def test_two_symbols_equal_the_truth_and_progress_is_told(world, tmp_path):
    venue, clock = world
    store, told = CandleStore(tmp_path), []
    report = backfill(store, aggregator(venue, clock), [BTC_M1, ETH.at(Interval.M1)], NOW - 3 * DAY_MS, NOW, clock=clock,
                      progress=told.append)
    for key in (BTC_M1, ETH.at(Interval.M1)):
        assert_equal(store.read(key), truth(venue, key, parse_time("2026-11-17T09:31:00Z"), NOW))
    assert report.added == 2 * (3 * 1440 - 1) and report.document()["added"] == report.added
    assert [one.unresolved_bars for one in report.series] == [0, 0] and report.series[0].sources == ["Binance spot"]
    done = [step.done_bars for step in told if step.key == BTC_M1]
    assert done == sorted(done) and done[0] == 0 and done[-1] == told[0].total_bars == 4319
    assert "BTCUSDT 1m spot: 4,319 of 4,319 candles (100 %)" in told[len(done) - 1].words
    assert store.provenance(BTC_M1) == "SIMULATED"


def test_again_asks_next_to_nothing(world, tmp_path):
    venue, clock = world
    store, outside = CandleStore(tmp_path), aggregator(venue, clock)
    backfill(store, outside, [BTC], NOW - 90 * DAY_MS, NOW, clock=clock)
    before = venue.venue.requests
    report = backfill(store, outside, [BTC], NOW - 90 * DAY_MS, NOW, clock=clock)
    assert report.added == 0 and report.series[0].already_stored == report.series[0].wanted_bars == 2159
    assert venue.venue.requests == before


def test_only_what_is_missing_is_fetched(world, tmp_path):
    venue, clock = world
    store = CandleStore(tmp_path)
    whole = truth(venue, BTC, NOW - 90 * DAY_MS, NOW)
    holes = (whole.open_time < whole.open_time[5]) | ((whole.open_time >= whole.open_time[700]) & (whole.open_time < whole.open_time[750]))
    store.append(BTC, whole.take(~holes), provenance="SIMULATED", source="test")
    report = backfill(store, aggregator(venue, clock), [BTC], NOW - 90 * DAY_MS, NOW, clock=clock).series[0]
    assert (report.added, report.duplicates, report.conflicts) == (55, 0, 0) and report.requests == 2
    assert_equal(store.read(BTC), whole)


def test_killed_and_started_again_it_resumes(world, tmp_path):
    """A process of its own, killed in the middle; what it stored is not asked for again, and in the end all is as if it had lived."""
    venue, clock = world
    urls = venue.urls
    code = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        import data.collector as collector
        from data.clock import FixedClock
        from data.market import Interval, SeriesKey
        from data.sources.aggregator import BinanceAggregator
        from data.sources.endpoints import Endpoints
        from data.storage.candles import CandleStore
        collector.FLUSH_ROWS = 3000
        clock = FixedClock({NOW})
        outside = BinanceAggregator(None, clock, endpoints=Endpoints(api="{urls.api}"))
        say = lambda p: print(p.done_bars, flush=True)
        collector.backfill(CandleStore(Path(sys.argv[1])), outside, [SeriesKey("BTCUSDT", Interval.M1)], {NOW - 40 * DAY_MS}, {NOW},
                           clock=clock, progress=say)
    """)
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) > 12_000:
            break
    os.kill(child.pid, signal.SIGKILL)
    child.wait(20)
    child.stdout.close()
    store = CandleStore(tmp_path)
    survived = store.rows(BTC_M1)
    assert 3_000 <= survived < 40 * 1440 - 1
    report = backfill(store, aggregator(venue, clock), [BTC_M1], NOW - 40 * DAY_MS, NOW, clock=clock).series[0]
    assert report.already_stored == survived and report.added == 40 * 1440 - 1 - survived
    assert report.duplicates == 0, "nothing stored was fetched again"
    assert_equal(store.read(BTC_M1), truth(venue, BTC_M1, parse_time("2026-10-11T09:31:00Z"), NOW))
    assert store.verify().ok


def test_exchange_halt_is_confirmed_by_asking_twice(world, tmp_path):
    venue, clock = world
    store = CandleStore(tmp_path)
    first, last = (EPOCH_MS + hour * HOUR_MS for hour in HALT_HOURS)
    report = backfill(store, aggregator(venue, clock), [BTC], first - 5 * DAY_MS, last + 5 * DAY_MS, clock=clock).series[0]
    assert [(gap.start, gap.end) for gap in report.confirmed] == [(first, last)] and report.unresolved_bars == 0
    gap = store.gaps(BTC)[0]
    assert (gap.status, gap.reason) == (CONFIRMED, "Binance spot has no candles there (asked 2026-11-20)")
    before = venue.venue.requests
    backfill(store, aggregator(venue, clock), [BTC], first - 5 * DAY_MS, last + 5 * DAY_MS, clock=clock)
    assert venue.venue.requests == before, "a confirmed gap is not asked for again"


def test_hole_of_one_bad_answer_is_repaired_not_confirmed(tmp_path):
    """The first answer lacks three candles that the exchange has: the second question finds them."""
    start = NOW // HOUR_MS * HOUR_MS - 10 * DAY_MS
    asked = []

    def answer(path: str) -> Reply:
        if "/time" in path:
            return Reply(b'{"serverTime":%d}' % NOW)
        asked.append(path)
        query = dict(part.split("=") for part in path.split("?")[1].split("&"))
        begin, end = int(query["startTime"]), int(query.get("endTime", NOW))
        rows = [[t, "1", "2", "0.5", "1.5", "3", t + HOUR_MS - 1, "4", 5, "1", "1.2", "0"] for t in range(begin, min(end,
            start + 48 * HOUR_MS), HOUR_MS)]
        if len(asked) == 2:  # the first is the question for the first candle
            del rows[10:13]
        return Reply(str(rows[: int(query["limit"])]).replace("'", '"').encode())

    clock = VirtualClock(NOW)
    with stub_server(answer) as stub:
        store = CandleStore(tmp_path)
        outside = BinanceAggregator(None, clock, endpoints=Endpoints(api=stub.url), sleep=lambda _s: None)
        report = backfill(store, outside, [BTC], start, start + 48 * HOUR_MS, clock=clock).series[0]
    assert report.added == 48 and report.confirmed == [] and store.gaps(BTC) == []


def test_young_hole_and_refused_rows_are_not_confirmed(tmp_path):
    clock = VirtualClock(NOW)
    begin = NOW // MINUTE_MS * MINUTE_MS - 60 * MINUTE_MS

    def answer(path: str) -> Reply:
        if "/time" in path:
            return Reply(b'{"serverTime":%d}' % NOW)
        query = dict(part.split("=") for part in path.split("?")[1].split("&"))
        times = range(int(query["startTime"]), min(int(query.get("endTime", NOW)) + 1, NOW), MINUTE_MS)  # the last one is forming
        rows = [[t, "1", "2", "0.5", "0" if t == begin + 20 * MINUTE_MS else "1.5", "3", t + MINUTE_MS - 1, "4", 5, "1", "1.2", "0"]
                for t in times if t != begin + 57 * MINUTE_MS]
        return Reply(str(rows[: int(query["limit"])]).replace("'", '"').encode())

    with stub_server(answer) as stub:
        store = CandleStore(tmp_path)
        outside = BinanceAggregator(None, clock, endpoints=Endpoints(api=stub.url), sleep=lambda _s: None)
        report = backfill(store, outside, [BTC_M1], begin, NOW, clock=clock).series[0]
    assert {gap.status for gap in store.gaps(BTC_M1)} == {NOT_KNOWN} and len(store.gaps(BTC_M1)) == 2
    assert any("close is not above zero" in words for words in report.rejected)
    assert report.unresolved_bars == 2 and report.confirmed == []


def test_trades_of_a_past_day_are_stored_once(world, tmp_path):
    venue, clock = world
    store = ObservationStore(tmp_path)
    day = NOW // DAY_MS * DAY_MS - DAY_MS
    for again in (False, True):
        for market in Market:
            for one in collect_observations(store, aggregator(venue, clock), ["LTCUSDT"], [Kind.AGG_TRADES, Kind.TRADES], day,
                                            day + HOUR_MS, clock=clock, market=market):
                assert not one.failed and (one.added == 0) is again and one.sources == ["Binance archive"], one.words
    kept = store.read(ObservationKey("LTCUSDT", Kind.AGG_TRADES, "spot"), day, day + HOUR_MS)
    truth = venue.venue.market.floor.trades("LTCUSDT", Market.SPOT, day, day + HOUR_MS)
    assert kept["agg_id"].tolist() == [row[0] for row in truth] and kept.provenance == "SIMULATED"


def test_a_hole_is_not_taken_for_the_listing(world):
    """A stream that asks for the candles of a halt gets those after it; older ones exist all the same."""
    venue, clock = world
    outside = aggregator(venue, clock)
    first, last = (EPOCH_MS + hour * HOUR_MS for hour in HALT_HOURS)
    assert outside.candles(BTC, first, last + 5 * HOUR_MS).open_time[0] == last + HOUR_MS
    assert outside.listed_from(BTC) == EPOCH_MS


def test_a_newest_candle_that_no_later_one_follows_is_not_final_yet(tmp_path):
    """An answer out of a cache ends with a candle that was forming when it was made: by the clock it has closed since."""
    begin = NOW // MINUTE_MS * MINUTE_MS - 60 * MINUTE_MS
    made_at = NOW - 3 * MINUTE_MS

    def answer(path: str) -> Reply:
        if "/time" in path:
            return Reply(b'{"serverTime":%d}' % NOW)
        query = dict(part.split("=") for part in path.split("?")[1].split("&"))
        times = range(int(query["startTime"]), min(int(query.get("endTime", NOW)) + 1, made_at), MINUTE_MS)
        rows = [[t, "1", "2", "0.5", "1.5", "3" if t + MINUTE_MS <= made_at else "1", t + MINUTE_MS - 1, "4", 5, "1", "1.2", "0"]
                for t in times]
        return Reply(str(rows[: int(query["limit"])]).replace("'", '"').encode())

    clock = VirtualClock(NOW)
    with stub_server(answer) as stub:
        outside = BinanceAggregator(None, clock, endpoints=Endpoints(api=stub.url), sleep=lambda _s: None)
        found = outside.candles(BTC_M1, begin, NOW)
        assert found.close_time[-1] < made_at and set(found.volume.tolist()) == {3.0}
        made_at = NOW
        assert outside.candles(BTC_M1, begin, NOW).close_time[-1] == NOW // MINUTE_MS * MINUTE_MS - 1


def test_limit_is_waited_for_and_nothing_is_lost(tmp_path):
    clock = VirtualClock(NOW)
    faults = (Fault(FaultKind.HTTP_429, NOW, count=1, host=str(Host.API), path="/api/v3/klines", value=42),)
    with running_venue(clock, script=faults) as venue:
        store, told = CandleStore(tmp_path), []
        report = backfill(store, aggregator(venue, clock), [BTC], NOW - 90 * DAY_MS, NOW, clock=clock, progress=told.append,
                          sleep=lambda s: clock.advance(round(s * 1000)) and None)
        assert report.added == 2159 and clock.now_ms() - NOW == 42_000
        assert any("Binance asks us to wait until 09:32 UTC" in step.note for step in told)


def test_who_is_told_of_a_wait_can_end_it_by_raising(tmp_path):
    """A job is stopped by its report; a wait of a quarter of an hour must not be told once and then sat out."""
    clock, told = VirtualClock(NOW), []
    faults = (Fault(FaultKind.HTTP_429, NOW, count=1, host=str(Host.API), path="/api/v3/klines", value=800),)

    def stop(step) -> None:
        told.append(step.note)
        if sum("asks us to wait" in note for note in told) == 3:
            raise KeyboardInterrupt

    with running_venue(clock, script=faults) as venue, pytest.raises(KeyboardInterrupt):
        backfill(CandleStore(tmp_path), aggregator(venue, clock), [BTC], NOW - 9 * DAY_MS, NOW, clock=clock, progress=stop,
                 sleep=lambda s: clock.advance(round(s * 1000)) and None)
    assert clock.now_ms() - NOW < 5_000


def test_observations_that_wait_for_a_limit_are_cancelled_within_a_second(tmp_path):
    clock = VirtualClock(NOW)
    faults = (Fault(FaultKind.HTTP_429, NOW, count=1, host=str(Host.FAPI), value=800),)
    with running_venue(clock, script=faults) as venue:
        collect_observations(ObservationStore(tmp_path), aggregator(venue, clock), ["BTCUSDT"], [Kind.FUNDING], NOW - DAY_MS, NOW,
                             clock=clock, sleep=lambda s: clock.advance(round(s * 1000)) and None,
                             cancelled=lambda: clock.now_ms() > NOW + 3_000)
    assert clock.now_ms() - NOW < 6_000


def test_a_busy_store_costs_one_kind_not_all_that_come_after(world, tmp_path):
    venue, clock = world
    store = ObservationStore(tmp_path, lock_wait_s=0.01)
    held = FileLock(tmp_path / "observations.lock")
    with held:
        found = collect_observations(store, aggregator(venue, clock), ["BTCUSDT"], [Kind.FUNDING, Kind.BASIS], NOW - DAY_MS, NOW,
                                     clock=clock, progress=lambda _one: held.release(force=True))
    assert "another process is writing" in found[0].failed and found[1].added and not found[1].failed


def test_ban_of_days_ends_the_run_with_the_time(tmp_path):
    clock = VirtualClock(NOW)
    faults = (Fault(FaultKind.HTTP_418, NOW, duration_ms=DAY_MS, host=str(Host.API), value=86_400),)
    with running_venue(clock, script=faults) as venue:
        report = backfill(CandleStore(tmp_path), aggregator(venue, clock), [BTC], NOW - DAY_MS, NOW, clock=clock, sleep=lambda _s: None)
        assert report.added == 0 and "wait until 09:31 UTC (2026-11-21)" in report.series[0].failed


def test_small_limits_still_end_in_the_truth(tmp_path):
    clock = VirtualClock(NOW)
    with running_venue(clock, VenueOptions(limit_scale=0.005)) as venue:  # 30 of weight a minute
        store, outside = CandleStore(tmp_path), aggregator(venue, clock)
        outside.source("api").exchange_info()  # tells the limit
        clock.advance(MINUTE_MS)
        backfill(store, outside, [BTC_M1], NOW - 20 * DAY_MS, NOW, clock=clock, sleep=lambda s: clock.advance(round(s * 1000)) and None)
        assert store.rows(BTC_M1) == 20 * 1440


def test_blocked_country_takes_futures_from_the_archive_and_says_what_is_missing(tmp_path):
    clock = VirtualClock(NOW)
    with running_venue(clock, VenueOptions(blocked=GEO_BLOCKED)) as venue:
        store = CandleStore(tmp_path)
        perp = SeriesKey("BTCUSDT", Interval.H1, Market.PERP)
        spot, futures = backfill(store, aggregator(venue, clock), [BTC, perp], NOW - 50 * DAY_MS, NOW, clock=clock).series
        assert (spot.sources, spot.unresolved_bars) == (["Binance market-data mirror"], 0)
        assert (futures.sources, futures.unresolved_bars) == (["Binance archive"], 9)
        words = "the last candle there is opened 2026-11-19T23:00:00Z: newer ones were not published by Binance archive yet"
        assert futures.notes == [words]
        expected = venue.venue.market.klines("BTCUSDT", Market.PERP, "1h", NOW - 50 * DAY_MS, NOW, 2000, NOW)
        found = store.read(perp)
        assert [row[4] for row in expected][: len(found)] == list(found.close)


def test_unknown_symbol_alone_is_an_error_and_among_others_a_line(world, tmp_path):
    venue, clock = world
    wrong = SeriesKey("BTCUSTD", Interval.H1)
    with pytest.raises(UnknownSymbol, match="did you mean BTCUSDT"):
        backfill(CandleStore(tmp_path), aggregator(venue, clock), [wrong], NOW - DAY_MS, NOW, clock=clock)
    bad, good = backfill(CandleStore(tmp_path), aggregator(venue, clock), [wrong, ETH], NOW - DAY_MS, NOW, clock=clock).series
    assert "did you mean BTCUSDT" in bad.failed and good.added == 23
    with pytest.raises(BadTime, match="begins in the future"):
        backfill(CandleStore(tmp_path), aggregator(venue, clock), [ETH], NOW + DAY_MS, NOW + 2 * DAY_MS, clock=clock)


def test_settled_contract_is_named(tmp_path):
    start = NOW // HOUR_MS * HOUR_MS - 48 * HOUR_MS
    info = (b'{"symbols":[{"symbol":"FTTUSDT","baseAsset":"FTT","quoteAsset":"USDT","status":"SETTLING",'
            b'"contractType":"PERPETUAL","filters":[]}]}')

    def answer(path: str) -> Reply:
        if "/time" in path:
            return Reply(b'{"serverTime":%d}' % NOW)
        if "exchangeInfo" in path:
            return Reply(info)
        begin = int(path.split("startTime=")[1].split("&")[0])
        rows = [[t, "1", "1", "1", "1", "9" if t < start + HOUR_MS else "0", t + HOUR_MS - 1, "0", 0, "0", "0", "0"]
                for t in range(begin, NOW // HOUR_MS * HOUR_MS, HOUR_MS)]
        return Reply(str(rows).replace("'", '"').encode())

    with stub_server(answer) as stub:
        clock = VirtualClock(NOW)
        key = SeriesKey("FTTUSDT", Interval.H1, Market.PERP)
        outside = BinanceAggregator(None, clock, endpoints=Endpoints(fapi=stub.url), sleep=lambda _s: None)
        report = backfill(CandleStore(tmp_path), outside, [key], start, NOW, clock=clock).series[0]
    words = "the last 47 candles have no volume and one price: FTTUSDT looks halted or settled (the exchange says SETTLING)"
    assert report.notes == [words]


def test_symbol_listed_later_is_not_paged_through_nothing(world, tmp_path):
    venue, clock = world
    report = backfill(CandleStore(tmp_path), aggregator(venue, clock), [BTC], parse_time("2015-01-01"), EPOCH_MS + 10 * DAY_MS,
                      clock=clock).series[0]
    assert report.requests == 1 and report.added == 240
    assert report.notes == ["the exchange has no candles before 2022-10-12T00:00:00Z"]
    assert report.unresolved_bars == 0 and report.unlisted_bars == report.wanted_bars - 240


def test_cancelled_run_keeps_what_it_has(world, tmp_path):
    venue, clock = world
    store, stop = CandleStore(tmp_path), threading.Event()
    report = backfill(store, aggregator(venue, clock), [BTC_M1, ETH], NOW - 20 * DAY_MS, NOW, clock=clock, cancelled=stop.is_set,
                      progress=lambda p: p.done_bars > 5_000 and stop.set())
    assert report.cancelled and len(report.series) == 1
    assert 5_000 < store.rows(BTC_M1) == report.added < 20 * 1440


def test_catch_up_after_sleep(tmp_path):
    clock = VirtualClock(NOW)
    with running_venue(clock) as venue:
        store, outside = CandleStore(tmp_path), aggregator(venue, clock)
        backfill(store, outside, [BTC_M1], NOW - DAY_MS, NOW, clock=clock)
        venue.advance(12 * MINUTE_MS)
        assert catch_up(store, outside, [BTC_M1], clock=clock).added == 12
        assert_equal(store.read(BTC_M1).tail(13), truth(venue, BTC_M1, NOW - HOUR_MS, clock.now_ms()).tail(13))
        assert catch_up(store, outside, [BTC_M1], clock=clock).added == 0


def test_missing_ranges_of_an_empty_store(tmp_path):
    assert missing_ranges(CandleStore(tmp_path), BTC, 0, 10 * HOUR_MS) == [(0, 10 * HOUR_MS)]


# -- observations -------------------------------------------------------------------------------------------------------------


def test_positioning_is_collected_resumed_and_stored_once(world, tmp_path):
    venue, clock = world
    store, outside = ObservationStore(tmp_path), aggregator(venue, clock)
    first = collect_observations(store, outside, ["BTCUSDT"], POSITIONING, NOW - 4 * DAY_MS, NOW - DAY_MS, clock=clock)
    assert [one.failed for one in first] == [""] * len(POSITIONING) and all(one.added for one in first)
    second = collect_observations(store, outside, ["BTCUSDT"], POSITIONING, NOW - 4 * DAY_MS, NOW, clock=clock)
    assert all(one.present == one.added + before.added and 0 < one.added < before.added for one, before in zip(second, first, strict=True))
    for kind in POSITIONING:
        rows = store.read(ObservationKey("BTCUSDT", kind))
        assert len(np.unique(rows.event_time)) == len(rows) and rows.provenance == "SIMULATED"
        assert np.all(rows.available_time >= rows.event_time)
    interest = store.read(ObservationKey("BTCUSDT", Kind.OPEN_INTEREST))
    assert set(np.diff(np.sort(interest.event_time))) == {5 * MINUTE_MS}
    assert home_of("BTCUSDT", Kind.ON_CHAIN) == ("BTC", "none")


def test_archive_ends_yesterday_and_another_venue_stands_beside_it(tmp_path):
    clock = VirtualClock(NOW)
    body = b'{"code":"0","data":[{"oi":"3","oiCcy":"30000","oiUsd":"3e9","ts":"%d"}]}' % (NOW - MINUTE_MS)
    with running_venue(clock, VenueOptions(blocked=GEO_BLOCKED)) as venue, stub_server(Reply(body)) as okx:
        outside = BinanceAggregator(None, clock, endpoints=Endpoints(fapi=venue.urls.fapi, archive=venue.urls.archive, okx=okx.url),
                                    sleep=lambda _s: None)
        store = ObservationStore(tmp_path)
        one = collect_observations(store, outside, ["BTCUSDT"], [Kind.OPEN_INTEREST], NOW - 3 * DAY_MS, NOW, clock=clock)[0]
    assert one.sources == ["Binance archive"] and "1 rows of OKX (another exchange) beside it" in one.notes
    assert any("open interest comes from the Binance archive: nothing after yesterday" in note for note in one.notes)
    assert store.read(ObservationKey("BTCUSDT", Kind.OPEN_INTEREST)).event_time.max() < parse_time("2026-11-20")
    assert store.read(ObservationKey("BTCUSDT", Kind.OPEN_INTEREST, venue="okx"))["contracts"][0] == 30000


def test_kind_without_a_source_is_a_line_not_an_end(world, tmp_path):
    venue, clock = world
    told = []
    found = collect_observations(ObservationStore(tmp_path), aggregator(venue, clock), ["BTCUSDT", "ETHUSDT"], (*MACRO, Kind.FUNDING),
                                 NOW - 3 * DAY_MS, NOW, clock=clock, progress=told.append)
    assert [(one.symbol, bool(one.failed)) for one in found] == [
        ("BTC", True), ("MARKET", True), ("MARKET", True), ("BTC", True), ("BTCUSDT", False), ("ETH", True), ("ETHUSDT", False)]
    assert "no source gave on-chain of BTC: none provides it in this world" in found[0].failed and len(told) == 7


def test_backfill_speed(world, tmp_path):
    """A floor far below what was measured (88,000 rows/s on two quiet cores), so that only a blunder fails it."""
    venue, clock = world
    began = time.perf_counter()
    report = backfill(CandleStore(tmp_path), aggregator(venue, clock), [BTC_M1], NOW - 60 * DAY_MS, NOW, clock=clock)
    assert report.added / (time.perf_counter() - began) > 5_000
