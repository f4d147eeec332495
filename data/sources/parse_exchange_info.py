"""What a venue lists and by which rules: symbols, their state and trading filters (binance.md 10)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from data.errors import BadPayload
from data.market import Market
from data.sources.fields import shaped


@dataclass(frozen=True)
class SymbolInfo:
    """One symbol of exchangeInfo.

    Attributes
    ----------
    status : str
        TRADING, or why not (HALT, BREAK, SETTLING, ...): the exchange's own word, unknown ones included.
    tick_size, step_size, min_quantity, min_notional : Decimal or None
        Smallest price step (quote), quantity step and smallest quantity (base), smallest order value (quote). None: no such rule.
    delivery_ms, onboard_ms : int
        Futures only, else 0.
    """

    symbol: str
    market: Market
    base: str
    quote: str
    status: str
    contract: str = ""
    tick_size: Decimal | None = None
    step_size: Decimal | None = None
    min_quantity: Decimal | None = None
    min_notional: Decimal | None = None
    onboard_ms: int = 0
    delivery_ms: int = 0

    @property
    def trading(self) -> bool:
        return self.status == "TRADING"


@dataclass(frozen=True)
class ExchangeInfo:
    symbols: dict[str, SymbolInfo]
    weight_1m: int | None


@shaped
def exchange_info_of(payload: Any, market: Market) -> ExchangeInfo:
    """Every symbol by name, and the request weight a minute that the venue states; never hard-coded."""
    limits = [int(limit["limit"]) for limit in payload.get("rateLimits", [])
              if (limit.get("rateLimitType"), limit.get("interval"), limit.get("intervalNum")) == ("REQUEST_WEIGHT", "MINUTE", 1)]
    symbols = {}
    for row in payload["symbols"]:
        filters = {str(f.get("filterType")): f for f in row.get("filters", [])}
        lot = filters.get("LOT_SIZE", {})
        notional = filters.get("NOTIONAL") or filters.get("MIN_NOTIONAL") or {}
        name = str(row["symbol"])
        symbols[name] = SymbolInfo(
            name, market, str(row["baseAsset"]), str(row["quoteAsset"]), str(row.get("status") or row.get("contractStatus") or "?"),
            str(row.get("contractType", "")), _step(filters.get("PRICE_FILTER", {}).get("tickSize")), _step(lot.get("stepSize")),
            _step(lot.get("minQty")), _step(notional.get("minNotional", notional.get("notional"))), int(row.get("onboardDate") or 0),
            int(row.get("deliveryDate") or 0))
    return ExchangeInfo(symbols, limits[0] if limits else None)


def _step(value: Any) -> Decimal | None:
    """"0" switches a rule off."""
    if value is None:
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        raise BadPayload(f"expected a number in a trading filter, got {str(value)[:30]!r}") from None
    return found if found.is_finite() and found > 0 else None
