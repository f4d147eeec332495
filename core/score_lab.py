"""The score lab over a store: histories of every score, judged as one family, beside other schemes and beside worlds without an edge.

A result is a dated document below `lab/` of the home folder. Pages read the newest one; every score elsewhere carries its verdict.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.composites import COMPOSITES, Inputs
from analysis.composites.proposed import PROPOSED, as_proposed, weighted_as_proposed
from analysis.lab import LabReport, Member, Panel, compare_schemes, judge, mirrored, null_size, specs_for, weight_band, weighted_mean
from analysis.lab.cards import Verdict
from analysis.lab.targets import ScoreSpec
from analysis.module import blend
from analysis.modules.trend_moment import METRICS as TREND_METRICS
from core.stored import Damaged, read
from data.clock import iso
from data.errors import InputError, NoData
from data.frames import Candles
from data.market import SeriesKey
from data.storage.durable import no_fault, replace_file
from data.view import MarketView

if TYPE_CHECKING:
    from core.judging import Judging

FEWEST_BARS, MOST_BARS = 300, 60_000
KEPT_RESULTS = 12
SCHEME_HORIZON = {"trend_strength": 24, "buy_opportunity": 24, "risk_exposure": 24, "macro_sentiment": 168, "liquidity_pressure": 5,
                  "anomaly_alert": 24}
BAND_HORIZON = 24
Tell = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Measured:
    """One symbol's history of scores, what composites are made of, and the unit scores of module A's metrics."""

    panel: Panel
    members: Mapping[str, tuple[Member, ...]]
    given: Mapping[str, Mapping[str, np.ndarray]]
    trend_units: np.ndarray


@dataclass(frozen=True)
class LabResult:
    """A stored run. `document` is plain JSON; `verdict` answers for one score."""

    document: dict[str, Any]

    @property
    def made_at(self) -> str:
        return str(self.document["made_at"])

    def cards(self, score: str, symbol: str | None = None) -> list[dict[str, Any]]:
        """Cells of one score, of one symbol or of all."""
        return [c for c in self.document["report"]["cards"] if c["score"] == score and symbol in (None, c["symbol"])]

    def verdict(self, score: str, symbol: str | None = None) -> str:
        """One word for a score: that of its cells. Supported where half of the tested ones are, contradicted where a third are and none is
        supported, weak where any is supported or weak; insufficient where none could be tested."""
        found = [c["verdict"] for c in self.cards(score, symbol)]
        tested = [v for v in found if v != Verdict.INSUFFICIENT]
        if not tested:
            return str(Verdict.INSUFFICIENT)
        count = {v: tested.count(v) for v in Verdict}
        if 2 * count[Verdict.SUPPORTED] >= len(tested):
            return str(Verdict.SUPPORTED)
        if 3 * count[Verdict.CONTRADICTED] >= len(tested) and not count[Verdict.SUPPORTED]:
            return str(Verdict.CONTRADICTED)
        return str(Verdict.WEAK if count[Verdict.SUPPORTED] or count[Verdict.WEAK] else Verdict.NO_EVIDENCE)

    def text(self) -> str:
        d = self.document
        lines = [f"score lab of {', '.join(d['symbols'])} {d['interval']} {d['market']}, {d['bars']} bars to {d['as_of']} ({d['world']}), "
                 f"made {d['made_at']}", f"{d['report']['tested']} tests in one family: " + ", ".join(
                     f"{n} {v}" for v, n in d["report"]["verdicts"].items() if n)]
        for p in d["report"]["pooled"]:
            lines.append(f"  {p['score']:<20}{p['target']:<20}{self.verdict(p['score']):<14}{p['words']}")
        if d.get("null"):
            lines.append(d["null"]["words"])
        return "\n".join([*lines, *d["answer"]])


# -- running ----------------------------------------------------------------------------------------------------------


def run_lab(sextant: Judging, keys: Sequence[SeriesKey], *, bars: int, at_ms: int | None = None, worlds: int = 0,
            progress: Tell | None = None) -> LabResult:
    """Measure, judge, compare, store.

    Raises
    ------
    InputError
        When the number of bars or worlds is out of range.
    NoData
        When no symbol has a history before the moment.
    """
    if not FEWEST_BARS <= bars <= MOST_BARS:
        raise InputError(f"expected --bars between {FEWEST_BARS} and {MOST_BARS}, got {bars}")
    if not 0 <= worlds <= 1000:
        raise InputError(f"expected --worlds between 0 and 1000, got {worlds}")
    tell = progress or (lambda done, total, words: None)
    total = len(keys) + 2 + worlds
    measured: dict[str, Measured] = {}
    absent: dict[str, str] = {}
    for n, key in enumerate(keys):
        tell(n, total, f"Scoring {bars:,} bars of {key.symbol}")
        try:
            measured[key.symbol] = measure(sextant, key, bars, at_ms)
        except NoData as error:
            absent[key.symbol] = str(error)
    if not measured:
        raise NoData("; ".join(absent.values()) or "no symbol was given")
    tell(len(keys), total, "Judging")
    panels = {symbol: m.panel for symbol, m in measured.items()}
    names = {name for panel in panels.values() for name in panel.scores}
    specs = specs_for(names)
    report = judge(panels, specs)
    tell(len(keys) + 1, total, "Comparing schemes")
    schemes = {name: {symbol: _schemes(m, name, specs) for symbol, m in measured.items()} for name in SCHEME_HORIZON}
    spec_a = next(s for s in specs if s.name == "A")
    bands = {symbol: _band(m, spec_a) for symbol, m in measured.items()}
    null = None
    if worlds:
        histories = {key.symbol: _history(sextant, key, bars, at_ms) for key in keys if key.symbol in measured}
        real = directional(histories, bars)
        results = []
        for world in range(worlds):
            tell(len(keys) + 2 + world, total, f"Null world {world + 1} of {worlds}")
            results.append(directional(mirrored(histories, world + 1), bars))
        null = null_size(results, real=real).document()
    first = keys[0]
    as_of = max(int(p.close_time[-1]) for p in panels.values())
    document: dict[str, Any] = {
        "made_at": iso(sextant.clock.now_ms()), "world": str(sextant.world), "interval": str(first.interval), "market": str(first.market),
        "bars": bars, "as_of": iso(as_of), "symbols": list(measured), "absent": absent,
        "weights_versions": {c.name: c.weights_version for c in COMPOSITES}, "report": report.document(), "schemes": schemes,
        "weight_bands": bands, "null": null,
    }
    document["answer"] = answer(LabResult(document), report)
    result = LabResult(document)
    keep(sextant.settings.home, result)
    tell(total, total, "Done")
    return result


def measure(sextant: Judging, key: SeriesKey, bars: int, at_ms: int | None) -> Measured:
    """Every score of one symbol over its newest `bars` bars (as many as there are)."""
    view = sextant.view(key, at_ms=at_ms, more_bars=bars - 1)
    inputs = Inputs(view, sextant.modules, bars)
    scores = {letter: inputs.of(letter) for letter in inputs.modules}
    scores["b_risk"] = inputs.of("B", "b_risk")
    for composite in COMPOSITES:
        scores[composite.name] = inputs.composite(composite).score
    own = inputs.own.tail(len(inputs.close_time))
    state = inputs.of("B", "state")
    regime = np.where(state > 0, "trend", np.where(state < 0, "range", ""))
    units = np.column_stack([inputs.of("A", "k", key=m.key) for m in TREND_METRICS if m.weight > 0])
    given = {name: {"as_proposed": as_proposed(name, inputs), "weighted_as_proposed": weighted_as_proposed(name, inputs)}
             for name in PROPOSED}
    return Measured(Panel.of(own, scores, regime), _members(inputs), given, units)


def _members(inputs: Inputs) -> dict[str, tuple[Member, ...]]:
    """What each composite is made of, typed so that larger means the composite is larger."""
    def member(letter: str, typed: np.ndarray, weight: float) -> Member:
        score = inputs.of(letter)
        return Member(letter, 0.5 + 0.5 * score if letter in ("C", "E") else score, typed, weight)

    a, d, f, h = (2.0 * inputs.of(letter) - 1.0 for letter in ("A", "D", "F", "H"))
    c, e = inputs.of("C"), inputs.of("E")
    return {
        "trend_strength": (member("A", a, .45), member("C", c, .20), member("D", d, .35)),
        "buy_opportunity": (member("A", a, .40), member("C", c, .20), member("D", d, .25), member("E", e, .15)),
        "risk_exposure": (member("G", inputs.of("G"), .35), member("B", inputs.of("B", "b_risk"), .25), member("J", inputs.of("J"), .25),
                          member("F", -f, .15)),
        "macro_sentiment": (member("C", c, .40), member("F", f, .40), member("E", e, .20)),
        "liquidity_pressure": (member("D", d, .55), member("H", h, .45)),
        "anomaly_alert": (member("J", inputs.of("J"), .55), member("C", np.abs(c), .20), member("G", inputs.of("G"), .25)),
    }


def _schemes(m: Measured, name: str, specs: Sequence[ScoreSpec]) -> list[dict[str, Any]]:
    spec = next((s for s in specs if s.name == name), None)
    if spec is None or not np.isfinite(m.panel.scores[name]).any():
        return []
    held = [one for one in m.members[name] if np.isfinite(one.typed).any()]
    if not held:
        return []
    return [r.document() for r in compare_schemes(m.panel, spec, held, SCHEME_HORIZON[name], given=m.given[name])]


def _band(m: Measured, spec: ScoreSpec) -> dict[str, Any] | None:
    """How much module A's verdict hangs on its exact weights."""
    if not np.isfinite(m.panel.scores["A"]).any():
        return None
    weights = {metric.key: metric.weight for metric in TREND_METRICS if metric.weight > 0}
    return weight_band(m.panel, spec, weights, lambda w: weighted_mean(m.trend_units, np.array(list(w.values()))), BAND_HORIZON).document()


