"""What the lab says: one card per score, horizon and symbol, one pooled card per score, and the verdicts in words (methods.md 4)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from analysis.statistics.events import Estimate, ReliabilityBin
from analysis.statistics.prediction import Coefficient, CrossSection, HitRate, Quintiles

OUTCOMES_NEEDED = 30  # n / h: below it both tests reject too often
Q_BELOW = 0.10
P_BELOW = 0.05
SAME_SIGN_SHARE = 2 / 3
SUSPICIOUS_IC = 0.15


class Verdict(StrEnum):
    SUPPORTED = "supported"
    WEAK = "weak"
    NO_EVIDENCE = "no evidence"
    CONTRADICTED = "contradicted"
    INSUFFICIENT = "insufficient"


@dataclass(frozen=True)
class GroupCoefficient:
    """IC inside a regime, a quarter or a period: `ic` NaN where it has too few rows."""

    name: str
    ic: float
    n: int


@dataclass(frozen=True)
class EventCard:
    """A score against something that happens or not. `brier` and `reliability` only for a score that is a probability."""

    base_rate: float
    events: int
    auc: Estimate
    lift: Estimate
    average_precision: Estimate
    brier: Estimate | None
    reliability: tuple[ReliabilityBin, ...]
    block_bars: float


@dataclass(frozen=True)
class ValidityCard:
    """One score against one target over one horizon for one symbol.

    IC is Spearman's rho of score and outcome; for an event target, of score and the 0/1 outcome. `q_value` is over the whole report
    (Benjamini-Hochberg), `q_any_dependence` the Benjamini-Yekutieli one. `turnover` is mean |dS| per bar; `break_even_cost` is the
    spread Q5-Q1 over mean |S_t - S_{t-h}|: log return per unit of score moved by one who holds h bars.
    """

    score: str
    symbol: str
    target: str
    horizon_bars: int
    sign: int
    found: Coefficient
    q_value: float
    q_any_dependence: float
    hit: HitRate | None
    quintiles: Quintiles | None
    qlike: Estimate | None
    event: EventCard | None
    turnover: float
    break_even_cost: float
    by_regime: tuple[GroupCoefficient, ...]
    by_quarter: tuple[GroupCoefficient, ...]
    by_period: tuple[GroupCoefficient, ...]
    in_sample_share: float
    verdict: Verdict
    words: str
    warnings: tuple[str, ...] = ()

    @property
    def ic(self) -> float:
        return self.found.ic

    def document(self) -> dict[str, Any]:
        return plain(asdict(self))


@dataclass(frozen=True)
class PooledHorizon:
    """One horizon over all symbols: mean IC, the share of symbols whose IC has the sign of the mean, verdicts, ranks across symbols."""

    horizon_bars: int
    mean_ic: float
    same_sign_share: float
    symbols: int
    supported: int
    contradicted: int
    across: CrossSection | None


@dataclass(frozen=True)
class PooledCard:
    """One score over all symbols. `best_horizon_bars` was picked by looking: the family of tests counts all of them."""

    score: str
    target: str
    sign: int
    decay: tuple[PooledHorizon, ...]
    best_horizon_bars: int | None
    half_life_bars: float
    words: str

    def document(self) -> dict[str, Any]:
        return plain(asdict(self))


@dataclass(frozen=True)
class LabReport:
    """Everything of one run. `family` is the number of cells, `tested` those with enough outcomes to enter the q-values."""

    cards: tuple[ValidityCard, ...]
    pooled: tuple[PooledCard, ...]
    family: int
    tested: int

    def count(self, verdict: Verdict) -> int:
        return sum(c.verdict is verdict for c in self.cards)

    def card(self, score: str, symbol: str, horizon_bars: int, target: str | None = None) -> ValidityCard:
        return next(c for c in self.cards if (c.score, c.symbol, c.horizon_bars) == (score, symbol, horizon_bars)
                    and target in (None, c.target))

    def summary(self) -> list[dict[str, Any]]:
        """One flat row a card, for a table."""
        rows = []
        for c in self.cards:
            f, q = c.found, c.quintiles
            rows.append(plain({
                "score": c.score, "symbol": c.symbol, "target": c.target, "horizon_bars": c.horizon_bars, "ic": f.ic, "low": f.low,
                "high": f.high, "p_value": f.p_value, "q_value": c.q_value, "n": f.n, "n_eff": f.n_eff,
                "hit_rate": c.hit.share if c.hit else math.nan, "spread": q.spread if q else math.nan, "turnover": c.turnover,
                "break_even_cost": c.break_even_cost, "verdict": c.verdict.value,
            }))
        return rows

    def document(self) -> dict[str, Any]:
        return {"family": self.family, "tested": self.tested, "verdicts": {v.value: self.count(v) for v in Verdict},
                "cards": [c.document() for c in self.cards], "pooled": [p.document() for p in self.pooled]}


def plain(value: Any) -> Any:
    """JSON values; a number that is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, StrEnum):
        return value.value
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def stable(found: Coefficient, periods: tuple[GroupCoefficient, ...]) -> tuple[int, int]:
    """In how many disjoint periods the IC has the sign of the whole, of how many."""
    known = [p for p in periods if math.isfinite(p.ic)]
    return sum(p.ic * found.ic > 0 for p in known), len(known)


