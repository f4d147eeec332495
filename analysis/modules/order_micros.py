"""Module D, order flow and microstructure: who presses, and how much does the book give way?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.kept_rows import unchanged
from analysis.methods.impact import trailing_slope
from analysis.methods.order_flow import aggression, balance, net_share, regular, stands_still
from analysis.module import Causality, Metric, ScoreModule, Timeline, Track, assemble, blend
from analysis.report import Direction, ModuleReport, Score, Status, counting
from analysis.scaling import MINIMUM_BARS, WINDOW_BARS, pr, z0
from analysis.tracks import known_track
from data.frames import Candles
from data.indicators.windows import trailing_mean
from data.market import MINUTE_MS, Interval
from data.observations import Kind, Observations
from data.view import MarketView, Need

P = Causality.PREFIX
TAU = 1.5  # of a sample's minute: 90 s
STEP_S = 60.0
HOUR, PUSH, NEAR, IMPACT = 60, 5, 10, 30  # minutes: cvd and dominance; buy pressure; near mass; regression on flow
ASYMMETRY = 0.2
FRAGILE_PARTS = 2  # of four that must be known
FROM_CANDLES = "from the taker volumes of 1m candles: no trades were recorded"
STILL = "the quote did not move in an hour"


def _metric(key: str, title: str, unit: str, weight: float, warmup: int, formula: str, source: str = "", priority: str = "c") -> Metric:
    return Metric(key, title, unit, weight, warmup, P, formula, source, tau_bars=TAU, priority=priority)


METRICS = (
    _metric("obi", "Book imbalance", "-1..1", .18, 1,
            "(bids - asks)/(bids + asks), sizes weighted exp(-distance / 10 bps), mean over the minute. Sizes can be a bluff: compare 1, 5 "
            "and 20 levels."),
    _metric("spread", "Spread", "bps", .0, 1,
            "Time-weighted over the minute. Quality factor 1 - max(0, 2 PR - 1): wider than usual, less sure."),
    _metric("mbp", "Market buy pressure", "-1..1", .15, PUSH, "2 Vbuy / (Vbuy + Vsell) - 1 of takers over 5 minutes."),
    _metric("aggression", "Aggression", "-1..1", .08, 1,
            "Vbuy / ask depth against Vsell / bid depth, as a balance; depth within 10 bps, one minute."),
    _metric("slippage", "Slippage of 10,000", "bps", .04, 1,
            "Mean cost of buying and of selling 10,000 against the mid; k = (buy - sell)/(buy + sell): where asks are thin, up is easier."),
    _metric("depth_elasticity", "Depth asymmetry", "share", .05, 1,
            "(ln depth of bids - of asks)/(sum), means over 10, 20, 30, 50, 100 bps, depth in quote currency; clipped at +-.2.",
            "Naes & Skjeltorp 2006"),
    _metric("cvd", "Cumulative volume delta", "share of volume", .18, HOUR + MINIMUM_BARS,
            "Sum of taker buys - sells over 60 minutes / volume, then Z0.", priority="*"),
    _metric("ofi", "Order-flow imbalance", "best depths", .20, MINIMUM_BARS,
            "Changes of the best queues, signed and summed over a minute, / their mean size, then Z0. Needs every change in its order.",
            "Cont, Kukanov & Stoikov 2014", priority="**"),
    _metric("taker_dom", "Taker dominance", "share of volume", .08, HOUR + MINIMUM_BARS,
            "(Vbuy - Vsell)/V of takers over 60 minutes, then Z0.", priority="**"),
    _metric("liq_density", "Resting liquidity", "-1..1", .04, NEAR,
            "(bids - asks)/(bids + asks) within 50 bps, or as far as both sides are known; mean over 10 minutes.", priority="***"),
)
WEIGHTS_VERSION = "D/1"


@dataclass(frozen=True)
class OrderFlowConfig:
    """0.4 days hold 500 samples of an hour's sum (559 minutes); the candles that stand in, the same."""

    flow_days: float = 0.4
    candles: int = WINDOW_BARS + HOUR + 16
    horizon_bars: int = 5


