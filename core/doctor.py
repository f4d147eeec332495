"""Is everything in order? One check per thing that has ever stood in a user's way."""

from __future__ import annotations

import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from typing import Any

from core.sextant import Sextant
from core.wiring import home_is_writable
from data.clock import iso

FREE_NEEDED_MB = 200


@dataclass(frozen=True)
class Check:
    """One finding in words; `exit_code` is what the command should end with because of it."""

    name: str
    ok: bool
    words: str
    exit_code: int = 0

    def document(self) -> dict[str, Any]:
        return asdict(self)


def examine(sextant: Sextant) -> tuple[Check, ...]:
    """Interpreter, home folder, disk, clock, store (every part re-hashed), world and settings."""
    settings = sextant.settings
    version = ".".join(map(str, sys.version_info[:3]))
    supported = (3, 11) <= sys.version_info[:2] <= (3, 13)
    unwritable = home_is_writable(settings.home)
    checks = [
        Check("python", supported, f"{version} on {platform.system()} {platform.machine()}"
              + ("" if supported else "; 3.11 to 3.13 are supported"), 0 if supported else 1),
        Check("home", not unwritable, unwritable or f"{settings.home}", 1 if unwritable else 0),
    ]
    if not unwritable:
        free = shutil.disk_usage(settings.home).free // 2**20
        enough = free >= FREE_NEEDED_MB
        checks.append(Check("disk", enough, f"{free:,} MB free, {FREE_NEEDED_MB} needed", 0 if enough else 1))
    damage = sextant.verify_store()
    held = sextant.holdings()
    rows = sum(s.rows for s in held)
    checks.append(Check("store", not damage, "; ".join(damage[:5]) or f"{len(held)} series, {rows:,} candles, every part matches its hash",
                        3 if damage else 0))
    status = sextant.status()
    newest = "" if status.newest_close_ms is None else f", newest candle {iso(status.newest_close_ms)}, {status.words}"
    checks.append(Check("world", True, f"{status.world}: {status.provenance}{newest}"))
    checks.append(_clock(sextant))
    checks.append(Check("settings", True, f"{len(settings.watchlist)} symbols watched at {settings.interval}, {settings.market}"))
    return tuple(checks)


def _clock(sextant: Sextant) -> Check:
    """Against the exchange's where it was asked; nobody is asked for it."""
    from data.sources.health import CLOCK_LIMIT_MS

    offset, says = sextant.outside.clock_offset_ms(), f"this computer says {iso(sextant.clock.now_ms())}"
    if offset is None:
        return Check("clock", True, f"{says}; no exchange is asked yet")
    good = abs(offset) <= CLOCK_LIMIT_MS
    return Check("clock", good, f"{says}, the exchange's clock is {abs(offset) / 1000:.1f} s {'ahead' if offset > 0 else 'behind'}"
                 + ("" if good else ": set this computer's clock"), 0 if good else 1)
