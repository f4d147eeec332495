"""Module G: how much can be lost here, now?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from analysis.fits import FitCache
from analysis.kept_rows import unchanged
from analysis.methods.chandelier import chandelier_stop
from analysis.methods.liquidations import estimate_levels, liquidation_distance, masses
from analysis.methods.stated_risk import ENOUGH_DAYS, MINIMUM_DAYS, WINDOW_DAYS, StatedRisk, stated_risk
from analysis.methods.var_comparison import compare_var
from analysis.module import Blend, Causality, Metric, ScoreModule, Timeline, Track, assemble, blend
from analysis.report import ModuleReport, Risk, Status, counting
from analysis.scaling import pr
from analysis.statistics import drawdown, ewma_variance, rolling_ratios, sharpe
from data.frames import Candles
from data.indicators.ranges import natr
from data.indicators.volatility import ewma_volatility
from data.market import DAY_MS, HOUR_MS, Interval, Market
from data.observations import Kind
from data.view import AccountSnapshot, MarketView, Need


@dataclass(frozen=True)
class RiskExposureConfig:
    """Constants of module G. Limits are fractions of equity; `weights_version` changes with any of them.

    `daily_bars`: 500 days of the VaR window, 365 of its percentile, 30 that start the volatility. `own_bars`: 500 of the
    percentile, 260 that the recursive averages need, 22 of the stop's ratchet.
    """

    daily_bars: int = 900
    own_bars: int = 800
    alpha: float = 0.01
    rank_days: int = 365
    rank_days_minimum: int = 90
    rank_bars: int = 500
    hour_bars: int = 1100  # 21 days of the liquidation map and 500 hours of its percentile
    drawdown_days: int = 90
    sharpe_days: int = 60
    target_vol: float = 0.25  # per year
    exposure_cap: float = 2.0
    stop_atr: float = 2.5
    ratchet_bars: int = 22  # LeBeau's chandelier exit
    var_limit: float = 0.05
    es_limit: float = 0.075
    drawdown_limit: float = 0.10
    leverage_limit: float = 3.0
    open_risk_limit: float = 0.03
    account_days_minimum: int = MINIMUM_DAYS
    mean_share: float = 0.7
    max_share: float = 0.3
    max_weight: float = 0.10  # metrics at or above this weight may be the maximum
    weights_version: str = "G/1"


_RANK = "; in market mode its percentile among the past 365 days"
METRICS = (
    Metric("var", "Value at risk 1 d, 99 %", "fraction of value", .15, MINIMUM_DAYS + 90, Causality.RECURSIVE,
           "larger of historical and filtered historical loss quantile of 500 daily returns (Gaussian below 250)" + _RANK
           + ", with an account VaR / 5 % of equity.", "Barone-Adesi et al. 1999", priority="*"),
    Metric("cvar", "Expected shortfall 1 d, 99 %", "fraction of value", .15, MINIMUM_DAYS + 90, Causality.RECURSIVE,
           "mean loss beyond VaR, larger of historical and filtered (Student t below 250 days)" + _RANK
           + ", with an account ES / 7.5 %.", "Rockafellar & Uryasev 2002", priority="*"),
    Metric("mdd", "Drawdown from the 90-day high", "fraction of value", .15, 90 + 90, Causality.PREFIX,
           "1 - C / highest daily close of 90 days" + _RANK + ", with an account drawdown now / 10 % kill limit."),
    Metric("vol_target", "Exposure at target volatility", "x", .12, 261 + 100, Causality.RECURSIVE,
           "min(2, 25 % / sigma), sigma = EWMA(.94) of this interval's returns, annualised; r = percentile of sigma over 500 "
           "bars, with an account clip(sigma/25 % - .5).", "Moreira & Muir 2017"),
    Metric("leverage", "Leverage", "x equity", .10, 0, Causality.PREFIX, "gross notional / equity; r = leverage / 3."),
    Metric("liq_distance", "Distance to liquidation", "daily sd", .12, 0, Causality.PREFIX,
           "|mark - liquidation price| / (mark x daily sigma); r = clip(1 - d/5)."),
    Metric("liq_zone", "Liquidation mass nearby", "share", .05, 0, Causality.PREFIX,
           "estimated liquidation mass (a model, see module C) within 2 ATR(1d) / total; r = its percentile among 500 hours."),
    Metric("atr_stop", "Stop distance", "% of price", .05, 200 + 100, Causality.RECURSIVE,
           "NATR14; r = its percentile over 500 bars, with an account open risk / 3 %. Stop shown: close - 2.5 ATR14.",
           "Wilder 1978"),
    Metric("dyn_sharpe", "Sharpe ratio 60 d", "per sqrt year", .06, 61, Causality.PREFIX,
           "mean / sd of 60 daily returns x sqrt 365; r = clip(.5 - Sharpe/4).", "Sharpe 1994", priority="**"),
    Metric("adaptive_stop", "Adaptive stop multiple", "ATR", .05, 200 + 100, Causality.RECURSIVE,
           "k = clip(2 + 2 (percentile of NATR - .5), 1.5, 3.5); r = clip((k - 1.5)/2). Chandelier stop shown: highest of "
           "22 bars' (highest high - k ATR).", "LeBeau's chandelier exit", priority="***"),
)
DAILY = ("var", "cvar", "mdd", "dyn_sharpe")
UNMARGINED = "nothing of this symbol is held on margin"
NO_ACCOUNT = "no account in the view: market mode"


class RiskExposure(ScoreModule):
    """Risk and exposure, 0..1, 1 = high risk: each metric's r in [0, 1] says how bad it is, and the worst one counts extra.

    `risk = 0.7 sum(w r)/coverage + 0.3 max r`, the maximum among metrics of weight .10 and more; it is credited to the metric
    that holds it, so that the contributions add up to the risk.

    Market mode ranks the symbol against its own past: VaR, ES, drawdown and Sharpe on daily closes (a day enters when it
    closed), volatility and stops on the view's interval. Leverage and the distance to liquidation need an account; without one the
    coverage is .78, or .73 where there is no open interest for the liquidation map. Account mode measures the paper account's daily
    equity against limits and is used when it has at least 60 daily returns; a younger account is judged in market mode, which the report
    says. In account mode only the newest bar has a score: an account's past equity says nothing about what it held.

    VaR stated here is the larger of historical and filtered historical. Measured on t5 losses, n=1000, 99 %: Gaussian
    understates by 11 %, Cornish-Fisher overstates by 24 % on average and is shown only where its expansion is valid,
    historical 1.01 times the truth (sd .09), extreme-value tail 1.007 (.07). It is tested on the view's own history: each
    day's return against the VaR stated the evening before (Kupiec, Christoffersen).

    References
    ----------
    McNeil, Frey & Embrechts (2015), "Quantitative Risk Management"; Moreira & Muir (2017), "Volatility-Managed Portfolios".
    """

    letter: ClassVar[str] = "G"
    slug: ClassVar[str] = "risk_expos"
    name: ClassVar[str] = "Risk & exposure"
    short = "Risk"
    commands: ClassVar[tuple[str, ...]] = ("risk", "r")
    type: ClassVar[str] = "risk 0..1, 1 = high risk"
    question: ClassVar[str] = "How much can be lost here, now?"
    link: ClassVar[str] = "identity"
    metrics: ClassVar[tuple[Metric, ...]] = METRICS

    def __init__(self, config: RiskExposureConfig | None = None) -> None:
        self.config = config or RiskExposureConfig()
        self._own = Need(Kind.CANDLES, self.config.own_bars)
        self._daily = Need(Kind.CANDLES, self.config.daily_bars, interval=Interval.D1)
        self._hours = Need(Kind.CANDLES, self.config.hour_bars, market=Market.PERP, interval=Interval.H1, optional=True)
        self._interest = Need(Kind.OPEN_INTEREST, days=self.config.hour_bars / 24 + 1, optional=True)

    @property
    def needs(self) -> tuple[Need, ...]:
        return (self._own, self._daily, self._hours, self._interest)

    def timeline(self, view: MarketView, bars: int = 1) -> Timeline:
        return self._timeline(view, bars)

    def typed(self, view: MarketView, score: float | None, raw: float | None, coverage: float, reason: str) -> Risk:
        horizon_bars = max(1, DAY_MS // view.interval.ms)
        return Risk(value=score, interval=str(view.interval), horizon_bars=horizon_bars, as_of_ms=view.as_of_ms,
                    coverage=coverage, inputs=tuple(m.key for m in METRICS), reason=reason)

    def score(self, view: MarketView, line: Timeline | None = None) -> ModuleReport:
        line = line if line is not None and view.account is None else self.timeline(view)
        observed, risk = line.behind
        fits = view.fits if isinstance(view.fits, FitCache) else FitCache()
        shown = {**line.shown, **compare_var(observed, risk, fits, alpha=self.config.alpha)}
        return assemble(self, view, replace(line, shown=shown), confidence=min(1.0, float(line.coverage[-1])),
                        label=_label(float(line.score[-1])))

    def _timeline(self, view: MarketView, bars: int) -> Timeline:
        own, daily = view.candles(self._own), view.candles(self._daily)
        bars = max(1, min(bars, len(own)))
        closed = own.close_time[len(own) - bars :]
        days, observed, risk = unchanged(self, view, "days", (self._daily,), closed, lambda: self._daily_tracks(view, own, daily, bars))
        own_tracks, shown = self._own_tracks(view, own, bars)
        tracks = days | own_tracks | {key: Track.absent(bars, NO_ACCOUNT) for key in ("leverage", "liq_distance")}
        tracks["liq_zone"] = unchanged(self, view, "zone", (self._hours, self._interest, self._daily), closed,
                                       lambda: self._zone_track(view, own, daily, bars))
        shown["mode"] = "market"
        if view.account is not None:
            known = _returns(view.account.equity_curve)
            if view.account.equity <= 0:
                shown["mode_note"] = "the account has no equity: market mode"
            elif len(known) >= self.config.account_days_minimum:
                tracks |= self._account_tracks(view, view.account, known, bars)
                shown["mode"] = "account"
            else:
                shown["mode_note"] = (f"the account has {len(known)} daily returns, {self.config.account_days_minimum} needed: "
                                      "market mode")
        tracks = {m.key: tracks[m.key] for m in METRICS}
        mixed = blend(METRICS, tracks)
        raw, contributions = self._worst_counts(mixed, tracks)
        close_time = own.close_time[len(own) - bars :] if len(own) else np.zeros(bars, np.int64)
        return Timeline(close_time, raw, raw, mixed.coverage, tracks, contributions, {}, shown, (observed, risk))

    def _worst_counts(self, mixed: Blend, tracks: Mapping[str, Track]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """`0.7 mean + 0.3 max`; raw is the sum of the contributions in the metrics' order."""
        heavy = [m for m in METRICS if m.weight >= self.config.max_weight]
        known = np.stack([np.where(counting(tracks[m.key].status), tracks[m.key].k, -1.0) for m in heavy])
        for i, m in enumerate(heavy):
            known[i, tracks[m.key].freshness(m.tau_bars) == 0.0] = -1.0
        worst = known.argmax(axis=0)
        raw = np.zeros(len(mixed.raw))
        contributions = {}
        for m in METRICS:
            share = self.config.mean_share * mixed.contributions[m.key]
            if m in heavy:
                i = heavy.index(m)
                share = share + np.where((worst == i) & (known[i] >= 0), self.config.max_share * known[i], 0.0)
            contributions[m.key] = share
            raw = raw + share
        return raw, contributions

    def _daily_tracks(self, view: MarketView, own: Candles, daily: Candles,
                      bars: int) -> tuple[dict[str, Track], np.ndarray, StatedRisk | None]:
        cfg = self.config
        step_s = DAY_MS / 1000
        if len(daily) == 0 or len(own) == 0:
            return {key: Track.absent(bars, view.why_absent(self._daily)) for key in DAILY}, np.empty(0), None
        # A day is known at its close: each bar sees the last daily candle that closed with it or before.
        row = np.searchsorted(daily.close_time, own.close_time[len(own) - bars :], side="right") - 1
        age_s = view.age_s(daily)
        r = np.expm1(daily.log_return)
        counted = np.cumsum(np.isfinite(r)) - 1  # row of `observed` that each day has reached
        observed = r[np.isfinite(r)]
        day = np.clip(row, 0, None)
        at = np.where(row >= 0, counted[day], -1)  # -1: no return known yet
        lowest = max(0, int(at.min()))
        risk = stated_risk(observed, first=max(0, lowest - cfg.rank_days + 1), alpha=cfg.alpha)
        last = max(1, len(observed) - lowest)
        gone = row < 0
        late_s = np.where(gone, np.inf, (own.close_time[len(own) - bars :] - daily.close_time[day]) / 1000)
        stale = ~gone & (late_s > 3 * 1.2 * step_s)

        def track(values: np.ndarray, ranks: np.ndarray, still: np.ndarray, at: np.ndarray, needs: int,
                  base: np.ndarray | None = None, note: str = "") -> Track:
            """Pick each bar's row; where there are too few days the metric is warming up, and says how many are lacking."""
            if not len(values):
                return Track.absent(bars, f"needs {needs} more daily bars", Status.WARMUP)
            pick, have = np.clip(at, 0, None), at + 1
            value, k = np.where(have > 0, values[pick], np.nan), np.where(have > 0, ranks[pick], np.nan)
            status = np.where(np.isfinite(k), Status.OK if base is None else base[pick], Status.WARMUP)
            status = np.where((have > 1) & still[pick], Status.DEGENERATE, status)
            status = np.where(stale, Status.STALE, status).astype(np.int8)
            words = note
            if status[-1] == Status.WARMUP:
                lacking = needs - int(have[-1])
                words = f"needs {lacking} more daily bars" if lacking > 0 else "too few known days in its window"
            elif status[-1] == Status.DEGENERATE:
                words = "daily closes do not vary"
            elif status[-1] == Status.STALE:
                words = "the newest daily candle is too old"
            return Track(value, np.where(counting(status), k, np.nan), status, age_s, step_s, words, late_s)

        rank = {"window": cfg.rank_days, "minimum": cfg.rank_days_minimum}
        still = _flat(observed, WINDOW_DAYS)
        fallback = np.where(risk.fallback, Status.FALLBACK, Status.OK)
        short = f"fewer than {ENOUGH_DAYS} daily returns: Gaussian VaR, Student t shortfall"
        tracks = {}
        for key, series in (("var", risk.var), ("cvar", risk.es)):
            ranks = pr(np.where(still, np.nan, series), **rank, last=last)
            found = track(np.maximum(series, 0.0), ranks, still, at, MINIMUM_DAYS - 1 + cfg.rank_days_minimum, fallback, short)
            few = (at + 1 < MINIMUM_DAYS) & ~stale
            words = f"{at[-1] + 1} daily returns, at least {MINIMUM_DAYS} needed" if few[-1] else found.note
            tracks[key] = replace(found, status=np.where(few, Status.MISSING, found.status).astype(np.int8), note=words)
        depth = np.abs(drawdown(daily.close, window=cfg.drawdown_days))
        depth[: cfg.drawdown_days - 1] = np.nan
        at_rest = _flat(daily.close, cfg.drawdown_days)
        ranks = pr(np.where(at_rest, np.nan, depth), **rank, last=len(daily) - int(day.min()))
        tracks["mdd"] = track(depth, ranks, at_rest, row, cfg.drawdown_days - 1 + cfg.rank_days_minimum)
        ratio = rolling_ratios(observed, window=cfg.sharpe_days, last=last)[0]
        at_rest = _flat(observed, cfg.sharpe_days)
        tracks["dyn_sharpe"] = track(ratio, np.clip(0.5 - ratio / 4.0, 0.0, 1.0), at_rest, at, cfg.sharpe_days)
        return tracks, observed[: int(at[-1]) + 1], risk

    def _own_tracks(self, view: MarketView, own: Candles, bars: int) -> tuple[dict[str, Track], dict[str, Any]]:
        cfg, n = self.config, len(own)
        if n == 0:
            why = view.why_absent(self._own)
            return {key: Track.absent(bars, why) for key in ("vol_target", "atr_stop", "adaptive_stop")}, {}
        age_s, step_s = view.age_s(own), own.interval.ms / 1000
        sigma = ewma_volatility(own) * math.sqrt(own.interval.bars_per_year)
        range_pct = natr(own)
        # ranges of the ratchet's bars are needed too: its stop remembers 22 bars
        sigma_rank = pr(np.where(sigma > 0, sigma, np.nan), window=cfg.rank_bars, last=bars)
        range_rank = pr(np.where(range_pct > 0, range_pct, np.nan), window=cfg.rank_bars, last=bars + cfg.ratchet_bars)
        with np.errstate(divide="ignore", invalid="ignore"):
            exposure = np.where(sigma > 0, np.minimum(cfg.exposure_cap, cfg.target_vol / sigma), np.nan)
        multiple = np.clip(2.0 + 2.0 * (range_rank - 0.5), 1.5, 3.5)
        atr = range_pct / 100.0 * own.close
        known = n - int(own.segment_start[-1])

        def track(value: np.ndarray, k: np.ndarray, level: np.ndarray, needs: int) -> Track:
            v, r, raw = value[n - bars :].copy(), k[n - bars :].copy(), level[n - bars :]
            status = np.where(np.isfinite(r), Status.OK, np.where(raw == 0, Status.DEGENERATE, Status.WARMUP)).astype(np.int8)
            v[~np.isfinite(v)] = np.nan
            note = ""
            if status[-1] == Status.WARMUP:
                note = f"needs {needs - known} more bars" if known < needs else "too few known bars in its window"
            elif status[-1] == Status.DEGENERATE:
                note = "the price does not move"
            return Track(v, r, status, age_s, step_s, note)

        needs = {key: self.metric(key).warmup_bars for key in ("vol_target", "atr_stop", "adaptive_stop")}
        tracks = {
            "vol_target": track(exposure, sigma_rank, sigma, needs["vol_target"]),
            "atr_stop": track(range_pct, range_rank, range_pct, needs["atr_stop"]),
            "adaptive_stop": track(multiple, np.clip((multiple - 1.5) / 2.0, 0.0, 1.0), range_pct, needs["adaptive_stop"]),
        }
        close = float(own.close[-1])
        trailing = chandelier_stop(own.high, atr, multiple, bars=cfg.ratchet_bars)
        shown = {
            "sigma_per_year": _number(sigma[-1]), "stop_price": _number(close - cfg.stop_atr * atr[-1]), "stop_atr": cfg.stop_atr,
            "adaptive_stop_price": _number(close - multiple[-1] * atr[-1]), "chandelier_stop_price": _number(trailing),
            "chandelier_breached": bool(close < trailing), "natr_percent": _number(range_pct[-1]), "side": "long",
            "weights_version": cfg.weights_version,
        }
        return tracks, shown

    def _zone_track(self, view: MarketView, own: Candles, daily: Candles, bars: int) -> Track:
        """The share of the estimated liquidation mass that lies within two daily ranges, ranked among the past 500 hours."""
        hours, interest = view.candles(self._hours), view.observations(self._interest)
        if not len(hours) or not len(interest) or not len(daily) or not len(own):
            absent = next(n for n in (self._hours, self._interest, self._daily, self._own) if not view.holds(n))
            return Track.absent(bars, f"the liquidation map needs it: {view.why_absent(absent)}")
        closed = own.close_time[len(own) - bars :]
        at = np.searchsorted(hours.close_time, closed, side="right") - 1
        last = len(hours) - max(0, int(at.min()))
        rows = min(len(hours), last + self.config.rank_bars)
        moments = hours.close_time[len(hours) - rows :]
        day = np.searchsorted(daily.close_time, moments, side="right") - 1
        reach = np.where(day >= 0, natr(daily)[np.maximum(day, 0)] / 100.0, np.nan) * hours.close[len(hours) - rows :]
        above, below, total = masses(estimate_levels(hours, interest), moments, hours.close[len(hours) - rows :], 2.0 * reach)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.full(len(hours), np.nan)
            share[len(hours) - rows :] = np.where(total > 0, (above + below) / total, np.nan)
        rank = pr(share, window=self.config.rank_bars, last=min(last, len(hours)))
        held = np.maximum(at, 0)
        value, k = np.where(at >= 0, share[held], np.nan), np.where(at >= 0, rank[held], np.nan)
        status = np.where(np.isfinite(k), Status.OK, np.where(np.isfinite(value), Status.WARMUP, Status.MISSING)).astype(np.int8)
        late_s = np.where(at >= 0, (closed - hours.close_time[held]) / 1000.0, np.inf)
        note = {Status.WARMUP: "too few hours with open interest", Status.MISSING: "no open interest grew, or the daily range is unknown"}
        return Track(value, k, status, view.age_s(hours), HOUR_MS / 1000, note.get(Status(int(status[-1])), ""), late_s)

    def _account_tracks(self, view: MarketView, account: AccountSnapshot, returns: np.ndarray, bars: int) -> dict[str, Track]:
        """The account's own numbers, at the newest bar only."""
        cfg = self.config
        age_s = max(0.0, (view.at_ms - 1 - account.as_of_ms) / 1000)
        risk = stated_risk(returns, first=len(returns) - 1, alpha=cfg.alpha)
        short = bool(risk.fallback[-1])
        status = Status.FALLBACK if short else Status.OK
        note = f"fewer than {ENOUGH_DAYS} daily returns of the account: Gaussian VaR, Student t shortfall" if short else ""
        var, es = max(0.0, float(risk.var[-1])), float(risk.es[-1])
        es = max(0.0, es) if math.isfinite(es) else var
        depth = -float(drawdown(account.equity_curve)[-1])
        sigma = math.sqrt(float(ewma_variance(returns)[-1]) * 365.0)
        ratio = sharpe(returns[-cfg.sharpe_days :])
        open_risk = sum((account.marks[s] - stop) * account.positions[s] for s, stop in account.stops.items()
                        if s in account.positions and s in account.marks) / account.equity
        exposure = min(cfg.exposure_cap, cfg.target_vol / sigma) if sigma > 0 else cfg.exposure_cap
        clip = np.clip
        answers = {
            "var": (var, min(1.0, var / cfg.var_limit), status), "cvar": (es, min(1.0, es / cfg.es_limit), status),
            "mdd": (depth, clip(depth / cfg.drawdown_limit, 0, 1), Status.OK),
            "vol_target": (exposure, clip(sigma / cfg.target_vol - 0.5, 0, 1), Status.OK),
            "leverage": (account.leverage, clip(account.leverage / cfg.leverage_limit, 0, 1), Status.OK),
            "atr_stop": (100.0 * open_risk, clip(open_risk / cfg.open_risk_limit, 0, 1), Status.OK),
            "dyn_sharpe": (ratio, clip(0.5 - ratio / 4.0, 0, 1), Status.OK if math.isfinite(ratio) else Status.DEGENERATE),
        }
        tracks: dict[str, Track] = {}
        answers["liq_distance"] = self._distance(view, account)
        for key, (value, k, state) in answers.items():
            nan = np.full(bars - 1, np.nan)
            states = np.append(np.full(bars - 1, Status.MISSING, np.int8), state).astype(np.int8)
            known = float(k) if state.counts else math.nan
            words = UNMARGINED if key == "liq_distance" and state is Status.OK and not math.isfinite(value) else {
                Status.FALLBACK: note, Status.DEGENERATE: "the account's returns do not vary",
                     Status.MISSING: "the daily volatility of a margined symbol is unknown"}.get(state, "")
            tracks[key] = Track(np.append(nan, value), np.append(nan, known), states, age_s, DAY_MS / 1000, words)
        return tracks


    def _distance(self, view: MarketView, account: AccountSnapshot) -> tuple[float, float, Status]:
        """Daily standard deviations to the nearest forced close of what the account holds of this symbol; nothing on margin: no risk."""
        price, mark = account.liquidation.get(view.symbol), account.marks.get(view.symbol)
        if price is None or mark is None or not account.positions.get(view.symbol):
            return math.nan, 0.0, Status.OK
        returns = np.expm1(view.candles(self._daily).log_return)
        known = returns[np.isfinite(returns)]
        sigma = math.sqrt(float(ewma_variance(known)[-1])) if len(known) >= MINIMUM_DAYS else math.nan
        if not sigma > 0:
            return math.nan, math.nan, Status.MISSING
        distance = liquidation_distance(mark, price, sigma)
        return distance, float(np.clip(1.0 - distance / 5.0, 0.0, 1.0)), Status.OK


def _flat(x: np.ndarray, window: int) -> np.ndarray:
    """True where the newest `window` values (or as many as there are) are one and the same."""
    rows = np.arange(len(x))
    changed = np.concatenate(([False], x[1:] != x[:-1])) if len(x) else np.zeros(0, bool)
    since = rows - np.maximum.accumulate(np.where(changed, rows, 0)) + 1 if len(x) else rows
    return since >= np.minimum(window, rows + 1)


def _returns(equity: np.ndarray) -> np.ndarray:
    equity = np.asarray(equity, float)
    equity = equity[np.isfinite(equity) & (equity > 0)]
    return equity[1:] / equity[:-1] - 1.0 if len(equity) > 1 else np.empty(0)


def _label(risk: float) -> str:
    return "high" if risk >= 0.8 else "elevated" if risk >= 0.6 else "normal" if risk >= 0.3 else "low"


def _number(value: float | np.floating) -> float | None:
    return float(value) if np.isfinite(value) else None
