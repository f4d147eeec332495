"""The one python-binance client: its names for endpoints, our transport under them (decisions.md 10, 11).

The library's own networking is sealed: its one request method is replaced, its HTTP session and its WebSocket API are objects that
refuse, and no key can be given. A writing method of the library therefore ends here, before any byte.
"""

from __future__ import annotations

from typing import Any, NoReturn
from urllib.parse import urlsplit

from binance.client import Client

from data.errors import OutsideFence
from data.sources.budget import Channel
from data.sources.transport import Transport

_REFUSED = "Sextant only reads public data; no order, transfer or signed request can be sent"


class _Sealed:
    """Stands where the library keeps its session and WebSocket API."""

    def __getattr__(self, name: str) -> NoReturn:
        raise OutsideFence(f"{_REFUSED} (asked for {name[:40]})")


class FencedClient(Client):
    """python-binance whose every request is `Transport.get`, or is refused.

    Never constructed directly: `fenced_client` sets the addresses as class attributes of a subclass first.
    """

    CHANNELS: tuple[Channel, ...] = ()

    def __init__(self, transport: Transport) -> None:
        # The library's constructor is not called: it opens an HTTP session, builds two WebSocket clients, creates an event loop in
        # whatever thread it runs and pings the exchange. Only the attributes its request helpers read are set.
        self._transport = transport
        self.tld, self.verbose, self.testnet, self.demo = "com", False, False, False
        self.API_KEY = self.API_SECRET = self.PRIVATE_KEY = self.TIME_UNIT = self._requests_params = None
        self._is_rsa, self.timestamp_offset, self.response, self.loop = False, 0, None, None
        self.session = self.ws_api = self.ws_future = _Sealed()

    def close_connection(self) -> None:
        """Nothing to close: the transport is the aggregator's."""

    def _request(self, method: str, uri: str, signed: bool, force_params: bool = False, **kwargs: Any) -> Any:
        """The library's single way to the network, replaced.

        Raises
        ------
        OutsideFence
            For anything but an unsigned GET of a listed path.
        """
        if method.lower() != "get" or signed:
            raise OutsideFence(f"{_REFUSED} ({method.upper()[:8]} {urlsplit(uri).path[:60]})")
        params = dict(kwargs.pop("data", None) or {})
        weight, limiter = params.pop("_weight", 1), params.pop("_limiter", "")
        if kwargs.keys() - {"params"} or kwargs.get("params"):
            raise OutsideFence(f"{_REFUSED} (unexpected request options)")
        for name, value in params.items():
            if not isinstance(value, str | int) or isinstance(value, bool):
                raise OutsideFence(f"{_REFUSED} (parameter {name[:20]!r} is {type(value).__name__})")
        for channel in self.CHANNELS:
            if uri.startswith(f"{channel.base}/"):
                path = uri[len(channel.base):]
                if channel.name in _PREFIXES and not path.startswith(_PREFIXES[channel.name]):
                    continue  # several channels may share one loopback address
                return self._transport.json(channel, path, params, weight=weight, limiter=limiter)
        raise OutsideFence(f"{_REFUSED} ({urlsplit(uri).hostname} is not one of this client's hosts)")

    def _sealed_call(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise OutsideFence(f"{_REFUSED} (WebSocket API)")

    def _sign_nothing(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise OutsideFence(f"{_REFUSED} (signature)")

    async def _sealed_async(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise OutsideFence(f"{_REFUSED} (WebSocket API)")

    _ws_api_request_sync = _ws_futures_api_request_sync = _init_session = _sealed_call
    _ws_api_request = _ws_futures_api_request = _sealed_async
    _generate_signature = _generate_ws_api_signature = _hmac_signature = _rsa_signature = _ed25519_signature = _sign_nothing


_PREFIXES: dict[str, tuple[str, ...]] = {"api": ("/api/",), "mirror": ("/api/",), "fapi": ("/fapi/", "/futures/data/"),
                                         "eapi": ("/eapi/",)}


def fenced_client(transport: Transport, *channels: Channel) -> FencedClient:
    """A client whose addresses are those of the channels; what no channel serves keeps an address that the fence refuses."""
    by_name = {channel.name: channel for channel in channels}
    nowhere = "https://refused.invalid"
    spot = by_name.get("api") or by_name.get("mirror")
    urls = {name: nowhere for name in dir(Client) if name.endswith("_URL")}
    if spot:
        urls["API_URL"] = f"{spot.base}/api"
    if "fapi" in by_name:
        urls["FUTURES_URL"] = f"{by_name['fapi'].base}/fapi"
        urls["FUTURES_DATA_URL"] = f"{by_name['fapi'].base}/futures/data"
    if "eapi" in by_name:
        urls["OPTIONS_URL"] = f"{by_name['eapi'].base}/eapi"
    return type("SextantClient", (FencedClient,), {**urls, "CHANNELS": tuple(channels)})(transport)
