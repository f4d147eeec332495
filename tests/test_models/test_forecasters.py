"""Laws over the registry, LightGBM's promises, ARIMA against SARIMAX, ensembles against hand arithmetic."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data.errors import InputError
from data.market import Interval, Market
from data.simulator import worlds
from models.baselines import Arima, _innovations
from models.dataset import make_dataset, make_rows
from models.ensembles import dynamic_mean, hedge_weights, mean_log_odds
from models.explain import through_shap
from models.forecaster import FORECASTERS, Explanation, FitOptions, NotAdditive, checked_slot, forecaster, slot_name
from tests.model_worlds import FAST, FEW, SYMBOL, dataset, scored

ROOT = Path(__file__).resolve().parents[2]
LABEL = {"regression": "fwd_ret_vs", "binary": "dir_bin", "three": "dir3_dyn"}
QUICK = FitOptions(parameters=FAST)
CASES = [(f, task) for f in FORECASTERS for task in f.tasks]


@pytest.mark.parametrize(("kind", "task"), CASES, ids=[f"{f.name}-{t}" for f, t in CASES])
def test_every_forecaster_keeps_the_contract(kind, task):
    data = dataset(label=LABEL[task], bars=1500)
    train, later = data.take(slice(0, 1000)), data.take(slice(1010, None))
    before = train.rows.X.copy()
    options = QUICK if kind.name != "logistic" else FitOptions()
    fitted = kind.fit(train, options)
    found = fitted.forecast(later.rows)
    assert np.array_equal(train.rows.X, before, equal_nan=True), "the input was changed"
    if task == "regression":
        assert found.mean.shape == (len(later),) and np.isfinite(found.mean[100:]).all() and not found.classes
    else:
        assert found.probability.shape == (len(later), len(data.classes)) and found.classes == data.classes
        assert (found.probability >= 0).all() and np.allclose(found.probability.sum(axis=1), 1)
    files = fitted.files()
    assert all(name.endswith((".txt", ".json")) for name in files) and [json.loads(d) for n, d in files.items() if n.endswith(".json")]
    again = kind.load(files).forecast(later.rows)
    assert np.array_equal(again.mean, found.mean) and np.array_equal(again.probability, found.probability)
    if task != "regression" or kind.name == "lgbm_regressor":
        one = kind.fit(train, options).forecast(later.rows)
        assert np.array_equal(one.probability, found.probability) and np.array_equal(one.mean, found.mean)
    if kind.explains:
        told = fitted.explain(later.rows.take(slice(0, 20)))  # additivity is checked when it is made
        assert told.values.shape[0] == 20 and told.values.shape[2] == len(data.rows.names)
    else:
        with pytest.raises(InputError):
            fitted.explain(later.rows)
    # A row's forecast does not depend on the rows asked about beside it.
    alone = fitted.forecast(later.rows.take(slice(5, 6)))
    for a, b in ((alone.mean, found.mean), (alone.probability, found.probability)):
        assert np.allclose(a, b[5:6], rtol=0, atol=1e-12)


def test_the_registry_is_whole():
    assert len({f.name for f in FORECASTERS}) == len(FORECASTERS) == 12
    assert {f.name for f in FORECASTERS if f.baseline} == {"prior", "last_sign", "logistic", "zero", "last_value", "arima"}
    with pytest.raises(InputError, match="did you mean lgbm"):
        forecaster("lgbmm")
    with pytest.raises(InputError, match="answers regression labels, dir3_dyn is three"):
        forecaster("zero").fit(dataset(bars=1500))
    for bad in ("n_estimator", "deterministic", "n_jobs"):
        with pytest.raises(InputError, match="expected parameters among"):
            forecaster("lgbm").fit(dataset(bars=1500), FitOptions(parameters={bad: 1}))


_FIT = """
import hashlib
from models.forecaster import FitOptions, forecaster
from tests.model_worlds import FAST, dataset
for threads in (1, 2):
    fitted = forecaster("lgbm").fit(dataset(bars=1500), FitOptions(threads=threads, parameters=FAST | {"n_estimators": 5}))
    print(hashlib.sha256(fitted.text.encode()).hexdigest())
