"""A model's calibrated probabilities over a series, each from a fit that had not seen its bar: what a model-driven rule trades on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from data.clock import parse_time
from data.errors import NoData
from data.features import SERVING_BARS
from data.frames import Candles
from data.market import SeriesKey

if TYPE_CHECKING:
    from models.dataset import Rows
    from models.trained import TrainedModel

DRIVERS = 12


@dataclass(frozen=True)
class ForecastLine:
    """One model over the bars of one series.

    Attributes
    ----------
    model, kind, label : str
        Version on the shelf, its forecaster, what it forecasts.
    horizon : int
        Bars ahead.
    cost : float
        Round trip in the label, a fraction.
    classes : tuple of int
        -1 falls, 0 neither, 1 rises; (0, 1) knows a rise only.
    probability : ndarray, shape (bars, classes)
        NaN where no honest forecast exists: bars before the first judged block.
    abstained : ndarray of bool
        No call: outside the training range, both directions possible, features missing.
    fresh : ndarray of bool
        Forecast by the served model (bars it had not learned from); elsewhere by its training's walk-forward blocks.
    reasons : tuple of str
        Why there is no call at the newest bar.
    past : mapping
        The newest bar's record: for each class (rows given about its probability, share that came true, low, high).
    verdict : mapping
        What the training concluded.
    drivers : tuple of (feature, share)
        Largest SHAP contributions to a rise at the newest bar, in log-odds; empty where the newest bar is not fresh or the model does
        not explain.
    """

    model: str
    kind: str
    label: str
    horizon: int
    cost: float
    classes: tuple[int, ...]
    probability: np.ndarray
    abstained: np.ndarray
    fresh: np.ndarray
    reasons: tuple[str, ...]
    past: Mapping[int, tuple[int, float, float, float]]
    verdict: Mapping[str, Any]
    drivers: tuple[tuple[str, float], ...] = ()

    def of(self, side: int) -> np.ndarray:
        """Probability that the price goes to `side` (1 rises, -1 falls), shape (bars,); NaN where unknown or not among the classes."""
        if side not in self.classes:
            return np.full(len(self.probability), np.nan)
        return self.probability[:, self.classes.index(side)]

    @property
    def words(self) -> str:
        """Where the probabilities come from."""
        old = int((~self.fresh & np.isfinite(self.probability).all(axis=1)).sum())
        return (f"{self.model}: {old:,} bars forecast by the blocks of its training, {int(self.fresh.sum()):,} by the model itself after "
                f"it; {int((~np.isfinite(self.probability).all(axis=1)).sum()):,} bars without a forecast")


def forecast_line(model: TrainedModel, model_id: str, key: SeriesKey, history: Candles, shown: Candles) -> ForecastLine:
    """The bars of `shown`; `history` ends with them and begins early enough to warm the features up.

    Raises
    ------
    NoData
        When the model forecasts numbers, which no probability can be read from.
    """
    from models.dataset import make_rows

    classes = model.calibrator.classes
    if not classes:
        raise NoData(f"{model_id} forecasts a number, not a direction; train dir3_dyn or triple_barrier for signals")
    if "learned_until" not in model.config:
        raise NoData(f"{model_id} does not say until when it has learned: an earlier version trained it; train it again")
    horizon = int(model.config["horizon"])
    probability = np.full((len(shown), len(classes)), np.nan)
    if model.past is not None and key.symbol in model.config["symbols"]:
        probability = model.past.at(list(model.config["symbols"]).index(key.symbol), shown.close_time)
    learned = parse_time(str(model.config["learned_until"]))  # when the last label it learned from was decided
    fresh = shown.close_time >= learned
    abstained = np.zeros(len(shown), bool)
    reasons: tuple[str, ...] = ("no forecast of this bar",)
    drivers: tuple[tuple[str, float], ...] = ()
    if fresh.any():
        need = int(fresh.sum()) + SERVING_BARS
        rows = make_rows({key.symbol: history.tail(need)}, horizon, features=model.features)
        rows = rows.take(np.flatnonzero(rows.close_time >= max(learned, int(shown.close_time[0]))))
        at = np.searchsorted(shown.close_time, rows.close_time)
        said = model.predict(rows)
        probability[at] = [[p.probability[c] for c in classes] for p in said]
        abstained[at] = [p.abstained for p in said]
        if at[-1] == len(shown) - 1:
            reasons, drivers = said[-1].reasons, _drivers(model, rows.take(slice(-1, None)))
    elif np.isfinite(probability[-1]).all():
        reasons = ()
    newest, span = probability[-1], horizon * key.interval.ms
    known_ms = int(shown.close_time[-1]) - span + 1  # a moment of the past does not know how the bars after it were forecast
    record = {c: found for k, c in enumerate(classes) if model.past is not None and np.isfinite(newest[k])
              and (found := model.past.happened(k, float(newest[k]), horizon=horizon, before_ms=known_ms)) is not None}
    return ForecastLine(model_id, model.kind, str(model.config["label"]), horizon, float(model.config["cost"]), classes, probability,
                        abstained, fresh, tuple(reasons), record, dict(model.metrics.get("verdict") or {}), drivers)


def _drivers(model: TrainedModel, row: Rows) -> tuple[tuple[str, float], ...]:
    """Contributions to a rise over a fall (two classes: to a rise), in raw log-odds, largest first; empty for kinds that do not explain."""
    from models.forecaster import forecaster

    if not forecaster(model.kind).explains:
        return ()
    found = model.explain(row)
    outputs = [int(o) for o in found.outputs]
    share = found.values[0, outputs.index(1)] - (found.values[0, outputs.index(-1)] if -1 in outputs else 0.0)
    order = np.argsort(-np.abs(share), kind="stable")[:DRIVERS]
    return tuple((found.names[i], float(share[i])) for i in order)
