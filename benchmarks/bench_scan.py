"""Scans at 1h as the app makes them, reading included: twelve symbols of one simulated world, and fifty of five worlds in one group of
their own each, against the named libraries called symbol by symbol (naive_scores.py); two threads against one; the next bar; memory.

Fits are there already, as between two midnights. "Fresh" is a moment nobody has asked about; the naive peer is measured on three symbols
and scaled to the number scanned.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from analysis.fits import FitCache
from analysis.modules import MODULES
from analysis.scorecard import needs_of, score_view
from data.clock import parse_time
from data.market import HOUR_MS, Interval, Market
from data.simulator.market import SYMBOLS, SimulatedExchange
from data.simulator.observed import SimulatedObservations
from data.view import MarketView, build_view

NOW = parse_time("2026-11-19T10:10:00Z")
SEEDS = (7, 8, 9, 10, 11)
MANY = 50
ROUNDS = 5
PEER_SYMBOLS = ("BTCUSDT", "SOLUSDT", "DOGEUSDT")


class MovingClock:
    """A clock that is set."""

    def __init__(self, at_ms: int) -> None:
        self.at_ms = at_ms

    def now_ms(self) -> int:
        return self.at_ms


class Worlds:
    """Simulated worlds side by side; a symbol of each is scored within its own group of twelve."""

    def __init__(self, seeds: tuple[int, ...], fits: FitCache) -> None:
        self.clock = MovingClock(NOW)
        self.fits, self.needs = fits, needs_of(MODULES)
        self.readers = [SimulatedExchange(seed, self.clock) for seed in seeds]
        self.beside = [SimulatedObservations(seed, reader, self.clock) for seed, reader in zip(seeds, self.readers, strict=True)]
        self.symbols = [(world, symbol) for world in range(len(seeds)) for symbol in SYMBOLS][:MANY]

    def view(self, world: int, symbol: str) -> MarketView:
        return build_view(self.readers[world], symbol, Market.SPOT, Interval.H1, self.needs, fits=self.fits,
                          observations=self.beside[world], peers=SYMBOLS)

    def score(self, which: tuple[int, str]) -> float | None:
        return score_view(self.view(*which), MODULES).report("A").score

    def scan(self, symbols: list[tuple[int, str]], threads: int) -> list[float | None]:
        if threads == 1:
            return [self.score(which) for which in symbols]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(self.score, symbols))


def _ms(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


def run() -> list[dict]:
    """Rows for the table of docs/performance.md; medians of interleaved rounds."""
    import warnings

    from benchmarks.naive_scores import naive_card
    from data.kernel import compile_all

    warnings.filterwarnings("ignore")
    compile_all()
    worlds = Worlds(SEEDS, FitCache())
    twelve, fifty = worlds.symbols[: len(SYMBOLS)], worlds.symbols
    worlds.scan(fifty, 1)
    asked = [worlds.view(0, symbol) for symbol in PEER_SYMBOLS]
    for view in asked:
        naive_card(view)
    times: dict[str, list[float]] = {}

    def took(name: str, work: Callable[[], Any]) -> None:
        times.setdefault(name, []).append(_ms(work))

    for _ in range(ROUNDS):
        worlds.clock.at_ms += HOUR_MS  # a new bar for everybody: of all symbols, nothing of this moment is known
        if worlds.clock.at_ms % (24 * HOUR_MS) < HOUR_MS:
            worlds.scan(fifty, 1)  # past midnight the fits are new; they are paid for by the schedule
        took("next bar", lambda: worlds.scan(twelve, 1))
        took("twelve", lambda: worlds.scan(twelve, 1))
        took("twelve by two", lambda: worlds.scan(twelve, 2))
        took("next bar of fifty", lambda: worlds.scan(fifty[len(SYMBOLS):], 1))
        took("fifty", lambda: worlds.scan(fifty, 1))
        took("fifty by two", lambda: worlds.scan(fifty, 2))
        took("naive", lambda: [naive_card(view) for view in asked])
    middle = {name: statistics.median(values) for name, values in times.items()}
    each = middle["naive"] / len(PEER_SYMBOLS)
    peer = "libraries called per symbol"
    return [
        row("scan of 12, next bar, reading included", middle["next bar"], peer, each * len(SYMBOLS), "0.05x"),
        row("scan of 12 again, reading included", middle["twelve"], peer, each * len(SYMBOLS), "0.05x"),
        row("scan of 12 by two threads", middle["twelve by two"], "serial", middle["twelve"], "0.75x"),
        row(f"scan of {MANY - len(SYMBOLS)}, next bar, reading included", middle["next bar of fifty"], peer, each * (MANY - len(SYMBOLS)),
            "0.05x"),
        row(f"scan of {MANY} again, reading included", middle["fifty"], peer, each * MANY, "0.05x"),
        row(f"scan of {MANY} by two threads", middle["fifty by two"], "serial", middle["fifty"], "0.75x"),
        row(f"memory after a scan of {MANY} stored symbols", stored_scan_mib(), None, None, "450 MiB", "MiB"),
    ]


def row(name: str, ours: float, peer: str | None, theirs: float | None, target: str | None, unit: str = "ms") -> dict:
    return {"name": name, "ours_ms": ours, "peer": peer, "peer_ms": theirs, "ratio": ours / theirs if theirs else None, "target": target,
            "unit": unit}


# -- memory: a store of fifty symbols, scanned by a process that has nothing else ----------------------------------------


def fill(home: Path) -> None:
    """Candles of fifty symbols in a store, spot and perpetual by the hour, named after world and symbol."""
    from data.market import SeriesKey
    from data.storage.candles import CandleStore

    worlds, store = Worlds(SEEDS, FitCache()), CandleStore(home / "real")
    for world, symbol in worlds.symbols:
        for market in Market:
            candles = worlds.readers[world].read(SeriesKey(symbol, Interval.H1, market), NOW - 1000 * 24 * HOUR_MS)
            store.append(SeriesKey(f"W{world}{symbol}", Interval.H1, market), candles, provenance="SIMULATED", source="benchmark")


def scan_stored(home: Path) -> float:
    """Resident MiB of this process and its children once fifty symbols are scored."""
    import psutil

    from core.settings import Settings
    from core.wiring import build
    from data.clock import FixedClock

    names = tuple(f"W{world}{symbol}" for world in range(len(SEEDS)) for symbol in SYMBOLS)[:MANY]
    sextant = build(Settings(home=home, world="real", watchlist=names[:12]), FixedClock(NOW))
    result = sextant.scan(names, ["1h"])
    if any(line.card is None for line in result.rows):
        raise RuntimeError(next(line.problem for line in result.rows if line.card is None))
    process = psutil.Process()
    return sum(p.memory_info().rss for p in (process, *process.children(recursive=True))) / 2**20


def stored_scan_mib() -> float:
    with tempfile.TemporaryDirectory() as folder:
        said = 0.0
        for step in ("fill", "scan_stored"):
            code = f"from pathlib import Path; from benchmarks.bench_scan import *; print(json.dumps({step}(Path({folder!r}))))"
            done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).resolve().parent.parent, capture_output=True, text=True,
                                  check=True, env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})
            said = json.loads(done.stdout.splitlines()[-1] or "0") or 0.0
        return said


if __name__ == "__main__":
    from benchmarks.__main__ import table

    print(table(run()))
