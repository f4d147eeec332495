"""Where secrets come from, never what they are; settings as a file, out and in."""

from __future__ import annotations

import streamlit as st

from core.settings import export_settings, import_settings, origins, secret_names
from core.sextant import Sextant
from pages.ui import preferences_saving as saving
from pages.ui.session import may_write

SECRETS = {"owner_password": "what allows changes on a public page", "notify": "addresses that alerts are sent to",
           "api_token": "what programs that use the HTTP interface must show", "assistant_key": "key of the assistant's language model"}
PLACES = {"environment": "environment, or .streamlit/secrets.toml", ".env": ".env", "default": "not set", "saved": "not set"}


def secrets(sextant: Sextant) -> None:
    """A row a secret: whether it is set and where; the value is shown nowhere."""
    where = origins(sextant.settings)
    st.dataframe([{"Secret": f"SEXTANT_{n.upper()}", "What for": SECRETS.get(n, n.replace("_", " ")), "Comes from": PLACES[where[n]]}
                  for n in secret_names()], hide_index=True, width="stretch")
    st.caption("Secrets are read from environment variables, from the .env file beside the code, or from top-level lines of "
               ".streamlit/secrets.toml. They are never entered, shown, saved or exported here.")


def files(sextant: Sextant) -> None:
    """Export and import."""
    if not may_write():
        st.caption("Viewing only: export and import are the owner's.")
        return
    st.download_button("Export (JSON)", export_settings(sextant.settings), "sextant-settings.json", "application/json",
                       icon=":material/download:", key="pf-export", on_click="ignore", help="Without secrets and without the home folder.")
    with st.form("pf-import", border=False):
        given = st.file_uploader("Import", type=["json"], key="pf-import-file", help="One wrong value refuses the whole file.")
        pressed = saving.submit("Import")
    if not pressed:
        return
    if given is None:
        st.error("file: expected an exported JSON file, got none; choose one above", icon=":material/error:")
        return
    try:
        text = given.getvalue().decode("utf-8-sig")
    except UnicodeDecodeError:
        st.error(f"{given.name} is not UTF-8 text; expected an exported JSON file", icon=":material/error:")
        return
    saving.apply(lambda: import_settings(sextant.settings, text), f"Settings of {given.name} are in force.")
