"""The ledger: rows that are only ever added, each sealed with the one before it, in one SQLite file.

A row's hash covers its content and the hash of the row before it, so an edited, removed or inserted row breaks the chain from there on.
Triggers refuse updates and deletes; `verify` would notice them all the same. The head of the chain is kept beside the database too:
a database that was cut back to an earlier state does not hold it.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from data.errors import DamagedState
from data.storage.durable import no_fault, replace_file
from data.storage.transactions import immediate

MIGRATIONS = ("""
create table predictions (
  id integer primary key, made_ms integer not null, symbol text not null, market text not null, interval text not null,
  bar_ms integer not null, source text not null, label text not null, horizon integer not null, call integer not null,
  abstained integer not null, content text not null, previous text not null, hash text not null unique,
  unique (symbol, market, interval, bar_ms, source, label)
) strict;
create table settlements (
  id integer primary key, prediction integer not null unique references predictions (id), settled_ms integer not null,
  content text not null, previous text not null, hash text not null unique
) strict;
create trigger predictions_stay before update on predictions begin select raise(abort, 'a prediction is never changed'); end;
create trigger predictions_remain before delete on predictions begin select raise(abort, 'a prediction is never removed'); end;
create trigger settlements_stay before update on settlements begin select raise(abort, 'a settlement is never changed'); end;
create trigger settlements_remain before delete on settlements begin select raise(abort, 'a settlement is never removed'); end;
""",)
FIRST = "0" * 64
CHAINS = ("predictions", "settlements")


class Ledger:
    """Safe between threads and processes: every writing transaction begins immediately, with full synchronisation."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def path(self) -> Path:
        return self._path

    def add(self, table: str, rows: Iterable[Mapping[str, Any]], *, unless: Callable[[sqlite3.Connection, Mapping[str, Any]], bool]) -> int:
        """Append rows that `unless` does not find already there, as one transaction; returns how many were added."""
        added = 0
        with self.writing() as db:
            previous = _head(db, table)
            if previous == FIRST and not self._head_file.exists():
                self._keep_heads(dict.fromkeys(CHAINS, FIRST))  # from now on a missing file is a fault
            for row in rows:
                if unless(db, row):
                    continue
                sealed = dict(row) | {"previous": previous}
                sealed["hash"] = previous = seal(sealed)
                names = ", ".join(sealed)
                db.execute(f"insert into {table} ({names}) values ({', '.join('?' * len(sealed))})", tuple(sealed.values()))
                added += 1
            heads = {name: _head(db, name) for name in CHAINS}
        if added:
            self._keep_heads(heads)
        return added

    def verify(self) -> list[str]:
        """What is wrong with the chains, in words; empty when nothing was touched."""
        if not self._path.exists():
            return []
        faults: list[str] = []
        heads = self._kept_heads()
        with self.reading() as db:
            for table in CHAINS:
                previous, seen, whole = FIRST, {FIRST}, True
                for row in db.execute(f"select * from {table} order by id"):
                    content = {k: row[k] for k in row.keys() if k not in ("id", "hash")}
                    if row["previous"] != previous or seal(content) != row["hash"]:
                        faults.append(f"{table} row {row['id']}: content or order was changed after it was written")
                        whole = False
                        break
                    previous = row["hash"]
                    seen.add(previous)
                if whole and heads is not None and heads.get(table, FIRST) not in seen:
                    faults.append(f"{table}: rows that were written are missing at the end; restore the newest backup")
                if heads is None and previous != FIRST:
                    faults.append(f"{table}: {self._head_file.name} (the newest hash) is missing or unreadable: rows cut off at the "
                                  "end would not be noticed; restore it with the newest backup")
        return faults

    @property
    def _head_file(self) -> Path:
        return self._path.with_suffix(".head")

    def _keep_heads(self, heads: Mapping[str, str]) -> None:
        replace_file(self._head_file, json.dumps(dict(heads)).encode(), no_fault, "ledger head")

    def _kept_heads(self) -> dict[str, str] | None:
        """The newest hash of each chain as kept beside the database; None when that file cannot be read."""
        try:
            return dict(json.loads(self._head_file.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        with closing(self._connect()) as db:
            yield db

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        with closing(self._connect()) as db, immediate(db):
            yield db

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            db = sqlite3.connect(self._path, timeout=10.0, isolation_level=None)
            db.row_factory = sqlite3.Row
            db.execute("pragma journal_mode = wal")
            db.execute("pragma synchronous = full")
            self._migrate(db)
        except sqlite3.DatabaseError as error:
            if "locked" in str(error):
                raise
            raise DamagedState(f"the ledger {self._path.name} cannot be read ({error}); move it aside and restore a backup, nothing "
                               "else is touched") from error
        return db

    def _migrate(self, db: sqlite3.Connection) -> None:
        if db.execute("pragma user_version").fetchone()[0] >= len(MIGRATIONS):
            return
        with immediate(db):
            for number in range(db.execute("pragma user_version").fetchone()[0], len(MIGRATIONS)):
                for statement in _statements(MIGRATIONS[number]):
                    db.execute(statement)
                db.execute(f"pragma user_version = {number + 1}")


def seal(row: Mapping[str, Any]) -> str:
    """SHA-256 of a row's canonical JSON; it holds the hash of the row before it."""
    return hashlib.sha256(json.dumps(dict(row), sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _head(db: sqlite3.Connection, table: str) -> str:
    row = db.execute(f"select hash from {table} order by id desc limit 1").fetchone()
    return FIRST if row is None else str(row["hash"])


def _statements(script: str) -> Iterator[str]:
    """Statements of a script; a trigger's own semicolons do not end it."""
    part = ""
    for line in script.strip().splitlines():
        part += line + "\n"
        if sqlite3.complete_statement(part):
            yield part
            part = ""
