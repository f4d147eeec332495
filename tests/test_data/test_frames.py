"""Candles: the contract on rows, segments and halts, and sums to longer intervals against counting by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import ContractBroken
from data.frames import COLUMNS, OPTIONAL_COLUMNS, Candles, aggregate, concat, row_faults
from data.market import Interval
from tests.made_candles import JAN_2024, made, same, with_changes, without_optional

HOUR, MINUTE = Interval.H1.ms, Interval.M1.ms


def faults_of(**changes: float) -> dict[int, str]:
    """The faults of five good rows of which row 2 is changed."""
    columns = {name: np.array(array) for name, array in made(5).columns().items()}
    for name, value in changes.items():
        columns[name][2] = value
    return row_faults(columns, Interval.H1)


def test_good_rows_have_no_fault():
    assert row_faults(made(500).columns(), Interval.H1) == {}
    assert row_faults(without_optional(made(50)).columns(), Interval.H1) == {}
    assert row_faults(Candles.empty(Interval.H1).columns(), Interval.H1) == {}


@pytest.mark.parametrize(("changes", "words"), [
    ({"open_time": 5}, "outside 2010..2100"), ({"open_time": JAN_2024 * 1000}, "outside 2010..2100"),
    ({"open_time": JAN_2024 + 2 * HOUR + 1}, "not on the 1h grid"), ({"close_time": JAN_2024}, "before open_time"),
    ({"close_time": JAN_2024 + 3 * HOUR}, "later than the end"), ({"close": math.nan}, "close is not a finite number"),
    ({"high": math.inf}, "high is not a finite number"), ({"low": 0.0}, "low is not above zero"),
    ({"open": -1.0}, "open is not above zero"),
    ({"high": 2e15}, "larger than"), ({"volume": -0.5}, "volume is negative"), ({"volume": math.nan}, "volume is not a finite"),
    ({"low": 1e6}, "low is above"), ({"high": 1.0}, "low is above"), ({"count": -1}, "count is negative or infinite"),
    ({"quote_volume": math.inf}, "quote_volume is negative or infinite"),
])
def test_each_broken_rule_is_named_for_its_row(changes, words):
    faults = faults_of(**changes)
    assert list(faults) == [2] and words in faults[2]


def test_a_week_begins_on_monday():
    monday = JAN_2024  # 2024-01-01 was one
    columns = {n: np.array([v]) for n, v in (("open_time", monday), ("close_time", monday + Interval.W1.ms - 1))}
    columns |= {n: np.array([1.0]) for n in COLUMNS if n not in columns}
    assert row_faults(columns, Interval.W1) == {}
    columns["open_time"] = columns["open_time"] + 3 * 24 * HOUR
    assert "grid" in row_faults(columns | {"close_time": columns["open_time"] + 5}, Interval.W1)[0]


def test_candles_are_read_only_and_of_one_length():
    candles = made(10)
    with pytest.raises(ValueError):
        candles.close[0] = 1.0
    with pytest.raises(ContractBroken, match="has shape"):
        Candles.from_columns(Interval.H1, candles.columns() | {"close": np.ones(9)})


def test_missing_columns_are_nan_and_a_missing_close_time_is_the_end_of_the_bar():
    candles = without_optional(made(5))
    assert all(np.isnan(getattr(candles, n)).all() for n in OPTIONAL_COLUMNS)
    assert np.array_equal(candles.close_time, candles.open_time + HOUR - 1) and not candles.short.any()


def test_the_frame_has_a_utc_index_in_the_candles_times():
    candles = made(5)
    frame = candles.frame()
    assert str(frame.index.tz) == "UTC" and frame.index.as_unit("ms").asi8.tolist() == candles.open_time.tolist()


def test_a_bar_is_closed_only_after_its_close_time():
    candles = made(5)
    assert [len(candles.closed_before(JAN_2024 + 2 * HOUR + d)) for d in (-1, 0, 1)] == [1, 2, 2]


@settings(max_examples=100, deadline=None)
@given(keep=st.lists(st.booleans(), max_size=60), halts=st.lists(st.tuples(st.integers(0, 59), st.integers(1, 5)), max_size=3))
def test_gaps_segments_and_halts_against_counting_by_hand(keep, halts):
    rows = [i for i, kept in enumerate(keep) if kept]
    confirmed = tuple((JAN_2024 + a * HOUR, JAN_2024 + (a + n - 1) * HOUR) for a, n in halts)
    candles = Candles.from_columns(Interval.H1, made(60).take(np.array(rows, int)).columns(), halts=confirmed)
    holes, starts = [], []
    for place, row in enumerate(rows):
        if place and row != rows[place - 1] + 1:
            hole = (JAN_2024 + (rows[place - 1] + 1) * HOUR, JAN_2024 + (row - 1) * HOUR)
            holes.append((*hole, row - rows[place - 1] - 1))
            if hole not in confirmed:
                starts.append(place)
        elif not place:
            starts.append(0)
    assert candles.gaps() == holes
    assert [s.start for s in candles.segments] == starts
    assert sum(s.stop - s.start for s in candles.segments) == len(rows)
    returns = candles.log_return
    for place in range(len(rows)):
        expected = math.nan if place in starts else math.log(candles.close[place]) - math.log(candles.close[place - 1])
        assert returns[place] == pytest.approx(expected, abs=1e-12, nan_ok=True)


def naive_aggregate(fine: Candles, interval: Interval) -> dict[int, dict[str, float]]:
    """By the docstring of `aggregate`, one bar at a time."""
    per_bar = interval.ms // fine.interval.ms
    out = {}
    for opened in sorted({interval.floor(int(t)) for t in fine.open_time}):
        rows = [i for i, t in enumerate(fine.open_time) if opened <= t < opened + interval.ms]
        present = {int(fine.open_time[i]) for i in rows}
        wanted = [opened + k * fine.interval.ms for k in range(per_bar)]
        if all(t in present or any(a <= t <= b for a, b in fine.halts) for t in wanted):
            out[opened] = {"open": fine.open[rows[0]], "close": fine.close[rows[-1]], "high": max(fine.high[i] for i in rows),
                           "low": min(fine.low[i] for i in rows), "close_time": fine.close_time[rows[-1]]} | {
                n: sum(getattr(fine, n)[i] for i in rows) for n in ("volume", *OPTIONAL_COLUMNS)}
    return out


@settings(max_examples=60, deadline=None)
@given(start=st.integers(-40, 40), drop=st.lists(st.tuples(st.integers(0, 239), st.integers(1, 90)), max_size=3), confirm=st.booleans(),
       interval=st.sampled_from([Interval.M5, Interval.M30, Interval.H1]))
def test_aggregate_against_a_slow_truth_with_holes_and_halts(start, drop, confirm, interval):
    whole = made(240, interval=Interval.M1, start=JAN_2024 + start * MINUTE)
    keep = np.ones(240, bool)
    for first, count in drop:
        keep[first : first + count] = False
    rows = np.flatnonzero(keep)
    fine = whole.take(rows)
    if confirm:
        halts = tuple((a, b) for a, b, _ in fine.gaps())
        fine = Candles.from_columns(Interval.M1, fine.columns(), halts=halts)
    got, expected = aggregate(fine, interval), naive_aggregate(fine, interval)
    assert got.open_time.tolist() == list(expected)
    for i, values in enumerate(expected.values()):
        for name, value in values.items():
            assert getattr(got, name)[i] == pytest.approx(value, rel=1e-12)
    # A hole of the longer interval that lies wholly in a halt is a halt there too; nothing else is.
    for a, b, _ in got.gaps():
        inside = all(any(h0 <= t <= h1 for h0, h1 in fine.halts) for t in range(a, b + 1, MINUTE))
        assert ((a, b) in got.halts) == inside
    if len(got):
        assert row_faults(got.columns(), interval) == {}


def test_a_halt_that_begins_on_the_hour_is_a_halt_of_hours_too():
    """Once, the bar that begins with the halt was left out of the longer halt, which then bridged nothing."""
    fine = made(300, interval=Interval.M1).take(np.r_[0:60, 180:300])
    fine = Candles.from_columns(Interval.M1, fine.columns(), halts=((JAN_2024 + HOUR, JAN_2024 + 3 * HOUR - MINUTE),))
    hours = aggregate(fine, Interval.H1)
    assert hours.halts == ((JAN_2024 + HOUR, JAN_2024 + 2 * HOUR),) and len(hours.segments) == 1


def test_aggregate_refuses_what_does_not_divide():
    with pytest.raises(ContractBroken, match="not a multiple"):
        aggregate(made(10), Interval.M5)
    with pytest.raises(ContractBroken, match="not a multiple"):
        aggregate(made(10, interval=Interval.H8), Interval.H12)


def test_a_bar_cut_short_stays_visibly_short_in_the_sum():
    fine = made(120, interval=Interval.M1)
    closes = np.array(fine.close_time)
    closes[59] -= 20_000
    assert aggregate(with_changes(fine, close_time=closes), Interval.H1).short.tolist() == [True, False]


def test_concat_joins_consecutive_parts_and_refuses_overlap():
    candles = made(20)
    one = Candles.from_columns(Interval.H1, candles.take(slice(0, 8)).columns(), provenance="LIVE")
    two = Candles.from_columns(Interval.H1, candles.take(slice(8, 20)).columns(), provenance="IMPORTED")
    joined = concat([one, two])
    assert same(joined, candles) and joined.provenance == "IMPORTED"
    with pytest.raises(ContractBroken, match="overlap"):
        concat([two, one])
    with pytest.raises(ContractBroken, match="at least one"):
        concat([])


def test_an_empty_series_has_no_segment_and_no_gap():
    empty = Candles.empty(Interval.H1)
    assert (empty.segments, empty.gaps(), len(empty.log_return)) == ((), [], 0)
