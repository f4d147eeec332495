"""The launcher: what it prepares, what it starts, what it says when it cannot. Its commands are recorded, not run."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def launcher(monkeypatch, tmp_path):
    """run.py in an empty checkout of its own, with a list of the commands it would have run."""
    spec = importlib.util.spec_from_file_location("sextant_launcher", ROOT / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("requirements.txt", "requirements-dev.txt", "constraints.txt"):
        (tmp_path / name).write_text(name)
    environment = tmp_path / "environment"
    environment.mkdir()
    commands: list[list[str]] = []
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "run", lambda command: commands.append(command) or 0)
    monkeypatch.setattr(module.sys, "prefix", str(environment))
    monkeypatch.setattr(module.os, "chdir", lambda _: None)
    monkeypatch.setattr(module.shutil, "which", lambda _: None)
    module.commands = commands
    return module


def test_first_start_installs_then_starts_and_the_second_only_starts(launcher):
    assert launcher.main(["--server.port", "8601"]) == 0
    install, start = launcher.commands
    assert "install" in install and install[-1] == "requirements.txt"
    assert start[1:6] == ["-m", "streamlit", "run", "app.py", "--server.address"] and start[-2:] == ["--server.port", "8601"]
    launcher.commands.clear()
    launcher.main([])
    assert len(launcher.commands) == 1


def test_a_changed_requirement_is_installed_again(launcher, tmp_path):
    launcher.main([])
    (tmp_path / "constraints.txt").write_text("other")
    launcher.commands.clear()
    launcher.main([])
    assert len(launcher.commands) == 2


def test_test_passes_its_arguments_on(launcher):
    assert launcher.main(["test", "-k", "gaps"]) == 0
    assert launcher.commands[-1][1:] == ["-m", "pytest", *launcher.PARALLEL, "-k", "gaps"]
    assert launcher.commands[0][-1] == "requirements-dev.txt"
    launcher.main(["long"])
    assert launcher.commands[-1][1:4] == ["-m", "pytest", "--long"]


def test_who_has_the_test_tools_has_the_app(launcher):
    launcher.main(["test"])
    launcher.commands.clear()
    launcher.main([])
    assert len(launcher.commands) == 1 and "streamlit" in launcher.commands[0]


def test_an_address_given_by_hand_is_kept(launcher):
    launcher.main(["--server.address=0.0.0.0"])
    assert "127.0.0.1" not in launcher.commands[-1]


def test_a_failed_install_says_so_and_is_tried_again(launcher, monkeypatch, capsys):
    monkeypatch.setattr(launcher, "run", lambda command: launcher.commands.append(command) or 1)
    assert launcher.main([]) == 1
    assert "The first start needs the package index" in capsys.readouterr().err
    launcher.main([])
    assert len(launcher.commands) == 2


def test_an_unsupported_python_is_named(launcher, monkeypatch, capsys):
    monkeypatch.setattr(launcher.sys, "version_info", (3, 10, 1))
    assert launcher.main([]) == 1
    assert "needs Python 3.11, 3.12 or 3.13, this is 3.10.1" in capsys.readouterr().err


def test_the_readme_names_exactly_the_two_commands():
    blocks = (ROOT / "README.md").read_text(encoding="utf-8").split("## Bring real data")[0].split("```")[1::2]
    assert [b.strip() for b in blocks] == ["python run.py", "python run.py test"]
    assert sys.version_info >= (3, 11)
