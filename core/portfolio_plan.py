"""From what the paper account holds to target weights: which orders, what they cost, and what is left alone and why."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.paper import by_hand
from core.trading.contracts import Contract, contract_of
from core.trading.fills import floor_quantity
from data.errors import InputError
from data.market import Costs, Market

if TYPE_CHECKING:
    from core.dealing import Dealing
    from core.portfolio import Allocation

MANUAL = "manual"
BAND = 0.02
RESERVE = 1.5  # of the costs of a purchase are kept in cash, so that the last order is not refused
RULE = "by_hand"


@dataclass(frozen=True)
class Order:
    """One change. `kind` is what the account is asked for (place, reduce, close); weights are signed shares of equity."""

    symbol: str
    kind: str
    side: int
    quantity: float
    price: float
    now: float
    target: float
    cost: float

    @property
    def notional(self) -> float:
        return self.quantity * self.price

    @property
    def content(self) -> dict[str, Any]:
        return {"side": self.side, "quantity": self.quantity} if self.kind == "place" else {} if self.kind == "close" else {
            "quantity": self.quantity}

    def words(self) -> str:
        act = {"place": "buy", "reduce": "sell", "close": "sell all:"}[self.kind]
        return f"{act} {self.quantity:g} {self.symbol} (about {self.notional:,.2f}), {self.now:.1%} to {self.target:.1%}"


@dataclass(frozen=True)
class Rebalancing:
    """`orders` in the order they are sent, sales first; `left` is what is not traded, with its reason. `problem`: why nothing can be
    sent."""

    account: int | None
    equity: float | None
    band: float
    orders: tuple[Order, ...]
    left: tuple[tuple[str, float, float, str], ...]
    notes: tuple[str, ...] = ()
    problem: str = ""
    as_of: str | None = None

    @property
    def cost(self) -> float:
        return math.fsum(o.cost for o in self.orders)

    @property
    def turnover(self) -> float:
        return math.fsum(o.notional for o in self.orders) / self.equity if self.equity else 0.0

    @property
    def key(self) -> str:
        """The same for the same plan on the same bar: sent twice it is asked once."""
        said = json.dumps([self.account, self.as_of, [(o.symbol, o.kind, o.quantity) for o in self.orders]])
        return hashlib.sha256(said.encode()).hexdigest()[:10]

    def document(self) -> dict[str, Any]:
        return {"account": self.account, "equity": self.equity, "band": self.band, "turnover": self.turnover, "cost": self.cost,
                "problem": self.problem or None, "notes": list(self.notes),
                "orders": [{"symbol": o.symbol, "kind": o.kind, "side": o.side, "quantity": o.quantity, "price": o.price,
                            "notional": o.notional, "now": o.now, "target": o.target, "cost": o.cost} for o in self.orders],
                "left": [{"symbol": s, "now": now, "target": target, "why": why} for s, now, target, why in self.left]}


def rebalancing(sextant: Dealing, found: Allocation, *, band: float = BAND) -> Rebalancing:
    """The plan. Positions of another strategy and symbols the account does not trade are named and left alone; weights move only where
    the target is further than `band` away, or is zero."""
    if not 0.0 <= band < 1.0:
        raise InputError(f"band: expected a fraction from 0 to below 1, got {band:g}; 0.02 means 2 points")
    account = sextant.broker.account()
    if account is None:
        return Rebalancing(None, None, band, (), (), problem="no paper account is open: open one for this portfolio below")
    status = sextant.paper_status()
    equity = float(status["equity"])
    if equity <= 0:
        return Rebalancing(account.number, equity, band, (), (), problem="the account is worth nothing")
    waiting = _asked_already(sextant, account.number)
    costs = _cost_rate(status, account.terms.market)
    positions = {p["symbol"]: p for p in status["positions"]}
    target = dict(found.weights)
    cap, notes = float(by_hand.option(status, "position_cap")), []
    left: list[tuple[str, float, float, str]] = []
    sales: list[Order] = []
    purchases: list[Order] = []
    for symbol in sorted({*target, *positions}):
        p = positions.get(symbol)
        now, wanted = (0.0 if p is None else p["side"] * p["notional"] / equity), float(target.get(symbol) or 0.0)
        foreign = p is not None and (p["strategy"] != MANUAL or p["side"] < 0)
        if symbol not in account.terms.symbols:
            left.append((symbol, now, wanted, f"account {account.number} does not trade it"))
            continue
        if p is not None and foreign:
            left.append((symbol, now, wanted, "short, held by hand" if p["strategy"] == MANUAL else f"held by {p['strategy']}"))
            continue
        if wanted > cap + 1e-9:
            notes.append(f"{symbol}: the account's limit is {cap:.0%} of equity for a position, {wanted:.0%} is wanted")
            wanted = cap
        if symbol in waiting:
            left.append((symbol, now, wanted, "an order of it waits for the runner already"))
            continue
        if abs(wanted - now) <= band and not (wanted == 0.0 and now != 0.0):
            left.append((symbol, now, wanted, f"inside the band of {band:.1%}" if now or wanted else "not held, not wanted"))
            continue
        order = _order(sextant, symbol, account.terms.market, p, equity, now, wanted, float(p["price"]) if p else sextant.paper_price(
            symbol, account), costs)
        if isinstance(order, str):
            left.append((symbol, now, wanted, order))
        else:
            (purchases if order.kind == "place" else sales).append(order)
    purchases = _affordable(purchases, sales, float(status["cash"]), equity, sextant, account.terms.market, costs, notes,
                            left)
    return Rebalancing(account.number, equity, band, (*sales, *purchases), tuple(left), tuple(notes), _problem(status), status["as_of"])


def send(sextant: Dealing, plan: Rebalancing) -> tuple[str, ...]:
    """Ask for every order of the plan, sales first.

    Raises
    ------
    InputError
        When the plan cannot be sent; nothing was asked then.
    """
    if plan.problem or not plan.orders:
        raise InputError(plan.problem or "every weight lies inside the band: there is nothing to send")
    asked = {r["key"] for r in sextant.paper_ledger.rows("controls", "account = ?", (plan.account,))}
    keys = []
    for n, o in enumerate(plan.orders):
        key = f"plan-{plan.key}-{n}"
        keys.append(key if key in asked else sextant.paper_ask(o.kind, o.symbol, o.content, key=key))
    return tuple(keys)


def _order(sextant: Dealing, symbol: str, market: Market, held: dict[str, Any] | None, equity: float, now: float, wanted: float,
           price: float,
           costs: float) -> Order | str:
    """The order, or why there is none."""
    contract = _contract(sextant, symbol, market)
    if wanted == 0.0 and held is not None:
        return Order(symbol, "close", 1, held["quantity"], price, now, 0.0, held["notional"] * costs)
    quantity = floor_quantity(abs(wanted - now) * equity / price, contract.steps_per_unit)
    if quantity * price < contract.minimum_notional or quantity <= 0:
        return f"{abs(wanted - now) * equity:,.2f} is less than the smallest order, {contract.minimum_notional:g}"
    kind = "place" if wanted > now else "reduce"
    if kind == "reduce" and held is not None and quantity >= held["quantity"]:
        kind, quantity = "close", held["quantity"]
    return Order(symbol, kind, 1, quantity, price, now, wanted, quantity * price * costs)


def _affordable(purchases: list[Order], sales: list[Order], cash: float, equity: float, sextant: Dealing, market: Market, costs: float,
                notes: list[str], left: list[tuple[str, float, float, str]]) -> list[Order]:
    """Purchases cut alike where cash and sales do not pay for them and their costs; each then says how far it gets."""
    if market is not Market.SPOT or not purchases:
        return purchases
    room = cash + math.fsum(o.notional - o.cost for o in sales)
    wanted = math.fsum(o.notional for o in purchases)
    share = min(1.0, room * (1.0 - RESERVE * costs) / wanted) if wanted > 0 else 1.0
    if share >= 1.0:
        return purchases
    kept = []
    for o in purchases:
        contract = _contract(sextant, o.symbol, market)
        quantity = floor_quantity(o.quantity * share, contract.steps_per_unit)
        if quantity * o.price >= contract.minimum_notional and quantity > 0:
            kept.append(Order(o.symbol, o.kind, o.side, quantity, o.price, o.now, o.now + quantity * o.price / equity,
                              quantity * o.price * costs))
        else:
            left.append((o.symbol, o.now, o.target, f"cash pays for {max(share, 0.0):.0%} of the purchases, of this one for less than the "
                                                    f"smallest order, {contract.minimum_notional:g}"))
    if share < 0.99:
        notes.append(f"cash pays for {share:.0%} of the purchases; the rest needs another plan once the sales are done")
    return kept


def _contract(sextant: Dealing, symbol: str, market: Market) -> Contract:
    interval = sextant.intervals(symbol, market)[-1]
    return contract_of(symbol, market, sextant.candles(sextant.key(symbol, interval, market), bars=60))


def _cost_rate(status: by_hand.Status, market: Market) -> float:
    """Taker fee and slippage of the account's terms, a side."""
    usual = Costs.of(market)
    fee, slip = by_hand.option(status, "taker_bps"), by_hand.option(status, "slippage_bps")
    return ((usual.taker_bps if fee is None else float(fee)) + (usual.slippage_bps if slip is None else float(slip))) / 1e4


def _problem(status: by_hand.Status) -> str:
    """Why the account would not do what it is asked; empty where it would."""
    if status["killed"]:
        return "the kill switch is on; re-arm the account on the Paper page first"
    if str(by_hand.option(status, "sizing")) == "risk":
        return ("this account sizes by what a stop would lose, and a portfolio has no stops; open an account for this portfolio instead "
                f"(strategy {RULE}, sizing fraction)")
    return ""


def _asked_already(sextant: Dealing, account: int) -> set[str]:
    """Symbols of which a person's order has not been done yet."""
    done = {r["key"] for r in sextant.paper_ledger.rows("orders", "account = ? and event = 'done'", (account,))}
    rows = sextant.paper_ledger.rows("controls", "account = ?", (account,))
    return {r["symbol"] for r in rows if r["symbol"] and f"control/{r['key']}" not in done}
