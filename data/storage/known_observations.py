"""What was known when: stored observations by the time they became available, one venue at a time (X16)."""

from __future__ import annotations

import hashlib
from pathlib import Path

from data.market import DAY_MS, VENUE, Market
from data.observations import WHOLE_MARKET, Kind, Observations, coin_of, home_of
from data.storage.flow_shelf import KEEPING, FlowShelf
from data.storage.observations import ObservationKey, ObservationStore

LONGEST_LAG_MS = 10 * DAY_MS  # rows are kept by event_time; none becomes known later than this after what it describes
STAND_IN_AFTER_MS = DAY_MS  # another venue's rows are shown where the exchange's own end this much earlier


class StoredObservations:
    """An `ObservationReader` over the store. Another venue's series stands in as a whole, under its own provenance, never mixed in."""

    def __init__(self, store: ObservationStore, folder: Path, flow: FlowShelf) -> None:
        self._store, self._flow = store, flow
        self._folder = folder / "observations"

    def known(self, symbol: str, kind: Kind, market: Market, start_ms: int, at_ms: int) -> Observations:
        """Rows with start <= available_time < at; empty, with `note` saying why, when there are none."""
        if kind in KEEPING:
            return self._flow.known(symbol, kind, market, start_ms, at_ms)
        home, where = home_of(symbol, kind, str(market))
        best, newest = Observations.empty(kind, note=f"no {kind} of {home} is stored; the collector fetches it where a source answers"), 0
        for venue in self._venues(home, where):
            rows = self._store.read(ObservationKey(home, kind, where, venue), start_ms - LONGEST_LAG_MS, at_ms).known_at(at_ms)
            rows = rows.take(rows.available_time >= start_ms)
            if len(rows) and int(rows.available_time[-1]) > newest + (STAND_IN_AFTER_MS if newest else 0):
                best, newest = rows, int(rows.available_time[-1])
        return best

    def version(self, symbol: str) -> str:
        """Changes when any stored series of the symbol, its coin or the whole market does."""
        seen = hashlib.blake2b(digest_size=12)
        for home in (symbol, coin_of(symbol), WHOLE_MARKET):
            for path in sorted(self._folder.glob(f"*/*/{home}/*/manifest.json")):
                seen.update(f"{path.parent.name}/{path.parts[-5]} {_state(path)}".encode())
        for path in sorted(self._folder.parent.glob(f"flow/*/{symbol}/minute/*.parquet"))[-1:]:
            seen.update(f"{path.name} {_state(path)}".encode())
        return seen.hexdigest()

    def _venues(self, home: str, where: str) -> list[str]:
        """Venues that hold anything of a symbol, the exchange itself first."""
        names = {path.parts[-3] for path in self._folder.glob(f"*/{where}/{home}")}
        return sorted(names, key=lambda name: (name != VENUE, name))


def _state(path: Path) -> str:
    """What a replaced file shows at a look; the inode tells two writes within one tick of the file system's clock apart."""
    try:
        found = path.stat()
    except OSError:  # its time was over a moment ago
        return "gone"
    return f"{found.st_mtime_ns} {found.st_size} {found.st_ino}"
