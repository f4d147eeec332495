"""Training and explaining against the libraries called directly.

The training peer fits the same LightGBM on the same blocks with nothing around it: no baselines, calibration, weights or verdict. The
explanation peer is `pred_contrib` on a matrix that is already there. Both trainings use one thread and are measured in seconds of the
processor: they last minutes one after the other, and whatever else runs meanwhile would decide the ratio of their wall clocks.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from typing import Any

import numpy as np

from benchmarks.bench_features import candles_of, measured
from data.frames import Candles
from data.market import HOUR_MS, Interval
from models.dataset import make_dataset
from models.explain import through_shap
from models.forecaster import forecaster
from models.lgbm import FIXED, PARAMETERS
from models.train import TrainOptions, make_splits, train

BARS, FOLDS, ROUNDS = 100_500, 2, 20
SHAP_ROUNDS = 5


def hours(bars: int) -> Candles:
    """The benchmark's minutes, stamped as hours."""
    made = candles_of(bars).columns()
    made["open_time"] = made["open_time"][0] // HOUR_MS * HOUR_MS + np.arange(bars, dtype=np.int64) * HOUR_MS
    made["close_time"] = made["open_time"] + HOUR_MS - 1
    return Candles.from_columns(Interval.H1, made)


def bare(candles: Candles, options: TrainOptions) -> Any:
    import lightgbm

    data = make_dataset({"A": candles}, "dir3_dyn")
    model = None
    for split in make_splits(data, options):
        model = lightgbm.LGBMClassifier(**PARAMETERS, **FIXED, random_state=7, n_jobs=1)
        model.fit(data.rows.X[split.train], data.y[split.train])
        model.predict_proba(data.rows.X[split.test])
    return lightgbm.LGBMClassifier(**PARAMETERS, **FIXED, random_state=7, n_jobs=1).fit(data.rows.X, data.y)


def run() -> list[dict]:
    candles, options = hours(BARS), TrainOptions(folds=FOLDS)
    small = hours(5_000)
    train({"A": small}, options=TrainOptions(folds=1))  # imports are not what is measured
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    result = train({"A": candles}, options=options)
    ours = time.process_time() - start
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / (2**20 if sys.platform == "darwin" else 2**10)
    start = time.process_time()
    bare(candles, options)
    theirs = time.process_time() - start
    row = result.out_of_fold.data.rows.take(slice(0, 1))
    fitted: Any = result.model.fitted
    booster, X = fitted.booster, np.ascontiguousarray(row.X)
    alone, contributions, raw = measured(lambda: fitted.explain(row), lambda: booster.predict(X, pred_contrib=True),
                                         lambda: booster.predict(X, raw_score=True), rounds=ROUNDS)
    slow = []
    for _ in range(SHAP_ROUNDS):
        start = time.perf_counter()
        through_shap(booster, X)
        slow.append(1000 * (time.perf_counter() - start))
    rows = f"{len(make_dataset({'A': candles}, 'dir3_dyn')):,} x 37"
    assert forecaster("lgbm").explains and raw > 0
    return [
        {"name": f"train {rows}, {FOLDS} blocks and the final model, judged", "ours_ms": ours * 1000, "peer": "the LightGBM fits alone",
         "peer_ms": theirs * 1000, "ratio": ours / theirs, "target": ""},
        {"name": f"memory a training of {rows} adds", "ours_ms": grown, "unit": "MiB", "target": ""},
        {"name": "explain one prediction, additivity checked", "ours_ms": alone, "peer": "pred_contrib", "peer_ms": contributions,
         "ratio": alone / contributions, "target": "1.05x"},
        {"name": "explain one prediction, additivity checked", "ours_ms": alone, "peer": "shap.TreeExplainer",
         "peer_ms": statistics.median(slow), "ratio": alone / statistics.median(slow), "target": ""},
    ]
