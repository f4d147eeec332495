"""Mean and variance: minimum variance, maximum Sharpe ratio, and the two portfolios that estimate next to nothing.

Shown for comparison. A maximum-Sharpe portfolio of past means mostly maximises their estimation error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RIDGE = 1e-10  # of the mean variance, so that a singular covariance still has one answer
TINY = 1e-12
MOST_STEPS = 2_000


@dataclass(frozen=True)
class Optimum:
    """Weights that sum to 1, and whether they answer the question; `note` says in words which other question they answer instead."""

    weights: np.ndarray
    feasible: bool = True
    note: str = ""


def equal_weight(assets: int) -> np.ndarray:
    """1/N, the portfolio that is hard to beat (DeMiguel, Garlappi & Uppal 2009)."""
    return np.full(assets, 1.0 / assets)


def inverse_volatility(covariance: np.ndarray) -> np.ndarray:
    """Weights in inverse proportion to each asset's volatility; correlations are ignored."""
    inverse = 1.0 / np.sqrt(np.diag(covariance))
    return inverse / inverse.sum()


def min_variance(covariance: np.ndarray, *, upper: float = 1.0) -> Optimum:
    """Long-only weights of the least variance, none above `upper`."""
    assets = len(covariance)
    if upper * assets < 1.0 - TINY:
        return Optimum(equal_weight(assets), False, f"{assets} assets of at most {upper:.0%} cannot sum to 1: equal weights")
    return Optimum(quadratic(covariance, np.zeros(assets), np.ones(assets), np.full(assets, upper)))


def max_sharpe(mean: np.ndarray, covariance: np.ndarray, *, upper: float = 1.0) -> Optimum:
    """Long-only weights of the highest mean per risk, none above `upper`.

    Solved as `min y'Sy, mean'y = 1, y >= 0`, w = y / sum y; where the upper bound binds, along the frontier `min .5 w'Sw - l mean'w` over
    l. Where no mean is above zero there is no such portfolio: the answer is minimum variance, marked as not feasible.
    """
    assets = len(mean)
    least = min_variance(covariance, upper=upper)
    if not least.feasible:
        return least
    if not (mean > 0).any():
        return Optimum(least.weights, False, "no mean return is above zero: minimum variance")
    scale = float(np.abs(mean).max())
    free = quadratic(covariance, np.zeros(assets), mean / scale, np.full(assets, np.inf))
    weights = free / free.sum()
    if weights.max() <= upper + TINY:
        return Optimum(weights)

    def at(log_l: float) -> tuple[float, np.ndarray]:
        w = quadratic(covariance, np.exp(log_l) * mean, np.ones(assets), np.full(assets, upper))
        return float(mean @ w) / float(np.sqrt(w @ covariance @ w)), w

    # Along the frontier the ratio rises to its maximum and falls after it: golden section on the logarithm of l.
    level = np.log(float(np.trace(covariance)) / assets / scale)
    low, high, golden = level - 12.0, level + 12.0, (np.sqrt(5.0) - 1.0) / 2.0
    inner = [high - golden * (high - low), low + golden * (high - low)]
    values = [at(x)[0] for x in inner]
    for _ in range(60):
        if values[0] >= values[1]:
            high, inner[1], values[1] = inner[1], inner[0], values[0]
            inner[0] = high - golden * (high - low)
            values[0] = at(inner[0])[0]
        else:
            low, inner[0], values[0] = inner[0], inner[1], values[1]
            inner[1] = low + golden * (high - low)
            values[1] = at(inner[1])[0]
    best = max(((low + high) / 2, level - 12.0), key=lambda x: at(x)[0])
    return Optimum(at(best)[1])


def quadratic(covariance: np.ndarray, linear: np.ndarray, budget: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """`min .5 x'Sx - linear'x` with `budget'x = 1` and `0 <= x <= upper`, by the primal active-set method.

    Starts at a feasible vertex of the bounds, frees the bound whose multiplier is most wrong and stops when none is. Exact up to rounding;
    some budget entry must be above zero and the bounds must allow a sum of 1.

    References
    ----------
    Nocedal & Wright (2006), "Numerical Optimization", algorithm 16.3.
    """
    assets = len(linear)
    unit = float(np.trace(covariance)) / assets
    S = covariance / unit + RIDGE * np.eye(assets)
    q = linear / unit
    x, held = _start(budget, upper)
    for _ in range(MOST_STEPS):
        free = np.flatnonzero(held == 0)
        target = x.copy()
        rest = S[np.ix_(free, held != 0)] @ x[held != 0]
        room = 1.0 - budget[held != 0] @ x[held != 0]
        solved = np.linalg.solve(S[np.ix_(free, free)], np.stack([q[free] - rest, budget[free]], axis=1))
        denominator = float(budget[free] @ solved[:, 1])
        multiplier = (room - float(budget[free] @ solved[:, 0])) / denominator if abs(denominator) > TINY else 0.0
        target[free] = solved[:, 0] + multiplier * solved[:, 1]
        move = target - x
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(move < -TINY, -x / move, np.where(move > TINY, (upper - x) / move, np.inf))
        share[held != 0] = np.inf
        blocking = int(np.argmin(share))
        if share[blocking] < 1.0 - TINY and len(free) > 1:
            x = x + max(0.0, float(share[blocking])) * move
            held[blocking] = -1 if move[blocking] < 0 else 1
            x[blocking] = 0.0 if move[blocking] < 0 else upper[blocking]
            continue
        x = np.clip(target, 0.0, upper)
        # The gradient must not point into the feasible side at a held bound.
        reduced = S @ x - q - multiplier * budget
        wrong = np.where(held < 0, -reduced, np.where(held > 0, reduced, 0.0))
        worst = int(np.argmax(wrong))
        if wrong[worst] <= 1e-11 * max(1.0, float(np.abs(q).max())):
            break
        held[worst] = 0
    return x


def _start(budget: np.ndarray, upper: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A feasible point on the bounds: the assets with the largest budget entries at their upper bound until the sum is reached; one is
    free."""
    x, held, room = np.zeros(len(budget)), np.full(len(budget), -1), 1.0
    for i in np.argsort(-budget, kind="stable"):
        x[i] = min(float(upper[i]), room / budget[i])
        room -= budget[i] * x[i]
        held[i] = 1
        if room <= TINY:
            held[i] = 0
            break
    return x, held
