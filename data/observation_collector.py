"""Filling the observation store: history where a source keeps it, the present where none does, again without harm."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from data.clock import Clock
from data.errors import DataError, InputError, LockHeld, RateLimited, SourceError
from data.market import DAY_MS, HOUR_MS, MINUTE_MS, VENUE, Market, parse_symbol
from data.observations import Kind, home_of
from data.sources.aggregator import BinanceAggregator
from data.sources.archive import Archive
from data.storage.observations import ObservationKey, ObservationStore

# How far apart rows normally are: within it of the newest stored row, there is nothing to ask.
PERIOD_MS: dict[Kind, int] = {
    Kind.FUNDING: HOUR_MS, Kind.OPEN_INTEREST: 5 * MINUTE_MS, Kind.GLOBAL_RATIO: 5 * MINUTE_MS, Kind.TOP_ACCOUNT_RATIO: 5 * MINUTE_MS,
    Kind.TOP_POSITION_RATIO: 5 * MINUTE_MS, Kind.TAKER_RATIO: 5 * MINUTE_MS, Kind.BASIS: 5 * MINUTE_MS, Kind.MARK_PRICE: HOUR_MS,
    Kind.INDEX_PRICE: HOUR_MS, Kind.PREMIUM_INDEX: HOUR_MS, Kind.ON_CHAIN: DAY_MS, Kind.STABLECOIN_SUPPLY: DAY_MS, Kind.FEAR_GREED: DAY_MS,
    Kind.HASH_RATE: DAY_MS, Kind.CONTINUOUS: HOUR_MS,
}
NOW_KINDS = (Kind.FUNDING_PREDICTED, Kind.OPTION_MARK, Kind.OPTION_OPEN_INTEREST, Kind.TICKER, Kind.BOOK_TICKER, Kind.AVERAGE_PRICE)
POSITIONING = (Kind.FUNDING, Kind.OPEN_INTEREST, Kind.GLOBAL_RATIO, Kind.TOP_ACCOUNT_RATIO, Kind.TOP_POSITION_RATIO, Kind.TAKER_RATIO,
               Kind.BASIS, Kind.PREMIUM_INDEX)
MACRO = (Kind.ON_CHAIN, Kind.STABLECOIN_SUPPLY, Kind.FEAR_GREED, Kind.HASH_RATE)
LONGEST_WAIT_S = 900
STAND_IN = "okx"
ARCHIVE_NAME = Archive.name


@dataclass
class Collected:
    """What became of one kind of one symbol; `failed` is empty when it could be had."""

    symbol: str
    kind: Kind
    added: int = 0
    present: int = 0
    sources: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: str = ""

    @property
    def words(self) -> str:
        where = f" from {' and '.join(self.sources)}" if self.sources else ""
        return f"{self.symbol} {self.kind}: {self.added:,} rows added{where}" + "".join(f"; {n}" for n in (*self.notes, self.failed) if n)


def collect_observations(store: ObservationStore, aggregator: BinanceAggregator, symbols: Sequence[str], kinds: Sequence[Kind],
                         start_ms: int, end_ms: int, *, clock: Clock, market: Market = Market.PERP,
                         progress: Callable[[Collected], None] | None = None, sleep: Callable[[float], None] = time.sleep,
                         cancelled: Callable[[], bool] = lambda: False) -> list[Collected]:
    """Bring the stored observations up to date in start <= event_time < end.

    What is stored is not asked for again, but for an hour of overlap at the newest end. A kind that no source gives ends with its
    reason in the answer, and the next one is tried. `market` decides for kinds that both markets have (ticker, mark price ...).
    """
    out: list[Collected] = []
    waited_s = 0.0
    named = [parse_symbol(symbol) for symbol in symbols]
    wants = dict.fromkeys((home_of(symbol, kind, market)[0] if kind in MACRO else symbol, kind) for symbol in named for kind in kinds)
    for symbol, kind in wants:
        if cancelled():
            break
        one = Collected(symbol, kind)
        try:
            stretches = _stretches(store, symbol, kind, market, start_ms, min(end_ms, clock.now_ms()))
            while stretches:
                try:
                    _collect(store, aggregator, one, stretches[0], market)
                    stretches.pop(0)
                    if not stretches and one.kind in POSITIONING and one.sources == [ARCHIVE_NAME]:
                        _stand_in(store, aggregator, one, start_ms, min(end_ms, clock.now_ms()), market)
                except RateLimited as limit:
                    left_s = max(0.05, (limit.retry_at_ms - clock.now_ms()) / 1000)
                    if waited_s + left_s > LONGEST_WAIT_S or cancelled():
                        raise
                    waited_s += left_s
                    while left_s > 0 and not cancelled():
                        sleep(min(left_s, 1.0))
                        left_s -= 1.0
        except (SourceError, InputError, DataError, LockHeld) as error:  # a store that is full or busy now may not be for the next kind
            one.failed = str(error)
        out.append(one)
        if progress is not None:
            progress(one)
    return out


def _stand_in(store: ObservationStore, aggregator: BinanceAggregator, one: Collected, start_ms: int, end_ms: int, market: Market) -> None:
    """Where the exchange's API does not answer and its archive ends yesterday: another venue's rows too, under its own name."""
    try:
        answer = aggregator.observations(one.kind, one.symbol, start_ms, end_ms, market=market, venue=STAND_IN)
    except RateLimited:
        raise
    except SourceError:
        return  # nobody stands in; the notes of the exchange's own answer say what is missing
    report = store.append(ObservationKey(one.symbol, one.kind, str(market), answer.venue), answer.observations)
    one.notes.append(f"{report.added:,} rows of {' and '.join(answer.sources)} (another exchange) beside it")


def _collect(store: ObservationStore, aggregator: BinanceAggregator, one: Collected, stretch: tuple[int, int], market: Market) -> None:
    answer = aggregator.observations(one.kind, one.symbol, *stretch, market=market)
    home, where = home_of(one.symbol, one.kind, market)
    report = store.append(ObservationKey(home, one.kind, where, answer.venue), answer.observations)
    one.added += report.added
    one.present = report.present
    one.sources += [name for name in answer.sources if name not in one.sources]
    one.notes += [note for note in answer.notes if note not in one.notes]
    if report.revised:
        one.notes.append(f"{report.revised} rows came with other values than stored; the first seen stay")


def _stretches(store: ObservationStore, symbol: str, kind: Kind, market: Market, start_ms: int, end_ms: int) -> list[tuple[int, int]]:
    """What to ask: the part before the first stored row, holes of a day and more, and the part after the last one."""
    if kind in NOW_KINDS or kind not in PERIOD_MS:
        return [(start_ms, end_ms)]
    home, where = home_of(symbol, kind, market)
    stored = [store.read(key, start_ms, end_ms).event_time for key in store.keys(home, kind)
              if key.market == where and (where == "none" or key.venue == VENUE)]
    have = np.unique(np.concatenate(stored)) if stored else np.empty(0, np.int64)
    if not len(have):
        return [(start_ms, end_ms)]
    period = PERIOD_MS[kind]
    out = []
    if have[0] - start_ms > max(DAY_MS, period):
        out.append((start_ms, int(have[0])))
    out += [(int(have[i]) + 1, int(have[i + 1])) for i in np.flatnonzero(np.diff(have) > max(DAY_MS, 2 * period))]
    if end_ms - have[-1] > period:
        out.append((max(start_ms, int(have[-1]) - HOUR_MS), end_ms))
    return [(a, b) for a, b in out if b > a]
