"""The Paper and History pages without a browser: opening, asking, proving, and what a guest cannot do."""

from __future__ import annotations

import json
import shutil

import pytest
import streamlit as st

from core.dealing import Dealing
from core.paper.runner import RunnerState
from core.settings import Settings
from core.strategies import Choice
from core.wiring import build
from data.market import MINUTE_MS
from pages.ui import session
from tests.paper_worlds import MORNING, MovingClock, minutes, minutes_account
from tests.test_pages import driving
from tests.test_pages.driving import OWNER, press, said, tab, tiles

PAPER, HISTORY = "pages/paper_trading.py", "pages/track_record.py"
TABS = ("Positions", "Order by hand", "Record", "Backtest twin", "Ledger", "Account")
TRADED_BARS, FRESH_BARS = 80, 2
QUIET = MORNING + 160 * MINUTE_MS  # no volatility break in what follows: limits refuse no entry


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    """Two recorded homes with the moment each was left at: one that traded and lost, one that just began."""
    out = {}
    for name, bars, rule, start in (("traded", TRADED_BARS, "ema_cross", MORNING), ("fresh", FRESH_BARS, "breakout", QUIET)):
        clock, home = MovingClock(start), tmp_path_factory.mktemp("paper") / name
        minutes_account(home, clock, bars=bars, rule=rule)
        out[name] = (home, clock.at_ms)
    return out


@pytest.fixture
def app(bare_app, monkeypatch):
    """The app as the owner sees it; `start(home)` chooses the home and the moment. No process is ever started."""
    started: list[int] = []
    monkeypatch.setattr(Dealing, "start_runner", lambda self: started.append(1) or 1)

    def start(home, ms, page=PAPER):
        bare_app.clock, bare_app.started = MovingClock(ms), started
        monkeypatch.setattr(session, "build", lambda: build(Settings(home=home, world="simulated", network="off", owner_password=OWNER),
                                                            bare_app.clock))
        st.query_params.clear()
        return driving.opened(bare_app, page)

    return start


@pytest.fixture
def opened(app, homes, tmp_path):
    """The app on a copy of a recorded home."""
    def go(name, page=PAPER):
        home, ms = homes[name]
        shutil.copytree(home, tmp_path / "home")
        return app(tmp_path / "home", ms, page)

    return go


def asked(app):
    sextant = session.workbench()
    return [(r["kind"], r["symbol"], r["words"]) for r in sextant.paper_rows(sextant.broker.account(), "asked")]


def keys(app):
    return {b.key for b in app.button}


# -- no account -------------------------------------------------------------------------------------------------------


def test_without_an_account_the_page_says_what_it_is_and_that_no_real_order_can_be_sent(app, tmp_path):
    test = app(tmp_path / "home", MORNING)
    assert not test.error and "No real order can be sent" in said(test) and "pp-open" in keys(test)
    assert not (tmp_path / "home" / "paper").exists(), "looking makes no ledger"


def test_an_account_opened_from_the_form_trades_what_was_asked(app, tmp_path):
    test = app(tmp_path / "home", MORNING)
    test.selectbox(key="pp-rule").set_value("breakout").run()
    test.multiselect(key="pp-symbols-spot").set_value(["ETHUSDT", "SOLUSDT"]).run()
    test.selectbox(key="pp-interval-spot").set_value("5m").run()
    test.text_input(key="pp-also").set_value("ema_cross@15m").run()
    test.number_input(key="pp-capital").set_value(5_000.0).run()
    press(test, "pp-open")
    account = session.workbench().broker.account()
    assert account.terms.symbols == ("ETHUSDT", "SOLUSDT") and account.terms.rule == "breakout,ema_cross@15m"
    assert account.terms.options == {"interval": "5m", "market": "spot", "capital": 5000.0} and float(account.capital) == 5_000.0
    assert test.started == [1] and not test.error and "Equity **5,000.00**" in said(test)


@pytest.mark.parametrize(("key", "value", "words"), [
    ("pp-capital", -5.0, "capital"), ("pp-size", 7.0, "size: expected"), ("pp-also", "ema_crss", "ema_cross"),
    ("pp-position_cap", -1.0, "position_cap")])
def test_a_wrong_field_is_refused_in_words_and_nothing_is_opened(app, tmp_path, key, value, words):
    test = app(tmp_path / "home", MORNING)
    box = test.text_input(key=key) if isinstance(value, str) else test.number_input(key=key)
    box.set_value(value).run()
    assert not test.error, "nothing is wrong until it is asked for"
    press(test, "pp-open")
    assert any(words in e.value for e in test.error), [e.value for e in test.error]
    assert session.workbench().broker.account() is None and not test.started


