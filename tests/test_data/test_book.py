"""The local order book against a slow truth, Binance's sequence rules, and two recorded markets."""

from __future__ import annotations

import csv
import random
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.market import Market
from data.streams import book as book_module
from data.streams.book import LocalBook
from data.streams.messages import DepthDiff, Snapshot, decode
from tests.test_data.test_stream_messages import frames


class SlowBook:
    """The truth anyone can check by eye: two dictionaries, sorted whenever somebody looks."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.bids = {p: q for p, q in snapshot.bids if q}
        self.asks = {p: q for p, q in snapshot.asks if q}

    def apply(self, diff: DepthDiff) -> None:
        for side, levels in ((self.bids, diff.bids), (self.asks, diff.asks)):
            for price, quantity in levels:
                if quantity:
                    side[price] = quantity
                else:
                    side.pop(price, None)

    def top(self, n: int) -> tuple[list, list]:
        return sorted(self.bids.items(), reverse=True)[:n], sorted(self.asks.items())[:n]


def same_top(book: LocalBook, truth: SlowBook, n: int = 20) -> bool:
    bid_price, bid_quantity, ask_price, ask_quantity = book.nearest(n)
    return (list(zip(bid_price, bid_quantity, strict=True)), list(zip(ask_price, ask_quantity, strict=True))) == truth.top(n)


def diff(first: int, last: int, *, pu: int = -1, bids: list | tuple = (), asks: list | tuple = ()) -> DepthDiff:
    return DepthDiff(symbol="BTCUSDT", first_id=first, last_id=last, previous_id=pu, bids=list(bids), asks=list(asks), event_ms=last)


SNAPSHOT = Snapshot(last_id=100, bids=[(99.0, 1.0), (98.0, 2.0)], asks=[(101.0, 1.0), (102.0, 2.0)])


def started(market: Market) -> LocalBook:
    book = LocalBook("BTCUSDT", market)
    assert book.needs_snapshot and not book.top().complete and np.isnan(book.best()[0])
    assert book.start(SNAPSHOT)
    return book


def test_spot_takes_what_straddles_the_snapshot_and_then_only_the_next():
    book = started(Market.SPOT)
    assert not book.apply(diff(90, 100, bids=[(99.0, 9.0)]))  # u <= lastUpdateId: old
    assert book.apply(diff(95, 105, bids=[(99.0, 3.0)]))
    assert book.apply(diff(106, 106, asks=[(101.0, 0.0)]))
    assert book.best() == (99.0, 102.0) and book.last_id == 106
    assert not book.apply(diff(108, 109)) and book.needs_snapshot
    assert book.reason == "updates 107 to 107 are missing" and book.resyncs == 1


def test_spot_waits_for_a_newer_snapshot_and_keeps_what_it_needs():
    book = LocalBook("BTCUSDT", Market.SPOT)
    for change in (diff(110, 115, bids=[(98.5, 5.0)]), diff(116, 120, bids=[(98.5, 0.0)])):
        book.apply(change)
    assert not book.start(SNAPSHOT)  # ends at 100, the first change begins at 110: fetch again
    assert book.reason == "updates 101 to 109 are missing"
    assert book.start(Snapshot(last_id=112, bids=[(98.0, 2.0), (98.5, 5.0)], asks=[(102.0, 2.0)]))
    assert book.last_id == 120 and book.best() == (98.0, 102.0)


def test_spot_continues_a_snapshot_exactly():
    book = LocalBook("BTCUSDT", Market.SPOT)
    book.apply(diff(101, 103, bids=[(99.5, 1.0)]))
    assert book.start(SNAPSHOT) and book.best()[0] == 99.5


def test_futures_chain_by_the_previous_id():
    book = started(Market.PERP)
    assert not book.apply(diff(80, 99, pu=79))
    assert book.apply(diff(95, 105, pu=94, bids=[(99.0, 3.0)]))
    assert book.apply(diff(120, 130, pu=105))  # U may jump, pu may not
    assert not book.apply(diff(120, 130, pu=105)) and book.synchronised  # a duplicate
    assert not book.apply(diff(140, 150, pu=135)) and book.needs_snapshot
    assert book.reason == "expected the update after 130, got the one after 135"


def test_futures_first_update_must_straddle_the_snapshot_or_continue_it():
    assert not started(Market.PERP).apply(diff(103, 105, pu=102))
    assert started(Market.PERP).apply(diff(103, 105, pu=100))
    assert started(Market.PERP).apply(diff(99, 100, pu=90))


def test_deleting_what_is_not_there_is_normal():
    book = started(Market.SPOT)
    assert book.apply(diff(101, 101, bids=[(50.0, 0.0)], asks=[(500.0, 0.0)])) and book.levels == (2, 2)


@pytest.mark.parametrize("zero", ["0", "0.0", "0.000", "0.00000000", "-0", "0e5"])
def test_zero_in_any_spelling_deletes(zero):
    frame = f'{{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":101,"u":101,"b":[["99.000","{zero}"]],"a":[["102.0","{zero}"]]}}'.encode()
    book = started(Market.SPOT)
    assert book.apply(decode(frame)[1]) and book.best() == (98.0, 101.0)


def test_a_book_that_would_cross_is_thrown_away():
    book = started(Market.SPOT)
    assert not book.apply(diff(101, 101, bids=[(101.5, 1.0)]))
    assert book.reason == "the book crossed: best bid 101.5, best ask 101" and len(book.top().bid_price) == 0
    assert not book.start(Snapshot(last_id=5, bids=[(10.0, 1.0)], asks=[(9.0, 1.0)])) and book.needs_snapshot


def test_levels_beyond_the_snapshot_are_unknown_not_empty():
    book = started(Market.SPOT)
    assert book.top(2).complete
    book.apply(diff(101, 101, bids=[(98.0, 0.0), (90.0, 1.0)]))
    assert book.top(1).complete and not book.top(2).complete and book.top(2).bid_price.tolist() == [99.0, 90.0]


def test_a_side_may_run_empty():
    book = started(Market.SPOT)
    assert book.apply(diff(101, 101, bids=[(99.0, 0.0), (98.0, 0.0)]))
    assert len(book.top().bid_price) == 0 and np.isnan(book.top().mid) and book.best()[1] == 101.0
    assert book.apply(diff(102, 102, bids=[(97.0, 1.0)])) and book.best() == (97.0, 101.0)


def test_far_levels_are_forgotten_when_there_are_too_many(monkeypatch):
    monkeypatch.setattr(book_module, "MAX_LEVELS", 400)
    book = started(Market.SPOT)
    for i in range(1_000):
        book.apply(diff(101 + i, 101 + i, bids=[(98.0 - i / 100, 1.0)]))
    assert book.levels[0] <= 400 and book.top(20).bid_price[:2].tolist() == [99.0, 98.0] and book.best() == (99.0, 101.0)


def random_walk(source: random.Random, market: Market, n: int, levels: int = 300) -> tuple[Snapshot, list[DepthDiff]]:
    """A market that drifts far enough to use up the sorted front several times; ids as the exchange numbers them."""
    mid, last = 10_000, 50
    bids = {mid - 1 - i: float(source.randint(1, 9)) for i in range(levels)}
    asks = {mid + 1 + i: float(source.randint(1, 9)) for i in range(levels)}
    snapshot = Snapshot(last_id=last, bids=[(float(p), q) for p, q in bids.items()], asks=[(float(p), q) for p, q in asks.items()])
    changes = []
    for _ in range(n):
        mid += source.randint(-6, 6)
        told: tuple[dict, dict] = ({}, {})
        for side, book, sign in ((0, bids, -1), (1, asks, 1)):
            for price in [p for p in book if (p - mid) * sign <= 0]:
                del book[price]
                told[side][price] = 0.0
            for _ in range(source.randint(0, 6)):
                price = mid + sign * source.randint(1, source.choice((5, 50, 400)))
                quantity = 0.0 if source.random() < 0.4 else float(source.randint(1, 9))
                told[side][price] = quantity
                book[price] = quantity
                if not quantity:
                    del book[price]
        first = last + (1 if market is Market.SPOT else source.randint(1, 5))
        end = first + source.randint(0, 4)
        changes.append(diff(first, end, pu=-1 if market is Market.SPOT else last, bids=[(float(p), q) for p, q in told[0].items()],
                            asks=[(float(p), q) for p, q in told[1].items()]))
        last = end
    return snapshot, changes


@pytest.mark.parametrize("market", list(Market))
def test_a_random_market_equals_the_slow_truth_at_every_step(market, seed):
    for case in range(3):
        snapshot, changes = random_walk(random.Random(seed + case), market, 700)
        book, truth = LocalBook("BTCUSDT", market), SlowBook(snapshot)
        assert book.start(snapshot)
        for i, change in enumerate(changes):
            assert book.apply(change), book.reason
            truth.apply(change)
            if i % 7 == 0:
                assert same_top(book, truth) and same_top(book, truth, 3) and book.best()[0] < book.best()[1]
        assert book.sides() == (truth.bids, truth.asks)
        assert same_top(book, truth, 500)


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(list(Market)), st.integers(0, 10**9), st.data())
def test_chopped_doubled_and_reordered_changes_never_give_a_wrong_book(market, number, data):
    """Either the book is the truth of its update id, or it knows that it is not synchronised."""
    source = random.Random(number)
    snapshot, changes = random_walk(source, market, 30, levels=20)
    truth = SlowBook(snapshot)
    states = {snapshot.last_id: (dict(truth.bids), dict(truth.asks))}
    snapshots = [snapshot]
    for change in changes:
        truth.apply(change)
        states[change.last_id] = (dict(truth.bids), dict(truth.asks))
        snapshots.append(Snapshot(change.last_id, list(truth.bids.items()), list(truth.asks.items())))
    arriving = []
    for change in changes:
        fate = data.draw(st.sampled_from(("fine", "fine", "fine", "dropped", "doubled", "late")))
        arriving += {"fine": [change], "dropped": [], "doubled": [change, change], "late": [change]}[fate]
        if fate == "late" and len(arriving) > 1:
            arriving[-1], arriving[-2] = arriving[-2], arriving[-1]
    book = LocalBook("BTCUSDT", market)
    book.start(snapshot)
    for change in arriving:
        book.apply(change)
        if book.needs_snapshot and source.random() < 0.5:
            book.start(source.choice(snapshots))
        if book.synchronised:
            assert book.sides() == states[book.last_id]
        else:
            assert book.levels == (0, 0) and book.reason


# -- recorded markets ---------------------------------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.parametrize(("name", "market"), [("spot", Market.SPOT), ("usdm", Market.PERP)])
def test_a_recorded_market_rebuilds_a_book_that_never_crosses(recordings, name, market):
    messages = [decode(frame)[1] for _, frame in frames(recordings / f"ticks/stream_recordings/{name}_btcusdt_20240808.ndjson.gz")
                if b"@depth" in frame[:40] or b"lastUpdateId" in frame[:40]]
    book = LocalBook("BTCUSDT", market)
    truth: SlowBook | None = None
    for i, message in enumerate(messages):
        if isinstance(message, Snapshot):
            assert book.start(message), book.reason
            truth = SlowBook(message)
            for change in messages[:i]:
                if change.last_id >= message.last_id:
                    truth.apply(change)
            continue
        changed = book.apply(message)
        if truth is not None and changed:
            truth.apply(message)
            bid, ask = book.best()
            assert bid < ask
            if i % 25 == 0:
                assert same_top(book, truth)
    assert book.synchronised and book.resyncs == 0 and book.applied > 3_000
    assert truth is not None and book.sides() == (truth.bids, truth.asks)


@pytest.mark.real
@pytest.mark.parametrize("name", ["spot", "usdm"])
def test_the_recorded_best_prices_agree_with_the_book(recordings, name):
    """A second witness: bookTicker of the same update id, recorded beside the depth stream."""
    path = recordings / f"ticks/stream_recordings/{name}_btcusdt_20240808.ndjson.gz"
    book = LocalBook("BTCUSDT", Market.SPOT if name == "spot" else Market.PERP)
    tickers, compared = {}, 0
    messages = [decode(frame)[1] for _, frame in frames(path)]
    for message in messages:
        if type(message).__name__ == "BookTicker":
            tickers[message.update_id] = (message.bid, message.ask)
    for message in messages:
        if isinstance(message, Snapshot):
            book.start(message)
        elif isinstance(message, DepthDiff) and book.apply(message) and message.last_id in tickers:
            assert book.best() == tickers[message.last_id]
            compared += 1
    assert compared > 100


def rows_of_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.real
def test_archived_depth_rows_are_taken_by_the_same_rules(recordings):
    """The two archive files do not join (minutes lie between them), and the book must notice exactly that."""
    folder = recordings / "ticks/depth_csv"
    levels = rows_of_csv(folder / "btcusdt-depth-snap.csv")
    snapshot = Snapshot(int(levels[0]["last_update_id"]), [(float(r["price"]), float(r["qty"])) for r in levels if r["side"] == "b"],
                        [(float(r["price"]), float(r["qty"])) for r in levels if r["side"] == "a"])
    book = LocalBook("BTCUSDT", Market.PERP)
    assert book.start(snapshot) and sum(book.levels) == len(levels)
    changes = [DepthDiff(symbol="BTCUSDT", first_id=first, last_id=last, previous_id=pu,
                         bids=[(float(r["price"]), float(r["qty"])) for r in part if r["side"] == "b"],
                         asks=[(float(r["price"]), float(r["qty"])) for r in part if r["side"] == "a"])
               for (first, last, pu), rows in groupby(rows_of_csv(folder / "btcusdt-depth-update.csv"),
                                                      lambda r: (int(r["first_update_id"]), int(r["last_update_id"]), int(r["pu"])))
               for part in [list(rows)]]
    assert not book.apply(changes[0]) and "begins after the snapshot" in book.reason
    assert book.start(Snapshot(changes[0].previous_id, [], [])) and book.applied == 1
    assert [book.apply(change) for change in changes[1:]] == [True] * (len(changes) - 1)
