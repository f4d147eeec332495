"""The paper account's pictures: equity beside holding, and profit as it added up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from core.paper.record import Curve
from pages.ui import theme
from pages.ui.widgets import local_times

if TYPE_CHECKING:
    import plotly.graph_objects as go

MOST_POINTS = 1_500


def thinned(n: int) -> np.ndarray:
    """Which of n points are drawn: all of a short line, evenly spaced ones of a long one, the last always."""
    return np.arange(n) if n <= MOST_POINTS else np.unique(np.linspace(0, n - 1, MOST_POINTS).astype(int))


def equity(curve: Curve) -> go.Figure:
    """Equity and, in grey, the same symbols held equally; the drawdown below."""
    from plotly.subplots import make_subplots

    keep = thinned(len(curve.at_ms))
    when = local_times(curve.at_ms[keep] + 1)
    fig = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.74, 0.26], vertical_spacing=0.06,
                        subplot_titles=("Equity", "Drawdown"))
    fig.update_layout(theme.figure(360).layout)
    if np.isfinite(curve.held).any():
        fig.add_scatter(x=when, y=curve.held[keep], name="the same symbols, held equally", mode="lines", hovertemplate="%{y:,.2f}",
                        line={"color": theme.NEUTRAL, "width": 1.3}, row=1, col=1)
    fig.add_scatter(x=when, y=curve.equity[keep], name="this account", mode="lines", hovertemplate="%{y:,.2f}",
                    line={"color": theme.ACCENT, "width": 2, "shape": "hv"}, row=1, col=1)
    fig.add_hline(y=curve.capital, line={"color": theme.tone().faint, "width": 1, "dash": "dot"}, row=1, col=1)
    fig.add_scatter(x=when, y=curve.drawdown[keep], name="drawdown", mode="lines", fill="tozeroy", showlegend=False,
                    line={"color": theme.DOWN, "width": 1, "shape": "hv"}, fillcolor=theme.fade(theme.DOWN, 0.18),
                    hovertemplate="%{y:.2%}", row=2, col=1)
    fig.update_yaxes(side="right", nticks=5)
    fig.update_yaxes(tickformat=theme.AMOUNT, row=1, col=1)
    lowest = float(curve.drawdown.min())
    fig.update_yaxes(tickformat=theme.PERCENT, nticks=4, range=[min(1.15 * lowest, -0.001), 0.0], row=2, col=1)
    fig.update_annotations(font={"size": 12, "color": theme.tone().faint}, x=0, xanchor="left")
    fig.update_layout(legend={"y": 1.06, "x": 1, "xanchor": "right"}, margin={"t": 44})
    return fig


def added_up(closed_ms: Sequence[int], pnl: Sequence[float]) -> go.Figure:
    """Profit of closed trades as it added up, a dot a trade."""
    import plotly.graph_objects as go

    keep = thinned(len(pnl))
    total = np.cumsum(np.asarray(pnl, float))
    colours = [theme.UP if pnl[k] > 0 else theme.DOWN for k in keep]
    fig = theme.figure(280, showlegend=False, hovermode="closest", yaxis={"side": "right", "zeroline": True, "nticks": 6})
    fig.add_trace(go.Scatter(x=local_times(np.asarray(closed_ms, np.int64)[keep]), y=total[keep], mode="lines+markers",
                             line={"color": theme.ACCENT, "width": 1.7, "shape": "hv"}, marker={"size": 6, "color": colours},
                             customdata=[pnl[k] for k in keep],
                             hovertemplate="%{x}<br>%{customdata:+,.2f}, together %{y:+,.2f}<extra></extra>"))
    return fig
