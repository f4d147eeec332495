"""What every symbol of the venue does, past and future, spot and perpetual: the simulator's planted series, any interval.

The twelve symbols are `SimulatedExchange`'s own, unchanged. The names SIMA01USDT and on are the same twelve listings of a second
world (another seed), so that a soak test finds twenty-four symbols. A perpetual trades at spot times (1 + basis), the basis
constant within an hour, on the same tick, with three times the volume and twice the trades: sums and extremes of minutes stay
those of their hour exactly. Nothing is hidden here: whoever serves a client cuts at the client's time.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

import numpy as np

from data.clock import Clock
from data.errors import UnknownSymbol
from data.frames import Candles, aggregate, concat
from data.market import DAY_MS, HOUR_MS, Interval, Market, SeriesKey, did_you_mean
from data.simulator.market import LISTINGS, SYMBOLS, Listing, SimulatedExchange
from data.simulator.perpetual import perpetual_beside

SECOND_WORLD = 7_919  # added to the seed
SYNTHETIC = tuple(f"SIMA{number:02d}USDT" for number in range(1, len(SYMBOLS) + 1))
REMEMBERED_DAYS = 400
EMPTY = Candles.empty(Interval.M1)


@dataclass(frozen=True)
class _Ahead:
    """The midnight after tomorrow's, so that the venue knows how a minute that has begun will end."""

    clock: Clock

    def now_ms(self) -> int:
        return (self.clock.now_ms() // DAY_MS + 2) * DAY_MS


class Tape:
    """Candles of any symbol, market and interval, a pure function of (seed, symbol, time).

    Parameters
    ----------
    seed : int
    clock : Clock
        The venue's clock; it decides only how far the series have been planted, never what is in them.
    """

    def __init__(self, seed: int, clock: Clock) -> None:
        self.seed = seed
        self.symbols = (*SYMBOLS, *SYNTHETIC)
        self._ahead = _Ahead(clock)
        self._worlds = (SimulatedExchange(seed, self._ahead), SimulatedExchange(seed + SECOND_WORLD, self._ahead))
        self._days: OrderedDict[tuple[str, Market, int], Candles] = OrderedDict()
        self._counts: dict[tuple[str, Market], tuple[np.ndarray, np.ndarray]] = {}

    @property
    def exchange(self) -> SimulatedExchange:
        """The world of the twelve, planted up to the midnight after tomorrow's."""
        return self._worlds[0]

    def listing(self, symbol: str) -> Listing:
        """Tick, step and role; a synthetic symbol borrows those of the symbol it is cut from."""
        number = self.number(symbol)
        return replace(LISTINGS[number % len(LISTINGS)], symbol=symbol)

    def number(self, symbol: str) -> int:
        """A fixed number per symbol, for random streams."""
        try:
            return self.symbols.index(symbol)
        except ValueError:
            raise UnknownSymbol(f"the simulated venue lists no {symbol[:24]!r}{did_you_mean(symbol, list(self.symbols))}") from None

    def hours(self, symbol: str, market: Market, start_ms: int | None = None, end_ms: int | None = None) -> Candles:
        """1h candles with start <= open_time < end."""
        world, source = self._source(symbol)
        spot = world.read(SeriesKey(source, Interval.H1), start_ms, end_ms)
        return spot if market is Market.SPOT or not len(spot) else self._perp(symbol, spot)

    def minutes(self, symbol: str, market: Market, start_ms: int, end_ms: int) -> Candles:
        """1m candles with start <= open_time < end; none older than the simulator bridges (90 days)."""
        days = [self._day(symbol, market, day).between(start_ms, end_ms) for day in range(start_ms // DAY_MS, (end_ms - 1) // DAY_MS + 1)]
        found = [part for part in days if len(part)]
        return concat(found) if found else EMPTY

    def candles(self, symbol: str, market: Market, interval: Interval, start_ms: int, end_ms: int) -> Candles:
        """Whole candles with start <= open_time < end, summed from minutes below one hour and from hours above."""
        first, stop = interval.floor(start_ms + interval.ms - 1), interval.floor(end_ms - 1) + interval.ms
        if stop <= first:
            return Candles.empty(interval)
        if interval.ms >= HOUR_MS:
            hours = self.hours(symbol, market, first, stop)
            return hours if interval is Interval.H1 else aggregate(hours, interval)
        minutes = self.minutes(symbol, market, first, stop)
        return minutes if interval is Interval.M1 else aggregate(minutes, interval) if len(minutes) else Candles.empty(interval)

    def minute(self, symbol: str, market: Market, open_ms: int) -> tuple[Candles, int] | None:
        """The day's candles and the row of one minute, or nothing where the series has a hole."""
        day = self._day(symbol, market, open_ms // DAY_MS)
        row = int(np.searchsorted(day.open_time, open_ms))
        return (day, row) if row < len(day) and day.open_time[row] == open_ms else None

    def trades_before(self, symbol: str, market: Market, open_ms: int) -> int:
        """How many trades happened before a minute opened: its first trade id. A prefix sum, so it never changes."""
        if (symbol, market) not in self._counts or self._counts[symbol, market][0][-1] < open_ms:
            hours = self.hours(symbol, market)
            self._counts[symbol, market] = (hours.open_time, np.concatenate(([0.0], np.cumsum(hours.count))))
        opened, total = self._counts[symbol, market]
        hour = open_ms // HOUR_MS * HOUR_MS
        whole = int(total[int(np.searchsorted(opened, hour))])
        day = self._day(symbol, market, open_ms // DAY_MS)
        first, last = np.searchsorted(day.open_time, (hour, open_ms))
        return whole + int(day.count[first:last].sum())

    # -- where it comes from ------------------------------------------------------------------------------------

    def _source(self, symbol: str) -> tuple[SimulatedExchange, str]:
        number = self.number(symbol)
        return self._worlds[number // len(SYMBOLS)], SYMBOLS[number % len(SYMBOLS)]

    def _day(self, symbol: str, market: Market, day: int) -> Candles:
        """A whole day of minutes, from a small memory. The look-ahead ends at a midnight, so no day is ever half known."""
        found = self._days.get((symbol, market, day))
        if found is None:
            world, source = self._source(symbol)
            found = world.read(SeriesKey(source, Interval.M1), day * DAY_MS, (day + 1) * DAY_MS)
            if market is Market.PERP and len(found):
                found = self._perp(symbol, found)
            if (day + 1) * DAY_MS <= self._ahead.now_ms():
                self._days[symbol, market, day] = found
                while len(self._days) > REMEMBERED_DAYS:
                    self._days.popitem(last=False)
        return found

    def _perp(self, symbol: str, spot: Candles) -> Candles:
        item = self.listing(symbol)
        return perpetual_beside(spot, self.seed, self.number(symbol), item.tick, item.step)
