"""Every limit refuses what it must, allows what it may, and says why in words; what cannot be computed is no trade."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from core.backtest import engine
from core.backtest.plan import Config, breaks, build
from core.backtest.signals import Signals
from core.risk import limits as rules
from core.risk.exposure import DailyReturns, correlation, portfolio_tail
from core.risk.limits import LIMITS, Book, Proposal, Refusal, RiskLimits, judge
from core.trading.contracts import Contract
from data.frames import Candles
from data.market import DAY_MS, Costs, Interval, Market
from tests.made_candles import JAN_2024, made, scaled

ON = RiskLimits.all_on()
MOMENT = JAN_2024 + 400 * DAY_MS


def returns(rho=0.9, days=300, sd=0.03):
    rng = np.random.Generator(np.random.PCG64(2))
    a = rng.normal(0, sd, days)
    b = rho * a + math.sqrt(1 - rho**2) * rng.normal(0, sd, days)
    return DailyReturns(("AAAUSDT", "BBBUSDT"), MOMENT // DAY_MS - days + np.arange(days), np.column_stack((a, b)))


def entry(**changes):
    return dataclasses.replace(Proposal("AAAUSDT", 1, 100.0, stop_distance=2.0), **changes)


def book(**changes):
    usual = Book(Market.SPOT, 10_000.0, 10_000.0, 10_000.0, MOMENT, 100, returns=returns())
    return dataclasses.replace(usual, **changes)


def test_all_limits_pass_a_calm_entry_and_speak():
    verdicts = judge(entry(), book(), ON)
    assert len(verdicts) == len(LIMITS) == 14 and all(v.ok for v in verdicts)
    assert all(v.words for v in verdicts) and len({v.limit for v in verdicts}) == 14
    assert min(v.most_notional for v in verdicts) == 2_000.0


@pytest.mark.parametrize(("proposal", "state", "code", "words"), [
    ({}, {"killed": True}, Refusal.KILLED, "re-armed"),
    ({}, {"equity": 0.0}, Refusal.EQUITY_GONE, "worth nothing"),
    ({}, {"equity": 9_700.0}, Refusal.DAILY_LOSS, "3.0% lost since 00:00 UTC"),
    ({}, {"paused_until_ms": MOMENT + 1}, Refusal.LOSING_STREAK, "3 losses in a row; no entries before 2025-"),
    ({}, {"stopped_at_bar": {"AAAUSDT": 89}}, Refusal.COOLDOWN, "stopped out 11 bars ago; the wait is 12"),
    ({"veto": int(Refusal.VOLATILITY_BREAK)}, {}, Refusal.VOLATILITY_BREAK, "4.0 standard deviations"),
    ({"veto": int(Refusal.BREAK_UNKNOWN)}, {}, Refusal.BREAK_UNKNOWN, "cannot be ruled out"),
    ({"veto": int(Refusal.VETO)}, {}, Refusal.VETO, "anomaly alert"),
    ({"stop_distance": math.nan}, {}, Refusal.NO_STOP, "no stop distance"),
    ({"cost_known": False}, {}, Refusal.COST_UNKNOWN, "cannot be computed yet"),
    ({"scale": math.nan}, {}, Refusal.VOLATILITY_UNKNOWN, "cannot be computed yet"),
    ({}, {"held": {"BBBUSDT": 1.0, "CCCUSDT": 1.0, "DDDUSDT": 1.0}}, Refusal.MAX_POSITIONS, "3 positions .*the limit is 3"),
    ({}, {"returns": None}, Refusal.PORTFOLIO_TAIL, "only 0 common days"),
    ({}, {"returns": returns(days=60)}, Refusal.PORTFOLIO_TAIL, "only 60 common days"),
    ({}, {"returns": returns(sd=0.3)}, Refusal.PORTFOLIO_TAIL, "VaR99 of a day would be"),
    ({}, {"held": {"BBBUSDT": 3_000.0}, "returns": returns(sd=0.001)}, Refusal.CORRELATION, "BBBUSDT move with it"),
])
def test_each_limit_refuses_in_words(proposal, state, code, words):
    verdict = judge(entry(**proposal), book(**state), ON)[-1]
    assert not verdict.ok and verdict.code == code and verdict.most_notional == 0.0
    import re

    assert re.search(words, verdict.words)


def test_edges_of_the_limits():
    """Exactly at the edge: 3 % lost is a stop, 2.99 % not; 12 bars after a stop-out is allowed; a pause ends at its moment."""
    assert not judge(entry(), book(equity=9_700.0), ON)[-1].ok and judge(entry(), book(equity=9_701.0), ON)[-1].ok
    assert judge(entry(), book(stopped_at_bar={"AAAUSDT": 88}), ON)[-1].ok
    assert judge(entry(), book(paused_until_ms=MOMENT), ON)[-1].ok


def test_correlated_positions_share_one_cap():
    """2,000 held of a symbol with rho .9: of the shared 30 % of 10,000 are 1,000 left. The other side, or rho 0, is free."""
    calm = returns(sd=0.001)
    verdict = rules.CorrelationCap().check(entry(), book(held={"BBBUSDT": 2_000.0}, returns=calm), ON)
    assert verdict.ok and verdict.most_notional == pytest.approx(1_000.0)
    assert rules.CorrelationCap().check(entry(), book(held={"BBBUSDT": -2_000.0}, returns=calm), ON).most_notional == 3_000.0
    free = rules.CorrelationCap().check(entry(), book(held={"BBBUSDT": 2_000.0}, returns=returns(rho=0.0)), ON)
    assert free.ok and free.most_notional == 3_000.0


def test_tail_of_two_positions_by_hand():
    """Weights .5 and .5 of the same column: the tail is that of half plus half, its own."""
    history = np.repeat(returns().returns[:, :1], 2, axis=1)
    var, es = portfolio_tail(history, np.array([0.5, 0.5]))
    alone = np.sort(history[:, 0])
    assert var == pytest.approx(-alone[math.ceil(0.01 * 300) - 1]) and es >= var
    assert correlation(history)[0, 1] == pytest.approx(1.0)
    assert np.isnan(portfolio_tail(history[:99], np.array([0.5, 0.5]))).all()


def test_history_ends_before_the_day_of_the_decision():
    known = returns().known_at(MOMENT - 10 * DAY_MS, ("AAAUSDT",))
    assert len(known) == 290 and returns().known_at(MOMENT, ("ZZZUSDT",)).shape == (0, 1)


def test_volatility_break_lasts_twelve_bars_and_is_unknown_at_first():
    candles = scaled(made(400), slice(300, 400), 1.2, ("open", "high", "low", "close"))
    found = breaks(candles, RiskLimits())
    assert (found[:101] == Refusal.BREAK_UNKNOWN).all()
    assert (found[300:312] == Refusal.VOLATILITY_BREAK).all() and found[312] == 0 and not (found[101:300] == Refusal.VOLATILITY_BREAK).any()


def test_portfolio_limits_run_in_the_reference_engine():
    """Two symbols that are one: the second entry finds 30 % - 20 % = 10 % left of their shared cap."""
    rng = np.random.Generator(np.random.PCG64(7))
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.002, 200 * 24)))
    times = JAN_2024 + np.arange(len(close)) * Interval.H1.ms
    opened = np.concatenate(([100.0], close[:-1]))
    twin = Candles.from_columns(Interval.H1, {"open_time": times, "open": opened, "high": np.maximum(opened, close),
                                              "low": np.minimum(opened, close), "close": close, "volume": np.full(len(close), 1e9)})
    action = np.zeros(len(close), np.int8)
    action[150 * 24] = 1
    late = np.zeros(len(close), np.int8)
    late[151 * 24] = 1
    names = ("AAAUSDT", "BBBUSDT")
    limits = dataclasses.replace(RiskLimits.none(), position_cap=0.2, tail_var=0.05, tail_es=0.075, correlation_cap=0.30)
    plan = build(Config(costs=Costs.none(), sizing="fraction", size=0.2, limits=limits), dict.fromkeys(names, twin),
                 [Signals("AAAUSDT", action), Signals("BBBUSDT", late)],
                 contracts={n: Contract(n, Market.SPOT, 0.01, 0.00001, 0.0) for n in names})
    result = engine.run(plan)
    first, second = sorted(result.trades, key=lambda t: t.entry_time)
    equity = result.equity[151 * 24]
    held = first.quantity * close[151 * 24]
    assert result.engine == "reference" and first.quantity * first.entry_price == pytest.approx(2_000, rel=1e-3)
    assert second.quantity * second.entry_price == pytest.approx(0.30 * equity - held, rel=1e-3)


@pytest.mark.parametrize("name", ["max_positions", "position_cap", "participation", "drawdown_stop", "daily_loss"])
def test_defaults_are_those_of_the_methods(name):
    expected = {"max_positions": 3, "position_cap": 0.20, "participation": 0.05, "drawdown_stop": 0.10, "daily_loss": 0.03}
    assert getattr(RiskLimits(), name) == expected[name]
