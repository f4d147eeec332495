"""Which scores may move weights: those the score lab supports, by what they say of each symbol now."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.allocation.black_litterman import View
from analysis.allocation.portfolio import NO_VIEW
from data.clock import iso, parse_time
from data.errors import SextantError
from data.market import Interval, Market

if TYPE_CHECKING:
    from core.judging import Judging
    from core.score_lab import LabResult

PRICED = "forward return"
LAST_BARS = 500  # a score is measured in its own standard deviations over these
LOOKED_AT = (Interval.D1, Interval.H4, Interval.H1)


@dataclass(frozen=True)
class Views:
    """`views` by symbol, the score each is from, and in words where there are none."""

    views: Mapping[str, View]
    scores: Mapping[str, str]
    why: str = ""

    def words(self) -> str:
        if not self.views:
            return self.why or NO_VIEW
        said = [f"{n} by {self.scores[n]} (IC {v.ic:+.3f}, now {v.z:+.1f} sd)" for n, v in self.views.items()]
        return "views: " + ", ".join(said)


def lab_views(sextant: Judging, symbols: Sequence[str], market: Market, interval: Interval, moment_ms: int) -> Views:
    """The strongest supported score of each symbol as a view on its next bar.

    A result of the score lab that has seen days after the moment is not used. `Q = IC sd z` (Grinold 1994) over the score's own horizon,
    brought to one bar of the portfolio.
    """
    result, late = _known_result(sextant, market, interval, moment_ms)
    if result is None:
        return Views({}, {}, f"{NO_VIEW}: {late or 'the score lab has no result here yet, run it first'}")
    step = Interval.parse(result.document["interval"])
    views, scores = {}, {}
    for symbol in symbols:
        card = _strongest(result, symbol)
        if card is None:
            continue
        z = _standing(sextant, symbol, step, market, card["score"], moment_ms)
        if z is None:
            continue
        h = card["horizon_bars"] * step.ms / interval.ms
        views[symbol] = View("supported", float(card["found"]["ic"]) * math.sqrt(min(h, 1.0 / h)), z)
        scores[symbol] = card["score"]
    return Views(views, scores, f"{NO_VIEW}: of the score lab's run of {result.made_at[:10]} on {step} no score of these symbols is "
                                f"supported")


def _known_result(sextant: Judging, market: Market, interval: Interval, moment_ms: int) -> tuple[LabResult | None, str]:
    late = ""
    for step in dict.fromkeys((interval, *LOOKED_AT)):
        result = sextant.lab_result(step, market)
        if result is None:
            continue
        if parse_time(str(result.document["as_of"])) > moment_ms:
            late = f"the score lab's result has seen days after {iso(moment_ms)}"
            continue
        return result, ""
    return None, late


def _strongest(result: LabResult, symbol: str) -> dict[str, Any] | None:
    """The supported cell of the largest rank correlation with returns, of a score whose verdict on this symbol is supported."""
    names = {c["score"] for c in result.document["report"]["cards"] if c["symbol"] == symbol and c["target"] == PRICED}
    supported = [n for n in sorted(names) if result.verdict(n, symbol) == "supported"]
    cells = [c for n in supported for c in result.cards(n, symbol)
             if c["target"] == PRICED and c["verdict"] == "supported" and c["found"]["ic"] is not None]
    return max(cells, key=lambda c: abs(c["found"]["ic"]), default=None)


def _standing(sextant: Judging, symbol: str, interval: Interval, market: Market, score: str, moment_ms: int) -> float | None:
    """How many of its own standard deviations the score stands from its mean; None where it is not known."""
    from analysis.composites import COMPOSITES, Inputs

    try:
        view = sextant.view(sextant.key(symbol, interval, market), at_ms=moment_ms, more_bars=LAST_BARS - 1)
        composite = next((c for c in COMPOSITES if c.name == score), None)
        line = composite.line(Inputs(view, sextant.modules, LAST_BARS)) if composite is not None else sextant.module(score).timeline(
            view, LAST_BARS)
    except SextantError:
        return None
    values = np.asarray(line.score, float)
    spread = float(np.nanstd(values)) if np.isfinite(values).any() else 0.0
    z = (values[-1] - float(np.nanmean(values))) / spread if spread > 0 else math.nan
    return float(z) if math.isfinite(z) else None
