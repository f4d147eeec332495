"""Streams against the loopback exchange while its fault script strikes: candles exactly once, books equal to the truth.

`run` drives a virtual clock in steps of a few seconds; after each step it waits until the client has worked off what was sent. The
REST callables are small and honest: whatever is not a proper answer is an error, as the real transport's would be.
"""

from __future__ import annotations

import asyncio
import logging
import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import msgspec
import numpy as np

from data.errors import DataError
from data.frames import COLUMNS, TIME_COLUMNS, Candles
from data.market import MINUTE_MS, Interval, Market, SeriesKey
from data.simulator.faults import CONNECTION_KINDS, MESSAGE_KINDS, REST_KINDS, Fault, FaultKind, random_script
from data.simulator.venue import Venue, VenueOptions
from data.simulator.venue_hosts import Host
from data.storage.candles import CandleStore
from data.streams.book_feed import BookFeed
from data.streams.hosts import route
from data.streams.kline_feed import KlineFeed
from data.streams.messages import Snapshot, decode_snapshot
from data.streams.supervisor import Supervisor
from tests.streaming import START_MS, Pace

SPOT_HOSTS = (Host.MIRROR, Host.MIRROR_STREAM)
STRIKING = tuple(sorted(REST_KINDS | CONNECTION_KINDS | MESSAGE_KINDS | {FaultKind.SKEW, FaultKind.LATE_CANDLE}))


@dataclass
class Outcome:
    """What a run has to answer for."""

    expected: int = 0
    stored: int = 0
    different: int = 0
    twice: int = 0
    conflicts: int = 0
    books_compared: int = 0
    books_wrong: int = 0
    resyncs: int = 0
    struck: Counter[str] = field(default_factory=Counter)
    live: bool = False
    recovery_s: list[float] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def whole(self) -> bool:
        return (self.live and self.expected == self.stored > 0 and not (self.different or self.twice or self.conflicts or self.books_wrong))


class Client:
    """The feeds, their REST and their store, around one venue."""

    def __init__(self, venue: Venue, pace: Pace, session: aiohttp.ClientSession, folder: Path, symbols: Sequence[str],
                 books: Sequence[str], *, seed: int, speed_ms: int, step_s: float, market: Market) -> None:
        self.venue, self.pace, self.session = venue, pace, session
        self.store = CandleStore(folder)
        self.busy = 0
        self.times: Counter[tuple[SeriesKey, int]] = Counter()
        self.conflicts = 0
        self.market = market
        self.keys = [SeriesKey(symbol, Interval.M1, market) for symbol in symbols]
        start = Interval.M1.floor(pace.now_ms())
        self.klines = KlineFeed(self.keys, self.keep, self.candles, clock=pace, newest=dict.fromkeys(self.keys, start - MINUTE_MS))
        self.books = BookFeed(market, books, self.snapshot, clock=pace, random=random.Random(seed), tickers=False, speed_ms=speed_ms)
        # Frames come in steps of virtual time: the watchdog is told so.
        self.supervisors = [Supervisor(base, streams, feed, clock=pace, sleep=pace.sleep,
                                       random=random.Random(seed), expected_s={"kline": 2 * step_s, "depth": step_s})
                            for feed in (self.klines, self.books)
                            for base, streams in route(market, feed.streams, spot=venue.urls.mirror_stream,
                                                       futures=venue.urls.fstream).items()]

    def keep(self, key: SeriesKey, candles: Candles, source: str) -> None:
        self.busy += 1
        try:
            report = self.store.append(key, candles, provenance="SIMULATED", source=source)
        finally:
            self.busy -= 1
        self.conflicts += report.conflicts
        self.times.update((key, int(at)) for at in candles.open_time)

    async def get(self, path: str, **query: str | int) -> bytes:
        self.busy += 1
        base = f"{self.venue.urls.mirror}/api/v3/" if self.market is Market.SPOT else f"{self.venue.urls.fapi}/fapi/v1/"
        try:
            async with asyncio.timeout(5), self.session.get(base + path, params=query, allow_redirects=False) as answer:
                body = await answer.read()
                if answer.status != 200:
                    raise DataError(f"HTTP {answer.status}")
                return body
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise DataError(f"{type(error).__name__}") from None
        finally:
            self.busy -= 1

    async def candles(self, key: SeriesKey, start_ms: int, end_ms: int) -> Candles:
        body = await self.get("klines", symbol=key.symbol, interval=str(key.interval), startTime=start_ms, endTime=end_ms - 1,
                              limit=1000)
        return parse_rows(body).closed_before(self.pace.now_ms())

    async def snapshot(self, symbol: str) -> Snapshot:
        return decode_snapshot(await self.get("depth", symbol=symbol, limit=5000 if self.market is Market.SPOT else 1000))

    async def quiet(self) -> None:
        """Until nothing has moved for two milliseconds."""
        before, same = None, 0
        for _ in range(4_000):
            now = (sum(s._line.counts["frames"] if s._line else -1 for s in self.supervisors), sum(len(s._queue) for s in self.supervisors),
                   len(self.times), self.books.counts["snapshots"])
            same = same + 1 if now == before and not self.busy else 0
            if same >= 2:
                return
            before = now
            await asyncio.sleep(0.001)

    def compare_books(self, outcome: Outcome) -> None:
        for symbol in (stream.split("@")[0].upper() for stream in self.books.streams):
            book = self.books.book(symbol)
            if book.synchronised:
                truth = self.venue.truth_book(symbol, self.market, book.last_id)
                sides = [{float(p): float(q) for p, q in truth[side]} for side in ("bids", "asks")]
                outcome.books_compared += 1
                outcome.books_wrong += list(book.sides()) != sides


