"""Trades and books inside a minute: they add up to the candle and never cross."""

from __future__ import annotations

import numpy as np
import pytest

from data.clock import FixedClock, parse_time
from data.market import MINUTE_MS, Market
from data.simulator.tape import Tape
from data.simulator.tickbook import ID_STRIDE, Floor, _hash, _one, changes, step_at, time_of

NOW = parse_time("2026-11-20T08:30:00Z")
CASES = [(s, m) for s in ("BTCUSDT", "TRXUSDT", "DOGEUSDT", "SIMA02USDT") for m in Market]


@pytest.fixture(scope="module")
def floor():
    return Floor(Tape(7, FixedClock(NOW)))


@pytest.mark.parametrize(("symbol", "market"), CASES)
def test_trades_add_up_to_their_candle(floor, symbol, market):
    after = None
    for minute in range(NOW, NOW + 40 * MINUTE_MS, MINUTE_MS):
        flow = floor.flow(symbol, market, minute)
        day, row = floor.tape.minute(symbol, market, minute)
        assert len(flow) == day.count[row]
        assert flow.quantity.sum() == pytest.approx(day.volume[row], rel=1e-9)
        if len(flow) > 1:
            assert flow.quantity[~flow.buyer_is_maker].sum() == pytest.approx(day.taker_buy_volume[row], rel=1e-9, abs=1e-9)
        if len(flow) > 3:
            assert (flow.price[0], flow.price.max(), flow.price.min(), flow.price[-1]) == (
                day.open[row], day.high[row], day.low[row], day.close[row])
        assert np.all(np.diff(flow.time) >= 0) and np.all((flow.time >= minute) & (flow.time < minute + MINUTE_MS))
        assert after is None or flow.first_id == after, "trade ids have a hole"
        after = flow.first_id + len(flow)


@pytest.mark.parametrize(("symbol", "market"), CASES)
def test_the_book_is_one_tick_wide_follows_trades_and_is_the_same_from_scratch(floor, symbol, market):
    fresh = Floor(Tape(7, FixedClock(NOW)))
    tick = floor.tape.listing(symbol).tick
    moved = 0
    for step in range(step_at(NOW + 9_000), step_at(NOW + 9_000) + 300):
        book = floor.book(symbol, market, step)
        assert min(book.asks) - max(book.bids) == 1 and min(book.bids) > 0
        assert next(iter(book.bids)) == max(book.bids) and next(iter(book.asks)) == min(book.asks), "best first"
        assert all(q > 0 for side in (book.bids, book.asks) for q in side.values())
        traded = floor.trades(symbol, market, NOW, time_of(step) + 1)
        if traded:
            price, maker = round(traded[-1][2] / tick), traded[-1][4]
            assert max(book.bids) == (price if maker else price - 1)
        moved += bool(changes(book.bids, floor.book(symbol, market, step + 1).bids))
    last = floor.book(symbol, market, step)
    assert moved > 100 and fresh.book(symbol, market, step) == last and last.update_id == (step + 1) * ID_STRIDE


def test_changes_turn_one_book_into_the_next(floor):
    step = step_at(NOW)
    for gap in (1, 7, 300):
        old, new = floor.book("ETHUSDT", Market.SPOT, step), floor.book("ETHUSDT", Market.SPOT, step + gap)
        for before, after in ((old.bids, new.bids), (old.asks, new.asks)):
            built = dict(before)
            for level, quantity in changes(before, after):
                if quantity:
                    built[level] = quantity
                else:
                    del built[level]
            assert built == after


def test_the_best_quotes_lean_towards_the_next_second(floor):
    """The planted truth of the book: methods.md 8.1's slowly tilting side, with odds of four to one."""
    hits = misses = 0
    for step in range(step_at(NOW), step_at(NOW) + 1_500):
        book = floor.book("BTCUSDT", Market.SPOT, step)
        coming = floor.best_bid_ticks("BTCUSDT", Market.SPOT, step + 10) - max(book.bids)
        lean = next(iter(book.bids.values())) - next(iter(book.asks.values()))
        if coming:
            hits, misses = hits + (lean * coming > 0), misses + (lean * coming < 0)
    assert 0.7 < hits / (hits + misses) < 0.9


def test_the_two_hashes_are_one():
    for parts in ((7, 1, 2, 3), (0, -1, 10**12, 5), (7, 48, 6, 431_234_567)):
        assert _one(*parts) == _hash(*parts)[0] == _hash(*(np.array([p]) for p in parts))[0]
