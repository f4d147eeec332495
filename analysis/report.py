"""Typed scores and the report of a module: what a number means, how far it can be believed, what it is made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from typing import Any, ClassVar, Self

import numpy as np

from data.clock import iso
from data.errors import MixedScores


class Status(IntEnum):
    """State of one metric at one bar (methods.md N5). Kept as int8 in arrays; `word` is what users read."""

    OK = 0
    FALLBACK = 1
    WARMUP = 2
    MISSING = 3
    STALE = 4
    DEGENERATE = 5
    FAILED = 6

    @property
    def word(self) -> str:
        return self.name.lower()

    @property
    def counts(self) -> bool:
        """Whether the value enters a score at all."""
        return self in (Status.OK, Status.FALLBACK)


def counting(status: np.ndarray) -> np.ndarray:
    """`Status.counts` of every status of an array, as a plain number: with a member of an enumeration numpy takes ten times as long."""
    return status <= _LAST_COUNTING


_LAST_COUNTING = int(Status.FALLBACK)


@dataclass(frozen=True, kw_only=True)
class Score:
    """A value that knows its kind. Only scores of one class and one horizon may be averaged (decisions.md, typed scores).

    `value` is None when unknown; `reason` then says why. `coverage` is the share of the module's weight behind it, 0..1;
    `horizon_bars` how far ahead it speaks, in bars of `interval`; `inputs` names what went in.
    """

    low: ClassVar[float] = 0.0
    high: ClassVar[float] = 1.0

    value: float | None
    interval: str
    horizon_bars: int
    as_of_ms: int
    coverage: float
    inputs: tuple[str, ...] = ()
    reason: str = ""

    def __post_init__(self) -> None:
        if self.value is not None and not (self.low <= self.value <= self.high):
            raise MixedScores(f"{type(self).__name__} expects a value in [{self.low:g}, {self.high:g}], got {self.value!r}")
        if self.value is None and not self.reason:
            raise MixedScores(f"an unknown {type(self).__name__} needs its reason in words")

    @classmethod
    def average(cls, scores: Sequence[Score], weights: Sequence[float]) -> Self:
        """Weighted mean of scores of this very class and one horizon; unknown ones lower the coverage.

        Raises
        ------
        MixedScores
            When a score is of another class (a Risk among Directions), interval or horizon.
        """
        if not scores or len(scores) != len(weights):
            raise MixedScores(f"expected as many weights as scores, got {len(weights)} for {len(scores)}")
        first = scores[0]
        for other in scores:
            if type(other) is not cls:
                raise MixedScores(f"{cls.__name__} cannot be averaged with {type(other).__name__}: convert it by a named rule first")
            if (other.interval, other.horizon_bars) != (first.interval, first.horizon_bars):
                raise MixedScores(f"horizons differ: {first.horizon_bars} x {first.interval} and {other.horizon_bars} x {other.interval}")
        known = [(s, w) for s, w in zip(scores, weights, strict=True) if s.value is not None]
        total, present = sum(weights), sum(w for _, w in known)
        inputs = tuple(name for s in scores for name in s.inputs)
        as_of = min(s.as_of_ms for s in scores)
        coverage = sum(s.coverage * w for s, w in known) / total if total else 0.0
        value = sum(s.value * w for s, w in known if s.value is not None) / present if present else None
        if value is not None:
            value = min(cls.high, max(cls.low, value))
        return cls(value=value, interval=first.interval, horizon_bars=first.horizon_bars, as_of_ms=as_of, coverage=coverage,
                   inputs=inputs, reason="" if value is not None else "none of the inputs is known")


@dataclass(frozen=True, kw_only=True)
class Direction(Score):
    """Signed opinion in [-1, 1]; 0 is neutral."""

    low: ClassVar[float] = -1.0


@dataclass(frozen=True, kw_only=True)
class Intensity(Score):
    """Strength without a sign, in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class Risk(Score):
    """In [0, 1], 1 = bad. May gate or cap; never averaged into a direction."""


@dataclass(frozen=True, kw_only=True)
class Regime(Score):
    """A label with its probability in [0, 1]. May only select."""

    label: str = ""
    probabilities: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def average(cls, scores: Sequence[Score], weights: Sequence[float]) -> Self:
        raise MixedScores("a Regime selects; it cannot be averaged")


@dataclass(frozen=True, kw_only=True)
class Weights(Score):
    """Portfolio weights by symbol; `value` is their sum."""

    weights: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def average(cls, scores: Sequence[Score], weights: Sequence[float]) -> Self:
        raise MixedScores("Weights are chosen by an optimiser; they cannot be averaged")


@dataclass(frozen=True)
class Part:
    """One metric inside a report.

    `contribution` is its share of the report's `raw` (they add up to it); None where the recipe gives it none. `k` is the
    metric as the recipe sees it, after its normaliser.
    """

    name: str
    title: str
    value: float | None
    unit: str
    weight: float
    contribution: float | None
    status: str
    k: float | None = None
    age_s: float | None = None
    note: str = ""


@dataclass(frozen=True)
class ModuleReport:
    """What a module says about one view. Complete even when nothing is known: then `score` is None and `reason` has words."""

    letter: str
    slug: str
    name: str
    type: str
    symbol: str
    market: str
    interval: str
    as_of_ms: int
    score: float | None
    status: str
    reason: str
    coverage: float
    age_s: float | None
    raw: float | None
    link: str
    value: Score
    parts: tuple[Part, ...]
    label: str = ""
    agreement: float | None = None
    confidence: float | None = None
    percentile: float | None = None
    provenance: str = ""
    shown: Mapping[str, Any] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    def part(self, name: str) -> Part:
        return next(p for p in self.parts if p.name == name)

    def document(self) -> dict[str, Any]:
        """Plain JSON values; a number that is not finite is null, with a reason beside it (architecture.md)."""
        doc = asdict(self)
        doc["as_of"] = iso(self.as_of_ms)
        doc["value"] = {k: v for k, v in asdict(self.value).items() if k != "as_of_ms"} | {"kind": type(self.value).__name__}
        return _plain(doc)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if hasattr(value, "item"):
        return _plain(value.item())
    return value
