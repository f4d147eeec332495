"""What trading does to the price: Kyle's lambda and the impact of order-flow imbalance.

Kyle (1985), "Continuous auctions and insider trading", Econometrica 53; the regression form of Hasbrouck (2009), "Trading costs and returns
for U.S. equities", Journal of Finance 64. Cont, Kukanov & Stoikov (2014), "The price impact of order book events", Journal of Financial
Econometrics 12: the slope of mid changes on order-flow imbalance is about 1 / (2 depth), in ticks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from data.indicators.windows import trailing_sum

HAC_LAGS = 5


class Impact(NamedTuple):
    """Slope of price changes on flow, its t value with Newey-West errors, and R2; arrays over windows, NaN where x does not vary."""

    slope: np.ndarray
    t: np.ndarray
    r2: np.ndarray


def impact_of(flow: np.ndarray, change: np.ndarray, *, lags: int = HAC_LAGS) -> Impact:
    """OLS with a constant of `change` on `flow` along the last axis, shape (..., n).

    Standard errors are Newey & West's (1987) with Bartlett weights and no small-sample correction. Rows with a NaN give NaN.
    """
    x = flow - flow.mean(axis=-1, keepdims=True)
    y = change - change.mean(axis=-1, keepdims=True)
    xx, xy, yy = (x * x).sum(axis=-1), (x * y).sum(axis=-1), (y * y).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(xx > 0, xy / xx, np.nan)
        r2 = np.where(yy > 0, slope * xy / yy, np.nan)
        score = x * (y - slope[..., None] * x)
        middle = (score * score).sum(axis=-1)
        for lag in range(1, min(lags, score.shape[-1] - 1) + 1):
            middle = middle + 2.0 * (1.0 - lag / (lags + 1.0)) * (score[..., lag:] * score[..., :-lag]).sum(axis=-1)
        t = np.where(middle > 0, slope * xx / np.sqrt(middle), np.nan)
    return Impact(slope, t, r2)


def trailing_slope(flow: np.ndarray, change: np.ndarray, window: int) -> np.ndarray:
    """OLS slope of `change` on `flow` over the last `window` values; NaN rule of `trailing_sum`, NaN where flow does not vary."""
    x, y = np.asarray(flow, float), np.asarray(change, float)
    sx, sy = trailing_sum(x, window), trailing_sum(y, window)
    xx, xy = trailing_sum(x * x, window) - sx * sx / window, trailing_sum(x * y, window) - sx * sy / window
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(xx > 0, xy / xx, np.nan)
