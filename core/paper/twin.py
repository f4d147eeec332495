"""The twin: the paper window replayed by the backtest on the candles as they are stored now, each difference with its cause (X10).

The replay takes what people asked from the ledger (orders, pauses, re-arms) and nothing else: no lateness, no crash. What is left between
the two is what paper trading really lost or gained by being live.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from core.backtest.signals import Action
from core.paper.broker import Account
from core.paper.desk import PaperDesk
from core.paper.ledger import Ledger
from core.paper.told import LATE, Decided, Movement
from core.paper.window import window

if TYPE_CHECKING:
    from core.forecasting import Forecasting

NEAR_BARS = 3  # a fill this many bars off is the same fill at another time


@dataclass(frozen=True)
class Difference:
    """One thing that paper and backtest did differently. `cause`: timing, late, code, model, data, consequence or unexplained."""

    cause: str
    symbol: str
    at_ms: int
    words: str

    def document(self) -> dict[str, Any]:
        return {"cause": self.cause, "symbol": self.symbol, "at_ms": self.at_ms, "words": self.words}


@dataclass(frozen=True)
class Twin:
    """`decisions` and `fills` are counts compared; `differences` is empty where both are the same."""

    bars: int
    decisions: int
    fills: int
    paper_equity: Decimal
    twin_equity: float
    differences: tuple[Difference, ...]

    @property
    def words(self) -> str:
        if not self.differences:
            return f"identical: {self.decisions:,} decisions and {self.fills:,} fills over {self.bars:,} bars"
        causes: dict[str, int] = {}
        for d in self.differences:
            causes[d.cause] = causes.get(d.cause, 0) + 1
        return f"{len(self.differences)} differences: " + ", ".join(f"{n} {c}" for c, n in sorted(causes.items(), key=lambda x: -x[1]))

    def document(self) -> dict[str, Any]:
        return {"bars": self.bars, "decisions": self.decisions, "fills": self.fills, "paper_equity": float(self.paper_equity),
                "twin_equity": self.twin_equity, "identical": not self.differences, "words": self.words,
                "differences": [d.document() for d in self.differences]}


def twin(sextant: Forecasting, ledger: Ledger, account: Account, code: str) -> Twin | None:
    """Replay everything recorded so far; None while nothing is."""
    number = (account.number,)
    bars = ledger.rows("equity", "account = ?", number, select="at_ms, equity")
    if not bars:
        return None
    seen = window(sextant, account.terms, account.opened_ms, int(bars[-1]["at_ms"]))
    desk, waiting = PaperDesk(seen.plan), ledger.rows("controls", "account = ?", number)
    decided: dict[tuple[str, str, int], Decided] = {}
    moved: list[tuple[int, Movement]] = []
    for b in range(seen.first, seen.last + 1):
        opened = int(seen.plan.open_time[b])
        now = [c for c in waiting if int(c["at_ms"]) <= opened]
        waiting = [c for c in waiting if int(c["at_ms"]) > opened]  # by their times: a clock that was set back mixes them
        for c in now:
            desk.control(b, c["kind"], c["key"], c["symbol"], json.loads(c["content"]), int(c["at_ms"]))
        desk.bar(b)
        decided |= {(d.strategy, d.symbol, opened): d for d in desk.decided}
        moved += [(opened, m) for m in desk.movements if m.effect != "funding"]
    rows, fills = ledger.rows("decisions", "account = ?", number), ledger.rows("fills", "account = ?", number)
    found = [*_decisions(rows, decided, code), *_fills(fills, moved, account.terms.interval.ms)]
    blamed = [d for d in found if d.cause != "consequence"]
    return Twin(len(bars), len(rows), len(fills), Decimal(bars[-1]["equity"]), float(desk.equity[seen.last]),
                tuple(found if blamed else [Difference("unexplained", d.symbol, d.at_ms, d.words) for d in found]))


def _decisions(rows: Sequence[Mapping[str, Any]], decided: Mapping[tuple[str, str, int], Decided], code: str) -> list[Difference]:
    out, missing = [], dict(decided)
    for row in rows:
        other = missing.pop((row["strategy"], row["symbol"], int(row["bar_ms"])), None)
        at, symbol = int(row["decided_ms"]), row["symbol"]
        if row["state"] == LATE:
            if other is not None and other.state != "hold":
                out.append(Difference("late", symbol, at, f"{row['action']} was skipped: the bar was recorded too late; the backtest: "
                                                          f"{other.state}"))
        elif other is None:
            out.append(Difference("data", symbol, at, "the bar is not among the stored candles any more"))
        elif (row["action"], row["state"]) != (other.action.name.lower(), other.state):
            cause = "code" if row["version"] != code else _why(row, other)
            out.append(Difference(cause, symbol, at, f"paper: {row['action']} ({row['state']}), backtest: {other.action.name.lower()} "
                                                     f"({other.state})"))
    out += [Difference("data", symbol, bar, "the bar is stored now and was not when paper traded") for _, symbol, bar in missing]
    return out


def _why(row: Mapping[str, Any], other: Decided) -> str:
    """Why the same code decided otherwise."""
    if row["action"] == other.action.name.lower():
        return "consequence"  # the same wish met another account
    return "model" if row["strategy"].startswith("model_") else "data" if other.action is not Action.HOLD or row["action"] != "hold" else \
        "unexplained"


def _fills(rows: Sequence[Mapping[str, Any]], moved: Sequence[tuple[int, Movement]], step_ms: int) -> list[Difference]:
    out, left = [], list(moved)
    for row in rows:
        same = next((m for m in left if _is(row, m[1]) and m[1].moment == row["filled_ms"]), None)
        near = same or next((m for m in left if _is(row, m[1]) and abs(m[1].moment - row["filled_ms"]) <= NEAR_BARS * step_ms), None)
        at, name = int(row["filled_ms"]), f"{row['effect']} {row['symbol']}"
        if near is None:
            out.append(Difference("consequence", row["symbol"], at, f"{name} at {row['price']}: the backtest did not"))
            continue
        left.remove(near)
        m = near[1]
        if same is None:
            bars = (m.moment - row["filled_ms"]) / step_ms
            word = "earlier" if bars > 0 else "later"
            out.append(Difference("timing", row["symbol"], at, f"{name}: paper {abs(bars):g} bars {word} than the backtest"))
        elif (Decimal(row["price"]), Decimal(row["quantity"])) != (Decimal(repr(m.price)), Decimal(repr(m.quantity))):
            out.append(Difference("consequence", row["symbol"], at, f"{name}: {row['quantity']} at {row['price']}, the backtest "
                                                                    f"{m.quantity:g} at {m.price:g}"))
    out += [Difference("consequence", m.symbol, m.moment, f"{m.effect} {m.symbol} at {m.price:g}: only the backtest did")
            for _, m in left]
    return out


def _is(row: Mapping[str, Any], m: Movement) -> bool:
    return (row["symbol"], row["strategy"], row["effect"], row["side"]) == (m.symbol, m.strategy, m.effect, m.side)