def verdict_of(found: Coefficient, q_value: float, sign: int, periods: tuple[GroupCoefficient, ...]) -> Verdict:
    """The rule of methods.md 4.

    supported: q < .10 with the expected sign, that sign in at least 2/3 of at least 4 periods, interval without 0. contradicted: q < .10
    with the other sign. weak: p < .05 with the expected sign but one of the other conditions fails. insufficient: n/h < 30 or
    a side that does not vary. Else no evidence.
    """
    if not math.isfinite(found.ic) or not math.isfinite(found.p_value) or found.n_eff < OUTCOMES_NEEDED:
        return Verdict.INSUFFICIENT
    expected = found.ic * sign > 0
    if q_value < Q_BELOW and not expected:
        return Verdict.CONTRADICTED
    agreeing, known = stable(found, periods)
    if q_value < Q_BELOW and known >= 4 and agreeing >= SAME_SIGN_SHARE * known - 1e-12 and found.excludes_zero:
        return Verdict.SUPPORTED
    return Verdict.WEAK if expected and found.p_value < P_BELOW else Verdict.NO_EVIDENCE


def warnings_of(found: Coefficient, priced: bool) -> tuple[str, ...]:
    """Honest hourly effects are .02 to .05; volatility follows volatility by far more, so only returns are suspect."""
    if priced and abs(found.ic) > SUSPICIOUS_IC:
        return (f"check for leakage: |IC| {abs(found.ic):.2f} is above {SUSPICIOUS_IC}; honest effects are .02 to .05",)
    return ()


def words_of(found: Coefficient, q_value: float, verdict: Verdict, sign: int, horizon: int, target: str,
             periods: tuple[GroupCoefficient, ...]) -> str:
    """One or two sentences a card shows beside its verdict."""
    if verdict is Verdict.INSUFFICIENT:
        if found.n < 2:
            return "Insufficient data: no bar has both a score and an outcome."
        if not math.isfinite(found.ic):
            return "Insufficient data: the score or its outcome does not vary."
        return (f"Insufficient data: {found.n} bars are worth {found.n_eff:.0f} separate outcomes of {horizon} bars, "
                f"{OUTCOMES_NEEDED} needed.")
    size = f"rank IC {found.ic:+.3f} [{found.low:+.3f}, {found.high:+.3f}] with the {target} of the next {horizon} bars"
    agreeing, known = stable(found, periods)
    if verdict is Verdict.SUPPORTED:
        return f"Supported: {size}, q {q_value:.3f}, same sign in {agreeing} of {known} periods."
    if verdict is Verdict.CONTRADICTED:
        return f"Contradicted: {size}, q {q_value:.3f}, the opposite of what the score says."
    if verdict is Verdict.WEAK:
        if q_value >= Q_BELOW:
            why = f"p {found.p_value:.3f} alone, but q {q_value:.2f} among all tests of this report"
        elif not found.excludes_zero:
            why = f"q {q_value:.3f}, but the interval includes zero"
        else:
            why = f"q {q_value:.3f}, but the same sign in only {agreeing} of {known} periods"
        return f"Weak: {size}; {why}."
    side = " It points the wrong way." if found.p_value < P_BELOW and found.ic * sign < 0 else ""
    return f"Not distinguishable from zero: {size}, p {found.p_value:.2f}.{side}"
