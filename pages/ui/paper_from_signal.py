"""From a signal's card to the paper account: one confirmation, then the runner fills it at the next open."""

from __future__ import annotations

import streamlit as st

from core.paper import by_hand
from core.sextant import Sextant
from core.signals import SignalCard
from data.errors import SextantError
from pages.ui import paper_asking, widgets
from pages.ui.session import may_write


def offer(sextant: Sextant, card: SignalCard) -> None:
    """The button below a card that wants to enter, or how to come to one."""
    if card.entry is None or card.signal == "HOLD":
        return
    status = sextant.paper_status()
    terms = status.get("terms")
    if terms is None or card.symbol not in terms["symbols"] or str(by_hand.option(status, "market")) != str(card.market):
        why = "No paper account is open" if terms is None else (f"Paper account {status['account']} does not trade {card.symbol} "
                                                                f"{card.market}")
        left, right = st.columns([4, 1.4], vertical_alignment="center")
        left.caption(f"{why}. Open one with {card.symbol} on the Paper page; then this signal can be paper-traded from here.")
        with right:
            st.page_link("pages/paper_trading.py", label="Paper page", icon=":material/account_balance_wallet:",
                         query_params={"symbol": card.symbol, "interval": str(card.interval), "market": str(card.market)})
        return
    if not may_write():
        st.caption("Viewing only: paper-trading a signal is the owner's.")
        return
    done = st.session_state.pop("pp-done", None)
    if done:
        st.toast(done)
    place = f"signal-{card.symbol}"
    if st.button("Paper-trade this", icon=":material/account_balance_wallet:", key=f"pp-signal-{card.symbol}"):
        account = sextant.broker.account()
        assert account is not None
        price = sextant.paper_price(card.symbol, account)
        try:
            content = by_hand.order(status, card.symbol, "long" if card.signal == "BUY" else "short", price, stop=card.stop_loss,
                                    target=card.take_profit)
            paper_asking.ask(place, "place", by_hand.order_words(status, card.symbol, content, price), card.symbol, content)
        except SextantError as error:
            st.session_state.pop(paper_asking.ASKED, None)
            st.error(widgets.plain(str(error)), icon=":material/error:")
    paper_asking.confirm(sextant, place, alive=status["runner"]["alive"])
