"""What today's weights could lose: tails with their tests, betas, drawdowns together, real crashes, shocks, and what to do about it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.allocation.advice import Advice, advise
from analysis.allocation.crashes import CRASHES, replay, shocked, worst_spans
from analysis.allocation.measures import conditional_beta, drawdown_correlation, hedge_ratio, stresses
from analysis.fits import FitCache
from analysis.methods.stated_risk import stated_risk
from analysis.methods.var_comparison import compare_var
from analysis.statistics import cornish_fisher, gaussian_var, historical_var, independence, kupiec
from core.portfolio import REFERENCE, VOLUME_BARS, number
from data.clock import iso
from data.market import Costs, Interval

if TYPE_CHECKING:
    from core.portfolio import Allocation

ALPHA, OTHER_ALPHA = 0.01, 0.05
TESTED_DAYS = 1_000
WINDOW = 250  # of the rolling estimates that are put to the test
FEWEST = 60
BETA_DAYS = 500
EXIT_CAPITALS = (10_000, 1_000_000)
METHODS = {"historical": "Historical", "gaussian": "Gaussian", "cornish_fisher": "Cornish-Fisher",
           "filtered_historical": "Filtered historical",
           "extreme_value": "Extreme value (peaks over threshold)"}


@dataclass(frozen=True)
class PortfolioRisk:
    """Loss quantiles are positive fractions of equity, losses of stress negative ones; None and its reason where something is unknown."""

    tails: list[dict[str, Any]]
    tests: list[dict[str, Any]]
    notes: list[str]
    days: int
    betas: dict[str, dict[str, float | None]]
    drawdowns: list[list[float | None]]
    names: list[str]
    reference: str
    hedge: float | None
    crashes: list[dict[str, Any]]
    shock: dict[str, Any]
    spans: list[dict[str, Any]]
    formulas: dict[str, float | None]
    exits: dict[str, float | None]
    advice: list[Advice]

    def document(self) -> dict[str, Any]:
        return {"tails": self.tails, "tests": self.tests, "notes": self.notes, "days": self.days, "betas": self.betas,
                "drawdown_correlation": {"names": self.names, "values": self.drawdowns}, "reference": self.reference,
                "hedge_ratio": self.hedge,
                "crashes": self.crashes, "shock": self.shock, "worst_spans": self.spans, "formulas": self.formulas,
                "exit_cost_quarter_depth": self.exits,
                "advice": [{"act": a.act, "symbol": a.symbol, "share": a.share, "words": a.words} for a in self.advice]}

    def text(self) -> str:
        lines = [f"risk of a day over {self.days} days of today's weights"]
        lines += [f"  {t['title']:<38}VaR99 {_percent(t['var_99'])}  CVaR99 {_percent(t['es_99'])}  {t['note']}" for t in self.tails]
        lines += [f"  {t['title']}: {t['words']}" for t in self.tests]
        lines += [f"  {c['name']:<38}{_percent(c['loss'])}{'  ' + c['why'] if c['why'] else ''}" for c in self.crashes]
        lines += [f"  {a.act} {a.symbol} {a.share:.1%}: {a.words}" for a in self.advice] or ["  nothing stands out"]
        return "\n".join(lines)


def risk_of(found: Allocation, *, market_shock: float = -0.2, shocks: Mapping[str, float] | None = None) -> PortfolioRisk:
    """Everything from the daily returns that were known at the moment of the allocation."""
    p, table = found.portfolio, found.daily
    market = table.market()
    columns = [table.names.index(n) for n in p.names]
    returns, weights = table.returns[:, columns], p.weights
    mine = np.where(weights != 0, returns, 0.0)  # what is not held has no say in which days are known
    whole = mine[np.isfinite(mine).all(axis=1)] @ weights
    recent, base = slice(-BETA_DAYS, None), market[-BETA_DAYS:]
    down = np.array([conditional_beta(returns[recent, i], base) for i in range(len(columns))])
    up = [conditional_beta(returns[recent, i], base, down=False) for i in range(len(columns))]
    depth = np.eye(len(columns))
    for i, j in itertools.combinations(range(len(columns)), 2):
        depth[i, j] = depth[j, i] = drawdown_correlation(returns[recent, i], returns[recent, j])
    crashes = [replay(c, table.open_time, returns, p.names, weights, down, market, known_ms=found.as_of_ms + 1) for c in CRASHES]
    reference = REFERENCE if REFERENCE in table.names else "the equal-weight mean"
    hedge = hedge_ratio(mine[recent] @ weights, base)
    tails, tests, notes = _tails(whole) if table.interval is Interval.D1 else ([], [], [
        f"no days of these symbols are stored, only bars of {table.interval}: what a day could lose is not known; back-fill 1d candles"])
    var = next((t["var_99"] for t in tails if t["name"] == "stated"), None)
    known = [(c["name"], c["loss"]) for c in crashes if c["loss"] is not None]
    spans = [s | {"from": iso(s.pop("first_ms"))[:10], "to": iso(s.pop("last_ms"))[:10]} for s in worst_spans(table.open_time, mine,
                                                                                                              weights)]
    past = mine[recent][np.isfinite(mine[recent]).all(axis=1)]
    exits = {str(capital): _exit_cost(found, columns, capital) for capital in EXIT_CAPITALS}
    formulas = stresses(weights, p.covariance * (p.bars_per_year / 365.0), down, past) if p.rows else {}
    advice = advise(p.names, weights, p.risk, returns, var=math.nan if var is None else var, hedge=hedge, hedged_by=reference,
                    worst_crash=min(known, key=lambda c: c[1], default=None), drawdowns=depth)
    return PortfolioRisk(
        tails, tests, notes, len(whole[-500:]),
        {n: {"down": number(d), "up": number(u), "drawdown": number(drawdown_correlation(returns[recent, i], base))}
         for i, (n, d, u) in enumerate(zip(p.names, down, up, strict=True))},
        [[number(x) for x in row] for row in depth], p.names, reference, number(hedge), crashes,
        {"market": market_shock, "own": dict(shocks or {})} | shocked(p.names, weights, down, market=market_shock, own=shocks), spans,
        {n: number(v) for n, v in formulas.items()}, exits, advice)


def _exit_cost(found: Allocation, columns: list[int], capital: float) -> float | None:
    """What leaving everything at once costs, a fraction of so much equity, when a quarter of the usual volume is there: fee, slippage and
    `sigma_d sqrt(Q / (ADV / 4))` (Almgren et al. 2005); None where a volume is unknown."""
    weights, volume = found.portfolio.weights, found.daily.volume[columns]
    held = weights > 0
    if not held.any() or not (volume[held] > 0).all() or found.daily.interval is not Interval.D1:
        return None
    costs = Costs.of(found.asked.market)
    recent = found.daily.returns[-VOLUME_BARS:][:, columns]
    sigma = np.nan_to_num(np.nanstd(recent[:, held], axis=0))
    impact = costs.impact * sigma * np.sqrt(weights[held] * capital / (volume[held] / 4.0))
    return float(weights[held] @ (impact + (costs.taker_bps + costs.slippage_bps) / 1e4))


def _tails(whole: np.ndarray) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[str]]:
    """VaR and CVaR at 99 and 95 % by each method, and how the historical, the Gaussian and the stated one were kept."""
    if len(whole) < FEWEST:
        return [], [], [f"{len(whole)} days in common, {FEWEST} needed for a tail"]
    tested = whole[-TESTED_DAYS:]
    said = {alpha: stated_risk(tested, alpha=alpha) for alpha in (ALPHA, OTHER_ALPHA)}
    at = {alpha: compare_var(tested, said[alpha], FitCache(), alpha=alpha) for alpha in said}
    stated = said[ALPHA]
    rows = [{"name": "stated", "title": "Stated: the larger of historical and filtered", "var_99": number(max(0.0, stated.var[-1])),
             "es_99": number(stated.es[-1]), "var_95": at[OTHER_ALPHA]["var_used"], "es_95": number(said[OTHER_ALPHA].es[-1]), "note": ""}]
    for name, title in METHODS.items():
        one, five = (at[a]["var_methods"][name] for a in (ALPHA, OTHER_ALPHA))
        note = "outside its domain of validity: not shown" if name == "cornish_fisher" and one["var"] is None else ""
        rows.append({"name": name, "title": title, "var_99": one["var"], "es_99": one["es"], "var_95": five["var"], "es_95": five["es"],
                     "note": note})
    return rows, _tests(tested, stated.var), list(at[ALPHA]["var_notes"])


def _tests(returns: np.ndarray, stated: np.ndarray) -> list[dict[str, Any]]:
    """Each day against what was said the evening before, from the `WINDOW` days up to it."""
    n = len(returns)
    said: dict[str, np.ndarray] = {"The stated VaR": stated[:-1]}
    if n > WINDOW + FEWEST:
        rows = range(WINDOW - 1, n - 1)
        windows = [returns[t - WINDOW + 1 : t + 1] for t in rows]
        estimates = {"Historical, 250 days": [historical_var(w, alpha=ALPHA) for w in windows],
                     "Gaussian, 250 days": [gaussian_var(w, alpha=ALPHA) for w in windows],
                     "Cornish-Fisher, 250 days": [(cf.var if cf.valid else math.nan) for cf in (cornish_fisher(w, alpha=ALPHA)
                                                                                                for w in windows)]}
        said |= {name: np.concatenate([np.full(WINDOW - 1, np.nan), v]) for name, v in estimates.items()}
    found = []
    for title, var in said.items():
        known = np.isfinite(var)
        if int(known.sum()) < FEWEST:
            continue
        missed = (returns[1:] < -var)[known]
        often, apart = kupiec(int(missed.sum()), len(missed), alpha=ALPHA), independence(missed)
        verdict = "rejected" if often.rejected or apart.rejected else "kept"
        why = [w for w, bad in (("exceeded too often" if often.misses > ALPHA * often.periods else "too cautious", often.rejected),
                                ("misses cluster", apart.rejected)) if bad]
        found.append({"title": title, "days": often.periods, "misses": often.misses, "expected": ALPHA * often.periods,
                      "kupiec_p": number(often.p_value), "christoffersen_p": number(apart.p_value), "verdict": verdict,
                      "words": f"{often.misses} misses in {often.periods} days ({ALPHA * often.periods:.1f} expected), {verdict}"
                               + (f": {', '.join(why)}" if why else "")})
    return found


def _percent(value: float | None) -> str:
    return "     –" if value is None else f"{value:6.1%}"

