"""Figures of an equity curve and of a list of trades: by hand, and where they do not exist."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.statistics import performance, trade_record

PNL = np.array([10.0, -5.0, 0.0, 20.0, -10.0])


def test_a_list_of_trades_by_hand():
    """Gains 30 over losses 15; wins 2 of 5 (the zero counts as a trade); average gain 15 over average loss 7.5."""
    share, low, high = trade_record.win_rate(PNL)
    assert share == 0.4 and low == pytest.approx(0.1176, abs=1e-4) and high == pytest.approx(0.7693, abs=1e-4)
    assert trade_record.profit_factor(PNL) == 2.0 and trade_record.payoff(PNL) == 2.0
    assert trade_record.expectancy(np.array([1.0, -0.5, math.nan])) == 0.25
    assert trade_record.system_quality(np.array([1.0, 2.0, 3.0])) == pytest.approx(math.sqrt(3) * 2)


def test_what_does_not_exist_is_nan():
    gains = np.array([1.0, 2.0])
    assert math.isnan(trade_record.profit_factor(gains)) and math.isnan(trade_record.payoff(gains))
    assert math.isnan(trade_record.profit_factor(np.empty(0))) and math.isnan(trade_record.win_rate(np.empty(0))[0])
    assert math.isnan(trade_record.system_quality(np.ones(3))) and math.isnan(trade_record.expectancy(np.empty(0)))
    assert math.isnan(performance.cagr(100.0, 120.0, days=29.0)) and math.isnan(performance.cagr(100.0, 0.0, days=365.0))
    assert math.isnan(performance.calmar(0.1, 0.0)) and math.isnan(performance.volatility(np.array([0.1])))
    assert math.isnan(performance.tail_ratio(np.zeros(5))) and math.isnan(performance.beta_alpha(np.ones(5), np.ones(5))[0])
    assert math.isnan(performance.turnover_per_year(1.0, 0.0, days=10.0)) and math.isnan(performance.ulcer(np.empty(0)))


def test_an_equity_curve_by_hand():
    """100 120 90 108 120 130: deepest -25 % at row 2, below its high for rows 2 and 3, back at row 4."""
    depths = performance.drawdown(np.array([100.0, 120.0, 90.0, 108.0, 120.0, 130.0]))
    assert depths.min() == pytest.approx(-0.25) and performance.drawdown_length(depths) == (2.0, 2.0)
    assert performance.ulcer(depths) == pytest.approx(math.sqrt((0.25**2 + 0.1**2) / 6))
    assert performance.cagr(100.0, 121.0, days=730.0) == pytest.approx(0.10)
    assert performance.calmar(0.10, -0.25) == pytest.approx(0.4)
    assert performance.turnover_per_year(20_000.0, 10_000.0, days=73.0) == pytest.approx(5.0)


def test_a_drawdown_that_never_ended_and_one_that_never_began():
    length, recovery = performance.drawdown_length(performance.drawdown(np.array([100.0, 90.0, 95.0])))
    assert length == 2.0 and math.isnan(recovery)
    assert performance.drawdown_length(performance.drawdown(np.array([1.0, 2.0]))) == (0.0, 0.0)


def test_drawdown_is_the_same_with_and_without_missing_rows():
    values = np.array([100.0, 120.0, 90.0, 130.0])
    holed = np.array([100.0, 120.0, np.nan, 90.0, 130.0])
    np.testing.assert_array_equal(performance.drawdown(values), performance.drawdown(holed)[[0, 1, 3, 4]])


def test_beta_and_alpha_of_a_planted_line():
    market = np.random.Generator(np.random.PCG64(1)).normal(0, 0.03, 400)
    beta, alpha = performance.beta_alpha(0.5 * market + 0.001, market)
    assert beta == pytest.approx(0.5) and alpha == pytest.approx(0.365)
    assert performance.tail_ratio(np.concatenate((np.linspace(-1, 1, 101),))) == pytest.approx(1.0)
