"""One Parquet file of candles: a month of one series, or the rows of a series that contradict stored ones.

Two layers protect the content. The manifest's SHA-256 is compared before any parser sees a byte; page checksums and a digest
of the decoded numbers, kept in the file's own metadata, let a file prove itself when the manifest is lost. A file also names
the series and month it belongs to, so that files swapped by hand are noticed.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import DamagedState
from data.frames import COLUMNS, TIME_COLUMNS

pa.set_memory_pool(pa.system_memory_pool())  # pyarrow's own keeps freed pages: 55 MiB more after a scan of 50 symbols

FORMAT = 1
CONFLICTS = "conflicts"  # takes the place of the month in the file of set-aside rows
_META = "sextant"
_SOURCE = "source"
# Measured on a year of 1m: byte-stream-split with LZ4 reads 2.5x faster than pyarrow's defaults and is a fifth smaller;
# dictionaries never pay for prices, and statistics would be one more place where a flipped bit could hide.
_ENCODING = {name: "DELTA_BINARY_PACKED" if name in TIME_COLUMNS else "BYTE_STREAM_SPLIT" for name in COLUMNS}
_SCHEMA = pa.schema([(name, pa.int64() if name in TIME_COLUMNS else pa.float64()) for name in COLUMNS])


@dataclass(frozen=True)
class Part:
    """A decoded file. `columns` are read-only; `sources` is filled for the conflicts file alone, one name per row."""

    series: str
    month: str
    provenances: tuple[str, ...]
    columns: dict[str, np.ndarray]
    sources: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        return len(self.columns["open_time"])


def encode(part: Part) -> bytes:
    """Parquet bytes: the same part gives the same bytes, so equal stores are equal byte for byte."""
    schema, encoding = _SCHEMA, dict(_ENCODING)
    arrays = [pa.array(part.columns[name]) for name in COLUMNS]
    if part.month == CONFLICTS:
        schema = schema.append(pa.field(_SOURCE, pa.string()))
        encoding[_SOURCE] = "PLAIN"
        arrays.append(pa.array(part.sources, pa.string()))
    note = {"format": FORMAT, "series": part.series, "month": part.month, "provenances": list(part.provenances),
            "digest": _digest(part)}
    out = io.BytesIO()
    with pq.ParquetWriter(out, schema, compression="lz4", use_dictionary=False, column_encoding=encoding,
                          write_statistics=False, write_page_checksum=True, store_schema=False) as writer:
        writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
        writer.add_key_value_metadata({_META: json.dumps(note, sort_keys=True)})
    return out.getvalue()


def decode(data: bytes, *, proven: bool, threads: bool = False) -> Part:
    """The part in these bytes. `proven` says that their SHA-256 was found equal to the manifest's; else the digest is checked.

    Raises
    ------
    DamagedState
        When the bytes are not a part, or not the part that was written.
    """
    try:
        with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
            note = json.loads((file.metadata.metadata or {})[_META.encode()])
            table = file.read(use_threads=threads)
        columns = {name: _numbers(table.column(name)) for name in COLUMNS}
        sources = tuple(table.column(_SOURCE).to_pylist()) if note["month"] == CONFLICTS else ()
        part = Part(str(note["series"]), str(note["month"]), tuple(note["provenances"]), columns, sources)
        if note["format"] != FORMAT:
            raise DamagedState(f"expected a part of format {FORMAT}, got {note['format']!r}; it was written by a newer Sextant")
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError, MemoryError, OverflowError) as error:
        raise DamagedState(f"not a readable part ({type(error).__name__}: {str(error)[:80]})") from None
    if not proven and _digest(part) != note.get("digest"):
        raise DamagedState("its numbers are not those that were written (digest differs)")
    return part


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    wanted = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    return wanted.to_numpy(zero_copy_only=True)


def _digest(part: Part) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([FORMAT, part.series, part.month, list(part.provenances), list(part.sources)]).encode())
    for name in COLUMNS:
        digest.update(np.ascontiguousarray(part.columns[name]).tobytes())
    return digest.hexdigest()


def month_numbers(open_time: np.ndarray) -> np.ndarray:
    """Months since 1970-01 of UTC milliseconds."""
    return open_time.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)


def month_name(number: int) -> str:
    """
    >>> month_name(648)
    '2024-01'
    """
    return f"{1970 + number // 12:04d}-{number % 12 + 1:02d}"


def empty_columns() -> dict[str, np.ndarray]:
    return {name: np.empty(0, np.int64 if name in TIME_COLUMNS else np.float64) for name in COLUMNS}


def take(columns: Mapping[str, np.ndarray], rows: slice | np.ndarray) -> dict[str, np.ndarray]:
    return {name: columns[name][rows] for name in COLUMNS}


def by_month(columns: dict[str, np.ndarray]) -> list[tuple[str, dict[str, np.ndarray]]]:
    """The rows of each month by name, in their given order."""
    months = month_numbers(columns["open_time"])
    if not len(months):
        return []
    if np.any(np.diff(months) < 0):
        order = np.argsort(months, kind="stable")
        months, columns = months[order], take(columns, order)
    names, first = np.unique(months, return_index=True)
    ends = np.append(first[1:], len(months))
    return [(month_name(int(m)), take(columns, slice(int(a), int(b)))) for m, a, b in zip(names, first, ends, strict=True)]


def cut(columns: dict[str, np.ndarray], start: int | None, end: int | None) -> dict[str, np.ndarray]:
    """The rows with start <= open_time < end, as views."""
    times = columns["open_time"]
    first = 0 if start is None else int(np.searchsorted(times, start, side="left"))
    last = len(times) if end is None else int(np.searchsorted(times, end, side="left"))
    return take(columns, slice(first, max(first, last)))
