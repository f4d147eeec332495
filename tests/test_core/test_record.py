"""What the accounts did, as rows: against the ledger's own rows and against sums made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from core.paper import record
from core.paper.grades import grade
from core.paper.predictions import Logged
from data.market import MINUTE_MS, Interval, Market, SeriesKey
from tests.paper_worlds import MORNING, MovingClock, minutes, minutes_account


@pytest.fixture(scope="module")
def traded(tmp_path_factory):
    clock = MovingClock()
    return minutes_account(tmp_path_factory.mktemp("record") / "home", clock, bars=80), clock


def test_the_curve_is_the_recorded_equity_and_holding_is_the_mean_growth_of_the_symbols(traded):
    sextant, _ = traded
    account = sextant.broker.account()
    found = sextant.paper_curve(account)
    assert [*zip(found.at_ms.tolist(), found.equity.tolist(), strict=True)] == sextant.paper_equity(account)
    growth = []
    for symbol in account.terms.symbols:
        candles = sextant.reader.read(SeriesKey(symbol, Interval.M1, Market.SPOT), account.opened_ms - 5 * MINUTE_MS,
                                      int(found.at_ms[-1]) + 1)
        before = [k for k in range(len(candles)) if candles.close_time[k] <= account.opened_ms][-1]
        growth.append(candles.close[-1] / candles.close[before])
    assert found.held[-1] == pytest.approx(10_000.0 * np.mean(growth), rel=1e-12)
    highest = 10_000.0
    for equity, below in zip(found.equity, found.drawdown, strict=True):
        highest = max(highest, equity)
        assert below == pytest.approx(equity / highest - 1.0, abs=1e-15)
    assert record.drawdown_now(found, 20_000.0) == 0.0


def test_signals_tell_what_came_and_trades_add_up_to_the_change_of_equity(traded):
    sextant, _ = traded
    trades, signals = sextant.paper_history()
    equity = sextant.paper_status()["equity"]
    assert len(trades) == 3 and sum(t["pnl"] for t in trades) == pytest.approx(equity - 10_000.0, abs=1e-6)
    ordered = [s for s in signals if s["came"] in ("won", "lost")]
    assert sorted(s["pnl"] for s in ordered) == sorted(t["pnl"] for t in trades)
    assert all(s["words"] for s in signals if s["came"] == "refused")
    rows = sextant.paper_ledger.rows("decisions", "state in ('ordered', 'refused') and action in ('enter_long', 'enter_short')")
    assert len(signals) == len(rows)
    found = record.summary(trades)
    assert (found.trades, found.won, found.pnl) == (3, 0.0, pytest.approx(equity - 10_000.0, abs=1e-6))
    assert found.low == 0.0 < found.high < 1.0
    assert record.grouped(trades, lambda t: t["market"]) == [("spot", 3, 0, pytest.approx(found.pnl))]


def test_orders_are_folded_to_one_row_each_and_requests_carry_their_answer(tmp_path):
    clock = MovingClock(MORNING + 160 * MINUTE_MS)
    sextant = minutes_account(tmp_path / "home", clock, bars=1, rule="breakout", symbols=("BTCUSDT",))
    account = sextant.broker.account()
    price = sextant.paper_price("BTCUSDT", account)
    sextant.paper_ask("place", "BTCUSDT", {"side": 1, "stop": price * 0.97, "limit": price * 0.985})
    assert sextant.paper_rows(account, "asked")[0]["words"] is None
    minutes(sextant, clock, 2)
    assert [o["ended"] for o in sextant.paper_rows(account, "orders")] == ["waits"]
    sextant.paper_ask("cancel", "BTCUSDT")
    minutes(sextant, clock, 2)
    order, = sextant.paper_rows(account, "orders")
    assert order["ended"] == "cancelled" and order["ended_ms"] > order["placed_ms"] and order["limit"] == pytest.approx(price * 0.985)
    assert [(r["kind"], r["words"]) for r in sextant.paper_rows(account, "asked")] == [("cancel", "cancelled"), ("place", "placed")]


# -- predictions ------------------------------------------------------------------------------------------------------


def logged(number, up, outcome, *, call=0, abstained=False, base=0.5):
    key = SeriesKey("BTCUSDT", Interval.H1, Market.SPOT)
    probability = {"1": up, "-1": 1.0 - up}
    hit = {"1": float(outcome == 1), "-1": float(outcome == -1)}
    settled = None if outcome is None else {
        "outcome": float(outcome), "brier": sum((probability[k] - hit[k]) ** 2 for k in hit) / 2,
        "brier_base": ((base - hit["1"]) ** 2 + (1 - base - hit["-1"]) ** 2) / 2}
    return Logged(number, 0, key, number, "m/v1", "dir", 1, call, abstained, {"probability": probability, "reasons": []}, settled)


def test_grades_by_hand():
    rows = [logged(1, 0.8, 1, call=1), logged(2, 0.7, -1, call=1), logged(3, 0.2, -1, call=-1), logged(4, 0.5, 1, abstained=True),
            logged(5, 0.9, None, call=1)]
    g = grade(rows)
    assert (g.made, g.graded, g.abstained, g.calls, g.right) == (5, 4, 1, 3, 2)
    assert g.brier == pytest.approx((0.04 + 0.49 + 0.04 + 0.25) / 4) and g.brier_base == pytest.approx(0.25)
    assert g.skill[0] == pytest.approx(1 - g.brier / 0.25) and g.skill[1] <= g.skill[0] <= g.skill[2]
    assert g.confusion == ((1, 0, 1), (1, 0, 0), (0, 0, 1)) and g.reliability == {}
    assert g.low < 2 / 3 < g.high


def test_nothing_graded_is_unknown_and_never_zero():
    g = grade([logged(1, 0.8, None, call=1)])
    assert all(math.isnan(v) for v in (g.brier, g.brier_base, g.low, g.high, *g.skill)) and g.graded == 0


def test_planted_probabilities_lie_on_the_diagonal_and_beat_the_base_rate():
    rng = np.random.default_rng(11)
    stated = rng.uniform(0.1, 0.9, 3_000)
    came = np.where(rng.random(3_000) < stated, 1, -1)
    g = grade([logged(k, float(p), int(c), call=1) for k, (p, c) in enumerate(zip(stated, came, strict=True))])
    assert g.skill[1] > 0.1 and len(g.reliability[1]) == 10
    assert max(abs(b.stated - b.happened) for b in g.reliability[1]) < 0.08
    blind = grade([logged(k, 0.5, int(c), call=1) for k, c in enumerate(came)])
    assert blind.skill == (0.0, 0.0, 0.0)
