"""The assistant as pages and commands see it: ask, brief, slash commands, conversations, proposals, the connection test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import SecretStr

from core.assistant.brief import LABEL, Section, brief
from core.assistant.claims import Claims, Piece, documents, language
from core.assistant.conversations import Conversations
from core.assistant.desk import Desk
from core.assistant.endpoint import Endpoint, EndpointError
from core.assistant.facts import Facts, Row
from core.assistant.guard import Guard, visible
from core.assistant.loop import LIMIT_MS, Asking, Ended, Event, Step, Used, Words
from core.assistant.proposals import Proposals
from core.assistant.references import plain
from core.sextant import Sextant
from data.errors import InputError
from data.market import SeriesKey

MOST_QUESTION = 4_000
MOST_ROWS = 30  # of a step that are kept


@dataclass(frozen=True)
class Briefed:
    """One section of the deterministic brief."""

    section: Section


@dataclass(frozen=True)
class Notice:
    """Something the user should read: why there is a brief instead of an answer, or what went wrong."""

    kind: str
    words: str


Happening = Event | Briefed | Notice


class Assistant:
    """Everything the assistant can do, over one facade."""

    def __init__(self, sextant: Sextant) -> None:
        self.sextant = sextant

    @cached_property
    def conversations(self) -> Conversations:
        return Conversations(self.sextant.settings.home / "assistant" / "conversations.sqlite", self.sextant.clock, str(self.sextant.world))

    @cached_property
    def proposals(self) -> Proposals:
        return Proposals(self.conversations, self.sextant.clock, str(self.sextant.world))

    def guard(self) -> Guard:
        """Knows every secret of the settings."""
        values = [getattr(self.sextant.settings, name) for name in type(self.sextant.settings).model_fields]
        flat = [v for value in values for v in (value if isinstance(value, tuple) else (value,))]
        return Guard(v.get_secret_value() for v in flat if isinstance(v, SecretStr))

    def why_not(self) -> str:
        """Empty when a model can be asked, else in words why not."""
        return Endpoint(self.sextant.settings).why_not()

    def desk(self, key: SeriesKey, *, conversation: int = 0, may_propose: bool = False) -> Desk:
        return Desk(self.sextant, Facts(self.guard()), key, conversation, self.proposals if may_propose else None)

    def brief(self, key: SeriesKey) -> tuple[Desk, Iterator[Section]]:
        """The deterministic note, section by section, with the desk that holds its facts."""
        desk = self.desk(key)
        return desk, brief(desk)

    def ask(self, question: str, key: SeriesKey, *, conversation: int = 0, owner: bool = True, stop: threading.Event | None = None,
            limit_ms: int = LIMIT_MS) -> Told:
        """A question on its way; iterate it. A guest's, or one without a model, is answered by the brief.

        Raises
        ------
        InputError
            For an empty question, or one that is too long.
        """
        asked = visible(question).strip()
        if not asked:
            raise InputError("expected a question, got none")
        if len(asked) > MOST_QUESTION:
            raise InputError(f"expected a question of at most {MOST_QUESTION:,} characters, got {len(asked):,}")
        return Told(self, asked, key, conversation, owner, stop or threading.Event(), limit_ms)

    def history(self, conversation: int) -> list[dict[str, Any]]:
        """What was said before, as a model reads it: text only, cleaned."""
        guard, out = self.guard(), []
        for message in self.conversations.messages(conversation) if conversation else ():
            text = guard.clean(str(message.content.get("text", "")), 2_000)
            if text and message.role in ("user", "assistant"):
                out.append({"role": message.role, "content": text})
        return out

    def test_connection(self, limit_ms: int = 20_000) -> tuple[bool, str]:
        """Whether the endpoint answers, in words; costs a handful of tokens."""
        endpoint = Endpoint(self.sextant.settings)
        if why := endpoint.why_not():
            return False, why[0].upper() + why[1:] + "."
        began, said = self.sextant.clock.now_ms(), ""
        client = endpoint.open(limit_ms / 1000)
        try:
            for delta in endpoint.stream(client, [{"role": "user", "content": "Answer with the word ready."}], ()):
                said += delta.text
                if self.sextant.clock.now_ms() - began > limit_ms:
                    return False, f"{endpoint.host} answers too slowly."
        except EndpointError as error:
            return False, str(error)
        finally:
            client.close()
        spent = self.sextant.clock.now_ms() - began
        if not said.strip():
            return False, f"{endpoint.host} is there and answered nothing that can be read."
        return True, f"{endpoint.host} answers with {self.sextant.settings.assistant_model} in {spent / 1000:.1f} s."


class Told:
    """One question: iterate for what happens. Afterwards, and also when the reader went away, it is kept in the conversation."""

    def __init__(self, assistant: Assistant, question: str, key: SeriesKey, conversation: int, owner: bool, stop: threading.Event,
                 limit_ms: int) -> None:
        self.assistant, self.question, self.key, self.stop = assistant, question, key, stop
        self.conversation, self.owner, self._limit = conversation, owner, limit_ms
        self.desk = assistant.desk(key, conversation=conversation, may_propose=owner and bool(conversation))
        self.pieces: list[Piece] = []
        self.sections: list[Section] = []
        self.steps: list[Step] = []
        self.notices: list[Notice] = []
        self.used: Used | None = None
        self.state = "asking"
        self.ended = threading.Event()  # set once everything is kept

    def __iter__(self) -> Iterator[Happening]:
        sextant = self.assistant.sextant
        history = self.assistant.history(self.conversation)
        if self.conversation:
            self.assistant.conversations.add(self.conversation, "user", {"text": self.desk.facts.guard.hide(self.question)})
        endpoint = Endpoint(sextant.settings)
        why = endpoint.why_not() if self.owner else "guests are not connected to the model"
        try:
            if why:
                yield from self._instead("no model", f"No language model is asked: {why}.")
                self.state = "brief"
                return
            earlier = [m["content"] for m in history if m["role"] == "user"]
            claims = Claims(self.desk.facts, [self.question, *earlier], language(self.question), sextant.symbols(self.key.market))
            asking = Asking(self.desk, endpoint, self.question, history, claims, self.assistant.conversations, sextant.clock, self.stop,
                            self._limit, sextant.settings.assistant_price)
            for event in asking.run():
                if isinstance(event, Words):
                    self.pieces = list(asking.answer.pieces)
                elif isinstance(event, Step):
                    self.steps.append(event)
                elif isinstance(event, Used):
                    self.used = event
                elif isinstance(event, Ended):
                    self.state = event.state
                    if event.state == "stopped" and self.stop.is_set():
                        self.state = "cancelled"
                        yield self._notice("cancelled", "Stopped by you.")
                    elif event.state == "stopped":
                        yield from self._instead("failed", f"{event.words} This is the prepared brief instead.")
                yield event
        except GeneratorExit:  # the reader went away: a closed tab, or the page's Stop
            self.state = "cancelled"
            if not any(n.kind == "cancelled" for n in self.notices):
                self._notice("cancelled", "Stopped by you.")
            raise
        finally:
            try:
                self._keep()
            finally:
                self.ended.set()

    def _notice(self, kind: str, words: str) -> Notice:
        self.notices.append(Notice(kind, self.desk.facts.guard.clean(words, 600)))
        return self.notices[-1]

    def _instead(self, kind: str, words: str) -> Iterator[Happening]:
        yield self._notice(kind, words)
        for section in brief(self.desk):
            self.sections.append(section)
            yield Briefed(section)

    @property
    def text(self) -> str:
        """The answer as text, the brief after it where there is one."""
        return "\n\n".join(part for part in (plain(self.pieces).strip(), *(s.text() for s in self.sections)) if part)

    def document(self) -> dict[str, Any]:
        """Plain JSON of everything that was shown."""
        shown = [*self.pieces, *(p for s in self.sections for line in s.lines for p in line)]
        used = {p.fact for p in shown if p.fact}
        return {
            "text": self.text, "state": self.state, "symbol": self.key.symbol, "interval": str(self.key.interval),
            "market": str(self.key.market),
            "label": LABEL if self.sections else "", "pieces": documents(self.pieces),
            "sections": [{"title": s.title, "lines": [documents(line) for line in s.lines]} for s in self.sections],
            "facts": {f.id: f.document() for f in self.desk.facts.known.values() if f.id in used},
            "steps": [{"tool": s.tool, "arguments": s.arguments, "outcome": s.outcome, "milliseconds": s.milliseconds,
                       "rows": [] if s.found is None else [_shown(r) for r in s.found.rows[:MOST_ROWS]]}
                      for s in self.steps],
            "charts": [s.found.chart for s in self.steps if s.found is not None and s.found.chart],
            "proposals": [s.found.proposal for s in self.steps if s.found is not None and s.found.proposal],
            "notices": [{"kind": n.kind, "words": n.words} for n in self.notices],
            "used": None if self.used is None else {"tokens_in": self.used.tokens_in, "tokens_out": self.used.tokens_out,
                                                    "cost": self.used.cost,
                                                    "calls": len(self.steps), "milliseconds": self.used.milliseconds}}

    def _keep(self) -> None:
        if self.conversation and (self.pieces or self.sections or self.notices or self.steps):
            self.assistant.conversations.add(self.conversation, "assistant", self.document())


def _shown(row: Row) -> list[str]:
    """A row of a step for reading: what it is about, and its values."""
    return [row.name, ", ".join(f"{f.name.removeprefix(row.name).lstrip(': ')} {f.text()}".strip() for f in row.facts) or row.unknown]
