"""Streams through plain websockets and through python-binance: candles once, books that stay true, routes, replies, endings."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from decimal import Decimal

import pytest
import websockets
from binance import AsyncClient, BinanceSocketManager

from data.clock import SystemClock, parse_time
from data.market import HOUR_MS, MINUTE_MS, Market
from data.simulator.tickbook import ID_STRIDE
from data.simulator.venue import Venue, VenueOptions
from data.simulator.venue_clock import VirtualClock
from data.simulator.venue_hosts import Host
from data.simulator.venue_thread import running_venue
from tests.venue_listener import Listener

START = parse_time("2026-11-20T08:30:00Z")


@pytest.fixture(scope="module")
def venue():
    with running_venue(VirtualClock(START), VenueOptions(seed=7)) as handle:
        yield handle


@pytest.fixture(autouse=True)
def on_the_minute(venue):
    venue.advance(-venue.venue.clock.now_ms() % MINUTE_MS)


def now(venue):
    return venue.venue.clock.now_ms()


def rest(venue, url):
    import urllib.request

    return json.loads(urllib.request.urlopen(url, timeout=10).read())


# -- candles ----------------------------------------------------------------------------------------------------------


async def test_each_closed_candle_comes_once_and_is_what_rest_tells(venue):
    names = [f"{s}@kline_{i}" for s in ("btcusdt", "dogeusdt", "sima09usdt") for i in ("1m", "5m", "1h")]
    start = now(venue)
    async with Listener(venue, f"{venue.urls.stream}/stream?streams={'/'.join(names)}") as ear:
        frames = [f for _ in range(5) for f in await ear.advance(25 * MINUTE_MS)]
    closed = [f["data"]["k"] for f in frames if f["data"]["k"]["x"]]
    assert len({(k["s"], k["i"], k["t"]) for k in closed}) == len(closed)
    assert [f["data"]["E"] for f in frames] == sorted(f["data"]["E"] for f in frames)
    for symbol in ("BTCUSDT", "DOGEUSDT", "SIMA09USDT"):
        for interval in ("1m", "5m", "1h"):
            got = [[k["t"], k["o"], k["h"], k["l"], k["c"], k["v"], k["T"], k["q"], k["n"], k["V"], k["Q"], "0"] for k in closed
                   if (k["s"], k["i"]) == (symbol, interval)]
            rows = rest(venue, f"{venue.urls.api}/api/v3/klines?symbol={symbol}&interval={interval}&startTime={start - HOUR_MS}&limit=1000")
            assert got == [r for r in rows if start <= r[6] < now(venue)], (symbol, interval)
            assert len(got) >= {"1m": 125, "5m": 25, "1h": 2}[interval]
    assert all(k["L"] - k["f"] + 1 == k["n"] for k in closed)


async def test_an_unfinished_candle_is_told_and_grows(venue):
    async with Listener(venue, f"{venue.urls.stream}/ws/btcusdt@kline_1m") as ear:
        told = [(await ear.advance(2_000))[-1]["k"] for _ in range(10)]
    assert not any(k["x"] for k in told) and len({k["t"] for k in told}) == 1
    assert [k["n"] for k in told] == sorted(k["n"] for k in told) and told[-1]["n"] > told[0]["n"]


@pytest.mark.parametrize("market", list(Market))
async def test_a_day_of_twenty_symbols_passes_in_seconds(venue, market):
    symbols = [s.lower() for s in venue.venue.market.symbols[:20]]
    base = venue.urls.stream if market is Market.SPOT else venue.urls.fstream + "/market"
    began = time.perf_counter()
    async with Listener(venue, f"{base}/stream?streams={'/'.join(f'{s}@kline_1m' for s in symbols)}") as ear:
        minutes = 1_439 if market is Market.SPOT else 120  # a whole day would end the connection
        frames = await ear.advance(minutes * MINUTE_MS)
    closed = {(f["data"]["s"], f["data"]["k"]["t"]) for f in frames if f["data"]["k"]["x"]}
    assert len(closed) == 20 * minutes == sum(f["data"]["k"]["x"] for f in frames)
    assert time.perf_counter() - began < 30


# -- books ------------------------------------------------------------------------------------------------------------


class LocalBook:
    """Binance's rules for a local book, written down once more: spot chains U, futures chain pu."""

    def __init__(self, market: Market, snapshot: dict) -> None:
        self.market, self.last, self.first = market, snapshot["lastUpdateId"], True
        self.sides = {"b": dict(map(tuple, snapshot["bids"])), "a": dict(map(tuple, snapshot["asks"]))}
        self.applied = 0

    def apply(self, event: dict) -> None:
        if self.market is Market.SPOT:
            if event["u"] <= self.last:
                return
            assert event["U"] <= self.last + 1 <= event["u"], "a hole in the stream"
        else:
            if event["u"] < self.last:
                return
            assert event["U"] <= self.last <= event["u"] if self.first else event["pu"] == self.last, "a hole in the stream"
        for side, levels in self.sides.items():
            for price, quantity in event[side]:
                if Decimal(quantity) == 0:
                    levels.pop(price, None)
                else:
                    levels[price] = quantity
        self.last, self.first, self.applied = event["u"], False, self.applied + 1
        best = max(map(Decimal, self.sides["b"])), min(map(Decimal, self.sides["a"]))
        assert best[0] < best[1], f"crossed: {best}"


