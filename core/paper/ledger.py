"""The ledger: rows that are only ever added, each sealed with the one before it, in one SQLite file.

A row's hash covers its content and the hash of the row before it, so an edited, removed or inserted row breaks the chain of its table
from there on. Triggers refuse updates and deletes; `verify` would notice them all the same. The heads of the chains are kept beside the
database too: a file that was cut back to an earlier state does not hold them.

Reading is done through sqlite-utils. Writing is not: its transactions begin deferred, and two processes that read and then write would
refuse each other.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from core.hindrance import hindrance
from core.paper.migrations import CHAINED, MIGRATIONS, UNCANONICAL
from data.errors import DamagedState
from data.storage.durable import Fault, no_fault
from data.storage.transactions import immediate

FIRST = "0" * 64
OLDEST = ("predictions", "settlements")  # their rows carry no transaction number
BUSY_S = 10.0


class Transaction:
    """Rows added together, or not at all. `number` is one more than that of the transaction before."""

    def __init__(self, db: sqlite3.Connection, recorded_ms: int) -> None:
        self._db, self._recorded = db, recorded_ms
        self._heads: dict[str, str] = {}
        newest = (db.execute(f"select tx from {t} order by id desc limit 1").fetchone() for t in CHAINED if t not in OLDEST)
        self.number = max((row[0] for row in newest if row is not None), default=0) + 1
        self.added = 0

    def add(self, table: str, row: Mapping[str, Any]) -> bool:
        """Append one row; False, and nothing done, where its key is there already (L2)."""
        content = dict(row) if table in OLDEST else {"tx": self.number} | dict(row) | {"recorded_ms": self._recorded}
        previous = self._heads.get(table) or _head(self._db, table)
        sealed: dict[str, Any] = content | {"previous": previous}
        sealed["hash"] = seal(sealed)
        try:
            self._db.execute(f"insert into {table} ({', '.join(sealed)}) values ({', '.join('?' * len(sealed))})", tuple(sealed.values()))
        except sqlite3.IntegrityError as error:
            if "UNIQUE" not in str(error):
                raise
            return False
        self._heads[table] = sealed["hash"]
        self.added += 1
        return True

    def execute(self, sql: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        """A query inside the transaction."""
        return self._db.execute(sql, values)


class Ledger:
    """Safe between threads and processes: every writing transaction begins immediately, with full synchronisation.

    `fault` is the seam of the crash tests: called with a name before and after each durable step.
    """

    def __init__(self, path: Path, fault: Fault = no_fault) -> None:
        self._path, self._fault = path, fault
        self._own = threading.local()  # a connection a thread: closing the last one would write the whole journal back each time

    @property
    def path(self) -> Path:
        return self._path

    # -- writing ------------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self, recorded_ms: int, name: str = "transaction") -> Iterator[Transaction]:
        """Add rows with `Transaction.add`; all of them are there afterwards, or none."""
        db = self._connected()
        self._fault(f"{name}: before")
        self._catch_up_heads(db)
        with immediate(db):
            change = Transaction(db, recorded_ms)
            yield change
            self._fault(f"{name}: before commit")
        self._fault(f"{name}: committed")
        if change.added:
            self._keep_heads(db)
            self._fault(f"{name}: heads kept")

    # -- reading ------------------------------------------------------------------------------------------------

    def rows(self, table: str, where: str = "1", values: tuple[Any, ...] = (), *, order: str = "id",
             limit: int | None = None, select: str = "*") -> list[dict[str, Any]]:
        """Rows as dictionaries, JSON columns as they are stored; none where there is no ledger yet: looking does not make one.

        `select` names columns where rows are many: the state kept with each bar is most of the file.
        """
        if not self._path.exists():
            return []
        import sqlite_utils

        with self.reading() as db:
            return list(sqlite_utils.Database(db, execute_plugins=False)[table].rows_where(where, values, order_by=order, limit=limit,
                                                                                               select=select))

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        yield self._connected()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction over tables that are not chained (what the runner says of itself)."""
        with immediate(self._connected()) as db:
            yield db

    def canonical(self) -> Iterator[str]:
        """One line of JSON a row: the same history gives the same bytes, whenever and in how many processes it was recorded.

        Left out: row and transaction numbers, wall-clock times, hashes, deliveries and the audit trail (restarts).
        """
        with self.reading() as db:
            for table in CHAINED:
                if table in ("deliveries", "audit"):
                    continue
                for row in db.execute(f"select * from {table} order by id"):
                    content = {k: row[k] for k in row.keys() if k not in UNCANONICAL}
                    yield json.dumps({"table": table} | content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    # -- proof --------------------------------------------------------------------------------------------------

    def verify(self) -> list[str]:
        """What is wrong with the file and its chains (L5), in words; empty when nothing was touched."""
        if not self._path.exists():
            return []
        faults: list[str] = []
        heads = self._kept_heads()
        with self.reading() as db:
            for check in ("quick_check", "integrity_check"):
                found = db.execute(f"pragma {check}").fetchone()[0]
                if found != "ok":
                    return [f"the database file is damaged ({check}: {str(found)[:200]}); restore the newest backup"]
            wanted = _schema()
            there = dict(db.execute("select name, sql from sqlite_master where sql is not null"))
            faults += [f"{name}: its {'definition was changed' if name in there else 'definition is missing'}; restore the newest backup"
                       for name, sql in wanted.items() if there.get(name) != sql]
            for table in CHAINED:
                faults += self._chain_faults(db, table, heads)
        return faults

    def _chain_faults(self, db: sqlite3.Connection, table: str, heads: Mapping[str, str] | None) -> list[str]:
        previous, last_id = FIRST, 0
        kept = None if heads is None else heads.get(table, FIRST)
        seen_kept = kept == FIRST
        later: set[int] = set()
        for row in db.execute(f"select * from {table} order by id"):
            content = {k: row[k] for k in row.keys() if k not in ("id", "hash")}
            if row["previous"] != previous or seal(content) != row["hash"] or row["id"] != last_id + 1:
                return [f"{table} row {row['id']}: content or order was changed after it was written"]
            previous, last_id = row["hash"], row["id"]
            if seen_kept and table not in OLDEST:
                later.add(row["tx"])
            seen_kept = seen_kept or previous == kept
        if heads is None:
            return [] if previous == FIRST else [
                f"{table}: {self._head_file.name} (the newest hash) is missing or unreadable: rows cut off at the end would not be "
                "noticed; restore it with the newest backup"]
        if not seen_kept:
            return [f"{table}: rows that were written are missing at the end; restore the newest backup"]
        return [f"{table}: {len(later)} transactions are newer than {self._head_file.name}, at most one can be; restore it with the newest "
                "backup"] if len(later) > 1 else []

    def heads(self) -> dict[str, str]:
        """The newest hash of each chain."""
        with self.reading() as db:
            return {t: _head(db, t) for t in CHAINED}

    def keep_heads(self) -> None:
        """Write the heads of the database as it is: after a restore."""
        with self.reading() as db:
            self._keep_heads(db)

    @property
    def _head_file(self) -> Path:
        return self._path.with_suffix(".head")

    def _keep_heads(self, db: sqlite3.Connection) -> None:
        """Renamed over the old file but not flushed: a killed process leaves it whole, and a second flush a bar would cost as much as
        the commit itself. After a power loss it may be older than a transaction; `verify` then says so."""
        db.execute("begin immediate")  # two writers keep their heads in the order of their transactions
        try:
            beside = self._head_file.with_suffix(".head-new")
            beside.write_text(json.dumps({t: _head(db, t) for t in CHAINED}))
            beside.replace(self._head_file)
        finally:
            db.execute("rollback")

    def _catch_up_heads(self, db: sqlite3.Connection) -> None:
        """A process that was killed between its commit and its heads left them one transaction behind. Where the kept heads are not in the
        chains the file stays as it is: it is what proves that rows are missing."""
        kept = self._kept_heads()
        if kept is None:
            return
        behind = [t for t in CHAINED if kept.get(t, FIRST) != _head(db, t)]
        if behind and all(kept.get(t, FIRST) == FIRST or db.execute(f"select 1 from {t} where hash = ?", (kept[t],)).fetchone()
                          for t in behind):
            self._keep_heads(db)

    def _kept_heads(self) -> dict[str, str] | None:
        """The newest hash of each chain as kept beside the database; None when that file cannot be read."""
        try:
            return dict(json.loads(self._head_file.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    # -- the file -----------------------------------------------------------------------------------------------

    def _connected(self) -> sqlite3.Connection:
        """This thread's connection to the file that is there now: a restore puts another in its place, and a forked child needs its own."""
        try:
            file = (os.getpid(), self._path.stat().st_ino)
        except FileNotFoundError:
            file = (os.getpid(), -1)
        held = getattr(self._own, "held", None)
        if held is None or held[0] != file:
            if held is not None and held[0][0] == os.getpid():
                held[1].close()
            db = self._connect()
            held = self._own.held = ((os.getpid(), self._path.stat().st_ino), db)
        return held[1]

    def close(self) -> None:
        """Let this thread's connection go: before the file is moved."""
        held = getattr(self._own, "held", None)
        if held is not None:
            held[1].close()
            self._own.held = None

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            db = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None)
            db.row_factory = sqlite3.Row
            db.execute("pragma journal_mode = wal")
            db.execute("pragma synchronous = full")
            self._migrate(db)
        except sqlite3.DatabaseError as error:
            if hindrance(error):
                raise
            raise DamagedState(f"the ledger {self._path.name} cannot be read ({error}); move it aside and restore a backup, nothing "
                               "else is touched") from error
        return db

    def _migrate(self, db: sqlite3.Connection) -> None:
        newest = db.execute("pragma user_version").fetchone()[0]
        if newest > len(MIGRATIONS):
            raise DamagedState(f"the ledger {self._path.name} was written by a newer Sextant (version {newest}, this one knows "
                               f"{len(MIGRATIONS)}); update, or move the file aside")
        if newest == len(MIGRATIONS):
            return
        with immediate(db):
            for number in range(db.execute("pragma user_version").fetchone()[0], len(MIGRATIONS)):
                for statement in _statements(MIGRATIONS[number]):
                    db.execute(statement)
                db.execute(f"pragma user_version = {number + 1}")
        if not self._head_file.exists() and newest == 0:
            self._keep_heads(db)  # from now on a missing file is a fault


def seal(row: Mapping[str, Any]) -> str:
    """SHA-256 of a row's canonical JSON; it holds the hash of the row before it."""
    return hashlib.sha256(json.dumps(dict(row), sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _head(db: sqlite3.Connection, table: str) -> str:
    row = db.execute(f"select hash from {table} order by id desc limit 1").fetchone()
    return FIRST if row is None else str(row["hash"])


def _schema() -> dict[str, str]:
    """Names and definitions of everything the migrations make."""
    with closing(sqlite3.connect(":memory:")) as db:
        for script in MIGRATIONS:
            db.executescript(script)
        return dict(db.execute("select name, sql from sqlite_master where sql is not null"))


def _statements(script: str) -> Iterator[str]:
    """Statements of a script; a trigger's own semicolons do not end it."""
    part = ""
    for line in script.strip().splitlines():
        part += line + "\n"
        if sqlite3.complete_statement(part):
            yield part
            part = ""
