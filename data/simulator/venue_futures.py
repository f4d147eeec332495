"""The USDT-margined endpoints: /fapi/v1, /fapi/v2 and /futures/data, keyless ones only (binance.md 5 and 6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from data.market import DAY_MS, HOUR_MS, MINUTE_MS, Interval, Market
from data.simulator import derivatives as derived
from data.simulator.venue_derived import Derived
from data.simulator.venue_hosts import Host
from data.simulator.venue_market import PERP_INTERVALS, Spelling, VenueMarket
from data.simulator.venue_rest import ApiError, Endpoint, Query
from data.simulator.venue_spot import INVALID_INTERVAL, between, from_id, newest, per_symbol, plain_limit, window_fields

PERP, SPOT = Market.PERP, Market.SPOT
FAPI = frozenset({Host.FAPI})
DEPTH_LIMITS = {5: 2, 10: 2, 20: 2, 50: 2, 100: 5, 500: 10, 1000: 20}
CONTRACTS = ("PERPETUAL", "CURRENT_QUARTER", "NEXT_QUARTER", "TRADIFI_PERPETUAL")
PERIODS = ("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")
DATA_DAYS = 30
PUBLISHED_AFTER_MS = 5 * MINUTE_MS
AGG_TRADE_HOURS = 48
ONBOARD_MS = 1_665_532_800_000
EIGHT = Spelling(8, 8, 8)


def derived_of(market: VenueMarket) -> Derived:
    """One `Derived` per market, remembered beside it."""
    if "derived" not in market.beside:
        market.beside["derived"] = Derived(market)
    return market.beside["derived"]


# -- candles ----------------------------------------------------------------------------------------------------------


def _candles(kind: str, name: str) -> Callable[[Query], list[list[Any]]]:
    def answer(q: Query) -> list[list[Any]]:
        symbol = q.symbol(name)
        if kind == "continuous" and q.choice("contractType", CONTRACTS, ApiError(-1130, "Invalid contractType.")) != "PERPETUAL":
            return []
        interval = q.choice("interval", PERP_INTERVALS, INVALID_INTERVAL)
        start, end = q.times()
        limit = q.limit(500, 1500)
        if kind in ("perp", "continuous"):
            rows = q.market.klines(symbol, PERP, interval, start, end, limit, q.now)
            return [q.market.kline(row, q.market.spelling(symbol, PERP)) for row in rows]
        rows = q.market.klines(symbol, SPOT, interval, start, end, limit, q.now)
        return [q.market.kline(row, EIGHT, volumes=False) for row in derived_of(q.market).price_rows(kind, symbol, interval, rows)]

    return answer


def _candle_weight(q: Query) -> int:
    limit = plain_limit(q, 500)
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10


# -- book and trades --------------------------------------------------------------------------------------------------


def depth(q: Query) -> dict[str, Any]:
    symbol, limit = q.symbol(), q.integer("limit", 500)
    if limit not in DEPTH_LIMITS:
        raise ApiError(-4021, f"'{limit}' is not valid depth limit.")
    found = q.market.depth(symbol, PERP, limit, q.now)
    return {"lastUpdateId": found["lastUpdateId"], "E": q.now, "T": q.now - 3, "bids": found["bids"], "asks": found["asks"]}


def perp_trade(found: tuple[int, int, float, float, bool], s: Spelling) -> dict[str, Any]:
    number, at, price, size, maker = found
    return {"id": number, "price": s.p(price), "qty": s.q(size), "quoteQty": f"{price * size:.2f}", "time": at, "isBuyerMaker": maker,
            "isRPITrade": False}


def trades(q: Query) -> list[dict[str, Any]]:
    symbol = q.symbol()
    spelling = q.market.spelling(symbol, PERP)
    return [perp_trade(t, spelling) for t in newest(q.market, symbol, PERP, q.limit(500, 1000), q.now)]


def aggregate_trades(q: Query) -> list[dict[str, Any]]:
    symbol, first, (start, end), limit = q.symbol(), q.integer("fromId"), q.times(), q.limit(500, 1000)
    if first is not None and (start is not None or end is not None):
        raise ApiError(-1128, "Combination of optional parameters invalid.")
    if start is not None and end is not None and end - start > HOUR_MS:
        raise ApiError(-1127, "More than 1 hours between startTime and endTime.")
    oldest = q.now - AGG_TRADE_HOURS * HOUR_MS
    if first is not None:
        found = [t for t in from_id(q.market, symbol, PERP, first, limit, q.now) if t[1] >= oldest]
    else:
        found = between(q.market, symbol, PERP, None if start is None else max(start, oldest), end, limit, q.now)
    s = q.market.spelling(symbol, PERP)
    return [{"a": n, "p": s.p(p), "q": s.q(v), "nq": s.q(v), "f": n, "l": n, "T": at, "m": m} for n, at, p, v, m in found]


# -- tickers ----------------------------------------------------------------------------------------------------------


def day_ticker(market: VenueMarket, symbol: str, now: int) -> dict[str, Any]:
    _, change, common = window_fields(market, symbol, PERP, DAY_MS, now)
    last = market.last_trade(symbol, PERP, now)
    return {"symbol": symbol, **change, "lastPrice": common["lastPrice"], "lastQty": market.spelling(symbol, PERP).q(last[3]),
            **{k: v for k, v in common.items() if k != "lastPrice"}}


def ticker_price(market: VenueMarket, symbol: str, now: int) -> dict[str, Any]:
    return {"symbol": symbol, "price": market.spelling(symbol, PERP).p(market.price(symbol, PERP, now)),
            "time": market.last_trade(symbol, PERP, now)[1]}


def book_ticker(market: VenueMarket, symbol: str, now: int) -> dict[str, Any]:
    update, bid, bid_size, ask, ask_size = market.best(symbol, PERP, now)
    return {"symbol": symbol, "bidPrice": bid, "bidQty": bid_size, "askPrice": ask, "askQty": ask_size, "time": now,
            "lastUpdateId": update}


def premium_index(market: VenueMarket, symbol: str, now: int) -> dict[str, Any]:
    found = derived_of(market)
    rate, settled = found.funding(symbol, now)
    return {"symbol": symbol, "markPrice": f"{found.mark_price(symbol, now):.8f}", "indexPrice": f"{found.index_price(symbol, now):.8f}",
            "estimatedSettlePrice": f"{found.index_price(symbol, now):.8f}", "lastFundingRate": f"{rate:.8f}",
            "interestRate": f"{derived.INTEREST_RATE:.8f}", "nextFundingTime": settled, "time": now}


# -- funding and interest ---------------------------------------------------------------------------------------------


def funding_rate(q: Query) -> list[dict[str, Any]]:
    start, end = q.times()
    limit = q.limit(100, 1000)
    found = derived_of(q.market)
    rows: list[dict[str, Any]] = []
    for symbol in ([q.symbol()] if "symbol" in q.sent else q.market.listed):
        number, stop = found.number(symbol), min(q.now, end if end is not None else q.now)
        step = derived.funding_hours(number) * HOUR_MS
        times = derived.funding_times(number, start if start is not None else max(0, stop - (limit + 1) * step), stop)
        times = times[:limit] if start is not None else times[-limit:]
        rates = derived.funding_rates(found.seed, number, times)
        for at, rate in zip(times.tolist(), rates.tolist(), strict=True):
            if at + settlement_jitter_ms(at) <= q.now:
                rows.append({"symbol": symbol, "fundingRate": f"{rate:.8f}", "fundingTime": at + settlement_jitter_ms(at),
                             "markPrice": _mark_text(found, symbol, at), "rateType": "Regular"})
    rows.sort(key=lambda r: r["fundingTime"])
    return rows[:limit] if start is not None else rows[-limit:]


def settlement_jitter_ms(at: int) -> int:
    """Settlement stamps are some milliseconds late, as recorded ones are."""
    return (at // HOUR_MS * 7) % 14


def _mark_text(found: Derived, symbol: str, at: int) -> str:
    """Mark price at a settlement, from the hour's opening price."""
    hours = found.market.tape.hours(symbol, SPOT, at, at + HOUR_MS)
    if not len(hours):
        return ""
    premium = derived.premium_candles(found.seed, found.number(symbol), np.array([at]), MINUTE_MS)[0, 0]
    return f"{float(hours.open[0]) * (1 + float(premium)):.8f}"


