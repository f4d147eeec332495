"""A real server of the app and a real browser, for the page tests and the benchmarks."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
START_S = 60


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


def free_ports(count: int) -> int:
    """The first of `count` free ports in a row."""
    while True:
        first = free_port()
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return first
        except (OSError, OverflowError):
            continue


def venue_ports() -> int:
    """The first of the free ports that a loopback exchange takes when it is told where to listen."""
    from data.simulator.venue_hosts import Host

    return free_ports(len(Host))


@contextmanager
def serving(home: Path, *, within: tuple[str, ...] = (), **variables: str) -> Iterator[Server]:
    """The app on a free port, with its own home; ended afterwards. `within` is a command that runs the rest of its line."""
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SEXTANT_")} | {"SEXTANT_HOME": str(home),
                                                                                                     "SEXTANT_NETWORK": "off"} | variables
    command = [*within, sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless=true", "--server.address=127.0.0.1",
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


CHROMIUM_ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking",
                      "--disable-component-update", "--disable-sync", "--no-first-run"]


def chromium_path() -> str | None:
    """Debian's Chromium, or what stands in for it; None where there is none."""
    return next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)


def settled(page, wait_s: int = 60) -> None:
    """Wait until the script is at rest (and has been for a moment: a rerun may follow at once)."""
    for _ in range(2):
        page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').wait_for(timeout=wait_s * 1000)
        page.wait_for_timeout(250)
