"""From the paper account's holdings to the target: the orders, what they cost, and one confirmation."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from core.portfolio import Allocation
from core.portfolio_account import CAPITAL, terms_for
from core.portfolio_plan import Rebalancing
from core.sextant import Sextant
from data.errors import SextantError
from pages.ui import widgets
from pages.ui.session import ask_owner, may_write
from pages.ui.widgets import short

ACTS = {"place": "▲ buy", "reduce": "▼ sell", "close": "▼ sell all"}
CONFIRM, DONE = "al-confirm", "al-done"


def rebalance(sextant: Sextant, found: Allocation, band: float) -> None:
    """The plan, or the account it needs first."""
    done = st.session_state.pop(DONE, None)
    if done:
        st.success(done, icon=":material/check_circle:")
    plan = sextant.rebalancing(found, band=band)
    if plan.account is None:
        st.info("No paper account is open yet. One for this portfolio is traded by its plans alone: no rule of its own, every limit on.",
                icon=":material/account_balance_wallet:")
        _open(sextant, found, first=True)
        return
    _answer(plan)
    _table(plan)
    for words in plan.notes:
        st.caption(widgets.plain(words[:1].upper() + words[1:] + "."))
    if plan.problem:
        st.warning(widgets.plain(plan.problem[:1].upper() + plan.problem[1:] + "."), icon=":material/block:")
    elif plan.orders:
        _send(sextant, plan)
    if not may_write():
        ask_owner()
        return
    with st.expander("Open a new account for this portfolio", icon=":material/restart_alt:", expanded=bool(plan.problem)):
        _open(sextant, found, first=False)


def _answer(plan: Rebalancing) -> None:
    if not plan.orders:
        st.markdown(f"**Nothing to do: every weight lies within {plan.band:.1%} of its target, or is left alone.**")
        return
    st.markdown(f"**{len(plan.orders)} order{'s' if len(plan.orders) > 1 else ''} move {plan.turnover:.0%} of account {plan.account}'s "
                f"{plan.equity:,.2f} and cost about {plan.cost:,.2f}.**")


def _table(plan: Rebalancing) -> None:
    rows = [{"symbol": o.symbol, "act": ACTS[o.kind], "quantity": o.quantity, "value": o.notional, "cost": o.cost, "now": o.now,
             "target": o.target, "why": ""} for o in plan.orders]
    rows += [{"symbol": s, "act": "■ left", "quantity": None, "value": None, "cost": None, "now": now, "target": target, "why": why}
             for s, now, target, why in plan.left]
    if not rows:
        return
    frame = pd.DataFrame(rows)
    st.dataframe(frame, hide_index=True, width="stretch", placeholder="", key="al-table-plan", column_config={
        "symbol": st.column_config.TextColumn("Symbol", pinned=True), "act": st.column_config.TextColumn("Act"),
        "quantity": st.column_config.NumberColumn("Quantity", format="%.8g", help="In base currency, on the exchange's step."),
        "value": st.column_config.NumberColumn("Value", format="%.2f", help="At the newest price; it fills at the next open."),
        "cost": st.column_config.NumberColumn("Cost", format="%.2f", help="Taker fee and slippage of the account's terms."),
        "now": st.column_config.NumberColumn("Now", format="percent", help="Share of equity held."),
        "target": st.column_config.NumberColumn("Target", format="percent"),
        "why": st.column_config.TextColumn("Why left", width="medium")})
    widgets.download(frame, "rebalancing")


def _send(sextant: Sextant, plan: Rebalancing) -> None:
    """One confirmation for all orders; the key of the plan makes a second click no second order."""
    if not may_write():
        return
    if st.session_state.get(CONFIRM) != plan.key:
        if st.button("Send to the paper account", type="primary", icon=":material/send:", key="al-send"):
            st.session_state[CONFIRM] = plan.key
            st.rerun()
        return
    alive = sextant.paper_status()["runner"]["alive"]
    with st.container(border=True):
        when = "The runner does them before the next bar." if alive else "**No runner is at work:** they wait until one is started."
        st.markdown(widgets.plain(f"{len(plan.orders)} orders, {plan.turnover:.0%} of equity, about {plan.cost:,.2f} in costs. {when} It "
                                  f"is paper: no real order is sent."))
        with st.container(horizontal=True):
            yes = st.button("Yes, send them", type="primary", key="al-yes")
            if st.button("No", key="al-no"):
                del st.session_state[CONFIRM]
                st.rerun()
    if yes:
        try:
            keys = sextant.send_rebalancing(plan)
        except SextantError as error:
            st.error(widgets.plain(str(error)), icon=":material/error:")
            return
        del st.session_state[CONFIRM]
        st.session_state[DONE] = f"{len(keys)} orders are kept for the runner: done before the next bar, inside the account's limits."
        st.rerun()


def _open(sextant: Sextant, found: Allocation, *, first: bool) -> None:
    """An account whose terms fit a portfolio; a new one only after a second press."""
    if not may_write():
        ask_owner()
        return
    terms = terms_for(found.asked, sextant.intervals(found.asked.symbols[0], found.asked.market))
    a, b = st.columns([1, 3], vertical_alignment="bottom")
    capital = a.number_input("Start capital", value=CAPITAL, step=1000.0, format="%g", key="al-capital",
                             help="In quote currency, invented.")
    b.caption(f"By hand, {terms.options['interval']} {terms.options['market']}, on {', '.join(map(short, terms.symbols))}; at most one "
              f"position a symbol, up to all of equity; kill switch at a drawdown of {terms.options['kill_switch']:.0%}."
              + ("" if first else " The account that is open now is closed with its positions; its record stays."))
    asked = st.session_state.get("al-open")
    if not first and not asked:
        if st.button("Open it", icon=":material/restart_alt:", key="al-open-ask"):
            st.session_state["al-open"] = True
            st.rerun()
        return
    if st.button("Open the account" if first else "Yes, open it", type="primary", icon=":material/play_arrow:", key="al-open-yes"):
        try:
            account = sextant.paper_open(terms_for(found.asked, sextant.intervals(found.asked.symbols[0], found.asked.market),
                                                   capital=float(capital or 0.0)))
            if not sextant.paper_status()["runner"]["alive"]:
                sextant.start_runner()
        except SextantError as error:
            st.error(widgets.plain(str(error)), icon=":material/error:")
            return
        st.session_state.pop("al-open", None)
        st.session_state[DONE] = f"Account {account.number} is open, and its runner was started."
        st.rerun()
