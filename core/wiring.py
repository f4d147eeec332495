"""The only place where constructors meet: from settings to a running Sextant."""

from __future__ import annotations

import os
from pathlib import Path

from core.jobs import Jobs
from core.outside import Outside
from core.settings import Settings, load_settings
from core.sextant import Sextant, World
from data.clock import Clock, SystemClock
from data.kernel import use_cache_folder


def build(settings: Settings | None = None, clock: Clock | None = None) -> Sextant:
    """Sextant on the given settings (else those in force) and clock (else the computer's).

    The world is real when the settings say so, the store holds any series or an exchange host answers within two seconds; else
    simulated (decisions.md 1).
    """
    settings = settings or load_settings()
    clock = clock or SystemClock()
    use_cache_folder(str(settings.home / "cache" / "kernels"))

    from analysis.fits import FitCache
    from analysis.modules import MODULES
    from core.logbook import open_logbook
    from data.simulator.market import SimulatedExchange
    from data.simulator.observed import SimulatedObservations
    from data.storage.candles import CandleStore
    from data.storage.flow_shelf import FlowShelf
    from data.storage.known_observations import StoredObservations

    open_logbook(settings.home / "logs")
    folder = settings.home / ("loopback" if settings.endpoint else "real")
    store = CandleStore(folder)
    if settings.endpoint:
        world: World | None = World.LOOPBACK
    elif settings.world != "auto":
        world = World(settings.world)
    else:
        world = World.REAL if store.keys() else None  # found out when somebody asks: the probe may take two seconds
    outside = Outside(settings, clock, store, folder)
    simulator = SimulatedExchange(settings.simulator_seed, clock)
    return Sextant(settings=settings, clock=clock, store=store, simulator=simulator,
                   stored=StoredObservations(outside.observations(), folder, FlowShelf(folder / "flow")),
                   simulated=SimulatedObservations(settings.simulator_seed, simulator, clock),
                   fits=FitCache(settings.home / "cache" / "fits"), modules=MODULES, world=world, outside=outside,
                   jobs=Jobs(settings.home, clock))


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
