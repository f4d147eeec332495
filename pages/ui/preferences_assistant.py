"""The assistant's endpoint: address, model, price, whether a key is set, and a test of the connection."""

from __future__ import annotations

import streamlit as st

from core.assistant import Assistant
from core.assistant.guard import literal
from core.sextant import Sextant
from pages.ui import preferences_saving as saving
from pages.ui.session import may_write


def assistant(sextant: Sextant) -> None:
    """The group of settings. The key itself is never entered or shown here."""
    s = sextant.settings
    with st.form("pf-assistant", border=False):
        url = st.text_input("Endpoint", s.assistant_url, key=f"pf-assistant-url-{s.assistant_url}",
                            disabled=saving.locked(s, "assistant_url"),
                            help=saving.explain(s, "assistant_url", "Any OpenAI-compatible address, e.g. https://api.openai.com/v1, or "
                                                                    "http://127.0.0.1:11434/v1 for a model on this computer."))
        a, b = st.columns(2)
        model = a.text_input("Model", s.assistant_model, key=f"pf-assistant-model-{s.assistant_model}",
                             placeholder="none: the brief answers",
                             disabled=saving.locked(s, "assistant_model"), help=saving.explain(s, "assistant_model",
                                                                                               "Its name at the endpoint."))
        price = b.text_input("Price", s.assistant_price, key=f"pf-assistant-price-{s.assistant_price}",
                             placeholder="in/out, e.g. 0.15/0.60",
                             disabled=saving.locked(s, "assistant_price"),
                             help=saving.explain(s, "assistant_price",
                                                 "Dollars for a million tokens in and out; shows what an answer costs."))
        pressed = saving.submit()
    if pressed:
        saving.save({"assistant_url": url.strip(), "assistant_model": model.strip(), "assistant_price": price.strip()})
    st.caption("A key is set. It is never shown." if s.assistant_key is not None else
               "No key is set. Put it into `SEXTANT_ASSISTANT_KEY`, in the environment, in .env or in the host's secrets.")
    if st.button("Test the connection", icon=":material/network_check:", key="pf-assistant-test", disabled=not may_write()) and may_write():
        with st.spinner("Asking for one word ...", show_time=False):
            works, words = Assistant(sextant).test_connection()
        (st.success if works else st.error)(literal(words), icon=":material/check_circle:" if works else ":material/error:")
