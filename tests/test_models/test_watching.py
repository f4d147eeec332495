"""Abstaining, drift, what would flip a call, tuning, and the path of the next candles."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import kolmogorov
from scipy.stats import ks_2samp

from analysis.methods.psi import CHI2_9_95, bins_of, effective_rows, population_stability
from data.clock import FixedClock
from data.errors import DamagedState, InputError
from data.simulator import worlds
from models import abstain
from models.abstain import TrainingRange
from models.conformal import ClassSets
from models.dataset import make_rows, newest_rows
from models.drift import Reference, _ks, drift, loss_cusum, retrain_proposed
from models.explain import flip_distance, row_contributions
from models.path import forecast_path, train_path
from models.train import TrainOptions
from models.trained import entry_threshold
from models.trials import TrialLedger
from models.tune import first_part, tune
from tests.model_worlds import FAST, FEW, HORIZON, SYMBOL, dataset, scored, trained


def moved(rows, name, value):
    X = rows.X.copy()
    X[:, rows.names.index(name)] = value
    return replace(rows, X=X)


# -- abstaining -------------------------------------------------------------------------------------------------------


def test_a_row_far_outside_names_its_feature():
    model, rows = trained().model, trained().out_of_fold.data.rows.take(slice(100, 101))
    answer = model.predict(moved(rows, "score", 50.0))[0]
    assert answer.abstained and answer.call == 0 and answer.confidence is None
    assert any(r.startswith("outside the training range: score is 50, seen ") for r in answer.reasons)


def test_a_combination_nobody_saw_is_outside_although_each_value_was_seen():
    rng = np.random.default_rng(1)
    rows = dataset(bars=2500).rows
    x = rng.standard_normal(len(rows))
    rows = moved(moved(rows, "atr", x), "body", x + 0.01 * rng.standard_normal(len(rows)))
    seen = TrainingRange.of(rows, {"atr": 2.0, "body": 1.0})
    found = seen.outside(moved(moved(rows.take(slice(0, 1)), "atr", 2.0), "body", -2.0))
    assert "the features together are" in found[0] and seen.outside(moved(moved(rows.take(slice(0, 1)), "atr", 0.5), "body", 0.5)) == [""]
    assert TrainingRange.read(json.loads(json.dumps(seen.document()))).outside(rows) == seen.outside(rows)


def test_few_known_features_both_directions_drift_and_vetoes_each_forbid():
    data = dataset(bars=1500)
    rows, seen = data.rows.take(slice(1000, 1001)), TrainingRange.of(data.rows, dict.fromkeys(data.rows.names, 1.0))
    sure, torn = np.array([[0.1, 0.1, 0.8]]), np.array([[0.45, 0.1, 0.45]])
    sets = ClassSets(0.6, 0.2, 500)

    def why(p, given=rows, q=sets, **more):
        return " | ".join(abstain.reasons(given, p, (-1, 0, 1), seen=seen, sets=q, **more)[0])

    assert why(sure) == "" and "both directions stay possible at 80% confidence" in why(torn)
    assert "no outcome is usual enough" in why(np.full((1, 3), 1 / 3), q=ClassSets(0.5, 0.2, 500))
    assert "only 11% of the features are known" in why(sure, given=replace(rows, X=np.where(np.arange(9) < 8, np.nan, rows.X)))
    assert "drifted from the training: atr" in why(sure, drifted=["atr"]) and why(sure, vetoes=["kill switch is on"]) == "kill switch is on"


def test_the_threshold_of_a_trade_pays():
    """Stop 1 %, target 1.5 %, cost .24 %: p (1.5 - .24) - (1 - p)(1 + .24) = 0 at p = 1.24 / 2.5, and the margin on top."""
    assert entry_threshold(0.01, 0.015, 0.0024, margin=0.0) == pytest.approx(1.24 / 2.5)
    assert entry_threshold(0.01, 0.015, 0.0024) == pytest.approx(1.24 / 2.5 + 0.02)


# -- explaining -------------------------------------------------------------------------------------------------------


def test_flipping_where_it_says_flips_the_call():
    model, rows = trained().model, trained().out_of_fold.data.rows
    checked = 0
    for i in range(0, 800, 20):
        row = rows.take(slice(i, i + 1))
        now = int(model.call(row)[0])
        flips = flip_distance(model.call, row, rows)
        assert [f.distance for f in flips] == sorted(f.distance for f in flips)
        for f in flips:
            assert int(model.call(moved(row, f.feature, f.then))[0]) == f.call != now
            known = rows.column(f.feature)
            assert np.nanmin(known) <= f.then <= np.nanmax(known) and f.now == row.column(f.feature)[0]
            checked += 1
    assert checked >= 5 and json.dumps([f.document() for f in flips])


def test_a_linear_call_flips_where_it_must():
    """The call is the sign of score - .3: only the score can flip it, and at .3."""
    rows = dataset(bars=1500).rows
    row = moved(rows.take(slice(900, 901)), "score", 1.0)
    flips = flip_distance(lambda r: np.sign(r.column("score") - 0.3), row, rows)
    assert [f.feature for f in flips] == ["score"] and flips[0].then == pytest.approx(0.3, abs=1e-4)
    share = np.mean((rows.column("score") > 0.3) & (rows.column("score") <= 1.0))
    assert flips[0].distance == pytest.approx(share, abs=0.002)


def test_contributions_are_ordered_and_add_up():
    result = trained()
    told = result.model.explain(result.out_of_fold.data.rows.take(slice(0, 3)))
    table = row_contributions(told, 1, top=99)
    for part in table:
        assert sum(p["contribution"] for p in part["parts"]) + part["base"] == pytest.approx(part["raw"], abs=1e-6)
        sizes = [abs(p["contribution"]) for p in part["parts"]]
        assert sizes == sorted(sizes, reverse=True)


# -- drift ------------------------------------------------------------------------------------------------------------


def test_psi_by_hand_and_its_null_level():
    quantiles = np.linspace(0, 10, 401)
    edges, share = bins_of(quantiles)
    assert np.allclose(edges, np.arange(1, 10)) and np.allclose(share, 0.1, atol=0.003)
    lower = np.repeat(np.arange(5) + 0.5, 20)  # twice the mass in five bins, none in the others
    expected = 5 * (0.2 - 0.1) * np.log(2) + 5 * (1e-4 - 0.1) * np.log(1e-3)
    found = population_stability((edges, np.full(10, 0.1)), lower, 1000)
    assert found.psi == pytest.approx(expected) and found.severe
    assert found.limit == pytest.approx(max(0.1, CHI2_9_95 * (1 / 100 + 1 / 1000)))
    rng = np.random.default_rng(1)
    alarms = [population_stability((edges, np.full(10, 0.1)), rng.uniform(0, 10, 150), 1500) for _ in range(400)]
    assert np.mean([a.psi > CHI2_9_95 * (1 / 150 + 1 / 1500) for a in alarms]) == pytest.approx(0.05, abs=0.03)


def test_ks_equals_scipys():
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal(20_000), rng.standard_normal(1500) + 0.15
    ours = _ks(np.quantile(a, np.linspace(0, 1, 401)), 4000, b)
    theirs = kolmogorov(ks_2samp(a, b[::5]).statistic * np.sqrt(4000 * 300 / 4300))  # their distance
    assert ours == pytest.approx(theirs, abs=0.01) and _ks(np.quantile(a, np.linspace(0, 1, 401)), 4000, b + 1) < 1e-6


def test_a_slow_feature_is_no_drift():
    """An AR(1) of .99 visits few levels in a month: its index passes .25 without anything having changed."""
    x = worlds.autoregression(3, 30_000, 0.99)
    n = effective_rows(x)
    assert n == pytest.approx(30_000 * 0.01 / 1.99, rel=0.2) and effective_rows(worlds.generator(1).standard_normal(900)) > 800
    bins, found = bins_of(np.quantile(x, np.linspace(0, 1, 401))), []
    for start in range(0, 30_000, 720):
        part = x[start : start + 720]
        found.append(population_stability(bins, part, n, independent_rows=effective_rows(part)))
    assert np.mean([f.psi > 0.25 for f in found]) > 0.6 and np.mean([f.alert for f in found]) < 0.25


def test_a_planted_shift_is_found_and_none_without():
    rng = np.random.default_rng(3)
    data = dataset(bars=2500)
    rows = replace(data.rows, X=rng.standard_normal(data.rows.X.shape))
    reference = Reference.of(rows, rng.random(500), np.abs(rng.standard_normal(60)))
    reference = Reference.read(json.loads(json.dumps(reference.document())))
    later = replace(rows.take(slice(0, 600)), X=rng.standard_normal((600, rows.X.shape[1])))
    quiet = drift(reference, later, forecast=rng.random(600))
    assert not quiet.alert and not quiet.severe and json.dumps(quiet.document())
    loud = drift(reference, moved(later, "atr", rng.standard_normal(600) + 1.5), forecast=rng.random(600) ** 3)
    assert loud.severe == ("atr",) and [f.name for f in loud.features if f.alert] == ["atr"] and loud.forecast.alert
    assert drift(reference, later.take(slice(0, 20))).words.startswith("20 rows")


def window(seed, bars=26_000):
    """Features of a world that never changes: a reference of 20,000 rows, and what came after them."""
    rows = make_rows({"W": worlds.candles_of(worlds.random_walk(seed, bars), seed=seed)}, 5)
    return Reference.of(rows.take(slice(0, 20_000)), np.empty(0), np.empty(0)), rows


def test_worlds_that_never_change_are_hardly_ever_called_drifted():
    """Checks of all 37 features on 22 windows each: a severe one in at most 1 of 20, any alert in less than a third."""
    checks = []
    for seed in (31, 32):
        reference, rows = window(seed)
        checks += [drift(reference, rows.take(slice(start, start + 500))) for start in range(20_000, 25_500, 250)]
    assert np.mean([bool(c.severe) for c in checks]) <= 0.05 and np.mean([c.alert for c in checks]) <= 0.33
    assert all(c.features[0].severe_limit >= c.features[0].psi_limit for c in checks)


def test_a_shift_is_severe_in_slow_features_too():
    """Four training deviations in one feature at a time; the distance from the high of 200 bars moves as slowly as any."""
    reference, rows = window(31)
    reference = Reference.read(json.loads(json.dumps(reference.document())))
    later = rows.take(slice(20_000, 20_500))
    quiet = drift(reference, later)
    for name in ("dist_high_200", "kalman_t", "atr", "returns_1m", "fdi_100"):
        i = rows.names.index(name)
        found = drift(reference, moved(later, name, later.X[:, i] + 4.0 * reference.deviation[i]))
        assert name in found.severe and name not in quiet.severe, name
    old = replace(reference, highest=np.empty(0))  # a model that was shelved before this was kept
    assert not drift(old, later).severe


def test_losses_that_rise_are_an_alarm_and_two_alarms_a_proposal():
    rng = np.random.default_rng(4)
    reference = replace(Reference.of(dataset(bars=1500).rows, np.empty(0), np.empty(0)), loss_mean=0.3, loss_deviation=0.05)
    usual = 0.3 + 0.05 * rng.standard_normal(60)
    assert loss_cusum(reference, usual)[-1] < 5 < loss_cusum(reference, np.concatenate((usual, np.full(10, 0.4))))[-1]
    assert [retrain_proposed(a) for a in ([True], [True, False], [True, True], [False, True, True])] == [False, False, True, True]


# -- tuning -----------------------------------------------------------------------------------------------------------


def test_tuning_resumes_counts_every_try_and_never_sees_the_rest(tmp_path):
    candles, score = scored(1, 2000, 0.15)
    ledger = TrialLedger(tmp_path / "trials.sqlite", FixedClock(1))
    request = {"storage": tmp_path / "study.sqlite", "study": "tune/M", "ledger": ledger, "extra": {SYMBOL: {"score": score}},
               "options": TrainOptions(horizon=HORIZON, cost=0.0, features=(*FEW, "score"))}
    told = []
    first = tune({SYMBOL: candles}, trials=2, progress=lambda *a: told.append(a), **request)
    assert first.finished + first.pruned == 2 == ledger.count("tune/M") and told[-1][:2] == (2, 2)
    assert first.tried[0]["parameters"]["n_estimators"] == 300 and first.loss <= first.default_loss
    again = tune({SYMBOL: candles}, trials=3, **request)
    assert len(again.tried) == 3 == ledger.count("tune/M") and again.tried[:2] == first.tried and again.loss <= first.loss
    assert tune({SYMBOL: candles}, trials=3, **request) == again  # nothing left to try
    data = dataset(bars=3000)
    early = first_part(data)
    assert early.t1.max() <= data.t0.min() + 0.6 * (data.t0.max() - data.t0.min()) < data.t0.max()
    (tmp_path / "bad.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(DamagedState, match=r"bad.sqlite cannot be opened"):
        tune({SYMBOL: candles}, trials=1, **request | {"storage": tmp_path / "bad.sqlite"})
    with pytest.raises(InputError, match="tuning is for LightGBM"):
        tune({SYMBOL: candles}, model="logistic", trials=1, **request)


# -- the next candles -------------------------------------------------------------------------------------------------


def test_a_path_has_a_point_and_an_interval_at_each_horizon():
    candles = worlds.candles_of(worlds.random_walk(5, 2500), seed=5)
    results = train_path({"W": candles}, options=TrainOptions(folds=2, features=FEW, parameters=FAST, baselines=()), horizons=(1, 5, 20))
    path = forecast_path({h: r.model for h, r in results.items()}, "W", candles)
    assert [p.bars for p in path.points] == [1, 5, 20] and path.coverage == 0.9 and "joined by straight lines" in path.words
    assert all(p.low < p.price < p.high for p in path.points)
    width = [p.high - p.low for p in path.points]
    assert width == sorted(width) and width[2] / width[0] == pytest.approx(np.sqrt(20), rel=0.5)
    assert path.points[2].close_time == candles.close_time[-1] + 20 * 3_600_000 and json.dumps(path.document())
    held = results[5].out_of_fold
    low, high = results[5].model.interval.of(held.forecasts["lgbm_regressor"], np.ones(len(held.data)))
    assert np.mean((held.data.y >= low) & (held.data.y <= high)) == pytest.approx(0.9, abs=0.05)
    with pytest.raises(InputError, match="expected a fwd_ret_vs model of 5 bars"):
        forecast_path({5: results[1].model}, "W", candles)


def test_serving_answers_for_the_newest_bar():
    candles, score = scored(1, 4000, 0.15)
    rows = newest_rows({SYMBOL: candles}, HORIZON, features=trained().model.features, extra={SYMBOL: {"score": score}})
    answer = trained().model.predict(rows)[0]
    assert answer.close_time == candles.close_time[-1] and answer.symbol == SYMBOL
    assert sum(answer.probability.values()) == pytest.approx(1) and json.dumps(answer.document())
