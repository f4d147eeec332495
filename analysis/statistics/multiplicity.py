"""Many questions at once: false discovery rates over a family of tests, and exact intervals of a share."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np


def _step_up(p_values: np.ndarray, factor: float) -> np.ndarray:
    p = np.asarray(p_values, float)
    q = np.full(p.shape, np.nan)
    known = np.flatnonzero(np.isfinite(p))
    m = len(known)
    if m == 0:
        return q
    order = known[np.argsort(p[known], kind="stable")]
    scaled = p[order] * (m * factor) / np.arange(1, m + 1)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q


def benjamini_hochberg(p_values: np.ndarray) -> np.ndarray:
    """q-values: the false discovery rate at which each test would just be called.

    Parameters
    ----------
    p_values : ndarray of shape (m,)
        The whole family, also what is not shown. NaN marks a test that could not be made; it does not count as one.

    Returns
    -------
    ndarray of shape (m,)
        In [0, 1], never below the p-value; NaN where p is NaN. Valid for independent and positively dependent tests.

    References
    ----------
    Benjamini & Hochberg (1995), "Controlling the False Discovery Rate".
    """
    return _step_up(p_values, 1.0)


def benjamini_yekutieli(p_values: np.ndarray) -> np.ndarray:
    """As `benjamini_hochberg`, valid under any dependence: larger by `sum 1/i` over the family.

    References
    ----------
    Benjamini & Yekutieli (2001), "The control of the false discovery rate in multiple testing under dependency".
    """
    m = int(np.isfinite(np.asarray(p_values, float)).sum())
    return _step_up(p_values, float(np.sum(1.0 / np.arange(1, m + 1))) if m else 1.0)


def clopper_pearson(found: int, trials: int, *, level: float = 0.95) -> tuple[float, float]:
    """Exact interval of a share of independent trials; (0, 1) without a trial: nothing is known then.

    References
    ----------
    Clopper & Pearson (1934), "The use of confidence or fiducial limits illustrated in the case of the binomial".
    """
    if trials <= 0:
        return 0.0, 1.0
    from scipy.special import betaincinv

    tail = (1.0 - level) / 2.0
    low = 0.0 if found == 0 else float(betaincinv(found, trials - found + 1, tail))
    high = 1.0 if found == trials else float(betaincinv(found + 1, trials - found, 1.0 - tail))
    return low, high


def wilson(share: float, trials: float, *, level: float = 0.95) -> tuple[float, float]:
    """Score interval of a share. `trials` may be fractional: overlapping outcomes count as n/h trials.

    NaN without a trial.

    References
    ----------
    Wilson (1927), "Probable inference, the law of succession, and statistical inference".
    """
    if not trials > 0 or not math.isfinite(share):
        return math.nan, math.nan
    z2 = NormalDist().inv_cdf(0.5 + level / 2.0) ** 2
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = math.sqrt(z2 * (share * (1 - share) / trials + z2 / (4 * trials * trials))) / (1 + z2 / trials)
    return max(0.0, middle - half), min(1.0, middle + half)
