"""The ladder over real sockets, against the simulated exchange: who is asked, what stands in, what is said."""

from __future__ import annotations

import time

import numpy as np
import pytest

from data.clock import parse_time
from data.collector import backfill
from data.errors import BadTime, Blocked, NotOffered, OutsideFence, RateLimited, SourceError, UnknownSymbol
from data.market import DAY_MS, HOUR_MS, Interval, Market, SeriesKey
from data.observations import Kind
from data.simulator.faults import Fault, FaultKind
from data.simulator.venue import VenueOptions
from data.simulator.venue_clock import VirtualClock
from data.simulator.venue_hosts import GEO_BLOCKED, Host
from data.simulator.venue_thread import running_venue
from data.sources.aggregator import BinanceAggregator, checked_range
from data.sources.endpoints import Endpoints
from data.sources.health import State
from data.storage.candles import CandleStore
from tests.stub_http import Reply, stub_server

NOW = parse_time("2026-11-20T09:30:20Z")
BTC = SeriesKey("BTCUSDT", Interval.H1)
PERP = SeriesKey("BTCUSDT", Interval.H1, Market.PERP)


def endpoints(venue) -> Endpoints:
    urls = venue.urls
    return Endpoints(api=urls.api, mirror=urls.mirror, fapi=urls.fapi, eapi=urls.eapi, archive=urls.archive)


def aggregator(venue, clock, folder=None) -> BinanceAggregator:
    return BinanceAggregator(folder, clock, endpoints=endpoints(venue), sleep=lambda _s: None)


@pytest.fixture(scope="module")
def world():
    """One venue for the tests that change nothing about it."""
    clock = VirtualClock(NOW)
    with running_venue(clock) as venue:
        yield venue, clock


def truth(venue, key: SeriesKey, start: int, end: int):
    from data.simulator.market import SimulatedExchange

    return SimulatedExchange(venue.venue.options.seed, venue.venue.clock).read(key, start, end)


def test_candles_equal_the_truth(world):
    venue, clock = world
    found = aggregator(venue, clock).candles(BTC, NOW - 60 * DAY_MS, NOW + DAY_MS)
    expected = truth(venue, BTC, NOW - 60 * DAY_MS, NOW)
    for name, column in expected.columns().items():
        assert np.array_equal(found.columns()[name], column), name
    assert found.provenance == "SIMULATED" and len(found) == 60 * 24 - 1


def test_probe_does_not_block_and_tells_the_clocks_apart(world):
    venue, clock = world
    outside = aggregator(venue, clock)
    began = time.perf_counter()
    outside.start_probe()
    assert time.perf_counter() - began < 0.25
    assert outside.live_answers(5.0) is True
    rows = {row.channel: row for row in outside.probe()}
    assert {name: row.state for name, row in rows.items()} == dict.fromkeys(("api", "mirror", "fapi", "eapi", "archive"), State.OK)
    assert rows["api"].clock_offset_ms == 0 and rows["api"].provenance == "SIMULATED" and rows["api"].weight_1m == 6000
    assert outside.degraded() == () and outside.simulated


def test_clock_that_differs_is_said(world):
    venue, _ = world
    outside = BinanceAggregator(None, VirtualClock(NOW - 61 * 60_000), endpoints=endpoints(venue))
    outside.probe()
    assert outside.clock_offset_ms() == 61 * 60_000
    assert "Clock differs by 61 min" in outside.degraded()[-1]


def test_a_clock_ahead_of_the_exchange_gets_no_unfinished_candle(world):
    venue, _ = world
    outside = BinanceAggregator(None, VirtualClock(NOW + 3 * HOUR_MS), endpoints=endpoints(venue))
    found = outside.candles(BTC, NOW - DAY_MS, NOW + DAY_MS)
    assert found.close_time[-1] < NOW


def test_unknown_symbol_asks_did_you_mean(world):
    outside = aggregator(*world)
    with pytest.raises(UnknownSymbol, match=r"Binance spot does not know BTCUSTD; did you mean BTCUSDT\?"):
        outside.candles(SeriesKey("BTCUSTD", Interval.H1), NOW - DAY_MS, NOW)
    with pytest.raises(UnknownSymbol, match="Binance futures does not know ETHUSD; did you mean"):
        outside.candles(SeriesKey("ETHUSD", Interval.H1, Market.PERP), NOW - DAY_MS, NOW)


