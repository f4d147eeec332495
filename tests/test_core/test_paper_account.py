"""The paper account: the backtest's rules bar by bar, a person's orders, late bars, and the twin that finds every difference."""

from __future__ import annotations

import json
import random
from decimal import Decimal

import pytest

from core.backtest.engine import run
from core.paper.desk import PaperDesk
from core.paper.twin import twin
from core.paper.verify import verify
from core.paper.window import Terms, window
from data.clock import parse_time
from data.errors import InputError, NoData
from data.market import HOUR_MS
from tests.paper_worlds import PaperWorld, live_hours, meddle


def movements(world):
    return [(r["effect"], r["symbol"], float(r["price"]), float(r["quantity"]), r["filled_ms"]) for r in world.ledger.rows("fills")]


@pytest.mark.parametrize("market", ["spot", "perp"])
def test_bar_by_bar_it_does_what_the_compiled_backtest_does(tmp_path, market):
    world = PaperWorld(tmp_path, market=market)
    world.hours(100)
    seen = window(world.sextant, world.account.terms, world.account.opened_ms, world.clock.at_ms)
    result = run(seen.plan)
    closed = world.sextant.paper_statement(world.account).closed
    trades = [t for t in result.trades if not t.open]
    assert len(closed) == len(trades) >= 3
    for mine, theirs in zip(sorted(closed, key=lambda h: (h.closed_ms, h.symbol)), sorted(trades, key=lambda t: (t.exit_time, t.symbol)),
                            strict=True):
        assert (mine.symbol, mine.side, mine.opened_ms, mine.closed_ms) == (theirs.symbol, theirs.side, theirs.entry_time, theirs.exit_time)
        assert float(mine.pnl) == pytest.approx(theirs.pnl, abs=1e-6) and float(mine.entered) == pytest.approx(theirs.quantity, abs=1e-12)
    newest = world.broker.newest_bar(world.account)
    assert float(newest["equity"]) == pytest.approx(float(result.equity[seen.last]), abs=1e-6)
    assert verify(world.ledger) == [] and twin(world.sextant, world.ledger, world.account, "code").differences == ()


@pytest.mark.parametrize("market", ["spot", "perp"])
def test_with_a_restless_person_it_still_equals_its_twin_and_holds_every_invariant(tmp_path, market, seed):
    world = PaperWorld(tmp_path, market=market, kill_switch=0.02)
    live_hours(world, 90, seed)
    found = twin(world.sextant, world.ledger, world.account, "code")
    assert found.differences == () and found.fills > 5, found.words
    assert verify(world.ledger) == []


def test_a_market_order_by_hand_fills_at_the_next_open_with_slippage_and_its_own_levels(tmp_path):
    world = PaperWorld(tmp_path, rule="by_hand", sizing="fraction", size=0.1)
    world.hours(2)
    price = world.price("BTCUSDT")
    world.broker.control("place", symbol="BTCUSDT", content={"side": 1, "stop": price * 0.9, "target": price * 1.5, "quantity": 0.01})
    world.hours(2)
    fill, = world.ledger.rows("fills")
    bar = world.sextant.candles(world.sextant.key("BTCUSDT", "1h"), start_ms=fill["bar_ms"], end_ms=fill["bar_ms"] + 1)
    opened = float(bar.open[0])
    assert fill["filled_ms"] == fill["bar_ms"] and Decimal(fill["quantity"]) == Decimal("0.01")
    assert opened * 1.0002 <= float(fill["price"]) <= opened * 1.0002 + 0.01  # 2 bps, rounded up to the tick
    assert Decimal(fill["fee"]) == Decimal(fill["price"]) * Decimal("0.01") * Decimal("0.001")
    state = json.loads(world.broker.newest_bar(world.account)["state"])["positions"]["BTCUSDT"]
    assert state["stop"] == pytest.approx(price * 0.9, abs=0.01) and state["target"] == pytest.approx(price * 1.5, abs=0.01)


