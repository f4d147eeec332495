"""The option endpoints under /eapi/v1 (binance.md 8)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from data.market import Market
from data.simulator import options
from data.simulator.venue_hosts import Host
from data.simulator.venue_rest import ApiError, Endpoint, Query, invalid_symbol

EAPI = frozenset({Host.EAPI})


def _spot(q: Query, asset: str) -> float:
    return q.market.price(options.UNDERLYINGS[asset][0], Market.SPOT, q.now)


def _contracts(q: Query) -> list[tuple[str, options.OptionContract]]:
    return [(asset, c) for asset in options.UNDERLYINGS for c in options.chain(asset, q.now, _spot(q, asset))]


def exchange_info(q: Query) -> dict[str, Any]:
    return {
        "timezone": "UTC", "serverTime": q.now,
        "rateLimits": [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 400}],
        "optionContracts": [{"baseAsset": a, "quoteAsset": "USDT", "underlying": options.UNDERLYINGS[a][0], "settleAsset": "USDT"}
                            for a in options.UNDERLYINGS],
        "optionAssets": [{"name": "USDT"}],
        "optionSymbols": [{
            "expiryDate": c.expiry_ms, "filters": [
                {"filterType": "PRICE_FILTER", "minPrice": "0.1", "maxPrice": "100000", "tickSize": "0.1"},
                {"filterType": "LOT_SIZE", "minQty": "0.01", "maxQty": "1000", "stepSize": "0.01"}],
            "symbol": c.symbol, "side": "CALL" if c.is_call else "PUT", "strikePrice": f"{c.strike:.8f}", "underlying": c.underlying,
            "unit": 1, "liquidationFeeRate": "0.0019", "minQty": "0.01", "maxQty": "1000", "initialMargin": "0.15",
            "maintenanceMargin": "0.075", "minInitialMargin": "0.1", "minMaintenanceMargin": "0.05", "priceScale": 1, "quantityScale": 2,
            "quoteAsset": "USDT"} for _, c in _contracts(q)]}


def mark(q: Query) -> list[dict[str, Any]]:
    wanted = q.text("symbol")
    out = []
    for asset in options.UNDERLYINGS:
        if wanted and not wanted.startswith(asset + "-"):
            continue
        spot = _spot(q, asset)
        for m in options.marks(q.market.tape.seed, asset, q.now, spot):
            if wanted in (None, m.contract.symbol):
                out.append({"symbol": m.contract.symbol, "markPrice": f"{m.mark:.3f}", "bidIV": f"{m.bid_iv:.8f}",
                            "askIV": f"{m.ask_iv:.8f}", "markIV": f"{m.mark_iv:.8f}", "delta": f"{m.delta:.8f}",
                            "theta": f"{m.theta:.8f}", "gamma": f"{m.gamma:.8f}", "vega": f"{m.vega:.8f}",
                            "highPriceLimit": f"{m.mark + 0.1 * spot:.1f}", "lowPriceLimit": f"{max(0.1, m.mark - 0.1 * spot):.1f}",
                            "riskFreeInterest": "0.00000000"})
    if wanted and not out:
        raise invalid_symbol()
    return out


def open_interest(q: Query) -> list[dict[str, Any]]:
    asset = q.choice("underlyingAsset", tuple(options.UNDERLYINGS), invalid_symbol())
    expiration = q.required("expiration")
    spot = _spot(q, asset)
    out = []
    for c in options.chain(asset, q.now, spot):
        if f"{datetime.fromtimestamp(c.expiry_ms // 1000, UTC):%y%m%d}" == expiration:
            held = options.open_interest(q.market.tape.seed, c, q.now, spot)
            out.append({"symbol": c.symbol, "sumOpenInterest": f"{held:.2f}", "sumOpenInterestUsd": f"{held * spot:.8f}",
                        "timestamp": str(q.now)})
    if not out:
        raise ApiError(-1130, "Data sent for parameter 'expiration' is not valid.")
    return out


def index(q: Query) -> dict[str, Any]:
    known = {symbol: asset for asset, (symbol, *_) in options.UNDERLYINGS.items()}
    asset = known[q.choice("underlying", tuple(known), invalid_symbol())]
    return {"time": q.now, "indexPrice": f"{_spot(q, asset):.8f}"}


ENDPOINTS: dict[str, Endpoint] = {
    "/eapi/v1/ping": Endpoint(lambda q: {}, lambda q: 1, EAPI),
    "/eapi/v1/time": Endpoint(lambda q: {"serverTime": q.now}, lambda q: 1, EAPI),
    "/eapi/v1/exchangeInfo": Endpoint(exchange_info, lambda q: 1, EAPI),
    "/eapi/v1/mark": Endpoint(mark, lambda q: 5, EAPI),
    "/eapi/v1/openInterest": Endpoint(open_interest, lambda q: 0, EAPI),
    "/eapi/v1/index": Endpoint(index, lambda q: 1, EAPI),
}
