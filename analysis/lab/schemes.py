"""The same module scores combined in other ways, side by side: does the default deserve its place? (methods.md 3, last paragraphs)

Only the lab builds these; none of them feeds a signal. A scheme would replace the default only by the rule of methods.md 2.1(7):
its IC is larger, with an interval above zero, in at least 4 of 5 folds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from analysis.lab.cards import GroupCoefficient, Verdict, plain, verdict_of
from analysis.lab.panel import Panel
from analysis.lab.targets import ScoreSpec, target
from analysis.scaling import WINDOW_BARS, pr
from analysis.statistics.blocks import DRAWS, block_length, bootstrap_means, mean_interval, percentile_interval
from analysis.statistics.prediction import Coefficient, Ordered, Paired, coefficient, grouped_ic, standardised
from data.market import DAY_MS

SCHEMES = ("corrected", "as_proposed", "weighted_as_proposed", "equal", "rank", "pca", "stack")
COVERAGE_NEEDED = 0.65
STACK_LABELS = 1000
FOLDS = 5
FOLDS_TO_WIN = 4
PERTURBATIONS = 200
PERTURBED = (0.5, 1.5)
FLIPS_ALLOWED = 0.10
PERIODS = 4


@dataclass(frozen=True)
class Member:
    """One module inside a composite.

    `presented` is the number as the module shows it, mapped to 0..1 (C: (C+1)/2), without turning it round. `typed` points the
    composite's way: larger means the composite is larger. `proposed_weight` is its weight in methods.md 3. Arrays of shape
    (bars,), NaN unknown.
    """

    name: str
    presented: np.ndarray
    typed: np.ndarray
    proposed_weight: float


@dataclass(frozen=True)
class SchemeResult:
    """One way to combine, on the rows where it and the default are both known. `reason` says why there is no result.

    `d_ic` is its IC minus the default's in the expected direction, with a paired stationary bootstrap interval. `folds_won` counts the
    fifths of the sample where that interval lies above zero.
    """

    scheme: str
    found: Coefficient | None
    d_ic: float = math.nan
    d_low: float = math.nan
    d_high: float = math.nan
    folds_won: int = 0
    replaces: bool = False
    reason: str = ""

    def document(self) -> dict[str, Any]:
        return plain(asdict(self))


def weighted_mean(columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean of the known columns by weight, shape (bars,); NaN where less than 65 % of the weight is known. `columns` (bars, members)."""
    known = np.isfinite(columns)
    total = known @ weights
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total >= COVERAGE_NEEDED * weights.sum() - 1e-12, np.where(known, columns, 0.0) @ weights / total, np.nan)


