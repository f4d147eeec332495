"""Trades, mark prices and forced orders: the recent ones in memory, all of them to the recorder.

Aggregated trades are numbered without holes, so what was missed is known exactly: it is fetched by number when the source can,
and otherwise kept as a hole that consumers can see. The other kinds have no history to fetch.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from data.clock import Clock
from data.errors import InputError, SextantError
from data.market import Market
from data.observations import Kind, Observations
from data.streams.batches import Row, TickKind, columns_of, observations_of, rows_of
from data.streams.book_feed import Record
from data.streams.messages import AggTrade, ForceOrder, MarkPrice, Message, Trade
from data.streams.queues import Arrived
from data.streams.supervisor import Hole

BackfillTrades = Callable[[str, int, int], Awaitable[Sequence[AggTrade]]]  # (symbol, first id, last id), both included

RECENT_ROWS = 20_000  # per symbol and kind: minutes to hours of trades, and a day of mark prices
RECENT_IDS = 4_096  # for recognising duplicates across a planned reconnect
HOLES_KEPT = 1_000
ASK_MOST = 50_000  # a longer hole of trades is left to the archives
_SUFFIX = {TickKind.AGG_TRADE: "@aggTrade", TickKind.TRADE: "@trade", TickKind.MARK_PRICE: "@markPrice@1s",
           TickKind.FORCE_ORDER: "@forceOrder"}
_OF_MARKET = {Market.SPOT: (TickKind.AGG_TRADE, TickKind.TRADE),
              Market.PERP: (TickKind.AGG_TRADE, TickKind.MARK_PRICE, TickKind.FORCE_ORDER)}  # @trade is not in the futures catalog
_KIND_OF = {Kind.AGG_TRADES: TickKind.AGG_TRADE, Kind.TRADES: TickKind.TRADE, Kind.MARK_PRICE: TickKind.MARK_PRICE,
            Kind.INDEX_PRICE: TickKind.MARK_PRICE, Kind.FUNDING_PREDICTED: TickKind.MARK_PRICE, Kind.LIQUIDATIONS: TickKind.FORCE_ORDER}


class MissedTrades(NamedTuple):
    symbol: str
    kind: TickKind
    first_id: int
    last_id: int


class TradeFeed:
    """A Feed (supervisor.py) of ticks.

    Parameters
    ----------
    kinds : sequence of TickKind
        Any of AGG_TRADE, TRADE (spot), MARK_PRICE and FORCE_ORDER (perpetuals).
    backfill : async callable, optional
        Aggregated trades by number, for the hole after an interruption.
    """

    def __init__(self, market: Market, symbols: Sequence[str], kinds: Sequence[TickKind] = (TickKind.AGG_TRADE,), *, clock: Clock,
                 record: Record | None = None, backfill: BackfillTrades | None = None, recent_rows: int = RECENT_ROWS,
                 name: str = "trades") -> None:
        unknown = [kind for kind in kinds if kind not in _OF_MARKET[market]]
        if unknown:
            raise InputError(f"{market} has no stream of {', '.join(unknown)}")
        self.market = market
        self.name = f"{name} {market}"
        self.counts: Counter[str] = Counter()
        self.problem = ""
        self.missed: deque[MissedTrades] = deque(maxlen=HOLES_KEPT)
        self._symbols, self._kinds = tuple(symbols), tuple(kinds)
        self._clock, self._record, self._backfill = clock, record, backfill
        self._rows: dict[tuple[TickKind, str], deque[Row]] = {
            (kind, symbol): deque(maxlen=recent_rows) for kind in kinds for symbol in symbols}
        self._last_id: dict[tuple[TickKind, str], int] = {}
        self._seen: dict[tuple[TickKind, str], tuple[set[int], deque[int]]] = {
            place: (set(), deque()) for place in self._rows}
        self._reading = threading.Lock()

    @property
    def streams(self) -> tuple[str, ...]:
        return tuple(f"{symbol.lower()}{_SUFFIX[kind]}" for kind in self._kinds for symbol in self._symbols)

    def recent(self, symbol: str, kind: Kind, *, provenance: str = "LIVE") -> Observations:
        """What is in memory, oldest first. Safe to call from any thread."""
        tick = _KIND_OF[kind]
        with self._reading:
            rows = list(self._rows.get((tick, symbol), ()))
        if not rows:
            return Observations.empty(kind, provenance=provenance, note="nothing received yet")
        return observations_of(tick, columns_of(tick, rows), provenance=provenance)[kind]

    # -- the Feed's two methods ---------------------------------------------------------------------------------------------

    async def fill(self, hole: Hole) -> None:
        """Nothing yet: how much was missed is known when the first message after the hole arrives."""

    async def take(self, batch: Sequence[Arrived]) -> None:
        for arrived in batch:
            messages = arrived.message if isinstance(arrived.message, list) else [arrived.message]
            for message in messages:
                if isinstance(message, (AggTrade, Trade)):
                    await self._trade(message, arrived.received_ms)
                elif isinstance(message, (MarkPrice, ForceOrder)):
                    self._keep(message, arrived.received_ms)

    # -----------------------------------------------------------------------------------------------------------------------

    async def _trade(self, message: AggTrade | Trade, received_ms: int) -> None:
        kind, number = (TickKind.AGG_TRADE, message.agg_id) if isinstance(message, AggTrade) else (TickKind.TRADE, message.trade_id)
        place = (kind, message.symbol)
        if place not in self._rows:
            self.counts["of another symbol"] += 1
            return
        if self._known(place, number):
            self.counts["duplicates"] += 1
            return
        last = self._last_id.get(place)
        if last is not None and number > last + 1:
            await self._missed(place, last + 1, number - 1)
        self._last_id[place] = max(number, last if last is not None else number)
        self._keep(message, received_ms)

    async def _missed(self, place: tuple[TickKind, str], first: int, last: int) -> None:
        kind, symbol = place
        found: Sequence[AggTrade] = ()
        if self._backfill is not None and kind is TickKind.AGG_TRADE and last - first < ASK_MOST:
            try:
                found = await self._backfill(symbol, first, last)
                self.problem = ""
            except (SextantError, OSError, TimeoutError) as error:
                self.problem = f"{symbol}: {last - first + 1} trades were missed and could not be fetched ({str(error)[:100]})"
        now = self._clock.now_ms()
        have = set()
        for trade in sorted(found, key=lambda each: each.agg_id):
            if first <= trade.agg_id <= last and not self._known(place, trade.agg_id):
                have.add(trade.agg_id)
                self._keep(trade, now)  # known only now: a view of the past must not contain them
        self.counts["fetched"] += len(have)
        if len(have) < last - first + 1:
            self.missed.append(MissedTrades(symbol, kind, first, last))
            self.counts["missed"] += last - first + 1 - len(have)

    def _known(self, place: tuple[TickKind, str], number: int) -> bool:
        """Has this number been seen among the last few thousand? Remembers it."""
        seen, order = self._seen[place]
        if number in seen:
            return True
        seen.add(number)
        order.append(number)
        if len(order) > RECENT_IDS:
            seen.discard(order.popleft())
        return False

    def _keep(self, message: Message, received_ms: int) -> None:
        found = rows_of(message, received_ms)
        if found is None:
            return
        kind, symbol, rows = found
        place = self._rows.get((kind, symbol))
        if place is None:
            self.counts["of another symbol"] += 1
            return
        with self._reading:
            place.extend(rows)
        if self._record is not None:
            self._record(kind, symbol, rows)
