"""A quadratic programme under any linear constraints: the one solver behind every bounded portfolio."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TOLERANCE = 1e-10
MOST_STEPS = 5_000


@dataclass(frozen=True)
class Solution:
    """`x`, and whether it meets all constraints; where none can it is the last point that was tried."""

    x: np.ndarray
    feasible: bool


def dual_active_set(G: np.ndarray, a: np.ndarray, rows: np.ndarray, least: np.ndarray, *, equalities: int = 0) -> Solution:
    """`min .5 x'Gx - a'x` with `rows @ x >= least`, the first `equalities` of them met exactly.

    Starts at the free minimum and takes in the constraint that is broken most, letting go of those that no longer press, so every step is
    optimal for what it holds; that no step is left means that the constraints contradict each other.

    Parameters
    ----------
    G : ndarray of shape (n, n)
        Symmetric, positive definite.
    rows : ndarray of shape (m, n)
        Best of length about 1: what is broken most is measured along them.

    References
    ----------
    Goldfarb & Idnani (1983), "A numerically stable dual method for solving strictly convex quadratic programs".
    """
    factor = np.linalg.cholesky(G)
    inverse = np.linalg.inv(factor)
    x = inverse.T @ (inverse @ a)
    turned = inverse @ rows.T  # constraints in the coordinates in which G is the identity
    along = inverse.T @ turned
    held: list[int] = []
    sign = np.ones(len(rows))
    press = np.empty(0)
    room = TOLERANCE * max(1.0, float(np.abs(least).max(initial=0.0)))
    for _ in range(MOST_STEPS):
        broken = rows @ x - least
        broken[:equalities] = -np.abs(broken[:equalities])
        broken[held] = 0.0
        p = next((k for k in range(equalities) if k not in held), int(np.argmin(broken)))
        if broken[p] >= -room and p >= equalities:
            return Solution(x, True)
        if p < equalities and rows[p] @ x > least[p]:
            sign[p] = -1.0
        pull, entering = 0.0, True
        while entering:
            normal = sign[p] * turned[:, p]
            active = turned[:, held] * sign[held]
            rate = np.linalg.solve(active.T @ active, active.T @ normal) if held else np.empty(0)
            rest = normal - active @ rate
            steep = float(rest @ rest)
            free = [i for i, k in enumerate(held) if k >= equalities and rate[i] > TOLERANCE]
            limit = min((press[i] / rate[i] for i in free), default=np.inf)
            whole = -sign[p] * float(rows[p] @ x - least[p]) / steep if steep > TOLERANCE * float(normal @ normal) else np.inf
            step = min(limit, max(whole, 0.0))
            if not np.isfinite(step):
                return Solution(x, p < equalities and abs(float(rows[p] @ x - least[p])) <= room)
            if np.isfinite(whole):
                moved = sign[p] * along[:, p] - (along[:, held] * sign[held]) @ rate
                x = x + step * moved
            press, pull = press - step * rate, pull + step
            if step < whole:
                gone = min(free, key=lambda i: press[i])
                del held[gone]
                press = np.delete(press, gone)
            else:
                held.append(p)
                press, entering = np.append(press, pull), False
    return Solution(x, False)
