"""The set-up of a training or a tuning, checked before it becomes a job, and the jobs with their progress."""

from __future__ import annotations

import json
from typing import Any

import streamlit as st

from core.forecasting import TRAINING_BARS
from core.jobs import Job
from core.sextant import Sextant
from data.errors import InputError, SextantError
from data.labels import DEFAULT_LABEL, LABELS, label_kind
from models.forecaster import FORECASTERS, default_forecaster, forecaster
from pages.ui import widgets
from pages.ui.job_panel import Panel
from pages.ui.series_form import series
from pages.ui.session import Focus, ask_owner, may_write

VERB = {"train": "Training", "tune": "Tuning"}
FEWEST, MOST, MOST_TRIALS = 800, 200_000, 500
SAID = 7  # words of a job that stay in sight above the newest
QUICK, WALK = "Quick", "Purged walk-forward"
MODE = {QUICK: "quick", WALK: "walk_forward"}
LABEL_TITLE = {"fwd_ret": "Return", "fwd_ret_vs": "Return in volatilities", "dir_bin": "A rise that pays its costs",
               "dir3_fixed": "Down, flat, up: fixed threshold", "dir3_dyn": "Down, flat, up: by volatility",
               "triple_barrier": "Which barrier is touched first", "excursion": "Best gain less worst loss"}
LABEL_WORDS = {
    "fwd_ret": "how far the close moves, as a fraction.",
    "fwd_ret_vs": "how far the close moves, measured in the volatility known at the close.",
    "dir_bin": "whether a trade opened at the next open earns more than its costs.",
    "dir3_fixed": "whether the close ends more than .2 % higher, more than .2 % lower, or in between.",
    "dir3_dyn": "whether the close ends clearly higher, clearly lower, or in between; the threshold follows the volatility and is never "
                "below the cost of a trade.",
    "triple_barrier": "whether a trade reaches its target before its stop, within the time it has.",
    "excursion": "how much further price runs in favour than against, in average true ranges.",
}


def title_of(label: str) -> str:
    return LABEL_TITLE.get(label, label)


def models_for(label: str) -> list[str]:
    """Names of the models that answer this label, the usual one first."""
    task = label_kind(label).task
    names = [f.name for f in FORECASTERS if task in f.tasks]
    return sorted(names, key=lambda n: n != default_forecaster(task))


def set_up(sextant: Sextant, here: Focus) -> dict[str, Any]:
    """Draw the form; returns the job's arguments as they stand, unchecked."""
    symbols, interval, market = series(sextant, here, "ml", together="Several are learned from together, as one model.")
    a, b = st.columns(2, vertical_alignment="bottom")
    names = [k.name for k in LABELS]
    label = a.selectbox("What is to be known", names, index=names.index(DEFAULT_LABEL), format_func=title_of, key="ml-label",
                        persist_state="session", help="The label: what the model is asked about the bars that follow.") or DEFAULT_LABEL
    model = b.selectbox("Model", models_for(label), format_func=lambda n: forecaster(n).title, key=f"ml-model-{label_kind(label).task}",
                        persist_state="session", help="Every model is judged beside all baselines of its task.")
    kind = label_kind(label)
    words = f"{title_of(label)}, {kind.horizon} bars ahead: {LABEL_WORDS.get(label, '')} Formula ({label}): {kind.formula}."
    st.caption(widgets.plain(words))
    a, b = st.columns(2, vertical_alignment="bottom")
    mode = a.segmented_control("Judged by", list(MODE), default=QUICK, key="ml-mode", required=True, persist_state="session",
                               width="stretch", help="Quick: five folds of growing history. Purged walk-forward: blocks of 30 days, each "
                                                     "forecast by a model of the time before it, overlapping outcomes left out; slower.")
    bars = b.number_input("Newest bars", value=TRAINING_BARS, step=1000, key="ml-bars", persist_state="session",
                          help=f"History that is learned from and judged on, {FEWEST:,} to {MOST:,}. 8760 bars of 1h are a year.")
    options: dict[str, Any] = {"mode": MODE[str(mode)]}
    with st.expander("More"):
        a, b, c = st.columns([1, 1, 2])
        horizon = a.number_input("Horizon, bars", value=None, min_value=None, step=1, key="ml-horizon", placeholder=str(kind.horizon),
                                 persist_state="session", help="How far ahead; empty for the label's own.")
        seed = b.number_input("Seed", value=7, step=1, key="ml-seed", persist_state="session", help="Of everything random.")
        given = c.text_input("Parameters, JSON", key="ml-parameters", placeholder='{"num_leaves": 15}', persist_state="session",
                             help="The model's own; the tab Tuning finds them. Empty for the defaults.")
        fill = st.checkbox("Fill short holes by regression", key="ml-fill", persist_state="session",
                           help="Up to 24 missing bars, on a copy, from the prices before them; no row that touches one is learned from or "
                                "judged. Never in what is served.")
    options |= {"fill": "regression"} if fill else {}
    options |= {"seed": int(seed or 0)} | ({} if horizon is None else {"horizon": int(horizon)})
    return {"symbols": symbols, "interval": interval, "market": market, "label": label, "model": model, "options": options,
            "bars": int(bars or 0), "parameters": given}


