"""What a model must beat: class frequencies, the last sign, logistic regression; no change, the last move again, ARIMA(1,0,1).

Their parameters are plain JSON; forecasting needs numpy alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from data.errors import InputError
from data.kernel import kernel
from models.dataset import Dataset, Rows
from models.forecaster import Explanation, FitOptions, Forecast, matrix

LAPLACE = 1.0  # one imagined row of each class, so that nothing is impossible
CLIP = 8.0  # robust deviations beyond this say no more
RIDGE = 1.0  # scikit-learn's C


class _Document:
    """A fitted baseline is a JSON document."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = dict(document)
        self.classes, self.horizon = tuple(document["classes"]), int(document["horizon"])

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Any:
        return cls(json.loads(files["model.json"]))

    def files(self) -> dict[str, bytes]:
        return {"model.json": json.dumps(self.document, indent=1).encode()}

    def explain(self, rows: Rows) -> Explanation:
        raise InputError("this baseline looks at no features: there is nothing to explain")

    def _classes(self, rows: Rows, probability: np.ndarray) -> Forecast:
        return Forecast(rows.close_time, self.horizon, self.classes, probability)

    def _number(self, rows: Rows, mean: np.ndarray) -> Forecast:
        return Forecast(rows.close_time, self.horizon, mean=mean)


def _head(data: Dataset) -> dict[str, Any]:
    return {"names": list(data.rows.names), "classes": list(data.classes), "horizon": data.horizon, "label": data.label}


def _shares(codes: np.ndarray, classes: int) -> list[float]:
    count = np.bincount(codes, minlength=classes) + LAPLACE
    return list(count / count.sum())


class Prior(_Document):
    """How often each class occurred."""

    @classmethod
    def fit(cls, data: Dataset, options: FitOptions) -> Prior:
        return cls(_head(data) | {"shares": _shares(data.codes(), len(data.classes))})

    def forecast(self, rows: Rows) -> Forecast:
        return self._classes(rows, np.tile(self.document["shares"], (len(rows), 1)))


class LastSign(_Document):
    """How often each class followed a falling, a still and a rising horizon: the momentum and the reversal of one number."""

    @classmethod
    def fit(cls, data: Dataset, options: FitOptions) -> LastSign:
        codes, sign = data.codes(), _sign(data.rows)
        table = {str(s): _shares(codes[sign == s], len(data.classes)) for s in (-1, 0, 1) if (sign == s).any()}
        return cls(_head(data) | {"table": table, "shares": _shares(codes, len(data.classes))})

    def forecast(self, rows: Rows) -> Forecast:
        sign, table = _sign(rows), self.document["table"]
        return self._classes(rows, np.array([table.get(str(s), self.document["shares"]) for s in sign]).reshape(len(rows), -1))


def _sign(rows: Rows) -> np.ndarray:
    return np.sign(np.nan_to_num(rows.past)).astype(np.int64)


class Logistic(_Document):
    """Multinomial logistic regression on features centered by their median and scaled by their interquartile range.

    An unknown feature counts as its median. Contributions are coefficient times scaled value, so they add up exactly.
    """

    @classmethod
    def fit(cls, data: Dataset, options: FitOptions) -> Logistic:
        from sklearn.linear_model import LogisticRegression

        center, scale = _robust(data.rows.X)
        # Newton: 37 correlated columns cost lbfgs hundreds of steps.
        model = LogisticRegression(C=float(options.parameters.get("C", RIDGE)), solver="newton-cholesky", max_iter=100)
        model.fit(_scaled(data.rows.X, center, scale), data.codes(),
                  sample_weight=data.weights(decay_days=options.decay_days, class_weights=options.class_weights))
        return cls(_head(data) | {"center": center.tolist(), "scale": scale.tolist(), "coefficients": model.coef_.tolist(),
                                  "intercept": model.intercept_.tolist()})

    def _inputs(self, rows: Rows) -> np.ndarray:
        X = matrix(rows, tuple(self.document["names"]))
        return _scaled(X, np.array(self.document["center"]), np.array(self.document["scale"]))

    def forecast(self, rows: Rows) -> Forecast:
        # Row by row, not as one matrix product: BLAS rounds a row differently when other rows stand beside it.
        parts = self._inputs(rows)[:, None, :] * np.array(self.document["coefficients"])[None, :, :]
        raw = parts.sum(axis=2) + np.array(self.document["intercept"])
        if raw.shape[1] == 1:
            raw = np.column_stack((np.zeros(len(raw)), raw[:, 0]))
        odds = np.exp(raw - raw.max(axis=1, keepdims=True))
        return self._classes(rows, odds / odds.sum(axis=1, keepdims=True))

    def explain(self, rows: Rows) -> Explanation:
        coefficients, intercept = np.array(self.document["coefficients"]), np.array(self.document["intercept"])
        Z = self._inputs(rows)
        outputs = tuple(map(str, self.classes)) if len(coefficients) > 1 else (str(self.classes[-1]),)
        base = np.tile(intercept, (len(rows), 1))
        return Explanation(tuple(self.document["names"]), outputs, Z[:, None, :] * coefficients[None, :, :], base,
                           Z @ coefficients.T + base)


