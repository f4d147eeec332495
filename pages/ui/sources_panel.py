"""The Data page's view of the world outside: sources and their health, back-fills as jobs."""

from __future__ import annotations

import streamlit as st

from core.collecting import Collecting
from core.jobs import Job
from core.sextant import Sextant, World
from data.clock import age_text, iso
from data.errors import SextantError
from data.market import Interval, Market, SeriesKey, parse_symbol
from pages.ui import widgets
from pages.ui.job_panel import Panel, progress
from pages.ui.session import ask_owner, may_write, redrawn, show_world

STATE = {"ok": "● ok", "waiting": "◐ waiting", "blocked": "○ blocked", "down": "○ down", "not asked yet": "· not asked"}
JOB_STATE = {"done": "green", "failed": "red", "cancelled": "gray", "interrupted": "orange"}
NEWEST_JOBS, NAMED = 6, 6  # back-fills shown, and symbols named of each


@redrawn("the sources", every="2s")
def sources(sextant: Sextant) -> None:
    """One row a source, with the countdown where one must wait."""
    if not sextant.outside.allowed:
        st.info("The network is switched off (SEXTANT_NETWORK=off): nothing is asked, stored data and imports work.",
                icon=":material/cloud_off:")
        return
    rows = sextant.outside.health()
    if not rows:
        st.caption("No source was asked yet.")
    else:
        st.dataframe([{
            "Source": r.source, "State": STATE.get(str(r.state), str(r.state)), "What it says": r.words,
            "Wait": f"{r.retry_in_s} s" if r.retry_in_s else None, "Latency": f"{r.latency_ms:.0f} ms" if r.latency_ms else None,
            "Weight used": f"{r.used_weight} of {r.weight_1m}" if r.weight_1m else None, "Host": r.host, "Provenance": r.provenance,
        } for r in rows], hide_index=True, width="stretch", placeholder="", column_config={
            "Source": st.column_config.TextColumn(pinned=True), "What it says": st.column_config.TextColumn(width="large")})
    left, right = st.columns([1, 3], vertical_alignment="center")
    if left.button("Ask them all", icon=":material/refresh:",
                   help="A tiny request to every source; blocked hosts are left alone for half an hour."):
        with st.spinner("Asking ..."):
            sextant.outside.probe()
        st.rerun(scope="fragment")
    live = sextant.world is World.SIMULATED and any(str(r.state) == "ok" and r.weight_1m for r in rows)
    if live and right.button("Switch to live data", type="primary", disabled=not may_write()):
        show_world(World.REAL)
        st.rerun()


@redrawn("the collector", every="2s")
def collecting(service: Collecting) -> None:
    """What keeps the store current, and each of its streams."""
    state = service.state()
    colour = {"live": "green", "fetching history": "blue", "interrupted": "orange", "elsewhere": "blue"}.get(state.state, "gray")
    with st.container(horizontal=True):
        st.badge(state.state, color=colour)  # type: ignore[arg-type]
        st.caption(state.words)
    if state.rows:
        st.dataframe([{"Stream": r.name, "State": r.state, "What it says": r.words, "Last message": r.age} for r in state.rows],
                     hide_index=True, width="stretch", placeholder="",
                     column_config={"What it says": st.column_config.TextColumn(width="large")})
    if state.lacking:
        more = f" and {len(state.lacking) - 4} more" if len(state.lacking) > 4 else ""
        st.caption("Not to be had now: " + "; ".join(state.lacking[:4]) + more)


def beside_candles(sextant: Sextant) -> None:
    """What is stored of funding, open interest, ratios, on-chain and macro series."""
    rows = sextant.outside.observations().summary()
    if not rows:
        st.caption("Nothing is stored beside candles yet; the collector fetches it every hour.")
        return
    st.dataframe([{"Series": str(r.key), "Rows": r.rows, "First": iso(r.first), "Last": iso(r.last), "Provenance": r.provenance,
                   "MB": round(r.bytes / 2**20, 2)} for r in rows], hide_index=True, width="stretch", placeholder="")


def backfill(sextant: Sextant, key: SeriesKey) -> None:
    """A form that starts a job, and the jobs with their progress."""
    if not may_write():
        ask_owner()
    else:
        with st.form("backfill", border=False):
            a, b, c, d = st.columns([4, 1, 1, 1], vertical_alignment="bottom")
            symbols = a.text_input("Symbols", value=key.symbol, help="Separated by spaces or commas; 'watchlist' means all of it.")
            interval = b.selectbox("Interval", ["1m", "5m", "15m", "1h", "4h", "1d"], index=3)
            days = c.number_input("Days", min_value=1, max_value=4000, value=150)
            go = d.form_submit_button("Fetch", type="primary", icon=":material/download:")
        if go:
            try:
                words = symbols.replace(",", " ").split()
                wanted = list(sextant.settings.watchlist) if words == ["watchlist"] else [parse_symbol(w) for w in words]
                if not wanted:
                    st.error("Name at least one symbol, e.g. BTCUSDT.")
                else:
                    sextant.jobs.submit("backfill", {"symbols": wanted, "interval": str(Interval.parse(interval)),
                                                     "market": str(Market.SPOT), "days": int(days)})
                    sextant.jobs.pump()
            except SextantError as error:
                st.error(widgets.plain(str(error)))
    jobs(sextant)


def _title(job: Job) -> str:
    """A back-fill in a few words."""
    symbols = job.arguments.get("symbols", [])
    more = f" and {len(symbols) - NAMED} more" if len(symbols) > NAMED else ""
    return f"{', '.join(symbols[:NAMED])}{more} {job.arguments.get('interval', '')}"


BACKFILLS = Panel("fill", ("backfill",), _title, starting="asking the sources")


@redrawn("the back-fills", every="1s")
def jobs(sextant: Sextant) -> None:
    """The newest back-fills; they go on when this tab is closed."""
    rows = [j for j in sextant.jobs.all() if j.kind in BACKFILLS.kinds][:NEWEST_JOBS]
    if any(j.open for j in rows):
        sextant.jobs.pump()
    for job in rows:
        if job.open:
            progress(sextant, BACKFILLS, job)
        else:
            _over(sextant, job)


def _over(sextant: Sextant, job: Job) -> None:
    """One line of a back-fill that is over, however it ended."""
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.badge(job.state, color=JOB_STATE.get(job.state, "gray"))  # type: ignore[arg-type]
        ago = f" · {age_text(sextant.clock.now_ms() - job.ended_ms)} ago" if job.ended_ms else ""
        st.markdown(widgets.plain(f"{_title(job)}: {job.words}{ago}"))


def disagreement(sextant: Sextant, key: SeriesKey) -> None:
    """Where two sources of the same thing do not say the same."""
    if sextant.world is World.SIMULATED:
        st.caption("The simulated exchange is its own only source.")
        return
    found = sextant.disagreements(key)
    if not found:
        st.success(f"Nothing of {key.symbol} came from two sources that could be compared: no candle was contradicted, and no second venue "
                   "is stored.")
        return
    st.dataframe([{"Series": d.series, "One": d.source_a, "Other": d.source_b, "Compared": d.compared, "Differ": d.differing,
                   "Largest": d.largest if d.compared else None, "In": d.column, "When": iso(d.at_ms) if d.at_ms else None,
                   "In words": d.words} for d in found], hide_index=True, width="stretch", placeholder="", column_config={
        "Largest": st.column_config.NumberColumn(format="percent", help="Largest relative difference."),
        "In words": st.column_config.TextColumn(width="large")})
    st.caption("A contradicted candle keeps its first value; what another source said is kept aside. Venues differ by nature: their "
               "difference says how unlike they are.")
