"""Composites on the Analysis page: cards, what they are made of, what changed, what would flip them, agreement across timeframes."""

from __future__ import annotations

from functools import partial

import streamlit as st

from analysis.composites import COMPOSITES, Composite
from analysis.report import ModuleReport
from analysis.scorecard import Scorecard
from core.sextant import Sextant
from data.errors import DataError
from data.market import DAY_MS, HOUR_MS, Interval, SeriesKey
from pages.ui import charts_scores, theme, widgets
from pages.ui.session import kept

SPANS = {"an hour": HOUR_MS, "4 hours": 4 * HOUR_MS, "a day": DAY_MS, "3 days": 3 * DAY_MS, "a week": 7 * DAY_MS}
HISTORY_BARS = 200
TIMEFRAMES = (Interval.M5, Interval.M15, Interval.H1, Interval.H4, Interval.D1)


def boards(sextant: Sextant, card: Scorecard) -> None:
    """Composites and modules side by side, a line each: bar, word, coverage, and what the score lab says."""
    lab = sextant.lab_result(card.interval, card.market)
    mixed = [(c.title, card.composite(c.name)) for c in COMPOSITES]
    modules = [(f"{r.letter} · {sextant.module(r.letter).short}", r) for r in card.reports]
    for column, title, rows in zip(st.columns(2), ("Composites", "Modules"), (mixed, modules), strict=True):
        with column:
            board(title, rows, lab)


def board(title: str, rows: list[tuple[str, ModuleReport]], lab: object) -> None:
    """One table of scores. Unknown is empty; its tab says why."""
    lines = [{title: name, "Score": widgets.shown_bar(r),
              "Word": r.label.replace("_", " ").lower() if r.score is not None else "unknown",
              "Known": round(r.coverage, 2), "Lab": verdict_words(lab, r)} for name, r in rows]
    st.dataframe(lines, hide_index=True, width="stretch", placeholder="", height=36 + 35 * len(lines), key=f"board-{title}", column_config={
        title: st.column_config.TextColumn(pinned=True, width=116),
        "Score": st.column_config.ProgressColumn(min_value=0.0, max_value=1.0, format="%.2f", width=98, color=theme.ACCENT,
                                                 help="On 0 to 1; sentiment and leaders, which are signed, have their zero in the middle."),
        "Word": st.column_config.TextColumn(width=86, help="The band the score lies in. Why one is unknown stands in its tab."),
        "Known": st.column_config.NumberColumn(format="percent", width=58, help="How much of the score's weight is known and fresh."),
        "Lab": st.column_config.TextColumn(width=88, help="What the score lab found of it on this interval: supported, weak, no evidence, "
                                                          "contradicted or insufficient.")})


def verdict_words(lab: object, report: ModuleReport) -> str:
    """What the score lab says of a score; or that nobody has asked it yet."""
    from core.score_lab import LabResult

    return lab.verdict(report.letter or report.slug) if isinstance(lab, LabResult) else "not judged yet"


def composite_tab(sextant: Sextant, key: SeriesKey, card: Scorecard) -> None:
    """One composite in depth."""
    names = {c.title: c for c in COMPOSITES}
    chosen = st.pills("Composite", list(names), default=COMPOSITES[0].title, key="composite", required=True, label_visibility="collapsed")
    composite = names[chosen or COMPOSITES[0].title]
    report = card.composite(composite.name)
    st.markdown(f"**{composite.question}** {widgets.answer(report)}")
    picture, fall = st.columns([3, 2])
    with picture, st.spinner("Looking back ...", show_time=False):
        _history(sextant, key, composite)
    with fall:
        if report.raw is None:
            st.info(report.reason)
        else:
            st.markdown(f"What it is made of (raw {report.raw:+.4f}, {composite.link})")
            figure = theme.kept(partial(charts_scores.waterfall, report, signed=composite.kind.low < 0), "fall", composite.name,
                                sextant.content(key))
            theme.draw(figure, key=f"fall-{composite.name}", file_name=f"{key.symbol}-{composite.name}-parts",
                       alt=f"Contributions to {composite.title}")
    left, right = st.columns(2)
    with left:
        _changed(sextant, key, composite)
    with right:
        _flips(sextant, key, composite)
    widgets.parts_table(report)
    with st.expander("How is this computed?", icon=":material/functions:"):
        st.markdown(widgets.plain(composite.explanation()))
        st.caption(f"Weights of its coverage: {', '.join(f'{name} {weight:g}' for name, weight in composite.weights.items())}; "
                   f"version {composite.weights_version}; horizon {composite.horizon}.")


