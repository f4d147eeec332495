"""The first minute: what is shown, that nothing can be ordered, and four ways on. Gone for good once somebody has chosen one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import streamlit as st

from core.settings import SAVED, change_settings
from core.sextant import Sextant, World
from data.errors import SextantError
from pages.ui import widgets
from pages.ui.session import may_write, show_world

GONE = "welcome-gone"  # of this visit, where the choice cannot be kept


def nobody_chose(sextant: Sextant) -> bool:
    """Whether this home is as it was made: the simulated exchange is shown, no setting saved, nothing stored, no account opened."""
    return (sextant.world is World.SIMULATED and not (sextant.settings.home / SAVED).exists() and not sextant.holdings()
            and not sextant.paper_accounts())


def welcome(sextant: Sextant) -> None:
    """A box above the board; nothing once somebody has chosen. A guest reads it and finds no button in it."""
    if st.session_state.get(GONE) or not nobody_chose(sextant):
        return
    with st.container(border=True):
        st.markdown("**Welcome.** What you see comes from a simulated exchange inside this program: twelve symbols with real names and "
                    "invented prices. Everything works on it as on real data, so look around first. Nothing can be ordered "
                    "anywhere: Sextant only reads, and trades on paper.")
        if not may_write():
            st.caption("Real data is brought in by the owner, on the Data page.")
            return
        pressed = None
        for column, (label, icon, words, act) in zip(st.columns(4), ways(sextant), strict=True):
            if column.button(label, icon=icon, key=f"wc-{label}", width="stretch", disabled=act is None):
                pressed = act
            column.caption(words)
        if pressed is not None:
            pressed()


def ways(sextant: Sextant) -> tuple[tuple[str, str, str, Callable[[], None] | None], ...]:
    """Four ways on: label, icon, what happens; and what does it, None where it cannot be done here."""
    asks = sextant.outside.allowed
    live = "Asks Binance now. If it answers, the history of the watchlist is fetched and kept up to date from then on." if asks else \
        "Not here: the network is switched off (SEXTANT_NETWORK=off)."
    archive = "Years of candles from data.binance.vision, also where the API is blocked: Back-fill on the Data page." if asks else \
        "Download from data.binance.vision elsewhere, then import the zips on the Data page."
    return (("Live data", ":material/sensors:", live, (lambda: _go_live(sextant)) if asks else None),
            ("Archive", ":material/inventory_2:", archive, _data_page),
            ("My own files", ":material/upload_file:", "Any table with time, open, high, low, close and volume: Import on the Data page.",
             _data_page),
            ("Stay here", ":material/science:", "Keep the simulated exchange. This box does not come back; the Data page has the other "
                                                "ways.", lambda: _stay(sextant)))


def _data_page() -> None:
    st.switch_page("pages/market_data.py")


def _go_live(sextant: Sextant) -> None:
    """Go where somebody answers; what was heard before may be old, so all are asked once more before giving up."""
    outside = sextant.outside
    with st.spinner("Asking the exchange ...", show_time=False):
        there = outside.answers() or (bool(outside.probe()) and outside.answers())
    if not there:
        why = next(iter(outside.degraded()), "No exchange host answered.")
        st.warning(widgets.plain(f"{why} Your own files work all the same."), icon=":material/cloud_off:")
        return
    show_world(World.LOOPBACK if sextant.settings.endpoint else World.REAL)
    st.rerun()


def _stay(sextant: Sextant) -> None:
    """Keep that somebody has decided: a settings file in which nothing is changed."""
    st.session_state[GONE] = True
    with suppress(OSError, SextantError):  # a full or read-only disk costs no more than seeing the box again
        change_settings(sextant.settings, {})
    st.rerun()
