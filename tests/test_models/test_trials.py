"""Every try counts once, however often it is run, whoever runs it."""

from __future__ import annotations

import sqlite3
import threading

import numpy as np
import pytest

from data.clock import FixedClock
from data.errors import DamagedState, LockHeld
from models.trials import Trial, TrialLedger, study_name


@pytest.fixture
def ledger(tmp_path):
    return TrialLedger(tmp_path / "trials.sqlite", FixedClock(1_700_000_000_000))


def trial(window, sharpe=0.1, data="v1", study="s"):
    return Trial(study, "backtest", {"window": window}, data, sharpe, 250)


def test_the_same_configuration_on_the_same_data_is_one_try(ledger):
    assert ledger.record([trial(5), trial(6)]) == 2
    assert ledger.record([trial(5), trial(5, sharpe=9.0)]) == 0
    assert ledger.record([trial(5, data="v2")]) == 1
    assert ledger.count("s") == 3 and ledger.sharpes("s").tolist() == [0.1, 0.1, 0.1]  # the first value stays


def test_studies_are_apart_and_unknown_ratios_are_counted_but_not_numbers(ledger):
    ledger.record([trial(1), trial(2, sharpe=None), trial(3, sharpe=float("nan")), trial(1, study="other")])
    assert ledger.count("s") == 3 and len(ledger.sharpes("s")) == 1 and ledger.studies() == {"other": 1, "s": 3}
    assert ledger.count("nothing") == 0


def test_threads_lose_nothing(ledger):
    def work(n):
        for i in range(20):
            ledger.record([trial(n * 100 + i)])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert ledger.count("s") == 80


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "trials.sqlite"
    path.write_bytes(b"this is not a database, whatever its name says " * 50)
    with pytest.raises(DamagedState, match="tries are then counted from zero"):
        TrialLedger(path, FixedClock(1)).count("s")


def test_a_study_has_one_name():
    assert study_name("sweep", "BTCUSDT+ETHUSDT", "1h", "trend") == "sweep/BTCUSDT+ETHUSDT/1h/trend"
    assert np.isfinite(len(trial(1).key))


def test_a_ledger_that_takes_nothing_just_now_is_not_called_damaged(tmp_path):
    """What passes by itself must not tell anybody to move the tries aside: deflated ratios would flatter from then on."""
    (tmp_path / "folder.sqlite").mkdir()
    with pytest.raises(LockHeld, match="it is not damaged") as found:
        TrialLedger(tmp_path / "folder.sqlite", FixedClock(1)).count("s")
    assert found.value.__cause__.sqlite_errorcode == sqlite3.SQLITE_CANTOPEN
