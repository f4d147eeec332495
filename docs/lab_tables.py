"""Writes the tables of docs/score-lab.md from stored lab results: `python docs/lab_tables.py MARK RESULT.json`.

MARK is real, simulated or minutes; RESULT.json a file of the home folder's lab/.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))


def tables(document: dict) -> str:
    """Head, one row a score, the schemes side by side, the null worlds."""
    from core.score_lab import LabResult

    result = LabResult(document)
    head = (f"{document['bars']:,} {document['interval']} bars of {', '.join(document['symbols'])} to {document['as_of'][:16]} "
            f"({document['world']} data), {document['report']['tested']} tests in one family: "
            + ", ".join(f"{n} {v}" for v, n in document["report"]["verdicts"].items() if n) + ".")
    rows = ["| score | against | verdict | mean rank IC by bars ahead | tests supported / contradicted / made |", "|---|---|---|---|---|"]
    for p in document["report"]["pooled"]:
        cells = [c for c in result.cards(p["score"]) if c["target"] == p["target"]]
        tested = [c for c in cells if c["verdict"] != "insufficient"]
        decay = ", ".join(f"{d['horizon_bars']}: {d['mean_ic']:+.3f}" for d in p["decay"] if d["mean_ic"] is not None) or "–"
        good, bad = (sum(c["verdict"] == v for c in tested) for v in ("supported", "contradicted"))
        rows.append(f"| {p['score']} | {p['target']} | {result.verdict(p['score'])} | {decay} | {good} / {bad} / {len(tested)} |")
    parts = [head, "\n".join(rows), schemes(document)]
    if document["null"]:
        parts.append(document["null"]["words"])
    parts.append("\n".join(f"- {line}" for line in document["answer"]))
    return "\n\n".join(part for part in parts if part)


def schemes(document: dict) -> str:
    """Mean IC of every way to combine, over the symbols where it exists; how often it beats the default by the rule."""
    names = ("corrected", "as_proposed", "weighted_as_proposed", "equal", "rank", "pca", "stack")
    rows = ["| composite | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for composite, by_symbol in document["schemes"].items():
        cells = []
        for name in names:
            found = [row for per in by_symbol.values() for row in per if row["scheme"] == name and row["found"]]
            ics = [row["found"]["ic"] for row in found if row["found"]["ic"] is not None]
            wins = sum(row["replaces"] for row in found)
            cells.append(f"{sum(ics) / len(ics):+.3f}" + (f" ({wins} win)" if wins else "") if ics else "–")
        if any(cell != "–" for cell in cells):
            rows.append(f"| {composite} | " + " | ".join(cells) + " |")
    return "\n".join(rows) if len(rows) > 2 else ""


def main(mark: str, file: str) -> None:
    path = HERE / "score-lab.md"
    text = path.read_text(encoding="utf-8")
    head, rest = text.split(f"<!-- {mark} -->", 1)
    table = tables(json.loads(Path(file).read_text(encoding="utf-8")))
    text = f"{head}<!-- {mark} -->\n\n{table}\n\n<!-- end of {mark} -->" + rest.split(f"<!-- end of {mark} -->", 1)[1]
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:3])
