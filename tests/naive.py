"""Slow truths: each indicator as a loop anyone can check by eye. Every function answers for the last value of what it is given."""

from __future__ import annotations

import itertools
import math

import numpy as np


def ema(close, window):
    """Seeded with the mean of the first `window` closes."""
    value = sum(close[:window]) / window
    for price in close[window:]:
        value = value + 2.0 / (window + 1) * (price - value)
    return value


def wilder(values, window):
    value = sum(values[:window]) / window
    for v in values[window:]:
        value = (value * (window - 1) + v) / window
    return value


def rsi(close, window=14):
    change = np.diff(close)
    up, down = wilder(np.maximum(change, 0), window), wilder(np.maximum(-change, 0), window)
    return 100.0 - 100.0 / (1.0 + up / down) if down > 0 else 100.0


def true_ranges(high, low, close):
    return [max(high[t] - low[t], abs(high[t] - close[t - 1]), abs(low[t] - close[t - 1])) for t in range(1, len(close))]


def mean_sd(values, ddof):
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - ddof))


def parkinson_variance(high, low):
    return math.fsum(math.log(h / q) ** 2 for h, q in zip(high, low, strict=True)) / len(high) / (4 * math.log(2))


def garman_klass_variance(opened, high, low, close):
    return math.fsum(0.5 * math.log(h / q) ** 2 - (2 * math.log(2) - 1) * math.log(c / o) ** 2
                     for o, h, q, c in zip(opened, high, low, close, strict=True)) / len(high)


def rogers_satchell_variance(opened, high, low, close):
    return math.fsum(math.log(h / o) * math.log(h / c) + math.log(q / o) * math.log(q / c)
                     for o, h, q, c in zip(opened, high, low, close, strict=True)) / len(high)


def yang_zhang_variance(before, opened, high, low, close):
    n = len(close)
    k = 0.34 / (1.34 + (n + 1) / (n - 1))
    jump = [math.log(o / b) for o, b in zip(opened, before, strict=True)]
    body = [math.log(c / o) for c, o in zip(close, opened, strict=True)]
    return mean_sd(jump, 1)[1] ** 2 + k * mean_sd(body, 1)[1] ** 2 + (1 - k) * rogers_satchell_variance(opened, high, low, close)


def ewma_variance(returns, decay, seed=30):
    value = math.fsum(r * r for r in returns[:seed]) / seed
    for r in returns[seed:]:
        value = decay * value + (1 - decay) * r * r
    return value


def kalman(y, decay=0.97, first=30):
    """Matrix form of the local trend filter: filtered slope and its variance at the last bar."""
    r = np.diff(y)
    v = np.full(len(y), np.nan)
    for t in range(first, len(y)):
        v[t] = ewma_variance(r[:t], decay, first)
    transition, seen = np.array([[1.0, 1.0], [0.0, 0.98]]), np.array([[1.0, 0.0]])
    state, cover = np.array([y[first], 0.0]), np.diag([v[first], 0.01 * v[first]])
    for t in range(first + 1, len(y)):
        noise = np.diag([v[t - 1], 3.96e-4 * v[t - 1]])
        state, cover = transition @ state, transition @ cover @ transition.T + noise
        spread = seen @ cover @ seen.T + 0.01 * v[t - 1]
        gain = cover @ seen.T / spread
        state = state + (gain * (y[t] - state[0])).ravel()
        cover = (np.eye(2) - gain @ seen) @ cover
    return state[1], cover[1, 1]


def sevcik(x):
    n = len(x) - 1
    low, high = min(x), max(x)
    length = math.fsum(math.sqrt(((x[i + 1] - x[i]) / (high - low)) ** 2 + (1 / n) ** 2) for i in range(n))
    return 1 + (math.log(length) + math.log(2)) / math.log(2 * n)


def hurst(x, longest=19):
    lags = range(1, longest + 1)
    moved = [math.log(np.mean([abs(x[t + k] - x[t]) for t in range(len(x) - k)])) for k in lags]
    return np.polyfit(np.log(list(lags)), moved, 1)[0]


def permutation_entropy(x, order=4):
    counts = dict.fromkeys(itertools.permutations(range(order)), 0)
    for t in range(len(x) - order + 1):
        counts[tuple(np.argsort(x[t : t + order], kind="stable").tolist())] += 1
    total = sum(counts.values())
    return -sum(c / total * math.log2(c / total) for c in counts.values() if c) / math.log2(math.factorial(order))


def shannon_entropy(r, bins=10, outermost=3.0):
    middle = np.median(r)
    scale = 1.4826 * np.median(np.abs(r - middle))
    counts = [0] * bins
    for value in r:
        place = math.floor(((value - middle) / scale + outermost) / (2 * outermost / bins))
        counts[min(bins - 1, max(0, place))] += 1
    return -sum(c / len(r) * math.log(c / len(r)) for c in counts if c) / math.log(bins)


def rei(high, low, close, window=5):
    top, bottom = 0.0, 0.0
    for t in range(len(close) - window, len(close)):
        move = (high[t] - high[t - 2]) + (low[t] - low[t - 2])
        above = (high[t - 2] >= close[t - 7] or high[t - 2] >= close[t - 8] or high[t] >= low[t - 5] or high[t] >= low[t - 6])
        below = (low[t - 2] <= close[t - 7] or low[t - 2] <= close[t - 8] or low[t] <= high[t - 5] or low[t] <= high[t - 6])
        top += move if above and below else 0.0
        bottom += abs(high[t] - high[t - 2]) + abs(low[t] - low[t - 2])
    return 100.0 * top / bottom


def efficiency(close):
    return abs(close[-1] - close[0]) / math.fsum(abs(b - a) for a, b in itertools.pairwise(close))


def atrous(x, level):
    """Mean of the last 2^level values."""
    return math.fsum(x[-(2**level):]) / 2**level


def garch_path(returns, omega, alpha, beta, start):
    variance, out = start, []
    for r in returns:
        variance = omega + alpha * r * r + beta * variance
        out.append(variance)
    return out


def hamilton(returns, mu, sds, stays):
    """Filtered probability of state 1, with normal densities."""
    leave = [1 - stays[0], 1 - stays[1]]
    high, out = leave[0] / (leave[0] + leave[1]), []
    for t, r in enumerate(returns):
        if t:
            high = high * stays[1] + (1 - high) * leave[0]
        like = [math.exp(-0.5 * ((r - mu) / s) ** 2) / s for s in sds]
        high = high * like[1] / (high * like[1] + (1 - high) * like[0])
        out.append(high)
    return out
