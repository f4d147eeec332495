"""On-chain and macro days of the simulated world. What is planted are identities, so that every derived figure has a right answer:
market cap = price x supply; realised cap = market cap / MVRV, the cap at a cost basis that trails the price with a half-life of 150
days; exchange balance of a day = that of the day before + inflow - outflow. Nothing here drives prices, and prices drive only the caps
and the index of sentiment.
"""

from __future__ import annotations

import numpy as np

from data.market import DAY_MS, HOUR_MS, Interval, Provenance, SeriesKey
from data.observations import Kind, Observations
from data.simulator.market import EPOCH_MS
from data.simulator.observed import World

KINDS = (Kind.ON_CHAIN, Kind.STABLECOIN_SUPPLY, Kind.FEAR_GREED)
DELAY_MS = {Kind.ON_CHAIN: 3 * HOUR_MS, Kind.STABLECOIN_SUPPLY: HOUR_MS, Kind.FEAR_GREED: 10 * 60_000}  # after the day
WHOLE = {"BTCUSDT": 19.2e6, "ETHUSDT": 120.0e6}  # coins in being; flows and MVRV exist for these two, as with the keyless vendor
OTHERS_SUPPLY = 1.0e9
COST_BASIS_DAYS = 150.0
MARKET = "BTCUSDT"


def observed(world: World, kind: Kind, start_ms: int, at_ms: int) -> Observations:
    """Daily rows with start <= available_time < at."""
    symbol = world.symbol if kind is Kind.ON_CHAIN else MARKET
    days = world.exchange.read(SeriesKey(symbol, Interval.D1))
    known = int(np.searchsorted(days.close_time + 1 + DELAY_MS[kind], at_ms))
    if known == 0:
        return Observations.empty(kind, provenance=Provenance.SIMULATED, note="the simulated world is younger than this")
    opened, close = days.open_time[:known], days.close[:known]
    stream = np.random.Generator(np.random.PCG64([world.seed, 6_700 + KINDS.index(kind), world.number if kind is Kind.ON_CHAIN else 0]))
    number = (opened - EPOCH_MS) // DAY_MS  # the day's own draw, whatever days are missing
    draw = stream.standard_normal((int(number[-1]) + 1, 3))[number]
    columns = {Kind.ON_CHAIN: _chain, Kind.STABLECOIN_SUPPLY: _supply, Kind.FEAR_GREED: _sentiment}[kind](symbol, close, draw)
    closed = opened + DAY_MS
    event = closed if kind is Kind.FEAR_GREED else opened  # the index of a day is made of the days before it, and told as the day begins
    rows = Observations(kind, event, closed + DELAY_MS[kind], columns, Provenance.SIMULATED)
    return rows.take((rows.available_time >= start_ms) & (rows.available_time < at_ms))


def _chain(symbol: str, close: np.ndarray, draw: np.ndarray) -> dict[str, np.ndarray]:
    n = len(close)
    supply = np.full(n, WHOLE.get(symbol, OTHERS_SUPPLY))
    nothing = np.full(n, np.nan)
    columns = {"price": close, "market_cap": close * supply, "mvrv": nothing, "supply": supply, "flow_in": nothing, "flow_out": nothing,
               "exchange_balance": nothing, "issuance_value": nothing}
    if symbol not in WHOLE:
        return columns
    keep = 0.5 ** (1.0 / COST_BASIS_DAYS)
    basis, net = np.empty(n), np.empty(n)
    cost, lean = close[0], 0.0
    for t in range(n):
        cost = keep * cost + (1.0 - keep) * close[t]
        lean = 0.9 * lean + 0.4 * draw[t, 0]
        basis[t], net[t] = cost, lean
    gross = 0.003 * supply * np.exp(0.2 * draw[:, 1])
    net = 0.0005 * supply * net
    flow_in, flow_out = gross + 0.5 * net, gross - 0.5 * net
    balance = 0.12 * supply + np.cumsum(flow_in - flow_out)
    return columns | {"mvrv": close / basis, "flow_in": flow_in, "flow_out": flow_out, "exchange_balance": balance,
                      "issuance_value": close * 450.0}


def _supply(symbol: str, close: np.ndarray, draw: np.ndarray) -> dict[str, np.ndarray]:
    growth, pace = np.empty(len(close)), 0.0
    for t in range(len(close)):
        pace = 0.97 * pace + 0.0003 * draw[t, 0]
        growth[t] = 0.0005 + pace + 0.0002 * draw[t, 1]
    return {"supply_usd": 1.4e11 * np.exp(np.cumsum(growth))}


def _sentiment(symbol: str, close: np.ndarray, draw: np.ndarray) -> dict[str, np.ndarray]:
    before = np.concatenate((np.full(min(30, len(close)), close[0]), close[:-30]))
    mood = 50.0 + 35.0 * np.tanh(np.log(close / before) / 0.2) + 4.0 * draw[:, 0]
    return {"value": np.clip(np.round(mood), 1.0, 99.0)}
