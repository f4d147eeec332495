"""Every way an answer can be bad, over real sockets: which error, how often it was tried, what the user reads."""

from __future__ import annotations

import json
import socket
import threading

import pytest

from data.clock import FixedClock, SystemClock
from data.errors import (
    BadPayload,
    BadTime,
    Blocked,
    NotOffered,
    OutsideFence,
    RateLimited,
    SourceDown,
    SourceError,
    UnknownInterval,
    UnknownSymbol,
)
from data.sources.budget import Budget, Channel
from data.sources.transport import Transport, address, error_of
from tests.stub_http import Reply, stub_server

CLOCK = FixedClock(1_790_000_000_000)


def ask(url: str, *, timeout_s: float = 5.0):
    slept: list[float] = []
    transport = Transport(Budget(None, CLOCK), CLOCK, sleep=slept.append, timeout_s=timeout_s)
    try:
        return transport.json(Channel("api", "Binance", url), "/api/v3/klines", {"symbol": "BTCUSDT"}), slept
    finally:
        transport.close()


@pytest.mark.parametrize(("reply", "error", "tries", "words"), [
    (Reply(b'{"code":0,"msg":"Service unavailable from a restricted location"}', 451), Blocked, 1,
     "not available from this server's country"),
    (Reply(b"<html>forbidden</html>", 403), Blocked, 1, "firewall refuses this server"),
    (Reply(b"{}", 429, (("retry-after", "5"),)), RateLimited, 1, "asks us to wait until"),
    (Reply(b"{}", 418), RateLimited, 1, "asks us to wait until"),
    (Reply(b'{"code":-1003,"msg":"Too many requests"}', 400), RateLimited, 1, "asks us to wait until"),
    (Reply(b"<html>502 Bad Gateway</html>", 502), SourceDown, 3, "is in trouble (502"),
    (Reply(b'{"code":-1008,"msg":"Server is busy"}', 503), SourceDown, 3, "Server is busy"),
    (Reply(b"", 504), SourceDown, 3, "(504: an empty body)"),
    (Reply(b"[[1,2", promised=4000), SourceDown, 3, "cut its answer short"),
    (Reply(b"<html>maintenance</html>"), BadPayload, 2, "not JSON: '<html>maintenance</html>'"),
    (Reply(b""), BadPayload, 2, "not JSON: an empty body"),
    (Reply(b"[" * 100_000), BadPayload, 2, "not JSON"),
    (Reply(b"\x1f\x8bxx", headers=(("content-encoding", "gzip"),)), BadPayload, 3, "cannot be unpacked"),
    (Reply(b'{"code":-1121,"msg":"Invalid symbol."}', 400), UnknownSymbol, 1, "does not know this symbol"),
    (Reply(b'{"code":-1120,"msg":"Invalid interval."}', 400), UnknownInterval, 1, "does not have this interval"),
    (Reply(b'{"code":-1130,"msg":"parameter \'startTime\' is invalid."}', 400), BadTime, 1, "does not reach back that far"),
    (Reply(b'{"code":-2014,"msg":"API-key format invalid."}', 401), NotOffered, 1, "asks for a key"),
    (Reply(b"", 404), NotOffered, 1, "does not have this (404)"),
    (Reply(b"", 302, (("location", "https://evil.example/"),)), NotOffered, 1, "redirects are not followed"),
    (Reply(b'{"code":-1100,"msg":"Illegal characters"}', 400), NotOffered, 1, "Illegal characters"),
], ids=lambda value: value.__name__ if isinstance(value, type) else "")
def test_bad_answer(reply, error, tries, words):
    with stub_server(reply) as stub:
        with pytest.raises(error) as caught:
            ask(stub.url)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)
        assert len(stub.seen) == tries


def test_trouble_that_passes_is_not_seen():
    replies = iter([Reply(b"", 502), Reply(b"{", promised=99), Reply(b"[1]")])
    with stub_server(lambda _path: next(replies)) as stub:
        assert ask(stub.url) == ([1], [0.5, 1.5])


