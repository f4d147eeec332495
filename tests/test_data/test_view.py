"""A view holds what was known at its moment, exactly the declared history, and answers only for what was declared."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from data.clock import FixedClock, parse_time
from data.errors import NoData, UndeclaredNeed
from data.market import DAY_MS, HOUR_MS, Interval, Market, SeriesKey
from data.observations import Kind, Observations
from data.simulator.market import SimulatedExchange
from data.view import Need, SharedWindows, build_view, shared_windows
from tests.memory_reader import MemoryReader

NOW = parse_time("2026-11-20T08:30:00Z")
HOURLY = Need(Kind.CANDLES, 300)
DAILY = Need(Kind.CANDLES, 200, interval=Interval.D1)
PERP = Need(Kind.CANDLES, 300, market=Market.PERP, optional=True)
FUNDING = Need(Kind.FUNDING, days=100, optional=True)


@pytest.fixture(scope="module")
def exchange():
    return SimulatedExchange(7, FixedClock(NOW))


def view_of(exchange, at=None, needs=(HOURLY, DAILY, PERP, FUNDING)):
    return build_view(exchange, "ETHUSDT", Market.SPOT, Interval.H1, needs, at_ms=at)


def test_without_a_time_the_view_is_right_after_the_newest_candle(exchange):
    view = view_of(exchange)
    assert view.as_of_ms == parse_time("2026-11-20T08:00:00Z") - 1 and view.at_ms == view.as_of_ms + 1
    assert view.age_s(view.candles(HOURLY)) == 0.0


def test_a_bar_is_visible_only_after_it_closed(exchange):
    at = parse_time("2026-03-01T12:00:00Z")
    seen = view_of(exchange, at).candles(HOURLY)
    assert seen.close_time[-1] == at - 1 and len(seen) == 300
    assert view_of(exchange, at - 1).candles(HOURLY).close_time[-1] == at - 1 - HOUR_MS


def test_a_longer_interval_joins_by_close(exchange):
    at = parse_time("2026-03-01T23:00:00Z")
    daily = view_of(exchange, at).candles(DAILY)
    assert daily.close_time[-1] == parse_time("2026-03-01") - 1 and len(daily) == 200


def test_the_history_is_exactly_what_was_declared_whatever_is_stored(exchange):
    long = view_of(exchange, needs=(HOURLY, Need(Kind.CANDLES, 900)))
    assert len(long.candles(HOURLY)) == 300
    assert np.array_equal(long.candles(HOURLY).close, view_of(exchange).candles(HOURLY).close)


def test_absent_inputs_are_empty_with_a_reason(exchange):
    view = view_of(exchange)
    lone = MemoryReader({SeriesKey("ETHUSDT", Interval.H1): view.candles(HOURLY)})
    alone = build_view(lone, "ETHUSDT", Market.SPOT, Interval.H1, (HOURLY, PERP))
    assert len(alone.candles(PERP)) == 0 and alone.why_absent(PERP) == "no perp 1h candles of ETHUSDT are stored"
    assert "no funding of ETHUSDT is stored" in view.why_absent(FUNDING)


def test_asking_for_what_was_not_declared_is_an_error(exchange):
    with pytest.raises(UndeclaredNeed, match="was not declared"):
        view_of(exchange, needs=(HOURLY,)).candles(DAILY)


def test_before_the_first_candle_there_is_no_view(exchange):
    with pytest.raises(NoData, match="no stored candle before 2020-01-01"):
        view_of(exchange, parse_time("2020-01-01"))


def test_a_past_moment_far_after_the_data_ages_it(exchange):
    view = view_of(exchange, NOW + 5 * HOUR_MS)
    assert view.age_s(view.candles(HOURLY)) == 5.5 * 3600


class Reader:
    """Funding every eight hours, known a minute after it was settled."""

    def known(self, symbol, kind, market, start_ms, at_ms):
        event = np.arange(0, at_ms, 8 * HOUR_MS)
        rows = Observations(kind, event, event + 60_000, {"rate": event * 1e-12, "interval_h": event * 0 + 8.0, "mark_price": event * 0.0})
        known = rows.known_at(at_ms)
        return known.take(known.available_time >= start_ms)

    def version(self, symbol):
        return "1"


def test_observations_join_by_when_they_became_known(exchange):
    at = parse_time("2026-11-20T08:00:00Z")
    for moment, newest in ((at, at - 8 * HOUR_MS), (at + 60_000, at - 8 * HOUR_MS), (at + 60_001, at)):
        view = build_view(exchange, "ETHUSDT", Market.SPOT, Interval.H1, (HOURLY, FUNDING), at_ms=moment, observations=Reader())
        seen = view.observations(FUNDING)
        assert seen.event_time[-1] == newest
        assert seen.available_time[0] >= moment - 100 * DAY_MS and view.age_of(seen) == (moment - 1 - seen.available_time[-1]) / 1000


def test_the_group_holds_every_symbol_on_one_grid_and_can_be_taken_away(exchange):
    group = Need(Kind.CANDLES, 50, peers=True)
    view = build_view(exchange, "ETHUSDT", Market.SPOT, Interval.H1, (HOURLY, group), peers=("SOLUSDT", "BTCUSDT", "NOSUCHUSDT"))
    assert list(view.peers(group)) == ["BTCUSDT", "ETHUSDT", "SOLUSDT"] and {len(c) for c in view.peers(group).values()} == {50}
    assert view.holds(group) and view.holds(HOURLY)
    assert not view.without(group, "why").holds(group) and not view.without(HOURLY, "why").holds(HOURLY)


PEERS_HOURLY = Need(Kind.CANDLES, 400, peers=True)
PEERS_DAILY = Need(Kind.CANDLES, 60, interval=Interval.D1, peers=True)
GROUP = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


def test_the_views_of_a_group_share_its_windows_and_hold_what_each_would_have_read():
    shared, alone = SimulatedExchange(7, FixedClock(NOW)), []
    views = [build_view(shared, name, Market.SPOT, Interval.H1, (PEERS_HOURLY, PEERS_DAILY), peers=GROUP) for name in GROUP]
    for name in GROUP:
        exchange = SimulatedExchange(7, FixedClock(NOW))
        alone.append(build_view(exchange, name, Market.SPOT, Interval.H1, (PEERS_HOURLY, PEERS_DAILY), peers=GROUP))
    for need in (PEERS_HOURLY, PEERS_DAILY):
        for name in GROUP:
            assert views[0].peers(need)[name] is views[2].peers(need)[name]
            for one, other in zip(views, alone, strict=True):
                assert all(np.array_equal(a, b) for a, b in zip(one.peers(need)[name].columns().values(),
                                                                other.peers(need)[name].columns().values(), strict=True))


def test_a_shared_window_is_read_again_once_its_series_has_changed():
    key = SeriesKey("ETHUSDT", Interval.H1)
    candles = SimulatedExchange(7, FixedClock(NOW)).read(key, NOW - 500 * HOUR_MS)
    series = {key: candles}
    reader = MemoryReader(series)
    at = int(candles.close_time[-1]) + 1

    def peers() -> np.ndarray:
        return build_view(reader, "ETHUSDT", Market.SPOT, Interval.H1, (PEERS_HOURLY,), at_ms=at).peers(PEERS_HOURLY)["ETHUSDT"].close

    before = peers()
    assert np.array_equal(before, peers())
    series[key] = replace(candles, close=candles.close * 1.001, high=candles.high * 1.001)
    assert np.array_equal(peers(), before * 1.001)


def test_shared_windows_are_bounded_and_go_with_their_reader(exchange):
    memory = SharedWindows(rows=1_000)
    for symbol in GROUP * 2:
        for bars in (300, 400):
            key = SeriesKey(symbol, Interval.H1)
            found = memory.get(exchange, key, NOW, bars, lambda key=key, bars=bars: exchange.read(key).tail(bars))
            assert len(found) == bars and memory.rows <= 1_000
    reader = MemoryReader({})
    assert shared_windows(reader) is shared_windows(reader) and shared_windows(reader) is not shared_windows(MemoryReader({}))


def test_shared_windows_read_by_many_threads_are_the_same(exchange):
    memory = SharedWindows(rows=2_000)

    def read(number: int) -> float:
        key = SeriesKey(GROUP[number % 3], Interval.H1)
        return float(memory.get(exchange, key, NOW, 300 + number % 5, lambda: exchange.read(key).tail(300 + number % 5)).close.sum())

    once = [read(number) for number in range(15)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, range(300))) == once * 20
    assert memory.rows <= 2_000
