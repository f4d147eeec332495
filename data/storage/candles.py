"""The candle store: one Parquet file per series and month, appended idempotently, verified on read, damaged files set aside.

    <folder>/candles/<venue>/<market>/<SYMBOL>/<interval>/2024-01.parquet ... conflicts.parquet manifest.json
    <folder>/quarantine/        files that failed their check, each with a note
    <folder>/candles.lock       held while writing; readers never wait

Promise: after a kill at any point, a full disk or a flipped bit in any file, a reader gets either the same candles or fewer of
them together with a `Damage` that names the file and the rows; never other numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data.clock import iso
from data.errors import ContractBroken, DamagedState, DataError, InputError
from data.frames import COLUMNS, TIME_COLUMNS, Candles, row_faults
from data.market import SeriesKey, provenance_rank
from data.storage.durable import Fault, no_fault
from data.storage.manifest import Confirmed, Damage, Entry, Manifest, confirm, entry_of, halts_of, holes_of
from data.storage.merge import merge
from data.storage.part_cache import PartCache
from data.storage.parts import CONFLICTS, Part, by_month, cut, empty_columns, encode, take
from data.storage.places import series_name
from data.storage.shelf import Broken, Shelf
from data.view import CONFIRMED, NOT_KNOWN, Gap

CACHE_BYTES = 48 << 20  # a year of 1m candles
LOCK_WAIT_S = 5.0
_READERS = 2  # decoding and hashing release the GIL; more threads gain nothing on two cores


@dataclass(frozen=True)
class AppendReport:
    """What became of the offered rows. `enriched` are those of the duplicates that filled an empty column of a stored row."""

    added: int
    duplicates: int
    enriched: int
    conflicts: int
    present: int


@dataclass(frozen=True)
class Conflict:
    """An offered candle that contradicts the stored one of the same key. `stored` is None if that row was lost since."""

    open_time: int
    source: str
    offered: dict[str, float]
    stored: dict[str, float] | None


@dataclass(frozen=True)
class SeriesSummary:
    """One row of the Market data page."""

    key: SeriesKey
    rows: int
    first: int
    last: int
    bytes: int
    provenance: str
    gaps: int
    missing_bars: int
    conflicts: int
    damage: tuple[Damage, ...]


@dataclass(frozen=True)
class VerifyReport:
    series: int
    files: int
    rows: int
    damage: tuple[Damage, ...]

    @property
    def ok(self) -> bool:
        return not self.damage


class CandleStore:
    """Closed candles on disk; a `CandleReader` (data/view.py).

    Parameters
    ----------
    folder : Path
        Where everything above lives; created at the first append.
    lock_wait_s : float
        How long an append waits for another writer before LockHeld.
    cache_bytes : int
        Memory for decoded months. A read of more than a quarter of it passes by.
    fault : callable
        The seam for crash tests (data/storage/durable.py).
    """

    def __init__(self, folder: Path, *, lock_wait_s: float = LOCK_WAIT_S, cache_bytes: int = CACHE_BYTES,
                 fault: Fault = no_fault) -> None:
        self._cache = PartCache(cache_bytes)
        self._shelf = Shelf(Path(folder), lock_wait_s, self._cache, fault)

    # -- reading -----------------------------------------------------------------------------------------------------------

    def keys(self) -> tuple[SeriesKey, ...]:
        """Every series that holds at least one candle, sorted. One that cannot be read is left out, and `damage` names it."""
        return tuple(key for key in self._shelf.series() if self._holds(key))

    def holds(self, key: SeriesKey) -> bool:
        """Whether a series holds a candle."""
        return bool(self._shelf.manifest(key).parts)

    def _holds(self, key: SeriesKey) -> bool:
        try:
            return self.holds(key)
        except DataError:
            return False

    def read(self, key: SeriesKey, start_ms: int | None = None, end_ms: int | None = None) -> Candles:
        """Candles with start <= open_time < end; empty when there are none. Reads only the months it needs.

        A file that fails its check is set aside, its rows are missing from the answer, and `damage` names it.
        """
        for _ in range(8):
            manifest = self._shelf.manifest(key)
            months = [m for m in manifest.months if _touches(manifest.parts[m], start_ms, end_ms)]
            if not months:
                return Candles.empty(key.interval)
            try:
                columns = self._columns(key, manifest, months, start_ms, end_ms)
            except Broken as broken:
                self._shelf.investigate(key, broken)  # a writer was quicker, or the file is damaged: look again
                continue
            used = [p for m in months for p in manifest.parts[m].provenances]
            times = columns["open_time"]
            halts = tuple((gap.start, gap.end) for gap in halts_of(manifest, key.interval)
                          if len(times) and times[0] < gap.start and gap.end < times[-1])
            return Candles.from_columns(key.interval, columns, provenance=max(used, key=provenance_rank), halts=halts)
        raise DamagedState(f"{key}: its files keep changing or failing while they are read; run: python -m core verify")

    def last_close_ms(self, key: SeriesKey) -> int | None:
        """close_time of the newest candle; None when there is none."""
        manifest = self._shelf.manifest(key)
        return manifest.parts[manifest.months[-1]].last_close if manifest.parts else None

    def version(self, key: SeriesKey) -> str:
        """Changes exactly when the series' content changes; part of every cache key."""
        return self._shelf.manifest(key).version()

    def rows(self, key: SeriesKey) -> int:
        return self._shelf.manifest(key).rows

    def provenance(self, key: SeriesKey) -> str:
        """The worst provenance of the whole series; NONE when it is empty."""
        manifest = self._shelf.manifest(key)
        return manifest.provenance if manifest.parts else "NONE"

    def gaps(self, key: SeriesKey) -> list[Gap]:
        """Holes between the first and the last candle, oldest first (C3)."""
        manifest = self._shelf.manifest(key)
        confirmed = {(gap.start, gap.end): gap.reason for gap in halts_of(manifest, key.interval)}
        step = key.interval.ms
        return [Gap(start, end, (end - start) // step + 1, CONFIRMED if (start, end) in confirmed else NOT_KNOWN,
                    confirmed.get((start, end), "")) for start, end in holes_of(manifest, key.interval)]

    def conflict_count(self, key: SeriesKey) -> int:
        entry = self._shelf.manifest(key).conflicts
        return entry.rows if entry else 0

    def conflicts(self, key: SeriesKey, *, limit: int = 1000) -> list[Conflict]:
        """What was offered and contradicts a stored candle, the last `limit` kept; set aside, never merged (C4)."""
        part = self._conflict_part(key)
        if part is None or not part.rows:
            return []
        kept = take(part.columns, slice(-limit, None))
        times = kept["open_time"]
        stored = self.read(key, int(times.min()), int(times.max()) + 1)
        at = np.searchsorted(stored.open_time, times)
        have = stored.columns()
        out = []
        for row, (time, place, source) in enumerate(zip(times.tolist(), at.tolist(), part.sources[-limit:], strict=True)):
            there = place < len(stored) and int(stored.open_time[place]) == time
            out.append(Conflict(time, source, {n: kept[n][row].item() for n in COLUMNS},
                                {n: have[n][place].item() for n in COLUMNS} if there else None))
        return out

    def summary(self) -> list[SeriesSummary]:
        """One row per series, from the manifests alone."""
        out = []
        for key in self.keys():
            manifest = self._shelf.manifest(key)
            gaps = self.gaps(key)
            first, last = manifest.parts[manifest.months[0]].first, manifest.parts[manifest.months[-1]].last
            size = sum(e.bytes for e in manifest.parts.values())
            out.append(SeriesSummary(key, manifest.rows, first, last, size, manifest.provenance, len(gaps),
                                     sum(g.bars for g in gaps), self.conflict_count(key),
                                     self._shelf.damage_of(key)))
        return out

    @property
    def damage(self) -> tuple[Damage, ...]:
        """Every loss that is written down or was seen by this object. Empty means: nothing is known to be lost."""
        return tuple(d for key in self._shelf.series() for d in self._shelf.damage_of(key))

    def verify(self) -> VerifyReport:
        """Hash and decode every file afresh, set damaged ones aside, and say what is lost."""
        self._cache.clear()
        files = series = rows = 0
        for key in self._shelf.series():
            series += 1
            for _ in range(1000):
                try:
                    manifest = self._shelf.manifest(key)
                except DataError:  # `damage` names it
                    manifest = Manifest(series_name(key))
                broken = self._shelf.first_broken(key, manifest)
                if broken is None:
                    break
                self._shelf.investigate(key, broken)
            files += len(manifest.parts) + (manifest.conflicts is not None) + 1
            rows += manifest.rows
        return VerifyReport(series, files, rows, self.damage)

    # -- writing -----------------------------------------------------------------------------------------------------------

    def append(self, key: SeriesKey, candles: Candles, *, provenance: str, source: str) -> AppendReport:
        """Store what is new. See `append_all`."""
        return self.append_all(key, [(source, candles)], provenance=provenance)

    def append_all(self, key: SeriesKey, batches: Sequence[tuple[str, Candles]], *, provenance: str) -> AppendReport:
        """Store what is new in (source, candles) batches, taken in order; only the months they touch are rewritten.

        Rows of a batch may be unsorted or repeated. Equal rows are duplicates, different values for a stored key are kept in the
        conflicts file (C4). Nothing is written when nothing is new.

        Raises
        ------
        ContractBroken
            When any row is not a candle (C2); nothing is stored then.
        LockHeld
            When another writer holds the store for longer than `lock_wait_s`.
        DataError
            When the disk refuses; what was stored before stays readable.
        """
        provenance_rank(provenance)
        for source, candles in batches:
            _check(key, candles, source)
        with self._shelf.writing(key):
            manifest = self._shelf.recover(key)
            work: dict[str, dict[str, np.ndarray]] = {}
            changed: set[str] = set()
            aside: list[tuple[str, dict[str, np.ndarray]]] = []
            added = duplicates = enriched = conflicts = 0
            for source, candles in batches:
                for month, rows in by_month(candles.columns()):
                    if month not in work:
                        manifest, work[month] = self._load_for_writing(key, manifest, month)
                    merged = merge(work[month], rows, key.interval)
                    work[month] = merged.columns
                    if merged.added or merged.enriched:
                        changed.add(month)
                    added, duplicates = added + merged.added, duplicates + merged.duplicates
                    enriched, conflicts = enriched + merged.enriched, conflicts + len(merged.conflicts)
                    if len(merged.conflicts):
                        aside.append((source, take(rows, merged.conflicts)))
            files = [self._part_of(key, manifest, month, work[month], provenance) for month in sorted(changed)]
            if aside:
                manifest, extra = self._with_conflicts(key, manifest, aside, provenance)
                files += extra
            if files:
                manifest = self._shelf.write(key, manifest, files)
            return AppendReport(added, duplicates, enriched, conflicts, manifest.rows)

    def confirm_gap(self, key: SeriesKey, start_ms: int, end_ms: int, reason: str) -> None:
        """Record that the exchange has no candles from open_time `start_ms` to `end_ms`, both included.

        Raises
        ------
        InputError
            When the stretch is off the grid, empty, or a candle is stored in it.
        """
        step = key.interval.ms
        if end_ms < start_ms or key.interval.floor(start_ms) != start_ms or key.interval.floor(end_ms) != end_ms:
            raise InputError(f"expected first and last missing open_time of a {key.interval} gap, got {iso(start_ms)} to "
                             f"{iso(end_ms)}; take them from the gap list")
        with self._shelf.writing(key):
            manifest = self._shelf.recover(key)
            inside = self.read(key, start_ms, end_ms + step)
            if len(inside):
                raise InputError(f"{key} has {len(inside)} stored candles between {iso(start_ms)} and {iso(end_ms)}; "
                                 "confirm only what the gap list shows as missing")
            confirmed = confirm(manifest.confirmed, Confirmed(start_ms, end_ms, reason[:200]), key.interval)
            self._shelf.write_manifest(key, replace(manifest, confirmed=confirmed))

    def acknowledge(self, key: SeriesKey) -> None:
        """Take the damage of a series off the list: its owner has read it. The rows stay missing."""
        with self._shelf.writing(key):
            self._shelf.forget_damage(key)

    # -- the parts of an append ---------------------------------------------------------------------------------------------

    def _load_for_writing(self, key: SeriesKey, manifest: Manifest, month: str) -> tuple[Manifest, dict[str, np.ndarray]]:
        if month not in manifest.parts:
            return manifest, empty_columns()
        try:
            return manifest, self._shelf.columns(key, month, manifest.parts[month])
        except Broken as broken:
            return self._shelf.set_aside(key, manifest, month, broken.reason), empty_columns()

    def _part_of(self, key: SeriesKey, manifest: Manifest, month: str, columns: dict[str, np.ndarray],
                 provenance: str) -> tuple[Part, bytes, Entry]:
        before = manifest.parts[month].provenances if month in manifest.parts else ()
        part = Part(series_name(key), month, tuple(sorted({*before, provenance}, key=lambda p: (provenance_rank(p), p))), columns)
        data = encode(part)
        return part, data, entry_of(part, data, key.interval)

    def _with_conflicts(self, key: SeriesKey, manifest: Manifest, aside: list[tuple[str, dict[str, np.ndarray]]],
                        provenance: str) -> tuple[Manifest, list[tuple[Part, bytes, Entry]]]:
        """The conflicts file with the new rows; a row already kept there is not kept twice."""
        known = self._conflict_part(key)
        manifest = self._shelf.manifest(key)  # reading the conflicts may have found them damaged
        blocks = [(known.sources, known.columns)] if known else []
        blocks += [((source,) * len(rows["open_time"]), rows) for source, rows in aside]
        columns = {name: np.concatenate([rows[name] for _, rows in blocks]) for name in COLUMNS}
        sources = [source for names, _ in blocks for source in names]
        table = np.column_stack([columns[name].view(np.int64) for name in COLUMNS])
        _, first = np.unique(table, axis=0, return_index=True)
        keep = np.sort(first)
        if known and len(keep) == known.rows:
            return manifest, []
        provenances = tuple(sorted({*(known.provenances if known else ()), provenance}))
        part = Part(series_name(key), CONFLICTS, provenances, take(columns, keep), tuple(sources[i] for i in keep))
        data = encode(part)
        return manifest, [(part, data, entry_of(part, data, key.interval))]

    def _columns(self, key: SeriesKey, manifest: Manifest, months: list[str], start: int | None,
                 end: int | None) -> dict[str, np.ndarray]:
        entries = [manifest.parts[m] for m in months]
        total = sum(e.rows for e in entries)
        keep = total * 8 * len(COLUMNS) * 4 <= self._cache.limit
        if len(months) <= 2 or keep:
            pieces = [cut(self._shelf.columns(key, m, e), start, end) for m, e in zip(months, entries, strict=True)]
            if len(pieces) == 1:
                return pieces[0]
            return {name: np.concatenate([p[name] for p in pieces]) for name in COLUMNS}
        # A long read: decode months side by side, each straight into its place.
        out = {name: np.empty(total, np.int64 if name in TIME_COLUMNS else np.float64) for name in COLUMNS}
        offsets = np.concatenate(([0], np.cumsum([e.rows for e in entries]))).tolist()

        def fill(i: int) -> None:
            part = self._shelf.columns(key, months[i], entries[i], keep=False)
            for name in COLUMNS:
                out[name][offsets[i] : offsets[i + 1]] = part[name]

        with ThreadPoolExecutor(_READERS) as pool:
            list(pool.map(fill, range(len(months))))
        return cut(out, start, end)

    def _conflict_part(self, key: SeriesKey) -> Part | None:
        for _ in range(8):
            entry = self._shelf.manifest(key).conflicts
            if entry is None:
                return None
            try:
                return self._shelf.part(key, CONFLICTS, entry)
            except Broken as broken:
                self._shelf.investigate(key, broken)
        raise DamagedState(f"{key}: its conflicts file keeps changing while it is read; run: python -m core verify")


def _check(key: SeriesKey, candles: Candles, source: str) -> None:
    if candles.interval != key.interval:
        raise ContractBroken(f"expected {key.interval} candles for {key}, got {candles.interval} from {source[:80]}")
    faults = row_faults(candles.columns(), key.interval)
    if faults:
        row, reason = min(faults.items())
        raise ContractBroken(f"{len(faults)} rows of {source[:80]} are not candles, the first in row {row}: {reason}; "
                             "nothing was stored")


def _touches(entry: Entry, start: int | None, end: int | None) -> bool:
    return (start is None or entry.last >= start) and (end is None or entry.first < end)
