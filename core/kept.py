"""Results kept in memory: bounded, thread-safe, and each computed once even when two pages ask for it together."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns:
    """How many threads compute at once. More would share the same processors, each take longer, and all hold their memory meanwhile.

    A thread that has its turn keeps it for whatever it computes on the way.
    """

    def __init__(self, most: int) -> None:
        self._free = threading.BoundedSemaphore(most)
        self._own = threading.local()

    @property
    def mine(self) -> bool:
        """Whether this thread has its turn."""
        return getattr(self._own, "taken", False)

    @contextmanager
    def taken(self) -> Iterator[None]:
        if self.mine:
            yield
            return
        with self._free:
            self._own.taken = True
            try:
                yield
            finally:
                self._own.taken = False


class Kept(Generic[T]):
    """The newest `entries` results by key. A key must name everything the result depends on; then nothing ever goes stale.

    What is computed waits for its turn among all that share `turns`; what is there does not.
    """

    def __init__(self, entries: int, turns: Turns | None = None) -> None:
        self._entries = entries
        self._turns = turns or Turns(1_000)
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
            working = self._busy.get(key)
        if working is not None and not self._turns.mine:
            with working:  # somebody computes it: waiting takes no turn
                pass
        with self._turns.taken():
            with self._lock:
                alone = self._busy.setdefault(key, threading.Lock())
            with alone:
                found = self.peek(key)
                try:
                    if found is None:
                        found = compute()
                except BaseException:
                    with self._lock:
                        self._busy.pop(key, None)
                    raise
                with self._lock:
                    self._busy.pop(key, None)
                    self._found[key] = found
                    while len(self._found) > self._entries:
                        self._found.popitem(last=False)
        return found
