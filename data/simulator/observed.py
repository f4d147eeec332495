"""Everything beside candles in the simulated world: an `ObservationReader` over planted, deterministic series.

Each kind has one function in a file of its own layer: derivatives (funding, open interest, ratios, premium, forced orders,
options), chain (on-chain and macro), flow (books and trades, condensed). A function gets what it needs to know of the world and
answers for start <= available_time < at; nothing it returns depends on a later time.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from data.clock import Clock
from data.market import DAY_MS, Market, Provenance
from data.observations import Kind, Observations
from data.simulator.market import SYMBOLS, SimulatedExchange

REMEMBERED = 256
TICK_SYMBOLS = ("BTCUSDT", "ETHUSDT")  # of two symbols the simulated recorder keeps every second, as a real one would


@dataclass(frozen=True)
class World:
    """What a layer may use: the seed, the exchange whose prices it accompanies, and the symbol's number in it."""

    seed: int
    exchange: SimulatedExchange
    symbol: str

    @property
    def number(self) -> int:
        return SYMBOLS.index(self.symbol)


Layer = Callable[[World, Kind, int, int], Observations]


def layers() -> Mapping[Kind, Layer]:
    """Which function answers for a kind; loaded when first asked."""
    from data.simulator import observed_chain, observed_derivatives, observed_flow

    return {kind: module.observed for module in (observed_derivatives, observed_chain, observed_flow) for kind in module.KINDS}


class SimulatedObservations:
    """Answers from the planted layers; kinds without one are absent with the reason."""

    def __init__(self, seed: int, exchange: SimulatedExchange, clock: Clock, *, ticks: tuple[str, ...] = TICK_SYMBOLS) -> None:
        self._seed, self._exchange, self._clock, self._ticks = seed, exchange, clock, ticks
        self._layers: Mapping[Kind, Layer] | None = None
        self._kept: OrderedDict[tuple[str, Kind, int, int], Observations] = OrderedDict()
        self._lock = threading.Lock()

    def known(self, symbol: str, kind: Kind, market: Market, start_ms: int, at_ms: int) -> Observations:
        """Rows with start <= available_time < at, whole days generated and remembered."""
        if self._layers is None:
            self._layers = layers()
        layer = self._layers.get(kind)
        if kind is Kind.SECOND_FLOW and symbol not in self._ticks:
            return Observations.empty(kind, provenance=Provenance.SIMULATED,
                                      note=f"seconds of {symbol} were not recorded: full books are kept of {' and '.join(self._ticks)}")
        if layer is None or symbol not in SYMBOLS:
            return Observations.empty(kind, provenance=Provenance.SIMULATED, note=f"the simulated exchange has no {kind} of {symbol}")
        at_ms = min(at_ms, self._clock.now_ms() + 1)
        key = (symbol, kind, start_ms, at_ms)
        with self._lock:
            found = self._kept.get(key)
        if found is None:
            found = layer(World(self._seed, self._exchange, symbol), kind, start_ms, at_ms)
            first, stop = (int(i) for i in found.available_time.searchsorted((start_ms, at_ms)))
            if (first, stop) != (0, len(found)):
                found = found.take(slice(first, stop))
            if kind is Kind.SECOND_FLOW:
                return found  # tens of megabytes, and its layer remembers the hours
            with self._lock:
                self._kept[key] = found
                while len(self._kept) > REMEMBERED:
                    self._kept.popitem(last=False)
        return found

    def version(self, symbol: str) -> str:
        return f"simulated-{self._seed}-{self._clock.now_ms() // (DAY_MS // 24)}"
