"""Signals: what a rule or a model wants right now on each symbol of the watchlist, at which prices, how large, and why."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import pandas as pd
import streamlit as st

from core.backtest.report import shown
from core.signals import SignalCard
from core.strategies import STRATEGIES, Choice, strategy
from data.clock import age_text
from data.errors import DataError, SextantError
from pages.ui import assistant_link, backtest_views, charts_models, forecast_panel, frame, frozen_log, paper_from_signal, theme, widgets
from pages.ui.session import focus, guarded, remember, settle, workbench

sextant = workbench()
here = focus()
market = here.key.market
MARK = {"BUY": "▲ BUY", "SELL": "▼ SELL", "HOLD": "■ HOLD"}
COLOUR = {"BUY": ("blue", ":material/arrow_upward:"), "SELL": ("orange", ":material/arrow_downward:"), "HOLD": ("gray", ":material/pause:")}
NO_PROBABILITY = "rule-based, no calibrated probability"
OUTCOMES = forecast_panel.OUTCOMES
RECENT = 2_000  # predictions behind the words on past calls
FILTERS = ("All", "BUY", "SELL", "HOLD", "In a position")
NO_ORDER = "no order now"
ORDER = ("Entry", "Stop", "Target", "Size", "R / R", "Risk")


def card_of(symbol: str, name: str, interval: str) -> SignalCard | str:
    """One symbol's card, or why there is none."""
    try:
        return sextant.signal(sextant.key(symbol, interval, market), Choice(name))
    except SextantError as error:
        return str(error)


def age_of(card: SignalCard) -> str:
    return age_text(max(0, sextant.clock.now_ms() - card.as_of_ms))


def state_of(card: SignalCard) -> str:
    """What the rule holds, with its time in the browser's zone."""
    word, _, since = card.state.partition(" since ")
    if not since:
        return word
    from data.clock import parse_time

    return f"{word} since {widgets.local_text(parse_time(since))[5:]}"


def places_of(card: SignalCard) -> int:
    candles = sextant.candles(sextant.key(card.symbol, card.interval, card.market), bars=60)
    return widgets.decimals(candles.close)


def line_of(card: SignalCard) -> dict[str, Any]:
    """One row of the board; without an order the prices stay empty."""
    places = places_of(card)
    entry, stop, target = (None if v is None else widgets.price_text(v, places) for v in (card.entry, card.stop_loss, card.take_profit))
    return {"Symbol": card.symbol, "Signal": MARK[card.signal], "Holds": state_of(card).replace(" since ", ", "), "Entry": entry,
            "Stop": stop, "Target": target, "Size": card.size, "R / R": card.risk_reward, "Risk": card.risk_share, "Why": why(card),
            "Confidence": confidence_of(card), "Age": age_of(card), "Data": str(card.provenance)}


def confidence_of(card: SignalCard) -> str:
    """The calibrated probability and what it is of."""
    if card.forecast is None:
        return "rule-based"
    if card.abstained or card.confidence is None:
        return "no call"
    outcome = next((OUTCOMES[c] for c, p in card.forecast.probability.items() if p == card.confidence), "")
    return f"{card.confidence:.0%} {outcome}"


def why(card: SignalCard) -> str:
    """The reason that says most: a refusal, else the contributions, else the rule."""
    own = [r for r in card.reasons if r != strategy(card.strategy).rule]
    return "; ".join(own[:3]) if own else card.reasons[0]


