"""Candles: the one column contract, the checks that prove it, and the container everything downstream reads.

A `Candles` is columnar and read-only. `open_time` and `close_time` are UTC milliseconds; prices are in quote currency,
`volume` and `taker_buy_volume` in base currency, the two quote columns in quote currency. A column the source did not have
is all NaN: absent, not zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from data.errors import ContractBroken
from data.market import Interval

if TYPE_CHECKING:
    import pandas as pd

TIME_COLUMNS = ("open_time", "close_time")
PRICE_COLUMNS = ("open", "high", "low", "close")
OPTIONAL_COLUMNS = ("quote_volume", "count", "taker_buy_volume", "taker_buy_quote_volume")
COLUMNS = ("open_time", *PRICE_COLUMNS, "volume", "close_time", *OPTIONAL_COLUMNS)  # the archive's order

# 2010-01-01 and 2100-01-01: a candle outside was read in the wrong unit.
EARLIEST_MS = 1_262_304_000_000
LATEST_MS = 4_102_444_800_000
LARGEST_NUMBER = 1e15  # above it a double no longer holds eight decimals, and no market has such a price


def row_faults(columns: dict[str, np.ndarray], interval: Interval) -> dict[int, str]:
    """Which rows break the contract, and the first reason of each, in words (reliability.md C2).

    Parameters
    ----------
    columns : mapping of column name to ndarray of shape (n_rows,)
        All of `COLUMNS`; times int64 milliseconds, the rest float64.

    Returns
    -------
    dict of row number to reason
        Empty when every row is a candle. Order between rows is not judged here.
    """
    faults: dict[int, str] = {}

    def mark(bad: np.ndarray, reason: str) -> None:
        for row in np.flatnonzero(bad):
            faults.setdefault(int(row), reason)

    opened, closed = columns["open_time"], columns["close_time"]
    mark((opened < EARLIEST_MS) | (opened >= LATEST_MS), "open_time is outside 2010..2100: not seconds, ms or us of this century")
    floor = (opened - (interval.floor(0) % interval.ms)) % interval.ms
    mark(floor != 0, f"open_time is not on the {interval} grid")
    mark(closed < opened, "close_time lies before open_time")
    mark(closed > opened + interval.ms - 1, f"close_time is later than the end of a {interval} candle")
    for name in PRICE_COLUMNS:
        price = columns[name]
        mark(~np.isfinite(price), f"{name} is not a finite number")
        mark(~(price > 0), f"{name} is not above zero")
        mark(price > LARGEST_NUMBER, f"{name} is larger than {LARGEST_NUMBER:g}")
    volume = columns["volume"]
    mark(~np.isfinite(volume), "volume is not a finite number")
    mark(volume < 0, "volume is negative")
    low, high = columns["low"], columns["high"]
    mark((low > columns["open"]) | (low > columns["close"]) | (low > high), "low is above open, close or high")
    mark((high < columns["open"]) | (high < columns["close"]), "high is below open or close")
    for name in OPTIONAL_COLUMNS:
        value = columns[name]
        mark(np.isinf(value) | (value < 0), f"{name} is negative or infinite")
    return faults


@dataclass(frozen=True)
class Candles:
    """Closed candles of one series, oldest first, unique, on the interval's grid. Rows may be missing; none is invented.

    Attributes
    ----------
    open_time, close_time : ndarray of int64, shape (n_bars,)
        UTC milliseconds; close_time is open_time + interval - 1, or earlier for a candle an outage cut short.
    open, high, low, close, volume, quote_volume, count, taker_buy_volume, taker_buy_quote_volume : ndarray of float64
        NaN in one of the last four means the source did not carry it.
    provenance : str
        The worst provenance of the parts (data/market.py).
    halts : tuple of (start, end)
        Holes confirmed as exchange halts, as open_times of first and last missing bar: bars on both sides are neighbours.
    """

    interval: Interval
    open_time: np.ndarray
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    close_time: np.ndarray
    quote_volume: np.ndarray
    count: np.ndarray
    taker_buy_volume: np.ndarray
    taker_buy_quote_volume: np.ndarray
    provenance: str = "IMPORTED"
    halts: tuple[tuple[int, int], ...] = field(default=())

    def __post_init__(self) -> None:
        for name in COLUMNS:
            array = np.ascontiguousarray(getattr(self, name), dtype=np.int64 if name in TIME_COLUMNS else np.float64)
            if array.shape != (len(self.open_time),):
                raise ContractBroken(f"column {name} has shape {array.shape}, open_time has {len(self.open_time)} rows")
            if array.flags.writeable:
                array = array.view()
                array.flags.writeable = False
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.open_time)

    @classmethod
    def empty(cls, interval: Interval) -> Candles:
        times, floats = np.empty(0, np.int64), np.empty(0)
        return cls.from_columns(interval, {name: times if name in TIME_COLUMNS else floats for name in COLUMNS})

    @classmethod
    def from_columns(cls, interval: Interval, columns: dict[str, np.ndarray], *, provenance: str = "IMPORTED",
                     halts: tuple[tuple[int, int], ...] = ()) -> Candles:
        """Candles of named arrays. A missing optional column becomes NaN, a missing close_time the end of the bar."""
        n = len(columns["open_time"])
        full = {name: columns[name] for name in COLUMNS if name in columns}
        full.setdefault("close_time", np.asarray(columns["open_time"], np.int64) + interval.ms - 1)
        for name in OPTIONAL_COLUMNS:
            full.setdefault(name, np.full(n, np.nan))
        return cls(interval=interval, provenance=provenance, halts=halts, **full)

    def columns(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, name) for name in COLUMNS}

    def frame(self) -> pd.DataFrame:
        """A pandas copy with a UTC index named open_time, for pages and exports."""
        import pandas as pd

        frame = pd.DataFrame({name: getattr(self, name) for name in COLUMNS if name != "open_time"})
        frame.index = pd.to_datetime(self.open_time, unit="ms", utc=True).rename("open_time")
        return frame

    def take(self, rows: slice | np.ndarray) -> Candles:
        """The chosen rows; a slice costs nothing (views)."""
        return replace(self, **{name: getattr(self, name)[rows] for name in COLUMNS})

    def tail(self, bars: int) -> Candles:
        return self if bars >= len(self) else self.take(slice(len(self) - bars, None))

    def closed_before(self, at_ms: int) -> Candles:
        """What was closed at the moment `at_ms`: close_time < at_ms (decisions.md 3)."""
        return self.take(slice(0, int(np.searchsorted(self.close_time, at_ms, side="left"))))

    def between(self, start_ms: int | None, end_ms: int | None) -> Candles:
        """Half-open on open_time: start <= open_time < end."""
        first = 0 if start_ms is None else int(np.searchsorted(self.open_time, start_ms, side="left"))
        last = len(self) if end_ms is None else int(np.searchsorted(self.open_time, end_ms, side="left"))
        return self.take(slice(first, max(first, last)))

    @cached_property
    def segment_start(self) -> np.ndarray:
        """For each bar the row number where its gap-free segment begins. A confirmed halt does not end a segment (N3)."""
        n = len(self)
        if n == 0:
            return np.empty(0, np.int64)
        step = np.diff(self.open_time)
        broken = step != self.interval.ms
        for start, end in self.halts:
            bridged = (self.open_time[:-1] == start - self.interval.ms) & (self.open_time[1:] == end + self.interval.ms)
            broken &= ~bridged
        first = np.concatenate(([True], broken))
        return np.maximum.accumulate(np.where(first, np.arange(n), 0))

    @cached_property
    def segments(self) -> tuple[slice, ...]:
        """The gap-free stretches, oldest first; library indicators are called on each alone."""
        if not len(self):
            return ()
        starts = np.unique(self.segment_start)
        ends = np.append(starts[1:], len(self))
        return tuple(slice(int(a), int(b)) for a, b in zip(starts, ends, strict=True) if b > a)

    @cached_property
    def log_return(self) -> np.ndarray:
        """ln(C_t / C_{t-1}); NaN at the first bar of each segment (N2, N3)."""
        out = np.full(len(self), np.nan)
        for part in self.segments:
            out[part.start + 1 : part.stop] = np.diff(np.log(self.close[part]))
        return out

    @property
    def short(self) -> np.ndarray:
        """True where an outage ended the candle early (decisions.md 4)."""
        return self.close_time < self.open_time + self.interval.ms - 1

    def gaps(self) -> list[tuple[int, int, int]]:
        """Missing bars between the first and the last: (first missing open_time, last missing open_time, bars)."""
        step = self.interval.ms
        delta = np.diff(self.open_time)
        return [(int(self.open_time[i]) + step, int(self.open_time[i + 1]) - step, int(delta[i] // step) - 1)
                for i in np.flatnonzero(delta != step)]


def concat(parts: Iterable[Candles]) -> Candles:
    """One series of consecutive, non-overlapping parts of the same interval; the worst provenance speaks for all."""
    from data.market import worst_provenance

    kept = [part for part in parts if len(part)]
    if not kept:
        raise ContractBroken("concat needs at least one candle, got none")
    if len(kept) == 1:
        return kept[0]
    columns = {name: np.concatenate([getattr(part, name) for part in kept]) for name in COLUMNS}
    if np.any(np.diff(columns["open_time"]) <= 0):
        raise ContractBroken("parts overlap or are out of order; expected strictly growing open_time")
    return Candles.from_columns(kept[0].interval, columns, provenance=worst_provenance([p.provenance for p in kept]),
                                halts=tuple(sorted({h for p in kept for h in p.halts})))


def aggregate(candles: Candles, interval: Interval) -> Candles:
    """Candles of a longer interval, summed from a shorter one; only complete bars.

    A bar is complete when every one of its shorter bars is present, or missing only inside a confirmed halt. Open is the
    first open, close the last close, high and low the extremes, volumes and counts sums; close_time is the last short
    candle's close, so a bar cut short by an outage stays visibly short. NaN in a summed column gives NaN.
    """
    if interval.ms % candles.interval.ms or interval.ms <= candles.interval.ms:
        raise ContractBroken(f"{interval} is not a multiple of {candles.interval}; aggregate to a longer, divisible interval")
    if len(candles) == 0:
        return Candles.empty(interval)
    offset = interval.floor(0) % interval.ms
    bucket = (candles.open_time - offset) // interval.ms
    first = np.flatnonzero(np.concatenate(([True], np.diff(bucket) != 0)))
    present = np.diff(np.append(first, len(candles)))
    expected = np.full(len(first), interval.ms // candles.interval.ms)
    opened = bucket[first] * interval.ms + offset
    for start, end in candles.halts:
        overlap_from = np.maximum(opened, start)
        overlap_to = np.minimum(opened + interval.ms - candles.interval.ms, end)
        expected -= np.maximum(0, (overlap_to - overlap_from) // candles.interval.ms + 1)
    whole = present >= expected
    last = first + present - 1
    columns = {
        "open_time": opened,
        "open": candles.open[first],
        "high": np.maximum.reduceat(candles.high, first),
        "low": np.minimum.reduceat(candles.low, first),
        "close": candles.close[last],
        "close_time": candles.close_time[last],
    } | {name: np.add.reduceat(getattr(candles, name), first) for name in ("volume", *OPTIONAL_COLUMNS)}
    # Of the long bars, those are missing that lie inside a halt altogether; one that begins with the halt does.
    step = candles.interval.ms
    missing = [(interval.floor(start - step) + interval.ms, interval.floor(end + step) - interval.ms) for start, end in candles.halts]
    halts = tuple((first, last) for first, last in missing if first <= last)
    return Candles.from_columns(interval, {name: array[whole] for name, array in columns.items()},
                                provenance=candles.provenance, halts=halts)
