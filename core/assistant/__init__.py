"""The assistant: a language model over read-only tools, every figure by reference, and a deterministic brief that needs no model."""

from __future__ import annotations

from core.assistant.assistant import Assistant, Briefed, Notice, Told
from core.assistant.loop import Ended, Step, Used, Waiting, Words

__all__ = ["Assistant", "Briefed", "Ended", "Notice", "Step", "Told", "Used", "Waiting", "Words"]
