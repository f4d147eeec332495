"""Splits in time that do not leak: quick, purged walk-forward, combinatorial.

Every split obeys three laws: no training label's span touches the hull of the test labels' spans; after a test part nothing is trained on
for an embargo; every row that is tested is tested once (combinatorial: once on every path). Times are UTC milliseconds, so pooled
symbols are split at the same moments.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np

from data.clock import iso
from data.errors import InputError, NoData
from data.market import DAY_MS

BLOCK_DAYS = 30
FOLDS = 12  # the last year of blocks
LEAST_TRAIN = 400  # rows
EMBARGO_SHARE = 0.01
GROUPS, TESTED = 6, 2  # of the combinatorial splits: 15 of them, 5 paths


@dataclass(frozen=True)
class Split:
    """Row numbers to learn from and to be tested on, both growing. `part` says which test part of a path this is, 0 for the first."""

    train: np.ndarray
    test: np.ndarray
    part: int = 0


def purged(t0: np.ndarray, t1: np.ndarray, test: np.ndarray, *, embargo_ms: int = 0) -> np.ndarray:
    """Rows one may learn from when the rows of the mask `test` are tested: bool, shape (rows,).

    Left out are the test rows, rows whose span [t0, t1] touches the hull [min t0, max t1] of a contiguous test part, and rows that begin
    within the embargo after it.

    References
    ----------
    Lopez de Prado (2018), "Advances in Financial Machine Learning", 7.4.
    """
    keep = ~test
    for part in _runs(t0, test):
        start, end = t0[part].min(), t1[part].max()
        keep &= ~((t0 <= end) & (t1 >= start))
        keep &= ~((t0 > end) & (t0 <= end + embargo_ms))
    return keep


def _runs(t0: np.ndarray, test: np.ndarray) -> list[np.ndarray]:
    """The contiguous stretches of a test mask; rows of the same moment belong together."""
    rows = np.flatnonzero(test)
    if not len(rows):
        return []
    return np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)


def embargo(n: int, horizon: int, interval_ms: int) -> int:
    """max(horizon, 1 % of the moments), in milliseconds."""
    return max(horizon, int(np.ceil(EMBARGO_SHARE * n))) * interval_ms


def quick(t0: np.ndarray, t1: np.ndarray, *, horizon: int, folds: int = 5) -> list[Split]:
    """scikit-learn's `TimeSeriesSplit(folds, gap=horizon)` over the moments, and purged: a span may be longer than the horizon."""
    from sklearn.model_selection import TimeSeriesSplit

    moments = np.unique(t0)
    if len(moments) < (folds + 1) * (horizon + 2):
        raise NoData(f"expected at least {(folds + 1) * (horizon + 2)} different bars for {folds} folds, got {len(moments)}; "
                     "back-fill more history")
    out = []
    for number, (_, tested) in enumerate(TimeSeriesSplit(folds, gap=horizon).split(moments)):
        test = (t0 >= moments[tested[0]]) & (t0 <= moments[tested[-1]])
        before = t0 <= moments[max(tested[0] - horizon - 1, 0)]
        out.append(Split(np.flatnonzero(purged(t0, t1, test) & before), np.flatnonzero(test), number))
    return out


def walk_forward(t0: np.ndarray, t1: np.ndarray, *, block_days: float = BLOCK_DAYS, folds: int | None = FOLDS, embargo_ms: int = 0,
                 least_train: int = LEAST_TRAIN) -> list[Split]:
    """Expanding training part, then a block of `block_days`; the last `folds` blocks (None: all that have enough before them).

    Blocks are counted back from the newest row. What the embargo forbids lies after a block, and later rows are never trained on, so
    here it changes nothing; it is passed through for the law's sake.

    Raises
    ------
    NoData
        When no block has `least_train` purged rows before it.
    """
    block = int(block_days * DAY_MS)
    if block <= 0:
        raise InputError(f"expected a test block above 0 days, got {block_days:g}")
    end = int(t0.max()) + 1
    out: list[Split] = []
    while (folds is None or len(out) < folds) and end > t0.min():
        test = (t0 >= end - block) & (t0 < end)
        if test.any():
            train = np.flatnonzero(purged(t0, t1, test, embargo_ms=embargo_ms) & (t0 < end - block))
            if len(train) < least_train:
                break
            out.append(Split(train, np.flatnonzero(test)))
        end -= block
    if not out:
        raise NoData(f"expected {least_train} rows before a test block of {block_days:g} days; the history {iso(int(t0.min()))} .. "
                     f"{iso(int(t0.max()))} has {len(t0)} rows; back-fill more or choose shorter blocks")
    return [Split(s.train, s.test, i) for i, s in enumerate(reversed(out))]


def combinatorial(t0: np.ndarray, t1: np.ndarray, *, groups: int = GROUPS, tested: int = TESTED, embargo_ms: int = 0) -> list[Split]:
    """Combinatorial purged cross-validation: every choice of `tested` of `groups` contiguous groups, C(groups, tested) splits.

    References
    ----------
    Lopez de Prado (2018), "Advances in Financial Machine Learning", chapter 12.
    """
    moments = np.unique(t0)
    if not 1 <= tested < groups or len(moments) < 2 * groups:
        raise InputError(f"expected 1 <= tested < groups and at least {2 * groups} bars, got {tested} of {groups} and {len(moments)} bars")
    group = group_of(t0, groups)
    out = []
    for number, chosen in enumerate(combinations(range(groups), tested)):
        test = np.isin(group, chosen)
        out.append(Split(np.flatnonzero(purged(t0, t1, test, embargo_ms=embargo_ms)), np.flatnonzero(test), number))
    return out


def group_of(t0: np.ndarray, groups: int) -> np.ndarray:
    """Which of `groups` contiguous groups of about equally many moments each row lies in. The last ones are larger by one at most."""
    moments, position = np.unique(t0, return_inverse=True)
    edges = np.array_split(np.arange(len(moments)), groups)
    number = np.repeat(np.arange(groups), [len(e) for e in edges])
    return number[position]


def paths(groups: int = GROUPS, tested: int = TESTED) -> list[list[int]]:
    """For each path, which split gives its test rows of group 0, 1, ...: C(groups-1, tested-1) paths."""
    seen = [0] * groups
    out = [[0] * groups for _ in range(comb(groups - 1, tested - 1))]
    for number, chosen in enumerate(combinations(range(groups), tested)):
        for g in chosen:
            out[seen[g]][g] = number
            seen[g] += 1
    return out
