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

from analysis.composites import COMPOSITES, Inputs
from analysis.fits import FitCache
from analysis.module import ScoreModule, Timeline
from analysis.scorecard import needs_of
from core.planted_leaks import LEAKS
from data.clock import FixedClock
from data.features import FEATURES, feature_table
from data.frames import COLUMNS, TIME_COLUMNS, Candles
from data.indicators import INDICATORS
from data.labels import LABELS, make_labels
from data.market import DAY_MS, HOUR_MS, Interval, Market, SeriesKey
from data.observations import Kind, Observations
from data.simulator.market import EPOCH_MS, FROZEN_HOURS, SimulatedExchange
from data.simulator.observed import SimulatedObservations
from data.view import MarketView, Need, build_view

Series = Callable[[Candles], dict[str, np.ndarray]]

SYMBOL = "DOGEUSDT"  # the simulated symbol with holes, jumps and a wick
GROUP = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")  # what it is compared with
HISTORY_BARS = 2_600  # of candles given to an indicator: past every warm-up
FUTURE_BARS = 12  # poisoned bars after a cut; more find nothing more, a leak that reaches further also reaches these
SPAN_BARS = 1_000  # cuts of modules lie in this many bars
SEED = 20_261_120
NEWEST_MS = EPOCH_MS + 24_000 * HOUR_MS  # the simulated present: minutes and ticks exist for the days before it only


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
            column[ahead] = _nonsense(column[ahead], column[last], kind)
        columns[name] = column
    return Candles.from_columns(kept.interval, columns, provenance=kept.provenance, halts=kept.halts)


def _nonsense(future: np.ndarray, last: float, kind: int) -> np.ndarray:
    growth = np.exp(np.arange(1, len(future) + 1))
    return (np.full_like(future, np.nan), np.full_like(future, 1e9), np.full_like(future, last), future[::-1], last * growth)[kind]


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


def check_label(name: str, candles: Candles, cuts: Sequence[int], poisons: int) -> Finding:
    """A label may look ahead to the end of its span and no further: nothing after t1 may change it, and before t1 it is not known."""
    whole = make_labels(candles, name)
    comparisons = known = 0
    for row in cuts:
        if not np.isfinite(whole.value[row]):
            continue
        end = int(np.searchsorted(candles.close_time, whole.t1[row]))
        trials = [("deleted after its span", candles.take(slice(0, end + 1)))]
        trials += [(f"poisoned ({p + 1}) after its span", poisoned(candles, end, p)) for p in range(poisons)]
        for how, world in trials:
            again = make_labels(world, name).value[row]
            comparisons, known = comparisons + 1, known + 1
            if not _same(again, whole.value[row]):
                words = f"future {how} of bar {row}: became {again:.6g}, was {whole.value[row]:.6g}"
                return Finding(name, "label", "", comparisons, known, False, words)
        early = make_labels(candles.take(slice(0, end)), name).value[row]
        comparisons += 1
        if np.isfinite(early):
            return Finding(name, "label", "", comparisons, known, False, f"bar {row} has a label before the end of its span")
    return Finding(name, "label", "", comparisons, known, True)


# -- modules --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Stage:
    """A view over a stretch of simulated time, from fixed first bars, and where to cut it."""

    view: MarketView
    own: Candles
    span: int

    def cut(self, at_ms: int, kind: int | None) -> MarketView:
        """The view at `at_ms`: later rows deleted, or poisoned with `kind`, candles and observations alike."""
        return self._cut(self.view, at_ms, kind)

    def _cut(self, view: MarketView, at_ms: int, kind: int | None) -> MarketView:
        return replace(
            view, at_ms=at_ms, as_of_ms=at_ms - 1,
            series={need: _cut_series(candles, at_ms, kind) for need, candles in view.series.items()},
            group={need: {name: _cut_series(c, at_ms, kind) for name, c in held.items()} for need, held in view.group.items()},
            observed={need: cut_observations(rows, at_ms, kind) for need, rows in view.observed.items()},
            longer=None if view.longer is None else self._cut(view.longer, at_ms, kind))


