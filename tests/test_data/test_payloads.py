"""Parsers against every recorded and documented answer: units, times, signs, and nothing but BadPayload for nonsense."""

from __future__ import annotations

import json
import zipfile
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.clock import parse_time
from data.errors import BadPayload, SourceError
from data.frames import LATEST_MS
from data.market import DAY_MS, HOUR_MS, MINUTE_MS, Interval, Market
from data.observations import Kind
from data.sources import parse_archive, parse_futures, parse_market, parse_okx, parse_onchain, parse_options
from data.sources.parse_archive import archive_funding_of, book_depth_of, metrics_of, price_table_of, trade_table_of
from data.sources.parse_exchange_info import exchange_info_of
from data.sources.parse_futures import (
    basis_of,
    funding_hours_of,
    funding_of,
    mark_and_index_of,
    open_interest_now_of,
    open_interest_of,
    predicted_funding_of,
    ratio_of,
    taker_of,
)
from data.sources.parse_klines import bars_of, price_bars_of
from data.sources.parse_market import (
    agg_trades_of,
    average_price_of,
    average_prices_of,
    book_of,
    book_ticker_of,
    last_prices_of,
    ticker_of,
    trades_of,
)
from data.sources.parse_onchain import (
    blockchain_chart_of,
    coin_metrics_of,
    community_metrics_of,
    fear_greed_of,
    mempool_hash_rate_of,
    stablecoins_of,
)

LIVE = {"provenance": "LIVE"}
NOW = parse_time("2026-11-20T12:00:00Z")


