"""What pages decide, without a browser: fallbacks of the address, rights, what is painted from what is known."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import streamlit as st

from pages.ui import session, widgets
from pages.ui.frame import PAGES


@pytest.fixture
def home(shared_home, monkeypatch):
    monkeypatch.setenv("SEXTANT_HOME", str(shared_home))
    return shared_home


@pytest.fixture
def app(home, bare_app):
    """The app as a newcomer has it: no password is set."""
    return bare_app


@pytest.mark.parametrize("row", PAGES, ids=lambda r: r.title)
def test_every_page_runs_without_an_exception_or_an_error(app, row):
    app.run()
    app.switch_page(row.file).run()
    assert not app.exception and not app.error
    assert app.title[0].value == row.title


def test_overview_shows_twelve_symbols_with_scores_and_says_simulated(app):
    app.run()
    frame = app.dataframe[0].value
    assert len(frame) == 12 and frame["Trend"].notna().all() and frame["Risk"].notna().all()
    assert any("symbols trend" in m.value for m in app.markdown)
    assert any("Nothing here is a real market" in c.value for c in app.caption)


def test_an_unknown_symbol_in_the_address_falls_back(app):
    app.query_params["symbol"] = "NOSUCHUSDT"
    app.query_params["interval"] = "9x"
    app.run()
    app.switch_page("pages/symbol.py").run()
    assert not app.exception and any("BTCUSDT" in m.value for m in app.markdown)


def test_a_failing_page_shows_a_code_and_no_traceback(app, monkeypatch):
    monkeypatch.setattr("core.sextant.Sextant.board_row", lambda *a, **k: 1 / 0)
    app.run()
    assert not app.exception
    assert len(app.error) == 1 and "Something failed" in app.error[0].value and "(E-" in app.error[0].value
    assert "ZeroDivision" not in app.error[0].value


def test_a_known_error_is_its_own_sentence(app, monkeypatch):
    from data.errors import NoData

    def refuse(*args, **kwargs):
        raise NoData("no data for X: import it")

    monkeypatch.setattr("core.sextant.Sextant.scores", refuse)
    app.run()
    app.switch_page("pages/symbol.py").run()
    assert [e.value for e in app.error] == ["no data for X: import it"]


def context(ip, **headers):
    return SimpleNamespace(ip_address=ip, headers=headers)


@pytest.mark.parametrize(("browser", "allowed"), [
    (context(None), True), (context("127.0.0.1"), True), (context("203.0.113.7"), False),
    (context(None, **{"X-Forwarded-For": "203.0.113.7"}), False),
])
def test_without_a_password_only_a_local_browser_may_write(home, monkeypatch, browser, allowed):
    st.cache_resource.clear()
    monkeypatch.setattr(st, "context", browser)
    assert session.may_write() is allowed
    st.cache_resource.clear()


@pytest.mark.parametrize(("given", "allowed"), [(None, False), ("wrong", False), ("correct horse", True)])
def test_with_a_password_only_the_owner_may_write(home, monkeypatch, given, allowed):
    monkeypatch.setenv("SEXTANT_OWNER_PASSWORD", "correct horse")
    st.cache_resource.clear()
    monkeypatch.setattr(st, "context", context(None))
    monkeypatch.setattr(st, "session_state", {} if given is None else {"owner": given})
    assert session.may_write() is allowed
    st.cache_resource.clear()


def test_csv_cells_cannot_become_formulas():
    import pandas as pd

    text = widgets.csv_bytes(pd.DataFrame({"a": ["=1+1", "-3.5", "@x", "plain", "+2", "\tx"], "b": [1, -2.5, 3, 4, 5, 6]})).decode()
    assert text.splitlines()[1:] == ["'=1+1,1.0", "-3.5,-2.5", "'@x,3.0", "plain,4.0", "+2,5.0", "'\tx,6.0"]


def test_prices_show_their_own_decimals():
    assert widgets.decimals([17698.35, 17700.1]) == 2 and widgets.decimals([0.03717, 0.0372]) == 5 and widgets.decimals([100.0]) == 0
    assert widgets.change_text(-0.0395) == "▼ -3.95%" and widgets.change_text(None) == "unknown"
