"""The deterministic brief and the commands: complete, sourced, nothing invented, first words at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.composites import COMPOSITES
from analysis.modules import MODULES
from core.assistant import slash
from core.assistant.brief import LABEL, document
from core.assistant.claims import Status
from core.assistant.tools import TOOLS
from data.errors import InputError
from tests.assistant_world import assistant, market

ROOT = Path(__file__).resolve().parents[2]
TITLES = ["Now", "In short", "Scores", "What changed in a day", "Signal", "Risk", "Levels", "What would change the view",
          "How far to believe it",
          "Gaps in the data"]


def written(this, symbol="BTCUSDT"):
    desk, sections = this.brief(this.sextant.key(symbol, "1h"))
    return desk, tuple(sections)


def test_the_brief_is_complete_and_every_figure_has_its_source(tmp_path):
    this, symbol = assistant(tmp_path), "BTCUSDT"
    desk, sections = written(this, symbol)
    assert [s.title for s in sections] == TITLES
    pieces = [p for s in sections for line in s.lines for p in line]
    assert not [p for p in pieces if p.status in (Status.UNVERIFIED, Status.MATCHED)], "everything is by reference"
    assert sum(p.status is Status.REFERENCE for p in pieces) > 40
    assert all(p.fact in desk.facts.known for p in pieces if p.status is Status.REFERENCE)
    found = document(desk, sections)
    json.dumps(found, allow_nan=False)
    assert found["label"] == LABEL
    card = this.sextant.scores(this.sextant.key(symbol, "1h"))
    figures = {f["name"]: f for f in found["figures"]}
    assert figures["Trend strength score"]["value"] == card.composite("trend_strength").score
    assert figures["price"]["value"] == pytest.approx(float(this.sextant.candles(this.sextant.key(symbol, "1h"), bars=1).close[-1]))
    assert all(f["source"] for f in found["figures"])


def test_the_first_words_need_no_scores(tmp_path):
    this = assistant(tmp_path)
    this.sextant.scores = None  # whoever asks for scores fails
    _, sections = this.brief(this.sextant.key("BTCUSDT", "1h"))
    first = next(iter(sections))
    assert first.title == "Now" and "BTCUSDT is at" in first.text()


def test_a_part_that_fails_says_why_and_the_others_go_on(tmp_path):
    this = assistant(tmp_path)

    def broken(*args, **kwargs):
        raise InputError("the signal cannot be computed: <b>bad</b>")

    this.sextant.signal = broken
    _, sections = written(this)
    assert [s.title for s in sections] == TITLES
    assert "Unknown: the signal cannot be computed" in next(s for s in sections if s.title == "Signal").text()


def test_the_same_moment_gives_the_same_brief(tmp_path):
    assert [s.text() for s in written(assistant(tmp_path / "a"))[1]] == [s.text() for s in written(assistant(tmp_path / "b"))[1]]


def test_every_module_alias_and_composite_is_a_chat_command(tmp_path):
    this = assistant(tmp_path)
    known = slash.commands()
    for module in MODULES:
        assert {known[w].fixed["name"] for w in module.commands} == {module.commands[0]}
    for composite in COMPOSITES:
        assert composite.name in known
    words = [w for s in slash._table() for w in s.words]
    assert len(words) == len(set(words)), "no word means two things"
    assert {s.tool for s in known.values()} - {"help", "brief"} <= {t.name for t in TOOLS}
    for command in ("/t", "/trend BTC", "/composite risk_exposure BTCUSDT", "/risk_exposure", "/signal", "/price 4h", "/flips", "/changed",
                    "/watchlist",
                    "/models", "/backtests", "/paper", "/alerts", "/quality", "/jobs", "/lab", "/candles", "/chart", "/forecast", "/co"):
        desk = this.desk(this.sextant.key("BTCUSDT", "1h"))
        found = slash.run(command, desk)
        section = slash.as_section(found)
        assert section.lines and all(p.status is not Status.UNVERIFIED for line in section.lines for p in line), command
    for word in known:
        assert f"/{word}" in slash.help_text()


@pytest.mark.parametrize(("text", "hint"), [
    ("/trnd", "did you mean trend"), ("/", "/help"), ("/t NOSUCH", "expected /trend"), ("/composite nothing", "expected one of"),
    ("/t a b c d e f g", "at most"), ("/backtest", "owner"), ("/t \u0000", "no symbol")])
def test_a_wrong_command_says_what_was_expected(tmp_path, text, hint):
    this = assistant(tmp_path)
    with pytest.raises(InputError, match=hint):
        slash.run(text, this.desk(this.sextant.key("BTCUSDT", "1h")))


def test_the_commands_print_documents_and_sources(tmp_path):
    from core.faces.cli import command_table

    table = command_table()
    assert {"ask", "brief"} <= set(table)
    environment = {"SEXTANT_HOME": str(tmp_path), "SEXTANT_WORLD": "simulated", "SEXTANT_NETWORK": "off", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-m", "core", "ask", "/price BTC", "--json"], cwd=ROOT, capture_output=True, text=True,
                          check=False,
                          env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["symbol"] == "BTCUSDT" and found["figures"][0]["source"].startswith("price · BTCUSDT 1h")
    wrong = subprocess.run([sys.executable, "-m", "core", "ask", ""], cwd=ROOT, capture_output=True, text=True, check=False,
                           env=environment)
    assert wrong.returncode == 2 and wrong.stderr.startswith("error: expected a question")


def test_the_ask_command_answers_with_the_brief_without_a_model(tmp_path):
    import argparse

    from core.faces.cli import command_table

    this = assistant(tmp_path, assistant_model="")
    document, text = command_table()["ask"].run(this.sextant, argparse.Namespace(question="How?", symbol="BTCUSDT", interval="1h",
                                                                                 market="spot"))
    assert document["state"] == "brief" and document["label"] == LABEL and "no model is set" in text
    assert market() is not this.sextant
