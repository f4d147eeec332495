"""What a score module is: declared needs, declared metrics, and a pure function from a view to a report.

Every module computes its metrics as whole series over the view (`tracks`), of which the newest row is its score. So the same
code gives the number on a page, the history under a chart and the rows of a backtest, and the look-ahead check can cut,
poison and shift each metric because the module lists them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

import numpy as np

from analysis.report import ModuleReport, Part, Score, Status, counting
from data.clock import age_text
from data.view import MarketView, Need

COVERAGE_NEEDED = 0.65  # so that no weight grows by more than 1/0.65 = 1.54x (methods.md 2.1)


class Causality(StrEnum):
    """How a metric depends on where its history begins (methods.md N7)."""

    PREFIX = "P"  # exact: the window decides alone
    RECURSIVE = "R"  # depends on the start and converges: within 1e-6 sd after the warm-up
    FITTED = "F"  # parameters refit on a fixed schedule from data at or before the schedule's time


@dataclass(frozen=True)
class Metric:
    """One row of a module's table in methods.md.

    `weight` is its share of the module's score (0: shown only), `tau_bars` the age after which it fades, in bars of the
    series it is computed from, `warmup_bars` how many gap-free bars it needs before its value counts. `formula` is the
    sentence the page shows under "how is this computed".
    """

    key: str
    title: str
    unit: str
    weight: float
    warmup_bars: int
    causality: Causality
    formula: str
    source: str = ""
    tau_bars: float = 1.2
    priority: str = "c"


@dataclass(frozen=True)
class Track:
    """A metric over the newest bars of a view: raw value, unit score k and status, each of shape (bars,).

    `age_s` is the age of the newest input at the moment of the question; `note` says in words why the newest value does
    not count. k is NaN wherever status does not count. `late_s` is given where the metric's input is
    slower than the bars: at each bar's close, how long its newest input had been closed; None means it closed with the bar.
    """

    value: np.ndarray
    k: np.ndarray
    status: np.ndarray
    age_s: float = 0.0
    step_s: float = 3600.0
    note: str = ""
    late_s: np.ndarray | None = None

    @staticmethod
    def absent(bars: int, note: str, status: Status = Status.MISSING) -> Track:
        nan = np.full(bars, np.nan)
        return Track(nan, nan.copy(), np.full(bars, status, np.int8), math.inf, note=note)

    @property
    def counts_now(self) -> bool:
        """Whether the newest value enters the score."""
        return bool(counting(self.status[-1]) and np.isfinite(self.k[-1]))

    def freshness(self, tau_bars: float) -> np.ndarray:
        """Per row: 1 up to tau, falling to 0 at three tau (methods.md 2.1). The newest row feels the age at the moment of the question,
        earlier ones how late their input was when they closed."""
        tau = tau_bars * self.step_s
        age = np.zeros(len(self.value)) if self.late_s is None else self.late_s.copy()
        age[-1] = max(age[-1], self.age_s)
        return np.clip(1.0 - (age - tau) / (2.0 * tau), 0.0, 1.0)

    def fresh_now(self, tau_bars: float) -> float:
        """`freshness` of the newest row."""
        tau = tau_bars * self.step_s
        age = max(0.0 if self.late_s is None else float(self.late_s[-1]), self.age_s)
        return min(1.0, max(0.0, 1.0 - (age - tau) / (2.0 * tau)))


@dataclass(frozen=True)
class Timeline:
    """A module over the newest bars of a view, one row per bar: what charts and the score lab draw.

    `score` and `raw` are NaN where the coverage is below the minimum. `contributions` add up to `raw` row by row.
    """

    close_time: np.ndarray
    raw: np.ndarray
    score: np.ndarray
    coverage: np.ndarray
    tracks: Mapping[str, Track]
    contributions: Mapping[str, np.ndarray]
    extra: Mapping[str, np.ndarray] = field(default_factory=dict)
    shown: Mapping[str, Any] = field(default_factory=dict)
    behind: Any = None  # what the module's own report needs beside the rows


class ScoreModule(ABC):
    """One of the ten modules. Subclasses are stateless: construct once, call for any view."""

    letter: ClassVar[str]
    slug: ClassVar[str]
    name: ClassVar[str]
    short: ClassVar[str]  # one word, for column heads and tabs
    commands: ClassVar[tuple[str, ...]]  # the long word and the short alias of the command line and the chat
    type: ClassVar[str]  # how the score is presented: "trend 0..1, 0.5 neutral"
    low: ClassVar[float] = 0.0  # the least the presented score can be; the most is 1
    question: ClassVar[str]  # the question it answers, in words a user would use
    link: ClassVar[str]  # name of the map from raw to score
    metrics: ClassVar[tuple[Metric, ...]]
    config: Any  # a frozen dataclass of constants; its repr is part of every cache key

    @property
    @abstractmethod
    def needs(self) -> tuple[Need, ...]:
        """What the view must hold, with exact history lengths."""

    @abstractmethod
    def timeline(self, view: MarketView, bars: int = 1) -> Timeline:
        """The newest `bars` rows of everything the module computes; `bars=1` does only the work that one row needs."""

    @abstractmethod
    def typed(self, view: MarketView, score: float | None, raw: float | None, coverage: float, reason: str) -> Score:
        """The typed value behind the presented number."""

    @abstractmethod
    def score(self, view: MarketView, line: Timeline | None = None) -> ModuleReport:
        """The full report; never raises for missing, short or degenerate data. `line`: its timeline, where that is known already."""

    def metric(self, key: str) -> Metric:
        return next(m for m in self.metrics if m.key == key)

    def explanation(self) -> str:
        """The text under "how is this computed": the module's own docstring."""
        import inspect

        return inspect.getdoc(type(self)) or ""


