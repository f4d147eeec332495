"""Module H, micro alpha: where do the next seconds lean, tick by tick?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.fits import FitCache
from analysis.methods import microprice
from analysis.methods.impact import HAC_LAGS, impact_of
from analysis.methods.order_flow import (
    balance,
    latency_adjusted_flow,
    net_share,
    regular,
    stands_still,
    surprise,
    weighted_median,
    windows_at,
    z0_at,
)
from analysis.module import Causality, Metric, ScoreModule, Timeline, Track, assemble, blend
from analysis.modules.order_micros import pressure_label
from analysis.report import Direction, ModuleReport, Score, Status
from analysis.scaling import MINIMUM_BARS, SHARE_NEEDED
from analysis.tracks import known_track, rows_known
from data.indicators.windows import trailing_sum
from data.market import DAY_MS
from data.observations import Kind, Observations
from data.view import MarketView, Need, daily_anchor

P, F = Causality.PREFIX, Causality.FITTED
WINDOW_S = 900  # of Z0, and the least a stream must have run
BURST_S, MINUTE_S, IMPACT_S = 10, 60, 1800
LEAST_T = 2.0
HALF_LIFE_S = 60.0
FULL_LIFE_MS = 200.0
BOOK_TAU, TRADES_TAU = 5.0, 10.0
SECOND_MS = 1000
REACH_S = IMPACT_S + WINDOW_S  # of the longest window and what stands in it
CHUNK = 128  # rows whose half hour is regressed at a time


def _metric(key: str, title: str, unit: str, weight: float, warmup: int, formula: str, source: str = "", tau: float = TRADES_TAU,
            priority: str = "c", causality: Causality = P) -> Metric:
    return Metric(key, title, unit, weight, warmup, causality, formula, source, tau_bars=tau, priority=priority)


METRICS = (
    _metric("micro_dev", "Micro price", "half spreads", .25, WINDOW_S,
            "(micro price - mid) / half the spread, clipped at +-1. Fitted at 00:00 UTC on the day before; until then the mid weighted by "
            "the opposite sizes.", "Stoikov 2018", BOOK_TAU, "*", F),
    _metric("ofi", "Order-flow imbalance", "best depths", .20, WINDOW_S,
            "Signed changes of the best queues over 10 s / their mean size, then Z0 over 900 s.", "Cont, Kukanov & Stoikov 2014", BOOK_TAU,
            "*"),
    _metric("cvd", "Volume delta", "share of volume", .12, WINDOW_S, "(taker buys - sells) / volume over 60 s, then Z0 over 900 s.",
            priority="*"),
    _metric("imb", "Best-quote imbalance", "-1..1", .12, WINDOW_S, "(qb - qa)/(qb + qa) at the best quote, time-weighted over 1 s.",
            tau=BOOK_TAU),
    _metric("tdr", "Trade direction ratio", "-1..1", .10, WINDOW_S, "2 * taker buys / trades - 1 over 10 s, by number."),
    _metric("kyle", "Kyle's lambda", "price per unit", .08, IMPACT_S,
            "Slope of the mid's 1-s moves on net taker volume, 30 min, HAC(5) errors; k = tanh(lambda * net volume of 10 s / sd of 10-s "
            "moves) where lambda > 0 and t > 2.", "Kyle 1985; Hasbrouck 2009", priority="**"),
    _metric("lafr", "Latency-adjusted flow", "-1..1", .08, WINDOW_S,
            "sum(w s q)/sum q over 10 s, w = exp(-(latency - least)/250 ms): late news counts less.", priority="**"),
    _metric("hf_z", "Reversal of the last second", "sd", .05, WINDOW_S,
            "z of the last 1-s return against its exponential mean and variance of half-life 60 s; k = -tanh(z/3).", tau=BOOK_TAU,
            priority="***"),
    _metric("tick_vol", "Trade rate", "trades/s", .0, WINDOW_S, "Trades per second over 60 s; shown only."),
    _metric("spread", "Spread", "bps", .0, WINDOW_S, "Time-weighted over 60 s; shown only.", tau=BOOK_TAU),
    _metric("quote_stability", "Quote stability", "share", .0, WINDOW_S,
            "QSI = 1 - price changes / updates of the best quote over 60 s; a factor of the confidence.", tau=BOOK_TAU),
    _metric("order_duration", "Life of the best quote", "ms", .0, WINDOW_S,
            "Median completed life of a pair of best prices over 60 s; a factor of the confidence.", tau=BOOK_TAU),
)
WEIGHTS_VERSION = "H/1"
SHOWN_ONLY = tuple(m.key for m in METRICS if m.weight == 0)


@dataclass(frozen=True)
class MicroAlphaConfig:
    """Two days hold the whole day before the last midnight, at any hour."""

    history_days: float = 2.0
    horizon_bars: int = 1


class MicroAlpha(ScoreModule):
    """Micro alpha 0..1: below 0.5 the next seconds lean down, above up.

    Eight opinions about the last second to the last minute, from samples of one second: micro price .25, order-flow imbalance .20,
    volume delta .12, imbalance of the best quote .12, trade direction .10, Kyle's lambda .08, latency-adjusted flow .08 and the reversal
    of the last second .05. score = 0.5 + 0.5 S, stated at each bar's close. Books count in full for 5 s, trades for 10 s.

    The confidence carries sqrt(QSI * min(1, median life / 200 ms)): a quote that flickers tells little. The micro price is that of
    Stoikov (2018), fitted at 00:00 UTC on the 86,400 seconds before with both sides mirrored; without 80 % of such a day the mid weighted
    by the opposite sizes stands in, marked as a fallback. Nothing is said before 15 minutes of stream. What is known here is gone within
    seconds, and no cost of trading is in it.

    References
    ----------
    Stoikov (2018); Cont, Kukanov & Stoikov (2014); Kyle (1985); Hasbrouck (2009).
    """

    letter = "H"
    slug = "microalpha"
    name = "Micro alpha"
    short = "Micro"
    commands = ("micro", "mi")
    type = "micro alpha 0..1 (0.5 neutral)"
    question = "Where do the next seconds lean?"
    link = "0.5+0.5*raw"
    metrics = METRICS

    def __init__(self, config: MicroAlphaConfig | None = None) -> None:
        self.config = config or MicroAlphaConfig()
        self._bars = Need(Kind.CANDLES, 100)
        self._flow = Need(Kind.SECOND_FLOW, days=self.config.history_days, optional=True)

    @property
    def needs(self) -> tuple[Need, ...]:
        return (self._bars, self._flow)

    def timeline(self, view: MarketView, bars: int = 1) -> Timeline:
        """The newest rows. `extra` holds agreement, quality and lambda; `shown` names what the micro price rests on."""
        candles = view.candles(self._bars)
        bars = max(1, min(bars, len(candles)))
        closed = candles.close_time[len(candles) - bars :] if len(candles) else np.full(1, view.as_of_ms)
        seconds = view.observations(self._flow)
        if len(seconds):
            tracks, extra, rests_on = _measured(view, seconds, closed)
        else:
            note = seconds.note or "no books and trades were recorded"
            tracks = {m.key: Track.absent(bars, note) for m in METRICS}
            extra, rests_on = {"quality": np.full(bars, np.nan), "lambda": np.full(bars, np.nan)}, "nothing"
        mixed = blend(METRICS, tracks)
        raw = np.where(mixed.enough, mixed.raw, np.nan)
        pull = sum((np.abs(c) for c in mixed.contributions.values()), np.zeros(bars))  # in this order, however many rows
        with np.errstate(invalid="ignore", divide="ignore"):
            agreement = np.where(pull > 0, np.abs(raw) / pull, np.where(mixed.enough, 0.0, np.nan))
        shown: dict[str, Any] = {"micro_price_from": rests_on, "weights_version": WEIGHTS_VERSION}
        return Timeline(closed, raw, 0.5 + 0.5 * raw, mixed.coverage, tracks, mixed.contributions, {"agreement": agreement, **extra}, shown)

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


# -- metrics over seconds, at the rows that bars need -------------------------------------------------------------------


def _measured(view: MarketView, seconds: Observations, closed: np.ndarray) -> tuple[dict[str, Track], dict[str, np.ndarray], str]:
    place, of = regular(seconds, SECOND_MS)
    newest = rows_known(seconds, closed)
    rows, row_of = np.unique(newest[newest >= 0], return_inverse=True)  # hourly bars before the recording share none
    ends = place[rows]
    far = max(0, int(ends.min(initial=0)) - REACH_S)  # what lies further back decides nothing
    values, units, impact = _metrics({name: column[far:] for name, column in of.items()}, ends - far)
    values["micro_dev"], fallback, rests_on = _micro_dev(view, seconds, of, place, rows)
    units["micro_dev"] = np.clip(values["micro_dev"], -1.0, 1.0)
    ran = np.isfinite(windows_at(of["mid"], ends, WINDOW_S)).sum(axis=1) >= SHARE_NEEDED * WINDOW_S
    ran &= ends >= WINDOW_S - 1
    still = stands_still(of["mid"][far:], WINDOW_S)[ends - far]
    tracks, size = {}, len(seconds)
    for metric in METRICS:
        key = metric.key
        value, k = values[key], units.get(key, np.full(len(rows), np.nan))
        counts = np.isfinite(value) if key in SHOWN_ONLY else np.isfinite(k)
        status = np.where(counts, Status.OK, _absent(key, of, ends))
        if key == "micro_dev":
            status = np.where(counts & fallback, Status.FALLBACK, status)
        if key == "kyle":
            status = np.where(~counts & (ends < IMPACT_S), Status.WARMUP, status)
        status = np.where(still, Status.DEGENERATE, np.where(ran, status, Status.WARMUP)).astype(np.int8)
        full = [np.full(size, np.nan), np.full(size, np.nan), np.full(size, Status.MISSING, np.int8)]
        for target, source in zip(full, (value, k, status), strict=True):
            target[rows] = source
        word = Status(int(status[row_of[-1]])) if len(rows) and newest[-1] >= 0 else Status.MISSING
        found = known_track(view, seconds, closed, full[0], full[1], step_s=1.0, note=_why(metric, word), status=full[2])
        if word is Status.FALLBACK and not found.note:
            found = Track(found.value, found.k, found.status, found.age_s, found.step_s, rests_on, found.late_s)
        tracks[key] = found
    fresh = tracks["imb"].freshness(BOOK_TAU) > 0
    quality = np.sqrt(values["quote_stability"] * np.minimum(1.0, values["order_duration"] / FULL_LIFE_MS))
    beside = {"quality": quality, "lambda": impact}
    extra = {}
    for name, series in beside.items():
        extra[name] = np.full(len(closed), np.nan)
        extra[name][newest >= 0] = series[row_of]
        extra[name][~fresh] = np.nan
    return tracks, extra, rests_on


def _metrics(of: Mapping[str, np.ndarray], ends: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
    """(values, unit scores, lambda) at the places `ends` of the grid; the micro price is not among them."""
    buy, sell = of["buy_volume"], of["sell_volume"]
    with np.errstate(divide="ignore", invalid="ignore"):
        flow = trailing_sum(of["ofi"], BURST_S) / (trailing_sum(of["depth"], BURST_S) / BURST_S)
        returns = np.diff(np.log(np.where(of["mid"] > 0, of["mid"], np.nan)), prepend=np.nan)
        updates, changes = (trailing_sum(of[name], MINUTE_S)[ends] for name in ("updates", "price_changes"))
        stability = np.where(updates > 0, np.clip(1.0 - changes / updates, 0.0, 1.0), np.nan)
    flow = np.where(np.isfinite(flow), flow, np.nan)
    delta = net_share(buy, sell, MINUTE_S)
    ten = {name: windows_at(of[name], ends, BURST_S) for name in ("buy_volume", "sell_volume", "buy_count", "sell_count", "latency_flow",
                                                                  "latency_ms")}
    values = {
        "ofi": flow[ends], "cvd": delta[ends], "imb": np.where(np.abs(of["imbalance"]) <= 1.0, of["imbalance"], np.nan)[ends],
        "tdr": balance(ten["buy_count"].sum(axis=1), ten["sell_count"].sum(axis=1)),
        "lafr": latency_adjusted_flow(ten["latency_flow"], ten["latency_ms"], ten["buy_volume"], ten["sell_volume"]),
        "hf_z": surprise(windows_at(returns, ends, WINDOW_S), HALF_LIFE_S),
        "tick_vol": ((trailing_sum(of["buy_count"], MINUTE_S) + trailing_sum(of["sell_count"], MINUTE_S)) / MINUTE_S)[ends],
        "spread": (trailing_sum(of["spread_bps"], MINUTE_S) / MINUTE_S)[ends], "quote_stability": stability,
        "order_duration": _life(of, ends)}
    slope, k = _kyle(of, ends)
    values["kyle"] = slope
    units = {"ofi": z0_at(flow, ends, window=WINDOW_S), "cvd": z0_at(delta, ends, window=WINDOW_S), "imb": values["imb"],
             "tdr": values["tdr"], "kyle": k, "lafr": np.clip(values["lafr"], -1.0, 1.0), "hf_z": -np.tanh(values["hf_z"] / 3.0)}
    return values, units, slope


def _life(of: Mapping[str, np.ndarray], ends: np.ndarray) -> np.ndarray:
    """Median life of the best quote over a minute: the seconds' medians, weighted by how many lives ended in each.

    Where none ended though the quote was watched all the minute, it has lived as long at least.
    """
    held = weighted_median(windows_at(of["life_ms"], ends, MINUTE_S), windows_at(of["price_changes"], ends, MINUTE_S))
    quiet = trailing_sum(of["price_changes"], MINUTE_S)[ends] == 0
    return np.where(np.isfinite(held), held, np.where(quiet, 1000.0 * MINUTE_S, np.nan))


def _kyle(of: Mapping[str, np.ndarray], ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(lambda, unit score). k is NaN where lambda is not clearly positive."""
    net, mid = of["buy_volume"] - of["sell_volume"], of["mid"]
    move = np.diff(mid, prepend=np.nan)
    burst = np.full(len(mid), np.nan)
    burst[BURST_S:] = mid[BURST_S:] - mid[:-BURST_S]
    slope, k = np.full(len(ends), np.nan), np.full(len(ends), np.nan)
    pressed = trailing_sum(net, BURST_S)
    for start in range(0, len(ends), CHUNK):
        at = ends[start : start + CHUNK]
        found = impact_of(windows_at(net, at, IMPACT_S), windows_at(move, at, IMPACT_S), lags=HAC_LAGS)
        bursts = windows_at(burst, at, IMPACT_S)
        spread = np.sqrt(((bursts - bursts.mean(axis=1, keepdims=True)) ** 2).sum(axis=1) / (IMPACT_S - 1))
        with np.errstate(divide="ignore", invalid="ignore"):
            unit = np.tanh(found.slope * pressed[at] / spread)
        slope[start : start + CHUNK] = found.slope
        k[start : start + CHUNK] = np.where((found.slope > 0) & (found.t > LEAST_T) & (spread > 0), unit, np.nan)
    return slope, k


