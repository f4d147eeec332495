"""Fifty scripted tabs for ten minutes, an action each every 15 s: what waits, what breaks, what memory does. There is no peer: peers of
this kind serve one person.

They look at what is there: pages, symbols, charts. A choice that asks for a computation of everything at another interval or by another
rule is left out; `python -m benchmarks.tabs URL --mix all` makes those too, and waits for them. `SEXTANT_BENCH_TABS` and
`SEXTANT_BENCH_SECONDS` make the run smaller.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.bench_hosted import alone
from tests.serving import ROOT, serving

TABS, SECONDS = int(os.environ.get("SEXTANT_BENCH_TABS", "50")), float(os.environ.get("SEXTANT_BENCH_SECONDS", "600"))


@dataclass(frozen=True)
class Load:
    """What a process holds at a moment."""

    memory: float  # MiB
    threads: int
    files: int

    @classmethod
    def of(cls, process: psutil.Process) -> Load:
        return cls(process.memory_info().rss / 2**20, process.num_threads(), process.num_fds())


def tabs(url: str, count: int, seconds: float, *more: str) -> dict:
    """Scripted tabs in a process of their own; what they tell."""
    done = subprocess.run([sys.executable, "-m", "benchmarks.tabs", url, "--tabs", str(count), "--seconds", str(seconds), *more], cwd=ROOT,
                          capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def run() -> list[dict]:
    """Rows for the table of docs/performance.md."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "home") as server:
        process = psutil.Process(server.process.pid)
        tabs(server.url, 1, 60.0)  # the first visitor's scores, and the compiler's child
        alone(server.process.pid)
        start, held, stop = Load.of(process), [], threading.Event()

        def watch() -> None:
            while not stop.wait(SECONDS / 120):
                held.append(Load.of(process))

        watcher = threading.Thread(target=watch)
        watcher.start()
        told = tabs(server.url, TABS, SECONDS)
        stop.set()
        watcher.join()
        time.sleep(30)  # sessions of closed tabs are let go
        end = Load.of(process)
    print(json.dumps(told, indent=1), file=sys.stderr)
    half = held[len(held) // 2:]
    name = f"{TABS} tabs, {SECONDS:.0f} s, {told['actions']} actions"
    return [
        {"name": f"{name}: errors", "ours_ms": told["errors"], "unit": "", "target": "0"},
        {"name": f"{name}: p50", "ours_ms": told["p50_s"] * 1e3},
        {"name": f"{name}: p95", "ours_ms": told["p95_s"] * 1e3, "target": "4,000 ms"},
        {"name": f"{name}: p99", "ours_ms": told["p99_s"] * 1e3},
        {"name": f"{name}: the most memory", "ours_ms": max(one.memory for one in held), "unit": "MiB", "target": "700 MiB"},
        {"name": f"{name}: memory before", "ours_ms": start.memory, "unit": "MiB"},
        {"name": f"{name}: memory after", "ours_ms": end.memory, "unit": "MiB"},
        {"name": f"{name}: growth in the second half", "ours_ms": half[-1].memory - half[0].memory, "unit": "MiB", "target": "20 MiB"},
        {"name": f"{name}: threads before / the most / after", "ours_ms": end.threads, "unit":
            f"(before {start.threads}, the most {max(one.threads for one in held)})", "target": "back to start"},
        {"name": f"{name}: open files after", "ours_ms": end.files, "unit": f"(before {start.files})"},
    ]


if __name__ == "__main__":
    from benchmarks.__main__ import table

    print(table(run()))
