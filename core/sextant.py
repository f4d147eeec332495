"""The facade: every verb of Sextant, each a few lines of delegation. Pages, commands and later faces call nothing else."""

from __future__ import annotations

from core.allocating import Allocating
from core.holdings import Status, World
from core.judging import BoardRow


class Sextant(Allocating):
    """The workbench. Built by core/wiring.py; safe to share between threads."""


__all__ = ["BoardRow", "Sextant", "Status", "World"]
