"""Files that survive a kill: written beside their name, flushed, renamed over it, the folder flushed (reliability.md 4)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from data.errors import DamagedState, DataError

Fault = Callable[[str], None]
TEMPORARY = ".tmp-"  # leading part of every half-written file's name; whoever holds the lock may delete these


def no_fault(name: str) -> None:
    """The seam for crash tests: called with a name before and after each durable step; does nothing in production."""


def read_whole(path: Path) -> bytes | None:
    """The bytes of a file; None when there is none.

    Raises
    ------
    DamagedState
        The disk cannot give what it holds (an input/output error, a folder in the file's place).
    DataError
        It cannot be read just now: forbidden, or this computer has too many files open. It may be whole.
    """
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        words = f"it cannot be read ({error.strerror or type(error).__name__})"
        if error.errno in (errno.EIO, errno.EISDIR):
            raise DamagedState(words) from None
        raise DataError(f"{path.parent.name}/{path.name}: {words}; allow reading, then look again") from error


def make_folder(folder: Path) -> None:
    """Create a folder whose name survives a power loss: every new level is flushed into the one above."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for level in reversed(missing):
        level.mkdir(exist_ok=True)
        sync_folder(level.parent)


def sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # Windows cannot open a folder; NTFS journals renames by itself
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_beside(path: Path, data: bytes, fault: Fault, step: str) -> Path:
    """Write `data` durably under a temporary name in the folder of `path`; the caller renames it with `os.replace`."""
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    fault(f"{step}: before write")
    try:
        with temporary.open("wb") as out:
            out.write(data[: len(data) // 2])
            fault(f"{step}: half written")
            out.write(data[len(data) // 2 :])
            out.flush()
            os.fsync(out.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)  # a full disk must not be filled further by our own leftovers
        raise
    fault(f"{step}: written")
    return temporary


def replace_file(path: Path, data: bytes, fault: Fault, step: str) -> None:
    """The file holds the old bytes or the new ones, whatever happens in between."""
    temporary = write_beside(path, data, fault, step)
    temporary.replace(path)
    fault(f"{step}: renamed")
    sync_folder(path.parent)
    fault(f"{step}: durable")


def remove_leftovers(folder: Path) -> None:
    """Delete half-written files of earlier crashes. Only under the writer's lock."""
    for leftover in folder.glob(f"{TEMPORARY}*"):
        leftover.unlink(missing_ok=True)
