"""From what a model says to how often it happens: Platt's two parameters, or isotonic steps; out-of-fold forecasts only.

Several classes are calibrated one against the rest and renormalised. scikit-learn's CalibratedClassifierCV fits its sigmoid on LightGBM's
probabilities instead of log-odds, so both are done directly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.errors import InputError
from models.forecaster import LEAST_PROBABILITY

LEAST_ROWS = 200  # below it two parameters are noise
ISOTONIC_ROWS, ISOTONIC_POSITIVES = 2000, 200
WEAK = 1e6  # C of the logistic regression: no shrinkage to speak of
METHODS = ("auto", "platt", "isotonic", "none")


@dataclass(frozen=True)
class Calibrator:
    """One curve a class, in the order of `classes`. `curves`: Platt {slope, intercept}; isotonic {x, y}, both growing."""

    method: str
    classes: tuple[int, ...]
    curves: tuple[Mapping[str, Any], ...]
    rows: int

    def apply(self, probability: np.ndarray) -> np.ndarray:
        """Calibrated probabilities of shape (rows, classes); rows sum to 1. A row that no class claims keeps its raw forecast."""
        if self.method == "none":
            return probability
        if len(self.classes) == 2:
            up = self._one(self.curves[0], probability[:, 1])
            return np.column_stack((1.0 - up, up))
        each = np.column_stack([self._one(c, probability[:, i]) for i, c in enumerate(self.curves)])
        total = each.sum(axis=1, keepdims=True)
        return np.where(total > 0, each / np.where(total > 0, total, 1.0), probability)

    def _one(self, curve: Mapping[str, Any], p: np.ndarray) -> np.ndarray:
        if self.method == "platt":
            with np.errstate(over="ignore"):
                return 1.0 / (1.0 + np.exp(-(curve["slope"] * log_odds(p) + curve["intercept"])))
        floor = 1.0 / (self.rows + 2)  # n rows cannot show that something never happens
        return np.clip(np.interp(p, curve["x"], curve["y"]), floor, 1.0 - floor)

    def document(self) -> dict[str, Any]:
        return {"method": self.method, "classes": list(self.classes), "curves": [dict(c) for c in self.curves], "rows": self.rows}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Calibrator:
        return cls(document["method"], tuple(document["classes"]), tuple(document["curves"]), int(document["rows"]))


def log_odds(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, LEAST_PROBABILITY, 1.0 - LEAST_PROBABILITY)
    return np.log(p / (1.0 - p))


def no_calibration(classes: tuple[int, ...]) -> Calibrator:
    return Calibrator("none", classes, (), 0)


def fit_calibrator(probability: np.ndarray, codes: np.ndarray, classes: tuple[int, ...], *, method: str = "auto",
                   horizon: int = 1) -> Calibrator:
    """Learn from out-of-fold forecasts and what came after them.

    Parameters
    ----------
    probability : ndarray of shape (rows, classes)
    codes : ndarray of int, shape (rows,)
        Which class happened, by its position.
    method : str
        auto: isotonic with 2000 independent rows and 200 of each class, else Platt; nothing below 200 rows or where a class never happened.
    horizon : int
        Bars an outcome spans. Overlapping rows repeat each other: n of them count as n/h, or the steps of an isotonic curve follow noise.

    References
    ----------
    Platt (1999), "Probabilistic Outputs for Support Vector Machines". Zadrozny & Elkan (2002), "Transforming Classifier Scores into
    Accurate Multiclass Probability Estimates".
    """
    if method not in METHODS:
        raise InputError(f"expected calibration {', '.join(METHODS)}, got {method[:20]!r}")
    n, k = len(codes), len(classes)
    count = np.bincount(codes, minlength=k)
    if method == "none" or n < LEAST_ROWS or count.min() == 0:
        return no_calibration(classes)
    if method == "auto":
        method = "isotonic" if n >= ISOTONIC_ROWS * horizon and count.min() >= ISOTONIC_POSITIVES * horizon else "platt"
    fit = platt if method == "platt" else isotonic
    which = (1,) if k == 2 else tuple(range(k))
    return Calibrator(method, classes, tuple(fit(probability[:, i], codes == i) for i in which), n)


def platt(p: np.ndarray, happened: np.ndarray) -> dict[str, float]:
    """`P = 1/(1+exp(-(slope logit(p) + intercept)))`. A slope below 1 says the model is over-confident."""
    x = log_odds(p)
    if not np.ptp(x) > 0:  # a constant forecast: its level is all there is to learn
        return {"slope": 0.0, "intercept": float(log_odds(np.array([happened.mean()]))[0])}
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=WEAK, max_iter=1000).fit(x[:, None], happened)
    return {"slope": float(model.coef_[0, 0]), "intercept": float(model.intercept_[0])}


def isotonic(p: np.ndarray, happened: np.ndarray) -> dict[str, list[float]]:
    from sklearn.isotonic import IsotonicRegression

    model = IsotonicRegression(out_of_bounds="clip").fit(p, happened.astype(float))
    return {"x": model.X_thresholds_.tolist(), "y": model.y_thresholds_.tolist()}
