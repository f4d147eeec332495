"""Stretches of time: what may be asked for, and what is left of it after an answer."""

from __future__ import annotations

from data.clock import iso
from data.errors import BadTime
from data.frames import EARLIEST_MS
from data.market import SeriesKey
from data.sources.base import Window


def checked_range(key: SeriesKey, start_ms: int, end_ms: int, now_ms: int) -> tuple[int, int]:
    """Both ends on the interval's grid, the end no later than the last closed candle.

    Raises
    ------
    BadTime
        When it is upside down, empty, in the future, or before 2010.
    """
    if end_ms <= start_ms:
        raise BadTime(f"expected a start before the end, got {iso(start_ms)} to {iso(end_ms)}; swap them")
    if start_ms >= now_ms:
        raise BadTime(f"the range begins in the future ({iso(start_ms)}, now it is {iso(now_ms)}); ask for an earlier start")
    if end_ms <= EARLIEST_MS:
        raise BadTime(f"the range ends before 2010 ({iso(end_ms)}); no market is that old: are these seconds?")
    interval = key.interval
    first = interval.floor(max(start_ms, EARLIEST_MS) + interval.ms - 1)
    last = min(interval.floor(now_ms), interval.floor(end_ms + interval.ms - 1))
    if last <= first:
        raise BadTime(f"no {interval} candle has closed between {iso(start_ms)} and {iso(min(end_ms, now_ms))}; ask for an earlier start")
    return first, last


def without(ranges: list[tuple[int, int]], window: Window) -> list[tuple[int, int]]:
    """Half-open stretches minus a window."""
    out = []
    for a, b in ranges:
        if a < min(b, window.start_ms):
            out.append((a, min(b, window.start_ms)))
        if max(a, window.end_ms) < b:
            out.append((max(a, window.end_ms), b))
    return out


