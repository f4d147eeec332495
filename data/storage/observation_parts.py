"""One Parquet file of observations: a month of one kind. It carries a digest of its numbers, so that it can prove itself."""

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
from data.observations import COLUMNS_OF, Kind

FORMAT = 1
TIMES = ("event_time", "available_time")
_META = "sextant"


@dataclass(frozen=True)
class ObservationPart:
    """A decoded file: rows in storing order of (event_time, key columns); `columns` holds the times as well."""

    series: str
    kind: Kind
    month: str
    provenances: tuple[str, ...]
    columns: Mapping[str, np.ndarray]

    @property
    def rows(self) -> int:
        return len(self.columns["event_time"])


def names_of(kind: Kind) -> tuple[str, ...]:
    return (*TIMES, *COLUMNS_OF[kind])


def encode(part: ObservationPart) -> bytes:
    """Parquet bytes with page checksums: the same part gives the same bytes."""
    names = names_of(part.kind)
    schema = pa.schema([(name, pa.int64() if name in TIMES else pa.float64()) for name in names])
    encoding = {name: "DELTA_BINARY_PACKED" if name in TIMES else "BYTE_STREAM_SPLIT" for name in names}
    note = {"format": FORMAT, "series": part.series, "kind": str(part.kind), "month": part.month, "provenances": list(part.provenances),
            "digest": _digest(part)}
    out = io.BytesIO()
    with pq.ParquetWriter(out, schema, compression="lz4", use_dictionary=False, column_encoding=encoding, write_statistics=False,
                          write_page_checksum=True, store_schema=False) as writer:
        writer.write_table(pa.Table.from_arrays([pa.array(part.columns[name]) for name in names], schema=schema))
        writer.add_key_value_metadata({_META: json.dumps(note, sort_keys=True)})
    return out.getvalue()


def decode(data: bytes) -> ObservationPart:
    """
    Raises
    ------
    DamagedState
        When the bytes are not a part, or not the numbers that were written.
    """
    try:
        with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
            note = json.loads((file.metadata.metadata or {})[_META.encode()])
            table = file.read(use_threads=False)
        kind = Kind(note["kind"])
        columns = {name: np.array(table.column(name).to_numpy()) for name in names_of(kind)}
        part = ObservationPart(str(note["series"]), kind, str(note["month"]), tuple(note["provenances"]), columns)
        if note["format"] != FORMAT:
            raise DamagedState(f"expected observations of format {FORMAT}, got {note['format']!r}; a newer Sextant wrote them")
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError, MemoryError, OverflowError) as error:
        raise DamagedState(f"not readable ({type(error).__name__}: {str(error)[:80]})") from None
    if _digest(part) != note.get("digest"):
        raise DamagedState("its numbers are not those that were written (digest differs)")
    return part


def _digest(part: ObservationPart) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([FORMAT, part.series, str(part.kind), part.month, list(part.provenances)]).encode())
    for name in names_of(part.kind):
        digest.update(np.ascontiguousarray(part.columns[name]).tobytes())
    return digest.hexdigest()
