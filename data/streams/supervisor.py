"""One connection kept alive for ever (reliability.md 3): watchdog, back-off, planned reconnects, and no hole unfilled.

After every interruption the feed is asked to `fill` the hole before its stream counts as live; what arrives meanwhile waits in a
bounded queue. A stream that is silent for longer than two of its expected intervals counts as broken even if the socket
lives. Before the exchange's 24-hour cut, and when it announces a shutdown, the next connection is opened before the old one is
closed, so a planned change leaves no hole at all.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from random import Random
from traceback import format_exc
from typing import Protocol

from loguru import logger

from data.clock import Clock
from data.errors import SextantError
from data.streams import hosts
from data.streams.line import Line, LineFailed, LineRefused, Sleep
from data.streams.messages import stream_head
from data.streams.queues import LIMIT, Arrived, NewestQueue

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 20.0  # whatever was down, everything is complete again within 30 s after it returns
REFUSED_WAIT_S = 60.0  # 429 and 418 that name no time
HEALTHY_AFTER_S = 30.0  # a connection that lives so long clears the count of tries
ROTATE_AFTER_S = 23.5 * 3600  # the exchange cuts at 24 h
ROTATE_AGAIN_S = 300.0
PROBE_AFTER_S = 1800.0  # 403 and 451 do not pass by themselves: one probe per half hour
TICK_S = 1.0
# Seconds between messages that a live stream can be expected to keep; None: it may rightly be silent for hours.
EXPECTED_S: Mapping[str, float | None] = {
    "kline": 2.0, "depth": 1.0, "depth5": 1.0, "depth10": 1.0, "depth20": 1.0, "bookTicker": 5.0, "aggTrade": 15.0, "trade": 15.0,
    "markPrice": 3.0, "!markPrice": 3.0, "forceOrder": None, "!forceOrder": None}
SHORTEST_SILENCE_S, LONGEST_SILENCE_S = 5.0, 120.0
# A thin market's only stream may rightly pause for longer than the rule says (recorded: 2 candle frames in 30 s from four small
# symbols). Each silence doubles what is allowed; an hour without one forgets it.
PATIENCE_FOR_S = 3600.0
# One quiet stream beside busy ones is a thin market more often than a fault: it gets a minute, and twice as long each time that
# a reconnect did not make it speak.
STREAM_SILENCE_S, LONGEST_STREAM_SILENCE_S = 60.0, 3600.0


class State(StrEnum):
    STOPPED = "stopped"
    CONNECTING = "connecting"
    CATCHING_UP = "catching up"
    LIVE = "live"
    INTERRUPTED = "interrupted"
    REFUSED = "refused"


@dataclass(frozen=True)
class Hole:
    """What the stream did not tell: from its last message (0: there was none yet) to the moment it was open again, UTC ms."""

    start_ms: int
    end_ms: int
    reason: str


class Feed(Protocol):
    """Who gets the messages. Both methods run one after the other in the same task, never at once."""

    name: str

    async def fill(self, hole: Hole) -> None:
        """Fetch what was missed. Raising a SextantError, OSError or TimeoutError means: not yet, ask again."""

    async def take(self, batch: Sequence[Arrived]) -> None: ...


@dataclass(frozen=True)
class StreamStatus:
    """One health row. `words` is fit for a user; `counts` holds frames, malformed, dropped, reconnects and so on."""

    name: str
    base: str
    streams: int
    state: State
    words: str
    since_ms: int
    tries: int
    last_message_ms: int
    queued: int
    counts: Mapping[str, int]


class Backoff:
    """1, 2, 4 … 20 s, each shortened by up to a quarter at random so that many clients do not return together."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.tries = 0

    def next_s(self) -> float:
        wait = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(self.tries, 10))
        self.tries += 1
        return wait * (1 - 0.25 * self._random.random())

    def reset(self) -> None:
        self.tries = 0


