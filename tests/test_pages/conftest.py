"""A real server and a real browser for the pages."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
START_S = 60
HARMLESS = ("_stcore/health", "_stcore/host-config")  # 404s of a deep link's relative probes (decisions.md 38)


@dataclass(frozen=True)
class Server:
    """A running app: where it answers and where its state is."""

    url: str
    home: Path
    process: subprocess.Popen


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(home: Path, **variables: str) -> Iterator[Server]:
    """The app on a free port, with its own home; ended afterwards."""
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SEXTANT_")} | {"SEXTANT_HOME": str(home)} | variables
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless=true", "--server.address=127.0.0.1",
               f"--server.port={port}"]
    with (home.parent / f"server-{port}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            url = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + START_S
            while True:
                try:
                    with urllib.request.urlopen(f"{url}/_stcore/health", timeout=2) as answer:
                        assert answer.read() == b"ok"
                    break
                except OSError:
                    assert process.poll() is None, "the server ended: " + Path(log.name).read_text()[-2000:]
                    assert time.monotonic() < deadline, "the server did not answer: " + Path(log.name).read_text()[-2000:]
                    time.sleep(0.1)
            yield Server(url, home, process)
        finally:
            process.terminate()
            process.wait(timeout=20)


@pytest.fixture(scope="session")
def chromium() -> Iterator[object]:
    """Headless Chromium. Skips where there is none; CI must have it."""
    path = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)
    if path is None:
        assert not os.environ.get("CI"), "CI needs Chromium: apt-get install chromium"
        pytest.skip("no Chromium on this computer (Debian: apt install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, headless=True, args=[
            "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", "--no-first-run"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def simulated_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The app as a newcomer meets it: nothing stored, nothing reachable."""
    with serving(tmp_path_factory.mktemp("simulated") / "home") as server:
        yield server


@pytest.fixture
def visit(chromium) -> Iterator[Callable]:
    """Open a page and wait until its script has run; fails on page errors and on console errors that are not harmless."""
    contexts, problems = [], []

    def go(url: str, *, heading: str, width: int = 1280, dark: bool = False, wait_s: int = 60):
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light",
                                       locale="tr-TR", timezone_id="Europe/Istanbul")
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(f"page error: {error}"))
        page.on("console", lambda message: problems.append(f"{message.text} {message.location.get('url', '')}")
                if message.type == "error" and not any(h in message.location.get("url", "") + message.text for h in HARMLESS) else None)
        page.goto(url)
        page.get_by_role("heading", name=heading, exact=True).wait_for(timeout=wait_s * 1000)
        settled(page, wait_s)
        return page

    yield go
    for context in contexts:
        context.close()
    assert not problems


def settled(page, wait_s: int = 60) -> None:
    """Wait until the script is at rest (and has been for a moment: a rerun may follow at once)."""
    for _ in range(2):
        page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').wait_for(timeout=wait_s * 1000)
        page.wait_for_timeout(250)
