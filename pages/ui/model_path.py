"""Where the next twenty candles of the sidebar's series may go: four models' answers with their intervals."""

from __future__ import annotations

import streamlit as st

from core.sextant import Sextant
from pages.ui import charts_models, theme, widgets
from pages.ui.model_form import title_of
from pages.ui.model_views import number
from pages.ui.session import Focus, may_write

SHOWN_BARS = 60


def next_candles(sextant: Sextant, here: Focus) -> None:
    """The path as a picture and a table, or how to get one."""
    import pandas as pd

    key = here.key
    with st.spinner("Reading the newest bar ...", show_time=False):
        path = sextant.path(key)
    if not path.points:
        st.info(widgets.plain(f"No forecast of the next candles of {key.symbol} {key.interval} yet. Train its four models: one each for "
                              "1, 5, 10 and 20 bars ahead."), icon=":material/timeline:")
        _train(sextant, here, "Train the four models")
        return
    candles = sextant.candles(key, bars=SHOWN_BARS)
    theme.draw(charts_models.ahead(candles.close_time, candles.close, path.points), key="ml-path", file_name=f"{key.symbol}-next-candles",
               alt=f"The last {SHOWN_BARS} closes of {key.symbol} and four forecasts of the next 20")
    st.caption(f"{widgets.plain(path.words[:1].upper() + path.words[1:])}: what lies between two dots is drawn, not forecast. Band: "
               f"{path.coverage:.0%} conformal intervals of unseen errors. {sextant.status(key).provenance} · bar closed "
               f"{widgets.local_text(path.close_time + 1)} ({widgets.zone().key})")
    table = pd.DataFrame([{"Bars ahead": p.bars, "Closes": widgets.local_text(p.close_time + 1), "Expected": p.price, "At least": p.low,
                           "At most": p.high, "Return": p.expected_return, "No call because": "; ".join(p.reasons) or None}
                          for p in path.points])
    if table["No call because"].isna().all():
        table = table.drop(columns="No call because")
    price = st.column_config.NumberColumn(format="%.6g")
    st.dataframe(table, hide_index=True, width="stretch", placeholder="–", column_config={
        "Bars ahead": st.column_config.NumberColumn(pinned=True, width=90), "Expected": price, "At least": price, "At most": price,
        "Return": st.column_config.NumberColumn(format="percent"), "No call because": st.column_config.TextColumn(width="large")})
    widest = max((p for p in path.points if p.low is not None and p.high is not None), key=lambda p: p.bars, default=None)
    if widest is not None and widest.low is not None and widest.high is not None:
        wide = (widest.high - widest.low) / path.price
        moved = "–" if widest.expected_return is None else f"{abs(widest.expected_return):.2%}"
        st.caption(f"The interval {widest.bars} bars ahead is {number(wide, '.1%')} wide; the expected move in it is {moved}. Asked: "
                   f"{title_of('fwd_ret_vs').lower()}.")
    widgets.download(table, f"next-candles-{key.symbol}")
    _train(sextant, here, "Train them again")


def _train(sextant: Sextant, here: Focus, words: str) -> None:
    if not may_write():
        st.caption("Viewing only: a training is started by the owner.")
        return
    if st.button(words, icon=":material/play_arrow:", key="ml-train-path", help="Quick folds, newest 10,000 bars; a minute or two."):
        sextant.jobs.submit("path", {"symbols": [here.symbol], "interval": str(here.key.interval), "market": str(here.key.market)})
        sextant.jobs.pump()
        st.rerun()