def first_component(columns: np.ndarray, close_time: np.ndarray, *, window: int = WINDOW_BARS) -> np.ndarray:
    """First principal component of the trailing window, refit at 00:00 UTC from the bars closed before it, sign fixed to the first member.

    Columns are standardised with the window's own mean and sd. NaN before the first fit, where a member is unknown, and for the day
    where the window holds less than 80 % of known rows or a member stands still.
    """
    n = len(columns)
    out = np.full(n, np.nan)
    midnights = (np.flatnonzero(np.diff(close_time // DAY_MS)) + 1).tolist()
    for first, stop in pairwise([0, *midnights, n]):
        past = columns[max(0, first - window) : first]
        past = past[np.isfinite(past).all(axis=1)]
        if len(past) < 0.8 * window:
            continue
        mean, sd = past.mean(axis=0), past.std(axis=0)
        if not np.all(sd > 1e-12):
            continue
        z = (past - mean) / sd
        loading = np.linalg.eigh(z.T @ z)[1][:, -1]
        loading = loading * (1.0 if loading[0] >= 0 else -1.0)
        out[first:stop] = ((columns[first:stop] - mean) / sd) @ loading
    return out


def stacked(columns: np.ndarray, outcome: np.ndarray, horizon: int, *, folds: int = FOLDS) -> tuple[np.ndarray, str]:
    """Out-of-fold log-odds of a logit on the members for "the outcome is above its median so far", and why there is none.

    Expanding walk-forward: fold k is predicted from every h-th row before it, less the last h rows, whose outcomes were not known
    when the fold began. The first sixth only trains. Needs 1,000 outcomes that do not overlap.
    """
    out = np.full(len(outcome), np.nan)
    known = np.flatnonzero(np.isfinite(columns).all(axis=1) & np.isfinite(outcome))
    if len(known) < STACK_LABELS * horizon:
        return out, f"needs {STACK_LABELS} outcomes that do not overlap, {len(known) // horizon} known"
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    parts = np.array_split(known, folds + 1)
    for part in parts[1:]:
        train = known[known < part[0] - horizon][::horizon]
        yes = outcome[train] > np.median(outcome[train])
        if not yes.any():
            continue
        scaler = StandardScaler().fit(columns[train])
        model = LogisticRegression().fit(scaler.transform(columns[train]), yes)
        out[part] = model.decision_function(scaler.transform(columns[part]))
    return out, ""


def combine(members: Sequence[Member], close_time: np.ndarray) -> dict[str, np.ndarray]:
    """Every scheme that needs no outcome, by name; arrays of shape (bars,)."""
    presented = np.column_stack([m.presented for m in members])
    typed = np.column_stack([m.typed for m in members])
    even = np.ones(len(members))
    percentile = np.column_stack([pr(m.typed) for m in members])
    return {
        "as_proposed": weighted_mean(presented, even),  # the brief's untyped mean, on purpose (decisions.md 16)
        "weighted_as_proposed": weighted_mean(typed, np.array([m.proposed_weight for m in members])),
        "equal": weighted_mean(typed, even),
        "rank": weighted_mean(percentile, even),
        "pca": first_component(typed, close_time),
    }


def compare_schemes(panel: Panel, spec: ScoreSpec, members: Sequence[Member], horizon: int, *, draws: int = DRAWS, seed: int = 0,
                    given: Mapping[str, np.ndarray] | None = None) -> tuple[SchemeResult, ...]:
    """The composite `spec.name` of the panel ("corrected", the default) beside the other schemes over the same inputs.

    `given` holds schemes that were computed elsewhere because they need more than the members (gates), by name.
    """
    outcome = target(spec.target).outcome(panel, horizon)
    default = panel.scores[spec.name]
    made = {**combine(members, panel.close_time), **(given or {})}
    made["stack"], lacking = stacked(np.column_stack([m.typed for m in members]), outcome, horizon)
    rows = np.isfinite(default) & np.isfinite(outcome)
    results = [SchemeResult("corrected", _coefficient(default, outcome, rows, horizon, spec)[0])]
    for name in SCHEMES[1:]:
        rows = np.isfinite(default) & np.isfinite(outcome) & np.isfinite(made[name])
        if name == "stack" and lacking:
            results.append(SchemeResult(name, None, reason=lacking))
            continue
        mine, u = _coefficient(made[name], outcome, rows, horizon, spec)
        base, v = _coefficient(default, outcome, rows, horizon, spec)
        if not (math.isfinite(mine.ic) and math.isfinite(base.ic)):
            results.append(SchemeResult(name, None, reason="no bar has it, the default and an outcome, or one of them does not vary"))
            continue
        sign = 1 if name == "stack" else spec.sign  # a fitted score already points at the outcome
        difference = sign * u - spec.sign * v
        block = min(max(2.0 * horizon, block_length(difference)), len(difference) / 3)
        low, high = percentile_interval(bootstrap_means(difference[:, None], block=block, draws=draws, seed=seed)[:, 0])
        won = sum(mean_interval(part, shortest=2.0 * horizon)[0] > 0 for part in np.array_split(difference, FOLDS))
        results.append(SchemeResult(name, mine, float(difference.mean()), low, high, won, won >= FOLDS_TO_WIN and low > 0))
    return tuple(results)


def _coefficient(score: np.ndarray, outcome: np.ndarray, rows: np.ndarray, horizon: int,
                 spec: ScoreSpec) -> tuple[Coefficient, np.ndarray]:
    """The IC on given rows and its terms x_t y_t, whose mean it is."""
    x, y = (standardised(Ordered(v).ranks(rows)) for v in (score, outcome))
    return coefficient(x, y, horizon, spec.memory_bars), x * y


@dataclass(frozen=True)
class WeightBand:
    """IC when every weight is multiplied by U(.5, 1.5) and renormalised. `flips`: share of draws with another verdict, each draw
    judged as a family of one."""

    ic: float
    low: float
    high: float
    smallest: float
    largest: float
    flips: float
    verdict: Verdict
    words: str

    def document(self) -> dict[str, Any]:
        return plain(asdict(self))


def weight_band(panel: Panel, spec: ScoreSpec, weights: Mapping[str, float], build: Callable[[Mapping[str, float]], np.ndarray],
                horizon: int, *, draws: int = PERTURBATIONS, seed: int = 0) -> WeightBand:
    """How much the verdict hangs on the exact weights.

    Parameters
    ----------
    weights : mapping of name to weight
        The default ones; the sum of their sizes is kept.
    build : callable
        From weights to the score over the panel's bars, shape (bars,); `weighted_mean` for a plain one.
    """
    outcome = Ordered(target(spec.target).outcome(panel, horizon))
    rng = np.random.default_rng(seed)
    names, base = list(weights), np.array(list(weights.values()), float)
    shared: dict[bytes, Paired] = {}

    def judged(chosen: np.ndarray) -> tuple[float, Verdict]:
        score = Ordered(build(dict(zip(names, chosen.tolist(), strict=True))))
        rows = score.known & outcome.known
        key = np.packbits(rows).tobytes()
        if key not in shared:
            shared[key] = Paired(standardised(outcome.ranks(rows)))
        x = standardised(score.ranks(rows))
        found = coefficient(x, shared[key], horizon, spec.memory_bars)
        ic, size = grouped_ic(x, shared[key].y, np.arange(found.n) * PERIODS // max(found.n, 1), PERIODS)
        periods = tuple(GroupCoefficient(str(i), float(v), int(c)) for i, (v, c) in enumerate(zip(ic, size, strict=True)))
        return found.ic, verdict_of(found, found.p_value, spec.sign, periods)

    ic, verdict = judged(base)
    drawn = []
    for _ in range(draws):
        moved = base * rng.uniform(*PERTURBED, len(base))
        drawn.append(judged(moved * np.abs(base).sum() / np.abs(moved).sum()))
    values = np.array([v for v, _ in drawn])
    flips = float(np.mean([each is not verdict for _, each in drawn]))
    low, high = percentile_interval(values)
    known = values[np.isfinite(values)]
    smallest, largest = (float(known.min()), float(known.max())) if len(known) else (math.nan, math.nan)
    state = "weight-sensitive" if flips > FLIPS_ALLOWED else "not weight-sensitive"
    words = (f"{state}: with every weight times 0.5 to 1.5 the IC lies in [{low:+.3f}, {high:+.3f}], the verdict changes in "
             f"{flips:.0%} of {draws} draws")
    return WeightBand(ic, low, high, smallest, largest, flips, verdict, words)
