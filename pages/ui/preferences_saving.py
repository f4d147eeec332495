"""Saving settings from a page: what differs is checked and written as a whole, or refused as a whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from core.settings import Settings, change_settings, origins
from data.errors import SettingsError
from pages.ui import widgets
from pages.ui.session import collector, may_write, workbench


def fixed(settings: Settings, name: str) -> str:
    """Where a value comes from that cannot be changed here, in words; empty where it can."""
    where = origins(settings)[name]
    return "" if where in ("saved", "default") else f"Set by SEXTANT_{name.upper()} in the {where}, which wins over this page."


def locked(settings: Settings, name: str) -> bool:
    return bool(fixed(settings, name)) or not may_write()


def explain(settings: Settings, name: str, words: str) -> str:
    """The help of a field."""
    return f"{words} {fixed(settings, name)}".strip()


def submit(label: str = "Save") -> bool:
    """The button of a group's form; a guest cannot press it."""
    return bool(st.form_submit_button(label, type="primary", icon=":material/save:", disabled=not may_write()))


def save(given: Mapping[str, Any]) -> None:
    """Save what differs from the values in force; wrong values are said and nothing is changed."""
    settings = workbench().settings
    now = settings.model_dump(mode="json")
    changes = {n: v for n, v in given.items() if v != now[n] and not fixed(settings, n)}
    if not changes:
        st.info("Nothing differs from the settings in force.", icon=":material/info:")
        return
    apply(lambda: change_settings(settings, changes), f"Saved: {', '.join(n.replace('_', ' ') for n in changes)}.")


def apply(change: Callable[[], Settings], words: str) -> None:
    """Do a change and go on with the new settings; a refusal is shown."""
    if not may_write():
        return
    try:
        change()
    except SettingsError as error:
        st.error(f"{widgets.plain(str(error))}. Nothing was changed.", icon=":material/error:")
        return
    except OSError as error:  # a full or read-only disk
        st.error(f"The settings could not be written: {widgets.plain(error.strerror or str(error))}. Nothing was "
                 "changed.", icon=":material/error:")
        return
    collector.clear()
    workbench.clear()
    with st.spinner("Applying ...", show_time=False):
        collector()
    st.session_state["pf-done"] = words
    st.rerun()
