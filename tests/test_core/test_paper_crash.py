"""Killed at fault points and at random moments, the ledger ends as if nothing had happened. The full size is the long command's."""

from __future__ import annotations

import os
import time
from functools import partial

import pytest

from core.paper.broker import Broker
from core.paper.ledger import Ledger
from core.paper.verify import verify
from core.paper.window import Terms
from data.market import HOUR_MS, Interval, SeriesKey
from data.simulator.venue import VenueOptions
from data.simulator.venue_clock import VirtualClock
from data.simulator.venue_thread import running_venue
from tests.paper_crash import run_with_kills, simulated
from tests.paper_worlds import OPENED, PaperWorld
from tests.serving import venue_ports

BARS = 44
TEN = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPUSDT", "ADAUSDT", "DOGEUSDT", "AVAXUSDT", "LINKUSDT", "DOTUSDT")


def test_a_thirtieth_of_the_kills(tmp_path, seed):
    calm = PaperWorld(tmp_path / "calm", market="perp")
    calm.until(BARS)
    PaperWorld(tmp_path / "storm", market="perp")
    counts = run_with_kills(tmp_path / "storm", BARS, seed, at_points=26, at_random=8, most=5, work=simulated)
    storm = PaperWorld(tmp_path / "storm", market="perp")
    assert storm.digest() == calm.digest() and len(calm.ledger.rows("fills")) > 3
    assert counts["killed"] >= 30, counts


def exchange_child(home, bars, fault, *, url, clock):
    """A child that fetches what is missing from the loopback exchange, then records what is due, hour by hour."""
    from core.settings import Settings
    from core.wiring import build

    os.environ["SEXTANT_NETWORK"] = "auto"  # the child's own; the environment beats what is given
    sextant = build(Settings(home=home, endpoint=url), clock)
    if fault is not None:
        sextant._store._shelf._fault = fault
    ledger = Ledger(sextant.paper_ledger.path, fault) if fault is not None else sextant.paper_ledger
    broker = Broker(ledger, sextant, "code")
    keys = [SeriesKey(s, Interval.H1) for s in TEN]
    if broker.account() is None:
        broker.open(Terms(TEN, "ema_cross,breakout@4h", {}, {"interval": "1h", "max_positions": 10}))
    sextant.outside.catch_up(keys, most_bars=800)
    broker.step()


@pytest.mark.long
def test_a_thousand_kills_over_a_loopback_exchange_leave_the_same_ledger(tmp_path, seed):
    """24 virtual hours, ten symbols, again and again with other kills until there were 200 at random times and 800 at fault points."""
    began, kills, digests, hours = time.monotonic(), {"points": 0, "random": 0}, [], 24
    rounds = [None, *range(1, 26)]
    for number in rounds:
        clock = VirtualClock(OPENED)
        home = tmp_path / f"run-{number}"
        with running_venue(clock, VenueOptions(port=venue_ports())) as venue:
            work = partial(exchange_child, url=venue.urls.api, clock=clock)
            assert _do(work, home)
            for hour in range(hours):
                venue.advance((OPENED // HOUR_MS + 1 + hour) * HOUR_MS + 3_000 - clock.now_ms())
                if number is not None:
                    counts = run_with_kills(home, 0, seed + 1_000 * number + hour, at_points=3 if hour % 3 else 4,
                                            at_random=1 if hour % 3 else 0, most=60, work=work)
                    kills["points"] += min(counts["killed"], 3)
                    kills["random"] += max(0, counts["killed"] - 3)
                else:
                    assert _do(work, home)
        ledger = Ledger(home / "paper" / "loopback" / "ledger.sqlite")
        assert verify(ledger) == [] and len(ledger.rows("equity")) >= hours
        digests.append("\n".join(ledger.canonical()))
        assert digests[-1] == digests[0], f"round {number} differs"
        print(f"round {number}: {kills}, {time.monotonic() - began:.0f} s")
        if kills["points"] >= 800 and kills["random"] >= 200:
            break
    assert kills["points"] >= 800 and kills["random"] >= 200, kills


def _do(work, home):
    from tests.paper_crash import child, ended

    home.mkdir(exist_ok=True)
    return ended(child(lambda: work(home, 0, None))) == "done"
