"""The perpetual beside a simulated spot symbol: the same hours at spot times (1 + basis), with more volume and more trades."""

from __future__ import annotations

import numpy as np

from data.frames import PRICE_COLUMNS, Candles
from data.simulator.derivatives import hourly_basis

VOLUME = 3.0  # times spot's
COUNT = 2.0


def perpetual_beside(spot: Candles, seed: int, number: int, tick: float, step: float) -> Candles:
    """The perpetual's candles. The basis is constant within an hour and rounding is monotone, so extremes of minutes stay those of
    the hour."""
    if not len(spot):
        return spot
    factor = 1.0 + hourly_basis(seed, number, spot.open_time)
    decimals, units = max(0, round(-np.log10(tick))), max(0, round(-np.log10(step)))
    columns = spot.columns()
    for name in PRICE_COLUMNS:
        columns[name] = np.maximum(tick, np.round(np.rint(columns[name] * factor / tick) * tick, decimals))
    for name in ("volume", "taker_buy_volume"):
        columns[name] = np.round(columns[name] * VOLUME, units)
    for name in ("quote_volume", "taker_buy_quote_volume"):
        columns[name] = np.round(columns[name] * VOLUME * factor, 4)
    columns["count"] = columns["count"] * COUNT
    return Candles.from_columns(spot.interval, columns, provenance=spot.provenance, halts=spot.halts)
