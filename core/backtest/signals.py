"""What a strategy wants, bar by bar: the table the engine trades, and how it is read from rows with times."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from data.clock import iso
from data.errors import InputError
from data.frames import Candles
from data.market import Market


class Action(IntEnum):
    """Decided at the close of a bar, done at the next open. EXIT closes whatever is open."""

    HOLD = 0
    ENTER_LONG = 1
    ENTER_SHORT = -1
    EXIT_LONG = 2
    EXIT_SHORT = -2
    EXIT = 3


WORDS = {a.name.lower(): a for a in (*list(Action)[1:], Action.HOLD)}  # hold: a row that only moves a trailing stop
Column = float | np.ndarray | None


@dataclass(frozen=True)
class Signals:
    """One strategy on one symbol.

    Attributes
    ----------
    action : ndarray of int8, shape (n_bars,)
        `Action` decided at the close of each bar of the candles it is traded on.
    stop, target, trail : float, ndarray of shape (n_bars,) or None
        Distances from the fill price, in quote currency or, with `Config.distances = "fraction"`, as a share of it; with "price", stop
        and target are prices. NaN: none at this bar. Stop and target count at the bar of an entry. `trail` counts there too, and at
        every later close that knows it replaces the distance of the open position: the stop follows, and never loosens.
    limit : ndarray or None
        Entry at this price or better instead of at the market; NaN: at the market.
    strength : float, ndarray or None
        The calibrated edge: who goes first when positions are scarce.
    veto : ndarray of bool or None
        True: no entry at this bar (an anomaly alert, a missing view).
    """

    symbol: str
    action: np.ndarray
    stop: Column = None
    target: Column = None
    trail: Column = None
    limit: np.ndarray | None = None
    strength: Column = None
    veto: np.ndarray | None = None
    strategy: str = "signals"

    def __post_init__(self) -> None:
        raw = np.asarray(self.action)
        if raw.ndim != 1 or not np.isin(raw, [a.value for a in Action]).all():
            raise InputError(f"{self.symbol} action: expected one Action a bar ({', '.join(f'{a.value} {a.name}' for a in Action)})")
        object.__setattr__(self, "action", np.ascontiguousarray(raw, np.int8))

    @property
    def entries(self) -> np.ndarray:
        return np.flatnonzero(np.abs(self.action) == 1)

    @classmethod
    def from_side(cls, symbol: str, side: np.ndarray, **more: Column | str) -> Signals:
        """From the side wanted at each close (+1, 0, -1): a change of it is an entry or an exit; NaN keeps what there is."""
        side = np.asarray(side, float)
        wanted = np.where(np.isfinite(side), np.sign(side), 0.0)
        if not np.isfinite(side).all():
            last = np.maximum.accumulate(np.where(np.isfinite(side), np.arange(len(side)), 0))
            wanted = wanted[last]
        before = np.concatenate(([0.0], wanted[:-1]))
        action = np.where(wanted == before, Action.HOLD, np.where(wanted == 0.0, Action.EXIT, wanted))
        return cls(symbol, action.astype(np.int8), **more)  # type: ignore[arg-type]

    @classmethod
    def from_rows(cls, symbol: str, candles: Candles, rows: Iterable[tuple[int, int, str]], **more: Column | str) -> Signals:
        """From (line, time in ms, action word) rows of a file; `time` is the open_time of the bar at whose close it was decided.

        Raises
        ------
        InputError
            Naming the line: an unknown word, times out of order or doubled, off the grid, or outside the candles.
        """
        action = np.zeros(len(candles), np.int8)
        previous = None
        for line, time_ms, word in rows:
            if word.strip().lower() not in WORDS:
                raise InputError(f"line {line}: expected action {', '.join(WORDS)}, got {word[:30]!r}")
            if previous is not None and time_ms == previous:
                raise InputError(f"line {line}: time {iso(time_ms)} appears twice; one action a bar")
            if previous is not None and time_ms < previous:
                raise InputError(f"line {line}: time {iso(time_ms)} is earlier than the line before ({iso(previous)}); sort by time")
            previous = time_ms
            if candles.interval.floor(time_ms) != time_ms:
                raise InputError(f"line {line}: time {iso(time_ms)} is not the open_time of a {candles.interval} bar; interval mismatch? "
                                 f"The bar that holds it opens at {iso(candles.interval.floor(time_ms))}")
            if not len(candles) or not candles.open_time[0] <= time_ms <= candles.open_time[-1]:
                span = f"{iso(int(candles.open_time[0]))} to {iso(int(candles.open_time[-1]))}" if len(candles) else "empty"
                raise InputError(f"line {line}: time {iso(time_ms)} lies outside the candles of {symbol} ({span})")
            row = int(np.searchsorted(candles.open_time, time_ms))
            if candles.open_time[row] != time_ms:
                raise InputError(f"line {line}: {symbol} has no bar at {iso(time_ms)} (a hole in the candles)")
            action[row] = WORDS[word.strip().lower()]
        return cls(symbol, action, **more)  # type: ignore[arg-type]


def check(signals: Signals, candles: Candles, market: Market, *, prices: bool = False) -> None:
    """Refuse a table that cannot be traded, naming field, bar and remedy. `prices`: stop and target are prices."""
    n, symbol = len(candles), signals.symbol

    def at(row: int) -> str:
        return f"bar {row} ({iso(int(candles.open_time[row]))})"

    if len(signals.action) != n:
        raise InputError(f"{symbol} action: {len(signals.action)} rows for {n} candles; the table needs one row a bar")
    if market is Market.SPOT and (signals.action == Action.ENTER_SHORT).any():
        row = int(np.flatnonzero(signals.action == Action.ENTER_SHORT)[0])
        raise InputError(f"{symbol} action: enter_short at {at(row)} on spot, where nothing can be sold short; use market perp")
    for name in ("stop", "target", "trail", "limit", "strength", "veto"):
        value = getattr(signals, name)
        if value is None:
            continue
        array = np.asarray(value)
        if array.shape not in ((), (n,)):
            raise InputError(f"{symbol} {name}: shape {array.shape} for {n} candles; expected one number, or one a bar")
        if name in ("strength", "veto"):
            continue
        array = np.broadcast_to(array, (n,)).astype(float)
        wrong = np.flatnonzero(~np.isnan(array) & ~((array > 0.0) & np.isfinite(array)))
        if len(wrong):
            row = int(wrong[0])
            side = {"stop": "; a distance of zero or below puts the stop on the wrong side of the entry",
                    "target": "; a distance of zero or below puts the target on the wrong side of the entry"}.get(name, "")
            raise InputError(f"{symbol} {name}: {array[row]!r} at {at(row)}; expected above zero, or NaN for none{side}")
        if prices and name in ("stop", "target"):
            wrong = np.flatnonzero(wrong_side(name, array, signals.action, candles.close))
            if len(wrong):
                row = int(wrong[0])
                raise InputError(f"{symbol} {name}: {wrong_words(name, array[row], signals.action[row], candles.close[row])} ({at(row)})")


def wrong_side(name: str, level: np.ndarray, action: np.ndarray, close: np.ndarray) -> np.ndarray:
    """Entries whose stop (or target) as a price does not lie beyond (before) the close at which they are decided. NaN is no level."""
    entering = (action == Action.ENTER_LONG) | (action == Action.ENTER_SHORT)
    direction = -1.0 if name == "stop" else 1.0
    with np.errstate(invalid="ignore"):
        return entering & (direction * action * (level - close) <= 0.0)


def wrong_words(name: str, level: float, action: int, close: float) -> str:
    long = action == Action.ENTER_LONG
    return (f"{level:g} is on the wrong side of a {'long' if long else 'short'} entry decided at {close:g}; expected a price "
            f"{'below' if long == (name == 'stop') else 'above'} it")