def load(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


# -- candles ------------------------------------------------------------------------------------------------------------------


def test_recorded_klines_equal_their_text(recordings):
    files = sorted((recordings / "responses/recorded/spot").glob("api_v3_klines_*_1*.json"))
    checked = 0
    for path in files:
        spelled = path.name.split("_")[4]
        if spelled == "1M":
            continue
        payload, interval = load(path), Interval(spelled)
        bars = bars_of(payload, interval, closed_before_ms=LATEST_MS, **LIVE)
        assert bars.rejected == () and bars.open_rows == 0
        assert len(bars.candles) == len(payload)
        for i in (0, len(payload) // 2, -1):
            row = payload[i]
            assert bars.candles.open_time[i] == row[0] and bars.candles.close_time[i] == row[6]
            assert [Decimal(str(float(bars.candles.columns()[name][i]))) for name in ("open", "high", "low", "close")] == [
                Decimal(x).normalize() if "." not in x else Decimal(str(float(x))) for x in row[1:5]]
            assert (bars.candles.count[i], bars.candles.taker_buy_volume[i]) == (row[8], float(row[9]))
        checked += 1
    assert checked == 5


def test_documented_klines(recordings):
    spot, usdm = recordings / "responses/doc_samples/spot", recordings / "responses/doc_samples/usdm"
    assert len(bars_of(load(spot / "http_spot_market_klines.json"), Interval.M1, closed_before_ms=LATEST_MS, **LIVE).candles) > 1
    assert len(bars_of(load(usdm / "http_futures_market_continuous_klines.json"), Interval.M1, closed_before_ms=LATEST_MS,
                       **LIVE).candles) == 1
    mark = price_bars_of(load(usdm / "http_futures_market_mark_price_klines.json"), Kind.MARK_PRICE, closed_before_ms=LATEST_MS, **LIVE)
    assert (mark.event_time[0], mark.available_time[0], mark["close"][0]) == (1591256460000, 1591256519999, 9653.07367333)
    index = price_bars_of(load(usdm / "http_futures_market_index_price_klines.json"), Kind.INDEX_PRICE, closed_before_ms=LATEST_MS, **LIVE)
    assert index["high"][0] == 9653.6964


def kline(opened: int, interval: Interval = Interval.M1, **changes) -> list:
    row = {"open_time": opened, "open": "1", "high": "2", "low": "0.5", "close": "1.5", "volume": "3",
           "close_time": opened + interval.ms - 1,
           "quote": "4", "count": 5, "taker": "1", "taker_quote": "1.2", "ignore": "0"} | changes
    return list(row.values())


START = parse_time("2024-03-01T00:00:00Z")


def test_unfinished_candle_is_left_out():
    rows = [kline(START), kline(START + MINUTE_MS), kline(START + 2 * MINUTE_MS)]
    for now, closed in ((START + 2 * MINUTE_MS, 2), (START + 2 * MINUTE_MS - 1, 1), (START + 3 * MINUTE_MS, 3)):
        bars = bars_of(rows, Interval.M1, closed_before_ms=now, **LIVE)
        assert (len(bars.candles), bars.open_rows) == (closed, 3 - closed)


def test_candles_off_the_grid_are_floored_and_the_first_stays():
    rows = [kline(START, close_time=START + 59_999), kline(START + 11_000, close_time=START + 70_999, close="1.1"),
            kline(START + MINUTE_MS + 11_000)]
    bars = bars_of(rows, Interval.M1, closed_before_ms=LATEST_MS, **LIVE)
    assert list(bars.candles.open_time) == [START, START + MINUTE_MS]
    assert list(bars.candles.close) == [1.5, 1.5]
    assert list(bars.candles.close_time) == [START + 59_999, START + 2 * MINUTE_MS - 1]


def test_rows_that_are_no_candles_are_named_and_the_rest_stays():
    rows = [kline(START, close="0"), kline(START + MINUTE_MS), kline(START + 2 * MINUTE_MS, volume="-1"), kline(5)]
    bars = bars_of(rows, Interval.M1, closed_before_ms=LATEST_MS, **LIVE)
    assert list(bars.candles.open_time) == [START + MINUTE_MS]
    assert any("2024-03-01T00:00:00Z: close is not above zero" in words for words in bars.rejected)
    assert any("volume is negative" in words for words in bars.rejected) and len(bars.rejected) == 3


@pytest.mark.parametrize("payload", [{}, None, "x", [1], [[1, 2]], [kline(START, open_time="x")], [kline(START, close="abc")],
                                     [kline(1.5)], [kline(START, close=True)],
                                     [kline(2**80)], [kline(START, close=float("inf"))], [kline(START, count={})], [{"a": 1}]])
def test_other_shapes_are_bad_payloads(payload):
    with pytest.raises(BadPayload):
        bars_of(payload, Interval.M1, closed_before_ms=LATEST_MS, **LIVE)


# -- futures ------------------------------------------------------------------------------------------------------------------


def test_recorded_funding_has_its_interval_and_minute(recordings):
    folder = recordings / "responses/recorded/usdm"
    found = funding_of(load(folder / "fapi_v1_fundingRate_BTCUSDT_30d.json"), **LIVE)
    assert len(found) == 90
    assert np.isnan(found["interval_h"][0]) and set(found["interval_h"][1:]) == {8.0}
    assert np.all(found.event_time % (8 * HOUR_MS) == 0), "jitter of some milliseconds is gone"
    assert np.all(found.available_time - found.event_time < 100) and np.any(found.available_time > found.event_time)
    assert np.all(np.abs(found["rate"]) < 0.001) and np.all(found["mark_price"] > 10_000)
    for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT"):
        assert len(funding_of(load(folder / f"fapi_v1_fundingRate_{symbol}_limit20.json"), **LIVE)) == 20
    sample = funding_of(load(recordings / "responses/doc_samples/usdm/get_funding_rate_history.json"), **LIVE)
    assert sample["rate"][0] == -0.0375


def test_funding_terms(recordings):
    hours = funding_hours_of(load(recordings / "responses/recorded/usdm/fapi_v1_fundingInfo.json"))
    counts = {h: sum(1 for value in hours.values() if value == h) for h in set(hours.values())}
    assert counts[4] == 440 and counts[1] == 2  # measured in the recordings' README
    assert funding_hours_of(load(recordings / "responses/doc_samples/usdm/get_funding_rate_info.json")) == {"BLZUSDT": 8}


def test_premium_index(recordings):
    folder = recordings / "responses/recorded/usdm"
    one = load(folder / "fapi_v1_premiumIndex_BTCUSDT.json")
    found = predicted_funding_of(one, interval_h=8, **LIVE)
    assert (found["rate"][0], found["next_time_ms"][0], found.event_time[0]) == (0.00007013, 1783900800000, 1783875671000)
    assert mark_and_index_of(one) == (64138.69293478, 64162.75695652)
    assert len(predicted_funding_of(load(folder / "fapi_v1_premiumIndex_all.json"), interval_h=8, **LIVE)) > 500
    assert len(predicted_funding_of(load(recordings / "responses/doc_samples/usdm/mark_price.json"), interval_h=8, **LIVE)) == 1


def test_statistics_become_known_five_minutes_later(recordings):
    folder = recordings / "derivatives_stats"
    interest = open_interest_of(load(folder / "openInterestHist_BTCUSDT_1d.json"), **LIVE)
    assert (interest["contracts"][0], interest["value_quote"][0]) == (107490.19, 7451313844.008042)
    assert np.all(interest["value_quote"] / interest["contracts"] > 20_000), "a value per coin, hence a price"
    assert np.all(interest.available_time - interest.event_time == 5 * MINUTE_MS)
    ratio = ratio_of(load(folder / "globalLongShortAccountRatio_BTCUSDT_1d.json"), Kind.GLOBAL_RATIO, **LIVE)
    assert np.allclose(ratio["long_share"] + ratio["short_share"], 1)
    assert np.allclose(ratio["ratio"], ratio["long_share"] / ratio["short_share"], atol=2e-3)


def test_documented_statistics(recordings):
    folder = recordings / "responses/doc_samples/usdm"
    assert open_interest_of(load(folder / "open_interest_statistics.json"), **LIVE)["contracts"][0] == 20403.12345678
    assert open_interest_now_of(load(folder / "open_interest.json"), mark_price=10.0, **LIVE)["value_quote"][0] == pytest.approx(106595.09)
    for name, kind in (("long_short_ratio", Kind.GLOBAL_RATIO), ("top_trader_long_short_ratio_accounts", Kind.TOP_ACCOUNT_RATIO),
                       ("top_trader_long_short_ratio_positions", Kind.TOP_POSITION_RATIO)):
        assert ratio_of(load(folder / f"{name}.json"), kind, **LIVE)["long_share"][0] > 0.5
    for name in ("taker_buy_sell_volume", "http_futures_market_taker_long_short_ratio"):  # the second has its times as text
        taker = taker_of(load(folder / f"{name}.json"), period_ms=5 * MINUTE_MS, **LIVE)
        assert taker["ratio"].max() == 1.5586
        assert np.all(taker.available_time - taker.event_time == 10 * MINUTE_MS)
        assert np.isclose(taker["buy_volume"][0] / taker["sell_volume"][0], taker["ratio"][0], atol=0.1)
    basis = basis_of(load(folder / "basis.json"), **LIVE)
    assert (basis["basis"][0], basis["basis_rate"][0]) == (13.94054945, 0.0004) and np.isnan(basis["annualised_rate"][0])
    assert np.isclose(basis["futures_price"][0] - basis["index_price"][0], basis["basis"][0])


# -- the market at a moment ---------------------------------------------------------------------------------------------------


def test_tickers(recordings):
    for path in (recordings / "responses/doc_samples/spot/24hr_ticker_price_change_statistics.json",
                 recordings / "responses/doc_samples/spot/24hr_ticker_price_change_statistics_3.json",
                 recordings / "responses/doc_samples/usdm/http_futures_market_ticker_24hr.json"):
        found = ticker_of(load(path), now_ms=NOW, **LIVE)
        assert (found["last"][0], found["open"][0], found["volume"][0], found["quote_volume"][0], found["count"][0]) == (
            4.000002, 99.0, 8913.3, 15.3, 76)
        assert (found.event_time[0], found.available_time[0]) == (1499869899040, NOW)


def test_book_tickers_and_the_zeros_of_stopped_symbols(recordings):
    spot, usdm = recordings / "responses/recorded/spot", recordings / "responses/recorded/usdm"
    found = book_ticker_of(load(spot / "api_v3_ticker_bookTicker_BTCUSDT.json"), now_ms=NOW, **LIVE)
    assert found["bid"][0] < found["ask"][0] and found.event_time[0] == NOW
    futures = book_ticker_of(load(usdm / "fapi_v1_ticker_bookTicker_BTCUSDT.json"), now_ms=NOW, **LIVE)
    assert futures["bid"][0] < futures["ask"][0] and futures.event_time[0] < NOW
    everything = load(spot / "api_v3_ticker_bookTicker_all.json")
    stopped = [row for row in everything if not len(book_ticker_of(row, now_ms=NOW, **LIVE))]
    assert sum(float(row["bidPrice"]) == float(row["askPrice"]) == 0 for row in everything) == 2282 <= len(stopped)
    assert "not a quote" in book_ticker_of(stopped[0], now_ms=NOW, **LIVE).note
    assert len(last_prices_of(load(spot / "api_v3_ticker_price_all.json"))) > 1000
    for name in ("symbol_price_ticker", "symbol_price_ticker_2"):
        assert last_prices_of(load(recordings / f"responses/doc_samples/spot/{name}.json"))["LTCBTC"] == 4.000002
    assert average_price_of(load(recordings / "responses/doc_samples/spot/current_average_price.json")) == 9.35751834


def test_recorded_books(recordings):
    files = sorted((recordings / "responses/recorded").rglob("*depth*limit1000.json"))
    assert len(files) == 6
    for path in files:
        payload = load(path)
        book = book_of(payload, now_ms=NOW, **LIVE)
        bids, asks = book["price"][book["side"] > 0], book["price"][book["side"] < 0]
        assert (len(bids), len(asks)) == (len(payload["bids"]), len(payload["asks"]))
        assert bids.max() < asks.min() and bids[0] == bids.max() and asks[0] == asks.min()
        assert book.event_time[0] == (NOW if "spot" in path.parts else payload["T"])
        assert set(book["update_id"]) == {payload["lastUpdateId"]}
    for path in ("spot/order_book", "usdm/order_book", "usdm/rpi_order_book"):
        assert len(book_of(load(recordings / f"responses/doc_samples/{path}.json"), now_ms=NOW, **LIVE)) == 2


def test_trades_and_the_takers_side(recordings):
    for path in ("spot/recent_trades_list", "spot/old_trade_lookup", "usdm/recent_trades_list", "usdm/old_trades_lookup"):
        found = trades_of(load(recordings / f"responses/doc_samples/{path}.json"), **LIVE)
        assert (found["trade_id"][0], found["price"][0], found["quantity"][0], found["side"][0]) == (28457, 4.000001, 12, -1)
    for path in ("spot/compressed_aggregate_trades_list", "usdm/compressed_aggregate_trades_list"):
        found = agg_trades_of(load(recordings / f"responses/doc_samples/{path}.json"), **LIVE)
        assert (found["agg_id"][0], found["quantity"][0], found["side"][0], found.event_time[0]) == (26129, 4.70443515, -1, 1498793709153)
    many = agg_trades_of(load(recordings / "responses/doc_samples/spot/http_spot_market_agg_trades.json"), **LIVE)
    assert set(many["side"]) <= {-1.0, 1.0} and len(many) > 1


def test_exchange_information(recordings):
    recorded = recordings / "responses/recorded"
    futures = exchange_info_of(load(recorded / "usdm/fapi_v1_exchangeInfo.json"), Market.PERP)
    assert futures.weight_1m == 2400
    btc = futures.symbols["BTCUSDT"]
    assert (btc.status, btc.contract, str(btc.tick_size), str(btc.step_size)) == ("TRADING", "PERPETUAL", "0.10", "0.001")
    assert btc.min_notional is not None and btc.onboard_ms == 1567965300000
    assert any(not info.trading for info in futures.symbols.values())
    spot = exchange_info_of(load(recorded / "spot/api_v3_exchangeInfo_curated.json"), Market.SPOT)
    assert str(spot.symbols["BTCUSDT"].tick_size) == "0.01000000" and spot.symbols["BTCUSDT"].min_notional == 5
    for path, market in ((recorded / "spot/api_v3_exchangeInfo_full_2021.json", Market.SPOT),
                         (recorded / "usdm/fapi_v1_exchangeInfo_2021.json", Market.PERP),
                         (recordings / "responses/doc_samples/spot/http_spot_market_exchange_info.json", Market.SPOT),
                         (recordings / "responses/doc_samples/spot/exchange_information.json", Market.SPOT)):
        assert exchange_info_of(load(path), market).symbols


# -- options ------------------------------------------------------------------------------------------------------------------

MARKS = [{"symbol": "BTC-260925-145000-C", "markPrice": "1200.5", "bidIV": "0.50", "askIV": "0.52", "markIV": "0.51", "delta": "0.3",
          "theta": "-20",
          "gamma": "0.00001", "vega": "80", "highPriceLimit": "1", "lowPriceLimit": "1", "riskFreeInterest": "0.05"},
         {"symbol": "BTC-260925-90000-P", "markPrice": "900", "bidIV": "0", "askIV": "0", "markIV": "0", "delta": "-0.2", "theta": "-18",
          "gamma": "0.00002", "vega": "70"}, {"symbol": "ETH-260925-4000-C", "markPrice": "9", "markIV": "0.7", "delta": "0",
                                              "theta": "0", "gamma": "0",
                                             "vega": "0"}, {"symbol": "NONSENSE", "markIV": "1"}]


def test_option_marks():
    found = parse_options.option_marks_of(MARKS, "BTC", now_ms=NOW, **LIVE)
    assert len(found) == 2
    assert (found["strike"][0], found["is_call"][0], found["mark_iv"][0], found["gamma"][0]) == (145000, 1, 0.51, 0.00001)
    assert found["expiry_ms"][0] == parse_time("2026-09-25T08:00:00Z")
    assert found["is_call"][1] == 0 and np.isnan(found["mark_iv"][1]), "an IV of 0 is no quote"


def test_option_open_interest_and_expiries():
    rows = [{"symbol": "BTC-260925-145000-C", "sumOpenInterest": "12.5", "sumOpenInterestUsd": "1500000", "timestamp": "1790000000000"}]
    found = parse_options.option_open_interest_of(rows, **LIVE)
    assert (found["contracts"][0], found["value_quote"][0], found.event_time[0]) == (12.5, 1_500_000, 1_790_000_000_000)
    info = {"optionSymbols": [{"symbol": s} for s in ("BTC-261225-1-C", "BTC-260925-1-C", "BTC-260925-2-P", "ETH-260101-1-C")]}
    assert parse_options.expirations_of(info, "BTC") == ("260925", "261225")


# -- the archive --------------------------------------------------------------------------------------------------------------


def unzip(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read(archive.namelist()[0])


def test_archive_funding_equals_the_schedule(recordings):
    files = sorted((recordings / "vision/data/futures/um/monthly/fundingRate/BTCUSDT").glob("*.zip"))
    assert len(files) >= 40
    events = []
    for path in files:
        found = archive_funding_of(unzip(path), provenance="ARCHIVE")
        assert len(found) and set(found["interval_h"]) == {8.0} and np.all(np.abs(found["rate"]) < 0.02)
        assert np.all(found.available_time >= found.event_time)
        events.append(found.event_time)
    steps = np.diff(np.concatenate(sorted(events, key=lambda e: e[0])))
    assert np.all(steps > 0) and np.mean(steps == 8 * HOUR_MS) > 0.99


def test_archive_metrics(recordings):
    data = unzip(next((recordings / "vision/data/futures/um/daily/metrics/BTCUSDT").glob("*.zip")))
    interest = metrics_of(data, Kind.OPEN_INTEREST, "BTCUSDT", provenance="ARCHIVE")
    assert len(interest) == 52 and interest.event_time[0] == parse_time("2023-12-12T17:25:00Z")
    assert (interest["contracts"][0], interest["value_quote"][0]) == (78365.176, 3217736314.0510087)
    assert np.all(np.diff(interest.event_time) == 5 * MINUTE_MS)
    expected = {Kind.TOP_ACCOUNT_RATIO: 1.20438608, Kind.TOP_POSITION_RATIO: 1.37524341, Kind.GLOBAL_RATIO: 1.262544,
                Kind.TAKER_RATIO: 0.59450825}
    for kind, first in expected.items():
        found = metrics_of(data, kind, "BTCUSDT", provenance="ARCHIVE")
        assert found["ratio"][0] == first
    shares = metrics_of(data, Kind.GLOBAL_RATIO, "BTCUSDT", provenance="ARCHIVE")
    assert np.allclose(shares["long_share"] / shares["short_share"], shares["ratio"])
    with pytest.raises(BadPayload, match="expected metrics of ETHUSDT"):
        metrics_of(data, Kind.OPEN_INTEREST, "ETHUSDT", provenance="ARCHIVE")


def test_archive_metrics_unsorted_doubled_and_blank():
    data = (b"2021-01-01 00:10:00,X,3,30,1,1,1,1\n2021-01-01 00:05:00,X,2,20,1,1,1,1\n2021-01-01 00:05:00,X,2,20,1,1,1,1\n"
            b"2021-01-01 00:15:00,X,,,,,,\n")
    found = metrics_of(data, Kind.OPEN_INTEREST, "X", provenance="ARCHIVE")
    assert list(found["contracts"]) == [2, 3]


def test_archive_price_files_with_and_without_header():
    row = b"1591256400000,-0.0001,0.0002,-0.0003,0.0001,0,1591259999999,0,60,0,0,0\n"
    header = b"open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore\n"
    for data in (row, header + row):
        found = price_table_of(data, Kind.PREMIUM_INDEX, provenance="ARCHIVE")
        assert (found["open"][0], found["low"][0], found.event_time[0]) == (-0.0001, -0.0003, 1591256400000)


# -- daily vendors ------------------------------------------------------------------------------------------------------------


def test_coin_metrics_day_is_known_the_next_morning(recordings):
    sample = load(recordings / "external/coinmetrics_timeseries_asset_metrics.json")
    assert np.isnan(coin_metrics_of(sample, now_ms=NOW)["mvrv"][0])
    lines = (recordings / "external/coinmetrics_btc_2020-03-19_2020-03-29.csv").read_text().splitlines()
    names = lines[0].split(",")
    rows = [{"asset": "btc", "time": f"{line.split(',')[0]}T00:00:00.000000000Z", **dict(zip(names[1:], line.split(",")[1:], strict=True))}
            for line in lines[1:]]
    found = coin_metrics_of({"data": rows}, now_ms=NOW)
    assert len(found) == 11
    assert found.event_time[0] == parse_time("2020-03-19T00:00:00Z") and found.available_time[0] == parse_time("2020-03-20T03:00:00Z")
    assert found["price"][0] == pytest.approx(6203.5516320865) and found["mvrv"][0] == 1.11612479
    assert np.allclose(found["price"] * found["supply"], found["market_cap"], rtol=1e-6)
    assert len(coin_metrics_of({"data": rows}, now_ms=parse_time("2020-03-29T23:00:00Z"))) == 10, "an unfinished day is not returned"


def test_coin_metrics_catalog():
    catalog = {"data": [{"asset": "btc", "metrics": [
        {"metric": "PriceUSD", "frequencies": [{"frequency": "1d", "community": True}]},
        {"metric": "CapRealUSD", "frequencies": [{"frequency": "1d", "community": False}]},
        {"metric": "TxCnt", "frequencies": [{"frequency": "1b"}]}]}]}
    assert community_metrics_of(catalog) == {"PriceUSD"}


def test_stablecoins(recordings):
    found = stablecoins_of(load(recordings / "external/defillama_stablecoincharts_first_record.json"), now_ms=NOW)
    assert (found["supply_usd"][0], found.event_time[0]) == (110105, 1511913600000)
    assert found.available_time[0] == 1511913600000 + DAY_MS + HOUR_MS
    today = [{"date": str(NOW // DAY_MS * 86_400), "totalCirculatingUSD": {"peggedUSD": 1}}]
    assert len(stablecoins_of(today, now_ms=NOW)) == 0, "today's row moves"


def test_fear_and_greed(recordings):
    found = fear_greed_of(load(recordings / "external/alternative_me_fng_shape.json"), now_ms=NOW)
    assert (found["value"][0], found.event_time[0]) == (65, 1707609600000)
    assert found.available_time[0] == 1707609600000 + 10 * MINUTE_MS
    lines = (recordings / "external/fear_greed_2023-07-13_2024-03-31.csv").read_text().split()[1:]
    payload = {"data": [{"value": value, "timestamp": str(parse_time(day) // 1000)} for day, value in (line.split(",") for line in lines)]}
    many = fear_greed_of(payload, now_ms=NOW)
    assert len(many) == 263 and np.all(np.diff(many.event_time) == DAY_MS) and many["value"].min() >= 0 and many["value"].max() <= 100


def test_hash_rates_agree_in_unit(recordings):
    points = load(recordings / "external/blockchain_com_hash_rate.json")["hashrate"]
    chart = {"values": [{"x": point["ts"] // 1000, "y": point["value"]} for point in points]}
    found = blockchain_chart_of(chart, now_ms=NOW)
    assert len(found) == 60 and 0.5e21 < found["value"].min() < 2e21, "about a thousand exahashes a second"
    mempool = mempool_hash_rate_of({"hashrates": [{"timestamp": 1758240000, "avgHashrate": 1.1e21}]}, now_ms=NOW)
    assert 0.5 < mempool["value"][0] / found["value"][0] < 2


# -- OKX ----------------------------------------------------------------------------------------------------------------------


def okx(*rows) -> dict:
    return {"code": "0", "msg": "", "data": list(rows)}


def test_okx():
    settled = okx({"instId": "BTC-USDT-SWAP", "fundingRate": "0.0001", "realizedRate": "0.00012", "fundingTime": "1790006400000"},
                  {"instId": "BTC-USDT-SWAP", "fundingRate": "0.0002", "realizedRate": "", "fundingTime": "1789977600000"})
    found = parse_okx.okx_funding_of(settled)
    assert list(found["rate"]) == [0.0002, 0.00012] and found["interval_h"][1] == 8 and found.provenance == "VENUE:okx"
    interest = parse_okx.okx_open_interest_of(okx({"oi": "3000000", "oiCcy": "30000", "oiUsd": "3000000000", "ts": "1790000000000"}))
    assert (interest["contracts"][0], interest["value_quote"][0]) == (30000, 3e9)
    ratio = parse_okx.okx_ratio_of(okx(["1790003600000", "1.5"], ["1790000000000", "1.0"]), period_ms=HOUR_MS)
    assert list(ratio["ratio"]) == [1.0, 1.5] and ratio["long_share"][1] == 0.6
    forced = okx({"details": [{"side": "sell", "bkPx": "60000", "sz": "5", "ts": "1790000000000"}]})
    liquidations = parse_okx.okx_liquidations_of(forced, contract_size=parse_okx.okx_contract_size_of(okx({"ctVal": "0.01"})))
    assert (liquidations["side"][0], liquidations["quantity"][0]) == (-1, 0.05)
    running = okx({"fundingRate": "0.0003", "fundingTime": "1790006400000", "nextFundingTime": "1790035200000"})
    predicted = parse_okx.okx_predicted_funding_of(running, now_ms=NOW)
    assert (predicted["rate"][0], predicted["interval_h"][0], predicted["next_time_ms"][0]) == (0.0003, 8, 1790006400000)
    with pytest.raises(SourceError, match="OKX refused \\(51001: Instrument"):
        parse_okx.okx_funding_of({"code": "51001", "msg": "Instrument ID does not exist", "data": []})


# -- trades and depth of the archive ------------------------------------------------------------------------------------------

UM_TRADES = (b"id,price,qty,quote_qty,time,is_buyer_maker\n12,61000.10,0.002,122.0002,1700000000123,true\n"
             b"11,61000.00,0.001,61.0,1700000000100,false\n")
SPOT_AGGREGATES = (b"7,0.50000000,3.00000000,20,22,1735689600123456,True,True\n8,0.51000000,1.00000000,23,23,1735689600123999,False,True\n")


def test_documented_trade_files():
    """Futures with a header and milliseconds, unsorted; spot without one and, from 2025 on, with microseconds."""
    trades = trade_table_of(UM_TRADES, Kind.TRADES, provenance="ARCHIVE")
    assert trades["trade_id"].tolist() == [11, 12] and trades["side"].tolist() == [1, -1] and trades.event_time[0] == 1_700_000_000_100
    found = trade_table_of(SPOT_AGGREGATES, Kind.AGG_TRADES, provenance="ARCHIVE")
    assert found.event_time.tolist() == [1_735_689_600_123] * 2 and found["first_id"].tolist() == [20, 23]
    assert found["side"].tolist() == [-1, 1] and found["quantity"].tolist() == [3.0, 1.0] and found["last_id"].tolist() == [22, 23]


@pytest.mark.parametrize(("data", "words"), [
    (UM_TRADES.replace(b"61000.10", b"-1"), "no price"), (UM_TRADES.replace(b"61000.10", b"nan"), "no price"),
    (UM_TRADES.replace(b"1700000000123", b"17000000"), "no time"), (UM_TRADES.replace(b"0.002", b"inf"), "no quantity"),
    (UM_TRADES.replace(b"true", b"maybe"), "unknown shape"), (UM_TRADES[:-30], "unknown shape"), (b"1,2,3\n", "6 or more columns"),
    (b"<html>", "6 or more columns"), (b"", "6 or more columns")])
def test_damaged_trade_files_are_refused_whole(data, words):
    with pytest.raises(BadPayload, match=words):
        trade_table_of(data, Kind.TRADES, provenance="ARCHIVE")


def test_recorded_aggregates_of_the_archive(recordings):
    import zipfile

    folder = recordings / "vision/data/spot/daily/aggTrades/XRPETH"
    found = []
    for day in ("2019-10-11", "2019-10-12"):
        with zipfile.ZipFile(folder / f"XRPETH-aggTrades-{day}.zip") as file:
            found.append(trade_table_of(file.read(file.namelist()[0]), Kind.AGG_TRADES, provenance="ARCHIVE"))
    assert [len(part) for part in found] == [5929, 4134]  # measured in the recordings' README
    numbers = np.concatenate([part["agg_id"] for part in found])
    assert numbers[0] == 13519807 and numbers[-1] == 13529869 and np.all(np.diff(numbers) == 1)
    assert all(np.all(np.diff(part.event_time) >= 0) and set(part["side"]) == {-1.0, 1.0} for part in found)


def test_documented_book_depth():
    data = (b"timestamp,percentage,depth,notional\n2023-01-01 00:00:12,1,50.5,835000.5\n2023-01-01 00:00:12,-1,40.0,660000.0\n"
            b"2023-01-01 00:00:42,-0.20,4.0,66000.0\n")
    found = book_depth_of(data, provenance="ARCHIVE")
    assert found["percentage"].tolist() == [-1, 1, -0.2] and found["depth"].tolist() == [40, 50.5, 4]
    assert found.event_time.tolist() == [1_672_531_212_000] * 2 + [1_672_531_242_000]
    assert len(book_depth_of(b"timestamp,percentage,depth,notional\n", provenance="ARCHIVE")) == 0


def test_average_price_keeps_its_minutes():
    found = average_prices_of({"mins": 5, "price": "9.35751834", "closeTime": 1694061154503}, now_ms=1694061154600, **LIVE)
    assert (found["price"][0], found["minutes"][0], found.event_time[0], found.available_time[0]) == (
        9.35751834, 5, 1694061154503, 1694061154600)
    assert len(average_prices_of({"mins": 5, "price": "0.00000000", "closeTime": 1694061154503}, now_ms=NOW, **LIVE)) == 0


# -- nonsense -----------------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12) | st.sampled_from(["0", "1790000000000",
        "0.5", ""]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([
        "symbol", "fundingTime", "fundingRate", "timestamp", "longShortRatio", "data", "code", "lastUpdateId", "bids", "asks", "price",
                                                                                 "time",
        "values", "x", "y", "date", "metrics", "details", "symbols", "markIV", "serverTime"]), inner, max_size=5), max_leaves=12)
PARSERS = {
    "bars": lambda p: bars_of(p, Interval.M1, closed_before_ms=LATEST_MS, **LIVE), "funding": lambda p: funding_of(p, **LIVE),
    "hours": funding_hours_of, "predicted": lambda p: predicted_funding_of(p, interval_h=8, **LIVE), "marks": mark_and_index_of,
    "interest": lambda p: open_interest_of(p, **LIVE), "interest now": lambda p: open_interest_now_of(p, mark_price=1.0, **LIVE),
    "ratio": lambda p: ratio_of(p, Kind.GLOBAL_RATIO, **LIVE), "taker": lambda p: taker_of(p, period_ms=1, **LIVE),
    "basis": lambda p: basis_of(p, **LIVE), "ticker": lambda p: ticker_of(p, now_ms=NOW, **LIVE), "prices": last_prices_of,
    "book ticker": lambda p: book_ticker_of(p, now_ms=NOW, **LIVE), "book": lambda p: book_of(p, now_ms=NOW, **LIVE),
    "trades": lambda p: trades_of(p, **LIVE), "agg": lambda p: agg_trades_of(p, **LIVE), "average": average_price_of,
    "averages": lambda p: average_prices_of(p, now_ms=NOW, **LIVE),
    "info": lambda p: exchange_info_of(p, Market.SPOT), "options": lambda p: parse_options.option_marks_of(p, "BTC", now_ms=NOW, **LIVE),
    "options interest": lambda p: parse_options.option_open_interest_of(p, **LIVE), "expiries": lambda p: parse_options.expirations_of(p,
        "BTC"),
    "coin metrics": lambda p: coin_metrics_of(p, now_ms=NOW), "catalog": community_metrics_of, "stable": lambda p: stablecoins_of(p,
        now_ms=NOW),
    "fng": lambda p: fear_greed_of(p, now_ms=NOW), "chart": lambda p: blockchain_chart_of(p, now_ms=NOW),
    "mempool": lambda p: mempool_hash_rate_of(p, now_ms=NOW), "okx funding": parse_okx.okx_funding_of,
           "okx interest": parse_okx.okx_open_interest_of,
    "okx ratio": lambda p: parse_okx.okx_ratio_of(p, period_ms=1), "okx size": parse_okx.okx_contract_size_of,
    "okx forced": lambda p: parse_okx.okx_liquidations_of(p, contract_size=1.0),
           "okx next": lambda p: parse_okx.okx_predicted_funding_of(p, now_ms=NOW),
}


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(payload=JSON)
def test_nonsense_is_a_source_error_or_an_answer(name, payload):
    try:
        PARSERS[name](payload)
    except SourceError as error:
        assert "\n" not in str(error)


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=300) | st.text("0123456789,-: \n.XBTC", max_size=300).map(str.encode))
def test_nonsense_files_are_bad_payloads(data):
    for parse in (lambda: archive_funding_of(data, provenance="ARCHIVE"), lambda: metrics_of(data, Kind.OPEN_INTEREST, "X",
        provenance="ARCHIVE"),
                  lambda: price_table_of(data, Kind.MARK_PRICE, provenance="ARCHIVE"),
                  lambda: trade_table_of(data, Kind.TRADES, provenance="ARCHIVE"),
                  lambda: trade_table_of(data, Kind.AGG_TRADES, provenance="ARCHIVE"), lambda: book_depth_of(data, provenance="ARCHIVE")):
        try:
            parse()
        except BadPayload:
            continue


def test_every_parser_is_covered():
    """Each public parser of the folder appears in this file."""
    text = Path(__file__).read_text(encoding="utf-8")
    for module in (parse_archive, parse_futures, parse_market, parse_okx, parse_onchain, parse_options):
        for name in vars(module):
            if name.endswith("_of") and getattr(module, name).__module__ == module.__name__ and hasattr(getattr(module, name),
                "__wrapped__"):
                assert name in text, f"{name} has no test"


def test_two_lines_of_one_settlement_do_not_cost_the_month():
    """Revised or repeated lines: the store keeps the first of a settlement, the others are not lost with it."""
    at = parse_time("2024-01-01")
    text = f"calc_time,funding_interval_hours,last_funding_rate\n{at},8,0.0001\n{at},8,0.0002\n{at + 8 * HOUR_MS},8,0.0003\n"
    assert archive_funding_of(text.encode(), provenance="ARCHIVE")["rate"].tolist() == [0.0001, 0.0002, 0.0003]