# -- an account -------------------------------------------------------------------------------------------------------


def test_the_account_is_shown_in_every_tab_with_its_own_figures(opened):
    test = opened("traded")
    status = session.workbench().paper_status()
    shown = tiles(test)
    assert shown["Equity"] == f"{status['equity']:,.2f}" and shown["Closed trades"] == str(status["trades"]) == "3"
    assert f"Equity **{status['equity']:,.2f}**" in said(test) and "the runner: never started" in said(test)
    for name in TABS:
        tab(test, "pp-tab", name)
        assert not test.error, name
    tab(test, "pp-tab", "Record")
    for table in ("Closed trades", "Fills", "Orders", "Decisions", "Asked by hand"):
        test.segmented_control(key="pp-table").set_value(table).run()
        assert not test.exception and not test.error, table
    assert "Nothing was asked by hand" in said(test)


def test_an_order_by_hand_is_confirmed_once_and_filled_at_the_next_open(opened):
    test = tab(opened("fresh"), "pp-tab", "Order by hand")
    sextant = session.workbench()
    price = sextant.paper_price("BTCUSDT", sextant.broker.account())
    test.number_input(key="pp-hand-stop-BTCUSDT").set_value(round(price * 0.98, 2))
    test.number_input(key="pp-hand-target-BTCUSDT").set_value(round(price * 1.05, 2))
    press(test, "pp-hand")
    assert not test.error and "Buy BTCUSDT at the next open" in said(test) and not asked(test), "nothing before the confirmation"
    assert "No runner is at work" in said(test)
    press(test, "pp-yes-hand")
    assert [(k, s) for k, s, _ in asked(test)] == [("place", "BTCUSDT")] and "pp-yes-hand" not in keys(test)
    minutes(sextant, test.clock, 2)
    held = sextant.paper_status()["positions"]
    assert [(p["symbol"], p["strategy"], p["stop"]) for p in held] == [("BTCUSDT", "manual", round(price * 0.98, 2))]
    tab(test, "pp-tab", "Positions")
    assert test.dataframe[0].value["Symbol"].tolist() == ["BTCUSDT"] and "place BTCUSDT: placed" in said(test)


def held_by_hand(test):
    sextant = session.workbench()
    price = sextant.paper_price("BTCUSDT", sextant.broker.account())
    sextant.paper_ask("place", "BTCUSDT", {"side": 1, "stop": round(price * 0.97, 2), "target": round(price * 1.05, 2)})
    minutes(sextant, test.clock, 2)
    position, = sextant.paper_status()["positions"]
    tab(test, "pp-tab", "Positions")
    return sextant, position


def test_levels_are_changed_and_a_position_closed_each_with_one_confirmation(opened):
    test = opened("fresh")
    sextant, p = held_by_hand(test)
    test.number_input(key=f"pp-stop-BTCUSDT-{p['stop']}").set_value(p["price"] * 1.01)
    press(test, "pp-levels-BTCUSDT")
    assert any("stop: expected a price below" in e.value for e in test.error) and "pp-yes-position" not in keys(test)
    nearer = round(p["price"] * 0.985, 2)
    test.number_input(key=f"pp-stop-BTCUSDT-{p['stop']}").set_value(nearer)
    press(test, "pp-levels-BTCUSDT")
    press(test, "pp-yes-position")
    minutes(sextant, test.clock, 2)
    assert sextant.paper_status()["positions"][0]["stop"] == nearer
    test.run()
    press(test, "pp-close-BTCUSDT")
    assert "leaves at the next open" in said(test)
    press(test, "pp-no-position")
    assert len(asked(test)) == 2, "said no"
    press(test, "pp-close-BTCUSDT")
    press(test, "pp-yes-position")
    minutes(sextant, test.clock, 2)
    assert sextant.paper_status()["positions"] == [] and asked(test)[0][2] == "leaves at the next open"


@pytest.mark.parametrize(("field", "factor", "words"), [
    ("stop", None, "stop: expected a price, got none"), ("stop", 1.02, "stop: expected a price below"),
    ("target", 0.9, "target: expected a price above"), ("limit", 0.5, "limit: expected a price above the stop"),
    ("quantity", -1.0, "quantity: expected a number above 0")])
def test_an_order_by_hand_with_a_wrong_field_says_which(opened, field, factor, words):
    test = tab(opened("fresh"), "pp-tab", "Order by hand")
    sextant = session.workbench()
    price = sextant.paper_price("BTCUSDT", sextant.broker.account())
    test.number_input(key="pp-hand-stop-BTCUSDT").set_value(price * 0.97)
    test.number_input(key=f"pp-hand-{field}-BTCUSDT").set_value(None if factor is None else price * factor)
    press(test, "pp-hand")
    assert any(words in e.value for e in test.error), [e.value for e in test.error]
    assert not asked(test) and "pp-yes-hand" not in keys(test)


