"""The paper account at its edges: odd fees, great sums, hostile requests, crowds of writers, and what fails beside it."""

from __future__ import annotations

import json
import math
import sqlite3
import threading
from contextlib import closing
from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import pytest
from filelock import FileLock

from core.backtest.plan import Config
from core.backtest.plan import build as build_plan
from core.backtest.signals import Signals
from core.paper.broker import Broker
from core.paper.desk import PaperDesk
from core.paper.feed import Feed
from core.paper.runner import Runner, RunnerState, owner_words
from core.paper.told import ToldDesk
from core.paper.twin import twin
from core.paper.vault import backup
from core.paper.verify import verify
from core.paper.window import Terms
from core.risk.limits import RiskLimits
from core.settings import Settings
from core.wiring import build
from data.errors import DamagedState, InputError, NoData
from data.market import HOUR_MS, Interval, Market, SeriesKey
from data.simulator.venue import VenueOptions
from data.simulator.venue_clock import VirtualClock
from data.simulator.venue_thread import running_venue
from tests.backtest_worlds import bars
from tests.paper_worlds import OPENED, PaperWorld, reseal
from tests.serving import venue_ports
from tests.test_core.test_paper_ledger import LIES


def by_hand(tmp_path, **options):
    return PaperWorld(tmp_path, **{"rule": "by_hand", "sizing": "fraction", "size": 0.1, "symbols": ("BTCUSDT", "ETHUSDT")} | options)


@pytest.mark.parametrize("options", [{"market": "perp", "taker_bps": 1.7}, {"capital": 1e10}],
                         ids=["fees of many digits", "ten thousand millions"])
def test_no_fee_and_no_sum_makes_a_sound_ledger_look_unsound(tmp_path, options):
    world = by_hand(tmp_path, **options)
    for quantity in (0.013, 0.021):
        world.broker.control("place", symbol="BTCUSDT", content={"side": 1, "quantity": quantity})
        world.hours(2)
        world.broker.control("close", symbol="BTCUSDT")
        world.hours(2)
    if "capital" in options:
        for symbol in ("BTCUSDT", "ETHUSDT"):
            world.broker.control("place", symbol=symbol, content={"side": 1})
        world.hours(6)
    assert len(world.ledger.rows("fills")) >= 4 and verify(world.ledger) == []


def test_after_a_re_arm_the_same_bar_may_enter(tmp_path):
    world = by_hand(tmp_path)
    world.broker.control("kill")
    world.hours(2)
    world.broker.control("rearm")
    world.broker.control("place", symbol="BTCUSDT", content={"side": 1, "quantity": 0.01})
    world.hours(2)
    assert len(world.ledger.rows("fills")) == 1 and verify(world.ledger) == []


def test_an_entry_under_the_kill_switch_is_still_found(tmp_path):
    world = by_hand(tmp_path)
    world.broker.control("place", symbol="BTCUSDT", content={"side": 1, "quantity": 0.01})
    world.hours(3)

    def lie(db):
        for row in db.execute("select id, state from equity").fetchall():
            db.execute("update equity set state = ? where id = ?", (json.dumps(json.loads(row["state"]) | {"killed": True}), row["id"]))
        placed = db.execute("select id, at_ms from orders where event = 'placed'").fetchone()
        first = db.execute("select min(at_ms) from equity").fetchone()[0]
        db.execute("update equity set tx = 1 where at_ms = ?", (first,))
        db.execute("update orders set at_ms = ? where id = ?", (max(first, placed["at_ms"]), placed["id"]))

    reseal(world.ledger.path, lie)
    assert any(f.startswith("L6") and "kill switch was on" in f for f in verify(world.ledger))


@pytest.mark.parametrize(("kind", "symbol", "content", "words"), [
    ("place", "BTCUSDT", {}, "side: expected 1"), ("place", "BTCUSDT", {"side": 7}, "side: expected 1"),
    ("place", "BTCUSDT", {"side": -1}, "cannot go short"), ("place", "BTCUSDT", {"side": 1, "quantity": math.inf}, "quantity: expected"),
    ("place", "BTCUSDT", {"side": 1, "quantity": math.nan}, "quantity: expected"),
    ("place", "BTCUSDT", {"side": 1, "stop": "abc"}, "stop: expected"),
    ("place", "BTCUSDT", {"side": 1, "limit": -1.0}, "limit: expected"), ("place", "NOSUCHUSDT", {"side": 1}, "this account trades"),
    ("close", "", {}, "no symbol: this account trades"), ("modify", "BTCUSDT", {}, "a new stop or a new target"),
    ("reduce", "BTCUSDT", {}, "quantity: expected")])
