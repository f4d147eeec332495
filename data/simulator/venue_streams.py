"""What each stream says and when: events of one stream between two moments, in Binance's spelling (binance.md 11)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from data.market import DAY_MS, MINUTE_MS, Market
from data.simulator.tickbook import ID_STRIDE, STEP_MS, step_at, time_of, touched
from data.simulator.venue_futures import derived_of
from data.simulator.venue_market import PERP_INTERVALS, SPOT_INTERVALS, Row, VenueMarket, bar_end, bar_open
from data.simulator.venue_spot import window_fields

Event = tuple[int, dict[str, Any] | list[Any]]  # event time in ms, payload
FORMING_MS = {Market.SPOT: 2_000, Market.PERP: 250}


@dataclass(frozen=True)
class StreamSpec:
    """A stream name, understood. `route` is the futures route that carries it; spot has none."""

    name: str
    kind: str
    market: Market
    symbol: str = ""
    interval: str = ""
    speed_ms: int = 0
    levels: int = 0
    route: str = ""


_SPOT_PATTERNS: tuple[tuple[str, str], ...] = (
    (r"kline_(?P<interval>\w+)", "kline"), (r"aggTrade", "aggTrade"), (r"trade", "trade"), (r"bookTicker", "bookTicker"),
    (r"depth(?P<levels>5|10|20)(@(?P<speed>100|1000)ms)?", "partial"), (r"depth(@(?P<speed>100|1000)ms)?", "depth"),
    (r"ticker", "ticker"), (r"miniTicker", "miniTicker"), (r"avgPrice", "avgPrice"))
_PERP_PATTERNS: tuple[tuple[str, str, str], ...] = (
    (r"bookTicker", "bookTicker", "public"), (r"depth(?P<levels>5|10|20)(@(?P<speed>100|250|500)ms)?", "partial", "public"),
    (r"depth(@(?P<speed>0|100|250|500)ms)?", "depth", "public"), (r"kline_(?P<interval>\w+)", "kline", "market"),
    (r"aggTrade", "aggTrade", "market"), (r"markPrice(@(?P<speed>1)s)?", "markPrice", "market"), (r"ticker", "ticker", "market"),
    (r"miniTicker", "miniTicker", "market"), (r"forceOrder", "forceOrder", "market"))
_EVERYTHING: dict[Market, dict[str, tuple[str, str, int]]] = {
    Market.SPOT: {"!miniTicker@arr": ("miniTicker", "", 1_000)},
    Market.PERP: {"!bookTicker": ("bookTicker", "public", 5_000), "!markPrice@arr": ("markPrice", "market", 3_000),
                  "!markPrice@arr@1s": ("markPrice", "market", 1_000), "!ticker@arr": ("ticker", "market", 1_000),
                  "!miniTicker@arr": ("miniTicker", "market", 1_000), "!forceOrder@arr": ("forceOrder", "market", 0)},
}


def parse_stream(name: str, market: Market, symbols: tuple[str, ...]) -> StreamSpec | None:
    """The stream a name means, or None: Binance accepts a subscription to anything and stays silent."""
    if name in _EVERYTHING[market]:
        kind, route, speed = _EVERYTHING[market][name]
        return StreamSpec(name, kind, market, "*", speed_ms=speed, route=route)
    head, _, tail = name.partition("@")
    symbol = head.upper()
    if market is Market.PERP and (found := re.fullmatch(r"continuousKline_(\w+)", tail)) and symbol.endswith("_PERPETUAL"):
        pair = symbol.removesuffix("_PERPETUAL")
        if pair in symbols and found[1] in PERP_INTERVALS:
            return StreamSpec(name, "continuousKline", market, pair, found[1], 250, route="market")
    if symbol not in symbols or head != head.lower():
        return None
    patterns = [(p, k, "") for p, k in _SPOT_PATTERNS] if market is Market.SPOT else list(_PERP_PATTERNS)
    for pattern, kind, route in patterns:
        if found := re.fullmatch(pattern, tail):
            parts = found.groupdict()
            interval = parts.get("interval") or ""
            if kind == "kline" and interval not in (SPOT_INTERVALS if market is Market.SPOT else PERP_INTERVALS):
                return None
            return StreamSpec(name, kind, market, symbol, interval, _speed(kind, market, parts.get("speed")),
                              int(parts.get("levels") or 0), route)
    return None


def _speed(kind: str, market: Market, asked: str | None) -> int:
    if kind == "markPrice":
        return 1_000 if asked == "1" else 3_000
    if kind in ("depth", "partial"):
        return max(100, int(asked)) if asked is not None else 1_000 if market is Market.SPOT else 250
    if kind == "kline":
        return FORMING_MS[market]
    return {"bookTicker": STEP_MS, "ticker": 1_000 if market is Market.SPOT else 2_000, "miniTicker": 1_000, "avgPrice": 1_000}.get(kind, 0)


class Broadcaster:
    """Events of every stream, a pure function of the moments asked for."""

    def __init__(self, market: VenueMarket) -> None:
        self.market = market
        self._kinds: dict[str, Callable[[StreamSpec, int, int, bool], list[Event]]] = {
            "kline": self._kline, "aggTrade": self._trades, "trade": self._trades, "depth": self._depth, "partial": self._partial,
            "bookTicker": self._book_ticker, "continuousKline": self._kline, "markPrice": self._mark_price,
            "forceOrder": self._forced, "ticker": self._ticker, "miniTicker": self._ticker, "avgPrice": self._average}

    def events(self, spec: StreamSpec, after: int, until: int, *, newest: bool = True) -> list[Event]:
        """What a stream says at moments with after < time <= until, oldest first.

        `newest` asks for updates that later ones replace (unfinished candles, tickers): of these only the last one due is given.
        Closed candles, trades, depth diffs and forced orders are never left out.
        """
        return self._kinds[spec.kind](spec, after, until, newest) if spec.kind in self._kinds else []

    # -- candles ----------------------------------------------------------------------------------------------------

    def _kline(self, spec: StreamSpec, after: int, until: int, newest: bool) -> list[Event]:
        out: list[Event] = []
        at = bar_end(spec.interval, bar_open(spec.interval, after))  # the first boundary after `after`
        first = bar_open(spec.interval, after)
        if at <= until:
            whole = self.market.klines(spec.symbol, spec.market, spec.interval, first, until - 1, 100_000, until)
            out += [(row[6] + 1, self._kline_payload(spec, row, row[6] + 1, closed=True)) for row in whole
                    if after < row[6] + 1 <= until]
        due = until // spec.speed_ms * spec.speed_ms
        if newest and due > after and due != bar_open(spec.interval, due):
            row = self.market.forming(spec.symbol, spec.market, spec.interval, due)
            if row is not None:
                out.append((due, self._kline_payload(spec, row, due, closed=False)))
        return out

    def _kline_payload(self, spec: StreamSpec, row: Row, at: int, *, closed: bool) -> dict[str, Any]:
        s = self.market.spelling(spec.symbol, spec.market)
        t, o, h, low, c, v, closes, quote, n, taker, taker_quote = row
        first = self.market.tape.trades_before(spec.symbol, spec.market, t // MINUTE_MS * MINUTE_MS)
        bar = {"t": t, "T": closes, "s": spec.symbol, "i": spec.interval, "f": first if n else -1, "L": first + n - 1 if n else -1,
               "o": s.p(o), "c": s.p(c), "h": s.p(h), "l": s.p(low), "v": s.q(v), "n": n, "x": closed, "q": s.v(quote),
               "V": s.q(taker), "Q": s.v(taker_quote), "B": "0"}
        if spec.kind == "continuousKline":
            bar.pop("s")
            return {"e": "continuous_kline", "E": at, "ps": spec.symbol, "ct": "PERPETUAL", "k": bar}
        return {"e": "kline", "E": at, "s": spec.symbol, "k": bar}

    # -- trades and books -------------------------------------------------------------------------------------------

    def _trades(self, spec: StreamSpec, after: int, until: int, newest: bool) -> list[Event]:
        s = self.market.spelling(spec.symbol, spec.market)
        out: list[Event] = []
        for number, at, price, size, maker in self.market.floor.trades(spec.symbol, spec.market, after + 1, until + 1):
            if spec.kind == "trade":
                out.append((at, {"e": "trade", "E": at, "s": spec.symbol, "t": number, "p": s.p(price), "q": s.q(size), "T": at,
                                 "m": maker, "M": True}))
            elif spec.market is Market.SPOT:
                out.append((at, {"e": "aggTrade", "E": at, "s": spec.symbol, "a": number, "p": s.p(price), "q": s.q(size), "f": number,
                                 "l": number, "T": at, "m": maker, "M": True}))
            else:
                out.append((at, {"e": "aggTrade", "E": at, "a": number, "s": spec.symbol, "p": s.p(price), "q": s.q(size),
                                 "nq": s.q(size), "f": number, "l": number, "T": at, "m": maker, "st": 1}))
        return out

    def _depth(self, spec: StreamSpec, after: int, until: int, newest: bool) -> list[Event]:
        floor, symbol, market = self.market.floor, spec.symbol, spec.market
        stride = spec.speed_ms // STEP_MS
        out: list[Event] = []
        for last in range((step_at(after) // stride + 1) * stride, step_at(until) + 1, stride):
            books = [floor.book(symbol, market, step) for step in range(last - stride, last + 1)]
            old, new = books[0], books[-1]
            bids = self.market.levels(symbol, market, touched([b.bids for b in books]))
            asks = self.market.levels(symbol, market, touched([b.asks for b in books]))
            at = time_of(last)
            first = old.update_id + 1
            if market is Market.SPOT:
                body = {"e": "depthUpdate", "E": at, "s": symbol, "U": first, "u": new.update_id, "b": bids, "a": asks}
            else:  # futures ids have holes by rule; only `pu` chains them
                body = {"e": "depthUpdate", "E": at, "T": at - 2, "s": symbol, "ps": symbol, "st": 1, "U": first,
                        "u": new.update_id, "pu": old.update_id, "b": bids, "a": asks}
            out.append((at, body))
        return out

    def _partial(self, spec: StreamSpec, after: int, until: int, newest: bool) -> list[Event]:
        at = until // spec.speed_ms * spec.speed_ms
        if not newest or at <= after:
            return []
        book = self.market.floor.book(spec.symbol, spec.market, step_at(at))
        bids = self.market.levels(spec.symbol, spec.market, list(book.bids.items())[: spec.levels])
        asks = self.market.levels(spec.symbol, spec.market, list(book.asks.items())[: spec.levels])
        if spec.market is Market.SPOT:
            return [(at, {"lastUpdateId": book.update_id, "bids": bids, "asks": asks})]
        return [(at, {"e": "depthUpdate", "E": at, "T": at - 2, "s": spec.symbol, "ps": spec.symbol, "st": 1,
                      "U": book.update_id - ID_STRIDE + 1, "u": book.update_id, "pu": book.update_id - ID_STRIDE, "b": bids, "a": asks})]

    def _book_ticker(self, spec: StreamSpec, after: int, until: int, newest: bool) -> list[Event]:
        if spec.symbol == "*":
            at = until // spec.speed_ms * spec.speed_ms
            if not newest or at <= after:
                return []
            return [(at, self._quote(symbol, spec.market, at)) for symbol in self.market.listed]
        out: list[Event] = []
        for step in range(step_at(after) + 1, step_at(until) + 1):
            at = time_of(step)
            now, before = (self.market.best(spec.symbol, spec.market, moment) for moment in (at, at - STEP_MS))
            if now[1:] != before[1:]:
                out.append((at, self._quote(spec.symbol, spec.market, at)))
        return out

    def _quote(self, symbol: str, market: Market, at: int) -> dict[str, Any]:
        update, bid, bid_size, ask, ask_size = self.market.best(symbol, market, at)
        quote = {"s": symbol, "b": bid, "B": bid_size, "a": ask, "A": ask_size}
        if market is Market.SPOT:
            return {"u": update, **quote}
        return {"e": "bookTicker", "u": update, "E": at, "T": at - 2, **quote, "st": 1, "ps": symbol}

    # -- prices and tickers -----------------------------------------------------------------------------------------

    def _whose(self, spec: StreamSpec) -> tuple[str, ...]:
        return self.market.listed if spec.symbol == "*" else (spec.symbol,)

    def _mark_price(self, spec: StreamSpec, after: int, until: int, newest: bool) -> list[Event]:
        out: list[Event] = []
        for at in range((after // spec.speed_ms + 1) * spec.speed_ms, until + 1, spec.speed_ms):
            said = [self._mark(symbol, at) for symbol in self._whose(spec)]
            out.append((at, said if spec.symbol == "*" else said[0]))
        return out

    def _mark(self, symbol: str, at: int) -> dict[str, Any]:
        found = derived_of(self.market)
        rate, settled = found.funding(symbol, at)
        index, mark = f"{found.index_price(symbol, at):.8f}", f"{found.mark_price(symbol, at):.8f}"
        return {"e": "markPriceUpdate", "E": at, "s": symbol, "p": mark, "ap": mark, "P": index, "i": index, "r": f"{rate:.8f}",
                "T": settled, "st": 1}

    def _forced(self, spec: StreamSpec, after: int, until: int, newest: bool) -> list[Event]:
        """At most one order per symbol and second, told at the end of its second."""
        out: list[Event] = []
        first, last = after // 1_000 * 1_000, until // 1_000 * 1_000
        for symbol in self._whose(spec):
            s = self.market.spelling(symbol, Market.PERP)
            for order in derived_of(self.market).forced(symbol, first, last):
                at = order.time_ms // 1_000 * 1_000 + 1_000
                if after < at <= until:
                    out.append((at, {"e": "forceOrder", "E": at, "o": {
                        "s": symbol, "S": order.side, "o": "LIMIT", "f": "IOC", "q": s.q(order.quantity), "p": s.p(order.price),
                        "ap": f"{order.average_price:.{s.price + 2}f}", "X": "FILLED", "l": s.q(order.last_quantity),
                        "z": s.q(order.quantity), "T": order.time_ms, "ps": symbol, "st": 1}}))
        return sorted(out, key=lambda event: event[0])

    def _ticker(self, spec: StreamSpec, after: int, until: int, newest: bool) -> list[Event]:
        at = until // spec.speed_ms * spec.speed_ms
        if not newest or at <= after:
            return []
        said = [self._day(symbol, spec, at) for symbol in self._whose(spec)]
        return [(at, said if spec.symbol == "*" else said[0])]

    def _day(self, symbol: str, spec: StreamSpec, at: int) -> dict[str, Any]:
        row, change, common = window_fields(self.market, symbol, spec.market, DAY_MS, at)
        perp = {"st": 1} if spec.market is Market.PERP else {}
        bar = {"o": common["openPrice"], "h": common["highPrice"], "l": common["lowPrice"], "v": common["volume"],
               "q": common["quoteVolume"]}
        if spec.kind == "miniTicker":
            return {"e": "24hrMiniTicker", "E": at, "s": symbol, "c": common["lastPrice"], **bar, **perp}
        s = self.market.spelling(symbol, spec.market)
        quote: dict[str, Any] = {}
        if spec.market is Market.SPOT:
            _, bid, bid_size, ask, ask_size = self.market.best(symbol, spec.market, at)
            quote = {"b": bid, "B": bid_size, "a": ask, "A": ask_size}
        return {"e": "24hrTicker", "E": at, "s": symbol, "p": change["priceChange"], "P": change["priceChangePercent"],
                "w": change["weightedAvgPrice"], **({"x": s.p(row[1])} if quote else {}), "c": common["lastPrice"],
                "Q": s.q(self.market.last_trade(symbol, spec.market, at)[3]), **quote, **bar, "O": common["openTime"],
                "C": common["closeTime"], "F": common["firstId"], "L": common["lastId"], "n": common["count"], **perp}

    def _average(self, spec: StreamSpec, after: int, until: int, newest: bool) -> list[Event]:
        at = until // spec.speed_ms * spec.speed_ms
        if not newest or at <= after:
            return []
        row, *_ = self.market.window(spec.symbol, Market.SPOT, at - 5 * MINUTE_MS, at)
        price = self.market.spelling(spec.symbol, Market.SPOT).p(row[7] / row[5] if row[5] else row[4])
        return [(at, {"e": "avgPrice", "E": at, "s": spec.symbol, "i": "5m", "w": price,
                      "T": self.market.last_trade(spec.symbol, Market.SPOT, at)[1]})]
