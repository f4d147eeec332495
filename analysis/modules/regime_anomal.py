"""Module J: has the market just changed, or has something happened that does not belong?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from analysis.fits import FitCache
from analysis.kept_rows import columns_of
from analysis.methods.alerts import MEMORY_BARS, ON_LEVEL, alert_states, budget_level
from analysis.methods.cauchy import cauchy_p, cauchy_terms
from analysis.methods.detectors import (
    FEATURES,
    REACH_BARS,
    TAIL_BARS,
    TAIL_MINIMUM_BARS,
    Evidence,
    Inputs,
    combined_score,
    detect,
    features_of,
    shifts_of,
)
from analysis.methods.isolation import Forest, fit_forest, read_forest
from analysis.methods.spectral_residual import FLAG_ABOVE
from analysis.methods.winsor import WARMUP_BARS
from analysis.module import COVERAGE_NEEDED, Causality, Metric, ScoreModule, Timeline, Track, assemble
from analysis.report import Intensity, ModuleReport, Status, counting
from analysis.scaling import surprisal
from analysis.tracks import rows_known
from data.frames import Candles
from data.market import DAY_MS, Interval
from data.observations import Kind, Observations
from data.view import MarketView, Need


@dataclass(frozen=True)
class RegimeAnomalyConfig:
    """Constants of module J. `weights_version` changes with any of them.

    `history_bars` is what the rest adds up to at 1h: 90 days for the alert budget (2160), the tail window (960), the longest
    statistic (324), a day until the next budget (24), rounded up; the forest (2000 + 325, and two weeks) fits inside.
    """

    history_bars: int = 3600
    forest_rows: int = 2000  # 1000 for bars below 15 minutes, where a week is longer than the history
    forest_rows_short: int = 1000
    forest_lead_bars: int = REACH_BARS + 1
    trail_bars: int = MEMORY_BARS
    budget_days: int = 90
    budget_minimum_bars: int = 500
    flat_bars: int = 200
    weights_version: str = "J/1"


def _metric(key: str, title: str, weight: float, warmup_bars: int, causality: Causality, formula: str, source: str,
            priority: str = "c", unit: str = "") -> Metric:
    return Metric(key, title, unit, weight, warmup_bars, causality, formula, source, priority=priority)


_TP = f" Tail probability p by TP: past {TAIL_BARS} bars, at least {TAIL_MINIMUM_BARS}."
METRICS = (
    _metric("zscore", "Return and volume surprise", .12, WARMUP_BARS + TAIL_MINIMUM_BARS, Causality.RECURSIVE,
            "|r_t| over the winsorised EWMA(.94) volatility of the bar before; the same for ln volume against its EWMA level; "
            "p = min(1, m min p) over the m inputs present (open interest and funding join when a source has them)." + _TP,
            "RiskMetrics 1996", unit="sd"),
    _metric("mean_std", "Shift of mean or spread", .10, 200 + TAIL_MINIMUM_BARS, Causality.PREFIX,
            "|mean20 - mean200| / (sd200/sqrt 20) and |ln(sd20/sd200)|; p = 2 min p." + _TP, "two-window test", unit="sd"),
    _metric("skew_kurt", "Change of shape", .08, 200 + TAIL_MINIMUM_BARS, Causality.PREFIX,
            "change of the 100-bar skewness and excess kurtosis (bias-corrected) against 100 bars ago; p = 2 min p." + _TP,
            "Joanes & Gill 1998"),
    _metric("cum_dev", "Cumulative deviation", .12, REACH_BARS + TAIL_MINIMUM_BARS, Causality.PREFIX,
            "|sum of 24 returns - 24 mu| / (sd sqrt 24), mu and sd of the 300 bars before." + _TP, "", unit="sd"),
    _metric("cusum", "CUSUM charts", .22, WARMUP_BARS + TAIL_MINIMUM_BARS, Causality.RECURSIVE,
            "highest of Page's three charts on z and (z^2-1)/2, k=.5, h=5, as a share of its limit." + _TP, "Page 1954",
            unit="limits"),
    _metric("iforest", "Isolation forest", .20, 1000 + REACH_BARS + 1, Causality.FITTED,
            "300 trees on |z return|, ln volume over its level, |z volume|, cumulative deviation, |z open interest|, |z funding|; "
            "refit Monday 00:00 UTC on the 2000 bars before (1000 below 15m; daily below 5m); p from the quantiles of the training scores.",
            "Liu, Ting & Zhou 2008", "**"),
    _metric("spectral", "Spectral residual", .16, 149 + TAIL_MINIMUM_BARS, Causality.PREFIX,
            "saliency of the last bar against the 21 bars before, 128-bar window padded with its median." + _TP,
            "Ren et al. 2019", "***"),
)
UNFITTED = {m.key: m.weight for m in METRICS if m.key != "iforest"}


class RegimeAnomaly(ScoreModule):
    """Regime change and anomaly: how improbable the newest bars are under the market's own recent past, 0..1.

    Seven detectors each give a tail probability p that knows only the past. They are joined by the Cauchy combination, which
    stays valid when detectors depend on each other: `T = sum w_i tan((.5 - p_i) pi) / sum w_i` over the detectors present,
    p_i at most .99, `p = .5 - atan(T)/pi`, score `clip((-log10 p - 1)/3, 0, 1)`: p=.1 gives 0, p=.01 a third, p=1e-4 one. The
    contributions are the terms of T. On GARCH-t data without anomalies the score lies near .02 and reaches .6 about once a
    week at 1h.

    Label: info below .3, watch, alert. An alert begins at the on-level and ends after six bars below .3. The on-level is .6,
    or higher where the past 90 days (or as many as the history holds) would have raised more than one alert a week; it is
    set at 00:00 UTC and measured on the combination without the forest, since a quarter of weekly forests would have to be
    grown for it. An alert that is not renewed for 24 bars is over.

    Detectors without data are left out and named; below 65 % of the weight there is no score. Change points are drawn on
    charts "in hindsight" (analysis/methods/changepoints.py) and never enter.

    References
    ----------
    Liu & Xie (2020), "Cauchy combination test"; the detectors' own are in the table of metrics.
    """

    letter: ClassVar[str] = "J"
    slug: ClassVar[str] = "regime_anomal"
    name: ClassVar[str] = "Regime change & anomaly"
    short = "Anomaly"
    commands: ClassVar[tuple[str, ...]] = ("redet", "rd")
    type: ClassVar[str] = "anomaly 0..1, 1 = most unusual"
    question: ClassVar[str] = "Has the market just changed, or has something happened that does not belong?"
    link: ClassVar[str] = "cauchy"
    metrics: ClassVar[tuple[Metric, ...]] = METRICS

    def __init__(self, config: RegimeAnomalyConfig | None = None) -> None:
        self.config = config or RegimeAnomalyConfig()
        self._own = Need(Kind.CANDLES, self.config.history_bars)
        bars = self.config.history_bars
        self._interest = Need(Kind.OPEN_INTEREST, bars, days=1, optional=True)
        self._funding = Need(Kind.FUNDING, bars, days=1, optional=True)

    @property
    def needs(self) -> tuple[Need, ...]:
        return (self._own, self._interest, self._funding)

    def timeline(self, view: MarketView, bars: int = 1) -> Timeline:
        candles = view.candles(self._own)
        n = len(candles)
        bars = max(1, min(bars, n))
        if n == 0:
            return self._nothing(bars, view.why_absent(self._own))
        trail = min(n, bars + self.config.trail_bars)
        inputs = inputs_of(candles, view.observations(self._interest), view.observations(self._funding))
        evidence = detect(inputs, last=trail, shifts=self._shifts(view, candles, inputs, min(n, trail + TAIL_BARS)))
        fits = view.fits if isinstance(view.fits, FitCache) else FitCache()
        forest_score, forest_p, columns = self._forest(candles, inputs, evidence, fits, trail)
        statistic = {**evidence.statistic, "iforest": forest_score}
        p = {**evidence.p, "iforest": forest_p}

        flat = _flat(inputs.log_return, self.config.flat_bars)
        age_s = view.age_s(candles)
        tracks = {m.key: self._track(m, statistic[m.key], p[m.key], flat, candles, trail, age_s) for m in METRICS}
        coverage, raw, contributions = _combine(tracks, trail)
        score = np.where(np.isfinite(raw), surprisal(cauchy_p(raw)), np.nan)
        # A level is at least .6: days before the rows asked for need one only if something was that loud.
        wanted = (np.arange(trail) >= trail - bars) | (score >= ON_LEVEL)
        level = self._levels(candles, inputs, fits, wanted)
        alert = alert_states(score, level)

        def newest(x: np.ndarray) -> np.ndarray:
            return x[len(x) - bars :]

        shown: dict[str, Any] = {
            "combined_p": _number(cauchy_p(raw)[-1]) if np.isfinite(raw[-1]) else None,
            "alert_on_level": float(level[-1]),
            "p_of_inputs": {name: _number(x[-1]) for name, x in evidence.single.items()},
            "z_return_sd": _number(evidence.features[-1, 0]), "z_volume_sd": _number(evidence.features[-1, 2]),
            "cusum_alarm": bool(evidence.statistic["cusum"][-1] >= 1.0),
            "spectral_flag": bool(evidence.statistic["spectral"][-1] > FLAG_ABOVE),
            "forest_columns": columns, "forest_left_out": [c for c in FEATURES if c not in columns],
            "weights_version": self.config.weights_version,
        }
        return Timeline(
            newest(candles.close_time), newest(raw), newest(score), newest(coverage),
            {k: Track(newest(t.value), newest(t.k), newest(t.status), t.age_s, t.step_s, t.note) for k, t in tracks.items()},
            {k: newest(c) for k, c in contributions.items()}, {"alert": newest(alert), "alert_on_level": newest(level)}, shown)

    def typed(self, view: MarketView, score: float | None, raw: float | None, coverage: float, reason: str) -> Intensity:
        return Intensity(value=score, interval=str(view.interval), horizon_bars=24, as_of_ms=view.as_of_ms, coverage=coverage,
                         inputs=tuple(m.key for m in METRICS), reason=reason)

    def score(self, view: MarketView, line: Timeline | None = None) -> ModuleReport:
        line = line or self.timeline(view)
        a = float(line.score[-1])
        label = "alert" if bool(line.extra["alert"][-1]) else "watch" if a >= 0.3 else "info"
        coverage = min(1.0, float(line.coverage[-1]))
        return assemble(self, view, line, label=label, confidence=coverage)

    def _nothing(self, bars: int, why: str) -> Timeline:
        nan = np.full(bars, np.nan)
        return Timeline(np.zeros(bars, np.int64), nan, nan, np.zeros(bars), {m.key: Track.absent(bars, why) for m in METRICS},
                        {m.key: nan for m in METRICS}, {"alert": np.zeros(bars, bool), "alert_on_level": np.full(bars, ON_LEVEL)})

    def _shifts(self, view: MarketView, candles: Candles, inputs: Inputs, rows: int) -> dict[str, np.ndarray]:
        """`shifts_of` the newest rows, NaN before; a new bar adds its own to those of the bar before."""
        n = len(candles)

        def computed(count: int) -> dict[str, np.ndarray]:
            return {name: x[n - count :] for name, x in shifts_of(inputs.log_return, last=count).items()}

        found = columns_of(self, view, candles.close_time, "shifts", (self._own,), rows, computed)
        return {name: np.concatenate((np.full(n - rows, np.nan), x)) for name, x in found.items()}

    def _forest(self, candles: Candles, inputs: Inputs, evidence: Evidence, fits: FitCache,
                trail: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Forest score and p of the newest `trail` bars, each by the forest fitted at the last anchor before its close."""
        n = len(candles)
        score, p = np.full(n, np.nan), np.full(n, np.nan)
        columns: list[str] = []
        anchors = forest_anchor(candles.close_time[n - trail :], candles.interval)
        for anchor in np.unique(anchors):
            rows = np.flatnonzero(anchors == anchor) + n - trail
            end = int(np.searchsorted(candles.close_time, anchor, side="left"))
            size = next((s for s in self._forest_sizes(candles.interval) if end >= s + self.config.forest_lead_bars), None)
            if size is None:
                continue
            start = end - size - self.config.forest_lead_bars
            columns, forest = fits.get("isolation-forest/1", inputs.slice(start, end).stacked(), _fit_forest, read=_read_fit, rows=size)
            if forest is None:
                continue
            picked = [FEATURES.index(c) for c in columns]
            score[rows] = forest.score(evidence.features[rows][:, picked])
            p[rows] = forest.tail_probability(score[rows])
        return score, p, columns

    def _forest_sizes(self, interval: Interval) -> tuple[int, ...]:
        """Training rows to try, most first. A fixed number per interval: it may not depend on the day of the week."""
        short = self.config.forest_rows_short
        return (self.config.forest_rows, short) if interval.ms >= Interval.M15.ms else (short,)

    def _levels(self, candles: Candles, inputs: Inputs, fits: FitCache, wanted: np.ndarray) -> np.ndarray:
        """The alert on-level of the newest bars, from the score without the forest before each bar's 00:00 UTC.

        `wanted` says which of them need it; the others hold .6.
        """
        n, trail = len(candles), len(wanted)
        days = candles.close_time[n - trail :][wanted] // DAY_MS * DAY_MS
        size = min(int(self.config.budget_days * DAY_MS / candles.interval.ms), self._budget_room(candles.interval))
        per_week = 7 * DAY_MS / candles.interval.ms
        lead = TAIL_BARS + REACH_BARS
        unique, which = np.unique(days, return_inverse=True)
        ends = np.searchsorted(candles.close_time, unique, side="left")
        levels = np.full(len(unique), ON_LEVEL)
        if len(unique) <= 3:
            for i, end in enumerate(ends):
                start = max(0, int(end) - size - lead)
                if end - start >= self.config.budget_minimum_bars:
                    levels[i] = fits.get("anomaly-budget/1", inputs.slice(start, int(end)).stacked(),
                                         lambda x: _level(_past_score(Inputs.of(x), size), per_week), rows=size)
        else:
            # One pass over the whole stretch gives every day's past at once (equal but for where recursions began, 1e-6 sd).
            reach = min(n, n - int(ends[0]) + size)
            past = np.full(n, np.nan)
            past[n - reach :] = _past_score(inputs, reach)[n - reach :]
            for i, end in enumerate(ends):
                levels[i] = _level(past[max(0, int(end) - size) : int(end)], per_week)
        out = np.full(trail, ON_LEVEL)
        out[wanted] = levels[which]
        return out

    def _budget_room(self, interval: Interval) -> int:
        per_day = max(1, DAY_MS // interval.ms)
        used = TAIL_BARS + REACH_BARS + per_day + self.config.trail_bars
        return max(self.config.budget_minimum_bars, self.config.history_bars - used)

    def _track(self, m: Metric, statistic: np.ndarray, p: np.ndarray, flat: np.ndarray, candles: Candles, trail: int,
               age_s: float) -> Track:
        n, step_s = len(candles), candles.interval.ms / 1000
        value, chance, still = statistic[n - trail :].copy(), p[n - trail :].copy(), flat[n - trail :]
        status = np.where(still, Status.DEGENERATE, np.where(np.isfinite(chance), Status.OK, Status.WARMUP)).astype(np.int8)
        chance[status != int(Status.OK)] = np.nan
        note = ""
        if status[-1] == Status.DEGENERATE:
            note = f"the price has not moved for {min(n, self.config.flat_bars)} bars"
        elif status[-1] == Status.WARMUP:
            lacking = m.warmup_bars - n
            segment = n - int(candles.segment_start[-1])
            if lacking > 0:
                note = f"needs {lacking} more bars"
            elif segment < m.warmup_bars:
                note = f"a gap {segment} bars ago: its windows are not whole again"
            else:
                note = "too few known bars in its window"
        return Track(value, chance, status, age_s, step_s, note)


def inputs_of(candles: Candles, interest: Observations | None = None, funding: Observations | None = None) -> Inputs:
    """Returns and ln volume of candles, as the detectors take them, and what became known of open interest and funding in each bar."""
    volume = candles.volume
    with np.errstate(divide="ignore", invalid="ignore"):
        log_volume = np.where(volume > 0, np.log(np.maximum(volume, 1e-300)), np.nan)
    restart = candles.segment_start == np.arange(len(candles))
    contracts = news_of(interest, "contracts", candles.close_time)
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.diff(np.log(contracts), prepend=np.nan)
    return Inputs(candles.log_return, log_volume, restart, change, news_of(funding, "rate", candles.close_time))


def news_of(rows: Observations | None, column: str, close_time: np.ndarray) -> np.ndarray:
    """The newest value known at each bar's close where it became known within the bar; NaN in bars without news."""
    if rows is None or not len(rows):
        return np.full(len(close_time), np.nan)
    row = rows_known(rows, close_time)
    fresh = (row >= 0) & (row > np.concatenate(([-1], row[:-1])))
    fresh[:1] = False  # what the first bar knows may have been known before it
    return np.where(fresh, rows[column][np.maximum(row, 0)], np.nan)


def forest_anchor(close_time: np.ndarray, interval: Interval) -> np.ndarray:
    """For each bar the last Monday 00:00 UTC strictly before its close (each day's for bars below 5 minutes).

    Strictly: a bar that closes at midnight is judged by a forest that has not seen it.
    """
    step = DAY_MS if interval.ms < Interval.M5.ms else Interval.W1.ms
    offset = Interval.W1.floor(0) % step
    return (np.asarray(close_time, np.int64) - offset) // step * step + offset


def _fit_forest(stacked: np.ndarray) -> dict[str, Any]:
    """Forest of the newest rows of a slice; a feature without data or without variation is left out. No column: no forest."""
    features = features_of(Inputs.of(stacked))[REACH_BARS + 1 :]
    known = np.isfinite(features)
    rows_needed = 0.8 * len(features)
    columns = [i for i in range(features.shape[1]) if known[:, i].sum() >= rows_needed and np.ptp(features[known[:, i], i]) > 0]
    usable = known[:, columns].all(axis=1) if columns else np.zeros(len(features), bool)
    if usable.sum() < rows_needed:
        return {"columns": []}
    return {"columns": [FEATURES[i] for i in columns], "forest": fit_forest(features[usable][:, columns])}


def _read_fit(fitted: dict[str, Any]) -> tuple[list[str], Forest | None]:
    """The columns of a fit and its forest; None where no feature could be used."""
    return fitted["columns"], read_forest(fitted["forest"]) if fitted["columns"] else None


def _past_score(inputs: Inputs, bars: int) -> np.ndarray:
    """The combination without the forest over the newest `bars` bars."""
    return combined_score(detect(inputs, last=bars).p, UNFITTED, COVERAGE_NEEDED * sum(UNFITTED.values()))


def _level(past: np.ndarray, per_week: float) -> float:
    """On-level from past scores: at most one alert a week, at least one."""
    known = np.isfinite(past).sum()
    return budget_level(past, allowed=max(1, int(known / per_week))) if known else ON_LEVEL


def _flat(log_return: np.ndarray, bars: int) -> np.ndarray:
    """True where no return of the newest `bars` differed from 0 (unknown ones aside), with at least one known."""
    rows = np.arange(len(log_return))
    moved = np.maximum.accumulate(np.where(np.isfinite(log_return) & (log_return != 0), rows, -1)) if len(rows) else rows
    seen = np.maximum.accumulate(np.where(log_return == 0, rows, -1)) if len(rows) else rows
    return (seen > moved) & ((rows - moved >= bars) | (moved < 0))


def _combine(tracks: Mapping[str, Track], bars: int) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Coverage, T and its terms over the rows; NaN where the coverage is below the minimum."""
    coverage, raw = np.zeros(bars), np.zeros(bars)
    shares = {}
    for m in METRICS:
        shares[m.key] = np.where(counting(tracks[m.key].status), m.weight * tracks[m.key].freshness(m.tau_bars), 0.0)
        coverage += shares[m.key]
    enough = coverage >= COVERAGE_NEEDED - 1e-12
    contributions = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        for key, share in shares.items():
            term = np.where(share > 0, cauchy_terms(np.where(share > 0, tracks[key].k, 0.5)), 0.0)
            contributions[key] = np.where(enough, share * term / coverage, np.nan)
            raw = raw + contributions[key]
    return coverage, raw, contributions


def _number(value: float | np.floating) -> float | None:
    return float(value) if np.isfinite(value) else None
