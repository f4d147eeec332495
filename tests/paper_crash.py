"""Paper trading that is killed again and again: child processes that die at a fault point or at any moment, on a clock that stands still
while nobody lives."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from core.paper.ledger import Ledger
from core.paper.verify import verify
from tests.paper_worlds import PaperWorld


def killed_at(number: int) -> Callable[[str], None]:
    """A fault seam that kills its process at the n-th call."""
    left = number

    def fault(_: str) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return fault


def child(work: Callable[[], None]) -> int:
    """Start a process that does the work; returns its number."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the parent sees the code, pytest must not go on in a child
            import traceback

            traceback.print_exc()
            os._exit(1)
    return pid


def ended(pid: int) -> str:
    """killed, done or failed."""
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return "killed"
    return "done" if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0 else "failed"


def run_with_kills(home: Path, bars: int, seed: int, *, at_points: int, at_random: int, most: int,
                   work: Callable[[Path, int, Callable[[str], None] | None], None]) -> dict[str, int]:
    """Bring an account to so many bars through that many kills; what happened, in numbers.

    `work(home, bars, fault)` is done by a child, killed at one of its first `most` fault points. After every kill the ledger must verify.
    """
    stream, counts = random.Random(seed), {"killed": 0, "survived": 0, "children": 0}
    order = [True] * at_points + [False] * at_random
    stream.shuffle(order)
    for number, planned in enumerate(order):
        point = killed_at(stream.randint(1, most)) if planned else None
        pid = child(lambda point=point: work(home, bars, point))
        if point is None:
            time.sleep(stream.uniform(0.01, 0.25))
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        how = ended(pid)
        assert how != "failed", f"child {number} failed, seed {seed}"
        counts["children"] += 1
        counts["killed" if how == "killed" else "survived"] += 1
        ledger = Ledger(next(home.glob("paper/*/ledger.sqlite")))
        faults = verify(ledger)
        assert faults == [], f"after kill {number}, seed {seed}: {faults[:2]}"
    assert ended(child(lambda: work(home, bars, None))) == "done"
    return counts


def simulated(home: Path, bars: int, fault: Callable[[str], None] | None) -> None:
    """A child's work in the simulated world."""
    world = PaperWorld(home, market="perp", **({"fault": fault} if fault else {}))
    world.until(bars)
