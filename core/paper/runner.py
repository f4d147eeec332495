"""The runner: one process that brings the paper account forward after each candle, for as long as it lives.

What is due is worked out from stored state, never from timers, so the normal start and the recovery after a crash are the same: take
the lock, verify, catch up, go on. Pages talk to it through the database alone.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from loguru import logger

from core.hindrance import hindrance, paused_words
from core.logbook import unexpected
from core.paper.broker import Ahead, Broker, Hook, Step
from core.paper.feed import Feed
from core.paper.ledger import Ledger, Transaction
from core.paper.verify import verify
from data.clock import Clock, age_text, iso
from data.errors import DamagedState, DataError, LockHeld, SextantError

if TYPE_CHECKING:
    from core.forecasting import Forecasting

LOCK_WAIT_S = 1.0
LOOK_S = 0.5
BEAT_MS = 5_000
SILENT_MS = 60_000
AT_ONCE = 100  # bars between two beats while much is caught up
CLOCK_TOLERANCE_MS = 2_000
NOT_RUNNING = "not running"


class RunnerState:
    """What the runner says of itself, in an unchained row: owner, beat, words, and whether it is asked to stop."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger, self._clock = ledger, clock

    def read(self) -> dict[str, Any]:
        """The row, with `alive`: beaten within the last minute and not ended. Empty before the first start."""
        if not self._ledger.path.exists():
            return {}
        with self._ledger.reading() as db:
            row = db.execute("select content from runner").fetchone()
        if row is None:
            return {}
        found: dict[str, Any] = json.loads(row[0])
        return found | {"alive": found["state"] != "ended" and self._clock.now_ms() - found["beat_ms"] < SILENT_MS}

    def write(self, **changes: Any) -> None:
        with self._ledger.writing() as db:
            row = db.execute("select content from runner").fetchone()
            content = (json.loads(row[0]) if row else {}) | changes
            db.execute("insert into runner (one, content) values (1, ?) on conflict (one) do update set content = excluded.content",
                       (json.dumps(content),))


