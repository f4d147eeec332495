"""Module I: how much of each symbol of the group, and how much cash?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from analysis.allocation.constraints import Limits, rebalancing
from analysis.allocation.covariance import MINIMUM_ROWS
from analysis.allocation.plan import COVARIANCE_DAYS, fit_plan
from analysis.allocation.walk_forward import walk_forward
from analysis.fits import FitCache
from analysis.methods.group_grid import day_slices, moved, returns_table
from analysis.module import COVERAGE_NEEDED, Causality, Metric, ScoreModule, Timeline, Track, assemble, blend
from analysis.report import ModuleReport, Status, Weights, counting
from data.market import DAY_MS, Interval
from data.observations import Kind
from data.view import AccountSnapshot, MarketView, Need, daily_anchor


@dataclass(frozen=True)
class PortfolioAllocConfig:
    """Constants of module I. `daily_bars`: the tail's 500 days before 00:00 UTC, the day its first return comes from and the one after."""

    own_bars: int = 500
    daily_bars: int = 502
    days: int = 500
    reference: str = "BTCUSDT"
    limits: Limits = field(default_factory=Limits)
    decay: float | None = None
    weights_version: str = "I/1"


F = Causality.FITTED
NO_VIEW = "no supported view"
METRICS = (
    Metric("hrp", "Hierarchical risk parity", "weight", .5, MINIMUM_ROWS, F, "tree of sqrt((1 - rho)/2) by single linkage, recursive "
           "bisection by inverse variance, on the Ledoit-Wolf covariance of 180 days.", "López de Prado 2016", priority="**"),
    Metric("risk_parity", "Equal risk contributions", "weight", .5, MINIMUM_ROWS, F, "the long-only portfolio in which every asset "
           "carries the same share of variance.", "Maillard, Roncalli & Teiletche 2010", priority="***"),
    Metric("sharpe", "Sharpe ratio of the portfolio", "per sqrt year", .0, MINIMUM_ROWS, F, "today's weights over the last 90 days: in "
           "hindsight, no forecast.", "Sharpe 1994"),
    Metric("sortino", "Sortino ratio of the portfolio", "per sqrt year", .0, MINIMUM_ROWS, F, "the same against its losses only.",
           "Sortino & van der Meer 1991"),
    Metric("corr", "Mean correlation with the others", "-1..1", .0, MINIMUM_ROWS, F, "of the shrunk covariance.", "Ledoit & Wolf 2004"),
    Metric("cov", "Volatility", "fraction per year", .0, MINIMUM_ROWS, F, "from the shrunk covariance.", "Ledoit & Wolf 2004"),
    Metric("var", "Value at risk of the portfolio 1 d, 99 %", "fraction of value", .0, MINIMUM_ROWS, F, "historical quantile of today's "
           "weights over up to 500 days."),
    Metric("cvar", "Expected shortfall of the portfolio 1 d, 99 %", "fraction of value", .0, MINIMUM_ROWS, F, "mean loss beyond it.",
           "Rockafellar & Uryasev 2002"),
    Metric("beta_down", "Beta on falling days", "ratio", .0, MINIMUM_ROWS, F, "cov/var with Bitcoin on the days Bitcoin fell; at least 40.",
           "Ang, Chen & Xing 2006"),
    Metric("beta_up", "Beta on rising days", "ratio", .0, MINIMUM_ROWS, F, "the same on the days it rose.", "Ang, Chen & Xing 2006"),
    Metric("drawdown_corr", "Drawdowns together", "-1..1", .0, MINIMUM_ROWS, F, "Pearson correlation of its drawdown with Bitcoin's; very "
           "persistent, so nothing is said about significance."),
    Metric("hedge_ratio", "Hedge of the portfolio", "per unit", .0, MINIMUM_ROWS, F, "-cov(r_p, r_h)/var(r_h), h = Bitcoin."),
    Metric("black_litterman", "Views", "weight", .0, MINIMUM_ROWS, F, "expected returns IC x sd x z for scores whose verdict is "
           "supported, no others; enters the composite optimal allocation.", "He & Litterman 1999", priority="*"),
)
OF_PORTFOLIO = ("sharpe", "sortino", "var", "cvar", "hedge_ratio")
OF_SYMBOL = {"hrp": "hrp", "risk_parity": "risk_parity", "corr": "mean_correlation", "cov": "volatility", "beta_down": "beta_down",
             "beta_up": "beta_up", "drawdown_corr": "drawdown_correlation"}
