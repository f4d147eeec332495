"""Heaps are kept few, as glibc itself counts them; elsewhere nothing happens."""

from __future__ import annotations

import subprocess
import sys

import pytest

import core.memory as memory

THREADS = """
import ctypes, threading
from core.memory import few_heaps
{call}
libc, together = ctypes.CDLL(None), threading.Barrier(8)
libc.malloc.restype = ctypes.c_void_p
def work():
    together.wait()
    for _ in range(2000):
        libc.malloc(200)
threads = [threading.Thread(target=work) for _ in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
libc.malloc_stats()
"""


def heaps(call: str) -> int:
    done = subprocess.run([sys.executable, "-c", THREADS.format(call=call)], capture_output=True, text=True, check=True,
                          env={"PYTHONPATH": "."})
    return sum(line.startswith("Arena") for line in done.stderr.splitlines())


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone has heaps for each thread")
def test_threads_share_two_heaps():
    assert heaps("pass") > 2 >= heaps("few_heaps()") >= 1


class Watched:
    """A C library that counts how often it is asked for; `calls` are the functions it has."""

    def __init__(self, *calls):
        self.opened, self.called = 0, []
        for name in calls:
            setattr(self, name, lambda *given, name=name: self.called.append((name, *given)) or 1)

    def __call__(self, _):
        self.opened += 1
        return self


def test_elsewhere_nothing_happens(monkeypatch):
    library = Watched("mallopt", "malloc_trim")
    monkeypatch.setattr(memory.ctypes, "CDLL", library)
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    memory.few_heaps()
    memory.give_back()
    assert library.opened == 0 and library.called == []
    monkeypatch.setattr(memory.sys, "platform", "linux")
    memory.few_heaps()
    memory.give_back()
    assert library.called == [("mallopt", -8, 2), ("malloc_trim", 0)]


def test_a_c_library_without_these_calls_is_left_alone(monkeypatch):
    library = Watched("malloc")
    monkeypatch.setattr(memory.ctypes, "CDLL", library)
    memory.few_heaps()
    memory.give_back()
    assert library.opened == 2 and library.called == []