def parse_rows(body: bytes) -> Candles:
    try:
        rows = msgspec.json.decode(body, type=list[tuple[int, float, float, float, float, float, int, float, float, float, float, str]],
                                   strict=False)
    except msgspec.MsgspecError as error:
        raise DataError(f"not klines: {error}") from None
    columns = {name: np.array([row[i] for row in rows], np.int64 if name in TIME_COLUMNS else np.float64) for i, name in enumerate(COLUMNS)}
    return Candles.from_columns(Interval.M1, columns, provenance="SIMULATED")


def truth_of(venue: Venue, key: SeriesKey, start_ms: int, end_ms: int) -> Candles:
    spelling = venue.market.spelling(key.symbol, key.market)
    rows = venue.market.klines(key.symbol, key.market, "1m", start_ms, end_ms - 1, 100_000, end_ms)
    candles = parse_rows(msgspec.json.encode([venue.market.kline(row, spelling) for row in rows]))
    there = [not venue.faults.hole(key.symbol, int(at), int(at) + MINUTE_MS) for at in candles.open_time]
    return candles.take(np.array(there, bool)).between(start_ms, end_ms)


def script(seed: int, faults: int, minutes: int, *, start_ms: int = START_MS) -> tuple[Fault, ...]:
    """`faults` of every kind that can befall spot candles and books, none in the first two minutes."""
    return random_script(seed, faults, start_ms + 2 * MINUTE_MS, start_ms + minutes * MINUTE_MS, kinds=STRIKING, hosts=SPOT_HOSTS)


async def run(*, seed: int, minutes: int, symbols: int, books: int, faults: Sequence[Fault], step_s: float = 5.0, speed_ms: int = 1000,
              settle_min: int = 45, market: Market = Market.SPOT) -> Outcome:
    """Stream for `minutes` under fire, then on until everything is live and a minute longer; then compare with the truth."""
    logging.getLogger("data.streams").setLevel(logging.CRITICAL)
    pace, outcome = Pace(), Outcome()
    with tempfile.TemporaryDirectory() as folder:
        async with Venue(pace, VenueOptions(seed=7, limit_scale=1000.0), script=tuple(faults)) as venue, aiohttp.ClientSession() as session:
            names = venue.market.symbols
            client = Client(venue, pace, session, Path(folder), names[:symbols], names[:books], seed=seed, speed_ms=speed_ms,
                            step_s=step_s, market=market)
            tasks = [asyncio.create_task(each.run()) for each in client.supervisors]
            try:
                await _drive(client, outcome, round(minutes * 60 / step_s), step_s, settle_min)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            await _judge(client, outcome)
    return outcome


async def _drive(client: Client, outcome: Outcome, steps: int, step_s: float, settle_min: int) -> None:
    lost_ms = 0
    await client.quiet()
    for step in range(steps + round(settle_min * 60 / step_s)):
        await client.venue.advance(round(step_s * 1000))
        await client.quiet()
        if step % 4 == 0:
            client.compare_books(outcome)
        live = all(each.live for each in client.supervisors)
        if not live:
            lost_ms = lost_ms or client.pace.now_ms()
        elif lost_ms:
            outcome.recovery_s.append((client.pace.now_ms() - lost_ms) / 1000)
            lost_ms = 0
        if step >= steps and live and not client.klines.holes() and not client.books.problem:
            break
    for _ in range(round(150 / step_s)):  # what was being repaired when the last fault struck is repaired now
        await client.venue.advance(round(step_s * 1000))
        await client.quiet()
    client.compare_books(outcome)
    outcome.live = all(each.live for each in client.supervisors) and not client.books.problem


async def _judge(client: Client, outcome: Outcome) -> None:
    end = Interval.M1.floor(client.pace.now_ms() - 65_000)  # the last minute may still be on its way
    for key in client.keys:
        truth, have = truth_of(client.venue, key, START_MS, end), client.store.read(key, START_MS, end)
        outcome.expected += len(truth)
        outcome.stored += len(have)
        same = np.isin(truth.open_time, have.open_time)
        outcome.different += int((~same).sum())
        if len(truth) == len(have):
            outcome.different += int(any(not np.array_equal(getattr(truth, name), getattr(have, name)) for name in COLUMNS))
    outcome.twice = sum(times - 1 for times in client.times.values())
    outcome.conflicts = client.conflicts
    outcome.resyncs = client.books.counts["resyncs"]
    outcome.struck = Counter(str(kind) for _, kind, _ in client.venue.faults.struck)
    outcome.counts = client.klines.counts + client.books.counts
    for each in client.supervisors:
        outcome.counts += Counter(each.status().counts)
