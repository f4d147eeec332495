"""The frame: the page table, the symbol switcher, and the provenance chip with the age of the newest candle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from core.sextant import World
from data.clock import iso
from pages.ui.session import focus, redrawn, remember, workbench


@dataclass(frozen=True)
class PageRow:
    """One page: its group in the sidebar, its file, its address."""

    group: str
    file: str
    title: str
    icon: str
    url: str


PAGES = (
    PageRow("Market", "pages/overview.py", "Overview", ":material/dashboard:", ""),
    PageRow("Market", "pages/symbol.py", "Analysis", ":material/query_stats:", "analysis"),
    PageRow("Market", "pages/score_lab.py", "Score lab", ":material/biotech:", "score-lab"),
    PageRow("Decide", "pages/signal_board.py", "Signals", ":material/notifications_active:", "signals"),
    PageRow("Decide", "pages/model_lab.py", "Models", ":material/model_training:", "models"),
    PageRow("Decide", "pages/backtests.py", "Backtest", ":material/history:", "backtest"),
    PageRow("Decide", "pages/allocation.py", "Portfolio", ":material/donut_small:", "portfolio"),
    PageRow("Trade", "pages/paper_trading.py", "Paper trading", ":material/account_balance_wallet:", "paper"),
    PageRow("Trade", "pages/track_record.py", "History", ":material/fact_check:", "history"),
    PageRow("Ask", "pages/ask.py", "Assistant", ":material/forum:", "assistant"),
    PageRow("Set up", "pages/market_data.py", "Data", ":material/database:", "data"),
    PageRow("Set up", "pages/preferences.py", "Settings", ":material/settings:", "settings"),
)

ICON = str(Path(__file__).parent / "icon.png")  # a file: a named icon would be fetched from a font server

# Constant text only: less air above the title, figures in columns that line up, the chip at the right edge on narrow screens too.
STYLE = """<style>
.block-container, [data-testid="stMainBlockContainer"] { padding: 2.6rem clamp(1rem, 3vw, 3rem) 2rem; }
[data-testid="stSidebar"] { min-width: 13.5rem; width: 13.5rem; }
h1 { font-size: 2rem !important; }
[data-testid="stSidebarHeader"] { height: 2.2rem; margin-bottom: 0; }
[data-testid="stMetricValue"], [data-testid="stDataFrame"], h3 { font-variant-numeric: tabular-nums; }
[data-testid="stMetricValue"] { font-size: 1.9rem; }
</style>"""

CHIP = {  # colour of the badge and its icon, by provenance
    "LIVE": ("green", ":material/sensors:"),
    "MIRROR": ("green", ":material/content_copy:"),
    "ARCHIVE": ("blue", ":material/inventory_2:"),
    "IMPORTED": ("blue", ":material/upload_file:"),
    "SIMULATED": ("orange", ":material/science:"),
    "NO DATA": ("gray", ":material/block:"),
}
CHIP_HELP = {
    "SIMULATED": "Invented prices with known truths, made on this computer. Nothing here is a real market. "
                 "Import your own files on the Data page.",
    "IMPORTED": "Candles from files you imported. Their age is measured from the newest candle.",
}


def chip(provenance: str, words: str) -> None:
    """The provenance chip: SIMULATED cannot be overlooked."""
    colour, icon = CHIP.get(provenance, ("violet", ":material/lan:"))
    st.badge(f"{provenance} · {words}", icon=icon, color=colour, help=CHIP_HELP.get(provenance))  # type: ignore[arg-type]


def draw_frame(title: str, pages: Mapping[PageRow, StreamlitPage]) -> None:
    """Sidebar and header of every page."""
    sextant = workbench()
    st.html(STYLE)
    st.logo(ICON, size="large")
    if not sextant.world_is_known:
        with st.spinner("Looking for the exchange, two seconds at most ...", show_time=False):
            _ = sextant.world
    here = focus()
    symbols = list(sextant.symbols(here.key.market)) or [here.symbol]
    intervals = [str(i) for i in sextant.intervals(here.symbol, here.key.market)] or [str(here.key.interval)]
    address = {"symbol": here.symbol, "interval": str(here.key.interval), "market": str(here.key.market)}
    with st.sidebar:
        # Widgets are keyed by what they show: an address typed by hand wins over what was chosen before.
        chosen = st.selectbox("Symbol", symbols, index=symbols.index(here.symbol) if here.symbol in symbols else 0,
                              key=f"symbol-{here.symbol}", help="Type to search.")
        interval = st.selectbox("Interval", intervals, index=intervals.index(str(here.key.interval)),
                                key=f"interval-{here.symbol}-{here.key.interval}")
        if chosen != here.symbol or interval != str(here.key.interval):
            remember(symbol=chosen, interval=interval, market=str(here.key.market))
            st.rerun()
        for group in dict.fromkeys(row.group for row in pages):
            st.caption(group)
            for row, page in pages.items():
                if row.group == group:
                    st.page_link(page, label=row.title, icon=row.icon, query_params=address)
    left, right = st.columns([3, 2], vertical_alignment="center")
    left.title(title, anchor=False)
    with right:
        _live_chip()
    for words in sextant.damage()[:3]:
        st.warning(words, icon=":material/broken_image:")
    degraded = sextant.outside.degraded() if sextant.world is not World.SIMULATED else ()
    if degraded:
        more = f" {len(degraded) - 1} more on the Data page." if len(degraded) > 1 else ""
        st.warning(degraded[0] + more, icon=":material/cloud_off:")
    if sextant.settings.storage == "temporary":
        st.caption("The disk of this host is wiped at a restart: imports, models, runs and the paper account are then gone. Export or "
                   "back up what is worth keeping.")
    if sextant.world is not World.REAL:
        st.caption("Simulated exchange: prices are invented and their truths are known. Nothing here is a real market.")


@redrawn("the age of the data", every="20s")
def _live_chip() -> None:
    """Ticks the age without touching the page; a new bar redraws the page once."""
    sextant = workbench()
    here = focus()
    status = sextant.status(here.key) if sextant.reader.holds(here.key) else sextant.status()
    with st.container(horizontal=True, horizontal_alignment="right"):
        chip(status.provenance, status.words)
    seen = st.session_state.get("newest-close")
    st.session_state["newest-close"] = (here.key, status.newest_close_ms or 0)
    if seen is not None and seen[0] == here.key and status.newest_close_ms is not None and status.newest_close_ms > seen[1]:
        st.toast(f"New candle: {iso(status.newest_close_ms + 1)}")
        if st.session_state.get("follow", True):
            st.rerun()
