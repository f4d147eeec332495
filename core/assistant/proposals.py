"""What the assistant may only propose: kept on the server with all its data, done once, by a click, while it is fresh."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from core.assistant.conversations import Conversations
from core.paper import by_hand
from core.sextant import Sextant
from data.clock import Clock
from data.errors import InputError, SextantError
from data.market import parse_symbol

LIFE_MS = 10 * 60_000
MOST_OPEN = 5  # of a conversation
MOST_DRIFT = 0.02  # of the price since an order was proposed
ORDER_KINDS = ("place", "close")


@dataclass(frozen=True)
class Proposal:
    """A card. `words` are made by code from `content`, never by the model; `state` is open, done, refused, failed or expired."""

    id: str
    kind: str
    content: dict[str, Any]
    words: str
    state: str
    at_ms: int
    ends_ms: int
    outcome: str = ""


class Proposals:
    """Proposals of one world. A page knows only their ids: what would be done is read here, at the click."""

    def __init__(self, kept: Conversations, clock: Clock, world: str) -> None:
        self._kept, self._clock, self._world = kept, clock, world

    def make(self, conversation: int, kind: str, content: Mapping[str, Any], words: str) -> Proposal:
        now, number = self._clock.now_ms(), secrets.token_urlsafe(18)
        with self._kept.writing() as db:
            waiting = db.execute("select count(*) from proposals where conversation = ? and world = ? and state = 'open' and ends_ms > ?",
                                 (conversation, self._world, now)).fetchone()[0]
            if waiting >= MOST_OPEN:
                raise InputError(f"{waiting} proposals wait already; the user has to decide on them first")
            db.execute("insert into proposals (id, world, conversation, at_ms, ends_ms, kind, content, words, state) values "
                       "(?, ?, ?, ?, ?, ?, ?, ?, 'open')", (number, self._world, conversation, now, now + LIFE_MS, kind,
                                                            json.dumps(dict(content), sort_keys=True), words))
        return Proposal(number, kind, dict(content), words, "open", now, now + LIFE_MS)

    def get(self, number: str) -> Proposal | None:
        """A proposal as it stands now; None where there is none of that id."""
        with self._kept.reading() as db:
            row = db.execute("select id, kind, content, words, state, at_ms, ends_ms, outcome from proposals where id = ? and world = ?",
                             (str(number), self._world)).fetchone()
        if row is None:
            return None
        state = "expired" if row[4] == "open" and row[6] <= self._clock.now_ms() else row[4]
        return Proposal(row[0], row[1], json.loads(row[2]), row[3], state, row[5], row[6], row[7])

    def refuse(self, number: str, conversation: int) -> None:
        self._claim(number, conversation, "refused")

    def confirm(self, sextant: Sextant, number: str, conversation: int) -> str:
        """Do it, once. Returns what was done, in words.

        Raises
        ------
        InputError
            When there is no such proposal in this conversation, it was decided on already, it is too old, or the market or the account
            has moved on since.
        """
        proposal = self._claim(number, conversation, "done")
        try:
            outcome = DOING[proposal.kind](sextant, proposal)
        except SextantError as error:
            self._end(number, "failed", str(error))
            raise
        except BaseException:
            self._end(number, "failed", "it was interrupted")
            raise
        self._end(number, "done", outcome)
        return outcome

    def _claim(self, number: str, conversation: int, state: str) -> Proposal:
        """Take an open proposal in one transaction, so that a second click finds it taken."""
        with self._kept.writing() as db:
            taken = db.execute("update proposals set state = ? where id = ? and world = ? and conversation = ? and state = 'open' "
                               "and ends_ms > ?",
                               (state, str(number), self._world, conversation, self._clock.now_ms())).rowcount
        found = self.get(number)
        if taken == 1 and found is not None:
            return found
        if found is None:
            raise InputError("there is no such proposal; ask again")
        if found.state == "expired":
            raise InputError(f"this proposal is older than {LIFE_MS // 60_000} minutes; ask again")
        if found.state == "open":
            raise InputError("this proposal belongs to another conversation; open that one")
        raise InputError(f"this proposal was decided on already: {found.state}")

    def _end(self, number: str, state: str, outcome: str) -> None:
        with self._kept.writing() as db:
            db.execute("update proposals set state = ?, outcome = ? where id = ?", (state, outcome[:400], number))


# -- what a click does ------------------------------------------------------------------------------------------------


def _order(sextant: Sextant, proposal: Proposal) -> str:
    status, content = sextant.paper_status(), proposal.content
    _same_account(status, content)
    account = sextant.broker.account()
    assert account is not None
    symbol, order = str(content["symbol"]), content["order"]
    price = sextant.paper_price(symbol, account)
    if abs(price / float(content["price"]) - 1) > MOST_DRIFT:
        raise InputError(f"the price of {symbol} moved from {content['price']:g} to {price:g} since this was proposed; ask again")
    checked = by_hand.order(status, symbol, "long" if order["side"] > 0 else "short", price, stop=order.get("stop"),
                            target=order.get("target"),
                            limit=order.get("limit"), quantity=order.get("quantity"))
    sextant.paper_ask("place", symbol, checked, key=f"assistant-{proposal.id}")
    return "The order is kept for the runner: done before the next bar."


def _close(sextant: Sextant, proposal: Proposal) -> str:
    status = sextant.paper_status()
    _same_account(status, proposal.content)
    symbol = str(proposal.content["symbol"])
    held = next((p for p in status["positions"] if p["symbol"] == symbol), None)
    if held is None or held["side"] != proposal.content["side"]:
        raise InputError(f"the position in {symbol} is no longer the one that was spoken of; ask again")
    sextant.paper_ask("close", symbol, {}, key=f"assistant-{proposal.id}")
    return "The close is kept for the runner: done at the next open."


def _same_account(status: Mapping[str, Any], content: Mapping[str, Any]) -> None:
    if status["account"] is None or status["account"] != content["account"]:
        raise InputError("the paper account is no longer the one that was spoken of; ask again")


def _job(sextant: Sextant, proposal: Proposal) -> str:
    job = sextant.jobs.submit(str(proposal.content["job"]), dict(proposal.content["arguments"]))
    sextant.jobs.pump()
    return f"Job {job.id} is in the queue."


def _watchlist(sextant: Sextant, proposal: Proposal) -> str:
    from core.settings import change_settings

    symbol, adds = parse_symbol(str(proposal.content["symbol"])), proposal.content["change"] == "add"
    now = sextant.settings.watchlist
    fresh = tuple(dict.fromkeys((*now, symbol))) if adds else tuple(s for s in now if s != symbol)
    if fresh == now:
        raise InputError(f"{symbol} is {'on' if adds else 'not on'} the watchlist already")
    sextant.settings = change_settings(sextant.settings, {"watchlist": list(fresh)})
    return f"{symbol} was {'added to' if adds else 'taken from'} the watchlist."


DOING: dict[str, Callable[[Sextant, Proposal], str]] = {"place": _order, "close": _close, "job": _job, "watchlist": _watchlist}
