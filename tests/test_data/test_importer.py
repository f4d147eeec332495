"""Files people have become exactly the candles they hold, or a refusal that says what to do."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import random
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.clock import iso, parse_time
from data.errors import ImportRefused, InputError
from data.frames import row_faults
from data.importing.importer import ImportReport, import_paths, import_uploads, summary_text
from data.market import Interval, Market, SeriesKey
from data.storage.candles import CandleStore
from tests.made_candles import JAN_2024, archive_text, made, plain_text, same, scaled, with_changes, without_optional

KEY = SeriesKey("BTCUSDT", Interval.H1)
NOW = parse_time("2026-11-20T00:00:00Z")
HOUR = Interval.H1.ms
SPOT = Path("data/spot/monthly/klines/BTCUSDT/1h")


@pytest.fixture
def store(tmp_path):
    return CandleStore(tmp_path / "store")


def zipped(name: str, text: str | bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return out.getvalue()


def load(store: CandleStore, text: str | bytes, name: str = "BTCUSDT-1h.csv", **options) -> ImportReport:
    data = text.encode() if isinstance(text, str) else text
    return import_uploads(store, [(name, data)], **{"market": Market.SPOT, "clock_ms": NOW} | options)


def only(report: ImportReport):
    (series,) = report.series
    return series


def stamp(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


# -- real recordings -----------------------------------------------------------------------------------------------------------


@pytest.mark.real
def test_the_vision_folder_into_an_empty_store_and_again(recordings, store):
    report = import_paths(store, [recordings / "vision"], clock_ms=NOW)
    found = {(s.key.symbol, str(s.key.interval), str(s.key.market)): s for s in report.series}
    btc = found["BTCUSDT", "1h", "spot"]
    assert (btc.added, btc.present, btc.duplicates, btc.conflicts, btc.rejected_total) == (32_855 + 72, 32_855 + 72, 48, 0, 0)
    document = next(s for s in report.document()["series"] if (s["symbol"], s["interval"]) == ("BTCUSDT", "1h"))
    assert [(g["start"], g["end"], g["bars"]) for g in document["gaps"]] == [
        ("2023-03-24T13:00:00Z", "2023-03-24T13:00:00Z", 1)]
    assert document["rejected"] == []
    # Rows as the folder's README states them.
    rows = {"BTCUSDT 4h": 9571, "ETHUSDT 4h": 9571, "BTCUSDT 15m": 17376, "SOLUSDT 15m": 17376, "BTCUSDT 1d": 639,
            "BTCUSDT 1m": 2880, "ADAUSDT 1h": 32855, "XRPUSDT 1h": 32855, "ETHUSDT 1h": 32927}
    for name, count in rows.items():
        assert found[(*name.split(), "spot")].present == count
    assert found["WLDUSDT", "3m", "perp"].present == 23_560 and found["WLDUSDT", "1h", "perp"].present == 1178
    assert sum(g.bars for g in found["BTCUSDT", "4h", "spot"].gaps) == 7 + 2 + 1 + 1 + 1 + 2 + 1 + 1
    assert report.refused == [] and report.skipped == {"CHECKSUM": 507, "aggTrades": 2, "fundingRate": 52, "md": 1, "metrics": 1}
    short = store.read(KEY, parse_time("2023-03-24T12:00Z"), parse_time("2023-03-24T14:00Z"))
    assert short.short.tolist() == [True] and iso(int(short.close_time[0])) == "2023-03-24T12:39:41.646Z"

    versions = {s.key: store.version(s.key) for s in report.series}
    again = import_paths(store, [recordings / "vision"], clock_ms=NOW)
    assert all(s.added == 0 and s.conflicts == 0 for s in again.series)
    assert next(s for s in again.series if s.key == KEY).duplicates == 32_855 + 120
    assert {s.key: store.version(s.key) for s in again.series} == versions


@pytest.mark.real
def test_vision_rows_equal_the_text_of_their_files(recordings, store):
    """A slow truth: the csv module and float(), row by row, over files of both time units."""
    folder = recordings / "vision" / SPOT
    paths = [folder / f"BTCUSDT-1h-{month}.zip" for month in ("2023-03", "2024-12", "2025-01")]
    import_paths(store, paths, clock_ms=NOW)
    candles = store.read(KEY)
    at = {int(t): i for i, t in enumerate(candles.open_time)}
    checked = 0
    for path in paths:
        with zipfile.ZipFile(path) as archive:
            text = archive.read(archive.namelist()[0]).decode()
        for row in csv.reader(io.StringIO(text)):
            unit = 1000 if len(row[0]) == 16 else 1
            i = at[int(row[0]) // unit]
            assert int(row[6]) // unit == candles.close_time[i]
            for place, name in ((1, "open"), (2, "high"), (3, "low"), (4, "close"), (5, "volume"), (7, "quote_volume"), (8, "count"),
                                (9, "taker_buy_volume"), (10, "taker_buy_quote_volume")):
                assert float(row[place]) == getattr(candles, name)[i]
            checked += 1
    assert checked == len(candles) == 743 + 744 + 744


@pytest.mark.real
def test_native_minutes_need_a_market_and_sum_to_what_another_source_has(recordings, store):
    with pytest.raises(ImportRefused, match="--market spot or --market perp"):
        import_paths(store, [recordings / "ohlcv_native"], clock_ms=NOW)
    report = import_paths(store, [recordings / "ohlcv_native"], market=Market.SPOT, clock_ms=NOW)
    rows = {str(s.key): s for s in report.series}
    assert rows["BTCUSDT 1m spot"].present == 150_000 and rows["BTCUSDT 5m spot"].present == 30_000
    assert rows["XRPETH 1m spot"].present == 1995 and len(rows["XRPETH 1m spot"].gaps) > 100
    gaps = {(iso(g.start), g.bars) for g in rows["BTCUSDT 1m spot"].gaps}
    assert {("2021-04-20T02:00:00Z", 150), ("2021-04-25T04:01:00Z", 284)} <= gaps
    # The archive's twelve columns over the six of another source: no conflict, the fuller rows stay.
    minutes = store.read(SeriesKey("BTCUSDT", Interval.M1))
    assert np.isnan(minutes.quote_volume).all()


@pytest.mark.real
def test_daily_full_history_meets_the_archive_and_fills_it_up(recordings, store):
    import_paths(store, [recordings / "vision/data/spot/monthly/klines/BTCUSDT/1d"], clock_ms=NOW)
    report = import_paths(store, [recordings / "klines_1d_full"], market=Market.SPOT, clock_ms=NOW)
    btc = next(s for s in report.series if s.key.symbol == "BTCUSDT")
    assert (btc.added, btc.duplicates, btc.present, btc.conflicts, btc.gaps) == (2967 - 639, 639, 2967, 0, [])
    assert sum(s.present for s in report.series) == 2724 + 2886 + 2967 + 2967 + 1877 + 2707
    day = parse_time("2018-02-08")
    assert store.read(SeriesKey("BTCUSDT", Interval.D1), day, day + 1).short.tolist() == [True]


@pytest.mark.real
def test_futures_with_an_extra_column_and_long_dead_stretches(recordings, store):
    folder = recordings / "futures_klines_native"
    report = import_paths(store, [folder / "um_1d", folder / "um_1h/HYPEUSDT-1h.csv.zip"], market=Market.PERP, clock_ms=NOW)
    assert report.files == 15 and report.refused == []
    rows = {str(s.key): s.present for s in report.series}
    assert rows["HYPEUSDT 1h perp"] == 8952 and rows["LTCUSDT 1d perp"] == 2342 and rows["FTTUSDT 1d perp"] == 1515
    cut = import_paths(CandleStore(store._shelf.folder / "then"), [folder / "um_1d/BTCUSDT-1d.csv.zip"], market=Market.PERP,
                       clock_ms=parse_time("2026-05-29T12:00Z"))
    assert only(cut).dropped_open == 1 and only(cut).present == 2189  # the row that was still open when it was downloaded


# -- layouts -------------------------------------------------------------------------------------------------------------------


def test_the_archive_layout_with_its_folders(tmp_path, store):
    candles = made(744 + 696)
    folder = tmp_path / SPOT
    folder.mkdir(parents=True)
    for month, rows in (("2024-02", slice(744, None)), ("2024-01", slice(0, 744))):
        (folder / f"BTCUSDT-1h-{month}.zip").write_bytes(zipped(f"BTCUSDT-1h-{month}.csv", archive_text(candles.take(rows))))
    report = import_paths(store, [tmp_path / "data"], clock_ms=NOW)
    assert only(report).key == KEY and report.files == 2 and same(store.read(KEY), candles)


def test_microseconds_and_milliseconds_in_one_file_row_by_row(store):
    candles = made(100)
    lines = [archive_text(candles.take(slice(i, i + 1)), unit=1000 if i % 3 else 1) for i in range(100)]
    random.Random(1).shuffle(lines)
    assert only(load(store, "".join(lines))).added == 100
    assert same(store.read(KEY), candles)


@pytest.mark.parametrize("time", [str, stamp, lambda ms: str(ms // 1000), lambda ms: str(ms * 1000), lambda ms: str(ms * 10**6),
                                  lambda ms: stamp(ms).replace(" ", "T") + "Z", lambda ms: stamp(ms) + " UTC",
                                  lambda ms: stamp(ms + 3 * HOUR) + "+03:00", lambda ms: f"{ms}.0",
                                  lambda ms: datetime.fromtimestamp(ms / 1000, UTC).strftime("%d.%m.%Y %H:%M")],
                         ids=["ms", "text", "s", "us", "ns", "iso", "utc", "zone", "float", "day first"])
@pytest.mark.parametrize("header", [True, False])
def test_six_columns_with_every_kind_of_time(store, time, header):
    candles = made(60, plain=True)
    assert only(load(store, plain_text(candles, header=header, time=time))).rejected == []
    assert same(store.read(KEY), candles)


def test_dates_alone_are_midnight_utc(store):
    candles = made(40, interval=Interval.D1, plain=True)
    load(store, plain_text(candles, time=lambda ms: stamp(ms)[:10]), "BTCUSDT-1d.csv")
    assert same(store.read(KEY.at(Interval.D1)), candles)


def german(value: float) -> str:
    return f"{value:,.5f}".replace(",", "_").replace(".", ",").replace("_", ".")


@pytest.mark.parametrize("delimiter", [";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_decimal_commas_delimiters_byte_order_marks_and_crlf(store, delimiter, encoding):
    candles = made(50, plain=True)
    lines = [delimiter.join(["Zeit" if False else "Date", "Open", "High", "Low", "Close", "Volume"])]
    for i in range(50):
        numbers = [german(float(getattr(candles, n)[i])) for n in ("open", "high", "low", "close", "volume")]
        lines.append(delimiter.join([stamp(int(candles.open_time[i])), *numbers]))
    assert only(load(store, "\r\n".join(lines).encode(encoding))).rejected == []
    assert same(store.read(KEY), candles)


def test_quoted_fields_with_english_thousands(store):
    candles = made(30, plain=True)
    text = "Open time,Open,High,Low,Close,Vol\n" + "".join(
        f'"{stamp(int(candles.open_time[i]))}",' + ",".join(f'"{getattr(candles, n)[i]:,.5f}"' for n in (
            "open", "high", "low", "close", "volume")) + "\n" for i in range(30))
    load(store, text)
    assert same(store.read(KEY), candles)


def test_a_mark_that_could_group_thousands_is_refused_and_not_guessed(store):
    rows = "".join(f"{stamp(JAN_2024 + i * HOUR)};1{{0}}234;1{{0}}300;1{{0}}200;1{{0}}250;7\n" for i in range(5))
    for mark in (",", "."):
        with pytest.raises(ImportRefused, match=r"could be 1234 or 1\.234"):
            load(store, rows.replace("{0}", mark))
    with pytest.raises(ImportRefused, match="write all of them one way"):
        load(store, rows.replace("{0}", ",", 10).replace("{0}", ".").replace("1,234", "1,2345").replace("1.234", "1.2345"))
    # The exchange's own comma-separated files are never in doubt.
    load(store, rows.replace("{0}", ".").replace(";", ","))
    assert store.read(KEY).open[0] == 1.234


def test_other_spellings_of_the_columns(store):
    candles = made(30)
    text = "https://www.example.com\nUnix,Date,Symbol,Open,High,Low,Close,Volume BTC,Volume USDT,tradecount\n" + "".join(
        f"{int(candles.open_time[i])},{stamp(int(candles.open_time[i]))},BTCUSDT,{candles.open[i]!r},{candles.high[i]!r},"
        f"{candles.low[i]!r},{candles.close[i]!r},{candles.volume[i]!r},{candles.quote_volume[i]!r},{int(candles.count[i])}\n"
        for i in range(30)).replace("np.float64(", "").replace(")", "")
    assert only(load(store, text, "Binance_BTCUSDT_1h.csv")).rejected == []
    got = store.read(KEY)
    assert np.array_equal(got.volume, candles.volume) and np.array_equal(got.quote_volume, candles.quote_volume)
    assert np.isnan(got.taker_buy_volume).all()


def test_a_gzip_of_several_members_is_read_to_its_end(store):
    """Parallel packers and `cat` write one after the other; the first alone would look whole."""
    lines = plain_text(made(30, plain=True)).encode().splitlines(keepends=True)
    load(store, b"".join(gzip.compress(b"".join(lines[at : at + 7])) for at in range(0, len(lines), 7)) + bytes(99), "BTCUSDT-1h.csv.gz")
    assert same(store.read(KEY), made(30, plain=True))


def test_gzip_and_zip_are_known_by_content_and_not_by_name(store):
    candles = made(30, plain=True)
    load(store, gzip.compress(plain_text(candles).encode()), "BTCUSDT-1h.csv.gz")
    load(store, zipped("whatever.csv", plain_text(candles)), "BTCUSDT-1h.csv")
    assert same(store.read(KEY), candles)


def test_six_and_twelve_columns_of_the_same_candles_are_duplicates_and_the_fuller_stay(store):
    candles = made(30)
    load(store, plain_text(candles))
    series = only(load(store, archive_text(candles)))
    assert (series.added, series.duplicates, series.enriched, series.conflicts) == (0, 30, 30, 0)
    assert only(load(store, plain_text(candles))).duplicates == 30
    assert same(store.read(KEY), candles)


# -- what files may not do -----------------------------------------------------------------------------------------------------


def test_good_rows_of_a_bad_file_are_kept_and_every_bad_line_is_named(store):
    lines = plain_text(made(12, plain=True)).splitlines()
    bad = {3: ("", None), 5: ("<script>alert(1)</script>,1,2,3,4,5", "open_time: expected a time"),
           6: ("1,2,3", "expected 6 fields, got 3"),
           7: (lines[6].rsplit(",", 1)[0] + ",-1", "volume is negative"),
           8: (lines[7].rsplit(",", 1)[0] + ",nan", "volume: expected a number"),
           9: (lines[8].replace(",", ",0", 1).replace(lines[8].split(",")[1], "000"), None),
           10: (lines[9].rsplit(",", 1)[0] + ",1e400", "volume is not a finite number"),
           11: ("17" + lines[10], "open_time"), 12: (lines[11].replace("00,", "01,", 1), "not on the 1h grid")}
    for number, (text, _) in bad.items():
        lines[number - 1] = text
    series = only(load(store, "\n".join(lines)))
    named = {r.line: r.reason for r in series.rejected}
    for number, (_, reason) in bad.items():
        if reason is not None:
            assert reason in named[number], (number, named[number])
    assert 3 not in named  # an empty line is nothing
    assert series.added + series.rejected_total == len([line for line in lines[1:] if line])
    assert series.present == series.added >= 3


def test_the_listing_is_capped_and_the_count_is_not(store):
    text = plain_text(made(300, plain=True)) + "nonsense,1,2,3,4,5\n" * 250
    series = only(load(store, text))
    assert len(series.rejected) == 100 and series.rejected_total == 250 and series.added == 300


def test_shuffled_and_repeated_rows_inside_a_file(store):
    candles = made(50, plain=True)
    header, *rows = plain_text(candles).splitlines()
    chosen = rows + rows[10:20]
    random.Random(3).shuffle(chosen)
    series = only(load(store, "\n".join([header, *chosen])))
    assert (series.added, series.duplicates, series.conflicts) == (50, 10, 0) and same(store.read(KEY), candles)


def test_two_values_for_one_key_inside_a_file_are_a_conflict(store):
    candles = made(30, plain=True)
    other = scaled(candles, slice(4, 5), 3.0, ("volume",)).take(slice(4, 5))
    series = only(load(store, plain_text(candles) + plain_text(other, header=False)))
    assert (series.added, series.duplicates, series.conflicts) == (30, 0, 1)
    assert store.read(KEY).volume[4] == candles.volume[4]


def test_which_row_wins_does_not_depend_on_the_order_of_the_arguments(tmp_path):
    candles = made(40, plain=True)
    (tmp_path / "BTCUSDT-1h-a.csv").write_text(plain_text(candles))
    (tmp_path / "BTCUSDT-1h-b.csv").write_text(plain_text(scaled(candles, slice(0, 3), 2.0, ("volume",))))
    versions = set()
    for i, names in enumerate((("a", "b"), ("b", "a"))):
        store = CandleStore(tmp_path / str(i))
        import_paths(store, [tmp_path / f"BTCUSDT-1h-{n}.csv" for n in names], market=Market.SPOT, clock_ms=NOW)
        versions.add(store.version(KEY))
    assert len(versions) == 1


def test_open_candles_are_dropped_and_counted(store):
    candles = made(48)
    series = only(load(store, archive_text(candles), clock_ms=int(candles.close_time[45])))
    assert (series.added, series.dropped_open) == (45, 3)


@pytest.mark.parametrize(("name", "options", "words"), [
    ("prices.csv", {}, "expected a symbol and an interval"), ("BTCUSDT-1h.csv", {"market": None}, "spot or perp"),
    ("BTCUSDT-1h.csv", {"symbol": "ETHUSDT"}, "the file name says BTCUSDT, --symbol says ETHUSDT"),
    ("BTCUSDT-1h.csv", {"interval": Interval.M5}, "the file name says 1h, --interval says 5m"),
    ("BTCUSDT-1mo-2024.csv", {}, "months and seconds are not stored"), ("BTCUSDT-1s-2024.csv", {}, "months and seconds"),
    ("data/futures/um/monthly/klines/BTCUSDT-1h.csv", {"market": Market.SPOT}, "the folder says perp"),
    ("data/futures/cm/monthly/klines/BTCUSD_PERP-1h.csv", {}, "coin-margined"),
    ("<b>-1h.csv", {}, "expected a symbol"),
])
def test_what_cannot_be_known_is_refused_with_a_hint(store, name, options, words):
    with pytest.raises(ImportRefused, match=words):
        load(store, plain_text(made(30, plain=True)), name, **options)
    assert store.keys() == ()


def test_options_say_what_the_name_does_not(store):
    load(store, plain_text(made(30, plain=True)), "prices.csv", symbol="btcusdt", interval=Interval.H1)
    assert store.keys() == (KEY,)


def test_another_interval_than_the_name_says_is_refused(store):
    minutes = made(600, interval=Interval.M1, plain=True)
    with pytest.raises(ImportRefused, match="expected 1h candles, but its rows are 1 minutes apart"):
        load(store, plain_text(minutes))
    with pytest.raises(ImportRefused, match="no two of its 30 rows are closer than 60 minutes"):
        load(store, plain_text(made(30, plain=True)), "BTCUSDT-1m.csv")


@pytest.mark.parametrize(("data", "words"), [
    (b"", "empty"), (b"<html><body>403</body></html>", "web page"), (b'{"code": 0}', "JSON"), (b"PAR1....", "Parquet"),
    (b"a\0b\0c\0", "zero bytes"), (b"PK\x03\x04 broken", "damaged or cut"), (b"\x1f\x8b\x08 broken", "gzip file is"),
    (b"open_time,open,high,low,close\n1,2,3,4,5\n", "expected columns"), (b"one,two\n1,2\n", "found no such header"),
    (b"timestamp,open,high,low,close,volume\n", "no rows"), (b"timestamp,open,high,low,close,extra\n1,1,1,1,1,1\n", "none for volume"),
    (b"1704067200000,1,1,1,1,1,1\n", "got 7"), ("time,open".encode("utf-16")[:-1], "UTF-16"),
])
def test_what_is_no_table_is_refused_in_words(store, data, words):
    with pytest.raises(ImportRefused, match=words):
        load(store, data)


def test_a_wrong_checksum_refuses_the_file_and_a_right_one_does_not(tmp_path, store):
    data = zipped("BTCUSDT-1h-2024-01.csv", archive_text(made(744)))
    file = tmp_path / "BTCUSDT-1h-2024-01.zip"
    file.write_bytes(data)
    beside = tmp_path / "BTCUSDT-1h-2024-01.zip.CHECKSUM"
    beside.write_text("0" * 64 + "  BTCUSDT-1h-2024-01.zip\n")
    with pytest.raises(ImportRefused, match=hashlib.sha256(data).hexdigest()[:12] + r"\.\.\., its CHECKSUM file says 000000000000"):
        import_paths(store, [tmp_path], market=Market.SPOT, clock_ms=NOW)
    beside.write_text("")
    with pytest.raises(ImportRefused, match="holds no SHA-256"):
        import_paths(store, [tmp_path], market=Market.SPOT, clock_ms=NOW)
    beside.write_text(hashlib.sha256(data).hexdigest() + "  BTCUSDT-1h-2024-01.zip\n")
    assert only(import_paths(store, [tmp_path], market=Market.SPOT, clock_ms=NOW)).added == 744


def archive_of(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def encrypted() -> bytes:
    data = bytearray(zipped("BTCUSDT-1h.csv", "x" * 100))
    for mark in (b"PK\x03\x04", b"PK\x01\x02"):
        at = data.index(mark) + (6 if mark == b"PK\x03\x04" else 8)
        data[at] |= 1
    return bytes(data)


@pytest.mark.parametrize(("data", "words"), [
    (archive_of(**{"../BTCUSDT-1h.csv": b"1"}), "climbs"), (archive_of(**{"/etc/BTCUSDT-1h.csv": b"1"}), "climbs"),
    (archive_of(**{"C:\\BTCUSDT-1h.csv": b"1"}), "climbs"), (archive_of(**{"a/../../BTCUSDT-1h.csv": b"1"}), "climbs"),
    (archive_of(**{"BTCUSDT-1h.csv": bytes(60 << 20)}), "would unpack from"), (encrypted(), "encrypted"),
    (archive_of(**{"inner.zip": zipped("BTCUSDT-1h.csv", "1")}), "another archive"),
    (archive_of(**{f"{i}.csv": b"" for i in range(2100)}), "2100 files"),
    (zipped("BTCUSDT-1h.csv", archive_text(made(500)))[:-400], "damaged or cut"),
    (archive_of(**{"readme.md": b"hello"}), "no table of candles"),
    (gzip.compress(bytes(60 << 20)), "unpacks to more"), (gzip.compress(plain_text(made(99)).encode())[:-20], "is cut"),
    (gzip.compress(b"a") + gzip.compress(plain_text(made(99)).encode())[:-20], "is cut"), (gzip.compress(b"a") + b"junk", "damaged"),
], ids=["climb", "absolute", "drive", "climb later", "bomb", "encrypted", "nested", "many", "cut", "no table", "gzip bomb",
        "gzip cut", "gzip second cut", "gzip and more"])
def test_hostile_archives_are_refused_and_write_nothing(tmp_path, store, data, words):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ImportRefused, match=words):
        load(store, data, "BTCUSDT-1h.csv.gz" if data[:2] == b"\x1f\x8b" else "BTCUSDT-1h.zip")
    assert sorted(tmp_path.rglob("*")) == before


def test_an_archive_that_lies_about_its_size_is_cut_off(store):
    data = bytearray(archive_of(**{"BTCUSDT-1h.csv": bytes(60 << 20)}))
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = data.index(mark) + offset
        data[at : at + 4] = (1000).to_bytes(4, "little")
    with pytest.raises(ImportRefused):
        load(store, bytes(data), "BTCUSDT-1h.zip")


def test_other_kinds_of_archive_files_are_skipped_and_counted(tmp_path, store):
    candles = plain_text(made(30, plain=True))
    for name in ("BTCUSDT-fundingRate-2024-01.csv", "BTCUSDT-aggTrades-2024-01.csv", "notes.md", "BTCUSDT-1h.csv",
                 "markPriceKlines/BTCUSDT-1h.csv"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(candles)
    report = import_paths(store, [tmp_path / "in"], market=Market.SPOT, clock_ms=NOW)
    assert report.skipped == {"fundingRate": 1, "aggTrades": 1, "md": 1, "markPriceKlines": 1}
    assert report.files == 1 and only(report).added == 30
    with pytest.raises(ImportRefused, match="this is md"):
        import_paths(store, [tmp_path / "in/notes.md"], market=Market.SPOT, clock_ms=NOW)


def test_refused_files_stand_in_the_report_when_others_were_read(tmp_path, store):
    (tmp_path / "BTCUSDT-1h.csv").write_text(plain_text(made(30, plain=True)))
    (tmp_path / "ETHUSDT-1h.zip").write_bytes(b"PK\x03\x04 broken")
    seen = []
    report = import_paths(store, [tmp_path, tmp_path / "missing.csv"], market=Market.SPOT, clock_ms=NOW,
                          progress=lambda done, total, name: seen.append((done, total, name)))
    document = report.document()
    assert report.files == 3 and {r["line"] for r in document["refused"]} == {None}
    assert next(s for s in document["series"] if s["symbol"] == "ETHUSDT")["rejected"][0]["reason"].startswith("the zip file is damaged")
    assert seen == [(1, 2, "BTCUSDT-1h.csv"), (2, 2, "ETHUSDT-1h.zip")]
    assert "30 added" in summary_text(report) and "refused missing.csv" in summary_text(report)


def test_nothing_to_import_is_an_error_that_says_what_to_do(tmp_path, store):
    with pytest.raises(InputError, match="expected at least one"):
        import_paths(store, [], clock_ms=NOW)
    with pytest.raises(InputError, match="there is no file or folder"):
        import_paths(store, [tmp_path / "none"], clock_ms=NOW)
    with pytest.raises(ImportRefused, match="found no candle file"):
        (tmp_path / "empty").mkdir()
        import_paths(store, [tmp_path / "empty"], clock_ms=NOW)


def test_the_document_has_the_promised_shape(store):
    candles = made(30)
    keep = np.r_[0:10, 12:30]
    document = load(store, archive_text(candles.take(keep))).document()
    assert document["files"] == 1
    (series,) = document["series"]
    assert {"symbol", "market", "interval", "added", "present", "duplicates", "gaps", "rejected"} <= set(series)
    assert series["gaps"][0] == {"start": iso(JAN_2024 + 10 * HOUR), "end": iso(JAN_2024 + 11 * HOUR), "bars": 2,
                                 "status": "not yet known"}


# -- laws ----------------------------------------------------------------------------------------------------------------------


def test_the_quick_and_the_careful_way_read_the_same(tmp_path):
    candles = made(400)
    for i, text in enumerate((archive_text(candles), archive_text(candles, unit=1000), plain_text(candles))):
        quick, careful = CandleStore(tmp_path / f"q{i}"), CandleStore(tmp_path / f"c{i}")
        load(quick, text)
        load(careful, text.replace("\n", "\r"))  # old line ends send it the careful way
        assert quick.version(KEY) == careful.version(KEY) and quick.rows(KEY) == 400


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_split_of_rows_over_files_in_any_layout_gives_the_same_store(tmp_path_factory, data):
    truth = made(150, start=JAN_2024 + 680 * HOUR)
    folder = tmp_path_factory.mktemp("files")
    cuts = sorted(data.draw(st.sets(st.integers(1, 149), max_size=4)))
    for i, (first, last) in enumerate(zip([0, *cuts], [*cuts, 150], strict=True)):
        first = max(0, first - data.draw(st.integers(0, 20)))
        rows = truth.take(slice(first, last))
        layout = data.draw(st.sampled_from(["archive", "microseconds", "zip", "reversed"]))
        text = archive_text(rows, unit=1000 if layout == "microseconds" else 1)
        if layout == "reversed":
            text = "\n".join(reversed(text.splitlines()))
        name = f"BTCUSDT-1h-{data.draw(st.integers(0, 9))}{i}"
        if layout == "zip":
            (folder / f"{name}.zip").write_bytes(zipped(f"{name}.csv", text))
        else:
            (folder / f"{name}.csv").write_text(text)
    store = CandleStore(folder / "store")
    series = only(import_paths(store, [folder], market=Market.SPOT, clock_ms=NOW))
    assert (series.present, series.conflicts, series.rejected_total) == (150, 0, 0)
    assert same(store.read(KEY), truth)
    assert only(import_paths(store, [folder], market=Market.SPOT, clock_ms=NOW)).added == 0


CELLS = st.one_of(st.sampled_from(["", "nan", "inf", "-inf", "1e309", "0", "-1", "1,5", "1.5", "1.234,5", "=1+1", "<b>", "٣", "1_0",
                                   "0x1", "NaT", "1704067200000", "1704067200", "1704070800000000", "2024-01-01", "2024-13-01", "9" * 40,
                                   "\0", '"']),
                  st.floats().map(repr), st.integers().map(str), st.text(max_size=8))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(CELLS, min_size=1, max_size=13), min_size=1, max_size=12), delimiter=st.sampled_from(",;\t"),
       header=st.booleans(), as_bytes=st.binary(max_size=40))
def test_hostile_text_never_crashes_and_never_stores_what_is_no_candle(tmp_path_factory, rows, delimiter, header, as_bytes):
    store = CandleStore(tmp_path_factory.mktemp("hostile") / "store")
    lines = [delimiter.join(row) for row in rows]
    if header:
        lines.insert(0, delimiter.join(("timestamp", "open", "high", "low", "close", "volume")))
    try:
        load(store, "\n".join(lines).encode("utf-8", "surrogatepass") + as_bytes)
    except ImportRefused as error:
        assert "\n" not in str(error) and len(str(error)) < 400
    for key in store.keys():
        candles = store.read(key)
        assert row_faults(candles.columns(), key.interval) == {}
        assert np.all(np.diff(candles.open_time) > 0)


def hostile_bytes_trials(tmp_path: Path, seed: int, trials: int) -> int:
    """Good files with bytes changed, cut, doubled: refused or read, never a crash, never a row that is no candle."""
    candles = made(120)
    texts = [archive_text(candles).encode(), plain_text(candles, time=stamp).replace(",", ";").encode()]
    seeds = [zipped("BTCUSDT-1h.csv", texts[0]), texts[0], texts[1], gzip.compress(texts[0])]
    chance = random.Random(seed)
    for trial in range(trials):
        data = bytearray(seeds[trial % len(seeds)])
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(data))
            match chance.randrange(5):
                case 0:
                    data[at] = chance.randrange(256)
                case 1:
                    data[at] ^= 1 << chance.randrange(8)
                case 2:
                    del data[at : at + chance.randrange(1, 60)]
                case 3:
                    data[at:at] = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 20)))
                case 4:
                    data = data[: max(1, at)]
        store = CandleStore(tmp_path / f"{trial}")
        try:
            load(store, bytes(data), "BTCUSDT-1h.zip" if data[:2] == b"PK" else "BTCUSDT-1h.csv")
        except ImportRefused:
            continue
        got = store.read(KEY)
        assert row_faults(got.columns(), Interval.H1) == {}, f"trial {trial}"
    return trials


def test_250_files_with_changed_bytes(tmp_path, seed):
    assert hostile_bytes_trials(tmp_path, seed, 250) == 250


@pytest.mark.long
def test_5000_files_with_changed_bytes(tmp_path, seed):
    assert hostile_bytes_trials(tmp_path, seed, 5000) == 5000


def test_one_bar_files_of_a_whole_month_are_stored_by_one_write(tmp_path):
    candles = made(40)
    for i in range(40):
        (tmp_path / f"BTCUSDT-1h-{i:02d}.csv").write_text(archive_text(candles.take(slice(i, i + 1))))
    steps: list[str] = []
    store = CandleStore(tmp_path / "store", fault=steps.append)
    assert only(import_paths(store, [tmp_path], market=Market.SPOT, clock_ms=NOW)).added == 40
    assert steps.count("part: renamed") == 1


def test_a_short_close_time_in_the_file_is_kept(store):
    candles = made(24)
    closes = np.array(candles.close_time)
    closes[7] -= 1_000_000
    load(store, archive_text(with_changes(candles, close_time=closes)))
    assert np.flatnonzero(store.read(KEY).short).tolist() == [7]
    assert only(load(store, plain_text(without_optional(candles)))).conflicts == 0
