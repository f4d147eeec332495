"""Portfolios over a store: what is read and when, the command, views of the lab, risk, and plans that the paper account carries out."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from analysis.allocation.methods import METHODS
from analysis.allocation.wishes import Wishes
from core.faces.cli import main
from core.paper.window import Terms
from core.portfolio import Asked, table_of
from core.portfolio_account import terms_for
from core.portfolio_plan import Order, _affordable
from core.portfolio_risk import risk_of
from core.portfolio_views import lab_views
from core.score_lab import LabResult, keep
from core.settings import Settings
from core.wiring import build
from data.clock import FixedClock, iso, parse_time
from data.errors import InputError, NoData
from data.market import DAY_MS, Interval, Market
from tests.paper_worlds import MovingClock, PaperWorld

NOW = parse_time("2026-09-01T08:30:00Z")
SIX = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "XRPUSDT", "ADAUSDT")


@pytest.fixture(scope="module")
def sextant(tmp_path_factory):
    return build(Settings(home=tmp_path_factory.mktemp("portfolio"), world="simulated", network="off"), FixedClock(NOW))


# -- what is read -----------------------------------------------------------------------------------------------------


def test_the_table_holds_the_returns_of_the_stored_closes(sextant):
    table = table_of(sextant, SIX[:2], Interval.D1, Market.SPOT, at_ms=None, rows=30)
    assert table.returns.shape == (30, 2) and table.as_of_ms == NOW // DAY_MS * DAY_MS - 1
    closes = sextant.candles(sextant.key("ETHUSDT", "1d"), end_ms=NOW // DAY_MS * DAY_MS, bars=31).close
    assert np.allclose(table.returns[:, 1], closes[1:] / closes[:-1] - 1)
    assert table.open_time[-1] == table.as_of_ms + 1 - DAY_MS and (np.diff(table.open_time) == DAY_MS).all()


def test_days_are_summed_from_hours_where_only_they_go_on(tmp_path):
    from data.frames import aggregate

    home = Settings(home=tmp_path, world="real", network="off")
    made = build(home, FixedClock(NOW))
    simulated = build(Settings(home=tmp_path / "other", world="simulated", network="off"), FixedClock(NOW))
    hours = simulated.candles(simulated.key("BTCUSDT", "1h"), bars=24 * 80)
    days = aggregate(hours, Interval.D1)
    for name, candles in (("1h", hours), ("1d", days.take(slice(0, 60)))):
        path = tmp_path / f"BTCUSDT-{name}.csv"
        rows = zip(candles.open_time, candles.open, candles.high, candles.low, candles.close, candles.volume, strict=True)
        path.write_text("time,open,high,low,close,volume\n" + "\n".join(f"{iso(int(t))},{o!r},{h!r},{lo!r},{c!r},{v!r}" for t, o, h, lo, c,
                                                                        v
                                                                       in (map(float, r) for r in rows)))
        made.import_files([path], symbol="BTCUSDT", interval=name, market="spot")
    table = table_of(made, ("BTCUSDT",), Interval.D1, Market.SPOT, at_ms=None, rows=None)
    assert np.allclose(table.returns[:, 0], days.close[1:] / days.close[:-1] - 1, rtol=1e-9) and len(table.returns) == len(days) - 1


def test_a_moment_knows_only_what_had_closed(sextant):
    at = NOW - 20 * DAY_MS
    then = sextant.allocation(Asked(SIX, "min-variance", at_ms=at), bands=False)
    early = build(Settings(home=sextant.settings.home / "early", world="simulated", network="off"), FixedClock(at))
    assert np.allclose(early.allocation(Asked(SIX, "min-variance"), bands=False).portfolio.weights, then.portfolio.weights, atol=1e-12)
    assert then.as_of_ms < at and then.as_of_ms == at // DAY_MS * DAY_MS - 1


@pytest.mark.parametrize("method", [m.name for m in METHODS])
def test_every_method_answers_with_weights_that_sum_to_one(sextant, method):
    found = sextant.allocation(Asked(SIX, method), bands=False)
    assert sum(found.weights.values()) == pytest.approx(1.0, abs=1e-9) and set(found.weights) == set(SIX)
    assert found.portfolio.cash == pytest.approx(0.0, abs=1e-9) and np.nansum(found.portfolio.risk) == pytest.approx(1.0)
    assert json.loads(json.dumps(found.document(), allow_nan=False))["method"] == method


def test_bad_questions_are_refused_in_words(sextant):
    for asked, words in (({"symbols": ()}, "at least one symbol"), ({"symbols": SIX, "method": "hpr"}, "did you mean hrp"),
                         ({"symbols": SIX, "days": 59}, "days: expected 60 to"),
                         ({"symbols": SIX, "days": 100, "interval": Interval.W1}, "days: expected 420")):
        with pytest.raises(InputError, match=words):
            Asked(**asked)
    with pytest.raises(NoData, match="no data for NOSUCHUSDT"):
        sextant.allocation(Asked(("BTCUSDT", "NOSUCHUSDT")))
    with pytest.raises(NoData, match="nothing of BTCUSDT is stored before"):
        sextant.allocation(Asked(("BTCUSDT",), at_ms=parse_time("2010-01-01")))


# -- the command ------------------------------------------------------------------------------------------------------


def printed(capsys, home, monkeypatch, *arguments):
    monkeypatch.setenv("SEXTANT_HOME", str(home))
    monkeypatch.setenv("SEXTANT_NETWORK", "off")
    code = main([*arguments, "--json"])
    said = capsys.readouterr()
    return code, json.loads(said.out) if code == 0 else said.err


def test_the_command_prints_the_allocation_with_module_i(tmp_path, monkeypatch, capsys):
    code, found = printed(capsys, tmp_path, monkeypatch, "allocate", "BTCUSDT", "ethusdt", "SOLUSDT", "--method", "risk_parity", "--cap",
                          "0.4",
                          "--cash", "0.1", "--at", "2026-06-30", "--risk")
    assert code == 0 and found["as_of"] == "2026-06-29T23:59:59.999Z" and sum(found["weights"].values()) == pytest.approx(0.9)
    assert max(found["weights"].values()) <= 0.4 + 1e-9 and found["module"]["letter"] == "I"
    assert set(found["bands"]) == set(found["weights"])
    assert all(low <= high for low, high in found["bands"].values()) and found["risk"]["tails"][0]["var_99"] > 0
    assert set(found["methods"]) == {m.name for m in METHODS} and found["asked"]["cap"] == 0.4
    code, alone = printed(capsys, tmp_path, monkeypatch, "al", "BTCUSDT", "--interval", "4h", "--days", "60")
    assert code == 0 and alone["weights"] == {"BTCUSDT": 1.0} and alone["module"]["interval"] == "4h"
    code, words = printed(capsys, tmp_path, monkeypatch, "allocate", "BTCUSDT", "--method", "best")
    assert code == 2 and "method: expected hrp, risk-parity" in words


def test_six_real_symbols_by_every_method_equal_riskfolio(recordings, tmp_path):
    """The known day of the documents: 180 days up to 2024-06-30."""
    import warnings

    import pandas as pd

    made = build(Settings(home=tmp_path, world="real", network="off"), FixedClock(NOW))
    made.import_files(sorted((recordings / "klines_1d_full").glob("*.zip")), market="spot")
    at = parse_time("2024-06-30")
    x = table_of(made, SIX, Interval.D1, Market.SPOT, at_ms=at, rows=180)
    assert iso(x.as_of_ms)[:10] == "2024-06-29" and np.isfinite(x.returns).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import riskfolio as rp

        port = rp.Portfolio(returns=pd.DataFrame(100 * x.returns))
        port.assets_stats(method_mu="hist", method_cov="ledoit")
        theirs = {"risk-parity": port.rp_optimization(model="Classic", rm="MV", rf=0, hist=True),
                  "min-variance": port.optimization(model="Classic", rm="MV", obj="MinRisk", rf=0, l=0, hist=True),
                  "max-sharpe": port.optimization(model="Classic", rm="MV", obj="Sharpe", rf=0, l=0, hist=True),
                  "hrp": rp.HCPortfolio(returns=pd.DataFrame(100 * x.returns)).optimization(
                      model="HRP", codependence="pearson", method_cov="ledoit", rm="MV", linkage="single", leaf_order=False)}
    for m in METHODS:
        found = made.allocation(Asked(SIX, m.name, at_ms=at), bands=False)
        assert sum(found.weights.values()) == pytest.approx(1.0, abs=1e-9) and found.provenance == "IMPORTED"
        if m.name in theirs:
            assert np.allclose(found.portfolio.weights, theirs[m.name].weights.to_numpy(), atol=1e-5), m.name
    risk = made.portfolio_risk(Asked(SIX, at_ms=at))
    known = {c["name"]: c["loss"] for c in risk.crashes}
    assert known["Covid, 12 March 2020"] < -0.35 and known["Yen carry trades, 5 August 2024"] is None  # it lies ahead
    assert next(c for c in risk.crashes if c["from"] == "2020-03-12")["estimated"] == ["SOLUSDT"]  # not listed then


# -- views ------------------------------------------------------------------------------------------------------------


def stored_verdict(sextant, *, verdict="supported", as_of=NOW - DAY_MS, ic=0.2):
    card = {"score": "A", "symbol": "BTCUSDT", "target": "forward return", "horizon_bars": 24, "sign": 1, "verdict": verdict,
            "found": {"ic": ic}}
    head = {"made_at": iso(as_of), "as_of": iso(as_of), "interval": "1h", "market": "spot", "world": "simulated"}
    keep(sextant.settings.home, LabResult(head | {"report": {"cards": [card]}}))


def test_only_a_supported_score_becomes_a_view_and_none_from_the_future(sextant):
    def views():
        return lab_views(sextant, SIX, Market.SPOT, Interval.D1, NOW)

    assert "has no result here yet" in views().words()
    stored_verdict(sextant, verdict="weak")
    assert not views().views and "no score of these symbols is supported" in views().words()
    plain = sextant.allocation(Asked(SIX, "black-litterman"), bands=False)
    assert "no supported view" in plain.document()["views"] and plain.document()["views_used"] == {}
    stored_verdict(sextant, as_of=NOW - DAY_MS + 1000)
    found = views()
    assert list(found.views) == ["BTCUSDT"] and found.scores == {"BTCUSDT": "A"} and found.views["BTCUSDT"].ic == pytest.approx(0.2)
    line = sextant.timeline("A", sextant.key("BTCUSDT", "1h"), 500).score
    z = (line[-1] - np.nanmean(line)) / np.nanstd(line)
    assert found.views["BTCUSDT"].z == pytest.approx(z, rel=1e-6)
    moved = sextant.allocation(Asked(SIX, "black-litterman"), bands=False)
    assert np.sign(moved.weights["BTCUSDT"] - plain.weights["BTCUSDT"]) == np.sign(z) and "BTCUSDT by A" in moved.views.words()
    early = lab_views(sextant, SIX, Market.SPOT, Interval.D1, NOW - 3 * DAY_MS)
    assert not early.views and "has seen days after" in early.words()
    shutil.rmtree(sextant.settings.home / "lab")


# -- risk and record --------------------------------------------------------------------------------------------------


def test_risk_has_every_estimate_its_tests_and_the_shock_that_was_chosen(sextant):
    risk = sextant.portfolio_risk(Asked(SIX), market_shock=-0.3, shocks={"SOLUSDT": -0.6})
    titles = {t["name"]: t for t in risk.tails}
    assert set(titles) == {"stated", "historical", "gaussian", "cornish_fisher", "filtered_historical", "extreme_value"}
    assert titles["stated"]["var_99"] >= titles["historical"]["var_99"] and titles["historical"]["es_99"] >= titles["historical"]["var_99"]
    assert [t["title"] for t in risk.tests][:2] == ["The stated VaR", "Historical, 250 days"]
    weights, betas = sextant.allocation(Asked(SIX)).weights, risk.betas
    expected = sum(w * (-0.6 if n == "SOLUSDT" else -0.3 * betas[n]["down"]) for n, w in weights.items())
    assert risk.shock["loss"] == pytest.approx(expected) and betas["BTCUSDT"]["down"] == pytest.approx(1.0)
    assert len(risk.crashes) == 6 and all(c["loss"] is not None or c["why"] for c in risk.crashes)
    small, large = risk.exits["10000"], risk.exits["1000000"]
    assert 0.0012 < small < large < 0.2 and (large - 0.0012) == pytest.approx(10 * (small - 0.0012))  # the square root of a hundred
    json.dumps(risk.document(), allow_nan=False)
    assert sextant.portfolio_risk(Asked(("SOLUSDT", "ADAUSDT"))).reference == "BTCUSDT"  # it is stored, though nobody holds it
    assert "risk of a day" in risk.text()


def test_the_record_begins_where_it_is_asked_to(sextant):
    whole = sextant.allocation_record(Asked(SIX))
    since = sextant.allocation_record(Asked(SIX), start_ms=NOW // DAY_MS * DAY_MS - 90 * DAY_MS)
    assert since.days == 90 and since.rebalancings == 3 and whole.days > since.days
    assert {r["method"] for r in since.rows} == {m.name for m in METHODS} and since.words.endswith("comparisons).")


# -- the plan ---------------------------------------------------------------------------------------------------------


def carried_out(world, found, *, band=0.02, rounds=3):
    """Send plans until none is left; returns how many were sent."""
    for n in range(rounds):
        plan = world.sextant.rebalancing(found, band=band)
        if not plan.orders:
            return n
        world.sextant.send_rebalancing(plan)
        world.hours(2)
    return rounds


@pytest.fixture
def world(tmp_path):
    return PaperWorld(tmp_path, rule="by_hand", symbols=SIX, sizing="fraction", size=1.0, position_cap=1.0, max_positions=6,
                      kill_switch=0.5)


def test_a_plan_is_carried_out_and_the_ledger_is_sound(world):
    world.hours(2)
    first = world.sextant.allocation(Asked(SIX, "risk-parity", wishes=Wishes(cash=0.05)), bands=False)
    assert carried_out(world, first) == 1
    held = world.sextant.held_weights()
    assert all(abs(held[n] - w) <= 0.02 for n, w in first.weights.items())
    second = world.sextant.allocation(Asked(SIX[:4], "min-variance"), bands=False)
    assert carried_out(world, second) <= 2
    held = world.sextant.held_weights()
    assert all(abs(held.get(n, 0.0) - second.weights.get(n, 0.0)) <= 0.02 for n in SIX) and set(held) <= set(SIX[:4])
    assert world.sextant.verify_ledger() == [] and world.sextant.paper_twin().differences == ()
    assert world.sextant.rebalancing(second).left and not world.sextant.rebalancing(second).orders


def test_a_plan_sent_twice_is_asked_once_and_waits_for_the_runner(world):
    world.hours(1)
    found = world.sextant.allocation(Asked(SIX, "equal"), bands=False)
    plan = world.sextant.rebalancing(found)
    assert plan.turnover == pytest.approx(1.0, abs=0.01) and plan.cost == pytest.approx(10_000 * 0.0012, rel=0.02)
    assert sum(o.notional + o.cost for o in plan.orders) <= 10_000  # what is bought is paid for, costs included
    assert world.sextant.send_rebalancing(plan) == world.sextant.send_rebalancing(plan)
    assert len(world.ledger.rows("controls")) == 6
    again = world.sextant.rebalancing(found)
    assert not again.orders and {why for *_, why in again.left} == {"an order of it waits for the runner already"}
    with pytest.raises(InputError, match="nothing to send"):
        world.sextant.send_rebalancing(again)


def test_the_band_keeps_small_moves_and_what_is_not_wanted_is_sold_whole(world):
    world.hours(1)
    carried_out(world, world.sextant.allocation(Asked(SIX, "equal", wishes=Wishes(cash=0.1)), bands=False))
    near = world.sextant.allocation(Asked(SIX[:5], "equal", wishes=Wishes(cash=0.2)), bands=False)
    plan = world.sextant.rebalancing(near, band=0.05)
    assert [(o.symbol, o.kind) for o in plan.orders] == [("ADAUSDT", "close")] and len(plan.left) == 5
    assert all("inside the band of 5.0%" in why for *_, why in plan.left)
    tight = world.sextant.rebalancing(near, band=0.0)
    assert {o.kind for o in tight.orders} == {"close", "place", "reduce"} or {o.kind for o in tight.orders} == {"close", "place"}
    with pytest.raises(InputError, match="band: expected"):
        world.sextant.rebalancing(near, band=-0.1)


def test_positions_of_another_rule_and_foreign_symbols_are_left_alone(tmp_path):
    world = PaperWorld(tmp_path, rule="ema_cross", symbols=("BTCUSDT", "ETHUSDT"), sizing="fraction", size=0.3, position_cap=0.4)
    world.hours(60)
    held = {p["symbol"]: p for p in world.sextant.paper_status()["positions"]}
    while not held:
        world.hours(10)
        held = {p["symbol"]: p for p in world.sextant.paper_status()["positions"]}
    plan = world.sextant.rebalancing(world.sextant.allocation(Asked(("BTCUSDT", "ETHUSDT", "SOLUSDT"), "equal"), bands=False))
    why = {symbol: words for symbol, *_, words in plan.left}
    assert all(why[s] == "held by ema_cross" for s in held) and why["SOLUSDT"] == "account 1 does not trade it"
    assert not {o.symbol for o in plan.orders} & set(held)


def test_without_an_account_with_the_wrong_sizing_or_killed_nothing_is_sent(tmp_path):
    clock = MovingClock(NOW)
    made = build(Settings(home=tmp_path, world="simulated", network="off"), clock)
    found = made.allocation(Asked(SIX, "equal"), bands=False)
    assert "no paper account is open" in made.rebalancing(found).problem and made.held_weights() == {}
    made.paper_open(Terms(SIX, "trend", {}, {"interval": "1h"}))
    plan = made.rebalancing(found)
    assert "sizes by what a stop would lose" in plan.problem and any("limit is 20% of equity" in w for w in made.rebalancing(
        made.allocation(Asked(SIX[:2], "equal"), bands=False)).notes)
    with pytest.raises(InputError, match="open an account for this portfolio"):
        made.send_rebalancing(plan)
    assert not made.paper_ledger.rows("controls")
    made.paper_open(terms_for(Asked(SIX), made.intervals("BTCUSDT")))
    assert made.rebalancing(found).problem == "" and len(made.rebalancing(found).orders) == 6
    held = made.allocation(Asked(SIX, "equal", wishes=Wishes(turnover=0.3)), bands=False)
    assert sum(held.weights.values()) == pytest.approx(0.3) and not held.portfolio.feasible


def test_an_asset_that_is_not_held_does_not_shorten_the_tail(sextant):
    """A coin listed seventy days ago with a weight of zero: the loss of what is held is known for as long as that is."""
    found = sextant.allocation(Asked(SIX[:2]))
    daily = found.daily.returns.copy()
    daily[:-70, 1] = np.nan
    portfolio = replace(found.portfolio, weights=np.array([1.0, 0.0]))
    short, whole = (risk_of(replace(found, portfolio=portfolio, daily=replace(found.daily, returns=x)))
                    for x in (daily, found.daily.returns))
    assert short.days == whole.days > 250 and short.tails == whole.tails and short.spans == whole.spans
    assert short.hedge == whole.hedge and short.formulas == whole.formulas


def test_the_risk_of_a_day_is_of_days_whatever_bars_the_weights_are_from(sextant):
    weekly = sextant.allocation(Asked(SIX[:2], interval=Interval.W1, days=800))
    assert weekly.portfolio.rows >= 60 and weekly.daily.interval is Interval.D1
    asked = Asked(SIX[:2])
    of_days = risk_of(replace(sextant.allocation(asked), portfolio=replace(sextant.allocation(asked).portfolio,
                                                                           weights=weekly.portfolio.weights)))
    assert risk_of(weekly).tails == of_days.tails
    only_weeks = risk_of(replace(weekly, daily=table_of(sextant, SIX[:2], Interval.W1, Market.SPOT, at_ms=None, rows=None)))
    assert only_weeks.tails == [] and "back-fill 1d candles" in only_weeks.notes[0]


def test_the_risk_of_a_limited_turnover_follows_what_is_held(tmp_path, monkeypatch):
    made = build(Settings(home=tmp_path, world="simulated", network="off"), FixedClock(NOW))
    asked = Asked(SIX[:2], wishes=Wishes(turnover=0.1))
    seen = []
    for held in ({}, {SIX[0]: 0.9}):
        monkeypatch.setattr(type(made), "held_weights", lambda self, held=held: held)
        seen.append(made.portfolio_risk(asked).tails[0]["var_99"])
    assert seen[1] > 3 * seen[0], "the risk of the weights before the purchase was shown again"


def test_a_purchase_that_cash_cuts_says_how_far_it_gets_and_one_it_does_not_pay_for_is_named(sextant):
    prices = [float(sextant.candles(sextant.key(s, "1h"), bars=1).close[-1]) for s in SIX[:2]]
    wanted = [Order(SIX[0], "place", 1, 8_000 / prices[0], prices[0], 0.1, 0.9, 8.0), Order(SIX[1], "place", 1, 12 / prices[1], prices[1],
                                                                                            0.0, 0.0012, 0.01)]
    left = []
    (kept,) = _affordable(wanted, [], 2_000.0, 10_000.0, sextant, Market.SPOT, 0.001, [], left)
    assert kept.target == pytest.approx(0.1 + kept.notional / 10_000) and 0.25 < kept.target < 0.3 and "10.0% to 29" in kept.words()
    assert [(s, now, target) for s, now, target, _ in left] == [(SIX[1], 0.0, 0.0012)] and "smallest order" in left[0][3]
