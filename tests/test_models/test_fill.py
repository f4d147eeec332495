"""Holes filled for training alone: by what came before them, flagged, never learned from."""

from __future__ import annotations

import numpy as np
import pytest

from data.errors import InputError
from data.frames import Candles
from models.dataset import make_dataset, make_rows
from models.fill import FILLS, LONGEST, filled, forecast
from models.train import TrainOptions, train
from tests.made_candles import made
from tests.model_worlds import FAST, FEW

HOLE = slice(900, 906)


def holed(candles: Candles, hole: slice = HOLE) -> Candles:
    return candles.take(np.flatnonzero(~np.isin(np.arange(len(candles)), np.arange(hole.start, hole.stop))))


def test_an_autoregression_is_continued_as_it_would_continue():
    rng = np.random.default_rng(1)
    x = np.zeros(4000)
    for t in range(1, len(x)):
        x[t] = 0.6 * x[t - 1] + 0.01 * rng.standard_normal()
    x[-1] = 0.03
    found = forecast(x, 3)
    np.testing.assert_allclose(found, 0.03 * 0.6 ** np.arange(1, 4), atol=0.003)


def test_a_hole_is_filled_from_before_it_and_flagged():
    whole = made(2000)
    candles = holed(whole)
    copy, invented = filled(candles, "regression")
    assert len(copy) == 2000 and np.flatnonzero(invented).tolist() == list(range(900, 906)) and len(candles) == 1994
    for name in ("open", "close", "volume", "taker_buy_volume"):
        assert np.array_equal(getattr(copy, name)[~invented], getattr(candles, name))
    assert np.array_equal(copy.open_time, whole.open_time) and np.array_equal(copy.close_time, whole.close_time)
    assert np.all(copy.high >= copy.close) and np.all(copy.low <= copy.open)
    later = candles.columns() | {"close": np.where(np.arange(1994) >= 900, candles.close * 1.5, candles.close),
                                 "high": np.where(np.arange(1994) >= 900, candles.high * 1.5, candles.high)}
    other, _ = filled(Candles.from_columns(candles.interval, later), "regression")
    assert np.array_equal(other.close[:906], copy.close[:906]), "no price after the hole is read"


def test_what_cannot_be_filled_is_left():
    candles = made(1500)
    for hole in (slice(20, 24), slice(700, 700 + LONGEST + 1)):
        copy, invented = filled(holed(candles, hole), "regression")
        assert len(copy) == 1500 - (hole.stop - hole.start) and not invented.any()
    same, invented = filled(candles, "leave")
    assert same is candles and not invented.any()
    with pytest.raises(InputError, match="expected a fill leave or regression, got 'linear'"):
        filled(candles, "linear")
    assert FILLS == ("leave", "regression")


def test_no_row_that_touches_an_invented_bar_is_learned_from():
    candles = holed(made(2000))
    copy, invented = filled(candles, "regression")
    data = make_dataset({"A": copy}, "dir3_dyn", invented={"A": invented})
    bars = set(data.rows.bar.tolist())
    span = {b for b in range(2000) if any(invented[b : b + 7])}  # horizon 5: the entry is one bar later
    assert not bars & (span & set(range(895, 906))) and {880, 906, 910} <= bars
    sooner, later = (make_rows({"A": c}, 5) for c in (copy, candles))
    known = [np.isfinite(r.X[r.close_time == copy.close_time[910]]).sum() for r in (sooner, later)]
    assert known[0] > known[1] + 10, "features behind the hole are known sooner"


def test_training_says_what_was_filled_and_keeps_it_off_by_default():
    candles = {"A": holed(made(1800))}
    options = {"mode": "quick", "features": FEW, "baselines": (), "parameters": FAST}
    assert TrainOptions().fill == "leave" and not train(candles, options=TrainOptions(**options)).notes
    result = train(candles, options=TrainOptions(**options, fill="regression"))
    assert "6 missing bars were filled by regression" in result.notes[0] and result.model.config["options"]["fill"] == "regression"
