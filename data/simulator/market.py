"""The embedded simulated exchange: twelve symbols with real names, invented prices and known truths.

What a symbol does is planted at 1h from a fixed epoch on and is a pure function of (seed, symbol, open_time): more history
never changes what was there. Shorter candles are bridged inside each hour on demand for the last 90 days, so that sixty
minutes sum to their hour exactly; longer ones are sums. It follows the clock it is given, as an exchange would, and every
candle is stamped SIMULATED.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.clock import Clock, iso
from data.errors import InputError
from data.frames import Candles, aggregate
from data.market import DAY_MS, HOUR_MS, Interval, Market, Provenance, SeriesKey
from data.simulator.minutes import bridge, on_grid, random_stream
from data.view import CONFIRMED, Gap

EPOCH_MS = 1_665_532_800_000  # 2022-10-12T00:00:00Z: 1,500 days before the first release; fixed for ever
FINE_DAYS = 93  # how far back candles shorter than an hour reach: 90 whole days, also for the venue, which looks two ahead
AHEAD_DAYS = 30  # planted in advance and hidden, so that a running app seldom extends its history
UNIT = 0.004  # one "market sd" per hour (methods.md 8.1)
STAY = (0.99, 0.97)
STATE_SD = (0.5, 1.5)
INTERVALS = (Interval.M1, Interval.M5, Interval.M15, Interval.H1, Interval.H4, Interval.D1)
HALT_HOURS = (2_900, 2_902)  # the whole exchange was down: a confirmed halt in every series, first and last missing hour
FROZEN_HOURS = ((9_611, 9_613), (21_480, 21_484))  # DOGE's feed was dead: holes nobody has explained


@dataclass(frozen=True)
class Listing:
    """A simulated symbol: its price in 2022, its tick and step, its share of the market's moves, and its planted role."""

    symbol: str
    price: float
    tick: float
    step: float
    turnover_usdt: float  # per hour
    beta: float
    noise: float  # idiosyncratic sd per hour, in units of UNIT
    role: str


LISTINGS = (
    Listing("BTCUSDT", 19_100.0, 0.01, 0.00001, 60e6, 1.0, 0.25, "market: mostly the common factor, two volatility states"),
    Listing("ETHUSDT", 1_290.0, 0.01, 0.0001, 30e6, 0.8, 0.80, "leader: SOL follows its own moves three hours later"),
    Listing("BNBUSDT", 271.0, 0.01, 0.001, 6e6, 1.0, 0.45, "conditional beta: 1.5 when the market falls, 0.8 when it rises"),
    Listing("SOLUSDT", 31.2, 0.01, 0.001, 12e6, 0.5, 0.70, "follower: 0.4 times ETH's own move of three hours before"),
    Listing("XRPUSDT", 0.489, 0.0001, 0.1, 8e6, 0.5, 0.60, "follower: half of the market's move of one hour before"),
    Listing("ADAUSDT", 0.393, 0.0001, 0.1, 3e6, 0.6, 0.70, "pair: DOT is tied to it, ln DOT = 1.2 ln ADA + a reverting gap"),
    Listing("DOGEUSDT", 0.0595, 0.00001, 1.0, 4e6, 0.7, 0.90, "anomaly host: twenty jumps of 8 sd with volume, two dead feeds, one wick"),
    Listing("AVAXUSDT", 15.6, 0.01, 0.01, 3e6, 0.5, 0.80, "GARCH(1,1)-t6: w .02, a .08, b .90 in percent"),
    Listing("LINKUSDT", 7.15, 0.01, 0.01, 3e6, 0.2, 0.80, "regimes: trends of +-0.2 sd per hour and ranges of half-life 10"),
    Listing("DOTUSDT", 6.2, 0.001, 0.01, 2e6, 0.0, 0.0, "pair: 1.2 times ADA in logs plus an OU gap, half-life 24 h, sd 2 %"),
    Listing("LTCUSDT", 51.5, 0.01, 0.001, 3e6, 0.0, 0.95, "noise: no drift, no memory, no relation to anything"),
    Listing("TRXUSDT", 0.0623, 0.00001, 0.1, 2e6, 0.3, 0.60, "persistence: AR(1) of 0.15 in its own returns"),
)
SYMBOLS = tuple(listing.symbol for listing in LISTINGS)


