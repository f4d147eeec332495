"""What a paper account trades, as a backtest question over a growing window: the one path of runner and twin (decisions.md 18).

The window begins a fixed number of bars before the account was opened, so that volatility and costs are known at its first bar; what a
rule decided before the opening is not done. A bar that has not begun yet is added at the end: orders decided at the newest close wait
for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from core.backtest.asking import ask
from core.backtest.plan import Plan
from core.backtest.question import Question, gather
from core.backtest.signals import Action, Signals
from data.frames import COLUMNS, Candles
from data.market import Interval, Market

if TYPE_CHECKING:
    from core.forecasting import Forecasting

WARM_BARS = 720  # the longest look back of costs and limits at 1h is 20 days of volume, of breaks 500 bars
MANUAL = "manual"
FOREVER_DAYS = 36_500.0  # a live kill switch waits for a person


@dataclass(frozen=True)
class Terms:
    """What an account trades, as asked: the options are those of a backtest (core/backtest/asking.py)."""

    symbols: tuple[str, ...]
    rule: str
    parameters: Mapping[str, float] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def question(self, start_ms: int | None = None, end_ms: int | None = None) -> Question:
        """The backtest question of these terms over a window; checks them."""
        chosen = {**self.options, "start": start_ms, "end": end_ms, "allow_gaps": True}
        asked = ask(self.symbols, chosen, rule=self.rule, parameters=self.parameters)
        limits = dataclasses.replace(asked.config.limits, rearm_days=FOREVER_DAYS)
        return dataclasses.replace(asked, config=dataclasses.replace(asked.config, limits=limits))

    @property
    def interval(self) -> Interval:
        return Interval.parse(str(self.options.get("interval", "1h")))

    @property
    def market(self) -> Market:
        return Market.parse(str(self.options.get("market", "spot")))

    def document(self) -> dict[str, Any]:
        return {"symbols": list(self.symbols), "rule": self.rule, "parameters": dict(self.parameters), "options": dict(self.options)}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Terms:
        return cls(tuple(document["symbols"]), document["rule"], dict(document["parameters"]), dict(document["options"]))


@dataclass(frozen=True)
class Window:
    """`plan` holds every bar up to the newest close and the one that comes; `first` is the first bar at whose close may be decided."""

    plan: Plan
    first: int
    notes: tuple[str, ...]

    @property
    def last(self) -> int:
        """The newest closed bar."""
        return self.plan.bars - 2


def window(sextant: Forecasting, terms: Terms, opened_ms: int, until_ms: int, *, done_ms: int = 0) -> Window:
    """Everything the account needs to know up to a moment; bars that opened before `done_ms` are recorded already.

    Raises
    ------
    NoData
        When a symbol has too few candles; the message says what to do.
    """
    start = terms.interval.floor(opened_ms) - WARM_BARS * terms.interval.ms
    material = gather(sextant, terms.question(start, until_ms), finer_from_ms=max(done_ms, opened_ms - terms.interval.ms))
    grid = next(iter(material.candles.values()))
    first = int(np.searchsorted(grid.close_time, opened_ms))
    tables = [_grown(_quiet(t, first)) for t in material.signals()]
    silent = np.zeros(len(grid) + 1, np.int8)
    tables += [Signals(symbol, silent, strategy=MANUAL) for symbol in material.candles]
    grown = dataclasses.replace(material, candles={s: _with_next(c) for s, c in material.candles.items()})
    return Window(grown.plan(signals=tables), first, material.notes)


def _quiet(table: Signals, first: int) -> Signals:
    """Nothing is done before the account was opened; an exit of what was never entered is nothing either."""
    action = table.action.copy()
    action[:first] = Action.HOLD
    entered = np.flatnonzero(np.abs(action) == 1)
    if len(entered):
        action[: entered[0]] = Action.HOLD
    else:
        action[:] = Action.HOLD
    return dataclasses.replace(table, action=action)


def _grown(table: Signals) -> Signals:
    """One more row, of the bar that has not begun."""
    def longer(value: Any) -> Any:
        return np.append(value, value[-1]) if np.ndim(value) == 1 else value

    changes = {n: longer(getattr(table, n)) for n in ("stop", "target", "trail", "limit", "strength", "veto")}
    return dataclasses.replace(table, action=np.append(table.action, np.int8(Action.HOLD)), **changes)


def _with_next(candles: Candles) -> Candles:
    """The candles and a place for the next one: flat at the last close, nothing traded. Nothing is read from it."""
    ms, close = candles.interval.ms, float(candles.close[-1])
    opened = int(candles.open_time[-1]) + ms
    row = dict.fromkeys(COLUMNS, np.nan) | {"open_time": opened, "close_time": opened + ms - 1, "open": close, "high": close, "low": close,
                                            "close": close, "volume": 0.0, "quote_volume": 0.0}
    columns = {n: np.append(getattr(candles, n), row[n]) for n in COLUMNS}
    return Candles.from_columns(candles.interval, columns, provenance=candles.provenance, halts=candles.halts)
