"""The Settings page without a browser: what is saved, what is refused, what is never shown."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from core.alerts import Alert, keep
from core.settings import Settings, export_settings, import_settings, origins, secret_names
from data.errors import SettingsError
from pages import ui
from pages.ui import session
from tests.test_pages.driving import OWNER, opened, press, said

TOKEN = "ratlines-of-the-foremast"


@pytest.fixture
def shared_home(tmp_path):
    """A home of its own for each test: what one saves, no other finds."""
    return tmp_path / "home"


@pytest.fixture
def app(owned_app, monkeypatch):
    monkeypatch.setenv("SEXTANT_WORLD", "simulated")
    opened(owned_app, "pages/preferences.py")
    assert not owned_app.error
    return owned_app


def widget(test, kind, start):
    return next(w for w in getattr(test, kind) if (w.key or "").startswith(start))


def saved():
    path = session.workbench().settings.home / "settings.json"
    return json.loads(path.read_text()) if path.exists() else {}


def test_a_change_is_saved_and_in_force_at_once(app):
    widget(app, "text_area", "pf-watchlist").set_value("ethusdt SOLUSDT, XRPUSDT\nETHUSDT")
    widget(app, "selectbox", "pf-interval").set_value("4h")
    press(app, "pf-market")
    assert not app.error and saved() == {"watchlist": ["ETHUSDT", "SOLUSDT", "XRPUSDT"], "interval": "4h"}
    assert session.workbench().settings.watchlist == ("ETHUSDT", "SOLUSDT", "XRPUSDT")
    widget(app, "number_input", "pf-seed").set_value(11)
    press(app, "pf-world")
    assert saved()["simulator_seed"] == 11 and session.workbench().settings.simulator_seed == 11
    assert any("**3** settings changed here" in m.value for m in app.markdown)


@pytest.mark.parametrize(("kind", "key", "value", "form", "words"), [
    ("text_area", "pf-levels", "ETHUSDT trend_strength below 0.4\nBTCUSDT prise above 7", "pf-alerts", ("prise", "did you mean price")),
    ("text_area", "pf-levels", "BTCUSDT price over 7", "pf-alerts", ("BTCUSDT price over 7", "expected SYMBOL WHAT above|below NUMBER")),
    ("number_input", "pf-drawdown", 101.0, "pf-alerts", ("alert_drawdown", "1.01", "less than or equal to 1")),
    ("number_input", "pf-threads", 99, "pf-world", ("threads", "99", "less than or equal to 16")),
    ("number_input", "pf-seed", -1, "pf-world", ("simulator_seed", "-1", "greater than or equal to 0")),
    ("text_input", "pf-endpoint", "http://exchange.example", "pf-world", ("endpoint", "exchange.example", "expected http://127.0.0.1:PORT")),
    ("text_area", "pf-watchlist", "BTCUSDT, <b>", "pf-market", ("watchlist", "<B>")),
    ("text_area", "pf-watchlist", " ", "pf-market", ("watchlist", "at least 1 item"))])
def test_a_wrong_value_refuses_the_whole_change_and_says_field_value_and_range(app, kind, key, value, form, words):
    before = saved()
    if form == "pf-world":
        widget(app, "number_input", "pf-seed").set_value(13)
    elif form == "pf-alerts":
        widget(app, "selectbox", "pf-reports").set_value("none")
    else:
        widget(app, "selectbox", "pf-interval").set_value("1d")
    widget(app, kind, key).set_value(value)
    press(app, form)
    text = " ".join(e.value for e in app.error).replace("&lt;", "<")
    assert all(w in text for w in words) and "Nothing was changed" in text
    assert saved() == before and session.workbench().settings.simulator_seed == 7


def test_nothing_changed_is_said_and_what_the_environment_sets_is_locked(app):
    press(app, "pf-market")
    assert any("Nothing differs" in i.value for i in app.info) and not saved()
    world = widget(app, "selectbox", "pf-world-")
    assert world.disabled and "SEXTANT_WORLD" in world.help


def test_a_guest_reads_and_saves_nothing(app):
    app.session_state["owner"] = "guess"
    app.run()
    assert not app.error and all(b.disabled for b in app.button) and not app.get("file_uploader") and not app.get("download_button")
    assert any(t.label == "Owner's password" for t in app.text_input)


def test_no_secret_is_on_the_page(app):
    everything = json.dumps([str(getattr(e, "value", "")) for kind in ("markdown", "caption", "text_input", "text_area") for e in
                             getattr(app, kind)] + [d.value.to_csv() for d in app.dataframe])
    assert OWNER not in everything and "SEXTANT_OWNER_PASSWORD" in everything and "environment, or .streamlit" in everything


# -- alerts -----------------------------------------------------------------------------------------------------------


class Taker(BaseHTTPRequestHandler):
    """A place that takes messages."""

    def do_POST(self):
        self.server.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        """Quiet."""


@pytest.fixture
def mailbox():
    """A web hook on loopback: its address, which holds a token, and what arrived."""
    with HTTPServer(("127.0.0.1", 0), Taker) as server:
        server.got = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"json://127.0.0.1:{server.server_address[1]}/{TOKEN}", server.got
        server.shutdown()


def everything(test):
    """All that was sent to the browser, as text."""
    return " ".join(str(getattr(element, "proto", "")) for element in test.main)


def test_kinds_drawdown_levels_and_reports_are_saved_as_the_settings_spell_them(app):
    widget(app, "checkbox", "pf-kind-fill").uncheck()
    widget(app, "checkbox", "pf-kind-data").uncheck()
    widget(app, "number_input", "pf-drawdown").set_value(7.5)
    widget(app, "selectbox", "pf-reports").set_value("weekly")
    widget(app, "text_area", "pf-levels").set_value("btcusdt price above 7e4\n\n ETHUSDT Trend-Strength below .4 ")
    press(app, "pf-alerts")
    assert not app.error and saved() == {
        "alert_kinds": ["signal", "stop", "kill", "drawdown", "anomaly", "drift", "runner", "level", "report", "test"],
        "alert_drawdown": 0.075, "reports": "weekly", "alert_levels": ["BTCUSDT price above 70000", "ETHUSDT trend_strength below 0.4"]}
    press(app, "pf-alerts")
    assert any("Nothing differs" in i.value for i in app.info)


def test_a_test_is_sent_to_every_address_of_which_only_number_and_scheme_are_told(app, mailbox, monkeypatch):
    address, got = mailbox
    assert "No address is set" in said(app) and widget(app, "button", "pf-alert-test").disabled
    monkeypatch.setenv("SEXTANT_NOTIFY", f"{address},{address}")
    session.workbench.clear()
    app.run()
    assert "to 2 addresses of `SEXTANT_NOTIFY` (environment, or .streamlit/secrets.toml): json 2." in said(app)
    widget(app, "button", "pf-alert-test").click().run()
    assert "arrived at every address" in said(app) and [m["title"] for m in got] == ["Sextant paper: test"] * 2
    assert TOKEN not in everything(app) and "SEXTANT_NOTIFY" in everything(app)


def test_what_went_wrong_with_a_test_is_said_without_the_address(app, mailbox, monkeypatch):
    monkeypatch.setenv("SEXTANT_NOTIFY", f"json://127.0.0.1:9/{TOKEN},{TOKEN}")  # nobody listens at 9; the other is no address
    session.workbench.clear()
    app.run()
    assert "json, unreadable." in said(app)
    widget(app, "button", "pf-alert-test").click().run()
    assert "address 1 (json) did not take it; address 2 is not one Apprise knows" in app.error[0].value
    assert TOKEN not in everything(app) and "SEXTANT_NOTIFY" in everything(app)


def test_messages_that_have_not_arrived_are_counted_with_the_reason(app, monkeypatch):
    assert "Nothing waits to be sent" in said(app)
    monkeypatch.setenv("SEXTANT_NOTIFY", "json://127.0.0.1:9/")
    session.workbench.clear()
    app.run()
    sextant = session.workbench()
    with sextant.paper_ledger.transaction(sextant.clock.now_ms(), "alerts") as change:
        keep(change, [Alert("k", 1, "kill", "", "the kill switch is on")], sextant.settings.alert_kinds, notifies=True)
    assert "3 messages not sent yet" in said(app.run())
    sextant.courier().deliver()
    told = said(app.run())
    assert "1 message not sent yet; the runner tries again. 1 failed so far, the newest: address 1 (json) did not take it" in told


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def alone(monkeypatch):
    """No variable and no .env of this computer."""
    import os

    for name in [n for n in os.environ if n.startswith("SEXTANT_")]:
        monkeypatch.delenv(name)


def test_what_is_exported_comes_back_and_holds_no_secret(tmp_path, alone):
    mine = Settings(home=tmp_path / "a", threads=3, watchlist="ETHUSDT", owner_password=OWNER, notify="json://user:word@host")
    text = export_settings(mine)
    assert OWNER not in text and "word" not in text and "home" not in json.loads(text)
    assert set(secret_names()) >= {"owner_password", "notify"} and not set(secret_names()) & set(json.loads(text))
    other = import_settings(Settings(home=tmp_path / "b"), text)
    assert other.threads == 3 and other.watchlist == ("ETHUSDT",) and export_settings(other) == text
    assert origins(other)["threads"] == "saved" and origins(other)["owner_password"] == "default"


@pytest.mark.parametrize(("text", "words"), [
    ("{oops", "not JSON"), ("[1]", "one JSON object"), ('{"threads": 99}', "threads"), ('{"treads": 1}', "did you mean threads"),
    ('{"owner_password": "x"}', "never taken from a file"), ('{"home": "/x"}', "never taken from a file")])
def test_a_wrong_file_is_refused_whole(tmp_path, alone, text, words):
    current = Settings(home=tmp_path)
    with pytest.raises(SettingsError, match=words):
        import_settings(current, text)
    assert not (tmp_path / "settings.json").exists()


def test_every_setting_a_person_may_change_is_in_a_form():
    source = "".join(p.read_text() for p in Path(ui.__file__).parent.glob("preferences_*.py"))
    missing = {n for n in Settings.model_fields if f'"{n}"' not in source} - {"home"} - set(secret_names())
    assert not missing