class Supervisor:
    """Keeps `streams` of one base flowing into one feed. `run` ends only when it is cancelled.

    Parameters
    ----------
    base : str
        One of hosts.BASES, or loopback.
    expected_s : mapping of stream head to seconds, optional
        Replaces entries of EXPECTED_S, for a slower exchange.
    sleep : callable
        `asyncio.sleep` or a test's; every wait between tries goes through it.
    """

    def __init__(self, base: str, streams: Sequence[str], feed: Feed, *, clock: Clock, sleep: Sleep, random: Random,
                 expected_s: Mapping[str, float | None] | None = None, queue_limit: int = LIMIT, tick_s: float = TICK_S,
                 rotate_after_s: float = ROTATE_AFTER_S) -> None:
        self.base = hosts.check_base(base)
        self.streams = tuple(dict.fromkeys(hosts.check_stream(name) for name in streams))
        self.feed = feed
        self.counts: Counter[str] = Counter()
        self._clock, self._sleep, self._random = clock, sleep, random
        self._backoff, self._fill_backoff = Backoff(random), Backoff(random)
        self._tick_s, self._rotate_after_s = tick_s, rotate_after_s
        expected = {**EXPECTED_S, **(expected_s or {})}
        known = {name: seconds for name in self.streams if (seconds := expected.get(stream_head(name))) is not None}
        self._shortest_s = max(SHORTEST_SILENCE_S, 2 * min(known.values())) if known else None
        self._silence_s = self._shortest_s
        self._patience_s = {name: max(STREAM_SILENCE_S, 2 * seconds) for name, seconds in known.items()}
        self._work = asyncio.Event()
        self._queue = NewestQueue(queue_limit, wake=self._work.set)
        self._line: Line | None = None
        self._hole: Hole | None = None
        self._state, self._since_ms, self._why = State.STOPPED, clock.now_ms(), ""
        self._lost_ms = 0
        self._last_ms = 0
        self._retry_ms = 0

    # -- what the outside sees ----------------------------------------------------------------------------------------------

    @property
    def live(self) -> bool:
        return self._state is State.LIVE

    def status(self) -> StreamStatus:
        line = self._line
        counts = self.counts + Counter(line.counts if line else {})
        counts["dropped"] = self._queue.dropped.total()
        return StreamStatus(self.feed.name, self.base, len(self.streams), self._state, self._words(), self._since_ms,
                            self._backoff.tries, max(self._last_ms, line.last_ms if line and line.spoke else 0), len(self._queue), counts)

    def _words(self) -> str:
        if self._state is State.LIVE:
            return f"Live since {_utc(self._since_ms)} UTC"
        if self._state is State.CATCHING_UP:
            again = f" (try {self._fill_backoff.tries + 1}: {self._why})" if self._fill_backoff.tries else ""
            return f"Connected at {_utc(self._since_ms)} UTC – fetching what was missed{again}"
        if self._state is State.REFUSED:
            return f"{self._why}; next try at {_utc(self._retry_ms)} UTC"
        if self._state is State.STOPPED:
            return "Stopped"
        if not self._lost_ms:
            return f"Connecting to the exchange (try {max(1, self._backoff.tries)})" + (f": {self._why}" if self._why else "")
        return f"Live data interrupted since {_utc(self._lost_ms)} UTC – reconnecting (try {max(1, self._backoff.tries)})"

    # -- the loop -----------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled. What is queued then is still given to the feed."""
        worker = asyncio.create_task(self._feed_for_ever(), name=f"{self.feed.name} feed")
        try:
            while True:
                self._become(State.INTERRUPTED if self._lost_ms else State.CONNECTING, self._why)
                wait_s = await self._one_connection()
                self._retry_ms = self._clock.now_ms() + round(wait_s * 1000)
                await self._sleep(wait_s)
        finally:
            if self._line is not None:
                await self._leave(self._line)
            worker.cancel()
            await asyncio.wait({worker})
            self._become(State.STOPPED)
            await self._give_rest()

    async def _one_connection(self) -> float:
        """Open, attend until it ends, and say how long to wait before the next."""
        try:
            self._line = await self._open()
        except LineRefused as refused:
            wait_s = refused.wait_s or (PROBE_AFTER_S if refused.status in (403, 451) else REFUSED_WAIT_S)
            self.counts["refused"] += 1
            self._become(State.REFUSED, _refusal_words(refused))
            self._backoff.tries += 1
            return wait_s
        except LineFailed as error:
            self.counts["failed"] += 1
            wait_s = self._backoff.next_s()
            self._why = str(error)
            return wait_s
        line = self._line
        before = self._hole.start_ms if self._hole else self._last_ms  # an older hole that was never filled grows
        self._hole = Hole(before, self._clock.now_ms(), self._why or "start")
        self._fill_backoff.reset()
        self._become(State.CATCHING_UP)
        self._work.set()
        self._why = await self._attend()
        line = self._line or line
        lasted_s = (self._clock.now_ms() - line.opened_ms) / 1000
        self._lost_ms = self._lost_ms or line.last_ms
        await self._leave(line)
        self._line = None
        self.counts["reconnects"] += 1
        self._become(State.INTERRUPTED, self._why)
        logger.info("{}: interrupted, {}", self.feed.name, self._why)
        if lasted_s >= HEALTHY_AFTER_S:
            self._backoff.reset()
        return self._backoff.next_s()

    async def _open(self) -> Line:
        return await Line.open(self.base, self.streams, clock=self._clock, sleep=self._sleep, deliver=self._queue.put)

    async def _leave(self, line: Line) -> None:
        await line.close()
        if line.spoke:
            self._last_ms = max(self._last_ms, line.last_ms)
        self.counts.update(line.counts)
        line.counts.clear()

    async def _attend(self) -> str:
        """Watch the open line; returns why it must be given up."""
        rotate_ms = self._clock.now_ms() + round(1000 * self._rotate_after_s * (1 - 0.02 * self._random.random()))
        while True:
            line = self._line
            assert line is not None
            tick = asyncio.ensure_future(self._sleep(self._tick_s))
            try:
                await asyncio.wait({tick, line.ended}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                tick.cancel()
            if line.ended.done():
                return line.ended.result()
            now = self._clock.now_ms()
            if now < line.last_ms:  # the clock was set back: ages would be wrong for as long as it jumped
                line.last_ms = now
                line.heard_ms = dict.fromkeys(line.heard_ms, now)
            silent = self._silence(line, now)
            if silent:
                self.counts["silences"] += 1
                return silent
            if now - line.opened_ms >= HEALTHY_AFTER_S * 1000 and self.live:
                self._backoff.reset()
            if now - line.opened_ms >= PATIENCE_FOR_S * 1000:
                self._silence_s = self._shortest_s
            if (line.shutting_down or now >= rotate_ms) and not await self._rotate(line):
                if line.shutting_down:
                    return "the exchange announced a shutdown"
                rotate_ms = now + round(ROTATE_AGAIN_S * 1000)
            elif self._line is not line:
                rotate_ms = now + round(1000 * self._rotate_after_s)

    def _silence(self, line: Line, now: int) -> str:
        if self._silence_s is not None and now - line.last_ms > self._silence_s * 1000:
            self._silence_s = max(self._silence_s, min(LONGEST_SILENCE_S, 2 * self._silence_s))
            return f"nothing was received for {(now - line.last_ms) / 1000:.0f} s"
        for name, patience_s in self._patience_s.items():
            if now - line.heard_ms[name] > patience_s * 1000:
                if name not in line.spoke:
                    self._patience_s[name] = min(LONGEST_STREAM_SILENCE_S, patience_s * 2)
                return f"{name} was silent for {(now - line.heard_ms[name]) / 1000:.0f} s"
        return ""

    async def _rotate(self, old: Line) -> bool:
        """Make before break: the new line is subscribed before the old one is closed. Both deliver for a moment."""
        try:
            self._line = await self._open()
        except LineFailed as error:
            self.counts["failed"] += 1
            logger.info("{}: planned reconnect put off, {}", self.feed.name, error)
            return False
        self.counts["rotations"] += 1
        await self._leave(old)
        return True

    # -- the feed's side ----------------------------------------------------------------------------------------------------

    async def _feed_for_ever(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            if self._hole is not None and self._line is not None:
                await self._fill(self._hole)
            else:
                await self._give_all()

    async def _fill(self, hole: Hole) -> None:
        self._work.set()  # whatever happens here, look again afterwards
        try:
            await self.feed.fill(hole)
        except (SextantError, OSError, TimeoutError) as error:
            await self._not_filled(f"{type(error).__name__}: {error}"[:160])
            return
        except Exception as error:  # noqa: BLE001 - said in the log, asked again
            logger.error("{}: filling failed unexpectedly\n{}", self.feed.name, format_exc())
            await self._not_filled(f"unexpected {type(error).__name__}")
            return
        if self._hole is hole:  # else the line broke meanwhile, and the hole has grown
            self._hole = None
            self._fill_backoff.reset()
            if self._line is not None:
                self._lost_ms = 0
                self._become(State.LIVE)
        self.counts["filled"] += 1

    async def _not_filled(self, why: str) -> None:
        self.counts["fill failures"] += 1
        self._why = why
        await self._sleep(self._fill_backoff.next_s())

    async def _give_all(self) -> None:
        while len(self._queue) and not (self._hole is not None and self._line is not None):
            await self._give(self._queue.drain())

    async def _give_rest(self) -> None:
        while len(self._queue):
            await self._give(self._queue.drain())

    async def _give(self, batch: list[Arrived]) -> None:
        try:
            await self.feed.take(batch)
        except Exception:  # noqa: BLE001 - a feed keeps its own promises; one that breaks must not end the stream for ever
            logger.error("{}: the feed failed on {} messages; the hole is filled afresh\n{}", self.feed.name, len(batch), format_exc())
            self.counts["feed failures"] += 1
            now = self._clock.now_ms()
            start_ms = min((arrived.received_ms for arrived in batch), default=now)
            if self._hole is None or self._hole.start_ms > start_ms:
                self._hole = Hole(start_ms, now, "the feed failed")
            if self._line is not None:
                self._become(State.CATCHING_UP)
            self._work.set()
            await self._sleep(self._fill_backoff.next_s())  # a feed that always fails must not spin
        await asyncio.sleep(0)

    def _become(self, state: State, why: str = "") -> None:
        if state is not self._state:
            self._state, self._since_ms = state, self._clock.now_ms()
        self._why = why


def _refusal_words(refused: LineRefused) -> str:
    if refused.status == 451:
        return "Binance is not available from this server's country (HTTP 451)"
    if refused.status == 403:
        return "Binance's firewall refuses this address (HTTP 403)"
    return f"Binance asks us to wait (HTTP {refused.status})"


def _utc(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%H:%M")
