"""Pressure measures from condensed order flow (data/streams/flow_samples.py), on a grid of seconds or minutes without holes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from analysis.scaling import MAD_TO_SD, MINIMUM_BARS, SHARE_NEEDED
from data.indicators.windows import trailing_max, trailing_min, trailing_sum
from data.observations import Observations

LATENCY_MS = 250.0
CHUNK = 256  # windows gathered at a time


def regular(rows: Observations, step_ms: int) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
    """(place of each row, columns on the grid): one place for every second or minute from the first to the last, NaN where none is known.

    Trailing windows then span time, not rows. Of several rows of one moment the one known first stays.
    """
    if not len(rows):
        return np.empty(0, np.int64), {name: np.empty(0) for name in rows.columns}
    place = (rows.event_time - int(rows.event_time.min())) // step_ms
    size = int(place.max()) + 1
    if size == len(rows) and np.array_equal(place, np.arange(size)):
        return place, rows.columns
    out = {}
    for name, column in rows.columns.items():
        grid = np.full(size, np.nan)
        grid[place[::-1]] = column[::-1]
        out[name] = grid
    return place, out


def net_share(buy: np.ndarray, sell: np.ndarray, window: int) -> np.ndarray:
    """(buys - sells) / (buys + sells) over the last `window` values, -1..1; NaN where nothing traded or a value is unknown."""
    bought, sold = trailing_sum(buy, window), trailing_sum(sell, window)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(bought + sold > 0, (bought - sold) / (bought + sold), np.nan)


def balance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(a - b) / (a + b); NaN where the sum is not positive."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(a + b > 0, (a - b) / (a + b), np.nan)


def aggression(buy: np.ndarray, sell: np.ndarray, bid_depth: np.ndarray, ask_depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(level, signed): taker volume against the depth it meets. Level `(Vb + Vs)/(Da + Db)`; signed is the balance of Vb/Da and Vs/Db."""
    with np.errstate(divide="ignore", invalid="ignore"):
        level = np.where(bid_depth + ask_depth > 0, (buy + sell) / (bid_depth + ask_depth), np.nan)
        return level, balance(buy / ask_depth, sell / bid_depth)


def stands_still(mid: np.ndarray, window: int) -> np.ndarray:
    """Whether the mid was one number over the last `window` values (all of them known)."""
    return trailing_max(mid, window) == trailing_min(mid, window)


def windows_at(x: np.ndarray, ends: np.ndarray, window: int) -> np.ndarray:
    """The `window` values that end at each of `ends`, shape (len(ends), window); NaN before the first value."""
    padded = np.concatenate((np.full(window - 1, np.nan), x))
    return padded[ends[:, None] + np.arange(window)]


def z0_at(x: np.ndarray, ends: np.ndarray, *, window: int, minimum: int = MINIMUM_BARS) -> np.ndarray:
    """`analysis.scaling.z0` at a few places only: a day of seconds has 86,400, and a view asks at its bars' closes."""
    out = np.full(len(ends), np.nan)
    finite = np.flatnonzero(np.isfinite(x))
    if not len(finite):
        return out
    for start in range(0, len(ends), CHUNK):
        at = ends[start : start + CHUNK]
        held = windows_at(x, at, window)
        known = np.isfinite(held)
        count = known.sum(axis=1)
        enough = (count >= minimum) & (count >= SHARE_NEEDED * np.minimum(at - finite[0] + 1, window)) & known[:, -1]
        if not enough.any():
            continue
        chosen = held[enough]
        scale = MAD_TO_SD * np.nanmedian(np.abs(chosen), axis=1)
        flat = ~(scale > 0)
        if flat.any():
            scale[flat] = np.nanstd(chosen[flat], axis=1, ddof=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            out[start : start + CHUNK][enough] = np.where(scale > 0, np.tanh(chosen[:, -1] / (2.0 * scale)), np.nan)
    return out


def latency_adjusted_flow(flow: np.ndarray, least_ms: np.ndarray, buy: np.ndarray, sell: np.ndarray) -> np.ndarray:
    """`sum(w s q) / sum q` along the last axis, `w = exp(-(lat - least)/250 ms)` against the least latency of the whole window.

    `flow` is each second's own weighted sum against its own least latency; NaN latency: nothing traded then.
    """
    quiet = ~np.isfinite(least_ms)
    least = np.where(quiet, np.inf, least_ms)
    best = least.min(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        shift = np.where(quiet, 0.0, np.exp((best - least) / LATENCY_MS))
        total = (buy + sell).sum(axis=-1)
        return np.where(total > 0, (flow * shift).sum(axis=-1) / total, np.nan)


def surprise(returns: np.ndarray, half_life: float) -> np.ndarray:
    """`(x_t - m) / sqrt(v)` of the last value along the last axis, m and v the exponential mean and variance of those before it.

    The window is fixed and its weights sum to one, so that a value does not depend on where the history began. NaN with any NaN; where the
    variance is 0 as well.
    """
    before, last = returns[..., :-1], returns[..., -1]
    weight = 0.5 ** (np.arange(before.shape[-1] - 1, -1, -1) / half_life)
    weight /= weight.sum()
    mean = (before * weight).sum(axis=-1)
    variance = ((before - mean[..., None]) ** 2 * weight).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(variance > 0, (last - mean) / np.sqrt(variance), np.nan)


def weighted_median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Along the last axis, the least value that half of the weight does not exceed; NaN values have no weight; NaN where none has any."""
    known = np.isfinite(values) & np.isfinite(weights)
    order = np.argsort(np.where(known, values, np.inf), axis=-1, kind="stable")
    sorted_values = np.take_along_axis(np.where(known, values, np.nan), order, axis=-1)
    held = np.cumsum(np.take_along_axis(np.where(known, weights, 0.0), order, axis=-1), axis=-1)
    at = (held >= 0.5 * held[..., -1:]).argmax(axis=-1)
    return np.where(held[..., -1] > 0, np.take_along_axis(sorted_values, at[..., None], axis=-1)[..., 0], np.nan)
