"""Does anything know the future? Everything registered, cut off and poisoned many times (X3).

Three questions, asked of each:

- **prefix**: with everything after a moment deleted, is the value at that moment the same, to the last bit?
- **poison**: with everything after it replaced by nonsense, is it still the same, to the last bit?
- **start shift**: with the history beginning later, is it the same once warmed up (1e-9 of scale for windows, 1e-6 sd for
  recursive ones)?

Nothing can be forgotten: the lists are the registries of indicators, features, labels, modules, composites and
strategies. And the check itself is
checked: fifteen planted leaks of the usual kinds (core/planted_leaks.py) must be caught.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from analysis.module import ScoreModule
from core.futures import HISTORY_BARS, NEWEST_MS, POISONS, SEED, SYMBOL, Finding, check_label, check_series, chosen_cuts
from core.lookahead_views import Reach, check_composites, check_model_rules, check_module, check_strategies, reach_of
from core.planted_leaks import LEAKS
from data.clock import FixedClock
from data.features import FEATURES, feature_table
from data.frames import Candles
from data.indicators import INDICATORS
from data.labels import LABELS
from data.market import HOUR_MS, Interval, SeriesKey
from data.simulator.market import EPOCH_MS, FROZEN_HOURS, SimulatedExchange


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


def check_everything(modules: Sequence[ScoreModule], *, cuts: int = 200, poisons: int = POISONS,
                     progress: Callable[[int, int, str], None] | None = None) -> LookaheadReport:
    """Every row of every registry, and the planted leaks."""
    poisons = max(0, min(POISONS, poisons))
    cuts = max(2, cuts)
    calm_end, holed_end = EPOCH_MS + 20_900 * HOUR_MS, EPOCH_MS + (FROZEN_HOURS[1][1] + 420) * HOUR_MS
    exchange = SimulatedExchange(7, FixedClock(NEWEST_MS))
    key = SeriesKey(SYMBOL, Interval.H1)
    stretches = [exchange.read(key, None, end).tail(HISTORY_BARS) for end in (calm_end, holed_end)]
    total, done = len(INDICATORS) + len(modules) + len(LEAKS) + 4, 0
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
    findings += check_strategies(exchange, calm_end, max(2, cuts // 4), poisons, SEED)
    findings += check_model_rules(exchange, calm_end, max(2, cuts // 4), poisons, SEED)
    done = _tell(progress, done + 1, total, "strategies")
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
