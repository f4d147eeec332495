"""Binance USDT-margined futures over REST: candles of every price, funding, open interest, ratios, basis, books and trades."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from data.errors import BadTime, UnknownSymbol
from data.market import DAY_MS, HOUR_MS, Interval, Market, Provenance, SeriesKey, did_you_mean
from data.observations import Kind, Observations
from data.sources.base import ALONE_MS, FRESH_MS, Source, Window, cut, grid, one_series
from data.sources.fields import server_time_of
from data.sources.parse_exchange_info import ExchangeInfo, exchange_info_of
from data.sources.parse_futures import (
    basis_of,
    funding_hours_of,
    funding_of,
    mark_and_index_of,
    open_interest_now_of,
    open_interest_of,
    predicted_funding_of,
    ratio_of,
    taker_of,
)
from data.sources.parse_klines import Bars, bars_of, first_open_of, price_bars_of
from data.sources.parse_market import agg_trades_of, book_of, book_ticker_of, last_prices_of, ticker_of, trades_of

PAGE_BARS = 999  # and the candle after the last one, which shows that the last is final; 1500 rows would cost twice the weight
_LIMIT = 1000
_KLINE_WEIGHT = 5
PAGE_ROWS = 500  # of /futures/data
STATS_DAYS = 30  # a hard edge: one day more is refused with -1130
PERIOD = Interval.M5  # of the stored statistics: the archive has the same
_STATS_EDGE_MS = STATS_DAYS * DAY_MS - 10 * 60_000  # ten minutes inside, so that a slow request does not fall over it
_AGG_SPAN_MS = HOUR_MS - 1
DEFAULT_FUNDING_H = 8
_INFO_KEPT_MS = HOUR_MS
_PRICE_KINDS = (Kind.MARK_PRICE, Kind.INDEX_PRICE, Kind.PREMIUM_INDEX, Kind.CONTINUOUS)
_STATS_KINDS = (Kind.OPEN_INTEREST, Kind.GLOBAL_RATIO, Kind.TOP_ACCOUNT_RATIO, Kind.TOP_POSITION_RATIO, Kind.TAKER_RATIO, Kind.BASIS)


class FuturesRest(Source):
    """fapi.binance.com. Statistics of /futures/data reach back 30 days; candles and funding to the listing."""

    name = "Binance futures"
    channel_name = "fapi"
    candle_markets = (Market.PERP,)
    provides = (Kind.FUNDING, Kind.FUNDING_PREDICTED, *_STATS_KINDS, *_PRICE_KINDS, Kind.TICKER, Kind.BOOK_TICKER, Kind.BOOK, Kind.TRADES,
                Kind.AGG_TRADES)
    lacks = "open interest and ratios only of the last 30 days"
    source_provenance = Provenance.LIVE
    confirms_gaps = True
    _info: tuple[int, ExchangeInfo] | None = None
    _hours: tuple[int, dict[str, int]] | None = None

    def ping(self) -> int | None:
        return server_time_of(self.client.futures_time())

    def exchange_info(self) -> ExchangeInfo:
        """All contracts and their rules, kept for an hour."""
        now = self._clock.now_ms()
        if self._info is None or not 0 <= now - self._info[0] < _INFO_KEPT_MS:
            info = exchange_info_of(self.client.futures_exchange_info(), Market.PERP)
            if info.weight_1m:
                self._transport.budget.learn_limit(self.channel, info.weight_1m)
            self._info = now, info
        return self._info[1]

    def funding_hours(self, symbol: str) -> int:
        """Hours between settlements now; symbols that the venue does not list settle every 8 h."""
        now = self._clock.now_ms()
        if self._hours is None or not 0 <= now - self._hours[0] < _INFO_KEPT_MS:
            self._hours = now, funding_hours_of(self.client.futures_v1_get_funding_info(_limiter="funding"))
        return self._hours[1].get(symbol, DEFAULT_FUNDING_H)

    # -- candles ----------------------------------------------------------------------------------------------------------

    def windows(self, key: SeriesKey, start_ms: int, end_ms: int) -> list[Window]:
        return grid(key, start_ms, end_ms, PAGE_BARS)

    def fetch(self, key: SeriesKey, window: Window) -> Bars:
        closed_before, alone_before = window.end_ms, None
        if window.end_ms > self._clock.now_ms() - FRESH_MS:
            theirs = self.ping() or 0
            closed_before, alone_before = min(window.end_ms, theirs), theirs - ALONE_MS
        rows = self._asked(key.symbol, lambda: self.client.futures_klines(
            symbol=key.symbol, interval=str(key.interval), startTime=window.start_ms, endTime=window.end_ms, limit=_LIMIT,
            _weight=_KLINE_WEIGHT))
        return bars_of(rows, key.interval, closed_before_ms=closed_before, alone_before_ms=alone_before, end_ms=window.end_ms,
                       provenance=self.provenance)

    def first_open_ms(self, key: SeriesKey, start_ms: int) -> int | None:
        rows = self._asked(key.symbol, lambda: self.client.futures_klines(
            symbol=key.symbol, interval=str(key.interval), startTime=start_ms, limit=1))
        return first_open_of(rows)

    def continuous(self, pair: str, interval: Interval, start_ms: int, end_ms: int, contract: str = "PERPETUAL") -> Bars:
        """Candles of a contract type that rolls on (PERPETUAL, CURRENT_QUARTER, NEXT_QUARTER); at most 1000 bars."""
        closed_before = self._closed_before(end_ms)
        rows = self._asked(pair, lambda: self.client.futures_continuous_klines(
            pair=pair, contractType=contract, interval=str(interval), startTime=start_ms, endTime=end_ms - 1, limit=PAGE_BARS,
            _weight=_KLINE_WEIGHT))
        return bars_of(rows, interval, closed_before_ms=closed_before, provenance=self.provenance)

    def _closed_before(self, end_ms: int) -> int:
        """Bars that close before this are final; near the present the exchange's own time decides, not ours."""
        return end_ms if end_ms <= self._clock.now_ms() - FRESH_MS else min(end_ms, self.ping() or 0)

    def _asked(self, symbol: str, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except UnknownSymbol:
            raise self.unknown(symbol) from None

    def unknown(self, symbol: str) -> UnknownSymbol:
        known = list(self.exchange_info().symbols)
        return UnknownSymbol(f"{self.name} does not know {symbol[:40]}{did_you_mean(symbol, known)}")

    # -- everything else --------------------------------------------------------------------------------------------------

    def observations(self, kind: Kind, symbol: str, start_ms: int, end_ms: int, market: Market) -> Observations:
        if kind is Kind.FUNDING:
            return self._asked(symbol, lambda: self._funding(symbol, start_ms, end_ms))
        if kind in _PRICE_KINDS:
            return self._asked(symbol, lambda: self._price_bars(kind, symbol, start_ms, end_ms))
        if kind in _STATS_KINDS:
            return self._asked(symbol, lambda: self._statistics(kind, symbol, start_ms, end_ms))
        return self._asked(symbol, lambda: self._now(kind, symbol, start_ms, end_ms))

    def _funding(self, symbol: str, start_ms: int, end_ms: int) -> Observations:
        """Settlements in pages of 1000, from a day earlier: the interval is the step from the settlement before."""
        parts, at = [], start_ms - DAY_MS
        while at < end_ms:
            rows = self.client.futures_funding_rate(symbol=symbol, startTime=at, endTime=end_ms - 1, limit=1000, _limiter="funding")
            part = funding_of(rows, provenance=self.provenance)
            parts.append(part)
            if len(part) < 1000:
                break
            at = int(part.event_time[-2])  # one settlement of overlap, so that the next page's first step is known
        whole = one_series(Kind.FUNDING, [p if i == 0 else p.take(slice(1, None)) for i, p in enumerate(parts)], self.provenance)
        return cut(whole, start_ms, end_ms)

    def _price_bars(self, kind: Kind, symbol: str, start_ms: int, end_ms: int, interval: Interval = Interval.H1) -> Observations:
        """Hourly bars of the mark, index or premium price, or of the perpetual as the continuous contract of its pair."""
        ask = {Kind.MARK_PRICE: self.client.futures_mark_price_klines, Kind.PREMIUM_INDEX: self.client.futures_premium_index_klines,
               Kind.INDEX_PRICE: self.client.futures_index_price_klines, Kind.CONTINUOUS: self.client.futures_continuous_klines}[kind]
        named: dict[str, Any] = {"pair" if kind in (Kind.INDEX_PRICE, Kind.CONTINUOUS) else "symbol": symbol}
        if kind is Kind.CONTINUOUS:
            named["contractType"] = "PERPETUAL"
        parts = []
        for window in grid(SeriesKey(symbol, interval, Market.PERP), interval.floor(start_ms), end_ms, PAGE_BARS):
            closed_before = self._closed_before(window.end_ms)
            rows = ask(**named, interval=str(interval), startTime=window.start_ms, endTime=window.end_ms - 1, limit=PAGE_BARS,
                       _weight=_KLINE_WEIGHT)
            parts.append(price_bars_of(rows, kind, closed_before_ms=closed_before, provenance=self.provenance))
        return cut(one_series(kind, parts, self.provenance), start_ms, end_ms)

    def _statistics(self, kind: Kind, symbol: str, start_ms: int, end_ms: int) -> Observations:
        """/futures/data in five-minute steps, from the newest page back; pages overlap by one period (binance.md 6)."""
        edge = self._clock.now_ms() - _STATS_EDGE_MS
        note = "" if start_ms >= edge else f"{self.name} keeps {kind} for {STATS_DAYS} days; older rows come from the archive"
        first, parts = max(start_ms, edge), []
        span = (PAGE_ROWS - 1) * PERIOD.ms
        at = first
        while at < end_ms:
            upto = min(at + span, end_ms)
            try:
                parts.append(self._statistics_page(kind, symbol, at, upto))
            except BadTime:
                edge += HOUR_MS  # our clock is behind the exchange's: its edge lies further in
                if edge > self._clock.now_ms():
                    raise
                at = max(at, edge)
                continue
            at = upto
        return cut(one_series(kind, parts, self.provenance, note), start_ms, end_ms)

    def _statistics_page(self, kind: Kind, symbol: str, start_ms: int, end_ms: int) -> Observations:
        # endTime of the taker's volume means the interval's end, hence one period more
        params: dict[str, Any] = {"period": str(PERIOD), "limit": PAGE_ROWS, "startTime": start_ms, "endTime": end_ms + PERIOD.ms,
                                  "_limiter": "data", "_weight": 0}
        client, provenance = self.client, self.provenance
        if kind is Kind.BASIS:
            return basis_of(client.futures_basis(pair=symbol, contractType="PERPETUAL", **params), provenance=provenance)
        params["symbol"] = symbol
        if kind is Kind.OPEN_INTEREST:
            return open_interest_of(client.futures_open_interest_hist(**params), provenance=provenance)
        if kind is Kind.TAKER_RATIO:
            return taker_of(client.futures_taker_longshort_ratio(**params), period_ms=PERIOD.ms, provenance=provenance)
        ask = {Kind.GLOBAL_RATIO: client.futures_global_longshort_ratio, Kind.TOP_ACCOUNT_RATIO: client.futures_top_longshort_account_ratio,
               Kind.TOP_POSITION_RATIO: client.futures_top_longshort_position_ratio}[kind]
        return ratio_of(ask(**params), kind, provenance=provenance)

    def _now(self, kind: Kind, symbol: str, start_ms: int, end_ms: int) -> Observations:
        asked, client, provenance = self._clock.now_ms(), self.client, self.provenance
        if kind is Kind.FUNDING_PREDICTED:
            rows = client.futures_mark_price(symbol=symbol)
            return predicted_funding_of(rows, interval_h=self.funding_hours(symbol), provenance=provenance)
        if kind is Kind.TICKER:
            return ticker_of(client.futures_ticker(symbol=symbol), now_ms=asked, provenance=provenance)
        if kind is Kind.BOOK_TICKER:
            return book_ticker_of(client.futures_orderbook_ticker(symbol=symbol, _weight=2), now_ms=asked, provenance=provenance)
        if kind is Kind.BOOK:
            return book_of(client.futures_order_book(symbol=symbol, limit=1000, _weight=20), now_ms=asked, provenance=provenance)
        if kind is Kind.TRADES:
            return trades_of(client.futures_recent_trades(symbol=symbol, limit=1000, _weight=5), provenance=provenance)
        if kind is Kind.AGG_TRADES:  # start and end may lie less than an hour apart, and 48 h back at most
            first = max(start_ms, end_ms - _AGG_SPAN_MS)
            rows = client.futures_aggregate_trades(symbol=symbol, startTime=first, endTime=end_ms - 1, limit=1000, _weight=20)
            return cut(agg_trades_of(rows, provenance=provenance), start_ms, end_ms)
        return super().observations(kind, symbol, start_ms, end_ms, Market.PERP)

    def open_interest_now(self, symbol: str) -> Observations:
        """The current open interest, valued at the current mark price."""
        mark, _ = self.mark_and_index(symbol)
        return open_interest_now_of(self.client.futures_open_interest(symbol=symbol), mark_price=mark, provenance=self.provenance)

    def mark_and_index(self, symbol: str) -> tuple[float, float]:
        """Mark and index price now, quote currency."""
        return mark_and_index_of(self._asked(symbol, lambda: self.client.futures_mark_price(symbol=symbol)))

    def last_prices(self) -> dict[str, float]:
        """Contract to last price, quote currency, of all that trade."""
        return last_prices_of(self.client.futures_symbol_ticker(_weight=2))

    def serves(self, market: Market, kind: Kind) -> bool:
        return market is Market.PERP