def test_what_no_runner_could_do_is_refused_where_it_is_asked(tmp_path, kind, symbol, content, words):
    world = by_hand(tmp_path)
    with pytest.raises(InputError, match=words):
        world.broker.control(kind, symbol=symbol, content=content)
    assert not world.ledger.rows("controls")


def test_an_order_without_a_stop_is_refused_where_its_size_is_what_the_stop_may_lose(tmp_path):
    world = PaperWorld(tmp_path, rule="by_hand", symbols=("BTCUSDT",))
    with pytest.raises(InputError, match="stop: expected a price, got none; this account enters nothing without one"):
        world.broker.control("place", symbol="BTCUSDT", content={"side": 1, "quantity": 0.01})
    world.broker.control("place", symbol="BTCUSDT", content={"side": 1, "stop": world.price("BTCUSDT") * 0.98})
    world.hours(2)
    assert len(world.ledger.rows("fills")) == 1


def test_who_asks_without_an_account_is_told_the_command_that_opens_one(tmp_path):
    world = build(Settings(home=tmp_path, world="simulated", network="off"))
    with pytest.raises(InputError, match="paper start BTCUSDT"):
        world.paper_ask("pause")


def test_symbols_are_spelled_one_way_and_named_once(tmp_path):
    world = PaperWorld(tmp_path, symbols=(" btcusdt", "ETHUSDT", "BTCUSDT"))
    world.hours(2)
    assert world.account.terms.symbols == ("BTCUSDT", "ETHUSDT") and verify(world.ledger) == []


