"""Daily series beside the market, from vendors that ask for no key: chain, stablecoins, sentiment, hash rate."""

from __future__ import annotations

from data.clock import iso
from data.errors import NotOffered
from data.market import DAY_MS, Market
from data.observations import Kind, Observations, coin_of
from data.sources.base import Source, cut
from data.sources.fields import joined
from data.sources.parse_onchain import (
    COIN_METRICS,
    blockchain_chart_of,
    coin_metrics_of,
    community_metrics_of,
    fear_greed_of,
    mempool_hash_rate_of,
    stablecoins_of,
)

_PAGE_DAYS = 5_000  # of the 10,000 rows a Coin Metrics page holds


class CoinMetrics(Source):
    """Coin Metrics community data (CC BY-NC 4.0): market cap, MVRV, supply, exchange flows and balance, issuance."""

    name = "Coin Metrics"
    channel_name = "coinmetrics"
    provides = (Kind.ON_CHAIN,)
    lacks = "exchange flows only of BTC and ETH, a day late"
    source_provenance = "VENUE:coinmetrics"
    probed_at_start = False
    _metrics: dict[str, tuple[str, ...]]

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._metrics = {}

    def ping(self) -> int | None:
        self._offered("btc")
        return None

    def observations(self, kind: Kind, symbol: str, start_ms: int, end_ms: int, market: Market) -> Observations:
        asset = coin_of(symbol).lower()
        metrics = self._offered(asset)
        if not metrics:
            raise NotOffered(f"{self.name} gives no metrics of {asset.upper()} without a key", host=self.channel.host)
        parts = []
        for at in range(start_ms // DAY_MS * DAY_MS, end_ms, _PAGE_DAYS * DAY_MS):
            upto = min(at + _PAGE_DAYS * DAY_MS, end_ms) - 1
            payload = self._transport.json(self.channel, "/v4/timeseries/asset-metrics", {
                "assets": asset, "metrics": ",".join(metrics), "frequency": "1d", "start_time": iso(at)[:19], "end_time": iso(upto)[:19],
                "page_size": 10_000})
            parts.append(coin_metrics_of(payload, now_ms=self._clock.now_ms()))
        return cut(joined(kind, parts, self.provenance), start_ms, end_ms)

    def _offered(self, asset: str) -> tuple[str, ...]:
        """Which of our metrics the catalog offers: one forbidden metric fails the whole call."""
        if asset not in self._metrics:
            known = community_metrics_of(self._transport.json(self.channel, "/v4/catalog-v2/asset-metrics", {"assets": asset}))
            self._metrics[asset] = tuple(metric for metric in COIN_METRICS.values() if metric in known)
        return self._metrics[asset]


class DefiLlama(Source):
    """Total stablecoin supply in US dollars by day: supply, not money that went to an exchange."""

    name = "DefiLlama"
    channel_name = "defillama"
    provides = (Kind.STABLECOIN_SUPPLY,)
    lacks = "today's row is left out until the day is over"
    source_provenance = "VENUE:defillama"
    probed_at_start = False

    def ping(self) -> int | None:
        self._transport.get(self.channel, "/stablecoincharts/all", attempts=1)
        return None

    def observations(self, kind: Kind, symbol: str, start_ms: int, end_ms: int, market: Market) -> Observations:
        payload = self._transport.json(self.channel, "/stablecoincharts/all")
        return cut(joined(kind, [stablecoins_of(payload, now_ms=self._clock.now_ms())], self.provenance), start_ms, end_ms)


class AlternativeMe(Source):
    """The fear and greed index of alternative.me, daily since February 2018."""

    name = "alternative.me"
    channel_name = "alternativeme"
    provides = (Kind.FEAR_GREED,)
    lacks = "one value a day"
    source_provenance = "VENUE:alternative.me"
    probed_at_start = False

    def ping(self) -> int | None:
        self._transport.get(self.channel, "/fng/", {"limit": 1, "format": "json"}, attempts=1)
        return None

    def observations(self, kind: Kind, symbol: str, start_ms: int, end_ms: int, market: Market) -> Observations:
        payload = self._transport.json(self.channel, "/fng/", {"limit": 0, "format": "json"})
        return cut(joined(kind, [fear_greed_of(payload, now_ms=self._clock.now_ms())], self.provenance), start_ms, end_ms)


class MempoolSpace(Source):
    """Bitcoin's hash rate by day, from mempool.space."""

    name = "mempool.space"
    channel_name = "mempool"
    provides = (Kind.HASH_RATE,)
    lacks = "Bitcoin only"
    source_provenance = "VENUE:mempool.space"
    probed_at_start = False

    def ping(self) -> int | None:
        self._transport.get(self.channel, "/api/v1/fees/recommended", attempts=1)
        return None

    def observations(self, kind: Kind, symbol: str, start_ms: int, end_ms: int, market: Market) -> Observations:
        span = "1y" if start_ms > self._clock.now_ms() - 364 * DAY_MS else "all"
        payload = self._transport.json(self.channel, f"/api/v1/mining/hashrate/{span}")
        return cut(joined(kind, [mempool_hash_rate_of(payload, now_ms=self._clock.now_ms())], self.provenance), start_ms, end_ms)


class BlockchainCom(Source):
    """Bitcoin's hash rate by day, from blockchain.com: the second opinion of mempool.space."""

    name = "blockchain.com"
    channel_name = "blockchain"
    provides = (Kind.HASH_RATE,)
    lacks = "Bitcoin only, and holes of some days"
    source_provenance = "VENUE:blockchain.com"
    probed_at_start = False

    def ping(self) -> int | None:
        self._transport.get(self.channel, "/charts/hash-rate", {"timespan": "1week", "format": "json"}, attempts=1)
        return None

    def observations(self, kind: Kind, symbol: str, start_ms: int, end_ms: int, market: Market) -> Observations:
        years = max(1, -(-(self._clock.now_ms() - start_ms) // (365 * DAY_MS)))
        params = {"timespan": f"{years}years", "format": "json", "sampled": "false"}
        payload = self._transport.json(self.channel, "/charts/hash-rate", params)
        return cut(joined(kind, [blockchain_chart_of(payload, now_ms=self._clock.now_ms())], self.provenance), start_ms, end_ms)