"""


def test_the_same_seed_makes_the_same_bytes_in_two_processes_and_over_two_threads():
    few = FAST | {"n_estimators": 5}
    here = hashlib.sha256(forecaster("lgbm").fit(dataset(bars=1500), FitOptions(parameters=few)).text.encode()).hexdigest()
    passive = os.environ | {"OMP_WAIT_POLICY": "passive"}  # threads that spin for each other crawl on a busy machine
    there = subprocess.run([sys.executable, "-c", _FIT], cwd=ROOT, capture_output=True, text=True, check=True, env=passive).stdout.split()
    assert len(there) == 2 and set(there) == {here}
    other = forecaster("lgbm").fit(dataset(bars=1500), FitOptions(seed=8, parameters=few)).text
    assert hashlib.sha256(other.encode()).hexdigest() != here


def test_shap_agrees_with_lightgbms_own_contributions():
    for label in ("dir3_dyn", "dir_bin", "fwd_ret_vs"):
        data = dataset(label=label, bars=1500)
        fitted = forecaster("lgbm_regressor" if label == "fwd_ret_vs" else "lgbm").fit(data, FitOptions(parameters={"n_estimators": 6}))
        rows = data.rows.take(slice(600, 640))
        theirs = through_shap(fitted.booster, rows.X) * fitted.head.get("scale", 1.0)
        assert np.allclose(theirs, fitted.explain(rows).values, rtol=0, atol=1e-9), label


def test_contributions_that_do_not_add_up_are_an_error():
    with pytest.raises(NotAdditive, match=r"miss the raw forecast by 0\.5"):
        Explanation(("a",), ("1",), np.ones((1, 1, 1)), np.zeros((1, 1)), np.full((1, 1), 1.5))


def test_other_features_or_another_order_are_refused():
    data = dataset(bars=1500)
    fitted = forecaster("lgbm").fit(data, QUICK)
    candles, score = scored(1, 1500, 0.15)
    turned = make_dataset({SYMBOL: candles}, "dir3_dyn", features=("score", *FEW), extra={SYMBOL: {"score": score}})
    with pytest.raises(InputError, match="in another order"):
        fitted.forecast(turned.rows)
    with pytest.raises(InputError, match="missing score"):
        fitted.forecast(make_dataset({SYMBOL: candles}, "dir3_dyn", features=FEW).rows)


def test_arima_agrees_with_sarimax():
    """ARMA(1,1) with phi .6 and theta -.3 over 3000 bars; conditional least squares and exact likelihood differ in the first rows only."""
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    shock = worlds.generator(11).standard_normal(3000)
    x = np.zeros(3000)
    for t in range(1, 3000):
        x[t] = 0.6 * x[t - 1] + shock[t] - 0.3 * shock[t - 1]
    data = make_dataset({"A": worlds.candles_of(np.cumsum(x), seed=1)}, "fwd_ret", features=("returns_1m",))
    ours = Arima.fit(data, FitOptions())
    series = data.rows.returns[0][1:]
    peer = SARIMAX(series / series.std(), order=(1, 0, 1), trend="c").fit(disp=False)
    assert [ours.document["phi"], ours.document["theta"]] == pytest.approx(peer.params[1:3].tolist(), abs=0.02)
    rows = make_rows({"A": worlds.candles_of(np.cumsum(x), seed=1)}, 5, features=("returns_1m",))
    assert ours.forecast(rows).mean[-1] == pytest.approx(peer.forecast(5).sum() * series.std(), abs=0.02 * series.std() * 5)
    errors = _innovations(series, ours.document["mean"], ours.document["phi"], ours.document["theta"])
    assert np.allclose(errors[50:] / series.std(), peer.resid[50:], atol=0.05)


def test_mean_of_log_odds_is_the_geometric_mean():
    a, b = np.array([[0.2, 0.8]]), np.array([[0.6, 0.4]])
    odds = np.sqrt(0.8 / 0.2 * 0.4 / 0.6)
    assert mean_log_odds([a, b])[0, 1] == pytest.approx(odds / (1 + odds))
    assert np.allclose(mean_log_odds([a, b], np.array([1.0, 0.0])), a)


def test_hedge_weights_by_hand_and_without_the_future():
    losses = np.array([[0.0, 1.0], [0.0, 1.0], [5.0, 0.0]])
    w = hedge_weights(losses)
    assert np.allclose(w[0], 0.5) and w[1, 0] == pytest.approx(1 / (1 + np.exp(-2.0)))
    assert w[2, 0] == pytest.approx(1 / (1 + np.exp(-2.0 * 1.99)))
    late = hedge_weights(losses, delay=1)
    assert np.allclose(late[1], 0.5) and np.allclose(late[2], w[1])
    changed = losses.copy()
    changed[2] = 99.0
    assert np.array_equal(hedge_weights(changed), w)


def test_dynamic_weights_find_the_better_member():
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 2, 600)
    good = np.where(codes == 1, 0.7, 0.3)
    noise = rng.uniform(0.3, 0.7, 600)
    _, weights = dynamic_mean([np.column_stack((1 - good, good)), np.column_stack((1 - noise, noise))], codes, delay=4)
    assert weights[50:, 0].min() > 0.9


def test_slots_are_names_and_no_paths():
    assert slot_name(Market.SPOT, ("ETHUSDT", "BTCUSDT"), Interval.H1, "dir3_dyn") == "spot-BTCUSDT+ETHUSDT-1h-dir3_dyn"
    for bad in ("../x", "spot-BTC/USDT-1h-x", "spot-BTCUSDT-1h-dir3_dyn/../..", "", "spot-BTCUSDT-1h-\n"):
        with pytest.raises(InputError, match="expected a slot"):
            checked_slot(bad)
