"""The score lab's pictures: IC by horizon with its interval, by quarter and regime, quintiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pages.ui import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

VERDICT_COLOUR = {"supported": theme.UP, "weak": theme.WARNING, "no evidence": theme.NEUTRAL, "contradicted": theme.DOWN,
                  "insufficient": theme.NEUTRAL}
VERDICT_MARK = {"supported": "diamond", "contradicted": "x"}  # so that colour is never the only sign


def coefficients(cells: Sequence[dict[str, Any]]) -> go.Figure:
    """Rank IC of each symbol and horizon with its 95 % interval, coloured by verdict."""
    import plotly.graph_objects as go

    fig = theme.figure(70 + 22 * len(cells), hovermode="closest", showlegend=False, yaxis={"autorange": "reversed", "showgrid": False},
                       xaxis={"showgrid": True, "zeroline": True, "title": "rank IC"})
    known = [c for c in cells if c["found"]["ic"] is not None]
    names = [f"{c['symbol']} · {c['horizon_bars']} bars" for c in known]
    low = [c["found"]["ic"] - (c["found"]["low"] if c["found"]["low"] is not None else c["found"]["ic"]) for c in known]
    high = [(c["found"]["high"] if c["found"]["high"] is not None else c["found"]["ic"]) - c["found"]["ic"] for c in known]
    fig.add_trace(go.Scatter(
        x=[c["found"]["ic"] for c in known], y=names, mode="markers",
        marker={"size": 8, "color": [VERDICT_COLOUR[c["verdict"]] for c in known],
                "symbol": [VERDICT_MARK.get(c["verdict"], "circle") for c in known]},
        error_x={"type": "data", "array": high, "arrayminus": low, "color": theme.tone().faint, "thickness": 1},
        text=[c["words"] for c in known], hovertemplate="%{y}: %{x:+.3f}<br>%{text}<extra></extra>"))
    return fig


def decay(pooled: dict[str, Any]) -> go.Figure:
    """Mean IC over symbols by horizon."""
    import plotly.graph_objects as go

    rows = [d for d in pooled["decay"] if d["mean_ic"] is not None]
    ahead = [d["horizon_bars"] for d in rows]
    fig = theme.figure(240, xaxis={"title": "bars ahead", "type": "log", "tickvals": ahead, "ticktext": [str(n) for n in ahead]},
                       yaxis={"side": "right", "zeroline": True})
    fig.add_trace(go.Scatter(x=ahead, y=[d["mean_ic"] for d in rows], mode="lines+markers", name="mean rank IC",
                             line={"color": theme.ACCENT, "width": 1.5}, hovertemplate="%{y:+.3f}"))
    return fig


def quintiles(cell: dict[str, Any]) -> go.Figure:
    """Mean outcome of each fifth of the score, lowest first."""
    import plotly.graph_objects as go

    means = cell["quintiles"]["means"]
    fig = theme.figure(220, showlegend=False, yaxis={"side": "right", "tickformat": theme.PERCENT, "zeroline": True}, hovermode="closest")
    fig.add_trace(go.Bar(x=[f"Q{i + 1}" for i in range(len(means))], y=means,
                         marker={"color": [theme.UP if (v or 0) >= 0 else theme.DOWN for v in means]},
                         hovertemplate="%{x}: %{y:.3%}<extra></extra>"))
    return fig


def groups(rows: Sequence[dict[str, Any]]) -> go.Figure:
    """IC inside quarters or regimes."""
    import plotly.graph_objects as go

    known = [r for r in rows if r["ic"] is not None]
    fig = theme.figure(220, showlegend=False, yaxis={"side": "right", "zeroline": True}, hovermode="closest")
    fig.add_trace(go.Bar(x=[r["name"] for r in known], y=[r["ic"] for r in known], customdata=[r["n"] for r in known],
                         marker={"color": [theme.UP if r["ic"] >= 0 else theme.DOWN for r in known]},
                         hovertemplate="%{x}: %{y:+.3f} (%{customdata} bars)<extra></extra>"))
    return fig
