"""What is shown of one market beside its trend score."""

from __future__ import annotations

from typing import Any

import numpy as np

from data.frames import Candles
from data.indicators import (
    adx,
    atr,
    bollinger,
    dominant_period,
    ema,
    energy_shares,
    fractal_dimension,
    momentum,
    rate_of_change,
    trend_mode,
)

MODE_BARS = 1000  # a yes or no that forgets its beginning within 300, and the slowest of all to compute


def beside(candles: Candles) -> dict[str, Any]:
    """What the page shows of the view's own market beside the score: native units, newest bar, None where unknown."""
    band, reach = bollinger(candles.tail(64)), atr(candles)
    shares = energy_shares(candles.tail(192))
    return {
        "ema_50": _last(ema(candles, window=50)), "ema_200": _last(ema(candles, window=200)),
        "mom_20": _last(momentum(candles.tail(64), window=20)), "roc_20_pct": _last(rate_of_change(candles.tail(64), window=20)),
        "percent_b": _last(band.percent_b), "bb_width": _last(band.width), "atr_14": _last(reach),
        "natr_14_pct": _last(100.0 * reach / candles.close), "adx_14": _last(adx(candles)),
        "dominant_period_bars": _last(dominant_period(candles)), "trend_mode": _last(trend_mode(candles.tail(MODE_BARS))),
        "fdi_30": _last(fractal_dimension(candles.tail(64), window=30)),
        "wavelet_energy_shares": [_plain(v) for v in shares[-1]] if len(shares) else [],
    }


def _last(values: np.ndarray) -> float | None:
    return _plain(values[-1]) if len(values) else None


def _plain(value: float | np.floating) -> float | None:
    return float(value) if np.isfinite(value) else None
