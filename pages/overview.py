"""Overview: the watchlist at a glance. Painted at once from what is known; scores fill in under a progress bar."""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from analysis.composites import COMPOSITES, by_name
from analysis.methods.alerts import OFF_LEVEL
from core.sextant import BoardRow, World
from data.clock import age_text
from pages.ui import charts_scores, paper_card, theme, welcome, widgets
from pages.ui.session import collector, focus, guarded, redrawn, settle, workbench

sextant = workbench()
here = focus()
interval, market = here.key.interval, here.key.market
watchlist = list(sextant.settings.watchlist)
held = set(sextant.symbols(market))
symbols = [s for s in watchlist if s in held] or list(sextant.symbols(market))[:50]
absent = [s for s in watchlist if s not in held]
COLOURS = {"trend_strength": theme.MODULE["A"], "buy_opportunity": theme.UP, "sell_opportunity": theme.DOWN,
           "risk_exposure": theme.MODULE["G"], "macro_sentiment": theme.MODULE["F"], "data_confidence": theme.NEUTRAL}


KEY_SCORES = {"trend_strength": "Trend", "buy_opportunity": "Buy", "sell_opportunity": "Sell", "risk_exposure": "Risk",
              "macro_sentiment": "Macro", "data_confidence": "Data"}


def row_of(row: BoardRow) -> dict[str, object]:
    """One line of the board; unknown stays empty, never zero."""
    places = widgets.decimals(row.closes) if row.closes else 2
    line: dict[str, object] = {
        "Symbol": row.symbol, "Price": widgets.price_text(row.price, places) if row.price is not None else None,
        "24 h": widgets.change_text(row.change_24h) if row.price is not None else None, "Last 48 bars": list(row.closes),
    }
    for name, title in KEY_SCORES.items():
        report = row.card.composite(name) if row.card else None
        line[title] = report.score if report else None
    regime, alarm = (row.card.report("B"), row.card.composite("anomaly_alert")) if row.card else (None, None)
    line["Regime"] = _words(regime.label) if regime and regime.label else None
    line["Alarm"] = _words(alarm.label) if alarm and alarm.label else None
    line["Age"] = age_text(max(0, sextant.clock.now_ms() - row.as_of_ms)) if row.as_of_ms else None
    return line


def _words(label: str) -> str:
    return label.replace("_", " ").lower()


def headline(rows: list[BoardRow]) -> str:
    """The answer in one line, from the cards that are known."""
    cards = [r.card for r in rows if r.card]
    if not cards:
        return "Scores are being computed."
    words = []
    regimes = [c.report("B") for c in cards]
    trending = [r for r in regimes if r.label.startswith("TREND")]
    words.append(f"**{len(trending)} of {len(regimes)}** symbols trend")
    trends = {c.symbol: c.composite("trend_strength").score for c in cards}
    known = {symbol: score for symbol, score in trends.items() if score is not None}
    if known:
        best, worst = max(known, key=known.__getitem__), min(known, key=known.__getitem__)
        words.append(f"strongest **{best}** ({known[best]:.2f}), weakest **{worst}** ({known[worst]:.2f})")
    risky = [c.symbol for c in cards if (c.composite("risk_exposure").score or 0) >= 0.8]
    words.append(f"high risk: **{', '.join(risky[:4])}**" if risky else "no symbol at high risk")
    alarms = {c.symbol: c.composite("anomaly_alert") for c in cards}
    odd = [f"**{s}**{' (calming)' if (a.score or 0) < OFF_LEVEL else ''}" for s, a in alarms.items() if a.label == "alert"]
    words.append(f"anomaly alert: {', '.join(odd[:4])}" if odd else "no anomaly alert")
    return " · ".join(words)


