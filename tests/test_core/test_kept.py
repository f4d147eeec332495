"""Kept results: one computation for all who ask, bounded, and no more threads at work than there are turns."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from core.kept import Kept, Turns

PATIENCE_S = 20


def test_whoever_asks_together_gets_one_computation():
    kept, begun, go, calls = Kept(4), threading.Event(), threading.Event(), []

    def compute():
        calls.append(1)
        begun.set()
        assert go.wait(PATIENCE_S)
        return object()

    with ThreadPoolExecutor(6) as pool:
        first = pool.submit(kept.get, "a", compute)
        assert begun.wait(PATIENCE_S)
        others = [pool.submit(kept.get, "a", compute) for _ in range(5)]
        go.set()
        assert {id(f.result(PATIENCE_S)) for f in [first, *others]} == {id(kept.peek("a"))} and calls == [1]


def test_no_more_threads_compute_than_there_are_turns_and_what_is_there_needs_none():
    turns = Turns(2)
    kept, other, begun, go = Kept(20, turns), Kept(20, turns), threading.Semaphore(0), threading.Event()
    at_work, most, guard = [0], [0], threading.Lock()

    def compute():
        with guard:
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
        begun.release()
        assert go.wait(PATIENCE_S)
        with guard:
            at_work[0] -= 1
        return 1

    kept.get("known", lambda: 7)
    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit((kept, other)[n % 2].get, n, compute) for n in range(8)]
        for _ in range(2):
            assert begun.acquire(timeout=PATIENCE_S)
        assert kept.get("known", lambda: 8) == 7, "both turns are taken: this one needs none"
        go.set()
        assert [f.result(PATIENCE_S) for f in found] == [1] * 8
    assert most[0] == 2


def test_a_thread_with_its_turn_computes_what_it_needs_on_the_way():
    turns = Turns(1)
    cards, lines = Kept(4, turns), Kept(4, turns)
    with ThreadPoolExecutor(4) as pool:
        for n in range(40):  # the same pair in both orders of asking, by threads that compete for the one turn
            outer = pool.submit(cards.get, n, lambda n=n: lines.get(n, lambda: n) + 1)
            inner = pool.submit(lines.get, n, lambda n=n: n)
            assert (outer.result(PATIENCE_S), inner.result(PATIENCE_S)) == (n + 1, n)


def test_a_failure_is_told_to_who_asked_and_the_next_may_try():
    kept = Kept(2, Turns(1))
    with pytest.raises(ValueError, match="once"):
        kept.get("a", lambda: (_ for _ in ()).throw(ValueError("once")))
    assert kept.get("a", lambda: 5) == 5 and not kept._busy


def test_the_oldest_go_first():
    kept = Kept(2)
    for key in ("a", "b", "a", "c"):
        kept.get(key, lambda key=key: key)
    assert kept.peek("b") is None and kept.peek("a") == "a" and kept.peek("c") == "c"
