"""What pages open with: the watchlist, the interval and the market."""

from __future__ import annotations

import re

import streamlit as st

from core.sextant import Sextant
from data.market import Interval, Market
from pages.ui import preferences_saving as saving


def market(sextant: Sextant) -> None:
    s = sextant.settings
    with st.form("pf-market", border=False):
        text = st.text_area("Watchlist", ", ".join(s.watchlist), key=f"pf-watchlist-{','.join(s.watchlist)}", height=110,
                            disabled=saving.locked(s, "watchlist"),
                            help=saving.explain(s, "watchlist", "1 to 100 symbols in the exchange's spelling, e.g. BTCUSDT; separated by "
                                                                "commas, spaces or lines. Boards show them in this order."))
        a, b = st.columns(2)
        intervals, markets = [str(i) for i in Interval], [str(m) for m in Market]
        interval = a.selectbox("Interval", intervals, index=intervals.index(str(s.interval)), key=f"pf-interval-{s.interval}",
                               disabled=saving.locked(s, "interval"),
                               help=saving.explain(s, "interval", "What pages open with; the sidebar changes it for one visit."))
        kind = b.selectbox("Market", markets, index=markets.index(str(s.market)), key=f"pf-market-{s.market}",
                           disabled=saving.locked(s, "market"), help=saving.explain(s, "market", "spot, or perp: perpetual futures."))
        pressed = saving.submit()
    if pressed:
        symbols = [w.upper() for w in re.split(r"[\s,;]+", text) if w]
        saving.save({"watchlist": list(dict.fromkeys(symbols)), "interval": interval, "market": kind})
