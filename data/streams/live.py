"""From a list of wishes to running streams: feeds, supervisors, recorder and the thread around them.

    live = LiveStreams(plan, sources, clock=..., random=..., sleep=asyncio.sleep)
    live.start(); live.health(); live.klines[Market.SPOT].holes(); live.books[Market.SPOT].top("BTCUSDT"); live.stop()
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from data.clock import Clock, age_text
from data.errors import InputError, SextantError
from data.market import Market, SeriesKey
from data.storage.flow_shelf import FlowShelf
from data.streams import hosts
from data.streams.batches import TickKind
from data.streams.book import LocalBook
from data.streams.book_feed import BookFeed, Record, TakeSnapshot
from data.streams.flow_tap import FlowTap, both
from data.streams.kline_feed import Backfill, KlineFeed, Sink
from data.streams.line import MAX_STREAMS, Sleep
from data.streams.recorder import TickRecorder
from data.streams.service import Chore, StreamService
from data.streams.supervisor import State, StreamStatus, Supervisor
from data.streams.trade_feed import BackfillTrades, TradeFeed

FLUSH_EVERY_S = 5.0


@dataclass(frozen=True)
class Plan:
    """What to stream.

    Attributes
    ----------
    series : closed candles to store
    books : symbols whose full book is kept
    ticks : symbols whose trades (and on perpetuals mark prices and forced orders) are received
    spot_base, futures_base : str
        One of hosts.SPOT, SPOT_443, SPOT_DATA_ONLY; the futures base without its route. Loopback in tests.
    """

    series: tuple[SeriesKey, ...] = ()
    books: tuple[tuple[Market, str], ...] = ()
    ticks: tuple[tuple[Market, str], ...] = ()
    spot_base: str = hosts.SPOT_DATA_ONLY
    futures_base: str = "wss://fstream.binance.com"
    record_diffs: bool = False
    book_speed_ms: int = 100


@dataclass(frozen=True)
class Sources:
    """What the feeds fetch and where they store; every callable is injected, none of them is built here.

    Attributes
    ----------
    store : callable (key, candles, source)
        Blocking and idempotent, e.g. `lambda key, candles, source: store.append(key, candles, provenance="LIVE", source=source)`.
    candles : async callable (key, start_ms, end_ms) -> Candles
        Closed candles with start <= open_time < end from REST.
    snapshots : mapping of Market to async callable (symbol) -> Snapshot
    newest : mapping of SeriesKey to open_time of the newest stored candle
    trades : mapping of Market to async callable (symbol, first id, last id) -> aggregated trades, optional
    recorder : TickRecorder, optional
    flow : FlowShelf, optional
        Where books and trades of the symbols whose book is kept are condensed to, by the second and the minute.
    """

    store: Sink
    candles: Backfill
    snapshots: Mapping[Market, TakeSnapshot]
    newest: Mapping[SeriesKey, int]
    trades: Mapping[Market, BackfillTrades] | None = None
    recorder: TickRecorder | None = None
    flow: FlowShelf | None = None
    flow_provenance: str = "LIVE"


@dataclass(frozen=True)
class HealthRow:
    """One line of the health table. `good` is False for anything a user should know about."""

    name: str
    state: str
    words: str
    age: str
    good: bool
    counts: Mapping[str, int]


class LiveStreams:
    """Feeds of a plan, and their thread. `feeds` exist from the start; nothing connects before `start`."""

    def __init__(self, plan: Plan, sources: Sources, *, clock: Clock, random: Random, sleep: Sleep = asyncio.sleep,
                 expected_s: Mapping[str, float | None] | None = None) -> None:
        self.plan, self.sources = plan, sources
        self._clock, self._random, self._sleep, self._expected_s = clock, random, sleep, expected_s
        self.klines = {market: KlineFeed([key for key in plan.series if key.market is market], sources.store, sources.candles,
                                         clock=clock, newest=sources.newest)
                       for market in Market if any(key.market is market for key in plan.series)}
        self.flows = {market: FlowTap(market, _of(plan.books, market), book=partial(self._book, market), traded=_of(plan.ticks, market),
                                      provenance=sources.flow_provenance)
                      for market in Market if sources.flow is not None and _of(plan.books, market)}
        self.books: dict[Market, BookFeed] = {}
        self.books |= {market: BookFeed(market, _of(plan.books, market), sources.snapshots[market], clock=clock, random=random,
                                       record=self._record(market), record_diffs=plan.record_diffs, speed_ms=plan.book_speed_ms)
                      for market in Market if _of(plan.books, market)}
        kinds = {Market.SPOT: (TickKind.AGG_TRADE,), Market.PERP: (TickKind.AGG_TRADE, TickKind.MARK_PRICE, TickKind.FORCE_ORDER)}
        self.trades = {market: TradeFeed(market, _of(plan.ticks, market), kinds[market], clock=clock, record=self._record(market),
                                         backfill=(sources.trades or {}).get(market))
                       for market in Market if _of(plan.ticks, market)}
        self._service = StreamService(self._build, on_stop=self._close)

    def start(self) -> None:
        if self.sources.recorder is not None and not self._service.running:
            self.sources.recorder.open()
        self._service.start()

    def stop(self) -> bool:
        """True when the thread is gone."""
        return self._service.stop()

    @property
    def running(self) -> bool:
        return self._service.running

    def status(self) -> tuple[StreamStatus, ...]:
        return self._service.status()

    def health(self) -> list[HealthRow]:
        """One row per connection, then the recorder."""
        now = self._clock.now_ms()
        problems = {feed.name: feed.problem for feed in self._feeds()}
        rows = []
        for status in self.status():
            problem = problems.get(status.name, "")
            words = f"{status.words}; {problem}" if problem else status.words
            age = age_text(now - status.last_message_ms) if status.last_message_ms else "nothing yet"
            rows.append(HealthRow(status.name, status.state, words, age, status.state is State.LIVE and not problem, status.counts))
        recorder = self.sources.recorder
        if recorder is not None:
            words = recorder.problem or f"{recorder.size() / (1 << 20):.1f} MiB of ticks kept"
            rows.append(HealthRow("tick recorder", "recording" if not recorder.problem else "waiting", words, "", not recorder.problem,
                                  dict(recorder.counts)))
        flow = self.sources.flow
        if flow is not None and self.flows:
            rows.append(HealthRow("order flow", "recording" if not flow.problem else "waiting", flow.problem or "books and trades "
                                                                                                                "condensed by "
                                  "the second and the minute", "", not flow.problem, {}))
        if self._service.failure:
            rows.append(HealthRow("stream thread", State.STOPPED, self._service.failure, "", False, {}))
        return rows

    # -----------------------------------------------------------------------------------------------------------------------

    def _feeds(self) -> list[KlineFeed | BookFeed | TradeFeed]:
        return [*self.klines.values(), *self.books.values(), *self.trades.values()]

    def _build(self) -> tuple[Sequence[Supervisor], Sequence[Chore]]:
        supervisors = []
        for feed in self._feeds():
            routes = hosts.route(feed.market, feed.streams, spot=self.plan.spot_base, futures=self.plan.futures_base)
            if len(routes) != 1:
                raise InputError(f"{feed.name}: expected streams of one route, got {', '.join(routes)}; split the feed")
            for base, streams in routes.items():
                if len(streams) > MAX_STREAMS:
                    raise InputError(f"{feed.name}: {len(streams)} streams do not fit one connection ({MAX_STREAMS}); ask for fewer")
                supervisors.append(Supervisor(base, streams, feed, clock=self._clock, sleep=self._sleep, random=self._random,
                                              expected_s=self._expected_s))
        chores: list[Chore] = [self._write_ticks] if self.sources.recorder is not None else []
        return supervisors, [*chores, self._write_flow] if self.flows else chores

    async def _write_flow(self) -> None:
        while True:
            await self._sleep(FLUSH_EVERY_S)
            for market, tap in self.flows.items():
                assert self.sources.flow is not None
                await asyncio.to_thread(self.sources.flow.store, market, tap.collect(self._clock.now_ms()))

    async def _write_ticks(self) -> None:
        recorder = self.sources.recorder
        assert recorder is not None
        while True:
            await self._sleep(FLUSH_EVERY_S)
            await asyncio.to_thread(recorder.flush_due, self._clock.now_ms())

    def _record(self, market: Market) -> Record | None:
        recorder, tap = self.sources.recorder, self.flows.get(market)
        record: Record | None = None
        if recorder is not None:
            record = partial(recorder.add, market)
        return record if tap is None else both(record, tap.record)

    def _book(self, market: Market, symbol: str) -> LocalBook | None:
        return self.books[market].book(symbol) if market in self.books else None

    def _close(self) -> None:
        for market, tap in self.flows.items():
            assert self.sources.flow is not None
            self.sources.flow.store(market, tap.collect(self._clock.now_ms()))
        if self.sources.recorder is not None:
            try:
                self.sources.recorder.close()
            except (SextantError, OSError) as error:
                self.sources.recorder.problem = f"the last ticks were not stored ({error})"


def _of(pairs: Sequence[tuple[Market, str]], market: Market) -> list[str]:
    return [symbol for where, symbol in pairs if where is market]
