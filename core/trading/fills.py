"""At what price and in what quantity an order fills: one pure function a rule (methods.md 7.1, decisions.md 20 and 22).

Prices in quote currency, quantities in base currency, both float64. `side` is the position's: +1 long, -1 short. A `per_unit`
is how many ticks (or steps) make 1: 100 for a tick of 0.01; 0 switches the rounding off. Dividing a whole number by it gives
the double nearest to the decimal price, which multiplying by 0.01 does not.

The compiled engine calls the very same functions (core/trading/rule.py).
"""

from __future__ import annotations

import math

from core.trading.rule import rule

PRICE_GUARD = 1e-6  # ticks: a price this near to the grid is on it
STEP_GUARD = 1e-9  # steps: 0.3 / 0.1 is a hair below 3 in binary
MOST_SLIPPAGE = 0.5  # of the price; the square-root law was never fitted to an order that moves it by half


@rule
def round_price(price: float, per_unit: float, buying: bool) -> float:
    """On the tick, against us: what we buy at is rounded up, what we sell at down."""
    if per_unit <= 0.0:
        return price
    ticks = price * per_unit
    return (math.ceil(ticks - PRICE_GUARD) if buying else math.floor(ticks + PRICE_GUARD)) / per_unit


@rule
def floor_quantity(quantity: float, per_unit: float) -> float:
    """Down to the step; below zero is zero. Infinity stays: it means no bound."""
    if per_unit <= 0.0 or math.isinf(quantity):
        return max(quantity, 0.0)
    return max(math.floor(quantity * per_unit + STEP_GUARD), 0) / per_unit


@rule
def regrid(quantity: float, per_unit: float) -> float:
    """The step nearest to a sum or difference of quantities: 0.3 - 0.1 is 0.2 again, so that dust is never held."""
    return quantity if per_unit <= 0.0 else math.floor(quantity * per_unit + 0.5) / per_unit


@rule
def round_equity(equity: float) -> float:
    """To 1e-8, so that the last bits of a sum cannot move a quantity by one step (decisions.md 20)."""
    return math.floor(equity * 1e8 + 0.5) / 1e8


@rule
def market_price(reference: float, buying: bool, slippage: float, per_unit: float) -> float:
    """`O (1 + slip)` when buying, `O (1 - slip)` when selling, then the tick. `slippage` is a fraction."""
    direction = 1.0 if buying else -1.0
    return round_price(reference * (1.0 + direction * min(slippage, MOST_SLIPPAGE)), per_unit, buying)


@rule
def exit_level(entry: float, distance: float, per_unit: float, side: int) -> float:
    """The stop (`distance` below zero) or target (above zero) of a position entered at `entry`. A sell level is rounded down."""
    return round_price(entry + side * distance, per_unit, side < 0)


@rule
def price_level(entry: float, level: float, multiple: float, per_unit: float, side: int) -> float:
    """A stop or target given as a price, its distance from the entry times `multiple`. A sell level is rounded down; NaN stays."""
    if level != level:
        return level
    if multiple != 1.0:
        level = entry + (level - entry) * multiple
    return round_price(level, per_unit, side < 0)


@rule
def trailing_level(extreme: float, distance: float, per_unit: float, side: int) -> float:
    """Where a trailing stop hangs under (short: over) the best price up to the bar before."""
    return round_price(extreme - side * distance, per_unit, side < 0)


@rule
def stop_touched(low: float, high: float, stop: float, side: int) -> bool:
    return low <= stop if side > 0 else high >= stop


@rule
def stop_reference(opened: float, stop: float, side: int) -> float:
    """The stop, or the open where the bar began beyond it (a gap is paid in full)."""
    return min(opened, stop) if side > 0 else max(opened, stop)


@rule
def target_touched(low: float, high: float, target: float, side: int) -> bool:
    return high >= target if side > 0 else low <= target


@rule
def target_gapped(opened: float, target: float, side: int) -> bool:
    """The bar began at or beyond the target: it filled at the open, before anything else of that bar."""
    return side * (opened - target) >= 0.0


@rule
def limit_gapped(opened: float, limit: float, side: int) -> bool:
    """The bar began strictly beyond the limit: filled at the open."""
    return side * (limit - opened) > 0.0


@rule
def limit_traded_through(low: float, high: float, limit: float, side: int) -> bool:
    """A touch is not enough: the queue in front of us is unknown."""
    return low < limit if side > 0 else high > limit


def room_quote(quote_volume: float, participation: float | None) -> float:
    """Notional that may trade in a bar: a share of its quote volume; without a cap anything, but nothing in a bar without a trade."""
    if not quote_volume > 0.0:
        return 0.0
    return math.inf if participation is None else participation * quote_volume


@rule
def liquidation_price(entry: float, leverage: float, maintenance: float, side: int) -> float:
    """Mark price at which the isolated margin falls to the maintenance margin: `entry (1 -+ 1/lev) / (1 -+ m)`."""
    return entry * (1.0 - side / leverage) / (1.0 - side * maintenance)


@rule
def bankruptcy_price(entry: float, leverage: float, side: int) -> float:
    """Where the whole isolated margin is gone: the price a liquidation is booked at."""
    return entry * (1.0 - side / leverage)
