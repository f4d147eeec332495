"""Where leveraged positions would be closed by force: observed forced orders, and an ESTIMATE of where the next ones wait.

The estimate is a model, not a measurement: nobody publishes positions with their leverage. Each hour in which open interest grew is
taken as new positions at that hour's typical price, longs and shorts alike, split over an assumed mix of leverages; each part would
be liquidated at its own price and is gone once the market trades there. How good that is stands beside it: `hit_rate`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from analysis.methods.crossings import first_crossings
from analysis.remembered import OfObject, Remembered, seals_of
from analysis.scaling import tp
from data.frames import LARGEST_NUMBER, Candles
from data.kernel import kernel
from data.market import DAY_MS, HOUR_MS
from data.observations import Observations

LABEL = "ESTIMATE"
NEVER_MS = np.iinfo(np.int64).max
PLAIN_STEPS = 400_000  # a loop longer than this is compiled before it runs: the plain one would take longer
STRETCH_HALF_LIVES, MOST_POWERS = 64, 400.0
HEAVIEST = 5
HORIZON_HOURS = 24
ORIGINS_NEEDED = 10
DRAWS = 1_000
SIDES = (1.0, -1.0)  # long, short
_levels: OfObject[tuple[Observations, Levels]] = OfObject()
_origins: Remembered[tuple[float, float] | None] = Remembered(8_192)  # back-checked midnights of fifty symbols and more


@dataclass(frozen=True)
class LiquidationAssumptions:
    """What the estimate takes for granted; each can be moved by who reads the map.

    `leverage` and `share` belong together (shares sum to 1). `half_life_days`: positions are closed by their owners meanwhile.
    `memory_days`: older ones count no more, so that the map depends on nothing before. `maintenance`: margin rate at which a
    position is closed. `bin_bps`: width of a price bin in hundredths of a percent.
    """

    leverage: tuple[float, ...] = (10.0, 25.0, 50.0, 100.0)
    share: tuple[float, ...] = (0.30, 0.30, 0.25, 0.15)
    half_life_days: float = 3.0
    memory_days: int = 21
    maintenance: float = 0.005
    bin_bps: float = 10.0

    def in_words(self) -> str:
        mix = ", ".join(f"{s:.0%} at {x:g}x" for x, s in zip(self.leverage, self.share, strict=True))
        return (f"{LABEL}: growth of open interest opens longs and shorts alike at the hour's typical price, {mix}, maintenance rate "
                f"{self.maintenance:.1%}, half of them closed after {self.half_life_days:g} days, none older than {self.memory_days} days")


DEFAULT = LiquidationAssumptions()


def liquidation_price(side: float, quantity: float, entry: float, margin: float, *, maintenance: float = 0.005,
                      maintenance_amount: float = 0.0) -> float:
    """Price at which an isolated position is closed by force: `(WB + cum - side Q EP) / (Q (MMR - side))`, quote currency.

    `side` +1 long, -1 short; `quantity` > 0 in base units; `margin` the isolated wallet balance; `maintenance_amount` the exchange's
    deduction of the bracket. There `margin + side Q (LP - EP) = MMR Q LP - cum`. NaN without a quantity; a price of 0 or less (a
    long with more margin than its value) means that it cannot be liquidated: NaN.
    """
    if quantity <= 0:
        return math.nan
    price = (margin + maintenance_amount - side * quantity * entry) / (quantity * (maintenance - side))
    return price if price > 0 else math.nan


def liquidation_distance(mark: float, price: float, sigma_day: float) -> float:
    """How many daily standard deviations lie between mark and liquidation price; infinite where there is none."""
    if not math.isfinite(price):
        return math.inf
    return abs(mark - price) / (mark * sigma_day)


@dataclass(frozen=True)
class Levels:
    """Estimated liquidation levels of every hour and leg (long and short times each leverage).

    Attributes
    ----------
    born_ms, known_ms : ndarray of int64, shape (hours,)
        Close of the hour, and when its open interest was published (NEVER_MS where it was not, or interest did not grow).
    mass : ndarray, shape (hours,)
        Value of the positions opened in the hour on each side, quote currency.
    price, crossed_ms : ndarray, shape (hours, legs)
        Where a leg would be liquidated, and the close of the first later hour that traded there (NEVER_MS: not within memory).
    share : ndarray, shape (legs,)
    """

    born_ms: np.ndarray
    known_ms: np.ndarray
    mass: np.ndarray
    price: np.ndarray
    crossed_ms: np.ndarray
    share: np.ndarray
    assumptions: LiquidationAssumptions

    def alive(self, at_ms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(prices, masses) still standing at moments, each of shape (moments, window x legs); a moment knows closes up to it."""
        window = self.assumptions.memory_days * 24
        at = np.asarray(at_ms, np.int64)
        last = np.searchsorted(self.born_ms, at, side="right") - 1
        rows = last[:, None] + np.arange(1 - window, 1)
        valid = rows >= 0
        rows = np.maximum(rows, 0)
        age = at[:, None] - self.born_ms[rows]
        there = valid & (self.known_ms[rows] <= at[:, None]) & (age < self.assumptions.memory_days * DAY_MS)
        weight = np.where(there, self.mass[rows] * 0.5 ** (np.maximum(age, 0) / (self.assumptions.half_life_days * DAY_MS)), 0.0)
        standing = self.crossed_ms[rows] > at[:, None, None]
        mass = np.where(standing, weight[:, :, None] * self.share, 0.0)
        return self.price[rows].reshape(len(at), -1), mass.reshape(len(at), -1)


