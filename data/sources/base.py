"""What a source is: a name, a host, what it provides, and how to fetch it. The ladder and the laws read nothing else.

A source never waits, never stores and never asks another source; it returns data or raises a SourceError that says what to do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from data.clock import Clock
from data.errors import NotOffered
from data.market import Market, Provenance, SeriesKey
from data.observations import Kind, Observations
from data.sources.budget import Channel
from data.sources.fields import joined
from data.sources.hosts import is_loopback
from data.sources.parse_klines import Bars
from data.sources.transport import Transport

if TYPE_CHECKING:
    from data.sources.client import FencedClient

FRESH_MS = 86_400_000  # a window that ends within this of our clock is checked against the exchange's own time
ALONE_MS = 10 * 60_000  # a newest candle with none after it is believed when it closed so long ago: no cache is that old


@dataclass(frozen=True)
class Window:
    """What one request, or one file, covers of a series: start <= open_time < end."""

    start_ms: int
    end_ms: int
    name: str = ""


class Source(ABC):
    """One place data comes from.

    Attributes
    ----------
    name : str
        As a user reads it.
    channel_name : str
        Which channel (host) it uses.
    candle_markets : tuple of Market
        Markets whose candles it serves; empty for none.
    provides : tuple of Kind
        Kinds it can answer.
    lacks : str
        What it cannot give, in words that follow "but".
    provenance : str
        Stamped on everything that does not come from loopback; what comes from there is SIMULATED.
    confirms_gaps : bool
        Whether bars missing from its answer are missing at the exchange.
    probed_at_start : bool
        Whether a starting program asks for it; False where even the smallest answer is large.
    """

    name: ClassVar[str]
    channel_name: ClassVar[str]
    candle_markets: ClassVar[tuple[Market, ...]] = ()
    provides: ClassVar[tuple[Kind, ...]] = ()
    lacks: ClassVar[str]
    source_provenance: ClassVar[str]
    confirms_gaps: ClassVar[bool] = False
    probed_at_start: ClassVar[bool] = True

    def __init__(self, transport: Transport, channel: Channel, clock: Clock) -> None:
        self._transport = transport
        self.channel = channel
        self._clock = clock
        self._client: FencedClient | None = None

    @property
    def provenance(self) -> str:
        return Provenance.SIMULATED if is_loopback(self.channel.base) else self.source_provenance

    @property
    def client(self) -> FencedClient:
        """The exchange client, loaded at first use: it takes half a second and most pages never need it."""
        if self._client is None:
            from data.sources.client import fenced_client

            self._client = fenced_client(self._transport, self.channel)
        return self._client

    @abstractmethod
    def ping(self) -> int | None:
        """Ask for something tiny; the exchange's time in milliseconds where it tells it."""

    def windows(self, key: SeriesKey, start_ms: int, end_ms: int) -> list[Window]:
        """How a stretch of candles is cut into requests, oldest first."""
        raise NotOffered(f"{self.name} has no candles", host=self.channel.host)

    def published(self, key: SeriesKey, start_ms: int, end_ms: int) -> list[Window]:
        """Of a series that the exchange's APIs do not know: the windows that this source has all the same."""
        return []

    def last_month(self, key: SeriesKey) -> str:
        """Of such a series: a month of which this source has candles; empty for none."""
        return ""

    def fetch(self, key: SeriesKey, window: Window) -> Bars:
        """The closed candles of one window; those missing are simply not there."""
        raise NotOffered(f"{self.name} has no candles", host=self.channel.host)

    def first_open_ms(self, key: SeriesKey, start_ms: int) -> int | None:
        """open_time of the first candle at or after `start_ms`, if it can be known cheaply; saves paging through nothing."""
        return None

    def observations(self, kind: Kind, symbol: str, start_ms: int, end_ms: int, market: Market) -> Observations:
        """Rows with start <= event_time < end. Kinds that exist only now ignore the range."""
        raise NotOffered(f"{self.name} has no {kind}", host=self.channel.host)

    def serves(self, market: Market, kind: Kind) -> bool:
        """Whether its observations of this kind are about this market."""
        return True


def grid(key: SeriesKey, start_ms: int, end_ms: int, bars: int) -> list[Window]:
    """Windows of at most `bars` candles that cover the stretch."""
    step = bars * key.interval.ms
    return [Window(at, min(at + step, end_ms)) for at in range(start_ms, end_ms, step)]


def cut(found: Observations, start_ms: int, end_ms: int) -> Observations:
    """Rows with start <= event_time < end."""
    return found.take((found.event_time >= start_ms) & (found.event_time < end_ms))


def one_series(kind: Kind, parts: Iterable[Observations], provenance: str, note: str = "") -> Observations:
    """Pages joined; where pages overlap, the first of equal event_times stays."""
    import numpy as np

    whole = joined(kind, list(parts), provenance, note)
    order = np.argsort(whole.event_time, kind="stable")
    _, first = np.unique(whole.event_time[order], return_index=True)
    return whole.take(order[first])
