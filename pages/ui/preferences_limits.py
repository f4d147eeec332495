"""The limits in force: those of the paper account, fixed when it was opened."""

from __future__ import annotations

import streamlit as st

from core.paper import by_hand
from core.sextant import Sextant
from pages.ui.backtest_form import LABEL, OPTION
from pages.ui.paper_open import GROUPS


def limits(sextant: Sextant) -> None:
    status = sextant.paper_status()
    if status["account"] is None:
        st.caption("No paper account is open. Its limits are chosen when it is opened.")
    else:
        st.markdown(f"Paper account {status['account']}:")
        st.dataframe([{"Limit": LABEL[n], "In force": _text(by_hand.option(status, n)), "Meaning": OPTION[n].help[:1].upper()
                       + OPTION[n].help[1:]} for n in ("size", *GROUPS["Limits"])], hide_index=True, width="stretch",
                     column_config={"Meaning": st.column_config.TextColumn(width="large")})
        st.caption("Limits cannot be loosened under an open account: a new account takes new ones. The pauses after three losses in a "
                   "row and after 3 % lost in a day hold always.")
    st.page_link("pages/paper_trading.py", label="Open the Paper page", icon=":material/account_balance_wallet:")


def _text(value: object) -> str:
    return "none" if value is None else "on" if value is True else "off" if value is False else f"{value:g}" \
        if isinstance(value, int | float) else str(value)
