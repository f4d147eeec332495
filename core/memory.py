"""What the process keeps of the memory it was given.

glibc gives threads that allocate at the same time heaps of their own and keeps what is freed in them; with Streamlit's threads that is
a quarter of the app. Elsewhere than on glibc nothing happens.
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from typing import Any

M_ARENA_MAX = -8  # of <malloc.h>
HEAPS = 2


def _libc() -> Any:
    return ctypes.CDLL(None) if sys.platform == "linux" else None


def few_heaps() -> None:
    """At most two heaps from now on, as MALLOC_ARENA_MAX=2 in the environment would have said before the start."""
    with suppress(OSError, AttributeError):
        _libc().mallopt(M_ARENA_MAX, HEAPS)


def give_back() -> None:
    """Return freed pages to the system; a few milliseconds after much has been freed."""
    with suppress(OSError, AttributeError):
        _libc().malloc_trim(0)
