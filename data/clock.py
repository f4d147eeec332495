"""The only reader of the time, and the only parser and printer of times. Inside, a time is UTC integer milliseconds."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from data.errors import BadTime

_ISO = re.compile(r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?)?(Z|[+-]\d{2}:?\d{2})?$")


class Clock(Protocol):
    """Whatever can tell the time; everything that needs it takes one as an argument."""

    def now_ms(self) -> int: ...


@dataclass(frozen=True)
class SystemClock:
    """The computer's clock. Constructed in core/wiring.py and nowhere else."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class FixedClock:
    """A clock that stands still, for tests and for repeatable runs."""

    at_ms: int

    def now_ms(self) -> int:
        return self.at_ms


def parse_time(text: str) -> int:
    """UTC milliseconds of an ISO 8601 time. A time without a zone is UTC; a date is its midnight.

    Raises
    ------
    BadTime
        When the text is not such a time.

    Examples
    --------
    >>> parse_time("2024-03-01")
    1709251200000
    >>> parse_time("2024-03-01T00:00:00Z") == parse_time("2024-03-01 02:00+02:00")
    True
    """
    cleaned = text.strip()
    if not _ISO.match(cleaned):
        raise BadTime(f"expected a time such as 2024-03-01T00:00:00Z, got {text[:40]!r}; write ISO 8601, UTC")
    try:
        moment = datetime.fromisoformat(cleaned.replace("Z", "+00:00"))
    except ValueError as error:
        raise BadTime(f"{text[:40]!r} is not a date of the calendar ({error}); write e.g. 2024-03-01T00:00:00Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000


def iso(ms: int) -> str:
    """ISO 8601 text of UTC milliseconds; milliseconds are printed only when there are any.

    >>> iso(1709251200000), iso(1709251199999)
    ('2024-03-01T00:00:00Z', '2024-02-29T23:59:59.999Z')
    """
    moment = datetime.fromtimestamp(ms // 1000, UTC)
    tail = f".{ms % 1000:03d}Z" if ms % 1000 else "Z"
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + tail


def age_text(age_ms: int) -> str:
    """An age in the largest fitting unit.

    >>> age_text(59_000), age_text(3_600_000 * 5), age_text(86_400_000 * 413)
    ('59 s', '5 h', '413 d')
    """
    seconds = max(0, age_ms // 1000)
    for unit, size, limit in (("s", 1, 120), ("min", 60, 7_200), ("h", 3600, 172_800)):
        if seconds < limit:
            return f"{seconds // size} {unit}"
    return f"{seconds // 86_400} d"
