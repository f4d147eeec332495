"""Frames to typed messages: every recorded line, every documented sample, and what hostile bytes do."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import OutsideFence
from data.frames import row_faults
from data.market import Interval, Market
from data.observations import Kind
from data.streams import hosts
from data.streams.batches import TICK_COLUMNS, TickKind, candles_of, observations, rows_of
from data.streams.messages import (
    AggTrade,
    BadFrame,
    BookTicker,
    DepthDiff,
    ForceOrder,
    Kline,
    MarkPrice,
    Other,
    Reply,
    Shutdown,
    Snapshot,
    Trade,
    connection_reader,
    decode,
    decode_snapshot,
)


def combined(stream: str, data: dict | list) -> bytes:
    return json.dumps({"stream": stream, "data": data}, separators=(",", ":")).encode()


AGG = {"e": "aggTrade", "E": 1672515782136, "s": "BNBBTC", "a": 12345, "p": "0.001", "q": "100", "f": 100, "l": 105,
       "T": 1672515782130, "m": True, "M": True, "nq": "99", "surprise": {"deep": [1, 2]}}


def test_an_aggregated_trade_says_who_took():
    stream, message = decode(combined("bnbbtc@aggTrade", AGG))
    assert stream == "bnbbtc@aggTrade" and isinstance(message, AggTrade)
    assert (message.price, message.quantity, message.side, message.agg_id) == (0.001, 100.0, -1, 12345)  # the buyer was maker
    assert decode(combined("bnbbtc@aggTrade", {**AGG, "m": False}))[1].side == 1


def test_raw_and_reordered_frames_are_read_too():
    assert decode(json.dumps(AGG).encode())[1] == decode(combined("bnbbtc@aggTrade", AGG))[1]
    turned = b'{"data":' + json.dumps(AGG).encode() + b', "stream": "bnbbtc@aggTrade"}'
    assert decode(turned) == ("bnbbtc@aggTrade", decode(combined("bnbbtc@aggTrade", AGG))[1])
    assert decode(b"  " + combined("bnbbtc@aggTrade", AGG))[0] == "bnbbtc@aggTrade"


@pytest.mark.parametrize("change", [
    {"p": "nan"}, {"p": "inf"}, {"p": "-1"}, {"p": "0"}, {"p": "1e400"}, {"q": "-0.1"}, {"p": None}, {"p": [1]}, {"p": "1_0"}, {"a": "x"},
    {"a": 1.5}, {"m": "perhaps"}, {"s": ""}, {"s": "X" * 100}, {"T": -1}, {"T": 10**30}])
def test_impossible_values_make_a_bad_frame(change):
    with pytest.raises(BadFrame, match="expected a market message"):
        decode(combined("bnbbtc@aggTrade", {**AGG, **change}))


@pytest.mark.parametrize("frame", [
    b"", b"null", b"{}", b"[]x", b"{", b"<html>", b'{"stream":"btcusdt@trade"', b'{"stream":"btcusdt@aggTrade","data":[]}', b"\xff\xfe",
    b'{"stream":"\xff@aggTrade","data":{}}', b'{"stream":"btcusdt@aggTrade"}', b"[" * 100_000, b'{"a":' * 50_000, b'{"stream":""}'])
def test_what_is_no_message_is_a_bad_frame(frame):
    with pytest.raises(BadFrame):
        decode(frame)


def test_a_frame_without_end_is_refused_unread():
    with pytest.raises(BadFrame, match="at most"):
        decode(b" " * (5 << 20))


@given(st.binary(max_size=300))
def test_any_bytes_give_a_message_or_a_bad_frame(frame):
    try:
        decode(frame)
    except BadFrame as error:
        assert "expected" in str(error)


def test_a_recorded_frame_with_flipped_bytes_never_does_anything_else(seed):
    source = random.Random(seed)
    frame = combined("btcusdt@depth@100ms", {"e": "depthUpdate", "E": 1, "s": "BTCUSDT", "U": 1, "u": 2,
                                             "b": [["1.5", "2"]], "a": [["1.6", "0.000"]]})
    came = Counter()
    for _ in range(3_000):
        damaged = bytearray(frame)
        for _ in range(source.randint(1, 4)):
            damaged[source.randrange(len(damaged))] = source.randrange(256)
        try:
            stream, message = decode(bytes(damaged[: source.randint(1, len(damaged))] if source.random() < 0.5 else damaged))
        except BadFrame as error:
            came["refused"] += 1
            assert "\n" not in str(error) and len(str(error)) < 400
        else:
            came[type(message).__name__] += 1
            assert isinstance(stream, str)
    assert came["refused"] > 2_000 and came["DepthDiff"] > 20


def test_replies_shutdown_and_unknown_kinds():
    assert decode(b'{"result":null,"id":7}') == ("", Reply(id=7))
    refused = decode(b'{"error":{"code":2,"msg":"Invalid request"},"id":1}')[1]
    assert isinstance(refused, Reply) and refused.refusal == "2 Invalid request"
    assert decode(b'{"code":3,"msg":"no such"}')[1].refusal == "3 no such"
    assert isinstance(decode(b'{"e":"serverShutdown","E":1770123456789}')[1], Shutdown)
    assert isinstance(decode(b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}')[1], Shutdown)
    assert decode(b'{"stream":"btcusdt@ticker","data":{"e":"24hrTicker","E":1}}')[1] == Other("24hrTicker")


def test_a_forced_sale_liquidates_a_long_and_coin_margined_ones_are_left_out():
    body = {"s": "BTCUSDT", "S": "SELL", "o": "LIMIT", "f": "IOC", "q": "0.014", "p": "9910", "ap": "9910.1", "X": "FILLED", "l": "0.014",
            "z": "0.014", "T": 1568014460893}
    message = decode(combined("btcusdt@forceOrder", {"e": "forceOrder", "E": 1568014460893, "o": body}))[1]
    assert isinstance(message, ForceOrder) and message.side == -1 and message.order.filled_quantity == 0.014
    other = decode(combined("!forceOrder@arr", {"e": "forceOrder", "E": 1, "o": {**body, "st": 2}}))[1]
    assert isinstance(other, Other)
    assert decode(combined("!forceOrder@arr", {"e": "forceOrder", "E": None, "o": {**body, "T": None, "st": 1}}))[1].event_ms is None


def test_mark_prices_come_alone_and_in_lists():
    one = {"e": "markPriceUpdate", "E": 1562305380000, "s": "BTCUSDT", "p": "11794.15", "i": "11784.6", "P": "11784.2", "r": "0.00038167",
           "T": 1562306400000, "st": 1}
    message = decode(combined("btcusdt@markPrice@1s", one))[1]
    assert isinstance(message, MarkPrice) and message.funding_rate == 0.00038167
    many = decode(combined("!markPrice@arr@1s", [one, {**one, "s": "BTCUSD_PERP", "st": 2}, {**one, "r": "", "s": "ETHUSDT_260925"}]))[1]
    assert [each.symbol for each in many] == ["BTCUSDT", "ETHUSDT_260925"] and np.isnan(many[1].funding_rate)
    kinds = observations([(1562305380500, message)])
    assert kinds["BTCUSDT", Kind.MARK_PRICE]["close"][0] == 11794.15 and kinds["BTCUSDT", Kind.INDEX_PRICE]["open"][0] == 11784.6
    assert kinds["BTCUSDT", Kind.FUNDING_PREDICTED]["rate"][0] == 0.00038167


def test_microseconds_become_milliseconds():
    _, rows = rows_of(decode(combined("x@aggTrade", {**AGG, "E": 1672515782136123, "T": 1672515782130123}))[1], 0)[1:]
    assert rows[0][:2] == (1672515782130, 1672515782136)


def test_a_row_is_never_known_before_it_was_published():
    early = rows_of(decode(combined("bnbbtc@aggTrade", AGG))[1], AGG["E"] - 5_000)[2][0]
    late = rows_of(decode(combined("bnbbtc@aggTrade", AGG))[1], AGG["E"] + 70)[2][0]
    assert (early[1], late[1]) == (AGG["E"], AGG["E"] + 70)


def test_depth_rows_keep_deletions():
    diff = DepthDiff(symbol="BTCUSDT", first_id=5, last_id=9, bids=[(1.5, 0.0)], asks=[(1.6, 2.0)], event_ms=10)
    kind, symbol, rows = rows_of(diff, 12)
    assert (kind, symbol) == (TickKind.DEPTH, "BTCUSDT")
    assert rows == [(10, 12, 1, 1.5, 0.0, 9, 5, -1), (10, 12, -1, 1.6, 2.0, 9, 5, -1)]
    assert all(len(row) == 2 + len(TICK_COLUMNS[kind]) for row in rows)


def test_only_closed_candles_become_candles():
    body = {"t": 1672515780000, "T": 1672515839999, "s": "BNBBTC", "i": "1m", "f": 100, "L": 200, "o": "0.0010", "c": "0.0020",
            "h": "0.0025", "l": "0.0010", "v": "1000", "n": 100, "x": True, "q": "1.0000", "V": "500", "Q": "0.500", "B": "123456"}
    closed = decode(combined("bnbbtc@kline_1m", {"e": "kline", "E": 1672515840001, "s": "BNBBTC", "k": body}))[1]
    forming = decode(combined("bnbbtc@kline_1m", {"e": "kline", "E": 1, "s": "BNBBTC", "k": {**body, "x": False, "t": 1672515840000}}))[1]
    candles = candles_of([closed.candle, forming.candle], Interval.M1)
    assert len(candles) == 1 and candles.close[0] == 0.002 and candles.count[0] == 100
    assert not row_faults(candles.columns(), Interval.M1)


# -- the real thing -----------------------------------------------------------------------------------------------------------

TICKS = {"stream_recordings/spot_btcusdt_20240808.ndjson.gz": {"DepthDiff": 3451, "BookTicker": 28040, "Trade": 9757, "Snapshot": 1},
         "stream_recordings/usdm_btcusdt_20240808.ndjson.gz": {"DepthDiff": 6551, "BookTicker": 66089, "Trade": 21313, "Snapshot": 1},
         "ws_recordings_2021/BINANCE_FUTURES_ws_1.txt.gz": {"BookTicker": 613, "DepthDiff": 764, "Kline": 67, "AggTrade": 91},
         "ws_recordings_2021/BINANCE_ws_1.txt.gz": {"DepthDiff": 177, "BookTicker": 84, "AggTrade": 2, "Kline": 2}}


def frames(path: Path) -> list[tuple[int, bytes]]:
    """(received ms, frame) of a recording; header lines and blank ones left out."""
    out = []
    with gzip.open(path) as lines:
        for line in lines:
            head, _, frame = line.partition(b" ")
            if not head.strip() or head.startswith(b"wss"):
                continue
            received = int(head) // 1_000_000 if head.isdigit() else round(float(head.rstrip(b":")) * 1000)
            out.append((received, frame.strip()))
    return out


@pytest.mark.real
@pytest.mark.parametrize("name", sorted(TICKS))
def test_every_recorded_line_decodes(recordings, name):
    found: Counter[str] = Counter()
    pairs = []
    for received, frame in frames(recordings / "ticks" / name):
        message = decode(frame)[1]
        found[type(message).__name__] += 1
        pairs.append((received, message))
    assert found == TICKS[name]
    made = observations(pairs)
    trades = sum(len(rows) for (_, kind), rows in made.items() if kind in (Kind.TRADES, Kind.AGG_TRADES))
    assert trades == found["Trade"] + found["AggTrade"]
    for rows in made.values():
        assert np.all(np.diff(rows.available_time) >= 0) and np.all(rows.event_time <= rows.available_time)


@pytest.mark.real
def test_recorded_trades_equal_their_text(recordings):
    """A slow truth: the standard library's reading of the same lines."""
    path = recordings / "ticks/stream_recordings/spot_btcusdt_20240808.ndjson.gz"
    lines = [frame for _, frame in frames(path) if b"@trade" in frame[:40]]
    for frame in lines[::50]:
        told, message = json.loads(frame)["data"], decode(frame)[1]
        assert isinstance(message, Trade)
        assert (message.price, message.quantity, message.trade_id, message.side) == (
            float(told["p"]), float(told["q"]), told["t"], -1 if told["m"] else 1)


