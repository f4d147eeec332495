"""A study as files: JSON, Markdown, one self-contained HTML page, trades and equity as CSV, and the card that reproduces it.

The bytes depend on the study alone, its look-ahead badge included: no clock, folder, locale or time zone enters them.
"""

from __future__ import annotations

import csv
import dataclasses
import html
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.backtest.result import Trade
from core.backtest.robustness import closed
from core.backtest.study import Study, window_words
from data.clock import iso
from data.errors import InputError
from data.storage.durable import no_fault, replace_file

SIGNED = {"total_return", "cagr", "max_drawdown", "alpha", "benchmark_return"}
PERCENT = SIGNED | {"volatility", "win_rate", "win_rate_low", "win_rate_high", "exposure", "cost_share", "ulcer"}
TITLES = {
    "total_return": "Total return", "cagr": "Growth a year (CAGR)", "volatility": "Volatility a year", "sharpe": "Sharpe ratio",
    "sharpe_error": "its standard error", "sortino": "Sortino ratio", "calmar": "Calmar ratio", "max_drawdown": "Largest drawdown",
    "drawdown_bars": "Longest drawdown, bars", "recovery_bars": "Recovery, bars", "ulcer": "Ulcer index", "win_rate": "Win rate",
    "win_rate_low": "its interval, low", "win_rate_high": "its interval, high", "profit_factor": "Profit factor",
    "average_trade": "Average trade", "payoff": "Payoff (mean win / mean loss)", "expectancy_r": "Expectancy, R",
    "sqn": "System quality number", "exposure": "Time in the market", "turnover": "Turnover a year", "fees": "Fees",
    "slippage": "Slippage", "funding": "Funding", "cost_share": "Costs as a share of gross profit",
    "break_even_bps": "Break-even cost, bps a side", "beta": "Beta to buy and hold", "alpha": "Alpha a year", "tail_ratio": "Tail ratio",
    "benchmark_return": "Buy and hold",
}


KINDS = {"document": "report.json", "report": "report.html", "markdown": "report.md", "trades": "trades.csv", "equity": "equity.csv",
         "run": "run.json"}  # what a caller asks for: the file it is in


def shown(name: str, value: float | None) -> str:
    """A metric as a reader sees it."""
    if value is None:
        return "–"
    return f"{value:+.2%}" if name in SIGNED else f"{value:.2%}" if name in PERCENT else f"{value:,.2f}"


