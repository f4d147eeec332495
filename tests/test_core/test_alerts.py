"""Alerts: found once, written with what they are about, sent until they arrive, and never in the way."""

from __future__ import annotations

import io
import json
import socketserver
import sqlite3
import threading
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from loguru import logger
from pydantic import SecretStr

from core.alerts import KINDS, Alert, Level, keep, levels_crossed, of_step, store_sides, stored_sides, watched
from core.courier import WAITS_S, Courier
from core.paper.ledger import Ledger
from core.paper.runner import RunnerState
from core.paper.verify import verify
from core.reports import due, period, report
from core.settings import Settings, change_settings
from core.wiring import build
from data.clock import parse_time
from data.errors import InputError, SettingsError
from data.market import HOUR_MS
from tests.paper_worlds import MovingClock, PaperWorld, live_hours

SECRET = "t0psecret-token"


@contextmanager
def webhook(answers):
    """A place that takes messages, answering with the given codes in turn; yields what arrived."""
    got: list[tuple[str, dict]] = []

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            got.append((self.path, body))
            self.send_response(answers.pop(0) if answers else 200)
            self.end_headers()

        def log_message(self, *_):
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Taker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"json://127.0.0.1:{server.server_address[1]}/{SECRET}", got
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def post_office():
    """A mail server that speaks just enough; yields its address and the letters."""
    letters: list[str] = []

    class Office(socketserver.StreamRequestHandler):
        def handle(self):
            self.wfile.write(b"220 loopback\r\n")
            data = False
            letter: list[str] = []
            for line in self.rfile:
                text = line.decode().rstrip("\r\n")
                if data and text == ".":
                    letters.append("\n".join(letter))
                    data = False
                    self.wfile.write(b"250 kept\r\n")
                elif data:
                    letter.append(text)
                elif text.upper().startswith("DATA"):
                    data = True
                    self.wfile.write(b"354 go on\r\n")
                elif text.upper().startswith("QUIT"):
                    self.wfile.write(b"221 bye\r\n")
                    return
                else:
                    self.wfile.write(b"250 ok\r\n")

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Office)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"mailto://127.0.0.1:{server.server_address[1]}/?from=sextant@example.org&to=analyst@example.org&mode=insecure", letters
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def logged():
    """The lines of warnings written meanwhile."""
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), level="WARNING")
    try:
        yield lines
    finally:
        logger.remove(sink)


def courier(tmp_path, clock, *addresses):
    return Courier(Ledger(tmp_path / "ledger.sqlite"), clock, [SecretStr(a) for a in addresses], tmp_path / "alerts.log",
                   console=io.StringIO())


def post(tmp_path, clock, key="one", kind="stop", words="stopped", notifies=1):
    with Ledger(tmp_path / "ledger.sqlite").transaction(clock.now_ms()) as change:
        return keep(change, [Alert(key, clock.now_ms(), kind, "BTCUSDT", words)], KINDS, notifies=notifies)


def test_what_a_bar_is_worth_telling_is_told_once_and_with_it(tmp_path):
    world = PaperWorld(tmp_path, market="perp", kill_switch=0.01)
    told: list[Alert] = []

    def hook(change, step):
        told.extend(keep(change, of_step(world.account, step, drawdown=0.002), KINDS, notifies=False))

    world.hours(60, hook=hook)
    rows = world.ledger.rows("alerts")
    assert [a.key for a in told] == [r["key"] for r in rows] and {"signal", "fill", "stop", "drawdown"} <= {a.kind for a in told}
    by_tx = {e["tx"] for e in world.ledger.rows("equity")}
    assert all(r["tx"] in by_tx for r in rows) and verify(world.ledger) == []
    assert len(world.ledger.rows("outbox")) == 2 * len(rows)  # console and file