def interest_by_hour(hours: Candles, interest: Observations) -> tuple[np.ndarray, np.ndarray]:
    """(contracts, known at) at each hour's close: the newest row that describes a moment up to it, at most an hour older."""
    n = len(hours)
    order = np.argsort(interest.event_time, kind="stable")
    event = interest.event_time[order]
    end = hours.close_time + 1
    row = np.searchsorted(event, end, side="right") - 1
    held = np.maximum(row, 0)
    if len(event) == 0:
        return np.full(n, np.nan), np.full(n, NEVER_MS)
    contracts = interest["contracts"][order][held]
    fits = (row >= 0) & (end - event[held] < HOUR_MS) & (contracts > 0) & (contracts < LARGEST_NUMBER)
    return np.where(fits, contracts, np.nan), np.where(fits, interest.available_time[order][held], NEVER_MS)


def estimate_levels(hours: Candles, interest: Observations, assumptions: LiquidationAssumptions = DEFAULT) -> Levels:
    """The levels of every hour of `hours` (1h candles) given open interest in contracts. Causal: each hour's are known when its
    open interest is published, and are removed at the close of an hour that traded through them. Estimated once for the same objects."""
    found = _levels.get(hours)
    if found is None or found[0] is not interest or found[1].assumptions != assumptions:
        _levels.put(hours, found := (interest, _estimated(hours, interest, assumptions)))
    return found[1]


def _estimated(hours: Candles, interest: Observations, assumptions: LiquidationAssumptions) -> Levels:
    held, known = interest_by_hour(hours, interest)
    grown = np.zeros(len(hours))
    if len(hours) > 1:
        neighbours = np.diff(hours.open_time) == HOUR_MS
        grown[1:] = np.where(neighbours, np.maximum(0.0, np.nan_to_num(np.diff(held), nan=0.0)), 0.0)
    typical = (hours.high + hours.low + hours.close) / 3.0
    inverse = np.array([1.0 / x for x in assumptions.leverage])
    factor = np.concatenate([1.0 - side * inverse + side * assumptions.maintenance for side in SIDES])
    price = typical[:, None] * factor
    crossed = _crossings(hours, price, len(inverse), assumptions.memory_days * 24)
    return Levels(hours.close_time, np.where(grown > 0, known, NEVER_MS), grown * typical, price, crossed,
                  np.tile(np.array(assumptions.share), 2), assumptions)


def _crossings(hours: Candles, price: np.ndarray, longs: int, window: int) -> np.ndarray:
    """For each hour and leg the close of the first of the next `window` hours that trades at or through its price."""
    if price.size * window > PLAIN_STEPS:
        first_crossings.compile()
    return first_crossings(hours.low, hours.high, hours.close_time, price, longs, window, NEVER_MS)


