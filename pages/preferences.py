"""Settings: what a person may change, each group with its own button; where secrets come from; settings as a file."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from core.settings import origins
from core.sextant import Sextant
from pages.ui import (
    preferences_alerts,
    preferences_assistant,
    preferences_files,
    preferences_limits,
    preferences_market,
    preferences_world,
)
from pages.ui.session import ask_owner, guarded, may_write, settle, workbench

sextant = workbench()

GROUPS: tuple[tuple[str, str, Callable[[Sextant], None]], ...] = (  # a group of settings: its title, its icon, what draws it
    ("Markets", ":material/candlestick_chart:", preferences_market.market),
    ("World and computer", ":material/public:", preferences_world.world),
    ("Limits", ":material/speed:", preferences_limits.limits),
    ("Alerts", ":material/notifications:", preferences_alerts.alerts),
    ("Assistant", ":material/forum:", preferences_assistant.assistant),
    ("Secrets", ":material/key:", preferences_files.secrets),
    ("Settings as a file", ":material/swap_vert:", preferences_files.files),
)

with guarded("the settings"):
    done = st.session_state.pop("pf-done", None)
    if done:
        st.toast(done)
    where = origins(sextant.settings)
    count = {place: sum(w == place for w in where.values()) for place in ("saved", "environment", ".env")}
    st.markdown(f"**{count['saved']}** settings changed here, **{count['environment']}** by the environment, **{count['.env']}** by .env; "
                "the rest are defaults. The environment beats .env, .env beats this page.")
    if not may_write():
        ask_owner()
    for title, icon, draw in GROUPS:
        with st.container(border=True):
            st.subheader(f"{icon} {title}", anchor=False)
            with guarded(title.lower()):
                draw(sextant)
settle()
