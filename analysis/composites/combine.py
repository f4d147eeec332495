"""What a composite is: typed inputs from modules, a recipe, and parts that add up.

A composite is computed as whole series over the rows of a view, like a module, from the modules' own timelines; its newest row is
its score. `inner` parts times all `gates` are its contributions, and they are summed into `raw`, so they add up to it exactly.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from analysis.kept_rows import rows_of
from analysis.module import COVERAGE_NEEDED, ScoreModule, Timeline
from analysis.report import ModuleReport, Part, Score
from data.frames import Candles
from data.observations import Kind
from data.view import MarketView, Need

if TYPE_CHECKING:
    from analysis.composites.changes import Flip

OWN_BARS = 1500
Kinds = type[Score]  # a class body that has an attribute `type` cannot name the builtin


class Inputs:
    """One view, and the modules' timelines over its newest rows, each computed once and only as far back as asked."""

    def __init__(self, view: MarketView, modules: Iterable[ScoreModule], bars: int = 1) -> None:
        self.view = view
        self.bars = bars
        self.modules = {m.letter: m for m in modules}
        self.leads = frozenset(LEADS)
        self._lines: dict[str, tuple[int, Timeline]] = {}
        self._composites: dict[str, CompositeLine] = {}
        self._own = view.candles(OWN)
        self.bars = max(1, min(bars, len(self._own)))

    @property
    def own(self) -> Candles:
        """The view's own candles, as long as the composites declare."""
        return self._own

    @property
    def close_time(self) -> np.ndarray:
        """Of the rows asked for."""
        n = len(self._own)
        return self._own.close_time[n - self.bars :] if n else np.full(1, self.view.as_of_ms)

    def line(self, letter: str, lead: int = 0) -> Timeline | None:
        """A module's timeline over the rows and `lead` bars before them; None where the module is not built."""
        module = self.modules.get(letter)
        if module is None:
            return None
        held = self._lines.get(letter)
        if held is None or held[0] < self.bars + lead:
            view = self.view.longer if lead and self.view.longer is not None and letter in self.leads else self.view
            if letter == "G" and view.account is not None:  # composites speak of the market; the account's risk is a number of its own
                from dataclasses import replace

                view = replace(view, account=None)
            timeline = partial(module.timeline, view)
            rows = self.bars + lead
            held = (rows, rows_of(module, view, rows, timeline) if lead else timeline(rows))
            self._lines[letter] = held
        return held[1]

    def known(self, letter: str) -> Timeline | None:
        """A module's timeline if something has asked for it."""
        return self._lines[letter][1] if letter in self._lines else None

    def composite(self, composite: Composite) -> CompositeLine:
        """A composite over the rows, computed once."""
        if composite.name not in self._composites:
            self._composites[composite.name] = composite.line(self)
        return self._composites[composite.name]

    def rows(self, lead: int = 0) -> np.ndarray:
        """Close times of the rows, `lead` earlier ones before them."""
        n = len(self._own)
        return self._own.close_time[max(0, n - self.bars - lead) :] if n else np.full(1, self.view.as_of_ms)

    def of(self, letter: str, what: str = "score", *, lead: int = 0, key: str = "") -> np.ndarray:
        """One series of a module at the rows: score, raw, coverage, an `extra` by its name, or `k` of the metric `key`.

        NaN where the module or the row is absent.
        """
        times = self.rows(lead)
        line = self.line(letter, lead)
        if line is None:
            return np.full(len(times), np.nan)
        if what == "k":
            values = line.tracks[key].k if key in line.tracks else None
        elif what == "value":
            values = line.tracks[key].value if key in line.tracks else None
        elif what == "contribution":
            values = line.contributions.get(key)
        else:
            values = getattr(line, what) if what in ("score", "raw", "coverage") else line.extra.get(what)
        return np.full(len(times), np.nan) if values is None else at_times(line.close_time, values, times)

    def why(self, letter: str) -> str:
        """Why a module has no score at the newest row, in words."""
        from analysis.module import shortage

        module, line = self.modules.get(letter), self.line(letter)
        if module is None or line is None:
            return f"module {letter} is not built"
        return f"{module.short}: {shortage(module.metrics, line.tracks, float(line.coverage[-1]))}"


