"""The lab itself: every score against its targets, for every symbol and horizon, as one family of tests (methods.md 4)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.lab.cards import (
    EventCard,
    GroupCoefficient,
    LabReport,
    PooledCard,
    PooledHorizon,
    ValidityCard,
    Verdict,
    verdict_of,
    warnings_of,
    words_of,
)
from analysis.lab.panel import Panel
from analysis.lab.targets import ScoreSpec, Target, target
from analysis.statistics import events
from analysis.statistics.blocks import DRAWS
from analysis.statistics.multiplicity import benjamini_hochberg, benjamini_yekutieli
from analysis.statistics.prediction import (
    Across,
    CrossSection,
    Ordered,
    Paired,
    coefficient,
    cross_sectional,
    grouped_ic,
    half_life,
    hit_rate,
    quintiles,
    standardised,
    turnover,
)

PERIODS = 4
GROUP_OUTCOMES = 5  # a regime or quarter is worth at least so many separate outcomes, or its IC is left out
SYMBOLS_ACROSS = 5


@dataclass(frozen=True)
class _Known:
    """The rows where a score and an outcome are both known, and what of them does not depend on the score."""

    rows: np.ndarray
    outcome: np.ndarray
    paired: Paired


class _Bench:
    """One symbol at work: every sort is made once, every outcome once, and ranks of an outcome once per set of rows."""

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        self.scores: dict[str, Ordered] = {}
        self.outcomes: dict[tuple[str, int], Ordered] = {}
        self._known: dict[tuple[str, int, bytes], _Known] = {}
        regimes = np.asarray(panel.regime if panel.regime is not None else [], dtype=str)
        self.regime_names, self.regime = np.unique(regimes, return_inverse=True)
        self.quarter_names, self.quarter = np.unique(panel.quarter, return_inverse=True)

    def score(self, name: str) -> Ordered:
        if name not in self.scores:
            self.scores[name] = Ordered(self.panel.scores[name])
        return self.scores[name]

    def outcome(self, kind: Target, horizon: int) -> Ordered:
        if (kind.name, horizon) not in self.outcomes:
            self.outcomes[kind.name, horizon] = Ordered(kind.outcome(self.panel, horizon))
        return self.outcomes[kind.name, horizon]

    def known(self, score: Ordered, kind: Target, horizon: int) -> _Known:
        outcome = self.outcome(kind, horizon)
        rows = score.known & outcome.known
        key = (kind.name, horizon, np.packbits(rows).tobytes())
        if key not in self._known:
            self._known[key] = _Known(rows, outcome.values[rows], Paired(standardised(outcome.ranks(rows))))
        return self._known[key]


def judge(panels: Mapping[str, Panel], specs: Iterable[ScoreSpec], *, frozen_at_ms: int | None = None, draws: int = DRAWS,
          seed: int = 0) -> LabReport:
    """Cards for every score x horizon x symbol, q-values over all of them, pooled cards over the symbols.

    Parameters
    ----------
    panels : mapping of symbol to Panel
        Bars of one interval. A score a panel does not have, or one that is all NaN, gives an "insufficient" card.
    specs : iterable of ScoreSpec
        What is judged against what; `targets.SPECS` is the table of methods.md 4.
    frozen_at_ms : int or None
        When the weights behind the scores were frozen: closes before it are in-sample, and each card says which share of its rows.
    draws : int
        Bootstrap draws of the event statistics (AUC, lift, precision, Brier) and QLIKE.

    Returns
    -------
    LabReport
        Cards in the order symbol, spec, horizon. Cells with fewer than 30 separate outcomes are shown but do not enter the family:
        they are left out for their length, never for their result.
    """
    specs = tuple(specs)
    cards: list[ValidityCard] = []
    for symbol, panel in panels.items():
        bench = _Bench(panel)
        for spec in specs:
            kind = target(spec.target)
            cards += [_card(bench, symbol, spec, kind, h, frozen_at_ms, draws, seed) for h in spec.bars(panel.interval)]
    entered = np.array([c.verdict is not Verdict.INSUFFICIENT for c in cards], bool)
    p = np.array([c.found.p_value for c in cards], float)
    q, dependent = (rate(np.where(entered, p, np.nan)) for rate in (benjamini_hochberg, benjamini_yekutieli))
    finished = tuple(_verdict(card, float(a), float(b)) for card, a, b in zip(cards, q, dependent, strict=True))
    field = _Field(panels) if panels else None
    pooled = tuple(_pool(spec, field, finished) for spec in specs)
    return LabReport(finished, pooled, len(finished), int(entered.sum()))


def _verdict(card: ValidityCard, q: float, dependent: float) -> ValidityCard:
    verdict = verdict_of(card.found, q, card.sign, card.by_period)
    words = card.words or words_of(card.found, q, verdict, card.sign, card.horizon_bars, card.target, card.by_period)
    if card.in_sample_share > 0 and verdict is not Verdict.INSUFFICIENT:
        words += f" {card.in_sample_share:.0%} of the bars lie before the weights were frozen: in-sample."
    return replace(card, q_value=q, q_any_dependence=dependent, verdict=verdict, words=words)


def _card(bench: _Bench, symbol: str, spec: ScoreSpec, kind: Target, horizon: int, frozen_at_ms: int | None, draws: int,
          seed: int) -> ValidityCard:
    """One cell, with the verdict a family of one would give; the report's q-values come later."""
    panel = bench.panel
    if spec.name not in panel.scores:
        return replace(_EMPTY, score=spec.name, symbol=symbol, target=kind.name, horizon_bars=horizon, sign=spec.sign,
                       words=f"Insufficient data: {symbol} has no score {spec.name!r}.")
    score = bench.score(spec.name)
    known = bench.known(score, kind, horizon)
    rows, y = known.rows, known.outcome
    ranks = score.ranks(rows)
    x = standardised(ranks)
    found = coefficient(x, known.paired, horizon, spec.memory_bars)
    by_period: tuple[GroupCoefficient, ...] = ()
    by_quarter, by_regime = by_period, by_period
    n = found.n
    if n and math.isfinite(found.ic):
        whole = known.paired.y
        parts = np.arange(n) * PERIODS // n
        by_period = _groups(x, whole, parts, [f"{i + 1} of {PERIODS}" for i in range(PERIODS)], horizon)
        quarters = [f"{q // 4} Q{q % 4 + 1}" for q in bench.quarter_names]
        by_quarter = _groups(x, whole, bench.quarter[rows], quarters, horizon)
        if panel.regime is not None:
            by_regime = _groups(x, whole, bench.regime[rows], [str(r) for r in bench.regime_names], horizon)
    values = score.values
    churn = turnover(values, panel.segment)
    table = None if kind.event else quintiles(ranks, y, horizon)
    cost = math.nan
    if table is not None and kind.priced:
        moved = turnover(values, panel.segment, horizon)
        cost = spec.sign * table.spread / moved if moved > 0 else math.nan
    enough = found.n_eff >= GROUP_OUTCOMES and math.isfinite(found.ic)
    qlike = None
    if spec.volatility and enough:
        loss = {"qlike": events.qlike(values[rows] ** 2, y**2)}
        qlike = events.bootstrap_intervals(loss, n, block=events.event_block(y, horizon), draws=draws, seed=seed)["qlike"]
    card = replace(
        _EMPTY, score=spec.name, symbol=symbol, target=kind.name, horizon_bars=horizon, sign=spec.sign, found=found,
        hit=hit_rate(spec.sign * (values[rows] - spec.neutral), y, horizon) if kind.priced else None, quintiles=table, qlike=qlike,
        event=_event(spec, values[rows], y, horizon, draws, seed) if kind.event and enough else None, turnover=churn,
        break_even_cost=cost, by_regime=by_regime, by_quarter=by_quarter, by_period=by_period,
        in_sample_share=0.0 if frozen_at_ms is None or not n else float((panel.close_time[rows] < frozen_at_ms).mean()),
        warnings=warnings_of(found, kind.priced))
    return replace(card, verdict=verdict_of(found, found.p_value, spec.sign, by_period))


