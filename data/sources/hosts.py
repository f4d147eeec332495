"""Where this program may look, frozen: exact hosts, exact paths, reading only. One function decides; nothing can widen it.

No setting, environment variable, file or argument adds an entry. Beside the list only loopback is allowed, for the simulated
exchange and the tests, and there only the same paths. A URL is judged as the text that will be sent, by one pattern that leaves
no room for two readings: no user part, no port, no escapes in the path, no `..`, ASCII only, lower-case host.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from data.errors import OutsideFence

API = "api.binance.com"
MIRROR = "data-api.binance.vision"
FAPI = "fapi.binance.com"
EAPI = "eapi.binance.com"
ARCHIVE = "data.binance.vision"

_SPOT_DATA_ONLY = frozenset(f"/api/v3/{name}" for name in (
    "aggTrades", "avgPrice", "depth", "exchangeInfo", "klines", "ping", "ticker", "ticker/24hr", "ticker/bookTicker",
    "ticker/price", "time", "trades"))
_FUTURES = frozenset(f"/fapi/v1/{name}" for name in (
    "aggTrades", "constituents", "continuousKlines", "depth", "exchangeInfo", "fundingInfo", "fundingRate", "indexPriceKlines",
    "insuranceBalance", "klines", "markPriceKlines", "openInterest", "ping", "premiumIndex", "premiumIndexKlines",
    "symbolAdlRisk", "ticker/24hr", "ticker/bookTicker", "time", "trades")) | {"/fapi/v2/ticker/price"} | frozenset(
    f"/futures/data/{name}" for name in (
        "basis", "globalLongShortAccountRatio", "openInterestHist", "takerlongshortRatio", "topLongShortAccountRatio",
        "topLongShortPositionRatio"))

# What each host may be asked, to the letter. The exchange's hosts also serve orders and accounts under other paths; those are
# not here, so they cannot be asked.
HOSTS: Mapping[str, frozenset[str]] = MappingProxyType({
    API: _SPOT_DATA_ONLY | {"/api/v3/historicalTrades", "/api/v3/ticker/tradingDay"},
    MIRROR: _SPOT_DATA_ONLY,
    FAPI: _FUTURES,
    EAPI: frozenset(f"/eapi/v1/{name}" for name in ("exchangeInfo", "index", "mark", "openInterest", "ping", "ticker", "time")),
    ARCHIVE: frozenset(),  # by pattern below
    "community-api.coinmetrics.io": frozenset({"/v4/timeseries/asset-metrics", "/v4/catalog-v2/asset-metrics"}),
    "stablecoins.llama.fi": frozenset({"/stablecoincharts/all", "/stablecoins", "/stablecoin/1", "/stablecoin/2"}),
    "api.alternative.me": frozenset({"/fng/"}),
    "mempool.space": frozenset({"/api/v1/fees/recommended", "/api/mempool", "/api/v1/mining/hashrate/1y",
                                "/api/v1/mining/hashrate/all"}),
    "api.blockchain.info": frozenset(f"/charts/{name}" for name in ("hash-rate", "market-price", "miners-revenue", "n-transactions")),
    "www.okx.com": frozenset(f"/api/v5/{name}" for name in (
        "market/ticker", "public/funding-rate", "public/funding-rate-history", "public/instruments", "public/liquidation-orders",
        "public/open-interest", "public/time", "rubik/stat/contracts/long-short-account-ratio",
        "rubik/stat/contracts/open-interest-volume", "rubik/stat/taker-volume")),
})

# A symbol of the archive: Binance's letters and digits, an underscore before a delivery date.
_SYMBOL = r"[A-Z0-9]{2,24}(?:_[0-9]{6})?"
_DAY = r"[0-9]{4}-[0-9]{2}(?:-[0-9]{2})?"
_SPAN = r"(?:1s|1m|3m|5m|15m|30m|1h|2h|4h|6h|8h|12h|1d|3d|1w|1mo)"
_ARCHIVE_PATH = re.compile(
    rf"/data/(?:spot|futures/um)/(?:daily|monthly)/(?:"
    rf"(?:klines|markPriceKlines|indexPriceKlines|premiumIndexKlines)/(?P<a>{_SYMBOL})/(?P<i>{_SPAN})/(?P=a)-(?P=i)-{_DAY}"
    rf"|(?P<kind>aggTrades|trades|metrics|fundingRate|bookDepth)/(?P<b>{_SYMBOL})/(?P=b)-(?P=kind)-{_DAY}"
    r")\.zip(?:\.CHECKSUM)?", re.ASCII)
_URL = re.compile(r"(?P<scheme>https?)://(?P<host>[a-z0-9][a-z0-9.-]*)(?::(?P<port>[1-9][0-9]{0,4}))?"
                  r"(?P<path>/[A-Za-z0-9_./-]*)(?:\?(?P<query>[A-Za-z0-9_.~%&=+,:*/-]*))?", re.ASCII)
_LONGEST = 2_000
LOOPBACK = "127.0.0.1"
# Query words that only signed or keyed requests carry.
_SIGNED = re.compile(r"(?:^|&)(?:signature|apikey|api_key|recvwindow|listenkey|x-mbx-apikey)(?:=|&|$)", re.IGNORECASE)


def allowed(method: str, url: str) -> str:
    """The host of a request that may be sent; the one place where this is decided.

    Raises
    ------
    OutsideFence
        For everything else. The message never repeats the query, which could hold a secret.
    """
    if method != "GET":
        raise OutsideFence(f"expected GET, got {method[:12]!r}; Sextant only reads, no order can be sent")
    if len(url) > _LONGEST:
        raise OutsideFence(f"the address has {len(url)} characters, at most {_LONGEST} are sent")
    found = _URL.fullmatch(url)
    if found is None:
        raise OutsideFence(f"{_shown(url)} is not an address of the frozen list (data/sources/hosts.py)")
    scheme, host, port, path = found["scheme"], found["host"], found["port"], found["path"]
    if _SIGNED.search(found["query"] or ""):
        raise OutsideFence(f"{_shown(url)} carries a key or signature; Sextant signs nothing")
    if host == LOOPBACK and scheme == "http" and port is not None and int(port) <= 65_535:
        if any(_on_list(name, path) for name in HOSTS):
            return f"{host}:{port}"
        raise OutsideFence(f"{_shown(url)}: the path is not one of those that are read, on loopback either")
    if scheme != "https" or port is not None or host not in HOSTS or not _on_list(host, path):
        raise OutsideFence(f"{_shown(url)} is not on the frozen list of hosts and paths (data/sources/hosts.py)")
    return host


def _on_list(host: str, path: str) -> bool:
    return path in HOSTS[host] or (host == ARCHIVE and _ARCHIVE_PATH.fullmatch(path) is not None)


def check_base(base: str, host: str) -> str:
    """A base address: the frozen one of `host`, or plain loopback with a port. Returns it without a slash at the end.

    Raises
    ------
    OutsideFence
        For any other text; this is the only way an address comes in from outside.
    """
    plain = base.rstrip("/")
    if plain == f"https://{host}" and host in HOSTS:
        return plain
    port = re.fullmatch(r"http://127\.0\.0\.1:([1-9][0-9]{0,4})", plain, re.ASCII)
    if port is None or int(port[1]) > 65_535:
        raise OutsideFence(f"expected https://{host} or http://127.0.0.1:PORT, got {_shown(base)}; other addresses cannot be set")
    return plain


def is_loopback(base: str) -> bool:
    return base.startswith(f"http://{LOOPBACK}:")


def _shown(url: str) -> str:
    return repr(url.split("?", 1)[0].split("#", 1)[0][:80])
