"""Mark and index prices, funding, open interest and ratios of a symbol at any moment: derivatives.py joined to the prices."""

from __future__ import annotations

import numpy as np

from data.market import HOUR_MS, MINUTE_MS, Interval, Market
from data.simulator import derivatives as derived
from data.simulator.market import LISTINGS
from data.simulator.perpetual import VOLUME as PERP_VOLUME
from data.simulator.venue_market import Row, VenueMarket, bar_end

PERP, SPOT = Market.PERP, Market.SPOT


class Derived:
    """What futures endpoints and streams need beside candles. The index price is the spot price of the same symbol."""

    def __init__(self, market: VenueMarket) -> None:
        self.market = market
        self._interest: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    @property
    def seed(self) -> int:
        return self.market.tape.seed

    def number(self, symbol: str) -> int:
        return self.market.tape.number(symbol)

    def index_price(self, symbol: str, now: int) -> float:
        return self.market.price(symbol, SPOT, now)

    def mark_price(self, symbol: str, now: int) -> float:
        premium = derived.premium_candles(self.seed, self.number(symbol), np.array([now // MINUTE_MS * MINUTE_MS]), MINUTE_MS)[0, 0]
        return self.index_price(symbol, now) * (1 + float(premium))

    def funding(self, symbol: str, now: int) -> tuple[float, int]:
        """The rate of the running period and when it is settled."""
        step = derived.funding_hours(self.number(symbol)) * HOUR_MS
        settled = (now // step + 1) * step
        return float(derived.funding_rates(self.seed, self.number(symbol), np.array([settled]))[0]), settled

    def price_rows(self, kind: str, symbol: str, interval: str, rows: list[Row]) -> list[Row]:
        """Mark, index or premium bars beside spot bars. Longer bars are sampled, not summed from minutes (premium_candles)."""
        if not rows or kind == "index":
            return [(*r[:5], 0.0, r[6], 0.0, max(1, (r[6] + 1 - r[0]) // 1000), 0.0, 0.0) for r in rows]
        opened = np.array([r[0] for r in rows])
        length = bar_end(interval, rows[0][0]) - rows[0][0]
        premium = derived.premium_candles(self.seed, self.number(symbol), opened, length)
        if kind == "premium":
            bars = premium
        else:
            spot = np.array([r[1:5] for r in rows]).T
            bars = spot * (1 + premium)
            bars[1], bars[2] = np.maximum.reduce(bars), np.minimum.reduce(bars)
        o, h, low, c = (column.tolist() for column in bars)
        return [(r[0], o[i], h[i], low[i], c[i], 0.0, r[6], 0.0, max(1, (r[6] + 1 - r[0]) // 1000), 0.0, 0.0)
                for i, r in enumerate(rows)]

    def open_interest(self, symbol: str, at_ms: np.ndarray) -> np.ndarray:
        """Contracts at moments: hourly values joined by lines."""
        found = self._interest.get(symbol)
        if found is None or (len(at_ms) and found[0][-1] < int(np.max(at_ms))):
            hours = self.market.tape.hours(symbol, PERP)
            item = LISTINGS[self.number(symbol) % len(LISTINGS)]
            base = derived.OPEN_INTEREST_HOURS * PERP_VOLUME * item.turnover_usdt / item.price
            self._interest[symbol] = found = (hours.close_time + 1, derived.open_interest(
                self.seed, self.number(symbol), hours.open_time, hours.close, base))
        return np.interp(np.asarray(at_ms, float), found[0].astype(float), found[1])

    def perp_prices(self, symbol: str, at_ms: np.ndarray, period: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(moments that exist, perpetual price, index price) at bar openings."""
        interval = Interval(period)
        start, end = int(at_ms[0]), int(at_ms[-1]) + interval.ms
        perp = self.market.tape.candles(symbol, PERP, interval, start, end)
        spot = self.market.tape.candles(symbol, SPOT, interval, start, end)
        keep = np.isin(perp.open_time, at_ms)
        return perp.open_time[keep], perp.open[keep], spot.open[keep]

    def forced(self, symbol: str, start: int, end: int) -> list[derived.ForcedOrder]:
        """Forced orders with start <= time < end."""
        item = self.market.tape.listing(symbol)
        out: list[derived.ForcedOrder] = []
        for minute in range(start // MINUTE_MS * MINUTE_MS, end, MINUTE_MS):
            found = self.market.tape.minute(symbol, PERP, minute)
            if found is not None:
                day, row = found
                out += [f for f in derived.forced_orders(self.seed, self.number(symbol), minute, float(day.open[row]),
                                                         float(day.close[row]), float(day.volume[row]), item.tick, item.step)
                        if start <= f.time_ms < end]
        return out
