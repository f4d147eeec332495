"""Conversations, the log of every call, and proposals: one SQLite file of their own. Conversations can be deleted, the log cannot."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.logbook import warn_once
from data.clock import Clock, iso
from data.errors import DamagedState, DataError, InputError
from data.storage.transactions import immediate

KEPT = 200  # conversations; the oldest go
KEPT_MESSAGES = 400  # of a conversation
_SCHEMA = """
create table if not exists conversations (
  id integer primary key, world text not null, title text not null, created_ms integer not null, changed_ms integer not null) strict;
create table if not exists messages (
  id integer primary key, conversation integer not null references conversations (id) on delete cascade, at_ms integer not null,
  role text not null, content text not null) strict;
create index if not exists messages_of on messages (conversation);
create table if not exists calls (
  id integer primary key, at_ms integer not null, conversation integer not null, what text not null, arguments text not null,
  outcome text not null, milliseconds integer not null) strict;
create trigger if not exists calls_stay before update on calls begin select raise(abort, 'a call is never changed'); end;
create trigger if not exists calls_remain before delete on calls begin select raise(abort, 'a call is never removed'); end;
create table if not exists proposals (
  id text primary key, world text not null, conversation integer not null, at_ms integer not null, ends_ms integer not null,
  kind text not null, content text not null, words text not null, state text not null, outcome text not null default '') strict;
"""


@dataclass(frozen=True)
class Conversation:
    id: int
    title: str
    changed_ms: int


@dataclass(frozen=True)
class Message:
    """`role` is user or assistant; `content` plain JSON."""

    id: int
    role: str
    at_ms: int
    content: dict[str, Any]


class Conversations:
    """Safe between threads and processes: writing takes the lock first."""

    def __init__(self, path: Path, clock: Clock, world: str) -> None:
        self._path, self._clock, self._world = path, clock, world

    def begin(self, title: str) -> int:
        """A new conversation; the oldest beyond `KEPT` are forgotten."""
        now = self._clock.now_ms()
        with self.writing() as db:
            number = db.execute("insert into conversations (world, title, created_ms, changed_ms) values (?, ?, ?, ?)",
                                (self._world, title[:80] or "conversation", now, now)).lastrowid
            db.execute("delete from conversations where world = ? and id not in "
                       "(select id from conversations where world = ? order by changed_ms desc, id desc limit ?)",
                       (self._world, self._world, KEPT))
        return int(number or 0)

    def add(self, conversation: int, role: str, content: Mapping[str, Any]) -> int:
        now = self._clock.now_ms()
        with self.writing() as db:
            if db.execute("update conversations set changed_ms = ? where id = ? and world = ?",
                          (now, conversation, self._world)).rowcount != 1:
                raise InputError(f"there is no conversation {conversation}; begin a new one")
            count = db.execute("select count(*) from messages where conversation = ?", (conversation,)).fetchone()[0]
            if count >= KEPT_MESSAGES:
                raise InputError(f"this conversation holds {count} messages, the most there can be; begin a new one")
            return int(db.execute("insert into messages (conversation, at_ms, role, content) values (?, ?, ?, ?)",
                                  (conversation, now, role, json.dumps(dict(content), ensure_ascii=False))).lastrowid or 0)

    def all(self) -> tuple[Conversation, ...]:
        """Newest first."""
        with self.reading() as db:
            rows = db.execute("select id, title, changed_ms from conversations where world = ? order by changed_ms desc, id desc",
                              (self._world,)).fetchall()
        return tuple(Conversation(*row) for row in rows)

    def messages(self, conversation: int) -> tuple[Message, ...]:
        """Oldest first; none where there is no such conversation. In the place of a message that cannot be read stands a notice that
        says so, with no text a model could read."""
        with self.reading() as db:
            rows = db.execute("select m.id, m.role, m.at_ms, m.content from messages m join conversations c on c.id = m.conversation "
                              "where c.id = ? and c.world = ? order by m.id", (conversation, self._world)).fetchall()
        return tuple(self._message(*row) for row in rows)

    def _message(self, number: int, role: str, at_ms: int, content: str) -> Message:
        try:
            found = json.loads(content)
        except (ValueError, TypeError, RecursionError):
            found = None
        if isinstance(found, dict):
            return Message(number, role, at_ms, found)
        warn_once(f"message/{self._path}/{number}", f"message {number} of {self._path.name} is damaged and cannot be shown")
        said = f"A message of {iso(at_ms)} is damaged and cannot be shown."
        return Message(number, "assistant", at_ms, {"text": "", "notices": [{"kind": "damaged", "words": said}]})

    def delete(self, conversation: int) -> None:
        """Its messages and what was proposed in it; the log of calls stays."""
        with self.writing() as db:
            db.execute("delete from proposals where conversation = ? and world = ? and state = 'open'", (conversation, self._world))
            db.execute("delete from conversations where id = ? and world = ?", (conversation, self._world))

    def log(self, conversation: int, what: str, arguments: str, outcome: str, milliseconds: int) -> None:
        """One line of the audit log."""
        with self.writing() as db:
            db.execute("insert into calls (at_ms, conversation, what, arguments, outcome, milliseconds) values (?, ?, ?, ?, ?, ?)",
                       (self._clock.now_ms(), conversation, what[:80], arguments[:2_000], outcome[:400], milliseconds))

    def calls(self, newest: int = 100) -> list[dict[str, Any]]:
        """The audit log, newest first."""
        with self.reading() as db:
            cursor = db.execute("select * from calls order by id desc limit ?", (newest,))
            names = [c[0] for c in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        with self._open() as db:
            yield db

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        with self._open() as db, immediate(db):
            yield db

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with closing(sqlite3.connect(self._path, timeout=10.0, isolation_level=None)) as db:
                db.execute("pragma journal_mode = wal")
                db.execute("pragma foreign_keys = on")
                db.executescript(_SCHEMA)
                yield db
        except sqlite3.IntegrityError:
            raise  # a refused change: the file is sound
        except sqlite3.OperationalError as error:
            raise DataError(f"the conversations cannot be read or written just now ({error}); free some space, or try again") from error
        except sqlite3.DatabaseError as error:
            raise DamagedState(f"the conversations in {self._path.name} cannot be read ({error}); move the file aside, nothing else "
                               "depends on it") from error
