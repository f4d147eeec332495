"""The laws of every split, against naive loops and, where it is installed, skfolio."""

from __future__ import annotations

import numpy as np
import pytest

from data.errors import InputError, NoData
from data.market import DAY_MS, HOUR_MS
from models.splits import combinatorial, embargo, group_of, paths, purged, quick, walk_forward

N, H = 3000, 5
T0 = np.arange(N, dtype=np.int64) * HOUR_MS
T1 = T0 + H * HOUR_MS
RAGGED = T0 + np.random.default_rng(3).integers(1, 30, N) * HOUR_MS


def obeys(splits, t0, t1, embargo_ms=0):
    """No train span touches a contiguous test part's hull, the embargo is kept, train and test are apart."""
    for s in splits:
        assert len(s.train) and len(s.test) and not set(s.train) & set(s.test)
        for part in np.split(s.test, np.flatnonzero(np.diff(s.test) > 1) + 1):
            start, end = t0[part].min(), t1[part].max()
            a, b = t0[s.train], t1[s.train]
            assert not np.any((a <= end) & (b >= start))
            assert not np.any((a > end) & (a <= end + embargo_ms))


@pytest.mark.parametrize("t1", [T1, RAGGED], ids=["fixed spans", "ragged spans"])
def test_every_kind_obeys_the_laws(t1):
    gap = embargo(N, H, HOUR_MS)
    assert gap == 30 * HOUR_MS
    obeys(quick(T0, t1, horizon=H), T0, t1)
    blocks = walk_forward(T0, t1, folds=None, block_days=10, embargo_ms=gap)
    obeys(blocks, T0, t1, gap)
    obeys(combinatorial(T0, t1, embargo_ms=gap), T0, t1, gap)
    for splits in (quick(T0, t1, horizon=H), blocks):
        tested = np.concatenate([s.test for s in splits])
        assert len(np.unique(tested)) == len(tested) and np.array_equal(tested, np.arange(tested[0], N))  # once, and none skipped
        assert all(T0[s.train].max() < T0[s.test].min() for s in splits)


def test_blocks_have_their_length_and_end_at_the_newest_row():
    blocks = walk_forward(T0, T1, folds=4, block_days=10)
    assert [len(s.test) for s in blocks] == [240] * 4 and blocks[-1].test[-1] == N - 1 and [s.part for s in blocks] == [0, 1, 2, 3]
    assert [len(s.train) for s in blocks] == [s.test[0] - H for s in blocks]  # expanding, purged by exactly the horizon


def test_purging_equals_the_loop():
    test = np.zeros(N, bool)
    test[500:620] = test[1400:1500] = True
    found = purged(T0, RAGGED, test, embargo_ms=7 * HOUR_MS)
    hulls = [(T0[500], RAGGED[500:620].max()), (T0[1400], RAGGED[1400:1500].max())]
    for i in range(N):
        bad = test[i] or any((T0[i] <= b and RAGGED[i] >= a) or b < T0[i] <= b + 7 * HOUR_MS for a, b in hulls)
        assert found[i] == (not bad)


def test_combinations_make_fifteen_splits_and_five_paths():
    splits, group = combinatorial(T0, T1), group_of(T0, 6)
    assert len(splits) == 15 and np.bincount(group).tolist() == [500] * 6
    each = paths()
    assert len(each) == 5
    for path in each:
        tested = np.concatenate([np.intersect1d(splits[number].test, np.flatnonzero(group == g)) for g, number in enumerate(path)])
        assert np.array_equal(np.sort(tested), np.arange(N))  # every row once on every path
    assert len({(g, number) for path in each for g, number in enumerate(path)}) == 30  # no test part serves twice


def test_pooled_symbols_are_split_at_the_same_moments():
    t0 = np.repeat(T0, 3)
    for s in walk_forward(t0, t0 + H * HOUR_MS, folds=3, block_days=20):
        assert len(s.test) % 3 == 0 and not set(t0[s.train]) & set(t0[s.test])


def test_too_little_is_refused_with_the_reason():
    with pytest.raises(NoData, match="rows before a test block of 30 days"):
        walk_forward(T0[:500], T1[:500])
    with pytest.raises(NoData, match="different bars for 5 folds"):
        quick(T0[:30], T1[:30], horizon=H)
    with pytest.raises(InputError, match="1 <= tested < groups"):
        combinatorial(T0, T1, tested=6)
    with pytest.raises(InputError, match="above 0 days"):
        walk_forward(T0, T1, block_days=0)


def test_the_same_as_skfolio():
    selection = pytest.importorskip("skfolio.model_selection")
    peer = selection.CombinatorialPurgedCV(n_folds=6, n_test_folds=2, purged_size=H, embargo_size=30)
    X = np.zeros((N, 1))
    ours = {tuple(s.test): tuple(s.train) for s in combinatorial(T0, T1, embargo_ms=30 * HOUR_MS)}
    theirs = {tuple(np.sort(np.concatenate(test))): tuple(train) for train, test in peer.split(X)}
    assert ours == theirs and DAY_MS == 24 * HOUR_MS