@pytest.mark.parametrize(("market", "symbol", "speed"), [(Market.SPOT, "btcusdt", "@100ms"), (Market.SPOT, "dogeusdt", ""),
                                                         (Market.PERP, "btcusdt", "@100ms"), (Market.PERP, "ethusdt", "@500ms"),
                                                         (Market.PERP, "trxusdt", "")])
async def test_a_local_book_stays_the_true_book(venue, market, symbol, speed):
    spot = market is Market.SPOT
    url = f"{venue.urls.stream if spot else venue.urls.fstream + '/public'}/ws/{symbol}@depth{speed}"
    path = f"{venue.urls.api}/api/v3/depth?limit=5000" if spot else f"{venue.urls.fapi}/fapi/v1/depth?limit=1000"
    async with Listener(venue, url) as ear:
        buffered = await ear.advance(2_350)
        local = LocalBook(market, await asyncio.to_thread(rest, venue, f"{path}&symbol={symbol.upper()}"))
        for event in buffered + await ear.advance(70_000):
            local.apply(event)
    truth = await asyncio.to_thread(rest, venue, f"{venue.urls.api}/sim/truth/book?symbol={symbol.upper()}&market={market}"
                                                 f"&update_id={local.last}")
    assert truth["updateId"] == local.last and local.applied > 60
    for side, name in (("b", "bids"), ("a", "asks")):
        assert {Decimal(p): Decimal(q) for p, q in local.sides[side].items()} == {Decimal(p): Decimal(q) for p, q in truth[name]}


async def test_a_snapshot_lies_inside_an_event(venue):
    """Real snapshots do: a client that starts at U == lastUpdateId + 1 only would never begin."""
    async with Listener(venue, f"{venue.urls.stream}/ws/btcusdt@depth@100ms") as ear:
        await ear.advance(500)
        snapshot = await asyncio.to_thread(rest, venue, f"{venue.urls.api}/api/v3/depth?symbol=BTCUSDT&limit=5")
        following = (await ear.advance(100))[0]
    assert following["U"] < snapshot["lastUpdateId"] + 1 <= following["u"] and following["u"] - following["U"] == ID_STRIDE - 1


# -- every stream -----------------------------------------------------------------------------------------------------

SPOT_SAMPLES = [("btcusdt@aggTrade", "spot_ws/aggregate_trade_streams"), ("btcusdt@trade", "spot_ws/trade_streams"),
                ("btcusdt@kline_1m", "spot_ws/kline_candlestick_streams_for_utc"), ("btcusdt@depth@100ms", "spot_ws/diff_depth_stream"),
                ("btcusdt@depth5", "spot_ws/partial_book_depth_streams"), ("btcusdt@ticker", "spot_ws/individual_symbol_ticker_streams"),
                ("btcusdt@bookTicker", "spot_ws/individual_symbol_book_ticker_streams"), ("btcusdt@avgPrice", "spot_ws/average_price"),
                ("btcusdt@miniTicker", "spot_ws/individual_symbol_mini_ticker_stream")]
PERP_SAMPLES = [("market", "btcusdt@aggTrade", "usdm_ws/agg_trade_stream", {"nq"}), ("market", "btcusdt@kline_1m",
                                                                                   "usdm_ws/kline_stream_closed", set()),
                ("public", "btcusdt@depth@100ms", "usdm_ws/depth_update_stream", set()),
                ("public", "btcusdt@bookTicker", "usdm_ws/book_ticker_stream", set()),
                ("market", "btcusdt@markPrice@1s", "usdm_ws/mark_price_stream", {"ap"}),
                ("market", "btcusdt@ticker", "usdm_ws/ticker_stream", set()),
                ("market", "!forceOrder@arr", "usdm_ws/forceOrder_2026_layout", set())]


