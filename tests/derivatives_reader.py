"""Observations held in memory: views whose derivatives rows a test has written itself."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from analysis.fits import FitCache
from analysis.module import ScoreModule
from data.frames import Candles, aggregate, concat
from data.market import DAY_MS, HOUR_MS, Interval, Market, SeriesKey
from data.observations import COLUMNS_OF, Kind, Observations
from data.view import MarketView, build_view
from tests.memory_reader import MemoryReader

PUBLISHED_MS = 300_000


class HeldObservations:
    """An `ObservationReader` of given rows."""

    def __init__(self, rows: Mapping[Kind, Observations]) -> None:
        self._rows = rows

    def known(self, symbol: str, kind: Kind, market: Market, start_ms: int, at_ms: int) -> Observations:
        found = self._rows.get(kind)
        if found is None:
            return Observations.empty(kind, note=f"no {kind} of {symbol} in this world")
        known = found.known_at(at_ms)
        return known.take(known.available_time >= start_ms)

    def version(self, symbol: str) -> str:
        return "held"


def rows(kind: Kind, event: np.ndarray, *, late_ms: int = PUBLISHED_MS, **columns: np.ndarray) -> Observations:
    """Rows with the columns given; the others are NaN."""
    event = np.asarray(event, np.int64)
    nothing = np.full(len(event), np.nan)
    return Observations(kind, event, event + late_ms, {name: np.broadcast_to(np.asarray(columns.get(name, nothing), float), event.shape)
                                                       for name in COLUMNS_OF[kind]})


def funding(rate: np.ndarray, end_ms: int, hours: float | np.ndarray = 8.0) -> Observations:
    """Settlements on one grid, the last at `end_ms`."""
    hours = np.broadcast_to(np.asarray(hours, float), np.shape(rate))
    event = end_ms - np.concatenate((np.cumsum(hours[::-1])[::-1][1:], [0.0])) * HOUR_MS
    return rows(Kind.FUNDING, event, late_ms=1_000, rate=rate, interval_h=hours)


def hourly(kind: Kind, values: np.ndarray, end_ms: int, column: str) -> Observations:
    """One row an hour, the last describing `end_ms`."""
    event = end_ms - np.arange(len(values))[::-1] * HOUR_MS
    return rows(kind, event, **{column: values})


def view_with(module: ScoreModule, candles: Candles, observed: Mapping[Kind, Observations], *, at_ms: int | None = None, perp: bool = True,
              fits: FitCache | None = None) -> MarketView:
    """The view `module` declares of one hourly series, spot and (the same) perpetual, with these observations."""
    series = {}
    for market in Market if perp else (Market.SPOT,):
        key = SeriesKey("XYZUSDT", candles.interval, market)
        series |= {key: candles, key.at(Interval.D1): _days(aggregate(candles, Interval.D1))}
    return build_view(MemoryReader(series), "XYZUSDT", Market.SPOT, candles.interval, module.needs, at_ms=at_ms, fits=fits,
                      observations=HeldObservations(observed))


def _days(known: Candles) -> Candles:
    """The days, and before them as many of 3 % range at the first day's open as an average range needs to settle."""
    n = 230
    price = np.full(n, float(known.open[0]))
    opened = int(known.open_time[0]) - np.arange(n, 0, -1) * DAY_MS
    before = Candles.from_columns(Interval.D1, {"open_time": opened, "open": price, "high": price * 1.015, "low": price * 0.985,
                                                "close": price * np.where(np.arange(n) % 2, 1.01, 0.99), "volume": np.ones(n)})
    return concat((before, known))
