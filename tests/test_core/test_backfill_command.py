"""`exchange` and `backfill` as processes: killed and started again, every candle is there once and is the exchange's own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from data.clock import SystemClock
from data.frames import COLUMNS
from data.market import Interval, SeriesKey
from data.simulator.market import SimulatedExchange
from data.storage.candles import CandleStore
from tests.serving import venue_ports

ROOT = Path(__file__).resolve().parents[2]


def command(home: Path, *words: str, **variables: str) -> list:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SEXTANT_")} | {"SEXTANT_HOME": str(home)} | variables
    return [[sys.executable, "-m", "core", *words], {"cwd": ROOT, "env": environment}]


@pytest.fixture
def exchange(tmp_path):
    port = venue_ports()
    words, options = command(tmp_path / "exchange", "exchange", "--port", str(port), "--seed", "7", SEXTANT_NETWORK="off")
    process = subprocess.Popen(words, **options, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v3/ping", timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline and process.poll() is None, process.stderr
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def test_a_killed_backfill_resumes_and_the_rows_are_the_exchanges_own(exchange, tmp_path):
    home = tmp_path / "home"
    arguments = ("backfill", "BTCUSDT", "ETHUSDT", "--interval", "1m", "--days", "60")
    words, options = command(home, *arguments, SEXTANT_ENDPOINT=exchange)
    first = subprocess.Popen(words, **options, stderr=subprocess.PIPE, text=True)
    seen = ""
    while "%" not in seen.replace("0 %", ""):  # some of it is under way
        seen += first.stderr.read(200)
    first.send_signal(signal.SIGKILL)
    first.wait()
    done = subprocess.run([*words, "--json"], **options, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert all(one["missing"] == 0 and one["conflicts"] == 0 and not one["error"] for one in report["series"])
    again = json.loads(subprocess.run([*words, "--json"], **options, capture_output=True, text=True, timeout=120).stdout)
    assert sum(one["added"] for one in again["series"]) <= 10  # only the minutes that closed meanwhile
    truth = SimulatedExchange(7, SystemClock())
    for symbol in ("BTCUSDT", "ETHUSDT"):
        key = SeriesKey(symbol, Interval.M1)
        stored = CandleStore(home / "loopback").read(key)
        real = truth.read(key).between(int(stored.open_time[0]), int(stored.open_time[-1]) + 1)
        assert len(stored) >= 60 * 1440 - 1
        for name in COLUMNS:
            assert getattr(stored, name).tobytes() == getattr(real, name).tobytes(), name


@pytest.mark.parametrize(("words", "told"), [
    (("backfill", "BTCUSD"), "did you mean BTCUSDT?"),
    (("backfill", "BTCUSDT", "--start", "2031-01-01", "--end", "2031-02-01"), "future"),
    (("backfill", "BTCUSDT", "--start", "2026-02-01", "--end", "2026-01-01"), "before"),
    (("backfill", "BTCUSDT", "--days", "0"), "expected --days"),
])
def test_a_wrong_backfill_is_one_line(exchange, tmp_path, words, told):
    arguments, options = command(tmp_path / "home", *words, SEXTANT_ENDPOINT=exchange)
    done = subprocess.run(arguments, **options, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and told in done.stderr, done.stderr


def test_with_the_network_off_it_says_so(tmp_path):
    arguments, options = command(tmp_path / "home", "backfill", "BTCUSDT", SEXTANT_NETWORK="off")
    done = subprocess.run(arguments, **options, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "the network is switched off" in done.stderr
