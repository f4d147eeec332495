"""The facade's verbs over models: features, labels, training, tuning, the shelf, predictions and how they went."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.badge import code_version
from core.judging import Judging
from core.kept import Kept
from data.clock import iso, parse_time
from data.errors import InputError, NoData, SextantError
from data.frames import Candles
from data.market import DAY_MS, Interval, Market, SeriesKey, parse_symbol

if TYPE_CHECKING:
    from core.forecast_line import ForecastLine
    from core.paper.ledger import Ledger
    from core.paper.predictions import PredictionLog
    from models.challenger import Beside
    from models.dataset import Rows
    from models.drift import DriftReport
    from models.shelf import Entry, InUse, Shelf
    from models.train import TrainOptions, TrainResult
    from models.trained import Prediction, TrainedModel
    from models.trials import TrialLedger
    from models.tune import TuneResult

TRAINING_BARS = 20_000
DRIFT_ROWS = 500
ENTRIES_KEPT = 8
CODE = ("data", "analysis", "models")
Tell = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Trained:
    """A finished training: where it was shelved, and whether it serves now."""

    id: str
    serves: bool
    result: TrainResult
    beside: Beside | None = None  # the champion it was held against

    def document(self) -> dict[str, Any]:
        compared = None if self.beside is None else self.beside.document()
        return {"id": self.id, "serves": self.serves, "beside": compared} | self.result.document()


@dataclass(frozen=True)
class Call:
    """What the model of a slot says of the newest bar. Without a model `prediction` is None and `words` says why."""

    key: SeriesKey
    label: str
    model: str
    prediction: Prediction | None
    words: tuple[str, ...]
    by: TrainedModel | None = field(default=None, compare=False, repr=False)

    def document(self) -> dict[str, Any]:
        return {"symbol": self.key.symbol, "interval": str(self.key.interval), "market": str(self.key.market), "label": self.label,
                "model": self.model, "prediction": None if self.prediction is None else self.prediction.document(),
                "words": list(self.words)}


def _shelved(version: str) -> str:
    """A version of one series as it is, of several their hash: cut to a length, the last ones would not count."""
    return version if "+" not in version else hashlib.sha256(version.encode()).hexdigest()


@cache
def _ledger_at(path: Path) -> Ledger:
    """One ledger a file, so that its connections are kept."""
    from core.paper.ledger import Ledger

    return Ledger(path)


class Forecasting(Judging):
    """Verbs over models. Models and the ledger live below the home folder, apart for each world."""

    @cached_property
    def _entries_kept(self) -> Kept[tuple[Entry, ...]]:
        return Kept(ENTRIES_KEPT, self._turns)

    @property
    def _ledger(self) -> TrialLedger:
        """Every try, of trainings and of backtests."""
        from models.trials import TrialLedger

        return TrialLedger(self.settings.home / "tried" / str(self.world) / "trials.sqlite", self.clock)

    @property
    def _modelled(self) -> Path:
        return self.settings.home / "modelled" / str(self.world)

    @property
    def shelf(self) -> Shelf:
        from models.shelf import Shelf

        return Shelf(self._modelled / "shelf", self.clock)

    @property
    def log(self) -> PredictionLog:
        """The chained record of predictions."""
        from core.paper.predictions import PredictionLog

        return PredictionLog(self.paper_ledger, self.clock)

    @property
    def paper_ledger(self) -> Ledger:
        """Paper account, predictions, alerts: one file for each world."""
        return _ledger_at(self.settings.home / "paper" / str(self.world) / "ledger.sqlite")

    def feature_document(self, key: SeriesKey, *, at_ms: int | None = None) -> dict[str, Any]:
        """The 37 features of the newest bar, as training and serving see them."""
        from data.features import FEATURES, SERVING_BARS, feature_table

        candles, _ = self.rule_inputs(key, (), SERVING_BARS, at_ms=at_ms)
        table = feature_table(candles)
        values = {f.name: float(table.column(f.name)[-1]) for f in FEATURES}
        known = {n: v if np.isfinite(v) else None for n, v in values.items()}
        return {"symbol": key.symbol, "interval": str(key.interval), "close_time": int(candles.close_time[-1]),
                "coverage": float(np.mean([v is not None for v in known.values()])), "features": known}

    def label_document(self, key: SeriesKey, name: str, *, bars: int = TRAINING_BARS, horizon: int | None = None) -> dict[str, Any]:
        """What a label says of the history: how often each class, the return behind it, and from when on nothing is known."""
        from data.labels import LabelConfig, label_kind, make_labels

        candles, kind = self.candles(key, bars=bars), label_kind(name)
        made = make_labels(candles, name, LabelConfig(horizon=horizon))
        known = made.known
        if not known.any():
            raise NoData(f"no bar of {key} has a known {name}; it needs more history")
        value, ret = made.value[known], made.ret[known]
        rows = [{"class": int(c), "share": float(np.mean(value == c)), "mean_return": float(np.nanmean(ret[value == c]))}
                for c in np.unique(value)] if kind.task != "regression" else []
        return {"symbol": key.symbol, "interval": str(key.interval), "label": name, "formula": kind.formula, "task": kind.task,
                "horizon": horizon or kind.horizon, "bars": len(candles), "known": int(known.sum()), "classes": rows,
                "mean": float(value.mean()), "standard_deviation": float(value.std())}

    # -- learning ---------------------------------------------------------------------------------------------------

    def _history(self, symbols: tuple[str, ...], interval: Interval, market: Market, bars: int) -> tuple[dict[str, Candles], str]:
        # In one order whoever asks: rows of one moment stand in the order of symbols, and tries are counted by their names.
        keys = [self.key(s, interval, market) for s in sorted({parse_symbol(s) for s in symbols})]
        if not keys:
            raise InputError("expected at least one symbol, e.g. BTCUSDT")
        return {k.symbol: self.candles(k, bars=bars) for k in keys}, "+".join(self.reader.version(k) for k in keys)

    def data_version(self, symbols: Iterable[str], interval: str | Interval, market: str | Market) -> str:
        """Another value once the candles of any of these symbols are others."""
        return _shelved("+".join(self.reader.version(self.key(s, interval, market)) for s in symbols))

    def train(self, symbols: tuple[str, ...], interval: str | Interval, market: str | Market = Market.SPOT, *, label: str,
              model: str | None = None, options: TrainOptions | None = None, bars: int = TRAINING_BARS, promote: bool = False,
              progress: Tell | None = None, on_fold: Callable[[dict[str, Any]], None] | None = None) -> Trained:
        """Train, judge, shelve. The first model of a slot serves at once; a later one only when promoted."""
        from data.labels import label_kind
        from models.challenger import beside
        from models.forecaster import default_forecaster, slot_name
        from models.train import TrainOptions, train
        from models.trials import Trial, study_name

        i, m = Interval.parse(str(interval)), Market.parse(str(market))
        candles, version = self._history(symbols, i, m, bars)
        names = tuple(candles)
        slot, shelf = slot_name(m, names, i, label), self.shelf  # before the work: a refusal after it would cost an hour
        study = study_name("train", str(m), "+".join(names), str(i), label)

        options, code = options or TrainOptions(), code_version(CODE)
        this = Trial(study, "train", {"model": model or default_forecaster(label_kind(label).task)} | options.document(), version, None, 0,
                     code=code)

        def deflated(daily: np.ndarray) -> float:
            from analysis.statistics import honesty

            own = honesty.Moments.of(daily)
            count, tried = self._ledger.others(study, this.key)  # this try is not written yet, and is one of them
            variance = honesty.variance_of_tries(np.append(tried, own.sharpe), tries=count + 1, periods=own.n)
            return honesty.deflated_sharpe(own, variance=variance, trials=float(count + 1))

        result = train(candles, label, model, options, progress=progress or (lambda done, total, words: None),
                       on_fold=on_fold or (lambda fold: None), deflated=deflated)
        self._ledger.record([result.trial(study, version, code)])
        result = replace(result, notes=(*result.notes, *self._searched(study, options, result)))
        serving = shelf.in_use(slot)
        compared = None if serving.model is None else beside(serving.model, serving.id, result)
        if compared is not None:
            result = replace(result, model=replace(result.model, metrics=dict(result.model.metrics) | {"beside": compared.document()}))
        number = shelf.add(slot, result.model, data_version=_shelved(version), code_version=code)
        first = shelf.champion(slot) is None
        if promote or first:
            shelf.promote(number, by="first of its slot" if first else "asked for at the training")
        return Trained(number, promote or first, result, compared)

    def _searched(self, study: str, options: TrainOptions, result: TrainResult) -> tuple[str, ...]:
        """Where parameters came from a search, and blocks are judged on history it has looked at: in words, for no figure shows it."""
        from models.tune import FIRST_SHARE

        own = dict(options.parameters).items()
        if not own or not any(own <= tried.items() for tried in self._ledger.parameters(study, "tune")):
            return ()
        start, end = (parse_time(str(result.model.config[n])) for n in ("start", "end"))
        until = iso(start + int(FIRST_SHARE * (end - start)))
        seen = sum(fold["start"] < until for fold in result.folds)
        if not seen:
            return ()
        return (f"its parameters were found on the history up to about {until[:10]}, and {seen} of {len(result.folds)} judged blocks begin "
                "before: they are not unseen. Judge by fewer blocks, or train on a longer history",)

    def tune(self, symbols: tuple[str, ...], interval: str | Interval, market: str | Market = Market.SPOT, *, label: str,
             model: str | None = None, options: TrainOptions | None = None, bars: int = TRAINING_BARS, trials: int = 50,
             progress: Tell | None = None) -> TuneResult:
        """Search parameters on the first part of the history; a killed search goes on where it was, for a week of candles."""
        from models.train import TrainOptions
        from models.trials import study_name
        from models.tune import tune

        i, m = Interval.parse(str(interval)), Market.parse(str(market))
        candles, version = self._history(symbols, i, m, bars)
        study = study_name("train", str(m), "+".join(candles), str(i), label)
        asked = {k: v for k, v in (options or TrainOptions()).document().items() if k not in ("seed", "threads")}
        week = max(int(c.close_time[-1]) if len(c) else 0 for c in candles.values()) // (7 * DAY_MS)
        told = hashlib.sha256(json.dumps([model, asked, bars, week], sort_keys=True).encode()).hexdigest()[:16]
        return tune(candles, label, model, options, storage=self._modelled / "tuning.sqlite", study=study, search=f"{study}/{told}",
                    ledger=self._ledger,
                    data_version=version, trials=trials, progress=progress or (lambda done, total, words: None))

    # -- the shelf --------------------------------------------------------------------------------------------------

    def models(self, slot: str | None = None) -> tuple[Entry, ...]:
        """Every version, with what it scored and whether it serves; kept while no file of the shelf changes."""
        shelf = self.shelf
        return self._entries_kept.get((self.world, slot, shelf.state(slot)), lambda: shelf.entries(slot))

    # -- saying, and what came of it --------------------------------------------------------------------------------

    def call(self, key: SeriesKey, label: str, *, at_ms: int | None = None) -> Call:
        """What the serving model says of the newest bar: its own symbol's, else the pooled one's."""
        found = self.serving(key, label)
        said = None if found.model is None else self.predicted(found.model, key, source=found.id, at_ms=at_ms)
        return Call(key, label, found.id, said, found.words, found.model)

    def serving(self, key: SeriesKey, label: str) -> InUse:
        """The model that serves a series: its own symbol's, else the pooled one's. Without one `words` says why."""
        from models.shelf import InUse

        words: list[str] = []
        for slot in self._slots(key, label):
            found = self.shelf.in_use(slot)
            words += found.words
            if found.model is not None:
                return InUse(found.id, found.model, tuple(words))
        return InUse("", None, tuple(words) or (f"no model of {key.symbol} {key.interval} {label} is on the shelf; train one, run: "
                                                f"python -m core train {key.symbol} --interval {key.interval} --label {label}",))

    def forecast_labels(self, key: SeriesKey) -> tuple[str, ...]:
        """Labels of direction that a model on the shelf forecasts for a series; the default label first."""
        from data.labels import DEFAULT_LABEL, LABELS

        there = [k.name for k in LABELS if k.task != "regression" and self._slots(key, k.name)]
        return tuple(sorted(there, key=lambda name: name != DEFAULT_LABEL))

    def forecast(self, key: SeriesKey, label: str, shown: Candles) -> ForecastLine:
        """What the serving model says of each of these bars of a series, from fits that had not seen them.

        Raises
        ------
        NoData
            When no model of the series is on the shelf, or it forecasts numbers.
        """
        from core.forecast_line import forecast_line
        from data.features import SERVING_BARS

        found = self.serving(key, label)
        if found.model is None:
            raise NoData(found.words[0])
        history, _ = self.rule_inputs(key, (), len(shown) + SERVING_BARS, at_ms=int(shown.close_time[-1]) + 1)
        return forecast_line(found.model, found.id, key, history, shown)

    def _slots(self, key: SeriesKey, label: str) -> list[str]:
        """Slots that know the symbol, the one of fewest symbols first."""
        found = []
        for slot in self.shelf.slots():
            market, rest = slot.split("-", 1)
            names, interval, kind = rest.rsplit("-", 2)
            if (market, interval, kind) == (str(key.market), str(key.interval), label) and key.symbol in names.split("+"):
                found.append((names.count("+"), slot))
        return [slot for _, slot in sorted(found)]

    def newest_row(self, model: TrainedModel, key: SeriesKey, *, at_ms: int | None = None) -> Rows:
        """The features of the newest closed bar, as serving makes them."""
        from data.features import SERVING_BARS
        from models.dataset import newest_rows

        horizon = int(model.config["horizon"])
        candles, _ = self.rule_inputs(key, (), SERVING_BARS + horizon, at_ms=at_ms)
        return newest_rows({key.symbol: candles}, horizon, features=model.features)

    def predicted(self, model: TrainedModel, key: SeriesKey, *, source: str = "", at_ms: int | None = None,
                  row: Rows | None = None) -> Prediction:
        """What a model says of the newest bar, with the right to abstain; drift counts where no past moment is asked for.

        `source` is the model's id: with it what it said before and how that went are part of the drift check.
        """
        drifted = self.drift_of(model, key, source).severe if at_ms is None else ()
        return model.predict(self.newest_row(model, key, at_ms=at_ms) if row is None else row, drifted=drifted)[0]

    def drift_of(self, model: TrainedModel, key: SeriesKey, source: str = "") -> DriftReport:
        """The newest rows against what the model was trained on; with the model's id also its recorded forecasts and losses."""
        from data.features import SERVING_BARS
        from models.dataset import make_rows
        from models.drift import drift

        candles = self.candles(key, bars=SERVING_BARS + DRIFT_ROWS)
        rows = make_rows({key.symbol: candles}, int(model.config["horizon"]), features=model.features)
        said, losses = self._said(source, key) if source else (None, None)
        return drift(model.reference, rows.take(slice(max(0, len(rows) - DRIFT_ROWS), None)), forecast=said, daily_loss=losses)

    def _said(self, source: str, key: SeriesKey) -> tuple[np.ndarray, np.ndarray]:
        """What a model was recorded to forecast of a series (newest 500), and its mean loss of each UTC day.

        A day counts with half of its bars graded: the mean of a few hours scatters more than those it is held against.
        """
        try:
            rows = [r for r in self.log.rows(symbol=key.symbol) if r.source == source and r.key == key]
        except SextantError:  # a damaged log is the Predictions tab's to tell; a call does not hang on it
            rows = []
        said = [max(r.content["probability"].items(), key=lambda p: int(p[0]))[1] if r.content["probability"] else r.content["mean"]
                for r in rows[-DRIFT_ROWS:]]
        days: dict[int, list[float]] = {}
        for r in rows:
            if r.settled is not None and (loss := r.settled["brier"] if "brier" in r.settled else r.settled.get("error")) is not None:
                days.setdefault(r.bar_ms // DAY_MS, []).append(loss if "brier" in r.settled else loss**2)
        enough = max(1.0, DAY_MS / key.interval.ms / 2)
        losses = [float(np.mean(found)) for _, found in sorted(days.items()) if len(found) >= enough]
        return np.array([v for v in said if v is not None], float), np.array(losses)

    def record_calls(self, keys: list[SeriesKey], label: str) -> dict[str, Any]:
        """Freeze what the serving models say now of each series, and grade what is due: what a scheduler runs after each close."""
        new = 0
        absent: list[str] = []
        for key in keys:
            rows = self.frozen_calls([key], label, absent=absent)
            with self.paper_ledger.transaction(self.clock.now_ms(), "predictions") as change:
                new += sum(change.add("predictions", row) for row in rows)
        return {"recorded": new, "graded": self.settle(), "absent": absent}

    def frozen_calls(self, keys: list[SeriesKey], label: str, *, at_ms: int | None = None,
                     absent: list[str] | None = None) -> list[dict[str, Any]]:
        """The rows of the ledger that freeze what the serving models say of each series; `absent` collects why one has none."""
        from data.labels import LabelConfig

        out = []
        for key in keys:
            said = self.call(key, label, at_ms=at_ms)
            if said.prediction is None or said.by is None:
                if absent is not None:
                    absent.append(f"{key.symbol}: {said.words[0]}")
                continue
            made = said.by.config
            base = {int(k): float(v) for k, v in (said.by.metrics.get("base_rate") or {}).items()}
            graded_by = LabelConfig(said.prediction.horizon, float(made["cost"]), least_return=float(made.get("least_return", 0.0)))
            out += self.log.frozen(key, said.model, label, [said.prediction], config=graded_by, code=code_version(CODE),
                                   data_version=self.reader.version(key), regime=self._regime(key), base_rate=base)
        return out

    def _regime(self, key: SeriesKey) -> str:
        """The word of module B where its card is known already."""
        card = self.known_card(key)
        return "" if card is None else next((r.label for r in card.reports if r.letter == "B"), "")

    def settle(self) -> int:
        """Grade every prediction whose time has come."""
        return self.log.settle(lambda key, start, end: self.reader.read(key, start, end))