def masses(levels: Levels, at_ms: np.ndarray, price: np.ndarray, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Estimated mass (above within reach, below within reach, everywhere) at each moment, quote currency; shape (moments,).

    `reach` is a price distance, such as two daily ATR. NaN where price or reach is unknown.
    """
    at, price, reach = np.asarray(at_ms, np.int64), np.asarray(price, float), np.asarray(reach, float)
    if not len(levels.born_ms) or not len(at):
        return (np.full(len(at), np.nan),) * 3
    assumed = levels.assumptions
    half_life, memory = assumed.half_life_days * DAY_MS, assumed.memory_days * DAY_MS
    last = np.searchsorted(levels.born_ms, at, side="right") - 1
    if len(at) * len(levels.share) * assumed.memory_days * 24 > PLAIN_STEPS:
        _sum_masses.compile()
    summed = np.full((3, len(at)), np.nan)
    # A mass fades from its birth on: it is grown by its birth and shrunk by the moment, both counted from the moment's own stretch of time,
    # so that one power a level and one a moment do, and a moment's value does not depend on which others are asked for.
    stretch = at // int(STRETCH_HALF_LIVES * half_life)
    for number in np.unique(stretch):
        chosen = stretch == number
        begin = number * int(STRETCH_HALF_LIVES * half_life) - memory
        grown = levels.mass * 2.0 ** np.clip((levels.born_ms - begin) / half_life, -MOST_POWERS, MOST_POWERS)
        found = _sum_masses(levels.born_ms, levels.known_ms, grown, levels.price, levels.crossed_ms, levels.share, at[chosen], last[chosen],
                            price[chosen], reach[chosen], memory, assumed.memory_days * 24)
        summed[:, chosen] = found * 0.5 ** ((at[chosen] - begin) / half_life)
    up, down, total = summed
    return up, down, total


@kernel
def _sum_masses(born, known, grown, level, crossed, share, at, last, price, reach, memory, window):
    out = np.full((3, len(at)), np.nan)
    for m in range(len(at)):
        if not (price[m] == price[m] and reach[m] == reach[m]):
            continue
        up = down = total = 0.0
        for r in range(max(0, last[m] - window + 1), last[m] + 1):
            if known[r] > at[m] or at[m] - born[r] >= memory or grown[r] == 0.0:
                continue
            for leg in range(len(share)):
                if crossed[r, leg] <= at[m]:
                    continue
                value = grown[r] * share[leg]
                total += value
                away = level[r, leg] - price[m]
                if abs(away) <= reach[m]:
                    if away > 0.0:
                        up += value
                    elif away < 0.0:
                        down += value
        out[0, m], out[1, m], out[2, m] = up, down, total
    return out


@_sum_masses.warm_with
def _example_masses():
    hours, moments = np.arange(4, dtype=np.int64), np.arange(2, dtype=np.int64)
    grid, ahead = np.ones((4, 2)), np.full((4, 2), 9, np.int64)
    return hours, hours, np.ones(4), grid, ahead, np.ones(2), moments, moments, np.ones(2), np.ones(2), 10, 4


@dataclass(frozen=True)
class LiquidationMap:
    """The estimate at one moment, binned: `price` the middle of each bin, `mass` in quote currency, both ascending in price."""

    at_ms: int
    price: np.ndarray
    mass: np.ndarray
    label: str
    assumptions: LiquidationAssumptions


def level_map(levels: Levels, at_ms: int, price: float) -> LiquidationMap:
    """Estimated mass by price at a moment, in bins of `bin_bps` counted from the price in logarithms."""
    at, mass = levels.alive(np.array([at_ms]))
    chosen = mass[0] > 0
    width = levels.assumptions.bin_bps / 1e4
    number = np.floor(np.log(at[0][chosen] / price) / width).astype(np.int64)
    bins, which = np.unique(number, return_inverse=True)
    weight = np.bincount(which, weights=mass[0][chosen], minlength=len(bins))
    return LiquidationMap(at_ms, price * np.exp((bins + 0.5) * width), weight, LABEL, levels.assumptions)


@dataclass(frozen=True)
class ObservedMap:
    """Forced orders by price and hour: `mass[i, j]` closed at price bin i in hour j, quote currency; longs negative, shorts positive."""

    price: np.ndarray
    hour_ms: np.ndarray
    longs: np.ndarray
    shorts: np.ndarray


def observed_map(orders: Observations, reference: float, *, bin_bps: float = DEFAULT.bin_bps) -> ObservedMap:
    """Recorded forced orders binned by price x hour. A lower bound: the stream tells at most one order per symbol and second."""
    value = orders["filled_quantity"] * orders["average_price"]
    ok = np.isfinite(value) & (orders["average_price"] > 0)
    width = bin_bps / 1e4
    number = np.floor(np.log(orders["average_price"][ok] / reference) / width).astype(np.int64)
    bins, row = np.unique(number, return_inverse=True)
    hours, column = np.unique(orders.event_time[ok] // HOUR_MS * HOUR_MS, return_inverse=True)
    longs, shorts = np.zeros((len(bins), len(hours))), np.zeros((len(bins), len(hours)))
    sold = orders["side"][ok] < 0
    np.add.at(longs, (row[sold], column[sold]), value[ok][sold])
    np.add.at(shorts, (row[~sold], column[~sold]), value[ok][~sold])
    return ObservedMap(reference * np.exp((bins + 0.5) * width), hours, longs, shorts)


def forced_sums(orders: Observations, close_time: np.ndarray, *, hours: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(liquidated shorts, liquidated longs, whether any row was known within a day before) at each close, by what was known then.

    Sums of value in quote currency over the `hours` before; a buy closes a short.
    """
    value = orders["filled_quantity"] * orders["average_price"]
    known = np.isfinite(value)
    at = np.asarray(close_time, np.int64)
    last = np.searchsorted(orders.available_time, at, side="right")
    first = np.searchsorted(orders.available_time, at - int(hours * HOUR_MS), side="right")
    alive = last > np.searchsorted(orders.available_time, at - DAY_MS, side="right")
    sums = []
    for side in (1.0, -1.0):
        chosen = known & (orders["side"] == side)
        total = np.concatenate(([0.0], np.cumsum(np.where(chosen, value, 0.0))))
        count = np.concatenate(([0], np.cumsum(chosen)))
        sums.append(np.where(count[last] > count[first], total[last] - total[first], 0.0))
    return sums[0], sums[1], alive


def balance(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """`(above - below) / (above + below)` in [-1, 1], 0 where both are 0, NaN where one is unknown."""
    total = above + below
    return np.where(total > 0, (above - below) / np.where(total > 0, total, 1.0), np.where(np.isfinite(total), 0.0, np.nan))


def burst_tail(orders: Observations, close_time: np.ndarray, *, window: int, minimum: int) -> np.ndarray:
    """Tail probability (TP) of the value liquidated in the last full hour among the `window` hours before it, at each close.

    Hours of a recorder that was silent for a day before count as unknown, quiet hours of a living one as 0. NaN where unknown.
    """
    if not len(orders):
        return np.full(len(close_time), np.nan)
    at = np.asarray(close_time, np.int64) + 1
    ends = np.arange(-(-int(orders.available_time[0]) // HOUR_MS) + 1, int(at[-1]) // HOUR_MS + 1, dtype=np.int64) * HOUR_MS
    row = np.searchsorted(ends, at, side="right") - 1
    if not len(ends):
        return np.full(len(at), np.nan)
    shorts, longs, alive = forced_sums(orders, ends - 1)
    p = tp(np.where(alive, shorts + longs, np.nan), window=window, minimum=minimum, last=len(ends) - max(0, int(row[0])))
    return np.where(row >= 0, p[np.maximum(row, 0)], np.nan)


@dataclass(frozen=True)
class HitRate:
    """How often the price reached the heaviest bins, against bins at the same distances on a random side.

    `edge` is `hit` minus `chance`, `low`..`high` its 95 % interval (bootstrap over origins). Origins with fewer than five bins are not
    counted. NaN where fewer than ten origins are complete; `note` then says so.
    """

    origins: int
    hit: float
    hit_low: float
    hit_high: float
    chance: float
    edge: float
    low: float
    high: float
    note: str = ""


def hit_rate(levels: Levels, hours: Candles, at_ms: int, *, seed: int = 1) -> HitRate:
    """Back-check of the estimate on the past: at each 00:00 UTC whose next 24 hours are over by `at_ms`, were the five heaviest bins
    touched, and would bins equally far away on a side drawn by lot have been?

    The lot is taken at its expectation (the mean of both sides), so no number depends on a draw but the interval's bootstrap.
    """
    memory = levels.assumptions.memory_days * DAY_MS
    begun = int(levels.born_ms[np.argmax(levels.known_ms != NEVER_MS)]) if np.any(levels.known_ms != NEVER_MS) else NEVER_MS
    midnight = (hours.close_time + 1) % DAY_MS == 0
    complete = []
    for row in np.flatnonzero(midnight).tolist():
        after = hours.close_time[row + 1 : row + 1 + HORIZON_HOURS]
        whole = len(after) == HORIZON_HOURS and after[-1] < at_ms and after[-1] - hours.close_time[row] == HORIZON_HOURS * HOUR_MS
        if whole and hours.close_time[row] - memory >= begun:
            complete.append(row)
    stretches = [slice(max(0, row + 1 - levels.assumptions.memory_days * 24), row + 1 + HORIZON_HOURS) for row in complete]
    seals = seals_of([levels.born_ms, levels.known_ms, levels.mass, hours.high, hours.low, hours.close], stretches, levels.assumptions)
    found = [_origins.get(seal, partial(_outcome, levels, hours, row)) for seal, row in zip(seals, complete, strict=True)]
    hits, chances = ([each[i] for each in found if each is not None] for i in (0, 1))
    n, nan = len(hits), math.nan
    if n < ORIGINS_NEEDED:
        return HitRate(n, nan, nan, nan, nan, nan, nan, nan, f"{n} complete days after {levels.assumptions.memory_days} days of open "
                       f"interest, {ORIGINS_NEEDED} needed")
    hit, chance = np.array(hits), np.array(chances)
    stream = np.random.Generator(np.random.PCG64([seed, n]))
    draws = stream.integers(0, n, (DRAWS, n))
    low, high = np.quantile((hit - chance)[draws].mean(axis=1), (0.025, 0.975))
    hit_low, hit_high = wilson(float(hit.mean()), n)
    return HitRate(n, float(hit.mean()), hit_low, hit_high, float(chance.mean()), float((hit - chance).mean()), float(low), float(high))


def _outcome(levels: Levels, hours: Candles, row: int) -> tuple[float, float] | None:
    """(share of the heaviest bins of one midnight that were met within a day, its chance); None with too few bins."""
    price, half = float(hours.close[row]), levels.assumptions.bin_bps / 2e4
    ahead = slice(row + 1, row + 1 + HORIZON_HOURS)
    found = level_map(levels, int(hours.close_time[row]), price)
    if len(found.mass) < HEAVIEST:
        return None
    heavy = np.log(found.price[np.argsort(-found.mass, kind="stable")[:HEAVIEST]] / price)
    up, down = math.log(float(hours.high[ahead].max()) / price), -math.log(float(hours.low[ahead].min()) / price)
    above, below = up >= np.abs(heavy) - half, down >= np.abs(heavy) - half  # the edge of a bin that is met first
    return float(np.mean(np.where(heavy > 0, above, below))), float(np.mean(0.5 * (above.astype(float) + below)))


def wilson(share: float, n: int, *, z: float = 1.959963984540054) -> tuple[float, float]:
    """95 % interval of a share of n trials (Wilson 1927). The five bins of a day count as one trial: they are not independent.

    >>> tuple(round(x, 4) for x in wilson(0.5, 10))
    (0.2366, 0.7634)
    """
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)
