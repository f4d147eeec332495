"""What the account did, as tables with CSV: orders, fills, closed trades, decisions, and what a person asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from core.paper.record import NEWEST
from core.paper.told import LATE
from core.sextant import Sextant
from data.clock import age_text
from pages.ui import widgets
from pages.ui.rule_form import title_of

TABLES = ("Closed trades", "Fills", "Orders", "Decisions", "Asked by hand")
STATES = {"ordered": "ordered", "leaving": "leaving", "refused": "refused by a limit", "paused": "paused", LATE: "too late",
          "kept": "kept", "hold": "hold"}
WORTH_READING = ("ordered", "leaving", "refused", "paused", LATE)
SIDE = {1: "▲ long", -1: "▼ short", 0: "–"}


def when(help_text: str = "") -> Any:
    """A column of local times, as wide as they are."""
    return st.column_config.TextColumn(width=128, help=f"{help_text} In {widgets.zone().key}.".strip())


def shown(rows: list[dict[str, Any]], name: str, columns: dict[str, Any]) -> None:
    """A table with its CSV."""
    table = pd.DataFrame(rows)
    st.dataframe(table, hide_index=True, width="stretch", placeholder="–", height=min(38 + 35 * len(table), 460), column_config=columns)
    widgets.download(table, name)


def tables(sextant: Sextant) -> None:
    """One table at a time."""
    account = sextant.broker.account()
    assert account is not None
    which = st.segmented_control("Table", TABLES, default=TABLES[0], key="pp-table", required=True, label_visibility="collapsed",
                                 persist_state="session")
    if which == "Decisions":
        states = st.multiselect("State", list(STATES), default=WORTH_READING, key="pp-states", format_func=STATES.__getitem__,
                                placeholder="all", help="What came of a rule's wish at a close. “kept”: it wanted what is so already.")
        _decisions(sextant.paper_rows(account, "decisions", states), states)
    elif which == "Orders":
        _orders(sextant.paper_rows(account, "orders"))
    elif which == "Fills":
        _fills(sextant.paper_rows(account, "fills"))
    elif which == "Asked by hand":
        _asked(sextant.paper_rows(account, "asked"))
    else:
        trades([h.document() for h in reversed(sextant.paper_statement(account).closed)], "paper-trades")
    st.caption(f"At most the newest {NEWEST:,} rows are shown; python -m core paper export --table NAME writes a whole table.")


def trades(rows: Sequence[dict[str, Any]], name: str) -> None:
    """Closed trades, newest first."""
    if not rows:
        st.info("No trade is closed yet.", icon=":material/inbox:")
        return
    number = st.column_config.NumberColumn(format="%.6g")
    shown([{"Closed": widgets.local_text(t["closed_ms"]), "Symbol": t["symbol"], "Side": SIDE[t["side"]], "Profit": t["pnl"],
            "Return": t["pnl"] / (t["entry"] * t["quantity"]) if t["quantity"] else None, "Ended by": t["reason"].replace("_", " "),
            "Entry": t["entry"], "Exit": t["exit"], "Quantity": t["quantity"], "Costs": t["fees"] - t["funding"],
            "Held": age_text(t["closed_ms"] - t["opened_ms"]), "Rule": title_of(t["strategy"]),
            **({"Account": t["account"]} if "account" in t else {})} for t in rows], name, {
        "Closed": when("When it became flat."), "Symbol": st.column_config.TextColumn(pinned=True), "Entry": number, "Exit": number,
        "Quantity": number, "Profit": st.column_config.NumberColumn(format="%+.2f", help="After fees and funding, quote currency."),
        "Return": st.column_config.NumberColumn(format="percent", help="Profit over what was paid at entry."),
        "Costs": st.column_config.NumberColumn(format="%.2f", help="Fees and funding; slippage is in the prices.")})


def _fills(rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        st.info("Nothing is filled yet.", icon=":material/inbox:")
        return
    number = st.column_config.NumberColumn(format="%.6g")
    shown([{"Filled": widgets.local_text(r["filled_ms"]), "Symbol": r["symbol"], "Side": SIDE[r["side"]],
            "What": "in" if r["effect"] == "enter" else "out", "Why": r["reason"].replace("_", " "), "Price": r["price"],
            "Quantity": r["quantity"], "Fee": r["fee"], "Slippage, bps": r["slippage_bps"], "Rule": title_of(r["strategy"])}
           for r in rows], "paper-fills", {
        "Filled": when("The open of the bar, or the close of the finest bar in which a level was met."),
        "Symbol": st.column_config.TextColumn(pinned=True), "Price": number, "Quantity": number,
        "Fee": st.column_config.NumberColumn(format="%.4f"),
        "Slippage, bps": st.column_config.NumberColumn(format="%.1f", help="How much worse than the market's price, in basis points.")})


def _orders(rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        st.info("No order yet.", icon=":material/inbox:")
        return
    number = st.column_config.NumberColumn(format="%.6g")
    shown([{"Placed": widgets.local_text(r["placed_ms"]), "Symbol": r["symbol"], "Side": SIDE[r["side"]],
            "At": "next open" if r["limit"] is None else f"{r['limit']:g} or better", "Close then": r["close"],
            "Stop, distance": r["stop_distance"], "Target, distance": r["target_distance"], "Became": r["ended"],
            "When": None if r["ended_ms"] is None else widgets.local_text(r["ended_ms"]), "Rule": title_of(r["strategy"]), "Key": r["key"]}
           for r in rows], "paper-orders", {
        "Placed": when("At the close that decided it."), "When": when(), "Symbol": st.column_config.TextColumn(pinned=True),
        "Close then": number, "Stop, distance": number, "Target, distance": number})


def _decisions(rows: Sequence[dict[str, Any]], states: Sequence[str]) -> None:
    if not rows:
        st.info("No decision of these states yet." if states else "Nothing is decided yet.", icon=":material/inbox:")
        return
    shown([{"Decided": widgets.local_text(r["decided_ms"]), "Symbol": r["symbol"], "Rule": title_of(r["strategy"]),
            "Wanted": r["action"].replace("_", " "), "Came": STATES.get(r["state"], r["state"]), "In words": r["words"].replace("_", " "),
            "Close": r["close"], "Code": r["version"][:10]} for r in rows], "paper-decisions", {
        "Decided": when("The close of the bar."), "Symbol": st.column_config.TextColumn(pinned=True),
        "In words": st.column_config.TextColumn(width="large"), "Close": st.column_config.NumberColumn(format="%.6g")})


def _asked(rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        st.info("Nothing was asked by hand yet.", icon=":material/inbox:")
        return
    shown([{"Asked": widgets.local_text(r["at_ms"]), "What": r["kind"], "Symbol": r["symbol"] or None,
            "With": ", ".join(f"{k} {json.dumps(v)}" for k, v in r["content"].items()) or None,
            "Came to": "waits for the runner" if r["words"] is None else r["words"]} for r in rows], "paper-asked", {
        "Asked": when(), "Came to": st.column_config.TextColumn(width="large")})
