"""Backtest: trade a rule over the past and say what the result is worth. The newest run first, in words; the form folded above it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from core.backtest.report import shown
from core.stored import Damaged
from pages.ui import assistant_link, backtest_form, backtest_sweeps, backtest_views, job_panel
from pages.ui.backtest_form import JOBS
from pages.ui.rule_form import title_of
from pages.ui.session import focus, guarded, settle, workbench

sextant = workbench()
here = focus()


def name_of(header: dict[str, Any]) -> str:
    """A stored run in one line."""
    q = header["question"]
    return (f"{title_of(q['rule'])} · {', '.join(q['symbols'])} · {q['interval']} {q['market']} · to {header['to'][:10]} · "
            f"{shown('total_return', header['metrics']['total_return'])} · {header['verdict']['word']}")


def chosen_run(headers: list[dict[str, Any]]) -> str:
    """The run that is shown: the one just finished, the one in the address, else the newest."""
    by_id = {h["run_id"]: h for h in headers}
    finished, asked = st.session_state.pop("bt-show", None), st.query_params.get("run")
    if finished in by_id:
        st.session_state["bt-run-shown"] = finished
    elif asked in by_id and asked != st.session_state.get("bt-run-address"):  # an address typed by hand, or a link
        st.session_state["bt-run-shown"] = asked
    elif st.session_state.get("bt-run-shown") not in by_id:
        st.session_state.pop("bt-run-shown", None)
    chosen = st.selectbox("Run", list(by_id), format_func=lambda r: name_of(by_id[r]), key="bt-run-shown") or headers[0]["run_id"]
    st.session_state["bt-run-address"] = st.query_params["run"] = chosen
    return chosen


def tabs(headers: list[dict[str, Any]], damaged: Sequence[Damaged], arguments: dict[str, Any]) -> None:
    """The answer, and a tab for each question to it."""
    document = sextant.stored_backtest(chosen_run(headers))
    sweeps = backtest_views.stored_sweeps(sextant)
    tries = backtest_views.tries_now(document, headers, sweeps)
    backtest_views.answer(document, tries)
    rule = document["question"]["rule"] or "my signals"
    assistant_link.ask_about(f"What is the stored backtest {document['run_id']} of {rule} worth, and why?", here.key)
    views = {"Result": lambda: backtest_views.result(document), "Honesty": lambda: backtest_views.honesty(document, tries),
             "Trades": lambda: backtest_views.trades(sextant, document), "Where it came from": lambda: backtest_views.origin(document),
             "Sweep": lambda: sweep(arguments), "Saved runs": lambda: backtest_sweeps.stored(sextant, headers, damaged),
             "Assumptions": lambda: backtest_views.assumptions(sextant, document)}
    for tab, (title, draw) in zip(st.tabs(list(views), key="bt-tab", on_change="rerun"), views.items(), strict=True):
        if tab.open:
            with tab, guarded(title.lower()):
                draw()


def swept_here() -> bool:
    """Whether the sweep's own place is in sight: its progress then stands there and not at the top."""
    return bool(headers) and st.session_state.get("bt-tab") == "Sweep"


def sweep(arguments: dict[str, Any]) -> None:
    backtest_sweeps.ask_sweep(sextant, arguments)
    if swept_here():
        job_panel.under_way(sextant, JOBS, "sweep")
    st.divider()
    backtest_sweeps.swept(backtest_views.stored_sweeps(sextant))


with guarded("the backtest"):
    headers, damaged = backtest_views.stored_runs(sextant)
    with st.expander("Set up a run", expanded=not headers, icon=":material/tune:", key="bt-setup"):
        arguments = backtest_form.set_up(sextant, here)
        backtest_form.run_button(sextant, arguments)
    job_panel.under_way(sextant, JOBS, *(("backtest",) if swept_here() else JOBS.kinds))
    job_panel.ended(sextant, JOBS)
    if st.session_state.pop("bt-swept", False):
        st.toast("The sweep is done: see the tab Sweep.")
    if headers:
        tabs(headers, damaged, arguments)
    else:
        backtest_sweeps.lost(damaged)
        if not job_panel.open_jobs(sextant, JOBS):
            st.info("No run yet. Set one up above and press Run: a year of hours takes a few seconds, and the result says in words "
                    "whether it is worth anything.", icon=":material/play_circle:")
        with st.expander("Try many settings at once", icon=":material/grid_on:", expanded=bool(backtest_views.stored_sweeps(sextant))):
            sweep(arguments)
settle()
