"""Retraining as a challenger, tries counted once, a search that survives its process, and the path of the next candles."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.learning import Learning
from core.wiring import build
from data.clock import FixedClock, parse_time
from data.errors import InputError
from data.market import DAY_MS, Interval, Market
from models.challenger import beside
from models.forecaster import FitOptions, forecaster, slot_name
from models.train import TrainOptions, train
from models.trials import Trial, TrialLedger
from models.tune import tune
from tests.model_worlds import FAST, FEW, HORIZON, SYMBOL, dataset, scored, trained

ROOT = Path(__file__).resolve().parents[2]
NOW = parse_time("2026-11-20T00:30:00Z")
QUICK = TrainOptions(mode="quick", features=FEW, parameters={"n_estimators": 10}, baselines=())
SLOT = "spot-BTCUSDT-1h-dir3_dyn"


@pytest.fixture
def at(home):
    """Sextant on one home at any moment."""
    return lambda ms: build(clock=FixedClock(ms))


def later(result, days):
    """The same training as if it had learned only until `days` before its end, and forgotten its blocks."""
    until = np.datetime_as_string(np.datetime64(int(result.out_of_fold.data.t0.max()) - days * DAY_MS, "ms"), unit="ms") + "Z"
    return replace(result.model, config=dict(result.model.config) | {"learned_until": until}, past=None)


# -- challenger and champion ------------------------------------------------------------------------------------------


def test_a_better_challenger_is_found_and_an_equal_one_is_not():
    good = trained(strength=0.25)
    candles, score = scored(1, 4000, 0.25)
    blind = train({SYMBOL: candles}, options=TrainOptions(horizon=HORIZON, cost=0.0, folds=3, features=(*FEW, "score"), parameters=FAST,
                                                         baselines=()), model="prior", extra={SYMBOL: {"score": score}})
    found = beside(later(blind, 30), "s/v1", good)
    assert found.better and found.p < 0.1 and found.challenger_loss < found.champion_loss and "it may be promoted" in found.words
    assert found.rows == 30 * 24 and len(found.calibration) == 2 and found.document()["champion"] == "s/v1"
    back = beside(later(good, 30), "s/v1", blind)
    assert not back.better and back.p > 0.5 and "not shown to be better" in back.words
    same = beside(good.model, "s/v1", good)  # its own blocks against themselves
    assert not same.better and same.champion_loss == pytest.approx(same.challenger_loss, rel=1e-12) and same.rows > 500


def test_what_cannot_be_compared_says_why():
    result = trained()
    assert "too few to tell them apart" in beside(later(result, 1), "s/v1", result).words
    other = replace(result.model, config=dict(result.model.config) | {"horizon": 3})
    assert "asked different things" in beside(other, "s/v1", result).words
    numbers = trained("fwd_ret_vs")
    found = beside(later(numbers, 30), "s/v1", numbers)
    assert found.rows == 30 * 24 and found.calibration == () and np.isfinite(found.p)


def test_retraining_makes_challengers_of_what_is_a_week_old_and_promotes_nothing(at):
    first = at(NOW)
    done = first.train(("BTCUSDT",), "1h", label="dir3_dyn", options=QUICK, bars=1500)
    assert done.serves and done.beside is None
    assert [f.words for f in first.retrain()] == [f"{SLOT}/v1 is 0.0 days old: young enough"]
    told = []
    week = at(NOW + 8 * DAY_MS)
    found = week.retrain(progress=lambda *a: told.append(a))
    assert [f.slot for f in found] == [SLOT] and found[0].trained.id == f"{SLOT}/v2" and not found[0].trained.serves
    assert "8.0 days old" in found[0].words and found[0].trained.beside.champion == f"{SLOT}/v1" and told[-1][0] == told[-1][1]
    assert week.shelf.champion(SLOT) == f"{SLOT}/v1"
    entry = week.models()[0]
    assert entry.metrics["beside"]["words"] == found[0].trained.beside.words
    assert entry.config["options"] == week.models()[1].config["options"]
    assert entry.config["end"] > week.models()[1].config["end"] and "young enough" in week.retrain()[0].words
    week.shelf.promote(entry.id, by="test")
    assert [(h.id, h.by) for h in week.shelf.history(SLOT)] == [(f"{SLOT}/v1", "first of its slot"), (f"{SLOT}/v2", "test")]


def test_two_alerts_in_a_row_bring_the_retraining_forward(at, monkeypatch):
    at(NOW).train(("BTCUSDT",), "1h", label="dir3_dyn", options=QUICK, bars=1500)
    quiet = at(NOW).drift_of(at(NOW).shelf.load(f"{SLOT}/v1"), at(NOW).key("BTCUSDT", "1h"))
    monkeypatch.setattr(Learning, "drift_of", lambda self, model, key, source="": replace(quiet, alert=True))
    assert "young enough" in at(NOW + DAY_MS).retrain()[0].words
    assert "young enough" in at(NOW + DAY_MS + 1).retrain()[0].words, "the same day is one alert"
    found = at(NOW + 2 * DAY_MS).retrain()[0]
    assert found.trained is not None and found.words.startswith("the market had drifted twice in a row")


def test_a_damaged_slot_does_not_keep_the_rest_from_their_turn(at):
    first = at(NOW)
    first.train(("BTCUSDT",), "1h", label="dir3_dyn", options=QUICK, bars=1500)
    first.train(("ETHUSDT",), "1h", label="dir_bin", options=QUICK, bars=1500)
    (first.shelf._slot(SLOT) / "v1" / "metrics.json").write_bytes(b"{}")
    found = {f.slot: f for f in at(NOW + 8 * DAY_MS).retrain()}
    assert found[SLOT].trained is None and "train it by hand" in found[SLOT].words
    assert found["spot-ETHUSDT-1h-dir_bin"].trained is not None


# -- what was said and how it went is part of the drift check ---------------------------------------------------------


def test_recorded_forecasts_and_losses_reach_the_drift_check(at):
    first = at(NOW)
    first.train(("BTCUSDT",), "1h", label="dir3_dyn", options=QUICK, bars=1500)
    key = first.key("BTCUSDT", "1h")
    for hour in range(14):  # the first bar closed the day before: 13 on one day, enough of its 24
        at(NOW + hour * 3_600_000).record_calls([key], "dir3_dyn")
    end = at(NOW + 30 * 3_600_000)
    end.settle()
    said, losses = end._said(f"{SLOT}/v1", key)
    rows = end.log.rows()
    assert said.tolist() == [r.content["probability"]["1"] for r in rows] and len(rows) == 14
    days = [[r.settled["brier"] for r in rows if r.bar_ms // DAY_MS == d] for d in sorted({r.bar_ms // DAY_MS for r in rows})]
    assert losses == pytest.approx([np.mean(d) for d in days if len(d) >= 12]) and len(losses) == 1
    assert {r.content["config"]["least_return"] for r in rows} == {0.0}
    model = end.shelf.load(f"{SLOT}/v1")
    bad = replace(model, reference=replace(model.reference, loss_mean=losses[0] - 1.0, loss_deviation=0.1))
    assert end.drift_of(bad, key, f"{SLOT}/v1").loss_alert and not end.drift_of(bad, key).loss_alert


# -- tries ------------------------------------------------------------------------------------------------------------


def test_the_try_under_judgement_is_counted_and_a_repeat_is_not(tmp_path):
    ledger = TrialLedger(tmp_path / "t.sqlite", FixedClock(1))
    tries = [Trial("s", "train", {"seed": n}, "d", 0.1 * n, 100) for n in range(3)]
    ledger.record(tries)
    ledger.record(tries[:1])
    count, others = ledger.others("s", tries[0].key)
    assert count == 2 and others.tolist() == [0.1, 0.2] and ledger.others("s", "new")[0] == 3 and ledger.others("other", "x")[0] == 0


def test_the_second_training_is_deflated_by_two_tries(at, monkeypatch):
    from analysis.statistics import honesty

    asked = []
    usual = honesty.deflated_sharpe
    monkeypatch.setattr(honesty, "deflated_sharpe", lambda own, **given: asked.append(given) or usual(own, **given))
    for seed in (1, 2, 2):
        at(NOW).train(("BTCUSDT",), "1h", label="dir3_dyn", options=replace(QUICK, seed=seed), bars=1500)
    assert [g["trials"] for g in asked] == [1.0, 2.0, 2.0] and asked[0]["variance"] == 0.0 < asked[1]["variance"] == asked[2]["variance"]


_SEARCH = """
import sys
from pathlib import Path
from data.clock import FixedClock
from models.trials import TrialLedger
from tests.test_models.test_learning import search
asked = 0
def cancelled():
    global asked
    asked += 1
    if asked == 2 * 4 + 2:  # in the third try, after its first fold
        print("inside", flush=True)
        sys.stdin.read()
    return False
