"""Scores against things that happen or do not, and volatility forecasts against volatility: AUC, Brier, lift, precision, QLIKE.

`yes` holds 0 or 1; rows are known on both sides (no NaN). Intervals come from the stationary block bootstrap, because events and
overlapping outcomes come in runs. A statistic is a function of how often each row counts, so one sort serves all draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from analysis.statistics.blocks import DRAWS, block_length, counts, percentile_interval

TOP_SHARE = 0.10  # lift looks at the highest tenth of the score
BINS = 10


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


Weighted = Callable[[np.ndarray], float]


def _ratio(a: float, b: float) -> float:
    return float(a / b) if b > 0 else math.nan


def area_under_curve(score: np.ndarray, yes: np.ndarray) -> Weighted:
    """P(score of an event > score of a non-event), ties half: 0.5 knows nothing. NaN without both kinds.

    References
    ----------
    Hanley & McNeil (1982), "The meaning and use of the area under a ROC curve".
    """
    order = np.argsort(score, kind="stable")
    ascending, event = score[order], yes[order].astype(float)
    first = np.flatnonzero(np.concatenate(([True], ascending[1:] != ascending[:-1])))

    def value(often: np.ndarray) -> float:
        w = often[order]
        hit = np.add.reduceat(w * event, first)
        miss = np.add.reduceat(w * (1.0 - event), first)
        return _ratio(float(hit @ (np.cumsum(miss) - 0.5 * miss)), float(hit.sum() * miss.sum()))

    return value


def average_precision(score: np.ndarray, yes: np.ndarray) -> Weighted:
    """`sum_n (recall_n - recall_{n-1}) precision_n` from the highest score down, ties together: scikit-learn's definition.

    A score that knows nothing reaches the base rate. NaN without an event.
    """
    order = np.argsort(-score, kind="stable")
    descending, event = score[order], yes[order].astype(float)
    first = np.flatnonzero(np.concatenate(([True], descending[1:] != descending[:-1])))

    def value(often: np.ndarray) -> float:
        w = often[order]
        hit, all_ = np.add.reduceat(w * event, first), np.add.reduceat(w, first)
        called = np.cumsum(all_)
        precision = np.cumsum(hit) / np.maximum(called, 1)
        return _ratio(float(hit @ precision), float(hit.sum()))

    return value


def lift(score: np.ndarray, yes: np.ndarray) -> Weighted:
    """Event rate among the highest tenth of the score over the rate among all: 1 knows nothing. The threshold stays fixed over draws."""
    top = score >= np.quantile(score, 1 - TOP_SHARE)
    event = yes.astype(float)

    def value(often: np.ndarray) -> float:
        return _ratio(_ratio(float(often[top] @ event[top]), float(often[top].sum())), _ratio(float(often @ event), float(often.sum())))

    return value


def brier(probability: np.ndarray, yes: np.ndarray) -> Weighted:
    """`mean (p - yes)^2`, smaller is better (Brier 1950)."""
    loss = (probability - yes) ** 2
    return lambda often: _ratio(float(often @ loss), float(often.sum()))


def qlike(forecast_variance: np.ndarray, realised_variance: np.ndarray) -> Weighted:
    """`mean (v/f - ln(v/f) - 1)`, v realised and f forecast variance of the same span: 0 is perfect, robust to a noisy v.

    NaN where one of them is not above zero.

    References
    ----------
    Patton (2011), "Volatility forecast comparison using imperfect volatility proxies".
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = realised_variance / forecast_variance
        loss = np.where(ratio > 0, ratio - np.log(ratio) - 1.0, np.nan)
    return lambda often: _ratio(float(often @ loss), float(often.sum()))


def bootstrap_intervals(statistics: Mapping[str, Weighted], n: int, *, block: float, draws: int = DRAWS,
                        seed: int = 0) -> dict[str, Estimate]:
    """Each statistic on the n rows as they are, and the middle 95 % of its stationary bootstrap draws; all share the draws."""
    drawn = np.array([[statistic(often) for statistic in statistics.values()]
                      for often in counts(n, block=block, draws=draws, seed=seed)]).reshape(draws, len(statistics))
    once = np.ones(n)
    return {name: Estimate(statistic(once), *percentile_interval(drawn[:, i])) for i, (name, statistic) in enumerate(statistics.items())}


def event_block(yes: np.ndarray, horizon: int) -> float:
    """max(2h, Politis-White of the events), at most a third of the rows."""
    return min(max(2.0 * horizon, block_length(yes.astype(float))), len(yes) / 3)


@dataclass(frozen=True)
class ReliabilityBin:
    """Rows whose stated probability fell into one bin: their mean probability, how often it happened, how many they are."""

    stated: float
    happened: float
    rows: int


def reliability(probability: np.ndarray, yes: np.ndarray, *, bins: int = BINS) -> tuple[ReliabilityBin, ...]:
    """Bins of equal mass in the order of the stated probability; fewer where there are fewer rows."""
    order = np.argsort(probability, kind="stable")
    return tuple(ReliabilityBin(float(probability[part].mean()), float(yes[part].mean()), len(part))
                 for part in np.array_split(order, bins) if len(part))
