"""What each module's tab draws, and the overlays of the candle chart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from analysis.module import Timeline
from analysis.report import ModuleReport
from core.sextant import Sextant
from data import indicators
from data.denoise import denoised
from data.frames import Candles
from data.market import DAY_MS, SeriesKey
from pages.ui import charts_scores, tabs_flow, tabs_group, tabs_positioning, theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

HISTORY_BARS = 300
DAILY_BARS = 180  # days of on-chain figures shown
FITTED_DAYS = 60  # volatility models are fitted once a day, forests once a week: a longer look back would have to be waited for

PLAIN_TREND = 2  # trending without a clear side

Overlay = Callable[[Candles], Mapping[str, np.ndarray]]


def _bollinger(candles: Candles) -> Mapping[str, np.ndarray]:
    bands = indicators.bollinger(candles)
    return {"BB upper": bands.upper, "BB middle": bands.middle, "BB lower": bands.lower}


OVERLAYS: dict[str, Overlay] = {
    "EMA 12 / 26": lambda c: {"EMA 12": indicators.ema(c, window=12), "EMA 26": indicators.ema(c, window=26)},
    "EMA 50 / 200": lambda c: {"EMA 50": indicators.ema(c, window=50), "EMA 200": indicators.ema(c, window=200)},
    "Bollinger 20": _bollinger,
    "Denoised": lambda c: {"denoised, causal": np.exp(denoised(np.log(c.close), c.segments))},
    "Trendline": lambda c: {"instantaneous trendline": indicators.trendline(c)},
    "KAMA": lambda c: {"KAMA 10": indicators.kama(c, window=10)},
}


def regime_sides(sextant: Sextant, key: SeriesKey, bars: int) -> np.ndarray:
    """Which side module B saw the market trend to, over the newest bars; computed if need be."""
    return sides_of(sextant.timeline("B", key, bars))


def sides_of(line: Timeline) -> np.ndarray:
    """+1 / -1 where the label says trend up / down, 2 where it trends without a side, 0 elsewhere; shape (<= bars,)."""
    extra = line.extra
    side = np.where(np.abs(extra["s"]) >= 0.1, np.sign(extra["s"]), PLAIN_TREND)
    return np.where((extra["state"] > 0) & np.isfinite(extra["s"]), side, 0.0)


def history_bars(key: SeriesKey, most: int = HISTORY_BARS) -> int:
    """How many bars a module's history shows: fewer where each of them needs a fit of its own."""
    return int(min(most, max(60, FITTED_DAYS * DAY_MS // key.interval.ms)))


def draw(sextant: Sextant, key: SeriesKey, report: ModuleReport) -> None:
    """The chart that fits the module."""
    DRAWINGS.get(report.letter, _plain)(sextant, key, report)


def _plain(sextant: Sextant, key: SeriesKey, report: ModuleReport) -> None:
    """A score and its coverage over time: for a module without a picture of its own."""
    line = sextant.timeline(report.letter, key, history_bars(key))
    fig = _history(sextant, key, line.close_time, {report.name: line.score, "coverage": line.coverage},
                   colours=(theme.MODULE[report.letter], theme.NEUTRAL), height=300)
    theme.draw(fig, key=f"tab-{report.letter}", file_name=f"{key.symbol}-{report.slug}", alt=f"{report.name} of {key.symbol}")


def _trend(sextant: Sextant, key: SeriesKey, report: ModuleReport) -> None:
    line = sextant.timeline("A", key, HISTORY_BARS)
    fig = _history(
        sextant, key, line.close_time,
        {"trend score": line.score, "slow": 0.5 + 0.5 * line.extra["slow"], "fast": 0.5 + 0.5 * line.extra["fast"]},
        colours=(theme.ACCENT, theme.WARNING, theme.NEUTRAL), bands=((0.6, 1.0, theme.UP), (0.0, 0.4, theme.DOWN)),
        levels=((0.5, "neutral"),), height=320)
    theme.draw(fig, key="tab-A", file_name=f"{key.symbol}-trend", alt=f"Trend score of {key.symbol} over {HISTORY_BARS} bars")


def _regime(sextant: Sextant, key: SeriesKey, report: ModuleReport) -> None:
    line = sextant.timeline("B", key, history_bars(key))
    fig = _history(sextant, key, line.close_time, {"P(trend)": line.score, "P(turbulent)": line.tracks["switching"].value},
                   colours=(theme.MODULE["B"], theme.NEUTRAL), bands=((0.6, 1.0, theme.MODULE["B"]),),
                   levels=((0.6, "trend"), (0.4, "range")), height=260)
    theme.draw(fig, key="tab-B", file_name=f"{key.symbol}-regime", alt=f"Trend probability of {key.symbol}")
    fig = _history(sextant, key, line.close_time, {"volatility of a bar, GARCH forecast": line.tracks["garch"].value / 100,
                                                   "realised over 20 bars": line.tracks["hv"].value / np.sqrt(key.interval.bars_per_year)},
                   colours=(theme.ACCENT, theme.NEUTRAL), span=None, height=200, percent=True)
    theme.draw(fig, key="tab-B-vol", file_name=f"{key.symbol}-volatility", alt=f"Volatility of {key.symbol}")
    st.caption("The probability is a heuristic until the score lab has calibrated it.")


def _risk(sextant: Sextant, key: SeriesKey, report: ModuleReport) -> None:
    line = sextant.timeline("G", key, HISTORY_BARS)
    fig = _history(sextant, key, line.close_time, {"risk": line.score}, colours=(theme.MODULE["G"],),
                   bands=((0.8, 1.0, theme.DOWN),), levels=((0.8, "high"),), height=220)
    theme.draw(fig, key="tab-G", file_name=f"{key.symbol}-risk", alt=f"Risk score of {key.symbol}")
    fig = _history(sextant, key, line.close_time, {"VaR 99 %, one day": line.tracks["var"].value,
                                                   "expected shortfall": line.tracks["cvar"].value, "drawdown": line.tracks["mdd"].value},
                   colours=(theme.DOWN, theme.WARNING, theme.NEUTRAL), span=None, height=240, percent=True)
    theme.draw(fig, key="tab-G-var", file_name=f"{key.symbol}-var", alt=f"Value at risk of {key.symbol}")


def _anomaly(sextant: Sextant, key: SeriesKey, report: ModuleReport) -> None:
    line = sextant.timeline("J", key, history_bars(key))
    fig = _history(sextant, key, line.close_time, {"anomaly": line.score}, colours=(theme.MODULE["J"],),
                   bands=((0.6, 1.0, theme.DOWN), (0.3, 0.6, theme.WARNING)),
                   levels=((0.6, "alert"), (0.3, "watch")), height=300)
    theme.draw(fig, key="tab-J", file_name=f"{key.symbol}-anomaly", alt=f"Anomaly score of {key.symbol}")


def _macro(sextant: Sextant, key: SeriesKey, report: ModuleReport) -> None:
    line = sextant.timeline("F", key, DAILY_BARS * max(1, DAY_MS // key.interval.ms) if key.interval.ms < DAY_MS else HISTORY_BARS)
    daily = slice(None, None, max(1, DAY_MS // key.interval.ms))
    value = {name: line.tracks[name].value[daily] for name in ("mvrv_z", "stable_flow", "cex_netflow")}
    pictures: tuple[tuple[str, str, Mapping[str, np.ndarray], dict[str, Any]], ...] = (
        ("macro", "Macro score", {"macro score": line.score[daily]},
         {"colours": (theme.MODULE["F"],), "levels": ((0.5, "neutral"),), "height": 220}),
        ("mvrv-z", "MVRV z-score", {"MVRV z": value["mvrv_z"]},
         {"colours": (theme.ACCENT,), "span": None, "height": 180, "levels": ((2.5, "neutral"), (6.0, "dear"))}),
        ("flows", "Stablecoin and exchange flows", {"stablecoin supply, 7 d": value["stable_flow"],
                                                    "exchange net flow, 7 d": value["cex_netflow"]},
         {"colours": (theme.UP, theme.DOWN), "span": None, "height": 180, "percent": True}))
    for name, title, lines, look in pictures:
        if charts_scores.known(lines):
            fig = _history(sextant, key, line.close_time[daily], lines, **look)
            theme.draw(fig, key=f"tab-F-{name}", file_name=f"{key.symbol}-{name}", alt=f"{title} of {key.symbol}")
    if report.shown.get("on_chain_of"):
        st.caption(f"On-chain figures of {report.shown['on_chain_of']}; each day is known from the hour its vendor closed it.")


def _history(sextant: Sextant, key: SeriesKey, close_time: np.ndarray, lines: Mapping[str, np.ndarray], **look: Any) -> go.Figure:
    """A history figure, built once per content."""
    return theme.kept(lambda: charts_scores.history(close_time, lines, **look), "history", tuple(lines), sextant.content(key),
                      len(close_time))


DRAWINGS: dict[str, Callable[[Sextant, SeriesKey, ModuleReport], None]] = {
    "A": _trend, "B": _regime, "C": tabs_positioning.draw, "D": tabs_flow.flow, "E": tabs_group.leaders, "F": _macro, "G": _risk,
    "H": tabs_flow.micro, "I": tabs_group.weights, "J": _anomaly}
