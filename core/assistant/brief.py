"""The brief: an analyst's note on one symbol, written by code from the same facts a model would get. It needs no key and no network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from analysis.composites import COMPOSITES, by_name
from analysis.report import ModuleReport
from analysis.scorecard import Scorecard
from core.assistant import reading, records
from core.assistant.claims import Claims, Piece
from core.assistant.desk import Desk, part_value, price_places, score_row, word
from core.assistant.facts import Fact, Found, Source, Unit
from core.assistant.references import filled, plain
from data.errors import SextantError

LABEL = "Deterministic brief: written by rules from the scores, without a language model."
HEADLINE = ("trend_strength", "buy_opportunity", "risk_exposure", "anomaly_alert")
CHANGED = ("trend_strength", "risk_exposure")
LEVEL_BARS = 240


@dataclass(frozen=True)
class Section:
    """One part of the note: a heading, and lines of pieces that carry their sources."""

    title: str
    lines: tuple[tuple[Piece, ...], ...]

    def text(self) -> str:
        return "\n".join([self.title, *(f"  - {plain(line)}" for line in self.lines)])


def brief(desk: Desk) -> Iterator[Section]:
    """The sections, each as soon as it is known; one that cannot be written says why and the others go on."""
    card: list[Scorecard] = []

    def scored() -> Scorecard:
        if not card:
            card.append(desk.sextant.scores(desk.key))
        return card[0]

    parts: tuple[tuple[str, Callable[[], list[str]]], ...] = (
        ("Now", lambda: _now(desk)), ("In short", lambda: _short(desk, scored())), ("Scores", lambda: _scores(desk, scored())),
        ("What changed in a day", lambda: _changed(desk)),
        ("Signal", lambda: _signal(desk)), ("Risk", lambda: _risk(desk, scored())), ("Levels", lambda: _levels(desk)),
        ("What would change the view", lambda: _flips(desk)), ("How far to believe it", lambda: _belief(desk, scored())),
        ("Gaps in the data", lambda: _gaps(desk, scored())))
    for title, write in parts:
        try:
            lines = write()
        except SextantError as error:
            lines = [f"Unknown: {_r(_source(desk).fact('why', str(error), Unit.WORDS))}"]
        claims = Claims(desk.facts, symbols=desk.sextant.symbols(desk.key.market), fixed=True)
        yield Section(title, tuple(tuple(filled(line, claims, desk.facts.guard)) for line in lines if line))


def document(desk: Desk, sections: tuple[Section, ...]) -> dict[str, Any]:
    """Plain JSON: text, and every figure with its value, unit and source."""
    used = {p.fact for s in sections for line in s.lines for p in line if p.fact}
    return {"symbol": desk.key.symbol, "interval": str(desk.key.interval), "market": str(desk.key.market), "kind": "deterministic",
            "label": LABEL, "sections": [{"title": s.title, "lines": [plain(line) for line in s.lines]} for s in sections],
            "figures": [f.document() | {"text": f.text(), "source": f.where()} for f in desk.facts.known.values() if f.id in used]}


def _source(desk: Desk, as_of_ms: int = 0) -> Source:
    return desk.source("brief", desk.key, as_of_ms)


def _r(facts: tuple[Fact, ...], otherwise: str = "unknown") -> str:
    """The reference to a fact; what is unknown is said."""
    return "{{" + facts[0].id + "}}" if facts else otherwise


def _of(found: Found, name: str) -> str:
    return _r(tuple(f for f in found.facts if f.name == name))


def _has(found: Found, name: str) -> bool:
    return any(f.name == name for f in found.facts)


# -- the sections -------------------------------------------------------------------------------------------------------


def _now(desk: Desk) -> list[str]:
    found = reading.price(desk)
    lines = [f"{desk.key.symbol} is at {_of(found, 'price')}, {_of(found, 'change over 24 hours')} in {_of(found, 'span of the change')}; "
             f"the day's range is {_of(found, 'lowest price of the day')} to {_of(found, 'highest price of the day')}.",
             f"Data: {_of(found, 'kind of data')}, {_of(found, 'age of the data')}; newest close {_of(found, 'newest close')}."]
    if found.provenance == "SIMULATED":
        lines.append("These prices are invented by the simulated exchange. Nothing here is a real market.")
    return lines


def _short(desk: Desk, card: Scorecard) -> list[str]:
    """The words of the headline scores and of the signal, in one sentence."""
    source = desk.source("scores", desk.key, card.as_of_ms)
    said = []
    for name in ("trend_strength", "risk_exposure", "anomaly_alert"):
        report = card.composite(name)
        label = _r(source.fact(f"{by_name(name).title}: word", word(report.label), Unit.WORDS)) if report.score is not None else "unknown"
        said.append(f"{by_name(name).title.lower()}: {label}")
    return [f"{', '.join(said).capitalize()}; the trend rule says {_of(reading.signal(desk), 'signal')}."]


def _scores(desk: Desk, card: Scorecard) -> list[str]:
    source = desk.source("scores", desk.key, card.as_of_ms)
    lines = []
    for name in HEADLINE:
        lines.append(_said(source, by_name(name).title, card.composite(name)))
    lean = [r for r in card.reports if r.score is not None and r.letter in "ACDFH"]
    far = sorted(lean, key=lambda r: -abs((r.score or 0.0) - (0.0 if r.letter == "C" else 0.5)))[:3]
    lines += [_said(source, f"{r.letter} {r.name}", r) for r in far]
    regime = card.report("B")
    if regime.score is not None:
        lines.append(f"The regime is {_r(source.fact('regime', word(regime.label), Unit.WORDS))}; probability of a trend "
                     f"{_r(source.fact('probability of a trend', regime.score, Unit.SHARE))}.")
    best = max((r for r in lean if r.raw is not None and r.letter == "A"), key=lambda r: abs(r.raw or 0.0), default=None)
    if best is not None:
        parts = sorted((p for p in best.parts if p.contribution), key=lambda p: -abs(p.contribution or 0.0))[:3]
        said = ", ".join(f"{p.title} {_r(source.fact(f'{p.title}: contribution', p.contribution, Unit.STEP))}" for p in parts)
        lines.append(f"Behind the trend score: {said}.")
    return lines


def _said(source: Source, name: str, report: ModuleReport) -> str:
    row = score_row(source, name, report)
    by = {f.name.rpartition(": ")[2] if ": " in f.name else "score": f for f in row.facts}
    if report.score is None:
        return f"{name}: unknown, {_r(source.fact('why', report.reason, Unit.WORDS))}."
    return (f"{name}: {_r((by['score'],))}" + (f" ({_r((by['word'],))})" if "word" in by else "")
            + f", from {_r((by['coverage'],))} of its inputs.")


def _changed(desk: Desk) -> list[str]:
    lines = []
    for name in CHANGED:
        title = by_name(name).title
        try:
            found = reading.what_changed(desk, name)
        except SextantError as error:
            lines.append(f"{title}: {_r(_source(desk).fact('why', str(error), Unit.WORDS))}")
            continue
        shares = [f for f in found.facts if f.name.startswith("share of ")][:3]
        parts = ", ".join(f"{f.name[9:]} {_r((f,))}" for f in shares)
        before, now, change = (_of(found, name) for name in (f"{title} before", f"{title} now", f"change of {title}"))
        lines.append(f"{title} went from {before} to {now} ({change}) in {_of(found, 'span')}"
                     + (f"; most of it from {parts}." if parts else "."))
    return lines


def _signal(desk: Desk) -> list[str]:
    found = reading.signal(desk)
    lines = [f"The trend rule says {_of(found, 'signal')}; it is {_of(found, 'state of the rule')}."]
    if _has(found, "entry price"):
        target = f", target {_of(found, 'take-profit price')}" if _has(found, "take-profit price") else ", no target"
        lines.append(f"Entry about {_of(found, 'entry price')}, stop {_of(found, 'stop-loss price')}{target}; size {_of(found, 'size')}, "
                     f"{_of(found, 'share of equity at risk')} of the equity at risk.")
    lines += [f"Reason: {_r((f,))}" for f in found.facts if f.name == "reason"]
    lines += [f"Refused by {row.name}: {_r(row.facts)}" for row in found.rows if row.name.startswith("limit ")]
    lines.append(f"Confidence: {_of(found, 'confidence of the signal')}." if _has(found, "confidence of the signal") else
                 "Confidence: none; a rule has no calibrated probability.")
    said = reading.forecast(desk)
    probabilities = [f for f in said.facts if f.name.startswith("probability of ")]
    if probabilities:
        lines.append("The model says: " + ", ".join(f"{f.name} {_r((f,))}" for f in probabilities) + f", over {_of(said, 'horizon')}.")
        if said.rows[0].unknown:
            lines.append(f"It makes no call: {_r(_source(desk).fact('why', said.rows[0].unknown, Unit.WORDS))}")
    else:
        lines.append("No trained model speaks of this series.")
    return lines


def _risk(desk: Desk, card: Scorecard) -> list[str]:
    report, places = card.report("G"), price_places(desk.sextant.candles(desk.key, bars=60).close)
    source = desk.source("risk", desk.key, report.as_of_ms)
    lines = [_said(source, f"{report.letter} {report.name}", report)]
    known = [p for p in report.parts if p.value is not None and p.name in ("var", "cvar", "drawdown", "mdd", "atr_stop", "vol_target")]
    lines += [f"{p.title}: {_r(part_value(source, p, places))}." for p in known[:5]]
    anomaly = card.report("J")
    lines.append(_said(source, f"{anomaly.letter} {anomaly.name}", anomaly))
    return lines


def _levels(desk: Desk) -> list[str]:
    candles = desk.sextant.candles(desk.key, bars=LEVEL_BARS)
    source, places = desk.source("levels", desk.key, int(candles.close_time[-1])), price_places(candles.close)

    def at(name: str, value: float) -> str:
        return _r(source.fact(name, value, Unit.PRICE, places=places))

    span = _r(source.fact("bars of the levels", len(candles), Unit.COUNT, "bars"))
    high, low, close = float(candles.high.max()), float(candles.low.min()), float(candles.close[-1])
    lines = [f"Over {span}: highest {at('highest price', high)}, lowest {at('lowest price', low)}, "
             f"middle {at('middle of the range', (high + low) / 2)}."]
    place = (close - low) / max(1e-12, high - low)
    lines.append(f"The price stands at {_r(source.fact('place in the range', float(place), Unit.SHARE))} of that range, from its low.")
    return lines


def _flips(desk: Desk) -> list[str]:
    found = reading.flips(desk, "trend_strength")
    rows = [row for row in found.rows if len(row.facts) == 2][:3]
    if not rows:
        return ["No single input can change the word of trend strength from here."]
    lines = []
    for row in rows:
        name, _, then = row.name.partition(", towards ")
        lines.append(f"{name} from {_r(row.facts[:1])} to {_r(row.facts[1:])}, all else equal, would turn trend strength to “{then}”.")
    return lines


def _belief(desk: Desk, card: Scorecard) -> list[str]:
    found = reading.lab(desk)
    if not any(f.name.endswith(": verdict") for f in found.facts):
        return ["The score lab has not judged this interval yet: whether these scores predict anything here is unknown.",
                _said(desk.source("scores", desk.key, card.as_of_ms), by_name("data_confidence").title, card.composite("data_confidence"))]
    used = {by_name(name).title for name in HEADLINE} | {f"{r.letter} {r.name}" for r in card.reports}
    verdicts: dict[str, list[str]] = {}
    for fact in found.facts:
        name = fact.name.removesuffix(": verdict")
        if fact.name.endswith(": verdict") and name in used:
            verdicts.setdefault(str(fact.value), []).append(name)
    lines = [f"Score lab, {verdict.replace('_', ' ')}: {', '.join(names)}." for verdict, names in verdicts.items()]
    return [f"Judged over {_of(found, 'bars judged')}.", *lines] if _has(found, "bars judged") else lines


def _gaps(desk: Desk, card: Scorecard) -> list[str]:
    found = records.quality(desk)
    source = desk.source("quality", desk.key, card.as_of_ms)
    lines = [f"Holes in the candles: {_of(found, 'holes')}, of {_of(found, 'bars checked')} checked."]
    absent = [(c.title, card.composite(c.name)) for c in COMPOSITES if card.composite(c.name).score is None]
    absent += [(f"{r.letter} {r.name}", r) for r in card.reports if r.score is None]
    lines += [f"{name} is unknown: {_r(source.fact('why', r.reason, Unit.WORDS))}" for name, r in absent]
    thin = [(f"{r.letter} {r.name}", r) for r in card.reports if r.score is not None and r.coverage < 0.95]
    for name, report in thin:
        missing = [p.title for p in report.parts if p.value is None and p.weight > 0][:4]
        what = f"; without {', '.join(missing)}" if missing else ""
        lines.append(f"{name} rests on {_r(source.fact(f'{name}: coverage', report.coverage, Unit.SHARE))} of its inputs{what}.")
    lines += [_r(source.fact("degraded", words, Unit.WORDS)) for words in desk.sextant.damage()[:3]]
    if len(lines) == 1 and not absent:
        lines.append("Every module has its inputs.")
    return lines
