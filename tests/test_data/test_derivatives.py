"""Funding, basis, interest, ratios, forced orders and options: pure functions with known laws."""

from __future__ import annotations

import numpy as np
import pytest

from data.clock import FixedClock, parse_time
from data.errors import UnknownSymbol
from data.frames import COLUMNS, aggregate, row_faults
from data.market import DAY_MS, HOUR_MS, MINUTE_MS, Interval, Market, SeriesKey
from data.simulator import derivatives as derived
from data.simulator import options
from data.simulator.market import EPOCH_MS, SYMBOLS, SimulatedExchange
from data.simulator.tape import SYNTHETIC, Tape

NOW = parse_time("2026-11-20T08:30:00Z")
HOURS = EPOCH_MS + np.arange(20_000, dtype=np.int64) * HOUR_MS


@pytest.fixture(scope="module")
def tape():
    return Tape(7, FixedClock(NOW))


def test_a_longer_history_does_not_change_the_earlier_part():
    short, long = HOURS[:900], HOURS
    for function in (lambda at: derived.hourly_basis(7, 3, at), lambda at: derived.funding_rates(7, 3, at),
                     lambda at: derived.long_share(7, 3, "global", at), lambda at: derived.quadrant(7, 3, at),
                     lambda at: derived.premium_candles(7, 3, at, HOUR_MS)[1],
                     lambda at: derived.open_interest(7, 3, at, 100 + np.sin(np.arange(len(at))), 1e4)):
        assert np.array_equal(function(short), function(long)[:900])


def test_another_seed_or_symbol_is_another_series():
    one, other, neighbour = (derived.funding_rates(s, n, HOURS) for s, n in ((7, 0), (8, 0), (7, 1)))
    assert not np.array_equal(one, other) and abs(np.corrcoef(one, neighbour)[0, 1]) < 0.3


def test_funding_is_ou_around_its_mean_on_its_own_grid():
    every8 = derived.funding_times(0, EPOCH_MS, EPOCH_MS + 1_400 * DAY_MS)
    rates = np.concatenate([derived.funding_rates(seed, 0, every8) for seed in range(6)])
    assert abs(rates.mean() - derived.FUNDING_MEAN) < 6e-5
    assert 0.00008 < rates.std() < 0.0003
    one = derived.funding_rates(1, 0, every8) - derived.FUNDING_MEAN
    memory = float((one[1:] * one[:-1]).sum() / (one * one).sum())
    assert memory == pytest.approx(np.exp(-1 / 60), abs=0.02)
    assert [derived.funding_hours(SYMBOLS.index(s)) for s in ("BTCUSDT", "DOGEUSDT", "TRXUSDT")] == [8, 4, 1]
    for number in (0, 6, 11):
        times = derived.funding_times(number, EPOCH_MS, EPOCH_MS + 30 * DAY_MS)
        assert np.all(np.diff(times) == derived.funding_hours(number) * HOUR_MS)
        assert np.all(np.abs(derived.funding_rates(7, number, times)) <= derived.FUNDING_CAP[derived.funding_hours(number)])


def test_the_rate_shown_during_a_period_is_the_one_settled_at_its_end():
    settled = int(derived.funding_times(0, NOW, NOW + DAY_MS)[0])
    assert derived.funding_rates(7, 0, np.array([settled - 1, settled - HOUR_MS, settled])).tolist() == \
        [float(derived.funding_rates(7, 0, np.array([settled]))[0])] * 3


def test_open_interest_follows_the_quadrant_script(tape):
    hours = tape.hours("BTCUSDT", Market.PERP)
    held = derived.open_interest(7, 0, hours.open_time, hours.close, 10_000.0)
    assert held.min() > 2_000 and held.max() < 50_000
    big = np.abs(np.diff(np.log(hours.close))) > 0.004
    change = np.sign(np.diff(np.log(held)))[big]
    assert np.mean(change == derived.quadrant(7, 0, hours.open_time)[1:][big]) > 0.9


