"""Module E: who moves first, and what have the leaders done that this symbol has not done yet?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from analysis.fits import FitCache
from analysis.methods.absorption import DAYS, fit_common_move
from analysis.methods.group_grid import DayGrid, day_grid, day_slices, grid_end, moved, returns_table
from analysis.methods.group_links import PRICE_BARS, canonical, nearest, price_tie, shape_distance, shared_variance
from analysis.methods.leadlag import CORRELATION_BARS, fit_table
from analysis.module import Causality, Metric, ScoreModule, Timeline, Track, assemble, blend
from analysis.report import Direction, ModuleReport, Status, counting
from data.frames import Candles
from data.market import DAY_MS, Interval
from data.observations import Kind
from data.view import MarketView, Need, daily_anchor


@dataclass(frozen=True)
class CorrelationConfig:
    """Constants of module E. `group_bars`: the 1,440 of the table or 1,500 of prices before 00:00 UTC, a day of minutes after it, and a few
    for the first return; `daily_bars`: 300 days and the day the first return comes from."""

    own_bars: int = 500
    group_bars: int = 2_960
    daily_bars: int = 302
    window: int = 1_440
    lags: int = 10
    q_below: float = 0.05
    stability_from: float = 0.6
    delta_above: float = 0.05
    reference: str = "BTCUSDT"
    weights_version: str = "E/1"


F, P = Causality.FITTED, Causality.PREFIX
_AT = " On the window before 00:00 UTC."
METRICS = (
    Metric("corr", "Correlation with Bitcoin", "-1..1", .0, 60, F, "Pearson correlation of returns over 500 bars; Spearman and the Fisher "
           "interval tanh(atanh rho +- 1.96/sqrt(n-3)) beside." + _AT),
    Metric("beta", "Beta to Bitcoin", "ratio", .0, 60, F, "cov/var of returns over 500 bars." + _AT),
    Metric("partial_corr", "Correlation with Bitcoin given the market", "-1..1", .0, 60, F, "-P_ij/sqrt(P_ii P_jj), P the inverse of the "
           "Ledoit-Wolf shrunk correlation of the pair and the equal-weight mean of the other symbols, 500 bars." + _AT),
    Metric("leadlag_delta", "Lead of others over it", "correlation", 1.0, 500, F, "Delta_ij = max |corr(r_i(t-k), r_j(t))| - max of the "
           "reverse, k = 1..10 bars, 1,440 bars; shown: the largest. The score: what leaders did and it has not done yet." + _AT,
           "Huth & Abergel 2014"),
    Metric("granger", "Granger test of its best leader", "q-value", .0, 500, F, "F test of 5 lags of i beyond 5 of its own; "
           "Benjamini-Hochberg over all ordered pairs of the group; shown: the smallest." + _AT, "Granger 1969", priority="*"),
    Metric("dtw", "Distance of shapes", "z units", .0, 200, F, "dynamic time warping, band 10, of z-scored cumulative returns over 200 "
           "bars, to its heaviest leader, else to its nearest. Similarity, not a lag." + _AT, "Sakoe & Chiba 1978", priority="*"),
    Metric("cca", "Canonical link with the leaders", "0..1", .0, 500, F, "first canonical correlation of three leaders' last three "
           "returns with up to six followers, 500 bars; it overfits: p of Wilks' lambda beside." + _AT, "Hotelling 1936", priority="**"),
    Metric("var", "Forecast error due to others", "share", .0, 1000, F, "VAR(p), p <= 5 by BIC, at most six symbols, 1,000 bars: share "
           "of its ten-step forecast error variance that comes from the others, Cholesky by turnover." + _AT, "Sims 1980", priority="***"),
    Metric("coint", "Tie to its nearest price", "p-value", .0, 1000, F, "Engle-Granger over 1,500 bars with the symbol most correlated; "
           "hedge beta and half-life beside (biased short)." + _AT, "Engle & Granger 1987"),
    Metric("absorption", "Absorption ratio", "share", .0, 90, F, "share of variance of the first principal component of the daily "
           "correlations, 300 days." + _AT, "Kritzman et al. 2011"),
    Metric("e_mkt", "Market direction", "-1..1", .0, 90, F, "absorption x tanh(z/2), z = 30-day return of that component's portfolio "
           "over its sd sqrt 30." + _AT),
    Metric("exch_premium", "Premium between exchanges", "bps", .0, 1, P, "1e4 (P_x / P_ref - 1) of mid prices of the same second."),
)
HEAVY = ("dtw", "cca", "var", "coint")
NEWEST_ONLY = "computed for the newest bar's report only"
NO_EXCHANGE = "no second exchange is recorded"
MATRICES = ("lag", "rho", "delta", "llr", "beta", "p", "q", "stability", "correlation", "betas", "partial")


class CorrelationLeadLag(ScoreModule):
    """Leader pressure, -1..1: above 0 the symbols that lead this one rose and it has not followed yet; 0 where it has no leader.

    For every ordered pair of the group: the lag k* of 1 to 10 bars with the largest |corr(r_i(t-k), r_j(t))| over 1,440 bars, its lead
    Delta over the reverse direction, a Granger test corrected over all pairs, and in how many of the last ten tenths of the window lag
    (give or take one) and sign were the same. A leader must pass all of: q < .05, stability >= .6, Delta > .05. In 60 simulated groups of
    twelve without leaders none of 7,920 pairs passed; a planted slope of .3 was found in all 60.

    `e = sum a_i tanh(z_i/2) / sum a_i`, a_i = |rho| (1 - q) stability and z_i = beta_k x (the leader's move in its last k* bars) / (sd of
    this symbol x sqrt k*): the move leaders made that this symbol has not. No leader: e = 0 with confidence 0. The table is fitted at
    00:00 UTC and is the same for all symbols of the group; between fits only z moves. Bars in which nothing was traded do not count:
    stale prints look like followers. On real markets majors lead by seconds to minutes; at an hour and more expect nothing.

    Shown beside: correlations and betas to Bitcoin, shapes, canonical link, shared forecast errors, price ties, how far everything moves
    together (absorption) and where that common move points (e_mkt). None of them enters the score.

    References
    ----------
    Huth & Abergel (2014), "High frequency lead/lag relationships"; Granger (1969); Kritzman et al. (2011).
    """

    letter: ClassVar[str] = "E"
    slug: ClassVar[str] = "corr_lead"
    name: ClassVar[str] = "Correlation & lead-lag"
    short = "Leaders"
    commands: ClassVar[tuple[str, ...]] = ("corr", "c")
    type: ClassVar[str] = "leader pressure -1..1 (0: no leader)"
    low: ClassVar[float] = -1.0
    question: ClassVar[str] = "Who moves first, and what have the leaders done that this symbol has not done yet?"
    link: ClassVar[str] = "identity"
    metrics: ClassVar[tuple[Metric, ...]] = METRICS

    def __init__(self, config: CorrelationConfig | None = None) -> None:
        self.config = c = config or CorrelationConfig()
        self._own = Need(Kind.CANDLES, c.own_bars)
        self._group = Need(Kind.CANDLES, c.group_bars, peers=True)
        self._daily = Need(Kind.CANDLES, c.daily_bars, interval=Interval.D1, peers=True, optional=True)

    @property
    def needs(self) -> tuple[Need, ...]:
        return (self._own, self._group, self._daily)

    def timeline(self, view: MarketView, bars: int = 1) -> Timeline:
        """The newest rows; `extra` holds e, e_lag_bars (of the heaviest leader, NaN without), e_mkt, absorption, agreement, confidence and
        how many leaders. Metrics that only the newest bar's report has are missing here, in every row."""
        own, group = view.candles(self._own), self._members(view, self._group)
        n = len(own)
        bars = max(1, min(bars, n))
        if n == 0 or len(group) < 2:
            why = view.why_absent(self._own) if n == 0 else "only one symbol has candles: there is no group to compare it with"
            nan = np.full(bars, np.nan)
            closed = own.close_time[n - bars :] if n else np.full(1, view.as_of_ms)
            return Timeline(closed, nan, nan, np.zeros(bars), {m.key: Track.absent(bars, why) for m in METRICS},
                            {m.key: nan for m in METRICS}, dict.fromkeys(EXTRA, nan), {"weights_version": self.config.weights_version})
        fits = _fits(view)
        closed = own.close_time[n - bars :]
        anchors = daily_anchor(closed)
        values = {m.key: np.full(bars, np.nan) for m in METRICS}
        extra = {name: np.full(bars, np.nan) for name in EXTRA}
        status = np.full(bars, Status.OK, np.int8)
        note = ""
        daily = self._members(view, self._daily)
        daily_returns = {name: c.log_return for name, c in daily.items()}
        for rows in day_slices(anchors):
            anchor = int(anchors[rows.start])
            common = self._common(fits, daily, daily_returns, anchor)
            values["absorption"][rows], values["e_mkt"][rows] = common
            table = self._table(fits, group, anchor)
            if view.symbol not in table["names"]:
                still = view.symbol in group and not moved(group[view.symbol], grid_end(anchor, view.interval), self.config.window)
                status[rows] = Status.DEGENERATE if still else Status.WARMUP
                note = "the price does not move" if still else _why_not(table, view.symbol)
                continue
            note = ""
            self._of_day(table, view.symbol, rows, values)
            self._pressure(table, view.symbol, own.open_time[n - bars :][rows], group, rows, extra)
        extra["e_mkt"], extra["absorption"] = values["e_mkt"], values["absorption"]
        unknown = (status == int(Status.OK)) & ~np.isfinite(extra["e"])
        status[unknown] = Status.MISSING
        note = "its leaders' newest candles are missing" if unknown[-1] else note
        age_s, step_s = view.age_s(own), own.interval.ms / 1000
        tracks = {}
        for m in METRICS:
            state, k = status.copy(), np.full(bars, np.nan)
            if m.key == "leadlag_delta":
                k = np.where(counting(status), extra["e"], np.nan)
            elif m.key in ("absorption", "e_mkt"):
                state = np.where(np.isfinite(values[m.key]), Status.OK, Status.WARMUP).astype(np.int8)
            else:
                state[counting(status) & ~np.isfinite(values[m.key])] = Status.MISSING
            words = "" if counting(state[-1]) else note or self._lacking(m.key, view.symbol)
            tracks[m.key] = Track(values[m.key], k, state, age_s, step_s, words)
        tracks |= {key: Track.absent(bars, NEWEST_ONLY) for key in HEAVY} | {"exch_premium": Track.absent(bars, NO_EXCHANGE)}
        mixed = blend(METRICS, tracks)
        extra["confidence"] = mixed.coverage * (0.5 + 0.5 * extra["agreement"]) * (extra["leaders"] > 0)
        return Timeline(closed, mixed.raw, mixed.raw, mixed.coverage, tracks, mixed.contributions, extra,
                        {"weights_version": self.config.weights_version})

    def typed(self, view: MarketView, score: float | None, raw: float | None, coverage: float, reason: str) -> Direction:
        value = None if score is None else min(1.0, max(-1.0, score))
        return Direction(value=value, interval=str(view.interval), horizon_bars=self.config.lags, as_of_ms=view.as_of_ms,
                         coverage=coverage, inputs=("leadlag_delta",), reason=reason)

    def score(self, view: MarketView, line: Timeline | None = None) -> ModuleReport:
        view = replace(view, fits=_fits(view))  # so that the table of the timeline is the one shown
        line = line or self.timeline(view, 1)
        heavy, shown = self._newest(view, line)
        line = replace(line, tracks={m.key: heavy.get(m.key, line.tracks[m.key]) for m in METRICS}, shown={**line.shown, **shown})
        known = bool(np.isfinite(line.score[-1]))
        return assemble(self, view, line, label=_label(float(line.score[-1]), float(line.extra["leaders"][-1])) if known else "",
                        agreement=_number(line.extra["agreement"][-1]), confidence=_number(line.extra["confidence"][-1]))

    # -- the group ----------------------------------------------------------------------------------------------------

    def _members(self, view: MarketView, need: Need) -> dict[str, Candles]:
        return {name: c for name, c in sorted(view.peers(need).items()) if len(c)}

    def _day(self, candles: Candles, anchor: int) -> DayGrid:
        return day_grid(candles, grid_end(anchor, candles.interval), self.config.window, PRICE_BARS)

    def _table(self, fits: FitCache, group: Mapping[str, Candles], anchor: int) -> dict[str, Any]:
        """The lead-lag table of the day, the same whichever symbol of the group asks."""
        cfg, names = self.config, list(group)
        returns = np.stack([self._day(candles, anchor).traded for candles in group.values()], axis=1)

        def fit(data: np.ndarray) -> dict[str, Any]:
            return fit_table(data, names, lags=cfg.lags, reference=cfg.reference)

        return fits.get("leadlag/1", returns, fit, read=_with_matrices, names=names, lags=cfg.lags, reference=cfg.reference)

    def _common(self, fits: FitCache, daily: Mapping[str, Candles], returns: Mapping[str, np.ndarray], anchor: int) -> tuple[float, float]:
        if len(daily) < 2:
            return math.nan, math.nan
        found = fits.get("common-move/1", returns_table(daily, returns, anchor // DAY_MS * DAY_MS, DAYS), fit_common_move)
        return (math.nan, math.nan) if found["share"] is None else (found["share"], found["e_mkt"])

    def _of_day(self, table: Mapping[str, Any], symbol: str, rows: slice, values: dict[str, np.ndarray]) -> None:
        names = table["names"]
        j = names.index(symbol)
        others = np.arange(len(names)) != j
        for key, matrix, best in (("leadlag_delta", "delta", max), ("granger", "q", min)):
            column = table[matrix][others, j]
            values[key][rows] = best(column[np.isfinite(column)], default=math.nan)
        if self.config.reference in names and symbol != self.config.reference:
            b = names.index(self.config.reference)
            values["corr"][rows] = table["correlation"][b, j]
            values["beta"][rows] = table["betas"][b, j]
            values["partial_corr"][rows] = table["partial"][b, j]

    def leaders(self, table: Mapping[str, Any], symbol: str) -> list[tuple[int, float]]:
        """(column, weight a) of the symbols that pass all three tests against `symbol`, the heaviest first."""
        cfg, j = self.config, table["names"].index(symbol)
        passed = [i for i in range(len(table["names"])) if i != j and table["q"][i, j] < cfg.q_below
                  and table["stability"][i, j] >= cfg.stability_from and table["delta"][i, j] > cfg.delta_above]
        weighed = [(i, float(abs(table["rho"][i, j]) * (1.0 - table["q"][i, j]) * table["stability"][i, j])) for i in passed]
        return sorted(weighed, key=lambda row: (-row[1], row[0]))

    def _pressure(self, table: Mapping[str, Any], symbol: str, opened: np.ndarray, group: Mapping[str, Candles], rows: slice,
                  extra: dict[str, np.ndarray]) -> None:
        """e and what goes with it over the bars of one day."""
        j, leaders = table["names"].index(symbol), self.leaders(table, symbol)
        extra["leaders"][rows] = len(leaders)
        if not leaders:
            extra["e"][rows] = extra["agreement"][rows] = 0.0
            return
        extra["e_lag_bars"][rows] = table["lag"][leaders[0][0], j]
        total, pull, weight = np.zeros(len(opened)), np.zeros(len(opened)), np.zeros(len(opened))
        for i, a in leaders:
            lag = int(table["lag"][i, j])
            z = table["beta"][i, j] * recent_move(group[table["names"][i]], opened, lag) / (table["sd"][j] * math.sqrt(lag))
            term = np.where(np.isfinite(z), a * np.tanh(z / 2.0), 0.0)
            total, pull, weight = total + term, pull + np.abs(term), weight + np.where(np.isfinite(z), a, 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            extra["e"][rows] = np.where(weight > 0, total / weight, np.nan)
            extra["agreement"][rows] = np.where(pull > 0, np.abs(total) / pull, 0.0)

    def _lacking(self, key: str, symbol: str) -> str:
        if key in ("absorption", "e_mkt"):
            return "fewer than two symbols have 90 days in common"
        if key in ("corr", "beta", "partial_corr"):
            return "it is Bitcoin" if symbol == self.config.reference else f"{self.config.reference} is not in the group, or too short"
        return "unknown for every other symbol of the group"

    # -- the newest bar -----------------------------------------------------------------------------------------------

    def _newest(self, view: MarketView, line: Timeline) -> tuple[dict[str, Track], dict[str, Any]]:
        """The metrics that only a report has, and what is shown beside: leaders, matrix, leadership."""
        group = self._members(view, self._group)
        if len(group) < 2 or not len(view.candles(self._own)):
            return {}, {}
        fits, cfg, symbol = _fits(view), self.config, view.symbol
        anchor = int(daily_anchor(line.close_time[-1:])[0])
        table = self._table(fits, group, anchor)
        names = table["names"]
        if symbol not in names:
            return {}, {"dropped": table["dropped"]}
        days = {name: self._day(group[name], anchor) for name in names}
        plain = {name: day.plain for name, day in days.items()}
        returns = np.stack([plain[name] for name in names], axis=1)
        j, correlation = names.index(symbol), table["correlation"]
        turnover = {name: day.turnover for name, day in days.items()}
        leadership = dict(zip(names, table["leadership"], strict=True))
        near = nearest(names, symbol, correlation)
        leaders = [self._row(fits, table, i, j, plain) | {"weight": round(a, 4)} for i, a in self.leaders(table, symbol)]
        partner = leaders[0]["leader"] if leaders else near
        link = canonical(fits, returns, names, symbol, leadership)
        shared = shared_variance(fits, returns, names, symbol, correlation, turnover, cfg.reference)
        bound = price_tie(fits, days[symbol].prices, days[near].prices)
        found = {"dtw": (shape_distance(fits, plain[symbol], plain[partner]), "a price stood still or is unknown"),
                 "cca": (link.get("rho", math.nan), link.get("note", "")), "var": (shared.get("others", math.nan), shared.get("note", "")),
                 "coint": (bound.get("p", math.nan), bound.get("note", ""))}
        nan, base = np.full(1, np.nan), line.tracks["leadlag_delta"]
        heavy = {key: Track(np.array([value]), nan, np.array([Status.OK if np.isfinite(value) else Status.MISSING], np.int8), base.age_s,
                            base.step_s, "" if np.isfinite(value) else note) for key, (value, note) in found.items()}
        shown = {"leaders": leaders, "leadership": {n: round(v, 4) for n, v in leadership.items()},
                 "correlation": {"names": names, "values": np.round(correlation, 4).tolist()}, "dropped": table["dropped"],
                 "dtw_partner": partner, "canonical": link, "forecast_error_shares": shared, "cointegration": bound | {"partner": near},
                 "e_mkt": _number(line.extra["e_mkt"][-1]), "absorption": _number(line.extra["absorption"][-1]),
                 "leader_rule": f"q < {cfg.q_below:g}, stability >= {cfg.stability_from:g}, Delta > {cfg.delta_above:g}"}
        return heavy, shown | self._beside_correlation(fits, table, symbol, plain)

    def _row(self, fits: FitCache, table: Mapping[str, Any], i: int, j: int, plain: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """One leader of the table, in numbers that are read."""
        names = table["names"]
        row: dict[str, Any] = {"leader": names[i], "lag": int(table["lag"][i, j])}
        row |= {key: _number(table[key][i, j]) for key in ("rho", "delta", "llr", "beta", "p", "q", "stability", "partial")}
        return row | {"dtw": _number(shape_distance(fits, plain[names[j]], plain[names[i]]))}

    def _beside_correlation(self, fits: FitCache, table: Mapping[str, Any], symbol: str,
                            plain: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Spearman and the Fisher interval of the correlation with Bitcoin."""
        names, reference = table["names"], self.config.reference
        if reference not in names or symbol == reference:
            return {}
        rho = float(table["correlation"][names.index(reference), names.index(symbol)])
        pair = np.stack([plain[symbol][-CORRELATION_BARS:], plain[reference][-CORRELATION_BARS:]])
        pair = pair[:, np.isfinite(pair).all(axis=0)]
        n = pair.shape[1]
        half = 1.96 / math.sqrt(max(1, n - 3))
        centre = math.atanh(min(1.0 - 1e-12, max(-1.0 + 1e-12, rho)))
        return {"corr_interval": [math.tanh(centre - half), math.tanh(centre + half)], "spearman": fits.get("spearman/1", pair, _spearman),
                "corr_bars": n}


def recent_move(leader: Candles, opened: np.ndarray, lag: int) -> np.ndarray:
    """Sum of the leader's last `lag` returns at each of these open times; NaN where one is unknown."""
    r = leader.log_return
    at = np.minimum(np.searchsorted(leader.open_time, opened), len(r) - 1)
    there = leader.open_time[at] == opened
    total = np.zeros(len(opened))
    for m in range(lag):
        total = total + np.where(there & (at >= m), r[np.maximum(at - m, 0)], np.nan)
    return total


EXTRA = ("e", "e_lag_bars", "e_mkt", "absorption", "agreement", "confidence", "leaders")


def _fits(view: MarketView) -> FitCache:
    return view.fits if isinstance(view.fits, FitCache) else FitCache()


def _spearman(pair: np.ndarray) -> float | None:
    """Correlation of the ranks of two rows."""
    import pandas as pd

    first, second = (pd.Series(row).rank() for row in pair)
    return _number(first.corr(second))


def _with_matrices(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: np.array(value, float) if key in MATRICES else value for key, value in table.items()}


def _why_not(table: Mapping[str, Any], symbol: str) -> str:
    if symbol in table["dropped"]:
        return table["dropped"][symbol]
    others = "; ".join(f"{name}: {why}" for name, why in list(table["dropped"].items())[:2])
    return f"fewer than two symbols can be compared ({others})" if others else "it has no candle in the window"


def _label(score: float, leaders: float) -> str:
    if not leaders:
        return "no leader"
    return "leaders up" if score > 0.1 else "leaders down" if score < -0.1 else "leaders still"


def _number(value: float | np.floating) -> float | None:
    return float(value) if np.isfinite(value) else None
