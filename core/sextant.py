"""The facade: every verb of Sextant, each a few lines of delegation. Pages, commands and later faces call nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.composites import COMPOSITES, CompositeLine, Inputs, by_name
from analysis.fits import FitCache
from analysis.module import ScoreModule, Timeline
from analysis.report import ModuleReport
from analysis.scorecard import Scorecard, needs_of, score_view
from core.jobs import Jobs
from core.kept import Kept
from core.outside import Outside
from core.settings import Settings
from data.clock import Clock, age_text, iso
from data.errors import DataError, InputError, NoData
from data.frames import Candles
from data.market import DAY_MS, Interval, Market, SeriesKey, did_you_mean, parse_symbol
from data.simulator.market import SimulatedExchange
from data.storage.candles import CandleStore, SeriesSummary
from data.view import CandleReader, Gap, MarketView, ObservationReader, build_view

if TYPE_CHECKING:
    from analysis.composites.changes import Change, Flip
    from core.badge import Badge
    from core.collecting import Collecting
    from core.lookahead import LookaheadReport
    from core.scan import ScanResult
    from core.score_lab import LabResult
    from data.cleaning import CleanTable
    from data.importing.importer import ImportReport
    from data.quality import QualityReport

SCORECARDS_KEPT = 512
MOST_PEERS = 24  # where nothing of the watchlist is held
MOST_CHANGE_BARS = 5_000
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


@dataclass(frozen=True)
class BoardRow:
    """One line of the watchlist board. Without data `card` is None and `problem` says what to do."""

    symbol: str
    price: float | None
    change_24h: float | None
    closes: tuple[float, ...]
    as_of_ms: int | None
    card: Scorecard | None
    problem: str = ""


class Sextant:
    """The workbench. Built by core/wiring.py; safe to share between threads."""

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
        self._configuration = tuple(repr(m.config) for m in modules)
        self._cards: Kept[Scorecard] = Kept(SCORECARDS_KEPT)
        self._timelines: Kept[Timeline] = Kept(TIMELINES_KEPT)
        self._lines: Kept[CompositeLine] = Kept(TIMELINES_KEPT)
        self._qualities: Kept[QualityReport] = Kept(64)

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
        held = self.reader.keys()
        if wanted in held:
            return wanted
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

    def import_upload(self, name: str, content: bytes, *, symbol: str | None = None, interval: str | None = None,
                      market: str | None = None) -> ImportReport:
        """One uploaded file."""
        from data.importing.importer import import_bytes

        return import_bytes(self._store, name, content, **_named(symbol, interval, market), clock_ms=self.clock.now_ms())

    def collector(self, symbols: tuple[str, ...] = (), *, ticks: bool = False, books: tuple[str, ...] = ()) -> Collecting:
        """What keeps the store current in the background; the caller starts and stops it."""
        from core.collecting import Collecting

        return Collecting(self.settings, self.clock, self._store, self.outside, symbols=symbols, ticks=ticks, books=books)

    # -- reading the market -------------------------------------------------------------------------------------

    def view(self, key: SeriesKey, *, at_ms: int | None = None, modules: tuple[ScoreModule, ...] | None = None,
             more_bars: int = 0) -> MarketView:
        """What is known of a symbol at a moment, for some modules or for all and the composites. `more_bars` lengthens the histories,
        for charts of the past."""
        needs = needs_of(self.modules) if modules is None else needs_of(modules, ())
        return build_view(self.reader, key.symbol, key.market, key.interval, needs, at_ms=at_ms,
                          fits=self._fits, more_bars=more_bars, observations=self.observations, peers=self.peers(key))

    def scores(self, key: SeriesKey, *, at_ms: int | None = None) -> Scorecard:
        """All built modules for one symbol; without a time, right after its newest candle."""
        return self._cards.get(self._version(key, at_ms), lambda: score_view(self.view(key, at_ms=at_ms), self.modules))

    def known_card(self, key: SeriesKey) -> Scorecard | None:
        """The newest scorecard if it is computed already: what a page can paint at once."""
        return self._cards.peek(self._version(key))

    def _version(self, key: SeriesKey, *more: Any) -> tuple[Any, ...]:
        """Everything a result depends on: the content of the series and of its group, what is known beside candles, the world, the
        modules' configurations, and the question."""
        group = hashlib.blake2b("".join(self.reader.version(SeriesKey(s, key.interval, key.market)) for s in self.peers(key)).encode())
        other = Market.PERP if key.market is Market.SPOT else Market.SPOT
        beside = (self.reader.version(SeriesKey(key.symbol, key.interval, other)), self.observations.version(key.symbol))
        return (key, self.world, self.reader.version(key), group.hexdigest()[:16], beside, self._configuration, *(more or (None,)))

    def module(self, word: str) -> ScoreModule:
        """A module by letter, slug or command word."""
        from analysis.modules import by_command

        return by_command(word)

    def report(self, word: str, key: SeriesKey, *, at_ms: int | None = None) -> ModuleReport:
        """One module for one symbol."""
        module = self.module(word)
        return module.score(self.view(key, at_ms=at_ms, modules=(module,)))

    def composite(self, name: str, key: SeriesKey, *, at_ms: int | None = None) -> ModuleReport:
        """One composite for one symbol."""
        return self.scores(key, at_ms=at_ms).composite(by_name(name).name)

    def composite_line(self, name: str, key: SeriesKey, bars: int) -> CompositeLine:
        """A composite's history over the newest `bars` bars, for charts."""
        composite = by_name(name)
        return self._lines.get(self._version(key, composite.name, bars), lambda: composite.line(
            Inputs(self.view(key, more_bars=bars - 1), self.modules, bars)))

    def timeline(self, word: str, key: SeriesKey, bars: int) -> Timeline:
        """A module's history over the newest `bars` bars, for charts."""
        module = self.module(word)
        return self._timelines.get(self._version(key, module.letter, bars), lambda: module.timeline(
            self.view(key, modules=(module,), more_bars=bars - 1), bars))

    def known_timeline(self, word: str, key: SeriesKey, bars: int) -> Timeline | None:
        """A module's history if it is computed already."""
        return self._timelines.peek(self._version(key, self.module(word).letter, bars))

    def flips(self, name: str, key: SeriesKey, *, at_ms: int | None = None) -> list[Flip]:
        """What would have to change for a composite's word to be another one, nearest first (X15)."""
        composite = by_name(name)
        return composite.flips(Inputs(self.view(key, at_ms=at_ms), self.modules))

    def what_changed(self, name: str, key: SeriesKey, since_ms: int, at_ms: int | None = None) -> Change:
        """The move of a composite, or of a module, between two moments, split so that the parts add up (X14)."""
        from analysis.composites.changes import what_changed

        if at_ms is not None and at_ms <= since_ms:
            raise InputError(f"the later moment {iso(at_ms)} is not after {iso(since_ms)}; swap --since and --at")
        end = at_ms if at_ms is not None else (self.reader.last_close_ms(key) or since_ms) + 1
        bars = min(MOST_CHANGE_BARS, max(2, (end - since_ms) // key.interval.ms + 2))
        view = self.view(key, at_ms=at_ms, more_bars=bars - 1)
        names = {c.name for c in COMPOSITES}
        wanted = name.strip().lower().replace("-", "_")
        line = Inputs(view, self.modules, bars).composite(by_name(name)) if wanted in names else self.module(name).timeline(view, bars)
        return what_changed(line, since_ms - 1, view.as_of_ms)

    @staticmethod
    def change_document(name: str, change: Change) -> dict[str, Any]:
        """Plain JSON of a change."""
        return {"name": name, "since": iso(change.before_ms), "at": iso(change.after_ms), "before": change.score_before,
                "after": change.score_after, "change": change.change, "parts": dict(change.parts), "raw_parts": dict(change.raw_parts)}

    def scan(self, symbols: tuple[str, ...], intervals: Iterable[str | Interval], market: str | Market = Market.SPOT, *,
             progress: Callable[[int, int, str], None] | None = None) -> ScanResult:
        """Score many symbols at several intervals; the watchlist where none is named."""
        from core.scan import scan

        where = Market.parse(str(market))
        named = tuple(dict.fromkeys(parse_symbol(s) for s in symbols)) or self.symbols(where)
        return scan(self, named, [Interval.parse(str(i)) for i in intervals], where, progress)

    def run_lab(self, symbols: tuple[str, ...], interval: str | Interval, market: str | Market = Market.SPOT, *, bars: int = 8760,
                at_ms: int | None = None, worlds: int = 0, progress: Callable[[int, int, str], None] | None = None) -> LabResult:
        """Judge every score over a history, store the result (X4)."""
        from core.score_lab import run_lab

        named = tuple(dict.fromkeys(symbols)) or self.symbols(Market.parse(str(market)))
        keys = [self.key(symbol, interval, market) for symbol in named]
        return run_lab(self, keys, bars=bars, at_ms=at_ms, worlds=worlds, progress=progress)

    def lab_result(self, interval: str | Interval, market: str | Market = Market.SPOT) -> LabResult | None:
        """The newest stored result for the shown world."""
        from core.score_lab import newest

        return newest(self.settings.home, str(self.world), str(interval), str(market))

    def board(self, symbols: Iterable[str], interval: Interval, market: Market = Market.SPOT) -> Iterator[BoardRow]:
        """Rows of the watchlist, each as soon as it is ready (not in order)."""
        wanted = list(symbols)
        with ThreadPoolExecutor(self.settings.threads, thread_name_prefix="board") as pool:
            for done in as_completed([pool.submit(self.board_row, s, interval, market) for s in wanted]):
                yield done.result()

    def board_row(self, symbol: str, interval: Interval, market: Market = Market.SPOT, *, score: bool = True) -> BoardRow:
        """One row; with `score=False` only what needs no computing."""
        try:
            key = self.key(symbol, interval, market)
            day = max(2, DAY_MS // interval.ms + 1)
            recent = self.candles(key, bars=max(48, day))
            now, before = float(recent.close[-1]), recent.closed_before(int(recent.close_time[-1]) - DAY_MS + 2)
            change = now / float(before.close[-1]) - 1 if len(before) else None
            card = self.scores(key) if score else self.known_card(key)
            return BoardRow(symbol, now, change, tuple(np.round(recent.close[-48:], 10).tolist()), int(recent.close_time[-1]), card)
        except DataError as error:
            return BoardRow(symbol, None, None, (), None, None, str(error))

    def check_lookahead(self, *, cuts: int, poisons: int, progress: Callable[[int, int, str], None] | None = None) -> LookaheadReport:
        """Cut and poison the future of everything registered; the result is kept for the badges."""
        from core.badge import keep
        from core.lookahead import check_everything

        report = check_everything(self.modules, cuts=cuts, poisons=poisons, progress=progress)
        keep(self.settings.home, report, self.clock.now_ms())
        return report

    def lookahead_badge(self, word: str) -> Badge:
        """What the last look-ahead check on this computer said of a module."""
        from core.badge import badge

        return badge(self.settings.home, self.module(word).letter)

    def truth(self) -> dict[str, Any]:
        """What is planted in the simulated world."""
        return self._simulator.truth()


def _named(symbol: str | None, interval: str | None, market: str | None) -> dict[str, Any]:
    """Import options, checked before a file is opened."""
    return {
        "symbol": parse_symbol(symbol) if symbol else None,
        "interval": Interval.parse(interval) if interval else None,
        "market": Market.parse(market) if market else None,
    }
