"""The observation store: nothing doubled, nothing revised, nothing silently lost."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.clock import parse_time
from data.errors import DataError, InputError, LockHeld
from data.market import DAY_MS, HOUR_MS
from data.observations import COLUMNS_OF, Kind, Observations
from data.storage.observations import ObservationKey, ObservationStore, slug

START = parse_time("2024-01-20T00:00:00Z")
FUNDING = ObservationKey("BTCUSDT", Kind.FUNDING)


def made(kind: Kind, hours: list[int], *, delay_ms: int = 0, provenance: str = "LIVE", **columns: list[float]) -> Observations:
    event = np.array([START + h * HOUR_MS for h in hours], np.int64)
    full = {name: np.array(columns.get(name, np.arange(len(hours), dtype=float) + i)) for i, name in enumerate(COLUMNS_OF[kind])}
    return Observations(kind, event, event + delay_ms, full, provenance)


def test_rows_come_back_equal_and_in_order(tmp_path):
    store = ObservationStore(tmp_path)
    offered = made(Kind.FUNDING, [0, 8, 16, 400, 24], delay_ms=7)
    report = store.append(FUNDING, offered)
    assert (report.added, report.duplicates, report.revised, report.present) == (5, 0, 0, 5)
    back = ObservationStore(tmp_path).read(FUNDING)
    assert list((back.event_time - START) // HOUR_MS) == [0, 8, 16, 24, 400]
    assert np.all(back.available_time - back.event_time == 7)
    assert list(back["rate"]) == [0, 1, 2, 4, 3]
    assert back.provenance == "LIVE" and store.keys() == (FUNDING,)
    assert store.span(FUNDING) == (START, START + 400 * HOUR_MS)
    assert len(store.read(FUNDING, START + 8 * HOUR_MS, START + 24 * HOUR_MS)) == 2
    assert len(list(tmp_path.rglob("*.parquet"))) == 2, "a file a month"


def test_same_rows_again_change_nothing(tmp_path):
    store = ObservationStore(tmp_path)
    offered = made(Kind.FUNDING, [0, 8])
    store.append(FUNDING, offered)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    version = store.version(FUNDING)
    assert store.append(FUNDING, offered).duplicates == 2
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert store.version(FUNDING) == version


def test_revision_never_overwrites_and_first_availability_stays(tmp_path):
    store = ObservationStore(tmp_path)
    store.append(FUNDING, made(Kind.FUNDING, [0], rate=[0.1]))
    report = store.append(FUNDING, made(Kind.FUNDING, [0, 8], delay_ms=DAY_MS, rate=[0.9, 0.2]))
    assert (report.added, report.revised) == (1, 1)
    back = store.read(FUNDING)
    assert list(back["rate"]) == [0.1, 0.2]
    assert back.available_time[0] == START


def test_rows_of_one_moment_are_told_apart_by_their_key(tmp_path):
    store = ObservationStore(tmp_path)
    for kind, columns in ((Kind.OPTION_MARK, {"strike": [1.0, 2, 1], "is_call": [1.0, 1, 1], "expiry_ms": [5.0, 5, 5]}),
                          (Kind.AGG_TRADES, {"agg_id": [1.0, 2, 1]}), (Kind.BOOK, {"side": [1.0, -1, 1], "price": [3.0, 3, 3]})):
        key = ObservationKey("BTC", kind, "none")
        assert store.append(key, made(kind, [0, 0, 0], **columns)).added == 2


def test_series_of_venues_are_apart_and_mixed_provenance_is_the_worst(tmp_path):
    store = ObservationStore(tmp_path)
    okx = ObservationKey("BTCUSDT", Kind.FUNDING, venue="okx")
    store.append(okx, made(Kind.FUNDING, [0], provenance="VENUE:okx"))
    store.append(FUNDING, made(Kind.FUNDING, [0]))
    store.append(FUNDING, made(Kind.FUNDING, [8], provenance="ARCHIVE"))
    assert store.keys() == (FUNDING, okx)
    assert (store.provenance(FUNDING), store.read(FUNDING).provenance, store.read(okx).provenance) == ("ARCHIVE", "ARCHIVE", "VENUE:okx")
    assert [row.rows for row in store.summary()] == [2, 1]
    assert str(okx) == "BTCUSDT funding perp (okx)"


def test_nan_equals_nan(tmp_path):
    store = ObservationStore(tmp_path)
    offered = made(Kind.FUNDING, [0], mark_price=[float("nan")])
    store.append(FUNDING, offered)
    assert store.append(FUNDING, offered).duplicates == 1


@pytest.mark.parametrize("key", [ObservationKey("../x", Kind.FUNDING), ObservationKey("BTCUSDT", Kind.FUNDING, "spot/.."),
                                 ObservationKey("BTCUSDT", Kind.FUNDING, venue="../.."), ObservationKey("btc", Kind.FUNDING),
                                 ObservationKey("BTCUSDT", Kind.FUNDING, venue="..")])
def test_key_that_climbs_is_refused(tmp_path, key):
    with pytest.raises(InputError):
        ObservationStore(tmp_path).append(key, made(Kind.FUNDING, [0]))
    assert not list(tmp_path.rglob("*.parquet"))


def test_wrong_unit_and_wrong_kind_are_refused(tmp_path):
    store = ObservationStore(tmp_path)
    seconds = made(Kind.FUNDING, [0])
    seconds = Observations(Kind.FUNDING, seconds.event_time // 1000, seconds.available_time // 1000, seconds.columns)
    with pytest.raises(InputError, match="not milliseconds"):
        store.append(FUNDING, seconds)
    with pytest.raises(InputError, match="expected funding"):
        store.append(FUNDING, made(Kind.HASH_RATE, [0]))
    assert store.keys() == ()


def test_every_flipped_bit_is_noticed(tmp_path, seed):
    store = ObservationStore(tmp_path)
    store.append(FUNDING, made(Kind.FUNDING, list(range(0, 240, 8))))
    truth = store.read(FUNDING)
    path = next(tmp_path.rglob("*.parquet"))
    good = path.read_bytes()
    rng = np.random.default_rng(seed)
    for _ in range(60):
        bad = bytearray(good)
        at = int(rng.integers(len(bad)))
        bad[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(bad))
        fresh = ObservationStore(tmp_path)
        back = fresh.read(FUNDING)
        assert (len(back) == 0 and len(fresh.damage) == 1) or np.array_equal(back["rate"], truth["rate"]), at
        path.write_bytes(good)
    assert len(ObservationStore(tmp_path).read(FUNDING)) == len(truth)


def test_deleted_cut_and_swapped_files_are_named_and_come_back_by_fetching(tmp_path):
    store = ObservationStore(tmp_path)
    offered = made(Kind.FUNDING, [0, 8, 400])
    store.append(FUNDING, offered)
    january, february = sorted(tmp_path.rglob("*.parquet"))
    january.unlink()
    fresh = ObservationStore(tmp_path)
    assert len(fresh.read(FUNDING)) == 1
    assert "2024-01.parquet: the file is missing; 2 rows lost" in fresh.damage[0].words
    february.rename(january)
    fresh = ObservationStore(tmp_path)
    assert len(fresh.verify()) == 2 and any("belongs to" in d.reason for d in fresh.damage)
    assert fresh.append(FUNDING, offered).added == 3
    assert len(fresh.read(FUNDING)) == 3 and fresh.damage == ()


def test_lost_manifest_is_made_again(tmp_path):
    store = ObservationStore(tmp_path)
    store.append(FUNDING, made(Kind.FUNDING, [0, 8, 400]))
    version = store.version(FUNDING)
    manifest = next(tmp_path.rglob("manifest.json"))
    for content in (b"", b"{}", b'{"check": "0"}'):
        manifest.write_bytes(content)
        fresh = ObservationStore(tmp_path)
        assert len(fresh.read(FUNDING)) == 3 and fresh.version(FUNDING) == version


def test_a_lost_manifest_hides_neither_a_damaged_file_nor_the_series(tmp_path):
    store = ObservationStore(tmp_path)
    store.append(FUNDING, made(Kind.FUNDING, [0, 8, 400]))
    next(tmp_path.rglob("manifest.json")).unlink()
    january = tmp_path / "observations" / FUNDING.path / "2024-01.parquet"
    january.write_bytes(january.read_bytes()[:-40])
    fresh = ObservationStore(tmp_path)
    assert fresh.keys() == (FUNDING,) and len(fresh.read(FUNDING)) == 1
    assert [damage.file for damage in fresh.damage] == ["2024-01.parquet"]


def test_keys_of_a_symbol_or_a_kind(tmp_path):
    store = ObservationStore(tmp_path)
    keys = [ObservationKey(symbol, kind, "perp", venue) for symbol in ("BTCUSDT", "ETHUSDT") for kind in (Kind.FUNDING, Kind.BASIS)
            for venue in ("binance", "okx")]
    for key in keys:
        store.append(key, made(key.kind, [0]))
    assert store.keys() == tuple(sorted(keys))
    assert store.keys("ETHUSDT") == tuple(sorted(k for k in keys if k.symbol == "ETHUSDT"))
    assert store.keys("ETHUSDT", Kind.BASIS) == tuple(sorted(k for k in keys if k.symbol == "ETHUSDT" and k.kind is Kind.BASIS))
    with pytest.raises(InputError):
        store.keys("../..")


@pytest.mark.parametrize("name", ["2024-01.parquet", "manifest.json"])
def test_a_folder_in_the_place_of_a_file_is_named_and_read_around(tmp_path, name):
    """What a disk answers with an input/output error is treated the same."""
    ObservationStore(tmp_path).append(FUNDING, made(Kind.FUNDING, [0, 8, 400]))
    file = tmp_path / "observations" / FUNDING.path / name
    file.unlink()
    file.mkdir()
    store = ObservationStore(tmp_path)
    assert len(store.read(FUNDING)) == (1 if name == "2024-01.parquet" else 3)
    assert [damage.file for damage in store.damage] == [name] and "cannot be read" in store.damage[0].words


def test_a_file_that_is_forbidden_just_now_is_not_taken_for_damaged(tmp_path, monkeypatch):
    ObservationStore(tmp_path).append(FUNDING, made(Kind.FUNDING, [0, 8]))
    read, bad = Path.read_bytes, True
    monkeypatch.setattr(Path, "read_bytes", lambda path: _refuse(path) if bad and path.suffix == ".parquet" else read(path))
    store = ObservationStore(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        store.read(FUNDING)
    bad = False
    assert len(store.read(FUNDING)) == 2 and store.damage == ()


def _refuse(path):
    raise PermissionError(errno.EACCES, "Permission denied", str(path))


class Killed(Exception):
    pass


def test_kill_at_every_step_leaves_old_or_new(tmp_path):
    first, second = made(Kind.FUNDING, [0, 8]), made(Kind.FUNDING, [16, 400])
    steps: list[str] = []
    counting = ObservationStore(tmp_path / "count", fault=steps.append)
    counting.append(FUNDING, first)
    begin = len(steps)
    counting.append(FUNDING, second)
    assert len(steps) - begin >= 16
    for at in range(begin, len(steps)):
        folder = tmp_path / str(at)
        ObservationStore(folder).append(FUNDING, first)
        left = [at - begin]

        def kill(name: str, left: list[int] = left) -> None:
            if left[0] == 0:
                raise Killed(name)
            left[0] -= 1

        with pytest.raises(Killed):
            ObservationStore(folder, fault=kill).append(FUNDING, second)
        after = ObservationStore(folder)
        assert len(after.read(FUNDING)) in (2, 3, 4) and after.damage == ()
        after.append(FUNDING, second)
        assert len(after.read(FUNDING)) == 4 and after.verify() == ()
        assert not list(folder.rglob(".tmp-*"))


def test_second_writer_waits_and_gives_up(tmp_path):
    from filelock import FileLock

    store = ObservationStore(tmp_path, lock_wait_s=0.05)
    with FileLock(tmp_path / "observations.lock"), pytest.raises(LockHeld, match="another process is writing observations"):
        store.append(FUNDING, made(Kind.FUNDING, [0]))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(st.integers(0, 1200), max_size=8), max_size=5))
def test_any_batches_in_any_order_hold_each_moment_once(tmp_path_factory, batches):
    store = ObservationStore(tmp_path_factory.mktemp("any"))
    seen: dict[int, float] = {}
    for number, hours in enumerate(batches):
        rate = [number * 100.0 + i for i in range(len(hours))]
        report = store.append(FUNDING, made(Kind.FUNDING, hours, rate=rate))
        new = 0
        for hour, value in zip(hours, rate, strict=True):
            new += hour not in seen
            seen.setdefault(hour, value)
        assert report.added == new and report.added + report.duplicates + report.revised == len(hours)
    back = store.read(FUNDING)
    assert {int((t - START) // HOUR_MS): v for t, v in zip(back.event_time, back["rate"], strict=True)} == seen


def test_slugs_are_unique():
    assert len({slug(kind) for kind in Kind}) == len(Kind)
