"""The app as a small public host runs it: a fresh disk, the exchange's API blocked by country, every page opened once, one small training
as a job. There is no peer; what counts is the memory that Streamlit Community Cloud guarantees.

Where this computer allows it (Linux, root, the memory controller), the app runs inside a control group that ends it beyond the
guarantee; only then is the row about surviving filled in.
"""

from __future__ import annotations

import os
import subprocess
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
from tests.serving import CHROMIUM_ARGUMENTS, ROOT, chromium_path, serving, settled, venue_ports

GUARANTEED_MIB = 690
GUARANTEED = f"{GUARANTEED_MIB} MiB"
CONTROLLER = Path("/sys/fs/cgroup/memory")
EVERY_S = 0.2
PATIENCE_S = 300
TRAINING = {"symbols": ["BTCUSDT"], "interval": "1h", "market": "spot", "label": DEFAULT_LABEL, "model": None, "options": {"mode": "quick"},
            "bars": 3_000}
UNSET = ("MALLOC_ARENA_MAX", "NUMBA_CACHE_DIR", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # a host sets none of them


class Limit:
    """A control group with a limit of memory; without one where the system does not let us."""

    def __init__(self, mib: int) -> None:
        self.folder: Path | None = CONTROLLER / f"sextant-{os.getpid()}"
        try:
            self.folder.mkdir()
            (self.folder / "memory.limit_in_bytes").write_text(str(mib << 20))
        except OSError:
            self.folder = None

    @property
    def within(self) -> tuple[str, ...]:
        """What to put before a command so that it runs inside."""
        return () if self.folder is None else ("sh", "-c", f'echo $$ > {self.folder}/cgroup.procs; exec "$@"', "sh")

    def killed(self) -> int:
        """How many processes the limit has ended."""
        assert self.folder is not None
        found = dict(line.split() for line in (self.folder / "memory.oom_control").read_text().splitlines())
        return int(found.get("oom_kill", "0"))

    def held_mib(self) -> float:
        """Memory that cannot be given back, of all inside together: nothing counted twice, no page cache."""
        assert self.folder is not None
        found = dict(line.split() for line in (self.folder / "memory.stat").read_text().splitlines())
        return int(found["total_rss"]) / 2**20

    def end(self) -> None:
        if self.folder is not None:
            self.folder.rmdir()


class Group:
    """Memory of the app and everything it started, in MiB: now, and the most since `forget`. Inside a limit it is what the limit counts
    and cannot take back; without one resident memory, where a library that two of them have loaded is counted twice."""

    def __init__(self, pid: int, limit: Limit | None = None) -> None:
        self._root, self._limit, self._peak, self._stop = psutil.Process(pid), limit, 0.0, threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def now(self) -> float:
        if self._limit is not None and self._limit.folder is not None:
            total = self._limit.held_mib()
        else:
            total = sum(self._of(p) for p in [self._root, *self._root.children(recursive=True)])
        self._peak = max(self._peak, total)
        return total

    def app(self) -> float:
        """The server alone, resident."""
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


@contextmanager
def blocked_exchange() -> Iterator[str]:
    """An exchange on loopback whose API answers as in a restricted country; its address."""
    port = venue_ports()
    exchange = subprocess.Popen([sys.executable, "-m", "core", "exchange", "--port", str(port), "--blocked"], cwd=ROOT,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        exchange.terminate()
        exchange.wait()


def run() -> list[dict]:
    """Rows for the table of docs/performance.md."""
    from playwright.sync_api import sync_playwright

    limit = Limit(GUARANTEED_MIB)
    with bare_environment(), tempfile.TemporaryDirectory() as folder, sync_playwright() as driver, blocked_exchange() as endpoint:
        browser = driver.chromium.launch(executable_path=chromium_path(), headless=True, args=CHROMIUM_ARGUMENTS)
        began = time.perf_counter()
        with serving(Path(folder) / "home", within=limit.within, SEXTANT_NETWORK="auto", SEXTANT_ENDPOINT=endpoint,
                     SEXTANT_STORAGE="temporary") as server:
            group = Group(server.process.pid, limit)
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(server.url)
            page.get_by_text("Overview", exact=True).first.wait_for(timeout=PATIENCE_S * 1000)
            painted = (time.perf_counter() - began) * 1000
            first = group.now()
            report("first paint", group)
            page.get_by_text("Scores side by side").wait_for(timeout=PATIENCE_S * 1000)
            settled(page, PATIENCE_S)
            scored = (time.perf_counter() - began) * 1000
            scoring = group.peak
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
            killed = None if limit.folder is None else limit.killed()
            group.end()
        browser.close()
    limit.end()
    return [
        row("hosted: start to first paint, nothing cached", painted, None, None, None),
        row("hosted: start to 12 symbols fetched from the mirror, scored and fitted", scored, None, None, None),
        row("hosted: memory at the first paint", first, None, None, GUARANTEED, "MiB"),
        row("hosted: the most until they are scored, with the child that compiles", scoring, None, None, GUARANTEED, "MiB"),
        row(f"hosted: the most while {len(PAGES)} pages are opened, with that child", opening, None, None, GUARANTEED, "MiB"),
        row("hosted: at rest after every page", every, None, None, GUARANTEED, "MiB"),
        row(f"hosted: the most while a model is trained on {TRAINING['bars']:,} bars ({trained})", most, None, None, GUARANTEED, "MiB"),
        row("hosted: at rest after it", after, None, None, GUARANTEED, "MiB"),
        row("hosted: processes ended by the limit", killed, None, None, "0", ""),
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
