"""Memory over 24 virtual hours of streaming: closed 1m candles of 20 symbols, venue and client in this one process."""

from __future__ import annotations

import asyncio
import threading

import psutil

from tests import fault_run

HOURS = 24
SYMBOLS = 20


def run() -> list[dict]:
    """Resident memory after a tenth of the way and at the end; flat is what is wanted, there is no peer."""
    process, readings, stop = psutil.Process(), [], threading.Event()

    def watch() -> None:
        while not stop.wait(0.1):
            readings.append(process.memory_info().rss / 2**20)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    outcome = asyncio.run(fault_run.run(seed=3, minutes=HOURS * 60, symbols=SYMBOLS, books=0, faults=(), step_s=60.0))
    stop.set()
    watcher.join()
    if not outcome.whole:
        raise RuntimeError(f"the soak lost something: {outcome}")
    early, late = readings[len(readings) // 2], readings[-1]
    what = f"{HOURS} virtual hours, {SYMBOLS} symbols, {outcome.stored:,} candles stored once each"
    return [{"name": f"memory half way through {what}", "ours_ms": early, "peer": None, "peer_ms": None, "ratio": None, "target": None,
             "unit": "MiB"},
            {"name": "memory at its end", "ours_ms": late, "peer": None, "peer_ms": None, "ratio": late / early, "target": "flat",
             "unit": "MiB"}]


if __name__ == "__main__":
    from benchmarks.__main__ import table

    print(table(run()))
