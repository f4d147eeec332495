"""No writing method of the exchange client sends a byte, and no helper of the HTTP library leads around the list."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import re
import socket
import subprocess
import sys
import textwrap
from urllib.parse import urlsplit

import httpx2
import pytest
from binance.client import Client

from data.clock import FixedClock
from data.errors import OutsideFence, SourceError
from data.sources.budget import Budget, Channel
from data.sources.client import FencedClient, fenced_client
from data.sources.hosts import HOSTS
from data.sources.transport import Transport
from tests.stub_http import Reply, stub_server
from tests.test_data.test_hosts import bypass_attempts

CLOCK = FixedClock(1_790_000_000_000)
# What a method that changes something looks like in the library's source, and its WebSocket API, which sends orders too.
_WRITING = re.compile(r"""["'](post|put|delete)["']|_post\(|_put\(|_delete\(|_ws_(futures_)?api_request""")


def transport() -> Transport:
    return Transport(Budget(None, CLOCK), CLOCK, sleep=lambda _s: None)


def writing_methods() -> list[str]:
    found = []
    for name, method in inspect.getmembers(Client, inspect.isfunction):
        if not name.startswith("_") and _WRITING.search(inspect.getsource(method)):
            found.append(name)
    return found


def arguments(method) -> dict:
    """Something for every required parameter, plus order-like words, so that the method gets as far as its request."""
    given = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "1", "orderId": 1, "asset": "BTC", "amount": "1",
             "coin": "BTC",
             "listenKey": "k", "timestamp": 1, "batchOrders": [{"symbol": "BTCUSDT", "side": "BUY"}]}
    parameters = inspect.signature(method).parameters.values()
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    required = {p.name: given.get(p.name, "1") for p in parameters
                if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return (given | required) if takes_any else required


def test_every_writing_method_is_refused_and_sends_no_byte():
    sent: list[object] = []
    armed = [False]

    def watch(event: str, args: tuple) -> None:
        if armed[0] and event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.sendmsg"):
            sent.append((event, args[1:]))

    sys.addaudithook(watch)
    names = writing_methods()
    assert len(names) >= 256, "the law covers too little: has the library changed?"
    with stub_server(Reply()) as stub:
        client = fenced_client(transport(), Channel("api", "Binance", stub.url), Channel("fapi", "Binance", stub.url),
                               Channel("eapi", "Binance", stub.url))
        armed[0] = True
        refused = 0
        try:
            for name in names:
                method = getattr(client, name)
                client.tld = "us" if name.endswith("_us") else "com"  # a region check of the library must not hide the fence's
                try:
                    answer = method(**arguments(method))
                    if inspect.iscoroutine(answer):
                        asyncio.run(answer)
                except OutsideFence:
                    refused += 1
                except (TypeError, KeyError, ValueError, AttributeError, AssertionError) as error:
                    raise AssertionError(f"{name} ended with {error!r} instead of the fence; give it better arguments") from error
        finally:
            armed[0] = False
        assert refused == len(names)
        assert stub.seen == []
    assert sent == []


def test_signed_reads_are_refused_too():
    client = fenced_client(transport(), Channel("api", "Binance", "http://127.0.0.1:9"), Channel("fapi", "Binance", "http://127.0.0.1:9"))
    for read in (client.get_account, client.futures_account, client.get_all_orders, client.futures_position_information,
                 client.get_my_trades):
        with pytest.raises(OutsideFence):
            read(symbol="BTCUSDT")


def test_session_websocket_and_signature_are_sealed():
    client = fenced_client(transport(), Channel("api", "Binance", "http://127.0.0.1:9"))
    for attempt in (lambda: client.session.get("http://127.0.0.1:9"), lambda: client.session.post("http://127.0.0.1:9"),
                    lambda: client.ws_api.request("1", {}), lambda: client._generate_signature({}), lambda: client._init_session(),
                    lambda: client._get("klines", data={"headers": {"X-MBX-APIKEY": "k"}}),
                    lambda: client._get("klines", data={"requests_params": {"proxies": {}}}), lambda: client._get("order"),
                    lambda: client._get("klines", signed=True), lambda: client._request("get", "https://evil.example/api/v3/klines",
                                                                                        False)):
        with pytest.raises(OutsideFence):
            attempt()


def test_addresses_changed_afterwards_lead_nowhere():
    client = fenced_client(transport(), Channel("api", "Binance", "http://127.0.0.1:9"))
    client.API_URL = "https://evil.example/api"
    with pytest.raises(OutsideFence):
        client.get_klines(symbol="BTCUSDT")
    client.testnet = True
    with pytest.raises(OutsideFence):
        client.get_klines(symbol="BTCUSDT")


def test_http_library_cannot_be_talked_into_anything(seed):
    """The library tidies some mischief into a listed address (a fragment, a port 443); whatever it makes of the text, only that
    address may leave. What leaves is judged here by another parser than the fence's."""
    way_out = transport()
    http = way_out._http
    left: list[httpx2.Request] = []

    def wire(request: httpx2.Request) -> httpx2.Response:
        left.append(request)
        return httpx2.Response(200, content=b"[]")

    http._transport._inner = httpx2.MockTransport(wire)
    attempts = 0
    for url in bypass_attempts(seed):
        attempts += 1
        for ask in (http.get, http.post) if attempts % 7 == 0 else (http.get,):
            with contextlib.suppress(OutsideFence, httpx2.InvalidURL, httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, ValueError):
                ask(url)
    for request in left:
        parts = urlsplit(str(request.url))
        assert request.method == "GET" and request.content == b"" and parts.username is None
        assert (parts.scheme, parts.port) in (("https", None), ("http", parts.port))
        assert parts.hostname in ("127.0.0.1", *HOSTS) and (parts.scheme == "https") == (parts.hostname != "127.0.0.1")
        listed = HOSTS[parts.hostname] if parts.scheme == "https" else set().union(*HOSTS.values())
        assert parts.path in listed
        assert request.headers["host"].split(":")[0] == parts.hostname
    assert len(left) < 60, "tidied mischief is rare"
    left.clear()
    for kind in ("POST", "PUT", "DELETE", "HEAD"):
        with pytest.raises(OutsideFence):
            http.request(kind, "https://api.binance.com/api/v3/klines")
    for extra in ({"headers": {"X-MBX-APIKEY": "k"}}, {"headers": {"Authorization": "x"}}, {"cookies": {"a": "b"}}, {"auth": ("a", "b")}):
        with pytest.raises(OutsideFence):
            http.get("https://api.binance.com/api/v3/klines", **extra)
    assert attempts >= 500
    assert left == []


def test_requests_carry_no_key_and_no_cookie():
    with stub_server(Reply(b"[]", headers=(("set-cookie", "id=1"),))) as stub:
        way_out = transport()
        channel = Channel("api", "Binance", stub.url)
        for _ in range(2):
            assert way_out.get(channel, "/api/v3/klines", {"symbol": "BTCUSDT"}).body == b"[]"
    assert stub.seen[0][0] == "GET"
    for _, _, headers in stub.seen:
        assert set(headers) == {"host", "accept", "accept-encoding", "connection", "user-agent"}, "no key, no cookie sent back"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(status):
    with stub_server(Reply()) as elsewhere, stub_server(Reply(b"", status, (("location", f"{elsewhere.url}/api/v3/klines"),))) as stub:
        with pytest.raises(SourceError, match="redirects are not followed"):
            transport().get(Channel("api", "Binance", stub.url), "/api/v3/klines")
        assert elsewhere.seen == []
        assert len(stub.seen) == 1


def test_proxy_variables_are_ignored():
    """In a process of its own, with every proxy variable set before anything is imported."""
    with stub_server(Reply(b"[]")) as stub, stub_server(Reply()) as proxy:
        code = textwrap.dedent(f"""
            from data.clock import FixedClock
            from data.sources.budget import Budget, Channel
            from data.sources.client import fenced_client
            from data.sources.transport import Transport
            clock = FixedClock(1790000000000)
            client = fenced_client(Transport(Budget(None, clock), clock), Channel("api", "Binance", "{stub.url}"))
            assert client.get_klines(symbol="BTCUSDT") == []
        """)
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
        environment = {k: v for k, v in os.environ.items() if k.lower() != "no_proxy"} | dict.fromkeys(names, proxy.url)
        subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=60)
        assert len(stub.seen) == 1
        assert proxy.seen == []


def test_client_has_no_other_constructor_in_the_house():
    from pathlib import Path

    root = Path(__file__).resolve().parents[2]
    found = [str(path.relative_to(root)) for folder in ("app.py", "core", "pages", "models", "analysis", "data")
             for path in ([root / folder] if folder.endswith(".py") else (root / folder).rglob("*.py"))
             if re.search(r"\b(Client|AsyncClient|HTTPTransport|requests\.|urlopen|aiohttp\.ClientSession)\(",
                          path.read_text(encoding="utf-8"))]
    inside = ("data/sources/", "data/streams/", "core/assistant/endpoint.py")  # the last: a fence of its own, see test_assistant_injection
    assert [name for name in found if not name.startswith(inside)] == []
    assert issubclass(FencedClient, Client)


def test_audit_of_this_suite_sees_sockets():
    """The tests above count on the hook: it must notice a plain connection."""
    seen = []
    armed = [True]
    sys.addaudithook(lambda event, args: seen.append(args) if armed[0] and event == "socket.connect" else None)
    with stub_server(Reply()) as stub, socket.create_connection(("127.0.0.1", int(stub.url.rsplit(":", 1)[1]))):
        pass
    armed[0] = False
    assert seen
