"""Models: train one, see in words whether it is worth anything, what it says now, and how its predictions went."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from models.shelf import Entry
from pages.ui import job_panel, model_form, model_now, model_path, model_record, model_views, widgets
from pages.ui.session import focus, guarded, settle, workbench

sextant = workbench()
here = focus()
EMPTY = "No model yet. Set one up above and press Train: a quick training takes about a minute, and says in words what the model is worth."


def chosen_version(entries: Sequence[Entry]) -> Entry | None:
    """The version that is shown: the one just trained, the one in the address, else the serving one of the sidebar's symbol."""
    if not entries:
        return None
    by_id = {e.id: e for e in entries}
    trained = model_form.just_trained(sextant)
    asked = st.query_params.get("model") if "ml-version" not in st.session_state else None
    if trained in by_id:
        st.session_state["ml-version"] = trained
    elif asked in by_id:
        st.session_state["ml-version"] = asked
    elif st.session_state.get("ml-version") not in by_id:
        st.session_state.pop("ml-version", None)
    usual = sorted(entries, key=lambda e: (bool(e.fault), here.symbol not in model_views.symbols_of(e),
                                           model_views.interval_of(e) != str(here.key.interval), not e.champion, -e.version))[0]
    ids = [usual.id, *(i for i in by_id if i != usual.id)]  # the first is what an address without a version opens
    chosen = st.selectbox("Version", ids, format_func=lambda i: model_views.name_of(by_id[i]), key="ml-version",
                          persist_state="session") or usual.id
    if chosen != st.query_params.get("model"):
        st.query_params["model"] = chosen
    return by_id[chosen]


def shown(entry: Entry | None, draw: Callable[[Entry], None]) -> Callable[[], None]:
    """A tab about one version: an empty shelf and a damaged version have their words."""
    def tab() -> None:
        if entry is None:
            st.info(EMPTY, icon=":material/model_training:")
        elif entry.fault:
            st.error(widgets.plain(f"{entry.fault}. Choose another version, or see the tab Shelf."), icon=":material/broken_image:")
        else:
            draw(entry)
    return tab


def tabs(entries: Sequence[Entry], entry: Entry | None) -> None:
    views: dict[str, Callable[[], None]] = {
        "Result": shown(entry, lambda e: model_views.result(sextant, e)),
        "Calibration": shown(entry, model_views.calibration),
        "Importance": shown(entry, lambda e: model_views.importance(sextant, e)),
        "One call": shown(entry, lambda e: model_now.one_call(sextant, e)),
        "Next candles": lambda: model_path.next_candles(sextant, here),
        "Drift": shown(entry, lambda e: model_now.drift(sextant, e)),
        "Predictions": lambda: model_record.predictions(sextant, entry),
        "Shelf": lambda: model_record.shelf(sextant, entries, entry),
        "Tuning": lambda: model_record.tuning(sextant, given)}
    for tab, (title, draw) in zip(st.tabs(list(views), key="ml-tab", on_change="rerun"), views.items(), strict=True):
        if tab.open:
            with tab, guarded(title.lower()):
                draw()


with guarded("the models"):
    entries = sextant.models()
    with st.expander("Train a model", expanded=not entries, icon=":material/model_training:", key="ml-setup"):
        given = model_form.set_up(sextant, here)
        model_form.submit(sextant, "train", given, "Train")
    job_panel.under_way(sextant, model_form.JOBS)
    job_panel.ended(sextant, model_form.JOBS)
    done = st.session_state.pop("ml-done", None)
    if done:
        st.toast(done)
    entry = chosen_version(entries)
    tabs(entries, entry)
    with st.expander("How is this computed?", icon=":material/functions:"):
        st.markdown(
            "Every figure is of rows the model had not seen: it is fitted on the time before each block, rows whose outcome overlaps the "
            "block are left out, and each block is calibrated on the blocks before it alone. The loss is held against the class "
            "frequencies by a test of daily differences with autocorrelation-robust errors (Diebold & Mariano 1995). Calibration is Platt "
            "(1999) or isotonic (Zadrozny & Elkan 2002). The deflated Sharpe ratio counts every training and every tuning try of the same "
            "question (Bailey & Lopez de Prado 2014). Contributions are exact tree SHAP of the raw output. A model makes no call when too "
            "few features are known, when the bar lies outside what training has seen, when both directions stay possible at 80 % "
            "confidence, or when the market has drifted further than any stretch of the training lay from the whole. A new version is held "
            "against the serving one on rows neither had learned from, by a paired block bootstrap. docs/models.md says more, and what "
            "the models were worth on real hours.")
settle()
