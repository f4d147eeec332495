"""What a backtest is asked, and everything it reads for that: candles on one grid, signals, finer bars, funding."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from core.backtest.outside_signals import gives_prices, outside_signals
from core.backtest.plan import Config, Funding, Plan, build
from core.backtest.signals import Action, Signals
from core.strategies import Choice, on_grid, signals_of, strategy
from data.clock import iso
from data.errors import InputError, NoData
from data.frames import Candles, aggregate
from data.market import DAY_MS, Interval, Market, SeriesKey
from data.observations import Kind

if TYPE_CHECKING:
    from analysis.composites import Inputs
    from core.forecast_line import ForecastLine
    from core.forecasting import Forecasting

DEFAULT_BARS, MOST_BARS = 8_760, 600_000
FEWEST_BARS = 50
FINER = Interval.M1


@dataclass(frozen=True)
class Question:
    """A backtest as asked: what is traded by which rule over which window, and how.

    `choice` is None where `rows` holds signals from outside as CSV text (columns time, action; symbol, and levels as needed). Columns
    stop_price or target_price make the configuration's distances "price".
    `also` are further rules on the same account, at the same or a longer interval: their decisions fall on the bar that closes with
    theirs.
    The window is the newest `bars` before `end_ms` (default: all there is), or from `start_ms` on.
    """

    symbols: tuple[str, ...]
    interval: Interval
    market: Market
    choice: Choice | None
    config: Config
    rows: str | None = None
    also: tuple[tuple[Choice, Interval], ...] = ()
    start_ms: int | None = None
    end_ms: int | None = None
    bars: int = DEFAULT_BARS
    finer: bool = True
    seed: int = 7

    def __post_init__(self) -> None:
        if not self.symbols:
            raise InputError("expected at least one symbol, e.g. BTCUSDT")
        if (self.choice is None) == (self.rows is None):
            raise InputError("expected either a strategy or a file of signals")
        if self.choice is not None:
            strategy(self.choice.name).values(self.choice.values)
        if self.rows is not None and gives_prices(self.rows):
            object.__setattr__(self, "config", dataclasses.replace(self.config, distances="price"))
        for other, interval in self.also:
            strategy(other.name).values(other.values)
            if interval.ms < self.interval.ms or interval.ms % self.interval.ms:
                raise InputError(f"{other.name}@{interval}: expected {self.interval} or a multiple of it; trade the portfolio at its "
                                 f"shortest interval, --interval {interval}")
        if self.choice is not None and len({(self.choice.name, self.interval), *((c.name, i) for c, i in self.also)}) <= len(self.also):
            raise InputError("the same rule appears twice in the portfolio; give each its own interval")
        if self.start_ms is not None and self.end_ms is not None and self.end_ms <= self.start_ms:
            raise InputError(f"the window ends before it starts: {iso(self.start_ms)} .. {iso(self.end_ms)}; swap start and end")
        if not FEWEST_BARS <= self.bars <= MOST_BARS:
            raise InputError(f"bars: expected {FEWEST_BARS} to {MOST_BARS}, got {self.bars}")
        if self.config.market is not self.market:
            raise InputError(f"the configuration trades {self.config.market}, the candles are {self.market}")

    @property
    def turned(self) -> Choice:
        """The rule whose parameters can be turned.

        Raises
        ------
        InputError
            For signals from outside, which have none.
        """
        if self.choice is None:
            raise InputError("a sweep turns the parameters of a strategy; signals from a file have none")
        return self.choice

    @property
    def rule(self) -> str:
        return "+".join([self.choice.name, *(f"{c.name}@{i}" for c, i in self.also)]) if self.choice is not None else "signals"

    @property
    def study(self) -> str:
        """Tries of one study are counted together: the same symbols, interval and rule."""
        return "/".join(("backtest", str(self.market), "+".join(sorted(self.symbols)), str(self.interval), self.rule))

    def document(self) -> dict[str, Any]:
        return {"symbols": list(self.symbols), "interval": str(self.interval), "market": str(self.market), "rule": self.rule,
                "parameters": None if self.choice is None else strategy(self.choice.name).values(self.choice.values),
                "from": None if self.start_ms is None else iso(self.start_ms), "to": None if self.end_ms is None else iso(self.end_ms),
                "bars": self.bars, "finer": self.finer, "seed": self.seed}


@dataclass(frozen=True)
class Material:
    """What a question reads, once: variants of the rule are made from it without reading again.

    `own` and `inputs` are a symbol's rows before they are cut to the bars that all symbols have; `candles` after. `before` are the
    daily closes of the market's leader, for regimes: (close time, close).
    """

    question: Question
    own: Mapping[str, Candles]
    inputs: Mapping[str, Inputs | None]
    candles: Mapping[str, Candles]
    fine: Mapping[str, Candles]
    funding: Mapping[str, Funding]
    leader: str
    leader_daily: tuple[np.ndarray, np.ndarray]
    also: tuple[Signals, ...] = ()
    notes: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    forecasts: Mapping[str, ForecastLine] = field(default_factory=dict)

    def signals(self, choice: Choice | None = None) -> list[Signals]:
        """The rule's tables on the common grid; with another `choice` those of a variant."""
        asked = choice or self.question.choice
        if asked is None:
            return outside_signals(self.question, self.candles)
        out = []
        for symbol, own in self.own.items():
            table = signals_of(asked, symbol, self.question.market, own, self.inputs[symbol], self.forecasts.get(symbol))
            out.append(cut(table, own, self.candles[symbol]))
        return [*out, *self.also]

    def plan(self, config: Config | None = None, signals: list[Signals] | None = None) -> Plan:
        """Checked and laid out."""
        return build(config or self.question.config, self.candles, self.signals() if signals is None else signals, fine=self.fine,
                     funding=self.funding if self.question.market is Market.PERP else None)


