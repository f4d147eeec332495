"""Module F, on-chain and macro: is money coming in, and is the coin dear against what its holders paid?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from analysis.kept_rows import unchanged
from analysis.module import Causality, Metric, ScoreModule, Timeline, Track, assemble, blend
from analysis.remembered import Remembered, seals_of
from analysis.report import Direction, ModuleReport, Score, Status
from analysis.scaling import af, z0, zm
from analysis.tracks import known_track, rows_known
from data.market import DAY_MS
from data.observations import Kind, Observations
from data.view import MarketView, Need

P = Causality.PREFIX
DAYS, DAYS_NEEDED = 365, 90  # window and minimum of the normalisers on daily rows
SPREAD_DAYS = 1450  # of MVRV-Z; the literature takes all history, a view must hold a fixed one
DAY_S = DAY_MS / 1000
MARKET_COIN = "BTCUSDT"
NO_KEYLESS = "no keyless vendor publishes it"
STANDS_IN = "Bitcoin's, standing in for the market"


def _metric(key: str, title: str, unit: str, weight: float, warmup: int, formula: str, source: str = "", tau: float = 2.0,
            priority: str = "c") -> Metric:
    return Metric(key, title, unit, weight, warmup, P, formula, source, tau_bars=tau, priority=priority)


METRICS = (
    _metric("stable_flow", "Stablecoin supply growth", "ln, 7 d", .17, 7 + DAYS_NEEDED,
            "ln(S_t / S_{t-7}) of the total stablecoin supply, then ZM over 365 days. Supply, not inflow."),
    _metric("cex_netflow", "Exchange net flow", "share of balance, 7 d", .17, 7 + DAYS_NEEDED,
            "7-day sum of (inflow - outflow) / exchange balance, then -Z0: arrivals mean sellers."),
    _metric("etf_flow", "ETF net flow", "bps of market cap, 5 d", .18, 5 + DAYS_NEEDED,
            "5-day sum of net flows / market cap, then Z0. No weekend, so four days old still counts.", tau=4.0),
    _metric("ex_net_pos", "Exchange balance change", "share, 30 d", .10, 30 + DAYS_NEEDED,
            "30-day change of the exchange balance / balance, then -Z0."),
    _metric("realised_cap", "Realised cap growth", "ln, 30 d", .06, 30 + DAYS_NEEDED,
            "ln(RC_t / RC_{t-30}) with RC = market cap / MVRV, then ZM."),
    _metric("nupl", "Unrealised profit (NUPL)", "share of market cap", .06, 1,
            "1 - 1/MVRV; (NUPL - .25)/.25 up to .5, then falling to -1 at .75: euphoria is not bullish.", "Adamant Capital 2019"),
    _metric("nrpl", "Net realised profit", "share of realised cap, 7 d", .04, 7 + DAYS_NEEDED,
            "(realised profit - realised loss), 7-day sum / realised cap, then Z0.", priority="*"),
    _metric("whale_ratio", "Whale ratio", "share of inflow", .06, DAYS_NEEDED,
            "ten largest inflow transactions / all inflow, then -ZM.", priority="*"),
    _metric("mvrv_z", "MVRV z-score", "sd of market cap", .12, 365,
            "(market cap - realised cap) / sd of the market cap so far (at most four years), then -(z - 2.5)/3.5 clipped: contrarian.",
            "Mahmudov & Puell 2018", priority="**"),
    _metric("sopr", "Spent output profit (SOPR)", "ratio", .04, 7 + DAYS_NEEDED,
            "value sold / value paid of the coins that moved, 7-day mean, ln, then Z0.", "Shirakashi 2019", priority="***"),
    _metric("fear_greed", "Fear and greed", "0..100", .0, 1, "alternative.me's index, shown only: it is made of prices and volumes."),
)
WEIGHTS_VERSION = "F/1"
KEYED = ("etf_flow", "nrpl", "whale_ratio", "sopr")
CHAIN = ("cex_netflow", "ex_net_pos", "realised_cap", "nupl", "mvrv_z")


@dataclass(frozen=True)
class OnChainConfig:
    """History in days: the spread of MVRV-Z needs the longest, the supply its normaliser and 7 days."""

    history_days: int = 1460
    supply_days: int = 365 + 30
    horizon_bars: int = 24 * 14


# -- metrics over daily rows ------------------------------------------------------------------------------------------


def before(rows: Observations, days: int) -> np.ndarray:
    """For each row the row that describes `days` earlier; -1 where there is none or it became known later."""
    day = rows.event_time // DAY_MS
    order = np.argsort(day, kind="stable")
    at = np.searchsorted(day[order], day - days)
    found = order[np.minimum(at, len(order) - 1)]
    return np.where((at < len(order)) & (day[found] == day - days) & (found <= np.arange(len(day))), found, -1)


def change(rows: Observations, values: np.ndarray, days: int) -> np.ndarray:
    """values_t / values_{t-days}, NaN where either is unknown."""
    row = before(rows, days)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(row >= 0, values / values[np.maximum(row, 0)], np.nan)


def summed(rows: Observations, values: np.ndarray, days: int) -> np.ndarray:
    """Sum over the `days` days that end with each row; NaN where one of them is unknown."""
    total = np.zeros(len(rows))
    for back in range(days):
        row = before(rows, back)
        total = total + np.where(row >= 0, values[np.maximum(row, 0)], np.nan)
    return total


def unrealised_profit(mvrv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(NUPL, its unit score): a hump that rises to 1 at .5 and falls to -1 at .75."""
    with np.errstate(divide="ignore", invalid="ignore"):
        nupl = 1.0 - 1.0 / mvrv
    rising = af(nupl, 0.25, 0.25)
    return nupl, np.where(nupl <= 0.5, rising, np.clip(1.0 - 2.0 * (nupl - 0.5) / 0.25, -1.0, 1.0))


