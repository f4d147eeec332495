"""Sweeps and stored runs: many settings over one rule with what the best of them is worth, and several runs side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import streamlit as st

from core.backtest.asking import grid_of
from core.backtest.report import shown
from core.backtest.sweeping import MOST_SETS
from core.sextant import Sextant
from core.stored import Damaged
from core.strategies import COMMON, strategy
from data.errors import InputError, SextantError
from pages.ui import charts_backtest, theme, widgets
from pages.ui.backtest_form import check
from pages.ui.backtest_views import downloads, metrics
from pages.ui.rule_form import title_of
from pages.ui.session import may_write

METRICS = {"sharpe": "Sharpe ratio", "total_return": "Return", "max_drawdown": "Largest drawdown", "trades": "Trades"}
PERCENT = ("total_return", "max_drawdown")
MOST_COMPARED = len(charts_backtest.LINES)


def ask_sweep(sextant: Sextant, arguments: dict[str, Any]) -> None:
    """The grid over the set-up above, checked before it becomes a job."""
    if arguments["rule"] is None:
        st.info("A sweep turns the parameters of a strategy; signals from a file have none. Choose a strategy above.")
        return
    arguments = arguments | {"rule": arguments["rule"].split(",")[0]}  # of several rules the first is turned, alone
    rule = strategy(arguments["rule"])
    known = {p.name: p for p in (*rule.parameters, *COMMON)}
    st.markdown(f"Tries every combination of settings of **{rule.title}** on {', '.join(arguments['symbols']) or 'no symbol yet'}, "
                f"{arguments['options']['interval']} {arguments['options']['market']}, as set up above. **Every set counts as a try**: the "
                "more there are, the better the best one looks by luck, and the deflated Sharpe ratio answers for all of them.")
    names = st.multiselect("Parameters to turn", list(known), default=[p.name for p in rule.parameters][:2], key=f"bt-turn-{rule.name}",
                           format_func=_words, persist_state="session")
    texts = []
    for column, name in zip(st.columns(max(2, len(names))), names, strict=False):
        p = known[name]
        spec = column.text_input(name.replace("_", " ").capitalize(), value=_start(p.default, p.low, p.high),
                                 key=f"bt-grid-{rule.name}-{name}",
                                 help=f"{p.help} First:last:step, or values with commas. {p.low:g} to {p.high:g}.", persist_state="session")
        texts.append(f"{name}={spec.replace(' ', '')}")
    if not may_write():
        st.caption("Viewing only: the owner's password is asked for under “Set up a run”.")
        return
    wrong, count = "", 0
    try:
        grid = grid_of(texts)
        count = int(np.prod([len(v) for v in grid.values()])) if grid else 0
        for name, values in grid.items():
            for value in values:
                rule.values({**arguments["parameters"], name: value})
        if not grid:
            raise InputError("grid: expected at least one parameter to turn, got none")
        if count > MOST_SETS:
            raise InputError(f"the grid has {count:,} sets; at most {MOST_SETS:,} are run at once. Take wider steps")
    except SextantError as error:
        wrong = str(error)
    a, b = st.columns([1, 4], vertical_alignment="center")
    pressed = a.button("Sweep", type="primary", icon=":material/grid_on:", key="bt-sweep", width="stretch")
    wrong = wrong or (check(arguments) if pressed else "")
    if wrong:
        b.error(widgets.plain(wrong), icon=":material/error:")
    else:
        b.caption(f"{count:,} sets")
        if pressed:
            sextant.jobs.submit("sweep", {n: arguments[n] for n in ("symbols", "options", "rule", "parameters")} | {"grid": texts})
            sextant.jobs.pump()
            st.rerun()


def _start(value: float, low: float, high: float) -> str:
    """A first range around the default: seven values or fewer inside what is allowed."""
    value = float(value)  # some defaults are whole numbers
    whole = value.is_integer() and high >= 100
    step = max(1.0, round(value / 4)) if whole else 0.05 if value <= 1 else 0.5
    first, last = max(low, value - 2 * step), min(high, value + 4 * step)
    return f"{first:g}:{last:g}:{step:g}"


def swept(found: Sequence[Mapping[str, Any]]) -> None:
    """One finished sweep: what it says, its best set, its map and its table."""
    if not found:
        st.info("No sweep yet. Choose what to turn above and press Sweep.")
        return
    number = st.selectbox("Sweep", range(len(found)), key="bt-which-sweep", format_func=lambda k: (
        f"{title_of(found[k]['rule'])} · {', '.join(found[k]['symbols'])} · {found[k]['interval']} · {', '.join(found[k]['grid'])}"))
    d = found[number or 0]
    words = d["words"][:1].upper() + d["words"][1:]
    st.markdown(f"{len(d['sets']):,} sets, **{d['profitable']:,} earned something**. {widgets.plain(words)}.")
    if d["best"]:
        best, two = d["best"], (lambda v: "–" if v is None else f"{v:.2f}")
        values = ", ".join(f"{k.replace('_', ' ')} {v:g}" for k, v in best["parameters"].items())
        st.markdown(f"Best by Sharpe ratio: **{values}**")
        tiles = [("Best return", shown("total_return", best["total_return"]), None), ("Its Sharpe", two(best["sharpe"]),
                 f"luck: {two(d.get('expected_best_sharpe'))}"), ("Deflated Sharpe", two(d.get("dsr")), f"{d['trials']:,} tries"),
                 ("PBO", two(d["pbo"]["probability"]), f"{d['pbo']['trials']} sets")]
        metrics([(*tile, None) for tile in tiles])
    _picture(d)
    import pandas as pd

    table = pd.DataFrame([s["parameters"] | {n: s[n] for n in (*METRICS, "win_rate", "profit_factor", "refused")} for s in d["sets"]])
    table = table.sort_values("sharpe", ascending=False, na_position="last", ignore_index=True)
    names = METRICS | {"win_rate": "Won", "profit_factor": "Profit factor", "refused": "Refused"}
    percent = st.column_config.NumberColumn(format="percent")
    st.dataframe(table.rename(columns=names), hide_index=True, width="stretch", placeholder="–", height=min(38 + 35 * len(table), 360),
                 column_config={"Return": percent, "Largest drawdown": percent, "Won": percent,
                                "Sharpe ratio": st.column_config.NumberColumn(format="%.2f"),
                                "Trades": st.column_config.NumberColumn(format="%d"),
                                "Profit factor": st.column_config.NumberColumn(format="%.2f"),
                                "Refused": st.column_config.NumberColumn(format="%d", help="Entries that a limit refused.")})
    widgets.download(table, f"sweep-{d['rule']}-{d['interval']}")


def _picture(d: Mapping[str, Any]) -> None:
    names = list(d["grid"])
    a, b, c = st.columns(3)
    metric = a.selectbox("Colour", list(METRICS)[:3], format_func=METRICS.__getitem__, key="bt-sweep-metric") or "sharpe"
    title, percent = METRICS[metric], metric in PERCENT
    stamp = (d["study"], d["trials"], d["words"], tuple((n, tuple(v)) for n, v in d["grid"].items()))
    if len(names) == 1:
        values = d["grid"][names[0]]
        by = {s["parameters"][names[0]]: s[metric] for s in d["sets"]}
        build = partial(charts_backtest.sweep_line, _words(names[0]), values, [by[v] for v in values], title=title, percent=percent)
        theme.draw(theme.kept(build, "bt-line", metric, *stamp), key="bt-line", file_name="sweep", alt=f"{title} by {names[0]}")
        return
    across = b.selectbox("Across", names, key=f"bt-across-{'-'.join(names)}", format_func=_words) or names[0]
    rest = [n for n in names if n != across]
    down = c.selectbox("Down", rest, key=f"bt-down-{'-'.join(names)}-{across}", format_func=_words) or rest[0]
    grid = surface(d, across, down, metric)
    best = (d["best"]["parameters"][across], d["best"]["parameters"][down]) if d["best"] else None
    build_map = partial(charts_backtest.sweep_map, (_words(across), d["grid"][across]), (_words(down), d["grid"][down]), grid,
                        title=title, percent=percent, best=best)
    theme.draw(theme.kept(build_map, "bt-map", metric, across, down, *stamp), key="bt-map", file_name="sweep",
               alt=f"{title} by {across} and {down}")
    left = ", ".join(_words(n) for n in names if n not in (across, down))
    others = f" Each cell is the median over {left}." if left else ""
    st.caption(f"{title}; the ring marks the best set.{others} An edge is a broad field of one colour; a lone cell is luck.")


def _words(name: str) -> str:
    return name.replace("_", " ")


def surface(d: Mapping[str, Any], across: str, down: str, metric: str) -> np.ndarray:
    """One figure over two parameters, the median over the others; (n_down, n_across), NaN where no set has it."""
    out = np.full((len(d["grid"][down]), len(d["grid"][across])), np.nan)
    for i, y in enumerate(d["grid"][down]):
        for j, x in enumerate(d["grid"][across]):
            values = [s[metric] for s in d["sets"] if s["parameters"][across] == x and s["parameters"][down] == y and s[metric] is not None]
            if values:
                out[i, j] = float(np.median(values))
    return out


def stored(sextant: Sextant, headers: Sequence[Mapping[str, Any]], damaged: Sequence[Damaged]) -> None:
    """Every stored run; the chosen ones on one chart, with their files."""
    import pandas as pd

    rows = [{"Rule": title_of(h["question"]["rule"]), "Symbols": ", ".join(h["question"]["symbols"]), "Interval": h["question"]["interval"],
             "Verdict": h["verdict"]["word"], "Return": h["metrics"]["total_return"], "Held": h["metrics"]["benchmark_return"],
             "Sharpe": h["metrics"]["sharpe"], "Drawdown": h["metrics"]["max_drawdown"], "Trades": h["trades"], "From": h["from"][:10],
             "To": h["to"][:10], "Market": h["question"]["market"], "Settings": settings_of(h["question"]), "Run": h["run_id"]}
            for h in headers]
    table = pd.DataFrame(rows)
    percent = st.column_config.NumberColumn(format="percent", width=82)
    st.caption(f"Select up to {MOST_COMPARED} runs to see them on one chart.")
    chosen = st.dataframe(table, hide_index=True, width="stretch", placeholder="–", on_select="rerun", selection_mode="multi-row",
                          key="bt-stored", height=min(38 + 35 * len(table), 400), column_config={
        "Rule": st.column_config.TextColumn(pinned=True), "Return": percent, "Drawdown": percent,
        "Held": st.column_config.NumberColumn(format="percent", width=72, help="Buy and hold in the same window."),
        "Sharpe": st.column_config.NumberColumn(format="%.2f", width=64), "Trades": st.column_config.NumberColumn(format="%d", width=60)})
    widgets.download(table, "backtests")
    lost(damaged)
    picked = [headers[k] for k in chosen["selection"]["rows"][:MOST_COMPARED]] or list(headers[:3])
    runs = [(f"{title_of(h['question']['rule'])} {'+'.join(h['question']['symbols'])} {h['question']['interval']} · {h['run_id'][:4]}",
             sextant.stored_backtest(h["run_id"])) for h in picked]
    theme.draw(theme.kept(partial(charts_backtest.compared, runs), "bt-compared", tuple(h["run_id"] for h in picked)), key="bt-compared",
               file_name="runs-compared", alt="Growth of the chosen runs")
    for h, (name, _) in zip(picked, runs, strict=True):
        with st.expander(f"Files of {name}", icon=":material/folder:"):
            downloads(sextant, h["run_id"])


def lost(damaged: Sequence[Damaged]) -> None:
    """Stored runs that cannot be read."""
    for run in damaged:
        st.warning(widgets.plain(f"The stored run {run.name} cannot be read: {run.reason}. Its files are kept."),
                   icon=":material/broken_image:")


def settings_of(question: Mapping[str, Any]) -> str:
    return ", ".join(f"{k.replace('_', ' ')} {v:g}" for k, v in (question["parameters"] or {}).items())
