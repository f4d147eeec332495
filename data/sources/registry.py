"""The sources, best first: the order is the ladder. A test compares this tuple with the folder."""

from __future__ import annotations

from data.sources.archive import Archive
from data.sources.base import Source
from data.sources.futures_rest import FuturesRest
from data.sources.okx import Okx
from data.sources.onchain import AlternativeMe, BlockchainCom, CoinMetrics, DefiLlama, MempoolSpace
from data.sources.options_rest import OptionsRest
from data.sources.spot_rest import SpotMirror, SpotRest

SOURCES: tuple[type[Source], ...] = (
    SpotRest, SpotMirror, FuturesRest, OptionsRest, Archive, Okx, CoinMetrics, DefiLlama, AlternativeMe, MempoolSpace, BlockchainCom,
)
