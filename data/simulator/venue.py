"""The loopback exchange: the simulator behind Binance's REST and WebSocket protocol, for tests and for working offline.

    async with Venue(clock=VirtualClock(start_ms), options=VenueOptions(seed=7)) as venue:
        ...  # a client pointed at venue.urls; then await venue.advance(60_000)

Each of Binance's hosts, and of three vendors of daily series, has a port of its own on 127.0.0.1, so one can be blocked while another
answers. With a `VirtualClock` nothing moves until somebody advances it (here, or POST /sim/advance on any port), and everything due is
sent before `advance` returns; with any other clock the streams follow it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson
from aiohttp import web

from data.clock import Clock
from data.errors import SextantError
from data.market import DAY_MS, MINUTE_MS, Market
from data.simulator.faults import REST_KINDS, Fault, FaultBoard, FaultKind, parse_script
from data.simulator.tickbook import ID_STRIDE, step_at
from data.simulator.venue_archives import Archives
from data.simulator.venue_clock import VirtualClock
from data.simulator.venue_faults import RESTRICTED, broken_answer, json_answer
from data.simulator.venue_futures import ENDPOINTS as FUTURES_ENDPOINTS
from data.simulator.venue_hosts import STREAM_HOSTS, Host, VenueUrls
from data.simulator.venue_market import VenueMarket
from data.simulator.venue_options import ENDPOINTS as OPTION_ENDPOINTS
from data.simulator.venue_rest import ApiError, Endpoint, Limits, Query
from data.simulator.venue_sockets import ROUTES, Connection
from data.simulator.venue_spot import ENDPOINTS as SPOT_ENDPOINTS
from data.simulator.venue_streams import Broadcaster, Event
from data.simulator.venue_vendors import ENDPOINTS as VENDOR_ENDPOINTS

CONNECTION_STARTS = frozenset({FaultKind.CUT, FaultKind.CLOSE, FaultKind.SHUTDOWN, FaultKind.SILENCE, FaultKind.SILENT_STREAM})
REFUSALS = frozenset({FaultKind.REFUSE, FaultKind.HTTP_451})
TICK_S = 0.05  # how often streams look at a real clock
ENDPOINTS: dict[str, Endpoint] = {**SPOT_ENDPOINTS, **FUTURES_ENDPOINTS, **OPTION_ENDPOINTS, **VENDOR_ENDPOINTS}


@dataclass(frozen=True)
class VenueOptions:
    """How the venue behaves.

    Attributes
    ----------
    port : int
        Of the api host; the others follow it one by one in the order of `Host`. 0 takes any free ports.
    blocked : frozenset of Host
        These answer 451, upgrades included, as from a restricted country (`GEO_BLOCKED` is the real set).
    lifetime_ms : int
        After how long a stream connection is ended; 24 hours by rule.
    ping_s : float
        Seconds of wall clock between server pings on spot; nine times as long on futures.
    limit_scale : float
        Request limits are multiplied by it; 0.01 makes them easy to hit.
    delisted : frozenset of str
        Symbols that REST answers with -1121 and streams leave out; the archive still has their files.
    """

    seed: int = 7
    port: int = 0
    blocked: frozenset[Host] = frozenset()
    lifetime_ms: int = DAY_MS
    ping_s: float = 20.0
    limit_scale: float = 1.0
    delisted: frozenset[str] = frozenset()


@dataclass
class Venue:
    """The server. `start`, then point a client at `urls`, then `stop`; or use it as an async context manager."""

    clock: Clock
    options: VenueOptions = field(default_factory=VenueOptions)
    script: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        self.market = VenueMarket(self.options.seed, self.clock)
        self.market.delisted = self.options.delisted
        self.broadcaster = Broadcaster(self.market)
        self.archives = Archives(self.market)
        self.blocked: set[Host] = set(self.options.blocked)
        self.connections: list[Connection] = []
        self.limits = {host: Limits(host, self.options.limit_scale) for host in Host}
        self.faults = FaultBoard(tuple(self.script))
        self.requests = 0
        self.improper: list[str] = []  # requests that were no plain GET: a fence that holds leaves this empty
        self.urls: VenueUrls
        self._runners: list[web.ServerRunner] = []
        self._tasks: set[asyncio.Task] = set()
        self._pumped_ms = self.clock.now_ms()

    async def start(self) -> Venue:
        ports: dict[Host, int] = {}
        for offset, host in enumerate(Host):
            runner = web.ServerRunner(web.Server(partial(self._handle, host), access_log=None), shutdown_timeout=1.0)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", self.options.port + offset if self.options.port else 0)
            await site.start()
            ports[host] = runner.addresses[0][1]
            self._runners.append(runner)
        self.urls = VenueUrls.on(ports)
        self._pump_lock = asyncio.Lock()
        task = asyncio.ensure_future(self._follow_clock())
        task.add_done_callback(_complain)
        self._tasks.add(task)
        return self

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in list(self.connections):
            connection.cut()
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()

    async def __aenter__(self) -> Venue:
        return await self.start()

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    # -- time -------------------------------------------------------------------------------------------------------

    async def advance(self, ms: int) -> int:
        """Move a virtual clock on, minute by minute, and send what falls due; returns the new time."""
        if not isinstance(self.clock, VirtualClock):
            raise ApiError(-1, "the venue follows a real clock: only a VirtualClock can be advanced")
        target = self.clock.now_ms() + ms
        while (now := self.clock.now_ms()) < target:
            self.clock.advance(min(target, (now // MINUTE_MS + 1) * MINUTE_MS) - now if self.connections else target - now)
            await self._pump(last=self.clock.now_ms() >= target)
        return self.clock.now_ms()

    async def _follow_clock(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            if not self._pump_lock.locked():
                await self._pump(last=True)

    async def _pump(self, *, last: bool) -> None:
        """Send everything due up to the clock's time, in slices of a minute; unfinished candles only in the last slice."""
        async with self._pump_lock:
            target = self.clock.now_ms()
            while self._pumped_ms < target:
                until = min(target, (self._pumped_ms // MINUTE_MS + 1) * MINUTE_MS) if self.connections else target
                await self._slice(self._pumped_ms, until, newest=last and until == target)
                self._pumped_ms = until

    async def _slice(self, after: int, until: int, *, newest: bool) -> None:
        """Send the events of a slice in the order of their times."""
        said: dict[tuple[Market, str], list[tuple[Event, str]]] = {}
        queue: list[tuple[int, int, Connection, str | Fault, str]] = []
        for connection in list(self.connections):
            for name, spec in list(connection.streams.items()):
                if spec is None or not connection.carries(spec):
                    continue
                key = (spec.market, name)
                if key not in said:
                    said[key] = [(event, orjson.dumps(event[1]).decode())
                                 for event in self.broadcaster.events(spec, after, until, newest=newest)]
                queue += [(event[0], len(queue) + i, connection, name, text) for i, (event, text) in enumerate(said[key])]
        queue += [(fault.at_ms, -1, connection, fault, "") for fault in self.faults.starting(CONNECTION_STARTS, after, until)
                  for connection in list(self.connections)]
        queue.sort(key=lambda entry: entry[:2])
        for at, _, connection, what, text in queue:
            if isinstance(what, Fault):
                await self._break(what, connection)
            else:
                await connection.deliver(at, what, text)
        for connection in list(self.connections):
            await connection.deliver_due(until)
            if until - connection.opened_ms >= self.options.lifetime_ms:
                await connection.shut_down()

    async def _break(self, fault: Fault, connection: Connection) -> None:
        """A fault that befalls a connection which is open at its time."""
        names = [n for n, spec in connection.streams.items()
                 if fault.aims_at(connection.host, stream=n, symbol=spec.symbol if spec else "")]
        if not names or not self.faults.strike(frozenset({fault.kind}), fault.at_ms, connection.host, stream=names[0],
                                               symbol=fault.symbol):
            return
        if fault.kind is FaultKind.CUT:
            connection.cut()
        elif fault.kind is FaultKind.CLOSE:
            with suppress(ConnectionError):
                await connection.socket.close(code=1001, message=b"going away")
        elif fault.kind is FaultKind.SHUTDOWN:
            await connection.shut_down()
        elif fault.kind is FaultKind.SILENCE:
            connection.silent_from_ms = fault.at_ms
        else:
            connection.silent_streams.update(names)

    # -- requests ---------------------------------------------------------------------------------------------------

    async def _handle(self, host: Host, request: web.BaseRequest) -> web.StreamResponse:
        self.requests += 1
        if request.path.startswith("/sim/"):
            return await self._admin(request)
        if request.method != "GET" or "signature" in request.query or "X-MBX-APIKEY" in request.headers:
            self.improper.append(f"{request.method} {host} {request.path}")
        if host in self.blocked:
            return json_answer(RESTRICTED, 451)
        if host in STREAM_HOSTS:
            return await self._stream(host, request)
        now = self.clock.now_ms()
        symbol = request.query.get("symbol", request.query.get("pair", ""))
        faults = self.faults.strike(REST_KINDS, now, host, path=request.path, symbol=symbol) if self.faults.script else []
        stale = sum(f.amount for f in faults if f.kind is FaultKind.STALE)
        good = self._archive(request, now - stale) if host is Host.ARCHIVE else self._rest(host, request, now - stale)
        broken = [f for f in faults if f.kind is not FaultKind.STALE]
        return await broken_answer(broken[0], request, good, now, f"{self.urls.archive}/moved") if broken else good

    def _archive(self, request: web.BaseRequest, now: int) -> web.Response:
        if request.path in ("/", "/data.binance.vision", "/data.binance.vision/"):
            body = self.archives.listing(request.query.get("prefix", ""), request.query.get("marker", ""), now)
            return web.Response(body=body, content_type="application/xml")
        found = self.archives.get(request.path, now)
        if found is None:
            return web.Response(status=404, body=b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code><Message>The '
                                                 b"specified key does not exist.</Message></Error>", content_type="application/xml")
        part = request.http_range
        if part.start is None and part.stop is None:
            return web.Response(body=found, content_type="application/zip")
        chosen = found[part]
        first = len(found) - len(chosen) if (part.start or 0) < 0 else part.start or 0
        return web.Response(status=206, body=chosen, content_type="application/zip", headers={
            "Content-Range": f"bytes {first}-{first + len(chosen) - 1}/{len(found)}"})

    def _rest(self, host: Host, request: web.BaseRequest, now: int) -> web.Response:
        limits = self.limits[host]
        try:
            endpoint = ENDPOINTS.get(request.path)
            if endpoint is None or host not in endpoint.hosts:
                return web.Response(status=404, text="<html><body><h2>404 Not found</h2></body></html>", content_type="text/html")
            if request.method != "GET":
                raise ApiError(-1000, "Request method not supported.", 405)
            query = Query(self.market, Market.SPOT if host in (Host.API, Host.MIRROR) else Market.PERP, dict(request.query), now)
            limits.charge(endpoint.weight(query), endpoint.limiter, now)
            answer = endpoint.answer(query)
            query.refuse_unread()
        except ApiError as error:
            return self._json(error.body(), error.status, limits, error.headers)
        return self._json(self._touched(answer, host, request, now) if self.faults.script else answer, 200, limits)

    def _touched(self, answer: Any, host: Host, request: web.BaseRequest, now: int) -> Any:
        """A true answer as holes, late candles and a wrong clock leave it."""
        if request.path.endswith("lines"):
            symbol = request.query.get("symbol", request.query.get("pair", ""))
            late = [row for row in answer if row[6] < now < row[6] + 1 + self.faults.late_ms(symbol, row[6] + 1)]
            for row in late:
                self.faults.feel(FaultKind.LATE_CANDLE, row[6] + 1, now, f"{request.path} {symbol}", symbol=symbol)
            return [row for row in answer if row not in late and not self.faults.hole(symbol, row[0], row[6] + 1)]
        skew = self.faults.skew_ms(now, host)
        if skew and isinstance(answer, dict) and "serverTime" in answer:
            self.faults.feel(FaultKind.SKEW, now, now, f"{host} {request.path}", host=host)
            return answer | {"serverTime": answer["serverTime"] + skew}
        return answer

    @staticmethod
    def _json(body: Any, status: int = 200, limits: Limits | None = None, headers: dict[str, str] | None = None) -> web.Response:
        sent = dict(headers or {})
        if limits is not None:
            sent["X-MBX-USED-WEIGHT-1M"] = str(limits.used)
            if limits.host in (Host.API, Host.MIRROR):
                sent["X-MBX-USED-WEIGHT"] = str(limits.used)
        return json_answer(body, status, sent)

    # -- streams ----------------------------------------------------------------------------------------------------

    async def _stream(self, host: Host, request: web.BaseRequest) -> web.StreamResponse:
        parts = [p for p in request.path.split("/") if p]
        market = Market.PERP if host is Host.FSTREAM else Market.SPOT
        route = parts.pop(0) if market is Market.PERP and parts and parts[0] in ROUTES else ""
        if not parts or parts[0] not in ("ws", "stream"):
            return web.Response(status=404)
        refused = self.faults.strike(REFUSALS, self.clock.now_ms(), host) if self.faults.script else []
        if refused:
            return json_answer(RESTRICTED, 451) if refused[0].kind is FaultKind.HTTP_451 else web.Response(status=refused[0].amount)
        try:
            self.limits[host].charge(0, "connect", self.clock.now_ms())
        except ApiError as error:
            return self._json(error.body(), error.status, None, error.headers)
        socket = web.WebSocketResponse(autoping=False, max_msg_size=1 << 16, compress=False)
        await socket.prepare(request)
        combined = parts[0] == "stream"
        connection = Connection(self, host, socket, market, route, combined, self.clock.now_ms())
        connection.subscribe([n for n in (request.query.get("streams", "").split("/") if combined else parts[1:]) if n])
        self.connections.append(connection)
        try:
            await connection.run()
        finally:
            self.connections.remove(connection)
        return socket

    # -- administration ---------------------------------------------------------------------------------------------

    async def _admin(self, request: web.BaseRequest) -> web.Response:
        """What a test may ask of the venue itself, on any port: /sim/state, advance, block, faults, truth/book."""
        try:
            if request.path == "/sim/advance" and request.method == "POST":
                return self._json({"now": await self.advance(int(json.loads(await request.read())["ms"]))})
            if request.path == "/sim/block" and request.method == "POST":
                self.blocked = {Host(name) for name in json.loads(await request.read())["hosts"]}
                return self._json({"blocked": sorted(self.blocked)})
            if request.path == "/sim/state":
                return self._json({"now": self.clock.now_ms(), "seed": self.options.seed, "symbols": self.market.symbols,
                                   "requests": self.requests, "improper": self.improper, "connections": [
                                       {"host": c.host, "route": c.route, "streams": list(c.streams), "sent": c.sent}
                                       for c in self.connections]})
            if request.path == "/sim/truth/book":
                return self._json(self.truth_book(request.query["symbol"], Market.parse(request.query.get("market", "spot")),
                                                  int(request.query["update_id"]) if "update_id" in request.query else None))
            if request.path == "/sim/faults":
                if request.method == "POST":
                    self.faults.add(parse_script(json.loads(await request.read())))
                return self._json({"armed": len(self.faults.script), "struck": self.faults.struck})
        except ApiError as error:
            return self._json(error.body(), error.status)
        except (ValueError, KeyError, TypeError, SextantError) as error:
            return self._json({"code": -1, "msg": f"the venue could not read that: {error}"}, 400)
        return self._json({"code": -1, "msg": f"no such page: {request.path}"}, 404)

    def truth_book(self, symbol: str, market: Market, update_id: int | None = None) -> dict[str, Any]:
        """Every level of the book after an update id (default: now), as depth would print it."""
        step = step_at(self.clock.now_ms()) if update_id is None else update_id // ID_STRIDE - 1
        book = self.market.floor.book(symbol, market, step)
        return {"symbol": symbol, "market": market, "updateId": book.update_id,
                "bids": self.market.levels(symbol, market, list(book.bids.items())),
                "asks": self.market.levels(symbol, market, list(book.asks.items()))}


def _complain(task: asyncio.Task) -> None:
    """Streams that stop must not stop silently."""
    if not task.cancelled() and task.exception() is not None:
        logging.getLogger(__name__).error("the venue's streams stopped", exc_info=task.exception())
