"""What a command is, and the arguments that several share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.sextant import Sextant
    from data.market import SeriesKey

Run = Callable[["Sextant", argparse.Namespace], tuple[dict[str, Any], str]]
PYTHON = "python -m core"


@dataclass(frozen=True)
class Command:
    """One verb on the command line: what `--help` says of it, its arguments, and what it prints (document, text)."""

    name: str
    help: str
    example: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Run
    aliases: tuple[str, ...] = ()


def series_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("symbol", help="e.g. BTCUSDT")
    parser.add_argument("--interval", default="1h", help="1m 5m 15m 1h 4h 1d ... (default 1h)")
    parser.add_argument("--market", default="spot", help="spot or perp (default spot)")


def moment_arguments(parser: argparse.ArgumentParser) -> None:
    series_arguments(parser)
    parser.add_argument("--at", metavar="TIME", help="what was known at this time, e.g. 2024-03-01T00:00:00Z (default: now)")


def above_zero(text: str) -> int:
    """A count as an argument: 0 is no default."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text[:20]!r}")
    return value


def series_key(sextant: Sextant, options: argparse.Namespace) -> SeriesKey:
    return sextant.key(options.symbol, options.interval, options.market)


def moment(text: str | None) -> int | None:
    from data.clock import parse_time

    return None if text is None else parse_time(text)


def show_progress(done: int, total: int, name: str) -> None:
    sys.stderr.write(f"\r{done}/{total} {name[-60:]:<60}" + ("\n" if done >= total else ""))
