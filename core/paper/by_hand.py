"""What a person may ask of the account, checked before it is kept, and said in words: what it will do, and when.

The runner checks again when it does it: limits, what is held by then and the price of that moment are known only there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from core.backtest.asking import OPTIONS
from data.errors import InputError
from data.market import Market

SIDES = {"long": 1, "short": -1}
USUAL = {o.name: o.default for o in OPTIONS}
OF_A_SYMBOL = ("place", "reduce", "close", "modify", "cancel")
NUMBERS = ("stop", "target", "limit", "quantity")
Status = Mapping[str, Any]  # as `sextant.paper_status()` gives it


def checked(symbols: Sequence[str], market: Market, kind: str, symbol: str, content: Mapping[str, Any], *,
            sized_by_stop: bool = False) -> dict[str, Any]:
    """A request as it is kept, whoever asks: what it concerns and its numbers. Whether it can be done is known at its bar alone.

    `sized_by_stop`: the account risks a share of equity an entry, so none can be made without a stop.

    Raises
    ------
    InputError
        Naming the field, what was expected and what arrived.
    """
    if kind not in OF_A_SYMBOL:
        return {}
    if symbol not in symbols:
        raise InputError(f"{symbol[:20] or 'no symbol'}: this account trades {', '.join(symbols)}; name one of them")
    for name in NUMBERS:
        value = content.get(name)
        known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if value is not None and not (known and value > 0.0):
            raise InputError(f"{name}: expected a number above 0, got {str(value)[:20]}")
    if kind == "place" and content.get("side") not in SIDES.values():
        raise InputError(f"side: expected 1 (long) or -1 (short), got {str(content.get('side'))[:20]}")
    if kind == "place" and content["side"] < 0 and market is Market.SPOT:
        raise InputError("side: a spot account cannot go short; expected long, or an account on perp")
    if kind == "place" and sized_by_stop and content.get("stop") is None:
        raise InputError("stop: expected a price, got none; this account enters nothing without one: its size is what the stop may lose")
    if kind == "reduce" and content.get("quantity") is None:
        raise InputError("quantity: expected how much is given up, got none; to give up all, close")
    if kind == "modify" and not {"stop", "target"} & set(content):
        raise InputError("expected a new stop or a new target, got neither")
    return dict(content)


def option(status: Status, name: str) -> Any:
    """An option of the account's terms, or its default."""
    return status["terms"]["options"].get(name, USUAL[name])


def order(status: Status, symbol: str, side: str, price: float, *, stop: float | None, target: float | None, limit: float | None = None,
          quantity: float | None = None) -> dict[str, Any]:
    """The content of a "place" control.

    Raises
    ------
    InputError
        Naming the field, what was expected and what arrived.
    """
    if symbol not in status["terms"]["symbols"]:
        raise InputError(f"{symbol}: this account trades {', '.join(status['terms']['symbols'])}; open a new account to trade others")
    if side not in SIDES:
        raise InputError(f"side: expected long or short, got {side[:20]!r}")
    if side == "short" and Market.parse(str(option(status, "market"))) is Market.SPOT:
        raise InputError("side: a spot account cannot go short; expected long, or an account on perp")
    held = next((p for p in status["positions"] if p["symbol"] == symbol), None)
    if held is not None and (held["strategy"] != "manual" or held["side"] != SIDES[side]):
        raise InputError(f"{symbol} is held by {held['strategy']} already; close it first")
    if any(o["symbol"] == symbol for o in status["orders"]):
        raise InputError(f"an order of {symbol} waits already; cancel it first")
    if stop is None:
        raise InputError("stop: expected a price, got none; the size of the order is worked out from it")
    for name, value in (("stop", stop), ("target", target), ("limit", limit), ("quantity", quantity)):
        if value is not None and not (math.isfinite(value) and value > 0.0):
            raise InputError(f"{name}: expected a number above 0, got {value!r}")
    _sides(SIDES[side], price, stop, target)
    if limit is not None and SIDES[side] * (limit - stop) <= 0.0:
        raise InputError(f"limit: expected a price {'above' if side == 'long' else 'below'} the stop {stop:g}, got {limit:g}")
    content = {"side": SIDES[side], "stop": stop, "target": target, "limit": limit, "quantity": quantity}
    return {n: v for n, v in content.items() if v is not None}


def levels(position: Mapping[str, Any], *, stop: float | None, target: float | None) -> dict[str, Any]:
    """The content of a "modify" control: what differs from the levels in force. A target may be taken away, a stop may not.

    Raises
    ------
    InputError
        For a level on the wrong side of the price, or where nothing differs.
    """
    for name, value in (("stop", stop), ("target", target)):
        if value is not None and not (math.isfinite(value) and value > 0.0):
            raise InputError(f"{name}: expected a number above 0, got {value!r}")
    if stop is None and position["stop"] is not None:
        raise InputError("stop: expected a price, got none; a position keeps its stop, close it instead")
    _sides(position["side"], position["price"], stop, target)
    content = {n: v for n, v in (("stop", stop), ("target", target)) if v != position[n]}
    if not content:
        raise InputError("nothing differs from the levels in force; change the stop or the target")
    return content


def part(position: Mapping[str, Any], quantity: float) -> dict[str, Any]:
    """The content of a "reduce" control.

    Raises
    ------
    InputError
        When the quantity is not a part of what is held.
    """
    if not (math.isfinite(quantity) and 0.0 < quantity < position["quantity"]):
        raise InputError(f"quantity: expected above 0 and below the {position['quantity']:g} that are held, got {quantity:g}")
    return {"quantity": quantity}


def _sides(side: int, price: float, stop: float | None, target: float | None) -> None:
    for name, value, sign in (("stop", stop, -1), ("target", target, 1)):
        if value is not None and sign * side * (value - price) <= 0.0:
            where = "above" if sign * side > 0 else "below"
            raise InputError(f"{name}: expected a price {where} {price:g} for a {'long' if side > 0 else 'short'} position, got {value:g}")


def order_words(status: Status, symbol: str, content: Mapping[str, Any], price: float) -> str:
    """What an order will do, in one sentence or two."""
    way = "Buy" if content["side"] > 0 else "Sell short"
    where = f"at {content['limit']:g} or better" if "limit" in content else f"at the next open, about {price:g}"
    distance = abs((content.get("limit") or price) - content["stop"])
    if "quantity" in content:
        size = f"{content['quantity']:g}, at most what the limits allow"
        loss = f"; the stop would lose about {content['quantity'] * distance:,.2f}"
    else:
        risked, cap = _risked(status), float(option(status, "position_cap")) * status["equity"]
        quantity = min(risked / distance, cap / price) if risked is not None else None
        size = "as many as sizing and limits allow" if quantity is None else f"about {quantity:.6g}, inside the account's limits"
        loss = "" if quantity is None else f"; the stop would lose about {quantity * distance:,.2f} and costs"
    target = f", target {content['target']:g}" if "target" in content else ", no target"
    return f"{way} {symbol} {where}: {size}. Stop {content['stop']:g}{target}{loss}."


def _risked(status: Status) -> float | None:
    """What the stop may lose, in quote currency, where the account sizes by risk."""
    return float(option(status, "size")) * status["equity"] if option(status, "sizing") == "risk" else None