def _robust(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, center, high = np.nanquantile(X, [0.25, 0.5, 0.75], axis=0)
    spread = (high - low) / 1.349
    wide = np.nanstd(X, axis=0)
    scale = np.where(spread > 0, spread, np.where(wide > 0, wide, 1.0))
    return center, scale


def _scaled(X: np.ndarray, center: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.nan_to_num(np.clip((X - center) / scale, -CLIP, CLIP))


class Zero(_Document):
    """Nothing will have changed."""

    @classmethod
    def fit(cls, data: Dataset, options: FitOptions) -> Zero:
        return cls(_head(data))

    def forecast(self, rows: Rows) -> Forecast:
        return self._number(rows, np.zeros(len(rows)))


class LastValue(_Document):
    """The move of the last horizon again, in the label's unit; NaN where it is not known."""

    @classmethod
    def fit(cls, data: Dataset, options: FitOptions) -> LastValue:
        _returns_only(data.label)
        return cls(_head(data))

    def forecast(self, rows: Rows) -> Forecast:
        return self._number(rows, _in_unit(self.document["label"], rows.past, rows.sigma))


def _returns_only(label: str) -> None:
    if label not in ("fwd_ret", "fwd_ret_vs"):
        raise InputError(f"this baseline forecasts returns (fwd_ret, fwd_ret_vs), got the label {label}")


def _in_unit(label: str, move: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    if label == "fwd_ret":
        return move
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(sigma > 0, np.clip(move / sigma, -5.0, 5.0), np.nan)


@kernel
def _innovations(x, mean, phi, theta):
    """Errors of `x_t - m = phi (x_{t-1} - m) + e_t + theta e_{t-1}`, from a first error of zero; a NaN starts anew."""
    n = len(x)
    out = np.zeros(n)
    before, error = 0.0, 0.0
    for t in range(n):
        if x[t] != x[t]:
            before, error = 0.0, 0.0
            continue
        now = x[t] - mean
        error = now - phi * before - theta * error
        before = now
        out[t] = error
    return out


@_innovations.warm_with
def _example():
    return np.ones(8), 0.0, 0.1, 0.1


class Arima(_Document):
    """ARIMA(1,0,1) of one-bar log returns; the forecast is the sum of the next `horizon` expected returns.

    Parameters minimise the conditional sum of squares over the training bars (the same as Gaussian maximum likelihood but for the first
    rows), so a trainer needs no further library; statsmodels' SARIMAX is the oracle of the tests.

    References
    ----------
    Box & Jenkins (1976), "Time Series Analysis: Forecasting and Control", 7.1.
    """

    @classmethod
    def fit(cls, data: Dataset, options: FitOptions) -> Arima:
        from scipy.optimize import minimize

        _returns_only(data.label)
        # Only bars known when the last training row was: returns up to it.
        series = [r[: int(data.rows.bar[data.rows.symbol == i].max(initial=0)) + 1] for i, r in enumerate(data.rows.returns)]
        x = np.concatenate(series)
        mean, spread = float(np.nanmean(x)), float(np.nanstd(x)) or 1.0
        z = (x - mean) / spread

        def loss(parameters: np.ndarray) -> float:
            phi, theta = np.tanh(parameters)  # keeps it stationary and invertible
            error = _innovations(z, 0.0, phi, theta)
            return float(error @ error) / len(error)

        starts = [np.zeros(2), np.arctanh([0.5, -0.4]), np.arctanh([-0.5, 0.4])]
        best = min((minimize(loss, s, method="Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-10, "maxiter": 200}) for s in starts),
                   key=lambda found: float(found.fun))
        phi, theta = (float(v) for v in np.tanh(best.x))
        return cls(_head(data) | {"mean": mean, "phi": phi, "theta": theta, "sd": spread * math.sqrt(float(best.fun))})

    def forecast(self, rows: Rows) -> Forecast:
        mean, phi, theta = (float(self.document[n]) for n in ("mean", "phi", "theta"))
        move = np.full(len(rows), np.nan)
        geometric = sum(phi**i for i in range(rows.horizon))
        for i, x in enumerate(rows.returns):
            mine = rows.symbol == i
            error = _innovations(x, mean, phi, theta)
            ahead = phi * (x - mean) + theta * error
            move[mine] = (rows.horizon * mean + geometric * ahead)[rows.bar[mine]]
        return self._number(rows, _in_unit(self.document["label"], move, rows.sigma))
