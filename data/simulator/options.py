"""A small option chain on BTC and ETH: marks, volatilities, greeks and open interest, a pure function of (seed, time, spot).

Priced by Black-76 with zero interest on a smile that is quadratic in log-moneyness near the money and level in the wings, cheaper upside
than downside; the level of volatility is an OU path. Expiries at 08:00 UTC: the next two days, the next three Fridays, the last
Friday of the next two months.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import numpy as np

from data.market import DAY_MS, HOUR_MS
from data.simulator.derivatives import hourly_path

UNDERLYINGS = {"BTC": ("BTCUSDT", 0.52, 500.0), "ETH": ("ETHUSDT", 0.66, 50.0)}  # symbol, mean volatility, strike grid
STRIKES = 9  # per side of the money
SKEW, SMILE = -0.10, 0.35  # slope and curvature of volatility in log-moneyness over sqrt(T)
WING = 0.6  # where the curve levels off: a parabola without end would make far puts dearer than nearer ones
SPREAD_VOL = 0.012
YEAR_DAYS = 365.0


@dataclass(frozen=True)
class OptionContract:
    symbol: str  # BTC-261127-18000-C
    underlying: str
    strike: float
    expiry_ms: int
    is_call: bool


@dataclass(frozen=True)
class OptionMark:
    """Prices in USDT per unit of the underlying; volatility a fraction per year; theta per day; vega per point of volatility."""

    contract: OptionContract
    mark: float
    bid_iv: float
    ask_iv: float
    mark_iv: float
    delta: float
    gamma: float
    theta: float
    vega: float


def _cdf(x: float) -> float:
    return 0.5 * (1.0 + math.erf(x / math.sqrt(2.0)))


def black_76(forward: float, strike: float, years: float, sigma: float, is_call: bool) -> tuple[float, float, float, float, float]:
    """(price, delta, gamma, theta per day, vega per point) of a European option on a forward, no interest.

    References
    ----------
    Black (1976), "The pricing of commodity contracts".
    """
    spread = sigma * math.sqrt(years)
    d1 = (math.log(forward / strike) + 0.5 * spread**2) / spread
    d2 = d1 - spread
    density = math.exp(-0.5 * d1**2) / math.sqrt(2 * math.pi)
    call = forward * _cdf(d1) - strike * _cdf(d2)
    price = call if is_call else call - forward + strike
    delta = _cdf(d1) if is_call else _cdf(d1) - 1.0
    return (price, delta, density / (forward * spread), -forward * density * sigma / (2 * math.sqrt(years)) / YEAR_DAYS,
            forward * density * math.sqrt(years) / 100.0)


def smile(money: float | np.ndarray) -> np.ndarray:
    """Volatility over its level at the money, of log-moneyness over sqrt(T): a parabola near the money, level far from it."""
    bent = WING * np.tanh(np.asarray(money) / WING)
    return 1 + SKEW * bent + SMILE * bent**2


def expiries(now: int) -> list[int]:
    """Expiry times after a moment, nearest first."""
    today = datetime.fromtimestamp(now // 1000, UTC).replace(hour=8, minute=0, second=0, microsecond=0)
    days = {today + timedelta(days=n) for n in (1, 2)}
    friday = today + timedelta(days=(4 - today.weekday()) % 7)
    days |= {friday + timedelta(days=7 * n) for n in range(4)}
    for months in (1, 2):
        first = (today.replace(day=1) + timedelta(days=32 * (months + 1))).replace(day=1)
        last = first - timedelta(days=1)
        days.add(last - timedelta(days=(last.weekday() - 4) % 7))
    stamps = sorted(int(day.timestamp()) * 1000 for day in days)
    return [at for at in stamps if at > now + HOUR_MS]


def chain(asset: str, now: int, spot: float) -> list[OptionContract]:
    """Contracts listed at a moment. Strikes hang on the day's opening grid around spot, so they do not move every second."""
    underlying, _, grid = UNDERLYINGS[asset]
    out = []
    for expiry in expiries(now):
        width = grid if expiry - now < 8 * DAY_MS else 2 * grid
        centre = round(spot / (4 * width)) * 4 * width  # a coarse centre keeps the listing still while spot wanders
        day = datetime.fromtimestamp(expiry // 1000, UTC)
        for number in range(-STRIKES, STRIKES + 1):
            strike = centre + number * width
            if strike > 0:
                out += [OptionContract(f"{asset}-{day:%y%m%d}-{strike:.0f}-{side}", underlying, strike, expiry, side == "C")
                        for side in "CP"]
    return out


def marks(seed: int, asset: str, now: int, spot: float) -> list[OptionMark]:
    """The whole chain, priced."""
    number = list(UNDERLYINGS).index(asset)
    level = UNDERLYINGS[asset][1] * math.exp(0.12 * float(hourly_path(seed, (900 + number, 8), np.array([now]), 240.0)[0]))
    out = []
    for contract in chain(asset, now, spot):
        years = (contract.expiry_ms - now) / (YEAR_DAYS * DAY_MS)
        money = math.log(contract.strike / spot) / math.sqrt(max(years, 7 / YEAR_DAYS))
        sigma = max(0.05, level * float(smile(money)))
        price, *greeks = black_76(spot, contract.strike, years, sigma, contract.is_call)
        out.append(OptionMark(contract, price, sigma - SPREAD_VOL, sigma + SPREAD_VOL, sigma, *greeks))
    return out


@lru_cache(maxsize=1 << 16)
def held(seed: int, strike: float, expiry_ms: int, is_call: bool, day: int) -> float:
    """Contracts that would be held open on a day if the strike were at the money."""
    words = [seed, 6_500, int(strike), expiry_ms // DAY_MS, int(is_call)]
    base = float(np.random.Generator(np.random.PCG64(words)).lognormal(4.0, 0.8))
    return base * float(np.random.Generator(np.random.PCG64([*words, day])).lognormal(0.0, 0.1))


def open_interest(seed: int, contract: OptionContract, now: int, spot: float) -> float:
    """Contracts held open: most near the money and at round strikes, changing from day to day."""
    away = math.log(contract.strike / spot) / 0.12
    there = held(seed, contract.strike, contract.expiry_ms, contract.is_call, now // DAY_MS)
    return round(there * math.exp(-0.5 * away**2) + 0.5, 2)
