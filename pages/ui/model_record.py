"""What models said and what came of it, the shelf with its versions, and the search for parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import streamlit as st

from core.paper.predictions import Logged
from core.sextant import Sextant
from data.errors import SextantError
from models.shelf import Entry
from pages.ui import charts_models, frozen_log, model_form, theme, widgets
from pages.ui.backtest_views import metrics
from pages.ui.model_views import CHANCES, NUMBERS, interval_of, label_of, market_of, model_title, name_of, number, symbols_of
from pages.ui.session import kept, may_write, workbench

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

NEWEST = 2_000  # predictions that are shown; the track record counts all
EVERY = "every model"
OWNER = "owner, on the Models page"
COMPARED = CHANCES | NUMBERS


# -- predictions ------------------------------------------------------------------------------------------------------


@st.cache_data(ttl=60, max_entries=4, show_spinner=False)
def _verified(home: str, world: str, made: int, graded: int) -> list[str]:
    """What is wrong with the log; reading it whole takes a while, so once a minute and after each new row."""
    return workbench().log.verify()


def predictions(sextant: Sextant, entry: Entry | None) -> None:
    """The track record of this version or of all, and the log itself."""
    _make(sextant, entry)
    everything = frozen_log.rows(sextant)
    if not everything:
        first = "Train a model, then press" if entry is None else "Press"
        st.info(f"Nothing has been predicted yet. {first} Predict now: what the serving model says is frozen, and graded by the candles "
                "when its time has come.", icon=":material/edit_note:")
        return
    faults = _verified(str(sextant.settings.home), str(sextant.world), len(everything), sum(r.settled is not None for r in everything))
    if faults:
        st.error("The log has been changed from outside: " + widgets.plain("; ".join(faults[:3])), icon=":material/gpp_bad:")
    else:
        many = f"{len(everything):,} prediction{'' if len(everything) == 1 else 's'}"
        st.badge(f"Log verified: {many}, none changed", color="green", icon=":material/verified_user:",
                 help="Each row is sealed with the one before it; an edited or removed row breaks the chain.")
    sources = [EVERY, *dict.fromkeys(r.source for r in reversed(everything))]
    usual = sources.index(entry.id) if entry is not None and entry.id in sources else 0
    source = st.selectbox("Of", sources, index=usual, key=f"ml-source-{'' if entry is None else entry.id}")
    rows = [r for r in everything if source in (EVERY, r.source)]
    _record(frozen_log.record(sextant, rows))
    _tracked(sextant, rows[-NEWEST:])
    log_table(sextant, rows[-NEWEST:])


def _make(sextant: Sextant, entry: Entry | None) -> None:
    if entry is None or entry.fault or not may_write():
        return
    if st.button("Predict now", icon=":material/edit_note:", key="ml-predict",
                 help="Freeze what the serving model says of the newest bar, and grade what is due. The first word of a bar counts."):
        keys = [sextant.key(s, interval_of(entry), market_of(entry)) for s in symbols_of(entry)]
        with st.spinner("Reading the newest bars ...", show_time=False):
            done = sextant.record_calls(keys, label_of(entry))
        already = "" if done["recorded"] else " The newest bar had its prediction already."
        st.toast(f"{done['recorded']} written, {done['graded']} graded.{already}")
        for words in done["absent"]:
            st.warning(widgets.plain(words))


def _record(record: Sequence[Mapping[str, Any]]) -> None:
    import pandas as pd

    whole = [r for r in record if r["regime"] == "all" and r["period"] == "all"]
    made, graded, calls = (sum(r[n] for r in whole) for n in ("made", "settled", "calls"))
    right, left_out = sum(r["right"] for r in whole), sum(r["abstained"] for r in whole)
    brier = whole[0]["brier"] if len(whole) == 1 else None
    base = whole[0]["brier_base"] if len(whole) == 1 else None
    below = f"base rate {base:.3f}" if base is not None else "base rate not kept" if brier is not None else None
    metrics([("Made", f"{made:,}", None, "Predictions frozen when they were made."),
             ("Graded", f"{graded:,}", None, "Their time has come."),
             ("Calls right", f"{right:,} of {calls:,}", f"{right / calls:.0%}" if calls else None, "Graded calls up or down that came so."),
             ("Abstained", f"{left_out:,}", None, "No call, with its reason in the log."),
             ("Brier", number(brier, ".3f"), below, "Lower is better; it should be below that of the base rate. –: nothing graded yet, "
                                                    "or several models.")])
    if graded == 0:
        st.caption("Nothing is graded yet: a prediction is graded when as many bars have closed as it looks ahead.")
    table = pd.DataFrame([{"Model": r["source"], "Regime": r["regime"], "Period": r["period"], "Made": r["made"], "Graded": r["settled"],
                           "Abstained": r["abstained"], "Calls": r["calls"], "Right": r["right"],
                           "TP up": r["up"]["tp"], "FP up": r["up"]["fp"], "TP down": r["down"]["tp"], "FP down": r["down"]["fp"],
                           "Brier": r["brier"], "Base rate": r["brier_base"], "Inside": r["inside"]} for r in record])
    with st.expander("By regime and period", expanded=False):
        three = st.column_config.NumberColumn(format="%.3f")
        st.dataframe(table, hide_index=True, width="stretch", placeholder="–", height=min(38 + 35 * len(table), 420), column_config={
            "Model": st.column_config.TextColumn(pinned=True), "Brier": three, **called_columns(),
            "Base rate": st.column_config.NumberColumn(
                format="%.3f", help="Brier score of the class frequencies at the time. –: not kept."),
            "Inside": st.column_config.NumberColumn(format="percent", help="Outcomes inside the stated interval; numbers only.")})
        widgets.download(table, "track-record")


def called_columns() -> dict[str, Any]:
    """The columns that count calls by how they came out."""
    words = {"TP up": "Called up, and it came.", "FP up": "Called up, and it did not come.", "TP down": "Called down, and it came.",
             "FP down": "Called down, and it did not come."}
    return {name: st.column_config.NumberColumn(help=text) for name, text in words.items()}


def _side(row: Logged) -> int | None:
    return None if row.outcome is None else (row.outcome > 0) - (row.outcome < 0)


def _tracked(sextant: Sextant, rows: Sequence[Logged]) -> None:
    """One label's predictions over time: numbers and probabilities share no axis."""
    labels = list(dict.fromkeys(r.label for r in reversed(rows)))
    label = st.selectbox("Asked", labels, format_func=model_form.title_of, key="ml-tracked") if len(labels) > 1 else labels[0]
    held = [r for r in rows if r.label == label]
    st.markdown("**Realised against predicted**")
    figure = theme.kept(lambda: _track(held), "ml-track", *frozen_log.content(sextant, held))
    theme.draw(figure, key="ml-track", file_name="predictions", alt="Predictions over time, marked by what came")


