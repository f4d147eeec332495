"""The question of the Portfolio page: method, symbols, returns and limits, checked before anything is computed."""

from __future__ import annotations

import streamlit as st

from analysis.allocation.methods import METHODS, method
from analysis.allocation.wishes import Wishes
from core.portfolio import REFERENCE, USUAL_DAYS, Asked
from core.sextant import Sextant
from data.market import Interval, Market
from pages.ui.session import Focus

FIRST = 8  # symbols of the watchlist a newcomer sees
PERCENT = {"floor": ("Least each, %", 0.0, "Of the whole, for every symbol."),
           "cap": ("Most each, %", 100.0, "Of the whole, for every symbol."),
           "cluster_cap": ("Most of a cluster, %", 100.0, "Symbols whose correlation is above .8 together."),
           "cash": ("Cash at least, %", 0.0, "What is never invested."),
           "target_vol": ("Volatility at most, % a year", None, "Above it everything is scaled down, the rest is cash; never leverage."),
           "turnover": ("Turnover at most, %", None, "Bought and sold together, against what the paper account holds.")}


def form(sextant: Sextant, here: Focus) -> tuple[Asked, float]:
    """Draw the form; returns the question and the no-trade band.

    Raises
    ------
    InputError
        Naming what was expected and what arrived.
    """
    names = [m.name for m in METHODS]
    asked = st.query_params.get("method", "hrp")
    a, b = st.columns([2, 5], vertical_alignment="bottom")
    chosen = a.selectbox("Method", names, index=names.index(asked) if asked in names else 0, format_func=lambda n: method(n).title,
                         key="al-method", persist_state="session") or "hrp"
    st.query_params["method"] = chosen
    held = list(sextant.symbols(here.key.market))
    watched = [s for s in held if s in sextant.settings.watchlist] or held
    named = [s for s in st.query_params.get("assets", "").upper().split(",") if s in held]
    usual = [s for s in watched if s == REFERENCE] + [s for s in watched if s != REFERENCE]
    symbols = b.multiselect("Symbols", held, default=named or usual[:FIRST], key=f"al-symbols-{here.key.market}", persist_state="session")
    if symbols:
        st.query_params["assets"] = ",".join(symbols)
    found = method(chosen)
    st.caption(f"{found.words} {found.source}.")
    values: dict[str, float | None] = {}
    with st.expander("Limits and history", icon=":material/tune:"):
        for row in (("floor", "cap", "cluster_cap"), ("cash", "target_vol", "turnover")):
            for column, name in zip(st.columns(3, vertical_alignment="bottom"), row, strict=True):
                title, default, words = PERCENT[name]
                given = column.number_input(title, value=default, step=1.0, format="%g", key=f"al-{name}", help=words,
                                            placeholder="no limit", persist_state="session")
                values[name] = None if given is None else float(given) / 100.0
        a, b, c = st.columns(3, vertical_alignment="bottom")
        steps = [str(i) for i in (Interval.D1, Interval.H4, Interval.H1)]
        interval = a.selectbox("Returns of", steps, key="al-interval", help="The bars the covariance is measured on.",
                               persist_state="session")
        days = b.number_input("Days of history", value=USUAL_DAYS, step=30, key="al-days", help="60 bars at least, 3,650 days at most.",
                              persist_state="session")
        band = c.number_input("No-trade band, points", value=2.0, step=0.5, format="%g", key="al-band", persist_state="session",
                              help="A weight is moved only if its target is further away than this.")
    wishes = Wishes(**{n: v for n, v in values.items() if v is not None})
    return Asked(tuple(symbols), chosen, Interval.parse(interval or "1d"), Market(here.key.market), None, int(days or 0),
                 wishes), float(band or 0.0) / 100.0
