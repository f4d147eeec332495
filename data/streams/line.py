"""One WebSocket, open: subscribed, read, timed. It never reconnects; that is the supervisor's work.

Frames that are no messages are counted and dropped. Replies to requests, the notice of a shutdown and messages of streams that
were not asked for are kept from the feed. Only a message of a wanted stream counts as a sign of life: a server that answers
pings and sends nothing else is as silent as a dead one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException

from data.clock import Clock
from data.errors import DataError, InputError
from data.streams import hosts
from data.streams.messages import MAX_FRAME_BYTES, BadFrame, Other, Reply, Shutdown, connection_reader, decode
from data.streams.queues import Arrived

Sleep = Callable[[float], Awaitable[None]]
MAX_STREAMS = 1024
SUBSCRIBE_AT_ONCE = 150  # names in one request: 16 requests at most, and a request of a few kilobytes
SUBSCRIBE_PACE_S = 0.35  # the exchange counts everything we send, pongs included: 5 per second on spot
REPLY_WAIT_S = 10.0
OPEN_WAIT_S = 10.0
_YIELD_EVERY = 256  # frames already received are handed out without a pause; others must get their turn


class LineFailed(DataError):
    """The connection could not be opened or subscribed; try again later."""


class LineRefused(LineFailed):
    """The exchange does not want this computer now.

    Attributes
    ----------
    status : int
        HTTP status of the refusal.
    wait_s : float
        How long to leave the host alone; 0 when it did not say.
    """

    def __init__(self, message: str, status: int, wait_s: float) -> None:
        super().__init__(message)
        self.status = status
        self.wait_s = wait_s


class _DirectConnect(connect):
    """Follows no redirect: where a stream comes from is decided by hosts.py alone."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class Line:
    """An open connection. `ended` is a task that finishes with the reason, in words, when nothing more will come."""

    def __init__(self, socket: ClientConnection, streams: Sequence[str], clock: Clock, deliver: Callable[[Arrived], None]) -> None:
        self._socket = socket
        self._clock = clock
        self._deliver = deliver
        self._replies: dict[int, asyncio.Future[Reply]] = {}
        self._request = 0
        self.streams = tuple(streams)
        self.opened_ms = clock.now_ms()
        self.last_ms = self.opened_ms
        self.heard_ms = dict.fromkeys(streams, self.opened_ms)
        self.spoke: set[str] = set()
        self.shutting_down = False
        self.counts: Counter[str] = Counter()
        self.last_bad = ""
        self.ended: asyncio.Task[str] = asyncio.create_task(self._read(), name="stream reader")

    @classmethod
    async def open(cls, base: str, streams: Sequence[str], *, clock: Clock, sleep: Sleep, deliver: Callable[[Arrived], None]) -> Line:
        """Connect and subscribe.

        Raises
        ------
        LineRefused, LineFailed
            When the exchange refuses, or does not answer.
        """
        if not 0 < len(streams) <= MAX_STREAMS:
            raise InputError(f"expected 1 to {MAX_STREAMS} streams on one connection, got {len(streams)}; open several")
        url = hosts.allowed(f"{base}/stream")
        try:
            socket = await _DirectConnect(url, proxy=None, compression=None, open_timeout=OPEN_WAIT_S, close_timeout=1, max_queue=1024,
                                          max_size=MAX_FRAME_BYTES)
        except InvalidStatus as error:
            raise _refusal(error) from None
        except (OSError, TimeoutError, InvalidHandshake, WebSocketException, EOFError) as error:
            raise LineFailed(f"cannot connect ({type(error).__name__}: {str(error)[:120]})") from None
        line = cls(socket, streams, clock, deliver)
        try:
            await line._subscribe(sleep)
        except BaseException:
            await line.close()
            raise
        return line

    async def close(self) -> None:
        """Close the socket and wait for the reader; what was received is delivered first."""
        with contextlib.suppress(OSError, WebSocketException, TimeoutError):
            await self._socket.close()
        await asyncio.wait({self.ended}, timeout=1)
        if not self.ended.done():
            self.ended.cancel()
            await asyncio.wait({self.ended}, timeout=1)

    # -----------------------------------------------------------------------------------------------------------------------

    async def _subscribe(self, sleep: Sleep) -> None:
        for first in range(0, len(self.streams), SUBSCRIBE_AT_ONCE):
            if first:
                await sleep(SUBSCRIBE_PACE_S)
            await self._ask("SUBSCRIBE", list(self.streams[first : first + SUBSCRIBE_AT_ONCE]))

    async def _ask(self, method: str, params: list[str]) -> None:
        self._request += 1
        number = self._request
        waiting: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._replies[number] = waiting
        try:
            await self._socket.send(msgspec.json.encode({"method": method, "params": params, "id": number}).decode())
            either: set[asyncio.Future[Any]] = {waiting, self.ended}
            await asyncio.wait(either, timeout=REPLY_WAIT_S, return_when=asyncio.FIRST_COMPLETED)
        except (ConnectionClosed, OSError) as error:
            raise LineFailed(f"the connection ended while subscribing ({str(error)[:120]})") from None
        finally:
            self._replies.pop(number, None)
        if not waiting.done():
            told = self.ended.result() if self.ended.done() else f"no answer within {REPLY_WAIT_S:g} s"
            raise LineFailed(f"subscribing failed: {told}")
        if waiting.result().refusal:
            raise LineFailed(f"the exchange refused the subscription: {waiting.result().refusal}")

    async def _read(self) -> str:
        socket, clock, counts, heard = self._socket, self._clock, self.counts, self.heard_ms
        read = connection_reader(self.streams)
        try:
            while True:
                frame = await socket.recv(decode=False)
                counts["frames"] += 1
                if not counts["frames"] % _YIELD_EVERY:
                    await asyncio.sleep(0)
                try:
                    found = read(frame)
                    stream, message = found.stream, found.data
                except (msgspec.MsgspecError, DataError, ValueError, RecursionError):
                    try:
                        stream, message = decode(frame)
                    except BadFrame as error:
                        counts["malformed"] += 1
                        self.last_bad = str(error)
                        continue
                if stream in heard and not isinstance(message, Other):
                    now = clock.now_ms()
                    self.last_ms = heard[stream] = now
                    self.spoke.add(stream)
                    self._deliver(Arrived(stream, now, message))
                else:
                    self._serve(message)
        except ConnectionClosed as error:
            code = error.rcvd.code if error.rcvd else 1006
            return f"the connection was closed (code {code})"
        except (WebSocketException, OSError, EOFError) as error:
            return f"the connection broke ({type(error).__name__})"

    def _serve(self, message: Any) -> None:
        if isinstance(message, Shutdown):
            self.shutting_down = True
        elif isinstance(message, Reply):
            waiting = self._replies.get(message.id) if isinstance(message.id, int) else None
            if waiting is None and message.refusal:
                waiting = next(iter(self._replies.values()), None)  # an error without an id answers the one request that is open
            if waiting is not None and not waiting.done():
                waiting.set_result(message)
        else:
            self.counts["not asked for"] += 1


def _refusal(error: InvalidStatus) -> LineFailed:
    status = error.response.status_code
    if status in (403, 418, 429, 451):
        told = error.response.headers.get("Retry-After", "")
        wait_s = float(told) if told.isascii() and told.isdigit() and len(told) < 8 else 0.0
        return LineRefused(f"the exchange refused the connection (HTTP {status})", status, wait_s)
    return LineFailed(f"the exchange answered HTTP {status} instead of opening a stream")
