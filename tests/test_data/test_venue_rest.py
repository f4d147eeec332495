"""REST through the real python-binance client: recorded shapes, simulator truth, limits and errors with their codes."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import re
import urllib.error
import urllib.parse
import urllib.request
import zipfile

import numpy as np
import pytest
from binance import AsyncClient, Client
from binance.exceptions import BinanceAPIException

from data.clock import FixedClock, parse_time
from data.frames import Candles
from data.market import DAY_MS, HOUR_MS, MINUTE_MS, Interval, SeriesKey
from data.simulator.market import SimulatedExchange
from data.simulator.venue import VenueOptions
from data.simulator.venue_clock import VirtualClock
from data.simulator.venue_hosts import GEO_BLOCKED, Host
from data.simulator.venue_rest import IGNORED_BEFORE_BAN
from data.simulator.venue_thread import running_venue

NOW = parse_time("2026-11-20T10:30:17.250Z")


@pytest.fixture(scope="module")
def venue():
    with running_venue(VirtualClock(NOW), VenueOptions(seed=7)) as handle:
        yield handle


def client_of(urls, host="api"):
    class Pointed(Client):
        API_URL = getattr(urls, host) + "/api"
        FUTURES_URL = urls.fapi + "/fapi"
        FUTURES_DATA_URL = urls.fapi + "/futures/data"
        OPTIONS_URL = urls.eapi + "/eapi"

    return Pointed()


@pytest.fixture
def client(venue):
    for limits in venue.venue.limits.values():
        limits.used = 0
    return client_of(venue.urls)


# -- shapes -----------------------------------------------------------------------------------------------------------

NUMBER = re.compile(r"-?\d+(\.\d+)?")


def shape(value):
    """Keys and types of a payload; a string that is a number is another type than one that is not."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    if isinstance(value, str):
        return "number in a string" if NUMBER.fullmatch(value) else "string"
    return type(value).__name__


