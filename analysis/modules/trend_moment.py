"""Module A, trend and momentum: which way, and how surely?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analysis.kept_rows import rows_of
from analysis.methods.trend_beside import beside
from analysis.module import COVERAGE_NEEDED, Causality, Metric, ScoreModule, Timeline, Track, assemble, blend, shortage
from analysis.remembered import OfObject
from analysis.report import Direction, ModuleReport, Score, counting
from analysis.scaling import MINIMUM_BARS, af, pr, z0
from analysis.tracks import at_rows, newest_of, track
from data.frames import Candles
from data.indicators import (
    adx,
    atr,
    bollinger,
    directional,
    ema,
    ewma_volatility,
    fractal_dimension,
    kalman_trend,
    macd,
    rsi,
    stochrsi,
    trendline,
    wavelet_trend,
    zscore,
)
from data.indicators.restart import quotient, shifted, unchanged, warmed
from data.market import Market
from data.observations import Kind
from data.view import MarketView, Need

P, R = Causality.PREFIX, Causality.RECURSIVE
SCALE = MINIMUM_BARS - 1  # what Z0 adds to a warm-up: 100 values of the metric, the first among them

METRICS = (
    Metric("ema_trend", "EMA trend", "ATR", .12, 200 + SCALE, R, "(EMA12 - EMA26) / ATR14, then Z0 over 500 bars", "TA-Lib EMA"),
    Metric("rsi", "RSI", "0..100", .08, 220, R, "RSI14; (RSI - 50) / 25 clipped to -1..1", "Wilder 1978"),
    Metric("macd", "MACD histogram", "ATR", .10, 220 + SCALE, R, "(MACD - signal) / ATR14 with 12, 26, 9, then Z0", "Appel 1979"),
    Metric("bb_pos", "Bollinger position", "half widths", .06, 20, P, "(C - SMA20) / (2 sd20), clipped to -1..1",
           "Bollinger 2001"),
    Metric("atr", "ATR", "quote", .0, 200, R, "Wilder's average of the true range, 14 bars; the scale of other metrics",
           "Wilder 1978"),
    Metric("adx_dir", "Directional movement", "-1..1", .10, 230, R, "(+DI - -DI) / (+DI + -DI) * min(1, ADX14 / 40)",
           "Wilder 1978"),
    Metric("stochrsi", "Stochastic RSI", "0..100", .04, 220, R, "place of RSI14 in its 14-bar range; (x - 50) / 50",
           "Chande & Kroll 1994"),
    Metric("mom", "Momentum", "sd", .10, 260, R, "ln(C_t / C_{t-20}) / (sigma sqrt 20), sigma EWMA 0.94; tanh(x / 2)",
           "RiskMetrics 1996"),
    Metric("kalman", "Kalman slope", "se", .16, 500, R, "filtered slope of ln C over its standard error; tanh",
           "Harvey 1989", priority="*"),
    Metric("zscore", "z-score", "sd", .08, 50, P, "(C - mean50) / sd50; tanh(z / 2)", priority="*"),
    Metric("wavelet", "Wavelet trend", "ATR", .08, 200 + SCALE, R,
           "(s3 - s5) of ln C over ATR14 / C, causal Haar a trous, then Z0", "Murtagh, Starck & Renaud 2004", priority="**"),
    Metric("hilbert", "Trendline slope", "ATR/bar", .05, 200 + SCALE, R, "(HTL_t - HTL_{t-5}) / (5 ATR14), then Z0",
           "Ehlers 2001", priority="**"),
    Metric("fdi", "Fractal direction", "1..2", .03, 100, P,
           "sign(C_t - C_{t-50}) * clip((1.455 - D) / 0.11, 0, 1), Sevcik D of 100 bars", "Sevcik 1998", priority="**"),
)
SLOW = ("ema_trend", "adx_dir", "kalman", "wavelet", "hilbert", "fdi")
FAST = ("rsi", "macd", "bb_pos", "stochrsi", "mom", "zscore")
WEIGHTS_VERSION = "A/1"

LABELS = ("strong bear", "bear", "neutral", "bull", "strong bull")
EDGES = (0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True)
class TrendConfig:
    """History and presentation of module A; the metrics' windows and weights are versioned constants.

    `history_bars` is what a view holds of each market; `rank_bars` the window of the score's own percentile and of its label's
    memory; `hysteresis` how far beyond an edge the score must go before the label changes; `horizon_bars` how far ahead the
    typed value speaks.
    """

    history_bars: int = 2000
    rank_bars: int = 500
    hysteresis: float = 0.02
    horizon_bars: int = 24


def labels(score: np.ndarray, hysteresis: float) -> np.ndarray:
    """Band 0..4 of every score, changed only when the score is `hysteresis` beyond the edge; -1 where there is no score.

    The first score, and the first after a stretch without, takes the band it lies in.
    """
    out = np.full(len(score), -1, np.int8)
    band = -1
    for t, value in enumerate(score):
        if not np.isfinite(value):
            band = -1
            continue
        if band < 0:
            band = int(np.searchsorted(EDGES, value, side="right"))
        else:
            while band < len(EDGES) and value > EDGES[band] + hysteresis:
                band += 1
            while band > 0 and value < EDGES[band - 1] - hysteresis:
                band -= 1
        out[t] = band
    return out


@dataclass(frozen=True)
class _Side:
    """One market's opinion at the view's newest rows: unit scores, raw sum and what it is made of."""

    candles: Candles
    tracks: Mapping[str, Track]
    raw: np.ndarray
    coverage: np.ndarray
    contributions: Mapping[str, np.ndarray]
    enough: np.ndarray


class TrendMomentum(ScoreModule):
    """Trend score 0..1: below 0.5 down, 0.5 neutral, above up.

    Twelve indicators of the closes and ranges, each brought to -1..1 (column k), are averaged with fixed weights: the Kalman
    slope .16, EMA trend .12, MACD, ADX direction and momentum .10 each, RSI, z-score and wavelet .08 each, Bollinger position
    .06, Hilbert trendline .05, stochastic RSI .04, fractal direction .03; ATR is the scale they share. Unknown ones are left
    out and the rest grow, up to 1.54 times; below 65 % known weight there is no score. Spot and perpetual are computed
    separately and S is their mean; with only one present S is that one's. score = 0.5 + 0.5 S.

    The slow half {EMA, ADX, Kalman, wavelet, Hilbert, fractal} and the fast half {RSI, MACD, Bollinger, stochastic RSI,
    momentum, z-score} are shown as sub-scores. confidence = coverage * (0.5 + 0.5 agreement) * q, where agreement says how far
    the metrics point one way and q = 1 - |S_spot - S_perp| / 2. Labels change only 0.02 beyond the edges .2 .4 .6 .8.

    To be read together with module B: on planted regimes the 5-bar rank correlation with the next return is +.21 in trends and
    -.25 in ranges, and on a random walk there is none. The twelve are about two opinions, not twelve votes.
    """

    letter = "A"
    slug = "trend_moment"
    name = "Trend & momentum"
    short = "Trend"
    commands = ("trend", "t")
    type = "trend score 0..1 (0.5 neutral)"
    question = "Which way is the price going, and how surely?"
    link = "0.5+0.5*raw"
    metrics = METRICS

    def __init__(self, config: TrendConfig | None = None) -> None:
        self.config = config or TrendConfig()

    @property
    def needs(self) -> tuple[Need, ...]:
        return tuple(Need(Kind.CANDLES, self.config.history_bars, market=market, optional=True) for market in Market)

    def timeline(self, view: MarketView, bars: int = 1) -> Timeline:
        """The newest rows; `extra` holds slow, fast, agreement, confidence, percentile, label (band 0..4), spot and perp S."""
        line = rows_of(self, view, bars + self.config.rank_bars - 1, lambda count: self._rows(view, count))
        _raws.put(view, (self.config, line.raw))
        rows = len(line.score)
        bars = min(bars, rows)
        extra = dict(line.extra)
        extra["percentile"] = pr(line.score, window=self.config.rank_bars, last=bars)
        extra["label"] = labels(line.score, self.config.hysteresis)
        newest = slice(rows - bars, rows)
        return Timeline(
            line.close_time[newest], line.raw[newest], line.score[newest], line.coverage[newest],
            newest_of(line.tracks, bars), {key: c[newest] for key, c in line.contributions.items()},
            {key: e[newest] for key, e in extra.items()}, {**line.shown, **beside(self._own(view))})

    def signed(self, view: MarketView, bars: int = 1) -> np.ndarray:
        """S in -1..1 at the newest bars, without the percentile and labels that need a longer history."""
        held = _raws.get(view)
        raw = held[1] if held is not None and held[0] == self.config and len(held[1]) >= bars else self._rows(view, bars).raw
        return raw[max(0, len(raw) - bars) :]

    def score(self, view: MarketView, line: Timeline | None = None) -> ModuleReport:
        line = line or self.timeline(view)
        extra = {key: float(values[-1]) for key, values in line.extra.items()}
        band = int(extra["label"])
        absent = tuple(f"{market} candles: {why}" for market, why in line.shown["absent"].items())
        reason = "" if np.isfinite(line.score[-1]) else shortage(self.metrics, line.tracks, float(line.coverage[-1]))
        percentile = extra["percentile"]
        report = assemble(self, view, line, label=LABELS[band] if band >= 0 else "", agreement=extra["agreement"],
                          confidence=extra["confidence"], percentile=percentile if np.isfinite(percentile) else None,
                          reason="; ".join((reason, *absent)) if reason else "")
        return replace(report, missing=report.missing + tuple(words for words in absent if words not in report.missing))

    def typed(self, view: MarketView, score: float | None, raw: float | None, coverage: float, reason: str) -> Score:
        value = None if raw is None else min(1.0, max(-1.0, raw))
        return Direction(value=value, interval=str(view.interval), horizon_bars=self.config.horizon_bars, as_of_ms=view.as_of_ms,
                         coverage=coverage, inputs=tuple(m.key for m in self.metrics if m.weight), reason=reason)

    def _rows(self, view: MarketView, rows: int) -> Timeline:
        """Both markets brought to the rows of the view's own series (of the other, where the own is absent), and their mean."""
        needs = dict(zip(Market, self.needs, strict=True))
        held = {market: view.candles(needs[market]) for market in sorted(Market, key=lambda m: m is not view.market)}
        own = self._own(view)
        if not len(own):
            return self._nothing(view, {str(market): view.why_absent(needs[market]) for market in held})
        rows = min(rows, len(own))
        opened, closed = own.open_time[len(own) - rows :], own.close_time[len(own) - rows :]
        sides: dict[Market, _Side] = {}
        absent: dict[str, str] = {}
        for market, candles in held.items():
            if not len(candles):
                absent[str(market)] = view.why_absent(needs[market])
                continue
            sides[market] = self._side(view, candles, opened)
            if not sides[market].enough[-1]:
                absent[str(market)] = shortage(self.metrics, sides[market].tracks, float(sides[market].coverage[-1]))
        return self._mean(closed, sides, absent)

    def _own(self, view: MarketView) -> Candles:
        """The view's own market's candles; the other's where those are absent."""
        needs = dict(zip(Market, self.needs, strict=True))
        own = view.candles(needs[view.market])
        return own if len(own) else next((c for c in map(view.candles, needs.values()) if len(c)), own)

    def _nothing(self, view: MarketView, absent: Mapping[str, str]) -> Timeline:
        """One row that knows nothing, for a view without candles."""
        why = "; ".join(f"{market}: {reason}" for market, reason in absent.items())
        nan = np.full(1, np.nan)
        names = ("slow", "fast", "s_spot", "s_perp", "q", "agreement", "confidence")
        return Timeline(np.full(1, view.as_of_ms), nan, nan, np.zeros(1), {m.key: Track.absent(1, why) for m in METRICS},
                        {m.key: nan for m in METRICS if m.weight > 0}, dict.fromkeys(names, nan),
                        {"absent": dict(absent), "weights_version": WEIGHTS_VERSION})

    def _side(self, view: MarketView, candles: Candles, opened: np.ndarray) -> _Side:
        """One market at the rows opened at `opened`: its newest bar at or before each, fading as any metric does when late."""
        row = np.searchsorted(candles.open_time, opened, side="right") - 1
        newest = len(candles) - max(0, int(row[0]))
        raw = tracks_of(candles, newest)
        position = np.where(row >= 0, row - (len(candles) - newest), -1)
        in_step = len(position) == newest and bool((position == np.arange(newest)).all())  # as two markets nearly always are
        aligned = raw if in_step else {key: at_rows(t, position) for key, t in raw.items()}
        mixed = blend(self.metrics, aligned)
        late_bars = np.where(row >= 0, (opened - candles.open_time[np.maximum(row, 0)]) / candles.interval.ms, np.inf)
        age_s = view.age_s(candles)
        late_bars[-1] = max(late_bars[-1], age_s * 1000 / candles.interval.ms)
        tau = METRICS[0].tau_bars
        fresh = np.clip(1.0 - (late_bars - tau) / (2.0 * tau), 0.0, 1.0)
        coverage = mixed.coverage * fresh  # all metrics of a market are equally late, so only the coverage feels it
        enough = coverage >= COVERAGE_NEEDED - 1e-12
        dated = {key: replace(t, age_s=age_s) for key, t in aligned.items()}
        return _Side(candles, dated, mixed.raw, coverage, mixed.contributions, enough)

    def _mean(self, closed: np.ndarray, sides: Mapping[Market, _Side], absent: Mapping[str, str]) -> Timeline:
        rows = len(closed)
        each = tuple(sides.values())
        used = [np.where(side.enough, 1.0, 0.0) for side in each]
        count = np.sum(used, axis=0)

        def mean(arrays: list[np.ndarray]) -> np.ndarray:
            total = np.zeros(rows)
            for array, use in zip(arrays, used, strict=True):
                total = total + np.where(use > 0, array, 0.0)
            with np.errstate(invalid="ignore"):
                return np.where(count > 0, total / np.maximum(count, 1), np.nan)

        contributions = {m.key: mean([s.contributions[m.key] for s in each]) for m in METRICS if m.weight > 0}
        raw = np.zeros(rows)
        for share in contributions.values():
            raw = raw + share
        most = np.max([s.coverage for s in each], axis=0)
        coverage = np.where(count > 0, mean([s.coverage for s in each]), most)
        idle = count == 0
        tracks = {m.key: _joint([s.tracks[m.key] for s in each], [(use > 0) | idle for use in used]) for m in METRICS}
        extra = {half: mean([_part_score(s.tracks, keys) for s in each]) for half, keys in (("slow", SLOW), ("fast", FAST))}
        for market in Market:
            side = sides.get(market)
            extra[f"s_{market}"] = np.full(rows, np.nan) if side is None else np.where(side.enough, side.raw, np.nan)
        apart = np.abs(extra["s_spot"] - extra["s_perp"])
        extra["q"] = np.where(np.isfinite(apart), 1.0 - apart / 2.0, np.where(count > 0, 1.0, np.nan))
        pull = np.zeros(rows)
        for share in contributions.values():
            pull = pull + np.abs(share)
        with np.errstate(invalid="ignore", divide="ignore"):
            extra["agreement"] = np.where(pull > 0, np.abs(raw) / pull, np.where(count > 0, 0.0, np.nan))
        extra["confidence"] = coverage * (0.5 + 0.5 * extra["agreement"]) * extra["q"]
        shown: dict[str, Any] = {
            "slow": _plain(extra["slow"][-1]), "fast": _plain(extra["fast"][-1]), "s_spot": _plain(extra["s_spot"][-1]),
            "s_perp": _plain(extra["s_perp"][-1]), "q": _plain(extra["q"][-1]), "absent": dict(absent),
            "weights_version": WEIGHTS_VERSION,
        }
        return Timeline(closed, raw, 0.5 + 0.5 * raw, coverage, tracks, contributions, extra, shown)


