"""Strategies as data and the signal card: the newest row of a table is the decision, and nothing knows the future."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from analysis.composites import by_name
from core.backtest.signals import Action
from core.settings import Settings
from core.strategies import COMMON, STRATEGIES, Choice, held_side, on_grid, signals_of, strategy, vetoes, words_of
from core.wiring import build
from data.clock import FixedClock, parse_time
from data.errors import InputError
from data.frames import aggregate
from data.market import HOUR_MS, Interval, Market, SeriesKey
from tests.made_candles import made

NOW = parse_time("2026-11-20T08:30:00Z")
KEY = SeriesKey("ETHUSDT", Interval.H1)
LIGHT = [s for s in STRATEGIES if "*" not in s.reads and not s.forecasts and s.name != "by_hand"]


@pytest.fixture(scope="module")
def sextant(tmp_path_factory):
    return build(Settings(home=tmp_path_factory.mktemp("signals"), world="simulated", network="off"), FixedClock(NOW))


def test_a_side_is_kept_until_its_exit_and_reverses_at_once():
    yes = lambda text: np.array([c == "1" for c in text])  # noqa: E731
    side = held_side(yes("0100001"), yes("0001000"), yes("0000100"), yes("0000001"))
    assert side.tolist() == [0, 1, 1, 0, -1, -1, 1]


def test_unknown_scores_keep_what_there_is_and_enter_nothing():
    score = np.array([np.nan, 0.7, np.nan, np.nan, 0.4, np.nan])

    class Given:
        def of(self, letter):
            return score

    rule = strategy("trend")
    assert rule.side(made(6), Given(), rule.values(), False).tolist() == [0, 1, 1, 1, 0, 0]
    assert rule.side(made(6), Given(), rule.values(), True).tolist() == [0, 1, 1, 1, -1, -1]


@pytest.mark.parametrize("rule", STRATEGIES, ids=lambda s: s.name)
def test_every_strategy_explains_itself_and_guards_its_numbers(rule):
    assert rule.rule.endswith(".") and rule.horizon in ("scalping", "intraday", "swing")
    assert set(rule.values()) == {p.name for p in (*rule.parameters, *COMMON)}
    with pytest.raises(InputError, match="did you mean stop_atr"):
        rule.values({"stop_art": 1.0})
    with pytest.raises(InputError, match=r"expected 0\.2 to 20"):
        rule.values({"stop_atr": float("nan")})


@pytest.mark.parametrize("rule", LIGHT, ids=lambda s: s.name)
@pytest.mark.parametrize("market", list(Market))
def test_a_table_has_one_row_a_bar_and_shorts_only_on_perpetuals(sextant, rule, market):
    candles, inputs = sextant.rule_inputs(SeriesKey("ETHUSDT", Interval.H1, market), rule.reads, 700)
    table = signals_of(Choice(rule.name), "ETHUSDT", market, candles, inputs)
    assert len(table.action) == len(candles) == 700 and len(table.entries) > 3
    assert ((table.action == Action.ENTER_SHORT).any()) == (market is Market.PERP)
    assert np.nanmin(table.stop) > 0 and np.allclose(table.target, 1.5 * table.stop, equal_nan=True)


@pytest.mark.parametrize("rule", LIGHT, ids=lambda s: s.name)
def test_a_decision_does_not_know_what_came_after(sextant, rule):
    candles, inputs = sextant.rule_inputs(KEY, rule.reads, 600)
    whole = signals_of(Choice(rule.name), "ETHUSDT", Market.SPOT, candles, inputs)
    for back in (1, 50, 211):
        at = int(candles.close_time[-1 - back]) + 1
        then, seen = sextant.rule_inputs(KEY, rule.reads, 600 - back, at_ms=at)
        table = signals_of(Choice(rule.name), "ETHUSDT", Market.SPOT, then, seen)
        assert np.array_equal(table.action[-200:], whole.action[: len(whole.action) - back][-200:])


def test_counts_are_whole_numbers():
    with pytest.raises(InputError, match=r"ema_cross fast: expected a whole number, got 12\.5"):
        strategy("ema_cross").values({"fast": 12.5})


def test_vetoes_follow_the_composites(sextant):
    _, inputs = sextant.rule_inputs(KEY, ("*",), 30)
    risk = inputs.composite(by_name("risk_exposure")).score
    assert np.array_equal(vetoes(inputs), (risk >= 0.8) | (inputs.composite(by_name("anomaly_alert")).score >= 0.6))


def test_a_longer_strategy_decides_on_the_short_bar_that_closes_with_its_own():
    hours = made(24 * 40)
    days = aggregate(hours, Interval.D1)
    table = signals_of(Choice("ema_cross", {"fast": 2, "slow": 3}), "XYZUSDT", Market.SPOT, days, None)
    spread = on_grid(table, days, hours)
    moved = np.flatnonzero(spread.action)
    assert len(moved) == np.count_nonzero(table.action) and all(hours.close_time[i] % (24 * HOUR_MS) == 24 * HOUR_MS - 1 for i in moved)
    assert np.array_equal(spread.action[moved], table.action[table.action != 0])


def test_words():
    assert [words_of(a) for a in (1, -1, 3, 0)] == ["BUY", "SELL", "SELL", "HOLD"]
    with pytest.raises(InputError, match="did you mean trend"):
        strategy("trnd")


# -- the card ---------------------------------------------------------------------------------------------------------


def entry_moment(sextant, name):
    """A past moment at which the rule enters."""
    rule = strategy(name)
    candles, inputs = sextant.rule_inputs(KEY, rule.reads, 700)
    table = signals_of(Choice(name), "ETHUSDT", Market.SPOT, candles, inputs)
    return int(candles.close_time[table.entries[-2]]) + 1


def test_a_buy_card_has_prices_on_the_tick_a_size_and_its_reasons(sextant):
    at = entry_moment(sextant, "trend")
    card = sextant.signal(KEY, Choice("trend"), at_ms=at)
    assert card.signal == "BUY" and card.as_of_ms == at - 1
    assert card.stop_loss < card.entry < card.take_profit and card.risk_reward == pytest.approx(1.5, rel=0.01)
    assert all(round(p * 100, 6) == round(p * 100) for p in (card.entry, card.stop_loss, card.take_profit))
    assert 0 < card.notional <= 0.2 * 10_000 * 1.001 and 0 < card.risk_share <= 0.0101
    assert len(card.reasons) >= 3 and all(v["words"] for v in card.verdicts)
    assert card.confidence is None and "calibrated" in card.confidence_reason
    assert card.document()["as_of"].endswith("Z")


def test_between_decisions_the_card_holds_and_says_what_the_rule_holds(sextant):
    at = entry_moment(sextant, "ema_cross") + HOUR_MS
    card = sextant.signal(KEY, Choice("ema_cross"), at_ms=at)
    assert card.signal in ("HOLD", "SELL") and (card.state.startswith("long since") or card.signal == "SELL")
    assert card.size is None and card.stop_loss is None


def test_a_limit_that_refuses_turns_the_card_to_hold_with_its_words(sextant):
    from core.backtest.plan import Config
    from core.risk.limits import RiskLimits
    from core.signals import signal_card

    at = entry_moment(sextant, "ema_cross")
    card = signal_card(sextant, KEY, Choice("ema_cross"), at_ms=at, config=Config(limits=RiskLimits.all_on()))
    refused = [v for v in card.verdicts if not v["ok"]]
    assert card.signal == "HOLD" and refused and card.reasons[0] == f"no entry: {refused[0]['words']}" and card.size is None


def test_a_decision_for_an_account_worth_nothing_is_refused_and_a_fraction_needs_no_stop(sextant):
    from core.backtest.plan import Config
    from core.decisions import decide, empty_book
    from core.risk.limits import RiskLimits
    from core.risk.sizing import Sizing

    candles, _ = sextant.rule_inputs(KEY, (), 1_000, at_ms=entry_moment(sextant, "ema_cross"))
    table = signals_of(Choice("ema_cross"), KEY.symbol, Market.SPOT, candles, None)
    config = Config(limits=RiskLimits.none())
    book = dataclasses.replace(empty_book(config, candles), equity=0.0)
    assert "worth nothing" in decide(table, candles, config, book).refused.words
    bare = dataclasses.replace(table, stop=None, target=None)
    assert decide(bare, candles, config).quantity is None
    whole = decide(bare, candles, dataclasses.replace(config, sizing=Sizing.FRACTION, size=0.5))
    assert whole.quantity * whole.entry == pytest.approx(5_000 / 1.001, rel=1e-3) and whole.risk_share is None