@dataclass(frozen=True)
class Blend:
    """The recipe of methods.md 2.1 over `bars` rows: coverage, contributions and the raw sum."""

    raw: np.ndarray
    coverage: np.ndarray
    contributions: dict[str, np.ndarray]
    enough: np.ndarray

    def agreements(self) -> np.ndarray:
        """|sum c| / sum |c| of every row: 1 when all metrics point one way, 0 when they cancel or are all 0; NaN without a score."""
        pull = np.zeros(len(self.raw))
        for share in self.contributions.values():
            pull = pull + np.abs(share)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(pull > 0, np.abs(self.raw) / pull, np.where(self.enough, 0.0, np.nan))

    def agreement(self, row: int = -1) -> float:
        """|sum c| / sum |c|: 1 when all metrics point one way, 0 when they cancel or are all 0."""
        values = [float(c[row]) for c in self.contributions.values() if np.isfinite(c[row])]
        total = sum(abs(v) for v in values)
        return abs(sum(values)) / total if total else 0.0


def blend(metrics: tuple[Metric, ...], tracks: Mapping[str, Track]) -> Blend:
    """Weighted mean of the unit scores that are known, renormalised by coverage.

    `c_i = w_i s_i k_i / coverage` with freshness s_i and
    `coverage = sum w_i s_i` over metrics whose status counts. Where coverage < 0.65 raw and contributions are NaN.
    Contributions add up to raw exactly because raw is their sum, in the metrics' order.
    """
    weighted = [m for m in metrics if m.weight > 0]
    used = [tracks[m.key] for m in weighted]
    bars = len(next(iter(tracks.values())).value)
    # All metrics at once, a row each; only the sums go row by row, since their order decides the last bit.
    k = np.array([t.k for t in used])
    age = np.array([np.zeros(bars) if t.late_s is None else t.late_s for t in used])
    age[:, -1] = np.maximum(age[:, -1], [t.age_s for t in used])
    tau = np.array([m.tau_bars * t.step_s for m, t in zip(weighted, used, strict=True)])[:, None]
    fresh = np.clip(1.0 - (age - tau) / (2.0 * tau), 0.0, 1.0)
    known = counting(np.array([t.status for t in used])) & np.isfinite(k)
    shares = np.where(known, np.array([m.weight for m in weighted])[:, None] * fresh, 0.0)
    coverage = np.zeros(bars)
    for share in shares:
        coverage += share
    enough = coverage >= COVERAGE_NEEDED - 1e-12
    with np.errstate(invalid="ignore", divide="ignore"):
        parts = np.where(enough, shares * np.where(shares > 0, k, 0.0) / coverage, np.nan)
    raw = np.zeros(bars)
    for part in parts:
        raw = raw + part
    return Blend(raw, coverage, {m.key: part for m, part in zip(weighted, parts, strict=True)}, enough)


