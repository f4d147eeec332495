"""Portfolio: how much of each symbol, what that could lose, whether any method was worth it, and the orders that lead there."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from analysis.allocation.methods import METHODS
from core.portfolio import Allocation
from pages.ui import portfolio_form, portfolio_plan_views, portfolio_risk_views, portfolio_views
from pages.ui.session import focus, guarded, settle, workbench

sextant = workbench()
here = focus()


def tabs(found: Allocation, band: float) -> None:
    views: dict[str, Callable[[], None]] = {
        "Weights": lambda: portfolio_views.weights(found),
        "Frontier": lambda: portfolio_views.frontier(found),
        "Correlation": lambda: portfolio_views.correlation(found),
        "Risk": lambda: portfolio_risk_views.risk(sextant, found),
        "Stress": lambda: portfolio_risk_views.stress(sextant, found),
        "Out of sample": lambda: portfolio_views.record(sextant, found),
        "Rebalance": lambda: portfolio_plan_views.rebalance(sextant, found, band),
        "Optimal allocation": lambda: portfolio_views.composite(sextant, here.key)}
    for tab, (title, draw) in zip(st.tabs(list(views), key="al-tab", on_change="rerun"), views.items(), strict=True):
        if tab.open:
            with tab, guarded(title.lower()):
                draw()


with guarded("the portfolio"):
    asked, band = portfolio_form.form(sextant, here)
    line = st.empty()
    quick = sextant.allocation(asked, bands=False)
    with line.container():  # painted before the bands are drawn, which take a second
        portfolio_views.answer(quick)
    with st.spinner("Drawing the days again for the bands ..."):
        found = sextant.allocation(asked)
    tabs(found, band)
    portfolio_views.explained([m.title for m in METHODS])
settle()
