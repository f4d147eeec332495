"""Scans at 1h as the app makes them: twelve symbols of one simulated world, and fifty of five worlds in one group of their own each,
against the named libraries called symbol by symbol (naive_scores.py); two threads against one; the next bar; memory.

Views are gathered before the clock runs, for us and for the peer: here a simulated exchange would make up books and trades while it is
asked. What reading costs is a row of its own, from a store of fifty symbols in a process that has nothing else, as is memory. Fits are
there already, as between two midnights, except in the rows that say "cold". A "full" card is that of a new moment without any row kept
from the bars before; the "next bar" goes on from them, one closed candle later. The naive peer is measured on three symbols and scaled
to the number scanned.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from analysis.fits import FitCache
from analysis.kept_rows import KeptRows
from analysis.modules import MODULES
from analysis.scorecard import Scorecard, needs_of, score_view
from benchmarks.bench_modules import afresh
from benchmarks.timing import milliseconds
from data.clock import parse_time
from data.frames import Candles
from data.market import HOUR_MS, Interval, Market
from data.simulator.market import SYMBOLS, SimulatedExchange
from data.simulator.observed import SimulatedObservations
from data.simulator.venue_clock import VirtualClock
from data.view import MarketView, Need, build_view

NOW = parse_time("2026-11-19T10:10:00Z")
SEEDS = (7, 8, 9, 10, 11)
MANY = 50
ROUNDS = 3
PEER_SYMBOLS = ("BTCUSDT", "SOLUSDT", "DOGEUSDT")


class Worlds:
    """Simulated worlds side by side; a symbol of each is scored within its own group of twelve."""

    def __init__(self, seeds: tuple[int, ...], fits: FitCache) -> None:
        self.clock = VirtualClock(NOW)
        self.fits, self.needs, self.rows = fits, needs_of(MODULES), [KeptRows() for _ in seeds]
        self.readers = [SimulatedExchange(seed, self.clock) for seed in seeds]
        self.beside = [SimulatedObservations(seed, reader, self.clock) for seed, reader in zip(seeds, self.readers, strict=True)]
        self.symbols = [(world, symbol) for world in range(len(seeds)) for symbol in SYMBOLS][:MANY]

    def view(self, world: int, symbol: str) -> MarketView:
        return build_view(self.readers[world], symbol, Market.SPOT, Interval.H1, self.needs, fits=self.fits, kept=self.rows[world],
                          observations=self.beside[world], peers=SYMBOLS)

    def views(self, symbols: list[tuple[int, str]]) -> list[MarketView]:
        return [self.view(*which) for which in symbols]


def without_rows(view: MarketView) -> MarketView:
    return replace(view, kept=None, longer=None if view.longer is None else replace(view.longer, kept=None))


def ticked(view: MarketView, factor: float) -> MarketView:
    """The view after the newest candle of its own symbol and market moved: nothing else did."""
    done: dict[int, Candles] = {}

    def own(need: Need, symbol: str | None) -> bool:
        return symbol in (None, view.symbol) and need.market in (None, view.market) and need.interval in (None, view.interval)

    def moved(candles: Candles) -> Candles:
        if id(candles) not in done:
            close = candles.close.copy()
            close[-1:] *= factor
            done[id(candles)] = replace(candles, close=close, high=np.maximum(candles.high, close), low=np.minimum(candles.low, close))
        return done[id(candles)]

    series = {need: moved(c) if own(need, need.symbol) else c for need, c in view.series.items()}
    group = {need: {name: moved(c) if own(need, name) else c for name, c in held.items()} for need, held in view.group.items()}
    return replace(view, series=series, group=group, longer=None if view.longer is None else ticked(view.longer, factor))


def scan(views: list[MarketView], threads: int = 1) -> list[Scorecard]:
    if threads == 1:
        return [score_view(view, MODULES) for view in views]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda view: score_view(view, MODULES), views))


def run() -> list[dict]:
    """Rows for the table of docs/performance.md; medians of interleaved rounds."""
    import warnings

    from benchmarks.naive_scores import naive_card
    from data.kernel import compile_all

    warnings.filterwarnings("ignore")
    compile_all()
    fits = FitCache()
    worlds = Worlds(SEEDS, fits)
    views = worlds.views(worlds.symbols)
    few = len(SYMBOLS)
    naive_card(views[0])
    scan(views[:1])  # imports
    cold = milliseconds(lambda: scan([without_rows(afresh(view, FitCache())) for view in views[1:5]])) / 4  # of one symbol
    scan(views)
    asked = [worlds.view(0, symbol) for symbol in PEER_SYMBOLS]
    times: dict[str, list[float]] = {}

    def took(name: str, work: Callable[[], Any]) -> None:
        times.setdefault(name, []).append(milliseconds(work))

    def parts(name: str, views: list[MarketView], threads: int = 1) -> None:
        took(name, partial(scan, views[:few], threads))
        took(f"{name}, the rest", partial(scan, views[few:], threads))

    for _ in range(ROUNDS):
        worlds.clock.advance(HOUR_MS)  # a moment that nobody has asked about
        views = worlds.views(worlds.symbols)
        parts("full", [without_rows(view) for view in views])
        parts("again", [without_rows(afresh(view, fits)) for view in views])
        parts("again by two", [without_rows(afresh(view, fits)) for view in views], 2)
        scan(views)  # the rows of this moment, for the next
        worlds.clock.advance(HOUR_MS)
        views = worlds.views(worlds.symbols)
        parts("next bar", views)
        scan([ticked(view, 1.0001) for view in views])
        parts("tick", [ticked(view, 1.0002) for view in views])
        took("naive", lambda: [naive_card(view) for view in asked])
    middle = {name: statistics.median(values) for name, values in times.items()}
    each = middle["naive"] / len(PEER_SYMBOLS)
    peer = "libraries called per symbol"
    cold_store, warm_store = stored_scan()
    first = f"first scan of {MANY} stored symbols, reading and imports included"
    fifty = {name: middle[name] + middle[f"{name}, the rest"] for name in ("full", "again", "again by two", "next bar", "tick")}
    return [
        row(f"scan of {few}, full cards", middle["full"], peer, each * few, "0.05x"),
        row(f"scan of {few}, next bar", middle["next bar"], peer, each * few, "0.05x"),
        row(f"scan of {MANY}, full cards", fifty["full"], peer, each * MANY, "0.05x"),
        row(f"scan of {MANY}, next bar", fifty["next bar"], peer, each * MANY, "0.05x"),
        row(f"scan of {MANY}, next bar", fifty["next bar"], "full cards", fifty["full"], "shown"),
        row(f"scan of {MANY}, a tick each", fifty["tick"], "full cards", fifty["full"], "shown"),
        row(f"scan of {MANY} by two threads", fifty["again by two"], "serial", fifty["again"], "0.75x"),
        row("one symbol, cold fits", cold, peer, each, "shown"),
        row(f"{first}, nothing fitted", cold_store["first_ms"], None, None, "shown"),
        row(f"{first}, fits on disk", warm_store["first_ms"], None, None, "shown"),
        row("one more scan of them, nothing new", warm_store["again_ms"], None, None, "shown"),
        row(f"memory after a scan of {MANY} stored symbols, all fitted", cold_store["mib"], None, None, "shown", "MiB"),
        row(f"memory after a scan of {MANY} stored symbols, fits on disk", warm_store["mib"], None, None, "450 MiB", "MiB"),
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


def scan_stored(home: Path) -> dict[str, float]:
    """Scan fifty stored symbols twice: milliseconds of each, and resident MiB of this process and its children afterwards."""
    import psutil

    from core.settings import Settings
    from core.wiring import build
    from data.clock import FixedClock
    from data.kernel import compile_all

    names = tuple(f"W{world}{symbol}" for world in range(len(SEEDS)) for symbol in SYMBOLS)[:MANY]
    sextant = build(Settings(home=home, world="real", watchlist=names[:12]), FixedClock(NOW))
    compile_all()  # the app's background thread has, by then
    said = {"first_ms": milliseconds(lambda: sextant.scan(names, ["1h"])), "again_ms": milliseconds(lambda: sextant.scan(names, ["1h"]))}
    for line in sextant.scan(names, ["1h"]).rows:
        if line.card is None:
            raise RuntimeError(line.problem)
    process = psutil.Process()
    return said | {"mib": sum(p.memory_info().rss for p in (process, *process.children(recursive=True))) / 2**20}


def stored_scan() -> tuple[dict[str, float], dict[str, float]]:
    """What two processes say one after the other: the first fits, the second finds the fits on disk."""
    with tempfile.TemporaryDirectory() as folder:
        said: list[dict[str, float]] = []
        for step in ("fill", "scan_stored", "scan_stored"):
            code = f"from pathlib import Path; from benchmarks.bench_scan import *; print(json.dumps({step}(Path({folder!r}))))"
            done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).resolve().parent.parent, capture_output=True, text=True,
                                  check=True, env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})
            said.append(json.loads(done.stdout.splitlines()[-1]) or {})
        return said[1], said[2]


if __name__ == "__main__":
    from benchmarks.__main__ import table

    print(table(run()))
