"""What every test can rely on: a fresh home, the recordings where they are, no network beyond loopback, seeds in the report."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).resolve().parent.parent / ".pytest_cache" / "kernels"))  # compiled once a suite

OF_TESTS = ("SEXTANT_REAL_DATA", "SEXTANT_TEST_SEED")
for _name in [n for n in os.environ if n.startswith("SEXTANT_") and n not in OF_TESTS]:
    del os.environ[_name]  # the environment beats what a test gives: with SEXTANT_HOME set, all would share one home
os.environ["SEXTANT_NETWORK"] = "off"  # nothing in the suite asks the world outside; what needs a source names a loopback one

import pytest  # noqa: E402 - after the environment is what tests expect

SEED = int(os.environ.get("SEXTANT_TEST_SEED", "20261120"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run only the tests marked long")


def pytest_report_header() -> str:
    where = os.environ.get("SEXTANT_REAL_DATA")
    return f"seed: {SEED} (SEXTANT_TEST_SEED); recordings: {'given' if where else 'SEXTANT_REAL_DATA not set'}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    long_run = config.getoption("--long")
    kept, dropped = [], []
    for item in items:
        (kept if ("long" in item.keywords) == long_run else dropped).append(item)
    items[:] = kept
    if dropped:
        config.hook.pytest_deselected(items=dropped)


@pytest.fixture
def seed() -> int:
    return SEED


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh, separate state folder."""
    folder = tmp_path / "home"
    monkeypatch.setenv("SEXTANT_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of real recordings. Skips where SEXTANT_REAL_DATA is not set; fails where it is set and wrong."""
    where = os.environ.get("SEXTANT_REAL_DATA")
    if not where:
        pytest.skip("SEXTANT_REAL_DATA is not set: real recordings are not part of the project")
    folder = Path(where)
    assert (folder / "vision").is_dir(), f"SEXTANT_REAL_DATA={where} has no folder vision/: point it at the recordings"
    return folder


LOOPBACK = {"127.0.0.1", "::1", "localhost", "0.0.0.0", None, ""}


def _fence(event: str, args: tuple) -> None:
    """Any attempt to leave this machine fails the test that makes it (reliability.md 5.9)."""
    if event == "socket.getaddrinfo" and args[0] not in LOOPBACK and not _is_loopback(args[0]):
        raise AssertionError(f"a test looked up {args[0]!r}: tests reach loopback only")
    if event == "socket.connect" and isinstance(args[1], tuple) and not _is_loopback(args[1][0]):
        raise AssertionError(f"a test connected to {args[1]!r}: tests reach loopback only")


def _is_loopback(host: object) -> bool:
    text = host.decode() if isinstance(host, bytes) else str(host)
    return text in ("localhost", "::1", "0.0.0.0", socket.gethostname()) or text.startswith("127.")


sys.addaudithook(_fence)
