"""Small results of large tables, remembered by content: what a new bar cannot have changed is not computed again.

For results that are pure functions of the arrays given and of the words that name the method. Unlike fits (analysis/fits.py) they are
cheap enough to lose, so they live in memory alone.
"""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")


def seals_of(columns: Sequence[np.ndarray], rows: Sequence[slice], *words: object) -> list[bytes]:
    """20 bytes for each stretch of rows, which stand for the content of its columns (float64, equal lengths) and for the words.

    SHA-1 because processors have it built in; nobody gains from forging a seal.
    """
    table = np.stack([np.asarray(column, np.float64) for column in columns], axis=1)
    head = hashlib.sha1(repr((words, len(columns))).encode(), usedforsecurity=False)
    seals = []
    for part in rows:
        digest = head.copy()
        digest.update(table[part].data)
        seals.append(digest.digest())
    return seals


class Remembered(Generic[T]):
    """The newest `entries` results by seal. Safe to share between threads; two that ask together may both compute, and agree."""

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._found: OrderedDict[bytes, T] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._found)

    def get(self, seal: bytes, compute: Callable[[], T]) -> T:
        with self._lock:
            if seal in self._found:
                self._found.move_to_end(seal)
                return self._found[seal]
        found = compute()
        with self._lock:
            self._found[seal] = found
            while len(self._found) > self._entries:
                self._found.popitem(last=False)
        return found


class OfObject(Generic[T]):
    """One result an object, for as long as the object lives: what two modules ask of the same candles is computed once."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[weakref.ref[object], T]] = {}
        self._lock = threading.RLock()  # a collection may begin inside `put`, and ends in `forget`

    def __len__(self) -> int:
        return len(self._found)

    def get(self, of: object) -> T | None:
        with self._lock:
            held = self._found.get(id(of))
            return held[1] if held is not None and held[0]() is of else None

    def put(self, of: object, result: T) -> None:
        number = id(of)

        def forget(gone: weakref.ref[object]) -> None:
            with self._lock:
                held = self._found.get(number)
                if held is not None and held[0] is gone:
                    del self._found[number]

        with self._lock:
            self._found[number] = (weakref.ref(of, forget), result)
