"""The terms of a paper account that holds a portfolio: traded by plans alone, sized by the plan, with limits wide enough for it."""

from __future__ import annotations

from core.paper.window import Terms
from core.portfolio import Asked
from core.portfolio_plan import RULE
from data.market import Interval

CAPITAL = 10_000.0
KILL_SWITCH = 0.5  # a fully invested portfolio falls by a third in a crash; closing everything there is not what it is held for
SHORTEST = Interval.H1


def terms_for(asked: Asked, held: tuple[Interval, ...], *, capital: float = CAPITAL) -> Terms:
    """An account of these symbols on the hour, or on the nearest bars that are stored for it."""
    usable = [i for i in held if i.ms >= SHORTEST.ms] or list(held) or [SHORTEST]
    return Terms(asked.symbols, RULE, {}, {
        "interval": str(min(usable, key=lambda i: i.ms)), "market": str(asked.market), "capital": capital, "sizing": "fraction",
                                           "size": 1.0,
        "leverage": 1.0, "position_cap": 1.0, "max_positions": len(asked.symbols), "kill_switch": KILL_SWITCH})