@pytest.mark.parametrize(("start", "end", "words"), [
    (NOW, NOW - 1, "swap them"), (NOW - 5, NOW - 5, "swap them"), (NOW + 1, NOW + HOUR_MS, "begins in the future"),
    (NOW - 60_000, NOW, "no 1h candle has closed"), (1_700_000_000 - 1, 1_700_000_000, "are these seconds"), (0, 5, "before 2010")])
def test_bad_ranges_ask_nobody(start, end, words):
    with pytest.raises(BadTime, match=words):
        BinanceAggregator(None, VirtualClock(NOW), endpoints=Endpoints(api="http://127.0.0.1:9")).candles(BTC, start, end)


def test_range_is_brought_to_the_grid():
    assert checked_range(BTC, NOW - 2 * HOUR_MS, NOW, NOW) == (parse_time("2026-11-20T08:00:00Z"), parse_time("2026-11-20T09:00:00Z"))
    week = SeriesKey("BTCUSDT", Interval.W1)
    first, last = checked_range(week, NOW - 30 * DAY_MS, NOW + 5 * DAY_MS, NOW)
    assert (first, last) == (parse_time("2026-10-26T00:00:00Z"), parse_time("2026-11-16T00:00:00Z"))


def test_everything_blocked_uses_mirror_and_archive_and_says_so(tmp_path):
    clock = VirtualClock(NOW)
    with running_venue(clock, VenueOptions(blocked=GEO_BLOCKED)) as venue:
        outside = aggregator(venue, clock, tmp_path)
        spot = outside.candles(BTC, NOW - 5 * DAY_MS, NOW)
        assert len(spot) == 5 * 24 - 1
        perp = outside.candles(PERP, NOW - 50 * DAY_MS, NOW)
        yesterday = parse_time("2026-11-20T00:00:00Z")
        assert perp.close_time[-1] == yesterday - 1 and len(perp) == round((yesterday - perp.open_time[0]) / HOUR_MS)
        expected = venue.venue.market.klines("BTCUSDT", Market.PERP, "1h", NOW - 50 * DAY_MS, yesterday - 1, 2000, NOW)
        assert [(row[0], row[4], row[9]) for row in expected] == list(zip(perp.open_time, perp.close, perp.taker_buy_volume, strict=True))
        rows = {row.channel: row for row in outside.health()}
        assert rows["api"].state is State.BLOCKED and rows["api"].retry_in_s == 1800
        assert rows["mirror"].state is State.OK and rows["archive"].state is State.OK
        sentences = outside.degraded()
        assert sentences[0].startswith("Binance is not available from this server's country (127.0.0.1")
        assert "Spot candles come from the Binance market-data mirror (no futures, funding or open interest)." in sentences[0]
        assert "Futures candles come from the Binance archive (nothing after yesterday" in sentences[1]
        assert sentences[2] == "Funding, open interest and ratios come from the Binance archive (until yesterday)."
        assert outside.live_answers() is True
        outside.probe()

        # The block is final for half an hour, also for a program started anew: nothing is sent there.
        before = venue.venue.requests
        again = aggregator(venue, clock, tmp_path)
        with pytest.raises(Blocked):
            again.source("api").ping()
        assert venue.venue.requests == before
        venue.venue.blocked.clear()
        clock.advance(30 * 60_000)
        assert again.source("api").ping() == clock.now_ms()


def test_positioning_from_the_api_and_older_rows_from_the_archive(world):
    venue, clock = world
    outside = aggregator(venue, clock)
    funding = outside.observations(Kind.FUNDING, "BTCUSDT", NOW - 40 * DAY_MS, NOW)
    assert funding.sources == ("Binance futures",) and funding.venue == "binance"
    rows = funding.observations
    assert np.all(np.isfinite(rows["interval_h"])) and len(rows) == round(40 * 24 / rows["interval_h"][0])
    interest = outside.observations(Kind.OPEN_INTEREST, "BTCUSDT", NOW - 33 * DAY_MS, NOW)
    assert interest.sources == ("Binance futures", "Binance archive")
    assert any("30 days" in note for note in interest.notes)
    event = np.sort(interest.observations.event_time)
    assert np.all(np.diff(event) > 0) and event[0] <= NOW - 33 * DAY_MS + HOUR_MS and event[-1] > NOW - HOUR_MS
    for kind in (Kind.GLOBAL_RATIO, Kind.TOP_ACCOUNT_RATIO, Kind.TOP_POSITION_RATIO, Kind.TAKER_RATIO, Kind.BASIS, Kind.PREMIUM_INDEX,
                 Kind.MARK_PRICE, Kind.INDEX_PRICE, Kind.FUNDING_PREDICTED):
        found = outside.observations(kind, "BTCUSDT", NOW - 3 * DAY_MS, NOW).observations
        assert len(found), kind
        assert np.all(found.available_time >= found.event_time)
        assert len(np.unique(found.event_time)) == len(found), kind
    taker = outside.observations(Kind.TAKER_RATIO, "BTCUSDT", NOW - 5 * DAY_MS, NOW).observations
    assert np.all(np.diff(np.sort(taker.event_time)) == 5 * 60_000), "no row lost between pages"


