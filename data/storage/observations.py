"""The observation store: Parquet per series, kind and month; appended idempotently; the first value seen of a row stays.

    <folder>/observations/<venue>/<market>/<SYMBOL>/<kind>/2024-01.parquet ... manifest.json
    <folder>/quarantine/             files that failed their check
    <folder>/observations.lock       held while writing; readers never wait

A vendor's later revision of a row never overwrites it: a backtest must see what could be known then (methods.md N1, X16). Every file
proves itself by a digest of its numbers; the manifest says which files there must be and how many rows, so a deleted or cut one is
noticed. Between the two renames of an append a reader finds the new file with the old manifest: it proves itself, and is read.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from loguru import logger

from data.errors import DamagedState, DataError, InputError, LockHeld
from data.frames import EARLIEST_MS, LATEST_MS
from data.market import VENUE, Market, parse_symbol, provenance_rank, worst_provenance
from data.observations import COLUMNS_OF, Kind, Observations
from data.storage.durable import Fault, make_folder, no_fault, read_whole, remove_leftovers, replace_file, sync_folder
from data.storage.observation_parts import ObservationPart, decode, encode, names_of
from data.storage.parts import month_name, month_numbers

LOCK_WAIT_S = 5.0
_KEPT_PARTS = 64
MANIFEST = "manifest.json"
# Beside event_time: what tells two rows of one moment apart.
KEY_COLUMNS: Mapping[Kind, tuple[str, ...]] = {
    Kind.TRADES: ("trade_id",), Kind.AGG_TRADES: ("agg_id",), Kind.BOOK: ("side", "price"),
    Kind.LIQUIDATIONS: ("side", "price", "average_price", "quantity", "filled_quantity"),
    Kind.BOOK_DEPTH: ("percentage",),
    Kind.OPTION_MARK: ("strike", "expiry_ms", "is_call"), Kind.OPTION_OPEN_INTEREST: ("strike", "expiry_ms", "is_call"),
}


@dataclass(frozen=True, order=True)
class ObservationKey:
    """What one series of observations is. `market` is spot or perp, or none for what belongs to no market (on-chain, sentiment).

    The venue is that of the data: another exchange's funding (okx) is another series, never mixed with binance.
    """

    symbol: str
    kind: Kind
    market: str = str(Market.PERP)
    venue: str = VENUE

    def __str__(self) -> str:
        return f"{self.symbol} {self.kind}" + (f" {self.market}" if self.market != "none" else "") + (
            f" ({self.venue})" if self.venue != VENUE else "")

    @property
    def path(self) -> str:
        """The folder below observations/. Refuses text that could leave it (S5)."""
        if (parse_symbol(self.symbol) != self.symbol or self.market not in (*Market, "none")
                or not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,23}", self.venue)):
            raise InputError(f"expected an upper-case symbol, a market and a lower-case venue, got {self.symbol[:24]!r}, "
                             f"{self.market[:12]!r}, {self.venue[:24]!r}")
        return f"{self.venue}/{self.market}/{self.symbol}/{slug(self.kind)}"


def slug(kind: Kind) -> str:
    """
    >>> slug(Kind.GLOBAL_RATIO)
    'global-long-short-ratio'
    """
    return re.sub(r"[^a-z0-9]+", "-", str(kind).lower())


_BY_SLUG = {slug(kind): kind for kind in Kind}


@dataclass(frozen=True)
class ObservationReport:
    """What became of offered rows. `revised` repeat a stored row with other values: the stored one stays."""

    added: int
    duplicates: int
    revised: int
    present: int


@dataclass(frozen=True)
class ObservationSummary:
    """One row of the Market data page; times are event times in milliseconds."""

    key: ObservationKey
    rows: int
    first: int
    last: int
    last_available: int
    provenance: str
    bytes: int


@dataclass(frozen=True)
class ObservationDamage:
    """A file that can no longer be read; its rows are missing until they are fetched again."""

    series: str
    file: str
    reason: str
    rows: int = 0

    @property
    def words(self) -> str:
        return f"{self.series} {self.file}: {self.reason}; {self.rows} rows lost until they are fetched again"


class ObservationStore:
    """Thread-safe; see the top of this file. `fault` is the seam for crash tests (data/storage/durable.py)."""

    def __init__(self, folder: Path, *, lock_wait_s: float = LOCK_WAIT_S, fault: Fault = no_fault) -> None:
        self._folder = Path(folder)
        self._lock_wait_s = lock_wait_s
        self._fault = fault
        self._guard = threading.RLock()
        self._kept: OrderedDict[tuple[Path, str], ObservationPart] = OrderedDict()
        self._damage: dict[tuple[str, str], ObservationDamage] = {}

    # -- reading ----------------------------------------------------------------------------------------------------------

    def keys(self, symbol: str | None = None, kind: Kind | None = None) -> tuple[ObservationKey, ...]:
        """Every series that holds at least one row, sorted; only those of a symbol or a kind where they are given."""
        found = []
        where = f"*/*/{parse_symbol(symbol) if symbol else '*'}/{slug(kind) if kind else '*'}"
        for path in (self._folder / "observations").glob(where):
            venue, market, home, name = path.parts[-4:]
            if name in _BY_SLUG:
                key = ObservationKey(home, _BY_SLUG[name], market, venue)
                if self._entries(key):
                    found.append(key)
        return tuple(sorted(found))

    def read(self, key: ObservationKey, start_ms: int | None = None, end_ms: int | None = None) -> Observations:
        """Rows with start <= event_time < end, ordered by (available_time, event_time); empty when there are none.

        A damaged file is set aside, its rows are missing, and `damage` names it.
        """
        parts = [part for month in self._months(key, start_ms, end_ms) if (part := self._part(key, month)) is not None]
        if not parts:
            return Observations.empty(key.kind, provenance="LIVE" if not self._entries(key) else self.provenance(key))
        columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in names_of(key.kind)}
        event = columns["event_time"]
        keep = np.ones(len(event), bool)
        if start_ms is not None:
            keep &= event >= start_ms
        if end_ms is not None:
            keep &= event < end_ms
        used = [p for part in parts for p in part.provenances]
        return Observations(key.kind, event[keep], columns["available_time"][keep],
                            {name: columns[name][keep] for name in COLUMNS_OF[key.kind]}, worst_provenance(used))

    def span(self, key: ObservationKey) -> tuple[int, int] | None:
        """event_time of the first and the last row; None when empty."""
        entries = self._entries(key)
        return (min(int(e["first"]) for e in entries.values()), max(int(e["last"]) for e in entries.values())) if entries else None

    def rows(self, key: ObservationKey) -> int:
        return sum(int(entry["rows"]) for entry in self._entries(key).values())

    def provenance(self, key: ObservationKey) -> str:
        """The worst provenance of the whole series; NONE when it is empty."""
        found = [p for entry in self._entries(key).values() for p in entry["provenances"]]
        return worst_provenance(found) if found else "NONE"

    def version(self, key: ObservationKey) -> str:
        """Changes exactly when the series' content changes; part of every cache key."""
        content = [[month, entry["sha256"]] for month, entry in sorted(self._entries(key).items())]
        return hashlib.sha256(json.dumps([key.path, content]).encode()).hexdigest()[:32]

    def summary(self) -> list[ObservationSummary]:
        """One row per series, from the manifests alone."""
        out = []
        for key in self.keys():
            entries = self._entries(key).values()
            out.append(ObservationSummary(key, sum(int(e["rows"]) for e in entries), min(int(e["first"]) for e in entries),
                                          max(int(e["last"]) for e in entries), max(int(e["last_available"]) for e in entries),
                                          self.provenance(key), sum(int(e["bytes"]) for e in entries)))
        return out

    @property
    def damage(self) -> tuple[ObservationDamage, ...]:
        """Every loss seen by this object."""
        with self._guard:
            return tuple(self._damage.values())

    def verify(self) -> tuple[ObservationDamage, ...]:
        """Read every file afresh; what is lost."""
        with self._guard:
            self._kept.clear()
        for path in sorted((self._folder / "observations").glob("*/*/*/*")):
            venue, market, symbol, kind = path.parts[-4:]
            if kind in _BY_SLUG:
                key = ObservationKey(symbol, _BY_SLUG[kind], market, venue)
                for month in {*self._entries(key), *(file.stem for file in path.glob("[0-9]*.parquet"))}:
                    self._part(key, month)
        return self.damage

    # -- writing ----------------------------------------------------------------------------------------------------------

    def append(self, key: ObservationKey, found: Observations) -> ObservationReport:
        """Store what is new. A row is the same when event_time and the kind's key columns are (`KEY_COLUMNS`); the first seen stays.

        Raises
        ------
        InputError
            When kinds differ or a time is outside 2010..2100: it was read in the wrong unit. Nothing is stored then.
        LockHeld, DataError
            Another writer is at work; the disk refused.
        """
        if found.kind is not key.kind:
            raise InputError(f"expected {key.kind} for {key}, got {found.kind}")
        provenance_rank(found.provenance)
        times = np.concatenate((found.event_time, found.available_time)) if len(found) else np.empty(0, np.int64)
        if np.any((times < EARLIEST_MS) | (times >= LATEST_MS)):
            raise InputError(f"a time of {key} is outside 2010..2100: not milliseconds; nothing was stored")
        added = duplicates = revised = 0
        with self._writing():
            folder = self._path(key)
            make_folder(folder)
            remove_leftovers(folder)
            entries = dict(self._entries(key))
            # A kill between the two renames leaves a file newer than its entry: such a month is written again, with its entry.
            listed = {month for month, entry in entries.items() if _digest_of(folder / f"{month}.parquet") == entry["sha256"]}
            for file in folder.glob("[0-9]*.parquet"):
                if file.stem not in listed and (late := self._part(key, file.stem)) is not None:
                    entries[file.stem] = _entry(late, encode(late))
            months = month_numbers(found.event_time)
            for number in np.unique(months):
                month, rows = month_name(int(number)), months == number
                offered = {"event_time": found.event_time[rows], "available_time": found.available_time[rows]} | {
                    name: column[rows] for name, column in found.columns.items()}
                before = self._part(key, month)
                merged, new, same = _merge(key.kind, before.columns if before else None, offered)
                added, duplicates, revised = added + new, duplicates + same, revised + int(rows.sum()) - new - same
                if not new and (before is None or month in listed):
                    continue
                known = {*(before.provenances if before else ()), found.provenance}
                provenances = tuple(sorted(known, key=lambda p: (provenance_rank(p), p)))
                part = ObservationPart(key.path, key.kind, month, provenances, merged)
                data = encode(part)
                replace_file(folder / f"{month}.parquet", data, self._fault, "observations")
                entries[month] = _entry(part, data)
                replace_file(folder / MANIFEST, _encode(entries), self._fault, "observation manifest")
                with self._guard:
                    self._damage.pop((key.path, f"{month}.parquet"), None)
        return ObservationReport(added, duplicates, revised, self.rows(key))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            make_folder(self._folder)
            with FileLock(self._folder / "observations.lock", timeout=self._lock_wait_s, poll_interval=0.02):
                yield
        except Timeout:
            raise LockHeld(f"another process is writing observations in {self._folder}; waited {self._lock_wait_s:g} s; try again "
                           "when it has finished") from None
        except OSError as error:
            raise DataError(f"observations could not be written ({error.strerror or error}); what was stored before is unchanged; "
                            f"make room or allow writing in {self._folder}, then repeat") from error

    # -- files ------------------------------------------------------------------------------------------------------------

    def _path(self, key: ObservationKey) -> Path:
        return self._folder / "observations" / key.path

    def _entries(self, key: ObservationKey) -> dict[str, dict]:
        """Month to what its file must be. A manifest that is missing or damaged is made again from files that prove themselves."""
        folder = self._path(key)
        try:
            raw = read_whole(folder / MANIFEST)
            if raw is not None:
                return _decode(raw)
        except (DamagedState, DataError) as error:
            self._note(key, MANIFEST, f"{error}; rebuilt from the files that prove themselves", 0)
        files = sorted(folder.glob("[0-9]*.parquet")) if folder.is_dir() else ()
        return {file.stem: _entry(*found) for file in files if (found := self._proven(key, file, None)) is not None}

    def _months(self, key: ObservationKey, start_ms: int | None, end_ms: int | None) -> list[str]:
        return sorted(month for month, entry in self._entries(key).items()
                      if (start_ms is None or entry["last"] >= start_ms) and (end_ms is None or entry["first"] < end_ms))

    def _part(self, key: ObservationKey, month: str) -> ObservationPart | None:
        """The rows of a month; None when there are none or its file is damaged (then it is set aside and noted)."""
        found = self._proven(key, self._path(key) / f"{month}.parquet", self._entries(key).get(month))
        return found[0] if found else None

    def _proven(self, key: ObservationKey, path: Path, entry: dict | None) -> tuple[ObservationPart, bytes] | None:
        """A file that holds what its name and entry say, and its bytes; None, and named, when it does not."""
        try:
            data = read_whole(path)
            if data is None:
                if entry is not None:
                    self._note(key, path.name, "the file is missing", int(entry["rows"]))
                return None
            at = path, (digest := hashlib.sha256(data).hexdigest())
            with self._guard:
                if (kept := self._kept.get(at)) is not None:
                    self._kept.move_to_end(at)
                    return kept, data
            part = decode(data)
            if (part.series, part.month) != (key.path, path.stem):
                raise DamagedState(f"it belongs to {part.series} {part.month}")
            if entry is not None and digest != entry["sha256"] and part.rows < int(entry["rows"]):
                raise DamagedState(f"expected {entry['rows']} rows, found {part.rows}")
        except DamagedState as error:
            self._set_aside(key, path, str(error), int(entry["rows"]) if entry else 0)
            return None
        with self._guard:
            self._kept[at] = part
            while len(self._kept) > _KEPT_PARTS:
                self._kept.popitem(last=False)
        return part, data

    def _note(self, key: ObservationKey, file: str, reason: str, rows: int) -> None:
        damage = ObservationDamage(key.path, file, reason, rows)
        with self._guard:
            if self._damage.get((key.path, file)) != damage:  # once, not at every look
                logger.warning("{}", damage.words)
            self._damage[key.path, file] = damage

    def _set_aside(self, key: ObservationKey, path: Path, reason: str, rows: int) -> None:
        self._note(key, path.name, reason, rows)
        quarantine = self._folder / "quarantine"
        try:
            make_folder(quarantine)
            stem = f"{key.path.replace('/', '-')}-{path.name}"
            count = next(n for n in range(1, 100_000) if not (quarantine / f"{stem}.{n}").exists())
            path.replace(quarantine / f"{stem}.{count}")
            sync_folder(path.parent)
        except OSError:
            return  # read-only: it stays where it is and is refused at each read


