"""What to do with it: the facade over data, analysis and models, and the faces over the facade.

Names are resolved on first use, so that `import core` costs nothing and the thread pinning of the entry points comes first.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {"Sextant": "core.sextant", "World": "core.sextant", "Settings": "core.settings", "build": "core.wiring",
          "load_settings": "core.settings", "SextantError": "data.errors"}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'core' has no attribute {name!r}")
