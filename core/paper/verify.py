"""The invariants of the ledger, each a check with its letter (reliability.md 2): what `verify` runs before anything is traded.

A check recomputes from rows; it never repairs. Each returns what is wrong in words, nothing where all is well.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from core.paper.ledger import Ledger
from core.paper.statement import Statement, cash_tolerance, exact
from core.paper.window import MANUAL, Terms
from core.risk.limits import RiskLimits
from data.market import Market

SHARE_GUARD = 1e-9
FORCED = ("stop", "trailing", "liquidation", "kill_switch", "target", "manual")


@dataclass(frozen=True)
class Book:
    """All rows of one account, read once."""

    account: Mapping[str, Any]
    terms: Terms
    limits: RiskLimits
    controls: list[dict[str, Any]]
    decisions: list[dict[str, Any]]
    orders: list[dict[str, Any]]
    fills: list[dict[str, Any]]
    cash: list[dict[str, Any]]
    equity: list[dict[str, Any]]

    @property
    def market(self) -> Market:
        return self.terms.market


def verify(ledger: Ledger) -> list[str]:
    """Every fault found, each beginning with the invariant it breaks; empty for a sound ledger."""
    faults = [f"L5 {words}" for words in ledger.verify()]
    if faults and any("damaged" in f for f in faults):
        return faults
    for row in ledger.rows("accounts"):
        book = _book(ledger, row)
        if isinstance(book, str):
            faults.append(book)
            continue
        for letter, check in CHECKS.items():
            try:
                faults += [f"{letter} account {row['account']}: {words}" for words in check(book)]
            except (ValueError, KeyError, TypeError, ArithmeticError) as error:
                faults.append(f"{letter} account {row['account']}: rows do not fit each other ({error})")
    faults += [f"L3 {words}" for words in _outbox(ledger)]
    return faults


def _book(ledger: Ledger, row: Mapping[str, Any]) -> Book | str:
    number = (row["account"],)
    try:
        terms = Terms.read(json.loads(row["content"]))
        limits = terms.question().config.limits
    except Exception as error:  # noqa: BLE001 - whatever is wrong with stored terms is a finding
        return f"L1 account {row['account']}: its terms cannot be read ({error})"
    rows = {t: ledger.rows(t, "account = ?", number) for t in ("controls", "decisions", "orders", "fills", "cash", "equity")}
    return Book(row, terms, limits, **rows)


# -- L1 money ---------------------------------------------------------------------------------------------------------


def money(book: Book) -> Iterator[str]:
    """Cash, positions, fees and equity recomputed from the fills alone equal what is stored, exactly."""
    state, fills = Statement(book.market, Decimal(0)), {f["key"]: f for f in book.fills}
    bars = iter(book.equity)
    bar = next(bars, None)
    for row in book.cash:
        while bar is not None and int(row["tx"]) > int(bar["tx"]):
            yield from _bar(book, bar, state)
            bar = next(bars, None)
        before = state.cash
        if row["kind"] == "fill":
            if row["key"] not in fills:
                yield f"cash {row['key']} has no fill"
                continue
            fill = fills.pop(row["key"])
            rate = Decimal(repr(json.loads(fill["content"])["fee_rate"]))
            if Decimal(fill["fee"]) != exact(Decimal(fill["price"]) * Decimal(fill["quantity"]) * rate):
                yield f"fill {fill['key']}: the fee {fill['fee']} is not price x quantity x {rate}"
            state.fill(fill)
        elif row["kind"] == "funding":
            symbol = row["key"].split("/")[1]
            if symbol not in state.holdings:
                yield f"cash {row['key']}: funding of a symbol that is not held"
                continue
            state.fund(symbol, Decimal(row["amount"]))
        elif row["kind"] == "deposit" and row["key"] == "deposit" and Decimal(row["amount"]) == Decimal(book.account["capital"]):
            state.cash += Decimal(row["amount"])
        else:
            yield f"cash {row['key']}: an unknown movement of {row['amount']}"
        if state.cash - before != Decimal(row["amount"]):
            yield f"cash {row['key']}: {row['amount']} is stored, its fill comes to {state.cash - before}"
        if state.cash != Decimal(row["balance"]):
            yield f"cash {row['key']}: the balance {row['balance']} is stored, the rows add up to {state.cash}"
    while bar is not None:
        yield from _bar(book, bar, state)
        bar = next(bars, None)
    yield from (f"fill {key} moved no cash" for key in fills)


def _bar(book: Book, bar: Mapping[str, Any], state: Statement) -> Iterator[str]:
    kept = json.loads(bar["state"])
    marks = {s: Decimal(repr(float(m))) for s, m in kept["marks"].items()}
    if Decimal(bar["cash"]) != state.cash:
        yield f"bar {bar['bar_ms']}: cash {bar['cash']} is stored, the rows add up to {state.cash}"
    if abs(Decimal(repr(float(kept["cash"]))) - state.cash) > cash_tolerance(Decimal(book.account["capital"])):
        yield f"bar {bar['bar_ms']}: the kept state has {kept['cash']} of cash, the rows {state.cash}"
    if set(kept["positions"]) != set(state.holdings):
        yield f"bar {bar['bar_ms']}: the kept state holds {sorted(kept['positions'])}, the fills {sorted(state.holdings)}"
        return
    for symbol, held in state.holdings.items():
        there = kept["positions"][symbol]
        if Decimal(repr(float(there["quantity"]))) != held.quantity or int(there["side"]) != held.side:
            yield f"bar {bar['bar_ms']}: {there['quantity']} {symbol} in the kept state, {held.quantity} by the fills"
    if any(s not in marks for s in state.holdings):
        yield f"bar {bar['bar_ms']}: a held symbol has no mark"
        return
    if Decimal(bar["equity"]) != state.equity(marks):
        yield f"bar {bar['bar_ms']}: equity {bar['equity']} is stored, cash and positions are worth {state.equity(marks)}"
    if Decimal(bar["gross"]) != state.gross(marks):
        yield f"bar {bar['bar_ms']}: gross {bar['gross']} is stored, positions come to {state.gross(marks)}"


# -- L2 keys ----------------------------------------------------------------------------------------------------------


def keys(book: Book) -> Iterator[str]:
    """One decision a bar; keys of orders and fills are functions of what they belong to."""
    step = book.terms.interval.ms
    seen: set[tuple[Any, ...]] = set()
    for d in book.decisions:
        key = (d["strategy"], d["version"], d["symbol"], d["interval"], d["bar_ms"])
        if key in seen:
            yield f"decision {key} is there twice"
        seen.add(key)
        if d["bar_ms"] % step:
            yield f"decision {d['id']}: {d['bar_ms']} is not the open of a {book.terms.interval} bar"
        if d["symbol"] not in book.terms.symbols:
            yield f"decision {d['id']}: {d['symbol']} is not traded by this account"
    for o in book.orders:
        if o["event"] == "placed" and o["strategy"] != MANUAL:
            bar = json.loads(o["content"])["decided_bar_ms"]
            if o["key"] != f"{o['strategy']}/{o['symbol']}/{bar}":
                yield f"order {o['key']}: its key does not name strategy, symbol and bar"
    counts: dict[str, int] = {}
    for f in book.fills:
        stem = f"{f['order_key']}/{f['effect']}/{f['bar_ms']}"
        counts[stem] = counts.get(stem, 0) + 1
        if f["key"] != f"{stem}/{counts[stem]}":
            yield f"fill {f['key']}: its key does not name order, effect, bar and number"


# -- L3 together ------------------------------------------------------------------------------------------------------


def together(book: Book) -> Iterator[str]:
    """Intent stands before effect, and what belongs to one bar was written in one transaction."""
    placed = {o["key"]: o for o in book.orders if o["event"] == "placed"}
    by_bar = {int(e["bar_ms"]): int(e["tx"]) for e in book.equity}
    decided = {(d["strategy"], d["symbol"], d["bar_ms"]): d for d in book.decisions}
    asked = {c["key"] for c in book.controls}
    for f in book.fills:
        if f["order_key"] not in placed:
            yield f"fill {f['key']} has no order"
        if by_bar.get(int(f["bar_ms"])) != int(f["tx"]):
            yield f"fill {f['key']} was not written with its bar"
    for o in placed.values():
        bar = json.loads(o["content"])["decided_bar_ms"]
        if o["strategy"] == MANUAL:
            if o["key"].rsplit("/", 1)[-1] not in asked:
                yield f"order {o['key']}: nobody asked for it"
        elif (d := decided.get((o["strategy"], o["symbol"], bar))) is None:
            yield f"order {o['key']} has no decision"
        elif d["state"] != "ordered" or int(d["tx"]) != int(o["tx"]):
            yield f"order {o['key']}: its decision says {d['state']!r}, or was written apart from it"
    for d in book.decisions:
        if by_bar.get(int(d["bar_ms"])) != int(d["tx"]):
            yield f"decision {d['id']} was not written with its bar"
        if d["state"] == "ordered" and f"{d['strategy']}/{d['symbol']}/{d['bar_ms']}" not in placed:
            yield f"decision {d['id']} says ordered, and there is no order"
    step, last = book.terms.interval.ms, None
    for e in book.equity:
        if last is not None and int(e["bar_ms"]) <= last:
            yield f"bar {e['bar_ms']} comes after {last}"
        if int(e["at_ms"]) != int(e["bar_ms"]) + step:
            yield f"bar {e['bar_ms']}: its close is stored as {e['at_ms']}"
        last = int(e["bar_ms"])
    done = {o["key"].removeprefix("control/") for o in book.orders if o["key"].startswith("control/")}
    yield from (f"control/{key} was done and never asked" for key in done if key not in asked)
    newest = book.equity[-1] if book.equity else None
    for c in book.controls:
        if newest is not None and c["key"] not in done and int(c["tx"]) < int(newest["tx"]) and int(c["at_ms"]) <= int(newest["bar_ms"]):
            yield f"control/{c['key']} was asked before bar {newest['bar_ms']} and never done"
    wishes = {(d["strategy"], d["symbol"]) for d in book.decisions}
    counts = Counter(int(d["bar_ms"]) for d in book.decisions)
    yield from (f"bar {bar} has {counts[bar]} decisions of {len(wishes)}" for bar in by_bar if counts[bar] != len(wishes))


def _outbox(ledger: Ledger) -> Iterator[str]:
    alerts = {a["key"] for a in ledger.rows("alerts")}
    messages = {m["id"]: m for m in ledger.rows("outbox")}
    for m in messages.values():
        if m["key"].startswith("alert/") and m["key"].removeprefix("alert/") not in alerts:
            yield f"message {m['key']} belongs to no alert"
    for d in ledger.rows("deliveries"):
        if d["message"] not in messages:
            yield f"delivery {d['id']} belongs to no message"


# -- L4 fills ---------------------------------------------------------------------------------------------------------


def fills(book: Book) -> Iterator[str]:
    """Quantities on the step, notional above the least, references inside their candle, slippage never in our favour, times in order."""
    placed = {o["key"]: o for o in book.orders if o["event"] == "placed"}
    for f in book.fills:
        c, price, quantity, reference = json.loads(f["content"]), *(Decimal(f[n]) for n in ("price", "quantity", "reference"))
        step, name = Decimal(repr(c["step"])), f"fill {f['key']}"
        if quantity <= 0 or price <= 0:
            yield f"{name}: quantity and price must be above zero"
            continue
        if step and quantity % step:
            yield f"{name}: {quantity} is not a multiple of the step {step}"
        if f["effect"] == "enter" and float(price * quantity) < c["minimum"] * (1 - SHARE_GUARD):
            yield f"{name}: worth {price * quantity}, the least is {c['minimum']}"
        if f["reason"] != "liquidation" and not c["low"] * (1 - SHARE_GUARD) <= float(reference) <= c["high"] * (1 + SHARE_GUARD):
            yield f"{name}: the reference {reference} lies outside its candle {c['low']} .. {c['high']}"
        buying = (int(f["side"]) > 0) == (f["effect"] == "enter")
        if (price < reference) if buying else (price > reference):
            yield f"{name}: filled at {price}, better than its reference {reference}"
        opened = placed.get(f["order_key"])
        if opened is not None and f["effect"] == "enter":
            decided = int(opened["at_ms"])
            if int(f["filled_ms"]) < decided:
                yield f"{name}: filled at {f['filled_ms']}, before it was ordered at {decided}"
            if opened["strategy"] != MANUAL and decided < json.loads(opened["content"])["decided_bar_ms"] + book.terms.interval.ms:
                yield f"{name}: decided before its candle closed"
        if not int(f["bar_ms"]) <= int(f["filled_ms"]) <= int(f["bar_ms"]) + book.terms.interval.ms:
            yield f"{name}: filled at {f['filled_ms']}, outside its bar {f['bar_ms']}"
        if int(f["side"]) not in (1, -1) or (book.market is Market.SPOT and int(f["side"]) < 0):
            yield f"{name}: side {f['side']} cannot be on {book.market}"


# -- L6 limits --------------------------------------------------------------------------------------------------------


def limits(book: Book) -> Iterator[str]:
    """The limits held before and after every entry: positions, size, risk, drawdown stop, cool-down."""
    caps, config = book.limits, book.terms.question().config
    placed = {o["key"]: o for o in book.orders if o["event"] == "placed"}
    asked = {f"control/{c['key']}": int(c["at_ms"]) for c in book.controls if c["kind"] == "rearm"}
    rearmed = [(int(o["tx"]), asked[o["key"]]) for o in book.orders if o["event"] == "done" and o["key"] in asked]
    killed_since: int | None = None
    stopped: dict[str, int] = {}
    state, known = Statement(book.market, Decimal(0)), {f["key"]: f for f in book.fills}
    events = [(int(r["tx"]), 0, r) for r in book.cash] + [(int(e["tx"]), 1, e) for e in book.equity]
    events.sort(key=lambda e: (e[0], e[1], e[2]["id"]))
    for _, kind, row in events:
        if kind == 1:
            kept = json.loads(row["state"])
            killed_since = (killed_since or int(row["at_ms"])) if kept["killed"] else None
            fallen = 0.0 if caps.drawdown_stop is None else float(kept["peak"]) * (1 - caps.drawdown_stop) * (1 - SHARE_GUARD)
            if not kept["killed"] and float(row["equity"]) < fallen:
                yield (f"bar {row['bar_ms']}: equity {row['equity']} is beyond the drawdown stop of {caps.drawdown_stop:.0%}, and trading "
                       "went on")
            continue
        if row["kind"] != "fill" or row["key"] not in known:
            state.cash += Decimal(row["amount"])
            continue
        fill = known[row["key"]]
        state.fill(fill)
        if fill["effect"] == "leave":
            over = fill["symbol"] not in state.holdings
            if fill["reason"] in ("stop", "trailing", "liquidation") and over and state.closed[-1].pnl < 0:
                stopped[fill["symbol"]] = int(fill["bar_ms"])
            continue
        order = placed.get(fill["order_key"])
        if order is None:
            continue
        content, symbol, name = json.loads(order["content"]), fill["symbol"], f"fill {fill['key']}"
        equity = float(content["equity"])
        held = state.holdings[symbol]
        if len(state.holdings) > caps.max_positions:
            yield f"{name}: {len(state.holdings)} positions are open, the limit is {caps.max_positions}"
        if float(held.quantity * Decimal(fill["price"])) > caps.position_cap * equity * (1 + SHARE_GUARD):
            yield f"{name}: {held.quantity * Decimal(fill['price'])} of {symbol} is above {caps.position_cap:.0%} of {equity:.2f}"
        stop = content["stop"]
        if str(config.sizing) == "risk" and stop is not None and config.distances == "quote" and order["strategy"] != MANUAL:
            loss = float(held.quantity) * float(stop)
            if loss > config.size * equity * (1 + 1e-6):
                yield f"{name}: its stop would lose {loss:.2f}, the limit is {config.size:.2%} of {equity:.2f}"
        since_ms, at_ms = killed_since, int(order["at_ms"])
        if since_ms is not None and at_ms >= since_ms and not any(
                tx <= int(fill["tx"]) and since_ms <= asked_ms <= at_ms for tx, asked_ms in rearmed):
            yield f"{name}: entered while the kill switch was on"
        since = stopped.get(symbol)
        bars = math.inf if since is None else (int(content["decided_bar_ms"]) - since) / book.terms.interval.ms
        if bars < caps.cooldown_bars:
            yield f"{name}: entered {bars:g} bars after a stop-out, the wait is {caps.cooldown_bars}"


CHECKS: dict[str, Callable[[Book], Iterator[str]]] = {"L1": money, "L2": keys, "L3": together, "L4": fills, "L6": limits}
