"""Labels against a slow truth, at the edges of the data, and their spans."""

from __future__ import annotations

import numpy as np
import pytest

from data.errors import InputError
from data.features import feature_table
from data.indicators import atr, ewma_volatility
from data.labels import LABELS, LabelConfig, events, label_kind, make_labels, meta_label
from data.market import HOUR_MS
from tests.made_candles import made, with_changes

CANDLES = made(1500)


def naive_barrier(c, h, up, down):
    """Plain Python, one bar at a time."""
    side, bars, ret = (np.full(len(c), np.nan) for _ in range(3))
    for t in range(len(c) - 1):
        if not np.isfinite(up[t]) or up[t] <= 0:
            continue
        entry = c.open[t + 1]
        top, floor = entry * (1 + up[t]), entry * (1 - down[t])
        for b in range(t + 1, min(len(c), t + h + 1)):
            exits = []
            if b > t + 1 and c.open[b] <= floor:
                exits.append((-1, c.open[b]))
            elif b > t + 1 and c.open[b] >= top:
                exits.append((1, c.open[b]))
            elif c.low[b] <= floor:
                exits.append((-1, floor))
            elif c.high[b] >= top:
                exits.append((1, top))
            if exits:
                side[t], bars[t], ret[t] = exits[0][0], b - t, exits[0][1] / entry - 1
                break
            if b == t + h:
                ret[t] = c.close[b] / entry - 1
                side[t], bars[t] = np.sign(ret[t]), h
    return side, bars, ret


def test_the_registry_names_seven_labels():
    assert len(LABELS) == 7 == len({k.name for k in LABELS}) and all(k.formula for k in LABELS)
    with pytest.raises(InputError, match="did you mean dir3_dyn"):
        label_kind("dir3_dym")


def test_returns_directions_and_thresholds_by_hand():
    c, h = CANDLES, 5
    t, cost = 700, 0.0024
    move = c.close[t + h] / c.close[t] - 1
    trade = c.open[t + 1 + h] / c.open[t + 1] - 1
    sigma = ewma_volatility(c)[t] * np.sqrt(h)
    got = {k.name: make_labels(c, k.name) for k in LABELS}
    assert got["fwd_ret"].value[t] == pytest.approx(move, abs=1e-15) and got["fwd_ret"].ret[t] == pytest.approx(trade, abs=1e-15)
    assert got["fwd_ret_vs"].value[t] == pytest.approx(np.clip(move / sigma, -5, 5))
    assert got["dir_bin"].value[t] == float(trade > cost)
    assert got["dir3_fixed"].value[t] == (1 if move > 0.002 else -1 if move < -0.002 else 0)
    threshold = max(0.43 * sigma, cost)
    assert got["dir3_dyn"].threshold[t] == pytest.approx(threshold)
    assert got["dir3_dyn"].value[t] == (1 if move > threshold else -1 if move < -threshold else 0)


