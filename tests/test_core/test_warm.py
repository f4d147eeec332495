"""Kernels are compiled by a child into the folder the parent reads, and a failure there harms nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from loguru import logger

from core import warm

ROOT = Path(__file__).resolve().parents[2]


def test_a_child_fills_the_kernel_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    warm.compile_in_a_child()
    compiled = {p.name.split("-")[0].split(".")[-1] for p in tmp_path.rglob("*.nbi")}
    code = "import analysis.modules\nfrom data.kernel import kernels\nprint(*[k.__name__ for k in kernels() if k.example])"
    names = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert names and set(names) <= compiled


@pytest.mark.parametrize("failure", [OSError("no processes left"), subprocess.TimeoutExpired("python", 1), None])
def test_a_failed_child_is_only_logged(monkeypatch, failure):
    def refuse(*args, **kwargs):
        if failure is not None:
            raise failure
        return subprocess.CompletedProcess(args, -9)  # ended by the system, for its memory

    told: list[str] = []
    sink = logger.add(told.append, format="{message}")
    monkeypatch.setattr(warm.subprocess, "run", refuse)
    try:
        warm.compile_in_a_child()
    finally:
        logger.remove(sink)
    assert len(told) == 1 and "the plain ones go on" in told[0]
