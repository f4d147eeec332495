"""What the venue knows at a moment, in Binance's own spelling: candle rows, tickers, quotes and book snapshots.

Nothing here speaks HTTP: REST and streams print the same figures from the same functions. A moment includes the trades at it.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from data.clock import Clock
from data.frames import Candles
from data.market import DAY_MS, HOUR_MS, MINUTE_MS, Interval, Market
from data.simulator.market import EPOCH_MS
from data.simulator.tape import Tape
from data.simulator.tickbook import ID_STRIDE, Floor, step_at

SPOT_INTERVALS = ("1s", *(i.value for i in Interval), "1M")
PERP_INTERVALS = (*(i.value for i in Interval), "1M")
SECOND_MS = 1_000

# t, o, h, l, c, volume, T, quote, count, taker base, taker quote
Row = tuple[int, float, float, float, float, float, int, float, int, float, float]


@dataclass(frozen=True)
class Spelling:
    """How many decimals a symbol's numbers are printed with: spot pads to eight, futures to tick and step."""

    price: int
    quantity: int
    quote: int

    def p(self, value: float) -> str:
        return f"{value:.{self.price}f}"

    def q(self, value: float) -> str:
        return f"{value:.{self.quantity}f}"

    def v(self, value: float) -> str:
        return f"{value:.{self.quote}f}"


def decimals(step: float) -> int:
    """Decimals of a tick or a step: 2 for 0.01."""
    return max(0, round(-np.log10(step)))