BTC, HOURLY = {"symbol": "BTCUSDT"}, {"interval": "1h", "limit": 2}
STATS = {"symbol": "BTCUSDT", "period": "1h", "limit": 1}
RECORDED = [
    ("recorded/spot/api_v3_klines_BTCUSDT_1h_2024-08-01.json", "get_klines", BTC | HOURLY),
    ("recorded/spot/api_v3_depth_BTCUSDT_limit1000.json", "get_order_book", BTC | {"limit": 1000}),
    ("recorded/spot/api_v3_ticker_bookTicker_BTCUSDT.json", "get_orderbook_ticker", BTC),
    ("recorded/spot/api_v3_ticker_bookTicker_all.json", "get_orderbook_tickers", {}),
    ("recorded/spot/api_v3_ticker_price_all.json", "get_all_tickers", {}),
    ("doc_samples/spot/24hr_ticker_price_change_statistics.json", "get_ticker", BTC),
    ("doc_samples/spot/compressed_aggregate_trades_list.json", "get_aggregate_trades", BTC | {"limit": 1}),
    ("doc_samples/spot/recent_trades_list.json", "get_recent_trades", BTC | {"limit": 1}),
    ("doc_samples/spot/old_trade_lookup.json", "get_historical_trades", BTC | {"limit": 1}),
    ("doc_samples/spot/current_average_price.json", "get_avg_price", BTC),
    ("doc_samples/spot/check_server_time.json", "get_server_time", {}),
    ("doc_samples/spot/rolling_window_price_change_statistics.json", "get_symbol_ticker_window", BTC | {"windowSize": "4h"}),
    ("doc_samples/spot/trading_day_ticker.json", "v3_get_ticker_trading_day", BTC),
    ("recorded/usdm/fapi_v1_depth_BTCUSDT_limit1000.json", "futures_order_book", BTC | {"limit": 1000}),
    ("recorded/usdm/fapi_v1_premiumIndex_BTCUSDT.json", "futures_mark_price", BTC),
    ("recorded/usdm/fapi_v1_fundingInfo.json", "futures_v1_get_funding_info", {}),
    ("recorded/usdm/fapi_v1_ticker_bookTicker_BTCUSDT.json", "futures_orderbook_ticker", BTC),
    ("doc_samples/usdm/get_funding_rate_history.json", "futures_funding_rate", BTC | {"limit": 1}),
    ("doc_samples/usdm/http_futures_market_klines.json", "futures_klines", BTC | {"interval": "1h", "limit": 1}),
    ("doc_samples/usdm/http_futures_market_continuous_klines.json", "futures_continuous_klines",
     {"pair": "BTCUSDT", "contractType": "PERPETUAL", "interval": "1m", "limit": 1}),
    ("doc_samples/usdm/http_futures_market_index_price_klines.json", "futures_index_price_klines",
     {"pair": "BTCUSDT", "interval": "1m", "limit": 1}),
    ("doc_samples/usdm/http_futures_market_mark_price_klines.json", "futures_mark_price_klines", BTC | {"interval": "1m", "limit": 1}),
    ("doc_samples/usdm/http_futures_market_ticker_24hr.json", "futures_ticker", BTC),
    ("doc_samples/usdm/symbol_price_ticker_v2.json", "futures_symbol_ticker", BTC),
    ("doc_samples/usdm/open_interest.json", "futures_open_interest", BTC),
    ("doc_samples/usdm/recent_trades_list.json", "futures_recent_trades", BTC | {"limit": 1}),
    ("doc_samples/usdm/compressed_aggregate_trades_list.json", "futures_aggregate_trades", BTC | {"limit": 1}),
    ("doc_samples/usdm/open_interest_statistics.json", "futures_open_interest_hist", STATS),
    ("doc_samples/usdm/long_short_ratio.json", "futures_global_longshort_ratio", STATS),
    ("doc_samples/usdm/top_trader_long_short_ratio_accounts.json", "futures_top_longshort_account_ratio", STATS),
    ("doc_samples/usdm/top_trader_long_short_ratio_positions.json", "futures_top_longshort_position_ratio", STATS),
    ("doc_samples/usdm/taker_buy_sell_volume.json", "futures_taker_longshort_ratio", STATS),
    ("doc_samples/usdm/basis.json", "futures_basis", {"pair": "BTCUSDT", "contractType": "PERPETUAL", "period": "1h", "limit": 1}),
]


@pytest.mark.real
@pytest.mark.parametrize(("file", "method", "arguments"), RECORDED, ids=[f"{m}" for _, m, _ in RECORDED])
def test_payloads_have_the_recorded_keys_and_types(recordings, client, file, method, arguments):
    recorded = json.loads((recordings / "responses" / file).read_text())
    answer = getattr(client, method)(**arguments)
    trimmed = [value[:1] if isinstance(value, list) and value and isinstance(value[0], dict) else value for value in (recorded, answer)]
    if method in ("get_order_book", "futures_order_book"):
        trimmed = [{k: v[:3] if isinstance(v, list) else v for k, v in book.items()} for book in trimmed]
    if "klines" in method:
        trimmed = [rows[:1] for rows in trimmed]
    assert shape(trimmed[1]) == shape(trimmed[0])


@pytest.mark.real
@pytest.mark.parametrize(("file", "method"), [("recorded/spot/api_v3_exchangeInfo_curated.json", "get_exchange_info"),
                                              ("recorded/usdm/fapi_v1_exchangeInfo.json", "futures_exchange_info")])
def test_exchange_information_has_the_recorded_keys(recordings, client, file, method):
    recorded, answer = json.loads((recordings / "responses" / file).read_text()), getattr(client, method)()
    assert set(answer) == set(recorded) and answer["rateLimits"] == recorded["rateLimits"]
    theirs, ours = (next(s for s in d["symbols"] if s["symbol"] == "BTCUSDT") for d in (recorded, answer))
    assert set(ours) == set(theirs) and {k: type(v) for k, v in ours.items()} == {k: type(v) for k, v in theirs.items()}
    kinds = [{f["filterType"]: {k: type(v) for k, v in f.items()} for f in s["filters"]} for s in (ours, theirs)]
    assert kinds[0] == kinds[1]
    assert len(answer["symbols"]) >= 20


