"""The thread in which streams live. Started once, stopped for certain; nobody else starts a thread for a stream."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from traceback import format_exc

from loguru import logger

from data.streams.supervisor import StreamStatus, Supervisor

LOOK_S = 0.5
RESTART_S = 5.0
START_WAIT_S = 10.0
STOP_WAIT_S = 15.0

Chore = Callable[[], Awaitable[None]]  # runs beside the supervisors until cancelled


class StreamService:
    """Owns one event-loop thread with some supervisors in it.

    Parameters
    ----------
    build : callable
        Makes the supervisors and the chores; called in the thread at each start, so that nothing is shared between loops.
    on_stop : callable, optional
        Called in the thread when everything has ended, e.g. to close the recorder.
    """

    def __init__(self, build: Callable[[], tuple[Sequence[Supervisor], Sequence[Chore]]], *, on_stop: Callable[[], None] | None = None,
                 name: str = "sextant-streams") -> None:
        self._build, self._on_stop, self._name = build, on_stop, name
        self._changing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._statuses: tuple[StreamStatus, ...] = ()
        self.failure = ""

    @property
    def running(self) -> bool:
        thread = self._thread
        return thread is not None and thread.is_alive()

    def status(self) -> tuple[StreamStatus, ...]:
        """At most half a second old. Safe to call from any thread."""
        return self._statuses

    def start(self) -> None:
        """Start the thread unless it runs; returns when its loop does."""
        with self._changing:
            if self.running:
                return
            self.failure = ""
            ready = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(ready,), name=self._name, daemon=True)
            self._thread.start()
            ready.wait(START_WAIT_S)

    def stop(self, wait_s: float = STOP_WAIT_S) -> bool:
        """End the thread; True when it is gone. Queued candles are stored first."""
        with self._changing:
            thread, loop, stop = self._thread, self._loop, self._stop
            if thread is None:
                return True
            if loop is not None and stop is not None and thread.is_alive():
                try:
                    loop.call_soon_threadsafe(stop.set)
                except RuntimeError:
                    logger.debug("the loop had ended by itself")
            thread.join(wait_s)
            if thread.is_alive():
                return False
            self._thread = None
            return True

    # -----------------------------------------------------------------------------------------------------------------------

    def _run(self, ready: threading.Event) -> None:
        try:
            asyncio.run(self._main(ready))
        except Exception as error:  # noqa: BLE001 - the health row and the log say it
            self.failure = f"{type(error).__name__}: {error}"[:200]
            logger.error("the stream thread ended unexpectedly\n{}", format_exc())
        finally:
            self._loop = self._stop = None
            ready.set()
            if self._on_stop is not None:
                self._on_stop()

    async def _main(self, ready: threading.Event) -> None:
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        supervisors, chores = self._build()
        tasks = [asyncio.create_task(_for_ever(each.run, each.feed.name)) for each in supervisors]
        tasks += [asyncio.create_task(_for_ever(each, "a chore of the streams")) for each in chores]
        ready.set()
        try:
            while not self._stop.is_set():
                self._statuses = tuple(each.status() for each in supervisors)
                try:
                    await asyncio.wait_for(self._stop.wait(), LOOK_S)
                except TimeoutError:
                    continue
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._statuses = tuple(each.status() for each in supervisors)


async def _for_ever(work: Callable[[], Awaitable[None]], name: str) -> None:
    """A supervisor never ends by itself; if one does, that is a bug, and the stream must come back all the same."""
    while True:
        try:
            await work()
        except Exception:  # noqa: BLE001 - said in the log, begun again
            logger.error("{} ended unexpectedly\n{}", name, format_exc())
        await asyncio.sleep(RESTART_S)
