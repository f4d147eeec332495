"""Opening what a user hands over: zip, gzip or plain files, with nothing written anywhere and a bound on everything."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from data.errors import ImportRefused

LARGEST_BYTES = 512 << 20  # unpacked; a year of 1m candles has 70 MB of text
LARGEST_RATIO = 200  # candle text packs 3 to 12 times; a bomb packs a thousandfold
LARGEST_COUNT = 2_000
_SMALL = 1 << 20  # below this no ratio is dangerous


@dataclass(frozen=True)
class Member:
    """One text table: `name` is its name inside an archive, or that of the file itself."""

    name: str
    data: bytes


def members(name: str, data: bytes) -> Iterator[Member]:
    """The text tables in a file's bytes, recognised by content where it matters: a zip named .csv is still a zip.

    Raises
    ------
    ImportRefused
        When the archive is damaged, encrypted, climbing, nested or too large.
    """
    if data[:2] == b"PK":
        yield from _unzip(data)
    elif data[:2] == b"\x1f\x8b":
        yield Member(name, _gunzip(data))
    elif name.lower().endswith((".zip", ".gz")):
        raise ImportRefused(f"expected a zip or gzip file, got bytes that begin with {data[:4]!r}; it may be cut or a web page: "
                            "download it again")
    elif len(data) > LARGEST_BYTES:
        raise ImportRefused(f"the file has {len(data) >> 20} MiB; at most {LARGEST_BYTES >> 20} are read: split it")
    else:
        yield Member(name, data)


def check_sum(name: str, data: bytes, checksum_text: str) -> None:
    """Compare with a sibling such as BTCUSDT-1h-2024-01.zip.CHECKSUM ("<sha256>  <name>").

    Raises
    ------
    ImportRefused
        When they differ.
    """
    words = checksum_text.split()
    expected = words[0].lower() if words else ""
    if len(expected) != 64 or set(expected) - set("0123456789abcdef"):
        raise ImportRefused(f"its CHECKSUM file holds no SHA-256 (it begins with {checksum_text[:20]!r}); download both again")
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise ImportRefused(f"its SHA-256 is {found[:12]}..., its CHECKSUM file says {expected[:12]}...; download both again")


def _unzip(data: bytes) -> Iterator[Member]:
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, OSError, struct.error, OverflowError, EOFError, NotImplementedError) as error:
        raise ImportRefused(f"the zip file is damaged or cut ({str(error)[:60]}); download it again") from None
    with archive:
        files = [info for info in archive.infolist() if not info.is_dir()]
        if len(files) > LARGEST_COUNT:
            raise ImportRefused(f"the archive holds {len(files)} files, at most {LARGEST_COUNT} are read; split it")
        left = LARGEST_BYTES
        for info in files:  # all names first: an archive with one bad name is not read in part
            _check_member(info)
        for info in files:
            text = _read_member(archive, info, left)
            left -= len(text)
            yield Member(info.filename, text)


def _check_member(info: zipfile.ZipInfo) -> None:
    # orig_filename: zipfile itself cuts names at NUL and swaps separators before we could see them
    name = info.orig_filename.replace("\\", "/")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or ":" in name or "\0" in name:
        raise ImportRefused(f"the archive holds a file with the name {name[:60]!r}, which climbs out of its folder; not read")
    if info.flag_bits & 0x1:
        raise ImportRefused("the archive is encrypted; unpack it first and import the csv files")
    if name.lower().endswith((".zip", ".gz", ".7z", ".rar", ".tar", ".bz2", ".xz")):
        raise ImportRefused(f"the archive holds another archive ({path.name[:60]!r}); unpack it first")
    if info.file_size > LARGEST_BYTES or (
            info.file_size > _SMALL and info.file_size > LARGEST_RATIO * max(1, info.compress_size)):
        raise ImportRefused(f"{path.name[:60]!r} would unpack from {info.compress_size:,} to {info.file_size:,} bytes; at most "
                            f"{LARGEST_BYTES >> 20} MiB and {LARGEST_RATIO} times are read")


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, left: int) -> bytes:
    """Read with a cap: the sizes in the directory are only what the archive says about itself."""
    cap = min(left, max(_SMALL, LARGEST_RATIO * max(1, info.compress_size)))
    try:
        with archive.open(info) as stream:
            text = stream.read(cap + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError, struct.error, RuntimeError, OverflowError,
            NotImplementedError, KeyError, MemoryError) as error:
        raise ImportRefused(f"{info.filename[:60]!r} in the zip is damaged or cut ({str(error)[:60]}); "
                            "download it again") from None
    if len(text) > cap:
        raise ImportRefused(f"{info.filename[:60]!r} unpacks to more than {cap >> 20} MiB; split it")
    return text


def _gunzip(data: bytes) -> bytes:
    """All members one after the other: parallel packers and `cat a.gz b.gz` write several, and the first alone would look whole."""
    cap = min(LARGEST_BYTES, max(_SMALL, LARGEST_RATIO * len(data)))
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            text = stream.read(cap + 1)
    except EOFError:
        raise ImportRefused("the gzip file is cut; download it again") from None
    except (OSError, zlib.error, struct.error) as error:
        raise ImportRefused(f"the gzip file is damaged ({error}); download it again") from None
    if len(text) > cap:
        raise ImportRefused(f"the gzip file unpacks to more than {cap >> 20} MiB; split it")
    return text
