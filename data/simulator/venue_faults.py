"""How faults look on the wire: broken answers to requests, broken messages on streams."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from data.simulator.faults import Fault, FaultKind

if TYPE_CHECKING:
    from data.simulator.venue_sockets import Connection

F = FaultKind
RESTRICTED = {"code": 0, "msg": "Service unavailable from a restricted location according to 'b. Eligibility' in "
              "https://www.binance.com/en/terms. Please contact customer service if you believe you received this message in error."}
BAD_GATEWAY = ("<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
               "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n")
FORBIDDEN = ("<html>\r\n<head><title>403 Forbidden</title></head>\r\n<body>\r\n<center><h1>403 Forbidden</h1></center>\r\n"
             "</body>\r\n</html>\r\n")
MAINTENANCE = "<!DOCTYPE html><html><head><title>Maintenance</title></head><body>We will be back soon.</body></html>"
FAILURES: dict[FaultKind, dict[str, Any]] = {
    F.HTTP_500: {"code": -1000, "msg": "An unknown error occurred while processing the request."},
    F.HTTP_503: {"code": -1008, "msg": "Server is currently overloaded with other requests. Please try again in a few minutes."},
    F.HTTP_504: {"code": -1007, "msg": "Timeout waiting for response from backend server. Send status unknown; execution status unknown."},
}
NOT_A_MESSAGE = '{"e":"kline","E":"soon","k":["not","a","candle"]}'


def json_answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    sent = {"Content-Type": "application/json;charset=UTF-8", "Server": "nginx", **(headers or {})}
    return web.Response(body=orjson.dumps(body), status=status, headers=sent)


def _page(text: str, status: int) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html")


def tear(request: web.BaseRequest) -> None:
    """End the connection without another byte."""
    if request.transport is not None:
        request.transport.abort()


async def broken_answer(fault: Fault, request: web.BaseRequest, good: web.Response, now: int, elsewhere: str) -> web.StreamResponse:
    """What a fault makes of a good answer."""
    kind = fault.kind
    if kind in FAILURES:
        return json_answer(FAILURES[kind], int(kind))
    if kind is F.HTTP_429:
        return json_answer({"code": -1003, "msg": "Too much request weight used; current limit is 6000 request weight per 1 MINUTE. Please "
                            "use WebSocket Streams for live updates to avoid polling the API."}, 429, {"Retry-After": str(fault.amount)})
    if kind is F.HTTP_418:
        return json_answer({"code": -1003, "msg": f"Way too much request weight used; IP banned until {now + fault.amount * 1000}. Please "
                            "use WebSocket Streams for live updates to avoid bans."}, 418, {"Retry-After": str(fault.amount)})
    if kind is F.HTTP_451:
        return json_answer(RESTRICTED, 451)
    if kind is F.HTTP_403:
        return _page(FORBIDDEN, 403)
    if kind is F.HTTP_502:
        return _page(BAD_GATEWAY, 502)
    if kind is F.HTML:
        return _page(MAINTENANCE, 200)
    if kind is F.REDIRECT:
        return web.Response(status=302, headers={"Location": elsewhere})
    if kind is F.EMPTY:
        return web.Response(status=200, content_type="application/json")
    if kind is F.WRONG_SHAPE:
        return json_answer({"unexpected": True})
    body = good.body if isinstance(good.body, bytes) else b"{}"
    if kind is F.MALFORMED_JSON:
        return web.Response(body=body[: max(1, len(body) // 2)], content_type="application/json")
    if kind is F.TRUNCATED:
        answer = web.StreamResponse(headers={"Content-Length": str(len(body) + 64), "Content-Type": "application/json"})
        await answer.prepare(request)
        await answer.write(body[: max(1, len(body) // 2)])
        await asyncio.sleep(0.01)  # let the half arrive before the end does
        tear(request)
        return answer
    if kind is F.SLOW:
        await asyncio.sleep(fault.amount / 1000)
        return good
    if kind is F.HANG:
        await asyncio.sleep(fault.amount / 1000)
    tear(request)
    return good


def skewed(text: str, skew_ms: int) -> str:
    """A message whose event time is off."""
    return re.sub(r'"E":(\d+)', lambda found: f'"E":{int(found[1]) + skew_ms}', text) if skew_ms else text


async def broken_message(fault: Fault, connection: Connection, at: int, text: str) -> None:
    """Send, keep back or spoil one frame."""
    kind = fault.kind
    if kind is F.DELAY:
        connection.postpone(at + fault.amount, text)
    elif kind is F.DUPLICATE or kind is F.BURST:
        for _ in range(fault.amount + (1 if kind is F.DUPLICATE else 0)):
            await connection.text(text)
    elif kind is F.REORDER and connection.held is None:
        connection.held = text
    elif kind is F.MALFORM:
        await connection.text(text[: len(text) // 2])
    elif kind is F.WRONG_TYPE:
        await connection.text(NOT_A_MESSAGE)
    elif kind is F.BINARY:
        await connection.text(b"\x00\xff\xfe" + text[:20].encode())
