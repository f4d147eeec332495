"""To be planted."""

from __future__ import annotations

from data.market import Provenance
from data.observations import Kind, Observations
from data.simulator.observed import World

KINDS: tuple[Kind, ...] = ()


def observed(world: World, kind: Kind, start_ms: int, at_ms: int) -> Observations:
    """Rows with start <= available_time < at."""
    return Observations.empty(kind, provenance=Provenance.SIMULATED)