def at_times(known: np.ndarray, values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Values at exactly these times; NaN where there is none."""
    values = np.asarray(values, float)
    newest = known[max(0, len(known) - len(times)) :]
    if len(newest) == len(times) and bool((newest == times).all()):  # the usual case
        return values[len(values) - len(times) :].copy()
    row = np.minimum(np.searchsorted(known, times), len(known) - 1)
    return np.where(known[row] == times, values[row], np.nan)


OWN = Need(Kind.CANDLES, OWN_BARS)
LEADS = {"C": 720}  # modules whose earlier rows a composite reads, and how many: their needs are held that much longer for it


@dataclass(frozen=True)
class CompositeLine:
    """A composite over the rows. `score` is `link(raw)`; both NaN where unknown.

    `inner` and `gates` are described at the top of this file; `values` are the numbers that went in, shown beside; `missing` says in words
    what was absent at the newest row.
    """

    close_time: np.ndarray
    raw: np.ndarray
    score: np.ndarray
    coverage: np.ndarray
    inner: Mapping[str, np.ndarray]
    gates: Mapping[str, np.ndarray] = field(default_factory=dict)
    values: Mapping[str, np.ndarray] = field(default_factory=dict)
    extra: Mapping[str, np.ndarray] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    shown: Mapping[str, Any] = field(default_factory=dict)

    @property
    def gate(self) -> np.ndarray:
        """Product of the gates; ones where there are none."""
        out = np.ones(len(self.raw))
        for values in self.gates.values():
            out = out * values
        return out

    @property
    def contributions(self) -> dict[str, np.ndarray]:
        gate = self.gate
        return {name: values * gate for name, values in self.inner.items()}


class Composite(ABC):
    """One of the composites. Stateless; the class holds its constants, of which `weights_version` names the state."""

    name: ClassVar[str]
    title: ClassVar[str]
    question: ClassVar[str]
    type: ClassVar[str]
    link: ClassVar[str]
    horizon: ClassVar[str]
    horizon_hours: ClassVar[float]
    letters: ClassVar[tuple[str, ...]]  # modules it reads
    weights: ClassVar[Mapping[str, float]]  # of its coverage
    essential: ClassVar[str]  # names of `weights`, any of which must be present: "A", or "ofi|imbalance"
    part_titles: ClassVar[Mapping[str, str]] = {}
    bands: ClassVar[tuple[tuple[float, str], ...]] = ()  # (lowest raw value, word), ascending
    weights_version: ClassVar[str]
    kind: ClassVar[Kinds]
    needs_lead: ClassVar[bool] = False  # reads rows of a module before those asked for (LEADS)
    lead_bars: ClassVar[int] = 0  # the most rows before those asked for that it reads of any module

    @property
    def needs(self) -> tuple[Need, ...]:
        """What the view must hold beside the modules' needs."""
        return (OWN,)

    @abstractmethod
    def line(self, inputs: Inputs) -> CompositeLine:
        """The composite over the rows of the inputs."""

    def label(self, line: CompositeLine) -> str:
        """A word for the newest row: that of its band."""
        return self.bands[band_of(float(line.raw[-1]), self.bands)][1] if self.bands else ""

    def part_weights(self, inputs: Inputs) -> Mapping[str, float]:
        """The most that each part of `inner` can be at the newest row: its effective weight. Empty where parts do not simply add."""
        return {}

    def flips(self, inputs: Inputs) -> list[Flip]:
        """What would have to change for another word, nearest first."""
        from analysis.composites.changes import flips

        line = inputs.composite(self)
        weights = self.part_weights(inputs)
        if not weights or not self.bands or not np.isfinite(line.raw[-1]):
            return []
        return flips({name: float(values[-1]) for name, values in line.inner.items()}, weights, float(line.raw[-1]),
                     float(line.gate[-1]), self.bands)

    def explanation(self) -> str:
        """The text under "how is this computed": the docstring."""
        import inspect

        return inspect.getdoc(type(self)) or ""

    def report(self, inputs: Inputs, line: CompositeLine | None = None) -> ModuleReport:
        """The newest row as a report of the same shape as a module's."""
        view = inputs.view
        line = line or inputs.composite(self)
        known = bool(np.isfinite(line.score[-1]))
        raw, score = (float(line.raw[-1]), float(line.score[-1])) if known else (None, None)
        coverage = float(np.clip(np.nan_to_num(line.coverage[-1]), 0.0, 1.0))
        why = "" if known else self._why(line, coverage)
        shares = line.contributions
        parts = tuple(Part(name=name, title=self.part_titles.get(name, _title(inputs, name)), value=_number(values[-1]), unit="",
                           weight=self.weights.get(name, 0.0), contribution=_number(shares[name][-1]) if known else None,
                           status="ok" if np.isfinite(values[-1]) else "missing", k=_number(values[-1]))
                      for name, values in line.inner.items())
        parts += tuple(Part(name=name, title=self.part_titles.get(name, name), value=_number(values[-1]), unit="gate", weight=0.0,
                            contribution=None, status="ok" if np.isfinite(values[-1]) else "missing")
                       for name, values in line.gates.items())
        shown = {"weights_version": self.weights_version, "horizon": self.horizon,
                 **{name: _number(values[-1]) for name, values in line.values.items()}, **line.shown}
        bars = max(1, round(self.horizon_hours * 3_600_000 / view.interval.ms))
        typed = self.kind(value=self._typed(line) if known else None, interval=str(view.interval), horizon_bars=bars,
                          as_of_ms=view.as_of_ms, coverage=coverage, inputs=tuple(self.letters), reason=why)
        return ModuleReport(letter="", slug=self.name, name=self.title, type=self.type, symbol=view.symbol, market=str(view.market),
                            interval=str(view.interval), as_of_ms=view.as_of_ms, score=score, status="ok" if known else "insufficient",
                            reason=why, coverage=coverage, age_s=max(0.0, (view.at_ms - 1 - view.as_of_ms) / 1000), raw=raw, link=self.link,
                            value=typed, parts=parts, label=self.label(line) if known else "", provenance=view.provenance, shown=shown,
                            missing=line.missing)

    def _typed(self, line: CompositeLine) -> float:
        """The typed value of the newest row; by default the score clipped into the type's range."""
        return float(np.clip(line.score[-1], self.kind.low, self.kind.high))

    def _why(self, line: CompositeLine, coverage: float) -> str:
        words = "; ".join(line.missing[:3])
        return f"only {coverage:.0%} of its weight is known, {COVERAGE_NEEDED:.0%} needed, and {self.essential.replace('|', ' or ')}" + (
            f": {words}" if words else "")


def band_of(raw: float, bands: tuple[tuple[float, str], ...]) -> int:
    """Index of the band a raw value lies in."""
    return max(0, int(np.searchsorted([low for low, _ in bands], raw, side="right")) - 1)


def covered(weights: Mapping[str, float], present: Mapping[str, np.ndarray], coverages: Mapping[str, np.ndarray],
            essential: str) -> tuple[np.ndarray, np.ndarray]:
    """(coverage, whether it suffices): weights of what is present times its own coverage; the essential input must be there.

    Parameters
    ----------
    present : mapping of input name to ndarray (rows,)
        The input's values; NaN where absent.
    coverages : mapping of input name to ndarray (rows,)
        Coverage of the module behind the input; inputs without one count fully.
    """
    rows = len(next(iter(present.values())))
    coverage, there = np.zeros(rows), np.zeros(rows, bool)
    for name, weight in weights.items():
        known = np.isfinite(present[name])
        own = np.nan_to_num(coverages[name]) if name in coverages else 1.0
        coverage += np.where(known, weight * np.minimum(1.0, own), 0.0)
        if name in essential.split("|"):
            there |= known
    return coverage, there & (coverage >= COVERAGE_NEEDED - 1e-12)


def _title(inputs: Inputs, name: str) -> str:
    """A part called "A.rsi" is the module's metric; "A" the module."""
    letter, _, key = name.partition(".")
    module = inputs.modules.get(letter)
    if module is None:
        return name.replace("_", " ")
    return module.metric(key).title if key else module.short


def _number(value: float | np.floating) -> float | None:
    return float(value) if math.isfinite(value) else None
