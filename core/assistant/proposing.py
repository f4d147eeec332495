"""The tools that propose. They check, keep a card on the server, and change nothing; a person decides."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from core.assistant.desk import Desk
from core.assistant.facts import Found, Row, Unit
from core.assistant.reading import Interval, Label, Rule, Symbol
from core.paper import by_hand
from data.errors import InputError

Price = Annotated[float, (1e-9, 1e9)]


def propose_order(desk: Desk, side: Literal["long", "short"], stop: Price, symbol: Symbol = "", target: Price | None = None) -> Found:
    """Propose a paper order at the next open with a stop price, sized by the account's rule. The user decides on a card."""
    status = _account(desk)
    name = symbol or desk.key.symbol
    account = desk.sextant.broker.account()
    assert account is not None
    if name not in status["terms"]["symbols"]:
        raise InputError(f"{name}: this account trades {', '.join(status['terms']['symbols'])}")
    price = desk.sextant.paper_price(name, account)
    order = by_hand.order(status, name, side, price, stop=stop, target=target)
    words = by_hand.order_words(status, name, order, price) + " It is paper: no real order is sent."
    return _card(desk, "place", {"symbol": name, "order": order, "price": price, "account": status["account"]}, words)


def propose_close(desk: Desk, symbol: Symbol = "") -> Found:
    """Propose to close an open paper position at the next open. The user decides on a card."""
    status = _account(desk)
    name = symbol or desk.key.symbol
    held = next((p for p in status["positions"] if p["symbol"] == name), None)
    if held is None:
        raise InputError(f"no position in {name} is open")
    way = "long" if held["side"] > 0 else "short"
    words = f"The {way} paper position of {held['quantity']:g} {name} leaves at the next open, about {held['price']:g}."
    return _card(desk, "close", {"symbol": name, "side": held["side"], "account": status["account"]}, words)


def propose_backtest(desk: Desk, rule: Rule, symbol: Symbol = "", interval: Interval = "") -> Found:
    """Propose a backtest of a rule on a symbol as a job. The user decides on a card."""
    from core.backtest.asking import ask

    key = desk.series(symbol, interval)
    options = {"interval": str(key.interval), "market": str(key.market)}
    question = ask([key.symbol], options, rule=rule)
    arguments = {"symbols": [key.symbol], "options": options, "rule": rule, "rows": None, "parameters": {}, "quick": False}
    words = f"Backtest the rule {rule} on {key.symbol} {key.interval} {key.market}, the newest {question.bars:,} bars. It counts as a try."
    return _card(desk, "job", {"job": "backtest", "arguments": arguments}, words)


def propose_training(desk: Desk, symbol: Symbol = "", interval: Interval = "", label: Label = "dir3_dyn") -> Found:
    """Propose to train a model for a symbol as a job. The user decides on a card."""
    from core.forecasting import TRAINING_BARS

    key = desk.series(symbol, interval)
    arguments = {"symbols": [key.symbol], "interval": str(key.interval), "market": str(key.market), "label": label, "bars": TRAINING_BARS}
    words = (f"Train a model of {label} for {key.symbol} {key.interval} {key.market} on the newest {TRAINING_BARS:,} bars. A first "
             "model serves at once, a later one only when promoted.")
    return _card(desk, "job", {"job": "train", "arguments": arguments}, words)


def propose_watchlist(desk: Desk, change: Literal["add", "remove"], symbol: Symbol = "") -> Found:
    """Propose to add a symbol to the watchlist or to take one from it. The user decides on a card."""
    name = symbol or desk.key.symbol
    if (name in desk.sextant.settings.watchlist) == (change == "add"):
        raise InputError(f"{name} is {'on' if change == 'add' else 'not on'} the watchlist already")
    if change == "remove" and len(desk.sextant.settings.watchlist) == 1:
        raise InputError("a watchlist holds at least one symbol")
    return _card(desk, "watchlist", {"symbol": name, "change": change}, f"{'Add' if change == 'add' else 'Remove'} {name} "
                                                                        f"{'to' if change == 'add' else 'from'} the watchlist.")


def _account(desk: Desk) -> dict[str, Any]:
    status = desk.sextant.paper_status()
    if status["account"] is None:
        raise InputError(status["reason"])
    return status


def _card(desk: Desk, kind: str, content: dict[str, Any], words: str) -> Found:
    if desk.proposals is None:
        raise InputError("proposals are made for the owner on the Assistant page, who decides there; nothing was proposed")
    made = desk.proposals.make(desk.conversation, kind, content, words)
    source = desk.source("proposal")
    return source.found("Proposal", (Row("proposal", source.fact("what would be done", words, Unit.WORDS)),), proposal=made.id)


PROPOSING = (propose_order, propose_close, propose_backtest, propose_training, propose_watchlist)
