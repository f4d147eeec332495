"""Granger, VAR, canonical correlation, warping and cointegration against the libraries and against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.methods.canonical import canonical_link
from analysis.methods.causality import autoregression, granger
from analysis.methods.cointegration import half_life, hedge_beta, tie
from analysis.methods.dtw import dtw_distance, shape_of
from analysis.methods.leadlag import lagged, strongest

SEED = 51


def four(n=700):
    stream = np.random.default_rng(SEED)
    r = stream.standard_t(5, (n, 4)) * np.array([0.001, 0.01, 0.02, 3.0])
    r[2:, 1] += 6.0 * r[:-2, 0]
    r[1:, 3] += 100.0 * r[:-1, 1]
    return r


def naive_f(x, y, order):
    """p of the F test by two least squares over the rows in which all lags are known."""
    from scipy.stats import f

    rows = [t for t in range(order, len(y)) if np.isfinite(y[t - order : t + 1]).all() and np.isfinite(x[t - order : t]).all()]
    target = y[rows]
    own = np.array([[1.0, *y[t - order : t]] for t in rows])
    full = np.column_stack([own, [x[t - order : t] for t in rows]])
    left = [np.sum((target - A @ np.linalg.lstsq(A, target, rcond=None)[0]) ** 2) for A in (own, full)]
    free = len(rows) - 2 * order - 1
    return f.sf((left[0] - left[1]) / order / (left[1] / free), order, free)


def test_granger_equals_statsmodels_for_every_pair():
    from statsmodels.tsa.stattools import grangercausalitytests

    r = four()
    for order in (2, 5):
        p = granger(r, order=order)
        for i in range(4):
            for j in range(4):
                if i != j:
                    expected = grangercausalitytests(r[:, [j, i]], [order])[order][0]["ssr_ftest"][1]
                    assert p[i, j] == pytest.approx(expected, rel=1e-6)
    assert np.isnan(np.diag(p)).all() and p[0, 1] < 1e-10 and p[1, 0] > 0.01


def test_granger_with_holes_uses_the_rows_each_pair_has():
    r = four()
    r[100:120, 2] = r[300, 0] = np.nan
    p = granger(r)
    for i, j in ((0, 1), (2, 1), (1, 2), (3, 0)):
        assert p[i, j] == pytest.approx(naive_f(r[:, i], r[:, j], 5), rel=1e-6)


def test_granger_without_enough_rows_or_with_copies_says_no():
    assert np.isnan(granger(four(60))).all()
    r = four()
    r[:, 2] = r[:, 0]
    p = granger(r)
    assert p[0, 2] > 0.05 and np.isfinite(p[2, 1])


def test_autoregression_equals_statsmodels():
    from statsmodels.tsa.api import VAR

    r = four(1000)
    found = autoregression(r)
    library = VAR(r).fit(maxlags=5, ic="bic")
    assert found.order == library.k_ar and found.stable == library.is_stable()
    assert np.allclose(found.coefficients, library.coefs, rtol=1e-8, atol=1e-12)
    assert np.allclose(found.residual_covariance, library.sigma_u, rtol=1e-8)
    assert np.allclose(found.variance_shares(), library.fevd(10).decomp[:, -1], atol=1e-10)


def test_autoregression_of_noise_has_order_zero_and_unusable_input_gives_none():
    stream = np.random.default_rng(SEED)
    noise = autoregression(stream.standard_normal((1000, 3)))
    assert noise.order == 0 and noise.stable and np.allclose(noise.variance_shares(), np.eye(3), atol=0.02)
    assert autoregression(stream.standard_normal((100, 3))) is None
    assert autoregression(np.zeros((1000, 2))) is None
    twins = np.repeat(stream.standard_normal((1000, 1)), 2, axis=1)
    assert autoregression(twins) is None
    walk = autoregression(np.cumsum(stream.standard_normal((1000, 2)), axis=0) * np.exp(np.arange(1000) / 200)[:, None], order=1)
    assert walk is None or not walk.stable


def test_canonical_link_equals_statsmodels_and_rao():
    from statsmodels.multivariate.cancorr import CanCorr

    stream = np.random.default_rng(SEED)
    x = stream.standard_normal((500, 3))
    y = np.column_stack([0.75 * x[:, 0] + stream.standard_normal(500), stream.standard_normal(500)])
    found, library = canonical_link(x, y), CanCorr(y, x)
    assert np.allclose(found.correlations, library.cancorr, atol=1e-12)
    assert found.p == pytest.approx(float(library.corr_test().stats["Pr > F"].iloc[0]), rel=1e-6)
    one = canonical_link(x, y[:, :1])
    A = np.column_stack([np.ones(500), x])
    left = y[:, 0] - A @ np.linalg.lstsq(A, y[:, 0], rcond=None)[0]
    assert one.correlations[0] == pytest.approx(math.sqrt(1 - left.var() / y[:, 0].var()))
    assert canonical_link(np.column_stack([x, x[:, 0]]), y) is None and canonical_link(x[:40], y[:40]) is None


def naive_dtw(a, b, band):
    table = np.full((len(a) + 1, len(b) + 1), np.inf)
    table[0, 0] = 0.0
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            if abs(i - j) <= band:
                table[i, j] = (a[i - 1] - b[j - 1]) ** 2 + min(table[i - 1, j], table[i, j - 1], table[i - 1, j - 1])
    return math.sqrt(table[-1, -1])


def test_warping_equals_the_library():
    library = pytest.importorskip("dtaidistance.dtw")  # no wheel on every machine
    stream = np.random.default_rng(SEED)
    for n in (5, 60, 200):
        a, b = np.cumsum(stream.standard_normal((2, n)), axis=1)
        assert dtw_distance(a, b, band=4) == pytest.approx(library.distance(a, b, window=5), abs=1e-10)  # there 1 is the diagonal alone


def test_warping_equals_a_full_table():
    stream = np.random.default_rng(SEED)
    for n in (5, 60):
        a, b = np.cumsum(stream.standard_normal((2, n)), axis=1)
        assert dtw_distance(a, b, band=4) == pytest.approx(naive_dtw(a, b, 4), abs=1e-10)
    assert dtw_distance(a, a) == 0.0 and math.isnan(dtw_distance(a, a[:-20])) and math.isnan(dtw_distance(np.array([np.nan]), np.ones(1)))
    shifted = np.sin(np.arange(200) / 9.0)
    assert dtw_distance(shifted[:-3], shifted[3:]) < 0.35 * math.sqrt(np.sum((shifted[:-3] - shifted[3:]) ** 2))


def test_a_shape_has_mean_zero_and_sd_one():
    shape = shape_of(np.array([np.nan, 0.1, -0.3, 0.2]))
    assert shape.mean() == pytest.approx(0) and shape.std() == pytest.approx(1) and np.isnan(shape_of(np.zeros(9))).all()


def test_a_tie_of_prices_by_hand():
    gap = 0.9 ** np.arange(60)
    assert half_life(gap) == pytest.approx(math.log(2) / -math.log(0.9))
    assert math.isnan(half_life(np.exp(np.arange(50.0) / 10)))
    x = np.linspace(0, 1, 50)
    assert hedge_beta(2 + 1.2 * x, x)[0] == pytest.approx(1.2)
    stream = np.random.default_rng(SEED)
    walk = np.cumsum(stream.standard_normal((1500, 2)) * 0.01, axis=0)
    apart = tie(walk[:, 0], walk[:, 1])
    bound = tie(1.5 * walk[:, 0] + 0.01 * stream.standard_normal(1500), walk[:, 0])
    assert apart.p > 0.05 and bound.p < 0.001 and bound.beta == pytest.approx(1.5, abs=0.02)
    assert tie(walk[:, 0], walk[:, 0]) is None and tie(np.ones(500), walk[:500, 0]) is None


def test_the_p_of_a_tie_is_that_of_statsmodels():
    from statsmodels.tsa.stattools import coint

    stream = np.random.default_rng(SEED)
    for number, rows in enumerate((100, 137, 260, 900, 1200, 400)):
        x = np.cumsum(stream.standard_normal(rows)) * 0.01
        noise = stream.standard_normal(rows)
        gap = (noise, np.cumsum(noise), np.convolve(noise, [1, 0.5, 0.3, -0.4, 0.2], "same"))[number % 3]
        y = 3.0 + 0.7 * x + 0.01 * gap
        assert tie(y, x).p == pytest.approx(coint(y, x, trend="c", autolag="aic")[1], rel=1e-9, abs=1e-15)
    nearly = x + 1e-6 * noise[:400]
    with pytest.warns(Warning, match="colinear"):
        assert coint(nearly, x, trend="c", autolag="aic")[1] == tie(nearly, x).p == 0.0


def test_the_correlation_finds_the_lag_that_warping_does_not():
    """Why the warped path is never reported as a lag."""
    stream = np.random.default_rng(SEED)
    r = stream.standard_t(5, (1000, 2))
    r[3:, 1] += 0.4 * r[:-3, 0]
    assert strongest(lagged(r)[0])[0][0, 1] == 3
