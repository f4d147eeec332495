"""Composites without a side: how dangerous is it, and is something going on that does not belong?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from analysis.composites.combine import Composite, CompositeLine, Inputs, band_of, covered
from analysis.methods.alerts import MEMORY_BARS, ON_LEVEL, alert_states
from analysis.methods.cauchy import cauchy_p, cauchy_terms
from analysis.methods.spread_estimators import amihud, corwin_schultz
from analysis.report import Intensity, Risk
from analysis.scaling import pr, surprisal, tp
from data.frames import Candles
from data.indicators.volatility import ewma_volatility
from data.indicators.windows import trailing_max, trailing_sd, trailing_sum
from data.market import DAY_MS

if TYPE_CHECKING:
    from analysis.composites.changes import Flip

LONG_BARS = 480  # what a day's volatility is compared with: ten days at 1h
VETO_RISK, VETO_ANOMALY = 0.80, 0.60  # at or above: no new entries; a veto never changes a number


def tail_map(x: np.ndarray) -> np.ndarray:
    """`t(x) = clip((x - .5)/.45, 0, 1)`: a percentile-type risk counts only above its median."""
    return np.clip((x - 0.5) / 0.45, 0.0, 1.0)


def fragility_of(inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """(fragility 0..1, whether it comes from candles): module D's where a book is kept, else spread and impact from candles."""
    book = inputs.of("D", "fragility")
    own, rows = inputs.own, len(inputs.close_time)
    if not len(own):
        return book, np.zeros(rows, bool)
    estimates = [pr(corwin_schultz(own), last=rows)[-rows:], pr(amihud(own), last=rows)[-rows:]]
    known = np.isfinite(estimates)
    fallback = np.where(known.any(axis=0), np.where(known, estimates, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1), np.nan)
    return np.where(np.isfinite(book), book, fallback), ~np.isfinite(book) & np.isfinite(fallback)


class RiskExposureNow(Composite):
    """How dangerous is it to hold this, now? 0 calm, 1 dangerous.

    The mean of the two largest of five: the market level t(mean(b_risk, G)), crowding K, instability J, liquidity t(fragility) and macro
    t(1 - F), where t(x) = clip((x - .5)/.45, 0, 1) lets a percentile count only above its median. Good news elsewhere never lowers it,
    as it would in an average: risk does not average out. Under independent normal conditions its median is .31 and it reaches .8
    in 2 % of bars. The account's own risk is a separate number of module G.
    """

    name = "risk_exposure"
    title = "Risk exposure"
    question = "How dangerous is it to hold this, now?"
    type = "0 calm, 1 dangerous"
    link = "identity"
    horizon, horizon_hours = "1 to 5 d", 24.0
    letters = ("B", "G", "C", "J", "D", "F")
    weights: ClassVar[Mapping[str, float]] = {"level": .35, "instability": .25, "crowding": .15, "liquidity": .15, "macro": .10}
    essential = "level"
    part_titles: ClassVar[Mapping[str, str]] = {"level": "Market level (B, G)", "instability": "Instability (J)",
                                                "crowding": "Crowding (C)", "liquidity": "Liquidity (D)", "macro": "Macro (F)"}
    bands = ((-math.inf, "low"), (0.3, "normal"), (0.6, "elevated"), (VETO_RISK, "high"))
    weights_version = "risk_exposure/1"
    kind = Risk

    def line(self, inputs: Inputs) -> CompositeLine:
        b, g = inputs.of("B", "b_risk"), inputs.of("G")
        both = np.stack([b, g])
        known = np.isfinite(both)
        level = np.where(known.any(axis=0), np.where(known, both, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1), np.nan)
        fragility, from_candles = fragility_of(inputs)
        terms = {"level": tail_map(level), "instability": inputs.of("J"), "crowding": inputs.of("C", "crowding"),
                 "liquidity": tail_map(fragility), "macro": tail_map(1.0 - inputs.of("F"))}
        # Each term counts once it is known: a percentile from .73 of G's weight is as much a percentile.
        coverage, enough = covered(self.weights, terms, {"instability": inputs.of("J", "coverage")}, self.essential)
        names = list(terms)
        stacked = np.stack([np.where(np.isfinite(x), x, -1.0) for x in terms.values()])
        order = np.argsort(-stacked, axis=0, kind="stable")[:2]
        inner = {}
        for i, name in enumerate(names):
            chosen = (order == i).any(axis=0) & (stacked[i] >= 0)
            inner[name] = np.where(enough, np.where(chosen, 0.5 * stacked[i], 0.0), np.nan)
        raw = np.zeros(len(level)) + sum(inner.values())
        missing = tuple(f"{self.part_titles[name]} is unknown" for name, x in terms.items() if not np.isfinite(x[-1]))
        values = {**{f"{name}_term": x for name, x in terms.items()}, "b_risk": b, "G": g}
        return CompositeLine(inputs.close_time, raw, raw, coverage, inner, {}, values, missing=missing,
                             shown={"fragility_from": "candles" if from_candles[-1] else "the book", "veto": bool(raw[-1] >= VETO_RISK)})

    def flips(self, inputs: Inputs) -> list[Flip]:
        """Each term alone: the larger of the others stays, so the mean of the two largest reaches the edge at 2 edge - it."""
        from analysis.composites.changes import Flip

        line = inputs.composite(self)
        raw = float(line.raw[-1])
        if not math.isfinite(raw):
            return []
        terms = {name: float(line.values[f"{name}_term"][-1]) for name in self.weights if np.isfinite(line.values[f"{name}_term"][-1])}
        here = band_of(raw, self.bands)
        found = []
        for edge, towards, nudge in ([(self.bands[here][0], self.bands[here - 1][1], -1e-9)] if here else []) + (
                [(*self.bands[here + 1], 1e-9)] if here + 1 < len(self.bands) else []):
            for name, value in terms.items():
                others = sorted((v for other, v in terms.items() if other != name), reverse=True)
                largest, second = (*others, 0.0, 0.0)[:2]
                needed = 2.0 * edge - largest + nudge
                down_far_enough = nudge > 0 or 0.5 * (largest + max(second, needed)) < edge
                exists = 0.0 <= needed <= 1.0 and down_far_enough and (nudge < 0 or needed > second)
                found.append(Flip(name, towards, value, needed, exists))
        return sorted(found, key=lambda f: (not f.reachable, f.distance))