# -- truth ------------------------------------------------------------------------------------------------------------


def candles_of(rows, interval):
    columns = np.array([[float(v) for v in row[:11]] for row in rows])
    names = ("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count", "taker_buy_volume",
             "taker_buy_quote_volume")
    return Candles.from_columns(interval, {n: columns[:, i].astype(np.int64) if n.endswith("_time") else columns[:, i]
                                           for i, n in enumerate(names)})


@pytest.mark.parametrize("interval", [Interval.M1, Interval.M5, Interval.H1, Interval.H4, Interval.D1])
def test_candles_are_the_simulators_and_the_last_one_is_unfinished(client, interval):
    rows = client.get_klines(symbol="SOLUSDT", interval=interval.value, limit=400)
    assert rows[-1][6] >= NOW > rows[-2][6] and rows[-1][0] == interval.floor(NOW)
    truth = SimulatedExchange(7, FixedClock(NOW)).read(SeriesKey("SOLUSDT", interval), rows[0][0], rows[-1][0])
    got = candles_of(rows[:-1], interval)
    assert len(truth) == len(got) == 399
    for name in ("open_time", "open", "high", "low", "close", "close_time", "count"):
        assert np.array_equal(getattr(got, name), getattr(truth, name)), name
    for name in ("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume"):  # printed with eight decimals
        assert np.allclose(getattr(got, name), getattr(truth, name), rtol=1e-12, atol=1e-8), name


@pytest.mark.parametrize("interval", ["1s", "1m", "3m", "15m", "1h", "2h", "12h", "1d", "3d", "1w", "1M"])
def test_pages_by_start_and_by_end_meet(client, interval):
    rows = client.get_klines(symbol="ETHUSDT", interval=interval, limit=40)
    assert [r[0] for r in rows] == sorted({r[0] for r in rows}) and len(rows) == 40
    assert client.get_klines(symbol="ETHUSDT", interval=interval, limit=10, startTime=rows[5][0]) == rows[5:15]
    assert client.get_klines(symbol="ETHUSDT", interval=interval, limit=10, endTime=rows[25][0]) == rows[16:26]
    assert client.get_klines(symbol="ETHUSDT", interval=interval, startTime=rows[7][0] + 1, endTime=rows[11][0]) == rows[8:12]


def test_the_exchanges_halt_is_a_hole_for_every_client(client):
    around = parse_time("2023-02-09T15:00:00Z")
    rows = client.get_klines(symbol="BTCUSDT", interval="1h", startTime=around, limit=24)
    steps = {b[0] - a[0] for a, b in itertools.pairwise(rows)}
    assert len(rows) == 24 and steps == {HOUR_MS, 4 * HOUR_MS}


def test_the_unfinished_candle_is_what_has_been_traded_so_far(client):
    minute = client.get_klines(symbol="BTCUSDT", interval="1m", limit=1)[0]
    trades = [t for t in client.get_recent_trades(symbol="BTCUSDT", limit=1000) if t["time"] >= minute[0]]
    assert minute[8] == len(trades) > 20 and minute[1] == trades[0]["price"] and minute[4] == trades[-1]["price"]
    assert float(minute[5]) == pytest.approx(sum(float(t["qty"]) for t in trades))
    assert float(minute[9]) == pytest.approx(sum(float(t["qty"]) for t in trades if not t["isBuyerMaker"]))
    hour = client.get_klines(symbol="BTCUSDT", interval="1h", limit=1)[0]
    minutes = client.get_klines(symbol="BTCUSDT", interval="1m", startTime=hour[0])
    assert float(hour[5]) == pytest.approx(sum(float(m[5]) for m in minutes)) and hour[4] == minute[4]


