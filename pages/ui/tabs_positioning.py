"""Module C's tab: funding, open interest and ratios beside the score, and the liquidation map with its assumptions to move."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from analysis.methods.liquidations import LiquidationAssumptions
from analysis.report import ModuleReport
from core.maps import LiquidationPicture
from core.sextant import Sextant
from data.errors import DataError
from data.market import SeriesKey
from pages.ui import charts_scores, theme, widgets
from pages.ui.session import redrawn

if TYPE_CHECKING:
    import plotly.graph_objects as go

BARS = 400
REACH = 0.12  # of the price, shown on both sides


def draw(sextant: Sextant, key: SeriesKey, report: ModuleReport) -> None:
    """Histories of what the score is made of."""
    line = sextant.timeline("C", key, BARS)
    content = (sextant.content(key), BARS)

    def picture(name: str, lines: dict[str, np.ndarray], colours: tuple[str, ...], **look: object) -> None:
        if not charts_scores.known(lines):
            return
        figure = theme.kept(lambda: charts_scores.history(line.close_time, lines, colours=colours, **look), "positioning", name, *content)  # type: ignore[arg-type]
        theme.draw(figure, key=f"tab-C-{name}", file_name=f"{key.symbol}-{name}", alt=f"{name} of {key.symbol}")

    picture("sentiment", {"sentiment": line.score, "flow": line.extra["c_flow"]}, (theme.MODULE["C"], theme.ACCENT), span=(-1.0, 1.0),
            levels=((0.0, "neutral"),), height=220)
    picture("funding", {"funding, per year": line.tracks["funding"].value}, (theme.WARNING,), span=None, height=160, percent=True)
    picture("crowding", {"crowding": line.extra["crowding"]}, (theme.MODULE["C"],), height=140)
    picture("ratios", {"accounts, ln long/short": line.tracks["ls_ratio"].value, "top positions": line.tracks["top_ratio"].value},
            (theme.NEUTRAL, theme.UP), span=None, height=160)


@redrawn("the liquidation map")
def liquidation_map(sextant: Sextant, key: SeriesKey) -> None:
    """The estimate, its assumptions as sliders, what was recorded, and how often it was right."""
    st.markdown("**Where might positions be closed by force?** An ESTIMATE: open interest that grew, split over assumed leverages. "
                "Move the assumptions and watch how much of the picture is yours.")
    a, b, c = st.columns(3)
    high = a.slider("Share at 50x and 100x", 0.0, 0.8, 0.40, 0.05, key="map-high", help="The rest stands half at 10x, half at 25x.")
    half_life = b.slider("Half-life, days", 0.5, 10.0, 3.0, 0.5, key="map-half", help="Positions are closed by their owners meanwhile.")
    maintenance = c.slider("Maintenance margin, %", 0.2, 2.0, 0.5, 0.1, key="map-margin", help="Below it the exchange closes a position.")
    assumed = LiquidationAssumptions(share=(0.5 * (1 - high), 0.5 * (1 - high), 0.625 * high, 0.375 * high), half_life_days=half_life,
                                     maintenance=maintenance / 100.0)
    try:
        found = sextant.liquidation_picture(key, assumed)
    except DataError as error:
        st.info(widgets.plain(str(error)))
        return
    theme.draw(theme.kept(lambda: _map(found), "liquidations", assumed, sextant.content(key)), key="tab-C-map",
               file_name=f"{key.symbol}-liquidation-map", alt=f"Estimated liquidation levels of {key.symbol}")
    right = found.right
    if np.isfinite(right.edge):
        words = "better than" if right.low > 0 else "worse than" if right.high < 0 else "not distinguishable from"
        st.caption(f"Back-check over {right.origins} days: the five heaviest bins were touched within 24 h {right.hit:.0%} of the time, "
                   f"bins equally far away {right.chance:.0%}. Difference {right.edge:+.1%} [{right.low:+.1%}, {right.high:+.1%}]: "
                   f"{words} chance.")
    else:
        st.caption(f"No back-check yet: {right.note}.")
    st.caption(f"Assumed: {assumed.in_words()} Recorded forced orders are a lower bound: the stream tells at most one a second.")


def _map(found: LiquidationPicture) -> go.Figure:
    import plotly.graph_objects as go

    near = np.abs(found.levels.price / found.price - 1.0) <= REACH
    price, mass = found.levels.price[near], found.levels.mass[near]
    fig = theme.figure(360, hovermode="closest", barmode="overlay", xaxis={"title": "estimated mass, quote currency", "showgrid": True},
                       yaxis={"side": "right"})
    above = price > found.price
    for chosen, colour, name in ((above, theme.UP, "shorts closed (above)"), (~above, theme.DOWN, "longs closed (below)")):
        fig.add_trace(go.Bar(x=mass[chosen], y=price[chosen], orientation="h", marker={"color": colour}, name=name,
                             hovertemplate="%{y}: %{x:,.0f}<extra></extra>"))
    fig.add_annotation(text=found.levels.label, xref="paper", yref="paper", x=0.99, y=0.98, showarrow=False, xanchor="right",
                       font={"size": 22, "color": theme.fade(theme.WARNING, 0.6)})
    fig.add_hline(y=found.price, line={"color": theme.tone().faint, "dash": "dot"}, annotation_text="price",
                  annotation_font={"size": 10, "color": theme.tone().faint})
    if found.recorded is not None and mass.size:
        total = found.recorded.longs.sum(axis=1) + found.recorded.shorts.sum(axis=1)
        shown = np.abs(found.recorded.price / found.price - 1.0) <= REACH
        if total[shown].size:
            scale = mass.max() / max(float(total[shown].max()), 1e-9)
            fig.add_trace(go.Scatter(x=total[shown] * scale, y=found.recorded.price[shown], mode="markers", name="recorded, own scale",
                                     marker={"color": theme.WARNING, "size": 4}, customdata=total[shown],
                                     hovertemplate="%{y}: %{customdata:,.0f} recorded<extra></extra>"))
    return fig


def explain(report: ModuleReport) -> None:
    """Figures that have no chart."""
    shown = report.shown
    facts = [f"funding {shown['funding_rate']:.4%} every {shown['funding_interval_h']:.0f} h ({shown['funding_per_year']:.1%} a year)"
             ] if shown.get("funding_rate") is not None else []
    if shown.get("crowding") is not None:
        facts.append(f"crowding {shown['crowding']:.2f} on the side of the "
                     f"{'longs' if (shown.get('crowding_side') or 0) > 0 else 'shorts'}")
    if facts:
        st.caption(" · ".join(facts))
