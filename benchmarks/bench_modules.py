"""All modules and the composites for the twelve symbols of the simulated world at 1h, against the same metrics asked of the named
libraries symbol by symbol (naive_candles.py, naive_scores.py).

"Cold" pays for every fit (GARCH, Markov, forest, budget, tail, lead-lag table, allocation plan), "warm" finds them in the cache, as a scan
between two midnights does; what else is remembered by content (option chains) is there in both. A module is asked for its report alone,
so the sum of the modules counts twice what two of them share; the composites' row is the whole scorecard less the modules.
"""

from __future__ import annotations

import statistics
from dataclasses import replace

from analysis.fits import FitCache
from analysis.modules import MODULES
from analysis.scorecard import needs_of, score_view
from benchmarks.naive_scores import COMPOSITES_PEER, PEERS
from benchmarks.timing import milliseconds
from data.clock import FixedClock, parse_time
from data.market import Interval, Market
from data.simulator.market import SYMBOLS, SimulatedExchange
from data.simulator.observed import SimulatedObservations
from data.view import MarketView, build_view

NOW = parse_time("2026-11-19T14:10:00Z")  # a Thursday: on Mondays the alert memory reaches back to a second forest
SEED = 7
ROUNDS = 5
COLD_ROUNDS = 1  # a cold round fits two hundred models
SCAN_TARGET = "0.05x"  # performance.md row 6: a scan against the libraries called naively


def views(fits: FitCache) -> list[MarketView]:
    """Twelve views of the simulated world; reading them is not part of the comparison here (bench_scan.py has it)."""
    clock = FixedClock(NOW)
    exchange = SimulatedExchange(SEED, clock)
    beside = SimulatedObservations(SEED, exchange, clock)
    return [build_view(exchange, symbol, Market.SPOT, Interval.H1, needs_of(MODULES), fits=fits, observations=beside, peers=SYMBOLS)
            for symbol in SYMBOLS]


def afresh(view: MarketView, fits: FitCache) -> MarketView:
    """The same view that has not been looked at: nothing that lives as long as its candles is left over."""
    longer = None if view.longer is None else afresh(view.longer, fits)
    series = {need: replace(candles) for need, candles in view.series.items()}
    group = {need: {name: replace(candles) for name, candles in held.items()} for need, held in view.group.items()}
    return replace(view, series=series, group=group, fits=fits, longer=longer)


def run() -> list[dict]:
    """Medians over interleaved rounds, milliseconds for all twelve symbols."""
    import warnings

    from data.kernel import compile_all

    warnings.filterwarnings("ignore")
    compile_all()
    fits = FitCache()
    ready = views(fits)
    for view in ready:  # imports, kernels and, for the warm rows, fits
        score_view(view, MODULES)
        for module in MODULES:
            module.score(view)
    for _, peer in (*PEERS.values(), COMPOSITES_PEER):
        peer(ready[0])
    times: dict[str, list[float]] = {}
    for number in range(ROUNDS):
        for module in MODULES:
            letter = module.letter
            warm = [afresh(v, fits) for v in ready]
            times.setdefault(f"{letter} warm", []).append(milliseconds(lambda m=module, warm=warm: [m.score(v) for v in warm]))
            times.setdefault(f"{letter} peer", []).append(milliseconds(lambda p=PEERS[letter][1]: [p(v) for v in ready]))
            if number < COLD_ROUNDS:
                once = FitCache()  # what belongs to the group is fitted by the first who asks
                cold = [afresh(v, once) for v in ready]
                times.setdefault(f"{letter} cold", []).append(milliseconds(lambda m=module, cold=cold: [m.score(v) for v in cold]))
        warm = [afresh(v, fits) for v in ready]
        times.setdefault("cards warm", []).append(milliseconds(lambda warm=warm: [score_view(v, MODULES) for v in warm]))
        times.setdefault("composites peer", []).append(milliseconds(lambda: [COMPOSITES_PEER[1](v) for v in ready]))
        if number < COLD_ROUNDS:
            once = FitCache()
            cold = [afresh(v, once) for v in ready]
            times.setdefault("cards cold", []).append(milliseconds(lambda cold=cold: [score_view(v, MODULES) for v in cold]))
    middle = {name: statistics.median(values) for name, values in times.items()}
    naive = sum(middle[f"{m.letter} peer"] for m in MODULES)
    everything = naive + middle["composites peer"]
    rows = []
    for state in ("warm", "cold"):
        ours = sum(middle[f"{m.letter} {state}"] for m in MODULES)
        what = f"{len(SYMBOLS)} symbols, {state} fits"
        rows.append(_row(f"scorecards with composites, {what}", middle[f"cards {state}"], "libraries called per symbol", everything,
                         SCAN_TARGET if state == "warm" else "shown"))
        rows.append(_row(f"ten modules one by one, {what}", ours, "libraries called per symbol", naive, "shown"))
        rows += [_row(f"module {m.letter}, {what}", middle[f"{m.letter} {state}"], PEERS[m.letter][0], middle[f"{m.letter} peer"], "shown")
                 for m in MODULES]
    rows.append(_row(f"composites beyond the modules, {len(SYMBOLS)} symbols, warm fits",
                     max(0.0, middle["cards warm"] - sum(middle[f"{m.letter} warm"] for m in MODULES)), COMPOSITES_PEER[0],
                     middle["composites peer"], "shown"))
    return rows


def _row(name: str, ours: float, peer: str, theirs: float, target: str) -> dict:
    return {"name": name, "ours_ms": ours, "peer": peer, "peer_ms": theirs, "ratio": ours / theirs, "target": target}


if __name__ == "__main__":
    from benchmarks.__main__ import table

    print(table(run()))
