"""The command line: documents, exit codes, one-line errors. Run in a process of its own where that matters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.faces.cli import command_table, main

ROOT = Path(__file__).resolve().parents[2]


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SEXTANT_")}
    environment |= {"SEXTANT_HOME": str(home), "SEXTANT_NETWORK": "off"}
    return subprocess.run([sys.executable, "-m", "core", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True,
                          timeout=120)


def document(home: Path, *arguments: str) -> dict:
    done = run(home, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def csv_file(folder: Path, name: str = "BTCUSDT-1h.csv", rows: int = 60) -> Path:
    lines = ["time,open,high,low,close,volume"]
    lines += [f"2024-01-{1 + h // 24:02d} {h % 24:02d}:00:00,{100 + h},{102 + h},{99 + h},{101 + h},{5 + h}" for h in range(rows)]
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def test_scores_print_one_document_with_parts_that_add_up(tmp_path):
    card = document(tmp_path / "h", "scores", "ETHUSDT", "--interval", "4h")
    assert card["provenance"] == "SIMULATED" and {"A", "B", "G", "J"} <= set(card["modules"])
    for module in card["modules"].values():
        total = sum(p["contribution"] for p in module["parts"] if p["contribution"] is not None)
        assert module["raw"] is None or abs(total - module["raw"]) <= 1e-9


def test_import_then_read_back(tmp_path):
    home = tmp_path / "h"
    report = document(home, "import", str(csv_file(tmp_path)), "--market", "spot")
    assert report["files"] == 1 and report["series"][0]["added"] == report["series"][0]["present"] == 60
    again = document(home, "import", str(csv_file(tmp_path)), "--market", "spot")
    assert (again["series"][0]["added"], again["series"][0]["duplicates"]) == (0, 60)
    candles = document(home, "candles", "BTCUSDT", "--interval", "1h", "--start", "2024-01-01T05:00:00Z", "--end", "2024-01-01T08:00:00Z")
    assert [c["open_time"] for c in candles["candles"]] == [f"2024-01-01T0{h}:00:00Z" for h in (5, 6, 7)]
    assert candles["provenance"] == "IMPORTED" and candles["candles"][0]["close"] == 106.0
    assert document(home, "gaps", "BTCUSDT")["gaps"] == []
    scores = document(home, "scores", "BTCUSDT")
    assert scores["provenance"] == "IMPORTED"
    assert all(m["score"] is None and m["reason"] for m in scores["modules"].values())


def test_doctor_is_content_with_a_fresh_home(tmp_path):
    result = document(tmp_path / "h", "doctor")
    assert result["ok"] and {c["name"] for c in result["checks"]} >= {"python", "home", "disk", "store", "world", "settings"}


@pytest.mark.parametrize(("arguments", "code", "words"), [
    (("scoers", "BTCUSDT"), 2, "did you mean scores?"),
    (("scores",), 2, "symbol"),
    (("scores", "BTCUSDT", "--interval", "7h"), 2, "expected an interval"),
    (("scores", "BTCUSDTT"), 1, "did you mean BTCUSDT?"),
    (("scores", "<b>"), 2, "expected a symbol such as BTCUSDT"),
    (("scores", "BTCUSDT", "--at", "yesterday"), 2, "expected a time such as"),
    (("scores", "BTCUSDT", "--at", "2019-01-01"), 1, "no stored candle before 2019-01-01"),
    (("candles", "BTCUSDT", "--start", "2025-01-02", "--end", "2025-01-01"), 2, "the range ends before it starts"),
    (("scores", "BTCUSDT", "--market", "moon"), 2, "expected market spot or perp"),
    (("import", "no-such-folder"), 2, "no-such-folder"),
    (("labels", "BTCUSDT", "--horizon", "0"), 2, "--horizon: expected a whole number above 0, got '0'"),
    (("train", "BTCUSDT", "--folds", "-1"), 2, "--folds: expected a whole number above 0"),
    (("lookahead", "--cuts", "0"), 2, "--cuts: expected a whole number above 0"),
    (("job", "9" * 30), 2, "there is no job 999"),
    (("job", "9" * 30, "--cancel"), 2, "there is no job 999"),
    (("exchange", "--port", "-4"), 2, "--port: expected 0"),
    (("exchange", "--port", "65535"), 2, "--port: expected 0"),
    (("backfill", "BTCUSDT", "--start", "2025-01-02", "--end", "2025-01-01"), 2, "the range ends before it starts"),
    (("backfill", "BTCUSDT", "--start", "1970-01-02", "--end", "1970-01-01"), 2, "the range ends before it starts"),
])
def test_a_wrong_command_is_one_line_and_an_exit_code(tmp_path, monkeypatch, capsys, arguments, code, words):
    monkeypatch.setenv("SEXTANT_HOME", str(tmp_path / "h"))
    assert main(arguments) == code
    told = capsys.readouterr()
    assert told.err.startswith("error: ") and told.err.count("\n") == 1 and words in told.err and not told.out


def test_nothing_changed_since_a_moment_that_has_not_come(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SEXTANT_HOME", str(tmp_path / "h"))
    monkeypatch.setenv("SEXTANT_WORLD", "simulated")
    assert main(["changed", "trend_strength", "BTCUSDT", "--since", "2200-01-01"]) == 2
    assert "ask for an earlier moment" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SEXTANT_HOME", str(tmp_path / "h"))
    monkeypatch.setenv("SEXTANT_WORLD", "simulated")
    assert main(["candles", "BTCUSDT", "--start", "2026-01-01", "--end", "2026-01-02", "--csv", str(tmp_path / "no" / "x.csv")]) == 2
    assert "x.csv: cannot be written" in capsys.readouterr().err
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.json").mkdir()  # a folder lies where a file is to be
    assert main(["backtest", "BTCUSDT", "--strategy", "ema_cross", "--bars", "300", "--quick", "--worlds", "0", "--out",
                 str(tmp_path / "out")]) == 2
    assert "cannot be used as a folder" in capsys.readouterr().err


def test_an_unexpected_failure_is_a_code_and_a_log_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SEXTANT_HOME", str(tmp_path / "h"))
    monkeypatch.setattr("core.sextant.Sextant.scores", lambda *a, **k: 1 / 0)
    assert main(["scores", "BTCUSDT"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: something failed (E-") and "Traceback" not in told
    assert "ZeroDivisionError" in (tmp_path / "h/logs/sextant.log").read_text()


def test_a_wrong_setting_stops_every_command(tmp_path):
    environment = os.environ | {"SEXTANT_HOME": str(tmp_path), "SEXTANT_THREADS": "many"}
    done = subprocess.run([sys.executable, "-m", "core", "doctor"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "setting threads: got 'many'" in done.stderr and "Traceback" not in done.stderr


def test_every_command_has_help_and_an_example(capsys):
    commands = {c.name: c for c in command_table().values()}
    assert {"import", "candles", "gaps", "scores", "doctor", "lookahead", "trend", "regime", "risk", "redet"} <= set(commands)
    assert {"t", "rg", "r", "rd"} <= set(command_table())
    for command in commands.values():
        with pytest.raises(SystemExit) as done:
            main([command.name, "--help"])
        assert done.value.code == 0 and command.example in capsys.readouterr().out


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(max_size=12) | st.sampled_from(["scores", "gaps", "candles", "BTCUSDT", "--at", "--interval", "--json", "1h"]),
                max_size=5))
def test_any_words_end_in_an_exit_code(tmp_path_factory, words):
    """No traceback, no writes outside, whatever is typed."""
    os.environ["SEXTANT_HOME"] = str(tmp_path_factory.getbasetemp() / "fuzz")
    try:
        code = main([w for w in words if w not in ("-h", "--help", "lookahead", "--csv") and not w.startswith("--c")])
    except SystemExit as stop:  # argparse's own help
        code = stop.code
    finally:
        del os.environ["SEXTANT_HOME"]
    assert code in (0, 1, 2)


@pytest.mark.real
def test_scores_of_real_hours_do_not_know_what_came_later(recordings, tmp_path):
    """Show 3: byte-identical with everything after the moment deleted."""
    hours = recordings / "vision/data/spot/monthly/klines/BTCUSDT/1h"
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    document(whole, "import", str(hours))
    past = [str(p) for p in sorted(hours.glob("*.zip")) if p.stem[-7:] < "2024-03"]
    document(cut, "import", *past, "--market", "spot")
    first, second = (run(h, "scores", "BTCUSDT", "--interval", "1h", "--at", "2024-03-01T00:00:00Z", "--json") for h in (whole, cut))
    assert first.returncode == 0 and first.stdout == second.stdout
    card = json.loads(first.stdout)
    assert card["as_of"] == "2024-02-29T23:59:59.999Z" and all(card["modules"][m]["score"] is not None for m in "ABGJ")
