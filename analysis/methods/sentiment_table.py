"""Module C's table: metrics with weights and formulas, and the constants they are computed with."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from analysis.methods.liquidations import DEFAULT, LiquidationAssumptions
from analysis.module import Causality, Metric


@dataclass(frozen=True)
class DerivativesConfig:
    """Constants of module C. `weights_version` changes with any of them.

    `own_bars`: 500 of a window, 288 that are a day at 5m, 12 of a change, some to spare. `interest_days` holds 500 bars up to 4h; at 1d
    windows are as long as it allows. `hour_bars`: three weeks of the liquidation map and six more of its back-check.
    `option_days` holds the 150 hourly snapshots of their window.
    """

    own_bars: int = 820
    interest_days: int = 120
    ratio_days: int = 120
    funding_days: int = 190
    premium_days: float = 30.0
    forced_days: float = 30.0
    option_days: float = 7.0
    hour_bars: int = 24 * 63
    daily_bars: int = 260
    change_bars: int = 12
    change_window: int = 200
    window: int = 500
    minimum: int = 100
    settlements: int = 270
    settlements_minimum: int = 90
    skew_settlements: int = 90
    snapshots: int = 150
    reach_atr: float = 2.0
    horizon_bars: int = 24
    liquidation: LiquidationAssumptions = field(default_factory=lambda: DEFAULT)
    weights_version: str = "C/1"


USUAL_FUNDING_H, LONGEST_FUNDING_H = 8.0, 24.0
FUNDING_TAU = 1.1  # in funding intervals
INTEREST_TAU_S, RATIO_TAU_S, OPTION_TAU_S = 600.0, 900.0, 1800.0
TAU = 1.2  # in normal spacings of the stored rows, never less than the stated seconds


def _metric(key: str, title: str, unit: str, weight: float, warmup_bars: int, formula: str, source: str = "", *, tau_bars: float = TAU,
            priority: str = "c") -> Metric:
    return Metric(key, title, unit, weight, warmup_bars, Causality.PREFIX, formula, source, tau_bars, priority)


METRICS = (
    _metric("funding", "Funding rate", "per year", .14, 90,
            "(2 PR - 1)(1 - crowd), PR of the settled rate per year f * 24/interval * 365 (270 settlements, at least 90), "
            "crowd = max(0, (|2 PR - 1| - .8)/.2).", tau_bars=FUNDING_TAU),
    _metric("crowding", "Crowded funding", "0..1", .12, 90, "-sign(2 PR - 1) crowd of the funding rate; contrarian, a prior.",
            "Schmeling, Schrimpf & Todorov 2023", tau_bars=FUNDING_TAU),
    _metric("oi_confirm", "Open interest confirms", "ln change", .14, 112,
            "tanh(zP/2) max(0, tanh(zOI/2)), z of 12-bar changes of ln price and ln contracts over their robust zero-anchored scale "
            "(200 bars); the price up to when the open interest was taken."),
    _metric("oi_divergence", "Move on closing positions", "ln change", .08, 112,
            "-tanh(zP/2) min(1, |zOI|) while open interest falls, else 0.", priority="**"),
    _metric("ls_ratio", "Long/short accounts", "ln ratio", .08, 100,
            "-ZM of ln(long/short) of all accounts, 500 bars; contrarian, a prior."),
    _metric("top_ratio", "Top traders' positions", "ln ratio", .10, 100,
            "+ZM of ln(long/short) of the largest accounts' positions, 500 bars."),
    _metric("vii", "Volume imbalance", "-1..1", .14, 111,
            "sum(2 TB - V)/sum V over 12 bars, TB taker buy volume; Z0 over 500 bars."),
    _metric("fund_skew", "Funding skew", "-1..1", .05, 90, "Kelley's (q90 + q10 - 2 q50)/(q90 - q10) of 90 settlements.", "Hinkley 1975",
            tau_bars=FUNDING_TAU),
    _metric("liquidations", "Forced orders, seen and waiting", "-1..1", .08, 0,
            "0.5 (S - L)/(S + L) of liquidated shorts S and longs L of 1 h, as recorded, + 0.5 (up - down)/(up + down) of ESTIMATED "
            "mass within 2 ATR(1d) above and below.", priority="*"),
    _metric("vol_skew", "Option skew 25 delta, 30 d", "vol", .05, 100,
            "ZM of IV(25-delta call) - IV(25-delta put), 150 snapshots.", priority="**"),
    _metric("gex", "Gamma exposure", "quote per 1 %", .02, 100,
            "-ZM(GEX) sign(24 h return); GEX = sum gamma (OI call - OI put) S^2 .01, expiries within 60 d.", "SqueezeMetrics 2017",
            priority="***"),
)
FLOW = ("oi_confirm", "oi_divergence", "vii", "top_ratio", "liquidations")
_WEIGHT = {m.key: m.weight for m in METRICS}
FLOW_METRICS = tuple(replace(m, weight=m.weight / sum(_WEIGHT[key] for key in FLOW)) for m in METRICS if m.key in FLOW)
