"""One stream connection: subscriptions, frames, keep-alive, and what the fault script does to its messages."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web

from data.market import Market
from data.simulator.faults import MESSAGE_KINDS, FaultKind
from data.simulator.venue_faults import broken_message, skewed
from data.simulator.venue_hosts import Host
from data.simulator.venue_streams import StreamSpec, parse_stream

if TYPE_CHECKING:
    from data.simulator.venue import Venue

MOST_STREAMS = 1024
INCOMING_PER_SECOND = {Market.SPOT: 5, Market.PERP: 10}
ROUTES = ("public", "market", "private")
NO_PINGS = frozenset({FaultKind.NO_PING})
CLOSED_CANDLE = re.compile(r'"k":\{"t":(\d+),"T":(\d+),.*"x":true')
SEND_PATIENCE_S = 20.0  # a client that does not read this long is cut


@dataclass(eq=False)
class Connection:
    """A socket and what it has subscribed to.

    Attributes
    ----------
    route : str
        public, market or private on futures; empty on spot and on the un-routed futures base, which delivers public streams only.
    combined : bool
        Whether frames carry their stream's name.
    streams : dict of name to StreamSpec or None
        None for a name that means nothing: acknowledged, for ever silent.
    """

    venue: Venue
    host: Host
    socket: web.WebSocketResponse
    market: Market
    route: str
    combined: bool
    opened_ms: int
    streams: dict[str, StreamSpec | None] = field(default_factory=dict)
    sent: int = 0
    waiting: list[tuple[int, int, str]] = field(default_factory=list)  # (due ms, order, text) of postponed messages
    postponed: int = 0
    held: str | None = None  # a message kept back to be sent after the next one
    silent_from_ms: int | None = None  # from then on it says nothing at all
    silent_streams: set[str] = field(default_factory=set)
    answered_ping: bool = True
    _heard: list[float] = field(default_factory=list)

    def subscribe(self, names: list[str]) -> None:
        for name in names:
            self.streams[name] = parse_stream(name, self.market, self.venue.market.listed)

    def carries(self, spec: StreamSpec) -> bool:
        """Whether this route delivers the stream; otherwise it is silent though subscribed (binance.md 1, 11.2)."""
        return not spec.route or spec.route == (self.route or "public")

    async def run(self) -> None:
        """Read the client's messages until the connection ends."""
        loop = asyncio.get_running_loop()
        keeper = asyncio.ensure_future(self._keep_alive())
        try:
            async for message in self.socket:
                if message.type is WSMsgType.PONG:
                    self.answered_ping = True
                    continue
                self._heard = [t for t in self._heard if t > loop.time() - 1.0] + [loop.time()]
                if len(self._heard) > INCOMING_PER_SECOND[self.market]:
                    await self.socket.close(code=1008, message=b"Too many requests")
                    return
                if message.type is WSMsgType.PING:
                    with suppress(ConnectionError):
                        await self.socket.pong(message.data)
                elif message.type is WSMsgType.TEXT:
                    await self.text(json.dumps(self.reply(message.data)))
        finally:
            keeper.cancel()

    async def _keep_alive(self) -> None:
        """Server pings by the wall clock (every 20 s spot, 3 min futures); a client that answers none is cut after the third."""
        unanswered = 0
        while not self.socket.closed:
            await asyncio.sleep(self.venue.options.ping_s * (1 if self.market is Market.SPOT else 9))
            now = self.venue.clock.now_ms()
            if self.silent_from_ms is not None or self.venue.faults.strike(NO_PINGS, now, self.host):
                continue
            unanswered = 0 if self.answered_ping else unanswered + 1
            if unanswered >= 3:
                self.cut()
                return
            self.answered_ping = False
            with suppress(ConnectionError):  # it ended while we slept
                await self.socket.ping(str(now).encode())

    def reply(self, text: str) -> dict[str, Any]:
        """The answer to SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS, SET_PROPERTY, GET_PROPERTY."""
        try:
            asked = json.loads(text)
            method, params, number = asked["method"], asked.get("params", []), asked.get("id")
        except (ValueError, KeyError, TypeError, AttributeError):
            return {"error": {"code": 3, "msg": "Invalid JSON: expected value at line 1 column 1"}}
        if isinstance(number, str) and len(number) > 36:
            return {"error": {"code": 2, "msg": "Invalid request: request ID must be an integer or string of at most 36 characters"}}
        if method in ("SUBSCRIBE", "UNSUBSCRIBE"):
            if not isinstance(params, list) or not all(isinstance(p, str) for p in params):
                return {"error": {"code": 2, "msg": "Invalid request: invalid type: expected a sequence of strings"}, "id": number}
            if method == "UNSUBSCRIBE":
                for name in params:
                    self.streams.pop(name, None)
            elif len(set(self.streams) | set(params)) > MOST_STREAMS:
                return {"error": {"code": 2, "msg": "Invalid request: too many subscriptions"}, "id": number}
            else:
                self.subscribe(params)
            return {"result": None, "id": number}
        if method == "LIST_SUBSCRIPTIONS":
            return {"result": list(self.streams), "id": number}
        if method == "SET_PROPERTY" and len(params) == 2 and params[0] == "combined" and isinstance(params[1], bool):
            self.combined = params[1]
            return {"result": None, "id": number}
        if method == "GET_PROPERTY" and params == ["combined"]:
            return {"result": self.combined, "id": number}
        return {"error": {"code": 2, "msg": f"Invalid request: unknown variant {method!r}"}, "id": number}

    # -- sending ----------------------------------------------------------------------------------------------------

    async def text(self, text: str | bytes) -> None:
        """Put a frame on the wire; a client that does not read is cut, so that it cannot hold up the others."""
        if self.socket.closed:
            return
        try:
            async with asyncio.timeout(SEND_PATIENCE_S):
                await (self.socket.send_str(text) if isinstance(text, str) else self.socket.send_bytes(text))
            self.sent += 1
        except (ConnectionError, RuntimeError, TimeoutError):
            self.cut()

    async def deliver(self, at: int, name: str, payload: str) -> None:
        """Send one event, as far as the fault script lets it through."""
        if self.silent_from_ms is not None or name in self.silent_streams:
            return
        board = self.venue.faults
        spec = self.streams.get(name)
        symbol = spec.symbol if spec else ""
        if board.script:
            if skew := board.skew_ms(at, self.host):
                payload = skewed(payload, skew)
                board.feel(FaultKind.SKEW, at, at, f"{self.host} {name}", host=self.host)
            if found := CLOSED_CANDLE.search(payload):
                if board.hole(symbol, int(found[1]), int(found[2]) + 1):
                    return
                if late := board.late_ms(symbol, at):
                    board.feel(FaultKind.LATE_CANDLE, at, at, name, symbol=symbol)
                    self.postpone(at + late, self.frame(name, payload))
                    return
            faults = board.strike(MESSAGE_KINDS, at, self.host, stream=name, symbol=symbol)
            if faults:
                await broken_message(faults[0], self, at, self.frame(name, payload))
                return
        await self.text(self.frame(name, payload))
        if self.held is not None:
            text, self.held = self.held, None
            await self.text(text)

    def postpone(self, due: int, text: str) -> None:
        self.waiting.append((due, self.postponed, text))
        self.postponed += 1

    async def deliver_due(self, until: int) -> None:
        """Postponed messages whose time has come."""
        due = sorted(entry for entry in self.waiting if entry[0] <= until)
        self.waiting = [entry for entry in self.waiting if entry[0] > until]
        if self.silent_from_ms is None:
            for _, _, text in due:
                await self.text(text)

    def frame(self, name: str, payload: str) -> str:
        return f'{{"stream":{json.dumps(name)},"data":{payload}}}' if self.combined else payload

    def cut(self) -> None:
        """Tear the connection without a goodbye."""
        request = self.socket._req
        transport = request.transport if request is not None else None
        if transport is not None:
            transport.abort()

    async def shut_down(self) -> None:
        """What a connection's last second looks like on the exchange: a notice on spot, then the close."""
        if self.market is Market.SPOT:
            await self.text(self.frame("!serverShutdown", json.dumps({"e": "serverShutdown", "E": self.venue.clock.now_ms()})))
        with suppress(ConnectionError):
            await self.socket.close(code=1001, message=b"going away")
