"""The app as a browser meets it: start, first paint, page switch, memory. The peer is an empty Streamlit app, and for memory
a process that imports every library of the brief."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.serving import CHROMIUM_ARGUMENTS, chromium_path, free_port, serving

EMPTY = "import streamlit as st\nst.title('Empty')\nst.button('again')\n"
EVERYTHING = ("streamlit plotly binance pandas numpy sklearn lightgbm shap statsmodels.api pywt arch riskfolio sqlite_utils openai joblib")
ROUNDS = 5
WATCH = """() => { window.runs = []; if (window.watching) return; window.watching = true;
  const app = document.querySelector('[data-testid=stApp]'); let began = null;
  new MutationObserver(() => { const s = app.getAttribute('data-test-script-state');
    if (s === 'running' && began === null) began = performance.now();
    if (s === 'notRunning' && began !== null) { window.runs.push(performance.now() - began); began = null; } })
  .observe(app, {attributes: true, attributeFilter: ['data-test-script-state']}); }"""


@contextmanager
def empty_app(folder: Path) -> Iterator[str]:
    """A two-line Streamlit app on a free port."""
    path, port = folder / "empty.py", free_port()
    path.write_text(EMPTY)
    command = [sys.executable, "-m", "streamlit", "run", str(path), "--server.headless=true", "--server.address=127.0.0.1",
               f"--server.port={port}", "--browser.gatherUsageStats=false", "--server.fileWatcherType=none"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_healthy(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def wait_healthy(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{url}/_stcore/health", timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise TimeoutError(url)


def painted_ms(browser, url: str, text: str) -> float:
    """From asking for the page to seeing a text on it."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    began = time.perf_counter()
    page.goto(url)
    page.get_by_text(text, exact=True).first.wait_for(timeout=60_000)
    spent = (time.perf_counter() - began) * 1000
    page.close()
    return spent


def at_rest(page) -> None:
    for _ in range(3):
        page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').wait_for(timeout=90_000)
        page.wait_for_timeout(300)


def script_runs_ms(page, act, rounds: int) -> list[float]:
    """Length of the server's script runs that an action causes, seen from the browser."""
    page.evaluate(WATCH)
    for number in range(rounds):
        act(number)
        page.wait_for_timeout(200)
        at_rest(page)
    return page.evaluate("window.runs")


def run() -> list[dict]:
    """Rows for the table of docs/performance.md."""
    from playwright.sync_api import sync_playwright

    starts: dict[str, list[float]] = {"ours": [], "empty": []}
    paints: dict[str, list[float]] = {"ours": [], "empty": []}
    scanned: list[float] = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium_path(), headless=True, args=CHROMIUM_ARGUMENTS)
        for _ in range(3):
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                with serving(Path(folder) / "home") as server:
                    starts["ours"].append((time.perf_counter() - began) * 1000)
                    paints["ours"].append(painted_ms(browser, server.url, "Overview"))
                    page = browser.new_page()
                    page.goto(server.url)
                    page.get_by_text("Scores side by side").wait_for(timeout=120_000)
                    scanned.append((time.perf_counter() - began) * 1000)
                    page.close()
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                with empty_app(Path(folder)) as url:
                    starts["empty"].append((time.perf_counter() - began) * 1000)
                    paints["empty"].append(painted_ms(browser, url, "Empty"))
        with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "home") as server, empty_app(Path(folder)) as url:
            ours, memory = switch_and_memory(browser, server)
            page = browser.new_page()
            page.goto(url)
            at_rest(page)
            rerun = script_runs_ms(page, lambda n: page.get_by_role("button", name="again").click(), 2 * ROUNDS)
        browser.close()
    everything = imported_mib()
    start, empty = statistics.median(starts["ours"]), statistics.median(starts["empty"])
    first = start + statistics.median(paints["ours"])
    first_empty = empty + statistics.median(paints["empty"])
    slowest, base = max(statistics.median(v) for v in ours.values()), statistics.median(rerun)
    return [
        row("start to healthy", start, "empty Streamlit app", empty, None),
        row("cold start to Overview painted, nothing cached", first, "empty Streamlit app", first_empty, "3"),
        row("cold start to 12 symbols scored, nothing cached", statistics.median(scanned), None, None, None),
        row("page switch, slowest page, warm (script run)", slowest, "empty app's rerun", base, "0.5"),
        row("memory after the first page", memory["first"], "the brief's stack, all imported", everything, "300 MiB", "MiB"),
        row("memory after 12 symbols and every page", memory["all"], "the brief's stack, all imported", everything, "450 MiB", "MiB"),
    ]


def switch_and_memory(browser, server) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Script runs per page once warm, and the server's resident memory at first paint and at the end."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(server.url)
    page.get_by_role("heading", name="Overview").wait_for()
    memory = {"first": rss_mib(server.process.pid)}
    page.get_by_text("Scores side by side").wait_for(timeout=120_000)
    at_rest(page)
    times: dict[str, list[float]] = {}
    titles = ("Analysis", "Data", "Overview")
    for lap in range(ROUNDS + 1):
        for title in titles:
            page.evaluate(WATCH)
            page.get_by_test_id("stSidebar").get_by_role("link", name=title).click()
            page.get_by_role("heading", name=title, exact=True).wait_for()
            page.wait_for_timeout(300)
            at_rest(page)
            if lap:  # the first lap warms every page
                times.setdefault(title, []).append(sum(page.evaluate("window.runs")))
    memory["all"] = rss_mib(server.process.pid)
    page.close()
    return times, memory


def rss_mib(pid: int) -> float:
    """The whole group of processes."""
    process = psutil.Process(pid)
    return sum(p.memory_info().rss for p in [process, *process.children(recursive=True)]) / 2**20


def imported_mib() -> float:
    code = (f"import importlib, psutil\nfor n in '{EVERYTHING}'.split(): importlib.import_module(n)\n"
            "print(psutil.Process().memory_info().rss / 2**20)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def row(name: str, ours: float, peer: str | None, theirs: float | None, target: str | None, unit: str = "ms") -> dict:
    return {"name": name, "ours_ms": ours, "peer": peer, "peer_ms": theirs, "ratio": ours / theirs if theirs else None, "target": target,
            "unit": unit}


if __name__ == "__main__":
    from benchmarks.__main__ import table

    print(table(run()))
