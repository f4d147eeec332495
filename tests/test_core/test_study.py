"""A study of a backtest: costs, luck, neighbours, other histories, the report's bytes, and the ledger behind a sweep."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from core.backtest import report, robustness, sweeping
from core.backtest.asking import ask, grid_of
from core.backtest.engine import run
from core.backtest.outside_signals import outside_signals
from core.backtest.plan import Config, build
from core.backtest.question import Question, common, cut
from core.backtest.signals import Action, Signals
from core.backtest.study import trade_returns, verdict
from core.backtest.sweeping import run_sweep
from core.risk.limits import RiskLimits
from core.risk.sizing import Sizing
from core.settings import Settings
from core.stored import keep_newest
from core.strategies import Choice
from core.wiring import build as wire
from data.clock import FixedClock, parse_time
from data.errors import InputError, NoData
from data.market import Costs, Interval, Market
from models.train import TrainOptions
from models.trials import TrialLedger
from tests.backtest_worlds import bars, path
from tests.made_candles import JAN_2024

NOW = parse_time("2026-11-20T08:30:00Z")
ROOT = Path(__file__).resolve().parents[2]
FREE = Config(costs=Costs.none(), sizing=Sizing.FRACTION, size=0.5, limits=RiskLimits.none(), rounding=False)


@pytest.fixture(scope="module")
def sextant(tmp_path_factory):
    return wire(Settings(home=tmp_path_factory.mktemp("study"), world="simulated", network="off"), FixedClock(NOW))


@pytest.fixture(scope="module")
def done(sextant):
    return sextant.backtest(ask(["BTCUSDT", "ETHUSDT"], {"bars": 2_400}, rule="ema_cross"), worlds=4)


def random_plan(seed: int, *, n: int = 1_500, side: np.ndarray | None = None, config: Config = FREE):
    rng = np.random.default_rng(seed)
    candles = path(rng, n, interval=Interval.H1)
    wanted = np.repeat(rng.integers(0, 2, n // 10 + 1), 10)[:n] if side is None else side
    return build(config, {"AAAUSDT": candles}, [Signals.from_side("AAAUSDT", wanted)])


# -- costs ------------------------------------------------------------------------------------------------------------


def test_equity_falls_from_rung_to_rung_where_the_trades_stay_the_same():
    for seed in range(12):
        rows = robustness.cost_ladder(random_plan(seed, config=Config(sizing=Sizing.FRACTION, size=0.2, limits=RiskLimits.none())))
        first = [r["total_return"] for r in rows[:4]]
        assert first[0] > first[1] > first[2] >= first[3] and not any(r["rose"] for r in rows), (seed, rows)


def test_the_ladder_by_hand_one_round_trip():
    """100 in, 110 out, half of equity, 10 bps a side, 2 bps slippage: rungs to 1e-12."""
    candles = bars([(100, 100, 100, 100), (100, 111, 99, 110), (110, 111, 109, 110), (110, 110, 110, 110)])
    config = Config(sizing=Sizing.FRACTION, size=0.5, limits=dataclasses.replace(RiskLimits.none(), position_cap=0.5), rounding=False)
    plan = build(config, {"AAAUSDT": candles}, [Signals("AAAUSDT", np.array([Action.ENTER_LONG, 0, Action.EXIT, 0]))])
    rows = robustness.cost_ladder(plan)
    assert rows[0]["total_return"] == pytest.approx(0.5 * 0.1, abs=1e-12)
    fee = 0.001
    quantity = 0.5 / (100 * (1 + fee))
    assert rows[1]["total_return"] == pytest.approx(quantity * (110 * (1 - fee) - 100 * (1 + fee)), abs=1e-12)
    paid, got = 100 * 1.0002, 110 * 0.9998
    quantity = min(0.5 / (paid * (1 + fee)), 0.5 / paid)
    assert rows[2]["total_return"] == pytest.approx(quantity * (got * (1 - fee) - paid * (1 + fee)), abs=1e-9)


def test_one_bar_late_is_the_same_table_shifted():
    table = Signals("A", np.array([0, 1, 0, 3, 0]), stop=np.arange(5.0) + 1, veto=np.array([True, False, False, False, False]))
    moved = robustness.late(((table,),))[0][0]
    assert moved.action.tolist() == [0, 0, 1, 0, 3] and moved.stop[2] == 2.0 and moved.veto.tolist() == [False, True, False, False, False]


# -- luck -------------------------------------------------------------------------------------------------------------


def test_random_entries_know_nothing_and_an_oracle_knows_all():
    values = []
    for seed in range(20):
        plan = random_plan(seed, n=800)
        values.append(robustness.random_entries(plan, run(plan), runs=99, seed=seed).p)
    assert 0.25 < np.mean(values) < 0.75 and min(values) < 0.35 and max(values) > 0.65
    candles = path(np.random.default_rng(1), 800, interval=Interval.H1)
    ahead = np.concatenate((np.diff(np.log(candles.close)), [0.0])) > 0
    plan = build(FREE, {"AAAUSDT": candles}, [Signals.from_side("AAAUSDT", ahead.astype(float))])
    assert robustness.random_entries(plan, run(plan), runs=99).p == 0.01


def test_random_entries_are_not_computed_where_they_would_be_another_thing():
    candles = bars([(100, 101, 99, 100)] * 60)
    action = np.zeros(60, np.int8)
    action[[5, 20]], action[[10, 30]] = Action.ENTER_LONG, Action.EXIT
    sparse = np.where(action == Action.ENTER_LONG, 3.0, np.nan)

    def asked(tables, config=FREE):
        plan = build(config, {"AAAUSDT": candles}, tables)
        return robustness.random_entries(plan, run(plan), runs=20)

    several = asked([Signals("AAAUSDT", action, strategy="a"), Signals("AAAUSDT", np.zeros(60, np.int8), strategy="b")])
    assert several.runs == 0 and np.isnan(several.p) and "several rules share the account" in several.words
    assert "the stop is known at the entries alone" in asked([Signals("AAAUSDT", action, stop=sparse)]).words
    priced = asked([Signals("AAAUSDT", action, stop=np.where(sparse > 0, 97.0, np.nan))], dataclasses.replace(FREE, distances="price"))
    assert "prices of their own moment" in priced.words
    assert asked([Signals("AAAUSDT", action)]).runs == 20


def test_doubled_costs_stay_within_what_can_be_asked():
    dear = dataclasses.replace(FREE, costs=Costs(maker_bps=-1.0, taker_bps=700.0))
    fees = robustness.doubled_costs(random_plan(1, config=dear)).config.fees
    assert (fees.maker_bps, fees.taker_bps) == (-1.0, 1000.0)


def test_random_positions_keep_count_sides_and_lengths():
    rng = np.random.default_rng(3)
    side, length = np.array([1, -1, 1, 1]), np.array([3, 5, 2, 9])
    for _ in range(200):
        action = np.zeros(60, np.int8)
        robustness._place(action, side, length, rng)
        enter, leave = np.flatnonzero(np.abs(action) == 1), np.flatnonzero(action == Action.EXIT)
        assert sorted(leave - enter) == [2, 3, 5, 9] and sorted(action[enter]) == [-1, 1, 1, 1]


def test_trades_in_another_order_are_shares_of_the_equity_they_were_entered_with(done):
    result = done.result
    share = trade_returns(result)
    for one, t in zip(share.tolist(), result.trades, strict=True):
        entered_with = result.capital if t.entry_bar == 0 else float(result.equity[t.entry_bar - 1])
        assert one == pytest.approx(t.pnl / entered_with, rel=1e-12)
    grown = dataclasses.replace(result, equity=result.equity * 50.0)  # an account that has grown: the same money is a smaller share
    after = result.table.wholes[:, 5] > 0
    assert trade_returns(grown)[after] == pytest.approx(share[after] / 50.0)
    broke = dataclasses.replace(result, equity=result.equity * 0.0)
    assert np.isnan(trade_returns(broke)[after]).all()


def test_without_the_best_trades(done):
    pnl = np.sort(done.result.table.floats[:, 3])
    assert done.honesty["without_best_5"] == pytest.approx(pnl[:-5].sum() / 10_000.0)


def test_walk_forward_chooses_on_the_past_only():
    rng = np.random.default_rng(5)
    streams = rng.normal(0, 0.01, (500, 3))
    streams[:400, 1] += 0.004  # the best so far until it fails
    streams[400:, 1] -= 0.02
    found = robustness.walk_forward(streams, ["a", "b", "c"])
    assert found["chosen"] == ["b", "b", "b", "b"] and found["folds"] == 4
    assert found["total_return"] == pytest.approx(np.prod(1 + streams[100:, 1]) - 1)
    assert robustness.walk_forward(streams[:100], ["a", "b", "c"]) is None


def test_where_it_came_from_adds_up(done):
    total = done.result.equity[-1] / done.result.capital
    for rows, name in ((done.honesty["by_year"], "return"), (robustness.by_month(done.result), "return")):
        assert np.prod([1 + r[name] for r in rows]) == pytest.approx(total, rel=1e-12)
    profit = done.result.table.floats[:, 3].sum()
    ended = sum(not t.open for t in done.result.trades)
    for rows, trades in ((done.honesty["by_symbol"], ended), (done.honesty["by_regime"], ended),
                         (robustness.by_reason(done.result), len(done.result.table))):
        assert sum(r["pnl"] for r in rows) == pytest.approx(profit, abs=1e-6)
        assert sum(r["trades"] for r in rows) == trades


def test_a_sweep_of_a_model_rule_enters_where_each_set_pays(tmp_path):
    """What a forecast must reach follows from stop and target, so a set of other distances has other entries."""
    def at(ms):
        return wire(Settings(home=tmp_path, world="simulated", network="off"), FixedClock(ms))

    at(NOW - 48 * 3_600_000).train(("ETHUSDT",), "1h", label="dir3_dyn", model="logistic", bars=3_000,
                                   options=TrainOptions(mode="quick", baselines=()))
    question = ask(["ETHUSDT"], {"bars": 1_500}, rule="model_dir3_dyn")
    swept = run_sweep(at(NOW), question, grid_of(["stop_atr=2.5,6", "reward=1,3"]), TrialLedger(tmp_path / "t.sqlite", FixedClock(NOW)),
                      home=tmp_path)
    entries = set()
    for row in swept.rows:
        alone = at(NOW).backtest(dataclasses.replace(question, choice=Choice("model_dir3_dyn", row["parameters"])), quick=True, worlds=0)
        assert row["total_return"] == pytest.approx(alone.result.metrics["total_return"], abs=1e-9), row["parameters"]
        assert row["trades"] == sum(not t.open for t in alone.result.trades)
        entries.add(tuple(np.flatnonzero(np.abs(alone.plan.tables[0][0].action) == 1).tolist()))
    assert len(entries) > 1, "every set wants the same: this proves nothing"


def test_a_sweep_is_kept_for_the_rule_and_the_code_that_made_it(sextant, tmp_path, monkeypatch):
    """The base plan holds one set's decisions; the figures of the others hang on code it does not know of."""
    question = ask(["BTCUSDT"], {"bars": 600}, rule="ema_cross")
    ledger = TrialLedger(tmp_path / "t.sqlite", FixedClock(NOW))

    def files():
        run_sweep(sextant, question, grid_of(["fast=6,12"]), ledger, home=tmp_path)
        return {p.name for p in (tmp_path / "sweeps").glob("*.json")}

    first = files()
    assert len(first) == 1 and files() == first
    monkeypatch.setattr(sweeping, "code_version", lambda packages: "another")
    assert len(files()) == 2


