"""The score lab over 50 symbols x 10 scores x 5 horizons of a year of hours, against the same question asked cell by cell.

The peer is what a user would write for each cell: scipy's `spearmanr`, and statsmodels' OLS of the rank products on a constant with
HAC errors, `max(2h, 1.3 sqrt n)` lags. It has no shift test, quintiles, bootstrap, groups, q-values or ranks across symbols;
ours makes them all. The peer runs on a few symbols and is scaled up, which favours neither: its cells do not share work.
"""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np

from analysis import lab
from analysis.lab.targets import forward_return
from analysis.statistics.prediction import Coefficient, Ordered, Paired, coefficient, standardised
from benchmarks.timing import milliseconds
from data.simulator import worlds

SYMBOLS, SCORES, BARS = 50, 10, 8760
HORIZONS = (1, 4, 12, 24, 72)
PEER_SYMBOLS = 2
ROUNDS = 3


def panels(symbols: int) -> dict[str, lab.Panel]:
    """Random walks and AR(1) scores with warm-ups of different length."""
    made = {}
    for i in range(symbols):
        scores = {}
        for k in range(SCORES):
            scores[f"s{k}"] = worlds.autoregression(1_000 * i + k, BARS, 0.95)
            scores[f"s{k}"][: 100 + 50 * (k % 4)] = np.nan
        regime = np.where(np.arange(BARS) // 300 % 2 == 0, "TREND", "RANGE")
        made[f"S{i}"] = lab.Panel.of(worlds.candles_of(worlds.random_walk(i, BARS), seed=i), scores, regime)
    return made


def ours(given: dict[str, lab.Panel]) -> lab.LabReport:
    return lab.judge(given, [lab.ScoreSpec(f"s{k}", "forward return", neutral=0.0, horizons=HORIZONS) for k in range(SCORES)])


def core(given: dict[str, lab.Panel]) -> list[Coefficient]:
    """Only what the peer answers, and the shift p-value: every sort once, outcome ranks once per set of rows."""
    found = []
    for panel in given.values():
        scores = [Ordered(score) for score in panel.scores.values()]
        for h in HORIZONS:
            outcome, shared = Ordered(forward_return(panel, h)), dict[bytes, Paired]()
            for score in scores:
                rows = score.known & outcome.known
                key = np.packbits(rows).tobytes()
                if key not in shared:
                    shared[key] = Paired(standardised(outcome.ranks(rows)))
                found.append(coefficient(standardised(score.ranks(rows)), shared[key], h))
    return found


def naive(given: dict[str, lab.Panel]) -> list[tuple[float, float, float]]:
    import statsmodels.api as sm
    from scipy.stats import rankdata, spearmanr

    found = []
    for panel in given.values():
        for score in panel.scores.values():
            for h in HORIZONS:
                ahead = forward_return(panel, h)
                rows = np.isfinite(score) & np.isfinite(ahead)
                x, y = score[rows], ahead[rows]
                ic = float(spearmanr(x, y)[0])
                rx, ry = rankdata(x), rankdata(y)
                u = (rx - rx.mean()) / rx.std() * (ry - ry.mean()) / ry.std()
                lags = max(2 * h, math.ceil(1.3 * math.sqrt(len(u))))
                fit = sm.OLS(u, np.ones(len(u))).fit(cov_type="HAC", cov_kwds={"maxlags": lags})
                low, high = fit.conf_int()[0]
                found.append((ic, float(low), float(high)))
    return found


def run() -> list[dict[str, Any]]:
    """One row a comparison: name, ours_ms, peer, peer_ms, ratio, target (None: no promise)."""
    given = panels(SYMBOLS)
    few = {s: given[s] for s in list(given)[:PEER_SYMBOLS]}
    report, cells = ours(few), naive(few)
    assert np.allclose([c.ic for c in report.cards], [c[0] for c in cells], atol=1e-12)  # both answer the same question
    whole, bare, theirs = [], [], []
    for _ in range(ROUNDS):
        whole.append(milliseconds(lambda: ours(given)))
        bare.append(milliseconds(lambda: core(given)))
        theirs.append(milliseconds(lambda: naive(few)) * SYMBOLS / PEER_SYMBOLS)
    size = f"{SYMBOLS} symbols x {SCORES} scores x {len(HORIZONS)} horizons, {BARS:,} bars"
    peer, peer_ms = f"spearmanr + OLS HAC a cell (x{SYMBOLS // PEER_SYMBOLS} from {PEER_SYMBOLS} symbols)", statistics.median(theirs)
    return [{"name": f"{what}, {size}", "ours_ms": statistics.median(times), "peer": peer, "peer_ms": peer_ms,
             "ratio": statistics.median(times) / peer_ms, "target": None}
            for what, times in (("score lab with all cards", whole), ("rank IC, interval and shift p alone", bare))]


if __name__ == "__main__":
    for row in run():
        print(row)
