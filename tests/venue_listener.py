"""A stream client for tests: plain websockets, every frame kept."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import websockets

from data.simulator.venue_thread import VenueHandle

PATIENCE_S = 20.0


class Listener:
    """Connects, collects every frame; `advance` moves the venue's clock and waits until all it sent has arrived."""

    def __init__(self, handle: VenueHandle, url: str) -> None:
        self.handle, self.url = handle, url
        self.frames: list[str | bytes] = []
        self.closed = asyncio.Event()

    async def __aenter__(self) -> Listener:
        before = list(self.handle.venue.connections)
        self.socket = await websockets.connect(self.url, proxy=None, max_queue=None, ping_interval=None)
        self.server = await _until(lambda: next((c for c in list(self.handle.venue.connections) if c not in before), None))
        self._reader = asyncio.ensure_future(self._read())
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._reader.cancel()
        await self.socket.close()
        await _until(lambda: self.server not in self.handle.venue.connections)

    async def _read(self) -> None:
        try:
            async for frame in self.socket:
                self.frames.append(frame)
        except websockets.ConnectionClosed:
            pass
        self.closed.set()

    async def advance(self, ms: int) -> list[Any]:
        """Everything that came because of it, parsed where it is JSON."""
        first = len(self.frames)
        await asyncio.to_thread(self.handle.advance, ms)
        await _until(lambda: self.closed.is_set() or len(self.frames) >= self.server.sent)
        return [_parsed(frame) for frame in self.frames[first:]]

    async def ask(self, **message: Any) -> Any:
        first = len(self.frames)
        await self.socket.send(json.dumps(message))
        await _until(lambda: len(self.frames) > first)
        return _parsed(self.frames[-1])


def _parsed(frame: str | bytes) -> Any:
    try:
        return json.loads(frame)
    except ValueError:
        return frame


async def _until(true: Any) -> Any:
    """Wait for something to become true, without a fixed sleep."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while not (found := true()):
        assert asyncio.get_running_loop().time() < deadline, "the venue or its client got stuck"
        await asyncio.sleep(0.002)
    return found
