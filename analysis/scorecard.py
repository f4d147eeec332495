"""All modules over one view: the scorecard of a symbol at a moment."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from analysis.module import ScoreModule
from analysis.report import ModuleReport
from data.clock import iso
from data.view import MarketView, Need


@dataclass(frozen=True)
class Scorecard:
    """The reports of the built modules, in the order of their letters, for one symbol, market, interval and moment."""

    symbol: str
    market: str
    interval: str
    at_ms: int
    as_of_ms: int
    provenance: str
    reports: tuple[ModuleReport, ...]

    def report(self, letter: str) -> ModuleReport:
        return next(r for r in self.reports if r.letter == letter)

    def document(self) -> dict[str, Any]:
        return {
            "symbol": self.symbol, "market": self.market, "interval": self.interval, "as_of": iso(self.as_of_ms),
            "provenance": self.provenance, "modules": {r.letter: r.document() for r in self.reports}, "composites": {},
        }


def needs_of(modules: Iterable[ScoreModule]) -> tuple[Need, ...]:
    """The union of what modules declare; one view then serves them all."""
    return tuple(dict.fromkeys(need for module in modules for need in module.needs))


def score_view(view: MarketView, modules: Iterable[ScoreModule]) -> Scorecard:
    """Every module's report over one view. Modules do not raise for missing data, so neither does this."""
    return Scorecard(view.symbol, str(view.market), str(view.interval), view.at_ms, view.as_of_ms, view.provenance,
                     tuple(module.score(view) for module in modules))
