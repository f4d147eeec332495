"""The candle store keeps what it was given, exactly once, whatever happens to the process, the disk or the files."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.errors import ContractBroken, DamagedState, DataError, InputError, LockHeld, SextantError
from data.frames import Candles, concat
from data.market import Interval, Market, SeriesKey
from data.storage.candles import CONFIRMED, NOT_KNOWN, CandleStore
from tests.made_candles import JAN_2024, made, same, scaled, with_changes, without_optional

KEY = SeriesKey("BTCUSDT", Interval.H1)
HOUR = Interval.H1.ms


def put(store: CandleStore, candles: Candles, *, key: SeriesKey = KEY, provenance: str = "ARCHIVE", source: str = "test"):
    return store.append(key, candles, provenance=provenance, source=source)


def series_folder(folder: Path, key: SeriesKey = KEY) -> Path:
    return folder / "candles" / key.venue / key.market / key.symbol / key.interval


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.parquet"))}


# -- append and read -----------------------------------------------------------------------------------------------------------


def test_reads_back_what_was_appended_to_the_last_bit(tmp_path):
    candles = made(3000)
    report = put(CandleStore(tmp_path), candles)
    assert (report.added, report.duplicates, report.conflicts, report.present) == (3000, 0, 0, 3000)
    again = CandleStore(tmp_path)
    assert same(again.read(KEY), candles)
    assert again.keys() == (KEY,)
    assert again.last_close_ms(KEY) == int(candles.close_time[-1])
    assert again.read(KEY).provenance == "ARCHIVE"


def test_an_unknown_series_is_empty_and_creates_nothing(tmp_path):
    store = CandleStore(tmp_path / "none")
    assert len(store.read(KEY)) == 0 and store.keys() == () and store.last_close_ms(KEY) is None
    assert store.gaps(KEY) == [] and store.summary() == [] and store.conflicts(KEY) == [] and store.damage == ()
    assert store.version(KEY) == store.version(KEY)
    assert not (tmp_path / "none").exists()


def test_the_same_rows_again_are_duplicates_and_touch_no_file(tmp_path):
    store, candles = CandleStore(tmp_path), made(2000)
    put(store, candles)
    before = {p: p.stat().st_mtime_ns for p in series_folder(tmp_path).iterdir()}
    version = store.version(KEY)
    report = put(store, candles)
    assert (report.added, report.duplicates, report.present) == (0, 2000, 2000)
    assert {p: p.stat().st_mtime_ns for p in series_folder(tmp_path).iterdir()} == before
    assert store.version(KEY) == version


def test_an_append_rewrites_only_the_months_it_touches(tmp_path):
    store, candles = CandleStore(tmp_path), made(24 * 80)  # January to mid March
    put(store, candles.take(slice(0, 24 * 79)))
    before = files_of(tmp_path)
    put(store, candles.take(slice(24 * 79, None)))
    after = files_of(tmp_path)
    changed = {Path(name).name for name in after if after[name] != before.get(name)}
    assert changed == {"2024-03.parquet"}


@pytest.mark.parametrize(("start", "end"), [(None, None), (0, 1), (700, 760), (743, 745), (100, 100), (2999, None), (None, 5),
                                            (-50, -10), (4000, 5000)])
def test_a_range_is_half_open_on_open_time(tmp_path, start, end):
    store, candles = CandleStore(tmp_path), made(3000)
    put(store, candles)
    at = [None if i is None else JAN_2024 + i * HOUR for i in (start, end)]
    assert same(store.read(KEY, *at), candles.between(*at))
    if start is not None and end is not None:  # a bound inside a bar excludes the bar that began before it
        assert same(store.read(KEY, at[0] + 1, at[1] + 1), candles.between(at[0] + 1, at[1] + 1))


def test_a_range_query_reads_only_the_months_it_needs(tmp_path):
    candles = made(24 * 120)
    put(CandleStore(tmp_path), candles)
    (series_folder(tmp_path) / "2024-01.parquet").write_bytes(b"ruined")
    store = CandleStore(tmp_path)
    assert len(store.read(KEY, JAN_2024 + 24 * 70 * HOUR)) == 24 * 50
    assert store.damage == ()


def test_long_reads_that_bypass_the_cache_are_the_same(tmp_path):
    candles = made(24 * 400)
    put(CandleStore(tmp_path), candles)
    small = CandleStore(tmp_path, cache_bytes=200_000)
    assert same(small.read(KEY), candles)
    assert same(small.read(KEY, JAN_2024 + 5 * HOUR, JAN_2024 + 9000 * HOUR), candles.take(slice(5, 9000)))


def test_what_is_read_cannot_be_changed_by_its_reader(tmp_path):
    store = CandleStore(tmp_path)
    put(store, made(100))
    with pytest.raises(ValueError):
        store.read(KEY).close[0] = 1.0


def test_versions_follow_content_and_not_history(tmp_path):
    candles = made(2000)
    one, two = CandleStore(tmp_path / "a"), CandleStore(tmp_path / "b")
    put(one, candles)
    for part in (slice(1500, 2000), slice(0, 800), slice(700, 1600)):
        put(two, candles.take(part))
    assert one.version(KEY) == two.version(KEY)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    put(two, made(1, start=JAN_2024 + 2000 * HOUR))
    assert one.version(KEY) != two.version(KEY)


def test_markets_and_venues_are_kept_apart(tmp_path):
    store = CandleStore(tmp_path)
    perp = SeriesKey("BTCUSDT", Interval.H1, Market.PERP)
    put(store, made(10, seed=1))
    put(store, made(20, seed=2), key=perp)
    assert (store.rows(KEY), store.rows(perp)) == (10, 20)
    assert store.keys() == tuple(sorted((KEY, perp)))


def test_a_mixed_series_shows_its_worst_provenance(tmp_path):
    store, candles = CandleStore(tmp_path), made(2000)
    put(store, candles.take(slice(0, 1000)), provenance="IMPORTED")
    put(store, candles.take(slice(1000, 2000)), provenance="LIVE")
    assert store.provenance(KEY) == "IMPORTED"
    assert store.read(KEY).provenance == "IMPORTED"
    assert store.read(KEY, JAN_2024 + 1500 * HOUR).provenance == "LIVE"  # March holds live rows alone


@pytest.mark.parametrize("bad", ["../../etc", "btcusdt", "A/B", "", "A" * 30])
def test_a_key_that_could_leave_the_folder_is_refused(tmp_path, bad):
    with pytest.raises(InputError):
        put(CandleStore(tmp_path), made(3), key=SeriesKey(bad, Interval.H1))


def test_rows_that_are_no_candles_are_refused_and_nothing_is_stored(tmp_path):
    store, good = CandleStore(tmp_path), made(10)
    broken = with_changes(good, low=np.where(np.arange(10) == 4, good.high + 1, good.low))
    with pytest.raises(ContractBroken, match="row 4: low is above open"):
        put(store, broken)
    with pytest.raises(ContractBroken, match="expected 1h candles"):
        put(store, made(5, interval=Interval.M1))
    assert store.keys() == ()


# -- duplicates, enrichment, conflicts ----------------------------------------------------------------------------------------


def test_the_fuller_row_stays_whichever_came_first(tmp_path):
    full = made(50)
    plain = without_optional(full)
    first, second = CandleStore(tmp_path / "a"), CandleStore(tmp_path / "b")
    put(first, full)
    assert put(first, plain).duplicates == 50
    put(second, plain)
    report = put(second, full)
    assert (report.added, report.duplicates, report.enriched, report.conflicts) == (0, 50, 50, 0)
    assert same(first.read(KEY), full) and same(second.read(KEY), full)


def test_a_short_close_time_survives_a_row_that_only_assumed_one(tmp_path):
    full = made(5)
    closes = np.array(full.close_time)
    closes[2] -= 1_200_000
    short = with_changes(full, close_time=closes)
    for order in ((short, without_optional(full)), (without_optional(full), short)):
        store = CandleStore(tmp_path / str(order[0] is short))
        for candles in order:
            assert put(store, candles).conflicts == 0
        assert store.read(KEY).short.tolist() == [False, False, True, False, False]


def test_a_different_value_is_kept_aside_once_and_never_merged(tmp_path):
    store, candles = CandleStore(tmp_path), made(200)
    put(store, candles)
    version = store.version(KEY)
    revised = scaled(candles, slice(7, 9), 1.5, ("volume",))
    for _ in range(2):
        report = put(store, revised, source="revision.csv")
        assert (report.added, report.duplicates, report.conflicts) == (0, 198, 2)
    assert same(store.read(KEY), candles) and store.version(KEY) == version
    aside = CandleStore(tmp_path).conflicts(KEY)
    assert [c.open_time for c in aside] == [int(t) for t in candles.open_time[7:9]]
    assert aside[0].source == "revision.csv"
    assert aside[0].stored["volume"] == candles.volume[7] and aside[0].offered["volume"] == revised.volume[7]
    assert store.summary()[0].conflicts == 2


def test_rows_that_contradict_each_other_inside_one_batch(tmp_path):
    store, candles = CandleStore(tmp_path), made(3)
    twice = {n: np.concatenate([a, a, a]) for n, a in candles.columns().items()}
    twice["close"] = twice["close"].copy()
    twice["close"][3] = twice["low"][3]
    report = put(store, Candles.from_columns(Interval.H1, twice))
    assert (report.added, report.duplicates, report.conflicts) == (3, 5, 1)
    assert same(store.read(KEY), candles)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_split_order_and_overlap_of_batches_gives_the_same_store(tmp_path_factory, data):
    """Law: appending is idempotent, commutative and associative for rows that agree."""
    truth = made(120, start=JAN_2024 + 700 * HOUR)  # crosses from January into February
    rows = data.draw(st.lists(st.integers(0, 119), min_size=1, max_size=200))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    folder = tmp_path_factory.mktemp("split")
    store = CandleStore(folder)
    total = 0
    for first, last in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        batch = truth.take(np.array(rows[first:last], dtype=int))
        offered = without_optional(batch) if data.draw(st.booleans()) else batch
        report = put(store, offered)
        assert report.added + report.duplicates == last - first and report.conflicts == 0
        total += report.added
    present = np.unique(rows)
    assert total == len(present) == store.rows(KEY)
    assert same(put_all(folder / "again", truth.take(present)), put_all_over(store, truth.take(present)))
    # The gap finder against counting by hand.
    holes = [i for i in range(present[0], present[-1]) if i not in set(present.tolist())]
    assert sum(g.bars for g in store.gaps(KEY)) == len(holes)
    assert all(g.bars == (g.end - g.start) // HOUR + 1 for g in store.gaps(KEY))
    shutil.rmtree(folder)


def put_all(folder: Path, candles: Candles) -> Candles:
    store = CandleStore(folder)
    put(store, candles)
    return store.read(KEY)


def put_all_over(store: CandleStore, candles: Candles) -> Candles:
    assert put(store, candles).added == 0
    return CandleStore(store._shelf.folder).read(KEY)


# -- gaps ----------------------------------------------------------------------------------------------------------------------


def test_gaps_have_first_and_last_missing_bar_and_a_status(tmp_path):
    store, candles = CandleStore(tmp_path), made(2000)
    keep = np.ones(2000, bool)
    keep[[10, 500, 501, 502]] = False
    keep[740:750] = False  # across the month's end
    put(store, candles.take(np.flatnonzero(keep)))
    found = [(int((g.start - JAN_2024) / HOUR), int((g.end - JAN_2024) / HOUR), g.bars, g.status) for g in store.gaps(KEY)]
    assert found == [(10, 10, 1, NOT_KNOWN), (500, 502, 3, NOT_KNOWN), (740, 749, 10, NOT_KNOWN)]

    version = store.version(KEY)
    gap = store.gaps(KEY)[1]
    store.confirm_gap(KEY, gap.start, gap.end, "maintenance")
    assert store.gaps(KEY)[1].status == CONFIRMED and store.gaps(KEY)[1].reason == "maintenance"
    assert store.version(KEY) != version
    assert store.read(KEY).halts == ((gap.start, gap.end),)
    assert len(store.read(KEY).segments) == 3  # the confirmed halt does not end a segment
    assert CandleStore(tmp_path).gaps(KEY)[1].status == CONFIRMED


def test_a_gap_confirmed_in_part_is_still_unknown_and_stretches_join(tmp_path):
    store, candles = CandleStore(tmp_path), made(100)
    put(store, candles.take(np.r_[0:40, 50:100]))
    at = [JAN_2024 + i * HOUR for i in range(100)]
    store.confirm_gap(KEY, at[40], at[44], "one")
    assert store.gaps(KEY)[0].status == NOT_KNOWN and store.read(KEY).halts == ()
    store.confirm_gap(KEY, at[45], at[49], "two")
    assert store.gaps(KEY)[0].status == CONFIRMED
    put(store, candles.take(slice(42, 44)))  # candles turn up after all
    assert [(g.bars, g.status) for g in store.gaps(KEY)] == [(2, CONFIRMED), (6, CONFIRMED)]


def test_only_missing_bars_can_be_confirmed(tmp_path):
    store = CandleStore(tmp_path)
    put(store, made(100))
    with pytest.raises(InputError, match="1 stored candles"):
        store.confirm_gap(KEY, JAN_2024, JAN_2024, "no")
    with pytest.raises(InputError, match="gap list"):
        store.confirm_gap(KEY, JAN_2024 + 1, JAN_2024 + HOUR, "off the grid")


# -- damage --------------------------------------------------------------------------------------------------------------------


def stocked(folder: Path) -> Candles:
    """A store with a file of every kind: three months, conflicts, a confirmed gap."""
    store, candles = CandleStore(folder), made(24 * 75)
    kept = candles.take(np.r_[0:300, 304:1800])
    put(store, kept)
    put(store, scaled(candles, slice(900, 905), 2.0, ("volume",)), source="other.csv")
    put(store, candles.take(slice(1790, 1800)))
    hole = store.gaps(KEY)
    for gap in hole:
        store.confirm_gap(KEY, gap.start, gap.end, "maintenance")
    return store.read(KEY)


def damaged(data: bytes, how: str, chance: random.Random) -> bytes | None:
    if how == "flip":
        at = chance.randrange(len(data))
        return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]
    if how == "cut":
        return data[: chance.randrange(len(data))]
    if how == "zero":
        at = chance.randrange(len(data))
        return data[:at] + bytes(min(512, len(data) - at)) + data[at + 512 :]
    if how == "empty":
        return b""
    if how == "grow":
        return data + bytes(chance.randrange(1, 50))
    return None  # deleted


def same_answer_or_named_loss(folder: Path, truth: Candles, aside: list) -> None:
    """The rule of every damage trial: the same answer, or less of it with the loss named. Never other values."""
    store = CandleStore(folder)
    try:
        got = store.read(KEY)
        conflicts = store.conflicts(KEY)
        verified = store.verify()
    except SextantError as error:
        assert isinstance(error, DamagedState), error
        return
    known = {int(t): i for i, t in enumerate(truth.open_time)}
    rows = [known[int(t)] for t in got.open_time]
    assert same(got, truth.take(np.array(rows, int))), "a stored value changed"
    offered = [(c.open_time, c.offered) for c in aside]
    assert all((c.open_time, c.offered) in offered and c.stored in (None, aside[offered.index((c.open_time, c.offered))].stored)
               for c in conflicts)
    complete = len(got) == len(truth) and got.halts == truth.halts and conflicts == aside
    if not complete:
        assert store.damage and not verified.ok, "rows are missing and nobody says so"
        assert "parquet" in store.damage[0].words or "manifest" in store.damage[0].words
    # The store heals when the rows come again, and says the same to the next process.
    assert CandleStore(folder).damage == store.damage
    put(store, truth)
    healed = CandleStore(folder)
    assert same(healed.read(KEY), truth)
    assert all(d.rows == 0 or "conflicts" in d.file for d in healed.damage)


def damage_trials(tmp_path: Path, seed: int, trials: int) -> int:
    original = tmp_path / "original"
    truth = stocked(original)
    aside = CandleStore(original).conflicts(KEY)
    names = sorted(p.relative_to(original) for p in series_folder(original).iterdir())
    assert len(names) == 5  # three months, conflicts, manifest: every kind
    chance = random.Random(seed)
    hows = ["flip", "flip", "flip", "cut", "zero", "empty", "grow", "delete"]
    for trial in range(trials):
        name, how = names[trial % len(names)], hows[(trial // len(names)) % len(hows)]
        folder = tmp_path / "trial"
        shutil.copytree(original, folder)
        wrong = damaged((folder / name).read_bytes(), how, chance)
        if wrong is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(wrong)
        try:
            same_answer_or_named_loss(folder, truth, aside)
        except AssertionError as error:
            raise AssertionError(f"trial {trial}: {how} of {name}: {error}") from error
        shutil.rmtree(folder)
    return trials


def test_130_damages_give_the_same_answer_or_a_named_loss(tmp_path, seed):
    assert damage_trials(tmp_path, seed, 130) == 130


@pytest.mark.long
def test_2600_damages_give_the_same_answer_or_a_named_loss(tmp_path, seed):
    assert damage_trials(tmp_path, seed, 2600) == 2600


def test_a_damaged_month_goes_to_quarantine_with_a_note_and_comes_back_by_import(tmp_path):
    candles = made(24 * 75)
    put(CandleStore(tmp_path), candles)
    target = series_folder(tmp_path) / "2024-02.parquet"
    data = bytearray(target.read_bytes())
    data[1000] ^= 1
    target.write_bytes(bytes(data))
    store = CandleStore(tmp_path)
    assert len(store.read(KEY)) == 24 * 75 - 24 * 29
    (loss,) = store.damage
    assert loss.rows == 24 * 29 and "SHA-256" in loss.reason and "696 rows lost" in loss.words
    assert (tmp_path / "quarantine" / loss.quarantined_as).read_bytes() == bytes(data)
    note = json.loads((tmp_path / "quarantine" / f"{loss.quarantined_as}.note.json").read_text())
    assert note["file"].endswith("2024-02.parquet")
    assert CandleStore(tmp_path).damage == (loss,)  # the next process knows it too
    assert put(store, candles).added == 24 * 29
    assert store.damage == () and CandleStore(tmp_path).verify().ok


def test_damage_under_a_running_process_is_noticed(tmp_path):
    store, candles = CandleStore(tmp_path), made(100)
    put(store, candles)
    assert same(store.read(KEY), candles)
    (series_folder(tmp_path) / "2024-01.parquet").unlink()
    assert len(store.read(KEY)) == 0 and store.damage[0].reason == "the file is missing"


def test_a_manifest_that_is_only_looked_at_is_never_an_old_one(tmp_path, monkeypatch):
    """Long unchanged, a manifest is looked at instead of read; every change of another process shows at the next look."""
    moment = 0.0
    monkeypatch.setattr("data.storage.shelf.time.monotonic", lambda: moment)
    candles, store, writer = made(60), CandleStore(tmp_path), CandleStore(tmp_path)
    reads = []
    raw = store._shelf._raw
    monkeypatch.setattr(store._shelf, "_raw", lambda key: reads.append(key) or raw(key))
    for end in range(10, 61, 10):
        put(writer, candles.take(slice(0, end)))
        for _ in range(4):  # four looks two seconds apart: read twice or thrice, then only looked at
            assert store.rows(KEY) == end and store.version(KEY) == writer.version(KEY)
            moment += 2.0
        reads.clear()
        assert store.rows(KEY) == end and not reads
    manifest = series_folder(tmp_path) / "manifest.json"
    content, times = manifest.read_bytes(), manifest.stat()
    manifest.write_bytes(content.replace(b'"rows":60', b'"rows":61'))  # same size, same inode, and the old time
    os.utime(manifest, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    assert store.damage and "checksum" in store.damage[0].reason


def test_two_quick_writes_are_both_seen_where_time_stamps_stand_still(tmp_path, monkeypatch):
    """Until a manifest has been as it is for seconds it is read at each look, whatever its time stamp says."""
    store, writer, candles = CandleStore(tmp_path), CandleStore(tmp_path), made(50)
    monkeypatch.setattr(type(store._cache), "token", staticmethod(lambda path: (1, 1, 1) if path.exists() else None))
    for end in range(1, 51):
        put(writer, candles.take(slice(0, end)))
        assert store.rows(KEY) == end


def test_a_manifest_that_cannot_be_read_costs_its_series_alone_and_no_file(tmp_path):
    """A folder in its place stands for what a disk answers with an input/output error."""
    store, other = CandleStore(tmp_path), SeriesKey("ETHUSDT", Interval.H1)
    put(store, made(100))
    put(store, made(100), key=other)
    manifest = series_folder(tmp_path) / "manifest.json"
    manifest.rename(manifest.with_name("kept"))
    manifest.mkdir()
    for seen in (store, CandleStore(tmp_path)):
        assert seen.keys() == (other,) and [d.series for d in seen.damage] == ["binance/spot/BTCUSDT/1h"]
        assert not seen.verify().ok and [s.key for s in seen.summary()] == [other]
        for refused in (lambda seen=seen: seen.read(KEY), lambda seen=seen: put(seen, made(200))):
            with pytest.raises(DataError, match="cannot be read"):
                refused()
    manifest.rmdir()
    manifest.with_name("kept").rename(manifest)
    assert len(store.read(KEY)) == 100 and store.damage == ()


def test_a_file_that_is_forbidden_just_now_is_not_taken_for_damaged(tmp_path, monkeypatch):
    put(CandleStore(tmp_path), made(100))
    read, code = Path.read_bytes, errno.EMFILE

    def refused(path):
        if path.suffix == ".parquet" and code:
            raise OSError(code, os.strerror(code), str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    store = CandleStore(tmp_path)
    with pytest.raises(DataError, match="Too many open files"):
        store.read(KEY)
    code = 0
    assert len(store.read(KEY)) == 100 and store.damage == ()
    code = errno.EIO
    assert len(CandleStore(tmp_path).read(KEY)) == 0 and CandleStore(tmp_path).damage[0].quarantined_as


def test_files_swapped_between_series_are_noticed_even_without_manifest(tmp_path):
    store, other = CandleStore(tmp_path), SeriesKey("ETHUSDT", Interval.H1)
    put(store, made(100, seed=1))
    put(store, made(100, seed=2), key=other)
    shutil.copy(series_folder(tmp_path, other) / "2024-01.parquet", series_folder(tmp_path) / "2024-01.parquet")
    (series_folder(tmp_path) / "manifest.json").unlink()
    fresh = CandleStore(tmp_path)
    assert len(fresh.read(KEY)) == 0
    assert any("belongs to binance/spot/ETHUSDT" in d.reason for d in fresh.damage)


def test_damage_can_be_acknowledged(tmp_path):
    store = CandleStore(tmp_path)
    put(store, made(100))
    (series_folder(tmp_path) / "2024-01.parquet").write_bytes(b"")
    store.read(KEY)
    store.acknowledge(KEY)
    assert store.damage == () and CandleStore(tmp_path).damage == ()


def test_a_reader_beside_a_writer_neither_waits_nor_moves_files(tmp_path):
    store = CandleStore(tmp_path, lock_wait_s=0.05)
    put(store, made(24 * 75))
    (series_folder(tmp_path) / "2024-02.parquet").write_bytes(b"bad")
    reader = CandleStore(tmp_path)
    with FileLock(tmp_path / "candles.lock"):
        assert len(reader.read(KEY)) == 24 * (75 - 29)
        assert reader.damage[0].file == "2024-02.parquet" and reader.damage[0].quarantined_as is None
        assert not (tmp_path / "quarantine").exists()
        with pytest.raises(LockHeld, match="another process is writing"):
            put(store, made(1, start=JAN_2024 - HOUR))


def test_readers_beside_a_writer_see_whole_appends_and_never_damage(tmp_path):
    """One writer appends blocks that span a month's end, four readers look all the time, each through its own store."""
    candles = made(24 * 62)
    cuts = [slice(i, i + 48) for i in range(0, len(candles), 48)]
    done = threading.Event()
    problems: list[str] = []
    reads = [0]

    def look() -> None:
        store, before = CandleStore(tmp_path), 0
        while not done.is_set():
            got = store.read(KEY)
            reads[0] += 1
            if not same(got, candles.take(slice(0, len(got)))) or len(got) < before or store.damage:
                problems.append(f"{len(got)} rows after {before}, damage {store.damage}")
                return
            before = len(got)

    readers = [threading.Thread(target=look) for _ in range(4)]
    for reader in readers:
        reader.start()
    writer = CandleStore(tmp_path)
    for cut in cuts:
        put(writer, candles.take(cut))
    done.set()
    for reader in readers:
        reader.join(30)
    assert problems == [] and reads[0] > 4
    assert same(CandleStore(tmp_path).read(KEY), candles)


