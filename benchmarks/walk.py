"""A stranger's walk, timed: clone, start, first look, real archives, a symbol, a backtest, a model, the paper account, a question; then the
same on a host whose country the exchange blocks, as a guest first and with the owner's password.

`python -m benchmarks.walk ARCHIVES [--here] [--shots FOLDER]` prints two tables. ARCHIVES is a folder of the exchange's archive zips;
`--here` walks this checkout with this interpreter instead of a fresh clone with an environment of its own.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bench_hosted import Group, bare_environment, blocked_exchange
from tests.serving import CHROMIUM_ARGUMENTS, ROOT, chromium_path, free_port, settled

PATIENCE_S = 240
PASSWORD = "a stranger's password"
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


class Walk:
    """One browser, one app; a row a step."""

    def __init__(self, page, url: str, shots: Path | None, name: str) -> None:
        self.page, self.url, self.shots, self.name = page, url, shots, name
        self.rows: list[tuple[str, float, str]] = []

    @contextmanager
    def step(self, what: str) -> Iterator[Callable[[str], None]]:
        """Time a step; the words given to what it yields say what was seen."""
        seen: list[str] = []
        began = time.perf_counter()
        yield seen.append
        self.rows.append((what, time.perf_counter() - began, " ".join("; ".join(seen).split())))
        print(f"{self.name}: {what}: {self.rows[-1][1]:.1f} s: {self.rows[-1][2]}", file=sys.stderr, flush=True)
        if self.shots is not None:
            self.page.screenshot(path=str(self.shots / f"{self.name}-{len(self.rows):02d}.png"))

    def open(self, title: str) -> None:
        self.page.get_by_test_id("stSidebar").get_by_role("link", name=title, exact=True).click()
        self.page.get_by_role("heading", name=title, exact=True).wait_for(timeout=PATIENCE_S * 1000)
        settled(self.page, PATIENCE_S)

    def press(self, key: str) -> None:
        self.page.locator(f".st-key-{key} button").first.click()

    def see(self, text: str, *, exact: bool = False) -> str:
        found = self.page.get_by_text(text, exact=exact).filter(visible=True).first
        found.wait_for(timeout=PATIENCE_S * 1000)
        return found.inner_text()

    def first_look(self) -> None:
        with self.step("the first page is painted"):
            self.page.goto(self.url)
            self.page.get_by_role("heading", name="Overview", exact=True).wait_for(timeout=PATIENCE_S * 1000)
        with self.step("its symbols are scored") as saw:
            saw(self.see("Scores side by side"))
            settled(self.page, PATIENCE_S)

    def sign_in(self) -> None:
        with self.step("the owner's password is given") as saw:
            self.open("Settings")
            self.page.get_by_label("Owner's password").first.fill(PASSWORD)
            self.page.keyboard.press("Enter")
            self.page.get_by_label("Owner's password").first.wait_for(state="detached", timeout=PATIENCE_S * 1000)
            settled(self.page, PATIENCE_S)
            saw("what changes state is allowed in this tab")

    def bring(self, archives: Path) -> None:
        files = [str(path) for symbol in SYMBOLS for path in sorted(archives.rglob(f"{symbol}-1h-*.zip")) if "/spot/" in path.as_posix()]
        assert files, f"no archive zips of {', '.join(SYMBOLS)} below {archives}"
        with self.step(f"{len(files)} archive zips are imported on the page Data") as saw:
            self.open("Data")
            self.page.locator('input[type="file"]').set_input_files(files)
            self.page.wait_for_timeout(1_000)
            self.page.get_by_role("combobox", name="Market").click()  # the name of a single archive file does not say it
            self.page.get_by_role("option", name="spot").click()
            self.page.get_by_test_id("stFormSubmitButton").get_by_role("button", name="Import").click()
            saw(self.see("candles added"))
        with self.step("the app shows them"):
            self.page.get_by_role("button", name="Show the real data").click()
            self.see("You are looking at real data")
            settled(self.page, PATIENCE_S)

    def read(self) -> None:
        with self.step("a symbol is read: scores, regimes, parts") as saw:
            self.open("Analysis")
            saw(self.page.locator("h3").first.inner_text())

    def backtest(self) -> None:
        with self.step("a backtest") as saw:
            self.open("Backtest")
            self.press("bt-run")
            self.see("Where it came from")
            settled(self.page, PATIENCE_S)
            saw(self.page.locator('[data-testid="stMain"] h3').first.inner_text())

    def train(self) -> None:
        with self.step("a model is trained and judged") as saw:
            self.open("Models")
            self.press("ml-train")
            self.page.locator('[class*="st-key-ml-stop-"]').first.wait_for(timeout=PATIENCE_S * 1000)
            self.page.locator('[class*="st-key-ml-stop-"]').first.wait_for(state="detached", timeout=PATIENCE_S * 1000)
            settled(self.page, PATIENCE_S)
            saw(self.page.locator('[data-testid="stMain"] h3').first.inner_text())

    def paper(self) -> None:
        with self.step("a paper account is opened, and its runner lives") as saw:
            self.open("Paper trading")
            self.press("pp-open")
            self.page.locator(".st-key-pp-stop-runner").wait_for(timeout=PATIENCE_S * 1000)
            saw(self.see("Runner:"))

    def ask(self) -> None:
        with self.step("a question to the assistant, without a key") as saw:
            self.open("Assistant")
            box = self.page.locator(".st-key-as-input textarea")
            box.fill("/brief")
            box.press("Enter")
            self.page.locator('[data-testid="stChatMessage"]').nth(1).wait_for(timeout=PATIENCE_S * 1000)
            settled(self.page, PATIENCE_S)
            saw(self.page.locator('[data-testid="stChatMessage"]').nth(1).inner_text()[:100])

    def stop_runner(self) -> None:
        self.open("Paper trading")
        self.press("pp-stop-runner")
        self.page.locator(".st-key-pp-start-runner").wait_for(timeout=PATIENCE_S * 1000)

    def table(self) -> str:
        lines = [f"| {self.name} | s | seen |", "|---|---|---|"]
        took = ["–" if math.isnan(seconds) else f"{seconds:.1f}" for _, seconds, _ in self.rows]
        cells = zip(self.rows, took, strict=True)
        return "\n".join(lines + [f"| {what} | {spent} | {seen.replace('|', '/')} |" for (what, _, seen), spent in cells])


@contextmanager
def app(command: list[str], checkout: Path, home: Path, log: Path, **variables: str) -> Iterator[tuple[str, subprocess.Popen, float]]:
    """The app, its address, and the seconds until it answered."""
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SEXTANT_", "VIRTUAL_ENV"))}
    environment |= {"SEXTANT_HOME": str(home)} | variables
    began = time.perf_counter()
    with log.open("wb") as written:
        process = subprocess.Popen([*command, f"--server.port={port}", "--server.headless=true"], cwd=checkout, env=environment,
                                   stdout=written, stderr=subprocess.STDOUT)
        try:
            while True:
                assert process.poll() is None, log.read_text()[-2000:]
                assert time.perf_counter() - began < PATIENCE_S, log.read_text()[-2000:]
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2).close()
                    break
                except OSError:
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}", process, time.perf_counter() - began
        finally:
            process.terminate()
            process.wait(timeout=30)


def local(browser, command: list[str], checkout: Path, folder: Path, archives: Path, shots: Path | None,
          before: list[tuple[str, float, str]]) -> Walk:
    """On a computer of one's own, nothing reachable."""
    with app(command, checkout, folder / "local", folder / "local.log", SEXTANT_NETWORK="off") as (url, _, seconds):
        walk = Walk(browser.new_page(viewport={"width": 1280, "height": 900}), url, shots, "on a computer of one's own")
        walk.rows = [*before, ("`python run.py` answers, set-up included", seconds, "")]
        walk.first_look()
        walk.bring(archives)
        walk.read()
        walk.backtest()
        walk.train()
        walk.paper()
        walk.ask()
        walk.stop_runner()
    return walk


