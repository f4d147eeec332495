"""The simulated world's condensed order flow: it agrees with the candles and with the exchange's own quotes, and nothing in it changes."""

from __future__ import annotations

import numpy as np
import pytest

from data.clock import FixedClock, parse_time
from data.market import DAY_MS, HOUR_MS, MINUTE_MS, Interval, Market, SeriesKey
from data.observations import COLUMNS_OF, Kind
from data.simulator import observed_flow
from data.simulator.market import EPOCH_MS, HALT_HOURS, LISTINGS, SYMBOLS, SimulatedExchange
from data.simulator.observed import SimulatedObservations, World
from data.simulator.tape import Tape
from data.simulator.tickbook import Floor, step_at

NOW = parse_time("2026-11-20T08:30:00Z")
EXCHANGE = SimulatedExchange(7, FixedClock(NOW))


def flow(kind, start, at, symbol="LINKUSDT", seed=7, exchange=EXCHANGE):
    return observed_flow.observed(World(seed, exchange, symbol), kind, start, at)


@pytest.fixture(scope="module")
def hour():
    return flow(Kind.SECOND_FLOW, NOW - HOUR_MS, NOW), flow(Kind.MINUTE_FLOW, NOW - HOUR_MS, NOW)


def test_volumes_are_those_of_the_candles(hour):
    seconds, minutes = hour
    candles = EXCHANGE.read(SeriesKey("LINKUSDT", Interval.M1), NOW - HOUR_MS, NOW)
    assert len(seconds) == 3600 and minutes.event_time.tolist() == candles.open_time.tolist()
    by_minute = seconds["buy_volume"].reshape(60, 60).sum(axis=1)
    assert by_minute == pytest.approx(candles.taker_buy_volume, abs=1e-6) and minutes["buy_volume"] == pytest.approx(by_minute)
    assert minutes["sell_volume"] == pytest.approx(candles.volume - candles.taker_buy_volume, abs=1e-6)
    trades = (seconds["buy_count"] + seconds["sell_count"]).reshape(60, 60).sum(axis=1)
    assert trades.tolist() == candles.count.tolist()


def test_the_best_quote_is_the_exchanges(hour):
    seconds, _ = hour
    floor, item = Floor(Tape(7, FixedClock(NOW))), LISTINGS[SYMBOLS.index("LINKUSDT")]
    for row in (0, 59, 777, 1811, 3599):
        step = step_at(int(seconds.event_time[row]) + 900)
        assert round(seconds["bid"][row] / item.tick) == floor.best_bid_ticks("LINKUSDT", Market.SPOT, step)
        if row % 60 != 59:  # in the last second of a minute the exchange looks into the next, this layer does not
            book = floor.book("LINKUSDT", Market.SPOT, step)
            best = max(book.bids)
            assert seconds["bid_quantity"][row] == pytest.approx(book.bids[best] * item.step)
            assert seconds["ask_quantity"][row] == pytest.approx(book.asks[best + 1] * item.step)


def test_the_minutes_shape_is_that_of_the_exchanges_book(hour):
    from data.streams.book_shape import shape_of

    _, minutes = hour
    floor, item = Floor(Tape(7, FixedClock(NOW))), LISTINGS[SYMBOLS.index("LINKUSDT")]
    book = floor.book("LINKUSDT", Market.SPOT, step_at(int(minutes.event_time[30]) + 59_900))
    bids, asks = sorted(book.bids, reverse=True), sorted(book.asks)
    shape = shape_of(np.array(bids) * item.tick, np.array([book.bids[p] for p in bids]) * item.step,
                     np.array(asks) * item.tick, np.array([book.asks[p] for p in asks]) * item.step)
    for name in ("bid_elasticity", "ask_mass_50", "bid_depth_10", "obi_20"):
        assert minutes[name][30] == pytest.approx(getattr(shape, name), rel=0.02, abs=0.02), name


def test_minutes_are_sums_of_their_seconds(hour):
    seconds, minutes = hour
    assert minutes["ofi"][1:] == pytest.approx(seconds["ofi"].reshape(60, 60).sum(axis=1)[1:])
    assert minutes["mid"].tolist() == seconds["mid"][59::60].tolist()
    assert minutes["best_depth"] == pytest.approx(seconds["depth"].reshape(60, 60).mean(axis=1))


def test_quotes_and_counts_are_of_a_real_book(hour):
    seconds, minutes = hour
    assert (seconds["ask"] > seconds["bid"]).all() and (np.abs(seconds["imbalance"]) < 1).all()
    assert (seconds["price_changes"] <= seconds["updates"]).all() and (seconds["updates"] <= 10).all()
    assert np.nanmin(seconds["life_ms"]) >= 100 and (np.isnan(seconds["life_ms"]) | (seconds["price_changes"] > 0)).all()
    assert (np.abs(seconds["latency_flow"]) <= seconds["buy_volume"] + seconds["sell_volume"] + 1e-9).all()
    for name in ("bid_depth_10", "buy_slippage_10k", "bid_elasticity", "best_depth", "spread_bps"):
        assert (minutes[name] > 0).all(), name