def board(rows: list[BoardRow], slot: st.delta_generator.DeltaGenerator, *, ready: bool) -> None:
    """The table, in watchlist order."""
    frame = pd.DataFrame([row_of(r) for r in rows])
    config: dict[str, object] = {
        "Symbol": st.column_config.TextColumn("Symbol", width=80, pinned=True, help="Select a row to open its analysis."),
        "Price": st.column_config.TextColumn("Price", width=78, help="Close of the newest candle, at the symbol's tick."),
        "24 h": st.column_config.TextColumn("24 h", width=70, help="Change of the close against 24 hours before."),
        "Last 48 bars": st.column_config.LineChartColumn("Last 48 bars", width=96, color=theme.ACCENT,
                                                         help=f"Closes of the last 48 {interval} candles."),
        "Regime": st.column_config.TextColumn("Regime", width=88,
                                              help="Trend or range, once the probability has stood on one side for two bars."),
        "Alarm": st.column_config.TextColumn("Alarm", width=50,
                                             help="info below 0.3, watch to 0.6, alert above; kept until it has been quiet for 6 bars."),
        "Age": st.column_config.TextColumn("Age", width=54, help="Since the newest candle closed."),
    }
    for name, title in KEY_SCORES.items():
        composite = by_name(name)
        config[title] = st.column_config.ProgressColumn(
            title, width=84, min_value=0.0, max_value=1.0, format="%.2f", color=COLOURS.get(name, theme.ACCENT),
            help=f"{composite.question} {composite.type}. Empty: not enough data.")
    with slot.container():
        look: dict[str, Any] = {"hide_index": True, "width": "stretch", "height": min(36 + 35 * len(frame), 1800), "column_config": config,
                                "placeholder": "", "key": f"board-{ready}",
                                "alt": "Watchlist with price, change, sparkline and scores of each symbol"}
        if not ready:
            st.dataframe(frame, **look)
        else:
            chosen = st.dataframe(frame, on_select="rerun", selection_mode="single-row", **look)["selection"]["rows"]
            if chosen:
                symbol = rows[chosen[0]].symbol
                st.switch_page("pages/symbol.py", query_params={"symbol": symbol, "interval": str(interval), "market": str(market)})
            table = frame.drop(columns=["Last 48 bars"])
            widgets.download(table, f"overview-{interval}")


@redrawn("the progress", every="2s")
def arriving() -> None:
    """While the first candles are fetched: how far it is; the page redraws itself when they are there."""
    state = collector().state()
    st.status(f"{state.words} ...", state="running")
    if sextant.symbols(market):
        st.rerun()


with guarded("the welcome"):
    welcome.welcome(sextant)
if not symbols and sextant.outside.allowed and sextant.world is not World.SIMULATED and collector().running:
    arriving()
elif not symbols:
    widgets.empty_state("No candles are stored yet. Import Binance archive files or any OHLCV table on the Data page.",
                        "Open the Data page", lambda: st.switch_page("pages/market_data.py"))
else:
    line, bar, table, paper, pictures = st.empty(), st.empty(), st.empty(), st.container(), st.container()
    with paper, guarded("the paper account"):
        paper_card.card(sextant)
    rows = {s: sextant.board_row(s, interval, market, score=False) for s in symbols}
    missing = [s for s, r in rows.items() if r.card is None and not r.problem]
    if missing:
        line.markdown(headline(list(rows.values())))
        board(list(rows.values()), table, ready=False)
        bar.progress(0.0, f"Scoring {len(missing)} symbols ...")
        for done, row in enumerate(sextant.board(missing, interval, market), start=1):
            rows[row.symbol] = row
            bar.progress(done / len(missing), f"Scored {row.symbol} ({done} of {len(missing)})")
        bar.empty()
    line.markdown(headline(list(rows.values())))
    board(list(rows.values()), table, ready=True)
    cards = [(s, r.card) for s, r in rows.items() if r.card]
    if cards:
        with pictures, guarded("the heat map"):
            st.subheader("Scores side by side", anchor=False)
            columns = [(m.short, m.letter, [widgets.shown_bar(c.report(m.letter)) for _, c in cards]) for m in sextant.modules]
            mixed = [(c.title, c.name, [card.composite(c.name).score for _, card in cards]) for c in COMPOSITES]
            content = tuple(sextant.content(sextant.key(s, interval, market)) for s, _ in cards)
            for name, across in (("modules", columns), ("composites", mixed)):
                heat = theme.kept(partial(charts_scores.heat_map, [s for s, _ in cards], across), "heat", name, content)
                theme.draw(heat, key=f"heat-{name}", file_name=f"sextant-{name}-{interval}", alt=f"Heat map of symbols by {name}")
            st.caption(widgets.as_of_line(cards[0][1].provenance, max(c.as_of_ms for _, c in cards))
                       + " · scores describe the market; whether they predict is the score lab's question")
if absent and symbols:
    st.caption(f"On the watchlist without {interval} data: {', '.join(absent[:20])}. Import or back-fill them on the Data page.")
settle()
