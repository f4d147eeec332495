"""What a set of predictions was worth: how often calls were right, Brier against the base rate, and how true the probabilities were."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.paper.predictions import Logged

CLASSES = (1, 0, -1)
MOST_BINS = 10
MOST_ROWS = 5_000
LEAST_ROWS = 15  # a bin


@dataclass(frozen=True)
class Bin:
    """Predictions of about the same probability: the stated mean, how often it happened, how many they are."""

    stated: float
    happened: float
    rows: int


@dataclass(frozen=True)
class Grades:
    """Predictions graded by what came.

    Attributes
    ----------
    made, graded, abstained, calls, right : int
        `calls` are graded calls up or down, `right` those that came so.
    low, high : float
        95 % Wilson interval of right / calls, on calls / horizon trials because predictions of neighbouring bars share their outcome;
        NaN without a call.
    brier, brier_base : float
        Means over the graded rows that have both, in [0, 1], lower is better; the base is what the class frequencies kept with each
        prediction would have scored. NaN where there is none.
    skill : tuple of float
        1 - brier / brier_base, and its 95 % interval by the stationary bootstrap over blocks of two horizons of all series, on the newest
        5,000 graded rows; NaN where there is no base rate.
    reliability : dict of int to tuple of Bin
        By class (1 rose, 0 flat, -1 fell), bins of equal mass in the order of the stated probability.
    confusion : tuple of tuple of int
        Rows: what was called (up, none, down); columns: what came (rose, flat, fell).
    """

    made: int
    graded: int
    abstained: int
    calls: int
    right: int
    low: float
    high: float
    brier: float
    brier_base: float
    skill: tuple[float, float, float]
    reliability: dict[int, tuple[Bin, ...]]
    confusion: tuple[tuple[int, ...], ...]


def grade(rows: Sequence[Logged]) -> Grades:
    """Grade a selection of predictions."""
    from analysis.statistics import wilson

    settled = [r for r in rows if r.settled is not None]
    called = [r for r in settled if not r.abstained and r.call]
    right = sum(np.sign(r.outcome or 0.0) == r.call for r in called)
    low = high = math.nan
    if called:
        horizon = float(np.mean([r.horizon for r in called]))
        low, high = wilson(right / len(called), max(len(called) / horizon, 1.0))
    both = [(s["brier"], s["brier_base"]) for r in settled if (s := r.settled) is not None and "brier" in s and "brier_base" in s]
    brier, base = (math.fsum(x) / len(both) for x in zip(*both, strict=True)) if both else (math.nan, math.nan)
    series = len({(r.key, r.label) for r in settled})
    skill = _skill(np.array(both[-MOST_ROWS:], float), 2.0 * series * max((r.horizon for r in settled), default=1))
    table = [[0, 0, 0] for _ in CLASSES]
    for r in settled:
        table[CLASSES.index(0 if r.abstained else int(np.sign(r.call)))][CLASSES.index(int(np.sign(r.outcome or 0.0)))] += 1
    return Grades(len(rows), len(settled), sum(r.abstained for r in rows), len(called), int(right), low, high, brier, base, skill,
                  {c: bins for c in CLASSES if (bins := _bins(settled, c))}, tuple(map(tuple, table)))


def _skill(both: np.ndarray, block: float) -> tuple[float, float, float]:
    from analysis.statistics.events import bootstrap_intervals

    if len(both) < 2:
        return math.nan, math.nan, math.nan
    own, base = both.T

    def lower(often: np.ndarray) -> float:
        return 1.0 - float(often @ own) / float(often @ base) if float(often @ base) > 0.0 else math.nan

    found = bootstrap_intervals({"skill": lower}, len(both), block=max(1.0, min(block, len(both) / 3)))["skill"]
    return found.value, found.low, found.high


def _bins(rows: Sequence[Logged], wanted: int) -> tuple[Bin, ...]:
    from analysis.statistics.events import reliability

    held = [(float(r.content["probability"][str(wanted)]), float(round(r.outcome or 0.0) == wanted)) for r in rows
            if str(wanted) in r.content["probability"]]
    bins = min(MOST_BINS, len(held) // LEAST_ROWS)
    if bins < 2:
        return ()
    stated, came = (np.array(v) for v in zip(*held, strict=True))
    return tuple(Bin(b.stated, b.happened, b.rows) for b in reliability(stated, came, bins=bins))