@pytest.mark.parametrize("symbol", ["BTCUSDT", "LINKUSDT", "TRXUSDT"])
def test_planted_the_imbalance_predicts_the_next_seconds_mid(symbol):
    seconds = flow(Kind.SECOND_FLOW, NOW - 6 * HOUR_MS, NOW, symbol)
    ahead = np.diff(np.log(seconds["mid"]))
    lean = (seconds["bid_quantity"] - seconds["ask_quantity"]) / (seconds["bid_quantity"] + seconds["ask_quantity"])
    assert np.corrcoef(lean[:-1], ahead)[0, 1] > 0.15
    assert abs(np.corrcoef(lean[1:], ahead)[0, 1]) < np.corrcoef(lean[:-1], ahead)[0, 1]  # it leads, it does not follow


def test_rows_are_known_at_their_last_millisecond_and_only_what_is_asked_for_comes():
    for kind, step in ((Kind.SECOND_FLOW, 1000), (Kind.MINUTE_FLOW, MINUTE_MS)):
        found = flow(kind, NOW - HOUR_MS - 30_000, NOW - 90_000)
        assert np.array_equal(found.available_time, found.event_time + step - 1) and tuple(found.columns) == COLUMNS_OF[kind]
        assert found.available_time[0] >= NOW - HOUR_MS - 30_000 and found.available_time[-1] < NOW - 90_000
        assert np.all(np.diff(found.event_time) == step)


def test_the_past_does_not_change_when_time_goes_on_or_the_memory_is_empty():
    earlier = SimulatedExchange(7, FixedClock(NOW - 17 * MINUTE_MS))
    for kind in observed_flow.KINDS:
        before = flow(kind, NOW - 3 * HOUR_MS, NOW - 17 * MINUTE_MS, exchange=earlier)
        for memory in observed_flow._remembered.values():
            memory.clear()
        after = flow(kind, NOW - 2 * HOUR_MS - 7 * MINUTE_MS, NOW)
        shared = after.event_time[np.isin(after.event_time, before.event_time)]
        assert len(shared) >= 100
        for name in COLUMNS_OF[kind]:
            assert np.array_equal(before[name][np.isin(before.event_time, shared)], after[name][np.isin(after.event_time, shared)],
                                  equal_nan=True), name


def test_another_seed_is_another_world():
    other = SimulatedExchange(8, FixedClock(NOW))
    assert not np.array_equal(flow(Kind.SECOND_FLOW, NOW - HOUR_MS, NOW, seed=8, exchange=other)["ofi"],
                              flow(Kind.SECOND_FLOW, NOW - HOUR_MS, NOW)["ofi"])


def test_a_halt_has_no_rows_and_the_second_after_it_no_order_flow():
    clock = FixedClock(EPOCH_MS + (HALT_HOURS[1] + 3) * HOUR_MS)
    exchange = SimulatedExchange(7, clock)
    start, end = (EPOCH_MS + h * HOUR_MS for h in HALT_HOURS)
    found = flow(Kind.SECOND_FLOW, start - HOUR_MS, end + 2 * HOUR_MS, exchange=exchange)
    assert not ((found.event_time >= start) & (found.event_time <= end + HOUR_MS - 1)).any() and len(found) == 2 * 3600
    assert np.flatnonzero(np.isnan(found["ofi"])).tolist() == [3600]
    minutes = flow(Kind.MINUTE_FLOW, start - HOUR_MS, end + 2 * HOUR_MS, exchange=exchange)
    assert len(minutes) == 120 and np.flatnonzero(np.isnan(minutes["ofi"])).tolist() == [60]
    assert not len(flow(Kind.MINUTE_FLOW, start, end, exchange=exchange))


def test_only_the_newest_days_exist_whenever_one_asks():
    reader = SimulatedObservations(7, EXCHANGE, FixedClock(NOW))
    oldest = NOW // DAY_MS * DAY_MS - 2 * DAY_MS
    assert reader.known("LINKUSDT", Kind.MINUTE_FLOW, Market.SPOT, NOW - 9 * DAY_MS, oldest + HOUR_MS).event_time[0] == oldest
    before = reader.known("LINKUSDT", Kind.MINUTE_FLOW, Market.SPOT, NOW - 9 * DAY_MS, oldest - HOUR_MS)
    assert not len(before) and before.note
    assert len(reader.known("NOSUCH", Kind.MINUTE_FLOW, Market.SPOT, NOW - DAY_MS, NOW)) == 0
