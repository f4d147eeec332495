"""The vocabulary of a market: venue, market, symbol, interval, and where a value came from."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from enum import StrEnum

from data.errors import InputError, UnknownInterval, UnknownSymbol

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
YEAR_MS = 365 * DAY_MS  # crypto trades every day (methods.md N6)

VENUE = "binance"


class Market(StrEnum):
    SPOT = "spot"
    PERP = "perp"  # USDT-margined perpetual; the archive calls it futures/um

    @classmethod
    def parse(cls, text: str) -> Market:
        try:
            return cls(text.strip().lower())
        except ValueError:
            raise InputError(f"expected market spot or perp, got {text[:20]!r}; e.g. --market spot") from None


class Interval(StrEnum):
    """Candle lengths with a fixed duration. A week starts on Monday, as Binance's does."""

    M1 = "1m"
    M3 = "3m"
    M5 = "5m"
    M15 = "15m"
    M30 = "30m"
    H1 = "1h"
    H2 = "2h"
    H4 = "4h"
    H6 = "6h"
    H8 = "8h"
    H12 = "12h"
    D1 = "1d"
    D3 = "3d"
    W1 = "1w"

    @property
    def ms(self) -> int:
        """Length in milliseconds."""
        return int(self.value[:-1]) * _UNIT_MS[self.value[-1]]

    @property
    def bars_per_year(self) -> float:
        """8760 for 1h: 365 days, since crypto never closes."""
        return YEAR_MS / self.ms

    def floor(self, ms: int) -> int:
        """The open_time of the bar that holds the moment `ms`."""
        offset = _MONDAY_MS if self is Interval.W1 else 0
        return (ms - offset) // self.ms * self.ms + offset

    @classmethod
    def parse(cls, text: str) -> Interval:
        try:
            return cls(text.strip())
        except ValueError:
            near = difflib.get_close_matches(text.strip().lower(), [i.value for i in cls], n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]}?" if near else ""
            known = " ".join(i.value for i in cls)
            raise UnknownInterval(f"expected an interval ({known}), got {text[:20]!r}{hint}") from None


_UNIT_MS = {"m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS, "w": 7 * DAY_MS}
_MONDAY_MS = 4 * DAY_MS  # 1970-01-05, the first Monday of the epoch


class Provenance(StrEnum):
    """Where a candle came from, from most to least trusted. Another venue reads VENUE:name."""

    LIVE = "LIVE"
    MIRROR = "MIRROR"
    ARCHIVE = "ARCHIVE"
    IMPORTED = "IMPORTED"
    SIMULATED = "SIMULATED"


def provenance_rank(provenance: str) -> int:
    """0 for LIVE, growing with distance from the exchange; VENUE:name stands between ARCHIVE and IMPORTED."""
    if provenance.startswith("VENUE:"):
        return 3
    order = {"LIVE": 0, "MIRROR": 1, "ARCHIVE": 2, "IMPORTED": 4, "SIMULATED": 5}
    try:
        return order[provenance]
    except KeyError:
        raise InputError(f"unknown provenance {provenance[:30]!r}; expected one of {', '.join(order)}, VENUE:name") from None


def worst_provenance(provenances: list[str]) -> str:
    """What a mixed series must be called.

    >>> worst_provenance(["LIVE", "IMPORTED", "ARCHIVE"])
    'IMPORTED'
    """
    return max(provenances, key=provenance_rank)


def parse_symbol(text: str) -> str:
    """A symbol in Binance's spelling. Letters, digits and one underscore (quarterly contracts): nothing a path or HTML could use.

    >>> parse_symbol(" btcusdt ")
    'BTCUSDT'
    """
    symbol = text.strip().upper()
    if not (2 <= len(symbol) <= 24 and symbol.replace("_", "", 1).isalnum()):
        raise UnknownSymbol(f"expected a symbol such as BTCUSDT (2 to 24 letters and digits), got {text[:40]!r}")
    return symbol


def did_you_mean(symbol: str, known: list[str]) -> str:
    """'; did you mean BTCUSDT?' or nothing."""
    near = difflib.get_close_matches(symbol, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


@dataclass(frozen=True, order=True)
class SeriesKey:
    """What one series of candles is: decisions about uniqueness, files and caches all use these four."""

    symbol: str
    interval: Interval
    market: Market = Market.SPOT
    venue: str = VENUE

    def __str__(self) -> str:
        return f"{self.symbol} {self.interval} {self.market}"

    def at(self, interval: Interval) -> SeriesKey:
        """The same series at another interval."""
        return SeriesKey(self.symbol, interval, self.market, self.venue)


class Slippage(StrEnum):
    """How the price paid differs from the price seen (methods.md 7.1)."""

    FIXED = "fixed"  # `slippage_bps`
    SPREAD = "spread"  # half the estimated spread + `extra_bps`
    SQRT = "sqrt"  # half the estimated spread + square-root impact of the order's size


@dataclass(frozen=True)
class Costs:
    """What trading costs: fees and the slippage schedule. core/trading/costs.py applies it.

    Attributes
    ----------
    maker_bps, taker_bps : float
        Fee per side in basis points of the notional. A maker fee may be a rebate (below zero) down to -5.
    slippage_bps : float
        Of the fixed model, per side.
    extra_bps : float
        Of the spread model, on top of half the spread.
    impact : float
        Y of the square-root law `Y sig_d sqrt(Q / ADV)`.
    """

    maker_bps: float = 10.0
    taker_bps: float = 10.0
    slippage: Slippage = Slippage.FIXED
    slippage_bps: float = 2.0
    extra_bps: float = 1.0
    impact: float = 1.0

    def __post_init__(self) -> None:
        for name, lowest in (("maker_bps", -5.0), ("taker_bps", 0.0), ("slippage_bps", 0.0), ("extra_bps", 0.0), ("impact", 0.0)):
            value = getattr(self, name)
            if not (math.isfinite(value) and lowest <= value <= 1_000.0):
                raise InputError(f"costs.{name}: expected {lowest:g} to 1000, got {value!r}; 10 means 0.10 % a side")
        object.__setattr__(self, "slippage", Slippage(self.slippage))

    @classmethod
    def of(cls, market: Market) -> Costs:
        """Binance's published fees without any discount: spot 0.10/0.10 %, perpetual maker 0.02 %, taker 0.05 %."""
        return cls() if market is Market.SPOT else cls(maker_bps=2.0, taker_bps=5.0)

    @classmethod
    def none(cls) -> Costs:
        """A frictionless world, for comparisons."""
        return cls(maker_bps=0.0, taker_bps=0.0, slippage_bps=0.0, extra_bps=0.0, impact=0.0)
