"""What every forecaster is: fit on a dataset, forecast rows, explain rows, be written as plain files and read back.

FORECASTERS is the registry. A row names the class; it is imported on first use, so that listing the models loads no library.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from data.errors import DataError, InputError
from data.market import Interval, Market, did_you_mean, parse_symbol
from models.dataset import DECAY_DAYS, Dataset, Rows

ADDITIVE = 1e-6  # contributions and base must sum to the raw forecast this closely, as a share of one above 1
LEAST_PROBABILITY = 1e-6


class NotAdditive(DataError):
    """Contributions do not sum to the forecast: the explanation would be about another model."""


@dataclass(frozen=True)
class Forecast:
    """What is expected for some rows. Classes have probabilities; numbers have a mean and quantiles by level.

    `probability` has shape (rows, classes) and rows that sum to 1; `mean` and each quantile shape (rows,). What a kind does not have is
    empty. NaN where the forecaster knows nothing.
    """

    close_time: np.ndarray
    horizon: int
    classes: tuple[int, ...] = ()
    probability: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    mean: np.ndarray = field(default_factory=lambda: np.empty(0))
    quantiles: Mapping[float, np.ndarray] = field(default_factory=dict)

    def of(self, outcome: int) -> np.ndarray:
        """Probability of one class."""
        return self.probability[:, self.classes.index(outcome)]


@dataclass(frozen=True)
class Explanation:
    """Contributions to the raw output (log-odds of each class, or the number itself).

    `values` has shape (rows, outputs, features), `base` and `raw` (rows, outputs); values summed over features plus base are raw.
    """

    names: tuple[str, ...]
    outputs: tuple[str, ...]
    values: np.ndarray
    base: np.ndarray
    raw: np.ndarray

    def __post_init__(self) -> None:
        error = float(np.max(np.abs(self.values.sum(axis=2) + self.base - self.raw), initial=0.0))
        most = ADDITIVE * max(1.0, float(np.abs(self.raw).max(initial=0.0)))  # numbers of a label may be large, log-odds never are
        if not error <= most:
            raise NotAdditive(f"contributions miss the raw forecast by {error:.3g}, at most {most:g} is rounding")


@dataclass(frozen=True)
class FitOptions:
    """How to fit. `parameters` override the model's own defaults by name."""

    seed: int = 7
    threads: int = 1
    class_weights: bool = True
    decay_days: float = DECAY_DAYS
    parameters: Mapping[str, Any] = field(default_factory=dict)


class Fitted(Protocol):
    """A forecaster that has learned."""

    def forecast(self, rows: Rows) -> Forecast: ...

    def explain(self, rows: Rows) -> Explanation: ...

    def files(self) -> dict[str, bytes]: ...


@dataclass(frozen=True)
class Forecaster:
    """One row of the registry. `tasks`: regression, binary, three; `place`: module and class; `baseline`: what others must beat."""

    name: str
    title: str
    tasks: tuple[str, ...]
    place: str
    baseline: bool = False
    explains: bool = True

    def _class(self) -> Any:
        module, _, name = self.place.partition(":")
        return getattr(importlib.import_module(module), name)

    def fit(self, data: Dataset, options: FitOptions | None = None) -> Fitted:
        if data.task not in self.tasks:
            raise InputError(f"{self.name} answers {', '.join(self.tasks)} labels, {data.label} is {data.task}; choose another of the two")
        return self._class().fit(data, options or FitOptions())

    def load(self, files: Mapping[str, bytes]) -> Fitted:
        """From files whose hashes the caller has proven."""
        return self._class().load(files)


