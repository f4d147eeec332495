"""The look-ahead check of what reads a whole view: modules, composites, strategies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.composites import COMPOSITES, Inputs
from analysis.composites.beside import DataConfidence
from analysis.fits import FitCache
from analysis.module import ScoreModule, Timeline
from analysis.modules import BY_LETTER, MODULES
from analysis.scorecard import needs_of
from core.forecast_line import forecast_line
from core.futures import FUTURE_BARS, GROUP, NEWEST_MS, SPAN_BARS, SYMBOL, Finding, chosen_cuts, nonsense, poisoned, same
from core.strategies import STRATEGIES, Choice, Strategy, signals_of
from data.clock import FixedClock
from data.frames import Candles
from data.market import HOUR_MS, Interval, Market, SeriesKey
from data.observations import Kind, Observations
from data.simulator.market import SimulatedExchange
from data.simulator.observed import SimulatedObservations
from data.view import MarketView, Need, build_view
from models.train import TrainOptions, train
from models.trained import TrainedModel

MODEL_BARS, MODEL_SPAN = 4_200, 400  # history of a model-driven rule and the stretch that is cut; half of it the model has learned from
WARM_BARS = 240  # of a rule's window: its stop distance is known after 199


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
        changed[ahead] = nonsense(column[ahead], column[known - 1], kind)
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
                if name not in faults and not same(was, now):
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


def check_strategies(exchange: SimulatedExchange, end_ms: int, cuts: int, poisons: int, seed: int) -> list[Finding]:
    """What every rule wants at a bar, and its stop, target and veto there: from the first bar of a stretch on, as a runner would."""
    found = []
    for rule in (r for r in STRATEGIES if not r.forecasts):
        modules = [BY_LETTER[letter] for letter in rule.reads if letter != "*"]
        if "*" in rule.reads:
            modules = [m for m in MODULES if reach_of(m.needs) == Reach()]
        needs = needs_of(modules) if "*" in rule.reads else needs_of(modules, (DataConfidence(),))
        span = WARM_BARS + 160 if rule.reads else SPAN_BARS
        stage = _stage(needs, exchange, end_ms, Reach(span=span))
        first = len(stage.own) - span

        def table(view: MarketView, rows: int, rule: Strategy = rule, modules: Sequence[ScoreModule] = modules) -> np.ndarray:
            inputs = Inputs(view, modules, rows)
            signals = signals_of(Choice(rule.name), view.symbol, Market.PERP, inputs.own.tail(rows), inputs)
            veto = np.zeros(rows) if signals.veto is None else signals.veto
            levels = [np.broadcast_to(np.nan if x is None else x, (rows,)) for x in (signals.stop, signals.target, signals.trail)]
            return np.column_stack((signals.action, veto, *levels)).astype(float)

        whole, fault, known, comparisons = table(stage.view, span), "", 0, 0
        few = cuts if not rule.reads else max(2, cuts // 8)
        for cut in chosen_cuts(stage.own, first + WARM_BARS, few, seed):
            close = int(stage.own.close_time[cut])
            for kind in (None, *range(poisons if not rule.reads else min(poisons, 1))):
                view = stage.cut(close + 1, kind)
                ahead = 0 if kind is None else _rows_after(view, close)
                now, was = table(view, cut - first + 1 + ahead)[cut - first], whole[cut - first]
                comparisons, known = comparisons + 1, known + bool(np.isfinite(now[2]))
                if not fault and not same(was, now):
                    how = "deleted" if kind is None else f"poisoned ({kind + 1})"
                    fault = f"future {how} after {close}: became {now!r}, was {was!r}"[:160]
        found.append(Finding(rule.name, "strategy", "", comparisons, known, not fault, fault))
    return found


def check_model_rules(exchange: SimulatedExchange, end_ms: int, cuts: int, poisons: int, seed: int) -> list[Finding]:
    """What every model-driven rule wants at a bar, and the probabilities behind it: with a model trained on the bars before, the bars of
    its training's blocks and the fresh ones after them."""
    key, found = SeriesKey(SYMBOL, Interval.H1), []
    history = exchange.read(key, None, end_ms).tail(MODEL_BARS)
    learned, first = history.take(slice(0, MODEL_BARS - MODEL_SPAN // 2)), MODEL_BARS - MODEL_SPAN
    for rule in (r for r in STRATEGIES if r.forecasts):
        options = TrainOptions(mode="quick", folds=2, baselines=(), calibration="none")
        model = train({SYMBOL: learned}, rule.forecasts, "logistic", options).model

        def table(known: Candles, rule: Strategy = rule, model: TrainedModel = model) -> np.ndarray:
            shown = known.take(slice(first, None))
            line = forecast_line(model, "check/v1", key, known, shown)
            signals = signals_of(Choice(rule.name), SYMBOL, Market.PERP, shown, None, line)
            levels = [np.broadcast_to(np.nan if x is None else x, (len(shown),)) for x in (signals.stop, signals.target, signals.strength)]
            return np.column_stack((signals.action, line.abstained, line.probability, *levels)).astype(float)

        whole, fault, known, comparisons = table(history), "", 0, 0
        for cut in chosen_cuts(history, first + 1, cuts, seed):
            for kind in (None, *range(min(poisons, 1))):
                part = history.take(slice(0, cut + 1)) if kind is None else poisoned(history.take(slice(0, cut + FUTURE_BARS)), cut, kind)
                now, was = table(part)[cut - first], whole[cut - first]
                comparisons, known = comparisons + 1, known + bool(np.isfinite(now[2]))
                if not fault and not same(was, now):
                    fault = f"future {'deleted' if kind is None else 'poisoned'} after bar {cut}: became {now!r}, was {was!r}"[:160]
        found.append(Finding(rule.name, "strategy", "", comparisons, known, not fault, fault))
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