def standing(metric: Metric, track: Track) -> tuple[Status, str]:
    """The newest status of a metric, its age taken into account, and why it does not count (or what stands in), in words."""
    status = Status(int(track.status[-1]))
    if status.counts and track.fresh_now(metric.tau_bars) == 0.0:
        return Status.STALE, f"its input is {age_text(int(track.age_s * 1000))} old"
    return status, track.note if status is not Status.OK else ""


def parts_of(metrics: tuple[Metric, ...], tracks: Mapping[str, Track],
             contributions: Mapping[str, np.ndarray]) -> tuple[Part, ...]:
    """The newest row of every metric as report parts, in the table's order."""
    parts = []
    for m in metrics:
        track = tracks[m.key]
        status, note = standing(m, track)
        share = contributions.get(m.key)
        contribution = None if m.weight == 0 or share is None else _number(share[-1])
        parts.append(Part(name=m.key, title=m.title, value=_number(track.value[-1]), unit=m.unit, weight=m.weight,
                          contribution=contribution, status=status.word, k=_number(track.k[-1]), age_s=_number(track.age_s), note=note))
    return tuple(parts)


def shortage(metrics: tuple[Metric, ...], tracks: Mapping[str, Track], coverage: float) -> str:
    """Why there is no score, in words: the coverage and the heaviest metrics that are missing, with their reasons."""
    lost = [(m, *standing(m, tracks[m.key])) for m in metrics if m.weight > 0]
    lost = sorted((row for row in lost if not row[1].counts), key=lambda row: -row[0].weight)
    causes: dict[str, list[str]] = {}
    for m, status, note in lost:
        causes.setdefault(note or status.word, []).append(m.title)
    words = "; ".join(f"{_listed(titles)}: {cause}" for cause, titles in list(causes.items())[:3])
    more = f"; and {len(causes) - 3} more reasons" if len(causes) > 3 else ""
    return f"only {coverage:.0%} of the weight is known, {COVERAGE_NEEDED:.0%} needed: {words or 'the inputs are too old'}{more}"


def _listed(titles: list[str]) -> str:
    """The first two by name, the rest counted."""
    return ", ".join(titles[:2]) + (f" and {len(titles) - 2} more" if len(titles) > 2 else "")


def _number(value: float | np.floating) -> float | None:
    return float(value) if math.isfinite(value) else None


def assemble(module: ScoreModule, view: MarketView, line: Timeline, *, label: str = "", agreement: float | None = None,
             confidence: float | None = None, percentile: float | None = None, reason: str = "") -> ModuleReport:
    """The report of the newest row of a timeline. Without a score it is still complete: every part, and the reason in words."""
    known = bool(np.isfinite(line.score[-1]))
    coverage = min(1.0, max(0.0, float(line.coverage[-1])))
    score, raw = (float(line.score[-1]), float(line.raw[-1])) if known else (None, None)
    why = "" if known else (reason or shortage(module.metrics, line.tracks, coverage))
    parts = parts_of(module.metrics, line.tracks, line.contributions)
    counted = [p.age_s for p in parts if p.age_s is not None and p.status in ("ok", "fallback")]
    missing = [f"{p.title}: {p.note or p.status}" for p in parts if p.status not in ("ok", "fallback")]
    missing += [f"{need.describe()}: {view.why_absent(need)}" for need in module.needs if not view.holds(need)]
    return ModuleReport(
        letter=module.letter, slug=module.slug, name=module.name, type=module.type, symbol=view.symbol, market=str(view.market),
        interval=str(view.interval), as_of_ms=view.as_of_ms, score=score, status="ok" if known else "insufficient", reason=why,
        coverage=coverage, age_s=max(counted) if counted else None, raw=raw, link=module.link,
        value=module.typed(view, score, raw, coverage, why), parts=parts, label=label if known else "",
        agreement=agreement if known else None, confidence=confidence if known else None,
        percentile=percentile if known else None, provenance=view.provenance, shown=line.shown, missing=tuple(missing),
    )