@pytest.mark.parametrize("h", [1, 3, 24])
def test_the_triple_barrier_equals_the_slow_truth(h):
    sigma = ewma_volatility(CANDLES) * np.sqrt(h)
    side, bars, ret = naive_barrier(CANDLES, h, 1.5 * sigma, 1.0 * sigma)
    got = make_labels(CANDLES, "triple_barrier", LabelConfig(horizon=h))
    assert np.array_equal(got.value, side, equal_nan=True) and np.allclose(got.ret, ret, equal_nan=True, atol=1e-15)
    known = got.known
    assert np.array_equal((got.t1[known] - got.t0[known]) // HOUR_MS, bars[known])


def test_a_bar_that_touches_both_counts_for_the_lower_and_a_gap_leaves_at_the_open():
    n = 600
    flat = np.full(n, 100.0)
    c = with_changes(made(n), open=flat, high=flat + 0.2, low=flat - 0.2, close=flat + 0.05 * (np.arange(n) % 2))
    sigma = float(ewma_volatility(c)[399] * np.sqrt(24))
    both_high, both_low = flat + 0.2, flat - 0.2
    both_high[402], both_low[402] = 100 * (1 + 2 * sigma), 100 * (1 - 2 * sigma)
    both = with_changes(c, high=both_high, low=both_low)
    got = make_labels(both, "triple_barrier", LabelConfig(up=1.5, down=1.0))
    wide = 400 + np.flatnonzero(got.t1[400:403] - got.t0[400:403] >= 0)[0]
    assert got.value[401] == -1 and wide == 400
    gap = np.array(flat)
    gap[402] = 100 * (1 - 5 * sigma)
    low = np.minimum(both_low, gap - 0.1)
    gapped = with_changes(c, open=gap, low=low, high=flat + 0.2)
    left = make_labels(gapped, "triple_barrier", LabelConfig(up=50.0, down=3.0))
    assert left.value[400] == -1 and left.ret[400] == pytest.approx(gap[402] / 100 - 1, abs=1e-12)


def test_excursions_are_from_the_next_open_in_ranges():
    got, t, h = make_labels(CANDLES, "excursion"), 900, 24
    entry = CANDLES.open[t + 1]
    gain, pain = CANDLES.high[t + 1 : t + 1 + h].max() / entry - 1, 1 - CANDLES.low[t + 1 : t + 1 + h].min() / entry
    assert got.value[t] == pytest.approx((gain - pain) / (atr(CANDLES)[t] / CANDLES.close[t]))


@pytest.mark.parametrize("kind", LABELS, ids=lambda k: k.name)
def test_the_last_bars_have_no_label_and_a_span_never_leaves_the_data(kind):
    got = make_labels(CANDLES, kind.name)
    assert not got.known[-1] and got.known[600:1400].all()
    assert (got.t1[got.known] > got.t0[got.known]).all() and got.t1.max() <= CANDLES.close_time[-1] and (got.t1[~got.known] == -1).all()
    assert got.value.shape == got.ret.shape == (len(CANDLES),)


@pytest.mark.parametrize("kind", LABELS, ids=lambda k: k.name)
def test_no_label_reaches_over_a_hole(kind):
    holed = CANDLES.take(np.concatenate((np.arange(1000), np.arange(1010, 1500))))
    got = make_labels(holed, kind.name)
    row = np.searchsorted(holed.close_time, got.t1[got.known])
    assert (holed.segment_start[row] == holed.segment_start[np.flatnonzero(got.known)]).all()
    assert not got.known[999]


def test_dynamic_directions_are_three_thirds_on_a_normal_walk():
    stream = np.random.default_rng(4)
    close = 100 * np.exp(np.cumsum(stream.normal(0, 0.02, 20_000)))
    base = made(20_000)
    c = with_changes(base, open=np.concatenate(([100.0], close[:-1])), close=close, high=np.maximum(close, np.roll(close, 1)) * 1.001,
                     low=np.minimum(close, np.roll(close, 1)) * 0.999)
    value = make_labels(c, "dir3_dyn").value
    shares = [np.mean(value[np.isfinite(value)] == side) for side in (-1, 0, 1)]
    assert all(0.30 < share < 0.37 for share in shares)


def test_the_barriers_of_a_driftless_walk_are_touched_as_the_gambler_would_expect():
    """Up-first probability with barriers +6 and -3 (fine steps): 3 / (6 + 3) = 1/3."""
    hits = []
    for seed in range(20):
        stream = np.random.default_rng(seed)
        close = 1000 * np.exp(np.cumsum(stream.normal(0, 0.001, 12_000)))
        opened = np.concatenate(([1000.0], close[:-1]))
        c = with_changes(made(12_000), open=opened, close=close, high=np.maximum(opened, close), low=np.minimum(opened, close))
        got = make_labels(c, "triple_barrier", LabelConfig(horizon=400, up=6.0 / np.sqrt(400) * 3, down=3.0 / np.sqrt(400) * 3))
        value = got.value[600::400]
        hits.append(np.mean(value[np.isfinite(value)] > 0))
    assert np.mean(hits) == pytest.approx(1 / 3, abs=0.04)


def test_the_meta_label_asks_whether_the_primary_side_paid():
    outcome = make_labels(CANDLES, "triple_barrier")
    side = np.where(np.arange(len(CANDLES)) % 3 == 0, 0.0, np.where(np.arange(len(CANDLES)) % 2 == 0, 1.0, -1.0))
    got = meta_label(outcome, side, cost=0.001)
    t = 700
    assert np.isnan(got[702]) and got[t] == float(side[t] * outcome.ret[t] > 0.001)


def test_events_are_rarer_than_bars_and_causal():
    marks = events(CANDLES)
    assert 0.005 < marks.mean() < 0.4 and marks.dtype == bool
    assert np.array_equal(events(CANDLES.take(slice(0, 900))), marks[:900])


def test_impossible_horizons_are_refused():
    with pytest.raises(InputError, match="expected a horizon between 1 and"):
        make_labels(CANDLES, "fwd_ret", LabelConfig(horizon=5000))


def test_no_feature_knows_the_label():
    """The rank correlation of every feature with the next return is small: a leak would show as a large one."""
    value, table = make_labels(CANDLES, "fwd_ret").value, feature_table(CANDLES)
    for i in range(table.values.shape[1]):
        both = np.isfinite(value) & np.isfinite(table.values[:, i])
        ranks = np.argsort(np.argsort(np.stack((value[both], table.values[both, i])), axis=1), axis=1)
        assert abs(np.corrcoef(ranks)[0, 1]) < 0.35
