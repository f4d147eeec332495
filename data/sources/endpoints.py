"""The addresses of the channels: frozen hosts, or plain loopback for the simulated exchange and the tests. Nothing else is taken."""

from __future__ import annotations

from dataclasses import dataclass, fields

from data.sources.budget import Channel
from data.sources.hosts import API, ARCHIVE, EAPI, FAPI, MIRROR, check_base, is_loopback


@dataclass(frozen=True)
class Endpoints:
    """Base addresses by channel. Each must be its own frozen host or http://127.0.0.1:PORT.

    Raises
    ------
    OutsideFence
        On any other address.
    """

    api: str = f"https://{API}"
    mirror: str = f"https://{MIRROR}"
    fapi: str = f"https://{FAPI}"
    eapi: str = f"https://{EAPI}"
    archive: str = f"https://{ARCHIVE}"
    okx: str = "https://www.okx.com"
    coinmetrics: str = "https://community-api.coinmetrics.io"
    defillama: str = "https://stablecoins.llama.fi"
    alternativeme: str = "https://api.alternative.me"
    mempool: str = "https://mempool.space"
    blockchain: str = "https://api.blockchain.info"

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, check_base(getattr(self, field.name), _HOST[field.name]))

    @property
    def simulated(self) -> bool:
        return any(is_loopback(getattr(self, field.name)) for field in fields(self))

    def channels(self) -> dict[str, Channel]:
        """The channels of this world: with one on loopback, only those on loopback."""
        chosen = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.simulated:
            chosen = {name: base for name, base in chosen.items() if is_loopback(base)}
        return {name: Channel(name, vendor, base, weight, windows) for name, base in chosen.items()
                for vendor, weight, windows in (_TERMS[name],)}


# Vendor, request weight a minute (until exchangeInfo states it), and own limits as (requests, seconds). Where a vendor publishes
# no limit (the archive, DefiLlama, mempool.space, blockchain.com) ours is a courtesy.
_TERMS: dict[str, tuple[str, int | None, dict[str, tuple[int, int]]]] = {
    "api": ("Binance", 6000, {}),
    "mirror": ("Binance", 6000, {}),
    "fapi": ("Binance", 2400, {"data": (900, 300), "funding": (450, 300)}),
    "eapi": ("Binance", 400, {}),
    "archive": ("Binance archive", None, {"": (1200, 60)}),
    "okx": ("OKX", None, {"": (8, 2)}),
    "coinmetrics": ("Coin Metrics", None, {"": (9, 6)}),
    "defillama": ("DefiLlama", None, {"": (30, 60)}),
    "alternativeme": ("alternative.me", None, {"": (30, 60)}),
    "mempool": ("mempool.space", None, {"": (20, 60)}),
    "blockchain": ("blockchain.com", None, {"": (20, 60)}),
}
_HOST = {field.name: str(field.default).removeprefix("https://") for field in fields(Endpoints)}
