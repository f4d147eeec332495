"""The world outside: the exchange's sources and the store they fill. Built on first use, so that a first paint waits for nothing."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from core.settings import Settings
from data.clock import Clock
from data.errors import NoData
from data.market import DAY_MS, Market, SeriesKey
from data.storage.candles import CandleStore

if TYPE_CHECKING:
    from data.collector import BackfillReport, Progress
    from data.frames import Candles
    from data.observation_collector import Collected
    from data.sources.aggregator import BinanceAggregator
    from data.sources.endpoints import Endpoints
    from data.sources.health import HealthRow
    from data.storage.observations import ObservationStore
    from data.streams.book_feed import TakeSnapshot
    from data.streams.kline_feed import Backfill
    from data.streams.messages import Snapshot

PROBE_WAIT_S = 2.0
POSITIONING_DAYS = 30  # older ratios are not served; what is stored stays
FUNDING_DAYS = 400  # served for years, a thousand stamps a request; what a year of percentiles reads
MACRO_DAYS = 730
WITH_OPTIONS = ("BTCUSDT", "ETHUSDT")
WITH_CHAIN = ("BTCUSDT", "ETHUSDT")  # flows exist for these two; other coins are read beside Bitcoin's


class Outside:
    """What can be asked beyond this computer, or beyond this process where `endpoint` names a loopback exchange.

    `sleep` waits between tries and for the end of a limit; a test whose clock runs faster gives its own.
    """

    def __init__(self, settings: Settings, clock: Clock, store: CandleStore, folder: Path, *,
                 sleep: Callable[[float], None] = time.sleep) -> None:
        self._settings, self._clock, self._store, self.folder, self._sleep = settings, clock, store, folder, sleep
        self._built: BinanceAggregator | None = None
        self._lock = threading.Lock()

    @property
    def allowed(self) -> bool:
        """False when the settings say that nothing may be sent."""
        return self._settings.network == "auto"

    @property
    def known(self) -> BinanceAggregator | None:
        """The aggregator if it was needed already."""
        return self._built

    def aggregator(self) -> BinanceAggregator:
        """The source ladder.

        Raises
        ------
        NoData
            When the network is switched off.
        """
        if not self.allowed:
            raise NoData("the network is switched off (SEXTANT_NETWORK=off); set it to auto to ask the exchange")
        with self._lock:
            if self._built is None:
                from data.sources.aggregator import BinanceAggregator

                self._built = BinanceAggregator(self._settings.home, self._clock, endpoints=endpoints(self._settings.endpoint),
                                                sleep=self._sleep)
            return self._built

    def answers(self, wait_s: float = PROBE_WAIT_S) -> bool:
        """Whether an exchange host serves candles right now; waits no longer than that for the answer."""
        return self.allowed and self.aggregator().live_answers(wait_s)

    def health(self) -> tuple[HealthRow, ...]:
        """One row a source; nothing before the first of them was asked."""
        return self._built.health() if self._built else ()

    def degraded(self) -> tuple[str, ...]:
        """What does not work and what stands in, in sentences."""
        return self._built.degraded() if self._built else ()

    def probe(self) -> tuple[HealthRow, ...]:
        """Ask them all again, now."""
        return self.aggregator().probe()

    def backfill(self, keys: Sequence[SeriesKey], start_ms: int, end_ms: int, *, progress: Callable[[Progress], None] | None = None,
                 cancelled: Callable[[], bool] | None = None) -> BackfillReport:
        """Fetch what the store does not hold; killed and started again it goes on where it was."""
        from data.collector import backfill, never

        return backfill(self._store, self.aggregator(), keys, start_ms, end_ms, clock=self._clock, progress=progress,
                        sleep=self._sleep, cancelled=cancelled or never)

    def catch_up(self, keys: Sequence[SeriesKey], *, most_bars: int, progress: Callable[[Progress], None] | None = None,
                 cancelled: Callable[[], bool] | None = None) -> BackfillReport:
        """From the newest stored candle of each series to now."""
        from data.collector import catch_up, never

        return catch_up(self._store, self.aggregator(), keys, clock=self._clock, most_bars=most_bars, sleep=self._sleep,
                        progress=progress, cancelled=cancelled or never)

    def observations(self) -> ObservationStore:
        """What is stored beside candles."""
        from data.storage.observations import ObservationStore

        return ObservationStore(self.folder)

    def clock_offset_ms(self) -> int | None:
        """The exchange's time less this computer's, as last measured; None before."""
        return None if self._built is None else self._built.clock_offset_ms()

    def observe(self, symbols: Sequence[str], *, cancelled: Callable[[], bool] | None = None,
                progress: Callable[[Collected], None] | None = None) -> list[Collected]:
        """Funding, open interest, ratios, basis and premium of the symbols' perpetuals, on-chain and macro, options: what is not stored."""
        from data.observation_collector import MACRO, POSITIONING, collect_observations
        from data.observations import Kind

        now, store = self._clock.now_ms(), self.observations()
        ratios = tuple(kind for kind in POSITIONING if kind is not Kind.FUNDING)
        options = (Kind.OPTION_MARK, Kind.OPTION_OPEN_INTEREST)  # no history to fetch later: what is not taken now is gone
        found = []
        for kinds, days, asked in ((ratios, POSITIONING_DAYS, symbols), ((Kind.FUNDING,), FUNDING_DAYS, symbols),
                                   ((Kind.ON_CHAIN,), MACRO_DAYS, [s for s in symbols if s in WITH_CHAIN] or symbols[:1]),
                                   (tuple(kind for kind in MACRO if kind is not Kind.ON_CHAIN), MACRO_DAYS, symbols[:1]),
                                   (options, 1, [s for s in symbols if s in WITH_OPTIONS])):
            found += collect_observations(store, self.aggregator(), asked, kinds, now - days * DAY_MS, now, clock=self._clock,
                                          cancelled=cancelled or (lambda: False), progress=progress, sleep=self._sleep)
        return found

    def closed_candles(self) -> Backfill:
        """What fills the holes of the streams: closed candles from the source ladder, asked in a thread of its own."""
        aggregator = self.aggregator()

        async def candles(key: SeriesKey, start_ms: int, end_ms: int) -> Candles:
            return await asyncio.to_thread(aggregator.candles, key, start_ms, end_ms)

        return candles

    def snapshot_taker(self, market: Market) -> TakeSnapshot:
        """What a local order book begins with: the book over REST, as the stream's own type."""
        aggregator = self.aggregator()

        async def take(symbol: str) -> Snapshot:
            from data.observations import Kind
            from data.streams.messages import Snapshot

            now = self._clock.now_ms()
            book = (await asyncio.to_thread(aggregator.observations, Kind.BOOK, symbol, now, now + 1, market=market)).observations
            if not len(book):
                raise NoData(f"no order book of {symbol} {market} was given; it is asked for again")
            levels = list(zip(book["price"].tolist(), book["quantity"].tolist(), strict=True))
            bids = [level for level, side in zip(levels, book["side"], strict=True) if side > 0]
            asks = [level for level, side in zip(levels, book["side"], strict=True) if side < 0]
            return Snapshot(last_id=int(book["update_id"][0]), bids=bids, asks=asks)

        return take


def endpoints(endpoint: str) -> Endpoints:
    """The frozen hosts, or the ports of a loopback exchange, which follow one another in the venue's order."""
    from data.sources.endpoints import Endpoints

    if not endpoint:
        return Endpoints()
    ports = _loopback_ports(endpoint)
    return Endpoints(**{name: f"http://127.0.0.1:{ports[name]}" for name in (
        "api", "mirror", "fapi", "eapi", "archive", "coinmetrics", "defillama", "alternativeme")})


def stream_bases(endpoint: str) -> tuple[str, str]:
    """Where spot and futures streams come from: the market-data-only host and the futures host, or loopback."""
    from data.streams import hosts

    if not endpoint:
        return hosts.SPOT_DATA_ONLY, "wss://fstream.binance.com"
    ports = _loopback_ports(endpoint)
    return f"ws://127.0.0.1:{ports['mirror_stream']}", f"ws://127.0.0.1:{ports['fstream']}"


def _loopback_ports(endpoint: str) -> dict[str, int]:
    from data.simulator.venue_hosts import Host

    first = int(endpoint.rsplit(":", 1)[1])
    return {str(host): first + n for n, host in enumerate(Host)}
