"""The model lab's pictures: loss by block, reliability, confusion, importance, contributions, next candles, track record, tries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from data.clock import parse_time
from data.market import DAY_MS
from pages.ui import theme
from pages.ui.widgets import local_times

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from models.path import PathPoint

LEAST_DOT, MOST_DOT = 6.0, 14.0  # pixels: a reliability bin by its rows
OUTCOME = {1: ("rose", "triangle-up", theme.UP), 0: ("flat", "square", theme.NEUTRAL), -1: ("fell", "triangle-down", theme.DOWN)}


def losses(folds: Sequence[Mapping[str, Any]], kind: str, least: str, key: str, *, title: str) -> go.Figure:
    """Loss of the model and of its least baseline in each block. Below the grey line the model did better."""
    import plotly.graph_objects as go

    fig = theme.figure(260, yaxis={"side": "right", "title": title}, hovermode="x unified")
    when = local_times(np.array([parse_time(str(f["start"])) for f in folds], np.int64))
    for name, colour, width in ((least, theme.NEUTRAL, 1.3), (kind, theme.ACCENT, 2.0)):
        fig.add_trace(go.Scatter(x=when, y=[f[name][key] for f in folds], name=name, mode="lines+markers",
                                 line={"color": colour, "width": width}, marker={"size": 6}, hovertemplate="%{y:.4f}"))
    return fig


def reliability(lines: Sequence[tuple[str, Sequence[Mapping[str, Any]], str]]) -> go.Figure:
    """How often it happened against what was stated; each line is (name, bins, colour), a dot's size its rows."""
    import plotly.graph_objects as go

    values = [v for _, bins, _ in lines for b in bins for v in (b["stated"], b["happened"]) if v is not None]
    low, high = (max(0.0, min(values) - 0.05), min(1.0, max(values) + 0.05)) if values else (0.0, 1.0)
    most = max((b["rows"] for _, bins, _ in lines for b in bins), default=1)
    axis = {"range": [low, high], "tickformat": theme.PERCENT, "showgrid": True}
    fig = theme.figure(340, hovermode="closest", xaxis=axis | {"title": "stated probability"},
                       yaxis=axis | {"title": "how often it happened"})
    fig.add_trace(go.Scatter(x=[low, high], y=[low, high], mode="lines", name="perfect", hoverinfo="skip",
                             line={"color": theme.tone().faint, "width": 1, "dash": "dot"}))
    for name, bins, colour in lines:
        size = [LEAST_DOT + (MOST_DOT - LEAST_DOT) * b["rows"] / most for b in bins]
        fig.add_trace(go.Scatter(x=[b["stated"] for b in bins], y=[b["happened"] for b in bins], name=name, mode="lines+markers",
                                 line={"color": colour, "width": 1.3}, marker={"size": size}, customdata=[b["rows"] for b in bins],
                                 hovertemplate="stated %{x:.1%}, happened %{y:.1%} (%{customdata} rows)<extra>" + name + "</extra>"))
    return fig


def confusion(table: Sequence[Sequence[int]], names: Sequence[str]) -> go.Figure:
    """Rows: what was called. Columns: what happened. Colour: share of the row."""
    import plotly.graph_objects as go

    counts = np.asarray(table, float)
    total = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
    text = [[f"{int(n):,}<br>{s:.0%}" if t else "0" for n, s in zip(row, part, strict=True)]
            for row, part, t in zip(counts, share, total[:, 0], strict=True)]
    fig = theme.figure(340, hovermode="closest", xaxis={"side": "top", "title": "what happened", "type": "category"},
                       yaxis={"autorange": "reversed", "title": "what was called", "type": "category", "showgrid": False}, margin={"t": 52})
    fig.add_trace(go.Heatmap(z=share, x=list(names), y=list(names), zmin=0, zmax=1, showscale=False, xgap=2, ygap=2, text=text,
                             texttemplate="%{text}", textfont={"color": theme.tone().text, "size": 12},
                             colorscale=theme.rising(theme.ACCENT),
                             hovertemplate="called %{y}, came %{x}: %{z:.1%} of these calls<extra></extra>"))
    return fig


def ranked(values: Mapping[str, float], *, top: int = 20) -> go.Figure:
    """The largest values by name, as bars."""
    import plotly.graph_objects as go

    rows = sorted(values.items(), key=lambda item: -item[1])[:top]
    fig = theme.figure(60 + 22 * len(rows), showlegend=False, hovermode="closest", yaxis={"autorange": "reversed", "showgrid": False},
                       xaxis={"showgrid": True, "zeroline": True, "nticks": 5})
    fig.add_trace(go.Bar(x=[v for _, v in rows], y=[n.replace("_", " ") for n, _ in rows], orientation="h",
                         marker={"color": [theme.ACCENT if v >= 0 else theme.NEUTRAL for _, v in rows]},
                         hovertemplate="%{y}: %{x:.5f}<extra></extra>"))
    return fig


