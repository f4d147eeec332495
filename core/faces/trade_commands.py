"""Commands that decide and try: the signal card, the backtest, the sweep."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.faces.command import PYTHON, Command, moment, show_progress
from data.errors import InputError

if TYPE_CHECKING:
    from core.backtest.question import Question
    from core.sextant import Sextant
    from core.signals import SignalCard

MOST_FILE_BYTES = 50_000_000


def _strategy_arguments(parser: argparse.ArgumentParser) -> None:
    from core.strategies import STRATEGIES

    names = ", ".join(s.name for s in STRATEGIES)
    parser.add_argument("--strategy", default=None, help=f"{names}; several on one account as trend,ema_cross@4h (default trend)")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="parameters of the strategy, e.g. enter=0.65")


def _signal_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("symbols", nargs="+", metavar="SYMBOL", help="one or several, e.g. BTCUSDT ETHUSDT")
    parser.add_argument("--interval", default="1h", help="1m 5m 15m 1h 4h 1d ... (default 1h)")
    parser.add_argument("--market", default="spot", help="spot or perp (default spot)")
    parser.add_argument("--at", metavar="TIME", help="what was known at this time, e.g. 2024-03-01T00:00:00Z (default: now)")
    _strategy_arguments(parser)


def _question_arguments(parser: argparse.ArgumentParser) -> None:
    from core.backtest.asking import OPTIONS

    parser.add_argument("symbols", nargs="+", metavar="SYMBOL", help="traded on one account, e.g. BTCUSDT ETHUSDT")
    _strategy_arguments(parser)
    kinds: dict[str, Callable[[str], Any]] = {"number": float, "whole": int, "text": str, "words": str}
    for o in OPTIONS:
        flag = "--" + o.name.replace("_", "-")
        if o.kind == "switch":
            parser.add_argument(flag, action="store_true", default=None, help=o.help)
        else:
            usual = "" if o.default is None else f" (default {o.default:g})" if isinstance(o.default, float) else f" (default {o.default})"
            parser.add_argument(flag, type=kinds[o.kind], default=None, metavar=o.name.upper(), help=(o.help + usual).replace("%", "%%"))


def _backtest_arguments(parser: argparse.ArgumentParser) -> None:
    _question_arguments(parser)
    parser.add_argument("--signals", metavar="FILE", help="CSV of time, action (enter_long, exit_long, enter_short, exit_short, exit; hold "
                                                         "only changes the trailing distance) instead of a strategy; further columns: "
                                                         "symbol, stop, target, trail, or prices as stop_price, target_price")
    parser.add_argument("--out", metavar="DIR", help="write the report here: JSON, Markdown, HTML, trades and equity as CSV, run card")
    parser.add_argument("--quick", action="store_true", help="leave out what needs further runs (luck, neighbours, baselines)")
    parser.add_argument("--worlds", type=int, default=20, help="histories without an edge to run beside it (default 20)")


def _sweep_arguments(parser: argparse.ArgumentParser) -> None:
    _question_arguments(parser)
    parser.add_argument("--grid", nargs="+", required=True, metavar="NAME=VALUES", help="enter=0.5,0.6,0.7 or stop_atr=1:4:0.5")


def parameters(texts: list[str]) -> dict[str, float]:
    out = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            out[name.strip()] = float(value)
        except ValueError:
            raise InputError(f"--set {text[:40]!r}: expected NAME=VALUE with a number, e.g. enter=0.65") from None
    return out


def _question(options: argparse.Namespace, rows: str | None = None) -> Question:
    from core.backtest.asking import OPTIONS, ask

    chosen = {o.name: getattr(options, o.name) for o in OPTIONS}
    return ask(options.symbols, chosen, rule=None if rows is not None else options.strategy or "trend", rows=rows,
               parameters=parameters(options.set))


def _file(path: str) -> str:
    """The text of a file of signals."""
    file = Path(path)
    try:
        if file.stat().st_size > MOST_FILE_BYTES:
            raise InputError(f"--signals {path}: larger than {MOST_FILE_BYTES:,} bytes; split it")
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--signals {path}: cannot be read as text ({getattr(error, 'strerror', None) or 'not UTF-8'})") from None


def _signal(sextant: Sextant, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from core.strategies import Choice

    choice, at = Choice(options.strategy or "trend", parameters(options.set)), moment(options.at)
    cards = [_card(sextant.signal(sextant.key(s, options.interval, options.market), choice, at_ms=at)) for s in options.symbols]
    if len(cards) == 1:
        return cards[0]
    return {"signals": [d for d, _ in cards]}, "\n\n".join(text for _, text in cards)


def _card(card: SignalCard) -> tuple[dict[str, Any], str]:
    d = card.document()
    lines = [f"{card.symbol} {card.interval} {card.market}, {card.strategy}: {card.signal}  ({card.state}, as of {d['as_of']}, "
             f"{card.provenance})"]
    for name in ("entry", "stop_loss", "take_profit", "size", "notional", "risk_reward", "risk_share"):
        if d[name] is not None:
            lines.append(f"  {name.replace('_', ' '):<14}{d[name]:>14.6g}")
    lines.append(f"  confidence    {'-' if card.confidence is None else f'{card.confidence:.0%}'}  {card.confidence_reason}")
    lines += [f"  - {r}" for r in card.reasons]
    return d, "\n".join(lines)


def _backtest(sextant: Sextant, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from core.backtest.report import text, write

    if options.signals and options.strategy:
        raise InputError("expected either --strategy or --signals, got both")
    if not 0 <= options.worlds <= 1000:
        raise InputError(f"--worlds: expected 0 to 1000, got {options.worlds}")
    question = _question(options, _file(options.signals) if options.signals else None)
    done = sextant.backtest(question, quick=options.quick, worlds=options.worlds,
                            progress=None if options.json or not sys.stderr.isatty() else show_progress)
    written = write(done, Path(options.out)) if options.out else {}
    d = done.document()
    left_out = ("question", "config", "curve", "by_month", "by_reason")  # in the files
    document = {name: value for name, value in d.items() if name not in left_out} | {"files": written}
    return document, text(done) + "".join(f"\n  {kind}: {path}" for kind, path in written.items())


def _sweep(sextant: Sextant, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from core.backtest.asking import grid_of

    done = sextant.sweep(_question(options), grid_of(options.grid),
                         progress=None if options.json or not sys.stderr.isatty() else show_progress)
    return done.document, done.text()


def _metrics_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", default="", metavar="RUN", help="a run id (default: the newest stored backtest)")


def _metrics(sextant: Sextant, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from core.backtest.report import shown

    stored = sextant.backtests()
    found = next((h for h in stored if options.run in ("", h["run_id"])), None)
    if found is None:
        raise InputError(f"there is no stored run {options.run!r}; run a backtest" if options.run else "no backtest is stored yet; run one")
    document = {n: found[n] for n in ("run_id", "from", "to", "trades", "metrics", "verdict")} | {
        "rule": found["question"]["rule"], "symbols": found["question"]["symbols"]}
    rows = [f"  {name.replace('_', ' '):<22}{shown(name, value):>14}" for name, value in found["metrics"].items()]
    return document, "\n".join([f"run {found['run_id']}: {found['question']['rule']}, {found['verdict']['text']}", *rows])


COMMANDS = (
    Command("metrics", "figures of the newest stored backtest, or of one run", f"{PYTHON} metrics --json", _metrics_arguments, _metrics),
    Command("signal", "what a strategy wants right now: side, prices, size, reasons, limits", f"{PYTHON} signal BTCUSDT --strategy trend",
            _signal_arguments, _signal),
    Command("backtest", "trade a rule, or signals from a file, over the past and say what the result is worth",
            f"{PYTHON} backtest BTCUSDT ETHUSDT --interval 1h --strategy trend --out report", _backtest_arguments, _backtest),
    Command("sweep", "try every combination of settings; the best is judged by how many there were",
            f"{PYTHON} sweep BTCUSDT --strategy trend --grid enter=0.5:0.8:0.05 stop_atr=1:4:1", _sweep_arguments, _sweep),
)
