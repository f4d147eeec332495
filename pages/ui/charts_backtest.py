"""The backtest's pictures: equity, drawdown and exposure, months, bars of returns, worlds without an edge, trades, sweeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from data.clock import parse_time
from data.frames import Candles
from data.market import DAY_MS
from pages.ui import theme
from pages.ui.widgets import local_times

if TYPE_CHECKING:
    import plotly.graph_objects as go

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
LINES = (theme.ACCENT, theme.UP, theme.DOWN, theme.WARNING, theme.NEUTRAL, theme.MODULE["G"], theme.MODULE["I"], theme.MODULE["A"])
HELD = "buy and hold at the strategy's volatility"


def days_of(document: Mapping[str, Any]) -> np.ndarray:
    """The ends of the report's UTC days as dates."""
    return (np.asarray(document["curve"]["day"], np.int64) * DAY_MS).astype("datetime64[ms]")


def equity(document: Mapping[str, Any]) -> go.Figure:
    """Equity beside buy and hold, the drawdown and the exposure below it. A diamond marks what the same risk held would have made."""
    from plotly.subplots import make_subplots

    curve, days = document["curve"], days_of(document)
    fig = make_subplots(rows=3, cols=1, shared_xaxes=True, row_heights=[0.6, 0.22, 0.18], vertical_spacing=0.05,
                        subplot_titles=("Equity", "Drawdown", "Exposure, share of equity"))
    fig.update_layout(theme.figure(520).layout)
    fig.add_scatter(x=days, y=curve["buy_and_hold"], name="buy and hold", mode="lines", line={"color": theme.NEUTRAL, "width": 1.3},
                    hovertemplate="%{y:,.0f}", row=1, col=1)
    fig.add_scatter(x=days, y=curve["equity"], name="this rule", mode="lines", line={"color": theme.ACCENT, "width": 2},
                    hovertemplate="%{y:,.0f}", row=1, col=1)
    same = next((b["total_return"] for b in document["honesty"].get("baselines") or () if b["name"] == HELD), None)
    if same is not None and len(days):
        fig.add_scatter(x=days[-1:], y=[document["config"]["capital"] * (1.0 + same)], name="held at this rule's volatility",
                        mode="markers", marker={"symbol": "diamond", "size": 10, "color": theme.WARNING}, hovertemplate="%{y:,.0f}",
                        row=1, col=1)
    fig.add_scatter(x=days, y=curve["drawdown"], name="drawdown", mode="lines", line={"color": theme.DOWN, "width": 1}, fill="tozeroy",
                    fillcolor=theme.fade(theme.DOWN, 0.18), showlegend=False, hovertemplate="%{y:.1%}", row=2, col=1)
    fig.add_scatter(x=days, y=curve["exposure"], name="exposure", mode="lines", line={"color": theme.UP, "width": 1, "shape": "hv"},
                    fill="tozeroy", fillcolor=theme.fade(theme.UP, 0.15), showlegend=False, hovertemplate="%{y:.0%}", row=3, col=1)
    fig.update_yaxes(side="right", nticks=5)
    fig.update_yaxes(tickformat=theme.AMOUNT, row=1, col=1)
    fig.update_yaxes(tickformat=theme.PERCENT, nticks=4, row=2, col=1)
    fig.update_yaxes(tickformat=theme.PERCENT, nticks=4, rangemode="tozero", row=3, col=1)
    fig.update_annotations(font={"size": 12, "color": theme.tone().faint}, x=0, xanchor="left")
    fig.update_layout(legend={"y": 1.06, "x": 1, "xanchor": "right"}, margin={"t": 44})
    return fig


