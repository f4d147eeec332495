"""Commands that learn: features, labels, training, tuning, the shelf, predictions."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from core.faces.command import PYTHON, Command, above_zero, moment, moment_arguments, series_arguments, series_key, show_progress
from data.clock import iso
from data.errors import InputError

if TYPE_CHECKING:
    from core.sextant import Sextant

DEFAULT_LABEL = "dir3_dyn"
VALIDATIONS = {"walk": "walk_forward", "quick": "quick", "cpcv": "cpcv"}
SHOWN = (("log_loss", "log loss"), ("brier", "Brier"), ("accuracy", "accuracy"), ("rmse", "RMSE"), ("mae", "MAE"), ("rank_ic", "rank IC"))


def _label_arguments(parser: argparse.ArgumentParser) -> None:
    series_arguments(parser)
    parser.add_argument("--label", default=DEFAULT_LABEL, help=f"one of the seven labels (default {DEFAULT_LABEL})")
    parser.add_argument("--horizon", type=above_zero, default=None, help="bars ahead (default: the label's own)")


def _learning_arguments(parser: argparse.ArgumentParser, symbols: str = "+") -> None:
    parser.add_argument("symbols", nargs=symbols, metavar="SYMBOL", help="one, or several that are pooled")
    parser.add_argument("--interval", default="1h", help="bars that are learned from (default 1h)")
    parser.add_argument("--market", default="spot", help="spot or perp (default spot)")
    parser.add_argument("--label", default=DEFAULT_LABEL, help=f"what is to be known (default {DEFAULT_LABEL})")
    parser.add_argument("--model", default=None, help="lgbm, lgbm_regressor, logistic, ensemble_mean ... (default: what fits the label)")
    parser.add_argument("--horizon", type=above_zero, default=None, help="bars ahead (default: the label's own)")
    parser.add_argument("--bars", type=int, default=20_000, help="how many of the newest bars are learned from (default 20000)")
    parser.add_argument("--seed", type=int, default=7, help="of everything random (default 7)")


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    _learning_arguments(parser, symbols="*")
    parser.add_argument("--retrain", action="store_true", help="no symbols: train anew, as challengers, what on the shelf is a week old")
    parser.add_argument("--validation", choices=tuple(VALIDATIONS), default=None,
                        help="walk: purged 30-day blocks (default); quick: five folds of growing history; cpcv: 15 combinatorial splits "
                             "that make five paths")
    parser.add_argument("--quick", action="store_true", help="the same as --validation quick")
    parser.add_argument("--fill", choices=("leave", "regression"), default="leave",
                        help="regression: short holes are filled on a copy and never learned from (default leave)")
    parser.add_argument("--folds", type=above_zero, default=None, help="how many of the newest blocks are tested on")
    parser.add_argument("--parameters", default=None, metavar="JSON", help='the model\'s own, e.g. {"num_leaves": 15}, as tune prints them')
    parser.add_argument("--promote", action="store_true", help="let it serve at once (the first of a slot does anyway)")


def _tune_arguments(parser: argparse.ArgumentParser) -> None:
    _learning_arguments(parser)
    parser.add_argument("--trials", type=int, default=50, help="tries, those of an interrupted search included (default 50)")


def _models_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--promote", metavar="ID", help="let this version serve, e.g. spot-BTCUSDT-1h-dir3_dyn/v2")
    parser.add_argument("--history", metavar="SLOT", help="every promotion and roll-back of a slot")
    parser.add_argument("--roll-back", metavar="SLOT", help="let the champion before the present one serve again")


def _prediction_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("symbols", nargs="*", metavar="SYMBOL", help="only these (default: all)")
    parser.add_argument("--make", action="store_true", help="freeze what the serving models say now, then grade what is due")
    parser.add_argument("--interval", default="1h", help="of --make (default 1h)")
    parser.add_argument("--market", default="spot", help="of --make (default spot)")
    parser.add_argument("--label", default=DEFAULT_LABEL, help=f"of --make (default {DEFAULT_LABEL})")
    parser.add_argument("--verify", action="store_true", help="check that no written row was changed")


def _features(sextant: Sextant, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    d = sextant.feature_document(series_key(sextant, options), at_ms=moment(options.at))
    rows = [f"  {n:<24}{'-' if v is None else f'{v:.6g}':>14}" for n, v in d["features"].items()]
    return d, "\n".join([f"{d['symbol']} {d['interval']}: {len(rows)} features, {d['coverage']:.0%} known", *rows])


def _labels(sextant: Sextant, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    d = sextant.label_document(series_key(sextant, options), options.label, horizon=options.horizon)
    lines = [f"{d['label']} of {d['symbol']} {d['interval']}, {d['horizon']} bars ahead: {d['formula']}",
             f"  {d['known']:,} of {d['bars']:,} bars have a known outcome; mean {d['mean']:.4g}, standard deviation "
             f"{d['standard_deviation']:.4g}"]
    lines += [f"  class {r['class']:+d}  {r['share']:.1%} of bars, mean return {r['mean_return']:+.3%}" for r in d["classes"]]
    return d, "\n".join(lines)


def _options(options: argparse.Namespace, **more: Any) -> Any:
    from models.train import TrainOptions

    return TrainOptions(horizon=options.horizon, seed=options.seed, **more)


def _progress(options: argparse.Namespace) -> Any:
    return None if options.json or not sys.stderr.isatty() else show_progress


def _train(sextant: Sextant, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from models.evaluate import figure
    from models.forecaster import FORECASTERS

    if options.retrain:
        return _retrain(sextant, options)
    if not options.symbols:
        raise InputError("expected at least one symbol, e.g. train BTCUSDT, or train --retrain")
    try:
        parameters = json.loads(options.parameters) if options.parameters else {}
        if not isinstance(parameters, dict):
            raise ValueError
    except ValueError:
        raise InputError(f'--parameters {options.parameters[:40]!r}: expected JSON such as {{"num_leaves": 15}}') from None
    more: dict[str, Any] = {"mode": VALIDATIONS[options.validation or ("quick" if options.quick else "walk")], "fill": options.fill}
    if options.folds is not None:
        more["folds"] = options.folds
    done = sextant.train(tuple(options.symbols), options.interval, options.market, label=options.label, model=options.model,
                         options=_options(options, parameters=parameters, **more), bars=options.bars, promote=options.promote,
                         progress=_progress(options))
    d = done.document()
    lines = [f"{done.id}: {d['verdict']['words']}", f"  {'serves now' if done.serves else 'a challenger: models --promote ' + done.id}"]
    if d["beside"]:
        lines.append(f"  beside {d['beside']['champion']}: {d['beside']['words']}")
    for name, m in d["metrics"].items():
        shown = [f"{words} {figure(m[key])}" for key, words in SHOWN if isinstance(m, dict) and isinstance(m.get(key), float)]
        if shown and name in {f.name for f in FORECASTERS}:
            lines.append(f"  {name:<18}{'  '.join(shown)}")
    lines += _path_lines(d["metrics"].get("paths") or [])
    return d, "\n".join([*lines, *(f"  note: {n}" for n in d["notes"])])


def _path_lines(paths: list[dict[str, Any]]) -> list[str]:
    """The spread over the paths of a combinatorial validation."""
    out = []
    for name in paths[0] if paths else ():
        known = sorted(p[name] for p in paths if p[name] is not None)
        if known:
            middle = known[len(known) // 2] if len(known) % 2 else (known[len(known) // 2 - 1] + known[len(known) // 2]) / 2
            out.append(f"  {len(known)} paths, {name.replace('_', ' ')}: {known[0]:.4g} to {known[-1]:.4g}, median {middle:.4g}")
    return out


def _retrain(sextant: Sextant, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    found = sextant.retrain(progress=_progress(options))
    lines = [f"{f.slot}: {f.words}" for f in found] or ["the shelf is empty; train a model first"]
    return {"slots": [f.document() for f in found]}, "\n".join(lines)


def _forecast_arguments(parser: argparse.ArgumentParser) -> None:
    moment_arguments(parser)
    parser.add_argument("--train", action="store_true", help="train the four models first")
    parser.add_argument("--bars", type=int, default=10_000, help="of --train: newest bars that are learned from (default 10000)")


def _forecast(sextant: Sextant, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    key = series_key(sextant, options)
    words = sextant.train_path(key, bars=options.bars, progress=_progress(options)) if options.train else ""
    d = sextant.path(key, at_ms=moment(options.at)).document() | {"trained": words}
    lines = [words] if words else []
    covered = f", {d['coverage']:.0%} intervals" if d["points"] else ""
    lines.append(f"{d['symbol']} {key.interval} at {d['price']:g}: {d['words']}{covered}")
    for p in d["points"]:
        between = "no interval" if p["low"] is None else f"{p['low']:.6g} to {p['high']:.6g}"
        lines.append(f"  {p['bars']:>3} bars  {'-' if p['price'] is None else format(p['price'], '.6g'):>12}  {between}"
                     + (f"  no call: {'; '.join(p['reasons'])}" if p["abstained"] else ""))
    return d, "\n".join(lines)


def _tune(sextant: Sextant, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    found = sextant.tune(tuple(options.symbols), options.interval, options.market, label=options.label, model=options.model,
                         options=_options(options), bars=options.bars, trials=options.trials, progress=_progress(options))
    d = found.document()
    return d, json.dumps(d, indent=1)[:2_000]


def _models(sextant: Sextant, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    words = []
    if options.history:
        made = [{"id": h.id, "at": iso(h.at_ms), "by": h.by, "rolled_back": h.rolled_back} for h in sextant.shelf.history(options.history)]
        return {"history": made}, "\n".join(f"{h['at']}  {h['id']}  by {h['by']}" for h in made) or "nothing was promoted in this slot"
    if options.promote:
        sextant.shelf.promote(options.promote, by="command")
        words.append(f"{options.promote} serves now")
    if options.roll_back:
        words.append(f"{sextant.shelf.roll_back(options.roll_back, by='command')} serves again")
    rows = [e.document() for e in sextant.models()]
    lines = []
    for r in rows:
        words_of = r["fault"] or (r["metrics"].get("verdict") or {}).get("words", "")
        lines.append(f"{'*' if r['champion'] else ' '} {r['id']:<44}{r['kind']:<18}{words_of}")
    return {"models": rows, "words": words}, "\n".join([*words, *(lines or ["the shelf is empty; train a model"])])


def _predictions(sextant: Sextant, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from core.paper.predictions import track_record

    made: dict[str, Any] = {}
    if options.make:
        names = options.symbols or sextant.symbols()
        made = sextant.record_calls([sextant.key(s, options.interval, options.market) for s in names], options.label)
    faults = sextant.log.verify() if options.verify else []
    rows = [r for r in sextant.log.rows() if not options.symbols or r.key.symbol in options.symbols]
    record = track_record(rows, sextant.clock.now_ms())
    document = {"made": made, "rows": [r.document() for r in rows[-500:]], "record": record, "faults": faults,
                "exit": 3 if faults else 0}
    lines = [f"{len(rows)} predictions, {sum(r.settled is not None for r in rows)} graded"]
    if made:
        lines += [f"  {made['recorded']} written, {made['graded']} graded now", *(f"  {w}" for w in made["absent"])]
    for r in record:
        if r["period"] == "all" and r["regime"] == "all":
            shown = "" if r["brier"] is None else f", Brier {r['brier']:.3f} (base rate {r['brier_base'] or float('nan'):.3f})"
            lines.append(f"  {r['source']}: {r['right']} of {r['calls']} calls right, {r['abstained']} abstained{shown}")
    return document, "\n".join([*lines, *(f"  DAMAGED: {f}" for f in faults)])


COMMANDS = (
    Command("features", "the 37 features of the newest bar, as training and serving see them",
            f"{PYTHON} features BTCUSDT --interval 1h", moment_arguments, _features),
    Command("labels", "what a label says of the history", f"{PYTHON} labels BTCUSDT --label triple_barrier", _label_arguments, _labels),
    Command("train", "train and judge a model, shelve it", f"{PYTHON} train BTCUSDT --interval 1h --label dir3_dyn --json",
            _train_arguments, _train),
    Command("tune", "search a model's parameters; a stopped search goes on", f"{PYTHON} tune BTCUSDT --label dir3_dyn --trials 50",
            _tune_arguments, _tune),
    Command("forecast", "where the next 20 candles may go, with intervals", f"{PYTHON} forecast BTCUSDT --interval 1h --train",
            _forecast_arguments, _forecast),
    Command("models", "what is on the shelf; promote and roll back", f"{PYTHON} models", _models_arguments, _models),
    Command("predictions", "what was predicted and what came of it", f"{PYTHON} predictions --make", _prediction_arguments, _predictions),
)
