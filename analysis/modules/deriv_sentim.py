"""Module C: what do leverage and positioning say about pressure, and how crowded is it?"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np

from analysis.kept_rows import tables_of, unchanged
from analysis.methods.liquidations import (
    balance,
    burst_tail,
    estimate_levels,
    forced_sums,
    hit_rate,
    masses,
)
from analysis.methods.options_surface import GAMMA_CONVENTION, chain_seals, gamma_exposure, iv30, snapshot_slices, surfaces
from analysis.methods.perpetual_bars import STAND_IN, PerpetualBars, bars_of, imbalance_track, standing_in
from analysis.methods.positioning import (
    Held,
    annual_rate,
    crowded,
    deviation_tail,
    enough,
    filled,
    held_at,
    kelley_skew,
    median_of,
    settled_within,
    skewness,
    varies,
)
from analysis.methods.sentiment_table import (
    FLOW,
    FLOW_METRICS,
    FUNDING_TAU,
    INTEREST_TAU_S,
    LONGEST_FUNDING_H,
    METRICS,
    OPTION_TAU_S,
    RATIO_TAU_S,
    TAU,
    USUAL_FUNDING_H,
    DerivativesConfig,
)
from analysis.module import Metric, ScoreModule, Timeline, Track, assemble, blend
from analysis.report import Direction, Intensity, ModuleReport, Status
from analysis.scaling import pr, surprisal, tp, z0, zm
from data.frames import Candles
from data.indicators.ranges import natr
from data.indicators.restart import quotient, shifted, warmed
from data.market import DAY_MS, Interval, Market
from data.observations import Kind, Observations
from data.view import MarketView, Need


class DerivativesSentiment(ScoreModule):
    """Pressure from derivatives, -1..1: above 0 bullish, 0 neutral.

    Eleven metrics, each brought to -1..1 (k > 0 pushes up), averaged with fixed weights over those that are known; below 65 % known
    weight there is no score. Two readings of the same funding rate oppose each other on purpose: up to its 90th percentile it counts as
    positioning, beyond it as a crowd that can be squeezed. Growing open interest confirms a move, falling open interest says that
    positions are being closed.

    Each row enters when it was published. A metric is late against the normal spacing of its rows (a stored hourly grid is not stale
    because the venue could give five minutes), never less than 10 minutes for open interest, 15 for ratios, 30 for options and
    1.1 intervals for funding. Coins without options keep 93 % of the weight. The liquidation map is a model with stated
    assumptions; its hit rate against random bins is shown. The dealer sign of gamma exposure is an equity convention.

    Published beside the score: C_flow, the renormalised half that is about flow {open interest, volume imbalance, top traders,
    liquidations}, and crowding K in 0..1, the mean of the two largest of {funding crowd, unusual long/short ratio, open interest
    over a day's volume above its 80th percentile, unusual premium}, its side the sign of funding against its median.

    References
    ----------
    Schmeling, Schrimpf & Todorov (2023), "Crypto Carry"; Hinkley (1975); Black (1976).
    """

    letter: ClassVar[str] = "C"
    slug: ClassVar[str] = "deriv_sentim"
    name: ClassVar[str] = "Derivatives & sentiment"
    short = "Sentiment"
    commands: ClassVar[tuple[str, ...]] = ("sentiment", "s")
    type: ClassVar[str] = "sentiment -1..1"
    question: ClassVar[str] = "What do leverage and positioning say about pressure, and how crowded is it?"
    link: ClassVar[str] = "identity"
    low: ClassVar[float] = -1.0
    metrics: ClassVar[tuple[Metric, ...]] = METRICS

    def __init__(self, config: DerivativesConfig | None = None) -> None:
        self.config = c = config or DerivativesConfig()
        self._own = Need(Kind.CANDLES, c.own_bars)
        self._perp = Need(Kind.CANDLES, c.own_bars, market=Market.PERP, optional=True)
        self._hours = Need(Kind.CANDLES, c.hour_bars, market=Market.PERP, interval=Interval.H1, optional=True)
        self._daily = Need(Kind.CANDLES, c.daily_bars, interval=Interval.D1, optional=True)
        self._funding = Need(Kind.FUNDING, days=c.funding_days, optional=True)
        self._predicted = Need(Kind.FUNDING_PREDICTED, days=1, optional=True)
        self._interest = Need(Kind.OPEN_INTEREST, days=c.interest_days, optional=True)
        self._global = Need(Kind.GLOBAL_RATIO, days=c.ratio_days, optional=True)
        self._top = Need(Kind.TOP_POSITION_RATIO, days=c.ratio_days, optional=True)
        self._premium = Need(Kind.PREMIUM_INDEX, days=c.premium_days, optional=True)
        self._forced = Need(Kind.LIQUIDATIONS, days=c.forced_days, optional=True)
        self._marks = Need(Kind.OPTION_MARK, days=c.option_days, optional=True)
        self._options_held = Need(Kind.OPTION_OPEN_INTEREST, days=c.option_days, optional=True)

    @property
    def needs(self) -> tuple[Need, ...]:
        return (self._own, self._perp, self._hours, self._daily, self._funding, self._predicted, self._interest, self._global, self._top,
                self._premium, self._forced, self._marks, self._options_held)

    @np.errstate(invalid="ignore", divide="ignore", over="ignore")  # what is not a number afterwards is unknown
    def timeline(self, view: MarketView, bars: int = 1) -> Timeline:
        """The newest rows; `extra` holds c_flow, crowding (K) and its side, the p of funding, open interest, long/short ratio and
        liquidations, the estimated masses above and below, agreement and confidence."""
        own = view.candles(self._own)
        n = len(own)
        bars = max(1, min(bars, n))
        if n == 0:
            why, nan = view.why_absent(self._own), np.full(bars, np.nan)
            return Timeline(np.zeros(bars, np.int64), nan, nan, np.zeros(bars), {m.key: Track.absent(bars, why) for m in METRICS},
                            {m.key: nan for m in METRICS}, dict.fromkeys(EXTRA, nan))
        rows = bars_of(own, None if view.market is Market.PERP else view.candles(self._perp), change_bars=self.config.change_bars)
        tracks: dict[str, Track] = {}
        extra: dict[str, np.ndarray] = {}
        shown: dict[str, Any] = {"weights_version": self.config.weights_version, "stand_in": STAND_IN if rows.stand_in[-1] else ""}
        closed = rows.closed[n - bars :]
        crowd = tables_of(self, view, "funding", (self._funding, self._predicted), closed, (tracks, extra, shown),
                          partial(self._funding_tracks, view, rows, bars))
        turnover = self._interest_tracks(view, rows, bars, tracks, extra)
        unusual = tables_of(self, view, "ratios", (self._top, self._global), closed, (tracks, extra),
                            partial(self._ratio_tracks, view, rows, bars))
        tracks["vii"] = imbalance_track(own, rows, bars, age_s=view.age_s(own), window=self.config.window)
        self._liquidation_track(view, rows, bars, tracks, extra, shown)
        tables_of(self, view, "options", (self._marks, self._options_held, self._hours_need(view)), closed, (tracks, shown),
                  partial(self._option_tracks, view, rows, bars))
        premium = unchanged(self, view, "premium", (self._premium,), closed, lambda: self._premium_surprise(view, rows, bars))
        extra["crowding"] = _two_largest([crowd, unusual, turnover, premium])
        tracks = {m.key: tracks[m.key] for m in METRICS}
        mixed, flow = blend(METRICS, tracks), blend(FLOW_METRICS, tracks)
        extra["c_flow"] = flow.raw
        extra["agreement"] = mixed.agreements()
        extra["confidence"] = mixed.coverage * (0.5 + 0.5 * extra["agreement"])
        shown |= {"c_flow": _number(flow.raw[-1]), "c_flow_coverage": float(flow.coverage[-1]), "crowding": _number(extra["crowding"][-1]),
                  "crowding_side": _number(extra["crowding_side"][-1])}
        return Timeline(rows.closed[n - bars :], mixed.raw, mixed.raw, mixed.coverage, tracks, mixed.contributions,
                        {key: extra[key] for key in EXTRA}, shown)

    def typed(self, view: MarketView, score: float | None, raw: float | None, coverage: float, reason: str) -> Direction:
        return Direction(value=_within(score, -1.0), interval=str(view.interval), horizon_bars=self.config.horizon_bars,
                         as_of_ms=view.as_of_ms, coverage=coverage, inputs=tuple(m.key for m in METRICS), reason=reason)

    def flow(self, view: MarketView, line: Timeline) -> Direction:
        """C_flow of the newest row: what composites take as this module's direction."""
        value = _number(line.extra["c_flow"][-1])
        return Direction(value=_within(value, -1.0), interval=str(view.interval), horizon_bars=self.config.horizon_bars,
                         as_of_ms=view.as_of_ms, coverage=float(line.shown.get("c_flow_coverage", 0.0)), inputs=FLOW,
                         reason="" if value is not None else "too little of open interest, volume, top traders and liquidations is known")

    def crowding(self, view: MarketView, line: Timeline) -> Intensity:
        """K of the newest row."""
        value = _number(line.extra["crowding"][-1])
        return Intensity(value=_within(value, 0.0), interval=str(view.interval), horizon_bars=self.config.horizon_bars,
                         as_of_ms=view.as_of_ms, coverage=0.0 if value is None else 1.0,
                         inputs=("funding", "ls_ratio", "open interest / volume", "premium"),
                         reason="" if value is not None else "fewer than two of its four inputs are known")

    def score(self, view: MarketView, line: Timeline | None = None) -> ModuleReport:
        line = line or self.timeline(view, 1)
        checked = unchanged(self, view, "quality", (self._hours_need(view), self._interest), line.close_time[-1:],
                            lambda: self._quality(view))
        shown = {**line.shown, **checked}
        known = bool(np.isfinite(line.score[-1]))
        report = assemble(self, view, replace(line, shown=shown), label=_label(float(line.score[-1])) if known else "",
                          agreement=_number(line.extra["agreement"][-1]), confidence=_number(line.extra["confidence"][-1]))
        return report if not shown.get("stand_in") else replace(report, missing=(*report.missing, STAND_IN))

    def _room(self, interval: Interval, days: float, used: int, most: int) -> int:
        """The longest window, up to `most` bars, for which the declared days suffice."""
        return max(2, min(most, int(days * DAY_MS / interval.ms) - used - 2))

    # -- funding ----------------------------------------------------------------------------------------------------

    def _funding_tracks(self, view: MarketView, rows: PerpetualBars, bars: int, tracks: dict[str, Track], extra: dict[str, np.ndarray],
                        shown: dict[str, Any]) -> np.ndarray:
        """funding, crowding, fund_skew; returns the crowd in 0..1 at each bar."""
        cfg, seen = self.config, view.observations(self._funding)
        hours = filled(np.where((seen["interval_h"] >= 1) & (seen["interval_h"] <= LONGEST_FUNDING_H), seen["interval_h"], np.nan))
        rate = annual_rate(seen["rate"], hours)
        held = held_at(seen, rows.closed[len(rows.closed) - bars :], age_s=view.age_of(seen), tau=FUNDING_TAU, least_s=3600.0,
                       steps_s=np.where(np.isfinite(hours), hours, USUAL_FUNDING_H) * 3600.0)
        rank = pr(np.where(varies(rate, window=cfg.settlements), rate, np.nan), window=cfg.settlements, minimum=cfg.settlements_minimum)
        signed, crowd = 2.0 * rank - 1.0, crowded(rank)
        warming = held.column((~enough(rate, window=cfg.settlements, minimum=cfg.settlements_minimum)).astype(float)) > 0
        lacking = f"needs {max(1, cfg.settlements_minimum - int(np.isfinite(rate).sum()))} more settlements"
        note = lacking if len(warming) and warming[-1] else "the funding rate does not vary"

        def track(value: np.ndarray, k: np.ndarray) -> Track:
            return held.track(held.column(value), held.column(k), warming=warming, note=note)

        skew = kelley_skew(rate, window=cfg.skew_settlements, last=_touched(held, seen))
        tracks["funding"] = track(rate, signed * (1.0 - crowd))
        tracks["crowding"] = track(crowd, -np.sign(signed) * crowd)
        tracks["fund_skew"] = track(skew, skew)
        middle = median_of(rate, window=cfg.settlements, last=len(rate))
        extra["crowding_side"] = held.column(np.sign(rate - middle))
        extra["p_funding"] = held.column(deviation_tail(rate, window=cfg.settlements, minimum=cfg.settlements_minimum,
                                                        last=_touched(held, seen)))
        if len(seen):
            predicted = view.observations(self._predicted)
            shown |= {"funding_rate": _number(seen["rate"][-1]), "funding_interval_h": _number(hours[-1]),
                      "funding_per_year": _number(rate[-1]),
                      "funding_24h": _number(settled_within(seen.event_time, seen["rate"])[-1]),
                      "funding_predicted": _number(predicted["rate"][-1]) if len(predicted) else None,
                      "funding_skewness": _number(skewness(rate[-cfg.skew_settlements :]))}
        return held.column(crowd)

    # -- open interest, ratios, premium -----------------------------------------------------------------------------

    def _interest_tracks(self, view: MarketView, rows: PerpetualBars, bars: int, tracks: dict[str, Track],
                         extra: dict[str, np.ndarray]) -> np.ndarray:
        """oi_confirm and oi_divergence; returns how far open interest over a day's volume lies above its 80th percentile, 0..1."""
        cfg, own, seen = self.config, view.candles(self._own), view.observations(self._interest)
        step = view.interval.ms
        held = held_at(seen, rows.closed, age_s=view.age_of(seen), tau=TAU, least_s=INTEREST_TAU_S / TAU)
        contracts = held.column(np.where(seen["contracts"] > 0, seen["contracts"], np.nan))
        change = warmed(np.log(quotient(contracts, shifted(contracts, cfg.change_bars))), own, cfg.change_bars + 1)
        coarse = held.step_s * 1000 > cfg.change_bars * step
        if coarse:  # between two rows nothing is known of a change
            change = np.full(len(change), np.nan)
        # The newest figure describes a moment before the close: the price's change is taken up to that moment.
        event = held.column(seen.event_time.astype(float))
        behind = np.where(np.isfinite(event), np.maximum(0, (rows.closed + 1 - np.nan_to_num(event)) // step), 0).astype(np.int64)
        source = np.searchsorted(rows.closed, rows.closed - behind * step, side="left")
        newest = slice(len(rows.closed) - bars, None)
        wide = bars + int(behind[newest].max()) + 1
        window = self._room(view.interval, cfg.interest_days, cfg.change_bars, cfg.change_window)
        of_price = z0(rows.change, window=window, minimum=cfg.minimum, last=wide)[source]
        of_interest = z0(change, window=window, minimum=cfg.minimum, last=bars)
        strength = np.minimum(1.0, np.abs(2.0 * np.arctanh(of_interest)))  # |zOI| back from its tanh(z/2)
        closing = np.where(of_interest < 0, -of_price * strength, 0.0 * of_price * of_interest)
        warming = ~(enough(rows.change, window=window) & enough(change, window=window))[newest] & ~np.full(bars, coarse)
        few = int(np.isfinite(change).sum())
        note = f"needs {max(1, cfg.minimum - few)} more bars" if warming[-1] else "price or open interest does not move"
        if coarse:
            note = f"open interest comes every {held.step_s / 60:.0f} min, too seldom for {cfg.change_bars} bars of {view.interval}"
        late = held.last(bars)
        for key, k in (("oi_confirm", of_price * np.maximum(0.0, of_interest)), ("oi_divergence", closing)):
            found = late.track(change[newest], k[newest], warming=warming, note=note)
            tracks[key] = standing_in(found, rows.stand_in[newest])
        room = self._room(view.interval, cfg.interest_days, cfg.change_bars, cfg.window)
        extra["p_open_interest"] = tp(np.abs(change), window=room, minimum=cfg.minimum, last=bars)[newest]
        turnover = pr(quotient(contracts, rows.volume_day), window=room, minimum=cfg.minimum, last=bars)[newest]
        return np.maximum(0.0, (turnover - 0.8) / 0.2)

    def _ratio_tracks(self, view: MarketView, rows: PerpetualBars, bars: int, tracks: dict[str, Track],
                      extra: dict[str, np.ndarray]) -> np.ndarray:
        """ls_ratio and top_ratio; returns how unusual the accounts' ratio is, 0..1."""
        cfg = self.config
        newest = slice(len(rows.closed) - bars, None)
        window = self._room(view.interval, cfg.ratio_days, 0, cfg.window)
        for key, need, sign in (("top_ratio", self._top, 1.0), ("ls_ratio", self._global, -1.0)):
            seen = view.observations(need)
            held = held_at(seen, rows.closed, age_s=view.age_of(seen), tau=TAU, least_s=RATIO_TAU_S / TAU)
            x = held.column(np.log(np.where(seen["ratio"] > 0, seen["ratio"], np.nan)))
            k = sign * zm(x, window=window, minimum=cfg.minimum, last=bars)
            warming = ~enough(x, window=window)[newest]
            note = f"needs {max(1, cfg.minimum - int(np.isfinite(x).sum()))} more bars" if warming[-1] else "the ratio does not vary"
            tracks[key] = held.last(bars).track(x[newest], k[newest], warming=warming, note=note)
        extra["p_ls_ratio"] = deviation_tail(x, window=window, minimum=cfg.minimum, last=bars)[newest]
        return surprisal(extra["p_ls_ratio"])

    def _premium_surprise(self, view: MarketView, rows: PerpetualBars, bars: int) -> np.ndarray:
        seen = view.observations(self._premium)
        held = held_at(seen, rows.closed[len(rows.closed) - bars :], age_s=view.age_of(seen), tau=TAU, least_s=RATIO_TAU_S / TAU)
        return held.column(surprisal(tp(np.abs(seen["close"]), window=self.config.window, minimum=self.config.minimum,
                                        last=_touched(held, seen))))

    # -- forced orders and options ----------------------------------------------------------------------------------

    def _hours_need(self, view: MarketView) -> Need:
        """Hours of the perpetual; the view's own candles where those are absent and it has hours."""
        return self._hours if view.holds(self._hours) or view.interval is not Interval.H1 else self._own

    def _hourly(self, view: MarketView) -> Candles:
        return view.candles(self._hours_need(view))

    def _liquidation_track(self, view: MarketView, rows: PerpetualBars, bars: int, tracks: dict[str, Track],
                           extra: dict[str, np.ndarray], shown: dict[str, Any]) -> None:
        cfg, seen, interest, hours = self.config, view.observations(self._forced), view.observations(self._interest), self._hourly(view)
        newest = slice(len(rows.closed) - bars, None)
        closed, price = rows.closed[newest], rows.close[newest]
        shorts, longs, alive = forced_sums(seen, closed)
        alive[-1] &= view.age_of(seen) < DAY_MS / 1000
        recorded = np.where(alive, balance(shorts, longs), np.nan)
        held = held_at(interest, closed, age_s=view.age_of(interest), tau=TAU, least_s=INTEREST_TAU_S / TAU)
        levels = estimate_levels(hours, interest, cfg.liquidation)
        up, down, total = masses(levels, closed, price, cfg.reach_atr * self._daily_range(view, closed) * price)
        waiting = np.where(held.usable & (total > 0), balance(up, down), np.nan)
        both, either = np.isfinite(recorded) & np.isfinite(waiting), np.isfinite(recorded) | np.isfinite(waiting)
        value = np.where(either, 0.5 * np.nan_to_num(recorded) + 0.5 * np.nan_to_num(waiting), np.nan)
        status = np.where(both, Status.OK, np.where(either, Status.FALLBACK, Status.MISSING)).astype(np.int8)
        why = ""
        if not either[-1]:
            why = f"no forced order within a day, and no estimate: {interest.note or 'open interest, hours or the daily range is missing'}"
        elif not both[-1]:
            why = "no estimate: recorded forced orders alone" if alive[-1] else "no forced order recorded within a day: the estimate alone"
        age_s = 0.0 if either[-1] else min(view.age_of(seen), view.age_of(interest))
        tracks["liquidations"] = Track(value, value, status, age_s, held.step_s, why)
        extra |= {"liquidation_up": up, "liquidation_down": down, "liquidation_share": quotient(up + down, total),
                  "p_liquidations": burst_tail(seen, closed, window=cfg.window, minimum=cfg.minimum)}
        shown |= {"liquidated_shorts_1h": _number(shorts[-1]) if alive[-1] else None,
                  "liquidated_longs_1h": _number(longs[-1]) if alive[-1] else None,
                  "liquidation_mass_above": _number(up[-1]), "liquidation_mass_below": _number(down[-1]),
                  "liquidation_assumptions": self.config.liquidation.in_words()}

    def _daily_range(self, view: MarketView, closed: np.ndarray) -> np.ndarray:
        """ATR14 of days as a fraction of price, of the last day closed at each bar."""
        daily = view.candles(self._daily)
        row = np.searchsorted(daily.close_time, closed, side="right") - 1
        return np.where(row >= 0, natr(daily)[np.maximum(row, 0)] / 100.0, np.nan) if len(daily) else np.full(len(closed), np.nan)

    def _option_tracks(self, view: MarketView, rows: PerpetualBars, bars: int, tracks: dict[str, Track], shown: dict[str, Any]) -> None:
        cfg, marks, held_open = self.config, view.observations(self._marks), view.observations(self._options_held)
        closed = rows.closed[len(rows.closed) - bars :]
        seals = chain_seals(marks)
        found = surfaces(marks, seals)
        moments = marks.take(np.array([part.stop - 1 for part in snapshot_slices(marks)], np.int64))
        held = held_at(moments, closed, age_s=view.age_of(marks), tau=TAU, least_s=OPTION_TAU_S / TAU)
        skew, gamma = np.array([s.skew for s in found], float), gamma_exposure(marks, held_open, seals)
        day = self._day_return(view, closed)
        for key, x, factor in (("vol_skew", skew, np.ones(bars)), ("gex", gamma, np.where(day == 0, np.nan, -np.sign(day)))):
            k = zm(x, window=cfg.snapshots, minimum=cfg.minimum)
            warming = held.column((~enough(x, window=cfg.snapshots)).astype(float)) > 0
            lacking = cfg.minimum - int(np.isfinite(x).sum())
            note = f"needs {max(1, lacking)} more snapshots of the option chain" if warming[-1] else "it does not vary"
            tracks[key] = held.track(held.column(x), held.column(k) * factor, warming=warming, note=note)
        if found:
            last = found[-1]
            shown |= {"atm_iv_30d": _number(last.atm), "iv30": _number(iv30(marks)), "skew_25d": _number(last.skew),
                      "skew_25d_over_atm": _number(last.relative_skew), "gamma_exposure": _number(gamma[-1]),
                      "gamma_convention": GAMMA_CONVENTION}

    def _day_return(self, view: MarketView, closed: np.ndarray) -> np.ndarray:
        hours = self._hourly(view)
        if len(hours) < 25:
            return np.full(len(closed), np.nan)
        r = warmed(np.log(quotient(hours.close, shifted(hours.close, 24))), hours, 25)
        row = np.searchsorted(hours.close_time, closed, side="right") - 1
        return np.where(row >= 0, r[np.maximum(row, 0)], np.nan)

    def _quality(self, view: MarketView) -> dict[str, Any]:
        """The liquidation map's back-check on its own past."""
        hours, interest = self._hourly(view), view.observations(self._interest)
        if not len(hours) or not len(interest):
            return {}
        found = hit_rate(estimate_levels(hours, interest, self.config.liquidation), hours, view.at_ms)
        return {"liquidation_hit_days": found.origins, "liquidation_hit": _number(found.hit),
                "liquidation_hit_by_chance": _number(found.chance),
                "liquidation_hit_edge": _number(found.edge), "liquidation_hit_edge_low": _number(found.low),
                "liquidation_hit_edge_high": _number(found.high), "liquidation_hit_note": found.note}


EXTRA = ("c_flow", "crowding", "crowding_side", "p_funding", "p_open_interest", "p_ls_ratio", "p_liquidations", "liquidation_up",
         "liquidation_down", "liquidation_share", "agreement", "confidence")


def _touched(held: Held, seen: Observations) -> int:
    """How many of the newest rows hold those that the bars look at."""
    known = held.row[held.row >= 0]
    return len(seen) - int(known.min()) if len(known) else 0


def _two_largest(parts: list[np.ndarray]) -> np.ndarray:
    """Mean of the two largest known values of each row; NaN where fewer than two are known."""
    table = np.sort(np.where(np.isfinite(parts), parts, -1.0), axis=0)[-2:]
    return np.where(table[0] >= 0, table.mean(axis=0), np.nan)


def _label(score: float) -> str:
    side = "bullish" if score > 0 else "bearish"
    return "neutral" if abs(score) < 0.2 else f"{side} pressure" if abs(score) < 0.6 else f"strong {side} pressure"


def _within(value: float | None, low: float) -> float | None:
    return None if value is None else min(1.0, max(low, value))


def _number(value: float | np.floating) -> float | None:
    return float(value) if np.isfinite(value) else None
