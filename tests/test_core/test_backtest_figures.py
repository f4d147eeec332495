"""The figures of daily returns in one pass are those of the functions that define them."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.statistics import performance
from core.backtest.figures import of_days


def one_by_one(returns, market):
    beta, alpha = performance.beta_alpha(returns, market)
    return {"volatility": performance.volatility(returns), "sharpe": performance.sharpe(returns),
            "sharpe_error": performance.sharpe_error(returns), "sortino": performance.sortino(returns), "beta": beta, "alpha": alpha,
            "tail_ratio": performance.tail_ratio(returns)}


@pytest.mark.parametrize("days", [1, 2, 3, 4, 20, 21, 365, 1_827])
def test_equal_to_the_functions_one_by_one(seed, days):
    rng = np.random.default_rng([seed, days])
    market = rng.normal(0, 0.03, days)
    for returns in (rng.standard_t(4, days) * 0.01 + 0.3 * market, np.where(rng.random(days) < 0.9, 0.0, 0.02), np.zeros(days),
                    np.full(days, 0.001)):
        assert of_days(returns, market) == pytest.approx(one_by_one(returns, market), rel=1e-9, abs=1e-12, nan_ok=True)


def test_unknown_returns_and_a_still_market():
    returns = np.array([0.01, np.nan, -0.02, 0.03, 0.0])
    assert of_days(returns, np.zeros(5)) == pytest.approx(one_by_one(returns, np.zeros(5)), rel=1e-12, nan_ok=True)
    still = of_days(np.array([0.01, -0.01, 0.02]), np.zeros(3))
    assert np.isnan(still["beta"]) and np.isnan(still["alpha"]) and still["sharpe"] > 0
