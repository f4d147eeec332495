"""OKX's public REST: funding, open interest, ratio and forced orders of another exchange, where Binance's futures are blocked."""

from __future__ import annotations

from data.errors import NotOffered
from data.market import HOUR_MS, Market
from data.observations import Kind, Observations, coin_of
from data.sources.base import Source, cut, one_series
from data.sources.fields import time_ms
from data.sources.parse_futures import funding_rows, hours_before
from data.sources.parse_okx import (
    PROVENANCE,
    okx_contract_size_of,
    okx_funding_of,
    okx_liquidations_of,
    okx_open_interest_of,
    okx_predicted_funding_of,
    okx_ratio_of,
    okx_rows,
)

_PAGE = 100
_MOST_PAGES = 4  # OKX keeps about three months of settlements: 270 rows


class Okx(Source):
    """www.okx.com, labelled VENUE:okx: the same coins, another crowd and other rules."""

    name = "OKX"
    channel_name = "okx"
    provides = (Kind.FUNDING, Kind.FUNDING_PREDICTED, Kind.OPEN_INTEREST, Kind.GLOBAL_RATIO, Kind.LIQUIDATIONS)
    lacks = "another exchange: its funding, open interest and ratios are not Binance's"
    source_provenance = PROVENANCE

    def ping(self) -> int | None:
        rows = okx_rows(self._transport.json(self.channel, "/api/v5/public/time"))
        return time_ms(rows[0].get("ts"), "ts") if rows and isinstance(rows[0], dict) else None

    def observations(self, kind: Kind, symbol: str, start_ms: int, end_ms: int, market: Market) -> Observations:
        base = coin_of(symbol)
        if base == symbol or not symbol.endswith("USDT"):
            raise NotOffered(f"{self.name} stands in for contracts against USDT only, not {symbol[:24]}", host=self.channel.host)
        swap = f"{base}-USDT-SWAP"
        if kind is Kind.FUNDING:
            return cut(self._funding(swap, start_ms), start_ms, end_ms)
        if kind is Kind.FUNDING_PREDICTED:
            answer = self._ask("public/funding-rate", instId=swap)
            return okx_predicted_funding_of(answer, now_ms=self._clock.now_ms(), provenance=self.provenance)
        if kind is Kind.OPEN_INTEREST:
            return okx_open_interest_of(self._ask("public/open-interest", instType="SWAP", instId=swap), provenance=self.provenance)
        if kind is Kind.GLOBAL_RATIO:
            answer = self._ask("rubik/stat/contracts/long-short-account-ratio", ccy=base, period="1H", begin=start_ms, end=end_ms)
            return cut(okx_ratio_of(answer, period_ms=HOUR_MS, provenance=self.provenance), start_ms, end_ms)
        if kind is Kind.LIQUIDATIONS:
            size = okx_contract_size_of(self._ask("public/instruments", instType="SWAP", instId=swap))
            answer = self._ask("public/liquidation-orders", instType="SWAP", uly=f"{base}-USDT", state="filled")
            return cut(okx_liquidations_of(answer, contract_size=size, provenance=self.provenance), start_ms, end_ms)
        return super().observations(kind, symbol, start_ms, end_ms, market)

    def _funding(self, swap: str, start_ms: int) -> Observations:
        """Settlements newest first in pages of 100; one page more than needed gives the first row its interval."""
        parts, before = [], None
        for _ in range(_MOST_PAGES):
            answer = self._ask("public/funding-rate-history", instId=swap, limit=_PAGE, after=before)
            part = okx_funding_of(answer, provenance=self.provenance)
            parts.append(part)
            if len(part) < _PAGE or int(part.event_time[0]) < start_ms:
                break
            before = int(part.available_time[0])
        whole = one_series(Kind.FUNDING, parts, self.provenance)
        return funding_rows(whole.available_time, whole["rate"], hours_before(whole.available_time), whole["mark_price"], self.provenance)

    def _ask(self, path: str, **params: str | int | None):
        return self._transport.json(self.channel, f"/api/v5/{path}", params)

    def serves(self, market: Market, kind: Kind) -> bool:
        return market is Market.PERP