@dataclass(frozen=True)
class _Planted:
    """All hours of one symbol, holes not yet cut out."""

    candles: Candles
    hidden: dict[str, Any]


class SimulatedExchange:
    """Reads like the candle store (`CandleReader`) and always answers.

    Parameters
    ----------
    seed : int
        Another seed is another world.
    clock : Clock
        Only candles closed before its time are shown.
    """

    def __init__(self, seed: int, clock: Clock) -> None:
        self._seed = seed
        self._clock = clock
        self._hours = 0
        self._planted: dict[str, _Planted] = {}
        self._fine: OrderedDict[tuple[str, int], Candles] = OrderedDict()
        self._lock = threading.Lock()

    def keys(self) -> tuple[SeriesKey, ...]:
        return tuple(sorted(SeriesKey(s, i, m) for s in SYMBOLS for i in INTERVALS for m in Market))

    def holds(self, key: SeriesKey) -> bool:
        return key.symbol in SYMBOLS and key.interval in INTERVALS

    def last_close_ms(self, key: SeriesKey) -> int | None:
        if not self.holds(key):
            return None
        whole = key.interval.floor(self._clock.now_ms())
        candles = self.read(key, whole - 400 * key.interval.ms, None)
        return int(candles.close_time[-1]) if len(candles) else None

    def version(self, key: SeriesKey) -> str:
        return f"simulated-{self._seed}-{key}-{key.interval.floor(self._clock.now_ms())}"

    def read(self, key: SeriesKey, start_ms: int | None = None, end_ms: int | None = None) -> Candles:
        if not self.holds(key):
            return Candles.empty(key.interval)
        if key.market is Market.PERP:
            return self._perpetual(key, start_ms, end_ms)
        now = self._clock.now_ms()
        if key.interval.ms < HOUR_MS:
            oldest = now // DAY_MS * DAY_MS - FINE_DAYS * DAY_MS
            start = max(oldest, oldest if start_ms is None else start_ms)
            end = now if end_ms is None else min(now, key.interval.floor(end_ms) + key.interval.ms)
            minutes = self._minutes(key.symbol, key.interval.floor(start), end)
            found = minutes if key.interval is Interval.M1 else aggregate(minutes, key.interval)
        else:
            hours = self._series(key.symbol).candles.closed_before(now)
            if start_ms is not None:
                hours = hours.between(key.interval.floor(start_ms), None)
            if end_ms is not None:
                hours = hours.between(None, key.interval.floor(end_ms) + key.interval.ms)
            found = hours if key.interval is Interval.H1 else aggregate(hours, key.interval)
        return found.closed_before(now).between(start_ms, end_ms)

    def _perpetual(self, key: SeriesKey, start_ms: int | None, end_ms: int | None) -> Candles:
        """The perpetual beside spot, from whole hours: longer bars are summed, since the basis changes by the hour."""
        from data.simulator.perpetual import perpetual_beside  # it needs this file's constants

        item = _listing(key.symbol)
        if key.interval.ms <= HOUR_MS:
            spot = self.read(SeriesKey(key.symbol, key.interval), start_ms, end_ms)
            return perpetual_beside(spot, self._seed, SYMBOLS.index(key.symbol), item.tick, item.step)
        start = None if start_ms is None else key.interval.floor(start_ms)
        end = None if end_ms is None else key.interval.floor(end_ms) + key.interval.ms
        hours = self._perpetual(SeriesKey(key.symbol, Interval.H1, Market.PERP), start, end)
        return aggregate(hours, key.interval).closed_before(self._clock.now_ms()).between(start_ms, end_ms)

    def gaps(self, key: SeriesKey) -> list[Gap]:
        candles = self.read(key)
        return [Gap(start, end, bars, *((CONFIRMED, "the simulated exchange was down") if (start, end) in candles.halts else ()))
                for start, end, bars in candles.gaps()]

    def truth(self) -> dict[str, Any]:
        """What was planted, for tests and for the page that explains the simulated world."""
        return {
            "seed": self._seed, "epoch": iso(EPOCH_MS), "unit_sd_per_hour": UNIT,
            "market": {"stay": STAY, "sd": STATE_SD},
            "halt": [iso(EPOCH_MS + h * HOUR_MS) for h in HALT_HOURS],
            "symbols": {item.symbol: {"role": item.role, "beta": item.beta} | self._series(item.symbol).hidden for item in LISTINGS},
        }

    def tick(self, symbol: str) -> float:
        return _listing(symbol).tick

    # -- the past, hour by hour ---------------------------------------------------------------------------------

    def _series(self, symbol: str) -> _Planted:
        needed = (self._clock.now_ms() - EPOCH_MS) // HOUR_MS
        if needed < 24:
            raise InputError(f"the simulated exchange opened on {iso(EPOCH_MS)}; the clock says {iso(self._clock.now_ms())}: set it right")
        with self._lock:
            if needed > self._hours:
                self._hours = int(needed) + AHEAD_DAYS * 24
                self._planted = _plant(self._seed, self._hours)
                self._fine.clear()
            return self._planted[symbol]

    # -- inside the hour ----------------------------------------------------------------------------------------

    def _minutes(self, symbol: str, start_ms: int, end_ms: int) -> Candles:
        """1m candles with start <= open_time < end, day by day from a small memory."""
        from data.frames import concat

        parts = []
        for day in range(start_ms // DAY_MS, (end_ms - 1) // DAY_MS + 1):
            found = self._fine.get((symbol, day))
            if found is None:
                item = _listing(symbol)
                hours = self._series(symbol).candles.between(day * DAY_MS, (day + 1) * DAY_MS)
                found = bridge(self._seed, SYMBOLS.index(symbol), item.tick, item.step, day, hours)
                with self._lock:
                    self._fine[symbol, day] = found
                    while len(self._fine) > 12 * FINE_DAYS // 4:
                        self._fine.popitem(last=False)
            parts.append(found.between(start_ms, end_ms))
        return concat(parts) if any(len(p) for p in parts) else Candles.empty(Interval.M1)


def _listing(symbol: str) -> Listing:
    return LISTINGS[SYMBOLS.index(symbol)]


def _plant(seed: int, n: int) -> dict[str, _Planted]:
    """The first `n` hours of every symbol. Row t of a longer run equals row t of a shorter one."""
    states, market = _market_factor(seed, n)
    own = {item.symbol: _own_moves(seed, index, item, n) for index, item in enumerate(LISTINGS)}
    returns: dict[str, np.ndarray] = {}
    hidden: dict[str, dict[str, Any]] = {item.symbol: {} for item in LISTINGS}
    for item in LISTINGS:
        beta: float | np.ndarray = item.beta
        if item.symbol == "BNBUSDT":
            beta = np.where(market < 0, 1.5, 0.8)
            hidden[item.symbol]["beta_down_up"] = [1.5, 0.8]
        returns[item.symbol] = UNIT * (beta * market + own[item.symbol])
        if item.symbol == "BNBUSDT":  # falling more than it rises, it would go to zero: pay the mean of the asymmetry back
            returns[item.symbol] += UNIT * 0.7 * np.take(STATE_SD, states) / np.sqrt(2 * np.pi)
    returns["SOLUSDT"][3:] += 0.4 * UNIT * own["ETHUSDT"][:-3]
    hidden["SOLUSDT"]["leads"] = {"leader": "ETHUSDT", "lag_hours": 3, "weight": 0.4}
    returns["XRPUSDT"][1:] += 0.5 * UNIT * market[:-1]
    hidden["XRPUSDT"]["leads"] = {"leader": "market", "lag_hours": 1, "weight": 0.5}
    hidden["BTCUSDT"]["turbulent_share"] = float(states.mean())
    returns["TRXUSDT"] = _autoregressive(returns["TRXUSDT"], 0.15)
    hidden["TRXUSDT"]["ar1"] = 0.15
    returns["DOTUSDT"], hidden["DOTUSDT"]["pair"] = _tied_to(returns["ADAUSDT"], seed)
    surprise = {item.symbol: np.ones(n) for item in LISTINGS}
    jumps = _jumps(seed, n)
    returns["DOGEUSDT"][jumps] += 8.0 * np.where(np.arange(len(jumps)) % 2, 1, -1) * UNIT * 1.2
    surprise["DOGEUSDT"][jumps] = np.exp(6 * 0.35)
    hidden["DOGEUSDT"] |= {"jumps": [iso(EPOCH_MS + int(h) * HOUR_MS) for h in jumps],
                           "dead_feed": [[iso(EPOCH_MS + h * HOUR_MS) for h in hole] for hole in FROZEN_HOURS]}
    hidden["LINKUSDT"]["regimes"] = "segments of 150 to 400 hours; see regime_path(seed, hours)"
    opened = EPOCH_MS + np.arange(n, dtype=np.int64) * HOUR_MS
    planted = {}
    for index, item in enumerate(LISTINGS):
        candles = _candles(seed, index, item, opened, returns[item.symbol], states, surprise[item.symbol])
        planted[item.symbol] = _Planted(_with_holes(candles, item.symbol), hidden[item.symbol])
    return planted


def _market_factor(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Two volatility states and the common move per hour in units of UNIT."""
    draw = random_stream(seed, 900).random(n)
    states = np.zeros(n, np.int64)
    state = 0
    for t in range(n):
        if draw[t] > STAY[state]:
            state = 1 - state
        states[t] = state
    return states, random_stream(seed, 901).standard_normal(n) * np.take(STATE_SD, states)


def _t5(stream: np.random.Generator, n: int, degrees: float = 5.0) -> np.ndarray:
    """Student-t with unit variance."""
    return stream.standard_t(degrees, n) / np.sqrt(degrees / (degrees - 2))


def _own_moves(seed: int, index: int, item: Listing, n: int) -> np.ndarray:
    """What a symbol does by itself, in units of UNIT."""
    noise = _t5(random_stream(seed, 910, index), n)
    if item.symbol == "AVAXUSDT":
        shock = _t5(random_stream(seed, 911, index), n, 6.0)
        out, variance = np.empty(n), 1.0
        for t in range(n):
            out[t] = np.sqrt(variance) * shock[t]
            variance = 0.02 + 0.08 * out[t] ** 2 + 0.90 * variance
        return out * 0.01 / UNIT * 0.5  # percent to units; half of it, or the price would leave the chart
    if item.symbol == "LINKUSDT":
        return regime_path(seed, n, noise * item.noise, item.noise)[0]
    return noise * item.noise


def regime_path(seed: int, n: int, noise: np.ndarray, sd: float) -> tuple[np.ndarray, np.ndarray]:
    """LINK's own moves and its hidden regime per hour: 1 up-trend, -1 down-trend, 0 range (half-life 10 hours)."""
    stream = random_stream(seed, 920)
    moves, label = noise.copy(), np.zeros(n, np.int64)
    pull = 1 - 0.5 ** (1 / 10)
    t, kind = 0, 0
    while t < n:
        length, side = int(stream.integers(150, 401)), int(stream.integers(0, 2)) * 2 - 1
        stop = min(n, t + length)
        if kind % 2 == 0:
            moves[t:stop] += 0.2 * side * sd
            label[t:stop] = side
        else:
            level = 0.0
            for i in range(t, stop):
                moves[i] -= pull * level
                level += moves[i]
        t, kind = stop, kind + 1
    return moves, label


def _autoregressive(shock: np.ndarray, phi: float) -> np.ndarray:
    """y_t = phi y_{t-1} + shock_t with y_0 = shock_0, as an exponential mean (pandas is loaded anyway, scipy.signal costs 60 MB)."""
    import pandas as pd

    first = np.concatenate((shock[:1] * (1 - phi), shock[1:]))
    return pd.Series(first).ewm(alpha=1 - phi, adjust=False).mean().to_numpy() / (1 - phi)


def _tied_to(ada: np.ndarray, seed: int) -> tuple[np.ndarray, dict[str, float]]:
    """Returns of DOT such that ln DOT - 1.2 ln ADA is an OU process: half-life 24 hours, sd 2 %."""
    keep = 0.5 ** (1 / 24)
    gap = _autoregressive(random_stream(seed, 930).standard_normal(len(ada)) * 0.02 * np.sqrt(1 - keep**2), keep)
    return 1.2 * ada + np.diff(gap, prepend=0.0), {"beta": 1.2, "half_life_hours": 24.0, "sd": 0.02}


def _jumps(seed: int, n: int) -> np.ndarray:
    """Twenty hours per 36,000, at least 600 hours after the opening, the same whatever `n` is."""
    stream = random_stream(seed, 940)
    hours: list[int] = []
    at = 600
    while True:
        at += int(stream.integers(900, 2_650))
        if at >= n:
            return np.array(hours, np.int64)
        hours.append(at)


def _candles(seed: int, index: int, item: Listing, opened: np.ndarray, returns: np.ndarray, states: np.ndarray,
             surprise: np.ndarray) -> Candles:
    """OHLCV of planted hourly returns, on the tick and step grid; open is the close before it."""
    n = len(returns)
    close = on_grid(item.price * np.exp(np.cumsum(returns)), item.tick, np.rint)
    start = np.concatenate(([on_grid(np.array([item.price]), item.tick, np.rint)[0]], close[:-1]))
    # Highest and lowest point of a Brownian bridge between open and close (inverse of its Rayleigh-type law).
    sd = UNIT * (np.take(STATE_SD, states) * max(item.beta, 0.5) + item.noise * 0.6)
    move = np.log(close / start)
    up = 0.5 * (move + np.sqrt(move**2 - 2 * sd**2 * np.log(random_stream(seed, 950, index).random(n))))
    down = 0.5 * (move - np.sqrt(move**2 - 2 * sd**2 * np.log(random_stream(seed, 951, index).random(n))))
    high = np.maximum(np.maximum(start, close), on_grid(start * np.exp(up), item.tick, np.ceil))
    low = np.minimum(np.minimum(start, close), np.maximum(item.tick, on_grid(start * np.exp(down), item.tick, np.floor)))
    if item.symbol == "DOGEUSDT" and n > 15_000:
        low[15_000] = on_grid(np.array([start[15_000] * 0.9]), item.tick, np.floor)[0]  # the wick that reverts
    hour_of_day = (opened // HOUR_MS) % 24
    rhythm = 1 + 0.35 * np.sin(2 * np.pi * (hour_of_day - 8) / 24)
    activity = np.exp(_autoregressive(random_stream(seed, 960, index).standard_normal(n) * 0.21, 0.8))
    turnover = item.turnover_usdt * rhythm * activity * (0.6 + 60 * np.abs(returns)) * surprise
    volume = on_grid(np.maximum(turnover / close, item.step), item.step, np.rint)
    fair = (start + high + low + close) / 4
    lean = np.clip(0.5 + 0.12 * np.tanh(returns / UNIT) + 0.03 * random_stream(seed, 970, index).standard_normal(n), 0.05, 0.95)
    taker = on_grid(volume * lean, item.step, np.rint)
    count = np.maximum(1, np.rint(turnover / 1_800.0))
    return Candles.from_columns(Interval.H1, {
        "open_time": opened, "open": start, "high": high, "low": low, "close": close, "volume": volume,
        "close_time": opened + HOUR_MS - 1, "quote_volume": np.round(volume * fair, 4), "count": count,
        "taker_buy_volume": taker, "taker_buy_quote_volume": np.round(taker * fair, 4),
    }, provenance=Provenance.SIMULATED)


def _with_holes(candles: Candles, symbol: str) -> Candles:
    """Cut out what was never traded (a halt, confirmed) or never received (DOGE's dead feed, unexplained)."""
    first, last = (EPOCH_MS + h * HOUR_MS for h in HALT_HOURS)
    keep = (candles.open_time < first) | (candles.open_time > last)
    if symbol == "DOGEUSDT":
        for start, end in FROZEN_HOURS:
            keep &= (candles.open_time < EPOCH_MS + start * HOUR_MS) | (candles.open_time > EPOCH_MS + end * HOUR_MS)
    kept = candles.take(np.flatnonzero(keep))
    return Candles.from_columns(kept.interval, kept.columns(), provenance=kept.provenance, halts=((first, last),))
