"""What an order book looks like at one moment, in a few numbers: leaning, depth, cost of a size, steepness, walls (methods.md 1.D).

Distances are in basis points of the mid. Levels beyond the deepest known price are unknown, not empty: what would need them is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

DECAY_BPS = 10.0  # a level this far counts 1/e
NEAR_BPS, MASS_BPS, LEAST_MASS_BPS = 10.0, 50.0, 10.0
DISTANCES_BPS = np.array([10.0, 20.0, 30.0, 50.0, 100.0])
LEAST_DISTANCES = 3
BIN_BPS, BINS, LEAST_BINS = 20.0, 10, 5
MAD_TO_SD = 1.4826
SIZES = (10_000.0, 100_000.0)  # quote currency


class Shape(NamedTuple):
    """Of one book.

    Attributes
    ----------
    obi : float
        (bids - asks) / (bids + asks) of the sizes, each weighted exp(-distance / 10 bps); -1..1. `obi_1`, `obi_5` and `obi_20` are
        unweighted over that many best levels.
    bid_depth_10, ask_depth_10 : float
        Base units within 10 bps; NaN where the book is not known that far.
    bid_mass_50, ask_mass_50 : float
        Base units within 50 bps, or within what is known of both sides if that is less (10 bps at least).
    buy_slippage_10k ... : float
        Bps against the mid of walking the book for that much quote currency; `unfilled_...` is the share that found no level on the
        worse side: above 0 the slippage is a lower bound.
    bid_elasticity, ask_elasticity : float
        Slope of ln(cumulative depth) on ln(distance) at 10, 20, 30, 50 and 100 bps, as many as are known on both sides, three at least
        (Naes & Skjeltorp 2006). `..._log_depth`: mean ln(cumulative depth in quote currency) at the same distances.
    wall_bps, wall_mass : float
        The largest of the 20-bps bins that hold more than median + 3 robust standard deviations: signed distance of its middle (negative:
        bids) and its base units; NaN and 0 where no bin stands out.
    """

    obi: float
    obi_1: float
    obi_5: float
    obi_20: float
    bid_depth_10: float
    ask_depth_10: float
    bid_mass_50: float
    ask_mass_50: float
    buy_slippage_10k: float
    sell_slippage_10k: float
    unfilled_10k: float
    buy_slippage_100k: float
    sell_slippage_100k: float
    unfilled_100k: float
    bid_elasticity: float
    ask_elasticity: float
    bid_log_depth: float
    ask_log_depth: float
    wall_bps: float
    wall_mass: float


def shape_of(bid_price: Sequence[float] | np.ndarray, bid_quantity: Sequence[float] | np.ndarray, ask_price: Sequence[float] | np.ndarray,
             ask_quantity: Sequence[float] | np.ndarray) -> Shape | None:
    """The shape of a book, levels best first; None where a side is empty or the book is crossed or locked."""
    bids, asks = np.asarray(bid_price, float), np.asarray(ask_price, float)
    bid_size, ask_size = np.asarray(bid_quantity, float), np.asarray(ask_quantity, float)
    if not len(bids) or not len(asks) or bids[0] >= asks[0]:
        return None
    mid = (bids[0] + asks[0]) / 2
    below, above = 1e4 * (mid - bids) / mid, 1e4 * (asks - mid) / mid
    bid_sum, ask_sum = np.cumsum(bid_size), np.cumsum(ask_size)
    reach = min(below[-1], above[-1])
    near = min(MASS_BPS, reach)
    mass = (_within(below, bid_sum, near), _within(above, ask_sum, near)) if near >= LEAST_MASS_BPS else (math.nan, math.nan)
    costs: list[float] = []
    for size in SIZES:
        buy, missing_asks = _walk(asks, ask_size, size)
        sell, missing_bids = _walk(bids, bid_size, size)
        costs += [1e4 * (buy / mid - 1.0), 1e4 * (1.0 - sell / mid), max(missing_asks, missing_bids)]
    far = DISTANCES_BPS[: int(np.searchsorted(DISTANCES_BPS, reach, side="right"))]
    bid_slope, bid_log = _elasticity(below, bid_sum, far, mid)
    ask_slope, ask_log = _elasticity(above, ask_sum, far, mid)
    values = [_balance(float(bid_size @ np.exp(-below / DECAY_BPS)), float(ask_size @ np.exp(-above / DECAY_BPS)))]
    values += [_balance(float(bid_size[:n].sum()), float(ask_size[:n].sum())) for n in (1, 5, 20)]
    values += [_within(distance, total, NEAR_BPS) if distance[-1] >= NEAR_BPS else math.nan
               for distance, total in ((below, bid_sum), (above, ask_sum))]
    return Shape._make((*values, *mass, *costs, bid_slope, ask_slope, bid_log, ask_log, *_wall(below, bid_size, above, ask_size)))


def _balance(bids: float, asks: float) -> float:
    return (bids - asks) / (bids + asks) if bids + asks > 0 else math.nan


def _within(distance: np.ndarray, total: np.ndarray, bps: float) -> float:
    """Cumulative quantity of the levels within a distance; distances do not fall."""
    held = int(np.searchsorted(distance, bps * (1 + 1e-12), side="right"))
    return float(total[held - 1]) if held else 0.0


def _walk(price: np.ndarray, size: np.ndarray, notional: float) -> tuple[float, float]:
    """(mean price of trading `notional` quote currency through the levels, share of it that found none)."""
    worth = np.cumsum(price * size)
    whole = int(np.searchsorted(worth, notional))  # levels taken completely
    if whole >= len(price):
        quantity = float(size.sum())
        return (float(worth[-1]) / quantity if quantity else math.nan), 1.0 - float(worth[-1]) / notional
    spent = float(worth[whole - 1]) if whole else 0.0
    return notional / (float(size[:whole].sum()) + (notional - spent) / float(price[whole])), 0.0


def _elasticity(distance: np.ndarray, total: np.ndarray, far: np.ndarray, mid: float) -> tuple[float, float]:
    """(slope, mean of the logarithm) of the cumulative depth in quote currency at the distances `far`."""
    if len(far) < LEAST_DISTANCES:
        return math.nan, math.nan
    depth = np.array([_within(distance, total, bps) for bps in far])
    if depth[0] <= 0:
        return math.nan, math.nan
    x, y = np.log(far), np.log(depth * mid)
    away = x - x.mean()
    return float(away @ y / (away @ away)), float(y.mean())


def _wall(below: np.ndarray, bid_size: np.ndarray, above: np.ndarray, ask_size: np.ndarray) -> tuple[float, float]:
    bins, middles = [], []
    for sign, distance, size in ((-1.0, below, bid_size), (1.0, above, ask_size)):
        whole = int(min(BINS, distance[-1] // BIN_BPS))
        at = np.minimum(distance // BIN_BPS, whole).astype(np.int64)
        bins.append(np.bincount(at, size, whole + 1)[:whole])
        middles.append(sign * BIN_BPS * (np.arange(whole) + 0.5))
    held, middle = np.concatenate(bins), np.concatenate(middles)
    if len(held) < LEAST_BINS:
        return math.nan, 0.0
    usual = float(np.median(held))
    limit = usual + 3 * MAD_TO_SD * float(np.median(np.abs(held - usual)))
    largest = int(np.argmax(held))
    return (float(middle[largest]), float(held[largest])) if held[largest] > limit > usual else (math.nan, 0.0)