def _history(sextant: Sextant, key: SeriesKey, composite: Composite) -> None:
    line = sextant.composite_line(composite.name, key, HISTORY_BARS)
    figure = theme.kept(lambda: charts_scores.history(line.close_time, {composite.title: line.score, "coverage": line.coverage},
                                                      colours=(theme.ACCENT, theme.NEUTRAL),
                                                      levels=((0.5, "neutral"),) if composite.kind.low < 0 else (), height=300),
                        "composite", composite.name, sextant.content(key))
    theme.draw(figure, key=f"composite-{composite.name}", file_name=f"{key.symbol}-{composite.name}",
               alt=f"{composite.title} of {key.symbol} over {HISTORY_BARS} bars")


def _changed(sextant: Sextant, key: SeriesKey, composite: Composite) -> None:
    """What moved it, between then and now."""
    span = st.segmented_control("What changed in", list(SPANS), default="a day", key="changed-span", required=True) or "a day"
    newest = sextant.reader.last_close_ms(key)
    if newest is None:
        return
    try:
        change = kept(lambda: sextant.what_changed(composite.name, key, newest + 1 - SPANS[span]), "changed", composite.name, span, newest,
                      sextant.content(key))
    except DataError as error:
        st.caption(widgets.plain(str(error)))
        return
    when = widgets.local_text(change.before_ms + 1)
    st.markdown(f"{change.score_before:.3f} → **{change.score_after:.3f}** ({change.change:+.3f}) since {when}")
    rows = [{"Part": widgets.part_title(sextant, name), "Share of the move": share} for name, share in change.parts.items()
            if abs(share) > 5e-5][:8]
    st.dataframe(rows, hide_index=True, width="stretch", placeholder="", column_config={
        "Share of the move": st.column_config.NumberColumn(format="%+.4f", help="The parts add up to the move of the score.")})


def _flips(sextant: Sextant, key: SeriesKey, composite: Composite) -> None:
    """The smallest changes of one input that would change the word."""
    st.markdown("What would change the word")
    found = kept(lambda: sextant.flips(composite.name, key), "flips", composite.name, sextant.content(key))
    near = [f for f in found if f.reachable][:6]
    if not near:
        st.caption("No single input can change it from here, or its parts do not simply add up.")
        return
    rows = [{"Input": widgets.part_title(sextant, f.name), "Now": f.k_now, "Needed": f.k_needed, "Then": f.towards} for f in near]
    st.dataframe(rows, hide_index=True, width="stretch", column_config={
        "Now": st.column_config.NumberColumn(format="%+.3f", help="Unit score of the input: -1 to 1, or 0 to 1 for risks."),
        "Needed": st.column_config.NumberColumn(format="%+.3f", help="All else equal.")})


def _trend(sextant: Sextant, key: SeriesKey) -> ModuleReport:
    return kept(lambda: sextant.report("A", key), "trend", sextant.content(key))


def timeframes(sextant: Sextant, key: SeriesKey) -> None:
    """Module A on every held timeframe, and how far the signs agree; never averaged into a score."""
    rows: list[dict[str, object]] = []
    weight = lean = 0.0
    for interval in TIMEFRAMES:
        if interval not in sextant.intervals(key.symbol, key.market):
            continue
        try:
            report = _trend(sextant, key.at(interval))
        except DataError as error:
            rows.append({"Interval": str(interval), "Trend": None, "Label": str(error)[:60], "Coverage": None, "As of": ""})
            continue
        rows.append({"Interval": str(interval), "Trend": report.score, "Label": report.label or report.reason[:60],
                     "Coverage": report.coverage, "As of": widgets.local_text(report.as_of_ms + 1)})
        if report.raw is not None:
            weight += abs(report.raw)
            lean += report.raw
    st.dataframe(rows, hide_index=True, width="stretch", column_config={
        "Trend": st.column_config.ProgressColumn(min_value=0.0, max_value=1.0, format="%.2f", color=theme.MODULE["A"]),
        "Coverage": st.column_config.NumberColumn(format="percent"),
        "As of": st.column_config.TextColumn(help=f"When the newest bar closed, in {widgets.zone().key}.")})
    if weight > 0:
        side = "up" if lean > 0 else "down"
        st.caption(f"Agreement of the signs, weighted by strength: {abs(lean) / weight:.0%} ({side}). A longer timeframe joins by its last "
                   "closed bar; the values are shown side by side, never averaged.")
