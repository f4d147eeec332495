"""The facade's verbs that judge a market: views, scores, composites, what changed, the scan, the score lab, the look-ahead check."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.composites import COMPOSITES, CompositeLine, Inputs, by_name
from analysis.composites.beside import DataConfidence
from analysis.kept_rows import KeptRows
from analysis.module import ScoreModule, Timeline
from analysis.report import ModuleReport
from analysis.scorecard import Scorecard, needs_of, score_view
from core.holdings import Holdings
from data.clock import iso
from data.errors import DataError, InputError
from data.frames import Candles
from data.market import DAY_MS, Interval, Market, SeriesKey, parse_symbol
from data.observations import Kind
from data.view import AccountSnapshot, MarketView, Need, build_view

if TYPE_CHECKING:
    from analysis.composites.changes import Change, Flip
    from analysis.methods.liquidations import LiquidationAssumptions
    from core.badge import Badge
    from core.lookahead import LookaheadReport
    from core.maps import LiquidationPicture
    from core.scan import ScanResult
    from core.score_lab import LabResult

MOST_CHANGE_BARS = 5_000


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


class Judging(Holdings):
    """Verbs over modules and composites, each a few lines of delegation."""

    def view(self, key: SeriesKey, *, at_ms: int | None = None, modules: tuple[ScoreModule, ...] | None = None,
             account: AccountSnapshot | None = None,
             more_bars: int = 0, kept: KeptRows | None = None) -> MarketView:
        """What is known of a symbol at a moment, for some modules or for all and the composites. `more_bars` lengthens the histories,
        for charts of the past; `kept` holds rows that an earlier view has computed."""
        needs = needs_of(self.modules) if modules is None else needs_of(modules, ())
        return build_view(self.reader, key.symbol, key.market, key.interval, needs, at_ms=at_ms,
                          account=account, fits=self._fits, kept=kept, more_bars=more_bars, observations=self.observations,
                          peers=self.peers(key))

    def scores(self, key: SeriesKey, *, at_ms: int | None = None) -> Scorecard:
        """All built modules for one symbol; without a time, right after its newest candle."""
        kept = self._rows if at_ms is None else None  # the past would push out what the next bar goes on from
        return self._cards.get(self._version(key, at_ms), lambda: score_view(self.view(key, at_ms=at_ms, kept=kept), self.modules))

    def known_card(self, key: SeriesKey) -> Scorecard | None:
        """The newest scorecard if it is computed already: what a page can paint at once."""
        return self._cards.peek(self._version(key))

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
        if since_ms >= end:
            raise InputError(f"the newest candle of {key} closed {iso(end - 1)}, not after {iso(since_ms)}; ask for an earlier moment")
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

    def liquidation_picture(self, key: SeriesKey, assumptions: LiquidationAssumptions) -> LiquidationPicture:
        """The estimated liquidation levels of a symbol, what was recorded, and how often the estimate was right (X13)."""
        from core.maps import liquidation_picture

        return self._maps.get(self._version(key, repr(assumptions)), lambda: liquidation_picture(self, key, assumptions))

    def rule_inputs(self, key: SeriesKey, reads: tuple[str, ...], bars: int, *, at_ms: int | None = None) -> tuple[Candles, Inputs | None]:
        """The newest `bars` candles of a series, and the score inputs over exactly those rows for a rule that reads scores."""
        if not reads:
            own = Need(Kind.CANDLES, bars)
            return build_view(self.reader, key.symbol, key.market, key.interval, (own,), at_ms=at_ms).candles(own), None
        modules = self.modules if "*" in reads else tuple(m for m in self.modules if m.letter in reads)
        needs = needs_of(self.modules) if "*" in reads else needs_of(modules, (DataConfidence(),))
        view = build_view(self.reader, key.symbol, key.market, key.interval, needs, at_ms=at_ms, fits=self._fits, more_bars=bars - 1,
                          observations=self.observations, peers=self.peers(key))
        inputs = Inputs(view, modules, bars)
        return inputs.own.tail(len(inputs.close_time)), inputs

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
