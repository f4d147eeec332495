"""What a person tells the account: each act with its one confirmation, then kept for the runner."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import streamlit as st

from core.paper import by_hand
from core.sextant import Sextant
from data.errors import SextantError
from pages.ui import widgets
from pages.ui.session import may_write

Status = Mapping[str, Any]
ASKED = "pp-asked"


def ask(place: str, kind: str, words: str, symbol: str = "", content: Mapping[str, Any] | None = None) -> None:
    """Remember what is asked until it is confirmed. Its key is made here, so that a second click is no second order."""
    st.session_state[ASKED] = {"place": place, "kind": kind, "words": words, "symbol": symbol, "content": dict(content or {}),
                               "key": f"{kind}-{uuid.uuid4().hex[:10]}"}


def confirm(sextant: Sextant, place: str, *, alive: bool) -> None:
    """The one confirmation, where something was asked in this place."""
    asked = st.session_state.get(ASKED)
    if asked is None or asked["place"] != place or not may_write():
        return
    with st.container(border=True):
        when = "The runner does it before the next bar." if alive else "**No runner is at work:** it waits until one is started."
        st.markdown(widgets.plain(f"{asked['words']} {when} It is paper: no real order is sent."))
        with st.container(horizontal=True):
            yes = st.button("Yes, do it", type="primary", key=f"pp-yes-{place}")
            if st.button("No", key=f"pp-no-{place}"):
                del st.session_state[ASKED]
                st.rerun()
        if not yes:
            return
        try:
            sextant.paper_ask(asked["kind"], asked["symbol"], asked["content"], key=asked["key"])
        except SextantError as error:
            st.error(widgets.plain(str(error)), icon=":material/error:")
            return
    del st.session_state[ASKED]
    st.session_state["pp-done"] = "Kept for the runner: done before the next bar."
    st.rerun()


def newest(sextant: Sextant) -> None:
    """The newest acts by hand and what each came to: a refusal has its reason here."""
    account = sextant.broker.account()
    rows = [] if account is None else sextant.paper_rows(account, "asked")[:3]
    lines = [f"Asked {widgets.local_text(r['at_ms'])}, {' '.join(filter(None, (r['kind'], r['symbol'])))}: "
             f"{'waits for the runner' if r['words'] is None else r['words']}" for r in rows]
    if lines:
        st.caption(widgets.plain("  \n".join(lines)))


def positions(sextant: Sextant, status: Status) -> None:
    """Change the levels of a position, or close it; cancel an order."""
    if not may_write():
        return
    alive = status["runner"]["alive"]
    held = {p["symbol"]: p for p in status["positions"]}
    waiting = [o["symbol"] for o in status["orders"]]
    if held:
        with st.expander("Change or close a position", icon=":material/edit:", expanded=_asked_here("position")):
            symbol = st.selectbox("Position", list(held), key="pp-position") or next(iter(held))
            _levels(held[symbol])
            confirm(sextant, "position", alive=alive)
    if waiting:
        with st.expander("Cancel an order", icon=":material/cancel:", expanded=_asked_here("order")):
            a, b = st.columns([3, 1], vertical_alignment="bottom")
            symbol = a.selectbox("Order", waiting, key="pp-order") or waiting[0]
            if b.button("Cancel it", key="pp-cancel", width="stretch"):
                ask("order", "cancel", f"The waiting order of {symbol} is taken back.", symbol)
            confirm(sextant, "order", alive=alive)
    newest(sextant)


def _asked_here(place: str) -> bool:
    return (st.session_state.get(ASKED) or {}).get("place") == place


def _levels(p: Mapping[str, Any]) -> None:
    symbol, way = p["symbol"], "long" if p["side"] > 0 else "short"
    with st.form(f"pp-levels-{symbol}", border=False):
        a, b, c = st.columns([1, 1, 1], vertical_alignment="bottom")
        stop = a.number_input("Stop", value=p["stop"], format="%.8g", step=None, key=f"pp-stop-{symbol}-{p['stop']}", placeholder="none")
        target = b.number_input("Target", value=p["target"], format="%.8g", step=None, key=f"pp-target-{symbol}-{p['target']}",
                                placeholder="none", help="Empty: no target.")
        change = c.form_submit_button("Change the levels", icon=":material/tune:", width="stretch")
    with st.form(f"pp-close-{symbol}", border=False):
        a, _, c = st.columns([1, 1, 1], vertical_alignment="bottom")
        quantity = a.number_input("Quantity", value=None, format="%.8g", key=f"pp-part-{symbol}", placeholder="all of it",
                                  help=f"In base currency, of {p['quantity']:g}. Empty: the whole position.")
        close = c.form_submit_button("Close", icon=":material/logout:", width="stretch")
    try:
        if change:
            content = by_hand.levels(p, stop=stop, target=target)
            said = " and ".join(f"{n} {'none' if v is None else f'{v:g}'} (was {'none' if p[n] is None else f'{p[n]:g}'})"
                                for n, v in content.items())
            ask("position", "modify", f"The {way} position in {symbol} gets {said}; the price is {p['price']:g}.", symbol, content)
        elif close and quantity is not None:
            content = by_hand.part(p, quantity)
            ask("position", "reduce", f"{quantity:g} of {p['quantity']:g} {symbol} leave at the next open, about {p['price']:g}.", symbol,
                content)
        elif close:
            ask("position", "close", f"The {way} position of {p['quantity']:g} {symbol} leaves at the next open, about {p['price']:g}; "
                                     f"its profit now is {p['pnl']:+,.2f}.", symbol)
    except SextantError as error:
        st.session_state.pop(ASKED, None)
        st.error(widgets.plain(str(error)), icon=":material/error:")


def order(sextant: Sextant, status: Status) -> None:
    """An order by hand."""
    if not may_write():
        st.caption("Viewing only: orders by hand are the owner's.")
        return
    account = sextant.broker.account()
    assert account is not None
    symbols = status["terms"]["symbols"]
    symbol = st.selectbox("Symbol", symbols, key="pp-hand-symbol") or symbols[0]
    price = sextant.paper_price(symbol, account)
    st.caption(f"{symbol} is at {price:g}. The order is filled at the next open, or at the limit, with the costs of the account. Without a "
               "quantity it is sized by the account's rule; every limit applies.")
    with st.form("pp-hand", border=False):
        a, b, c = st.columns(3)
        side = a.selectbox("Side", list(by_hand.SIDES), key="pp-hand-side")
        stop = b.number_input("Stop", value=None, format="%.8g", key=f"pp-hand-stop-{symbol}", placeholder="a price")
        target = c.number_input("Target", value=None, format="%.8g", key=f"pp-hand-target-{symbol}", placeholder="none")
        a, b, c = st.columns(3, vertical_alignment="bottom")
        limit = a.number_input("Limit", value=None, format="%.8g", key=f"pp-hand-limit-{symbol}", placeholder="at the market")
        quantity = b.number_input("Quantity", value=None, format="%.8g", key=f"pp-hand-quantity-{symbol}", placeholder="by the sizing",
                                  help="In base currency.")
        go = c.form_submit_button("Look at the order", icon=":material/visibility:", width="stretch", type="primary")
    if go:
        try:
            content = by_hand.order(status, symbol, side, price, stop=stop, target=target, limit=limit, quantity=quantity)
            ask("hand", "place", by_hand.order_words(status, symbol, content, price), symbol, content)
        except SextantError as error:
            st.session_state.pop(ASKED, None)
            st.error(widgets.plain(str(error)), icon=":material/error:")
    confirm(sextant, "hand", alive=status["runner"]["alive"])
    newest(sextant)
