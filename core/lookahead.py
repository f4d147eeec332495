"""Does anything know the future? Every registered indicator, metric and module, cut off and poisoned many times (X3).

Three questions, asked of each:

- **prefix**: with everything after a moment deleted, is the value at that moment the same, to the last bit?
- **poison**: with everything after it replaced by nonsense, is it still the same, to the last bit?
- **start shift**: with the history beginning later, is it the same once warmed up (1e-9 of scale for windows, 1e-6 sd for
  recursive ones)?

Nothing can be forgotten: the lists are `data.indicators.INDICATORS` and the modules the facade runs. And the check itself is
checked: fifteen planted leaks of the usual kinds (core/planted_leaks.py) must be caught.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from analysis.fits import FitCache
from analysis.module import ScoreModule, Timeline
from core.planted_leaks import LEAKS
from data.clock import FixedClock
from data.frames import COLUMNS, TIME_COLUMNS, Candles
from data.indicators import INDICATORS
from data.market import DAY_MS, HOUR_MS, Interval, Market, SeriesKey
from data.simulator.market import EPOCH_MS, FROZEN_HOURS, SimulatedExchange
from data.view import MarketView, build_view

Series = Callable[[Candles], dict[str, np.ndarray]]

SYMBOL = "DOGEUSDT"  # the simulated symbol with holes, jumps and a wick
HISTORY_BARS = 2_600  # of candles given to an indicator: past every warm-up
FUTURE_BARS = 12  # poisoned bars after a cut; more find nothing more, a leak that reaches further also reaches these
SPAN_BARS = 1_000  # cuts of modules lie in this many bars
SEED = 20_261_120


@dataclass(frozen=True)
class Finding:
    """One checked thing. `known` of its `comparisons` were of finite values; `words` names the first difference when it failed."""

    name: str
    kind: str
    causality: str
    comparisons: int
    known: int
    ok: bool
    words: str = ""


@dataclass(frozen=True)
class LookaheadReport:
    """Everything checked, and whether the planted leaks were caught."""

    findings: tuple[Finding, ...]
    leaks: tuple[Finding, ...]
    cuts: int
    poisons: int

    @property
    def caught(self) -> int:
        return sum(not leak.ok for leak in self.leaks)

    @property
    def ok(self) -> bool:
        return all(f.ok for f in self.findings) and self.caught == len(self.leaks)

    def document(self) -> dict[str, Any]:
        return {"ok": self.ok, "cuts": self.cuts, "poisons": self.poisons, "checked": len(self.findings),
                "passed": sum(f.ok for f in self.findings), "planted": len(self.leaks), "caught": self.caught,
                "findings": [asdict(f) for f in self.findings], "leaks": [asdict(f) for f in self.leaks]}

    def text(self) -> str:
        bad = [f"  LOOKS AHEAD {f.kind} {f.name}: {f.words}" for f in self.findings if not f.ok]
        missed = [f"  NOT CAUGHT  planted {f.name}" for f in self.leaks if f.ok]
        passed = sum(f.ok for f in self.findings)
        head = f"{passed} of {len(self.findings)} pass {self.cuts} cuts and {self.poisons} poisoned futures; " \
               f"{self.caught} of {len(self.leaks)} planted leaks caught"
        return "\n".join([head, *bad, *missed])


# -- futures --------------------------------------------------------------------------------------------------------


def poisoned(candles: Candles, last: int, kind: int) -> Candles:
    """The candles up to row `last` as they were, the next few replaced: NaN, 1e9, zero-range, reversed, or exploding."""
    stop = min(len(candles), last + 1 + FUTURE_BARS)
    kept, columns = candles.take(slice(0, stop)), {}
    ahead = slice(last + 1, stop)
    for name in COLUMNS:
        column = getattr(kept, name).copy()
        if name not in TIME_COLUMNS:
            future = column[ahead]
            growth = np.exp(np.arange(1, len(future) + 1))
            column[ahead] = (np.full_like(future, np.nan), np.full_like(future, 1e9), np.full_like(future, column[last]),
                             future[::-1], column[last] * growth)[kind]
        columns[name] = column
    return Candles.from_columns(kept.interval, columns, provenance=kept.provenance, halts=kept.halts)


POISONS = 5


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return np.asarray(a).tobytes() == np.asarray(b).tobytes() or bool(np.array_equal(a, b, equal_nan=True))


def chosen_cuts(candles: Candles, first: int, count: int, seed: int) -> list[int]:
    """Rows to cut after: half of them beside holes and at the edges of days, weeks and months, half anywhere."""
    rows = np.arange(first, len(candles) - FUTURE_BARS - 1)
    opened = candles.open_time[rows]
    day = opened % DAY_MS == 0
    week = (opened // DAY_MS) % 7 == 4
    hole = np.isin(rows, np.concatenate([[s.start - 1, s.start, s.start + 1] for s in candles.segments]))
    edges = rows[(day & week) | hole | np.roll(day & week, -1)]
    edges = np.concatenate((edges, rows[day | np.roll(day, -1)]))
    stream = np.random.default_rng(seed)
    dense = list(dict.fromkeys(edges.tolist()))[: count // 2]
    anywhere = stream.choice(rows, size=min(len(rows), count * 2), replace=False).tolist()
    return sorted(list(dict.fromkeys(dense + anywhere))[:count])


# -- series ---------------------------------------------------------------------------------------------------------


def check_series(name: str, kind: str, causality: str, series: Series, candles: Candles, cuts: Sequence[int], poisons: int,
                 warmup_bars: int = 0) -> Finding:
    """One indicator on one stretch of candles."""
    whole = series(candles)
    comparisons = known = 0
    for cut in cuts:
        trials: list[tuple[str, Candles]] = [("deleted", candles.take(slice(0, cut + 1)))]
        trials += [(f"poisoned ({p + 1})", poisoned(candles, cut, p)) for p in range(poisons)]
        for how, world in trials:
            try:
                answer = series(world)
            except (ValueError, FloatingPointError, IndexError, ZeroDivisionError) as error:
                return Finding(name, kind, causality, comparisons, known, False, f"future {how} after bar {cut}: it failed ({error})"[:160])
            for output, values in answer.items():
                comparisons += 1
                known += bool(np.isfinite(values[cut]))
                if not _same(values[cut], whole[output][cut]):
                    words = f"future {how} after bar {cut}: {output} became {values[cut]:.6g}, was {whole[output][cut]:.6g}"
                    return Finding(name, kind, causality, comparisons, known, False, words)
    words = _start_shift(series, candles, whole, causality, warmup_bars) if warmup_bars else ""
    return Finding(name, kind, causality, comparisons, known, not words, words)


def _start_shift(series: Series, candles: Candles, whole: dict[str, np.ndarray], causality: str, warmup_bars: int) -> str:
    """Begin later; after the warm-up the values must agree."""
    for shift in (1, 7, 137):
        later = series(candles.take(slice(shift, None)))
        # A segment that begins before the shift is the one that changes; later ones are untouched anyway.
        for output, values in later.items():
            known = whole[output][shift:]
            settled = np.arange(len(values)) >= warmup_bars
            both = np.isfinite(values) & np.isfinite(known) & settled
            if not both.any():
                continue
            scale = float(np.std(known[both])) if causality == "R" else float(np.max(np.abs(known[both])))
            limit = (1e-6 if causality == "R" else 1e-9) * max(scale, 1e-300)
            worst = float(np.max(np.abs(values - known)[both]))
            if worst > limit and worst > 1e-12:
                return f"history begun {shift} bars later: {output} differs by {worst:.3g}, {limit:.3g} allowed"
    return ""


# -- modules --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Stage:
    """One module's inputs over a stretch of time, from fixed first bars, and its timeline over it."""

    module: ScoreModule
    view: MarketView
    whole: Timeline
    bars: int

    def cut(self, row: int, kind: int | None) -> MarketView:
        """The view at the close of `row` (of the span): later rows deleted, or poisoned with `kind`."""
        at = int(self.whole.close_time[row]) + 1
        series = {need: _cut_series(candles, at, kind) for need, candles in self.view.series.items()}
        return replace(self.view, at_ms=at, as_of_ms=at - 1, series=series)


