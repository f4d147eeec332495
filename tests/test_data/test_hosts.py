"""The frozen list: what is on it may be read, and nothing made to look like it."""

from __future__ import annotations

import os
import random

import pytest

from data.errors import OutsideFence
from data.sources.endpoints import Endpoints
from data.sources.hosts import ARCHIVE, HOSTS, allowed, check_base

GOOD = [f"https://{host}{path}" for host, paths in HOSTS.items() for path in sorted(paths)] + [
    f"https://{ARCHIVE}/data/spot/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-01.zip",
    f"https://{ARCHIVE}/data/futures/um/daily/metrics/BTCUSDT/BTCUSDT-metrics-2023-12-12.zip.CHECKSUM",
    f"https://{ARCHIVE}/data/futures/um/monthly/fundingRate/1000SHIBUSDT/1000SHIBUSDT-fundingRate-2022-02.zip",
    f"https://{ARCHIVE}/data/futures/um/monthly/klines/BTCUSDT_240927/1mo/BTCUSDT_240927-1mo-2024-01.zip",
    "https://api.binance.com/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime=1&limit=1000",
    "https://api.binance.com/api/v3/klines?symbol=%E5%B8%81USDT&interval=1m",
    "http://127.0.0.1:8080/api/v3/klines?symbol=BTCUSDT", "http://127.0.0.1:1/futures/data/basis?pair=BTCUSDT",
]


@pytest.mark.parametrize("url", GOOD)
def test_listed_address_is_allowed(url):
    assert allowed("GET", url) in url


def bypass_attempts(seed: int) -> list[str]:
    """At least 500 addresses that mean mischief: each trick on several good addresses."""
    rng = random.Random(seed)
    bases = ["api.binance.com", "fapi.binance.com", "data-api.binance.vision", "eapi.binance.com", "www.okx.com", "127.0.0.1:8080"]
    paths = ["/api/v3/klines", "/fapi/v1/klines", "/futures/data/basis", "/api/v3/time"]
    out: list[str] = []
    for host in bases:
        scheme = "http" if host.startswith("127") else "https"
        name = host.split(":")[0]
        for path in rng.sample(paths, 3):
            url = f"{scheme}://{host}{path}"
            evil = "evil.example"
            out += [
                # user part, port, trailing dot, case, look-alikes
                f"{scheme}://{host}@{evil}{path}", f"{scheme}://user:pass@{host}{path}", f"{scheme}://{evil}@{host}{path}",
                f"{scheme}://{name}:443@{evil}{path}", f"{scheme}://{name}.{path}", f"{scheme}://{name}.{evil}{path}",
                f"{scheme}://{evil}/{name}{path}", f"{scheme}://{name.upper()}x{path}", f"{scheme}://{name}%2e{evil}{path}",
                f"{scheme}://{name}\u3002{evil}{path}", f"{scheme}://{name}\uff0ecom{path}", f"{scheme}://x{name}{path}",
                f"{scheme}://{name.replace('a', chr(0x430), 1).replace('.', chr(0x2024), 1)}{path}", f"{scheme}://{name}:0{path}",
                f"{scheme}://{name}:99999{path}", f"{scheme}://{name}:80:80{path}", f"{scheme}://{name}\\@{evil}{path}",
                f"{scheme}:\\\\{name}{path}", f"{scheme}:/{name}{path}", f"{scheme}:{name}{path}", f"//{name}{path}", f" {url}", f"{url} ",
                f"{url}\n", f"{url}\r\nX-MBX-APIKEY: k", f"{url}\t", f"{url}\0", f"{url}#@{evil}", f"{url}#",
                # schemes
                f"ftp://{host}{path}", f"file://{path}", f"javascript://{host}{path}", f"HTTPS://{host}{path}", f"ws://{host}{path}",
                f"wss://{host}{path}", f"data:text/html,{path}", f"gopher://{host}{path}",
                # paths
                f"{url}/../order", f"{url}/..", f"{url}/.", f"{url}//", f"{url}/", f"{scheme}://{host}//{path[1:]}", f"{url}%2f..%2forder",
                f"{url};x", f"{url}%00", f"{scheme}://{host}/{path[1:].upper()}", f"{scheme}://{host}/x/..{path}",
                f"{scheme}://{host}{path}\u200b", f"{scheme}://{host}/%61pi/v3/klines", f"{scheme}://{host}/api/v3/order",
                f"{scheme}://{host}/sapi/v1/capital/withdraw/apply", f"{scheme}://{host}/fapi/v1/order", f"{scheme}://{host}/fapi/v2/account",
                f"{scheme}://{host}/api/v3/userDataStream", f"{scheme}://{host}", f"{scheme}://{host}?x=1", f"{scheme}://{host}\\api\\v3\\time",
                # queries that sign or split
                f"{url}?signature=00", f"{url}?a=1&signature=00", f"{url}?SIGNATURE=1", f"{url}?apiKey=k", f"{url}?recvWindow=5",
                f"{url}?a=<script>", f"{url}?a=1 b", f"{url}?a='--", f"{url}?listenKey=1", f"{url}?a={'x' * 3000}",
            ]
    out += [f"http://{host}/api/v3/klines" for host in (
        "localhost:80", "127.0.0.2:80", "127.1:80", "2130706433:80", "0x7f000001:80", "0177.0.0.1:80", "[::1]:80", "[::ffff:127.0.0.1]:80",
        "[::ffff:7f00:1]:80", "0.0.0.0:80", "127.0.0.1", "127.0.0.1.:80", "127.0.0.1:080", "169.254.169.254:80", "10.0.0.1:80",
                                                        "127.0.0.1:65536",
        "１２７.0.0.1:80", "127.0.0.1.evil.example:80", "api.binance.com", "api.binance.com:443")]
    out += [f"https://{host}/api/v3/klines" for host in (
        "127.0.0.1:8080", "api1.binance.com", "api.binance.us", "testnet.binance.vision", "dapi.binance.com", "www.binance.com",
        "api.binance.com.", "api..binance.com", "-api.binance.com", "", ".", "api.binance.com:443", "fapi.binance.com", "xn--binance-.com")]
    return out


