"""The Models page without a browser: what is asked, what is shown of a shelved model, and what is never shown."""

from __future__ import annotations

import numpy as np
import pytest

from core.jobs import Jobs
from data.errors import InputError
from data.labels import LABELS
from models.forecaster import FORECASTERS
from pages.ui import charts_models, model_form, session
from tests.test_pages.driving import opened, press, said, tab, tiles

PAGE = "pages/model_lab.py"
TABS = ("Result", "Calibration", "Importance", "One call", "Next candles", "Drift", "Predictions", "Shelf", "Tuning")
SLOT = "spot-BTCUSDT-1h-dir3_dyn"
SMALL = '{"n_estimators": 12}'


@pytest.fixture
def app(owned_app, jobs_at_once):
    return owned_app


def trained(app, *, mode="Quick"):
    app.number_input(key="ml-bars").set_value(1500).run()
    app.text_input(key="ml-parameters").set_value(SMALL).run()
    press(app, "ml-train")
    assert not app.error
    return session.workbench().jobs.all()[0]


def test_an_empty_shelf_says_what_to_do_in_every_tab(app):
    opened(app, PAGE)
    for name in TABS:
        tab(app, "ml-tab", name)
        assert not app.error and ("Train" in said(app) or "Tune" in said(app)), name
    assert not session.workbench().jobs.all() and not session.workbench().models()


def test_a_guest_reads_and_changes_nothing(app):
    app.session_state["owner"] = "not the password"
    opened(app, PAGE)
    for name in TABS:
        tab(app, "ml-tab", name)
        acts = ("ml-train", "ml-tune", "ml-predict", "ml-promote", "ml-train-path", "ml-retrain", "ml-promote-new")
        assert not app.error and not [b.key for b in app.button if b.key in acts], name


@pytest.mark.parametrize(("key", "value", "words"), [
    ("ml-bars", 3, "bars: expected 800"), ("ml-bars", 900_000, "to 200,000"), ("ml-horizon", 0, "horizon: expected 1"),
    ("ml-horizon", 19_000, "horizon: expected 1"), ("ml-seed", -1, "seed: expected"),
    ("ml-parameters", "{oops", "parameters: expected JSON"),
    ("ml-parameters", "[1]", "parameters: expected JSON"), ("ml-parameters", '{"a": {}}', "parameters: expected JSON")])
def test_a_failed_form_says_why_and_loses_nothing(app, key, value, words):
    opened(app, PAGE)
    app.selectbox(key="ml-label").set_value("triple_barrier").run()
    box = app.text_input(key=key) if isinstance(value, str) else app.number_input(key=key)
    box.set_value(value).run()
    assert not app.error, "nothing is wrong until it is asked for"
    press(app, "ml-train")
    assert any(words in e.value for e in app.error)
    again = app.text_input(key=key) if isinstance(value, str) else app.number_input(key=key)
    assert again.value == value and app.selectbox(key="ml-label").value == "triple_barrier"
    assert not session.workbench().jobs.all()


def test_a_training_ends_in_the_verdict_that_was_stored_with_every_tab_readable(app):
    opened(app, PAGE)
    job = trained(app)
    assert (job.state, job.kind, job.result["id"]) == ("done", "train", f"{SLOT}/v1")
    assert job.arguments["options"] == {"mode": "quick", "seed": 7, "parameters": {"n_estimators": 12}}
    assert job.arguments["bars"] == 1500
    sextant = session.workbench()
    entry = sextant.models()[0]
    app.run()
    assert any("no edge" in s.value for s in app.subheader) and not entry.metrics["verdict"]["edge"]
    reasons = " ".join(m.value for m in app.markdown)
    assert all(r[1:] in reasons for r in entry.metrics["verdict"]["reasons"])
    table = app.dataframe[0].value
    assert len(table) == 4 and table["Log loss"].iloc[0] == entry.metrics["lgbm"]["log_loss"]
    assert list(table["Model"])[2] == "class frequencies" and table["Brier"].iloc[2] == entry.metrics["prior"]["brier"]
    assert f"of {len(job.result['folds'])} blocks" in said(app)
    for name in TABS:
        assert not tab(app, "ml-tab", name).error, name


def test_the_newest_call_is_the_served_one_calibrated(app):
    opened(app, PAGE)
    tab(app, "ml-tab", "One call")
    sextant = session.workbench()
    call = sextant.call(sextant.key("BTCUSDT", "1h"), "dir3_dyn").prediction
    assert tiles(app) == {f"P({n})": f"{call.probability[c]:.1%}" for c, n in ((-1, "down"), (0, "flat"), (1, "up"))}
    if call.abstained:
        assert any("no call" in s.value for s in app.subheader) and all(r[1:] in said(app) for r in call.reasons)
    press(app, "ml-flip")
    assert not app.exception and not app.error and "What would change it" in said(app)
    assert any("Turns at" in d.value.columns for d in app.dataframe) or "No single feature" in said(app)


