"""Which method would have been worth it? All of them rebalanced out of sample after costs, and what can be told from chance (X17)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.allocation.covariance import Usable
from analysis.allocation.methods import METHODS, Problem
from analysis.allocation.walk_forward import BLOCK_DAYS, COST, HOLD, SEED, WINDOW, first_known, rolled
from analysis.allocation.wishes import Wishes, room_for
from analysis.statistics import block_length, bootstrap_means, max_drawdown, percentile_interval, sharpe
from analysis.statistics.performance import DAYS_PER_YEAR

DRAWS = 10_000
BESIDE = ("equal", "inverse-vol")  # hard to beat (DeMiguel, Garlappi & Uppal 2009)
CHANCE = 0.05


@dataclass(frozen=True)
class Record:
    """`days` out of sample (0: no room for one holding period); `rows` a method each; `worth` the value of 1 by day, by method."""

    days: int
    rebalancings: int
    cost: float
    rows: tuple[dict[str, Any], ...]
    words: str
    worth: dict[str, np.ndarray]
    first_row: int = 0

    def document(self) -> dict[str, Any]:
        return {"days": self.days, "rebalancings": self.rebalancings, "window_days": WINDOW, "hold_days": HOLD, "cost": self.cost,
                "rows": [dict(r) for r in self.rows], "words": self.words}


def compare(returns: np.ndarray, names: Sequence[str], *, wishes: Wishes | None = None, cost: float = COST, window: int = WINDOW,
            hold: int = HOLD) -> Record:
    """Every method from the `window` rows before each rebalancing, held `hold` days, what is traded paying `cost`.

    Between two rebalancings weights drift with the prices. Unknown returns of a held asset count as none. Black-Litterman has no views
    here: what the score lab knows today was not known then.

    Parameters
    ----------
    returns : ndarray of shape (days, assets)
        Simple daily returns, NaN where unknown.

    Returns
    -------
    Record
        Per method Sharpe ratio with its 95 % interval, return and volatility per year, deepest drawdown, turnover per rebalancing, cost per
        year, and for 1/N and inverse volatility the difference of Sharpe ratios, its interval at 5 % shared by all comparisons
        (Bonferroni) of paired block bootstraps, and a verdict in words.
    """
    first = first_known(returns)
    table = returns[first:]
    days = len(table)
    if days < window + hold:
        return Record(0, 0, cost, (), f"needs {window + hold} days of returns, {days} are known", {})

    def targets(past: np.ndarray, chosen: Usable) -> dict[str, np.ndarray]:
        problem = Problem.of([names[i] for i in chosen.columns], past[chosen.rows][:, chosen.columns])[0]
        wished = room_for(wishes or Wishes(), len(chosen.columns))
        return {} if problem is None else {m.name: m.solve(problem, wished)[0] for m in METHODS}

    found, traded = rolled(table, tuple(m.name for m in METHODS), targets, cost=cost, window=window, hold=hold)
    rows = _rows(found, traded, cost)
    worth = {name: np.cumprod(1.0 + r) for name, r in found.items()}
    return Record(days - window, len(traded[METHODS[0].name]), cost, rows, _words(rows), worth, first + window)


def _rows(earned: dict[str, np.ndarray], traded: dict[str, list[float]], cost: float) -> tuple[dict[str, Any], ...]:
    names = list(earned)
    columns = np.stack([earned[name] for name in names], axis=1)
    block = max(BLOCK_DAYS, block_length(columns[:, names.index("equal")]))
    means = bootstrap_means(np.concatenate([columns, columns**2], axis=1), block=block, draws=DRAWS, seed=SEED)
    one, two = means[:, : len(names)], means[:, len(names) :]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = one / np.sqrt(two - one**2) * math.sqrt(DAYS_PER_YEAR)
    level = 1.0 - CHANCE / _comparisons(names)
    rows = []
    for i, name in enumerate(names):
        r = earned[name]
        row: dict[str, Any] = {
            "method": name, "sharpe": sharpe(r), "interval": list(percentile_interval(ratios[:, i])),
            "return": float(np.prod(1.0 + r) ** (DAYS_PER_YEAR / len(r)) - 1.0),
            "volatility": float(np.std(r, ddof=1)) * math.sqrt(DAYS_PER_YEAR),
            "max_drawdown": max_drawdown(np.concatenate(([1.0], np.cumprod(1.0 + r)))), "turnover": float(np.mean(traded[name])),
            "cost_per_year": cost * float(np.sum(traded[name])) / len(r) * DAYS_PER_YEAR}
        for other in BESIDE:
            j = names.index(other)
            if i == j:
                row |= {f"{other}_difference": None, f"{other}_interval": None, f"{other}_verdict": "itself"}
                continue
            low, high = percentile_interval(ratios[:, i] - ratios[:, j], level=level)
            row |= {f"{other}_difference": row["sharpe"] - sharpe(earned[other]), f"{other}_interval": [low, high],
                    f"{other}_verdict": "better" if low > 0 else "worse" if high < 0 else "no difference shown"}
        rows.append(row)
    return tuple(rows)


def _comparisons(names: Sequence[str]) -> int:
    return sum(name != other for name in names for other in BESIDE)


def _words(rows: Sequence[dict[str, Any]]) -> str:
    """The verdict in two sentences."""
    titles = {m.name: m.title for m in METHODS}
    said = []
    for other, title in (("equal", "1/N"), ("inverse-vol", "inverse volatility")):
        better = [titles[r["method"]] for r in rows if r[f"{other}_verdict"] == "better"]
        worse = [titles[r["method"]] for r in rows if r[f"{other}_verdict"] == "worse"]
        good = f"{', '.join(better)} beat {title} by more than chance" if better else f"no method beat {title} by more than chance"
        said.append(good + (f", {', '.join(worse)} did worse" if worse else ""))
    return (f"{said[0][0].upper()}{said[0][1:]}; {said[1]} (after costs, 5 % shared by {_comparisons([r['method'] for r in rows])} "
            "comparisons).")
