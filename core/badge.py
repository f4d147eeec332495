"""The look-ahead badge (X3): what the last check on this computer said of each module and strategy, and whether the code is still the
same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from core.lookahead import LookaheadReport
from data.clock import iso
from data.storage.durable import no_fault, replace_file

ROOT = Path(__file__).resolve().parent.parent
FILE = "lookahead.json"
RULES = ("data", "analysis", "models", "core/strategies.py", "core/risk/stops.py", "core/backtest/signals.py")  # what a strategy is made of
UNCHECKED = "python -m core lookahead"


@dataclass(frozen=True)
class Badge:
    """`state`: passed, failed, outdated (the code has changed since) or unchecked."""

    state: str
    words: str


@cache
def code_version(packages: tuple[str, ...] = ("data", "analysis")) -> str:
    """A hash of everything under some packages, or of single files; by default of what the look-ahead check of modules is about."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(p for name in packages for p in ([ROOT / name] if name.endswith(".py") else (ROOT / name).rglob("*.py"))):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def keep(home: Path, report: LookaheadReport, now_ms: int) -> None:
    """Remember a finished check."""
    document = {"code": code_version(), "at_ms": now_ms, "cuts": report.cuts, "poisons": report.poisons,
                "caught": f"{report.caught} of {len(report.leaks)}",
                "failed": [f.name for f in report.findings if not f.ok and f.kind != "strategy"], "rules_code": code_version(RULES),
                "rules": {f.name: f.ok for f in report.findings if f.kind == "strategy"}}
    home.mkdir(parents=True, exist_ok=True)
    replace_file(home / FILE, json.dumps(document).encode(), no_fault, "badge")


def badge(home: Path, letter: str) -> Badge:
    """What is known of one module."""
    try:
        document = _read(home)
        failed = [name for name in document["failed"] if name.split(".")[0].split(" ")[0] == letter]
        return _said(document, failed, document["code"] == code_version())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Badge("unchecked", f"Not checked on this computer yet: {UNCHECKED}")


def strategy_badge(home: Path, names: Sequence[str]) -> Badge:
    """What is known of the strategies that trade together; the worst of them speaks."""
    try:
        document = _read(home)
        checked = document["rules"]
        missing = [name for name in names if name not in checked]
        if missing:
            return Badge("unchecked", f"The check of {iso(document['at_ms'])[:10]} did not hold {', '.join(missing)}: {UNCHECKED}")
        return _said(document, [name for name in names if not checked[name]], document["rules_code"] == code_version(RULES))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Badge("unchecked", f"Not checked on this computer yet: {UNCHECKED}")


def _read(home: Path) -> dict[str, Any]:
    return json.loads((home / FILE).read_text(encoding="utf-8"))


def _said(document: dict[str, Any], failed: Sequence[str], same: bool) -> Badge:
    when, how = iso(document["at_ms"])[:10], f"{document['cuts']} cuts and {document['poisons']} poisoned futures"
    if failed:
        return Badge("failed", f"Looks ahead in {', '.join(failed[:3])} (checked {when}, {how})")
    if not same:
        return Badge("outdated", f"Passed {how} on {when}, before the code changed: {UNCHECKED} checks it again")
    return Badge("passed", f"Nothing from the future: passed {how} on {when}; {document['caught']} planted leaks were caught")