def test_market_and_options_at_this_moment(world):
    outside = aggregator(*world)
    for market in Market:
        book = outside.observations(Kind.BOOK, "BTCUSDT", NOW - HOUR_MS, NOW, market=market).observations
        assert book["price"][book["side"] > 0].max() < book["price"][book["side"] < 0].min()
        for kind in (Kind.TICKER, Kind.BOOK_TICKER, Kind.TRADES, Kind.AGG_TRADES):
            assert len(outside.observations(kind, "BTCUSDT", NOW - 60_000, NOW, market=market).observations), (kind, market)
    marks = outside.observations(Kind.OPTION_MARK, "BTCUSDT", NOW - HOUR_MS, NOW).observations
    interest = outside.observations(Kind.OPTION_OPEN_INTEREST, "BTCUSDT", NOW - HOUR_MS, NOW).observations
    assert set(interest["strike"]) <= set(marks["strike"]) and np.nanmedian(marks["mark_iv"]) < 5 and np.all(interest["contracts"] >= 0)
    spot, futures = outside.source("api"), outside.source("fapi")
    assert spot.average_price("BTCUSDT") == pytest.approx(outside.prices(Market.PERP)["BTCUSDT"], rel=0.05)
    assert len(outside.prices(Market.SPOT)) >= 12 and set(outside.exchange_info(Market.SPOT).symbols) >= set(outside.prices(Market.SPOT))
    assert len(futures.continuous("BTCUSDT", Interval.H1, NOW - DAY_MS, NOW).candles) >= 23
    assert futures.open_interest_now("BTCUSDT")["value_quote"][0] > 0
    assert futures.exchange_info().symbols["BTCUSDT"].tick_size and spot.exchange_info().symbols["BTCUSDT"].step_size
    assert outside.source("eapi").index_price("BTCUSDT") > 0


def test_trades_of_past_days_come_from_the_archive_and_those_of_today_from_the_api(world):
    venue, clock = world
    outside = aggregator(venue, clock)
    midnight = NOW // DAY_MS * DAY_MS
    for market in Market:
        for kind, number in ((Kind.AGG_TRADES, "agg_id"), (Kind.TRADES, "trade_id")):
            found = outside.observations(kind, "LTCUSDT", midnight - 40 * 60_000, midnight, market=market)
            truth = venue.venue.market.floor.trades("LTCUSDT", market, midnight - 40 * 60_000, midnight)
            assert found.sources == ("Binance archive",) and found.observations[number].tolist() == [row[0] for row in truth]
            assert found.observations["price"].tolist() == pytest.approx([row[2] for row in truth])
            assert found.observations["side"].tolist() == [-1.0 if row[4] else 1.0 for row in truth]
            assert np.array_equal(found.observations.event_time, [row[1] for row in truth])
    both = outside.observations(Kind.AGG_TRADES, "LTCUSDT", midnight - 5 * 60_000, midnight + 5 * 60_000, market=Market.SPOT)
    assert both.sources[0] == "Binance archive" and both.sources[1] == "Binance spot"
    assert np.all(np.diff(np.sort(both.observations["agg_id"])) == 1) and both.observations.event_time[-1] >= midnight


