"""The embedded exchange: a pure function of seed and time, whole candles, known truths."""

from __future__ import annotations

import numpy as np
import pytest

from data.clock import FixedClock, parse_time
from data.errors import InputError
from data.frames import COLUMNS, aggregate, row_faults
from data.market import DAY_MS, HOUR_MS, Interval, Market, Provenance, SeriesKey
from data.simulator.market import EPOCH_MS, FINE_DAYS, HALT_HOURS, LISTINGS, SYMBOLS, SimulatedExchange, regime_path

NOW = parse_time("2026-11-20T08:30:00Z")


@pytest.fixture(scope="module")
def exchange():
    return SimulatedExchange(7, FixedClock(NOW))


def hours(exchange, symbol):
    return exchange.read(SeriesKey(symbol, Interval.H1))


def test_every_symbol_holds_valid_candles_marked_simulated(exchange):
    assert len(SYMBOLS) == 12
    for symbol in SYMBOLS:
        for interval in (Interval.M1, Interval.M15, Interval.H1, Interval.H4, Interval.D1):
            candles = exchange.read(SeriesKey(symbol, interval))
            assert len(candles) > 80 and candles.provenance == Provenance.SIMULATED
            assert not row_faults(candles.columns(), interval)
            assert candles.close_time[-1] < NOW


def test_history_does_not_change_when_the_clock_moves_on(exchange):
    later = SimulatedExchange(7, FixedClock(NOW + 300 * DAY_MS))
    for symbol in SYMBOLS:
        old, new = hours(exchange, symbol), hours(later, symbol)
        for name in COLUMNS:
            assert np.array_equal(getattr(old, name), getattr(new, name)[: len(old)]), (symbol, name)


def test_minutes_sum_to_their_hours(exchange):
    for symbol in SYMBOLS:
        summed = aggregate(exchange.read(SeriesKey(symbol, Interval.M1)), Interval.H1)
        stored = hours(exchange, symbol).between(int(summed.open_time[0]), int(summed.open_time[-1]) + 1)
        assert len(summed) == len(stored) >= (FINE_DAYS - 1) * 24
        for name in COLUMNS:
            assert np.allclose(getattr(summed, name), getattr(stored, name), rtol=1e-12, atol=1e-9), (symbol, name)


def test_a_range_equals_the_same_part_of_everything(exchange):
    key = SeriesKey("SOLUSDT", Interval.M5)
    whole = exchange.read(key)
    start, end = int(whole.open_time[1000]) + 1, int(whole.open_time[2000]) + 7
    part = exchange.read(key, start, end)
    assert part.open_time[0] >= start and part.open_time[-1] < end
    assert np.array_equal(part.close, whole.between(start, end).close)


def test_the_halt_is_confirmed_and_the_dead_feed_is_not(exchange):
    halt = (EPOCH_MS + HALT_HOURS[0] * HOUR_MS, EPOCH_MS + HALT_HOURS[1] * HOUR_MS)
    bitcoin, doge = hours(exchange, "BTCUSDT"), hours(exchange, "DOGEUSDT")
    assert [(a, b) for a, b, _ in bitcoin.gaps()] == [halt] and bitcoin.halts == (halt,)
    assert len(bitcoin.segments) == 1 and len(doge.gaps()) == 3 and len(doge.segments) == 3


def test_planted_lead_lag_and_pair_are_there(exchange):
    r = {s: hours(exchange, s).log_return for s in ("ETHUSDT", "SOLUSDT", "BTCUSDT", "XRPUSDT", "TRXUSDT")}
    eth = r["ETHUSDT"] - 0.8 * r["BTCUSDT"]

    def corr(a, b, lag):
        x, y = a[: len(a) - lag], b[lag:]
        known = np.isfinite(x) & np.isfinite(y)
        return np.corrcoef(x[known], y[known])[0, 1]

    assert max(range(1, 8), key=lambda k: corr(eth, r["SOLUSDT"], k)) == 3
    assert max(range(1, 8), key=lambda k: corr(r["BTCUSDT"], r["XRPUSDT"], k)) == 1
    assert 0.05 < corr(r["TRXUSDT"], r["TRXUSDT"], 1) < 0.25
    ada, dot = np.log(hours(exchange, "ADAUSDT").close), np.log(hours(exchange, "DOTUSDT").close)
    gap = dot - 1.2 * ada
    assert 0.01 < np.std(gap) < 0.03  # planted 0.02, half-life 24 hours


def test_regime_path_labels_are_prefix_stable():
    noise = np.random.default_rng(1).standard_normal(9000)
    long_moves, long_label = regime_path(7, 9000, noise, 1.0)
    moves, label = regime_path(7, 3000, noise[:3000], 1.0)
    assert np.array_equal(moves, long_moves[:3000]) and np.array_equal(label, long_label[:3000])
    assert set(np.unique(long_label)) == {-1, 0, 1}


def test_another_seed_is_another_world(exchange):
    other = SimulatedExchange(8, FixedClock(NOW))
    assert not np.array_equal(hours(exchange, "BTCUSDT").close, hours(other, "BTCUSDT").close)


def test_what_it_does_not_list_is_empty(exchange):
    assert len(exchange.read(SeriesKey("NOSUCH", Interval.H1))) == 0
    assert exchange.last_close_ms(SeriesKey("BTCUSDT", Interval.M3, Market.PERP)) is None


@pytest.mark.parametrize("interval", [Interval.M5, Interval.H1, Interval.H4, Interval.D1])
def test_the_perpetual_stands_beside_spot_and_its_bars_add_up(exchange, interval):
    end = NOW // DAY_MS * DAY_MS
    spot, perp = (exchange.read(SeriesKey("ETHUSDT", interval, m), end - 5 * DAY_MS, end) for m in Market)
    assert np.array_equal(spot.open_time, perp.open_time) and np.all(np.abs(perp.close / spot.close - 1) < 0.005)
    hours = exchange.read(SeriesKey("ETHUSDT", Interval.H1, Market.PERP), end - 5 * DAY_MS, end)
    assert perp.high.max() == hours.high.max() and perp.low.min() == hours.low.min()
    assert perp.volume.sum() == pytest.approx(hours.volume.sum(), rel=1e-9)


def test_a_clock_before_the_opening_says_so():
    with pytest.raises(InputError, match="opened on 2022-10-12"):
        hours(SimulatedExchange(7, FixedClock(parse_time("2020-01-01"))), "BTCUSDT")


def test_truth_names_every_symbol(exchange):
    truth = exchange.truth()
    assert set(truth["symbols"]) == {item.symbol for item in LISTINGS}
    assert len(truth["symbols"]["DOGEUSDT"]["jumps"]) >= 18
