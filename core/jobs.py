"""Work that outlives a page: one queue of child processes, with progress and cancel through SQLite (decisions.md 31).

A job is a row. `submit` adds it, `pump` starts the next child (`python -m core job ID`) while fewer than the limit live, the child
writes its progress and its end. A child is alive exactly while it holds its lock file, which the system releases on death; a
row that says running without a lock is marked as interrupted and can be submitted again (jobs resume by themselves, because
what they did is stored).
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from data.clock import Clock
from data.errors import InputError, SextantError
from data.storage.transactions import immediate

ROOT = Path(__file__).resolve().parent.parent
REPORT_EVERY_S = 0.25
MOST_ID = 2**63 - 1  # what SQLite can look for
KEPT = 200  # finished jobs that are remembered
LOOKED_AT_S = 2.0  # a lock held for longer than a look is another child's
GRACE_MS = 15_000  # in which a child that was started takes its lock
OPEN = ("waiting", "running")

_SCHEMA = """
create table if not exists jobs (
  id integer primary key, kind text not null, arguments text not null, state text not null, created_ms integer not null,
  started_ms integer, ended_ms integer, done integer not null default 0, total integer not null default 0,
  words text not null default '', result text, cancel integer not null default 0
) strict
"""


class Cancelled(SextantError):
    """The user asked the job to stop; raised inside it at its next report."""


@dataclass(frozen=True)
class Job:
    """One row: what is to be done, how far it is, how it ended. Times are UTC milliseconds, `result` is plain JSON."""

    id: int
    kind: str
    arguments: dict[str, Any]
    state: str
    created_ms: int
    started_ms: int | None
    ended_ms: int | None
    done: int
    total: int
    words: str
    result: Any

    @property
    def open(self) -> bool:
        return self.state in OPEN

    @property
    def share(self) -> float:
        """0..1 for a progress bar."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    def document(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


Report = Callable[[int, int, str], None]
Work = Callable[[dict[str, Any], Report], Any]


