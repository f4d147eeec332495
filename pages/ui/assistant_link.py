"""The link that asks the assistant about what a page shows. It only prepares the question; it is asked there by a click."""

from __future__ import annotations

import streamlit as st

from data.market import SeriesKey


def ask_about(question: str, key: SeriesKey, *, label: str = "Ask about this") -> None:
    """A link to the Assistant with the series and the question in its address."""
    st.page_link("pages/ask.py", label=label, icon=":material/forum:",
                 query_params={"symbol": key.symbol, "interval": str(key.interval), "market": str(key.market), "ask": question})
