"""A new model beside the one that serves, on rows neither has learned from (methods.md 6).

The challenger answers by its walk-forward blocks. The champion answers as it is for rows that came after its training, and by the blocks
of its own training for those before (numbers: not at all, their blocks are not kept).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.clock import parse_time
from data.market import DAY_MS
from models import evaluate
from models.dataset import Dataset
from models.evaluate import CALIBRATED_WITHIN, challenger_p_value
from models.train import TrainResult
from models.trained import TrainedModel, plain

NEWEST_DAYS = 90
LEVEL = 0.10
FEWEST = 48  # rows below which nothing is said


@dataclass(frozen=True)
class Beside:
    """Mean losses of both (log loss, or mean squared error), how likely the challenger's advantage is luck, and what follows in words.

    `p` is NaN where there are too few rows; `calibration` holds the excess error of champion and challenger, empty for numbers.
    """

    champion: str
    rows: int
    champion_loss: float
    challenger_loss: float
    p: float
    calibration: tuple[float, ...]
    better: bool
    words: str

    def document(self) -> dict[str, Any]:
        return dict(plain({n: getattr(self, n) for n in self.__dataclass_fields__}))


def beside(champion: TrainedModel, champion_id: str, result: TrainResult) -> Beside:
    """Both on the newest 90 days of the challenger's out-of-fold rows for which the champion has an honest forecast.

    Better: a paired block-bootstrap p-value below .1 and a calibration that is not worse by more than what counts as calibrated.
    """
    held, kind = result.out_of_fold, result.model.kind
    data = held.data
    same = (champion.config["label"], champion.config["horizon"], champion.config["interval"], float(champion.config["cost"]),
            set(champion.config["symbols"])) == (data.label, data.horizon, data.rows.interval.value, data.cost, set(data.rows.symbols))
    if not same or champion.features != data.rows.names:
        return _nothing(champion_id, 0, "they were asked different things: another horizon, interval or cost, other symbols or features")
    if result.model.config["options"]["mode"] == "cpcv":
        return _nothing(champion_id, 0, "the challenger was judged by splits that look both ways in time; train it walk-forward")
    learned = parse_time(str(champion.config.get("learned_until") or champion.config["end"]))
    rows = np.flatnonzero(held.judged & (data.t0 > int(data.t0.max()) - NEWEST_DAYS * DAY_MS))
    part = data.take(rows)
    own = held.calibrated.get(kind, held.forecasts[kind])[rows]
    fresh = part.t0 > learned
    theirs = _champions(champion, part, fresh)
    there = np.isfinite(theirs.reshape(len(rows), -1)).all(axis=1)
    part, own, theirs, fresh = part.take(np.flatnonzero(there)), own[there], theirs[there], fresh[there]
    if len(part) < FEWEST:
        return _nothing(champion_id, len(part), f"only {len(part)} rows that neither had learned from (needs {FEWEST}): too few to tell "
                                                "them apart")
    excess: tuple[float, ...] = ()
    if part.classes:
        codes = part.codes()
        first, second = evaluate.log_losses(theirs, codes), evaluate.log_losses(own, codes)
        excess = (evaluate.calibration_error(theirs, codes, horizon=part.horizon)["excess"],
                  evaluate.calibration_error(own, codes, horizon=part.horizon)["excess"])
    else:
        first, second = (part.y - theirs) ** 2, (part.y - own) ** 2
    p = challenger_p_value(first, second, horizon=part.horizon * len(part.rows.symbols))
    worse = len(excess) == 2 and excess[1] > excess[0] + CALIBRATED_WITHIN
    better = p < LEVEL and not worse
    follows = ("it may be promoted" if better else "its calibration is worse: not promoted by the rule" if p < LEVEL
               else "not shown to be better")
    since = int(fresh.sum())
    words = (f"on {len(part):,} rows neither had learned from ({since:,} since the champion's training), "
             f"loss {evaluate.figure(second.mean())} against {evaluate.figure(first.mean())} of the champion, p = {p:.2f}: {follows}")
    return Beside(champion_id, len(part), float(first.mean()), float(second.mean()), p, excess, better, words)


def _champions(champion: TrainedModel, part: Dataset, fresh: np.ndarray) -> np.ndarray:
    """The champion's honest forecasts of these rows: probabilities (rows, classes) or means; NaN where it has none."""
    said = champion.forecast(part.rows)
    if not part.classes:
        return np.where(fresh, said.mean, np.nan)
    past = np.full(said.probability.shape, np.nan)
    if champion.past is not None:
        for number, symbol in enumerate(part.rows.symbols):
            mine = np.flatnonzero(part.rows.symbol == number)
            past[mine] = champion.past.at(list(champion.config["symbols"]).index(symbol), part.t0[mine])
    return np.where(fresh[:, None], said.probability, past)


def _nothing(champion_id: str, rows: int, words: str) -> Beside:
    return Beside(champion_id, rows, math.nan, math.nan, math.nan, (), False, words)
