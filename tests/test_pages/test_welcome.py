"""The first minute: who sees the welcome, what each way does, and that it stays away once somebody has chosen."""

from __future__ import annotations

import json

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core.paper.window import Terms
from core.settings import Settings, change_settings, load_settings
from core.sextant import World
from core.wiring import build
from data.clock import SystemClock, parse_time
from data.simulator.venue import VenueOptions
from data.simulator.venue_thread import running_venue
from pages.ui import session
from tests.made_candles import made, plain_text
from tests.paper_worlds import MovingClock
from tests.serving import ROOT, venue_ports
from tests.test_pages.driving import OWNER

START = parse_time("2026-09-01T08:00:30Z")
ALONE = """from pages.ui import session, welcome
with session.guarded("the welcome"):
    welcome.welcome(session.workbench())
"""
WAYS = ["Live data", "Archive", "My own files", "Stay here"]


@pytest.fixture
def start(tmp_path, monkeypatch):
    """The Overview as the owner of a fresh home sees it (one symbol, so that its board is quick), or the welcome alone."""
    monkeypatch.chdir(ROOT)
    st.cache_resource.clear()
    st.cache_data.clear()

    def go(owner=OWNER, clock=None, shown=None, whole=False, network="off", **settings):
        def workbench():
            given = {"home": tmp_path / "home", "watchlist": "BTCUSDT", "owner_password": OWNER} | settings
            sextant = build(Settings(**given), clock or MovingClock(START))
            if shown is not None:
                sextant.use_world(shown)
            return sextant

        monkeypatch.setenv("SEXTANT_NETWORK", network)
        monkeypatch.setattr(session, "build", workbench)
        test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60) if whole else AppTest.from_string(ALONE, default_timeout=60)
        test.session_state["owner"] = owner
        st.query_params.clear()
        test.run()
        assert not test.exception and not test.error
        return test

    yield go
    session.collector.clear()
    st.cache_resource.clear()
    st.cache_data.clear()


def offered(test):
    return [b.label for b in test.button if (b.key or "").startswith("wc-")]


def greeted(test):
    return any("Welcome." in m.value for m in test.markdown)


def press(test, label):
    return next(b for b in test.button if b.key == f"wc-{label}").click().run()


def test_a_newcomer_is_told_what_is_shown_and_that_nothing_can_be_ordered_above_a_board_that_works(start):
    test = start(whole=True)
    text = next(m.value for m in test.markdown if "Welcome." in m.value)
    assert "invented prices" in text and "Nothing can be ordered anywhere" in text and text.count(". ") == 2
    assert offered(test) == WAYS and len(test.dataframe) > 0
    live = next(b for b in test.button if b.label == "Live data")
    assert live.disabled and any("network is switched off" in c.value for c in test.caption)


def test_who_stays_is_not_asked_again_in_any_later_process(start, tmp_path):
    test = press(start(), "Stay here")
    assert not greeted(test) and not test.exception
    assert json.loads((tmp_path / "home" / "settings.json").read_text()) == {}
    assert load_settings(tmp_path / "home").simulator_seed == 7
    st.cache_resource.clear()
    assert not greeted(start())


def test_a_home_that_cannot_be_written_costs_only_that_the_box_comes_back(start, tmp_path):
    test = start()
    broken = tmp_path / "elsewhere"
    broken.write_text("a file where a folder is wanted")
    sextant = session.workbench()
    sextant.settings = sextant.settings.model_copy(update={"home": broken})
    press(test, "Stay here")
    assert not greeted(test) and not test.exception and not test.error


def test_a_guest_reads_it_and_finds_no_button_that_changes_anything(start, tmp_path):
    test = start(owner="guess")
    assert greeted(test) and not offered(test) and any("brought in by the owner" in c.value for c in test.caption)
    assert not (tmp_path / "home" / "settings.json").exists()


@pytest.mark.parametrize("way", ["Archive", "My own files"])
def test_archive_and_files_are_one_click_from_where_they_are_brought_in(start, way):
    test = press(start(whole=True), way)
    assert [t.value for t in test.title] == ["Data"] and "Import" in [s.value for s in test.subheader]
    assert not test.exception


@pytest.mark.parametrize("chosen", ["a setting", "a file", "an account", "another world"])
def test_whoever_has_chosen_is_not_greeted(start, tmp_path, chosen):
    settings = Settings(home=tmp_path / "home", watchlist="BTCUSDT", world="simulated", network="off")
    sextant = build(settings, MovingClock(START))
    if chosen == "a setting":
        change_settings(settings, {"threads": 3})
    elif chosen == "a file":
        assert sextant.import_uploads([("BTCUSDT-1h.csv", plain_text(made(48)).encode())], market="spot").series
    elif chosen == "an account":
        sextant.paper_open(Terms(("BTCUSDT",), "ema_cross", {}, {"interval": "1m", "market": "spot"}))
    test = start(world="real" if chosen == "another world" else "simulated")
    assert not greeted(test)


def test_live_data_goes_where_an_exchange_answers_and_fetches_its_history(start):
    with running_venue(SystemClock(), VenueOptions(port=venue_ports())) as venue:
        test = start(clock=SystemClock(), shown=World.SIMULATED, whole=True, network="auto", endpoint=venue.urls.api)
        assert offered(test) == WAYS
        press(test, "Live data")
        assert session.workbench().world is World.LOOPBACK and session.collector().running
        assert not greeted(test) and not test.exception
        session.collector.clear()


def test_live_data_stays_where_nobody_answers_and_says_so(start):
    test = start(clock=SystemClock(), shown=World.SIMULATED, network="auto", endpoint=f"http://127.0.0.1:{venue_ports()}")
    press(test, "Live data")
    assert session.workbench().world is World.SIMULATED and greeted(test) and not session.collector().running
    assert any("Your own files work all the same." in w.value for w in test.warning)
