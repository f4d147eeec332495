"""Commands that judge: scores, modules, composites, what changed, the scan, the score lab, the look-ahead check."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from core.faces.command import PYTHON, Command, Run, above_zero, moment, moment_arguments, series_arguments, series_key, show_progress
from data.errors import InputError

if TYPE_CHECKING:
    from analysis.report import ModuleReport
    from core.sextant import Sextant


def _lookahead_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cuts", type=above_zero, default=200, help="how many times the future is cut off (default 200)")
    parser.add_argument("--poisons", type=above_zero, default=5, help="how many poisoned futures, 1 to 5 (default 5)")


def _changed_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="a composite, e.g. trend_strength, or a module's word or letter")
    series_arguments(parser)
    parser.add_argument("--since", metavar="TIME", required=True, help="the earlier moment, e.g. 2024-03-01T00:00:00Z")
    parser.add_argument("--at", metavar="TIME", help="the later moment (default: now)")


def _composite_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="e.g. trend_strength, buy_opportunity, risk_exposure")
    moment_arguments(parser)


def _scan_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("symbols", nargs="*", metavar="SYMBOL", help="instead of the watchlist")
    parser.add_argument("--interval", nargs="+", default=["1h"], help="one or several (default 1h)")
    parser.add_argument("--market", default="spot", help="spot or perp (default spot)")


def _lab_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("symbols", nargs="*", metavar="SYMBOL", help="instead of the watchlist")
    parser.add_argument("--interval", default="1h", help="1m 5m 15m 1h 4h 1d ... (default 1h)")
    parser.add_argument("--market", default="spot", help="spot or perp (default spot)")
    parser.add_argument("--bars", type=int, default=8760, help="how many of the newest bars are judged (default 8760)")
    parser.add_argument("--at", metavar="TIME", help="judge the history before this time (default: all there is)")
    parser.add_argument("--worlds", type=int, default=0, help="null worlds to run beside it, e.g. 30 (default 0)")
    parser.add_argument("--stored", action="store_true", help="print the newest stored result instead of a new run")


def _scores(sextant: Sextant, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    card = sextant.scores(series_key(sextant, options), at_ms=moment(options.at))
    lines = [f"{card.symbol} {card.interval} {card.market}  as of {card.document()['as_of']}  {card.provenance}"]
    lines += [_line(f"{r.letter} {r.name}", r) for r in card.reports] + [""] + [_line(r.name, r) for r in card.composites]
    return card.document(), "\n".join(lines)


def _line(name: str, report: ModuleReport) -> str:
    value = "   -  " if report.score is None else f"{report.score:6.3f}"
    return f"  {name:<30}{value}  coverage {report.coverage:4.0%}  {report.label or report.reason}"


def _report(report: ModuleReport) -> tuple[dict[str, Any], str]:
    score = f"unknown: {report.reason}" if report.score is None else f"{report.score:.3f} {report.label}".strip()
    lines = [f"{report.name} of {report.symbol} {report.interval}: {score}  (coverage {report.coverage:.0%}, {report.provenance})"]
    lines += [f"  {p.title:<34}{'-' if p.value is None else f'{p.value:.5g}':>12} {p.unit:<10}"
              f"{'' if p.contribution is None else f'{p.contribution:+.4f}':>9}  {p.note or ('' if p.status == 'ok' else p.status)}"
              for p in report.parts]
    return report.document(), "\n".join(lines)


def _module(word: str) -> Run:
    def run(sextant: Sextant, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
        return _report(sextant.report(word, series_key(sextant, options), at_ms=moment(options.at)))

    return run


def _composite(sextant: Sextant, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    key, at = series_key(sextant, options), moment(options.at)
    document, text = _report(sextant.composite(options.name, key, at_ms=at))
    near = [f for f in sextant.flips(options.name, key, at_ms=at) if f.reachable][:5]
    flips = [{"part": f.name, "towards": f.towards, "now": f.k_now, "needed": f.k_needed} for f in near]
    text += "".join(f"\n  to {f['towards']}: {f['part']} from {f['now']:+.2f} to {f['needed']:+.2f}" for f in flips)
    return document | {"flips": flips}, text


def _changed(sextant: Sextant, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    since = moment(options.since)
    if since is None:
        raise InputError("expected --since TIME, e.g. 2024-03-01T00:00:00Z")
    change = sextant.what_changed(options.name, series_key(sextant, options), since, moment(options.at))
    document = sextant.change_document(options.name, change)
    lines = [f"{options.name} of {options.symbol}: {change.score_before:.3f} -> {change.score_after:.3f} ({change.change:+.3f})"]
    lines += [f"  {name:<34}{share:+.4f}" for name, share in change.parts.items() if share]
    return document, "\n".join(lines)


def _scan(sextant: Sextant, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    result = sextant.scan(tuple(options.symbols), tuple(options.interval), options.market,
                          progress=None if options.json or not sys.stderr.isatty() else show_progress)
    return result.document(), result.text()


def _lab(sextant: Sextant, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    if options.stored:
        result = sextant.lab_result(options.interval, options.market)
        if result is None:
            raise InputError(f"no lab result for {options.interval} {options.market} is stored; run it without --stored")
    else:
        result = sextant.run_lab(tuple(options.symbols), options.interval, options.market, bars=options.bars, at_ms=moment(options.at),
                                 worlds=options.worlds, progress=None if options.json or not sys.stderr.isatty() else show_progress)
    return result.document, result.text()


def _lookahead(sextant: Sextant, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    result = sextant.check_lookahead(cuts=options.cuts, poisons=options.poisons,
                                     progress=None if options.json or not sys.stderr.isatty() else show_progress)
    return result.document() | {"exit": 0 if result.ok else 1}, result.text()


def commands() -> tuple[Command, ...]:
    """The fixed ones; modules bring their own words from the registry."""
    from analysis.modules import MODULES

    fixed = (
        Command("scores", "all modules and composites of a symbol",
                f"{PYTHON} scores BTCUSDT --interval 1h --at 2024-03-01T00:00:00Z --json", moment_arguments, _scores),
        Command("composite", "one composite of a symbol, and what would change its word", f"{PYTHON} composite trend_strength BTCUSDT",
                _composite_arguments, _composite),
        Command("changed", "what moved a score between two moments", f"{PYTHON} changed risk_exposure BTCUSDT --since 2026-11-19T00:00:00Z",
                _changed_arguments, _changed),
        Command("scan", "score the whole watchlist, for a scheduler or by hand", f"{PYTHON} scan --interval 1h 4h --json",
                _scan_arguments, _scan),
        Command("lab", "does each score predict anything? stored and dated", f"{PYTHON} lab --interval 1h --bars 8760 --json",
                _lab_arguments, _lab),
        Command("lookahead", "cut and poison the future of everything registered", f"{PYTHON} lookahead --cuts 20 --poisons 1",
                _lookahead_arguments, _lookahead),
    )
    own = [Command(m.commands[0], f"{m.letter}: {m.question}", f"{PYTHON} {m.commands[0]} BTCUSDT --interval 4h", moment_arguments,
                   _module(m.letter), m.commands[1:]) for m in MODULES if m.letter != "I"]  # `allocate` prints I's report under `module`
    return (*fixed, *own)