def test_depth_by_bands_continuous_contract_and_average_price(world):
    venue, clock = world
    outside = aggregator(venue, clock)
    midnight = NOW // DAY_MS * DAY_MS
    depth = outside.observations(Kind.BOOK_DEPTH, "BTCUSDT", midnight - DAY_MS, NOW)
    rows = depth.observations
    assert depth.sources == ("Binance archive",) and len(rows) == 48 * 12
    for side in (-1, 1):
        bands = rows["depth"][:12][np.sign(rows["percentage"][:12]) == side][::side]
        assert np.all(np.diff(bands) >= 0) and bands[0] > 0, "cumulative from the mid"
    with pytest.raises(SourceError, match="no source gave book depth"):
        outside.observations(Kind.BOOK_DEPTH, "BTCUSDT", midnight - DAY_MS, NOW, market=Market.SPOT)
    rolled = outside.observations(Kind.CONTINUOUS, "BTCUSDT", NOW - 3 * DAY_MS, NOW).observations
    plain = outside.candles(PERP, NOW - 3 * DAY_MS, NOW)
    assert np.array_equal(rolled["close"], plain.close) and np.array_equal(rolled.event_time, plain.open_time)
    average = outside.observations(Kind.AVERAGE_PRICE, "BTCUSDT", NOW - 60_000, NOW, market=Market.SPOT)
    assert average.observations["minutes"].tolist() == [5] and average.sources == ("Binance spot",)


def test_a_delisted_symbol_is_looked_for_in_the_archive_before_it_is_called_unknown(tmp_path):
    clock = VirtualClock(NOW)
    with running_venue(clock, VenueOptions(delisted=frozenset({"LTCUSDT", "ETHUSDT"}))) as venue:
        outside = aggregator(venue, clock)
        for key in (SeriesKey("LTCUSDT", Interval.H1), SeriesKey("ETHUSDT", Interval.H1, Market.PERP)):
            start, end = parse_time("2026-09-01"), parse_time("2026-10-03")
            found = outside.candles(key, start, end)
            rows = venue.venue.market.klines(key.symbol, key.market, "1h", start, end - 1, 2000, NOW)
            assert found.close.tolist() == [row[4] for row in rows] and len(found) == 32 * 24
        with pytest.raises(UnknownSymbol, match="LTCUSDT is not listed any more; the Binance archive has candles of it in 2026-07"):
            outside.candles(SeriesKey("LTCUSDT", Interval.H1), NOW - HOUR_MS * 6, NOW)
        funding = outside.observations(Kind.FUNDING, "ETHUSDT", parse_time("2026-09-01"), parse_time("2026-10-01"))
        assert funding.sources == ("Binance archive",) and len(funding.observations) >= 90
        with pytest.raises(UnknownSymbol, match="does not know LTCUSTD"):
            outside.observations(Kind.FUNDING, "LTCUSTD", parse_time("2026-09-01"), parse_time("2026-10-01"))
        assert "LTCUSDT" not in outside.prices(Market.SPOT) and "LTCUSDT" not in outside.exchange_info(Market.SPOT).symbols
        store = CandleStore(tmp_path)
        report = backfill(store, outside, [SeriesKey("LTCUSDT", Interval.H1)], parse_time("2026-09-01"), parse_time("2026-10-03"),
                          clock=clock).series[0]
        assert report.added == 32 * 24 and report.sources == ["Binance archive"] and not report.failed
        venue.venue.market.delisted = frozenset()


def test_with_the_apis_away_an_unpublished_file_is_no_answer():
    """Else a stream's hole over midnight would count as one of the exchange."""
    clock = VirtualClock(NOW - 4 * HOUR_MS)  # yesterday's files appear at 09:00
    away = tuple(Fault(FaultKind.HTTP_502, clock.now_ms(), duration_ms=DAY_MS, host=str(host)) for host in (Host.API, Host.MIRROR))
    with running_venue(clock, script=away) as venue:
        midnight = NOW // DAY_MS * DAY_MS
        with pytest.raises(NotOffered, match="no source gave candles of BTCUSDT 1h spot: Binance"):
            aggregator(venue, clock).candles(BTC, midnight - 5 * HOUR_MS, midnight + 3 * HOUR_MS)


def test_limits_are_not_sidestepped_by_another_door():
    clock = VirtualClock(NOW)
    fault = Fault(FaultKind.HTTP_429, NOW, count=1, host=str(Host.API), path="/api/v3/klines", value=90)
    with running_venue(clock, script=(fault,)) as venue:
        outside = aggregator(venue, clock)
        with pytest.raises(RateLimited, match="Binance asks us to wait until 09:32 UTC") as caught:
            outside.candles(BTC, NOW - 30 * DAY_MS, NOW - 10 * DAY_MS)
        assert caught.value.retry_at_ms == NOW + 90_000
        row = next(row for row in outside.health() if row.channel == "api")
        assert (row.state, row.retry_in_s) == (State.WAITING, 90)
        assert next(row for row in outside.health() if row.channel == "mirror").last_success_ms is None
        assert "Binance asks us to wait" in outside.degraded()[0]
        clock.advance(90_000)
        assert len(outside.candles(BTC, NOW - 30 * DAY_MS, NOW - 10 * DAY_MS)) == 480


