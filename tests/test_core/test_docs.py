"""What the docs say is what the code is."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from analysis.modules import MODULES
from core.faces.cli import command_table
from core.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_tables_of_methods_are_those_of_the_registries():
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs/tables.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    assert tables.page(text("docs/methods.md")) == text("docs/methods.md"), "run: python docs/tables.py"


def test_the_readme_lists_every_module_with_its_question():
    for module in MODULES:
        assert f"| {module.letter} {module.name} | {module.question} |" in text("README.md")


def test_every_setting_is_explained_in_the_example():
    named = set(re.findall(r"SEXTANT_([A-Z_]+)=", text(".env.example")))
    assert named == {name.upper() for name in Settings.model_fields}


def test_every_command_is_named_in_the_change_log():
    log = text("CHANGELOG.md")
    modules = {m.commands[0] for m in MODULES}
    for command in {c.name for c in command_table().values()} - modules:
        assert re.search(rf"\b{command}\b", log), command


def test_every_file_the_docs_link_to_exists():
    for page in ["README.md", *[f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md")]]:
        for link in re.findall(r"\]\(([^)#:]+)\)", text(page)):
            assert ((ROOT / page).parent / link).exists(), f"{page} links to {link}"


def test_the_architecture_draws_what_stands():
    picture = text("docs/architecture.md").split("```")[1]
    for package in ("analysis", "core", "data", "pages"):
        for path in sorted((ROOT / package).glob("*.py")):
            if path.stem != "__init__" and path.stem != "__main__":
                assert re.search(rf"\b{path.stem}\b", picture), f"docs/architecture.md does not draw {package}/{path.name}"
