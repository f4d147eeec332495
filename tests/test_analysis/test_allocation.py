"""Allocation methods against the libraries, closed forms and published numbers, and the limits as properties of random portfolios."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

from analysis.allocation import (
    Limits,
    View,
    black_litterman,
    capped,
    clusters_of,
    conditional_beta,
    constrained,
    correlation_of,
    drawdown_correlation,
    equal_weight,
    ewma_covariance,
    gross_for,
    hedge_ratio,
    hrp,
    inverse_volatility,
    ledoit_wolf,
    max_sharpe,
    min_variance,
    rebalancing,
    risk_contributions,
    risk_parity,
    stresses,
    supported,
    usable,
    view_returns,
)
from analysis.allocation.mean_variance import quadratic
from analysis.allocation.plan import fit_plan, with_views
from analysis.allocation.walk_forward import COST, HOLD, WINDOW, planned, walk_forward

SEED = 61


def returns_of(assets=8, days=180, seed=SEED):
    stream = np.random.default_rng(seed)
    common = stream.standard_normal((days, 2)) @ stream.uniform(0, 1, (2, assets)) * 0.015
    return common + stream.standard_normal((days, assets)) * 0.02 * stream.uniform(0.5, 2, assets) + stream.normal(0.0005, 0.001, assets)


# -- covariance -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("assets", [1, 2, 12, 60])
def test_shrinkage_equals_scikit_learn(assets):
    from sklearn.covariance import LedoitWolf

    x = returns_of(assets, 90)
    found, shrinkage = ledoit_wolf(x)
    library = LedoitWolf().fit(x)
    assert np.allclose(found, library.covariance_, rtol=1e-10, atol=1e-16) and shrinkage == pytest.approx(library.shrinkage_, abs=1e-10)


def test_exponential_weights_equal_pandas():
    import pandas as pd

    x = returns_of(3, 400)
    library = pd.DataFrame(x).ewm(alpha=0.03, adjust=True).cov(bias=True).iloc[-3:].to_numpy()
    assert np.allclose(ewma_covariance(x), library, rtol=1e-9)


def test_columns_that_cannot_be_used_are_named():
    x = returns_of(5, 100)
    x[:50, 1] = np.nan  # 50 days
    x[:, 2] = 0.0
    x[::2, 3] = np.nan  # 50 days
    found = usable(x)
    assert found.columns == [0, 4] and len(found.rows) == 100
    assert "50 days of returns, 60 needed" in found.dropped[1] and "does not move" in found.dropped[2]
    y = returns_of(3, 130)
    y[:65, 0], y[65:, 1] = np.nan, np.nan  # 65 each, none in common
    assert usable(y).columns == [1, 2] and "in common" in usable(y).dropped[0]
    assert usable(np.full((10, 2), np.nan)).columns == []


# -- methods ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def riskfolio():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import riskfolio

        yield riskfolio


@pytest.mark.parametrize("assets", [4, 9, 16])
def test_hrp_equals_riskfolio_with_the_same_leaf_order(riskfolio, assets):
    import pandas as pd

    x = returns_of(assets)
    library = riskfolio.HCPortfolio(returns=pd.DataFrame(x)).optimization(model="HRP", codependence="pearson", rm="MV", linkage="single",
                                                                          leaf_order=False)
    assert np.allclose(hrp(np.cov(x, rowvar=False)), library.weights.to_numpy(), atol=1e-9)


@pytest.mark.parametrize("assets", [4, 16])
def test_risk_parity_and_mean_variance_equal_riskfolio(riskfolio, assets):
    import pandas as pd

    x = 100 * returns_of(assets) + 0.5  # in percent, where the solver's tolerance is small; means above zero
    S, mean = np.cov(x, rowvar=False), x.mean(axis=0)
    port = riskfolio.Portfolio(returns=pd.DataFrame(x))
    port.assets_stats(method_mu="hist", method_cov="hist")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parity = port.rp_optimization(model="Classic", rm="MV", rf=0, b=None, hist=True).weights.to_numpy()
        least = port.optimization(model="Classic", rm="MV", obj="MinRisk", rf=0, l=0, hist=True).weights.to_numpy()
        best = port.optimization(model="Classic", rm="MV", obj="Sharpe", rf=0, l=0, hist=True).weights.to_numpy()
    assert np.allclose(risk_parity(S), parity, atol=1e-5)
    assert np.allclose(min_variance(S).weights, least, atol=1e-5)
    assert np.allclose(max_sharpe(mean, S).weights, best, atol=1e-5)


@pytest.mark.parametrize("upper", [1.0, 0.25])
def test_bounded_optima_equal_scipy(upper):
    from scipy.optimize import minimize

    for seed in (1, 2, 3):
        x = returns_of(10, seed=seed)
        S, mean = np.cov(x, rowvar=False) * 1e4, x.mean(axis=0) * 1e2
        rules = {"bounds": [(0, upper)] * 10, "method": "SLSQP", "options": {"ftol": 1e-15, "maxiter": 2000},
                 "constraints": {"type": "eq", "fun": lambda w: w.sum() - 1}}
        least = minimize(lambda w, S=S: w @ S @ w, np.full(10, 0.1), **rules).x
        best = minimize(lambda w, S=S, m=mean: -(m @ w) / np.sqrt(w @ S @ w), np.full(10, 0.1), **rules).x
        assert np.allclose(min_variance(S, upper=upper).weights, least, atol=1e-5)
        found = max_sharpe(mean, S, upper=upper)
        assert found.feasible and np.allclose(found.weights, best, atol=2e-5)


def test_the_active_set_meets_the_optimality_conditions():
    for seed in range(20):
        stream = np.random.default_rng([SEED, seed])
        A = stream.standard_normal((30, 12))
        S, q, upper = A.T @ A / 30, stream.standard_normal(12), stream.uniform(0.1, 0.5, 12)
        x = quadratic(S, q, np.ones(12), upper)
        assert abs(x.sum() - 1) < 1e-9 and (x >= 0).all() and (x <= upper + 1e-12).all()
        slope = S @ x - q
        free = (x > 1e-9) & (x < upper - 1e-9)
        level = slope[free].mean() if free.any() else np.median(slope)
        assert np.allclose(slope[free], level, atol=1e-6)
        assert (slope[x <= 1e-9] >= level - 1e-6).all() and (slope[x >= upper - 1e-9] <= level + 1e-6).all()


@pytest.mark.parametrize("rho", [-0.4, 0.0, 0.7])
def test_two_assets_in_closed_form(rho):
    a, b = 0.02, 0.05
    S = np.array([[a * a, rho * a * b], [rho * a * b, b * b]])
    calm = b / (a + b)
    assert risk_parity(S)[0] == pytest.approx(calm, abs=1e-12) == pytest.approx(inverse_volatility(S)[0])
    assert hrp(S)[0] == pytest.approx(b * b / (a * a + b * b), abs=1e-12)
    least = np.clip((b * b - rho * a * b) / (a * a + b * b - 2 * rho * a * b), 0, 1)
    assert min_variance(S).weights[0] == pytest.approx(least, abs=1e-9)
    tangent = np.linalg.solve(S, [0.001, 0.002])
    if (tangent > 0).all():
        assert max_sharpe(np.array([0.001, 0.002]), S).weights[0] == pytest.approx(tangent[0] / tangent.sum(), abs=1e-9)
    assert equal_weight(2).tolist() == [0.5, 0.5]


def test_equal_risk_contributions_are_equal_whatever_the_scales():
    for seed in range(5):
        S = np.cov(returns_of(20, seed=seed), rowvar=False) * np.outer(np.logspace(-3, 3, 20), np.logspace(-3, 3, 20))
        w = risk_parity(S)
        assert np.allclose(risk_contributions(w, S), 1 / 20, atol=1e-9) and w.sum() == pytest.approx(1)


def test_a_singular_covariance_still_has_an_answer():
    x = returns_of(4)
    x = np.column_stack([x, x[:, 0], x[:, 1] + x[:, 2]])
    S = np.cov(x, rowvar=False)
    assert np.linalg.matrix_rank(S) < 6
    for w in (hrp(S), risk_parity(S), min_variance(S).weights, max_sharpe(np.abs(x.mean(axis=0)), S).weights):
        assert np.isfinite(w).all() and (w >= -1e-12).all() and w.sum() == pytest.approx(1)
    few = returns_of(30, 61)[-20:]
    assert np.linalg.eigvalsh(ledoit_wolf(few)[0]).min() > 0


def test_without_a_positive_mean_the_answer_is_minimum_variance_and_says_so():
    S = np.cov(returns_of(5), rowvar=False)
    found = max_sharpe(-np.ones(5) * 0.001, S)
    assert not found.feasible and "minimum variance" in found.note and np.allclose(found.weights, min_variance(S).weights)
    crowded = min_variance(S, upper=0.1)
    assert not crowded.feasible and np.allclose(crowded.weights, 0.2) and "cannot sum" in crowded.note


def test_one_asset_is_all():
    S = np.array([[0.04]])
    assert hrp(S).tolist() == [1.0] and risk_parity(S).tolist() == [1.0] and min_variance(S).weights.tolist() == [1.0]


# -- Black-Litterman --------------------------------------------------------------------------------------------------

SEVEN = np.array([[1, .488, .478, .515, .439, .512, .491], [.488, 1, .664, .655, .310, .608, .779],
                  [.478, .664, 1, .861, .355, .783, .668], [.515, .655, .861, 1, .354, .777, .653],
                  [.439, .310, .355, .354, 1, .405, .306], [.512, .608, .783, .777, .405, 1, .652],
                  [.491, .779, .668, .653, .306, .652, 1]])  # Australia, Canada, France, Germany, Japan, UK, USA
SD = np.array([.160, .203, .248, .271, .210, .200, .187])
MARKET = np.array([.016, .022, .052, .055, .116, .124, .615])
GERMANY = np.array([0, 0, -.295, 1, 0, -.705, 0])


def test_the_tables_of_he_and_litterman():
    S = np.outer(SD, SD) * SEVEN
    one = black_litterman(S, MARKET, GERMANY[None], np.array([0.05]))
    assert np.round(100 * one.equilibrium, 1).tolist() == [3.9, 6.9, 8.4, 9.0, 4.3, 6.8, 7.6]
    assert np.round(100 * one.mean, 1).tolist() == [4.3, 7.6, 9.3, 11.0, 4.5, 7.0, 8.1]
    assert np.allclose(100 * one.weights(), [1.5, 2.1, -4.0, 35.4, 11.0, -9.5, 58.6], atol=0.11)
    two = black_litterman(S, MARKET, np.stack([GERMANY, [0, 1, 0, 0, 0, 0, -1]]), np.array([0.05, 0.03]))
    assert np.round(100 * two.mean, 1).tolist() == [4.4, 8.7, 9.5, 11.2, 4.6, 7.0, 7.5]
    assert np.allclose(100 * two.weights(), [1.5, 41.9, -3.4, 33.6, 11.0, -8.2, 18.8], atol=0.11)


def test_the_short_form_equals_the_inverses_of_the_paper():
    S = np.outer(SD, SD) * SEVEN
    P, Q, c = np.stack([GERMANY, MARKET]), np.array([0.03, 0.06]), np.array([0.3, 0.9])
    found = black_litterman(S, MARKET, P, Q, c)
    prior = np.linalg.inv(0.05 * S)
    sure = np.linalg.inv(np.diag(np.diag(P @ (0.05 * S) @ P.T) / c))
    M = np.linalg.inv(prior + P.T @ sure @ P)
    assert np.allclose(found.mean, M @ (prior @ found.equilibrium + P.T @ sure @ Q), atol=1e-12)
    assert np.allclose(found.covariance, S + M, atol=1e-12)
    nothing = black_litterman(S, MARKET, np.empty((0, 7)), np.empty(0))
    assert np.allclose(nothing.mean, nothing.equilibrium) and np.allclose(nothing.weights() * 1.05, MARKET)


def test_only_supported_views_move_anything_and_in_their_direction():
    views = {"A": View("supported", 0.05, 2.0), "B": View("weak", 0.3, 3.0), "Z": View("supported", 0.1, 1.0)}
    counted = supported(views, ["A", "B", "C"])
    assert set(counted) == {"A"}
    picks, q, c = view_returns(counted, ["A", "B", "C"], np.array([0.03, 0.02, 0.01]))
    assert picks.tolist() == [[1, 0, 0]] and q == pytest.approx([0.05 * 0.03 * 2.0]) and c.tolist() == [0.5]
    S = np.cov(returns_of(3), rowvar=False)
    base = risk_parity(S)
    up = with_views(S, base, ["A", "B", "C"], {"A": View("supported", 0.05, 2.0)})
    down = with_views(S, base, ["A", "B", "C"], {"A": View("supported", 0.05, -2.0)})
    assert down[0] < base[0] < up[0] and up.sum() == pytest.approx(1) and (down >= 0).all()
    assert np.allclose(with_views(S, base, ["A", "B", "C"], {}), base, atol=1e-8)


# -- limits -----------------------------------------------------------------------------------------------------------


def test_the_excess_over_a_cap_is_spread_in_proportion():
    assert capped(np.array([0.7, 0.2, 0.1]), 0.4) == pytest.approx([0.4, 0.4, 0.2])
    assert capped(np.array([0.6, 0.25, 0.15]), 0.5) == pytest.approx([0.5, 0.3125, 0.1875])
    assert capped(np.array([0.9, 0.1]), 0.4) == pytest.approx([0.4, 0.4])  # the rest stays cash
    assert capped(np.array([0.5, 0.5, 0.0]), np.array([0.1, 1.0, 1.0])) == pytest.approx([0.1, 0.9, 0.0])


def test_clusters_and_crumbs_by_hand():
    found = constrained(np.array([0.4, 0.35, 0.24, 0.01]), Limits(), [[0, 1]])
    assert found.weights[:2].sum() == pytest.approx(0.6) and found.weights == pytest.approx([0.32, 0.28, 0.4, 0.0])
    assert found.feasible
    alone = constrained(np.array([0.5, 0.5]), Limits(), [[0, 1]])
    assert alone.weights == pytest.approx([0.3, 0.3]) and not alone.feasible and "60% of 100%" in alone.note
    assert constrained(np.array([1.0]), Limits()).weights.tolist() == [1.0]
    small = constrained(np.array([0.5, 0.48, 0.011, 0.009]), Limits(caps=1.0))
    assert small.weights[3] == 0.0 and small.weights.sum() == pytest.approx(1) and ((small.weights == 0) | (small.weights >= 0.02)).all()


def test_limits_hold_together_for_any_portfolio():
    stream = np.random.default_rng(SEED)
    for _ in range(300):
        n = int(stream.integers(2, 25))
        w = stream.dirichlet(np.full(n, 0.5))
        caps = stream.uniform(0.1, 0.4, n)
        order = stream.permutation(n)
        clusters = [sorted(order[: n // 2].tolist()), sorted(order[n // 2 : n // 2 + n // 4].tolist())] if n >= 8 else []
        limits = Limits(caps=caps)
        found = constrained(w, limits, clusters)
        assert (found.weights >= 0).all() and (found.weights <= caps + 1e-9).all() and found.weights.sum() <= 1 + 1e-9
        assert all(found.weights[c].sum() <= 0.6 + 1e-9 for c in clusters if c)
        assert not ((found.weights > 0) & (found.weights < limits.least - 1e-9)).any()
        assert found.feasible == (found.weights.sum() > 1 - 1e-8) and bool(found.note) != found.feasible


def test_clusters_are_what_high_correlations_connect():
    C = np.eye(5)
    C[0, 3] = C[3, 0] = C[3, 4] = C[4, 3] = 0.85
    C[1, 2] = C[2, 1] = 0.79
    assert clusters_of(C) == [[0, 3, 4]]


def test_gross_and_trades():
    assert gross_for(0.5, 0.25) == 0.5 and gross_for(0.1, 0.25) == 1.0 and math.isnan(gross_for(0.0, 0.25))
    moves = rebalancing({"A": 0.30, "B": 0.20, "C": 0.1}, {"A": 0.29, "B": 0.25, "D": 0.01})
    assert moves == pytest.approx({"B": -0.05, "C": 0.1, "D": -0.01})


# -- measures ---------------------------------------------------------------------------------------------------------


def test_betas_hedges_and_drawdowns_by_hand():
    stream = np.random.default_rng(SEED)
    m = stream.standard_normal(400) * 0.02
    r = np.where(m < 0, 1.5, 0.5) * m
    assert conditional_beta(r, m) == pytest.approx(1.5) and conditional_beta(r, m, down=False) == pytest.approx(0.5)
    assert math.isnan(conditional_beta(r[:60], m[:60])) or (m[:60] < 0).sum() >= 40
    assert math.isnan(conditional_beta(r[m > 0], m[m > 0]))
    assert hedge_ratio(0.7 * m, m) == pytest.approx(-0.7) and math.isnan(hedge_ratio(m, np.zeros(400)))
    assert drawdown_correlation(m, m) == pytest.approx(1) and math.isnan(drawdown_correlation(np.abs(m), m))
    S = np.diag([0.01, 0.04])
    assert risk_contributions(np.array([0.5, 0.5]), S) == pytest.approx([0.2, 0.8])
    bad = stresses(np.array([0.5, 0.5]), S, np.array([1.0, 2.0]), np.stack([m, m], axis=1))
    assert bad["market_minus_20"] == pytest.approx(-0.3) and bad["worst_day"] == pytest.approx(m.min())
    assert bad["correlations_to_0.9"] > bad["volatility_doubled"] / 2
    assert correlation_of(S).tolist() == [[1, 0], [0, 1]]


def test_the_plan_of_a_day_keeps_its_promises():
    x = returns_of(6, 500)
    x[:480, 5] = np.nan
    plan = fit_plan(x, list("ABCDEF"), reference="A", limits=Limits())
    assert plan["names"] == list("ABCDE") and "20 days of returns" in plan["dropped"]["F"] and plan["days"] == 180
    assert np.allclose(plan["base"], 0.5 * np.array(plan["hrp"]) + 0.5 * np.array(plan["risk_parity"]))
    w, S = np.array(plan["weights"]), np.array(plan["covariance"])
    assert np.allclose(S, ledoit_wolf(x[-180:, :5])[0]) and plan["sigma"] == pytest.approx(math.sqrt(365 * w @ S @ w))
    assert plan["gross"] == pytest.approx(min(1, 0.25 / plan["sigma"])) and sum(plan["risk_contributions"]) == pytest.approx(1)
    assert plan["var"] == pytest.approx(-np.sort(x[:, :5] @ w)[4]) or np.isnan(x[:, :5]).any()
    weighted = fit_plan(x, list("ABCDEF"), reference="A", limits=Limits(), decay=0.97)
    assert not np.allclose(weighted["weights"], plan["weights"])
    assert fit_plan(x[:30], list("ABCDEF"), reference="A", limits=Limits())["names"] == []


# -- out of sample ----------------------------------------------------------------------------------------------------


def test_the_walk_forward_equals_a_plain_account():
    """Money in each asset and in cash, day by day; equal weights, one rebalancing every 30 days, costs taken from cash."""
    x = returns_of(3, WINDOW + 2 * HOLD + 7)
    found = walk_forward(x, Limits())
    wealth, held, daily = 1.0, np.zeros(3), []
    for day in range(WINDOW, len(x)):
        before, cost = wealth, 0.0
        if (day - WINDOW) % HOLD == 0:
            cost = COST * np.abs(wealth / 3 - held).sum()
            held = np.full(3, wealth / 3)
        held = held * (1 + x[day])
        daily.append((held.sum() - cost) / before - 1)
        wealth = held.sum()  # costs are booked on the day, not compounded into the next weights
    daily = np.array(daily)
    assert found["days"] == len(daily) == 67
    assert found["equal_weight"]["sharpe"] == pytest.approx(daily.mean() / daily.std(ddof=1) * math.sqrt(365), rel=1e-9)
    assert found["equal_weight"]["return"] == pytest.approx(np.prod(1 + daily) ** (365 / 67) - 1, rel=1e-9)
    assert found["equal_weight"]["beats_equal"] == 0.0


def test_the_walk_forward_never_sees_what_comes():
    x = returns_of(4, WINDOW + HOLD)
    later = x.copy()
    later[WINDOW:] *= -3.0
    one, other = walk_forward(x, Limits()), walk_forward(later, Limits())
    assert one["plan"]["turnover"] == pytest.approx(other["plan"]["turnover"])  # the first weights are the same
    assert one["plan"]["turnover"] == pytest.approx(planned(ledoit_wolf(x[:WINDOW])[0], Limits()).sum())
    assert one["plan"]["sharpe"] != other["plan"]["sharpe"]


def test_the_walk_forward_prefers_the_calm_half_of_a_world_that_pays_the_same():
    stream = np.random.default_rng(SEED)
    x = stream.standard_normal((WINDOW + 20 * HOLD, 6)) * np.array([0.01] * 3 + [0.05] * 3) + 0.001
    found = walk_forward(x, Limits(target_vol=10.0))
    low, high = found["plan"]["interval"]
    assert low < found["plan"]["sharpe"] < high and found["plan"]["beats_equal"] > 0.8
    assert found["plan"]["volatility"] < found["equal_weight"]["volatility"] and found["plan"]["max_drawdown"] > -0.3


def test_the_walk_forward_of_too_little_or_unknown_data():
    assert walk_forward(returns_of(3, WINDOW + HOLD - 1), Limits()) == {"days": 0}
    assert walk_forward(np.full((400, 2), np.nan), Limits()) == {"days": 0}
    x = returns_of(4, 300)
    x[:200, 3] = np.nan
    x[250, 0] = np.nan
    assert math.isfinite(walk_forward(x, Limits())["plan"]["sharpe"])
