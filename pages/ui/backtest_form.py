"""The set-up of a backtest: what is traded by which rule, how; checked before it becomes a job. Also the jobs with their progress."""

from __future__ import annotations

from typing import Any

import streamlit as st

from core.backtest.asking import OPTIONS, ask
from core.jobs import Job
from core.sextant import Sextant
from core.strategies import COMMON, STRATEGIES, Strategy, strategy
from data.errors import InputError, SextantError
from data.market import Market
from pages.ui.session import Focus, ask_owner, may_write

KINDS = ("backtest", "sweep")
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


def title_of(name: str) -> str:
    """How a rule is called on pages; "trend+ema_cross@4h" are two on one account."""
    if "+" in name:
        return " + ".join(title_of(part) for part in name.split("+"))
    rule, _, interval = name.partition("@")
    title = next((s.title for s in STRATEGIES if s.name == rule), "Signals from a file" if rule == "signals" else rule)
    return f"{title} {interval}" if interval else title


def set_up(sextant: Sextant, here: Focus) -> dict[str, Any]:
    """Draw the form; returns the job's arguments as they stand, unchecked."""
    kind = st.segmented_control("Trade by", [BY_RULE, BY_FILE], default=BY_RULE, key="bt-kind", required=True, label_visibility="collapsed",
                                persist_state="session")
    rule, rows, parameters = None, None, {}
    if kind != BY_FILE:
        chosen = _strategy()
        parameters = _parameters(chosen)
        also = st.session_state.get("bt-also", "").replace(" ", "")
        rule = f"{chosen.name},{also}" if also else chosen.name
    else:
        rows = _file()
    place = f"{here.symbol}-{here.key.interval}-{here.key.market}"  # the sidebar's choice is where the form starts from
    a, b, c = st.columns([4, 1, 1], vertical_alignment="bottom")
    markets = [str(m) for m in Market]
    market = c.selectbox("Market", markets, index=markets.index(str(here.key.market)), key=f"bt-market-{place}",
                         help=OPTION["market"].help, persist_state="session")
    held = list(sextant.symbols(Market.parse(market)))
    symbols = a.multiselect("Symbols", held, default=[here.symbol] if here.symbol in held else [], key=f"bt-symbols-{place}-{market}",
                            help="Traded on one account; the bars that all of them have.", persist_state="session")
    intervals = [str(i) for i in sextant.intervals(here.symbol, Market.parse(market))] or [str(here.key.interval)]
    now = str(here.key.interval)
    interval = b.selectbox("Interval", intervals, index=intervals.index(now) if now in intervals else 0,
                           key=f"bt-interval-{place}-{market}", help="Bars that are traded.", persist_state="session")
    options: dict[str, Any] = {"interval": interval, "market": market}
    a, b, c = st.columns(3)
    options["bars"] = a.number_input(LABEL["bars"], value=OPTION["bars"].default, step=100, key="bt-bars", persist_state="session",
                                     help=OPTION["bars"].help.replace("--start", "a first day") + "; 8760 bars of 1h are a year")
    options["start"] = b.text_input(LABEL["start"], key="bt-start", placeholder="2026-01-01", help=OPTION["start"].help,
                                    persist_state="session") or None
    options["end"] = c.text_input(LABEL["end"], key="bt-end", placeholder="now", help=OPTION["end"].help, persist_state="session") or None
    for title, names in GROUPS.items():
        with st.expander(title):
            for first in range(0, len(names), 4):  # row by row, so that a phone shows them in this order
                for column, name in zip(st.columns(4, vertical_alignment="bottom"), names[first:first + 4], strict=False):
                    with column:
                        options[name] = option(name)
    return {"symbols": symbols, "options": {n: v for n, v in options.items() if v is not None}, "rule": rule, "rows": rows,
            "parameters": parameters}


def _strategy() -> Strategy:
    names = [s.name for s in STRATEGIES]
    a, b = st.columns([2, 3], vertical_alignment="bottom")
    chosen = strategy(a.selectbox("Strategy", names, format_func=title_of, key="bt-rule", persist_state="session"))
    slow = " It reads every module, so a year takes some minutes the first time." if "*" in chosen.reads else ""
    b.markdown(f"{chosen.rule} Meant for {chosen.horizon}.{slow}")
    return chosen


def _parameters(chosen: Strategy) -> dict[str, float]:
    out = {}
    columns = st.columns(4)
    columns[3].text_input("More rules on this account", key="bt-also", placeholder="ema_cross@4h", persist_state="session",
                          help="Separated by commas, a longer interval after @. They share equity, positions and limits with the first.")
    for column, p in zip(columns, chosen.parameters, strict=False):
        whole = float(p.default).is_integer() and p.high >= 10
        out[p.name] = float(column.number_input(
            p.name.replace("_", " ").capitalize(), value=p.default if not whole else int(p.default), step=1 if whole else 0.01,
            format="%d" if whole else "%.2f", key=f"bt-{chosen.name}-{p.name}", help=f"{p.help} {p.low:g} to {p.high:g}.",
            persist_state="session"))
    return out