BOTH, NUMBER = ("binary", "three"), ("regression",)
FORECASTERS = (
    Forecaster("lgbm", "LightGBM classifier, 300 trees", BOTH, "models.lgbm:BoostedClassifier"),
    Forecaster("lgbm_regressor", "LightGBM regressor, Huber loss", NUMBER, "models.lgbm:BoostedRegressor"),
    Forecaster("logistic", "logistic regression", BOTH, "models.baselines:Logistic", baseline=True),
    Forecaster("prior", "class frequencies", BOTH, "models.baselines:Prior", baseline=True, explains=False),
    Forecaster("last_sign", "class frequencies after a rise or fall", BOTH, "models.baselines:LastSign", baseline=True, explains=False),
    Forecaster("zero", "no change", NUMBER, "models.baselines:Zero", baseline=True, explains=False),
    Forecaster("last_value", "the last move again", NUMBER, "models.baselines:LastValue", baseline=True, explains=False),
    Forecaster("arima", "ARIMA(1,0,1) of the returns", NUMBER, "models.baselines:Arima", baseline=True, explains=False),
    Forecaster("ensemble_mean", "mean calibrated log-odds of LightGBM and logistic", BOTH, "models.ensembles:MeanEnsemble", explains=False),
    Forecaster("ensemble_dynamic", "LightGBM and logistic, weighed by recent loss", BOTH, "models.ensembles:DynamicEnsemble",
               explains=False),
    Forecaster("ensemble_stack", "LightGBM and logistic, stacked out of fold", BOTH, "models.ensembles:Stacking", explains=False),
    Forecaster("ensemble_bag", "LightGBM bagged over five block samples", BOTH, "models.ensembles:Bagging"),
)


def forecaster(name: str) -> Forecaster:
    """
    Raises
    ------
    InputError
        When there is no forecaster of that name.
    """
    found = next((f for f in FORECASTERS if f.name == name), None)
    if found is None:
        names = [f.name for f in FORECASTERS]
        raise InputError(f"expected a model ({', '.join(names)}), got {name[:30]!r}{did_you_mean(name, names)}")
    return found


def default_forecaster(task: str) -> str:
    return "lgbm_regressor" if task == "regression" else "lgbm"


def baselines_of(task: str) -> tuple[str, ...]:
    """What a model of this task is always shown beside."""
    return tuple(f.name for f in FORECASTERS if f.baseline and task in f.tasks)


MOST_NAMES = 120
_SLOT = re.compile(r"^(spot|perp)-[A-Z0-9_+]{2,120}-[0-9]{1,2}[mhdw]-[a-z0-9_]{1,40}$")


def slot_name(market: Market, symbols: tuple[str, ...], interval: Interval, label: str) -> str:
    """`spot-BTCUSDT-1h-dir3_dyn`: where versions of one model stand. Pooled symbols are joined by a plus sign, sorted.

    Raises
    ------
    InputError
        For more symbols than a folder's name holds.
    """
    names = "+".join(sorted(parse_symbol(s) for s in symbols))
    if len(names) > MOST_NAMES:
        raise InputError(f"{len(symbols)} symbols are too many for one model: their names take {len(names)} characters of at most "
                         f"{MOST_NAMES}; pool fewer of them")
    return checked_slot(f"{market.value}-{names}-{interval.value}-{label}")


def checked_slot(slot: str) -> str:
    """
    Raises
    ------
    InputError
        When the text is not a slot: it becomes part of a path.
    """
    if not _SLOT.match(slot):
        raise InputError(f"expected a slot such as spot-BTCUSDT-1h-dir3_dyn, got {slot[:60]!r}")
    return slot


def matrix(rows: Rows, names: tuple[str, ...]) -> np.ndarray:
    """The feature matrix in the model's own order.

    Raises
    ------
    InputError
        When the rows have other features, or the same in another order: the model would read one for another.
    """
    if rows.names != names:
        missing, other = [n for n in names if n not in rows.names], [n for n in rows.names if n not in names]
        words = f"missing {', '.join(missing[:5])}" if missing else f"unknown {', '.join(other[:5])}" if other else "in another order"
        raise InputError(f"the model was trained on {len(names)} features, it got {len(rows.names)}, {words}; make the rows with its list")
    return rows.X
