"""Condensed order flow on disk, bounded: seconds of the last two days, minutes of the last thirty.

    <folder>/<market>/<SYMBOL>/second/2026-11-20T08.parquet    an hour of seconds
                              /minute/2026-11-20T00.parquet    a day of minutes

The file of the running hour or day is written again with what was added, whole and durable; a kill costs at most what was not stored yet.
Rows carry the digest of observation parts: a damaged file is set aside and named. One process writes, any may read.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from loguru import logger

from data.clock import iso
from data.errors import DamagedState, DataError
from data.market import DAY_MS, HOUR_MS, Market, parse_symbol, worst_provenance
from data.observations import COLUMNS_OF, Kind, Observations
from data.storage.durable import Fault, make_folder, no_fault, read_whole, remove_leftovers, replace_file
from data.storage.observation_parts import ObservationPart, decode, encode, names_of

Sampled = tuple[str, Observations, Observations]  # symbol, closed seconds, closed minutes

@dataclass(frozen=True)
class _Keeping:
    name: str
    file_ms: int
    keep_ms: int


KEEPING = {Kind.SECOND_FLOW: _Keeping("second", HOUR_MS, 2 * DAY_MS), Kind.MINUTE_FLOW: _Keeping("minute", DAY_MS, 30 * DAY_MS)}
WAITING_MOST = 2_000  # batches kept while the disk refuses; then the oldest go
NOT_RECORDED = "no books and trades were recorded; start the collector with books and trades of this symbol"


class FlowShelf:
    """See the top of this file. `known` has the signature of an `ObservationReader`'s."""

    def __init__(self, folder: Path, *, fault: Fault = no_fault) -> None:
        self._folder, self._fault = Path(folder), fault
        self._open: dict[Path, ObservationPart] = {}
        self._tidied: set[Path] = set()
        self._guard = threading.Lock()
        self._waiting: deque[tuple[Market, str, Observations]] = deque(maxlen=WAITING_MOST)
        self.damage: list[str] = []
        self.problem = ""

    def store(self, market: Market, sampled: Sequence[Sampled]) -> None:
        """Add closed rows and delete files past their time. A moment already stored keeps its first row.

        When the disk refuses, `problem` says so, what was stored before is unchanged, and the rows wait for the next call.
        """
        with self._guard:
            self._waiting.extend((market, symbol, rows) for symbol, *kinds in sampled for rows in kinds if len(rows))
            try:
                while self._waiting:
                    self._store(*self._waiting[0])
                    self._waiting.popleft()
                self.problem = ""
            except (OSError, DataError) as error:
                why = (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
                self.problem = (f"order flow is not being stored ({why}): make room or allow writing in "
                                f"{self._folder.name}/; the rows wait in memory")

    def known(self, symbol: str, kind: Kind, market: Market, start_ms: int, at_ms: int) -> Observations:
        """Rows with start <= available_time < at; empty, with `note` saying why, when there are none."""
        keeping = KEEPING[kind]
        first = (start_ms - keeping.file_ms) // keeping.file_ms * keeping.file_ms  # a row may have become known after its file's end
        folder, parts = self._place(market, symbol, kind), []
        if folder.is_dir():
            for file in sorted(folder.glob("*.parquet")):
                if _name(first) <= file.stem < _name(at_ms + keeping.file_ms):
                    part = self._read(file)
                    if part is not None:
                        parts.append(part)
        if not parts:
            return Observations.empty(kind, note=NOT_RECORDED)
        columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in names_of(kind)}
        keep = (columns["available_time"] >= start_ms) & (columns["available_time"] < at_ms)
        used = [p for part in parts for p in part.provenances]
        note = "" if keep.any() else NOT_RECORDED
        return Observations(kind, columns["event_time"][keep], columns["available_time"][keep],
                            {name: columns[name][keep] for name in COLUMNS_OF[kind]}, worst_provenance(used), note)

    def prune(self, now_ms: int) -> int:
        """Delete files that ended longer ago than their kind is kept, of every symbol; how many."""
        gone = 0
        for kind, keeping in KEEPING.items():
            for folder in self._folder.glob(f"*/*/{keeping.name}"):
                gone += self._prune(folder, kind, now_ms)
        return gone

    # -- files ------------------------------------------------------------------------------------------------------------

    def _store(self, market: Market, symbol: str, rows: Observations) -> None:
        kind, keeping = rows.kind, KEEPING[rows.kind]
        folder = self._place(market, symbol, kind)
        period = rows.event_time // keeping.file_ms
        make_folder(folder)
        if folder not in self._tidied:
            remove_leftovers(folder)
            self._tidied.add(folder)
        for number in np.unique(period):
            path = folder / f"{_name(int(number) * keeping.file_ms)}.parquet"
            merged = self._merged(path, rows.take(np.flatnonzero(period == number)), f"{market}/{symbol}/{keeping.name}")
            replace_file(path, encode(merged), self._fault, "flow")
            for old in [held for held in self._open if held.parent == folder]:
                del self._open[old]  # only the running file of a series is kept in memory
            self._open[path] = merged
        self._prune(folder, kind, int(rows.event_time[-1]))

    def _merged(self, path: Path, rows: Observations, series: str) -> ObservationPart:
        added = {"event_time": rows.event_time, "available_time": rows.available_time, **rows.columns}
        before = self._open.get(path) or self._read(path, set_aside=True)
        if before is None:
            return ObservationPart(series, rows.kind, path.stem, (str(rows.provenance),), added)
        new = ~np.isin(rows.event_time, before.columns["event_time"])
        columns = {name: np.concatenate((before.columns[name], added[name][new])) for name in names_of(rows.kind)}
        provenances = tuple(sorted({*before.provenances, str(rows.provenance)}))
        return ObservationPart(series, rows.kind, path.stem, provenances, columns)

    def _read(self, path: Path, *, set_aside: bool = False) -> ObservationPart | None:
        try:
            data = read_whole(path)
            return decode(data) if data is not None else None
        except (DamagedState, DataError) as error:
            if set_aside and isinstance(error, DataError):
                raise  # whole, perhaps: what is to be added to it waits
            words = f"{path.parent.parent.name} {path.parent.name} {path.name}: {error}"
            if words not in self.damage:  # a reader meets the same file at every look
                self.damage.append(words)
                logger.warning("order flow: {}", words)
            if set_aside:
                path.replace(path.with_suffix(".damaged"))
            return None

    def _prune(self, folder: Path, kind: Kind, now_ms: int) -> int:
        keeping = KEEPING[kind]
        oldest = _name(max(0, now_ms - keeping.keep_ms - keeping.file_ms))  # a file that begins here has rows inside the limit
        old = [file for file in folder.glob("*.parquet") if file.stem < oldest]
        for file in old:
            file.unlink(missing_ok=True)
        return len(old)

    def _place(self, market: Market, symbol: str, kind: Kind) -> Path:
        return self._folder / str(market) / parse_symbol(symbol) / KEEPING[kind].name


def _name(at_ms: int) -> str:
    """2026-11-20T08: file names sort by time."""
    return iso(at_ms)[:13]
