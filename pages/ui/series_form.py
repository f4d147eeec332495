"""Choosing series: symbols of one market at one interval, beginning with what the sidebar shows."""

from __future__ import annotations

import streamlit as st

from core.sextant import Sextant
from data.market import Market
from pages.ui.session import Focus


def series(sextant: Sextant, here: Focus, prefix: str, *, together: str) -> tuple[list[str], str, str]:
    """Draw the choice. `prefix` begins the widgets' keys, `together` says what becomes of several symbols. Returns symbols, interval and
    market, unchecked."""
    place = f"{here.symbol}-{here.key.interval}-{here.key.market}"  # another choice in the sidebar is another beginning
    a, b, c = st.columns([4, 1, 1], vertical_alignment="bottom")
    markets = [str(m) for m in Market]
    market = c.selectbox("Market", markets, index=markets.index(str(here.key.market)), key=f"{prefix}-market-{place}",
                         help="spot, or perp: perpetual futures, which can be sold short and pay funding.", persist_state="session")
    held = list(sextant.symbols(Market.parse(market)))
    symbols = a.multiselect("Symbols", held, default=[here.symbol] if here.symbol in held else [], help=together,
                            key=f"{prefix}-symbols-{place}-{market}", persist_state="session")
    now = str(here.key.interval)
    intervals = [str(i) for i in sextant.intervals(here.symbol, Market.parse(market))] or [now]
    interval = b.selectbox("Interval", intervals, index=intervals.index(now) if now in intervals else 0, help="Length of a bar.",
                           key=f"{prefix}-interval-{place}-{market}", persist_state="session")
    return symbols, interval, market
