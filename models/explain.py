"""Why a forecast is what it is, and what would change it.

Contributions are LightGBM's own exact tree SHAP on every path; `shap` itself is loaded only to check that both agree and for plots.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.dataset import Dataset, Rows
from models.evaluate import log_losses
from models.forecaster import Explanation, Fitted

LEVELS = np.linspace(0.01, 0.99, 33)  # training quantiles a feature is moved through
BISECTIONS = 20
PERMUTE_BLOCK = 24  # bars that stay together: a shuffled feature keeps its own memory


def mean_absolute(explanation: Explanation) -> dict[str, float]:
    """Global importance: mean |contribution| over rows and outputs, highest first."""
    size = np.abs(explanation.values).mean(axis=(0, 1))
    order = np.argsort(-size, kind="stable")
    return {explanation.names[i]: float(size[i]) for i in order}


def row_contributions(explanation: Explanation, row: int = 0, *, top: int = 10) -> list[dict[str, Any]]:
    """The largest contributions of one row by output, for a table or a waterfall."""
    return [{"output": output, "base": float(explanation.base[row, i]), "raw": float(explanation.raw[row, i]),
             "parts": [{"feature": explanation.names[j], "contribution": float(explanation.values[row, i, j])}
                       for j in np.argsort(-np.abs(explanation.values[row, i]), kind="stable")[:top]]}
            for i, output in enumerate(explanation.outputs)]


def permutation_importance(fitted: Fitted, data: Dataset, *, seed: int = 7, repeats: int = 1,
                           cancelled: Callable[[], bool] | None = None) -> dict[str, float]:
    """How much the loss on unseen rows rises when one feature is shuffled in blocks of 24 rows, highest first.

    Give a purged test part, not training rows. Log loss for classes, squared error for numbers.
    """
    def loss(rows: Rows) -> float:
        found = fitted.forecast(rows)
        if data.classes:
            return float(log_losses(found.probability, data.codes()).mean())
        return float(((data.y - found.mean) ** 2).mean())

    base, rng, out = loss(data.rows), np.random.default_rng(seed), {}
    blocks = np.array_split(np.arange(len(data)), max(1, len(data) // PERMUTE_BLOCK))
    for i, name in enumerate(data.rows.names):
        if cancelled and cancelled():
            break
        risen = []
        for _ in range(repeats):
            order = np.concatenate([blocks[b] for b in rng.permutation(len(blocks))])
            X = data.rows.X.copy()
            X[:, i] = X[order, i]
            risen.append(loss(_with(data.rows, X)) - base)
        out[name] = float(np.mean(risen))
    return dict(sorted(out.items(), key=lambda item: -item[1]))


def _with(rows: Rows, X: np.ndarray) -> Rows:
    from dataclasses import replace

    return replace(rows, X=X)


def through_shap(booster: Any, X: np.ndarray) -> np.ndarray:
    """shap.TreeExplainer's values on the raw output, shape (rows, outputs, features): an independent opinion, loaded on demand."""
    import shap

    found = np.asarray(shap.TreeExplainer(booster).shap_values(X))
    if found.ndim == 2:
        return found[:, None, :]
    return np.moveaxis(found, 2, 1) if found.shape[-1] != X.shape[1] else np.moveaxis(found, 0, 1)


@dataclass(frozen=True)
class Flip:
    """The nearest single change that makes another call. `distance` is the share of training rows between the two values."""

    feature: str
    now: float
    then: float
    distance: float
    call: int

    def document(self) -> dict[str, Any]:
        return {"feature": self.feature, "now": self.now, "then": self.then, "distance": self.distance, "call": self.call}


def flip_distance(call: Callable[[Rows], np.ndarray], row: Rows, training: Rows, *, features: tuple[str, ...] | None = None) -> list[Flip]:
    """For each feature the nearest value in training at which the call of `row` (one row) changes, nearest first.

    Parameters
    ----------
    call : function of Rows to ndarray
        The call of each row (-1, 0, 1), calibration and thresholds included.
    training : Rows
        Gives each feature's quantiles: a feature is never moved to where no training row was.

    Returns
    -------
    list of Flip
        Empty where no single feature turns the call. Calling at `then` gives `call`.
    """
    names = features or row.names
    now = int(call(row)[0])
    grid, index = [], []
    for name in names:
        i = row.names.index(name)
        known = training.X[np.isfinite(training.X[:, i]), i]
        if len(known) and np.isfinite(row.X[0, i]):
            values = np.unique(np.quantile(known, LEVELS))
            grid.append(values)
            index.append(i)
    if not grid:
        return []
    where = np.repeat(index, [len(v) for v in grid])
    X = np.repeat(row.X, len(where), axis=0)
    X[np.arange(len(where)), where] = np.concatenate(grid)
    calls = np.asarray(call(_many(row, X)))
    out = []
    for i in index:
        known = np.sort(training.X[np.isfinite(training.X[:, i]), i])
        mine = np.flatnonzero((where == i) & (calls != now))
        if not len(mine):
            continue
        start = float(row.X[0, i])
        values = X[mine, i]
        away = np.abs(_rank(known, values) - _rank(known, np.array([start])))
        nearest = int(np.argmin(away))
        then = _refined(call, row, i, start, float(values[nearest]), now)
        distance = float(np.abs(_rank(known, np.array([then])) - _rank(known, np.array([start])))[0])
        X_then = row.X.copy()
        X_then[0, i] = then
        out.append(Flip(row.names[i], start, then, distance, int(call(_many(row, X_then))[0])))
    return sorted(out, key=lambda f: (f.distance, f.feature))


def _rank(known: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.searchsorted(known, values) / len(known)


def _many(row: Rows, X: np.ndarray) -> Rows:
    return _with(row.take(np.zeros(len(X), np.int64)), X)


def _refined(call: Callable[[Rows], np.ndarray], row: Rows, i: int, same: float, other: float, now: int) -> float:
    """Bisect between a value that keeps the call and one that changes it; returns a value that changes it."""
    for _ in range(BISECTIONS):
        middle = 0.5 * (same + other)
        X = row.X.copy()
        X[0, i] = middle
        if int(call(_many(row, X))[0]) == now:
            same = middle
        else:
            other = middle
    return other
