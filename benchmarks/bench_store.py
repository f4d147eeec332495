"""The candle store against plain pyarrow and SQLite, in one interleaved run (performance row 9).

    python benchmarks/bench_store.py

A year of 1m candles, 525,600 rows of twelve columns. "Warm" is a store that this process has read before, as a page's second
script run is; "cold" is a new CandleStore, which hashes every file it touches. The peers check nothing.
"""

from __future__ import annotations

import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data.frames import COLUMNS, Candles
from data.market import MINUTE_MS, Interval, SeriesKey
from data.storage.candles import CandleStore

BARS = 525_600
ROUNDS = 7
TAIL_BARS = 1_500
JAN_2024 = 1_704_067_200_000
KEY = SeriesKey("BTCUSDT", Interval.M1)


def year_of_minutes(seed: int = 1) -> Candles:
    """Prices with two and volumes with five decimals: what they compress like matters here."""
    random = np.random.default_rng(seed)
    times = JAN_2024 + np.arange(BARS, dtype=np.int64) * MINUTE_MS
    close = np.round(40_000 * np.exp(np.cumsum(random.normal(0, 5e-4, BARS))), 2)
    opened = np.concatenate((close[:1], close[:-1]))
    volume = np.round(random.lognormal(2, 1, BARS), 5)
    return Candles.from_columns(Interval.M1, {
        "open_time": times, "open": opened, "high": np.round(np.maximum(opened, close) + random.exponential(5, BARS), 2),
        "low": np.round(np.minimum(opened, close) - random.exponential(5, BARS), 2), "close": close, "volume": volume,
        "close_time": times + MINUTE_MS - 1, "quote_volume": np.round(volume * close, 5), "count": np.round(volume * 30),
        "taker_buy_volume": np.round(volume * 0.5, 5), "taker_buy_quote_volume": np.round(volume * close * 0.5, 5)})


def interleaved(ours: Callable[[], Any], peer: Callable[[], Any], rounds: int = ROUNDS) -> tuple[float, float]:
    """Median milliseconds of both, A B A B ..., after one warm-up each."""
    ours(), peer()
    spent: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for work, times in zip((ours, peer), spent, strict=True):
            began = time.perf_counter()
            work()
            times.append((time.perf_counter() - began) * 1000)
    return statistics.median(spent[0]), statistics.median(spent[1])


def run() -> list[dict[str, Any]]:
    """One row per comparison; nothing is asserted."""
    folder = Path(tempfile.mkdtemp(prefix="sextant-bench-"))
    try:
        return _run(folder)
    finally:
        shutil.rmtree(folder)


def _run(folder: Path) -> list[dict[str, Any]]:
    candles = year_of_minutes()
    table = pa.table(candles.columns())
    single = folder / "year.parquet"
    pq.write_table(table, single)
    database = sqlite3.connect(folder / "year.sqlite")
    database.execute("PRAGMA journal_mode=WAL")
    database.execute(f"CREATE TABLE candles ({', '.join(COLUMNS)}, PRIMARY KEY (open_time)) WITHOUT ROWID")
    marks = ", ".join("?" * len(COLUMNS))
    with database:
        database.executemany(f"INSERT INTO candles VALUES ({marks})", zip(*[c.tolist() for c in candles.columns().values()], strict=True))

    store = CandleStore(folder / "store")
    store.append(KEY, candles.take(slice(0, BARS - 3 * ROUNDS)), provenance="ARCHIVE", source="bench")
    rows: list[dict[str, Any]] = []

    def compare(name: str, ours: Callable[[], Any], peer_name: str, peer: Callable[[], Any], target: float | None) -> None:
        mine, theirs = interleaved(ours, peer)
        rows.append({"name": name, "ours_ms": round(mine, 3), "peer": peer_name, "peer_ms": round(theirs, 3),
                     "ratio": round(mine / theirs, 3), "target": target})

    count = 0

    def write_year() -> None:
        nonlocal count
        count += 1
        CandleStore(folder / f"w{count}").append(KEY, candles, provenance="ARCHIVE", source="bench")
        shutil.rmtree(folder / f"w{count}")

    compare("write a year of 1m, checks and fsync", write_year, "pyarrow write_table, no fsync",
            lambda: pq.write_table(table, folder / "again.parquet"), None)

    at = BARS - 3 * ROUNDS

    def append_bar() -> None:
        nonlocal at
        store.append(KEY, candles.take(slice(at, at + 1)), provenance="LIVE", source="bench")
        at += 1

    month = table.slice(BARS - 44_640)
    compare("append one 1m bar, durable", append_bar, "pyarrow write_table of the month",
            lambda: pq.write_table(month, folder / "month.parquet"), None)
    store.append(KEY, candles, provenance="LIVE", source="bench")

    def plain_read() -> list[np.ndarray]:
        return [column.to_numpy() for column in pq.read_table(single).columns]

    compare("read a full year of 1m, warm", lambda: store.read(KEY), "pyarrow read_table of one file, unchecked", plain_read, 1.1)
    compare("read a full year of 1m, cold", lambda: CandleStore(folder / "store").read(KEY),
            "pyarrow read_table of one file, unchecked", plain_read, 1.1)
    small = CandleStore(folder / "store", cache_bytes=1 << 20)
    compare("read a full year of 1m, no cache", lambda: small.read(KEY), "pyarrow read_table of one file, unchecked", plain_read, 1.1)

    start = int(candles.open_time[-TAIL_BARS])
    columns = ", ".join(COLUMNS)

    def sqlite_tail() -> np.ndarray:
        found = database.execute(f"SELECT {columns} FROM candles WHERE open_time >= ? ORDER BY open_time", (start,)).fetchall()
        return np.array(found)

    compare("last 1,500 bars, warm", lambda: store.read(KEY, start), "sqlite SELECT to numpy", sqlite_tail, 1.0)
    compare("last 1,500 bars, cold", lambda: CandleStore(folder / "store").read(KEY, start), "sqlite SELECT to numpy", sqlite_tail, 1.0)
    database.close()
    assert len(store.read(KEY, start)) == len(store.read(KEY).tail(TAIL_BARS)) == TAIL_BARS
    return rows


if __name__ == "__main__":
    print(f"{'':38}{'ours ms':>10}{'peer ms':>10}{'ratio':>8}{'reach':>7}  peer")
    for row in run():
        reach = "" if row["target"] is None else f"{row['target']:g}x"
        print(f"{row['name']:38}{row['ours_ms']:>10.2f}{row['peer_ms']:>10.2f}{row['ratio']:>7.2f}x{reach:>7}  {row['peer']}")
