"""Reading columns out of decoded JSON: strings are numbers, integers are milliseconds, and what is neither is a BadPayload."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

from data.errors import BadPayload, ContractBroken
from data.frames import EARLIEST_MS, LATEST_MS
from data.observations import COLUMNS_OF, Kind, Observations

P = ParamSpec("P")
R = TypeVar("R")


def rows_of(payload: Any, what: str) -> list[Mapping[str, Any]]:
    """A list of objects; a single object counts as a list of one.

    Raises
    ------
    BadPayload
        For anything else.
    """
    rows = [payload] if isinstance(payload, Mapping) else payload
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise BadPayload(f"expected a list of {what}, got {str(payload)[:80]!r}")
    return rows


def number(value: Any, what: str = "a value") -> float:
    """A float of a number or numeric text; NaN of nothing (null, "").

    Raises
    ------
    BadPayload
        For anything else, and for infinities, which no market has.

    >>> number("0.0001"), number(7), str(number(""))
    (0.0001, 7.0, 'nan')
    """
    if value is None or value == "":
        return float("nan")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadPayload(f"expected a number for {what}, got {str(value)[:40]!r}")
    try:
        found = float(value)
    except (ValueError, OverflowError):
        raise BadPayload(f"expected a number for {what}, got {str(value)[:40]!r}") from None
    if found in (float("inf"), float("-inf")) or (isinstance(value, str) and "_" in value):
        raise BadPayload(f"expected a finite number for {what}, got {str(value)[:40]!r}")
    return found


def time_ms(value: Any, what: str = "a time", *, unit_ms: int = 1) -> int:
    """UTC milliseconds of an integer or its text, given in units of `unit_ms` (1000 for seconds).

    Raises
    ------
    BadPayload
        When the result does not lie in 2010..2100: then it came in another unit.
    """
    if isinstance(value, str) and value.strip().isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not EARLIEST_MS <= value * unit_ms < LATEST_MS:
        raise BadPayload(f"expected {what} in {'milli' if unit_ms == 1 else ''}seconds of 2010 to 2100, got {str(value)[:40]!r}")
    return value * unit_ms


def server_time_of(payload: Any) -> int:
    """The exchange's clock, of its `time` endpoints."""
    return time_ms(rows_of(payload, "server times")[0].get("serverTime") if payload else None, "serverTime")


def column(rows: Sequence[Mapping[str, Any]], name: str, *, required: bool = True) -> np.ndarray:
    """One float column; a missing optional field is NaN."""
    if required and any(name not in row for row in rows):
        raise BadPayload(f"expected the field {name!r} in every row, it is missing")
    return np.array([number(row.get(name), name) for row in rows], np.float64)


def times(rows: Sequence[Mapping[str, Any]], name: str, *, unit_ms: int = 1) -> np.ndarray:
    return np.array([time_ms(row.get(name), name, unit_ms=unit_ms) for row in rows], np.int64)


def observations(kind: Kind, event_time: np.ndarray, available_time: np.ndarray, columns: Mapping[str, np.ndarray], *,
                 provenance: str, note: str = "") -> Observations:
    """Observations of named columns in any order; what is not given is NaN."""
    n = len(event_time)
    full = {name: np.asarray(columns[name], np.float64) if name in columns else np.full(n, np.nan) for name in COLUMNS_OF[kind]}
    return Observations(kind, np.asarray(event_time, np.int64), np.asarray(available_time, np.int64), full, provenance, note)


def joined(kind: Kind, parts: Sequence[Observations], provenance: str, note: str = "") -> Observations:
    """One series of several answers; rows that came twice (overlapping pages) stay twice: the store and `unique` see to that."""
    kept = [part for part in parts if len(part)]
    if not kept:
        return Observations.empty(kind, provenance=provenance, note=note)
    return observations(kind, np.concatenate([p.event_time for p in kept]), np.concatenate([p.available_time for p in kept]),
                        {name: np.concatenate([p.columns[name] for p in kept]) for name in COLUMNS_OF[kind]},
                        provenance=provenance, note=note)


def shaped(parse: Callable[P, R]) -> Callable[P, R]:
    """A parser whose every surprise is a BadPayload: a shape nobody documented must not look like a programming error."""

    @wraps(parse)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return parse(*args, **kwargs)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, ContractBroken) as error:
            raise BadPayload(f"an answer has an unknown shape ({parse.__name__}: {type(error).__name__}: {str(error)[:60]})") from None

    return guarded