def board(cards: list[SignalCard], slot: st.delta_generator.DeltaGenerator, *, ready: bool) -> None:
    """The table in watchlist order."""
    rows = pd.DataFrame([line_of(c) for c in cards])
    shown_rows = rows if any(c.entry is not None for c in cards) else rows.drop(columns=list(ORDER))  # no order: room for the reasons
    number = st.column_config.NumberColumn
    with slot.container():
        st.dataframe(shown_rows, hide_index=True, width="stretch", placeholder="–", height=min(38 + 35 * max(len(rows), 1), 1800),
                     key=f"signals-{ready}", column_config={
            "Symbol": st.column_config.TextColumn(pinned=True, width=84), "Signal": st.column_config.TextColumn(
                width=72, help="Decided at the newest close, to be done at the next open. HOLD: the rule changes nothing now."),
            "Holds": st.column_config.TextColumn(width=122, help=f"Whether the rule is in a position already, and since when "
                                                                 f"({widgets.zone().key})."),
            "Entry": st.column_config.TextColumn(width=74, help=f"A fill at the newest close with slippage, an estimate of the next open. "
                                                                f"–: {NO_ORDER}."),
            "Stop": st.column_config.TextColumn(width=74), "Target": st.column_config.TextColumn(width=74),
            "Size": number(format="%.6g", width=74, help="In base currency: the stop loses 1 % of 10,000 at most, inside every limit."),
            "R / R": number(format="%.2f", width=54, help="Reward over risk: target over stop distance."),
            "Risk": number(format="percent", width=58, help="What the stop would really lose of the equity, after limits and rounding."),
            "Why": st.column_config.TextColumn(width=230),
            "Confidence": st.column_config.TextColumn(width=92, help="Calibrated probability of the side taken, or of the likeliest "
                                                                     "outcome where none is. Rules have none. “no call”: it abstains."),
            "Age": st.column_config.TextColumn(width=52, help="Since the newest candle closed."),
            "Data": st.column_config.TextColumn(width=86, help="Where the candles come from.")})
        if ready and len(rows):
            widgets.download(rows, f"signals-{cards[0].strategy}-{cards[0].interval}")


def detail(card: SignalCard) -> None:
    """One card in full."""
    places = places_of(card)
    with st.container(border=True):
        a, b = st.columns([3, 2], vertical_alignment="center")
        with a, st.container(horizontal=True, vertical_alignment="center"):
            st.subheader(card.symbol, anchor=False, width="content")
            colour, icon = COLOUR[card.signal]
            st.badge(card.signal, color=colour, icon=icon)  # type: ignore[arg-type]
        with b, st.container(horizontal=True, horizontal_alignment="right"):
            frame.chip(str(card.provenance), f"{age_of(card)} old")
        tiles = [("Entry", card.entry, "A fill at the newest close with slippage."), ("Stop", card.stop_loss, "Out here, with slippage."),
                 ("Target", card.take_profit, "Out here, as maker.")]
        values = [(name, "–" if v is None else widgets.price_text(v, places), words) for name, v, words in tiles]
        values += [("Size", "–" if card.size is None else f"{card.size:.6g}", "In base currency, for an account of 10,000."),
                   ("Reward / risk", "–" if card.risk_reward is None else f"{card.risk_reward:.2f}", "Target over stop distance."),
                   ("Risk of equity", "–" if card.risk_share is None else f"{card.risk_share:.2%}", "What the stop would really lose.")]
        backtest_views.metrics([(name, value, None, words) for name, value, words in values])
        if card.entry is None:
            st.caption(f"No prices: the rule wants {NO_ORDER}. It is {state_of(card)}.")
        st.markdown("\n".join(f"- {widgets.plain(r[:1].upper() + r[1:])}" for r in card.reasons[:4]))
        if card.forecast is None:
            st.caption(f"Confidence: – ({NO_PROBABILITY}). As of {widgets.local_text(card.as_of_ms + 1)}.")
        else:
            forecast(card)
        paper_from_signal.offer(sextant, card)
        assistant_link.ask_about(f"Why does {card.strategy} say {card.signal} on {card.symbol}, and how far can it be believed?",
                                 sextant.key(card.symbol, card.interval, card.market))
        with st.expander(f"Limits ({sum(v['ok'] for v in card.verdicts)} of {len(card.verdicts)} allow it)" if card.verdicts else "Limits"):
            if card.verdicts:
                st.dataframe([{"Limit": v["limit"].replace("_", " "), "Allows": v["ok"], "In words": v["words"]} for v in card.verdicts],
                             hide_index=True, width="stretch", column_config={"In words": st.column_config.TextColumn(width="large")})
            else:
                st.caption("Limits are asked when there is an entry to judge; now there is none.")


def forecast(card: SignalCard) -> None:
    """The probabilities behind a model's card, how often such a word came true, and what moved it."""
    said = card.forecast
    assert said is not None
    chances = ", ".join(f"{OUTCOMES[c]} {p:.1%}" for c, p in said.probability.items()) or "no forecast of this bar"
    best = next((c for c, p in said.probability.items() if p == card.confidence), None)
    st.markdown(f"**Calibrated probability:** {chances}; an entry pays from {said.threshold:.1%}. " if said.threshold is not None
                else f"**Calibrated probability:** {chances}.")
    if best is not None:
        st.caption(forecast_panel.record_words(said.record, OUTCOMES[best]))
    st.caption(f"{said.model}, {said.horizon} bars ahead; {said.verdict.get('words', 'not judged')}. As of "
               f"{widgets.local_text(card.as_of_ms + 1)}.")
    if said.drivers:
        with st.expander("What moves it (SHAP, towards a rise)", expanded=True):
            theme.draw(charts_models.contributions([{"feature": n, "contribution": v} for n, v in said.drivers]), key="signals-shap",
                       file_name=f"{card.symbol}-{said.label}-shap", alt=f"What moves the forecast of {card.symbol}")


