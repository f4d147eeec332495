"""The files of the candle store: which are there, which prove themselves, and what is done about those that do not.

`CandleStore` (data/storage/candles.py) decides what is stored; this file only keeps the promise that what is read is what was written.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from data.errors import DamagedState, DataError, LockHeld
from data.market import SeriesKey
from data.storage.durable import TEMPORARY, Fault, make_folder, read_whole, remove_leftovers, replace_file, sync_folder, write_beside
from data.storage.manifest import Damage, Entry, Manifest, entry_of
from data.storage.part_cache import PartCache, Token
from data.storage.parts import CONFLICTS, Part, decode
from data.storage.places import MANIFEST, manifest_path, series_name, series_path, stored_series

SETTLED_AFTER_S = 3.0  # no file system counts the time of a change more coarsely than in twos


class Broken(Exception):
    """A listed file is missing or is not what the manifest says: a signal between shelf and store, never seen outside."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name, self.reason = name, reason


@dataclass(frozen=True)
class _Read:
    """A manifest as it was read, and the state the file was first seen in. `settled`: its bytes were read again so much later that
    any change since then shows in its time stamp, too."""

    raw: bytes | None
    manifest: Manifest
    token: Token | None = None
    seen_s: float = 0.0
    settled: bool = False


class Shelf:
    """Manifests and files of all series below one folder. Thread-safe; writing methods need `writing`."""

    def __init__(self, folder: Path, lock_wait_s: float, cache: PartCache, fault: Fault) -> None:
        self.folder = folder
        self._lock_wait_s = lock_wait_s
        self._cache = cache
        self._fault = fault
        self._states: dict[SeriesKey, _Read] = {}
        self._noted: dict[tuple[str, str], Damage] = {}  # damage seen here that could not be written down (lock, read-only)
        self._guard = threading.RLock()
        self._held = threading.local()

    def path(self, key: SeriesKey) -> Path:
        return series_path(self.folder, key)

    def series(self) -> list[SeriesKey]:
        """Every series that has a folder."""
        return stored_series(self.folder)

    @contextmanager
    def writing(self, key: SeriesKey, wait_s: float | None = None) -> Iterator[None]:
        """Hold the store for writing; a thread that holds it already goes straight through.

        Raises
        ------
        LockHeld, DataError
            Another writer is at work; the disk refused.
        """
        if getattr(self._held, "depth", 0):
            yield
            return
        wait_s = self._lock_wait_s if wait_s is None else wait_s
        try:
            make_folder(self.folder)
            with FileLock(self.folder / "candles.lock", timeout=wait_s, poll_interval=0.02):
                self._held.depth = 1
                try:
                    yield
                finally:
                    self._held.depth = 0
        except Timeout:
            raise LockHeld(f"another process is writing candles in {self.folder}; waited {wait_s:g} s; try again when it "
                           "has finished") from None
        except OSError as error:
            raise DataError(f"{key} could not be written ({error.strerror or error}); what was stored before is unchanged; "
                            f"make room or allow writing in {self.folder}, then repeat") from error

    # -- what is true now ---------------------------------------------------------------------------------------------------

    def manifest(self, key: SeriesKey) -> Manifest:
        """The truth as of now. The file is read each time, for a time stamp can miss two quick writes; one that has been as it is
        for a while is looked at only (2 microseconds instead of 20)."""
        path = manifest_path(self.folder, key)
        token = self._cache.token(path)
        with self._guard:
            known = self._states.get(key)
        if known is not None and known.settled and token is not None and known.token == token:
            return known.manifest
        try:
            raw = self._raw(key)
        except DamagedState as error:
            raise DataError(f"{key}: {MANIFEST}: {error}; what is stored stays as it is") from None
        if known is not None and known.raw == raw:
            if token is None or known.token != token or self._cache.token(path) != token:
                known = replace(known, token=token, seen_s=time.monotonic(), settled=False)
            elif time.monotonic() - known.seen_s > SETTLED_AFTER_S:
                known = replace(known, settled=True)
            with self._guard:
                self._states[key] = known
            return known.manifest
        if raw is None and not self.path(key).is_dir():
            return Manifest(series_name(key))
        try:
            if raw is None:
                raise DamagedState("the file is missing")
            manifest = Manifest.decode(raw)
            if manifest.series != series_name(key):
                raise DamagedState(f"it belongs to {manifest.series}")
        except DamagedState as error:
            return self._rebuilt(key, raw, str(error))
        if manifest.pending:
            return manifest.applied(self._renamed(key, manifest))
        with self._guard:
            self._states[key] = _Read(raw, manifest)
        return manifest

    def recover(self, key: SeriesKey) -> Manifest:
        """The manifest to build on, with earlier crashes settled. There is no separate clean path: every append starts here."""
        make_folder(self.path(key))
        remove_leftovers(self.path(key))
        manifest = self.manifest(key)
        listed = {f"{month}.parquet" for month in manifest.parts} | {f"{CONFLICTS}.parquet"}
        for file in sorted(self.path(key).glob("*.parquet")):
            if file.name not in listed:
                manifest = self.set_aside(key, manifest, file.stem, "is not listed in the manifest")
        raw = self._raw(key)
        if raw is not None and raw != manifest.encode():
            self.write_manifest(key, manifest)
        return manifest

    def _renamed(self, key: SeriesKey, manifest: Manifest) -> set[str]:
        """Which announced files are in place: a writer is between its two manifests, or died there."""
        return {name for name, entry in manifest.pending.items()
                if (found := _bytes_or_none(self.path(key) / f"{name}.parquet")) is not None
                and hashlib.sha256(found).hexdigest() == entry.sha256}

    def _rebuilt(self, key: SeriesKey, raw: bytes | None, reason: str) -> Manifest:
        """A manifest made from files that prove themselves; what only the old one knew is named as lost."""
        parts: dict[str, Entry] = {}
        conflicts: Entry | None = None
        bad: list[tuple[str, str]] = []
        for file in sorted(self.path(key).glob("*.parquet")):
            if file.name.startswith(TEMPORARY):
                continue
            try:
                data = read_whole(file) or b""
                part = decode(data, proven=False)
                if (part.series, part.month) != (series_name(key), file.stem):
                    raise DamagedState(f"it belongs to {part.series} {part.month}")
            except DamagedState as error:
                bad.append((file.stem, str(error)))
                continue
            if file.stem == CONFLICTS:
                conflicts = entry_of(part, data, key.interval)
            else:
                parts[file.stem] = entry_of(part, data, key.interval)
        if raw is None and not parts and not bad and conflicts is None:
            return Manifest(series_name(key))  # a folder made right before a crash: nothing was ever stored
        lost = Damage(series_name(key), MANIFEST, f"{reason}; rebuilt from {len(parts)} files that prove themselves; "
                                                  "confirmed gaps must be confirmed again")
        manifest = Manifest(series_name(key), parts, conflicts, lost=(lost,))
        try:
            with self.writing(key, 0.0):
                if self._raw(key) != raw:
                    return self.manifest(key)
                if raw is not None:
                    self._move(key, self.path(key) / MANIFEST, reason)
                for name, why in bad:
                    manifest = self.set_aside(key, manifest, name, why)
                self.write_manifest(key, manifest)
        except (LockHeld, DataError):
            for damage in (lost, *(Damage(series_name(key), f"{name}.parquet", why) for name, why in bad)):
                self._note(damage)
            with self._guard:
                self._states[key] = _Read(raw, manifest)
        return manifest

    # -- reading files ------------------------------------------------------------------------------------------------------

    def columns(self, key: SeriesKey, month: str, entry: Entry, *, keep: bool = True) -> dict[str, np.ndarray]:
        """The decoded columns of a listed file. Hashed unless this process has already seen these very bytes in place."""
        path = self.path(key) / f"{month}.parquet"
        cached = self._cache.get(path, entry.sha256)
        if cached is not None:
            return cached
        part = self.part(key, month, entry, threads=keep)  # a long read has its threads already, one per month
        if keep:
            self._cache.put(path, entry.sha256, part.columns)
        return part.columns

    def part(self, key: SeriesKey, name: str, entry: Entry, *, threads: bool = False) -> Part:
        """
        Raises
        ------
        Broken
            When the file is missing or differs from its entry.
        DamagedState
            When the very bytes that were written cannot be read, as by an older pyarrow: nothing is moved, this program is wrong.
        """
        try:
            return decode(self._proven_bytes(key, name, entry), proven=True, threads=threads)
        except DamagedState as error:
            raise DamagedState(f"{key} {name}: {error}; the file is as it was written, so reinstall the pinned pyarrow") from None

    def _proven_bytes(self, key: SeriesKey, name: str, entry: Entry) -> bytes:
        path = self.path(key) / f"{name}.parquet"
        token = self._cache.token(path)
        try:
            data = read_whole(path)
        except DamagedState as error:
            raise Broken(name, str(error)) from None
        if data is None:
            raise Broken(name, "the file is missing")
        if self._cache.token(path) == token and self._cache.is_proven(path, entry.sha256, token):
            return data
        if len(data) != entry.bytes:
            raise Broken(name, f"expected {entry.bytes} bytes, found {len(data)}")
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise Broken(name, "its SHA-256 differs from the manifest")
        if self._cache.token(path) == token:
            self._cache.prove(path, entry.sha256, token)
        return data

    def first_broken(self, key: SeriesKey, manifest: Manifest) -> Broken | None:
        """Check every listed file to the last digit; the first that fails."""
        entries = dict(manifest.parts) | ({CONFLICTS: manifest.conflicts} if manifest.conflicts else {})
        for name, entry in entries.items():
            try:
                decode(self._proven_bytes(key, name, entry), proven=False)
            except Broken as broken:
                return broken
            except DamagedState as error:
                return Broken(name, str(error))
        return None

    # -- damage -------------------------------------------------------------------------------------------------------------

    def investigate(self, key: SeriesKey, broken: Broken) -> None:
        """A file did not match the manifest that was read: decide between a quicker writer and damage, and set damage aside."""
        try:
            with self.writing(key, 0.0):
                manifest = self.manifest(key)
                still = self._still_broken(key, manifest, broken.name)
                if still is not None:
                    self.set_aside(key, manifest, broken.name, still.reason)
        except (LockHeld, DataError):
            # Somebody is writing, or nothing can be written here. A writer renames each file once per manifest, so one that is
            # bad twice under the same manifest is damaged: leave it out of this process's view until the manifest changes.
            raw, reason = self._raw(key), broken.reason
            for _ in range(2):
                manifest = self.manifest(key)
                still = self._still_broken(key, manifest, broken.name)
                if still is None or self._raw(key) != raw:
                    return
                reason = still.reason
            self._note(_damage(key, manifest, broken.name, reason, None))
            with self._guard:
                self._states[key] = _Read(raw, _without(manifest, broken.name))

    def _still_broken(self, key: SeriesKey, manifest: Manifest, name: str) -> Broken | None:
        entry = manifest.conflicts if name == CONFLICTS else manifest.parts.get(name)
        if entry is None:
            return None
        try:
            self.part(key, name, entry)
        except Broken as still:
            return still
        return None

    def set_aside(self, key: SeriesKey, manifest: Manifest, name: str, reason: str) -> Manifest:
        """Move a file to quarantine and take it off the list. Only under the lock."""
        path = self.path(key) / f"{name}.parquet"
        moved = self._move(key, path, reason) if path.exists() else None
        out = replace(_without(manifest, name), lost=(*manifest.lost, _damage(key, manifest, name, reason, moved)))
        self.write_manifest(key, out)
        return out

    def _move(self, key: SeriesKey, path: Path, reason: str) -> str:
        quarantine = self.folder / "quarantine"
        make_folder(quarantine)
        stem = f"{series_name(key).replace('/', '-')}-{path.name}"
        count = 1
        while (quarantine / f"{stem}.{count}").exists():
            count += 1
        note = {"file": str(path.relative_to(self.folder)), "reason": reason, "bytes": path.stat().st_size}
        replace_file(quarantine / f"{stem}.{count}.note.json", json.dumps(note, indent=1).encode(), self._fault, "note")
        path.replace(quarantine / f"{stem}.{count}")
        self._fault("quarantine: moved")
        sync_folder(quarantine)
        sync_folder(path.parent)
        return f"{stem}.{count}"

    def damage_of(self, key: SeriesKey) -> tuple[Damage, ...]:
        try:
            listed = self.manifest(key).lost
        except DataError as error:
            listed = (Damage(series_name(key), MANIFEST, str(error)),)
        with self._guard:
            noted = [damage for (series, _), damage in self._noted.items() if series == series_name(key)]
        return (*listed, *(damage for damage in noted if damage.file not in {d.file for d in listed}))

    def forget_damage(self, key: SeriesKey) -> None:
        """Only under the lock."""
        manifest = self.recover(key)
        if manifest.lost:
            self.write_manifest(key, replace(manifest, lost=()))
        with self._guard:
            self._noted = {at: damage for at, damage in self._noted.items() if at[0] != series_name(key)}

    def _note(self, damage: Damage) -> None:
        with self._guard:
            self._noted[damage.series, damage.file] = damage

    # -- writing files ------------------------------------------------------------------------------------------------------

    def write(self, key: SeriesKey, manifest: Manifest, files: list[tuple[Part, bytes, Entry]]) -> Manifest:
        """Announce, write beside, rename, flush, and only then call it done. Only under the lock."""
        folder = self.path(key)
        announced = replace(manifest, pending={part.month: entry for part, _, entry in files})
        self.write_manifest(key, announced)
        beside: list[tuple[Path, Path]] = []
        try:
            for part, data, _ in files:
                path = folder / f"{part.month}.parquet"
                beside.append((write_beside(path, data, self._fault, "part"), path))
        except OSError:
            for temporary, _ in beside:
                temporary.unlink(missing_ok=True)
            raise
        for temporary, path in beside:
            temporary.replace(path)
            self._fault("part: renamed")
        sync_folder(folder)
        self._fault("parts: durable")
        done = announced.applied(set(announced.pending))
        done = replace(done, lost=tuple(damage for damage in done.lost if not _healed(damage, done)))
        self.write_manifest(key, done)
        for part, _, entry in files:
            path = folder / f"{part.month}.parquet"
            self._cache.prove(path, entry.sha256, self._cache.token(path))
            self._cache.put(path, entry.sha256, part.columns)
        return done

    def write_manifest(self, key: SeriesKey, manifest: Manifest) -> None:
        replace_file(manifest_path(self.folder, key), manifest.encode(), self._fault, "manifest")

    def _raw(self, key: SeriesKey) -> bytes | None:
        return read_whole(manifest_path(self.folder, key))


def _bytes_or_none(path: Path) -> bytes | None:
    try:
        return read_whole(path)
    except DamagedState:
        return None


def _without(manifest: Manifest, name: str) -> Manifest:
    if name == CONFLICTS:
        return replace(manifest, conflicts=None)
    return replace(manifest, parts={month: entry for month, entry in manifest.parts.items() if month != name})


def _damage(key: SeriesKey, manifest: Manifest, name: str, reason: str, moved: str | None) -> Damage:
    entry = manifest.conflicts if name == CONFLICTS else manifest.parts.get(name)
    rows = entry.rows if entry else 0
    first, last = (entry.first, entry.last) if entry else (0, 0)
    return Damage(series_name(key), f"{name}.parquet", reason, rows, first, last, moved)


def _healed(damage: Damage, manifest: Manifest) -> bool:
    """The lost rows are back: the month reaches as far on both sides and holds as many."""
    entry = manifest.parts.get(damage.file.removesuffix(".parquet"))
    return bool(entry and damage.rows and entry.rows >= damage.rows and entry.first <= damage.first
                and entry.last >= damage.last)
