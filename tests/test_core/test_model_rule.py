"""Model-driven rules: honest forecasts only, a threshold that pays, the right to abstain, and one path for backtest and signal."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from core.backtest.asking import ask
from core.forecast_line import ForecastLine
from core.settings import Settings
from core.strategies import Choice, entry_thresholds, model_side, signals_of, stop_distance, strategy
from core.wiring import build
from data.clock import FixedClock, parse_time
from data.errors import NoData
from data.market import Interval, Market, SeriesKey
from models.train import TrainOptions
from tests.made_candles import made

NOW = parse_time("2026-11-20T08:30:00Z")
KEY = SeriesKey("ETHUSDT", Interval.H1)
BARS = 3_000


@pytest.fixture(scope="module")
def sextant(tmp_path_factory):
    """One quick logistic model on the shelf, trained on what was known two days ago."""
    home = tmp_path_factory.mktemp("model-rule")
    then = build(Settings(home=home, world="simulated", network="off"), FixedClock(NOW - 48 * 3_600_000))
    then.train(("ETHUSDT",), "1h", label="dir3_dyn", model="logistic", bars=BARS,
               options=TrainOptions(mode="quick", baselines=()))
    return build(Settings(home=home, world="simulated", network="off"), FixedClock(NOW))


def line_of(up, down, *, abstained=None, horizon=3, cost=0.002):
    neither = 1.0 - np.asarray(up) - np.asarray(down)
    return ForecastLine("slot/v1", "logistic", "dir3_dyn", horizon, cost, (-1, 0, 1), np.column_stack((down, neither, up)),
                        np.zeros(len(up), bool) if abstained is None else np.asarray(abstained), np.ones(len(up), bool), (), {}, {})


def test_the_threshold_is_where_stop_target_and_cost_break_even():
    candles = made(5)
    stop = 0.02 * candles.close
    values = strategy("model_dir3_dyn").values({"reward": 1.5})
    need = entry_thresholds(line_of([0.3] * 5, [0.3] * 5), candles, values, stop)
    assert need == pytest.approx(np.full(5, (0.02 + 0.002) / (0.02 + 0.03) + 0.02))
    preset = entry_thresholds(line_of([0.3] * 5, [0.3] * 5), candles, strategy("model_dir3_dyn").values({"threshold": 0.6}), stop)
    assert preset.tolist() == [0.6] * 5


def test_it_enters_where_it_pays_leaves_after_its_horizon_and_never_on_an_abstention():
    up, down = [0.2, 0.7, 0.3, 0.3, 0.3, 0.7, 0.7, 0.2, 0.2], [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.5, 0.7]
    candles, values = made(9), strategy("model_dir3_dyn").values({"threshold": 0.6})
    no_call = [False, False, False, False, False, True, False, False, False]
    side, edge = model_side(line_of(up, down, abstained=no_call), candles, values, np.full(9, 1.0), True)
    assert side.tolist() == [0, 1, 1, 1, 0, 0, 1, 0, -1]  # bar 4: the horizon; bar 5: no call; bar 7: a fall is likelier; bar 8: it pays
    assert edge[[1, 6, 8]] == pytest.approx([0.1, 0.1, 0.1]) and edge[0] == 0.0
    assert model_side(line_of(up, down), candles, values, np.full(9, 1.0), False)[0].min() == 0.0  # spot is never short


def test_unknown_probabilities_enter_nothing():
    unknown = np.full(6, np.nan)
    side, _ = model_side(line_of(unknown, unknown), made(6), strategy("model_dir3_dyn").values(), np.full(6, 1.0), True)
    assert not side.any()


def test_bars_it_has_learned_from_are_forecast_by_the_blocks_of_its_training(sextant):
    candles, _ = sextant.rule_inputs(KEY, (), 800)
    line = sextant.forecast(KEY, "dir3_dyn", candles)
    model = sextant.serving(KEY, "dir3_dyn").model
    learned = parse_time(model.config["learned_until"])
    assert np.array_equal(line.fresh, candles.close_time >= learned) and 40 < line.fresh.sum() < 60
    old = ~line.fresh & np.isfinite(line.probability).all(axis=1)
    assert old.sum() > 500 and np.allclose(line.probability[old].sum(axis=1), 1.0)
    assert np.array_equal(line.probability[old], model.past.at(0, candles.close_time[old]))
    blind = np.flatnonzero(~line.fresh & (candles.close_time > parse_time(model.config["end"])))
    assert len(blind) and np.isnan(line.probability[blind]).all()  # their outcome is inside the last labels it learned from


def test_a_forecast_does_not_know_what_came_after(sextant):
    candles, _ = sextant.rule_inputs(KEY, (), 400)
    whole = sextant.forecast(KEY, "dir3_dyn", candles)
    table = signals_of(Choice("model_dir3_dyn"), KEY.symbol, Market.SPOT, candles, None, whole)
    for back in (1, 17, 120):
        then, _ = sextant.rule_inputs(KEY, (), 400 - back, at_ms=int(candles.close_time[-1 - back]) + 1)
        line = sextant.forecast(KEY, "dir3_dyn", then)
        assert np.allclose(line.probability, whole.probability[: 400 - back], atol=1e-9, equal_nan=True)
        early = signals_of(Choice("model_dir3_dyn"), KEY.symbol, Market.SPOT, then, None, line)
        assert np.array_equal(early.action, table.action[: 400 - back])


def test_the_card_has_a_calibrated_confidence_its_record_and_its_reasons(sextant):
    card = sextant.signal(KEY, Choice("model_dir3_dyn"))
    said = card.forecast
    assert said is not None and sum(said.probability.values()) == pytest.approx(1.0)
    assert card.abstained == (card.confidence is None)
    if not card.abstained:
        assert card.confidence in said.probability.values() and "calibrated by" in card.confidence_reason
    n, share, low, high = said.record
    assert n >= 30 and low <= share <= high
    assert any("towards" in r for r in card.reasons) and said.drivers
    document = card.document()
    assert document["forecast"]["threshold"] == said.threshold and document["confidence"] == card.confidence


def test_a_series_without_a_model_says_how_to_get_one(sextant):
    with pytest.raises(NoData, match="python -m core train BTCUSDT --interval 1h --label dir3_dyn"):
        sextant.signal(SeriesKey("BTCUSDT", Interval.H1), Choice("model_dir3_dyn"))
    assert sextant.forecast_labels(KEY) == ("dir3_dyn",) and sextant.forecast_labels(dataclasses.replace(KEY, symbol="BTCUSDT")) == ()


def test_the_same_rule_runs_in_a_backtest(sextant):
    done = sextant.backtest(ask(["ETHUSDT"], {"interval": "1h", "bars": 1_500}, rule="model_dir3_dyn", parameters={"threshold": 0.33}),
                            quick=True)
    assert done.result.trades and any("blocks of its training" in n for n in done.notes)
    table, candles = done.plan.tables[0][0], sextant.rule_inputs(KEY, (), 1_500)[0]
    again = signals_of(Choice("model_dir3_dyn", {"threshold": 0.33}), "ETHUSDT", Market.SPOT, candles, None,
                       sextant.forecast(KEY, "dir3_dyn", candles))
    assert np.array_equal(table.action, again.action)
    held = strategy("model_dir3_dyn").values()
    assert np.isfinite(stop_distance(candles, held)[200:]).all()