def _track(held: Sequence[Logged]) -> go.Figure:
    chances = bool(held and held[-1].content["probability"])
    points = []
    for r in held:
        value = r.content["probability"].get("1") if chances else r.content["mean"]
        if value is None:
            continue
        came = "not known yet" if r.outcome is None else f"came {r.outcome:+.4g}"
        words = f"{r.key.symbol} {widgets.local_text(r.bar_ms + 1)}<br>predicted {f'{value:.1%}' if chances else f'{value:+.4g}'}, {came}"
        points.append({"bar_ms": r.bar_ms, "predicted": value, "side": _side(r), "words": words})
    return charts_models.track(points, title="probability of a rise" if chances else "expected", percent=chances)


def log_table(sextant: Sextant, rows: Sequence[Logged]) -> None:
    """Predictions as they were written, newest first, with what came."""
    table = kept(lambda: _log_frame(rows), "log table", widgets.zone().key, *frozen_log.content(sextant, rows))
    st.dataframe(table, hide_index=True, width="stretch", placeholder="–", height=min(38 + 35 * len(table), 420), column_config={
        "Bar": st.column_config.TextColumn(pinned=True, width=120, help=f"When the bar closed, in {widgets.zone().key}."),
        "P(up)": st.column_config.NumberColumn(format="percent", help="Calibrated."),
        "Expected": st.column_config.NumberColumn(format="%+.4g"),
        "Came": st.column_config.NumberColumn(format="%+.4g", help="The label's value, from raw candles. –: its time has not come."),
        "Brier": st.column_config.NumberColumn(format="%.3f"), "Why no call": st.column_config.TextColumn(width="large")})
    widgets.download(table, "predictions")


