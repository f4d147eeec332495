"""A runner's bar of fifty symbols, by the minute, while twenty tabs of the app on the same home are clicked through: from the arrival of
the bar's last candle to its transaction. A live runner looks every half second, which comes on top.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.bench_hosted import alone
from benchmarks.tabs import quantile
from core.paper.broker import Broker
from core.paper.ledger import Ledger
from core.paper.runner import LOOK_S
from core.paper.window import Terms
from core.settings import Settings
from core.wiring import build
from data.clock import SystemClock
from data.frames import Candles
from data.market import DAY_MS, MINUTE_MS, Interval, SeriesKey
from data.simulator.market import SYMBOLS, SimulatedExchange
from data.simulator.venue_clock import VirtualClock
from data.storage.candles import CandleStore
from tests.serving import ROOT, serving

MANY, TABS, BARS, BEFORE = 50, 20, 200, 1_500
SEEDS = (7, 8, 9, 10, 11)
AFTER_CLOSE_MS = 3_000


def minutes(start_ms: int, end_ms: int) -> dict[SeriesKey, Candles]:
    """A minute series for each of fifty symbols, from five simulated worlds."""
    clock = SystemClock()
    found = {}
    for seed in SEEDS:
        world = SimulatedExchange(seed, clock)
        for symbol in SYMBOLS:
            name = symbol if seed == SEEDS[0] else f"{symbol.removesuffix('USDT')}{seed}USDT"
            found[SeriesKey(name, Interval.M1)] = world.read(SeriesKey(symbol, Interval.M1), start_ms, end_ms)
    return dict(list(found.items())[:MANY])


def bars(home: Path, series: dict[SeriesKey, Candles], began_ms: int, most: int) -> list[float]:
    """Seconds from the arrival of the last candle to the end of the transaction, bar by bar."""
    clock = VirtualClock(began_ms + 1_000)
    store = CandleStore(home / "real")
    for key, candles in series.items():
        store.append(key, candles.between(0, began_ms), provenance="IMPORTED", source="benchmark")
    sextant = build(Settings(home=home, world="real", network="off"), clock)
    broker = Broker(Ledger(sextant.paper_ledger.path), sextant, "bench")
    broker.open(Terms(tuple(key.symbol for key in series), "ema_cross", {}, {"interval": "1m", "max_positions": MANY}))
    took = []
    for bar in range(most):
        opened = began_ms + bar * MINUTE_MS
        for key, candles in series.items():
            store.append(key, candles.between(opened, opened + MINUTE_MS), provenance="IMPORTED", source="benchmark")
        clock.advance(opened + MINUTE_MS + AFTER_CLOSE_MS - clock.now_ms())
        began = time.perf_counter()
        done = broker.step()
        took.append(time.perf_counter() - began)
        assert len(done) == 1, f"a bar should be decided at {clock.now_ms()}, {len(done)} were"
    return took


def run() -> list[dict]:
    """Rows for the table of docs/performance.md."""
    now = SystemClock().now_ms()
    began_ms = (now // MINUTE_MS - BARS - 5) * MINUTE_MS
    series = minutes(max(began_ms - BEFORE * MINUTE_MS, now - 30 * DAY_MS), now)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir()
        alone_s = bars(Path(folder) / "quiet", series, began_ms, BARS // 4)
        with serving(home, SEXTANT_WATCHLIST="BTCUSDT,ETHUSDT,SOLUSDT,BNBUSDT") as server:
            subprocess.run([sys.executable, "-m", "benchmarks.tabs", server.url, "--tabs", "1", "--seconds", "45"], cwd=ROOT, check=True,
                           capture_output=True)
            alone(server.process.pid)
            visitors = subprocess.Popen([sys.executable, "-m", "benchmarks.tabs", server.url, "--tabs", str(TABS), "--seconds", "3600"],
                                        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            try:
                time.sleep(5)
                busy_s = bars(home, series, began_ms, BARS)
                assert visitors.poll() is None, "the tabs ended early"
            finally:
                visitors.terminate()
                visitors.wait()
    for words, took in ((f"beside {TABS} tabs", busy_s), ("alone", alone_s)):
        for name, share, target in (("median", 0.5, "shown"), ("p99", 0.99, f"2,000 ms with {LOOK_S} s to look")):
            rows.append({"name": f"a runner's bar, {MANY} symbols, {words}: {name} of {len(took)}", "target": target,
                         "ours_ms": 1e3 * quantile(took[2:], share)})
    return rows


if __name__ == "__main__":
    from benchmarks.__main__ import table

    print(table(run()))
