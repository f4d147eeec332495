"""Random markets and strategies for the backtest's tests: every rule of the engine has a chance to act, everything from a seed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from core.backtest.plan import Config, Funding, Plan, build
from core.backtest.signals import Signals
from core.risk.limits import RiskLimits
from core.risk.sizing import Sizing
from core.trading.contracts import Contract
from data.frames import Candles, aggregate
from data.market import Costs, Interval, Market, Slippage
from tests.made_candles import JAN_2024

SYMBOLS = ("AAAUSDT", "BBBUSDT", "CCCUSDT")


def bars(rows, *, interval: Interval = Interval.H1, start: int = JAN_2024, volume: float = 1e9, **more) -> Candles:
    """Candles of literal (open, high, low, close) rows; a fifth number is the bar's volume."""
    table = np.array([(*row, volume)[:5] for row in rows], float)
    times = start + np.arange(len(rows), dtype=np.int64) * interval.ms
    columns = dict(zip(("open_time", "open", "high", "low", "close", "volume"), (times, *table.T), strict=True))
    return Candles.from_columns(interval, columns, **more)


def path(rng: np.random.Generator, n: int, *, interval: Interval, price: float = 100.0, sd: float = 0.01, start: int = JAN_2024) -> Candles:
    """A random walk with gaps at opens, jumps, bars without a trade, and prices on a tick of 0.01."""
    step = rng.normal(0, sd, n) + (rng.random(n) < 0.02) * rng.normal(0, 6 * sd, n)
    gap = (rng.random(n) < 0.2) * rng.normal(0, sd, n)
    level = np.cumsum(step + gap)
    close = price * np.exp(level)
    opened = price * np.exp(level - step)
    high = np.maximum(opened, close) * np.exp(rng.exponential(sd / 2, n))
    low = np.minimum(opened, close) * np.exp(-rng.exponential(sd / 2, n))
    volume = np.where(rng.random(n) < 0.03, 0.0, np.round(rng.lognormal(4, 1.5, n), 3))
    opened, close = np.round(opened, 2), np.round(close, 2)
    high, low = np.maximum(np.round(high, 2), np.maximum(opened, close)), np.minimum(np.round(low, 2), np.minimum(opened, close))
    times = start + np.arange(n, dtype=np.int64) * interval.ms
    return Candles.from_columns(interval, {"open_time": times, "open": opened, "high": high, "low": np.maximum(low, 0.01),
                                           "close": close, "volume": volume})


@dataclass(frozen=True)
class World:
    """What `build` takes, so that a test can change one thing and build again."""

    config: Config
    candles: dict[str, Candles]
    signals: list[Signals]
    more: dict = field(default_factory=dict)

    def plan(self) -> Plan:
        return build(self.config, self.candles, self.signals, **self.more)


