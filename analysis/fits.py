"""Fitted parameters, kept by content: the same method on the same numbers is never fitted twice.

A fit is a pure function of the array it is given and of named options, so its cache key is their hash; nothing about the
time, the symbol or the data version enters. Results are plain JSON values (floats, lists), so a folder can keep them between
processes and no pickle is ever read.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

MEMORY_ENTRIES = 4096


class FitCache:
    """Thread-safe memory of fits, optionally backed by a folder of small JSON files.

    Parameters
    ----------
    folder : Path or None
        Where fits survive the process; None keeps them in memory only. Damaged or foreign files are ignored and rewritten.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._memory: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, method: str, data: np.ndarray, fit: Callable[[np.ndarray], Any], **options: Any) -> Any:
        """`fit(data)`, remembered. `method` must change whenever the meaning of the result does (e.g. "garch-t/1")."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(json.dumps([method, options, data.shape], sort_keys=True).encode())
        digest.update(np.ascontiguousarray(data, np.float64).tobytes())
        key = digest.hexdigest()
        with self._lock:
            if key in self._memory:
                self._memory.move_to_end(key)
                return self._memory[key]
        value = self._load(key)
        if value is None:
            value = fit(data)
            self._save(key, value)
        with self._lock:
            self._memory[key] = value
            while len(self._memory) > MEMORY_ENTRIES:
                self._memory.popitem(last=False)
        return value

    def _load(self, key: str) -> Any:
        if self._folder is None:
            return None
        try:
            document = json.loads((self._folder / f"{key}.json").read_text())
            return document["fit"] if document.get("key") == key else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # absent or damaged: fit again, the result is the same

    def _save(self, key: str, value: Any) -> None:
        if self._folder is None:
            return
        temporary = self._folder / f".{key}.{os.getpid()}.{threading.get_ident()}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps({"key": key, "fit": value}))
            temporary.replace(self._folder / f"{key}.json")
        except OSError:
            temporary.unlink(missing_ok=True)  # a full or read-only disk costs the next process a fit, nothing else