class Jobs:
    """The queue of one home folder; every method may be called from any process and thread."""

    def __init__(self, home: Path, clock: Clock, *, limit: int | None = None) -> None:
        self._folder = home / "jobs"
        self._clock = clock
        self._limit = limit or default_limit()

    # -- what a page does ---------------------------------------------------------------------------------------

    def submit(self, kind: str, arguments: dict[str, Any]) -> Job:
        """Add a job, or return the open one that already does exactly this (the same button in fifty tabs is one job)."""
        text = json.dumps(arguments, sort_keys=True)
        with self._writing() as db:
            found = db.execute("select id from jobs where kind = ? and arguments = ? and state in ('waiting', 'running')",
                               (kind, text)).fetchone()
            number = found[0] if found else db.execute(
                "insert into jobs (kind, arguments, state, created_ms) values (?, ?, 'waiting', ?)",
                (kind, text, self._clock.now_ms())).lastrowid
            old = db.execute("delete from jobs where state not in ('waiting', 'running') and id <= "
                             "(select max(id) from jobs) - ? returning id", (KEPT,)).fetchall()
        for (gone,) in old:  # nobody asks for its lock any more
            (self._folder / f"{gone}.lock").unlink(missing_ok=True)
        return self.get(int(number or 0))

    def get(self, number: int) -> Job:
        row = None
        if 0 < number <= MOST_ID:
            with self._reading() as db:
                row = db.execute("select * from jobs where id = ?", (number,)).fetchone()
        if row is None:
            raise InputError(f"there is no job {number}; python -m core job lists them")
        return _job(row)

    def all(self) -> tuple[Job, ...]:
        """Newest first."""
        with self._reading() as db:
            return tuple(_job(row) for row in db.execute("select * from jobs order by id desc"))

    def cancel(self, number: int) -> Job:
        """Ask a job to stop: at once if it waits, at its next report if it runs."""
        self.get(number)
        with self._writing() as db:
            db.execute("update jobs set cancel = 1 where id = ?", (number,))
            db.execute("update jobs set state = 'cancelled', ended_ms = ? where id = ? and state = 'waiting'",
                       (self._clock.now_ms(), number))
        return self.get(number)

    def pump(self) -> list[int]:
        """Mark what died, then start children while there is room; returns the started ids."""
        self._bury()
        started: list[int] = []
        while True:
            with self._writing() as db:
                live = db.execute("select count(*) from jobs where state = 'running'").fetchone()[0]
                waiting = db.execute("select id from jobs where state = 'waiting' order by id").fetchone()
                if live >= self._limit or waiting is None:
                    return started
                db.execute("update jobs set state = 'running', started_ms = ? where id = ?", (self._clock.now_ms(), waiting[0]))
            try:
                self._spawn(waiting[0])
            except OSError as error:  # no memory or no room for a process
                self._finish(waiting[0], "failed", f"no process could be started for it ({error.strerror or error}); try again later", None)
                return started
            started.append(waiting[0])

    # -- what the child does ------------------------------------------------------------------------------------

    def run(self, number: int, works: dict[str, Work]) -> Job:
        """Do one job in this process and record how it ended; unknown kinds and errors are recorded, not raised."""
        job = self.get(number)
        lock = self._lock(number)
        try:
            lock.acquire(timeout=LOOKED_AT_S)  # a page that looks for dead children holds it for a moment
        except Timeout:
            raise InputError(f"job {number} is already being done by another process") from None
        try:
            with self._writing() as db:
                db.execute("update jobs set state = 'running', started_ms = coalesce(started_ms, ?) where id = ?",
                           (self._clock.now_ms(), number))
            self._finish(number, *self._outcome(job, works))
        finally:
            lock.release()
        return self.get(number)

    def _outcome(self, job: Job, works: dict[str, Work]) -> tuple[str, str, Any]:
        if job.kind not in works:
            return "failed", f"unknown kind of job {job.kind!r}; known: {', '.join(works)}", None
        try:
            result = works[job.kind](job.arguments, self._reporter(job.id))
            json.dumps(result)  # one that cannot be kept is an error of the job, not the end of this process without a word
            return "done", "", result
        except Cancelled:
            return "cancelled", "stopped by the user", None
        except SextantError as error:
            return "failed", str(error), None
        except Exception as error:  # noqa: BLE001 - the last stop in this process: the page shows the code
            from core.logbook import unexpected

            return "failed", f"something failed ({unexpected(error)}); details are in the log", None

    def _reporter(self, number: int) -> Report:
        last = 0.0

        def report(done: int, total: int, words: str) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last < REPORT_EVERY_S and done < total:
                return
            last = now
            with self._writing() as db:
                db.execute("update jobs set done = ?, total = ?, words = ? where id = ?", (done, total, words[:200], number))
                asked = db.execute("select cancel from jobs where id = ?", (number,)).fetchone()
            if asked and asked[0]:
                raise Cancelled("stopped by the user")

        return report

    def _finish(self, number: int, state: str, words: str, result: Any) -> None:
        with self._writing() as db:
            db.execute("update jobs set state = ?, words = case when ? = '' then words else ? end, result = ?, ended_ms = ? where id = ?",
                       (state, words, words, json.dumps(result), self._clock.now_ms(), number))

    # -- underneath ---------------------------------------------------------------------------------------------

    def _bury(self) -> None:
        """Rows that say running although nobody holds their lock: the child died. A grace second covers its start."""
        with self._reading() as db:
            running = db.execute("select id, started_ms from jobs where state = 'running'").fetchall()
        for number, started_ms in running:
            lock = self._lock(number)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            lock.release()
            if not 0 <= self._clock.now_ms() - (started_ms or 0) <= GRACE_MS:  # nor may a clock that was set back hold the queue
                self._finish(number, "interrupted", "its process ended unexpectedly; start it again, it resumes", None)

    def _spawn(self, number: int) -> None:
        environment = os.environ | {"SEXTANT_HOME": str(self._folder.parent)}
        subprocess.Popen([sys.executable, "-m", "core", "job", str(number)], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)

    def _lock(self, number: int) -> FileLock:
        self._folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self._folder / f"{number}.lock")

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with closing(self._connect()) as db:
            yield db

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with closing(self._connect()) as db, immediate(db):
            yield db

    def _connect(self) -> sqlite3.Connection:
        self._folder.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self._folder / "jobs.sqlite", timeout=10, isolation_level=None)
        db.execute("pragma journal_mode = wal")
        db.execute(_SCHEMA)
        return db


def default_limit() -> int:
    """Two children, or one where there is less than 1.5 GiB of memory."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 1
    return 2 if memory >= 1.5 * 2**30 else 1


def _job(row: tuple[Any, ...]) -> Job:
    number, kind, arguments, state, created, started, ended, done, total, words, result, _ = row
    return Job(number, kind, json.loads(arguments), state, created, started, ended, done, total, words,
               json.loads(result) if result else None)
