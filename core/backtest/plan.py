"""Everything a backtest needs, checked once and laid out in arrays: configuration, candles, signals, finer bars, funding, marks."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from core.backtest.signals import Signals, check
from core.risk.exposure import DailyReturns
from core.risk.limits import Refusal, RiskLimits
from core.risk.sizing import Sizing, volatility_scale
from core.trading.contracts import Contract, contract_of
from core.trading.costs import quote_volume, schedule
from data.clock import iso
from data.errors import CandleGapError, InputError
from data.frames import Candles
from data.indicators.ranges import atr
from data.market import DAY_MS, Costs, Interval, Market

RULES = "7.1/3"  # version of the trading rules; part of every run id
SIGMA_BARS, SIGMA_MINIMUM = 500, 100  # of the standard deviation a volatility break is measured in


@dataclass(frozen=True)
class Config:
    """How to trade. Everything that changes a result and is not data; JSON-able, hashed into the run id.

    Attributes
    ----------
    size : float
        Of `sizing`: a risk (0.01 = 1 % of equity), a fraction of equity, or units.
    distances : "quote", "fraction" or "price"
        What stop, target and trail of the signals are: distances from the fill in quote currency, shares of its price, or stop and
        target as prices (trail a distance in quote currency). The three multiples scale distances (what a sweep turns); those of
        prices from the fill.
    max_bars : int or None
        Time stop: out at the open after so many bars.
    optimistic : bool
        Where stop and target lie in one bar and nothing finer is known, the target came first: the other end of the band.
    rounding : bool
        False trades off the tick and step, to compare with peers.
    allow_gaps : bool
        Bars beside a hole count as neighbours; nothing is entered across it. False refuses holes.
    """

    capital: float = 10_000.0
    market: Market = Market.SPOT
    leverage: float = 3.0
    costs: Costs | None = None
    sizing: Sizing = Sizing.RISK
    size: float = 0.01
    distances: str = "quote"
    stop_multiple: float = 1.0
    target_multiple: float = 1.0
    trail_multiple: float = 1.0
    max_bars: int | None = None
    limits: RiskLimits = field(default_factory=RiskLimits)
    rounding: bool = True
    optimistic: bool = False
    allow_gaps: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "market", Market(self.market))
        object.__setattr__(self, "sizing", Sizing(self.sizing))
        object.__setattr__(self, "costs", self.costs or Costs.of(self.market))
        if not (math.isfinite(self.capital) and self.capital > 0.0):
            raise InputError(f"capital: expected a sum above zero, got {self.capital!r}; the default is 10000")
        if not 1.0 <= self.leverage <= 125.0:
            raise InputError(f"leverage: expected 1 to 125, got {self.leverage!r}; the default is 3")
        most = {Sizing.RISK: 1.0, Sizing.FRACTION: 125.0, Sizing.UNITS: 1e12}[self.sizing]
        if not 0.0 < self.size <= most:
            raise InputError(f"size: expected above 0 and at most {most:g} for sizing {self.sizing}, got {self.size!r}; "
                             "0.01 means 1 % of equity")
        if self.distances not in ("quote", "fraction", "price"):
            raise InputError(f"distances: expected quote or fraction or price, got {self.distances!r}")
        for name in ("stop_multiple", "target_multiple", "trail_multiple"):
            if not 0.0 < getattr(self, name) < 1e6:
                raise InputError(f"{name}: expected above zero, got {getattr(self, name)!r}")
        if self.max_bars is not None and self.max_bars < 1:
            raise InputError(f"max_bars: expected at least 1, or None for no time stop, got {self.max_bars!r}")

    @property
    def fees(self) -> Costs:
        assert self.costs is not None  # set in __post_init__
        return self.costs

    def document(self) -> dict[str, Any]:
        """JSON-able, in full."""
        return {"rules": RULES, **json.loads(json.dumps(dataclasses.asdict(self)))}


@dataclass(frozen=True)
class Funding:
    """Funding stamps of one perpetual, as known afterwards. `time_ms` ascending; `mark` NaN: the open of the bar that holds it."""

    time_ms: np.ndarray
    rate: np.ndarray
    mark: np.ndarray | None = None


@dataclass(frozen=True)
class Plan:
    """Checked inputs on one grid. Arrays of shape (n_symbols, n_bars), symbols sorted; a width of 1 holds for every bar."""

    config: Config
    symbols: tuple[str, ...]
    interval: Interval
    open_time: np.ndarray
    close_time: np.ndarray
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    quote_volume: np.ndarray
    mark_high: np.ndarray
    mark_low: np.ndarray
    half: np.ndarray
    impact: np.ndarray
    scale: np.ndarray
    veto: np.ndarray
    tighten: np.ndarray
    hole_after: np.ndarray
    tables: tuple[tuple[Signals, ...], ...]
    contracts: tuple[Contract, ...]
    fine_from: np.ndarray
    fine_to: np.ndarray
    fine: np.ndarray
    fine_close: np.ndarray
    stamp_from: np.ndarray
    stamp_time: np.ndarray
    stamp_rate: np.ndarray
    stamp_mark: np.ndarray
    returns: DailyReturns | None
    provenance: str

    @property
    def bars(self) -> int:
        return len(self.open_time)

    @cached_property
    def moments(self) -> np.ndarray:
        """When each bar's close is known: the next bar's open on the grid."""
        return self.open_time + self.interval.ms

    @cached_property
    def last_of_day(self) -> np.ndarray:
        """Rows of the last bar of each UTC day; the last day may be unfinished."""
        day = (self.moments - 1) // DAY_MS
        return np.flatnonzero(np.append(np.diff(day) != 0, True))

    @property
    def portfolio_limits(self) -> bool:
        limits = self.config.limits
        return any(x is not None for x in (limits.tail_var, limits.tail_es, limits.correlation_cap))

    @property
    def compiled(self) -> bool:
        """Can the compiled engine run it? One table a symbol, and no limit that needs a history of returns."""
        return all(len(t) == 1 for t in self.tables) and not self.portfolio_limits

    @cached_property
    def run_id(self) -> str:
        """Hash of configuration and every input: the same id means the same result."""
        digest = hashlib.sha256(json.dumps(self.config.document(), sort_keys=True).encode())
        digest.update(json.dumps([self.symbols, self.interval, [dataclasses.asdict(c) for c in self.contracts]]).encode())
        for name in ("open_time", "close_time", "open", "high", "low", "close", "quote_volume", "mark_high", "mark_low", "half", "impact",
                     "scale", "veto", "tighten", "hole_after", "fine_from", "fine_to", "fine", "stamp_time", "stamp_rate", "stamp_mark"):
            digest.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        if len(self.stamp_time):
            digest.update(self.stamp_from.tobytes())  # whose stamps they are
        if self.returns is not None:
            digest.update(self.returns.day.tobytes() + self.returns.returns.tobytes())
        for table in (t for tables in self.tables for t in tables):
            digest.update(f"{table.symbol}/{table.strategy}".encode())
            for name in ("action", "stop", "target", "trail", "limit", "strength", "veto"):
                value = getattr(table, name)
                digest.update(b"-" if value is None else np.ascontiguousarray(value).tobytes())
        return digest.hexdigest()[:16]


def column(value: float | np.ndarray | None, missing: float = math.nan) -> np.ndarray:
    """A signal column as a float array: as long as the bars, or of length 1."""
    return np.array([missing]) if value is None else np.atleast_1d(np.asarray(value, float))


def build(config: Config, candles: Mapping[str, Candles], signals: Sequence[Signals], *, fine: Mapping[str, Candles] | None = None,
          funding: Mapping[str, Funding] | None = None, marks: Mapping[str, Candles] | None = None,
          contracts: Mapping[str, Contract] | None = None, half_spread_bps: Mapping[str, np.ndarray] | None = None,
          history: Mapping[str, Candles] | None = None) -> Plan:
    """Check everything and lay it out.

    `fine` holds shorter candles, replayed inside a bar where all of them are there and agree with it; `marks` the mark price candles
    of perpetuals; `history` daily candles for the portfolio limits (by default the traded candles serve).

    Raises
    ------
    InputError, CandleGapError
        Naming the field, the symbol and the bar.
    """
    symbols = tuple(sorted(candles))
    if not symbols:
        raise InputError("candles: expected at least one symbol, got none")
    first = candles[symbols[0]]
    for symbol in symbols:
        _one_grid(symbol, candles[symbol], symbols[0], first, config)
    unknown = sorted({s.symbol for s in signals} - set(symbols))
    if unknown:
        raise InputError(f"signals: {unknown[0]} has no candles; candles are there for {', '.join(symbols)}")
    silent = np.zeros(len(first), np.int8)
    tables = tuple(tuple(t for t in signals if t.symbol == symbol) or (Signals(symbol, silent),) for symbol in symbols)
    for symbol, group in zip(symbols, tables, strict=True):
        if len({t.strategy for t in group}) < len(group):
            raise InputError(f"signals: two tables of strategy {group[0].strategy!r} for {symbol}; give each strategy its own name")
        for table in group:
            check(table, candles[symbol], config.market, prices=config.distances == "price")
    if config.market is Market.SPOT and (funding or marks):
        raise InputError("funding and mark prices belong to perpetuals; use market perp or leave them out")
    stacked = {name: np.stack([getattr(candles[s], name) for s in symbols]) for name in ("open", "high", "low", "close")}
    schedules = [schedule(candles[s], config.fees, half_spread_bps=(half_spread_bps or {}).get(s)) for s in symbols]
    marked = [_mark(s, candles[s], (marks or {}).get(s)) for s in symbols]
    held = tuple(dict(contracts or {}).get(s) or contract_of(s, config.market, candles[s]) for s in symbols)
    if not config.rounding:
        held = tuple(dataclasses.replace(c, tick=0.0, step=0.0, minimum_notional=0.0) for c in held)
    target = config.limits.volatility_target
    needs_returns = any(x is not None for x in (config.limits.tail_var, config.limits.tail_es, config.limits.correlation_cap))
    from data.market import worst_provenance

    return Plan(
        config=config, symbols=symbols, interval=first.interval, open_time=first.open_time,
        close_time=np.maximum.reduce([candles[s].close_time for s in symbols]), **stacked,
        quote_volume=np.stack([quote_volume(candles[s]) for s in symbols]),
        mark_high=np.stack([m[0] for m in marked]), mark_low=np.stack([m[1] for m in marked]),
        half=np.stack([s.half for s in schedules]), impact=np.stack([s.impact for s in schedules]),
        scale=np.ones((len(symbols), 1)) if target is None else np.stack([volatility_scale(candles[s], target) for s in symbols]),
        veto=np.stack([breaks(candles[s], config.limits) for s in symbols]),
        tighten=np.full((len(symbols), 1), np.nan) if config.limits.break_stop_atr is None else
        np.stack([tightened(candles[s], config.limits) for s in symbols]),
        hole_after=np.append(np.diff(first.open_time) != first.interval.ms, False), tables=tables, contracts=held,
        **_fine_arrays(symbols, candles, fine or {}), **_stamps(symbols, candles, funding or {}),
        returns=DailyReturns.of(history or candles) if needs_returns else None,
        provenance=worst_provenance([candles[s].provenance for s in symbols]))


def _one_grid(symbol: str, own: Candles, other: str, first: Candles, config: Config) -> None:
    if own.interval is not first.interval:
        raise InputError(f"candles: interval mismatch, {symbol} is {own.interval} and {other} {first.interval}; one account trades "
                         "one grid")
    if len(own) < 2:
        raise InputError(f"candles: {symbol} has {len(own)} bars; a backtest needs at least 2 (decide on one, fill on the next)")
    if np.any(np.diff(own.open_time) <= 0):
        row = int(np.flatnonzero(np.diff(own.open_time) <= 0)[0]) + 1
        raise InputError(f"candles: {symbol} open_time at row {row} is not later than the one before; sort and remove doubles")
    if len(own) != len(first) or np.any(own.open_time != first.open_time):
        raise InputError(f"candles: {symbol} and {other} do not have the same bars ({len(own)} and {len(first)}); cut them to their "
                         "common window")
    if not np.any(own.volume > 0.0):
        raise InputError(f"candles: {symbol} has zero volume in every bar; nothing could have been filled")
    gaps = own.gaps()
    if gaps and not config.allow_gaps:
        start, _, bars = gaps[0]
        raise CandleGapError(f"{symbol} {own.interval} has {bars} missing bars from {iso(start)} ({len(gaps)} holes in all); back-fill, "
                             f"run: python -m core backfill {symbol} {own.interval}, or set allow_gaps to trade around them")


def _jumps(candles: Candles, sigmas: float) -> tuple[np.ndarray, np.ndarray]:
    """Per bar: did it move by more than so many standard deviations, and can that not be said?

    The standard deviation is of the 500 returns before the bar (at least 100).
    """
    n = len(candles)
    returns = candles.log_return
    known = np.isfinite(returns)
    sums = [np.concatenate(([0.0], np.cumsum(np.where(known, x, 0.0)))) for x in (known.astype(float), returns, returns**2)]
    start = np.maximum(np.arange(n) - SIGMA_BARS, 0)
    count, total, square = (x[np.arange(n)] - x[start] for x in sums)
    with np.errstate(invalid="ignore", divide="ignore"):
        sigma = np.sqrt(np.maximum(square - total**2 / count, 0.0) / (count - 1))
    unknown = (count < SIGMA_MINIMUM) | ~(sigma > 0.0)
    return known & ~unknown & (np.abs(returns) > sigmas * sigma), unknown


def breaks(candles: Candles, limits: RiskLimits) -> np.ndarray:
    """Per bar the `Refusal` of the volatility break, or 0: a jump within the last bars. Where the standard deviation is unknown, so is
    the break: no entry."""
    n = len(candles)
    out = np.zeros(n, np.int8)
    if limits.break_sigmas is None:
        return out
    jump, unknown = _jumps(candles, limits.break_sigmas)
    recent = np.concatenate(([0], np.cumsum(jump)))
    broken = recent[np.arange(1, n + 1)] - recent[np.maximum(np.arange(1, n + 1) - limits.break_bars, 0)] > 0
    out[unknown] = Refusal.BREAK_UNKNOWN
    out[broken] = Refusal.VOLATILITY_BREAK
    return out


def tightened(candles: Candles, limits: RiskLimits) -> np.ndarray:
    """Distance from the close to which open stops are drawn at a bar that jumped, in quote currency; NaN at all others, and where the
    average true range is not known yet."""
    if limits.break_sigmas is None or limits.break_stop_atr is None:
        return np.full(len(candles), np.nan)
    jump, _ = _jumps(candles, limits.break_sigmas)
    return np.where(jump, limits.break_stop_atr * atr(candles), np.nan)


def _mark(symbol: str, own: Candles, mark: Candles | None) -> tuple[np.ndarray, np.ndarray]:
    """High and low of the mark price; NaN where the trade price stands in for it."""
    if mark is None:
        return np.full(len(own), np.nan), np.full(len(own), np.nan)
    if mark.interval is not own.interval:
        raise InputError(f"marks: interval mismatch, {symbol} trades at {own.interval} and its mark candles are {mark.interval}")
    at = np.searchsorted(mark.open_time, own.open_time)
    at = np.minimum(at, max(len(mark) - 1, 0))
    there = mark.open_time[at] == own.open_time if len(mark) else np.zeros(len(own), bool)
    return (np.where(there, mark.high[at], np.nan), np.where(there, mark.low[at], np.nan)) if len(mark) else _mark(symbol, own, None)


def _fine_arrays(symbols: tuple[str, ...], candles: Mapping[str, Candles], fine: Mapping[str, Candles]) -> dict[str, np.ndarray]:
    """Per bar the rows of its finer candles, empty where some are missing or they contradict the bar."""
    n = len(candles[symbols[0]])
    begin, end = np.zeros((len(symbols), n), np.int64), np.zeros((len(symbols), n), np.int64)
    rows, closes, offset = [], [], 0
    for k, symbol in enumerate(symbols):
        small, own = fine.get(symbol), candles[symbol]
        if small is None or not len(small):
            continue
        if small.interval.ms >= own.interval.ms or own.interval.ms % small.interval.ms:
            raise InputError(f"fine: interval mismatch, {symbol} trades at {own.interval}; {small.interval} bars cannot be "
                             "replayed inside it")
        lo = np.searchsorted(small.open_time, own.open_time)
        hi = np.searchsorted(small.open_time, own.open_time + own.interval.ms)
        whole = np.flatnonzero(hi - lo == own.interval.ms // small.interval.ms)
        if len(whole):
            edges = np.column_stack((lo[whole], np.minimum(hi[whole], len(small) - 1))).ravel()
            high, low = (f.reduceat(x, edges)[::2] for f, x in ((np.maximum, small.high), (np.minimum, small.low)))
            if hi[whole[-1]] == len(small):  # the last range has no row after it to end at
                high[-1], low[-1] = small.high[lo[whole[-1]] :].max(), small.low[lo[whole[-1]] :].min()
            whole = whole[(high == own.high[whole]) & (low == own.low[whole]) & (small.open[lo[whole]] == own.open[whole])]
        begin[k, whole], end[k, whole] = lo[whole] + offset, hi[whole] + offset
        rows.append(np.stack((small.open, small.high, small.low)))
        closes.append(small.close_time)
        offset += len(small)
    if not rows:
        return {"fine_from": np.zeros((len(symbols), 1), np.int64), "fine_to": np.zeros((len(symbols), 1), np.int64),
                "fine": np.empty((3, 0)), "fine_close": np.empty(0, np.int64)}
    return {"fine_from": begin, "fine_to": end, "fine": np.ascontiguousarray(np.concatenate(rows, axis=1)),
            "fine_close": np.concatenate(closes)}


def _stamps(symbols: tuple[str, ...], candles: Mapping[str, Candles], funding: Mapping[str, Funding]) -> dict[str, np.ndarray]:
    """Stamps of all symbols in one row; `stamp_from[s, b]` is the first one after the open of bar b, the last column the end."""
    times: list[np.ndarray] = []
    rates: list[np.ndarray] = []
    marks: list[np.ndarray] = []
    n, offset = len(candles[symbols[0]]), 0
    first = np.zeros((len(symbols), n + 1), np.int64)
    for k, symbol in enumerate(symbols):
        own, rows = candles[symbol], funding.get(symbol)
        time = np.asarray([] if rows is None else rows.time_ms, np.int64)
        rate = np.asarray([] if rows is None else rows.rate, float)
        if len(time) != len(rate) or np.any(np.diff(time) <= 0):
            raise InputError(f"funding: {symbol} needs one rate a stamp, times ascending and unique")
        if not np.isfinite(rate).all():
            raise InputError(f"funding: {symbol} has an unknown rate at {iso(int(time[~np.isfinite(rate)][0]))}; leave the stamp out")
        inside = (time > own.open_time[0]) & (time < own.open_time[-1] + own.interval.ms)
        mark = own.open[np.maximum(np.searchsorted(own.open_time, time, side="right") - 1, 0)]
        if rows is not None and rows.mark is not None:
            mark = np.where(np.isfinite(rows.mark), rows.mark, mark)
        times.append(time[inside])
        rates.append(rate[inside])
        marks.append(mark[inside])
        first[k, :n] = offset + np.searchsorted(times[-1], own.open_time, side="right")
        offset += len(times[-1])
        first[k, n] = offset
    return {"stamp_from": first, "stamp_time": np.concatenate(times), "stamp_rate": np.concatenate(rates),
            "stamp_mark": np.concatenate(marks)}