def test_one_set_has_no_probability_of_overfitting_in_words(sextant, tmp_path):
    ledger = TrialLedger(tmp_path / "t.sqlite", FixedClock(NOW))
    found = run_sweep(sextant, ask(["BTCUSDT"], {"bars": 1_500}, rule="ema_cross"), grid_of(["fast=6"]), ledger, home=tmp_path)
    assert "nan" not in found.text() and "one set was not chosen from others" in found.text()


def test_a_trade_is_one_that_ended_wherever_trades_are_counted(tmp_path):
    """A report counted the position still open at the end, a sweep's row did not, and the win rates were of different trades."""
    sextant = wire(Settings(home=tmp_path, world="simulated", network="off"), FixedClock(NOW))
    question = ask(["SOLUSDT"], {"bars": 900}, rule="ema_cross")
    swept = run_sweep(sextant, question, grid_of(["fast=6,12"]), TrialLedger(tmp_path / "t.sqlite", FixedClock(NOW)), home=tmp_path)
    seen = 0
    for row in swept.rows:
        alone = sextant.backtest(dataclasses.replace(question, choice=Choice("ema_cross", row["parameters"])), quick=True, worlds=0)
        document, ended = alone.document(), [t for t in alone.result.trades if not t.open]
        assert row["trades"] == document["trades"] == len(ended) and document["open_trades"] == len(alone.result.trades) - len(ended)
        (symbol,) = document["honesty"]["by_symbol"]
        assert symbol["trades"] == len(ended) and symbol["win_rate"] == pytest.approx(document["metrics"]["win_rate"])
        assert sum(r["trades"] for r in document["honesty"]["by_regime"]) == len(ended)
        seen += document["open_trades"]
        assert f"{len(ended):>12}" in next(line for line in report.text(alone).splitlines() if line.strip().startswith("Trades"))
    assert seen, "no set ends with an open position: this proves nothing"


