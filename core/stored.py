"""Stored JSON read back: a damaged file is said to be damaged, never passed over in silence."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loguru import logger

_SAID: set[tuple[str, str]] = set()


@dataclass(frozen=True)
class Damaged:
    """A stored file that cannot be read. `name` as lists show it, `reason` in words."""

    name: str
    reason: str


def read(path: Path, name: str, needed: Iterable[str] = ()) -> dict[str, Any] | Damaged:
    """The object in a JSON file, with at least the `needed` names; else what is wrong with it, which is logged too."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        missing = [n for n in needed if n not in document] if isinstance(document, dict) else []
        reason = "it holds no object" if not isinstance(document, dict) else f"{missing[0]} is missing" if missing else ""
    except FileNotFoundError:
        reason = f"{path.name} is missing"
    except OSError as error:
        reason = f"{path.name} cannot be read: {error.strerror}"
    except ValueError:
        reason = f"{path.name} is not whole JSON"
    if reason:
        if (name, reason) not in _SAID:  # a list is read at every look at a page; one line in the log is enough
            _SAID.add((name, reason))
            logger.warning(f"{name}: damaged, {reason} ({path.parent.name}/{path.name}); delete it or run it again")
        return Damaged(name, reason)
    return document


def newest_first(paths: Iterable[Path]) -> list[Path]:
    """By the time of their last change; what vanishes meanwhile is left out."""
    found = []
    for path in paths:
        try:
            found.append((path.stat().st_mtime_ns, path))
        except OSError:
            continue
    return [path for _, path in sorted(found, key=lambda pair: (-pair[0], pair[1].name))]


def keep_newest(paths: Iterable[Path], count: int, remove: Callable[[Path], object] = lambda path: path.unlink(missing_ok=True)) -> None:
    """Remove all but the newest `count`."""
    for old in newest_first(paths)[count:]:
        remove(old)
