"""The set-up of a backtest: what is traded by which rule, how; checked before it becomes a job. Also the jobs with their progress."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from core.backtest.asking import OPTIONS, ask
from core.jobs import Job
from core.sextant import Sextant
from core.strategies import COMMON
from data.errors import InputError, SextantError
from pages.ui import widgets
from pages.ui.job_panel import Panel
from pages.ui.rule_form import rules, title_of
from pages.ui.series_form import series
from pages.ui.session import Focus, ask_owner, may_write

BY_RULE, BY_FILE = "A strategy", "Signals from a file"
OPTION = {o.name: o for o in OPTIONS}
LABEL = {
    "maker_bps": "Maker fee, bps", "taker_bps": "Taker fee, bps", "slippage": "Slippage", "slippage_bps": "Fixed slippage, bps",
    "capital": "Start capital", "sizing": "Sizing", "size": "Size", "leverage": "Leverage", "stop_atr": "Stop, ATR",
    "reward": "Target, times the stop", "trail_atr": "Trailing stop, ATR", "max_bars": "Time stop, bars",
    "stop_percent": "Stop, % of the close", "adaptive_stop": "Adaptive stop", "max_positions": "Most positions",
    "position_cap": "Position cap", "participation": "Share of a bar's volume", "kill_switch": "Kill switch at",
    "break_stop_atr": "Stops after a break, ATR",
    "portfolio_limits": "VaR, ES and correlation", "no_limits": "No limits at all", "allow_gaps": "Trade around holes",
    "no_finer": "Do not replay 1m bars", "seed": "Seed", "bars": "Newest bars", "start": "From", "end": "To",
}
GROUPS = {"Costs": ("maker_bps", "taker_bps", "slippage", "slippage_bps"),
          "Stops and size": ("stop_atr", "reward", "trail_atr", "stop_percent", "adaptive_stop", "max_bars", "capital",
                             "sizing", "size", "leverage"),
          "Limits": ("max_positions", "position_cap", "participation", "kill_switch", "break_stop_atr", "portfolio_limits", "no_limits",
                     "allow_gaps", "no_finer", "seed")}
USUAL = {p.name: p.default for p in COMMON}  # what an option without a default of its own starts from
EXAMPLE = "time,action\n2026-10-01 00:00:00,enter_long\n2026-10-03 12:00:00,exit_long"


def set_up(sextant: Sextant, here: Focus) -> dict[str, Any]:
    """Draw the form; returns the job's arguments as they stand, unchecked."""
    kind = st.segmented_control("Trade by", [BY_RULE, BY_FILE], default=BY_RULE, key="bt-kind", required=True, label_visibility="collapsed",
                                persist_state="session")
    rule: str | None = None
    rows: str | None = None
    parameters: dict[str, float] = {}
    if kind != BY_FILE:
        rule, parameters = rules("bt", slow="It reads every module, so a year takes some minutes the first time.",
                                 together="They share equity, positions and limits with the first.")
    else:
        rows = _file()
    symbols, interval, market = series(sextant, here, "bt", together="Traded on one account; the bars that all of them have.")
    options: dict[str, Any] = {"interval": interval, "market": market}
    a, b, c = st.columns(3)
    options["bars"] = a.number_input(LABEL["bars"], value=OPTION["bars"].default, step=100, key="bt-bars", persist_state="session",
                                     help=OPTION["bars"].help.replace("--start", "a first day") + "; 8760 bars of 1h are a year")
    options["start"] = b.text_input(LABEL["start"], key="bt-start", placeholder="2026-01-01", help=OPTION["start"].help,
                                    persist_state="session") or None
    options["end"] = c.text_input(LABEL["end"], key="bt-end", placeholder="now", help=OPTION["end"].help, persist_state="session") or None
    options |= option_groups(GROUPS, "bt")
    return {"symbols": symbols, "options": {n: v for n, v in options.items() if v is not None}, "rule": rule, "rows": rows,
            "parameters": parameters}


def _file() -> str | None:
    """The text of an uploaded file; unreadable bytes are said at once."""
    given = st.file_uploader("Signals, CSV", type=["csv", "txt"], key="bt-file",
                             help="Columns time and action (enter_long, exit_long, enter_short, exit_short, exit); symbol where several "
                                  "are traded; stop, target and trail as distances in quote currency where you have them.")
    st.caption("The time is the open of the bar at whose close it was decided (UTC). Without a stop column the stop stands 2.5 average "
               "true ranges away.")
    if given is None:
        st.code(EXAMPLE, language=None)
        return None
    try:
        return given.getvalue().decode("utf-8-sig")
    except UnicodeDecodeError:
        st.error(f"{given.name} is not UTF-8 text. Save it as CSV in UTF-8 and try again.")
        return None