@pytest.mark.parametrize(("quick", "worlds"), [(True, 0), (False, 0), (False, 3)])
def test_progress_is_told_to_its_end_and_no_further(sextant, quick, worlds):
    """What the bar was told adds up: each step once, the last one at the total."""
    told = []
    sextant.backtest(ask(["BTCUSDT"], {"bars": 300}, rule="ema_cross"), quick=quick, worlds=worlds,
                     progress=lambda at, total, words: told.append((at, total)))
    assert [at for at, _ in told] == list(range(1, len(told) + 1)) and {total for _, total in told} == {len(told)}


def test_the_panel_says_how_the_rule_stood_in_the_look_ahead_check(sextant, done, tmp_path):
    from core.backtest.study import lookahead_words
    from core.badge import keep
    from core.futures import Finding
    from core.lookahead import LookaheadReport

    assert "unchecked: Not checked on this computer yet" in done.honesty["lookahead"]
    keep(tmp_path, LookaheadReport((Finding("ema_cross", "strategy", "", 9, 9, True),), (), 20, 1), 1_700_000_000_000)
    words = lookahead_words(tmp_path, done.question)
    assert "passed: Nothing from the future: passed 20 cuts and 1 poisoned futures on 2023-11-14" in words


def test_the_panel_is_complete_and_plain(done):
    document = json.loads(json.dumps(done.document(), allow_nan=False))
    h = document["honesty"]
    assert h["trials"] == 1 and h["null_worlds"]["worlds"] == 4 and h["pbo"]["trials"] == len(h["neighbourhood"]) + 1
    assert h["cost_ladder"][0]["rung"] == "frictionless" and h["verdict"]["word"] in ("too short", "loses", "luck", "fragile",
                                                                                                  "holds up")
    assert len(document["curve"]["equity"]) == len(document["curve"]["day"]) == len(document["curve"]["buy_and_hold"])