def test_predictions_are_frozen_once_and_wait_for_their_time(app):
    opened(app, PAGE)
    assert "Nothing has been predicted yet" in said(tab(app, "ml-tab", "Predictions"))
    press(app, "ml-predict")
    assert tiles(app)["Made"] == "1" and "none changed" in said(app) and "Nothing is graded yet" in said(app)
    press(app, "ml-predict")
    shown = tiles(app)
    assert (shown["Made"], shown["Graded"], shown["Brier"]) == ("1", "0", "–") and len(session.workbench().log.rows()) == 1


def test_promotion_asks_first_and_can_be_taken_back(app):
    opened(app, PAGE)
    trained(app)
    sextant = session.workbench()
    assert sextant.shelf.champion(SLOT) == f"{SLOT}/v1" and len(sextant.models()) == 2
    tab(app, "ml-tab", "Shelf")
    assert app.selectbox(key="ml-version").value == f"{SLOT}/v2"
    press(app, "ml-promote")
    assert sextant.shelf.champion(SLOT) == f"{SLOT}/v1", "nothing is changed before it is confirmed"
    press(app, "ml-no")
    assert sextant.shelf.champion(SLOT) == f"{SLOT}/v1"
    press(app, "ml-promote")
    press(app, "ml-yes")
    assert sextant.shelf.champion(SLOT) == f"{SLOT}/v2" and not app.error
    press(app, "ml-back")
    press(app, "ml-yes")
    assert sextant.shelf.champion(SLOT) == f"{SLOT}/v1" and not app.error
    assert any(f"{SLOT}/v1" in d.value.columns and f"{SLOT}/v2" in d.value.columns for d in app.dataframe), "both are compared"


def test_a_challenger_stands_beside_the_champion_and_is_promoted_only_after_a_question(app):
    opened(app, PAGE)
    tab(app, "ml-tab", "Shelf")
    sextant = session.workbench()
    newest = sextant.models()[0]
    found = newest.metrics["beside"]
    assert found["champion"] == f"{SLOT}/v1" == sextant.shelf.champion(SLOT) and found["words"] in said(app)
    app.selectbox(key="ml-version").set_value(f"{SLOT}/v1").run()
    press(app, "ml-promote-new")
    assert sextant.shelf.champion(SLOT) == f"{SLOT}/v1"
    press(app, "ml-no")
    press(app, "ml-retrain")
    job = sextant.jobs.all()[0]
    assert (job.kind, job.state) == ("retrain", "done") and "young enough" in job.result["slots"][0]["words"]


def test_the_next_candles_need_their_own_models_and_say_that_lines_are_drawn(app, monkeypatch):
    from models import path
    from models.train import TrainOptions

    opened(app, PAGE)
    assert "Train its four models" in said(tab(app, "ml-tab", "Next candles"))
    usual = path.train_path
    small = TrainOptions(mode="quick", baselines=(), features=("returns_1m", "rsi_14", "atr"), parameters={"n_estimators": 10})
    monkeypatch.setattr(path, "train_path", lambda candles, options, progress: usual(candles, options=small, progress=progress))
    press(app, "ml-train-path")
    assert session.workbench().jobs.all()[0].state == "done"
    app.run()
    assert not app.error and "drawn, not forecast" in said(app)
    table = app.dataframe[0].value
    assert list(table["Bars ahead"]) == [1, 5, 10, 20] and (table["At least"] < table["At most"]).all()


def test_a_search_ends_in_parameters_that_go_into_the_form(app):
    opened(app, PAGE)
    app.number_input(key="ml-bars").set_value(1500).run()
    tab(app, "ml-tab", "Tuning")
    app.number_input(key="ml-trials").set_value(0).run()
    press(app, "ml-tune")
    assert any("tries: expected 1" in e.value for e in app.error)
    app.number_input(key="ml-trials").set_value(1).run()
    assert not app.error
    press(app, "ml-tune")
    job = session.workbench().jobs.all()[0]
    assert (job.kind, job.state, job.arguments["trials"]) == ("tune", "done", 1)
    app.run()
    press(app, "ml-use")
    assert not app.exception and '"num_leaves": 31' in app.text_input(key="ml-parameters").value


def test_a_damaged_version_says_so_and_the_rest_goes_on(app, shared_home):
    file = next((shared_home / "modelled").rglob("v2/metrics.json"))
    kept = file.read_bytes()
    file.write_bytes(kept[:-9])
    opened(app, PAGE)
    app.selectbox(key="ml-version").set_value(f"{SLOT}/v2").run()
    for name in [t for t in TABS[:6] if t != "Next candles"]:
        tab(app, "ml-tab", name)
        assert not app.exception and any("is not what was written" in e.value for e in app.error), name
    for name in ("Predictions", "Shelf"):
        tab(app, "ml-tab", name)
    assert any("is not what was written" in e.value for e in app.error)
    app.selectbox(key="ml-version").set_value(f"{SLOT}/v1").run()
    assert not tab(app, "ml-tab", "Result").error
    file.write_bytes(kept)