def _micro_dev(view: MarketView, seconds: Observations, of: Mapping[str, np.ndarray], place: np.ndarray,
               rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    """(deviation in half spreads, whether the weighted mid stands in, what the newest rests on) at some rows of the seconds."""
    ends = place[rows]
    bid, ask, bid_q, ask_q = (of[name][ends] for name in ("bid", "ask", "bid_quantity", "ask_quantity"))
    mid, half = 0.5 * (bid + ask), 0.5 * (ask - bid)
    good = (half > 0) & (bid_q + ask_q > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        dev = np.where(good, (microprice.weighted_mid(bid, ask, bid_q, ask_q) - mid) / half, np.nan)
    fallback = np.ones(len(rows), bool)
    rests_on = "the mid weighted by the opposite sizes: there is no whole day before the last midnight to fit"
    fits = view.fits if isinstance(view.fits, FitCache) else FitCache()
    anchors = daily_anchor(seconds.available_time[rows])
    start = int(seconds.event_time.min())
    for anchor in np.unique(anchors):
        stop = min((int(anchor) - start) // SECOND_MS, len(of["mid"]))
        window = slice(max(0, stop - DAY_MS // SECOND_MS), max(0, stop))
        quotes = [of[name][window] for name in ("bid", "ask", "bid_quantity", "ask_quantity")]
        spread = quotes[1] - quotes[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(spread > 0, quotes[2] / (quotes[2] + quotes[3]), np.nan)
        if np.isfinite(share).sum() < microprice.FIT_MINIMUM:
            continue
        data = np.column_stack((share, spread, 0.5 * (quotes[0] + quotes[1])))
        fit = fits.get(microprice.METHOD, data, microprice.fit_day)
        if fit["reason"]:
            rests_on = f"the mid weighted by the opposite sizes: {fit['reason']}"
            continue
        here = (anchors == anchor) & good
        with np.errstate(divide="ignore", invalid="ignore"):
            state = microprice.states_of(np.where(here, bid_q / (bid_q + ask_q), np.nan), np.where(here, 2.0 * half / fit["tick"], np.nan))
            dev = np.where(here, np.array(fit["g"])[np.maximum(state, 0)] * fit["tick"] / half, dev)
        fallback &= ~here
        rests_on = "Stoikov's fit of the day before"
    return dev, fallback, rests_on


def _absent(key: str, of: Mapping[str, np.ndarray], ends: np.ndarray) -> np.ndarray:
    """Why a metric is unknown: its input is (MISSING), or there was nothing to measure (DEGENERATE)."""
    source, window = {"cvd": ("buy_volume", MINUTE_S), "tdr": ("buy_count", BURST_S), "lafr": ("latency_flow", BURST_S),
                      "ofi": ("ofi", BURST_S), "hf_z": ("mid", MINUTE_S), "tick_vol": ("buy_count", MINUTE_S),
                      "quote_stability": ("updates", MINUTE_S), "order_duration": ("updates", MINUTE_S)}.get(key, ("mid", 1))
    if key == "kyle":
        return np.full(len(ends), Status.MISSING)
    known = np.isfinite(windows_at(of[source], ends, window)).all(axis=1)
    return np.where(known, Status.DEGENERATE, Status.MISSING)


def _why(metric: Metric, status: Status) -> str:
    if status is Status.WARMUP:
        return f"needs {metric.warmup_bars // 60} minutes of stream, four fifths of them known, and {MINIMUM_BARS} values"
    if status is Status.DEGENERATE:
        return "nothing to measure: no trades in its window, or the quote stood still for 15 minutes"
    if metric.key == "kyle":
        return "net volume does not move the price clearly (lambda > 0 and t > 2), or half an hour is not known whole"
    if metric.key == "ofi":
        return "needs every change of the best quote in order: a gap, a crossed quote or polled books do not give it"
    return "no quote or no trades were received in its window, or the quote was crossed"
