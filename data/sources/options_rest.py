"""Binance options over REST: implied volatility and greeks of every contract, open interest by expiry."""

from __future__ import annotations

from data.errors import BadPayload
from data.market import Market, Provenance
from data.observations import Kind, Observations, coin_of
from data.sources.base import Source
from data.sources.fields import joined, number, rows_of, server_time_of
from data.sources.parse_options import expirations_of, option_marks_of, option_open_interest_of

NEAREST_EXPIRIES = 12  # one request each; the far ones hold next to nothing


class OptionsRest(Source):
    """eapi.binance.com. Only the present: the venue keeps no history of marks or open interest."""

    name = "Binance options"
    channel_name = "eapi"
    provides = (Kind.OPTION_MARK, Kind.OPTION_OPEN_INTEREST)
    lacks = "no history: it is recorded from now on"
    source_provenance = Provenance.LIVE

    def ping(self) -> int | None:
        return server_time_of(self.client.options_time())

    def observations(self, kind: Kind, symbol: str, start_ms: int, end_ms: int, market: Market) -> Observations:
        base = coin_of(symbol)
        asked = self._clock.now_ms()
        if kind is Kind.OPTION_MARK:
            return option_marks_of(self.client.options_mark_price(_weight=5), base, now_ms=asked, provenance=self.provenance)
        if kind is Kind.OPTION_OPEN_INTEREST:
            info = self.client.options_exchange_info()
            if not isinstance(info, dict):
                raise BadPayload("expected the options' exchange information as an object")
            expiries = expirations_of(info, base)[:NEAREST_EXPIRIES]
            answers = [self.client.options_open_interest(underlyingAsset=base, expiration=day) for day in expiries]
            parts = [option_open_interest_of(answer, provenance=self.provenance) for answer in answers]
            return joined(kind, parts, self.provenance)
        return super().observations(kind, symbol, start_ms, end_ms, market)

    def index_price(self, symbol: str) -> float:
        """The underlying's index price, quote currency."""
        rows = rows_of(self.client.options_index_price(underlying=symbol), "index prices")
        return number(rows[0].get("indexPrice"), "indexPrice")
