"""Sends what lies in the outbox: to the console and a file at once, to people through Apprise, tried again until it arrives."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from core.alerts import NOTIFIER
from core.logbook import mask
from core.paper.ledger import Ledger
from data.clock import Clock, iso
from data.errors import InputError

WAITS_S = (0, 60, 300, 900, 3_600, 3_600, 14_400, 14_400, 43_200)  # after so many failures
MOST_AT_ONCE = 20
BODY = 3_500  # characters; Telegram takes 4,096
Send = Callable[[str, str], str]  # title, words -> what went wrong, empty when it arrived


class Courier:
    """One pass over the outbox is `deliver`; a message that failed waits longer each time and is given up after a day and a half."""

    def __init__(self, ledger: Ledger, clock: Clock, addresses: Sequence[SecretStr], file: Path, *, console: Any = None) -> None:
        self._ledger, self._clock, self._file = ledger, clock, file
        self._addresses, self._console = tuple(addresses), console or sys.stderr
        self._ways: dict[str, Send] = {"console": self._say, "file": self._write, NOTIFIER: self._notify}

    def waiting(self) -> list[dict[str, Any]]:
        """Messages that have not arrived and are not given up, with `failures` and when each may be tried again."""
        tries: dict[int, list[dict[str, Any]]] = {}
        for row in self._ledger.rows("deliveries"):
            tries.setdefault(row["message"], []).append(row)
        out = []
        for message in self._ledger.rows("outbox"):
            before = tries.get(message["id"], [])
            if any(t["state"] in ("sent", "given up") for t in before):
                continue
            wait = WAITS_S[min(len(before), len(WAITS_S) - 1)] * 1000
            out.append(message | {"failures": len(before), "next_ms": (before[-1]["at_ms"] if before else 0) + wait,
                                  "why": before[-1]["words"] if before else ""})
        return out

    def deliver(self) -> int:
        """Send what may be sent now; returns how many arrived. A failure is a row, never an error."""
        now, sent = self._clock.now_ms(), 0
        for message in [m for m in self.waiting() if m["next_ms"] <= now][:MOST_AT_ONCE]:
            problem = self._ways[message["channel"]](message["title"], message["words"])
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
        return mask(self._notify("Sextant paper: test", f"This is a test of {iso(self._clock.now_ms())}. Alerts arrive here."))

    # -- ways -----------------------------------------------------------------------------------------------------

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

    def _notify(self, title: str, words: str) -> str:
        """Through Apprise, which never raises: a falsy answer is a failure."""
        import logging

        import apprise

        logging.getLogger("apprise").setLevel(logging.CRITICAL)  # its messages hold addresses
        failed = []
        for number, address in enumerate(self._addresses, start=1):
            one = apprise.Apprise()
            if not one.add(address.get_secret_value()):
                failed.append(f"address {number} is not one Apprise knows")
            elif not one.notify(title=mask(title), body=mask(words)[:BODY]):
                failed.append(f"address {number} ({address.get_secret_value().split(':', 1)[0]}) did not take it")
        return "; ".join(failed)