def test_a_log_changed_from_outside_is_never_called_verified(app, shared_home):
    import sqlite3

    with sqlite3.connect(next((shared_home / "paper").rglob("ledger.sqlite"))) as db:
        db.execute("drop trigger predictions_stay")
        db.execute("update predictions set call = 1 - call")
    opened(app, PAGE)
    tab(app, "ml-tab", "Predictions")
    assert any("changed from outside" in e.value for e in app.error) and "none changed" not in said(app)


def test_an_address_opens_its_version_again(app):
    app.query_params["model"] = f"{SLOT}/v2"
    opened(app, PAGE)
    assert app.selectbox(key="ml-version").value == f"{SLOT}/v2"
    app.selectbox(key="ml-version").set_value(f"{SLOT}/v1").run()
    assert app.selectbox(key="ml-version").value == f"{SLOT}/v1"
    assert app.query_params["model"] in (f"{SLOT}/v1", [f"{SLOT}/v1"])


@pytest.mark.parametrize(("state", "words"), [("interrupted", "was interrupted"), ("cancelled", "was stopped"),
                                              ("failed", "failed: no rows")])
def test_a_job_that_did_not_end_well_says_so_and_can_be_started_again_or_dismissed(app, monkeypatch, state, words):
    opened(app, PAGE)
    jobs = session.workbench().jobs
    arguments = {"symbols": ["BTCUSDT"], "interval": "1h", "market": "spot", "label": "dir3_dyn", "model": "lgbm", "bars": 1500,
                 "options": {"mode": "quick", "seed": 8}}
    job = jobs.submit("train", arguments)
    jobs._finish(job.id, state, "no rows" if state == "failed" else "its process ended", None)
    app.run()
    assert words in said(app)
    started = []
    monkeypatch.setattr(Jobs, "_spawn", lambda jobs, number: started.append(number))
    press(app, f"ml-again-{job.id}")
    again = [j for j in jobs.all() if j.id in started]
    assert [j.arguments for j in again] == ([] if state == "failed" else [arguments])
    assert words not in said(app)
    for j in again:
        jobs._finish(j.id, "done", "", None)


# -- what the form and the pictures decide ----------------------------------------------------------------------------


def test_every_label_has_its_words_and_a_model_of_its_task():
    for kind in LABELS:
        assert kind.name in model_form.LABEL_WORDS and kind.name in model_form.LABEL_TITLE
        names = model_form.models_for(kind.name)
        assert names[0].startswith("lgbm") and set(names) == {f.name for f in FORECASTERS if kind.task in f.tasks}


def test_tuning_refuses_a_model_without_these_parameters():
    given = {"symbols": ["BTCUSDT"], "interval": "1h", "market": "spot", "label": "dir3_dyn", "model": "logistic", "bars": 4000,
             "options": {"mode": "quick", "seed": 7}, "parameters": ""}
    assert "parameters" not in model_form.checked(given)
    with pytest.raises(InputError, match="LightGBM"):
        model_form.checked(given, 5)
    with pytest.raises(InputError, match="at least one"):
        model_form.checked(given | {"symbols": []})


def test_a_confusion_cell_is_the_share_of_its_own_call_and_an_empty_row_no_division(app):
    opened(app, PAGE)
    fig = charts_models.confusion([[3, 1], [0, 0]], ["down", "up"])
    np.testing.assert_allclose(np.array(fig.data[0].z), [[0.75, 0.25], [0.0, 0.0]])


def test_the_best_try_so_far_leaves_cut_ones_out():
    tried = [{"number": 0, "loss": 1.1, "state": "complete"}, {"number": 1, "loss": 0.2, "state": "pruned"},
             {"number": 2, "loss": 1.0, "state": "complete"}, {"number": 3, "loss": None, "state": "fail"},
             {"number": 4, "loss": 1.05, "state": "complete"}]
    best = charts_models.tries(tried, 1.1).data[1]
    assert list(best.x) == [1, 3, 5] and list(best.y) == [1.1, 1.0, 1.0]


def test_a_tracked_prediction_is_marked_by_what_came():
    rows = [{"bar_ms": 0, "predicted": 0.4, "side": s, "words": "w"} for s in (1, 0, -1, None, 1)]
    fig = charts_models.track(rows, title="t", percent=True)
    assert {t.name: len(t.x) for t in fig.data} == {"rose": 2, "flat": 1, "fell": 1, "not known yet": 1}
