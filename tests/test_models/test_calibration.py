"""Metrics against scikit-learn, calibration of a planted over-confidence, coverage of sets and intervals (methods.md 8.2)."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as peer

from data.errors import InputError
from data.market import DAY_MS, HOUR_MS
from data.simulator import worlds
from models import evaluate
from models.calibrate import Calibrator, fit_calibrator, log_odds
from models.conformal import ClassSets, ScaledInterval, class_sets, rolling_interval, scaled_interval, threshold
from tests.planted import Row, check_mean, check_single

CLASSES = (-1, 0, 1)


def made(seed=1, n=1500, k=3):
    """Probabilities and outcomes drawn from them: perfectly calibrated."""
    rng = worlds.generator(seed)
    p = rng.dirichlet(np.full(k, 4.0), n)
    return p, (p.cumsum(axis=1) < rng.random(n)[:, None]).sum(axis=1)


def test_every_metric_equals_scikit_learn():
    p, codes = made()
    at = np.arange(len(codes), dtype=np.int64) * HOUR_MS
    found = evaluate.classification_metrics(p, codes, CLASSES, prior=np.full_like(p, 1 / 3), ret=np.zeros(len(codes)), close_time=at,
                                            cost=0.0, horizon=1)
    called = p.argmax(axis=1)
    assert found["accuracy"] == pytest.approx(peer.accuracy_score(codes, called))
    assert found["balanced_accuracy"] == pytest.approx(peer.balanced_accuracy_score(codes, called))
    assert found["f1_macro"] == pytest.approx(peer.f1_score(codes, called, average="macro"))
    assert found["mcc"] == pytest.approx(peer.matthews_corrcoef(codes, called))
    assert found["log_loss"] == pytest.approx(peer.log_loss(codes, p))
    assert found["auc"] == pytest.approx(peer.roc_auc_score(codes, p, multi_class="ovr"))
    assert found["brier"] == pytest.approx(np.mean([peer.brier_score_loss(codes == i, p[:, i]) for i in range(3)]) * 3 / 2)
    assert np.array_equal(np.array(found["confusion"]["table"]).T, peer.confusion_matrix(codes, called))
    for i, c in enumerate(CLASSES):
        one = found["confusion"]["by_class"][str(c)]
        assert one["precision"] == pytest.approx(peer.precision_score(codes == i, called == i))
        assert one["recall"] == pytest.approx(peer.recall_score(codes == i, called == i))
        assert one["tp"] + one["fp"] + one["fn"] + one["tn"] == len(codes)
    two, y = made(k=2)
    assert evaluate.brier_scores(two, y).mean() == pytest.approx(peer.brier_score_loss(y, two[:, 1]))


def test_calibrated_forecasts_show_only_the_noise_floor():
    found = [evaluate.calibration_error(*made(seed, 2000, 2)) for seed in range(20)]
    assert np.mean([f["ece"] for f in found]) == pytest.approx(np.mean([f["floor"] for f in found]), rel=0.2)
    assert np.mean([f["ece"] for f in found]) == pytest.approx(0.03, abs=0.01)  # methods.md 6


def test_overlapping_outcomes_have_a_higher_floor():
    p, codes = made(n=2000)
    assert evaluate.calibration_error(p, codes, horizon=4)["floor"] == pytest.approx(2 * evaluate.calibration_error(p, codes)["floor"])


def test_implied_trades_by_hand():
    """Long +2 %, short of -1 %, long of -3 %, nothing; cost .5 %: +1.5 %, +.5 %, -3.5 %. Factor 2/3.5. Two bars: half a position each."""
    at = np.array([0, 1, 2, 3], np.int64) * 8 * HOUR_MS
    found = evaluate.trade_metrics(np.array([1.0, -1, 1, 0]), np.array([0.02, -0.01, -0.03, 0.5]), at, cost=0.005, horizon=2)
    assert found["trades"] == 3 and found["profit_factor"] == pytest.approx(2 / 3.5) and found["mean_return"] == pytest.approx(-0.005)
    daily = evaluate.daily_returns(np.array([0.015, 0.005, -0.035, np.nan]), at, 2)
    assert np.allclose(daily, [-0.0075, 0.0])


def test_diebold_mariano_finds_a_difference_and_none():
    rng = worlds.generator(4)
    at = np.arange(4800, dtype=np.int64) * HOUR_MS
    base = rng.exponential(1.0, 4800)
    better = evaluate.diebold_mariano(base - 0.1 + 0.3 * rng.standard_normal(4800), base, at, horizon_ms=5 * HOUR_MS)
    same = evaluate.diebold_mariano(base + 0.3 * rng.standard_normal(4800), base, at, horizon_ms=5 * HOUR_MS)
    assert better.better and better.t < -5 and better.days == 200 and not same.better
    assert np.isnan(evaluate.diebold_mariano(base[:100], base[:100] + 1, at[:100], horizon_ms=HOUR_MS).t)


def test_a_challenger_must_be_better_not_luckier():
    rng = worlds.generator(6)
    champion = rng.exponential(1.0, 2000)
    noise = 0.3 * rng.standard_normal(2000)
    assert evaluate.challenger_p_value(champion, champion - 0.05 + noise, horizon=5) < 0.1
    assert evaluate.challenger_p_value(champion, champion + 0.05 + noise, horizon=5) > 0.9
    sizes = [evaluate.challenger_p_value(champion, champion + 0.3 * worlds.generator(s).standard_normal(2000), horizon=5, draws=100)
             for s in range(60)]
    assert 0 < np.mean(np.array(sizes) < 0.1) < 0.25


def test_an_edge_needs_all_three():
    good = evaluate.LossTest(-0.01, -4.0, 2.1, 300)
    fine, off = {"ece": 0.02, "floor": 0.015, "excess": 0.005}, {"ece": 0.09, "floor": 0.015, "excess": 0.075}
    assert evaluate.verdict(good, fine, 0.97).edge
    weak = evaluate.LossTest(-0.01, -1.5, 2.1, 300)
    for test, calibration, ratio in ((weak, fine, 0.97), (good, off, 0.97), (good, fine, 0.9), (good, fine, None)):
        found = evaluate.verdict(test, calibration, ratio)
        assert not found.edge and found.words == "no edge shown" and len(found.reasons) == 3
    assert "deflated Sharpe ratio of its trades not computed" in evaluate.verdict(good, fine, None).reasons


def test_rolling_means_equal_the_loop():
    p, codes = made(n=24 * 40)
    at = np.arange(24 * 40, dtype=np.int64) * HOUR_MS
    found = evaluate.rolling(p, codes, at, days=(30,))
    right = (p.argmax(axis=1) == codes).astype(float)
    assert found["accuracy_30d"][:29] == [None] * 29 and found["day_ms"][0] == DAY_MS
    assert found["accuracy_30d"][35] == pytest.approx(right[24 * 6 : 24 * 36].mean())


def test_the_auc_interval_of_a_placebo_holds_a_half():
    rng = worlds.generator(9)
    codes = rng.integers(0, 3, 1500)
    found = evaluate.auc_interval(rng.dirichlet(np.ones(3), 1500), codes, horizon=5)
    assert found["low"] < 0.5 < found["high"] and found["high"] - found["low"] < 0.12


# -- calibration ------------------------------------------------------------------------------------------------------


def overconfident(seed):
    """Log-odds three times too large: Platt's slope must be 1/3 and the error vanish (on rows the curve has not seen)."""
    rng = worlds.generator(seed)
    truth = 1 / (1 + np.exp(-rng.standard_normal(4000)))
    y = (rng.random(4000) < truth).astype(int)
    said = 1 / (1 + np.exp(-3 * log_odds(truth)))
    p = np.column_stack((1 - said, said))
    curve = fit_calibrator(p[:2000], y[:2000], (0, 1), method="platt")
    return {"slope": curve.curves[0]["slope"], "ece before": evaluate.calibration_error(p[2000:], y[2000:])["ece"],
            "ece after": evaluate.calibration_error(curve.apply(p[2000:]), y[2000:])["ece"]}


