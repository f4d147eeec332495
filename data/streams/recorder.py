"""Ticks on disk, bounded: several series have no history to fetch later, so what is not recorded is gone.

    <folder>/<market>/<kind>/<SYMBOL>/2024-08-08T23.0003-5f0c9a21.parquet    pieces of an hour under way
                                      2024-08-08T22.parquet                  an hour that is over, joined

Rows wait in memory and are written as small pieces, each complete and durable before its name appears; a crash loses at most
what was waiting. When the hour is over its pieces are joined into one file. A joined file names the pieces it holds, so
that a crash between joining and deleting counts nothing twice. When a kind or everything together grows past its limit the oldest
hours are deleted, before the new file is written. Page checksums and a digest of the numbers are verified on every read; a
damaged file is set aside and named.
"""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from loguru import logger

from data.clock import iso
from data.errors import DamagedState, InputError, LockHeld
from data.market import HOUR_MS, Market, parse_symbol
from data.storage.durable import TEMPORARY, Fault, make_folder, no_fault, replace_file, sync_folder
from data.streams.batches import TICK_COLUMNS, Row, TickKind, columns_of

FORMAT = 1
MIB = 1 << 20
FLUSH_ROWS = 20_000
FLUSH_AFTER_MS = 60_000
WAITING_MOST = 400_000  # rows of one series kept while the disk refuses; then the oldest go, counted
TOTAL_BYTES = 2048 * MIB
KIND_BYTES: Mapping[TickKind, int] = {
    TickKind.AGG_TRADE: 512 * MIB, TickKind.TRADE: 256 * MIB, TickKind.BOOK: 512 * MIB, TickKind.DEPTH: 512 * MIB,
    TickKind.BOOK_TICKER: 256 * MIB, TickKind.MARK_PRICE: 128 * MIB, TickKind.FORCE_ORDER: 64 * MIB}
_META = b"sextant-ticks"
_Place = tuple[Market, TickKind, str]


@dataclass(frozen=True)
class TickFile:
    """One file on disk. `piece` is 0 for a joined hour."""

    path: Path
    market: Market
    kind: TickKind
    symbol: str
    hour_ms: int
    piece: int
    bytes: int


@dataclass(frozen=True)
class TickDamage:
    """A file that failed its check and was moved to quarantine/."""

    path: Path
    reason: str


@dataclass
class _Buffer:
    hour_ms: int
    rows: list[Row] = field(default_factory=list)
    since_ms: int = 0