def _file() -> str | None:
    """The text of an uploaded file; unreadable bytes are said at once."""
    given = st.file_uploader("Signals, CSV", type=["csv", "txt"], key="bt-file",
                             help="Columns time and action (enter_long, exit_long, enter_short, exit_short, exit); symbol where several "
                                  "are "
                                  "traded; stop, target and trail as distances in quote currency where you have them.")
    st.caption("The time is the open of the bar at whose close it was decided (UTC). Without a stop column the stop stands 2.5 average "
               "true "
               "ranges away.")
    if given is None:
        st.code(EXAMPLE, language=None)
        return None
    try:
        return given.getvalue().decode("utf-8-sig")
    except UnicodeDecodeError:
        st.error(f"{given.name} is not UTF-8 text. Save it as CSV in UTF-8 and try again.")
        return None


def option(name: str, prefix: str = "bt") -> Any:
    """One option's widget; its value, None where the default of rule or market is to be taken."""
    o, label, key = OPTION[name], LABEL[name], f"{prefix}-{name}"
    words = o.help[:1].upper() + o.help[1:]
    if o.kind == "words":
        return st.selectbox(label, o.choices, index=o.choices.index(o.default), key=key, help=words, persist_state="session")
    if o.kind == "switch":
        return st.toggle(label, value=bool(o.default), key=key, help=words, persist_state="session")
    usual = USUAL.get(name, o.default)
    if name == "adaptive_stop":
        return int(st.toggle(label, key=key, persist_state="session", help="1.5 to 3.5 average true ranges, wider where ranges are wide by "
                                                                           "their own history."))
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
        c.error(wrong, icon=":material/error:")
    elif pressed:
        sextant.jobs.submit("backtest", arguments | {"quick": quick})
        sextant.jobs.pump()
        st.rerun()


# -- jobs -------------------------------------------------------------------------------------------------------------


def open_jobs(sextant: Sextant) -> list[Job]:
    return [j for j in sextant.jobs.all() if j.kind in KINDS and j.open]


def what(job: Job) -> str:
    """A job in a few words."""
    options = job.arguments.get("options", {})
    grid = f", {' '.join(job.arguments['grid'])}" if job.kind == "sweep" else ""
    rule, symbols = title_of((job.arguments.get("rule") or "signals").replace(",", "+")), ", ".join(job.arguments.get("symbols", [])[:4])
    return f"{rule} on {symbols} {options.get('interval', '')}{grid}"


@st.fragment(run_every="1s")
def running(numbers: tuple[int, ...]) -> None:
    """How far they are. They go on when the tab is closed; the page redraws itself when one has ended."""
    from pages.ui.session import workbench

    sextant = workbench()
    sextant.jobs.pump()
    for number in numbers:
        job = sextant.jobs.get(number)
        if not job.open:
            if job.kind == "backtest" and job.result:
                st.session_state["bt-show"] = job.result["run_id"]
            elif job.kind == "sweep" and job.result:
                st.session_state["bt-swept"] = True
            st.rerun()
        with st.container(border=True):
            a, b = st.columns([8, 1], vertical_alignment="center")
            a.progress(job.share, f"{'Sweep' if job.kind == 'sweep' else 'Backtest'}: {what(job)} · {job.words or 'waiting for its turn'}")
            if may_write() and b.button("Stop", key=f"bt-stop-{number}", width="stretch"):
                sextant.jobs.cancel(number)


def ended(sextant: Sextant) -> None:
    """How the newest job ended, where it did not end well."""
    job = next((j for j in sextant.jobs.all() if j.kind in KINDS and not j.open), None)
    if job is None or job.state == "done" or st.session_state.get("bt-seen") == job.id:
        return
    a, b = st.columns([6, 1], vertical_alignment="center")
    if job.state == "failed":
        a.error(f"{what(job)} could not be run: {job.words}", icon=":material/error:")
    elif job.state == "interrupted":
        a.warning(f"{what(job)} was interrupted: {job.words}", icon=":material/power_off:")
    else:
        a.info(f"{what(job)} was stopped" + (" and goes on where it was when it is started again." if job.kind == "sweep" else "."),
               icon=":material/stop_circle:")
    if may_write() and b.button("Dismiss" if job.state == "failed" else "Start again", key=f"bt-again-{job.id}", width="stretch"):
        if job.state != "failed":
            sextant.jobs.submit(job.kind, job.arguments)
            sextant.jobs.pump()
        st.session_state["bt-seen"] = job.id
        st.rerun()
