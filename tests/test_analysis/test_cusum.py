"""Page's charts against a loop, and their run lengths against published values."""

import numpy as np
import pytest

from analysis.methods.cusum import cusum, event_bars
from data.simulator.shocks import shifted_normal
from tests import naive_stats as naive


@pytest.mark.parametrize("plain", [True, False])
def test_charts_equal_the_loop(seed, plain):
    rng = np.random.default_rng(seed)
    z, restart = rng.standard_t(3, 2000) * 1.2, rng.random(2000) < 0.002
    z[rng.random(2000) < 0.01] = np.nan
    if not plain:
        z = np.resize(z, 20_000)  # long enough to be compiled: the machine code gives the same bits
        restart = np.resize(restart, 20_000)
    assert np.array_equal(cusum(z, restart), naive.cusum(z.tolist(), restart), equal_nan=True)


def test_charts_begin_again_after_an_alarm():
    stat = cusum(np.full(40, 2.0), squares=False)
    assert stat[3] == pytest.approx(1.2) and stat[4] == pytest.approx(0.3)


def test_one_bar_alone_never_alarms():
    z = np.zeros(50)
    z[25] = 1e6
    assert cusum(z).max() == pytest.approx(0.7)


def test_rising_variance_alone_alarms(seed):
    z = np.random.default_rng(seed).standard_normal(600)
    z[300:] *= 2.5
    assert (cusum(z)[300:340] >= 1).any()
    assert (cusum(z) >= 1)[300:].sum() > (cusum(z, squares=False) >= 1)[300:].sum()


@pytest.mark.parametrize(("shift_sd", "published", "bars"), [(1.0, 10.4, 200), (2.0, 4.01, 80)])
def test_run_length_after_a_shift(seed, shift_sd, published, bars):
    runs = [np.flatnonzero(cusum(z, squares=False) >= 1)[0] + 1 for z in shifted_normal(seed, 400, bars, shift_sd=shift_sd)]
    assert np.mean(runs) == pytest.approx(published, rel=0.08)


def test_event_filter_samples_where_the_sum_leaves_the_band():
    r = np.array([0.01, 0.01, 0.015, 0.0, -0.05, np.nan, 0.02])
    assert event_bars(r, np.full(7, 0.015)).tolist() == [2, 4]
