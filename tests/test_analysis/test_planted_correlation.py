"""Rows of methods.md 8.2 that belong to correlation and allocation: lags, causality, ties, partial correlation, VAR, HRP, betas."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.allocation import conditional_beta, hrp, ledoit_wolf
from analysis.methods.canonical import canonical_link
from analysis.methods.causality import autoregression, granger
from analysis.methods.cointegration import tie
from analysis.methods.dtw import dtw_distance
from analysis.methods.leadlag import fit_table, lagged, partial_correlations, strongest
from analysis.modules.corr_lead import CorrelationLeadLag
from tests.planted import Row, check_mean, check_single


def follower(seed, n=1000):
    """L1 and F1 = .4 L1(t-3) + t5, in units of one sd."""
    stream = np.random.default_rng([seed, 1])
    r = stream.standard_t(5, (n, 2))
    r[3:, 1] += 0.4 * r[:-3, 0]
    return r


def lead(seed):
    best, rho = strongest(lagged(follower(seed))[0])
    return {"lag": float(best[0, 1]), "rho": float(rho[0, 1])}


def false_and_true_leaders(seed):
    """Twelve symbols with a common factor and no lead, and the same number without a factor where one follows another by .3."""
    module = CorrelationLeadLag()
    stream = np.random.default_rng([seed, 9])
    calm = stream.standard_t(5, (1440, 12)) * 0.004 + stream.standard_normal((1440, 1)) * 0.004 * stream.uniform(0, 1, 12)
    led = stream.standard_t(5, (1440, 12))
    led[3:, 1] += 0.3 * led[:-3, 0]
    found = []
    for returns in (calm, led):
        table = fit_table(returns, [f"S{i:02}" for i in range(12)])
        table |= {key: np.array(table[key], float) for key in ("lag", "rho", "delta", "q", "stability")}
        found.append([(i, name) for name in table["names"] for i, _ in module.leaders(table, name)])
    return {"false leaders": float(len(found[0])), "found": float((0, "S01") in found[1])}


def causes(seed):
    p = granger(follower(seed))
    return {"forward p": float(p[0, 1]), "reverse rejects at 5 %": float(p[1, 0] < 0.05)}


def shape(seed):
    """A shape three bars late without noise: warping within four bars makes it (but for its ends) the same, within one it cannot.

    The shift itself is read off where the unwarped distance vanishes; nothing here is, or may be, reported as a lag of noisy returns.
    """
    stream = np.random.default_rng([seed, 2])
    path = np.cumsum(stream.standard_normal(206))
    path = (path - path.mean()) / path.std()
    early, late = path[6:], path[3:-3]
    apart = [dtw_distance(late[6:], path[6 - k + 6 : len(path) - k], band=0) for k in range(7)]
    return {"offset": float(np.argmin(apart)), "warped / plain": dtw_distance(early, late) / dtw_distance(early, late, band=0)}


def pair(seed, n=1500):
    """ln P1 a random walk of sd .01, ln P2 = 1.2 ln P1 + OU of half-life 24 and sd .02."""
    stream = np.random.default_rng([seed, 3])
    keep = 0.5 ** (1 / 24)
    x = np.cumsum(stream.standard_normal(n) * 0.01)
    gap = np.empty(n)
    gap[0] = 0.02 * stream.standard_normal()
    for t in range(1, n):
        gap[t] = keep * gap[t - 1] + 0.02 * math.sqrt(1 - keep**2) * stream.standard_normal()
    found = tie(1.2 * x + gap, x)
    return {"beta": found.beta, "half-life": found.half_life, "p": found.p}


def partial(seed):
    """X and Z both follow Y and not each other. The shrinkage leaves a trace of the cause: +.01, more among unrelated symbols."""
    stream = np.random.default_rng([seed, 4])
    y = stream.standard_normal(500)
    table = np.column_stack([y, y + stream.standard_normal(500), y + stream.standard_normal(500)])
    return {"X, Z given Y": float(partial_correlations(table, 0)[1, 2])}


def canonical(seed):
    """Three columns against two that share one direction with a correlation of .6."""
    stream = np.random.default_rng([seed, 5])
    x, y = stream.standard_normal((500, 3)), stream.standard_normal((500, 2))
    y[:, 0] = 0.6 * x[:, 0] + 0.8 * y[:, 0]
    mixed = canonical_link(x @ np.array([[1, 0.3, 0], [0, 1, 0.5], [0.2, 0, 1]]), y @ np.array([[1, 1], [0.5, -1]]))
    return {"first": float(mixed.correlations[0])}


def vector(seed):
    stream = np.random.default_rng([seed, 6])
    A = np.array([[0.2, 0.0], [0.3, 0.1]])
    y = np.zeros((1000, 2))
    for t in range(1, 1000):
        y[t] = A @ y[t - 1] + stream.standard_normal(2)
    found = autoregression(y)
    entries = found.coefficients[0] - A if found.order else np.full((2, 2), np.nan)
    return {"order": float(found.order), "worst entry off": float(np.abs(entries).max()), "a21": 0.3 + float(entries[1, 0]),
            "a11": 0.2 + float(entries[0, 0]), "a12": float(entries[0, 1]), "a22": 0.1 + float(entries[1, 1])}


def halves(seed):
    """Two halves of one factor each, volatility 1 and 2, and what HRP gives the calmer one."""
    stream = np.random.default_rng([seed, 7])
    common, own = stream.standard_normal((500, 2)), stream.standard_normal((500, 4))
    r = (0.8 * common[:, [0, 0, 1, 1]] + 0.6 * own) * np.array([1.0, 1.0, 2.0, 2.0]) * 0.01
    return {"calmer half": float(hrp(np.cov(r, rowvar=False))[:2].sum()), "with shrinkage": float(hrp(ledoit_wolf(r)[0])[:2].sum())}


def two_betas(seed):
    stream = np.random.default_rng([seed, 8])
    m = stream.standard_normal(1000)
    r = np.where(m < 0, 1.5, 0.8) * m + 0.5 * stream.standard_t(5, 1000) / math.sqrt(5 / 3)
    return {"down": conditional_beta(r, m), "up": conditional_beta(r, m, down=False)}


ROWS = (
    Row("lead lag", "lag 3, rho .371", lead, {"lag": (3, 3), "rho": (0.28, 0.46)}, {"lag": (3, 3), "rho": (0.346, 0.396)}),
    Row("leaders that pass all three tests", "none / one", false_and_true_leaders, {"false leaders": (0, 0), "found": (1, 1)},
        {"false leaders": (0, 0.02), "found": (0.98, 1)}, seeds=60),
    Row("Granger", "forward yes, reverse no", causes, {"forward p": (0, 1e-3)}, {"reverse rejects at 5 %": (0.01, 0.11)}, seeds=200),
    Row("DTW", "a shape 3 bars late", shape, {"offset": (3, 3), "warped / plain": (0, 0.6)},
        {"offset": (3, 3), "warped / plain": (0, 0.6)}),
    Row("cointegration", "1.2, 24 bars", pair, {"beta": (1.10, 1.30), "half-life": (12, 40), "p": (0, 0.05)},
        {"beta": (1.175, 1.225), "half-life": (18, 25)}),
    Row("partial correlation", "0", partial, {"X, Z given Y": (-0.14, 0.14)}, {"X, Z given Y": (-0.035, 0.035)}),
    Row("canonical correlation", ".6", canonical, {"first": (0.51, 0.68)}, {"first": (0.57, 0.63)}),
    Row("VAR(1)", ".2 0 .3 .1, order 1", vector, {"order": (1, 1), "worst entry off": (0, 0.10)},
        {"order": (1, 1), "a11": (0.17, 0.23), "a12": (-0.03, 0.03), "a21": (0.27, 0.33), "a22": (0.07, 0.13)}),
    Row("HRP", "calmer half .80", halves, {"calmer half": (0.755, 0.845)}, {"calmer half": (0.788, 0.812)}),
    Row("conditional beta", "1.5 / .8", two_betas, {"down": (1.37, 1.63), "up": (0.68, 0.92)}, {"down": (1.47, 1.53), "up": (0.77, 0.83)}),
)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_one_seed_lies_in_its_band(row):
    check_single(row)


@pytest.mark.long
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_mean_of_all_seeds_lies_in_its_band(row):
    check_mean(row)
