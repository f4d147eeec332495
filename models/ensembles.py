"""Several forecasters as one: mean of calibrated log-odds, stacking on out-of-fold forecasts, bagging, weights by recent loss.

Each stands beside the single model as a challenger. Members are fitted inside the training part only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from data.errors import InputError
from models.baselines import Logistic
from models.calibrate import Calibrator, fit_calibrator
from models.dataset import Dataset, Rows
from models.forecaster import LEAST_PROBABILITY, Explanation, FitOptions, Forecast
from models.lgbm import BoostedClassifier
from models.splits import purged

MEMBERS: dict[str, Any] = {"lgbm": BoostedClassifier, "logistic": Logistic}
HELD_OUT = 0.3  # newest share of the training part on which members are calibrated
ETA, FORGET = 2.0, 0.99  # of the dynamic weights (methods.md 6)
BAGS = 5
BAG_BLOCKS = 40  # contiguous blocks of training rows a bag draws from


def mean_log_odds(forecasts: list[np.ndarray], weights: np.ndarray | None = None) -> np.ndarray:
    """Weighted geometric mean of probabilities, renormalised: the mean of log-odds for two classes. Shapes (rows, classes)."""
    share = np.full(len(forecasts), 1.0 / len(forecasts)) if weights is None else np.asarray(weights, float) / np.sum(weights)
    logs = [w * np.log(np.clip(p, LEAST_PROBABILITY, 1.0)) for w, p in zip(share, forecasts, strict=True)]
    return _softmax(np.sum(logs, axis=0))


def hedge_weights(losses: np.ndarray, *, delay: int = 0, eta: float = ETA, forget: float = FORGET) -> np.ndarray:
    """Weights of members before each row: `w_i ~ exp(-eta sum .99^age loss_i)` over losses known then.

    Parameters
    ----------
    losses : ndarray of shape (rows, members)
        In time order.
    delay : int
        A row's loss is known `delay` rows later than the next: the horizon minus one for outcomes over several bars.

    Returns
    -------
    ndarray of shape (rows, members)
        Rows sum to 1; equal at first. Row t uses losses of rows before t - delay.

    References
    ----------
    Freund & Schapire (1997), "A Decision-Theoretic Generalization of On-Line Learning and an Application to Boosting".
    """
    n, k = losses.shape
    out, total = np.full((n, k), 1.0 / k), np.zeros(k)
    for t in range(n):
        if t - 1 - delay >= 0:
            total = forget * total + losses[t - 1 - delay]
        score = np.exp(-eta * (total - total.min()))
        out[t] = score / score.sum()
    return out


def dynamic_mean(forecasts: list[np.ndarray], codes: np.ndarray, *, delay: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Mean log-odds under Hedge weights of past log losses: (probability of shape (rows, classes), weights of shape (rows, members))."""
    stacked = np.stack([np.clip(p, LEAST_PROBABILITY, 1.0) for p in forecasts], axis=1)
    losses = -np.log(stacked[np.arange(len(codes)), :, codes])
    weights = hedge_weights(losses, delay=delay)
    return _softmax((weights[:, :, None] * np.log(stacked)).sum(axis=1)), weights