class TickRecorder:
    """Writes and reads the files above. Safe to call from several threads; one process writes at a time.

    Parameters
    ----------
    folder : Path
    kind_bytes, total_bytes : limits
        Bytes on disk per kind and altogether; never exceeded by more than one piece under way.
    fault : callable
        The seam for crash tests (data/storage/durable.py).
    """

    def __init__(self, folder: Path, *, kind_bytes: Mapping[TickKind, int] | None = None, total_bytes: int = TOTAL_BYTES,
                 flush_rows: int = FLUSH_ROWS, flush_after_ms: int = FLUSH_AFTER_MS, fault: Fault = no_fault) -> None:
        self._folder = Path(folder)
        self._kind_bytes = {**KIND_BYTES, **(kind_bytes or {})}
        self._total_bytes = total_bytes
        self._flush_rows, self._flush_after_ms = flush_rows, flush_after_ms
        self._fault = fault
        self._buffers: dict[_Place, _Buffer] = {}
        self._adding = threading.Lock()  # short: appending to buffers
        self._writing = threading.RLock()  # long: files
        self._lock: FileLock | None = None
        self._files: dict[Path, TickFile] | None = None
        self.counts: Counter[str] = Counter()
        self.damage: list[TickDamage] = []
        self.problem = ""

    # -- writing ------------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Become the one writer: clear what a crash left half written, join hours that were over.

        Raises
        ------
        LockHeld
            When another process records into this folder.
        """
        with self._writing:
            make_folder(self._folder)
            lock = FileLock(self._folder / "ticks.lock", thread_local=False)  # the thread of the streams gives it back
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise LockHeld(f"another process records ticks into {self._folder.name}/; stop it or use another folder") from None
            try:
                for leftover in self._folder.rglob(f"{TEMPORARY}*"):
                    leftover.unlink(missing_ok=True)
                self._files = {file.path: file for file in self._scan()}
            except BaseException:
                lock.release()
                raise
            self._lock = lock
            newest = max((file.hour_ms for file in self._files.values()), default=0)
            self._guarded(lambda: self._join_hours(before_ms=newest))  # on a full disk they are joined later

    def close(self) -> None:
        """Write what waits and release the folder."""
        with self._writing:
            if self._lock is not None:
                self.flush()
                self._lock.release()
                self._lock = None

    def add(self, market: Market, kind: TickKind, symbol: str, rows: Sequence[Row]) -> None:
        """Take rows (event_time, available_time, columns…); never waits for the disk."""
        if not rows:
            return
        hour_ms = int(rows[-1][1]) // HOUR_MS * HOUR_MS
        with self._adding:
            buffer = self._buffers.setdefault((market, kind, symbol), _Buffer(hour_ms))
            if not buffer.rows:
                buffer.since_ms = int(rows[-1][1])
            buffer.rows.extend(rows)
            spare = len(buffer.rows) - WAITING_MOST
            if spare > 0:
                del buffer.rows[:spare]
                self.counts["rows lost"] += spare

    def flush_due(self, now_ms: int) -> None:
        """Write the buffers that are full or old, and join hours that are over. Call every few seconds, off the event loop."""
        with self._adding:
            due = [place for place, buffer in self._buffers.items()
                   if len(buffer.rows) >= self._flush_rows or (buffer.rows and not 0 <= now_ms - buffer.since_ms < self._flush_after_ms)]
        self._flush(due)
        with self._writing:
            if self._lock is not None and not self.problem:
                self._guarded(lambda: self._join_hours(before_ms=now_ms // HOUR_MS * HOUR_MS))

    def flush(self) -> None:
        """Write everything that waits."""
        with self._adding:
            due = [place for place, buffer in self._buffers.items() if buffer.rows]
        self._flush(due)

    def _flush(self, places: Sequence[_Place]) -> None:
        for place in places:
            with self._writing:
                if self._lock is None:
                    raise InputError("the recorder is not open; call open() first")
                with self._adding:
                    rows, self._buffers[place].rows = self._buffers[place].rows, []
                left = self._write_rows(place, rows)
                with self._adding:
                    self._buffers[place].rows[:0] = left

    def _write_rows(self, place: _Place, rows: Sequence[Row]) -> list[Row]:
        """A piece per hour; returns the rows that the disk refused."""
        hours: dict[int, list[Row]] = {}
        for row in rows:
            hours.setdefault(int(row[1]) // HOUR_MS * HOUR_MS, []).append(row)
        for hour_ms in sorted(hours):
            if not self._guarded(partial(self._write, *place, hour_ms, columns_of(place[1], hours[hour_ms]))):
                return [row for later in sorted(hours) if later >= hour_ms for row in hours[later]]
        return []

    def _guarded(self, write: Callable[[], None]) -> bool:
        try:
            write()
        except OSError as error:
            self.problem = f"ticks are not being stored ({error.strerror or type(error).__name__}); they wait in memory"
            self.counts["write failures"] += 1
            return False
        self.problem = ""
        return True

    def _write(self, market: Market, kind: TickKind, symbol: str, hour_ms: int, columns: Mapping[str, np.ndarray],
               joined: Sequence[TickFile] = ()) -> None:
        files = self._known()
        folder = self._folder / market / kind / parse_symbol(symbol)
        digest = _digest(kind, symbol, columns)
        piece = 0
        name = f"{_hour_name(hour_ms)}.parquet"
        if not joined:
            piece = 1 + max((file.piece for file in files.values() if file.path.parent == folder and file.hour_ms == hour_ms), default=0)
            name = f"{_hour_name(hour_ms)}.{piece:04d}-{digest[:8]}.parquet"  # never the name of a piece that was joined and deleted
        path = folder / name
        data = _encode(kind, symbol, columns, [file.path.name for file in joined], digest)
        self._make_room(kind, len(data), spare=joined)
        make_folder(folder)
        replace_file(path, data, self._fault, "ticks")
        files[path] = TickFile(path, market, kind, symbol, hour_ms, piece, len(data))
        self.counts["files"] += 1

    def _make_room(self, kind: TickKind, coming: int, spare: Sequence[TickFile]) -> None:
        """Delete the oldest files until `coming` bytes fit; those in `spare` are about to be replaced and do not count."""
        files = self._known()
        kept = sorted((file for file in files.values() if file not in spare), key=lambda file: (file.hour_ms, file.piece or 1 << 30))
        for limit, own in ((self._kind_bytes[kind], True), (self._total_bytes, False)):
            size = coming + sum(file.bytes for file in kept if not own or file.kind is kind)
            for file in list(kept):
                if size <= limit:
                    break
                if own and file.kind is not kind:
                    continue
                self._delete(file)
                kept.remove(file)
                size -= file.bytes
                self.counts["files rotated out"] += 1

    def _join_hours(self, before_ms: int) -> None:
        """One file per hour that is over and has pieces."""
        groups: dict[tuple[Market, TickKind, str, int], list[TickFile]] = {}
        for file in self._known().values():
            if file.hour_ms < before_ms:
                groups.setdefault((file.market, file.kind, file.symbol, file.hour_ms), []).append(file)
        for place, files in groups.items():
            if all(file.piece == 0 for file in files):
                continue
            parts = [part for _, part in self._parts(sorted(files, key=lambda file: file.piece))]
            if parts:
                columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
                self._write(*place, columns, joined=files)
            for file in files:
                if file.piece:
                    self._delete(file)
            sync_folder(files[0].path.parent)

    def _delete(self, file: TickFile) -> None:
        file.path.unlink(missing_ok=True)
        self._known().pop(file.path, None)

    # -- reading ------------------------------------------------------------------------------------------------------------

    def read(self, market: Market, kind: TickKind, symbol: str, start_ms: int, end_ms: int) -> dict[str, np.ndarray]:
        """Columns of the rows with start <= available_time < end, in order of arrival; what still waits in memory included.

        Give them to `batches.observations_of`. A damaged file is set aside, its rows are missing and `damage` names it.
        """
        with self._writing:
            with self._adding:
                waiting = list(self._buffers[(market, kind, symbol)].rows) if (market, kind, symbol) in self._buffers else []
            files = [file for file in (self._files.values() if self._lock is not None and self._files is not None else self._scan())
                     if (file.market, file.kind, file.symbol) == (market, kind, symbol)
                     and file.hour_ms < end_ms and file.hour_ms + HOUR_MS > start_ms]
            parts = [part for _, part in self._parts(sorted(files, key=lambda file: (file.hour_ms, file.piece)))]
        parts.append(columns_of(kind, waiting))
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        known = columns["available_time"]
        keep = (known >= start_ms) & (known < end_ms)
        if np.any(np.diff(known[keep]) < 0):
            order = np.flatnonzero(keep)[np.argsort(known[keep], kind="stable")]
            return {name: column[order] for name, column in columns.items()}
        return {name: column[keep] for name, column in columns.items()}

    def size(self) -> int:
        """Bytes on disk as the writer knows them; 0 before it is open. Waits for no file, so that a health row may ask each second."""
        return sum(file.bytes for file in list((self._files or {}).values()))

    def files(self) -> tuple[TickFile, ...]:
        """Everything on disk, oldest hour first."""
        with self._writing:
            known = list(self._files.values()) if self._lock is not None and self._files is not None else list(self._scan())
        return tuple(sorted(known, key=lambda file: (file.hour_ms, str(file.path))))

    def _parts(self, files: Sequence[TickFile]) -> Iterator[tuple[TickFile, dict[str, np.ndarray]]]:
        """Decoded files, the joined one of an hour first; a piece that a joined file already holds is left out."""
        held: set[Path] = set()
        for file in files:
            if file.path in held:
                continue
            try:
                columns, joined = _decode(file.kind, file.symbol, file.path.read_bytes())
            except FileNotFoundError:
                continue  # rotated out, or joined, by the writing process a moment ago
            except DamagedState as error:
                self._set_aside(file, str(error))
                continue
            held.update(file.path.with_name(name) for name in joined if name != file.path.name)
            yield file, columns

    def _set_aside(self, file: TickFile, reason: str) -> None:
        damage = TickDamage(file.path.relative_to(self._folder), reason)
        if damage not in self.damage:  # a reader meets the same file at every look
            self.damage.append(damage)
            self.counts["damaged files"] += 1
            logger.warning("ticks: {} is damaged and set aside: {}", damage.path, reason)
        if self._lock is None:
            return  # only the writer moves files
        aside = self._folder / "quarantine" / "_".join(file.path.relative_to(self._folder).parts)
        make_folder(aside.parent)
        file.path.replace(aside)
        self._known().pop(file.path, None)

    def _known(self) -> dict[Path, TickFile]:
        if self._files is None:
            self._files = {file.path: file for file in self._scan()}
        return self._files

    def _scan(self) -> Iterator[TickFile]:
        for market in Market:
            for kind in TickKind:
                for path in (self._folder / market / kind).glob("*/*.parquet"):
                    hour, _, piece = path.name.removesuffix(".parquet").partition(".")
                    piece = piece.partition("-")[0]
                    at = _hour_of(hour)
                    if at is None or path.name.startswith(TEMPORARY) or (piece and not piece.isdigit()):
                        continue
                    try:
                        size = path.stat().st_size
                    except FileNotFoundError:
                        continue
                    yield TickFile(path, market, kind, path.parent.name, at, int(piece or 0), size)


def _hour_name(hour_ms: int) -> str:
    return iso(hour_ms)[:13]


def _hour_of(name: str) -> int | None:
    try:
        return int(np.datetime64(name, "h").astype(np.int64)) * HOUR_MS
    except ValueError:
        return None


def _encode(kind: TickKind, symbol: str, columns: Mapping[str, np.ndarray], joined: Sequence[str], digest: str) -> bytes:
    times = ("event_time", "available_time")
    table = pa.table({name: pa.array(column) for name, column in columns.items()})
    encoding = {name: "DELTA_BINARY_PACKED" if name in times else "BYTE_STREAM_SPLIT" for name in columns}
    note = {"format": FORMAT, "kind": str(kind), "symbol": symbol, "joined": list(joined), "digest": digest}
    out = io.BytesIO()
    with pq.ParquetWriter(out, table.schema, compression="zstd", use_dictionary=False, column_encoding=encoding, write_statistics=False,
                          write_page_checksum=True, store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({_META.decode(): json.dumps(note, sort_keys=True)})
    return out.getvalue()


def _decode(kind: TickKind, symbol: str, data: bytes) -> tuple[dict[str, np.ndarray], list[str]]:
    try:
        with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
            note = json.loads((file.metadata.metadata or {})[_META])
            table = file.read(use_threads=False)
        columns = {name: table.column(name).combine_chunks().to_numpy(zero_copy_only=False)
                   for name in ("event_time", "available_time", *TICK_COLUMNS[kind])}
        joined = [str(name) for name in note["joined"]]
        if note["format"] != FORMAT or note["digest"] != _digest(kind, symbol, columns):
            raise DamagedState("its numbers are not those that were written, or it belongs to another series")
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError, MemoryError, OverflowError) as error:
        raise DamagedState(f"not a readable tick file ({type(error).__name__}: {str(error)[:80]})") from None
    return columns, joined


def _digest(kind: TickKind, symbol: str, columns: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.blake2b(f"{FORMAT} {kind} {symbol}".encode(), digest_size=16)
    for name in ("event_time", "available_time", *TICK_COLUMNS[kind]):
        digest.update(np.ascontiguousarray(columns[name]).tobytes())
    return digest.hexdigest()
