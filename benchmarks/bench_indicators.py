"""Indicators over a year of one-minute candles, against the same columns taken one by one from TA-Lib and from pandas.

Run: python benchmarks/bench_indicators.py. Rounds are interleaved (ours, peer, ours, peer ...) after a warm-up; medians count. A
peer that needs minutes is timed on a stretch of the same candles and scaled up by its length, which its name says.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd
import talib

from data import indicators as shelf
from data.frames import Candles
from data.indicators.entropy import order_entropy
from data.market import Interval
from data.simulator import worlds

BARS = 525_600
ROUNDS = 5
YEAR = Interval.M1.bars_per_year

Columns = dict[str, np.ndarray | pd.Series]


def ours(c: Candles) -> Columns:
    """The columns that TA-Lib and pandas can give too; each indicator once, ranges and bands shared."""
    band, (line, signal, histogram) = shelf.bollinger(c), shelf.macd(c)
    plus, minus = shelf.directional(c)
    reach, ranges, spread = shelf.atr(c), shelf.range_volatility(c), shelf.true_range(c)
    return {
        "ema_12": shelf.ema(c, window=12), "ema_26": shelf.ema(c, window=26), "macd": line, "macd_signal": signal,
        "macd_histogram": histogram, "rsi": shelf.rsi(c), "stochrsi": shelf.stochrsi(c), "mom": shelf.momentum(c, window=20),
        "roc": shelf.rate_of_change(c, window=20), "upper": band.upper, "middle": band.middle, "lower": band.lower,
        "percent_b": band.percent_b, "width": band.width, "tr": spread, "atr": reach, "natr": 100 * reach / c.close,
        "plus_di": plus, "minus_di": minus, "adx": shelf.adx(c), "hv": shelf.historical_volatility(c), "zscore": shelf.zscore(c),
        "er": shelf.efficiency_ratio(c), "parkinson": ranges.parkinson, "garman_klass": ranges.garman_klass,
        "rogers_satchell": ranges.rogers_satchell, "yang_zhang": ranges.yang_zhang, "ewma_vol": shelf.ewma_volatility(c),
        "range_expansion": shelf.range_expansion(c, reach=spread), "wavelet": shelf.wavelet_trend(c), "rei": shelf.range_expansion_index(c),
    }


def talib_mix(c: Candles) -> Columns:
    """One call a column: TA-Lib where it has the function, its SMA and STDDEV on numpy columns elsewhere, pandas for ewm."""
    o, h, q, x = c.open, c.high, c.low, c.close
    r = np.diff(np.log(x), prepend=np.log(x[0]))
    before = np.concatenate((x[:1], x[:-1]))

    def terms() -> np.ndarray:
        return np.log(h / o) * np.log(h / x) + np.log(q / o) * np.log(q / x)

    def half_width() -> np.ndarray:
        upper, middle, _ = talib.BBANDS(x, 20, 2, 2)
        return upper - middle

    def lagged(a: np.ndarray, bars: int) -> np.ndarray:
        return np.concatenate((np.full(bars, np.nan), a[:-bars]))

    def rei() -> np.ndarray:
        h2, l2 = lagged(h, 2), lagged(q, 2)
        c7, c8 = lagged(x, 7), lagged(x, 8)
        above = (h2 >= c7) | (h2 >= c8) | (h >= lagged(q, 5)) | (h >= lagged(q, 6))
        below = (l2 <= c7) | (l2 <= c8) | (q <= lagged(h, 5)) | (q <= lagged(h, 6))
        move = np.where(above & below, np.nan_to_num((h - h2) + (q - l2)), 0.0)
        return 100 * talib.SUM(move, 5) / talib.SUM(np.nan_to_num(np.abs(h - h2) + np.abs(q - l2)), 5)

    return {
        "ema_12": talib.EMA(x, 12), "ema_26": talib.EMA(x, 26), "macd": talib.MACD(x)[0], "macd_signal": talib.MACD(x)[1],
        "macd_histogram": talib.MACD(x)[2], "rsi": talib.RSI(x, 14), "stochrsi": talib.STOCHRSI(x, 14, 14, 3)[0],
        "mom": talib.MOM(x, 20), "roc": talib.ROC(x, 20), "upper": talib.BBANDS(x, 20, 2, 2)[0], "middle": talib.BBANDS(x, 20, 2, 2)[1],
        "lower": talib.BBANDS(x, 20, 2, 2)[2], "percent_b": (x - talib.BBANDS(x, 20, 2, 2)[2]) / (2 * half_width()),
        "width": 2 * half_width() / talib.SMA(x, 20), "tr": talib.TRANGE(h, q, x), "atr": talib.ATR(h, q, x, 14),
        "natr": talib.NATR(h, q, x, 14), "plus_di": talib.PLUS_DI(h, q, x, 14), "minus_di": talib.MINUS_DI(h, q, x, 14),
        "adx": talib.ADX(h, q, x, 14), "hv": talib.STDDEV(r, 20) * np.sqrt(20 / 19 * YEAR),
        "zscore": (x - talib.SMA(x, 50)) / (talib.STDDEV(x, 50) * np.sqrt(50 / 49)), "er": talib.ER(x, 20),
        "parkinson": np.sqrt(talib.SMA(np.log(h / q) ** 2, 20) / (4 * np.log(2)) * YEAR),
        "garman_klass": np.sqrt(talib.SMA(0.5 * np.log(h / q) ** 2 - (2 * np.log(2) - 1) * np.log(x / o) ** 2, 20) * YEAR),
        "rogers_satchell": np.sqrt(talib.SMA(terms(), 20) * YEAR),
        "yang_zhang": np.sqrt((talib.VAR(np.log(o / before), 20) * 20 / 19 + 0.139 * talib.VAR(np.log(x / o), 20) * 20 / 19
                               + 0.861 * talib.SMA(terms(), 20)) * YEAR),
        "ewma_vol": np.sqrt(pd.Series(r * r).ewm(alpha=0.06, adjust=False).mean()),
        "range_expansion": talib.TRANGE(h, q, x) / talib.SMA(talib.TRANGE(h, q, x), 20),
        "wavelet": talib.SMA(np.log(x), 8) - talib.SMA(np.log(x), 32), "rei": rei(),
    }


def pandas_mix(c: Candles) -> Columns:
    """The usual pandas formulas, one a column."""
    o, h, q, x = (pd.Series(getattr(c, name)) for name in ("open", "high", "low", "close"))

    def ema(series: pd.Series, n: int) -> pd.Series:
        return series.ewm(span=n, adjust=False).mean()

    def wilder(series: pd.Series, n: int = 14) -> pd.Series:
        return series.ewm(alpha=1 / n, adjust=False).mean()

    def line() -> pd.Series:
        return ema(x, 12) - ema(x, 26)

    def rsi() -> pd.Series:
        change = x.diff()
        return 100 - 100 / (1 + wilder(change.clip(lower=0)) / wilder(-change.clip(upper=0)))

    def tr() -> pd.Series:
        return pd.concat([h - q, (h - x.shift()).abs(), (q - x.shift()).abs()], axis=1).max(axis=1)

    def di(up: bool) -> pd.Series:
        rise, fall = h.diff(), -q.diff()
        move = rise.where((rise > fall) & (rise > 0), 0) if up else fall.where((fall > rise) & (fall > 0), 0)
        return 100 * wilder(move) / wilder(tr())

    def adx() -> pd.Series:
        plus, minus = di(True), di(False)
        return wilder(100 * (plus - minus).abs() / (plus + minus))

    def returns() -> pd.Series:
        return np.log(x).diff()

    def terms() -> pd.Series:
        return np.log(h / o) * np.log(h / x) + np.log(q / o) * np.log(q / x)

    def stochrsi() -> pd.Series:
        strength = rsi()
        low, high = strength.rolling(14).min(), strength.rolling(14).max()
        return 100 * (strength - low) / (high - low)

    def rei() -> pd.Series:
        above = (h.shift(2) >= x.shift(7)) | (h.shift(2) >= x.shift(8)) | (h >= q.shift(5)) | (h >= q.shift(6))
        below = (q.shift(2) <= x.shift(7)) | (q.shift(2) <= x.shift(8)) | (q <= h.shift(5)) | (q <= h.shift(6))
        move = (h.diff(2) + q.diff(2)).where(above & below, 0.0)
        return 100 * move.rolling(5).sum() / (h.diff(2).abs() + q.diff(2).abs()).rolling(5).sum()

    def sd(n: int = 20) -> pd.Series:
        return x.rolling(n).std(ddof=0)

    mean = x.rolling(20).mean
    return {
        "ema_12": ema(x, 12), "ema_26": ema(x, 26), "macd": line(), "macd_signal": ema(line(), 9),
        "macd_histogram": line() - ema(line(), 9), "rsi": rsi(), "stochrsi": stochrsi(), "mom": x.diff(20),
        "roc": 100 * x.pct_change(20), "upper": mean() + 2 * sd(), "middle": mean(), "lower": mean() - 2 * sd(),
        "percent_b": (x - mean() + 2 * sd()) / (4 * sd()), "width": 4 * sd() / mean(), "tr": tr(), "atr": wilder(tr()),
        "natr": 100 * wilder(tr()) / x, "plus_di": di(True), "minus_di": di(False), "adx": adx(),
        "hv": returns().rolling(20).std() * YEAR**0.5, "zscore": (x - x.rolling(50).mean()) / x.rolling(50).std(),
        "er": x.diff(20).abs() / x.diff().abs().rolling(20).sum(),
        "parkinson": ((np.log(h / q) ** 2).rolling(20).mean() / (4 * np.log(2)) * YEAR) ** 0.5,
        "garman_klass": ((0.5 * np.log(h / q) ** 2 - (2 * np.log(2) - 1) * np.log(x / o) ** 2).rolling(20).mean() * YEAR) ** 0.5,
        "rogers_satchell": (terms().rolling(20).mean() * YEAR) ** 0.5,
        "yang_zhang": ((np.log(o / x.shift()).rolling(20).var() + 0.139 * np.log(x / o).rolling(20).var()
                        + 0.861 * terms().rolling(20).mean()) * YEAR) ** 0.5,
        "ewma_vol": (returns() ** 2).ewm(alpha=0.06, adjust=False).mean() ** 0.5,
        "range_expansion": tr() / tr().rolling(20).mean(),
        "wavelet": np.log(x).rolling(8).mean() - np.log(x).rolling(32).mean(), "rei": rei(),
    }


def rolling_sevcik(c: Candles) -> Any:
    def one(x: np.ndarray) -> float:
        span = x.max() - x.min()
        return 1 + (np.log(np.sqrt((np.diff(x) / span) ** 2 + (1 / 99) ** 2).sum()) + np.log(2)) / np.log(198)
    return pd.Series(c.close).rolling(100).apply(one, raw=True)


def rolling_hurst(c: Candles) -> Any:
    lags = np.arange(1, 20)
    x = pd.Series(np.log(c.close))
    moved = np.column_stack([np.log(x.diff(k).abs().rolling(100 - k).mean()) for k in lags])
    lean = np.log(lags) - np.log(lags).mean()
    return moved @ lean / (lean @ lean)


def rolling_entropy(c: Candles) -> Any:
    import antropy

    x = np.log(c.close)
    return [antropy.perm_entropy(x[t - 200 : t], 4, 1, normalize=True) for t in range(200, len(x))]


def rolling_variance_ratio(c: Candles) -> Any:
    from arch.unitroot import VarianceRatio

    x = np.log(c.close)
    return [VarianceRatio(x[t - 201 : t], lags=8, robust=True).stat for t in range(201, len(x))]


def matrix_kalman(c: Candles) -> Any:
    y, transition = np.log(c.close), np.array([[1.0, 1.0], [0.0, 0.98]])
    state, cover, noise, slopes = np.array([y[0], 0.0]), np.diag([1e-5, 1e-7]), np.diag([1e-5, 4e-9]), []
    for price in y[1:]:
        state, cover = transition @ state, transition @ cover @ transition.T + noise
        gain = cover[:, 0] / (cover[0, 0] + 1e-7)
        state, cover = state + gain * (price - state[0]), cover - np.outer(gain, cover[0])
        slopes.append(state[1] / np.sqrt(cover[1, 1]))
    return slopes


def measure(name: str, ours_call: Callable[[Candles], Any], peer: str, peer_call: Callable[[Candles], Any], candles: Candles,
            target: float | None, *, peer_bars: int | None = None, rounds: int = ROUNDS) -> dict[str, Any]:
    """Medians of interleaved rounds; a peer given fewer bars is scaled up to all of them."""
    stretch = candles if peer_bars is None else candles.tail(peer_bars)
    scale = len(candles) / len(stretch)
    ours_call(candles), peer_call(stretch)
    ours_s, peer_s = [], []
    for _ in range(rounds):
        began = time.perf_counter()
        ours_call(candles)
        between = time.perf_counter()
        peer_call(stretch)
        ours_s.append(between - began)
        peer_s.append((time.perf_counter() - between) * scale)
    ours_ms, peer_ms = (1000 * statistics.median(s) for s in (ours_s, peer_s))
    return {"name": name, "ours_ms": round(ours_ms, 2), "peer": peer, "peer_ms": round(peer_ms, 2),
            "ratio": round(ours_ms / peer_ms, 4), "target": target}


def run() -> list[dict[str, Any]]:
    """One row a comparison: name, ours_ms, peer, peer_ms, ratio, target (None: no promise)."""
    candles = worlds.candles_of(worlds.random_walk(1, BARS), seed=1, interval=Interval.M1, bar_sd=0.0005)
    count = len(ours(candles.tail(3000)))
    assert set(ours(candles.tail(3000))) == set(talib_mix(candles.tail(3000))) == set(pandas_mix(candles.tail(3000)))
    return [
        measure(f"{count} indicator columns", ours, "TA-Lib, a call a column", talib_mix, candles, 0.8),
        measure(f"{count} indicator columns", ours, "pandas, a formula a column", pandas_mix, candles, 0.25),
        measure("fractal dimension 100", shelf.fractal_dimension, "rolling apply (10,000 rows, scaled)", rolling_sevcik, candles, 0.25,
                peer_bars=10_000),
        measure("Hurst exponent 100", shelf.hurst, "pandas, a rolling mean a lag", rolling_hurst, candles, 0.5, rounds=3),
        measure("permutation entropy 200", lambda c: order_entropy(c.close, 200), "antropy a window (2,000 rows, scaled)", rolling_entropy,
                candles, 0.05, peer_bars=2_000, rounds=3),
        measure("variance ratio 8 of 200", shelf.variance_ratio, "arch a window (700 rows, scaled)", rolling_variance_ratio, candles, 0.05,
                peer_bars=700, rounds=3),
        measure("Kalman slope", shelf.kalman_trend, "numpy matrices (20,000 rows, scaled)", matrix_kalman, candles, 0.05,
                peer_bars=20_000, rounds=3),
    ]


if __name__ == "__main__":
    print(f"{'what':28} {'ours ms':>9} {'peer ms':>11} {'ratio':>8} {'target':>7}  peer")
    for row in run():
        print(f"{row['name']:28} {row['ours_ms']:9.1f} {row['peer_ms']:11.1f} {row['ratio']:8.3f} {row['target'] or '-':>7}  {row['peer']}")
