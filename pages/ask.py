"""Assistant: questions about a symbol, answered by a model whose every figure has a source, or by the deterministic brief."""

from __future__ import annotations

import streamlit as st

from core.assistant import Assistant
from pages.ui import assistant_chat, preferences_assistant
from pages.ui.session import ask_owner, focus, guarded, may_write, settle, workbench

sextant = workbench()
here = focus()

with guarded("the assistant"):
    assistant = Assistant(sextant)
    assistant_chat.draw(assistant, here.key)
    if may_write():
        with st.expander("Model and connection", icon=":material/settings_ethernet:"):
            preferences_assistant.assistant(sextant)
    else:
        ask_owner()
    with st.expander("How is this computed?", icon=":material/functions:"):
        st.markdown(
            "A model reads the market only through tools, each one verb of Sextant that cannot change anything. Every value a tool "
            "returns has a number; the model writes that number, and code writes the value, its unit and its link. Digits and number "
            "words that a model types by itself are held back until they are complete and compared with the results of this question: "
            "one that equals exactly one value of the same unit and symbol is linked; dates, counts, your own figures and parameters "
            "such as RSI 14 are left alone; everything else is marked **unverified**. A question takes at most eight calls and a "
            "minute. What the assistant proposes is kept on the server for ten minutes and done only by your click. Without a model, "
            "and where one fails, rules write the same note from the same facts.")
settle()
