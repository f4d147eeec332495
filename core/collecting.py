"""Keeping the store up to date: history first, then the streams, and REST at each candle's close while the streams are away.

One collector per home folder: `python -m core collect` or the app's background service, whichever came first holds the lock, the
other only reads.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from core.outside import Outside, stream_bases
from core.settings import Settings
from data.clock import Clock
from data.errors import LockHeld, SextantError
from data.market import HOUR_MS, Interval, Market, Provenance, SeriesKey
from data.storage.candles import CandleStore

if TYPE_CHECKING:
    from data.collector import Progress
    from data.frames import Candles
    from data.streams.line import Sleep
    from data.streams.live import HealthRow, LiveStreams

HISTORY_BARS = 4_000  # past the longest history a module declares
DAILY_BARS = 1_000
AFTER_CLOSE_S = 3.0  # a closing candle is final by then
LOOK_S = 1.0


@dataclass(frozen=True)
class CollectorState:
    """`state`: stopped, fetching history, live, interrupted, or elsewhere (another process collects). `words` is for people,
    `lacking` names the positioning and macro series that could not be had."""

    state: str
    words: str
    rows: tuple[HealthRow, ...] = ()
    lacking: tuple[str, ...] = ()


class Collecting:
    """A background thread that keeps `keys` current. Start and stop are safe to call twice; errors become words, never an end.

    `sleep` is what the streams wait by; a test whose clock runs faster gives its own, and looks around more often (`look_s`).
    """

    def __init__(self, settings: Settings, clock: Clock, store: CandleStore, outside: Outside, *, symbols: Sequence[str] = (),
                 ticks: bool = False, books: Sequence[str] = (), sleep: Sleep = asyncio.sleep, look_s: float = LOOK_S) -> None:
        self._settings, self._clock, self._store, self._outside = settings, clock, store, outside
        self._sleep, self._look_s = sleep, look_s
        watched = tuple(symbols) or settings.watchlist
        self.keys = tuple(SeriesKey(s, i, settings.market) for i in dict.fromkeys((settings.interval, Interval.D1)) for s in watched)
        self._ticks, self._books = ticks, tuple(books)
        self._lock = FileLock(settings.home / "collector.lock")
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._streams: LiveStreams | None = None
        self._words = "Not started"
        self._lacking: tuple[str, ...] = ()
        self._state = "stopped"

    def start(self) -> None:
        """Begin in the background.

        Raises
        ------
        LockHeld
            When another process collects into this home already.
        """
        if self.running:
            return
        self._settings.home.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            self._state, self._words = "elsewhere", "another process collects into this folder"
            raise LockHeld(f"{self._words} ({self._settings.home}); stop it first or let it go on") from None
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="sextant-collector", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the streams and the thread; what is queued is stored first."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(20)
        self._thread = None

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def state(self) -> CollectorState:
        rows = tuple(self._streams.health()) if self._streams is not None else ()
        if self._state == "live" and rows:
            bad = [row for row in rows if not row.good]
            return CollectorState("interrupted" if bad else "live", bad[0].words if bad else rows[0].words, rows,
                                  self._lacking)
        return CollectorState(self._state, self._words, rows, self._lacking)

    # -- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._outside.aggregator().start_probe()
            self._history()
            if self._stop.is_set():
                return
            self._streams = self._live_streams()
            self._streams.start()
            self._state, self._words = "live", "Streams are starting"
            self._attend(self._streams)
        except SextantError as error:
            self._state, self._words = "interrupted", str(error)
        finally:
            if self._streams is not None:
                self._streams.stop()
            self._state = "stopped" if self._stop.is_set() else self._state
            self._lock.release()

    def _history(self) -> None:
        """What the modules need of the past; whatever fails is tried again by the streams' own catching up."""
        self._state = "fetching history"
        for n, key in enumerate(self.keys, start=1):
            if self._stop.is_set():
                return
            what = self._words = f"Fetching the history of {key} ({n} of {len(self.keys)})"
            bars = DAILY_BARS if key.interval is Interval.D1 else HISTORY_BARS

            def tell(step: Progress, what: str = what) -> None:
                self._words = f"{what}: {step.note}" if step.note else what

            try:
                self._outside.catch_up([key], most_bars=bars, progress=tell, cancelled=self._stop.is_set)
            except SextantError as error:
                self._words = str(error)

    def _observe(self) -> None:
        """Positioning and macro series; what cannot be had now is asked for again in an hour."""
        symbols = tuple(dict.fromkeys(key.symbol for key in self.keys))
        try:
            found = self._outside.observe(symbols, cancelled=self._stop.is_set)
            self._lacking = tuple(one.words for one in found if one.failed)
        except SextantError as error:
            self._lacking = (str(error),)

    def _attend(self, streams: LiveStreams) -> None:
        """Positioning every hour; and while the streams are not live, REST fetches each candle after its close."""
        asked = {key: self._clock.now_ms() for key in self.keys}
        observed_ms = 0
        while not self._stop.wait(self._look_s):
            if self._clock.now_ms() - observed_ms >= HOUR_MS:
                observed_ms = self._clock.now_ms()
                self._observe()
            if streams.running and all(row.good for row in streams.health()):
                continue
            now = self._clock.now_ms()
            for key in self.keys:
                due = key.interval.floor(now) + int(AFTER_CLOSE_S * 1000)
                if asked[key] < due <= now and not self._stop.is_set():
                    asked[key] = now
                    try:
                        self._outside.catch_up([key], most_bars=500)
                    except SextantError as error:
                        self._words = str(error)

    def _live_streams(self) -> LiveStreams:
        from data.storage.flow_shelf import FlowShelf
        from data.streams.live import LiveStreams, Plan, Sources
        from data.streams.recorder import TickRecorder

        spot, futures = stream_bases(self._settings.endpoint)
        provenance = Provenance.SIMULATED if self._settings.endpoint else Provenance.LIVE

        def keep(key: SeriesKey, candles: Candles, source: str) -> object:
            return self._store.append(key, candles, provenance=provenance, source=source)

        newest = {}
        for key in self.keys:
            last = self._store.last_close_ms(key)
            if last is not None:
                newest[key] = key.interval.floor(last)
        market = self._settings.market
        traded = dict.fromkeys(k.symbol for k in self.keys) if self._ticks else self._books  # order flow wants trades beside the book
        plan = Plan(series=self.keys, books=tuple((market, s) for s in self._books), spot_base=spot, futures_base=futures,
                    ticks=tuple((market, s) for s in traded))
        flow = FlowShelf(self._outside.folder / "flow") if self._books else None
        if flow is not None:
            flow.prune(self._clock.now_ms())  # also of symbols that are not followed any more
        recorder = TickRecorder(self._outside.folder / "ticks") if self._ticks or self._books else None
        sources = Sources(store=keep, candles=self._outside.closed_candles(), newest=newest, recorder=recorder, flow=flow,
                          flow_provenance=str(provenance),
                          snapshots={m: self._outside.snapshot_taker(m) for m in Market})
        return LiveStreams(plan, sources, clock=self._clock, random=Random(self._clock.now_ms()), sleep=self._sleep)