def _log_frame(rows: Sequence[Logged]) -> pd.DataFrame:
    import pandas as pd

    said = {1: "▲ up", 0: "■ none", -1: "▼ down"}
    table = pd.DataFrame([{
        "Bar": widgets.local_text(r.bar_ms + 1), "Symbol": r.key.symbol, "Interval": str(r.key.interval), "Asked": r.label,
        "Said": "no call" if r.abstained else said.get(r.call, str(r.call)), "P(up)": r.content["probability"].get("1"),
        "Expected": r.content["mean"], "Came": r.outcome, "Brier": None if r.settled is None else r.settled.get("brier"),
        "Why no call": "; ".join(r.content["reasons"]), "Regime": r.content.get("regime") or "unknown", "Model": r.source}
        for r in reversed(rows)])
    return table.drop(columns="Expected") if table["Expected"].isna().all() else table


# -- shelf ------------------------------------------------------------------------------------------------------------


def shelf(sextant: Sextant, entries: Sequence[Entry], chosen: Entry | None) -> None:
    """Every version, who serves, and the acts that change it."""
    import pandas as pd

    if not entries or chosen is None:
        st.info("The shelf is empty. Train a model above: the first of its kind serves at once.", icon=":material/inventory_2:")
        return
    table = pd.DataFrame([{
        "Version": e.id, "State": "damaged" if e.fault else "● serves" if e.champion else "–", "Model": e.kind or None,
        "Verdict": (e.metrics.get("verdict") or {}).get("words"), "Trained": widgets.local_text(e.created_ms) if e.created_ms else None,
        "Loss": _loss_of(e), "Rows": e.config.get("rows"), "LightGBM": e.libraries.get("lightgbm"), "Code": e.code_version[:10] or None,
        "Fault": e.fault or None} for e in entries])
    if table["Fault"].isna().all():
        table = table.drop(columns="Fault")
    st.dataframe(table, hide_index=True, width="stretch", placeholder="–", height=min(38 + 35 * len(table), 420), column_config={
        "Version": st.column_config.TextColumn(pinned=True),
        "Loss": st.column_config.NumberColumn(format="%.4f", help="Log loss, or RMSE where numbers are forecast, on unseen rows."),
        "Fault": st.column_config.TextColumn(width="large")})
    widgets.download(table, "shelf")
    for e in entries:
        if e.fault:
            st.error(widgets.plain(f"{e.id}: {e.fault}"), icon=":material/broken_image:")
    _challenger(sextant, entries, chosen)
    _acts(sextant, chosen)
    _again(sextant)
    _history(sextant, chosen.slot)
    _compare(sextant, [e for e in entries if not e.fault], chosen)


def _loss_of(e: Entry) -> float | None:
    own = e.metrics.get(e.kind) or {}
    found = own.get("log_loss", own.get("rmse"))
    return None if found is None else float(found)


def _challenger(sextant: Sextant, entries: Sequence[Entry], chosen: Entry) -> None:
    """The newest version beside the one that serves, on rows neither had learned from."""
    import pandas as pd

    own = [e for e in entries if e.slot == chosen.slot]
    serving = next((e for e in own if e.champion), None)
    newest = next((e for e in own if not e.fault), None)
    found = (newest.metrics.get("beside") or {}) if newest is not None else {}
    if serving is None or newest is None or newest.champion or found.get("champion") != serving.id:
        return
    st.markdown("**Challenger beside champion**")
    st.markdown(widgets.plain(f"{newest.id}, trained {widgets.local_text(newest.created_ms)}: {found['words']}."))
    if found["rows"] and found["p"] is not None:
        excess = found["calibration"] or (None, None)
        table = pd.DataFrame([{"Version": f"{serving.id} (serves)", "Loss": found["champion_loss"], "Calibration excess": excess[0]},
                              {"Version": f"{newest.id} (challenger)", "Loss": found["challenger_loss"], "Calibration excess": excess[1]}])
        st.dataframe(table, hide_index=True, width="stretch", placeholder="–", column_config={
            "Version": st.column_config.TextColumn(pinned=True),
            "Loss": st.column_config.NumberColumn(format="%.5g", help="Mean log loss, or mean squared error where numbers are forecast."),
            "Calibration excess": st.column_config.NumberColumn(format="%.3f")})
        st.caption("p: share of paired block-bootstrap draws in which the challenger is not better. Below .1, with a calibration that is "
                   "no worse, it may be promoted; that stays a person's act.")
    if newest.id == chosen.id or not may_write():
        return
    asked = st.session_state.get("ml-asked")
    if asked and asked[1] == newest.id:
        _confirm(sextant, *asked)
    elif st.button("Promote the challenger", icon=":material/upgrade:", key="ml-promote-new"):
        _ask("promote", newest.id)


