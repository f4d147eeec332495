"""Estimator worlds: arrays made from a seed with known parameters, so that every estimator has a right answer (methods.md 8.1).

Each world is a pure function of its arguments; the same seed gives the same bits on every machine. Returns are in units of a
bar's standard deviation unless a scale is said; `candles_of` turns a path of log prices into candles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.frames import Candles
from data.market import Interval

EPOCH_MS = 1_577_836_800_000  # 2020-01-01, a Wednesday: bars of every world begin here
BAR_SD = 0.004  # log return per bar where a world is turned into prices


@dataclass(frozen=True)
class Planted:
    """A series and the hidden path it was made with. `series` and `hidden` have shape (n,)."""

    series: np.ndarray
    hidden: np.ndarray


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def markov_volatility(seed: int, n: int = 2000, *, sd: tuple[float, float] = (0.5, 1.5), stay: tuple[float, float] = (0.99, 0.97),
                      ) -> Planted:
    """Normal returns whose sd follows a two-state Markov chain, begun in its long-run shares. `hidden` is the state, 0 or 1."""
    rng = generator(seed)
    draws, noise = rng.random(n), rng.standard_normal(n)
    state = np.empty(n, np.int64)
    current = int(draws[0] < (1 - stay[0]) / (2 - stay[0] - stay[1]))
    state[0] = current
    for t in range(1, n):
        current = current if draws[t] < stay[current] else 1 - current
        state[t] = current
    return Planted(np.where(state == 1, sd[1], sd[0]) * noise, state)


def garch_t(seed: int, n: int = 3000, *, omega: float = 0.02, alpha: float = 0.08, beta: float = 0.90, nu: float = 6.0,
            burn: int = 500) -> Planted:
    """Percent returns with GARCH(1,1) variance and Student-t errors of unit variance. `hidden` is the conditional sd."""
    rng = generator(seed)
    shock = rng.standard_t(nu, n + burn) * np.sqrt((nu - 2.0) / nu)
    returns, sd = np.empty(n + burn), np.empty(n + burn)
    variance = omega / (1.0 - alpha - beta)
    for t in range(n + burn):
        sd[t] = np.sqrt(variance)
        returns[t] = sd[t] * shock[t]
        variance = omega + alpha * returns[t] ** 2 + beta * variance
    return Planted(returns[burn:], sd[burn:])


def fractional_noise(seed: int, n: int, hurst: float) -> np.ndarray:
    """Fractional Gaussian noise of unit variance by circulant embedding; its sum is fractional Brownian motion.

    References
    ----------
    Davies & Harte (1987), "Tests for Hurst Effect".
    """
    lag = np.arange(n + 1, dtype=float)
    cover = 0.5 * (np.abs(lag + 1) ** (2 * hurst) - 2 * lag ** (2 * hurst) + np.abs(lag - 1) ** (2 * hurst))
    row = np.concatenate([cover, cover[-2:0:-1]])
    eigen = np.maximum(np.fft.fft(row).real, 0.0)
    m = len(row)
    rng = generator(seed)
    z = rng.standard_normal(m) + 1j * rng.standard_normal(m)
    return np.fft.fft(np.sqrt(eigen / m) * z).real[:n]


def fractional_walk(seed: int, n: int, hurst: float) -> np.ndarray:
    """Fractional Brownian motion: n values, the first step included."""
    return np.cumsum(fractional_noise(seed, n, hurst))


def autoregression(seed: int, n: int, phi: float) -> np.ndarray:
    """AR(1) with standard normal shocks, begun in its long-run distribution."""
    shock = generator(seed).standard_normal(n)
    x = np.empty(n)
    x[0] = shock[0] / np.sqrt(1.0 - phi * phi)
    for t in range(1, n):
        x[t] = phi * x[t - 1] + shock[t]
    return x


def trend_and_range(seed: int, n: int = 4000, *, drift_sd: float = 0.2, half_life: float = 10.0,
                    length: tuple[int, int] = (150, 400)) -> Planted:
    """Log price of unit bar sd, in segments of random length, each a trend drifting +-`drift_sd` or a range, by a fair coin.

    A range is an Ornstein-Uhlenbeck process around the level where it began. `hidden` is +1 or -1 in a trend, 0 in a range.
    """
    rng = generator(seed)
    pull = 1.0 - 0.5 ** (1.0 / half_life)
    level, hidden = np.empty(n), np.empty(n)
    price, t = 0.0, 0
    while t < n:
        stop = min(n, t + int(rng.integers(length[0], length[1] + 1)))
        trending, side = bool(rng.integers(2)), float(rng.choice((-1.0, 1.0)))
        anchor = price
        for row in range(t, stop):
            shock = rng.standard_normal()
            price += shock + (drift_sd * side if trending else -pull * (price - anchor))
            level[row], hidden[row] = price, side if trending else 0.0
        t = stop
    return Planted(level, hidden)


def sinusoid(seed: int, n: int, period: float, *, noise_sd: float = 0.0) -> np.ndarray:
    """A sine of unit amplitude with a random phase, and noise."""
    rng = generator(seed)
    return np.sin(2 * np.pi * (np.arange(n) / period + rng.random())) + noise_sd * rng.standard_normal(n)


def random_walk(seed: int, n: int) -> np.ndarray:
    """Sum of standard normal steps."""
    return np.cumsum(generator(seed).standard_normal(n))


def local_slope(seed: int, n: int = 3000, *, decay: float = 0.98, slope_sd: float = 0.1, noise_sd: float = 0.1) -> Planted:
    """A level that drifts with a slowly wandering slope, seen through noise; unit bar sd. `hidden` is the slope.

    The model module A's Kalman filter believes in: slope AR(1) with long-run sd `slope_sd`, observation noise `noise_sd`.
    """
    rng = generator(seed)
    step, turn, blur = rng.standard_normal(n), rng.standard_normal(n), rng.standard_normal(n)
    slope, level = np.empty(n), np.empty(n)
    s, height = slope_sd * turn[0], 0.0
    for t in range(n):
        height = height + s + step[t]  # the slope of the bar before moves the level, as in the filter's model
        s = decay * s + slope_sd * np.sqrt(1.0 - decay * decay) * turn[t]
        slope[t], level[t] = s, height
    return Planted(level + noise_sd * blur, slope)


def candles_of(log_price: np.ndarray, *, seed: int = 0, interval: Interval = Interval.H1, bar_sd: float = BAR_SD,
               start_price: float = 100.0, wick_sd: float = 0.3, start_ms: int = EPOCH_MS) -> Candles:
    """Candles whose closes are exp(bar_sd * log_price), opening at the close before, with wicks and random volume.

    `bar_sd` scales a path of unit steps; wicks reach |normal| * `wick_sd` bar sds beyond the body on both sides.
    """
    rng = generator(seed + 7_919)
    n = len(log_price)
    path = bar_sd * (np.asarray(log_price, float) - (log_price[0] if n else 0.0))
    close = start_price * np.exp(path)
    opened = np.concatenate((close[:1], close[:-1]))
    high = np.maximum(opened, close) * np.exp(bar_sd * wick_sd * np.abs(rng.standard_normal(n)))
    low = np.minimum(opened, close) * np.exp(-bar_sd * wick_sd * np.abs(rng.standard_normal(n)))
    volume = np.exp(rng.standard_normal(n) * 0.5)
    open_time = start_ms + np.arange(n, dtype=np.int64) * interval.ms
    return Candles.from_columns(interval, {
        "open_time": open_time, "open": opened, "high": high, "low": low, "close": close, "volume": volume,
        "quote_volume": volume * close, "taker_buy_volume": volume * 0.5,
    }, provenance="SIMULATED")


def with_gap(candles: Candles, at: int, bars: int) -> Candles:
    """The candles without the `bars` bars from row `at` on: a hole as an outage leaves it."""
    return candles.take(np.r_[0:at, at + bars : len(candles)])


def flattened(candles: Candles, rows: slice) -> Candles:
    """The candles with all prices of some rows equal to the close before them: a market that does not move."""
    columns = candles.columns()
    price = candles.close[max(0, (rows.start or 0) - 1)]
    for name in ("open", "high", "low", "close"):
        columns[name] = columns[name].copy()
        columns[name][rows] = price
    return Candles.from_columns(candles.interval, columns, provenance=candles.provenance, halts=candles.halts)


def joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Log-price paths one after the other, each begun where the last one ended."""
    out: list[np.ndarray] = []
    height = 0.0
    for part in parts:
        out.append(part - part[0] + height)
        height = float(out[-1][-1])
    return np.concatenate(out)