def checked(given: dict[str, Any], trials: int | None = None) -> dict[str, Any]:
    """The arguments of the job.

    Raises
    ------
    InputError
        What is wrong, and what was expected.
    """
    if not given["symbols"]:
        raise InputError("symbols: expected at least one, got none; choose what is learned from")
    if not FEWEST <= given["bars"] <= MOST:
        raise InputError(f"bars: expected {FEWEST:,} to {MOST:,}, got {given['bars']:,}")
    horizon = given["options"].get("horizon")
    if horizon is not None and not 1 <= horizon <= given["bars"] // 10:
        raise InputError(f"horizon: expected 1 to {given['bars'] // 10:,} bars (a tenth of the history), got {horizon:,}")
    if not 0 <= given["options"]["seed"] < 2**31:
        raise InputError(f"seed: expected a whole number from 0 to {2**31 - 1:,}, got {given['options']['seed']:,}")
    if trials is not None and not forecaster(given["model"]).place.startswith("models.lgbm:"):
        raise InputError(f"tuning is for LightGBM models, got {forecaster(given['model']).title}; choose another model in the form above")
    if trials is not None and not 1 <= trials <= MOST_TRIALS:
        raise InputError(f"tries: expected 1 to {MOST_TRIALS}, got {trials:,}")
    out = {n: v for n, v in given.items() if n != "parameters"}
    out["options"] = dict(out["options"]) | _parameters(given["parameters"])
    return out if trials is None else out | {"trials": trials}


def _parameters(text: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(v, int | float | str) for v in found.values()):
        raise InputError(f'parameters: expected JSON such as {{"num_leaves": 15}}, got {text[:40]!r}')
    return {"parameters": found}


def submit(sextant: Sextant, kind: str, given: dict[str, Any], button: str, *, trials: int | None = None) -> None:
    """The button, and beside it what is wrong until it is right."""
    if not may_write():
        if kind == "train":  # one place for the password
            ask_owner()
        else:
            st.caption("Viewing only: a search is started by the owner.")
        return
    a, b = st.columns([1, 4], vertical_alignment="center")
    pressed = a.button(button, type="primary", icon=":material/play_arrow:", key=f"ml-{kind}", width="stretch")
    asked = f"ml-wrong-{kind}"
    if not pressed and not st.session_state.get(asked):
        return
    try:
        arguments = checked(given, trials)
    except SextantError as error:
        st.session_state[asked] = True
        b.error(widgets.plain(str(error)), icon=":material/error:")
        return
    st.session_state[asked] = False
    if pressed:
        st.session_state["ml-mine"] = sextant.jobs.submit(kind, arguments).id
        sextant.jobs.pump()
        st.rerun()


# -- jobs -------------------------------------------------------------------------------------------------------------


def what(job: Job) -> str:
    """A job in a few words."""
    a = job.arguments
    if job.kind == "retrain":
        return "Training anew what is a week old"
    if job.kind == "path":
        return f"Training the next candles of {a['symbols'][0]} {a['interval']}"
    place = f"{', '.join(a['symbols'][:4])} {a['interval']}"
    return f"{VERB[job.kind]} {a.get('model') or 'a model'} on {place}, {title_of(a['label']).lower()}"


JOBS = Panel("ml", ("train", "tune", "path", "retrain"), what, starting="reading the history and making features", earlier=SAID,
             stopping="It stops after the block it is in.",
             stopped=lambda job: "; finished tries are kept." if job.kind == "tune" else "; nothing was kept.")


def just_trained(sextant: Sextant) -> str:
    """The version that this browser asked for, once, when it is done."""
    mine = st.session_state.get("ml-mine")
    job = next((j for j in sextant.jobs.all() if j.id == mine), None)
    if job is None or job.open:
        return ""
    del st.session_state["ml-mine"]
    return str(job.result["id"]) if job.kind == "train" and job.state == "done" else ""