@pytest.mark.parametrize(("equity", "changes", "word"), [
    (0.9, {}, "loses"), (1.2, {"dsr": 0.5}, "luck"), (1.2, {"random_entries": {"p": 0.3, "runs": 500}}, "luck"),
    (1.2, {"costs_doubled": -0.1}, "fragile"), (1.2, {"without_best_5": -0.1}, "fragile"), (1.2, {"neighbours_profitable": 0.2}, "fragile"),
    (1.2, {}, "holds up")])
def test_the_verdict_says_the_first_that_applies(equity, changes, word):
    class Given:
        too_short, capital = "", 1.0

    Given.equity = np.array([equity])
    base = {"psr": 0.99, "dsr": 0.99, "trials": 3, "random_entries": {"p": 0.01, "runs": 500}, "neighbours_profitable": 0.9,
            "without_best_5": 0.1, "costs_doubled": 0.1, "one_bar_late": 0.1}
    found = verdict(Given(), base | changes)
    assert found["word"] == word and found["reasons"]


# -- signals from outside, and other bad input ------------------------------------------------------------------------


HOURS = [f"2024-01-01T{h:02d}:00:00Z" for h in range(10)]


def outside(text: str, symbols=("AAAUSDT",)):
    candles = {s: bars([(100, 101, 99, 100)] * 10) for s in symbols}
    question = Question(tuple(symbols), Interval.H1, Market.SPOT, None, Config(), rows=text, bars=50)
    return outside_signals(question, candles)


