"""An account and its positions: what fills, fees and funding do to cash, and what it is worth (decisions.md 23).

Spot holds coins bought with cash; a perpetual holds a difference, secured by an isolated margin, and moves no cash on opening but
the fee. The identity that every bar must satisfy: spot `equity = cash + sum qty mark`, perpetual
`equity = cash + sum side qty (mark - entry)`. Float64: the paper ledger keeps the same fills and does its cash in Decimal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from core.trading.fills import bankruptcy_price, liquidation_price, regrid
from data.errors import InputError
from data.market import Market


@dataclass
class Position:
    """One net position in one symbol, from its first fill until it is flat.

    `entry` and `exit` are average fill prices; `bought`-style sums are kept as `entry_sum` and `exit_sum` (price x quantity).
    `slippage` is what the fills cost beyond their reference prices, in quote currency, at least 0 (rounding to the tick included).
    """

    symbol: str
    strategy: str
    side: int
    opened_at: int
    entry_bar: int
    quantity: float = 0.0
    entry: float = 0.0
    entered: float = 0.0
    entry_sum: float = 0.0
    exited: float = 0.0
    exit: float = 0.0
    exit_sum: float = 0.0
    fees: float = 0.0
    slippage: float = 0.0
    funding: float = 0.0
    stop: float = math.nan
    target: float = math.nan
    trail: float = math.nan
    extreme: float = math.nan
    trailed: bool = False
    inside_bar: int = -1  # the bar in which a limit filled, whose extremes are partly older than the position
    unit: float = 1.0  # of a trailing distance: the first fill's price where distances are shares of it
    risk: float = math.nan  # quote currency lost at the first stop, before costs
    fills: int = 0
    next_stamp: int = 0  # the first funding stamp not yet charged
    leaving: int = -1  # reason of a pending exit, -1 none

    @property
    def pnl(self) -> float:
        """Realised so far, after fees and funding; complete once the position is flat."""
        return self.side * (self.exit_sum - self.entry_sum) - self.fees + self.funding


@dataclass
class Account:
    """Cash and open positions on one market. `leverage` sets the isolated margin of a perpetual."""

    market: Market
    cash: float
    leverage: float = 3.0
    positions: dict[str, Position] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.cash) and self.cash > 0.0):
            raise InputError(f"capital: expected a sum above zero, got {self.cash!r}; the default is 10000")
        if not 1.0 <= self.leverage <= 125.0:
            raise InputError(f"leverage: expected 1 to 125, got {self.leverage!r}; the default is 3")

    def enter(self, position: Position, price: float, quantity: float, fee_rate: float, reference: float, steps: float = 0.0) -> None:
        """Add `quantity` at `price` to a position that is on the account, or will be by this call."""
        if self.market is Market.SPOT and position.side < 0:
            raise InputError(f"{position.symbol}: a short position on spot is not possible; use market perp")
        if not (quantity > 0.0 and price > 0.0):
            raise InputError(f"{position.symbol}: a fill needs a quantity and a price above zero, got {quantity!r} at {price!r}")
        self.positions[position.symbol] = position
        fee = quantity * price * fee_rate
        if self.market is Market.SPOT:
            self.cash -= quantity * price + fee
        else:
            self.cash -= fee
        if position.quantity > 0.0:
            position.entry = (position.entry * position.quantity + price * quantity) / (position.quantity + quantity)
        else:
            position.entry = price
        position.quantity = regrid(position.quantity + quantity, steps)
        position.entered += quantity
        position.entry_sum += quantity * price
        position.fees += fee
        position.slippage += abs(price - reference) * quantity
        position.fills += 1

    def leave(self, position: Position, price: float, quantity: float, fee_rate: float, reference: float, steps: float = 0.0) -> bool:
        """Give up `quantity` at `price`; True when the position is flat, and off the account."""
        if not 0.0 < quantity <= position.quantity:
            raise InputError(f"{position.symbol}: cannot close {quantity!r} of a position of {position.quantity!r}")
        fee = quantity * price * fee_rate
        if self.market is Market.SPOT:
            self.cash += quantity * price - fee
        else:
            self.cash += position.side * quantity * (price - position.entry) - fee
        if position.exited > 0.0:
            position.exit = (position.exit * position.exited + price * quantity) / (position.exited + quantity)
        else:
            position.exit = price
        position.exited += quantity
        position.exit_sum += quantity * price
        position.fees += fee
        position.slippage += abs(price - reference) * quantity
        position.fills += 1
        position.quantity = 0.0 if quantity == position.quantity else regrid(position.quantity - quantity, steps)
        if position.quantity == 0.0:
            del self.positions[position.symbol]
            return True
        return False

    def fund(self, position: Position, rate: float, mark: float) -> float:
        """A funding stamp: `-side qty mark rate` onto cash. Longs pay a positive rate."""
        amount = -position.side * position.quantity * mark * rate
        self.cash += amount
        position.funding += amount
        return amount

    def value(self, position: Position, mark: float) -> float:
        """What the position adds to equity at `mark`."""
        if self.market is Market.SPOT:
            return position.quantity * mark
        return position.side * position.quantity * (mark - position.entry)

    def equity(self, marks: Mapping[str, float]) -> float:
        """Worth at the given prices, positions in the order of their symbols so that the sum is always the same."""
        total = self.cash
        for symbol in sorted(self.positions):
            total += self.value(self.positions[symbol], marks[symbol])
        return total

    def gross(self, marks: Mapping[str, float]) -> float:
        """Sum of notionals, whatever their side."""
        total = 0.0
        for symbol in sorted(self.positions):
            total += self.positions[symbol].quantity * marks[symbol]
        return total

    def used_margin(self) -> float:
        """Isolated margins of all positions at their entry prices; 0 on spot."""
        total = 0.0
        if self.market is Market.PERP:
            for symbol in sorted(self.positions):
                position = self.positions[symbol]
                total += position.quantity * position.entry / self.leverage
        return total

    def liquidation_price(self, position: Position, maintenance: float) -> float:
        """NaN on spot, where nothing is borrowed."""
        if self.market is Market.SPOT:
            return math.nan
        return liquidation_price(position.entry, self.leverage, maintenance, position.side)

    def bankruptcy_price(self, position: Position) -> float:
        return bankruptcy_price(position.entry, self.leverage, position.side)
