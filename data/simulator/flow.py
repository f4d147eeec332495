"""The trades inside a minute, deterministic per (seed, symbol, minute).

Exact: as many trades as the candle counts, their quantities sum to its volume and those of taker buys to its taker volume; the
first trades at its open, the last at its close, and high and low are touched (from four trades on; three touch the farther extreme,
two are open and close, one is the close). Approximate: quote volume, which the candle invents as volume times a mean price. Modelled:
a noisy path through the four prices; sizes are exponential; taker sides are drawn at the candle's taker share. Every trade is its own
aggregate (a = f = l = t), so ids of both kinds are without holes except where the series itself has one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.frames import Candles
from data.market import MINUTE_MS


@dataclass(frozen=True)
class MinuteFlow:
    """Trades of one minute, oldest first.

    Attributes
    ----------
    first_id : int
        Id of the first trade; the others follow without a hole.
    time : ndarray of int64, shape (n,)
        UTC milliseconds within the minute, not falling.
    price, quantity : ndarray of float64
    buyer_is_maker : ndarray of bool
        True when the taker sold (Binance's `m`).
    """

    open_time: int
    first_id: int
    time: np.ndarray
    price: np.ndarray
    quantity: np.ndarray
    buyer_is_maker: np.ndarray

    def __len__(self) -> int:
        return len(self.time)


def minute_flow(names: tuple[int, ...], day: Candles, row: int, tick: float, step: float, first_id: int) -> MinuteFlow:
    """Trades of the candle in `row`, from the random stream `names`."""
    opened = int(day.open_time[row])
    stream = np.random.Generator(np.random.PCG64([*names, opened // MINUTE_MS]))
    n = int(day.count[row])
    if n == 0:
        nothing = np.empty(0)
        return MinuteFlow(opened, first_id, np.empty(0, np.int64), nothing, nothing, np.empty(0, bool))
    time = opened + np.sort(stream.integers(0, MINUTE_MS, n))
    price = _prices(stream, n, float(day.open[row]), float(day.high[row]), float(day.low[row]), float(day.close[row]), tick)
    units = round(float(day.volume[row]) / step)
    taker_units = round(float(day.taker_buy_volume[row]) / step)
    maker, sizes = _sides(stream, n, units, taker_units)
    return MinuteFlow(opened, first_id, time, price, np.round(sizes * step, max(0, round(-np.log10(step)))), maker)


def _prices(stream: np.random.Generator, n: int, opened: float, high: float, low: float, close: float, tick: float) -> np.ndarray:
    """A path on the tick grid from open to close that stays inside low..high and touches both."""
    decimals = max(0, round(-np.log10(tick)))
    first, top, floor, last = (round(value / tick) for value in (opened, high, low, close))
    if n <= 2:
        return np.round(np.array([first, last][-n:]) * tick, decimals)
    if n == 3:
        far = top if top - max(first, last) >= min(first, last) - floor else floor
        return np.round(np.array([first, far, last]) * tick, decimals)
    a, b = sorted(stream.choice(np.arange(1, n - 1), size=2, replace=False).tolist())
    up_first = top - first < first - floor  # the nearer extreme comes first, as paths do
    anchors = [first, top if up_first else floor, floor if up_first else top, last]
    path = np.interp(np.arange(n), [0, a, b, n - 1], anchors)
    walk = np.cumsum(stream.standard_normal(n))
    wobble = (walk - np.linspace(walk[0], walk[-1], n)) / np.sqrt(n) * 0.25 * (top - floor)
    ticks = np.clip(np.rint(path + wobble), floor, top)
    ticks[[0, a, b, n - 1]] = anchors
    return np.round(ticks * tick, decimals)


def _sides(stream: np.random.Generator, n: int, units: int, taker_units: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether the taker sold, and how many steps each trade is; at least one where there is one to give."""
    share = taker_units / units if units else 0.5
    maker = stream.random(n) >= share
    if n > 1:  # both sides must exist when both volumes do
        if taker_units > 0 and maker.all():
            maker[int(stream.integers(n))] = False
        if taker_units < units and not maker.any():
            maker[int(stream.integers(n))] = True
    sizes = np.zeros(n)
    weight = stream.exponential(size=n) + 0.05
    if n == 1:
        maker[0] = taker_units * 2 < units
        return maker, np.array([float(units)])
    for side, total in ((False, taker_units), (True, units - taker_units)):
        chosen = np.flatnonzero(maker == side)
        if len(chosen):
            sizes[chosen] = _portions(total, weight[chosen])
    return maker, sizes


def _portions(total: int, weight: np.ndarray) -> np.ndarray:
    """Whole parts of a total in proportion to weights, one at least to each while they last."""
    spare = max(0, total - len(weight))
    edges = np.floor(np.cumsum(weight) / weight.sum() * spare + 1e-9)
    edges[-1] = spare
    parts = np.diff(edges, prepend=0.0)
    parts[: min(total, len(weight))] += 1
    return parts
