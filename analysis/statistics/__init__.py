"""Performance and risk formulas, one implementation for modules, models, backtest and lab (decisions.md 28).

Returns are simple returns per period unless a docstring says otherwise; a loss quantile is a positive fraction. Rows that are
not finite are days nobody observed: they are left out and do not count, they are never a return of zero.
"""

from __future__ import annotations

from analysis.statistics.blocks import block_length, bootstrap_means, mean_error, mean_interval, percentile_interval
from analysis.statistics.coverage import CoverageTest, independence, kupiec, kupiec_region
from analysis.statistics.events import area_under_curve, average_precision, bootstrap_intervals, brier, lift, qlike, reliability
from analysis.statistics.extremes import PeaksOverThreshold, fit_tail
from analysis.statistics.filtered import FHS_DECAY, ewma_variance, filtered_returns, filtered_var_es, simulate_horizon
from analysis.statistics.multiplicity import benjamini_hochberg, benjamini_yekutieli, clopper_pearson, wilson
from analysis.statistics.performance import drawdown, max_drawdown, rolling_ratios, sharpe, sharpe_error, sortino
from analysis.statistics.prediction import (
    Coefficient,
    cross_sectional,
    grouped_ic,
    half_life,
    hit_rate,
    quintiles,
    rank_ic,
    shift_p_value,
    turnover,
)
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
    "FHS_DECAY", "Coefficient", "CornishFisher", "CoverageTest", "PeaksOverThreshold", "area_under_curve", "average_precision",
    "benjamini_hochberg", "benjamini_yekutieli", "block_length", "bootstrap_intervals", "bootstrap_means", "brier", "clopper_pearson",
    "cornish_fisher", "cross_sectional", "drawdown", "ewma_variance", "filtered_returns", "filtered_var_es", "fit_tail",
    "gaussian_es", "gaussian_var", "grouped_ic", "half_life", "historical_es", "historical_var", "hit_rate", "independence", "kupiec",
    "kupiec_region", "lift", "max_drawdown", "mean_error", "mean_interval", "percentile_interval", "qlike", "quintiles", "rank_ic",
    "reliability", "rolling_ratios", "rolling_var_es", "sharpe", "sharpe_error", "shift_p_value", "simulate_horizon", "sortino",
    "student_t_es", "turnover", "wilson",
]
