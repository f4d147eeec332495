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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from analysis.module import ScoreModule, Timeline, Track
from analysis.remembered import OfObject
from data.frames import COLUMNS, Candles
from data.market import Market
from data.observations import Observations
from data.view import MarketView, Need

MEMORY_BYTES = 32 << 20
MOST_NEW_BARS = 6
MOST_PARTS = 1024  # ten of each of fifty symbols and more
HEAD_ROWS = 400  # rows at the start of each input that may have left the next view
NEWEST = 1  # of the kept rows: it knew its own age, which no earlier row feels, so it is computed again

T = TypeVar("T")
Name = tuple[str, str, str, str, Market, str]


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

    @property
    def whole(self) -> tuple[int, int]:
        """How many rows there are, and what stands for all of them."""
        return len(self.times), int(self._sums[-1])

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
        self._parts: OrderedDict[Name, tuple[tuple[Any, ...], Any]] = OrderedDict()
        self._guard = threading.Lock()

    @property
    def bytes(self) -> int:
        """How much is held."""
        return self._bytes

    def rows(self, module: ScoreModule, view: MarketView, bars: int, compute: Callable[[int], Timeline], *, part: str = "",
             needs: Sequence[Need] | None = None) -> Timeline:
        """The newest `bars` rows: `compute(bars)`, or earlier rows and `compute` of those that are new.

        `part` names rows that are a part of what the module computes, and `needs` those of its inputs that the part reads.
        """
        name = _name(module, part, view)
        with self._guard:
            kept = self._held.get(name)
        now = dict(_inputs(module.needs if needs is None else needs, view))
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

    def unchanged(self, module: ScoreModule, view: MarketView, part: str, needs: Sequence[Need], closed: np.ndarray,
                  compute: Callable[[], T]) -> T:
        """See `unchanged` below."""
        if len(closed) > MOST_NEW_BARS:
            return compute()  # many rows, which `rows` keeps
        name = _name(module, part, view)
        words = ((view.why_absent(need), view.observed[need].note if need in view.observed else "") for need in needs)
        content = (view.at_ms, closed.tobytes(), *words, *((word, p.whole) for word, p in _inputs(needs, view)))
        with self._guard:
            held = self._parts.get(name)
        if held is not None and held[0] == content:
            return held[1]
        found = compute()
        with self._guard:
            self._parts[name] = (content, found)
            self._parts.move_to_end(name)
            while len(self._parts) > MOST_PARTS:
                self._parts.popitem(last=False)
        return found

    def _forget(self, name: Name) -> None:
        held = self._held.pop(name, None)
        self._bytes -= held.size if held is not None else 0


def _name(module: ScoreModule, part: str, view: MarketView) -> Name:
    return module.letter, part, repr(getattr(module, "config", "")), view.symbol, view.market, str(view.interval)


def rows_of(module: ScoreModule, view: MarketView, bars: int, compute: Callable[[int], Timeline]) -> Timeline:
    """`compute(bars)`, by way of the view's memory where it has one. A view with an account is of one moment."""
    return view.kept.rows(module, view, bars, compute) if isinstance(view.kept, KeptRows) and view.account is None else compute(bars)


def unchanged(module: ScoreModule, view: MarketView, part: str, needs: Sequence[Need], closed: np.ndarray, compute: Callable[[], T]) -> T:
    """What a part of a module came to when the view of this very moment was last asked, or `compute()`.

    For parts that read `needs`, the moment and the close times `closed` of the rows and nothing else: where another input moves, as the
    newest candle at a tick, they stay as they are. Nobody changes what is handed out.
    """
    return view.kept.unchanged(module, view, part, needs, closed, compute) if isinstance(view.kept, KeptRows) else compute()


