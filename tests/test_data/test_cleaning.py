"""Filling happens on a copy, every invented row is flagged, and the store's candles stay as they were."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.cleaning import Fill, clean
from data.errors import InputError
from data.frames import COLUMNS, Candles, row_faults
from data.market import Interval
from tests.made_candles import JAN_2024, made, same, scaled, with_changes, without_optional

HOUR = Interval.H1.ms


def holed(bars: int = 100) -> Candles:
    return made(bars).take(np.r_[0:20, 23:60, 61:bars])


def test_leave_changes_nothing_and_flags_nothing():
    candles = holed()
    table = clean(candles)
    assert all(np.array_equal(table.columns[n], getattr(candles, n)) for n in COLUMNS)
    assert not table.columns["filled"].any() and (table.filled_rows, table.dropped_rows, table.uses_future) == (0, 0, False)


def test_previous_repeats_the_close_without_volume():
    candles = holed()
    table = clean(candles, Fill.PREVIOUS)
    assert len(table) == 100 and np.flatnonzero(table.columns["filled"]).tolist() == [20, 21, 22, 60]
    for row in (20, 21, 22):
        assert all(table.columns[n][row] == candles.close[19] for n in ("open", "high", "low", "close"))
        assert all(table.columns[n][row] == 0 for n in ("volume", "quote_volume", "count", "taker_buy_volume"))
    assert not table.uses_future
    assert np.array_equal(table.columns["open_time"], JAN_2024 + np.arange(100) * HOUR)
    assert np.array_equal(table.columns["close_time"], table.columns["open_time"] + HOUR - 1)


def test_linear_runs_straight_to_the_next_close_and_says_that_it_knows_the_future():
    candles = holed()
    table = clean(candles, Fill.LINEAR)
    before, after = candles.close[19], candles.close[20]
    assert table.columns["close"][20:23] == pytest.approx([before + (after - before) * k / 4 for k in (1, 2, 3)])
    assert table.columns["open"][20] == before and table.columns["open"][21] == pytest.approx(table.columns["close"][20])
    assert table.uses_future


def test_drop_leaves_out_short_candles_and_rows_lacking_a_column_others_have():
    candles = made(50)
    closes, count = np.array(candles.close_time), np.array(candles.count)
    closes[5] -= 1_000_000
    count[9] = np.nan
    table = clean(with_changes(candles, close_time=closes, count=count), Fill.DROP)
    assert table.dropped_rows == 2 and len(table) == 48
    assert clean(without_optional(candles), Fill.DROP).dropped_rows == 0  # a column nobody has is no reason


def test_outliers_are_flagged_and_never_on_an_invented_row():
    candles = scaled(made(1000), slice(700, 701), 1.5, ("close", "high")).take(np.r_[0:701, 705:1000])
    table = clean(candles, Fill.PREVIOUS)
    assert table.columns["outlier"][700] and not (table.columns["outlier"] & table.columns["filled"]).any()


def test_regression_comes_with_the_models_and_unknown_ways_are_named():
    with pytest.raises(InputError, match="comes with the models; choose leave, drop, previous, linear"):
        clean(holed(), Fill.REGRESSION)
    with pytest.raises(InputError, match="expected a way of filling"):
        Fill.parse("magic")
    assert Fill.parse(" Linear ") is Fill.LINEAR


def test_a_hole_of_years_is_refused_instead_of_filling_the_memory():
    candles = Candles.from_columns(Interval.M1, {n: np.repeat(getattr(made(1), n), 2) for n in ("open", "high", "low", "close", "volume")}
                                   | {"open_time": np.array([JAN_2024, JAN_2024 + 1_100_000 * 60_000])})
    with pytest.raises(InputError, match="ask for a shorter range"):
        clean(candles, Fill.PREVIOUS)


@settings(max_examples=40, deadline=None)
@given(keep=st.lists(st.booleans(), min_size=60, max_size=60), fill=st.sampled_from([Fill.PREVIOUS, Fill.LINEAR]))
def test_a_filled_table_is_whole_valid_and_keeps_every_stored_row(keep, fill):
    candles = made(60).take(np.flatnonzero(keep))
    untouched = {n: np.array(getattr(candles, n)) for n in COLUMNS}
    table = clean(candles, fill)
    assert all(np.array_equal(untouched[n], getattr(candles, n)) for n in COLUMNS)
    stored = {n: table.columns[n][~table.columns["filled"]] for n in COLUMNS}
    assert same(Candles.from_columns(Interval.H1, stored), candles)
    if len(candles):
        assert np.all(np.diff(table.columns["open_time"]) == HOUR)
        assert row_faults({n: table.columns[n] for n in COLUMNS}, Interval.H1) == {}
