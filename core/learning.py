"""The facade's verbs that keep models young: weekly retraining as challengers, and the four models of the next twenty candles."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.badge import code_version
from core.forecasting import CODE, TRAINING_BARS, Tell, Trained
from core.jobs import Cancelled
from core.trying import Trying
from data.clock import parse_time
from data.errors import NoData, SextantError
from data.market import DAY_MS, Interval, Market, SeriesKey
from data.storage.durable import no_fault, replace_file

if TYPE_CHECKING:
    from models.path import PathForecast
    from models.shelf import Entry, Shelf
    from models.train import TrainOptions

EVERY_DAYS = 7
KEPT_ALERTS = 30
PATH_BARS = 10_000


@dataclass(frozen=True)
class Retrained:
    """One slot's turn: a new challenger, or in words why there is none."""

    slot: str
    trained: Trained | None
    words: str

    def document(self) -> dict[str, Any]:
        found = self.trained
        return {"slot": self.slot, "words": self.words, "id": "" if found is None else found.id,
                "beside": None if found is None or found.beside is None else found.beside.document()}


class Learning(Trying):
    """Verbs a scheduler runs, and the path of the next candles. Nothing here promotes a model over another."""

    def retrain(self, *, every_days: float = EVERY_DAYS, progress: Tell | None = None) -> tuple[Retrained, ...]:
        """Train anew, as it was trained, every slot whose newest version is a week old or whose market has drifted twice in a row.

        The new version is a challenger: it serves only after somebody promotes it. A slot that fails is reported and the rest go on.
        """
        slots, out = self.shelf.slots(), []
        for number, slot in enumerate(slots):
            def told(done: int, total: int, words: str, number: int = number, slot: str = slot) -> None:
                if progress is not None:
                    progress(number * total + done, len(slots) * total, f"{slot}: {words}")

            try:
                out.append(self._retrained(slot, every_days, told))
            except Cancelled:  # the user's stop is not a slot's fault
                raise
            except SextantError as error:
                out.append(Retrained(slot, None, str(error)))
        return tuple(out)

    def _retrained(self, slot: str, every_days: float, told: Callable[[int, int, str], None]) -> Retrained:
        from models.drift import retrain_proposed
        from models.train import TrainOptions

        sound = [e for e in self.shelf.entries(slot) if not e.fault]
        if not sound:
            return Retrained(slot, None, "no version can be read; train it by hand")
        newest, config = sound[0], sound[0].config
        key = self.key(config["symbols"][0], config["interval"], slot.split("-", 1)[0])
        proposed = retrain_proposed(self._alerts(slot, newest, key))
        age = (self.clock.now_ms() - newest.created_ms) / DAY_MS
        if age < every_days and not proposed:
            return Retrained(slot, None, f"{newest.id} is {age:.1f} days old: young enough")
        if self.data_version(config["symbols"], config["interval"], key.market) == newest.data_version:
            return Retrained(slot, None, f"no candle is newer than {newest.id}; back-fill or collect first")
        given: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in config["options"].items()
                                 if n in TrainOptions.__dataclass_fields__}
        each = int(config["rows"]) // len(config["symbols"]) + int(config["horizon"]) + 1
        bars = int(config.get("bars") or (each if given["sampling"] == "all" else TRAINING_BARS))  # of each symbol; older ones do not say
        done = self.train(tuple(config["symbols"]), key.interval, key.market, label=config["label"], model=newest.kind,
                          options=TrainOptions(**given), bars=bars, progress=told)
        why = "the market had drifted twice in a row" if proposed and age < every_days else f"{newest.id} was {age:.1f} days old"
        return Retrained(slot, done, f"{why}; {done.id} is new" + (f": {done.beside.words}" if done.beside else ""))

    def _alerts(self, slot: str, entry: Entry, key: SeriesKey) -> list[bool]:
        """Drift alerts of the version that would be replaced, one a UTC day, today's added; kept beside the shelf."""
        path = self._modelled / "watch.json"
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            days = {str(int(day)): alert is True for day, alert in kept.get(slot, {}).items()} if kept.get(f"{slot} of") == entry.id else {}
        except (OSError, ValueError, AttributeError, TypeError):
            kept, days = {}, {}  # a lost record costs one day of waiting
        today = str(self.clock.now_ms() // DAY_MS)
        days[today] = self.drift_of(self.shelf.load(entry.id), key, entry.id).alert
        days = dict(sorted(days.items(), key=lambda item: int(item[0]))[-KEPT_ALERTS:])
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps(kept | {slot: days, f"{slot} of": entry.id}).encode(), no_fault, "watch")
        return list(days.values())

    # -- the next twenty candles ------------------------------------------------------------------------------------

    @property
    def _paths(self) -> Shelf:
        """Path models stand apart: four of them are one answer, and none serves a signal."""
        from models.shelf import Shelf

        return Shelf(self._modelled / "paths", self.clock)

    def train_path(self, key: SeriesKey, *, options: TrainOptions | None = None, bars: int = PATH_BARS,
                   progress: Tell | None = None) -> str:
        """Train the models of 1, 5, 10 and 20 bars of one series and let them answer; returns what was learned from, in words."""
        from models.path import train_path
        from models.train import TrainOptions

        candles = self.candles(key, bars=bars)
        found = train_path({key.symbol: candles}, options=options or TrainOptions(mode="quick", baselines=()),
                           progress=progress or (lambda done, total, words: None))
        for horizon, result in found.items():
            number = self._paths.add(_path_slot(key, horizon), result.model, data_version=self.reader.version(key)[:64],
                                     code_version=code_version(CODE))
            self._paths.promote(number, by="asked for")
        return f"{len(found)} models of {key.symbol} {key.interval}, {len(candles):,} bars"

    def path(self, key: SeriesKey, *, at_ms: int | None = None) -> PathForecast:
        """Where the next twenty candles may go; without models its points are empty and its words say what to do."""
        from data.features import SERVING_BARS
        from models.path import HORIZONS, PathForecast, forecast_path

        models, faults = {}, []
        for horizon in HORIZONS:
            found = self._paths.in_use(_path_slot(key, horizon))
            if found.model is None:
                faults.append(found.words[0])
            else:
                models[horizon] = found.model
        candles, _ = self.rule_inputs(key, (), SERVING_BARS + max(HORIZONS), at_ms=at_ms)
        if not len(candles):
            raise NoData(f"no candle of {key} is known; back-fill it on the Data page")
        if len(models) < len(HORIZONS):
            word = "damaged: " + faults[0] if any("check" in f for f in faults) else "no path model"
            return PathForecast(key.symbol, int(candles.close_time[-1]), float(candles.close[-1]), (), 0.0,
                                f"{word} of {key.symbol} {key.interval}; train the four, run: python -m core forecast {key.symbol} "
                                f"--interval {key.interval} --train")
        learned = max(str(m.config.get("learned_until") or m.config["end"]) for m in models.values())
        if int(candles.close_time[-1]) < parse_time(learned):
            return PathForecast(key.symbol, int(candles.close_time[-1]), float(candles.close[-1]), (), 0.0,
                                f"the path models of {key.symbol} {key.interval} have learned from everything up to {learned}: of an "
                                "earlier bar they know what came of it, so that is no forecast; ask about a later one")
        return forecast_path(models, key.symbol, candles)


def _path_slot(key: SeriesKey, horizon: int) -> str:
    from models.forecaster import slot_name
    from models.path import LABEL

    return slot_name(Market.parse(str(key.market)), (key.symbol,), Interval.parse(str(key.interval)), f"{LABEL}_h{horizon}")
