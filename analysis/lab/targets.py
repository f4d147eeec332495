"""What a score is held against: outcomes over the next h bars (methods.md 4).

An outcome looks ahead because it is one; it is never an input of a score. It is NaN for the last h bars and wherever a bar is
missing between t and t+h: nothing is filled, and a return over a hole is not a return over h bars.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from analysis.lab.panel import Panel
from analysis.scaling import MINIMUM_BARS, WINDOW_BARS
from data.indicators.volatility import SEED_RETURNS, ewma_variance
from data.market import DAY_MS, Interval

LARGE_MOVE_SD = 3.0
DECAY = 0.94


def _whole(panel: Panel, horizon: int, values: np.ndarray) -> np.ndarray:
    """`values[t]` for t = 0..n-h-1, NaN where t and t+h lie in different segments; length n."""
    out = np.full(len(panel), np.nan)
    if horizon < len(panel):
        out[:-horizon] = np.where(panel.segment[horizon:] == panel.segment[:-horizon], values, np.nan)
    return out


def forward_return(panel: Panel, horizon: int) -> np.ndarray:
    """`ln(C_{t+h} / C_t)`."""
    price = np.log(panel.close)
    return _whole(panel, horizon, price[horizon:] - price[: max(0, len(price) - horizon)])


def realised_volatility(panel: Panel, horizon: int) -> np.ndarray:
    """`sqrt(mean r^2)` of the next h bars: per bar, a fraction."""
    square = np.concatenate(([0.0], np.cumsum(np.nan_to_num(panel.log_return) ** 2)))
    total = square[1 + horizon :] - square[1 : max(1, len(square) - horizon)]
    return _whole(panel, horizon, np.sqrt(np.maximum(total, 0.0) / horizon))


def deepest_drawdown(panel: Panel, horizon: int) -> np.ndarray:
    """The deepest fall of a low below the highest close before it (C_t included) within the next h bars, a fraction in [0, 1)."""
    n = len(panel)
    kept = max(0, n - horizon)
    high, depth = np.array(panel.close[:kept], float), np.zeros(kept)
    for step in range(1, horizon + 1):
        np.maximum(depth, 1.0 - panel.low[step : step + kept] / high, out=depth)
        np.maximum(high, panel.close[step : step + kept], out=high)
    return _whole(panel, horizon, depth)


def large_move(panel: Panel, horizon: int) -> np.ndarray:
    """1 where `|sum_h r| > 3 sigma_t sqrt(h)`, else 0; sigma_t the EWMA(0.94) volatility known at t (NaN for its first 30 bars)."""
    sigma = np.full(len(panel), np.nan)
    square = panel.log_return**2
    edges = [0, *(np.flatnonzero(np.diff(panel.segment)) + 1).tolist(), len(panel)]
    for first, stop in pairwise(edges):
        sigma[first + 1 : stop] = np.sqrt(ewma_variance(np.ascontiguousarray(square[first + 1 : stop]), DECAY, SEED_RETURNS))
    move = np.abs(forward_return(panel, horizon))
    return np.where(np.isfinite(move) & (sigma > 0), (move > LARGE_MOVE_SD * sigma * np.sqrt(horizon)).astype(float), np.nan)


def trend_label(panel: Panel, horizon: int) -> np.ndarray:
    """1 where the efficiency ratio of the next h bars is above the median of the 500 ratios known at t (at least 100), else 0.

    Efficiency ratio (Kaufman): `|C_{t+h} - C_t| / sum |dC|`; NaN where the price stood still.
    """
    import pandas as pd

    n = len(panel)
    ahead = np.full(n, np.nan)
    if horizon < n:
        path = np.concatenate(([0.0], np.cumsum(np.abs(np.diff(panel.close)))))
        walked = path[horizon:] - path[:-horizon]
        moved = np.abs(panel.close[horizon:] - panel.close[:-horizon])
        ahead = _whole(panel, horizon, np.where(walked > 0, moved / np.where(walked > 0, walked, 1.0), np.nan))
    behind = np.full(n, np.nan)
    behind[horizon:] = ahead[: max(0, n - horizon)]
    usual = pd.Series(behind).rolling(WINDOW_BARS, min_periods=MINIMUM_BARS).median().to_numpy()
    return np.where(np.isfinite(ahead) & np.isfinite(usual), (ahead > usual).astype(float), np.nan)


@dataclass(frozen=True)
class Target:
    """A kind of outcome. `event`: it holds 0 and 1. `priced`: a return, so a spread has a break-even cost and a large IC is suspect."""

    name: str
    unit: str
    outcome: Callable[[Panel, int], np.ndarray]
    event: bool = False
    priced: bool = False


TARGETS = (
    Target("forward return", "log return", forward_return, priced=True),
    Target("realised volatility", "fraction per bar", realised_volatility),
    Target("drawdown", "fraction", deepest_drawdown),
    Target("large move", "0 or 1", large_move, event=True),
    Target("trend label", "0 or 1", trend_label, event=True),
)


def target(name: str) -> Target:
    found = next((t for t in TARGETS if t.name == name), None)
    if found is None:
        raise ValueError(f"expected a kind of target ({', '.join(t.name for t in TARGETS)}), got {name!r}")
    return found


@dataclass(frozen=True)
class ScoreSpec:
    """How one score is judged.

    `neutral` is the value that calls nothing; `sign` +1 where a high score should precede a high outcome, else -1. Horizons
    are bars of the score's timeframe, or seconds where the question is one of wall-clock time. `probability`: the score is one
    (Brier, reliability). `volatility`: the score is a forecast of volatility per bar (QLIKE). `memory_bars`: how far back a score
    built from the price itself still remembers it; shifts that let it see its own outcome are then left out (`shift_p_value`).
    """

    name: str
    target: str
    neutral: float = 0.5
    sign: int = 1
    horizons: tuple[int, ...] = (1, 4, 12, 24, 72)
    spans_s: tuple[int, ...] = ()
    probability: bool = False
    volatility: bool = False
    memory_bars: int = 0

    def bars(self, interval: Interval) -> tuple[int, ...]:
        """Horizons in bars of this interval; spans that are not whole bars of it cannot be judged on it and are left out."""
        if not self.spans_s:
            return self.horizons
        return tuple(s * 1000 // interval.ms for s in self.spans_s if s * 1000 % interval.ms == 0)


_DAYS = tuple(d * DAY_MS // 1000 for d in (7, 14, 30))
_BOOK = (10, 60, 300)
_PRICE_BARS = 100  # module A still goes with returns some 60 bars behind it; longer windows weigh too little to be seen

SPECS = (
    ScoreSpec("A", "forward return", memory_bars=_PRICE_BARS),
    ScoreSpec("B", "trend label", horizons=(50,), probability=True, memory_bars=_PRICE_BARS),
    ScoreSpec("b_risk", "realised volatility", horizons=(24,), memory_bars=_PRICE_BARS),
    ScoreSpec("C", "forward return", neutral=0.0),
    ScoreSpec("D", "forward return", spans_s=_BOOK),
    ScoreSpec("E", "forward return", neutral=0.0),
    ScoreSpec("F", "forward return", spans_s=_DAYS),
    ScoreSpec("G", "realised volatility", horizons=(24,), memory_bars=_PRICE_BARS),
    ScoreSpec("G", "drawdown", horizons=(24,), memory_bars=_PRICE_BARS),
    ScoreSpec("H", "forward return", spans_s=_BOOK),
    ScoreSpec("J", "large move", horizons=(24,), memory_bars=_PRICE_BARS),
    ScoreSpec("trend_strength", "forward return", memory_bars=_PRICE_BARS),
    ScoreSpec("buy_opportunity", "forward return", neutral=0.0, memory_bars=_PRICE_BARS),
    ScoreSpec("sell_opportunity", "forward return", neutral=0.0, sign=-1, memory_bars=_PRICE_BARS),
    ScoreSpec("risk_exposure", "realised volatility", horizons=(24,), memory_bars=_PRICE_BARS),
    ScoreSpec("risk_exposure", "drawdown", horizons=(24,), memory_bars=_PRICE_BARS),
    ScoreSpec("macro_sentiment", "forward return", spans_s=_DAYS),
    ScoreSpec("liquidity_pressure", "forward return", spans_s=_BOOK),
    ScoreSpec("anomaly_alert", "large move", horizons=(24,), memory_bars=_PRICE_BARS),
)


def specs_for(names: set[str] | frozenset[str]) -> tuple[ScoreSpec, ...]:
    """The rows of the table of methods.md 4 for the scores a panel has."""
    return tuple(s for s in SPECS if s.name in names)
