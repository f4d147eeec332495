"""How much to buy: by what the stop would lose, as a share of equity, to a volatility target, or a capped Kelly share (methods.md 7.2).

Quantities are in base currency before the step; core/trading/fills.py rounds them down.
"""

from __future__ import annotations

import math
from enum import StrEnum

import numpy as np

from data.errors import InputError
from data.frames import Candles
from data.market import DAY_MS, YEAR_MS

VOLATILITY_DAYS = 20.0
KELLY_SHARE = 0.25  # of the full Kelly bet: its error doubles before its growth halves


class Sizing(StrEnum):
    RISK = "risk"  # `size` of equity is lost when the stop is hit, costs included
    FRACTION = "fraction"  # notional of `size` of equity, fee included
    UNITS = "units"  # `size` units of the base currency


def risk_quantity(equity: float, risk: float, entry: float, stop: float, fee: float, slippage: float) -> float:
    """`risk equity / (|entry - stop| + fee (entry + stop) + slip (entry + stop))`: the loss at the stop, both sides' costs included.

    `risk`, `fee` and `slippage` are fractions. NaN without a stop: then there is no size, and no trade.
    """
    return risk * equity / (abs(entry - stop) + (fee + slippage) * (entry + stop))


def fraction_quantity(equity: float, fraction: float, price: float, fee: float) -> float:
    """A notional of `fraction` of equity with its fee inside."""
    return fraction * equity / (price * (1.0 + fee))


def allowed_quantity(*, price: float, held: float, equity: float, position_cap: float, gross_room: float, notional_cap: float,
                     cash: float, fee: float, leverage: float, free_margin: float, spot: bool) -> float:
    """The tightest of all caps at a fill price, in addition to the `held` quantity; below zero when there is no room.

    `position_cap` is a share of equity; `gross_room`, `notional_cap` and `free_margin` are quote currency (infinity: no cap).
    """
    most = position_cap * equity / price - held
    most = min(most, gross_room / price)
    most = min(most, notional_cap / price - held)
    if spot:
        return min(most, cash / (price * (1.0 + fee)))
    return min(most, free_margin / (price * (1.0 / leverage + fee)))


def effective_risk(quantity: float, entry: float, stop: float, equity: float) -> float:
    """What the position really risks, as a share of equity: 1 % with a 2 % stop wants half of equity, the 20 % cap leaves 0.4 %."""
    return quantity * abs(entry - stop) / equity if equity > 0 else math.nan


def volatility_scale(candles: Candles, target: float, *, days: float = VOLATILITY_DAYS) -> np.ndarray:
    """`min(1, target / volatility)` of each bar, volatility annualised from the trailing `days` of log returns.

    NaN until a full window without a hole is known: a limit that cannot be computed lets nothing through.
    """
    if not target > 0.0:
        raise InputError(f"volatility_target: expected a fraction per year above zero, got {target!r}; 0.4 means 40 %")
    window = max(2, round(days * DAY_MS / candles.interval.ms))
    returns = candles.log_return
    known = np.isfinite(returns)
    sums = [np.concatenate(([0.0], np.cumsum(np.where(known, x, 0.0)))) for x in (returns, returns**2)]
    count = np.concatenate(([0], np.cumsum(known)))
    out = np.full(len(returns), np.nan)
    if len(returns) < window:
        return out
    end = np.arange(window, len(returns) + 1)
    total, square = (x[end] - x[end - window] for x in sums)
    full = count[end] - count[end - window] == window
    variance = np.maximum(square - total**2 / window, 0.0) / (window - 1) * (YEAR_MS / candles.interval.ms)
    with np.errstate(divide="ignore"):
        out[window - 1 :] = np.where(full & (variance > 0), np.minimum(1.0, target / np.sqrt(variance)), np.nan)
    return out


def kelly_fraction(win_probability: float, payoff: float, *, share: float = KELLY_SHARE, cap: float = 0.20) -> float:
    """A quarter of `p - (1 - p) / b`, between 0 and `cap`. `p` is the calibrated probability at the lower end of its interval, `b`
    the ratio of target to stop. NaN where either is unknown.

    References
    ----------
    Kelly (1956), "A New Interpretation of Information Rate"; Thorp (2006) for the fractions of it.
    """
    if not (0.0 <= win_probability <= 1.0 and payoff > 0.0):
        return math.nan
    return min(max(share * (win_probability - (1.0 - win_probability) / payoff), 0.0), cap)


def kelly_continuous(mean: float, variance: float, *, share: float = KELLY_SHARE, cap: float = 0.20) -> float:
    """A quarter of `mu / sigma^2`, between 0 and `cap`; NaN without variance."""
    if not (variance > 0.0 and math.isfinite(mean)):
        return math.nan
    return min(max(share * mean / variance, 0.0), cap)
