"""MarketView: what is known at one moment, and nothing else.

A module declares its `Need`s; a view is built from the union of what the modules declare and answers only for those. Live
pages, backtests and tests build the same view with `build_view`, so nothing that works on yesterday's view can know today.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from data.clock import iso
from data.errors import NoData, UndeclaredNeed
from data.frames import Candles, aggregate
from data.market import DAY_MS, Interval, Market, SeriesKey, worst_provenance
from data.observations import Kind, Observations


@dataclass(frozen=True)
class Need:
    """One input a module declares; sources state in the same vocabulary what they provide.

    Candles are asked for by `bars`, observations by `days` (and by bars of the view, added to them): exactly that much history is in the
    view, so a module's answer cannot depend on how much happens to be stored. `market` and `interval` of None mean those of the view
    (observations: the perpetual, where a kind exists for both markets). `peers` asks for the candles of every symbol of the view's group
    on one grid, the view's own among them; `symbol` names one other symbol (whole-market figures that only Bitcoin has). `optional`
    inputs may be absent; the module then names them as missing and lowers its coverage.
    """

    kind: Kind
    bars: int = 0
    days: float = 0.0
    market: Market | None = None
    interval: Interval | None = None
    optional: bool = False
    peers: bool = False
    symbol: str | None = None
    lead_bars: int = field(default=0, compare=False)  # somebody reads so many earlier rows of what a module makes of it

    def describe(self) -> str:
        words = [w for w in (self.symbol, self.market, self.interval, self.kind) if w]
        return " ".join(str(w) for w in words) + (" of the other symbols" if self.peers else "")


Held = TypeVar("Held")
OF_THE_VIEWS_MARKET = (Kind.MINUTE_FLOW, Kind.SECOND_FLOW)  # every other kind is the perpetual's unless a need says otherwise
NOT_KNOWN = "not yet known"
CONFIRMED = "confirmed exchange gap"
SHARED_ROWS = 150_000  # of peers' windows kept for the next view of their group, about 25 MB: two groups of a dozen symbols


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

    def holds(self, key: SeriesKey) -> bool:
        """Whether a series is one of `keys`, without looking for the others."""
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


class ObservationReader(Protocol):
    """Where observations are read from: the Parquet store, or the simulated exchange."""

    def known(self, symbol: str, kind: Kind, market: Market, start_ms: int, at_ms: int) -> Observations:
        """Rows with start <= available_time < at of one venue; empty, with `note` saying why, when there are none."""
        ...

    def version(self, symbol: str) -> str:
        """Changes when anything that can be known of a symbol beside its candles changes; part of cache keys."""
        ...


@dataclass(frozen=True)
class AccountSnapshot:
    """The paper account at `as_of_ms`, handed in by core; modules G and I use it. Money in quote currency.

    `equity_curve` is daily equity, oldest first; `positions` maps symbol to signed quantity; `stops` maps symbol to the
    stop price of its open position; `leverage` is gross notional / equity; `liquidation` maps a symbol held on margin to the price at
    which it would be closed by force.
    """

    as_of_ms: int
    equity: float
    equity_curve: np.ndarray
    positions: Mapping[str, float]
    marks: Mapping[str, float]
    stops: Mapping[str, float]
    leverage: float
    liquidation: Mapping[str, float] = field(default_factory=dict)


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
    kept: object = field(default=None, compare=False)  # KeptRows of analysis: what an earlier view has computed; None: nothing
    observed: Mapping[Need, Observations] = field(default_factory=dict)
    group: Mapping[Need, Mapping[str, Candles]] = field(default_factory=dict)
    longer: MarketView | None = field(default=None, compare=False)  # the needs that are read with a lead, longer by it
    more_bars: int = 0  # by which the histories are longer than declared

    def since_ms(self, need: Need) -> int:
        """From when on the view holds what became known of observations."""
        return first_ms(need, self.at_ms, self.interval.ms, self.more_bars * self.interval.ms)

    def candles(self, need: Need) -> Candles:
        """The declared candles, at most `need.bars` of them; empty when absent (then `why_absent` has the reason)."""
        return self._declared(self.series, need)

    def observations(self, need: Need) -> Observations:
        """The declared observations, by available_time; empty when absent (then `why_absent` has the reason)."""
        return self._declared(self.observed, need)

    def peers(self, need: Need) -> Mapping[str, Candles]:
        """The declared candles of every symbol of the group, by name; the view's own is among them."""
        return self._declared(self.group, need)

    def _declared(self, held: Mapping[Need, Held], need: Need) -> Held:
        if need not in held:
            everything = (*self.series, *self.observed, *self.group)
            declared = ", ".join(n.describe() for n in everything) or "nothing"
            raise UndeclaredNeed(f"the view of {self.symbol} holds {declared}; {need.describe()} was not declared in `needs`")
        return held[need]

    def holds(self, need: Need) -> bool:
        """Whether any row of a need is there."""
        if need.peers:
            return len(self.group.get(need, {})) > 1
        return len(self.series.get(need) or self.observed.get(need) or ()) > 0

    def without(self, need: Need, why: str) -> MarketView:
        """The same view, one input taken away: what tests of absence ask."""
        origin = {**self.origin, need: why}
        longer = self.longer
        if longer is not None and (need in longer.series or need in longer.observed or need in longer.group):
            longer = longer.without(need, why)
        return replace(self, longer=longer)._taken(need, origin)

    def _taken(self, need: Need, origin: Mapping[Need, str]) -> MarketView:
        why = origin[need]
        if need.peers:
            return replace(self, origin=origin, group={**self.group, need: {}})
        if need in self.observed:
            return replace(self, origin=origin, observed={**self.observed, need: Observations.empty(need.kind, note=why)})
        return replace(self, origin=origin, series={**self.series, need: Candles.empty(self.series[need].interval)})

    def why_absent(self, need: Need) -> str:
        return self.origin.get(need, "not declared")

    def age_s(self, candles: Candles) -> float:
        """Seconds between the last close and the moment of the question; infinite when there is no candle.

        Zero right at the close: a bar that closes at 11:59:59.999 is zero seconds old at 12:00.
        """
        if len(candles) == 0:
            return float("inf")
        return max(0.0, (self.at_ms - 1 - int(candles.close_time[-1])) / 1000)

    def age_of(self, observations: Observations) -> float:
        """Seconds between when the newest row became known and the moment of the question; infinite when there is none."""
        if len(observations) == 0:
            return float("inf")
        return max(0.0, (self.at_ms - 1 - int(observations.available_time[-1])) / 1000)

    @property
    def provenance(self) -> str:
        """The worst of the candles': what the view as a whole is called. Observations carry their own."""
        found = [c.provenance for c in self.series.values() if len(c)]
        return worst_provenance(found) if found else "NONE"


