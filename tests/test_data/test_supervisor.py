"""The supervisor against a real WebSocket server that drops, falls silent, garbles, repeats and refuses."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError, InputError, OutsideFence
from data.streams.line import Line, LineFailed
from data.streams.messages import AggTrade, BookTicker, Kline, decode
from data.streams.queues import Arrived, NewestQueue
from data.streams.service import StreamService
from data.streams.supervisor import LONGEST_WAIT_S, Backoff, Hole, State, Supervisor
from tests.streaming import START_MS, Pace, SmallExchange, settle, until

TRADES = "btcusdt@aggTrade"


def trade(number: int) -> dict:
    return {"e": "aggTrade", "E": START_MS, "s": "BTCUSDT", "a": number, "p": "1", "q": "2", "f": 1, "l": 1, "T": START_MS, "m": False}


def kline(open_ms: int, closed: bool, symbol: str = "BTCUSDT") -> dict:
    return {"e": "kline", "E": open_ms + 60_000 if closed else open_ms + 1, "s": symbol, "k": {
        "t": open_ms, "T": open_ms + 59_999, "s": symbol, "i": "1m", "o": "1", "h": "2", "l": "1", "c": "2", "v": "3", "n": 4, "x": closed,
        "q": "5", "V": "1", "Q": "2"}}


class Notebook:
    """A feed that writes down what it gets."""

    name = "notebook"

    def __init__(self) -> None:
        self.got: list[Arrived] = []
        self.holes: list[Hole] = []
        self.fail_fills = 0
        self.fail_takes = 0
        self.gate: asyncio.Event | None = None

    async def fill(self, hole: Hole) -> None:
        self.holes.append(hole)
        if self.gate is not None:
            await self.gate.wait()
        if self.fail_fills:
            self.fail_fills -= 1
            raise DataError("REST is down")

    async def take(self, batch: Sequence[Arrived]) -> None:
        if self.fail_takes:
            self.fail_takes -= 1
            raise ZeroDivisionError("a bug in a feed")
        self.got += batch

    @property
    def ids(self) -> list[int]:
        return [each.message.agg_id for each in self.got if isinstance(each.message, AggTrade)]


@asynccontextmanager
async def running(exchange: SmallExchange, feed: Notebook, streams: Sequence[str] = (TRADES,), **options):
    pace = Pace()
    supervisor = Supervisor(exchange.base, streams, feed, clock=pace, sleep=pace.sleep, random=Random(1), **options)
    task = asyncio.create_task(supervisor.run())
    try:
        yield supervisor, pace
    finally:
        task.cancel()
        await asyncio.wait({task}, timeout=5)
        assert task.done()


async def test_messages_flow_and_the_words_say_so():
    async with SmallExchange() as exchange:
        feed = Notebook()
        async with running(exchange, feed) as (supervisor, _):
            await until(lambda: supervisor.live)
            assert exchange.requests[0] == {"method": "SUBSCRIBE", "params": [TRADES], "id": 1}
            await exchange.say(TRADES, trade(7))
            await until(lambda: feed.ids == [7])
            status = supervisor.status()
            assert status.words == "Live since 08:54 UTC" and status.state is State.LIVE and status.last_message_ms == START_MS
            assert [hole.start_ms for hole in feed.holes] == [0]
        assert supervisor.status().state is State.STOPPED


async def test_a_dropped_line_comes_back_and_its_hole_is_filled_first():
    async with SmallExchange() as exchange:
        feed = Notebook()
        async with running(exchange, feed) as (supervisor, pace):
            await until(lambda: supervisor.live)
            await exchange.say(TRADES, trade(1))
            await until(lambda: feed.ids == [1])
            await exchange.drop()
            await until(lambda: supervisor.status().state is State.INTERRUPTED)
            assert supervisor.status().words == "Live data interrupted since 08:54 UTC – reconnecting (try 1)"
            feed.gate = asyncio.Event()
            await pace.pass_time(2)
            await until(lambda: len(feed.holes) == 2)
            assert supervisor.status().state is State.CATCHING_UP and "fetching what was missed" in supervisor.status().words
            await exchange.say(TRADES, trade(2))
            await settle()
            assert feed.ids == [1]  # waits until the hole is filled
            feed.gate.set()
            await until(lambda: feed.ids == [1, 2] and supervisor.live)
            assert feed.holes[1].start_ms == START_MS and feed.holes[1].end_ms > START_MS


async def test_silence_is_noticed_though_the_socket_lives():
    async with SmallExchange() as exchange:
        feed = Notebook()
        async with running(exchange, feed, ["btcusdt@kline_1m"]) as (supervisor, pace):
            await until(lambda: supervisor.live)
            await pace.pass_time(4)
            assert exchange.opened == 1
            await pace.pass_time(4)
            await until(lambda: exchange.opened == 2)
            assert supervisor.counts["silences"] == 1


async def test_a_thin_market_is_given_more_time_after_each_silence():
    async with SmallExchange() as exchange, running(exchange, Notebook(), ["nknusdt@kline_1m"]) as (supervisor, pace):
        await until(lambda: supervisor.live)
        for _ in range(30):  # a frame every 15 s: 5 and 10 s are too short, 20 s is not
            await pace.pass_time(15)
            await until(lambda: len(exchange.connections) == 1)
            await exchange.say("nknusdt@kline_1m", kline(START_MS, False, "NKNUSDT"))
            await settle()
        assert 2 <= supervisor.counts["silences"] <= 3 and supervisor.live


async def test_frames_that_are_no_messages_are_no_sign_of_life():
    async with SmallExchange() as exchange:
        feed = Notebook()
        async with running(exchange, feed, ["btcusdt@kline_1m"]) as (supervisor, pace):
            await until(lambda: supervisor.live)
            for _ in range(8):
                await exchange.raw('{"stream":"btcusdt@kline_1m","data":{"e":"kline"}}')
                await exchange.say("ethusdt@kline_1m", kline(START_MS, False, "ETHUSDT"))
                await pace.pass_time(1)
            await until(lambda: exchange.opened == 2)
            assert supervisor.status().counts["malformed"] >= 5 and supervisor.status().counts["not asked for"] >= 5


async def test_one_silent_stream_beside_a_busy_one_gets_a_minute_then_longer():
    async with SmallExchange() as exchange:
        feed = Notebook()
        async with running(exchange, feed, ["btcusdt@kline_1m", "ethusdt@kline_1m"]) as (supervisor, pace):
            await until(lambda: supervisor.live)
            opened = []
            for second in range(240):
                if exchange.connections:
                    await exchange.say("btcusdt@kline_1m", kline(START_MS, False))
                    await settle()
                await pace.pass_time(1)
                if exchange.opened > len(opened) + 1:
                    opened.append(second)
            assert len(opened) == 2 and 58 <= opened[0] <= 66 and opened[1] - opened[0] > 115


async def test_malformed_frames_do_not_end_the_stream():
    async with SmallExchange() as exchange:
        feed = Notebook()
        async with running(exchange, feed) as (supervisor, _):
            await until(lambda: supervisor.live)
            empty = json.dumps({"stream": TRADES, "data": {"e": "aggTrade"}})
            for frame in ("", "{", "null", "<html>502</html>", b"\x00\xff", empty, "[" * 50_000):
                await exchange.raw(frame)
            await exchange.say(TRADES, trade(1))
            await until(lambda: feed.ids == [1])
            assert supervisor.live and exchange.opened == 1 and supervisor.status().counts["malformed"] == 7


async def test_a_burst_is_taken_whole():
    async with SmallExchange() as exchange:
        feed = Notebook()
        async with running(exchange, feed) as (supervisor, _):
            await until(lambda: supervisor.live)
            for number in range(3_000):
                await exchange.say(TRADES, trade(number))
            await until(lambda: len(feed.ids) == 3_000)
            assert feed.ids == list(range(3_000)) and supervisor.status().counts["dropped"] == 0


async def test_a_fill_that_fails_is_tried_again_before_the_stream_counts_as_live():
    async with SmallExchange() as exchange:
        feed = Notebook()
        feed.fail_fills = 2
        async with running(exchange, feed) as (supervisor, pace):
            await until(lambda: len(feed.holes) == 1)
            await settle()
            assert supervisor.status().state is State.CATCHING_UP and "REST is down" in supervisor.status().words
            await pace.pass_time(4)
            await until(lambda: supervisor.live)
            assert len(feed.holes) == 3


async def test_a_line_lost_while_filling_makes_the_hole_larger():
    async with SmallExchange() as exchange:
        feed = Notebook()
        feed.gate = asyncio.Event()
        async with running(exchange, feed) as (supervisor, pace):
            await until(lambda: len(feed.holes) == 1)
            await pace.pass_time(3)
            await exchange.drop()
            await pace.pass_time(3)
            await until(lambda: exchange.opened == 2)
            feed.gate.set()
            await until(lambda: supervisor.live)
            assert [hole.start_ms for hole in feed.holes] == [0, 0] and feed.holes[1].end_ms > feed.holes[0].end_ms


async def test_a_feed_that_breaks_is_given_the_hole_and_goes_on(caplog):
    caplog.set_level(logging.CRITICAL)
    async with SmallExchange() as exchange:
        feed = Notebook()
        async with running(exchange, feed) as (supervisor, pace):
            await until(lambda: supervisor.live)
            feed.fail_takes = 1
            await exchange.say(TRADES, trade(1))
            await until(lambda: supervisor.counts["feed failures"] == 1)
            await pace.pass_time(2)
            await until(lambda: supervisor.live and len(feed.holes) == 2)
            await exchange.say(TRADES, trade(2))
            await until(lambda: feed.ids == [2])
            assert supervisor.counts["feed failures"] == 1 and supervisor.live


async def test_an_exchange_that_is_away_is_asked_less_and_less_often():
    async with SmallExchange() as exchange:
        exchange.refuse_with = HTTPStatus.BAD_GATEWAY
        feed = Notebook()
        async with running(exchange, feed, expected_s={"aggTrade": None}) as (supervisor, pace):
            await until(lambda: supervisor.counts["failed"] == 1)
            for _ in range(60):
                await pace.pass_time(10)
            tries = supervisor.counts["failed"]
            assert 28 <= tries <= 46  # 1+2+4+8+16, then one in 20 s at most, a quarter earlier at the least
            assert "try" in supervisor.status().words
            exchange.refuse_with = None
            await pace.pass_time(61)
            await until(lambda: supervisor.live)
            await pace.pass_time(31)
            assert supervisor.status().tries == 0  # forgotten after 30 healthy seconds


@pytest.mark.parametrize(("status", "words", "wait_s"), [
    (451, "Binance is not available from this server's country (HTTP 451)", 1800), (403, "Binance's firewall refuses this address", 1800)])
async def test_a_refused_country_is_probed_once_in_half_an_hour(status, words, wait_s):
    async with SmallExchange() as exchange:
        exchange.refuse_with = HTTPStatus(status)
        async with running(exchange, Notebook()) as (supervisor, pace):
            await until(lambda: supervisor.counts["refused"] == 1)
            assert words in supervisor.status().words and "next try at 09:24 UTC" in supervisor.status().words
            await pace.pass_time(wait_s - 5)
            assert supervisor.counts["refused"] == 1
            await pace.pass_time(10)
            await until(lambda: supervisor.counts["refused"] == 2)


async def test_retry_after_is_obeyed_to_the_second():
    async with SmallExchange() as exchange:
        exchange.refuse_with, exchange.refuse_headers = HTTPStatus.TOO_MANY_REQUESTS, {"Retry-After": "300"}
        async with running(exchange, Notebook()) as (supervisor, pace):
            await until(lambda: supervisor.counts["refused"] == 1)
            exchange.refuse_with = None
            await pace.pass_time(298)
            assert exchange.opened == 0
            await pace.pass_time(3)
            await until(lambda: supervisor.live)


async def test_a_redirect_is_never_followed():
    async with SmallExchange() as exchange, SmallExchange() as elsewhere:
        exchange.refuse_with, exchange.refuse_headers = HTTPStatus.FOUND, {"Location": f"{elsewhere.base}/stream"}
        async with running(exchange, Notebook()) as (supervisor, pace):
            await until(lambda: supervisor.counts["failed"] == 1)
            await pace.pass_time(5)
            assert elsewhere.opened == 0


async def test_a_refused_subscription_is_a_failure_with_its_words():
    async with SmallExchange() as exchange:
        exchange.reply = lambda asked: '{"error":{"code":2,"msg":"Invalid request: too many"}}'
        pace = Pace()
        with pytest.raises(LineFailed, match="refused the subscription: 2 Invalid request: too many"):
            await Line.open(exchange.base, [TRADES], clock=pace, sleep=pace.sleep, deliver=lambda arrived: None)


async def test_many_streams_are_asked_for_slowly():
    async with SmallExchange() as exchange:
        streams = [f"sym{i}usdt@kline_1m" for i in range(400)]
        async with running(exchange, Notebook(), streams) as (supervisor, pace):
            await until(lambda: len(exchange.requests) == 1)
            await settle()
            assert len(exchange.requests) == 1  # the next one waits its third of a second
            await pace.pass_time(1)
            await until(lambda: supervisor.live)
            assert [len(asked["params"]) for asked in exchange.requests] == [150, 150, 100]
        pace = Pace()
        with pytest.raises(InputError, match="1 to 1024"):
            await Line.open(exchange.base, ["x@trade"] * 1025, clock=pace, sleep=pace.sleep, deliver=lambda arrived: None)


async def test_before_the_cut_the_next_line_is_open_and_nothing_is_missed():
    async with SmallExchange() as exchange:
        feed = Notebook()
        async with running(exchange, feed, rotate_after_s=20) as (supervisor, pace):
            await until(lambda: supervisor.live)
            for number in range(1, 61):
                await exchange.say(TRADES, trade(number))
                await pace.pass_time(1)
                assert supervisor.live
            assert supervisor.counts["rotations"] in (2, 3) and len(feed.holes) == 1
            assert exchange.opened == 1 + supervisor.counts["rotations"]
            await until(lambda: len(exchange.connections) == 1)
            assert set(feed.ids) == set(range(1, 61))


async def test_an_announced_shutdown_changes_lines_at_once():
    async with SmallExchange() as exchange:
        feed = Notebook()
        async with running(exchange, feed) as (supervisor, pace):
            await until(lambda: supervisor.live)
            await exchange.raw('{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}')
            await settle()
            await pace.pass_time(2)
            await until(lambda: exchange.opened == 2 and len(exchange.connections) == 1)
            assert supervisor.live and len(feed.holes) == 1


async def test_a_host_asleep_for_eight_hours_reconnects_on_waking():
    async with SmallExchange() as exchange:
        feed = Notebook()
        async with running(exchange, feed) as (supervisor, pace):
            await until(lambda: supervisor.live)
            await exchange.say(TRADES, trade(1))
            await until(lambda: feed.ids == [1])
            pace.advance(8 * 3_600_000)
            await settle()
            await pace.pass_time(3)
            await until(lambda: supervisor.live and len(feed.holes) == 2)
            assert feed.holes[1].end_ms - feed.holes[1].start_ms >= 8 * 3_600_000


@given(st.integers(0, 2**32), st.integers(1, 40))
def test_backoff_doubles_up_to_twenty_seconds_and_never_waits_longer(number, tries):
    backoff = Backoff(Random(number))
    for i in range(tries):
        base = min(20.0, 2.0**i)
        assert 0.75 * base <= backoff.next_s() <= base <= LONGEST_WAIT_S
    backoff.reset()
    assert backoff.next_s() <= 1.0


def test_only_listed_addresses_can_be_supervised():
    pace = Pace()
    with pytest.raises(OutsideFence, match="not on the frozen list"):
        Supervisor("wss://example.com", [TRADES], Notebook(), clock=pace, sleep=pace.sleep, random=Random(1))


# -- the queue ----------------------------------------------------------------------------------------------------------------


def arrived(stream: str, data: dict) -> Arrived:
    return Arrived(stream, 1, decode(json.dumps({"stream": stream, "data": data}).encode())[1])


def test_the_queue_keeps_closed_candles_newest_states_and_the_latest_trades():
    queue = NewestQueue(limit=10)
    for i in range(50):
        queue.put(arrived(TRADES, trade(i)))
        queue.put(arrived("btcusdt@bookTicker", {"u": i, "s": "BTCUSDT", "b": "1", "B": "1", "a": "2", "A": "1"}))
        queue.put(arrived("btcusdt@kline_1m", kline(START_MS + 60_000 * i, True)))
        queue.put(arrived("btcusdt@kline_1m", kline(START_MS + 60_000 * (i + 1), False)))
    assert len(queue) == 50 + 2 + 10 and queue.dropped[TRADES] == 40
    out = queue.drain()
    closed = [each for each in out if isinstance(each.message, Kline) and each.message.candle.closed]
    assert [each.message.candle.open_time for each in closed] == [START_MS + 60_000 * i for i in range(50)]
    assert [each.message.update_id for each in out if isinstance(each.message, BookTicker)] == [49]
    assert [each.message.agg_id for each in out if isinstance(each.message, AggTrade)] == list(range(40, 50))
    assert len(queue) == 0 and queue.drain() == []


def test_a_long_queue_is_drained_in_parts():
    queue = NewestQueue()
    for i in range(25):
        queue.put(arrived(TRADES, trade(i)))
    parts = [len(queue.drain(most=10)) for _ in range(3)]
    assert parts == [10, 10, 5]


# -- the thread ---------------------------------------------------------------------------------------------------------------


def test_the_service_leaks_no_thread_however_often_it_is_started():
    before = set(threading.enumerate())
    closed = []
    feed = Notebook()

    def build():
        pace = Pace()
        return [Supervisor("ws://127.0.0.1:9", [TRADES], feed, clock=pace, sleep=asyncio.sleep, random=Random(1))], []

    service = StreamService(build, on_stop=lambda: closed.append(True))
    assert service.stop()
    for _ in range(3):
        service.start()
        service.start()
        assert service.running and sum(t.name == "sextant-streams" for t in threading.enumerate()) == 1
        assert service.stop() and not service.running
    assert set(threading.enumerate()) <= before and len(closed) == 3
    assert service.status()[0].state is State.STOPPED
