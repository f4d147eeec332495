"""Module B, volatility regime and structure: is this a trend or a range, and how wild is it?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from analysis.fits import FitCache
from analysis.kept_rows import columns_of
from analysis.methods.garch import Volatility, garch_volatility, horizon_sigma
from analysis.methods.options_surface import iv30_series
from analysis.methods.switching import Switching, regime_probability
from analysis.module import COVERAGE_NEEDED, Causality, Metric, ScoreModule, Timeline, Track, assemble, blend
from analysis.modules.trend_moment import TrendMomentum
from analysis.report import ModuleReport, Regime, Score, Status, counting
from analysis.scaling import af, pr
from analysis.tracks import known_track, track
from data.frames import Candles
from data.indicators import (
    adx,
    bollinger,
    fractal_dimension,
    historical_volatility,
    hurst,
    natr,
    permutation_entropy,
    range_expansion,
    range_expansion_index,
    range_volatility,
    shannon_entropy,
    variance_ratio,
)
from data.indicators.demark import EXHAUSTED
from data.market import DAY_MS
from data.observations import Kind
from data.view import MarketView, Need

P, R, F = Causality.PREFIX, Causality.RECURSIVE, Causality.FITTED
RANKED = 99  # what PR adds to a warm-up: 100 values of the metric, the first among them

METRICS = (
    Metric("hv", "Historical volatility", "per year", .0, 21 + RANKED, P,
           "sd of the last 20 log returns, annualised by 365 days; PR"),
    Metric("natr", "ATR in percent", "%", .0, 200 + RANKED, R, "100 ATR14 / C; PR", "Wilder 1978"),
    Metric("bb_width", "Bollinger width", "fraction", .0, 20 + RANKED, P, "(upper - lower) / middle of 20 bars; PR",
           "Bollinger 2001"),
    Metric("vr", "Variance ratio z*", "sd", .16, 201, P, "robust z of VR(8) over 200 returns; tanh(z / 2)",
           "Lo & MacKinlay 1988"),
    Metric("rei", "Range expansion index", "-100..100", .0, 13, P, "DeMark's REI of 5 bars; beyond 60 the move looks exhausted",
           "DeMark 1994"),
    Metric("garch", "GARCH volatility", "% per bar", .0, 501, F,
           "forecast sd of the next bar, GARCH(1,1)-t refit daily on 1500 bars; PR", "Bollerslev 1986", priority="*"),
    Metric("entropy", "Permutation entropy", "0..1", .14, 200, P, "order 4 over 200 closes; clip((0.9175 - PE) / 0.043)",
           "Bandt & Pompe 2002", priority="*"),
    Metric("hurst", "Hurst exponent", "0..1", .24, 100, P, "generalised, order 1, 100 closes; clip((H - 0.5) / 0.20)",
           "Di Matteo 2007", priority="**"),
    Metric("switching", "Probability of high volatility", "0..1", .0, 501, F,
           "filtered, two-state Markov variance refit daily on 1500 bars", "Hamilton 1989", priority="***"),
    Metric("adx", "ADX 28", "0..100", .22, 500, R, "clip((ADX28 - 18) / 10)", "Wilder 1978"),
    Metric("fdi", "Fractal dimension", "1..2", .24, 100, P, "clip((1.455 - D) / 0.11), Sevcik D of 100 closes", "Sevcik 1998"),
    Metric("vrp", "Variance risk premium", "per year squared", .0, 1, P, "IV30^2 - RV30^2, annualised fractions",
           "Bollerslev, Tauchen & Zhou 2009"),
    Metric("premium", "Premium index", "fraction", .0, 1, P, "(mark - index) / index"),
)
WEIGHTS_VERSION = "B/1"
VOL_AXIS = {"hv": .30, "natr": .20, "bb_width": .15, "garch": .35}
RANGE_ESTIMATORS = ("parkinson", "garman_klass", "rogers_satchell", "yang_zhang")
VOL_LABELS = ("calm", "normal", "turbulent")
UNCALIBRATED = "uncalibrated: slope and weights come from planted regimes, not from this market"


@dataclass(frozen=True)
class VolatilityConfig:
    """History and presentation of module B; the metrics' windows and weights are versioned constants.

    `history_bars` covers the 1500 returns before 00:00 UTC at every interval down to one minute (1440 bars a day).
    `enter` and `leave` are the probabilities that make a TREND or a RANGE when held for two bars; a label older than
    `memory_bars` without being confirmed is dropped.
    """

    history_bars: int = 3000
    slope: float = 3.5
    enter: float = 0.60
    leave: float = 0.40
    memory_bars: int = 500
    quiet_below: float = 0.33
    turbulent_from: float = 0.80
    sided_from: float = 0.10
    horizon_bars: int = 24
    premium_days: float = 30.0
    option_days: float = 2.0


def regime_states(p_trend: np.ndarray, *, enter: float, leave: float, memory_bars: int) -> np.ndarray:
    """1 trend, -1 range, 0 undecided, at every bar: the newest pair of bars that both reached `enter`, or both `leave`.

    Pairs older than `memory_bars` are forgotten, so the state is decided by that many bars alone.
    """
    n = len(p_trend)
    with np.errstate(invalid="ignore"):
        up, down = p_trend >= enter, p_trend <= leave
    event = np.zeros(n, np.int8)
    event[1:][up[1:] & up[:-1]] = 1
    event[1:][down[1:] & down[:-1]] = -1
    rows = np.arange(n)
    newest = np.maximum.accumulate(np.where(event != 0, rows, -1))
    held = (newest >= 0) & (rows - newest < memory_bars - 1)  # the pair's older bar lies inside the memory too
    return np.where(held, event[np.maximum(newest, 0)], 0).astype(np.int8)


class VolatilityRegime(ScoreModule):
    """Probability of a trending (against a ranging) market, with a label, and a separate axis for how wild it is.

    Trend evidence e in -1..1 is the weighted mean of five measures of structure, each brought to -1..1: Hurst exponent and
    fractal dimension .24 each, ADX28 .22, variance ratio .16, permutation entropy .14; unknown ones are left out and the
    rest grow, and below 65 % known weight there is no score. P_trend = 1 / (1 + exp(-3.5 e)); slope and weights were set on
    planted regimes (AUC .88, Brier .128 there), so the probability is marked uncalibrated.

    Label: TREND once P >= .60 on two bars running, RANGE once <= .40 on two, else as before; TREND_UP or TREND_DOWN by the sign
    of module A's S (plain TREND where |S| < .1). Volatility axis v = .30 PR(hv) + .20 PR(NATR) + .15 PR(Bollinger width)
    + .35 PR(GARCH); b_risk = .5 v + .5 pi with pi the filtered probability of the high-variance state (v alone where there
    are not two regimes); calm below .33, turbulent from .80. GARCH and the two-state model are fitted at 00:00 UTC on the
    1500 bars before and filtered in between. REI, variance risk premium and premium index are shown, with no weight.
    """

    letter = "B"
    slug = "volat_regime"
    name = "Volatility regime & structure"
    short = "Regime"
    commands = ("regime", "rg")
    type = "probability of a trend 0..1, uncalibrated"
    question = "Is the market trending or ranging, and how wild is it?"
    link = "logistic(3.5)"
    metrics = METRICS

    def __init__(self, config: VolatilityConfig | None = None, trend: TrendMomentum | None = None) -> None:
        self.config = config or VolatilityConfig()
        self.trend = trend or TrendMomentum()

    @property
    def own(self) -> Need:
        return Need(Kind.CANDLES, self.config.history_bars)

    @property
    def needs(self) -> tuple[Need, ...]:
        premium = Need(Kind.PREMIUM_INDEX, days=self.config.premium_days, optional=True)
        implied = Need(Kind.OPTION_MARK, days=self.config.option_days, optional=True)
        return (self.own, premium, implied, *self.trend.needs)

    def timeline(self, view: MarketView, bars: int = 1) -> Timeline:
        """The newest rows; `extra`: state (1 trend, -1 range, 0 undecided), s (module A's S), v, pi, b_risk, vol_label."""
        candles = view.candles(self.own)
        if not len(candles):
            return self._nothing(view, view.why_absent(self.own))
        bars = min(bars, len(candles))
        rows = min(bars + self.config.memory_bars - 1, len(candles))
        age_s = view.age_s(candles)
        tracks = evidence_tracks(candles, rows, age_s, columns_of(self, view, candles.close_time, "structure", (self.own,), rows,
                                                                  partial(structure_of, candles)))
        mixed = blend(self.metrics, tracks)
        with np.errstate(over="ignore"):
            p_trend = 1.0 / (1.0 + np.exp(-self.config.slope * mixed.raw))
        state = regime_states(p_trend, enter=self.config.enter, leave=self.config.leave, memory_bars=self.config.memory_bars)
        newest = slice(rows - bars, rows)
        cut = {key: replace(t, value=t.value[newest], k=t.k[newest], status=t.status[newest]) for key, t in tracks.items()}

        fits = view.fits if isinstance(view.fits, FitCache) else None
        garch = garch_volatility(candles, bars=bars, fits=fits)
        switching = regime_probability(candles, bars=bars, fits=fits)
        step_s = candles.interval.ms / 1000
        cut |= volatility_tracks(candles, bars, age_s)
        rank = np.where(counting(garch.status), garch.rank, np.nan)
        cut["garch"] = Track(garch.sigma, rank, garch.status, age_s, step_s, garch.note)
        pi = switching.probability
        cut["switching"] = Track(pi, pi, switching.status, age_s, step_s, switching.note)
        cut |= self._beside_candles(view, candles, bars)
        extra = self._axes(cut, bars)
        extra["state"] = state[newest].astype(float)
        extra["s"] = self.trend.signed(view, bars)
        shown = self._shown(candles, garch, switching, extra)
        return Timeline(candles.close_time[len(candles) - bars :], mixed.raw[newest], p_trend[newest], mixed.coverage[newest],
                        {m.key: cut[m.key] for m in self.metrics}, {key: c[newest] for key, c in mixed.contributions.items()},
                        extra, shown)

    def _nothing(self, view: MarketView, why: str) -> Timeline:
        """One row that knows nothing, for a view without candles."""
        nan = np.full(1, np.nan)
        extra = {"state": np.zeros(1), **dict.fromkeys(("s", "v", "pi", "b_risk", "vol_label"), nan)}
        return Timeline(np.full(1, view.as_of_ms), nan, nan, np.zeros(1), {m.key: Track.absent(1, why) for m in METRICS},
                        {m.key: nan for m in METRICS if m.weight > 0}, extra,
                        {"calibration": UNCALIBRATED, "weights_version": WEIGHTS_VERSION})

    def score(self, view: MarketView, line: Timeline | None = None) -> ModuleReport:
        line = line or self.timeline(view)
        values = [float(c[-1]) for c in line.contributions.values() if np.isfinite(c[-1])]
        pull = sum(abs(v) for v in values)
        agreement = abs(sum(values)) / pull if pull else 0.0
        label = self.label(line)
        report = assemble(self, view, line, label=label, agreement=agreement,
                          confidence=float(line.coverage[-1]) * (0.5 + 0.5 * agreement))
        return replace(report, value=replace(report.value, label=label)) if isinstance(report.value, Regime) else report

    def label(self, line: Timeline, row: int = -1) -> str:
        """TREND_UP, TREND_DOWN, TREND, RANGE or UNDECIDED at a row of a timeline; empty where there is no score."""
        if not np.isfinite(line.score[row]):
            return ""
        state, s = line.extra["state"][row], line.extra["s"][row]
        if state == 0:
            return "UNDECIDED"
        if state < 0:
            return "RANGE"
        if not abs(s) >= self.config.sided_from:
            return "TREND"
        return "TREND_UP" if s > 0 else "TREND_DOWN"

    def typed(self, view: MarketView, score: float | None, raw: float | None, coverage: float, reason: str) -> Score:
        shares = {} if score is None else {"TREND": score, "RANGE": 1.0 - score}
        inputs = tuple(m.key for m in self.metrics if m.weight)
        return Regime(value=score, interval=str(view.interval), horizon_bars=self.config.horizon_bars, as_of_ms=view.as_of_ms,
                      coverage=coverage, inputs=inputs, reason=reason, probabilities=shares)

    def _axes(self, tracks: Mapping[str, Track], bars: int) -> dict[str, np.ndarray]:
        """The volatility axis, the risk number and its label (0 calm, 1 normal, 2 turbulent; NaN unknown)."""
        total, known = np.zeros(bars), np.zeros(bars)
        for key, weight in VOL_AXIS.items():
            k = tracks[key].k
            total = total + np.where(np.isfinite(k), weight * k, 0.0)
            known = known + np.where(np.isfinite(k), weight, 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            v = np.where(known >= COVERAGE_NEEDED - 1e-12, total / known, np.nan)
        pi = tracks["switching"].k
        risk = np.where(np.isfinite(pi), 0.5 * v + 0.5 * pi, v)
        named = np.where(risk < self.config.quiet_below, 0.0, np.where(risk >= self.config.turbulent_from, 2.0, 1.0))
        return {"v": v, "pi": pi, "b_risk": risk, "vol_label": np.where(np.isfinite(risk), named, np.nan)}

    def _beside_candles(self, view: MarketView, candles: Candles, bars: int) -> dict[str, Track]:
        """Variance risk premium and premium index: from their own sources where there are any, else absent with the reason."""
        premium, implied = self.needs[1], self.needs[2]
        closed = candles.close_time[len(candles) - bars :]
        index = view.observations(premium)
        nothing = np.full(len(index), np.nan)
        shown_only = np.full(len(index), Status.OK, np.int8)
        out = {"premium": known_track(view, index, closed, index["close"], nothing, step_s=3600.0, status=shown_only)}
        marks = view.observations(implied)
        if not len(marks):
            return out | {"vrp": Track.absent(bars, view.why_absent(implied))}
        moments, index30 = iv30_series(marks)
        row = np.searchsorted(moments, closed, side="right") - 1
        held = np.maximum(row, 0)
        value = np.where(row >= 0, index30[held], np.nan) ** 2 - realised_month(candles)[len(candles) - bars :] ** 2
        status = np.where(np.isfinite(value), Status.OK, Status.MISSING).astype(np.int8)
        late_s = np.where(row >= 0, np.maximum(0.0, (closed - moments[held]) / 1000), np.inf)
        words = "" if np.isfinite(value[-1]) else "30 days of candles, or expiries on both sides of 30 days, are missing"
        return out | {"vrp": Track(value, np.full(bars, np.nan), status, view.age_of(marks), 3600.0, words, late_s)}

    def _shown(self, candles: Candles, garch: Volatility, switching: Switching,
               extra: Mapping[str, np.ndarray]) -> dict[str, Any]:
        label = extra["vol_label"][-1]
        near, recent = candles.tail(640), candles.tail(201)
        ranges = range_volatility(near)
        rei = _last(range_expansion_index(near))
        day_bars = max(1, DAY_MS // candles.interval.ms)
        shown: dict[str, Any] = {
            "v": _plain(extra["v"][-1]), "pi": _plain(extra["pi"][-1]), "b_risk": _plain(extra["b_risk"][-1]),
            "vol_label": VOL_LABELS[int(label)] if np.isfinite(label) else None, "s_of_module_a": _plain(extra["s"][-1]),
            "calibration": UNCALIBRATED, "weights_version": WEIGHTS_VERSION, "garch": dict(garch.parameters),
            "switching": dict(switching.parameters),
            "hv_100_per_year": _last(historical_volatility(near, window=100)),
            **{f"{name}_per_year": _last(getattr(ranges, name)) for name in RANGE_ESTIMATORS},
            "rei_exhausted": None if rei is None else abs(rei) > EXHAUSTED,
            "range_expansion": _last(range_expansion(near)), "hurst_512": _last(hurst(near, window=512)),
            "shannon_entropy": _last(shannon_entropy(recent)),
            "variance_ratio": {str(lag): dict(zip(("ratio", "z"), map(_last, variance_ratio(recent, lag=lag)), strict=True))
                               for lag in (2, 4, 8, 16)},
        }
        if garch.parameters and np.isfinite(garch.sigma[-1]):
            shown["garch_day_ahead_pct"] = horizon_sigma(float(garch.sigma[-1]), garch.parameters, day_bars)
        return shown


def structure_of(candles: Candles, rows: int) -> dict[str, np.ndarray]:
    """The four measures of structure that windows decide, at the newest `rows` bars: they need no more than their windows."""
    windowed = {"vr": (lambda c: variance_ratio(c)[1], 201), "entropy": (permutation_entropy, 200), "hurst": (hurst, 100),
                "fdi": (fractal_dimension, 100)}
    return {key: function(candles.tail(rows + bars))[-rows:] for key, (function, bars) in windowed.items()}


def evidence_tracks(candles: Candles, rows: int, age_s: float, structure: Mapping[str, np.ndarray] | None = None) -> dict[str, Track]:
    """The five measures of structure at the newest `rows` bars; `structure`: `structure_of` them, where somebody has it."""
    found = structure_of(candles, rows) if structure is None else structure
    z, entropy, exponent, dimension = (_placed(found[key], len(candles)) for key in ("vr", "entropy", "hurst", "fdi"))
    strength = adx(candles, window=28)
    scores = {
        "vr": (z, np.tanh(z / 2.0)),
        "entropy": (entropy, af(0.9175 - entropy, 0.0, 0.043)),
        "hurst": (exponent, af(exponent, 0.5, 0.20)),
        "adx": (strength, af(strength, 18.0, 10.0)),
        "fdi": (dimension, af(1.455 - dimension, 0.0, 0.11)),
    }
    warmup = {m.key: m.warmup_bars for m in METRICS}
    return {key: track(candles, value, k, warmup_bars=warmup[key], bars=rows, age_s=age_s) for key, (value, k) in scores.items()}


def volatility_tracks(candles: Candles, bars: int, age_s: float) -> dict[str, Track]:
    """The volatility levels with their percentiles, and REI, at the newest `bars` bars."""
    n = len(candles)
    near = candles.tail(bars + 540)
    values = {"hv": _placed(historical_volatility(near), n), "natr": natr(candles), "bb_width": _placed(bollinger(near).width, n)}
    first = {"hv": 21, "natr": 200, "bb_width": 20}
    out = {}
    for key, value in values.items():
        value = np.where(value > 0, value, np.nan)  # a level of zero is a flat window, not a low percentile
        out[key] = track(candles, value, pr(value, last=bars), warmup_bars=first[key], bars=bars, scaled=True, age_s=age_s)
    rei = _placed(range_expansion_index(candles.tail(bars + 16)), n)
    out["rei"] = track(candles, rei, rei / 100.0, warmup_bars=13, bars=bars, age_s=age_s)
    return out


def realised_month(candles: Candles) -> np.ndarray:
    """Annualised realised volatility of the last 30 days, fraction per year; NaN where less is known."""
    return historical_volatility(candles, window=max(2, math.ceil(30 * DAY_MS / candles.interval.ms)))


def _placed(values: np.ndarray, n: int) -> np.ndarray:
    """Values of the newest bars, as a series of n bars that is NaN before."""
    return np.concatenate((np.full(n - len(values), np.nan), values))


def _last(values: np.ndarray) -> float | None:
    return _plain(values[-1]) if len(values) else None


def _plain(value: float | np.floating) -> float | None:
    return float(value) if np.isfinite(value) else None
