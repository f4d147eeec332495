"""Are two prices tied to each other? Engle and Granger's two steps, the hedge and how fast the gap closes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

COPIED = 100.0 * math.sqrt(np.finfo(float).eps)  # so little of y left unexplained is a tie without a test, as in the library


@dataclass(frozen=True)
class Tie:
    """`p`: of no tie (MacKinnon); `beta`: units of ln x held against one of ln y; `half_life`: bars until half of a gap is closed, biased
    short in samples (21 for a true 24), NaN where it does not close; `gap`: the newest gap in its own standard deviations."""

    p: float
    beta: float
    half_life: float
    gap: float


def hedge_beta(y: np.ndarray, x: np.ndarray) -> tuple[float, np.ndarray]:
    """Slope of y on x with a constant, and the residuals."""
    dx = x - x.mean()
    beta = float(dx @ (y - y.mean()) / (dx @ dx))
    return beta, (y - y.mean()) - beta * dx


def half_life(gap: np.ndarray) -> float:
    """`-ln 2 / ln(1 + phi)` of `d gap_t = c + phi gap_{t-1}`; NaN where phi lies outside (-1, 0)."""
    before, change = gap[:-1] - gap[:-1].mean(), np.diff(gap)
    phi = float(before @ change / (before @ before))
    return -math.log(2.0) / math.log1p(phi) if -1.0 < phi < 0.0 else math.nan


def tie(y: np.ndarray, x: np.ndarray) -> Tie | None:
    """Engle-Granger test of two log prices, all rows known; None where one of them does not move or one is a copy of the other.

    References
    ----------
    Engle & Granger (1987), "Co-integration and Error Correction"; MacKinnon (1994, 2010) for the p-values.
    """
    if len(y) < 100 or np.std(y) <= 0 or np.std(x) <= 0:
        return None
    beta, gap = hedge_beta(y, x)
    spread = float(gap.std(ddof=2))
    if spread <= 1e-9 * float(np.std(y)):
        return None
    from statsmodels.tsa.adfvalues import mackinnonp

    copied = (gap @ gap) / float(np.sum(np.square(y - y.mean()))) <= COPIED
    p = 0.0 if copied else float(mackinnonp(unit_root_t(gap), regression="c", N=2))
    return Tie(p, beta, half_life(gap), float(gap[-1]) / spread)


def unit_root_t(x: np.ndarray) -> float:
    """t of the level in the augmented Dickey-Fuller regression without a constant, lags of the change by AIC (at most 12 (n/100)^1/4).

    The number inside `statsmodels.tsa.stattools.coint`, to rounding: all lags are nested, so one decomposition gives every residual sum
    where the library solves a regression, and proves its rank, for each of thirty lags.
    """
    change, most = np.diff(x), math.ceil(12.0 * (len(x) / 100.0) ** 0.25)
    most = min(len(x) // 2 - 1, most)
    rows = len(change) - most
    triangle = _triangle(_regressors(x, change, most)[:, [most, *range(most), most + 1]])
    squares = np.cumsum(np.square(triangle[::-1, -1]))[::-1]  # of the residual with the first k columns
    aic = [rows * math.log(squares[k]) + 2.0 * k for k in range(1, most + 2)]
    lags = int(np.argmin(aic))
    triangle = _triangle(_regressors(x, change, lags))
    error = abs(triangle[lags + 1, -1]) / math.sqrt(len(change) - 2 * lags - 1)
    return float(triangle[lags, -1] * np.sign(triangle[lags, lags]) / error)


def _triangle(table: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.qr(table, mode="r"))


def _regressors(x: np.ndarray, change: np.ndarray, lags: int) -> np.ndarray:
    """Columns: the change 1 .. `lags` rows before, the level before, and the change itself."""
    n = len(change)
    return np.stack([*(change[lags - k : n - k] for k in range(1, lags + 1)), x[lags:-1], change[lags:]], axis=1)
