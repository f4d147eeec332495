"""What may be traded: tick, step, minimum notional and maintenance rate of a symbol (decisions.md 9 and 23).

The shipped table is the exchange's public filters at its date, applied to all of the past. Exchanges change them (SOLUSDT was traded
in steps of 0.01 in 2021); a symbol that is not in it gets values inferred from the decimals of its candles, and says so.

Compared with recorded answers of the exchange (tests/test_core/test_contracts.py, where SEXTANT_REAL_DATA is set):

- perpetuals: tick, step and minimum notional of all twelve with exchangeInfo of 2026-07-03;
- spot: BTCUSDT and ETHUSDT with exchangeInfo of 2026-07-03; tick and step of the other ten with the best quotes of 2026-07-15, which lie
  on the grid and one tick apart; the ticks of BTC, ETH, BNB, SOL, XRP and ADA with the decimals of their hourly candles;
- maintenance rates of BTC, ETH, BNB, SOL, XRP and ADA with the leverage brackets of 2024-10-24.

Not compared with anything: the minimum notional of ten spot symbols (5, as of the two that are known) and the maintenance rates of
DOGE, AVAX, LINK, DOT, LTC and TRX.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.errors import InputError
from data.frames import PRICE_COLUMNS, Candles
from data.market import Market

TABLE_DATE = "2026-07-15"
MAINTENANCE = 0.005  # where the table does not know: the lowest bracket of most contracts
DEFAULT_MINIMUM_NOTIONAL = 5.0
MOST_DECIMALS = 8
ROWS_READ = 2_000  # of the newest candles, to see their decimals


@dataclass(frozen=True)
class Contract:
    """The grid of one symbol's prices and quantities. `tick` or `step` of 0 switches the rounding off (comparisons with peers).

    `source` is the date of the shipped table, or "inferred" with the reason in words.
    """

    symbol: str
    market: Market
    tick: float
    step: float
    minimum_notional: float = DEFAULT_MINIMUM_NOTIONAL
    maintenance: float = MAINTENANCE
    source: str = TABLE_DATE

    def __post_init__(self) -> None:
        for name in ("tick", "step", "minimum_notional", "maintenance"):
            value = getattr(self, name)
            if not 0.0 <= value < 1e9:
                raise InputError(f"contract {self.symbol}: {name} must be zero or above, got {value!r}")
        if self.maintenance >= 1.0:
            raise InputError(f"contract {self.symbol}: maintenance is a fraction below 1, got {self.maintenance!r}; 0.005 means 0.5 %")

    @property
    def ticks_per_unit(self) -> float:
        return _per_unit(self.tick)

    @property
    def steps_per_unit(self) -> float:
        return _per_unit(self.step)

    @property
    def inferred(self) -> bool:
        return self.source.startswith("inferred")

    @classmethod
    def unrounded(cls, symbol: str, market: Market = Market.SPOT) -> Contract:
        """No grid at all: what other backtesters do."""
        return cls(symbol, market, 0.0, 0.0, 0.0, source="rounding off")


def _per_unit(grid: float) -> float:
    """1/grid as a whole number where it is one: 100 for 0.01, so that k / 100 is the nearest double of k ticks."""
    if grid <= 0.0:
        return 0.0
    ratio = 1.0 / grid
    return float(round(ratio)) if abs(ratio - round(ratio)) < 1e-6 * ratio and ratio >= 1.0 else ratio


# symbol: tick, step, minimum notional; perpetuals with the maintenance rate of the lowest bracket
_SPOT: dict[str, tuple[float, float, float]] = {
    "BTCUSDT": (0.01, 0.00001, 5), "ETHUSDT": (0.01, 0.0001, 5), "BNBUSDT": (0.01, 0.001, 5), "SOLUSDT": (0.01, 0.001, 5),
    "XRPUSDT": (0.0001, 0.1, 5), "ADAUSDT": (0.0001, 0.1, 5), "DOGEUSDT": (0.00001, 1, 5), "AVAXUSDT": (0.001, 0.01, 5),
    "LINKUSDT": (0.001, 0.01, 5), "DOTUSDT": (0.001, 0.01, 5), "LTCUSDT": (0.01, 0.001, 5), "TRXUSDT": (0.0001, 0.1, 5),
}
_PERP: dict[str, tuple[float, float, float, float]] = {
    "BTCUSDT": (0.1, 0.001, 50, 0.004), "ETHUSDT": (0.01, 0.001, 20, 0.004), "BNBUSDT": (0.01, 0.01, 5, 0.005),
    "SOLUSDT": (0.01, 0.01, 5, 0.005), "XRPUSDT": (0.0001, 0.1, 5, 0.005), "ADAUSDT": (0.0001, 1, 5, 0.005),
    "DOGEUSDT": (0.00001, 1, 5, 0.005), "AVAXUSDT": (0.001, 1, 5, 0.0075), "LINKUSDT": (0.001, 0.01, 20, 0.005),
    "DOTUSDT": (0.001, 0.1, 5, 0.0065), "LTCUSDT": (0.01, 0.001, 20, 0.005), "TRXUSDT": (0.00001, 1, 5, 0.0065),
}


def _decimals(values: np.ndarray) -> int:
    """The fewest decimals that write every value exactly."""
    for places in range(MOST_DECIMALS):
        if np.all(np.abs(values - np.round(values, places)) <= 1e-12 * np.maximum(np.abs(values), 1.0)):
            return places
    return MOST_DECIMALS


def contract_of(symbol: str, market: Market, candles: Candles | None = None) -> Contract:
    """The contract from the shipped table; a symbol outside it from the decimals of its candles, flagged."""
    if market is Market.SPOT and symbol in _SPOT:
        return Contract(symbol, market, *_SPOT[symbol])
    if market is Market.PERP and symbol in _PERP:
        return Contract(symbol, market, *_PERP[symbol])
    if candles is None or not len(candles):
        raise InputError(f"{symbol} {market} is not in the shipped contract table of {TABLE_DATE} and there are no candles to infer its "
                         "tick and step from; import candles or give a Contract")
    recent = candles.tail(ROWS_READ)
    tick = 10.0 ** -_decimals(np.concatenate([getattr(recent, name) for name in PRICE_COLUMNS]))
    step = 10.0 ** -_decimals(recent.volume)
    return Contract(symbol, market, tick, step, source=f"inferred from the decimals of {len(recent)} candles")


def shipped(market: Market) -> tuple[str, ...]:
    """Symbols of the shipped table."""
    return tuple(_SPOT if market is Market.SPOT else _PERP)
