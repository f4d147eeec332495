"""Cauchy combination: one p-value of many that depend on each other."""

from __future__ import annotations

import numpy as np

LARGEST_P = 0.99  # untruncated, one very quiet detector (p near 1) vetoes all others: recall of planted jumps .87
SMALLEST_P = 1e-15  # a tail probability is not known better than that


def cauchy_terms(p: np.ndarray) -> np.ndarray:
    """`tan((0.5 - p) pi)`, p truncated to [1e-15, 0.99]: a standard Cauchy variable when p is uniform. NaN stays NaN.

    Written as `1 / tan(p pi)`, which is the same and keeps its digits where p is tiny.
    """
    return 1.0 / np.tan(np.pi * np.clip(np.asarray(p, float), SMALLEST_P, LARGEST_P))


def cauchy_p(total: np.ndarray) -> np.ndarray:
    """`p = 1/2 - atan(T) / pi` of the weighted mean T of terms, in (0, 1).

    References
    ----------
    Liu & Xie (2020), "Cauchy combination test: a powerful test with analytic p-value calculation under arbitrary
    dependency structures".
    """
    total = np.asarray(total, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        far = np.arctan(1.0 / total) / np.pi  # atan(T) = pi/2 - atan(1/T) for T > 0
    return np.where(total > 1.0, far, 0.5 - np.arctan(total) / np.pi)
