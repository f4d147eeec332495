"""Backtest against vectorbt (its Rust engine where installed) and backtesting.py, in one interleaved run (performance.md rows 1 to 3).

The peers get the same signals, stops, fees and slippage. Ours does more on every bar (tick, step, caps, kill switch, cooldown,
participation). "With metrics" means total return, Sharpe, Sortino, maximum drawdown, win rate, profit factor, from each library's own
functions. vectorbt's Rust engine needs `vectorbt[rust]`; the peer's name says what ran. Memory and first calls are measured in processes
of their own.
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from core.backtest import engine
from core.backtest.engine import Variant
from core.backtest.plan import Config, Plan, build
from core.backtest.signals import Signals
from core.risk.limits import RiskLimits
from core.risk.sizing import Sizing
from core.trading.contracts import Contract
from data.frames import Candles
from data.market import Costs, Interval, Market
from data.simulator import worlds

MINUTES, HOURS, SETS, SYMBOLS = 525_600, 43_800, 1_000, 10
ROUNDS = 5
STOP, TARGET, TRAIL = 0.02, 0.03, 0.025
COSTS = Costs(maker_bps=10.0, taker_bps=10.0, slippage_bps=2.0)


def crossings(close: np.ndarray, fast: int, slow: int) -> np.ndarray:
    """Action of a moving-average crossing: in above, out below."""
    total = np.concatenate(([0.0], np.cumsum(close)))
    mean = [np.concatenate((np.full(w - 1, np.nan), (total[w:] - total[:-w]) / w)) for w in (fast, slow)]
    above = mean[0] > mean[1]
    out = np.zeros(len(close), np.int8)
    out[1:] = np.where(above[1:] & ~above[:-1], 1, np.where(~above[1:] & above[:-1], 3, 0))
    return out


def plan_of(candles: Candles, action: np.ndarray, **changes: Any) -> Plan:
    limits = changes.pop("limits", RiskLimits(position_cap=1.0))
    config = Config(costs=COSTS, sizing=Sizing.FRACTION, size=0.2, distances="fraction", limits=limits, **changes)
    return build(config, {"AAAUSDT": candles}, [Signals("AAAUSDT", action, stop=STOP, target=TARGET, trail=TRAIL)],
                 contracts={"AAAUSDT": Contract("AAAUSDT", Market.SPOT, 0.01, 0.00001)})


def ours_full(plan: Plan) -> Callable[[], Any]:
    def call() -> Any:
        result = engine.run(plan)
        return len(result.table), result.metrics
    return call


def vectorbt_full(candles: Candles, action: np.ndarray) -> tuple[str, Callable[[], Any]]:
    """Signals shifted to the next open by the price given; a stop and a target (its trailing stop replaces the fixed one)."""
    import pandas as pd
    import vectorbt as vbt

    rust = importlib.util.find_spec("vectorbt_rust") is not None
    index = pd.to_datetime(candles.open_time, unit="ms")
    o, h, l, c = (pd.Series(x, index=index) for x in (candles.open, candles.high, candles.low, candles.close))  # noqa: E741
    shifted = np.concatenate(([0], action[:-1]))
    entries, exits = pd.Series(shifted == 1, index=index), pd.Series(shifted == 3, index=index)

    def call() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            folio = vbt.Portfolio.from_signals(c, entries, exits, price=o, open=o, high=h, low=l, sl_stop=TRAIL, sl_trail=True,
                                               tp_stop=TARGET, fees=0.001, slippage=0.0002, size=0.2, size_type="percent", init_cash=10_000,
                                               freq=pd.Timedelta(candles.interval.ms, unit="ms"))
            return (folio.trades.count(), folio.total_return(), folio.sharpe_ratio(), folio.sortino_ratio(), folio.max_drawdown(),
                    folio.trades.win_rate(), folio.trades.profit_factor())

    return "vectorbt, Rust engine" if rust else "vectorbt, numba engine", call


def vectorbt_sweep(candles: Candles, action: np.ndarray, sets: list[tuple[float, float]], chunk: int) -> tuple[str, Callable[[], Any]]:
    """Every set is a column with its own trailing stop and target, `chunk` columns at a time."""
    import pandas as pd
    import vectorbt as vbt

    rust = importlib.util.find_spec("vectorbt_rust") is not None
    index = pd.to_datetime(candles.open_time, unit="ms")
    o, h, l, c = (pd.Series(x, index=index) for x in (candles.open, candles.high, candles.low, candles.close))  # noqa: E741
    shifted = np.concatenate(([0], action[:-1]))

    def call() -> Any:
        found = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for first in range(0, len(sets), chunk):
                part = np.array(sets[first : first + chunk])
                columns = pd.RangeIndex(len(part))
                entries = pd.DataFrame(np.repeat((shifted == 1)[:, None], len(part), axis=1), index=index, columns=columns)
                exits = pd.DataFrame(np.repeat((shifted == 3)[:, None], len(part), axis=1), index=index, columns=columns)
                folio = vbt.Portfolio.from_signals(c, entries, exits, price=o, open=o, high=h, low=l, sl_stop=TRAIL * part[:, 0],
                                                   sl_trail=True, tp_stop=TARGET * part[:, 1], fees=0.001, slippage=0.0002, size=0.2,
                                                   size_type="percent", init_cash=10_000, freq="1h")
                found.append((folio.total_return(), folio.sharpe_ratio(), folio.sortino_ratio(), folio.max_drawdown(),
                              folio.trades.win_rate(), folio.trades.profit_factor()))
        return found

    return ("vectorbt, Rust engine" if rust else "vectorbt, numba engine") + f", {chunk} columns a chunk", call


def backtesting_full(candles: Candles, action: np.ndarray) -> Callable[[], Any] | None:
    if importlib.util.find_spec("backtesting") is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pandas as pd
        from backtesting import Backtest, Strategy

    frame = pd.DataFrame({"Open": candles.open, "High": candles.high, "Low": candles.low, "Close": candles.close,
                          "Volume": candles.volume}, index=pd.to_datetime(candles.open_time, unit="ms"))

    class Crossing(Strategy):
        def init(self) -> None:
            self.wanted = self.I(lambda: action.astype(float), plot=False)

        def next(self) -> None:
            if self.wanted[-1] == 1 and not self.position:
                price = self.data.Close[-1]
                self.buy(size=0.2, sl=price * (1 - STOP), tp=price * (1 + TARGET))
            elif self.wanted[-1] == 3 and self.position:
                self.position.close()

    def call() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Backtest(frame, Crossing, cash=10_000_000, commission=0.001, spread=0.0002).run()

    return call


def measure(name: str, ours: Callable[[], Any], peer: str, theirs: Callable[[], Any] | None, target: float | None, *,
            rounds: int = ROUNDS, warm: bool = True) -> dict[str, Any]:
    """Medians of interleaved rounds after a warm-up of both (the peer of the sweep is warm already)."""
    ours()
    if theirs is not None and warm:
        theirs()
    ours_s, peer_s = [], []
    for _ in range(rounds):
        began = time.perf_counter()
        ours()
        between = time.perf_counter()
        ours_s.append(between - began)
        if theirs is not None:
            theirs()
            peer_s.append(time.perf_counter() - between)
    if theirs is not None:
        ours_s.append(_once(ours))  # ours, theirs, ours: also where one round is all there is
    ours_ms = 1000 * statistics.median(ours_s)
    peer_ms = 1000 * statistics.median(peer_s) if peer_s else None
    return {"name": name, "ours_ms": round(ours_ms, 2), "peer": peer, "peer_ms": peer_ms and round(peer_ms, 2),
            "ratio": peer_ms and round(ours_ms / peer_ms, 5), "target": target}


def _once(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def ten_symbols() -> dict[str, Candles]:
    return {f"{letter * 3}USDT": worlds.candles_of(worlds.random_walk(10 + k, HOURS), seed=10 + k, interval=Interval.H1, bar_sd=0.005)
            for k, letter in enumerate("ABCDEFGHIJ"[:SYMBOLS])}


def plan_of_ten(candles: dict[str, Candles]) -> Plan:
    config = Config(costs=COSTS, sizing=Sizing.FRACTION, size=0.1, distances="fraction",
                    limits=RiskLimits(position_cap=1.0, max_positions=SYMBOLS))
    signals = [Signals(s, crossings(c.close, 24, 96), stop=STOP, target=TARGET, trail=TRAIL) for s, c in candles.items()]
    return build(config, candles, signals,
                 contracts={s: Contract(s, Market.SPOT, 0.01, 0.00001) for s in candles})


def vectorbt_ten(candles: dict[str, Candles]) -> Callable[[], Any]:
    """The ten as columns of one group that shares its cash."""
    import pandas as pd
    import vectorbt as vbt

    index = pd.to_datetime(next(iter(candles.values())).open_time, unit="ms")

    def frame(of: Callable[[Candles], np.ndarray]) -> Any:
        return pd.DataFrame({s: of(c) for s, c in candles.items()}, index=index)

    o, h, l, c = (frame(lambda c, n=n: getattr(c, n)) for n in ("open", "high", "low", "close"))  # type: ignore[misc]  # noqa: E741
    shifted = frame(lambda c: np.concatenate(([0], crossings(c.close, 24, 96)[:-1])))

    def call() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            folio = vbt.Portfolio.from_signals(c, shifted == 1, shifted == 3, price=o, open=o, high=h, low=l, sl_stop=TRAIL, sl_trail=True,
                                               tp_stop=TARGET, fees=0.001, slippage=0.0002, size=0.1, size_type="percent",
                                               init_cash=10_000, freq="1h", group_by=True, cash_sharing=True)
            return (folio.trades.count(), folio.total_return(), folio.sharpe_ratio(), folio.sortino_ratio(), folio.max_drawdown(),
                    folio.trades.win_rate(), folio.trades.profit_factor())

    return call


def report_of(candles: dict[str, Candles], folder: Path) -> Callable[[], Any]:
    """A quick study of the ten with every file of its report, from candles in memory."""
    from core.backtest.question import Material, Question
    from core.backtest.report import files
    from core.backtest.study import Study, judge
    from core.strategies import Choice
    from data.clock import SystemClock
    from models.trials import TrialLedger

    plan = plan_of_ten(candles)
    question = Question(tuple(candles), Interval.H1, Market.SPOT, Choice("ema_cross"), plan.config, bars=HOURS)
    first = next(iter(candles.values()))
    daily = (first.close_time[23::24], first.close[23::24])
    material = Material(question, candles, dict.fromkeys(candles), candles, {}, {}, "AAAUSDT", daily)
    ledger = TrialLedger(folder / "trials.sqlite", SystemClock())

    def call() -> Any:
        result = engine.run(plan)
        judged = judge(material, plan, result, ledger, quick=True, worlds=0, tell=lambda words: None) | {"lookahead": "not checked"}
        return files(Study(question, plan, result, judged, (), {}))

    return call


# -- in processes of their own ----------------------------------------------------------------------------------------

_PLAN = """
import json, sys, time
from benchmarks import bench_backtest as b
from core.backtest import engine
from core.backtest.engine import Variant
from data.market import Interval
from data.simulator import worlds
hours = worlds.candles_of(worlds.random_walk(2, b.HOURS), seed=2, interval=Interval.H1, bar_sd=0.005)
action = b.crossings(hours.close, 24, 96)
sets = b.parameter_sets()