def funding_info(q: Query) -> list[dict[str, Any]]:
    out = []
    for symbol in q.market.listed:
        hours = derived.funding_hours(q.market.tape.number(symbol))
        if hours != 8:  # only symbols with adjusted terms are listed
            cap = f"{derived.FUNDING_CAP[hours]:.8f}"
            out.append({"symbol": symbol, "adjustedFundingRateCap": cap, "adjustedFundingRateFloor": f"-{cap}",
                        "fundingIntervalHours": hours, "disclaimer": False, "updateTime": ONBOARD_MS})
    return out


def open_interest(q: Query) -> dict[str, Any]:
    symbol = q.symbol()
    value = float(derived_of(q.market).open_interest(symbol, np.array([q.now]))[0])
    return {"openInterest": q.market.spelling(symbol, PERP).q(value), "symbol": symbol, "time": q.now}


# -- /futures/data ----------------------------------------------------------------------------------------------------


def _moments(q: Query, *, interval_close: bool = False) -> tuple[np.ndarray, str]:
    """The stamps a statistics request asks for: at most `limit`, inside the last thirty days, published."""
    period = q.choice("period", PERIODS, ApiError(-1130, "parameter 'period' is invalid."))
    step = Interval(period).ms
    start, end = q.times()
    limit = q.limit(30, 500)
    if start is not None and start < q.now - DATA_DAYS * DAY_MS:
        raise ApiError(-1130, "parameter 'startTime' is invalid.")
    if end is not None and end < q.now - DATA_DAYS * DAY_MS:
        raise ApiError(-1130, "parameter 'endTime' is invalid.")
    lag = PUBLISHED_AFTER_MS + (step if interval_close else 0)
    stop = q.now - lag
    if end is not None:
        stop = min(stop, end - (step if interval_close else 0))
    newest_stamp = stop // step * step
    oldest = -(-(start if start is not None else q.now - DATA_DAYS * DAY_MS) // step) * step
    stamps = np.arange(oldest, newest_stamp + 1, step, dtype=np.int64)
    return (stamps[:limit] if start is not None else stamps[-limit:]), period


def open_interest_hist(q: Query) -> list[dict[str, Any]]:
    symbol = q.symbol()
    stamps, period = _moments(q)
    if not len(stamps):
        return []
    found = derived_of(q.market)
    at, price, _ = found.perp_prices(symbol, stamps, period)
    contracts = found.open_interest(symbol, at)
    return [{"symbol": symbol, "sumOpenInterest": f"{c:.8f}", "sumOpenInterestValue": f"{c * p:.8f}",
             "CMCCirculatingSupply": "0.00000000", "timestamp": t}
            for t, c, p in zip(at.tolist(), contracts.tolist(), price.tolist(), strict=True)]


def _ratio(which: str) -> Callable[[Query], list[dict[str, Any]]]:
    def answer(q: Query) -> list[dict[str, Any]]:
        symbol = q.symbol()
        stamps, _ = _moments(q)
        share = derived.long_share(q.market.tape.seed, q.market.tape.number(symbol), which, stamps)
        return [{"symbol": symbol, "longShortRatio": f"{s / (1 - s):.4f}", "longAccount": f"{s:.4f}", "shortAccount": f"{1 - s:.4f}",
                 "timestamp": t} for t, s in zip(stamps.tolist(), share.tolist(), strict=True)]

    return answer


def taker_ratio(q: Query) -> list[dict[str, Any]]:
    symbol = q.symbol()
    stamps, period = _moments(q, interval_close=True)
    if not len(stamps):
        return []
    candles = q.market.tape.candles(symbol, PERP, Interval(period), int(stamps[0]), int(stamps[-1]) + 1)
    out = []
    for at, volume, buy in zip(candles.open_time.tolist(), candles.volume.tolist(), candles.taker_buy_volume.tolist(), strict=True):
        sell = volume - buy
        out.append({"buySellRatio": f"{buy / sell if sell else 0:.4f}", "sellVol": f"{sell:.4f}", "buyVol": f"{buy:.4f}", "timestamp": at})
    return out


def basis(q: Query) -> list[dict[str, Any]]:
    pair = q.symbol("pair")
    if q.choice("contractType", CONTRACTS, ApiError(-1130, "parameter 'contractType' is invalid.")) != "PERPETUAL":
        return []
    stamps, period = _moments(q)
    if not len(stamps):
        return []
    at, perp, spot = derived_of(q.market).perp_prices(pair, stamps, period)
    s = q.market.spelling(pair, PERP)
    return [{"indexPrice": f"{i:.8f}", "contractType": "PERPETUAL", "basisRate": f"{f / i - 1:.4f}", "futuresPrice": s.p(f),
             "annualizedBasisRate": "", "basis": f"{f - i:.8f}", "pair": pair, "timestamp": t}
            for t, f, i in zip(at.tolist(), perp.tolist(), spot.tolist(), strict=True)]


# -- the exchange itself ----------------------------------------------------------------------------------------------


def exchange_info(q: Query) -> dict[str, Any]:
    return {
        "timezone": "UTC", "serverTime": q.now, "futuresType": "U_MARGINED",
        "rateLimits": [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 2400},
                       {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 1200},
                       {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 300}],
        "exchangeFilters": [], "assets": [{"asset": "USDT", "marginAvailable": True, "autoAssetExchange": "-10000"}],
        "symbols": [_symbol_info(q.market, symbol) for symbol in q.market.listed]}