def option_groups(groups: Mapping[str, Sequence[str]], prefix: str) -> dict[str, Any]:
    """Groups of options, folded; their values by name."""
    values = {}
    for title, names in groups.items():
        with st.expander(title):
            for first in range(0, len(names), 4):  # row by row, so that a phone shows them in this order
                for column, name in zip(st.columns(4, vertical_alignment="bottom"), names[first:first + 4], strict=False):
                    with column:
                        values[name] = option(name, prefix)
    return values


def option(name: str, prefix: str) -> Any:
    """One option's widget; its value, None where the default of rule or market is to be taken."""
    o, label, key = OPTION[name], LABEL[name], f"{prefix}-{name}"
    words = o.help[:1].upper() + o.help[1:]
    if o.kind == "words":
        return st.selectbox(label, o.choices, index=o.choices.index(o.default), key=key, help=words, persist_state="session")
    if o.kind == "switch":
        return st.toggle(label, value=bool(o.default), key=key, help=words, persist_state="session")
    usual = USUAL.get(name, o.default)
    if name == "adaptive_stop":
        return int(st.toggle(label, key=key, persist_state="session",
                             help="1.5 to 3.5 average true ranges, wider where ranges are wide by their own history."))
    if o.kind == "whole":
        return st.number_input(label, value=None if usual is None else int(usual), step=1, format="%d", key=key, help=words,
                               placeholder="none", persist_state="session")
    return st.number_input(label, value=None if usual is None else float(usual), step=_step(usual), key=key,
                           format="%.2f" if usual != 0.01 else "%.3f", help=words, persist_state="session",
                           placeholder="the exchange's" if name.endswith("_bps") else "none")


def _step(usual: float | None) -> float:
    return 0.5 if usual is None or usual >= 1 else 0.005 if usual == 0.01 else 0.01


def check(arguments: dict[str, Any]) -> str:
    """What is wrong with it in words, or nothing."""
    try:
        if arguments["rule"] is None and not arguments["rows"]:
            raise InputError("signals: expected a CSV file with columns time and action, got none; choose one above")
        if not arguments["symbols"]:
            raise InputError("symbols: expected at least one, got none; choose where the rule trades")
        ask(arguments["symbols"], arguments["options"], rule=arguments["rule"], rows=arguments["rows"], parameters=arguments["parameters"])
    except SextantError as error:
        return str(error)
    return ""


def run_button(sextant: Sextant, arguments: dict[str, Any]) -> None:
    """Check and submit. What is wrong stays beside the button until it is right."""
    if not may_write():
        ask_owner()
        return
    a, b, c = st.columns([1, 2, 4], vertical_alignment="center")
    pressed = a.button("Run", type="primary", icon=":material/play_arrow:", key="bt-run", width="stretch")
    quick = b.toggle("Quick look", key="bt-quick", persist_state="session",
                     help="Leaves out what needs further runs: luck, neighbours, baselines, costs rung by rung, worlds without an edge.")
    wrong = check(arguments) if pressed or st.session_state.get("bt-wrong") else ""
    st.session_state["bt-wrong"] = bool(wrong)
    if wrong:
        c.error(widgets.plain(wrong), icon=":material/error:")
    elif pressed:
        sextant.jobs.submit("backtest", arguments | {"quick": quick})
        sextant.jobs.pump()
        st.rerun()


# -- jobs -------------------------------------------------------------------------------------------------------------


def what(job: Job) -> str:
    """A job in a few words."""
    options = job.arguments.get("options", {})
    grid = f", {' '.join(job.arguments['grid'])}" if job.kind == "sweep" else ""
    rule, symbols = title_of((job.arguments.get("rule") or "signals").replace(",", "+")), ", ".join(job.arguments.get("symbols", [])[:4])
    return f"{'Sweep' if job.kind == 'sweep' else 'Backtest'}: {rule} on {symbols} {options.get('interval', '')}{grid}"


def _done(job: Job) -> None:
    """Remember what the page shows next: the run, or that a sweep is there."""
    if job.kind == "backtest":
        st.session_state["bt-show"] = job.result["run_id"]
    else:
        st.session_state["bt-swept"] = True


JOBS = Panel("bt", ("backtest", "sweep"), what, starting="reading the candles", failed="could not be run", done=_done,
             stopped=lambda job: " and goes on where it was when it is started again." if job.kind == "sweep" else ".")
