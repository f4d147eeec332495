"""Portfolios under limits: the solver against independent ones, methods against riskfolio-lib, limits as properties, records, crashes."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

from analysis.allocation.active_set import dual_active_set
from analysis.allocation.advice import advise
from analysis.allocation.black_litterman import View
from analysis.allocation.constraints import capped
from analysis.allocation.covariance import ledoit_wolf
from analysis.allocation.crashes import CRASHES, replay, shocked, worst_spans
from analysis.allocation.hrp import branches
from analysis.allocation.methods import METHODS, Problem, method
from analysis.allocation.portfolio import fit_portfolio
from analysis.allocation.record import compare
from analysis.allocation.walk_forward import COST
from analysis.allocation.wishes import Wishes, room_for, towards
from data.clock import parse_time
from data.errors import InputError
from data.market import DAY_MS
from tests.test_analysis.test_allocation import returns_of

SEED = 71
NAMES = [m.name for m in METHODS]
LETTERS = [f"{chr(65 + i)}USDT" for i in range(26)]


def fitted(x, name="hrp", wishes=None, **more):
    return fit_portfolio(x, LETTERS[: x.shape[1]], method(name), wishes or Wishes(), **more)


# -- the solver -------------------------------------------------------------------------------------------------------


def test_the_dual_active_set_equals_scipy_under_random_constraints():
    from scipy.optimize import minimize

    for k in range(12):
        stream = np.random.default_rng([SEED, k])
        A = stream.standard_normal((20, 6))
        G, a = A.T @ A / 20, stream.standard_normal(6)
        rows = np.concatenate([np.ones((1, 6)), np.eye(6), stream.standard_normal((3, 6))])
        inside = stream.dirichlet(np.ones(6))
        least = np.concatenate([[1.0], np.zeros(6), rows[7:] @ inside - stream.uniform(0, 0.05, 3)])  # there is a point inside
        found = dual_active_set(G, a, rows, least, equalities=1)
        rules = [{"type": "eq", "fun": lambda x, r=rows: r[0] @ x - 1}, {"type": "ineq", "fun": lambda x, r=rows,
                                                                         d=least: r[1:] @ x - d[1:]}]
        theirs = minimize(lambda x, G=G, a=a: 0.5 * x @ G @ x - a @ x, inside, constraints=rules, method="SLSQP",
                          options={"ftol": 1e-15, "maxiter": 1000}).x
        assert found.feasible and np.allclose(found.x, theirs, atol=1e-6), k
        assert (rows[1:] @ found.x >= least[1:] - 1e-9).all() and abs(found.x.sum() - 1) < 1e-9


def test_constraints_that_contradict_each_other_are_found_out():
    rows, least = np.array([[1.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]), np.array([1.0, -0.3, -0.3])
    assert not dual_active_set(np.eye(2), np.zeros(2), rows, least, equalities=1).feasible
    assert dual_active_set(np.eye(2), np.zeros(2), rows, np.array([1.0, -0.6, -0.6]), equalities=1).feasible


def test_bounded_minimum_variance_and_maximum_sharpe_equal_scipy():
    from scipy.optimize import minimize

    x = returns_of(8, seed=3) + 0.002
    S, mean = np.cov(x, rowvar=False), x.mean(axis=0)
    room = room_for(Wishes(floor=0.02, cap=0.3, cluster_cap=0.35, cash=0.1), 8, [[0, 1, 2]])
    rows, least = room.rows()
    rules = [{"type": "eq", "fun": lambda w: w.sum() - 0.9}, {"type": "ineq", "fun": lambda w: rows[1:] @ w - least[1:]}]
    answers = {"min-variance": lambda w: w @ S @ w * 1e4, "max-sharpe": lambda w: -(mean @ w) / np.sqrt(w @ S @ w)}
    for name, goal in answers.items():
        theirs = minimize(goal, np.full(8, 0.9 / 8), constraints=rules, method="SLSQP", options={"ftol": 1e-15, "maxiter": 2000}).x
        assert np.allclose(method(name).solve(Problem(LETTERS[:8], mean, S), room)[0], theirs, atol=1e-5), name


# -- methods ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("assets", [2, 6, 14])
def test_every_method_equals_riskfolio_on_the_same_shrunk_covariance(assets):
    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import riskfolio as rp

        x = returns_of(assets) * 100 + 0.3
        port = rp.Portfolio(returns=pd.DataFrame(x))
        port.assets_stats(method_mu="hist", method_cov="ledoit")
        tree = rp.HCPortfolio(returns=pd.DataFrame(x)).optimization(model="HRP", codependence="pearson", rm="MV", linkage="single",
                                                                    method_cov="ledoit", leaf_order=False)
        theirs = {"risk-parity": port.rp_optimization(model="Classic", rm="MV", rf=0, hist=True),
                  "min-variance": port.optimization(model="Classic", rm="MV", obj="MinRisk", rf=0, l=0, hist=True),
                  "max-sharpe": port.optimization(model="Classic", rm="MV", obj="Sharpe", rf=0, l=0, hist=True)}
    for name, library in theirs.items():
        assert np.allclose(fitted(x, name, bands=False).weights, library.weights.to_numpy(), atol=1e-5), name
    assert np.allclose(fitted(x, "hrp", bands=False).weights, tree.weights.to_numpy(), atol=1e-5)
    S = ledoit_wolf(x)[0]
    inverse = 1 / np.sqrt(np.diag(S))
    assert np.allclose(fitted(x, "inverse-vol", bands=False).weights, inverse / inverse.sum())
    assert np.allclose(fitted(x, "equal", bands=False).weights, 1 / assets)


def test_two_assets_have_the_answers_of_the_textbook():
    one, two, rho = 0.2, 0.4, 0.3
    S = np.array([[one**2, rho * one * two], [rho * one * two, two**2]])
    mean = np.array([0.1, 0.15])
    both = S[0, 1]
    tangent = np.linalg.solve(S, mean)
    expected = {"hrp": two**2 / (one**2 + two**2), "risk-parity": two / (one + two), "inverse-vol": two / (one + two), "equal": 0.5,
                "min-variance": (two**2 - both) / (one**2 + two**2 - 2 * both), "max-sharpe": tangent[0] / tangent.sum(),
                "black-litterman": 0.5 * two**2 / (one**2 + two**2) + 0.5 * two / (one + two)}
    for m in METHODS:
        weights, note = m.solve(Problem(["A", "B"], mean, S), room_for(Wishes(), 2))
        assert weights[0] == pytest.approx(expected[m.name], abs=1e-9) and weights.sum() == pytest.approx(1, abs=1e-12) and not note, m.name


def test_views_move_black_litterman_only_where_they_are_supported():
    x = returns_of(4)
    start = fitted(x, "black-litterman", bands=False)
    weak = fitted(x, "black-litterman", bands=False, views={"AUSDT": View("weak", 0.3, 2.0)})
    up = fitted(x, "black-litterman", bands=False, views={"AUSDT": View("supported", 0.3, 2.0), "ZUSDT": View("supported", 0.3, 2.0)})
    down = fitted(x, "black-litterman", bands=False, views={"AUSDT": View("supported", 0.3, -2.0)})
    assert np.array_equal(weak.weights, start.weights) and not weak.views and list(up.views) == ["AUSDT"]
    assert down.weights[0] < start.weights[0] < up.weights[0]
    assert np.array_equal(fitted(x, "hrp", bands=False, views={"AUSDT": View("supported", 0.3, 2.0)}).weights,
                          fitted(x, bands=False).weights)


# -- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_method_keeps_every_limit(name):
    for k in range(8):
        stream = np.random.default_rng([SEED, k])
        x = returns_of(7, 2000, seed=k)  # so long that next to nothing is shrunk
        x[:, 1] = x[:, 0] + 0.02 * x[:, 1]  # a cluster
        wishes = Wishes(floor=stream.uniform(0, 0.05), cap=stream.uniform(0.2, 0.5), cluster_cap=stream.uniform(0.2, 0.6),
                        cash=stream.uniform(0, 0.2))
        p = fitted(x, name, wishes, bands=False)
        assert p.clusters[0][:2] == [0, 1] and p.weights.sum() == pytest.approx(1 - wishes.cash, abs=1e-8)
        assert (p.weights >= wishes.floor - 1e-8).all() and (p.weights <= wishes.cap + 1e-8).all()
        assert all(p.weights[c].sum() <= wishes.cluster_cap + 1e-8 for c in p.clusters)


def test_an_excess_goes_to_the_others_in_proportion():
    wanted = np.array([0.5, 0.25, 0.15, 0.1])
    assert np.allclose(room_for(Wishes(cap=0.3), 4).nearest(wanted), capped(wanted, 0.3), atol=1e-9)


@pytest.mark.parametrize(("wishes", "words", "total"), [
    (Wishes(cap=0.1), "the caps allow 40% of 100%", 0.4),
    (Wishes(floor=0.3), "the floors were lowered alike", 1.0),
    (Wishes(floor=0.5, cap=0.2), "the floor 50% is above the cap 20%", 0.8),
    (Wishes(floor=0.2, cluster_cap=0.3), "their floors were lowered", 1.0),
    (Wishes(cash=1.0), "", 0.0),
])
def test_impossible_wishes_get_the_nearest_answer_and_say_so(wishes, words, total):
    x = returns_of(4)
    x[:, 1] = x[:, 0] + 0.1 * x[:, 1]
    for name in NAMES:
        p = fitted(x, name, wishes, bands=False)
        assert p.weights.sum() == pytest.approx(total, abs=1e-8) and words in "; ".join(p.notes)
        assert p.feasible is (words == "") and (p.weights >= -1e-12).all()


@pytest.mark.parametrize("wishes", [{"cap": 1.5}, {"floor": -0.1}, {"cash": math.nan}, {"turnover": 3.0}])
def test_a_limit_that_is_no_fraction_is_refused(wishes):
    with pytest.raises(InputError, match="expected a fraction"):
        Wishes(**wishes)


def test_volatility_target_cash_and_turnover():
    x = returns_of(5)
    whole = fitted(x, bands=False)
    calm = fitted(x, wishes=Wishes(target_vol=whole.volatility / 2), bands=False)
    assert calm.volatility == pytest.approx(whole.volatility / 2) and calm.cash == pytest.approx(0.5) and calm.feasible
    assert fitted(x, wishes=Wishes(target_vol=9.0), bands=False).cash == 0.0  # never leverage
    held = dict(zip(LETTERS[:5], (0.5, 0.5, 0, 0, 0), strict=True))
    part = fitted(x, wishes=Wishes(turnover=0.2), held=held, bands=False)
    assert np.abs(part.weights - np.array(list(held.values()))).sum() == pytest.approx(0.2) and "the turnover of 20%" in part.notes[-1]
    assert not part.feasible and fitted(x, wishes=Wishes(turnover=2.0), held=held, bands=False).feasible
    moved, share = towards(np.array([1.0, 0.0]), np.array([0.0, 1.0]), 0.5)
    assert moved.tolist() == [0.25, 0.75] and share == 0.25


def test_bad_tables_get_words_and_weights_that_can_be_held():
    x = returns_of(4)
    short = x.copy()
    short[:-30, 3] = np.nan
    p = fitted(short, bands=False)
    assert p.names == LETTERS[:3] and "30 days of returns, 60 needed" in p.dropped["DUSDT"] and p.weights.sum() == pytest.approx(1)
    nothing = fitted(x[:20], "min-variance", bands=False)
    assert not nothing.feasible and np.allclose(nothing.weights,
                                                0.25) and "no asset has 60 bars" in nothing.notes[-1] and len(nothing.dropped) == 4
    twin = x.copy()
    twin[:, 1] = twin[:, 0]
    for name in NAMES:
        p = fitted(twin[:, :2], name, bands=False)
        assert p.weights.sum() == pytest.approx(1) and np.isfinite(p.weights).all(), name
    fallen = x - x.mean(axis=0) - 0.001
    p = fitted(fallen, "max-sharpe", bands=False)
    assert not p.feasible and "no mean return is above zero: minimum variance" in p.notes
    assert np.allclose(p.weights, fitted(fallen, "min-variance", bands=False).weights)
    for name in NAMES:
        assert fitted(x[:, :1], name).weights.tolist() == pytest.approx([1.0])


def test_a_singular_covariance_is_named():
    stream = np.random.default_rng(SEED)
    one = stream.standard_normal((400, 1)) * 0.02
    p = fitted(np.concatenate([one, one * 1.0000001], axis=1), "min-variance", bands=False)
    assert p.weights.sum() == pytest.approx(1) and (p.shrinkage > 0 or any("singular" in n for n in p.notes))


# -- bands, frontier, tree --------------------------------------------------------------------------------------------


def test_bands_hold_the_weight_of_a_stable_market_and_are_wide_for_maximum_sharpe():
    x = returns_of(4, 180)
    narrow, wide = fitted(x, "inverse-vol"), fitted(x, "max-sharpe")
    assert (narrow.bands[:, 0] <= narrow.weights).all() and (narrow.weights <= narrow.bands[:, 1]).all()
    assert (wide.bands[:, 1] - wide.bands[:, 0]).max() > 3 * (narrow.bands[:, 1] - narrow.bands[:, 0]).max()
    assert np.array_equal(fitted(x, "inverse-vol").bands, narrow.bands)  # a seed, not the clock
    assert (fitted(x, "equal").bands == 0.25).all() and np.isnan(fitted(x[:, :1]).bands).all()


def test_the_frontier_rises_and_no_method_lies_left_of_it():
    x = returns_of(6) + 0.001
    p = fitted(x, wishes=Wishes(cap=0.5), bands=False)
    line = p.frontier(20)
    vol, mean = np.array([v for v, *_ in line]), np.array([m for _, m, _ in line])
    assert len(line) == 20 and (np.diff(vol) > -1e-9).all() and (np.diff(mean) > 0).all()
    assert mean[-1] == pytest.approx((0.5 * np.sort(p.mean)[-2:].sum()) * 365, rel=1e-3)  # the two highest means at their caps
    for w, v, m in p.every_method().values():
        assert (w <= 0.5 + 1e-9).all()
        if mean[0] <= m <= mean[-1]:
            assert v >= np.interp(m, mean, vol) - 1e-3
        assert v >= vol[0] - 1e-6


def test_the_tree_has_the_order_of_hierarchical_risk_parity():
    p = fitted(returns_of(7), bands=False)
    across, up, leaves = branches(p.correlation)
    assert leaves == p.order and len(across) == len(up) == 6 and max(map(max, up)) <= 1.0


# -- out of sample ----------------------------------------------------------------------------------------------------


def test_the_record_of_equal_weights_is_that_of_a_loop_anyone_can_check():
    x = returns_of(3, 300, seed=5)
    done = compare(x, LETTERS[:3])
    worth, value = [], 1.0
    holding, cash = np.zeros(3), 1.0
    for day in range(180, 300):
        if (day - 180) % 30 == 0:
            now = holding / value
            paid = COST * np.abs(1 / 3 - now).sum()
            holding, cash = np.full(3, value / 3), 0.0
        else:
            paid = 0.0
        before = value
        holding = holding * (1 + x[day])
        value = holding.sum() + cash - paid * before
        holding *= value / holding.sum()  # the cost of a day is a return of that day
        worth.append(value)
    assert done.days == 120 and done.rebalancings == 4
    assert np.allclose(done.worth["equal"], worth, rtol=1e-12)


def test_a_planted_difference_is_found_and_twins_show_none():
    stream = np.random.default_rng(SEED)
    noise = stream.standard_normal((1500, 4)) * np.array([0.01, 0.04, 0.04, 0.04])
    noise[:, 0] += 0.004  # calm and rising: every method that looks at risk holds more of it
    row = {r["method"]: r for r in compare(noise, LETTERS[:4]).rows}
    assert row["min-variance"]["equal_verdict"] == "better" and row["equal"]["equal_verdict"] == "itself"
    alike = stream.standard_normal((900, 1)) * 0.02 + stream.standard_normal((900, 4)) * 0.0001
    verdicts = {r["equal_verdict"] for r in compare(alike, LETTERS[:4], cost=0.0).rows}
    assert verdicts == {"no difference shown", "itself"}
    assert compare(alike, LETTERS[:4], cost=0.0).words.startswith("No method beat 1/N by more than chance")


def test_costs_and_unknown_days_are_counted_and_too_little_is_said():
    x = returns_of(3, 400)
    dear, free = (compare(x, LETTERS[:3], cost=c).rows for c in (0.01, 0.0))
    assert all(a["return"] < b["return"] for a, b in zip(dear, free, strict=True)) and free[0]["cost_per_year"] == 0.0
    assert compare(x[:100], LETTERS[:3]).days == 0 and "210 days" in compare(x[:100], LETTERS[:3]).words
    late = x.copy()
    late[:300, 2] = np.nan
    late[350:355, 0] = np.nan
    assert all(np.isfinite(w).all() for w in compare(late, LETTERS[:3]).worth.values())


def test_the_record_knows_nothing_of_the_days_after_a_rebalancing():
    x = returns_of(4, 330)
    cut = compare(x[:270], LETTERS[:4]).worth
    whole = compare(np.concatenate([x[:270], 9 * x[270:]]), LETTERS[:4]).worth
    assert all(np.array_equal(cut[n], whole[n][:90]) for n in NAMES)


# -- stress and advice ------------------------------------------------------------------------------------------------


def test_a_crash_is_replayed_at_its_deepest_close_and_what_was_not_listed_moves_by_its_beta():
    crash = CRASHES[0]
    days = np.arange(parse_time("2020-03-01"), parse_time("2020-03-20"), DAY_MS)
    r = np.zeros((len(days), 2))
    at = int(np.flatnonzero(days == crash.days[0])[0])
    r[at, 0], r[at + 1, 0] = -0.40, 0.10
    r[:, 1] = np.nan
    found = replay(crash, days, r, ["A", "B"], np.array([0.5, 0.5]), np.array([1.0, 1.5]), r[:, 0], known_ms=days[-1])
    assert found["loss"] == pytest.approx(0.5 * -0.40 + 0.5 * -0.60) and found["estimated"] == ["B"]
    assert sum(found["by_asset"].values()) == pytest.approx(found["loss"])
    before = replay(crash, days, r, ["A", "B"], np.ones(2) / 2, np.ones(2), r[:, 0], known_ms=int(crash.days[-1]))
    gone = replay(CRASHES[1], days, r, ["A", "B"], np.ones(2) / 2, np.ones(2), r[:, 0], known_ms=10**15)
    assert before["loss"] is None and "after the moment" in before["why"] and gone["loss"] is None and "no prices" in gone["why"]


def test_shocks_and_the_worst_spans():
    found = shocked(["A", "B", "C"], np.array([0.5, 0.3, 0.2]), np.array([1.0, 2.0, math.nan]), market=-0.2, own={"C": -0.9})
    assert found["loss"] == pytest.approx(0.5 * -0.2 + 0.3 * -0.4 + 0.2 * -0.9)
    assert shocked(["A"], np.ones(1), np.array([9.0]), market=-0.5)["loss"] == -1.0  # nothing falls below zero
    r = np.zeros((50, 2))
    r[20:23] = -0.1
    r[30, 1] = np.nan
    one, week = worst_spans(DAY_MS * np.arange(50), r, np.array([0.5, 0.5]), days=(1, 3))
    assert one["loss"] == pytest.approx(-0.1) and week["loss"] == pytest.approx(0.9**3 - 1) and week["first_ms"] == 20 * DAY_MS


def test_advice_has_its_reasons_and_a_calm_book_gets_none():
    stream = np.random.default_rng(SEED)
    r = stream.standard_normal((400, 3)) * 0.01
    calm = {"var": 0.03, "hedge": -0.5, "hedged_by": "BTCUSDT"}
    names, w, risk = ["A", "B", "C"], np.full(3, 1 / 3), np.full(3, 1 / 3)
    assert advise(names, w, risk, r, **calm) == []
    fell = r.copy()
    fell[-1, 1] = -0.08
    assert [(a.act, a.symbol) for a in advise(names, w, risk, fell, **calm)] == [("close", "B")]
    loud = r.copy()
    loud[-15:, 2] *= 5
    assert ("trim", "C") in [(a.act, a.symbol) for a in advise(names, w, risk, loud, **calm)]
    risky = advise(names, w, risk, r, var=0.10, hedge=-0.8, hedged_by="BTCUSDT", worst_crash=("A fall", -0.6))
    assert [a.act for a in risky] == ["hold less", "hold less", "hedge"] and risky[0].share == pytest.approx(0.5) and risky[2].share == 0.8
    heavy = advise(names, np.array([0.3, 0.3, 0.3]), np.array([0.7, 0.2, 0.1]), r, **calm)
    assert [(a.act, a.symbol) for a in heavy] == [("trim", "A")]
    depth = np.array([[1, 0.95, 0], [0.95, 1, 0], [0, 0, 1.0]])
    assert "together" in advise(names, w, risk, r, **calm, drawdowns=depth)[0].words


@pytest.mark.parametrize("name", NAMES)
def test_an_asset_that_moved_only_where_others_are_not_known_is_left_out(name):
    """Its own rows vary, the rows in common do not: there is no correlation to build a tree on."""
    x = returns_of(3)
    x[100:, 0], x[:105, 1] = 0.0, np.nan
    found = fitted(x, name, bands=False)
    assert found.names == LETTERS[1:3] and found.rows == 75 and found.weights.sum() == pytest.approx(1.0)
    assert found.dropped == {LETTERS[0]: "its price does not move in the days all are known"}


def test_a_fall_of_long_ago_is_not_todays():
    """The newest price of a delisted asset is no news: only a fall on the newest day closes anything."""
    x = returns_of(2, 300)
    x[-40, 0] = -0.5
    x[-39:, 0] = np.nan
    half = np.array([0.5, 0.5])
    assert "close" not in [a.act for a in advise(LETTERS[:2], half, half, x, var=0.01, hedge=0.0, hedged_by="B")]
    x[-1, 0] = -0.5
    assert "close" in [a.act for a in advise(LETTERS[:2], half, half, x, var=0.01, hedge=0.0, hedged_by="B")]


def test_what_is_not_held_is_not_among_the_estimated_and_hides_no_day():
    days = np.arange(60) * DAY_MS + parse_time("2020-02-01")
    x = returns_of(2, 60)
    x[:50, 1] = np.nan
    covid, weights = CRASHES[0], np.array([1.0, 0.0])
    found = replay(covid, days, x, LETTERS[:2], weights, np.full(2, np.nan), x[:, 0], known_ms=int(days[-1]) + DAY_MS)
    assert found["loss"] is not None and found["estimated"] == []


def test_what_is_held_beside_the_symbols_is_not_in_the_turnover_and_named():
    x = returns_of(3)
    found = fitted(x, "equal", Wishes(turnover=0.2), held={LETTERS[0]: 0.3, "OLDUSDT": 0.5, "GONEUSDT": 0.0}, bands=False)
    assert any(n.startswith("OLDUSDT (50% of equity) is held beside") for n in found.notes)
    assert not any("beside" in n for n in fitted(x, "equal", Wishes(turnover=0.2), held={LETTERS[0]: 0.3}, bands=False).notes)
