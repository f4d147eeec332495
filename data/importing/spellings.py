"""How other people write candle tables: column names, numbers with points or commas, times as text or in four units."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

import numpy as np

from data.clock import parse_time
from data.errors import BadTime, ImportRefused
from data.frames import COLUMNS, EARLIEST_MS, LATEST_MS

_NAMES = {
    "open_time": ("opentime", "timestamp", "unix", "unixtimestamp", "unixtime", "ts", "time", "t", "datetime", "date", "opendate",
                  "starttime", "start", "candlebegintime", "klineopentime", "dateutc", "timeutc", "datetimeutc"),
    "open": ("open", "o", "openprice"),
    "high": ("high", "h", "highprice", "max"),
    "low": ("low", "l", "lowprice", "min"),
    "close": ("close", "c", "closeprice", "last", "price"),
    "volume": ("volume", "vol", "v", "basevolume", "volumebase", "baseassetvolume", "volumebaseasset"),
    "close_time": ("closetime", "closetimestamp", "klineclosetime", "endtime"),
    "quote_volume": ("quotevolume", "quoteassetvolume", "volumequote", "quotevol", "turnover", "qv"),
    "count": ("count", "trades", "tradecount", "numberoftrades", "tradescount", "ntrades", "tradenum", "numtrades"),
    "taker_buy_volume": ("takerbuyvolume", "takerbuybaseassetvolume", "takerbuybasevolume", "takerbuybase", "takerbasevolume",
                         "takerbuybaseassetvol"),
    "taker_buy_quote_volume": ("takerbuyquotevolume", "takerbuyquoteassetvolume", "takerbuyquote", "takerquotevolume",
                               "takerbuyquoteassetvol"),
}
REQUIRED = ("open_time", "open", "high", "low", "close", "volume")
_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_COMMA = re.compile(r"[+-]?(\d+,?\d*|,\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_POINT_GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+(,\d+)?", re.ASCII)  # 1.234.567,89
_COMMA_GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?", re.ASCII)  # 1,234,567.89
_DAY_FIRST = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(.*)", re.ASCII)
_NOTHING = {"", "nan", "null", "none", "na", "n/a", "-"}

# A time of 2010..2100 in seconds, milliseconds, microseconds or nanoseconds: the ranges do not meet, so each row tells its own
# unit, and a file that switches units in the middle (the spot archive of 2025) is read right (C5).
_UNITS = ((EARLIEST_MS // 1000, LATEST_MS // 1000, 1000, 1), (EARLIEST_MS, LATEST_MS, 1, 1),
          (EARLIEST_MS * 1000, LATEST_MS * 1000, 1, 1000), (EARLIEST_MS * 10**6, LATEST_MS * 10**6, 1, 10**6))


def map_header(fields: Sequence[str], symbol: str) -> dict[str, int] | None:
    """Which field holds which column; None when these are not column names.

    "Volume BTC" and "Volume USDT" are told apart by the symbol. Of several time columns the one named first in the list above
    is used; columns of other names are ignored.
    """
    places: dict[str, int] = {}
    for index, field in enumerate(fields):
        places.setdefault(re.sub(r"[^a-z0-9]", "", field.lower()), index)
    found: dict[str, int] = {}
    for column in COLUMNS:
        for name in _NAMES[column]:
            if name in places:
                found[column] = places[name]
                break
    for name, index in places.items():
        asset = name.removeprefix("volume").upper()
        if name.startswith("volume") and asset:
            if symbol.startswith(asset) and "volume" not in found:
                found["volume"] = index
            elif symbol.endswith(asset) and "quote_volume" not in found:
                found["quote_volume"] = index
    return found if {"open", "high", "low", "close"} <= set(found) else None


def missing_columns(found: Iterable[str]) -> list[str]:
    return [name for name in REQUIRED if name not in set(found)]


def to_ms(values: np.ndarray, *, closing: bool = False) -> np.ndarray:
    """UTC milliseconds of whole numbers in s, ms, us or ns, told apart row by row; -1 where it is none of them.

    An open_time with a fraction of a millisecond gives -1 as well. A close_time in seconds means the end of that second
    (…:59 for a candle that ends at …:59.999); a finer one is cut to the millisecond.

    >>> to_ms(np.array([1704067200, 1704067200000, 1704067200000000, 17]))
    array([1704067200000, 1704067200000, 1704067200000,            -1])
    """
    out = np.full(len(values), -1, np.int64)
    for low, high, times, over in _UNITS:
        rows = (values >= low) & (values < high)
        if rows.any():
            whole = values[rows] if over == 1 else values[rows] // over
            if not closing and over > 1:
                whole = np.where(values[rows] % over == 0, whole, -1)
            out[rows] = whole * times + (999 if closing and times == 1000 else 0)
    return out


def time_ms(cell: str, *, closing: bool = False) -> int | None:
    """UTC milliseconds of one cell, number or text; None when it is no time."""
    text = cell.strip()
    if text.isascii() and text.isdigit():
        return _number_ms(int(text), closing) if len(text) < 20 else None
    if _PLAIN.fullmatch(text):
        value = float(text)  # 1704067200.0, 1.7040672e12
        return _number_ms(int(value), closing) if math.isfinite(value) and value == int(value) and abs(value) < 2**63 else None
    text = text.removesuffix(" UTC").removesuffix("+00")
    day_first = _DAY_FIRST.fullmatch(text)
    if day_first:
        day, month, year, rest = day_first.groups()
        text = f"{year}-{int(month):02d}-{int(day):02d}{rest}"
    try:
        ms = parse_time(text)
    except BadTime:
        return None
    return ms + 999 if closing and text.endswith(":59") else ms


def _number_ms(value: int, closing: bool) -> int | None:
    ms = int(to_ms(np.array([value], np.int64), closing=closing)[0]) if 0 <= value < 2**63 else -1
    return ms if ms >= 0 else None


def decimal_mark(cells: Iterable[str], *, commas_possible: bool) -> str:
    """Whether numbers of this table use a decimal point or a decimal comma, from all their cells together.

    Parameters
    ----------
    commas_possible : bool
        False for a comma-separated file without quotes: there a comma is never part of a number.

    Raises
    ------
    ImportRefused
        When the cells prove both, or when every mark stands before exactly three digits and could group thousands.
    """
    if not commas_possible:
        return "."
    point = comma = doubt_point = doubt_comma = False
    for cell in cells:
        text = cell.strip()
        dots, commas = text.count("."), text.count(",")
        if not dots and not commas:
            continue
        if commas and not dots:
            groups = _COMMA_GROUPS.fullmatch(text) is not None
            comma |= commas == 1 and not groups
            point |= commas > 1 and groups
            doubt_comma |= commas == 1 and groups
        elif dots and not commas:
            groups = _POINT_GROUPS.fullmatch(text) is not None
            point |= dots == 1 and not groups and _PLAIN.fullmatch(text) is not None
            comma |= dots > 1 and groups
            doubt_point |= dots == 1 and groups
        else:
            comma |= _POINT_GROUPS.fullmatch(text) is not None
            point |= _COMMA_GROUPS.fullmatch(text) is not None
    if point and comma:
        raise ImportRefused("some numbers have a decimal point, others a decimal comma; write all of them one way")
    if point or comma:
        return "." if point else ","
    if doubt_point or doubt_comma:
        mark = "." if doubt_point else ","
        raise ImportRefused(f"every number with a {mark!r} has exactly three digits behind it, so 1{mark}234 could be 1234 or "
                            "1.234; write the numbers without thousands marks, with a decimal point")
    return "."


def number(cell: str, mark: str) -> float | None:
    """The value of one cell; NaN when it is empty, None when it is not a number.

    >>> number("1.234,56", ","), number("1e-5", "."), number("1_000", ".")
    (1234.56, 1e-05, None)
    """
    text = cell.strip()
    if mark == ".":
        if _PLAIN.fullmatch(text):
            return float(text)
        if _COMMA_GROUPS.fullmatch(text):
            return float(text.replace(",", ""))
    else:
        if _POINT_GROUPS.fullmatch(text):
            return float(text.replace(".", "").replace(",", "."))
        if _COMMA.fullmatch(text):
            return float(text.replace(",", "."))
    return math.nan if text.lower() in _NOTHING else None
