"""Has the world moved away from what the model was trained on? Features, forecasts and losses, each against its own noise.

Two alerts in a row propose a retraining; nothing is promoted by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.methods.psi import Stability, bins_of, effective_rows, population_stability
from analysis.statistics.multiplicity import benjamini_hochberg
from models.dataset import Rows

EVERY = 5  # rows between those the Kolmogorov-Smirnov test sees, to limit dependence
KS_LEVEL = 0.05
MEAN_SHIFT = 0.5  # in training deviations
DEVIATION_RATIO = (0.5, 2.0)
KEPT_QUANTILES = 401  # of each training feature: what a later comparison needs
CUSUM_SLACK, CUSUM_LIMIT = 0.5, 5.0
LEAST_ROWS = 100


@dataclass(frozen=True)
class Reference:
    """The training rows, as 401 quantiles, mean and deviation of each feature, and how the forecasts lay. `rows` are independent ones."""

    names: tuple[str, ...]
    quantiles: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    rows: np.ndarray
    forecast: np.ndarray
    loss_mean: float
    loss_deviation: float

    @classmethod
    def of(cls, rows: Rows, forecast: np.ndarray, daily_loss: np.ndarray) -> Reference:
        """`forecast`: out-of-fold probability of the highest class, or the mean; `daily_loss`: out-of-fold daily Brier or squared error."""
        level = np.linspace(0.0, 1.0, KEPT_QUANTILES)
        with np.errstate(invalid="ignore"):
            quantiles = np.nanquantile(rows.X, level, axis=0).T
        return cls(rows.names, quantiles, np.nanmean(rows.X, axis=0), np.nanstd(rows.X, axis=0),
                   np.array([effective_rows(x) for x in rows.X.T]),
                   np.quantile(forecast, level) if len(forecast) else np.empty(0),
                   float(daily_loss.mean()) if len(daily_loss) else math.nan, float(daily_loss.std()) if len(daily_loss) > 1 else math.nan)

    def document(self) -> dict[str, Any]:
        arrays = {n: getattr(self, n).tolist() for n in ("quantiles", "mean", "deviation", "rows", "forecast")}
        return {"names": list(self.names)} | arrays | {n: v if math.isfinite(v := getattr(self, n)) else None
                                                       for n in ("loss_mean", "loss_deviation")}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Reference:
        quantiles, mean, deviation, rows, forecast = (np.array(document[n], float)
                                                      for n in ("quantiles", "mean", "deviation", "rows", "forecast"))
        middle, spread = (math.nan if document[n] is None else float(document[n]) for n in ("loss_mean", "loss_deviation"))
        return cls(tuple(document["names"]), quantiles, mean, deviation, rows, forecast, middle, spread)


@dataclass(frozen=True)
class FeatureDrift:
    """One feature now against training. `shift` in training deviations; NaN where nothing is known."""

    name: str
    psi: float
    psi_limit: float
    ks_q: float
    shift: float
    deviation_ratio: float
    alert: bool
    severe: bool


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

    Alert of a feature: PSI above its null level, or a KS q-value below 5 % together with a mean shift above .5 deviations or a ratio of
    deviations outside [.5, 2]: with thousands of rows a KS test alone finds differences that do not matter. Severe: PSI above .25 and above
    its null level.
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
        alert = stable.alert or (bool(q[i] < KS_LEVEL) and moved)
        found.append(FeatureDrift(name, stable.psi, stable.limit, float(q[i]), shift, ratio, alert, stable.severe))
    said = population_stability(bins_of(reference.forecast), forecast, float(reference.rows.max()),
                                independent_rows=effective_rows(forecast)) \
        if forecast is not None and len(reference.forecast) else Stability(math.nan, math.nan, 0)
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
