"""What the paper accounts did, as rows for readers: the curve beside holding, orders with their ends, what was asked, trades, signals."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from core.paper.broker import Account
from core.paper.ledger import Ledger
from core.paper.statement import Holding, Statement
from core.paper.told import LATE
from core.paper.window import Terms
from data.market import SeriesKey
from data.view import CandleReader

WISHES = ("ordered", "refused", "paused", LATE)  # states of a decision in which a strategy wanted to enter
NEWEST = 5_000  # rows of a long table that are shown

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Curve:
    """An account at each recorded close.

    Attributes
    ----------
    at_ms : ndarray of shape (n_bars,)
        Closes, UTC milliseconds, oldest first.
    equity, held : ndarray of shape (n_bars,)
        Quote currency; `held` is the start capital put equally into the account's symbols at the last close before the opening and
        kept, without costs. All NaN where a symbol has no such close.
    drawdown : ndarray of shape (n_bars,)
        Equity over its highest value so far minus 1, at most 0; the start capital counts as a value.
    """

    capital: float
    at_ms: np.ndarray
    equity: np.ndarray
    held: np.ndarray
    drawdown: np.ndarray


def accounts(ledger: Ledger) -> tuple[Account, ...]:
    """Every epoch, oldest first."""
    return tuple(Account(int(r["account"]), int(r["opened_ms"]), Decimal(r["capital"]), Terms.read(json.loads(r["content"])), r["reason"])
                 for r in ledger.rows("accounts"))


def curve(ledger: Ledger, reader: CandleReader, account: Account) -> Curve:
    """Equity, holding and drawdown of an account; empty while no bar is recorded."""
    rows = ledger.rows("equity", "account = ?", (account.number,), select="at_ms, equity")
    at = np.array([r["at_ms"] for r in rows], np.int64)
    equity = np.array([float(r["equity"]) for r in rows], float)
    capital = float(account.capital)
    highest = np.maximum(np.maximum.accumulate(equity), capital) if len(equity) else equity
    return Curve(capital, at, equity, _held(reader, account, at) if len(at) else equity, equity / highest - 1.0)


def _held(reader: CandleReader, account: Account, at: np.ndarray) -> np.ndarray:
    terms, growth = account.terms, np.zeros(len(at))
    for symbol in terms.symbols:
        key = SeriesKey(symbol, terms.interval, terms.market)
        candles = reader.read(key, account.opened_ms - 3 * terms.interval.ms, int(at[-1]) + 1)
        first = int(np.searchsorted(candles.close_time, account.opened_ms, side="right")) - 1
        if first < 0:
            return np.full(len(at), math.nan)
        place = np.searchsorted(candles.close_time, at, side="right") - 1
        growth += candles.close[place] / candles.close[first]
    return float(account.capital) * growth / len(terms.symbols)


def drawdown_now(found: Curve, equity: float) -> float:
    """How far an equity lies below the highest recorded one, as a fraction at most 0."""
    highest = max([found.capital, equity, *found.equity.tolist()])
    return equity / highest - 1.0


# -- one account ------------------------------------------------------------------------------------------------------


def orders(ledger: Ledger, account: Account) -> Rows:
    """A row an order, newest first: when it was placed, what it asked for, how and when it ended ("waits" where it has not)."""
    found: dict[str, dict[str, Any]] = {}
    for r in ledger.rows("orders", "account = ? and event <> 'done'", (account.number,)):
        content = json.loads(r["content"])
        row = found.setdefault(r["key"], {"key": r["key"], "symbol": r["symbol"], "strategy": r["strategy"], "side": r["side"],
                                          "placed_ms": r["at_ms"], "limit": content.get("limit"), "close": content.get("close"),
                                          "stop_distance": content.get("stop"), "target_distance": content.get("target"),
                                          "ended": "waits", "ended_ms": None})
        if r["event"] != "placed":
            row |= {"ended": r["event"], "ended_ms": r["at_ms"]}
    return list(found.values())[::-1][:NEWEST]


def asked(ledger: Ledger, account: Account) -> Rows:
    """A row a request of a person, newest first, with what it came to; `words` None: the runner has not done it yet."""
    done = {r["key"].removeprefix("control/"): json.loads(r["content"])["words"]
            for r in ledger.rows("orders", "account = ? and event = 'done'", (account.number,))}
    return [{"key": r["key"], "at_ms": r["at_ms"], "kind": r["kind"], "symbol": r["symbol"], "content": json.loads(r["content"]),
             "words": done.get(r["key"])} for r in ledger.rows("controls", "account = ?", (account.number,), order="id desc", limit=NEWEST)]


def fills(ledger: Ledger, account: Account) -> Rows:
    """A row a fill, newest first; `slippage_bps` is what the price was worse than the market's, as a share of it times 10,000."""
    out = []
    for r in ledger.rows("fills", "account = ?", (account.number,), order="id desc", limit=NEWEST):
        price, reference = float(r["price"]), float(r["reference"])
        bought = (r["side"] > 0) == (r["effect"] == "enter")
        worse = (price / reference - 1.0) * (1.0 if bought else -1.0) if reference > 0 else math.nan
        out.append({"filled_ms": r["filled_ms"], "symbol": r["symbol"], "strategy": r["strategy"], "side": r["side"], "effect": r["effect"],
                    "reason": r["reason"], "price": price, "quantity": float(r["quantity"]), "fee": float(r["fee"]),
                    "slippage_bps": 1e4 * worse, "order_key": r["order_key"]})
    return out


