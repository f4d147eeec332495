"""Every comparison of a symbol's stored series: conflicts kept aside, another venue beside the exchange, mark and index."""

from __future__ import annotations

from typing import TYPE_CHECKING

from data.disagreement import Disagreement, conflicts_disagree, mark_and_index_disagree, venues_disagree
from data.market import VENUE, SeriesKey
from data.observations import Kind
from data.storage.observations import ObservationKey

if TYPE_CHECKING:
    from core.holdings import Holdings

COMPARED = (Kind.FUNDING, Kind.OPEN_INTEREST, Kind.GLOBAL_RATIO, Kind.TAKER_RATIO)


def disagreements(sextant: Holdings, key: SeriesKey) -> tuple[Disagreement, ...]:
    """A row a comparison; nothing where nothing can be compared."""
    from core.holdings import World

    if sextant.world is World.SIMULATED:
        return ()
    found = list(conflicts_disagree(key, sextant.conflicts(key)))
    store = sextant.outside.observations()
    held = store.keys(key.symbol)
    for kind in COMPARED:
        venues = {k.venue: k for k in held if k.kind is kind}
        if VENUE in venues:
            for venue, other in venues.items():
                if venue != VENUE:
                    found.append(venues_disagree(key.symbol, store.read(venues[VENUE]), VENUE, store.read(other), venue))
    mark, index = (ObservationKey(key.symbol, kind, "perp") for kind in (Kind.MARK_PRICE, Kind.INDEX_PRICE))
    if mark in held and index in held:
        found.append(mark_and_index_disagree(key.symbol, store.read(mark), store.read(index)))
    return tuple(found)
