"""The vendors of daily series beside the exchange: Coin Metrics' community API, DefiLlama, alternative.me.

They print the planted days of observed_chain.py, up to the newest day that is over, as text or numbers in the vendors' own spelling.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data.clock import iso, parse_time
from data.errors import BadTime
from data.market import DAY_MS
from data.observations import Kind, Observations, coin_of
from data.simulator.market import SYMBOLS
from data.simulator.observed import World
from data.simulator.observed_chain import observed
from data.simulator.venue_hosts import Host
from data.simulator.venue_rest import ApiError, Endpoint, Query

# The vendor's name of each planted column.
_METRIC = {"price": "PriceUSD", "market_cap": "CapMrktCurUSD", "mvrv": "CapMVRVCur", "supply": "SplyCur", "flow_in": "FlowInExNtv",
           "flow_out": "FlowOutExNtv", "exchange_balance": "SplyExNtv", "issuance_value": "IssTotUSD"}
_SYMBOL_OF = {coin_of(symbol).lower(): symbol for symbol in SYMBOLS}


class VendorError(ApiError):
    """An error as Coin Metrics spells it."""

    def body(self) -> dict[str, Any]:
        return {"error": {"type": "forbidden" if self.status == 403 else "bad_parameter", "message": self.msg}}


def _rows(q: Query, kind: Kind, symbol: str = SYMBOLS[0]) -> Observations:
    return observed(World(q.market.tape.seed, q.market.tape.exchange, symbol), kind, 0, q.now)


def _asset(q: Query) -> str:
    asset = q.required("assets")
    if asset not in _SYMBOL_OF:
        raise VendorError(0, f"Bad parameter 'assets'. Value '{asset}' is not supported.")
    return asset


def _offered(rows: Observations) -> dict[str, np.ndarray]:
    """The vendor's metrics that have a value on some day."""
    return {theirs: rows[ours] for ours, theirs in _METRIC.items() if not np.isnan(rows[ours]).all()}


def catalog(q: Query) -> dict[str, Any]:
    asset = _asset(q)
    return {"data": [{"asset": asset, "metrics": [
        {"metric": metric, "frequencies": [{"frequency": "1d", "community": True}]}
        for metric in sorted(_offered(_rows(q, Kind.ON_CHAIN, _SYMBOL_OF[asset])))]}]}


def asset_metrics(q: Query) -> dict[str, Any]:
    asset = _asset(q)
    rows = _rows(q, Kind.ON_CHAIN, _SYMBOL_OF[asset])
    offered, wanted = _offered(rows), q.required("metrics").split(",")
    if forbidden := [metric for metric in wanted if metric not in offered]:
        raise VendorError(0, f"Requested metric '{forbidden[0]}' with frequency '1d' for asset '{asset}' is not available.", 403)
    try:
        start, end = (parse_time(q.required(name) + "Z") for name in ("start_time", "end_time"))
    except BadTime as error:
        raise VendorError(0, f"Bad parameter 'start_time' or 'end_time': {error}") from None
    chosen = np.flatnonzero((rows.event_time >= start) & (rows.event_time <= end))[: q.integer("page_size", 100)]
    q.text("frequency")
    return {"data": [{"asset": asset, "time": f"{iso(int(rows.event_time[i]))[:19]}.000000000Z",
                      **{metric: repr(float(offered[metric][i])) for metric in wanted}} for i in chosen]}


def stablecoins(q: Query) -> list[dict[str, Any]]:
    rows = _rows(q, Kind.STABLECOIN_SUPPLY)
    return [{"date": str(opened // 1000), "totalCirculating": {"peggedUSD": supply}, "totalCirculatingUSD": {"peggedUSD": supply}}
            for opened, supply in zip(rows.event_time.tolist(), rows["supply_usd"].tolist(), strict=True)]


def fear_greed(q: Query) -> dict[str, Any]:
    """Newest first; a limit of 0 asks for all."""
    rows = _rows(q, Kind.FEAR_GREED)
    most = q.integer("limit", 1) or len(rows)
    q.text("format")
    newest = [{"value": f"{value:.0f}", "timestamp": str(opened // 1000)}
              for opened, value in zip(rows.event_time.tolist(), rows["value"].tolist(), strict=True)][::-1]
    until = DAY_MS - q.now % DAY_MS
    return {"name": "Fear and Greed Index", "data": newest[:most], "metadata": {"error": None, "time_until_update": str(until // 1000)}}


ENDPOINTS: dict[str, Endpoint] = {
    "/v4/catalog-v2/asset-metrics": Endpoint(catalog, lambda q: 1, frozenset({Host.COINMETRICS})),
    "/v4/timeseries/asset-metrics": Endpoint(asset_metrics, lambda q: 1, frozenset({Host.COINMETRICS})),
    "/stablecoincharts/all": Endpoint(stablecoins, lambda q: 1, frozenset({Host.DEFILLAMA})),
    "/fng/": Endpoint(fear_greed, lambda q: 1, frozenset({Host.ALTERNATIVEME})),
}
