"""Jobs on pages: how far they are, how they are stopped, how they ended."""

from __future__ import annotations

import pytest

from core.jobs import Jobs
from pages.ui import job_panel, session
from tests.test_pages.driving import opened, press, said

BACKTEST, LAB, MODELS = "pages/backtests.py", "pages/score_lab.py", "pages/model_lab.py"
ASKED = {"symbols": ["BTCUSDT"], "options": {"interval": "1h", "market": "spot", "bars": 400}, "rule": "ema_cross", "rows": None,
         "parameters": {}}
TRAINED = {"symbols": ["BTCUSDT"], "interval": "1h", "market": "spot", "label": "dir3_dyn", "model": "lgbm", "bars": 1500, "options": {}}
JUDGED = {"symbols": ["BTCUSDT", "ETHUSDT"], "interval": "1h", "market": "spot", "bars": 300, "worlds": 0}
FILLED = {"symbols": ["BTCUSDT"], "interval": "1h", "market": "spot", "days": 2}
CASES = [(BACKTEST, "bt", "backtest", ASKED), (MODELS, "ml", "train", TRAINED), (LAB, "lab", "lab", JUDGED)]


@pytest.fixture
def still(owned_app, monkeypatch):
    """The app, in which no child is started: a job stays as far as a test lets it be."""
    monkeypatch.setattr(Jobs, "_spawn", lambda jobs, number: None)
    yield owned_app
    jobs = session.workbench().jobs
    for job in jobs.all():
        if job.open:
            jobs._finish(job.id, "done", "", {"run_id": "", "id": "", "folds": []})


def bars(app):
    return [b.proto.text for b in app.get("progress")]


@pytest.mark.parametrize(("page", "prefix", "kind", "arguments"), CASES, ids=[c[1] for c in CASES])
def test_an_open_job_is_shown_with_its_newest_words_and_stopped_by_its_button(still, page, prefix, kind, arguments):
    opened(still, page)
    jobs = session.workbench().jobs
    job = jobs.submit(kind, arguments)
    still.run()
    assert jobs.get(job.id).state == "running", "the page itself starts what waits"
    for number in (1, 2):
        jobs._reporter(job.id)(number, 4, f"block {number} of 4 < all")
        still.run()
    assert len(bars(still)) == 1 and bars(still)[0].endswith("block 2 of 4 &lt; all")
    assert ("block 1 of 4" in said(still)) is (prefix == "ml"), "the earlier blocks of a training stay in sight"
    press(still, f"{prefix}-stop-{job.id}")
    assert "It stops" in said(still) and not still.exception and not still.error
    with pytest.raises(Exception, match="stopped by the user"):
        jobs._reporter(job.id)(3, 4, "block 3 of 4")


@pytest.mark.parametrize(("page", "prefix", "kind", "arguments"), CASES, ids=[c[1] for c in CASES])
@pytest.mark.parametrize("state", ["failed", "interrupted", "cancelled"])
def test_how_a_job_ended_is_said_until_somebody_has_seen_it(still, page, prefix, kind, arguments, state):
    opened(still, page)
    jobs = session.workbench().jobs
    job = jobs.submit(kind, arguments | {"bars": 500 + len(state)})
    jobs._finish(job.id, state, "its disk is full", None)
    words = {"failed": ": its disk is full", "interrupted": "was interrupted: its disk is full", "cancelled": "was stopped"}[state]
    assert words in said(still.run())
    press(still, f"{prefix}-again-{job.id}")
    assert words not in said(still) and not still.exception
    assert [j.arguments for j in jobs.all() if j.open] == ([] if state == "failed" else [job.arguments])


def test_back_fills_that_are_over_stand_below_those_under_way(still, monkeypatch):
    opened(still, "pages/market_data.py")
    sextant = session.workbench()
    monkeypatch.setattr(type(sextant.outside), "allowed", property(lambda outside: True))
    old = sextant.jobs.submit("backfill", FILLED)
    sextant.jobs._finish(old.id, "failed", "nobody <answered>", None)
    new = sextant.jobs.submit("backfill", FILLED | {"days": 3})
    still.run()
    assert bars(still) == ["BTCUSDT 1h · waiting for its turn"]
    assert "BTCUSDT 1h: nobody &lt;answered> · " in said(still)
    press(still, f"fill-stop-{new.id}")
    assert "It stops at its next step." in said(still)


def test_a_part_that_fails_while_it_redraws_itself_shows_a_code_and_no_traceback(still, monkeypatch):
    opened(still, BACKTEST)
    session.workbench().jobs.submit("backtest", ASKED)
    monkeypatch.setattr(job_panel, "progress", lambda *a: 1 / 0)
    still.run()
    assert not still.exception and len(still.error) == 1
    assert "drawing the jobs (E-" in still.error[0].value and "ZeroDivision" not in still.error[0].value