def test_signals_from_a_file_with_levels_and_symbols():
    text = f"time,action,symbol,stop\n{HOURS[1]},enter_long,BBBUSDT,2.5\n{JAN_2024 + 3 * 3_600_000},EXIT,AAAUSDT,\n"
    a, b = outside("\ufeff" + text, ("AAAUSDT", "BBBUSDT"))
    assert b.action[1] == Action.ENTER_LONG and b.stop[1] == 2.5 and a.action[3] == Action.EXIT and np.isnan(a.stop[3])


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_may_end_as_any_system_ends_them(end):
    assert outside(end.join(["time,action", f"{HOURS[1]},enter_long", f"{HOURS[3]},exit", ""]))[0].action[[1, 3]].tolist() == [1, 3]


def test_signals_with_prices_and_a_trailing_stop_that_is_moved():
    """Stops as prices at the entries; the target that has no column is 1.5 times as far from the close (100): 104.5, for a short 97."""
    text = (f"time,action,stop_price,trail\n{HOURS[1]},enter_long,97,\n{HOURS[3]},hold,,2.5\n{HOURS[5]},exit,,\n{HOURS[6]},enter_short,"
            "102,\n")
    question = Question(("AAAUSDT",), Interval.H1, Market.PERP, None, Config(market="perp"), rows=text, bars=50)
    assert question.config.distances == "price"
    table = outside_signals(question, {"AAAUSDT": bars([(100, 101, 99, 100)] * 10)})[0]
    assert table.stop[1] == 97.0 and table.target[1] == 104.5 and table.target[6] == 97.0 and np.isnan(table.stop[3])
    assert table.action.tolist() == [0, 1, 0, 0, 0, 3, -1, 0, 0, 0] and table.trail[3] == 2.5 and np.isnan(table.trail[1])