def _groups(x: np.ndarray, y: np.ndarray, group: np.ndarray, names: Sequence[str], horizon: int) -> tuple[GroupCoefficient, ...]:
    ic, size = grouped_ic(x, y, group, len(names))
    return tuple(GroupCoefficient(name, float(value) if count >= GROUP_OUTCOMES * horizon else math.nan, int(count))
                 for name, value, count in zip(names, ic, size, strict=True) if name and count)


def _event(spec: ScoreSpec, score: np.ndarray, yes: np.ndarray, horizon: int, draws: int, seed: int) -> EventCard:
    lean = spec.sign * score
    asked = {"auc": events.area_under_curve(lean, yes), "lift": events.lift(lean, yes),
             "average_precision": events.average_precision(lean, yes)}
    if spec.probability:
        asked["brier"] = events.brier(score, yes)
    block = events.event_block(yes, horizon)
    found = events.bootstrap_intervals(asked, len(yes), block=block, draws=draws, seed=seed)
    return EventCard(float(yes.mean()), int(yes.sum()), found["auc"], found["lift"], found["average_precision"], found.get("brier"),
                     events.reliability(score, yes) if spec.probability else (), block)


def _pool(spec: ScoreSpec, field: _Field | None, cards: Sequence[ValidityCard]) -> PooledCard:
    mine = [c for c in cards if (c.score, c.target) == (spec.name, spec.target)]
    decay = []
    for horizon in sorted({c.horizon_bars for c in mine}):
        judged = [c for c in mine if c.horizon_bars == horizon and c.verdict is not Verdict.INSUFFICIENT]
        ic = np.array([c.ic for c in judged])
        mean = float(ic.mean()) if len(ic) else math.nan
        same = float((ic * mean > 0).mean()) if len(ic) else math.nan
        across = field.across(spec, target(spec.target), horizon) if field and len(judged) >= SYMBOLS_ACROSS else None
        decay.append(PooledHorizon(horizon, mean, same, len(ic), sum(c.verdict is Verdict.SUPPORTED for c in judged),
                                   sum(c.verdict is Verdict.CONTRADICTED for c in judged), across))
    known = [d for d in decay if math.isfinite(d.mean_ic)]
    best = max(known, key=lambda d: spec.sign * d.mean_ic, default=None)
    life = half_life(np.array([d.horizon_bars for d in known]), np.array([d.mean_ic for d in known])) if known else math.nan
    return PooledCard(spec.name, spec.target, spec.sign, tuple(decay), best.horizon_bars if best else None, life,
                      _pooled_words(spec, best, life, mine))


