"""The queue: one job per question, progress, cancel, death, and many processes at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

import pytest

from core.jobs import Jobs
from data.clock import FixedClock
from data.errors import InputError, NoData


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    queue = Jobs(tmp_path, FixedClock(1_000_000), limit=1)
    queue.spawned = []
    monkeypatch.setattr(queue, "_spawn", queue.spawned.append)
    return queue


def test_a_job_runs_and_its_result_is_kept(jobs):
    job = jobs.submit("add", {"a": 2, "b": 3})
    assert jobs.pump() == [job.id] == jobs.spawned and jobs.get(job.id).state == "running"
    ended = jobs.run(job.id, {"add": lambda arguments, report: arguments["a"] + arguments["b"]})
    assert (ended.state, ended.result) == ("done", 5) and not ended.open


def test_the_same_button_in_fifty_tabs_is_one_job(jobs):
    assert len({jobs.submit("fill", {"symbol": "X", "days": 3}).id for _ in range(50)}) == 1
    assert jobs.submit("fill", {"symbol": "Y", "days": 3}).id == 2


def test_only_as_many_children_as_the_limit(jobs):
    for n in range(3):
        jobs.submit("x", {"n": n})
    assert jobs.pump() == [1] and jobs.pump() == []
    jobs.run(1, {"x": lambda *_: None})
    assert jobs.pump() == [2]


def test_progress_is_readable_and_cancel_stops_it(jobs):
    job = jobs.submit("long", {})
    seen = []

    def work(_, report):
        report(1, 2, "first")
        seen.append(jobs.get(job.id).words)
        jobs.cancel(job.id)
        report(2, 2, "second")

    assert jobs.run(job.id, {"long": work}).state == "cancelled" and seen == ["first"]


def test_a_waiting_job_is_cancelled_at_once(jobs):
    job = jobs.submit("x", {})
    assert jobs.cancel(job.id).state == "cancelled" and jobs.pump() == []


@pytest.mark.parametrize(("error", "words"), [(NoData("no data for X"), "no data for X"), (ZeroDivisionError(), "something failed (E-")])
def test_a_failure_is_a_sentence_or_a_code(jobs, error, words):
    def work(*_):
        raise error

    ended = jobs.run(jobs.submit("x", {}).id, {"x": work})
    assert ended.state == "failed" and ended.words.startswith(words)


def test_unknown_jobs_and_kinds_say_so(jobs):
    with pytest.raises(InputError, match="there is no job 7"):
        jobs.get(7)
    assert "unknown kind" in jobs.run(jobs.submit("nonsense", {}).id, {}).words


def die(home):
    queue = Jobs(home, FixedClock(1_000_000), limit=1)
    queue.run(1, {"x": lambda *_: os.kill(os.getpid(), signal.SIGKILL)})


def test_a_killed_child_is_noticed_and_the_queue_goes_on(jobs, tmp_path):
    jobs.submit("x", {})
    jobs.submit("x", {"next": 1})
    jobs.pump()
    child = multiprocessing.get_context("spawn").Process(target=die, args=(tmp_path,))
    child.start()
    child.join()
    later = Jobs(tmp_path, FixedClock(1_100_000), limit=1)
    later._spawn = lambda number: None
    assert later.pump() == [2]
    assert later.get(1).state == "interrupted" and "it resumes" in later.get(1).words


def test_a_page_that_looks_for_dead_children_does_not_send_a_starting_one_away(jobs):
    """Looking takes the child's lock for a moment; the child that comes in that moment must wait, not give up."""
    job = jobs.submit("x", {})
    looking = jobs._lock(job.id)
    looking.acquire()
    timer = threading.Thread(target=lambda: ended.append(jobs.run(job.id, {"x": lambda *_: 1}).state))
    ended = []
    timer.start()
    time.sleep(0.2)
    looking.release()
    timer.join()
    assert ended == ["done"]


def test_a_clock_that_is_set_back_does_not_hold_the_queue(jobs, tmp_path):
    jobs.submit("x", {})
    jobs.submit("x", {"next": 1})
    jobs.pump()
    earlier = Jobs(tmp_path, FixedClock(10), limit=1)
    earlier._spawn = lambda number: None
    assert earlier.pump() == [2] and earlier.get(1).state == "interrupted"


def test_old_jobs_leave_nothing_behind(jobs, tmp_path, monkeypatch):
    monkeypatch.setattr("core.jobs.KEPT", 3)
    for n in range(8):
        jobs.run(jobs.submit("x", {"n": n}).id, {"x": lambda *_: None})
    assert [job.id for job in jobs.all()] == [8, 7, 6]
    assert {file.name for file in (tmp_path / "jobs").glob("*.lock")} <= {f"{n}.lock" for n in range(6, 9)}


def test_a_child_that_cannot_be_started_is_said(jobs, monkeypatch):
    def refuse(number):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(jobs, "_spawn", refuse)
    job = jobs.submit("x", {})
    assert jobs.pump() == [] and jobs.get(job.id).state == "failed" and "Cannot allocate memory" in jobs.get(job.id).words


def test_a_result_that_cannot_be_kept_is_a_failure_with_a_code(jobs):
    ended = jobs.run(jobs.submit("x", {}).id, {"x": lambda *_: {1, 2}})
    assert ended.state == "failed" and "E-" in ended.words


def submit_many(home, start):
    queue = Jobs(home, FixedClock(start), limit=1)
    for n in range(25):
        queue.submit("x", {"n": start * 100 + n})


def test_four_processes_write_at_once_without_a_locked_database(tmp_path):
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=submit_many, args=(tmp_path, n)) for n in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert len(Jobs(tmp_path, FixedClock(0)).all()) == 100
