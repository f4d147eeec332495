"""The runner: one at a time, recovery as the normal start, and what a user reads when something is in its way."""

from __future__ import annotations

import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from filelock import FileLock
from loguru import logger

from core.paper.ledger import Ledger
from core.paper.runner import Runner, RunnerState, owner_words
from core.paper.verify import verify
from data.clock import SystemClock
from data.errors import DamagedState, DataError, LockHeld
from data.market import HOUR_MS
from tests.paper_worlds import PaperWorld, reseal
from tests.test_core.test_paper_ledger import LIES

ROOT = Path(__file__).resolve().parents[2]


def runner_of(world, **more):
    return Runner(world.sextant, world.ledger, world.broker, **more)


def said(world):
    return RunnerState(world.ledger, world.clock).read()


def test_once_records_what_is_due_and_a_second_call_finds_nothing(tmp_path):
    world = PaperWorld(tmp_path)
    world.clock.at_ms = world.next_close() + 2 * HOUR_MS
    assert len(runner_of(world).run(once=True)) == 3
    assert runner_of(world).run(once=True) == []
    assert said(world)["state"] == "ended" and [r["kind"] for r in world.ledger.rows("audit")] == ["started", "started"]


def test_it_works_until_it_is_asked_to_stop_through_the_database(tmp_path):
    world = PaperWorld(tmp_path)
    world.clock.at_ms = world.next_close()
    looks = []

    def sleep(_):
        looks.append(1)
        world.clock.at_ms += HOUR_MS
        if len(looks) == 4:
            RunnerState(world.ledger, world.clock).write(stop=True)

    runner_of(world, sleep=sleep).run()
    assert len(looks) == 4 and len(world.ledger.rows("equity")) == 4 and owner_words(said(world)) == "not running"


def test_a_second_runner_is_refused_within_two_seconds_by_name(tmp_path):
    world = PaperWorld(tmp_path)
    RunnerState(world.ledger, world.clock).write(host="desk", pid=42, started_ms=world.clock.at_ms, beat_ms=world.clock.at_ms,
                                                 state="running", words="")
    with FileLock(world.ledger.path.with_name("runner.lock")):
        began = time.monotonic()
        with pytest.raises(LockHeld, match=r"already running since 2026-09-01T00:10:00Z \(host desk, process 42"):
            runner_of(world).run(once=True)
        assert time.monotonic() - began < 2.0


