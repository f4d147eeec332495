"""Lagged correlations of a group against a plain loop, known answers of the table, and what it does with holes, copies and dead prices."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from analysis.allocation import ledoit_wolf
from analysis.methods.absorption import fit_common_move
from analysis.methods.group_grid import day_slices, on_grid, traded_returns
from analysis.methods.leadlag import fit_table, lagged, partial_correlations, stability, strongest
from tests.made_candles import made, with_changes

SEED = 41


def world(n=1440, assets=4, seed=SEED):
    """Independent t5 returns of different scale; 1 follows 0 three bars later."""
    stream = np.random.default_rng(seed)
    r = stream.standard_t(5, (n, assets)) * 0.004 * np.linspace(0.5, 2.0, assets)
    r[3:, 1] += 0.4 * r[:-3, 0]
    return r


def naive(r, i, j, k):
    x, y = (r[:-k, i], r[k:, j]) if k else (r[:, i], r[:, j])
    both = np.isfinite(x) & np.isfinite(y)
    return np.corrcoef(x[both], y[both])[0, 1], np.polyfit(x[both], y[both], 1)[0]


def test_every_lag_equals_a_plain_loop_also_with_holes():
    r = world(400)
    r[50:60, 2] = r[300, 0] = np.nan
    rho, slope = lagged(r, lags=6)
    for k in range(7):
        for i in range(4):
            for j in range(4):
                expected = naive(r, i, j, k)
                assert rho[k, i, j] == pytest.approx(expected[0], abs=1e-12)
                assert slope[k, i, j] == pytest.approx(expected[1], rel=1e-8)


def test_the_table_says_who_leads_by_how_much():
    r = world()
    table = fit_table(r, ["A", "B", "C", "D"], reference="C")
    assert table["lag"][0][1] == 3 and table["q"][0][1] < 1e-10 and table["stability"][0][1] >= 0.6
    rho = np.array(lagged(r)[0])
    forward, back = np.abs(rho[1:, 0, 1]).max(), np.abs(rho[1:, 1, 0]).max()
    assert table["delta"][0][1] == pytest.approx(forward - back) == pytest.approx(-table["delta"][1][0])
    assert table["llr"][0][1] == pytest.approx(np.sum(rho[1:, 0, 1] ** 2) / np.sum(rho[1:, 1, 0] ** 2))
    assert table["beta"][0][1] == pytest.approx(naive(r, 0, 1, 3)[1], rel=1e-8)
    assert table["leadership"][0] == pytest.approx(np.mean([table["delta"][0][j] for j in (1, 2, 3)]))
    assert max(table["leadership"]) == table["leadership"][0] and min(table["leadership"]) == table["leadership"][1]
    json.dumps(table)


def test_the_order_of_columns_does_not_matter():
    r = world()
    one, other = fit_table(r, list("ABCD"), reference="C"), fit_table(r[:, ::-1], list("DCBA"), reference="C")
    for key in ("rho", "delta", "q", "stability", "partial", "correlation", "betas"):
        assert np.allclose(one[key], np.array(other[key])[::-1, ::-1], atol=1e-9, equal_nan=True), key


def test_stability_is_the_share_of_tenths_that_agree():
    stream = np.random.default_rng(SEED)
    r = stream.standard_normal((1000, 2))
    r[3:500, 1] = r[: 500 - 3, 0]  # a copy in the first half, nothing after it
    best, rho = strongest(lagged(r)[0])
    share = stability(r, best, np.sign(rho))
    late = 0
    for w in range(5):
        k, rho_late = strongest(lagged(r[500 + 100 * w : 600 + 100 * w])[0])
        late += abs(k[0, 1] - 3) <= 1 and rho_late[0, 1] > 0
    assert best[0, 1] == 3 and share[0, 1] == pytest.approx(0.5 + late / 10)
    assert np.isnan(stability(r[:200], best, np.sign(rho))).all()


def test_partial_correlation_takes_out_the_common_cause():
    stream = np.random.default_rng(SEED)
    cause = stream.standard_normal(500)
    r = np.stack([cause, *(cause + stream.standard_normal(500) for _ in range(4))], axis=1)
    raw, partial = np.corrcoef(r[:, 1], r[:, 2])[0, 1], partial_correlations(r, 0)
    assert raw > 0.4 and abs(partial[1, 2]) < 0.15 and partial[1, 2] == partial[2, 1] and np.isnan(partial[1, 1])
    # by regression of both on the controls (no shrinkage worth speaking of here)
    _, shrinkage = ledoit_wolf((r - r.mean(0)) / r.std(0))
    controls = np.column_stack([np.ones(500), r[:, 0], (r[:, 3:] / r[:, 3:].std(axis=0)).sum(axis=1)])
    left = [y - controls @ np.linalg.lstsq(controls, y, rcond=None)[0] for y in (r[:, 1], r[:, 2])]
    assert partial[1, 2] == pytest.approx(np.corrcoef(*left)[0, 1], abs=0.02) and shrinkage < 0.05


def test_too_few_rows_and_dead_prices_are_left_out_by_name():
    r = world()
    r[:, 2] = 0.0
    r[:1000, 3] = np.nan
    table = fit_table(r, list("ABCD"))
    assert table["names"] == ["A", "B"] and "does not move" in table["dropped"]["C"] and "440 known" in table["dropped"]["D"]
    alone = fit_table(r[:, 1:], list("BCD"))
    assert alone["names"] == [] and set(alone["dropped"]) == {"C", "D"}
    assert fit_table(r[:30], list("ABCD"))["names"] == []
    assert fit_table(np.full((1440, 2), np.nan), ["A", "B"])["names"] == []


def test_a_copy_is_no_leader():
    r = world()
    r[:, 2] = r[:, 0]
    table = fit_table(r, list("ABCD"))
    assert table["correlation"][0][2] == pytest.approx(1.0) and table["delta"][0][2] == pytest.approx(0.0, abs=1e-9)
    assert table["p"][0][2] > 0.05


def test_a_young_symbol_is_judged_on_what_it_has():
    r = world()
    r[:840] = np.nan
    table = fit_table(r, list("ABCD"))
    assert table["lag"][0][1] == 3 and table["stability"][0][1] >= 0.6  # tenths of 600 bars, not of 1,440


def test_prints_without_trade_do_not_count():
    candles = made(50)
    volume = np.array(candles.volume)
    volume[10] = 0.0
    r = traded_returns(with_changes(candles, volume=volume))
    assert np.isnan(r[10]) and np.isfinite(r[9]) and np.isfinite(r[11])


def test_the_grid_depends_on_the_moment_alone():
    candles = made(100)
    end = int(candles.open_time[-1]) + candles.interval.ms
    holed = candles.take(np.delete(np.arange(100), [40, 41]))
    whole, lacking = on_grid(candles, candles.close, end, 80), on_grid(holed, holed.close, end, 80)
    assert np.isnan(lacking[[20, 21]]).all() and np.array_equal(np.delete(whole, [20, 21]), np.delete(lacking, [20, 21]))
    assert np.isnan(on_grid(candles, candles.close, end, 120)[:20]).all()
    assert day_slices(np.array([1, 1, 2, 5, 5])) == [slice(0, 2), slice(2, 3), slice(3, 5)] and day_slices(np.empty(0)) == []


def test_the_common_move_of_one_factor():
    stream = np.random.default_rng(SEED)
    market = stream.standard_normal(300) * 0.02
    same = fit_common_move(np.stack([market, 2 * market], axis=1))
    assert same["share"] == pytest.approx(1.0)
    z = market[-30:].sum() / (market.std(ddof=1) * math.sqrt(30))
    assert same["z"] == pytest.approx(z) and same["e_mkt"] == pytest.approx(math.tanh(z / 2))
    apart = fit_common_move(stream.standard_normal((300, 10)) * 0.02)
    assert 0.1 < apart["share"] < 0.2  # 1/10 without noise
    few = fit_common_move(np.full((300, 3), np.nan))
    assert few["share"] is None and few["assets"] == 0
    mixed = np.stack([market, -market, market + 1e-3 * stream.standard_normal(300)], axis=1)
    assert fit_common_move(mixed)["share"] > 0.99
