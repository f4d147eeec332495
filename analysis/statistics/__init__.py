"""Performance and risk formulas, one implementation for modules, models, backtest and lab (decisions.md 28).

Returns are simple returns per period unless a docstring says otherwise; a loss quantile is a positive fraction. Rows that are
not finite are days nobody observed: they are left out and do not count, they are never a return of zero.
"""

from __future__ import annotations

from analysis.statistics.coverage import CoverageTest, independence, kupiec, kupiec_region
from analysis.statistics.extremes import PeaksOverThreshold, fit_tail
from analysis.statistics.filtered import FHS_DECAY, ewma_variance, filtered_returns, filtered_var_es, simulate_horizon
from analysis.statistics.performance import drawdown, max_drawdown, rolling_ratios, sharpe, sharpe_error, sortino
from analysis.statistics.tails import (
    CornishFisher,
    cornish_fisher,
    gaussian_es,
    gaussian_var,
    historical_es,
    historical_var,
    rolling_var_es,
    student_t_es,
)

__all__ = [
    "FHS_DECAY", "CornishFisher", "CoverageTest", "PeaksOverThreshold", "cornish_fisher", "drawdown", "ewma_variance",
    "filtered_returns", "filtered_var_es", "fit_tail", "gaussian_es", "gaussian_var", "historical_es", "historical_var",
    "independence", "kupiec", "kupiec_region", "max_drawdown", "rolling_ratios", "rolling_var_es", "sharpe", "sharpe_error",
    "simulate_horizon", "sortino", "student_t_es",
]
