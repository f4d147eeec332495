"""Tabs of modules E and I: who leads whom and what moves together; weights, risk contributions and stress."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from analysis.report import ModuleReport
from core.sextant import Sextant
from data.market import SeriesKey
from pages.ui import theme
from pages.ui.widgets import short

if TYPE_CHECKING:
    import plotly.graph_objects as go


def leaders(sextant: Sextant, key: SeriesKey, report: ModuleReport) -> None:
    """Module E: matrix, network and the table of leaders."""
    shown = report.shown
    matrix = shown.get("correlation")
    if not matrix:
        st.info(report.reason or "The group holds fewer than two symbols with data.")
        return
    content = (sextant.content(key),)
    theme.draw(theme.kept(lambda: _matrix(matrix["names"], matrix["values"]), "corr", *content), key="tab-E-matrix",
               file_name=f"{key.symbol}-correlation", alt="Correlation of returns between symbols")
    rows = shown.get("leaders") or []
    if rows:
        theme.draw(theme.kept(lambda: _network(matrix["names"], key.symbol, rows), "lead", *content), key="tab-E-network",
                   file_name=f"{key.symbol}-leaders", alt=f"What leads {key.symbol}")
        _leaders(rows)
    else:
        st.caption(f"No symbol leads {key.symbol} here by the rule ({shown.get('leader_rule')}): leads of majors last seconds to minutes.")
    score = shown.get("leadership") or {}
    if score:
        theme.draw(theme.kept(lambda: _bars(score, "leadership (mean difference of lagged correlations)", theme.MODULE["E"]), "leadership",
                              *content), key="tab-E-leadership", file_name="leadership", alt="Leadership of each symbol")
    pair = shown.get("cointegration")
    if pair and pair.get("p") is not None:
        life = f", half-life {pair['half_life']:.0f} bars" if pair.get("half_life") else ""
        st.caption(f"Tied to {pair['partner']}? Engle-Granger p {pair['p']:.2f}, hedge ratio {pair['beta']:.2f}{life}; "
                   f"the first component carries {shown['absorption']:.0%} of all variance.")


def _leaders(rows: list[dict[str, Any]]) -> None:
    """What leads the symbol, the strongest first."""
    number = st.column_config.NumberColumn
    st.dataframe(rows, hide_index=True, width="stretch", placeholder="–", column_config={
        "leader": st.column_config.TextColumn("Leader", pinned=True),
        "lag": number("Lag", help="Bars by which it goes ahead."),
        "rho": number("Correlation", format="%+.3f", help="Of its return with the symbol's return that many bars later."),
        "delta": number("Difference", format="%+.3f", help="How much stronger that is than the other way round."),
        "llr": number("Lead-lag ratio", format="%.2f", help="Squared correlations ahead over those behind: above 1 it leads."),
        "beta": number("Beta", format="%+.3f", help="What a move of 1 of the leader adds to the symbol's next."),
        "p": number("p", format="%.3f", help="Granger's test: how often chance gives as much."),
        "q": number("q", format="%.3f", help="The same, corrected for all pairs that were looked at."),
        "stability": number("Stability", format="percent", help="Share of the stretches of the window that agree."),
        "partial": number("Partial", format="%+.3f", help="Correlation at the same bar, given Bitcoin and the other symbols."),
        "dtw": number("Shape distance", format="%.3f", help="Distance of the two shapes by dynamic time warping; 0 is the same."),
        "weight": number("Weight", format="%.2f", help="Its share in the module's expectation.")})


def weights(sextant: Sextant, key: SeriesKey, report: ModuleReport) -> None:
    """Module I: how the group would be split, beside the simple answers, and what could hurt."""
    shown = report.shown
    chosen = shown.get("weights")
    if not chosen:
        st.info(report.reason)
        return
    content = (sextant.content(key),)
    theme.draw(theme.kept(lambda: _allocations(shown), "weights", *content), key="tab-I-weights", file_name="weights",
               alt="Weights of the group by several methods")
    shares = partial(_bars, shown["risk_contributions"], "share of the portfolio's variance", theme.MODULE["I"])
    theme.draw(theme.kept(shares, "risk", *content), key="tab-I-risk", file_name="risk-contributions", alt="Risk contributions")
    stress = shown.get("stress") or {}
    words = {"market_minus_20": "market falls by 20 %", "volatility_doubled": "volatility doubled, per year",
             "correlations_to_0.9": "all correlations .9, volatility per year", "ten_worst_days_mean": "mean of the ten worst days",
             "worst_day": "worst day"}
    rows = [{"Stress": words.get(name, name), "Portfolio": value} for name, value in stress.items()]
    st.dataframe(rows, hide_index=True, width="stretch", column_config={"Portfolio": st.column_config.NumberColumn(format="percent")})
    st.caption(f"Cash {shown['cash']:.0%}, gross {shown['gross']:.0%}, one-day VaR 99 % {shown['portfolio_var']:.1%}. Views: "
               f"{shown['views']}. Two correct programs may order the tree differently: weights of an odd cluster are not unique.")


def _matrix(names: list[str], values: list[list[float | None]]) -> go.Figure:
    import plotly.graph_objects as go

    shown = [short(name) for name in names]
    table = np.array([[math.nan if v is None else v for v in row] for row in values])
    fig = theme.figure(90 + 26 * len(names), hovermode="closest", yaxis={"autorange": "reversed", "showgrid": False})
    fig.add_trace(go.Heatmap(z=table, x=shown, y=shown, zmin=-1, zmax=1, colorscale=theme.diverging(), showscale=False, xgap=1, ygap=1,
                             text=np.where(np.isfinite(table), np.char.mod("%.2f", np.nan_to_num(table)), ""), texttemplate="%{text}",
                             textfont={"size": 10, "color": theme.tone().text}, hovertemplate="%{y} and %{x}: %{z:.2f}<extra></extra>"))
    return fig


def _network(names: list[str], symbol: str, rows: list[dict[str, Any]]) -> go.Figure:
    """Symbols on a circle, an arrow from each leader."""
    import plotly.graph_objects as go

    angle = {name: 2 * math.pi * i / len(names) for i, name in enumerate(names)}
    at = {name: (math.cos(a), math.sin(a)) for name, a in angle.items()}
    fig = theme.figure(340, showlegend=False, hovermode="closest", xaxis={"visible": False, "scaleanchor": "y"}, yaxis={"visible": False})
    for row in rows:
        leader = row["leader"]
        fig.add_annotation(x=at[symbol][0], y=at[symbol][1], ax=at[leader][0], ay=at[leader][1], xref="x", yref="y", axref="x", ayref="y",
                           arrowhead=3, arrowwidth=1 + 6 * abs(row.get("rho") or 0.0),
                           arrowcolor=theme.UP if (row.get("rho") or 0.0) > 0 else theme.DOWN, text="")
    fig.add_trace(go.Scatter(x=[at[n][0] for n in names], y=[at[n][1] for n in names], mode="markers+text", textposition="top center",
                             text=[short(n) for n in names], hoverinfo="text",
                             marker={"size": 14, "color": [theme.ACCENT if n == symbol else theme.MODULE["E"] for n in names]}))
    return fig


def _bars(values: dict[str, float], title: str, colour: str) -> go.Figure:
    import plotly.graph_objects as go

    order = sorted(values, key=lambda name: -(values[name] or 0.0))
    fig = theme.figure(220, showlegend=False, hovermode="closest", title=title, yaxis={"side": "right", "zeroline": True})
    fig.add_trace(go.Bar(x=[short(name) for name in order], y=[values[name] for name in order], marker={"color": colour},
                         hovertemplate="%{x}: %{y:.3f}<extra></extra>"))
    return fig


def _allocations(shown: Mapping[str, Any]) -> go.Figure:
    import plotly.graph_objects as go

    names = list(shown["weights"])
    fig = theme.figure(300, barmode="group", yaxis={"side": "right", "tickformat": theme.PERCENT})
    for title, key, colour in (("chosen", "weights", theme.MODULE["I"]), ("equal", "equal_weight", theme.NEUTRAL),
                               ("inverse volatility", "inverse_volatility", theme.ACCENT),
                               ("minimum variance", "min_variance", theme.WARNING)):
        held = shown.get(key) or {}
        fig.add_trace(go.Bar(x=[short(n) for n in names], y=[held.get(n) for n in names], name=title,
                             marker={"color": colour}, hovertemplate="%{y:.1%}"))
    return fig
