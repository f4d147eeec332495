"""Tabs of modules D and H: pressure, depth, cost and cumulative delta by the minute; micro price and flow by the second."""

from __future__ import annotations

import numpy as np
import streamlit as st

from analysis.report import ModuleReport
from core.sextant import Sextant
from data.market import SeriesKey
from data.observations import Kind, Observations
from pages.ui import charts_scores, theme, widgets

MINUTES, SECONDS = 360, 900


def _rows(sextant: Sextant, key: SeriesKey, letter: str, kind: Kind, newest: int) -> Observations:
    """The newest rows of condensed flow that the module itself saw."""
    module = sextant.module(letter)
    view = sextant.view(key, modules=(module,))
    need = next(n for n in module.needs if n.kind is kind)
    found = view.observations(need)
    return found.take(slice(max(0, len(found) - newest), len(found)))


def _picture(key: SeriesKey, content: tuple[object, ...], name: str, when: np.ndarray, lines: dict[str, np.ndarray],
             colours: tuple[str, ...], **look: object) -> None:
    figure = theme.kept(lambda: charts_scores.history(when, lines, colours=colours, **look), "flow", name, len(when), *content)  # type: ignore[arg-type]
    theme.draw(figure, key=f"flow-{name}", file_name=f"{key.symbol}-{name}", alt=f"{name} of {key.symbol}")


def flow(sextant: Sextant, key: SeriesKey, report: ModuleReport) -> None:
    """Module D: who presses, how deep the book is, and what it costs."""
    rows = _rows(sextant, key, "D", Kind.MINUTE_FLOW, MINUTES)
    content = (sextant.content(key),)
    if not len(rows):
        return
    when, coin = rows.event_time + 60_000, widgets.short(key.symbol)
    delta = np.cumsum(np.nan_to_num(rows["buy_volume"] - rows["sell_volume"]))
    _picture(key, content, "price", when, {"mid price": rows["mid"]}, (theme.ACCENT,), span=None, height=170)
    _picture(key, content, "cumulative delta", when, {f"bought minus sold, {coin}, cumulative": delta}, (theme.MODULE["D"],),
             span=None, height=170)
    _picture(key, content, "book", when, {"book imbalance": rows["obi"]}, (theme.UP,), span=(-1.0, 1.0), levels=((0.0, "balanced"),),
             height=150)
    _picture(key, content, "depth", when, {f"bids within 10 bps, {coin}": rows["bid_depth_10"],
                                           f"asks within 10 bps, {coin}": rows["ask_depth_10"]},
             (theme.UP, theme.DOWN), span=None, height=170)
    _picture(key, content, "cost", when, {"buying 100k, bps": rows["buy_slippage_100k"], "selling 100k, bps": rows["sell_slippage_100k"],
                                          "spread, bps": rows["spread_bps"]}, (theme.UP, theme.DOWN, theme.NEUTRAL), span=None, height=170)
    ladder(report)
    st.caption(f"{len(rows)} recorded minutes. A book is what was shown, not what would stay: spoofed depth looks the same.")


def ladder(report: ModuleReport) -> None:
    """The newest minute in figures."""
    shown = report.shown
    facts = [f"imbalance of the first level {shown['obi_1']:+.2f}, five {shown['obi_5']:+.2f}, twenty {shown['obi_20']:+.2f}"] if (
        shown.get("obi_1") is not None and shown.get("obi_20") is not None) else []
    if shown.get("wall_bps") is not None:
        facts.append(f"a wall {abs(shown['wall_bps']):.0f} bps {'above' if shown['wall_bps'] > 0 else 'below'}")
    if shown.get("cvd_divergence"):
        facts.append("price and cumulative delta go apart")
    if facts:
        st.markdown(" · ".join(facts))


def micro(sextant: Sextant, key: SeriesKey, report: ModuleReport) -> None:
    """Module H: the last quarter of an hour, second by second."""
    rows = _rows(sextant, key, "H", Kind.SECOND_FLOW, SECONDS)
    content = (sextant.content(key),)
    if not len(rows):
        return
    when, coin = rows.event_time + 1_000, widgets.short(key.symbol)
    total = np.nan_to_num(rows["buy_volume"]) + np.nan_to_num(rows["sell_volume"])
    weighted = (rows["bid"] * rows["ask_quantity"] + rows["ask"] * rows["bid_quantity"]) / (rows["bid_quantity"] + rows["ask_quantity"])
    _picture(key, content, "quotes", when, {"bid": rows["bid"], "ask": rows["ask"], "weighted mid": weighted},
             (theme.UP, theme.DOWN, theme.ACCENT), span=None, height=220)
    _picture(key, content, "imbalance at best", when, {"imbalance at the best quotes": rows["imbalance"]}, (theme.MODULE["H"],),
             span=(-1.0, 1.0), levels=((0.0, "balanced"),), height=150)
    _picture(key, content, "order flow", when, {f"order-flow imbalance of a minute, {coin}": _moving(rows["ofi"], 60)}, (theme.ACCENT,),
             span=None, height=150)
    _picture(key, content, "trades", when, {f"traded a second, {coin}": total}, (theme.NEUTRAL,), span=None, height=130)
    st.caption(f"Micro price: {report.shown.get('micro_price_from', 'unknown')}. Edges here live for seconds; after fees most are gone.")


def _moving(x: np.ndarray, seconds: int) -> np.ndarray:
    """Sum of the last seconds; NaN until they are there."""
    total = np.concatenate(([0.0], np.cumsum(np.nan_to_num(x))))
    out = np.full(len(x), np.nan)
    out[seconds - 1 :] = total[seconds:] - total[:-seconds]
    return out