def _symbol_info(market: VenueMarket, symbol: str) -> dict[str, Any]:
    item, s = market.tape.listing(symbol), market.spelling(symbol, PERP)
    tick, step = s.p(item.tick), s.q(item.step)
    return {
        "symbol": symbol, "pair": symbol, "contractType": "PERPETUAL", "deliveryDate": 4133404800000, "onboardDate": ONBOARD_MS,
        "status": "TRADING", "maintMarginPercent": "2.5000", "requiredMarginPercent": "5.0000", "baseAsset": symbol.removesuffix("USDT"),
        "quoteAsset": "USDT", "marginAsset": "USDT", "pricePrecision": s.price, "quantityPrecision": s.quantity, "baseAssetPrecision": 8,
        "quotePrecision": 8, "underlyingType": "COIN", "underlyingSubType": ["PoW"], "triggerProtect": "0.0500",
        "liquidationFee": "0.012500", "marketTakeBound": "0.05", "maxMoveOrderLimit": 10000,
        "filters": [{"filterType": "PRICE_FILTER", "minPrice": tick, "tickSize": tick, "maxPrice": "4529764"},
                    {"stepSize": step, "minQty": step, "maxQty": f"{item.step * 1e8:g}", "filterType": "LOT_SIZE"},
                    {"filterType": "MARKET_LOT_SIZE", "maxQty": f"{item.step * 1e7:g}", "stepSize": step, "minQty": step},
                    {"filterType": "MAX_NUM_ORDERS", "limit": 200}, {"filterType": "MIN_NOTIONAL", "notional": "5"},
                    {"filterType": "PERCENT_PRICE", "multiplierDecimal": "4", "multiplierDown": "0.9500", "multiplierUp": "1.0500"},
                    {"filterType": "POSITION_RISK_CONTROL", "positionControlSide": "NONE"}],
        "orderTypes": ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"], "permissionSets": ["GRID", "COPY", "DCA", "PSB"]}


def _one_or_all(one: int, everything: int) -> Callable[[Query], int]:
    return lambda q: one if "symbol" in q.sent else everything


def _data(answer: Callable[[Query], Any]) -> Endpoint:
    return Endpoint(answer, lambda q: 0, FAPI, "data")


ENDPOINTS: dict[str, Endpoint] = {
    "/fapi/v1/ping": Endpoint(lambda q: {}, lambda q: 1, FAPI),
    "/fapi/v1/time": Endpoint(lambda q: {"serverTime": q.now}, lambda q: 1, FAPI),
    "/fapi/v1/exchangeInfo": Endpoint(exchange_info, lambda q: 1, FAPI),
    "/fapi/v1/klines": Endpoint(_candles("perp", "symbol"), _candle_weight, FAPI),
    "/fapi/v1/continuousKlines": Endpoint(_candles("continuous", "pair"), _candle_weight, FAPI),
    "/fapi/v1/indexPriceKlines": Endpoint(_candles("index", "pair"), _candle_weight, FAPI),
    "/fapi/v1/markPriceKlines": Endpoint(_candles("mark", "symbol"), _candle_weight, FAPI),
    "/fapi/v1/premiumIndexKlines": Endpoint(_candles("premium", "symbol"), _candle_weight, FAPI),
    "/fapi/v1/premiumIndex": Endpoint(per_symbol(premium_index), _one_or_all(1, 10), FAPI),
    "/fapi/v1/fundingRate": Endpoint(funding_rate, lambda q: 0, FAPI, "funding"),
    "/fapi/v1/fundingInfo": Endpoint(funding_info, lambda q: 0, FAPI, "funding"),
    "/fapi/v1/openInterest": Endpoint(open_interest, lambda q: 1, FAPI),
    "/fapi/v1/depth": Endpoint(depth, lambda q: DEPTH_LIMITS.get(plain_limit(q, 500), 1), FAPI),
    "/fapi/v1/trades": Endpoint(trades, lambda q: 5, FAPI),
    "/fapi/v1/aggTrades": Endpoint(aggregate_trades, lambda q: 20, FAPI),
    "/fapi/v1/ticker/24hr": Endpoint(per_symbol(day_ticker), _one_or_all(1, 40), FAPI),
    "/fapi/v1/ticker/price": Endpoint(per_symbol(ticker_price), _one_or_all(1, 2), FAPI),
    "/fapi/v2/ticker/price": Endpoint(per_symbol(ticker_price), _one_or_all(1, 2), FAPI),
    "/fapi/v1/ticker/bookTicker": Endpoint(per_symbol(book_ticker), _one_or_all(2, 5), FAPI),
    "/futures/data/openInterestHist": _data(open_interest_hist),
    "/futures/data/globalLongShortAccountRatio": _data(_ratio("global")),
    "/futures/data/topLongShortAccountRatio": _data(_ratio("top_account")),
    "/futures/data/topLongShortPositionRatio": _data(_ratio("top_position")),
    "/futures/data/takerlongshortRatio": _data(taker_ratio),
    "/futures/data/basis": _data(basis),
}
