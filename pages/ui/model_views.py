"""A shelved model as a reader sees it: the verdict beside the baselines, how well calibrated it is, and what it looks at."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import streamlit as st

from core.sextant import Sextant
from data.market import Market
from models.evaluate import CALIBRATED_WITHIN
from models.forecaster import FORECASTERS, forecaster
from models.shelf import Entry
from pages.ui import charts_models, theme, widgets
from pages.ui.backtest_views import metrics
from pages.ui.model_form import title_of
from pages.ui.session import workbench

if TYPE_CHECKING:
    from models.trained import TrainedModel

NOT_KEPT = "not kept for this version"
NAMES = {"three": {-1: "down", 0: "flat", 1: "up"}, "binary": {0: "no", 1: "yes"}}
BEFORE, AFTER = "before", "after"
NUMBERS = {"RMSE": "rmse", "MAE": "mae", "Skill against 0": "skill", "Rank IC": "rank_ic", "Right sign": "sign_accuracy"}
CHANCES = {"Log loss": "log_loss", "Brier": "brier", "Skill": "brier_skill", "Accuracy": "accuracy", "MCC": "mcc", "AUC": "auc"}
COUNTS = {"TP": "True positives: called, and it came.", "FP": "False positives: called, and it did not come.",
          "FN": "False negatives: not called, but it came.", "TN": "True negatives: not called, and it did not come."}
HELP = {
    "Log loss": "Mean of -ln of the probability given to what happened. Lower is better; knowing nothing costs ln(classes).",
    "Brier": "Mean squared distance of the probabilities from what happened, halved, 0 to 1. Lower is better.",
    "Skill": "1 less its Brier score over that of the class frequencies. Above 0 is better than they are.",
    "Accuracy": "Share of rows whose most probable class came.",
    "MCC": "Matthews' correlation of call and outcome, -1 to 1; 0 is chance.",
    "AUC": "Chance that a row where it happened was given more than one where it did not; .5 is chance.",
    "RMSE": "Root of the mean squared error, in the label's unit.", "MAE": "Mean absolute error, in the label's unit.",
    "Skill against 0": "1 less its squared error over that of forecasting no change.",
    "Rank IC": "Rank correlation of forecast and outcome.", "Right sign": "Share of forecasts with the right sign.",
}


def market_of(entry: Entry) -> Market:
    return Market.parse(entry.slot.split("-", 1)[0])


def symbols_of(entry: Entry) -> tuple[str, ...]:
    """From the slot's own name: it can be read even where the files are damaged."""
    return tuple(entry.slot.split("-", 1)[1].rsplit("-", 2)[0].split("+"))


def interval_of(entry: Entry) -> str:
    return entry.slot.rsplit("-", 2)[1]


def label_of(entry: Entry) -> str:
    return entry.slot.rsplit("-", 1)[1]


def class_names(entry: Entry) -> dict[int, str]:
    return NAMES.get(str(entry.config.get("task")), {})


def model_title(kind: str) -> str:
    return next((f.title for f in FORECASTERS if f.name == kind), kind)


def name_of(entry: Entry) -> str:
    """A version in one line."""
    state = "cannot be used" if entry.fault else ("serves" if entry.champion else "does not serve")
    place = f"{', '.join(symbols_of(entry))} · {interval_of(entry)} {market_of(entry)}"
    return f"{place} · {title_of(label_of(entry))} · v{entry.version}, {state}"


@st.cache_resource(max_entries=4, show_spinner=False)
def load_once(home: str, world: str, model_id: str, created_ms: int) -> TrainedModel:
    return workbench().shelf.load(model_id)


def loaded(sextant: Sextant, entry: Entry) -> TrainedModel:
    """The model itself; proven and parsed once a process."""
    return load_once(str(sextant.settings.home), str(sextant.world), entry.id, entry.created_ms)


def number(value: Any, form: str) -> str:
    return "–" if value is None else format(value, form)


# -- result -----------------------------------------------------------------------------------------------------------