def _pooled_words(spec: ScoreSpec, best: PooledHorizon | None, life: float, cards: Sequence[ValidityCard]) -> str:
    if best is None:
        return "Insufficient data on every symbol and horizon."
    tested = [c for c in cards if c.verdict is not Verdict.INSUFFICIENT]
    supported = sum(c.verdict is Verdict.SUPPORTED for c in tested)
    against = sum(c.verdict is Verdict.CONTRADICTED for c in tested)
    lasting = f", half of it gone by {life:.0f} bars" if math.isfinite(life) else ""
    return (f"{supported} of {len(tested)} tests supported, {against} contradicted. Strongest at {best.horizon_bars} bars: mean rank IC "
            f"{best.mean_ic:+.3f} over {best.symbols} symbols, {best.same_sign_share:.0%} of them with that sign{lasting}.")


class _Field:
    """All symbols on one grid of bars, matched by their place in time, for ranks across symbols."""

    def __init__(self, panels: Mapping[str, Panel]) -> None:
        self.panels = tuple(panels.values())
        numbers = [p.bar_number for p in self.panels]
        same = all(np.array_equal(numbers[0], other) for other in numbers[1:])
        self.grid = numbers[0] if same else np.unique(np.concatenate(numbers))
        self.rows = [np.searchsorted(self.grid, number) for number in numbers]
        self.made: dict[tuple[str, int], Across] = {}

    def matrix(self, name: str, horizon: int, column: Callable[[Panel], np.ndarray]) -> Across:
        if (name, horizon) not in self.made:
            values = np.full((len(self.grid), len(self.panels)), np.nan)
            for i, panel in enumerate(self.panels):
                values[self.rows[i], i] = column(panel)
            self.made[name, horizon] = Across(values)
        return self.made[name, horizon]

    def across(self, spec: ScoreSpec, kind: Target, horizon: int) -> CrossSection | None:
        if kind.event or len({p.interval for p in self.panels}) != 1:
            return None
        scores = self.matrix(f"score {spec.name}", 0, lambda p: p.scores.get(spec.name, np.full(len(p), np.nan)))
        outcomes = self.matrix(kind.name, horizon, lambda p: kind.outcome(p, horizon))
        return cross_sectional(scores, outcomes, horizon, minimum=SYMBOLS_ACROSS)


_EMPTY = ValidityCard(
    score="", symbol="", target="", horizon_bars=1, sign=1, found=coefficient(np.empty(0), np.empty(0), 1), q_value=math.nan,
    q_any_dependence=math.nan, hit=None, quintiles=None, qlike=None, event=None, turnover=math.nan, break_even_cost=math.nan, by_regime=(),
    by_quarter=(), by_period=(), in_sample_share=0.0, verdict=Verdict.INSUFFICIENT, words="")
