"""What proves the account: its twin in the backtest, the ledger's invariants, and taking the ledger away and bringing it back."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from core.paper.ledger import FIRST
from core.sextant import Sextant
from data.errors import DamagedState, SextantError
from pages.ui import widgets
from pages.ui.backtest_views import metrics
from pages.ui.session import may_write, workbench

Status = Mapping[str, Any]
CAUSES = {"timing": "the same fill at another bar", "late": "the bar was recorded too late to enter on",
          "code": "another version of the code decided",
          "model": "a model answered otherwise", "data": "the stored candles differ from those traded on",
          "consequence": "follows from a difference before it", "unexplained": "no cause found"}


def compared(sextant: Sextant, status: Status) -> None:
    """The paper window replayed by the backtest, each difference with its cause."""
    st.markdown("The backtest replays this account's whole window on the candles as they are stored now, with what was asked by hand. What "
                "differs is what trading live has really cost or brought.")
    if not may_write():
        st.caption("Viewing only: the replay is the owner's.")
    elif st.button("Compare with the backtest", icon=":material/compare_arrows:", key="pp-compare", disabled=status["as_of"] is None,
                   help="Takes some seconds for each thousand bars."):
        with st.status("Replaying the window ...") as said:
            st.session_state["pp-twin"] = (status["account"], status["as_of"], sextant.paper_twin().document())
            said.update(label="Replayed", state="complete")
    found = st.session_state.get("pp-twin")
    if found is None or found[0] != status["account"]:
        return
    _, as_of, d = found
    words = f"{d['words'][:1].upper()}{d['words'][1:]}."
    if d["identical"]:
        st.success(words, icon=":material/verified:")
    else:
        st.warning(words, icon=":material/difference:")
    gap = d["paper_equity"] - d["twin_equity"]
    metrics([("Bars", f"{d['bars']:,}", None, f"Recorded up to {as_of}."),
             ("Decisions", f"{d['decisions']:,}", None, "Compared one by one."),
             ("Fills", f"{d['fills']:,}", None, "Compared one by one."),
             ("Paper", f"{d['paper_equity']:,.2f}", None, "Equity at the end."),
             ("Backtest", f"{d['twin_equity']:,.2f}", f"paper {gap:+,.2f}", "Equity of the replay.")])
    if d["differences"]:
        causes = Counter(r["cause"] for r in d["differences"])
        st.dataframe([{"Cause": c, "Differences": n, "Meaning": CAUSES.get(c, "")} for c, n in causes.most_common()], hide_index=True,
                     width="stretch")
        rows = pd.DataFrame([{"Cause": r["cause"], "When": widgets.local_text(r["at_ms"]), "Symbol": r["symbol"], "In words": r["words"]}
                             for r in d["differences"]])
        st.dataframe(rows, hide_index=True, width="stretch", height=min(38 + 35 * len(rows), 420), column_config={
            "In words": st.column_config.TextColumn(width="large")})
        widgets.download(rows, "paper-twin")


@st.cache_data(ttl=900, max_entries=4, show_spinner=False)
def proven(home: str, world: str) -> tuple[list[str], dict[str, str], int, int]:
    """Faults, the newest hash of each table, how many rows, and when it was looked: every row is read, so not at every rerun."""
    sextant = workbench()
    faults = sextant.verify_ledger()
    heads = sextant.paper_ledger.heads() if sextant.paper_ledger.path.exists() else {}
    with sextant.paper_ledger.reading() as db:
        rows = sum(int(db.execute(f"select count(*) from {table}").fetchone()[0]) for table in heads)
    return faults, heads, rows, sextant.clock.now_ms()


def proof(sextant: Sextant) -> None:
    """The result of verifying, as one line; the record on other pages stands under it too."""
    if not sextant.paper_ledger.path.exists():
        return
    with st.spinner("Verifying the ledger ...", show_time=False):
        faults, heads, rows, at_ms = proven(str(sextant.settings.home), str(sextant.world))
    if faults:
        st.error("The ledger is not sound: " + widgets.plain("; ".join(faults[:3])) + (f" (and {len(faults) - 3} more)" if len(faults) > 3
                                                                                      else "") + ". Restore the newest backup.",
                 icon=":material/gpp_bad:")
        return
    newest = heads.get("equity", FIRST)
    head = "" if newest == FIRST else f" · head {newest[:12]}"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge("Ledger verified", color="green", icon=":material/verified_user:",
                 help="Every row is sealed with the hash of the one before it: nothing can be edited, removed or inserted unseen. "
                      "Balances, positions and orders are worked out anew from the rows.")
        st.caption(f"{rows:,} rows, none changed, none missing · checked {widgets.local_text(at_ms)}{head}", width="content",
                   help="The head is the newest hash of the equity rows: write it down to prove later that nothing before it was changed.")


def ledger(sextant: Sextant, status: Status) -> None:
    """Verify, backup, restore."""
    proof(sextant)
    if st.button("Verify now", icon=":material/verified_user:", key="pp-verify", disabled=not may_write(),
                 help="Reads every row: chains, balances, orders, decisions. The runner does it at each start."):
        proven.clear()
        st.rerun()
    if not may_write():
        st.caption("Viewing only: backup and restore are the owner's.")
        return
    st.markdown("**Backup**")
    st.caption("A consistent copy of the whole ledger with its head, while the runner goes on. It holds no secret.")
    st.download_button("Backup (zip)", packed, "sextant-backup.zip", "application/zip", icon=":material/download:", key="pp-backup",
                       on_click="ignore")
    st.markdown("**Restore**")
    if status["runner"]["alive"]:
        st.caption("Stop the runner first: nothing is restored under a runner at work.")
        return
    given = st.file_uploader("A backup", type=["zip"], key="pp-restore-file", help="It is proven before anything is changed.")
    if given is None:
        st.caption("The present ledger is moved aside, never deleted.")
        return
    with st.container(border=True):
        st.markdown(widgets.plain(f"{given.name} takes the place of the present ledger, which is moved into the quarantine folder. Go on?"))
        if not st.button("Yes, restore it", type="primary", key="pp-restore-yes"):
            return
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / Path(given.name).name
                path.write_bytes(given.getvalue())
                found = sextant.restore_ledger(path)
        except (SextantError, DamagedState) as error:
            st.error(widgets.plain(str(error)), icon=":material/error:")
            return
    proven.clear()
    st.session_state.pop("pp-twin", None)
    st.session_state["pp-done"] = f"{sum(found['rows'].values()):,} rows restored."
    st.rerun()


def packed() -> bytes:
    """A backup as bytes; made when somebody asks for it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sextant-backup.zip"
        workbench().backup_ledger(path)
        return path.read_bytes()
