"""Out-of-fold forecasts: fit and forecast block by block, calibrate each block on earlier ones alone, and measure all on the same rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.clock import iso
from models import evaluate
from models.calibrate import fit_calibrator
from models.dataset import Dataset, Rows
from models.forecaster import FitOptions, Fitted, forecaster
from models.splits import GROUPS, TESTED, Split, group_of, paths


@dataclass(frozen=True)
class OutOfFold:
    """Forecasts of rows their model had not seen, in time order. `part` is the test block; `judged` marks rows in the metrics.

    `forecasts` by forecaster name: raw probabilities (rows, classes) or means (rows,); `calibrated` the same after calibration with
    earlier blocks alone (NaN where there were none).
    """

    data: Dataset
    part: np.ndarray
    judged: np.ndarray
    forecasts: Mapping[str, np.ndarray]
    calibrated: Mapping[str, np.ndarray]


class Folds:
    """Fits and forecasts of every block, kept until all are done. At most one training part is copied at a time."""

    def __init__(self, data: Dataset, names: list[str], options: FitOptions) -> None:
        self.data, self.names, self.options = data, names, options
        self.folds: list[dict[str, Any]] = []
        self.tests: list[np.ndarray] = []
        self.found: dict[str, list[np.ndarray]] = {n: [] for n in names}
        self.last: Fitted | None = None

    def do(self, split: Split) -> dict[str, Any]:
        train_part, rows = self.data.take(split.train), self.data.rows.take(split.test)
        for n in self.names:
            options = self.options if n == self.names[0] else FitOptions(self.options.seed, self.options.threads,
                                                                         self.options.class_weights, self.options.decay_days)
            fitted = forecaster(n).fit(train_part, options)
            if n == self.names[0]:
                self.last = fitted
            found = fitted.forecast(rows)
            self.found[n].append(found.probability if self.data.classes else found.mean)
        self.tests.append(split.test)
        self.folds.append(self._numbers(split))
        return self.folds[-1]

    def _numbers(self, split: Split) -> dict[str, Any]:
        test, codes = self.data.take(split.test), None
        out: dict[str, Any] = {"start": iso(int(test.t0[0])), "end": iso(int(test.t0[-1])), "train_rows": len(split.train),
                               "test_rows": len(split.test)}
        if self.data.classes:
            codes = test.codes()
        for n in self.names:
            p = self.found[n][-1]
            if codes is not None:
                side = evaluate.implied_side(p, self.data.classes)
                out[n] = {"log_loss": float(evaluate.log_losses(p, codes).mean()), "accuracy": float((p.argmax(axis=1) == codes).mean()),
                          "brier": float(evaluate.brier_scores(p, codes).mean()), "auc": evaluate.auc(p, codes)}
            else:
                side = np.sign(p)
                found = evaluate.regression_metrics(p, test.y, test.ret, test.t0, cost=self.data.cost, horizon=self.data.horizon)
                out[n] = {k: found[k] for k in ("mae", "rmse", "skill", "rank_ic", "sign_accuracy")}
            out[n]["profit_factor"] = evaluate.trade_metrics(side, test.ret, test.t0, cost=self.data.cost,
                                                             horizon=self.data.horizon)["profit_factor"]
        key, least = ("log_loss", "prior") if self.data.classes else ("rmse", "zero")
        out["words"] = f"{key.replace('_', ' ')} {evaluate.figure(out[self.names[0]][key])}, {least} {evaluate.figure(out[least][key])}"
        return out

    def finished(self, method: str) -> OutOfFold:
        """Every block once, in time order."""
        return self._joined([(i, np.arange(len(t))) for i, t in enumerate(self.tests)], method)

    def paths(self, method: str) -> list[OutOfFold]:
        """The five whole histories that combinatorial splits make: on each, every group is forecast by another split."""
        group = group_of(self.data.t0, GROUPS)
        return [self._joined([(number, np.flatnonzero(group[self.tests[number]] == g)) for g, number in enumerate(way)], method)
                for way in paths(GROUPS, TESTED)]

    def _joined(self, pieces: list[tuple[int, np.ndarray]], method: str) -> OutOfFold:
        """Some rows of some blocks' tests, in time order, calibrated piece by piece."""
        part = np.repeat(np.arange(len(pieces)), [len(rows) for _, rows in pieces])
        data = self.data.take(np.concatenate([self.tests[i][rows] for i, rows in pieces]))
        forecasts = {n: np.concatenate([f[i][rows] for i, rows in pieces]) for n, f in self.found.items()}
        calibrated = {n: _progressive(f, data, part, method) for n, f in forecasts.items() if data.classes and _has_confidence(n)}
        first = calibrated.get(self.names[0])
        judged = np.isfinite(first).all(axis=1) if first is not None else np.ones(len(data), bool)
        if not judged.any():  # too few rows to calibrate on: raw forecasts are judged, and said to be raw
            judged, calibrated = np.ones(len(data), bool), {}
        return OutOfFold(data, part, judged, forecasts, calibrated)


