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
    """A fitted forest. Node arrays have shape (trees, nodes): a leaf has feature -1, a left child follows its parent.

    `threshold` is float32: scikit-learn compares float32 features with a float64 threshold, and the largest float32 at or
    below it decides every such comparison alike. `path` is depth + c(samples) of a leaf. `training_scores` are sorted.
    """

    feature: np.ndarray
    threshold: np.ndarray
    right: np.ndarray
    path: np.ndarray
    normal_path: float
    training_scores: np.ndarray

    def score(self, features: np.ndarray) -> np.ndarray:
        """Anomaly score `2^(-E path / c(256))` of each row, in (0, 1), about .5 for an average one; NaN rows give NaN.

        The same as `-IsolationForest.score_samples` to 1e-12. Shape (n_rows,) for features of shape (n_rows, n_columns).
        """
        x = np.asarray(features, np.float32)
        out = np.full(len(x), np.nan)
        rows = np.flatnonzero(np.isfinite(x).all(axis=1))
        trees, nodes = self.feature.shape
        feature, threshold, right = self.feature.ravel(), self.threshold.ravel(), self.right.ravel()
        base = np.arange(trees, dtype=np.int32) * nodes
        for chunk in np.array_split(rows, max(1, len(rows) // 256)):
            if not len(chunk):
                continue
            at = np.zeros((len(chunk), trees), np.int32)
            values, row = x[chunk], np.arange(len(chunk))[:, None]
            while True:
                where = base + at
                column = feature[where]
                inner = column >= 0
                if not inner.any():
                    break
                left = values[row, np.maximum(column, 0)] <= threshold[where]
                at = np.where(inner, np.where(left, at + 1, right[where]), at)
            depth = self.path.ravel()[base + at].sum(axis=1)
            out[chunk] = np.exp2(-depth / (trees * self.normal_path))
        return out

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
    trees = [estimator.tree_ for estimator in fitted.estimators_]
    nodes = max(tree.node_count for tree in trees)
    feature = np.full((len(trees), nodes), -1, np.int8)
    value = np.zeros((len(trees), nodes), np.float32)  # threshold of an inner node, number of samples of a leaf
    right = np.zeros((len(trees), nodes), np.int16)
    for i, tree in enumerate(trees):
        n = tree.node_count
        inner = tree.children_left >= 0
        assert np.array_equal(tree.children_left[inner], np.flatnonzero(inner) + 1)  # scikit-learn grows depth first
        cut = tree.threshold.astype(np.float32)
        cut = np.where(cut > tree.threshold, np.nextafter(cut, np.float32(-np.inf)), cut)
        feature[i, :n] = np.where(inner, tree.feature, -1)
        value[i, :n] = np.where(inner, cut, tree.n_node_samples)
        right[i, :n] = np.where(inner, tree.children_right, 0)
    packed = {"feature": _pack(feature), "value": _pack(value), "right": _pack(right)}
    document = {"trees": len(trees), "nodes": nodes, "samples": int(fitted.max_samples_), **packed}
    scores = np.sort(-fitted.score_samples(rows))
    return document | {"training_scores": _pack(scores)}


def read_forest(document: dict[str, Any]) -> Forest:
    """The forest of a document that `fit_forest` made."""
    shape = (document["trees"], document["nodes"])
    feature = _unpack(document["feature"], np.int8).reshape(shape)
    value = _unpack(document["value"], np.float32).reshape(shape)
    right = _unpack(document["right"], np.int16).reshape(shape)
    # Depths: parents stand before their children, so one sweep per level reaches everybody.
    depth = np.zeros(shape, np.int16)
    tree, node = np.arange(shape[0]), np.zeros(shape[0], np.intp)
    for level in range(1, shape[1]):
        inner = feature[tree, node] >= 0
        if not inner.any():
            break
        tree, parent = tree[inner], node[inner]
        tree, node = np.concatenate((tree, tree)), np.concatenate((parent + 1, right[tree, parent]))
        depth[tree, node] = level
    path = np.where(feature < 0, depth + average_path(value), 0.0)
    return Forest(feature, value, right, path, float(average_path(np.array(document["samples"]))),
                  _unpack(document["training_scores"], np.float64))


def _pack(array: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 3)).decode("ascii")


def _unpack(text: str, kind: type) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), kind)