@pytest.mark.real
def test_documented_samples_are_understood(recordings):
    expected = {"spot_ws/aggregate_trade_streams": AggTrade, "spot_ws/trade_streams": Trade, "spot_ws/diff_depth_stream": DepthDiff,
                "spot_ws/partial_book_depth_streams": Snapshot, "spot_ws/kline_candlestick_streams_for_utc": Kline,
                "spot_ws/individual_symbol_book_ticker_streams": BookTicker, "spot_ws/server_shutdown": Shutdown,
                "spot_ws/server_shutdown_2": Shutdown, "spot_ws/subscribe_to_a_stream_2": Reply, "usdm_ws/agg_trade_stream": AggTrade,
                "usdm_ws/book_ticker_stream": BookTicker, "usdm_ws/depth_update_stream": DepthDiff,
                "usdm_ws/forceOrder_2026_layout": ForceOrder, "usdm_ws/kline_stream_closed": Kline, "usdm_ws/kline_stream_open": Kline,
                "usdm_ws/liquidation_stream": ForceOrder, "usdm_ws/mark_price_stream": MarkPrice, "usdm_ws/trade_stream": Trade}
    for name, kind in expected.items():
        message = decode((recordings / "responses/doc_samples" / f"{name}.json").read_bytes())[1]
        assert isinstance(message, kind), name