class OrderFlow(ScoreModule):
    """Liquidity pressure 0..1: below 0.5 sellers press, above buyers.

    Nine opinions about the last minute to the last hour, sampled every minute from streamed books and trades: book imbalance .18, market
    buy pressure .15, aggression .08, slippage .04, depth asymmetry .05, volume delta .18, order-flow imbalance .20, taker dominance .08
    and resting liquidity .04. score = 0.5 + 0.5 S. The confidence carries the spread as a factor: 1 - max(0, 2 PR(spread) - 1).

    A sample is a minute old by nature, so it counts in full for 90 s and not at all after 270 s; the five seconds of a live book belong to
    module H. Where books are polled there is no order-flow imbalance and the coverage is .80. Where no trades were recorded, volume delta
    and taker dominance come from the taker volumes of 1m candles, marked as a fallback; alone they are .26, and .65 is needed. Volume
    delta and taker dominance are one number over one hour, and are not two votes.

    Beside the score: fragility, the mean of PR(spread), 1 - PR(depth within 10 bps), PR(slippage of 10,000) and PR(lambda), lambda being
    the slope of the mid's minute moves (bps) on net taker volume over 30 minutes, where it is positive.

    References
    ----------
    Cont, Kukanov & Stoikov (2014); Naes & Skjeltorp (2006); Kyle (1985).
    """

    letter = "D"
    slug = "order_micros"
    name = "Order flow & microstructure"
    short = "Flow"
    commands = ("flow", "f")
    type = "liquidity pressure 0..1 (0.5 neutral)"
    question = "Who presses, and how much does the book give way?"
    link = "0.5+0.5*raw"
    metrics = METRICS

    def __init__(self, config: OrderFlowConfig | None = None) -> None:
        self.config = config or OrderFlowConfig()
        self._bars = Need(Kind.CANDLES, 100)
        self._flow = Need(Kind.MINUTE_FLOW, days=self.config.flow_days, optional=True)
        self._minutes = Need(Kind.CANDLES, self.config.candles, interval=Interval.M1, optional=True)

    @property
    def needs(self) -> tuple[Need, ...]:
        return (self._bars, self._flow, self._minutes)

    def timeline(self, view: MarketView, bars: int = 1) -> Timeline:
        """The newest rows. `extra` holds quality, fragility, spread_bps, slippage_10k_bps, slippage_100k_bps, lambda and impact_beta."""
        candles = view.candles(self._bars)
        bars = max(1, min(bars, len(candles)))
        closed = candles.close_time[len(candles) - bars :] if len(candles) else np.full(1, view.as_of_ms)
        flow = view.observations(self._flow)
        measured = unchanged(self, view, "minutes", (self._flow,), closed, lambda: _Measured(flow, closed))
        tracks = {m.key: measured.track(view, flow, closed, m) for m in METRICS}
        for key in ("cvd", "taker_dom"):
            tracks[key] = _standing_in(tracks[key], _candle_track(view, view.candles(self._minutes), closed))
        mixed = blend(METRICS, tracks)
        raw = np.where(mixed.enough, mixed.raw, np.nan)
        pull = sum((np.abs(c) for c in mixed.contributions.values()), np.zeros(bars))  # in this order, however many rows
        with np.errstate(invalid="ignore", divide="ignore"):
            agreement = np.where(pull > 0, np.abs(raw) / pull, np.where(mixed.enough, 0.0, np.nan))
        extra = {name: _at(view, flow, closed, values) for name, values in measured.extra.items()}
        return Timeline(closed, raw, 0.5 + 0.5 * raw, mixed.coverage, tracks, mixed.contributions, {"agreement": agreement, **extra},
                        measured.shown(flow) | {"weights_version": WEIGHTS_VERSION})

    def score(self, view: MarketView, line: Timeline | None = None) -> ModuleReport:
        line = line or self.timeline(view)
        agreement, quality = float(line.extra["agreement"][-1]), float(line.extra["quality"][-1])
        sure = float(line.coverage[-1]) * (0.5 + 0.5 * agreement) * quality
        return assemble(self, view, line, label=pressure_label(float(line.score[-1])),
                        agreement=agreement if np.isfinite(agreement) else None, confidence=sure if np.isfinite(sure) else None)

    def typed(self, view: MarketView, score: float | None, raw: float | None, coverage: float, reason: str) -> Score:
        value = None if raw is None else min(1.0, max(-1.0, raw))
        return Direction(value=value, interval=str(view.interval), horizon_bars=self.config.horizon_bars, as_of_ms=view.as_of_ms,
                         coverage=coverage, inputs=tuple(m.key for m in METRICS if m.weight), reason=reason)