def months(rows: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Return of each calendar month, a row a year. Months outside the window stay empty."""
    import plotly.graph_objects as go

    years = sorted({r["month"][:4] for r in rows})
    grid = np.full((len(years), 12), np.nan)
    for r in rows:
        if r["return"] is not None:
            grid[years.index(r["month"][:4]), int(r["month"][5:7]) - 1] = r["return"]
    reach = max(0.02, float(np.nanmax(np.abs(grid)))) if np.isfinite(grid).any() else 0.02
    fig = theme.figure(64 + 36 * len(years), hovermode="closest", margin={"t": 30}, xaxis={"side": "top", "showgrid": False},
                       yaxis={"autorange": "reversed", "showgrid": False, "type": "category"})
    fig.add_trace(go.Heatmap(z=grid, x=list(MONTHS), y=years, zmin=-reach, zmax=reach, showscale=False, xgap=2, ygap=2,
                             colorscale=theme.diverging(), texttemplate="%{text}", textfont={"size": 10, "color": theme.tone().text},
                             text=[[_tenths(v) for v in row] for row in grid],
                             hovertemplate="%{x} %{y}: %{z:+.2%}<extra></extra>"))
    return fig


def _tenths(value: float) -> str:
    """A month's percent in as few letters as a phone has room for."""
    return "" if not np.isfinite(value) else "0" if abs(value) < 0.0005 else f"{100 * value:.1f}"


def bars(rows: Sequence[tuple[str, float | None]], *, own: float | None = None, percent: bool = True) -> go.Figure:
    """Named values as horizontal bars in the given order; `own`, the result as asked, stands above them in the accent."""
    import plotly.graph_objects as go

    known = [(name, value) for name, value in (*([("as asked", own)] if own is not None else []), *rows) if value is not None]
    values = [v for _, v in known]
    form = (lambda v: f"{v:+.1%}") if percent else (lambda v: f"{v:+,.0f}")
    colours = [theme.UP if v >= 0 else theme.DOWN for v in values]
    if own is not None:
        colours[0] = theme.ACCENT
    every = [0.0, *values]
    room = 0.32 * max(max(every) - min(every), 1e-9)
    fig = theme.figure(52 + 27 * len(known), showlegend=False, hovermode="closest", margin={"t": 22},
                       xaxis={"showgrid": True, "zeroline": True, "tickformat": theme.PERCENT if percent else theme.AMOUNT, "nticks": 5,
                              "range": [min(every) - room * (min(every) < 0), max(every) + room * (max(every) > 0 or min(every) >= 0)]},
                       yaxis={"autorange": "reversed", "showgrid": False, "type": "category"})
    fig.add_trace(go.Bar(x=values, y=[n for n, _ in known], orientation="h", text=[form(v) for v in values], textposition="outside",
                         cliponaxis=False, marker={"color": colours},
                         hovertemplate="%{y}: %{x:+.2%}<extra></extra>" if percent else "%{y}: %{x:+,.2f}<extra></extra>"))
    return fig


def worlds(totals: Sequence[float], own: float) -> go.Figure:
    """What the rule made in histories without an edge, a dot each; its own result as a diamond."""
    import plotly.graph_objects as go

    fig = theme.figure(140, showlegend=True, hovermode="closest",
                       xaxis={"showgrid": True, "zeroline": True, "tickformat": theme.PERCENT, "nticks": 6},
                       yaxis={"visible": False, "range": [-1, 1]})
    fig.add_trace(go.Scatter(x=list(totals), y=[0.28 * (-1) ** k for k in range(len(totals))], mode="markers",
                             name="worlds without an edge",
                             marker={"size": 9, "color": theme.fade(theme.NEUTRAL, 0.75)}, hovertemplate="%{x:+.1%}<extra>no edge</extra>"))
    fig.add_trace(go.Scatter(x=[own], y=[0], mode="markers", name="this result", hovertemplate="%{x:+.1%}<extra>this result</extra>",
                             marker={"size": 14, "symbol": "diamond", "color": theme.ACCENT}))
    return fig


def trades(candles: Candles, rows: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Closes of one symbol with its entries and exits. `rows` have side, entry_time, exit_time, entry_price, exit_price, pnl."""
    import plotly.graph_objects as go

    fig = theme.figure(340, hovermode="closest", yaxis={"side": "right"})
    fig.add_trace(go.Scattergl(x=local_times(candles.close_time), y=candles.close, mode="lines", name="close", hoverinfo="skip",
                               line={"color": theme.NEUTRAL, "width": 1}))
    for name, side, symbol, colour in (("long entry", 1, "triangle-up", theme.UP), ("short entry", -1, "triangle-down", theme.DOWN)):
        own = [r for r in rows if r["side"] == side]
        if own:
            fig.add_trace(go.Scattergl(x=_moments(own, "entry_time"), y=[r["entry_price"] for r in own], mode="markers", name=name,
                                       marker={"symbol": symbol, "size": 9, "color": colour},
                                       hovertemplate="%{x}<br>in at %{y:,.6g}<extra></extra>"))
    if rows:
        fig.add_trace(go.Scattergl(
            x=_moments(rows, "exit_time"), y=[r["exit_price"] for r in rows], mode="markers", name="exit",
            text=[f"{r['reason']} {r['pnl']:+,.2f}" for r in rows],
            marker={"symbol": "x-thin", "size": 7,
                    "line": {"width": 1.5, "color": [theme.UP if r["pnl"] > 0 else theme.DOWN for r in rows]}},
            hovertemplate="%{x}<br>out at %{y:,.6g}<br>%{text}<extra></extra>"))
    return fig


def _moments(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    return local_times(np.array([parse_time(r[name]) for r in rows], np.int64))


def compared(runs: Sequence[tuple[str, Mapping[str, Any]]]) -> go.Figure:
    """Several runs as growth from their own start; days where they overlap line up."""
    import plotly.graph_objects as go

    fig = theme.figure(340, yaxis={"side": "right", "tickformat": f"+{theme.PERCENT}", "zeroline": True})
    for (name, document), colour in zip(runs, LINES, strict=False):
        growth = np.asarray(document["curve"]["equity"], float) / document["config"]["capital"] - 1.0
        fig.add_trace(go.Scatter(x=days_of(document), y=growth, name=name, mode="lines", line={"color": colour, "width": 1.7},
                                 hovertemplate="%{y:+.1%}"))
    return fig


def sweep_map(across: tuple[str, Sequence[float]], down: tuple[str, Sequence[float]], grid: np.ndarray, *, title: str, percent: bool,
              best: tuple[float, float] | None) -> go.Figure:
    """One figure over two parameters, `grid` of shape (n_down, n_across); the best set has a ring."""
    import plotly.graph_objects as go

    known = grid[np.isfinite(grid)]
    reach = max(float(np.abs(known).max()), 1e-9) if len(known) else 1.0
    many = grid.size > 120
    form = (lambda v: f"{100 * v:+.0f}%") if percent else (lambda v: f"{v:.1f}")
    x, y = [f"{v:g}" for v in across[1]], [f"{v:g}" for v in down[1]]
    fig = theme.figure(120 + min(36 * len(y), 460), hovermode="closest", margin={"t": 12},
                       xaxis={"title": across[0], "type": "category", "showgrid": False},
                       yaxis={"title": down[0], "type": "category", "showgrid": False})
    fig.add_trace(go.Heatmap(z=grid, x=x, y=y, zmin=-reach, zmax=reach, colorscale=theme.diverging(), xgap=1, ygap=1, showscale=many,
                             colorbar={"thickness": 10, "tickformat": theme.PERCENT if percent else ".1f"},
                             text=None if many else [["–" if not np.isfinite(v) else form(v) for v in row] for row in grid],
                             texttemplate="" if many else "%{text}", textfont={"size": 11, "color": theme.tone().text},
                             hovertemplate=f"{across[0]} %{{x}}, {down[0]} %{{y}}<br>{title} "
                                           f"%{{z:{'+.1%' if percent else '.2f'}}}<extra></extra>"))
    if best is not None:
        fig.add_trace(go.Scatter(x=[f"{best[0]:g}"], y=[f"{best[1]:g}"], mode="markers", showlegend=False, hoverinfo="skip",
                                 marker={"symbol": "square-open", "size": 30 if len(x) <= 14 else 16,
                                         "line": {"width": 2.5, "color": theme.ACCENT}}))
    return fig


def sweep_line(name: str, values: Sequence[float], found: Sequence[float | None], *, title: str, percent: bool) -> go.Figure:
    """One figure over one parameter."""
    import plotly.graph_objects as go

    fig = theme.figure(280, hovermode="closest", showlegend=False, xaxis={"title": name},
                       yaxis={"side": "right", "title": title, "tickformat": theme.PERCENT if percent else None, "zeroline": True})
    fig.add_trace(go.Scatter(x=list(values), y=list(found), mode="lines+markers", line={"color": theme.ACCENT, "width": 1.7},
                             hovertemplate=f"{name} %{{x:g}}: %{{y:{'+.1%' if percent else '.2f'}}}<extra></extra>"))
    return fig