def test_two_writers_take_turns_and_lose_nothing(tmp_path):
    candles = made(400)

    def write(first: int) -> None:
        store = CandleStore(tmp_path, lock_wait_s=30)
        for i in range(first, 400, 40):
            put(store, candles.take(slice(i, i + 20)))

    writers = [threading.Thread(target=write, args=(first,)) for first in (0, 20)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert same(CandleStore(tmp_path).read(KEY), candles)


# -- crashes -------------------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """What a kill looks like to the code: no handler runs, nothing is cleaned up."""


def steps_of(folder: Path, work) -> list[str]:
    seen: list[str] = []
    work(CandleStore(folder, fault=seen.append))
    return seen


def crash_at(folder: Path, work, number: int) -> None:
    count = 0

    def fault(name: str) -> None:
        nonlocal count
        if count == number:
            raise Killed(name)
        count += 1

    with pytest.raises(Killed):
        work(CandleStore(folder, fault=fault))


def survives_every_crash(tmp_path: Path, prepare, work) -> int:
    """Kill at each durable step; the reader sees old or new rows only; doing it again ends where no crash would have."""
    calm = tmp_path / "calm"
    prepare(CandleStore(calm))
    old = CandleStore(calm).read(KEY)
    before = tmp_path / "before"
    shutil.copytree(calm, before) if calm.exists() else before.mkdir()
    steps = steps_of(calm, work)
    final = CandleStore(calm).read(KEY)
    assert len(set(steps)) >= 6
    truth = {int(t): tuple(getattr(final, n)[i] for n in ("open", "close", "volume")) for i, t in enumerate(final.open_time)}
    for number in range(len(steps)):
        folder = tmp_path / f"crash{number}"
        shutil.copytree(before, folder)
        crash_at(folder, work, number)
        seen = CandleStore(folder).read(KEY)
        assert len(old) <= len(seen) <= len(final), steps[number]
        assert all(truth[int(t)] == tuple(getattr(seen, n)[i] for n in ("open", "close", "volume"))
                   for i, t in enumerate(seen.open_time)), steps[number]
        assert CandleStore(folder).verify().ok, f"a crash at {steps[number]} looks like damage"
        after = CandleStore(folder)
        work(after)
        assert same(after.read(KEY), final)
        assert files_of(folder) == files_of(calm), steps[number]
        assert repr(after.conflicts(KEY)) == repr(CandleStore(calm).conflicts(KEY))  # by text: NaN equals NaN there
        assert not list(folder.rglob(".tmp-*"))
        shutil.rmtree(folder)
    return len(steps)


def test_a_first_append_survives_a_kill_at_every_step(tmp_path):
    candles = made(24 * 75)
    assert survives_every_crash(tmp_path, lambda store: None, lambda store: put(store, candles)) >= 12


def test_an_append_with_enrichment_and_conflicts_survives_a_kill_at_every_step(tmp_path):
    candles = made(24 * 75)

    def prepare(store):
        put(store, without_optional(candles.take(slice(0, 1000))))

    def work(store):
        put(store, concat([scaled(candles, slice(0, 5), 1.1, ("volume",)).take(slice(0, 5)), candles.take(slice(5, None))]))

    assert survives_every_crash(tmp_path, prepare, work) >= 15


def test_setting_damage_aside_survives_a_kill_at_every_step(tmp_path):
    candles = made(24 * 75)
    put(CandleStore(tmp_path / "good"), candles)
    target = series_folder(tmp_path / "good") / "2024-02.parquet"
    target.write_bytes(target.read_bytes()[:-3])
    shutil.copytree(tmp_path / "good", tmp_path / "calm")
    steps = steps_of(tmp_path / "calm", lambda store: store.read(KEY))
    assert len(steps) >= 6
    for number in range(len(steps)):
        folder = tmp_path / f"crash{number}"
        shutil.copytree(tmp_path / "good", folder)
        crash_at(folder, lambda store: store.read(KEY), number)
        store = CandleStore(folder)
        assert len(store.read(KEY)) == 24 * 46 and store.damage[0].rows == 24 * 29
        put(store, candles)
        assert same(CandleStore(folder).read(KEY), candles) and store.damage == ()


KILLED_CHILD = """
    import os, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from data.storage.candles import CandleStore
    from tests.made_candles import made
    from tests.test_data.test_store import KEY
    count = 0
    def fault(name):
        global count
        count += 1
        if count == int(sys.argv[3]):
            os.kill(os.getpid(), 9)
    CandleStore(Path(sys.argv[2]), fault=fault).append(KEY, made(1500), provenance="ARCHIVE", source="child")
"""


@pytest.mark.parametrize("step", [3, 9, 14])
def test_a_process_killed_while_writing_leaves_a_store_that_reads_and_is_not_locked(tmp_path, step):
    root = Path(__file__).resolve().parents[2]
    child = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED_CHILD), str(root), str(tmp_path), str(step)],
                           capture_output=True, timeout=60)
    assert child.returncode == -9, child.stderr.decode()
    store, candles = CandleStore(tmp_path, lock_wait_s=1.0), made(1500)
    assert all(t in set(candles.open_time.tolist()) for t in store.read(KEY).open_time.tolist())
    assert put(store, candles).present == 1500
    assert same(CandleStore(tmp_path).read(KEY), candles) and store.verify().ok


