"""The 37 features of a year of minutes against TA-Lib and pandas called per column, and one new bar against recomputing.

Both peers make the same columns from the same arrays. Neither has the Kalman filter: they call ours for that one column, which favours
them. The fractal dimension is a sliding window in chunks of numpy, the fastest way to write it without a loop.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from data.features import NAMES, feature_table, newest_row
from data.frames import Candles
from data.indicators import kalman_trend
from data.market import Interval
from data.simulator import worlds

BARS, SERVED_BARS, ROUNDS, ONE_ROUNDS = 525_600, 43_800, 5, 9
CHUNK = 20_000


def candles_of(bars: int) -> Candles:
    """A year of minutes with every column, taker volumes too."""
    made = worlds.candles_of(worlds.random_walk(1, bars), seed=1, interval=Interval.M1, bar_sd=0.0006)
    columns = made.columns()
    share = worlds.generator(2).uniform(0.3, 0.7, bars)
    columns |= {"quote_volume": made.volume * made.close, "taker_buy_volume": made.volume * share,
                "taker_buy_quote_volume": made.volume * share * made.close, "count": np.round(made.volume)}
    return Candles.from_columns(made.interval, columns)


def fractal(close: np.ndarray) -> np.ndarray:
    out = np.full(len(close), np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(close, 100)
    for start in range(0, len(windows), CHUNK):
        w = windows[start : start + CHUNK]
        low, high = w.min(axis=1, keepdims=True), w.max(axis=1, keepdims=True)
        length = np.sqrt((1 / 99) ** 2 + np.diff((w - low) / (high - low), axis=1) ** 2).sum(axis=1)
        out[start + 99 : start + 99 + len(w)] = 1 + (np.log(length) + np.log(2)) / np.log(198)
    return out


def with_talib(c: Candles) -> dict[str, Any]:
    import talib

    h, low, close = c.high, c.low, c.close
    line, signal, histogram = talib.MACD(close, 12, 26, 9)
    upper, middle, lower = talib.BBANDS(close, 20, 2, 2)
    return {"rsi": talib.RSI(close, 14), "e12": talib.EMA(close, 12), "e26": talib.EMA(close, 26), "atr": talib.ATR(h, low, close, 14),
            "macd": line, "signal": signal, "hist": histogram, "upper": upper, "middle": middle, "lower": lower,
            "adx": talib.ADX(h, low, close, 14), "plus": talib.PLUS_DI(h, low, close, 14), "minus": talib.MINUS_DI(h, low, close, 14),
            "k": talib.STOCHRSI(close, 14, 14, 3)[0], "hh50": talib.MAX(h, 50), "ll50": talib.MIN(low, 50), "hh200": talib.MAX(h, 200)}


def with_pandas(c: Candles) -> dict[str, Any]:
    h, low, close = (pd.Series(getattr(c, n)) for n in ("high", "low", "close"))
    move, before = close.diff(), close.shift(1)

    def wilder(x: pd.Series) -> pd.Series:
        return x.ewm(alpha=1 / 14, adjust=False).mean()

    rsi = 100 - 100 / (1 + wilder(move.clip(lower=0)) / wilder(-move.clip(upper=0)))
    span = pd.concat([h - low, (h - before).abs(), (low - before).abs()], axis=1).max(axis=1)
    up, down = h.diff(), -low.diff()
    plus = 100 * wilder(up.where((up > down) & (up > 0), 0.0)) / wilder(span)
    minus = 100 * wilder(down.where((down > up) & (down > 0), 0.0)) / wilder(span)
    e12, e26 = close.ewm(span=12, adjust=False).mean(), close.ewm(span=26, adjust=False).mean()
    line = e12 - e26
    signal = line.ewm(span=9, adjust=False).mean()
    middle, sd = close.rolling(20).mean(), close.rolling(20).std(ddof=0)
    floor, top = rsi.rolling(14).min(), rsi.rolling(14).max()
    return {"rsi": rsi, "e12": e12, "e26": e26, "atr": wilder(span), "macd": line, "signal": signal, "hist": line - signal,
            "upper": middle + 2 * sd, "middle": middle, "lower": middle - 2 * sd,
            "adx": wilder(100 * (plus - minus).abs() / (plus + minus)), "plus": plus, "minus": minus,
            "k": 100 * (rsi - floor) / (top - floor), "hh50": h.rolling(50).max(), "ll50": low.rolling(50).min(),
            "hh200": h.rolling(200).max()}


def columns(c: Candles, indicators: Callable[[Candles], dict[str, Any]]) -> dict[str, np.ndarray]:
    """All 37, one by one, from a library's indicators and pandas' rolling windows."""
    i = {name: pd.Series(x) for name, x in indicators(c).items()}
    o, h, low, close = (pd.Series(getattr(c, n)) for n in ("open", "high", "low", "close"))
    v, q, tb = (pd.Series(getattr(c, n)) for n in ("volume", "quote_volume", "taker_buy_volume"))
    r, lv, atr = np.log(close / close.shift(1)), np.log(q + 1), i["atr"]
    after = pd.to_datetime(c.close_time + 1, unit="ms", utc=True)
    hour, day = after.hour + after.minute / 60 + after.second / 3600, after.day_of_week
    rs = np.log(h / o) * np.log(h / close) + np.log(low / o) * np.log(low / close)
    k = 0.34 / (1.34 + 21 / 19)
    yz = np.log(o / close.shift(1)).rolling(20).var() + k * np.log(close / o).rolling(20).var() + (1 - k) * rs.rolling(20).mean()
    top, bottom, mean50 = np.maximum(o, close), np.minimum(o, close), close.rolling(50).mean()
    out = {
        "returns_1m": close / close.shift(1) - 1, "returns_5m": close / close.shift(5) - 1, "ret_15": close / close.shift(15) - 1,
        "ret_60": close / close.shift(60) - 1, "rsi_14": i["rsi"] / 100 - 0.5, "ema_12": close / i["e12"] - 1,
        "ema_26": close / i["e26"] - 1, "ema_cross": (i["e12"] - i["e26"]) / atr, "macd": i["macd"] / atr,
        "macd_signal": i["signal"] / atr, "macd_hist": i["hist"] / atr,
        "bollinger_high": (i["upper"] - close) / atr, "bollinger_low": (close - i["lower"]) / atr,
        "bb_width": (i["upper"] - i["lower"]) / i["middle"], "atr": atr / close, "volume_delta": lv.diff().clip(-3, 3),
        "vol_z20": (lv - lv.rolling(20).mean()) / lv.rolling(20).std(), "hour_sin": np.sin(2 * np.pi * hour / 24),
        "hour_cos": np.cos(2 * np.pi * hour / 24), "dow_sin": np.sin(2 * np.pi * day / 7), "dow_cos": np.cos(2 * np.pi * day / 7),
        "adx_14": i["adx"] / 100, "di_diff": (i["plus"] - i["minus"]) / 100, "stochrsi_k": i["k"] / 100 - 0.5,
        "roc_10": (close / close.shift(10) - 1) / (atr / close), "zscore_50": (close - mean50) / close.rolling(50).std(),
        "rv_ratio": np.log(r.rolling(20).std() / r.rolling(100).std()), "yz_vol_20": np.sqrt(yz),
        "er_20": (close - close.shift(20)).abs() / close.diff().abs().rolling(20).sum(), "kalman_t": kalman_trend(c).t,
        "fdi_100": fractal(c.close), "range_pos_50": (close - i["ll50"]) / (i["hh50"] - i["ll50"]),
        "dist_high_200": np.log(close / i["hh200"]),
        "body": (close - o) / (h - low), "wick_asym": ((h - top) - (bottom - low)) / (h - low),
        "taker_imb_20": (2 * tb - v).rolling(20).sum() / v.rolling(20).sum(),
        "vwap_gap_24": close / (q.rolling(24).sum() / v.rolling(24).sum()) - 1,
    }
    return {name: np.asarray(x, float) for name, x in out.items()}


def measured(ours: Callable[[], Any], *peers: Callable[[], Any], rounds: int) -> list[float]:
    """Medians in milliseconds of interleaved rounds after one of warm-up."""
    times: list[list[float]] = [[] for _ in range(1 + len(peers))]
    for turn in range(rounds + 1):
        for i, act in enumerate((ours, *peers)):
            start = time.perf_counter()
            act()
            if turn:
                times[i].append(1000 * (time.perf_counter() - start))
    return [statistics.median(t) for t in times]


def agree(c: Candles) -> None:
    """Same numbers as the TA-Lib columns, else the comparison means nothing."""
    table, truth = feature_table(c), columns(c, with_talib)
    for i, name in enumerate(NAMES):
        both = np.isfinite(table.values[:, i]) & np.isfinite(truth[name])
        scale = float(np.std(truth[name][both])) or 1.0
        assert np.max(np.abs(table.values[:, i] - truth[name])[both][600:]) < 1e-5 * max(1.0, scale), name


def run() -> list[dict]:
    year, served = candles_of(BARS), candles_of(SERVED_BARS)
    agree(served)
    whole, talib, frames = measured(lambda: feature_table(year), lambda: columns(year, with_talib), lambda: columns(year, with_pandas),
                                    rounds=ROUNDS)
    one, again = measured(lambda: newest_row(served), lambda: columns(served, with_pandas), rounds=ONE_ROUNDS)
    name = f"37 features, {BARS:,} bars"
    return [
        {"name": name, "ours_ms": whole, "peer": "TA-Lib per column", "peer_ms": talib, "ratio": whole / talib, "target": "0.8x"},
        {"name": name, "ours_ms": whole, "peer": "pandas per column", "peer_ms": frames, "ratio": whole / frames, "target": "0.25x"},
        {"name": f"features of one new bar, {SERVED_BARS:,} bars held", "ours_ms": one, "peer": "recomputed with pandas", "peer_ms": again,
         "ratio": one / again, "target": "0.05x"},
    ]