def answer(entry: Entry) -> None:
    """The verdict, its reasons, and what was learned from what."""
    found = entry.metrics.get("verdict") or {}
    edge = bool(found.get("edge"))
    st.badge("Edge shown" if edge else "No edge shown", color="green" if edge else "gray",
             icon=":material/verified:" if edge else ":material/block:",
             help="An edge needs all three: a loss below that of the class frequencies (or of no change), calibrated probabilities, and a "
                  "deflated Sharpe ratio above .95 after costs and tries.")
    text = f"On bars it had not seen, this model shows {'an' if edge else 'no'} edge."
    st.subheader(text if found else f"The verdict is {NOT_KEPT}.", anchor=False)
    st.markdown("\n".join(f"- {widgets.plain(r[:1].upper() + r[1:])}" for r in found.get("reasons", ())))
    c = entry.config
    judged = entry.metrics.get(entry.kind, {}).get("rows")
    mode = {"quick": "quick folds", "cpcv": "combinatorial purged splits, first path"}.get(c["options"].get("mode"), "purged walk-forward")
    st.caption(f"{model_title(entry.kind)} · {c['rows']:,} rows, {c['start'][:10]} to {c['end'][:10]} · {number(judged, ',')} judged "
               f"unseen, {mode} · {c['horizon']} bars ahead · {len(c['features'])} features · trained "
               f"{widgets.local_text(entry.created_ms)}")


def folds_of(sextant: Sextant, entry: Entry) -> list[dict[str, Any]]:
    """Figures of each block, as long as the training's job is remembered; a job of another world or time is not taken for it."""
    for job in sextant.jobs.all():
        same = job.kind == "train" and job.state == "done" and isinstance(job.result, dict) and job.result.get("id") == entry.id
        if same and (job.started_ms or 0) <= entry.created_ms <= (job.ended_ms or 0):
            return list(job.result["folds"])
    return list(entry.metrics.get("folds") or ())


def contestants(entry: Entry) -> list[str]:
    """The model first, then its baselines in the registry's order."""
    return [entry.kind, *(f.name for f in FORECASTERS if f.name != entry.kind and isinstance(entry.metrics.get(f.name), dict))]


def result(sextant: Sextant, entry: Entry) -> None:
    """The model beside everything it must beat."""
    import pandas as pd

    answer(entry)
    regression = entry.config["task"] == "regression"
    columns = NUMBERS if regression else CHANCES
    percent = ("Accuracy", "Right sign")
    names = contestants(entry)
    st.markdown("**Beside its baselines, on the same unseen rows**")
    rows = [{"Model": ("▸ " if n == entry.kind else "") + model_title(n)} | {t: entry.metrics[n].get(k) for t, k in columns.items()}
            for n in names]
    table = pd.DataFrame(rows)
    st.dataframe(table, hide_index=True, width="stretch", placeholder="–", height=38 + 35 * len(table), column_config={
        "Model": st.column_config.TextColumn(pinned=True)} | {
        t: st.column_config.NumberColumn(format="percent" if t in percent else "%.4f", help=HELP[t]) for t in columns})
    st.caption("–: not defined, because calls or outcomes do not vary." if table.isna().any().any() else
               "Probabilities are calibrated on earlier blocks alone." if not regression else "▸ marks this model.")
    widgets.download(table, f"metrics-{entry.slot}-v{entry.version}")
    _blocks(sextant, entry, regression)
    _paths(entry)
    _trades(entry, names)


def _blocks(sextant: Sextant, entry: Entry, regression: bool) -> None:
    key, least, title = ("rmse", "zero", "RMSE") if regression else ("log_loss", "prior", "log loss")
    st.markdown(f"**{title[:1].upper() + title[1:]} by block, {'' if regression else 'before calibration, '}against "
                f"{model_title(least)}**")
    folds = folds_of(sextant, entry)
    if not folds or any(n not in folds[0] for n in (entry.kind, least)):
        st.caption(f"Figures of single blocks are {NOT_KEPT}: they stay with a training that was started on this page.")
        return
    better = sum(f[entry.kind][key] is not None and f[least][key] is not None and f[entry.kind][key] < f[least][key] for f in folds)
    build = partial(charts_models.losses, folds, entry.kind, least, key, title=title)
    theme.draw(theme.kept(build, "ml-folds", entry.id, entry.created_ms), key="ml-folds",
               file_name=f"{entry.slot}-blocks", alt=f"{title} of each block beside {least}")
    st.caption(f"Lower is better. The model is below {model_title(least)} in {better} of {len(folds)} blocks.")


