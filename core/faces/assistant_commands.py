"""Commands of the assistant: a question, and the deterministic brief."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from core.faces.command import PYTHON, Command, series_arguments, series_key
from data.errors import InputError

if TYPE_CHECKING:
    from core.assistant.assistant import Told
    from core.assistant.claims import Piece
    from core.assistant.facts import Fact
    from core.sextant import Sextant


def _ask_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("question", help='in quotes, e.g. "What moved Bitcoin today?", or a chat command such as "/trend BTCUSDT"')
    parser.add_argument("--symbol", default=None, help="the symbol in focus (default: the first of the watchlist)")
    parser.add_argument("--interval", default="1h", help="1m 5m 15m 1h 4h 1d ... (default 1h)")
    parser.add_argument("--market", default="spot", help="spot or perp (default spot)")


def _ask(sextant: Sextant, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from core.assistant import Assistant
    from core.assistant.slash import is_slash

    symbols = sextant.symbols()
    if options.symbol is None and not symbols:
        raise InputError("no symbol is stored; name one with --symbol, and back-fill or import it first")
    key = sextant.key(options.symbol or symbols[0], options.interval, options.market)
    assistant = Assistant(sextant)
    if is_slash(options.question):
        return _slash(assistant, options.question, key)
    told = assistant.ask(options.question, key)
    for _ in told:
        pass
    document = told.document() | {"question": options.question}
    return document, _text(told)


def _slash(assistant: Any, text: str, key: Any) -> tuple[dict[str, Any], str]:
    from core.assistant import slash

    desk = assistant.desk(key)
    command, arguments = slash.parsed(text, desk)
    if command.tool == "help":
        return {"help": slash.help_text()}, slash.help_text()
    if command.tool == "brief":
        return _briefed(assistant, assistant.sextant.key(arguments.get("symbol", key.symbol), arguments.get("interval", key.interval),
                                                         key.market))
    found = slash.run(text, desk)
    section = slash.as_section(found)
    return {"tool": found.tool, "symbol": found.symbol, "interval": found.interval, "lines": section.text().splitlines()[1:],
            "figures": [f.document() | {"text": f.text(), "source": f.where()} for f in found.facts]}, section.text()


def _brief(sextant: Sextant, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from core.assistant import Assistant

    return _briefed(Assistant(sextant), series_key(sextant, options))


def _briefed(assistant: Any, key: Any) -> tuple[dict[str, Any], str]:
    from core.assistant.brief import LABEL, document

    desk, sections = assistant.brief(key)
    written = tuple(sections)
    return document(desk, written), "\n".join([f"{key.symbol} {key.interval} {key.market}", LABEL, "", *(s.text() for s in written)])


def _text(told: Told) -> str:
    """The answer, what was done for it, and the source of every figure."""
    lines = [n.words for n in told.notices] + ([told.text] if told.text else [])
    if told.steps:
        lines += ["", "Steps:", *(f"  {s.number}. {s.tool} {s.arguments or ''}: {s.outcome}" for s in told.steps)]
    sources = [_source(told.desk.facts.known[number]) for number in _used(told.pieces)]
    if sources:
        lines += ["", "Sources:", *(f"  {line}" for line in dict.fromkeys(sources))]
    if told.used is not None:
        tokens = "" if told.used.tokens_in is None else f"{told.used.tokens_in:,} tokens in, {told.used.tokens_out or 0:,} out, "
        cost = "" if told.used.cost is None else f"${told.used.cost:.4f}, "
        lines += ["", f"{tokens}{cost}{told.used.calls} calls, {told.used.milliseconds / 1000:.1f} s"]
    return "\n".join(lines)


def _used(pieces: list[Piece]) -> list[str]:
    return list(dict.fromkeys(p.fact for p in pieces if p.fact))


def _source(fact: Fact) -> str:
    return f"{fact.text()}: {fact.name} ({fact.where()})"


COMMANDS = (
    Command("ask", "ask the assistant; without a model it answers with the brief",
            f'{PYTHON} ask "What moved Bitcoin today?" --symbol BTCUSDT',
            _ask_arguments, _ask),
    Command("brief", "a deterministic note on a symbol: scores, changes, signal, risk, levels, gaps", f"{PYTHON} brief BTCUSDT",
            series_arguments,
            _brief),
)
