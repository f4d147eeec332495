"""Depth messages to books and aggregated trades to floats, against python-binance's own cache and orjson (performance rows 7, 8).

    python benchmarks/bench_streams.py

Bytes go in; per message the book is brought up to date and its twenty best levels are read. The peer is python-binance's path: orjson
(which it uses when installed), `DepthCache.add_bid/add_ask` and `get_bids()[:20]`. The messages are made to measure: 36 changed levels
each around a drifting price, a snapshot of 1,000 levels a side, eight decimals. Where SEXTANT_REAL_DATA names recordings, the
beginnings of a recorded spot and a futures session are run as well. Figures are messages per second; `ratio` is theirs over ours in time.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import orjson
from binance.ws.depthcache import DepthCache

from data.market import Market
from data.streams.batches import TickKind, columns_of, rows_of
from data.streams.book import LocalBook
from data.streams.messages import Snapshot, connection_reader, decode, decode_snapshot

ROUNDS = 5
MESSAGES = 400  # the peer sorts its whole book for every look: more would take minutes
TRADES = 10_000


def made_market(seed: int = 1) -> tuple[bytes, list[bytes]]:
    """A snapshot and `MESSAGES` spot depth frames."""
    source = random.Random(seed)
    mid, last = 6_000_000, 1_000
    bids = {mid - 1 - 3 * i: source.randint(1, 10**8) for i in range(1_000)}
    asks = {mid + 1 + 3 * i: source.randint(1, 10**8) for i in range(1_000)}

    def text(levels: list[tuple[int, int]]) -> list[list[str]]:
        return [[f"{price / 100:.8f}", f"{units / 1e5:.8f}"] for price, units in levels]

    snapshot = json.dumps({"lastUpdateId": last, "bids": text(list(bids.items())), "asks": text(list(asks.items()))}).encode()
    frames = []
    for _ in range(MESSAGES):
        mid += source.randint(-20, 20)
        sides: list[list[tuple[int, int]]] = []
        for book, sign in ((bids, -1), (asks, 1)):
            told = [(price, 0) for price in [p for p in book if (p - mid) * sign <= 0]]
            for price, _ in told:
                del book[price]
            while len(told) < 18:
                price = mid + sign * (1 + int(source.expovariate(1 / 600)))
                units = 0 if price in book and source.random() < 0.5 else source.randint(1, 10**8)
                told.append((price, units))
                book[price] = units
                if not units:
                    del book[price]
            sides.append(told)
        frames.append(json.dumps({"stream": "btcusdt@depth@100ms", "data": {
            "e": "depthUpdate", "E": 1_723_161_255_208, "s": "BTCUSDT", "U": last + 1, "u": last + 9, "b": text(sides[0]),
            "a": text(sides[1])}}, separators=(",", ":")).encode())
        last += 9
    return snapshot, frames


def made_trades() -> list[bytes]:
    return [json.dumps({"stream": "btcusdt@aggTrade", "data": {
        "e": "aggTrade", "E": 1_723_161_255_208 + i, "s": "BTCUSDT", "a": 10**9 + i, "p": f"{61_000 + i / 7:.8f}", "q": f"{i / 1e5:.8f}",
        "f": 2 * 10**9 + i, "l": 2 * 10**9 + i, "T": 1_723_161_255_207 + i, "m": i % 3 == 0, "M": True}},
        separators=(",", ":")).encode() for i in range(TRADES)]


def recorded(folder: Path, name: str) -> tuple[bytes, list[bytes]]:
    """Depth frames from the snapshot on; what the snapshot already holds is left out, for the peer does not look."""
    snapshot, frames = b"", []
    with gzip.open(folder / f"ticks/stream_recordings/{name}_btcusdt_20240808.ndjson.gz") as lines:
        for line in lines:
            frame = line.split(b" ", 1)[1].strip()
            if b'"lastUpdateId"' in frame[:40]:
                snapshot = frame
            elif b"@depth" in frame[:40]:
                frames.append(frame)
    last = orjson.loads(snapshot)["lastUpdateId"]
    return snapshot, [frame for frame in frames if orjson.loads(frame)["data"]["u"] > last][:MESSAGES]


def per_second(ours: Callable[[], Any], peer: Callable[[], Any], count: int) -> tuple[float, float]:
    """Median messages per second of both, A B A B ..., after one warm-up each."""
    ours(), peer()
    spent: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for work, times in zip((ours, peer), spent, strict=True):
            began = time.perf_counter()
            work()
            times.append(time.perf_counter() - began)
    return count / statistics.median(spent[0]), count / statistics.median(spent[1])


def run() -> list[dict[str, Any]]:
    """One row per comparison; nothing is asserted about time."""
    rows: list[dict[str, Any]] = []

    def compare(name: str, ours: Callable[[], Any], peer_name: str, peer: Callable[[], Any], count: int, target: str) -> None:
        mine, theirs = per_second(ours, peer, count)
        rows.append({"name": name, "ours_ms": round(1000 * count / mine, 2), "peer": peer_name, "peer_ms": round(1000 * count / theirs, 2),
                     "ratio": round(theirs / mine, 4), "target": target, "unit": "ms", "ours_per_s": round(mine),
                     "peer_per_s": round(theirs)})

    markets: dict[str, tuple[bytes, list[bytes], Market]] = {"made-up spot": (*made_market(), Market.SPOT)}
    where = os.environ.get("SEXTANT_REAL_DATA")
    if where:
        markets |= {"recorded spot": (*recorded(Path(where), "spot"), Market.SPOT),
                    "recorded perp": (*recorded(Path(where), "usdm"), Market.PERP)}
    for name, (snapshot, frames, market) in markets.items():
        compare(f"{len(frames):,} depth frames, {name}: bytes to book to top 20",
                partial(our_book, snapshot, frames, market), "python-binance DepthCache", partial(peer_book, snapshot, frames),
                len(frames), "0.1")
    trades = made_trades()
    assert our_trades(trades) == peer_trades(trades)
    compare(f"{TRADES:,} aggTrade frames of any stream: bytes to a list of floats", lambda: our_trades(trades), "orjson + float",
            lambda: peer_trades(trades), TRADES, "")
    line = connection_reader(["btcusdt@aggTrade", "ethusdt@aggTrade", "btcusdt@markPrice@1s"])
    compare(f"{TRADES:,} aggTrade frames as a connection reads them: stream and floats, one by one", lambda: our_line(line, trades),
            "orjson + float", lambda: peer_line(trades), TRADES, "0.5")
    compare(f"{TRADES:,} aggTrade frames: bytes to arrays of a view", lambda: our_arrays(trades), "orjson + float",
            lambda: peer_trades(trades), TRADES, "")
    return rows


def our_book(snapshot: bytes, frames: list[bytes], market: Market) -> LocalBook:
    book = LocalBook("BTCUSDT", market)
    started: Snapshot = decode_snapshot(snapshot)
    assert book.start(started)
    for frame in frames:
        assert book.apply(decode(frame)[1])  # type: ignore[arg-type]
        book.nearest(20)
    return book


def peer_book(snapshot: bytes, frames: list[bytes]) -> DepthCache:
    cache = DepthCache("BTCUSDT")
    started = orjson.loads(snapshot)
    for bid in started["bids"]:
        cache.add_bid(bid)
    for ask in started["asks"]:
        cache.add_ask(ask)
    for frame in frames:
        message = orjson.loads(frame)["data"]
        for bid in message["b"]:
            cache.add_bid(bid)
        for ask in message["a"]:
            cache.add_ask(ask)
        cache.get_bids()[:20], cache.get_asks()[:20]
    return cache


def our_trades(frames: list[bytes]) -> list[tuple[float, float, bool]]:
    return [(m.price, m.quantity, m.buyer_is_maker) for m in [decode(frame)[1] for frame in frames]]  # type: ignore[union-attr]


def peer_trades(frames: list[bytes]) -> list[tuple[float, float, bool]]:
    out = []
    for frame in frames:
        told = orjson.loads(frame)["data"]
        out.append((float(told["p"]), float(told["q"]), told["m"]))
    return out


def our_line(read: Callable[[bytes], Any], frames: list[bytes]) -> float:
    """What `Line` does with a frame before it is handed on; nothing is kept, as there."""
    total = 0.0
    for frame in frames:
        found = read(frame)
        message = found.data
        if found.stream and not message.buyer_is_maker:
            total += message.price * message.quantity
    return total


def peer_line(frames: list[bytes]) -> float:
    total = 0.0
    for frame in frames:
        found = orjson.loads(frame)
        told = found["data"]
        price, quantity = float(told["p"]), float(told["q"])
        if found["stream"] and not told["m"]:
            total += price * quantity
    return total


def our_arrays(frames: list[bytes]) -> Any:
    return columns_of(TickKind.AGG_TRADE, [rows_of(decode(frame)[1], 0)[2][0] for frame in frames])  # type: ignore[index]


if __name__ == "__main__":
    for row in run():
        print(f"{row['name']:75} ours {row['ours_per_s']:>9,}/s   {row['peer']:28} {row['peer_per_s']:>9,}/s   "
              f"{row['ours_per_s'] / row['peer_per_s']:.1f} times as many")
