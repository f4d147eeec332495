"""How much to hold, once what is dangerous is held back: module I's weights under caps of module G and a gate of risk exposure."""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from analysis.allocation.black_litterman import View, supported
from analysis.allocation.constraints import Constrained, Limits, constrained, gross_for
from analysis.allocation.measures import risk_contributions
from analysis.allocation.plan import volatility, with_views
from analysis.composites.combine import OWN, Composite, CompositeLine, Inputs, at_times, covered
from analysis.composites.danger import RiskExposureNow
from analysis.fits import FitCache
from analysis.modules.port_alloc import NO_VIEW, PortfolioAllocation
from analysis.modules.risk_expos import RiskExposure
from analysis.remembered import OfObject
from analysis.report import ModuleReport, Weights
from data.frames import Candles
from data.market import Interval
from data.observations import Kind, Observations
from data.view import MarketView, Need

CAP = 0.40
_RISK = RiskExposure()  # every peer is judged in market mode by the same constants
_OWN = next(n for n in _RISK.needs if n.kind is Kind.CANDLES and n.interval is None)
_DAILY = next(n for n in _RISK.needs if n.kind is Kind.CANDLES and n.interval is Interval.D1)
PEERS = Need(Kind.CANDLES, _OWN.bars, peers=True)
PEERS_DAILY = Need(Kind.CANDLES, _DAILY.bars, interval=Interval.D1, peers=True)
ONLY_CANDLES = "of other symbols only candles are asked for"
UNKNOWN_RISK = 1.0  # what is not known to be safe gets the tightest cap


