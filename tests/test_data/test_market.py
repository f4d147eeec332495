"""The vocabulary: what parses, what is refused and with which hint."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import InputError, UnknownInterval, UnknownSymbol
from data.market import DAY_MS, Interval, Market, SeriesKey, did_you_mean, parse_symbol, provenance_rank, worst_provenance


@pytest.mark.parametrize(("interval", "ms"), [(Interval.M1, 60_000), (Interval.M15, 900_000), (Interval.H4, 14_400_000),
                                              (Interval.D1, DAY_MS), (Interval.W1, 7 * DAY_MS)])
def test_lengths_of_intervals(interval, ms):
    assert interval.ms == ms and interval.bars_per_year == 365 * DAY_MS / ms


@given(st.sampled_from(list(Interval)), st.integers(1_262_304_000_000, 4_102_444_799_999))
def test_a_moment_lies_in_the_bar_that_floor_names(interval, ms):
    opened = interval.floor(ms)
    assert opened <= ms < opened + interval.ms and interval.floor(opened) == opened
    assert interval is not Interval.W1 or (opened // DAY_MS + 3) % 7 == 0  # a Monday


def test_an_unknown_interval_gets_a_hint():
    assert Interval.parse(" 1h ") is Interval.H1
    with pytest.raises(UnknownInterval, match="did you mean 1h"):
        Interval.parse("1H")
    with pytest.raises(UnknownInterval, match="expected an interval"):
        Interval.parse("")


def test_markets():
    assert Market.parse("Spot ") is Market.SPOT
    with pytest.raises(InputError, match="--market spot"):
        Market.parse("margin")


@given(st.text(max_size=30))
def test_a_symbol_is_safe_in_paths_and_html_or_refused(text):
    try:
        symbol = parse_symbol(text)
    except UnknownSymbol as error:
        assert "BTCUSDT" in str(error)
        return
    assert parse_symbol(symbol) == symbol and 2 <= len(symbol) <= 24
    assert not set(symbol) & set("/\\.<>&\"'\0\n :%*?|") and symbol.count("_") <= 1


@pytest.mark.parametrize("text", ["", "A", "../BTC", "BTC/USDT", "<b>", "A__B", "A" * 25, "BTC USDT", "BTC-USDT"])
def test_what_is_no_symbol(text):
    with pytest.raises(UnknownSymbol):
        parse_symbol(text)


def test_provenances_are_ranked_by_distance_from_the_exchange():
    ranked = ["LIVE", "MIRROR", "ARCHIVE", "VENUE:kraken", "IMPORTED", "SIMULATED"]
    assert sorted(ranked, key=provenance_rank) == ranked and worst_provenance(ranked) == "SIMULATED"
    with pytest.raises(InputError, match="unknown provenance"):
        provenance_rank("RUMOUR")


def test_keys_sort_and_print():
    assert str(SeriesKey("BTCUSDT", Interval.H1)) == "BTCUSDT 1h spot"
    assert SeriesKey("A1", Interval.H1) < SeriesKey("B1", Interval.H1)
    assert did_you_mean("BTCUSD", ["BTCUSDT", "ETHUSDT"]) == "; did you mean BTCUSDT?"
    assert did_you_mean("QQQ", ["BTCUSDT"]) == ""