def test_orders_by_hand_add_give_back_change_and_close(tmp_path):
    world = PaperWorld(tmp_path, rule="by_hand", sizing="fraction", size=0.1, position_cap=0.5)
    ask = world.broker.control
    ask("place", symbol="ETHUSDT", content={"side": 1, "quantity": 0.2})
    world.hours(1)
    ask("place", symbol="ETHUSDT", content={"side": 1, "quantity": 0.3})
    world.hours(2)
    held = world.sextant.paper_statement(world.account).holdings["ETHUSDT"]
    assert held.quantity == Decimal("0.5") and held.fills == 2
    ask("reduce", symbol="ETHUSDT", content={"quantity": 0.1})
    ask("modify", symbol="ETHUSDT", content={"stop": round(world.price("ETHUSDT") * 0.5, 2)})
    world.hours(2)
    assert world.sextant.paper_statement(world.account).holdings["ETHUSDT"].quantity == Decimal("0.4")
    ask("close", symbol="ETHUSDT")
    world.hours(2)
    book = world.sextant.paper_statement(world.account)
    assert not book.holdings and book.closed[0].entered == Decimal("0.5") and book.closed[0].reason == "manual"
    assert verify(world.ledger) == [] and twin(world.sextant, world.ledger, world.account, "code").differences == ()


@pytest.mark.parametrize(("kind", "content", "words"), [
    ("place", {"side": 1, "stop": 1e9}, "wrong side"), ("close", {}, "no position in BTCUSDT"), ("cancel", {}, "no order of BTCUSDT"),
    ("modify", {"stop": 1.0}, "no position in BTCUSDT"), ("place", {"side": 1, "quantity": 1e-9}, "placed")])
def test_what_cannot_be_done_is_said_and_nothing_else_happens(tmp_path, kind, content, words):
    world = PaperWorld(tmp_path, rule="by_hand", sizing="fraction", size=0.1)
    world.hours(1)
    world.broker.control(kind, symbol="BTCUSDT", content=content)
    world.hours(2)
    done = world.ledger.rows("orders", "event = 'done'")
    assert words in json.loads(done[0]["content"])["words"]
    world.hours(1)
    assert not world.ledger.rows("fills") and verify(world.ledger) == []


def test_a_pause_enters_nothing_and_the_kill_switch_flattens_until_it_is_re_armed(tmp_path):
    world = PaperWorld(tmp_path)
    world.until(30)
    world.broker.control("pause")
    before = len(world.ledger.rows("fills", "effect = 'enter'"))
    world.hours(25)
    assert len(world.ledger.rows("fills", "effect = 'enter'")) <= before + len(world.ledger.rows("orders", "event = 'filled'"))
    assert any(d["state"] == "paused" for d in world.ledger.rows("decisions"))
    world.broker.control("resume")
    world.broker.control("kill")
    world.hours(20)
    assert not world.sextant.paper_statement(world.account).holdings
    assert any("kill switch" in d["words"] for d in world.ledger.rows("decisions", "state = 'refused'"))
    world.broker.control("rearm")
    world.hours(2)
    assert not json.loads(world.broker.newest_bar(world.account)["state"])["killed"] and verify(world.ledger) == []


def test_bars_that_come_too_late_are_done_in_order_but_nothing_is_entered_on_them(tmp_path):
    world = PaperWorld(tmp_path)
    world.until(30)
    world.clock.at_ms = world.next_close() + 40 * HOUR_MS  # asleep for forty hours
    steps = world.broker.step()
    assert len(steps) == 41 and sum(s.late for s in steps) == 40
    late = world.ledger.rows("decisions", "state = 'skipped: stale'")
    assert late and not [o for o in world.ledger.rows("orders", "event = 'placed'") if o["at_ms"] in {d["decided_ms"] for d in late}]
    world.hours(5)
    found = twin(world.sextant, world.ledger, world.account, "code")
    assert {d.cause for d in found.differences} >= {"late"} and "unexplained" not in {d.cause for d in found.differences}
    assert verify(world.ledger) == []


