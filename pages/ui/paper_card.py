"""What the paper account is doing and what was worth telling, in a few lines for the Overview."""

from __future__ import annotations

import streamlit as st

from core.sextant import Sextant
from pages.ui import widgets

NEWEST = 5
MARKS = {"stop": "▼", "kill": "■", "drawdown": "▼", "anomaly": "◆", "data": "◆", "runner": "■", "signal": "▲", "fill": "●", "level": "◆",
         "drift": "◆", "report": "●"}


def card(sextant: Sextant) -> None:
    """Equity, open positions and the runner beside the newest alerts; nothing while there is neither."""
    status, alerts = sextant.paper_status(), sextant.alerts(newest=NEWEST)
    if status["account"] is None and not alerts:
        return
    left, right = st.columns([2, 3])
    with left.container(border=True):
        if status["account"] is None:
            st.markdown("**Paper account:** none is open.")
        else:
            since = status["equity"] / status["capital"] - 1.0
            held = ", ".join(f"{p['symbol']} {p['pnl']:+.2f}" for p in status["positions"][:4]) or "nothing is held"
            st.markdown(f"**Paper account:** {status['equity']:,.2f}{widgets.quote_of(status['terms']['symbols'])} "
                        f"({widgets.change_text(since)} since the opening); {held}.")
            st.caption(widgets.plain(f"Runner: {status['runner']['words']}" + ("; kill switch on" if status["killed"] else "")))
        st.page_link("pages/paper_trading.py", label="Paper trading", icon=":material/account_balance_wallet:")
    with right.container(border=True):
        st.markdown("**Newest alerts**")
        if not alerts:
            st.caption("None yet.")
        lines = [f"{MARKS.get(a['kind'], '●')} {widgets.local_text(a['at_ms'])} · {a['words'].splitlines()[0][:120]}"
                 for a in alerts[:NEWEST]]
        st.markdown(widgets.plain("  \n".join(lines)))
