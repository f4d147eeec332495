"""What fills come to: positions, closed trades, cash and equity, in exact decimals, from the ledger's rows alone (L1).

The broker and `verify` use the same few functions, so a stored balance is either what its fills say or wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from data.market import Market

Row = Mapping[str, Any]
ZERO = Decimal(0)
FINEST = Decimal("1E-12")  # averages, odd fee rates and funding have more digits than a sum can hold: rounded here, the same way everywhere


def exact(amount: Decimal) -> Decimal:
    """An amount as it is booked."""
    return amount.quantize(FINEST)


def cash_tolerance(capital: Decimal) -> Decimal:
    """How far the desk's float64 cash may lie from the ledger's: 1e-6, more on accounts whose sums have fewer digits behind the point."""
    return max(Decimal("1E-6"), capital * Decimal("1E-10"))


@dataclass
class Holding:
    """One net position: `entered` and `exited` in base currency, `paid` and `received` price x quantity, all decimals."""

    symbol: str
    strategy: str
    side: int
    order_key: str
    opened_ms: int
    entered: Decimal = ZERO
    paid: Decimal = ZERO
    exited: Decimal = ZERO
    received: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    closed_ms: int | None = None
    reason: str = ""
    fills: int = 0

    @property
    def quantity(self) -> Decimal:
        return self.entered - self.exited

    @property
    def entry(self) -> Decimal:
        """Average price paid."""
        return self.paid / self.entered if self.entered else ZERO

    @property
    def exit(self) -> Decimal | None:
        return self.received / self.exited if self.exited else None

    @property
    def pnl(self) -> Decimal:
        """Realised, after fees and funding; complete once closed."""
        share = self.paid * self.exited / self.entered if self.entered else ZERO
        return self.side * (self.received - share) - self.fees + self.funding

    def document(self) -> dict[str, Any]:
        return {"symbol": self.symbol, "strategy": self.strategy, "side": self.side, "order_key": self.order_key,
                "opened_ms": self.opened_ms, "closed_ms": self.closed_ms,
                "quantity": float(self.quantity if self.closed_ms is None else self.entered),
                "entry": float(self.entry), "exit": None if self.exit is None else float(self.exit), "fees": float(self.fees),
                "funding": float(self.funding), "pnl": float(self.pnl), "reason": self.reason, "fills": self.fills}


@dataclass
class Statement:
    """An account as its rows tell it. `holdings` by symbol are open, `closed` are done, oldest first."""

    market: Market
    cash: Decimal
    holdings: dict[str, Holding] = field(default_factory=dict)
    closed: list[Holding] = field(default_factory=list)

    def fill(self, row: Row) -> Decimal:
        """Apply a fill; returns what it does to cash.

        Raises
        ------
        ValueError
            When it does not fit what is held.
        """
        price, quantity, fee = (Decimal(row[n]) for n in ("price", "quantity", "fee"))
        held = self.holdings.get(row["symbol"])
        if row["effect"] == "enter":
            if held is None:
                held = self.holdings[row["symbol"]] = Holding(row["symbol"], row["strategy"], int(row["side"]), row["order_key"],
                                                              int(row["filled_ms"]))
            if held.side != row["side"]:
                raise ValueError(f"fill {row['key']} adds to the other side of what is held")
            held.entered += quantity
            held.paid += price * quantity
            amount = -fee if self.market is Market.PERP else -price * quantity - fee
        else:
            if held is None or quantity > held.quantity:
                raise ValueError(f"fill {row['key']} closes more than is held")
            gain = exact(held.side * (price - held.entry) * quantity)
            held.exited += quantity
            held.received += price * quantity
            amount = gain - fee if self.market is Market.PERP else price * quantity - fee
        held.fees += fee
        held.fills += 1
        held.reason = row["reason"] or held.reason
        if row["effect"] == "leave" and held.quantity == ZERO:
            held.closed_ms = int(row["filled_ms"])
            self.closed.append(self.holdings.pop(row["symbol"]))
        self.cash += amount
        return amount

    def fund(self, symbol: str, amount: Decimal) -> None:
        """A funding payment of an open position."""
        self.holdings[symbol].funding += amount
        self.cash += amount

    def equity(self, marks: Mapping[str, Decimal]) -> Decimal:
        """Worth at these prices."""
        total = self.cash
        for symbol in sorted(self.holdings):
            h = self.holdings[symbol]
            total += h.quantity * marks[symbol] if self.market is Market.SPOT else h.side * h.quantity * (marks[symbol] - h.entry)
        return total

    def gross(self, marks: Mapping[str, Decimal]) -> Decimal:
        """Sum of notionals."""
        return sum((h.quantity * marks[s] for s, h in self.holdings.items()), ZERO)


def statement(market: Market, fills: Iterable[Row], cash: Iterable[Row]) -> Statement:
    """The account after all rows. Each fill and each funding payment has its row of cash, which gives their order.

    Raises
    ------
    ValueError
        When rows do not fit each other.
    """
    out, by_key = Statement(market, ZERO), {r["key"]: r for r in fills}
    for row in cash:
        if row["kind"] == "fill":
            if row["key"] not in by_key:
                raise ValueError(f"cash row {row['key']} has no fill")
            out.fill(by_key[row["key"]])
        elif row["kind"] == "funding":
            out.fund(row["key"].split("/")[1], Decimal(row["amount"]))
        else:
            out.cash += Decimal(row["amount"])
    return out