def test_trades_page_by_id_without_holes(client):
    newest = client.get_aggregate_trades(symbol="XRPUSDT", limit=500)
    ids = [t["a"] for t in newest]
    assert ids == list(range(ids[0], ids[0] + 500)) and newest[-1]["T"] <= NOW
    again = client.get_aggregate_trades(symbol="XRPUSDT", fromId=ids[100], limit=50)
    assert again == newest[100:150]
    assert client.get_aggregate_trades(symbol="XRPUSDT", startTime=newest[200]["T"], endTime=newest[210]["T"])[0]["T"] == newest[200]["T"]


def test_statistics_stop_at_thirty_days_and_pages_do_not_overlap(client):
    rows = client.futures_open_interest_hist(symbol="BTCUSDT", period="5m", limit=500)
    stamps = [r["timestamp"] for r in rows]
    assert len(rows) == 500 and set(np.diff(stamps)) == {300_000} and NOW - 10 * MINUTE_MS < stamps[-1] <= NOW - 5 * MINUTE_MS
    older = client.futures_open_interest_hist(symbol="BTCUSDT", period="5m", limit=500, endTime=stamps[0] - 1)
    assert older[-1]["timestamp"] == stamps[0] - 300_000
    assert client.futures_open_interest_hist(symbol="BTCUSDT", period="1d", startTime=NOW - 30 * DAY_MS + 1, limit=500)
    for method in ("futures_open_interest_hist", "futures_global_longshort_ratio", "futures_taker_longshort_ratio"):
        with pytest.raises(BinanceAPIException) as error:
            getattr(client, method)(symbol="BTCUSDT", period="1h", startTime=NOW - 31 * DAY_MS)
        assert (error.value.status_code, error.value.code) == (400, -1130) and "startTime" in error.value.message
    taker = client.futures_taker_longshort_ratio(symbol="BTCUSDT", period="1h", limit=3)
    hours = client.futures_klines(symbol="BTCUSDT", interval="1h", startTime=taker[0]["timestamp"], limit=3)
    assert [float(t["buyVol"]) for t in taker] == pytest.approx([float(h[9]) for h in hours], abs=1e-3)


def test_futures_prices_hang_together(client):
    premium = client.futures_mark_price(symbol="BTCUSDT")
    assert float(premium["indexPrice"]) == float(client.get_symbol_ticker(symbol="BTCUSDT")["price"])
    assert abs(float(premium["markPrice"]) / float(premium["indexPrice"]) - 1) < 0.005
    assert premium["nextFundingTime"] > NOW and premium["nextFundingTime"] % (8 * HOUR_MS) == 0
    rates = client.futures_funding_rate(symbol="DOGEUSDT", limit=7)
    assert all(0 <= r["fundingTime"] % (4 * HOUR_MS) < 15 for r in rates) and len(rates) == 7 and rates[-1]["fundingTime"] <= NOW
    assert {r["symbol"]: r["fundingIntervalHours"] for r in client.futures_v1_get_funding_info()}["TRXUSDT"] == 1
    mark = client.futures_mark_price_klines(symbol="BTCUSDT", interval="1h", limit=50)
    assert all(float(k[3]) <= min(float(k[1]), float(k[4])) <= max(float(k[1]), float(k[4])) <= float(k[2]) for k in mark)


def test_options_answer(client):
    listed = client.options_exchange_info()["optionSymbols"]
    marks = {m["symbol"]: m for m in client.options_mark_price()}
    assert {s["symbol"] for s in listed} == set(marks) and len(marks) > 300
    expiry = listed[0]["symbol"].split("-")[1]
    held = client.options_open_interest(underlyingAsset="BTC", expiration=expiry)
    assert held and all(isinstance(v, str) for row in held for v in row.values())


# -- errors and limits ------------------------------------------------------------------------------------------------

KLINES, FKLINES = "get_klines", "futures_klines"


