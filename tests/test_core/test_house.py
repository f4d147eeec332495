"""The house keeps its shape: imports go down the ladder, registries hold what their folders hold."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LADDER = ["data", "analysis", "models", "core", "pages"]
OURS = [*LADDER, "tests", "benchmarks"]


def sources(*folders: str) -> list[Path]:
    found = [p for f in folders for p in sorted((ROOT / f).rglob("*.py"))]
    return [p for p in found if "var" not in p.relative_to(ROOT).parts]


def imported(path: Path) -> list[tuple[int, str]]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [(node.lineno, a.name) for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.append((node.lineno, node.module))
    return names


def test_imports_only_go_down_the_ladder():
    climbing = []
    for rung, package in enumerate(LADDER):
        files = sources(package)
        assert files, f"{package}/ holds no source: the check would be empty"
        for path in files:
            for line, name in imported(path):
                top = name.split(".")[0]
                if top in LADDER and LADDER.index(top) > rung:
                    climbing.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not climbing


@pytest.mark.parametrize(("library", "allowed"), [
    ("streamlit", ("app.py", "pages/", "tests/", "benchmarks/")),
    ("binance", ("data/sources/", "tests/", "benchmarks/")),
    ("vectorbt", ("tests/", "benchmarks/")),
    ("pickle", ()),
])
def test_a_library_stays_in_its_room(library, allowed):
    files = [*sources(*OURS), ROOT / "app.py", ROOT / "run.py"]
    strays = [f"{p.relative_to(ROOT)}:{line}" for p in files for line, name in imported(p)
              if name.split(".")[0] == library and not str(p.relative_to(ROOT).as_posix()).startswith(allowed or ("\0",))]
    assert not strays


def test_every_module_file_is_registered():
    from analysis.modules import MODULES

    files = {p.stem for p in (ROOT / "analysis/modules").glob("*.py")} - {"__init__"}
    assert files == {m.slug for m in MODULES}
    assert len({m.letter for m in MODULES}) == len(MODULES) >= 4


def test_every_page_file_is_in_the_table():
    from pages.ui.frame import PAGES

    files = {f"pages/{p.name}" for p in (ROOT / "pages").glob("*.py")} - {"pages/__init__.py"}
    assert files == {p.file for p in PAGES}
    assert not {Path(p.file).stem for p in PAGES} & set(LADDER), "a page named like a package cannot be imported beside it"
    assert not [p.file for p in PAGES if Path(p.file).stem == p.url], "a page named like its address is run without the frame at first"


def test_rooms_are_not_crowded():
    """A file past 400 lines has a second thing inside it (style.md 1)."""
    long = {str(p.relative_to(ROOT)): n for p in sources(*LADDER) if (n := len(p.read_text(encoding='utf-8').splitlines())) > 400}
    assert not long


def test_importing_core_loads_nothing_heavy():
    code = "import sys, core; print([m for m in ('numpy', 'pandas', 'streamlit', 'scipy', 'numba') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_overview_imports_no_heavy_library():
    """What a first page needs; riskfolio, shap, statsmodels, arch, sklearn, lightgbm, openai and binance load on first use."""
    code = ("import sys, core.sextant, core.wiring, analysis.modules, pages.ui.frame, pages.ui.charts_scores\n"
            "print([m for m in ('riskfolio','shap','statsmodels','arch','sklearn','lightgbm','openai','binance','vectorbt','numba',"
            "'scipy.stats') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_no_text_names_a_path_of_this_machine_or_a_registry():
    """The project is public software."""
    patterns = re.compile(r"/work/|/root/|/opt/pypi|b-seed-")
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    told = [f for f in files if (ROOT / f).suffix in (".py", ".md", ".toml", ".txt", ".yml", "") and (ROOT / f).is_file()
            and f != "tests/test_core/test_house.py" and patterns.search((ROOT / f).read_text(encoding="utf-8", errors="ignore"))]
    assert not told
