"""The lab over a store: measured, judged, stored, read again; and the scan."""

from __future__ import annotations

import json

import numpy as np
import pytest

from analysis.composites import COMPOSITES
from analysis.lab.cards import Verdict
from analysis.modules import MODULES
from core import score_lab
from core.score_lab import FEWEST_BARS, KEPT_RESULTS, LabResult, directional, keep, newest
from core.settings import Settings
from core.wiring import build
from data.clock import FixedClock, parse_time
from data.errors import InputError, NoData
from data.market import Interval, Market, SeriesKey

NOW = parse_time("2026-11-20T08:30:00Z")


@pytest.fixture(scope="module")
def sextant(tmp_path_factory):
    return build(Settings(home=tmp_path_factory.mktemp("lab"), world="simulated", network="off"), FixedClock(NOW))


@pytest.fixture(scope="module")
def result(sextant):
    return sextant.run_lab(("BTCUSDT", "LINKUSDT"), "1h", bars=420, worlds=1)


def test_a_run_judges_every_score_and_is_plain_json(result):
    text = json.dumps(result.document, allow_nan=False)
    again = LabResult(json.loads(text))
    names = {c["score"] for c in again.document["report"]["cards"]}
    assert {"A", "B", "b_risk", "G", "J", "trend_strength", "risk_exposure", "anomaly_alert"} <= names
    assert {"no evidence", "insufficient"} & {again.verdict(name) for name in names}
    assert again.document["null"]["worlds"] == 1 and again.document["symbols"] == ["BTCUSDT", "LINKUSDT"]
    assert len(again.document["answer"]) >= 8 and "score lab of BTCUSDT" in again.text()


def test_the_newest_result_is_found_again_and_old_ones_go(sextant, result, tmp_path):
    assert sextant.lab_result("1h").document == json.loads(json.dumps(result.document))
    assert sextant.lab_result("4h") is None
    for day in range(1, KEPT_RESULTS + 4):
        keep(tmp_path, LabResult({**result.document, "made_at": f"2026-11-{day:02d}T00:00:00Z"}))
    files = sorted((tmp_path / "lab" / "simulated").iterdir())
    assert len(files) == KEPT_RESULTS and newest(tmp_path, "simulated", "1h", "spot").made_at == f"2026-11-{KEPT_RESULTS + 3:02d}T00:00:00Z"
    files[-1].write_text("{ damaged")
    assert newest(tmp_path, "simulated", "1h", "spot").made_at == f"2026-11-{KEPT_RESULTS + 2:02d}T00:00:00Z"


def test_the_histories_judged_are_what_each_moment_said(sextant, result):
    measured = score_lab.measure(sextant, SeriesKey("BTCUSDT", Interval.H1), 60, None)
    for back in (1, 17, 40):
        at = int(measured.panel.close_time[-1 - back]) + 1
        card = sextant.scores(SeriesKey("BTCUSDT", Interval.H1), at_ms=at)
        for name in ("A", "G", "trend_strength", "risk_exposure"):
            report = card.report(name) if len(name) == 1 else card.composite(name)
            assert measured.panel.scores[name][-1 - back] == pytest.approx(report.score, abs=2e-6)


def test_one_word_for_a_score():
    def with_verdicts(*verdicts):
        cards = [{"score": "A", "symbol": "X", "verdict": str(v)} for v in verdicts]
        return LabResult({"report": {"cards": cards}, "made_at": ""}).verdict("A")

    s, w, n, c, i = Verdict.SUPPORTED, Verdict.WEAK, Verdict.NO_EVIDENCE, Verdict.CONTRADICTED, Verdict.INSUFFICIENT
    assert with_verdicts(i, i) == "insufficient" and with_verdicts() == "insufficient"
    assert with_verdicts(s, n, i) == "supported" and with_verdicts(s, n, n) == "weak" and with_verdicts(n, n, w) == "weak"
    assert with_verdicts(c, n, n) == "contradicted" and with_verdicts(c, n, n, n) == "no evidence"


def test_null_worlds_are_judged_like_the_real_one(sextant):
    key = SeriesKey("BTCUSDT", Interval.H1)
    history = {"BTCUSDT": score_lab._history(sextant, key, 400, None)}
    report = directional(history, 400)
    line = sextant.timeline("A", key, 50)
    assert {c.score for c in report.cards} == {"A", "trend_strength"}
    assert np.isfinite(line.score).all()


@pytest.mark.parametrize("wrong", [{"bars": FEWEST_BARS - 1}, {"bars": 10**6}, {"bars": 400, "worlds": -1}])
def test_what_cannot_be_asked_is_said(sextant, wrong):
    with pytest.raises(InputError, match="expected --"):
        sextant.run_lab(("BTCUSDT",), "1h", **wrong)
    with pytest.raises(NoData, match="did you mean"):
        sextant.run_lab(("BTCUSDTT",), "1h")


def test_the_scan_scores_symbols_and_intervals_and_says_what_has_no_data(sextant):
    told = []
    result = sextant.scan(("BTCUSDT", "ETHUSDT", "NOSUCHUSDT"), ("4h", "1d"), progress=lambda *words: told.append(words))
    assert [(r.symbol, str(r.interval)) for r in result.rows][:3] == [("BTCUSDT", "4h"), ("ETHUSDT", "4h"), ("NOSUCHUSDT", "4h")]
    assert told[-1][:2] == (6, 6) and "no data for NOSUCHUSDT" in result.rows[2].problem
    document = result.document()
    assert document["scanned"] == 6 and document["scored"] == 4
    assert set(document["rows"][0]["scores"]) == {m.letter for m in MODULES} | {c.name for c in COMPOSITES}
    assert "BTCUSDT" in result.text() and sextant.known_card(SeriesKey("ETHUSDT", Interval.D1)) is not None


def test_what_changed_and_flips_over_the_facade(sextant):
    key = SeriesKey("BTCUSDT", Interval.H1, Market.SPOT)
    change = sextant.what_changed("risk_exposure", key, parse_time("2026-11-19T08:00:00Z"))
    assert sum(change.parts.values()) == pytest.approx(change.change, abs=1e-9)
    assert change.after_ms == parse_time("2026-11-20T08:00:00Z") - 1 and change.before_ms == parse_time("2026-11-19T08:00:00Z") - 1
    module = sextant.what_changed("trend", key, parse_time("2026-11-19T08:00:00Z"), parse_time("2026-11-20T06:00:00Z"))
    assert sum(module.parts.values()) == pytest.approx(module.change, abs=1e-9) and set(module.parts) <= {m.key for m in MODULES[0].metrics}
    assert all(f.towards for f in sextant.flips("trend_strength", key))
    with pytest.raises(InputError, match="swap --since and --at"):
        sextant.what_changed("trend", key, parse_time("2026-11-19T08:00:00Z"), parse_time("2026-11-18T08:00:00Z"))