def _merge(kind: Kind, stored: Mapping[str, np.ndarray] | None,
           offered: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], int, int]:
    """All rows, stored ones first of their key; how many are new, and how many offered ones equal their stored row."""
    names = names_of(kind)
    before = len(stored["event_time"]) if stored is not None else 0
    whole = {name: np.concatenate([stored[name], offered[name]]) if stored is not None else np.asarray(offered[name]) for name in names}
    keys = [whole["event_time"], *(whole[name] for name in KEY_COLUMNS.get(kind, ()))]
    order = np.lexsort((np.arange(len(whole["event_time"])), *reversed(keys)))  # equal keys keep the order of arrival
    first = np.ones(len(order), bool)
    if len(order) > 1:
        first[1:] = np.any([_differs(values[order[1:]], values[order[:-1]]) for values in keys], axis=0)
    leader = order[np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))]
    repeat = ~first
    same = np.ones(int(repeat.sum()), bool)
    for name in COLUMNS_OF[kind]:
        same &= ~_differs(whole[name][order[repeat]], whole[name][leader[repeat]])
    kept = order[first]
    return {name: whole[name][kept] for name in names}, int(first.sum()) - before, int(same.sum())


def _differs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a != b) & ~(np.isnan(a) & np.isnan(b)) if a.dtype.kind == "f" else a != b


def _entry(part: ObservationPart, data: bytes) -> dict:
    event = part.columns["event_time"]
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "rows": part.rows, "first": int(event.min()),
            "last": int(event.max()), "last_available": int(part.columns["available_time"].max()), "provenances": list(part.provenances)}


def _digest_of(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return ""


def _encode(entries: dict[str, dict]) -> bytes:
    body = {"format": 1, "months": dict(sorted(entries.items()))}
    return json.dumps({"check": hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest(), **body}).encode()


def _decode(data: bytes) -> dict[str, dict]:
    try:
        body = json.loads(data)
        check = body.pop("check")
        if check != hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest() or body["format"] != 1:
            raise DamagedState("its content differs from its checksum")
        return body["months"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedState(f"not a readable manifest ({type(error).__name__})") from None
