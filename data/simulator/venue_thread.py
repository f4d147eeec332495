"""The venue in a thread of its own, for programs and tests whose own loop is busy or that have none."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from data.clock import Clock
from data.simulator.faults import Fault
from data.simulator.venue import Venue, VenueOptions
from data.simulator.venue_hosts import Host, VenueUrls

START_PATIENCE_S = 30.0


class VenueHandle:
    """A running venue, from outside: `urls`, and its coroutines as plain calls."""

    def __init__(self, venue: Venue, loop: asyncio.AbstractEventLoop) -> None:
        self.venue = venue
        self.urls = venue.urls
        self._loop = loop

    def call(self, coroutine: Any, patience_s: float = 120.0) -> Any:
        """Run a coroutine in the venue's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(patience_s)

    def advance(self, ms: int) -> int:
        """Move the virtual clock; returns when everything due has been sent."""
        return self.call(self.venue.advance(ms))


@contextmanager
def running_venue(clock: Clock, options: VenueOptions | None = None, script: tuple[Fault, ...] = ()) -> Iterator[VenueHandle]:
    """A venue that runs while the block does."""
    ready: list[VenueHandle | BaseException] = []
    started, stop = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        venue = Venue(clock, options or VenueOptions(), script)
        try:
            await venue.start()
            ready.append(VenueHandle(venue, loops[0]))
        except OSError as error:
            ready.append(error)
            started.set()
            return
        started.set()
        await stop.wait()
        await venue.stop()

    thread = threading.Thread(target=lambda: asyncio.run(main()), name="sextant-venue", daemon=True)
    thread.start()
    if not started.wait(START_PATIENCE_S):
        raise TimeoutError("the venue did not start; is its port in use?")
    if isinstance(ready[0], BaseException):
        raise ready[0]
    try:
        yield ready[0]
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(10)


def serve_forever(port: int, seed: int, faults: tuple[Fault, ...], clock: Clock, *, blocked: frozenset[Host] = frozenset(),
                  announce: Callable[[VenueUrls], None] = lambda urls: None) -> None:
    """What `python -m core exchange` runs: the venue until the process is interrupted.

    Parameters
    ----------
    port : int
        Of the api host; the other hosts follow on the next ports in the order of `Host`. 0 takes free ones.
    announce : callable
        Told the addresses once the venue listens.
    """
    async def main() -> None:
        async with Venue(clock, VenueOptions(seed=seed, port=port, blocked=blocked), faults) as venue:
            announce(venue.urls)
            await asyncio.Event().wait()

    with suppress(KeyboardInterrupt):
        asyncio.run(main())
