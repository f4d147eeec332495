"""Rows, weights and refusals."""

from __future__ import annotations

import numpy as np
import pytest

from data.errors import InputError, NoData
from data.features import NAMES, newest_row
from data.frames import Candles
from data.simulator import worlds
from models.dataset import average_uniqueness, make_dataset, make_rows, newest_rows
from tests.made_candles import made, without_optional
from tests.model_worlds import FEW, SYMBOL, dataset, scored


def test_rows_without_a_known_outcome_are_dropped_and_unknown_features_stay():
    candles = made(1200)
    data = make_dataset({"A": candles}, "fwd_ret")
    assert len(data) == 1195 and np.isfinite(data.y).all() and np.isnan(data.rows.X[0]).any()
    assert np.array_equal(data.t1, candles.close_time[5:]) and np.array_equal(data.end, np.arange(5, 1200))


def test_uniqueness_equals_the_loop():
    rng = np.random.default_rng(5)
    start = np.sort(rng.integers(0, 200, 120))
    end, group = start + rng.integers(0, 15, 120), rng.integers(0, 2, 120)
    found = average_uniqueness(group, start, end)
    for i in range(120):
        using = [sum(1 for j in range(120) if group[j] == group[i] and start[j] <= b <= end[j]) for b in range(start[i], end[i] + 1)]
        assert found[i] == pytest.approx(np.mean([1 / u for u in using]))


def test_weights_forget_and_average_one_and_cap_rare_classes():
    data = dataset()
    w = data.weights(class_weights=False)
    assert w.mean() == pytest.approx(1) and w[-400:].mean() > w[:400].mean()
    middle = slice(500, 2000)  # every bar is used by five labels there
    age = (data.t0.max() - data.t0[middle]) / 86_400_000
    assert np.allclose(w[middle] / 0.5 ** (age / 180), (w[middle] / 0.5 ** (age / 180))[0])
    rare = make_dataset({"A": made(3000, seed=4)}, "dir3_fixed")
    y = rare.y.copy()
    y[y == 1] = 0
    y[:40] = 1
    rare.y[:] = y
    heavy, plain = rare.weights(decay_days=1e9), rare.weights(decay_days=1e9, class_weights=False)
    ratio = heavy / plain
    assert (ratio[y == 1].mean() / ratio[y == 0].mean()) == pytest.approx(5 * 3 * (y == 0).mean(), rel=0.01)


def test_pooling_orders_by_time_and_keeps_symbols_apart():
    a, b = made(1200), made(900, seed=2)
    data = make_dataset({"A": a, "B": b}, "dir3_dyn")
    assert (np.diff(data.t0) >= 0).all() and set(data.rows.symbol) == {0, 1}
    alone = make_dataset({"B": b}, "dir3_dyn")
    mine = data.take(np.flatnonzero(data.rows.symbol == 1))
    assert np.array_equal(mine.rows.X, alone.rows.X, equal_nan=True) and np.array_equal(mine.y, alone.y)


def test_event_sampling_keeps_fewer_rows():
    assert 0 < len(dataset(sampling="events", bars=12_000)) < len(dataset(bars=12_000)) / 2


def test_the_newest_row_is_the_row_that_trains():
    candles, score = scored(1, 2500, 0.15)
    row = newest_rows({SYMBOL: candles}, 5, extra={SYMBOL: {"score": score}})
    whole = make_rows({SYMBOL: candles}, 5, extra={SYMBOL: {"score": score}})
    assert row.names == (*NAMES, "score") and row.X[0, -1] == score[-1] and row.close_time[0] == candles.close_time[-1]
    assert np.allclose(row.X[0], whole.X[-1], rtol=0, atol=1e-6) and np.array_equal(row.X[0, :-1], newest_row(candles).values[0])


def test_what_cannot_be_learned_from_is_refused_with_the_reason():
    good, bare, still = made(900), without_optional(made(900)), worlds.candles_of(np.zeros(900))
    cases = [
        (NoData, "at least 500 bars", lambda: make_dataset({"A": made(300)}, "dir3_dyn")),
        (NoData, "got 3 bars", lambda: make_dataset({"A": made(3)}, "dir3_dyn")),
        (InputError, "at least one symbol", lambda: make_dataset({}, "dir3_dyn")),
        (InputError, "not one known value in 4 of 37 features: volume_delta", lambda: make_dataset({"A": bare}, "dir3_dyn")),
        (InputError, "expected a label", lambda: make_dataset({"A": good}, "dir3_dynn")),
        (InputError, "did you mean rsi_14", lambda: make_dataset({"A": good}, "dir3_dyn", features=("rsi14",))),
        (InputError, "repeated", lambda: make_dataset({"A": good}, "dir3_dyn", features=("body", "body"))),
        (InputError, "expected sampling", lambda: make_dataset({"A": good}, "dir3_dyn", sampling="some")),
        (InputError, "has 5 values", lambda: make_dataset({"A": good}, "dir3_dyn", extra={"A": {"s": np.ones(5)}})),
        (InputError, "got only 0", lambda: make_dataset({"A": still}, "dir3_fixed", features=FEW, leave_out_empty=True)),
        (InputError, "nothing to learn", lambda: make_dataset({"A": still}, "fwd_ret", features=FEW, leave_out_empty=True)),
        (InputError, "one interval", lambda: make_rows({"A": good, "B": Candles.empty(good.interval.D1)}, 5)),
    ]
    for kind, words, act in cases:
        with pytest.raises(kind, match=words):
            act()
    assert len(make_dataset({"A": bare}, "dir3_dyn", leave_out_empty=True).rows.names) == 33


def test_too_few_rows_because_of_holes_says_so():
    candles, _ = scored(1, 3000, 0.0)
    holed = candles.take(np.flatnonzero(np.arange(3000) % 25 != 0))
    with pytest.raises(NoData, match=r"got 0 of 2,880; 119 holes cut the history.*repair them"):
        make_dataset({SYMBOL: holed}, "dir3_dyn", features=FEW[:2])
    with pytest.raises(NoData, match="of 400; back-fill more history"):
        make_dataset({SYMBOL: candles.take(slice(0, 400))}, "dir3_dyn", features=FEW[:2])