class SharedWindows:
    """Windows of candles that the views of a group have in common, read once a moment; bounded by rows, safe to share between threads.

    A window is given out only while its series has the version it was read at, so it never differs from what would be read now.
    """

    def __init__(self, rows: int = SHARED_ROWS) -> None:
        self._most = rows
        self._held: OrderedDict[tuple[SeriesKey, int, int], tuple[str, Candles]] = OrderedDict()
        self._rows = 0
        self._lock = threading.Lock()

    @property
    def rows(self) -> int:
        """How many rows are held."""
        return self._rows

    def get(self, reader: CandleReader, key: SeriesKey, moment: int, bars: int, read: Callable[[], Candles]) -> Candles:
        try:
            version = reader.version(key)
        except KeyError:  # a reader that knows no such series
            return read()
        name = (key, moment, bars)
        with self._lock:
            found = self._held.get(name)
            if found is not None and found[0] == version:
                self._held.move_to_end(name)
                return found[1]
        candles = read()
        with self._lock:
            before = self._held.pop(name, None)
            self._rows += len(candles) - (len(before[1]) if before is not None else 0)
            self._held[name] = (version, candles)
            while self._rows > self._most and len(self._held) > 1:
                self._rows -= len(self._held.popitem(last=False)[1][1])
        return candles


_windows_of: WeakKeyDictionary[CandleReader, SharedWindows] = WeakKeyDictionary()
_guard = threading.Lock()


def shared_windows(reader: CandleReader) -> SharedWindows:
    """The one memory of a reader's windows; it goes when the reader goes."""
    with _guard:
        return _windows_of.setdefault(reader, SharedWindows())


