"""Worlds for risk and anomaly estimators: pure functions of a seed that return arrays and what was planted (methods.md 8.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from data.frames import Candles
from data.market import Interval, Provenance

START_MS = 1_672_531_200_000  # 2023-01-01T00:00:00Z
GARCH_CONSTANT, GARCH_SHOCK, GARCH_MEMORY, GARCH_NU = 0.02, 0.08, 0.90, 6.0  # variance in percent^2 per bar
JUMP_SD = 8.0
VOLUME_SURPRISE_SD = 6.0
VOLUME_SD = 0.5  # of ln volume around its level, per bar
TAIL_NU = 5.0
DAILY_SD = 0.03


@dataclass(frozen=True)
class ShockWorld:
    """Hourly bars with planted events.

    `log_return` as a fraction per bar, `volume` in base units, `sigma` the true volatility of each bar, `jump_rows` the
    planted jumps, `step_row` the first bar of a lasting change of volatility (-1: none).
    """

    log_return: np.ndarray
    volume: np.ndarray
    sigma: np.ndarray
    jump_rows: np.ndarray
    step_row: int = -1

    def candles(self, *, start_ms: int = START_MS, interval: Interval = Interval.H1, price: float = 100.0) -> Candles:
        """The same bars as candles; high and low reach a little over open and close."""
        n = len(self.log_return)
        close = price * np.exp(np.cumsum(self.log_return))
        opened = np.concatenate(([price], close[:-1]))
        reach = np.exp(0.3 * self.sigma)
        columns = {
            "open_time": start_ms + np.arange(n, dtype=np.int64) * interval.ms, "open": opened, "close": close,
            "high": np.maximum(opened, close) * reach, "low": np.minimum(opened, close) / reach, "volume": self.volume,
        }
        return Candles.from_columns(interval, columns, provenance=str(Provenance.SIMULATED))


def _student(rng: np.random.Generator, nu: float, n: int) -> np.ndarray:
    """Student t with variance 1."""
    return rng.standard_t(nu, n) * math.sqrt((nu - 2.0) / nu)


def garch_world(seed: int, n: int, *, jumps: int = 0, first_jump: int = 0, apart: int = 25, step_row: int = -1,
                step_factor: float = 2.5) -> ShockWorld:
    """GARCH(1,1) with t6 shocks (w .02, a .08, b .90 in percent) and log-normal volume.

    Parameters
    ----------
    jumps : int
        How many bars get a return of 8 local sd, either sign, and a volume surprise of 6 sd. They do not enter the GARCH
        recursion: a jump is an event, not a new state.
    first_jump : int
        Jumps lie at random rows from here on, at least `apart` bars from each other and from the end.
    step_row : int
        From here on every return is `step_factor` times as large.
    """
    rng = np.random.default_rng(np.random.PCG64(seed))
    shocks = _student(rng, GARCH_NU, n)
    variance = GARCH_CONSTANT / (1.0 - GARCH_SHOCK - GARCH_MEMORY)
    sigma = np.empty(n)
    for t in range(n):
        sigma[t] = math.sqrt(variance)
        variance = GARCH_CONSTANT + GARCH_SHOCK * variance * shocks[t] ** 2 + GARCH_MEMORY * variance
    sigma = sigma / 100.0
    if step_row >= 0:
        sigma[step_row:] *= step_factor
    returns = sigma * shocks
    log_volume = math.log(1000.0) + VOLUME_SD * rng.standard_normal(n)
    rows = np.empty(0, np.int64)
    if jumps:
        slots = np.arange(first_jump, n - apart, apart)
        rows = np.sort(rng.choice(slots, jumps, replace=False) + rng.integers(0, max(1, apart // 5), jumps))
        returns[rows] = rng.choice([-1.0, 1.0], jumps) * JUMP_SD * sigma[rows]
        log_volume[rows] += VOLUME_SURPRISE_SD * VOLUME_SD
    return ShockWorld(returns, np.exp(log_volume), sigma, rows, step_row)


@dataclass(frozen=True)
class TailWorld:
    """Daily returns of a t5 distribution and the exact 99 % VaR and ES of their law, as loss fractions."""

    returns: np.ndarray
    var: float
    es: float


def tail_world(seed: int, n: int, *, alpha: float = 0.01) -> TailWorld:
    """Independent t5 daily returns with sd 3 %: `VaR = -s q`, `ES = s f(q)/alpha (nu + q^2)/(nu - 1)`, s the scale."""
    from scipy.special import stdtrit

    rng = np.random.default_rng(np.random.PCG64(seed))
    scale = DAILY_SD * math.sqrt((TAIL_NU - 2.0) / TAIL_NU)
    q = float(stdtrit(TAIL_NU, alpha))
    density = math.gamma((TAIL_NU + 1) / 2) / (math.gamma(TAIL_NU / 2) * math.sqrt(TAIL_NU * math.pi))
    density *= (1.0 + q * q / TAIL_NU) ** (-(TAIL_NU + 1) / 2)
    es = scale * density / alpha * (TAIL_NU + q * q) / (TAIL_NU - 1.0)
    return TailWorld(scale * rng.standard_t(TAIL_NU, n), -scale * q, es)


def shifted_normal(seed: int, runs: int, bars: int, *, shift_sd: float) -> np.ndarray:
    """Normal data with mean `shift_sd` from the first bar on, shape (runs, bars): what CUSUM run lengths are defined on."""
    return np.random.default_rng(np.random.PCG64(seed)).standard_normal((runs, bars)) + shift_sd