def test_refused_connection_and_silence():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        with pytest.raises(SourceDown, match="cannot be reached"):
            ask(f"http://127.0.0.1:{port}")
        listener.listen()  # accepts, and never answers
        with pytest.raises(SourceDown, match="did not answer in time"):
            ask(f"http://127.0.0.1:{port}", timeout_s=0.1)


def test_an_answer_that_drips_is_given_up():
    """Never silent for long enough to time out, and never at its end: such a line must not hold a thread for ever."""
    over = threading.Event()

    def drip(listener: socket.socket) -> None:
        line, _ = listener.accept()
        with line:
            line.recv(10_000)
            line.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
            try:
                while not over.wait(0.02):
                    line.sendall(b"x")
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        dripping = threading.Thread(target=drip, args=(listener,), daemon=True)
        dripping.start()
        transport = Transport(Budget(None, SystemClock()), SystemClock(), timeout_s=2.0, longest_answer_s=0.2)
        try:
            with pytest.raises(SourceDown, match="too slowly"):
                transport.get(Channel("api", "Binance", f"http://127.0.0.1:{listener.getsockname()[1]}"), "/api/v3/time", attempts=1)
        finally:
            over.set()
            transport.close()
            dripping.join(5)


def test_recorded_errors(recordings):
    channel = Channel("api", "Binance", "https://api.binance.com")
    expected = {"http400_-1121_invalid_symbol.json": (400, UnknownSymbol), "http502_bad_gateway.html": (502, SourceDown),
                "-2014_api_key_format_invalid.json": (401, NotOffered), "-2015_invalid_key_ip_permissions_spot.json": (401, NotOffered),
                "-2015_with_request_ip.json": (401, NotOffered), "wapi_v3_systemStatus_maintenance.json": (503, SourceDown),
                "http400_papi_maxBorrowable_0G.json": (400, NotOffered)}
    folder = recordings / "responses/recorded/errors"
    for name, (status, error) in expected.items():
        assert type(error_of(channel, status, (folder / name).read_text())) is error, name
    learned = {"http429_-1003_too_much_weight.json", "http418_-1003_ip_banned.json", "http451_restricted_location.json"}
    assert {path.name for path in folder.iterdir()} == expected.keys() | learned


def test_recorded_headers_carry_the_weight(recordings):
    for path in sorted((recordings / "responses/recorded/headers").iterdir()):
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in path.read_text().splitlines()[1:])}
        budget = Budget(None, CLOCK)
        channel = Channel("api", "Binance", "https://api.binance.com", 6000)
        budget.succeeded(channel, headers, 1.0)
        assert budget.state(channel).used_weight == int(headers.get("x-mbx-used-weight-1m", 0)), path.name


def test_address_encodes_and_leaves_nothing_out():
    assert address("https://a", "/p", {"symbol": "币USDT", "limit": 5, "after": None}) == "https://a/p?symbol=%E5%B8%81USDT&limit=5"
    assert address("https://a", "/p", {"x": "a&b=c/../d e"}) == "https://a/p?x=a%26b%3Dc%2F..%2Fd%20e"


def test_weird_symbol_stays_inside_its_parameter():
    with stub_server(Reply(b"[]")) as stub:
        transport = Transport(Budget(None, CLOCK), CLOCK)
        transport.json(Channel("api", "Binance", stub.url), "/api/v3/klines", {"symbol": "X&interval=1m#/../order?signature=1"})
        assert stub.paths == ["/api/v3/klines?symbol=X%26interval%3D1m%23%2F..%2Forder%3Fsignature%3D1"]
        with pytest.raises(OutsideFence):
            transport.json(Channel("api", "Binance", stub.url), "/api/v3/klines", {"signature": "1"})


def test_error_tree_is_one_line_each():
    for error in (RateLimited("x", host="h", retry_at_ms=5), Blocked("x", host="h"), SourceDown("x"), BadPayload("x"), NotOffered("x")):
        assert isinstance(error, SourceError) and error.exit_code == 1
    assert json.dumps({"retry": RateLimited("x", retry_at_ms=5).retry_at_ms}) == '{"retry": 5}'