def test_many_writers_at_once_lose_no_request_and_open_no_account_twice(tmp_path):
    world = by_hand(tmp_path)
    keys, numbers = [], []

    def ask():
        keys.extend(world.broker.control("pause") for _ in range(5))
        numbers.append(world.broker.open(world.account.terms, reason="reset").number)

    crowd = [threading.Thread(target=ask) for _ in range(4)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    rows = world.ledger.rows("controls")
    assert len(keys) == len(rows) == 20 and sorted(numbers) == [2, 3, 4, 5] and verify(world.ledger) == []


def test_a_request_may_bear_the_name_that_the_next_would_have_got(tmp_path):
    world = by_hand(tmp_path)
    assert world.broker.control("pause", key="resume-2") == "resume-2" == world.broker.control("pause", key="resume-2")
    assert world.broker.control("resume") == "resume-3" and len(world.ledger.rows("controls")) == 2


def test_controls_of_a_clock_that_was_set_back_are_done_alike_by_paper_and_twin(tmp_path):
    world = by_hand(tmp_path)
    world.hours(1)
    ask, right = world.broker.control, world.clock.at_ms
    world.clock.at_ms = right + 3 * HOUR_MS
    ask("place", symbol="BTCUSDT", content={"side": 1, "quantity": 0.01})
    world.clock.at_ms = right
    ask("place", symbol="ETHUSDT", content={"side": 1, "quantity": 0.1})
    world.hours(6)
    found = twin(world.sextant, world.ledger, world.account, "code")
    assert found.fills == 2 and found.differences == ()


def test_what_ends_a_position_before_the_close_that_was_asked_for_keeps_its_name(tmp_path):
    """Seen too late, the exit waits; meanwhile the leverage ends the position, at a price that its candle did not hold."""
    world = by_hand(tmp_path, market="perp", leverage=125.0)
    world.broker.control("place", symbol="ETHUSDT", content={"side": 1, "quantity": 0.1})
    world.hours(2)
    world.broker.control("close", symbol="ETHUSDT")
    world.clock.at_ms = world.next_close() + 40 * HOUR_MS
    world.broker.step()
    assert [f["reason"] for f in world.ledger.rows("fills")] == ["market", "liquidation"] and verify(world.ledger) == []


def test_an_exit_beyond_the_margin_is_told_as_a_liquidation():
    rows = [(100, 100, 100, 100)] * 2 + [(60, 60, 60, 60)] * 2
    desk = ToldDesk(build_plan(Config(market=Market.PERP, limits=RiskLimits.none(), sizing="units", size=1.0, leverage=5.0), {
        "BTCUSDT": bars(rows)}, [Signals("BTCUSDT", np.array([1, 3, 0, 0]))]))
    for b in range(3):
        desk.bar(b)
    [left] = [m for m in desk.movements if m.effect == "leave"]
    assert (left.reason, left.reference) == ("liquidation", pytest.approx(80.0, rel=1e-3))


def test_a_close_asked_for_during_a_kill_does_not_slow_it(tmp_path):
    world = by_hand(tmp_path)
    world.broker.control("place", symbol="BTCUSDT", content={"side": 1, "quantity": 0.01})
    world.hours(2)
    world.broker.control("kill")
    world.broker.control("close", symbol="BTCUSDT")
    world.hours(2)
    assert [f["reason"] for f in world.ledger.rows("fills")] == ["market", "kill_switch"] and verify(world.ledger) == []


def test_a_funding_stamp_from_before_the_position_is_not_charged_when_it_is_learned_later():
    plan = SimpleNamespace(symbols=("A",), stamp_from=np.array([[0, 2]]), stamp_time=np.array([100, 900]))
    desk = SimpleNamespace(plan=plan)
    position = SimpleNamespace(symbol="A", next_stamp=1, opened_at=500)
    assert PaperDesk._charged_until(desk, position) == 500
    assert PaperDesk._charged_until(desk, SimpleNamespace(symbol="A", next_stamp=2, opened_at=500)) == 900


def test_a_held_symbol_whose_candles_are_gone_is_worth_what_it_was_at_the_newest_bar(tmp_path, monkeypatch):
    world = by_hand(tmp_path)
    world.broker.control("place", symbol="BTCUSDT", content={"side": 1, "quantity": 0.01})
    world.hours(2)

    def gone(*_):
        raise NoData("no price of BTCUSDT is stored; back-fill it")

    monkeypatch.setattr(type(world.sextant), "_price", gone)
    status = world.sextant.paper_status()
    assert status["positions"][0]["price"] == json.loads(world.broker.newest_bar(world.account)["state"])["marks"]["BTCUSDT"]
    assert status["equity"] == pytest.approx(float(world.broker.newest_bar(world.account)["equity"]))


# -- the runner -------------------------------------------------------------------------------------------------------


def runner_of(world, **more):
    return Runner(world.sextant, world.ledger, world.broker, **more)


def test_what_fails_beside_trading_does_not_end_it_and_is_done_by_once_too(tmp_path):
    world = by_hand(tmp_path)
    world.clock.at_ms = world.next_close()
    done = []

    def broken():
        raise ZeroDivisionError("a report that fails")

    assert len(runner_of(world, idle=(broken, lambda: done.append(1))).run(once=True)) == 1 and done == [1]


def test_what_hindered_it_is_not_said_any_longer_than_it_does(tmp_path):
    world = by_hand(tmp_path)
    world.hours(2)
    runner = runner_of(world)
    world.clock.at_ms -= 3 * HOUR_MS
    runner._catch_up()
    assert "set back" in RunnerState(world.ledger, world.clock).read().get("words", runner._told)
    world.clock.at_ms += 3 * HOUR_MS
    runner._catch_up()
    assert runner._told == "nothing is due"


def test_why_it_did_not_start_can_be_read(tmp_path):
    world = by_hand(tmp_path)
    world.hours(2)
    reseal(world.ledger.path, LIES["equity"][1])
    with pytest.raises(DamagedState):
        RunnerState(world.ledger, world.clock).write(beat_ms=0, state="ended")
        runner_of(world).run(once=True)
    assert owner_words(RunnerState(world.ledger, world.clock).read()).startswith("not running: the ledger is not sound")


def test_a_symbol_that_is_traded_no_more_is_named(tmp_path, monkeypatch):
    world = by_hand(tmp_path)
    world.hours(2)
    stopped, reader = world.clock.at_ms, type(world.sextant.reader)
    last = reader.last_close_ms

    def delisted(self, key):
        found = last(self, key)
        return min(found, stopped // HOUR_MS * HOUR_MS - 1) if key.symbol == "ETHUSDT" else found

    monkeypatch.setattr(reader, "last_close_ms", delisted)
    world.clock.at_ms += HOUR_MS
    runner = runner_of(world)
    assert runner._catch_up() == [] and runner._told == "nothing is due"
    world.clock.at_ms += 2 * HOUR_MS
    assert runner._catch_up() == [] and "no 1h candle of ETHUSDT (since 2026-09-01T02:00:00Z)" in runner._told


def test_a_bar_waits_a_moment_for_the_longer_bar_that_closes_with_it(tmp_path, monkeypatch):
    world = PaperWorld(tmp_path, rule="ema_cross,breakout@4h", symbols=("BTCUSDT",))
    world.hours(3)
    reader = type(world.sextant.reader)
    last = reader.last_close_ms
    four = last(world.sextant.reader, SeriesKey("BTCUSDT", Interval.H4))
    monkeypatch.setattr(reader, "last_close_ms", lambda self, key: four if key.interval is Interval.H4 else last(self, key))
    world.clock.at_ms = world.next_close() - 2_500  # half a second after the close
    assert four is not None and world.broker.due(world.account) is None
    world.clock.at_ms += 2_500
    assert world.broker.due(world.account) is not None


def test_a_model_that_fails_takes_no_bar_with_it(tmp_path, monkeypatch):
    world = by_hand(tmp_path)
    monkeypatch.setattr("core.strategies.strategy", lambda name: SimpleNamespace(forecasts="dir3_dyn"))

    def failing(*_, **__):
        raise NoData("a feature is missing")

    monkeypatch.setattr(type(world.sextant), "frozen_calls", failing)
    with world.ledger.transaction(1) as change:
        world.sextant._forecasts_ahead(1, False)(change, None)
        assert change.added == 0


def test_forecasts_are_worked_out_before_the_lock_is_taken_and_written_with_their_bar(tmp_path, monkeypatch):
    world = by_hand(tmp_path)
    world.clock.at_ms = world.next_close()

    def slow(self, keys, label, *, at_ms):
        with closing(sqlite3.connect(world.ledger.path, isolation_level=None, timeout=0)) as page:
            page.execute("begin immediate")  # a page that asks for an order meanwhile
            page.execute("rollback")
        return [{"made_ms": self.clock.now_ms(), "symbol": k.symbol, "market": str(k.market), "interval": str(k.interval), "bar_ms": at_ms,
                 "source": "m/v1", "label": label, "horizon": 12, "call": 1, "abstained": 0, "content": "{}"} for k in keys]

    def ahead(closed_ms, late):
        with monkeypatch.context() as patched:
            patched.setattr("core.strategies.strategy", lambda name: SimpleNamespace(forecasts="dir3_dyn"))
            patched.setattr(type(world.sextant), "frozen_calls", slow)
            return world.sextant._forecasts_ahead(closed_ms, late)

    assert world.sextant.runner()._ahead == world.sextant._forecasts_ahead
    world.broker.step(ahead=ahead)
    bar, = world.ledger.rows("equity")
    assert [(p["symbol"], p["bar_ms"]) for p in world.ledger.rows("predictions")] == [("BTCUSDT", bar["at_ms"]), ("ETHUSDT", bar["at_ms"])]


def test_a_restore_asks_the_lock_and_mends_a_ledger_that_cannot_be_opened(tmp_path):
    world = by_hand(tmp_path)
    world.hours(2)
    RunnerState(world.ledger, world.clock).write(host="h", pid=1, started_ms=1, beat_ms=world.clock.at_ms, state="running", words="")
    backup(world.ledger, tmp_path / "b.zip")
    before = list(world.ledger.canonical())
    with FileLock(world.ledger.path.with_name("runner.lock")), pytest.raises(InputError, match="the runner is at work"):
        world.sextant.restore_ledger(tmp_path / "b.zip")
    world.ledger.close()
    world.sextant.paper_ledger.close()
    for beside in ("-wal", "-shm"):
        world.ledger.path.with_name(world.ledger.path.name + beside).unlink(missing_ok=True)
    world.ledger.path.write_bytes(b"nothing" * 1000)
    world.sextant.restore_ledger(tmp_path / "b.zip")
    assert list(world.sextant.dump_ledger()) == before and RunnerState(world.ledger, world.clock).read() == {}


def test_the_feed_brings_what_the_account_trades_and_the_exchange_s_clock(tmp_path, monkeypatch):
    monkeypatch.setenv("SEXTANT_NETWORK", "auto")
    clock = VirtualClock(OPENED)
    with running_venue(clock, VenueOptions(port=venue_ports())) as venue:
        sextant = build(Settings(home=tmp_path, endpoint=venue.urls.api), clock)
        key = SeriesKey("BTCUSDT", Interval.M15)
        sextant.outside.catch_up([key], most_bars=900)
        broker = Broker(sextant.paper_ledger, sextant, "code")
        broker.open(Terms((key.symbol,), "ema_cross", {}, {"interval": "15m"}))
        venue.advance(2 * HOUR_MS)
        assert broker.due(broker.account()) is None
        feed = Feed(sextant, broker.account)
        feed.look()
        assert feed.words == "" and broker.due(broker.account()) is not None
        assert sextant.outside.clock_offset_ms() is not None
        assert len(Runner(sextant, sextant.paper_ledger, broker).run(once=True)) == 8
        assert Decimal(broker.newest_bar(broker.account())["equity"]) > 0


def test_much_that_is_caught_up_in_parts_is_what_one_part_would_have_been(tmp_path):
    whole, parts = (PaperWorld(tmp_path / n, market="perp", symbols=("BTCUSDT", "ETHUSDT")) for n in ("whole", "parts"))
    for world in (whole, parts):
        world.hours(2)
        world.clock.at_ms = world.next_close() + 120 * HOUR_MS
    assert len(whole.broker.step()) == len(runner_of(parts).run(once=True)) == 121
    assert whole.digest() == parts.digest()
