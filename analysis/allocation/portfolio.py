"""One portfolio from one table of returns: weights inside what was wished, what they mean, and how far chance could have moved them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from analysis.allocation.black_litterman import View, supported
from analysis.allocation.constraints import clusters_of, gross_for
from analysis.allocation.covariance import MINIMUM_ROWS, usable
from analysis.allocation.hrp import leaf_order
from analysis.allocation.mean_variance import equal_weight, inverse_volatility
from analysis.allocation.measures import risk_contributions
from analysis.allocation.methods import METHODS, Method, Problem
from analysis.allocation.wishes import CRUMB, Room, Wishes, room_for, towards
from analysis.statistics.blocks import block_length, counts
from analysis.statistics.performance import DAYS_PER_YEAR

SINGULAR = 1e10  # a condition number above this: some mix of the assets has next to no risk, and how it is split is arbitrary
DRAWS, DRAWS_OF_MANY, MANY = 200, 60, 40
BAND = 0.90
LONGEST_BLOCK = 30.0
SEED = 20_261_120
FRONTIER_POINTS = 25
NO_VIEW = "no supported view"


@dataclass(frozen=True)
class Portfolio:
    """Weights of the whole, shape (assets,), in the order of `names`; what is missing to 1 is cash.

    `feasible` is False where something asked for could not be had; then the weights are the nearest that can, and `notes` say what gave
    way. `room` is what the weights were free in, `scale` what the volatility target left of them. `mean` and `covariance` are per bar,
    `volatility` and `expected` of the portfolio per year. `bands` of shape (assets, 2): the middle 90 % of weights over block bootstraps
    of the same returns; NaN where there are too few. `beside` holds 1/N and inverse volatility of the same total.
    """

    method: str
    names: list[str]
    weights: np.ndarray
    scale: float
    feasible: bool
    notes: tuple[str, ...]
    dropped: Mapping[str, str]
    rows: int
    mean: np.ndarray
    covariance: np.ndarray
    correlation: np.ndarray
    order: list[int]
    clusters: list[list[int]]
    risk: np.ndarray
    bands: np.ndarray
    views: Mapping[str, View]
    beside: Mapping[str, np.ndarray]
    bars_per_year: float
    room: Room
    shrinkage: float = math.nan
    target: np.ndarray = field(default_factory=lambda: np.empty(0))

    @property
    def cash(self) -> float:
        return max(0.0, 1.0 - math.fsum(self.weights.tolist()))

    @property
    def volatility(self) -> float:
        return _volatility(self.weights, self.covariance, self.bars_per_year)

    @property
    def expected(self) -> float:
        return float(self.mean @ self.weights) * self.bars_per_year

    def problem(self) -> Problem:
        return Problem(self.names, self.mean, self.covariance, self.views, self.correlation)

    def every_method(self) -> dict[str, tuple[np.ndarray, float, float]]:
        """Weights, volatility and past mean per year of each method in the same room, before the volatility target and turnover."""
        found = {}
        for m in METHODS:
            w = m.solve(self.problem(), self.room)[0]
            found[m.name] = (w, _volatility(w, self.covariance, self.bars_per_year), float(self.mean @ w) * self.bars_per_year)
        return found

    def frontier(self, points: int = FRONTIER_POINTS) -> list[tuple[float, float, np.ndarray]]:
        """(volatility, past mean per year, weights) of the least volatile mixes, from the calmest up to the highest mean."""
        calm = self.room.optimum(self.covariance, np.zeros(len(self.names)))
        if calm is None:
            return []
        steep = 1e4 * self.mean / max(float(np.abs(self.mean).max()), 1e-300)  # so steep that only the mean counts
        top = self.room.optimum(np.eye(len(self.names)), steep)
        low, high = float(self.mean @ calm), float(self.mean @ (calm if top is None else top))
        found = []
        for level in np.linspace(low, high - 1e-9 * abs(high - low), points if high - low > 1e-12 else 1):
            w = self.room.optimum(self.covariance, np.zeros(len(self.names)), more=self.mean, floor=float(level))
            if w is not None:
                found.append((_volatility(w, self.covariance, self.bars_per_year), float(self.mean @ w) * self.bars_per_year, w))
        return found


def fit_portfolio(returns: np.ndarray, names: Sequence[str], method: Method, wishes: Wishes, *, views: Mapping[str, View] | None = None,
                  held: Mapping[str, float] | None = None, bars_per_year: float = DAYS_PER_YEAR, unit: str = "days",
                  bands: bool = True) -> Portfolio:
    """The weights of a method under wishes.

    Parameters
    ----------
    returns : ndarray of shape (rows, assets)
        Simple returns per bar, oldest first, NaN where unknown. The covariance is shrunk (Ledoit & Wolf 2004).
    views : mapping, optional
        By asset; only those whose verdict is "supported" move anything, and only in Black-Litterman.
    held : mapping, optional
        Weights that are held now: what the turnover is measured against; nothing where it is not given.

    Returns
    -------
    Portfolio
        Also where too little is known: then equal weights of what there is, marked as not feasible.
    """
    chosen = usable(returns, unit=unit)
    dropped = {names[i]: why for i, why in chosen.dropped.items()}
    if not chosen.columns:
        return _unknown(names, dropped, method, wishes, bars_per_year)
    kept = [names[i] for i in chosen.columns]
    x = returns[chosen.rows][:, chosen.columns]
    problem, shrinkage = Problem.of(kept, x, views)
    S, correlation = problem.covariance, problem.correlation
    assert correlation is not None
    clusters = clusters_of(correlation)
    room = room_for(wishes, len(kept), clusters)
    weights, note = method.solve(problem, room)
    notes = [*room.notes, *([note] if note else [])]
    feasible = not notes
    notes += _warnings(S, kept, correlation)
    scale = 1.0
    if wishes.target_vol is not None:
        scale = gross_for(_volatility(weights, S, bars_per_year), wishes.target_vol)
        scale = scale if math.isfinite(scale) else 1.0
        if scale < 1.0 - CRUMB and bool((weights * scale < room.floor - CRUMB).any()):
            notes.append(f"the volatility target scales everything to {scale:.0%}: the floors hold of what is left of it")
            feasible = False
    target = weights * scale
    final = target
    if wishes.turnover is not None:
        now = np.array([(held or {}).get(name, 0.0) for name in kept])
        final, share = towards(target, now, wishes.turnover)
        beside = {n: w for n, w in (held or {}).items() if n not in kept and w != 0.0}
        if beside:
            notes.append(f"{', '.join(sorted(beside))} ({sum(map(abs, beside.values())):.0%} of equity) is held beside these symbols: "
                         "selling it is not in the turnover")
        if share < 1.0:
            notes.append(f"the turnover of {wishes.turnover:.0%} allows {share:.0%} of the way to the target")
            feasible = False
    order = leaf_order(correlation) if len(kept) > 1 else [0]
    fitted = Portfolio(method.name, kept, final, scale, feasible, tuple(notes), dropped, len(x), problem.mean, S, correlation, order,
                       clusters,
                       risk_contributions(final, S), np.full((len(kept), 2), np.nan), supported(problem.views, kept),
                       {"equal": equal_weight(len(kept)) * float(target.sum()), "inverse-vol": inverse_volatility(S) * float(target.sum())},
                       bars_per_year, room, shrinkage, target)
    return replace(fitted, bands=weight_bands(x, fitted, method, wishes)) if bands and len(kept) > 1 else fitted


def weight_bands(x: np.ndarray, fitted: Portfolio, method: Method, wishes: Wishes, *, draws: int | None = None) -> np.ndarray:
    """Middle 90 % of each weight when the same returns are drawn again in blocks: how much of a weight is the sample's accident.

    The limits, clusters and views stay as they are; the turnover does not count.

    References
    ----------
    Politis & Romano (1994), "The Stationary Bootstrap".
    """
    assets = x.shape[1]
    draws = draws or (DRAWS if assets <= MANY else DRAWS_OF_MANY)
    block = min(LONGEST_BLOCK, max(5.0, block_length(np.abs(x).mean(axis=1))))
    found = np.full((draws, assets), np.nan)
    for i, often in enumerate(counts(len(x), block=block, draws=draws, seed=SEED)):
        again = np.repeat(x, often.astype(int), axis=0)
        if float(again.var(axis=0).min()) <= 0:
            continue
        problem = Problem.of(fitted.names, again, fitted.views)[0]
        w = method.solve(problem, fitted.room)[0]
        scale = 1.0
        if wishes.target_vol is not None:
            scale = gross_for(_volatility(w, problem.covariance, fitted.bars_per_year), wishes.target_vol)
        found[i] = w * scale
    known = found[np.isfinite(found).all(axis=1)]
    if not len(known):
        return np.full((assets, 2), np.nan)
    return np.quantile(known, [(1 - BAND) / 2, (1 + BAND) / 2], axis=0).T


def _warnings(covariance: np.ndarray, names: Sequence[str], correlation: np.ndarray) -> list[str]:
    """A covariance that cannot be told from a singular one; the answer stands, how it is split does not mean much."""
    if len(names) < 2 or float(np.linalg.cond(covariance)) < SINGULAR:
        return []
    alike = np.triu(np.nan_to_num(correlation), 1)
    i, j = divmod(int(np.argmax(alike)), len(names))
    pair = f" ({names[i]} and {names[j]} move as one)" if alike[i, j] > 0.999 else ""
    return [f"the covariance is singular{pair}: how weight is split between such assets is arbitrary"]


def _unknown(names: Sequence[str], dropped: Mapping[str, str], method: Method, wishes: Wishes, bars_per_year: float) -> Portfolio:
    """Too little is known of all: equal weights, marked."""
    n = len(names)
    room = room_for(wishes, n)
    nan = np.full((n, n), np.nan)
    weights = room.nearest(equal_weight(n))
    note = f"no asset has {MINIMUM_ROWS} bars of returns: equal weights, which need none"
    return Portfolio(method.name, list(names), weights, 1.0, False, (*room.notes, note), dropped, 0, np.full(n, np.nan), nan, nan,
                     list(range(n)), [], np.full(n, np.nan), np.full((n, 2), np.nan), {}, {"equal": weights}, bars_per_year, room,
                     target=weights)


def _volatility(weights: np.ndarray, covariance: np.ndarray, bars_per_year: float) -> float:
    return float(np.sqrt(max(0.0, float(weights @ covariance @ weights)) * bars_per_year))
