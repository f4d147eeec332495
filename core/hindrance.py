"""A store that takes nothing just now: full, read-only or locked. Such an error passes by itself; every other one is a fault."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from pathlib import Path

_STORE = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_BUSY,
                    sqlite3.SQLITE_LOCKED})
_FILES = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.EACCES, errno.EPERM})


def hindrance(error: BaseException) -> str:
    """Why nothing can be written just now, in the system's words; empty for an error that will not pass by itself."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)  # an extended code holds the plain one in its lowest byte
        return str(error) if code is not None and code & 0xFF in _STORE else ""
    if isinstance(error, OSError):
        return error.strerror or str(error) if error.errno in _FILES else ""
    return ""


def paused_words(why: str, folder: Path) -> str:
    """What a person reads while a hindrance lasts; the folder may not be there yet."""
    there = next((f for f in (folder, *folder.parents) if f.exists()), Path("/"))
    free = shutil.disk_usage(there).free
    return (f"nothing can be written to {folder.name} ({why}; {free / 2**20:,.0f} MiB free): paused, no trade is made. It goes on by "
            "itself when there is space")
