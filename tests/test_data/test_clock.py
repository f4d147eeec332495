"""Times: UTC milliseconds inside, ISO 8601 outside, and nothing in between."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.clock import FixedClock, SystemClock, age_text, iso, parse_time
from data.errors import BadTime

MOMENTS = st.integers(0, 4_102_444_799_999)


@given(MOMENTS)
def test_iso_and_back(ms):
    assert parse_time(iso(ms)) == ms


@given(MOMENTS, st.integers(-14 * 60, 14 * 60))
def test_any_zone_names_the_same_moment(ms, offset):
    local = datetime.fromtimestamp(ms / 1000, UTC).replace(microsecond=0).astimezone(timezone(timedelta(minutes=offset)))
    assert parse_time(local.isoformat()) == ms // 1000 * 1000


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_bad(text):
    try:
        assert isinstance(parse_time(text), int)
    except BadTime as error:
        assert "2024-03-01" in str(error)


@pytest.mark.parametrize("text", ["2024-02-30", "2024-13-01", "2024-01-01T25:00Z", "1704067200000", "01/02/2024", "", "2024-1-1"])
def test_what_is_no_time(text):
    with pytest.raises(BadTime):
        parse_time(text)


def test_a_time_without_zone_is_utc_whatever_the_machine_says(monkeypatch):
    expected = parse_time("2024-07-01T12:00:00Z")
    for zone in ("America/New_York", "Asia/Tokyo"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        assert parse_time("2024-07-01 12:00") == expected and iso(expected) == "2024-07-01T12:00:00Z"
    monkeypatch.delenv("TZ")
    time.tzset()


def test_clocks():
    assert FixedClock(5).now_ms() == 5
    assert abs(SystemClock().now_ms() - time.time() * 1000) < 5_000


def test_ages_in_the_largest_fitting_unit():
    assert [age_text(s * 1000) for s in (-5, 0, 119, 120, 7199, 7200, 172_799, 172_800)] == [
        "0 s", "0 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 d"]