def _paths(entry: Entry) -> None:
    """The spread over the paths of a combinatorial validation."""
    import pandas as pd

    ways = entry.metrics.get("paths")
    if not ways:
        return
    st.markdown(f"**{len(ways)} paths through the same history**")
    table = pd.DataFrame([{"Path": i + 1} | {n.replace("_", " ").capitalize(): v for n, v in way.items()} for i, way in enumerate(ways)])
    three = st.column_config.NumberColumn(format="%.3f")
    st.dataframe(table, hide_index=True, width="stretch", placeholder="–", column_config=dict.fromkeys(table.columns[1:], three))
    st.caption("Each path forecasts every part of the history by a model that had not seen it, though it may have seen later ones. How far "
               "the paths differ is how far luck reaches.")


def _trades(entry: Entry, names: Sequence[str]) -> None:
    import pandas as pd

    st.markdown("**Profit after costs, had each call been traded**")
    held = [(model_title(n), entry.metrics[n].get("trades")) for n in names]
    held.append(("bought and held", entry.metrics.get("buy_and_hold")))
    rows = [{"Model": n, "Trades": t["trades"], "Mean": t["mean_return"], "Won": t["win_rate"], "Profit factor": t["profit_factor"],
             "Sharpe": t["sharpe"], "Days": t["days"]} for n, t in held if t]
    table = pd.DataFrame(rows)
    st.dataframe(table, hide_index=True, width="stretch", placeholder="–", height=38 + 35 * len(table), column_config={
        "Model": st.column_config.TextColumn(pinned=True),
        "Trades": st.column_config.NumberColumn(format="%d"),
        "Mean": st.column_config.NumberColumn(format="percent", help=f"Net of {entry.config['cost']:.2%} a round trip."),
        "Won": st.column_config.NumberColumn(format="percent"),
        "Profit factor": st.column_config.NumberColumn(format="%.2f", help="Gains over losses, after costs. 1 is even."),
        "Sharpe": st.column_config.NumberColumn(format="%.2f", help="Annualised, of daily net returns."),
        "Days": st.column_config.NumberColumn(format="%d")})
    missing = "" if entry.metrics.get("buy_and_hold") else f" Bought and held: {NOT_KEPT}."
    st.caption(f"–: it never made a call.{missing}" if table["Mean"].isna().any() else f"Overlapping trades share the capital.{missing}")
    widgets.download(table, f"trades-{entry.slot}-v{entry.version}")


# -- calibration ------------------------------------------------------------------------------------------------------


def calibration(entry: Entry) -> None:
    """Does 60 % happen in 60 % of cases?"""
    if entry.config["task"] == "regression":
        _interval(entry)
        return
    own, newest = entry.metrics[entry.kind]["calibration"], entry.metrics.get("newest_block") or {}
    excess = own["excess"]
    within = "the error is within what chance alone shows." if excess == 0 else f"the error is {excess:.3f} above what chance alone shows."
    st.markdown(f"**{'Calibrated' if excess <= CALIBRATED_WITHIN else 'Not calibrated'}**: {within}")
    method = newest.get("method")
    tiles: list[tuple[str, str, str | None, str | None]] = [
        ("Error (ECE)", number(own["ece"], ".3f"), None, "Mean gap between stated and happened, ten bins of equal size, 0 to 1."),
        ("Noise floor", number(own["floor"], ".3f"), None, "What perfectly calibrated forecasts would show by chance."),
        ("Excess", number(excess, ".3f"), None, "What is left above the floor; up to .02 counts as calibrated.")]
    blocks = {w: newest[w]["calibration"] for w in (BEFORE, AFTER) if w in newest}
    tiles += [(f"Newest block, {w}", number(b["ece"], ".3f"), f"floor {b['floor']:.3f}",
               "The shipped calibration on the newest block, which it has not seen.") for w, b in blocks.items()]
    metrics(tiles)
    lines = [("all blocks, calibrated", own["bins"], theme.NEUTRAL)]
    lines += [(f"newest block, {w}", b["bins"], theme.DOWN if w == BEFORE else theme.ACCENT) for w, b in blocks.items()]
    left, right = st.columns(2)
    with left:
        st.markdown("**Stated against happened**")
        theme.draw(theme.kept(partial(charts_models.reliability, lines), "ml-rel", entry.id, entry.created_ms), key="ml-rel",
                   file_name=f"{entry.slot}-reliability", alt="Reliability before and after calibration")
    names = class_names(entry)
    table = entry.metrics[entry.kind]["confusion"]
    with right:
        st.markdown("**Called against happened**")
        build = partial(charts_models.confusion, table["table"], list(names.values()))
        theme.draw(theme.kept(build, "ml-conf", entry.id, entry.created_ms), key="ml-conf",
                   file_name=f"{entry.slot}-confusion", alt="Confusion matrix")
    words = {"platt": "Platt's two parameters", "isotonic": "isotonic steps", "none": "none: too few rows to learn one from"}
    st.caption(f"For the most probable class. Calibration: {words.get(str(method), NOT_KEPT)}. A dot's size is its rows.")
    import pandas as pd

    each = pd.DataFrame([{"Class": names.get(int(c), c), "Precision": v["precision"], "Recall": v["recall"], "F1": v["f1"], "TP": v["tp"],
                          "FP": v["fp"], "FN": v["fn"], "TN": v["tn"]} for c, v in table["by_class"].items()])
    share = st.column_config.NumberColumn(format="percent", help="Precision: of its calls, what came. Recall: of what came, the calls.")
    st.dataframe(each, hide_index=True, width="stretch", placeholder="–",
                 column_config={
        "Class": st.column_config.TextColumn(pinned=True), "Precision": share, "Recall": share,
        "F1": st.column_config.NumberColumn(format="%.3f", help="Harmonic mean of precision and recall."),
        **{name: st.column_config.NumberColumn(help=words) for name, words in COUNTS.items()}})
    widgets.download(each, f"classes-{entry.slot}-v{entry.version}")


