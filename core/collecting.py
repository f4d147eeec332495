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

from core.logbook import unexpected
from core.outside import Outside, stream_bases
from core.settings import Settings
from data.clock import Clock
from data.errors import LockHeld, SextantError
from data.market import HOUR_MS, MINUTE_MS, Interval, Market, Provenance, SeriesKey
from data.storage.candles import CandleStore

if TYPE_CHECKING:
    from data.collector import Progress
    from data.frames import Candles
    from data.streams.line import Sleep
    from data.streams.live import HealthRow, LiveStreams

HISTORY_BARS = 4_000  # past the longest history a module declares
DAILY_BARS = 1_000
AFTER_CLOSE_S = 3.0  # a closing candle is final by then
AGAIN_MS = 30_000  # after so long a candle that REST did not have or give is asked for again
HISTORY_AGAIN_MS = 15 * MINUTE_MS
STREAMS_AGAIN_MS = MINUTE_MS
LOOK_S = 1.0
LOOKED_AT_S = 0.5  # a lock held for longer is a collector's, not somebody's look at it


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
        self._lock = FileLock(settings.home / "collector.lock", thread_local=False)  # taken by who starts, given back by the thread
        self._changing = threading.Lock()
        self._behind: set[SeriesKey] = set()  # whose history could not be had whole
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._streams: LiveStreams | None = None
        self._words = "Not started"
        self._lacking: tuple[str, ...] = ()
        self._state = "stopped"

    def start(self) -> None:
        """Begin in the background. Where the home cannot be written nothing begins, and the state says why.

        Raises
        ------
        LockHeld
            When another process collects into this home already, or this one has not yet ended what it was told to stop.
        """
        with self._changing:
            if self.running:
                if self._stop.is_set():
                    raise LockHeld("the collector is still ending its last request; start it again in a moment")
                return
            try:
                self._settings.home.mkdir(parents=True, exist_ok=True)
                self._lock.acquire(timeout=LOOKED_AT_S)
            except Timeout:
                self._state, self._words = "elsewhere", "another process collects into this folder"
                raise LockHeld(f"{self._words} ({self._settings.home}); stop it first or let it go on") from None
            except OSError as error:
                self._state = "interrupted"
                self._words = f"{self._settings.home} cannot be written ({error.strerror or error}): nothing is collected"
                return
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, name="sextant-collector", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the streams and the thread; what is queued is stored first. One that hangs in a request is left to end by itself."""
        self._stop.set()
        thread = self._thread
        if thread is not None:
            thread.join(20)

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def state(self) -> CollectorState:
        if self._state == "elsewhere" and self._free():
            self._state, self._words = "stopped", "the process that collected has ended; nothing is collected until it is started again"
        rows = tuple(self._streams.health()) if self._streams is not None else ()
        if self._state == "live" and rows:
            bad = [row for row in rows if not row.good]
            return CollectorState("interrupted" if bad else "live", bad[0].words if bad else rows[0].words, rows,
                                  self._lacking)
        return CollectorState(self._state, self._words, rows, self._lacking)

    def _free(self) -> bool:
        """Whether nobody holds the folder any more."""
        with self._changing:
            try:
                with self._lock.acquire(timeout=0):
                    return not self.running
            except OSError:  # Timeout is one
                return False

    # -- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._outside.aggregator().start_probe()
            self._state = "fetching history"
            self._history(self.keys)
            if self._stop.is_set():
                return
            self._streams = self._live_streams()
            self._streams.start()
            self._state, self._words = "live", "Streams are starting"
            self._attend(self._streams)
        except SextantError as error:
            self._state, self._words = "interrupted", str(error)
        except Exception as error:  # noqa: BLE001 - a thread that ends in silence would leave its last words standing
            self._state, self._words = "interrupted", f"collecting ended ({unexpected(error)}); details are in the log"
        finally:
            if self._streams is not None:
                self._streams.stop()
            self._state = "stopped" if self._stop.is_set() else self._state
            self._lock.release()

    def _history(self, keys: Sequence[SeriesKey]) -> None:
        """What the modules need of the past, and holes in it; whatever fails is tried again every quarter of an hour."""
        for n, key in enumerate(keys, start=1):
            if self._stop.is_set():
                return
            what = self._words = f"Fetching the history of {key} ({n} of {len(keys)})"
            now, last = self._clock.now_ms(), self._store.last_close_ms(key)
            start = now - (DAILY_BARS if key.interval is Interval.D1 else HISTORY_BARS) * key.interval.ms
            if last is not None:  # what lies behind it may have been away for longer
                start = min(start, last + 1 - key.interval.ms)

            def tell(step: Progress, what: str = what) -> None:
                self._words = f"{what}: {step.note}" if step.note else what

            failed = ""
            try:
                report = self._outside.backfill([key], start, now, progress=tell, cancelled=self._stop.is_set)
                failed = "; ".join(one.failed for one in report.series if one.failed)
            except SextantError as error:
                failed = str(error)
            self._behind.discard(key)
            if failed:
                self._behind.add(key)
                self._words = failed

    def _observe(self) -> None:
        """Positioning and macro series; what cannot be had now is asked for again in an hour."""
        symbols = tuple(dict.fromkeys(key.symbol for key in self.keys))
        try:
            found = self._outside.observe(symbols, cancelled=self._stop.is_set)
            self._lacking = tuple(one.words for one in found if one.failed)
        except SextantError as error:
            self._lacking = (str(error),)

    def _attend(self, streams: LiveStreams) -> None:
        """Positioning every hour, a history that is not whole every quarter; and while the streams are not live, REST fetches each
        candle after its close. Nothing that goes wrong in one round keeps the next from coming."""
        now = self._clock.now_ms()
        settled = {key: _due_ms(key, now) for key in self.keys}
        tried, observed_ms, history_ms, restarted_ms = dict.fromkeys(self.keys, 0), 0, now, now
        while not self._stop.wait(self._look_s):
            try:
                now = self._clock.now_ms()
                if _passed(observed_ms, now, HOUR_MS):
                    observed_ms = now
                    self._observe()
                if self._behind and _passed(history_ms, now, HISTORY_AGAIN_MS):
                    history_ms = now
                    self._history(tuple(key for key in self.keys if key in self._behind))
                if not streams.running and _passed(restarted_ms, now, STREAMS_AGAIN_MS):
                    restarted_ms = now
                    streams.start()  # its thread broke; why stands in the log and in its health row
                if streams.running and all(row.good for row in streams.health()):
                    continue
                for key in self.keys:
                    now = self._clock.now_ms()
                    due = _due_ms(key, now)
                    if settled[key] != due and _passed(tried[key], now, AGAIN_MS) and not self._stop.is_set():
                        tried[key] = now
                        if self._closed(key):
                            settled[key] = due
            except Exception as error:  # noqa: BLE001 - the next round comes all the same
                self._words = f"a round of the collector failed ({unexpected(error)}); details are in the log"
                self._stop.wait(10 * self._look_s)

    def _closed(self, key: SeriesKey) -> bool:
        """Fetch what closed since the last stored candle; whether nothing is missing now."""
        try:
            report = self._outside.catch_up([key], most_bars=500, cancelled=self._stop.is_set)
        except SextantError as error:
            self._words = str(error)
            return False
        failed = [one.failed for one in report.series if one.failed]
        self._words = failed[0] if failed else self._words
        return not failed and not any(one.unresolved_bars for one in report.series)

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


def _due_ms(key: SeriesKey, now_ms: int) -> int:
    """When the newest candle that is final by now became it."""
    after = int(AFTER_CLOSE_S * 1000)
    return key.interval.floor(now_ms - after) + after


def _passed(then_ms: int, now_ms: int, wait_ms: int) -> bool:
    """Whether the wait is over; a clock that was set back ends it too."""
    return not 0 <= now_ms - then_ms < wait_ms
