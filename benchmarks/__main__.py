"""`python run.py bench [NAME ...]`: runs the benchmarks, one process each, and prints one table.

With `--write` the table replaces the one in docs/performance.md. A benchmark that fails is named, and the others go on.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
DOCUMENT = HERE.parent / "docs" / "performance.md"
MARKS = ("<!-- table -->", "<!-- end of table -->")
ONE = "import json, sys, importlib; print('\\n' + json.dumps(importlib.import_module('benchmarks.' + sys.argv[1]).run()))"


def main(arguments: list[str]) -> int:
    names = [a for a in arguments if not a.startswith("-")] or sorted(p.stem for p in HERE.glob("bench_*.py"))
    rows: list[dict] = []
    failed = []
    for name in names:
        print(f"running {name} ...", file=sys.stderr, flush=True)
        began = time.monotonic()
        done = subprocess.run([sys.executable, "-c", ONE, name], cwd=HERE.parent, capture_output=True, text=True)
        if done.returncode:
            print(done.stderr[-2000:], file=sys.stderr)
            failed.append(name)
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        print(f"{table(found)}\n{name}: {time.monotonic() - began:.0f} s\n", file=sys.stderr, flush=True)
        rows += found
    text = table(rows)
    print(text)
    if "--write" in arguments:
        page = DOCUMENT.read_text(encoding="utf-8")
        head, tail = page[: page.index(MARKS[0]) + len(MARKS[0])], page[page.index(MARKS[1]):]
        DOCUMENT.write_text(f"{head}\n\n{text}\n\n{tail}", encoding="utf-8")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def table(rows: list[dict]) -> str:
    """Markdown: what, ours, the peer's, the ratio, the ratio to reach."""
    lines = [f"Python {platform.python_version()}, {platform.system()} {platform.machine()}; medians of interleaved rounds.", "",
             "| what | ours | peer | peer's | ratio | to reach |", "|---|---|---|---|---|---|"]
    for row in rows:
        unit = row.get("unit", "ms")
        ours, theirs = row.get("ours_ms"), row.get("peer_ms")
        ratio = f"{row['ratio']:.3g}" if row.get("ratio") is not None else "–"
        peers = "–" if theirs is None else f"{_number(theirs)} {unit}"
        cells = [row["name"], f"{_number(ours)} {unit}", row.get("peer") or "–", peers, ratio, row.get("target") or "–"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
