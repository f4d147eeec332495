"""Rows of a timeline that a closed bar cannot have changed, kept for the view of the next one.

A module that ranks its newest value among its own past, or a composite that does, needs hundreds of earlier rows. Between two bars all but
the newest stay as they are, so a view that continues an earlier one pays for the new rows alone. The memory comes with the view
(`view.kept`), as fits do: who checks for look-ahead hands in none and computes every row afresh.

A kept row is what it was when it was the newest but one: windows alike to the last bit, recursions as their own view began them (equal
within 1e-6 sd, decisions.md 18). Rows are used only while everything that the module may read, up to the close of the last of them, has
the content it had then: a late figure, a corrected candle or a recorder that deletes makes all rows anew.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from analysis.module import ScoreModule, Timeline, Track
from data.frames import COLUMNS
from data.market import Market
from data.view import MarketView

MEMORY_BYTES = 32 << 20
MOST_NEW_BARS = 6
HEAD_ROWS = 400  # rows at the start of each input that may have left the next view
NEWEST = 1  # of the kept rows: it knew its own age, which no earlier row feels, so it is computed again

Name = tuple[str, str, str, Market, str, int]


class Prefixes:
    """What stands for the content of any stretch of rows: sums of a mixture of each row's bits, kept where a stretch may begin."""

    def __init__(self, times: np.ndarray, columns: list[np.ndarray], since: int | None = None) -> None:
        """`since`: the moment from which on rows are in the table; None where it holds so many rows instead."""
        self.times, self.since = times, since
        mixed = times.astype(np.uint64)
        for column in columns:
            mixed = (mixed ^ np.ascontiguousarray(column).view(np.uint64)) * _ODD
            mixed ^= mixed >> _HALF
        self._sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(mixed * _ODD)))

    def head(self, edge: int) -> _Head:
        """The first rows, and what stands for everything from each of them to the edge, a moment."""
        last = int(np.searchsorted(self.times, edge, side="left"))
        times = self.times[: min(last, HEAD_ROWS)].copy()
        return _Head(times, self._sums[last] - self._sums[: len(times)])

    def continues(self, head: _Head, edge: int) -> bool:
        """Whether the rows before the edge are those of `head`, less those that the view's later beginning leaves out and no other."""
        last = int(np.searchsorted(self.times, edge, side="left"))
        begin = self.since if self.since is not None or not last else int(self.times[0])
        first = 0 if begin is None else int(np.searchsorted(head.times, begin, side="left"))
        if not last:
            return first == len(head.times) < HEAD_ROWS
        return first < len(head.times) and bool(head.times[first] == self.times[0] and head.stands[first] == self._sums[last])


_ODD, _HALF = np.uint64(0x9E3779B97F4A7C15), np.uint64(29)


@dataclass(frozen=True)
class _Head:
    """An input as it was: its first times, and what stands for the rows from each of them to an edge."""

    times: np.ndarray
    stands: np.ndarray


@dataclass(frozen=True)
class _Kept:
    edge: int  # what became known before it decides all rows of the line but the newest
    heads: Mapping[str, _Head]
    line: Timeline

    @property
    def size(self) -> int:
        return sum(a.nbytes for a in _arrays(self.line)) + sum(h.times.nbytes + h.stands.nbytes for h in self.heads.values())


class KeptRows:
    """The newest timelines by module and series, within `MEMORY_BYTES`. Safe to share between threads."""

    def __init__(self, limit_bytes: int = MEMORY_BYTES) -> None:
        self._limit = limit_bytes
        self._held: OrderedDict[Name, _Kept] = OrderedDict()
        self._bytes = 0
        self._guard = threading.Lock()

    @property
    def bytes(self) -> int:
        """How much is held."""
        return self._bytes

    def rows(self, module: ScoreModule, view: MarketView, bars: int, compute: Callable[[int], Timeline]) -> Timeline:
        """The newest `bars` rows: `compute(bars)`, or earlier rows and `compute` of those that are new."""
        name = (module.letter, repr(getattr(module, "config", "")), view.symbol, view.market, str(view.interval), bars)
        with self._guard:
            kept = self._held.get(name)
        now = dict(_inputs(module, view))
        line = _continued(kept, view, now, bars, compute) if kept is not None else None
        if line is None:
            line = compute(bars)
        edge = int(line.close_time[-1 - NEWEST]) + 1 if len(line.close_time) > NEWEST else 0
        found = _Kept(edge, {word: p.head(edge) for word, p in now.items()}, line)
        with self._guard:
            self._forget(name)
            self._held[name] = found
            self._bytes += found.size
            while self._bytes > self._limit and len(self._held) > 1:
                self._forget(next(iter(self._held)))
        return line

    def _forget(self, name: Name) -> None:
        held = self._held.pop(name, None)
        self._bytes -= held.size if held is not None else 0


