"""Writes the tables of docs/methods.md from the registries: `python docs/tables.py`. A test compares the page with them."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))


def module_tables() -> str:
    """One section a module: its docstring and its metrics."""
    from analysis.modules import MODULES

    sections = []
    for module in MODULES:
        rows = ["| metric | weight | formula | source | bars needed |", "|---|---|---|---|---|"]
        rows += [f"| {m.title} | {m.weight or 'shown'} | {_cell(m.formula)} | {_cell(m.source)} | {m.warmup_bars} |"
                 for m in module.metrics]
        head = f"### {module.letter} {module.name}\n\n*{module.question}* {module.type}"
        sections.append("\n\n".join([head, module.explanation(), "\n".join(rows)]))
    return "\n\n".join(sections)


def indicator_table() -> str:
    """One row an indicator."""
    from data.indicators import INDICATORS

    rows = ["| indicator | gives | unit | class | bars needed |", "|---|---|---|---|---|"]
    rows += [f"| {i.name} | {', '.join(i.outputs)} | {i.unit} | {i.causality} | {i.warmup_bars} |" for i in INDICATORS]
    return "\n".join(rows)


def composite_tables() -> str:
    """One section a composite: its docstring, its horizon and what its coverage needs."""
    from analysis.composites import COMPOSITES

    sections = []
    for c in COMPOSITES:
        weights = ", ".join(f"{name} {weight:g}" for name, weight in c.weights.items())
        needed = c.essential.replace("|", " or ")
        facts = f"Essential: {needed}. Weights of the coverage: {weights}. Horizon: {c.horizon}. {c.weights_version}."
        sections.append("\n\n".join([f"### {c.title}", f"*{c.question}* {c.type}", c.explanation(), facts]))
    return "\n\n".join(sections)


def feature_table() -> str:
    """One row a feature, one a label."""
    from data.features import FEATURES
    from data.labels import LABELS

    rows = ["| feature | formula | class | bars needed |", "|---|---|---|---|"]
    rows += [f"| {f.name} | {_cell(f.formula)} | {f.causality} | {f.warmup_bars} |" for f in FEATURES]
    rows += ["", "| label | task | bars ahead | formula |", "|---|---|---|---|"]
    rows += [f"| {k.name} | {k.task} | {k.horizon} | {_cell(k.formula)} |" for k in LABELS]
    return "\n".join(rows)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def page(text: str) -> str:
    """The page with its marked tables replaced by what the registries say now."""
    for mark, table in (("modules", module_tables()), ("composites", composite_tables()), ("indicators", indicator_table()),
                        ("features", feature_table())):
        head, rest = text.split(f"<!-- {mark} -->", 1)
        text = f"{head}<!-- {mark} -->\n\n{table}\n\n<!-- end of {mark} -->" + rest.split(f"<!-- end of {mark} -->", 1)[1]
    return text


if __name__ == "__main__":
    path = HERE / "methods.md"
    path.write_text(page(path.read_text(encoding="utf-8")), encoding="utf-8")
