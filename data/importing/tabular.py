"""A text table of candles, read into columns: quickly where it is clean, line by line where it is not.

Both ways give the same rows. The quick way (pyarrow) is taken for comma-separated text in which every row proves to be a candle;
anything else is read again carefully, so that each refused line can be named with its number and reason.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.csv

from data.errors import ImportRefused
from data.frames import COLUMNS, OPTIONAL_COLUMNS, TIME_COLUMNS, row_faults
from data.importing.spellings import REQUIRED, decimal_mark, map_header, missing_columns, number, time_ms, to_ms
from data.market import Interval

LISTED_FAULTS = 100  # per file; all are counted
_CAREFUL_BYTES = 64 << 20  # of text read line by line in Python: about 800,000 rows
_LONGEST_LINE = 2_000
_PREAMBLE = 10  # lines in which a header may begin (some sites put their address first)
_ENOUGH_ROWS = 24  # to be sure that rows further apart than the interval are not just a few missing candles patched in


@dataclass
class Table:
    """Rows that are candles, in file order; `faults` are (1-based line, reason) of the first hundred that are not."""

    columns: dict[str, np.ndarray]
    faults: list[tuple[int, str]] = field(default_factory=list)
    faults_total: int = 0

    @property
    def rows(self) -> int:
        return len(self.columns["open_time"])

    def reject(self, line: int, reason: str) -> None:
        self.faults_total += 1
        if len(self.faults) < LISTED_FAULTS:
            self.faults.append((line, reason))


@dataclass(frozen=True)
class _Layout:
    delimiter: str
    places: dict[str, int]
    fields: int
    first_line: int  # 0-based number of the first data line
    header: str | None


def read_table(data: bytes, symbol: str, interval: Interval) -> Table:
    """The candles in a text table.

    Parameters
    ----------
    data : bytes
        Text with or without header; commas, semicolons or tabs; decimal point or comma; UTF-8, or UTF-16 with its mark.
    symbol : str
        Tells "Volume BTC" from "Volume USDT".

    Raises
    ------
    ImportRefused
        When the whole table cannot be trusted: no columns found, numbers ambiguous, rows of another interval.
    """
    _refuse_foreign(data)
    quick = _read_quickly(data, symbol, interval)
    return quick if quick is not None else _read_carefully(data, symbol, interval)


def _refuse_foreign(data: bytes) -> None:
    head = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    if not head:
        raise ImportRefused("the file is empty; export it again")
    if head[:1] == b"<":
        raise ImportRefused("this is a web page or XML, not a table; download the csv or zip file itself")
    if head[:1] in b"{[":
        raise ImportRefused("this is JSON; expected a csv table of candles")
    if head[:4] == b"PAR1":
        raise ImportRefused("this is a Parquet file; export it as csv")
    if b"\0" in data[:4096] and data[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        raise ImportRefused("this is not text (it holds zero bytes); save it as csv in UTF-8")


# -- the quick way -------------------------------------------------------------------------------------------------------------


def _read_quickly(data: bytes, symbol: str, interval: Interval) -> Table | None:
    """None where anything at all is unusual."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or b'"' in data or b"\r" in data[:-2].replace(b"\r\n", b"") or b"\0" in data:
        return None
    try:
        head = data[:20_000].removeprefix(b"\xef\xbb\xbf").decode("utf-8", "ignore").splitlines()[:2]
        layout = _layout(head, symbol)
    except ImportRefused:
        return None
    if layout.delimiter != "," or layout.first_line > 1 or layout.first_line >= len(head):
        return None
    sample = head[layout.first_line].split(",")
    types: dict[str, pa.DataType] = {}
    names = [f"f{i}" for i in range(layout.fields)]
    if len(sample) != layout.fields:
        return None
    for column, place in layout.places.items():
        kind: pa.DataType = pa.float64()
        if column in TIME_COLUMNS:
            kind = pa.int64() if sample[place].strip().isdigit() else pa.timestamp("ms")
            if column == "close_time" and kind != pa.int64():
                return None
        types[names[place]] = kind
    try:
        read = pa.csv.read_csv(
            pa.BufferReader(data),
            read_options=pa.csv.ReadOptions(column_names=names, skip_rows=layout.first_line, use_threads=False),
            parse_options=pa.csv.ParseOptions(delimiter=",", quote_char=False),
            convert_options=pa.csv.ConvertOptions(column_types=types, include_columns=list(types), null_values=[""]))
    except (pa.ArrowException, ValueError):
        return None
    columns: dict[str, np.ndarray] = {}
    for column, place in layout.places.items():
        values = read.column(names[place])
        if values.null_count and column not in OPTIONAL_COLUMNS:
            return None
        if column not in TIME_COLUMNS:
            columns[column] = values.to_numpy()
        elif values.type == pa.int64():
            columns[column] = to_ms(values.to_numpy(), closing=column == "close_time")
        else:
            columns[column] = values.cast(pa.int64()).to_numpy()
    full = _complete(columns, interval)
    if not len(full["open_time"]) or row_faults(full, interval):
        return None
    _refuse_other_interval(full["open_time"], interval)
    return Table(full)


