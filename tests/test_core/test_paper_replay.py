"""Paper trading on real candles that come the real way: recordings, served by the loopback exchange hour by hour, through the client."""

from __future__ import annotations

import numpy as np
import pytest

from core.paper.feed import Feed
from core.paper.verify import verify
from core.paper.window import Terms
from core.settings import Settings
from core.wiring import build
from data.market import HOUR_MS, Interval, SeriesKey
from data.simulator.venue import VenueOptions
from data.simulator.venue_clock import VirtualClock
from data.simulator.venue_thread import running_venue
from tests.paper_month import OPENED, SYMBOLS, recorded_hours, replaying
from tests.serving import venue_ports


@pytest.fixture(scope="module")
def recorded(recordings, tmp_path_factory):
    """Hourly candles of real months, imported."""
    return recorded_hours(recordings, tmp_path_factory.mktemp("recorded"))


@pytest.mark.real
@pytest.mark.parametrize("hours", [24, pytest.param(720, marks=pytest.mark.long)])
def test_real_candles_through_the_exchange_give_the_twins_fills(tmp_path, recorded, monkeypatch, hours):
    monkeypatch.setenv("SEXTANT_NETWORK", "auto")
    clock = VirtualClock(OPENED)
    with running_venue(clock, VenueOptions(port=venue_ports())) as venue:
        replaying(venue.venue.market, recorded)
        sextant = build(Settings(home=tmp_path, endpoint=venue.urls.api), clock)
        feed = Feed(sextant, sextant.broker.account)
        sextant.outside.catch_up([SeriesKey(s, Interval.H1) for s in SYMBOLS], most_bars=2_000)
        sextant.paper_open(Terms(SYMBOLS, "trend", {}, {"interval": "1h"}))
        for hour in range(hours):
            venue.advance((OPENED // HOUR_MS + 1 + hour) * HOUR_MS + 3_000 - clock.now_ms())
            feed.look()
            assert feed.words == ""
            sextant.broker.step()
        assert venue.venue.improper == []
        account, ledger = sextant.broker.account(), sextant.paper_ledger
        assert len(ledger.rows("equity", "account = ?", (account.number,))) == hours
        for symbol in SYMBOLS:
            held = sextant.candles(SeriesKey(symbol, Interval.H1))
            truth = recorded[symbol].closed_before(clock.now_ms())
            same = np.isin(truth.open_time, held.open_time)
            assert same.sum() == len(held) and held.close_time[-1] == truth.close_time[-1]
            assert np.array_equal(truth.close[same], held.close) and np.array_equal(truth.high[same], held.high)
        assert verify(ledger) == []
        twin = sextant.paper_twin()
        assert twin.differences == ()
        print(f"{hours} hours: {len(ledger.rows('decisions'))} decisions, {len(ledger.rows('fills'))} fills")
