"""Normalisers against slow truths, and the laws all of them keep."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import percentileofscore

from analysis.scaling import NORMALISERS, af, pr, surprisal, tp, z0, zm
from data.simulator import worlds

WINDOW, MINIMUM = 60, 20


def slow(name: str, x: np.ndarray, t: int) -> float:
    part = x[max(0, t - WINDOW + 1) : t + 1]
    part = part[np.isfinite(part)]
    value = x[t]
    if name == "z0":
        scale = 1.4826 * np.median(np.abs(part)) or np.std(part, ddof=1)
        return np.tanh(value / (2 * scale)) if scale > 0 else np.nan
    if name == "zm":
        middle = np.median(part)
        scale = 1.4826 * np.median(np.abs(part - middle))
        return np.tanh((value - middle) / (2 * scale)) if scale > 0 else np.nan
    share = percentileofscore(part, value, kind="mean") / 100
    if name == "pr":
        return share
    edge = np.quantile(part, 0.9)
    if value <= edge:
        return max(0.10, 1 - share)
    spread = np.median(part[part > edge] - edge) / np.log(2)
    return 0.10 * np.exp(-(value - edge) / spread)


def run(function, x, **options):
    return function(x, window=WINDOW, minimum=MINIMUM, **options)


series = pytest.mark.parametrize("x", [
    worlds.autoregression(1, 300, 0.8),
    np.abs(worlds.garch_t(2, 300).series),
    np.round(worlds.autoregression(3, 300, 0.0)),  # ties
    np.where(np.arange(300) % 11 == 0, np.nan, worlds.random_walk(4, 300)),  # holes, fewer than a fifth
], ids=["ar", "heavy", "ties", "holes"])
each = pytest.mark.parametrize("function", NORMALISERS, ids=lambda f: f.__name__)


@each
@series
def test_against_the_slow_truth(function, x):
    found = run(function, x)
    for t in (19, 20, 59, 60, 137, 299):
        truth = slow(function.__name__, x, t) if np.isfinite(x[: t + 1]).sum() >= MINIMUM and np.isfinite(x[t]) else np.nan
        np.testing.assert_allclose(found[t], truth, rtol=1e-9, atol=1e-9, err_msg=str(t))


@each
@series
def test_last_and_cuts_change_nothing(function, x):
    full = run(function, x)
    for last in (1, 7, 250, 300, 400):
        part = run(function, x, last=last)
        np.testing.assert_array_equal(part[-last:], full[-last:])
        assert np.isnan(part[: max(0, 300 - last)]).all()
    for t in (25, 100, 222):
        np.testing.assert_array_equal(run(function, x[:t])[-1], full[t - 1])


@each
def test_too_few_or_too_sparse_is_unknown(function):
    x = worlds.autoregression(5, 200, 0.5)
    assert np.isnan(run(function, x)[: MINIMUM - 1]).all() and np.isfinite(run(function, x)[MINIMUM - 1 + 5])
    sparse = np.where(np.arange(200) % 3 == 0, np.nan, x)  # two thirds known, 80 % needed
    assert np.isnan(run(function, sparse)[WINDOW:]).all()
    assert len(run(function, np.empty(0))) == 0 and np.isnan(run(function, np.full(50, np.nan))).all()


@each
def test_infinity_is_unknown_and_ranges_hold(function):
    x = worlds.autoregression(6, 300, 0.5)
    x[150] = np.inf
    found = run(function, x)
    known = found[np.isfinite(found)]
    low = -1.0 if function in (z0, zm) else 0.0
    assert np.isnan(found[150]) and known.min() >= low and known.max() <= 1.0


@pytest.mark.parametrize("function", [z0, zm])
def test_a_constant_has_no_scale(function):
    flat = np.zeros(100)
    assert np.isnan(run(function, flat)).all()


def test_z0_keeps_the_sign_of_a_long_bull_market():
    x = np.abs(worlds.autoregression(7, 300, 0.5)) + 1.0
    assert (run(z0, x)[MINIMUM:] > 0).all()


def test_af_and_surprisal_by_hand():
    np.testing.assert_allclose(af(np.array([0.0, 50.0, 62.5, 100.0, np.nan]), 50.0, 25.0), [-1, 0, 0.5, 1, np.nan])
    np.testing.assert_allclose(surprisal(np.array([1.0, 0.1, 0.01, 0.001, 1e-4, 1e-9])), [0, 0, 1 / 3, 2 / 3, 1, 1], atol=1e-12)


def test_one_wild_value_is_rarer_than_the_window_is_long():
    x = np.abs(worlds.autoregression(8, 200, 0.0))
    x[-1] = 40.0
    assert run(tp, x)[-1] < 1e-4 and abs(run(pr, x)[-1] - (WINDOW - 0.5) / WINDOW) < 1e-12
