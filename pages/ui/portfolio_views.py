"""The Portfolio page's answer and its pictures: weights, frontier, correlation, what was worth it, the composite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from analysis.allocation.methods import method
from analysis.allocation.walk_forward import WINDOW
from core.portfolio import Allocation
from core.portfolio_record import days_of
from core.sextant import Sextant
from data.clock import iso
from data.market import SeriesKey
from pages.ui import charts_portfolio, theme, widgets
from pages.ui.session import kept
from pages.ui.widgets import short

VERDICT = {"better": "▲ better", "worse": "▼ worse", "no difference shown": "■ no difference shown", "itself": "– itself"}
BIGGEST = 4


def content_of(found: Allocation) -> tuple[Any, ...]:
    """What every picture of an allocation depends on."""
    return (found.asked, found.as_of_ms, found.portfolio.weights.tobytes(), found.portfolio.bands.tobytes())


def answer(found: Allocation) -> None:
    """One line: what to hold, how it moves, and as of when; then what could not be had."""
    p = found.portfolio
    order = sorted(range(len(p.names)), key=lambda i: -p.weights[i])
    parts = [f"{p.weights[i]:.0%} {short(p.names[i])}" for i in order[:BIGGEST] if p.weights[i] >= 0.005]
    more = sum(p.weights[i] >= 0.005 for i in order[BIGGEST:])
    cash = f", {p.cash:.0%} cash" if p.cash >= 0.005 else ""
    moves = f" It moves {p.volatility:.0%} a year." if np.isfinite(p.volatility) else ""
    st.markdown(f"**{method(found.asked.method).title}: {', '.join(parts)}{f' and {more} more' if more else ''}{cash}.**{moves}")
    if p.notes:
        words = "; ".join(p.notes)
        (st.info if p.feasible else st.warning)(widgets.plain(words[0].upper() + words[1:] + ("." if p.feasible else
                                                ". These are the nearest weights that can be had.")), icon=":material/rule:")
    if p.dropped and p.rows:
        st.caption(widgets.plain("Left out: " + "; ".join(f"{n} ({why})" for n, why in p.dropped.items()) + "."))
    if found.asked.method == "black-litterman":
        st.caption(widgets.plain(found.views.words()[:1].upper() + found.views.words()[1:] + "."
                                 + ("" if found.views.views else " The weights are the start: half hierarchical, half equal risk.")))
    if found.behind and not set(found.behind) <= set(p.dropped):
        st.caption(f"Prices end earlier for {', '.join(f'{short(n)} ({iso(t)[:10]})' for n, t in found.behind.items())}: days that not all "
                   "have do not count.")
    st.caption(f"{widgets.as_of_line(found.provenance, found.as_of_ms)} · {p.rows} bars of {found.asked.interval}")


def weights(found: Allocation) -> None:
    """Weights with bands, risk beside weight, and the table."""
    p = found.portfolio
    a, b = st.columns([3, 2])
    with a:
        theme.draw(theme.kept(lambda: charts_portfolio.weights(p), "al-weights", *content_of(found)), key="al-chart-weights",
                   file_name="weights", alt="Weights with bootstrap bands, beside equal weights and inverse volatility")
        st.caption("The lines on the bars span the middle 90 % of weights when the same days are drawn again in blocks: how much of a "
                   "weight is the sample's accident.")
    with b:
        theme.draw(theme.kept(lambda: charts_portfolio.contributions(p), "al-risk", *content_of(found)), key="al-chart-risk",
                   file_name="risk-contributions", alt="Share of weight beside share of risk")
    rows = [{"symbol": n, "weight": w, "low": b[0], "high": b[1], "risk": r, "volatility": v, **{k: x[i] for k, x in p.beside.items()}}
            for i, (n, w, b, r, v) in enumerate(zip(p.names, p.weights, p.bands, p.risk, np.sqrt(np.diag(p.covariance) * p.bars_per_year),
                                                    strict=True))]
    frame = pd.DataFrame([*rows, {"symbol": "cash", "weight": p.cash}])
    percent = {n: st.column_config.NumberColumn(t, format="percent", help=h) for n, t, h in (
        ("weight", "Weight", "Of the whole."), ("low", "From", "5 % of bootstraps lie below."), ("high", "To", "5 % lie above."),
        ("risk", "Risk", "Its share of the portfolio's variance."), ("volatility", "Volatility", "Of the symbol itself, a year."),
        ("equal", "1/N", "Equal weights."), ("inverse-vol", "Inverse vol.", "In inverse proportion to volatility."))}
    st.dataframe(frame, hide_index=True, width="stretch", placeholder="", key="al-table-weights",
                 column_config={"symbol": st.column_config.TextColumn("Symbol", pinned=True), **percent})
    widgets.download(frame, f"weights-{found.asked.method}")


def frontier(found: Allocation) -> None:
    p = found.portfolio
    if not p.rows:
        st.info("The frontier needs a covariance, and too little is known for one.")
        return
    every = p.every_method()
    theme.draw(theme.kept(lambda: charts_portfolio.frontier(p, p.frontier(), every), "al-frontier", *content_of(found)),
               key="al-chart-frontier",
               file_name="frontier", alt="Efficient frontier with every method on it")
    st.caption("The line holds the least volatile mixes for each past mean, under the same limits. Past means are mostly chance: methods "
               "to the left that do not chase them are not worse for lying below the line.")
    frame = pd.DataFrame([{"method": method(n).title, "volatility": v, "past mean": m,
                           **{short(s): x for s, x in zip(p.names, w, strict=True)}} for n, (w, v, m) in every.items()])
    st.dataframe(frame, hide_index=True, width="stretch", key="al-table-methods", column_config={
        "method": st.column_config.TextColumn("Method", pinned=True),
        **{n: st.column_config.NumberColumn(format="percent") for n in frame.columns[1:]}})
    widgets.download(frame, "methods")


def correlation(found: Allocation) -> None:
    p = found.portfolio
    if len(p.names) < 2 or not p.rows:
        st.info("Correlation needs two symbols with history; choose more above.")
        return
    a, b = st.columns(2)
    with a:
        theme.draw(theme.kept(lambda: charts_portfolio.matrix(p.names, p.correlation, p.order), "al-corr", *content_of(found)),
                   key="al-chart-corr", file_name="correlation", alt="Correlations in the order of the tree")
    with b:
        theme.draw(theme.kept(lambda: charts_portfolio.tree(p), "al-tree", *content_of(found)), key="al-chart-tree", file_name="tree",
                   alt="Tree of correlations")
        groups = "; ".join(", ".join(short(p.names[i]) for i in c) for c in p.clusters)
        st.caption(f"Clusters (correlation above .8): {groups}." if groups else "No two symbols have a correlation above .8: no clusters.")
        st.caption(f"Ledoit-Wolf shrinkage {p.shrinkage:.1%}. Two correct programs may order the leaves differently, and hierarchical "
                   f"weights depend on that order.")
    frame = pd.DataFrame(p.correlation, columns=p.names)
    frame.insert(0, "symbol", p.names)
    widgets.download(frame, "correlation")


def record(sextant: Sextant, found: Allocation) -> None:
    """Out of sample: the verdict, the lines, the table."""
    with st.spinner("Rebalancing every method through the stored days ..."):
        done = sextant.allocation_record(found.asked)
    if not done.days:
        st.info(f"Out of sample cannot be told yet: it {done.words}.")
        return
    st.markdown(f"**{done.words}**")
    days = kept(lambda: days_of(sextant, found.asked, done, None), "record days", done.days, *content_of(found))
    theme.draw(theme.kept(lambda: charts_portfolio.record(days, done.worth, found.asked.method), "al-record", found.asked, done.days,
                          days[-1]),
               key="al-chart-record", file_name="out-of-sample", alt="Worth of every method out of sample")
    frame = pd.DataFrame([{
        "method": method(r["method"]).title, "Sharpe": r["sharpe"], "from": r["interval"][0], "to": r["interval"][1], "return": r["return"],
        "volatility": r["volatility"], "drawdown": r["max_drawdown"], "turnover": r["turnover"], "cost": r["cost_per_year"],
        "against 1/N": _beside(r, "equal"), "against inverse volatility": _beside(r, "inverse-vol")} for r in done.rows])
    percent = st.column_config.NumberColumn(format="percent")
    st.dataframe(frame, hide_index=True, width="stretch", key="al-table-record", column_config={
        "method": st.column_config.TextColumn("Method", pinned=True), "return": percent, "volatility": percent, "drawdown": percent,
        "turnover": st.column_config.NumberColumn(format="percent", help="Bought and sold together per rebalancing."),
        "cost": st.column_config.NumberColumn(format="percent", help="A year."),
        **{n: st.column_config.NumberColumn(format="%.2f", help="Sharpe ratio a year with its 95 % interval.")
           for n in ("Sharpe", "from", "to")}})
    widgets.download(frame, "out-of-sample")
    limited = "" if found.asked.wishes.free else " Floor, cap and cash of the form apply."
    st.caption(f"{done.days} days to {iso(days[-1])[:10]}, rebalanced {done.rebalancings} times on the {WINDOW} days before, "
               f"{done.cost:.2%} of what is traded.{limited} Differences are of Sharpe ratios, by paired block bootstraps; the symbols "
               f"were chosen today, among those that are still traded.")


def _beside(row: dict[str, Any], other: str) -> str:
    word = VERDICT[row[f"{other}_verdict"]]
    if row[f"{other}_interval"] is None:
        return word
    low, high = row[f"{other}_interval"]
    return f"{word} ({row[f'{other}_difference']:+.2f}, {low:+.2f} to {high:+.2f})"


def composite(sextant: Sextant, key: SeriesKey) -> None:
    """The composite optimal allocation of the sidebar's symbol: weights under caps of risk. It reads every module, so it waits for a
    press where it is not known yet."""
    card = sextant.known_card(key)
    if card is None:
        st.caption("Module I's weights under caps from each symbol's own risk and a gate of risk exposure; it reads every module.")
        if not st.button("Compute it", icon=":material/play_arrow:", key="al-composite"):
            return
        with st.spinner("Scoring every module ..."):
            card = sextant.scores(key)
    report = card.composite("optimal_allocation")
    shown = report.shown
    if report.score is None or not shown.get("weights"):
        st.info(widgets.plain(f"Optimal allocation is unknown: {report.reason}."))
        return
    st.markdown(f"**Optimal allocation on {key.interval} {key.market}: {1 - shown['cash']:.0%} held, {shown['cash']:.0%} cash.** Views: "
                f"{shown['views']}.")
    frame = pd.DataFrame([{"symbol": n, "weight": w, "cap": shown["caps"].get(n), "own risk": shown["risks"].get(n),
                           "risk share": shown["risk_contributions"].get(n), "1/N": shown["equal_weight"].get(n),
                           "inverse vol.": shown["inverse_volatility"].get(n)} for n, w in shown["weights"].items()])
    st.dataframe(frame, hide_index=True, width="stretch", key="al-table-composite", placeholder="", column_config={
        "symbol": st.column_config.TextColumn("Symbol", pinned=True),
        **{n: st.column_config.NumberColumn(format="percent") for n in ("weight", "cap", "risk share", "1/N", "inverse vol.")},
        "own risk": st.column_config.NumberColumn(format="%.2f", help="Module G in market mode, 0 to 1; it sets the cap.")})
    widgets.download(frame, "optimal-allocation")
    if shown.get("note"):
        st.caption(widgets.plain(shown["note"]))


def explained(titles: Sequence[str]) -> None:
    """How it is computed, the same words the code documents itself with."""
    with st.expander("How is this computed?", icon=":material/functions:"):
        st.markdown(widgets.plain(
            "Covariances are Ledoit-Wolf shrunk (2004). Every method answers inside the limits: minimum variance and maximum Sharpe by "
            "an exact quadratic programme (Goldfarb & Idnani 1983), the others by the nearest weights that keep them, in proportion. "
            "Black-Litterman starts from half hierarchical, half equal risk, and moves only for scores whose verdict in the score lab is "
            "supported: Q = IC x volatility x score (Grinold 1994). Where limits contradict each other, floors give way first and the "
            "answer is marked. The turnover goes a part "
            "of the straight way. Out of sample every method sees the 180 days before each rebalancing and pays for what it trades; "
            "verdicts share 5 % over all comparisons. Tails: methods of the risk module, Kupiec (1995) and Christoffersen (1998). "
            f"Methods: {', '.join(titles)}. docs/portfolio.md says more."))