def hosted(browser, command: list[str], checkout: Path, folder: Path, shots: Path | None) -> Walk:
    """As a host runs it: a fresh disk, the exchange's API answering 451, a guest first."""
    with blocked_exchange() as endpoint, app(
            command, checkout, folder / "hosted", folder / "hosted.log", SEXTANT_NETWORK="auto", SEXTANT_OWNER_PASSWORD=PASSWORD,
            SEXTANT_ENDPOINT=endpoint, SEXTANT_STORAGE="temporary", SEXTANT_WATCHLIST=",".join(SYMBOLS)) as (url, process, seconds):
        group = Group(process.pid)
        walk = Walk(browser.new_page(viewport={"width": 1280, "height": 900}), url, shots, "on a host, the API blocked")
        walk.rows = [("the app answers", seconds, "")]
        walk.first_look()
        walk.sign_in()
        walk.read()
        walk.backtest()
        walk.train()
        walk.paper()
        walk.ask()
        walk.stop_runner()
        walk.rows.append(("the most memory meanwhile, children included", float("nan"), f"{group.peak:.0f} MiB, now {group.now():.0f}"))
        group.end()
    return walk


def main(arguments: list[str] | None = None) -> int:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archives", type=Path)
    parser.add_argument("--here", action="store_true")
    parser.add_argument("--shots", type=Path)
    chosen = parser.parse_args(arguments)
    if chosen.shots is not None:
        chosen.shots.mkdir(parents=True, exist_ok=True)
    with bare_environment(), tempfile.TemporaryDirectory() as name, sync_playwright() as driver:
        folder = Path(name)
        browser = driver.chromium.launch(executable_path=chromium_path(), headless=True, args=CHROMIUM_ARGUMENTS)
        checkout, command, before = ROOT, [sys.executable, "-m", "streamlit", "run", "app.py", "--server.address=127.0.0.1"], []
        if not chosen.here:
            began = time.perf_counter()
            subprocess.run(["git", "clone", "-q", str(ROOT), str(folder / "sextant")], check=True)
            before = [("`git clone`", time.perf_counter() - began, "")]
            checkout, command = folder / "sextant", [getattr(sys, "_base_executable", sys.executable), "run.py"]
        walks = [local(browser, command, checkout, folder, chosen.archives.resolve(), chosen.shots, before),
                 hosted(browser, command, checkout, folder, chosen.shots)]
        browser.close()
    print("\n\n".join(walk.table() for walk in walks))
    return 0


if __name__ == "__main__":
    sys.exit(main())
