"""What a tool works with: the facade, the facts of this question, and the series the user looks at. And how values become facts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.report import ModuleReport, Part
from core.assistant.facts import Fact, Facts, Row, Source, Unit
from core.assistant.proposals import Proposals
from core.sextant import Sextant
from data.market import SeriesKey


@dataclass(frozen=True)
class Desk:
    """One question's desk. `key` is the series in focus; without `proposals` nothing may be proposed (a guest's question)."""

    sextant: Sextant
    facts: Facts
    key: SeriesKey
    conversation: int = 0
    proposals: Proposals | None = None

    def series(self, symbol: str, interval: str) -> SeriesKey:
        """A series by the words of a tool call; the market is that of the focus where it is held there."""
        held = self.sextant.reader.keys()
        name, bars = symbol or self.key.symbol, interval or str(self.key.interval)
        there = any(k.symbol == name.upper() and str(k.interval) == bars and k.market is self.key.market for k in held)
        return self.sextant.key(name, bars, self.key.market if there else "spot")

    def source(self, tool: str, key: SeriesKey | None = None, as_of_ms: int = 0) -> Source:
        return self.facts.source(tool, key, as_of_ms)


def price_places(prices: Sequence[float] | np.ndarray) -> int:
    """Decimals of the newest prices, 0 to 8."""
    newest = [float(p) for p in prices][-60:]
    return next((places for places in range(9) if all(math.isclose(p, round(p, places), rel_tol=0, abs_tol=1e-10) for p in newest)), 8)


_SHARES = ("fraction", "share", "weight")
_BARE = ("0..100", "0..1", "-1..1", "1..2", "-100..100", "gate", "")


def part_value(source: Source, part: Part, places: int) -> tuple[Fact, ...]:
    """The value of a metric in its own unit."""
    if part.unit.startswith(_SHARES):
        return source.fact(part.title, part.value, Unit.SHARE)
    if part.unit == "quote":
        return source.fact(part.title, part.value, Unit.PRICE, places=places)
    return source.fact(part.title, part.value, Unit.NUMBER, "" if part.unit in _BARE else part.unit)


def score_row(source: Source, name: str, report: ModuleReport) -> Row:
    """A report in one line: score, word, coverage, confidence; or why it is unknown."""
    if report.score is None:
        return Row(name, source.fact(f"{name}: coverage", report.coverage, Unit.SHARE), report.reason)
    facts = (*source.fact(f"{name} score", report.score, Unit.SCORE), *source.fact(f"{name}: word", word(report.label), Unit.WORDS),
             *source.fact(f"{name}: coverage", report.coverage, Unit.SHARE))
    return Row(name, facts)


def word(label: str) -> str:
    return label.replace("_", " ").lower()
