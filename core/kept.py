"""Results kept in memory: bounded, thread-safe, and each computed once even when two pages ask for it together."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """The newest `entries` results by key. A key must name everything the result depends on; then nothing ever goes stale."""

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._found: OrderedDict[Hashable, T] = OrderedDict()
        self._busy: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def peek(self, key: Hashable) -> T | None:
        """The result if it is there already."""
        with self._lock:
            return self._found.get(key)

    def get(self, key: Hashable, compute: Callable[[], T]) -> T:
        """The result, computed if need be; whoever asks meanwhile waits for that one computation."""
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
                return self._found[key]
            turn = self._busy.setdefault(key, threading.Lock())
        with turn:
            found = self.peek(key)
            if found is None:
                found = compute()
            with self._lock:
                self._found[key] = found
                self._busy.pop(key, None)
                while len(self._found) > self._entries:
                    self._found.popitem(last=False)
        return found
