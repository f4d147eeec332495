"""Data: which world is shown, what is stored, what is missing, and how to bring your own files in."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from core.sextant import World
from data.clock import age_text, iso
from data.errors import SextantError
from data.market import SeriesKey
from data.view import NOT_KNOWN
from pages.ui import sources_panel, widgets
from pages.ui.session import ask_owner, collector, focus, guarded, kept, may_write, settle, show_world, workbench

if TYPE_CHECKING:
    from data.importing.importer import ImportReport

sextant = workbench()
here = focus()
held = sextant.holdings()


@st.cache_data(ttl=60, max_entries=4, show_spinner=False)
def disk_used_mb(home: str) -> float:
    """Size of the home folder; a walk over every file, so once a minute and not at every rerun. Files that vanish meanwhile count 0."""
    total = 0
    for path in Path(home).rglob("*"):
        with suppress(OSError):
            total += path.stat().st_size
    return total / 2**20


def worlds() -> None:
    """Which world is shown, and the other one if it has anything to show."""
    if sextant.world is World.SIMULATED:
        st.markdown(f"You are looking at the **simulated exchange**: 12 symbols with invented prices "
                    f"(seed {sextant.settings.simulator_seed}). Import real candles below; they are kept apart and never mixed with "
                    "simulated ones.")
        if held and st.button(f"Show the real data ({len(held)} series)", type="primary", disabled=not may_write()):
            show_world(World.REAL)
            st.query_params.clear()
            st.rerun()
    elif sextant.world is World.LOOPBACK:
        st.markdown(f"You are looking at the **simulated exchange at {sextant.settings.endpoint}**, served in the real exchange's "
                    f"protocol: {len(held)} series, {sum(s.rows for s in held):,} candles in a store of their own.")
    else:
        rows = sum(s.rows for s in held)
        size = sum(s.bytes for s in held) / 2**20
        st.markdown(f"You are looking at **real data**: {len(held)} series, {rows:,} candles, {size:,.1f} MB in "
                    f"`{sextant.settings.home.name}/real`.")
        if st.button("Show the simulated exchange", disabled=not may_write()):
            show_world(World.SIMULATED)
            st.query_params.clear()
            st.rerun()


def importing() -> None:
    """Files from the browser, or a folder on the computer Sextant runs on."""
    if not may_write():
        ask_owner()
        return
    st.caption("Binance archive zips (data.binance.vision) or CSV tables with time, open, high, low, close, volume. Any order, again "
               "without harm. Files up to 20 MB here; larger ones from a folder, or with `python -m core import FOLDER`.")
    with st.form("import", border=False):
        files = st.file_uploader("Files", type=["zip", "csv", "gz", "txt"], accept_multiple_files=True)
        folder = st.text_input("or a folder or file on this computer", placeholder="/path/to/data.binance.vision")
        a, b, c = st.columns(3)
        symbol = a.text_input("Symbol", help="Only where the file names do not say it, e.g. BTCUSDT.")
        interval = b.text_input("Interval", help="Only where the file names do not say it, e.g. 1h.")
        market = c.selectbox("Market", ["from the path", "spot", "perp"], help="Archive paths say it; a lone file does not.")
        go = st.form_submit_button("Import", type="primary", icon=":material/upload:")
    if go:
        options = {"symbol": symbol or None, "interval": interval or None, "market": None if market == "from the path" else market}
        with st.status("Importing ...", expanded=True) as status:
            bar = st.empty()

            def progress(done: int, total: int, name: str) -> None:
                bar.progress(done / max(1, total), f"{done} of {total}: {Path(name).name}")

            def uploads() -> Iterator[tuple[str, bytes]]:
                for done, file in enumerate(sorted(files, key=lambda f: f.name)):
                    progress(done, len(files), file.name)
                    yield file.name, file.getvalue()

            reports: list[ImportReport] = []
            try:
                if files:
                    reports.append(sextant.import_uploads(uploads(), **options))
                if folder.strip():
                    reports.append(sextant.import_files([Path(folder.strip()).expanduser()], **options, progress=progress))
                status.update(label="Imported" if reports else "Nothing was chosen", state="complete" if reports else "error")
            except SextantError as error:
                status.update(label="Refused", state="error")
                st.error(widgets.plain(str(error)))
        st.session_state["import-reports"] = [r.document() for r in reports]
        if reports:
            st.rerun()
    for document in st.session_state.get("import-reports", []):
        imported(document)


def imported(document: dict) -> None:
    """What an import did: kept, doubled, refused, and why."""
    rows = [{"Symbol": s["symbol"], "Market": s["market"], "Interval": s["interval"], "Added": s["added"], "Already there": s["duplicates"],
             "Conflicts": s.get("conflicts", 0), "Gaps": len(s["gaps"]), "Stored now": s["present"]} for s in document["series"]]
    if rows:
        added, there = sum(r["Added"] for r in rows), sum(r["Already there"] for r in rows)
        read = document["files"] - len(document["refused"])
        st.success(f"{read:,} file{'s' if read != 1 else ''} read: {added:,} candles added, {there:,} were there already.")
        st.dataframe(rows, hide_index=True, width="stretch")
    refused = [*document["refused"], *(r for s in document["series"] for r in s["rejected"])]
    if refused:
        st.warning(f"{document['rejected_total']:,} lines or files were not read:")
        st.dataframe([{"File": r["file"], "Line": r["line"], "Why": r["reason"]} for r in refused[:500]], hide_index=True, width="stretch")
    if document["series"] and sextant.world is World.SIMULATED:
        st.info("The page still shows the simulated exchange. Use “Show the real data” above to switch.")


def invented(key: SeriesKey) -> dict[str, object]:
    """The row of one simulated series; nothing of it is stored, so it is made to be counted."""
    candles = sextant.candles(key)
    return {"Symbol": key.symbol, "Market": str(key.market), "Interval": str(key.interval), "Candles": len(candles),
            "First": iso(int(candles.open_time[0])), "Last": iso(int(candles.open_time[-1])), "Gaps": len(candles.gaps()),
            "Provenance": candles.provenance}


def stored() -> None:
    """A row a series."""
    if sextant.world is World.SIMULATED:
        keys = [key for key in sextant.reader.keys() if key.interval is here.key.interval]
        versions = tuple(sextant.reader.version(key) for key in keys)
        frame = pd.DataFrame(kept(lambda: [invented(key) for key in keys], "invented series", *versions))
    else:
        frame = pd.DataFrame([{"Symbol": s.key.symbol, "Market": str(s.key.market), "Interval": str(s.key.interval), "Candles": s.rows,
                               "First": iso(s.first), "Last": iso(s.last), "Gaps": s.gaps, "Missing": s.missing_bars,
                               "Conflicts": s.conflicts,
                               "Provenance": s.provenance, "MB": round(s.bytes / 2**20, 2),
                               "Damage": "; ".join(map(str, s.damage)) or None} for s in held])
    if frame.empty:
        st.info("Nothing is stored yet.")
        return
    st.dataframe(frame, hide_index=True, width="stretch", placeholder="",
                 column_config={"Symbol": st.column_config.TextColumn(pinned=True)})
    widgets.download(frame, "series")


def gaps(key: SeriesKey) -> None:
    """Holes of the chosen series."""
    found = sextant.gaps(key)
    if not found:
        st.success(f"{key} has no hole between its first and its last candle.")
        return
    frame = pd.DataFrame([{"From": iso(g.start), "To (open of the last missing)": iso(g.end), "Bars": g.bars, "State": g.status,
                           "Why": g.reason or None} for g in found])
    st.markdown(f"**{len(found)} hole{'s' * (len(found) > 1)}, {sum(g.bars for g in found):,} bars missing.** A hole is never filled "
                "with invented prices: indicators begin again after it.")
    st.dataframe(frame, hide_index=True, width="stretch", placeholder="")
    unknown = [g for g in found if g.status == NOT_KNOWN]
    if unknown and sextant.world is not World.SIMULATED and sextant.outside.allowed and st.button(
            f"Ask the exchange for {len(unknown)} hole{'s' * (len(unknown) > 1)}", icon=":material/healing:", disabled=not may_write(),
            help="Fetches what is missing; what the exchange does not have either is marked as confirmed."):
        sextant.jobs.submit("backfill", {"symbols": [key.symbol], "interval": str(key.interval), "market": str(key.market),
                                         "start_ms": unknown[0].start, "end_ms": unknown[-1].end + key.interval.ms})
        sextant.jobs.pump()
        st.toast("Asking; the progress stands under Back-fill.")
    widgets.download(frame, f"gaps-{key.symbol}-{key.interval}")


def quality(key: SeriesKey) -> None:
    """What is wrong with the chosen series."""
    with st.spinner("Examining ..."):
        report = sextant.quality(key)
    if not report.findings:
        st.success(f"Nothing suspicious in {report.bars:,} candles.")
        return
    frame = pd.DataFrame([{"Severity": str(f.severity), "Kind": str(f.kind), "From": iso(f.start), "To": iso(f.end), "Bars": f.bars,
                           "What": f.words} for f in report.findings])
    st.dataframe(frame, hide_index=True, width="stretch", column_config={"What": st.column_config.TextColumn(width="large")})
    widgets.download(frame, f"quality-{key.symbol}-{key.interval}")


with guarded("the world switch"):
    worlds()
status = sextant.status(here.key) if sextant.reader.holds(here.key) else sextant.status()
a, b, c, d = st.columns(4)
a.metric("World", str(status.world), help="Real and simulated data live in separate folders and are never shown together.")
b.metric("Provenance", status.provenance)
c.metric("Newest candle", age_text(status.age_ms) + " ago" if status.age_ms is not None else "none",
         help=iso(status.newest_close_ms) if status.newest_close_ms else None)
used = disk_used_mb(str(sextant.settings.home))
d.metric("Disk used", f"{used:,.0f} MB", help=f"Everything in the home folder; {len(held)} series of candles are stored. "
         f"{shutil.disk_usage(sextant.settings.home.parent).free // 2**20:,} MB are free.")

st.subheader("Sources", anchor=False)
with guarded("the sources"):
    sources_panel.sources(sextant)
    for words in sextant.outside.degraded()[1:]:  # the first stands in the frame
        st.warning(words, icon=":material/cloud_off:")
    if sextant.outside.allowed and sextant.world is not World.SIMULATED:
        sources_panel.collecting(collector())
if sextant.outside.allowed:
    st.subheader("Back-fill", anchor=False)
    with guarded("the back-fill"):
        sources_panel.backfill(sextant, here.key)
st.subheader("Import", anchor=False)
with guarded("the import"):
    importing()
st.subheader("Series", anchor=False)
with guarded("the series"):
    stored()
if sextant.world is not World.SIMULATED:
    st.subheader("Beside candles", anchor=False)
    with guarded("the series beside candles"):
        sources_panel.beside_candles(sextant)
if sextant.reader.holds(here.key):
    st.subheader(f"Holes and quality of {here.key}", anchor=False)
    first, second, third = st.tabs(["Holes", "Quality", "Disagreement"])
    with first, guarded("the holes"):
        gaps(here.key)
    with second, guarded("the quality report"):
        quality(here.key)
    with third, guarded("the disagreement between sources"):
        sources_panel.disagreement(sextant, here.key)
if sextant.world is World.SIMULATED:
    with st.expander("What is planted in the simulated world", icon=":material/science:"), guarded("the planted truths"):
        truth = sextant.truth()
        st.dataframe([{"Symbol": s, "Role": t["role"]} for s, t in truth["symbols"].items()], hide_index=True, width="stretch")
settle()
