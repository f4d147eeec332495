"""Commands that bring data in, look at what is stored and keep the machine running."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.faces.command import PYTHON, Command, moment, series_arguments, series_key, show_progress
from data.errors import InputError

if TYPE_CHECKING:
    from core.sextant import Sextant
    from data.collector import Progress
    from data.simulator.venue_hosts import VenueUrls


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="archive zips or CSV, files or folders, in any order")
    parser.add_argument("--symbol", help="where the file name does not say it")
    parser.add_argument("--interval", help="where the file name does not say it")
    parser.add_argument("--market", help="spot or perp, where the path does not say it")


def _candle_arguments(parser: argparse.ArgumentParser) -> None:
    series_arguments(parser)
    parser.add_argument("--start", metavar="TIME", help="first open_time, inclusive")
    parser.add_argument("--end", metavar="TIME", help="last open_time, exclusive")
    parser.add_argument("--csv", metavar="FILE", type=Path, help="write all of them to a CSV file")
    parser.add_argument("--fill", default="leave", help="missing bars in the CSV: leave, drop, previous, linear; filled rows are flagged")


def _backfill_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("symbols", nargs="+", metavar="SYMBOL", help="e.g. BTCUSDT ETHUSDT")
    parser.add_argument("--interval", default="1h", help="1m 5m 15m 1h 4h 1d ... (default 1h)")
    parser.add_argument("--market", default="spot", help="spot or perp (default spot)")
    parser.add_argument("--days", type=float, default=90, help="how far back from --end (default 90)")
    parser.add_argument("--start", metavar="TIME", help="first open_time, inclusive; instead of --days")
    parser.add_argument("--end", metavar="TIME", help="last open_time, exclusive (default: now)")


def _exchange_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=9000, help="of the api host; the other hosts follow it (default 9000)")
    parser.add_argument("--seed", type=int, default=7, help="another seed is another world (default 7)")
    parser.add_argument("--faults", type=Path, metavar="FILE", help="a fault script in JSON: drops, silences, bans, redirects ...")
    parser.add_argument("--blocked", action="store_true", help="answer 451 as from a restricted country; mirror and archives go on")
    parser.add_argument("--virtual", metavar="TIME", help="a virtual clock that starts here and moves only by POST /sim/advance")


def _collect_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("symbols", nargs="*", metavar="SYMBOL", help="instead of the watchlist")
    parser.add_argument("--ticks", action="store_true", help="record trades too, in bounded, rotating files")
    parser.add_argument("--books", nargs="*", default=[], metavar="SYMBOL", help="keep and record the full order book of these")
    parser.add_argument("--once", action="store_true", help="fetch what is missing up to now, then end")


def _job_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", nargs="?", type=int, help="do this job in this process; without it the jobs are listed")
    parser.add_argument("--cancel", action="store_true", help="ask it to stop instead")


def _import(sextant: Sextant, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from data.importing.importer import summary_text

    show = None if options.json or not sys.stderr.isatty() else show_progress
    report = sextant.import_files(options.paths, symbol=options.symbol, interval=options.interval, market=options.market, progress=show)
    return report.document(), summary_text(report)


def _candles(sextant: Sextant, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    import pandas as pd

    from data.clock import iso

    key = series_key(sextant, options)
    found = sextant.candles(key, start_ms=moment(options.start), end_ms=moment(options.end))
    table = sextant.cleaned(found, options.fill)
    head = {"symbol": key.symbol, "market": str(key.market), "interval": str(key.interval), "provenance": found.provenance,
            "bars": len(table), "filled": table.filled_rows, "dropped": table.dropped_rows,
            "file": str(options.csv) if options.csv else None}
    frame = pd.DataFrame(table.columns)
    for name in ("open_time", "close_time"):
        frame[name] = [iso(int(ms)) for ms in frame[name]]
    if options.csv is not None:
        try:
            frame.to_csv(options.csv, index=False, lineterminator="\n")
        except OSError as error:
            raise InputError(f"--csv {options.csv}: cannot be written ({error.strerror or error}); name another file") from None
        return head, f"{key}: {len(table)} candles written to {options.csv}"
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return head | {"candles": rows}, f"{key}: {len(table)} candles, {found.provenance}\n{frame.tail(20).to_string(index=False)}"


def _backfill(sextant: Sextant, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from data.market import DAY_MS, Interval, Market, SeriesKey, parse_symbol

    interval, market = Interval.parse(options.interval), Market.parse(options.market)
    keys = [SeriesKey(parse_symbol(s), interval, market) for s in dict.fromkeys(options.symbols)]
    if not 0 < options.days <= 10_000:
        raise InputError(f"expected --days between 0 and 10000, got {options.days:g}")
    end, start = moment(options.end), moment(options.start)
    end_ms = sextant.clock.now_ms() if end is None else end
    start_ms = end_ms - int(options.days * DAY_MS) if start is None else start
    if start_ms >= end_ms:
        raise InputError("the range ends before it starts; swap --start and --end")
    report = sextant.outside.backfill(keys, start_ms, end_ms, progress=None if options.json else _told)
    failed = any(one.failed for one in report.series)
    return report.document() | {"exit": 1 if failed else 0}, "\n".join(one.words for one in report.series)


def _told(progress: Progress) -> None:
    if progress.done_bars == 0:
        return  # nothing has happened yet; an error that follows stands alone on its line
    sys.stderr.write(f"\r{progress.words:<110}" + ("\n" if progress.done_bars >= progress.total_bars else ""))


def _exchange(sextant: Sextant, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from data.clock import SystemClock
    from data.simulator.faults import load_script
    from data.simulator.venue_clock import VirtualClock
    from data.simulator.venue_hosts import GEO_BLOCKED, Host
    from data.simulator.venue_thread import serve_forever

    if not 0 <= options.port <= 65_535 - len(Host):
        raise InputError(f"--port: expected 0 (any that are free) to {65_535 - len(Host)}, got {options.port}")
    clock = VirtualClock(moment(options.virtual) or 0) if options.virtual else SystemClock()
    faults = load_script(options.faults) if options.faults else ()
    serve_forever(options.port, options.seed, faults, clock, blocked=GEO_BLOCKED if options.blocked else frozenset(), announce=_listens)
    return {"port": options.port}, "stopped"


def _listens(urls: VenueUrls) -> None:
    sys.stderr.write(f"The simulated exchange listens; SEXTANT_ENDPOINT={urls.api} points Sextant at it. Ctrl-C ends it.\n")
    sys.stderr.flush()


def _collect(sextant: Sextant, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from data.market import parse_symbol

    symbols = tuple(parse_symbol(s) for s in options.symbols)
    if options.once:
        collector = sextant.collector(symbols)
        report = sextant.outside.catch_up(collector.keys, most_bars=4_000)
        beside = sextant.outside.observe(tuple(dict.fromkeys(key.symbol for key in collector.keys)))
        document = report.document() | {"observations": [
            {"symbol": o.symbol, "kind": str(o.kind), "added": o.added, "present": o.present, "sources": o.sources, "notes": o.notes,
             "error": o.failed or None} for o in beside]}
        return document, "\n".join([one.words for one in report.series] + [o.words for o in beside])
    collector = sextant.collector(symbols, ticks=options.ticks, books=tuple(parse_symbol(s) for s in options.books))
    collector.start()
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # both end it with everything stored
    told = ""
    try:
        while collector.running:
            state = collector.state()
            if state.words != told and not options.json:
                told = state.words
                sys.stderr.write(f"{state.state}: {told}\n")
            time.sleep(1.0)
    finally:
        collector.stop()
    return {"state": collector.state().state}, collector.state().words


def _price_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("symbol", help="e.g. BTCUSDT")
    parser.add_argument("--market", default="spot", help="spot or perp (default spot)")


def _price(sextant: Sextant, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from data.clock import age_text, iso
    from data.market import Market, parse_symbol

    symbol, market = parse_symbol(options.symbol), Market.parse(options.market)
    newest = sextant.newest(symbol, market)
    at, age = int(newest.close_time[-1]), max(0, sextant.clock.now_ms() - int(newest.close_time[-1]))
    document = {"symbol": symbol, "market": str(market), "price": float(newest.close[-1]), "as_of": iso(at), "age_s": age // 1000,
                "interval": str(newest.interval), "provenance": str(newest.provenance)}
    return document, f"{symbol} {document['price']:g}, {age_text(age)} old ({document['provenance']})"


def _job(sextant: Sextant, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from core.works import works

    if options.id is None:
        jobs = sextant.jobs.all()
        lines = [f"{j.id:>5} {j.kind:<10} {j.state:<12} {j.words}" for j in jobs]
        return {"jobs": [j.document() for j in jobs]}, "\n".join(lines) or "no jobs"
    job = sextant.jobs.cancel(options.id) if options.cancel else sextant.jobs.run(options.id, works(sextant))
    sextant.jobs.pump()
    return job.document() | {"exit": 1 if job.state == "failed" else 0}, f"job {job.id} {job.state} {job.words}"


def _gaps(sextant: Sextant, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from data.clock import iso

    key = series_key(sextant, options)
    rows = [{"start": iso(g.start), "end": iso(g.end), "bars": g.bars, "status": g.status} for g in sextant.gaps(key)]
    document = {"symbol": key.symbol, "market": str(key.market), "interval": str(key.interval), "gaps": rows}
    text = "\n".join(f"{r['start']} .. {r['end']}  {r['bars']} missing, {r['status']}" for r in rows)
    return document, f"{key}: {len(rows)} gaps" + (f"\n{text}" if rows else "")


def _doctor(sextant: Sextant, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from core.doctor import examine

    checks = examine(sextant)
    worst = max((c.exit_code for c in checks), default=0)
    text = "\n".join(f"{'ok  ' if c.ok else 'FAIL'} {c.name:<14}{c.words}" for c in checks)
    return {"ok": worst == 0, "checks": [c.document() for c in checks], "exit": worst}, text


COMMANDS = (
    Command("price", "the newest stored price of a symbol, and its age", f"{PYTHON} price BTCUSDT --json", _price_arguments, _price),
    Command("import", "read Binance archive zips or CSV into the store", f"{PYTHON} import ./data.binance.vision --json",
            _import_arguments, _import),
    Command("backfill", "fetch candles from the best source that answers", f"{PYTHON} backfill BTCUSDT ETHUSDT --interval 1m --days 90",
            _backfill_arguments, _backfill),
    Command("candles", "stored candles of a series", f"{PYTHON} candles BTCUSDT --interval 1h --start 2024-03-01 --csv btc.csv",
            _candle_arguments, _candles),
    Command("gaps", "missing candles of a series", f"{PYTHON} gaps BTCUSDT --interval 1h", series_arguments, _gaps),
    Command("collect", "keep the store up to date until stopped", f"{PYTHON} collect --ticks --books BTCUSDT",
            _collect_arguments, _collect),
    Command("doctor", "is everything in order?", f"{PYTHON} doctor", lambda parser: None, _doctor),
    Command("exchange", "the simulated exchange on loopback, in Binance's protocol", f"{PYTHON} exchange --port 9000 --seed 7",
            _exchange_arguments, _exchange),
    Command("job", "the queue of background work", f"{PYTHON} job", _job_arguments, _job),
)
