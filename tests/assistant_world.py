"""What the assistant's tests share: one simulated market at a fixed moment, and a question asked of a scripted model."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from core.assistant import Assistant, Told
from core.settings import Settings
from core.sextant import Sextant
from core.wiring import build
from data.clock import FixedClock
from tests.openai_stub import KEY

NOW = 1_795_190_400_000  # 2026-11-20T16:00:00Z


@cache
def market() -> Sextant:
    """One facade a process: its scorecards are computed once."""
    home = Path(tempfile.mkdtemp(prefix="assistant-")) / "home"
    return build(Settings(home=home, world="simulated", network="off"), FixedClock(NOW))


def assistant(home: Path, url: str = "http://127.0.0.1:9/v1", **more: Any) -> Assistant:
    """An assistant with a state of its own over the shared market."""
    sextant = market()
    other = Sextant.__new__(Sextant)
    other.__dict__.update({k: v for k, v in sextant.__dict__.items() if k != "settings"})
    given: dict[str, Any] = {"home": home, "world": "simulated", "network": "off", "assistant_url": url, "assistant_model": "stub",
                             "assistant_key": KEY} | more
    other.settings = Settings(**given)
    return Assistant(other)


def asked(this: Assistant, question: str, *, symbol: str = "BTCUSDT", **more: Any) -> Told:
    """A question, answered to its end."""
    told = this.ask(question, this.sextant.key(symbol, "1h"), **more)
    for _ in told:
        pass
    return told
