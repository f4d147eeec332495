"""The badge says passed only for the code that was checked."""

from __future__ import annotations

import pytest

from core import badge as badges
from core.futures import Finding
from core.lookahead import LookaheadReport


def report(ok=True):
    return LookaheadReport((Finding("A.rsi", "metric", "R", 10, 10, ok), Finding("A Trend", "module", "", 10, 10, True)),
                           (Finding("next_return", "planted leak", "", 1, 1, False),), 20, 1)


def test_unchecked_until_a_check_has_run(tmp_path):
    assert badges.badge(tmp_path, "A").state == "unchecked"


def test_passed_names_cuts_and_planted_leaks(tmp_path):
    badges.keep(tmp_path / "home", report(), 1_700_000_000_000)
    found = badges.badge(tmp_path / "home", "A")
    assert found.state == "passed" and "20 cuts and 1 poisoned futures on 2023-11-14; 1 of 1 planted" in found.words


def test_failed_names_the_metric_and_only_its_module(tmp_path):
    badges.keep(tmp_path, report(ok=False), 0)
    assert badges.badge(tmp_path, "A").state == "failed" and "A.rsi" in badges.badge(tmp_path, "A").words
    assert badges.badge(tmp_path, "B").state == "passed"


def test_changed_code_makes_it_outdated(tmp_path, monkeypatch):
    badges.keep(tmp_path, report(), 0)
    monkeypatch.setattr(badges, "code_version", lambda: "other")
    assert badges.badge(tmp_path, "A").state == "outdated"


def test_a_strategy_is_passed_failed_outdated_or_unchecked(tmp_path, monkeypatch):
    assert badges.strategy_badge(tmp_path, ["trend"]).state == "unchecked"
    found = (Finding("trend", "strategy", "", 9, 9, True), Finding("breakout", "strategy", "", 9, 9, False))
    badges.keep(tmp_path, LookaheadReport(found, (), 20, 1), 1_700_000_000_000)
    assert badges.strategy_badge(tmp_path, ["trend"]).state == "passed"
    bad = badges.strategy_badge(tmp_path, ["trend", "breakout"])
    assert bad.state == "failed" and "Looks ahead in breakout (checked 2023-11-14" in bad.words
    assert badges.strategy_badge(tmp_path, ["ema_cross"]).state == "unchecked"
    assert badges.badge(tmp_path, "A").state == "passed"  # a strategy's fault is not the module's
    monkeypatch.setattr(badges, "code_version", lambda packages=(): "other")
    assert badges.strategy_badge(tmp_path, ["trend"]).state == "outdated"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"at_ms": "x"}'])
def test_a_damaged_file_reads_as_unchecked(tmp_path, text):
    (tmp_path / badges.FILE).write_text(text)
    assert badges.badge(tmp_path, "A").state == "unchecked"