def calls(name: str, interval: str) -> None:
    """How the predictions of this rule's model came out so far, as frozen when they were made."""
    label = strategy(name).forecasts
    mine = [r for r in frozen_log.rows(sextant)[-RECENT:]
            if r.label == label and str(r.key.interval) == interval and r.key.market is market]
    whole = [r for r in frozen_log.record(sextant, mine) if r["regime"] == "all" and r["period"] == "all"]
    made, graded, asked, right = (sum(r[n] for r in whole) for n in ("made", "settled", "calls", "right"))
    if not made:
        st.markdown("**Past calls of this model:** none are frozen yet; the paper runner and Predict now on the Models page write them.")
        return
    share = f" ({right / asked:.0%})" if asked else ""
    st.markdown(f"**Past calls of this model:** {made:,} predictions frozen, {graded:,} graded; {right:,} of {asked:,} calls up or down "
                f"came true{share}.")


def record(name: str, interval: str) -> None:
    """What the newest stored backtest of this rule and interval says."""
    headers, _ = backtest_views.stored_runs(sextant)
    found = [h for h in headers if h["question"]["rule"] == name and h["question"]["interval"] == interval
             and h["question"]["market"] == str(market)]
    if not found:
        left, right = st.columns([5, 1], vertical_alignment="center")
        left.markdown(f"**How this rule did:** no stored backtest of it at {interval} {market} yet.")
        with right:
            st.page_link("pages/backtests.py", label="Run one", icon=":material/history:",
                         query_params={"symbol": here.symbol, "interval": interval, "market": str(market)})
        return
    usual = strategy(name).values()
    h = next((h for h in found if h["question"]["parameters"] == usual), found[0])
    other = "" if h["question"]["parameters"] == usual else " With other settings than these signals use."
    left, right = st.columns([5, 1], vertical_alignment="center")
    colour, icon = backtest_views.VERDICT.get(h["verdict"]["word"], ("gray", ":material/help:"))
    with left:
        word, figures = h["verdict"]["word"].capitalize(), h["metrics"]
        st.markdown(f"**How this rule did:** :{colour}-badge[{icon} {word}] {h['verdict']['text']}{other} "
                    f"{shown('total_return', figures['total_return'])} on {', '.join(h['question']['symbols'])}, {h['from'][:10]} to "
                    f"{h['to'][:10]}, {h['trades']:,} trades; buy and hold {shown('benchmark_return', figures['benchmark_return'])}.")
    with right:
        st.page_link("pages/backtests.py", label="Open it", icon=":material/history:", query_params={
            "run": h["run_id"], "symbol": here.symbol, "interval": interval, "market": str(market)})


def controls() -> tuple[str, str]:
    """Strategy and interval."""
    names = [s.name for s in STRATEGIES]
    a, b = st.columns([2, 3], vertical_alignment="bottom")
    asked = st.query_params.get("rule", names[0])
    name = a.selectbox("Strategy", names, index=names.index(asked) if asked in names else 0, format_func=lambda n: strategy(n).title,
                       key=f"signals-rule-{asked[:20]}") or names[0]
    if name != asked:
        st.query_params["rule"] = name
    held = [str(i) for i in sextant.intervals(here.symbol, market)] or [str(here.key.interval)]
    interval = b.segmented_control("Interval", held, default=str(here.key.interval), required=True,
                                   key=f"signals-interval-{here.key.interval}")
    if interval and interval != str(here.key.interval):
        remember(symbol=here.symbol, interval=str(interval), market=str(market))
        st.rerun()
    rule = strategy(name)
    values = ", ".join(f"{k.replace('_', ' ')} {v:g}" for k, v in rule.values().items() if v)
    st.caption(f"{rule.rule} Meant for {rule.horizon}. Settings: {values}.")
    return name, str(interval or here.key.interval)