def _cut_series(candles: Candles, at_ms: int, kind: int | None) -> Candles:
    known = candles.closed_before(at_ms)
    if kind is None or not len(known):
        return known
    ahead = max(1, FUTURE_BARS * HOUR_MS // candles.interval.ms)
    return poisoned(candles.take(slice(0, len(known) + ahead)), len(known) - 1, kind)


def _stage(module: ScoreModule, exchange: SimulatedExchange, end_ms: int, span: int, fits: FitCache) -> _Stage:
    view = build_view(exchange, SYMBOL, Market.SPOT, Interval.H1, module.needs, at_ms=end_ms, fits=fits, more_bars=span)
    return _Stage(module, view, module.timeline(view, span), span)


def check_module(module: ScoreModule, exchange: SimulatedExchange, end_ms: int, cuts: int, poisons: int, seed: int) -> list[Finding]:
    """The module's score, and each of its metrics, on one stretch of simulated time."""
    stage = _stage(module, exchange, end_ms, SPAN_BARS, FitCache())
    own = next(c for n, c in stage.view.series.items() if n.interval in (None, Interval.H1) and len(c))
    rows = [r - (len(own) - SPAN_BARS) for r in chosen_cuts(own, len(own) - SPAN_BARS, cuts, seed)]
    faults: dict[str, str] = {}
    known: Counter[str] = Counter()
    comparisons = 0
    for row in rows:
        for kind in (None, *range(poisons)):
            how = "deleted" if kind is None else f"poisoned ({kind + 1})"
            view = stage.cut(row, kind)
            ahead = 0 if kind is None else _rows_after(view, int(stage.whole.close_time[row]))
            answer = module.timeline(view, 1 + ahead)
            comparisons += 1
            for key, was, now in _compared(stage.whole, answer, row, -1 - ahead):
                known[key] += bool(np.isfinite(np.ravel(now)[0]))
                if key not in faults and not _same(was, now):
                    faults[key] = f"future {how} after {stage.whole.close_time[row]}: became {now!r}, was {was!r}"[:160]
    found = [Finding(f"{module.letter}.{m.key}", "metric", str(m.causality), comparisons, known[m.key], m.key not in faults,
                     faults.get(m.key, "")) for m in module.metrics]
    rest = next((f"{k}: {w}" for k, w in faults.items() if k not in {m.key for m in module.metrics}), "")
    return [*found, Finding(f"{module.letter} {module.name}", "module", "", comparisons, known["raw"], not rest, rest)]


def _rows_after(view: MarketView, close_ms: int) -> int:
    own = next(c for n, c in view.series.items() if n.interval in (None, view.interval) and len(c))
    return int(np.sum(own.close_time > close_ms))


def _compared(whole: Timeline, answer: Timeline, row: int, at: int) -> list[tuple[str, np.ndarray, np.ndarray]]:
    pairs = [(name, getattr(whole, name)[row], getattr(answer, name)[at]) for name in ("raw", "score", "coverage")]
    for key, track in whole.tracks.items():
        other = answer.tracks[key]
        pairs.append((key, np.array([track.value[row], track.k[row], float(track.status[row])]),
                      np.array([other.value[at], other.k[at], float(other.status[at])])))
    pairs += [(f"contribution of {key}", c[row], answer.contributions[key][at]) for key, c in whole.contributions.items()]
    pairs += [(key, extra[row], answer.extra[key][at]) for key, extra in whole.extra.items()]
    return pairs


# -- everything -----------------------------------------------------------------------------------------------------


def check_everything(modules: Sequence[ScoreModule], *, cuts: int = 200, poisons: int = POISONS,
                     progress: Callable[[int, int, str], None] | None = None) -> LookaheadReport:
    """All indicators, all metrics, all modules, and the planted leaks."""
    poisons = max(0, min(POISONS, poisons))
    cuts = max(2, cuts)
    calm_end, holed_end = EPOCH_MS + 20_900 * HOUR_MS, EPOCH_MS + (FROZEN_HOURS[1][1] + 420) * HOUR_MS
    exchange = SimulatedExchange(7, FixedClock(EPOCH_MS + 24_000 * HOUR_MS))
    key = SeriesKey(SYMBOL, Interval.H1)
    stretches = [exchange.read(key, None, end).tail(HISTORY_BARS) for end in (calm_end, holed_end)]
    total, done = len(INDICATORS) + len(modules) + len(LEAKS), 0
    findings: list[Finding] = []
    for indicator in INDICATORS:
        half = [check_series(indicator.name, "indicator", indicator.causality, indicator, candles,
                             chosen_cuts(candles, 700, (cuts + 1) // 2, SEED + n), poisons, indicator.warmup_bars if n == 0 else 0)
                for n, candles in enumerate(stretches)]
        findings.append(_joined(half))
        done = _tell(progress, done + 1, total, indicator.name)
    for module in modules:
        pairs = zip(*(check_module(module, exchange, end, (cuts + 1) // 2, poisons, SEED + n)
                      for n, end in enumerate((calm_end, holed_end))), strict=True)
        findings += [_joined(list(pair)) for pair in pairs]
        done = _tell(progress, done + 1, total, module.name)
    leaks = []
    for name, leak in LEAKS.items():
        leaks.append(check_series(name, "planted leak", "", leak, stretches[0], chosen_cuts(stretches[0], 700, min(cuts, 20), SEED),
                                  min(poisons, 1)))
        done = _tell(progress, done + 1, total, name)
    return LookaheadReport(tuple(findings), tuple(leaks), cuts, poisons)


def _joined(halves: list[Finding]) -> Finding:
    bad = next((h for h in halves if not h.ok), halves[0])
    return replace(bad, comparisons=sum(h.comparisons for h in halves), known=sum(h.known for h in halves))


def _tell(progress: Callable[[int, int, str], None] | None, done: int, total: int, name: str) -> int:
    if progress:
        progress(done, total, name)
    return done