class AnomalyAlert(Composite):
    """Is something going on that does not belong here? 0 usual, 1 extraordinary.

    The Cauchy combination of three tail probabilities: J's own (.55), module C's min(1, 4 min p) of funding, open interest, long/short
    ratio and liquidation burst (.20), and the price's min(1, 3 min p) of the loss over a day, the jump of realised volatility and the
    drawdown over a day in volatilities (.25). Averaging anomaly scores would dilute them; this stays valid when they depend on each other.
    `T = sum w tan((.5 - p) pi) / sum w`, score clip((-log10 p - 1)/3, 0, 1); the parts are the terms of T. Alert from the level that keeps
    module J within one alert a week, at least .6, until six bars below .3.
    """

    name = "anomaly_alert"
    title = "Anomaly alert"
    question = "Is something going on that does not belong here?"
    type = "0 usual, 1 extraordinary"
    link = "cauchy"
    horizon, horizon_hours = "a minute to a day", 24.0
    letters = ("J", "C")
    weights: ClassVar[Mapping[str, float]] = {"J": .55, "C": .20, "G": .25}
    essential = "J"
    part_titles: ClassVar[Mapping[str, str]] = {"J": "Regime change and anomaly (J)", "C": "Positioning (C)", "G": "Losses (price)"}
    weights_version = "anomaly_alert/1"
    lead_bars = MEMORY_BARS
    kind = Intensity

    def line(self, inputs: Inputs) -> CompositeLine:
        lead = MEMORY_BARS
        rows, bars = len(inputs.rows(lead)), len(inputs.close_time)
        raw_j = inputs.of("J", "raw", lead=lead)
        p = {"J": np.where(np.isfinite(raw_j), cauchy_p(raw_j), np.nan),
             "C": _least([inputs.of("C", name, lead=lead) for name in ("p_funding", "p_open_interest", "p_ls_ratio", "p_liquidations")], 4),
             "G": _least(list(loss_probabilities(inputs.own, rows).values()), 3)}
        coverage, enough = covered(self.weights, p, {}, self.essential)
        inner = {name: np.where(enough, np.where(np.isfinite(x), self.weights[name] * cauchy_terms(np.where(np.isfinite(x), x, 0.5)), 0.0)
                                / np.where(coverage > 0, coverage, 1.0), np.nan) for name, x in p.items()}
        raw = np.zeros(rows) + sum(inner.values())
        score = np.where(np.isfinite(raw), surprisal(cauchy_p(raw)), np.nan)
        level = inputs.of("J", "alert_on_level", lead=lead)
        alert = alert_states(score, np.where(np.isfinite(level), level, ON_LEVEL))
        newest = slice(rows - bars, rows)
        missing = tuple(inputs.why(letter) for letter in ("J", "C") if not np.isfinite(p[letter][-1]))
        parts = {name: x[newest] for name, x in inner.items()}
        return CompositeLine(inputs.close_time, raw[newest], score[newest], coverage[newest], parts, {},
                             {f"p_{name}": x[newest] for name, x in p.items()}, {"alert": alert[newest].astype(float)}, missing,
                             {"veto": bool(score[-1] >= VETO_ANOMALY)})

    def label(self, line: CompositeLine) -> str:
        if bool(line.extra["alert"][-1]):
            return "alert"
        return "watch" if line.score[-1] >= 0.3 else "info"


def loss_probabilities(own: Candles, rows: int) -> dict[str, np.ndarray]:
    """Past-only tail probabilities of the loss over a day, of a jump of realised volatility and of the day's drawdown in volatilities."""
    nothing = np.full(rows, np.nan)
    if not len(own):
        return {"loss": nothing, "volatility_jump": nothing, "drawdown": nothing}
    day = max(2, DAY_MS // own.interval.ms)
    r = own.log_return
    sigma = ewma_volatility(own)
    with np.errstate(divide="ignore", invalid="ignore"):
        loss = np.maximum(0.0, -trailing_sum(r, day)) / (sigma * np.sqrt(day))
        jump = np.log(trailing_sd(r, day) / trailing_sd(r, max(day + 1, min(10 * day, LONG_BARS))))
        fall = (1.0 - own.close / trailing_max(own.high, day)) / (sigma * np.sqrt(day))
    return {name: _newest(tp(x, window=960, last=rows), rows) for name, x in (("loss", loss), ("volatility_jump", np.maximum(0.0, jump)),
                                                                              ("drawdown", fall))}


def _newest(x: np.ndarray, rows: int) -> np.ndarray:
    return np.concatenate((np.full(max(0, rows - len(x)), np.nan), x))[-rows:]


def _least(p: list[np.ndarray], times: int) -> np.ndarray:
    """min(1, m min p) over the m that are known of `times` (Bonferroni); NaN where none is."""
    held = np.stack(p)
    known = np.isfinite(held)
    least = np.where(known, held, 1.0).min(axis=0)
    return np.where(known.any(axis=0), np.minimum(1.0, np.minimum(times, known.sum(axis=0)) * least), np.nan)