def decisions(ledger: Ledger, account: Account, states: Sequence[str] = ()) -> Rows:
    """The newest decisions, of the given states only where some are given."""
    where = f" and state in ({', '.join('?' * len(states))})" if states else ""
    rows = ledger.rows("decisions", f"account = ?{where}", (account.number, *states), order="id desc", limit=NEWEST)
    return [{n: r[n] for n in ("decided_ms", "symbol", "strategy", "action", "state", "words", "version")}
            | {"close": json.loads(r["content"]).get("close")} for r in rows]


# -- all accounts -----------------------------------------------------------------------------------------------------


def trades(every: Iterable[tuple[Account, Statement]]) -> Rows:
    """Closed trades of all accounts, oldest first; `return` is profit over what was paid at entry, `held_ms` from entry to exit."""
    out = []
    for account, book in every:
        out += [_trade(account, h) for h in book.closed]
    return sorted(out, key=lambda t: t["closed_ms"])


def _trade(account: Account, h: Holding) -> dict[str, Any]:
    return h.document() | {"account": account.number, "interval": str(account.terms.interval), "market": str(account.terms.market),
                           "return": float(h.pnl / h.paid) if h.paid else None, "held_ms": int(h.closed_ms or 0) - h.opened_ms}


def grouped(rows: Rows, by: Callable[[Mapping[str, Any]], str]) -> list[tuple[str, int, int, float]]:
    """(name, trades, of them won, profit) by what `by` says of a trade, in order of the names."""
    groups: dict[str, list[float]] = {}
    for row in rows:
        groups.setdefault(by(row), []).append(row["pnl"])
    return [(name, len(p), sum(v > 0 for v in p), math.fsum(p)) for name, p in sorted(groups.items())]


def signals(ledger: Ledger, every: Sequence[tuple[Account, Statement]]) -> Rows:
    """Every wish to enter, newest first, with what came of it.

    `came` is won, lost, open, waits, cancelled, expired, refused, paused or late; `pnl` the profit of the trade it became.
    """
    ends = {(r["account"], r["key"]): (r["event"], json.loads(r["content"]).get("words", ""))
            for r in ledger.rows("orders", "event <> 'done' and event <> 'placed'")}
    books = {account.number: book for account, book in every}
    closed = {(n, h.order_key): h for n, book in books.items() for h in book.closed}
    held = {(n, h.order_key) for n, book in books.items() for h in book.holdings.values()}
    out = []
    wished = f"state in ({', '.join('?' * len(WISHES))}) and action like 'enter%'"
    for r in ledger.rows("decisions", wished, WISHES, order="id desc", limit=NEWEST):
        key = (r["account"], f"{r['strategy']}/{r['symbol']}/{r['bar_ms']}")
        trade = closed.get(key)
        came, words = "late" if r["state"] == LATE else r["state"], r["words"] if trade is None else trade.reason
        if r["state"] == "ordered":
            end, why = ends.get(key, ("waits", ""))
            came = ("won" if trade.pnl > 0 else "lost") if trade is not None else "open" if key in held else end
            words = words or why
        out.append({"account": r["account"], "decided_ms": r["decided_ms"], "symbol": r["symbol"], "strategy": r["strategy"],
                    "interval": r["interval"], "action": r["action"], "close": json.loads(r["content"]).get("close"), "came": came,
                    "pnl": None if trade is None else float(trade.pnl), "words": words})
    return out


@dataclass(frozen=True)
class Summary:
    """Closed trades in figures. `won` and its 95 % Wilson interval are shares, NaN without a trade; money in quote currency.
    `factor`: gains over losses, NaN without a loss."""

    trades: int
    won: float
    low: float
    high: float
    pnl: float
    costs: float
    factor: float


def summary(rows: Rows) -> Summary:
    """What a list of closed trades comes to."""
    from analysis.statistics.trade_record import profit_factor, win_rate

    pnl = np.array([r["pnl"] for r in rows], float)
    return Summary(len(rows), *win_rate(pnl), math.fsum(pnl), math.fsum(r["fees"] - r["funding"] for r in rows), profit_factor(pnl))
