"""What the process keeps of the memory it was given.

glibc gives threads that allocate at the same time heaps of their own and keeps what is freed in them; with Streamlit's threads that is
a quarter of the app. Elsewhere than on glibc nothing happens.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

M_ARENA_MAX = -8  # of <malloc.h>
HEAPS = 2


def _glibc() -> Any:
    """The C library where it has these calls, else None: other systems and other C libraries (musl) do without."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


def few_heaps() -> None:
    """At most two heaps from now on, as MALLOC_ARENA_MAX=2 in the environment would have said before the start."""
    library = _glibc()
    if library is not None:
        library.mallopt(M_ARENA_MAX, HEAPS)


def give_back() -> None:
    """Return freed pages to the system; a few milliseconds after much has been freed."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)