def test_kinds_that_are_not_wanted_are_not_kept(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    with ledger.transaction(1) as change:
        assert keep(change, [Alert("a", 1, "fill", "", "w"), Alert("b", 1, "test", "", "w")], ["stop"], notifies=False)[0].kind == "test"
    assert len(ledger.rows("alerts")) == 1


def test_a_message_arrives_everywhere_and_is_not_sent_again(tmp_path):
    clock = MovingClock(1_000_000)
    with webhook([]) as (address, got), post_office() as (mail, letters):
        sender = courier(tmp_path, clock, address, mail)
        post(tmp_path, clock, notifies=2)
        assert sender.deliver() == 4 and sender.deliver() == 0
        assert len(got) == 1 and got[0][1]["message"] == "stopped" and len(letters) == 1 and "stopped" in letters[0]
    assert "stopped" in (tmp_path / "alerts.log").read_text()


def test_a_place_that_is_down_is_tried_again_with_longer_waits_and_given_up(tmp_path):
    clock = MovingClock(1_000_000)
    with webhook([500] * 3) as (address, got):
        sender = courier(tmp_path, clock, address)
        post(tmp_path, clock)
        assert sender.deliver() == 2  # console and file took it
        assert sender.waiting()[0]["failures"] == 1 and sender.deliver() == 0
        for wait in WAITS_S[1:3]:
            clock.at_ms += wait * 1000
            sender.deliver()
        clock.at_ms += WAITS_S[3] * 1000
        assert sender.deliver() == 1 and len(got) == 4 and sender.waiting() == []
        assert SECRET not in json.dumps(Ledger(tmp_path / "ledger.sqlite").rows("deliveries"))
    post(tmp_path, clock, key="two")
    for wait in (0, *WAITS_S[1:]):
        clock.at_ms += wait * 1000 + 1
        sender.deliver()
    last = Ledger(tmp_path / "ledger.sqlite").rows("deliveries")[-1]
    assert last["state"] == "given up" and sender.waiting() == [] and Ledger(tmp_path / "ledger.sqlite").verify() == []


def test_an_address_that_is_down_does_not_make_the_others_get_it_again(tmp_path):
    clock = MovingClock(1_000_000)
    with webhook([]) as (address, got), webhook([500] * 5) as (down, tries):
        sender = courier(tmp_path, clock, down, address)
        post(tmp_path, clock, notifies=2)
        for wait in WAITS_S[:4]:
            clock.at_ms += wait * 1000
            sender.deliver()
    assert len(tries) == 4 and len(got) == 1 and [m["channel"] for m in sender.waiting()] == ["notify"]
    assert "address 1 (json) did not take it" in sender.waiting()[0]["why"]


def test_a_message_for_an_address_that_was_taken_away_did_not_arrive(tmp_path):
    clock = MovingClock(1_000_000)
    sender = courier(tmp_path, clock)
    post(tmp_path, clock)
    assert sender.deliver() == 2 and "address 1 is not set any more" in sender.waiting()[0]["why"]


def test_a_test_says_what_went_wrong_without_the_secret(tmp_path):
    clock = MovingClock(1_000_000)
    with pytest.raises(InputError, match="SEXTANT_NOTIFY"):
        courier(tmp_path, clock).test()
    problem = courier(tmp_path, clock, f"json://127.0.0.1:9/{SECRET}", f"nonsense://{SECRET}").test()
    assert "address 1 (json) did not take it" in problem and "address 2 is not one Apprise knows" in problem and SECRET not in problem
    with webhook([]) as (address, got):
        assert courier(tmp_path, clock, address).test() == "" and len(got) == 1


@pytest.mark.parametrize(("text", "level"), [
    ("BTCUSDT price above 70000", Level("BTCUSDT", "price", True, 70000.0)),
    ("ethusdt trend-strength below .4", Level("ETHUSDT", "trend_strength", False, 0.4)),
    ("BTCUSDT price above 104250.57", Level("BTCUSDT", "price", True, 104250.57)),
    ("SOLUSDT probability dir3_dyn above 0.6", Level("SOLUSDT", "probability dir3_dyn", True, 0.6)), ("BTCUSDT A above 0.6",
                                                                                                    Level("BTCUSDT", "a", True, 0.6))])
def test_levels_are_read_from_words(text, level):
    assert Level.parse(text) == level and Level.parse(level.words) == level


@pytest.mark.parametrize("text", ["", "BTCUSDT above 7", "BTCUSDT price over 7", "BTCUSDT prise above 7", "BTCUSDT price above x",
                                  "BTCUSDT price above 1e999",                                   "BTCUSDT probability dir3_dny above 0.6",
                                  "<b> price above 1"])
def test_a_level_that_is_none_is_refused_with_an_example(text):
    with pytest.raises(InputError):
        Level.parse(text)


def test_a_level_tells_when_it_is_crossed_and_not_while_it_stays_there(tmp_path):
    world = PaperWorld(tmp_path)
    now = world.price("BTCUSDT")
    levels = [Level("BTCUSDT", "price", True, now * 0.5), Level("BTCUSDT", "price", True, now * 2.0),
              Level("NOSUCHUSDT", "price", True, 1.0)]
    found, sides = levels_crossed(world.sextant, levels, {})
    assert found == [] and sides == {levels[0].words: True, levels[1].words: False}  # where it stood at the first look is no crossing
    found, sides = levels_crossed(world.sextant, levels, {levels[0].words: False, levels[1].words: False})
    assert [a.kind for a in found] == ["level"] and levels_crossed(world.sextant, levels, sides)[0] == []


def test_settings_of_alerts_refuse_what_they_cannot_mean(tmp_path):
    settings = Settings(home=tmp_path)
    fresh = change_settings(settings, {"alert_levels": ["BTCUSDT price above 70000"], "alert_kinds": ["stop"]})
    assert fresh.alert_levels == ("BTCUSDT price above 70000",) and fresh.alert_kinds == ("stop",)
    for wrong, words in (({"alert_kinds": ["stopp"]}, "no kind 'stopp'"), ({"alert_levels": ["x"]}, "expected SYMBOL WHAT"),
                         ({"alert_drawdown": 7}, "less than or equal to 1")):
        with pytest.raises(SettingsError, match=words):
            change_settings(fresh, wrong)


def test_addresses_are_never_shown_or_saved(tmp_path, monkeypatch):
    monkeypatch.setenv("SEXTANT_NOTIFY", f"tgram://123456:{SECRET}/1,json://host/{SECRET}")
    settings = Settings(home=tmp_path)
    assert len(settings.notify) == 2 and SECRET not in repr(settings) + str(settings.model_dump())
    change_settings(settings, {"threads": 3})
    assert SECRET not in (tmp_path / "settings.json").read_text()


def test_a_night_away_is_one_alert_a_day_and_not_one_a_bar(tmp_path):
    world = PaperWorld(tmp_path, rule="by_hand", sizing="fraction", size=0.1, symbols=("BTCUSDT",))
    world.hours(1)
    world.clock.at_ms = world.next_close() + 30 * HOUR_MS
    world.broker.step(hook=lambda change, step: keep(change, of_step(world.account, step, drawdown=0.5), KINDS, notifies=0))
    assert [r["key"] for r in world.ledger.rows("alerts")] == ["late/1/2026-09-01", "late/1/2026-09-02"]


def test_a_runner_that_was_cut_off_says_so_when_it_works_again(tmp_path):
    world = PaperWorld(tmp_path, rule="by_hand", sizing="fraction", size=0.1, symbols=("BTCUSDT",))
    world.clock.at_ms = world.next_close()
    RunnerState(world.ledger, world.clock).write(host="h", pid=1, started_ms=1, beat_ms=world.clock.at_ms - 7, state="running", words="")
    world.sextant.runner().run(once=True)
    world.sextant._looking.join()
    told, = world.ledger.rows("alerts", "kind = 'runner'")
    assert "was cut off after 2026-09-01T01:00:02.993Z" in told["words"]
    assert len(world.ledger.rows("outbox", "key like 'alert/runner/%'")) == 2
    assert not world.sextant.courier().waiting() and (tmp_path / "logs" / "alerts.log").read_text().count("cut off") == 1


def test_what_is_saved_while_the_runner_works_counts_for_its_next_look(tmp_path):
    world = PaperWorld(tmp_path, rule="by_hand", sizing="fraction", size=0.1, symbols=("BTCUSDT",))
    world.sextant.look_round(score=False)
    level = f"BTCUSDT price above {world.price('BTCUSDT') * 2:g}"
    change_settings(world.sextant.settings, {"alert_levels": [level], "alert_kinds": ["level"]})
    world.sextant.look_round()
    assert stored_sides(world.ledger) == {level: False}
    (tmp_path / "settings.json").write_text("{")
    with logged() as lines:
        for _ in range(3):
            world.sextant.look_round(score=False)
        assert stored_sides(world.ledger) == {level: False} and len(lines) == 1 and "the saved settings cannot be used" in lines[0]
        (tmp_path / "settings.json").write_text('{"threads": "many"}')
        world.sextant.look_round(score=False)
        assert len(lines) == 2


def test_a_level_crossed_while_no_runner_lived_is_told_by_the_next_one_and_once(tmp_path):
    world = PaperWorld(tmp_path, rule="by_hand", sizing="fraction", size=0.1, symbols=("BTCUSDT",))
    before, price = world.clock.at_ms, world.price("BTCUSDT")
    while world.price("BTCUSDT") <= price * 1.01:
        world.clock.at_ms += HOUR_MS
    after, world.clock.at_ms = world.clock.at_ms, before
    level = f"BTCUSDT price above {price * 1.005:.15g}"
    change_settings(world.sextant.settings, {"alert_levels": [level], "alert_kinds": ["level"]})
    world.sextant.look_round(score=False)
    for hours in (0, 1):
        world.clock.at_ms = after + hours * HOUR_MS
        again = build(Settings(home=tmp_path, world="simulated", network="off"), world.clock)  # the runner that was started again
        again.look_round(score=False)
        again.paper_ledger.close()
    assert [a["words"].partition(":")[0] for a in world.ledger.rows("alerts")] == [level]


def test_a_crossing_is_not_lost_with_the_transaction_that_could_not_be_written(tmp_path):
    world = PaperWorld(tmp_path, rule="by_hand", sizing="fraction", size=0.1, symbols=("BTCUSDT",))
    level = f"BTCUSDT price above {world.price('BTCUSDT') * 0.5:.15g}"
    change_settings(world.sextant.settings, {"alert_levels": [level], "alert_kinds": ["level"]})
    with world.ledger.transaction(1) as change:
        store_sides(change, {level: False}, 1)
    with world.sextant.paper_ledger.reading() as own, closing(sqlite3.connect(world.ledger.path, isolation_level=None)) as other:
        own.execute("pragma busy_timeout = 20")
        other.execute("begin immediate")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            world.sextant.look_round(score=False)
        other.execute("rollback")
    world.sextant.look_round(score=False)
    assert len(world.ledger.rows("alerts")) == 1


def test_a_level_that_was_taken_away_and_set_again_begins_anew(tmp_path):
    world = PaperWorld(tmp_path, rule="by_hand", sizing="fraction", size=0.1, symbols=("BTCUSDT",))
    level = Level("BTCUSDT", "price", True, world.price("BTCUSDT") * 0.5)
    assert levels_crossed(world.sextant, [], {level.words: False}) == ([], {})
    assert levels_crossed(world.sextant, [level], {}) == ([], {level.words: True})


def test_a_level_that_cannot_be_worked_out_is_logged_once_and_keeps_its_side(tmp_path):
    world = PaperWorld(tmp_path)
    level = Level("NOSUCHUSDT", "price", True, 1.0)
    with logged() as lines:
        for _ in range(3):
            assert levels_crossed(world.sextant, [level], {level.words: True}) == ([], {level.words: True})
    assert len(lines) == 1 and "NOSUCHUSDT price above 1 cannot be looked at" in lines[0]


def test_candles_of_the_account_that_do_not_come_are_told_although_nobody_watches_the_symbol(tmp_path, monkeypatch):
    world = PaperWorld(tmp_path, rule="by_hand", sizing="fraction", size=0.1, symbols=("LTCUSDT",))
    stopped, reader = world.clock.at_ms // HOUR_MS * HOUR_MS - 1, type(world.sextant.reader)
    last = reader.last_close_ms
    monkeypatch.setattr(reader, "last_close_ms", lambda self, key: stopped if key.symbol == "LTCUSDT" else last(self, key))
    world.clock.at_ms += 5 * HOUR_MS
    wishes = world.sextant.settings.model_copy(update={"alert_kinds": ("data",)})
    assert [(a.kind, a.symbol) for a in watched(world.sextant, wishes)] == [("data", "LTCUSDT")]


def test_an_anomaly_is_told_although_no_page_has_computed_it(tmp_path, monkeypatch):
    world = PaperWorld(tmp_path, rule="by_hand", sizing="fraction", size=0.1, symbols=("BTCUSDT",))
    card = SimpleNamespace(composite=lambda name: SimpleNamespace(score=0.7, as_of_ms=5))
    monkeypatch.setattr(type(world.sextant), "scores", lambda self, key: card)
    wishes = world.sextant.settings.model_copy(update={"watchlist": ("BTCUSDT",)})
    assert [a.words for a in watched(world.sextant, wishes)] == ["BTCUSDT: anomaly alert 0.70"]


def test_a_model_that_drifts_two_days_in_a_row_is_told_once_a_day(tmp_path, monkeypatch):
    world = PaperWorld(tmp_path, rule="by_hand", sizing="fraction", size=0.1, symbols=("BTCUSDT",))
    slot = "spot-BTCUSDT-1h-dir3_dyn"
    entry = SimpleNamespace(id=f"{slot}/v1", slot=slot, fault="", config={"symbols": ["BTCUSDT"], "interval": "1h"})
    kind, days = type(world.sextant), []
    monkeypatch.setattr(kind, "models", lambda self: (entry,))
    monkeypatch.setattr(kind, "shelf", SimpleNamespace(champion=lambda slot: entry.id))
    monkeypatch.setattr(kind, "_alerts", lambda self, name, entry, key: days)
    told = []
    for _ in range(3):
        days.append(True)
        told.append([a.symbol for a in world.sextant._drifted(world.clock.at_ms, world.sextant.settings)])
        assert world.sextant._drifted(world.clock.at_ms, world.sextant.settings) == []
        world.clock.at_ms += 24 * HOUR_MS
    assert told == [[], ["BTCUSDT"], ["BTCUSDT"]]


def test_a_report_waits_for_the_last_bar_of_its_day_and_lists_each_trade_once(tmp_path):
    world = PaperWorld(tmp_path, rule="by_hand", sizing="fraction", size=0.1, symbols=("BTCUSDT",))
    world.broker.control("place", symbol="BTCUSDT", content={"side": 1, "quantity": 0.01})
    world.hours(3)
    world.broker.control("close", symbol="BTCUSDT")
    world.hours(20)
    midnight = parse_time("2026-09-02")
    world.clock.at_ms = midnight + 500
    assert due(world.sextant, ("daily",), world.clock.at_ms) == []
    assert len(due(world.sextant, ("daily",), midnight + HOUR_MS)) == 1  # nobody works: it says so rather than never coming
    world.hours(1)
    found, = due(world.sextant, ("daily",), world.clock.at_ms)
    assert found.text.count("- BTCUSDT long") == 1 and "1 closed trades" in found.text


def test_the_periods_are_whole_days_and_weeks_from_monday():
    now = parse_time("2026-11-20T08:30:00Z")  # a Friday
    assert period("daily", now) == (parse_time("2026-11-19"), parse_time("2026-11-20"))
    assert period("weekly", now) == (parse_time("2026-11-09"), parse_time("2026-11-16"))


def test_reports_are_due_once_and_say_what_was(tmp_path):
    world = PaperWorld(tmp_path, market="perp")
    live_hours(world, 40, 4)
    start, end = period("daily", world.clock.at_ms)
    text = report(world.sextant, "daily", start, end).text
    assert "Equity" in text and ("closed trades" in text or "No trade" in text)
    made = due(world.sextant, ("daily", "weekly"), world.clock.at_ms)
    assert [r.kind for r in made] == ["daily"]  # the account is younger than a week
    with world.ledger.transaction(1) as change:
        keep(change, [r.alert() for r in made], KINDS, notifies=False)
    assert due(world.sextant, ("daily",), world.clock.at_ms) == []
