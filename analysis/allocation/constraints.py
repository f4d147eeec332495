"""From what an optimiser likes to what may be held: caps, clusters, no crumbs, a volatility target, few trades. What is left is cash."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

ROOM = 1e-12


@dataclass(frozen=True)
class Limits:
    """`caps`: the most each asset may weigh, shape (assets,) or one number; weights below `least` are dropped; assets of one cluster
    together may weigh `cluster_cap`; weights move only if the target is further away than `band`; volatility per year to aim at."""

    caps: np.ndarray | float = 0.40
    least: float = 0.02
    cluster_cap: float = 0.60
    band: float = 0.02
    target_vol: float = 0.25


@dataclass(frozen=True)
class Constrained:
    """Weights inside the limits, summing to at most 1; `feasible` is False where the limits do not allow a sum of 1 and part stays cash:
    then they are the nearest that is allowed, and `note` says which limit it was."""

    weights: np.ndarray
    feasible: bool = True
    note: str = ""


def capped(weights: np.ndarray, caps: np.ndarray | float) -> np.ndarray:
    """Weights cut at their caps, the excess spread over the others in proportion to their weights, again and again until none is above.

    Where all are at their caps the excess stays cash. An asset of weight zero stays at zero.
    """
    w = np.array(weights, float)
    limit = np.broadcast_to(np.asarray(caps, float), w.shape)
    total = float(w.sum())
    at_cap = np.zeros(len(w), bool)
    for _ in range(len(w)):
        over = (w > limit + ROOM) & ~at_cap
        if not over.any():
            break
        at_cap |= over
        w = np.where(at_cap, np.minimum(w, limit), w)
        free = ~at_cap & (w > 0)
        if not free.any():
            break
        w[free] *= (total - float(w[at_cap].sum())) / float(w[free].sum())
    return np.minimum(w, limit)


def constrained(weights: np.ndarray, limits: Limits, clusters: Sequence[Sequence[int]] = ()) -> Constrained:
    """Caps, then clusters, then no weight below `limits.least`, until all hold together. A single asset is not capped: there is no other.

    Dropping an asset frees weight for the others, so the round is repeated; each round drops or fixes something, so it ends.
    """
    w = np.array(weights, float)
    assets = len(w)
    if assets <= 1:
        return Constrained(w)
    caps = np.broadcast_to(np.asarray(limits.caps, float), w.shape).copy()
    caps[caps < limits.least] = 0.0
    total = float(w.sum())
    for _ in range(2 * assets + 2):
        w = _in_clusters(capped(w, caps), caps, clusters, limits.cluster_cap)
        small = (w > 0) & (w < limits.least - ROOM)
        if not small.any():
            break
        smallest = int(np.flatnonzero(small)[np.argmin(w[small])])
        caps[smallest] = w[smallest] = 0.0  # one at a time: what it frees may lift the next above the line
        held = float(w.sum())
        if held > 0:
            w *= total / held
    short = total - float(w.sum())
    if short <= 1e-9:
        return Constrained(w)
    return Constrained(w, False, f"the caps allow {float(w.sum()):.0%} of {total:.0%}: the rest stays cash")


def _in_clusters(w: np.ndarray, caps: np.ndarray, clusters: Sequence[Sequence[int]], cap: float) -> np.ndarray:
    """Clusters above the cap scaled down to it, the excess given to assets outside such clusters within their own caps."""
    full: set[int] = set()
    for _ in range(len(clusters)):
        over = [i for i, members in enumerate(clusters) if i not in full and float(w[list(members)].sum()) > cap + ROOM]
        if not over:
            break
        full.update(over)
        before = float(w.sum())
        for i in over:
            members = list(clusters[i])
            w[members] *= cap / float(w[members].sum())
        inside = np.zeros(len(w), bool)
        inside[[m for i in full for m in clusters[i]]] = True
        outside = ~inside & (w > 0)
        if outside.any():
            w[outside] *= (before - float(w[inside].sum())) / float(w[outside].sum())
            w[outside] = capped(w[outside], caps[outside])
    return w


def clusters_of(correlation: np.ndarray, *, above: float = 0.8) -> list[list[int]]:
    """Groups of assets connected by correlations above a level (single linkage); only groups of two and more, by their first member."""
    left, found = set(range(len(correlation))), []
    while left:
        group, edge = set(), {min(left)}
        while edge:
            group |= edge
            left -= edge
            edge = {j for i in edge for j in left if correlation[i, j] > above}
        if len(group) > 1:
            found.append(sorted(group))
    return found


def gross_for(volatility: float, target: float) -> float:
    """`min(1, target / volatility)`, both per year: never leverage. NaN where the volatility is unknown or zero."""
    return min(1.0, target / volatility) if math.isfinite(volatility) and volatility > 0 else math.nan


def rebalancing(target: Mapping[str, float], held: Mapping[str, float], *, band: float = 0.02) -> dict[str, float]:
    """What to change, in shares of equity, where the target is further than `band` away; what is held and no target is sold whole."""
    names = sorted({*target, *held})
    change = {name: target.get(name, 0.0) - held.get(name, 0.0) for name in names}
    return {name: move for name, move in change.items() if abs(move) > band or (move != 0.0 and target.get(name, 0.0) == 0.0)}