def gather(sextant: Forecasting, question: Question, *, finer_from_ms: int = 0) -> Material:
    """Read what the question needs; finer bars only from a moment on, where the bars before are done already.

    Raises
    ------
    NoData, InputError
        Naming the symbol and what to do.
    """
    own: dict[str, Candles] = {}
    inputs: dict[str, Inputs | None] = {}
    reads = strategy(question.choice.name).reads if question.choice is not None else ()
    notes: list[str] = []
    for symbol in question.symbols:
        key = sextant.key(symbol, question.interval, question.market)
        bars = question.bars
        if question.start_ms is not None:
            bars = len(sextant.candles(key, start_ms=question.start_ms, end_ms=question.end_ms))
        if bars < FEWEST_BARS:
            raise NoData(f"{symbol} has {bars} candles in the window; a backtest needs at least {FEWEST_BARS}. Back-fill or widen it")
        if bars > MOST_BARS:
            raise InputError(f"{symbol} has {bars:,} candles of {question.interval} in the window; at most {MOST_BARS:,} are traded at "
                             "once. Choose a later start or a longer interval")
        own[symbol], inputs[symbol] = sextant.rule_inputs(key, reads, bars, at_ms=question.end_ms)
        if len(own[symbol]) < FEWEST_BARS:
            raise NoData(f"{symbol} has {len(own[symbol])} candles before {'now' if question.end_ms is None else iso(question.end_ms)}; "
                         f"a backtest needs at least {FEWEST_BARS}")
    candles, note = common(own)
    notes += [note] if note else []
    first, last = next(iter(candles.values())).open_time[[0, -1]].tolist()
    end = last + question.interval.ms
    fine = _fine(sextant, question, max(first, finer_from_ms), end)
    if question.finer and question.interval.ms > FINER.ms and not fine:
        notes.append("no 1m candles are held for this window: a bar that touched stop and target counts as stopped")
    funding = _funding(sextant, question, first, end) if question.market is Market.PERP else {}
    if question.market is Market.PERP and len(funding) < len(question.symbols):
        notes.append("funding is unknown for " + ", ".join(s for s in question.symbols if s not in funding) + " and not charged")
    leader, daily = _leader(sextant, question, first, end, candles)
    versions = {s: sextant.reader.version(SeriesKey(s, question.interval, question.market)) for s in question.symbols}
    also = tuple(_beside(sextant, question, s, grid, *rule) for rule in question.also for s, grid in candles.items())
    label = strategy(question.choice.name).forecasts if question.choice is not None else ""
    forecasts = {s: sextant.forecast(sextant.key(s, question.interval, question.market), label, c) for s, c in own.items()} if label else {}
    notes += [f"{s}: {line.words}" for s, line in forecasts.items()]
    return Material(question, own, inputs, candles, fine, funding, leader, daily, also, tuple(notes), versions, forecasts)