class OptimalAllocation(Composite):
    """How much of this symbol, of the others, and of cash? The score is this symbol's weight, 0..1.

    Module I's weights (half hierarchical risk parity, half equal risk contributions) under constraints from risk: each asset's cap is
    `.40 clip(1.25 - G_i, .25, 1)` with its own risk G_i of module G in market mode (unknown: the tightest), the excess going to the others
    in proportion; a cluster of correlations above .8 holds at most 60 %; weights below 2 % are dropped. The whole is scaled by
    `min(1, 25 % / volatility)` and by `1 - max(0, R - .5)`, R the risk exposure of the symbol asked about; the rest is cash.

    Views move the weights (Black-Litterman) only where the score lab's verdict on a score is "supported"; otherwise there is none, and it
    says so. Beside it stand equal weights and inverse volatility: an allocation that does not beat them after costs is decoration.

    References
    ----------
    López de Prado (2016); Maillard et al. (2010); He & Litterman (1999); Moreira & Muir (2017); DeMiguel, Garlappi & Uppal (2009).
    """

    name = "optimal_allocation"
    title = "Optimal allocation"
    question = "How much of this symbol, of the others, and of cash?"
    type = "weight of this symbol 0..1; the rest is others and cash"
    link = "identity"
    horizon, horizon_hours = "until the next rebalancing", 24.0
    letters = ("I", "G")
    weights: ClassVar[Mapping[str, float]] = {"I": .65, "G": .20, "R": .15}
    essential = "I"
    part_titles: ClassVar[Mapping[str, str]] = {"vol_target": "Volatility target", "risk": "Risk gate (risk exposure)"}
    weights_version = "optimal_allocation/1"
    kind = Weights
    views: Mapping[str, View] = {}  # read only: no view at all

    def __init__(self, views: Mapping[str, View] | None = None) -> None:
        if views:
            self.views = dict(views)

    @property
    def needs(self) -> tuple[Need, ...]:
        return (OWN, PEERS, PEERS_DAILY)

    def line(self, inputs: Inputs) -> CompositeLine:
        view, closed = inputs.view, inputs.close_time
        rows = len(closed)
        module = inputs.modules.get("I")
        risk = inputs.composite(RiskExposureNow())
        weight, by_tree, by_risk, moved, scale = (np.full(rows, np.nan) for _ in range(5))
        known_share, own_g = np.full(rows, np.nan), np.full(rows, np.nan)
        newest: dict[str, Any] = {}
        if isinstance(module, PortfolioAllocation) and len(inputs.own):
            danger = peer_risks(view, closed)
            for part, plan in module.plans(view, closed):
                if view.symbol not in plan["names"]:
                    continue
                j, names = plan["names"].index(view.symbol), plan["names"]
                S, base = np.array(plan["covariance"]), np.array(plan["base"])
                clusters = [[names.index(n) for n in c] for c in plan["clusters"]]
                views = supported(self.views, names)
                wanted = with_views(S, base, names, views) if views else base
                g = np.stack([danger.get(name, np.full(rows, np.nan))[part] for name in names], axis=1)
                known_share[part] = np.isfinite(g).mean(axis=1)
                own_g[part] = g[:, j]
                for row in range(part.start, part.stop):
                    held = self._held(base, g[row - part.start], module.config.limits, clusters)
                    with_view = self._held(wanted, g[row - part.start], module.config.limits, clusters) if views else held
                    weight[row] = with_view.weights[j]
                    moved[row] = with_view.weights[j] - held.weights[j]
                    by_tree[row] = held.weights[j] * 0.5 * plan["hrp"][j] / base[j]
                    by_risk[row] = held.weights[j] * 0.5 * plan["risk_parity"][j] / base[j]
                    scale[row] = gross_for(volatility(with_view.weights, S), module.config.limits.target_vol)
                if part.stop == rows:
                    newest = {"plan": plan, "held": with_view, "S": S, "g": g[-1], "views": views, "limits": module.config.limits}
        gate = np.where(np.isfinite(risk.score), 1.0 - np.maximum(0.0, np.nan_to_num(risk.score) - 0.5), 1.0)
        alone = np.where(np.isfinite(inputs.of("I")), weight, np.nan)
        coverage, enough = covered(self.weights, {"I": alone, "G": np.where(known_share > 0, known_share, np.nan), "R": risk.score},
                                   {"I": inputs.of("I", "coverage"), "G": known_share}, self.essential)
        inner = {"I.hrp": by_tree, "I.risk_parity": by_risk, "I.black_litterman": moved}
        inner = {name: np.where(enough, x, np.nan) for name, x in inner.items()}
        gates = {"vol_target": np.where(enough, scale, np.nan), "risk": gate}
        total = sum(inner.values(), np.zeros(rows)) * gates["vol_target"] * gate
        raw = np.where(total < 0.0, 0.0, total)
        missing: tuple[str, ...] = () if np.isfinite(alone[-1]) else (inputs.why("I"),)
        if not np.isfinite(risk.score[-1]):
            missing += ("risk exposure is unknown: its gate is open",)
        shown = self._shown(newest, float(gates["vol_target"][-1] * gate[-1])) if np.isfinite(raw[-1]) else {"views": NO_VIEW}
        return CompositeLine(closed, raw, raw, coverage, inner, gates, {"R": risk.score, "G": own_g}, {}, missing, shown)

    @staticmethod
    def _held(wanted: np.ndarray, g: np.ndarray, limits: Limits, clusters: list[list[int]]) -> Constrained:
        return constrained(wanted, replace(limits, caps=caps_from(g)), clusters)

    def label(self, line: CompositeLine) -> str:
        value = float(line.score[-1])
        return "not held" if value == 0.0 else "small" if value < 0.05 else "held" if value < 0.2 else "large"

    def report(self, inputs: Inputs, line: CompositeLine | None = None) -> ModuleReport:
        """As of every composite; the typed value carries all weights, and its number is their sum."""
        report = super().report(inputs, line)
        weights = report.shown.get("weights")
        if report.score is None or not weights:
            return report
        value = report.value
        assert isinstance(value, Weights)
        return replace(report, value=replace(value, value=min(1.0, math.fsum(weights.values())), weights=weights))

    def _shown(self, newest: Mapping[str, Any], gross: float) -> dict[str, Any]:
        """All weights of the newest row, cash, why, and what stands beside."""
        plan, held = newest["plan"], newest["held"]
        names = plan["names"]

        def named(values: Any) -> dict[str, float]:
            return {name: float(value) for name, value in zip(names, values, strict=True)}

        weights = named(held.weights * gross)
        return {"weights": weights, "cash": 1.0 - math.fsum(weights.values()), "gross": math.fsum(weights.values()),
                "caps": named(caps_from(newest["g"])),
                "risks": {n: (v if math.isfinite(v) else None) for n, v in named(newest["g"]).items()},
                "clusters": plan["clusters"], "dropped": plan["dropped"], "feasible": held.feasible, "note": held.note,
                "views": ", ".join(newest["views"]) if newest["views"] else NO_VIEW,
                "sigma_per_year": volatility(held.weights * gross, newest["S"]),
                "risk_contributions": named(risk_contributions(held.weights, newest["S"])),
                "equal_weight": named(plan["beside"]["equal_weight"]), "inverse_volatility": named(plan["beside"]["inverse_volatility"])}


