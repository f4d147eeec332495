"""Where a stream may be opened, frozen: exact hosts, ports and paths of market data. Same decision as data/sources/hosts.py.

No user streams are here (they need a listen key) and no proxy is ever used. Beside the list only plain loopback is allowed, for
the simulated exchange and the tests. Futures streams are routed since 2026-04-23: books under /public, everything else under
/market; the un-routed base would accept a subscription and stay silent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from data.errors import OutsideFence
from data.market import Market
from data.streams.messages import stream_head

SPOT = "wss://stream.binance.com:9443"
SPOT_443 = "wss://stream.binance.com:443"
SPOT_DATA_ONLY = "wss://data-stream.binance.vision"
FUTURES_PUBLIC = "wss://fstream.binance.com/public"
FUTURES_MARKET = "wss://fstream.binance.com/market"

BASES = frozenset({SPOT, SPOT_443, SPOT_DATA_ONLY, FUTURES_PUBLIC, FUTURES_MARKET})
_LOOPBACK = re.compile(r"ws://127\.0\.0\.1:(?P<port>[1-9][0-9]{0,4})(?P<route>/public|/market)?", re.ASCII)
_PATHS = ("/stream", "/ws")
_PUBLIC_HEADS = frozenset({"bookTicker", "!bookTicker", "depth", "depth5", "depth10", "depth20", "rpiDepth"})
# Lower-case symbol in any script (spot and futures list non-ASCII ones), the kind, at most three parameters.
_STREAM = re.compile(r"(?:![A-Za-z]{3,20}|[^\W_A-Z]{2,40}(?:_[a-z0-9]{1,12})?)(?:@[A-Za-z0-9_+:]{1,24}){0,3}")


def allowed(url: str) -> str:
    """The address itself, when a stream may be opened there; the one place where this is decided.

    Raises
    ------
    OutsideFence
        For everything else.
    """
    for path in _PATHS:
        if url.endswith(path) and (url[: -len(path)] in BASES or _is_loopback(url[: -len(path)])):
            return url
    raise OutsideFence(f"{url[:80]!r} is not on the frozen list of stream addresses (data/streams/hosts.py)")


def check_base(base: str) -> str:
    """A base address: one of `BASES`, or plain loopback with a port. Returns it without a slash at the end.

    Raises
    ------
    OutsideFence
        For any other text.
    """
    plain = base.removesuffix("/")
    allowed(f"{plain}/stream")
    return plain


def is_loopback(base: str) -> bool:
    return _is_loopback(base)


def _is_loopback(base: str) -> bool:
    found = _LOOPBACK.fullmatch(base)
    return found is not None and int(found["port"]) <= 65_535


def check_stream(name: str) -> str:
    """A stream's name as it may be asked for.

    Raises
    ------
    OutsideFence
        When it is not `symbol@kind…` or `!kind@…`, in lower case before the @.
    """
    if not _STREAM.fullmatch(name):
        raise OutsideFence(f"expected a stream such as btcusdt@kline_1m, got {name[:60]!r}")
    return name


def route(market: Market, streams: Iterable[str], *, spot: str = SPOT_DATA_ONLY, futures: str = "wss://fstream.binance.com"
          ) -> dict[str, tuple[str, ...]]:
    """Which streams to open at which base: futures books and trades need two connections.

    >>> route(Market.PERP, ["btcusdt@depth@100ms", "btcusdt@aggTrade"])["wss://fstream.binance.com/public"]
    ('btcusdt@depth@100ms',)
    """
    parts: dict[str, list[str]] = {}
    for name in dict.fromkeys(streams):
        if market is Market.SPOT:
            base = spot
        else:
            base = f"{futures}/{'public' if stream_head(check_stream(name)) in _PUBLIC_HEADS else 'market'}"
        parts.setdefault(check_base(base), []).append(check_stream(name))
    return {base: tuple(names) for base, names in parts.items()}