@pytest.mark.parametrize(("method", "arguments", "code"), [
    (KLINES, {"symbol": "NOSUCHUSDT", "interval": "1h"}, -1121),
    (KLINES, {"symbol": "BTCUSDT", "interval": "7m"}, -1120),
    (KLINES, {"symbol": "BTCUSDT", "interval": "1H"}, -1120),
    (KLINES, {"symbol": "BTCUSDT"}, -1102),
    (KLINES, {"interval": "1h"}, -1102),
    (KLINES, {"symbol": "", "interval": "1h"}, -1105),
    (KLINES, {"symbol": "BTC USDT", "interval": "1h"}, -1100),
    (KLINES, {"symbol": "BTCUSDT", "interval": "1h", "startTime": "yesterday"}, -1100),
    (KLINES, {"symbol": "BTCUSDT", "interval": "1h", "colour": "red"}, -1104),
    ("get_ticker", {"symbol": "BTCUSDT", "symbols": '["ETHUSDT"]'}, -1128),
    ("get_orderbook_ticker", {"symbols": '["BTCUSDT", "ETHUSDT"]'}, -1100),
    (FKLINES, {"symbol": "NOSUCHUSDT", "interval": "1h"}, -1121),
    (FKLINES, {"symbol": "BTCUSDT", "interval": "1s"}, -1120),
    (FKLINES, {"symbol": "BTCUSDT", "interval": "1h", "limit": 1501}, -1130),
    ("futures_order_book", {"symbol": "BTCUSDT", "limit": 7}, -4021),
    ("futures_aggregate_trades", {"symbol": "BTCUSDT", "startTime": NOW - 3 * HOUR_MS, "endTime": NOW}, -1127),
    ("futures_global_longshort_ratio", {"symbol": "BTCUSDT", "period": "7m"}, -1130),
])
def test_wrong_parameters_are_refused_with_binances_codes(client, method, arguments, code):
    with pytest.raises(BinanceAPIException) as error:
        getattr(client, method)(**arguments)
    assert (error.value.status_code, error.value.code) == (400, code)


@pytest.mark.real
@pytest.mark.parametrize(("file", "status"), [("http400_-1121_invalid_symbol", 400), ("http451_restricted_location", 451),
                                              ("http429_-1003_too_much_weight", 429), ("http418_-1003_ip_banned", 418),
                                              ("http502_bad_gateway", 502)])
def test_error_bodies_are_the_recorded_ones(recordings, venue, client, file, status):
    from data.simulator.faults import Fault, FaultKind

    found = next((recordings / "responses/recorded/errors").glob(f"{file}.*")).read_text()
    if status != 400:
        venue.venue.faults.add([Fault(FaultKind(str(status)), venue.venue.clock.now_ms(), host="api")])
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(venue.urls.api + "/api/v3/avgPrice?symbol=NOSUCH", timeout=10)
    body = error.value.read().decode()
    assert error.value.code == status
    assert re.sub(r"\d{13}", "TIME", body).split() == re.sub(r"\d{13}", "TIME", found).split()


def test_weight_is_counted_as_binance_counts_it(venue, client):
    def used():
        return int(client.response.headers["X-MBX-USED-WEIGHT-1M"])

    client.ping()
    start = used()
    for method, arguments, weight in (
            (KLINES, BTC | HOURLY, 2), ("get_order_book", BTC, 5), ("get_order_book", BTC | {"limit": 500}, 25),
            ("get_order_book", BTC | {"limit": 1000}, 50), ("get_order_book", BTC | {"limit": 5000}, 250),
            ("get_recent_trades", BTC, 25), ("get_ticker", {}, 80), ("get_exchange_info", {}, 20), ("get_aggregate_trades", BTC, 4)):
        getattr(client, method)(**arguments)
        assert used() - start == weight, method
        start = used()
    client.futures_klines(symbol="BTCUSDT", interval="1m", limit=1500)
    first = used()
    client.futures_klines(symbol="BTCUSDT", interval="1m", limit=99)
    assert used() - first == 1


