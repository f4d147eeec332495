"""Filling the stores: back-fill with progress and resume, gap repair, confirmed exchange gaps, closed candles from the stream.

What is stored is the only memory: a back-fill asks for what the store does not hold, so a killed one continues where it was, and a
finished one asks next to nothing. Rows are stored every few seconds' worth of pages, never an unfinished candle among them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from data.clock import Clock, iso
from data.errors import InputError, RateLimited, SourceError, UnknownSymbol
from data.market import MINUTE_MS, Market, SeriesKey
from data.sources.aggregator import BinanceAggregator, Page, checked_range
from data.sources.base import Source, Window
from data.storage.candles import CandleStore
from data.view import CONFIRMED, NOT_KNOWN, Gap

FLUSH_ROWS = 20_000  # held before they are stored: what a kill can cost is asked again, and a month's file is written a few times
LONGEST_WAIT_S = 900  # of waiting for the exchange in one back-fill; longer bans end it with the time in the report
SETTLE_MS = 10 * MINUTE_MS  # a hole younger than this may still be filled by the exchange: not confirmed yet
LISTED_REJECTED = 100
MOST_CHECKED_GAPS = 200  # holes asked for a second time in one run; the rest waits for the next
_QUIET_BARS = 24  # candles without volume or movement at the end that make a contract look settled


@dataclass(frozen=True)
class Progress:
    """Where a back-fill stands: bars of this series that are settled (stored, or known not to exist) of those asked for."""

    key: SeriesKey
    done_bars: int
    total_bars: int
    source: str
    rows_per_s: float
    note: str = ""

    @property
    def words(self) -> str:
        share = 100 * self.done_bars // max(1, self.total_bars)
        rest = f" from {self.source}, {self.rows_per_s:,.0f} rows/s" if self.source else ""
        return f"{self.key}: {self.done_bars:,} of {self.total_bars:,} candles ({share} %){rest}{'; ' + self.note if self.note else ''}"


@dataclass
class SeriesBackfill:
    """What a back-fill did to one series.

    `unlisted_bars` lie before the exchange's first candle; `unresolved_bars` are still missing, and `notes` say why, in words.
    """

    key: SeriesKey
    start_ms: int
    end_ms: int
    wanted_bars: int = 0
    already_stored: int = 0
    added: int = 0
    duplicates: int = 0
    conflicts: int = 0
    requests: int = 0
    unlisted_bars: int = 0
    unresolved_bars: int = 0
    confirmed: list[Gap] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)  # the first LISTED_REJECTED of them
    rejected_total: int = 0
    sources: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: str = ""

    def document(self) -> dict[str, Any]:
        """Plain values for `backfill --json`."""
        return {
            "symbol": self.key.symbol, "market": str(self.key.market), "interval": str(self.key.interval), "start": iso(self.start_ms),
            "end": iso(self.end_ms), "wanted": self.wanted_bars, "already_stored": self.already_stored, "added": self.added,
            "duplicates": self.duplicates, "conflicts": self.conflicts, "requests": self.requests, "before_listing": self.unlisted_bars,
            "missing": self.unresolved_bars,
            "confirmed_gaps": [{"start": iso(g.start), "end": iso(g.end), "bars": g.bars} for g in self.confirmed],
            "rejected": self.rejected, "rejected_total": self.rejected_total,
            "sources": self.sources, "notes": self.notes, "error": self.failed or None,
        }

    @property
    def words(self) -> str:
        parts = [f"{self.key}: {self.added:,} candles added", f"{self.already_stored:,} were stored"]
        parts += [f"{n:,} {what}" for n, what in ((self.conflicts, "conflicts kept aside"), (self.rejected_total, "rows refused"),
                                                  (sum(g.bars for g in self.confirmed), "confirmed missing at the exchange"),
                                                  (self.unresolved_bars, "still missing")) if n]
        return ", ".join(parts) + "".join(f"; {note}" for note in (*self.notes, self.failed) if note)


@dataclass
class BackfillReport:
    series: list[SeriesBackfill]
    seconds: float
    cancelled: bool = False

    @property
    def added(self) -> int:
        return sum(one.added for one in self.series)

    @property
    def rows_per_s(self) -> float:
        return self.added / self.seconds if self.seconds > 0 else 0.0

    def document(self) -> dict[str, Any]:
        return {"series": [one.document() for one in self.series], "added": self.added, "seconds": round(self.seconds, 3),
                "rows_per_s": round(self.rows_per_s), "cancelled": self.cancelled}


def never() -> bool:
    return False


def backfill(store: CandleStore, aggregator: BinanceAggregator, keys: Sequence[SeriesKey], start_ms: int, end_ms: int, *, clock: Clock,
             progress: Callable[[Progress], None] | None = None, sleep: Callable[[float], None] = time.sleep,
             cancelled: Callable[[], bool] = never) -> BackfillReport:
    """Bring the stored candles of each key up to date in start <= open_time < end, from the best source that answers.

    One series after another, several requests at a time. A series that cannot be had ends with `failed` in its report and the next
    one is tried; what was stored before stays. A limit of the exchange is waited for, up to LONGEST_WAIT_S in all.

    Raises
    ------
    BadTime
        The range is upside down, empty or in the future: nothing is asked.
    InputError
        Of a single key: the symbol or interval is wrong. Of several, it stands in the report.
    """
    began = time.monotonic()
    work = _Backfill(store, aggregator, clock, progress, sleep, cancelled)
    ranges = [checked_range(key, start_ms, end_ms, clock.now_ms()) for key in keys]
    series = []
    for key, (first, last) in zip(keys, ranges, strict=True):
        if cancelled():
            break
        series.append(work.one(key, first, last, alone=len(keys) == 1))
    return BackfillReport(series, time.monotonic() - began, cancelled())


def catch_up(store: CandleStore, aggregator: BinanceAggregator, keys: Sequence[SeriesKey], *, clock: Clock, most_bars: int = 5_000,
             **options: Any) -> BackfillReport:
    """From the last stored candle of each series to now: after a restart, a lost stream, a sleeping computer."""
    now = clock.now_ms()
    series, began, stopped = [], time.monotonic(), False
    for key in keys:
        last = store.last_close_ms(key)
        start = now - most_bars * key.interval.ms if last is None else last + 1 - key.interval.ms
        if key.interval.floor(now) <= key.interval.floor(start + key.interval.ms - 1):
            continue
        report = backfill(store, aggregator, [key], start, now, clock=clock, **options)
        series += report.series
        stopped = stopped or report.cancelled
    return BackfillReport(series, time.monotonic() - began, stopped)


def missing_ranges(store: CandleStore, key: SeriesKey, start_ms: int, end_ms: int) -> list[tuple[int, int]]:
    """Half-open stretches of the range that are neither stored nor confirmed as missing at the exchange."""
    step = key.interval.ms
    have = store.read(key, start_ms, end_ms).open_time
    edges = np.concatenate(([start_ms - step], have, [end_ms]))
    holes = [(int(edges[i]) + step, int(edges[i + 1])) for i in np.flatnonzero(np.diff(edges) > step)]
    confirmed = [(gap.start, gap.end + step) for gap in store.gaps(key) if gap.status == CONFIRMED]
    return [hole for hole in holes if not any(a <= hole[0] and hole[1] <= b for a, b in confirmed)]


class _Backfill:
    """One run over several series."""

    def __init__(self, store: CandleStore, aggregator: BinanceAggregator, clock: Clock, progress: Callable[[Progress], None] | None,
                 sleep: Callable[[float], None], cancelled: Callable[[], bool]) -> None:
        self._store, self._aggregator, self._clock = store, aggregator, clock
        self._progress, self._sleep, self._cancelled = progress, sleep, cancelled
        self._waited_s = 0.0

    def one(self, key: SeriesKey, start_ms: int, end_ms: int, *, alone: bool) -> SeriesBackfill:
        report = SeriesBackfill(key, start_ms, end_ms, wanted_bars=(end_ms - start_ms) // key.interval.ms)
        left = missing_ranges(self._store, key, start_ms, end_ms)
        report.already_stored = report.wanted_bars - _bars(left, key)
        self._tell(report, report.already_stored, 0.0)
        try:
            self._fetch(report, left)
            if not self._cancelled():
                self._check_gaps(report)
        except InputError as error:
            if alone:
                raise
            report.failed = str(error)
        except SourceError as error:
            report.failed = str(error)
        left = missing_ranges(self._store, key, start_ms, end_ms)
        listed = self._aggregator.listed_from(key) or start_ms
        report.unlisted_bars = _bars([(a, min(b, listed)) for a, b in left if a < listed], key)
        report.unresolved_bars = _bars(left, key) - report.unlisted_bars
        self._name_what_is_missing(report)
        self._tell(report, report.wanted_bars - report.unresolved_bars, 0.0)
        return report

    def _fetch(self, report: SeriesBackfill, left: list[tuple[int, int]]) -> None:
        while left and not self._cancelled():
            try:
                self._pages(report, left)
                return
            except RateLimited as limit:
                self._wait(report, limit)
            left = missing_ranges(self._store, report.key, report.start_ms, report.end_ms)

    def _pages(self, report: SeriesBackfill, left: list[tuple[int, int]]) -> None:
        key, began, rows = report.key, time.monotonic(), 0
        settled = report.wanted_bars - _bars(left, key)
        waiting: list[Page] = []
        held = 0
        try:
            for page in self._aggregator.pages(key, left):
                report.requests += 1
                waiting.append(page)
                held += len(page.bars.candles)
                rows += len(page.bars.candles)
                settled += (page.window.end_ms - page.window.start_ms) // key.interval.ms
                if held >= FLUSH_ROWS:
                    self._flush(report, waiting)
                    held = 0
                self._tell(report, settled, rows / max(1e-9, time.monotonic() - began), page.source.name)
                if self._cancelled():
                    return
        finally:
            self._flush(report, waiting)

    def _flush(self, report: SeriesBackfill, waiting: list[Page]) -> None:
        """Store the pages; only then are they forgotten."""
        for source in dict.fromkeys(page.source for page in waiting):
            pages = [page for page in waiting if page.source is source]
            for page in pages:
                report.rejected_total += len(page.bars.rejected)
                room = LISTED_REJECTED - len(report.rejected)
                report.rejected += [f"{source.name}: {words}" for words in page.bars.rejected[:room]]
            batches = [(source.name, page.bars.candles) for page in pages if len(page.bars.candles)]
            if not batches:
                continue
            done = self._store.append_all(report.key, batches, provenance=source.provenance)
            report.added += done.added
            report.duplicates += done.duplicates
            report.conflicts += done.conflicts
            if source.name not in report.sources:
                report.sources.append(source.name)
        waiting.clear()

    def _wait(self, report: SeriesBackfill, limit: RateLimited) -> None:
        """Sleep in short steps until the exchange may be asked again.

        Raises
        ------
        RateLimited
            When that is further away than this run may wait.
        """
        left_s = max(0.05, (limit.retry_at_ms - self._clock.now_ms()) / 1000)
        if self._waited_s + left_s > LONGEST_WAIT_S:
            raise limit
        settled = report.wanted_bars - _bars(missing_ranges(self._store, report.key, report.start_ms, report.end_ms), report.key)
        self._waited_s += left_s
        while left_s > 0 and not self._cancelled():
            self._tell(report, settled, 0.0, note=str(limit))  # each time: whoever is told may want to stop, and says so by raising
            step = min(left_s, 1.0)
            self._sleep(step)
            left_s -= step

    def _check_gaps(self, report: SeriesBackfill) -> None:
        """Ask a second time for every hole inside the stored range; what the exchange itself does not have is confirmed."""
        key, step = report.key, report.key.interval.ms
        young = self._clock.now_ms() - SETTLE_MS
        holes = [gap for gap in self._store.gaps(key)
                 if gap.status == NOT_KNOWN and gap.start < report.end_ms and gap.end >= report.start_ms
                 and gap.end + step <= young]
        sources = [source for source in self._aggregator.candle_sources(key) if source.confirms_gaps]
        if not sources:
            return
        for gap in holes[:MOST_CHECKED_GAPS]:
            if self._cancelled():
                return
            for source in sources:
                try:
                    found, whole = self._ask_again(report, source, gap)
                except RateLimited as limit:
                    self._wait(report, limit)
                    continue
                except (SourceError, UnknownSymbol):
                    continue  # the next source may answer; without an answer nothing is confirmed
                if not found and whole:
                    day = iso(self._clock.now_ms())[:10]
                    self._store.confirm_gap(key, gap.start, gap.end, f"{source.name} has no candles there (asked {day})")
                    report.confirmed.append(gap)
                break

    def _ask_again(self, report: SeriesBackfill, source: Source, gap: Gap) -> tuple[bool, bool]:
        """Whether rows came after all (they are stored), and whether no row was refused."""
        key, found, whole = report.key, False, True
        for window in source.windows(key, gap.start, gap.end + key.interval.ms):
            bars = source.fetch(key, window)
            report.requests += 1
            whole = whole and not bars.rejected and not bars.open_rows
            if len(bars.candles):
                found = True
                self._flush(report, [Page(source, Window(window.start_ms, window.end_ms), bars)])
        return found, whole

    def _name_what_is_missing(self, report: SeriesBackfill) -> None:
        key, step = report.key, report.key.interval.ms
        stored = self._store.read(key, report.start_ms, report.end_ms)
        if not len(stored):
            return
        first, last = int(stored.open_time[0]), int(stored.open_time[-1])
        if report.unlisted_bars:
            report.notes.append(f"the exchange has no candles before {iso(first)}")
        elif first > report.start_ms:
            report.notes.append(f"the first candle there is opened {iso(first)}: older ones were not published by {_names(report)}")
        if last + step < report.end_ms:
            report.notes.append(f"the last candle there is opened {iso(last)}: newer ones were not published by {_names(report)} yet")
        quiet = np.flatnonzero((stored.volume > 0) | (stored.high > stored.low))
        bars = len(stored) - 1 - (int(quiet[-1]) if len(quiet) else -1)
        if bars >= _QUIET_BARS:
            state = self._state_of(key)
            report.notes.append(f"the last {bars:,} candles have no volume and one price: {key.symbol} looks halted or settled{state}")

    def _state_of(self, key: SeriesKey) -> str:
        """The exchange's own word for the symbol's state, where it can be asked."""
        try:
            source: Any = self._aggregator.source("api" if key.market is Market.SPOT else "fapi")
            info = source.exchange_info().symbols.get(key.symbol)
        except SourceError:
            return ""
        return f" (the exchange says {info.status})" if info else " (the exchange does not list it)"

    def _tell(self, report: SeriesBackfill, settled: int, rate: float, source: str = "", note: str = "") -> None:
        if self._progress is not None:
            self._progress(Progress(report.key, min(settled, report.wanted_bars), report.wanted_bars, source, rate, note))


def _bars(ranges: Sequence[tuple[int, int]], key: SeriesKey) -> int:
    return sum((b - a) // key.interval.ms for a, b in ranges)


def _names(report: SeriesBackfill) -> str:
    return " and ".join(report.sources) or "the sources"
