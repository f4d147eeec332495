"""The slippage schedule applied to candles: what a fill in each bar costs beyond its reference price (methods.md 7.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.methods.spread_estimators import corwin_schultz
from data.frames import Candles
from data.market import DAY_MS, Costs, Slippage

LOOKBACK_DAYS = 20.0  # of daily volatility and volume in the square-root law
MINIMUM_DAYS = 2.0


@dataclass(frozen=True)
class SlippageSchedule:
    """Per bar, known at its open. `half` is a fraction of the price, `impact` a fraction per sqrt(quote currency).

    A market fill of notional Q in bar b is moved by `half[b] + impact[b] sqrt(Q)`, the second term in the square-root model, and
    in every model for a forced exit larger than the participation cap (decisions.md 22). `half` is NaN where it cannot be
    estimated yet: no entry there. `impact` is 0 where unknown and the model does not need it.
    """

    half: np.ndarray
    impact: np.ndarray


def quote_volume(candles: Candles) -> np.ndarray:
    """Quote currency traded per bar; where the source did not say, volume times close."""
    return np.where(np.isfinite(candles.quote_volume), candles.quote_volume, candles.volume * candles.close)


def _trailing(values: np.ndarray, window: int, minimum: int) -> np.ndarray:
    """Mean of the known values of the last `window` rows; NaN below `minimum` of them."""
    known = np.isfinite(values)
    total = np.concatenate(([0.0], np.cumsum(np.where(known, values, 0.0))))
    count = np.concatenate(([0], np.cumsum(known)))
    end = np.arange(1, len(values) + 1)
    start = np.maximum(end - window, 0)
    n = count[end] - count[start]
    return np.where(n >= minimum, (total[end] - total[start]) / np.maximum(n, 1), np.nan)


def _known_at_open(values: np.ndarray) -> np.ndarray:
    """The newest known value of the bars before; an exit must have one, so a hole takes the last."""
    before = np.concatenate(([np.nan], values[:-1])) if len(values) else values
    last = np.maximum.accumulate(np.where(np.isfinite(before), np.arange(len(before)), 0)) if len(before) else np.empty(0, int)
    return before[last]


def schedule(candles: Candles, costs: Costs, *, half_spread_bps: np.ndarray | None = None) -> SlippageSchedule:
    """The schedule of every bar. `half_spread_bps` is the book's, per bar as known at its close; without it Corwin-Schultz."""
    n = len(candles)
    per_day = DAY_MS / candles.interval.ms
    window, minimum = max(2, round(LOOKBACK_DAYS * per_day)), max(2, round(MINIMUM_DAYS * per_day))
    variance = _trailing(candles.log_return**2, window, minimum) * per_day
    volume = _trailing(quote_volume(candles), window, minimum) * per_day
    with np.errstate(invalid="ignore", divide="ignore"):
        impact = _known_at_open(costs.impact * np.sqrt(variance / volume))
    if costs.slippage is Slippage.FIXED:
        return SlippageSchedule(np.full(n, costs.slippage_bps / 1e4), np.where(np.isfinite(impact), impact, 0.0))
    if half_spread_bps is not None:
        half = np.asarray(half_spread_bps, float) / 1e4
    else:
        half = corwin_schultz(candles) / 2.0
    half = _known_at_open(half)
    if costs.slippage is Slippage.SPREAD:
        return SlippageSchedule(half + costs.extra_bps / 1e4, np.where(np.isfinite(impact), impact, 0.0))
    return SlippageSchedule(np.where(np.isfinite(impact), half, np.nan), np.where(np.isfinite(impact), impact, 0.0))


def break_even_bps(gross_profit: float, traded_notional: float) -> float:
    """Cost per side, in basis points of the notional, at which the same trades would have earned nothing. NaN without a trade."""
    return 1e4 * gross_profit / traded_notional if traded_notional > 0 else float("nan")
