"""Every kind of defect, planted once: the report finds it, names its bars, and stays quiet on clean candles."""

from __future__ import annotations

import numpy as np
import pytest

from data.clock import parse_time
from data.frames import OPTIONAL_COLUMNS, Candles, aggregate
from data.importing.importer import import_paths
from data.market import Interval, Market, SeriesKey
from data.quality import FindingKind, Severity, assess, candle_findings, disagreements, outlier_flags, robust_scale
from data.storage.candles import CandleStore
from tests.made_candles import JAN_2024, made, scaled, with_changes, without_optional

KEY = SeriesKey("BTCUSDT", Interval.H1)
HOUR = Interval.H1.ms
PRICES = ("open", "high", "low", "close")


def found(candles: Candles, kind: FindingKind) -> list[tuple[int, int, int]]:
    """(first row, last row, bars) of the findings of one kind."""
    rows = {int(t): i for i, t in enumerate(candles.open_time)}
    return sorted((rows[f.start], rows[f.end], f.bars) for f in candle_findings(candles) if f.kind is kind)


def test_clean_candles_give_no_finding():
    for seed in range(5):
        assert candle_findings(made(3000, seed=seed)) == []
    assert candle_findings(Candles.empty(Interval.H1)) == [] and candle_findings(made(1)) == []


def test_a_short_candle():
    candles = made(100)
    closes = np.array(candles.close_time)
    closes[40] -= 1_200_000
    assert found(with_changes(candles, close_time=closes), FindingKind.SHORT) == [(40, 40, 1)]


def test_bars_without_a_trade_and_a_dead_market():
    candles = made(300)
    volume = np.array(candles.volume)
    volume[[10, 11]] = 0
    quiet = with_changes(candles, volume=volume)
    assert found(quiet, FindingKind.ZERO_VOLUME) == [(10, 11, 2)]
    changes = {n: np.array(getattr(candles, n)) for n in (*PRICES, "volume")}
    for name in PRICES:
        changes[name][200:] = candles.close[199]
    changes["volume"][200:] = 0
    dead = with_changes(candles, **changes)
    assert found(dead, FindingKind.FROZEN) == [(200, 299, 100)] and found(dead, FindingKind.ZERO_VOLUME) == []


def test_a_stuck_feed_repeats_its_candle():
    candles = made(100)
    rows = np.arange(100)
    rows[50:54] = 50
    columns = {n: getattr(candles, n)[rows] for n in (*PRICES, "volume")}
    assert found(with_changes(candles, **columns), FindingKind.REPEATED) == [(50, 53, 4)]


def test_a_bad_print_that_the_next_bar_takes_back():
    candles = scaled(made(1000), slice(700, 701), 1.4, ("close", "high"))
    changed = with_changes(candles, high=np.maximum(candles.high, candles.close))
    outliers = [f for f in candle_findings(changed) if f.kind is FindingKind.OUTLIER]
    first = next(f for f in outliers if f.start == JAN_2024 + 700 * HOUR)
    assert first.severity is Severity.WARNING and "takes it back" in first.words and "+39.7%" in first.words


def test_a_wick_far_beyond_open_and_close():
    candles = scaled(made(1000), slice(600, 601), 0.8, ("low",))
    assert found(candles, FindingKind.WICK) == [(600, 600, 1)]


def test_a_price_in_another_unit_from_some_bar_on():
    candles = scaled(made(400), slice(250, None), 0.001, PRICES)
    assert found(candles, FindingKind.PRICE_SCALE) == [(250, 250, 1)]


