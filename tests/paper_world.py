"""A paper account on the simulated exchange, recorded bar by bar under a clock that is moved by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.paper.window import Terms
from core.settings import Settings
from core.sextant import Sextant
from core.wiring import build
from data.clock import parse_time

MINUTE = 60_000
START = parse_time("2026-09-01T08:00:00Z")
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")


@dataclass
class HandClock:
    """A clock that stands still until somebody moves it."""

    ms: int = START

    def now_ms(self) -> int:
        return self.ms


def workbench(home: Path, clock: HandClock) -> Sextant:
    return build(Settings(home=home, world="simulated", network="off"), clock)


def recorded(home: Path, clock: HandClock, *, bars: int, rule: str = "ema_cross", symbols: tuple[str, ...] = SYMBOLS) -> Sextant:
    """A spot account at 1m, opened a second after the clock's time and brought forward so many bars, each seen in time."""
    sextant = workbench(home, clock)
    clock.ms += 1_000
    sextant.paper_open(Terms(symbols, rule, {}, {"interval": "1m", "market": "spot"}))
    forward(sextant, clock, bars)
    return sextant


def forward(sextant: Sextant, clock: HandClock, bars: int) -> None:
    """Let so many candles close, each recorded three seconds later."""
    for _ in range(bars):
        clock.ms = clock.ms // MINUTE * MINUTE + MINUTE + 3_000
        sextant.broker.step()
