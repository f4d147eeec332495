"""Composites with a side: trend strength, buy and sell opportunity, macro sentiment, liquidity pressure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from analysis.composites.combine import Composite, CompositeLine, Inputs, covered
from analysis.composites.danger import RiskExposureNow, fragility_of
from analysis.modules.trend_moment import METRICS as TREND_METRICS
from analysis.report import Direction, Intensity
from data.indicators.volatility import ewma_volatility
from data.market import DAY_MS, HOUR_MS

FEE, SLIPPAGE = 0.0010, 0.0002  # spot taker fee and slippage of one side; a round trip pays both twice
ROUND_TRIP = 2.0 * (FEE + SLIPPAGE)


class TrendStrength(Composite):
    """Is there a trend worth following? 0 strong down, 0.5 none, 1 strong up; strength is |2s - 1|.

    `T = a P_trend kappa`, s = 0.5 + 0.5 T. a is module A's S in -1..1; P_trend, module B's probability that the market trends at all, is a
    gate (where B is missing .5); kappa = 1 - .3 max(0, -sign(a) d) lets order flow d of module D weaken a trend, never strengthen one
    (missing: 1). Sentiment stays out: it measures crowding. Without the gate A's rank correlation with the next return is +.21 in trends
    and -.25 in ranges, on planted regimes. The parts are A's contributions times both gates.
    """

    name = "trend_strength"
    title = "Trend strength"
    question = "Is there a trend worth following?"
    type = "0 strong down, 0.5 none, 1 strong up"
    link = "0.5+0.5*raw"
    horizon, horizon_hours = "4 h to 5 d", 24.0
    letters = ("A", "B", "D")
    weights: ClassVar[Mapping[str, float]] = {"A": .60, "B": .25, "D": .15}
    essential = "A"
    part_titles: ClassVar[Mapping[str, str]] = {"P_trend": "Probability of a trend (B)", "kappa": "Order flow against it (D)"}
    bands = ((-math.inf, "strong down"), (-0.5, "clear down"), (-0.25, "weak down"), (-0.1, "no trend"), (0.1, "weak up"),
             (0.25, "clear up"), (0.5, "strong up"))
    weights_version = "trend_strength/1"
    kind = Direction

    def line(self, inputs: Inputs) -> CompositeLine:
        a, p, d = inputs.of("A", "raw"), inputs.of("B"), 2.0 * inputs.of("D") - 1.0
        present = {"A": a, "B": p, "D": d}
        coverage, enough = covered(self.weights, present, {k: inputs.of(k, "coverage") for k in self.letters}, self.essential)
        gate_p = np.where(np.isfinite(p), p, 0.5)
        kappa = np.where(np.isfinite(d), 1.0 - 0.3 * np.maximum(0.0, -np.sign(a) * d), 1.0)
        inner = {f"A.{m.key}": np.where(enough, inputs.of("A", "contribution", key=m.key), np.nan) for m in TREND_METRICS if m.weight > 0}
        raw = _total(inner, gate_p * kappa)
        missing = tuple(inputs.why(letter) for letter, values in present.items() if not np.isfinite(values[-1]))
        return CompositeLine(inputs.close_time, raw, 0.5 + 0.5 * raw, coverage, inner, {"P_trend": gate_p, "kappa": kappa},
                             {"a": a, "P": p, "d": d}, missing=missing)

    def part_weights(self, inputs: Inputs) -> Mapping[str, float]:
        line = inputs.line("A")
        assert line is not None
        return {f"A.{m.key}": m.weight / float(line.coverage[-1]) for m in TREND_METRICS if m.weight > 0 and line.coverage[-1] > 0}

    def _typed(self, line: CompositeLine) -> float:
        return float(np.clip(line.raw[-1], -1.0, 1.0))


class _Opportunity(Composite):
    """What buy and sell opportunity share; `side` is +1 or -1."""

    side: ClassVar[float]
    letters = ("A", "C", "E")
    weights: ClassVar[Mapping[str, float]] = {"A": .50, "C": .30, "R": .20}
    essential = "A"
    horizon, horizon_hours = "4 h to 3 d", 24.0
    part_titles: ClassVar[Mapping[str, str]] = {"a_buy": "Trend with pull-back (A)", "C_flow": "Positioning flow (C)",
                                                "e": "What leaders did (E)", "g_R": "Risk gate", "g_c": "Cost gate"}
    bands = ((-math.inf, "none"), (0.05, "slight"), (0.2, "fair"), (0.4, "strong"))
    kind = Intensity

    def line(self, inputs: Inputs) -> CompositeLine:
        rows = len(inputs.close_time)
        slow, fast = inputs.of("A", "slow"), inputs.of("A", "fast")
        u = np.clip(slow / 0.3, 0.0, 1.0) if self.side > 0 else np.clip(-slow / 0.3, 0.0, 1.0)
        a = np.where(np.isfinite(inputs.of("A")), 0.7 * slow + 0.3 * fast * (1.0 - 2.0 * u), np.nan)
        flow = inputs.of("C", "c_flow")
        lead, lag = inputs.of("E", "e"), inputs.of("E", "e_lag_bars")
        hours = lag * inputs.view.interval.ms / HOUR_MS
        e = np.where((hours >= 4.0) & (hours <= 72.0) & np.isfinite(lead), lead, np.nan)  # decisions.md 15: only inside the horizon
        risk = inputs.composite(RiskExposureNow())
        present = {"A": a, "C": flow, "R": risk.score}
        coverage, enough = covered(self.weights, present, {"A": inputs.of("A", "coverage"), "C": inputs.of("C", "coverage"),
                                                           "R": risk.coverage}, self.essential)
        terms = {"a_buy": a, "C_flow": flow, "e": e}
        count = np.sum([np.isfinite(x) for x in terms.values()], axis=0)
        inner = {name: np.where(enough & np.isfinite(x), self.side * x / np.maximum(count, 1), np.where(enough, 0.0, np.nan))
                 for name, x in terms.items()}
        g_r = np.where(np.isfinite(risk.score), 1.0 - np.clip((risk.score - 0.6) / 0.3, 0.0, 1.0), 1.0)
        g_c = _cost_gate(inputs)
        raw = _total(inner, g_r * g_c)
        missing = tuple(inputs.why(letter) for letter, x in (("A", a), ("C", flow)) if not np.isfinite(x[-1]))
        if not np.isfinite(risk.score[-1]):
            missing += ("risk exposure is unknown: its gate is open",)
        beside = {"e_beside": np.where(np.isfinite(e), np.nan, lead), "e_lag_hours": hours, "R": risk.score, "round_trip_cost":
                  np.full(rows, ROUND_TRIP)}
        gates = {"g_R": g_r, "g_c": g_c}
        return CompositeLine(inputs.close_time, raw, np.maximum(0.0, raw), coverage, inner, gates, beside, missing=missing)

    def part_weights(self, inputs: Inputs) -> Mapping[str, float]:
        inner = inputs.composite(self).inner
        present = [name for name, x in (("a_buy", inputs.of("A")), ("C_flow", inputs.of("C", "c_flow"))) if np.isfinite(x[-1])]
        present += ["e"] if inner["e"][-1] != 0.0 else []
        return dict.fromkeys(present, 1.0 / len(present)) if present else {}


class BuyOpportunity(_Opportunity):
    """Is buying now favoured? 0 none, 1 strong.

    `edge = mean(a_buy, C_flow, e)` of what is present; a_buy = .7 slow + .3 fast (1 - 2u) with u = clip(slow/.3, 0, 1) asks for a
    pull-back of the fast half inside an up-trend of the slow half of module A; C_flow is the flow part of module C; e is what leaders
    did that this symbol has not done yet, only where a leader passed its test and its lag lies within 4 h to 3 d (else it is shown beside).
    `buy = max(0, edge) g_R g_c`: g_R = 1 - clip((R - .6)/.3, 0, 1) closes with risk exposure R, g_c = clip(1 - 2 cost/sigma, 0, 1) with the
    cost of a round trip (.24 %) against a day's volatility. raw keeps its sign.
    """

    name = "buy_opportunity"
    title = "Buy opportunity"
    question = "Is buying now favoured?"
    type = "0 none, 1 strong"
    link = "max(0,raw)"
    side = 1.0
    weights_version = "buy_opportunity/1"


class SellOpportunity(_Opportunity):
    """Is selling now favoured? The mirror image of buy opportunity: 0 none, 1 strong.

    The edge with its sign turned, the pull-back asked for inside a down-trend, the same gates of risk and cost. On spot it means
    leaving, not a short position.
    """

    name = "sell_opportunity"
    title = "Sell opportunity"
    question = "Is selling now favoured?"
    type = "0 none, 1 strong"
    link = "max(0,raw)"
    side = -1.0
    weights_version = "sell_opportunity/1"


class MacroSentiment(Composite):
    """Which way does slow money lean, over weeks? 0 bearish, 0.5 neutral, 1 bullish.

    `.5 + .5 (.7 f + .3 c_slow)`: f is module F's S, c_slow an exponential mean of module C over 720 bars with a half-life of three days.
    The common move of the market (e_mkt of module E) is shown beside: lead and lag are dead at this horizon.
    """

    name = "macro_sentiment"
    title = "Macro sentiment"
    question = "Which way does slow money lean, over weeks?"
    type = "0 bearish, 0.5 neutral, 1 bullish"
    link = "0.5+0.5*raw"
    horizon, horizon_hours = "1 to 4 weeks", 24.0 * 14
    letters = ("F", "C", "E")
    weights: ClassVar[Mapping[str, float]] = {"F": .7, "C": .3}
    essential = "F"
    part_titles: ClassVar[Mapping[str, str]] = {"F": "On-chain and macro (F)", "C": "Sentiment, slowed (C)"}
    bands = ((-math.inf, "bearish"), (-0.2, "neutral"), (0.2, "bullish"))
    weights_version = "macro_sentiment/1"
    needs_lead = True
    lead_bars = 719
    kind = Direction
    SLOW_BARS: ClassVar[int] = 720
    HALF_LIFE_MS: ClassVar[int] = 3 * DAY_MS

    def line(self, inputs: Inputs) -> CompositeLine:
        f = inputs.of("F", "raw")
        c = inputs.of("C", "raw", lead=self.SLOW_BARS - 1)
        slow = slowed(c, len(f), self.SLOW_BARS, self.HALF_LIFE_MS / inputs.view.interval.ms)
        coverage, enough = covered(self.weights, {"F": f, "C": slow}, {"C": inputs.of("C", "coverage")}, self.essential)
        # F's own .68 keyless coverage is judged by F itself; here it counts as present, else nothing keyless could ever speak.
        weight = np.where(np.isfinite(slow), 1.0, 0.7)
        inner = {"F": np.where(enough, 0.7 * f / weight, np.nan),
                 "C": np.where(enough, np.where(np.isfinite(slow), 0.3 * slow, 0.0), np.nan)}
        raw = _total(inner, np.ones(len(f)))
        missing = tuple(inputs.why(letter) for letter, x in (("F", f), ("C", slow)) if not np.isfinite(x[-1]))
        values = {"c_slow": slow, "e_mkt": inputs.of("E", "e_mkt")}
        return CompositeLine(inputs.close_time, raw, 0.5 + 0.5 * raw, coverage, inner, {}, values, missing=missing)

    def part_weights(self, inputs: Inputs) -> Mapping[str, float]:
        slow = np.isfinite(inputs.composite(self).values["c_slow"][-1])
        return {"F": 0.7 if slow else 1.0, "C": 0.3 if slow else 0.0}

    def _typed(self, line: CompositeLine) -> float:
        return float(np.clip(line.raw[-1], -1.0, 1.0))


class LiquidityPressure(Composite):
    """Who is pressing, right now? 0 sellers, 0.5 nobody, 1 buyers; fragility is the second axis.

    `p = .30 ofi + .20 cvd + .20 imbalance + .20 micro price + .10 trade direction`, one of each: from the tick module H where it is
    fresh, else from D (imbalance: H's best quotes, else D's book); renormalised over what is present. Fragility = mean of the percentile
    of the spread, 1 - percentile of the depth within 10 bps, the percentile of slippage for 10,000 and that of Kyle's lambda; where no book
    is kept, it falls back to spread and impact estimated from candles.
    """

    name = "liquidity_pressure"
    title = "Liquidity pressure"
    question = "Who is pressing right now, buyers or sellers?"
    type = "0 sellers, 0.5 nobody, 1 buyers"
    link = "0.5+0.5*raw"
    horizon, horizon_hours = "5 s to 5 min", 1.0 / 12.0
    letters = ("H", "D")
    weights: ClassVar[Mapping[str, float]] = {"ofi": .30, "cvd": .20, "imbalance": .20, "micro_dev": .20, "tdr": .10}
    essential = "ofi|imbalance"
    part_titles: ClassVar[Mapping[str, str]] = {"ofi": "Order-flow imbalance", "cvd": "Cumulative volume delta",
                                                "imbalance": "Book imbalance", "micro_dev": "Micro price", "tdr": "Trade direction"}
    SOURCES: ClassVar[Mapping[str, tuple[tuple[str, str], ...]]] = {
        "ofi": (("H", "ofi"), ("D", "ofi")), "cvd": (("H", "cvd"), ("D", "cvd")), "imbalance": (("H", "imb"), ("D", "obi")),
        "micro_dev": (("H", "micro_dev"),), "tdr": (("H", "tdr"),)}
    bands = ((-math.inf, "sellers"), (-0.2, "balanced"), (0.2, "buyers"))
    weights_version = "liquidity_pressure/1"
    kind = Direction

    def line(self, inputs: Inputs) -> CompositeLine:
        rows = len(inputs.close_time)
        chosen: dict[str, np.ndarray] = {}
        for name, sources in self.SOURCES.items():
            found = np.full(rows, np.nan)
            for letter, key in sources:
                found = np.where(np.isfinite(found), found, inputs.of(letter, "k", key=key))
            chosen[name] = found
        coverage, enough = covered(self.weights, chosen, {}, self.essential)
        scale = np.where(coverage > 0, coverage, 1.0)
        inner = {name: np.where(enough, np.where(np.isfinite(x), self.weights[name] * x, 0.0) / scale, np.nan)
                 for name, x in chosen.items()}
        raw = _total(inner, np.ones(rows))
        fragility, from_candles = fragility_of(inputs)
        missing = tuple(f"{self.part_titles[name]}: no fresh book or trades" for name, x in chosen.items() if not np.isfinite(x[-1]))
        second = {"fragility": fragility}
        return CompositeLine(inputs.close_time, raw, 0.5 + 0.5 * raw, coverage, inner, {}, second, second, missing,
                             {"fragility_from": "candles" if from_candles[-1] else "the book"})

    def part_weights(self, inputs: Inputs) -> Mapping[str, float]:
        line = inputs.composite(self)
        return {name: self.weights[name] / float(line.coverage[-1]) for name in line.inner if line.coverage[-1] > 0}

    def _typed(self, line: CompositeLine) -> float:
        return float(np.clip(line.raw[-1], -1.0, 1.0))


def slowed(x: np.ndarray, rows: int, window: int, half_life_bars: float) -> np.ndarray:
    """Exponential mean of the newest `window` values (unknown ones left out) at each of the newest `rows`; NaN below 65 % known weight."""
    weight = 0.5 ** (np.arange(window) / half_life_bars)
    padded = np.concatenate((np.full(max(0, rows + window - 1 - len(x)), np.nan), x))[-(rows + window - 1) :]
    views = np.lib.stride_tricks.sliding_window_view(padded, window)[:, ::-1]
    out = np.full(rows, np.nan)
    for first in range(0, rows, 1024):  # row sums, not a matrix product: a row's value may not depend on how many rows are asked for
        part = views[first : first + 1024]
        known = np.isfinite(part)
        share = (known * weight).sum(axis=1)
        total = (np.where(known, part, 0.0) * weight).sum(axis=1)
        out[first : first + 1024] = np.where(share >= 0.65 * weight.sum(), total / np.where(share > 0, share, 1.0), np.nan)
    return out


def _cost_gate(inputs: Inputs) -> np.ndarray:
    """clip(1 - 2 cost / sigma of a day); 1 where the volatility is unknown: then A is unknown too."""
    own, rows = inputs.own, len(inputs.close_time)
    if not len(own):
        return np.ones(rows)
    sigma = ewma_volatility(own)[-rows:] * np.sqrt(DAY_MS / own.interval.ms)
    with np.errstate(divide="ignore", invalid="ignore"):
        gate = np.clip(1.0 - 2.0 * ROUND_TRIP / sigma, 0.0, 1.0)
    return np.where(np.isfinite(gate), gate, 1.0)


def _total(inner: Mapping[str, np.ndarray], gate: np.ndarray) -> np.ndarray:
    """Sum of the contributions in their order."""
    raw = np.zeros(len(gate))
    for values in inner.values():
        raw = raw + values * gate
    return raw