def _interval(entry: Entry) -> None:
    """A number has an interval in place of a probability: does it hold what it promises?"""
    st.info("This model forecasts a number, not a probability: there is nothing to calibrate. What can be checked is its interval.")
    found = entry.metrics.get("interval")
    if not found:
        st.caption(f"How often the interval held is {NOT_KEPT}.")
        return
    metrics([("Promised", number(found["promised"], ".0%"), None, "Share of outcomes that should lie inside."),
             ("Held", number(found["plain"], ".1%"), f"{found['rows']:,} unseen rows", "Plus and minus a quantile of the last 500 errors."),
             ("Held, adaptive", number(found["adaptive"], ".1%"), None,
              "Wider after each miss, narrower after each hit (Gibbs & Candes 2021).")])
    st.caption("Each row by the errors that were known at its time. –: fewer than 500 errors before any row.")


# -- importance -------------------------------------------------------------------------------------------------------


def importance(sextant: Sextant, entry: Entry) -> None:
    """What it looks at, by two measures."""
    if not forecaster(entry.kind).explains:
        st.info(f"{model_title(entry.kind)} cannot be taken apart feature by feature. Train LightGBM, its bagged ensemble or logistic "
                "regression to see what counts.")
        return
    kept = entry.metrics.get("importance") or {}
    if kept.get("shap"):
        left, right = st.columns(2)
        pairs = ((left, "shap", "Mean size of SHAP values", "log-odds; what it uses"),
                 (right, "permutation", "Loss added when shuffled", "what helps on unseen rows; below 0 it hurts"))
        for column, name, title, words in pairs:
            with column:
                st.markdown(f"**{title}** ({words})")
                if kept.get(name):
                    theme.draw(theme.kept(partial(charts_models.ranked, kept[name]), "ml-imp", name, entry.id, entry.created_ms),
                               key=f"ml-imp-{name}", file_name=f"{entry.slot}-{name}", alt=title)
                else:
                    st.caption(NOT_KEPT.capitalize())
        return
    st.markdown(f"The sizes of global SHAP and permutation importance are **{NOT_KEPT}**. What it does keep is the order of the features "
                "that count most: they decide when a bar lies outside what it has seen.")
    import pandas as pd

    seen = loaded(sextant, entry).seen
    table = pd.DataFrame([{"Rank": i + 1, "Feature": n.replace("_", " "), "Seen from": round(seen.low[i], 9),
                           "Usual": round(seen.center[i], 9), "to": round(seen.high[i], 9)} for i, n in enumerate(seen.names)])
    shown = st.column_config.NumberColumn(format="%.4g")
    st.dataframe(table, hide_index=True, width="stretch", placeholder="–", height=min(38 + 35 * len(table), 740), column_config={
        "Rank": st.column_config.NumberColumn(width=60), "Feature": st.column_config.TextColumn(pinned=True),
        "Seen from": shown, "Usual": shown, "to": shown})
    st.caption("By mean size of SHAP values on unseen rows of the newest block, largest first; the range holds 99.8 % of its training "
               "rows.")
    widgets.download(table, f"features-{entry.slot}-v{entry.version}")
