"""A clock that moves only when told to: a day of exchange time passes in the seconds it takes to compute it."""

from __future__ import annotations

import threading

from data.errors import InputError


class VirtualClock:
    """Implements data.clock.Clock. Safe to read and to advance from any thread; it never runs backwards.

    Examples
    --------
    >>> clock = VirtualClock(1_000)
    >>> clock.advance(500)
    1500
    """

    def __init__(self, start_ms: int) -> None:
        self._now_ms = start_ms
        self._lock = threading.Lock()

    def now_ms(self) -> int:
        return self._now_ms

    def advance(self, ms: int) -> int:
        """Move on by `ms` and return the new time."""
        if ms < 0:
            raise InputError(f"a clock goes forward: expected ms >= 0, got {ms}")
        with self._lock:
            self._now_ms += int(ms)
            return self._now_ms