def build_view(reader: CandleReader, symbol: str, market: Market, interval: Interval, needs: Iterable[Need], *,
               at_ms: int | None = None, account: AccountSnapshot | None = None, fits: object = None, kept: object = None,
               more_bars: int = 0, observations: ObservationReader | None = None, peers: Sequence[str] = ()) -> MarketView:
    """The view of one symbol at `at_ms`; without it, right after the newest stored bar (decisions.md 2).

    A longer interval is aggregated from the view's own where that covers the declared window, else read as stored; `origin`
    says which (decisions.md 7). `more_bars` of the view's own interval lengthen every history, for charts of the past: then
    each row of a timeline has the history behind it that its own view would have had. `peers` names the group that needs with
    `peers` read; symbols without candles in the window are left out.

    Raises
    ------
    NoData
        When the view's own series has no candle before `at_ms`.
    """
    key = SeriesKey(symbol, interval, market)
    needs = tuple(needs)
    unique = tuple(dict.fromkeys(needs))
    wide = {n: n.bars + (-(-more_bars * interval.ms // (n.interval or interval).ms) if more_bars else 0) for n in unique}
    longest = max([wide[n] for n in unique if _own(n, key)], default=1)
    last_close = reader.last_close_ms(key) if at_ms is None else at_ms - 1
    if last_close is None:
        raise NoData(f"{key} has no stored candle; back-fill or import it, e.g. python -m core import FOLDER")
    moment = last_close + 1

    series: dict[Need, Candles] = {}
    observed: dict[Need, Observations] = {}
    group: dict[Need, dict[str, Candles]] = {}
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

    memory = shared_windows(reader)

    def shared(of: SeriesKey, bars: int) -> Candles:
        return memory.get(reader, of, moment, bars, lambda: window(of, bars))

    own = window(key, longest)
    if not len(own):
        raise NoData(f"{key} has no stored candle before {iso(moment)}; ask for a later time or import older candles")
    as_of = int(own.close_time[-1])
    for need in unique:
        if need.kind is not Kind.CANDLES:
            found, origin[need] = _known(observations, need.symbol or symbol, market, need, moment, interval.ms, more_bars * interval.ms)
            observed[need] = found
            continue
        wanted = SeriesKey(need.symbol or symbol, need.interval or interval, need.market or market)
        if need.peers:
            held = {name: shared(SeriesKey(name, wanted.interval, wanted.market), wide[need]) for name in sorted({*peers, symbol})}
            group[need] = {name: candles for name, candles in held.items() if len(candles)}
            origin[need] = f"{len(group[need])} symbols" if len(group[need]) > 1 else "no candles of other symbols are stored"
            continue
        if wanted.interval == interval:
            candles, how = window(wanted, longest if _own(need, key) else wide[need]).tail(wide[need]), "stored"
        else:
            candles, how = _longer(window, wanted, interval, wide[need])
        series[need] = candles
        origin[need] = how if len(candles) else f"no {wanted.market} {wanted.interval} candles of {wanted.symbol} are stored"
    led = tuple(need for need in needs if need.lead_bars)
    longer = None
    if led:
        lead = max(need.lead_bars for need in led)
        longer = build_view(reader, symbol, market, interval, [replace(need, lead_bars=0) for need in led], at_ms=moment, account=account,
                            fits=fits, kept=kept, more_bars=more_bars + lead, observations=observations, peers=peers)
    return MarketView(symbol, market, interval, moment, as_of, series, origin, account, fits, kept, observed, group, longer, more_bars)


def _known(reader: ObservationReader | None, symbol: str, market: Market, need: Need, at_ms: int, step_ms: int,
           more_ms: int) -> tuple[Observations, str]:
    """What was known of a kind in the declared days before the moment, and where it is from (or why there is nothing)."""
    if reader is None:
        why = f"no {need.kind} of {symbol} is stored"
        return Observations.empty(need.kind, note=why), why
    start = first_ms(need, at_ms, step_ms, more_ms)
    found = reader.known(symbol, need.kind, need.market or (market if need.kind in OF_THE_VIEWS_MARKET else Market.PERP), start, at_ms)
    if len(found):
        return found, found.provenance
    why = found.note or f"no {need.kind} of {symbol} became known in the {need.days + need.bars * step_ms / DAY_MS:g} days before"
    return replace(found, note=why), why


def first_ms(need: Need, at_ms: int, step_ms: int, more_ms: int) -> int:
    return at_ms - int(need.days * DAY_MS) - need.bars * step_ms - more_ms


def _own(need: Need, key: SeriesKey) -> bool:
    return (need.kind is Kind.CANDLES and not need.peers and need.symbol in (None, key.symbol)
            and need.interval in (None, key.interval) and need.market in (None, key.market))


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
