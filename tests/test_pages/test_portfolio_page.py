"""The Portfolio page without a browser: what is asked, every tab, impossible wishes, and the one confirmation of a plan."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.allocation.methods import METHODS
from core.dealing import Dealing
from core.portfolio import Asked
from pages.ui import charts_portfolio, session
from tests.test_pages import driving
from tests.test_pages.driving import press, said, tab

PAGE = "pages/allocation.py"
TABS = ("Weights", "Frontier", "Correlation", "Risk", "Stress", "Out of sample", "Rebalance", "Optimal allocation")


@pytest.fixture
def app(owned_app, monkeypatch):
    """No runner is started."""
    monkeypatch.setattr(Dealing, "start_runner", lambda facade: 0)
    return owned_app


def opened(app, page):
    driving.opened(app, page)
    assert not app.error
    return app


def test_every_tab_draws_and_the_answer_stands_in_one_line(app):
    opened(app, PAGE)
    assert "Hierarchical risk parity:" in app.markdown[0].value and "moves" in app.markdown[0].value
    words = {"Weights": "middle 90 %", "Frontier": "least volatile mixes", "Correlation": "Ledoit-Wolf shrinkage", "Risk": "Was it kept?",
             "Stress": "The worst of these would cost", "Out of sample": "comparisons", "Rebalance": "No paper account is open",
             "Optimal allocation": "it reads every module"}
    for name in TABS:
        tab(app, "al-tab", name)
        assert not app.error and words[name] in said(app), name


def test_every_method_is_shown_and_kept_in_the_address(app):
    opened(app, PAGE)
    for method in (m.name for m in METHODS):
        app.selectbox(key="al-method").select(method).run()
        assert not app.exception and not app.error and charts_portfolio.TITLE[method] in app.markdown[0].value
        assert app.query_params["method"] == method and ("No supported view" in said(app)) is (method == "black-litterman")


def test_impossible_and_wrong_wishes_are_answered_in_words(app):
    opened(app, PAGE)
    app.number_input(key="al-cap").set_value(5.0).run()
    assert not app.exception and "the rest stays cash" in said(app).lower() and "nearest weights" in said(app)
    app.number_input(key="al-cap").set_value(500.0).run()
    assert not app.exception and "expected a fraction from 0 to 1" in app.error[0].value
    app.number_input(key="al-cap").set_value(100.0).run()
    app.number_input(key="al-days").set_value(5).run()
    assert "days: expected 60" in app.error[0].value
    app.number_input(key="al-days").set_value(180).run()
    app.multiselect(key="al-symbols-spot").set_value([]).run()
    assert "at least one symbol" in app.error[0].value
    app.multiselect(key="al-symbols-spot").set_value(["ETHUSDT"]).run()
    for name in TABS[:6]:
        tab(app, "al-tab", name)
        assert not app.error and "100% ETH" in app.markdown[0].value, name


def test_a_plan_is_sent_after_one_confirmation_and_only_once(app):
    tab(opened(app, PAGE), "al-tab", "Rebalance")
    press(app, "al-open-yes")
    sextant = session.workbench()
    account = sextant.broker.account()
    assert account.terms.rule == "by_hand" and account.terms.options["sizing"] == "fraction" and "is open" in said(app)
    assert "orders move 100%" in said(app) or "orders move 99%" in said(app)
    press(app, "al-send")
    assert "no real order is sent" in said(app) and not sextant.paper_ledger.rows("controls")
    press(app, "al-no")
    assert not any(b.key == "al-yes" for b in app.button)
    press(app, "al-send")
    press(app, "al-yes")
    assert len(sextant.paper_ledger.rows("controls")) == 8 and "orders are kept for the runner" in said(app)
    assert "Nothing to do" in said(app) and not any(b.key == "al-send" for b in app.button)
    press(app, "al-open-ask")
    assert sextant.broker.account().number == 1
    press(app, "al-open-yes")
    assert session.workbench().broker.account().number == 2


def test_a_guest_sees_the_plan_and_changes_nothing(app):
    app.session_state["owner"] = "not the password"
    tab(opened(app, PAGE), "al-tab", "Rebalance")
    assert not any(b.key in ("al-send", "al-open-yes", "al-open-ask") for b in app.button)
    assert any(e.key == "owner-entry" for e in app.text_input)


def test_the_shock_somebody_chooses_is_the_one_that_is_shown(app):
    tab(opened(app, PAGE), "al-tab", "Stress")
    app.number_input(key="al-shock-market").set_value(-40.0).run()
    app.selectbox(key="al-shock-symbol").select("SOLUSDT").run()
    assert not app.error and any("Market -40%, SOL -50%" in str(f.value.to_dict()) for f in app.dataframe)


def test_pictures_are_of_what_they_say(shared_home, app):
    opened(app, PAGE)
    p = session.workbench().allocation(Asked(("BTCUSDT", "ETHUSDT", "SOLUSDT"), "risk-parity")).portfolio
    bars = charts_portfolio.weights(p).data[0]
    order = np.argsort(-p.weights)
    assert list(bars.x) == [charts_portfolio.short(p.names[i]) for i in order] and np.allclose(bars.y, p.weights[order])
    assert np.allclose(np.array(bars.y) + bars.error_y.array, np.maximum(p.bands[order, 1], p.weights[order]))
    share, risk = charts_portfolio.contributions(p).data
    assert sum(share.y) == pytest.approx(1) and sum(risk.y) == pytest.approx(1)
    assert len(charts_portfolio.frontier(p, p.frontier(), p.every_method()).data) == 2 + len(METHODS)
    assert len(charts_portfolio.tree(p).data) == 2
