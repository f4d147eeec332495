"""The trial ledger: every try of a study is counted, so that a chosen result can be judged by how many it was chosen from (X6).

An SQLite file of its own; rows are only added. The same configuration on the same data is one try, however often it is run: its row
counts the repeats.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.clock import Clock
from data.errors import DamagedState, LockHeld

_BROKEN = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})
_SCHEMA = """
create table if not exists trials (
  id integer primary key, at_ms integer not null, study text not null, kind text not null, key text not null, parameters text not null,
  data text not null, code text not null, sharpe real, observations integer not null, skewness real, kurtosis real,
  repeats integer not null default 0, unique (study, key)
) strict
"""


@dataclass(frozen=True)
class Trial:
    """One try. `sharpe` is per observation (a day), None where it did not exist; `kurtosis` is not the excess."""

    study: str
    kind: str
    parameters: Mapping[str, Any]
    data: str
    sharpe: float | None
    observations: int
    skewness: float = 0.0
    kurtosis: float = 3.0
    code: str = ""

    @property
    def key(self) -> str:
        """What makes a try a different one: its configuration and its data."""
        text = json.dumps([self.kind, self.parameters, self.data, self.code], sort_keys=True, default=str)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class TrialLedger:
    """Safe between threads and processes: SQLite serialises writers."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path, self._clock = path, clock

    def record(self, trials: Iterable[Trial]) -> int:
        """Add tries; returns how many of them were new."""
        new = 0
        with self._open() as db:
            for t in trials:
                row = (self._clock.now_ms(), t.study, t.kind, t.key, json.dumps(t.parameters, sort_keys=True, default=str), t.data, t.code,
                       t.sharpe if t.sharpe is not None and np.isfinite(t.sharpe) else None, t.observations, t.skewness, t.kurtosis)
                done = db.execute("insert into trials (at_ms, study, kind, key, parameters, data, code, sharpe, observations, skewness, "
                                  "kurtosis) values (?,?,?,?,?,?,?,?,?,?,?) on conflict (study, key) do update set repeats = repeats + 1 "
                                  "returning repeats", row).fetchone()
                new += done[0] == 0
        return new

    def count(self, study: str) -> int:
        """Number of different tries of a study."""
        with self._open() as db:
            return int(db.execute("select count(*) from trials where study = ?", (study,)).fetchone()[0])

    def sharpes(self, study: str) -> np.ndarray:
        """Sharpe ratios per observation of every try that has one: what a deflated Sharpe ratio needs."""
        with self._open() as db:
            rows = db.execute("select sharpe from trials where study = ? and sharpe is not null order by id", (study,)).fetchall()
        return np.array([row[0] for row in rows], float)

    def others(self, study: str, key: str) -> tuple[int, np.ndarray]:
        """Number of different tries of a study but the one of this key, and their Sharpe ratios: a repeat is no second try."""
        with self._open() as db:
            rows = db.execute("select sharpe from trials where study = ? and key <> ? order by id", (study, key)).fetchall()
        return len(rows), np.array([row[0] for row in rows if row[0] is not None], float)

    def parameters(self, study: str, kind: str) -> list[dict[str, Any]]:
        """What every try of a kind was of, oldest first."""
        with self._open() as db:
            rows = db.execute("select parameters from trials where study = ? and kind = ? order by id", (study, kind)).fetchall()
        return [dict(json.loads(row[0])) for row in rows]

    def studies(self) -> dict[str, int]:
        """Every study and its number of tries."""
        with self._open() as db:
            return dict(db.execute("select study, count(*) from trials group by study order by max(id) desc").fetchall())

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with closing(sqlite3.connect(self._path, timeout=10.0)) as db, db:
                db.execute("pragma journal_mode = wal")
                db.execute(_SCHEMA)
                yield db
        except sqlite3.DatabaseError as error:
            if (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF not in _BROKEN:
                raise LockHeld(f"the trial ledger {self._path.name} takes nothing just now ({error}); it is not damaged: try again when no "
                               "other process writes to it and its disk has space") from error
            raise DamagedState(f"the trial ledger {self._path.name} cannot be read ({error}); move it aside, tries are then counted from "
                               "zero and deflated ratios will flatter") from error


def study_name(kind: str, *parts: object) -> str:
    """One name for everything tried on the same question: kind, symbols, interval, strategy.

    >>> study_name("backtest", "BTCUSDT", "1h", "trend")
    'backtest/BTCUSDT/1h/trend'
    """
    return "/".join([kind, *(str(part) for part in parts)])