_tracks: OfObject[tuple[int, dict[str, Track]]] = OfObject()
_raws: OfObject[tuple[TrendConfig, np.ndarray]] = OfObject()  # S over a view, for module B, which asks for its newest rows


def tracks_of(candles: Candles, bars: int) -> dict[str, Track]:
    """All thirteen metrics of one market at its newest `bars` bars; module B asks for a few of the rows that module A made."""
    bars = min(bars, len(candles))
    held = _tracks.get(candles)
    if held is None or held[0] < bars:
        _tracks.put(candles, held := (bars, _computed(candles, bars)))
    return newest_of(held[1], bars)


def _computed(candles: Candles, bars: int) -> dict[str, Track]:
    n, close, reach = len(candles), candles.close, atr(candles)
    reach = np.where(reach > 0, reach, np.nan)
    plus, minus = directional(candles)
    band = bollinger(candles)
    htl = trendline(candles)
    dimension = fractal_dimension(candles.tail(bars + 100))
    dimension = np.concatenate((np.full(n - len(dimension), np.nan), dimension))
    values = {
        "ema_trend": (ema(candles, window=12) - ema(candles, window=26)) / reach,
        "rsi": rsi(candles),
        "macd": macd(candles)[2] / reach,
        "bb_pos": band.position,
        "atr": atr(candles),
        "adx_dir": quotient(plus - minus, plus + minus) * np.minimum(1.0, adx(candles) / 40.0),
        "stochrsi": stochrsi(candles),
        "mom": warmed(quotient(np.log(close / shifted(close, 20)), ewma_volatility(candles) * np.sqrt(20.0)), candles, 21),
        "kalman": kalman_trend(candles).t,
        "zscore": zscore(candles),
        "wavelet": wavelet_trend(candles) * close / reach,
        "hilbert": warmed((htl - shifted(htl, 5)) / (5.0 * reach), candles, 175),
        "fdi": dimension,
    }
    # An average range decays but never reaches zero: after 100 equal closes its ratios are quotients of rounding.
    still = unchanged(close, 100)
    for key in ("ema_trend", "macd", "wavelet", "hilbert", "mom", "kalman", "adx_dir"):
        values[key][still] = np.nan
    direction = np.sign(close - shifted(close, 50))
    scores = {
        "ema_trend": z0(values["ema_trend"], last=bars),
        "rsi": af(values["rsi"], 50.0, 25.0),
        "macd": z0(values["macd"], last=bars),
        "bb_pos": np.clip(values["bb_pos"], -1.0, 1.0),
        "atr": np.where(np.isfinite(values["atr"]), 0.0, np.nan),
        "adx_dir": values["adx_dir"],
        "stochrsi": af(values["stochrsi"], 50.0, 50.0),
        "mom": np.tanh(values["mom"] / 2.0),
        "kalman": np.tanh(values["kalman"]),
        "zscore": np.tanh(values["zscore"] / 2.0),
        "wavelet": z0(values["wavelet"], last=bars),
        "hilbert": z0(values["hilbert"], last=bars),
        "fdi": direction * np.clip((1.455 - dimension) / 0.11, 0.0, 1.0),
    }
    ranked = ("ema_trend", "macd", "wavelet", "hilbert")
    return {m.key: track(candles, values[m.key], scores[m.key], bars=bars, scaled=m.key in ranked,
                         warmup_bars=m.warmup_bars - (SCALE if m.key in ranked else 0)) for m in METRICS}