def world(seed: int, n: int = 260) -> World:
    """One of very different accounts: spot or perpetual, one to three symbols, every sizing, cost model, limit, finer bars, funding."""
    rng = np.random.Generator(np.random.PCG64(seed))
    market = Market.PERP if rng.random() < 0.6 else Market.SPOT
    interval = Interval(rng.choice(["15m", "1h", "4h"]))
    symbols = SYMBOLS[: int(rng.integers(1, 4))]
    sd = float(rng.choice([0.003, 0.01, 0.03]))
    candles, fine = {}, {}
    for symbol in symbols:
        if rng.random() < 0.5:
            small = Interval.M5 if interval is Interval.M15 else Interval.M15 if interval is Interval.H1 else Interval.H1
            inner = path(rng, n * (interval.ms // small.ms), interval=small, sd=sd / 2)
            candles[symbol] = aggregate(inner, interval)
            keep = np.ones(len(inner), bool)
            keep[rng.integers(0, len(inner), 5)] = False
            fine[symbol] = inner.take(keep)
        else:
            candles[symbol] = path(rng, n, interval=interval, sd=sd)
    also = np.random.Generator(np.random.PCG64([seed, 1]))  # later options, drawn apart so that older draws stay as they were
    side = [1] if market is Market.SPOT else [1, -1]
    choices = np.array([0] * int(rng.choice([2, 6, 20])) + side * 2 + [2, -2, 3], np.int8)
    fraction = rng.random() < 0.5
    prices = not fraction and bool(also.random() < 0.5)
    tight = float(rng.choice([0.3, 1.0]))  # stop and target near enough to lie in one bar

    def distance(close: np.ndarray, chance: float, size: float):
        if rng.random() > chance:
            return None
        values = np.abs(rng.normal(size, size / 2, n)) + size / 10
        values = values if fraction else values * close
        return np.where(rng.random(n) < 0.1, np.nan, values)

    signals = []
    for symbol in symbols:
        close = candles[symbol].close
        action = rng.choice(choices, n).astype(np.int8)
        limit = np.where(rng.random(n) < 0.5, close * (1 + rng.normal(0, sd, n)), np.nan) if rng.random() < 0.4 else None
        stop, target = distance(close, 0.85, 3 * sd * tight), distance(close, 0.7, 4 * sd * tight)
        if prices:  # levels around the close, on the side that an entry there needs
            towards = np.where(action == -1, -1.0, 1.0)
            stop = None if stop is None else np.maximum(close - towards * stop, 0.01)
            target = None if target is None else np.maximum(close + towards * target, 0.01)
        signals.append(Signals(symbol, action, stop=stop, target=target,
                               trail=distance(close, 0.4, 3 * sd), limit=limit,
                               strength=rng.normal(0, 1, n) if rng.random() < 0.5 else None,
                               veto=rng.random(n) < 0.05 if rng.random() < 0.3 else None))
    limits = RiskLimits(
        max_positions=int(rng.integers(1, 4)), position_cap=float(rng.choice([0.2, 0.5, 1.0, 3.0])),
        participation=None if rng.random() < 0.4 else float(rng.choice([0.05, 0.5])), carry_bars=int(rng.integers(0, 4)),
        volatility_target=None if rng.random() < 0.7 else 0.4, drawdown_stop=None if rng.random() < 0.5 else 0.1,
        rearm_days=float(rng.choice([1.0, 3.0])), daily_loss=None if rng.random() < 0.5 else 0.03,
        cooldown_bars=int(rng.choice([0, 3, 12])),
        losing_streak=None if rng.random() < 0.5 else 3, break_sigmas=None if rng.random() < 0.7 else 4.0)
    if also.random() < 0.4:
        limits = replace(limits, break_sigmas=float(also.choice([1.5, 3.0])), break_bars=1, break_stop_atr=float(also.choice([0.3, 1.0])))
    slippage = Slippage(rng.choice(["fixed", "spread", "sqrt"], p=[0.6, 0.2, 0.2]))
    sizing = Sizing(rng.choice(["risk", "fraction", "units"]))
    config = Config(
        market=market, leverage=float(rng.choice([1.0, 3.0, 20.0])), costs=Costs(maker_bps=2.0, taker_bps=5.0, slippage=slippage),
        sizing=sizing, size={"risk": 0.01, "fraction": float(rng.choice([0.2, 1.0, 2.0])), "units": 7.3}[sizing],
        distances="price" if prices else "fraction" if fraction else "quote", stop_multiple=1.0 if also.random() < 0.7 else 1.3,
        max_bars=None if rng.random() < 0.6 else int(rng.integers(1, 12)), limits=limits,
        rounding=bool(rng.random() < 0.8), optimistic=bool(rng.random() < 0.15))
    contracts = {s: Contract(s, market, 0.01, float(rng.choice([0.001, 0.1, 1.0])), float(rng.choice([0.0, 5.0, 50.0]))) for s in symbols}
    more = {"contracts": contracts, "fine": fine}
    if market is Market.PERP and rng.random() < 0.6:
        more["funding"] = {s: _funding(rng, candles[s]) for s in symbols}
        if rng.random() < 0.3:
            more["marks"] = {s: _marks(rng, candles[s]) for s in symbols}
    return World(config, candles, signals, more)


def _funding(rng: np.random.Generator, candles: Candles) -> Funding:
    every = int(rng.choice([3_600_000, 4 * 3_600_000, 8 * 3_600_000]))
    times = np.arange(candles.open_time[0], candles.open_time[-1], every, dtype=np.int64) + int(rng.choice([0, 420_000]))
    return Funding(times, rng.normal(0.0001, 0.0005, len(times)))


def _marks(rng: np.random.Generator, candles: Candles) -> Candles:
    factor = np.exp(rng.normal(0, 0.001, len(candles)))
    columns = {name: getattr(candles, name) * factor for name in ("open", "high", "low", "close")}
    return Candles.from_columns(candles.interval, {"open_time": candles.open_time, "volume": candles.volume, **columns})
