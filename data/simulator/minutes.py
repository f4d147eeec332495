"""Inside the hour: the minutes of a simulated day, whose sums and extremes are those of its hours exactly."""

from __future__ import annotations

import numpy as np

from data.frames import Candles
from data.market import HOUR_MS, MINUTE_MS, Interval, Provenance


def random_stream(seed: int, *names: int) -> np.random.Generator:
    """An independent random stream; drawing more from it never changes what came before."""
    return np.random.Generator(np.random.PCG64([seed, *names]))


def on_grid(values: np.ndarray, step: float, rule) -> np.ndarray:
    """Multiples of a step, as the nearest doubles to their decimals (0.1 + 0.2 problems removed)."""
    decimals = max(0, round(-np.log10(step)))
    return np.round(rule(np.round(values / step, 6)) * step, decimals)


def bridge(seed: int, number: int, tick: float, step: float, day: int, hours: Candles) -> Candles:
    """The minutes of one day: per hour a path from open to close that touches high and low once, sums kept exactly."""
    h = len(hours)
    if h == 0:
        return Candles.empty(Interval.M1)
    stream = random_stream(seed, 980, number, day)
    slot = ((hours.open_time // HOUR_MS) % 24).astype(int)  # a missing hour must not shift its neighbours' numbers
    steps = stream.standard_normal((24, 60))[slot]
    wick = np.abs(stream.standard_normal((2, 24, 60)))[:, slot]
    share = stream.random((24, 60))[slot] + 0.2
    frac = np.arange(1, 61) / 60
    walk = np.cumsum(steps, axis=1) / np.sqrt(60)
    walk -= frac * walk[:, -1:]
    start, end = np.log(hours.open)[:, None], np.log(hours.close)[:, None]
    top, floor = np.log(hours.high)[:, None], np.log(hours.low)[:, None]
    scale = 0.45 * (top - floor)
    path = np.clip(start + frac * (end - start) + scale * walk, floor, top)
    close = on_grid(np.exp(path), tick, np.rint)
    close[:, -1] = hours.close
    close = np.clip(close, hours.low[:, None], hours.high[:, None])
    opened = np.concatenate((hours.open[:, None], close[:, :-1]), axis=1)
    reach = 0.03 * (hours.high - hours.low)[:, None]
    high = np.minimum(on_grid(np.maximum(opened, close) + reach * wick[0], tick, np.rint), hours.high[:, None])
    low = np.maximum(on_grid(np.minimum(opened, close) - reach * wick[1], tick, np.rint), hours.low[:, None])
    high, low = np.maximum(high, np.maximum(opened, close)), np.minimum(low, np.minimum(opened, close))
    rows = np.arange(h)
    high[rows, np.argmax(np.maximum(opened, close), axis=1)] = hours.high
    low[rows, np.argmin(np.minimum(opened, close), axis=1)] = hours.low
    cut = np.cumsum(share, axis=1) / share.sum(axis=1, keepdims=True)
    split = {name: _split(getattr(hours, name), cut, unit) for name, unit in (
        ("volume", step), ("quote_volume", 0.0001), ("count", 1.0), ("taker_buy_volume", step),
        ("taker_buy_quote_volume", 0.0001))}
    minute = (hours.open_time[:, None] + np.arange(60) * MINUTE_MS).ravel()
    return Candles.from_columns(Interval.M1, {
        "open_time": minute, "open": opened.ravel(), "high": high.ravel(), "low": low.ravel(), "close": close.ravel(),
        "close_time": minute + MINUTE_MS - 1} | split, provenance=Provenance.SIMULATED, halts=hours.halts)


def _split(total: np.ndarray, cut: np.ndarray, unit: float) -> np.ndarray:
    """Sixty parts of each total in whole units that sum to it."""
    units = np.rint(total / unit)
    edges = np.floor(cut * units[:, None] + 1e-9)
    edges[:, -1] = units
    parts = np.diff(edges, axis=1, prepend=0.0)
    return np.round(parts * unit, max(0, round(-np.log10(unit)))).ravel()
