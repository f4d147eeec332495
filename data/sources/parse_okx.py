"""OKX's public answers, the live stand-in for positioning where Binance's futures are blocked: another venue, and labelled so.

All values are strings; lists come newest first; a swap counts contracts of `ctVal` coins each.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data.errors import BadPayload, SourceDown
from data.observations import Kind, Observations
from data.sources.fields import column, number, observations, rows_of, shaped, time_ms, times
from data.sources.parse_futures import funding_rows, hours_before

PROVENANCE = "VENUE:okx"


def okx_rows(payload: Any) -> list:
    """The rows of an answer; OKX wraps errors into a 200.

    Raises
    ------
    SourceDown, BadPayload
        For a code that is not "0"; for another shape.
    """
    if not isinstance(payload, dict) or "code" not in payload:
        raise BadPayload(f"expected an answer of OKX with a code, got {str(payload)[:60]!r}")
    if str(payload["code"]) != "0":
        raise SourceDown(f"OKX refused ({str(payload['code'])[:8]}: {str(payload.get('msg', ''))[:80]})", host="www.okx.com")
    if not isinstance(payload.get("data"), list):
        raise BadPayload("expected a list of rows from OKX")
    return payload["data"]


@shaped
def okx_funding_of(payload: Any, *, provenance: str = PROVENANCE) -> Observations:
    """Settled funding; the realised rate where it is given."""
    rows = rows_of(okx_rows(payload), "funding rates")
    stamp = times(rows, "fundingTime")
    order = np.argsort(stamp, kind="stable")
    rate = np.array([number(row.get("realizedRate") or row["fundingRate"], "fundingRate") for row in rows])
    return funding_rows(stamp[order], rate[order], hours_before(stamp[order]), np.full(len(rows), np.nan), provenance)


@shaped
def okx_predicted_funding_of(payload: Any, *, now_ms: int, provenance: str = PROVENANCE) -> Observations:
    """The running period's rate, due at fundingTime."""
    rows = rows_of(okx_rows(payload), "funding rates")
    due = times(rows, "fundingTime")
    following = np.array([time_ms(row["nextFundingTime"]) if row.get("nextFundingTime") else 0 for row in rows], np.int64)
    stamp = np.full(len(rows), now_ms, np.int64)
    hours = np.where(following > due, np.rint((following - due) / 3_600_000), np.nan)
    found = {"rate": column(rows, "fundingRate"), "interval_h": hours, "next_time_ms": due.astype(np.float64)}
    return observations(Kind.FUNDING_PREDICTED, stamp, stamp, found, provenance=provenance)


@shaped
def okx_open_interest_of(payload: Any, *, provenance: str = PROVENANCE) -> Observations:
    """Open interest in coins (oiCcy) and US dollars."""
    rows = rows_of(okx_rows(payload), "open interest")
    event = times(rows, "ts")
    return observations(Kind.OPEN_INTEREST, event, event, {
        "contracts": column(rows, "oiCcy"), "value_quote": column(rows, "oiUsd", required=False)}, provenance=provenance)


@shaped
def okx_ratio_of(payload: Any, *, period_ms: int, provenance: str = PROVENANCE) -> Observations:
    """Accounts long over accounts short, [ts, ratio]; known when its period has ended."""
    rows = sorted((time_ms(row[0]), number(row[1], "ratio")) for row in okx_rows(payload))
    event = np.array([at for at, _ in rows], np.int64)
    ratio = np.array([value for _, value in rows])
    return observations(Kind.GLOBAL_RATIO, event, event + period_ms, {
        "ratio": ratio, "long_share": ratio / (1 + ratio), "short_share": 1 / (1 + ratio)}, provenance=provenance)


@shaped
def okx_liquidations_of(payload: Any, *, contract_size: float, provenance: str = PROVENANCE) -> Observations:
    """Forced orders; `side` is that of the order (sell closes a long), quantities in coins."""
    details = [detail for row in rows_of(okx_rows(payload), "liquidations") for detail in rows_of(row["details"], "details")]
    event = times(details, "ts")
    quantity = column(details, "sz") * contract_size
    return observations(Kind.LIQUIDATIONS, event, event, {
        "side": np.array([1.0 if detail["side"] == "buy" else -1.0 for detail in details]), "price": column(details, "bkPx"),
        "average_price": column(details, "bkPx"), "quantity": quantity, "filled_quantity": quantity}, provenance=provenance)


@shaped
def okx_contract_size_of(payload: Any) -> float:
    """Coins of one contract (ctVal), 0.01 for BTC-USDT-SWAP."""
    return number(rows_of(okx_rows(payload), "instruments")[0]["ctVal"], "ctVal")
