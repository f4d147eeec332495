"""Keeps the candles of the paper account coming while its runner lives, whether or not anybody else collects.

The collector of this home (the app's, `core collect`, or one started here) follows the watchlist at one interval; the account may trade
something else. So what the account needs and did not get a few seconds after a close is fetched over REST. The exchange's clock is asked
for again every ten minutes: nothing is decided on a wrong one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from core.hindrance import hindrance
from core.holdings import World
from core.logbook import unexpected
from data.errors import LockHeld, SextantError
from data.market import HOUR_MS, Market, SeriesKey

if TYPE_CHECKING:
    from core.collecting import Collecting
    from core.forecasting import Forecasting
    from core.paper.broker import Account

AFTER_CLOSE_MS = 3_000  # a closing candle is final by then (decisions.md 9)
AGAIN_MS = 10_000
PROBE_MS = 600_000
COLLECT_MS = 60_000
LOOK_S = 1.0
FIRST_LOOK_S = 10.0
MOST_BARS = 4_000


class Feed:
    """`start` and `stop` a thread of `look`s; a runner that works once looks once. Errors become `words`, never an end."""

    def __init__(self, sextant: Forecasting, account: Callable[[], Account | None]) -> None:
        self._sextant, self._account, self.words = sextant, account, ""
        self._asked: dict[SeriesKey, int] = {}
        self._probed_ms = self._observed_ms = 0
        self._collector: Collecting | None = None
        self._thread: threading.Thread | None = None
        self._looked, self._ended = threading.Event(), threading.Event()

    @property
    def wanted(self) -> bool:
        """False where candles come by themselves or nothing may be asked."""
        return self._sextant.outside.allowed and self._sextant.world is not World.SIMULATED

    def start(self) -> None:
        """Begin in the background, the collector too unless another process has it; waits a little for the first look, so that the
        exchange's clock is known before anything is decided."""
        if not self.wanted or self._thread is not None:
            return
        self._collector = self._sextant.collector()
        self._thread = threading.Thread(target=self._run, name="sextant-feed", daemon=True)
        self._thread.start()
        self._looked.wait(FIRST_LOOK_S)

    def stop(self) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join(20)
        if self._collector is not None:
            self._collector.stop()

    def look(self) -> None:
        """One round: the account's candles that are behind, then the clock, and funding every hour."""
        if not self.wanted:
            return
        sextant, now = self._sextant, self._sextant.clock.now_ms()
        try:
            account = self._account()
            late = [] if account is None else self._late(account, now)
            if late:
                self._asked |= dict.fromkeys(late, now)
                sextant.outside.catch_up(late, most_bars=MOST_BARS, cancelled=self._ended.is_set)
            if now - self._probed_ms >= PROBE_MS:
                self._probed_ms = now
                sextant.outside.probe()
            if account is not None and account.terms.market is Market.PERP and now - self._observed_ms >= HOUR_MS:
                self._observed_ms = now
                sextant.outside.observe(account.terms.symbols, cancelled=self._ended.is_set)
            self.words = ""
        except SextantError as error:
            self.words = str(error)
        except Exception as error:  # noqa: BLE001 - trading goes on with what is stored
            self.words = f"candles could not be fetched ({hindrance(error) or unexpected(error)})"

    def _late(self, account: Account, now: int) -> list[SeriesKey]:
        """Series without the candle that closed a few seconds ago, and not asked for just now."""
        interval = account.terms.interval
        newest = interval.floor(now - AFTER_CLOSE_MS) - 1
        out = []
        for symbol in account.terms.symbols:
            key = SeriesKey(symbol, interval, account.terms.market)
            last = self._sextant.reader.last_close_ms(key)
            if (last is None or last < newest) and now - self._asked.get(key, 0) >= AGAIN_MS:
                out.append(key)
        return out

    def _run(self) -> None:
        tried_ms = 0
        while not self._ended.is_set():
            now = self._sextant.clock.now_ms()
            if self._collector is not None and not self._collector.running and now - tried_ms >= COLLECT_MS:
                tried_ms = now
                with suppress(LockHeld):  # somebody else does it; asked again, for that one may end
                    self._collector.start()
            self.look()
            self._looked.set()
            self._ended.wait(LOOK_S)
