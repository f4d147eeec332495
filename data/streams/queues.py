"""What waits between a socket and its feed. Bounded, never waits itself, and keeps the newest state when the feed is slow.

A closed candle is never dropped. Of values that replace each other (forming candle, best bid and ask, book sample, mark price)
only the newest per stream waits. Of the rest (trades, depth changes, forced orders) the oldest go first when the limit is
reached, and are counted: a book notices by its sequence numbers and starts again, a trade recorder shows the count.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

from data.streams.messages import BookTicker, Kline, MarkPrice, Message, Snapshot

LIMIT = 20_000  # about 30 s of the busiest second recorded for one symbol


class Arrived(NamedTuple):
    """One message with its stream and its time of receipt, UTC milliseconds."""

    stream: str
    received_ms: int
    message: Message


class NewestQueue:
    """For one event loop; `wake` is called after each put."""

    def __init__(self, limit: int = LIMIT, *, wake: Callable[[], None] = lambda: None) -> None:
        self.limit = limit
        self.dropped: Counter[str] = Counter()
        self._wake = wake
        self._must: deque[Arrived] = deque()
        self._latest: dict[str, Arrived] = {}
        self._rest: deque[Arrived] = deque()

    def __len__(self) -> int:
        return len(self._must) + len(self._latest) + len(self._rest)

    def put(self, arrived: Arrived) -> None:
        message = arrived.message
        if isinstance(message, Kline) and message.candle.closed:
            self._must.append(arrived)
        elif isinstance(message, (Kline, BookTicker, Snapshot, MarkPrice, list)):
            self._latest[arrived.stream] = arrived
        else:
            if len(self._rest) >= self.limit:
                self.dropped[self._rest.popleft().stream] += 1
            self._rest.append(arrived)
        self._wake()

    def drain(self, most: int = 2_000) -> list[Arrived]:
        """Up to about `most` messages: every closed candle first, then the newest states, then the rest in order of arrival."""
        out = [*self._must, *self._latest.values()]
        self._must.clear()
        self._latest.clear()
        for _ in range(min(len(self._rest), max(1, most - len(out)))):
            out.append(self._rest.popleft())
        return out