def rows_of(module: ScoreModule, view: MarketView, bars: int, compute: Callable[[int], Timeline]) -> Timeline:
    """`compute(bars)`, by way of the view's memory where it has one. A view with an account is of one moment."""
    return view.kept.rows(module, view, bars, compute) if isinstance(view.kept, KeptRows) and view.account is None else compute(bars)


def _inputs(module: ScoreModule, view: MarketView) -> Iterator[tuple[str, Prefixes]]:
    """Every input the module may read, by name; a hole that turns out to have been a halt makes another input of it."""
    for number, need in enumerate(module.needs):
        if need in view.group:
            for symbol, candles in view.group[need].items():
                yield f"{number} {symbol} {candles.halts}", Prefixes(candles.close_time, [getattr(candles, c) for c in COLUMNS])
        elif need in view.observed:
            rows = view.observed[need]
            yield str(number), Prefixes(rows.available_time, [rows.event_time, *rows.columns.values()], view.since_ms(need))
        elif need in view.series:
            candles = view.series[need]
            yield f"{number} {candles.halts}", Prefixes(candles.close_time, [getattr(candles, c) for c in COLUMNS])


def _continued(kept: _Kept, view: MarketView, now: Mapping[str, Prefixes], bars: int,
               compute: Callable[[int], Timeline]) -> Timeline | None:
    """The kept rows and the new ones; None where the view does not go on from where they were computed."""
    if now.keys() != kept.heads.keys():
        return None
    new = (view.as_of_ms - int(kept.line.close_time[-1])) // view.interval.ms
    if not 0 <= new <= MOST_NEW_BARS or new + NEWEST >= bars or len(kept.line.close_time) != bars:
        return None
    if not all(p.continues(kept.heads[word], kept.edge) for word, p in now.items()):
        return None
    fresh = compute(new + NEWEST)
    if len(fresh.close_time) != new + NEWEST or fresh.close_time[0] != kept.line.close_time[-1] or fresh.behind is not None:
        return None  # a hole: fewer bars closed than time went by
    return joined(kept.line, fresh, bars)


def joined(earlier: Timeline, fresh: Timeline, bars: int) -> Timeline | None:
    """`bars` rows that end with those of `fresh`, whose first are the last of `earlier`; None where they have not the same columns."""
    first, last = len(fresh.close_time), len(earlier.close_time)
    old = slice(last - NEWEST - (bars - first), last - NEWEST)
    if earlier.tracks.keys() != fresh.tracks.keys() or earlier.extra.keys() != fresh.extra.keys():
        return None
    if any((earlier.tracks[key].late_s is None) != (t.late_s is None) or earlier.tracks[key].step_s != t.step_s
           for key, t in fresh.tracks.items()):
        return None

    def both(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.concatenate((a[old], b))

    def track(a: Track, b: Track) -> Track:
        late_s = None if a.late_s is None or b.late_s is None else both(a.late_s, b.late_s)
        return replace(b, value=both(a.value, b.value), k=both(a.k, b.k), status=both(a.status, b.status), late_s=late_s)

    return replace(
        fresh, close_time=both(earlier.close_time, fresh.close_time), raw=both(earlier.raw, fresh.raw),
        score=both(earlier.score, fresh.score), coverage=both(earlier.coverage, fresh.coverage),
        tracks={key: track(earlier.tracks[key], t) for key, t in fresh.tracks.items()},
        contributions={key: both(earlier.contributions[key], c) for key, c in fresh.contributions.items()},
        extra={key: both(earlier.extra[key], e) for key, e in fresh.extra.items()})


def _arrays(line: Timeline) -> Iterator[np.ndarray]:
    yield from (line.close_time, line.raw, line.score, line.coverage, *line.contributions.values(), *line.extra.values())
    for t in line.tracks.values():
        yield from (t.value, t.k, t.status)
