"""Commands in the chat: every module, alias and composite, and the other tools by a word. No model is asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from analysis.composites import COMPOSITES
from analysis.modules import MODULES
from core.assistant.brief import Section
from core.assistant.claims import Piece, Status
from core.assistant.desk import Desk
from core.assistant.facts import Found, Row
from core.assistant.tools import Tool, tool, vocabulary
from data.errors import InputError
from data.market import did_you_mean

MOST_WORDS = 6
MOST_VALUES = 4  # facts a line; the rest are in the sources


@dataclass(frozen=True)
class Slash:
    """One command: its words, the tool behind it with what is fixed of its arguments, and which argument a free word goes to."""

    words: tuple[str, ...]
    tool: str
    help: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    takes: tuple[str, ...] = ()

    @property
    def usage(self) -> str:
        known = {n for n in ("symbol", "interval") if n in tool(self.tool).parameter_names()} if self.tool not in OWN else {"symbol",
                                                                                                                            "interval"}
        free = [t.upper() for t in self.takes] + [f"[{n.upper()}]" for n in ("symbol", "interval") if n in known]
        return " ".join(["/" + self.words[0], *free])


OWN = ("help", "brief")


def _table() -> tuple[Slash, ...]:
    modules = tuple(Slash(m.commands, "module", m.question, {"name": m.commands[0]}) for m in MODULES)
    composites = tuple(Slash((c.name,), "composite", c.question, {"name": c.name}) for c in COMPOSITES)
    return (
        Slash(("help", "h"), "help", "these commands"),
        Slash(("brief", "b"), "brief", "the deterministic note on a symbol"),
        *modules,
        Slash(("composite", "co"), "composite", "one composite with its parts", takes=("name",)), *composites,
        Slash(("scores", "sc"), "scores", "all modules and composites"),
        Slash(("price", "p"), "price", "price, change and range of the day"),
        Slash(("signal", "sig"), "signal", "what a rule wants now, and why", takes=("rule",)),
        Slash(("forecast", "fc"), "forecast", "what the trained model says", takes=("label",)),
        Slash(("changed", "ch"), "what_changed", "what moved a score in the last 24 hours", takes=("name",)),
        Slash(("flips", "fl"), "flips", "what would change a composite's word", takes=("name",)),
        Slash(("chart",), "chart", "candles, or the history of a score", takes=("what",)),
        Slash(("candles",), "candles", "the newest candles"),
        Slash(("watchlist", "w"), "watchlist", "every watched symbol"),
        Slash(("lab",), "lab", "what the score lab found"),
        Slash(("backtest", "bt"), "propose_backtest", "propose a backtest of a rule", takes=("rule",)),
        Slash(("train",), "propose_training", "propose to train a model", takes=("label",)),
        Slash(("backtests",), "backtests", "stored backtests"),
        Slash(("models",), "models", "trained models"),
        Slash(("paper",), "paper", "the paper account"),
        Slash(("close",), "propose_close", "propose to close a paper position"),
        Slash(("watch",), "propose_watchlist", "propose to add a symbol to the watchlist", {"change": "add"}),
        Slash(("unwatch",), "propose_watchlist", "propose to take a symbol from the watchlist", {"change": "remove"}),
        Slash(("alerts",), "alerts", "the newest alerts"),
        Slash(("quality", "gaps"), "quality", "holes and defects of the candles"),
        Slash(("jobs",), "jobs", "trainings and backtests in the queue"))


def commands() -> dict[str, Slash]:
    """Every word, by word."""
    return {word: slash for slash in _table() for word in slash.words}


def is_slash(text: str) -> bool:
    return text.lstrip().startswith("/")


def parsed(text: str, desk: Desk) -> tuple[Slash, dict[str, Any]]:
    """The command and the arguments of its tool.

    Raises
    ------
    InputError
        For an unknown command, or a word that fits no argument.
    """
    words = text.strip().lstrip("/").split()
    table = commands()
    if not words or words[0].lower() not in table:
        said = words[0][:30] if words else ""
        raise InputError(f"there is no command /{said}{did_you_mean(said.lower(), list(table))}; /help lists them")
    if len(words) > MOST_WORDS:
        raise InputError(f"expected at most {MOST_WORDS - 1} words after /{words[0]}, got {len(words) - 1}")
    slash = table[words[0].lower()]
    arguments: dict[str, Any] = dict(slash.fixed)
    symbols, intervals = vocabulary("symbol", desk.sextant), vocabulary("interval", desk.sextant)
    free = list(slash.takes)
    for word in words[1:]:
        symbol = next((s for s in symbols if word.upper() in (s, s.removesuffix("USDT"))), None)
        if word.lower() in intervals and "interval" not in arguments:
            arguments["interval"] = word.lower()
        elif symbol is not None and "symbol" not in arguments:
            arguments["symbol"] = symbol
        elif free:
            arguments[free.pop(0)] = word
        else:
            raise InputError(f"/{slash.words[0]}: {word[:30]!r} is no symbol or interval here{did_you_mean(word.upper(), symbols)}; "
                             f"expected {slash.usage}")
    if "name" in slash.takes and "name" not in arguments:
        arguments["name"] = "trend_strength"
    if slash.tool == "propose_backtest":
        arguments.setdefault("rule", "trend")
    return slash, arguments


def run(text: str, desk: Desk) -> Found:
    """Run a command that is neither /help nor /brief.

    Raises
    ------
    SextantError
        Whatever its tool says.
    """
    slash, arguments = parsed(text, desk)
    asked: Tool = tool(slash.tool)
    known = asked.parameters(desk.sextant)
    checked = asked.checked(desk.sextant, json.dumps({n: v for n, v in arguments.items() if n in known}))
    return asked.run(desk, checked)


def help_text() -> str:
    """The table of commands as Markdown."""
    rows = [f"| `{s.usage}` | {' '.join('/' + w for w in s.words[1:])} | {s.help} |" for s in _table()]
    return "\n".join(["| Command | Short | What it shows |", "|---|---|---|", *rows])


def as_section(found: Found, locale: str = "en") -> Section:
    """A result as lines whose figures carry their sources."""
    return Section(found.title, tuple(_line(row, locale) for row in found.rows))


def _line(row: Row, locale: str) -> tuple[Piece, ...]:
    pieces = [Piece(f"{row.name}: ")]
    for n, fact in enumerate(row.facts[:MOST_VALUES] if len(row.facts) > 8 else row.facts):
        name = fact.name.removeprefix(row.name).lstrip(": ") or ""
        pieces += [Piece(", " if n else ""), Piece(f"{name} " if name and name != fact.text() else ""),
                   Piece(fact.text(locale), Status.REFERENCE, fact.id)]
    if row.unknown:
        pieces.append(Piece(("; " if row.facts else "") + f"unknown: {row.unknown}"))
    return tuple(p for p in pieces if p.text)
