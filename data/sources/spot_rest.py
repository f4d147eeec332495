"""Binance spot over REST, and its mirror that serves market data only: candles, tickers, books, trades, rules."""

from __future__ import annotations

from data.errors import UnknownSymbol
from data.market import Market, Provenance, SeriesKey, did_you_mean
from data.observations import Kind, Observations
from data.sources.base import ALONE_MS, FRESH_MS, Source, Window, cut, grid
from data.sources.fields import server_time_of
from data.sources.parse_exchange_info import ExchangeInfo, exchange_info_of
from data.sources.parse_klines import Bars, bars_of, first_open_of
from data.sources.parse_market import (
    agg_trades_of,
    average_price_of,
    average_prices_of,
    book_of,
    book_ticker_of,
    last_prices_of,
    ticker_of,
    trades_of,
)

PAGE_BARS = 999  # one less than the limit: the candle after the last one shows that the last is final
_LIMIT = 1000
_KLINE_WEIGHT = 2
_INFO_KEPT_MS = 3_600_000


class SpotRest(Source):
    """api.binance.com: everything public about spot."""

    name = "Binance spot"
    channel_name = "api"
    candle_markets = (Market.SPOT,)
    provides = (Kind.TICKER, Kind.BOOK_TICKER, Kind.BOOK, Kind.TRADES, Kind.AGG_TRADES, Kind.AVERAGE_PRICE)
    lacks = "no futures, funding or open interest"
    source_provenance = Provenance.LIVE
    confirms_gaps = True
    _info: tuple[int, ExchangeInfo] | None = None

    def ping(self) -> int | None:
        return server_time_of(self.client.get_server_time())

    def exchange_info(self) -> ExchangeInfo:
        """All symbols and their rules, kept for an hour."""
        now = self._clock.now_ms()
        if self._info is None or not 0 <= now - self._info[0] < _INFO_KEPT_MS:
            info = exchange_info_of(self.client._get("exchangeInfo", data={"_weight": 20}), Market.SPOT)
            if info.weight_1m:
                self._transport.budget.learn_limit(self.channel, info.weight_1m)
            self._info = now, info
        return self._info[1]

    def windows(self, key: SeriesKey, start_ms: int, end_ms: int) -> list[Window]:
        return grid(key, start_ms, end_ms, PAGE_BARS)

    def fetch(self, key: SeriesKey, window: Window) -> Bars:
        closed_before, alone_before = window.end_ms, None
        if window.end_ms > self._clock.now_ms() - FRESH_MS:
            # Asked before the candles: a row that was closed then is final in an answer that comes later.
            theirs = self.ping() or 0
            closed_before, alone_before = min(window.end_ms, theirs), theirs - ALONE_MS
        try:
            rows = self._klines(symbol=key.symbol, interval=str(key.interval), startTime=window.start_ms, endTime=window.end_ms,
                                limit=_LIMIT, _weight=_KLINE_WEIGHT)
        except UnknownSymbol:
            raise self.unknown(key.symbol) from None
        return bars_of(rows, key.interval, closed_before_ms=closed_before, alone_before_ms=alone_before, end_ms=window.end_ms,
                       provenance=self.provenance)

    def first_open_ms(self, key: SeriesKey, start_ms: int) -> int | None:
        try:
            rows = self._klines(symbol=key.symbol, interval=str(key.interval), startTime=start_ms, limit=1, _weight=_KLINE_WEIGHT)
        except UnknownSymbol:
            raise self.unknown(key.symbol) from None
        return first_open_of(rows)

    def _klines(self, **params: str | int):
        return self.client.get_klines(**params)

    def unknown(self, symbol: str) -> UnknownSymbol:
        known = list(self.exchange_info().symbols)
        if symbol in known:
            return UnknownSymbol(f"{self.name} lists {symbol} but has no candles of it (its state: "
                                 f"{self.exchange_info().symbols[symbol].status})")
        return UnknownSymbol(f"{self.name} does not know {symbol[:40]}{did_you_mean(symbol, known)}")

    def observations(self, kind: Kind, symbol: str, start_ms: int, end_ms: int, market: Market) -> Observations:
        asked = self._clock.now_ms()
        try:
            return self._observations(kind, symbol, start_ms, end_ms, asked)
        except UnknownSymbol:
            raise self.unknown(symbol) from None

    def _observations(self, kind: Kind, symbol: str, start_ms: int, end_ms: int, asked: int) -> Observations:
        client, provenance = self.client, self.provenance
        if kind is Kind.TICKER:
            return ticker_of(client.get_ticker(symbol=symbol, _weight=2), now_ms=asked, provenance=provenance)
        if kind is Kind.BOOK_TICKER:
            return book_ticker_of(client.get_orderbook_ticker(symbol=symbol, _weight=2), now_ms=asked, provenance=provenance)
        if kind is Kind.BOOK:
            return book_of(client.get_order_book(symbol=symbol, limit=1000, _weight=50), now_ms=asked, provenance=provenance)
        if kind is Kind.TRADES:
            return trades_of(client.get_recent_trades(symbol=symbol, limit=1000, _weight=25), provenance=provenance)
        if kind is Kind.AGG_TRADES:
            rows = client.get_aggregate_trades(symbol=symbol, startTime=start_ms, endTime=end_ms - 1, limit=1000, _weight=4)
            return cut(agg_trades_of(rows, provenance=provenance), start_ms, end_ms)
        if kind is Kind.AVERAGE_PRICE:
            return average_prices_of(client.get_avg_price(symbol=symbol, _weight=2), now_ms=asked, provenance=provenance)
        return super().observations(kind, symbol, start_ms, end_ms, Market.SPOT)

    def last_prices(self) -> dict[str, float]:
        """Symbol to last price, quote currency, of all that trade."""
        return last_prices_of(self.client.get_symbol_ticker(_weight=4))

    def average_price(self, symbol: str) -> float:
        """Binance's own average of the last five minutes, quote currency."""
        return average_price_of(self.client.get_avg_price(symbol=symbol, _weight=2))

    def serves(self, market: Market, kind: Kind) -> bool:
        return market is Market.SPOT


class SpotMirror(SpotRest):
    """data-api.binance.vision: the same market data where the main host is blocked; it has no order endpoint at all."""

    name = "Binance market-data mirror"
    channel_name = "mirror"
    source_provenance = Provenance.MIRROR