def test_over_the_limit_comes_429_then_418_and_time_heals():
    clock = VirtualClock(NOW)
    with running_venue(clock, VenueOptions(seed=7, limit_scale=0.01)) as handle:
        client = client_of(handle.urls)
        codes = []
        for _ in range(40 + IGNORED_BEFORE_BAN):
            try:
                client.get_klines(symbol="BTCUSDT", interval="1h", limit=1)
                codes.append(200)
            except BinanceAPIException as error:
                assert error.code == -1003
                codes.append(error.status_code)
                wait = int(error.response.headers["Retry-After"])
        assert sorted(set(codes)) == [200, 418, 429] and codes == sorted(codes, key=[200, 429, 418].index)
        assert wait == 120 and 29 <= codes.count(200) <= 30
        handle.advance(60_000)
        with pytest.raises(BinanceAPIException, match="banned until"):
            client.ping()
        handle.advance(61_000)
        assert client.ping() == {}
        with pytest.raises(BinanceAPIException) as error:  # the statistics have a limiter of their own: 1000 in 5 minutes, scaled
            for _ in range(12):
                client.futures_global_longshort_ratio(symbol="BTCUSDT", period="1h")
        assert error.value.status_code == 429 and int(error.value.response.headers["Retry-After"]) > 200
        address = handle.urls.stream.replace("ws://", "http://") + "/ws/btcusdt@trade"  # connects are counted too: 300, scaled
        answers = []
        for _ in range(5):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(address, timeout=10)
            answers.append(refused.value.code)
        assert answers == [400, 400, 400, 429, 429]
        client.futures_klines(symbol="BTCUSDT", interval="1h", limit=1)


def test_a_blocked_country_reaches_the_mirror_and_the_archives_only(venue, client):
    venue.venue.blocked = set(GEO_BLOCKED)
    try:
        for method in ("get_server_time", "futures_ping", "options_ping"):
            with pytest.raises(BinanceAPIException) as error:
                getattr(client, method)()
            assert (error.value.status_code, error.value.code) == (451, 0) and "restricted location" in error.value.message
        assert client_of(venue.urls, "mirror").get_klines(symbol="BTCUSDT", interval="1h", limit=1)
        assert urllib.request.urlopen(f"{venue.urls.archive}/?delimiter=/&prefix=data/", timeout=10).status == 200
    finally:
        venue.venue.blocked = set()


def test_the_mirror_has_no_historical_trades(venue):
    with pytest.raises(BinanceAPIException) as error:
        client_of(venue.urls, "mirror").get_historical_trades(symbol="BTCUSDT")
    assert error.value.status_code == 404
    assert Host.MIRROR not in GEO_BLOCKED


async def test_the_asynchronous_client_works_too(venue):
    class Pointed(AsyncClient):
        API_URL = venue.urls.api + "/api"

    client = await Pointed.create()
    try:
        rows = [row async for row in await client.get_historical_klines_generator("BTCUSDT", "1h", NOW - 30 * HOUR_MS)]
        assert len(rows) == 30 and rows[-1][0] == NOW // HOUR_MS * HOUR_MS
    finally:
        await client.close_connection()


def test_the_same_seed_answers_the_same_bytes_and_another_one_does_not(venue):
    path = "/api/v3/klines?symbol=LINKUSDT&interval=5m&limit=20", "/api/v3/depth?symbol=LINKUSDT&limit=20"

    def read(urls):
        return [urllib.request.urlopen(urls.api + p, timeout=10).read() for p in path]

    now = venue.venue.clock.now_ms()
    with running_venue(VirtualClock(now), VenueOptions(seed=7)) as twin, running_venue(VirtualClock(now), VenueOptions(seed=8)) as other:
        assert read(twin.urls) == read(venue.urls)
        assert all(a != b for a, b in zip(read(other.urls), read(venue.urls), strict=True))


# -- archives ---------------------------------------------------------------------------------------------------------


