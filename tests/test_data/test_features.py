"""The feature table against a slow truth, over holes, and row by row."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import talib

from data.clock import FixedClock, parse_time
from data.features import FEATURES, NAMES, RAW_COLUMNS, feature_table, newest_row, raw_columns
from data.indicators import kalman_trend
from data.market import HOUR_MS, Interval, SeriesKey
from data.simulator.market import SimulatedExchange
from tests.made_candles import made, with_changes, without_optional

NOW = parse_time("2026-11-20T08:30:00Z")


@pytest.fixture(scope="module")
def candles():
    return SimulatedExchange(7, FixedClock(NOW)).read(SeriesKey("ETHUSDT", Interval.H1)).tail(3000)


@pytest.fixture(scope="module")
def table(candles):
    return feature_table(candles)


def naive(c) -> dict[str, np.ndarray]:
    """Every feature by pandas and TA-Lib, one column at a time, on candles without holes."""
    o, h, low, close = (pd.Series(getattr(c, n)) for n in ("open", "high", "low", "close"))
    v, q, tb = (pd.Series(getattr(c, n)) for n in ("volume", "quote_volume", "taker_buy_volume"))
    a = {n: s.to_numpy() for n, s in (("h", h), ("l", low), ("c", close))}
    atr = pd.Series(talib.ATR(a["h"], a["l"], a["c"], 14))
    e12, e26 = pd.Series(talib.EMA(a["c"], 12)), pd.Series(talib.EMA(a["c"], 26))
    line, signal, hist = (pd.Series(x) for x in talib.MACD(a["c"], 12, 26, 9))
    upper, middle, lower = (pd.Series(x) for x in talib.BBANDS(a["c"], 20, 2, 2))
    r, lv = np.log(close / close.shift(1)), np.log(q + 1)
    after = pd.to_datetime(c.close_time + 1, unit="ms", utc=True)
    hour = after.hour + after.minute / 60 + after.second / 3600
    day = after.day_of_week
    rs = np.log(h / o) * np.log(h / close) + np.log(low / o) * np.log(low / close)
    k = 0.34 / (1.34 + 21 / 19)
    yz = np.log(o / close.shift(1)).rolling(20).var() + k * np.log(close / o).rolling(20).var() + (1 - k) * rs.rolling(20).mean()
    fdi = np.full(len(close), np.nan)
    for t in range(99, len(close)):
        x = a["c"][t - 99 : t + 1]
        y = (x - x.min()) / (x.max() - x.min())
        length = np.sqrt((1 / 99) ** 2 + np.diff(y) ** 2).sum()
        fdi[t] = 1 + (np.log(length) + np.log(2)) / np.log(2 * 99)
    path = close.diff().abs().rolling(20).sum()
    hh, ll = h.rolling(50).max(), low.rolling(50).min()
    top = pd.concat([o, close], axis=1).max(axis=1)
    bottom = pd.concat([o, close], axis=1).min(axis=1)
    out = {
        "returns_1m": close / close.shift(1) - 1, "returns_5m": close / close.shift(5) - 1, "ret_15": close / close.shift(15) - 1,
        "ret_60": close / close.shift(60) - 1, "rsi_14": pd.Series(talib.RSI(a["c"], 14)) / 100 - 0.5, "ema_12": close / e12 - 1,
        "ema_26": close / e26 - 1, "ema_cross": (e12 - e26) / atr, "macd": line / atr, "macd_signal": signal / atr, "macd_hist": hist / atr,
        "bollinger_high": (upper - close) / atr, "bollinger_low": (close - lower) / atr, "bb_width": (upper - lower) / middle,
        "atr": atr / close, "volume_delta": lv.diff().clip(-3, 3), "vol_z20": (lv - lv.rolling(20).mean()) / lv.rolling(20).std(),
        "hour_sin": np.sin(2 * np.pi * hour / 24), "hour_cos": np.cos(2 * np.pi * hour / 24), "dow_sin": np.sin(2 * np.pi * day / 7),
        "dow_cos": np.cos(2 * np.pi * day / 7), "adx_14": pd.Series(talib.ADX(a["h"], a["l"], a["c"], 14)) / 100,
        "di_diff": pd.Series(talib.PLUS_DI(a["h"], a["l"], a["c"], 14) - talib.MINUS_DI(a["h"], a["l"], a["c"], 14)) / 100,
        "stochrsi_k": pd.Series(talib.STOCHRSI(a["c"], 14, 14, 3)[0]) / 100 - 0.5, "roc_10": (close / close.shift(10) - 1) / (atr / close),
        "zscore_50": (close - close.rolling(50).mean()) / close.rolling(50).std(),
        "rv_ratio": np.log(r.rolling(20).std() / r.rolling(100).std()), "yz_vol_20": np.sqrt(yz),
        "er_20": (close - close.shift(20)).abs() / path, "kalman_t": kalman_trend(c).t, "fdi_100": fdi,
        "range_pos_50": (close - ll) / (hh - ll), "dist_high_200": np.log(close / h.rolling(200).max()), "body": (close - o) / (h - low),
        "wick_asym": ((h - top) - (bottom - low)) / (h - low), "taker_imb_20": (2 * tb - v).rolling(20).sum() / v.rolling(20).sum(),
        "vwap_gap_24": close / (q.rolling(24).sum() / v.rolling(24).sum()) - 1,
    }
    return {name: np.asarray(values, float) for name, values in out.items()}


def test_there_are_thirty_seven_and_each_says_how_it_is_made():
    assert len(FEATURES) == 37 == len(set(NAMES)) and all(f.formula and f.causality in "PR" and f.warmup_bars > 0 for f in FEATURES)


def test_every_feature_equals_the_slow_truth(candles, table):
    assert not candles.gaps()
    truth = naive(candles)
    assert set(truth) == set(NAMES)
    for feature in FEATURES:
        ours, theirs = table.column(feature.name), truth[feature.name]
        known = np.isfinite(ours) & np.isfinite(theirs)
        assert known[600:].mean() > 0.999, feature.name
        scale = np.nanstd(theirs[known]) or 1.0
        assert np.max(np.abs(ours - theirs)[known]) < 1e-5 * max(scale, 1e-12) + 1e-9, feature.name


def test_what_is_known_begins_with_the_warm_up(candles, table):
    for feature in FEATURES:
        known = np.isfinite(table.column(feature.name))
        assert not known[: feature.warmup_bars - 1].any(), feature.name
        assert known[feature.warmup_bars + 20 :].mean() > 0.99, feature.name


def test_the_row_that_serves_is_the_row_that_trained(candles, table):
    for cut in (2999, 2400, 1600):
        row = newest_row(candles.take(slice(0, cut + 1)))
        assert row.close_time[0] == candles.close_time[cut]
        for i, feature in enumerate(FEATURES):
            tolerance = 1e-6 * np.nanstd(table.values[:, i]) if feature.causality == "R" else 1e-12
            assert row.values[0, i] == pytest.approx(table.values[cut, i], abs=max(tolerance, 1e-12), nan_ok=True), feature.name


def test_a_hole_makes_windows_unknown_and_nothing_wrong():
    whole = made(900)
    holed = whole.take(np.concatenate((np.arange(500), np.arange(510, 900))))
    table, before = feature_table(holed), feature_table(whole.take(slice(0, 500)))
    assert np.array_equal(table.values[:500], before.values, equal_nan=True)
    alone = feature_table(whole.take(slice(510, 900)))
    assert np.allclose(table.values[500:], alone.values, equal_nan=True, rtol=0, atol=1e-9)


def test_candles_without_volumes_lose_only_the_features_that_need_them():
    table = feature_table(without_optional(made(800)))
    blind = {name for name in NAMES if not np.isfinite(table.column(name)[700:]).any()}
    assert blind == {"volume_delta", "vol_z20", "taker_imb_20", "vwap_gap_24"}
    assert table.coverage[-1] == pytest.approx(33 / 37)


def test_a_price_that_stands_still_is_unknown_not_bearish():
    flat = np.full(800, 7.0)
    table = feature_table(with_changes(made(800), open=flat, high=flat, low=flat, close=flat))
    for name in ("rsi_14", "stochrsi_k", "zscore_50", "fdi_100", "kalman_t", "range_pos_50"):
        assert not np.isfinite(table.column(name)).any(), name
    assert (table.column("body") == 0).all() and (table.column("wick_asym") == 0).all()


def test_time_of_day_is_that_of_the_close():
    table = feature_table(made(30, start=parse_time("2024-01-01T00:00:00Z")))
    assert table.column("hour_sin")[5] == pytest.approx(np.sin(2 * np.pi * 6 / 24)) and table.column("dow_sin")[0] == pytest.approx(0.0)
    assert table.close_time[0] == parse_time("2024-01-01T00:00:00Z") + HOUR_MS - 1


def test_raw_columns_are_in_native_units(candles):
    raw = raw_columns(candles)
    assert tuple(raw) == RAW_COLUMNS
    assert np.nanmin(raw["rsi_14"]) >= 0 and np.nanmax(raw["rsi_14"]) <= 100
    assert raw["ema_12"][-1] == pytest.approx(candles.close[-1], rel=0.1)
    assert (raw["bollinger_high"][-1] > raw["bollinger_low"][-1]) and raw["atr"][-1] > 0
