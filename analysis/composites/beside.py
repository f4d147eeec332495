"""Three that stand beside the seven: crowding, execution quality for a size, and confidence in the data itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from analysis.composites.combine import Composite, CompositeLine, Inputs
from analysis.methods.spread_estimators import corwin_schultz
from analysis.report import Intensity
from data.indicators.volatility import ewma_volatility
from data.indicators.windows import trailing_sum
from data.market import DAY_MS, HOUR_MS

BARS_EXPECTED = 500


class Crowding(Composite):
    """How one-sided are positions? 0 spread out, 1 crowded, and on which side.

    K of module C: the mean of the two largest of the crowd flag of funding, the tail surprisal of the long/short ratio's distance from
    its median, open interest against the day's volume above its 80th percentile, and the tail surprisal of the premium. The side is
    that of funding against its median: longs pay when longs are crowded. A carry at its extremes has come before cascades of
    liquidations; that it pays to lean against it is a prior, which the score lab judges.
    """

    name = "crowding"
    title = "Crowding"
    question = "How one-sided are positions, and on which side?"
    type = "0 spread out, 1 crowded"
    link = "identity"
    horizon, horizon_hours = "hours to days", 24.0
    letters = ("C",)
    weights: ClassVar[Mapping[str, float]] = {"C": 1.0}
    essential = "C"
    part_titles: ClassVar[Mapping[str, str]] = {"C": "Crowding (C)"}
    weights_version = "crowding/1"
    kind = Intensity

    def line(self, inputs: Inputs) -> CompositeLine:
        k, side = inputs.of("C", "crowding"), inputs.of("C", "crowding_side")
        missing = () if np.isfinite(k[-1]) else (inputs.why("C"),)
        coverage = np.where(np.isfinite(k), 1.0, 0.0)
        return CompositeLine(inputs.close_time, k, k, coverage, {"C": k}, {}, {"side": side}, {"side": side}, missing)

    def label(self, line: CompositeLine) -> str:
        if line.score[-1] < 0.5:
            return "not crowded"
        return "longs crowded" if line.extra["side"][-1] > 0 else "shorts crowded"


class ExecutionQuality(Composite):
    """What share of an hour's usual move is left after the cost of trading this size once? 1 free, 0 it costs half the move or more.

    `clip(1 - cost / (.5 sigma_1h), 0, 1)`, both in basis points. cost = walking the recorded book (half the spread is in it); where no
    book is kept, half the Corwin-Schultz spread of candles plus the square-root impact `sigma_day sqrt(Q / daily volume)`.

    References
    ----------
    Corwin & Schultz (2012); Almgren et al. (2005), "Direct estimation of equity market impact".
    """

    name = "execution_quality"
    title = "Execution quality"
    question = "How much does it cost to trade this size, against what the price moves anyway?"
    type = "0 too dear, 1 free"
    link = "identity"
    horizon, horizon_hours = "now", 1.0
    letters = ("D",)
    weights: ClassVar[Mapping[str, float]] = {"cost": 1.0}
    essential = "cost"
    part_titles: ClassVar[Mapping[str, str]] = {"cost": "Cost against the move"}
    weights_version = "execution_quality/1"
    kind = Intensity

    def __init__(self, quantity: float = 10_000.0) -> None:
        self.quantity = quantity  # in quote currency

    def line(self, inputs: Inputs) -> CompositeLine:
        own, rows = inputs.own, len(inputs.close_time)
        nothing = np.full(rows, np.nan)
        if not len(own):
            return CompositeLine(inputs.close_time, nothing, nothing, np.zeros(rows), {"cost": nothing}, missing=("no candles",))
        day = max(1, DAY_MS // own.interval.ms)
        sigma = ewma_volatility(own)
        with np.errstate(divide="ignore", invalid="ignore"):
            volume = trailing_sum(own.quote_volume, day)
            impact = sigma * np.sqrt(day) * np.sqrt(self.quantity / volume)
            estimate = 1e4 * (0.5 * corwin_schultz(own) + impact)[-rows:]
            hour = 1e4 * (sigma * np.sqrt(HOUR_MS / own.interval.ms))[-rows:]
            book = self._walked(inputs)
            cost = np.where(np.isfinite(book), book, estimate)
            score = np.clip(1.0 - cost / (0.5 * hour), 0.0, 1.0)
        missing = () if np.isfinite(score[-1]) else ("neither a book nor enough candles with volume",)
        return CompositeLine(inputs.close_time, score, score, np.where(np.isfinite(score), 1.0, 0.0), {"cost": score}, {},
                             {"cost_bps": cost, "move_1h_bps": hour}, {}, missing,
                             {"quantity": self.quantity, "cost_from": "the book" if np.isfinite(book[-1]) else "candles"})

    def _walked(self, inputs: Inputs) -> np.ndarray:
        """Cost of the size in the recorded book, between those of 10,000 and 100,000 by the logarithm of the size; beyond them, grown by
        the square root."""
        small, large = inputs.of("D", "slippage_10k_bps"), inputs.of("D", "slippage_100k_bps")
        part = np.clip(np.log10(self.quantity / 1e4), 0.0, 1.0)
        within = small * (1.0 - part) + np.where(part > 0, large, 0.0) * part
        return within * np.sqrt(max(1.0, self.quantity / 1e5))

    def label(self, line: CompositeLine) -> str:
        value = float(line.score[-1])
        return "cheap" if value >= 0.75 else "fair" if value >= 0.4 else "dear"


class DataConfidence(Composite):
    """How complete and fresh is what all this rests on? 0 nothing, 1 everything.

    The mean of the modules' coverages (which fade with the age of their inputs), each weighted by what the composites make of it, times the
    share of the last 500 expected bars that are there.
    """

    name = "data_confidence"
    title = "Data confidence"
    question = "How complete and fresh is what all this rests on?"
    type = "0 nothing, 1 everything"
    link = "identity"
    horizon, horizon_hours = "now", 1.0
    letters = ("A", "B", "C", "D", "F", "G", "H", "J")
    # How much of the seven composites' weight each module carries, summed.
    weights: ClassVar[Mapping[str, float]] = {"A": 1.10, "B": .425, "C": .95, "D": .80, "F": .80, "G": .425, "H": .50, "J": .80}
    essential = "A"
    weights_version = "data_confidence/1"
    kind = Intensity

    def line(self, inputs: Inputs) -> CompositeLine:
        rows = len(inputs.close_time)
        total = sum(self.weights.values())
        share = self._present(inputs)
        inner = {letter: weight / total * np.clip(np.nan_to_num(inputs.of(letter, "coverage")), 0.0, 1.0)
                 for letter, weight in self.weights.items()}
        raw = np.zeros(rows)
        for values in inner.values():
            raw = raw + values * share
        missing = tuple(inputs.why(letter) for letter in self.letters if inner[letter][-1] == 0.0)
        return CompositeLine(inputs.close_time, raw, raw, np.ones(rows), inner, {"bars_present": share}, {}, {}, missing)

    @staticmethod
    def _present(inputs: Inputs) -> np.ndarray:
        """Share of the last 500 expected bars that are stored, at each row; before 500 bars of history, of those there should be since
        its first."""
        own, rows = inputs.own, len(inputs.close_time)
        if not len(own):
            return np.zeros(rows)
        opened, step = own.open_time, own.interval.ms
        at = opened[-rows:]
        first = np.searchsorted(opened, at - (BARS_EXPECTED - 1) * step)
        held = np.arange(len(own) - rows, len(own)) - first + 1
        expected = np.minimum(BARS_EXPECTED, (at - opened[0]) // step + 1)
        return held / expected

    def label(self, line: CompositeLine) -> str:
        value = float(line.score[-1])
        return "good" if value >= 0.75 else "partial" if value >= 0.5 else "thin"