def peak(reset=False):  # MiB; imports and compiling have peaks of their own
    if reset:
        open("/proc/self/clear_refs", "w").write("5")
    return float(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) / 1024

"""
_MEMORY = {
    "ours": "plan = b.plan_of(hours, action); v = b.variants_of(sets); engine.sweep(plan, v[:2]); was = peak(True); engine.sweep(plan, v)",
    "peer": "_, call = b.vectorbt_sweep(hours, action, sets[:10], 10); call(); was = peak(True); _, call = b.vectorbt_sweep(hours, action, "
            "sets, 10); call()"}
_FIRST = {"ours": "plan = b.plan_of(hours, action); began = time.perf_counter(); engine.run(plan).metrics",
          "peer": "_, call = b.vectorbt_full(hours, action); began = time.perf_counter(); call()"}


def alone(code: str, answer: str, cache: str | None = None) -> float:
    """The number a fresh process prints."""
    environment = os.environ | ({} if cache is None else {"NUMBA_CACHE_DIR": cache})
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", f"{_PLAN}{code}\nprint(); print(json.dumps({answer}))"], env=environment,
                          cwd=Path(__file__).resolve().parent.parent, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def memory_row() -> dict[str, Any]:
    ours, theirs = (alone(_MEMORY[who], "peak() - was") for who in ("ours", "peer"))
    return {"name": f"peak extra memory of the sweep of {SETS:,} sets", "ours_ms": round(ours, 1), "unit": "MiB",
            "peer": "vectorbt, 10 columns a chunk", "peer_ms": round(theirs, 1), "ratio": round(ours / theirs, 4) if theirs > 0 else None,
            "target": "20 MiB"}


def first_calls(rounds: int = 1) -> list[dict[str, Any]]:
    """A backtest as the first thing a process does: its imports and candles are there, its kernels on disk, or nowhere."""
    took: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            for state in ("empty", "warm"):
                for who in ("ours", "peer"):
                    took.setdefault((state, who), []).append(1000 * alone(_FIRST[who], "time.perf_counter() - began", f"{folder}/{who}"))
    rows = []
    for state in ("warm", "empty"):
        ours, theirs = (statistics.median(took[state, who]) for who in ("ours", "peer"))
        rows.append({"name": f"first backtest of a process, {HOURS:,} bars, kernel cache {state}", "ours_ms": round(ours, 1),
                     "peer": "vectorbt, the same", "peer_ms": round(theirs, 1), "ratio": round(ours / theirs, 4), "target": None})
    return rows


def parameter_sets() -> list[tuple[float, float]]:
    return [(float(a), float(b)) for a in np.linspace(0.4, 3.0, 40) for b in np.linspace(0.4, 3.0, 25)][:SETS]


def variants_of(sets: list[tuple[float, float]]) -> list[Variant]:
    return [Variant(f"{a:.2f}/{b:.2f}", {"trail_multiple": a, "target_multiple": b}) for a, b in sets]


def run() -> list[dict[str, Any]]:
    """One row a comparison: name, ours_ms, peer, peer_ms, ratio, target."""
    minutes = worlds.candles_of(worlds.random_walk(1, MINUTES), seed=1, interval=Interval.M1, bar_sd=0.0007)
    hours = worlds.candles_of(worlds.random_walk(2, HOURS), seed=2, interval=Interval.H1, bar_sd=0.005)
    rows = []
    for name, candles, target in ((f"backtest, {MINUTES:,} 1m bars", minutes, 0.20), (f"backtest, {HOURS:,} 1h bars", hours, 0.05)):
        action = crossings(candles.close, 24, 96)
        plan = plan_of(candles, action)
        peer, theirs = vectorbt_full(candles, action)
        rows.append(measure(name, ours_full(plan), peer, theirs, target))
    slow = backtesting_full(hours, action)
    peer = "backtesting.py" if slow else "backtesting.py: not installed"
    rows.append(measure(f"backtest, {HOURS:,} 1h bars", ours_full(plan), peer, slow, 0.005, rounds=3))
    sets, variants = parameter_sets(), variants_of(parameter_sets())
    chunks = [vectorbt_sweep(hours, action, sets, size) for size in (10, 50)]
    tried = [(_once(lambda call=call: call()), name, call) for name, call in chunks]  # type: ignore[misc]
    _, peer, theirs = min(tried, key=lambda t: t[0])
    rows.append(measure(f"sweep of {SETS:,} sets, {HOURS:,} bars", lambda: engine.sweep(plan, variants), peer, theirs, 0.02, rounds=1,
                        warm=False))
    ten = ten_symbols()
    plan = plan_of_ten(ten)
    name = f"backtest, {SYMBOLS} symbols x {HOURS:,} 1h bars"
    rows.append(measure(name, ours_full(plan), peer.split(",")[0] + ", one group", vectorbt_ten(ten), None))
    with tempfile.TemporaryDirectory() as folder:
        rows.append(measure(f"{name}, quick report with all files", report_of(ten, Path(folder)), "-", None, None, rounds=3))
    return [*rows, memory_row(), *first_calls()]


if __name__ == "__main__":
    print(f"{'what':66} {'ours':>9} {'peer':>11} {'ratio':>8} {'target':>7}  peer")
    for row in run():
        theirs = f"{row['peer_ms']:11.1f}" if row["peer_ms"] else f"{'-':>11}"
        ratio = f"{row['ratio']:8.4f}" if row["ratio"] else f"{'-':>8}"
        print(f"{row['name']:66} {row['ours_ms']:9.1f} {theirs} {ratio} {row['target'] or '-':>7}  {row['peer']}")
