"""MarketView: what is known at one moment, and nothing else.

A module declares its `Need`s; a view is built from the union of what the modules declare and answers only for those. Live
pages, backtests and tests build the same view with `build_view`, so nothing that works on yesterday's view can know today.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np

from data.clock import iso
from data.errors import NoData, UndeclaredNeed
from data.frames import Candles, aggregate
from data.market import DAY_MS, Interval, Market, SeriesKey


class NeedKind(StrEnum):
    """What can be asked for. Sources state which of these they provide."""

    CANDLES = "candles"
    FUNDING = "funding"
    OPEN_INTEREST = "open interest"
    PREMIUM_INDEX = "premium index"
    OPTION_IV = "option implied volatility"


@dataclass(frozen=True)
class Need:
    """One input a module declares.

    `market` and `interval` of None mean those of the view. `bars` is the history a view holds of it, exactly: the module
    sees no more, so its answer cannot depend on how much happens to be stored. `optional` inputs may be absent; the module
    then names them as missing and lowers its coverage.
    """

    kind: NeedKind
    bars: int
    market: Market | None = None
    interval: Interval | None = None
    optional: bool = False

    def describe(self) -> str:
        words = [w for w in (self.market, self.interval, self.kind) if w]
        return " ".join(str(w) for w in words)


NOT_KNOWN = "not yet known"
CONFIRMED = "confirmed exchange gap"


@dataclass(frozen=True)
class Gap:
    """Missing bars: open_time of the first and of the last, how many, and what is known about why."""

    start: int
    end: int
    bars: int
    status: str = NOT_KNOWN
    reason: str = ""


class CandleReader(Protocol):
    """Where stored candles are read from: the Parquet store, or the simulated exchange."""

    def keys(self) -> tuple[SeriesKey, ...]:
        """Every series that holds at least one candle, sorted."""
        ...

    def read(self, key: SeriesKey, start_ms: int | None = None, end_ms: int | None = None) -> Candles:
        """Closed candles with start <= open_time < end; empty when there are none."""
        ...

    def last_close_ms(self, key: SeriesKey) -> int | None:
        """close_time of the newest candle; None when there is none."""
        ...

    def gaps(self, key: SeriesKey) -> list[Gap]:
        """Every hole between the first and the last candle, and whether the exchange confirmed it."""
        ...

    def version(self, key: SeriesKey) -> str:
        """Changes exactly when the series' content changes; part of every cache key."""
        ...


@dataclass(frozen=True)
class AccountSnapshot:
    """The paper account at `as_of_ms`, handed in by core; modules G and I use it. Money in quote currency.

    `equity_curve` is daily equity, oldest first; `positions` maps symbol to signed quantity; `stops` maps symbol to the
    stop price of its open position; `leverage` is gross notional / equity.
    """

    as_of_ms: int
    equity: float
    equity_curve: np.ndarray
    positions: Mapping[str, float]
    marks: Mapping[str, float]
    stops: Mapping[str, float]
    leverage: float


@dataclass(frozen=True)
class MarketView:
    """Everything known about one symbol at `at_ms`; ask only for what was declared.

    Attributes
    ----------
    at_ms : int
        The moment of the question. Bars with close_time < at_ms are visible.
    as_of_ms : int
        close_time of the newest visible bar of the view's own series: what a result is stamped with.
    """

    symbol: str
    market: Market
    interval: Interval
    at_ms: int
    as_of_ms: int
    series: Mapping[Need, Candles]
    origin: Mapping[Need, str]
    account: AccountSnapshot | None = None
    fits: object = field(default=None, compare=False)  # a FitCache of analysis, shared between views

    def candles(self, need: Need) -> Candles:
        """The declared candles, at most `need.bars` of them; empty when absent (then `why_absent` has the reason)."""
        if need not in self.series:
            declared = ", ".join(n.describe() for n in self.series) or "nothing"
            raise UndeclaredNeed(f"the view of {self.symbol} holds {declared}; {need.describe()} was not declared in `needs`")
        return self.series[need]

    def why_absent(self, need: Need) -> str:
        return self.origin.get(need, "not declared")

    def age_s(self, candles: Candles) -> float:
        """Seconds between the last close and the moment of the question; infinite when there is no candle.

        Zero right at the close: a bar that closes at 11:59:59.999 is zero seconds old at 12:00.
        """
        if len(candles) == 0:
            return float("inf")
        return max(0.0, (self.at_ms - 1 - int(candles.close_time[-1])) / 1000)

    @property
    def provenance(self) -> str:
        from data.market import worst_provenance

        found = [c.provenance for c in self.series.values() if len(c)]
        return worst_provenance(found) if found else "NONE"


