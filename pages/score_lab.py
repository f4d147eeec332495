"""Score lab: does a score predict anything? The newest stored run, in words first, and a button for another."""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from analysis.composites import COMPOSITES
from core.score_lab import LabResult
from core.sextant import Sextant
from data.market import DAY_MS
from pages.ui import charts_lab, theme, widgets
from pages.ui.job_panel import Panel, ended, open_jobs, under_way
from pages.ui.session import ask_owner, focus, guarded, may_write, settle, workbench

sextant = workbench()
here = focus()
interval, market = here.key.interval, here.key.market
DAYS = {"90 days": 90, "a year": 365, "2 years": 730, "everything": 10_000}


def title_of(name: str) -> str:
    """How a score is called on pages."""
    composite = next((c for c in COMPOSITES if c.name == name), None)
    if composite is not None:
        return composite.title
    if name == "b_risk":
        return "B · Volatility risk"
    return f"{name} · {sextant.module(name).short}"


JOBS = Panel("lab", ("lab",), lambda job: f"The judgement of {len(job.arguments['symbols'])} symbols at {job.arguments['interval']}",
             starting="reading the histories", stopped=lambda job: "; nothing of it was kept.")


def controls(result: LabResult | None) -> None:
    """Start a run over the watchlist; it goes on when the tab is closed."""
    if open_jobs(sextant, JOBS):
        under_way(sextant, JOBS)
        return
    ended(sextant, JOBS)
    with st.form("run-lab", border=result is None):
        left, middle, right = st.columns([2, 2, 1], vertical_alignment="bottom")
        span = left.selectbox("History", list(DAYS), index=0, help="How many of the newest bars are judged. Volatility models are fitted "
                                                                   "for every day once: a year of twelve symbols takes some minutes.")
        worlds = middle.select_slider("Null worlds", [0, 5, 30, 200], value=0, help="The same judgement on histories whose directions are "
                                      "redrawn by coin: how often does it find an edge in noise?")
        if right.form_submit_button("Judge the watchlist", type="primary", disabled=not may_write()):
            bars = int(min(60_000, max(300, DAYS[span] * DAY_MS // interval.ms)))
            sextant.jobs.submit("lab", {"symbols": list(sextant.symbols(market))[:50], "interval": str(interval), "market": str(market),
                                        "bars": bars, "worlds": worlds})
            sextant.jobs.pump()
            st.rerun()
    if not may_write():
        ask_owner()


def overview(result: LabResult) -> None:
    """One line a score: the verdict in words, over all symbols."""
    rows = [{"Score": title_of(p["score"]), "Against": p["target"], "Verdict": result.verdict(p["score"]),
             "Mean IC": next((d["mean_ic"] for d in p["decay"] if d["horizon_bars"] == p["best_horizon_bars"]), None),
             "At bars": p["best_horizon_bars"], "Half-life": p["half_life_bars"], "In words": p["words"]}
            for p in result.document["report"]["pooled"]]
    frame = pd.DataFrame(rows)
    st.dataframe(frame, hide_index=True, width="stretch", placeholder="", height=38 + 35 * len(frame), column_config={
        "Score": st.column_config.TextColumn(pinned=True),
        "Verdict": st.column_config.TextColumn(
            help="supported: q < .10 over the whole family, same sign in two thirds of the periods, interval without zero. weak: one of "
                 "these fails. contradicted: the other sign. insufficient: fewer than 30 separate outcomes."),
        "Mean IC": st.column_config.NumberColumn(
            format="%+.3f", help="Rank correlation with the outcome, mean over symbols at the strongest horizon. Honest hourly effects are "
                                 ".02 to .05."),
        "At bars": st.column_config.NumberColumn(format="%d"),
        "Half-life": st.column_config.NumberColumn(format="%.0f", help="Bars until half of the strongest mean IC is gone."),
        "In words": st.column_config.TextColumn(width="large")})
    widgets.download(frame, f"score-lab-{interval}")


def depth(result: LabResult) -> None:
    """One score in depth."""
    names = list(dict.fromkeys(c["score"] for c in result.document["report"]["cards"]))
    chosen = st.selectbox("A score in depth", names, format_func=title_of, key="lab-score", bind="query-params")
    cells = result.cards(chosen)
    tested = [c for c in cells if c["found"]["ic"] is not None]
    if not tested:
        st.info(f"{title_of(chosen)} could not be judged: {cells[0]['words'] if cells else 'it was not part of the run'}")
        return
    stamp = (chosen, result.made_at, str(interval))
    left, right = st.columns([3, 2])
    with left:
        st.markdown("Rank IC with its 95 % interval, by symbol and horizon")
        theme.draw(theme.kept(partial(charts_lab.coefficients, tested), "lab-ic", *stamp), key="lab-ic", file_name=f"{chosen}-ic",
                   alt=f"Information coefficients of {title_of(chosen)}")
    with right:
        pooled = next(p for p in result.document["report"]["pooled"] if p["score"] == chosen)
        st.markdown("Decay over the horizon, mean over symbols")
        theme.draw(theme.kept(partial(charts_lab.decay, pooled), "lab-decay", *stamp), key="lab-decay", file_name=f"{chosen}-decay",
                   alt="Mean IC by horizon")
        labels = [f"{c['symbol']} · {c['target']} · {c['horizon_bars']} bars" for c in tested]
        number = st.selectbox("One test", range(len(tested)), format_func=labels.__getitem__, key="lab-cell")
        one_test(tested[number or 0], (*stamp, number))
    schemes(result, chosen)


def one_test(cell: dict[str, Any], stamp: tuple[Any, ...]) -> None:
    """A single score, symbol and horizon."""
    st.markdown(widgets.plain(cell["words"]))
    for warning in cell["warnings"]:
        st.warning(warning)
    facts = [f"n {cell['found']['n']:,}", f"worth {cell['found']['n_eff']:.0f} separate outcomes"]
    if cell["hit"]:
        facts.append(f"hit rate {cell['hit']['share']:.1%} [{cell['hit']['low']:.1%}, {cell['hit']['high']:.1%}]")
    if cell["event"]:
        facts.append(f"AUC {cell['event']['auc']['value']:.3f}, base rate {cell['event']['base_rate']:.1%}")
    st.caption(" · ".join(facts))
    pictures = [("Mean outcome by fifths of the score", partial(charts_lab.quintiles, cell))] if cell["quintiles"] else []
    if cell["by_regime"]:
        pictures.append(("IC by regime", partial(charts_lab.groups, cell["by_regime"])))
    if cell["by_quarter"]:
        pictures.append(("IC by quarter", partial(charts_lab.groups, cell["by_quarter"])))
    for words, build in pictures:
        st.caption(words)
        theme.draw(theme.kept(build, "lab-test", words, *stamp), key=f"lab-{words}", file_name=words.lower().replace(" ", "-"), alt=words)


def schemes(result: LabResult, chosen: str) -> None:
    """The default beside other ways to combine the same inputs."""
    by_symbol = result.document["schemes"].get(chosen, {})
    rows = [{"Symbol": symbol, "Scheme": row["scheme"], "IC": row["found"]["ic"] if row["found"] else None, "Difference": row["d_ic"],
             "From": row["d_low"], "To": row["d_high"], "Would replace": "yes" if row["replaces"] else "no", "Why not": row["reason"]}
            for symbol, found in by_symbol.items() for row in found]
    if not rows:
        return
    st.markdown("Other ways to combine the same inputs")
    frame = pd.DataFrame(rows)
    number = st.column_config.NumberColumn(format="%+.3f")
    st.dataframe(frame, hide_index=True, width="stretch", placeholder="", column_config={
        "IC": number, "Difference": st.column_config.NumberColumn(
            format="%+.3f", help="Its IC minus the default's, in the expected direction."),
        "From": number, "To": number})
    widgets.download(frame, f"schemes-{chosen}")


def recommendation(result: LabResult, sextant: Sextant) -> None:
    """The run's own answer to: are these scores meaningful?"""
    document = result.document
    verdicts = ", ".join(f"**{n}** {v}" for v, n in document["report"]["verdicts"].items() if n)
    st.markdown(f"{document['report']['tested']} tests in one family: {verdicts}.")
    with st.container(border=True):
        st.markdown("**Are the composites meaningful?**\n\n" + "\n".join(f"- {widgets.plain(line)}" for line in document["answer"]))
        if document["null"]:
            st.markdown(f"**On noise:** {widgets.plain(document['null']['words'])}")
    st.caption(f"{document['bars']:,} bars of {', '.join(document['symbols'])} to {document['as_of'][:16]} · {document['world']} data · "
               f"made {result.made_at[:16]} UTC")


with guarded("the score lab"):
    result = sextant.lab_result(interval, market)
    if result is None:
        st.markdown("Every score here is on trial: does it go before what it claims to go before, and with what certainty? "
                    f"Nothing has been judged at {interval} yet.")
        controls(result)
    else:
        recommendation(result, sextant)
        overview(result)
        depth(result)
        st.subheader("Another run", anchor=False)
        controls(result)
    with st.expander("How is this computed?", icon=":material/functions:"):
        st.markdown("Rank IC is the mean product of the standardised ranks of score and outcome. Its interval is autocorrelation-robust "
                    "(Bartlett, fixed-b critical values: Kiefer & Vogelsang 2005), its p-value the share of circular shifts of the score "
                    "in time that give as much. All scores, horizons and symbols of a run are one family: q-values by Benjamini & "
                    "Hochberg (1995). A null world redraws the sign of every bar by a coin that all symbols share. docs/methods.md has "
                    "the formulas.")
settle()
