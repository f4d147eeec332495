"""Option marks and open interest: implied volatility and greeks for skew and gamma exposure (binance.md 8)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from data.observations import Kind, Observations
from data.sources.fields import column, observations, rows_of, shaped, times

_NAME = re.compile(r"(?P<base>[A-Z0-9]{1,12})-(?P<day>\d{6})-(?P<strike>\d+(?:\.\d+)?)-(?P<side>[CP])", re.ASCII)
_EXPIRY_HOUR = 8  # every series expires at 08:00 UTC


@dataclass(frozen=True)
class Contract:
    base: str
    expiry_ms: int
    strike: float
    is_call: bool

    @property
    def expiration(self) -> str:
        """YYMMDD, as the open interest endpoint wants it."""
        return datetime.fromtimestamp(self.expiry_ms // 1000, UTC).strftime("%y%m%d")


def contract_of(name: str) -> Contract | None:
    """
    >>> contract_of("BTC-260925-145000-C")
    Contract(base='BTC', expiry_ms=1790323200000, strike=145000.0, is_call=True)
    """
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    try:
        day = datetime.strptime(found["day"], "%y%m%d").replace(hour=_EXPIRY_HOUR, tzinfo=UTC)
    except ValueError:
        return None
    return Contract(found["base"], int(day.timestamp()) * 1000, float(found["strike"]), found["side"] == "C")


@shaped
def option_marks_of(payload: Any, base: str, *, now_ms: int, provenance: str) -> Observations:
    """Marks of every contract on `base`, at the moment of the request (the answer carries no time).

    mark_price in quote currency; mark_iv as a fraction per year (0.51 = 51 %), NaN where there is no quote ("0"); strike in quote
    currency; gamma per unit of the underlying.
    """
    chosen = [(row, c) for row in rows_of(payload, "option marks") if (c := contract_of(str(row["symbol"]))) and c.base == base]
    rows = [row for row, _ in chosen]
    iv = column(rows, "markIV") if rows else np.empty(0)
    names = {"mark_price": "markPrice", "delta": "delta", "gamma": "gamma", "theta": "theta", "vega": "vega"}
    stamp = np.full(len(rows), now_ms, np.int64)
    return observations(Kind.OPTION_MARK, stamp, stamp, {
        **_terms([c for _, c in chosen]), "mark_iv": np.where(iv > 0, iv, np.nan), **{k: column(rows, v) for k, v in names.items()}},
        provenance=provenance)


@shaped
def option_open_interest_of(payload: Any, *, provenance: str) -> Observations:
    """Open interest of one expiry: contracts in units of the underlying, value in US dollars (taken as quote currency)."""
    chosen = [(row, c) for row in rows_of(payload, "option open interest") if (c := contract_of(str(row["symbol"])))]
    rows = [row for row, _ in chosen]
    event = times(rows, "timestamp")
    return observations(Kind.OPTION_OPEN_INTEREST, event, event, {
        **_terms([c for _, c in chosen]),
        "contracts": column(rows, "sumOpenInterest"), "value_quote": column(rows, "sumOpenInterestUsd")}, provenance=provenance)


@shaped
def expirations_of(payload: Any, base: str) -> tuple[str, ...]:
    """The expiries (YYMMDD) listed for `base`, earliest first, of the options exchangeInfo."""
    found = set()
    for row in rows_of(payload["optionSymbols"], "option symbols"):
        contract = contract_of(str(row["symbol"]))
        if contract and contract.base == base:
            found.add(contract.expiration)
    return tuple(sorted(found))


def _terms(contracts: list[Contract]) -> Mapping[str, np.ndarray]:
    return {"strike": np.array([c.strike for c in contracts]), "expiry_ms": np.array([float(c.expiry_ms) for c in contracts]),
            "is_call": np.array([float(c.is_call) for c in contracts])}