@pytest.mark.parametrize("factor", [1e3, 1e8, 1e-3, 40_000])
def test_a_volume_in_another_unit_from_some_bar_on(factor):
    candles = scaled(made(400), slice(230, None), factor, ("volume",))
    (finding,) = [f for f in candle_findings(candles) if f.kind is FindingKind.VOLUME_UNIT]
    assert abs((finding.start - JAN_2024) // HOUR - 230) <= 1 and finding.severity is Severity.ERROR
    assert ("quote currency" in finding.words) == (factor == 40_000)


def test_missing_columns_are_named_with_their_count():
    candles = made(50)
    count = np.array(candles.count)
    count[:20] = np.nan
    assert found(with_changes(candles, count=count), FindingKind.MISSING_COLUMN) == [(0, 19, 20)]
    assert len(found(without_optional(candles), FindingKind.MISSING_COLUMN)) == len(OPTIONAL_COLUMNS)


def test_an_interval_that_differs_from_the_sum_of_a_finer_one():
    fine = made(60 * 48, interval=Interval.M1)
    hours = aggregate(fine, Interval.H1)
    assert disagreements(fine, hours) == []
    wrong = scaled(scaled(hours, slice(10, 12), 1.01, ("high",)), slice(30, 31), 2.0, ("volume",))
    result = {(f.severity, (f.start - JAN_2024) // HOUR, f.bars) for f in disagreements(fine, wrong)}
    assert result == {(Severity.ERROR, 10, 2), (Severity.WARNING, 30, 1)}


def test_the_flags_know_nothing_of_later_bars():
    candles = scaled(made(1200), slice(800, 801), 1.5, ("close", "high"))
    flags, scale = outlier_flags(candles), robust_scale(candles)
    assert flags[800] and not flags[:800].any()
    for cut in (300, 799, 801, 900):
        assert np.array_equal(outlier_flags(candles.take(slice(0, cut))), flags[:cut])
        assert np.array_equal(robust_scale(candles.take(slice(0, cut))), scale[:cut], equal_nan=True)


def test_a_stored_series_with_a_gap_damage_a_conflict_and_another_interval(tmp_path):
    store = CandleStore(tmp_path)
    fine = made(60 * 24 * 40, interval=Interval.M1)
    hours = aggregate(fine, Interval.H1)
    keep = np.ones(len(hours), bool)
    keep[100:104] = False
    keep[500] = False
    store.append(KEY, scaled(hours, slice(850, 851), 3.0, ("volume",)).take(np.flatnonzero(keep)), provenance="LIVE", source="live")
    store.append(KEY, hours.take(slice(300, 310)), provenance="LIVE", source="live")
    store.append(KEY, scaled(hours, slice(200, 203), 5.0, ("volume",)).take(slice(200, 203)), provenance="IMPORTED", source="x.csv")
    store.append(KEY.at(Interval.M1), fine, provenance="LIVE", source="live")
    store.confirm_gap(KEY, JAN_2024 + 100 * HOUR, JAN_2024 + 103 * HOUR, "maintenance")
    report = assess(store, KEY)
    by_kind = {f.kind: f for f in report.findings}
    assert report.counts == {"gap": 2, "conflicting values": 1, "disagreement between intervals": 1}
    gaps = sorted((f.bars, f.severity) for f in report.findings if f.kind is FindingKind.GAP)
    assert gaps == [(1, Severity.WARNING), (4, Severity.NOTE)]
    assert by_kind[FindingKind.CONFLICT].bars == 3 and "x.csv" in by_kind[FindingKind.CONFLICT].words
    assert by_kind[FindingKind.DISAGREEMENT].start == JAN_2024 + 850 * HOUR
    document = report.document()
    assert document["counts"]["gap"] == 2 and document["findings"][0]["severity"] == "warning"

    (tmp_path / "candles/binance/spot/BTCUSDT/1h/2024-02.parquet").write_bytes(b"")
    store.read(KEY)
    after = assess(store, KEY)
    assert after.worst is Severity.ERROR and after.findings[0].kind is FindingKind.DAMAGE


def test_an_unknown_series_gives_an_empty_report(tmp_path):
    report = assess(CandleStore(tmp_path), KEY)
    assert (report.bars, report.first, report.findings, report.worst) == (0, None, (), None)


def test_many_findings_of_a_kind_are_counted_and_the_longest_listed(tmp_path):
    candles = made(2000)
    store = CandleStore(tmp_path)
    keep = np.flatnonzero(np.arange(2000) % 4 != 1)
    keep = keep[(keep < 1000) | (keep > 1010)]
    store.append(KEY, candles.take(keep), provenance="LIVE", source="live")
    report = assess(store, KEY)
    gaps = [f for f in report.findings if f.kind is FindingKind.GAP]
    assert len(gaps) == 200 and report.counts["gap"] > 400 and max(f.bars for f in gaps) >= 11


@pytest.mark.real
def test_dead_contracts_and_the_outage_of_2023_in_real_recordings(recordings, tmp_path):
    store = CandleStore(tmp_path)
    import_paths(store, [recordings / "futures_klines_native/um_1h/WAVESUSDT-1h.csv.zip"], market=Market.PERP,
                 clock_ms=parse_time("2026-11-20"))
    waves = assess(store, SeriesKey("WAVESUSDT", Interval.H1, Market.PERP))
    frozen = [f for f in waves.findings if f.kind is FindingKind.FROZEN]
    assert len(frozen) == 1 and 17_000 < frozen[0].bars <= 17_426
    import_paths(store, [recordings / "vision/data/spot/monthly/klines/BTCUSDT/1h"], clock_ms=parse_time("2026-11-20"))
    btc = assess(store, KEY)
    assert btc.counts["gap"] == 1 and btc.counts["short candle"] == 1 and btc.worst is Severity.WARNING
    assert btc.counts.get("outlier", 0) + btc.counts.get("wick", 0) < 80  # of 32,855: a page that cries wolf is not read
