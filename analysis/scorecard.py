"""All modules and composites over one view: the scorecard of a symbol at a moment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from analysis.composites import COMPOSITES, Composite, Inputs
from analysis.composites.combine import LEADS
from analysis.module import ScoreModule
from analysis.report import ModuleReport
from data.clock import iso
from data.view import MarketView, Need


@dataclass(frozen=True)
class Scorecard:
    """The reports of the modules, in the order of their letters, and of the composites, for one symbol, market, interval and moment."""

    symbol: str
    market: str
    interval: str
    at_ms: int
    as_of_ms: int
    provenance: str
    reports: tuple[ModuleReport, ...]
    composites: tuple[ModuleReport, ...] = ()

    def report(self, letter: str) -> ModuleReport:
        return next(r for r in self.reports if r.letter == letter)

    def composite(self, name: str) -> ModuleReport:
        return next(r for r in self.composites if r.slug == name)

    def document(self) -> dict[str, Any]:
        return {
            "symbol": self.symbol, "market": self.market, "interval": self.interval, "as_of": iso(self.as_of_ms),
            "provenance": self.provenance, "modules": {r.letter: r.document() for r in self.reports},
            "composites": {r.slug: r.document() for r in self.composites},
        }


def needs_of(modules: Iterable[ScoreModule], composites: Iterable[Composite] = COMPOSITES) -> tuple[Need, ...]:
    """The union of what modules and composites declare; one view then serves them all."""
    composites = tuple(composites)
    leads = LEADS if any("C" in c.letters and c.needs_lead for c in composites) else {}
    declared = [replace(need, lead_bars=leads.get(module.letter, 0)) for module in modules for need in module.needs]
    declared += [need for composite in composites for need in composite.needs]
    longest: dict[Need, Need] = {}
    for need in declared:
        held = longest.get(need)
        if held is None or need.lead_bars > held.lead_bars:
            longest[need] = need
    return tuple(longest.values())


def score_view(view: MarketView, modules: Sequence[ScoreModule], composites: Sequence[Composite] = COMPOSITES) -> Scorecard:
    """Every report over one view. Neither modules nor composites raise for missing data, so neither does this."""
    inputs = Inputs(view, modules)
    for composite in sorted(composites, key=lambda c: -c.lead_bars):  # who reads far back asks first: one timeline then serves all
        inputs.composite(composite)
    mixed = tuple(composite.report(inputs) for composite in composites)
    reports = tuple(module.score(view, inputs.known(module.letter)) for module in modules)
    return Scorecard(view.symbol, str(view.market), str(view.interval), view.at_ms, view.as_of_ms, view.provenance, reports, mixed)
