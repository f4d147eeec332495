"""The spot endpoints under /api/v3, keyless ones only (binance.md 4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from data.market import DAY_MS, HOUR_MS, MINUTE_MS, Market
from data.simulator.venue_hosts import Host
from data.simulator.venue_market import SPOT_INTERVALS, Row, Spelling, VenueMarket
from data.simulator.venue_rest import ApiError, Endpoint, Query

BOTH = frozenset({Host.API, Host.MIRROR})
API_ONLY = frozenset({Host.API})
SPOT = Market.SPOT
INVALID_INTERVAL = ApiError(-1120, "Invalid interval.")
LOOK_BACK_MS = 2 * HOUR_MS  # newest trades are sought this far back
ORDER_TYPES = ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT"]
WINDOWS = {**{f"{n}m": n * MINUTE_MS for n in range(1, 60)}, **{f"{n}h": n * HOUR_MS for n in range(1, 24)},
           **{f"{n}d": n * DAY_MS for n in range(1, 8)}}


def klines(q: Query) -> list[list[Any]]:
    symbol = q.symbol()
    interval = q.choice("interval", SPOT_INTERVALS, INVALID_INTERVAL)
    start, end = q.times()
    limit = q.limit(500, 1000)
    zone = q.text("timeZone", "0")
    if zone not in ("0", "00:00", "0:00"):
        raise ApiError(-1130, "The simulated venue keeps UTC only: send timeZone=0.")
    rows = q.market.klines(symbol, SPOT, interval, start, end, limit, q.now)
    spelling = q.market.spelling(symbol, SPOT)
    return [q.market.kline(row, spelling) for row in rows]


def depth(q: Query) -> dict[str, Any]:
    symbol = q.symbol()
    return q.market.depth(symbol, SPOT, q.limit(100, 5000), q.now)


def depth_weight(q: Query) -> int:
    limit = plain_limit(q, 100)
    return 5 if limit <= 100 else 25 if limit <= 500 else 50 if limit <= 1000 else 250


def plain_limit(q: Query, default: int) -> int:
    text = q.sent.get("limit", "")
    return int(text) if text.isdigit() else default


def spot_trade(found: tuple[int, int, float, float, bool], s: Spelling) -> dict[str, Any]:
    number, at, price, size, maker = found
    return {"id": number, "price": s.p(price), "qty": s.q(size), "quoteQty": s.v(price * size), "time": at, "isBuyerMaker": maker,
            "isBestMatch": True}


def spot_aggregate(found: tuple[int, int, float, float, bool], s: Spelling) -> dict[str, Any]:
    number, at, price, size, maker = found
    return {"a": number, "p": s.p(price), "q": s.q(size), "f": number, "l": number, "T": at, "m": maker, "M": True}


def newest(market: VenueMarket, symbol: str, side: Market, limit: int, now: int) -> list[tuple[int, int, float, float, bool]]:
    """The last trades up to now, oldest first."""
    out: list[tuple[int, int, float, float, bool]] = []
    at = now // MINUTE_MS * MINUTE_MS
    while len(out) < limit and at > now - 12 * LOOK_BACK_MS:
        out = market.floor.trades(symbol, side, at, min(now, at + MINUTE_MS - 1) + 1) + out
        at -= MINUTE_MS
    return out[-limit:]


def from_id(market: VenueMarket, symbol: str, side: Market, first: int, limit: int, now: int) -> list[tuple[int, int, float, float, bool]]:
    """Trades with id >= first, found by halving time: ids grow with it."""
    low, high = now // MINUTE_MS - 80 * 1440, now // MINUTE_MS
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if market.tape.trades_before(symbol, side, middle * MINUTE_MS) <= first else (low, middle - 1)
    out: list[tuple[int, int, float, float, bool]] = []
    at = low * MINUTE_MS
    while len(out) < limit and at <= now:
        out += [t for t in market.floor.trades(symbol, side, at, min(now, at + MINUTE_MS - 1) + 1) if t[0] >= first]
        at += MINUTE_MS
    return out[:limit]


def between(market: VenueMarket, symbol: str, side: Market, start: int | None, end: int | None, limit: int,
            now: int) -> list[tuple[int, int, float, float, bool]]:
    """Trades by the paging rule of times, both inclusive."""
    stop = min(now, end if end is not None else now)
    if start is None:
        return newest(market, symbol, side, limit, stop)
    out: list[tuple[int, int, float, float, bool]] = []
    at = max(start, now - 80 * DAY_MS)
    while len(out) < limit and at <= stop:
        until = min(stop + 1, at // MINUTE_MS * MINUTE_MS + MINUTE_MS)
        out += market.floor.trades(symbol, side, at, until)
        at = until
    return out[:limit]


def trades(q: Query) -> list[dict[str, Any]]:
    symbol = q.symbol()
    spelling = q.market.spelling(symbol, SPOT)
    return [spot_trade(t, spelling) for t in newest(q.market, symbol, SPOT, q.limit(500, 1000), q.now)]


def historical_trades(q: Query) -> list[dict[str, Any]]:
    symbol, first, limit = q.symbol(), q.integer("fromId"), q.limit(500, 1000)
    spelling = q.market.spelling(symbol, SPOT)
    found = newest(q.market, symbol, SPOT, limit, q.now) if first is None else from_id(q.market, symbol, SPOT, first, limit, q.now)
    return [spot_trade(t, spelling) for t in found]


def aggregate_trades(q: Query) -> list[dict[str, Any]]:
    symbol, first, (start, end), limit = q.symbol(), q.integer("fromId"), q.times(), q.limit(500, 1000)
    spelling = q.market.spelling(symbol, SPOT)
    if first is not None:
        if start is not None or end is not None:
            raise ApiError(-1128, "Combination of optional parameters invalid.")
        found = from_id(q.market, symbol, SPOT, first, limit, q.now)
    else:
        found = between(q.market, symbol, SPOT, start, end, limit, q.now)
    return [spot_aggregate(t, spelling) for t in found]


# -- tickers ----------------------------------------------------------------------------------------------------------


def window_fields(market: VenueMarket, symbol: str, side: Market, length: int, now: int) -> tuple[Row, dict[str, Any], dict[str, Any]]:
    """The row of a rolling window, its change fields, and the fields every ticker has."""
    row, first, last = market.window(symbol, side, now - length, now)
    s = market.spelling(symbol, side)
    change = {"priceChange": s.p(row[4] - row[1]), "priceChangePercent": f"{100 * (row[4] / row[1] - 1):.3f}",
              "weightedAvgPrice": s.p(row[7] / row[5] if row[5] else row[4])}
    common = {"openPrice": s.p(row[1]), "highPrice": s.p(row[2]), "lowPrice": s.p(row[3]), "lastPrice": s.p(row[4]),
              "volume": s.q(row[5]), "quoteVolume": s.v(row[7]), "openTime": now - length, "closeTime": now, "firstId": first,
              "lastId": last, "count": row[8]}
    return row, change, common


def day_ticker(market: VenueMarket, symbol: str, now: int) -> dict[str, Any]:
    row, change, common = window_fields(market, symbol, SPOT, DAY_MS, now)
    s = market.spelling(symbol, SPOT)
    _, bid, bid_size, ask, ask_size = market.best(symbol, SPOT, now)
    return {"symbol": symbol, **change, "prevClosePrice": s.p(row[1]), "lastPrice": common["lastPrice"],
            "lastQty": s.q(market.last_trade(symbol, SPOT, now)[3]), "bidPrice": bid, "bidQty": bid_size, "askPrice": ask,
            "askQty": ask_size, **{k: v for k, v in common.items() if k != "lastPrice"}}


def _windowed(length_of: Callable[[Query], int], *, mandatory: bool) -> Callable[[Query], Any]:
    def answer(q: Query) -> Any:
        names, kind = q.symbols(), q.text("type", "FULL")
        if names is None and mandatory and "symbol" not in q.sent:
            raise missing_either()
        length = length_of(q)
        chosen = names if names is not None else [q.symbol()]

        def one(symbol: str) -> dict[str, Any]:
            _, change, common = window_fields(q.market, symbol, SPOT, length, q.now)
            return {"symbol": symbol, **(change if kind == "FULL" else {}), **common}

        return [one(s) for s in chosen] if names is not None else one(chosen[0])

    return answer


def missing_either() -> ApiError:
    return ApiError(-1102, "Mandatory parameter 'symbol' or 'symbols' was not sent, was empty/null, or malformed.")


def _window_length(q: Query) -> int:
    size = q.text("windowSize", "1d")
    if size not in WINDOWS:
        raise ApiError(-1130, "Invalid windowSize.")
    return WINDOWS[size]


def _today(q: Query) -> int:
    q.text("timeZone", "0")
    return q.now % DAY_MS


def per_symbol(one: Callable[[VenueMarket, str, int], dict[str, Any]]) -> Callable[[Query], Any]:
    """An object for `symbol`, an array for `symbols` or for nothing at all."""
    def answer(q: Query) -> Any:
        q.text("symbolStatus")
        names = q.symbols()
        if names is None and "symbol" in q.sent:
            return one(q.market, q.symbol(), q.now)
        return [one(q.market, s, q.now) for s in (names if names is not None else q.market.listed)]

    return answer


def ticker_24h(q: Query) -> Any:
    if q.text("type", "FULL") == "MINI":
        return per_symbol(lambda m, s, now: {"symbol": s, **window_fields(m, s, SPOT, DAY_MS, now)[2]})(q)
    return per_symbol(day_ticker)(q)


def ticker_price(market: VenueMarket, symbol: str, now: int) -> dict[str, Any]:
    return {"symbol": symbol, "price": market.spelling(symbol, SPOT).p(market.price(symbol, SPOT, now))}


def book_ticker(market: VenueMarket, symbol: str, now: int) -> dict[str, Any]:
    _, bid, bid_size, ask, ask_size = market.best(symbol, SPOT, now)
    return {"symbol": symbol, "bidPrice": bid, "bidQty": bid_size, "askPrice": ask, "askQty": ask_size}


def average_price(q: Query) -> dict[str, Any]:
    symbol = q.symbol()
    row, *_ = q.market.window(symbol, SPOT, q.now - 5 * MINUTE_MS, q.now)
    at = q.market.last_trade(symbol, SPOT, q.now)[1]
    return {"mins": 5, "price": q.market.spelling(symbol, SPOT).p(row[7] / row[5] if row[5] else row[4]), "closeTime": at}


# -- the exchange itself ----------------------------------------------------------------------------------------------


def exchange_info(q: Query) -> dict[str, Any]:
    names = q.symbols()
    for name in ("permissions", "symbolStatus", "showPermissionSets"):
        q.text(name)
    chosen = names if names is not None else [q.symbol()] if "symbol" in q.sent else list(q.market.listed)
    return {
        "timezone": "UTC", "serverTime": q.now,
        "rateLimits": [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000},
            {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
            {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 200000},
            {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 300000}],
        "exchangeFilters": [], "symbols": [_symbol_info(q.market, name) for name in chosen]}


def _symbol_info(market: VenueMarket, symbol: str) -> dict[str, Any]:
    item = market.tape.listing(symbol)
    tick, step, most = f"{item.tick:.8f}", f"{item.step:.8f}", f"{item.step * 9e8:.8f}"
    return {
        "symbol": symbol, "status": "TRADING", "baseAsset": symbol.removesuffix("USDT"), "baseAssetPrecision": 8, "quoteAsset": "USDT",
        "quotePrecision": 8, "quoteAssetPrecision": 8, "baseCommissionPrecision": 8, "quoteCommissionPrecision": 8,
        "orderTypes": ORDER_TYPES, "icebergAllowed": True, "ocoAllowed": True, "otoAllowed": True, "opoAllowed": True,
        "quoteOrderQtyMarketAllowed": True, "allowTrailingStop": True, "cancelReplaceAllowed": True, "amendAllowed": True,
        "pegInstructionsAllowed": True, "isSpotTradingAllowed": True, "isMarginTradingAllowed": True,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": most, "stepSize": step},
            {"filterType": "ICEBERG_PARTS", "limit": 100},
            {"filterType": "MARKET_LOT_SIZE", "minQty": "0.00000000", "maxQty": most, "stepSize": "0.00000000"},
            {"filterType": "TRAILING_DELTA", "minTrailingAboveDelta": 10, "maxTrailingAboveDelta": 2000, "minTrailingBelowDelta": 10,
             "maxTrailingBelowDelta": 2000},
            {"filterType": "PERCENT_PRICE_BY_SIDE", "bidMultiplierUp": "5", "bidMultiplierDown": "0.2", "askMultiplierUp": "5",
             "askMultiplierDown": "0.2", "avgPriceMins": 5},
            {"filterType": "NOTIONAL", "minNotional": "5.00000000", "applyMinToMarket": True, "maxNotional": "9000000.00000000",
             "applyMaxToMarket": False, "avgPriceMins": 5},
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
            {"filterType": "MAX_NUM_ORDER_LISTS", "maxNumOrderLists": 20},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
            {"filterType": "MAX_NUM_ORDER_AMENDS", "maxNumOrderAmends": 10}],
        "permissions": [], "permissionSets": [["SPOT"]], "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT", "TRANSFER"]}


def _few_or_all(one: int, everything: int) -> Callable[[Query], int]:
    return lambda q: one if "symbol" in q.sent else everything


def _ticker_weight(q: Query) -> int:
    n = q.sent["symbols"].count(",") + 1 if "symbols" in q.sent else 1 if "symbol" in q.sent else 101
    return 2 if n <= 20 else 40 if n <= 100 else 80


def _window_weight(q: Query) -> int:
    return min(200, 4 * (q.sent.get("symbols", "").count(",") + 1))


ENDPOINTS: dict[str, Endpoint] = {
    "/api/v3/ping": Endpoint(lambda q: {}, lambda q: 1, BOTH),
    "/api/v3/time": Endpoint(lambda q: {"serverTime": q.now}, lambda q: 1, BOTH),
    "/api/v3/exchangeInfo": Endpoint(exchange_info, lambda q: 20, BOTH),
    "/api/v3/klines": Endpoint(klines, lambda q: 2, BOTH),
    "/api/v3/uiKlines": Endpoint(klines, lambda q: 2, BOTH),
    "/api/v3/depth": Endpoint(depth, depth_weight, BOTH),
    "/api/v3/trades": Endpoint(trades, lambda q: 25, BOTH),
    "/api/v3/historicalTrades": Endpoint(historical_trades, lambda q: 25, API_ONLY),
    "/api/v3/aggTrades": Endpoint(aggregate_trades, lambda q: 4, BOTH),
    "/api/v3/avgPrice": Endpoint(average_price, lambda q: 2, BOTH),
    "/api/v3/ticker/24hr": Endpoint(ticker_24h, _ticker_weight, BOTH),
    "/api/v3/ticker/price": Endpoint(per_symbol(ticker_price), _few_or_all(2, 4), BOTH),
    "/api/v3/ticker/bookTicker": Endpoint(per_symbol(book_ticker), _few_or_all(2, 4), BOTH),
    "/api/v3/ticker": Endpoint(_windowed(_window_length, mandatory=True), _window_weight, BOTH),
    "/api/v3/ticker/tradingDay": Endpoint(_windowed(_today, mandatory=True), _window_weight, API_ONLY),
}