def _cut_series(candles: Candles, at_ms: int, kind: int | None) -> Candles:
    known = candles.closed_before(at_ms)
    if kind is None or not len(known):
        return known
    ahead = max(1, FUTURE_BARS * HOUR_MS // candles.interval.ms)
    return poisoned(candles.take(slice(0, len(known) + ahead)), len(known) - 1, kind)


def cut_observations(rows: Observations, at_ms: int, kind: int | None) -> Observations:
    """What was known at a moment; poisoned, the next rows follow with nonsense in every column."""
    known = len(rows.known_at(at_ms))
    if kind is None or known == 0:
        return rows.known_at(at_ms)
    kept = rows.take(slice(0, known + FUTURE_BARS))
    ahead, columns = slice(known, len(kept)), {}
    for name, column in kept.columns.items():
        changed = column.copy()
        changed[ahead] = _nonsense(column[ahead], column[known - 1], kind)
        columns[name] = changed
    return replace(kept, columns=columns)


def _stage(needs: Sequence[Need], exchange: SimulatedExchange, end_ms: int, reach: Reach) -> _Stage:
    observations = SimulatedObservations(7, exchange, FixedClock(NEWEST_MS))
    view = build_view(exchange, reach.symbol, Market.SPOT, reach.interval, needs, at_ms=end_ms, fits=FitCache(), more_bars=reach.span,
                      observations=observations, peers=GROUP)
    own = next(c for n, c in view.series.items() if n.interval in (None, reach.interval) and n.market in (None, Market.SPOT) and len(c))
    return _Stage(view, own, reach.span)


@dataclass(frozen=True)
class Reach:
    """Where a module is checked: on which symbol and bars, and over how many of them cuts lie."""

    symbol: str = SYMBOL
    interval: Interval = Interval.H1
    span: int = SPAN_BARS


def reach_of(needs: Sequence[Need]) -> Reach:
    """Books and trades are simulated for a few days only, by the minute: what reads them is cut by the minute."""
    flows = any(need.kind in (Kind.MINUTE_FLOW, Kind.SECOND_FLOW) for need in needs)
    return Reach("BTCUSDT", Interval.M1, 90) if flows else Reach()


def check_rows(rows_of: Callable[[MarketView, int], dict[str, np.ndarray]], needs: Sequence[Need], exchange: SimulatedExchange,
               end_ms: int, cuts: int, poisons: int, seed: int, reach: Reach) -> tuple[dict[str, str], Counter[str], int]:
    """(fault in words by name, how often each was known, comparisons) of everything `rows_of` computes over a view's newest rows."""
    stage = _stage(needs, exchange, end_ms, reach)
    whole = rows_of(stage.view, stage.span)
    first = len(stage.own) - stage.span
    faults: dict[str, str] = {}
    known: Counter[str] = Counter()
    comparisons = 0
    for cut in chosen_cuts(stage.own, first, cuts, seed):
        close = int(stage.own.close_time[cut])
        for kind in (None, *range(poisons)):
            how = "deleted" if kind is None else f"poisoned ({kind + 1})"
            view = stage.cut(close + 1, kind)
            ahead = 0 if kind is None else _rows_after(view, close)
            answer = rows_of(view, 1 + ahead)
            comparisons += 1
            for name, values in whole.items():
                was, now = values[cut - first], answer[name][-1 - ahead]
                known[name] += bool(np.isfinite(np.ravel(now)[0]))
                if name not in faults and not _same(was, now):
                    faults[name] = f"future {how} after {close}: became {now!r}, was {was!r}"[:160]
    return faults, known, comparisons


def check_module(module: ScoreModule, exchange: SimulatedExchange, end_ms: int, cuts: int, poisons: int, seed: int) -> list[Finding]:
    """The module's score, and each of its metrics, on one stretch of simulated time."""
    def rows_of(view: MarketView, bars: int) -> dict[str, np.ndarray]:
        return _series_of(module.timeline(view, bars))

    faults, known, comparisons = check_rows(rows_of, module.needs, exchange, end_ms, cuts, poisons, seed, reach_of(module.needs))
    found = [Finding(f"{module.letter}.{m.key}", "metric", str(m.causality), comparisons, known[m.key], m.key not in faults,
                     faults.get(m.key, "")) for m in module.metrics]
    rest = next((f"{k}: {w}" for k, w in faults.items() if k not in {m.key for m in module.metrics}), "")
    return [*found, Finding(f"{module.letter} {module.name}", "module", "", comparisons, known["raw"], not rest, rest)]


def check_composites(modules: Sequence[ScoreModule], exchange: SimulatedExchange, end_ms: int, cuts: int, poisons: int,
                     seed: int) -> list[Finding]:
    """Every composite, from the modules up, on one stretch of simulated time."""
    slow = [m for m in modules if reach_of(m.needs) == Reach()]

    def rows_of(view: MarketView, bars: int) -> dict[str, np.ndarray]:
        inputs = Inputs(view, slow, bars)
        out: dict[str, np.ndarray] = {}
        for composite in COMPOSITES:
            line = inputs.composite(composite)
            out |= {f"{composite.name} {what}": getattr(line, what) for what in ("raw", "score", "coverage")}
            out |= {f"{composite.name} {part}": values for part, values in line.contributions.items()}
        return out

    needs = needs_of(slow)
    faults, known, comparisons = check_rows(rows_of, needs, exchange, end_ms, cuts, poisons, seed, Reach(span=300))
    found = []
    for composite in COMPOSITES:
        fault = next((f"{name}: {words}" for name, words in faults.items() if name.startswith(f"{composite.name} ")), "")
        found.append(Finding(composite.name, "composite", "", comparisons, known[f"{composite.name} raw"], not fault, fault))
    return found


def _rows_after(view: MarketView, close_ms: int) -> int:
    own = next(c for n, c in view.series.items() if n.interval in (None, view.interval) and n.market in (None, view.market) and len(c))
    return int(np.sum(own.close_time > close_ms))


def _series_of(line: Timeline) -> dict[str, np.ndarray]:
    """Everything a timeline holds, row by row: a metric's row is its value, unit score and status."""
    out = {name: getattr(line, name) for name in ("raw", "score", "coverage")}
    out |= {key: np.stack((t.value, t.k, t.status.astype(float)), axis=1) for key, t in line.tracks.items()}
    out |= {f"contribution of {key}": values for key, values in line.contributions.items()}
    return out | {f"extra {key}": np.asarray(values, float) for key, values in line.extra.items()}


# -- everything -----------------------------------------------------------------------------------------------------


def check_everything(modules: Sequence[ScoreModule], *, cuts: int = 200, poisons: int = POISONS,
                     progress: Callable[[int, int, str], None] | None = None) -> LookaheadReport:
    """All indicators, all metrics, all modules, and the planted leaks."""
    poisons = max(0, min(POISONS, poisons))
    cuts = max(2, cuts)
    calm_end, holed_end = EPOCH_MS + 20_900 * HOUR_MS, EPOCH_MS + (FROZEN_HOURS[1][1] + 420) * HOUR_MS
    exchange = SimulatedExchange(7, FixedClock(NEWEST_MS))
    key = SeriesKey(SYMBOL, Interval.H1)
    stretches = [exchange.read(key, None, end).tail(HISTORY_BARS) for end in (calm_end, holed_end)]
    total, done = len(INDICATORS) + len(modules) + len(LEAKS) + 3, 0
    findings: list[Finding] = []
    for indicator in INDICATORS:
        half = [check_series(indicator.name, "indicator", indicator.causality, indicator, candles,
                             chosen_cuts(candles, 700, (cuts + 1) // 2, SEED + n), poisons, indicator.warmup_bars if n == 0 else 0)
                for n, candles in enumerate(stretches)]
        findings.append(_joined(half))
        done = _tell(progress, done + 1, total, indicator.name)
    for feature in FEATURES:
        def column(candles: Candles, name: str = feature.name) -> dict[str, np.ndarray]:
            return {name: feature_table(candles).column(name)}

        few = chosen_cuts(stretches[0], 700, max(2, cuts // 4), SEED)
        findings.append(check_series(feature.name, "feature", feature.causality, column, stretches[0], few, min(poisons, 1)))
    done = _tell(progress, done + 1, total, "features")
    for kind in LABELS:
        findings.append(check_label(kind.name, stretches[0], chosen_cuts(stretches[0], 700, max(2, cuts // 4), SEED), poisons))
    done = _tell(progress, done + 1, total, "labels")
    for module in modules:
        ends = (calm_end, holed_end) if reach_of(module.needs) == Reach() else (NEWEST_MS, NEWEST_MS - 15 * HOUR_MS + 7 * 60_000)
        pairs = zip(*(check_module(module, exchange, end, (cuts + 1) // 2, poisons, SEED + n) for n, end in enumerate(ends)), strict=True)
        findings += [_joined(list(pair)) for pair in pairs]
        done = _tell(progress, done + 1, total, module.name)
    pairs = zip(*(check_composites(modules, exchange, end, (cuts + 3) // 4, poisons, SEED + n)
                  for n, end in enumerate((calm_end, holed_end))), strict=True)
    findings += [_joined(list(pair)) for pair in pairs]
    done = _tell(progress, done + 1, total, "composites")
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
