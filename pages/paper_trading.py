"""Paper trading: an account that trades its rules on live candles, how it stands, what it did, and what proves it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from pages.ui import paper_asking, paper_now, paper_open, paper_proof, paper_tables
from pages.ui.session import ask_owner, focus, guarded, may_write, settle, workbench

sextant = workbench()
here = focus()


def tabs(status: dict[str, Any]) -> None:
    views: dict[str, Callable[[], None]] = {
        "Positions": lambda: positions(status),
        "Order by hand": lambda: paper_asking.order(sextant, status),
        "Record": lambda: paper_tables.tables(sextant),
        "Backtest twin": lambda: paper_proof.compared(sextant, status),
        "Ledger": lambda: paper_proof.ledger(sextant, status),
        "Account": lambda: paper_open.another(sextant, here, status)}
    for tab, (title, draw) in zip(st.tabs(list(views), key="pp-tab", on_change="rerun"), views.items(), strict=True):
        if tab.open:
            with tab, guarded(title.lower()):
                draw()


def positions(status: dict[str, Any]) -> None:
    paper_now.open_now()
    paper_asking.positions(sextant, status)


with guarded("the paper account"):
    done = st.session_state.pop("pp-done", None)
    if done:
        st.toast(done)
    status = sextant.paper_status()
    if status["account"] is None:
        paper_open.first(sextant, here)
    else:
        paper_now.live()
        paper_now.picture(paper_now.curve(sextant, status), status)
        tabs(status)
        if not may_write():
            ask_owner()
    with st.expander("How is this computed?", icon=":material/functions:"):
        st.markdown(
            "A decision is made at the close of a bar from closed candles alone and filled at the next open; stops and targets are "
            "met inside the bar, the stop first where both are touched, with the fees and slippage of the account's terms: the code "
            "is the backtest's own. A bar that is recorded later than a quarter of the interval after its close is too late to "
            "enter on; exits are still done. Each bar is one transaction of the ledger: decisions, orders, fills, cash, equity and "
            "the state from which the next bar goes on, so a process that is killed loses nothing. Equity is cash plus open "
            "positions at the newest price. “Held equally” puts the start capital in equal parts into the same symbols at the last "
            "close before the opening, without costs.")
settle()
