"""The one way out: a fenced GET. Every byte this program sends to an exchange or a data vendor goes through `Transport.get`.

The fence is asked twice: before a request is counted, and at the very end, in the layer that would open the connection, about the
request as it stands there. So no helper of the HTTP library (post, redirects, proxies, cookies, a base address) can lead around
it. Answers become bytes or an error of the SourceError tree; nothing else comes out.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import quote, urlencode

import httpx2 as httpx

from data.errors import (
    BadPayload,
    BadTime,
    InputError,
    NotOffered,
    OutsideFence,
    SourceDown,
    UnknownInterval,
    UnknownSymbol,
)
from data.sources.budget import Budget, Channel
from data.sources.hosts import allowed

TIMEOUT_S = 10.0  # of silence
LONGEST_ANSWER_S = 600.0  # altogether: a line that drips a byte every few seconds is never silent
ATTEMPTS = 3
BACKOFF_S = (0.5, 1.5)
LARGEST_BYTES = 64 << 20  # a monthly archive of 1m candles has 3 MB, of aggregated trades several hundred: not read this way
_AGENT = "Sextant (public market data only)"
_HEADERS_SENT = {"host", "accept", "accept-encoding", "connection", "user-agent"}

Params = Mapping[str, str | int | None]


@dataclass(frozen=True)
class Answer:
    """A 200 with a whole body. `sent_ms` is our clock right before sending."""

    body: bytes
    headers: Mapping[str, str]
    sent_ms: int
    latency_ms: float


@cache
def _certificates() -> ssl.SSLContext:
    """The system's authorities; reading them takes longer than anything else here, so once."""
    return ssl.create_default_context()


class _Fence(httpx.BaseTransport):
    """The last layer before a socket: asks the list about the request as it will be sent."""

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self._inner = inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = str(request.url)
        allowed(request.method, url)
        sent_to = f"{request.url.raw_scheme.decode()}://{request.url.raw_host.decode()}"
        if not url.startswith(sent_to) or request.content:
            raise OutsideFence("a request carried a body or would have gone elsewhere than its address says")
        foreign = {name.lower() for name in request.headers} - _HEADERS_SENT
        if foreign:
            raise OutsideFence(f"a request carried the headers {', '.join(sorted(foreign))[:80]}; only plain reading is sent")
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


