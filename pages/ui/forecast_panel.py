"""What a trained model says of one symbol: its call, why, how such calls came out, and its calls drawn on the price."""

from __future__ import annotations

import numpy as np
import streamlit as st

from core.forecast_line import ForecastLine
from core.sextant import Sextant
from data.errors import NoData
from data.frames import Candles
from data.labels import label_kind, make_labels
from data.market import SeriesKey
from pages.ui import charts_market, charts_models, charts_scores, theme, widgets

BARS = 500
OUTCOMES = {1: "rises", 0: "neither", -1: "falls"}


def panel(sextant: Sextant, key: SeriesKey) -> None:
    """The model tab of one symbol; without a model, how to get one."""
    labels = sextant.forecast_labels(key)
    if not labels:
        widgets.empty_state(f"No model of {key.symbol} {key.interval} {key.market} is on the shelf.", "Train one on the Models page",
                            lambda: st.switch_page("pages/model_lab.py"))
        return
    label = st.segmented_control("Model of", labels, default=labels[0], required=True, key=f"forecast-label-{key}") or labels[0]
    candles = sextant.candles(key, bars=BARS)
    try:
        with st.spinner("Asking the model ...", show_time=False):
            line = sextant.forecast(key, label, candles)
    except NoData as absent:
        st.info(widgets.plain(str(absent)))
        return
    answer(line)
    picture, why = st.columns([3, 2])
    with picture:
        over_time(sextant, key, candles, line)
    with why:
        drivers(sextant, key, line)
    on_price(sextant, key, candles, line)
    st.caption(widgets.plain(f"{label_kind(label).formula}, {line.horizon} bars ahead. {line.words}."))
    st.page_link("pages/model_lab.py", label="This model on the Models page", icon=":material/model_training:")


def answer(line: ForecastLine) -> None:
    """The newest bar in one line: the likeliest outcome, how often such a word came true, or why there is no call."""
    newest = {c: float(p) for c, p in zip(line.classes, line.probability[-1], strict=True) if np.isfinite(p)}
    if line.reasons or not newest:
        st.markdown("**No call.** " + widgets.plain("; ".join(r[:1].upper() + r[1:] for r in line.reasons) or "The model has no forecast."))
        return
    best = max(newest, key=lambda c: newest[c])
    said = ", ".join(f"{OUTCOMES[c]} {p:.0%}" for c, p in newest.items())
    st.markdown(f"**{OUTCOMES[best].capitalize()}, {newest[best]:.0%}** ({said}). {record_words(line.past.get(best), OUTCOMES[best])} "
                f"Verdict of its training: *{line.verdict.get('words', 'unknown')}*.")


def record_words(record: tuple[int, float, float, float] | None, outcome: str) -> str:
    """How often a probability like this one came true."""
    if record is None:
        return "Too few earlier forecasts lie near this probability to check it."
    n, share, low, high = record
    return f"Of {n:,} earlier forecasts like it, {share:.0%} came true (“{outcome}”; 95 % interval {low:.0%} to {high:.0%})."


def over_time(sextant: Sextant, key: SeriesKey, candles: Candles, line: ForecastLine) -> None:
    lines = {f"P({OUTCOMES[c]})": line.of(c) for c in (1, -1) if c in line.classes}
    fig = theme.kept(lambda: charts_scores.history(candles.close_time, lines, colours=(theme.UP, theme.DOWN), height=300, percent=True),
                     "forecast", line.model, sextant.content(key), len(candles))
    theme.draw(fig, key="forecast-line", file_name=f"{key.symbol}-{line.label}", alt=f"Forecast probabilities of {key.symbol}")


def drivers(sextant: Sextant, key: SeriesKey, line: ForecastLine) -> None:
    """SHAP contributions at the newest bar."""
    if not line.drivers:
        st.info("No explanation: this kind of model cannot be taken apart, or the newest bar was part of its training.")
        return
    st.markdown("**What moves it** (SHAP, towards a rise)")
    parts = [{"feature": name, "contribution": share} for name, share in line.drivers]
    fig = theme.kept(lambda: charts_models.contributions(parts), "forecast-shap", line.model, sextant.content(key))
    theme.draw(fig, key="forecast-shap", file_name=f"{key.symbol}-{line.label}-shap", alt=f"What moves the forecast of {key.symbol}")


def on_price(sextant: Sextant, key: SeriesKey, candles: Candles, line: ForecastLine) -> None:
    """Calls on the price, full where they came true: realised against predicted."""
    up, down = line.of(1), line.of(-1)
    with np.errstate(invalid="ignore"):
        side = np.where(line.abstained, 0, np.where(up == np.nanmax(line.probability, axis=1, initial=-1.0), 1,
                                                    np.where(down == np.nanmax(line.probability, axis=1, initial=-1.0), -1, 0)))
    outcome = make_labels(candles, line.label).value
    if not side.any():
        st.caption("No call up or down in the shown bars.")
        return
    right = np.where(np.isfinite(outcome), np.where(side > 0, outcome > 0, outcome <= 0 if -1 not in line.classes else outcome < 0), np.nan)
    known = np.isfinite(right) & (side != 0)
    st.markdown(f"**Realised against predicted**: {int(np.nansum(right[known]))} of {int(known.sum())} calls in {len(candles)} bars came "
                "true")
    fig = theme.kept(lambda: charts_market.calls_on_price(candles, side, right), "forecast-calls", line.model, sextant.content(key),
                     len(candles))
    theme.draw(fig, key="forecast-calls", file_name=f"{key.symbol}-{line.label}-calls", alt=f"Calls on the price of {key.symbol}")
