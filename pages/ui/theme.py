"""One palette by meaning and one Plotly template, for light and dark. No page names a colour."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import streamlit as st

from core.kept import Kept

if TYPE_CHECKING:
    import plotly.graph_objects as go

FIGURES_KEPT = 96
PERCENT, AMOUNT = ".2~%", ",.2~f"  # of axes: as many decimals as a tick needs; whole percents would call half a percent 1 %
UP = "#0FA3A3"  # teal and vermilion: told apart by every kind of colour vision, and by lightness
DOWN = "#E4572E"
NEUTRAL = "#8A94A6"
WARNING = "#E9B949"
ACCENT = "#6C7BFF"
MODULE = {"A": "#4E79A7", "B": "#F28E2B", "C": "#E15759", "D": "#76B7B2", "E": "#59A14F",
          "F": "#EDC948", "G": "#B07AA1", "H": "#FF9DA7", "I": "#9C755F", "J": "#BAB0AC"}


@dataclass(frozen=True)
class Tone:
    """What differs between light and dark."""

    name: str
    background: str
    panel: str
    text: str
    grid: str
    faint: str


LIGHT = Tone("light", "#FBFBFD", "#F1F3F8", "#1B2233", "#E3E7EF", "#5B6577")
DARK = Tone("dark", "#0E1320", "#161C2D", "#E6EAF2", "#232B40", "#9AA5B8")


def tone() -> Tone:
    """The browser's choice; light until the browser has said."""
    try:
        return DARK if st.context.theme.type == "dark" else LIGHT
    except AttributeError:  # a Streamlit without a browser, as in AppTest
        return LIGHT


def fade(colour: str, alpha: float) -> str:
    """A hex colour with transparency, as rgba text."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


@cache
def _template(name: str) -> go.layout.Template:
    import plotly.graph_objects as go

    look = DARK if name == "dark" else LIGHT
    axis = {"gridcolor": look.grid, "linecolor": look.grid, "zerolinecolor": look.grid, "tickfont": {"color": look.faint, "size": 11},
            "title": {"font": {"color": look.faint, "size": 12}}, "automargin": True}
    return go.layout.Template(layout={
        "font": {"color": look.text, "size": 12}, "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
        "xaxis": axis | {"showgrid": False}, "yaxis": axis, "hovermode": "x unified",
        "hoverlabel": {"bgcolor": look.panel, "font": {"color": look.text, "size": 12}, "bordercolor": look.grid},
        "margin": {"l": 8, "r": 8, "t": 34, "b": 8},
        "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "font": {"size": 11}},
        "colorway": [ACCENT, UP, DOWN, WARNING, NEUTRAL], "title": {"font": {"size": 13, "color": look.text}, "x": 0, "xanchor": "left"},
    })


def figure(height: int, **layout: object) -> go.Figure:
    """An empty figure in the house style."""
    import plotly.graph_objects as go

    return go.Figure(layout={"template": _template(tone().name), "height": height, "uirevision": "keep"} | layout)


@st.cache_resource(show_spinner=False)
def _figures() -> Kept[go.Figure]:
    return Kept(FIGURES_KEPT)


def kept(build: Callable[[], go.Figure], *depends_on: Hashable) -> go.Figure:
    """A figure built once per content: Plotly's checks cost more than everything else a page does. `depends_on` must name all that the
    figure shows; the theme and the time zone are added here."""
    return _figures().get((tone().name, st.context.timezone, *depends_on), build)


def draw(fig: go.Figure, *, key: str, file_name: str, alt: str) -> None:
    """Put a figure on the page: full width, downloadable as PNG under its own name, no logo."""
    st.plotly_chart(fig, width="stretch", theme=None, key=key, alt=alt, config={
        "displaylogo": False, "displayModeBar": "hover", "scrollZoom": False,
        "toImageButtonOptions": {"format": "png", "filename": file_name, "scale": 2},
        "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
    })


def diverging() -> list[list[object]]:
    """Down, neutral, up: for direction scores."""
    return [[0.0, DOWN], [0.5, tone().panel], [1.0, UP]]


def rising(colour: str) -> list[list[object]]:
    """From the panel's colour to one colour: for intensity and risk."""
    return [[0.0, tone().panel], [1.0, colour]]
