"""The facade's verbs over models: features, labels, training, tuning, the shelf, predictions and how they went."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.badge import code_version
from core.trying import Trying
from data.errors import InputError, NoData
from data.frames import Candles
from data.market import Interval, Market, SeriesKey, parse_symbol

if TYPE_CHECKING:
    from core.paper.predictions import PredictionLog
    from models.drift import DriftReport
    from models.shelf import Entry, Shelf
    from models.train import TrainOptions, TrainResult
    from models.trained import Prediction, TrainedModel
    from models.tune import TuneResult

TRAINING_BARS = 20_000
DRIFT_ROWS = 500
CODE = ("data", "analysis", "models")
Tell = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Trained:
    """A finished training: where it was shelved, and whether it serves now."""

    id: str
    serves: bool
    result: TrainResult

    def document(self) -> dict[str, Any]:
        return {"id": self.id, "serves": self.serves} | self.result.document()


@dataclass(frozen=True)
class Call:
    """What the model of a slot says of the newest bar. Without a model `prediction` is None and `words` says why."""

    key: SeriesKey
    label: str
    model: str
    prediction: Prediction | None
    words: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        return {"symbol": self.key.symbol, "interval": str(self.key.interval), "market": str(self.key.market), "label": self.label,
                "model": self.model, "prediction": None if self.prediction is None else self.prediction.document(),
                "words": list(self.words)}


class Forecasting(Trying):
    """Verbs over models. Models and the ledger live below the home folder, apart for each world."""

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
        from core.paper.ledger import Ledger
        from core.paper.predictions import PredictionLog

        return PredictionLog(Ledger(self._modelled / "ledger.sqlite"), self.clock)

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
        keys = [self.key(s, interval, market) for s in dict.fromkeys(parse_symbol(s) for s in symbols)]
        if not keys:
            raise InputError("expected at least one symbol, e.g. BTCUSDT")
        return {k.symbol: self.candles(k, bars=bars) for k in keys}, "+".join(self.reader.version(k) for k in keys)

    def train(self, symbols: tuple[str, ...], interval: str | Interval, market: str | Market = Market.SPOT, *, label: str,
              model: str | None = None, options: TrainOptions | None = None, bars: int = TRAINING_BARS, promote: bool = False,
              progress: Tell | None = None, on_fold: Callable[[dict[str, Any]], None] | None = None) -> Trained:
        """Train, judge, shelve. The first model of a slot serves at once; a later one only when promoted."""
        from models.forecaster import slot_name
        from models.train import TrainOptions, train
        from models.trials import study_name

        i, m = Interval.parse(str(interval)), Market.parse(str(market))
        candles, version = self._history(symbols, i, m, bars)
        names = tuple(candles)
        study = study_name("train", str(m), "+".join(names), str(i), label)

        def deflated(daily: np.ndarray) -> float:
            from analysis.statistics import honesty

            tried = self._ledger.sharpes(study)
            variance = float(np.var(tried, ddof=1)) if len(tried) > 1 else 0.0
            return honesty.deflated_sharpe(honesty.Moments.of(daily), variance=variance, trials=float(max(self._ledger.count(study), 1)))

        result = train(candles, label, model, options or TrainOptions(), progress=progress or (lambda done, total, words: None),
                       on_fold=on_fold or (lambda fold: None), deflated=deflated)
        self._ledger.record([result.trial(study, version, code_version(CODE))])
        slot, shelf = slot_name(m, names, i, label), self.shelf
        number = shelf.add(slot, result.model, data_version=version[:64], code_version=code_version(CODE))
        first = shelf.champion(slot) is None
        if promote or first:
            shelf.promote(number, by="first of its slot" if first else "asked for at the training")
        return Trained(number, promote or first, result)

    def tune(self, symbols: tuple[str, ...], interval: str | Interval, market: str | Market = Market.SPOT, *, label: str,
             model: str | None = None, options: TrainOptions | None = None, bars: int = TRAINING_BARS, trials: int = 50,
             progress: Tell | None = None) -> TuneResult:
        """Search parameters on the first part of the history; a killed search goes on where it was."""
        from models.trials import study_name
        from models.tune import tune

        i, m = Interval.parse(str(interval)), Market.parse(str(market))
        candles, version = self._history(symbols, i, m, bars)
        study = study_name("train", str(m), "+".join(candles), str(i), label)
        return tune(candles, label, model, options, storage=self._modelled / "tuning.sqlite", study=study, ledger=self._ledger,
                    data_version=version[:64], trials=trials, progress=progress or (lambda done, total, words: None))

    # -- the shelf --------------------------------------------------------------------------------------------------

    def models(self, slot: str | None = None) -> tuple[Entry, ...]:
        """Every version, with what it scored and whether it serves."""
        return self.shelf.entries(slot)

    # -- saying, and what came of it --------------------------------------------------------------------------------

    def call(self, key: SeriesKey, label: str, *, at_ms: int | None = None) -> Call:
        """What the serving model says of the newest bar: its own symbol's, else the pooled one's."""
        words: list[str] = []
        for slot in self._slots(key, label):
            found = self.shelf.in_use(slot)
            words += found.words
            if found.model is not None:
                return Call(key, label, found.id, self._predicted(found.model, key, at_ms), tuple(found.words))
        return Call(key, label, "", None, tuple(words) or (f"no model of {key.symbol} {key.interval} {label} is on the shelf; train one",))

    def _slots(self, key: SeriesKey, label: str) -> list[str]:
        """Slots that know the symbol, the one of fewest symbols first."""
        found = []
        for slot in self.shelf.slots():
            market, rest = slot.split("-", 1)
            names, interval, kind = rest.rsplit("-", 2)
            if (market, interval, kind) == (str(key.market), str(key.interval), label) and key.symbol in names.split("+"):
                found.append((names.count("+"), slot))
        return [slot for _, slot in sorted(found)]

    def _predicted(self, model: TrainedModel, key: SeriesKey, at_ms: int | None) -> Prediction:
        from data.features import SERVING_BARS
        from models.dataset import newest_rows

        candles, _ = self.rule_inputs(key, (), SERVING_BARS + int(model.config["horizon"]), at_ms=at_ms)
        rows = newest_rows({key.symbol: candles}, int(model.config["horizon"]), features=tuple(model.config["features"]))
        drifted = self.drift_of(model, key).severe if at_ms is None else ()
        return model.predict(rows, drifted=drifted)[0]

    def drift_of(self, model: TrainedModel, key: SeriesKey) -> DriftReport:
        """The newest rows against what the model was trained on."""
        from data.features import SERVING_BARS
        from models.dataset import make_rows
        from models.drift import drift

        candles = self.candles(key, bars=SERVING_BARS + DRIFT_ROWS)
        rows = make_rows({key.symbol: candles}, int(model.config["horizon"]), features=tuple(model.config["features"]))
        return drift(model.reference, rows.take(slice(max(0, len(rows) - DRIFT_ROWS), None)))

    def record_calls(self, keys: list[SeriesKey], label: str) -> dict[str, Any]:
        """Freeze what the serving models say now of each series, and grade what is due: what a scheduler runs after each close."""
        from data.labels import LabelConfig

        new, absent = 0, []
        for key in keys:
            said = self.call(key, label)
            if said.prediction is None:
                absent.append(f"{key.symbol}: {said.words[0]}")
                continue
            base = {int(k): float(v) for k, v in (self.shelf.load(said.model).metrics.get("base_rate") or {}).items()}
            new += self.log.record(key, said.model, label, [said.prediction], config=LabelConfig(horizon=said.prediction.horizon),
                                   code=code_version(CODE), data_version=self.reader.version(key), regime=self._regime(key),
                                   base_rate=base)
        return {"recorded": new, "graded": self.settle(), "absent": absent}

    def _regime(self, key: SeriesKey) -> str:
        """The word of module B where its card is known already."""
        card = self.known_card(key)
        return "" if card is None else next((r.label for r in card.reports if r.letter == "B"), "")

    def settle(self) -> int:
        """Grade every prediction whose time has come."""
        return self.log.settle(lambda key, start, end: self.reader.read(key, start, end))