def _history(sextant: Sextant, slot: str) -> None:
    import pandas as pd

    made = sextant.shelf.history(slot)
    if len(made) < 2:
        return
    with st.expander("Who served when"):
        st.dataframe(pd.DataFrame([{"Version": h.id, "Since": widgets.local_text(h.at_ms), "By": h.by,
                                    "Act": "rolled back" if h.rolled_back else "promoted"} for h in reversed(made)]),
                     hide_index=True, width="stretch", column_config={"Version": st.column_config.TextColumn(pinned=True)})


def _again(sextant: Sextant) -> None:
    if may_write() and st.button("Train anew what is a week old", icon=":material/autorenew:", key="ml-retrain",
                                 help="As each was trained, on newer candles. New versions are challengers; nothing is promoted."):
        sextant.jobs.submit("retrain", {})
        sextant.jobs.pump()
        st.rerun()


def _acts(sextant: Sextant, chosen: Entry) -> None:
    st.markdown(f"**{widgets.plain(chosen.id)}**")
    if not may_write():
        st.caption("Viewing only: promoting and rolling back are the owner's.")
        return
    asked = st.session_state.get("ml-asked")
    if asked and asked[1] == chosen.id:
        _confirm(sextant, *asked)
        return
    with st.container(horizontal=True):
        if st.button("Let it serve", icon=":material/upgrade:", key="ml-promote", disabled=chosen.champion or bool(chosen.fault),
                     help="This version answers from then on; the present one can come back."):
            _ask("promote", chosen.id)
        if st.button("Roll back", icon=":material/undo:", key="ml-back", help="The version that served before serves again."):
            _ask("back", chosen.id)
        if chosen.fault and st.button("Move it aside", icon=":material/folder_off:", key="ml-aside", help="Nothing is deleted."):
            _ask("aside", chosen.id)


def _ask(act: str, model_id: str) -> None:
    st.session_state["ml-asked"] = (act, model_id)
    st.rerun()


def _confirm(sextant: Sextant, act: str, model_id: str) -> None:
    slot = model_id.split("/")[0]
    words = {"promote": f"{model_id} will answer for {slot} from now on.",
             "back": f"The version that served {slot} before will serve again.",
             "aside": f"{model_id} will be moved into the quarantine folder of the shelf."}[act]
    with st.container(border=True):
        st.markdown(f"{widgets.plain(words)} Go on?")
        with st.container(horizontal=True):
            yes = st.button("Yes, do it", type="primary", key="ml-yes")
            if st.button("No", key="ml-no"):
                del st.session_state["ml-asked"]
                st.rerun()
        if not yes:
            return
        try:
            if act == "promote":
                sextant.shelf.promote(model_id, by=OWNER)
                done = f"{model_id} serves now."
            elif act == "back":
                done = f"{sextant.shelf.roll_back(slot, by=OWNER)} serves again."
            else:
                done = f"Moved to {sextant.shelf.quarantine(model_id).name}."
        except SextantError as error:
            st.error(widgets.plain(str(error)), icon=":material/error:")
            return
    del st.session_state["ml-asked"]
    st.session_state["ml-done"] = done
    st.rerun()


