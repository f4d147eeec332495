"""Slow truths of analysis/statistics and of module J's methods: loops that can be checked by eye."""

from __future__ import annotations

import cmath
import math

import numpy as np


def drawdown(values):
    out, high = [], -math.inf
    for v in values:
        high = max(high, v) if math.isfinite(v) else high
        out.append(v / high - 1.0 if math.isfinite(v) else math.nan)
    return np.array(out)


def historical_var_es(returns, alpha):
    worst = sorted(r for r in returns if math.isfinite(r))
    var = -worst[math.ceil(alpha * len(worst)) - 1]
    return var, var + sum(max(-r - var, 0.0) for r in worst) / (alpha * len(worst))


def ewma_variance(returns, decay=0.94, seed=30):
    out = [math.nan] * len(returns)
    if len(returns) < seed:
        return np.array(out)
    v = sum(r * r for r in returns[:seed]) / seed
    out[seed - 1] = v
    for t in range(seed, len(returns)):
        v = decay * v + (1 - decay) * returns[t] ** 2
        out[t] = v
    return np.array(out)


def surprise(x, restart, centred, decay=0.94, clip=4.0, seed=30):
    out, first = [math.nan] * len(x), []
    level = variance = 0.0
    for t, value in enumerate(x):
        if restart[t]:
            first = []
        if math.isnan(value):
            continue
        if len(first) < seed:
            first.append(value)
            if len(first) == seed:
                level = sum(first) / seed if centred else 0.0
                variance = sum((v - level) ** 2 for v in first) / seed
            continue
        sd = math.sqrt(variance)
        error = value - level
        if sd > 0:
            out[t] = error / sd
            error = math.copysign(min(abs(error), clip * sd), error)
        if centred:
            level += (1 - decay) * error
        variance = decay * variance + (1 - decay) * error**2
    return np.array(out)


def cusum(z, restart, slack=0.5, limit=5.0, clip=4.0, square_sd=2.0):
    out, charts = [], [0.0, 0.0, 0.0]
    for t, value in enumerate(z):
        if restart[t]:
            charts = [0.0, 0.0, 0.0]
        if math.isnan(value):
            out.append(math.nan)
            continue
        bounded = min(max(value, -clip), clip)
        steps = [bounded, -bounded, min((value**2 - 1) / square_sd, clip)]
        charts = [max(0.0, c + s - slack) for c, s in zip(charts, steps, strict=True)]
        out.append(max(charts) / limit)
        if out[-1] >= 1.0:
            charts = [0.0, 0.0, 0.0]
    return np.array(out)


def spectral_residual(window):
    """Score of the last point of one window, by the definition of the discrete Fourier transform."""
    n0 = len(window)
    x = [*window, *([sorted_median(window[:-1])] * 5)]
    n = len(x)
    spectrum = [sum(x[j] * cmath.exp(-2j * math.pi * j * k / n) for j in range(n)) for k in range(n)]
    level = [math.log(abs(v)) for v in spectrum]
    residual = [level[k] - (level[k - 1] + level[k] + level[(k + 1) % n]) / 3 for k in range(n)]
    turned = [math.exp(residual[k]) * spectrum[k] / abs(spectrum[k]) for k in range(n)]
    saliency = [abs(sum(turned[k] * cmath.exp(2j * math.pi * j * k / n) for k in range(n)) / n) for j in range(n)]
    before = sum(saliency[n0 - 22 : n0 - 1]) / 21
    return (saliency[n0 - 1] - before) / before


def sorted_median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def alert_states(score, level=0.6):
    """By looking back from every bar: was there a loud bar within 24, and no six quiet bars in a row since?"""
    out = []
    for t in range(len(score)):
        alive = False
        for s in range(max(0, t - 24), t + 1):
            if score[s] >= level:
                quiet, alive = 0, True
                for u in range(s + 1, t + 1):
                    quiet = quiet + 1 if score[u] < 0.3 else 0 if score[u] >= 0.3 else quiet
                    alive = alive and quiet < 6
                if alive:
                    break
        out.append(alive)
    return np.array(out)


def budget_alerts(score, level):
    """How many separate alerts a threshold raises, six quiet bars apart, with an alert of any length."""
    count, on, quiet = 0, False, 0
    for a in score:
        quiet = quiet + 1 if a < 0.3 else 0
        if a >= level and not on:
            on, count = True, count + 1
        if on and quiet >= 6:
            on = False
    return count


def forest_path(tree, row):
    node, depth = 0, 0
    while tree.children_left[node] >= 0:
        depth += 1
        left = np.float32(row[tree.feature[node]]) <= tree.threshold[node]
        node = tree.children_left[node] if left else tree.children_right[node]
    n = int(tree.n_node_samples[node])
    extra = 0.0 if n <= 1 else 1.0 if n == 2 else 2 * (math.log(n - 1) + 0.5772156649015329) - 2 * (n - 1) / n
    return depth + extra
