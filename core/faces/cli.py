"""The command line: one command per verb, each a line or two over the facade.

`--json` prints one JSON document on stdout and nothing else. Exit codes: 0 fine, 2 bad input or usage, 3 damaged state, 4
another process holds the lock, 1 anything else; then one line `error: ...` on stderr, never a traceback.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from core.faces.command import Command
from data.errors import InputError, SextantError


class CommandParser(argparse.ArgumentParser):
    """An argparse parser whose errors are one line, with a hint."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see python -m core {self.prog.split()[-1] if ' ' in self.prog else ''} --help".replace("  ", " "))


def main(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit code."""
    try:
        return _run(list(arguments))
    except SextantError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("stopped by the user", 1)
    except BrokenPipeError:  # the reader went away, as `head` does: nothing more may be written, not even at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001 - the last stop before a user: a code instead of a traceback
        from core.logbook import unexpected

        return _fail(f"something failed ({unexpected(error)}): {type(error).__name__}; details are in the log", 1)


def _fail(words: str, code: int) -> int:
    from core.logbook import mask

    print("error: " + mask(" ".join(words.split())), file=sys.stderr)
    return code


def _run(arguments: list[str]) -> int:
    commands = command_table()
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview(commands))
        return 0 if arguments else 2
    word, rest = arguments[0], arguments[1:]
    if word not in commands:
        near = difflib.get_close_matches(word, commands, n=1)
        raise InputError(f"unknown command {word[:30]!r}{f'; did you mean {near[0]}?' if near else ''}; see python -m core --help")
    command = commands[word]
    parser = CommandParser(prog=f"python -m core {word}", description=command.help, epilog=f"example: {command.example}",
                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    command.arguments(parser)
    options = parser.parse_args(rest)

    from core.wiring import build

    document, text = command.run(build(), options)
    print(json.dumps(document, allow_nan=False, ensure_ascii=False) if options.json else text)
    return int(document.get("exit", 0)) if isinstance(document.get("exit"), int) else 0


def _overview(commands: dict[str, Command]) -> str:
    unique = {c.name: c for c in commands.values()}
    rows = "\n".join(f"  {c.name:<12}{c.help}" for c in unique.values())
    return ("usage: python -m core COMMAND [--json] ...\n\n" + rows
            + "\n\nA command's own help: python -m core COMMAND --help"
            + "\nTimes are ISO 8601 UTC; SEXTANT_HOME names the folder of all state.")


def command_table() -> dict[str, Command]:
    """Every word the command line understands, by word."""
    from core.faces import (
        assistant_commands,
        data_commands,
        model_commands,
        paper_commands,
        portfolio_commands,
        score_commands,
        serve_commands,
        trade_commands,
    )

    every = (*data_commands.COMMANDS, *score_commands.commands(), *trade_commands.COMMANDS, *model_commands.COMMANDS,
             *serve_commands.COMMANDS,
             *portfolio_commands.COMMANDS, *paper_commands.COMMANDS, *assistant_commands.COMMANDS)
    return {word: command for command in every for word in (command.name, *command.aliases)}
