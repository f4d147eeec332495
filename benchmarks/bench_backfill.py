"""Back-fill over loopback: our collector into the store, and python-binance's own history helper into a list, from one exchange."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from data.clock import SystemClock
from data.collector import backfill
from data.market import DAY_MS, Interval, SeriesKey
from data.simulator.venue import VenueOptions
from data.simulator.venue_thread import running_venue
from data.sources.aggregator import BinanceAggregator
from data.sources.endpoints import Endpoints
from data.storage.candles import CandleStore

DAYS = 8
ROUNDS = 3


def run() -> list[dict]:
    """Rows per second; the peer's helper sleeps a second after every third page, as it does against the real exchange."""
    clock = SystemClock()
    ours: list[float] = []
    theirs: list[float] = []
    with running_venue(clock, VenueOptions()) as venue:
        urls = venue.urls
        end = clock.now_ms() // DAY_MS * DAY_MS
        start = end - DAYS * DAY_MS
        rows = DAYS * 1440
        for _ in range(ROUNDS + 1):
            with tempfile.TemporaryDirectory() as folder:
                aggregator = BinanceAggregator(Path(folder), clock, endpoints=Endpoints(
                    api=urls.api, mirror=urls.mirror, fapi=urls.fapi, eapi=urls.eapi, archive=urls.archive))
                began = time.perf_counter()
                store, key = CandleStore(Path(folder) / "store"), SeriesKey("BTCUSDT", Interval.M1)
                done = backfill(store, aggregator, [key], start, end, clock=clock)
                ours.append(time.perf_counter() - began)
                assert done.added == rows
                aggregator.close()
            theirs.append(_peer(urls.api, start, end))
    mine, peer = statistics.median(ours[1:]), statistics.median(theirs[1:])
    return [{"name": f"back-fill of {rows:,} 1m candles from loopback, stored durably", "ours_ms": mine * 1000,
             "peer": "python-binance get_historical_klines, into a list", "peer_ms": peer * 1000, "ratio": mine / peer, "target": None},
            {"name": "the same, rows per second", "ours_ms": rows / mine, "peer": "python-binance", "peer_ms": rows / peer,
             "ratio": peer and (rows / mine) / (rows / peer), "target": None, "unit": "rows/s"}]


def _peer(api: str, start: int, end: int) -> float:
    from binance.client import Client

    client = Client(ping=False)
    client.API_URL = f"{api}/api"
    began = time.perf_counter()
    client.get_historical_klines("BTCUSDT", "1m", start, end - 1)
    return time.perf_counter() - began


if __name__ == "__main__":
    from benchmarks.__main__ import table

    print(table(run()))
