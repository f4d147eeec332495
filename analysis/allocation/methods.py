"""The seven allocation methods under one signature: what each is called, where it is from, and what it answers inside a room."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from analysis.allocation.black_litterman import RISK_AVERSION, TAU, View, black_litterman, supported, view_returns
from analysis.allocation.covariance import correlation_of, ledoit_wolf
from analysis.allocation.hrp import hrp
from analysis.allocation.mean_variance import equal_weight, inverse_volatility, max_sharpe, min_variance
from analysis.allocation.risk_parity import risk_parity
from analysis.allocation.wishes import CRUMB, Room
from data.errors import InputError
from data.market import did_you_mean


@dataclass(frozen=True)
class Problem:
    """What a method may look at: mean and covariance per bar, the views that count by asset name, and the correlations that hierarchical
    risk parity builds its tree on (None: those of the covariance)."""

    names: Sequence[str]
    mean: np.ndarray
    covariance: np.ndarray
    views: Mapping[str, View] = field(default_factory=dict)
    correlation: np.ndarray | None = None

    @classmethod
    def of(cls, names: Sequence[str], returns: np.ndarray, views: Mapping[str, View] | None = None) -> tuple[Problem, float]:
        """(problem, shrinkage) of known returns, shape (rows, assets): shrunk covariance, tree on the sample's own correlations."""
        covariance, shrinkage = ledoit_wolf(returns)
        return cls(names, returns.mean(axis=0), covariance, views or {}, correlation_of(np.atleast_2d(np.cov(returns,
                                                                                                             rowvar=False)))), shrinkage


Answer = tuple[np.ndarray, str]  # weights and, where another question was answered, which


@dataclass(frozen=True)
class Method:
    """`solve` gives weights inside a room. `needs_means`: it stands on past mean returns, which mostly are chance."""

    name: str
    title: str
    words: str
    source: str
    solve: Callable[[Problem, Room], Answer]
    needs_means: bool = False


def base(problem: Problem) -> np.ndarray:
    """Half hierarchical risk parity, half equal risk, as module I: what views start from."""
    return 0.5 * hrp(problem.covariance, problem.correlation) + 0.5 * risk_parity(problem.covariance)


def _free(room: Room) -> bool:
    return room.total >= 1.0 - 1e-9 and not room.clusters and bool((room.floor == 0).all()) and bool((room.cap >= 1.0 - 1e-9).all())


def _placed(weights: np.ndarray, room: Room) -> Answer:
    """Weights that know of no limits, moved to the nearest that keep them."""
    return (weights if _free(room) else room.nearest(weights)), ""


def _min_variance(problem: Problem, room: Room) -> Answer:
    if _free(room):
        return min_variance(problem.covariance).weights, ""
    found = room.optimum(problem.covariance, np.zeros(len(problem.mean)))
    return (room.nearest(equal_weight(len(problem.mean))), "no minimum was found: equal weights") if found is None else (found, "")


def _max_sharpe(problem: Problem, room: Room) -> Answer:
    if room.total <= CRUMB:
        return np.zeros(len(problem.mean)), ""
    if not (problem.mean > 0).any():
        return _min_variance(problem, room)[0], "no mean return is above zero: minimum variance"
    if _free(room):
        found = max_sharpe(problem.mean, problem.covariance)
        return found.weights, found.note
    best = room.best_ratio(problem.mean, problem.covariance)
    if best is None:
        return _min_variance(problem, room)[0], "no allowed portfolio has a mean return above zero: minimum variance"
    return best, ""


def _black_litterman(problem: Problem, room: Room) -> Answer:
    start = base(problem)
    views = supported(problem.views, problem.names)
    if not views:
        return _placed(start, room)
    picks, q, confidence = view_returns(views, problem.names, np.sqrt(np.diag(problem.covariance)))
    known = black_litterman(problem.covariance, start, picks, q, confidence)
    found = room.optimum(RISK_AVERSION / (1.0 + TAU) * known.covariance, known.mean)
    return _placed(start, room) if found is None else (found, "")


METHODS: tuple[Method, ...] = (
    Method("hrp", "Hierarchical risk parity", "Splits the tree of correlations from the top, each branch in inverse proportion to its "
                                              "variance.",
           "López de Prado 2016", lambda p, room: _placed(hrp(p.covariance, p.correlation), room)),
    Method("risk-parity", "Risk parity", "Every asset carries the same share of the portfolio's variance.",
           "Maillard, Roncalli & Teiletche 2010", lambda p, room: _placed(risk_parity(p.covariance), room)),
    Method("black-litterman", "Black-Litterman", "Half the tree, half equal risk, moved by scores whose verdict is supported, and by "
                                                 "nothing "
           "else.", "He & Litterman 1999", _black_litterman),
    Method("min-variance", "Minimum variance", "The least volatile mix; it needs no forecast of returns.", "Markowitz 1952", _min_variance),
    Method("max-sharpe", "Maximum Sharpe", "The highest past mean per risk: mostly the past's luck, shown for comparison.", "Sharpe 1994",
           _max_sharpe, True),
    Method("inverse-vol", "Inverse volatility", "Weights in inverse proportion to volatility; correlations are ignored.",
           "DeMiguel, Garlappi & Uppal 2009", lambda p, room: _placed(inverse_volatility(p.covariance), room)),
    Method("equal", "Equal weight", "1/N: nothing is estimated, and it is hard to beat.", "DeMiguel, Garlappi & Uppal 2009",
           lambda p, room: _placed(equal_weight(len(p.mean)), room)),
)


def method(name: str) -> Method:
    """
    Raises
    ------
    InputError
        When there is no method of that name.
    """
    wanted = name.strip().lower().replace("_", "-")
    found = next((m for m in METHODS if m.name == wanted), None)
    if found is None:
        names = [m.name for m in METHODS]
        raise InputError(f"method: expected {', '.join(names)}, got {name[:30]!r}{did_you_mean(wanted, names)}")
    return found
