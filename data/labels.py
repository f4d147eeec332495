"""Seven labels and the meta-label: what a model may be asked about the future of a bar, with the span each answer needs.

A label looks ahead because it is an outcome. It is NaN where its future is not there: in the last bars, and wherever a bar is missing
in between. Unknown is dropped by the trainer, never counted as "no change". `t0` and `t1` are the first and last moment a label's
value depends on: what purging and uniqueness go by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from data.errors import InputError
from data.frames import Candles
from data.indicators import atr, ewma_volatility
from data.indicators.restart import quotient
from data.kernel import kernel
from data.market import did_you_mean

NORMAL_TERCILE = 0.43  # |z| that splits a normal variable into thirds
ROUND_TRIP = 0.0024  # spot taker fee .10 % and slippage .02 % on both sides


@dataclass(frozen=True)
class LabelConfig:
    """`horizon` in bars (None: the label's own). `cost` of a round trip as a fraction. Barriers in volatilities of the horizon."""

    horizon: int | None = None
    cost: float = ROUND_TRIP
    fixed: float = 0.002
    up: float = 1.5
    down: float = 1.0
    least_return: float = 0.0


@dataclass(frozen=True)
class Labels:
    """One label over all bars.

    Attributes
    ----------
    value : ndarray of float64, shape (bars,)
        -1/0/1, 0/1 or a number; NaN where the future is not known.
    t0, t1 : ndarray of int64, shape (bars,)
        Span in UTC milliseconds; t1 is -1 where the value is NaN.
    ret : ndarray, shape (bars,)
        The return a trade on it would make before costs: entry at the next open, exit when the label is decided.
    threshold : ndarray, shape (bars,)
        The threshold in force, where the kind has one.
    """

    name: str
    horizon: int
    value: np.ndarray
    t0: np.ndarray
    t1: np.ndarray
    ret: np.ndarray
    threshold: np.ndarray = field(default_factory=lambda: np.empty(0))

    @property
    def known(self) -> np.ndarray:
        return np.isfinite(self.value)


@dataclass(frozen=True)
class LabelKind:
    """One row of the registry. `task`: regression, binary or three classes."""

    name: str
    task: str
    horizon: int
    formula: str
    make: Callable[[Candles, int, LabelConfig], Labels]


# -- what they share --------------------------------------------------------------------------------------------------


def _ahead(candles: Candles, bars: int) -> np.ndarray:
    """Whether bar t + `bars` exists in the segment of bar t."""
    out = np.zeros(len(candles), bool)
    if bars < len(candles):
        out[: len(candles) - bars] = candles.segment_start[bars:] == candles.segment_start[: len(candles) - bars]
    return out


def _later(x: np.ndarray, bars: int) -> np.ndarray:
    out = np.full(len(x), np.nan)
    if bars < len(x):
        out[: len(x) - bars] = x[bars:]
    return out


def _close_return(candles: Candles, h: int) -> np.ndarray:
    """`C_{t+h}/C_t - 1`."""
    return np.where(_ahead(candles, h), quotient(_later(candles.close, h), candles.close) - 1.0, np.nan)


def _open_return(candles: Candles, h: int) -> np.ndarray:
    """`O_{t+1+h}/O_{t+1} - 1`: what a trade decided at the close of t can make."""
    return np.where(_ahead(candles, h + 1), quotient(_later(candles.open, h + 1), _later(candles.open, 1)) - 1.0, np.nan)


def _spans(candles: Candles, value: np.ndarray, bars: int | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    row = np.minimum(np.arange(len(candles)) + bars, len(candles) - 1)
    return candles.close_time, np.where(np.isfinite(value), candles.close_time[row], -1)


def _horizon_volatility(candles: Candles, h: int) -> np.ndarray:
    return ewma_volatility(candles) * np.sqrt(h)


def _finished(name: str, candles: Candles, h: int, value: np.ndarray, bars: int, ret: np.ndarray,
              threshold: np.ndarray | None = None) -> Labels:
    t0, t1 = _spans(candles, value, bars)
    return Labels(name, h, value, t0, t1, ret, np.empty(0) if threshold is None else threshold)


# -- the seven --------------------------------------------------------------------------------------------------------


def _fwd_ret(candles: Candles, h: int, config: LabelConfig) -> Labels:
    return _finished("fwd_ret", candles, h, _close_return(candles, h), h, _open_return(candles, h))


def _fwd_ret_vs(candles: Candles, h: int, config: LabelConfig) -> Labels:
    scaled = np.clip(quotient(_close_return(candles, h), _horizon_volatility(candles, h)), -5.0, 5.0)
    return _finished("fwd_ret_vs", candles, h, scaled, h, _open_return(candles, h))


def _dir_bin(candles: Candles, h: int, config: LabelConfig) -> Labels:
    ret = _open_return(candles, h)
    return _finished("dir_bin", candles, h, np.where(np.isfinite(ret), (ret > config.cost).astype(float), np.nan), h + 1, ret)


def _three(move: np.ndarray, threshold: np.ndarray | float) -> np.ndarray:
    side = np.where(move > threshold, 1.0, np.where(move < -np.asarray(threshold), -1.0, 0.0))
    return np.where(np.isfinite(move) & np.isfinite(threshold), side, np.nan)


def _dir3_fixed(candles: Candles, h: int, config: LabelConfig) -> Labels:
    value = _three(_close_return(candles, h), config.fixed)
    return _finished("dir3_fixed", candles, h, value, h, _open_return(candles, h), np.full(len(candles), config.fixed))


def _dir3_dyn(candles: Candles, h: int, config: LabelConfig) -> Labels:
    threshold = np.maximum(NORMAL_TERCILE * _horizon_volatility(candles, h), config.cost)
    return _finished("dir3_dyn", candles, h, _three(_close_return(candles, h), threshold), h, _open_return(candles, h), threshold)


@kernel
def _barriers(opened, high, low, close, up, down, segment, horizon):
    """Per bar: +1, -1 or 0 (vertical), how many bars later, and the return from the next open. NaN where the future is not there.

    A bar that opens beyond a barrier is left at its open; one that touches both is counted for the lower.
    """
    n = len(opened)
    out = np.full((3, n), np.nan)
    for t in range(n - 1):
        if not (up[t] > 0.0 and down[t] > 0.0) or segment[t + 1] != segment[t]:
            continue
        entry = opened[t + 1]
        top, floor = entry * (1.0 + up[t]), entry * (1.0 - down[t])
        last = t + horizon
        decided = False
        for b in range(t + 1, min(n, last + 1)):
            if segment[b] != segment[t]:
                break
            if b > t + 1 and opened[b] <= floor:
                out[0, t], out[2, t], decided = -1.0, opened[b] / entry - 1.0, True
            elif b > t + 1 and opened[b] >= top:
                out[0, t], out[2, t], decided = 1.0, opened[b] / entry - 1.0, True
            elif low[b] <= floor:
                out[0, t], out[2, t], decided = -1.0, floor / entry - 1.0, True
            elif high[b] >= top:
                out[0, t], out[2, t], decided = 1.0, top / entry - 1.0, True
            if decided:
                out[1, t] = b - t
                break
            if b == last:
                out[0, t], out[1, t], out[2, t] = 0.0, b - t, close[b] / entry - 1.0
    return out


@_barriers.warm_with
def _example():
    x = np.full(8, 1.0)
    return x, x, x, x, x * 0.1, x * 0.1, np.zeros(8, np.int64), 3


def _triple_barrier(candles: Candles, h: int, config: LabelConfig) -> Labels:
    sigma = _horizon_volatility(candles, h)
    side, bars, ret = _barriers(candles.open, candles.high, candles.low, candles.close, config.up * sigma, config.down * sigma,
                                candles.segment_start.astype(np.int64), h)
    vertical = side == 0.0
    side = np.where(vertical & (np.abs(ret) >= config.least_return), np.sign(ret), side)
    t0, t1 = _spans(candles, side, np.nan_to_num(bars).astype(np.int64))
    return Labels("triple_barrier", h, side, t0, t1, ret, sigma)


def _excursion(candles: Candles, h: int, config: LabelConfig) -> Labels:
    n = len(candles)
    entry = _later(candles.open, 1)
    best, worst = np.full(n, -np.inf), np.full(n, np.inf)
    for step in range(1, h + 1):
        best = np.maximum(best, _later(candles.high, step))
        worst = np.minimum(worst, _later(candles.low, step))
    whole = _ahead(candles, h)
    with np.errstate(invalid="ignore"):
        gain, pain = np.where(whole, best / entry - 1.0, np.nan), np.where(whole, 1.0 - worst / entry, np.nan)
    value = quotient(gain - pain, quotient(atr(candles), candles.close))
    return _finished("excursion", candles, h, value, h, _open_return(candles, h))


LABELS = (
    LabelKind("fwd_ret", "regression", 5, "C_{t+h}/C_t - 1", _fwd_ret),
    LabelKind("fwd_ret_vs", "regression", 5, "the same over sigma_t sqrt h, clipped to +-5; sigma EWMA .94 known at t", _fwd_ret_vs),
    LabelKind("dir_bin", "binary", 5, "1 where O_{t+1+h}/O_{t+1} - 1 is above the cost of a round trip", _dir_bin),
    LabelKind("dir3_fixed", "three", 5, "+1 above .2 %, -1 below -.2 %, else 0", _dir3_fixed),
    LabelKind("dir3_dyn", "three", 5, "+-1 beyond max(.43 sigma_t sqrt h, cost), else 0: three classes of about one third", _dir3_dyn),
    LabelKind("triple_barrier", "three", 24,
              "entry at the next open; +1 if +1.5 sigma_h is touched first, -1 if -1 sigma_h, else the sign after h bars", _triple_barrier),
    LabelKind("excursion", "regression", 24, "(best gain - worst loss within h)/ATR, both from the next open", _excursion),
)
DEFAULT_LABEL = "dir3_dyn"


def label_kind(name: str) -> LabelKind:
    """
    Raises
    ------
    InputError
        When there is no label of that name.
    """
    found = next((kind for kind in LABELS if kind.name == name), None)
    if found is None:
        names = [kind.name for kind in LABELS]
        raise InputError(f"expected a label ({', '.join(names)}), got {name[:30]!r}{did_you_mean(name, names)}")
    return found


def make_labels(candles: Candles, name: str = DEFAULT_LABEL, config: LabelConfig | None = None) -> Labels:
    """A label over all bars.

    Raises
    ------
    InputError
        Unknown name, or a horizon below one bar or longer than the data.
    """
    kind, config = label_kind(name), config or LabelConfig()
    h = config.horizon or kind.horizon
    if not 1 <= h <= max(1, len(candles) - 2):
        raise InputError(f"expected a horizon between 1 and {max(1, len(candles) - 2)} bars for {len(candles)} bars of data, got {h}")
    return kind.make(candles, h, config)


def meta_label(outcome: Labels, side: np.ndarray, *, cost: float = ROUND_TRIP) -> np.ndarray:
    """`1{side * ret > cost}` where a primary model took a side, NaN elsewhere: would that trade have paid? (Lopez de Prado 2018)"""
    taken = np.isfinite(side) & (side != 0) & np.isfinite(outcome.ret)
    return np.where(taken, (side * outcome.ret > cost).astype(float), np.nan)


@kernel
def _crossings(move, limit):
    n = len(move)
    out = np.zeros(n, np.bool_)
    up = down = 0.0
    for t in range(n):
        if not (move[t] == move[t] and limit[t] > 0.0):
            up = down = 0.0
            continue
        up, down = max(0.0, up + move[t]), min(0.0, down + move[t])
        if up > limit[t] or down < -limit[t]:
            out[t] = True
            up = down = 0.0
    return out


@_crossings.warm_with
def _example_crossings():
    return np.zeros(8), np.ones(8)


def events(candles: Candles, *, horizon: int = 5, multiple: float = 2.0) -> np.ndarray:
    """Rows worth asking about: the symmetric CUSUM filter of returns with the threshold `multiple sigma_t sqrt h` (Lopez de Prado 2018).

    Returns
    -------
    ndarray of bool, shape (bars,)
        Causal: decided by returns up to the bar.
    """
    return _crossings(candles.log_return, multiple * _horizon_volatility(candles, horizon))
