"""The HTTP API under load on loopback: eight clients at once, beside a bare FastAPI route that gives a ready object of the same size."""

from __future__ import annotations

import socket
import statistics
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests
import uvicorn
from fastapi import FastAPI

from core.faces.api import build_api
from core.settings import Settings
from core.wiring import build
from data.clock import FixedClock, parse_time

CLIENTS, EACH, ROUNDS = 8, 100, 3
AT = parse_time("2026-09-20T12:10:00Z")
ROUTES = {"price": "/price/BTCUSDT", "signal": "/signal/BTCUSDT?interval=1h", "scores": "/scores/BTCUSDT?interval=1h",
          "paper": "/paper"}


class _Server:
    """An application on a free port, in a thread of this process: both sides pay for the same interpreter."""

    def __init__(self, app: FastAPI) -> None:
        held = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{held.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [held]}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)


def _bare(objects: dict[str, Any]) -> FastAPI:
    app = FastAPI()

    @app.get("/ready/{name}")
    def ready(name: str) -> Any:
        return objects[name]

    return app


def _session() -> requests.Session:
    """Connections kept open; no proxy of the environment."""
    session = requests.Session()
    session.trust_env = False
    return session


def _load(url: str) -> list[float]:
    """Milliseconds of every request of eight clients."""

    def one(_: int) -> list[float]:
        with _session() as client:
            took = []
            for _ in range(EACH):
                began = time.perf_counter()
                client.get(url, timeout=30).raise_for_status()
                took.append((time.perf_counter() - began) * 1e3)
            return took

    with ThreadPoolExecutor(CLIENTS) as pool:
        return [t for times in pool.map(one, range(CLIENTS)) for t in times]


def run() -> list[dict]:
    """Rows of the performance table: the 99th percentile of each route."""
    with tempfile.TemporaryDirectory() as folder:
        ours = _Server(build_api(build(Settings(home=Path(folder), world="simulated", network="off"), FixedClock(AT))))
        objects = {name: _session().get(ours.url + route, timeout=120).json() for name, route in ROUTES.items()}  # and warm
        bare = _Server(_bare(objects))
        rows = []
        for name, route in ROUTES.items():
            mine, theirs = [], []
            for _ in range(ROUNDS):
                mine.append(statistics.quantiles(_load(ours.url + route), n=100)[98])
                theirs.append(statistics.quantiles(_load(f"{bare.url}/ready/{name}"), n=100)[98])
            a, b = statistics.median(mine), statistics.median(theirs)
            rows.append({"name": f"API, /{name}, p99 of {CLIENTS} clients at once", "ours_ms": a, "peer_ms": b, "ratio": a / b,
                         "peer": "bare FastAPI route, same object", "target": "shown"})
        ours.stop()
        bare.stop()
        return rows


if __name__ == "__main__":
    from benchmarks.__main__ import table

    print(table(run()))