def contributions(parts: Sequence[Mapping[str, Any]]) -> go.Figure:
    """What each feature adds to one forecast, largest first."""
    import plotly.graph_objects as go

    values = [p["contribution"] for p in parts]
    room = 0.3 * max((abs(v) for v in values), default=1.0)
    ends = [min([0.0, *values]) - room, max([0.0, *values]) + room]
    fig = theme.figure(60 + 26 * len(parts), showlegend=False, hovermode="closest", yaxis={"autorange": "reversed", "showgrid": False},
                       xaxis={"showgrid": True, "zeroline": True, "nticks": 5, "range": ends})
    fig.add_trace(go.Bar(x=values, y=[p["feature"].replace("_", " ") for p in parts], orientation="h", cliponaxis=False,
                         marker={"color": [theme.UP if v >= 0 else theme.DOWN for v in values]}, text=[f"{v:+.2g}" for v in values],
                         textposition="outside", hovertemplate="%{y}: %{x:+.4f}<extra></extra>"))
    return fig


def ahead(close_time: np.ndarray, close: np.ndarray, points: Sequence[PathPoint]) -> go.Figure:
    """The newest closes, then the forecasts as dots on a dotted line that starts at the last close, over the band of their intervals."""
    import plotly.graph_objects as go

    fig = theme.figure(360, hovermode="closest", yaxis={"side": "right", "title": "price"})
    fig.add_trace(go.Scatter(x=local_times(close_time + 1), y=close, mode="lines", name="close", hovertemplate="%{y:.6g}",
                             line={"color": theme.NEUTRAL, "width": 1.5}))
    held = [p for p in points if p.low is not None and p.high is not None]
    start = [int(close_time[-1]) + 1]
    when = local_times(np.array(start + [p.close_time + 1 for p in held], np.int64))
    edges = [[float(close[-1])] + [float(getattr(p, side)) for p in held] for side in ("low", "high")]
    for y, fill in zip(edges, (None, "tonexty"), strict=True):
        fig.add_trace(go.Scatter(x=when, y=y, mode="lines", line={"width": 0}, fill=fill, fillcolor=theme.fade(theme.ACCENT, 0.15),
                                 name="interval", showlegend=fill is not None, hoverinfo="skip"))
    told = [p for p in points if p.price is not None]
    when = local_times(np.array(start + [p.close_time + 1 for p in told], np.int64))
    fig.add_trace(go.Scatter(x=when, y=[float(close[-1])] + [p.price for p in told], mode="lines+markers", name="forecast, joined by lines",
                             line={"color": theme.ACCENT, "width": 1.5, "dash": "dot"}, marker={"size": [0] + [8] * len(told)},
                             text=["now"] + [f"{p.bars} bars ahead" for p in told], hovertemplate="%{text}: %{y:.6g}<extra></extra>"))
    return fig


def track(rows: Sequence[Mapping[str, Any]], *, title: str, percent: bool) -> go.Figure:
    """What was predicted for each bar, marked by what came: a triangle up or down, a square for flat, a ring while it is not known."""
    import plotly.graph_objects as go

    fig = theme.figure(280, hovermode="closest", yaxis={"side": "right", "title": title, "tickformat": theme.PERCENT if percent else None,
                                                        "nticks": 6} | ({"range": [0, 1]} if percent else {}))
    if rows:  # room on both sides: a lone point would be shown in microseconds
        ends = [min(r["bar_ms"] for r in rows) - DAY_MS // 2, max(r["bar_ms"] for r in rows) + DAY_MS // 2]
        fig.update_xaxes(range=list(local_times(np.array(ends, np.int64))))
    groups: dict[int | None, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["side"], []).append(row)
    for side in (1, 0, -1, None):
        held = groups.get(side)
        if not held:
            continue
        name, mark, colour = OUTCOME[side] if side is not None else ("not known yet", "circle-open", theme.tone().faint)
        fig.add_trace(go.Scatter(x=local_times(np.array([r["bar_ms"] + 1 for r in held], np.int64)), y=[r["predicted"] for r in held],
                                 mode="markers", name=name, marker={"symbol": mark, "size": 9, "color": colour},
                                 text=[r["words"] for r in held], hovertemplate="%{text}<extra></extra>"))
    return fig


def tries(tried: Sequence[Mapping[str, Any]], default: float | None) -> go.Figure:
    """Loss of each finished try and the best so far; the dotted line is the defaults' loss."""
    import plotly.graph_objects as go

    known = [t for t in tried if t["loss"] is not None and t["state"] == "complete"]
    fig = theme.figure(260, yaxis={"side": "right", "title": "mean loss"}, xaxis={"title": "try"}, hovermode="closest")
    number, loss = [t["number"] + 1 for t in known], [t["loss"] for t in known]
    fig.add_trace(go.Scatter(x=number, y=loss, mode="markers", name="a try", marker={"size": 7, "color": theme.NEUTRAL},
                             hovertemplate="try %{x}: %{y:.4f}<extra></extra>"))
    fig.add_trace(go.Scatter(x=number, y=np.minimum.accumulate(loss) if loss else [], mode="lines", name="best so far",
                             line={"color": theme.ACCENT, "width": 2, "shape": "hv"}, hovertemplate="%{y:.4f}<extra></extra>"))
    if default is not None and number:
        fig.add_hline(y=default, line={"color": theme.WARNING, "width": 1, "dash": "dot"}, annotation_text="defaults")
    return fig