def test_an_injected_delay_of_one_bar_shows_as_timing(tmp_path, monkeypatch):
    world = PaperWorld(tmp_path, rule="ema_cross")
    slow = PaperDesk._enter_at_open

    def delayed(self, b, s):
        order = self.pending.get(s)
        if order is not None and order.attempts == 0:
            return
        slow(self, b, s)

    with monkeypatch.context() as patch:
        patch.setattr(PaperDesk, "_enter_at_open", delayed)
        world.hours(80)
    found = twin(world.sextant, world.ledger, world.account, "code")
    timing = [d for d in found.differences if d.cause == "timing"]
    assert timing and all("1 bars later" in d.words for d in timing if d.words.startswith("enter"))


def test_a_reset_opens_a_new_account_and_the_old_one_stays(tmp_path):
    world = PaperWorld(tmp_path)
    world.hours(25)
    old = len(world.ledger.rows("fills"))
    world.broker.open(world.account.terms, reason="reset")
    world.hours(3)
    assert world.account.number == 2 and world.broker.newest_bar(world.account)["cash"] == "10000.0"
    assert len(world.ledger.rows("fills")) == old and verify(world.ledger) == []


def test_bad_terms_are_refused_before_anything_is_written(tmp_path):
    world = PaperWorld(tmp_path)
    for terms, words in ((Terms(("BTCUSDT",), "trnd"), "did you mean trend"), (Terms((), "trend"), "at least one symbol"),
                         (Terms(("BTCUSDT",), "trend", {}, {"capital": -5}), "capital"),
                         (Terms(("BTCUSDT",), "trend", {}, {"size": 7}), "size")):
        with pytest.raises(InputError, match=words):
            world.broker.open(terms)
    with pytest.raises(NoData, match="no data for NOSUCHUSDT"):
        world.sextant.paper_open(Terms(("NOSUCHUSDT",), "trend"))
    with pytest.raises(InputError, match="expected pause"):
        world.broker.control("buy")
    assert len(world.ledger.rows("accounts")) == 1


def test_limits_hold_over_random_asking(tmp_path, seed):
    """100,000 decisions are the long command's; here a few thousand, with a person who asks every other hour."""
    stream = random.Random(seed)
    world = PaperWorld(tmp_path, rule="breakout", market="perp", max_positions=2, position_cap=0.1, kill_switch=0.015)
    for _ in range(80):
        world.hours(1)
        if stream.random() < 0.5:
            meddle(world, stream)
    assert len(world.ledger.rows("decisions")) == 320 and verify(world.ledger) == []


@pytest.mark.long
def test_five_thousand_candles_of_ten_symbols_and_a_hundred_thousand_decisions_equal_the_backtest(tmp_path, seed):
    """Every decision and fill the twin's own, every limit held at every fill; a person asks something every fifty hours."""
    stream = random.Random(seed)
    symbols = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPUSDT", "ADAUSDT", "DOGEUSDT", "AVAXUSDT", "LINKUSDT", "DOTUSDT")
    world = PaperWorld(tmp_path, symbols=symbols, market="perp", rule="ema_cross,breakout@4h", opened=parse_time("2026-01-05T00:10:00Z"),
                       kill_switch=0.5, no_finer=True)
    for hour in range(5_000):
        world.hours(1)
        if hour % 50 == 7:
            meddle(world, stream)
    found = twin(world.sextant, world.ledger, world.account, "code")
    print(found.words)
    assert found.decisions == 100_000 and found.differences == () and verify(world.ledger) == []


def test_any_exception_inside_a_limit_means_no_trade(tmp_path, monkeypatch):
    world = PaperWorld(tmp_path, rule="by_hand", sizing="fraction", size=0.1)
    world.hours(1)

    def broken(*_):
        raise ZeroDivisionError("a limit that fails")

    monkeypatch.setattr("core.risk.limits.PositionCap.check", broken)
    world.broker.control("place", symbol="BTCUSDT", content={"side": 1, "quantity": 0.01})
    world.hours(2)
    assert not world.ledger.rows("fills") and "could not be computed" in json.loads(
        world.ledger.rows("orders", "event = 'done'")[0]["content"])["words"]
