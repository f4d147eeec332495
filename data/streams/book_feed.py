"""Order books of a few symbols, kept in step with the exchange; their tops sampled for whoever records or looks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from loguru import logger

from data.clock import Clock
from data.errors import DataError, SextantError
from data.market import Market
from data.streams.batches import Row, TickKind, rows_of, rows_of_book
from data.streams.book import BookTop, LocalBook
from data.streams.messages import BookTicker, DepthDiff, Snapshot
from data.streams.queues import Arrived
from data.streams.supervisor import Backoff, Hole

TakeSnapshot = Callable[[str], Awaitable[Snapshot]]
Record = Callable[[TickKind, str, Sequence[Row]], None]

SNAPSHOT_WAIT_S = 10.0
REACH_AGAIN_S = 60.0  # a book whose top left the snapshot's range is read afresh, but not all the time: a snapshot weighs 250
SAMPLE_LEVELS = 20


class NotSynchronised(DataError):
    """Some book has no snapshot yet."""


@dataclass
class _Kept:
    book: LocalBook
    backoff: Backoff
    try_ms: int = 0
    reach_ms: int = 0
    sampled_ms: int = 0
    heard: bool = False
    ticker: BookTicker | None = None
    problem: str = ""
    reasons: Counter[str] = field(default_factory=Counter)


class BookFeed:
    """A Feed (supervisor.py) of diff depth and bookTicker.

    Parameters
    ----------
    snapshot : async callable (symbol) -> Snapshot
        The exchange's REST depth, as deep as it goes.
    record : callable, optional
        Gets samples of the top 20 levels every `sample_ms`, and each bookTicker; with `record_diffs` also every changed level.
    speed_ms : int
        100, or 1000 on spot (250 and 500 on perpetuals).
    """

    def __init__(self, market: Market, symbols: Sequence[str], snapshot: TakeSnapshot, *, clock: Clock, random: Random,
                 record: Record | None = None, sample_ms: int = 1000, record_diffs: bool = False, tickers: bool = True,
                 speed_ms: int = 100, name: str = "order books") -> None:
        self.market = market
        self.name = f"{name} {market}"
        self.counts: Counter[str] = Counter()
        self._snapshot, self._clock, self._record = snapshot, clock, record
        self._suffix = "@depth" if speed_ms == 1000 and market is Market.SPOT else f"@depth@{speed_ms}ms"
        self._sample_ms, self._record_diffs, self._tickers = sample_ms, record_diffs, tickers
        self._kept = {symbol: _Kept(LocalBook(symbol, market), Backoff(random)) for symbol in symbols}

    @property
    def streams(self) -> tuple[str, ...]:
        depth = [symbol.lower() + self._suffix for symbol in self._kept]
        return tuple(depth + ([f"{symbol.lower()}@bookTicker" for symbol in self._kept] if self._tickers else []))

    @property
    def problem(self) -> str:
        told = [f"{symbol}: {kept.problem or kept.book.reason}" for symbol, kept in self._kept.items() if kept.book.needs_snapshot]
        return "; ".join(told)

    def book(self, symbol: str) -> LocalBook:
        return self._kept[symbol].book

    def top(self, symbol: str, n: int = SAMPLE_LEVELS) -> BookTop | None:
        """None while the book is not synchronised: a stale book is never shown as a live one."""
        book = self._kept[symbol].book
        return book.top(n) if book.synchronised else None

    def ticker(self, symbol: str) -> BookTicker | None:
        return self._kept[symbol].ticker

    # -- the Feed's two methods ---------------------------------------------------------------------------------------------

    async def fill(self, hole: Hole) -> None:
        """Every book is read afresh; the changes that arrive meanwhile wait in the queue and continue it."""
        for kept in self._kept.values():
            kept.book.lose(f"the stream was interrupted ({hole.reason})")
            kept.backoff.reset()
        await asyncio.gather(*(self._synchronise(kept) for kept in self._kept.values()))
        if self.problem:
            raise NotSynchronised(self.problem[:200])

    async def take(self, batch: Sequence[Arrived]) -> None:
        for arrived in batch:
            message = arrived.message
            kept = self._kept.get(getattr(message, "symbol", ""))
            if kept is None:
                self.counts["of another symbol"] += 1
            elif isinstance(message, DepthDiff):
                was = kept.book.synchronised
                if kept.book.apply(message):
                    self._sample(kept, arrived.received_ms)
                elif was and not kept.book.synchronised:
                    self.counts["resyncs"] += 1
                    logger.info("{}: book lost, {}", kept.book.symbol, kept.book.reason)
                self._keep(message, arrived.received_ms, self._record_diffs)
            elif isinstance(message, BookTicker):
                kept.ticker = message
                self._keep(message, arrived.received_ms, True)
        now = self._clock.now_ms()
        due = [kept for kept in self._kept.values() if (kept.book.needs_snapshot and now >= kept.try_ms) or self._out_of_reach(kept, now)]
        if due:
            await asyncio.gather(*(self._synchronise(kept) for kept in due))

    # -----------------------------------------------------------------------------------------------------------------------

    async def _synchronise(self, kept: _Kept) -> None:
        """One try. The book is synchronised afterwards, or `problem` says why not and `try_ms` when to try again."""
        book = kept.book
        self.counts["snapshots"] += 1
        try:
            async with asyncio.timeout(SNAPSHOT_WAIT_S):
                snapshot = await self._snapshot(book.symbol)
        except (SextantError, OSError, TimeoutError) as error:
            kept.problem = f"no snapshot ({type(error).__name__}: {str(error)[:100]})"
        else:
            if book.synchronised and snapshot.last_id < book.last_id:
                return  # only its reach was wanted, and what we have is newer
            kept.problem = "" if book.start(snapshot) else "the snapshot is older than the first change"
        if book.synchronised:
            kept.backoff.reset()
            kept.try_ms = 0
        else:
            kept.try_ms = self._clock.now_ms() + round(kept.backoff.next_s() * 1000)

    def _out_of_reach(self, kept: _Kept, now: int) -> bool:
        if not kept.book.synchronised or now < kept.reach_ms:
            return False
        kept.reach_ms = now + round(REACH_AGAIN_S * 1000)
        return not kept.book.top(SAMPLE_LEVELS).complete and all(kept.book.levels)

    def _sample(self, kept: _Kept, received_ms: int) -> None:
        if self._record is not None and received_ms - kept.sampled_ms >= self._sample_ms:
            kept.sampled_ms = received_ms
            self._record(TickKind.BOOK, kept.book.symbol, rows_of_book(kept.book.top(SAMPLE_LEVELS), received_ms))

    def _keep(self, message: DepthDiff | BookTicker, received_ms: int, wanted: bool) -> None:
        if wanted and self._record is not None:
            found = rows_of(message, received_ms)
            if found is not None and found[2]:
                self._record(*found)
