"""What a portfolio is asked and what it is answered: returns side by side as they were known, one method, one document."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.allocation.covariance import MINIMUM_ROWS
from analysis.allocation.methods import method as method_named
from analysis.allocation.portfolio import NO_VIEW, Portfolio, fit_portfolio
from analysis.allocation.wishes import Wishes
from core.portfolio_views import Views, lab_views
from core.trading.costs import quote_volume
from data.clock import iso
from data.errors import InputError, NoData
from data.frames import aggregate
from data.market import DAY_MS, Interval, Market, SeriesKey, parse_symbol

if TYPE_CHECKING:
    from core.judging import Judging

USUAL_DAYS = 180
MOST_ROWS = 20_000
LONGEST_DAYS = 3_650
VOLUME_BARS = 20
REFERENCE = "BTCUSDT"


@dataclass(frozen=True)
class Asked:
    """A question for weights. `interval`: the bars whose returns the covariance is of; `days`: how far back they reach."""

    symbols: tuple[str, ...]
    method: str = "hrp"
    interval: Interval = Interval.D1
    market: Market = Market.SPOT
    at_ms: int | None = None
    days: int = USUAL_DAYS
    wishes: Wishes = field(default_factory=Wishes)

    def __post_init__(self) -> None:
        method_named(self.method)
        object.__setattr__(self, "symbols", tuple(dict.fromkeys(parse_symbol(s) for s in self.symbols)))
        if not self.symbols:
            raise InputError("expected at least one symbol, e.g. python -m core allocate BTCUSDT ETHUSDT --method hrp")
        fewest = math.ceil(MINIMUM_ROWS * self.interval.ms / DAY_MS)
        if not fewest <= self.days <= LONGEST_DAYS:
            raise InputError(f"days: expected {fewest} to {LONGEST_DAYS:,} ({MINIMUM_ROWS} bars of {self.interval} at least), got "
                             f"{self.days}")

    @property
    def rows(self) -> int:
        return min(MOST_ROWS, self.days * DAY_MS // self.interval.ms)

    def document(self) -> dict[str, Any]:
        w = self.wishes
        return {"symbols": list(self.symbols), "method": self.method, "interval": str(self.interval), "market": str(self.market),
                "days": self.days, "floor": w.floor, "cap": w.cap, "cluster_cap": w.cluster_cap, "cash": w.cash, "target_vol": w.target_vol,
                "turnover": w.turnover}


@dataclass(frozen=True)
class Table:
    """Simple returns side by side, shape (rows, symbols), NaN where a bar or the one before is not stored; `open_time` of the rows.

    `volume`: mean quote currency traded per bar over the newest 20, by symbol; NaN where unknown.
    """

    names: tuple[str, ...]
    open_time: np.ndarray
    returns: np.ndarray
    interval: Interval
    as_of_ms: int
    provenance: str
    volume: np.ndarray

    def column(self, name: str) -> np.ndarray | None:
        return self.returns[:, self.names.index(name)] if name in self.names else None

    def market(self) -> np.ndarray:
        """What betas are measured against: Bitcoin where it is here, else the equal-weight mean of what is known."""
        own = self.column(REFERENCE)
        if own is not None:
            return own
        known = np.isfinite(self.returns)
        count = known.sum(axis=1)
        return np.where(count > 0, np.where(known, self.returns, 0.0).sum(axis=1) / np.maximum(count, 1), np.nan)


def table_of(sextant: Judging, symbols: Sequence[str], interval: Interval, market: Market, *, at_ms: int | None, rows: int | None) -> Table:
    """Returns as they were known at a moment (default: right after the newest stored bar), the newest `rows` or all there are.

    Raises
    ------
    NoData
        For a symbol that is not stored, or where nothing is stored before the moment.
    """
    closes = {s: _closes(sextant, s, interval, market, at_ms, rows) for s in symbols}
    known = {s: c for s, c in closes.items() if len(c[0])}
    if not known:
        raise NoData(f"nothing of {', '.join(symbols)} is stored {f'before {iso(at_ms)}' if at_ms else 'yet'}; import or back-fill it")
    newest = max(int(t[-1]) for t, *_ in known.values())
    oldest = min(int(t[0]) for t, *_ in known.values())
    n = (newest - oldest) // interval.ms + 1
    n = n if rows is None else min(n, rows + 1)
    grid = newest - interval.ms * np.arange(n - 1, -1, -1, dtype=np.int64)
    prices = np.full((n, len(symbols)), np.nan)
    for i, s in enumerate(symbols):
        times, values, *_ = closes[s]
        at = (times - grid[0]) // interval.ms
        inside = (at >= 0) & (at < n)
        prices[at[inside], i] = values[inside]
    with np.errstate(invalid="ignore", divide="ignore"):
        returns = prices[1:] / prices[:-1] - 1.0
    told = {p for *_, p in known.values()}
    volume = np.array([float(np.mean(traded[-VOLUME_BARS:])) if len(traded) else math.nan for _, _, traded, _ in closes.values()])
    return Table(tuple(symbols), grid[1:], returns, interval, newest + interval.ms - 1, told.pop() if len(told) == 1 else "MIXED", volume)


def _closes(sextant: Judging, symbol: str, interval: Interval, market: Market, at_ms: int | None,
            rows: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """(open times, closes, quote volumes, provenance): the stored bars, and where they end bars summed from shorter ones that go on."""
    held = sextant.intervals(symbol, market)
    usable = [i for i in held if i.ms <= interval.ms and interval.ms % i.ms == 0]
    if not usable:
        sextant.key(symbol, interval, market)  # says what there is
    moment = at_ms
    if moment is None:
        last = [sextant.reader.last_close_ms(SeriesKey(symbol, i, market)) for i in usable]
        moment = max((c for c in last if c is not None), default=-1) + 1
    start = None if rows is None else moment - (rows + 3) * interval.ms
    times, values, traded, provenance = np.empty(0, np.int64), np.empty(0), np.empty(0), ""
    for own in sorted(usable, key=lambda i: -i.ms):
        ends = int(times[-1]) + interval.ms if len(times) else None
        if ends is not None and ends + interval.ms > moment:
            break
        begin = start if ends is None else max(ends, start or 0)
        found = sextant.reader.read(SeriesKey(symbol, own, market), begin, moment).closed_before(moment)
        found = found if own is interval else aggregate(found, interval)
        if not len(found):
            continue
        fresh = found.open_time >= (ends or 0)
        times, values = np.concatenate([times, found.open_time[fresh]]), np.concatenate([values, found.close[fresh]])
        traded = np.concatenate([traded, quote_volume(found)[fresh]])
        provenance = provenance or found.provenance
    return times, values, traded, provenance


@dataclass(frozen=True)
class Allocation:
    """An answered question, dated; `daily` is what risk and stress are measured on. `behind`: symbols whose prices end before the newest
    bar, with the close of their last one."""

    asked: Asked
    as_of_ms: int
    provenance: str
    portfolio: Portfolio
    views: Views
    daily: Table
    held: Mapping[str, float] = field(default_factory=dict)
    behind: Mapping[str, int] = field(default_factory=dict)

    @property
    def weights(self) -> dict[str, float]:
        """By symbol of the question; those that could not be weighed are not in it."""
        return named(self.portfolio, self.portfolio.weights)

    def document(self) -> dict[str, Any]:
        """Plain JSON values; an unknown number is None."""
        p = self.portfolio
        every = p.every_method() if p.rows else {}
        return {
            "method": self.asked.method, "as_of": iso(self.as_of_ms), "provenance": self.provenance, "asked": self.asked.document(),
            "weights": self.weights, "cash": p.cash, "risk_contributions": named(p, p.risk),
            "bands": {n: [number(x) for x in row] for n, row in zip(p.names, p.bands, strict=True)}, "feasible": p.feasible,
            "notes": list(p.notes), "dropped": dict(p.dropped), "behind": {n: iso(t) for n, t in self.behind.items()}, "bars": p.rows,
                "shrinkage": number(p.shrinkage), "scale": p.scale,
            "volatility": number(p.volatility), "past_mean": number(p.expected), "views": self.views.words(),
            "views_used": {n: {"score": self.views.scores.get(n, ""), "ic": v.ic, "z": v.z} for n, v in p.views.items()},
            "clusters": [[p.names[i] for i in c] for c in p.clusters], "leaf_order": [p.names[i] for i in p.order],
            "correlation": [[number(x) for x in row] for row in p.correlation],
            "beside": {name: named(p, w) for name, w in p.beside.items()},
            "methods": {name: {"weights": named(p, w), "volatility": number(v), "past_mean": number(m)} for name,
                        (w, v, m) in every.items()},
        }

    def text(self) -> str:
        p = self.portfolio
        m = method_named(self.asked.method)
        lines = [f"{m.title} of {len(p.names)} symbols as of {iso(self.as_of_ms)} ({self.provenance}, {p.rows} bars of "
                 f"{self.asked.interval})"]
        lines += [f"  {name:<12}{w:8.2%}{'' if not np.isfinite(b[0]) else f'  {b[0]:6.1%} to {b[1]:6.1%}'}  "
                  f"{'' if not np.isfinite(r) else f'risk {r:6.1%}'}"
                  for name, w, b, r in sorted(zip(p.names, p.weights, p.bands, p.risk, strict=True), key=lambda row: -row[1])]
        lines.append(f"  {'cash':<12}{p.cash:8.2%}")
        if math.isfinite(p.volatility):
            lines.append(f"volatility {p.volatility:.1%} a year" + (f"; {self.views.words()}" if m.name == "black-litterman" else ""))
        lines += [f"nearest possible: {n}" if not p.feasible else n for n in p.notes]
        lines += [f"left out: {name}, {why}" for name, why in p.dropped.items()]
        return "\n".join(lines)


def allocate(sextant: Judging, asked: Asked, *, held: Mapping[str, float] | None = None, bands: bool = True) -> Allocation:
    """Answer a question from what is stored.

    Raises
    ------
    NoData
        For a symbol that is not stored, or where nothing is known at the moment.
    """
    table = table_of(sextant, asked.symbols, asked.interval, asked.market, at_ms=asked.at_ms, rows=asked.rows)
    in_days = all(any(i.ms <= DAY_MS for i in sextant.intervals(s, asked.market)) for s in asked.symbols)
    daily = _daily(sextant, asked) if in_days else table
    moment = asked.at_ms if asked.at_ms is not None else sextant.clock.now_ms()
    views = lab_views(sextant, asked.symbols, asked.market, asked.interval, moment) if asked.method == "black-litterman" else Views(
        {}, {}, NO_VIEW + ": only Black-Litterman asks for views")
    unit = {Interval.D1: "days", Interval.H1: "hours"}.get(asked.interval, f"bars of {asked.interval}")
    portfolio = fit_portfolio(table.returns, table.names, method_named(asked.method), asked.wishes, views=views.views, held=held,
                              bars_per_year=asked.interval.bars_per_year, unit=unit, bands=bands)
    return Allocation(asked, table.as_of_ms, table.provenance, portfolio, views, daily, dict(held or {}), _behind(table))


def _daily(sextant: Judging, asked: Asked) -> Table:
    """All stored days of the symbols, and Bitcoin's beside them where it is stored: betas are measured against it."""
    beside = () if REFERENCE in asked.symbols or REFERENCE not in sextant.symbols(asked.market) else (REFERENCE,)
    return table_of(sextant, (*asked.symbols, *beside), Interval.D1, asked.market, at_ms=asked.at_ms, rows=None)


def _behind(table: Table) -> dict[str, int]:
    found = {}
    for name, column in zip(table.names, table.returns.T, strict=True):
        known = np.flatnonzero(np.isfinite(column))
        if len(known) and known[-1] < len(column) - 1:
            found[name] = int(table.open_time[known[-1]]) + table.interval.ms - 1
    return found


def named(portfolio: Portfolio, values: np.ndarray) -> dict[str, Any]:
    """Values by symbol, None where unknown."""
    return {name: number(v) for name, v in zip(portfolio.names, values, strict=True)}


def number(value: float | np.floating | None) -> float | None:
    return float(value) + 0.0 if value is not None and np.isfinite(value) else None
