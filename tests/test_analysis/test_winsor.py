import numpy as np
import pytest

from analysis.methods.winsor import SEED_BARS, WARMUP_BARS, surprise
from tests import naive_stats as naive


def starts(n, *rows):
    out = np.zeros(n, bool)
    out[[0, *rows]] = True
    return out


@pytest.mark.parametrize("centred", [False, True])
def test_surprise_equals_the_loop_after_its_warmup(seed, centred):
    rng = np.random.default_rng(seed)
    x, restart = rng.standard_t(3, 1500) * 0.01 + 0.002, starts(1500, 700)
    x[rng.random(1500) < 0.02] = np.nan
    expected = naive.surprise(x.tolist(), restart, centred)
    expected[:WARMUP_BARS] = expected[700 : 700 + WARMUP_BARS] = np.nan
    assert np.allclose(surprise(x, restart, centred=centred), expected, rtol=1e-9, atol=1e-12, equal_nan=True)


def test_two_starts_agree_after_the_warmup(seed):
    x = np.random.default_rng(seed).standard_t(4, 1200) * 0.01
    for shift in (1, 50, 300):
        late = surprise(x[shift:], starts(1200 - shift), centred=False)
        whole = surprise(x, starts(1200), centred=False)[shift:]
        both = np.isfinite(late) & np.isfinite(whole)
        assert both.sum() > 300 and np.max(np.abs(late - whole)[both]) < 1e-6 * np.std(whole[both])


def test_one_jump_does_not_hide_the_next(seed):
    x = np.random.default_rng(seed).standard_normal(400) * 0.01
    x[[390, 395]] = 0.2
    z = surprise(x, starts(400), centred=False)
    assert z[390] > 10 and z[395] > 10


def test_a_frozen_price_is_unknown_and_the_first_move_after_it_starts_a_scale():
    x = np.zeros(600)
    x[500:] = np.where(np.arange(100) % 2, 0.01, -0.01)
    z = surprise(x, starts(600), centred=False)
    assert np.isnan(z[:501]).all() and np.isfinite(z[502:]).all()


def test_fewer_bars_than_the_seed_are_unknown():
    assert np.isnan(surprise(np.ones(SEED_BARS - 1), starts(SEED_BARS - 1), centred=True)).all()
    assert len(surprise(np.empty(0), np.empty(0, bool), centred=True)) == 0