# -- a full disk ---------------------------------------------------------------------------------------------------------------

FULL_DISK = """
    import resource, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from data.errors import DataError
    from data.storage.candles import CandleStore
    from tests.made_candles import made
    from tests.test_data.test_store import KEY
    store = CandleStore(Path(sys.argv[2]))
    store.append(KEY, made(1500).take(slice(0, 500)), provenance="ARCHIVE", source="small")
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
    try:
        store.append(KEY, made(1500), provenance="ARCHIVE", source="large")
    except DataError as error:
        print(error)
    else:
        print("not refused")
    assert len(store.read(KEY)) == 500, "what was stored must stay readable"
"""


@pytest.mark.skipif(os.name == "nt", reason="RLIMIT_FSIZE is POSIX")
def test_a_full_disk_is_named_and_costs_nothing_that_was_stored(tmp_path):
    root = Path(__file__).resolve().parents[2]
    child = subprocess.run([sys.executable, "-c", textwrap.dedent(FULL_DISK), str(root), str(tmp_path)], capture_output=True,
                           timeout=60, text=True)
    assert child.returncode == 0, child.stderr
    assert "could not be written" in child.stdout and "make room" in child.stdout
    assert not list(tmp_path.rglob(".tmp-*"))
    store = CandleStore(tmp_path)
    assert same(store.read(KEY), made(1500).take(slice(0, 500)))
    assert put(store, made(1500)).added == 1000


# -- pages -----------------------------------------------------------------------------------------------------------------------


def test_the_summary_says_what_a_page_shows(tmp_path):
    store, candles = CandleStore(tmp_path), made(1000)
    put(store, candles.take(np.r_[0:100, 110:1000]))
    (row,) = store.summary()
    assert (row.key, row.rows, row.gaps, row.missing_bars, row.conflicts) == (KEY, 990, 1, 10, 0)
    assert (row.first, row.last, row.provenance, row.damage) == (JAN_2024, int(candles.open_time[-1]), "ARCHIVE", ())
    assert row.bytes == sum(p.stat().st_size for p in series_folder(tmp_path).glob("*.parquet"))