def _joint(tracks: list[Track], used: list[np.ndarray]) -> Track:
    """The view's own market's value; k is the mean over the markets in use (`used`, bool); known where any of them knows it."""
    first = tracks[0]
    total, count = np.zeros(len(first.k)), np.zeros(len(first.k))
    value, status, note, age_s = first.value.copy(), first.status.copy(), first.note, first.age_s
    for t, use in zip(tracks, used, strict=True):
        known = np.isfinite(t.k) & use
        total, count = total + np.where(known, t.k, 0.0), count + known
        stand_in = known & ~counting(status)
        value, status = np.where(stand_in, t.value, value), np.where(stand_in, t.status, status).astype(np.int8)
        if stand_in[-1]:
            note, age_s = t.note, t.age_s
    with np.errstate(invalid="ignore"):
        k = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return Track(value, np.where(counting(status), k, np.nan), status, age_s, first.step_s, note)


def _part_score(tracks: Mapping[str, Track], keys: tuple[str, ...]) -> np.ndarray:
    """Weighted mean k of some metrics, renormalised; NaN where less than 65 % of their weight is known."""
    weight = {m.key: m.weight for m in METRICS}
    total, known = np.zeros(len(tracks[keys[0]].k)), np.zeros(len(tracks[keys[0]].k))
    for key in keys:
        k = tracks[key].k
        total = total + np.where(np.isfinite(k), weight[key] * k, 0.0)
        known = known + np.where(np.isfinite(k), weight[key], 0.0)
    enough = known >= COVERAGE_NEEDED * sum(weight[key] for key in keys) - 1e-12
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(enough, total / known, np.nan)


def _plain(value: float | np.floating) -> float | None:
    return float(value) if np.isfinite(value) else None
