"""Writes the tables of docs/portfolio.md from stored daily candles: `SEXTANT_HOME=... SEXTANT_WORLD=real python docs/portfolio_tables.py`.

Needs the six symbols below from 2021 on, spot, 1d (or anything shorter that they can be summed from).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

SIX = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "XRPUSDT", "ADAUSDT")
WEIGHED_AT, SINCE, UNTIL = "2024-06-30", "2022-01-01", "2025-10-01"


def weights(sextant: Any) -> str:
    """Every method on one known day, with the bands of its weights."""
    from analysis.allocation.methods import METHODS
    from core.portfolio import Asked
    from data.clock import parse_time

    rows = ["| method | " + " | ".join(n.removesuffix("USDT") for n in SIX) + " | volatility a year |", "|---|" + "---|" * (len(SIX) + 1)]
    for m in METHODS:
        found = sextant.allocation(Asked(SIX, m.name, at_ms=parse_time(WEIGHED_AT)))
        cells = [f"{w:.1%} ({low:.0%} to {high:.0%})" for w, (low, high) in zip(found.portfolio.weights, found.portfolio.bands,
                                                                                strict=True)]
        rows.append(f"| {m.title} | " + " | ".join(cells) + f" | {found.portfolio.volatility:.1%} |")
    return "\n".join(rows)


def record(sextant: Any) -> str:
    """All methods out of sample, with intervals and the verdict."""
    from analysis.allocation.methods import method
    from core.portfolio import Asked
    from data.clock import parse_time

    done = sextant.allocation_record(Asked(SIX, at_ms=parse_time(UNTIL)), start_ms=parse_time(SINCE))
    rows = ["| method | Sharpe (95 %) | return a year | volatility | deepest drawdown | turnover | cost a year | Sharpe less 1/N's | "
            "less inverse "
            "volatility's |", "|---|---|---|---|---|---|---|---|---|"]
    for r in done.rows:
        beside = [f"{r[f'{o}_difference']:+.2f} ({r[f'{o}_interval'][0]:+.2f} to {r[f'{o}_interval'][1]:+.2f}): {r[f'{o}_verdict']}"
                  if r[f"{o}_interval"] else "itself" for o in ("equal", "inverse-vol")]
        rows.append(f"| {method(r['method']).title} | {r['sharpe']:.2f} ({r['interval'][0]:+.2f} to {r['interval'][1]:+.2f}) | "
                    f"{r['return']:+.1%} | "
                    f"{r['volatility']:.1%} | {r['max_drawdown']:.1%} | {r['turnover']:.0%} | {r['cost_per_year']:.2%} | {beside[0]} | "
                    f"{beside[1]} |")
    head = (f"{done.days} days from {SINCE} to {UNTIL}, {len(SIX)} symbols, rebalanced {done.rebalancings} times on the 180 days before, "
            f"{done.cost:.2%} of what is traded:")
    return "\n\n".join([head, "\n".join(rows), f"**{done.words}**"])


def show(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def risk(sextant: Any) -> str:
    """Tails, their tests and the crashes, for risk parity on the last day."""
    from core.portfolio import Asked
    from data.clock import parse_time

    found = sextant.portfolio_risk(Asked(SIX, "risk-parity", at_ms=parse_time(UNTIL)))
    rows = ["| a day's loss | VaR 99 % | CVaR 99 % | VaR 95 % |", "|---|---|---|---|"]
    rows += [f"| {t['title']} | {show(t['var_99'])} | {show(t['es_99'])} | {show(t['var_95'])} |" for t in found.tails]
    kept = ["| VaR 99 % of the evening before | misses / days | expected | Kupiec p | Christoffersen p | verdict |",
            "|---|---|---|---|---|---|"]
    kept += [f"| {t['title']} | {t['misses']} / {t['days']} | {t['expected']:.1f} | {t['kupiec_p']:.3f} | {t['christoffersen_p']:.3f} | "
             f"{t['verdict']} |" for t in found.tests]
    fell = ["| crash | days | these weights |", "|---|---|---|"]
    fell += [f"| {c['name']} | {c['from']} to {c['to']} | {show(c['loss'])}"
             + (f" (by beta: {', '.join(c['estimated'])})" if c["estimated"] else "") + " |" for c in found.crashes]
    return "\n\n".join("\n".join(part) for part in (rows, kept, fell))


def main() -> None:
    from core.wiring import build

    sextant = build()
    path = HERE / "portfolio.md"
    text = path.read_text(encoding="utf-8")
    for mark, table in (("weights", weights(sextant)), ("record", record(sextant)), ("risk", risk(sextant))):
        head, rest = text.split(f"<!-- {mark} -->", 1)
        text = f"{head}<!-- {mark} -->\n\n{table}\n\n<!-- end of {mark} -->" + rest.split(f"<!-- end of {mark} -->", 1)[1]
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
