"""The only place where constructors meet: from settings to a running Sextant."""

from __future__ import annotations

import os
from pathlib import Path

from core.settings import Settings, load_settings
from core.sextant import Sextant, World
from data.clock import Clock, SystemClock
from data.kernel import use_cache_folder


def build(settings: Settings | None = None, clock: Clock | None = None) -> Sextant:
    """Sextant on the given settings (else those in force) and clock (else the computer's).

    The world is real when the settings say so or the store holds any series; else simulated (decisions.md 1).
    """
    settings = settings or load_settings()
    clock = clock or SystemClock()
    use_cache_folder(str(settings.home / "cache" / "kernels"))

    from analysis.fits import FitCache
    from analysis.modules import MODULES
    from core.logbook import open_logbook
    from data.simulator.market import SimulatedExchange
    from data.store import CandleStore

    open_logbook(settings.home / "logs")
    store = CandleStore(settings.home / "real")
    world = World(settings.world) if settings.world != "auto" else World.REAL if store.keys() else World.SIMULATED
    return Sextant(settings=settings, clock=clock, store=store, simulator=SimulatedExchange(settings.simulator_seed, clock),
                   fits=FitCache(settings.home / "cache" / "fits"), modules=MODULES, world=world)


def home_is_writable(home: Path) -> str:
    """Empty when state can be written, else the reason in words."""
    probe = home / f".probe-{os.getpid()}"
    try:
        home.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        return f"{home} cannot be written: {error.strerror}; free some space or set SEXTANT_HOME to another folder"
    return ""
