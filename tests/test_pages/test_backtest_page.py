"""The Backtest and Signals pages without a browser: what is asked, what is shown, and what is never shown."""

from __future__ import annotations

import numpy as np
import pytest

from core.backtest.asking import OPTIONS, ask
from pages.ui import backtest_form, backtest_sweeps, backtest_views, rule_form, session
from tests.test_pages.driving import opened, press, tab, tiles

PAGE, SIGNALS = "pages/backtests.py", "pages/signal_board.py"
TABS = ("Result", "Honesty", "Trades", "Where it came from", "Sweep", "Saved runs", "Assumptions")
OPTION_NAMES = {o.name for o in OPTIONS}


@pytest.fixture
def app(owned_app, jobs_at_once):
    return owned_app


def test_without_a_run_the_page_says_what_to_press(app, shared_home):
    assert not (shared_home / "tried").exists()
    opened(app, PAGE)
    assert not app.error and any("No run yet" in i.value and "press Run" in i.value for i in app.info)


def test_a_guest_sees_results_and_no_button(app):
    app.session_state["owner"] = "guess"
    opened(app, PAGE)
    assert not app.button and not app.error and any(t.label == "Owner's password" for t in app.text_input)


@pytest.mark.parametrize(("key", "value", "words"), [
    ("bt-start", "2026-13-40", "2026-13-40"), ("bt-bars", 3, "bars: expected 50"), ("bt-size", -1.0, "size: expected above 0"),
    ("bt-also", "ema_crss", "ema_cross")])
def test_a_failed_form_says_why_and_loses_nothing(app, key, value, words):
    opened(app, PAGE)
    app.selectbox(key="bt-rule").set_value("breakout").run()
    app.number_input(key="bt-breakout-window").set_value(77).run()
    box = app.number_input(key=key) if not isinstance(value, str) else app.text_input(key=key)
    box.set_value(value).run()
    assert not [e.value for e in app.error], "nothing is wrong until it is asked for"
    press(app, "bt-run")
    assert any(words in e.value for e in app.error)
    again = app.number_input(key=key) if not isinstance(value, str) else app.text_input(key=key)
    assert again.value == value and app.number_input(key="bt-breakout-window").value == 77
    assert app.selectbox(key="bt-rule").value == "breakout"
    assert not session.workbench().jobs.all()


def test_a_run_from_the_form_ends_in_a_verdict_with_every_tab_readable(app):
    opened(app, PAGE)
    app.selectbox(key="bt-rule").set_value("ema_cross").run()
    app.number_input(key="bt-bars").set_value(1500).run()
    press(app, "bt-run")
    job = session.workbench().jobs.all()[0]
    assert (job.state, job.kind, job.arguments["rule"]) == ("done", "backtest", "ema_cross")
    assert set(job.arguments["options"]) <= OPTION_NAMES and job.arguments["options"]["bars"] == 1500
    document = session.workbench().stored_backtest(job.result["run_id"])
    app.run()
    assert any(s.value == document["honesty"]["verdict"]["text"] for s in app.subheader)
    assert tiles(app)["Return"] == f"{document['metrics']['total_return']:+.2%}" and tiles(app)["Trades"] == str(document["trades"])
    for name in TABS:
        assert not tab(app, "bt-tab", name).error, name
    assert any(a[:1].upper() + a[1:] in m.value for m in app.markdown for a in document["assumptions"][:1])


def test_after_a_sweep_no_probability_of_a_first_try_is_left(app):
    opened(app, PAGE)
    sextant = session.workbench()
    first = sextant.backtests()[0]
    assert any(backtest_views.FIRST_TRY in r for r in first["verdict"]["reasons"])
    assert any(backtest_views.FIRST_TRY in m.value for m in app.markdown)
    app.selectbox(key="bt-rule").set_value("ema_cross").run()
    app.number_input(key="bt-bars").set_value(1500).run()
    tab(app, "bt-tab", "Sweep")
    app.text_input(key="bt-grid-ema_cross-fast").set_value("6:12:3").run()
    app.text_input(key="bt-grid-ema_cross-slow").set_value("20,x").run()
    assert any("grid 'slow=20,x'" in e.value for e in app.error)
    app.text_input(key="bt-grid-ema_cross-slow").set_value("20,30,40").run()
    assert not app.error and any("9 sets" in c.value for c in app.caption)
    press(app, "bt-sweep")
    assert sextant.jobs.all()[0].state == "done" and len(sextant.sweeps()[0]["sets"]) == 9
    app.run()
    assert not app.exception and not app.error
    words = " ".join(m.value for m in app.markdown)
    assert backtest_views.FIRST_TRY not in words and "more tries of this study were made since" in words
    assert any("Best by Sharpe ratio" in m.value for m in app.markdown)


