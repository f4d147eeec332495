"""Taking the ledger away and bringing it back: backup, restore, canonical dump, export (decisions.md 27)."""

from __future__ import annotations

import csv
import io
import json
import os
import sqlite3
import tempfile
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

from core.paper.ledger import Ledger
from core.paper.migrations import CHAINED
from core.paper.verify import verify
from data.errors import DamagedState, InputError

LEDGER, HEAD = "ledger.sqlite", "ledger.head"
LARGEST = 2 << 30  # bytes of an unpacked ledger that is still read back


def backup(ledger: Ledger, target: Path) -> dict[str, Any]:
    """A consistent copy of the ledger and its heads as one zip, while the runner goes on.

    Raises
    ------
    InputError
        When there is no ledger yet, or the file cannot be written.
    """
    if not ledger.path.exists():
        raise InputError("there is no ledger yet: open a paper account or record a prediction first")
    with tempfile.TemporaryDirectory() as folder:
        copy = Ledger(Path(folder) / LEDGER)
        with ledger.reading() as source, closing(sqlite3.connect(copy.path)) as into:
            source.backup(into)
        copy.keep_heads()
        rows = _counted(copy)
        copy.close()
        with closing(sqlite3.connect(copy.path)) as db:
            db.execute("pragma journal_mode = delete")
        try:
            beside = target.with_name(f".{target.name}-{os.getpid()}")
            with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as out:
                for name in (LEDGER, HEAD):
                    out.write(Path(folder) / name, name)
            beside.replace(target)
        except OSError as error:
            raise InputError(f"{target} cannot be written: {error.strerror}; choose another place") from None
    return {"file": str(target), "bytes": target.stat().st_size, "rows": rows}


def restore(ledger: Ledger, source: Path, now_ms: int) -> dict[str, Any]:
    """Put a backup in the place of the ledger; the present one is moved aside, never deleted. A "restored" row says when.

    Raises
    ------
    InputError, DamagedState
        When the file is not a sound backup; nothing was changed then.
    """
    with tempfile.TemporaryDirectory(dir=_folder(ledger)) as folder:
        unpacked = Ledger(Path(folder) / LEDGER)
        try:
            with zipfile.ZipFile(source) as held:
                names = {i.filename: i.file_size for i in held.infolist()}
                if set(names) != {LEDGER, HEAD} or max(names.values()) > LARGEST:
                    raise InputError(f"{source.name} is not a backup of a ledger: expected {LEDGER} and {HEAD} in it, found "
                                     f"{', '.join(sorted(names))[:120] or 'nothing'}")
                for name in (LEDGER, HEAD):
                    (Path(folder) / name).write_bytes(held.read(name))
        except (OSError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
            raise InputError(f"{source.name} cannot be read as a backup ({error}); nothing was changed") from None
        faults = verify(unpacked)
        if faults:
            raise DamagedState(f"{source.name} is not sound: {faults[0]}; nothing was changed, choose an older backup")
        with unpacked.writing() as db:
            db.execute("delete from runner")  # what a runner said of itself when the backup was made
        rows = _counted(unpacked)
        unpacked.close()
        ledger.close()
        aside = _move_aside(ledger, now_ms)
        for name in (LEDGER, HEAD):
            (Path(folder) / name).replace(ledger.path.with_name(name))
    with ledger.transaction(now_ms, "restore") as change:
        change.add("audit", {"at_ms": now_ms, "kind": "restored", "words": f"restored from {source.name[:100]}",
                             "content": json.dumps({"aside": aside}, sort_keys=True)})
    return {"file": str(source), "rows": rows, "aside": aside}


def _counted(ledger: Ledger) -> dict[str, int]:
    with ledger.reading() as db:
        return {t: int(db.execute(f"select count(*) from {t}").fetchone()[0]) for t in CHAINED}


def _folder(ledger: Ledger) -> Path:
    ledger.path.parent.mkdir(parents=True, exist_ok=True)
    return ledger.path.parent


def _move_aside(ledger: Ledger, now_ms: int) -> str:
    folder = ledger.path.parent / "quarantine" / str(now_ms)
    moved = ""
    for name in (LEDGER, f"{LEDGER}-wal", f"{LEDGER}-shm", HEAD):
        there = ledger.path.with_name(name)
        if there.exists():
            folder.mkdir(parents=True, exist_ok=True)
            there.replace(folder / name)
            moved = f"quarantine/{now_ms}"
    return moved


def export(ledger: Ledger, table: str) -> str:
    """One table as CSV for a spreadsheet; text that a spreadsheet would run is quoted.

    Raises
    ------
    InputError
        For an unknown table.
    """
    if table not in CHAINED:
        raise InputError(f"expected a table ({', '.join(CHAINED)}), got {table[:30]!r}")
    out = io.StringIO()
    rows = ledger.rows(table)
    writer = csv.DictWriter(out, list(rows[0]) if rows else ["id"], lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: _safe(v) for k, v in row.items()} for row in rows)
    return out.getvalue()


def _safe(cell: Any) -> Any:
    if not isinstance(cell, str) or cell[:1] not in ("=", "+", "-", "@", "\t", "\r"):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell
