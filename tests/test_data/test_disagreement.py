"""Two sources of one series: planted differences are counted, measured and dated; what only one side has is left out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from data.disagreement import conflicts_disagree, mark_and_index_disagree, venues_disagree
from data.errors import InputError
from data.frames import COLUMNS, Candles
from data.market import HOUR_MS, Interval, SeriesKey
from data.observations import COLUMNS_OF, Kind, Observations
from data.storage.candles import CandleStore

START = 1_760_000_400_000
KEY = SeriesKey("BTCUSDT", Interval.H1)


def candles(rows: int, **changed: tuple[int, float]) -> Candles:
    """A calm series; `close=(3, 7.0)` puts 7.0 into row 3."""
    base = np.linspace(100.0, 110.0, rows)
    columns = {name: base.copy() for name in COLUMNS} | {"low": base - 1, "high": base + 1,
                                                         "open_time": START // HOUR_MS * HOUR_MS + HOUR_MS * np.arange(rows)}
    columns["close_time"] = columns["open_time"] + HOUR_MS - 1
    for name, (row, value) in changed.items():
        columns[name][row] = value
    return Candles.from_columns(Interval.H1, columns, provenance="LIVE")


def rows(kind: Kind, times, **columns) -> Observations:
    times = np.asarray(times, np.int64)
    return Observations(kind, times, times, {name: np.asarray(columns.get(name, np.full(len(times), np.nan)), float)
                                             for name in COLUMNS_OF[kind]})


def test_conflicts_kept_aside_are_named_by_their_source(tmp_path):
    store = CandleStore(tmp_path)
    store.append(KEY, candles(20), provenance="LIVE", source="Binance spot")
    store.append(KEY, candles(20, close=(3, 101.6)), provenance="MIRROR", source="mirror")
    store.append(KEY, candles(20, close=(4, 102.2), volume=(9, 1.0)), provenance="ARCHIVE", source="archive")
    archive, mirror = conflicts_disagree(KEY, store.conflicts(KEY))
    assert (archive.source_b, archive.compared, archive.differing, archive.column) == ("archive", 2, 2, "volume")
    assert (mirror.source_b, mirror.differing, mirror.column) == ("mirror", 1, "close")
    assert mirror.at_ms == candles(20).open_time[3] and conflicts_disagree(KEY, []) == []


def test_funding_of_another_venue_is_compared_by_the_hour_and_within_minutes():
    at = START + 8 * HOUR_MS * np.arange(4)
    ours = rows(Kind.FUNDING, at, rate=[8e-4, 8e-4, -8e-4, 8e-4], interval_h=[8] * 4)
    theirs = rows(Kind.FUNDING, at[:3] + np.array([7, -20_000, 3]), rate=[4e-4, 4.2e-4, 4e-4], interval_h=[4] * 3)
    found = venues_disagree("BTCUSDT", ours, "Binance futures", theirs, "OKX")
    assert (found.compared, found.differing, found.largest, found.at_ms) == (3, 1, 2.0, at[2])
    assert venues_disagree("BTCUSDT", ours, "a", rows(Kind.FUNDING, at + HOUR_MS, rate=[1.0] * 4, interval_h=[8] * 4), "b").compared == 0
    with pytest.raises(InputError, match="two series of one kind"):
        venues_disagree("BTCUSDT", ours, "a", rows(Kind.OPEN_INTEREST, at), "b")


def test_open_interest_without_a_value_is_not_compared():
    at = START + HOUR_MS * np.arange(3)
    ours = rows(Kind.OPEN_INTEREST, at, contracts=[1, 1, 1], value_quote=[100, np.nan, 100])
    theirs = rows(Kind.OPEN_INTEREST, at[::-1], contracts=[5, 5, 5], value_quote=[105, 100, 25])
    found = venues_disagree("BTCUSDT", ours, "Binance", theirs, "OKX")
    assert (found.compared, found.differing) == (2, 1) and found.largest in (0.75, pytest.approx(5 / 105))
    nothing = venues_disagree("BTCUSDT", ours, "Binance", rows(Kind.OPEN_INTEREST, []), "OKX")
    assert nothing.compared == 0 and math.isnan(nothing.largest) and "no row in common" in nothing.words


def test_mark_and_index_within_half_a_percent_agree():
    at = START + HOUR_MS * np.arange(5)
    index = rows(Kind.INDEX_PRICE, at, close=[100.0] * 5)
    mark = rows(Kind.MARK_PRICE, at, close=[100.2, 99.7, 100.0, 103.0, np.nan])
    found = mark_and_index_disagree("BTCUSDT", mark, index)
    assert (found.series, found.compared, found.differing, found.at_ms) == ("BTCUSDT mark and index", 4, 1, at[3])


def test_each_row_is_used_once_and_with_its_nearest(seed):
    """Against the slow way: all pairs within reach, nearest first."""
    draw = np.random.default_rng(seed)
    for _ in range(30):
        a = np.unique(draw.integers(0, 4_000_000, 12)) + START
        b = np.unique(draw.integers(0, 4_000_000, 12)) + START
        found = venues_disagree("X", rows(Kind.FEAR_GREED, a, value=a - START + 1), "a", rows(Kind.FEAR_GREED, b, value=b - START + 1), "b",
                                tolerance=0.0)
        nearest = {int(i): int(np.argmin(np.abs(b - a[i]))) for i in range(len(a))}
        taken = {}
        for i, j in sorted(nearest.items(), key=lambda pair: abs(int(a[pair[0]]) - int(b[pair[1]]))):
            if abs(int(a[i]) - int(b[j])) <= 300_000 and j not in taken:
                taken[j] = i
        apart = [abs(int(a[i]) - int(b[j])) / (max(int(a[i]), int(b[j])) - START + 1) for j, i in taken.items()]
        assert found.compared == len(taken)
        assert (found.largest == pytest.approx(max(apart))) if apart else math.isnan(found.largest)
