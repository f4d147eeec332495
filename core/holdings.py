"""What is there: worlds, series, candles, quality, and bringing data in. The facade's verbs over data."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.composites import CompositeLine
from analysis.fits import FitCache
from analysis.kept_rows import KeptRows
from analysis.module import ScoreModule, Timeline
from analysis.scorecard import Scorecard
from core.jobs import Jobs
from core.kept import Kept, Turns
from core.outside import Outside
from core.settings import Settings
from data.clock import Clock, age_text, iso
from data.errors import InputError, NoData
from data.frames import Candles
from data.market import DAY_MS, Interval, Market, SeriesKey, did_you_mean, parse_symbol
from data.simulator.market import SimulatedExchange
from data.storage.candles import CandleStore, Conflict, SeriesSummary
from data.view import CandleReader, Gap, ObservationReader

if TYPE_CHECKING:
    from core.collecting import Collecting
    from core.maps import LiquidationPicture
    from core.signals import SignalCard
    from data.cleaning import CleanTable
    from data.disagreement import Disagreement
    from data.importing.importer import ImportReport
    from data.quality import QualityReport

SCORECARDS_KEPT = 512
MOST_PEERS = 24  # where nothing of the watchlist is held
TIMELINES_KEPT = 48  # a few hundred kB each


class World(StrEnum):
    """Real and simulated data live apart and are never shown together (decisions.md 1)."""

    REAL = "real"
    LOOPBACK = "loopback"  # a simulated exchange behind the exchange's own protocol, kept in a store of its own
    SIMULATED = "simulated"


@dataclass(frozen=True)
class Status:
    """What the provenance chip says: where the shown data comes from and how old it is."""

    world: World
    provenance: str
    newest_close_ms: int | None
    age_ms: int | None
    words: str
    real_series: int


class Holdings:
    """State that every verb shares, and the verbs over data. Safe to share between threads."""

    def __init__(self, *, settings: Settings, clock: Clock, store: CandleStore, simulator: SimulatedExchange,
                 stored: ObservationReader, simulated: ObservationReader, fits: FitCache, modules: tuple[ScoreModule, ...],
                 world: World | None, outside: Outside, jobs: Jobs) -> None:
        self.settings = settings
        self.clock = clock
        self.modules = modules
        self.outside = outside
        self.jobs = jobs
        self._world = world
        self._store = store
        self._simulator = simulator
        self._stored, self._simulated = stored, simulated
        self._fits = fits
        self._rows = KeptRows()  # both worlds in one: what is kept is proven by content
        self._configuration = tuple(repr(m.config) for m in modules)
        self._turns = turns = Turns(settings.threads)
        self._cards: Kept[Scorecard] = Kept(SCORECARDS_KEPT, turns)
        self._timelines: Kept[Timeline] = Kept(TIMELINES_KEPT, turns)
        long = Turns(1)  # histories of everything, for a composite's line or a rule: seconds to a minute, and one of them at a time
        self._lines: Kept[CompositeLine] = Kept(TIMELINES_KEPT, long)
        self._maps: Kept[LiquidationPicture] = Kept(16, turns)
        self._signals: Kept[SignalCard] = Kept(512, long)
        self._qualities: Kept[QualityReport] = Kept(64, turns)

    # -- what is there ------------------------------------------------------------------------------------------

    @property
    def reader(self) -> CandleReader:
        return self._simulator if self.world is World.SIMULATED else self._store

    @property
    def observations(self) -> ObservationReader:
        """What is known beside candles in the shown world."""
        return self._simulated if self.world is World.SIMULATED else self._stored

    def peers(self, key: SeriesKey) -> tuple[str, ...]:
        """The symbols that a symbol is compared with: those of the watchlist that have candles of its market and interval."""
        held = {k.symbol for k in self.reader.keys() if k.market is key.market and k.interval is key.interval}
        watched = [s for s in self.settings.watchlist if s in held]
        return tuple(sorted(dict.fromkeys([*(watched or sorted(held)[:MOST_PEERS]), key.symbol])))

    @property
    def world(self) -> World:
        """Which world is shown. The first to ask on an empty store waits for the probe, two seconds at most."""
        if self._world is None:
            self._world = World.REAL if self.outside.answers() else World.SIMULATED
        return self._world

    @property
    def world_is_known(self) -> bool:
        """False while nobody has asked yet and the probe would have to be waited for."""
        return self._world is not None

    def use_world(self, world: World) -> None:
        """Switch on the user's word; never by itself."""
        self._world = world

    def status(self, key: SeriesKey | None = None) -> Status:
        """Provenance and age of one series, or of the freshest of the world shown."""
        real = self._store.keys()
        keys = (key,) if key else tuple(k for k in self.reader.keys() if k.interval is self.settings.interval) or self.reader.keys()
        closes = [c for k in keys if (c := self.reader.last_close_ms(k)) is not None]
        newest = max(closes, default=None)
        age = None if newest is None else max(0, self.clock.now_ms() - newest)
        if newest is None:
            return Status(self.world, "NO DATA", None, None, "nothing is stored yet", len(real))
        source = self.reader.read(key or keys[0], newest - 3 * (key or keys[0]).interval.ms).provenance
        words = f"data ends {iso(newest)[:10]}, {age_text(age or 0)} ago" if (age or 0) > 2 * DAY_MS else f"{age_text(age or 0)} old"
        return Status(self.world, source, newest, age, words, len(real))

    def symbols(self, market: Market = Market.SPOT) -> tuple[str, ...]:
        """Every symbol of the shown world: the watchlist's first, in its order, then the rest."""
        held = {k.symbol for k in self.reader.keys() if k.market is market}
        watched = [s for s in self.settings.watchlist if s in held]
        return tuple(watched + sorted(held - set(watched)))

    def intervals(self, symbol: str, market: Market = Market.SPOT) -> tuple[Interval, ...]:
        """The intervals a symbol can be read at, shortest first."""
        return tuple(sorted((k.interval for k in self.reader.keys() if k.symbol == symbol and k.market is market), key=lambda i: i.ms))

    def key(self, symbol: str, interval: str | Interval, market: str | Market = Market.SPOT) -> SeriesKey:
        """The checked key of a series that exists in the shown world."""
        wanted = SeriesKey(parse_symbol(symbol), Interval.parse(str(interval)), Market.parse(str(market)))
        if self.reader.holds(wanted):
            return wanted
        held = self.reader.keys()
        names = sorted({k.symbol for k in held})
        if wanted.symbol not in names:
            where = "the simulated exchange lists" if self.world is World.SIMULATED else "the store holds"
            raise NoData(f"no data for {wanted.symbol}: {where} {', '.join(names[:12]) or 'nothing'}"
                         f"{did_you_mean(wanted.symbol, names)}; import or back-fill it first")
        there = ", ".join(f"{k.interval} {k.market}" for k in sorted(held) if k.symbol == wanted.symbol)
        raise NoData(f"no {wanted.interval} {wanted.market} candles of {wanted.symbol}; there are: {there}")

    def candles(self, key: SeriesKey, *, start_ms: int | None = None, end_ms: int | None = None, bars: int | None = None) -> Candles:
        """Stored candles, start inclusive, end exclusive by open_time; or the newest `bars`."""
        if start_ms is not None and end_ms is not None and end_ms <= start_ms:
            raise InputError(f"the range ends before it starts: {iso(start_ms)} .. {iso(end_ms)}; swap --start and --end")
        if bars is not None and start_ms is None and end_ms is None:
            last = self.reader.last_close_ms(key)
            found = self.reader.read(key, None if last is None else last - (bars * 2 + 2) * key.interval.ms)
            return (found if len(found) >= bars else self.reader.read(key)).tail(bars)
        found = self.reader.read(key, start_ms, end_ms)
        return found if bars is None else found.tail(bars)

    def newest(self, symbol: str, market: Market) -> Candles:
        """The candle that closed last, of whichever interval is held: the newest price.

        Raises
        ------
        NoData
            When nothing of the symbol is held.
        """
        closes = {i: self.reader.last_close_ms(SeriesKey(symbol, i, market)) for i in self.intervals(symbol, market)}
        known = {i: c for i, c in closes.items() if c is not None}
        if not known:
            self.key(symbol, Interval.H1, market)  # says what to do
            raise NoData(f"no price of {symbol} is stored; back-fill it")
        return self.candles(SeriesKey(symbol, max(known, key=lambda i: (known[i], -i.ms)), market), bars=1)

    def gaps(self, key: SeriesKey) -> tuple[Gap, ...]:
        """Every hole between the first and the last candle, and whether the exchange confirmed it."""
        return tuple(self.reader.gaps(key))

    def content(self, key: SeriesKey) -> tuple[Any, ...]:
        """What a figure or table of a series depends on: changes when anything it could show does."""
        return self._version(key)

    def quality(self, key: SeriesKey) -> QualityReport:
        """What is wrong with a series, finding by finding."""
        from data.quality import assess

        return self._qualities.get(self._version(key), lambda: assess(self.reader, key))

    def holdings(self) -> tuple[SeriesSummary, ...]:
        """What is on disk: a row a series."""
        return tuple(self._store.summary())

    def conflicts(self, key: SeriesKey) -> list[Conflict]:
        """What was offered and contradicts a stored candle."""
        return self._store.conflicts(key)

    def damage(self) -> tuple[str, ...]:
        """Stored files that were found damaged and set aside: which, what was lost, what to do; empty when all is well."""
        return tuple(str(d) for d in self._store.damage)

    def verify_store(self) -> tuple[str, ...]:
        """Re-hash every stored part; what is damaged, in words."""
        return tuple(str(d) for d in self._store.verify().damage)

    def cleaned(self, candles: Candles, fill: str = "leave") -> CleanTable:
        """A copy for export with missing bars filled in a named way; invented rows are marked (decisions.md 6)."""
        from data.cleaning import Fill, clean

        return clean(candles, Fill.parse(fill))

    # -- bringing data in ---------------------------------------------------------------------------------------

    def import_files(self, paths: Iterable[Path], *, symbol: str | None = None, interval: str | None = None, market: str | None = None,
                     progress: Callable[[int, int, str], None] | None = None) -> ImportReport:
        """Archive zips or CSV, files or folders, any order, again without harm."""
        from data.importing.importer import import_paths

        return import_paths(self._store, list(paths), **_named(symbol, interval, market), clock_ms=self.clock.now_ms(), progress=progress)

    def import_uploads(self, uploads: Iterable[tuple[str, bytes]], *, symbol: str | None = None, interval: str | None = None,
                       market: str | None = None) -> ImportReport:
        """Uploaded files, each its name and content, in the order of their names."""
        from data.importing.importer import import_uploads

        return import_uploads(self._store, uploads, **_named(symbol, interval, market), clock_ms=self.clock.now_ms())

    def collector(self, symbols: tuple[str, ...] = (), *, ticks: bool = False, books: tuple[str, ...] = ()) -> Collecting:
        """What keeps the store current in the background; the caller starts and stops it."""
        from core.collecting import Collecting

        return Collecting(self.settings, self.clock, self._store, self.outside, symbols=symbols, ticks=ticks, books=books)

    def truth(self) -> dict[str, Any]:
        """What is planted in the simulated world."""
        return self._simulator.truth()

    def disagreements(self, key: SeriesKey) -> tuple[Disagreement, ...]:
        """Where sources of a symbol do not say the same: candles kept aside, other venues, mark and index."""
        from core.disagreements import disagreements

        return disagreements(self, key)

    def _version(self, key: SeriesKey, *more: Any) -> tuple[Any, ...]:
        """Everything a result depends on: the content of the series and of its group, what is known beside candles, the world, the
        modules' configurations, and the question."""
        group = hashlib.blake2b("".join(self.reader.version(SeriesKey(s, key.interval, key.market)) for s in self.peers(key)).encode())
        other = Market.PERP if key.market is Market.SPOT else Market.SPOT
        beside = (self.reader.version(SeriesKey(key.symbol, key.interval, other)), self.observations.version(key.symbol))
        return (key, self.world, self.reader.version(key), group.hexdigest()[:16], beside, self._configuration, *(more or (None,)))


def _named(symbol: str | None, interval: str | None, market: str | None) -> dict[str, Any]:
    """Import options, checked before a file is opened."""
    return {
        "symbol": parse_symbol(symbol) if symbol else None,
        "interval": Interval.parse(interval) if interval else None,
        "market": Market.parse(market) if market else None,
    }
