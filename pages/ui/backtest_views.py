"""A stored backtest as a reader sees it: the answer, how far it can be believed, trades, where the result came from, assumptions."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import streamlit as st

from core.backtest.report import TITLES, shown
from core.sextant import Sextant
from core.stored import Damaged
from core.strategies import STRATEGIES
from data.clock import parse_time
from data.errors import SextantError
from pages.ui import charts_backtest, frame, theme, widgets
from pages.ui.rule_form import title_of
from pages.ui.session import workbench

Document = Mapping[str, Any]
VERDICT = {"holds up": ("green", ":material/verified:"), "fragile": ("orange", ":material/warning:"), "luck": ("gray", ":material/casino:"),
           "loses": ("red", ":material/trending_down:"), "too short": ("gray", ":material/hourglass_empty:")}
LEFT_OUT = "A quick look leaves this out. Run it again without “Quick look”."
FIRST_TRY = "(first try of this study)"
NO_EDGE = "Worlds without an edge"
FILES = {"report.html": ("Report (HTML)", "text/html"), "report.md": ("Report (Markdown)", "text/markdown"),
         "report.json": ("Report (JSON)", "application/json"), "trades.csv": ("Trades (CSV)", "text/csv"),
         "equity.csv": ("Equity (CSV)", "text/csv"), "run.json": ("Run card (JSON)", "application/json")}


def stored_runs(sextant: Sextant) -> tuple[list[dict[str, Any]], list[Damaged]]:
    """Headers of the stored runs, newest first, and those that cannot be read; read anew only once something has changed."""
    return _runs(sextant.runs_version())


def stored_sweeps(sextant: Sextant) -> list[dict[str, Any]]:
    """Finished sweeps, newest first; read anew only once something has changed."""
    return _sweeps(sextant.sweeps_version())


@st.cache_resource(max_entries=2, show_spinner=False)
def _runs(version: str) -> tuple[list[dict[str, Any]], list[Damaged]]:
    return workbench().stored_runs()


@st.cache_resource(max_entries=2, show_spinner=False)
def _sweeps(version: str) -> list[dict[str, Any]]:
    return workbench().sweeps()


def badge(word: str) -> None:
    colour, icon = VERDICT.get(word, ("gray", ":material/help:"))
    st.badge(word.capitalize(), color=colour, icon=icon)  # type: ignore[arg-type]


def window(d: Document) -> str:
    q = d["question"]
    return f"{title_of(q['rule'])} on {', '.join(q['symbols'])}, {q['interval']} {q['market']}, {d['from'][:10]} to {d['to'][:10]}"


def tries_now(d: Document, headers: Sequence[Document], sweeps: Sequence[Document]) -> int:
    """Tries of this study that are known of by now: what the report counted, or more where runs and sweeps came after it."""
    q = d["question"]
    same = [h for h in headers if all(h["question"][n] == q[n] for n in ("symbols", "interval", "market", "rule"))]
    swept = [s["trials"] for s in sweeps if s["study"] == d["honesty"]["study"]]
    return max([d["honesty"]["trials"], len(same), *swept])


def answer(d: Document, tries: int) -> None:
    """The verdict with its reasons, the window, and the figures that matter most."""
    h, m = d["honesty"], d["metrics"]
    v = h["verdict"]
    left, right = st.columns([3, 1], vertical_alignment="top")
    with left:
        badge(v["word"])
        st.subheader(v["text"], anchor=False)
    with right, st.container(horizontal=True, horizontal_alignment="right"):
        frame.chip(d["provenance"], f"run {d['run_id'][:6]}")
    reasons = [r for r in v["reasons"] if not (tries > 1 and FIRST_TRY in r)]  # that probability is only honest for a first try
    if tries > h["trials"]:
        reasons.append(f"{tries - h['trials']} more tries of this study were made since: run it again to have its figures answer for "
                       f"{tries}")
    st.markdown("\n".join(f"- {widgets.plain(r[:1].upper() + r[1:])}" for r in reasons))
    st.caption(f"{window(d)} · {d['honesty']['days']:,} days · first {h['warm_up_bars']:,} bars of the window warm the rule up")
    low, high = h["intervals"]["sharpe"]
    fall = h["intervals"]["max_drawdown"]
    tiles = [("Return", shown("total_return", m["total_return"]), None if m["cagr"] is None else f"{m['cagr']:+.1%} a year",
              "After fees, slippage and funding."),
             ("Buy and hold", shown("benchmark_return", m["benchmark_return"]), "equal parts", "Bought at the first open and kept."),
             ("Sharpe", shown("sharpe", m["sharpe"]), None if low is None or high is None else f"{low:.1f} to {high:.1f}",
              "Mean over spread of daily returns, a year of 365 days. Below: its 95 % interval, from resampling days in blocks."),
             ("Drawdown", shown("max_drawdown", m["max_drawdown"]), None if None in fall else f"{fall[0]:.0%} to {fall[1]:.0%}",
              "Deepest fall from a high of the equity. Below: its 95 % interval."),
             ("Trades", f"{d['trades']:,}", None if m["win_rate"] is None else f"{m['win_rate']:.0%} won",
              "Positions from first fill to flat."),
             ("Cost, bps", "–" if h["cost_bps"] is None else f"{h['cost_bps']:.1f}",
              "no break-even" if h["break_even_bps"] is None else f"break-even {h['break_even_bps']:.1f}",
              "What was paid a side, and below it the cost at which the rule would earn nothing. Below zero: it loses without any cost.")]
    metrics(tiles)


def metrics(tiles: Sequence[tuple[str, str, str | None, str | None]]) -> None:
    """Figures side by side (name, value, what stands below, help); two a row on a phone."""
    with st.container(horizontal=True):
        for name, value, below, words in tiles:
            st.metric(name, value, below, delta_color="off", delta_arrow="off", help=words, border=True, height="stretch",
                      width="stretch")


def result(d: Document) -> None:
    """The pictures of the result and every figure."""
    stamp = (d["run_id"], d["honesty"]["trials"])
    theme.draw(theme.kept(partial(charts_backtest.equity, d), "bt-equity", *stamp), key="bt-equity", file_name=f"equity-{d['run_id']}",
               alt="Equity, drawdown and exposure over time")
    beside(d)
    st.markdown("Return by month, %")
    theme.draw(theme.kept(partial(charts_backtest.months, d["by_month"]), "bt-months", *stamp), key="bt-months",
               file_name=f"months-{d['run_id']}", alt="Return of each month")
    with st.expander("All figures", icon=":material/table_rows:"):
        import pandas as pd

        rows = pd.DataFrame([{"Figure": TITLES.get(k, k), "Value": shown(k, v), "Why not": "" if v is not None else why_none(k, d)}
                             for k, v in d["metrics"].items()])
        st.dataframe(rows, hide_index=True, width="stretch", placeholder="", height=38 + 35 * len(rows))
        widgets.download(rows, f"figures-{d['run_id']}")


def beside(d: Document) -> None:
    """What could have been done instead."""
    rows = d["honesty"].get("baselines")
    if not rows:
        st.caption(f"Baselines: {LEFT_OUT}")
        return
    own = {"Beside it": "this rule", "Return": d["metrics"]["total_return"], "Sharpe": d["metrics"]["sharpe"],
           "Volatility": d["metrics"]["volatility"], "Largest drawdown": d["metrics"]["max_drawdown"]}
    lines = [own, *({"Beside it": b["name"], "Return": b["total_return"], "Sharpe": b["sharpe"], "Volatility": b["volatility"],
                     "Largest drawdown": b["max_drawdown"]} for b in rows)]
    percent, number = st.column_config.NumberColumn(format="percent"), st.column_config.NumberColumn(format="%.2f")
    st.dataframe(lines, hide_index=True, width="stretch", placeholder="–", column_config={
        "Beside it": st.column_config.TextColumn(pinned=True), "Return": percent, "Sharpe": number, "Volatility": percent,
        "Largest drawdown": percent})


def why_none(name: str, d: Document) -> str:
    """Why a figure does not exist, where that is known."""
    if not d["trades"]:
        return "no trade has ended yet" if d.get("open_trades") else "nothing was traded"
    return {"recovery_bars": "the last high was not reached again", "cost_share": "there is no gross profit that costs could be a share of",
            "profit_factor": "no trade lost", "payoff": "it needs a win and a loss", "break_even_bps": "nothing was traded",
            "calmar": "there was no drawdown"}.get(name, "not defined on these returns")


# -- honesty ----------------------------------------------------------------------------------------------------------


def honesty(d: Document, tries: int) -> None:
    """How far the result can be believed. One try is judged alone, a chosen one by how many it was chosen from."""
    h = d["honesty"]
    pbo, luck = h.get("pbo"), h.get("random_entries") or {}
    span = h["intervals"]
    two, share = (lambda v: "–" if v is None else f"{v:.2f}"), (lambda v: "–" if v is None else f"{v:.0%}")
    chance = h["expected_best"]
    tiles = [("Tries", f"{tries}", "of this study" if tries == h["trials"] else f"{h['trials']} counted here",
              "Runs and swept sets with the same symbols, interval and rule. Each one makes a good figure easier to find by luck."),
             ("Deflated Sharpe", two(h["dsr"]), f"luck: {chance:.2f}" if chance else "first try" if h["trials"] == 1 else None,
              "Probability that the true Sharpe ratio is above what the best of all tries shows by luck alone. Above 0.95 is good "
              "(Bailey & López de Prado 2014)."),
             ("PBO", two(pbo["probability"]) if pbo else "–", f"{pbo['trials']} sets nearby" if pbo else "quick look",
              "Probability of backtest overfitting: how often the best set of one half of the days is below the middle in the other "
              "(Bailey et al. 2017)."),
             ("By chance", share(luck.get("p")), f"of {luck['runs']} runs" if luck.get("runs") else "quick look",
              "Share of runs that enter at random moments, with the same count, sides and holding times, and do at least as well."),
             ("Ruin", share(span["ruin"]), "30 % from a high", f"Share of {span['draws']:,} resampled histories that fall so far."),
             ("Ambiguous", f"{h['ambiguity']['trades']}", f"{h['ambiguity']['share']:.1%} of trades",
              "Trades in which one bar touched both stop and target and no finer candle says which came first; counted as stopped.")]
    metrics(tiles)
    if pbo and pbo["warning"]:
        st.caption("Few sets and blocks stand behind the probability of overfitting: read it as a hint.")
    _pictures(d)
    _intervals(d)
    look = h["lookahead"]
    st.markdown(f"**Look-ahead.** {widgets.plain(look[:1].upper() + look[1:])}.")
    band = h["ambiguity"]
    if band["trades"]:
        st.markdown(f"**Ambiguity band.** The profit lies between {band['pessimistic']:+,.2f} and {band['optimistic']:+,.2f}"
                    f"{widgets.quote_of(d['symbols'])}, by what came first in the bars that touched stop and target.")
    walk = h.get("walk_forward")
    if walk:
        st.markdown(f"**Walk-forward.** Settings chosen only on the past, over {walk['folds']} folds: "
                    f"{shown('total_return', walk['total_return'])}; "
                    f"the setting as asked made {shown('total_return', walk['as_asked'])} in the same days. "
                    f"Chosen: {widgets.plain('; '.join(walk['chosen']).replace('_', ' '))}.")
    elif h.get("baselines"):
        st.markdown("**Walk-forward.** The window is too short for it: five folds of 30 days are needed.")
    with st.expander("How is this computed?", icon=":material/functions:"):
        st.markdown("The deflated Sharpe ratio asks whether the ratio beats what the best of all tries shows by luck; every run and every "
                    "set of a sweep counts as a try. Its interval comes from 2,000 resampled histories in blocks of days (Politis & "
                    "Romano 1994). Worlds without an edge redraw the sign of every bar by a coin that all symbols share. Neighbours move "
                    "one parameter by 20 % at a time. docs/methods.md has the formulas.")


def _pictures(d: Document) -> None:
    """Stress, neighbours, costs and worlds without an edge, each in words above its picture."""
    h, m, stamp = d["honesty"], d["metrics"], (d["run_id"], d["honesty"]["trials"])
    total = m["total_return"]
    luck, walk = h.get("random_entries") or {}, h.get("walk_forward") or {}
    stress = [("twice the costs", h.get("costs_doubled")), ("one bar late", h.get("one_bar_late")),
              ("without the best five trades", h["without_best_5"]), ("walk-forward", walk.get("total_return")),
              ("random entries, middle", luck.get("median")), ("random entries, best 5 %", luck.get("high"))]
    around = h.get("neighbours_profitable")
    pictures: list[tuple[str, str, Any]] = [("One thing changed", "", partial(charts_backtest.bars, stress, own=total))]
    if h.get("neighbourhood"):
        pictures.append(("Settings 20 % around it", f"{around:.0%} of them earn something" if around is not None else "",
                         partial(charts_backtest.bars, [(r["change"].replace("_", " "), r["total_return"]) for r in h["neighbourhood"]],
                                 own=total)))
    if h.get("cost_ladder"):
        rose = any(r["rose"] for r in h["cost_ladder"])
        words = "a rung rose: its path changed" if rose else "each rung adds one cost"
        pictures.append(("Costs rung by rung", f"fixed size, no pauses; {words}",
                         partial(charts_backtest.bars, [(r["rung"], r["total_return"]) for r in h["cost_ladder"]])))
    null = h.get("null_worlds")
    if null and total is not None:
        pictures.append((NO_EDGE, null["words"], partial(charts_backtest.worlds, null["totals"], total)))
    columns = st.columns(2)
    for number, (title, words, build) in enumerate(pictures):
        with columns[number % 2]:
            st.markdown(f"**{title}**" + (f" · {widgets.plain(words)}" if words else ""))
            theme.draw(theme.kept(build, "bt-honest", title, *stamp), key=f"bt-{title}", alt=title,
                       file_name=title.lower().replace(" ", "-"))
    if len(pictures) < 4:
        there = [title for title, *_ in pictures]
        missing = [t for t in ("Settings 20 % around it", "Costs rung by rung", NO_EDGE) if t not in there]
        why = "the rule reads more than candles, which a redrawn history does not have" if missing == [NO_EDGE] else LEFT_OUT
        st.caption(f"Not here: {', '.join(missing)}. {why[:1].upper() + why[1:]}" + ("" if why.endswith(".") else "."))


def _intervals(d: Document) -> None:
    h, m = d["honesty"], d["metrics"]

    def pair(values: Sequence[float | None], form: str) -> str:
        return "–" if any(v is None for v in values) else " to ".join(format(v, form) for v in values)

    days = h["minimum_track_record_days"]
    rows = [{"Figure": "Sharpe ratio", "As asked": shown("sharpe", m["sharpe"]), "95 % interval": pair(h["intervals"]["sharpe"], ".2f")},
            {"Figure": "Growth a year", "As asked": shown("cagr", m["cagr"]), "95 % interval": pair(h["intervals"]["cagr"], "+.1%")},
            {"Figure": "Largest drawdown", "As asked": shown("max_drawdown", m["max_drawdown"]),
             "95 % interval": pair(h["intervals"]["max_drawdown"], ".1%")},
            {"Figure": "Drawdown, trades in another order", "As asked": shown("max_drawdown", m["max_drawdown"]),
             "95 % interval": pair(h["shuffled_drawdown"], ".1%")},
            {"Figure": "Win rate", "As asked": shown("win_rate", m["win_rate"]).lstrip("+"),
             "95 % interval": pair((m["win_rate_low"], m["win_rate_high"]), ".1%")},
            {"Figure": "Days needed to be sure of a ratio above zero", "As asked": f"{h['days']:,}",
             "95 % interval": "– (the ratio is not above zero)" if days is None else f"{days:,.0f}"}]
    st.dataframe(rows, hide_index=True, width="stretch", placeholder="–",
                 column_config={"Figure": st.column_config.TextColumn(pinned=True)})


# -- trades, origin, assumptions --------------------------------------------------------------------------------------


def trades(sextant: Sextant, d: Document) -> None:
    """Every trade, filtered; on the chart of its symbol; as CSV."""
    import pandas as pd

    table = pd.read_csv(io.BytesIO(sextant.backtest_file(d["run_id"], "trades.csv")))
    if table.empty:
        refused = ", ".join(f"{k.replace('_', ' ')} {n}" for k, n in d["refused"].items())
        why = f"Entries were refused: {refused}." if refused else ("The rule never wanted an entry: loosen its threshold or take a longer "
                                                                   "window.")
        st.info(f"Nothing was traded. {why}")
        return
    a, b, c = st.columns([2, 2, 3])
    symbols = a.multiselect("Symbol", d["symbols"], key="bt-f-symbol", placeholder="all")
    reasons = b.multiselect("Ended by", sorted(table["reason"].unique()), key="bt-f-reason", placeholder="all",
                            format_func=lambda r: r.replace("_", " "))
    side = c.segmented_control("Which", ["All", "Won", "Lost", "Long", "Short"], default="All", key="bt-f-side", required=True)
    keep = table["symbol"].isin(symbols or d["symbols"]) & table["reason"].isin(reasons or list(table["reason"].unique()))
    keep &= {"Won": table["pnl"] > 0, "Lost": table["pnl"] <= 0, "Long": table["side"] > 0, "Short": table["side"] < 0}.get(str(side), keep)
    found = table[keep]
    st.markdown(f"**{len(found):,} of {len(table):,} trades**, together {found['pnl'].sum():+,.2f}{widgets.quote_of(d['symbols'])}")
    zone = widgets.zone()
    shown_rows = pd.DataFrame({
        "Symbol": found["symbol"], "Side": found["side"].map({1: "▲ long", -1: "▼ short"}),
        "In": pd.to_datetime(found["entry_time"], format="ISO8601").dt.tz_convert(zone),
        "Out": pd.to_datetime(found["exit_time"], format="ISO8601").dt.tz_convert(zone),
        "Entry": found["entry_price"], "Exit": found["exit_price"], "Quantity": found["quantity"],
        "Ended by": found["reason"].str.replace("_", " "), "Profit": found["pnl"], "R": found["r"],
        "Costs": found["fees"] + found["slippage"] + found["funding"], "Unclear": found["ambiguous"]})
    when = st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm", width=122, help=f"In {zone.key}.")
    number = st.column_config.NumberColumn(format="%.6g", width=86)
    height = min(38 + 35 * max(len(found), 1), 420)
    st.dataframe(shown_rows, hide_index=True, width="stretch", placeholder="–", height=height, column_config={
        "Symbol": st.column_config.TextColumn(pinned=True, width=88), "In": when, "Out": when, "Entry": number, "Exit": number,
        "Quantity": number,
        "Profit": st.column_config.NumberColumn(format="%+.2f", width=76, help="After fees, slippage and funding, in quote currency."),
        "R": st.column_config.NumberColumn(format="%+.2f", width=56, help="Profit over the loss planned at the first stop."),
        "Costs": st.column_config.NumberColumn(format="%.2f", width=64),
        "Unclear": st.column_config.CheckboxColumn(width=64, help="One bar touched stop and target; counted as stopped.")})
    widgets.download(found, f"trades-{d['run_id']}")
    traded = [s for s in d["symbols"] if (found["symbol"] == s).any()] or d["symbols"]
    symbol = st.selectbox("On the chart of", traded, key="bt-chart") or traded[0]
    try:
        key = sextant.key(symbol, d["interval"], d["question"]["market"])
        candles = sextant.candles(key, start_ms=parse_time(d["from"]), end_ms=parse_time(d["to"]))
    except SextantError as error:
        st.caption(f"The candles of this run cannot be shown now: {error}")
        return
    traded_here = found[found["symbol"] == symbol]
    own = [{str(k): v for k, v in r.items()} for r in traded_here.to_dict("records")]
    figure = theme.kept(partial(charts_backtest.trades, candles, own), "bt-trades", d["run_id"], symbol, tuple(traded_here.index),
                        len(candles))
    theme.draw(figure, key="bt-trades", file_name=f"trades-{symbol}", alt=f"Trades on {symbol}")


def origin(d: Document) -> None:
    """Which year, symbol, regime and way out made the result, and what was refused."""
    import pandas as pd

    h = d["honesty"]
    years = [(str(r["year"]), r["return"]) for r in h["by_year"]]
    groups = [("By year", years, True), ("By symbol, profit", [(r["symbol"], r["pnl"]) for r in h["by_symbol"]], False),
              (f"By what {h['leader']} did at entry, profit",
               [(r["regime"] + (" (few)" if r["words"] else ""), r["pnl"]) for r in h["by_regime"]], False),
              ("By how positions ended, profit", [(r["reason"].replace("_", " "), r["pnl"]) for r in d["by_reason"]], False)]
    columns = st.columns(2)
    for number, (title, rows, percent) in enumerate(groups):
        with columns[number % 2]:
            st.markdown(f"**{title}**")
            if rows:
                theme.draw(theme.kept(partial(charts_backtest.bars, rows, percent=percent), "bt-origin", title, d["run_id"]),
                           key=f"bt-origin-{number}", file_name=title.lower().replace(" ", "-"), alt=title)
            else:
                st.caption("Nothing was traded.")
    lines = [{"Group": "symbol", "Name": r["symbol"], "Trades": r["trades"], "Profit": r["pnl"], "Won": r["win_rate"], "Note": ""}
            for r in h["by_symbol"]]
    lines += [{"Group": "regime", "Name": r["regime"], "Trades": r["trades"], "Profit": r["pnl"], "Won": r["win_rate"], "Note": r["words"]}
             for r in h["by_regime"]]
    lines += [{"Group": "ended by", "Name": r["reason"].replace("_", " "), "Trades": r["trades"], "Profit": r["pnl"], "Won": None,
               "Note": ""} for r in d["by_reason"]]
    table = pd.DataFrame(lines)
    st.dataframe(table, hide_index=True, width="stretch", placeholder="–", height=38 + 35 * len(table), column_config={
        "Profit": st.column_config.NumberColumn(format="%+.2f"), "Won": st.column_config.NumberColumn(format="percent"),
        "Note": st.column_config.TextColumn(help="too few: below 20 trades, chance rules.")})
    widgets.download(table, f"origin-{d['run_id']}")
    st.markdown("**Entries that were refused**")
    if d["refused"]:
        st.dataframe([{"Reason": k.replace("_", " "), "Entries": n} for k, n in sorted(d["refused"].items(), key=lambda r: -r[1])],
                     hide_index=True, width="content")
    else:
        st.caption("None.")


def assumptions(sextant: Sextant, d: Document) -> None:
    """How orders were filled, what reproduces the run, and its files."""
    st.markdown("\n".join(f"- {widgets.plain(a[:1].upper() + a[1:])}" for a in (*d["assumptions"], *d["notes"])))
    rule = next((s for s in STRATEGIES if s.name == d["question"]["rule"]), None)
    if rule is not None:
        values = ", ".join(f"{k.replace('_', ' ')} {v:g}" for k, v in d["question"]["parameters"].items())
        st.markdown(f"**The rule.** {rule.rule} Set to: {values}.")
    st.caption(f"Run {d['run_id']} · code {d['card']['code']} · engine {d['engine']} · seed {d['card']['seed']}. The same data, code "
               "and settings give the same figures to the last digit.")
    downloads(sextant, d["run_id"])


def downloads(sextant: Sextant, run_id: str) -> None:
    """Every file of a run."""
    with st.container(horizontal=True):
        for name, (label, kind) in FILES.items():
            st.download_button(label, sextant.backtest_file(run_id, name), f"{run_id[:8]}-{name}", kind, icon=":material/download:",
                               key=f"bt-file-{run_id}-{name}", on_click="ignore")
