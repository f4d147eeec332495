"""Pieces of an answer as Markdown: the model's text made harmless, figures linked to their source, the others marked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import urlencode

from core.assistant.claims import Piece, Status
from core.assistant.facts import Fact, Unit
from core.assistant.guard import literal, safe_markdown

PAGE_OF = {"signal": "signals", "forecast": "models", "models": "models", "backtests": "backtest", "paper account": "paper",
           "score lab": "score-lab",
           "quality": "data", "jobs": "models", "watchlist": ""}
HELD = "\ue000{}\ue001"  # private-use marks: they were removed from everything a model wrote


def markdown(pieces: Iterable[Piece], facts: Mapping[str, Fact]) -> str:
    """One answer. Model text is cleaned as a whole, so that nothing can be put together from its parts."""
    text, figures = "", list[str]()
    for piece in pieces:
        if piece.status in (Status.TEXT, Status.PLAIN):
            text += piece.text
        else:
            text += HELD.format(len(figures))
            figures.append(_figure(piece, facts))
    shown = safe_markdown(text)
    for n, figure in enumerate(figures):
        shown = shown.replace(HELD.format(n), figure)
    return shown


def _figure(piece: Piece, facts: Mapping[str, Fact]) -> str:
    fact = facts.get(piece.fact)
    if piece.status is Status.UNVERIFIED or fact is None:
        return f":orange-badge[:material/warning: {literal(piece.text)} unverified]"
    shown = literal(piece.text)
    if fact.unit is Unit.WORDS:
        return shown
    return f'[{shown}]({address(fact)} "{_tip(fact)}")'


def address(fact: Fact) -> str:
    """The page that shows where a value comes from."""
    page = PAGE_OF.get(fact.tool, "analysis")
    query = urlencode({n: v for n, v in (("symbol", fact.symbol), ("interval", fact.interval), ("market", fact.market)) if v})
    return f"/{page}" + (f"?{query}" if query else "")


def _tip(fact: Fact) -> str:
    return "".join(c for c in f"{fact.name} · {fact.where()}" if c not in '"<>()[]\\`*_$')
