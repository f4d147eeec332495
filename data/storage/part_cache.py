"""Decoded months in bounded memory, and which files on disk this process has already proven."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

import numpy as np

Token = tuple[int, int, int]  # size, mtime in ns, inode: unchanged means nobody has touched the file


class PartCache:
    """Least recently used months go first. Thread-safe.

    An entry is only answered while the file on disk still has the token it was proven with; so a file damaged, replaced or
    deleted under a running process is noticed at the next read.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit = limit_bytes
        self._columns: OrderedDict[Path, tuple[str, dict[str, np.ndarray]]] = OrderedDict()
        self._proven: dict[Path, tuple[str, Token]] = {}
        self._bytes = 0
        self._guard = threading.Lock()

    @staticmethod
    def token(path: Path) -> Token | None:
        try:
            found = path.stat()
        except OSError:
            return None
        return found.st_size, found.st_mtime_ns, found.st_ino

    def is_proven(self, path: Path, sha256: str, token: Token | None) -> bool:
        with self._guard:
            return token is not None and self._proven.get(path) == (sha256, token)

    def prove(self, path: Path, sha256: str, token: Token | None) -> None:
        """`token` must have been taken before the bytes were read: a later change then shows."""
        if token is not None:
            with self._guard:
                self._proven[path] = (sha256, token)

    def get(self, path: Path, sha256: str) -> dict[str, np.ndarray] | None:
        with self._guard:
            known, columns = self._columns.get(path, ("", None))
        if columns is None or known != sha256 or not self.is_proven(path, sha256, self.token(path)):
            return None
        with self._guard:
            if path in self._columns:
                self._columns.move_to_end(path)
        return columns

    def put(self, path: Path, sha256: str, columns: dict[str, np.ndarray]) -> None:
        size = _size(columns)
        for array in columns.values():
            array.flags.writeable = False  # readers share these
        with self._guard:
            if path in self._columns:
                self._bytes -= _size(self._columns.pop(path)[1])
            if size > self.limit:
                return
            self._columns[path] = (sha256, columns)
            self._bytes += size
            while self._bytes > self.limit:
                _, (_, dropped) = self._columns.popitem(last=False)
                self._bytes -= _size(dropped)

    def clear(self) -> None:
        with self._guard:
            self._columns.clear()
            self._proven.clear()
            self._bytes = 0


def _size(columns: dict[str, np.ndarray]) -> int:
    return sum(array.nbytes for array in columns.values())