PASSING = [FaultKind.HTTP_500, FaultKind.HTTP_502, FaultKind.HTTP_503, FaultKind.HTTP_504, FaultKind.HTML, FaultKind.EMPTY,
           FaultKind.TRUNCATED,
           FaultKind.MALFORMED_JSON, FaultKind.RESET]


@pytest.mark.parametrize("kind", PASSING)
def test_one_bad_answer_is_tried_again(kind):
    clock = VirtualClock(NOW)
    with running_venue(clock, script=(Fault(kind, NOW, count=1, host=str(Host.API), path="/api/v3/klines"),)) as venue:
        outside = aggregator(venue, clock)
        assert len(outside.candles(BTC, NOW - 20 * DAY_MS, NOW - 10 * DAY_MS)) == 240
        assert next(row for row in outside.health() if row.channel == "mirror").last_success_ms is None


@pytest.mark.parametrize("kind", [*PASSING, FaultKind.REDIRECT, FaultKind.HTTP_403, FaultKind.HTTP_451, FaultKind.WRONG_SHAPE])
def test_a_source_that_stays_bad_is_passed_over(kind):
    clock = VirtualClock(NOW)
    with running_venue(clock, script=(Fault(kind, NOW, duration_ms=HOUR_MS, host=str(Host.API)),)) as venue:
        outside = aggregator(venue, clock)
        found = outside.candles(BTC, NOW - 20 * DAY_MS, NOW - 10 * DAY_MS)
        assert np.array_equal(found.close, truth(venue, BTC, NOW - 20 * DAY_MS, NOW - 10 * DAY_MS).close)


def test_a_probe_answered_with_nonsense_is_a_source_that_is_down():
    """-1121 to a request that names no symbol is an error of nobody's request: the first page must not fail on it."""
    with stub_server(Reply(b'{"code":-1121,"msg":"Invalid symbol."}', 400)) as stub:
        outside = BinanceAggregator(None, VirtualClock(NOW), endpoints=Endpoints(api=stub.url, fapi=stub.url), sleep=lambda _s: None)
        assert outside.live_answers(5.0) is False
        assert {row.state for row in outside.probe()} == {State.DOWN}


def test_nobody_answers_and_every_reason_is_named():
    clock = VirtualClock(NOW)
    outside = BinanceAggregator(None, clock, endpoints=Endpoints(api="http://127.0.0.1:1", mirror="http://127.0.0.1:1", fapi="http://127.0.0.1:1"),
                                sleep=lambda _s: None)
    with pytest.raises(NotOffered, match=r"no source gave candles of BTCUSDT 1h spot: Binance \(127.0.0.1:1\) cannot be reached"):
        outside.candles(BTC, NOW - DAY_MS, NOW)
    with pytest.raises(SourceError, match="no source gave funding of BTCUSDT"):
        outside.observations(Kind.FUNDING, "BTCUSDT", NOW - DAY_MS, NOW)
    assert outside.live_answers(5.0) is False
    assert any("are not fetched now; stored data and your own files still work" in words for words in outside.degraded())


def test_another_venue_stands_in_under_its_own_name():
    answers = {
        "/api/v5/public/open-interest": b'{"code":"0","data":[{"oi":"3","oiCcy":"30000","oiUsd":"3e9","ts":"%d"}]}' % (NOW - 60_000),
        "/api/v5/public/funding-rate-history": b'{"code":"0","data":[{"fundingRate":"0.0001","fundingTime":"%d"},{"fundingRate":"0.0002",'
                                               b'"fundingTime":"%d"}]}' % (NOW - HOUR_MS, NOW - 9 * HOUR_MS)}
    with stub_server(Reply(b'{"code":0,"msg":"restricted"}', 451)) as blocked, stub_server(
            lambda path: Reply(answers[path.split("?")[0]]) if path.split("?")[0] in answers else Reply(b"", 404)) as okx:
        outside = BinanceAggregator(None, VirtualClock(NOW), endpoints=Endpoints(fapi=blocked.url, okx=okx.url), sleep=lambda _s: None)
        found = outside.observations(Kind.OPEN_INTEREST, "BTCUSDT", NOW - DAY_MS, NOW)
        assert (found.sources, found.venue, found.observations["contracts"][0]) == (("OKX",), "okx", 30000)
        assert any("another exchange" in note for note in found.notes) and any("not available" in note for note in found.notes)
        assert "instId=BTC-USDT-SWAP" in okx.paths[-1]
        assert outside.observations(Kind.OPEN_INTEREST, "BTCUSDT", NOW - DAY_MS, NOW, venue="okx").venue == "okx"
        with pytest.raises(SourceError, match="not available from this server"):
            outside.observations(Kind.OPEN_INTEREST, "BTCUSDT", NOW - DAY_MS, NOW, venue="binance")
        funding = outside.observations(Kind.FUNDING, "BTCUSDT", NOW - DAY_MS, NOW).observations
        assert list(funding["rate"]) == [0.0002, 0.0001] and funding["interval_h"][1] == 8
        assert len(blocked.seen) == 1, "asked once; then final for half an hour"
        assert "OKX (another exchange)" in " ".join(outside.degraded())