LACKING = {"corr": "there is no other asset", "beta_down": "fewer than 40 falling days", "beta_up": "fewer than 40 rising days",
           "drawdown_corr": "a price never fell", "sharpe": "fewer than two days", "sortino": "no loss in 90 days",
           "var": "fewer than 60 days in common", "cvar": "fewer than 60 days in common", "hedge_ratio": "Bitcoin did not move"}


class PortfolioAllocation(ScoreModule):
    """The weight of this symbol in a portfolio of its group, 0..1; the rest is the other symbols and cash.

    Base = half hierarchical risk parity, half equal risk contributions, on the Ledoit-Wolf covariance of 180 daily returns, refitted at
    00:00 UTC. Neither needs a forecast of returns. Then: at most 40 % an asset and 60 % a cluster (correlation above .8), the excess in
    proportion to the others; weights below 2 % are dropped; what is left is scaled to 25 % volatility a year, never above 1, and the rest
    is cash. Coins with fewer than 60 days are left out and named. A single asset is held at the volatility target.

    The score is this symbol's weight; the two parts are what each half contributes. Coverage grows from .65 at 60 days to 1 at 180.
    An account changes only the rebalancing that is shown, with a no-trade band of 2 points. Beside it always 1/N and inverse volatility,
    which are hard to beat (DeMiguel, Garlappi & Uppal 2009), and what all three earned out of sample: rebalanced every 30 days on the 180
    before, after costs.

    References
    ----------
    López de Prado (2016); Maillard, Roncalli & Teiletche (2010); Ledoit & Wolf (2004); Ang, Chen & Xing (2006).
    """

    letter: ClassVar[str] = "I"
    slug: ClassVar[str] = "port_alloc"
    name: ClassVar[str] = "Portfolio & allocation"
    short = "Weights"
    commands: ClassVar[tuple[str, ...]] = ("allocate", "al")
    type: ClassVar[str] = "weight of this symbol 0..1; the rest is others and cash"
    question: ClassVar[str] = "How much of each symbol of the group, and how much cash?"
    link: ClassVar[str] = "identity"
    metrics: ClassVar[tuple[Metric, ...]] = METRICS

    def __init__(self, config: PortfolioAllocConfig | None = None) -> None:
        self.config = config or PortfolioAllocConfig()
        self._own = Need(Kind.CANDLES, self.config.own_bars)
        self._daily = Need(Kind.CANDLES, self.config.daily_bars, interval=Interval.D1, peers=True)

    @property
    def needs(self) -> tuple[Need, ...]:
        return (self._own, self._daily)

    def plans(self, view: MarketView, closed: np.ndarray) -> Iterator[tuple[slice, dict[str, Any]]]:
        """The plan of each day among bars that closed at these times, with the rows it holds for (`allocation.plan.fit_plan`)."""
        cfg = self.config
        group = {name: c for name, c in sorted(view.peers(self._daily).items()) if len(c)}
        returns = {name: np.expm1(c.log_return) for name, c in group.items()}
        fits = _fits(view)
        names, anchors = list(group), daily_anchor(closed)

        def fit(data: np.ndarray) -> dict[str, Any]:
            return fit_plan(data, names, reference=cfg.reference, limits=cfg.limits, decay=cfg.decay)

        for rows in day_slices(anchors):
            if not names:
                yield rows, {"names": [], "dropped": {}, "days": 0}
                continue
            table = returns_table(group, returns, int(anchors[rows.start]), cfg.days)
            yield rows, fits.get("plan/1", table, fit, names=names, reference=cfg.reference, limits=asdict(cfg.limits), decay=cfg.decay)

    def timeline(self, view: MarketView, bars: int = 1) -> Timeline:
        """The newest rows; `extra` holds the portfolio's cash, gross and volatility per year, `shown` the newest plan."""
        own = view.candles(self._own)
        n = len(own)
        bars = max(1, min(bars, n))
        nan = np.full(bars, np.nan)
        daily = [c for c in view.peers(self._daily).values() if len(c)]
        if n == 0 or not daily:
            why = view.why_absent(self._own) if n == 0 else view.why_absent(self._daily)
            closed = own.close_time[n - bars :] if n else np.full(1, view.as_of_ms)
            return Timeline(closed, nan, nan, np.zeros(bars), {m.key: Track.absent(bars, why) for m in METRICS},
                            {m.key: nan for m in METRICS}, dict.fromkeys(EXTRA, nan), {"weights_version": self.config.weights_version})
        closed = own.close_time[n - bars :]
        values = {m.key: np.full(bars, np.nan) for m in METRICS}
        k = {key: np.full(bars, np.nan) for key in ("hrp", "risk_parity")}
        extra = {name: np.full(bars, np.nan) for name in EXTRA}
        status, history, note, plan = np.full(bars, Status.OK, np.int8), np.zeros(bars), "", dict[str, Any]()
        for rows, plan in self.plans(view, closed):
            note = ""
            if view.symbol not in plan["names"]:
                note, status[rows] = self._why_not(view, plan, int(daily_anchor(closed[rows.start : rows.start + 1])[0]))
                continue
            j = plan["names"].index(view.symbol)
            for key in OF_PORTFOLIO:
                values[key][rows] = plan[key]
            for key, name in OF_SYMBOL.items():
                values[key][rows] = plan[name][j]
            weight, base = plan["weights"][j] * plan["gross"], plan["base"][j]
            for key in k:  # each half's share of the final weight, as the unit score whose weighted mean is that weight
                k[key][rows] = weight * plan[key][j] / base
            extra["sigma"][rows], extra["gross"][rows] = plan["sigma"], plan["gross"] * sum(plan["weights"])
            extra["cash"][rows] = 1.0 - plan["gross"] * sum(plan["weights"])
            share = (plan["days"] - MINIMUM_ROWS) / (COVARIANCE_DAYS - MINIMUM_ROWS)
            history[rows] = COVERAGE_NEEDED + (1.0 - COVERAGE_NEEDED) * min(1.0, max(0.0, share))
        tracks = self._tracks(view, closed, values, k, status, note)
        mixed = blend(METRICS, tracks)
        coverage = mixed.coverage * np.where(history > 0, history, 1.0)
        enough = mixed.enough & (coverage >= COVERAGE_NEEDED - 1e-12)
        raw = np.where(enough, mixed.raw, np.nan)
        contributions = {key: np.where(enough, share, np.nan) for key, share in mixed.contributions.items()}
        return Timeline(closed, raw, raw, coverage, tracks, contributions, extra,
                        {"weights_version": self.config.weights_version, **self._shown(plan)})

    def out_of_sample(self, view: MarketView, closed_ms: int) -> dict[str, Any]:
        """What the plan would have earned after costs over the same days, beside 1/N and inverse volatility (`walk_forward`)."""
        group = {name: c for name, c in sorted(view.peers(self._daily).items()) if len(c)}
        returns = {name: np.expm1(c.log_return) for name, c in group.items()}
        anchor = int(daily_anchor(np.array([closed_ms]))[0])
        limits = self.config.limits
        return _fits(view).get("walk-forward/1", returns_table(group, returns, anchor, self.config.days),
                               lambda data: walk_forward(data, limits), limits=asdict(limits))

    def typed(self, view: MarketView, score: float | None, raw: float | None, coverage: float, reason: str) -> Weights:
        return Weights(value=None if score is None else min(1.0, max(0.0, score)), interval=str(view.interval),
                       horizon_bars=max(1, DAY_MS // view.interval.ms), as_of_ms=view.as_of_ms, coverage=coverage,
                       inputs=("hrp", "risk_parity"), reason=reason)

    def score(self, view: MarketView, line: Timeline | None = None) -> ModuleReport:
        line = line or self.timeline(view, 1)
        known = bool(np.isfinite(line.score[-1]))
        shown = dict(line.shown)
        if known and view.account is not None:
            shown["rebalancing"] = self._rebalancing(view.account, shown["weights"])
        if known:
            shown["out_of_sample"] = self.out_of_sample(view, int(line.close_time[-1]))
        report = assemble(self, view, replace(line, shown=shown), label=_label(float(line.score[-1])) if known else "",
                          confidence=min(1.0, float(line.coverage[-1])))
        if not known:
            return report
        weights = shown["weights"]
        value = report.value
        assert isinstance(value, Weights)
        return replace(report, value=replace(value, value=min(1.0, math.fsum(weights.values())), weights=weights))

    def _tracks(self, view: MarketView, closed: np.ndarray, values: Mapping[str, np.ndarray], k: Mapping[str, np.ndarray],
                status: np.ndarray, note: str) -> dict[str, Track]:
        daily = [c for c in view.peers(self._daily).values() if len(c)]
        newest = np.unique(np.concatenate([c.close_time for c in daily]))
        row = np.searchsorted(newest, closed, side="right") - 1
        late_s = np.where(row >= 0, (closed - newest[np.maximum(row, 0)]) / 1000, np.inf)
        age_s = min(view.age_s(c) for c in daily)
        tracks = {}
        for m in METRICS:
            state = np.where(counting(status) & ~np.isfinite(values[m.key]), Status.MISSING, status).astype(np.int8)
            words = "" if counting(state[-1]) else note or LACKING.get(m.key, NO_VIEW)
            scaled = np.where(counting(state), k.get(m.key, np.nan), np.nan)
            tracks[m.key] = Track(values[m.key], scaled, state, age_s, DAY_MS / 1000, words, late_s)
        return tracks

    def _why_not(self, view: MarketView, plan: Mapping[str, Any], anchor: int) -> tuple[str, Status]:
        """Why this symbol has no weight, in words, and as a status."""
        daily = view.peers(self._daily).get(view.symbol)
        still = daily is not None and len(daily.closed_before(anchor)) > MINIMUM_ROWS and not moved(daily, anchor, COVARIANCE_DAYS)
        if still:
            return "daily closes do not vary", Status.DEGENERATE
        return plan["dropped"].get(view.symbol, f"needs {MINIMUM_ROWS} daily returns, none is stored"), Status.WARMUP

    @staticmethod
    def _shown(plan: Mapping[str, Any]) -> dict[str, Any]:
        """The newest plan by symbol: final weights and cash, what was dropped, risk, betas, tails, and what stands beside."""
        names = plan.get("names", [])
        if not names:
            return {"dropped": plan.get("dropped", {})}
        gross = plan["gross"]

        def named(values: list[float]) -> dict[str, float]:
            return {name: round(value, 6) for name, value in zip(names, values, strict=True)}

        weights = {name: gross * w for name, w in zip(names, plan["weights"], strict=True)}
        beside = plan["beside"]
        return {"weights": weights, "cash": 1.0 - math.fsum(weights.values()), "gross": math.fsum(weights.values()), "vol_scale": gross,
                "sigma_per_year": plan["sigma"] * gross, "dropped": plan["dropped"], "feasible": plan["feasible"], "note": plan["note"],
                "days": plan["days"], "clusters": plan["clusters"], "risk_contributions": named(plan["risk_contributions"]),
                "betas": {name: {"down": down, "up": up} for name, down, up in zip(names, plan["beta_down"], plan["beta_up"], strict=True)},
                "portfolio_var": plan["var"] * gross, "portfolio_cvar": plan["cvar"] * gross, "hedge_ratio": plan["hedge_ratio"] * gross,
                "stress": {name: value * gross for name, value in plan["stress"].items()}, "views": NO_VIEW,
                **{name: named(beside[name]) for name in ("equal_weight", "inverse_volatility", "min_variance", "max_sharpe")},
                "max_sharpe_note": beside["max_sharpe_note"]}

    def _rebalancing(self, account: AccountSnapshot, target: Mapping[str, float]) -> dict[str, Any]:
        """What the account would have to change, in shares of its equity."""
        if account.equity <= 0:
            return {"note": "the account has no equity"}
        held = {name: quantity * account.marks[name] / account.equity for name, quantity in account.positions.items()
                if name in account.marks}
        return {"held": held, "changes": rebalancing(target, held, band=self.config.limits.band), "band": self.config.limits.band}


EXTRA = ("cash", "gross", "sigma")


def _fits(view: MarketView) -> FitCache:
    return view.fits if isinstance(view.fits, FitCache) else FitCache()


def _label(weight: float) -> str:
    return "not held" if weight == 0.0 else "small" if weight < 0.05 else "held" if weight < 0.2 else "large"
