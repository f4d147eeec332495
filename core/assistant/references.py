"""The stream of an answer: what a number could still become is held back, then written by code, linked or marked."""

from __future__ import annotations

from collections.abc import Iterable

from core.assistant.claims import Claims, Piece, Status, language
from core.assistant.guard import Guard, visible
from core.assistant.numbers import LOOK_AHEAD, ascii_digits, numbers

CONTEXT = 320
MOST_ANSWER = 20_000
LONGEST_WORD = 600  # characters without a space: what goes on is no word, and is let go in parts
ENOUGH = 24  # characters from which the language of an answer is known better than that of its question


class Answer:
    """Text goes in as it arrives; pieces come out once nothing that follows can change them.

    `pieces` are all that came out. A number is held until `LOOK_AHEAD` characters or a line end follow it, because what follows may be
    its unit; so is a reference until it is closed, and the end of a word.
    """

    def __init__(self, claims: Claims, guard: Guard) -> None:
        self._claims, self._guard = claims, guard
        self._asked_in = claims.locale
        self._raw = ""  # cleaned, not yet judged
        self._past = ""  # judged, the newest characters: context
        self._tail = max(LOOK_AHEAD, guard.longest)
        self._size = 0
        self.pieces: list[Piece] = []

    @property
    def text(self) -> str:
        """The answer as it is shown."""
        return plain(self.pieces)

    def feed(self, text: str) -> list[Piece]:
        """More of the answer; returns the pieces that are certain now."""
        text = ascii_digits(visible(text))
        if self._size + len(text) > MOST_ANSWER:
            text = text[: max(0, MOST_ANSWER - self._size)] + (" … (cut: too long)" if self._size <= MOST_ANSWER else "")
        self._size += len(text)
        self._raw += text
        return self._judge(final=False)

    def finish(self) -> list[Piece]:
        """The rest; nothing follows."""
        return self._judge(final=True)

    def _judge(self, *, final: bool) -> list[Piece]:
        self._raw = self._guard.hide(self._raw, goes_on=not final)
        text, start = self._past + self._raw, len(self._past)
        if len(text) >= ENOUGH and not self._claims.fixed:
            self._claims.locale = language(text, self._asked_in)
        safe = len(text) if final else self._safe_end(text, start)
        out: list[Piece] = []
        at = start
        for number in numbers(text, self._claims.locale, start):
            if number.start >= safe or (not final and not _settled(text, number.end, self._tail)):
                safe = min(safe, number.start)
                break
            if number.start > at:
                out.append(Piece(text[at : number.start]))
            out.append(self._claims.judge(number, text))
            at = number.end
        if at < safe:
            out.append(Piece(text[at:safe]))
            at = safe
        self._past = text[max(0, at - CONTEXT) : at]
        self._raw = text[at:]
        self.pieces = merged([*self.pieces, *out])
        return out

    def _safe_end(self, text: str, start: int) -> int:
        """How far plain text may go: not into the last words, which may be part of a number, a secret or a reference."""
        end = max(start, len(text) - max(2, self._guard.longest))
        space = max(text.rfind(" ", start, end), text.rfind("\n", start, end))
        most = max(LONGEST_WORD, 2 * self._guard.longest)
        end = space if space >= start else start if len(text) - start < most else len(text) - most // 2
        open_reference = text.find("{{", start)
        while open_reference >= 0:
            close = text.find("}}", open_reference)
            if close < 0 and len(text) - open_reference < 60:
                return min(end, open_reference)
            open_reference = text.find("{{", open_reference + 2)
        return end


def _settled(text: str, end: int, ahead: int) -> bool:
    return len(text) - end >= ahead or "\n" in text[end:]


def merged(pieces: Iterable[Piece]) -> list[Piece]:
    """Neighbouring text as one piece."""
    out: list[Piece] = []
    for piece in pieces:
        if out and piece.status is Status.TEXT and out[-1].status is Status.TEXT:
            out[-1] = Piece(out[-1].text + piece.text)
        elif piece.text:
            out.append(piece)
    return out


def plain(pieces: Iterable[Piece]) -> str:
    """Pieces as text: figures without a source are marked."""
    return "".join(f"{p.text} [unverified]" if p.status is Status.UNVERIFIED else p.text for p in pieces)


def cited(pieces: Iterable[Piece]) -> list[str]:
    """Ids of the facts behind an answer, each once, in the order they are read."""
    return list(dict.fromkeys(p.fact for p in pieces if p.fact))


def filled(text: str, claims: Claims, guard: Guard) -> list[Piece]:
    """A whole text at once."""
    answer = Answer(claims, guard)
    answer.feed(text)
    answer.finish()
    return answer.pieces

