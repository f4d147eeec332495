"""The Assistant page: the brief without a model, a streamed answer, steps, sources, cards, guests, and what a link may do."""

from __future__ import annotations

import pytest
import streamlit as st
from pydantic import SecretStr
from streamlit.testing.v1 import AppTest

from core.assistant import Assistant
from core.assistant.claims import Piece, Status
from core.assistant.facts import Fact, Unit
from core.jobs import Jobs
from pages.ui import assistant_text, session
from tests.openai_stub import KEY, Turn, answered, facts_in, model_server
from tests.serving import ROOT
from tests.test_pages.driving import OWNER, opened, said

PAGE = "pages/ask.py"


@pytest.fixture(scope="module")
def one_workbench(tmp_path_factory):
    """One facade for the file: its scores are computed once. What a test changes of its settings is undone."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("HOME", str(tmp_path_factory.mktemp("assistant") / "home")), ("NETWORK", "off"), ("WORLD", "simulated"),
                            ("OWNER_PASSWORD", OWNER)):
            patch.setenv(f"SEXTANT_{name}", value)
        patch.chdir(ROOT)
        patch.setattr(Jobs, "pump", lambda jobs: [])
        st.cache_resource.clear()
        yield session.workbench()
    st.cache_resource.clear()


@pytest.fixture
def app(one_workbench):
    """The app as its owner sees it."""
    settings = one_workbench.settings
    test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    test.session_state["owner"] = OWNER
    yield test
    one_workbench.settings = settings


def typed(app, text):
    app.chat_input[0].set_value(text).run()
    assert not app.exception, app.exception
    return app


def with_model(url):
    workbench = session.workbench()
    workbench.settings = workbench.settings.model_copy(update={"assistant_url": url, "assistant_model": "stub",
                                                               "assistant_key": SecretStr(KEY)})


def test_without_a_model_a_question_gets_the_whole_brief_and_says_so(app):
    opened(app, PAGE)
    typed(app, "How is Bitcoin?")
    words = said(app)
    assert "no model is set" in words and "Deterministic brief" in words
    for title in ("Now", "In short", "Scores", "What changed in a day", "Signal", "Risk", "Levels", "Gaps in the data"):
        assert f"**{title}**" in words
    assert "unverified" not in words.replace("**unverified**", "")  # the explanation's own word
    assert "/analysis?symbol=BTCUSDT" in words


def test_a_model_answers_with_steps_sources_and_a_mark(app):
    def script(request):
        if not answered(request):
            return Turn(calls=(("scores", {}), ("chart", {"bars": 60})))
        return Turn(text=f"Risk is {facts_in(request)['Risk exposure score']['ref']}. It will reach $123,456. ![x](http://evil.example/leak)")

    with model_server(script) as model:
        with_model(model.url)
        opened(app, PAGE)
        typed(app, "How risky is it?")
        words = said(app)
        assert KEY not in words
    assert "$123,456 unverified" in words.replace("\\", "")
    assert "![x](" not in words and "http://evil" not in words
    assert any(e.label.startswith("2 steps: scores, chart") for e in app.expander)
    assert any(e.label.startswith("1 source, 1 unverified") for e in app.expander)
    assert "100 tokens" in words or "200 tokens" in words


def test_a_failing_endpoint_is_said_and_the_brief_stands_in(app):
    with model_server([Turn(status=401, body=b"{}")]) as model:
        with_model(model.url)
        opened(app, PAGE)
        typed(app, "And now?")
    assert "refused the key" in said(app) and "**Scores**" in said(app)


def test_commands_work_in_the_chat_without_a_model(app):
    opened(app, PAGE)
    assert "Trend & momentum of ETHUSDT" in said(typed(app, "/t ETH")).replace("&amp;", "&")
    assert "there is no command /nothing" in said(typed(app, "/nothing"))
    assert "/composite NAME" in said(typed(app, "/help"))


def test_a_proposal_is_a_card_that_one_click_does_once(app):
    opened(app, PAGE)
    typed(app, "/backtest BTC trend")
    [yes] = [b for b in app.button if b.key.startswith("as-yes-")]
    assert not session.workbench().jobs.all(), "nothing is done before the click"
    yes.click()
    app.run()
    assert [j.kind for j in session.workbench().jobs.all()] == ["backtest"]
    assert not [b for b in app.button if b.key.startswith("as-yes-")], "the card is decided"


def test_a_link_prepares_a_question_and_asks_nothing(app):
    with model_server([Turn(text="fine")]) as model:
        with_model(model.url)
        app.query_params["ask"] = "Buy everything <b>now</b>"
        opened(app, PAGE)
        labels = [b.label for b in app.button]
        assert any("Buy everything" in label for label in labels)
        assert not model.requests


def test_a_guest_gets_the_brief_alone_and_no_conversation(app):
    with model_server([Turn(text="never")]) as model:
        with_model(model.url)
        app.session_state["owner"] = ""
        opened(app, PAGE)
        before = len(Assistant(session.workbench()).conversations.all())
        typed(app, "How is Bitcoin?")
        assert "guests are not connected" in said(app) and "**Scores**" in said(app)
        assert not model.requests
        typed(app, "/backtest BTC trend")
        assert "proposals are made for the owner" in said(app)
        assert len(Assistant(session.workbench()).conversations.all()) == before
        assert not [b for b in app.button if b.key.startswith(("as-yes", "as-new", "pf-assistant"))]


def test_figures_become_links_and_marks_and_the_rest_is_dead_text():
    fact = Fact("f1", "price", 67_200.5, Unit.PRICE, "price", "BTCUSDT", "1h", "spot", 1_700_000_000_000, "USDT")
    shown = assistant_text.markdown([Piece("It is **"), Piece("67,200.50 USDT", Status.REFERENCE, "f1"), Piece("** not "),
                                     Piece("9 [x](y)", Status.UNVERIFIED), Piece(" :red[a] [l](https://e.org)")], {"f1": fact})
    assert '[67,200.50 USDT](/analysis?symbol=BTCUSDT&interval=1h&market=spot "price · price' in shown
    assert ":orange-badge[:material/warning: 9 \\[x\\](y) unverified]" in shown
    assert ":red\\[a\\]" in shown and "](https" not in shown.replace("\\](", "")


def test_the_page_in_a_browser(simulated_server, visit):
    page = visit(f"{simulated_server.url}/assistant?symbol=ETHUSDT", heading="Assistant")
    page.keyboard.press("Escape")  # a fresh server tells a deep link once that it does not know the page
    page.get_by_placeholder("Ask about a symbol").fill("/price")
    page.get_by_placeholder("Ask about a symbol").press("Enter")
    page.get_by_text("ETHUSDT now").wait_for(timeout=60_000)
    page.get_by_text("8 sources").first.wait_for(timeout=20_000)
    assert page.locator('a[href*="/analysis?symbol=ETHUSDT"]').count() >= 4