def mvrv_z(market_cap: np.ndarray, mvrv: np.ndarray, *, window: int = SPREAD_DAYS, minimum: int = 365) -> np.ndarray:
    """(MC - RC) / standard deviation (ddof 1) of the market caps up to the row, the last `window` at most; NaN before `minimum`."""
    spread = pd.Series(market_cap).rolling(window, min_periods=minimum).std().to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 0, market_cap * (1.0 - 1.0 / mvrv) / spread, np.nan)


def _touched(rows: Observations, closed: np.ndarray) -> int:
    """How many of the newest rows the bars asked for can see."""
    first = int(rows_known(rows, closed[:1])[0]) if len(rows) else 0
    return len(rows) - max(0, first)


CHAIN_COLUMNS = ("mvrv", "market_cap", "exchange_balance", "flow_in", "flow_out")
_measured: Remembered[dict[str, tuple[np.ndarray, np.ndarray]]] = Remembered(64)  # Bitcoin's stand in for every coin without its own


def _chain_metrics(rows: Observations, last: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(value, k) of every metric that Coin Metrics' community columns give."""
    scale = {"window": DAYS, "minimum": DAYS_NEEDED, "last": last}
    mvrv, cap, balance = rows["mvrv"], rows["market_cap"], rows["exchange_balance"]
    with np.errstate(divide="ignore", invalid="ignore"):
        flow = summed(rows, (rows["flow_in"] - rows["flow_out"]) / balance, 7)
        position = change(rows, balance, 30) - 1.0
        growth = np.log(change(rows, cap / mvrv, 30))
    nupl, hump = unrealised_profit(mvrv)
    z = mvrv_z(cap, mvrv)
    return {"cex_netflow": (flow, -z0(flow, **scale)), "ex_net_pos": (position, -z0(position, **scale)),
            "realised_cap": (growth, zm(growth, **scale)), "nupl": (nupl, hump), "mvrv_z": (z, -af(z, 2.5, 3.5))}


# -- the module -------------------------------------------------------------------------------------------------------


class OnChain(ScoreModule):
    """Macro score 0..1: below 0.5 money leaves or the coin is dear against what holders paid, above 0.5 the reverse.

    Ten daily figures, each known only from the hour its vendor had closed the day: stablecoin supply growth .17, exchange net
    flow .17, ETF flow .18, change of the exchange balance .10, realised-cap growth .06, unrealised profit .06, realised profit .04,
    whale ratio .06, MVRV z-score .12 and spent-output profit .04. Flows keep their zero (Z0), levels are taken about their median (ZM),
    MVRV is contrarian and unrealised profit a hump. score = 0.5 + 0.5 S. ETF flows, realised profit, the whale ratio and spent-output
    profit have no keyless source: without them the coverage is .68, and .65 is needed.

    Where a coin has no on-chain series of its own, Bitcoin's stands in for the market and is marked as a fallback. The figures are
    daily: they may touch an intraday decision only as risk. Vendors revise their history; the value first seen is the one that stays.

    References
    ----------
    Carter & Le Calvez (2018) on realised cap; Mahmudov & Puell (2018) on MVRV; Shirakashi (2019) on SOPR.
    """

    letter = "F"
    slug = "onchain"
    name = "On-chain & macro"
    short = "Macro"
    commands = ("macro", "ma")
    type = "macro score 0..1 (0.5 neutral)"
    question = "Is money coming in, and is the coin dear against what its holders paid?"
    link = "0.5+0.5*raw"
    metrics = METRICS

    def __init__(self, config: OnChainConfig | None = None) -> None:
        self.config = config or OnChainConfig()
        days = self.config.history_days
        self._bars = Need(Kind.CANDLES, 100)
        self._own = Need(Kind.ON_CHAIN, days=days, optional=True)
        self._market = Need(Kind.ON_CHAIN, days=days, optional=True, symbol=MARKET_COIN)
        self._supply = Need(Kind.STABLECOIN_SUPPLY, days=self.config.supply_days, optional=True)
        self._mood = Need(Kind.FEAR_GREED, days=30, optional=True)

    @property
    def needs(self) -> tuple[Need, ...]:
        return (self._bars, self._own, self._market, self._supply, self._mood)

    def timeline(self, view: MarketView, bars: int = 1) -> Timeline:
        """The newest rows; `shown` says whose on-chain figures were used."""
        candles = view.candles(self._bars)
        bars = max(1, min(bars, len(candles)))
        closed = candles.close_time[len(candles) - bars :] if len(candles) else np.full(1, view.as_of_ms)
        tracks, whose = unchanged(self, view, "days", self.needs[1:], closed, lambda: self._tracks(view, closed))
        mixed = blend(METRICS, tracks)
        raw = np.where(mixed.enough, mixed.raw, np.nan)
        agreement = mixed.agreements()
        shown: dict[str, Any] = {"on_chain_of": whose, "weights_version": WEIGHTS_VERSION}
        return Timeline(closed, raw, 0.5 + 0.5 * raw, mixed.coverage, tracks, mixed.contributions, {"agreement": agreement}, shown)

    def score(self, view: MarketView, line: Timeline | None = None) -> ModuleReport:
        line = line or self.timeline(view)
        agreement = float(line.extra["agreement"][-1])
        known = np.isfinite(agreement)
        return assemble(self, view, line, label=_label(float(line.score[-1])), agreement=agreement if known else None,
                        confidence=float(line.coverage[-1]) * (0.5 + 0.5 * agreement) if known else None)

    def typed(self, view: MarketView, score: float | None, raw: float | None, coverage: float, reason: str) -> Score:
        value = None if raw is None else min(1.0, max(-1.0, raw))
        return Direction(value=value, interval=str(view.interval), horizon_bars=self.config.horizon_bars, as_of_ms=view.as_of_ms,
                         coverage=coverage, inputs=tuple(m.key for m in METRICS if m.weight), reason=reason)

    def _tracks(self, view: MarketView, closed: np.ndarray) -> tuple[dict[str, Track], str]:
        bars = len(closed)
        supply, mood = view.observations(self._supply), view.observations(self._mood)
        growth = np.log(change(supply, supply["supply_usd"], 7)) if len(supply) else np.empty(0)
        tracks = {key: Track.absent(bars, NO_KEYLESS) for key in KEYED}
        tracks["stable_flow"] = known_track(view, supply, closed, growth, zm(growth, window=DAYS, minimum=DAYS_NEEDED,
                                            last=_touched(supply, closed)), step_s=DAY_S, note=_too_few(growth, DAYS_NEEDED))
        tracks["fear_greed"] = known_track(view, mood, closed, mood["value"], np.full(len(mood), np.nan), step_s=DAY_S,
                                           status=np.full(len(mood), Status.OK, np.int8))
        own, market = view.observations(self._own), view.observations(self._market)
        mine = _daily(own, closed)
        theirs = mine if view.symbol == MARKET_COIN else _daily(market, closed)
        used = set()
        for key in CHAIN:
            if key not in mine and key not in theirs:
                tracks[key] = Track.absent(bars, view.why_absent(self._own))
                continue
            note = partial(_too_few, needed=self.metric(key).warmup_bars)
            here = _published(own, mine[key][0], closed) if key in mine else np.zeros(bars, bool)
            first, second = None, None
            if key in mine and (view.symbol == MARKET_COIN or key not in theirs or here.any()):
                first = known_track(view, own, closed, *mine[key], step_s=DAY_S, note=note(mine[key][0]))
            if first is None or not (here.all() or view.symbol == MARKET_COIN or key not in theirs):
                second = known_track(view, market, closed, *theirs[key], step_s=DAY_S, note=note(theirs[key][0]))
                second = replace(second, status=np.where(second.status == int(Status.OK), Status.FALLBACK, second.status).astype(np.int8),
                                 note=second.note or STANDS_IN)
            one = first if second is None else second if first is None else _joined(first, second, here)
            assert one is not None
            used.add(view.symbol if second is None or here[-1] else MARKET_COIN)
            tracks[key] = one
        return {m.key: tracks[m.key] for m in METRICS}, " and ".join(sorted(used))


def _daily(rows: Observations, closed: np.ndarray) -> Mapping[str, tuple[np.ndarray, np.ndarray]]:
    if not len(rows):
        return {}
    last = _touched(rows, closed)
    columns = [rows.available_time, rows.event_time, *(rows[name] for name in CHAIN_COLUMNS)]
    return _measured.get(seals_of(columns, [slice(None)], last)[0], lambda: _chain_metrics(rows, last))


def _published(rows: Observations, value: np.ndarray, closed: np.ndarray) -> np.ndarray:
    """Whether the coin's own figure had ever been known by each bar; what comes later says nothing about it."""
    known = rows_known(rows, closed)
    ever = np.logical_or.accumulate(np.isfinite(value))
    return (known >= 0) & ever[np.maximum(known, 0)]


def _joined(own: Track, other: Track, here: np.ndarray) -> Track:
    """The coin's own rows from the bar on at which it had any, the stand-in's before."""
    newest = own if here[-1] else other
    assert own.late_s is not None and other.late_s is not None
    return replace(newest, value=np.where(here, own.value, other.value), k=np.where(here, own.k, other.k),
                   status=np.where(here, own.status, other.status).astype(np.int8), late_s=np.where(here, own.late_s, other.late_s))


def _too_few(value: np.ndarray, needed: int) -> str:
    known = int(np.isfinite(value).sum())
    if known == 0:
        return "the vendor does not publish its parts for this coin"
    return f"needs {needed - known} more days" if known < needed else "it did not vary"


def _label(score: float) -> str:
    return "bullish" if score > 0.6 else "bearish" if score < 0.4 else "neutral"
