"""Hyper-parameters by Optuna, once, on the first 60 % of the history, then frozen (decisions.md 32).

Inner purged splits only; poor tries are cut after the first folds; the study is an SQLite file that several workers share and that
resumes; every try, cut ones too, is counted in the trial ledger.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import DamagedState, InputError
from data.frames import Candles
from data.labels import DEFAULT_LABEL
from models import evaluate
from models.dataset import Dataset, Extra, label_config, make_dataset
from models.forecaster import FitOptions, default_forecaster, forecaster
from models.splits import Split, quick
from models.train import Stopped, TrainOptions, leak_check
from models.trials import Trial, TrialLedger

FIRST_SHARE = 0.6
TRIALS = 50
FOLDS = 4
ENDED = ("COMPLETE", "PRUNED")
STARTUP_TRIALS = 8  # complete ones before anything is cut
DEFAULTS = {"n_estimators": 300, "learning_rate": 0.05, "max_depth": 6, "num_leaves": 31, "min_child_samples": 100, "subsample": 0.8,
            "colsample_bytree": 0.8, "reg_lambda": 5.0, "reg_alpha": 1e-3, "min_split_gain": 0.0}


@dataclass(frozen=True)
class TuneResult:
    """`loss` and `default_loss`: mean log loss (or mean squared error) over inner folds. `parameters` go into TrainOptions.parameters."""

    parameters: Mapping[str, Any]
    loss: float
    default_loss: float
    finished: int
    pruned: int
    tried: tuple[dict[str, Any], ...]

    def document(self) -> dict[str, Any]:
        return {n: getattr(self, n) for n in ("loss", "default_loss", "finished", "pruned")} | {
            "parameters": dict(self.parameters), "tried": list(self.tried)}


def space(trial: Any) -> dict[str, Any]:
    """A wide space around the defaults: from stumps to deep trees, from hardly any to strong shrinkage."""
    return {
        "n_estimators": trial.suggest_int("n_estimators", 50, 800, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 0.005, 0.2, log=True),
        "max_depth": trial.suggest_int("max_depth", 2, 10), "num_leaves": trial.suggest_int("num_leaves", 4, 127, log=True),
        "min_child_samples": trial.suggest_int("min_child_samples", 20, 1000, log=True),
        "subsample": trial.suggest_float("subsample", 0.4, 1.0), "colsample_bytree": trial.suggest_float("colsample_bytree", 0.2, 1.0),
        "reg_lambda": trial.suggest_float("reg_lambda", 0.1, 100.0, log=True),
        "reg_alpha": trial.suggest_float("reg_alpha", 1e-3, 10.0, log=True),
        "min_split_gain": trial.suggest_float("min_split_gain", 0.0, 0.5),
    }


def first_part(data: Dataset, share: float = FIRST_SHARE) -> Dataset:
    """The rows whose outcome was known when the first 60 % of the time had passed."""
    cut = int(data.t0.min()) + int(share * (int(data.t0.max()) - int(data.t0.min())))
    return data.take(np.flatnonzero(data.t1 <= cut))


def tune(candles: Mapping[str, Candles], label: str = DEFAULT_LABEL, model: str | None = None, options: TrainOptions | None = None, *,
         storage: Path, study: str, search: str = "", ledger: TrialLedger | None = None, data_version: str = "", trials: int = TRIALS,
         extra: Extra | None = None, progress: Callable[[int, int, str], None] = lambda done, total, words: None,
         cancelled: Callable[[], bool] = lambda: False) -> TuneResult:
    """Try up to `trials` configurations, those of an interrupted study included.

    `storage` is the searches' SQLite file; two processes with the same file and `search` (by default the study's name) share the work: it
    must differ with whatever the losses depend on. The defaults are tried first,
    so the result is never worse than they are on the inner folds.

    Raises
    ------
    InputError
        A model without these parameters, or fewer than one trial.
    DamagedState
        When the study file cannot be read.
    """
    options = options or TrainOptions()
    if trials < 1:
        raise InputError(f"expected at least one trial, got {trials}")
    data = make_dataset(candles, label, label_config(label, horizon=options.horizon, cost=options.cost), sampling=options.sampling,
                        features=options.features, extra=extra, leave_out_empty=options.leave_out_empty)
    name = model or default_forecaster(data.task)
    if not forecaster(name).place.startswith("models.lgbm:"):
        raise InputError(f"tuning is for LightGBM models (lgbm, lgbm_regressor), got {name[:30]!r}")
    leak_check(data)
    data = first_part(data)
    splits = quick(data.t0, data.t1, horizon=data.horizon, folds=FOLDS)
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage.parent.mkdir(parents=True, exist_ok=True)
    try:
        # One seed a process would make two workers try the same points; the study's own numbering tells them apart.
        backend = optuna.storages.RDBStorage(f"sqlite:///{storage}", engine_kwargs={"connect_args": {"timeout": 30}})
        made = optuna.create_study(storage=backend, study_name=search or study, direction="minimize", load_if_exists=True,
                                   pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=1))
        done = len(made.trials)
    except Exception as error:  # SQLAlchemy's tree is not ours to import
        raise DamagedState(f"the tuning study {storage.name} cannot be opened ({type(error).__name__}); move it aside to begin "
                           "anew") from error
    made.sampler = optuna.samplers.TPESampler(seed=options.seed + done, constant_liar=True)
    if not any(t.state.name in ENDED or t.state.name == "WAITING" for t in made.trials):
        made.enqueue_trial(DEFAULTS)  # anew where the first process was killed in its first try

    def objective(trial: Any) -> float:
        parameters = space(trial)
        losses: list[float] = []
        try:
            for step, split in enumerate(splits):
                if cancelled():
                    raise Stopped("the tuning was stopped; finished tries are kept")
                losses.append(_loss(data, split, name, replace_parameters(options, parameters)))
                trial.report(float(np.mean(losses)), step)
                if trial.should_prune():
                    raise optuna.TrialPruned
        finally:
            if ledger is not None and losses:
                asked = {"model": name, "label": label, "horizon": data.horizon, "cost": data.cost}
                ledger.record([Trial(study, "tune", asked | parameters, data_version, None, len(data))])
        return float(np.mean(losses))

    def told(running: Any, trial: Any) -> None:
        finished = [t.value for t in running.trials if t.value is not None and t.state.name == "COMPLETE"]
        best = f": best loss {min(finished):.4f}" if finished else ""
        progress(sum(t.state.name in ENDED for t in running.trials), trials, f"try {trial.number + 1}{best}")

    left = trials - sum(t.state.name in ENDED for t in made.trials)  # a try that was cut off by a kill or a stop is none
    if left > 0:
        made.optimize(objective, n_trials=left, callbacks=[told], gc_after_trial=True)
    complete = [t for t in made.trials if t.state.name == "COMPLETE"]
    if not complete:
        raise InputError("no try was finished; give the tuning more trials or more history")
    default = next((t.value for t in complete if t.params == DEFAULTS), math.nan)
    tried = tuple({"number": t.number, "loss": t.value, "state": t.state.name.lower(), "parameters": t.params} for t in made.trials
                  if t.state.name in ENDED)
    return TuneResult(made.best_trial.params, float(made.best_value), math.nan if default is None else float(default), len(complete),
                      sum(t.state.name == "PRUNED" for t in made.trials), tried)


def replace_parameters(options: TrainOptions, parameters: Mapping[str, Any]) -> TrainOptions:
    return replace(options, parameters=dict(options.parameters) | dict(parameters))


def _loss(data: Dataset, split: Split, name: str, options: TrainOptions) -> float:
    part, test = data.take(split.train), data.take(split.test)
    if data.classes and len(np.unique(part.y)) < len(data.classes):
        return float(np.log(len(data.classes)))  # what knowing nothing costs
    settings = FitOptions(options.seed, options.threads, options.class_weights, options.decay_days, options.parameters)
    fitted = forecaster(name).fit(part, settings)
    found = fitted.forecast(test.rows)
    if data.classes:
        return float(evaluate.log_losses(found.probability, test.codes()).mean())
    return float(((test.y - found.mean) ** 2).mean())