def _softmax(raw: np.ndarray) -> np.ndarray:
    odds = np.exp(raw - raw.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def _held_out(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Rows to fit members on, and the newest 30 % on which they are judged, purged against each other."""
    cut = np.quantile(data.t0, 1.0 - HELD_OUT)
    test = data.t0 >= cut
    return np.flatnonzero(purged(data.t0, data.t1, test) & ~test), np.flatnonzero(test)


class _Ensemble:
    """Members by name, and a JSON head."""

    def __init__(self, members: Mapping[str, Any], head: Mapping[str, Any]) -> None:
        self.members, self.head = dict(members), dict(head)
        self.classes, self.horizon = tuple(head["classes"]), int(head["horizon"])

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Any:
        head = json.loads(files["model.json"])
        members = {}
        for key, kind in head["members"].items():
            mine = {name.removeprefix(f"{key}."): data for name, data in files.items() if name.startswith(f"{key}.")}
            members[key] = MEMBERS[kind].load(mine)
        return cls(members, head)

    def files(self) -> dict[str, bytes]:
        found = {f"{key}.{name}": data for key, member in self.members.items() for name, data in member.files().items()}
        return found | {"model.json": json.dumps(self.head, indent=1).encode()}

    def explain(self, rows: Rows) -> Explanation:
        raise InputError("an ensemble of different models has no additive explanation; explain its members")

    def _each(self, rows: Rows) -> list[np.ndarray]:
        return [m.forecast(rows).probability for m in self.members.values()]


def _head(data: Dataset, members: Mapping[str, str]) -> dict[str, Any]:
    return {"names": list(data.rows.names), "classes": list(data.classes), "horizon": data.horizon, "members": dict(members)}


def _inner(data: Dataset, options: FitOptions) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Each member's forecasts of the held-out part, and what happened there."""
    first, later = _held_out(data)
    early, late = data.take(first), data.take(later)
    if np.bincount(early.codes(), minlength=len(data.classes)).min() == 0:
        raise InputError("the older part of the training rows lacks a class: an ensemble cannot be calibrated; use a longer history")
    return {k: m.fit(early, options).forecast(late.rows).probability for k, m in MEMBERS.items()}, late.codes()


class MeanEnsemble(_Ensemble):
    """Mean of the calibrated log-odds; members are calibrated on the newest 30 % and then fitted on everything."""

    @classmethod
    def fit(cls, data: Dataset, options: FitOptions) -> MeanEnsemble:
        held, codes = _inner(data, options)
        curves = {k: fit_calibrator(p, codes, data.classes, method="platt").document() for k, p in held.items()}
        return cls({k: m.fit(data, options) for k, m in MEMBERS.items()}, _head(data, {k: k for k in MEMBERS}) | {"calibrators": curves})

    def forecast(self, rows: Rows) -> Forecast:
        curves = [Calibrator.of(self.head["calibrators"][k]) for k in self.members]
        return Forecast(rows.close_time, self.horizon, self.classes,
                        mean_log_odds([c.apply(p) for c, p in zip(curves, self._each(rows), strict=True)]))


class DynamicEnsemble(_Ensemble):
    """Mean of the calibrated log-odds under Hedge weights: who was better of late on the newest 30 % of the training part weighs more.

    A fitted model's weights stand still; each walk-forward block and each retraining has its own.
    """

    @classmethod
    def fit(cls, data: Dataset, options: FitOptions) -> DynamicEnsemble:
        held, codes = _inner(data, options)
        curves = {k: fit_calibrator(p, codes, data.classes, method="platt") for k, p in held.items()}
        _, weights = dynamic_mean([curves[k].apply(p) for k, p in held.items()], codes)  # every outcome here is known by now: no delay
        head = _head(data, {k: k for k in MEMBERS}) | {"calibrators": {k: c.document() for k, c in curves.items()},
                                                       "weights": weights[-1].tolist()}
        return cls({k: m.fit(data, options) for k, m in MEMBERS.items()}, head)

    def forecast(self, rows: Rows) -> Forecast:
        curves = [Calibrator.of(self.head["calibrators"][k]) for k in self.members]
        return Forecast(rows.close_time, self.horizon, self.classes,
                        mean_log_odds([c.apply(p) for c, p in zip(curves, self._each(rows), strict=True)], np.array(self.head["weights"])))


class Stacking(_Ensemble):
    """A logistic regression over the members' log-probabilities, learned on their forecasts of the newest 30 %."""

    @classmethod
    def fit(cls, data: Dataset, options: FitOptions) -> Stacking:
        from sklearn.linear_model import LogisticRegression

        held, codes = _inner(data, options)
        model = LogisticRegression(C=0.1, max_iter=500).fit(_logs(list(held.values())), codes)
        coefficients, intercept = model.coef_, model.intercept_
        if len(coefficients) == 1:
            coefficients, intercept = np.vstack((0 * coefficients, coefficients)), np.concatenate(([0.0], intercept))
        head = _head(data, {k: k for k in MEMBERS}) | {"coefficients": coefficients.tolist(), "intercept": intercept.tolist()}
        return cls({k: m.fit(data, options) for k, m in MEMBERS.items()}, head)

    def forecast(self, rows: Rows) -> Forecast:
        raw = _logs(self._each(rows)) @ np.array(self.head["coefficients"]).T + np.array(self.head["intercept"])
        return Forecast(rows.close_time, self.horizon, self.classes, _softmax(raw))


def _logs(forecasts: list[np.ndarray]) -> np.ndarray:
    return np.hstack([np.log(np.clip(p, LEAST_PROBABILITY, 1.0)) for p in forecasts])


class Bagging(_Ensemble):
    """Five LightGBM models, each on blocks of training rows drawn with replacement; the mean of their log-odds explains itself."""

    @classmethod
    def fit(cls, data: Dataset, options: FitOptions) -> Bagging:
        rng = np.random.default_rng(options.seed)
        blocks = np.array_split(np.arange(len(data)), min(BAG_BLOCKS, len(data)))
        members = {}
        for i in range(BAGS):
            rows = np.sort(np.concatenate([blocks[b] for b in rng.integers(0, len(blocks), len(blocks))]))
            part = data.take(rows)
            if np.bincount(part.codes(), minlength=len(data.classes)).min() == 0:
                part = data  # a rare class was not drawn: this bag sees everything
            members[f"bag{i}"] = BoostedClassifier.fit(part, FitOptions(options.seed + i, options.threads, options.class_weights,
                                                                        options.decay_days, options.parameters))
        return cls(members, _head(data, dict.fromkeys(members, "lgbm")))

    def forecast(self, rows: Rows) -> Forecast:
        raw = np.mean([m.raw(rows) for m in self.members.values()], axis=0)
        raw = raw if raw.shape[1] > 1 else np.column_stack((np.zeros(len(raw)), raw[:, 0]))
        return Forecast(rows.close_time, self.horizon, self.classes, _softmax(raw))

    def explain(self, rows: Rows) -> Explanation:
        each = [m.explain(rows) for m in self.members.values()]
        values, base, raw = (np.mean([getattr(e, n) for e in each], axis=0) for n in ("values", "base", "raw"))
        return Explanation(each[0].names, each[0].outputs, values, base, raw)