def _complete(columns: dict[str, np.ndarray], interval: Interval) -> dict[str, np.ndarray]:
    out = {name: columns[name] for name in COLUMNS if name in columns}
    out.setdefault("close_time", columns["open_time"] + interval.ms - 1)
    for name in OPTIONAL_COLUMNS:
        out.setdefault(name, np.full(len(columns["open_time"]), np.nan))
    return {name: out[name] for name in COLUMNS}


# -- the careful way -----------------------------------------------------------------------------------------------------------


def _read_carefully(data: bytes, symbol: str, interval: Interval) -> Table:
    if len(data) > _CAREFUL_BYTES:
        raise ImportRefused(f"it has unusual or damaged rows and is larger than {_CAREFUL_BYTES >> 20} MiB; split it into months")
    lines = re.sub("\r\n?", "\n", _text(data)).split("\n")
    layout = _layout(lines[:_PREAMBLE], symbol)
    table = Table({})
    for i in range(layout.first_line - (layout.header is not None)):
        if lines[i].strip() and not lines[i].startswith(("#", "http")):
            table.reject(i + 1, f"expected at least {len(REQUIRED)} fields, got {lines[i][:40]!r}")
    numbers: list[int] = []
    rows: list[list[str]] = []
    for i in range(layout.first_line, len(lines)):
        line = lines[i]
        if not line.strip() or line == layout.header:
            continue
        if len(line) > _LONGEST_LINE:
            table.reject(i + 1, f"expected a line of fields, got one of {len(line):,} characters")
            continue
        cells = _split(line, layout.delimiter)
        if len(cells) != layout.fields:
            table.reject(i + 1, f"expected {layout.fields} fields, got {len(cells)}")
            continue
        numbers.append(i + 1)
        rows.append(cells)
    if not rows and not table.faults_total:
        raise ImportRefused("the table has no rows; export it again")

    values = [c for c in layout.places if c not in TIME_COLUMNS]
    commas = layout.delimiter != "," or any('"' in line for line in lines[layout.first_line :])
    mark = decimal_mark((row[layout.places[c]] for row in rows for c in values), commas_possible=commas)
    kept: dict[str, list[float]] = {name: [] for name in layout.places}
    kept_lines: list[int] = []
    for line_number, cells in zip(numbers, rows, strict=True):
        parsed = _parse_row(cells, layout.places, mark)
        if isinstance(parsed, str):
            table.reject(line_number, parsed)
            continue
        kept_lines.append(line_number)
        for name, value in parsed.items():
            kept[name].append(value)
    arrays = {name: np.array(kept[name], np.int64 if name in TIME_COLUMNS else np.float64) for name in layout.places}
    full = _complete(arrays, interval)
    _refuse_other_interval(full["open_time"], interval)
    faults = row_faults(full, interval)
    for row in sorted(faults):
        table.reject(kept_lines[row], faults[row])
    good = np.ones(len(kept_lines), bool)
    good[list(faults)] = False
    table.columns = {name: array[good] for name, array in full.items()}
    table.faults.sort()
    return table


