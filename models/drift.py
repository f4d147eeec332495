"""Has the world moved away from what the model was trained on? Features, forecasts and losses, each against its own noise.

What counts as noise is measured, not assumed: the training itself is cut into windows of 500 rows, and the highest stability index any of
them shows against the whole is what the world does without having changed. Counting rows as independent would call every slow
feature drifted; discounting them by their autocorrelation leaves so few that nothing could ever be. Two alerts in a row propose a
retraining; nothing is promoted by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from analysis.methods.psi import ALERT, SEVERE, SMALLEST, Stability, bins_of, effective_rows, population_stability
from analysis.statistics.multiplicity import benjamini_hochberg
from models.dataset import Rows

EVERY = 5  # rows between those the Kolmogorov-Smirnov test sees, to limit dependence
KS_LEVEL = 0.05
MEAN_SHIFT = 0.5  # in training deviations
DEVIATION_RATIO = (0.5, 2.0)
KEPT_QUANTILES = 401  # of each training feature: what a later comparison needs
CUSUM_SLACK, CUSUM_LIMIT = 0.5, 5.0
LEAST_ROWS = 100
WINDOW, STEP = 500, 125  # rows of a training window and between two of them
LEAST_WINDOWS = 20  # below it the highest says little: the null level of independent rows is used
BEYOND = 1.5  # times the highest index of any training window: severe
MOST = 8.0  # all rows in one bin of ten give 8.3


@dataclass(frozen=True)
class Reference:
    """The training rows, as 401 quantiles, mean and deviation of each feature, and how the forecasts lay. `rows` are independent ones.

    `highest` is the largest index of any training window against the whole, by feature; NaN where there were too few windows.
    """

    names: tuple[str, ...]
    quantiles: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    rows: np.ndarray
    forecast: np.ndarray
    loss_mean: float
    loss_deviation: float
    highest: np.ndarray = field(default_factory=lambda: np.empty(0))
    forecast_highest: float = math.nan

    @classmethod
    def of(cls, rows: Rows, forecast: np.ndarray, daily_loss: np.ndarray, *, forecast_symbol: np.ndarray | None = None) -> Reference:
        """`forecast`: out-of-fold probability of the highest class, or the mean, in time order, and the symbol of each row (None: one
        symbol); `daily_loss`: out-of-fold daily Brier or squared error. What is NaN in either was not forecast and does not count.
        """
        level = np.linspace(0.0, 1.0, KEPT_QUANTILES)
        with np.errstate(invalid="ignore"):
            quantiles = np.nanquantile(rows.X, level, axis=0).T
        of_symbol = np.zeros(len(forecast), np.int64) if forecast_symbol is None else forecast_symbol
        known = np.isfinite(forecast)
        forecast, of_symbol, daily_loss = forecast[known], of_symbol[known], daily_loss[np.isfinite(daily_loss)]
        said = np.quantile(forecast, level) if len(forecast) else np.empty(0)
        return cls(rows.names, quantiles, np.nanmean(rows.X, axis=0), np.nanstd(rows.X, axis=0),
                   np.array([effective_rows(x) for x in rows.X.T]), said,
                   float(daily_loss.mean()) if len(daily_loss) else math.nan, float(daily_loss.std()) if len(daily_loss) > 1 else math.nan,
                   np.array([highest_index(q, x, rows.symbol) for q, x in zip(quantiles, rows.X.T, strict=True)]),
                   highest_index(said, forecast, of_symbol) if len(forecast) else math.nan)

    def document(self) -> dict[str, Any]:
        arrays = {n: getattr(self, n).tolist() for n in ("quantiles", "mean", "deviation", "rows", "forecast")}
        numbers = {n: _number(getattr(self, n)) for n in ("loss_mean", "loss_deviation", "forecast_highest")}
        return {"names": list(self.names)} | arrays | numbers | {"highest": [_number(v) for v in self.highest.tolist()]}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Reference:
        quantiles, mean, deviation, rows, forecast = (np.array(document[n], float)
                                                      for n in ("quantiles", "mean", "deviation", "rows", "forecast"))
        middle, spread, most = (math.nan if document.get(n) is None else float(document[n])
                                for n in ("loss_mean", "loss_deviation", "forecast_highest"))
        highest = np.array([math.nan if v is None else v for v in document.get("highest", ())], float)  # older models have none
        return cls(tuple(document["names"]), quantiles, mean, deviation, rows, forecast, middle, spread, highest, most)


def highest_index(quantiles: np.ndarray, x: np.ndarray, symbol: np.ndarray) -> float:
    """The largest stability index of any window of 500 rows of one symbol against the whole; NaN below 20 windows."""
    edges, share = bins_of(quantiles)
    if not len(edges):
        return math.nan
    found = []
    for number in np.unique(symbol):
        own = x[symbol == number]
        code, known = np.searchsorted(edges, own, side="left"), np.isfinite(own)
        total = np.zeros((len(own) + 1, len(edges) + 1))
        total[1:][known, code[known]] = 1.0
        np.cumsum(total, axis=0, out=total)
        start = np.arange(0, len(own) - WINDOW + 1, STEP)
        counts = total[start + WINDOW] - total[start]
        rows = counts.sum(axis=1, keepdims=True)
        whole = rows[:, 0] >= WINDOW / 2
        q, p = np.maximum(counts[whole] / rows[whole], SMALLEST), np.maximum(share, SMALLEST)
        found.append(((q - p) * np.log(q / p)).sum(axis=1))
    index = np.concatenate(found)
    return float(index.max()) if len(index) >= LEAST_WINDOWS else math.nan


def _levels(stable: Stability, highest: float) -> tuple[float, float]:
    """Index above which a sample has moved, and above which it has moved severely."""
    if not math.isfinite(highest):
        return stable.limit, max(SEVERE, stable.limit)
    highest *= max(1.0, WINDOW / max(stable.rows, 1))  # fewer rows than a window scatter more
    return max(ALERT, highest), max(SEVERE, highest, min(BEYOND * highest, MOST))


@dataclass(frozen=True)
class FeatureDrift:
    """One feature now against training. `shift` in training deviations; NaN where nothing is known.

    `psi_limit`, `severe_limit`: the index above which it moved, and moved severely.
    """

    name: str
    psi: float
    psi_limit: float
    ks_q: float
    shift: float
    deviation_ratio: float
    alert: bool
    severe: bool
    severe_limit: float = math.nan


@dataclass(frozen=True)
class DriftReport:
    """`severe` names the features that forbid a call; `alert` says that something moved; `loss_alert` that the model got worse."""

    features: tuple[FeatureDrift, ...]
    forecast: Stability
    loss_alert: bool
    alert: bool
    severe: tuple[str, ...]
    words: str

    def document(self) -> dict[str, Any]:
        return {"alert": self.alert, "severe": list(self.severe), "loss_alert": self.loss_alert, "words": self.words,
                "forecast_psi": _number(self.forecast.psi), "features": [{n: _number(getattr(f, n)) for n in f.__dataclass_fields__}
                                                                         for f in self.features]}


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def drift(reference: Reference, rows: Rows, *, forecast: np.ndarray | None = None, daily_loss: np.ndarray | None = None) -> DriftReport:
    """Recent rows (in time order, with the training's features) against the training.

    Alert of a feature: PSI above .10 and above the highest of any training window, or a KS q-value below 5 % together with a mean shift
    above .5 deviations or a ratio of deviations outside [.5, 2]: with thousands of rows a KS test alone finds differences that do not
    matter. Severe: PSI above .25 and above 1.5 times the highest of any training window. `forecast` and `daily_loss` are what the model
    said and how it went since, from the record of predictions.

    On worlds that never change a check of 37 features finds a severe one in 1.7 % of windows and any alert in 8 %.
    """
    n = len(rows)
    if n < LEAST_ROWS:
        return DriftReport((), Stability(math.nan, math.nan, n), False, False, (), f"{n} rows: drift needs {LEAST_ROWS}")
    p = np.array([_ks(reference.quantiles[i], reference.rows[i], rows.column(name)) for i, name in enumerate(reference.names)])
    q = benjamini_hochberg(p)
    found = []
    for i, name in enumerate(reference.names):
        x = rows.column(name)
        x = x[np.isfinite(x)]
        stable = population_stability(bins_of(reference.quantiles[i]), x, reference.rows[i], independent_rows=effective_rows(x))
        spread = reference.deviation[i]
        shift = float((x.mean() - reference.mean[i]) / spread) if len(x) and spread > 0 else math.nan
        ratio = float(x.std() / spread) if len(x) and spread > 0 else math.nan
        moved = abs(shift) > MEAN_SHIFT or not DEVIATION_RATIO[0] <= ratio <= DEVIATION_RATIO[1] if math.isfinite(shift) else False
        level, severe_level = _levels(stable, float(reference.highest[i]) if len(reference.highest) else math.nan)
        alert = stable.psi > level or (bool(q[i] < KS_LEVEL) and moved)
        found.append(FeatureDrift(name, stable.psi, level, float(q[i]), shift, ratio, alert, stable.psi > severe_level, severe_level))
    said = population_stability(bins_of(reference.forecast), forecast, float(reference.rows.max()),
                                independent_rows=effective_rows(forecast)) \
        if forecast is not None and len(forecast) >= LEAST_ROWS and len(reference.forecast) else Stability(math.nan, math.nan, 0)
    said = replace(said, limit=_levels(said, reference.forecast_highest)[0])
    worse = bool(daily_loss is not None and loss_cusum(reference, daily_loss)[-1:].max(initial=0.0) > CUSUM_LIMIT)
    severe = tuple(f.name for f in sorted(found, key=lambda f: -f.psi if math.isfinite(f.psi) else 0.0) if f.severe)
    alerts = [f.name for f in found if f.alert]
    words = [f"{len(alerts)} of {len(found)} features moved" + (f" ({', '.join(alerts[:3])})" if alerts else "")]
    words += ["forecasts are distributed otherwise"] if said.alert else []
    words += ["losses rose (CUSUM)"] if worse else []
    return DriftReport(tuple(found), said, worse, bool(alerts) or said.alert or worse, severe, "; ".join(words))


def _ks(quantiles: np.ndarray, rows: float, x: np.ndarray) -> float:
    """Two-sample Kolmogorov-Smirnov p-value of every fifth row against the kept training quantiles, asymptotic, on independent rows."""
    known = np.sort(x[np.isfinite(x)][::EVERY])
    m, n = min(len(known), effective_rows(x)), rows
    if len(known) < 10 or not np.ptp(quantiles) > 0:
        return math.nan
    level = np.linspace(0.0, 1.0, len(quantiles))
    unique, first = np.unique(quantiles, return_index=True)
    last = np.append(first[1:], len(quantiles)) - 1
    reference = np.interp(known, unique, level[last], left=0.0, right=1.0)
    before = np.interp(known, unique, level[first], left=0.0, right=1.0)
    upper = (np.searchsorted(known, known, side="right") / len(known)) - reference
    lower = before - np.searchsorted(known, known, side="left") / len(known)
    distance = max(0.0, float(upper.max()), float(lower.max()))
    from scipy.special import kolmogorov

    return float(kolmogorov(distance * math.sqrt(m * n / (m + n))))


def loss_cusum(reference: Reference, daily_loss: np.ndarray) -> np.ndarray:
    """One-sided CUSUM of daily losses, standardised by the out-of-fold ones: `S = max(0, S + z - .5)`; above 5 is an alarm (Page 1954)."""
    if not reference.loss_deviation > 0:
        return np.zeros(len(daily_loss))
    out, total = np.zeros(len(daily_loss)), 0.0
    for i, loss in enumerate(daily_loss):
        total = max(0.0, total + (loss - reference.loss_mean) / reference.loss_deviation - CUSUM_SLACK)
        out[i] = total
    return out


def retrain_proposed(alerts: list[bool]) -> bool:
    """Two alerts in a row, newest last."""
    return len(alerts) >= 2 and alerts[-1] and alerts[-2]