def month_open(ms: int) -> int:
    day = datetime.fromtimestamp(ms // 1000, UTC)
    return int(datetime(day.year, day.month, 1, tzinfo=UTC).timestamp()) * 1000


def next_month(ms: int) -> int:
    return month_open(month_open(ms) + 32 * DAY_MS)


def bar_open(interval: str, ms: int) -> int:
    """open_time of the bar that holds a moment; months by the calendar."""
    if interval == "1M":
        return month_open(ms)
    return ms // SECOND_MS * SECOND_MS if interval == "1s" else Interval(interval).floor(ms)


def bar_end(interval: str, opened: int) -> int:
    """open_time of the next bar."""
    if interval == "1M":
        return next_month(opened)
    return opened + (SECOND_MS if interval == "1s" else Interval(interval).ms)


def rows_of(candles: Candles) -> list[Row]:
    return list(zip(candles.open_time.tolist(), candles.open.tolist(), candles.high.tolist(), candles.low.tolist(),
                    candles.close.tolist(), candles.volume.tolist(), candles.close_time.tolist(), candles.quote_volume.tolist(),
                    candles.count.astype(np.int64).tolist(), candles.taker_buy_volume.tolist(),
                    candles.taker_buy_quote_volume.tolist(), strict=True))


def joined(opened: int, closes: int, rows: list[Row]) -> Row:
    """One bar of consecutive shorter ones."""
    columns = list(zip(*rows, strict=True))
    return (opened, rows[0][1], max(columns[2]), min(columns[3]), rows[-1][4], sum(columns[5]), closes, sum(columns[7]),
            sum(columns[8]), sum(columns[9]), sum(columns[10]))


class VenueMarket:
    """Market data of every symbol at any moment.

    Parameters
    ----------
    seed : int
    clock : Clock
        The venue's time; every method also takes the moment it speaks of.
    """

    def __init__(self, seed: int, clock: Clock) -> None:
        self.clock = clock
        self.tape = Tape(seed, clock)
        self.floor = Floor(self.tape)
        self.beside: dict[str, Any] = {}  # what other layers remember of this market
        self.delisted: frozenset[str] = frozenset()  # REST and streams know them no more; the archive keeps them
        self._spelling: dict[tuple[str, Market], Spelling] = {}

    @property
    def symbols(self) -> tuple[str, ...]:
        return self.tape.symbols

    @property
    def listed(self) -> tuple[str, ...]:
        return tuple(s for s in self.tape.symbols if s not in self.delisted)

    def spelling(self, symbol: str, market: Market) -> Spelling:
        found = self._spelling.get((symbol, market))
        if found is None:
            item = self.tape.listing(symbol)
            found = Spelling(8, 8, 8) if market is Market.SPOT else Spelling(decimals(item.tick), decimals(item.step), 5)
            self._spelling[symbol, market] = found
        return found

    # -- candles ----------------------------------------------------------------------------------------------------

    def klines(self, symbol: str, market: Market, interval: str, start: int | None, end: int | None, limit: int, now: int) -> list[Row]:
        """Rows by Binance's paging rule: no times give the newest, startTime the oldest from there, endTime the newest up to there.

        The last row is the unfinished bar when the range reaches it.
        """
        last = bar_open(interval, min(now, end if end is not None else now))
        if interval == "1s":
            return self._seconds(symbol, market, start, last, limit, now)
        unfinished = [self.forming(symbol, market, interval, now)] if last == bar_open(interval, now) and (start or 0) <= last else []
        step = 31 * DAY_MS if interval == "1M" else Interval(interval).ms
        stop = last if unfinished else bar_end(interval, last)  # whole bars opened before it
        rows: list[Row] = []
        oldest = EPOCH_MS if step >= HOUR_MS else max(EPOCH_MS, now // DAY_MS * DAY_MS - 100 * DAY_MS)
        if start is not None:
            at = max(start, oldest)
            while at < stop and len(rows) < limit:
                until = min(stop, at + (limit - len(rows) + 1) * step)
                rows += self._whole(symbol, market, interval, at, until, now)
                at = until
            return (rows[:limit] if len(rows) >= limit else rows + [r for r in unfinished if r])
        until = stop
        while until > oldest and len(rows) < limit:
            at = max(oldest, until - (limit - len(rows) + 1) * step)
            rows = self._whole(symbol, market, interval, at, until, now) + rows
            until = at
        return (rows + [r for r in unfinished if r])[-limit:]

    def _whole(self, symbol: str, market: Market, interval: str, start: int, end: int, now: int) -> list[Row]:
        """Closed bars with start <= open_time < end."""
        if interval != "1M":
            return rows_of(self.tape.candles(symbol, market, Interval(interval), start, end).closed_before(now))
        days = rows_of(self.tape.candles(symbol, market, Interval.D1, month_open(start), next_month(end)))
        opened = [d[0] for d in days]
        out, at = [], month_open(start)
        while at < end:
            part = days[bisect_left(opened, at):bisect_left(opened, next_month(at))]
            if part and at >= start and next_month(at) <= now:
                out.append(joined(at, next_month(at) - 1, part))
            at = next_month(at)
        return out

    def forming(self, symbol: str, market: Market, interval: str, now: int) -> Row | None:
        """The bar under way, from the hours, minutes and trades up to now; None where it holds nothing because of a hole."""
        opened = bar_open(interval, now)
        closes = bar_end(interval, opened) - 1
        hour, minute = now // HOUR_MS * HOUR_MS, now // MINUTE_MS * MINUTE_MS
        rows: list[Row] = []
        if opened < hour:
            rows += rows_of(self.tape.hours(symbol, market, opened, hour))
        first = max(opened, hour)
        if first < minute:
            rows += rows_of(self.tape.minutes(symbol, market, first, minute))
        rows += self.piece(symbol, market, max(opened, minute), now)
        return joined(opened, closes, rows) if rows else None

    def piece(self, symbol: str, market: Market, start: int, now: int) -> list[Row]:
        """Trades with start <= time <= now inside one minute, as one row; flat at the last price before the first trade."""
        minute = start // MINUTE_MS * MINUTE_MS
        flow = self.floor.flow(symbol, market, minute)
        if flow is None:
            return []
        a, b = (int(i) for i in np.searchsorted(flow.time, (start, now + 1)))
        if a == b:
            found = self.tape.minute(symbol, market, minute)
            flat = float(flow.price[a - 1]) if a else float(found[0].open[found[1]]) if found else 0.0
            return [(start, flat, flat, flat, flat, 0.0, now, 0.0, 0, 0.0, 0.0)]
        price, size, maker = flow.price[a:b], flow.quantity[a:b], flow.buyer_is_maker[a:b]
        value = price * size
        return [(start, float(price[0]), float(price.max()), float(price.min()), float(price[-1]), float(size.sum()), now,
                 float(value.sum()), b - a, float(size[~maker].sum()), float(value[~maker].sum()))]

    def _seconds(self, symbol: str, market: Market, start: int | None, last: int, limit: int, now: int) -> list[Row]:
        first = last - (limit - 1) * SECOND_MS
        if start is not None:
            first = -(-start // SECOND_MS) * SECOND_MS
            last = min(last, first + (limit - 1) * SECOND_MS)
        out: list[Row] = []
        for at in range(first, last + 1, SECOND_MS):
            for row in self.piece(symbol, market, at, min(now, at + SECOND_MS - 1)):
                out.append((*row[:6], at + SECOND_MS - 1, *row[7:]))
        return out

    def kline(self, row: Row, spelling: Spelling, *, volumes: bool = True) -> list[Any]:
        """The twelve fields of a REST candle; index, mark and premium candles carry no volumes."""
        t, o, h, low, c, v, closes, quote, n, taker, taker_quote = row
        p, q, w = spelling.p, spelling.q, spelling.v
        if not volumes:
            return [t, p(o), p(h), p(low), p(c), "0", closes, "0", n, "0", "0", "0"]
        return [t, p(o), p(h), p(low), p(c), q(v), closes, w(quote), n, q(taker), w(taker_quote), "0"]

    # -- quotes -----------------------------------------------------------------------------------------------------

    def last_trade(self, symbol: str, market: Market, now: int) -> tuple[int, int, float, float, bool]:
        """The newest trade: (id, time, price, quantity, buyer is maker)."""
        start = now // MINUTE_MS * MINUTE_MS
        for back in range(60):
            found = self.floor.trades(symbol, market, start - back * MINUTE_MS, now + 1)
            if found:
                return found[-1]
        hours = self.tape.hours(symbol, market, None, now)
        return self.tape.trades_before(symbol, market, start), int(hours.close_time[-1]), float(hours.close[-1]), 0.0, False

    def best(self, symbol: str, market: Market, now: int) -> tuple[int, str, str, str, str]:
        """(update id, bid price, bid quantity, ask price, ask quantity)."""
        book = self.floor.book(symbol, market, step_at(now))
        item, spelling = self.tape.listing(symbol), self.spelling(symbol, market)
        (bid, bid_units), (ask, ask_units) = next(iter(book.bids.items())), next(iter(book.asks.items()))
        return (book.update_id, spelling.p(bid * item.tick), spelling.q(bid_units * item.step), spelling.p(ask * item.tick),
                spelling.q(ask_units * item.step))

    def levels(self, symbol: str, market: Market, pairs: list[tuple[int, int]]) -> list[list[str]]:
        """Ticks and lot steps as pairs of decimal strings."""
        item, spelling = self.tape.listing(symbol), self.spelling(symbol, market)
        return [[spelling.p(ticks * item.tick), spelling.q(units * item.step)] for ticks, units in pairs]

    def depth(self, symbol: str, market: Market, limit: int, now: int) -> dict[str, Any]:
        """A REST snapshot. Its id lies inside the next step, as real ones lie inside an event: clients must handle the overlap."""
        book = self.floor.book(symbol, market, step_at(now))
        inside = 1 + book.step % (ID_STRIDE // 2)
        return {"lastUpdateId": book.update_id + inside,
                "bids": self.levels(symbol, market, list(book.bids.items())[:limit]),
                "asks": self.levels(symbol, market, list(book.asks.items())[:limit])}

    def window(self, symbol: str, market: Market, start: int, now: int) -> tuple[Row, int, int]:
        """A rolling window from a minute to now, with its first and last trade id."""
        minute = now // MINUTE_MS * MINUTE_MS
        first = start // MINUTE_MS * MINUTE_MS
        rows = rows_of(self.tape.minutes(symbol, market, first, minute)) + self.piece(symbol, market, minute, now)
        if not rows:
            last = self.last_trade(symbol, market, now)
            rows = [(first, last[2], last[2], last[2], last[2], 0.0, now, 0.0, 0, 0.0, 0.0)]
        row = joined(first, now, rows)
        first_id = self.tape.trades_before(symbol, market, rows[0][0])
        return row, first_id, first_id + row[8] - 1

    def price(self, symbol: str, market: Market, now: int) -> float:
        """The last price: that of the newest trade, without a search for it."""
        row = self.forming(symbol, market, "1m", now)
        return row[4] if row else self.last_trade(symbol, market, now)[2]
