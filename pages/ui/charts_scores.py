"""Scores as pictures: contribution waterfalls, score histories, the heat map of symbols by scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from analysis.report import ModuleReport
from pages.ui import theme
from pages.ui.widgets import local_times

if TYPE_CHECKING:
    import plotly.graph_objects as go


SIGNED = ("A", "C", "D", "E", "F", "H", "trend_strength", "macro_sentiment", "liquidity_pressure")  # 0.5 is neutral


def waterfall(report: ModuleReport, *, signed: bool) -> go.Figure:
    """Contributions of what is known, largest first, adding up to the raw score.

    `signed`: plus is up and minus is down, in the colours of direction; else plus is more, in the module's colour.
    """
    import plotly.graph_objects as go

    known = [p for p in report.parts if p.contribution is not None and p.status in ("ok", "fallback")]
    parts = sorted(known, key=lambda p: -abs(p.contribution or 0.0))
    names = [p.title for p in parts] + ["raw"]
    values = [p.contribution or 0.0 for p in parts] + [report.raw or 0.0]
    module = theme.MODULE.get(report.letter, theme.ACCENT)
    plus, minus = (theme.UP, theme.DOWN) if signed else (module, theme.fade(module, 0.45))
    reach = np.cumsum([0.0, *values[:-1]])
    low, high = float(reach.min()), float(reach.max())
    room = 0.45 * max(high - low, 1e-9)  # for the figures beside the bars
    fig = theme.figure(60 + 24 * len(names), hovermode="closest", showlegend=False,
                       xaxis={"showgrid": True, "zeroline": True, "range": [low - room, high + room]},
                       yaxis={"autorange": "reversed", "showgrid": False})
    fig.add_trace(go.Waterfall(
        orientation="h", y=names, x=values, measure=["relative"] * len(parts) + ["total"],
        text=[f"{v:+.3f}" for v in values], textposition="outside", cliponaxis=False, hovertemplate="%{y}: %{x:+.4f}<extra></extra>",
        increasing={"marker": {"color": plus}}, decreasing={"marker": {"color": minus}}, totals={"marker": {"color": theme.NEUTRAL}},
        connector={"line": {"color": theme.tone().grid, "width": 1}}))
    return fig


def known(lines: Mapping[str, np.ndarray]) -> bool:
    """Is there anything to draw?"""
    return any(np.isfinite(values).any() for values in lines.values())


def history(close_time: np.ndarray, lines: Mapping[str, np.ndarray], *, colours: Sequence[str],
            bands: Sequence[tuple[float, float, str]] = (), levels: Sequence[tuple[float, str]] = (),
            span: tuple[float, float] | None = (0.0, 1.0), height: int = 260, percent: bool = False) -> go.Figure:
    """Lines over time on one axis. `bands` are (from, to, colour) stripes behind, `levels` are (value, words) dashed lines."""
    import plotly.graph_objects as go

    fig = theme.figure(height, showlegend=True,
                       yaxis={"range": list(span) if span else None, "side": "right", "tickformat": theme.PERCENT if percent else None})
    when = local_times(close_time)
    for low, high, colour in bands:
        fig.add_hrect(y0=low, y1=high, line_width=0, fillcolor=theme.fade(colour, 0.07), layer="below")
    for value, words in levels:
        fig.add_hline(y=value, line={"color": theme.tone().faint, "width": 1, "dash": "dot"}, annotation_text=words,
                      annotation_font={"size": 10, "color": theme.tone().faint}, annotation_position="top left")
    for (name, values), colour in zip(lines.items(), colours, strict=False):
        fig.add_trace(go.Scatter(x=when, y=values, name=name, mode="lines", line={"width": 1.5, "color": colour},
                                 hovertemplate="%{y:.2%}" if percent else "%{y:.3f}"))
    return fig


def heat_map(symbols: Sequence[str], columns: Sequence[tuple[str, str, Sequence[float | None]]]) -> go.Figure:
    """Symbols down, scores across. A column is (title, letter, values 0..1); direction has two colours, the rest one."""
    from plotly.subplots import make_subplots

    fig = make_subplots(rows=1, cols=len(columns), shared_yaxes=True, horizontal_spacing=0.012, column_titles=[c[0] for c in columns])
    fig.update_layout(theme.figure(128 + 26 * len(symbols)).layout)
    fig.update_annotations(textangle=-42, xanchor="left", xshift=-8, font_size=11)  # slanted: twelve names fit a telephone too
    for number, (title, letter, values) in enumerate(columns, start=1):
        column = np.array([[np.nan if v is None else v] for v in values])
        fig.add_heatmap(
            z=column, y=list(symbols), x=[""], zmin=0, zmax=1, showscale=False, xgap=2, ygap=2, row=1, col=number,
            colorscale=theme.diverging() if letter in SIGNED else theme.rising(theme.MODULE.get(letter, theme.WARNING)),
            text=[["–" if v is None else f"{v:.2f}".removeprefix("0")] for v in values], texttemplate="%{text}",
            textfont={"size": 11, "color": theme.tone().text}, hovertemplate="%{y} " + title + ": %{z:.3f}<extra></extra>")
        fig.update_yaxes(autorange="reversed", showgrid=False, ticks="", row=1, col=number)
        fig.update_xaxes(showticklabels=False, ticks="", row=1, col=number)
    fig.update_annotations(font={"size": 12, "color": theme.tone().faint})
    fig.update_layout(hovermode="closest", margin={"t": 92, "r": 62})
    return fig
