"""The look-ahead badge (X3): what the last check on this computer said of each module, and whether the code is still the same."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from core.lookahead import LookaheadReport
from data.clock import iso
from data.storage.durable import no_fault, replace_file

ROOT = Path(__file__).resolve().parent.parent
FILE = "lookahead.json"


@dataclass(frozen=True)
class Badge:
    """`state`: passed, failed, outdated (the code has changed since) or unchecked."""

    state: str
    words: str


@cache
def code_version(packages: tuple[str, ...] = ("data", "analysis")) -> str:
    """A hash of everything under some packages; by default of what the look-ahead check is about."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(p for package in packages for p in (ROOT / package).rglob("*.py")):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def keep(home: Path, report: LookaheadReport, now_ms: int) -> None:
    """Remember a finished check."""
    document = {"code": code_version(), "at_ms": now_ms, "cuts": report.cuts, "poisons": report.poisons,
                "caught": f"{report.caught} of {len(report.leaks)}", "failed": [f.name for f in report.findings if not f.ok]}
    home.mkdir(parents=True, exist_ok=True)
    replace_file(home / FILE, json.dumps(document).encode(), no_fault, "badge")


def badge(home: Path, letter: str) -> Badge:
    """What is known of one module."""
    try:
        document = json.loads((home / FILE).read_text(encoding="utf-8"))
        when, how = iso(document["at_ms"])[:10], f"{document['cuts']} cuts and {document['poisons']} poisoned futures"
        failed = [name for name in document["failed"] if name.split(".")[0].split(" ")[0] == letter]
        same, caught = document["code"] == code_version(), document["caught"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Badge("unchecked", "Not checked on this computer yet: python -m core lookahead")
    if failed:
        return Badge("failed", f"Looks ahead in {', '.join(failed[:3])} (checked {when}, {how})")
    if not same:
        return Badge("outdated", f"Passed {how} on {when}, before the code changed: python -m core lookahead checks it again")
    return Badge("passed", f"Nothing from the future: passed {how} on {when}; {caught} planted leaks were caught")
