"""What pages read at every rerun is read once a content: stored runs, frozen predictions, what changed in a score."""

from __future__ import annotations

import json
import shutil

import pytest

from core.paper.predictions import Logged
from core.sextant import Sextant
from pages.ui import backtest_views, frozen_log, session
from tests.test_pages.driving import opened, said, tab

BACKTEST, SIGNALS, HISTORY = "pages/backtests.py", "pages/signal_board.py", "pages/track_record.py"
ASKED = {"symbols": ["BTCUSDT"], "options": {"interval": "1h", "market": "spot", "bars": 400}, "rule": "ema_cross", "rows": None,
         "parameters": {}}


@pytest.fixture
def counted(owned_app, jobs_at_once, monkeypatch):
    """The app, and how often all headers of stored runs were read."""
    reads: list[int] = []
    usual = Sextant.stored_runs
    monkeypatch.setattr(Sextant, "stored_runs", lambda facade: reads.append(1) or usual(facade))
    return owned_app, reads


def test_stored_runs_are_read_once_for_both_pages_and_a_finished_or_deleted_one_shows_at_once(counted):
    app, reads = counted
    opened(app, BACKTEST)
    sextant = session.workbench()
    for n in range(2):
        sextant.jobs.submit("backtest", ASKED | {"options": ASKED["options"] | {"bars": 400 + n}, "quick": True})
        sextant.jobs.pump()
    known = [h["run_id"] for h in sextant.backtests()]
    assert len(known) == 2
    app.run()
    assert app.selectbox(key="bt-run-shown").options and set(known) <= {h["run_id"] for h in backtest_views.stored_runs(sextant)[0]}
    app.query_params["rule"] = "ema_cross"
    opened(app, SIGNALS)
    before = len(reads)
    app.run()
    opened(app, BACKTEST).run()
    assert len(reads) == before and "How this rule did" not in said(app)
    shutil.rmtree(sextant._tried / "runs" / known[0])
    app.run()
    assert len(reads) == before + 1 and len(app.selectbox(key="bt-run-shown").options) == 1 and not app.exception


def test_damaged_runs_are_named_also_where_no_other_is_left(counted):
    app, _ = counted
    opened(app, BACKTEST)
    sextant = session.workbench()
    runs = [h["run_id"] for h in sextant.backtests()]
    assert len(runs) == 1
    (sextant._tried / "runs" / runs[0] / "head.json").write_text("{half")
    app.run()
    assert not app.exception and not app.error
    assert [w.value for w in app.warning] == [f"The stored run {runs[0]} cannot be read: head.json is not whole JSON. Its files are kept."]
    assert "No run yet" in said(app)


def test_what_changed_and_the_timeframes_are_computed_once_a_content(owned_app, monkeypatch):
    asked: list[str] = []
    for name in ("what_changed", "flips", "report"):
        usual = getattr(Sextant, name)
        monkeypatch.setattr(Sextant, name, lambda facade, *a, usual=usual, name=name: asked.append(name) or usual(facade, *a))
    monkeypatch.setattr(Sextant, "content", lambda facade, key: ("as it was", key))
    opened(owned_app, "pages/symbol.py")
    tab(owned_app, "module-tab", "Timeframes")
    first = sorted(asked)
    assert first.count("what_changed") == first.count("flips") == 1 and first.count("report") >= 4
    owned_app.run()
    tab(owned_app, "module-tab", "Composites")
    assert sorted(asked) == first
    owned_app.segmented_control(key="changed-span").set_value("a week").run()
    assert sorted(asked) == sorted([*first, "what_changed"]) and not owned_app.exception and not owned_app.error


def freeze(sextant, first, count, *, graded):
    """Write predictions as the runner would, and grades of all or none of them."""
    now = sextant.clock.now_ms()
    with sextant.paper_ledger.transaction(now, "predictions") as change:
        for k in range(first, first + count):
            content = {"probability": {"1": 0.6, "-1": 0.4}, "mean": None, "low": None, "high": None, "reasons": [], "confidence": 0.6,
                       "code": "c", "data": "d", "regime": "", "base_rate": {"1": 0.5, "-1": 0.5}, "config": {}}
            change.add("predictions", {"made_ms": now + k, "symbol": "BTCUSDT", "market": "spot", "interval": "1h", "bar_ms": now + k,
                                       "source": "spot-BTCUSDT-1h-dir_bin/v1", "label": "dir_bin", "horizon": 1, "call": 1, "abstained": 0,
                                       "content": json.dumps(content, sort_keys=True)})
            if graded:
                grade = {"outcome": 1.0, "end_ms": now, "brier": 0.16, "brier_base": 0.25, "log_loss": 0.5}
                change.add("settlements", {"prediction": k + 1, "settled_ms": now, "content": json.dumps(grade)})


def test_the_log_is_graded_once_until_it_grows(owned_app, monkeypatch):
    graded: list[int] = []
    usual = frozen_log.grade
    monkeypatch.setattr(frozen_log, "grade", lambda rows: graded.append(len(rows)) or usual(rows))
    opened(owned_app, HISTORY)
    sextant = session.workbench()
    freeze(sextant, 0, 4, graded=False)
    assert "**4 predictions** frozen, 0 graded" in said(owned_app.run())
    tab(owned_app, "hs-tab", "Predictions")
    owned_app.run()
    assert graded[-1:] == [4] and graded.count(4) == 1 and not owned_app.error
    freeze(sextant, 4, 2, graded=True)
    assert "**6 predictions** frozen, 2 graded" in said(owned_app.run())
    owned_app.multiselect(key="hs-p-symbol").set_value(["BTCUSDT"]).run()
    assert graded.count(6) == 1 and isinstance(frozen_log.rows(sextant)[0], Logged)
