"""Where the candles of a series lie below a folder, and which series lie there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from data.errors import InputError
from data.market import Interval, Market, SeriesKey, parse_symbol

MANIFEST = "manifest.json"


@lru_cache(4_096)
def series_name(key: SeriesKey) -> str:
    """The folder of a series below candles/. Refuses a key whose text could leave it (S5)."""
    if parse_symbol(key.symbol) != key.symbol or not re.fullmatch(r"[a-z0-9-]{1,24}", key.venue):
        raise InputError(f"expected an upper-case symbol and a lower-case venue, got {key.symbol[:24]!r}, {key.venue[:24]!r}")
    return f"{key.venue}/{key.market}/{key.symbol}/{key.interval}"


@lru_cache(4_096)  # building a Path takes longer than looking at the file
def series_path(folder: Path, key: SeriesKey) -> Path:
    return folder.joinpath("candles", *series_name(key).split("/"))


@lru_cache(4_096)
def manifest_path(folder: Path, key: SeriesKey) -> Path:
    return series_path(folder, key) / MANIFEST


def stored_series(folder: Path) -> list[SeriesKey]:
    """Every series that has a folder, sorted."""
    found = [key for path in _below([str(folder / "candles")], 4) if (key := _key_of(*path.rsplit(os.sep, 4)[1:])) is not None]
    return sorted(found, key=lambda key: (key.symbol, key.interval, key.market, key.venue))


def _below(folders: Iterable[str], levels: int) -> list[str]:
    """The folders so many levels further down."""
    for _ in range(levels):
        found: list[str] = []
        for folder in folders:
            try:
                with os.scandir(folder) as entries:
                    found += [entry.path for entry in entries if entry.is_dir()]
            except (FileNotFoundError, NotADirectoryError):
                continue
        folders = found
    return list(folders)


@lru_cache(4_096)
def _key_of(venue: str, market: str, symbol: str, interval: str) -> SeriesKey | None:
    """The series whose folder has this name; None when it is not one of ours."""
    try:
        key = SeriesKey(symbol, Interval(interval), Market(market), venue)
        series_name(key)
    except (ValueError, InputError):
        return None
    return key
