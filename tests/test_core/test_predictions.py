"""The ledger of predictions: frozen before the outcome, graded by raw candles, and nothing can be edited unseen."""

from __future__ import annotations

import multiprocessing
import sqlite3

import numpy as np
import pytest

from core.paper.ledger import Ledger
from core.paper.predictions import PredictionLog, confusion, track_record
from data.clock import FixedClock
from data.errors import DamagedState
from data.labels import LabelConfig, make_labels
from data.market import Interval, SeriesKey
from models.trained import Prediction
from tests.made_candles import made

KEY = SeriesKey("BTCUSDT", Interval.H1)
HOUR = KEY.interval.ms
CANDLES = made(600, seed=4)
LABEL, HORIZON = "dir3_dyn", 12


def said(row: int, call: int = 1, *, abstained: bool = False) -> Prediction:
    probability = {-1: 0.2, 0: 0.3, 1: 0.5}
    return Prediction(KEY.symbol, int(CANDLES.close_time[row]), HORIZON, call, abstained, (), probability)


def clock_at(row: int) -> FixedClock:
    return FixedClock(int(CANDLES.close_time[row]) + 60_000)


def log_at(path, row: int) -> PredictionLog:
    return PredictionLog(Ledger(path / "ledger.sqlite"), clock_at(row))


def write(log: PredictionLog, predictions, source: str = "m/v1") -> int:
    return log.record(KEY, source, LABEL, predictions, config=LabelConfig(horizon=HORIZON), code="c", data_version="d",
                      base_rate={-1: 0.3, 0: 0.4, 1: 0.3})


def read(key, start, end):
    assert key == KEY
    return CANDLES.between(start, end)


def test_the_first_word_counts_and_a_late_one_does_not(tmp_path):
    log = log_at(tmp_path, 300)
    assert write(log, [said(300), said(299, -1)]) == 2
    assert write(log, [said(300, -1)]) == 0, "the same bar, source and label is one prediction"
    assert write(log, [said(100)]) == 0, "its outcome is known already"
    assert [r.call for r in log.rows()] == [1, -1] and log.verify() == []


def test_grades_are_the_label_of_the_raw_candles_and_wait_for_their_time(tmp_path):
    rows = list(range(300, 360))
    for row in rows:
        write(log_at(tmp_path, row), [said(row, 1 if row % 2 else -1)])
    early = log_at(tmp_path, 300 + HORIZON - 1)
    assert early.settle(read) == 0
    late = log_at(tmp_path, 340)
    graded = late.settle(read)
    assert graded == late.settle(read) + graded and 20 < graded < 45
    truth = make_labels(CANDLES, LABEL, LabelConfig(horizon=HORIZON))
    for row in late.rows(settled=True):
        k = int(np.flatnonzero(CANDLES.close_time == row.bar_ms)[0])
        assert row.outcome == truth.value[k]
        p = {-1: 0.2, 0: 0.3, 1: 0.5}
        assert row.settled["brier"] == pytest.approx(sum((p[c] - (c == row.outcome)) ** 2 for c in p) / 2)
        assert row.settled["log_loss"] == pytest.approx(-np.log(p[int(row.outcome)]))
    assert log_at(tmp_path, 590).settle(read) == len(rows) - graded


def test_counts_by_signal(tmp_path):
    for row in range(300, 360):
        write(log_at(tmp_path, row), [said(row, (-1, 0, 1)[row % 3], abstained=row % 7 == 0)])
    log = log_at(tmp_path, 590)
    log.settle(read)
    rows = log.rows()
    for signal in (1, -1):
        table = confusion(rows, signal)
        assert sum(table.values()) == 60 and table["tp"] + table["fn"] == sum(r.outcome == signal for r in rows)
    record = next(r for r in track_record(rows, clock_at(590).now_ms()) if r["regime"] == "all" and r["period"] == "all")
    assert record["made"] == record["settled"] == 60 and record["abstained"] == sum(r.abstained for r in rows)
    assert 0 <= record["brier"] <= 1 and record["brier_base"] is not None


def test_nothing_can_be_changed_and_what_is_changed_behind_its_back_is_found(tmp_path):
    for row in (300, 301, 302):
        write(log_at(tmp_path, row), [said(row)])
    path = tmp_path / "ledger.sqlite"
    with sqlite3.connect(path) as db:
        for statement in ("update predictions set call = -1", "delete from predictions"):
            with pytest.raises(sqlite3.IntegrityError, match="a prediction is never"):
                db.execute(statement)
        db.execute("drop trigger predictions_stay")
        db.execute("update predictions set call = -1 where id = 2")
    found = log_at(tmp_path, 303).verify()
    assert found == ["predictions_stay: its definition is missing; restore the newest backup",
                     "predictions row 2: content or order was changed after it was written"]


@pytest.mark.parametrize("statement", ["delete from predictions where id = 2", "delete from predictions where id = 3"])
def test_a_missing_row_is_found_in_the_middle_and_at_the_end(tmp_path, statement):
    for row in (300, 301, 302):
        write(log_at(tmp_path, row), [said(row)])
    with sqlite3.connect(tmp_path / "ledger.sqlite") as db:
        db.execute("drop trigger predictions_remain")
        db.execute(statement)
    assert len([f for f in log_at(tmp_path, 303).verify() if "definition" not in f]) == 1


@pytest.mark.parametrize("spoil", [lambda head: head.unlink(), lambda head: head.write_text("[1]")], ids=["missing", "damaged"])
def test_without_its_head_a_ledger_says_that_it_cannot_vouch_for_its_end(tmp_path, spoil):
    write(log_at(tmp_path, 300), [said(300)])
    spoil(tmp_path / "ledger.head")
    assert len(found := log_at(tmp_path, 303).verify()) == 1 and "ledger.head" in found[0]


def test_looking_makes_no_ledger(tmp_path):
    assert log_at(tmp_path, 303).rows() == [] and log_at(tmp_path, 303).verify() == [] and not list(tmp_path.iterdir())


def _writer(path, rows):
    for row in rows:
        write(log_at(path, row), [said(row)], source=f"m{row % 2}/v1")


def test_two_processes_share_one_chain(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_writer, args=(tmp_path, range(300 + k, 360, 2))) for k in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    log = log_at(tmp_path, 360)
    assert len(log.rows()) == 60 and log.verify() == []


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "ledger.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(DamagedState, match="move it aside"):
        log_at(tmp_path, 300).rows()