@pytest.mark.real
def test_recorded_snapshots_are_read(recordings):
    for path in sorted((recordings / "responses/recorded").glob("*/*_depth_*.json")):
        snapshot = decode_snapshot(path.read_bytes())
        assert len(snapshot.bids) > 100 and snapshot.bids[0][0] < snapshot.asks[0][0]
    with pytest.raises(BadFrame, match="depth snapshot"):
        decode_snapshot(b'{"code":-1121,"msg":"Invalid symbol."}')


# -- where streams may be opened ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", [
    "wss://stream.binance.com:9443/stream", "wss://data-stream.binance.vision/stream", "wss://fstream.binance.com/market/stream",
    "wss://fstream.binance.com/public/ws", "ws://127.0.0.1:8765/stream", "ws://127.0.0.1:8765/public/stream"])
def test_listed_addresses_are_open(url):
    assert hosts.allowed(url) == url


@pytest.mark.parametrize("url", [
    "ws://stream.binance.com:9443/stream", "wss://stream.binance.com/stream", "wss://fstream.binance.com/stream",
    "wss://fstream.binance.com/private/stream", "wss://ws-api.binance.com/ws-api/v3", "wss://stream.binance.com:9443/stream?streams=x",
    "wss://stream.binance.com:9443@evil.example/stream", "wss://data-stream.binance.vision.evil.example/stream", "ws://127.0.0.1/stream",
    "ws://localhost:80/stream", "ws://127.0.0.1:99999/stream", "ws://127.0.0.1:80/private/stream", "wss://127.0.0.1:80/stream", "",
    "wss://data-stream.binance.vision/stream\n", "WSS://data-stream.binance.vision/stream", "ws://127.0.0.1:8８/stream"])