def coverage(seed):
    """Return forecast 0 with EWMA .94 volatility on GARCH, nominal 90 %, 2400 rows after the first window."""
    y = worlds.garch_t(seed, 2900).series
    variance, now = np.empty(len(y)), float(y[:100].var())
    for t, value in enumerate(y):
        variance[t] = now
        now = 0.94 * now + 0.06 * value * value
    zero, sigma = np.zeros(len(y)), np.sqrt(variance)
    return {name: float(np.nanmean(rolling_interval(y, zero, sigma, adaptive=adaptive).covered(y, zero)))
            for name, adaptive in (("scaled", False), ("adaptive", True))}


ROWS = (
    Row("Platt, 3x over-confidence", "1/3", overconfident, {"slope": (.25, .43), "ece after": (0, .055)},
        {"slope": (.303, .363), "ece after": (0, .037)}),
    Row("Conformal 90 %", ".90", coverage, {"scaled": (.894, .907), "adaptive": (.898, .902)},
        {"scaled": (.898, .902), "adaptive": (.898, .902)}),
)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_one_seed_lies_in_its_band(row):
    check_single(row)


@pytest.mark.long
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_mean_over_seeds_lies_in_its_band(row):
    check_mean(row)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_three_classes_are_renormalised_and_survive_the_file(method):
    p, codes = made(n=3000)
    sharp = p**3 / (p**3).sum(axis=1, keepdims=True)
    curve = fit_calibrator(sharp, codes, CLASSES, method=method)
    found = curve.apply(sharp)
    assert np.allclose(found.sum(axis=1), 1) and (found >= 0).all()
    assert evaluate.log_losses(found, codes).mean() < evaluate.log_losses(sharp, codes).mean() - 0.1
    assert np.array_equal(Calibrator.of(curve.document()).apply(sharp), found)
    rising = curve.apply(np.column_stack((np.full(50, 0.2), np.linspace(0.1, 0.7, 50), np.linspace(0.7, 0.1, 50))))
    assert (np.diff(rising[:, 1]) >= -1e-12).all()


