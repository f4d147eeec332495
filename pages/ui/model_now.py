"""A shelved model now: its call on the newest bar, why, what would change it, and whether the world has moved since the training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from analysis.methods.psi import SEVERE
from core.sextant import Sextant
from data.market import SeriesKey
from models.forecaster import forecaster
from models.shelf import Entry
from pages.ui import charts_models, theme, widgets
from pages.ui.backtest_views import metrics
from pages.ui.model_views import class_names, interval_of, load_once, loaded, market_of, model_title, number, symbols_of
from pages.ui.session import redrawn, workbench

if TYPE_CHECKING:
    from models.dataset import Rows
    from models.trained import Prediction, TrainedModel

SHOWN = 12  # contributions and turning points


def series_of(sextant: Sextant, entry: Entry, key: str) -> SeriesKey:
    """The series a tab is about; several symbols have a choice."""
    symbols = symbols_of(entry)
    chosen = st.selectbox("Symbol", symbols, key=f"{key}-{entry.slot}") if len(symbols) > 1 else symbols[0]
    return sextant.key(chosen or symbols[0], interval_of(entry), market_of(entry))


def one_call(sextant: Sextant, entry: Entry) -> None:
    """What this version says of the newest bar, and why."""
    key = series_of(sextant, entry, "ml-call")
    model = loaded(sextant, entry)
    with st.spinner("Reading the newest bar ...", show_time=False):
        row = sextant.newest_row(model, key)
        said = model.predict(row, drifted=_drift(sextant, entry, key)["severe"])[0]
    _said(entry, key, said)
    st.caption(f"{sextant.status(key).provenance} · bar closed {widgets.local_text(said.close_time + 1)} ({widgets.zone().key}) · "
               f"{said.horizon} bars ahead" + ("" if entry.champion else " · this version does not serve: nothing is recorded of it"))
    if not forecaster(entry.kind).explains:
        st.info(f"{model_title(entry.kind)} cannot be taken apart feature by feature.")
        return
    from models.explain import row_contributions

    explained = row_contributions(model.explain(row), top=SHOWN)
    names = class_names(entry)
    titles = [_output_title(p["output"], names) for p in explained]
    usual = len(explained) - 1
    if said.probability and len(explained) == len(said.probability):
        usual = max(range(len(explained)), key=lambda i: list(said.probability.values())[i])
    st.markdown("**What moved it**")
    i = usual
    if len(explained) > 1:
        i = st.segmented_control("Towards", range(len(explained)), default=usual, format_func=titles.__getitem__, required=True,
                                 key=f"ml-output-{entry.id}-{key.symbol}") or 0
    part = explained[i]
    theme.draw(charts_models.contributions(part["parts"]), key="ml-shap", file_name=f"{key.symbol}-contributions",
               alt=f"What moved the forecast towards {titles[i]}")
    raw = "the raw log-odds; calibration comes after" if names else "the forecast"
    st.caption(f"SHAP: the {len(part['parts'])} largest contributions to {raw}. Base {part['base']:+.3g}, with all features "
               f"{part['raw']:+.3g}.")
    flips(sextant, entry, model, row)


def _output_title(output: str, names: Mapping[int, str]) -> str:
    try:
        return names.get(int(float(output)), output)
    except ValueError:
        return output


def _said(entry: Entry, key: SeriesKey, said: Prediction) -> None:
    names = class_names(entry)
    best = max(said.probability, key=lambda c: said.probability[c]) if said.probability else None
    mark = {1: "▲", 0: "■", -1: "▼"}
    if said.abstained:
        st.subheader(f"{key.symbol}: no call", anchor=False)
        st.markdown("\n".join(f"- {widgets.plain(r[:1].upper() + r[1:])}" for r in said.reasons))
    elif best is not None:
        chance = said.probability.get(best if said.call not in said.probability else said.call, math.nan)
        st.subheader(f"{mark.get(said.call, '■')} {key.symbol}: {names.get(said.call, said.call)}, {chance:.1%}", anchor=False)
    else:
        st.subheader(f"{mark.get(said.call, '■')} {key.symbol}: {number(said.mean, '+.4g')}", anchor=False)
    if said.probability:
        metrics([(f"P({names.get(c, c)})", f"{p:.1%}", None, "Calibrated probability.") for c, p in said.probability.items()])
    else:
        few = "end of the conformal interval; – where too few outcomes are known."
        metrics([("Expected", number(said.mean, "+.4g"), None, "Mean, in the label's unit."),
                 ("At least", number(said.low, "+.4g"), None, f"Lower {few}"),
                 ("At most", number(said.high, "+.4g"), None, f"Upper {few}")])


@redrawn("what would change it")
def flips(sextant: Sextant, entry: Entry, model: TrainedModel, row: Rows) -> None:
    """The nearest single change that makes another call; asked for, because it takes a second."""
    st.markdown("**What would change it**")
    asked = (entry.id, entry.created_ms, row.symbols, int(row.close_time[0]))
    found = st.session_state.get("ml-flips")
    if found is None or found[0] != asked:
        place = st.empty()
        if not place.button("Look for the nearest change", icon=":material/alt_route:", key="ml-flip"):
            st.caption("Each feature is moved alone through what training has seen, until the call turns. Takes some seconds.")
            return
        from models.explain import flip_distance

        with st.spinner("Moving one feature at a time ...", show_time=False):
            grid = replace(row.take(np.zeros(model.reference.quantiles.shape[1], np.int64)), X=model.reference.quantiles.T)
            found = (asked, [f.document() for f in flip_distance(model.call, row, grid)])
        st.session_state["ml-flips"] = found
        place.empty()
    if not found[1]:
        st.caption("No single feature turns the call, wherever training has seen it.")
        return
    names = class_names(entry) or {1: "up", 0: "flat", -1: "down"}
    st.dataframe([{"Feature": f["feature"].replace("_", " "), "Now": f["now"], "Turns at": f["then"], "Distance": f["distance"],
                   "Then": names.get(f["call"], str(f["call"]))} for f in found[1][:SHOWN]],
                 hide_index=True, width="stretch", placeholder="–", column_config={
        "Feature": st.column_config.TextColumn(pinned=True), "Now": st.column_config.NumberColumn(format="%.4g"),
        "Turns at": st.column_config.NumberColumn(format="%.4g"),
        "Distance": st.column_config.NumberColumn(format="percent", help="Share of training rows between the two values. Small: the call "
                                                                         "hangs by a thread.")})
    st.caption("Of the most probable outcome, reasons to abstain left aside.")


# -- drift ------------------------------------------------------------------------------------------------------------


@st.cache_data(max_entries=16, show_spinner=False)
def _drift_document(home: str, world: str, model_id: str, created_ms: int, series: tuple[str, str, str], newest_ms: int) -> dict[str, Any]:
    sextant = workbench()
    key = sextant.key(*series)
    return sextant.drift_of(load_once(home, world, model_id, created_ms), key, model_id).document()


def _drift(sextant: Sextant, entry: Entry, key: SeriesKey) -> dict[str, Any]:
    """The drift report of a series, once a bar."""
    return _drift_document(str(sextant.settings.home), str(sextant.world), entry.id, entry.created_ms,
                           (key.symbol, str(key.interval), str(key.market)), sextant.status(key).newest_close_ms or 0)


def drift(sextant: Sextant, entry: Entry) -> None:
    """The newest rows against what the model was trained on."""
    import pandas as pd

    key = series_of(sextant, entry, "ml-drift")
    with st.spinner("Comparing the newest bars with the training ...", show_time=False):
        d = _drift(sextant, entry, key)
    if not d["features"]:
        st.info(f"Not known yet: {d['words']}. Back-fill more history on the Data page.")
        return
    words = d["words"][:1].upper() + d["words"][1:]
    if d["severe"]:
        worst = ", ".join(n.replace("_", " ") for n in d["severe"][:5])
        st.error(f"{words}. Severe in {worst}: the model makes no call until it is trained again.", icon=":material/warning:")
    elif d["alert"]:
        st.warning(f"{words}. Two alerts in a row propose to train again.", icon=":material/trending_flat:")
    else:
        st.success(f"{words}: nothing beyond what the training itself held.", icon=":material/check_circle:")
    slow = sum(f["psi_limit"] is not None and f["psi_limit"] > SEVERE for f in d["features"])
    if slow:
        st.caption(f"For {slow} of {len(d['features'])} features some 500 bars of the training alone lay further than {SEVERE:g} from the "
                   "whole: they move slowly, and only what goes beyond anything the training held counts.")
    state = {(True, True): "▲▲ severe", (True, False): "▲ moved", (False, True): "▲▲ severe"}
    table = pd.DataFrame([{"Feature": f["name"].replace("_", " "), "State": state.get((f["alert"], f["severe"]), "usual"), "PSI": f["psi"],
                           "Usual up to": f["psi_limit"], "KS q": f["ks_q"], "Shift": f["shift"], "Spread": f["deviation_ratio"]}
                          for f in sorted(d["features"], key=lambda f: (not f["severe"], not f["alert"], -(f["psi"] or 0.0)))])
    three, two = "%.3f", "%.2f"
    st.dataframe(table, hide_index=True, width="stretch", placeholder="–", height=min(38 + 35 * len(table), 560), column_config={
        "Feature": st.column_config.TextColumn(pinned=True),
        "PSI": st.column_config.NumberColumn(format="%.3f", help="Population stability index over ten bins; 0 is the same distribution."),
        "Usual up to": st.column_config.NumberColumn(format="%.3f", help="The highest of any 500 bars of the training against the whole, "
                                                                          "at least .10. Severe is 1.5 times that and above .25."),
        "KS q": st.column_config.NumberColumn(format=three, help="Kolmogorov-Smirnov, corrected for the number of features; "
                                                                    "below .05 it differs."),
        "Shift": st.column_config.NumberColumn(format=two, help="Of the mean, in training deviations; .5 counts."),
        "Spread": st.column_config.NumberColumn(format=two, help="Deviation now over that of training; outside .5 to 2 counts.")})
    said = "– (fewer than 100 recorded predictions)" if d["forecast_psi"] is None else f"{d['forecast_psi']:.3f}"
    st.caption(f"The newest 500 bars of {key.symbol}. PSI of the forecasts: {said}. –: too few known values.")
    widgets.download(table, f"drift-{entry.slot}-v{entry.version}")