def test_every_other_address_is_closed(url):
    with pytest.raises(OutsideFence):
        hosts.allowed(url)


def test_futures_books_and_trades_take_two_routes():
    routes = hosts.route(Market.PERP, ["btcusdt@depth@100ms", "btcusdt@aggTrade", "btcusdt@bookTicker", "!forceOrder@arr"])
    assert routes == {hosts.FUTURES_PUBLIC: ("btcusdt@depth@100ms", "btcusdt@bookTicker"),
                      hosts.FUTURES_MARKET: ("btcusdt@aggTrade", "!forceOrder@arr")}
    assert list(hosts.route(Market.SPOT, ["btcusdt@trade"])) == [hosts.SPOT_DATA_ONLY]


@pytest.mark.parametrize("name", ["BTCUSDT@trade", "btcusdt@trade\n", "btcusdt@trade/ethusdt@trade", "", "@trade", "btcusdt@tra de"])
def test_odd_stream_names_are_refused(name):
    with pytest.raises(OutsideFence):
        hosts.check_stream(name)


BUSY = {"btcusdt@aggTrade": {"e": "aggTrade", "E": 5, "s": "BTCUSDT", "a": 1, "p": "2.5", "q": "3", "f": 1, "l": 1, "T": 4, "m": True,
                             "M": True},
        "btcusdt@bookTicker": {"u": 7, "s": "BTCUSDT", "b": "1.0", "B": "2", "a": "1.5", "A": "3"},
        "btcusdt@depth@100ms": {"e": "depthUpdate", "E": 5, "s": "BTCUSDT", "U": 1, "u": 2, "b": [["1.0", "2"]], "a": []},
        "btcusdt@markPrice@1s": {"e": "markPriceUpdate", "E": 5, "s": "BTCUSDT", "p": "2.0", "i": "2.0", "r": "0.0001", "T": 9}}


@pytest.mark.parametrize("streams", [["btcusdt@aggTrade"], ["btcusdt@aggTrade", "btcusdt@markPrice@1s"], ["btcusdt@markPrice@1s"],
                                     ["btcusdt@depth@100ms", "btcusdt@bookTicker"]])
def test_a_connections_reader_gives_what_decode_gives_or_leaves_it_to_decode(streams):
    read, left = connection_reader(streams), []
    for stream, data in BUSY.items():
        frame = combined(stream, data)
        try:
            found = read(frame)
        except (msgspec.MsgspecError, BadFrame):
            left.append(stream)
            continue
        assert (found.stream, found.data) == decode(frame)
    assert not {stream for stream in left if "markPrice" not in stream} & set(streams), "a busy stream of the connection is read at once"


@pytest.mark.parametrize("frame", [b"", b"{", b"\x00\xff", b"[" * 100_000, b'{"result":null,"id":1}', b'{"stream":"btcusdt@aggTrade"}',
                                   combined("btcusdt@aggTrade", BUSY["btcusdt@aggTrade"] | {"p": "-1"}),
                                   combined("btcusdt@aggTrade", BUSY["btcusdt@aggTrade"])[:-20]])
def test_a_connections_reader_refuses_what_is_no_message_of_its_kind(frame):
    with pytest.raises((msgspec.MsgspecError, ValueError, RecursionError)):
        connection_reader(["btcusdt@aggTrade"])(frame)
