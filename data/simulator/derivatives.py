"""The simulated derivatives market: basis, funding, open interest, positioning and forced orders beside the planted prices.

Every series is a pure function of (seed, symbol number, time) from the exchange's epoch on: asking for a later time never changes
an earlier value. Planted (methods.md 8.1): basis and positioning are Ornstein-Uhlenbeck; funding is OU with a memory of 60
settlements around .0001, capped; open interest follows a script of four quadrants (price up or down, interest growing or closing);
forced orders come on the losing side of big minutes. Not planted: prices do not react to funding, since spot's truths are older.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from data.market import HOUR_MS, MINUTE_MS
from data.simulator.market import EPOCH_MS, UNIT

BASIS_SD = 0.0004
BASIS_HOURS = 48.0  # memory of the basis
FUNDING_MEAN, FUNDING_SD, FUNDING_SETTLEMENTS = 0.0001, 0.00015, 60.0
FUNDING_HOURS = {6: 4, 7: 4, 11: 1}  # DOGE, AVAX every 4 hours, TRX every hour; all others 8 (number of the symbol in its world)
FUNDING_CAP = {8: 0.003, 4: 0.02, 1: 0.01}
INTEREST_RATE = 0.0001
OPEN_INTEREST_HOURS = 6.0  # of perpetual turnover that are held open
SEGMENT_HOURS = 72  # a quadrant lasts three days
OI_PER_MOVE = 0.8  # of |return|: how fast interest grows or closes while a quadrant holds
BIG_MINUTE = 0.35 * UNIT  # a minute that moves more than this liquidates somebody
WORLD = 12  # symbols per planted world
CHUNK_HOURS = 4_096  # series are computed in growing blocks and remembered


def _ou(seed: int, names: tuple[int, ...], n: int, memory: float) -> np.ndarray:
    """A stationary Ornstein-Uhlenbeck path of unit variance; the first k values do not depend on n."""
    from scipy.signal import lfilter

    keep = np.exp(-1.0 / memory)
    shock = np.random.Generator(np.random.PCG64([seed, 6_100, *names])).standard_normal(n)
    shock[1:] *= np.sqrt(1 - keep**2)
    return lfilter([1.0], [1.0, -keep], shock)


@lru_cache(maxsize=512)
def _path(seed: int, names: tuple[int, ...], chunks: int, memory: float) -> np.ndarray:
    path = _ou(seed, names, chunks * CHUNK_HOURS, memory)
    path.flags.writeable = False
    return path


def _at(seed: int, names: tuple[int, ...], steps: np.ndarray, memory: float) -> np.ndarray:
    """The path at whole steps since the epoch."""
    steps = np.maximum(0, np.asarray(steps, np.int64))
    top = int(steps.max()) if steps.size else 0
    return _path(seed, names, top // CHUNK_HOURS + 1, memory)[steps]


def hourly_path(seed: int, names: tuple[int, ...], at_ms: np.ndarray, memory: float) -> np.ndarray:
    """An hourly path joined by straight lines, at any moment."""
    since = (np.asarray(at_ms, np.int64) - EPOCH_MS) / HOUR_MS
    left = np.floor(since).astype(np.int64)
    part = since - left
    return _at(seed, names, left, memory) * (1 - part) + _at(seed, names, left + 1, memory) * part


def hourly_basis(seed: int, number: int, at_ms: np.ndarray) -> np.ndarray:
    """Perpetual over spot minus one; constant within an hour."""
    return BASIS_SD * _at(seed, (number, 1), (np.asarray(at_ms, np.int64) - EPOCH_MS) // HOUR_MS, BASIS_HOURS)


def premium_candles(seed: int, number: int, open_ms: np.ndarray, length_ms: int) -> np.ndarray:
    """Open, high, low, close of the premium index, shape (4, n), for bars of any length from one minute to a day.

    The value at a minute is the hourly basis joined by lines plus a wobble; a bar's extremes are those of its own ends and of
    sixteen moments inside: exact enough for a premium, and the same whoever asks.
    """
    inside = np.linspace(0.0, 1.0, 17)
    at = (np.asarray(open_ms, np.int64)[:, None] + np.rint(inside * (length_ms - 1)).astype(np.int64)[None, :])
    minute = at // MINUTE_MS * MINUTE_MS
    value = BASIS_SD * hourly_path(seed, (number, 1), minute, BASIS_HOURS) + 0.05 * BASIS_SD * np.sin(minute / 417_000.0 + number)
    return np.stack([value[:, 0], value.max(axis=1), value.min(axis=1), value[:, -1]])


# -- funding ----------------------------------------------------------------------------------------------------------


def funding_hours(number: int) -> int:
    """Hours between two settlements: 8, 4 or 1."""
    return FUNDING_HOURS.get(number % WORLD, 8)


def funding_times(number: int, start_ms: int, end_ms: int) -> np.ndarray:
    """Settlement times with start <= time <= end, on the UTC grid."""
    step = funding_hours(number) * HOUR_MS
    first = max(-(-start_ms // step), -(-EPOCH_MS // step)) * step
    return np.arange(first, end_ms + 1, step, dtype=np.int64)


def funding_rates(seed: int, number: int, at_ms: np.ndarray) -> np.ndarray:
    """The rate of the settlement at or after each moment: what is predicted while a period runs, what is settled at its end."""
    hours = funding_hours(number)
    step = hours * HOUR_MS
    settlement = -(-np.asarray(at_ms, np.int64) // step) - EPOCH_MS // step
    rate = FUNDING_MEAN + FUNDING_SD * _at(seed, (number, 2), settlement, FUNDING_SETTLEMENTS)
    cap = FUNDING_CAP[hours]
    return np.round(np.clip(rate * hours / 8, -cap, cap), 8)


# -- open interest and positioning ------------------------------------------------------------------------------------


def quadrant(seed: int, number: int, at_ms: np.ndarray) -> np.ndarray:
    """The script: +1 while interest grows with every move, -1 while positions are closed; the sign of the move makes it four."""
    segment = (np.asarray(at_ms, np.int64) - EPOCH_MS) // (SEGMENT_HOURS * HOUR_MS)
    top = int(segment.max()) + 1 if segment.size else 1
    draw = np.random.Generator(np.random.PCG64([seed, 6_200, number])).random(-(-top // 64) * 64)
    first = np.where(draw < 0.5, 1, -1)
    # Growth and closing take turns in pairs, so that interest neither vanishes nor explodes.
    pair = np.asarray(segment) // 2
    return np.where(np.asarray(segment) % 2 == 0, first[pair], -first[pair])


def open_interest(seed: int, number: int, hour_open: np.ndarray, hour_close: np.ndarray, base: float) -> np.ndarray:
    """Contracts (base units) at the end of each hour given the perpetual's hourly closes from the epoch on.

    Parameters
    ----------
    hour_open : ndarray of int64
        open_time of every hour since the epoch, oldest first.
    hour_close : ndarray of float64
    base : float
        Level to which interest is pulled back (half-life 10 days).
    """
    from scipy.signal import lfilter

    move = np.abs(np.diff(np.log(hour_close), prepend=np.log(hour_close[0])))
    push = OI_PER_MOVE * move * quadrant(seed, number, hour_open)
    push += 0.001 * np.random.Generator(np.random.PCG64([seed, 6_300, number])).standard_normal(len(push))
    return base * np.exp(lfilter([1.0], [1.0, -(0.5 ** (1 / 240))], push))


RATIOS = {"global": (3, 0.18, 0.10), "top_account": (4, 0.12, 0.15), "top_position": (5, 0.08, 0.05)}  # path, sd and mean of ln(long/short)


def long_share(seed: int, number: int, which: str, at_ms: np.ndarray) -> np.ndarray:
    """Share of accounts (or positions) that are long, at moments of the five-minute grid."""
    path, sd, mean = RATIOS[which]
    log_ratio = mean + sd * hourly_path(seed, (number, path), at_ms, 36.0)
    return 1.0 / (1.0 + np.exp(-log_ratio))


# -- forced orders ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ForcedOrder:
    """A liquidation as the exchange reports it. `side` is the order's: SELL means that a long was liquidated."""

    time_ms: int
    side: str
    price: float
    average_price: float
    quantity: float
    last_quantity: float


