"""Is a VaR kept? Kupiec's test of how often it was exceeded, Christoffersen's test of whether the misses cluster."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

REJECT_BELOW = 0.05


@dataclass(frozen=True)
class CoverageTest:
    """A likelihood-ratio test of a VaR. `p_value` below 5 % rejects it."""

    statistic: float
    p_value: float
    misses: int
    periods: int

    @property
    def rejected(self) -> bool:
        return self.p_value < REJECT_BELOW


def _log_likelihood(hits: float, misses: float, share: float) -> float:
    """`hits ln(1-share) + misses ln(share)` with 0 ln 0 = 0."""
    return (hits * math.log(1.0 - share) if hits else 0.0) + (misses * math.log(share) if misses else 0.0)


def kupiec(misses: int, periods: int, *, alpha: float) -> CoverageTest:
    """Proportion of failures: `LR = -2 ln[(1-a)^(T-N) a^N / ((1-N/T)^(T-N) (N/T)^N)]`, chi-squared with 1 degree.

    Without a single miss the chi-squared value is far off (LR 5.1 at T=255, a=1 %, although one year in thirteen has none),
    so the exact probability (1-a)^T is the p-value there; with it Kupiec's published regions come out, N < 7 for that case.

    References
    ----------
    Kupiec (1995), "Techniques for verifying the accuracy of risk measurement models".
    """
    if periods <= 0:
        return CoverageTest(math.nan, math.nan, misses, periods)
    kept = periods - misses
    ratio = max(0.0, -2.0 * (_log_likelihood(kept, misses, alpha) - _log_likelihood(kept, misses, misses / periods)))
    p_value = (1.0 - alpha) ** periods if misses == 0 else math.erfc(math.sqrt(ratio / 2.0))
    return CoverageTest(ratio, p_value, misses, periods)


def kupiec_region(periods: int, *, alpha: float) -> tuple[int, int]:
    """The numbers of misses that do not reject: `low < N < high`, low is -1 where no small number rejects."""
    kept = [n for n in range(periods + 1) if not kupiec(n, periods, alpha=alpha).rejected]
    return kept[0] - 1, kept[-1] + 1


def independence(missed: np.ndarray) -> CoverageTest:
    """Whether a miss makes the next one likelier: first-order Markov against independence, chi-squared with 1 degree.

    Parameters
    ----------
    missed : ndarray of bool, shape (n,)
        True where the loss exceeded the VaR stated the day before, oldest first.

    Returns
    -------
    CoverageTest
        p-value 1 when there was no miss or nothing else: then nothing can cluster.

    References
    ----------
    Christoffersen (1998), "Evaluating interval forecasts".
    """
    missed = np.asarray(missed, bool)
    before, after = missed[:-1], missed[1:]
    n00, n01 = int(np.sum(~before & ~after)), int(np.sum(~before & after))
    n10, n11 = int(np.sum(before & ~after)), int(np.sum(before & after))
    total = n00 + n01 + n10 + n11
    found = int(missed.sum())
    if total == 0 or n01 + n11 in (0, total) or n10 + n11 == 0 or n00 + n01 == 0:
        return CoverageTest(0.0, 1.0, found, len(missed))
    one = _log_likelihood(n00 + n10, n01 + n11, (n01 + n11) / total)
    two = _log_likelihood(n00, n01, n01 / (n00 + n01)) + _log_likelihood(n10, n11, n11 / (n10 + n11))
    ratio = max(0.0, -2.0 * (one - two))
    return CoverageTest(ratio, math.erfc(math.sqrt(ratio / 2.0)), found, len(missed))
