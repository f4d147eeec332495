"""Jobs as a page shows them: how far the open ones are, and how the newest ended where it did not end well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from core.jobs import Job
from core.sextant import Sextant
from pages.ui import widgets
from pages.ui.session import may_write, redrawn, workbench

WAITING = "waiting for its turn"


@dataclass(frozen=True)
class Panel:
    """What one page says of its jobs."""

    prefix: str  # of the keys of its widgets
    kinds: tuple[str, ...]
    title: Callable[[Job], str]  # a job in a few words
    starting: str = "beginning"  # what a job does that runs and has said nothing yet
    failed: str = "failed"  # after the title, before the reason
    stopped: Callable[[Job], str] = lambda job: "."  # after "was stopped": what is left of it
    stopping: str = "It stops at its next step."
    earlier: int = 0  # how many of the words before the newest stay in sight
    done: Callable[[Job], None] = lambda job: None  # called before the page redraws itself: a job has ended well


def open_jobs(sextant: Sextant, panel: Panel, *kinds: str) -> tuple[Job, ...]:
    """Jobs that wait or run, newest first; of the panel's kinds, or of some of them."""
    return tuple(j for j in sextant.jobs.all() if j.kind in (kinds or panel.kinds) and j.open)


def under_way(sextant: Sextant, panel: Panel, *kinds: str) -> None:
    """The open jobs with their progress; nothing where there is none."""
    numbers = tuple(j.id for j in open_jobs(sextant, panel, *kinds))
    if numbers:
        _running(panel, numbers)


@redrawn("the jobs", every="1s")
def _running(panel: Panel, numbers: tuple[int, ...]) -> None:
    """How far they are. They go on when the tab is closed; the page redraws itself when one has ended."""
    sextant = workbench()
    sextant.jobs.pump()
    for number in numbers:
        job = sextant.jobs.get(number)
        if not job.open:
            if job.state == "done":
                panel.done(job)
            st.rerun()
        progress(sextant, panel, job)


def progress(sextant: Sextant, panel: Panel, job: Job) -> None:
    """One open job: its bar, what it said before, and the button that stops it."""
    said = st.session_state.setdefault(f"{panel.prefix}-said-{job.id}", [])
    if job.words and job.words not in said:
        said.append(job.words)
    stopping = f"{panel.prefix}-stopping-{job.id}"
    with st.container(border=True):
        a, b = st.columns([8, 1], vertical_alignment="center")
        now = job.words or (WAITING if job.state == "waiting" else panel.starting)
        a.progress(job.share, widgets.plain(f"{panel.title(job)} · {now}"))
        if may_write() and b.button("Stop", key=f"{panel.prefix}-stop-{job.id}", width="stretch"):
            sextant.jobs.cancel(job.id)
            st.session_state[stopping] = True
        if st.session_state.get(stopping):
            st.caption(panel.stopping)
        if panel.earlier and len(said) > 1:
            st.caption("  \n".join(widgets.plain(w) for w in said[-panel.earlier - 1:-1]))


def ended(sextant: Sextant, panel: Panel) -> None:
    """How the newest job ended, where it did not end well; until somebody has seen it."""
    job = next((j for j in sextant.jobs.all() if j.kind in panel.kinds and not j.open), None)
    seen = f"{panel.prefix}-seen"
    if job is None or job.state == "done" or st.session_state.get(seen) == job.id:
        return
    a, b = st.columns([6, 1], vertical_alignment="center")
    title = panel.title(job)
    if job.state == "failed":
        a.error(widgets.plain(f"{title} {panel.failed}: {job.words}"), icon=":material/error:")
    elif job.state == "interrupted":
        a.warning(widgets.plain(f"{title} was interrupted: {job.words}"), icon=":material/power_off:")
    else:
        a.info(widgets.plain(f"{title} was stopped{panel.stopped(job)}"), icon=":material/stop_circle:")
    if may_write() and b.button("Dismiss" if job.state == "failed" else "Start again", key=f"{panel.prefix}-again-{job.id}",
                                width="stretch"):
        if job.state != "failed":
            sextant.jobs.submit(job.kind, job.arguments)
            sextant.jobs.pump()
        st.session_state[seen] = job.id
        st.rerun()
