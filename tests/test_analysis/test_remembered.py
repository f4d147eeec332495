"""What is remembered or shared gives what would be computed: by content, by object, by the compiled loop, by a group's windows."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
import pytest

from analysis import scaling
from analysis.methods import options_surface, positioning
from analysis.modules.trend_moment import tracks_of
from analysis.remembered import OfObject, Remembered, seals_of
from analysis.sorted_windows import BELOW, KNOWN, LEVEL, MAD, MEDIAN, QUANTILE, orders_of
from data.kernel import Kernel
from data.simulator.shocks import garch_world

SEED = 20_261_120


def series(kind: int, n: int) -> np.ndarray:
    """Smooth, rounded (ties), with holes, beginning late, half zeros, with infinities."""
    x = np.random.default_rng(SEED + kind).standard_normal(n)
    if kind == 1:
        x = np.round(x, 1)
    elif kind == 2:
        x[::7] = np.nan
    elif kind == 3:
        x[: n // 2] = np.nan
        x = np.round(x)
    elif kind == 4:
        x[::2] = 0.0
    elif kind == 5:
        x[::50] = np.inf
    return x


@pytest.fixture
def compiled():
    """The loop compiled, and as it was afterwards."""
    before = orders_of.compiled
    orders_of.compile()
    yield
    orders_of.compiled = before


@pytest.fixture
def plain():
    before, orders_of.compiled = orders_of.compiled, None
    yield
    orders_of.compiled = before


@pytest.mark.parametrize("kind", range(6))
def test_a_sliding_window_in_order_says_what_pandas_and_numpy_say(kind):
    x = series(kind, 400)
    x[np.isinf(x)] = np.nan
    found = orders_of.plain(x, 50, 0, 0.9, 1.4826)
    rolling = pd.Series(x).rolling(50, min_periods=1)
    np.testing.assert_array_equal(found[MEDIAN], rolling.median())
    np.testing.assert_array_equal(found[QUANTILE], rolling.quantile(0.9))
    np.testing.assert_array_equal(found[KNOWN], rolling.count())
    known = np.isfinite(x)
    mid_rank = (found[BELOW] + 0.5 * found[LEVEL])[known] / found[KNOWN][known]
    np.testing.assert_array_equal(mid_rank, ((rolling.rank() - 0.5) / rolling.count())[known])
    for t in (49, 50, 200, 399):
        values = x[t - 49 : t + 1][known[t - 49 : t + 1]]
        assert np.isnan(found[MAD][t]) if not len(values) else found[MAD][t] == np.median(np.abs(values - np.median(values)))
    np.testing.assert_array_equal(orders_of.plain(x, 50, 333, 0.9, 1.4826), found[:, 333:])


@pytest.mark.parametrize("kind", range(6))
def test_normalisers_are_the_same_to_the_bit_with_and_without_the_compiled_loop(kind):
    x, before = series(kind, 700), orders_of.compiled
    functions = (*scaling.NORMALISERS, positioning.deviation_tail)
    try:
        answers = []
        for loop in (None, orders_of.plain):
            orders_of.compiled = loop
            answers.append([f(x, window=w, last=last) for f in functions for w in (50, 300) for last in (None, 1, 4, 25, 400)])
    finally:
        orders_of.compiled = before
    for a, b in zip(*answers, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("loop", ["plain", "compiled"])
@pytest.mark.parametrize("kind", range(4))
def test_few_rows_are_the_rows_of_many(loop, kind, request):
    request.getfixturevalue(loop)
    x = series(kind, 700)
    for f in (*scaling.NORMALISERS, positioning.deviation_tail):
        whole = f(x, window=300)
        for last in (1, 4, 5, 32, 33):
            np.testing.assert_array_equal(f(x, window=300, last=last)[-last:], whole[-last:], err_msg=f.__name__)


def test_a_seal_stands_for_every_number_and_word():
    a, b = np.arange(10.0), np.ones(10)
    rows = [slice(0, 5), slice(5, 10)]
    first = seals_of([a, b], rows)
    assert first == seals_of([a.copy(), b], rows) and first[0] != first[1]
    assert seals_of([a, b], rows, "other")[0] != first[0] and seals_of([b, a], rows)[0] != first[0]
    a[3] = 99.0
    again = seals_of([a, b], rows)
    assert again[0] != first[0] and again[1] == first[1]
    assert seals_of([a, b], [slice(0, 4)])[0] != again[0]


def test_remembered_results_are_bounded_and_computed_once():
    asked: list[int] = []
    memory: Remembered[int] = Remembered(3)

    def tenfold(number: int) -> int:
        asked.append(number)
        return number * 10

    for number in (0, 1, 2, 0, 3, 0, 1):
        assert memory.get(bytes([number]), partial(tenfold, number)) == number * 10
    assert len(memory) == 3 and asked == [0, 1, 2, 3, 1], "1 was the oldest when 3 came"


def test_remembered_results_from_many_threads_are_right():
    memory: Remembered[int] = Remembered(20)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: memory.get(bytes([i % 40]), lambda: i % 40), range(4_000)))
    assert found == [i % 40 for i in range(4_000)] and len(memory) <= 20


@dataclass
class Thing:
    number: int


def test_a_result_of_an_object_goes_with_it_and_belongs_to_no_equal_one():
    memory: OfObject[str] = OfObject()
    one, equal = Thing(1), Thing(1)
    memory.put(one, "first")
    assert memory.get(one) == "first" and memory.get(equal) is None
    memory.put(one, "second")
    assert memory.get(one) == "second" and len(memory) == 1
    del one
    gc.collect()
    assert len(memory) == 0


def test_tracks_asked_for_twice_are_those_computed_afresh():
    candles = garch_world(3, 900).candles()
    wide, narrow = tracks_of(candles, 300), tracks_of(candles, 7)
    alone = tracks_of(replace(candles), 7)
    for key, track in narrow.items():
        for name in ("value", "k", "status"):
            np.testing.assert_array_equal(getattr(track, name), getattr(alone[key], name), err_msg=f"{key} {name}")
            np.testing.assert_array_equal(getattr(track, name), getattr(wide[key], name)[-7:])


def test_strikes_in_order_are_matched_as_any_others():
    rng = np.random.default_rng(SEED)
    strikes = np.sort(rng.permutation(60)[:30]).astype(float)
    for calls, puts in ((strikes, strikes), (strikes[::-1].copy(), strikes), (strikes[:20], strikes[5:]), (np.empty(0), strikes)):
        for ours, numpys in zip(options_surface._common(calls, puts), np.intersect1d(calls, puts, return_indices=True), strict=True):
            np.testing.assert_array_equal(ours, numpys)


def test_the_loop_is_a_kernel_with_an_example():
    assert isinstance(orders_of, Kernel) and orders_of.example is not None