def test_kill_asks_once_and_pause_and_rearm_do_not(opened):
    test = opened("fresh")
    press(test, "pp-pause")
    press(test, "pp-kill")
    assert [k for k, _, _ in asked(test)] == ["pause"] and "Kill switch: No position is open" in said(test)
    press(test, "pp-yes-kill")
    minutes(session.workbench(), test.clock, 2)
    test.run()
    status = session.workbench().paper_status()
    assert status["killed"] and status["paused"] and any("kill switch has fired" in e.value for e in test.error)
    press(test, "pp-rearm")
    press(test, "pp-resume")
    minutes(session.workbench(), test.clock, 2)
    assert not session.workbench().paper_status()["killed"] and not session.workbench().paper_status()["paused"]


def test_the_runner_is_started_and_stopped_by_a_button_and_its_silence_is_told(opened):
    test = opened("fresh")
    press(test, "pp-start-runner")
    assert test.started == [1] and "pp-stop-runner" not in keys(test)
    sextant = session.workbench()
    now = test.clock.at_ms
    RunnerState(sextant.paper_ledger, test.clock).write(state="running", words="1 bar recorded", beat_ms=now, started_ms=now, host="h",
                                                        pid=1, stop=False)
    test.run()
    assert "the runner is at work" in said(test)
    press(test, "pp-stop-runner")
    assert RunnerState(sextant.paper_ledger, test.clock).read()["stop"] is True
    test.clock.at_ms += 120_000
    test.run()
    assert "fell silent" in said(test) and "it ended without a word" in said(test)


def test_a_reset_opens_the_next_account_after_one_confirmation(opened):
    test = tab(opened("traded"), "pp-tab", "Account")
    press(test, "pp-reset-ask")
    assert "Account 1 ends here" in said(test) and session.workbench().broker.account().number == 1
    press(test, "pp-reset-yes")
    assert session.workbench().broker.account().number == 2 and not test.error
    test.switch_page(HISTORY).run()
    assert "**3 closed trades** of 1 account" in said(test)


def test_the_twin_and_the_ledger_are_proven_by_buttons(opened):
    test = tab(opened("traded"), "pp-tab", "Backtest twin")
    press(test, "pp-compare")
    assert any(s.value.startswith("Identical:") for s in test.success), said(test)
    tab(test, "pp-tab", "Ledger")
    assert "Ledger verified" in said(test) and not test.error
    sextant = session.workbench()
    with sextant.paper_ledger.reading() as db:
        db.execute("drop trigger fills_stay")
        db.execute("update fills set price = '1' where id = 1")
    press(test, "pp-verify")
    assert any("not sound" in e.value and "fills" in e.value for e in test.error)


def test_a_guest_sees_everything_and_can_change_nothing(opened):
    test = opened("traded")
    test.session_state["owner"] = "guess"
    for name in TABS:
        tab(test, "pp-tab", name)
        assert not test.error and not {k for k in keys(test) if k and k.startswith("pp-") and k != "pp-verify"}, name
        assert all(b.disabled for b in test.button if b.key == "pp-verify") and not test.get("file_uploader")
    assert any(t.label == "Owner's password" for t in test.text_input)
    assert not asked(test)


# -- from a signal ----------------------------------------------------------------------------------------------------


def first_buy(sextant, clock, symbols):
    """Move the clock to the next close at which the EMA cross wants to buy; that symbol."""
    for _ in range(90):
        clock.at_ms += MINUTE_MS
        for symbol in symbols:
            card = sextant.signal(sextant.key(symbol, "1m", "spot"), Choice("ema_cross"))
            if card.signal == "BUY" and card.entry is not None:
                return symbol
    raise AssertionError("no entry within the searched stretch: choose another")


def test_a_signal_is_paper_traded_after_one_confirmation_where_the_account_trades_its_symbol(opened):
    test = opened("fresh")
    sextant = session.workbench()
    symbol = first_buy(sextant, test.clock, sextant.paper_status()["terms"]["symbols"])
    for name, value in (("rule", "ema_cross"), ("symbol", symbol), ("interval", "1m"), ("market", "spot")):
        test.query_params[name] = value
    test.switch_page("pages/signal_board.py").run()
    assert not test.exception and not test.error
    press(test, f"pp-signal-{symbol}")
    assert f"Buy {symbol} at the next open" in said(test) and not asked(test)
    press(test, f"pp-yes-signal-{symbol}")
    (kind, name, _), = asked(test)
    card = sextant.signal(sextant.key(symbol, "1m", "spot"), Choice("ema_cross"))
    row = sextant.paper_rows(sextant.broker.account(), "asked")[0]
    assert (kind, name) == ("place", symbol) and row["content"] == {"side": 1, "stop": card.stop_loss, "target": card.take_profit}