def test_daily_vendors_over_sockets():
    day = NOW // DAY_MS * DAY_MS
    text = {"/v4/catalog-v2/asset-metrics": '{"data":[{"asset":"btc","metrics":[{"metric":"PriceUSD","frequencies":[{"frequency":"1d"}]},'
                                            '{"metric":"CapMVRVCur","frequencies":[{"frequency":"1d"}]}]}]}',
            "/v4/timeseries/asset-metrics": (
                '{"data":[{"asset":"btc","time":"2026-11-18T00:00:00.000000000Z","PriceUSD":"90000","CapMVRVCur":"2.1"}]}'),
            "/stablecoincharts/all": f'[{{"date":"{(day - 2 * DAY_MS) // 1000}","totalCirculatingUSD":{{"peggedUSD":3e11}}}}]',
            "/fng/": f'{{"data":[{{"value":"54","timestamp":"{day // 1000}"}}]}}',
            "/api/v1/mining/hashrate/1y": f'{{"hashrates":[{{"timestamp":{(day - 2 * DAY_MS) // 1000},"avgHashrate":1e21}}]}}',
            "/charts/hash-rate": f'{{"values":[{{"x":{(day - 2 * DAY_MS) // 1000},"y":1e9}}]}}'}
    with stub_server(lambda path: Reply(text.get(path.split("?")[0], "{}").encode())) as stub:
        names = ("coinmetrics", "defillama", "alternativeme", "mempool", "blockchain")
        outside = BinanceAggregator(None, VirtualClock(NOW), endpoints=Endpoints(**dict.fromkeys(names, stub.url)))
        for kind, value in ((Kind.ON_CHAIN, 90000), (Kind.STABLECOIN_SUPPLY, 3e11), (Kind.FEAR_GREED, 54), (Kind.HASH_RATE, 1e21)):
            found = outside.observations(kind, "BTC", NOW - 30 * DAY_MS, NOW).observations
            assert len(found) == 1 and next(iter(found.columns.values()))[0] == value, kind
            assert found.provenance == "SIMULATED"
        asked = next(path for path in stub.paths if path.startswith("/v4/timeseries"))
        assert "metrics=PriceUSD,CapMVRVCur&" in asked, "only what the catalog offers: one forbidden metric fails the call"
        assert next(iter(outside.source("blockchain").observations(Kind.HASH_RATE, "BTC", NOW - 30 * DAY_MS, NOW,
                                                                   Market.PERP)["value"])) == 1e21
        assert all(row.state is State.OK for row in outside.probe())


def test_production_world_is_frozen():
    outside = BinanceAggregator(None, VirtualClock(NOW))
    assert not outside.simulated and len(outside.sources) == 11
    assert [source.provenance for source in outside.sources[:6]] == ["LIVE", "MIRROR", "LIVE", "LIVE", "ARCHIVE", "VENUE:okx"]
    assert all(row.state is State.UNKNOWN for row in outside.health()) and outside.degraded() == ()
    with pytest.raises(OutsideFence):
        BinanceAggregator(None, VirtualClock(NOW), endpoints=Endpoints(api="https://api.evil.example"))


def test_start_asks_the_exchange_only():
    """What a program that starts sends: no vendor of daily series is among it."""
    with stub_server(Reply(b'{"serverTime":%d}' % NOW)) as api, stub_server(Reply(b"[]")) as vendor:
        outside = BinanceAggregator(None, VirtualClock(NOW), endpoints=Endpoints(api=api.url, defillama=vendor.url))
        assert outside.live_answers(5.0) is True
        assert (len(api.seen), len(vendor.seen)) == (1, 0)
        outside.probe()
        assert len(vendor.seen) == 1
