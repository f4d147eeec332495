"""Isolation forest, fitted by scikit-learn, kept as plain numbers and scored by a few array operations.

No pickle may be stored, and importing scikit-learn costs a page 0.8 s; so a fitted forest is a small text in the cache of
fits, and scoring new bars needs numpy only.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.kernel import kernel

TREES = 300
SAMPLES_PER_TREE = 256
EMPIRICAL_UP_TO = 0.95  # beyond this quantile of the training scores the tail is a straight line in log p
FAR_QUANTILE = 0.999
FARTHEST = 3.0  # p is not extrapolated beyond .05 * (.001/.05)^3 = 4e-7
EULER = 0.5772156649015329


def average_path(samples: np.ndarray) -> np.ndarray:
    """Mean path length of an unsuccessful search among n points, `c(n) = 2 (ln(n-1) + ge) - 2 (n-1)/n`; c(2)=1, c(<=1)=0."""
    n = np.asarray(samples, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        long = 2.0 * (np.log(n - 1.0) + EULER) - 2.0 * (n - 1.0) / n
    return np.where(n <= 1, 0.0, np.where(n == 2, 1.0, long))


@dataclass(frozen=True)
class Forest:
    """A fitted forest. All nodes of all trees in one row, each tree depth first: a left child follows its parent.

    feature : int8, -1 at a leaf. right : distance to the right child. depth : of the node in its tree. root : first node of
    each tree. value : float32, a leaf's number of samples, an inner node's threshold (scikit-learn compares float32 features
    with a float64 threshold; the largest float32 at or below it decides every such comparison alike). normal_path : c(256).
    training_scores : sorted.
    """

    feature: np.ndarray
    value: np.ndarray
    right: np.ndarray
    depth: np.ndarray
    root: np.ndarray
    normal_path: float
    training_scores: np.ndarray

    def score(self, features: np.ndarray) -> np.ndarray:
        """Anomaly score `2^(-E path / c(256))` of each row, in (0, 1), about .5 for an average one; NaN rows give NaN.

        The same as `-IsolationForest.score_samples` to 1e-12. Shape (n_rows,) for features of shape (n_rows, n_columns).
        """
        x = np.asarray(features, np.float32)
        out = np.full(len(x), np.nan)
        rows = np.flatnonzero(np.isfinite(x).all(axis=1))
        beyond = average_path(np.arange(SAMPLES_PER_TREE + 1))
        for chunk in np.array_split(rows, max(1, len(rows) // 256)):
            if not len(chunk):
                continue
            at = self._leaves(x[chunk])
            path = self.depth[at] + beyond[self.value[at].astype(np.int64)]
            out[chunk] = np.exp2(-path.sum(axis=1) / (len(self.root) * self.normal_path))
        return out

    def _leaves(self, x: np.ndarray) -> np.ndarray:
        """The node at which each row ends in each tree, shape (n_rows, n_trees)."""
        if leaves_of.compiled is not None:
            return leaves_of(x, self.feature, self.value, self.right, self.root)
        at, row = np.broadcast_to(self.root, (len(x), len(self.root))), np.arange(len(x))[:, None]
        while True:  # the plain loop would take a hundred times as long as all trees stepping down together
            column = self.feature[at]
            inner = column >= 0
            if not inner.any():
                return at
            left = x[row, np.maximum(column, 0)] <= self.value[at]
            at = at + np.where(inner, np.where(left, 1, self.right[at]), 0)

    def tail_probability(self, score: np.ndarray) -> np.ndarray:
        """How rare a score was among the training rows: empirical up to their 95 % quantile, beyond it log-linear.

        `p = .05 (.001/.05)^((s - q95) / (q999 - q95))`, exponent at most 3. Forest scores saturate, so an excess model of the
        trailing tail (TP) loses recall where this map keeps it. NaN where the score is NaN or training scores do not vary.
        """
        s = np.asarray(score, float)
        train = self.training_scores
        near, far = np.quantile(train, [EMPIRICAL_UP_TO, FAR_QUANTILE])
        if not far > near:
            return np.full(s.shape, np.nan)
        below = np.searchsorted(train, s, side="left") + np.searchsorted(train, s, side="right")
        empirical = np.maximum(1.0 - EMPIRICAL_UP_TO, 1.0 - below / (2.0 * len(train)))
        start, end = 1.0 - EMPIRICAL_UP_TO, 1.0 - FAR_QUANTILE
        with np.errstate(invalid="ignore"):
            tail = start * (end / start) ** np.minimum((s - near) / (far - near), FARTHEST)
            return np.where(np.isfinite(s), np.where(s <= near, empirical, tail), np.nan)


@kernel
def leaves_of(x, feature, value, right, root):
    """The node at which each row of x ends in each tree, shape (n_rows, n_trees)."""
    out = np.empty((len(x), len(root)), np.int64)
    for row in range(len(x)):
        for tree in range(len(root)):
            node = root[tree]
            while feature[node] >= 0:
                node += 1 if x[row, feature[node]] <= value[node] else right[node]
            out[row, tree] = node
    return out


@leaves_of.warm_with
def _example():
    def read(values, kind):
        return np.frombuffer(np.array(values, kind).tobytes(), kind)

    return (np.zeros((2, 1), np.float32), read([0, -1, -1], np.int8), read([0.5, 1, 1], np.float32), read([2, 0, 0], np.int16),
            np.zeros(1, np.int64))


def fit_forest(features: np.ndarray) -> dict[str, Any]:
    """`IsolationForest(n_estimators=300, max_samples=256, random_state=0)` on rows without NaN, as a JSON document.

    References
    ----------
    Liu, Ting & Zhou (2008), "Isolation Forest", ICDM.
    """
    from sklearn.ensemble import IsolationForest

    rows = np.asarray(features, float)
    rows = rows[np.isfinite(rows).all(axis=1)]
    fitted = IsolationForest(n_estimators=TREES, max_samples=min(SAMPLES_PER_TREE, len(rows)), random_state=0, n_jobs=1).fit(rows)
    columns, values, rights, counts = [], [], [], []
    for tree in (estimator.tree_ for estimator in fitted.estimators_):
        inner = tree.children_left >= 0
        number = np.arange(tree.node_count)
        assert np.array_equal(tree.children_left[inner], number[inner] + 1)  # scikit-learn grows depth first
        cut = tree.threshold.astype(np.float32)
        cut = np.where(cut > tree.threshold, np.nextafter(cut, np.float32(-np.inf)), cut)
        columns.append(np.where(inner, tree.feature, -1).astype(np.int8))
        values.append(np.where(inner, cut, tree.n_node_samples).astype(np.float32))
        rights.append(np.where(inner, tree.children_right - number, 0).astype(np.int16))
        counts.append(tree.node_count)
    nodes = {"feature": np.concatenate(columns), "value": np.concatenate(values), "right": np.concatenate(rights)}
    nodes["depth"] = _depths(nodes["feature"], nodes["right"], np.concatenate(([0], np.cumsum(counts)[:-1])))
    packed = {name: _pack(array) for name, array in nodes.items()}
    scores = np.sort(-fitted.score_samples(rows))
    return {"samples": int(fitted.max_samples_), "nodes": counts, **packed, "training_scores": _pack(scores)}


def read_forest(document: dict[str, Any]) -> Forest:
    """The forest of a document that `fit_forest` made."""
    root = np.concatenate(([0], np.cumsum(document["nodes"])[:-1]))
    return Forest(_unpack(document["feature"], np.int8), _unpack(document["value"], np.float32), _unpack(document["right"], np.int16),
                  _unpack(document["depth"], np.int8), root, float(average_path(np.array(document["samples"]))),
                  _unpack(document["training_scores"], np.float64))


def _depths(feature: np.ndarray, right: np.ndarray, root: np.ndarray) -> np.ndarray:
    """Depth of every node in its tree, all trees swept level by level."""
    depth = np.zeros(len(feature), np.int8)
    parents, level = root[feature[root] >= 0], 1
    while len(parents):
        children = np.concatenate((parents + 1, parents + right[parents]))
        depth[children] = level
        parents, level = children[feature[children] >= 0], level + 1
    return depth


def _pack(array: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 1)).decode("ascii")


def _unpack(text: str, kind: type) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), kind)
