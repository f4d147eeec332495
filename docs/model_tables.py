"""The table of docs/models.md: every label of every symbol, trained on real hours and judged out of sample.

`python docs/model_tables.py RESULTS.json SYMBOL ...` trains what the file does not hold yet (data and settings are those of SEXTANT_HOME
and SEXTANT_WORLD) and writes the table. Without symbols it only writes the table.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

CLASSES = (("log loss", "log_loss"), ("Brier", "brier"), ("prior's", "prior_brier"), ("AUC", "auc"))
NUMBERS = (("MAE", "mae"), ("RMSE", "rmse"), ("rank IC", "rank_ic"))
SHORT = {"lgbm": "LightGBM", "lgbm_regressor": "LightGBM", "last_sign": "last sign", "zero": "no change", "last_value": "last move",
         "arima": "ARIMA"}
MARK = "results"


def learned(symbols: list[str], path: Path) -> list[dict[str, Any]]:
    """Train every symbol and label that is missing in the file; one row each."""
    from core.wiring import build
    from data.labels import LABELS

    rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    done = {(r["symbol"], r["label"]) for r in rows}
    sextant = build()
    for symbol in symbols:
        for kind in LABELS:
            if (symbol, kind.name) not in done:
                rows.append({"symbol": symbol} | row_of(sextant.train((symbol,), "1h", label=kind.name).document()))
                path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
                sys.stderr.write(f"{symbol} {kind.name}: {rows[-1]['verdict']['words']}\n")
    return rows


def row_of(d: dict[str, Any]) -> dict[str, Any]:
    """What the table needs of a finished training."""
    metrics, config = d["metrics"], d["config"]
    names = [n for n in metrics if n == d["kind"] or n in ("prior", "last_sign", "logistic", "zero", "last_value", "arima")]
    wanted = [key for _, key in CLASSES + NUMBERS]
    interval = metrics.get("direction_auc")
    stages = (("before", metrics.get("raw", {}).get("calibration")), ("after", metrics[d["kind"]].get("calibration")))
    return {"label": config["label"], "task": config["task"], "kind": d["kind"], "from": config["start"], "to": config["end"],
            "rows": config["rows"], "judged": metrics[d["kind"]]["rows"],
            "models": {n: {k: metrics[n][k] for k in wanted if k in metrics[n]} for n in names},
            "ic_interval": [metrics[d["kind"]].get("rank_ic_low"), metrics[d["kind"]].get("rank_ic_high")],
            "direction": interval, "raw": {k: v for k, v in metrics.get("raw", {}).items() if k == "log_loss"},
            "calibration": {words: {k: c[k] for k in ("ece", "floor")} for words, c in stages if c},
            "t": (metrics.get("against_prior") or metrics.get("against_zero"))["t"],
            "trades": {k: metrics[d["kind"]]["trades"][k] for k in ("trades", "profit_factor", "sharpe")},
            "deflated": metrics["deflated_sharpe"], "verdict": d["verdict"]}


def tables(rows: list[dict[str, Any]]) -> str:
    """A head, one table for classes, one for numbers, what they come to."""
    if not rows:
        return "No result yet."
    first, last = min(r["from"] for r in rows)[:10], max(r["to"] for r in rows)[:10]
    symbols = list(dict.fromkeys(r["symbol"] for r in rows))
    head = (f"{len(rows)} trainings on hours of {', '.join(symbols)}, {first} to {last}, at most {max(r['rows'] for r in rows):,} rows; "
            "the last year is judged, block by block. Default settings, nothing tuned, nothing left out.")
    parts = [head, _table([r for r in rows if r["task"] != "regression"], CLASSES), _table([r for r in rows if r["task"] == "regression"],
                                                                                           NUMBERS), summary(rows)]
    return "\n\n".join(p for p in parts if p)


def _table(rows: list[dict[str, Any]], columns: tuple[tuple[str, str], ...]) -> str:
    if not rows:
        return ""
    chances = columns is CLASSES
    baselines = ("prior", "last_sign", "logistic") if chances else ("zero", "last_value", "arima")
    main, others = columns[0], columns[1:]
    heads = ["label", "symbol", main[0], *(f"{SHORT.get(b, b)}" for b in baselines), *(n for n, _ in others)]
    heads += ["up against down", "ECE before / after (floor)"] if chances else ["95 % interval"]
    heads += ["t", "profit factor", "deflated Sharpe", "verdict"]
    lines = ["| " + " | ".join(heads) + " |", "|---|---|" + "---:|" * (len(heads) - 3) + "---|"]
    for r in sorted(rows, key=lambda r: r["label"]):
        own = r["models"][r["kind"]] | {"prior_brier": r["models"].get("prior", {}).get("brier")}
        cells = [r["label"], r["symbol"], _digits(own[main[1]]), *(_digits(r["models"].get(b, {}).get(main[1])) for b in baselines)]
        cells += [_digits(own.get(key)) for _, key in others]
        if chances:
            d, c = r["direction"], r["calibration"]
            cells.append(f"{d['auc']:.3f} ({d['low']:.3f} to {d['high']:.3f})" if d else "–")
            cells.append(f"{c['before']['ece']:.3f} / {c['after']['ece']:.3f} ({c['after']['floor']:.3f})")
        else:
            low, high = r["ic_interval"]
            cells.append("–" if low is None else f"{low:+.3f} to {high:+.3f}")
        cells += [_digits(-r["t"] if r["t"] is not None else None, "+.2f"), _digits(r["trades"]["profit_factor"], ".2f"),
                  _digits(r["deflated"], ".2f"), r["verdict"]["words"]]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _digits(value: float | None, form: str = "") -> str:
    return "–" if value is None else format(value, form or (".4f" if abs(value) >= 0.02 else ".5f"))


def summary(rows: list[dict[str, Any]]) -> str:
    """How many passed each of the three conditions, counted."""
    classes = [r for r in rows if r["task"] != "regression"]
    edge = sum(r["verdict"]["edge"] for r in rows)
    better = sum("loss" in x and "lower" in x and r["t"] is not None and -r["t"] > float(x.split("needs ")[1].rstrip(")"))
                 for r in rows for x in r["verdict"]["reasons"][:1] if "needs " in x)
    calibrated = sum(r["calibration"]["after"]["ece"] - r["calibration"]["after"]["floor"] <= 0.02 for r in classes)
    directed = [r for r in classes if r["direction"]]
    known = sum(r["direction"]["low"] > 0.5 for r in directed)
    paid = sum((r["trades"]["profit_factor"] or 0.0) > 1.0 for r in rows)
    return (f"Of {len(rows)} trainings {better} have a loss below knowing nothing by the test, {calibrated} of {len(classes)} are "
            f"calibrated, {known} of {len(directed)} tell up from down with an interval above one half, {paid} earn more than their costs "
            f"on paper, and {edge} show an edge by all three conditions.")


def main(path: Path, symbols: list[str]) -> None:
    rows = learned(symbols, path) if symbols else json.loads(path.read_text(encoding="utf-8"))
    page = HERE / "models.md"
    text = page.read_text(encoding="utf-8")
    head, rest = text.split(f"<!-- {MARK} -->", 1)
    page.write_text(f"{head}<!-- {MARK} -->\n\n{tables(rows)}\n\n<!-- end of {MARK} -->" + rest.split(f"<!-- end of {MARK} -->", 1)[1],
                    encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