def tables_of(module: ScoreModule, view: MarketView, part: str, needs: Sequence[Need], closed: np.ndarray, into: Sequence[dict[str, Any]],
              fill: Callable[..., T]) -> T:
    """`unchanged` for a part that fills tables: `fill(*tables)` adds to each of `into` what it adds to its own."""
    def computed() -> tuple[Sequence[dict[str, Any]], T]:
        tables: Sequence[dict[str, Any]] = [{} for _ in into]
        return tables, fill(*tables)

    tables, answer = unchanged(module, view, part, needs, closed, computed)
    for target, table in zip(into, tables, strict=True):
        target.update(table)
    return answer


def columns_of(module: ScoreModule, view: MarketView, close_time: np.ndarray, part: str, needs: Sequence[Need], bars: int,
               compute: Callable[[int], Mapping[str, np.ndarray]]) -> Mapping[str, np.ndarray]:
    """The newest `bars` rows of a part of a module: statistics of windows, which a new bar leaves as they were.

    `compute(count)` gives columns of the newest `count` rows; `close_time` are those of the view's own series, at least `bars` of them.
    """
    def rows(count: int) -> Timeline:
        nothing = np.zeros(count)
        return Timeline(close_time[len(close_time) - count :], nothing, nothing, nothing, {}, {}, compute(count))

    if not isinstance(view.kept, KeptRows):
        return compute(bars)
    return view.kept.rows(module, view, bars, rows, part=part, needs=needs).extra


def _inputs(needs: Sequence[Need], view: MarketView) -> Iterator[tuple[str, Prefixes]]:
    """Every input that is read, by name; a hole that turns out to have been a halt makes another input of it."""
    for number, need in enumerate(needs):
        if need in view.group:
            for symbol, candles in view.group[need].items():
                yield f"{number} {symbol} {candles.halts}", _prefixes_of(candles)
        elif need in view.observed:
            rows = view.observed[need]
            yield f"{number}", _prefixes_of(rows, view.since_ms(need))
        elif need in view.series:
            candles = view.series[need]
            yield f"{number} {candles.halts}", _prefixes_of(candles)


_prefixes: OfObject[Prefixes] = OfObject()


def _prefixes_of(rows: Candles | Observations, since: int | None = None) -> Prefixes:
    """Those of an input, made once for all modules and parts that read it."""
    found = _prefixes.get(rows)
    if found is None or found.since != since:
        if isinstance(rows, Candles):
            found = Prefixes(rows.close_time, [getattr(rows, name) for name in COLUMNS])
        else:
            found = Prefixes(rows.available_time, [rows.event_time, *rows.columns.values()], since)
        _prefixes.put(rows, found)
    return found


def _continued(kept: _Kept, view: MarketView, now: Mapping[str, Prefixes], bars: int,
               compute: Callable[[int], Timeline]) -> Timeline | None:
    """The kept rows and the new ones; None where the view does not go on from where they were computed."""
    if now.keys() != kept.heads.keys():
        return None
    new = (view.as_of_ms - int(kept.line.close_time[-1])) // view.interval.ms
    if not 0 <= new <= MOST_NEW_BARS or new + NEWEST + 1 >= bars or len(kept.line.close_time) < bars:
        return None
    if not all(p.continues(kept.heads[word], kept.edge) for word, p in now.items()):
        return None
    count = max(new, 1) + NEWEST  # as many at a tick as at the next bar, so that parts of them are found
    fresh = compute(count)
    if len(fresh.close_time) != count or fresh.close_time[0] != kept.line.close_time[new - count] or fresh.behind is not None:
        return None  # a hole: fewer bars closed than time went by
    return joined(kept.line, fresh, bars, count - new)


def joined(earlier: Timeline, fresh: Timeline, bars: int, shared: int) -> Timeline | None:
    """`bars` rows that end with those of `fresh`, the first `shared` of which are the last of `earlier`; None where they have not the same
    columns."""
    first, last = len(fresh.close_time), len(earlier.close_time)
    old = slice(last - shared - (bars - first), last - shared)
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
