"""What the shelf of models trusts: bytes read once, a seal only this installation can make, and whether a file may have changed."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

LARGEST_FILE = 256 << 20


def seal_of(key: bytes, document: Any) -> str:
    """HMAC of a JSON document, whatever the order of its names."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def file_state(path: Path) -> str:
    """Name, time of the last change and size; what is not there says so."""
    try:
        found = path.stat()
    except OSError:
        return f"{path.name} absent"
    return f"{path.name} {found.st_mtime_ns} {found.st_size}"


def read_file(path: Path) -> bytes:
    """
    Raises
    ------
    OSError
        When it cannot be read, is a link, or is larger than any model.
    """
    if path.is_symlink() or path.stat().st_size > LARGEST_FILE:
        raise OSError(f"{path.name} is a link or larger than {LARGEST_FILE >> 20} MiB")
    return path.read_bytes()