def files(study: Study) -> dict[str, bytes]:
    """Every file of the report by name."""
    document = study.document()
    return {"report.json": (json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode(),
            "report.md": markdown(document).encode(), "report.html": page(document).encode(), "trades.csv": trades_csv(study).encode(),
            "equity.csv": equity_csv(study).encode(), "run.json": (json.dumps(study.card(), indent=1, sort_keys=True) + "\n").encode()}


def write(study: Study, folder: Path) -> dict[str, str]:
    """Write the report; returns kind of file to its path."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files(study).items():
            replace_file(folder / name, content, no_fault, "report")
    except OSError as error:
        raise InputError(f"--out {folder}: cannot be used as a folder ({error.strerror}); name another one") from None
    return {kind: str(folder / name) for kind, name in KINDS.items()}


def trades_csv(study: Study) -> str:
    """One row a trade; numbers in full precision."""
    rows = [t.document() for t in study.result.trades]
    names = list(rows[0]) if rows else [f.name for f in dataclasses.fields(Trade)]
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def equity_csv(study: Study) -> str:
    """One row a bar: close of the bar, equity, cash, gross notional, buy and hold from the same capital."""
    r = study.result
    lines = ["time,equity,cash,gross,buy_and_hold"]
    base = r.benchmark * r.capital
    for row in zip(r.moment.tolist(), r.equity.tolist(), r.cash.tolist(), r.gross.tolist(), base.tolist(), strict=True):
        lines.append(",".join((iso(row[0]), *map(repr, row[1:]))))
    return "\n".join(lines) + "\n"


def tables(document: Mapping[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Every table of the report: title, head, rows of text."""
    h = document["honesty"]
    money = "{:,.2f}".format
    out: list[tuple[str, list[str], list[list[str]]]] = [
        ("Figures", ["figure", "value"], [[TITLES.get(k, k), shown(k, v)] for k, v in document["metrics"].items()])]
    trust = [["Tries of this study", str(h["trials"])], ["Probabilistic Sharpe ratio (only for a first try)", _two(h["psr"])],
             ["Deflated Sharpe ratio", _two(h["dsr"])], ["Sharpe ratio expected of the best by luck", _two(h["expected_best"])],
             ["Days needed for 95 % confidence", _none(h["minimum_track_record_days"], "{:,.0f}")],
             ["95 % interval of the Sharpe ratio", _pair(h["intervals"]["sharpe"], "{:.2f}")],
             ["95 % interval of growth a year", _pair(h["intervals"]["cagr"], "{:+.1%}")],
             ["95 % interval of the largest drawdown", _pair(h["intervals"]["max_drawdown"], "{:.1%}")],
             ["Share of resampled histories that lose 30 % from a high", _none(h["intervals"]["ruin"], "{:.1%}")],
             ["Cost a side, bps", _two(h["cost_bps"])], ["Break-even cost a side, bps", _two(h["break_even_bps"])],
             ["Ambiguous trades (stop and target in one bar)", f"{h['ambiguity']['trades']} ({h['ambiguity']['share']:.1%}): profit "
              f"{money(h['ambiguity']['pessimistic'])} to {money(h['ambiguity']['optimistic'])}"],
             ["Without the five best trades", shown("total_return", h["without_best_5"])]]
    for key, title in (("costs_doubled", "At twice the costs"), ("one_bar_late", "One bar late")):
        if key in h:
            trust.append([title, shown("total_return", h[key])])
    if h.get("random_entries"):
        r = h["random_entries"]
        trust.append(["Random entries at least as good", f"{_none(r['p'], '{:.1%}')} of {r['runs']}" if r["runs"] else r["words"]])
    if h.get("pbo"):
        trust.append(["Probability of backtest overfitting", f"{_two(h['pbo']['probability'])} over {h['pbo']['trials']} sets in "
                                                             f"{h['pbo']['blocks']} blocks"])
    if h.get("null_worlds"):
        trust.append(["Worlds without an edge", h["null_worlds"]["words"]])
    elif "cost_ladder" in h:
        trust.append(["Worlds without an edge", "none: they are histories of candles alone, for one rule that reads nothing else"])
    trust.append(["Look-ahead", h["lookahead"]])
    out.append(("How far it can be believed", ["what", "value"], trust))
    if h.get("baselines"):
        out.append(("Beside it", ["what", "return", "Sharpe", "largest drawdown"],
                    [[b["name"], shown("total_return", b["total_return"]), _two(b["sharpe"]), shown("max_drawdown", b["max_drawdown"])]
                     for b in h["baselines"]]))
    if h.get("cost_ladder"):
        out.append(("Costs rung by rung (fixed size, no pauses)", ["rung", "return", "Sharpe", "trades"],
                    [[r["rung"] + (" (rose: the path changed)" if r["rose"] else ""), shown("total_return", r["total_return"]),
                      _two(r["sharpe"]), str(r["trades"])] for r in h["cost_ladder"]]))
    if h.get("walk_forward"):
        w = h["walk_forward"]
        out.append(("Walk-forward: settings chosen on the past only", ["what", "value"],
                    [["Folds traded", str(w["folds"])], ["Chosen", "; ".join(w["chosen"])],
                     ["Return", shown("total_return", w["total_return"])],
                     ["The setting as asked in the same days", shown("total_return", w["as_asked"])]]))
    if h.get("neighbourhood"):
        out.append(("Settings 20 % around it", ["change", "return", "Sharpe", "trades"],
                    [[r["change"], shown("total_return", r["total_return"]), _two(r["sharpe"]), str(r["trades"])]
                     for r in h["neighbourhood"]]))
    out.append(("By year", ["year", "days", "return"], [[str(r["year"]), str(r["days"]), shown("total_return", r["return"])]
                                                       for r in h["by_year"]]))
    out.append(("By month", ["month", "return"], [[r["month"], shown("total_return", r["return"])] for r in document["by_month"]]))
    out.append(("By symbol", ["symbol", "trades", "profit", "win rate"],
                [[r["symbol"], str(r["trades"]), money(r["pnl"]), _none(r["win_rate"], "{:.0%}")] for r in h["by_symbol"]]))
    out.append((f"By regime at entry ({h['leader']})", ["regime", "trades", "profit", "win rate", ""],
                [[r["regime"], str(r["trades"]), money(r["pnl"]), _none(r["win_rate"], "{:.0%}"), r["words"]] for r in h["by_regime"]]))
    out.append(("How positions ended", ["reason", "trades", "profit"],
                [[r["reason"].replace("_", " "), str(r["trades"]), money(r["pnl"])] for r in document["by_reason"]]))
    if document["refused"]:
        out.append(("Entries that were "
                    "refused", ["reason", "entries"], [[k.replace("_", " "), str(v)] for k, v in document["refused"].items()]))
    return out


def _two(value: float | None) -> str:
    return _none(value, "{:.2f}")


def _none(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


def _pair(values: Sequence[float | None], form: str) -> str:
    return "–" if any(v is None for v in values) else " to ".join(form.format(v) for v in values)


def headline(document: Mapping[str, Any]) -> str:
    q = document["question"]
    return f"{q['rule']} on {', '.join(document['symbols'])}, {document['interval']} {q['market']}"


def markdown(document: Mapping[str, Any]) -> str:
    """The report for a text reader."""
    v = document["honesty"]["verdict"]
    lines = [f"# {headline(document)}", "", f"{document['from']} to {document['to']}, {document['provenance']}, run "
                                            f"`{document['run_id']}`.", "",
             f"**{v['text']}**", "", *(f"- {r}" for r in v["reasons"]), ""]
    for title, head, rows in tables(document):
        lines += [f"## {title}", "", *("| " + " | ".join(r) + " |" for r in (head, ["---"] * len(head), *rows)), ""]
    lines += ["## Assumptions", "", *(f"- {a}" for a in document["assumptions"]), *(f"- {n}" for n in document["notes"]), ""]
    return "\n".join(lines)


_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2330;background:#fff}
table{border-collapse:collapse;margin:.4rem 0 1.4rem;font-variant-numeric:tabular-nums}td,th{padding:.18rem .8rem .18rem 0;text-align:left;
border-bottom:1px solid #8884}h2{font-size:1.05rem;margin:1.4rem 0 .2rem}svg{width:100%;height:auto}.v{font-size:1.2rem;font-weight:600}
small{color:#667}@media(prefers-color-scheme:dark){body{color:#e6e9ef;background:#12161d}small{color:#9aa}}"""


def page(document: Mapping[str, Any]) -> str:
    """One HTML file without any link: opens anywhere, also in ten years."""
    e, v, curve = html.escape, document["honesty"]["verdict"], document["curve"]
    parts = [f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport "
             f"content='width=device-width'><title>{e(headline(document))}"
             f"</title><style>{_STYLE}</style><h1>{e(headline(document))}</h1><p class=v>{e(v['text'])}</p><ul>",
             *(f"<li>{e(r)}</li>" for r in v["reasons"]), "</ul>", chart([("equity", curve["equity"], "#2f6fdd"),
                                                                        ("buy and hold", curve["buy_and_hold"], "#98a2b3")]),
             chart([("drawdown", curve["drawdown"], "#d1495b")], height=110)]
    for title, head, rows in tables(document):
        parts.append(f"<h2>{e(title)}</h2><table><tr>" + "".join(f"<th>{e(c)}</th>" for c in head) + "</tr>")
        parts += ["<tr>" + "".join(f"<td>{e(c)}</td>" for c in row) + "</tr>" for row in rows]
        parts.append("</table>")
    parts += ["<h2>Assumptions</h2><ul>", *(f"<li>{e(a)}</li>" for a in (*document["assumptions"], *document["notes"])), "</ul>",
              f"<p><small>{e(document['from'])} to {e(document['to'])} · {e(document['provenance'])} · run {e(document['run_id'])} · code "
              f"{e(document['card']['code'])} · seed {document['card']['seed']}</small></p></html>"]
    return "\n".join(parts) + "\n"


def chart(lines: Sequence[tuple[str, Sequence[float], str]], *, width: int = 900, height: int = 260) -> str:
    """Lines over time as inline SVG, with the first and last value of the scale written beside it."""
    every = np.concatenate([np.asarray(v, float) for _, v, _ in lines])
    low, high = float(every.min()), float(every.max())
    span = (high - low) or 1.0
    out = [f"<svg viewBox='0 0 {width} {height}' role=img>"]
    for name, values, colour in lines:
        y = height - 14 - (np.asarray(values, float) - low) / span * (height - 28)
        x = np.linspace(56, width - 8, len(y))
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))
        out.append(f"<polyline fill=none stroke='{colour}' stroke-width=1.6 "
                   f"points='{points}'><title>{html.escape(name)}</title></polyline>")
    form = "{:,.0f}" if span > 5 else "{:.0%}"
    for k, (name, _, colour) in enumerate(lines):
        out.append(f"<text x='{62 + 110 * k}' y=12 font-size=12 fill='{colour}'>{html.escape(name)}</text>")
    out += [f"<text x=0 y={height - 12} font-size=11 fill='#889'>{form.format(low)}</text>",
            f"<text x=0 y=26 font-size=11 fill='#889'>{form.format(high)}</text></svg>"]
    return "".join(out)


def text(study: Study) -> str:
    """What the command prints."""
    m, v = study.result.metrics, study.verdict
    ended = int(closed(study.result).sum())
    trades = [f"  {'Trades':<34}{ended:>12}"]
    if len(study.result.table) > ended:
        trades.append(f"  {'Still open, at the last close':<34}{len(study.result.table) - ended:>12}")
    figures = ("total_return", "benchmark_return", "sharpe", "max_drawdown", "win_rate", "profit_factor", "fees", "slippage")
    return "\n".join([f"{study.question.rule} on {', '.join(study.plan.symbols)}: {window_words(study.result)} ({study.plan.provenance})",
                      f"  {v['text']}", *(f"    - {r}" for r in v["reasons"]),
                      *(f"  {TITLES[k]:<34}{shown(k, m[k]):>12}" for k in figures), *trades,
                      f"  run {study.result.run_id}", *(f"  note: {n}" for n in study.notes)])