@pytest.mark.parametrize(("text", "words"), [
    ("when,action\n", "line 1: expected columns time, action"), ("time,action\n", "line 2: expected at least one signal"),
    (f"time,action\n{HOURS[1]},buy\n", "line 2: expected action"),
    (f"time,action\n{HOURS[2]},enter_long\n{HOURS[1]},exit\n", "line 3: time 2024-01-01T01:00:00Z is earlier"),
    (f"time,action\n{HOURS[2]},enter_long\n{HOURS[2]},exit\n", "line 3: time 2024-01-01T02:00:00Z appears twice"),
    (f"time,action,stop_price\n{HOURS[1]},enter_long,100.5\n", "line 2: stop_price 100.5 is on the wrong side of a long entry decided at "
                                                                "100; expected a price below it"),
    (f"time,action,target_price\n{HOURS[1]},enter_short,101\n", "line 2: target_price 101 is on the wrong side of a short entry"),
    (f"time,action,stop_price\n{HOURS[1]},enter_long,0\n", "line 2: stop_price '0': expected a price above zero"),
    (f"time,action,stop_price,target\n{HOURS[1]},enter_long,99,3\n", "line 1: column target is a distance, stop_price a price"),
    ("time,action\n2031-01-01T00:00:00Z,enter_long\n", "line 2: time 2031-01-01T00:00:00Z lies outside"),
    ("time,action\n2024-01-01T00:30:00Z,enter_long\n", "line 2: time 2024-01-01T00:30:00Z is not the open_time of a 1h bar"),
    ("time,action\nyesterday,enter_long\n", "line 2: time 'yesterday'"),
    (f"time,action,stop\n{HOURS[1]},enter_long,-3\n", "line 2: stop '-3': expected a distance above zero"),
    ("time,action\n²,enter_long\n", "line 2: time '²': expected a time such as"),
    (f"time,action\n{'9' * 30},enter_long\n", "line 2: time '9999"), (f"time,action\n{'9' * 18},exit\n", "line 2: time '9999"),
    ("time,action\n-9223372036854775809,exit\n", "line 2: time '-922"),
    (f"time,action\n{'x' * 200_000},exit\n", "line 2: cannot be read as CSV (field larger"),
    (f"time,{'x' * 200_000}\n", "line 1: cannot be read as CSV (field larger"),
    (f"time,action,symbol\n{HOURS[1]},enter_long,XYZUSDT\n", "line 2: symbol 'XYZUSDT' is not traded here")])
