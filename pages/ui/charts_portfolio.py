"""Pictures of a portfolio: weights with their bands, risk beside weight, the frontier, correlations and their tree, stress, the record."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.allocation.hrp import branches
from analysis.allocation.methods import METHODS
from analysis.allocation.portfolio import Portfolio
from pages.ui import theme
from pages.ui.charts_paper import thinned
from pages.ui.widgets import local_times, short

if TYPE_CHECKING:
    import plotly.graph_objects as go

TITLE = {m.name: m.title for m in METHODS}
COLOUR = dict(zip((m.name for m in METHODS), (theme.ACCENT, theme.UP, theme.MODULE["I"], theme.WARNING, theme.DOWN, theme.MODULE["A"],
                                              theme.NEUTRAL), strict=True))
FALLS = 0.08  # of a chart's width is kept free beside bars; figures stand inside them where there is room
LEGEND = {"y": 1.02, "x": 0, "font": {"size": 11}}


def weights(p: Portfolio) -> go.Figure:
    """Bars of the weights with the middle 90 % of their bootstraps; 1/N and inverse volatility as marks."""
    import plotly.graph_objects as go

    order = sorted(range(len(p.names)), key=lambda i: -p.weights[i])
    names = [short(p.names[i]) for i in order]
    w, bands = p.weights[order], p.bands[order]
    known = np.isfinite(bands).all(axis=1)
    above, below = np.where(known, np.maximum(bands[:, 1] - w, 0), 0), np.where(known, np.maximum(w - bands[:, 0], 0), 0)
    fig = theme.figure(330, yaxis={"side": "right", "tickformat": theme.PERCENT, "rangemode": "tozero"}, legend=LEGEND, margin={"t": 40})
    fig.add_trace(go.Bar(x=names, y=w, name=TITLE[p.method], marker={"color": theme.fade(theme.MODULE["I"], 0.85)},
                         hovertemplate="%{y:.1%}",
                         error_y={"type": "data", "array": above, "arrayminus": below, "visible": bool(known.any()), "thickness": 1.4,
                                  "color": theme.tone().text, "width": 4}))
    for name, symbol in (("equal", "line-ew"), ("inverse-vol", "circle-open")):
        if name in p.beside and name != p.method:
            fig.add_trace(go.Scatter(x=names, y=p.beside[name][order], name=TITLE[name], mode="markers", hovertemplate="%{y:.1%}",
                                     marker={"symbol": symbol, "size": 15 if symbol == "line-ew" else 8, "color": COLOUR[name],
                                             "line": {"width": 2, "color": COLOUR[name]}}))
    return fig


def contributions(p: Portfolio) -> go.Figure:
    """Share of the weight beside share of the risk."""
    import plotly.graph_objects as go

    order = sorted(range(len(p.names)), key=lambda i: -np.nan_to_num(p.risk[i]))
    names = [short(p.names[i]) for i in order]
    total = float(p.weights.sum()) or 1.0
    fig = theme.figure(280, barmode="group", yaxis={"side": "right", "tickformat": theme.PERCENT}, legend=LEGEND, margin={"t": 40})
    fig.add_trace(go.Bar(x=names, y=p.weights[order] / total, name="share of what is held", hovertemplate="%{y:.1%}",
                         marker={"color": theme.fade(theme.NEUTRAL, 0.7)}))
    fig.add_trace(go.Bar(x=names, y=p.risk[order], name="share of the risk", marker={"color": theme.MODULE["G"]}, hovertemplate="%{y:.1%}"))
    return fig


def frontier(p: Portfolio, line: Sequence[tuple[float, float, np.ndarray]],
             every: Mapping[str, tuple[np.ndarray, float, float]]) -> go.Figure:
    """Volatility across, past mean up; every method and every asset where it stands."""
    import plotly.graph_objects as go

    fig = theme.figure(440, hovermode="closest", legend=LEGEND, margin={"t": 60},
                       xaxis={"tickformat": theme.PERCENT, "title": {"text": "volatility a year"}, "showgrid": True},
                       yaxis={"side": "right", "tickformat": theme.PERCENT, "title": {"text": "mean return of the past, a year"}})
    sd = np.sqrt(np.diag(p.covariance) * p.bars_per_year)
    fig.add_trace(go.Scatter(x=sd * float(p.weights.sum() or 1.0) / max(p.scale, 1e-9), y=p.mean * p.bars_per_year, mode="markers+text",
                             showlegend=False, text=[short(n) for n in p.names], textposition="bottom center",
                             textfont={"size": 10, "color": theme.tone().faint},
                             marker={"size": 5, "color": theme.fade(theme.NEUTRAL, 0.8)},
                             hovertemplate="%{text}: %{x:.1%}, %{y:.1%}<extra></extra>"))
    if line:
        fig.add_trace(go.Scatter(x=[v for v, *_ in line], y=[m for _, m, _ in line], mode="lines", name="frontier",
                                 line={"color": theme.ACCENT, "width": 2},
                                 hovertemplate="frontier: %{x:.1%}, %{y:.1%}<extra></extra>"))
    for name, (_, v, m) in every.items():
        chosen = name == p.method
        fig.add_trace(go.Scatter(x=[v], y=[m], mode="markers", name=TITLE[name],
                                 hovertemplate=f"{TITLE[name]}: %{{x:.1%}}, %{{y:.1%}}<extra></extra>",
                                 marker={"size": 15 if chosen else 10, "color": COLOUR[name], "symbol": "diamond" if chosen else "circle",
                                         "line": {"width": 1.5, "color": theme.tone().text if chosen else theme.tone().background}}))
    return fig


def matrix(names: Sequence[str], values: Any, order: Sequence[int], *, height: int = 0) -> go.Figure:
    """A symmetric table of correlations, its rows in this order."""
    import plotly.graph_objects as go

    table = np.array([[math.nan if v is None else v for v in row] for row in values], float)[np.ix_(order, order)]
    label = [short(names[i]) for i in order]
    texts = np.where(np.isfinite(table), np.char.mod("%.2f", np.nan_to_num(table)), "") if len(label) <= 14 else None
    fig = theme.figure(height or min(560, 110 + 30 * len(label)), hovermode="closest", margin={"t": 10},
                       xaxis={"showgrid": False, "tickangle": 0 if len(label) < 9 else -90},
                       yaxis={"autorange": "reversed", "showgrid": False})
    fig.add_trace(go.Heatmap(z=table, x=label, y=label, zmin=-1, zmax=1, colorscale=theme.diverging(), showscale=False, xgap=1, ygap=1,
                             text=texts, texttemplate=None if texts is None else "%{text}",
                             textfont={"size": 10, "color": theme.tone().text},
                             hovertemplate="%{y} and %{x}: %{z:.2f}<extra></extra>"))
    return fig


def tree(p: Portfolio) -> go.Figure:
    """The tree of correlations: what joins low moves as one."""
    import plotly.graph_objects as go

    across, up, leaves = branches(p.correlation)
    fig = theme.figure(300, hovermode="closest", showlegend=False, margin={"t": 10},
                       xaxis={"range": [0, 10 * len(leaves)], "tickmode": "array", "tickvals": [5 + 10 * k for k in range(len(leaves))],
                              "ticktext": [short(p.names[i]) for i in leaves], "tickangle": 0 if len(leaves) < 9 else -90},
                       yaxis={"side": "right", "title": {"text": "distance, sqrt((1 − ρ)/2)"}, "rangemode": "tozero"})
    for x, y in zip(across, up, strict=True):
        fig.add_trace(go.Scatter(x=x, y=y, mode="lines", line={"color": theme.MODULE["I"], "width": 2},
                                 hovertemplate=f"joined at {max(y):.2f}, correlation {1 - 2 * max(y) ** 2:.2f}<extra></extra>"))
    return fig


def losses(rows: Sequence[tuple[str, float]]) -> go.Figure:
    """Losses by name, the deepest bar the worst."""
    import plotly.graph_objects as go

    low = min([v for _, v in rows] + [-0.01])
    fig = theme.figure(70 + 34 * len(rows), showlegend=False, hovermode="closest", margin={"t": 10, "l": 8},
                       xaxis={"tickformat": theme.PERCENT, "showgrid": True,
                              "range": [low * (1 + FALLS), max(0.0, *[v for _, v in rows]) * 1.2]},
                       yaxis={"autorange": "reversed", "showgrid": False})
    fig.add_trace(go.Bar(orientation="h", y=[n for n, _ in rows], x=[v for _, v in rows], text=[f"{v:+.1%}" for _, v in rows],
                         textposition="auto", insidetextanchor="end", cliponaxis=False, hovertemplate="%{y}: %{x:.1%}<extra></extra>",
                         textfont={"color": theme.tone().text}, insidetextfont={"color": "white"},
                         marker={"color": [theme.DOWN if v < 0 else theme.UP for _, v in rows]}))
    return fig


def record(days_ms: Sequence[int], worth: Mapping[str, np.ndarray], chosen: str) -> go.Figure:
    """What 1 became by each method out of sample; the chosen one, 1/N and inverse volatility stand out."""
    import plotly.graph_objects as go

    keep = thinned(len(days_ms))
    when = local_times(np.asarray(days_ms, np.int64)[keep])
    fig = theme.figure(340, legend={**LEGEND, "font": {"size": 10}}, margin={"t": 64}, yaxis={"side": "right", "type": "log"})
    low, high = min(float(w.min()) for w in worth.values()), max(float(w.max()) for w in worth.values())
    ticks = [m * 10.0**e for e in range(-4, 6) for m in (1, 2, 5) if low <= m * 10.0**e <= high]
    fig.update_yaxes(tickvals=ticks, ticktext=[f"{t:g}" for t in ticks])
    for name, line in worth.items():
        bold = name in (chosen, "equal", "inverse-vol")
        fig.add_trace(go.Scatter(x=when, y=line[keep], name=TITLE[name], mode="lines", hovertemplate="%{y:.2f}",
                                 line={"color": COLOUR[name], "width": 2.2 if name == chosen else 1.5 if bold else 1,
                                       "dash": "solid" if bold else "dot"}))
    return fig
