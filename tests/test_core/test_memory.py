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


def test_elsewhere_nothing_happens(monkeypatch):
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    memory.few_heaps()
    memory.give_back()