def kinds(value):
    return {k: kinds(v) for k, v in value.items()} if isinstance(value, dict) else type(value).__name__


@pytest.mark.real
async def test_spot_messages_have_the_documented_keys_and_types(venue, recordings):
    names = [n for n, _ in SPOT_SAMPLES]
    async with Listener(venue, f"{venue.urls.stream}/stream?streams={'/'.join(names)}") as ear:
        frames = await ear.advance(90_000)
    for name, sample in SPOT_SAMPLES:
        recorded = json.loads((recordings / "responses/doc_samples" / f"{sample}.json").read_text())
        said = [f["data"] for f in frames if f["stream"] == name]
        assert said and all(kinds(s) == kinds(recorded) for s in said), name


@pytest.mark.real
async def test_futures_messages_have_the_documented_keys_and_types(venue, recordings):
    for route, name, sample, newer in PERP_SAMPLES:
        recorded = json.loads((recordings / "responses/doc_samples" / f"{sample}.json").read_text())
        recorded = recorded.get("data", recorded)
        async with Listener(venue, f"{venue.urls.fstream}/{route}/stream?streams={name}") as ear:
            said = [f["data"] for f in await ear.advance(5 * MINUTE_MS)]
        assert said, name
        ours = {k: v for k, v in kinds(said[0]).items() if k not in newer}
        theirs = kinds(recorded)
        if name == "!forceOrder@arr":  # the recording's author left the times out
            theirs["E"] = theirs["o"]["T"] = "int"
        assert ours == theirs, name


async def test_every_market_array_speaks(venue):
    for route, name in (("market", "!markPrice@arr@1s"), ("market", "!ticker@arr"), ("market", "!miniTicker@arr"),
                        ("public", "!bookTicker"), ("market", "btcusdt_perpetual@continuousKline_1m"),
                        ("public", "btcusdt@depth20@500ms")):
        async with Listener(venue, f"{venue.urls.fstream}/{route}/ws/{name}") as ear:
            assert await ear.advance(MINUTE_MS), name
    async with Listener(venue, f"{venue.urls.stream}/ws/!miniTicker@arr") as ear:
        assert len((await ear.advance(1_000))[0]) == len(venue.venue.market.symbols)


async def test_trades_on_the_stream_are_those_of_rest_in_order(venue):
    async with Listener(venue, f"{venue.urls.stream}/ws/ethusdt@aggTrade") as ear:
        told = await ear.advance(90_000)
    rows = await asyncio.to_thread(rest, venue, f"{venue.urls.api}/api/v3/aggTrades?symbol=ETHUSDT&fromId={told[0]['a']}&limit=1000")
    assert [{k: t[k] for k in "apqflTmM"} for t in told][: len(rows)] == rows[: len(told)] and len(told) > 100
    assert [t["a"] for t in told] == list(range(told[0]["a"], told[0]["a"] + len(told)))


