"""LightGBM as methods.md 6 fixes it: deterministic, the same bytes on every run and for any number of threads.

A fitted model is its text. It is read back from that text at once, so the model that is shelved is the model that was judged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from data.errors import InputError
from data.market import did_you_mean
from models.dataset import Dataset, Rows
from models.forecaster import Explanation, FitOptions, Forecast, matrix

if TYPE_CHECKING:
    import lightgbm

PARAMETERS: dict[str, Any] = {
    "n_estimators": 300, "learning_rate": 0.05, "max_depth": 6, "num_leaves": 31, "min_child_samples": 100, "subsample": 0.8,
    "subsample_freq": 1, "colsample_bytree": 0.8, "reg_lambda": 5.0,
}
ALSO = ("reg_alpha", "min_split_gain", "max_bin", "min_child_weight", "path_smooth", "C")  # C is the logistic member's
FIXED: dict[str, Any] = {"deterministic": True, "force_row_wise": True, "verbose": -1}
_THREADS = re.compile(r"^\[num_threads: -?\d+\]$", re.MULTILINE)


class _Boosted:
    """What classifier and regressor share. `head` is plain JSON: features, classes, horizon."""

    def __init__(self, text: str, head: Mapping[str, Any]) -> None:
        self.text, self.head = text, dict(head)
        self.names, self.classes = tuple(head["names"]), tuple(head["classes"])
        self.horizon = int(head["horizon"])

    @cached_property
    def booster(self) -> lightgbm.Booster:
        import lightgbm

        return lightgbm.Booster(model_str=self.text)

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Any:
        return cls(files["model.txt"].decode(), json.loads(files["model.json"]))

    def files(self) -> dict[str, bytes]:
        return {"model.txt": self.text.encode(), "model.json": json.dumps(self.head, indent=1).encode()}

    def raw(self, rows: Rows) -> np.ndarray:
        """Log-odds of each class (one column for two classes), or the number; shape (rows, outputs)."""
        found = np.asarray(self.booster.predict(matrix(rows, self.names), raw_score=True, num_threads=1))
        return found.reshape(len(rows), -1)

    def explain(self, rows: Rows) -> Explanation:
        """Exact tree SHAP (Lundberg, Erion & Lee 2018), LightGBM's own; the raw forecast is computed apart from it."""
        X = matrix(rows, self.names)
        parts = np.asarray(self.booster.predict(X, pred_contrib=True, num_threads=1)).reshape(len(rows), -1, len(self.names) + 1)
        outputs = tuple(map(str, self.classes)) if parts.shape[1] > 1 else (str(self.classes[-1]) if self.classes else "value",)
        unit = self.head.get("scale", 1.0)  # a regressor learned y over its spread
        return Explanation(self.names, outputs, parts[:, :, :-1] * unit, parts[:, :, -1] * unit, self.raw(rows) * unit)


class BoostedClassifier(_Boosted):
    """Probabilities of two or three classes."""

    @classmethod
    def fit(cls, data: Dataset, options: FitOptions) -> BoostedClassifier:
        import lightgbm

        model = lightgbm.LGBMClassifier(**_settings(options))
        model.fit(data.rows.X, data.codes(), sample_weight=data.weights(decay_days=options.decay_days, class_weights=options.class_weights))
        return cls(_text(model), _head(data))

    def forecast(self, rows: Rows) -> Forecast:
        raw = self.raw(rows)
        if len(self.classes) == 2:
            raw = np.column_stack((np.zeros(len(raw)), raw[:, 0]))
        odds = np.exp(raw - raw.max(axis=1, keepdims=True))
        return Forecast(rows.close_time, self.horizon, self.classes, odds / odds.sum(axis=1, keepdims=True))


class BoostedRegressor(_Boosted):
    """The expected value under Huber's loss."""

    @classmethod
    def fit(cls, data: Dataset, options: FitOptions) -> BoostedRegressor:
        import lightgbm

        # Huber's delta and LightGBM's leaf sums presume a target of unit size: learn y over its spread, and say so in the head.
        scale = float(np.std(data.y)) or 1.0
        model = lightgbm.LGBMRegressor(objective="huber", **_settings(options))
        model.fit(data.rows.X, data.y / scale, sample_weight=data.weights(decay_days=options.decay_days))
        return cls(_text(model), _head(data) | {"scale": scale})

    def forecast(self, rows: Rows) -> Forecast:
        return Forecast(rows.close_time, self.horizon, mean=self.raw(rows)[:, 0] * self.head["scale"])


def _settings(options: FitOptions) -> dict[str, Any]:
    known = [*PARAMETERS, *ALSO]
    for name in options.parameters:
        if name not in known:
            raise InputError(f"expected parameters among {', '.join(known[:-1])}, got {name[:30]!r}{did_you_mean(name, known)}")
    given = {name: value for name, value in options.parameters.items() if name != "C"}
    return PARAMETERS | given | FIXED | {"random_state": options.seed, "n_jobs": options.threads}


def _head(data: Dataset) -> dict[str, Any]:
    return {"names": list(data.rows.names), "classes": list(data.classes), "horizon": data.horizon}


def _text(model: Any) -> str:
    """The model's text without the one line that says on how many threads it was made."""
    return _THREADS.sub("[num_threads: 1]", model.booster_.model_to_string())
