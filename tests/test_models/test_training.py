"""A whole training: the planted score is found, its placebo is not, leaks are refused, and the result is plain JSON."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data.errors import InputError, NoData
from models.dataset import make_dataset
from models.evaluate import direction_auc, rolling
from models.forecaster import FitOptions, forecaster
from models.past import PastForecasts
from models.splits import walk_forward
from models.train import Stopped, TrainOptions, leak_check, train
from tests.made_candles import made
from tests.model_worlds import FAST, FEW, HORIZON, SYMBOL, scored, trained
from tests.planted import FIRST_SEED, Row, check_mean, check_single

SMALL = {"n_estimators": 60, "min_child_samples": 40, "num_leaves": 7, "max_depth": 3}


def regression(seed, strength, bars=4000):
    """Rank IC of an out-of-fold LightGBM forecast where the score is one of nine features."""
    candles, score = scored(seed, bars, strength)
    result = train({SYMBOL: candles}, "fwd_ret_vs", options=TrainOptions(horizon=HORIZON, cost=0.0, folds=3, features=(*FEW, "score"),
                                                                        parameters=SMALL, baselines=()), extra={SYMBOL: {"score": score}})
    found = result.metrics["lgbm_regressor"]
    return result, found


def planted(seed):
    result, found = regression(seed, 0.15)
    rows = result.out_of_fold.data
    truth = np.corrcoef(np.argsort(np.argsort(rows.rows.column("score"))), np.argsort(np.argsort(rows.y)))[0, 1]
    top = next(iter(result.importance["shap"]))
    return {"ic": found["rank_ic"], "share of the score's own IC": found["rank_ic"] / truth, "score is first": float(top == "score")}


def placebo(seed):
    _, found = regression(seed, 0.0)
    return {"ic": found["rank_ic"], "covers zero": float(found["rank_ic_low"] <= 0 <= found["rank_ic_high"])}


def direction(seed, strength, *, shuffled=False):
    """AUC of up against down on unseen blocks with its interval; `shuffled` labels know nothing."""
    candles, score = scored(seed, 4000, strength)
    data = make_dataset({SYMBOL: candles}, "dir3_dyn", features=(*FEW, "score"), extra={SYMBOL: {"score": score}})
    if shuffled:
        data.y[:] = data.y[np.random.default_rng(seed).permutation(len(data))]
    probability, codes = [], []
    for split in walk_forward(data.t0, data.t1, folds=3):
        fitted = forecaster("lgbm").fit(data.take(split.train), FitOptions(parameters=SMALL))
        test = data.take(split.test)
        probability.append(fitted.forecast(test.rows).probability)
        codes.append(test.codes())
    found = direction_auc(np.concatenate(probability), np.concatenate(codes), horizon=1 if shuffled else 5, seed=seed)
    return {"auc": found["auc"], "covers a half": float(found["low"] <= 0.5 <= found["high"])}


ROWS = (
    Row("Planted score through LightGBM", "IC .22 of the score itself", planted, {"ic": (.06, .41), "score is first": (1, 1)},
        {"ic": (.10, .25), "score is first": (.75, 1)}),
    Row("Placebo through LightGBM", "0", placebo, {"ic": (-.15, .15)}, {"ic": (-.03, .03), "covers zero": (.85, 1)}),
    Row("Direction with a planted score", "above .5", lambda seed: direction(seed, 0.15), {"auc": (.53, .70), "covers a half": (0, 0)},
        {"auc": (.54, .68), "covers a half": (0, .2)}),
    Row("Direction of a placebo", ".5", lambda seed: direction(seed, 0.0), {"auc": (.44, .56), "covers a half": (1, 1)},
        {"auc": (.49, .51), "covers a half": (.80, 1)}),
    Row("Shuffled labels", ".5", lambda seed: direction(seed, 0.15, shuffled=True), {"auc": (.46, .54), "covers a half": (1, 1)},
        {"auc": (.49, .51), "covers a half": (.80, 1)}),
)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_one_seed_lies_in_its_band(row):
    check_single(row, FIRST_SEED)


@pytest.mark.long
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_mean_over_seeds_lies_in_its_band(row):
    check_mean(row)


def test_the_result_is_plain_json_with_everything_beside():
    result = trained()
    document = json.loads(json.dumps(result.document(), allow_nan=False))
    assert {"kind", "config", "folds", "metrics", "verdict", "importance", "notes"} == set(document)
    assert {"lgbm", "prior", "logistic", "last_sign", "buy_and_hold", "raw", "newest_block", "by_regime", "by_symbol", "rolling",
            "auc_interval", "direction_auc", "against_prior"} <= set(document["metrics"])
    assert len(document["folds"]) == 3 and document["folds"][0]["lgbm"]["log_loss"] > 0
    assert set(document["metrics"]["newest_block"]) == {"before", "after", "method"}
    assert document["verdict"]["words"] == "no edge shown" and "not computed" in document["verdict"]["reasons"][2]
    assert next(iter(document["importance"]["shap"])) == "score" == next(iter(document["importance"]["permutation"]))


def test_all_forecasters_are_judged_on_the_same_rows():
    result = trained()
    m = result.metrics
    assert len({m[n]["rows"] for n in ("lgbm", "prior", "logistic", "last_sign")}) == 1
    held = result.out_of_fold
    assert m["lgbm"]["rows"] == held.judged.sum() < len(held.data) and (held.part[held.judged] >= 1).all()
    assert m["lgbm"]["log_loss"] < m["prior"]["log_loss"] and m["against_prior"]["difference"] < 0


def test_intervals_of_numbers_hold_what_they_promise_as_they_would_have_been_stated():
    found = trained("fwd_ret_vs").metrics["interval"]
    assert found["promised"] == 0.9 and found["rows"] > 1000
    assert found["plain"] == pytest.approx(0.9, abs=0.03) and found["adaptive"] == pytest.approx(0.9, abs=0.03)
    assert trained("fwd_ret_vs").model.metrics["interval"] == found and "interval" not in trained().metrics


def test_a_block_is_calibrated_by_earlier_blocks_alone():
    """Changing the outcomes of the newest block changes no calibrated forecast."""
    from models.folds import _progressive

    held = trained().out_of_fold
    data, raw = held.data, held.forecasts["lgbm"]
    found = _progressive(raw, data, held.part, "auto")
    assert np.isnan(found[held.part == 0]).all() and np.isfinite(found[held.part == 2]).all()
    other = data.take(slice(None))
    y = other.y.copy()
    y[held.part == 2] = 1
    object.__setattr__(other, "y", y)
    assert np.array_equal(_progressive(raw, other, held.part, "auto"), found, equal_nan=True)


def test_the_deflated_ratio_decides_with_the_rest():
    candles, score = scored(2, 7000, 0.25)
    options = TrainOptions(horizon=HORIZON, cost=0.0, folds=6, features=(*FEW, "score"), parameters=FAST, baselines=(), calibration="platt")
    seen = []
    result = train({SYMBOL: candles}, "dir3_dyn", options=options, extra={SYMBOL: {"score": score}},
                   deflated=lambda daily: seen.append(daily) or 0.99)
    assert np.array_equal(seen[0], result.daily) and result.metrics["deflated_sharpe"] == 0.99
    assert result.verdict.edge and result.verdict.words == "edge shown out of sample", result.verdict
    assert result.model.metrics["verdict"]["edge"] is True


def test_a_training_is_one_try_of_the_ledger():
    result = trained()
    tried = result.trial("train/MUSDT/1h", "d1")
    assert tried.kind == "train" and tried.observations == len(result.daily) and tried.parameters["model"] == "lgbm"
    assert tried.sharpe == pytest.approx(result.metrics["lgbm"]["trades"]["sharpe_daily"]) and math.isfinite(tried.kurtosis)


@pytest.mark.parametrize("words", ["the return traded", "the label", "the next bar's return"])
def test_a_feature_that_knows_the_future_is_refused(words):
    candles = made(1500)
    data = make_dataset({"A": candles}, "dir3_dyn")
    n = len(candles)
    leak = np.full(n, np.nan)
    if words == "the return traded":
        leak[data.rows.bar] = data.ret + 0.001 * np.random.default_rng(1).standard_normal(len(data))
    elif words == "the label":
        leak[data.rows.bar] = data.y
    else:
        leak[:-1] = candles.log_return[1:]
    with pytest.raises(InputError, match=r"feature leak has a rank correlation of \d\.\d+ with"):
        train({"A": candles}, "dir3_dyn", options=TrainOptions(folds=2, block_days=5), extra={"A": {"leak": leak}})


def test_a_feature_that_is_too_good_is_named():
    candles, score = scored(1, 4000, 0.25)
    notes = leak_check(make_dataset({SYMBOL: candles}, "fwd_ret_vs", features=(*FEW, "score"), extra={SYMBOL: {"score": score}}))
    assert len(notes) == 1 and notes[0].startswith("feature score has a rank correlation of 0.")


def test_progress_is_told_and_cancelling_stops():
    told, folds = [], []
    candles = made(2500)
    options = TrainOptions(folds=3, block_days=10, parameters=FAST, features=FEW, baselines=())
    train({"A": candles}, options=options, progress=lambda *a: told.append(a), on_fold=folds.append)
    assert [t[0] for t in told] == [1, 2, 3, 4, 5] and told[-1][1] == 5 and len(folds) == 3 and "log loss" in told[0][2]
    with pytest.raises(Stopped, match="nothing was kept"):
        train({"A": candles}, options=options, cancelled=lambda: True)


_LEAN = """
import sys
from tests.model_worlds import trained
trained()
print([m for m in ("statsmodels", "shap", "arch", "optuna", "plotly", "streamlit", "riskfolio") if m in sys.modules])
"""


def test_a_training_loads_no_other_library():
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", _LEAN], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_quick_mode_and_two_symbols():
    candles = {"A": made(1500), "B": made(1500, seed=2)}
    result = train(candles, "dir_bin", "logistic", TrainOptions(mode="quick", features=FEW, baselines=()))
    assert len(result.folds) == 5 and set(result.metrics["by_symbol"]) == {"A", "B"} and result.model.config["symbols"] == ["A", "B"]


def test_wrong_requests_are_refused_with_the_reason():
    candles = {"A": made(1500)}
    cases = [
        (InputError, "expected a model", {"model": "forest"}), (InputError, "expected a label", {"label": "up"}),
        (InputError, "answers binary, three labels", {"label": "fwd_ret", "model": "lgbm"}),
        (InputError, "expected mode", {"options": TrainOptions(mode="slow")}),
        (InputError, "expected calibration", {"options": TrainOptions(calibration="beta")}),
        (InputError, "choose another baseline", {"options": TrainOptions(baselines=("zero",))}),
        (NoData, "rows before a test block of 90 days", {"options": TrainOptions(block_days=90)}),
        (InputError, "expected a horizon", {"options": TrainOptions(horizon=-1)}),
    ]
    for kind, words, request in cases:
        with pytest.raises(kind, match=words):
            train(candles, **request)


def test_a_baseline_that_knows_nothing_of_a_bar_makes_no_call_and_keeps_its_reference():
    """After a hole the last move is not known: that is no number to call on, and no reason to forget what the forecasts looked like."""
    candles, _ = scored(1, 3000, 0.0)
    holed = candles.take(np.delete(np.arange(3000), np.arange(2600, 2605)))
    result = train({SYMBOL: holed}, "fwd_ret", "last_value", TrainOptions(horizon=HORIZON, folds=2, features=FEW, baselines=()))
    held = result.out_of_fold
    unknown = ~np.isfinite(held.forecasts["last_value"])
    assert unknown.any() and not unknown.all()
    said = result.model.predict(held.data.rows.take(unknown))
    assert all(p.abstained and p.call == 0 and p.mean is None and "are not known" in p.reasons[-1] for p in said)
    reference = result.model.reference
    assert np.isfinite(reference.forecast).all() and math.isfinite(reference.loss_mean) and reference.loss_deviation > 0


def test_a_window_without_rows_has_no_accuracy():
    day = 86_400_000
    at = np.concatenate((np.arange(50), np.arange(50) + 200)) * day
    found = rolling(np.tile([0.4, 0.6], (100, 1)), np.ones(100, int), at)
    for name, right in (("accuracy", 1.0), ("brier", 0.16)):
        known = [v for v in found[f"{name}_30d"] if v is not None]
        assert known and all(v == pytest.approx(right) for v in known), "a hole was shown as always wrong"
    assert found["accuracy_30d"][100] is None and len(found["accuracy_30d"]) == len(found["day_ms"])


def test_a_history_in_which_nothing_moved_has_no_direction_to_be_right_about():
    found = direction_auc(np.tile([0.3, 0.4, 0.3], (50, 1)), np.ones(50, int), horizon=5)
    assert all(math.isnan(v) for v in found.values())


def test_the_record_behind_a_probability_ends_where_it_is_asked_for():
    """Asked at a past bar it must not count how later ones came out, and six symbols that go one way are not six histories."""
    n = 400
    at, outcome = np.arange(n, dtype=np.int64) * 3_600_000, (np.arange(n) >= 200).astype(np.int64)
    alone = PastForecasts(np.zeros(n, np.int64), at, outcome, np.full((n, 2), 0.5))
    assert alone.happened(1, 0.5)[:2] == (400, 0.5)
    assert alone.happened(1, 0.5, before_ms=int(at[200]))[:2] == (200, 0.0) and alone.happened(1, 0.5, before_ms=int(at[20])) is None
    pooled = PastForecasts(np.tile(np.arange(6), n), np.repeat(at, 6), np.repeat(outcome, 6), np.full((6 * n, 2), 0.5))
    assert pooled.happened(1, 0.5, horizon=5)[2:] == pytest.approx(alone.happened(1, 0.5, horizon=5)[2:])