def test_as_processes_the_second_gets_exit_code_4_and_a_killed_one_frees_the_lock(tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SEXTANT_")} | {
        "SEXTANT_HOME": str(tmp_path / "home"), "SEXTANT_WORLD": "simulated", "SEXTANT_NETWORK": "off"}

    def core(*words, **more):
        return subprocess.run([sys.executable, "-m", "core", *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60,
                              **more)

    assert core("paper", "start", "BTCUSDT", "--strategy", "ema_cross").returncode == 0
    def runner(**more):
        words = [sys.executable, "-m", "core", "run"]
        started.append(subprocess.Popen(words, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL, **more))
        return started[-1]

    started: list[subprocess.Popen] = []
    first = runner()
    try:
        state = RunnerState(Ledger(tmp_path / "home" / "paper" / "simulated" / "ledger.sqlite"), SystemClock())
        deadline = time.monotonic() + 30
        while not state.read().get("alive"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        second = core("run", "--once")
        assert second.returncode == 4 and "already running since" in second.stderr and second.stderr.count("\n") == 1
        first.send_signal(signal.SIGKILL)
        first.wait(10)
        background = runner(preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))  # as a shell's background job
        while state.read().get("pid") != background.pid:
            assert time.monotonic() < deadline + 30
            time.sleep(0.1)
        background.terminate()
        background.wait(20)
        assert state.read()["state"] == "ended"
    finally:
        for one in started:
            one.kill()
            one.wait(10)
    answer = core("verify", "--json")
    assert answer.returncode == 0 and json.loads(answer.stdout) == {"ok": True, "failed": [], "exit": 0}


def test_after_a_crash_the_audit_says_restarted(tmp_path):
    world = PaperWorld(tmp_path)
    RunnerState(world.ledger, world.clock).write(host="h", pid=1, started_ms=1, beat_ms=1, state="running", words="")
    assert "silent since" in owner_words(said(world))
    world.clock.at_ms = world.next_close()
    runner_of(world).run(once=True)
    assert world.ledger.rows("audit")[-1]["kind"] == "restarted"


def test_an_unsound_ledger_is_not_traded(tmp_path):
    world = PaperWorld(tmp_path)
    world.hours(3)
    reseal(world.ledger.path, LIES["equity"][1])
    world.clock.at_ms = world.next_close()
    with pytest.raises(DamagedState, match=r"nothing is traded: L1 .* restore FILE"):
        runner_of(world).run(once=True)
    assert len(world.ledger.rows("equity")) == 3


def test_a_clock_that_was_set_back_waits_and_goes_on_by_itself(tmp_path):
    world = PaperWorld(tmp_path)
    world.hours(5)
    right = world.clock.at_ms
    world.clock.at_ms -= 3 * HOUR_MS
    assert runner_of(world).run(once=True) == []
    world.clock.at_ms = right + HOUR_MS
    assert len(runner_of(world).run(once=True)) == 1 and verify(world.ledger) == []


def test_what_it_waits_for_is_said(tmp_path):
    world = PaperWorld(tmp_path)
    world.hours(5)
    world.clock.at_ms -= 3 * HOUR_MS
    words = []

    def sleep(_):
        words.append(said(world)["words"])
        RunnerState(world.ledger, world.clock).write(stop=True)

    runner_of(world, sleep=sleep).run()
    assert "before the newest recorded bar closed: it was set back" in words[0]


def test_a_full_disk_pauses_loses_nothing_and_goes_on_when_there_is_room(tmp_path):
    world = PaperWorld(tmp_path)
    world.hours(3)
    runner = runner_of(world)
    world.clock.at_ms = world.next_close() + 30 * HOUR_MS
    with world.ledger.reading() as db:  # no room: the file may not grow
        db.execute(f"pragma max_page_count = {db.execute('pragma page_count').fetchone()[0]}")
    assert runner._catch_up() == [] and len(world.ledger.rows("equity")) < 3 + 31  # as far as there was room
    assert "paused, no trade is made" in runner._told or "paused" in said(world).get("words", "")
    with world.ledger.reading() as db:
        db.execute("pragma max_page_count = 1000000")
    runner._catch_up()
    assert len(world.ledger.rows("equity")) == 3 + 31 and verify(world.ledger) == []


def no_room() -> Callable[[], None]:
    """From now on no file of this process takes a byte, as on a full disk; the answer ends it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("begun", [False, True], ids=["nothing can be written", "the owner's row still fits"])
def test_a_start_on_a_full_disk_waits_says_so_once_and_is_no_crash(tmp_path, monkeypatch, begun):
    world = PaperWorld(tmp_path)
    world.hours(3)
    world.clock.at_ms = world.next_close()
    runner_of(world).run(once=True)
    world.clock.at_ms += HOUR_MS
    room, told, looks = no_room() if not begun else None, [], []
    if begun:
        first = world.ledger.transaction

        def full(*given):
            nonlocal room
            room, world.ledger.transaction = no_room(), first
            return first(*given)

        monkeypatch.setattr(world.ledger, "transaction", full)

    def sleep(_):
        looks.append(len(world.ledger.rows("equity")))
        if len(looks) == 3:
            room()
        if len(looks) == 4:
            RunnerState(world.ledger, world.clock).write(stop=True)

    try:
        runner_of(world, sleep=sleep, tell=told.append).run()
    finally:
        room()
    assert looks == [4, 4, 4, 5] and len(told) == 1 and "paused, no trade is made" in told[0]
    assert [r["kind"] for r in world.ledger.rows("audit")] == ["started", "started"] and verify(world.ledger) == []


def test_a_first_start_in_a_locked_file_says_so_in_its_row(tmp_path):
    world = PaperWorld(tmp_path)
    with world.ledger.reading() as own:
        own.execute("pragma busy_timeout = 50")
    words = []

    def sleep(_):
        words.append(owner_words(said(world)))
        if other.in_transaction:
            other.execute("rollback")
        else:
            RunnerState(world.ledger, world.clock).write(stop=True)

    with closing(sqlite3.connect(world.ledger.path, isolation_level=None)) as other:
        other.execute("begin immediate")
        runner_of(world, sleep=sleep, tell=words.append).run()
    assert "nothing can be written" in words[0] and words[1] == "never started" and "running since" in words[2]
    assert [r["kind"] for r in world.ledger.rows("audit")] == ["started"]


def test_a_start_that_waits_can_be_stopped(tmp_path, monkeypatch):
    """The owner's row still takes words, the transaction of the start does not: a table of the ledger is full."""
    world, looks, told = PaperWorld(tmp_path), [], []

    def full(*_):
        with closing(sqlite3.connect(tmp_path / "full.sqlite")) as db:
            db.execute("pragma max_page_count = 2")
            db.execute("create table if not exists t (x)")
            db.execute("insert into t values (zeroblob(100000))")

    monkeypatch.setattr(world.ledger, "transaction", full)

    def sleep(_):
        looks.append(said(world)["state"])
        if len(looks) == 2:
            world.sextant.stop_runner()
        assert len(looks) < 5

    assert runner_of(world, sleep=sleep, tell=told.append).run() == []
    assert looks == ["paused", "paused"] and len(told) == 1 and owner_words(said(world)) == "not running"


def test_a_scheduler_s_call_on_a_full_disk_ends_with_the_reason(tmp_path):
    world = PaperWorld(tmp_path)
    room = no_room()
    try:
        with pytest.raises(DataError, match=r"nothing can be written to simulated .* MiB free"):
            runner_of(world).run(once=True)
    finally:
        room()
    assert len(runner_of(world).run(once=True)) == 0


def test_only_a_store_that_takes_nothing_is_passed_over_in_silence(tmp_path):
    world = PaperWorld(tmp_path)
    world.hours(1)

    def no_such_table():
        with world.ledger.reading() as db:
            db.execute("select 1 from nowhere")

    def gone():
        (tmp_path / "gone").read_bytes()

    def full():
        end = no_room()
        try:
            world.broker.control("pause")
        finally:
            end()

    codes = []
    sink = logger.add(lambda message: codes.append(str(message)), level="ERROR")
    try:
        runner_of(world, idle=(full, no_such_table, gone))._beside()
    finally:
        logger.remove(sink)
    assert len(codes) == 2 and "no such table" in codes[0] and "FileNotFoundError" in codes[1]


def test_a_forecast_keeps_nobody_waiting_for_the_lock(tmp_path):
    world = PaperWorld(tmp_path)
    world.clock.at_ms = world.next_close()
    seen = []

    def ahead(closed_ms, late):
        with closing(sqlite3.connect(world.ledger.path, isolation_level=None, timeout=0)) as page:  # asks while the model computes
            page.execute("begin immediate")
            page.execute("rollback")
        return lambda change, step: seen.append((closed_ms, late, step.closed_ms, change.number))

    runner_of(world, ahead=ahead).run(once=True)
    bar, = world.ledger.rows("equity")
    assert seen == [(bar["at_ms"], False, bar["at_ms"], bar["tx"])]


def test_a_locked_database_is_waited_for(tmp_path):
    world = PaperWorld(tmp_path)
    world.hours(2)
    world.clock.at_ms = world.next_close()
    with world.ledger.reading() as own:
        own.execute("pragma busy_timeout = 50")
    runner = runner_of(world)
    with closing(sqlite3.connect(world.ledger.path, isolation_level=None)) as other:
        other.execute("begin immediate")
        assert runner._catch_up() == []
        other.execute("rollback")
    assert len(runner._catch_up()) == 1


def test_a_damaged_file_is_named_with_what_to_do(tmp_path):
    world = PaperWorld(tmp_path)
    world.hours(2)
    world.ledger.close()
    world.sextant.paper_ledger.close()
    for beside in ("-wal", "-shm"):
        Path(f"{world.ledger.path}{beside}").unlink(missing_ok=True)
    world.ledger.path.write_bytes(b"nothing" * 1000)
    with pytest.raises(DamagedState, match=r"cannot be read .*restore a backup"):
        runner_of(world).run(once=True)


def test_fifty_symbols_bars_are_decided_in_one_transaction_each(tmp_path):
    world = PaperWorld(tmp_path, symbols=tuple(PaperWorld(tmp_path / "x").sextant.symbols()), max_positions=12)
    world.hours(3)
    rows = world.ledger.rows("decisions")
    assert {(r["tx"], r["bar_ms"]) for r in rows} == {(e["tx"], e["bar_ms"]) for e in world.ledger.rows("equity")}
