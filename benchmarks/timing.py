"""How long a piece of work takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def milliseconds(work: Callable[[], Any]) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)
