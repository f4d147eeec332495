"""What somebody wants of a portfolio, made possible first where it contradicts itself, and the nearest weights inside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from analysis.allocation.active_set import dual_active_set
from data.errors import InputError

CRUMB = 1e-9
NEARLY_ZERO = 1e-6  # a preferred weight below this counts as this where distances are measured in shares of it


@dataclass(frozen=True)
class Wishes:
    """Limits of a portfolio, all fractions of the whole; the defaults limit nothing.

    `floor` and `cap`: the least and the most of every asset. `cluster_cap`: the most of assets together whose correlation is above .8.
    `cash`: the least that stays cash. `target_vol`: volatility per year above which the whole is scaled down; it is never scaled up.
    `turnover`: the most that may be bought and sold together against what is held.
    """

    floor: float = 0.0
    cap: float = 1.0
    cluster_cap: float = 1.0
    cash: float = 0.0
    target_vol: float | None = None
    turnover: float | None = None

    def __post_init__(self) -> None:
        bounds = {"floor": 1.0, "cap": 1.0, "cluster_cap": 1.0, "cash": 1.0, "target_vol": 10.0, "turnover": 2.0}
        for name, most in bounds.items():
            value = getattr(self, name)
            if value is not None and not 0.0 <= value <= most:
                raise InputError(f"{name}: expected a fraction from 0 to {most:g}, got {value:g}; 0.25 means 25 %")

    @property
    def free(self) -> bool:
        """Whether nothing but the sum is asked of the weights."""
        return self.floor == 0.0 and self.cap >= 1.0 and self.cluster_cap >= 1.0 and self.cash == 0.0


@dataclass(frozen=True)
class Room:
    """The weights that are allowed: `floor <= w <= cap` each, `w[cluster].sum() <= cluster_cap`, `w.sum() == total`.

    Never empty. `notes` say in words what had to give way for that; empty where everything asked for can be had.
    """

    floor: np.ndarray
    cap: np.ndarray
    clusters: tuple[tuple[int, ...], ...]
    cluster_cap: float
    total: float
    notes: tuple[str, ...] = field(default=())

    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """(rows, least) of `rows @ w >= least`; the first is the sum, an equality."""
        assets = len(self.cap)
        groups = np.zeros((len(self.clusters), assets))
        for i, members in enumerate(self.clusters):
            groups[i, list(members)] = -1.0
        bound = self.cap < self.total - CRUMB  # a cap above the sum binds nothing
        rows = np.concatenate([np.ones((1, assets)), np.eye(assets), -np.eye(assets)[bound], groups])
        least = np.concatenate([[self.total], self.floor, -self.cap[bound], np.full(len(self.clusters), -self.cluster_cap)])
        return rows, least

    def optimum(self, covariance: np.ndarray, linear: np.ndarray, *, more: np.ndarray | None = None,
                floor: float = 0.0) -> np.ndarray | None:
        """`min .5 w'Sw - linear'w` inside the room, with `more @ w >= floor` too; None where that one cannot be met."""
        rows, least = self.rows()
        if more is not None:
            length = float(np.linalg.norm(more)) or 1.0
            rows, least = np.vstack([rows, more / length]), np.append(least, floor / length)
        unit = float(np.trace(covariance)) / len(covariance)
        found = dual_active_set(covariance / unit + 1e-9 * np.eye(len(covariance)), linear / unit, rows, least, equalities=1)
        return np.clip(found.x, self.floor, self.cap) if found.feasible else None

    def nearest(self, weights: np.ndarray) -> np.ndarray:
        """The allowed weights with the least `sum (w - wanted)^2 / wanted`: an excess goes to the others in proportion to their weights."""
        wanted = np.maximum(weights / max(float(weights.sum()), CRUMB) * self.total, NEARLY_ZERO)
        rows, least = self.rows()
        found = dual_active_set(np.diag(1.0 / wanted), np.ones(len(wanted)), rows, least, equalities=1).x
        return np.clip(np.where(found < 1e-12, 0.0, found), self.floor, self.cap)

    def best_ratio(self, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray | None:
        """The allowed weights of the highest mean per risk; None where no allowed mean is above zero.

        Solved free of scale, `min y'Sy` with `mean'y = 1` and every limit in shares of `sum y`, then scaled back.
        """
        if self.total <= CRUMB:
            return None
        rows, least = self.rows()
        assets = len(mean)
        scale = float(np.abs(mean).max())
        if not scale > 0:
            return None
        shares = rows[1:] - (least[1:] / self.total)[:, None]
        length = np.linalg.norm(shares, axis=1)
        kept = length > 1e-12
        unit = float(np.trace(covariance)) / assets
        found = dual_active_set(covariance / unit + 1e-9 * np.eye(assets), np.zeros(assets),
                                np.vstack([mean / scale, shares[kept] / length[kept, None]]),
                                np.concatenate([[1.0], np.zeros(int(kept.sum()))]), equalities=1)
        total = float(found.x.sum())
        return np.clip(found.x * self.total / total, self.floor, self.cap) if found.feasible and total > 0 else None


def room_for(wishes: Wishes, assets: int, clusters: Sequence[Sequence[int]] = ()) -> Room:
    """The allowed weights of so many assets; what contradicts itself gives way, floors first, and is named.

    Where caps do not allow the sum, the rest stays cash.
    """
    notes = []
    total = 1.0 - wishes.cash
    cap = np.full(assets, min(wishes.cap, total))
    floor = np.full(assets, wishes.floor)
    if wishes.floor > wishes.cap:
        notes.append(f"the floor {wishes.floor:.0%} is above the cap {wishes.cap:.0%}: the cap holds")
    floor = np.minimum(floor, cap)
    inside = [list(c) for c in clusters] if wishes.cluster_cap < 1.0 else []
    for members in inside:
        asked = float(floor[members].sum())
        if asked > wishes.cluster_cap + CRUMB:
            floor[members] *= wishes.cluster_cap / asked
            notes.append(f"{len(members)} floors together are {asked:.0%}, the cluster cap is {wishes.cluster_cap:.0%}: their floors were "
                         "lowered")
    asked = float(floor.sum())
    if asked > total + CRUMB:
        floor *= total / asked
        notes.append(f"{assets} floors of {wishes.floor:.0%} are {asked:.0%}, there is {total:.0%} to hold: the floors were lowered alike")
    grouped = {i for members in inside for i in members}
    most = sum(min(wishes.cluster_cap, float(cap[m].sum())) for m in inside) + float(sum(cap[i] for i in range(assets) if i not in grouped))
    if most < total - CRUMB:
        notes.append(f"the caps allow {most:.0%} of {total:.0%}: the rest stays cash")
        total = most
    return Room(floor, np.maximum(cap, floor), tuple(tuple(m) for m in inside), wishes.cluster_cap, total, tuple(notes))


def towards(target: np.ndarray, held: np.ndarray, turnover: float) -> tuple[np.ndarray, float]:
    """(weights on the straight way from what is held to the target, as far as the turnover allows; the share of the way)."""
    asked = float(np.abs(target - held).sum())
    share = 1.0 if asked <= turnover + CRUMB else turnover / asked
    return held + share * (target - held), share
