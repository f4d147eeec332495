"""What stream tests share: a clock with sleepers that moves only when told to, and a small exchange that misbehaves on request."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
import threading
import time
from collections.abc import Callable
from http import HTTPStatus

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from data.simulator.venue_clock import VirtualClock

START_MS = 1_760_000_040_000  # 2025-10-09 08:54:00 UTC, a whole minute


class Pace(VirtualClock):
    """A VirtualClock whose `sleep` (in the loop) and `wait` (in other threads) end when the clock is advanced past them.

    Attributes
    ----------
    waiting : int
        Threads inside `wait` now.
    """

    def __init__(self, start_ms: int = START_MS) -> None:
        super().__init__(start_ms)
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._threads: list[tuple[int, int, threading.Event]] = []
        self._guard = threading.Lock()
        self._over = False
        self.waiting = 0

    def wait(self, seconds: float) -> None:
        """A thread's sleep."""
        woken = threading.Event()
        with self._guard:
            if self._over or seconds <= 0:
                return
            heapq.heappush(self._threads, (self.now_ms() + round(seconds * 1000), next(self._order), woken))
            self.waiting += 1
        woken.wait()

    def let_go(self) -> None:
        """Wake every thread, now and from now on: the run is over."""
        self._over = True
        self._wake(1 << 62)

    def _wake(self, now: int) -> None:
        with self._guard:
            while self._threads and self._threads[0][0] <= now:
                heapq.heappop(self._threads)[2].set()
                self.waiting -= 1

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now_ms() + round(seconds * 1000), next(self._order), done))
        await done

    def advance(self, ms: int) -> int:
        now = super().advance(ms)
        while self._sleepers and self._sleepers[0][0] <= now:
            done = heapq.heappop(self._sleepers)[2]
            if not done.done():
                done.set_result(None)
        self._wake(now)
        return now

    async def pass_time(self, seconds: float) -> None:
        """Let virtual seconds go by, stopping at each sleeper so that what it starts happens at its time."""
        until = self.now_ms() + round(seconds * 1000)
        await settle()
        while self.now_ms() < until:
            while self._sleepers and self._sleepers[0][2].done():
                heapq.heappop(self._sleepers)
            due = self._sleepers[0][0] if self._sleepers else until
            self.advance(max(0, min(due, until) - self.now_ms()))
            await settle()


class QuickClock:
    """The computer's clock from a chosen moment on, `speed` times as fast, and the sleeps that belong to it."""

    def __init__(self, start_ms: int = START_MS, speed: float = 40.0) -> None:
        self._start_ms, self._speed, self._began = start_ms, speed, time.monotonic()

    def now_ms(self) -> int:
        return self._start_ms + round((time.monotonic() - self._began) * 1000 * self._speed)

    def wait(self, seconds: float) -> None:
        time.sleep(seconds / self._speed)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._speed)


async def settle(turns: int = 8) -> None:
    """Let the loop work off what is ready, sockets on loopback included."""
    for _ in range(turns):
        await asyncio.sleep(0)
    await asyncio.sleep(0.001)
    for _ in range(turns):
        await asyncio.sleep(0)


async def until(true: Callable[[], bool], real_s: float = 5.0) -> None:
    """Wait for something that depends on sockets, not on the clock."""
    for _ in range(round(real_s / 0.002)):
        if true():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("it did not happen in time")


class SmallExchange:
    """A WebSocket server that acknowledges subscriptions and otherwise does what the test says."""

    def __init__(self) -> None:
        self.connections: list[ServerConnection] = []
        self.opened = 0
        self.requests: list[dict] = []
        self.refuse_with: HTTPStatus | None = None
        self.refuse_headers: dict[str, str] = {}
        self.reply: Callable[[dict], str | None] = lambda asked: json.dumps({"result": None, "id": asked["id"]})
        self._server: Server | None = None
        self.base = ""

    async def __aenter__(self) -> SmallExchange:
        self._server = await serve(self._handle, "127.0.0.1", 0, process_request=self._greet, ping_interval=None, compression=None)
        self.base = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    def _greet(self, connection: ServerConnection, request: object):
        if self.refuse_with is None:
            return None
        response = connection.respond(self.refuse_with, "no\n")
        for name, value in self.refuse_headers.items():
            response.headers[name] = value
        return response

    async def _handle(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        self.opened += 1
        try:
            async for message in connection:
                asked = json.loads(message)
                self.requests.append(asked)
                answer = self.reply(asked)
                if answer is not None:
                    await connection.send(answer)
        except ConnectionClosed:
            pass
        finally:
            self.connections.remove(connection)

    async def say(self, stream: str, data: object) -> None:
        await self.raw(json.dumps({"stream": stream, "data": data}))

    async def raw(self, frame: str | bytes) -> None:
        for connection in list(self.connections):
            await connection.send(frame)

    async def drop(self) -> None:
        """Without a goodbye."""
        for connection in list(self.connections):
            connection.transport.abort()
        await until(lambda: not self.connections)
