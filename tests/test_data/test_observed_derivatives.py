"""The simulated derivatives layer: what the loopback exchange says, row by row, and nothing that a later question would change."""

from __future__ import annotations

import numpy as np
import pytest

from data.clock import FixedClock, parse_time
from data.market import DAY_MS, HOUR_MS, MINUTE_MS, Interval, Market, SeriesKey
from data.observations import COLUMNS_OF, Kind
from data.simulator import options, venue_futures, venue_options
from data.simulator.derivatives import funding_hours
from data.simulator.market import EPOCH_MS, FROZEN_HOURS, SYMBOLS, SimulatedExchange
from data.simulator.observed import SimulatedObservations
from data.simulator.observed_derivatives import ASSET_OF, KINDS, RECORDED_DAYS
from data.simulator.venue_market import VenueMarket
from data.simulator.venue_rest import Query
from data.sources import parse_futures, parse_klines, parse_options

NOW = parse_time("2026-11-20T08:30:00Z")
CLOCK = FixedClock(NOW)


@pytest.fixture(scope="module")
def exchange():
    return SimulatedExchange(7, CLOCK)


@pytest.fixture(scope="module")
def observed(exchange):
    return SimulatedObservations(7, exchange, CLOCK)


@pytest.fixture(scope="module")
def venue():
    return VenueMarket(7, CLOCK)


def ask(venue, path, **sent):
    module = venue_options if path.startswith("/eapi") else venue_futures
    return module.ENDPOINTS[path].answer(Query(venue, Market.PERP, {k: str(v) for k, v in sent.items()}, NOW))


def ours(observed, symbol, kind, days=3.0):
    return observed.known(symbol, kind, Market.PERP, NOW - int(days * DAY_MS), NOW)


def assert_same(mine, theirs, columns=None, *, times=("event_time", "available_time"), atol=1e-9):
    rows = np.isin(mine.event_time, theirs.event_time)
    mine = mine.take(rows)
    assert len(mine) == len(theirs) >= 2
    for name in times:
        assert np.array_equal(getattr(mine, name), getattr(theirs, name)), name
    for name in columns or COLUMNS_OF[mine.kind]:
        assert np.allclose(mine[name], theirs[name], rtol=1e-9, atol=atol, equal_nan=True), (mine.kind, name)


@pytest.mark.parametrize("symbol", ["BTCUSDT", "DOGEUSDT", "TRXUSDT"])
def test_rows_are_those_of_the_loopback_exchange(observed, venue, symbol):
    settled = parse_futures.funding_of(ask(venue, "/fapi/v1/fundingRate", symbol=symbol, limit=8), provenance="SIMULATED")
    assert_same(ours(observed, symbol, Kind.FUNDING), settled, ("rate", "mark_price"), times=("event_time",))
    rows = parse_futures.open_interest_of(ask(venue, "/futures/data/openInterestHist", symbol=symbol, period="1h", limit=20),
                                          provenance="SIMULATED")
    assert_same(ours(observed, symbol, Kind.OPEN_INTEREST), rows)
    for kind, path in ((Kind.GLOBAL_RATIO, "globalLongShortAccountRatio"), (Kind.TOP_ACCOUNT_RATIO, "topLongShortAccountRatio"),
                       (Kind.TOP_POSITION_RATIO, "topLongShortPositionRatio")):
        rows = parse_futures.ratio_of(ask(venue, f"/futures/data/{path}", symbol=symbol, period="1h", limit=20), kind,
                                      provenance="SIMULATED")
        assert_same(ours(observed, symbol, kind), rows)
    rows = parse_futures.taker_of(ask(venue, "/futures/data/takerlongshortRatio", symbol=symbol, period="1h", limit=20),
                                  period_ms=HOUR_MS, provenance="SIMULATED")
    assert_same(ours(observed, symbol, Kind.TAKER_RATIO), rows, atol=1.01e-4)  # a fifth decimal of 5 is printed either way
    rows = parse_futures.basis_of(ask(venue, "/futures/data/basis", pair=symbol, contractType="PERPETUAL", period="1h", limit=20),
                                  provenance="SIMULATED")
    assert_same(ours(observed, symbol, Kind.BASIS), rows)
    rows = parse_klines.price_bars_of(ask(venue, "/fapi/v1/premiumIndexKlines", symbol=symbol, interval="1h", limit=20), Kind.PREMIUM_INDEX,
                                      closed_before_ms=NOW, provenance="SIMULATED")
    assert_same(ours(observed, symbol, Kind.PREMIUM_INDEX), rows)


def test_predicted_funding_is_the_rate_that_is_settled_next(observed, venue):
    shown = parse_futures.predicted_funding_of(ask(venue, "/fapi/v1/premiumIndex", symbol="ETHUSDT"), interval_h=8, provenance="SIMULATED")
    newest = ours(observed, "ETHUSDT", Kind.FUNDING_PREDICTED).take(slice(-1, None))
    assert newest["rate"][0] == shown["rate"][0] and newest["next_time_ms"][0] == shown["next_time_ms"][0]
    assert newest["interval_h"][0] == funding_hours(SYMBOLS.index("ETHUSDT")) == 8


