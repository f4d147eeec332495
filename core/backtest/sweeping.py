"""Many settings of one rule: every set is a try in the ledger, the best is judged by how many it was chosen from.

Sets run in chunks on the compiled engine; a chunk's figures are kept, so that a stopped sweep goes on where it was.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.statistics import honesty
from core.backtest.engine import SWEEP_METRICS, Variant, run, sweep
from core.backtest.plan import Plan
from core.backtest.question import Material, Question, gather
from core.backtest.result import Result
from core.badge import code_version
from core.stored import keep_newest
from core.strategies import COMMON, Choice, strategy
from data.errors import InputError
from data.storage.durable import no_fault, replace_file
from models.trials import Trial

if TYPE_CHECKING:
    from core.forecasting import Forecasting
    from models.trials import TrialLedger

MOST_SETS, CHUNK, JUDGED_SETS = 5_000, 50, 200
KEPT_SWEEPS = 200
BY_CONFIG = ("stop_atr", "reward", "trail_atr")  # turned by the configuration, not by making signals again
KEPT_BYTES = 64 * 2**20  # of actions between chunks
CODE = ("data", "analysis", "models", "core")
Tell = Callable[[int, int, str], None]
_MAKING = Lock()


@dataclass(frozen=True)
class SweepResult:
    """`rows`: a dict a set with its parameters and metrics; `document` is plain JSON with the verdict on the best."""

    document: dict[str, Any]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.document["sets"]

    def text(self) -> str:
        d = self.document
        best = d["best"]
        lines = [f"{len(self.rows)} sets of {d['rule']} on {', '.join(d['symbols'])} {d['interval']}: {d['profitable']} earned something"]
        if best:
            lines += [f"best by Sharpe ratio: {', '.join(f'{k} {v:g}' for k, v in best['parameters'].items())}: "
                      f"{best['total_return']:+.1%}, Sharpe {best['sharpe']:.2f}", d["words"]]
        return "\n".join(lines)


def run_sweep(sextant: Forecasting, question: Question, grid: Mapping[str, tuple[float, ...]], ledger: TrialLedger, *, home: Path,
              progress: Tell | None = None) -> SweepResult:
    """Every combination of the grid.

    Raises
    ------
    InputError
        For signals from outside, unknown parameters, values out of range, or more than 5,000 sets.
    """
    choice = question.turned
    if question.also:
        raise InputError("a sweep turns one strategy; sweep each alone, then backtest them as one portfolio")
    rule = strategy(choice.name)
    if not grid:
        raise InputError(f"expected at least one parameter with values, e.g. enter=0.5:0.8:0.05; {rule.name} has "
                         f"{', '.join(p.name for p in (*rule.parameters, *COMMON))}")
    count = math.prod(len(v) for v in grid.values())
    if count > MOST_SETS:
        raise InputError(f"the grid has {count:,} sets; at most {MOST_SETS:,} are run at once. Take wider steps")
    sets = [dict(zip(grid, combination, strict=True)) for combination in itertools.product(*grid.values())]
    for values in (sets[0], sets[-1], *({name: v} for name, vs in grid.items() for v in vs)):
        rule.values({**choice.values, **values})
    for name in ("reward", "trail_atr"):
        if any(v <= 0 for v in grid.get(name, ())):
            raise InputError(f"grid {name}: expected values above zero; without {'a target' if name == 'reward' else 'a trailing stop'} "
                             "is a backtest of its own")
    fixed = [name for name in grid if name in {p.name for p in COMMON} - set(BY_CONFIG)]
    if fixed:
        raise InputError(f"grid {fixed[0]}: cannot be swept; sweep stop_atr, or run a backtest for each")
    for name in ("stop_percent", "adaptive_stop"):
        if choice.values.get(name) and "stop_atr" in grid:
            raise InputError(f"grid stop_atr: the stop is not set by it while {name} is; leave one of them out")
    tell = progress or (lambda done, total, words: None)
    tell(0, count, "Reading candles and scores")
    material = gather(sextant, question)
    plan = base_plan(material, grid)
    file = home / "sweeps" / f"{_id(question, plan, sets)}.json"
    found = _stored(file, len(sets))
    actions: dict[tuple[float, ...], np.ndarray] = {}
    for first in range(0, len(sets), CHUNK):
        rows = [k for k in range(first, min(first + CHUNK, len(sets))) if np.isnan(found[k, -1])]
        if not rows:
            continue
        made = sweep(plan, [variant(material, sets[k], actions) for k in rows])
        found[rows, :-1] = np.column_stack([made[m] for m in SWEEP_METRICS])
        found[rows, -1] = 1.0
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = [[_known(x) for x in row] for row in found.tolist()]
        replace_file(file, json.dumps(kept).encode(), no_fault, "sweep")
        keep_newest(file.parent.glob("*.json"), KEPT_SWEEPS)
        if sum(a.nbytes for a in actions.values()) > KEPT_BYTES:
            actions.clear()
        tell(min(first + CHUNK, count), count, f"{min(first + CHUNK, count):,} of {count:,} sets")
    ledger.record(_trials(question, plan, sets, found))
    document = _judged(question, material, plan, sets, found, ledger, actions)
    return SweepResult(document)


def base_plan(material: Material, grid: Mapping[str, tuple[float, ...]]) -> Plan:
    """The plan whose distances every set scales."""
    choice = material.question.turned
    values = dict(choice.values)
    for p in COMMON:
        if p.name in grid:
            values[p.name] = 1.0 if p.name == "trail_atr" else p.default
    return material.plan(signals=material.signals(Choice(choice.name, values)))


def variant(material: Material, values: Mapping[str, float], actions: dict[tuple[float, ...], np.ndarray]) -> Variant:
    """One set for the compiled engine; actions of equal rule parameters are made once."""
    choice = material.question.turned
    changes: dict[str, Any] = {}
    if "stop_atr" in values:
        changes["stop_multiple"] = values["stop_atr"] / COMMON[0].default
    if "stop_atr" in values or "reward" in values:
        changes["target_multiple"] = changes.get("stop_multiple", 1.0) * values.get("reward", COMMON[1].default) / COMMON[1].default
    if "trail_atr" in values:
        changes["trail_multiple"] = values["trail_atr"]
    distances = strategy(choice.name).forecasts  # of a model rule: how sure it must be follows from stop and target
    own = {k: v for k, v in values.items() if k not in BY_CONFIG or (distances and k != "trail_atr")}
    if not own:
        return Variant(json.dumps(dict(values)), changes)
    key = tuple(own.values())

    def action() -> np.ndarray:
        with _MAKING:
            if key not in actions:
                made = material.signals(Choice(choice.name, {**choice.values, **own}))
                actions[key] = np.stack([t.action for t in sorted(made, key=lambda t: t.symbol)])
            return actions[key]

    return Variant(json.dumps(dict(values)), changes, action)


def _id(question: Question, plan: Plan, sets: list[dict[str, float]]) -> str:
    """Of everything the figures of the sets depend on. The plan holds the base set's decisions alone: the others follow from the rule as
    asked and from the code that makes it."""
    made_of = [plan.run_id, question.document(), code_version(CODE), sets]
    return hashlib.sha256(json.dumps(made_of, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _stored(file: Path, count: int) -> np.ndarray:
    """Figures of an earlier, stopped run; a damaged file is as good as none."""
    empty = np.full((count, len(SWEEP_METRICS) + 1), np.nan)
    try:
        held = np.array([[math.nan if x is None else x for x in row] for row in json.loads(file.read_text())], float)
    except (OSError, ValueError):
        return empty
    return held if held.shape == empty.shape else empty


def _trials(question: Question, plan: Plan, sets: list[dict[str, float]], found: np.ndarray) -> list[Trial]:
    days = len(plan.last_of_day)
    ratio = found[:, SWEEP_METRICS.index("sharpe")] / math.sqrt(365.0)
    return [Trial(question.study, "sweep", values, plan.run_id, float(r) if math.isfinite(r) else None, days)
            for values, r in zip(sets, ratio, strict=True)]


def _judged(question: Question, material: Material, plan: Plan, sets: list[dict[str, float]], found: np.ndarray, ledger: TrialLedger,
            actions: dict[tuple[float, ...], np.ndarray]) -> dict[str, Any]:
    rows = [{"parameters": values} | {m: _known(x) for m, x in zip(SWEEP_METRICS, figures, strict=False)}
            for values, figures in zip(sets, found, strict=True)]
    ratio = found[:, SWEEP_METRICS.index("sharpe")]
    document: dict[str, Any] = {
        "rule": question.rule, "symbols": list(plan.symbols), "interval": str(plan.interval), "bars": plan.bars, "study": question.study,
        "provenance": plan.provenance, "grid": {name: sorted({s[name] for s in sets}) for name in sets[0]}, "sets": rows,
        "profitable": int((found[:, 0] > 0).sum()), "best": None, "words": "no set traded", "trials": ledger.count(question.study)}
    if not np.isfinite(ratio).any():
        return document
    best = int(np.nanargmax(ratio))
    held = [k for k in np.unique(np.linspace(0, len(sets) - 1, min(JUDGED_SETS, len(sets))).astype(int)).tolist() if k != best]
    streams = np.column_stack([_result(material, plan, sets[k], actions).daily_returns for k in (best, *held)])
    pbo = honesty.overfitting(streams)
    tried = ledger.sharpes(question.study)
    variance = float(np.var(tried, ddof=1)) if len(tried) > 1 else 0.0
    dsr = honesty.deflated_sharpe(honesty.Moments.of(streams[:, 0]), variance=variance, trials=float(max(document["trials"], 1)))
    chance = honesty.expected_best(variance, float(max(document["trials"], 1))) * math.sqrt(365.0)
    document |= {"best": rows[best], "dsr": _known(dsr), "expected_best_sharpe": _known(chance),
                 "pbo": {"probability": _known(pbo.probability), "trials": pbo.trials,
                         "blocks": pbo.blocks, "warning": pbo.warning}}
    document["words"] = (f"after {document['trials']} tries luck alone is expected to show a Sharpe ratio of {chance:.2f}; the best has "
                         f"{ratio[best]:.2f}, deflated probability {dsr:.2f}; {_overfitting_words(pbo)}"
                         + ("; do not trade the best of this sweep" if not dsr > 0.95 else ""))
    return document


def _overfitting_words(pbo: honesty.Overfitting) -> str:
    if math.isfinite(pbo.probability):
        return f"probability of overfitting {pbo.probability:.2f} over {pbo.trials} sets"
    return "probability of overfitting not known: " + ("one set was not chosen from others" if pbo.trials < 2 else
                                                       f"it needs {4 * pbo.blocks} days")


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _result(material: Material, plan: Plan, values: Mapping[str, float], actions: dict[tuple[float, ...], np.ndarray]) -> Result:
    made = variant(material, values, actions)
    tables = plan.tables
    if made.action is not None:
        action = made.action()
        tables = tuple((replace(t[0], action=action[k]),) for k, t in enumerate(plan.tables))
    return run(replace(plan, config=replace(plan.config, **made.changes), tables=tables))