def test_perpetual_minutes_sum_to_their_hours(tape):
    for symbol in ("BTCUSDT", "DOGEUSDT", "SIMA04USDT"):
        minutes = tape.minutes(symbol, Market.PERP, NOW - 2 * DAY_MS, NOW)
        summed = aggregate(minutes, Interval.H1)
        hours = tape.hours(symbol, Market.PERP, int(summed.open_time[0]), int(summed.open_time[-1]) + 1)
        assert not row_faults(minutes.columns(), Interval.M1) and len(hours) == len(summed) >= 47
        for name in COLUMNS:
            assert np.allclose(getattr(summed, name), getattr(hours, name), rtol=1e-9, atol=1e-3), (symbol, name)


def test_the_tape_shows_the_simulators_own_series_and_twelve_more(tape):
    truth = SimulatedExchange(7, FixedClock(NOW))
    for symbol in ("BTCUSDT", "TRXUSDT"):
        whole = truth.read(SeriesKey(symbol, Interval.H1))
        assert np.array_equal(tape.hours(symbol, Market.SPOT, None, int(whole.open_time[-1]) + 1).close, whole.close)
    assert len(tape.symbols) == 24 and set(SYNTHETIC).isdisjoint(SYMBOLS)
    one, other = (tape.hours(s, Market.SPOT).log_return[1:] for s in ("BTCUSDT", "SIMA01USDT"))
    assert abs(np.corrcoef(np.nan_to_num(one), np.nan_to_num(other))[0, 1]) < 0.05
    with pytest.raises(UnknownSymbol, match="did you mean BTCUSDT"):
        tape.number("BTCUSD")


def test_shares_are_shares_and_forced_orders_hit_the_losing_side():
    for which in derived.RATIOS:
        share = derived.long_share(7, 0, which, HOURS[:2_000] + 300_000)
        assert np.all((share > 0.2) & (share < 0.8))
    fallen = [o for m in range(50) for o in derived.forced_orders(7, 0, NOW + m * MINUTE_MS, 100.0, 98.5, 1e3, 0.01, 0.001)]
    risen = [o for m in range(50) for o in derived.forced_orders(7, 0, NOW + m * MINUTE_MS, 100.0, 101.5, 1e3, 0.01, 0.001)]
    calm = [o for m in range(50) for o in derived.forced_orders(7, 0, NOW + m * MINUTE_MS, 100.0, 100.01, 1e3, 0.01, 0.001)]
    assert {o.side for o in fallen} == {"SELL"} and {o.side for o in risen} == {"BUY"} and len(calm) < 20 < len(fallen)
    assert len({o.time_ms // 1000 for o in fallen}) == len(fallen), "more than one order in a second"
    assert all(o.last_quantity <= o.quantity for o in fallen)


def test_options_keep_parity_and_price_time():
    spot = 17_700.0
    chain = {m.contract.symbol: m for m in options.marks(7, "BTC", NOW, spot)}
    assert len(chain) > 150 and len({m.contract.expiry_ms for m in chain.values()}) >= 6
    for symbol, call in chain.items():
        if symbol.endswith("-C"):
            put = chain[symbol[:-1] + "P"]
            assert call.mark - put.mark == pytest.approx(spot - call.contract.strike, abs=1e-6)
            assert call.delta - put.delta == pytest.approx(1.0) and call.gamma == pytest.approx(put.gamma)
            assert call.mark >= max(0.0, spot - call.contract.strike) - 1e-9 and call.theta <= 0 <= call.vega
    assert options.black_76(100.0, 100.0, 1.0, 0.2, True)[0] == pytest.approx(7.9655674, abs=1e-6)
    assert all(datetime_is_eight(e) for e in options.expiries(NOW))


def datetime_is_eight(ms: int) -> bool:
    return ms % DAY_MS == 8 * HOUR_MS and ms > NOW
