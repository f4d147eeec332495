import numpy as np
import pytest

from analysis.methods.spectral_residual import FLAG_ABOVE, WINDOW_BARS, spectral_residual
from tests import naive_stats as naive


@pytest.fixture
def returns(seed):
    return np.random.default_rng(seed).standard_t(5, 600) * 0.01


def test_score_equals_the_definition_of_the_transform(returns):
    found = spectral_residual(returns)
    for t in (127, 128, 300, 599):
        assert found[t] == pytest.approx(naive.spectral_residual(returns[t - 127 : t + 1].tolist()), rel=1e-9)


@pytest.mark.parametrize("window", [64, 63])
def test_half_the_circle_is_enough_for_even_and_odd_lengths(returns, window):
    found = spectral_residual(returns, window=window)
    assert found[400] == pytest.approx(naive.spectral_residual(returns[400 - window + 1 : 401].tolist()), rel=1e-9)


def test_the_newest_rows_do_not_depend_on_how_many_are_asked(returns):
    whole = spectral_residual(returns)
    assert np.isnan(whole[: WINDOW_BARS - 1]).all() and np.isfinite(whole[WINDOW_BARS - 1 :]).all()
    for last in (1, 2, 77):
        assert np.array_equal(spectral_residual(returns, last=last)[-last:], whole[-last:])


def test_a_spike_in_the_last_bar_is_seen_and_noise_is_not(seed):
    rng = np.random.default_rng(seed)
    seen = []
    for _ in range(100):
        x = rng.standard_normal(128)
        quiet = spectral_residual(x)[-1]
        x[-1] += 8
        seen.append((quiet > FLAG_ABOVE, spectral_residual(x)[-1] > FLAG_ABOVE))
    false, true = np.mean(seen, axis=0)
    assert true >= 0.9 and false <= 0.05


def test_flat_and_broken_windows_are_unknown(returns):
    assert np.isnan(spectral_residual(np.zeros(300))).all()
    returns[400] = np.nan
    found = spectral_residual(returns)
    assert np.isfinite(found[399]) and np.isnan(found[400:528]).all() and np.isfinite(found[528])
