"""The command that serves the HTTP API."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from core.faces.command import Command
from data.errors import InputError

if TYPE_CHECKING:
    from core.sextant import Sextant

HOST = "127.0.0.1"


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=8700, help="on 127.0.0.1 (default 8700)")


def _serve(sextant: Sextant, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Until it is interrupted. What changes state needs the token of SEXTANT_API_TOKEN."""
    import uvicorn

    from core.faces.api import build_api

    if not 1 <= options.port <= 65_535:
        raise InputError(f"--port: expected 1 to 65535, got {options.port}")
    uvicorn.run(build_api(sextant), host=HOST, port=options.port, log_level="warning", access_log=False)
    return {"port": options.port}, "stopped"


COMMANDS = (Command("serve", "the HTTP API on 127.0.0.1: the same verbs, the same objects", "python -m core serve --port 8700", _arguments,
                    _serve),)
