"""One SQLite transaction that takes the write lock first: a deferred one fails with "locked" when two processes read, then write."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def immediate(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Begin at once, commit at the end, roll back on any error. The connection must be in autocommit mode (`isolation_level=None`)."""
    db.execute("begin immediate")
    try:
        yield db
    except BaseException:
        if db.in_transaction:  # a full disk has rolled back by itself
            db.execute("rollback")
        raise
    db.execute("commit")
