"""Sends what lies in the outbox: to the console and a file at once, to people through Apprise, tried again until it arrives."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from core.alerts import ALWAYS, NOTIFIER
from core.logbook import mask
from core.paper.ledger import Ledger
from data.clock import Clock, iso
from data.errors import InputError

WAITS_S = (0, 60, 300, 900, 3_600, 3_600, 14_400, 14_400, 43_200)  # after so many failures
MOST_AT_ONCE = 20
BODY = 3_500  # characters; Telegram takes 4,096
DONE = "exists (select 1 from deliveries d where d.message = outbox.id and d.state in ('sent', 'given up'))"
Send = Callable[[str, str], str]  # title, words -> what went wrong, empty when it arrived


class Courier:
    """One pass over the outbox is `deliver`; a message that failed waits longer each time and is given up after a day and a half.

    Each address has a channel of its own, so that one that is down does not make the others get a message again.
    """

    def __init__(self, ledger: Ledger, clock: Clock, addresses: Sequence[SecretStr], file: Path, *, console: Any = None) -> None:
        self._ledger, self._clock, self._file = ledger, clock, file
        self._addresses, self._console = tuple(addresses), console or sys.stderr

    def waiting(self) -> list[dict[str, Any]]:
        """Messages that have not arrived and are not given up, with `failures` and when each may be tried again."""
        out = []
        for message in self._ledger.rows("outbox", f"not {DONE}"):
            before = self._ledger.rows("deliveries", "message = ?", (message["id"],))
            wait = WAITS_S[min(len(before), len(WAITS_S) - 1)] * 1000
            out.append(message | {"failures": len(before), "next_ms": (before[-1]["at_ms"] if before else 0) + wait,
                                  "why": before[-1]["words"] if before else ""})
        return out

    def deliver(self) -> int:
        """Send what may be sent now; returns how many arrived. A failure is a row, never an error."""
        now, sent = self._clock.now_ms(), 0
        for message in [m for m in self.waiting() if m["next_ms"] <= now][:MOST_AT_ONCE]:
            problem = self._way(message["channel"])(message["title"], message["words"])
            state = "sent" if not problem else "given up" if message["failures"] + 1 >= len(WAITS_S) else "failed"
            with self._ledger.transaction(now, "delivery") as change:
                change.add("deliveries", {"message": message["id"], "attempt": message["failures"] + 1, "at_ms": now, "state": state,
                                          "words": mask(problem)[:200]})
            sent += not problem
        return sent

    def test(self) -> str:
        """Send a test to every address now; what went wrong, empty when all arrived.

        Raises
        ------
        InputError
            When there is no address.
        """
        if not self._addresses:
            raise InputError("no address is set: put Apprise addresses, separated by commas, into SEXTANT_NOTIFY "
                             "(e.g. tgram://TOKEN/CHAT, mailto://..., slack://..., discord://...)")
        words = f"This is a test of {iso(self._clock.now_ms())}. Alerts arrive here."
        problems = [self._notify(number, "Sextant paper: test", words) for number in range(1, len(self._addresses) + 1)]
        return mask("; ".join(p for p in problems if p))

    # -- ways -----------------------------------------------------------------------------------------------------

    def _way(self, channel: str) -> Send:
        if channel in ALWAYS:
            return self._say if channel == "console" else self._write
        return partial(self._notify, int(channel.removeprefix(NOTIFIER).lstrip("-") or 1))

    def _say(self, title: str, words: str) -> str:
        try:
            print(mask(f"{title}: {words}"), file=self._console, flush=True)
        except (OSError, ValueError) as error:
            return str(error)
        return ""

    def _write(self, title: str, words: str) -> str:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as out:
                out.write(mask(f"{iso(self._clock.now_ms())} {title}: {words}") + "\n")
        except OSError as error:
            return error.strerror or str(error)
        return ""

    def _notify(self, number: int, title: str, words: str) -> str:
        """Through Apprise, which never raises: a falsy answer is a failure."""
        import logging

        import apprise

        logging.getLogger("apprise").setLevel(logging.CRITICAL)  # its messages hold addresses
        if number > len(self._addresses):
            return f"address {number} is not set any more"
        address, one = self._addresses[number - 1].get_secret_value(), apprise.Apprise()
        if not one.add(address):
            return f"address {number} is not one Apprise knows"
        taken = one.notify(title=mask(title), body=mask(words)[:BODY])
        return "" if taken else f"address {number} ({address.split(':', 1)[0]}) did not take it"