def _text(data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError:
            raise ImportRefused("the UTF-16 text is cut or damaged; save it as csv in UTF-8") from None
    # Undecodable bytes spoil the cells they are in, not the file.
    return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")


def _split(line: str, delimiter: str) -> list[str]:
    if '"' not in line:
        return line.split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def _layout(lines: list[str], symbol: str) -> _Layout:
    """Delimiter, header and columns, from the first lines."""
    for i, line in enumerate(lines):
        if len(line) > _LONGEST_LINE:
            continue
        delimiter = _delimiter(line)
        cells = _split(line, delimiter)
        if len(cells) < len(REQUIRED):
            continue
        places = map_header(cells, symbol)
        if places is not None:
            missing = missing_columns(places)
            if missing:
                raise ImportRefused(f"expected columns {', '.join(REQUIRED)}; the header {line[:80]!r} has none for "
                                    f"{', '.join(missing)}")
            return _Layout(delimiter, places, len(cells), i + 1, line)
        if time_ms(cells[0]) is not None or re.match(r"\s*[\d.+-]", cells[0]):
            if len(cells) not in (6, 11, 12):
                raise ImportRefused("a table without header must have 6, 11 or 12 columns (the archive's order), got "
                                    f"{len(cells)}; add a header row: open_time,open,high,low,close,volume")
            columns = COLUMNS if len(cells) > 6 else REQUIRED
            return _Layout(delimiter, {name: place for place, name in enumerate(columns)}, len(cells), i, None)
    raise ImportRefused(f"expected columns {', '.join(REQUIRED)}; found no such header or row in the first lines "
                        f"({next((x for x in lines if x.strip()), '')[:60]!r})")


def _delimiter(line: str) -> str:
    """A semicolon or tab that splits the line into enough fields wins: a comma may then be a decimal mark."""
    bare = re.sub(r'"[^"]*"', "", line)
    for delimiter in (";", "\t"):
        if bare.count(delimiter) >= len(REQUIRED) - 1:
            return delimiter
    return ","


def _parse_row(cells: list[str], places: dict[str, int], mark: str) -> dict[str, float] | str:
    """The values of one row, or why it is none."""
    out: dict[str, float] = {}
    for name, place in places.items():
        cell = cells[place]
        value = time_ms(cell, closing=name == "close_time") if name in TIME_COLUMNS else number(cell, mark)
        if value is None or (value != value and name in REQUIRED):
            kind = "a time of 2010..2100 (ISO, or s, ms, us, ns)" if name in TIME_COLUMNS else "a number"
            return f"{name}: expected {kind}, got {cell[:40]!r}"
        out[name] = value
    return out


def _refuse_other_interval(open_time: np.ndarray, interval: Interval) -> None:
    """A 1m table named 1h would pass as 1h, one row in sixty; a 1h table named 1m as minutes with holes."""
    steps = np.diff(np.unique(open_time))
    if len(steps) < 2:
        return
    usual = Counter(steps.tolist()).most_common(1)[0][0]
    if usual < interval.ms:
        raise ImportRefused(f"expected {interval} candles, but its rows are {usual / 60_000:g} minutes apart; give the right "
                            "--interval or rename the file")
    if len(steps) + 1 >= _ENOUGH_ROWS and int(steps.min()) > interval.ms:
        raise ImportRefused(f"expected {interval} candles, but no two of its {len(steps) + 1} rows are closer than "
                            f"{int(steps.min()) / 60_000:g} minutes; give the right --interval or rename the file")