# -- worlds without an edge -------------------------------------------------------------------------------------------


def _history(sextant: Judging, key: SeriesKey, bars: int, at_ms: int | None) -> Candles:
    from analysis.modules import BY_LETTER

    return sextant.view(key, at_ms=at_ms, more_bars=bars - 1, modules=(BY_LETTER["A"],)).candles(BY_LETTER["A"].needs[0])


def directional(histories: Mapping[str, Candles], bars: int) -> LabReport:
    """The directional half of the pipeline on candles alone: module A and trend strength (A gated by B's probability), judged as one
    family. What has no side (volatility, risk, anomaly) keeps its truth in a mirrored world, so it would not be a null."""
    from analysis.modules import BY_LETTER
    from analysis.modules.volat_regime import METRICS as REGIME_METRICS
    from analysis.modules.volat_regime import evidence_tracks

    a, panels = BY_LETTER["A"], {}
    for symbol, candles in histories.items():
        rows = min(bars, len(candles))
        need = a.needs[0]
        close = int(candles.close_time[-1])
        view = MarketView(symbol, need.market or a.needs[0].market, candles.interval, close + 1, close,  # type: ignore[arg-type]
                          {need: candles, **{n: Candles.empty(candles.interval) for n in a.needs[1:]}}, dict.fromkeys(a.needs, "given"))
        s = a.timeline(view, rows)
        evidence = blend(REGIME_METRICS, evidence_tracks(candles, rows, 0.0)).raw
        p = 1.0 / (1.0 + np.exp(-3.5 * evidence))
        gated = 0.5 + 0.5 * s.raw * np.where(np.isfinite(p), p, 0.5)
        panels[symbol] = Panel.of(candles.tail(rows), {"A": s.score, "trend_strength": gated})
    return judge(panels, specs_for({"A", "trend_strength"}), draws=0)


