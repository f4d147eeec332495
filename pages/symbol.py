"""Analysis: one symbol in depth. Candles with overlays and regimes, the module scores, and a tab per module."""

from __future__ import annotations

from functools import partial

import numpy as np
import streamlit as st

from analysis.report import ModuleReport
from pages.ui import (
    assistant_link,
    charts_market,
    charts_scores,
    composite_views,
    forecast_panel,
    module_tabs,
    tabs_positioning,
    theme,
    widgets,
)
from pages.ui.session import focus, guarded, settle, workbench

REGIME_BARS = 500
CANDLE_CHOICES = (200, 500, 1000, charts_market.MOST_CANDLES)

sextant = workbench()
here = focus()
key = here.key


def module_tab(report: ModuleReport) -> None:
    """One module in depth: its answer, its picture, what the score is made of, every metric."""
    module, letter = sextant.module(report.letter), report.letter
    st.markdown(f"**{module.question}** {widgets.answer(report)}")
    picture, fall = st.columns([3, 2])
    with picture, st.spinner("Looking back ...", show_time=False):
        module_tabs.draw(sextant, key, report)
    with fall:
        if report.raw is None:
            st.markdown("Why there is no score")
            st.info(report.reason)
        elif letter != "E":  # its score is no sum of parts
            st.markdown(f"What the score is made of (raw {report.raw:+.4f})")
            figure = theme.kept(partial(charts_scores.waterfall, report, signed=letter not in ("G", "I", "J")), "fall", letter,
                                sextant.content(key))
            theme.draw(figure, key=f"fall-{letter}", file_name=f"{key.symbol}-{report.slug}-parts", alt=f"Contributions to {report.name}")
    if letter == "C":
        tabs_positioning.explain(report)
        tabs_positioning.liquidation_map(sextant, key)
    widgets.parts_table(report)
    widgets.explanation(module, sextant.lookahead_badge(letter))


with guarded("the candles"):
    candles = sextant.candles(sextant.key(key.symbol, key.interval, key.market), bars=charts_market.MOST_CANDLES)
    row = sextant.board_row(key.symbol, key.interval, key.market, score=False)
    places = widgets.decimals(candles.close)
    price = "" if row.price is None else (f" · {widgets.price_text(row.price, places)}{widgets.quote_of([key.symbol])} · "
                                          f"{widgets.change_text(row.change_24h)} in 24 h")
    st.markdown(f"### {key.symbol}{price}")
    assistant_link.ask_about(f"What moved {key.symbol}, and what would change the view?", key)
    scores_slot, chart_slot = st.container(), st.container()

    with chart_slot:
        left, right, last = st.columns([4, 2, 2], vertical_alignment="bottom")
        bars = left.segmented_control("Candles", CANDLE_CHOICES, default=500, key="candles", bind="query-params", required=True,
                                      help="How many candles the chart shows.")
        shade = right.toggle("Regimes", value=True, help="Shades where the market trends: teal up, vermilion down, indigo without a side.")
        last.toggle("Follow", value=True, key="follow", help="Redraw when a candle closes. Off: your zoom stays as it is.")
        chosen = st.pills("Overlays", list(module_tabs.OVERLAYS), default=["EMA 12 / 26", "Bollinger 20"], selection_mode="multi",
                          key="overlays", label_visibility="collapsed")
        shown = candles.tail(int(bars or 500))
        overlays = [module_tabs.OVERLAYS[choice](candles) for choice in chosen]
        lines = {name: values[-len(shown):] for overlay in overlays for name, values in overlay.items()}
        chart = st.empty()

        def candle_chart(sides: np.ndarray | None, name: str) -> None:
            """The chart, with or without regimes behind the candles."""
            behind = None if sides is None else np.concatenate((np.zeros(max(0, len(shown) - len(sides))), sides))[-len(shown):]
            with chart:
                fig = theme.kept(lambda: charts_market.candle_chart(shown, lines, trending=behind, gaps=shown.gaps()),
                                 "candles", name, sextant.content(key), len(shown), tuple(chosen))
                theme.draw(fig, key=f"candles-{name}", file_name=f"{key.symbol}-{key.interval}", alt=f"Candles of {key.symbol}")

        reach = module_tabs.history_bars(key, min(len(shown), REGIME_BARS))
        known = sextant.known_timeline("B", key, reach) if shade else None
        candle_chart(None if known is None else module_tabs.sides_of(known), "shaded" if known else "plain")

    with scores_slot, st.spinner("Scoring ...", show_time=False):
        card = sextant.scores(key)
        composite_views.boards(sextant, card)
    with chart_slot:
        st.caption(widgets.as_of_line(card.provenance, card.as_of_ms))
        if shade and known is None:
            with st.spinner("Reading regimes ...", show_time=False):
                candle_chart(module_tabs.regime_sides(sextant, key, reach), "shaded")

    titles = ["Composites", "Timeframes", "Model", *(f"{r.letter} · {sextant.module(r.letter).short}" for r in card.reports)]
    first, frames, model, *tabs = st.tabs(titles, key="module-tab", on_change="rerun")
    if first.open:
        with first, guarded("the composites"):
            composite_views.composite_tab(sextant, key, card)
    if frames.open:
        with frames, guarded("the timeframes"), st.spinner("Scoring other timeframes ...", show_time=False):
            composite_views.timeframes(sextant, key)
    if model.open:
        with model, guarded("the model"):
            forecast_panel.panel(sextant, key)
    for tab, report in zip(tabs, card.reports, strict=True):
        if not tab.open:
            continue
        with tab, guarded(report.name):
            module_tab(report)
settle()
