"""The 37 features a model sees, all scale-free and causal, and the raw columns of the same names in native units for people.

One function makes the table for training and the row for serving; a value at a bar uses that bar and earlier ones of its gap-free
segment. Windows that reach over a hole are NaN; nothing is filled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.frames import Candles
from data.indicators import (
    adx,
    atr,
    bollinger,
    directional,
    efficiency_ratio,
    ema,
    fractal_dimension,
    kalman_trend,
    macd,
    range_volatility,
    rsi,
    stochrsi,
    zscore,
)
from data.indicators.restart import quotient, shifted, warmed
from data.indicators.windows import trailing_max, trailing_mean, trailing_min, trailing_sd, trailing_sum
from data.market import DAY_MS, HOUR_MS


@dataclass(frozen=True)
class Feature:
    """One column. `causality` P: decided by its window; R: recursive, converges within its warm-up (methods.md N7)."""

    name: str
    formula: str
    warmup_bars: int
    causality: str = "P"


FEATURES = (
    Feature("returns_1m", "C/C_1 - 1, one bar of the series", 2), Feature("returns_5m", "C/C_5 - 1", 6),
    Feature("ret_15", "C/C_15 - 1", 16), Feature("ret_60", "C/C_60 - 1", 61),
    Feature("rsi_14", "RSI14/100 - .5", 220, "R"), Feature("ema_12", "C/EMA12 - 1", 80, "R"), Feature("ema_26", "C/EMA26 - 1", 180, "R"),
    Feature("ema_cross", "(EMA12 - EMA26)/ATR14", 200, "R"), Feature("macd", "MACD/ATR14", 220, "R"),
    Feature("macd_signal", "MACD signal/ATR14", 220, "R"), Feature("macd_hist", "MACD histogram/ATR14", 220, "R"),
    Feature("bollinger_high", "(upper band - C)/ATR14", 200, "R"), Feature("bollinger_low", "(C - lower band)/ATR14", 200, "R"),
    Feature("bb_width", "(upper - lower)/middle", 20), Feature("atr", "ATR14/C", 200, "R"),
    Feature("volume_delta", "ln((V+1)/(V_1+1)) clipped to +-3, V quote volume", 2),
    Feature("vol_z20", "z-score of ln(V+1) over 20 bars", 20),
    Feature("hour_sin", "sin(2 pi h/24), h the fractional UTC hour of the close", 1), Feature("hour_cos", "cos(2 pi h/24)", 1),
    Feature("dow_sin", "sin(2 pi d/7), d the day of the week", 1), Feature("dow_cos", "cos(2 pi d/7)", 1),
    Feature("adx_14", "ADX14/100", 230, "R"), Feature("di_diff", "(+DI - -DI)/100", 230, "R"),
    Feature("stochrsi_k", "stochastic RSI/100 - .5", 220, "R"), Feature("roc_10", "(C/C_10 - 1)/(ATR14/C)", 200, "R"),
    Feature("zscore_50", "(C - mean50)/sd50", 50), Feature("rv_ratio", "ln(sd20(r)/sd100(r))", 101),
    Feature("yz_vol_20", "Yang-Zhang volatility of 20 bars, per bar", 21), Feature("er_20", "Kaufman's efficiency ratio", 21),
    Feature("kalman_t", "filtered slope over its standard error", 500, "R"), Feature("fdi_100", "Sevcik's fractal dimension", 100),
    Feature("range_pos_50", "(C - lowest low)/(highest high - lowest low) of 50 bars", 50),
    Feature("dist_high_200", "ln(C/highest high of 200 bars)", 200), Feature("body", "(C - O)/(H - L), 0 where H = L", 1),
    Feature("wick_asym", "((H - max(O,C)) - (min(O,C) - L))/(H - L), 0 where H = L", 1),
    Feature("taker_imb_20", "sum20(2 TB - V)/sum20(V)", 20), Feature("vwap_gap_24", "C/VWAP24 - 1", 24),
)
NAMES = tuple(feature.name for feature in FEATURES)
POSITION = {name: i for i, name in enumerate(NAMES)}
SERVING_BARS = 1_500  # enough for every warm-up twice over
# The columns of the request this grew from, as people read them.
RAW_COLUMNS = ("rsi_14", "ema_12", "ema_26", "macd", "macd_signal", "bollinger_high", "bollinger_low", "atr", "volume_delta", "returns_1m",
               "returns_5m", "hour_sin", "hour_cos")


@dataclass(frozen=True)
class FeatureTable:
    """Rows are bars, columns `names`; float64, NaN where a feature is not known. `close_time` says when each row became known."""

    close_time: np.ndarray
    names: tuple[str, ...]
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.close_time)

    def column(self, name: str) -> np.ndarray:
        return self.values[:, self.names.index(name)]

    @property
    def coverage(self) -> np.ndarray:
        """Share of known features in each row."""
        return np.isfinite(self.values).mean(axis=1)


def feature_table(candles: Candles) -> FeatureTable:
    """All features of all bars."""
    table = np.empty((len(candles), len(NAMES)), order="F")
    _columns(candles, _Table(table))
    return FeatureTable(candles.close_time, NAMES, table)


class _Table(dict[str, np.ndarray]):
    """Columns by name that are written through into one table at once: 37 of them are never held twice."""

    def __init__(self, table: np.ndarray) -> None:
        super().__init__()
        self._table = table

    def __setitem__(self, name: str, column: np.ndarray) -> None:
        place = self._table[:, POSITION[name]]
        place[:] = column
        super().__setitem__(name, place)

    def __ior__(self, more: dict[str, np.ndarray]) -> _Table:  # type: ignore[override,misc]
        for name, column in more.items():
            self[name] = column
        return self


def newest_row(candles: Candles) -> FeatureTable:
    """The features of the newest bar alone, from as much history as they need: what serving uses."""
    table = feature_table(candles.tail(SERVING_BARS))
    return FeatureTable(table.close_time[-1:], table.names, table.values[-1:])


def raw_columns(candles: Candles) -> dict[str, np.ndarray]:
    """RAW_COLUMNS in native units: prices in quote currency, RSI 0..100, returns as fractions."""
    bands, (line, signal, _), scaled = bollinger(candles), macd(candles), _columns(candles, {})
    native = {"rsi_14": rsi(candles), "ema_12": ema(candles, window=12), "ema_26": ema(candles, window=26), "macd": line,
              "macd_signal": signal, "bollinger_high": bands.upper, "bollinger_low": bands.lower, "atr": atr(candles)}
    return {name: native[name] if name in native else scaled[name] for name in RAW_COLUMNS}


def _columns(candles: Candles, out: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    close, opened, high, low = candles.close, candles.open, candles.high, candles.low
    quote, base, taker = candles.quote_volume, candles.volume, candles.taker_buy_volume
    log_return = candles.log_return

    def back(bars: int) -> np.ndarray:
        return warmed(quotient(close, shifted(close, bars)) - 1.0, candles, bars + 1)

    for name, bars in (("returns_1m", 1), ("returns_5m", 5), ("ret_15", 15), ("ret_60", 60)):
        out[name] = back(bars)
    fast, slow, (line, signal, histogram) = ema(candles, window=12), ema(candles, window=26), macd(candles)
    bands, reach = bollinger(candles), atr(candles)
    share = quotient(reach, close)
    out["rsi_14"] = rsi(candles) / 100.0 - 0.5
    out["ema_12"], out["ema_26"] = quotient(close, fast) - 1.0, quotient(close, slow) - 1.0
    out["ema_cross"] = quotient(fast - slow, reach)
    out["macd"], out["macd_signal"], out["macd_hist"] = (quotient(x, reach) for x in (line, signal, histogram))
    out["bollinger_high"], out["bollinger_low"] = quotient(bands.upper - close, reach), quotient(close - bands.lower, reach)
    out["bb_width"], out["atr"] = bands.width, share
    with np.errstate(divide="ignore", invalid="ignore"):
        volume = np.log(quote + 1.0)
        out["volume_delta"] = warmed(np.clip(volume - shifted(volume, 1), -3.0, 3.0), candles, 2)
    out["vol_z20"] = warmed(quotient(volume - trailing_mean(volume, 20), trailing_sd(volume, 20)), candles, 20)
    out |= _clock(candles.close_time)
    plus, minus = directional(candles)
    out["adx_14"], out["di_diff"] = adx(candles) / 100.0, (plus - minus) / 100.0
    out["stochrsi_k"] = stochrsi(candles) / 100.0 - 0.5
    out["roc_10"] = quotient(back(10), share)
    out["zscore_50"] = zscore(candles)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(quotient(trailing_sd(log_return, 20), trailing_sd(log_return, 100)))
    out["rv_ratio"] = np.where(np.isfinite(ratio), ratio, np.nan)
    out["yz_vol_20"] = range_volatility(candles).yang_zhang / np.sqrt(candles.interval.bars_per_year)
    out["er_20"], out["kalman_t"], out["fdi_100"] = efficiency_ratio(candles), kalman_trend(candles).t, fractal_dimension(candles)
    top, floor = trailing_max(high, 50), trailing_min(low, 50)
    out["range_pos_50"] = warmed(quotient(close - floor, top - floor), candles, 50)
    with np.errstate(divide="ignore", invalid="ignore"):
        out["dist_high_200"] = warmed(np.log(quotient(close, trailing_max(high, 200))), candles, 200)
    span = high - low
    still = span == 0.0
    out["body"] = np.where(still, 0.0, quotient(close - opened, span))
    out["wick_asym"] = np.where(still, 0.0, quotient((high - np.maximum(opened, close)) - (np.minimum(opened, close) - low), span))
    out["taker_imb_20"] = warmed(quotient(trailing_sum(2.0 * taker - base, 20), trailing_sum(base, 20)), candles, 20)
    out["vwap_gap_24"] = warmed(quotient(close * trailing_sum(base, 24), trailing_sum(quote, 24)) - 1.0, candles, 24)
    return out


def _clock(close_time: np.ndarray) -> dict[str, np.ndarray]:
    """Hour of the day and day of the week of the moment after the close, on circles."""
    after = np.asarray(close_time, np.int64) + 1
    hour = (after % DAY_MS) / HOUR_MS
    day = (after // DAY_MS + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
    return {"hour_sin": np.sin(2 * np.pi * hour / 24), "hour_cos": np.cos(2 * np.pi * hour / 24),
            "dow_sin": np.sin(2 * np.pi * day / 7), "dow_cos": np.cos(2 * np.pi * day / 7)}
