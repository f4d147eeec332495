"""One training: dataset, leak check, folds with the baselines beside, calibration, verdict, and the model that would be served.

Everything that is judged was forecast by a model that had not seen it, and calibrated by a curve that had not seen it either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from analysis.statistics.prediction import Ordered, standardised
from data.clock import iso
from data.errors import InputError, NoData, SextantError
from data.frames import Candles
from data.labels import DEFAULT_LABEL, ROUND_TRIP
from data.market import DAY_MS
from models import evaluate
from models.abstain import TrainingRange
from models.calibrate import METHODS, Calibrator, fit_calibrator, no_calibration
from models.conformal import INTERVAL_ALPHA, class_sets, rolling_interval, scaled_interval
from models.dataset import DECAY_DAYS, Dataset, Extra, label_config, make_dataset
from models.drift import Reference
from models.explain import mean_absolute, permutation_importance
from models.fill import filled
from models.folds import Folds, OutOfFold, daily_of, metrics_of, paths_of
from models.forecaster import FitOptions, Fitted, baselines_of, default_forecaster, forecaster
from models.past import PastForecasts
from models.splits import BLOCK_DAYS, FOLDS, Split, combinatorial, embargo, quick, walk_forward
from models.trained import TrainedModel, plain, unit
from models.trials import Trial

Progress = Callable[[int, int, str], None]
SUSPICIOUS_IC, LEAKING_IC = 0.15, 0.40
EXPLAINED_ROWS = 600  # out-of-fold rows behind the global importance; tree SHAP costs 2.5 ms a row
PERMUTED_ROWS = 800


class Stopped(SextantError):
    """The training was cancelled; nothing was kept."""


@dataclass(frozen=True)
class TrainOptions:
    """How to train and judge. `mode`: walk_forward (purged 30-day blocks), quick (TimeSeriesSplit) or cpcv (combinatorial purged, 15 splits
    that make 5 paths). `folds` None: all there are. `fill` "regression": short holes are filled on a copy (models/fill.py).

    `horizon` None: the label's own. `baselines` None: every baseline of the task. `parameters` override the model's.
    """

    horizon: int | None = None
    cost: float = ROUND_TRIP
    mode: str = "walk_forward"
    folds: int | None = FOLDS
    block_days: float = BLOCK_DAYS
    sampling: str = "all"
    features: tuple[str, ...] | None = None
    leave_out_empty: bool = False
    fill: str = "leave"
    decay_days: float = DECAY_DAYS
    class_weights: bool = True
    calibration: str = "auto"
    baselines: tuple[str, ...] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 7
    threads: int = 1

    def document(self) -> dict[str, Any]:
        return dict(plain(asdict(self)))


@dataclass(frozen=True)
class TrainResult:
    """What a page shows and a shelf keeps. `document()` is plain JSON."""

    model: TrainedModel
    folds: tuple[dict[str, Any], ...]
    metrics: dict[str, Any]
    verdict: evaluate.Verdict
    importance: dict[str, dict[str, float]]
    notes: tuple[str, ...]
    out_of_fold: OutOfFold
    daily: np.ndarray  # net returns of the implied trades by day

    def document(self) -> dict[str, Any]:
        return dict(plain({"kind": self.model.kind, "config": self.model.config, "folds": self.folds, "metrics": self.metrics,
                           "verdict": self.verdict.document(), "importance": self.importance, "notes": self.notes}))

    def trial(self, study: str, data: str, code: str = "") -> Trial:
        """This training as one try of the trial ledger."""
        ratio = self.metrics[self.model.kind]["trades"]["sharpe_daily"]
        z = (self.daily - self.daily.mean()) / self.daily.std() if len(self.daily) and self.daily.std() > 0 else np.zeros(0)
        skew, kurtosis = (float(np.mean(z**3)), float(np.mean(z**4))) if len(z) else (0.0, 3.0)
        return Trial(study, "train", {"model": self.model.kind} | dict(self.model.config["options"]), data,
                     ratio if math.isfinite(ratio) else None, len(self.daily), skew, kurtosis, code)


def train(candles: Mapping[str, Candles], label: str = DEFAULT_LABEL, model: str | None = None, options: TrainOptions | None = None, *,
          extra: Extra | None = None, progress: Progress = lambda done, total, words: None, cancelled: Callable[[], bool] = lambda: False,
          on_fold: Callable[[dict[str, Any]], None] = lambda fold: None,
          deflated: Callable[[np.ndarray], float] | None = None) -> TrainResult:
    """Train and judge one model.

    Parameters
    ----------
    candles : mapping of symbol to Candles
        One interval; several symbols are pooled.
    label, model : str
        Names of LABELS and FORECASTERS; None for the model that fits the label.
    extra : mapping of symbol to name to ndarray of shape (bars,), or None
        More features, each known at its bar's close.
    progress, on_fold : functions
        Told after each fold: (done, total, words) and the fold's numbers.
    cancelled : function
        Asked before each fold; True raises `Stopped`.
    deflated : function of daily net returns to the deflated Sharpe ratio, or None
        From the trial ledger of the caller. Without it no edge is ever shown.

    Raises
    ------
    InputError, NoData
        The request or the data cannot be learned from; the message says what to change. Also a feature that knows the outcome.
    """
    options = options or TrainOptions()
    if options.calibration not in METHODS:
        raise InputError(f"expected calibration {', '.join(METHODS)}, got {options.calibration[:20]!r}")
    whole = {symbol: filled(c, options.fill) for symbol, c in candles.items()}
    data = make_dataset({symbol: c for symbol, (c, _) in whole.items()}, label,
                        label_config(label, horizon=options.horizon, cost=options.cost), sampling=options.sampling,
                        features=options.features, extra=extra, leave_out_empty=options.leave_out_empty,
                        invented={symbol: flags for symbol, (_, flags) in whole.items()})
    name = model or default_forecaster(data.task)
    kind = forecaster(name)
    if data.task not in kind.tasks:
        raise InputError(f"{name} answers {', '.join(kind.tasks)} labels, {label} is {data.task}; choose another of the two")
    notes = list(leak_check(data))
    if made_up := sum(int(flags.sum()) for _, flags in whole.values()):
        notes.append(f"{made_up} missing bars were filled by regression on a copy; no row that touches one is learned from or judged")
    names = _contestants(name, data, options)
    splits, left_out = _usable(data, make_splits(data, options))
    if left_out and options.mode == "cpcv":
        raise NoData(f"{left_out[0]}: every split is needed to make whole paths; back-fill more history or judge by walk-forward")
    notes += left_out
    fit_options = FitOptions(options.seed, options.threads, options.class_weights, options.decay_days, options.parameters)
    run = Folds(data, names, fit_options)
    total = len(splits) + 2
    for i, split in enumerate(splits):
        if cancelled():
            raise Stopped("the training was stopped; nothing was kept")
        fold = run.do(split)
        on_fold(fold)
        progress(i + 1, total, f"block {i + 1} of {len(splits)}: {fold['words']}")
    ways = run.paths(options.calibration) if options.mode == "cpcv" else [run.finished(options.calibration)]
    held = ways[0]
    metrics = metrics_of(held, name)
    if len(ways) > 1:
        metrics["paths"] = paths_of(ways, name)
        notes.append(f"judged by the first of {len(ways)} paths; the others stand beside it, and all look both ways in time")
    if cancelled():
        raise Stopped("the training was stopped; nothing was kept")
    fitted = kind.fit(data, fit_options)
    progress(len(splits) + 1, total, "final model fitted")
    importance = _importance(run, name, data)
    trained, after = _trained(name, fitted, data, held, importance, options)
    metrics |= after
    daily = daily_of(held, name)
    ratio = deflated(daily) if deflated and len(daily) else None
    verdict = _verdict(held, name, metrics, ratio)
    metrics["deflated_sharpe"] = ratio
    shares = {int(c): float(np.mean(data.y == c)) for c in data.classes}
    summary = {n: metrics[n] for n in names} | {"verdict": verdict.document(), "importance": importance, "folds": list(run.folds),
                                                "buy_and_hold": metrics.get("buy_and_hold"), "base_rate": shares, **after}
    if "paths" in metrics:
        summary["paths"] = metrics["paths"]
    trained = TrainedModel(**{f: getattr(trained, f) for f in trained.__dataclass_fields__} | {"metrics": plain(summary)})
    progress(total, total, verdict.words)
    return TrainResult(trained, tuple(run.folds), metrics, verdict, importance, tuple(notes), held, daily)


def make_splits(data: Dataset, options: TrainOptions) -> list[Split]:
    if options.mode == "quick":
        return quick(data.t0, data.t1, horizon=data.horizon, folds=options.folds if options.folds and options.folds < FOLDS else 5)
    gap = embargo(len(np.unique(data.t0)), data.horizon, data.rows.interval.ms)
    if options.mode == "cpcv":
        return combinatorial(data.t0, data.t1, embargo_ms=gap)
    if options.mode != "walk_forward":
        raise InputError(f"expected mode walk_forward, quick or cpcv, got {options.mode[:20]!r}")
    return walk_forward(data.t0, data.t1, block_days=options.block_days, folds=options.folds, embargo_ms=gap)


def leak_check(data: Dataset) -> list[str]:
    """Refuse features that know the outcome; name those whose rank correlation is too good to be usual.

    Each feature is held against the label, the return traded and the very next bar's return.

    Raises
    ------
    InputError
        |IC| above .40 with any of the three.
    """
    following = np.full(len(data), np.nan)
    for i, returns in enumerate(data.rows.returns):
        mine = np.flatnonzero(data.rows.symbol == i)
        ahead = data.rows.bar[mine] + 1
        following[mine] = np.where(ahead < len(returns), returns[np.minimum(ahead, len(returns) - 1)], np.nan)
    outcomes = {"the label": Ordered(data.y), "the return traded": Ordered(data.ret), "the next bar's return": Ordered(following)}
    notes = []
    for i, name in enumerate(data.rows.names):
        x = Ordered(data.rows.X[:, i])
        for words, y in outcomes.items():
            rows = x.known & y.known
            if rows.sum() < 100:
                continue
            ic = float(np.mean(standardised(x.ranks(rows)) * standardised(y.ranks(rows))))
            if abs(ic) > LEAKING_IC:
                raise InputError(f"feature {name} has a rank correlation of {ic:.2f} with {words}: it knows the future (honest ones stay "
                                 f"below {SUSPICIOUS_IC}); leave it out or shift it to when it was known")
            if abs(ic) > SUSPICIOUS_IC:
                notes.append(f"feature {name} has a rank correlation of {ic:.2f} with {words}: check that it was known at the close")
                break
    return notes


def _contestants(name: str, data: Dataset, options: TrainOptions) -> list[str]:
    beside = options.baselines if options.baselines is not None else baselines_of(data.task)
    least = "prior" if data.classes else "zero"  # what the verdict is about
    names = list(dict.fromkeys((name, least, *beside)))
    if data.label == "excursion":  # no return: the last move says nothing in its unit
        names = [n for n in names if n == name or n not in ("last_value", "arima")]
    for n in names:
        if data.task not in forecaster(n).tasks:
            raise InputError(f"{n} answers {', '.join(forecaster(n).tasks)} labels, {data.label} is {data.task}; choose another baseline")
    return names


def _usable(data: Dataset, splits: list[Split]) -> tuple[list[Split], list[str]]:
    """Without blocks whose training part lacks a class or is too short."""
    kept, notes = [], []
    for s in splits:
        start = iso(int(data.t0[s.test[0]]))
        if data.classes and len(np.unique(data.y[s.train])) < len(data.classes):
            notes.append(f"block from {start} left out: the rows before it lack a class")
        elif len(s.train) < 100:
            notes.append(f"block from {start} left out: only {len(s.train)} rows before it")
        else:
            kept.append(s)
    if not kept:
        raise NoData(f"no test block has enough before it ({len(data)} rows in all); back-fill more history or choose shorter blocks")
    return kept, notes


def _importance(run: Folds, name: str, data: Dataset) -> dict[str, dict[str, float]]:
    """Mean |SHAP| on unseen rows of the newest block, and the loss each feature saves there."""
    if not forecaster(name).explains or run.last is None:
        return {}
    test = run.tests[-1]
    some = test[:: max(1, len(test) // EXPLAINED_ROWS)]
    rest = test[-PERMUTED_ROWS:]
    return {"shap": mean_absolute(run.last.explain(data.rows.take(some))),
            "permutation": permutation_importance(run.last, data.take(rest), seed=run.options.seed)}


def _trained(name: str, fitted: Fitted, data: Dataset, held: OutOfFold, importance: Mapping[str, Mapping[str, float]],
             options: TrainOptions) -> tuple[TrainedModel, dict[str, Any]]:
    calibrator, after = no_calibration(data.classes), dict[str, Any]()
    sets = interval = None
    newest = held.part == held.part.max()
    rows = held.data
    if data.classes:
        codes, raw = rows.codes(), held.forecasts[name]
        earlier = np.flatnonzero(~newest & (rows.t1 < rows.t0[newest].min()))
        calibrator = fit_calibrator(raw[earlier], codes[earlier], data.classes, method=options.calibration, horizon=data.horizon)
        after = _before_after(calibrator, raw[newest], codes[newest], data.horizon)
        shown = held.calibrated.get(name, raw)
        sets = class_sets(np.where(np.isfinite(shown), shown, raw), codes)
        said, loss = shown[held.judged][:, -1], evaluate.brier_scores(np.where(np.isfinite(shown), shown, raw), codes)
    else:
        mean = held.forecasts[name]
        interval = scaled_interval(rows.y, mean, unit(data.label, rows.rows))
        after = {"interval": interval_coverage(held, name)}
        said, loss = mean, (rows.y - mean) ** 2
    known = np.isfinite(loss)  # a baseline forecasts nothing after a hole
    _, position = np.unique(rows.t0[known] // DAY_MS, return_inverse=True)
    daily = np.bincount(position, loss[known]) / np.bincount(position)
    weight = importance.get("shap") or dict.fromkeys(data.rows.names, 0.0)
    config = {"label": data.label, "task": data.task, "horizon": data.horizon, "cost": data.cost,
              "least_return": label_config(data.label, cost=data.cost).least_return, "symbols": list(data.rows.symbols),
              "interval": data.rows.interval.value, "features": list(data.rows.names), "dtypes": ["float64"] * len(data.rows.names),
              "bars": max(len(r) for r in data.rows.returns), "rows": len(data), "start": iso(int(data.t0.min())),
              "end": iso(int(data.t0.max())), "learned_until": iso(int(data.t1.max())), "options": options.document()}
    return TrainedModel(name, fitted, calibrator, sets, interval, TrainingRange.of(data.rows, weight),
                        Reference.of(data.rows, said, daily, forecast_symbol=rows.rows.symbol[held.judged]), config, {},
                        None if options.mode == "cpcv" else PastForecasts.of(held, name)), after  # a trader looks one way in time


def interval_coverage(held: OutOfFold, name: str) -> dict[str, Any]:
    """How often the outcome lay inside the interval that would have been stated at the time, from the 500 errors known then.

    `adaptive` moves its level after each miss. Shares are None where no interval had 500 errors before it; `promised` is what both aim at.
    """
    data, mean = held.data, held.forecasts[name]
    sigma = unit(data.label, data.rows)
    out: dict[str, Any] = {"promised": 1.0 - INTERVAL_ALPHA}
    for words, adaptive in (("plain", False), ("adaptive", True)):
        inside = []
        for number in range(len(data.rows.symbols)):  # an outcome of one symbol is no past of another
            mine = np.flatnonzero(data.rows.symbol == number)
            stated = rolling_interval(data.y[mine], mean[mine], sigma[mine], adaptive=adaptive, horizon=data.horizon)
            inside.append(stated.covered(data.y[mine], mean[mine]))
        known = np.concatenate(inside)
        known = known[np.isfinite(known)]
        out |= {words: float(known.mean()) if len(known) else None, "rows": len(known)}
    return out


def _before_after(curve: Calibrator, raw: np.ndarray, codes: np.ndarray, horizon: int) -> dict[str, Any]:
    """The shipped calibrator on the newest block, which it has not seen."""
    shown = curve.apply(raw)
    return {"newest_block": {words: {"log_loss": float(evaluate.log_losses(p, codes).mean()), "rows": len(codes),
                                     "calibration": evaluate.calibration_error(p, codes, horizon=horizon)}
                             for words, p in (("before", raw), ("after", shown))} | {"method": curve.method}}


def _verdict(held: OutOfFold, name: str, metrics: dict[str, Any], ratio: float | None) -> evaluate.Verdict:
    rows = np.flatnonzero(held.judged)
    data = held.data.take(rows)
    span = data.horizon * data.rows.interval.ms
    shown = held.calibrated.get(name, held.forecasts[name])[rows]
    if data.classes:
        codes = data.codes()
        test = evaluate.diebold_mariano(evaluate.log_losses(shown, codes), evaluate.log_losses(held.forecasts["prior"][rows], codes),
                                        data.t0, horizon_ms=span)
        metrics["against_prior"] = asdict(test) | {"better": test.better}
        return evaluate.verdict(test, metrics[name]["calibration"], ratio)
    test = evaluate.diebold_mariano((data.y - shown) ** 2, (data.y - held.forecasts["zero"][rows]) ** 2, data.t0, horizon_ms=span)
    metrics["against_zero"] = asdict(test) | {"better": test.better}
    return evaluate.verdict(test, None, ratio, against="no change")
