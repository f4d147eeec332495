"""The estimator worlds keep their own word: same seed same bits, and the moments that were planted."""

from __future__ import annotations

import numpy as np

from data.frames import row_faults
from data.simulator import worlds


def test_same_seed_same_bits_other_seed_other_world():
    for make in (lambda s: worlds.markov_volatility(s).series, lambda s: worlds.garch_t(s, 500).series,
                 lambda s: worlds.fractional_walk(s, 256, 0.7), lambda s: worlds.autoregression(s, 100, 0.5),
                 lambda s: worlds.trend_and_range(s, 900).series, lambda s: worlds.sinusoid(s, 64, 16),
                 lambda s: worlds.random_walk(s, 64), lambda s: worlds.local_slope(s, 200).series):
        assert make(3).tobytes() == make(3).tobytes() != make(4).tobytes()


def test_fractional_noise_has_unit_variance_and_its_planted_covariance():
    for h in (0.3, 0.5, 0.7):
        runs = np.array([worlds.fractional_noise(seed, 512, h) for seed in range(60)])
        assert abs(runs.var() - 1.0) < 0.05
        planted = 0.5 * (2 ** (2 * h) - 2)  # covariance of neighbours
        assert abs((runs[:, 1:] * runs[:, :-1]).mean() - planted) < 0.03


def test_markov_world_stays_as_long_as_planted():
    state = np.concatenate([worlds.markov_volatility(seed, 2000).hidden for seed in range(10)])
    for which, stay in ((0, 0.99), (1, 0.97)):
        here = state[:-1] == which
        assert abs((state[1:][here] == which).mean() - stay) < 0.006


def test_garch_world_has_its_long_run_variance_and_memory():
    runs = [worlds.garch_t(seed, 3000) for seed in range(10)]
    squares = np.array([run.series**2 for run in runs])
    assert 0.7 < squares.mean() < 1.4 and all((run.hidden > 0).all() for run in runs)
    assert np.mean([np.corrcoef(s[1:], s[:-1])[0, 1] for s in squares]) > 0.05


def test_autoregression_begins_in_its_long_run():
    first = np.array([worlds.autoregression(seed, 2, 0.9)[0] for seed in range(400)])
    assert abs(first.var() / (1 / (1 - 0.81)) - 1) < 0.25


def test_regime_segments_have_the_planted_length_drift_and_pull():
    world = worlds.trend_and_range(2, 6000)
    changes = np.flatnonzero(np.diff(world.hidden)) + 1
    assert (np.diff(changes) >= 150).all()  # two segments of one kind may follow each other
    step = np.diff(world.series)
    for side in (-1.0, 1.0):
        assert abs(step[world.hidden[1:] == side].mean() - 0.2 * side) < 0.1
    assert abs(step[world.hidden[1:] == 0].mean()) < 0.05


def test_candles_of_a_path_are_candles():
    candles = worlds.candles_of(worlds.random_walk(1, 500), seed=1)
    assert row_faults(candles.columns(), candles.interval) == {} and len(candles.segments) == 1
    np.testing.assert_allclose(np.diff(np.log(candles.close)), worlds.BAR_SD * np.diff(worlds.random_walk(1, 500)), atol=1e-12)
    holed, flat = worlds.with_gap(candles, 100, 3), worlds.flattened(candles, slice(200, 210))
    assert len(holed) == 497 and len(holed.segments) == 2
    assert (flat.high[200:210] == candles.close[199]).all() and row_faults(flat.columns(), flat.interval) == {}


def test_joined_paths_continue_where_the_last_one_ended():
    path = worlds.joined([np.array([5.0, 6.0]), np.array([1.0, 3.0])])
    assert path.tolist() == [0.0, 1.0, 1.0, 3.0]