def fetch(venue, key):
    return urllib.request.urlopen(f"{venue.urls.archive}/{key}", timeout=30).read()


def test_an_archive_holds_what_rest_told_and_its_checksum_fits(venue, client):
    key = "data/spot/daily/klines/BTCUSDT/15m/BTCUSDT-15m-2026-11-18.zip"
    body = fetch(venue, key)
    assert fetch(venue, key + ".CHECKSUM").decode() == f"{hashlib.sha256(body).hexdigest()}  BTCUSDT-15m-2026-11-18.zip\n"
    with zipfile.ZipFile(io.BytesIO(body)) as file:
        lines = file.read("BTCUSDT-15m-2026-11-18.csv").decode().splitlines()
    start = parse_time("2026-11-18")
    rows = client.get_klines(symbol="BTCUSDT", interval="15m", startTime=start, limit=96)
    assert lines == [",".join(str(v * 1000 + (999 if i == 6 else 0) if i in (0, 6) else v) for i, v in enumerate(r)) for r in rows]


@pytest.mark.parametrize(("key", "lines", "first"), [
    ("spot/monthly/klines/ETHUSDT/1d/ETHUSDT-1d-2024-02", 29, "1706745600000,"),
    ("spot/monthly/klines/ETHUSDT/1mo/ETHUSDT-1mo-2026-10", 1, "1790812800000000,"),
    ("spot/daily/aggTrades/LTCUSDT/LTCUSDT-aggTrades-2026-11-18", None, ""),
    ("futures/um/daily/klines/ETHUSDT/1h/ETHUSDT-1h-2026-11-18", 25, "open_time,open,high,low,close,volume,close_time,"),
    ("futures/um/daily/markPriceKlines/ETHUSDT/1h/ETHUSDT-1h-2026-11-18", 25, "open_time,"),
    ("futures/um/daily/premiumIndexKlines/ETHUSDT/1m/ETHUSDT-1m-2026-11-18", 1441, "open_time,"),
    ("futures/um/daily/metrics/ETHUSDT/ETHUSDT-metrics-2026-11-18", 289, "create_time,symbol,sum_open_interest,"),
    ("futures/um/daily/bookDepth/ETHUSDT/ETHUSDT-bookDepth-2026-11-18", 577, "timestamp,percentage,depth,notional"),
    ("futures/um/daily/trades/LTCUSDT/LTCUSDT-trades-2026-11-18", None, "id,price,qty,quote_qty,time,is_buyer_maker"),
    ("futures/um/monthly/fundingRate/ETHUSDT/ETHUSDT-fundingRate-2026-10", 94, "calc_time,funding_interval_hours,last_funding_rate"),
])
def test_archives_of_every_kind(venue, key, lines, first):
    with zipfile.ZipFile(io.BytesIO(fetch(venue, f"data/{key}.zip"))) as file:
        text = file.read(file.namelist()[0]).decode().splitlines()
    assert file.namelist() == [key.rsplit("/", 1)[-1] + ".csv"]
    assert text[0].startswith(first) and (len(text) == lines if lines else len(text) > 1_000)


@pytest.mark.parametrize("key", [
    "spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2026-11-20.zip", "spot/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2026-11.zip",
    "spot/daily/klines/BTCUSDT/1h/ETHUSDT-1h-2026-11-18.zip", "spot/daily/klines/NOSUCH/1h/NOSUCH-1h-2026-11-18.zip",
    "spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2019-01-01.zip", "futures/um/daily/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2026-11-18.zip"])
def test_what_is_not_published_is_not_found(venue, key):
    with pytest.raises(urllib.error.HTTPError) as error:
        fetch(venue, f"data/{key}")
    assert error.value.code == 404