def _beside(sextant: Forecasting, question: Question, symbol: str, grid: Candles, choice: Choice, interval: Interval) -> Signals:
    """A further rule's table on the grid of the shortest bars."""
    key = SeriesKey(symbol, interval, question.market)
    end = int(grid.open_time[-1]) + question.interval.ms
    bars = int((end - int(grid.open_time[0])) // interval.ms)
    reads = strategy(choice.name).reads
    if reads or sextant.reader.holds(key):
        own, inputs = sextant.rule_inputs(sextant.key(symbol, interval, question.market), reads, max(bars, FEWEST_BARS), at_ms=end)
    else:
        own, inputs = aggregate(grid, interval), None
    label = strategy(choice.name).forecasts
    forecast = sextant.forecast(sextant.key(symbol, interval, question.market), label, own) if label else None
    table = dataclasses.replace(signals_of(choice, symbol, question.market, own, inputs, forecast), strategy=f"{choice.name}@{interval}")
    return on_grid(table, own, grid)


def common(own: Mapping[str, Candles]) -> tuple[dict[str, Candles], str]:
    """The bars that every symbol has, and in words what was cut."""
    times = None
    for candles in own.values():
        times = candles.open_time if times is None else times[np.isin(times, candles.open_time, assume_unique=True)]
    assert times is not None
    if len(times) < FEWEST_BARS:
        raise NoData(f"{', '.join(own)} have {len(times)} bars in common; at least {FEWEST_BARS} are needed. Choose symbols whose "
                     "histories overlap")
    cut_bars = sum(len(c) for c in own.values()) - len(times) * len(own)
    kept = {s: c if len(c) == len(times) else c.take(np.searchsorted(c.open_time, times)) for s, c in own.items()}
    return kept, f"{cut_bars} bars that not every symbol has were left out" if cut_bars else ""


def cut(table: Signals, own: Candles, grid: Candles) -> Signals:
    """A table on fewer bars. What was decided at a bar that is left out is done at the next one that is there."""
    if len(own) == len(grid):
        return table
    rows = np.searchsorted(own.open_time, grid.open_time)
    action = table.action[rows].copy()
    for lost in np.flatnonzero(table.action != Action.HOLD):
        at = int(np.searchsorted(rows, lost))
        if at < len(rows) and rows[at] != lost and action[at] == Action.HOLD and at > 0:
            action[at] = table.action[lost]

    def part(value: Any) -> Any:
        return np.asarray(value)[rows] if np.ndim(value) == 1 else value

    return dataclasses.replace(table, action=action, **{n: part(getattr(table, n)) for n in ("stop", "target", "trail", "limit", "strength",
                                                                                            "veto")})


def _fine(sextant: Forecasting, question: Question, start_ms: int, end_ms: int) -> dict[str, Candles]:
    if not question.finer or question.interval.ms <= FINER.ms:
        return {}
    out = {}
    for symbol in question.symbols:
        key = SeriesKey(symbol, FINER, question.market)
        if sextant.reader.holds(key) and (end_ms - start_ms) // FINER.ms <= 4 * MOST_BARS:
            found = sextant.reader.read(key, start_ms, end_ms)
            if len(found):
                out[symbol] = found
    return out


def _funding(sextant: Forecasting, question: Question, start_ms: int, end_ms: int) -> dict[str, Funding]:
    """Settled rates as they became known; a stamp's rate is known at its time."""
    out = {}
    for symbol in question.symbols:
        found = sextant.observations.known(symbol, Kind.FUNDING, question.market, start_ms, end_ms)
        rate = found["rate"] if len(found) else np.empty(0)
        keep = np.isfinite(rate)
        if keep.any():
            time, first = np.unique(found.event_time[keep], return_index=True)
            out[symbol] = Funding(time, rate[keep][first], found["mark_price"][keep][first])
    return out


def _leader(sextant: Forecasting, question: Question, start_ms: int, end_ms: int,
            candles: Mapping[str, Candles]) -> tuple[str, tuple[np.ndarray, np.ndarray]]:
    """Daily closes of Bitcoin where it is held, else of the first symbol, from 500 days before the window."""
    key = SeriesKey("BTCUSDT", question.interval, question.market)
    if not sextant.reader.holds(key):
        key = SeriesKey(question.symbols[0], question.interval, question.market)
    daily = key.at(Interval.D1)
    chosen = daily if sextant.reader.holds(daily) else key
    found = sextant.reader.read(chosen, start_ms - 500 * DAY_MS, end_ms)
    if not len(found):
        found = candles[question.symbols[0]]
    day = (found.open_time + found.interval.ms - 1) // DAY_MS
    last = np.flatnonzero(np.append(np.diff(day) != 0, True))
    return key.symbol, ((day[last] + 1) * DAY_MS, found.close[last])