def test_forced_orders_are_the_streams(observed, venue):
    start = NOW - 6 * HOUR_MS
    told = venue_futures.derived_of(venue).forced("BTCUSDT", start, NOW)
    mine = ours(observed, "BTCUSDT", Kind.LIQUIDATIONS, 1.0)
    mine = mine.take((mine.event_time >= start) & (mine.event_time < NOW))
    assert len(told) == len(mine) > 20
    assert mine.event_time.tolist() == [o.time_ms for o in told]
    assert mine["side"].tolist() == [-1.0 if o.side == "SELL" else 1.0 for o in told]
    for name, theirs in (("price", "price"), ("average_price", "average_price"), ("quantity", "quantity"), ("filled_quantity", "quantity")):
        assert np.allclose(mine[name], [getattr(o, theirs) for o in told], rtol=1e-12)
    assert np.all(mine.available_time - mine.event_time <= 1_000) and np.all(mine.available_time % 1_000 == 0)


def test_option_rows_are_those_of_the_chain(exchange, observed):
    marks, held = ours(observed, "ETHUSDT", Kind.OPTION_MARK, 0.2), ours(observed, "ETHUSDT", Kind.OPTION_OPEN_INTEREST, 0.2)
    at = NOW // HOUR_MS * HOUR_MS
    spot = float(exchange.read(SeriesKey("ETHUSDT", Interval.H1), at - HOUR_MS, at).close[-1])
    chain = options.marks(7, "ETH", at, spot)
    newest, open_now = marks.take(marks.event_time == at), held.take(held.event_time == at)
    assert len(chain) == len(newest) == len(open_now) > 200
    for i in range(0, len(chain), 7):
        m, c = chain[i], chain[i].contract
        assert (newest["strike"][i], newest["expiry_ms"][i], newest["is_call"][i]) == (c.strike, c.expiry_ms, float(c.is_call))
        assert newest["mark_price"][i] == pytest.approx(m.mark, abs=6e-4) and newest["mark_iv"][i] == pytest.approx(m.mark_iv, abs=1e-8)
        assert newest["delta"][i] == pytest.approx(m.delta, abs=1e-8) and newest["theta"][i] == pytest.approx(m.theta, abs=1e-6)
        assert newest["gamma"][i] == pytest.approx(m.gamma, abs=1e-8) and newest["vega"][i] == pytest.approx(m.vega, abs=1e-6)
        assert open_now["contracts"][i] == pytest.approx(options.open_interest(7, c, at, spot), abs=0.011)


def test_the_venues_option_answers_parse_to_the_same_columns(venue):
    marks = parse_options.option_marks_of(ask(venue, "/eapi/v1/mark"), "BTC", now_ms=NOW, provenance="SIMULATED")
    assert tuple(marks.columns) == COLUMNS_OF[Kind.OPTION_MARK] and len(marks) > 150


def test_the_smile_of_every_expiry_is_orderly(observed):
    marks = ours(observed, "BTCUSDT", Kind.OPTION_MARK, 0.1)
    for expiry in np.unique(marks["expiry_ms"]):
        calls = marks.take((marks["expiry_ms"] == expiry) & (marks["is_call"] == 1) & (marks.event_time == marks.event_time[-1]))
        assert np.all(np.diff(calls["delta"]) <= 0) and np.all(np.diff(calls["mark_price"]) <= 0)
        assert np.all(np.diff(calls["mark_price"], 2) >= -2e-3), "a butterfly costs less than nothing"


@pytest.mark.parametrize("kind", KINDS)
def test_asking_later_changes_no_earlier_row_and_nothing_is_known_early(kind):
    early = NOW - 26 * HOUR_MS - 17 * MINUTE_MS
    start = early - 20 * HOUR_MS
    rows = []
    for clock in (FixedClock(early), CLOCK):
        reader = SimulatedObservations(7, SimulatedExchange(7, clock), clock)
        rows.append(reader.known("BTCUSDT", kind, Market.PERP, start, early))
    now, later = rows
    assert len(now) >= 2 and np.array_equal(now.event_time, later.event_time)
    assert np.array_equal(now.available_time, later.available_time) and now.available_time.max() < early
    assert np.all(now.available_time >= now.event_time)
    assert all(np.array_equal(now[name], later[name], equal_nan=True) for name in now.columns)


def test_a_window_is_the_end_of_a_longer_one(observed):
    for kind in KINDS:
        short, long = ours(observed, "ETHUSDT", kind, 1.0), ours(observed, "ETHUSDT", kind, 5.0)
        assert len(short) and np.array_equal(long.available_time[-len(short):], short.available_time)
        assert all(np.array_equal(long[name][-len(short):], short[name], equal_nan=True) for name in short.columns)


def test_coins_without_options_say_so_and_forced_orders_reach_two_weeks_back(observed):
    assert set(ASSET_OF) == {"BTCUSDT", "ETHUSDT"}
    nothing = ours(observed, "SOLUSDT", Kind.OPTION_MARK)
    assert not len(nothing) and "no options on SOLUSDT" in nothing.note
    forced = ours(observed, "SOLUSDT", Kind.LIQUIDATIONS, 400)
    assert 0 <= forced.event_time[0] - (NOW // DAY_MS - RECORDED_DAYS) * DAY_MS < 2 * HOUR_MS


def test_a_hole_in_the_candles_is_a_hole_in_open_interest(observed):
    first, last = (EPOCH_MS + h * HOUR_MS for h in FROZEN_HOURS[0])
    rows = observed.known("DOGEUSDT", Kind.OPEN_INTEREST, Market.PERP, first - DAY_MS, last + DAY_MS)
    stamps = set(rows.event_time.tolist())
    assert first in stamps and last + 2 * HOUR_MS in stamps and not stamps & {first + HOUR_MS, last, last + HOUR_MS}
