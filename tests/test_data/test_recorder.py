"""The tick recorder: bounded, durable, proven on reading, nothing counted twice."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import numpy as np
import pytest

from data.errors import InputError, LockHeld
from data.market import HOUR_MS, Market
from data.observations import Kind
from data.streams.batches import TICK_COLUMNS, TickKind, observations_of, rows_of
from data.streams.messages import Snapshot, decode
from data.streams.recorder import TickRecorder
from tests.test_data.test_stream_messages import frames

HOUR = 1_760_000_400_000 // HOUR_MS * HOUR_MS
SPOT, AGG, BTC = Market.SPOT, TickKind.AGG_TRADE, "BTCUSDT"


def agg(number: int, at_ms: int) -> tuple[float, ...]:
    return (at_ms, at_ms + 5, number, 100.0 + number, 0.1, 1 - 2 * (number % 2), number, number)


def ids(recorder: TickRecorder, start: int = 0, end: int = 1 << 60, kind: TickKind = AGG, symbol: str = BTC) -> list[int]:
    return recorder.read(SPOT, kind, symbol, start, end)["agg_id"].tolist()


@pytest.fixture
def opened(tmp_path):
    recorder = TickRecorder(tmp_path / "ticks")
    recorder.open()
    yield recorder
    recorder.close()


def parquet(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*.parquet") if "quarantine" not in p.parts)


def test_what_was_added_is_read_back_before_and_after_writing(opened):
    opened.add(SPOT, AGG, BTC, [agg(i, HOUR + i) for i in range(100)])
    assert ids(opened) == list(range(100)) and not opened.files()
    opened.flush()
    opened.add(SPOT, AGG, BTC, [agg(i, HOUR + i) for i in range(100, 110)])
    assert ids(opened) == list(range(110)) and len(opened.files()) == 1
    assert ids(opened, HOUR + 5 + 10, HOUR + 5 + 20) == list(range(10, 20))  # by available_time, half-open
    found = observations_of(AGG, opened.read(SPOT, AGG, BTC, HOUR, HOUR + HOUR_MS))[Kind.AGG_TRADES]
    assert found["price"][:3].tolist() == [100.0, 101.0, 102.0] and found.available_time[0] == found.event_time[0] + 5
    assert ids(opened, symbol="ETHUSDT") == []


def test_every_kind_survives_the_round_trip(opened, seed):
    source = random.Random(seed)
    for kind in TickKind:
        values = (0.1, 1e-8, 61_837.63, 5_123_135_475_514.0, float("nan"))
        rows = [(HOUR + i, HOUR + i, *(source.choice(values) for _ in TICK_COLUMNS[kind])) for i in range(50)]
        opened.add(Market.PERP, kind, BTC, rows)
        opened.flush()
        read = opened.read(Market.PERP, kind, BTC, HOUR, HOUR + HOUR_MS)
        assert tuple(read) == ("event_time", "available_time", *TICK_COLUMNS[kind])
        assert np.array_equal(np.column_stack(list(read.values())), np.array(rows), equal_nan=True)


def test_buffers_are_written_when_full_or_old_and_hours_are_joined(tmp_path):
    recorder = TickRecorder(tmp_path, flush_rows=50, flush_after_ms=60_000)
    recorder.open()
    number = 0
    for minute in range(0, 130, 2):
        now = HOUR + minute * 60_000
        recorder.add(SPOT, AGG, BTC, [agg(number + i, now + i) for i in range(10)])
        number += 10
        recorder.flush_due(now + 50)
        recorder.flush_due(now + 61_000)
    assert len([file for file in recorder.files() if file.piece == 0]) == 2 and len(recorder.files()) < 10
    assert ids(recorder) == list(range(number))
    recorder.close()
    again = TickRecorder(tmp_path)
    assert ids(again) == list(range(number))  # reading needs no lock
    again.open()
    again.add(SPOT, AGG, BTC, [agg(number, HOUR + 7)])  # a clock set back: an hour that was joined gets a new piece
    again.flush()
    assert sorted(ids(again)) == list(range(number + 1))
    again.flush_due(HOUR + 5 * HOUR_MS)
    assert sorted(ids(again)) == list(range(number + 1)) and all(file.piece == 0 for file in again.files())
    again.close()


def test_the_oldest_hours_go_first_and_no_limit_is_passed(tmp_path):
    limit, total = 60_000, 100_000
    recorder = TickRecorder(tmp_path, kind_bytes={AGG: limit, TickKind.TRADE: 1 << 30}, total_bytes=total)
    recorder.open()
    source = np.random.default_rng(1)
    for hour in range(12):
        for kind in (AGG, TickKind.TRADE):
            wide = len(TICK_COLUMNS[kind])
            rows = [(HOUR + hour * HOUR_MS + i, HOUR + hour * HOUR_MS + i, *source.random(wide)) for i in range(300)]
            recorder.add(SPOT, kind, BTC, rows)
        recorder.flush()
        recorder.flush_due(HOUR + hour * HOUR_MS + 1)
        sizes = [(file.kind, file.path.stat().st_size) for file in recorder.files()]
        assert sum(size for kind, size in sizes if kind is AGG) <= limit and sum(size for _, size in sizes) <= total
    kept = recorder.read(SPOT, AGG, BTC, 0, 1 << 60)["available_time"]
    assert 0 < len(kept) < 3_600 and kept[-1] >= HOUR + 11 * HOUR_MS and np.all(np.diff(kept) >= 0)
    assert recorder.counts["files rotated out"] > 3
    assert {str(p) for p in parquet(tmp_path)} == {str(file.path) for file in recorder.files()}
    recorder.close()


class Killed(BaseException):
    """The process died here."""


def test_a_crash_at_any_step_loses_only_what_was_waiting(tmp_path):
    steps: list[str] = []

    def work(folder: Path, die_at: int | None) -> int:
        """Write three pieces over two hours and join; returns how many rows were certainly durable."""
        count, safe = 0, 0

        def fault(name: str) -> None:
            nonlocal count
            count += 1
            if die_at is None:
                steps.append(name)
            elif count == die_at:
                raise Killed

        recorder = TickRecorder(folder, fault=fault)
        recorder.open()
        try:
            for piece in range(3):
                at = HOUR + piece * HOUR_MS // 2
                recorder.add(SPOT, AGG, BTC, [agg(piece * 10 + i, at + i) for i in range(10)])
                recorder.flush()
                safe += 10
            recorder.flush_due(HOUR + 3 * HOUR_MS)
        except Killed:
            pass
        recorder._lock.release()
        recorder._lock = None
        return safe

    work(tmp_path / "whole", None)
    assert len(steps) >= 15
    for die_at in range(1, len(steps) + 1):
        folder = tmp_path / f"die{die_at}"
        safe = work(folder, die_at)
        again = TickRecorder(folder)
        again.open()
        found = ids(again)
        assert found == list(range(len(found))) and safe <= len(found) <= 30, f"died at {steps[die_at - 1]}"
        assert not again.damage and not list(folder.rglob(".tmp-*"))
        again.close()


def test_a_damaged_file_is_named_and_set_aside_never_read_wrongly(tmp_path, seed):
    source = random.Random(seed)
    recorder = TickRecorder(tmp_path)
    recorder.open()
    for hour in range(2):
        recorder.add(SPOT, AGG, BTC, [agg(1000 * hour + i, HOUR + hour * HOUR_MS + i) for i in range(400)])
    recorder.flush()
    recorder.close()
    victim, other = parquet(tmp_path)
    good = victim.read_bytes()
    lost = 0
    for _ in range(120):
        data = bytearray(good)
        how = source.choice(("flip", "flip", "flip", "cut", "zero", "empty"))
        at = source.randrange(len(data))
        if how == "flip":
            data[at] ^= 1 << source.randrange(8)
        elif how == "cut":
            data = data[:at]
        elif how == "zero":
            data[at : at + 64] = bytes(len(data[at : at + 64]))
        else:
            data = bytearray()
        victim.write_bytes(data)
        reader = TickRecorder(tmp_path)
        found = ids(reader)
        assert found in (list(range(400)) + list(range(1000, 1400)), list(range(1000, 1400)))
        lost += len(reader.damage)
        assert len(found) == 800 or reader.damage[0].path.name == victim.name
    assert lost > 90
    victim.write_bytes(good[:-20])
    writer = TickRecorder(tmp_path)
    writer.open()
    assert ids(writer) == list(range(1000, 1400)) and not victim.exists() and len(list((tmp_path / "quarantine").iterdir())) == 1
    writer.close()
    other.replace(victim)  # a file under another hour's name is read as what it is; one of another series is not
    stray = tmp_path / "spot" / "aggTrade" / "ETHUSDT" / victim.name
    stray.parent.mkdir()
    stray.write_bytes(victim.read_bytes())
    reader = TickRecorder(tmp_path)
    assert ids(reader, symbol="ETHUSDT") == [] and "another series" in reader.damage[0].reason


def test_one_process_records_at_a_time(opened, tmp_path):
    with pytest.raises(LockHeld, match="another process records ticks into ticks/"):
        TickRecorder(tmp_path / "ticks").open()
    unopened = TickRecorder(tmp_path / "other")
    unopened.add(SPOT, AGG, BTC, [agg(1, HOUR)])
    with pytest.raises(InputError, match="not open"):
        unopened.flush()


def test_its_size_is_told_while_a_file_is_being_written(opened):
    """The health row of a page must not wait for an hour that is being joined."""
    opened.add(SPOT, AGG, BTC, [agg(i, HOUR + i) for i in range(100)])
    opened.flush()
    sizes = []
    with opened._writing:
        asking = threading.Thread(target=lambda: sizes.append(opened.size()), daemon=True)
        asking.start()
        asking.join(5)
    assert sizes == [sum(file.bytes for file in opened.files())] and sizes[0] > 0


def test_rows_that_came_before_the_clock_was_set_back_are_written_all_the_same(opened):
    opened.add(SPOT, AGG, BTC, [agg(1, HOUR + HOUR_MS)])
    opened.flush_due(HOUR)
    assert len(opened.files()) == 1


def test_what_one_thread_opened_another_may_close(tmp_path):
    """The collector's thread opens it, the streams' thread closes it."""
    recorder, locks = TickRecorder(tmp_path), []
    for _ in range(2):
        recorder.open()
        locks.append(recorder._lock)  # kept: a lock that is dropped is given back by accident
        closing = threading.Thread(target=recorder.close)
        closing.start()
        closing.join()
        other = TickRecorder(tmp_path)
        other.open()
        other.close()


def test_a_full_disk_does_not_keep_the_recorder_from_opening(tmp_path):
    """Hours are joined at the start; where there is no room for that, candles and streams must start all the same."""
    first = TickRecorder(tmp_path)
    first.open()
    for hour in (HOUR, HOUR + HOUR_MS):
        first.add(SPOT, AGG, BTC, [agg(i, hour + i) for i in range(3)])
        first.flush()
    first.close()

    def fault(name: str) -> None:
        raise OSError(28, "No space left on device")

    recorder = TickRecorder(tmp_path, fault=fault)
    recorder.open()
    assert "No space left" in recorder.problem and len(ids(recorder)) == 6
    recorder.close()


def test_a_reader_names_a_damaged_file_once(tmp_path):
    writer = TickRecorder(tmp_path)
    writer.open()
    writer.add(SPOT, AGG, BTC, [agg(1, HOUR)])
    writer.close()
    parquet(tmp_path)[0].write_bytes(b"PAR1 cut")
    reader = TickRecorder(tmp_path)
    assert [ids(reader) for _ in range(5)] == [[]] * 5 and len(reader.damage) == 1


def test_a_full_disk_keeps_the_rows_waiting_and_says_so(tmp_path):
    full = True

    def fault(name: str) -> None:
        if full and name == "ticks: half written":
            raise OSError(28, "No space left on device")

    recorder = TickRecorder(tmp_path, fault=fault)
    recorder.open()
    recorder.add(SPOT, AGG, BTC, [agg(i, HOUR + i) for i in range(10)])
    recorder.flush()
    assert recorder.problem == "ticks are not being stored (No space left on device); they wait in memory"
    assert not recorder.files() and ids(recorder) == list(range(10))
    full = False
    recorder.add(SPOT, AGG, BTC, [agg(10, HOUR + 10)])
    recorder.flush_due(HOUR + 120_000)
    assert not recorder.problem and len(recorder.files()) == 1 and ids(recorder) == list(range(11))
    recorder.close()


@pytest.mark.real
def test_a_recorded_market_is_kept_and_read_back(recordings, tmp_path):
    """Six real minutes of depth, trades and quotes through the recorder, equal to the last number."""
    recorder = TickRecorder(tmp_path)
    recorder.open()
    kept: dict[TickKind, list] = {}
    for received, frame in frames(recordings / "ticks/stream_recordings/usdm_btcusdt_20240808.ndjson.gz"):
        message = decode(frame)[1]
        if isinstance(message, Snapshot):
            continue
        kind, symbol, rows = rows_of(message, received)
        kept.setdefault(kind, []).extend(rows)
        recorder.add(Market.PERP, kind, symbol, rows)
        if len(kept[kind]) % 5_000 == 0:
            recorder.flush_due(received)
    recorder.flush()
    for kind, rows in kept.items():
        read = recorder.read(Market.PERP, kind, BTC, 0, 1 << 60)
        table = np.array(rows)
        assert np.array_equal(np.column_stack(list(read.values())), table[np.argsort(table[:, 1], kind="stable")], equal_nan=True), kind
    assert len(kept[TickKind.BOOK_TICKER]) == 66_089 and len(kept[TickKind.TRADE]) == 21_313 and len(kept[TickKind.DEPTH]) > 400_000
    size = sum(file.bytes for file in recorder.files())
    assert size / sum(map(len, kept.values())) < 24, "bytes per row on disk"
    recorder.close()
