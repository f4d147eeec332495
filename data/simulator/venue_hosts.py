"""The hosts the venue plays, Binance's and those of three vendors of daily series, each on a port of its own, so that one can be
blocked while another answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Host(StrEnum):
    API = "api"  # api.binance.com
    MIRROR = "mirror"  # data-api.binance.vision
    FAPI = "fapi"  # fapi.binance.com
    EAPI = "eapi"  # eapi.binance.com
    ARCHIVE = "archive"  # data.binance.vision and its listing
    STREAM = "stream"  # stream.binance.com
    MIRROR_STREAM = "mirror_stream"  # data-stream.binance.vision
    FSTREAM = "fstream"  # fstream.binance.com
    COINMETRICS = "coinmetrics"  # community-api.coinmetrics.io
    DEFILLAMA = "defillama"  # stablecoins.llama.fi
    ALTERNATIVEME = "alternativeme"  # api.alternative.me


STREAM_HOSTS = frozenset({Host.STREAM, Host.MIRROR_STREAM, Host.FSTREAM})
# What a country blocks (binance.md 2.2): everything but the market-data-only hosts and the archives.
GEO_BLOCKED = frozenset({Host.API, Host.FAPI, Host.EAPI, Host.STREAM, Host.FSTREAM})


@dataclass(frozen=True)
class VenueUrls:
    """Base addresses without a trailing slash or path; streams begin with ws://."""

    api: str
    mirror: str
    fapi: str
    eapi: str
    archive: str
    stream: str
    mirror_stream: str
    fstream: str
    coinmetrics: str
    defillama: str
    alternativeme: str

    @classmethod
    def on(cls, ports: dict[Host, int]) -> VenueUrls:
        return cls(**{str(host): f"{'ws' if host in STREAM_HOSTS else 'http'}://127.0.0.1:{port}" for host, port in ports.items()})
