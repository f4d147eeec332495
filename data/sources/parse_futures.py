"""Funding, open interest, ratios, taker volume and basis of USDT-margined futures, with the time each became known.

When a value became known is measured, not documented (binance.md 6): snapshots of /futures/data are published about five minutes
after their stamp, the taker's volume after its interval has ended.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data.market import HOUR_MS, MINUTE_MS
from data.observations import Kind, Observations
from data.sources.fields import column, number, observations, rows_of, shaped, times

PUBLISHED_AFTER_MS = 5 * MINUTE_MS
LONGEST_FUNDING_H = 24  # no contract settles more rarely; a wider step is a hole in the answer


def funding_rows(stamp: np.ndarray, rate: np.ndarray, interval_h: np.ndarray, mark_price: np.ndarray, provenance: str) -> Observations:
    """Settlements. event_time is the minute of the settlement, available_time its exact stamp.

    The stamp has some milliseconds of jitter, and not the same in REST and archive; the minute makes both the same settlement.
    """
    return observations(Kind.FUNDING, stamp // MINUTE_MS * MINUTE_MS, stamp,
                        {"rate": rate, "interval_h": interval_h, "mark_price": mark_price}, provenance=provenance)


@shaped
def funding_of(payload: Any, *, provenance: str) -> Observations:
    """`fundingRate` rows: fraction per interval, mark price in quote currency (NaN in old rows).

    The answer does not carry the interval, and it changes over time (8, 4 or 1 h): it is the step from the settlement before. The
    first row has none, so ask from a day earlier and cut.
    """
    rows = rows_of(payload, "funding rates")
    stamp = times(rows, "fundingTime")
    order = np.argsort(stamp, kind="stable")
    return funding_rows(stamp[order], column(rows, "fundingRate")[order], hours_before(stamp[order]),
                        column(rows, "markPrice", required=False)[order], provenance)


def hours_before(stamp: np.ndarray) -> np.ndarray:
    """Hours since the row before, rounded; NaN for the first row and across holes. `stamp` is ascending milliseconds."""
    out = np.full(len(stamp), np.nan)
    if len(stamp) > 1:
        step = np.rint(np.diff(stamp) / HOUR_MS)
        out[1:] = np.where((step >= 1) & (step <= LONGEST_FUNDING_H), step, np.nan)
    return out


@shaped
def funding_hours_of(payload: Any) -> dict[str, int]:
    """Symbol to hours between settlements, for symbols whose interval was adjusted; all others settle every 8 h."""
    return {str(row["symbol"]): int(row["fundingIntervalHours"]) for row in rows_of(payload, "funding terms")}


@shaped
def predicted_funding_of(payload: Any, *, interval_h: float, provenance: str) -> Observations:
    """`premiumIndex` of one symbol: the rate of the running period, as a fraction, due at next_time_ms.

    Its field is called lastFundingRate but it is not the last settlement's.
    """
    rows = rows_of(payload, "premium indices")
    event = times(rows, "time")
    return observations(Kind.FUNDING_PREDICTED, event, event, {
        "rate": column(rows, "lastFundingRate"), "interval_h": np.full(len(rows), interval_h),
        "next_time_ms": column(rows, "nextFundingTime")}, provenance=provenance)


@shaped
def mark_and_index_of(payload: Any) -> tuple[float, float]:
    """Mark and index price of one symbol, quote currency."""
    row = rows_of(payload, "premium indices")[0]
    return number(row["markPrice"], "markPrice"), number(row["indexPrice"], "indexPrice")


@shaped
def open_interest_now_of(payload: Any, *, mark_price: float, provenance: str) -> Observations:
    """The current open interest in base units; its value is that times the mark price (NaN without one)."""
    rows = rows_of(payload, "open interest")
    event, contracts = times(rows, "time"), column(rows, "openInterest")
    found = {"contracts": contracts, "value_quote": contracts * mark_price}
    return observations(Kind.OPEN_INTEREST, event, event, found, provenance=provenance)


@shaped
def open_interest_of(payload: Any, *, provenance: str) -> Observations:
    """`openInterestHist`: contracts in base units, value in quote currency; a snapshot at its stamp."""
    rows = rows_of(payload, "open interest")
    event = times(rows, "timestamp")
    return observations(Kind.OPEN_INTEREST, event, event + PUBLISHED_AFTER_MS, {
        "contracts": column(rows, "sumOpenInterest"), "value_quote": column(rows, "sumOpenInterestValue")}, provenance=provenance)


@shaped
def ratio_of(payload: Any, kind: Kind, *, provenance: str) -> Observations:
    """The three long/short ratios; shares are fractions. All three call their shares longAccount and shortAccount."""
    rows = rows_of(payload, "long/short ratios")
    event = times(rows, "timestamp")
    return observations(kind, event, event + PUBLISHED_AFTER_MS, {
        "ratio": column(rows, "longShortRatio"), "long_share": column(rows, "longAccount", required=False),
        "short_share": column(rows, "shortAccount", required=False)}, provenance=provenance)


@shaped
def taker_of(payload: Any, *, period_ms: int, provenance: str) -> Observations:
    """Taker buy and sell volume (base units) of the interval that begins at event_time; known after its end."""
    rows = rows_of(payload, "taker volumes")
    event = times(rows, "timestamp")
    return observations(Kind.TAKER_RATIO, event, event + period_ms + PUBLISHED_AFTER_MS, {
        "ratio": column(rows, "buySellRatio"), "buy_volume": column(rows, "buyVol"), "sell_volume": column(rows, "sellVol")},
        provenance=provenance)


@shaped
def basis_of(payload: Any, *, provenance: str) -> Observations:
    """Futures minus index price, in quote currency and as a fraction; perpetuals have no annualised rate (NaN)."""
    rows = rows_of(payload, "basis rows")
    event = times(rows, "timestamp")
    return observations(Kind.BASIS, event, event + PUBLISHED_AFTER_MS, {
        "basis": column(rows, "basis"), "basis_rate": column(rows, "basisRate"),
        "annualised_rate": column(rows, "annualizedBasisRate", required=False), "futures_price": column(rows, "futuresPrice"),
        "index_price": column(rows, "indexPrice")}, provenance=provenance)
