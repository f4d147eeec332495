"""Closed trades of every paper account and what came of past signals: filters, figures, pictures, tables."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from core.paper.record import NEWEST, Summary, grouped, summary
from data.clock import iso
from pages.ui import charts_backtest, charts_paper, paper_tables, theme, widgets
from pages.ui.backtest_views import metrics
from pages.ui.rule_form import title_of

Rows = Sequence[dict[str, Any]]
SIDES: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "All": lambda t: True, "Won": lambda t: t["pnl"] > 0, "Lost": lambda t: t["pnl"] <= 0, "Long": lambda t: t["side"] > 0,
    "Short": lambda t: t["side"] < 0}
CAME = {"won": "✓ won", "lost": "✗ lost", "open": "open", "waits": "waits", "filled": "filled", "cancelled": "cancelled",
        "expired": "expired", "refused": "refused by a limit", "paused": "paused", "late": "too late"}


def share_text(share: float, low: float, high: float) -> str:
    """A share with its interval; unknown without a case."""
    return "unknown" if math.isnan(share) else f"{share:.0%} (95 %: {low:.0%} to {high:.0%})"


def headline(rows: Rows, accounts: int) -> str:
    """The trades in one line."""
    if not rows:
        return "No paper trade is closed yet."
    s = summary(list(rows))
    return (f"**{s.trades:,} closed trade{'s' * (s.trades != 1)}** of {accounts} account{'s' * (accounts != 1)} · won "
            f"{share_text(s.won, s.low, s.high)} · together **{s.pnl:+,.2f}**")


def trades(rows: Rows) -> None:
    """Closed trades, filtered, with where the profit came from."""
    if not rows:
        st.info("No trade is closed yet. Open a paper account and start its runner; every position that ends is kept here.",
                icon=":material/inbox:")
        st.page_link("pages/paper_trading.py", label="Open the Paper page", icon=":material/account_balance_wallet:")
        return
    found = _filtered(rows)
    if not found:
        st.info(f"None of the {len(rows):,} trades is left. Take a filter away.", icon=":material/filter_alt_off:")
        return
    tiles(summary(found))
    stamp = (len(rows), rows[-1]["closed_ms"], tuple(t["order_key"] for t in found[:1]), len(found), sum(t["pnl"] for t in found))
    st.markdown("**Profit as it added up**")
    theme.draw(theme.kept(partial(charts_paper.added_up, [t["closed_ms"] for t in found], [t["pnl"] for t in found]), "hs-sum", *stamp),
               key="hs-sum", file_name="paper-profit", alt="Profit of closed trades as it added up")
    groups: list[tuple[str, Callable[[Mapping[str, Any]], str]]] = [
        ("By symbol", lambda t: t["symbol"]), ("By rule", lambda t: title_of(t["strategy"])),
        ("By month", lambda t: iso(t["closed_ms"])[:7]), ("By how they ended", lambda t: t["reason"].replace("_", " "))]
    columns = st.columns(2)
    for number, (title, by) in enumerate(groups):
        with columns[number % 2]:
            st.markdown(f"**{title}**")
            bars = [(f"{name} ({won} of {n} won)", pnl) for name, n, won, pnl in grouped(found, by)]
            theme.draw(theme.kept(partial(charts_backtest.bars, bars, percent=False), "hs-bars", title, *stamp), key=f"hs-bars-{number}",
                       file_name=title.lower().replace(" ", "-"), alt=title)
    paper_tables.trades(found[::-1][:NEWEST], "history-trades")


def _filtered(rows: Rows) -> list[dict[str, Any]]:
    a, b, c, d = st.columns([1, 1.6, 1.6, 2.4], vertical_alignment="bottom")
    numbers = sorted({t["account"] for t in rows})
    accounts = a.multiselect("Account", numbers, key="hs-account", placeholder="all")
    symbols = b.multiselect("Symbol", sorted({t["symbol"] for t in rows}), key="hs-symbol", placeholder="all")
    rules = c.multiselect("Rule", sorted({t["strategy"] for t in rows}), key="hs-rule", placeholder="all", format_func=title_of)
    side = SIDES[str(d.segmented_control("Which", list(SIDES), default="All", key="hs-side", required=True))]
    return [t for t in rows if t["account"] in (accounts or numbers) and (not symbols or t["symbol"] in symbols)
            and (not rules or t["strategy"] in rules) and side(t)]


def tiles(s: Summary) -> None:
    metrics([("Trades", f"{s.trades:,}", None, "Positions from first fill to flat."),
             ("Won", f"{s.won:.0%}", f"{s.low:.0%} to {s.high:.0%}", "Share above zero after costs. Below: its 95 % Wilson interval."),
             ("Profit", f"{s.pnl:+,.2f}", f"{s.pnl / s.trades:+,.2f} each", "After fees, slippage and funding, quote currency."),
             ("Profit factor", "–" if math.isnan(s.factor) else f"{s.factor:.2f}", "gains over losses", "Above 1: gains outweigh losses. "
              "–: no loss yet."),
             ("Costs", f"{s.costs:,.2f}", "fees and funding", "Slippage is in the prices.")])


def signals(rows: Rows) -> None:
    """Every wish to enter and what came of it."""
    if not rows:
        st.info("No rule wanted to enter yet. Each wish is kept here with what came of it: a trade, or the limit that refused it.",
                icon=":material/inbox:")
        return
    a, b, c = st.columns([2, 2, 2])
    symbols = a.multiselect("Symbol", sorted({r["symbol"] for r in rows}), key="hs-s-symbol", placeholder="all")
    rules = b.multiselect("Rule", sorted({r["strategy"] for r in rows}), key="hs-s-rule", placeholder="all", format_func=title_of)
    known = [s for s in CAME if any(r["came"] == s for r in rows)]
    came = c.multiselect("What came", known, key="hs-s-came", placeholder="all", format_func=CAME.__getitem__)
    found = [r for r in rows if (not symbols or r["symbol"] in symbols) and (not rules or r["strategy"] in rules)
             and (not came or r["came"] in came)]
    if not found:
        st.info(f"None of the {len(rows):,} signals is left. Take a filter away.", icon=":material/filter_alt_off:")
        return
    counts = Counter(r["came"] for r in found)
    done = counts["won"] + counts["lost"]
    ordered = sum(counts[s] for s in ("won", "lost", "open", "waits", "filled", "cancelled", "expired"))
    metrics([("Wishes to enter", f"{len(found):,}", None, "Of the rules, at a close."),
             ("Ordered", f"{ordered:,}", f"{ordered / len(found):.0%}", "Became an order."),
             ("Closed trades", f"{done:,}", f"{counts['won'] / done:.0%} won" if done else None, "Orders that were filled and have ended."),
             ("Refused", f"{counts['refused']:,}", "by a limit", "The reason stands in the row."),
             ("Too late, paused", f"{counts['late'] + counts['paused']:,}", None, "The bar was recorded too late, or the account was "
              "paused.")])
    table = pd.DataFrame([{
        "Decided": widgets.local_text(r["decided_ms"]), "Symbol": r["symbol"], "Wanted": r["action"].replace("_", " "),
        "Came": CAME.get(r["came"], r["came"]), "Profit": r["pnl"], "In words": r["words"].replace("_", " "), "Close": r["close"],
        "Rule": title_of(r["strategy"]), "Interval": r["interval"], "Account": r["account"]} for r in found])
    st.dataframe(table, hide_index=True, width="stretch", placeholder="–", height=min(38 + 35 * len(table), 520), column_config={
        "Decided": paper_tables.when("The close of the bar."), "Symbol": st.column_config.TextColumn(pinned=True),
        "Profit": st.column_config.NumberColumn(format="%+.2f", help="Of the trade it became, after costs."),
        "In words": st.column_config.TextColumn(width="large", help="How the trade ended, or why there was none."),
        "Close": st.column_config.NumberColumn(format="%.6g")})
    widgets.download(table, "history-signals")