def test_a_bad_file_is_refused_by_line(text, words):
    with pytest.raises(InputError) as caught:
        outside(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(("chosen", "words"), [
    ({"taker_bps": -1}, "costs.taker_bps: expected 0 to 1000"), ({"capital": 0}, "capital: expected a sum above zero"),
    ({"sizing": "all"}, "sizing: expected risk, fraction, units, got 'all'"), ({"interval": "7h"}, "7h"),
    ({"stop_atr": -1}, "stop_atr: expected 0.2 to 20"), ({"start": "2026-02-01", "end": "2026-01-01"}, "ends before it starts"),
    ({"taker": 1}, "there is no option 'taker'"), ({"bars": 3}, "bars: expected 50"), ({"leverage": 500}, "leverage: expected 1 to 125")])
def test_a_bad_question_is_refused_by_field(chosen, words):
    with pytest.raises(InputError) as caught:
        ask(["BTCUSDT"], chosen, rule="trend")
    assert words in str(caught.value)


def test_a_window_of_too_many_bars_is_refused_not_cut(sextant, monkeypatch):
    monkeypatch.setattr("core.backtest.question.MOST_BARS", 60)
    with pytest.raises(InputError, match=r"candles of 1h in the window; at most 60 are traded at once"):
        sextant.backtest(ask(["BTCUSDT"], {"start": "2026-11-01", "bars": 50}, rule="ema_cross"))


def test_symbols_without_common_bars_and_short_windows_are_refused(sextant):
    with pytest.raises(NoData, match="at least 50"):
        sextant.backtest(ask(["BTCUSDT"], {"start": "2026-11-20T00:00:00Z"}, rule="ema_cross"))
    early, late_ = bars([(1, 1, 1, 1)] * 60), bars([(1, 1, 1, 1)] * 60, start=JAN_2024 + 59 * 3_600_000)
    with pytest.raises(NoData, match="1 bars in common"):
        common({"A": early, "B": late_})


def test_what_was_decided_at_a_bar_that_is_cut_is_done_at_the_next():
    own = bars([(1, 1, 1, 1)] * 6)
    grid = own.take(np.array([0, 1, 3, 4, 5]))
    table = cut(Signals("A", np.array([0, 0, 3, 0, 1, 0]), stop=np.arange(6.0) + 1), own, grid)
    assert table.action.tolist() == [0, 0, 3, 1, 0] and table.stop.tolist() == [1, 2, 4, 5, 6]


def test_several_rules_trade_one_account(sextant):
    """A short and a long one: each keeps its own trades, the account is shared, and the long one decides at its own closes only."""
    alone = sextant.backtest(ask(["BTCUSDT"], {"bars": 1_200}, rule="ema_cross"), quick=True, worlds=0)
    both = sextant.backtest(ask(["BTCUSDT"], {"bars": 1_200}, rule="breakout,ema_cross@4h"), quick=True, worlds=0)
    names = {t.strategy for t in both.result.trades}
    assert names == {"breakout", "ema_cross@4h"} and both.result.engine == "reference"
    long_ones = [t for t in both.result.trades if t.strategy == "ema_cross@4h"]
    assert all(t.entry_time % (4 * 3_600_000) == 0 for t in long_ones) and alone.result.engine == "compiled"
    for bad, words in (("trend,ema_cross@15m", "or a multiple of it"), ("trend,trend", "appears twice"),
                       ("trend,nothing", "expected a strategy")):
        with pytest.raises(InputError, match=words):
            ask(["BTCUSDT"], {}, rule=bad)


# -- sweeps and the ledger --------------------------------------------------------------------------------------------


def test_a_sweep_is_its_backtests_one_by_one_and_resumes(sextant, tmp_path):
    question = ask(["BTCUSDT"], {"bars": 1_500}, rule="ema_cross")
    grid = grid_of(["fast=6,12", "stop_atr=2,4", "reward=1,2"])
    ledger = TrialLedger(tmp_path / "t.sqlite", FixedClock(NOW))
    whole = run_sweep(sextant, question, grid, ledger, home=tmp_path / "a")
    assert len(whole.rows) == 8 and ledger.count(question.study) == 8
    for row in whole.rows[::3]:
        alone = sextant.backtest(dataclasses.replace(question, choice=Choice("ema_cross", row["parameters"])), quick=True, worlds=0)
        assert row["total_return"] == pytest.approx(alone.result.metrics["total_return"], abs=1e-9), row["parameters"]
        assert row["trades"] == sum(not t.open for t in alone.result.trades)
    file = next((tmp_path / "a" / "sweeps").glob("*.json"))
    rows = json.loads(file.read_text())
    rows[3] = [None] * len(rows[3])
    file.write_text(json.dumps(rows))
    again = run_sweep(sextant, question, grid, ledger, home=tmp_path / "a")
    assert again.document == whole.document and ledger.count(question.study) == 8
    file.write_text("{damaged")
    assert run_sweep(sextant, question, grid, ledger, home=tmp_path / "a").document == whole.document


def test_a_study_judged_after_many_tries_is_deflated_by_all_of_them(sextant, tmp_path):
    question = ask(["ETHUSDT"], {"bars": 1_500}, rule="ema_cross")
    before = sextant.backtest(question, quick=True, worlds=0).honesty
    sextant.sweep(question, grid_of(["fast=4:16:2"]))
    after = sextant.backtest(question, quick=True, worlds=0).honesty
    assert before["trials"] == 1 and before["dsr"] == before["psr"]
    assert after["trials"] == 8 and after["expected_best"] > 0 and after["dsr"] < after["psr"]


@pytest.mark.parametrize(("grid", "words"), [
    (["enter"], "expected name=a,b,c"), (["enter=1:0:1"], "expected name=a,b,c"), (["nothing=1"], "has no parameter 'nothing'"),
    (["reward=0,1"], "expected values above zero"), (["fast=2:400:0.05"], "the grid has"), (["fast=1,5"], "expected 2 to 400")])
def test_a_bad_grid_is_refused(sextant, tmp_path, grid, words):
    with pytest.raises(InputError) as caught:
        sextant.sweep(ask(["BTCUSDT"], {}, rule="ema_cross"), grid_of(grid))
    assert words in str(caught.value)


# -- kept and repeated ------------------------------------------------------------------------------------------------


def test_runs_are_kept_and_found(sextant, done):
    assert any(row["run_id"] == done.result.run_id for row in sextant.backtests())
    assert sextant.stored_backtest(done.result.run_id)["metrics"] == json.loads(json.dumps(done.document()["metrics"]))
    assert sextant.backtest_file(done.result.run_id, "report.html").startswith(b"<!doctype html>")
    for bad in ("../../x", "0" * 16):
        with pytest.raises(InputError, match="no stored run"):
            sextant.stored_backtest(bad)


def test_a_quick_run_does_not_replace_the_full_report(sextant):
    question = ask(["SOLUSDT"], {"bars": 400}, rule="ema_cross")
    quick = sextant.backtest(question, quick=True, worlds=0)
    assert sextant.backtests()[0] | {"quick": True, "trials": 1} == sextant.backtests()[0] and "pbo" not in quick.honesty
    full = sextant.backtest(question, worlds=0)
    sextant.backtest(question, quick=True, worlds=0)
    assert full.result.run_id == quick.result.run_id and "pbo" in sextant.stored_backtest(quick.result.run_id)["honesty"]
    assert next(h for h in sextant.backtests() if h["run_id"] == quick.result.run_id)["quick"] is False


def test_damaged_runs_and_sweeps_are_named(tmp_path):
    there = wire(Settings(home=tmp_path, world="simulated", network="off"), FixedClock(NOW))
    done = there.backtest(ask(["BTCUSDT"], {"bars": 300}, rule="ema_cross"), quick=True, worlds=0)
    folder = tmp_path / "tried" / "simulated" / "runs" / done.result.run_id
    (folder / "head.json").unlink()  # as an older version left it
    assert there.backtests()[0]["run_id"] == done.result.run_id and (folder / "head.json").is_file()
    (folder / "head.json").write_text('{"run_id": "x"}')
    assert there.backtests() == []
    assert [(d.name, d.reason) for d in there.damaged_backtests()] == [(done.result.run_id, "question is missing")]
    (folder / "report.json").write_text("{half")
    with pytest.raises(InputError, match=r"is damaged \(report.json is not whole JSON\); run it again"):
        there.stored_backtest(done.result.run_id)
    swept = tmp_path / "tried" / "simulated" / "swept"
    swept.mkdir()
    (swept / "x.json").write_text("[1")
    assert there.sweeps() == []


def test_only_the_newest_are_kept(tmp_path):
    for k in range(5):
        (tmp_path / f"{k}.json").write_text("{}")
        os.utime(tmp_path / f"{k}.json", ns=(k, k))
    keep_newest(tmp_path.glob("*.json"), 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["3.json", "4.json"]


def test_the_report_is_the_same_bytes_anywhere(tmp_path):
    """Another folder, time zone, locale, hash seed and number of threads."""
    words = [sys.executable, "-m", "core", "backtest", "BTCUSDT", "ETHUSDT", "--strategy", "trend", "--bars", "900", "--end",
             "2026-06-01T00:00:00Z", "--worlds", "2", "--json", "--out"]
    found = []
    for n, (zone, language, threads) in enumerate((("UTC", "C.UTF-8", "1"), ("Asia/Kolkata", "de_DE.UTF-8", "2"))):
        out = tmp_path / f"out{n}"
        environment = os.environ | {"SEXTANT_HOME": str(tmp_path / f"home{n}"), "SEXTANT_WORLD": "simulated", "TZ": zone,
                                    "LC_ALL": language, "PYTHONHASHSEED": str(n + 1), "SEXTANT_THREADS": threads,
                                    "OMP_NUM_THREADS": threads}
        done = subprocess.run([*words, str(out)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["run_id"]
        found.append({p.name: p.read_bytes() for p in sorted(out.iterdir())})
    assert set(found[0]) == {"report.json", "report.md", "report.html", "trades.csv", "equity.csv", "run.json"}
    for name, content in found[0].items():
        assert content == found[1][name], name
