"""Predictions frozen before their outcome, graded: hit rate, Brier against the base rate, reliability, by model, regime and period."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from core.paper.grades import Grades
from core.paper.predictions import PERIODS, Logged
from core.sextant import Sextant
from data.market import DAY_MS
from pages.ui import charts_models, frozen_log, model_form, model_record, theme
from pages.ui.backtest_views import metrics
from pages.ui.widgets import download

EVERY = "all"
NAMES = {1: "rose", 0: "flat", -1: "fell"}
COLOURS = {1: theme.UP, 0: theme.NEUTRAL, -1: theme.DOWN}


def headline(g: Grades) -> str:
    """The predictions in one line."""
    if not g.made:
        return "No prediction is frozen yet."
    words = [f"**{g.made:,} prediction{'s' * (g.made != 1)}** frozen, {g.graded:,} graded"]
    if g.calls:
        words.append(f"{g.right:,} of {g.calls:,} calls right ({g.right / g.calls:.0%})")
    if not math.isnan(g.brier):
        _, low, high = g.skill
        word = "better" if low > 0.0 else "worse" if high < 0.0 else "not told apart from it"
        words.append(f"Brier {g.brier:.4f} against {g.brier_base:.4f} of the base rate: **{word}**")
    return " · ".join(words)


def predictions(sextant: Sextant, rows: Sequence[Logged]) -> None:
    """Filters, figures, reliability, confusion, the table of groups and the rows."""
    if not rows:
        st.info("Nothing has been predicted yet. Train a model and let the runner trade on it, or press Predict now on the Models page: "
                "what it says is frozen, and graded by raw candles when its time has come.", icon=":material/edit_note:")
        st.page_link("pages/model_lab.py", label="Open the Models page", icon=":material/model_training:")
        return
    found = _filtered(rows, sextant.clock.now_ms())
    if not found:
        st.info(f"None of the {len(rows):,} predictions is left. Take a filter away.", icon=":material/filter_alt_off:")
        return
    g = frozen_log.grades(sextant, found)
    tiles(g)
    if g.graded == 0:
        st.caption("Nothing of this is graded yet: a prediction is graded when as many bars have closed as it looks ahead.")
    stamp = frozen_log.content(sextant, found)
    left, right = st.columns(2)
    with left:
        st.markdown("**Does what it states come true?**")
        if g.reliability:
            lines = [(NAMES[c], [{"stated": b.stated, "happened": b.happened, "rows": b.rows} for b in bins], COLOURS[c])
                     for c, bins in g.reliability.items()]
            theme.draw(theme.kept(partial(charts_models.reliability, lines), "hs-reliability", *stamp), key="hs-reliability",
                       file_name="reliability", alt="Stated probability against how often it happened")
        else:
            st.caption("Too few graded probabilities for a curve: 30 are needed.")
    with right:
        st.markdown("**What was called, what came**", help="None: no call, or neither up nor down.")
        if g.graded:
            theme.draw(theme.kept(partial(charts_models.confusion, g.confusion, ("up", "none", "down")), "hs-confusion", *stamp),
                       key="hs-confusion", file_name="confusion", alt="Calls against outcomes")
        else:
            st.caption("Nothing graded yet.")
    _groups(frozen_log.record(sextant, found))
    with st.expander(f"The newest {min(len(found), model_record.NEWEST):,} predictions", icon=":material/list:"):
        model_record.log_table(sextant, found[-model_record.NEWEST:])


def _filtered(rows: Sequence[Logged], now_ms: int) -> list[Logged]:
    a, b, c, d, e = st.columns([2.4, 1.4, 1.4, 1.2, 1], vertical_alignment="bottom")
    sources = a.multiselect("Model", list(dict.fromkeys(r.source for r in reversed(rows))), key="hs-p-source", placeholder="all")
    labels = b.multiselect("Asked", list(dict.fromkeys(r.label for r in rows)), key="hs-p-label", placeholder="all",
                           format_func=model_form.title_of)
    symbols = c.multiselect("Symbol", sorted({r.key.symbol for r in rows}), key="hs-p-symbol", placeholder="all")
    regimes = d.multiselect("Regime", sorted({r.content.get("regime") or "unknown" for r in rows}), key="hs-p-regime", placeholder="all",
                            format_func=lambda w: w.replace("_", " ").lower())
    period = e.selectbox("Period", [EVERY, *(f"{days} d" for days in PERIODS)], key="hs-p-period") or EVERY
    since = 0 if period == EVERY else now_ms - int(period.split()[0]) * DAY_MS
    return [r for r in rows if (not sources or r.source in sources) and (not labels or r.label in labels)
            and (not symbols or r.key.symbol in symbols) and (not regimes or (r.content.get("regime") or "unknown") in regimes)
            and r.bar_ms > since]


def tiles(g: Grades) -> None:
    skill, low, high = g.skill
    beside = None if math.isnan(skill) else f"{skill:+.1%} ({low:+.1%} to {high:+.1%})"
    metrics([("Made", f"{g.made:,}", None, "Frozen when they were made, before the outcome."),
             ("Graded", f"{g.graded:,}", None, "By raw candles, when their time had come."),
             ("Calls right", "–" if not g.calls else f"{g.right / g.calls:.0%}",
              f"{g.low:.0%} to {g.high:.0%}" if g.calls else None, f"{g.right:,} of {g.calls:,} graded calls up or down. Below: the 95 % "
              "Wilson interval; calls whose outcomes overlap count as one."),
             ("No call", f"{g.abstained:,}", f"{g.abstained / g.made:.0%}", "It abstained, with its reason in the row."),
             ("Brier", "–" if math.isnan(g.brier) else f"{g.brier:.4f}", beside, "Mean squared error of the probabilities, 0 to 1, lower "
              "is better. Below: how much lower than that of the base rate, with its 95 % block-bootstrap interval: where it "
              "holds 0, the two are not told apart."),
             ("Base rate", "–" if math.isnan(g.brier_base) else f"{g.brier_base:.4f}", "to be beaten", "The same for the class frequencies "
              "known at the time: what knowing nothing else scores.")])


def _groups(record: Sequence[Mapping[str, Any]]) -> None:
    table = pd.DataFrame([{
        "Model": r["source"], "Regime": r["regime"].replace("_", " ").lower(), "Period": r["period"], "Made": r["made"],
        "Graded": r["settled"], "No call": r["abstained"], "Calls": r["calls"], "Right": r["right"],
        "Hit rate": r["right"] / r["calls"] if r["calls"] else None, "Brier": r["brier"], "Base rate": r["brier_base"],
        "Log loss": r["log_loss"], "TP up": r["up"]["tp"], "FP up": r["up"]["fp"], "TP down": r["down"]["tp"], "FP down": r["down"]["fp"],
        "Inside": r["inside"]} for r in record])
    st.markdown("**By model, regime and period**")
    four = st.column_config.NumberColumn(format="%.4f")
    st.dataframe(table, hide_index=True, width="stretch", placeholder="–", height=min(38 + 35 * len(table), 420), column_config={
        "Model": st.column_config.TextColumn(pinned=True), "Brier": four, "Log loss": four, "Base rate": four,
        **model_record.called_columns(),
        "Hit rate": st.column_config.NumberColumn(format="percent", help="Of graded calls up or down."),
        "Inside": st.column_config.NumberColumn(format="percent", help="Outcomes inside the stated interval; numbers only.")})
    download(table, "history-predictions")