def pressure_label(score: float) -> str:
    return "buyers" if score > 0.6 else "sellers" if score < 0.4 else "balanced"


# -- metrics over minutes ---------------------------------------------------------------------------------------------


class _Measured:
    """Value, unit score and status of every metric, and the series beside them, after each row of the observations; what is measured
    against its own past only from the row on that the first of the bars looks at."""

    def __init__(self, rows: Observations, closed: np.ndarray) -> None:
        self.place, of = regular(rows, MINUTE_MS)
        self.known: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self.extra: dict[str, np.ndarray] = dict.fromkeys(
            ("quality", "fragility", "spread_bps", "slippage_10k_bps", "slippage_100k_bps", "lambda", "impact_beta"), np.empty(0))
        if not len(rows):
            return
        last = _touched(self.place, rows.available_time, closed)
        still = stands_still(of["mid"], HOUR)
        nothing = np.full(len(still), np.nan)
        traded = of["buy_volume"] + of["sell_volume"]
        delta = net_share(of["buy_volume"], of["sell_volume"], HOUR)
        _, signed = aggression(of["buy_volume"], of["sell_volume"], of["bid_depth_10"], of["ask_depth_10"])
        cost = 0.5 * (of["buy_slippage_10k"] + of["sell_slippage_10k"])
        with np.errstate(divide="ignore", invalid="ignore"):
            flow = np.where(of["best_depth"] > 0, of["ofi"] / of["best_depth"], np.nan)
            move = 1e4 * np.diff(np.log(np.where(of["mid"] > 0, of["mid"], np.nan)), prepend=np.nan)
        lean = balance(of["bid_log_depth"], of["ask_log_depth"])
        leaning = np.where(np.abs(of["obi"]) <= 1.0, of["obi"], np.nan)
        mass = trailing_mean(balance(of["bid_mass_50"], of["ask_mass_50"]), NEAR)
        push = net_share(of["buy_volume"], of["sell_volume"], PUSH)
        lower_bound = of["unfilled_10k"] > 0
        self._add("obi", leaning, leaning, of["obi"], still)
        self._add("spread", of["spread_bps"], nothing, of["spread_bps"], still, shown_only=True)
        self._add("mbp", push, push, traded, still, PUSH)
        self._add("aggression", signed, signed, traded + of["bid_depth_10"] + of["ask_depth_10"], still)
        self._add("slippage", cost, balance(of["buy_slippage_10k"], of["sell_slippage_10k"]), cost, still, fallback=lower_bound)
        self._add("depth_elasticity", lean, np.clip(lean, -ASYMMETRY, ASYMMETRY) / ASYMMETRY, of["bid_log_depth"] + of["ask_log_depth"],
                  still)
        self._add("cvd", delta, z0(delta, last=last), traded, still, HOUR, scaled=True)
        self._add("ofi", flow, z0(flow, last=last), of["ofi"], still, scaled=True)
        self._add("taker_dom", delta, z0(delta, last=last), traded, still, HOUR, scaled=True)
        self._add("liq_density", mass, mass, of["bid_mass_50"] + of["ask_mass_50"], still, NEAR)
        slope = trailing_slope(of["buy_volume"] - of["sell_volume"], move, IMPACT)
        impact = np.where(slope > 0, slope, np.nan)
        wide = pr(of["spread_bps"], last=last)
        fragile = np.stack([wide, 1.0 - pr(of["bid_depth_10"] + of["ask_depth_10"], last=last), pr(cost, last=last), pr(impact, last=last)])
        parts = np.isfinite(fragile)
        enough = (parts.sum(axis=0) >= FRAGILE_PARTS) & ~still
        self.extra = {name: values[self.place] for name, values in {
            "quality": 1.0 - np.maximum(0.0, 2.0 * wide - 1.0),
            "fragility": np.where(enough, np.where(parts, fragile, 0.0).sum(axis=0) / np.maximum(parts.sum(axis=0), 1), np.nan),
            "spread_bps": of["spread_bps"], "slippage_10k_bps": cost,
            "slippage_100k_bps": 0.5 * (of["buy_slippage_100k"] + of["sell_slippage_100k"]),
            "lambda": impact, "impact_beta": trailing_slope(of["ofi"], move, IMPACT)}.items()}
        self._moved = move

    def _add(self, key: str, value: np.ndarray, k: np.ndarray, source: np.ndarray, still: np.ndarray, window: int = 1, *,
             scaled: bool = False, shown_only: bool = False, fallback: np.ndarray | None = None) -> None:
        """Status in order: the quote stands still; k known; too few minutes; an input unknown; else nothing to measure."""
        place = np.arange(len(value))
        first = int(np.flatnonzero(np.isfinite(source))[0]) if np.isfinite(source).any() else len(value)
        needed = window - 1 + (MINIMUM_BARS - 1 if scaled else 0)
        unknown = ~np.isfinite(trailing_mean(source, window)) if window > 1 else ~np.isfinite(source)
        counts = np.isfinite(value) if shown_only else np.isfinite(k)
        status = np.where(unknown, Status.MISSING, Status.DEGENERATE)
        status = np.where((place - first < needed) & (place >= first), Status.WARMUP, status)
        status = np.where(counts, Status.OK, status)
        if fallback is not None:
            status = np.where(counts & fallback, Status.FALLBACK, status)
        status = np.where(still, Status.DEGENERATE, status).astype(np.int8)
        self.known[key] = (value[self.place], k[self.place], status[self.place])

    def track(self, view: MarketView, rows: Observations, closed: np.ndarray, metric: Metric) -> Track:
        if not len(rows):
            return Track.absent(len(closed), rows.note or "no books and trades were recorded")
        value, k, status = self.known[metric.key]
        row = int(np.searchsorted(rows.available_time, closed[-1], side="right")) - 1
        newest = Status(int(status[row])) if row >= 0 else Status.MISSING
        found = known_track(view, rows, closed, value, k, step_s=STEP_S, note=_why(metric, newest, len(rows)), status=status)
        if newest is Status.FALLBACK and not found.note:
            return Track(found.value, found.k, found.status, found.age_s, found.step_s, "the book is too thin: a lower bound", found.late_s)
        return found

    def shown(self, rows: Observations) -> dict[str, Any]:
        """What the page draws beside the score: the newest sample."""
        if not len(rows):
            return {}
        names = ("obi_1", "obi_5", "obi_20", "bid_elasticity", "ask_elasticity", "wall_bps", "wall_mass", "unfilled_10k", "unfilled_100k",
                 "large_share")
        out: dict[str, Any] = {name: _number(rows[name][-1]) for name in names}
        drift, delta = float(np.nansum(self._moved[-HOUR:])), self.known["cvd"][0][-1]
        out["cvd_divergence"] = bool(np.isfinite(delta) and delta * drift < 0)
        return out