def test_the_method_follows_the_rows_there_are():
    p, codes = made(n=3000)
    assert fit_calibrator(p, codes, CLASSES).method == "isotonic" and fit_calibrator(p[:1500], codes[:1500], CLASSES).method == "platt"
    assert fit_calibrator(p, codes, CLASSES, horizon=5).method == "platt"  # 600 independent rows
    assert fit_calibrator(p[:100], codes[:100], CLASSES).method == "none"
    assert fit_calibrator(p, np.zeros(3000, int), CLASSES).method == "none"  # a class never happened
    assert np.array_equal(fit_calibrator(p, codes, CLASSES, method="none").apply(p), p)
    constant = fit_calibrator(np.full((900, 2), 0.5), np.arange(900) % 3 == 0, (0, 1), method="platt")
    assert constant.apply(np.full((1, 2), 0.5))[0, 1] == pytest.approx(1 / 3)
    with pytest.raises(InputError, match="expected calibration"):
        fit_calibrator(p, codes, CLASSES, method="beta")


# -- conformal --------------------------------------------------------------------------------------------------------


def test_thresholds_by_hand():
    assert threshold(np.arange(1, 10.0), 0.2) == 8.0 and threshold(np.arange(1, 10.0), 0.05) == np.inf  # ceil(10 * .8) = 8; 9.5 -> 10 > 9


def test_class_sets_cover_what_they_promise():
    kept = []
    for seed in range(40):
        p, codes = made(seed, 1000)
        sets = class_sets(p[:500], codes[:500])
        kept.append(sets.of(p[500:])[np.arange(500), codes[500:]].mean())
    assert np.mean(kept) == pytest.approx(0.8, abs=0.01)
    assert ClassSets.read(sets.document()) == sets
    few = class_sets(p[:20], codes[:20])
    assert few.of(p).all() and ClassSets.read(few.document()) == few


def test_intervals_know_only_outcomes_that_are_over():
    y = worlds.generator(2).standard_normal(900)
    zero, one = np.zeros(900), np.ones(900)
    a = rolling_interval(y, zero, one, adaptive=True, horizon=5)
    changed = y.copy()
    changed[700:] = 50.0
    b = rolling_interval(changed, zero, one, adaptive=True, horizon=5)
    assert np.array_equal(a.half[:705], b.half[:705], equal_nan=True) and not np.array_equal(a.half[710:], b.half[710:])
    naive = np.sort(np.abs(y[196:696]))[int(np.ceil(501 * 0.9)) - 1]
    assert rolling_interval(y, zero, one, horizon=5).half[700] == pytest.approx(naive)


def test_a_scaled_interval_by_hand():
    y = np.concatenate((np.full(10, np.nan), np.arange(1.0, 100.0)))
    found = scaled_interval(y, np.zeros(109), np.full(109, 2.0))
    assert found.rows == 99 and found.q == 45.0 and found.of(np.array([1.0]), np.array([0.1])) == (pytest.approx(-3.5), pytest.approx(5.5))
    assert ScaledInterval.read(found.document()) == found
