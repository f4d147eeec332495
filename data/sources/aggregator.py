"""The source ladder: which source is asked, in which order, what is said about those that do not answer.

For each want the sources are tried from the best down: the exchange's API, its mirror that serves market data only, its archive,
another venue under its own name. A source that is blocked is left alone for half an hour; one that is down is passed over; one
that asks us to wait is waited for, never sidestepped by another door of the same house. Own files and the simulated exchange are
the last rungs, and they are not in here: they are the store and data/simulator.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from data.clock import Clock, iso
from data.errors import BadTime, InputError, NotOffered, RateLimited, SourceError, UnknownSymbol
from data.frames import EARLIEST_MS, Candles, concat
from data.market import DAY_MS, HOUR_MS, VENUE, Market, SeriesKey, worst_provenance
from data.observations import Kind, Observations
from data.sources.archive import DAY_FILES
from data.sources.base import Source, Window, cut
from data.sources.budget import Budget
from data.sources.endpoints import Endpoints
from data.sources.fields import joined
from data.sources.futures_rest import STATS_DAYS
from data.sources.health import HealthRow, degraded_sentences, health_row
from data.sources.parse_archive import METRIC_KINDS
from data.sources.parse_exchange_info import ExchangeInfo
from data.sources.parse_klines import Bars
from data.sources.ranges import checked_range, without
from data.sources.registry import SOURCES
from data.sources.transport import Transport

WORKERS = 4
PROBE_WAIT_S = 2.0
R = TypeVar("R")


@dataclass(frozen=True)
class Page:
    """What one request or file brought."""

    source: Source
    window: Window
    bars: Bars


@dataclass(frozen=True)
class Answered:
    """Observations with the names of the sources behind them and what they could not give.

    `venue` is whose data it is: binance, or the other vendor's short name.
    """

    observations: Observations
    sources: tuple[str, ...]
    notes: tuple[str, ...] = ()
    venue: str = VENUE


class BinanceAggregator:
    """Everything outside, behind one object. Thread-safe; builds no connection before it is asked.

    Parameters
    ----------
    state_folder : Path or None
        Where bans and blocks are remembered across restarts; None keeps them in memory.
    endpoints : Endpoints
        The frozen hosts, or loopback. With any loopback endpoint the world is simulated, and every source that is not on loopback
        is left out: real and simulated data are never mixed.
    sleep : callable
        Waits between tries of one request; injected by tests.
    """

    def __init__(self, state_folder: Path | None, clock: Clock, *, endpoints: Endpoints | None = None,
                 sleep: Callable[[float], None] = time.sleep) -> None:
        self.endpoints = endpoints or Endpoints()
        self.clock = clock
        self.budget = Budget(Path(state_folder) / "sources.json" if state_folder is not None else None, clock)
        self.transport = Transport(self.budget, clock, sleep=sleep)
        channels = self.endpoints.channels()
        self.sources: tuple[Source, ...] = tuple(
            make(self.transport, channels[make.channel_name], clock) for make in SOURCES if make.channel_name in channels)
        self._offset_ms: dict[str, int] = {}
        self._listed: dict[SeriesKey, int] = {}
        self._probe: dict[Future, Source] = {}
        self._guard = threading.Lock()

    @property
    def simulated(self) -> bool:
        return self.endpoints.simulated

    def close(self) -> None:
        self.transport.close()

    def source(self, channel_name: str) -> Source:
        """The source of a channel (api, mirror, fapi, eapi, archive, okx, ...), for what only it can do.

        Raises
        ------
        NotOffered
            When it is left out of this world.
        """
        for source in self.sources:
            if source.channel.name == channel_name:
                return source
        raise NotOffered(f"there is no source {channel_name} in this world; it has {', '.join(s.channel.name for s in self.sources)}")

    # -- probing ----------------------------------------------------------------------------------------------------------

    def start_probe(self, *, everybody: bool = False) -> None:
        """Ask the exchange's sources for something tiny, in the background; returns at once, so the first page need not wait.

        Vendors of daily series are asked too with `everybody`: their smallest answers are not small.
        """
        with self._guard:
            if self._probe:
                return
            asked = [source for source in self.sources if everybody or source.probed_at_start]
            pool = ThreadPoolExecutor(max_workers=len(asked) or 1, thread_name_prefix="probe")
            self._probe = {pool.submit(self._ping, source): source for source in asked}
            pool.shutdown(wait=False)

    def live_answers(self, wait_s: float = PROBE_WAIT_S) -> bool:
        """Whether a source of live candles answered the probe within `wait_s` (decisions.md 1)."""
        self.start_probe()
        deadline = time.monotonic() + wait_s
        pending = {future for future, source in self._probe.items() if source.confirms_gaps}
        while pending:
            done, _ = wait(pending, timeout=max(0.0, deadline - time.monotonic()), return_when="FIRST_COMPLETED")
            if not done:
                return False
            if any(future.result() for future in done):
                return True
            pending -= done
        return False

    def probe(self) -> tuple[HealthRow, ...]:
        """Ask them all again now and wait for the answers: for the doctor command and the page's button."""
        with self._guard:
            self._probe = {}
        self.start_probe(everybody=True)
        wait(self._probe)
        return self.health()

    def _ping(self, source: Source) -> bool:
        try:
            before = self.clock.now_ms()
            with self.transport.single_try():
                theirs = source.ping()
            if theirs is not None:
                self._offset_ms[source.channel.name] = theirs - (before + self.clock.now_ms()) // 2
        except NotOffered:
            return True  # it answers; it only does not have the thing that was asked for
        except (SourceError, InputError) as error:  # the latter where an answer blames a request that names nothing
            self.budget.failed(source.channel, str(error))
            return False
        return True

    def clock_offset_ms(self) -> int | None:
        """How far the exchange's clock is ahead of ours; None before it told its time."""
        for name in ("api", "mirror", "fapi"):
            if name in self._offset_ms:
                return self._offset_ms[name]
        return None

    # -- candles ----------------------------------------------------------------------------------------------------------

    def candle_sources(self, key: SeriesKey) -> list[Source]:
        """The ladder for candles of this series, best first."""
        return [source for source in self.sources if key.market in source.candle_markets]

    def pages(self, key: SeriesKey, ranges: Sequence[tuple[int, int]], *, workers: int = WORKERS) -> Iterator[Page]:
        """Candles of the half-open stretches, page by page, oldest first per source, `workers` requests at a time.

        Raises
        ------
        RateLimited
            Come back at `retry_at_ms` with what is still missing; pages yielded before are good.
        UnknownSymbol, UnknownInterval
            The exchange does not have this series, nor does its archive in this stretch.
        SourceError
            No source gave anything; the reasons of all are in the message.
        """
        left = [(a, b) for a, b in ranges if b > a]
        problems: list[str] = []
        answered = False
        unknown: UnknownSymbol | None = None
        for source in self.candle_sources(key):
            if not left:
                return
            if unknown is not None and source.confirms_gaps:
                continue  # another door of the same house
            try:
                left = self._after_listing(source, key, left)
                look = source.windows if unknown is None else source.published
                windows = [window for a, b in left for window in look(key, a, b)]
                for page in self._in_order(source, key, windows, workers):
                    yield page
                    if not source.confirms_gaps and problems and not len(page.bars.candles):
                        continue  # a file that is not published says nothing about a candle of which a better source could not be asked
                    answered = True
                    left = without(left, page.window)
                answered = answered or not left
            except RateLimited:
                raise
            except UnknownSymbol as error:  # delisted or settled, perhaps: the archive keeps what it had
                unknown = error
            except SourceError as error:
                problems.append(str(error))
        if unknown is not None and not answered:
            raise self._settled(key) or unknown
        if left and not answered:
            words = "; ".join(dict.fromkeys(problems)) or "nothing is published for these days yet"
            raise NotOffered(f"no source gave candles of {key}: {words}")

    def _settled(self, key: SeriesKey) -> UnknownSymbol | None:
        """What is said of a symbol that is only in the archive, and there at other times than asked for."""
        for source in self.candle_sources(key):
            try:
                month = "" if source.confirms_gaps else source.last_month(key)
            except SourceError:
                continue
            if month:
                return UnknownSymbol(f"{key.symbol} is not listed any more; the {source.name} has candles of it in {month}: ask for that")
        return None

    def _after_listing(self, source: Source, key: SeriesKey, left: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Leave out what lies before the first candle there is: a symbol listed last year needs no pages of the year before."""
        first = source.first_open_ms(key, left[0][0])
        if first is None:
            return [] if source.confirms_gaps else left
        floor = key.interval.floor(first)
        if source.confirms_gaps and floor > left[0][0] and key not in self._listed:  # its listing, or only a hole?
            oldest = source.first_open_ms(key, EARLIEST_MS)
            self._listed[key] = floor if oldest is None else key.interval.floor(oldest)
        return [(max(a, floor), b) for a, b in left if b > floor]

    def listed_from(self, key: SeriesKey) -> int | None:
        """open_time of the exchange's first candle of the series, where a request for older ones has shown it."""
        return self._listed.get(key)

    @staticmethod
    def _in_order(source: Source, key: SeriesKey, windows: list[Window], workers: int) -> Iterator[Page]:
        with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="fetch") as pool:
            waiting: deque[tuple[Window, Future[Bars]]] = deque()
            upcoming = iter(windows)
            try:
                while True:
                    while len(waiting) < 2 * workers and (window := next(upcoming, None)) is not None:
                        waiting.append((window, pool.submit(source.fetch, key, window)))
                    if not waiting:
                        return
                    window, future = waiting.popleft()
                    yield Page(source, window, future.result())
            finally:
                for _, future in waiting:
                    future.cancel()

    def candles(self, key: SeriesKey, start_ms: int, end_ms: int) -> Candles:
        """Closed candles with start <= open_time < end from the best source; for back-fills use data/collector.py.

        Raises
        ------
        BadTime
            For a stretch that is empty, upside down or in the future; otherwise as `pages`.
        """
        start_ms, end_ms = checked_range(key, start_ms, end_ms, self.clock.now_ms())
        found = sorted((page.bars.candles for page in self.pages(key, [(start_ms, end_ms)]) if len(page.bars.candles)),
                       key=lambda part: int(part.open_time[0]))
        return concat(found) if found else Candles.empty(key.interval)

    # -- everything else --------------------------------------------------------------------------------------------------

    def exchange_info(self, market: Market) -> ExchangeInfo:
        """Symbols, their state and trading rules, from the first of the exchange's APIs that answers.

        Raises
        ------
        SourceError
            None does.
        """
        return self._first(market, lambda source: source.exchange_info())

    def prices(self, market: Market) -> dict[str, float]:
        """Symbol to last price of all that trade, in one cheap request (weight 4 spot, 2 futures)."""
        return self._first(market, lambda source: source.last_prices())

    def _first(self, market: Market, ask: Callable[[Any], R]) -> R:
        """The answer of the first of the exchange's APIs for this market; passes over blocked and broken ones."""
        error: SourceError = NotOffered(f"no source for {market} prices and rules in this world")
        for source in self.sources:
            if source.confirms_gaps and market in source.candle_markets:
                try:
                    return ask(source)
                except RateLimited:
                    raise
                except SourceError as found:
                    error = found
        raise error

    def observations(self, kind: Kind, symbol: str, start_ms: int, end_ms: int, *, market: Market = Market.PERP,
                     venue: str = "") -> Answered:
        """Rows with start <= event_time < end.

        Where the exchange's API keeps only 30 days, older rows come from its archive; where the API does not answer, all the
        archive has. Trades of past days come from the archive first. Another venue is asked only when the exchange gives nothing
        at all, or when `venue` names it (okx), and is never mixed with it.

        Raises
        ------
        RateLimited, UnknownSymbol
            As `pages`.
        SourceError
            No source gave anything; the reasons of all are in the message.
        """
        if end_ms <= start_ms:
            raise BadTime(f"expected a start before the end, got {iso(start_ms)} to {iso(end_ms)}; swap them")
        now = self.clock.now_ms()
        able = [source for source in self.sources if kind in source.provides and source.serves(market, kind)
                and venue in ("", VENUE if not source.source_provenance.startswith("VENUE:") else source.source_provenance[6:])]
        own = [source for source in able if not source.source_provenance.startswith("VENUE:")]
        today, edge = now // DAY_MS * DAY_MS, now - STATS_DAYS * DAY_MS
        by_day = kind in DAY_FILES and start_ms < today
        if by_day:  # the archive has whole days, the APIs only the newest trades
            own.sort(key=lambda source: source.confirms_gaps)
        notes: list[str] = []
        parts: list[tuple[Source, Observations]] = []
        unknown: list[UnknownSymbol] = []
        for source in own:
            a, b = start_ms, end_ms
            if parts and by_day:  # the API adds what came after the archive's last row
                last = int(parts[0][1].event_time[-1])
                if parts[-1][0].confirms_gaps or end_ms - HOUR_MS <= last < end_ms <= today:
                    break
                a = last + 1
            elif parts:  # an earlier source answered: the archive adds only what lies before its first row
                if kind not in METRIC_KINDS or start_ms >= edge:
                    break
                b = int(parts[0][1].event_time.min()) if len(parts[0][1]) else end_ms
            if unknown and source.confirms_gaps:
                continue
            found = self._ask(source, kind, symbol, a, b, market, notes, unknown)
            if by_day and found is not None:
                found = cut(found, a, b)
                if not len(found) and not source.confirms_gaps:
                    continue
            if found is not None and (len(found) or not parts):
                if source is not own[0] and not parts and len(found) and not by_day:
                    notes.append(f"{kind} comes from the {source.name}: {source.lacks}")
                parts.append((source, found))
        if unknown and not any(len(found) for _, found in parts):
            raise unknown[0]
        if not any(len(found) for _, found in parts):
            for source in able:
                found = None if source in own else self._ask(source, kind, symbol, start_ms, end_ms, market, notes, unknown)
                if found is not None and len(found):
                    parts = [(source, found)]
                    if own:
                        notes.append(f"{kind} comes from {source.name}: {source.lacks}")
                    break
        if not parts:
            raise NotOffered(f"no source gave {kind} of {symbol}: {'; '.join(notes) or 'none provides it in this world'}")
        whole = joined(kind, [found for _, found in parts], worst_provenance([found.provenance for _, found in parts]))
        venue = parts[0][0].source_provenance.removeprefix("VENUE:") if parts[0][0] not in own else VENUE
        names = tuple(source.name for source, found in parts if len(found))
        return Answered(whole, names, tuple(dict.fromkeys(note for note in notes if note)), venue)

    @staticmethod
    def _ask(source: Source, kind: Kind, symbol: str, start_ms: int, end_ms: int, market: Market, notes: list[str],
             unknown: list[UnknownSymbol]) -> Observations | None:
        try:
            found = source.observations(kind, symbol, start_ms, end_ms, market)
        except RateLimited:
            raise
        except UnknownSymbol as error:
            unknown.append(error)
            return None
        except (SourceError, BadTime) as error:
            notes.append(str(error))
            return None
        notes.append(found.note)
        return found

    # -- what users read --------------------------------------------------------------------------------------------------

    def health(self) -> tuple[HealthRow, ...]:
        """One row per source, from what is known; asks nobody."""
        now = self.clock.now_ms()
        return tuple(health_row(source, self.budget.state(source.channel), now, self._offset_ms.get(source.channel.name))
                     for source in self.sources)

    def degraded(self) -> tuple[str, ...]:
        """Sentences for the banner: what does not work and what stands in for it. Empty while all is well or nothing was asked."""
        return degraded_sentences(self.sources, self.health(), self.clock_offset_ms())
