"""Candles from files people have: Binance's archive, exports of other programs, uploads. In any order, again without harm.

Good rows of a bad file are kept, every refused line is named with its number and reason, and what cannot be known for certain
(which symbol, spot or perp, 1,234 or 1.234) is refused with a hint instead of guessed.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from data.clock import iso
from data.errors import ImportRefused, InputError
from data.frames import Candles
from data.importing.archives import LARGEST_BYTES, check_sum, members
from data.importing.filenames import other_kind, read_name, settle_interval, settle_market, settle_symbol
from data.importing.tabular import read_table
from data.market import Interval, Market, Provenance, SeriesKey, parse_symbol
from data.storage.candles import AppendReport, CandleStore, Gap

_BATCH_ROWS = 400_000  # held in memory before they are stored: about 40 MB
SHOWN_LINES = 20  # rejected lines that a summary lists

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Rejected:
    """A line that is not a candle, or with `line` None a whole file."""

    file: str
    line: int | None
    reason: str


@dataclass
class SeriesImport:
    """What an import did to one series. `rejected` lists at most a hundred lines per file; `rejected_total` counts all."""

    key: SeriesKey
    added: int = 0
    present: int = 0
    duplicates: int = 0
    enriched: int = 0
    conflicts: int = 0
    dropped_open: int = 0
    files: int = 0
    gaps: list[Gap] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    rejected_total: int = 0

    def document(self) -> dict[str, Any]:
        gaps = [{"start": iso(g.start), "end": iso(g.end), "bars": g.bars, "status": g.status} for g in self.gaps]
        return {
            "symbol": self.key.symbol, "market": str(self.key.market), "interval": str(self.key.interval),
            "added": self.added, "present": self.present, "duplicates": self.duplicates, "enriched": self.enriched,
            "conflicts": self.conflicts, "dropped_open": self.dropped_open, "files": self.files, "gaps": gaps,
            "rejected": [vars(r) for r in self.rejected], "rejected_total": self.rejected_total,
        }


@dataclass
class ImportReport:
    """What became of every file: `files` were candle files (read or refused), `skipped` counts the others by kind."""

    files: int = 0
    series: list[SeriesImport] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    refused: list[Rejected] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """Plain values for `import --json` (the shape of docs/architecture.md, with more keys)."""
        return {
            "files": self.files, "series": [s.document() for s in self.series], "skipped": dict(sorted(self.skipped.items())),
            "refused": [vars(r) for r in self.refused],
            "rejected_total": sum(s.rejected_total for s in self.series) + len(self.refused),
        }


def import_paths(store: CandleStore, paths: Iterable[Path | str], *, symbol: str | None = None, interval: Interval | None = None,
                 market: Market | None = None, clock_ms: int, progress: Progress | None = None) -> ImportReport:
    """Store the candles of files and folders.

    Parameters
    ----------
    symbol, interval, market
        For files whose name or folder does not say; a file that says otherwise is refused.
    clock_ms : int
        Now: candles that close at or after it are still open and dropped (C1).
    progress : callable(done, total, name)
        Called once per candle file.

    Raises
    ------
    InputError
        When no path exists, or an option is wrong.
    ImportRefused
        When nothing at all could be read; otherwise refused files stand in the report.
    """
    named = [Path(p) for p in paths]
    if not named:
        raise InputError("expected at least one file or folder to import, got none; e.g. python -m core import DOWNLOADS")
    missing = [p for p in named if not p.exists()]
    if len(missing) == len(named):
        raise InputError(f"there is no file or folder {str(missing[0])[:200]!r}; check the path")
    work = _Import(store, parse_symbol(symbol) if symbol else None, interval, market, clock_ms)
    for path in missing:
        work.refuse(str(path), "there is no such file or folder; check the path")
    # Sorted, so that the order in which a folder lists its files, or a user names them, cannot decide which of two
    # contradicting rows is stored.
    files = sorted({file for path in named if path.exists() for file in _walk(path)})
    wanted = []
    for file in files:
        kind = other_kind(file)
        if kind is None:
            wanted.append(file)
        elif file in {p.absolute() for p in named if p.is_file()} and kind != "CHECKSUM":
            work.refuse(str(file), f"expected a table of candles, this is {kind}; only candles (klines) are imported")
        else:
            work.skip(kind)
    for done, file in enumerate(wanted):
        work.add_file(file)
        if progress is not None:
            progress(done + 1, len(wanted), file.name)
    return work.finish()


def import_uploads(store: CandleStore, uploads: Iterable[tuple[str, bytes]], *, symbol: str | None = None,
                   interval: Interval | None = None, market: Market | None = None, clock_ms: int) -> ImportReport:
    """The same for uploads: their names are what the browser called them and are never used as paths. Give them in the order of their
    names, for the same reason."""
    work = _Import(store, parse_symbol(symbol) if symbol else None, interval, market, clock_ms)
    for name, data in uploads:
        work.add(PurePath(name.replace("\\", "/")), name, data)
    return work.finish()


def _walk(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path.absolute()
        return
    for folder, _, names in os.walk(path.absolute()):
        for name in names:
            file = Path(folder, name)
            if file.is_file():  # not a pipe or device, which would hang
                yield file


class _Import:
    """One run: rows are gathered per series, so that a month fed by several files is written once."""

    def __init__(self, store: CandleStore, symbol: str | None, interval: Interval | None, market: Market | None,
                 clock_ms: int) -> None:
        self._store = store
        self._symbol, self._interval, self._market = symbol, interval, market
        self._clock_ms = clock_ms
        self._batches: dict[SeriesKey, list[tuple[str, Candles]]] = {}
        self._series: dict[SeriesKey, SeriesImport] = {}
        self._skipped: Counter[str] = Counter()
        self._waiting_rows = 0
        self._read_files = 0
        self._files = 0
        self._refused: list[Rejected] = []

    def skip(self, kind: str) -> None:
        self._skipped[kind] += 1

    def refuse(self, file: str, reason: str, key: SeriesKey | None = None) -> None:
        self._files += 1
        rejected = Rejected(file, None, reason)
        self._refused.append(rejected)
        if key is not None:
            self._of(key).rejected.append(rejected)

    def add_file(self, file: Path) -> None:
        try:
            size = file.stat().st_size
            if size > LARGEST_BYTES:
                raise ImportRefused(f"the file has {size >> 20} MiB, at most {LARGEST_BYTES >> 20} are read; split it")
            data = file.read_bytes()
            beside = file.with_name(file.name + ".CHECKSUM")
            if beside.is_file():
                check_sum(file.name, data, beside.read_bytes()[:4096].decode("utf-8", "replace"))
        except ImportRefused as error:
            self.refuse(str(file), str(error), self._key_or_none(file))
        except OSError as error:
            self.refuse(str(file), f"it cannot be read ({error.strerror}); check its permissions")
        else:
            self.add(file, str(file), data)

    def add(self, path: PurePath, label: str, data: bytes) -> None:
        """Read one file's bytes; a refusal of one member of an archive does not touch the others."""
        found = 0
        try:
            for member in members(path.name, data):
                inner = PurePath(member.name) if member.name != path.name else None
                kind = other_kind(inner) if inner is not None else None
                if kind is not None:
                    self.skip(kind)
                    continue
                found += 1
                self._add_table(path, inner, label if found == 1 else f"{label}/{member.name}", member.data)
        except ImportRefused as error:
            self.refuse(label, str(error), self._key_or_none(path))
            return
        if not found:
            self.refuse(label, "the archive holds no table of candles; expected a csv inside", self._key_or_none(path))

    def _add_table(self, path: PurePath, inner: PurePath | None, label: str, data: bytes) -> None:
        key = None
        try:
            key = self._key(path, inner)
            table = read_table(data, key.symbol, key.interval)
        except ImportRefused as error:
            self.refuse(label, str(error), key)
            return
        self._files += 1
        self._read_files += 1
        series = self._of(key)
        series.files += 1
        series.rejected += [Rejected(label, line, reason) for line, reason in table.faults]
        series.rejected_total += table.faults_total
        closed = table.columns["close_time"] < self._clock_ms
        series.dropped_open += int(np.count_nonzero(~closed))
        columns = table.columns if closed.all() else {name: array[closed] for name, array in table.columns.items()}
        candles = Candles.from_columns(key.interval, columns, provenance=Provenance.IMPORTED)
        if len(candles):
            self._batches.setdefault(key, []).append((label, candles))
            self._waiting_rows += len(candles)
            if self._waiting_rows >= _BATCH_ROWS:
                self._store_waiting()

    def _key(self, path: PurePath, inner: PurePath | None) -> SeriesKey:
        outside = read_name(path)
        inside = read_name(inner) if inner is not None else outside
        named = inside if inside.symbol and inside.interval else outside
        return SeriesKey(settle_symbol(named.symbol, self._symbol), settle_interval(named.interval, self._interval),
                         settle_market(inside.market or outside.market, self._market))

    def _key_or_none(self, path: PurePath) -> SeriesKey | None:
        try:
            return self._key(path, None)
        except ImportRefused:
            return None

    def _of(self, key: SeriesKey) -> SeriesImport:
        return self._series.setdefault(key, SeriesImport(key))

    def _store_waiting(self) -> None:
        for key, batches in self._batches.items():
            self._count(self._of(key), self._store.append_all(key, batches, provenance=Provenance.IMPORTED))
        self._batches.clear()
        self._waiting_rows = 0

    @staticmethod
    def _count(series: SeriesImport, report: AppendReport) -> None:
        series.added += report.added
        series.duplicates += report.duplicates
        series.enriched += report.enriched
        series.conflicts += report.conflicts

    def finish(self) -> ImportReport:
        if not self._read_files:
            skipped = ", ".join(f"{count} {kind}" for kind, count in sorted(self._skipped.items()))
            if self._refused:
                first = self._refused[0]
                more = f" ({len(self._refused) - 1} more files were refused)" if len(self._refused) > 1 else ""
                raise ImportRefused(f"{PurePath(first.file).name[:80]}: {first.reason}{more}")
            raise ImportRefused(f"found no candle file (skipped: {skipped or 'nothing'}); expected names such as "
                                "BTCUSDT-1h-2024-01.zip")
        self._store_waiting()
        for key, series in self._series.items():
            series.present = self._store.rows(key)
            series.gaps = self._store.gaps(key)
        return ImportReport(self._files, [self._series[key] for key in sorted(self._series)], dict(self._skipped), self._refused)


def summary_text(report: ImportReport) -> str:
    """What an import did, for people: a line a series, then the first lines that were not read and why."""
    skipped = "".join(f", {n} {kind} skipped" for kind, n in sorted(report.skipped.items()))
    lines = [f"{report.files} candle files read{skipped}"]
    for s in report.series:
        words = [f"{s.key}: {s.added:,} added, {s.duplicates:,} duplicates, {s.present:,} present",
                 "1 gap" if len(s.gaps) == 1 else f"{len(s.gaps)} gaps"]
        words += [f"{n:,} {what}" for n, what in ((s.conflicts, "conflicts kept aside"), (s.rejected_total, "lines rejected"),
                                                  (s.dropped_open, "open candles dropped")) if n]
        lines.append("  " + ", ".join(words))
    rejected = [r for s in report.series for r in s.rejected if r.line is not None]
    lines += [f"  not read: {PurePath(r.file).name} line {r.line}: {r.reason}" for r in rejected[:SHOWN_LINES]]
    if len(rejected) > SHOWN_LINES:
        lines.append(f"  ... and {len(rejected) - SHOWN_LINES} lines more; --json lists them")
    lines += [f"  refused {PurePath(r.file).name}: {r.reason}" for r in report.refused]
    return "\n".join(lines)