class Transport:
    """GET and nothing else, within the budget, retried where retrying helps.

    Parameters
    ----------
    budget : Budget
        Shared by everything that uses this transport.
    sleep : callable
        Waits between tries; injected by tests.
    """

    def __init__(self, budget: Budget, clock: Any, *, sleep: Callable[[float], None] = time.sleep, timeout_s: float = TIMEOUT_S,
                 longest_answer_s: float = LONGEST_ANSWER_S) -> None:
        self.budget = budget
        self.clock = clock
        self._sleep = sleep
        self._longest_answer_s = longest_answer_s
        self._local = threading.local()
        # trust_env is off in both: no proxy variable, no .netrc, no certificate variable can change where or how we connect.
        inner = httpx.HTTPTransport(verify=_certificates(), trust_env=False,
                                    limits=httpx.Limits(max_connections=16, max_keepalive_connections=8))
        self._http = httpx.Client(transport=_Fence(inner), trust_env=False, follow_redirects=False, timeout=timeout_s,
                                  cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=())),
                                  headers={"user-agent": _AGENT, "accept": "application/json, */*"})

    def close(self) -> None:
        self._http.close()

    @contextmanager
    def single_try(self) -> Iterator[None]:
        """Requests of this thread are tried once: for probes, which must not linger."""
        self._local.once = True
        try:
            yield
        finally:
            self._local.once = False

    def get(self, channel: Channel, path: str, params: Params | None = None, *, weight: int = 1, limiter: str = "",
            attempts: int = ATTEMPTS) -> Answer:
        """
        Raises
        ------
        OutsideFence
            The address is not on the list.
        SourceError, InputError
            No usable answer came; the class says what to do (data/errors.py).
        """
        url = address(channel.base, path, params)
        allowed("GET", url)
        attempts = 1 if getattr(self._local, "once", False) else attempts
        for attempt in range(attempts):
            self.budget.admit(channel, weight, limiter)
            try:
                answer = self._once(channel, url)
            except (SourceDown, BadPayload) as error:
                self.budget.failed(channel, str(error))
                if attempt == attempts - 1:
                    raise
                self._sleep(BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)])
                continue
            self.budget.succeeded(channel, answer.headers, answer.latency_ms)
            return answer
        raise SourceDown(f"{channel.vendor} was not asked: no try was allowed", host=channel.host)

    def json(self, channel: Channel, path: str, params: Params | None = None, *, weight: int = 1, limiter: str = "") -> Any:
        """The decoded answer; a body that is not JSON is tried again, then a BadPayload."""
        for attempt in range(2):
            answer = self.get(channel, path, params, weight=weight, limiter=limiter)
            try:
                return json.loads(answer.body)
            except (ValueError, RecursionError):
                words = f"{channel.vendor} answered {path} with something that is not JSON: {_head(answer.body)}"
                self.budget.failed(channel, words)
                if attempt:
                    raise BadPayload(words, host=channel.host) from None
                self._sleep(BACKOFF_S[0])
        raise BadPayload(f"{channel.vendor}: no answer", host=channel.host)

    def _once(self, channel: Channel, url: str) -> Answer:
        began, sent = time.perf_counter(), self.clock.now_ms()
        try:
            with self._http.stream("GET", url) as response:
                body = bytearray()
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > LARGEST_BYTES:
                        raise BadPayload(f"{channel.vendor} sent more than {LARGEST_BYTES >> 20} MiB; not read", host=channel.host)
                    if time.perf_counter() - began > self._longest_answer_s:
                        raise SourceDown(f"{channel.vendor} ({channel.host}) sent its answer too slowly; given up after "
                                         f"{self._longest_answer_s:g} s", host=channel.host)
                headers = {name.lower(): value for name, value in response.headers.items()}
                status = response.status_code
        except httpx.TimeoutException:
            raise SourceDown(f"{channel.vendor} ({channel.host}) did not answer in time", host=channel.host) from None
        except httpx.RemoteProtocolError:
            raise SourceDown(f"{channel.vendor} ({channel.host}) cut its answer short", host=channel.host) from None
        except (httpx.DecodingError, httpx.StreamError) as error:
            raise BadPayload(f"{channel.vendor} sent a body that cannot be unpacked ({type(error).__name__})", host=channel.host) from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise SourceDown(f"{channel.vendor} ({channel.host}) cannot be reached ({type(error).__name__})", host=channel.host) from None
        if status == 200:
            return Answer(bytes(body), headers, sent, (time.perf_counter() - began) * 1000)
        raise self._error(channel, status, headers, body, (time.perf_counter() - began) * 1000)

    def _error(self, channel: Channel, status: int, headers: Mapping[str, str], body: bytearray, latency_ms: float) -> Exception:
        text = bytes(body[:4000]).decode("utf-8", "replace")
        if status in (429, 418) or _binance_error(text)[0] == -1003:
            return self.budget.limited(channel, status, headers, text)
        if status in (451, 403):
            return self.budget.refused(channel, status)
        error = error_of(channel, status, text)
        if isinstance(error, NotOffered | InputError):  # the host is well, it only does not have this
            self.budget.succeeded(channel, headers, latency_ms)
        return error


def error_of(channel: Channel, status: int, text: str) -> Exception:
    """The error of an answer that is neither 200 nor a limit nor a block.

    Returns an InputError where the request itself is wrong, so that nobody tries it again or asks the next source in vain.
    """
    code, message = _binance_error(text)
    if 300 <= status < 400:
        return NotOffered(f"{channel.vendor} wants to send us elsewhere ({status}); redirects are not followed", host=channel.host)
    if code == -1121:
        return UnknownSymbol(f"{channel.vendor} does not know this symbol")
    if code == -1120:
        return UnknownInterval(f"{channel.vendor} does not have this interval")
    if code == -1130:
        return BadTime(f"{channel.vendor} does not reach back that far ({message[:80]})")
    if status == 401 or code in (-2014, -2015):
        return NotOffered(f"{channel.vendor} asks for a key here; Sextant sends none", host=channel.host)
    if status == 404:
        return NotOffered(f"{channel.vendor} does not have this (404)", host=channel.host)
    if status >= 500 or status == 408 or code in (-1001, -1007, -1008):
        return SourceDown(f"{channel.vendor} ({channel.host}) is in trouble ({status}: {message[:80] or _head(text.encode())})",
                          host=channel.host)
    return NotOffered(f"{channel.vendor} refused the request ({status}: {message[:120] or _head(text.encode())})", host=channel.host)


def _binance_error(text: str) -> tuple[int, str]:
    try:
        found = json.loads(text)
        return int(found["code"]), " ".join(str(found.get("msg", "")).split())
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return 0, ""


def address(base: str, path: str, params: Params | None = None) -> str:
    """The full address. Values are UTF-8 and percent-encoded; None is left out; order is kept."""
    given = {name: value for name, value in (params or {}).items() if value is not None}
    query = urlencode(given, quote_via=quote, safe=",:")
    return f"{base}{path}?{query}" if query else f"{base}{path}"


def _head(body: bytes) -> str:
    text = " ".join(body[:160].decode("utf-8", "replace").split())
    return repr(text[:60]) if text else "an empty body"

