"""Indicators of one series of candles, each restarted after every gap; `INDICATORS` lists them with unit and warm-up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.frames import Candles
from data.indicators.averages import ema, ema_warmup, kama, macd, sma
from data.indicators.bands import Bands, bollinger
from data.indicators.demark import range_expansion_index
from data.indicators.efficiency import efficiency_ratio
from data.indicators.entropy import permutation_entropy, shannon_entropy
from data.indicators.fractal import fractal_dimension
from data.indicators.hilbert import dominant_period, trend_mode, trendline
from data.indicators.hurst import hurst
from data.indicators.kalman import Trend, kalman_trend
from data.indicators.oscillators import momentum, rate_of_change, rsi, stochrsi, zscore
from data.indicators.ranges import adx, adx_warmup, atr, directional, natr, range_expansion, true_range
from data.indicators.variance_ratio import variance_ratio
from data.indicators.volatility import (
    RangeVolatility,
    ewma_volatility,
    historical_volatility,
    range_volatility,
)
from data.indicators.wavelet import energy_shares, wavelet_trend


@dataclass(frozen=True)
class Indicator:
    """One line on the shelf: what it gives, from how many bars on, and how it depends on where its history begins.

    `causality` is "P" (the window decides alone) or "R" (recursive, converges during the warm-up). `warmup_bars` is the row,
    counted from 1 within a gap-free segment, of the first value.
    """

    name: str
    outputs: tuple[str, ...]
    unit: str
    warmup_bars: int
    causality: str
    function: Callable[..., Any]
    options: Mapping[str, Any]

    def __call__(self, candles: Candles) -> dict[str, np.ndarray]:
        """Every output by name, each of shape (n_bars,)."""
        answer = self.function(candles, **self.options)
        if isinstance(answer, np.ndarray):
            columns = list(answer.T) if answer.ndim == 2 else [answer]
        elif isinstance(answer, tuple):
            columns = list(answer)
        else:
            columns = [getattr(answer, name) for name in self.outputs]
        return dict(zip(self.outputs, columns, strict=True))

    @property
    def explanation(self) -> str:
        """The text under "how is this computed"."""
        import inspect

        return inspect.getdoc(self.function) or ""


def _one(name: str, unit: str, warmup_bars: int, causality: str, function: Callable[..., Any], *outputs: str,
         **options: Any) -> Indicator:
    return Indicator(name, outputs or (name,), unit, warmup_bars, causality, function, options)


INDICATORS: tuple[Indicator, ...] = (
    _one("sma_20", "quote", 20, "P", sma, window=20),
    *(_one(f"ema_{n}", "quote", ema_warmup(n), "R", ema, window=n) for n in (12, 26, 50, 200)),
    _one("kama_10", "quote", 220, "R", kama, window=10),
    _one("macd", "quote", 220, "R", macd, "macd", "macd_signal", "macd_histogram"),
    _one("rsi_14", "0..100", 220, "R", rsi, window=14),
    _one("stochrsi_14", "0..100", 220, "R", stochrsi),
    _one("mom_20", "quote", 21, "P", momentum, window=20),
    _one("roc_20", "%", 21, "P", rate_of_change, window=20),
    _one("zscore_50", "sd", 50, "P", zscore, window=50),
    _one("bollinger", "quote, quote, quote, sd/2, 1, 1", 20, "P", bollinger, "middle", "upper", "lower", "position", "percent_b",
         "width"),
    _one("true_range", "quote", 2, "P", true_range),
    _one("range_expansion_20", "1", 21, "P", range_expansion),
    _one("atr_14", "quote", 200, "R", atr, window=14),
    _one("natr_14", "%", 200, "R", natr, window=14),
    _one("di_14", "0..100", 230, "R", directional, "plus_di", "minus_di", window=14),
    *(_one(f"adx_{n}", "0..100", adx_warmup(n), "R", adx, window=n) for n in (14, 28)),
    _one("hv_20", "per year", 21, "P", historical_volatility, window=20),
    _one("range_volatility_20", "per year", 20, "P", range_volatility, "parkinson", "garman_klass", "rogers_satchell", "yang_zhang",
         window=20),
    _one("ewma_vol_94", "per bar", 260, "R", ewma_volatility, decay=0.94),
    _one("kalman", "ln/bar, ln/bar, 1", 500, "R", kalman_trend, "slope", "sd", "t"),
    _one("wavelet_trend", "fraction", 32, "P", wavelet_trend),
    _one("wavelet_energy", "share", 159, "P", energy_shares, "d1", "d2", "d3", "d4", "d5"),
    _one("ht_trendline", "quote", 170, "R", trendline),
    _one("ht_period", "bars", 300, "R", dominant_period),
    _one("ht_trend_mode", "0 or 1", 300, "R", trend_mode),
    *(_one(f"fdi_{n}", "1..2", n, "P", fractal_dimension, window=n) for n in (30, 100)),
    *(_one(f"hurst_{n}", "0..1", n, "P", hurst, window=n) for n in (100, 512)),
    _one("permutation_entropy_200", "0..1", 200, "P", permutation_entropy),
    _one("shannon_entropy_200", "0..1", 201, "P", shannon_entropy),
    *(_one(f"variance_ratio_{q}", "1, sd", 201, "P", variance_ratio, "ratio", "z", lag=q) for q in (2, 4, 8, 16)),
    _one("rei_5", "-100..100", 13, "P", range_expansion_index),
    _one("efficiency_20", "0..1", 21, "P", efficiency_ratio),
)

__all__ = [
    "INDICATORS", "Bands", "Indicator", "RangeVolatility", "Trend", "adx", "adx_warmup", "atr", "bollinger", "directional",
    "dominant_period", "efficiency_ratio", "ema", "ema_warmup", "energy_shares", "ewma_volatility", "fractal_dimension",
    "historical_volatility", "hurst", "kalman_trend", "kama", "macd", "momentum", "natr", "permutation_entropy",
    "range_expansion", "range_expansion_index", "range_volatility", "rate_of_change", "rsi", "shannon_entropy", "sma",
    "stochrsi", "trend_mode", "trendline", "true_range", "variance_ratio", "wavelet_trend", "zscore",
]