# -- history ----------------------------------------------------------------------------------------------------------


def test_an_empty_history_says_how_it_is_filled(app, tmp_path):
    test = app(tmp_path / "home", MORNING, HISTORY)
    assert not test.error and "No paper trade is closed yet" in said(test) and "No prediction is frozen yet" in said(test)
    for name in ("Closed trades", "Signals", "Predictions"):
        tab(test, "hs-tab", name)
        assert not test.error and test.info, name


def test_history_counts_trades_and_signals_as_the_ledger_does(opened):
    test = opened("traded", HISTORY)
    trades, signals = session.workbench().paper_history()
    assert f"**{len(trades)} closed trades** of 1 account" in said(test) and "Ledger verified" in said(test)
    shown = tiles(test)
    assert shown["Trades"] == "3" and shown["Profit"] == f"{sum(t['pnl'] for t in trades):+,.2f}"
    symbol = trades[0]["symbol"]
    test.multiselect(key="hs-symbol").set_value([symbol]).run()
    assert tiles(test)["Trades"] == str(sum(t["symbol"] == symbol for t in trades))
    test.segmented_control(key="hs-side").set_value("Short").run()
    assert any("None of the 3 trades is left" in i.value for i in test.info)
    tab(test, "hs-tab", "Signals")
    shown = tiles(test)
    assert shown["Wishes to enter"] == str(len(signals)) and shown["Closed trades"] == "3"
    assert shown["Refused"] == str(sum(s["came"] == "refused" for s in signals)) != "0"
    assert set(test.dataframe[0].value["Came"]) == {"✗ lost", "refused by a limit"}


def frozen(number, *, up, outcome, made_ms):
    """A prediction as its row, and its grade or None."""
    down = 1.0 - up
    content = {"probability": {"1": up, "-1": down}, "mean": None, "low": None, "high": None, "reasons": [], "confidence": max(up, down),
               "code": "c", "data": "d", "regime": "TREND_UP" if number % 2 else "", "base_rate": {"1": 0.5, "-1": 0.5}, "config": {}}
    row = {"made_ms": made_ms, "symbol": "BTCUSDT", "market": "spot", "interval": "1h", "bar_ms": made_ms,
           "source": "spot-BTCUSDT-1h-dir2/v1", "label": "dir2", "horizon": 1, "call": 1 if up > 0.5 else -1, "abstained": 0,
           "content": json.dumps(content, sort_keys=True)}
    hit = float(outcome == 1)
    grade = {"outcome": float(outcome), "end_ms": made_ms, "brier": (up - hit) ** 2, "brier_base": 0.25, "log_loss": 0.5}
    return row, grade


def test_predictions_are_graded_against_the_base_rate_with_a_curve_by_model_regime_and_period(opened):
    test = opened("traded")
    sextant = session.workbench()
    day = 86_400_000
    with sextant.paper_ledger.transaction(test.clock.at_ms, "predictions") as change:
        for k in range(40):
            up, outcome = (0.8, 1 if k % 5 else -1) if k < 20 else (0.2, -1 if k % 5 else 1)
            row, graded = frozen(k, up=up, outcome=outcome, made_ms=test.clock.at_ms - (60 if k < 10 else 1) * day + k * 1000)
            change.add("predictions", row)
            if k < 36:
                change.add("settlements", {"prediction": k + 1, "settled_ms": test.clock.at_ms, "content": json.dumps(graded)})
    test.switch_page(HISTORY).run()
    assert "**40 predictions** frozen, 36 graded" in said(test) and "of the base rate: **better**" in said(test)
    tab(test, "hs-tab", "Predictions")
    assert not test.error
    shown = tiles(test)
    assert (shown["Made"], shown["Graded"], shown["Base rate"]) == ("40", "36", "0.2500") and shown["Calls right"] == "78%"
    groups = test.dataframe[0].value
    assert set(groups["Regime"]) == {"all", "unknown", "trend up"} and set(groups["Period"]) == {"all", "30 d", "90 d"}
    assert groups[(groups["Regime"] == "all") & (groups["Period"] == "30 d")]["Made"].item() == 30
    test.selectbox(key="hs-p-period").set_value("30 d").run()
    assert tiles(test)["Made"] == "30"