# -- what it comes to -------------------------------------------------------------------------------------------------


def answer(result: LabResult, report: LabReport) -> list[str]:
    """"Are these composites meaningful, and what do you recommend?", from this run's own numbers."""
    lines = []
    for composite in (c for c in COMPOSITES if c.name in SCHEME_HORIZON or c.name == "sell_opportunity"):
        cells = result.cards(composite.name)
        tested = [c for c in cells if c["verdict"] != Verdict.INSUFFICIENT]
        if not tested:
            lines.append(f"{composite.title}: could not be judged on this history (its inputs were not recorded).")
            continue
        good = sum(c["verdict"] == Verdict.SUPPORTED for c in tested)
        bad = sum(c["verdict"] == Verdict.CONTRADICTED for c in tested)
        best = max(tested, key=lambda c: c["sign"] * (c["found"]["ic"] or 0.0))
        lines.append(f"{composite.title}: {result.verdict(composite.name)}; {good} of {len(tested)} tests supported, {bad} contradicted; "
                     f"at best {best['found']['ic']:+.3f} with the {best['target']} of {best['horizon_bars']} bars on {best['symbol']}.")
    better = [f"{name} by {row['scheme']} on {symbol}" for name, by_symbol in result.document["schemes"].items()
              for symbol, rows in by_symbol.items() for row in rows if row["replaces"]]
    lines.append("Optimal allocation is a set of weights: it is judged out of sample beside 1/N and inverse volatility, not by a "
                 "correlation.")
    lines.append("Another scheme beats the default by the rule (interval above zero in 4 of 5 folds): "
                 + (", ".join(better[:6]) if better else "none. Fixed, versioned weights stay."))
    return lines


# -- keeping ----------------------------------------------------------------------------------------------------------


def _folder(home: Path, world: str) -> Path:
    return home / "lab" / world


def keep(home: Path, result: LabResult) -> None:
    """Store a run under its date; the oldest of the same kind go."""
    d = result.document
    folder = _folder(home, d["world"])
    folder.mkdir(parents=True, exist_ok=True)
    stamp = d["made_at"].replace(":", "").replace("-", "")
    replace_file(folder / f"{d['market']}-{d['interval']}-{stamp}.json", json.dumps(d, allow_nan=False).encode(), no_fault, "lab")
    for old in sorted(folder.glob(f"{d['market']}-{d['interval']}-*.json"))[:-KEPT_RESULTS]:
        old.unlink(missing_ok=True)


def newest(home: Path, world: str, interval: str, market: str) -> LabResult | None:
    """The newest stored run that can be read; a damaged one is named in the log."""
    for path in sorted(_folder(home, world).glob(f"{market}-{interval}-*.json"), reverse=True):
        found = read(path, f"score lab {path.stem}")
        if not isinstance(found, Damaged):
            return LabResult(found)
    return None


