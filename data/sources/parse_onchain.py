"""On-chain, stablecoin, sentiment and hash-rate series of keyless vendors: daily, each with the hour it can be relied on.

A day's row moves until the vendor closes the day. Only closed days are returned: available_time = end of the day plus the vendor's
delay, and rows whose available_time has not come yet are left out, so a provisional value is never stored.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data.clock import parse_time
from data.errors import BadTime
from data.market import DAY_MS, HOUR_MS
from data.observations import Kind, Observations
from data.sources.fields import column, number, observations, rows_of, shaped, time_ms

COIN_METRICS_DELAY_MS = 3 * HOUR_MS  # day D is final between 02:00 and 03:00 UTC of D+1
DAILY_DELAY_MS = HOUR_MS  # DefiLlama, blockchain.com and mempool.space publish no hour; one hour is on the safe side
FEAR_GREED_DELAY_MS = 10 * 60_000  # stamped 00:00 of its own day, published right after; time_until_update counts to midnight
# Our column: the vendor's metric. Flows and balance in coins, caps and issuance in US dollars, mvrv a ratio.
COIN_METRICS = {"price": "PriceUSD", "market_cap": "CapMrktCurUSD", "mvrv": "CapMVRVCur", "supply": "SplyCur", "flow_in": "FlowInExNtv",
                "flow_out": "FlowOutExNtv", "exchange_balance": "SplyExNtv", "issuance_value": "IssTotUSD"}
TERAHASH = 1e12


@shaped
def coin_metrics_of(payload: Any, *, now_ms: int) -> Observations:
    """Asset metrics of one asset by day; a metric that the community data does not have is NaN."""
    rows = rows_of(payload["data"], "asset metrics")
    event = np.array([_day(row["time"]) for row in rows], np.int64)
    return _closed_days(Kind.ON_CHAIN, event, COIN_METRICS_DELAY_MS,
                        {ours: column(rows, theirs, required=False) for ours, theirs in COIN_METRICS.items()}, now_ms, "VENUE:coinmetrics")


@shaped
def community_metrics_of(payload: Any) -> set[str]:
    """The metrics that the catalog offers to everybody, of `catalog-v2/asset-metrics`: one forbidden metric fails a whole call."""
    return {str(metric["metric"]) for row in rows_of(payload["data"], "catalog entries") for metric in row["metrics"]
            if any(frequency.get("frequency") == "1d" and frequency.get("community", True) for frequency in metric["frequencies"])}


@shaped
def stablecoins_of(payload: Any, *, now_ms: int) -> Observations:
    """DefiLlama's total supply in US dollars by day; `date` is seconds, as text or number."""
    rows = rows_of(payload, "stablecoin totals")
    event = np.array([time_ms(row["date"], "date", unit_ms=1000) for row in rows], np.int64)
    supply = np.array([number(row["totalCirculatingUSD"]["peggedUSD"], "peggedUSD") for row in rows])
    return _closed_days(Kind.STABLECOIN_SUPPLY, event, DAILY_DELAY_MS, {"supply_usd": supply}, now_ms, "VENUE:defillama")


@shaped
def fear_greed_of(payload: Any, *, now_ms: int) -> Observations:
    """alternative.me's index, 0 (fear) to 100 (greed), one value a day, given newest first."""
    rows = rows_of(payload["data"], "index values")
    event = np.array([time_ms(row["timestamp"], "timestamp", unit_ms=1000) for row in rows], np.int64)
    found = {"value": column(rows, "value")}
    return _closed_days(Kind.FEAR_GREED, event, FEAR_GREED_DELAY_MS - DAY_MS, found, now_ms, "VENUE:alternative.me")


@shaped
def blockchain_chart_of(payload: Any, *, now_ms: int) -> Observations:
    """blockchain.com's hash-rate chart, given in terahashes a second; returned in hashes a second."""
    rows = rows_of(payload["values"], "chart points")
    event = np.array([time_ms(row["x"], "x", unit_ms=1000) for row in rows], np.int64)
    return _closed_days(Kind.HASH_RATE, event, DAILY_DELAY_MS, {"value": column(rows, "y") * TERAHASH}, now_ms, "VENUE:blockchain.com")


@shaped
def mempool_hash_rate_of(payload: Any, *, now_ms: int) -> Observations:
    """mempool.space's daily average hash rate, in hashes a second."""
    rows = rows_of(payload["hashrates"], "hash rates")
    event = np.array([time_ms(row["timestamp"], "timestamp", unit_ms=1000) for row in rows], np.int64)
    return _closed_days(Kind.HASH_RATE, event, DAILY_DELAY_MS, {"value": column(rows, "avgHashrate")}, now_ms, "VENUE:mempool.space")


def _closed_days(kind: Kind, event: np.ndarray, delay_ms: int, columns: dict[str, np.ndarray], now_ms: int,
                 provenance: str) -> Observations:
    day = event // DAY_MS * DAY_MS
    available = day + DAY_MS + delay_ms
    order = np.argsort(day, kind="stable")
    order = order[available[order] <= now_ms]
    _, first = np.unique(day[order], return_index=True)
    kept = order[first]
    return observations(kind, day[kept], available[kept], {name: values[kept] for name, values in columns.items()}, provenance=provenance)


def _day(text: Any) -> int:
    """"2026-02-17T00:00:00.000000000Z": nanoseconds, of which the clock reads six digits."""
    try:
        return parse_time(str(text)[:19] + "Z")
    except BadTime as error:
        raise ValueError(str(error)) from None
