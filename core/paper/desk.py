"""The desk of a paper account: resumed from its state before each bar, taking a person's orders."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from core.backtest.desk import Pending
from core.backtest.result import Reason
from core.paper.told import ToldDesk, known
from core.paper.window import MANUAL
from core.trading import fills
from core.trading.account import Position


class PaperDesk(ToldDesk):
    """One account, bar by bar. What people ask is done by `control` before a bar; `state` and `restore` carry it from bar to bar."""

    # -- a person's orders ----------------------------------------------------------------------------------------

    def control(self, b: int, kind: str, key: str, symbol: str, asked: Mapping[str, Any], at_ms: int) -> str:
        """What a person told the account, before bar `b` begins; returns what it came to, in words."""
        if kind == "pause":
            self.paused = True
        elif kind == "resume":
            self.paused = False
        elif kind == "kill":
            self._kill_now(at_ms)
        elif kind == "rearm":
            self.killed, self.peak = False, self.previous
        else:
            return self._order(b, kind, key, symbol, asked, at_ms)
        return "done"

    def _kill_now(self, at_ms: int) -> None:
        self.killed, self.killed_until = True, at_ms + round(self.limits.rearm_days * 86_400_000)
        for s in sorted(self.pending):
            del self.pending[s]
            self._ended(s, "cancelled", at_ms)
        for position in self.account.positions.values():
            position.leaving = int(Reason.KILL_SWITCH)

    def _order(self, b: int, kind: str, key: str, symbol: str, asked: Mapping[str, Any], at_ms: int) -> str:
        if symbol not in self.plan.symbols:
            return f"{symbol} is not traded by this account"
        s = self.plan.symbols.index(symbol)
        position = self.account.positions.get(symbol)
        if kind == "place":
            return self._place_asked(b, s, f"{MANUAL}/{symbol}/{key}", asked, at_ms)
        if kind == "cancel":
            if s not in self.pending:
                return f"no order of {symbol} waits"
            del self.pending[s]
            self._ended(s, "cancelled", at_ms)
            return "cancelled"
        if position is None:
            return f"no position in {symbol} is open"
        if kind == "close":
            if position.leaving < 0:  # an exit by the kill switch stays one: it is not held up by how much is traded
                position.leaving = int(Reason.SIGNAL)
            self.closing.add(symbol)
            return "leaves at the next open"
        if kind == "reduce":
            self.reducing[symbol] = fills.floor_quantity(float(asked["quantity"]), self.plan.contracts[s].steps_per_unit)
            return f"{self.reducing[symbol]:g} leave at the next open" if self.reducing[symbol] > 0 else self._nothing_to_give(symbol)
        self._levels(position, asked, self.plan.contracts[s].ticks_per_unit)
        return "changed"

    def _nothing_to_give(self, symbol: str) -> str:
        del self.reducing[symbol]
        return "less than one step: nothing is done"

    def _place_asked(self, b: int, s: int, key: str, asked: Mapping[str, Any], at_ms: int) -> str:
        symbol, side, before = self.plan.symbols[s], int(asked["side"]), b - 1
        position = self.account.positions.get(symbol)
        adds = position is not None and position.strategy == MANUAL and position.side == side  # one's own position may grow
        if s in self.pending or (position is not None and not adds):
            return f"held by {position.strategy if position is not None else self.pending[s].table.strategy}"
        close = self.marks[symbol] or float(self.plan.close[s, before])
        self.marks[symbol] = close
        away = {n: np.array([abs(close - float(asked[n])) if asked.get(n) is not None else math.nan]) for n in ("stop", "target")}
        wrong = next((n for n, sign in (("stop", -1), ("target", 1)) if asked.get(n) is not None
                      and sign * side * (float(asked[n]) - close) <= 0.0), None)
        if wrong:
            return f"the {wrong} {asked[wrong]} is on the wrong side of {close:g}"
        none = np.array([math.nan])
        self.columns[s, MANUAL] = {"trail": none, "strength": none, "veto": np.array([0.0]), **away,
                                   "limit": np.array([math.nan if asked.get("limit") is None else float(asked["limit"])])}
        table = next(t for t in self.plan.tables[s] if t.strategy == MANUAL)
        told = len(self.refused)
        self.keys[s], self.asked[key] = key, asked
        self._propose(before, s, table, side, fills.round_equity(self.previous), at_ms)
        self.columns[s, MANUAL] = dict.fromkeys(self.columns[s, MANUAL], none)
        if s not in self.pending:
            self.keys.pop(s, None)
            self.asked.pop(key, None)
            return self.refused[-1].words if len(self.refused) > told else "refused"
        order = self.pending[s]
        if asked.get("quantity") is not None:
            order.total = fills.floor_quantity(float(asked["quantity"]), self.plan.contracts[s].steps_per_unit)
        self._place(before, s, order, at_ms)
        return "placed"

    # -- the state between bars -----------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything the next bar depends on, as plain JSON; bars are named by their open times."""
        opens = self.plan.open_time
        positions = {n: {f.name: known(getattr(p, f.name)) for f in dataclasses.fields(p)}
                     | {"entry_bar": int(opens[p.entry_bar]), "inside_bar": int(opens[p.inside_bar]) if p.inside_bar >= 0 else -1,
                        "next_stamp": self._charged_until(p)} for n, p in sorted(self.account.positions.items())}
        pending = {self.plan.symbols[s]: {f.name: known(getattr(o, f.name)) for f in dataclasses.fields(o) if f.name != "table"}
                   | {"strategy": o.table.strategy, "tried_bar": int(opens[o.tried_bar]) if o.tried_bar >= 0 else -1}
                   for s, o in sorted(self.pending.items())}
        return {"cash": self.account.cash, "positions": positions, "pending": pending, "peak": self.peak, "day_start": self.day_start,
                "previous": self.previous, "day": self.day, "killed": self.killed, "killed_until": self.killed_until,
                "paused_until": self.paused_until, "losses": self.losses, "paused": self.paused, "not_before": self.not_before,
                "stopped": {n: int(opens[b]) for n, b in sorted(self.stopped.items())},
                "marks": {n: m for n, m in self.marks.items() if m},
                "keys": {self.plan.symbols[s]: k for s, k in sorted(self.keys.items())},
                "held_keys": dict(sorted(self.held_keys.items())), "asked": {k: dict(v) for k, v in sorted(self.asked.items())},
                "closing": sorted(self.closing & set(self.account.positions)), "reducing": dict(sorted(self.reducing.items()))}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was written, on a plan that may have more bars."""
        opens, symbols = self.plan.open_time, self.plan.symbols

        def bar(at_ms: int) -> int:
            return -1 if at_ms < 0 else int(np.searchsorted(opens, at_ms))

        self.account.cash = float(state["cash"])
        values: dict[str, Any]
        for name, row in state["positions"].items():
            values = {k: math.nan if v is None else v for k, v in row.items()}
            values |= {"entry_bar": bar(row["entry_bar"]), "inside_bar": bar(row["inside_bar"]),
                       "next_stamp": self._stamp_after(symbols.index(name), row["next_stamp"])}
            self.account.positions[name] = Position(**values)
        for name, row in state["pending"].items():
            s = symbols.index(name)
            table = next(t for t in self.plan.tables[s] if t.strategy == row["strategy"])
            values = {k: (math.inf if k == "notional_cap" else math.nan) if v is None else v for k, v in row.items() if k != "strategy"}
            self.pending[s] = Pending(table, **(values | {"tried_bar": bar(row["tried_bar"])}))
        for name in ("peak", "day_start", "previous", "day", "killed", "killed_until", "paused_until", "losses", "paused", "not_before"):
            setattr(self, name, state[name])
        self.stopped = {n: bar(t) for n, t in state["stopped"].items()}
        self.marks |= state["marks"]
        self.keys = {symbols.index(n): k for n, k in state["keys"].items()}
        self.held_keys, self.asked = dict(state["held_keys"]), dict(state["asked"])
        self.closing.update(state["closing"])
        self.reducing.update(state["reducing"])

    def _charged_until(self, position: Position) -> int:
        """The newest funding stamp already charged, or the opening: one before it that is learned of later is not this position's."""
        s = self.plan.symbols.index(position.symbol)
        k = position.next_stamp - 1
        return max(int(self.plan.stamp_time[k]), position.opened_at) if k >= int(self.plan.stamp_from[s, 0]) else position.opened_at

    def _stamp_after(self, s: int, at_ms: int) -> int:
        begin, end = int(self.plan.stamp_from[s, 0]), int(self.plan.stamp_from[s, -1])
        return begin + int(np.searchsorted(self.plan.stamp_time[begin:end], at_ms, side="right"))