def _has_confidence(name: str) -> bool:
    """Class frequencies are calibrated by their making; everything else is calibrated alike, baselines too."""
    return name not in ("prior", "last_sign")


def _progressive(raw: np.ndarray, data: Dataset, part: np.ndarray, method: str) -> np.ndarray:
    """Each block calibrated on the blocks before it whose outcomes were known by then; NaN in blocks without enough of them."""
    out, codes = np.full(raw.shape, np.nan), data.codes()
    if method == "none":
        return out
    for block in range(1, int(part.max()) + 1):
        now = np.flatnonzero(part == block)
        before = np.flatnonzero((part < block) & (data.t1 < data.t0[now].min()))
        curve = fit_calibrator(raw[before], codes[before], data.classes, method=method, horizon=data.horizon)
        if curve.method != "none":
            out[now] = curve.apply(raw[now])
    return out


def metrics_of(held: OutOfFold, name: str) -> dict[str, Any]:
    """Of every forecaster on the same judged rows, and of the model before calibration."""
    rows = np.flatnonzero(held.judged)
    data = held.data.take(rows)
    shared: dict[str, Any] = {"ret": data.ret, "close_time": data.t0, "cost": data.cost, "horizon": data.horizon}
    out: dict[str, Any] = {"buy_and_hold": evaluate.trade_metrics(np.ones(len(data)), data.ret, data.t0, cost=data.cost,
                                                                  horizon=data.horizon)}
    for n, raw in held.forecasts.items():
        shown = held.calibrated.get(n, raw)[rows]
        if data.classes:
            prior = held.forecasts["prior"][rows]
            out[n] = evaluate.classification_metrics(shown, data.codes(), data.classes, prior=prior, **shared)
        else:
            out[n] = evaluate.regression_metrics(shown, data.y, **shared)
    if data.classes:
        codes, best = data.codes(), held.calibrated.get(name, held.forecasts[name])[rows]
        raw = held.forecasts[name][rows]
        out["raw"] = {"log_loss": float(evaluate.log_losses(raw, codes).mean()), "brier": float(evaluate.brier_scores(raw, codes).mean()),
                      "calibration": evaluate.calibration_error(raw, codes, horizon=data.horizon)}
        out["auc_interval"] = evaluate.auc_interval(best, codes, horizon=data.horizon)
        if len(data.classes) == 3:
            out["direction_auc"] = evaluate.direction_auc(best, codes, horizon=data.horizon)
        out["by_symbol"] = evaluate.by_group(best, codes, data.classes, np.array(data.rows.symbols)[data.rows.symbol])
        out["by_regime"] = evaluate.by_group(best, codes, data.classes, volatility_regime(data.rows))
        out["rolling"] = evaluate.rolling(best, codes, data.t0)
    return out


def paths_of(ways: list[OutOfFold], name: str) -> list[dict[str, float]]:
    """Of every path: loss of the model and of knowing nothing, and what its implied trades earned after costs."""
    out = []
    for held in ways:
        data = held.data.take(np.flatnonzero(held.judged))
        shown = held.calibrated.get(name, held.forecasts[name])[held.judged]
        if data.classes:
            codes, side = data.codes(), evaluate.implied_side(shown, data.classes)
            row = {"log_loss": float(evaluate.log_losses(shown, codes).mean()), "brier": float(evaluate.brier_scores(shown, codes).mean()),
                   "prior_log_loss": float(evaluate.log_losses(held.forecasts["prior"][held.judged], codes).mean())}
        else:
            side = np.sign(np.nan_to_num(shown))
            known = np.isfinite(shown)
            row = {"rmse": float(np.sqrt(np.mean((data.y - shown)[known] ** 2))) if known.any() else math.nan,
                   "zero_rmse": float(np.sqrt(np.mean(data.y[known] ** 2))) if known.any() else math.nan}
        trades = evaluate.trade_metrics(side, data.ret, data.t0, cost=data.cost, horizon=data.horizon)
        out.append(row | {k: float(trades[k]) for k in ("sharpe", "profit_factor", "trades")})
    return out


def volatility_regime(rows: Rows) -> np.ndarray:
    """calm or stirred: is the volatility of 20 bars below that of 100? Empty where it is not known. Causal."""
    if "rv_ratio" not in rows.names:
        return np.full(len(rows), "")
    ratio = rows.column("rv_ratio")
    return np.where(np.isfinite(ratio), np.where(ratio > 0, "stirred", "calm"), "")


def daily_of(held: OutOfFold, name: str) -> np.ndarray:
    data = held.data.take(np.flatnonzero(held.judged))
    shown = held.calibrated.get(name, held.forecasts[name])[held.judged]
    side = evaluate.implied_side(shown, data.classes) if data.classes else np.sign(np.nan_to_num(shown))
    return evaluate.daily_returns(np.where(side != 0, side * data.ret - data.cost, np.nan), data.t0, data.horizon)