async def test_at_most_one_forced_order_per_symbol_and_second(venue):
    async with Listener(venue, f"{venue.urls.fstream}/market/ws/!forceOrder@arr") as ear:
        told = await ear.advance(2 * HOUR_MS)
    seconds = [(t["o"]["s"], t["o"]["T"] // 1000) for t in told]
    assert len(set(seconds)) == len(seconds) > 100 and {t["o"]["S"] for t in told} == {"BUY", "SELL"}


# -- protocol ---------------------------------------------------------------------------------------------------------


async def test_the_unrouted_futures_base_acknowledges_and_stays_silent(venue):
    for route, silent, speaking in (("", "btcusdt@aggTrade", "btcusdt@bookTicker"), ("/public", "btcusdt@markPrice@1s", "btcusdt@depth"),
                                    ("/market", "btcusdt@bookTicker", "btcusdt@aggTrade")):
        async with Listener(venue, f"{venue.urls.fstream}{route}/ws") as ear:
            assert await ear.ask(method="SUBSCRIBE", params=[silent], id=1) == {"result": None, "id": 1}
            assert await ear.advance(10_000) == []
            await ear.ask(method="SUBSCRIBE", params=[speaking], id=2)
            assert await ear.advance(10_000)


async def test_subscriptions_can_be_changed_listed_and_framed(venue):
    async with Listener(venue, f"{venue.urls.stream}/ws") as ear:
        assert await ear.ask(method="SUBSCRIBE", params=["btcusdt@trade", "nonsense@everything"], id="a") == {"result": None, "id": "a"}
        assert await ear.ask(method="LIST_SUBSCRIPTIONS", id=3) == {"result": ["btcusdt@trade", "nonsense@everything"], "id": 3}
        assert {m["e"] for m in await ear.advance(5_000)} == {"trade"}
        assert await ear.ask(method="SET_PROPERTY", params=["combined", True], id=4) == {"result": None, "id": 4}
        assert await ear.ask(method="GET_PROPERTY", params=["combined"], id=5) == {"result": True, "id": 5}
    async with Listener(venue, f"{venue.urls.stream}/stream?streams=btcusdt@trade") as ear:
        assert {m["stream"] for m in await ear.advance(5_000)} == {"btcusdt@trade"}
        await ear.ask(method="UNSUBSCRIBE", params=["btcusdt@trade"], id=312)
        assert await ear.advance(5_000) == []
        assert "error" in await ear.ask(method="DANCE", id=6)


async def test_a_client_that_talks_too_much_is_cut(venue):
    async with Listener(venue, f"{venue.urls.stream}/ws") as ear:
        for number in range(7):
            await ear.socket.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": number}))
        await asyncio.wait_for(ear.closed.wait(), 10)
        assert ear.socket.close_code == 1008


async def test_a_connection_ends_after_its_lifetime_with_a_notice():
    async with Venue(VirtualClock(START), VenueOptions(seed=7, lifetime_ms=10 * MINUTE_MS)) as venue:
        async with websockets.connect(venue.urls.stream + "/ws/btcusdt@kline_1m", proxy=None) as socket:
            await wait_for_connection(venue)
            advancing = asyncio.ensure_future(venue.advance(11 * MINUTE_MS))
            frames = [json.loads(frame) async for frame in socket]
            await advancing
        assert frames[-1] == {"e": "serverShutdown", "E": START + 10 * MINUTE_MS} and socket.close_code == 1001
        assert sum(f["e"] == "kline" for f in frames) == 10
        venue.blocked = {Host.STREAM}
        with pytest.raises(websockets.InvalidStatus) as error:
            await websockets.connect(venue.urls.stream + "/ws/btcusdt@trade", proxy=None)
        assert error.value.response.status_code == 451


async def wait_for_connection(venue):
    while not venue.connections:
        await asyncio.sleep(0.002)


async def test_the_server_pings_and_cuts_who_never_answers():
    """A client whose library answers stays; a bare socket that reads and never pongs does not."""
    async with (Venue(VirtualClock(START), VenueOptions(seed=7, ping_s=0.25)) as venue,
                websockets.connect(venue.urls.stream + "/ws/btcusdt@trade", proxy=None) as good):
        await wait_for_connection(venue)
        host, port = venue.urls.stream.removeprefix("ws://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /ws/ethusdt@trade HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
        with suppress(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 5)
        assert len(venue.connections) == 1 and good.state is websockets.State.OPEN
        writer.close()


async def test_with_a_real_clock_the_streams_follow_it():
    async with (Venue(SystemClock(), VenueOptions(seed=7)) as venue,
                websockets.connect(venue.urls.fstream + "/public/ws/btcusdt@depth@100ms", proxy=None) as socket):
        frames = [json.loads(await asyncio.wait_for(socket.recv(), 10)) for _ in range(4)]
        assert abs(frames[-1]["E"] - SystemClock().now_ms()) < 2_000
        assert [f["pu"] for f in frames[1:]] == [f["u"] for f in frames[:-1]]


async def test_python_binances_own_socket_manager_can_use_it(venue):
    class Pointed(AsyncClient):
        API_URL = venue.urls.api + "/api"

    client = await Pointed.create()
    manager = BinanceSocketManager(client)
    manager.STREAM_URL = venue.urls.stream + "/"
    try:
        async with manager.multiplex_socket(["btcusdt@kline_1m", "ethusdt@kline_1m"]) as stream:
            while not venue.venue.connections:
                await asyncio.sleep(0.002)
            await asyncio.to_thread(venue.advance, MINUTE_MS)
            told = [await asyncio.wait_for(stream.recv(), 10) for _ in range(2)]
            assert {t["stream"] for t in told} == {"btcusdt@kline_1m", "ethusdt@kline_1m"} and all(t["data"]["k"]["x"] for t in told)
            # Its reader leaves only when another message comes, or after ten seconds.
            waking = asyncio.ensure_future(_after(0.05, venue.advance, MINUTE_MS))
        await waking
    finally:
        await client.close_connection()


async def _after(delay_s, function, *arguments):
    await asyncio.sleep(delay_s)
    return await asyncio.to_thread(function, *arguments)
