"""REST as Binance speaks it: parameters, weights, limits, errors. The endpoints themselves stand in venue_spot and venue_futures."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from data.market import Market
from data.simulator.venue_hosts import Host
from data.simulator.venue_market import VenueMarket

WEIGHT_LIMIT = {Host.API: 6_000, Host.MIRROR: 6_000, Host.FAPI: 2_400, Host.EAPI: 400}
COUNTED = {"data": (1_000, 300_000), "funding": (500, 300_000), "connect": (300, 300_000)}  # requests, window in ms
IGNORED_BEFORE_BAN = 20  # requests sent into a 429 before it becomes a 418
BAN_MS = 120_000
_LEGAL = re.compile(r"^[\w.\-]{1,40}$", re.UNICODE)


class ApiError(Exception):
    """An error Binance would answer."""

    def __init__(self, code: int, msg: str, status: int = 400, headers: dict[str, str] | None = None) -> None:
        super().__init__(msg)
        self.code, self.msg, self.status, self.headers = code, msg, status, headers or {}

    def body(self) -> dict[str, Any]:
        return {"code": self.code, "msg": self.msg}


def invalid_symbol() -> ApiError:
    return ApiError(-1121, "Invalid symbol.")


def missing(name: str) -> ApiError:
    return ApiError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


@dataclass
class Query:
    """The parameters of one request. What is read is remembered: spot refuses what it has not read (-1104)."""

    market: VenueMarket
    side: Market
    sent: dict[str, str]
    now: int
    read: set[str] = field(default_factory=set)

    def text(self, name: str, default: str | None = None) -> str | None:
        self.read.add(name)
        value = self.sent.get(name)
        if value is None:
            return default
        if value == "":
            raise ApiError(-1105, f"Parameter '{name}' was empty.")
        return value

    def required(self, name: str) -> str:
        value = self.text(name)
        if value is None:
            raise missing(name)
        return value

    def integer(self, name: str, default: int | None = None) -> int | None:
        value = self.text(name)
        if value is None:
            return default
        if not re.fullmatch(r"-?\d{1,18}", value):
            raise ApiError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.")
        return int(value)

    def limit(self, default: int, most: int) -> int:
        """Spot cuts a limit to its maximum, futures refuse it."""
        value = self.integer("limit", default)
        assert value is not None
        if value < 1 or (value > most and self.side is Market.PERP):
            raise ApiError(-1130, "Data sent for parameter 'limit' is not valid.")
        return min(value, most)

    def choice(self, name: str, known: tuple[str, ...], error: ApiError) -> str:
        value = self.required(name)
        if value not in known:
            raise error
        return value

    def symbol(self, name: str = "symbol") -> str:
        value = self.required(name)
        if not _LEGAL.match(value):
            raise ApiError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[\\w\\-._&&[^a-z]]{{1,50}}$'.")
        if value not in self.market.listed:
            raise invalid_symbol()
        return value

    def symbols(self) -> list[str] | None:
        """The `symbols` array; None when neither it nor `symbol` was sent, and both together are refused."""
        listed = self.text("symbols")
        if listed is None:
            return None
        if "symbol" in self.sent:
            raise ApiError(-1128, "Combination of optional parameters invalid. Recommendation: 'symbol' or 'symbols', not both.")
        try:
            names = json.loads(listed)
            assert isinstance(names, list) and names and all(isinstance(n, str) for n in names) and " " not in listed
        except (ValueError, AssertionError):
            raise ApiError(-1100, "Illegal characters found in parameter 'symbols'; legal range is "
                                  "'^\\[(\"[A-Z0-9-_.]{1,20}\"(,\"[A-Z0-9-_.]{1,20}\"){0,}){0,1}\\]$'.") from None
        if any(n not in self.market.listed for n in names):
            raise invalid_symbol()
        return names

    def times(self) -> tuple[int | None, int | None]:
        start, end = self.integer("startTime"), self.integer("endTime")
        for name, value in (("startTime", start), ("endTime", end)):
            if value is not None and value < 0:
                raise ApiError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.")
        if start is not None and end is not None and start > end and self.side is Market.PERP:
            raise ApiError(-1023, "Start time is greater than end time.")
        return start, end

    def refuse_unread(self) -> None:
        if self.side is Market.SPOT and set(self.sent) - self.read:
            raise ApiError(-1104, f"Not all sent parameters were read; read '{len(self.read & set(self.sent))}' parameter(s) but was "
                                  f"sent '{len(self.sent)}'.")


@dataclass(frozen=True)
class Endpoint:
    """One path: what answers it, what it weighs, which limiter counts it, which hosts serve it."""

    answer: Callable[[Query], Any]
    weight: Callable[[Query], int]
    hosts: frozenset[Host]
    limiter: str = "weight"  # or a name of COUNTED


@dataclass
class Limits:
    """Counters of one host. The window is the venue's minute, so a virtual clock frees a client as soon as it moves on."""

    host: Host
    scale: float = 1.0
    minute: int = -1
    used: int = 0
    ignored: int = 0
    banned_until: int = 0
    requests: dict[str, list[int]] = field(default_factory=dict)

    def charge(self, weight: int, limiter: str, now: int) -> None:
        """Count a request or refuse it.

        Raises
        ------
        ApiError
            429 with Retry-After over the limit; 418 when the client goes on sending into it.
        """
        if now < self.banned_until:
            raise self._banned(now)
        if limiter != "weight":
            self._count(limiter, now)
        if now // 60_000 != self.minute:
            self.minute, self.used, self.ignored = now // 60_000, 0, 0
        limit = int(WEIGHT_LIMIT.get(self.host, 6_000) * self.scale)
        self.used += weight
        if self.used > limit:
            self._refuse(now, 60_000 - now % 60_000, f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE. "
                         "Please use WebSocket Streams for live updates to avoid polling the API.")

    def _count(self, limiter: str, now: int) -> None:
        limit, window = COUNTED[limiter]
        limit = int(limit * self.scale)
        times = [t for t in self.requests.get(limiter, []) if t > now - window]
        self.requests[limiter] = times
        if len(times) >= limit:
            self._refuse(now, times[0] + window - now, f"Too many requests; current limit of IP is {limit} requests per 5 minute. "
                         "Please use the websocket for live updates to avoid polling the API.")
        times.append(now)

    def _refuse(self, now: int, wait_ms: int, msg: str) -> None:
        self.ignored += 1
        if self.ignored > IGNORED_BEFORE_BAN:
            self.banned_until = now + BAN_MS
            raise self._banned(now)
        raise ApiError(-1003, msg, 429, {"Retry-After": str(-(-wait_ms // 1000))})

    def _banned(self, now: int) -> ApiError:
        return ApiError(-1003, f"Way too much request weight used; IP banned until {self.banned_until}. Please use WebSocket Streams for "
                               "live updates to avoid bans.", 418, {"Retry-After": str(-(-(self.banned_until - now) // 1000))})