def caps_from(g: np.ndarray) -> np.ndarray:
    """`.40 clip(1.25 - G, .25, 1)`; an unknown risk counts as 1."""
    return CAP * np.clip(1.25 - np.where(np.isfinite(g), g, UNKNOWN_RISK), 0.25, 1.0)


def _peer_view(view: MarketView, name: str, own: Candles, days: Candles) -> MarketView:
    """A view of another symbol of the group for module G: its candles, and nothing of what G can do without."""
    series = {n: Candles.empty(n.interval or view.interval) for n in _RISK.needs if n.kind is Kind.CANDLES} | {_OWN: own, _DAILY: days}
    observed = {n: Observations.empty(n.kind, note=ONLY_CANDLES) for n in _RISK.needs if n.kind is not Kind.CANDLES}
    return replace(view, symbol=name, series=series, observed=observed, group={}, account=None, kept=None,
                   origin=dict.fromkeys([*series, *observed], ONLY_CANDLES))


# By the candles of a peer: the fits asked, its days, (rows, ages), and its G. The views of a scan share the candles of their group.
_judged: OfObject[tuple[weakref.ref[FitCache], weakref.ref[Candles], tuple[int, float, float], np.ndarray]] = OfObject()


def peer_risks(view: MarketView, closed: np.ndarray) -> dict[str, np.ndarray]:
    """G in market mode of every symbol of the group at these closes; NaN where it is unknown. Kept by content: a scan computes each
    once."""
    fits = view.fits if isinstance(view.fits, FitCache) else FitCache()
    daily = view.peers(PEERS_DAILY)
    found = {}
    for name, own in view.peers(PEERS).items():
        if not len(own):
            continue
        rows = min(len(own), len(closed))
        days = daily.get(name, Candles.empty(Interval.D1))
        age_s, daily_age_s = view.age_s(own), view.age_s(days) if len(days) else 0.0
        asked = (rows, age_s, daily_age_s)
        held = _judged.get(own)
        if held is not None and held[0]() is fits and held[1]() is days and held[2] == asked:
            found[name] = at_times(own.close_time[len(own) - rows :], held[3], closed)
            continue
        content = np.concatenate([*(column for c in (own, days) for column in (c.open_time, c.high, c.low, c.close))])

        def fit(_: np.ndarray, name: str = name, own: Candles = own, days: Candles = days, rows: int = rows) -> list[float]:
            return _RISK.timeline(_peer_view(view, name, own, days), rows).score.tolist()

        score = fits.get("peer-risk/1", content, fit, rows=rows, age_s=age_s, daily_age_s=daily_age_s, split=len(own),
                         halts=[list(h) for h in own.halts], daily_halts=[list(h) for h in days.halts])
        _judged.put(own, (weakref.ref(fits), weakref.ref(days), asked, np.array(score, float)))
        found[name] = at_times(own.close_time[len(own) - rows :], np.array(score, float), closed)
    return found