def headline(cards: list[SignalCard], name: str) -> str:
    """The answer in one line."""
    by = {word: [c.symbol for c in cards if c.signal == word] for word in MARK}
    parts = [f"**{word}** {', '.join(by[word])}" for word in ("BUY", "SELL") if by[word]] or ["No entry or exit at the newest close"]
    held = sum(c.state.startswith(("long", "short")) for c in cards)
    return " · ".join([*parts, f"HOLD on {len(by['HOLD'])}", f"{strategy(name).title} is in a position on **{held} of {len(cards)}**"])


def gather(symbols: list[str], name: str, interval: str, bar: Any, table: Any) -> tuple[list[SignalCard], dict[str, str]]:
    """Cards in watchlist order, filling the table as they come."""
    found: dict[str, SignalCard | str] = {}
    bar.progress(0.0, f"Asking {strategy(name).title} about {len(symbols)} symbols ..."
                 + (" It reads every module: the first time takes minutes." if "*" in strategy(name).reads else ""))
    with ThreadPoolExecutor(sextant.settings.threads, thread_name_prefix="signals") as pool:
        try:
            waiting = {pool.submit(card_of, s, name, interval): s for s in symbols}
            for done, future in enumerate(as_completed(waiting), start=1):
                found[waiting[future]] = future.result()
                known = [c for s in symbols if isinstance(c := found.get(s), SignalCard)]
                bar.progress(done / len(symbols), f"{waiting[future]} ({done} of {len(symbols)})")
                if done < len(symbols) and "*" in strategy(name).reads and known:
                    board(known, table, ready=False)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # a reader who leaves does not wait for the rest
    bar.empty()
    return ([c for s in symbols if isinstance(c := found[s], SignalCard)], {s: w for s in symbols if isinstance(w := found[s], str)})


def page() -> None:
    watchlist = list(sextant.settings.watchlist)
    held = set(sextant.symbols(market))
    symbols = [s for s in watchlist if s in held] or list(sextant.symbols(market))[:50]
    if not symbols:
        widgets.empty_state(f"No {market} candles are stored yet. Import or back-fill them on the Data page.", "Open the Data page",
                            lambda: st.switch_page("pages/market_data.py"))
        return
    name, interval = controls()
    line, past, filters, bar, table = st.empty(), st.container(), st.container(), st.empty(), st.empty()
    with past, guarded("the record of this rule"):
        record(name, interval)
        if strategy(name).forecasts:
            calls(name, interval)
    with filters:
        a, b = st.columns([3, 2], vertical_alignment="bottom")
        which = a.segmented_control("Show", FILTERS, default="All", key="signals-filter", required=True) or "All"
        only = b.multiselect("Symbols", symbols, key="signals-symbols", placeholder="the whole watchlist")
    cards, problems = gather(symbols, name, interval, bar, table)
    if cards:
        line.markdown(headline(cards, name))
    chosen = [c for c in cards if (not only or c.symbol in only) and (
        which == "All" or c.signal == which or (which == "In a position" and c.state != "flat"))]
    if chosen:
        board(chosen, table, ready=True)
        names = [c.symbol for c in chosen]
        moving = next((k for k, c in enumerate(chosen) if c.signal != "HOLD"), names.index(here.symbol) if here.symbol in names else 0)
        symbol = st.selectbox("One symbol in full", names, index=moving, key=f"signals-one-{name}-{interval}-{which}")
        with guarded("the card"):
            detail(next(c for c in chosen if c.symbol == symbol))
    elif cards:
        table.info(f"No symbol is on “{which}” now. Choose All to see the {len(cards)} that were asked.")
    untrained = [s for s, words in problems.items() if words.startswith("no model of")]
    for symbol, words in problems.items():
        if symbol not in untrained:
            st.caption(widgets.plain(f"{symbol}: {words}"))
    if untrained:
        st.caption(f"No model of {strategy(name).forecasts} at {interval} yet for {', '.join(untrained)}.")
        st.page_link("pages/model_lab.py", label="Train one on the Models page", icon=":material/model_training:")
    absent = [s for s in watchlist if s not in held]
    if absent:
        st.caption(f"On the watchlist without candles: {', '.join(absent[:20])}. Import or back-fill them on the Data page.")
    st.caption("Entry and size are for an account of 10,000 that holds nothing. A signal is what a rule says, not advice.")


with guarded("the signals"):
    try:
        page()
    except DataError as error:
        st.warning(widgets.plain(str(error)), icon=":material/database:")
settle()