def _touched(place: np.ndarray, known_ms: np.ndarray, closed: np.ndarray) -> int:
    """How many of the newest places hold every row that one of the bars looks at."""
    row = max(0, int(np.searchsorted(known_ms, closed[0], side="right")) - 1)
    return int(place.max()) + 1 - int(place[row:].min())


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _why(metric: Metric, status: Status, rows: int) -> str:
    if status is Status.WARMUP:
        return f"needs {metric.warmup_bars} minutes in a row, {min(rows, metric.warmup_bars - 1)} are there"
    if status is Status.DEGENERATE:
        return STILL if metric.key in ("obi", "spread") else f"nothing to measure: no trades, or {STILL}"
    unknown: Mapping[str, str] = {
        "ofi": "needs every change of the best quote in order: a gap, a crossed quote or polled books do not give it",
        "aggression": "the book is not known 10 bps deep, or no trades were recorded",
        "depth_elasticity": "fewer than three distances lie inside what is known of the book",
        "liq_density": "the book is not known 10 bps deep", "obi": "no book was sampled, or it was crossed"}
    return unknown.get(metric.key, "no book or no trades were recorded in its window")


def _at(view: MarketView, rows: Observations, closed: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A series beside the score at each close; NaN once its sample is three times tau old."""
    if not len(rows):
        return np.full(len(closed), np.nan)
    row = np.searchsorted(rows.available_time, closed, side="right") - 1
    late = (closed - rows.available_time[np.maximum(row, 0)]) / 1000.0
    late[-1] = max(late[-1], view.age_of(rows))
    return np.where((row >= 0) & (late < 3.0 * TAU * STEP_S), values[np.maximum(row, 0)], np.nan)


# -- without recorded trades ------------------------------------------------------------------------------------------


def _candle_track(view: MarketView, minutes: Candles, closed: np.ndarray) -> Track:
    """Net taker share of an hour from 1m candles: delta = 2 taker buys - volume."""
    if not len(minutes):
        return Track.absent(len(closed), "no 1m candles are stored")
    place = (minutes.open_time - minutes.open_time[0]) // MINUTE_MS
    buy, volume = np.full(int(place[-1]) + 1, np.nan), np.full(int(place[-1]) + 1, np.nan)
    buy[place], volume[place] = minutes.taker_buy_volume, minutes.volume
    delta = net_share(buy, volume - buy, HOUR)
    k = z0(delta, last=_touched(place, minutes.close_time, closed))
    row = np.searchsorted(minutes.close_time, closed, side="right") - 1
    at = place[np.maximum(row, 0)]
    status = np.where(np.isfinite(k[at]), Status.FALLBACK, np.where(np.isfinite(delta[at]), Status.WARMUP, Status.DEGENERATE))
    status = np.where(row < 0, Status.MISSING, status).astype(np.int8)
    late = np.where(row < 0, np.inf, (closed - minutes.close_time[np.maximum(row, 0)]) / 1000.0)
    counts = status == int(Status.FALLBACK)
    note = FROM_CANDLES if counts[-1] else "neither recorded trades nor enough 1m candles with taker volumes"
    return Track(np.where(row < 0, np.nan, delta[at]), np.where(counts, k[at], np.nan), status, view.age_s(minutes), STEP_S, note,
                 np.maximum(late, 0.0))


def _standing_in(flow: Track, candles: Track) -> Track:
    """Recorded trades where they are known and fresh, else the candles, row by row."""
    usable = counting(flow.status) & (flow.freshness(TAU) > 0)
    other = counting(candles.status) & (candles.freshness(TAU) > 0) & ~usable
    zeros = np.zeros(len(flow.value))
    late = np.where(other, candles.late_s if candles.late_s is not None else zeros, flow.late_s if flow.late_s is not None else zeros)
    newest = candles if other[-1] else flow
    return Track(np.where(other, candles.value, flow.value), np.where(other, candles.k, flow.k),
                 np.where(other, candles.status, flow.status).astype(np.int8), newest.age_s, STEP_S, newest.note,
                 late if flow.late_s is not None or candles.late_s is not None else None)
