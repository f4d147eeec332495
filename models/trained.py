"""A trained model as it is shelved and served: forecaster, calibration, conformal sets, the range it has seen, what it was judged by."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from models import abstain
from models.abstain import TrainingRange
from models.calibrate import Calibrator
from models.conformal import ClassSets, ScaledInterval
from models.dataset import Rows
from models.drift import Reference
from models.evaluate import implied_side
from models.forecaster import Explanation, Fitted, Forecast, forecaster
from models.past import PastForecasts

MARGIN = 0.02
UNKNOWN = "the model cannot say anything of this bar: the returns before it are not known"


@dataclass(frozen=True)
class Prediction:
    """One row's answer. `call` is -1, 0 or 1 and 0 when it abstains; `reasons` says why it does.

    `probability` by class (calibrated, never raw), empty for numbers; `mean`, `low`, `high` in the label's unit, None for classes.
    """

    symbol: str
    close_time: int
    horizon: int
    call: int
    abstained: bool
    reasons: tuple[str, ...]
    probability: Mapping[int, float]
    mean: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def confidence(self) -> float | None:
        """Calibrated probability of the call; None for numbers and where it abstains."""
        return self.probability.get(self.call) if self.probability and not self.abstained else None

    def document(self) -> dict[str, Any]:
        values = {n: getattr(self, n) for n in self.__dataclass_fields__}
        return values | {"reasons": list(self.reasons), "probability": {str(k): v for k, v in self.probability.items()},
                         "confidence": self.confidence}


@dataclass(frozen=True)
class TrainedModel:
    """`config` says how it was made (label, horizon, features, symbols, interval, options), `metrics` how it did out of sample, `past`
    what its walk-forward blocks forecast of the history it has learned from since."""

    kind: str
    fitted: Fitted
    calibrator: Calibrator
    sets: ClassSets | None
    interval: ScaledInterval | None
    seen: TrainingRange
    reference: Reference
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    past: PastForecasts | None = None

    @property
    def features(self) -> tuple[str, ...]:
        return tuple(self.config["features"])

    def forecast(self, rows: Rows) -> Forecast:
        """Calibrated probabilities, or the mean with the conformal interval as its two quantiles."""
        found = self.fitted.forecast(rows)
        if found.classes:
            return replace(found, probability=self.calibrator.apply(found.probability))
        if self.interval is None:
            return found
        low, high = self.interval.of(found.mean, unit(self.config["label"], rows))
        return replace(found, quantiles={self.interval.alpha / 2: low, 1 - self.interval.alpha / 2: high})

    def call(self, rows: Rows) -> np.ndarray:
        """The most probable class as a side, or the sign of the mean; abstention not applied."""
        found = self.forecast(rows)
        return implied_side(found.probability, found.classes) if found.classes else np.sign(found.mean)

    def explain(self, rows: Rows) -> Explanation:
        return self.fitted.explain(rows)

    def predict(self, rows: Rows, *, drifted: Sequence[str] = (), vetoes: Sequence[str] = ()) -> list[Prediction]:
        """Answers with the right to abstain (methods.md 6, rules i to v)."""
        found = self.forecast(rows)
        side = implied_side(found.probability, found.classes) if found.classes else np.sign(found.mean)
        why = abstain.reasons(rows, found.probability, found.classes, seen=self.seen, sets=self.sets, drifted=drifted, vetoes=vetoes)
        if not found.classes:
            why = [(*w, UNKNOWN) if not math.isfinite(m) else w for w, m in zip(why, found.mean.tolist(), strict=True)]
        bounds = list(found.quantiles.values())
        out = []
        for i in range(len(rows)):
            answer = Prediction(rows.symbols[int(rows.symbol[i])], int(rows.close_time[i]), rows.horizon, 0 if why[i] else int(side[i]),
                                bool(why[i]), why[i], {c: float(found.probability[i, j]) for j, c in enumerate(found.classes)})
            if not found.classes:
                low, high = (float(b[i]) for b in bounds) if bounds else (math.nan, math.nan)
                answer = replace(answer, mean=_known(float(found.mean[i])), low=_known(low), high=_known(high))
            out.append(answer)
        return out

    def files(self) -> dict[str, bytes]:
        """Everything as LightGBM text and JSON."""
        documents = {
            "head.json": {"kind": self.kind}, "calibrator.json": self.calibrator.document(),
            "conformal.json": {"sets": self.sets.document() if self.sets else None,
                               "interval": self.interval.document() if self.interval else None},
            "range.json": self.seen.document(), "reference.json": self.reference.document(), "config.json": dict(self.config),
            "metrics.json": dict(self.metrics),
        }
        found = {f"forecaster.{name}": data for name, data in self.fitted.files().items()}
        if self.past is not None:
            found["past.npy"] = self.past.file()
        return found | {name: json.dumps(plain(d), indent=1, allow_nan=False).encode() for name, d in documents.items()}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> TrainedModel:
        """From files whose hashes the caller has proven: LightGBM's parser ends the process on damaged text."""
        read = {name: json.loads(data) for name, data in files.items() if name.endswith(".json") and not name.startswith("forecaster.")}
        mine = {name.removeprefix("forecaster."): data for name, data in files.items() if name.startswith("forecaster.")}
        sets, interval = read["conformal.json"]["sets"], read["conformal.json"]["interval"]
        kind = read["head.json"]["kind"]
        return cls(kind, forecaster(kind).load(mine), Calibrator.of(read["calibrator.json"]), ClassSets.read(sets) if sets else None,
                   ScaledInterval.read(interval) if interval else None, TrainingRange.read(read["range.json"]),
                   Reference.read(read["reference.json"]), read["config.json"], read["metrics.json"],
                   PastForecasts.read(files["past.npy"]) if "past.npy" in files else None)


def unit(label: str, rows: Rows) -> np.ndarray:
    """What an error of this label is measured in: the horizon's volatility for plain returns, 1 for labels already scaled."""
    return rows.sigma if label == "fwd_ret" else np.ones(len(rows))


def entry_threshold(stop: np.ndarray, target: np.ndarray, cost: float, *, margin: float = MARGIN) -> np.ndarray:
    """`(stop + cost)/(target + stop) + margin`: the probability of a rise above which a trade between these barriers pays.

    All are fractions of the price, `cost` that of a round trip; shape as given.
    """
    return (stop + cost) / (target + stop) + margin


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def plain(value: Any) -> Any:
    """JSON values of numpy ones; a number that is not finite becomes None."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.bool_ | np.integer):
        return value.item()
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value
