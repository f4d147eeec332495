"""The account as it stands: the answer in one line, the runner, figures, open positions and orders. Redrawn every few seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import streamlit as st

from core.paper import record
from core.sextant import Sextant
from data.clock import age_text, parse_time
from pages.ui import charts_paper, paper_asking, theme, widgets
from pages.ui.backtest_views import metrics
from pages.ui.rule_form import title_of
from pages.ui.session import may_write, redrawn, workbench

Status = Mapping[str, Any]
EVERY = "5s"
STATES = {"running": ("green", ":material/play_circle:"), "starting": ("blue", ":material/hourglass_top:"),
          "waiting": ("orange", ":material/hourglass_empty:"), "paused": ("orange", ":material/pause_circle:"),
          "not running": ("gray", ":material/stop_circle:"), "silent": ("red", ":material/heart_broken:"),
          "never started": ("gray", ":material/stop_circle:")}
STARTING_MS = 20_000


def runner_state(runner: Mapping[str, Any]) -> str:
    """One word for the runner."""
    if not runner.get("state"):
        return "never started"
    if runner["alive"]:
        return str(runner["state"]) if runner["state"] in STATES else "running"
    return "not running" if runner["state"] == "ended" else "silent"


def coming(runner: Mapping[str, Any], now_ms: int) -> bool:
    """Whether the runner was started here a moment ago and has not said a word yet."""
    return not runner["alive"] and now_ms - st.session_state.get("pp-started", 0) < STARTING_MS


@st.cache_data(ttl=600, max_entries=8, show_spinner=False)
def curve_of(home: str, world: str, account: int, as_of: str) -> record.Curve:
    """The curve of an account up to a recorded bar."""
    sextant = workbench()
    return sextant.paper_curve(next(a for a in sextant.paper_accounts() if a.number == account))


@st.cache_data(ttl=600, max_entries=8, show_spinner=False)
def won_of(home: str, world: str, account: int, as_of: str) -> str:
    """The share of closed trades that were won, with its interval, up to a recorded bar."""
    sextant = workbench()
    rows = [h.document() for h in sextant.paper_statement(next(a for a in sextant.paper_accounts() if a.number == account)).closed]
    s = record.summary(rows)
    return f"won {s.won:.0%} ({s.low:.0%} to {s.high:.0%})" if rows else "none yet"


def curve(sextant: Sextant, status: Status) -> record.Curve | None:
    """None while no bar is recorded."""
    if status["as_of"] is None:
        return None
    return curve_of(str(sextant.settings.home), str(sextant.world), status["account"], status["as_of"])


@redrawn("the account", every=EVERY)
def live() -> None:
    """What changes by itself. A new bar redraws the page once, for its tables and its curve."""
    sextant = workbench()
    status = sextant.paper_status()
    if status["account"] is None:
        return
    seen, st.session_state["pp-bar"] = st.session_state.get("pp-bar"), (status["account"], status["as_of"])
    if seen is not None and seen != st.session_state["pp-bar"]:
        st.rerun()
    known = curve(sextant, status)
    st.markdown(headline(status, known))
    with st.container():  # places that stay where they are, however much is said in them
        runner_row(sextant, status)
    with st.container():
        warnings(status, sextant.clock.now_ms())
    won = "none yet" if status["as_of"] is None else won_of(str(sextant.settings.home), str(sextant.world), status["account"],
                                                            status["as_of"])
    with st.container():
        tiles(status, known, won)


def headline(status: Status, known: record.Curve | None) -> str:
    """The answer in one line."""
    grown = status["equity"] / status["capital"] - 1.0
    since = widgets.local_text(parse_time(status["opened"]))
    words = [f"Equity **{status['equity']:,.2f}**{widgets.quote_of(status['terms']['symbols'])}",
             f"**{widgets.change_text(grown)}** since the opening on {since}"]
    if known is not None:
        below = record.drawdown_now(known, status["equity"])
        words.append(f"{-below:.2%} below its highest" if below < -1e-6 else "at its highest")
    state = runner_state(status["runner"])
    words.append({"running": "the runner is at work", "silent": "**the runner fell silent**",
                  "starting": "the runner is starting"}.get(state, f"the runner: {state}"))
    return " · ".join(words)


def runner_row(sextant: Sextant, status: Status) -> None:
    """What the runner says of itself, and the switches."""
    runner = status["runner"]
    state = runner_state(runner)
    now = sextant.clock.now_ms()
    starting = coming(runner, now)
    state = "starting" if starting else state
    colour, icon = STATES[state]
    left, right = st.columns([3, 2], vertical_alignment="center")
    with left, st.container(horizontal=True, vertical_alignment="center"):
        st.badge(f"Runner: {state}", color=colour, icon=icon)  # type: ignore[arg-type]
        if runner.get("beat_ms"):
            ago = age_text(max(0, now - runner["beat_ms"]))
            words = runner["words"].partition(": ")[2] or runner["words"]
            st.caption(f"{widgets.plain(words)} · last sign of life {ago} ago" if runner["alive"]
                       else f"last sign of life {widgets.local_text(runner['beat_ms'])}", width="content")
    if not may_write():
        return
    if "pp-started" in st.session_state and not runner["alive"] and not starting:
        st.error("The runner did not start. Verify the ledger below, or run python -m core run in a terminal: it says why.",
                 icon=":material/error:")
    with right, st.container(horizontal=True, horizontal_alignment="right"):
        if runner["alive"]:
            st.session_state.pop("pp-started", None)
            if st.button("Stop", icon=":material/stop:", key="pp-stop-runner", help="The runner ends after the bar it is at. Positions "
                                                                                    "stay; nothing watches their stops until it runs."):
                sextant.stop_runner()
                st.rerun()
        elif st.button("Start", icon=":material/play_arrow:", key="pp-start-runner", type="primary", disabled=starting,
                       help="A process of its own: it goes on when this page is closed, and after a crash goes on where it was."):
            sextant.start_runner()
            st.session_state["pp-started"] = now
            st.rerun()
        if status["paused"]:
            if st.button("Resume", icon=":material/play_circle:", key="pp-resume", help="Enter again."):
                _told(sextant, "resume")
        elif st.button("Pause", icon=":material/pause:", key="pp-pause", help="No new entries; stops, targets and exits go on."):
            _told(sextant, "pause")
        if status["killed"]:
            if st.button("Re-arm", icon=":material/lock_open:", key="pp-rearm", help="Entries are allowed again; the drawdown is measured "
                                                                                     "from here."):
                _told(sextant, "rearm")
        elif st.button("Kill switch", icon=":material/emergency_home:", key="pp-kill",
                       help="Close everything at the next open and enter nothing until it is re-armed."):
            many = len(status["positions"])
            what = f"{many} open position{'s leave' if many > 1 else ' leaves'} at the next open" if many else "No position is open"
            paper_asking.ask("kill", "kill", f"Kill switch: {what}, waiting orders are cancelled, and nothing is entered until you re-arm.")
    paper_asking.confirm(sextant, "kill", alive=runner["alive"])


def _told(sextant: Sextant, kind: str) -> None:
    sextant.paper_ask(kind)
    st.session_state["pp-done"] = "Kept for the runner: done before the next bar."
    st.rerun()


def warnings(status: Status, now_ms: int) -> None:
    """What a reader must not overlook."""
    if status["killed"]:
        st.error("The kill switch has fired: everything is closed, nothing is entered until it is re-armed.",
                 icon=":material/emergency_home:")
    if status["paused"]:
        st.warning("Paused: nothing is entered; stops, targets and exits go on.", icon=":material/pause_circle:")
    until = status["no_entries_before_ms"]
    if until > now_ms and not status["killed"]:
        st.info(f"A losing streak: no entries before {widgets.local_text(until)}, by the account's limits.", icon=":material/timer:")
    if runner_state(status["runner"]) == "silent":
        st.warning(f"{widgets.plain(status['runner']['words'])}.", icon=":material/heart_broken:")
    elif not status["runner"]["alive"] and (status["positions"] or status["orders"]) and not coming(status["runner"], now_ms):
        st.warning("No runner is at work: open positions and waiting orders are not looked after. What is due is caught up when it "
                   "starts; bars it comes too late for are not entered on.", icon=":material/visibility_off:")


def tiles(status: Status, known: record.Curve | None, won: str) -> None:
    """Figures side by side."""
    grown = status["equity"] / status["capital"] - 1.0
    exposure = sum(p["notional"] for p in status["positions"]) / status["equity"] if status["equity"] else 0.0
    held = None if known is None or not np.isfinite(known.held[-1]) else known.held[-1] / known.capital - 1.0
    below = None if known is None else record.drawdown_now(known, status["equity"])
    deepest = None if known is None else float(known.drawdown.min())
    open_pnl = sum(p["pnl"] for p in status["positions"])
    metrics([("Equity", f"{status['equity']:,.2f}", f"{status['equity'] - status['capital']:+,.2f}", "Cash and open positions at the "
              "newest price, after costs. Below: since the opening."),
             ("Return", f"{grown:+.2%}", None if held is None else f"held {held:+.2%}", "Since the opening. Below: the same symbols bought "
              "equally then and held, without costs."),
             ("Drawdown", "–" if below is None else f"{below:.2%}", None if deepest is None else f"deepest {min(deepest, below or 0):.2%}",
              "Below the highest recorded equity, now and at its deepest."),
             ("Cash", f"{status['cash']:,.2f}", f"exposed {exposure:.0%}", "Quote currency. Below: open positions as a share of equity."),
             ("Open", str(len(status["positions"])), f"{open_pnl:+,.2f}", "Positions, and their profit at the newest price after costs so "
              "far."),
             ("Closed trades", f"{status['trades']:,}", won, "Positions from first fill to flat. Below: the share above zero after "
              "costs, with its 95 % Wilson interval.")])


# -- positions and orders ---------------------------------------------------------------------------------------------


@redrawn("the positions", every=EVERY)
def open_now() -> None:
    """Open positions with their profit at the newest price, and the orders that wait."""
    import pandas as pd

    sextant = workbench()
    status = sextant.paper_status()
    if not status["positions"]:
        words = ("The first bar is decided at the next candle close." if status["as_of"] is None else
                 f"Recorded up to {widgets.local_text(parse_time(status['as_of']))}; the rules want nothing now.")
        st.info(f"No open position. {words}", icon=":material/inbox:")
    else:
        now = sextant.clock.now_ms()
        rows = pd.DataFrame([{
            "Symbol": p["symbol"], "Side": "▲ long" if p["side"] > 0 else "▼ short", "Quantity": p["quantity"], "Entry": p["entry"],
            "Price": p["price"], "Profit": p["pnl"], "Of entry": p["pnl"] / (p["entry"] * p["quantity"]) if p["quantity"] else None,
            "Stop": p["stop"], "To stop": _away(p, "stop"), "Target": p["target"], "To target": _away(p, "target"),
            "Held": age_text(max(0, now - p["opened_ms"])), "By": title_of(p["strategy"])}
            for p in status["positions"]])
        number, share = st.column_config.NumberColumn(format="%.6g"), st.column_config.NumberColumn(format="percent")
        st.dataframe(rows, hide_index=True, width="stretch", placeholder="none", column_config={
            "Symbol": st.column_config.TextColumn(pinned=True), "Quantity": number, "Entry": number, "Price": number, "Stop": number,
            "Target": number, "Profit": st.column_config.NumberColumn(format="%+.2f", help="At the newest price, after fees and funding "
                                                                                           "so far."),
            "Of entry": share, "To stop": share, "To target": share})
        widgets.download(rows, "paper-positions")
    if status["orders"]:
        st.markdown("**Waiting orders**")
        st.dataframe([{"Symbol": o["symbol"], "Side": "▲ long" if o["side"] > 0 else "▼ short",
                       "At": "next open" if o["limit"] is None else f"{o['limit']:g} or better", "By": title_of(o["strategy"])}
                      for o in status["orders"]], hide_index=True, width="stretch")


def _away(p: Mapping[str, Any], level: str) -> float | None:
    """How far the price is from a level, as a share of the price."""
    return None if p[level] is None else p[level] / p["price"] - 1.0


def picture(known: record.Curve | None, status: Status) -> None:
    """Equity beside holding."""
    if known is None or len(known.at_ms) < 2:
        st.caption("The curve begins with the second recorded bar.")
        return
    theme.draw(theme.kept(lambda: charts_paper.equity(known), "pp-equity", status["opened"], status["as_of"]), key="pp-equity",
               file_name="paper-equity", alt="Equity of the paper account beside the same symbols held equally")

