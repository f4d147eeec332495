"""The product's own stream and REST path against the loopback exchange while its fault script strikes.

`run` drives a virtual clock in steps of a few seconds; after each step it waits until the client has worked off what was sent. Holes,
book snapshots and catching up go through core's `Outside`: python-binance behind the fence, budget, bans, back-off and the source
ladder. What has to come out: every closed candle stored once, books equal to the truth, and all of it again within 30 s of the line's
return. The line counts as away while a fault lasts or has just struck, while a connection of ours is kept silent by one, and while the
exchange has banned us (403 and 451 block a host for half an hour, 429 and 418 name their time).
"""

from __future__ import annotations

import asyncio
import logging
import random
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np

from core.outside import Outside, stream_bases
from core.settings import Settings
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
from data.streams.messages import Snapshot
from data.streams.supervisor import Supervisor
from tests.serving import venue_ports
from tests.streaming import START_MS, Pace

SPOT_HOSTS = (Host.API, Host.MIRROR, Host.MIRROR_STREAM)
STRIKING = tuple(sorted(REST_KINDS | CONNECTION_KINDS | MESSAGE_KINDS | {FaultKind.SKEW, FaultKind.LATE_CANDLE}))
BLOCKING = (FaultKind.HTTP_403, FaultKind.HTTP_451)
COMPLETE_AGAIN_S = 30.0
FRESH_S = 10.0  # a candle that closed less than this ago may still be on its way