MOST_FORCED = 30  # a minute
_DRAWS = 1 + 5 * MOST_FORCED  # how many; and of each: second, millisecond, side, size, share of it in the last fill


def _draws(seed: int, number: int, minute: np.ndarray) -> np.ndarray:
    """Uniform numbers in [0, 1), shape (minutes, 151), by the counter itself (SplitMix64): any minute alone or a month at once."""
    start = np.random.SeedSequence([seed, 6_400, number]).generate_state(1, np.uint64)
    counter = minute.astype(np.uint64)[:, None] * np.uint64(_DRAWS) + np.arange(_DRAWS, dtype=np.uint64)
    z: np.ndarray = start + counter * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)) * 2.0**-53


def _poisson(uniform: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Poisson counts by their inverse distribution, at most `MOST_FORCED`."""
    chance = np.exp(-mean)
    below = chance.copy()
    count = np.zeros(len(mean), np.int64)
    for n in range(1, MOST_FORCED + 1):
        count += uniform >= below
        chance = chance * mean / n
        below = below + chance
    return count


def forced_in(seed: int, number: int, open_ms: np.ndarray, opened: np.ndarray, close: np.ndarray, volume: np.ndarray, tick: float,
              step: float) -> dict[str, np.ndarray]:
    """The forced orders of any minutes, at most one per second, on the losing side; more and larger ones the bigger the move.

    A calm minute has one in eight times. Their notional stands for about 2 % of the minute's volume in a big move: an order of
    magnitude, not an estimate. Columns in order of time: time_ms, side (-1: a long was liquidated), price, average_price, quantity,
    last_quantity.
    """
    open_ms = np.asarray(open_ms, np.int64)
    move = np.log(np.asarray(close, float) / opened)
    excess = np.abs(move) / BIG_MINUTE
    draw = _draws(seed, number, open_ms // MINUTE_MS)
    n = np.where(excess > 1, _poisson(draw[:, 0], 2.0 * excess), draw[:, 0] < 0.125)
    row = np.repeat(np.arange(len(n)), n)
    slot = np.arange(len(row)) - np.repeat(np.cumsum(n) - n, n)
    second_u, ms_u, side_u, size_u, last_u = (draw[row, 1 + 5 * slot + i] for i in range(5))
    n, move, excess, opened = n[row], move[row], excess[row], np.asarray(opened, float)[row]
    first, after = slot * 60 // n, (slot + 1) * 60 // n  # each order has its own share of the minute, so no second has two
    second = first + np.floor(second_u * (after - first)).astype(np.int64)
    down = np.where(excess > 1, move < 0, side_u < 0.5)
    at = opened * np.exp(move * (second + 0.5) / 60)
    # A forced order is priced through the book, so its limit is worse than what it gets.
    limit = at * np.where(down, 0.995, 1.005)
    quantity = np.maximum(step, np.asarray(volume, float)[row] * 0.02 / n * -np.log1p(-size_u))
    decimals, units = max(0, round(-np.log10(tick))), max(0, round(-np.log10(step)))
    whole = np.round(np.ceil(quantity / step) * step, units)
    last = np.round(np.maximum(step, np.floor(whole * last_u / step) * step), units)
    return {"time_ms": open_ms[row] + second * 1000 + np.floor(ms_u * 900).astype(np.int64), "side": np.where(down, -1.0, 1.0),
            "price": np.round(limit, decimals), "average_price": np.round(at, decimals + 2), "quantity": whole, "last_quantity": last}


def forced_orders(seed: int, number: int, open_ms: int, opened: float, close: float, volume: float, tick: float,
                  step: float) -> list[ForcedOrder]:
    """The forced orders of one minute, as a stream reports them."""
    found = forced_in(seed, number, np.array([open_ms]), np.array([opened]), np.array([close]), np.array([volume]), tick, step)
    return [ForcedOrder(t, "SELL" if side < 0 else "BUY", *rest)
            for t, side, *rest in zip(*(column.tolist() for column in found.values()), strict=True)]
