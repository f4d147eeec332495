"""Population stability index: is a sample spread over the bins of a reference as the reference was?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

BINS = 10
ALERT, SEVERE = 0.10, 0.25
CHI2_9_95 = 16.918977604620448  # 95 % quantile of chi-squared with 9 degrees
SMALLEST = 1e-4  # share an empty bin is given


@dataclass(frozen=True)
class Stability:
    """`limit` = max(.10, what two samples of one law exceed in 5 % of cases); NaN where nothing could be compared."""

    psi: float
    limit: float
    rows: int

    @property
    def alert(self) -> bool:
        return self.psi > self.limit

    @property
    def severe(self) -> bool:
        return self.alert and self.psi > SEVERE


def bins_of(quantiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inner edges of ten bins of equal mass, and the share of the reference in each, from its equally spaced quantiles.

    Equal edges (a discrete feature) are one; then there are fewer bins and their shares are what lies between.
    """
    quantiles = np.asarray(quantiles, float)
    edges = np.unique(np.interp(np.arange(1, BINS) / BINS, np.linspace(0, 1, len(quantiles)), quantiles))
    share = np.diff(np.concatenate(([0], np.searchsorted(quantiles, edges, side="right"), [len(quantiles)]))) / len(quantiles)
    return edges, share


def effective_rows(x: np.ndarray) -> float:
    """Independent rows that `x` (in time order, NaN left out) is worth: `n (1 - rho)/(1 + rho)`, rho the lag-one autocorrelation.

    A slow feature visits few levels in a month; counted row by row its index would always look alarming. Between 1 and n.
    """
    x = x[np.isfinite(x)]
    n = len(x)
    if n < 3 or not np.ptp(x) > 0:
        return float(n)
    z = x - x.mean()
    rho = min(max(float(z[1:] @ z[:-1] / (z @ z)), 0.0), 1.0)
    return max(1.0, n * (1.0 - rho) / (1.0 + rho))


def population_stability(bins: tuple[np.ndarray, np.ndarray], x: np.ndarray, reference_rows: float, *,
                         independent_rows: float | None = None) -> Stability:
    """`sum (q - p) ln(q / p)` of the sample's shares q and the reference's p.

    Parameters
    ----------
    bins : tuple of edges and shares
        From `bins_of`.
    x : ndarray of shape (rows,)
        The sample; NaN is left out.
    reference_rows, independent_rows : float
        Sizes of the reference and of the sample in the null level `chi2_{9, .95} (1/n + 1/m)`: independent rows (`effective_rows`). None:
        all known rows of the sample.

    References
    ----------
    Yurdakul & Naranjo (2020), "Statistical properties of the population stability index".
    """
    edges, share = bins
    x = x[np.isfinite(x)]
    if len(x) < BINS or not reference_rows > 0 or not len(edges):
        return Stability(math.nan, math.nan, len(x))
    found = np.bincount(np.searchsorted(edges, x, side="left"), minlength=len(edges) + 1) / len(x)
    p, q = np.maximum(share, SMALLEST), np.maximum(found, SMALLEST)
    null = CHI2_9_95 * (1 / (independent_rows or len(x)) + 1 / reference_rows)
    return Stability(float(((q - p) * np.log(q / p)).sum()), float(max(ALERT, null)), len(x))