def _compare(sextant: Sextant, sound: Sequence[Entry], chosen: Entry) -> None:
    import pandas as pd

    others = {e.id: e for e in sound if e.id != chosen.id}
    st.markdown("**Compare**")
    if chosen.fault or not others:
        st.caption("A damaged version cannot be compared." if chosen.fault else
                   "There is no second version to compare with yet: train one.")
        return
    beside = st.selectbox("With", sorted(others, key=lambda i: others[i].slot != chosen.slot), format_func=lambda i: name_of(others[i]),
                          key=f"ml-beside-{chosen.id}")
    both = sextant.shelf.compare(chosen.id, beside)
    a, b = (m.get(e.kind) or {} for m, e in zip(both["metrics"], (chosen, others[beside]), strict=True))
    rows: list[dict[str, Any]] = [{"What": t, chosen.id: number(a.get(n), ".4f"), beside: number(b.get(n), ".4f")}
                                  for t, n in COMPARED.items() if a.get(n) is not None or b.get(n) is not None]
    differ = dict(both["differences"])
    first, second = differ.pop("options", ({}, {}))
    differ |= {n: [first.get(n), second.get(n)] for n in sorted(set(first) | set(second)) if first.get(n) != second.get(n)}
    rows += [{"What": n.replace("_", " ").capitalize(), chosen.id: _brief(x), beside: _brief(y)} for n, (x, y) in differ.items()]
    if chosen.kind != others[beside].kind:
        rows.insert(0, {"What": "Model", chosen.id: model_title(chosen.kind), beside: model_title(others[beside].kind)})
    table = pd.DataFrame(rows)
    st.dataframe(table, hide_index=True, width="stretch", column_config={"What": st.column_config.TextColumn(pinned=True)})
    st.caption("Each was judged on its own unseen rows; only versions of the same span can be held against each other.")
    widgets.download(table, "compared")


def _brief(value: Any) -> str:
    text = "–" if value is None else value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= 160 else text[:157] + "..."


# -- tuning -----------------------------------------------------------------------------------------------------------


def tuning(sextant: Sextant, given: dict[str, Any]) -> None:
    """Search the model's parameters; the newest finished search below."""
    import pandas as pd

    trials = st.number_input("Tries", value=30, step=10, key="ml-trials", persist_state="session", width=160,
                             help="Tries of an interrupted search of the same question are counted in.")
    st.caption(f"Searches the parameters of {model_title(str(given['model']))} on {', '.join(given['symbols']) or 'no symbol'} "
               f"{given['interval']}, as set up at the top of the page, on the first 60 % of the history alone. Every try counts against "
               "the verdict of later trainings.")
    model_form.submit(sextant, "tune", given, "Tune", trials=int(trials or 0))
    done = next((j for j in sextant.jobs.all() if j.kind == "tune" and j.state == "done" and j.result), None)
    if done is None:
        st.info("No search yet. Press Tune: it goes on when the tab is closed, and a stopped one goes on where it was.",
                icon=":material/tune:")
        return
    d = done.result
    st.markdown(f"**{widgets.plain(model_form.what(done))}**")
    gain = None if d["default_loss"] is None or d["default_loss"] != d["default_loss"] else d["default_loss"] - d["loss"]
    metrics([("Best loss", number(d["loss"], ".4f"), None, "Mean over inner folds: log loss, or mean squared error."),
             ("Defaults", number(d["default_loss"], ".4f"), None, "The same, untuned."),
             ("Gain", number(gain, "+.4f"), None, "How much lower. Small ones are luck."),
             ("Finished", f"{d['finished']:,}", f"{d['pruned']:,} cut early", "Poor tries are cut after the first folds.")])
    theme.draw(theme.kept(partial(charts_models.tries, d["tried"], d["default_loss"]), "ml-tries", done.id, done.ended_ms), key="ml-tries",
               file_name="tuning", alt="Loss of each try")
    best = json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in d["parameters"].items()})
    st.code(best, language="json", wrap_lines=True)
    st.button("Put these parameters into the form", icon=":material/arrow_upward:", key="ml-use", on_click=_use, args=(best,))
    table = pd.DataFrame([{"Try": t["number"] + 1, "Loss": t["loss"], "State": t["state"]} | t["parameters"] for t in d["tried"]])
    table = table.sort_values("Loss", na_position="last", ignore_index=True)
    st.dataframe(table, hide_index=True, width="stretch", placeholder="–", height=min(38 + 35 * len(table), 360),
                 column_config={"Loss": st.column_config.NumberColumn(format="%.4f")})
    widgets.download(table, "tuning")


def _use(parameters: str) -> None:
    st.session_state["ml-parameters"] = parameters
    st.session_state["ml-done"] = "The parameters are in the form, under More."