def test_signals_show_the_watchlist_and_invent_no_probability(app):
    opened(app, SIGNALS)
    assert not app.error
    table = app.dataframe[0].value
    assert len(table) == 12 and set(table["Confidence"]) == {"rule-based"}
    assert set(table["Signal"]) <= {"▲ BUY", "▼ SELL", "■ HOLD"}
    assert any("no calibrated probability" in c.value for c in app.caption)
    app.selectbox(key="signals-rule-trend").set_value("ema_cross").run()
    record = next(m.value for m in app.markdown if "How this rule did" in m.value)
    assert session.workbench().backtests()[0]["verdict"]["text"] in record


def test_signals_filter_and_an_empty_filter_says_so(app):
    opened(app, SIGNALS)
    app.multiselect(key="signals-symbols").set_value(["ETHUSDT", "SOLUSDT"]).run()
    assert list(app.dataframe[0].value["Symbol"]) == ["ETHUSDT", "SOLUSDT"]
    held = set(app.dataframe[0].value["Signal"])
    absent = next(w for w in ("BUY", "SELL", "HOLD") if not any(w in s for s in held))
    app.segmented_control(key="signals-filter").set_value(absent).run()
    assert not app.error and any(absent in i.value for i in app.info)


def test_an_address_opens_its_run_and_its_rule(app):
    opened(app, PAGE)
    known = [h["run_id"] for h in session.workbench().backtests()]
    app.query_params["run"] = known[-1]
    assert app.run().selectbox(key="bt-run-shown").value == known[-1]
    app.query_params["run"] = "<b>nonsense</b>"
    assert app.run().selectbox(key="bt-run-shown").value in known and not app.error
    app.query_params["rule"] = "reversion"
    opened(app, SIGNALS)
    assert app.selectbox(key="signals-rule-reversion").value == "reversion"


# -- what the views decide --------------------------------------------------------------------------------------------


def test_every_option_of_the_question_has_a_place_in_the_form():
    placed = {n for group in backtest_form.GROUPS.values() for n in group} | {"interval", "market", "bars", "start", "end"}
    assert placed == OPTION_NAMES and placed - {"interval", "market"} == set(backtest_form.LABEL)


def test_what_the_form_checks_is_what_the_job_asks():
    right = {"symbols": ["BTCUSDT"], "options": {"interval": "1h"}, "rule": "trend", "rows": None, "parameters": {"enter": 0.7}}
    assert backtest_form.check(right) == "" and ask(["BTCUSDT"], {"interval": "1h"}, rule="trend", parameters={"enter": 0.7})
    assert "enter: expected 0.5 to 1" in backtest_form.check(right | {"parameters": {"enter": 7.0}})
    assert "at least one" in backtest_form.check(right | {"symbols": []})
    assert "expected a CSV file" in backtest_form.check(right | {"rule": None})


def test_a_surface_takes_the_median_over_the_other_parameters_and_leaves_holes():
    sets = [{"parameters": {"a": a, "b": b, "c": c}, "sharpe": None if b == 2 and a == 1 else a * 10 + c} for a in (1, 2) for b in (1, 2)
            for c in (0, 1, 5)]
    grid = backtest_sweeps.surface({"grid": {"a": [1, 2], "b": [1, 2], "c": [0, 1, 5]}, "sets": sets}, "a", "b", "sharpe")
    np.testing.assert_array_equal(grid, [[11.0, 21.0], [np.nan, 21.0]])


def test_tries_count_what_came_after_the_report():
    question = {"symbols": ["BTCUSDT"], "interval": "1h", "market": "spot", "rule": "trend"}
    document = {"question": question, "honesty": {"trials": 2, "study": "s"}}
    other = {"question": question | {"rule": "breakout"}}
    assert backtest_views.tries_now(document, [document, other], []) == 2
    assert backtest_views.tries_now(document, [document] * 3, [{"study": "s", "trials": 50}, {"study": "t", "trials": 99}]) == 50


@pytest.mark.parametrize(("name", "title"), [("trend", "Module A trend"), ("signals", "Signals from a file"),
                                             ("trend+ema_cross@4h", "Module A trend + EMA cross 4h"), ("own_rule", "own_rule")])
def test_a_rule_is_called_by_its_title(name, title):
    assert rule_form.title_of(name) == title