search(Path(sys.argv[1]), 6, cancelled=cancelled)
"""


def search(folder, trials, **more):
    candles, score = scored(1, 1500, 0.15)
    return tune({SYMBOL: candles}, trials=trials, storage=folder / "study.sqlite", study="tune/M", extra={SYMBOL: {"score": score}},
                ledger=TrialLedger(folder / "trials.sqlite", FixedClock(1)),
                options=TrainOptions(horizon=HORIZON, cost=0.0, features=(*FEW, "score")), **more)


def test_a_killed_search_goes_on_and_counts_every_try_once(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", _SEARCH, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             text=True)
    try:
        assert child.stdout.readline().strip() == "inside"
    finally:
        child.kill()
        child.wait()
    assert child.returncode == -signal.SIGKILL
    ledger = TrialLedger(tmp_path / "trials.sqlite", FixedClock(1))
    assert ledger.count("tune/M") == 2, "the try that was cut off gave no result"
    told = []
    found = search(tmp_path, 4, progress=lambda *a: told.append(a[0]))
    assert told == [3, 4] and found.finished + found.pruned == 4 == len(found.tried) == ledger.count("tune/M")
    assert found.tried[0]["parameters"]["n_estimators"] == 300 and found.loss <= found.default_loss
    assert search(tmp_path, 4) == found


# -- ensembles, combinatorial paths, next candles ---------------------------------------------------------------------


def test_the_dynamic_ensemble_trusts_the_member_that_was_right_of_late():
    data = dataset(bars=2500, strength=0.3)
    fitted = forecaster("ensemble_dynamic").fit(data, FitOptions(parameters={"n_estimators": 1, "num_leaves": 2}))
    weights = dict(zip(fitted.members, fitted.head["weights"], strict=True))
    assert weights["logistic"] > 0.9 and sum(weights.values()) == pytest.approx(1)


def test_combinatorial_training_forecasts_every_row_on_each_of_five_paths():
    candles, score = scored(1, 2500, 0.35)
    result = train({SYMBOL: candles}, options=TrainOptions(mode="cpcv", horizon=HORIZON, cost=0.0, features=(*FEW, "score"),
                                                          parameters=FAST, baselines=()), extra={SYMBOL: {"score": score}})
    held, ways = result.out_of_fold, result.metrics["paths"]
    assert len(result.folds) == 15 and len(ways) == 5 and np.array_equal(held.data.t0, np.unique(held.data.t0))
    assert len(held.data) == result.model.config["rows"] and (held.part[held.judged] >= 1).all()
    assert len({w["log_loss"] for w in ways}) > 1 and all(w["log_loss"] < w["prior_log_loss"] for w in ways)
    assert ways[0]["log_loss"] == pytest.approx(result.metrics["lgbm"]["log_loss"], rel=1e-12)
    assert result.model.past is None, "these forecasts look both ways: no backtest may trade on them"
    assert result.model.metrics["paths"] and "first of 5 paths" in result.notes[-1]


def test_the_path_is_absent_until_its_four_models_are_there(at):
    sextant = at(NOW)
    key = sextant.key("BTCUSDT", "1h")
    absent = sextant.path(key)
    assert absent.points == () and "forecast BTCUSDT --interval 1h --train" in absent.words and absent.price > 0
    sextant.train_path(key, options=QUICK, bars=1500)
    found = sextant.path(key)
    assert [p.bars for p in found.points] == [1, 5, 10, 20] and found.coverage == 0.9 and found.price == absent.price
    assert sextant.models() == () and sextant.call(key, "fwd_ret_vs").prediction is None, "path models serve no signal"
    before = sextant.path(key, at_ms=NOW - 2 * DAY_MS)
    assert before.points == () and "they know what came of it" in before.words and before.close_time < NOW - 2 * DAY_MS


def test_a_pooled_model_is_trained_anew_on_as_many_bars_as_it_was(at):
    """Its rows are those of all symbols together: read as bars of each, every retraining would take in twice the history."""
    at(NOW).train(("BTCUSDT", "ETHUSDT"), "1h", label="dir3_dyn", options=QUICK, bars=1500)
    found = at(NOW + 8 * DAY_MS).retrain()[0]
    first, second = at(NOW).models()[::-1]
    assert found.trained is not None and second.config["bars"] == first.config["bars"] == 1500
    assert second.config["rows"] == pytest.approx(first.config["rows"], rel=0.02)


def test_a_search_makes_a_model_answer_for_all_it_tried(at):
    """A tuning judges by losses and leaves tries without a Sharpe ratio: fifty of them must deflate, not only be counted."""
    sextant = at(NOW)
    ratio = [sextant.train(("BTCUSDT",), "1h", label="dir3_dyn", options=QUICK, bars=1500).result.metrics["deflated_sharpe"]]
    study = "train/spot/BTCUSDT/1h/dir3_dyn"
    assert study in sextant._ledger.studies()
    sextant._ledger.record([Trial(study, "tune", {"n": n}, "d", None, 900) for n in range(50)])
    ratio.append(sextant.train(("BTCUSDT",), "1h", label="dir3_dyn", options=QUICK, bars=1500).result.metrics["deflated_sharpe"])
    assert ratio[1] < 0.5 * ratio[0], ratio


def test_a_changed_watch_costs_a_day_and_nothing_else(at):
    sextant = at(NOW)
    sextant.train(("BTCUSDT",), "1h", label="dir3_dyn", options=QUICK, bars=1500)
    path = sextant._modelled / "watch.json"
    for text in ("[]", "5", json.dumps({SLOT: 5, f"{SLOT} of": f"{SLOT}/v1"}), json.dumps({SLOT: {"x": True}, f"{SLOT} of": f"{SLOT}/v1"})):
        path.write_text(text)
        assert "young enough" in sextant.retrain()[0].words
        assert list(json.loads(path.read_text())[SLOT].values()) in ([True], [False])


def test_the_list_of_models_is_read_again_when_a_file_of_the_shelf_changes(at):
    sextant = at(NOW)
    sextant.train(("BTCUSDT",), "1h", label="dir3_dyn", options=QUICK, bars=1500)
    once = sextant.models()
    assert sextant.models() is once and once[0].champion and not once[0].fault
    file = sextant._modelled / "shelf" / SLOT / "v1" / "metrics.json"
    file.write_bytes(file.read_bytes()[:-9])
    assert "is not what was written" in sextant.models()[0].fault


def test_a_model_of_another_cost_is_asked_another_thing():
    result = trained()
    for name, value in (("cost", 0.01), ("interval", "4h")):
        other = replace(result.model, config=dict(result.model.config) | {name: value})
        assert "asked different things" in beside(other, "s/v1", result).words


def test_every_symbol_of_a_pooled_model_counts_in_its_data_version(at):
    sextant = at(NOW)
    both, other = (sextant.data_version(("BTCUSDT", "ETHUSDT", last), "1h", "spot") for last in ("SOLUSDT", "XRPUSDT"))
    assert both != other and len(both) == 64


def test_blocks_that_a_search_has_looked_at_are_named(at):
    """A search sees the first 60 % of the history; a block judged there with what it found is not out of sample."""
    sextant, study = at(NOW), "train/spot/BTCUSDT/1h/dir3_dyn"
    sextant._ledger.record([Trial(study, "tune", {"model": "lgbm", "n_estimators": 12, "reg_lambda": 2.0}, "d", None, 900)])

    def notes(parameters, **more):
        options = replace(QUICK, mode="walk_forward", block_days=8.0, parameters=parameters, **more)
        return [n for n in sextant.train(("BTCUSDT",), "1h", label="dir3_dyn", options=options, bars=1500).result.notes if "found" in n]

    searched = {"n_estimators": 12, "reg_lambda": 2.0}
    (words,) = notes(searched)
    assert "2 of 4 judged blocks begin before" in words
    assert notes(searched, folds=1) == [] and notes({"n_estimators": 13}) == []


def test_more_symbols_than_a_slot_holds_are_refused_in_words():
    names = tuple(f"COIN{k}USDT" for k in range(16))
    with pytest.raises(InputError, match="16 symbols are too many for one model: their names take 165 characters of at most 120"):
        slot_name(Market.SPOT, names, Interval.H1, "dir3_dyn")
    assert slot_name(Market.SPOT, names[:3], Interval.H1, "dir3_dyn") == "spot-COIN0USDT+COIN1USDT+COIN2USDT-1h-dir3_dyn"


def test_the_order_in_which_symbols_are_named_makes_no_other_model_and_no_other_try(at):
    orders = ("BTCUSDT", "ETHUSDT"), ("ETHUSDT", "BTCUSDT")
    first, second = (at(NOW).train(names, "1h", label="dir3_dyn", options=QUICK, bars=1200).result for names in orders)
    assert first.model.fitted.files() == second.model.fitted.files() and first.metrics["lgbm"] == second.metrics["lgbm"]
    assert at(NOW)._ledger.studies() == {"train/spot/BTCUSDT+ETHUSDT/1h/dir3_dyn": 1}


def test_a_search_of_another_question_is_another_search(at):
    """The losses of one horizon or one month say nothing of another: they were handed out as its result, with no try made."""
    def finished(ms, **more):
        told = []
        found = at(ms).tune(("BTCUSDT",), "1h", label="dir3_dyn", options=replace(QUICK, parameters={}, **more), bars=900, trials=1,
                            progress=lambda done, total, words: told.append(words))
        return len(told), found.default_loss

    first = finished(NOW)
    assert first[0] == 1 and finished(NOW) == (0, first[1]), "the same question goes on where it was"
    other, later = finished(NOW, horizon=12), finished(NOW + 8 * DAY_MS)
    assert other[0] == later[0] == 1 and len({first[1], other[1], later[1]}) == 3
