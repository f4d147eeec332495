"""Closed candles of many series, each given to the sink exactly once, whatever the stream does.

Only a candle that says it is closed (`k.x`), in a message sent after its end, is taken. For every series the feed knows the
first open time that is not stored yet; a message of a later candle, forming or closed, therefore shows a hole within seconds.
The closing frame may still come late, so a hole waits a moment and is then fetched. What the exchange does not have either
is asked for a few times, then left to the store, which lists it as a gap that is not yet known.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from loguru import logger

from data.clock import Clock, iso
from data.errors import DataError, InputError, SextantError
from data.frames import Candles, row_faults
from data.market import HOUR_MS, Interval, Market, SeriesKey
from data.streams.batches import candles_of
from data.streams.messages import Kline, KlineBody, ms
from data.streams.queues import Arrived
from data.streams.supervisor import Hole

Sink = Callable[[SeriesKey, Candles, str], object]  # blocking; runs in a thread of its own
Backfill = Callable[[SeriesKey, int, int], Awaitable[Candles]]  # closed candles with start <= open_time < end

LATE_FRAME_S = 3.0  # a closing frame overtaken by its successor's first frame arrives well within this
ASK_AGAIN_S = (5.0, 20.0, 60.0)  # REST may lag behind the stream by seconds; after these tries the exchange has none
STORE_AGAIN_S = (1.0, 2.0, 5.0, 10.0, 30.0)
WAITING_MOST = 5_000  # candles of one series kept while the store refuses; older ones are fetched again later
LONGEST_PAUSE_MS = 60_000  # of those two; an end further away was set before the clock was put back
LARGEST_SKEW_MS = 2 * HOUR_MS  # a message from further away is damaged, or this computer's clock is; REST fills in
FILL_AT_ONCE = 4  # series fetched side by side: the source has its own budget


class NotFilled(DataError):
    """Some series could not be fetched yet."""


@dataclass
class _Series:
    key: SeriesKey
    next_ms: int | None  # the first open_time not stored; None: nothing is known about this series
    ahead: set[int] = field(default_factory=set)  # stored beyond next_ms
    waiting: dict[int, KlineBody] = field(default_factory=dict)  # closed, not stored yet
    newest_ms: int = 0  # the latest open_time heard of, forming or closed
    hole_since_ms: int = 0
    asked: int = 0
    ask_ms: int = 0
    refused: int = 0
    store_ms: int = 0

    def has(self, open_ms: int) -> bool:
        return (self.next_ms is not None and open_ms < self.next_ms) or open_ms in self.ahead

    def stored(self, times: Sequence[int]) -> None:
        step = self.key.interval.ms
        if self.next_ms is None and times:
            self.next_ms = min(times)
        self.ahead.update(times)
        while self.next_ms is not None and self.next_ms in self.ahead:
            self.ahead.remove(self.next_ms)
            self.next_ms += step

    @property
    def hole(self) -> bool:
        """Something was not received; what only waits for the store is no hole."""
        return self.next_ms is not None and self.newest_ms > self.next_ms and self.next_ms not in self.waiting


class KlineFeed:
    """A Feed (supervisor.py) of closed candles.

    Parameters
    ----------
    series : sequence of SeriesKey
        All of one market.
    sink : callable (key, candles, source)
        Stores candles; idempotent. Usually `store.append` with its provenance. Anything it raises as SextantError or OSError is
        tried again; nothing is lost meanwhile.
    backfill : async callable (key, start_ms, end_ms) -> Candles
        What the exchange's REST has of a stretch; may return fewer.
    newest : mapping of SeriesKey to open_time, optional
        The newest stored candle of each series; holes are counted from there.
    first_bars : int
        How many closed candles to fetch for a series of which nothing is stored.
    """

    def __init__(self, series: Sequence[SeriesKey], sink: Sink, backfill: Backfill, *, clock: Clock,
                 newest: Mapping[SeriesKey, int] | None = None, first_bars: int = 500, name: str = "closed candles") -> None:
        markets = {key.market for key in series}
        if len(markets) != 1:
            raise InputError(f"expected series of one market, got {', '.join(sorted(markets)) or 'none'}; make one feed per market")
        self.market: Market = markets.pop()
        self.name = f"{name} {self.market}"
        self.counts: Counter[str] = Counter()
        self.problem = ""
        self._sink, self._backfill, self._clock, self._first_bars = sink, backfill, clock, first_bars
        known = newest or {}
        self._series = {(key.symbol, key.interval.value): _Series(key, known[key] + key.interval.ms if key in known else None)
                        for key in series}

    @property
    def streams(self) -> tuple[str, ...]:
        return tuple(f"{symbol.lower()}@kline_{interval}" for symbol, interval in self._series)

    def holes(self) -> dict[SeriesKey, tuple[int, int]]:
        """Series with candles still missing, and the stretch: first missing open_time, end (exclusive)."""
        return {each.key: (each.next_ms, each.newest_ms) for each in self._series.values() if each.hole and each.next_ms is not None}

    # -- the Feed's two methods ---------------------------------------------------------------------------------------------

    async def fill(self, hole: Hole) -> None:
        """Fetch every series from its first missing candle up to now."""
        gate = asyncio.Semaphore(FILL_AT_ONCE)

        async def one(each: _Series) -> str:
            async with gate:
                try:
                    await self._fetch(each)
                except (SextantError, OSError, TimeoutError) as error:
                    return f"{each.key}: {type(error).__name__}: {str(error)[:120]}"
            return ""

        told = [words for words in await asyncio.gather(*(one(each) for each in self._series.values())) if words]
        if told:
            raise NotFilled(f"{len(told)} of {len(self._series)} series were not fetched, the first: {told[0]}")

    async def take(self, batch: Sequence[Arrived]) -> None:
        for arrived in batch:
            if isinstance(arrived.message, Kline):
                self._note(arrived.stream, arrived.message)
        now = self._clock.now_ms()
        for each in self._series.values():
            if each.waiting and _over(each.store_ms, now):
                await self._store_waiting(each)
            if not each.hole:
                each.hole_since_ms = each.asked = 0
            elif not each.hole_since_ms:
                each.hole_since_ms = now
                each.ask_ms = now + round(LATE_FRAME_S * 1000)
            elif _over(each.ask_ms, now):
                await self._repair(each, now)

    # -----------------------------------------------------------------------------------------------------------------------

    def _note(self, stream: str, message: Kline) -> None:
        body = message.candle
        each = self._series.get((body.symbol, body.interval))
        if each is None or not stream.startswith(body.symbol.lower() + "@"):
            self.counts["of another series"] += 1
            return
        step, opened, sent = each.key.interval.ms, ms(body.open_time), ms(message.event_ms)
        if each.key.interval.floor(opened) != opened or opened > sent:
            self.counts["off the grid"] += 1
            return
        if abs(sent - self._clock.now_ms()) > LARGEST_SKEW_MS:
            self.counts["of another time"] += 1
            return
        each.newest_ms = max(each.newest_ms, opened + step if body.closed else opened)
        if not body.closed:
            return
        if sent <= ms(body.close_time):
            self.counts["closed before its end"] += 1
            return
        if each.has(opened) or opened in each.waiting:
            self.counts["duplicates"] += 1
            return
        candles = candles_of([body], each.key.interval)
        if row_faults(candles.columns(), each.key.interval):
            self.counts["not a candle"] += 1  # the hole it leaves is fetched
            return
        each.waiting[opened] = body
        if len(each.waiting) > WAITING_MOST:
            del each.waiting[min(each.waiting)]
            self.counts["postponed"] += 1

    async def _store_waiting(self, each: _Series) -> None:
        bodies = [each.waiting[at] for at in sorted(each.waiting)]
        try:
            await self._store(each, candles_of(bodies, each.key.interval), "stream")
        except (SextantError, OSError) as error:
            wait_s = STORE_AGAIN_S[min(each.refused, len(STORE_AGAIN_S) - 1)]
            each.refused += 1
            each.store_ms = self._clock.now_ms() + round(wait_s * 1000)
            self.counts["store refusals"] += 1
            self.problem = f"{each.key}: not stored yet ({type(error).__name__}: {str(error)[:120]})"
            logger.warning("{}", self.problem)
            return
        each.refused, self.problem = 0, ""
        each.waiting.clear()

    async def _store(self, each: _Series, candles: Candles, source: str) -> None:
        fresh = candles.take(np.array([not each.has(int(at)) for at in candles.open_time], bool))
        if len(fresh):
            await asyncio.to_thread(self._sink, each.key, fresh, source)
            each.stored([int(at) for at in fresh.open_time])
            self.counts[f"from {source}"] += len(fresh)

    async def _fetch(self, each: _Series) -> None:
        """Everything from the first missing candle to the newest closed one, in as many answers as it takes."""
        step = each.key.interval.ms
        while True:
            now = self._clock.now_ms()
            end = each.key.interval.floor(now)
            start = end - self._first_bars * step if each.next_ms is None else each.next_ms
            if start >= end:
                return
            candles = (await self._backfill(each.key, start, end)).between(start, end).closed_before(now)
            before = each.next_ms
            await self._store(each, candles, "rest")
            if each.next_ms == before or len(candles) == 0:
                self._heard(each, candles)
                return

    def _heard(self, each: _Series, candles: Candles) -> None:
        """An answer that begins later than asked shows a hole that REST has too: `take` asks again and in the end moves on."""
        if len(candles):
            each.newest_ms = max(each.newest_ms, int(candles.open_time[-1]) + each.key.interval.ms)

    async def _repair(self, each: _Series, now: int) -> None:
        self.counts["holes"] += each.asked == 0
        try:
            await self._fetch(each)
        except (SextantError, OSError, TimeoutError) as error:
            self.problem = f"{each.key}: a missed candle could not be fetched yet ({type(error).__name__}: {str(error)[:100]})"
            each.ask_ms = now + round(ASK_AGAIN_S[0] * 1000)
            return
        self.problem = ""
        if not each.hole:
            return
        if each.asked < len(ASK_AGAIN_S):
            each.ask_ms = now + round(ASK_AGAIN_S[each.asked] * 1000)
            each.asked += 1
            return
        each.hole_since_ms = each.asked = 0
        if not each.ahead:
            each.newest_ms = each.next_ms or 0  # only heard of, never stored: the next message will tell again if it is true
            return
        beyond = min(each.ahead)
        bars = (beyond - (each.next_ms or 0)) // each.key.interval.ms
        logger.warning("{}: the exchange has no {} candles before {}", each.key, bars, iso(beyond))
        self.counts["missing at the exchange"] += bars
        each.next_ms = beyond
        each.stored([])


def _over(end_ms: int, now_ms: int) -> bool:
    """Whether a pause that ends at `end_ms` is over."""
    return not now_ms < end_ms <= now_ms + LONGEST_PAUSE_MS


def stream_key(stream: str, market: Market) -> SeriesKey:
    """The series of a kline stream's name.

    >>> str(stream_key("btcusdt@kline_1m", Market.SPOT))
    'BTCUSDT 1m spot'
    """
    symbol, _, interval = stream.partition("@kline_")
    return SeriesKey(symbol.upper(), Interval.parse(interval), market)
