"""Candles, volume, overlays, regimes and holes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from data.frames import Candles
from pages.ui import theme
from pages.ui.widgets import local_times

if TYPE_CHECKING:
    import plotly.graph_objects as go

MOST_CANDLES = 1500  # more make the browser slow


def candle_chart(candles: Candles, overlays: Mapping[str, np.ndarray], *, trending: np.ndarray | None = None,
                 gaps: Sequence[tuple[int, int, int]] = (), height: int = 520) -> go.Figure:
    """Candles over volume. `trending` (bars,) is +1/-1 where the regime trends up/down, 2 where it trends without a
    side, 0 in a range: shaded behind.

    Missing bars are hatched, never drawn over.
    """
    import plotly.graph_objects as go

    when = local_times(candles.open_time)
    fig = theme.figure(height, xaxis={"rangeslider": {"visible": False}, "anchor": "y2"}, bargap=0.15,
                       yaxis={"domain": [0.24, 1.0], "side": "right"}, yaxis2={"domain": [0.0, 0.18], "side": "right", "showgrid": False})
    fig.add_trace(go.Candlestick(
        x=when, open=candles.open, high=candles.high, low=candles.low, close=candles.close, name="price", showlegend=False,
        increasing={"line": {"color": theme.UP, "width": 1}, "fillcolor": theme.UP},
        decreasing={"line": {"color": theme.DOWN, "width": 1}, "fillcolor": "rgba(0,0,0,0)"},  # hollow: told apart without colour
    ))
    colours = iter((theme.ACCENT, theme.WARNING, *theme.MODULE.values()))
    for name, values in overlays.items():
        line = {"width": 1.0, "color": theme.NEUTRAL} if name.startswith("BB ") else {"width": 1.4, "color": next(colours)}
        fig.add_trace(go.Scatter(x=when, y=values, name=name, mode="lines", line=line, showlegend=name not in ("BB upper", "BB lower")))
    up = candles.close >= candles.open
    bars = np.where(up, theme.fade(theme.UP, 0.55), theme.fade(theme.DOWN, 0.55)).tolist()
    fig.add_trace(go.Bar(x=when, y=candles.volume, yaxis="y2", name="volume", showlegend=False, marker={"color": bars, "line_width": 0}))
    if trending is not None:
        colour = {1: theme.UP, -1: theme.DOWN}
        fig.update_layout(shapes=[{
            "type": "rect", "xref": "x", "yref": "y domain", "x0": when[first], "x1": when[last], "y0": 0, "y1": 1, "line": {"width": 0},
            "layer": "below", "fillcolor": theme.fade(colour.get(side, theme.ACCENT), 0.09)} for first, last, side in _runs(trending)])
    low, high = float(np.nanmin(candles.low)), float(np.nanmax(candles.high))
    for start, end, bars in gaps:
        edge = local_times(np.array([start, end + candles.interval.ms]))
        fig.add_trace(go.Scatter(
            x=[edge[0], edge[1], edge[1], edge[0], edge[0]], y=[low, low, high, high, low], fill="toself", mode="lines",
            line={"width": 0}, fillcolor="rgba(0,0,0,0)", showlegend=False, hoverinfo="text", text=f"{bars} candles missing",
            fillpattern={"shape": "/", "fgcolor": theme.WARNING, "size": 6, "solidity": 0.25}, name="missing"))
    return fig


def _runs(side: np.ndarray) -> list[tuple[int, int, int]]:
    """Stretches of equal non-zero side: (first row, last row, side)."""
    edges = np.flatnonzero(np.diff(side, prepend=np.nan) != 0)
    stops = np.append(edges[1:], len(side)) - 1
    return [(int(a), int(b), int(side[a])) for a, b in zip(edges, stops, strict=True) if side[a] != 0 and np.isfinite(side[a])]


def calls_on_price(candles: Candles, side: np.ndarray, right: np.ndarray) -> go.Figure:
    """The close with a triangle at each call: filled where it came true, hollow where not, faint while it is not known.

    `side` (bars,) is 1, -1 or 0; `right` 1 or 0, NaN while the outcome is not known.
    """
    import plotly.graph_objects as go

    fig = theme.figure(300, hovermode="closest", yaxis={"side": "right"})
    when = local_times(candles.close_time)
    fig.add_trace(go.Scatter(x=when, y=candles.close, mode="lines", name="close", line={"color": theme.NEUTRAL, "width": 1.2},
                             hovertemplate="%{y}<extra></extra>"))
    for way, mark, colour, word in ((1, "triangle-up", theme.UP, "rise"), (-1, "triangle-down", theme.DOWN, "fall")):
        for name, rows, symbol, opacity in (
                (f"{word}, came true", right == 1.0, mark, 1.0), (f"{word}, did not", right == 0.0, f"{mark}-open", 0.9),
                (f"{word}, not known yet", np.isnan(right), mark, 0.35)):
            at = np.flatnonzero((side == way) & rows)
            if len(at):
                fig.add_trace(go.Scatter(x=when[at], y=candles.close[at], mode="markers", name=name, opacity=opacity,
                                         marker={"symbol": symbol, "size": 8, "color": colour}, hovertemplate=f"{name}<extra></extra>"))
    return fig