def test_the_listing_pages_and_names_what_exists(venue):
    prefix, marker, keys = "data/spot/daily/klines/BTCUSDT/1h/", "", []
    while True:
        text = fetch(venue, f"data.binance.vision?delimiter=/&prefix={prefix}&marker={marker}").decode()
        keys += re.findall(r"<Key>(.*?)</Key>", text)
        if "<IsTruncated>true" not in text:
            break
        marker = re.search(r"<NextMarker>(.*?)</NextMarker>", text)[1]
    days = [k for k in keys if k.endswith(".zip")]
    assert len(keys) == 2 * len(days) == len(set(keys)) > 2_900 and days[-1].endswith("2026-11-19.zip")
    assert "<Prefix>data/spot/daily/klines/BTCUSDT/4h/</Prefix>" in fetch(
        venue, "?delimiter=/&prefix=data/spot/daily/klines/BTCUSDT/").decode()


def test_a_part_of_an_archive_can_be_asked_for(venue):
    key = "data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2026-11-18.zip"
    whole = fetch(venue, key)
    request = urllib.request.Request(f"{venue.urls.archive}/{key}", headers={"Range": "bytes=100-199"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 206 and answer.read() == whole[100:200]
        assert answer.headers["Content-Range"] == f"bytes 100-199/{len(whole)}"


def test_a_request_that_is_no_plain_get_is_refused_and_remembered(venue):
    client = client_of(venue.urls)
    before = len(venue.venue.improper)
    for method, path in (("POST", "/api/v3/order"), ("DELETE", "/api/v3/klines?symbol=BTCUSDT&interval=1h")):
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(urllib.request.Request(venue.urls.api + path, method=method), timeout=10)
        assert error.value.code in (404, 405)
    client.get_klines(symbol="BTCUSDT", interval="1h", limit=1)
    assert venue.venue.improper[before:] == ["POST api /api/v3/order", "DELETE api /api/v3/klines"]


def test_no_request_however_odd_breaks_the_venue(venue, seed):
    """Every answer is JSON with 200 or an error of Binance's; a 500 would be a fault of the venue's own."""
    import random

    from data.simulator.venue import ENDPOINTS

    dice = random.Random(seed)
    values = {
        "symbol": ["BTCUSDT", "SIMA11USDT", "btcusdt", "", "BTC'--", "ŞİRKET", "X" * 60], "pair": ["BTCUSDT", "NO"],
        "symbols": ['["BTCUSDT"]', '["BTCUSDT","ETHUSDT"]', "[]", "{}", '["NO"]', "[1]"],
        "interval": ["1m", "1h", "1M", "3d", "1s", "2m", ""], "period": ["5m", "1d", "1s"],
        "contractType": ["PERPETUAL", "NEXT_QUARTER", "X"],
        "startTime": [0, 1, NOW - HOUR_MS, NOW + DAY_MS, 10**17, -5, "x"], "endTime": [0, NOW - 2 * HOUR_MS, NOW, 10**17, "1e3"],
        "limit": [0, 1, 7, 1000, 99999, -1, "ten"], "fromId": [0, 5, 10**12, "a"], "windowSize": ["1m", "7d", "8d"],
        "type": ["FULL", "MINI", "?"], "timeZone": ["0", "+08:00"], "underlying": ["BTCUSDT", "X"], "underlyingAsset": ["BTC", "DOGE"],
        "expiration": ["261127", "x"]}
    for limits in venue.venue.limits.values():
        limits.scale = 1e6
    try:
        for path, endpoint in ENDPOINTS.items():
            base = getattr(venue.urls, min(endpoint.hosts))
            for _ in range(6):
                names = dice.sample(sorted(values), dice.randrange(0, 5)) + [n for n in ("symbol", "interval") if dice.random() < 0.5]
                query = urllib.parse.urlencode({n: dice.choice(values[n]) for n in names})
                try:
                    answer = urllib.request.urlopen(f"{base}{path}?{query}", timeout=20)
                except urllib.error.HTTPError as error:
                    answer = error
                body = json.loads(answer.read())
                assert answer.status == 200 or (answer.status == 400 and body["code"] < 0), (path, query, answer.status)
    finally:
        for limits in venue.venue.limits.values():
            limits.scale = 1.0
