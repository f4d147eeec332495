"""Candles made for tests: prices with eight decimals as the exchange writes them, all twelve columns, no randomness left open."""

from __future__ import annotations

import numpy as np

from data.frames import COLUMNS, Candles
from data.market import Interval

JAN_2024 = 1_704_067_200_000


def made(bars: int, *, interval: Interval = Interval.H1, start: int = JAN_2024, seed: int = 1, plain: bool = False) -> Candles:
    """`bars` consecutive candles; `plain` ones have six columns."""
    random = np.random.default_rng(seed)
    times = start + np.arange(bars, dtype=np.int64) * interval.ms
    close = np.round(40_000 * np.exp(np.cumsum(random.normal(0, 0.004, bars))), 2)
    opened = np.round(np.concatenate(([40_000.0], close[:-1])), 2)
    high = np.round(np.maximum(opened, close) + random.exponential(20, bars), 2)
    low = np.round(np.minimum(opened, close) - random.exponential(20, bars), 2)
    volume = np.round(random.lognormal(5, 0.8, bars), 5)
    columns = {"open_time": times, "open": opened, "high": high, "low": low, "close": close, "volume": volume}
    if not plain:
        columns |= {"close_time": times + interval.ms - 1, "quote_volume": np.round(volume * close, 4),
                    "count": np.round(volume * 20), "taker_buy_volume": np.round(volume * 0.4, 5),
                    "taker_buy_quote_volume": np.round(volume * close * 0.4, 4)}
    return Candles.from_columns(interval, columns)


def without_optional(candles: Candles) -> Candles:
    kept = {name: getattr(candles, name) for name in ("open_time", "open", "high", "low", "close", "volume")}
    return Candles.from_columns(candles.interval, kept)


def with_changes(candles: Candles, **changes: np.ndarray) -> Candles:
    return Candles.from_columns(candles.interval, candles.columns() | changes)


def scaled(candles: Candles, rows: slice, factor: float, names: tuple[str, ...]) -> Candles:
    """A copy in which some columns of some rows are multiplied."""
    changes = {}
    for name in names:
        array = np.array(getattr(candles, name))
        array[rows] *= factor
        changes[name] = array
    return with_changes(candles, **changes)


def same(a: Candles, b: Candles) -> bool:
    """Equal to the last bit, NaN equal to NaN."""
    return len(a) == len(b) and all(np.array_equal(getattr(a, n), getattr(b, n), equal_nan=n not in ("open_time", "close_time"))
                                    for n in COLUMNS)


def archive_text(candles: Candles, *, unit: int = 1) -> str:
    """The archive's csv: twelve columns, no header; `unit` 1000 writes microseconds as the spot archive does from 2025."""
    lines = []
    for i in range(len(candles)):
        numbers = ",".join(f"{getattr(candles, n)[i]:.8f}" for n in ("open", "high", "low", "close", "volume"))
        closed = (int(candles.close_time[i]) + 1) * unit - 1
        lines.append(f"{int(candles.open_time[i]) * unit},{numbers},{closed},{candles.quote_volume[i]:.8f},"
                     f"{int(candles.count[i])},{candles.taker_buy_volume[i]:.8f},{candles.taker_buy_quote_volume[i]:.8f},0")
    return "\n".join(lines) + "\n"


def plain_text(candles: Candles, *, header: bool = True, time=str) -> str:
    """Six columns with a header; `time` writes the open_time."""
    lines = ["timestamp,open,high,low,close,volume"] if header else []
    for i in range(len(candles)):
        values = ",".join(repr(float(getattr(candles, n)[i])) for n in ("open", "high", "low", "close", "volume"))
        lines.append(f"{time(int(candles.open_time[i]))},{values}")
    return "\n".join(lines) + "\n"
