"""Fitted parameters, kept by content: the same method on the same numbers is never fitted twice.

A fit is a pure function of the array it is given and of named options, so its cache key is their hash; nothing about the
time, the symbol or the data version enters. Results are plain JSON values (floats, lists), so a folder can keep them between
processes and no pickle is ever read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

MEMORY_BYTES = 48 << 20  # as JSON text; a forest is about 180 kB (twice that once read), a volatility fit 100 bytes
FOLDER_BYTES = 256 << 20
SAVES_PER_TIDYING = 200


class FitCache:
    """Thread-safe memory of fits, optionally backed by a folder of small files; both are bounded, the oldest fits go first.

    Parameters
    ----------
    folder : Path or None
        Where fits survive the process; None keeps them in memory only. Every file carries its key and a hash of its content: a
        damaged or foreign one is ignored and written again, never believed.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._memory: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self._bytes = 0
        self._saves = 0
        self._lock = threading.Lock()

    def get(self, method: str, data: np.ndarray, fit: Callable[[np.ndarray], Any], *, read: Callable[[Any], Any] | None = None,
            **options: Any) -> Any:
        """`fit(data)`, remembered. `method` must change whenever the meaning of the result does (e.g. "garch-t/1").

        `read` turns the plain values into what the caller works with, once and not at every call; one method has one `read`, and nobody
        changes what it gives.
        """
        digest = hashlib.blake2b(digest_size=16)
        digest.update(json.dumps([method, options, data.shape], sort_keys=True).encode())
        digest.update(np.ascontiguousarray(data, np.float64).tobytes())
        key = digest.hexdigest()
        with self._lock:
            if key in self._memory:
                self._memory.move_to_end(key)
                return self._memory[key][0]
        text = self._load(key)
        if text is None:
            text = json.dumps(fit(data))
            self._save(key, text)
        value = json.loads(text)  # so that a fresh fit and one read back are the same values
        if read is not None:
            value = read(value)
        with self._lock:
            self._bytes += len(text) - self._memory.get(key, (None, 0))[1]
            self._memory[key] = (value, len(text))
            while self._bytes > MEMORY_BYTES and len(self._memory) > 1:
                self._bytes -= self._memory.popitem(last=False)[1][1]
        return value

    def _load(self, key: str) -> str | None:
        if self._folder is None:
            return None
        try:
            head, text = (self._folder / f"{key}.json").read_text(encoding="utf-8").split("\n", 1)
        except (OSError, ValueError):
            return None  # absent or damaged: fit again, the result is the same
        return text if head == _seal(key, text) else None

    def _save(self, key: str, text: str) -> None:
        if self._folder is None:
            return
        temporary = self._folder / f".{key}.{os.getpid()}.{threading.get_ident()}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            temporary.write_text(f"{_seal(key, text)}\n{text}", encoding="utf-8")
            temporary.replace(self._folder / f"{key}.json")
            self._saves += 1
            if self._saves % SAVES_PER_TIDYING == 1:
                self._tidy(self._folder)
        except OSError:  # a full or read-only disk costs the next process a fit, nothing else
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    @staticmethod
    def _tidy(folder: Path) -> None:
        """Delete the oldest files until the folder is small enough."""
        files = sorted((f.stat().st_mtime_ns, f.stat().st_size, f) for f in folder.glob("*.json"))
        excess = sum(size for _, size, _ in files) - FOLDER_BYTES
        for _, size, file in files:
            if excess <= 0:
                return
            file.unlink(missing_ok=True)
            excess -= size


def _seal(key: str, text: str) -> str:
    return f"{key} {hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}"
