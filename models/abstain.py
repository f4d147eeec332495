"""When a model makes no call, and why in words: too little known, outside what it has seen, both directions possible, drift, a veto."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.conformal import ClassSets
from models.dataset import Rows

LEAST_COVERAGE = 0.65
IMPORTANT = 20
RANGE = (0.001, 0.999)


@dataclass(frozen=True)
class TrainingRange:
    """Where the training rows lay: [q.001, q.999] of the most important features, and their Mahalanobis distance.

    `center` fills unknown features for the distance only. `precision` is the inverse of their correlation matrix, pulled by 1 % towards
    the identity so that it exists.
    """

    names: tuple[str, ...]
    low: np.ndarray
    high: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    precision: np.ndarray
    farthest: float

    @classmethod
    def of(cls, rows: Rows, importance: Mapping[str, float]) -> TrainingRange:
        """Of the training rows; `importance` by feature, the 20 highest count."""
        names = tuple(sorted(importance, key=lambda n: (-importance[n], n))[:IMPORTANT])
        X = rows.X[:, [rows.names.index(n) for n in names]]
        low, center, high = np.nanquantile(X, [RANGE[0], 0.5, RANGE[1]], axis=0)
        spread = np.nanstd(X, axis=0)
        scale = np.where(spread > 0, spread, 1.0)
        Z = np.nan_to_num((X - center) / scale)
        cover = 0.99 * (Z.T @ Z) / len(Z) + 0.01 * np.eye(len(names))
        precision = np.linalg.inv(cover)
        made = cls(names, low, high, center, scale, precision, math.inf)
        return cls(names, low, high, center, scale, precision, float(np.quantile(made.distance(X), RANGE[1])))

    def distance(self, X: np.ndarray) -> np.ndarray:
        Z = np.nan_to_num((X - self.center) / self.scale)
        return np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", Z, self.precision, Z), 0.0))

    def outside(self, rows: Rows) -> list[str]:
        """Per row: empty, or the first feature outside its range in words, or that the combination is unlike any seen."""
        X = rows.X[:, [rows.names.index(n) for n in self.names]]
        far = self.distance(X)
        words = []
        for x, d in zip(X, far, strict=True):
            beyond = np.flatnonzero((x < self.low) | (x > self.high))  # NaN compares as inside: coverage judges it
            if len(beyond):
                i = int(beyond[0])
                words.append(f"outside the training range: {self.names[i]} is {x[i]:.4g}, seen {self.low[i]:.4g} .. {self.high[i]:.4g}")
            elif d > self.farthest:
                words.append(f"outside the training range: the features together are {d:.1f} deviations from the usual, seen were at most "
                             f"{self.farthest:.1f}")
            else:
                words.append("")
        return words

    def document(self) -> dict[str, Any]:
        arrays = {n: getattr(self, n).tolist() for n in ("low", "high", "center", "scale", "precision")}
        return {"names": list(self.names), "farthest": self.farthest} | arrays

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> TrainingRange:
        arrays = {n: np.array(document[n], float) for n in ("low", "high", "center", "scale", "precision")}
        return cls(tuple(document["names"]), farthest=float(document["farthest"]), **arrays)


def reasons(rows: Rows, probability: np.ndarray, classes: tuple[int, ...], *, seen: TrainingRange, sets: ClassSets | None,
            drifted: Sequence[str] = (), vetoes: Sequence[str] = ()) -> list[tuple[str, ...]]:
    """Per row every reason against a call, in the order (i) to (v) of methods.md 6; an empty tuple is a call.

    (iii) needs direction classes: a set that holds both -1 and 1 (two classes: both), or nothing at all.
    """
    possible = sets.of(probability) if sets is not None and len(probability) else None
    opposite = (classes.index(-1), classes.index(1)) if -1 in classes else (0, 1)
    out = []
    for i, (coverage, words) in enumerate(zip(rows.coverage, seen.outside(rows), strict=True)):
        found = []
        if coverage < LEAST_COVERAGE:
            missing = [n for n, v in zip(rows.names, rows.X[i], strict=True) if not math.isfinite(v)]
            found.append(f"only {coverage:.0%} of the features are known (needs {LEAST_COVERAGE:.0%}), not {', '.join(missing[:3])}")
        if words:
            found.append(words)
        if possible is not None and sets is not None:
            if not possible[i].any():
                found.append(f"no outcome is usual enough at {1 - sets.alpha:.0%} confidence")
            elif possible[i][opposite[0]] and possible[i][opposite[1]]:
                found.append(f"both directions stay possible at {1 - sets.alpha:.0%} confidence")
        if drifted:
            found.append(f"the market has drifted from the training: {', '.join(drifted[:3])}")
        found += vetoes
        out.append(tuple(found))
    return out