class Runner:
    """Drives one broker. `ahead` is called before each bar's transaction and `hooks` inside it, `restarted` inside the one that says a
    crash is over, `idle` between looks: what fails there is logged and never ends the runner. `tell` takes what the ledger cannot."""

    def __init__(self, sextant: Forecasting, ledger: Ledger, broker: Broker, *, hooks: Sequence[Hook] = (), ahead: Ahead | None = None,
                 restarted: Callable[[Transaction, Mapping[str, Any]], None] | None = None, idle: Sequence[Callable[[], None]] = (),
                 tell: Callable[[str], None] = logger.warning, sleep: Callable[[float], None] = time.sleep) -> None:
        self._sextant, self._ledger, self._broker, self._sleep, self._tell = sextant, ledger, broker, sleep, tell
        self._hooks, self._ahead, self._restarted, self._idle = tuple(hooks), ahead, restarted, tuple(idle)
        self._lock = runner_lock(ledger)
        self._feed = Feed(sextant, broker.account)
        self.state = RunnerState(ledger, sextant.clock)
        self._told, self._hindered, self._said_aloud = "", False, ""
        self._before: dict[str, Any] | None = None  # what the row said before this start

    def run(self, *, once: bool = False) -> list[Step]:
        """Work until asked to stop; with `once`, until nothing is due.

        Raises
        ------
        LockHeld
            Another runner is at work; said within two seconds.
        DamagedState
            The ledger does not hold its invariants: nothing is traded on it.
        DataError
            With `once`, where nothing can be written. Without, the start waits for that like every later moment.
        """
        words = NOT_RUNNING
        try:
            if not (self._when_possible(self._take_lock, once) and self._when_possible(self._begin, once)):
                return []
            if once:
                self._feed.look()
            else:
                self._feed.start()
            done = self._catch_up()
            if once:
                self._beside()
            while not once and not self._asked_to_stop():
                done = self._catch_up()
                self._beside()
                self._sleep(LOOK_S)
            return done
        except SextantError as error:
            words = str(error)
            raise
        except Exception as error:
            words = f"it failed ({unexpected(error)}); details are in the log"
            raise
        finally:
            if self._lock.is_locked:
                with suppress(sqlite3.Error, OSError, SextantError):
                    self.state.write(state="ended", words=words, ended_ms=self._sextant.clock.now_ms())
                self._lock.release()
                self._feed.stop()

    def _when_possible(self, act: Callable[[], None], once: bool) -> bool:
        """Do a step of the start; while nothing can be written, say so and try again. False when asked to stop meanwhile."""
        owner: dict[str, Any] | None = None
        while owner is None or not self._asked_to_stop():
            try:
                act()
            except (OSError, sqlite3.OperationalError) as error:
                why = hindrance(error)
                if not why:
                    raise
                words = paused_words(why, self._ledger.path.parent)
                if once:
                    raise DataError(words) from error
                self._aloud(words)
                if self._before is not None:  # else it would pass for the row of a runner that was cut off
                    with suppress(sqlite3.OperationalError):
                        now = self._sextant.clock.now_ms()
                        self.state.write(**(self._owner() if owner is None else {"beat_ms": now}), state="paused", words=words)
                        owner = self._owner()
                self._sleep(LOOK_S)
            else:
                return True
        return False

    def _asked_to_stop(self) -> bool:
        try:
            return bool(self.state.read().get("stop"))
        except sqlite3.OperationalError as error:
            if not hindrance(error):
                raise
            return False

    def _beside(self) -> None:
        """Alerts, reports, grades: on a full disk they wait like the rest."""
        for act in self._idle:
            try:
                act()
            except Exception as error:  # noqa: BLE001 - logged under a code; trading does not end with it
                if not hindrance(error):
                    unexpected(error)

    def _take_lock(self) -> None:
        self._ledger.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=LOCK_WAIT_S)
        except Timeout:
            owner = self.state.read()
            since = f" since {iso(owner['started_ms'])} (host {owner['host']}, process {owner['pid']})" if owner else ""
            raise LockHeld(f"a runner is already running{since}; stop it first, on the Paper page or with python -m core paper "
                           "stop") from None

    def _owner(self) -> dict[str, Any]:
        now = self._sextant.clock.now_ms()
        return {"host": socket.gethostname(), "pid": os.getpid(), "started_ms": now, "beat_ms": now, "stop": False}

    def _begin(self) -> None:
        if self._before is None:
            before = self.state.read()
            faults = verify(self._ledger) if self._ledger.path.exists() else []
            if faults:
                raise DamagedState(f"the ledger is not sound, nothing is traded: {faults[0]}"
                                   f"{f' (and {len(faults) - 1} more)' if len(faults) > 1 else ''}; restore the newest backup, run: "
                                   "python -m core restore FILE")
            self._before = before
        before = self._before
        self.state.write(**self._owner(), state="starting", words="verified, catching up")
        now, crashed = self._sextant.clock.now_ms(), bool(before) and before.get("state") not in (None, "ended")
        with self._ledger.transaction(now, "start") as change:
            change.add("audit", {"at_ms": now, "kind": "restarted" if crashed else "started",
                                 "words": "runner restarted after it was cut off" if crashed else "runner started", "content": "{}"})
            if crashed and self._restarted is not None:
                self._restarted(change, before)

    def _catch_up(self) -> list[Step]:
        """Everything due, a bar at a time; what hinders it becomes words, and is tried again at the next look."""
        steps: list[Step] = []
        try:
            wait = self._waits()
            if wait:
                self._say("waiting", wait)
                return []
            while True:
                some = self._broker.step(most_bars=AT_ONCE, hook=self._hook, ahead=self._ahead)
                steps += some
                if len(some) < AT_ONCE or self._asked_to_stop():
                    break
                self._beat()
        except (OSError, sqlite3.OperationalError) as error:
            why = hindrance(error)
            if why:
                self._say("paused", paused_words(why, self._ledger.path.parent))
                return []
            if isinstance(error, sqlite3.OperationalError):
                raise
            words = f"a file could not be read ({error.strerror or type(error).__name__}); details are in the log"
            if words != self._told:
                unexpected(error)
            self._say("waiting", words)
            return []
        except DamagedState:
            raise
        except SextantError as error:
            self._say("waiting", str(error))
            return []
        if steps:
            late = sum(s.late for s in steps)
            self._say("running", f"{len(steps)} bar{'s' if len(steps) > 1 else ''} recorded up to {iso(steps[-1].closed_ms)}"
                      + (f", {late} too late to enter on" if late else ""))
        elif behind := self._broker.behind():
            self._say("waiting", f"{behind} ({self._feed.words})" if self._feed.words else behind)
        elif self._told == "" or self._hindered:
            self._say("running", "nothing is due")
        else:
            self._beat()
        return steps

    def _hook(self, change: Transaction, step: Step) -> None:
        for hook in self._hooks:
            hook(change, step)

    def _waits(self) -> str:
        """Why nothing may be decided now; empty when all is well."""
        account = self._broker.account()
        if account is None:
            return "no paper account is open yet"
        now = self._sextant.clock.now_ms()
        newest = self._broker.newest_bar(account)
        if newest is not None and now < int(newest["at_ms"]) - CLOCK_TOLERANCE_MS:
            return (f"the clock says {iso(now)}, {age_text(int(newest['at_ms']) - now)} before the newest recorded bar closed: it was set "
                    "back. Nothing is decided until it is right")
        closes = [self._sextant.reader.last_close_ms(self._sextant.key(s, account.terms.interval, account.terms.market))
                  for s in account.terms.symbols[:1]]
        ahead = max((c for c in closes if c is not None), default=0) - now
        if ahead > CLOCK_TOLERANCE_MS:
            return (f"the newest candle closed {age_text(ahead)} after the clock's time: the clock is behind. Nothing is decided until it "
                    "is right")
        offset = self._sextant.outside.clock_offset_ms()
        if offset is not None and abs(offset) > CLOCK_TOLERANCE_MS:
            return f"the clock differs from the exchange's by {age_text(abs(offset))}; nothing is decided until it is right"
        return ""

    def _say(self, state: str, words: str) -> None:
        if words == self._told:
            self._beat()
            return
        try:
            self.state.write(state=state, words=words, beat_ms=self._sextant.clock.now_ms())
        except sqlite3.OperationalError:
            self._aloud(words)  # a full disk takes no words either
        else:
            self._told, self._hindered, self._said_aloud = words, state != "running", ""

    def _aloud(self, words: str) -> None:
        """Once, however often it is found: without the figure of free space, which moves."""
        if (cause := words.partition(";")[0]) != self._said_aloud:
            self._said_aloud = cause
            self._tell(words)

    def _beat(self) -> None:
        now = self._sextant.clock.now_ms()
        with suppress(sqlite3.OperationalError):
            if now - self.state.read().get("beat_ms", 0) >= BEAT_MS:
                self.state.write(beat_ms=now)


def runner_lock(ledger: Ledger) -> FileLock:
    """Who holds it works on the ledger's account; the system releases it on death."""
    return FileLock(ledger.path.with_name("runner.lock"))


def owner_words(state: Mapping[str, Any]) -> str:
    """Who runs, for people."""
    if not state:
        return "never started"
    if state["alive"]:
        return f"running since {iso(state['started_ms'])} on {state['host']}: {state['words']}"
    if state["state"] == "ended":
        return NOT_RUNNING if state["words"] == NOT_RUNNING else f"{NOT_RUNNING}: {state['words']}"
    return f"silent since {iso(state['beat_ms'])}: it ended without a word; start it again"
