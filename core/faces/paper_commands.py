"""Commands over the paper account: the account itself, the runner, and the proofs of the ledger."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.faces.command import Command
from data.clock import iso
from data.errors import InputError

if TYPE_CHECKING:
    from core.sextant import Sextant

Answer = tuple[dict[str, Any], str]
TABLES = ("orders", "fills", "decisions", "equity", "audit")


def _paper_arguments(parser: argparse.ArgumentParser) -> None:
    from core.backtest.asking import OPTIONS

    parser.add_argument("act", nargs="?", default="status", choices=sorted(ACTS), metavar="ACT", help=", ".join(sorted(ACTS)))
    parser.add_argument("symbols", nargs="*", metavar="SYMBOL", help="of start: what is traded; of open, close, reduce ...: one")
    parser.add_argument("--strategy", default="trend", help="of start: the rule; several on one account as trend,ema_cross@4h")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="of start: parameters of the rule")
    parser.add_argument("--side", choices=("long", "short"), default="long", help="of open")
    parser.add_argument("--quantity", type=float, help="of open and reduce: in base currency (default of open: sized by the stop)")
    parser.add_argument("--stop", type=float, metavar="PRICE", help="of open and modify")
    parser.add_argument("--target", type=float, metavar="PRICE", help="of open and modify")
    parser.add_argument("--limit", type=float, metavar="PRICE", help="of open: at this price or better")
    parser.add_argument("--table", default="fills", choices=sorted(TABLES), help="of export")
    parser.add_argument("--yes", action="store_true", help="of start: open a new account although there is one")
    for o in OPTIONS:
        if o.name in ("interval", "market", "capital", "leverage", "sizing", "size", "max_positions", "position_cap", "kill_switch",
                      "participation", "stop_atr", "reward", "trail_atr", "slippage", "slippage_bps", "maker_bps", "taker_bps"):
            kind: Callable[[str], Any] = {"number": float, "whole": int}.get(o.kind, str)
            parser.add_argument("--" + o.name.replace("_", "-"), type=kind, default=None, metavar=o.name.upper(),
                                help=("of start: " + o.help).replace("%", "%%"))


def _paper(sextant: Sextant, options: argparse.Namespace) -> Answer:
    return ACTS[options.act](sextant, options)


def _status(sextant: Sextant, options: argparse.Namespace) -> Answer:
    found = sextant.paper_status()
    if found["account"] is None:
        return found, found["reason"]
    rows = [f"  {p['symbol']} {'long' if p['side'] > 0 else 'short'} {p['quantity']:g} at {p['entry']:g}, now {p['price']:g}, "
            f"{p['pnl']:+.2f}" for p in found["positions"]]
    text = [f"account {found['account']}: equity {found['equity']:,.2f}, cash {found['cash']:,.2f}, {found['trades']} closed trades",
            *(rows or ["  no open position"]), f"  runner: {found['runner']['words']}"]
    return found, "\n".join(text)


def _start(sextant: Sextant, options: argparse.Namespace) -> Answer:
    from core.backtest.asking import OPTIONS
    from core.faces.trade_commands import parameters
    from core.paper.window import Terms

    if sextant.broker.account() is not None and not options.yes:
        raise InputError("a paper account is open already; --yes opens a new one (the old one stays in the ledger)")
    if not options.symbols:
        raise InputError("expected at least one symbol, e.g. python -m core paper start BTCUSDT ETHUSDT --strategy trend")
    chosen = {o.name: getattr(options, o.name) for o in OPTIONS if getattr(options, o.name, None) is not None}
    account = sextant.paper_open(Terms(tuple(s.upper() for s in options.symbols), options.strategy, parameters(options.set), chosen))
    return ({"account": account.number, "opened": iso(account.opened_ms), "terms": account.terms.document()},
            f"account {account.number} opened with {account.capital} on {', '.join(account.terms.symbols)}; the runner trades it: "
            "python -m core run")


def _reset(sextant: Sextant, options: argparse.Namespace) -> Answer:
    account = sextant.broker.account()
    if account is None:
        raise InputError("there is no paper account to reset; open one with paper start")
    if not options.yes:
        raise InputError("a reset opens a new account with the same terms; say --yes. The old one stays in the ledger")
    fresh = sextant.paper_open(account.terms)
    return {"account": fresh.number, "opened": iso(fresh.opened_ms)}, f"account {fresh.number} opened with {fresh.capital}"


def _asking(kind: str) -> Callable[[Sextant, argparse.Namespace], Answer]:
    def ask(sextant: Sextant, options: argparse.Namespace) -> Answer:
        if len(options.symbols) != 1:
            raise InputError(f"expected one symbol, e.g. python -m core paper {options.act} BTCUSDT")
        content: dict[str, Any] = {n: getattr(options, n) for n in ("stop", "target", "limit", "quantity")
                                   if getattr(options, n) is not None}
        if kind == "place":
            content["side"] = 1 if options.side == "long" else -1
        key = sextant.paper_ask(kind, options.symbols[0].upper(), content)
        return {"key": key, "kind": kind, "symbol": options.symbols[0].upper(), **content}, f"{key}: done by the runner before the next bar"

    return ask


def _plain(kind: str) -> Callable[[Sextant, argparse.Namespace], Answer]:
    def ask(sextant: Sextant, options: argparse.Namespace) -> Answer:
        key = sextant.paper_ask(kind)
        return {"key": key, "kind": kind}, f"{key}: done by the runner before the next bar"

    return ask


def _listing(table: str) -> Callable[[Sextant, argparse.Namespace], Answer]:
    def show(sextant: Sextant, options: argparse.Namespace) -> Answer:
        account = sextant.broker.account()
        rows = [] if account is None else sextant.paper_ledger.rows(table, "account = ?", (account.number,))
        for row in rows:
            row["content"] = json.loads(row["content"])
        lines = [" ".join(str(row[n]) for n in ("symbol", "strategy", "event", "effect", "side", "price", "quantity", "action", "state",
                                                 "words") if n in row) for row in rows[-40:]]
        return {table: rows}, "\n".join(lines) or f"no {table} yet"

    return show


def _trades(sextant: Sextant, options: argparse.Namespace) -> Answer:
    account = sextant.broker.account()
    closed = [] if account is None else [h.document() for h in sextant.paper_statement(account).closed]
    lines = [f"{iso(t['closed_ms'])} {t['symbol']} {'long' if t['side'] > 0 else 'short'} {t['pnl']:+.2f} ({t['reason']})"
             for t in closed[-40:]]
    return {"trades": closed}, "\n".join(lines) or "no closed trade yet"


def _export(sextant: Sextant, options: argparse.Namespace) -> Answer:
    from core.paper.vault import export

    text = export(sextant.paper_ledger, options.table)
    return {"table": options.table, "csv": text}, text.rstrip("\n")


def _twin(sextant: Sextant, options: argparse.Namespace) -> Answer:
    found = sextant.paper_twin()
    return found.document(), "\n".join([found.words, *(f"  {d.cause}: {d.words}" for d in found.differences[:20])])


def _risk(sextant: Sextant, options: argparse.Namespace) -> Answer:
    account = sextant.broker.account()
    if account is None:
        raise InputError("there is no paper account; open one with paper start")
    key = sextant.key(account.terms.symbols[0], account.terms.interval, account.terms.market)
    report = sextant.account_report("G", key)
    lines = [f"risk of the account: {'unknown: ' + report.reason if report.score is None else f'{report.score:.3f} {report.label}'}"]
    lines += [f"  {p.title:<34}{'-' if p.value is None else f'{p.value:.5g}':>12} {p.unit}" for p in report.parts]
    return report.document(), "\n".join(lines)


def _stop(sextant: Sextant, options: argparse.Namespace) -> Answer:
    sextant.stop_runner()
    return {"stop": True}, "the runner ends after the bar it is at"


ACTS: dict[str, Callable[[Sextant, argparse.Namespace], Answer]] = {
    "status": _status, "start": _start, "reset": _reset, "open": _asking("place"), "close": _asking("close"), "reduce": _asking("reduce"),
    "modify": _asking("modify"), "cancel": _asking("cancel"), "pause": _plain("pause"), "resume": _plain("resume"), "kill": _plain("kill"),
    "rearm": _plain("rearm"), "orders": _listing("orders"), "fills": _listing("fills"), "decisions": _listing("decisions"),
    "trades": _trades, "risk": _risk, "export": _export, "twin": _twin, "stop": _stop,
    "verify": lambda s, o: _verify(s, o), "dump": lambda s, o: _dump(s, o),
}


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="record what is due now, then end: for a scheduler")


def _run(sextant: Sextant, options: argparse.Namespace) -> Answer:
    runner = sextant.runner(tell=_aloud)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # not through SIGINT: a shell's background jobs ignore that
    steps = runner.run(once=options.once)
    words = f"{len(steps)} bars recorded" if options.once else "stopped"
    return {"bars": len(steps), "last": iso(steps[-1].closed_ms) if steps else None}, words


def _aloud(words: str) -> None:
    sys.stderr.write(words + "\n")
    sys.stderr.flush()


def _verify(sextant: Sextant, options: argparse.Namespace) -> Answer:
    failed = sextant.verify_ledger()
    text = "the ledger is sound" if not failed else "\n".join([*failed[:20], "restore the newest backup: python -m core restore FILE"])
    return {"ok": not failed, "failed": failed, "exit": 3 if failed else 0}, text


def _dump_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--canonical", action="store_true", help="the only form there is: same history, same bytes")


def _dump(sextant: Sextant, options: argparse.Namespace) -> Answer:
    lines = list(sextant.dump_ledger())
    return {"rows": [json.loads(line) for line in lines]}, "\n".join(lines)


def _file_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a zip, e.g. sextant-backup.zip")


def _backup(sextant: Sextant, options: argparse.Namespace) -> Answer:
    found = sextant.backup_ledger(options.file)
    return found, f"{sum(found['rows'].values()):,} rows in {found['file']} ({found['bytes']:,} bytes)"


def _restore(sextant: Sextant, options: argparse.Namespace) -> Answer:
    found = sextant.restore_ledger(options.file)
    aside = f"; the ledger before it lies in {found['aside']}" if found["aside"] else ""
    return found, f"{sum(found['rows'].values()):,} rows restored from {found['file']}{aside}"


def _alert_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("act", nargs="?", default="list", choices=("list", "test", "send", "report"), metavar="ACT",
                        help="list, test (to every address now), send (what lies in the outbox), report (of yesterday and last week)")


def _alerts(sextant: Sextant, options: argparse.Namespace) -> Answer:
    if options.act == "test":
        problem = sextant.courier().test()
        return {"sent": not problem, "problem": problem or None, "exit": 1 if problem else 0}, problem or "the test arrived everywhere"
    if options.act == "send":
        sent, left = sextant.courier().deliver(), sextant.courier().waiting()
        return {"sent": sent, "waiting": left}, f"{sent} sent, {len(left)} wait" + (f": {left[0]['why']}" if left else "")
    if options.act == "report":
        from core.reports import DAYS, period, report

        made = [report(sextant, kind, *period(kind, sextant.clock.now_ms())) for kind in DAYS]
        return {"reports": [{"kind": r.kind, "text": r.text} for r in made]}, "\n\n".join(r.text for r in made)
    rows = sextant.alerts()
    return {"alerts": rows}, "\n".join(f"{iso(r['at_ms'])} {r['kind']}: {r['words']}" for r in rows) or "no alert yet"


def _nothing(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


COMMANDS = (
    Command("paper", "the paper account: status, start, orders by hand, pause, kill switch, export, twin",
            "python -m core paper status --json", _paper_arguments, _paper),
    Command("run", "the runner: trades the paper account after each candle", "python -m core run --once", _run_arguments, _run),
    Command("trades", "closed trades of the paper account", "python -m core trades --json", _nothing, _trades),
    Command("alerts", "what was worth telling; send a test; reports", "python -m core alerts test", _alert_arguments, _alerts),
    Command("verify", "prove the ledger: every invariant, row by row", "python -m core verify --json", _nothing, _verify),
    Command("dump", "the ledger as canonical JSON lines", "python -m core dump --canonical", _dump_arguments, _dump),
    Command("backup", "the ledger into one file, while the runner goes on", "python -m core backup sextant-backup.zip", _file_arguments,
            _backup),
    Command("restore", "put a backup in the place of the ledger", "python -m core restore sextant-backup.zip", _file_arguments, _restore),
)
