"""What today's weights could lose: advice first, tails with their tests, betas and drawdowns together; real crashes and chosen shocks."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from core.portfolio import Allocation
from core.portfolio_risk import PortfolioRisk
from core.sextant import Sextant
from pages.ui import charts_portfolio, theme, widgets
from pages.ui.backtest_views import metrics
from pages.ui.widgets import short

ACTS = {"close": ("▼ close", "red"), "hold less": ("▼ hold less", "orange"), "hedge": ("⇄ hedge", "violet"), "trim": ("▼ trim", "orange")}


def risk(sextant: Sextant, found: Allocation) -> None:
    """The risk panel."""
    done = sextant.portfolio_risk(found.asked)
    advice(done)
    one = {t["name"]: t for t in done.tails}
    if one:
        stated, hist = one["stated"], one["historical"]
        metrics([("VaR 99 %", _share(stated["var_99"]), f"of {done.days} days",
                  "One day in a hundred loses more than this: the larger of the historical and the filtered historical quantile."),
                 ("CVaR 99 %", _share(stated["es_99"]), "mean beyond it",
                  "Mean loss of the worst day in a hundred (Rockafellar & Uryasev 2002)."),
                 ("VaR 95 %", _share(hist["var_95"]), "historical", "One day in twenty loses more than this."),
                 ("Hedge ratio", "–" if done.hedge is None else f"{done.hedge:+.2f}", f"of {short(done.reference)}",
                  "Per unit of the portfolio, what takes out the moves it shares with it; negative is sold short.")])
        _tails(done)
    for words in done.notes:
        st.caption(widgets.plain(words[:1].upper() + words[1:] + "."))
    _together(done)


def advice(done: PortfolioRisk) -> None:
    """Suggestions with their reasons; nothing is traded by them."""
    if not done.advice:
        st.success("Nothing stands out: no position is abnormal, and a day's VaR lies below the limit of 5 % of equity.",
                   icon=":material/check_circle:")
        return
    for a in done.advice:
        word, colour = ACTS[a.act]
        with st.container(horizontal=True, vertical_alignment="center"):
            st.badge(f"{word} {short(a.symbol)} {a.share:.0%}", color=colour)  # type: ignore[arg-type]
            st.markdown(widgets.plain(a.words[:1].upper() + a.words[1:] + "."))
    st.caption("Suggestions, not orders: a plan on the tab Rebalance is what trades.")


def _tails(done: PortfolioRisk) -> None:
    """Estimates, and whether what was said in the evening was kept the day after."""
    number = st.column_config.NumberColumn
    frame = pd.DataFrame([{"estimate": t["title"], "VaR 99 %": t["var_99"], "CVaR 99 %": t["es_99"], "VaR 95 %": t["var_95"],
                           "CVaR 95 %": t["es_95"], "note": t["note"]} for t in done.tails])
    st.dataframe(frame, hide_index=True, width="stretch", placeholder="–", key="al-table-tails", column_config={
        "estimate": st.column_config.TextColumn("Estimate of a day's loss", pinned=True),
        **{n: number(format="percent") for n in frame.columns[1:5]}, "note": st.column_config.TextColumn("Note", width="medium")})
    widgets.download(frame, "tails")
    st.markdown("**Was it kept?** " + widgets.plain("; ".join(f"{t['title']}: {t['words']}" for t in done.tests[:1]) + "."))
    frame = pd.DataFrame([{"estimate": t["title"], "misses": t["misses"], "expected": round(t["expected"], 1), "days": t["days"],
                           "Kupiec p": t["kupiec_p"], "Christoffersen p": t["christoffersen_p"], "verdict": t["verdict"]}
                          for t in done.tests])
    st.dataframe(frame, hide_index=True, width="stretch", placeholder="–", key="al-table-tests", column_config={
        "estimate": st.column_config.TextColumn("VaR 99 % of the evening before", pinned=True),
        "Kupiec p": number(format="%.3f", help="How likely so many misses are if the VaR is right; below .05 rejects."),
        "Christoffersen p": number(format="%.3f", help="How likely so much clustering of misses is by chance.")})
    widgets.download(frame, "var-tests")


def _together(done: PortfolioRisk) -> None:
    a, b = st.columns([2, 3])
    with a:
        st.markdown(f"**Beta to {short(done.reference)}**")
        frame = pd.DataFrame([{"symbol": n, "falling": v["down"], "rising": v["up"], "drawdown": v["drawdown"]}
                              for n, v in done.betas.items()])
        number = st.column_config.NumberColumn(format="%.2f")
        st.dataframe(frame, hide_index=True, width="stretch", placeholder="–", key="al-table-betas", column_config={
            "symbol": st.column_config.TextColumn("Symbol", pinned=True), **dict.fromkeys(("falling", "rising", "drawdown"), number)})
        widgets.download(frame, "betas")
        st.caption("Beta on its falling and rising days, and correlation of drawdowns, over 500 days (Ang, Chen & Xing 2006); fewer than "
                   "40 such days: unknown. A beta above 1 on falling days is risk that the usual beta hides.")
    with b:
        if len(done.names) > 1:
            st.markdown("**Drawdowns together**")
            theme.draw(theme.kept(lambda: charts_portfolio.matrix(done.names, done.drawdowns, range(len(done.names))), "al-dd",
                                  repr(done.drawdowns)),
                       key="al-chart-dd", file_name="drawdown-correlation", alt="Correlation of drawdowns")
            st.caption("Correlation of how far each lies below its high. Very persistent: nothing is said about significance.")


def stress(sextant: Sextant, found: Allocation) -> None:
    """Real crashes on today's weights, and shocks somebody chooses."""
    a, b, c = st.columns([2, 2, 2], vertical_alignment="bottom")
    market = a.number_input("The market moves, %", value=-20.0, step=5.0, format="%g", key="al-shock-market",
                            help="Each symbol moves by its beta of falling days times this.")
    chosen = b.selectbox("and one symbol by itself", ["none", *found.portfolio.names], key="al-shock-symbol")
    own = c.number_input("by, %", value=-50.0, step=5.0, format="%g", key="al-shock-own", disabled=chosen in (None, "none"))
    shocks = {chosen: max(-1.0, float(own or 0.0) / 100.0)} if chosen and chosen != "none" else {}
    done = sextant.portfolio_risk(found.asked, market_shock=max(-1.0, float(market or 0.0) / 100.0), shocks=shocks)
    rows: list[dict[str, Any]] = [{"what": _shock_words(done), "loss": done.shock["loss"], "when": "chosen", "note": ""}]
    rows += [{"what": c["name"], "loss": c["loss"], "when": f"{c['from']} to {c['to']}",
              "note": c["why"] or (f"by beta: {', '.join(map(short, c['estimated']))}" if c["estimated"] else "")} for c in done.crashes]
    rows += [{"what": f"Worst {s['days']} days stored" if s["days"] > 1 else "Worst day stored", "loss": s["loss"],
              "when": s["from"] if s["days"] == 1 else f"{s['from']} to {s['to']}", "note": ""} for s in done.spans]
    known = [(r["what"], r["loss"]) for r in rows if r["loss"] is not None]
    st.markdown(f"**The worst of these would cost {-min(v for _, v in known):.0%} of equity: {min(known, key=lambda k: k[1])[0]}.**")
    theme.draw(theme.kept(lambda: charts_portfolio.losses(known), "al-stress", tuple(known)), key="al-chart-stress", file_name="stress",
               alt="Losses in past crashes and chosen shocks")
    missing = [r["what"] for r in rows if r["loss"] is None]
    if missing:
        st.caption("Not shown, because the store does not hold those days (or they lie ahead): " + "; ".join(missing) + ".")
    frame = pd.DataFrame([{n: r[n] for n in ("what", "loss", "when")} for r in rows])
    by_asset = [done.shock["by_asset"], *(c["by_asset"] for c in done.crashes), *({} for _ in done.spans)]
    for n in done.names:
        frame[n] = [b.get(n) for b in by_asset]
    frame["note"] = [r["note"] for r in rows]
    st.dataframe(frame, hide_index=True, width="stretch", placeholder="–", key="al-table-stress", column_config={
        "what": st.column_config.TextColumn("Stress", pinned=True), "loss": st.column_config.NumberColumn("Loss", format="percent"),
        "when": st.column_config.TextColumn("When"), "note": st.column_config.TextColumn("Note"),
        **{n: st.column_config.NumberColumn(short(n), format="percent", help="Its part of the loss.") for n in done.names}})
    widgets.download(frame, "stress")
    f = done.formulas
    if f:
        st.caption(f"If all volatilities doubled: {_share(f['volatility_doubled'])} a year; if all correlations were .9: "
                   f"{_share(f['correlations_to_0.9'])} a year; mean of the ten worst of the last 500 days: "
                   f"{_share(f['ten_worst_days_mean'])}.")
    leaving = [f"{v:.2%} of {float(n):,.0f}" for n, v in done.exits.items() if v is not None]
    if leaving:
        st.caption(f"Leaving everything at once, with a quarter of the usual volume there, would cost about {' and '.join(leaving)}.")


def _shock_words(done: PortfolioRisk) -> str:
    own = "".join(f", {short(n)} {v:+.0%}" for n, v in done.shock["own"].items())
    return f"Market {done.shock['market']:+.0%}{own}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
