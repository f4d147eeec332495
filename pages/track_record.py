"""History: what the paper accounts and the models really did, from a record that cannot be edited unseen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from pages.ui import frozen_log, paper_history, paper_predictions, paper_proof
from pages.ui.session import guarded, settle, workbench

sextant = workbench()
CHANGES_IT = ("fills", "cash", "orders", "decisions", "accounts")


@st.cache_data(ttl=600, max_entries=4, show_spinner=False)
def told(home: str, world: str, heads: tuple[str, ...]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Trades and signals, worked out anew when the ledger has grown."""
    return workbench().paper_history()


with guarded("the history"):
    exists = sextant.paper_ledger.path.exists()
    known = sextant.paper_ledger.heads() if exists else {}
    trades, signals = told(str(sextant.settings.home), str(sextant.world), tuple(known.get(t, "") for t in CHANGES_IT))
    frozen = frozen_log.rows(sextant)
    st.markdown(paper_history.headline(trades, len({t["account"] for t in trades})))
    st.markdown(paper_predictions.headline(frozen_log.grades(sextant, frozen)))
    if exists:
        paper_proof.proof(sextant)
    views: dict[str, Callable[[], None]] = {
        "Closed trades": lambda: paper_history.trades(trades), "Signals": lambda: paper_history.signals(signals),
        "Predictions": lambda: paper_predictions.predictions(sextant, frozen)}
    for tab, (title, draw) in zip(st.tabs(list(views), key="hs-tab", on_change="rerun"), views.items(), strict=True):
        if tab.open:
            with tab, guarded(title.lower()):
                draw()
    with st.expander("How is this computed?", icon=":material/functions:"):
        st.markdown(
            "Trades are worked out from the fills of the ledger, in decimals, after fees, slippage and funding. A share that was won has "
            "its Wilson (1927) interval. A signal is a rule's wish to enter at a close; what came of it is the trade with the order's own "
            "key, or the reason there was none. A prediction is written before its outcome is known, with the code's version and the class "
            "frequencies of that time; it is graded by the label's own function on raw candles, never by hand. Brier (1950): half the sum "
            "of squared differences between stated probabilities and what came. The reliability curve has bins of equal mass; a point on "
            "the dotted line came true as often as it was stated.")
settle()
