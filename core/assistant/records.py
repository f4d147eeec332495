"""The tools that read what is stored: backtests, models, the paper account, alerts, quality of the data."""

from __future__ import annotations

from typing import Annotated

from core.assistant.desk import Desk, price_places
from core.assistant.facts import Found, Row, Unit, coins
from core.assistant.reading import Interval, Symbol
from data.market import Interval as Bars
from data.market import SeriesKey

Rows = Annotated[int, (1, 20)]
_METRICS = (("total_return", Unit.CHANGE), ("cagr", Unit.CHANGE), ("sharpe", Unit.NUMBER), ("sortino", Unit.NUMBER),
            ("max_drawdown", Unit.SHARE),
            ("win_rate", Unit.SHARE), ("profit_factor", Unit.NUMBER), ("benchmark_return", Unit.CHANGE), ("exposure", Unit.SHARE))


def backtests(desk: Desk, rows: Rows = 5) -> Found:
    """The newest stored backtests: rule, symbols, period, figures as fractions of capital, tries counted, verdict in words."""
    source, out = desk.source("backtests"), list[Row]()
    for head in desk.sextant.backtests()[:rows]:
        asked, metrics = head["question"], head["metrics"]
        name = f"{asked.get('rule') or 'signals of a file'} on {', '.join(asked.get('symbols', ())[:4])} {asked.get('interval')}"
        facts = [*source.fact("run", head["run_id"], Unit.WORDS), *source.fact("from", head["from"][:10], Unit.WORDS),
                 *source.fact("to", head["to"][:10], Unit.WORDS), *source.fact("trades", head["trades"], Unit.COUNT),
                 *source.fact("tries counted", head["trials"], Unit.COUNT), *source.fact("verdict", head["verdict"]["text"], Unit.WORDS)]
        for metric, unit in _METRICS:
            facts += source.fact(metric.replace("_", " "), metrics.get(metric), unit)
        for reason in head["verdict"]["reasons"][:2]:
            facts += source.fact("why", reason, Unit.WORDS)
        out.append(Row(name, tuple(facts)))
    return source.found("Stored backtests", out or [Row("backtests", (), "none is stored; run one on the Backtest page")])


def models(desk: Desk, rows: Rows = 8) -> Found:
    """Trained models on the shelf: which serves, how it was trained, its verdict."""
    source, out = desk.source("models"), list[Row]()
    for entry in desk.sextant.models()[:rows]:
        verdict = entry.metrics.get("verdict")
        facts = [*source.fact("version", entry.id, Unit.WORDS), *source.fact("kind", entry.kind, Unit.WORDS),
                 *source.fact("serves", "yes" if entry.champion else "no", Unit.WORDS),
                 *source.fact("trained", entry.created_ms, Unit.TIME)]
        if isinstance(verdict, dict):
            facts += source.fact("verdict", verdict.get("words"), Unit.WORDS)
        out.append(Row(entry.id, tuple(facts), entry.fault))
    return source.found("Models", out or [Row("models", (), "none is on the shelf; train one on the Models page")])


def paper(desk: Desk) -> Found:
    """The paper account: equity, cash, open positions with entry, price, profit, stop and target, waiting orders, the runner."""
    status = desk.sextant.paper_status()
    source = desk.source("paper account")
    if status["account"] is None:
        return source.found("Paper account", (Row("account", (), status["reason"]),))
    quote = coins(status["terms"]["symbols"][0])[1]  # an account is kept in what its symbols are paid in
    rows = [Row("account", (*source.fact("equity", status["equity"], Unit.MONEY, quote),
                            *source.fact("cash", status["cash"], Unit.MONEY, quote),
                            *source.fact("start capital", status["capital"], Unit.MONEY, quote),
                            *source.fact("closed trades", status["trades"], Unit.COUNT),
                            *source.fact("open positions", len(status["positions"]), Unit.COUNT),
                            *source.fact("waiting orders", len(status["orders"]), Unit.COUNT),
                            *source.fact("runner", status["runner"]["words"], Unit.WORDS)))]
    for p in status["positions"]:
        key = SeriesKey(p["symbol"], Bars(str(status["terms"].get("interval", "1h"))), desk.key.market)
        own, places = desk.source("paper account", key), max(2, price_places([p["price"]]))
        facts = (*own.fact("side", "long" if p["side"] > 0 else "short", Unit.WORDS),
                 *own.fact("quantity", float(p["quantity"]), Unit.NUMBER),
                 *own.fact("entry price", float(p["entry"]), Unit.PRICE, places=places),
                 *own.fact("price", p["price"], Unit.PRICE, places=places),
                 *own.fact("profit of the position", p["pnl"], Unit.MONEY, coins(p["symbol"])[1]),
                 *own.fact("stop", p["stop"], Unit.PRICE, places=places),
                 *own.fact("target", p["target"], Unit.PRICE, places=places))
        rows.append(Row(p["symbol"], facts))
    return source.found("Paper account", rows)


def alerts(desk: Desk, rows: Rows = 8) -> Found:
    """The newest alerts, newest first."""
    source, out, outside = desk.source("alerts"), list[Row](), list[str]()
    for alert in desk.sextant.alerts(newest=rows)[:rows]:
        out.append(Row(str(alert["kind"]), (*source.fact("at", int(alert["at_ms"]), Unit.TIME),
                                            *source.fact("symbol", alert["symbol"], Unit.WORDS))))
        outside.append(str(alert["words"]))
    return source.found("Alerts", out or [Row("alerts", (), "there is none")], outside=tuple(outside))


def quality(desk: Desk, symbol: Symbol = "", interval: Interval = "") -> Found:
    """Holes and other defects of a series' candles, damaged files, and what is degraded."""
    key = desk.series(symbol, interval)
    report = desk.sextant.quality(key)
    source = desk.source("quality", key, report.last or 0)
    rows = [Row("candles", (*source.fact("bars checked", report.bars, Unit.COUNT, "bars"),
                            *source.fact("holes", len(desk.sextant.gaps(key)), Unit.COUNT)))]
    rows += [Row(f"{kind} findings", source.fact(f"{kind} findings", count, Unit.COUNT)) for kind, count in sorted(report.counts.items())]
    outside = [f.words for f in report.findings[:6]] + list(desk.sextant.damage()[:4])
    return source.found(f"Quality of {key.symbol} {key.interval}", rows, outside=tuple(outside))


def jobs(desk: Desk, rows: Rows = 6) -> Found:
    """Trainings, backtests and other jobs: waiting, running, done, with their words."""
    source, out, outside = desk.source("jobs"), list[Row](), list[str]()
    for job in desk.sextant.jobs.all()[:rows]:
        out.append(Row(f"job {job.kind}", (*source.fact("number of the job", job.id, Unit.COUNT),
                                           *source.fact("state", job.state, Unit.WORDS),
                                          *source.fact("progress", job.share, Unit.SHARE))))
        outside.append(job.words)
    return source.found("Jobs", out or [Row("jobs", (), "there is none")], outside=tuple(w for w in outside if w))


RECORDS = (backtests, models, paper, alerts, quality, jobs)
