"""The Settings page without a browser: what is saved, what is refused, what is never shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core.settings import Settings, export_settings, import_settings, origins, secret_names
from data.errors import SettingsError
from pages import ui
from pages.ui import session

ROOT = Path(__file__).resolve().parents[2]
OWNER = "bowsprit-under-water"


@pytest.fixture
def app(tmp_path, monkeypatch):
    monkeypatch.setenv("SEXTANT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SEXTANT_WORLD", "simulated")
    monkeypatch.setenv("SEXTANT_OWNER_PASSWORD", OWNER)
    monkeypatch.chdir(ROOT)
    st.cache_resource.clear()
    st.cache_data.clear()
    test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    test.session_state["owner"] = OWNER
    test.switch_page("pages/preferences.py").run()
    assert not test.exception and not test.error
    yield test
    st.cache_resource.clear()
    st.cache_data.clear()


def widget(test, kind, start):
    return next(w for w in getattr(test, kind) if (w.key or "").startswith(start))


def press(test, form):
    next(b for b in test.button if (b.key or "").startswith(f"FormSubmitter:{form}-")).click()
    return test.run()


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
    ("number_input", "pf-threads", 99, "pf-world", ("threads", "99", "less than or equal to 16")),
    ("number_input", "pf-seed", -1, "pf-world", ("simulator_seed", "-1", "greater than or equal to 0")),
    ("text_input", "pf-endpoint", "http://exchange.example", "pf-world", ("endpoint", "exchange.example", "expected http://127.0.0.1:PORT")),
    ("text_area", "pf-watchlist", "BTCUSDT, <b>", "pf-market", ("watchlist", "<B>")),
    ("text_area", "pf-watchlist", " ", "pf-market", ("watchlist", "at least 1 item"))])
def test_a_wrong_value_refuses_the_whole_change_and_says_field_value_and_range(app, kind, key, value, form, words):
    before = saved()
    if form == "pf-world":
        widget(app, "number_input", "pf-seed").set_value(13)
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


def test_every_setting_a_person_may_change_is_in_a_form_or_has_its_group_elsewhere():
    source = "".join(p.read_text() for p in Path(ui.__file__).parent.glob("preferences_*.py"))
    elsewhere = {"home"} | {n for n in Settings.model_fields if n.startswith(("alert_", "assistant", "llm")) or n == "reports"}
    missing = {n for n in Settings.model_fields if f'"{n}"' not in source} - elsewhere - set(secret_names())
    assert not missing
