"""Opening a paper account, or a new epoch of it: what it trades, by which rules, with which money and limits."""

from __future__ import annotations

from typing import Any

import streamlit as st

from core.backtest.asking import OPTIONS
from core.paper.window import Terms
from core.sextant import Sextant
from data.errors import InputError, SextantError
from data.market import Market
from pages.ui import widgets
from pages.ui.backtest_form import OPTION, USUAL, option, option_groups
from pages.ui.rule_form import rules, title_of
from pages.ui.session import Focus, ask_owner, may_write

GROUPS = {"Stops and size": ("sizing", "size", "leverage", "stop_atr", "reward", "trail_atr", "stop_percent", "adaptive_stop", "max_bars"),
          "Limits": ("max_positions", "position_cap", "participation", "kill_switch", "break_stop_atr", "portfolio_limits"),
          "Costs": ("maker_bps", "taker_bps", "slippage", "slippage_bps")}
LEFT_TO_BACKTESTS = {"start", "end", "bars", "no_limits", "allow_gaps", "no_finer", "seed"}  # a live account has no window to choose
WHAT_IT_DOES = ("A paper account trades its rules on live candles with invented money: after each candle the runner decides, checks the "
                "limits and fills at the next open, by the very rules of the backtest, and every step goes into a ledger that is only "
                "ever added to. **No real order can be sent:** Sextant has no key and no way to place one.")
DEFAULTS = {o.name: USUAL.get(o.name, o.default) for o in OPTIONS}


def form(sextant: Sextant, here: Focus) -> Terms:
    """Draw the form; returns the terms as they stand, unchecked."""
    rule, parameters = rules("pp", slow="It reads every module, so its first bar takes a while.",
                             together="One net position a symbol: the rule that opened it closes it.")
    a, b, c, d = st.columns([4, 1, 1, 1.4], vertical_alignment="bottom")
    markets = [str(m) for m in Market]
    market = b.selectbox("Market", markets, index=markets.index(str(here.key.market)), key="pp-market", help=OPTION["market"].help,
                         persist_state="session")
    held = sextant.symbols(Market.parse(market))
    watched = [s for s in held if s in sextant.settings.watchlist] or list(held)
    symbols = a.multiselect("Symbols", watched, default=[here.symbol] if here.symbol in watched else watched[:1], persist_state="session",
                            key=f"pp-symbols-{market}", help="Of the watchlist. All are traded on one account.")
    now, first = str(here.key.interval), symbols[0] if symbols else here.symbol
    intervals = [str(i) for i in sextant.intervals(first, Market.parse(market))] or [now]
    interval = c.selectbox("Interval", intervals, index=intervals.index(now) if now in intervals else 0, key=f"pp-interval-{market}",
                           help="A decision at each close.", persist_state="session")
    options: dict[str, Any] = {"interval": interval, "market": market}
    with d:
        options["capital"] = option("capital", "pp")
    options |= option_groups(GROUPS, "pp")
    kept = {n: v for n, v in options.items() if v is not None and (n in ("interval", "market", "capital") or v != DEFAULTS[n])}
    return Terms(tuple(symbols), rule, parameters, kept)


def check(sextant: Sextant, terms: Terms) -> str:
    """What is wrong with the terms in words, or nothing."""
    try:
        if not terms.symbols:
            raise InputError("symbols: expected at least one, got none; choose what is traded")
        terms.question()
        for symbol in terms.symbols:
            sextant.key(symbol, terms.interval, terms.market)
    except SextantError as error:
        return str(error)
    return ""


def in_words(terms: Terms) -> str:
    """Terms in one line."""
    own = {n: v for n, v in terms.options.items() if n not in ("interval", "market", "capital")}
    more = "; " + ", ".join(f"{n.replace('_', ' ')} {v:g}" if isinstance(v, int | float) else f"{n.replace('_', ' ')} {v}"
                            for n, v in own.items()) if own else ""
    values = ", ".join(f"{n.replace('_', ' ')} {v:g}" for n, v in terms.parameters.items())
    return (f"{title_of(terms.rule.replace(',', '+'))}{f' ({values})' if values else ''} on {', '.join(terms.symbols)}, "
            f"{terms.interval} {terms.market}{more}")


def first(sextant: Sextant, here: Focus) -> None:
    """No account yet: what it would be, and the form to open it."""
    st.markdown(WHAT_IT_DOES)
    if not may_write():
        st.info("No paper account is open yet.", icon=":material/account_balance_wallet:")
        ask_owner()
        return
    terms = form(sextant, here)
    a, b, c = st.columns([2, 2, 4], vertical_alignment="center")
    pressed = a.button("Open the account", type="primary", icon=":material/play_arrow:", key="pp-open", width="stretch")
    start = b.toggle("Start the runner too", value=True, key="pp-start-too", help="The process that trades it after each candle. It goes "
                                                                                  "on when this page is closed.")
    wrong = check(sextant, terms) if pressed or st.session_state.get("pp-wrong") else ""
    st.session_state["pp-wrong"] = bool(wrong)
    if wrong:
        c.error(widgets.plain(wrong), icon=":material/error:")
    elif pressed:
        open_account(sextant, terms, start=start)


def another(sextant: Sextant, here: Focus, status: dict[str, Any]) -> None:
    """A reset: a new epoch with new terms, after one confirmation."""
    st.markdown(f"**Account {status['account']}** since {status['opened'][:16].replace('T', ' ')} UTC with {status['capital']:,.2f}: "
                f"{in_words(Terms.read(status['terms']))}.")
    st.caption("Terms and limits of an account are fixed when it is opened. A reset opens the next one: its own money, its own record. "
               "What was done before stays in the ledger and on the History page.")
    if not may_write():
        return
    with st.expander("Reset: open a new account", icon=":material/restart_alt:", expanded=bool(st.session_state.get("pp-reset"))):
        terms = form(sextant, here)
        if st.button("Open account " + str(status["account"] + 1), icon=":material/restart_alt:", key="pp-reset-ask"):
            st.session_state["pp-reset"] = True
        if not st.session_state.get("pp-reset"):
            return
        wrong = check(sextant, terms)
        if wrong:
            st.error(widgets.plain(wrong), icon=":material/error:")
            return
        left = f" Its {len(status['positions'])} open positions are not carried on." if status["positions"] else ""
        with st.container(border=True):
            st.markdown(f"Account {status['account']} ends here and stays in the ledger.{left} Account {status['account'] + 1} begins with "
                        f"{terms.options['capital']:,.2f}: {in_words(terms)}. Go on?")
            with st.container(horizontal=True):
                if st.button("Yes, open it", type="primary", key="pp-reset-yes"):
                    del st.session_state["pp-reset"]
                    open_account(sextant, terms, start=False)
                if st.button("No", key="pp-reset-no"):
                    del st.session_state["pp-reset"]
                    st.rerun()


def open_account(sextant: Sextant, terms: Terms, *, start: bool) -> None:
    account = sextant.paper_open(terms)
    if start and not sextant.paper_status()["runner"]["alive"]:
        sextant.start_runner()
    st.session_state["pp-done"] = f"Account {account.number} is open."
    st.session_state.pop("pp-twin", None)
    st.rerun()