def build_view(reader: CandleReader, symbol: str, market: Market, interval: Interval, needs: Iterable[Need], *,
               at_ms: int | None = None, account: AccountSnapshot | None = None, fits: object = None, more_bars: int = 0) -> MarketView:
    """The view of one symbol at `at_ms`; without it, right after the newest stored bar (decisions.md 2).

    A longer interval is aggregated from the view's own where that covers the declared window, else read as stored; `origin`
    says which (decisions.md 7). `more_bars` of the view's own interval lengthen every history, for charts of the past: then
    each row of a timeline has the history behind it that its own view would have had.

    Raises
    ------
    NoData
        When the view's own series has no candle before `at_ms`.
    """
    key = SeriesKey(symbol, interval, market)
    unique = tuple(dict.fromkeys(needs))
    wide = {n: n.bars + (-(-more_bars * interval.ms // (n.interval or interval).ms) if more_bars else 0) for n in unique}
    longest = max([wide[n] for n in unique if _own(n, key)], default=1)
    last_close = reader.last_close_ms(key) if at_ms is None else at_ms - 1
    if last_close is None:
        raise NoData(f"{key} has no stored candle; back-fill or import it, e.g. python -m core import FOLDER")
    moment = last_close + 1

    series: dict[Need, Candles] = {}
    origin: dict[Need, str] = {}
    reads: dict[tuple[SeriesKey, int], Candles] = {}

    def window(of: SeriesKey, bars: int) -> Candles:
        """The last `bars` closed candles; reads a window twice as wide as needed, all of it only where holes eat that up."""
        if (of, bars) not in reads:
            near = reader.read(of, moment - (2 * bars + 2) * of.interval.ms, moment).closed_before(moment)
            if len(near) < bars:
                near = reader.read(of, None, moment).closed_before(moment)
            reads[of, bars] = near.tail(bars)
        return reads[of, bars]

    own = window(key, longest)
    if not len(own):
        raise NoData(f"{key} has no stored candle before {iso(moment)}; ask for a later time or import older candles")
    as_of = int(own.close_time[-1])
    for need in unique:
        if need.kind is not NeedKind.CANDLES:
            series[need] = Candles.empty(interval)
            origin[need] = f"{need.kind} is not given to the modules yet"
            continue
        wanted = SeriesKey(symbol, need.interval or interval, need.market or market)
        if wanted.interval == interval:
            found, how = window(wanted, longest if _own(need, key) else wide[need]).tail(wide[need]), "stored"
        else:
            found, how = _longer(window, wanted, interval, wide[need])
        series[need] = found
        origin[need] = how if len(found) else f"no {wanted.market} {wanted.interval} candles of {symbol} are stored"
    return MarketView(symbol, market, interval, moment, as_of, series, origin, account, fits)


def _own(need: Need, key: SeriesKey) -> bool:
    return need.kind is NeedKind.CANDLES and need.interval in (None, key.interval) and need.market in (None, key.market)


def _longer(window, wanted: SeriesKey, interval: Interval, bars: int) -> tuple[Candles, str]:
    """A series of another interval: summed from the view's own where that reaches as far back as the stored one, else stored."""
    native = window(wanted, bars)
    if wanted.interval.ms <= interval.ms or wanted.interval.ms % interval.ms:
        return native, "stored"
    per_bar = wanted.interval.ms // interval.ms
    summed = aggregate(window(wanted.at(interval), (bars + 1) * per_bar), wanted.interval).tail(bars)
    if len(summed) >= bars or not len(native):
        return summed, f"summed from {interval}"
    covers = len(summed) and summed.open_time[0] <= native.open_time[0]
    fresher = len(summed) > 0 and summed.open_time[-1] > native.open_time[-1] + wanted.interval.ms * 2
    return (summed, f"summed from {interval}") if covers or fresher else (native, "stored")


def daily_anchor(close_time: np.ndarray) -> np.ndarray:
    """For each bar the last 00:00 UTC at or before its close: the schedule of daily fits (decisions.md 17)."""
    return (np.asarray(close_time, np.int64) + 1) // DAY_MS * DAY_MS
