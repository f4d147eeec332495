"""The app as a small public host runs it: a fresh disk, no exchange within reach, every page opened once, one small training as a job.
There is no peer; what counts is the memory that Streamlit Community Cloud guarantees."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.bench_app import row
from core.jobs import Jobs
from data.clock import SystemClock
from data.labels import DEFAULT_LABEL
from pages.ui.frame import PAGES
from tests.serving import CHROMIUM_ARGUMENTS, chromium_path, serving, settled

GUARANTEED = "690 MiB"
EVERY_S = 0.2
PATIENCE_S = 300
TRAINING = {"symbols": ["BTCUSDT"], "interval": "1h", "market": "spot", "label": DEFAULT_LABEL, "model": None, "options": {"mode": "quick"},
            "bars": 3_000}
UNSET = ("MALLOC_ARENA_MAX", "NUMBA_CACHE_DIR", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # a host sets none of them


class Group:
    """Resident memory of the app and everything it started, in MiB: now, and the most since `forget`. A library that two of them have
    loaded is counted twice."""

    def __init__(self, pid: int) -> None:
        self._root, self._peak, self._stop = psutil.Process(pid), 0.0, threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def now(self) -> float:
        total = sum(self._of(p) for p in [self._root, *self._root.children(recursive=True)])
        self._peak = max(self._peak, total)
        return total

    def app(self) -> float:
        """The server alone."""
        return self._of(self._root)

    def forget(self) -> None:
        self._peak = 0.0

    @property
    def peak(self) -> float:
        self.now()
        return self._peak

    def end(self) -> None:
        self._stop.set()
        self._watcher.join()

    @staticmethod
    def _of(process: psutil.Process) -> float:
        try:
            return process.memory_info().rss / 2**20
        except psutil.Error:  # it ended meanwhile
            return 0.0

    def _watch(self) -> None:
        while not self._stop.wait(EVERY_S):
            self.now()


def report(what: str, group: Group) -> None:
    print(f"{what}: {group.now():.0f} MiB, the app alone {group.app():.0f}, the most {group.peak:.0f}", file=sys.stderr, flush=True)


@contextmanager
def bare_environment() -> Iterator[None]:
    """Without what a developer's computer sets and a host does not."""
    kept = {name: os.environ.pop(name) for name in UNSET if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def run() -> list[dict]:
    """Rows for the table of docs/performance.md."""
    from playwright.sync_api import sync_playwright

    with bare_environment(), tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium_path(), headless=True, args=CHROMIUM_ARGUMENTS)
        began = time.perf_counter()
        with serving(Path(folder) / "home") as server:
            group = Group(server.process.pid)
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(server.url)
            page.get_by_text("Overview", exact=True).first.wait_for(timeout=PATIENCE_S * 1000)
            painted = (time.perf_counter() - began) * 1000
            first = group.now()
            report("first paint", group)
            page.get_by_text("Scores side by side").wait_for(timeout=PATIENCE_S * 1000)
            settled(page, PATIENCE_S)
            scored, scoring = group.app(), group.peak
            report("scored", group)
            group.forget()
            for each in PAGES:
                page.get_by_test_id("stSidebar").get_by_role("link", name=each.title, exact=True).click()
                page.get_by_role("heading", name=each.title, exact=True).wait_for(timeout=PATIENCE_S * 1000)
                settled(page, PATIENCE_S)
                report(each.title, group)
            opening = group.peak
            alone(server.process.pid)
            every = group.now()
            report("at rest", group)
            group.forget()
            trained = training(page, server.home)
            most, after = group.peak, group.now()
            report(f"training {trained}", group)
            group.end()
        browser.close()
    return [
        row("hosted: start to first paint, nothing cached", painted, None, None, None),
        row("hosted: memory at the first paint", first, None, None, GUARANTEED, "MiB"),
        row("hosted: 12 symbols scored and fitted, the app alone", scored, None, None, GUARANTEED, "MiB"),
        row("hosted: the most meanwhile, with the child that compiles", scoring, None, None, GUARANTEED, "MiB"),
        row(f"hosted: the most while {len(PAGES)} pages are opened, with that child", opening, None, None, GUARANTEED, "MiB"),
        row("hosted: at rest after every page", every, None, None, GUARANTEED, "MiB"),
        row(f"hosted: the most while a model is trained on {TRAINING['bars']:,} bars ({trained})", most, None, None, GUARANTEED, "MiB"),
        row("hosted: at rest after it", after, None, None, GUARANTEED, "MiB"),
    ]


def alone(pid: int) -> None:
    """Wait until the app has no child any more: the compiler of the kernels works for a minute after the first paint."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if all(p.status() == psutil.STATUS_ZOMBIE for p in psutil.Process(pid).children(recursive=True)):
            return
        time.sleep(1.0)


def training(page, home: Path) -> str:
    """One training, started by the app as its own child; how it ended."""
    jobs = Jobs(home, SystemClock())
    number = jobs.submit("train", TRAINING).id
    page.get_by_test_id("stSidebar").get_by_role("link", name="Models", exact=True).click()  # its list of jobs starts what waits
    deadline = time.monotonic() + PATIENCE_S
    while jobs.get(number).open and time.monotonic() < deadline:
        page.wait_for_timeout(1_000)
    settled(page, PATIENCE_S)
    return jobs.get(number).state


if __name__ == "__main__":
    from benchmarks.__main__ import table

    print(table(run()))
