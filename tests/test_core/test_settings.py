"""Settings: the order of their sources, and what a wrong one says."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.settings import Settings, change_settings, load_settings
from data.errors import SettingsError


@pytest.fixture(autouse=True)
def _no_dotenv(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_defaults_watch_twelve_symbols_at_one_hour(home):
    settings = load_settings()
    assert len(settings.watchlist) == 12 and settings.interval == "1h" and settings.home == home


def test_environment_beats_dotenv_beats_saved(home, tmp_path, monkeypatch):
    change_settings(load_settings(), {"interval": "1d", "threads": 3, "simulator_seed": 5})
    (tmp_path / ".env").write_text("SEXTANT_INTERVAL=4h\nSEXTANT_THREADS=4\nOTHER_PROGRAMS_KEY=x\n")
    monkeypatch.setenv("SEXTANT_INTERVAL", "15m")
    settings = load_settings()
    assert (settings.interval, settings.threads, settings.simulator_seed) == ("15m", 4, 5)


def test_watchlist_from_the_environment_is_split_and_checked(home, monkeypatch):
    monkeypatch.setenv("SEXTANT_WATCHLIST", "btcusdt, ETHUSDT,BTCUSDT")
    assert load_settings().watchlist == ("BTCUSDT", "ETHUSDT")


@pytest.mark.parametrize(("name", "value", "words"), [
    ("SEXTANT_INTERVAL", "7h", "setting interval: got '7h'"),
    ("SEXTANT_THREADS", "99", "less than or equal to 16"),
    ("SEXTANT_WATCHLIST", "BTC<script>", "expected a symbol such as BTCUSDT"),
    ("SEXTANT_WORLD", "moon", "'auto', 'real' or 'simulated'"),
    ("SEXTANT_INTERVALL", "1h", "did you mean interval?"),
])
def test_a_wrong_variable_is_refused_by_name(home, monkeypatch, name, value, words):
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=r"expected|did you mean|Input should be") as refused:
        load_settings()
    assert words in str(refused.value)


def test_one_wrong_change_refuses_them_all(home):
    before = change_settings(load_settings(), {"threads": 3})
    with pytest.raises(SettingsError):
        change_settings(before, {"simulator_seed": 9, "threads": 0})
    with pytest.raises(SettingsError, match="unknown setting 'treads'; did you mean threads"):
        change_settings(before, {"treads": 3})
    assert load_settings() == before


def test_a_damaged_settings_file_says_what_to_do(home):
    home.mkdir(parents=True)
    (home / "settings.json").write_text('{"threads": 3')
    with pytest.raises(SettingsError, match="correct it or delete it"):
        load_settings()


def test_the_password_is_never_shown_or_saved(home, monkeypatch):
    monkeypatch.setenv("SEXTANT_OWNER_PASSWORD", "hunter2-hunter2")
    settings = load_settings()
    change_settings(settings, {"threads": 3})
    assert "hunter2" not in repr(settings) + (home / "settings.json").read_text()
    assert json.loads((home / "settings.json").read_text()) == {"threads": 3}


ANYTHING = st.none() | st.integers() | st.text(max_size=20) | st.lists(st.text(max_size=8), max_size=4)


@given(st.dictionaries(st.text(max_size=12) | st.sampled_from(["threads", "watchlist"]), ANYTHING, max_size=4))
def test_any_settings_are_accepted_or_refused_in_a_sentence(tmp_path_factory, values):
    home = tmp_path_factory.mktemp("home")
    try:
        fresh = change_settings(Settings(home=home), values | {})
    except SettingsError as error:
        assert "\n" not in str(error) and not (home / "settings.json").exists()
    else:
        assert isinstance(fresh, Settings)
