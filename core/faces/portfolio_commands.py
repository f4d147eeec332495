"""Commands over portfolios: weights by a method, under limits."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from core.faces.command import Command, moment
from data.errors import SextantError
from data.market import Interval, Market

if TYPE_CHECKING:
    from core.portfolio import Asked
    from core.sextant import Sextant

LIMITS = (("floor", "least weight of each symbol (default 0)"), ("cap", "most weight of each symbol (default 1)"),
          ("cluster-cap", "most weight of symbols together whose correlation is above .8 (default 1)"),
          ("target-vol", "volatility per year above which everything is scaled down, e.g. 0.25"),
          ("cash", "least share that stays cash (default 0)"),
          ("turnover", "most that may be traded against the paper account's holdings, e.g. 0.3"))


def _arguments(parser: argparse.ArgumentParser) -> None:
    from analysis.allocation.methods import METHODS

    parser.add_argument("symbols", nargs="+", metavar="SYMBOL", help="e.g. BTCUSDT ETHUSDT SOLUSDT")
    parser.add_argument("--method", default="hrp", help=", ".join(m.name for m in METHODS) + " (default hrp)")
    parser.add_argument("--interval", default="1d", help="bars of the returns (default 1d)")
    parser.add_argument("--market", default="spot", help="spot or perp (default spot)")
    parser.add_argument("--at", metavar="TIME", help="what was known at this time, e.g. 2024-06-30 (default: now)")
    parser.add_argument("--days", type=int, default=180, help="how far back the returns reach (default 180)")
    for name, words in LIMITS:
        parser.add_argument(f"--{name}", type=float, metavar="SHARE", help=words)
    parser.add_argument("--risk", action="store_true", help="print risk, stress and suggestions too")
    parser.add_argument("--record", action="store_true", help="print every method out of sample after costs too")
    parser.add_argument("--since", metavar="TIME", help="first day out of sample of --record (default: all there is)")


def asked_of(options: argparse.Namespace) -> Asked:
    """The question of a command line."""
    from analysis.allocation.wishes import Wishes
    from core.portfolio import Asked

    wished = {name.replace("-", "_"): getattr(options, name.replace("-", "_")) for name, _ in LIMITS}
    return Asked(tuple(options.symbols), options.method.lower().replace("_", "-"), Interval.parse(options.interval),
                 Market.parse(options.market), moment(options.at), options.days,
                 Wishes(**{n: v for n, v in wished.items() if v is not None}))


def _allocate(sextant: Sextant, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    asked = asked_of(options)
    found = sextant.allocation(asked)
    document, text = found.document() | {"module": _module(sextant, asked)}, found.text()
    if options.risk:
        risk = sextant.portfolio_risk(asked)
        document, text = document | {"risk": risk.document()}, f"{text}\n\n{risk.text()}"
    if options.record:
        record = sextant.allocation_record(asked, start_ms=moment(options.since))
        lines = [f"  {r['method']:<17}Sharpe {r['sharpe']:+.2f} ({r['interval'][0]:+.2f} to {r['interval'][1]:+.2f}), {r['return']:+.1%} "
                 f"a year, drawdown {r['max_drawdown']:.0%}, turnover {r['turnover']:.0%}; against 1/N: "
                 f"{r['equal_verdict']}" for r in record.rows]
        document = document | {"record": record.document()}
        text += "\n\n" + "\n".join([f"out of sample, {record.days} days, rebalanced {record.rebalancings} times", *lines, record.words])
    return document, text


def _module(sextant: Sextant, asked: Asked) -> dict[str, Any] | None:
    """Module I of the first symbol, where its bars are stored; the words why not where they are not."""
    held = sextant.intervals(asked.symbols[0], asked.market)
    interval = asked.interval if asked.interval in held else next(iter(held), asked.interval)
    try:
        return sextant.report("I", sextant.key(asked.symbols[0], interval, asked.market), at_ms=asked.at_ms).document()
    except SextantError as error:
        return {"letter": "I", "score": None, "reason": str(error)}


COMMANDS = (
    Command("allocate", "how much of each symbol: a portfolio by one of seven methods, under limits",
            "python -m core allocate BTCUSDT ETHUSDT SOLUSDT --method hrp --cap 0.4 --json", _arguments, _allocate, ("al",)),
)