@dataclass
class Outcome:
    """What a run has to answer for.

    Attributes
    ----------
    struck : Counter of kind to strikes; `landed` counts entries of the script that struck at all
    recovery_s : list of seconds from the line's return until everything was complete
    slow : list of (venue ms, seconds) of those that took longer than 30 s, and why
    lacking : what was not complete at the end, in words
    """

    expected: int = 0
    stored: int = 0
    different: int = 0
    twice: int = 0
    conflicts: int = 0
    books_compared: int = 0
    books_wrong: int = 0
    resyncs: int = 0
    landed: int = 0
    requests: int = 0
    struck: Counter[str] = field(default_factory=Counter)
    live: bool = False
    lacking: str = ""
    recovery_s: list[float] = field(default_factory=list)
    slow: list[tuple[int, float, str]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def whole(self) -> bool:
        return (self.live and self.expected == self.stored > 0 and not (self.different or self.twice or self.conflicts or self.books_wrong))


class Client:
    """The feeds, their way to REST and their store, around one venue."""

    def __init__(self, venue: Venue, pace: Pace, folder: Path, symbols: Sequence[str], books: Sequence[str], *, seed: int, speed_ms: int,
                 step_s: float, market: Market) -> None:
        self.venue, self.pace = venue, pace
        self.store = CandleStore(folder)
        self._guard, self._busy = threading.Lock(), 0
        self.times: Counter[tuple[SeriesKey, int]] = Counter()
        self.conflicts = 0
        self.market = market
        self.keys = [SeriesKey(symbol, Interval.M1, market) for symbol in symbols]
        # copied: what the suite's environment says (the network is off) wins over arguments
        settings = Settings().model_copy(update={"home": folder, "network": "auto", "endpoint": venue.urls.api, "market": market})
        self.outside = Outside(settings, pace, self.store, folder, sleep=pace.wait)
        self._closed, self._taken = self.outside.closed_candles(), self.outside.snapshot_taker(market)
        self.outside.aggregator().start_probe()
        start = Interval.M1.floor(pace.now_ms())
        self.klines = KlineFeed(self.keys, self.keep, self.candles, clock=pace, newest=dict.fromkeys(self.keys, start - MINUTE_MS))
        self.books = BookFeed(market, books, self.snapshot, clock=pace, random=random.Random(seed), tickers=False, speed_ms=speed_ms)
        spot, futures = stream_bases(settings.endpoint)
        # Frames come in steps of virtual time: the watchdog is told so.
        self.supervisors = [Supervisor(base, streams, feed, clock=pace, sleep=pace.sleep,
                                       random=random.Random(seed), expected_s={"kline": 2 * step_s, "depth": step_s})
                            for feed in (self.klines, self.books)
                            for base, streams in route(market, feed.streams, spot=spot, futures=futures).items()]

    def close(self) -> None:
        self.pace.let_go()
        self.outside.aggregator().close()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        with self._guard:
            self._busy += 1
        try:
            yield
        finally:
            with self._guard:
                self._busy -= 1

    def keep(self, key: SeriesKey, candles: Candles, source: str) -> None:
        with self.at_work():
            report = self.store.append(key, candles, provenance="SIMULATED", source=source)
        self.conflicts += report.conflicts
        self.times.update((key, int(at)) for at in candles.open_time)

    async def candles(self, key: SeriesKey, start_ms: int, end_ms: int) -> Candles:
        with self.at_work():
            return await self._closed(key, start_ms, end_ms)

    async def snapshot(self, symbol: str) -> Snapshot:
        with self.at_work():
            return await self._taken(symbol)

    async def quiet(self) -> None:
        """Until nothing has moved for two milliseconds; requests that wait for the virtual clock count as at rest."""
        before, same = None, 0
        for _ in range(4_000):
            now = (sum(s._line.counts["frames"] if s._line else -1 for s in self.supervisors), sum(len(s._queue) for s in self.supervisors),
                   len(self.times), self.books.counts["snapshots"])
            same = same + 1 if now == before and self._busy <= self.pace.waiting else 0
            if same >= 2:
                return
            before = now
            await asyncio.sleep(0.001)

    # -- what the run watches -----------------------------------------------------------------------------------------------

    def lacking(self) -> str:
        """What is not complete now, in words; nothing when all is."""
        now = self.pace.now_ms()
        due = Interval.M1.floor(now - round(FRESH_S * 1000))
        behind = [str(each.key) for each in self.klines._series.values() if each.next_ms is None or each.next_ms < due]
        away = [each.status().words for each in self.supervisors if not each.live]
        return "; ".join([*away, *behind[:2], self.books.problem]).strip("; ")

    def banned(self) -> bool:
        """Whether the exchange may not be asked now: a limit is waited for, a block is sidestepped by the mirror while that answers."""
        now, aggregator = self.pace.now_ms(), self.outside.aggregator()
        for name in ("api", "mirror") if self.market is Market.SPOT else ("fapi",):
            state = aggregator.budget.state(aggregator.source(name).channel)
            if state.wait_until_ms > now:
                return True
            if state.blocked_until_ms <= now:
                return False
        return True

    def line_away(self) -> bool:
        """Whether a fault lasts, holds one of our connections silent, or has us banned."""
        now = self.pace.now_ms()
        lasting = any(f.duration_ms and f.kind is not FaultKind.NO_PING and f.at_ms <= now < f.at_ms + f.duration_ms + (
            f.amount if f.kind is FaultKind.LATE_CANDLE else 0) for f in self.venue.faults.script)
        held = any(c.silent_from_ms is not None or c.silent_streams for c in self.venue.connections)
        return lasting or held or self.banned()

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
    """`faults` of every kind that can befall spot candles and books, none in the first two minutes.

    A 403 or 451 strikes once: each costs half an hour of its host, and five in a row would only be the same half hour again.
    """
    drawn = random_script(seed, faults, start_ms + 2 * MINUTE_MS, start_ms + minutes * MINUTE_MS, kinds=STRIKING, hosts=SPOT_HOSTS)
    return tuple(replace(fault, count=1, duration_ms=0) if fault.kind in BLOCKING else fault for fault in drawn)


async def run(*, seed: int, minutes: int, symbols: int, books: int, faults: Sequence[Fault], step_s: float = 5.0, speed_ms: int = 1000,
              settle_min: int = 75, market: Market = Market.SPOT) -> Outcome:
    """Stream for `minutes` under fire, then on until everything is live and a minute longer; then compare with the truth."""
    for name in ("data.streams", "httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    pace, outcome = Pace(), Outcome()
    with tempfile.TemporaryDirectory() as folder:
        async with Venue(pace, VenueOptions(seed=7, port=venue_ports(), ping_s=0.5), script=tuple(faults)) as venue:
            names = venue.market.symbols
            client = Client(venue, pace, Path(folder), names[:symbols], names[:books], seed=seed, speed_ms=speed_ms, step_s=step_s,
                            market=market)
            tasks = [asyncio.create_task(each.run()) for each in client.supervisors]
            try:
                await _drive(client, outcome, round(minutes * 60 / step_s), step_s, settle_min)
            finally:
                client.pace.let_go()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await client.quiet()  # threads that were storing or asking come to an end
                client.close()
            await _judge(client, outcome)
    return outcome


async def _drive(client: Client, outcome: Outcome, steps: int, step_s: float, settle_min: int) -> None:
    watch, board, books = _Watch(client, outcome, step_s), client.venue.faults, 0
    await client.quiet()
    for step in range(steps + round(settle_min * 60 / step_s)):
        await client.venue.advance(round(step_s * 1000))
        await client.quiet()
        if step % 4 == 0 or client.books.counts["snapshots"] != books:
            books = client.books.counts["snapshots"]
            client.compare_books(outcome)
        watch.look()
        if step >= steps and not client.lacking() and not client.klines.holes() and all(
                f.at_ms + f.duration_ms <= client.pace.now_ms() for f in board.script):
            break
    for _ in range(round(150 / step_s)):  # what was being repaired when the last fault struck is repaired now
        await client.venue.advance(round(step_s * 1000))
        await client.quiet()
        watch.look()
    client.compare_books(outcome)
    outcome.live = all(each.live for each in client.supervisors) and not client.books.problem
    outcome.lacking = client.lacking()


class _Watch:
    """Measures how long it takes from the line's return until nothing is lacking."""

    def __init__(self, client: Client, outcome: Outcome, step_s: float) -> None:
        self._client, self._outcome = client, outcome
        self._allowed_s = max(COMPLETE_AGAIN_S, 2 * step_s)
        self._seen, self._back_ms, self._open = 0, 0, False
        self._told = False

    def look(self) -> None:
        """After each step."""
        client, now = self._client, self._client.pace.now_ms()
        board = client.venue.faults
        struck, self._seen = [kind for _, kind, _ in board.struck[self._seen:] if kind is not FaultKind.NO_PING], len(board.struck)
        lacking = client.lacking()
        if struck or client.line_away():
            self._back_ms, self._open, self._told = now, True, False
        elif self._open and not lacking:
            self._outcome.recovery_s.append((now - self._back_ms) / 1000)
            self._open = False
        elif self._open and now - self._back_ms > self._allowed_s * 1000 and not self._told:
            self._outcome.slow.append((self._back_ms, (now - self._back_ms) / 1000, lacking))
            self._told = True


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
    outcome.landed, outcome.requests = len(client.venue.faults.landed), client.venue.requests
    outcome.counts = client.klines.counts + client.books.counts
    for each in client.supervisors:
        outcome.counts += Counter(each.status().counts)