def test_500_bypass_attempts_are_refused(seed):
    attempts = bypass_attempts(seed)
    assert len(set(attempts)) >= 500
    passed = []
    for url in attempts:
        try:
            allowed("GET", url)
        except OutsideFence:
            continue
        passed.append(url)
    assert passed == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "get", "GET ", "", "CONNECT"])
def test_only_get_is_allowed(method):
    with pytest.raises(OutsideFence, match="expected GET"):
        allowed(method, GOOD[0])


def test_refusal_does_not_repeat_the_query():
    with pytest.raises(OutsideFence) as caught:
        allowed("GET", "https://api.binance.com/api/v3/order?signature=SECRETSECRET")
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("base", ["https://evil.example", "http://api.binance.com", "https://api.binance.com:444", "http://127.0.0.1", "http://localhost:80",
                                  "http://127.0.0.1:80/x", "http://127.0.0.1:80@evil", "", "https://fapi.binance.com", "http://127.0.0.1:70000"])
def test_endpoint_other_than_frozen_or_loopback_is_refused(base):
    with pytest.raises(OutsideFence, match=r"other addresses cannot be set"):
        Endpoints(api=base)


def test_loopback_world_leaves_out_real_hosts():
    channels = Endpoints(api="http://127.0.0.1:9/", mirror="http://127.0.0.1:10").channels()
    assert sorted(channels) == ["api", "mirror"]
    assert channels["api"].base == "http://127.0.0.1:9"
    assert len(Endpoints().channels()) == 11 and not Endpoints().simulated


def test_environment_does_not_change_the_list(monkeypatch):
    for name in ("BINANCE_API_URL", "API_URL", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://evil.example:3128")
    assert Endpoints().api == "https://api.binance.com"
    assert check_base("https://api.binance.com/", "api.binance.com") == "https://api.binance.com"
    assert os.environ["HTTPS_PROXY"]


def test_list_holds_no_writing_path():
    words = ("order", "account", "withdraw", "transfer", "listenkey", "userdata", "leverage", "margin", "sapi", "papi", "dapi")
    suspicious = {path for paths in HOSTS.values() for path in paths if any(word in path.lower() for word in words)}
    assert suspicious == {"/futures/data/globalLongShortAccountRatio", "/futures/data/topLongShortAccountRatio",  # public statistics
                          "/api/v5/rubik/stat/contracts/long-short-account-ratio", "/api/v5/public/liquidation-orders"}
    with pytest.raises(TypeError):
        HOSTS["evil.example"] = frozenset()  # type: ignore[index]
